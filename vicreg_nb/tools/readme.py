# Generated from nbs/95_readme.py by `make export`. Do not edit: edit the notebook.
# cells nbs/95_readme.py 3fd950972d7eae91
# text 9d5a14ff612e8c12

"""95 · The README's results."""

import argparse
import sys
from pathlib import Path

from vicreg_nb.config import UserError, atomic, project_root
from vicreg_nb.tools.report import (
    DATASET_NAMES,
    QUESTIONS,
    common_settings,
    headline_table,
    load_results,
    markdown_table,
    missing,
    number,
    warning,
)
from vicreg_nb.training import duration


BEGIN = "<!-- results: written by python -m vicreg_nb.tools.readme, not by hand -->"
END = "<!-- end of results -->"
PROFILE_ORDER = ("exercise", "best", "quick")
SHOWN = ("ladder", "Q2", "AD2", "Q7")  # the first figure of each of these, where the run has it


def published_runs(folder: Path) -> list[dict]:
    """Results on CIFAR-10 in a folder, the exercise's profile first; UserError where there are none."""
    paths = [path for path in sorted(Path(folder).glob("results*.json"))]
    runs = [load_results(folder, path.name) for path in paths]
    real = [run for run in runs if not warning(run["header"])]
    if not real:
        found = "; ".join(warning(run["header"]) for run in runs) or "there is no results.json"
        raise UserError(
            f"The README shows results on CIFAR-10 only ({found}): run `python -m vicreg_nb.run_all --dataset cifar10` first."
        )
    return sorted(real, key=lambda run: (PROFILE_ORDER.index(run["header"]["profile"]), run["header"]["seed"]))


def results_block(folder: Path) -> str:
    """The README's results as markdown, markers included."""
    runs = published_runs(folder)
    tables = [run_markdown(run) for run in runs]
    return "\n\n".join([BEGIN, *tables, *figure_lines(folder), *speed_lines(folder), END])


def run_markdown(results: dict) -> str:
    """One run: the methods in a table, and where and how long it ran."""
    head = results["header"]
    seconds = sum(stage["seconds"] for stage in results["stages"].values())
    facts = [
        DATASET_NAMES[head["dataset"]],
        f"seed {head['seed']}",
        head["device"],
        number(results, "Q1", "precision"),
        f"PyTorch {head['versions']['torch']}",
    ]
    trained = number(results, "Q1", "seconds")  # through interruptions, which a stage's seconds are not
    if not missing(results):
        facts += [f"whole book in {duration(seconds)}"] if seconds else []
    elif trained:
        facts += [f"trained in {duration(trained)}"]
    note = [head["dataset_note"]] if head.get("dataset_note") else []
    changed = ", ".join(f"{name} = {value}" for name, value in common_settings(results).items())
    title = f"**Profile `{head['profile']}`" + (f" with {changed}" if changed else "") + "**"
    return "\n\n".join(
        [f"{title} ({', '.join(filter(None, facts))})", markdown_table(*headline_table(results)).strip(), *note]
    )


def figure_lines(folder: Path) -> list[str]:
    """Figures of the run in `folder`'s results.json, if that is a result on CIFAR-10."""
    if not (Path(folder) / "results.json").is_file():
        return []
    results = load_results(folder)
    if warning(results["header"]):
        return []
    entries = [(name, results["questions"][name]) for name in SHOWN if name in results["questions"]]
    firsts = [(name, *entry["figures"][0]) for name, entry in entries if entry["figures"]]
    return [f"![{caption}](figures/{figure}.png)\n\n*{QUESTIONS[name]}. {caption}*" for name, figure, caption in firsts]


def speed_lines(folder: Path) -> list[str]:
    """What the benchmarks printed, from benchmarks/*.txt: the command behind a $, and its output."""
    paths = sorted((Path(folder) / "benchmarks").glob("*.txt"))
    printed = [f"```\n{path.read_text(encoding='utf-8').strip()}\n```" for path in paths]
    return (
        [
            "## Speed",
            "Ratios of medians, both sides measured in one alternating run; as the benchmarks printed them.",
            *printed,
        ]
        if printed
        else []
    )


def with_block(readme: str, block: str) -> str:
    """The README's text with `block` between its markers; UserError where they are missing or doubled."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise UserError(
            f"README.md must hold the line {BEGIN!r} once, and after it {END!r} once: put them where the results belong."
        )
    return readme[: readme.index(BEGIN)] + block + readme[readme.index(END) + len(END) :]


def refresh(folder: Path, check: bool = False) -> bool:
    """Write README.md's results from results.json; True if they had changed. `check`: UserError instead of writing."""
    path = Path(folder) / "README.md"
    if not path.is_file():
        raise UserError(f"{path} is not there: run this in the project's folder.")
    old = path.read_text(encoding="utf-8")
    new = with_block(old, results_block(folder))
    if new != old and check:
        raise UserError(
            "README.md's results are stale, they are not those of results.json: run `python -m vicreg_nb.tools.readme`."
        )
    if new != old:
        atomic(path, lambda temporary: temporary.write_text(new, encoding="utf-8"))
    return new != old


def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.tools.readme", description="Write README.md's results from results.json."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the README's results are stale")
    parser.add_argument(
        "--out",
        default="",
        metavar="FOLDER",
        help="folder with README.md, results.json and figures/ (default: the project's folder)",
    )
    options = parser.parse_args(arguments)
    try:
        changed = refresh(Path(options.out).expanduser() if options.out else project_root(), options.check)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print("README.md: results written" if changed else "README.md: its results are those of results.json")
    return 0


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
