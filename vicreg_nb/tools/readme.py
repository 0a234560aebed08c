# Generated from nbs/95_readme.py by `make export`. Do not edit: edit the notebook.
# cells nbs/95_readme.py 03fb30cc87009a66
# text 93bb143abf7be5e8

"""95 · The README's results."""

import argparse
import sys
from pathlib import Path

from vicreg_nb.book import RESULTS, kept_numbers
from vicreg_nb.config import checked_folder
from vicreg_nb.store import UserError, atomic, duration
from vicreg_nb.tools.report import (
    PROBES, all_seeds, headline_table, load_results, markdown_table, mean_interval, missing, number, warning, what_of
)  # fmt: skip


BEGIN = "<!-- results: written by python -m vicreg_nb.tools.readme, not by hand -->"
END = "<!-- end of results -->"
SHOWN = "ladder"  # the figure above the tables, where the run has it


def shown_runs(folder: Path) -> list[dict]:
    """The run that a folder shows, or none, if it is no result on CIFAR-10 or there is none."""
    runs = [load_results(folder)] if (Path(folder) / RESULTS).is_file() else []
    return [run for run in runs if not warning(run["header"])]


def published_runs(folder: Path) -> list[list[dict]]:
    """Results on CIFAR-10 in a folder, by profile, those of all seeds together; UserError where there are none."""
    real = shown_runs(folder) + [run for run in kept_numbers(Path(folder)) if not warning(run["header"])]
    if not real:
        raise UserError(
            f"{folder} holds no results on CIFAR-10, which alone the README shows: "
            "run `python -m vicreg_nb.run_all --dataset cifar10` first."
        )
    whole = [run for run in real if not missing(run)] or real
    # the run that is shown is the first of them, and stands for its profile
    profiles = {run["header"]["profile"]: run for run in reversed(whole)}
    return sorted((all_seeds(folder, run) for run in profiles.values()), key=_probe, reverse=True)


def _probe(runs):
    values = [value for run in runs if (value := number(run, *PROBES["vicreg"])) is not None]
    return mean_interval(values)[0] if values else 0.0


def runs_markdown(runs: list[dict]) -> str:
    """The runs of one profile: the methods in a table, and where and how long they ran."""
    run, head = runs[0], runs[0]["header"]
    trained = number(run, "Q1", "seconds")  # through interruptions, which a stage's seconds are not
    facts = [head["device"], number(run, "Q1", "precision", kind=str), f"PyTorch {head['versions'].get('torch', '?')}"]
    facts += [f"VICReg trained in {duration(trained)}" if trained else ""]
    told = f"{what_of(runs)} {', '.join(filter(None, facts))}. {head.get('dataset_note', '')}".strip()
    title = f"**CIFAR-10, profile `{head['profile']}`**"
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
    options = parser.parse_args(arguments)
    try:
        changed = refresh(checked_folder(options.out), options.check)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print("README.md: results written" if changed else "README.md: its results are those of results.json")
    return 0


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
