# Generated from nbs/08_run_all.py by `make export`. Do not edit: edit the notebook.
# cells nbs/08_run_all.py a67fa7aa7c734041
# text 01f2425d772b46a3

"""8 · The whole book."""

import argparse
import ast
import dataclasses
import importlib
import importlib.util
import json
import re
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm
from vicreg_nb.config import (
    PROFILES,
    Config,
    UserError,
    code_digest,
    device_name,
    digest,
    header,
    make_config,
    project_root,
    read_results,
    results_path,
    say,
    write_results,
)
from vicreg_nb.data import find_file, open_dataset
from vicreg_nb.training import choose_precision, duration


@dataclass(frozen=True)
class Stage:
    """A notebook, the module it exports, and the questions it answers."""

    notebook: str
    module: str
    questions: tuple = ()

    @property
    def title(self) -> str:
        return f"{self.notebook:26}" + (", ".join(self.questions) or "-")


STAGES = (
    Stage("00_config", "config"),
    Stage("00a_data", "data"),
    Stage("00b_views", "views"),
    Stage("01_vicreg", "vicreg"),
    Stage("01a_training", "training", ("Q1",)),
    Stage("02_representations", "representations", ("Q2", "Q3")),
    Stage("03_ablations", "ablations", ("Q4", "Q5")),
    Stage("04_laplacian_eigenmaps", "laplacian_eigenmaps", ("Q6",)),
    Stage("04a_ladder", "ladder", ("ladder",)),
    Stage("05_retrieval", "retrieval", ("Q7",)),
    Stage("06_anomaly", "anomaly", ("AD1", "AD2", "AD3")),
    Stage("07_clustering", "clustering", ("CL1", "CL2", "CL3")),
)


def choose_stages(only: list[str], start: str = "") -> list[Stage]:
    """The stages named (by notebook, its number, module or question), or all from `start` on; UserError for an unknown name."""
    if start:
        return list(STAGES[STAGES.index(_find_stage(start)) :])
    return [stage for stage in STAGES if stage in [_find_stage(name) for name in only]] if only else list(STAGES)


def _find_stage(name):
    for stage in STAGES:
        names = (stage.notebook, stage.notebook.split("_")[0], stage.module, *stage.questions)
        if name.removesuffix(".ipynb").removesuffix(".py").lower() in [known.lower() for known in names]:
            return stage
    known = ", ".join(stage.notebook for stage in STAGES)
    raise UserError(f"{name!r} is not a stage: choose among {known}, or a question such as Q3.")


def stage_key(cfg: Config, stage: Stage) -> str:
    """Identifies a stage's result: the settings, the notebook's (or the module's) source and that of all modules it builds on."""
    settings = {name: value for name, value in dataclasses.asdict(cfg).items() if name not in ("out", "device")}
    first = notebook_path(stage) or package_folder() / f"{stage.module}.py"
    return digest(settings, first.read_text(encoding="utf-8"), *(source_of(path) for path in modules_below(first)))


def package_folder() -> Path:
    return Path(importlib.import_module("vicreg_nb").__file__).parent


def source_of(path: Path) -> str:
    """A module's source without its comment lines: export's header changes with every word of the notebook's prose."""
    return "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))


def modules_below(path: Path) -> list[Path]:
    """The package's modules that a notebook or module imports, directly or not; those of tools are no part of a result."""
    found, waiting = set(), [path]
    while waiting:
        names = re.findall(r"^from (?:vicreg_nb)?\.(\w+) import", waiting.pop().read_text(encoding="utf-8"), flags=re.M)
        new = {package_folder() / f"{name}.py" for name in names} - found
        found |= new
        waiting += new
    return sorted(found)


def notebook_path(stage: Stage) -> Path | None:
    """The stage's notebook, where there are notebooks and what it takes to run them."""
    path = project_root() / "nbs" / f"{stage.notebook}.py"
    able = all(importlib.util.find_spec(name) for name in ("papermill", "jupytext", "ipykernel"))
    return path if able and path.is_file() and importlib.util.find_spec("vicreg_nb.tools") else None


def is_done(cfg: Config, stage: Stage) -> bool:
    """Whether results.json holds this stage's result, and the folder its figures. Only reads, whatever run it finds there."""
    try:
        results = json.loads(results_path(cfg).read_text(encoding="utf-8"))
        key, answered = (
            results["stages"][stage.notebook]["key"],
            [results["questions"][name] for name in stage.questions],
        )
        figures = [cfg.figures / f"{figure}.png" for entry in answered for figure, _ in entry["figures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return key == stage_key(cfg, stage) and all(path.is_file() for path in figures)


def run_stage(cfg: Config, stage: Stage, bar: tqdm):
    """Execute the stage's notebook, or its module's `run`; UserError naming notebook, cell and error at a failure."""
    start = time.perf_counter()
    notebook = notebook_path(stage)
    if notebook:
        _run_notebook(cfg, stage, notebook, bar)
    else:
        _run_plainly(cfg, stage)
    _mark_done(cfg, stage, time.perf_counter() - start)


def _run_notebook(cfg, stage, notebook, bar):
    from .tools.execute import NotebookError, execute_notebook  # only where papermill is

    def on_cell(done, total):
        bar.n = int(bar.n) + min(done / total, 0.999)
        bar.refresh()

    def on_line(line):
        if line.startswith(LONG_WORK):
            say(f"  {line}")

    try:
        execute_notebook(
            notebook,
            cfg.folder / "executed" / f"{stage.notebook}.ipynb",
            parameters(cfg),
            on_cell=on_cell,
            on_line=on_line,
        )
    except NotebookError as error:
        raise UserError(str(error)) from None


LONG_WORK = (
    "training ",
    "resuming ",
    "epoch ",
    "free vectors: ",
    "t-SNE of ",
)  # lines of a notebook that are shown while it runs


def _run_plainly(cfg, stage):
    module = importlib.import_module(f"vicreg_nb.{stage.module}")
    if not hasattr(module, "run"):
        return
    try:
        module.run(cfg)
    except UserError as error:
        raise UserError(f"{stage.module}: {error}") from None
    except Exception as error:
        place = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).parent == package_folder()
        ][-1]
        raise UserError(
            f"{stage.module}: {Path(place.filename).name}, line {place.lineno}: {type(error).__name__}: {error}"
        ) from error


def parameters(cfg: Config) -> dict:
    """What a notebook must be given to build the same `Config`: what differs from the profile."""
    values = dataclasses.asdict(cfg)
    always = ("profile", "dataset", "seed", "device")
    changed = {
        name: value
        for name, value in values.items()
        if name in PROFILES[cfg.profile] and value != PROFILES[cfg.profile][name]
    }
    return changed | {name: values[name] for name in always} | {"out": str(cfg.folder)}


def _mark_done(cfg, stage, seconds):
    results = read_results(cfg)
    if results is None:  # a stage without questions came first
        results = {"header": header(cfg), "questions": {}, "stages": {}}
    before = (
        results["stages"].get(stage.notebook, {}).get("seconds", 0)
    )  # a later run finds what is cached: the cost is that of the longest
    results["stages"][stage.notebook] = {"key": stage_key(cfg, stage), "seconds": max(before, round(seconds, 2))}
    write_results(cfg, results)


def _mark_whole(cfg):
    """Say in the results that they are of the present code, once every stage is."""
    results = read_results(cfg)
    if results and results["header"]["code"] != code_digest() and all(is_done(cfg, stage) for stage in STAGES):
        results["header"] |= {name: header(cfg)[name] for name in ("commit", "code")}
        write_results(cfg, results)


def run_book(cfg: Config, stages: list[Stage] = STAGES, again: bool = False) -> float:
    """Run the stages that are not done yet (all of them if `again`), with one progress bar; returns the seconds it took."""
    start = time.perf_counter()
    with tqdm(
        total=len(stages), unit="stage", dynamic_ncols=True, bar_format=BAR, disable=not sys.stderr.isatty()
    ) as bar:
        for place, stage in enumerate(stages):
            bar.n = place
            bar.set_description(stage.notebook)
            if is_done(cfg, stage) and not again:
                say(f"{stage.notebook:26}done before")
                continue
            began = time.perf_counter()
            run_stage(cfg, stage, bar)
            say(f"{stage.notebook:26}{duration(time.perf_counter() - began)}")
        bar.n = len(stages)
    _mark_whole(cfg)
    return time.perf_counter() - start


BAR = "{desc:24} {percentage:3.0f}% |{bar}| {elapsed}"


def publish(cfg: Config):
    """Report and results page from results.json, where there is something in it and the tools for them are installed."""
    if not importlib.util.find_spec("vicreg_nb.tools") or not (read_results(cfg) or {}).get("questions"):
        return
    absent = [name for name in ("pypandoc", "typst") if not importlib.util.find_spec(name)]
    if absent:
        say(f"no report and no results page, for lack of {' and '.join(absent)}: pip install pypandoc_binary typst")
        return
    for module in ("results_page", "report"):
        importlib.import_module(f"vicreg_nb.tools.{module}").build(cfg.folder)


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.run_all",
        description="Run the book: every question, figure and number, and the report.",
    )
    parser.add_argument(
        "--profile",
        default="auto",
        help="smoke (2 minutes, a test), quick (for a CPU), exercise (the exercise's settings), best; default: exercise on a GPU, else quick",
    )
    parser.add_argument(
        "--dataset", default="auto", help="cifar10 or shapes (embedded); default: CIFAR-10 where it can be had"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything random; default 0")
    parser.add_argument("--device", default="auto", help="cpu or cuda; default: a GPU where there is one")
    parser.add_argument(
        "--out",
        default="",
        metavar="FOLDER",
        help="where results go; default: the project's folder (smoke: runs/smoke)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        dest="changes",
        help="any other setting, as in --set lr=1e-3; may be repeated",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="STAGE",
        help="only these, done or not, by notebook, number or question: --only 02 Q7",
    )
    which.add_argument("--from", default="", metavar="STAGE", dest="start", help="this one and all after it")
    parser.add_argument("--again", action="store_true", help="also run stages that are done")
    parser.add_argument("--list", action="store_true", help="show the stages and where they stand, run nothing")
    return parser.parse_args(arguments)


def read_changes(changes: list[str]) -> dict:
    """["lr=1e-3"] to {"lr": 0.001}; UserError for anything without a name and a value."""
    found = {}
    for change in changes:
        name, sign, value = change.partition("=")
        if not (name and sign and value):
            raise UserError(f"--set takes NAME=VALUE, not {change!r}.")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def check_weights(changes: dict, stages: list[Stage]):
    """UserError where a changed weight of the loss would mean Q1's in one stage and Q4's, which is measured against Q1, in another."""
    asked = {question for stage in stages for question in stage.questions}
    for name in {"lam", "mu", "nu"} & set(changes):
        if {"Q1", "Q4"} <= asked:
            raise UserError(
                f"--set {name} would mean Q1's weight in one notebook and Q4's in another: run one of them with --only, or change PROFILES in nbs/00_config.py."
            )


def main(arguments=None) -> int:
    """The command line; returns the exit status."""
    options = parse_arguments(arguments)
    try:
        stages = choose_stages(options.only, options.start)
        given = {name: getattr(options, name) for name in ("profile", "dataset", "seed", "device", "out")}
        changes = read_changes(options.changes)
        cfg = make_config(**given | changes)
        check_weights(changes, stages)
        if options.list:
            list_stages(cfg, stages)
            return 0
        cfg, images = open_dataset(cfg)
        say(
            f"profile {cfg.profile}, {images.name} ({len(images.train_images):,} training images), seed {cfg.seed}, {device_name(cfg)}, {choose_precision(cfg)}"
        )
        seconds = run_book(cfg, stages, again=options.again or bool(options.only))
        publish(cfg)
    except UserError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that cannot be written, a full disk
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    print_places(cfg, seconds)
    return 0


def list_stages(cfg: Config, stages: list[Stage]):
    """Show where the stages stand. Fetches nothing: without CIFAR-10 at hand, `auto` is the embedded data set."""
    at_hand = all(find_file(f"cifar10_{part}.npz") for part in ("train", "test"))
    if cfg.dataset == "auto" and not at_hand:
        cfg = cfg.replace(dataset="shapes")
    known = cfg.dataset == "shapes" or at_hand
    cfg = open_dataset(cfg)[0] if known else cfg
    for stage in stages:
        print(f"{'done' if known and is_done(cfg, stage) else 'to do':6} {stage.title}")


def print_places(cfg: Config, seconds: float):
    """Where everything is."""
    print(f"\nDone in {duration(seconds)}.")
    places = {"numbers": results_path(cfg), "figures": cfg.figures, "page": cfg.figures / "index.html",
              "report": cfg.folder / "report.pdf", "notebooks": cfg.folder / "executed"}  # fmt: skip
    for name, path in places.items():
        if path.exists():
            print(f"{name:10} {path}")


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
