# %% [markdown]
# # 8 · The whole book
# How does everything run, from nothing to the report? One command, `python -m vicreg_nb.run_all`, goes through the
# chapters in order, shows how far it is, stops at the first failure with its name, and goes on from there when it is
# called again.

# %%
#| default_exp run_all

# %%
#| export
import os

from vicreg_nb.threads import brief_waiting

os.environ.update(brief_waiting(os.environ))  # before PyTorch is imported, which reads it once

# %%
#| export
import argparse
import ast
import contextlib
import functools
import importlib.util
import re
import sys
import time
import traceback
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from tqdm import tqdm

# %%
#| export
from vicreg_nb.book import (
    QUESTIONS, RESULTS, changing_results, chapters, claim_folder, code_digest, doubts, header, own_folder,
    keep_numbers, mixture, package_folder, questions_of, read_file, read_results, results_folder, which_run,
)  # fmt: skip
from vicreg_nb.config import (
    DATASETS, SETTINGS, Config, changed_settings, choose_device, device_name, make_config, profile_values, short,
)  # fmt: skip
from vicreg_nb.files import find_file
from vicreg_nb.identity import NOT_PYTHON, plain_code
from vicreg_nb.store import (
    UserError,
    anew,
    digest,
    duration,
    in_a_line,
    locked,
    log,
    project_root,
    rank,
    remove_leftovers,
    set_aside,
)

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset

cfg = notebook_config(globals())
images = open_dataset(cfg)

# %% [markdown]
# ## The stages
# A stage is a chapter: a notebook, the module that it exports, the questions that it answers. Nobody keeps a list: each
# notebook that is exported is a stage, in the order of its number. A chapter of your own, `10_mine`, comes last.


# %%
#| export
class Stage(NamedTuple):
    """A notebook, the module it exports, and the questions it answers."""

    notebook: str
    module: str
    questions: tuple = ()
    own: dict = {}  # the questions' own values of settings

    def __str__(self):
        return f"{self.notebook:26}" + (", ".join(self.questions) or "-")


def stages() -> list[Stage]:
    """The book in its order: all exported notebooks but this one and the appendix, 80 and after."""
    found = []
    for notebook, module in chapters().items():
        if notebook < "80" and module != "run_all":
            questions = questions_of(module)
            own = {name: value for values in questions.values() for name, value in values.items()}
            found.append(Stage(notebook, module, tuple(questions), own))
    return found


# %%
print(*stages(), sep="\n")
assert Stage("01_vicreg", "vicreg") in stages() and not {"run_all", "store"} & {stage.module for stage in stages()}

# %% [markdown]
# A reader names a stage as it comes to mind: `05_retrieval`, `05`, `retrieval` or `Q7`.


# %%
#| export
def choose_stages(only=(), start: str = "") -> list[Stage]:
    """The stages named by notebook, number, module or question; or all from `start` on. UserError for others."""
    book = stages()
    named = [_find_stage(book, name) for name in only]
    first = book.index(_find_stage(book, start)) if start else 0
    return [stage for stage in book[first:] if not only or stage in named]


def _find_stage(book, name):
    wanted = re.sub(r"\.(ipynb|py)$", "", name).lower()
    for stage in book:
        names = (stage.notebook, stage.notebook.split("_")[0], stage.module, *stage.questions)
        if wanted in [known.lower() for known in names]:
            return stage
    known = ", ".join(stage.notebook for stage in book)
    raise UserError(f"{short(name)} is not a stage: choose among {known}, or a question such as Q3.")


# %%
assert [stage.module for stage in choose_stages(["02", "01a_training.py"])] == ["training", "representations"]
assert choose_stages(start="07")[0].module == "clustering"
try:
    choose_stages(["Q0"])
except UserError as error:
    print(error)

# %% [markdown]
# ## What a stage builds on
# When a module changes, the stages that build on it are no longer done. Python's own parser finds what a source
# imports, in each form that an import may have.


# %%
#| export
def imported_names(node: ast.AST) -> list[str]:
    """The full names in an import statement, `vicreg_nb.x.y` of `from .x import y`; none in any other node."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = ("vicreg_nb." if node.level else "") + (node.module or "")
    return [f"{above.rstrip('.')}.{alias.name}" for alias in node.names]


@functools.cache
def _names_in(text):
    """The full names that a source imports, wherever in it; None where Python cannot read it."""
    with contextlib.suppress(*NOT_PYTHON):
        tree = ast.parse(re.sub(r"(?m)^(\s*)[%!]", r"\1pass #", text))
        return [name.split(".") for node in ast.walk(tree) for name in imported_names(node)]


def _imported(path):
    """The package's modules that a notebook or module imports; all, where Python cannot read it."""
    names = _names_in(path.read_text(encoding="utf-8"))
    if names is None:
        return set(package_folder().glob("*.py"))
    own = {package_folder() / f"{name[1]}.py" for name in names if name[0] == "vicreg_nb" and name[1:]}
    return {path for path in own if path.is_file()}


# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    source = Path(folder) / "source.py"
    source.write_text(
        "%pylab\nfrom . import book\nimport vicreg_nb.data as d, os\nfrom vicreg_nb import views, nothing\n"
        "def late():\n    from vicreg_nb.store import log\n    from .config import Config\n"
    )
    assert {path.stem for path in _imported(source)} == {"book", "data", "views", "store", "config"}
    source.write_text("-" * 5_000 + "1")
    assert len(_imported(source)) > 20  # whatever it may import

# %% [markdown]
# What these import counts as well, and so on. Their comments do not count: nothing is computed again for a word of
# prose. Nor do the tools, which no result rests on.


# %%
#| export
def modules_below(path: Path) -> list[Path]:
    """The package's modules that a notebook or module builds on, directly or not."""
    found, waiting = set(), [path]
    while waiting:
        new = _imported(waiting.pop()) - found
        found |= new
        waiting += new
    return sorted(found)


# %%
below = {path.stem for path in modules_below(package_folder() / "training.py")}
print(*sorted(below), sep=", ")
assert {"views", "vicreg", "store"} <= below and not {"training", "run_all"} & below

# %% [markdown]
# ## One way in, or the other
# With papermill a stage is its notebook, without it (as in the exercise's submission) its module's questions. Both must
# compute the same. A notebook may have values of its own: 03's `mu` is 0, since Q4 asks for it. So it must be told what
# was set by hand, even where that is the profile's value: `--only Q4 --set mu=25` means 25.


# %%
#| export
class Job(NamedTuple):
    """What the stages are run with: settings, images, and the names of the settings that were given by hand."""

    cfg: Config
    images: object  # Images; its module brings PyTorch, which takes seconds, so it is imported where work begins
    given: tuple = ()


def parameters(job: Job) -> dict:
    """What a notebook is given: the settings that were set by hand or differ from the profile's."""
    names = {"profile", "dataset", "seed", "device", *changed_settings(job.cfg), *job.given}
    return {name: getattr(job.cfg, name) for name in sorted(names)} | {"out": str(job.cfg.folder)}


def notebook_path(stage: Stage) -> Path | None:
    """The stage's notebook, where there are notebooks and what it takes to run them."""
    path = project_root() / "nbs" / f"{stage.notebook}.py"
    needed = ("vicreg_nb.tools", "papermill", "jupytext", "ipykernel")
    return path if path.is_file() and all(importlib.util.find_spec(name) for name in needed) else None


# %%
job = Job(cfg.replace(dataset=images.name), images)
print(parameters(job))
assert parameters(job._replace(cfg=job.cfg.replace(mu=3.0), given=("lr",))).items() >= {"mu": 3.0, "lr": cfg.lr}.items()

# %% [markdown]
# ## Where it stands
# A stage is done if `results.json` says so for the same settings, images and source: its own, and that of all modules
# it builds on. What it computed is cached besides, so that it is quick where nothing that matters to it has changed.
#
# Whoever runs an edited notebook in Jupyter replaces the book's answer by that of other code. So a stage notes a digest
# of the answers that it left behind, and if they are no longer these, it is to do.


# %%
#| export
def stage_key(job: Job, stage: Stage) -> str:
    """Identifies a stage's result: settings, images, and the source of all that makes it."""
    settings = {name: value for name, value in vars(job.cfg).items() if name not in ("out", "device")}
    first = notebook_path(stage) or package_folder() / f"{stage.module}.py"
    below = [plain_code(path.read_text(encoding="utf-8")) for path in modules_below(first)]
    return digest(settings, sorted(parameters(job)), job.images.identity, first.read_text(encoding="utf-8"), below)


def of_stage(job: Job, stage: Stage) -> tuple:
    """(Config, images, own values) of the run to which a stage's results belong."""
    given = parameters(job)
    own = {name: value for name, value in stage.own.items() if name not in given}
    return job.cfg.replace(**own), job.images, stage.own


def _answers(results, stage):
    """Identifies the answers to a stage's questions, whoever has written them."""
    entries = [results["questions"].get(name, {}) for name in stage.questions]
    return digest(*({part: entry[part] for part in entry if part != "code"} for entry in entries))  # see `finish`


# %%
assert stage_key(job, stages()[0]) != stage_key(job._replace(given=("mu",)), stages()[0])
asked = Stage("01_mine", "mine", ("Q1",))
assert _answers({"questions": {"Q1": {"n": 1}}}, asked) != _answers({"questions": {"Q1": {"n": 2}}}, asked)


# %%
#| export
def is_done(job: Job, stage: Stage) -> bool:
    """Whether its run's results hold this stage's, and the folder its figures. Only reads, whatever it finds."""
    try:
        folder = results_folder(*of_stage(job, stage))
        results = read_file(folder / RESULTS)
        noted = results["stages"][stage.notebook]
        same = noted["key"] == stage_key(job, stage) and noted.get("answers") in (None, _answers(results, stage))
        figures = [figure for name in stage.questions for figure, _ in results["questions"][name]["figures"]]
    except (UserError, OSError, KeyError, TypeError, ValueError):
        return False
    return same and all((folder / "figures" / f"{figure}.png").is_file() for figure in figures)


# %%
for stage in stages():
    print(f"{'done' if is_done(job, stage) else 'to do':6} {stage}")

# %% [markdown]
# ## As plain Python
# A question's own values hold unless a value was given. Questions that share what they compute have it computed once.


# %%
#| export
def answer(job: Job, names):
    """Run questions whose chapters are imported, as their notebooks' last cells do."""
    results, given = {}, parameters(job)
    for question in (QUESTIONS[name] for name in names):
        own = {name: value for name, value in question.defaults.items() if name not in given}
        asked = question.compute, job.cfg.replace(**own)
        if asked not in results:
            results[asked] = question.compute(asked[1], job.images)
        question.run(asked[1], results[asked], tell=False)  # the command tells it at its end


# %%
from vicreg_nb.book import Question

calls, told = [], []
for name, own in {"mine": {"mu": 0.0}, "yours": {}, "theirs": {"mu": 0.0}}.items():
    made = Question(name, "What is mu?", "nowhere", defaults=own)
    made.result(lambda cfg, images: calls.append(1) or {"mu": cfg.mu})
    made.compute, made.numbers = QUESTIONS["mine"].compute, lambda result: told.append(result["mu"]) or result
with tempfile.TemporaryDirectory() as folder:
    here = job._replace(cfg=job.cfg.replace(out=folder))
    for given in ((), ("mu",)):
        answer(here._replace(given=given), ("mine", "yours", "theirs"))
    assert len(read_results(here.cfg, images)["questions"]) == 3
assert told == [0, cfg.mu, 0] + [cfg.mu] * 3 and len(calls) == 2 + 1  # first two values of mu, then one

# %% [markdown]
# A failure is told in one sentence, with its place in the chapter.


# %%
#| export
def _run_plainly(job, stage):
    try:
        if stage.questions:  # the others have nothing to answer
            importlib.import_module(f"vicreg_nb.{stage.module}")
            answer(job, stage.questions)
    except UserError as error:
        raise UserError(f"{stage.module}: {error}") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)  # the last of the package's, where there is one
        place = [*frames, *(frame for frame in frames if Path(frame.filename).parent == package_folder())][-1]
        where = f"{stage.module}: {Path(place.filename).name}, line {place.lineno}"
        raise UserError(f"{where}: {in_a_line(type(error).__name__, str(error))}") from error


# %%
made.compute = lambda cfg, images: 1 / 0
with tempfile.TemporaryDirectory() as folder:
    try:
        _run_plainly(job._replace(cfg=job.cfg.replace(out=folder)), Stage("02_mine", "representations", ("theirs",)))
    except UserError as error:
        print(error)
        assert "representations" in str(error) and "ZeroDivisionError" in str(error)

# %% [markdown]
# ## With papermill
# The executed notebooks stay beside the results. While one runs, the bar moves with its cells, and its lines about work
# that takes long are shown.

# %%
#| export
LONG_WORK = ("training ", "resuming ", "epoch ", "free vectors: ", "t-SNE of ")  # how such lines begin


def _run_notebook(job, stage, notebook, folder, bar):
    from vicreg_nb.tools.execute import NotebookError, execute_notebook  # only where papermill is

    def on_cell(done, total):
        bar.n = int(bar.n) + min(done / total, 0.999)
        bar.refresh()

    def on_line(line):
        if line.startswith(LONG_WORK):
            log(f"  {line}")

    output = folder / "executed" / f"{stage.notebook}.ipynb"
    try:
        execute_notebook(notebook, output, parameters(job), on_cell=on_cell, on_line=on_line)
    except NotebookError as error:
        raise UserError(str(error)) from None


# %%
CELLS = [
    '# %% tags=["parameters"]\nprofile = "none"',
    '# %%\nprint("epoch 3 of", profile)\nprint("a line that is not shown")\n1 / 0',
]
with tempfile.TemporaryDirectory() as folder:
    source = Path(folder) / "mine.py"
    source.write_text("\n\n".join(CELLS))
    try:
        _run_notebook(job, Stage("mine", "mine"), source, Path(folder), tqdm(disable=True))
    except UserError as error:
        print(error)
        assert "mine.py" in str(error) and "ZeroDivisionError" in str(error)
    assert cfg.profile in (Path(folder) / "executed" / "mine.ipynb").read_text(encoding="utf-8")

# %% [markdown]
# ## Running the book
# What a stage cost is noted with it. Seconds alone say little where others compute on the same machine, so the seconds
# that its processes had of the CPUs stand beside them, and how many processes wanted to run when it began.


# %%
#| export
@contextlib.contextmanager
def _measured():
    """A dict that holds, after the block, its seconds, its processes' CPU seconds, and the load when it began."""
    cost, start, before = {}, time.perf_counter(), os.times()[:4]
    with contextlib.suppress(AttributeError, OSError):  # Windows does not say
        cost["load"] = round(os.getloadavg()[0], 2)
    yield cost
    used = sum(os.times()[:4]) - sum(before)  # of processes that it has started, those that have ended count
    cost |= {"seconds": round(time.perf_counter() - start, 2), "cpu_seconds": round(used, 2)}


# %%
with _measured() as cost:
    digest(*range(300_000))
print(cost)
assert cost["cpu_seconds"] > 0

# %% [markdown]
# A stage's source is read for its key before it is run: whoever edits it meanwhile has it run again.


# %%
#| export
def run_stage(job: Job, stage: Stage, bar: tqdm):
    """Run a stage and note that it is done; UserError with the place and the error where it fails."""
    with _measured() as cost:
        key, notebook, run = stage_key(job, stage), notebook_path(stage), of_stage(job, stage)
        folder = claim_folder(*run)
        _run_notebook(job, stage, notebook, folder, bar) if notebook else _run_plainly(job, stage)
    answered = (read_file(folder / RESULTS) or {"questions": {}})["questions"]
    if absent := [name for name in stage.questions if name not in answered]:
        names = ", ".join(absent)
        raise UserError(f"{stage.notebook} has not answered {names}: let its last cell run the question, `x.run(cfg)`.")
    with changing_results(*run) as results:
        before = results["stages"].get(stage.notebook, cost)  # it may have found less in the cache
        noted = max(cost, before, key=lambda noted: noted["seconds"])
        results["stages"][stage.notebook] = noted | {"key": key, "answers": _answers(results, stage)}


# %%
nothing = Stage("00_nothing", "config")
with tempfile.TemporaryDirectory() as folder:
    here = job._replace(cfg=job.cfg.replace(out=folder))
    run_stage(here, nothing, tqdm(disable=True))
    assert is_done(here, nothing) and not is_done(here._replace(given=("mu",)), nothing)

# %% [markdown]
# A whole run, all of the present code, says so. If it is of CIFAR-10 with a profile as it stands, its numbers are kept
# for means over seeds, and it is what the project's folder shows from then on: the run that was there moves to a folder
# of its own.

# %%
#| export
_PARTS = ("executed", "figures", "report.pdf", RESULTS)  # of a run


def finish(job: Job):
    """Mark the results of a whole run, and put it into the project's folder if that may show it."""
    if not all(is_done(job, stage) for stage in stages()):
        return
    before, code = read_results(job.cfg, job.images), code_digest()
    if before["header"]["code"] != code or mixture(before):
        with changing_results(job.cfg, job.images) as results:
            results["header"] |= {name: header(job.cfg, job.images)[name] for name in ("commit", "code")}
            here = results_folder(job.cfg, job.images)  # a value given by hand may have led some elsewhere
            for stage in (stage for stage in stages() if results_folder(*of_stage(job, stage)) == here):
                for name in stage.questions:
                    results["questions"][name]["code"] = code
    if doubts(job.cfg, job.images):
        return
    keep_numbers(job.cfg.folder, read_results(job.cfg, job.images))
    if not job.cfg.out:
        show(job.cfg.folder, results_folder(job.cfg, job.images), job.cfg.runs / ".results.lock")


# %%
#| export
def show(top: Path, folder: Path, lock: Path):
    """Move the run in `folder` to `top`, and the one that was there to a folder of its own."""
    with locked(lock):
        if folder == top:
            return
        there = read_file(top / RESULTS)
        away = [(top, own_folder(top, which_run(there["header"])))] if there else []
        for source, goal in (*away, (folder, top)):
            goal.mkdir(parents=True, exist_ok=True)
            for part in filter(lambda name: (source / name).exists(), _PARTS):
                if (goal / part).exists():  # of a run whose results are lost
                    log(f"{goal / part} is of no run that is known: kept as {set_aside(goal / part, 'before')}")
                (source / part).replace(goal / part)


# %%
with tempfile.TemporaryDirectory() as folder:
    here, other = job.cfg.replace(out=folder), job.cfg.replace(out=folder, seed=job.cfg.seed + 1)
    for each in (here, other):
        place = claim_folder(each, images)
        (place / "report.pdf").write_text(str(each.seed))
    show(Path(folder), place, here.runs / "lock")
    assert results_folder(other, images) == Path(folder) != results_folder(here, images)
    assert [(results_folder(each, images) / "report.pdf").read_text() for each in (here, other)] == ["0", "1"]

# %% [markdown]
# Called a second time, the book finds what the first call did.

# %%
#| export
BAR = "{desc:24} {percentage:3.0f}% |{bar}| {elapsed}"


def run_book(job: Job, chosen: list[Stage], again: bool = False) -> float:
    """Run the stages that are not done yet, or all of them, with one progress bar; returns the seconds it took."""
    start = time.perf_counter()
    own = job.cfg.runs.glob("*"), job.cfg.runs.glob("*/figures")
    remove_leftovers(job.cfg.folder, job.cfg.folder / "results", job.cfg.figures, *chain(*own))
    hidden = not sys.stderr.isatty()
    with tqdm(total=len(chosen), dynamic_ncols=True, bar_format=BAR, disable=hidden) as bar:
        for place, stage in enumerate(chosen):
            bar.n = place
            bar.set_description(stage.notebook)
            if is_done(job, stage) and not again:
                log(f"{stage.notebook:26}done before")
                continue
            began = time.perf_counter()
            run_stage(job, stage, bar)
            log(f"{stage.notebook:26}{duration(time.perf_counter() - began)}")
        bar.n = len(chosen)
    finish(job)
    return time.perf_counter() - start


# %%
with tempfile.TemporaryDirectory() as folder:
    here = job._replace(cfg=job.cfg.replace(out=folder))
    left = [Path(folder) / f"{place}/.x.png.{2**22 + 1}.png" for place in ("figures", "results", "runs/a/figures")]
    for path in left:  # of a process that is gone
        path.parent.mkdir(parents=True)
        path.touch()
    for _ in range(2):
        run_book(here, [nothing])
    assert not any(map(Path.exists, left)) or os.name != "posix"

# %% [markdown]
# At its end a run publishes what it found: the report, the page and the explorer. Where nothing is newer than they are,
# there is nothing to do.


# %%
#| export
def _is_published(folder):
    made = [folder / "report.pdf", folder / "figures" / "index.html"]  # without notebooks no page: then always anew
    code = [path for kind in ("*.py", "*.html") for path in package_folder().rglob(kind)]
    sources = [folder / RESULTS, *folder.glob("results/*.json"), *code]
    if not all(map(Path.is_file, made)):
        return False
    return min(path.stat().st_mtime for path in made) > max(path.stat().st_mtime for path in sources)


# %%
assert not _is_published(Path("/nowhere"))


# %%
#| export
def publish(folder: Path, dataset: str = ""):
    """Report, page and explorer of a run, where it has answered something and the tools for them are installed.

    dataset: as the run was given it, if that is a folder, which results do not tell.
    """
    results = read_file(folder / RESULTS)
    if not importlib.util.find_spec("vicreg_nb.tools") or not results or not results["questions"]:
        return
    if _is_published(folder):
        return
    absent = [name for name in ("pypandoc", "typst") if not importlib.util.find_spec(name)]
    if absent:
        log(f"no report and no results page, for lack of {' and '.join(absent)}: pip install pypandoc_binary typst")
        return
    explorer, report = (importlib.import_module(f"vicreg_nb.tools.{name}") for name in ("explorer", "report"))
    explorer.build(folder, dataset)
    if importlib.util.find_spec("nbformat") and any((folder / "executed").glob("*.ipynb")):  # else nothing is executed
        importlib.import_module("vicreg_nb.tools.page").build(folder)  # it links to the explorer
    report.build(folder)


# %%
publish(Path("/nowhere"))  # nothing there

# %% [markdown]
# ## The command
# Every setting of the book can be given by name with `--set`.


# %%
#| export
def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.run_all",
        description="Run the book: every question, figure and number, and the report.",
    )
    add = parser.add_argument
    profiles = "smoke (a test, a few minutes), quick (for a CPU), exercise (the exercise's settings), best"
    add("--profile", default="auto", help=f"{profiles}; default: exercise on a GPU, else quick")
    add("--dataset", default="auto", help="cifar10, shapes (embedded) or a folder of images; default: CIFAR-10")
    add("--seed", type=int, default=0, help="of everything random; default 0")
    several = "the book once for each, one after the other; tables then show means over them"
    add("--seeds", type=int, nargs="+", metavar="SEED", help=several)
    add("--device", default="auto", help="cpu or cuda; default: a GPU where there is one")
    add("--out", default="", metavar="FOLDER", help="of results; default: the project's (smoke: its runs/smoke)")
    other = "any other setting, as in --set lr=1e-3; may be repeated"
    add("--set", action="append", default=[], metavar="NAME=VALUE", dest="changes", help=other)
    which = parser.add_mutually_exclusive_group()
    only = "only these, done or not, by notebook, number or question: --only 02 Q7"
    which.add_argument("--only", nargs="+", default=[], metavar="STAGE", help=only)
    which.add_argument("--from", default="", metavar="STAGE", dest="start", help="this one and all after it")
    add("--again", action="store_true", help="also run stages that are done, with the trainings and caches there are")
    retrain = "like --again, with trainings and caches made anew; earlier trainings are kept, as runs/<name>.before; "
    add("--retrain", action="store_true", help=retrain + "where it is broken off, it goes on")
    add("--list", action="store_true", help="show the stages and where they stand, run nothing")
    return parser


# %%
_parser().print_help()

# %% [markdown]
# `--set lam`, `mu` or `nu` is Q4's ablation where Q4 is asked for, and the training of all others elsewhere. It cannot
# be both in one run.


# %%
#| export
def read_change(text: str) -> tuple:
    """ "lr=1e-3" to ("lr", 0.001), true and True to True, what is no value of Python's to a string.

    UserError for anything without a name and a value.
    """
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise UserError(f"--set takes NAME=VALUE, not {short(text)}.")
    if name in SETTINGS and SETTINGS[name].type in (int, float) and value.lower() in ("nan", "inf", "-inf"):
        return name, float(value)  # Python has no such literals
    try:
        return name, ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
    except (*NOT_PYTHON, TypeError):  # TypeError: a list as a key
        return name, value


def check_weights(given, chosen: list[Stage]):
    """UserError where a weight of the loss would be Q1's in one stage, and in another Q4's, compared with Q1's."""
    both = {"Q1", "Q4"} <= {question for stage in chosen for question in stage.questions}
    for name in ("lam", "mu", "nu"):
        if both and name in given:
            meanings = f"--set {name} would mean Q1's weight in one notebook and Q4's in another"
            raise UserError(f"{meanings}: run one of them with --only, or change the profile in nbs/00_config.py.")


# %%
assert read_change("lr=1e-3") == ("lr", 1e-3) and read_change("schedule=onecycle") == ("schedule", "onecycle")
assert read_change("name=false")[1] is False is read_change("name=False")[1]
assert read_change("mu=-inf") == ("mu", -float("inf")) and read_change("dataset=nan") == ("dataset", "nan")
for strange in ("-" * 100_000 + "1", "{[]: 1}"):
    assert read_change(f"mu={strange}") == ("mu", strange)
try:
    check_weights(("mu",), [Stage("1", "one", ("Q1",)), Stage("2", "two", ("Q4",))])
except UserError as error:
    print(error)

# %% [markdown]
# `--list` looks and touches nothing. It fetches nothing either: without CIFAR-10 at hand, `auto` is the embedded data
# set. To open CIFAR-10 takes seconds, so it believes what the results of the latest run on it say of it. Where there
# are no results, nothing is done.


# %%
#| export
def noted_images(header: dict) -> SimpleNamespace:
    """What a results file's header says of its images: all that `is_done` asks of them."""
    return SimpleNamespace(name=header["dataset"], identity=header["data"]["identity"], train_labels=(), test_labels=())


# %%
assert noted_images({"dataset": "x", "data": {"identity": "y"}}).identity == "y"


# %%
#| export
def list_stages(cfg: Config, chosen: list[Stage], given=()):
    """Print where the stages stand."""
    at_hand = all(find_file(f"cifar10_{part}.npz") for part in ("train", "test"))
    cfg = cfg.replace(dataset="cifar10" if at_hand else "shapes") if cfg.dataset == "auto" else cfg
    images = _seen_images(cfg) if cfg.dataset in DATASETS else _job(cfg, given).images
    for stage in chosen:
        done = images and is_done(Job(cfg, images, given), stage)
        print(f"{'done' if done else 'to do':6} {stage}")


def _seen_images(cfg):
    """What the results of the latest run on these images say of them; None where there are none."""
    paths = (path for path in (cfg.folder / RESULTS, *cfg.runs.glob(f"*/{RESULTS}")) if path.is_file())
    for path in sorted(paths, key=lambda path: -path.stat().st_mtime):
        with contextlib.suppress(UserError, KeyError, TypeError):
            head = read_file(path)["header"]
            known = profile_values(head["profile"]) | head.get("settings", {})
            if head["dataset"] == cfg.dataset and all(known[size] == getattr(cfg, size) for size in _SIZES):
                return noted_images(head)


_SIZES = "train_size", "test_size"

# %%
with tempfile.TemporaryDirectory() as folder:
    here = cfg.replace(out=folder, dataset=images.name)
    assert _seen_images(here) is None
    claim_folder(here, images)
    assert _seen_images(here.replace(mu=3.0)).identity == images.identity
    assert _seen_images(here.replace(train_size=128)) is None


# %%
#| export
def _job(cfg, given):
    from vicreg_nb.data import open_dataset

    images = open_dataset(cfg)
    named = images.name if cfg.dataset == "auto" else cfg.dataset  # so that no kernel decides anew what `auto` is
    return Job(cfg.replace(dataset=named), images, given)


# %%
list_stages(cfg, choose_stages(["01", "training"]))

# %% [markdown]
# ## On several GPUs
# Started by `torchrun` ([85_parallel](85_parallel.ipynb)), all processes train together what the chosen stages need:
# Q1's encoder, and from chapter 03 on those of Q4 and Q5. Q5's neighbours are looked up by the first process, and the
# others read its file. After that the first process runs the book alone, and finds these trainings finished.


# %%
#| export
def _world():
    """How many processes share the training; one, where nothing has been imported that could."""
    parallel = sys.modules.get("vicreg_nb.parallel")
    return parallel.world() if parallel else 1


# %%
assert _world() == 1


# %%
#| export
def train_together(job: Job, chosen: list[Stage]):
    """Train what the stages need, on all processes of torchrun. UserError for a batch that they cannot share."""
    from vicreg_nb.methods import ENCODERS, baseline, run_of
    from vicreg_nb.parallel import after_first, from_first, share
    from vicreg_nb.representations import features_of
    from vicreg_nb.training import choose_precision, train

    for size in (job.cfg.batch_size, min(job.cfg.batch_size, len(job.images.test_images))):
        share(slice(0, size))
    precision = from_first(choose_precision(job.cfg) if rank() == 0 else None)
    log(f"{_world()} processes, {job.cfg.batch_size // _world()} images of each batch to each, {precision}")
    modules = {stage.module for stage in chosen if stage.notebook >= "01a"}
    cfg = job.cfg.replace(precision=precision)
    cfg = baseline(cfg) if "ablations" in modules else cfg
    if modules:
        run = train(cfg, job.images)
    if modules - {"training", "representations"}:
        ablations = importlib.import_module("vicreg_nb.ablations")
        after_first(lambda: ablations.neighbour_tables(cfg, features_of(cfg, job.images, run)))
        ablations.control_run(cfg, job.images)
        for name in ENCODERS:
            run_of(cfg, job.images, name)


# %%
train_together(job, [Stage("00_config", "config")])  # nothing to train

# %% [markdown]
# All wrong names and values are told before any work. A folder that cannot be written, or a full disk, is one sentence,
# too.


# %%
#| export
def _run(cfg, given, chosen, again):
    """Run and publish the book for one seed; returns its job."""
    from vicreg_nb.data import open_outliers
    from vicreg_nb.training import choose_precision

    job = _job(cfg, given)
    if any(stage.module == "anomaly" for stage in chosen):
        open_outliers(job.images)  # so that nobody learns after the trainings that they are not there
    size = f"{job.images.name} ({len(job.images.train_images):,} training images)"
    log(f"profile {cfg.profile}, {size}, seed {cfg.seed}, {device_name(cfg)}, {choose_precision(cfg)}")
    seconds = run_book(job, chosen, again)
    print(f"\nDone in {duration(seconds)}:")
    for folder in dict.fromkeys(results_folder(*of_stage(job, stage)) for stage in chosen):
        publish(folder, job.cfg.dataset)
        names = (RESULTS, "figures/index.html", "figures/explorer.html", "report.pdf", "executed")
        print(*filter(Path.exists, (folder / name for name in names)), sep="\n")
        there = read_file(folder / RESULTS)
        if mixed := there and mixture(there):
            print(mixed)
    if doubted := doubts(job.cfg, job.images):
        print(doubted)
    return job


# %% [markdown]
# Several seeds are several runs, one after the other. The first of them is what the project shows at the end, with
# means over all.


# %%
#| export
def _run_together(cfgs, given, chosen):
    """Train on all processes of torchrun; the first then begins the command anew, alone."""
    from vicreg_nb.parallel import after_first, go_on_alone

    for cfg in cfgs:
        train_together(after_first(lambda cfg=cfg: _job(cfg, given)), chosen)
    go_on_alone()


def _run_seeds(cfgs, given, chosen, again):
    jobs = [_run(cfg, given, chosen, again) for cfg in cfgs]
    if jobs[1:]:  # the first is what the project shows, now with means over all
        if doubts(jobs[0].cfg, jobs[0].images):
            log("each table is of one seed: means are taken over unchanged profiles on CIFAR-10 alone")
        finish(jobs[0])
        publish(results_folder(jobs[0].cfg, jobs[0].images), jobs[0].cfg.dataset)


# %%
_run_seeds([], (), [], again=False)  # nothing to run

# %% [markdown]
# With `--retrain`, the first process leaves the mark that tells all others what no longer counts.


# %%
#| export
def _command(options):
    chosen, changes = choose_stages(options.only, options.start), dict(map(read_change, options.changes))
    named = {name: getattr(options, name) for name in ("profile", "dataset", "device", "out")}
    cfgs = [make_config(**named | {"seed": seed} | changes) for seed in dict.fromkeys(options.seeds or [options.seed])]
    given = tuple(name for name, value in changes.items() if value is not None)
    check_weights(given, chosen)
    if options.list:
        for cfg in cfgs:
            list_stages(cfg, chosen, given)
        return
    from vicreg_nb.parallel import join

    together = join(choose_device(cfgs[0]))
    with anew(cfgs[0].runs / ".retrain") if options.retrain and rank() == 0 else contextlib.nullcontext():
        again = options.again or options.retrain or bool(options.only)
        _run_together(cfgs, given, chosen) if together else _run_seeds(cfgs, given, chosen, again)


# %% [markdown]
# With several processes, the one that fails says why, and the connection of all others breaks. That says nothing, so
# they end without a word.

# %%
#| export
_BROKEN = "closed by peer|reset by peer|Broken pipe|remote process exited"  # what gloo and NCCL call it


def _tell(error):
    """Say in a line why this process ends, unless it is only that another one has ended."""
    text = str(error) if isinstance(error, UserError) else in_a_line(type(error).__name__, str(error))
    if _world() > 1 and isinstance(error, RuntimeError) and re.search(_BROKEN, text):
        return
    who = f"process {rank()} of {_world()}: " if _world() > 1 else ""
    print(f"\n{who}{text}", file=sys.stderr, flush=True)


# %%
_tell(UserError("epochs is 0: give 1 to 10000."))


# %%
#| export
def main(arguments=None) -> int:
    """The command line; returns the exit status."""
    try:
        _command(_parser().parse_args(arguments))
    except (UserError, OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and _world() == 1:
            raise
        _tell(error)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: the same command goes on from here.", file=sys.stderr)
        return 130
    return 0


# %%
assert main(["--list", "--profile", "smoke", "--only", "01"]) == 0
assert main(["--list", "--profile", "smoke", "--set", "epoch=1"]) == 1

# %%
#| export
if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    status = main()
    if status and _world() > 1:
        os._exit(status)  # at once: torchrun then ends the others, which may be waiting for this one
    raise SystemExit(status)

# %% [markdown]
# To run the book from here: `run_book(job, stages())`. From a terminal: `python -m vicreg_nb.run_all --help`.
