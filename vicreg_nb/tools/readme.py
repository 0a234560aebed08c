# Generated from nbs/95_readme.py by `make export`. Do not edit: edit the notebook.
# cells nbs/95_readme.py 38f53a58ea5b5982
# text 478349e1d1b87bd3

"""95 · The README's results."""

import argparse
import re
import sys
import tempfile
from pathlib import Path

from vicreg_nb.book import RESULTS, keep_numbers
from vicreg_nb.config import checked_folder
from vicreg_nb.store import UserError, atomic, duration
from vicreg_nb.tools.report import (
    PROBES, headline_table, kind_of, load_results, markdown_table, mean_interval, missing, number, on_cifar,
    runs_by_kind, warning, what_of, with_warnings,
)  # fmt: skip


BEGIN = "<!-- results: written by python -m vicreg_nb.tools.readme, not by hand -->"
END = "<!-- end of results -->"
SHOWN = "ladder"  # the figure above the tables, where the run has it


def shown_runs(folder: Path) -> list[dict]:
    """The run that a folder shows, or none, if it is no result on CIFAR-10 or there is none."""
    runs = [load_results(folder)] if (Path(folder) / RESULTS).is_file() else []
    return [run for run in runs if not warning(run["header"])]


def published_runs(folder: Path) -> list[list[dict]]:
    """Results on CIFAR-10 in a folder, those of all seeds together, best first; UserError where there are none."""
    kinds = runs_by_kind(folder, shown_runs(folder))
    if not kinds:
        raise UserError(
            f"{folder} holds no results on CIFAR-10, which alone the README shows: "
            "run `python -m vicreg_nb.run_all --dataset cifar10` first."
        )
    return sorted(kinds, key=_probe, reverse=True)


def _probe(runs):
    values = [value for run in runs if (value := number(run, *PROBES["vicreg"])) is not None]
    return mean_interval(values)[0] if values else 0.0


def runs_markdown(runs: list[dict]) -> str:
    """The runs of one profile: the methods in a table, where they ran, and how long VICReg trained."""
    run, head = runs[0], runs[0]["header"]
    trained = number(run, "Q1", "seconds")  # through interruptions, which a stage's seconds are not
    facts = [
        " or ".join(dict.fromkeys(one["header"]["device"] for one in runs)),
        number(run, "Q1", "precision", kind=str),
        f"PyTorch {head['versions'].get('torch', '?')}",
    ]
    facts += [f"VICReg trained in {duration(trained)}" if trained else ""]
    seconds = 0 if missing(run) else sum(stage["seconds"] for stage in run["stages"].values())
    facts += [f"all stages {duration(seconds)}" if seconds else ""]
    words = [what_of(runs), ", ".join(filter(None, facts)) + ".", head.get("dataset_note", "")]
    words += [f"Not asked of it: {', '.join(missing(run))}."] if missing(run) else []
    told, title = " ".join(filter(None, words)), f"**CIFAR-10, profile {kind_of(run)}**"
    return "\n\n".join((title, markdown_table(*headline_table(runs)).strip(), told))


def picture(results: dict) -> str:
    """The figure `SHOWN` with its caption; empty where a run has none."""
    captions = {name: caption for entry in results["questions"].values() for name, caption in entry["figures"]}
    caption = captions.get(SHOWN)
    return f"![{caption}](figures/{SHOWN}.png)\n\n*{caption}*" if caption else ""


def results_block(folder: Path) -> str:
    """The README's results as markdown, markers included: the picture of the run that is shown, and all tables."""
    parts = [*map(picture, shown_runs(folder)), *map(runs_markdown, published_runs(folder))]
    return "\n\n".join(filter(None, [BEGIN, *parts, END]))


def with_block(readme: str, block: str) -> str:
    """The README's text with `block` between its markers; UserError where they are missing or doubled."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise UserError(f"README.md must hold the line {BEGIN!r} once, and after it {END!r} once: put them in.")
    return readme[: readme.index(BEGIN)] + block + readme[readme.index(END) + len(END) :]


def keep_beside(folder: Path, other: Path) -> Path:
    """Keep the numbers of the run in the folder `other`, whatever its settings; UserError if it is not on CIFAR-10."""
    results = load_results(other)
    if not on_cifar(results):
        raise UserError(f"{other} holds no results on CIFAR-10, which alone the README shows.")
    name = f"{kind_of(results)} seed{results['header']['seed']}.json"
    with tempfile.TemporaryDirectory() as place:
        text = keep_numbers(Path(place), results).read_text(encoding="utf-8")
    path = Path(folder) / "results" / re.sub(r"[^\w.]+", "-", name).strip("-")
    path.parent.mkdir(exist_ok=True)
    return atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def refresh(folder: Path, check: bool = False) -> bool:
    """Write README.md's results from results.json; True if they had changed. `check`: UserError instead of writing."""
    path = Path(folder) / "README.md"
    if not path.is_file():
        raise UserError(f"{path} is not there: run this in the project's folder.")
    old = path.read_text(encoding="utf-8")
    new = with_block(old, results_block(folder))
    if new != old and check:
        raise UserError("README.md's results are stale: run `python -m vicreg_nb.tools.readme`.")
    if new != old:
        atomic(path, lambda temporary: temporary.write_text(new, encoding="utf-8"))
    return new != old


def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vicreg_nb.tools.readme", description="Write README.md's results.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the README's results are stale")
    parser.add_argument("--out", default="", metavar="FOLDER", help="folder with README.md (default: the project's)")
    parser.add_argument("--beside", metavar="FOLDER", help="keep and show the numbers of the run in this folder, too")
    options = parser.parse_args(arguments)
    try:
        if options.beside:
            beside = checked_folder(options.beside)
            print(with_warnings(keep_beside(checked_folder(options.out), beside), beside))
        folder = checked_folder(options.out)
        changed = refresh(folder, options.check)
        told = "README.md: results written" if changed else "README.md: its results are those of results.json"
        print(with_warnings(told, folder) if (folder / RESULTS).is_file() else told)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
