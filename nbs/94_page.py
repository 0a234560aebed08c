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

import nbformat
import pypandoc
from vicreg_nb.config import checked_folder
from vicreg_nb.store import UserError, atomic, regular
from vicreg_nb.tools.report import (
    TITLE, all_seeds, beside, heading, headline_table, load_results, markdown_table, missing, other_kinds,
    provenance_rows, warning, what_of, with_warnings,
)  # fmt: skip

# %%
import tempfile

scratch = tempfile.TemporaryDirectory()  # the examples below work in here
folder = Path(scratch.name)

# %% [markdown]
# ## A cell as it is read
# Pandoc knows notebooks, but shows displayed markdown as plain text: here it becomes a text cell of its own. HTML that
# a cell displays is left out, for it could do anything on the page; so are export's directives.


# %%
#| export
def as_read(cell: dict) -> list[dict]:
    """A notebook's cell for the page: none where it only sets up, else the cell, and the markdown that it displays."""
    source = "".join(cell["source"])
    if {"skip-execution", "injected-parameters"} & set(cell["metadata"].get("tags", ())) or "default_exp" in source:
        return []
    if cell["cell_type"] != "code":
        return [cell]
    source = "\n".join(line for line in source.split("\n") if not line.startswith("#|"))
    outputs = [output for output in cell["outputs"] if "text/markdown" not in output.get("data", {})]
    for output in outputs:
        output.get("data", {}).pop("text/html", None)
    texts = [output["data"]["text/markdown"] for output in cell["outputs"] if output not in outputs]
    words = [{"cell_type": "markdown", "metadata": {}, "source": text} for text in texts]
    return [cell | {"source": source, "outputs": outputs}, *words]


# %%
displayed = [{"output_type": "display_data", "metadata": {}, "data": {"text/markdown": "**An answer.**"}}]
code = {"cell_type": "code", "metadata": {}, "source": "#| export\nq7.run(cfg)", "outputs": displayed}
run, answer = as_read(code)
assert run["source"] == "q7.run(cfg)" and run["outputs"] == [] and answer["source"] == "**An answer.**"

# %% [markdown]
# ## All notebooks as one
# The executed notebooks stand in the run's folder `executed`, and their names are the book's order.


# %%
#| export
def read_notebook(path: Path) -> dict:
    """An executed notebook; UserError where it is damaged."""
    try:
        notebook = json.loads(regular(path).read_text(encoding="utf-8"))
        nbformat.validate(notebook, version=4)
        json.dumps(notebook, ensure_ascii=False).encode()  # no half characters
    except Exception:  # a damaged file may raise anything
        raise UserError(f"{path} is damaged: delete it, and run `python -m vicreg_nb.run_all` again.") from None
    return notebook


# %%
(folder / "cut.ipynb").write_text('{"cells": [')
try:
    read_notebook(folder / "cut.ipynb")
except UserError as error:
    print(error)


# %%
#| export
def whole_book(folder: Path) -> dict:
    """One notebook with the cells of all executed notebooks of a run; UserError where there is none."""
    paths = sorted((Path(folder) / "executed").glob("*.ipynb"))
    if not paths:
        raise UserError(f"{folder}/executed holds no executed notebook: run `python -m vicreg_nb.run_all` first.")
    cells = [cell for path in paths for cell in read_notebook(path)["cells"]]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    shown = [part for cell in cells for part in as_read(cell)]
    return {"cells": shown, "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}


# %%
(folder / "executed").mkdir()
text = {"cell_type": "markdown", "metadata": {}, "source": "# A chapter\nwith $x^2$ and <b>no HTML</b>"}
example = {"cells": [text, code | {"execution_count": 1}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
(folder / "executed" / "05_x.ipynb").write_text(json.dumps(example), encoding="utf-8")
assert len(whole_book(folder)["cells"]) == 3

# %% [markdown]
# ## Results on top
# The methods' main numbers, and beside them those of other profiles that the folder keeps; each question's answer in a
# sentence, where all this comes from, and a warning where it is no result on CIFAR-10. Raw HTML in it is shown letter
# by letter.


# %%
#| export
def to_html(text: str, source: str = "markdown-citations", options=()) -> str:
    """HTML of markdown, or of another format that pandoc knows; raw HTML in it is shown as the words that it is."""
    try:
        arguments = ["--mathml", "--columns=10000", *options]
        return pypandoc.convert_text(text, "html5", f"{source}-raw_html-raw_attribute", extra_args=arguments)
    except OSError:  # pypandoc without its pandoc
        raise UserError("pandoc is not here: python -m pip install pypandoc_binary.") from None


def results_html(folder: Path, results: dict) -> str:
    """Warning, headline table, answers with links to interactive figures, and provenance, as HTML."""
    stamp = f'<p class="stamp">{html.escape(warning(results["header"]))}</p>' if warning(results["header"]) else ""
    notes = [f"This run has not answered {', '.join(missing(results))} yet."] if missing(results) else []
    answers = []
    for entry in results["questions"].values():
        drawn = [name for name, _ in entry["figures"] if (Path(folder) / "figures" / f"{name}.html").is_file()]
        links = ", ".join(f"[{name.replace('_', ' ')}]({name}.html)" for name in drawn)
        told = f"- {heading(entry)}. {entry['answer'].partition(chr(10) * 2)[0]}"
        answers.append(told + (f" Interactive: {links}." if links else ""))
    runs, kinds = all_seeds(folder, results), other_kinds(folder, results)
    headline = [markdown_table(*headline_table(runs), what_of(runs)), *map(beside, kinds)]
    provenance = markdown_table(["", "This run"], provenance_rows(results, [same[0] for same in kinds], runs))
    explorer = ["[The explorer](explorer.html) shows each image, and what every step of the ladder makes of it."]
    notes += explorer if (Path(folder) / "figures" / "explorer.html").is_file() else []
    return stamp + to_html("\n\n".join([f"# {TITLE}", *notes, *headline, "\n".join(answers), provenance]))


# %%
entry = {"title": "A title", "place": "Question 1", "required": False, "numbers": {"accuracy": 0.5}, "settings": {}}
entry |= {"answer": "**It is $k = 3$** <script>x</script>.\n\nMore.", "figures": [], "tables": []}
head = {"profile": "smoke", "dataset": "shapes", "seed": 0, "device": "<b>", "versions": {}, "commit": "c", "code": ""}
head["data"] = {"train_images": 384, "test_images": 160, "identity": "d"}
results = {"header": head | {"started": "", "updated": ""}, "questions": {"Q3": entry}, "stages": {}}
made = results_html(folder, results)
assert (
    "stamp" in made and "50.0%" in made and "&lt;script&gt;" in made and "<script>" not in made and "More" not in made
)

# %% [markdown]
# ## The page
# One column, at most as wide as is pleasant to read; what is wider scrolls by itself.

# %%
#| export
_STYLE = """<style>
body { max-width: 60rem; margin: 0 auto; padding: 0 1rem; font: 1rem/1.6 system-ui, sans-serif; color: #1f2328; }
h1, h2, h3 { line-height: 1.25; color: #14487f; } h1 { margin-top: 3.5rem; }
main > h1, .cell > h1 { border-top: 1px solid #d5dae0; padding-top: 1.5rem; }
img { display: block; max-width: 100%; height: auto; }
pre { overflow-x: auto; font-size: .85rem; line-height: 1.45; padding: .5rem .8rem; border-radius: .3rem; }
div.sourceCode { background: #f5f7f9; border-left: 3px solid #b9c7d6; border-radius: .3rem; overflow: hidden; }
div.sourceCode pre { margin: 0; } .output > pre { color: #4a5158; }
code { overflow-wrap: anywhere; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #d5dae0; text-align: left; vertical-align: top; }
math[display="block"] { overflow-x: auto; padding: .25rem 0; }
.stamp { background: #fdeceb; color: #b3261e; font-weight: 600; text-align: center; padding: .35rem; }
nav { columns: 2; font-size: .95rem; padding: 1rem; background: #f5f7f9; border-radius: .3rem; }
nav ul { list-style: none; margin: 0; padding: 0; } a { color: #14487f; }
@media (max-width: 40rem) { nav { columns: 1; } body { font-size: .95rem; } }
</style>"""


# %%
#| export
def build(folder: Path) -> Path:
    """Write figures/index.html from a run's executed notebooks and results.json; returns its path."""
    folder = Path(folder)
    head, book = results_html(folder, load_results(folder)), whole_book(folder)
    options = ["--standalone", "--embed-resources", "--toc", "--toc-depth=1", "--quiet"]
    words = {"pagetitle": TITLE, "lang": "en-GB", "document-css": "", "header-includes": _STYLE, "include-before": head}
    options += [f"--variable={name}={text}" for name, text in words.items()]
    page = to_html(json.dumps(book), "ipynb", options)
    return atomic(folder / "figures" / "index.html", lambda path: path.write_text(page, encoding="utf-8"))


# %%
(folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
page = build(folder).read_text(encoding="utf-8")
assert "<math" in page and "<strong>An answer.</strong>" in page and "<b>" not in page
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
        folder = checked_folder(options.out)
        print(with_warnings(build(folder), folder))
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
