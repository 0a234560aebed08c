# %% [markdown]
# # 94 · The book as a page
# How does one read the book without running it? `figures/index.html` is one page with the executed notebooks of a run,
# as their reader sees them: text, mathematics, code, figures and answers, with the results on top. It loads nothing
# from any network. `python -m vicreg_nb.tools.page` makes it; so does the end of `python -m vicreg_nb.run_all`.

# %%
#| default_exp tools.page

# %%
#| export
import argparse
import html
import json
import sys
from pathlib import Path

import pypandoc
from vicreg_nb.store import UserError, atomic, project_root
from vicreg_nb.tools.report import headline_table, load_results, warning

# %%
import tempfile

scratch = tempfile.TemporaryDirectory()  # the examples below work in here
folder = Path(scratch.name)

# %% [markdown]
# ## All notebooks as one
# The executed notebooks stand in the run's folder `executed`, and their names are the book's order. Cells that only set
# up Colab, or that say where a module goes, are of no interest to a reader.


# %%
#| export
def whole_book(folder: Path) -> dict:
    """One notebook with the cells of all executed notebooks of a run; UserError where there is none."""
    paths = sorted((Path(folder) / "executed").glob("*.ipynb"))
    if not paths:
        raise UserError(f"{folder}/executed holds no executed notebook: run `python -m vicreg_nb.run_all` first.")
    cells = [cell for path in paths for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    kept = [cell for cell in cells if not _is_set_up(cell)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": kept, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def _is_set_up(cell):
    source = "".join(cell["source"])
    return "skip-execution" in cell["metadata"].get("tags", []) or source.startswith("#| default_exp")


# %%
(folder / "executed").mkdir()
text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# A chapter\nwith $x^2$"}
output = {"output_type": "stream", "name": "stdout", "text": "four"}
code = {"cell_type": "code", "id": "b", "metadata": {}, "source": "print('four')", "outputs": [output]}
example = {"cells": [text, code | {"execution_count": 1}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
(folder / "executed" / "05_x.ipynb").write_text(json.dumps(example), encoding="utf-8")
assert len(whole_book(folder)["cells"]) == 2

# %% [markdown]
# ## Results on top
# The methods' main numbers, where they come from, and a warning where they are no results on CIFAR-10. Whatever comes
# from the results file is shown letter by letter.


# %%
#| export
def results_html(results: dict) -> str:
    """Headline table, provenance and warning as HTML."""
    head, (names, rows) = results["header"], headline_table(results)
    lines = [names, *rows]
    table = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
    facts = [f"profile {head['profile']}", f"data {head['dataset']}", f"seed {head['seed']}", head["device"]]
    facts += [f"PyTorch {head['versions'].get('torch', '?')}", f"commit {head['commit']}", head.get("updated", "")]
    facts.append(head.get("dataset_note", ""))
    stamp = f'<p class="stamp">{html.escape(warning(head))}</p>' if warning(head) else ""
    return f"{stamp}<table>{table}</table><p>{html.escape(' · '.join(fact for fact in facts if fact))}</p>"


# %%
results = {
    "header": {"profile": "smoke", "dataset": "shapes", "seed": 0, "device": "<b>", "versions": {}, "commit": "c"}
}
made = results_html(results | {"questions": {}})
assert "&lt;b&gt;" in made and "stamp" in made

# %% [markdown]
# ## The page

# %%
#| export
_STYLE = """<style>
body { max-width: 60rem; margin: 0 auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif; color: #1f2328; }
h1 { margin-top: 3rem; border-top: 1px solid #d5dae0; padding-top: 1rem; color: #14487f; line-height: 1.2; }
img { max-width: 100%; height: auto; }
pre { overflow-x: auto; background: #f5f7f9; padding: .5rem .8rem; border-radius: .3rem; font-size: .85rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #d5dae0; }
math[display="block"] { overflow-x: auto; padding: .25rem 0; }
.stamp { background: #fdeceb; color: #b3261e; font-weight: 600; text-align: center; padding: .35rem; }
nav { columns: 2; font-size: .9rem; } @media (max-width: 40rem) { nav { columns: 1; } }
</style>"""


# %%
#| export
def build(folder: Path) -> Path:
    """Write figures/index.html from a run's executed notebooks and results.json; returns its path."""
    folder = Path(folder)
    head = results_html(load_results(folder))
    options = ["--standalone", "--embed-resources", "--mathml", "--toc", "--toc-depth=1", "--quiet"]
    options += [
        "--metadata",
        "pagetitle=VICReg, peeled back to Laplacian Eigenmaps",
        "--variable",
        f"header-includes={_STYLE}",
    ]
    options += ["--variable", f"include-before={head}"]
    page = pypandoc.convert_text(json.dumps(whole_book(folder)), "html5", format="ipynb", extra_args=options)
    return atomic(folder / "figures" / "index.html", lambda path: path.write_text(page, encoding="utf-8"))


# %%
entry = {"title": "t", "place": "p", "required": False, "numbers": {}, "answer": "", "figures": [], "tables": []}
results["questions"] = {"Q0": entry | {"settings": {}}}
(folder / "results.json").write_text(json.dumps(results | {"stages": {}}), encoding="utf-8")
page = build(folder).read_text(encoding="utf-8")
assert "<math" in page and "four" in page and "http-equiv" not in page
scratch.cleanup()

# %% [markdown]
# ## The command


# %%
#| export
def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m vicreg_nb.tools.page", description="Write figures/index.html.")
    parser.add_argument("--out", default="", metavar="FOLDER", help="folder of the run (default: the project's folder)")
    options = parser.parse_args(arguments)
    try:
        print(build(Path(options.out) if options.out else project_root()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


# %%
assert main(["--out", "/no/such/run"]) == 1

# %%
#| export
if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    sys.exit(main())
