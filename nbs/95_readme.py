# %% [markdown]
# # 95 · The README's results
# How do the numbers on a project's first page stay true? They are not typed: they stand between two markers, and
# `python -m vicreg_nb.tools.readme` writes what is between them from `results.json`. With `--check` it only says
# whether they are stale.

# %%
#| default_exp tools.readme

# %%
#| export
import argparse
import sys
from pathlib import Path

from vicreg_nb.config import checked_folder
from vicreg_nb.store import UserError, atomic, duration
from vicreg_nb.tools.report import headline_table, load_results, markdown_table, number, warning

# %% [markdown]
# ## Which runs
# `results.json`, and results of other runs that somebody put beside it (as `results-quick.json`), as far as they are
# results on CIFAR-10 of a profile as it stands.

# %%
#| export
BEGIN = "<!-- results: written by python -m vicreg_nb.tools.readme, not by hand -->"
END = "<!-- end of results -->"
SHOWN = ("ladder", "q2_pca_tsne", "ad2_roc", "q7_nearest")  # figures, where the run has them
_ORDER = ("exercise", "best", "quick")


def published_runs(folder: Path) -> list[dict]:
    """Results on CIFAR-10 in a folder, the exercise's profile first; UserError where there are none."""
    runs = [load_results(folder, path.name) for path in sorted(Path(folder).glob("results*.json"))]
    real = [run for run in runs if not warning(run["header"])]
    if not real:
        raise UserError(
            f"{folder} holds no results on CIFAR-10, which alone the README shows: "
            "run `python -m vicreg_nb.run_all --dataset cifar10` first."
        )
    return sorted(real, key=lambda run: (_ORDER.index(run["header"]["profile"]), run["header"]["seed"]))


# %%
try:
    published_runs(Path("/no/such/folder"))
except UserError as error:
    print(error)

# %% [markdown]
# ## What is shown
# The methods' main numbers, what they were measured on, what they cost, and a few figures.


# %%
#| export
def run_markdown(results: dict) -> str:
    """One run: the methods in a table, and where and how long it ran."""
    head = results["header"]
    trained = number(results, "Q1", "seconds")  # through interruptions, which a stage's seconds are not
    facts = [f"seed {head['seed']}", head["device"], number(results, "Q1", "precision", kind=str)]
    facts += [f"PyTorch {head['versions']['torch']}", f"VICReg trained in {duration(trained)}" if trained else ""]
    title = f"**CIFAR-10, profile `{head['profile']}`** ({', '.join(filter(None, facts))})"
    note = head.get("dataset_note", "")
    return "\n\n".join(filter(None, (title, markdown_table(*headline_table(results)).strip(), note)))


def figure_lines(results: dict) -> list[str]:
    """The figures of `SHOWN` that a run has, with their captions."""
    captions = {name: caption for entry in results["questions"].values() for name, caption in entry["figures"]}
    return [f"![{captions[name]}](figures/{name}.png)\n\n*{captions[name]}*" for name in SHOWN if name in captions]


# %%
captioned = {"questions": {"Q2": {"figures": [["q2_pca_tsne", "Two pictures."], ["other", "x"]]}}}
assert figure_lines(captioned) == ["![Two pictures.](figures/q2_pca_tsne.png)\n\n*Two pictures.*"]

# %% [markdown]
# A benchmark's numbers are what it printed, kept beside it under the command that was typed.


# %%
#| export
def results_block(folder: Path) -> str:
    """The README's results as markdown, markers included."""
    runs, shown = published_runs(folder), []
    if (Path(folder) / "results.json").is_file():
        results = load_results(folder)
        shown = [] if warning(results["header"]) else figure_lines(results)
    texts = [path.read_text(encoding="utf-8") for path in sorted((Path(folder) / "benchmarks").glob("*.txt"))]
    told = (
        "As the benchmarks printed it. The reference is a plain loop in fp32; ours is in the precision that it names."
    )
    speed = ["## Speed", told] + [f"```\n{text.strip()}\n```" for text in texts]
    return "\n\n".join([BEGIN, *map(run_markdown, runs), *shown, *(speed if texts else []), END])


def with_block(readme: str, block: str) -> str:
    """The README's text with `block` between its markers; UserError where they are missing or doubled."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise UserError(f"README.md must hold the line {BEGIN!r} once, and after it {END!r} once: put them in.")
    return readme[: readme.index(BEGIN)] + block + readme[readme.index(END) + len(END) :]


# %%
print(with_block(f"Before.\n{BEGIN}\nold\n{END}\nAfter.", f"{BEGIN}\nnew\n{END}"))

# %% [markdown]
# ## Into the README


# %%
#| export
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


# %%
try:
    refresh(Path("/no/such/folder"))
except UserError as error:
    print(error)


# %%
#| export
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


# %%
assert main(["--out", "/no/such/folder"]) == 1

# %%
#| export
if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
