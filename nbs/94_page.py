# %% [markdown]
# # 94 · The results page
# How does one look through a run on a telephone, in a train? `figures/index.html` is one static page with everything that
# a run found: answers, figures (those that plotly drew can be touched), tables, provenance. It loads nothing from any network.
# `python -m vicreg_nb.tools.results_page` makes it; so does the end of `python -m vicreg_nb.run_all`.

# %%
#| default_exp tools.results_page

# %%
#| export
import argparse
import html
import re
import sys
from pathlib import Path

import pypandoc
from vicreg_nb.config import UserError, atomic, project_root
from vicreg_nb.tools.report import (
    DATASET_NAMES,
    TITLE,
    changed_rows,
    cost_rows,
    heading,
    load_results,
    markdown_table,
    missing,
    png_size,
    provenance_rows,
    warning,
)

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
out: str = ""  # folder with results.json and figures; empty: the project's folder

# %%
from vicreg_nb.config import notebook_config

cfg = notebook_config(globals())

# %% [markdown]
# ## A figure
# A wide window shows plotly's drawing, a narrow one and a printer the picture, with a link to the drawing. A frame is loaded
# only when it comes into sight.


# %%
#| export
def html_block(code: str) -> str:
    """HTML that pandoc passes through as it is."""
    return f"```{{=html}}\n{code}\n```\n"


def figure_markdown(folder: Path, name: str, caption: str) -> str:
    """A figure with its caption, and plotly's drawing of it where there is one; UserError where it is not on disk."""
    path = Path(folder) / "figures" / f"{name}.png"
    if not path.is_file():
        raise UserError(
            f"{path} is in results.json but not on disk: run its question again, `python -m vicreg_nb.run_all`."
        )
    width, height = (round(96 * inches) for inches in png_size(path))
    picture = f'![{caption}]({name}.png){{loading="lazy" width={width} height={height}}}\n'
    if not path.with_suffix(".html").is_file():
        return f"::: plot\n{picture}\n:::\n"
    frame = f'<iframe src="{name}.html" title="{html.escape(caption, quote=True)}" loading="lazy"></iframe>'
    link = f'<p class="touch"><a href="{name}.html">Open the interactive drawing</a></p>'
    return f"::: {{.plot .interactive}}\n{html_block(frame)}\n{picture}\n{html_block(link)}\n:::\n"


# %% [markdown]
# ## A question


# %%
#| export
def question_markdown(folder: Path, name: str, entry: dict) -> str:
    """One question: answer, figures, tables."""
    figures = [figure_markdown(folder, *figure) for figure in entry["figures"]]
    tables = [table_markdown(table["header"], table["rows"], table["caption"]) for table in entry["tables"]]
    return "\n\n".join([f"## {heading(name, entry)} {{#{name.lower()}}}", entry["answer"], *figures, *tables]) + "\n"


def table_markdown(header: list, rows: list, caption: str) -> str:
    """A table in a box that scrolls sideways where the window is narrower than it; its caption stays in sight."""
    return f"::: title\n{caption}\n:::\n\n::: table\n{markdown_table(header, rows)}\n:::\n"


def page_markdown(folder: Path, results: dict) -> str:
    """The whole page's content."""
    lacking = missing(results)
    note = [f"This run has not answered {', '.join(lacking)} yet."] if lacking else []
    questions = [question_markdown(folder, name, entry) for name, entry in results["questions"].items()]
    return "\n\n".join(note + questions + [run_markdown(results)])


def run_markdown(results: dict) -> str:
    """Provenance, settings and cost."""
    parts = [
        "## The run: provenance and cost {#run}",
        table_markdown(["", "This run"], provenance_rows(results), "Where every number on this page comes from."),
    ]
    if changed_rows(results):
        parts.append(
            table_markdown(
                ["Setting", "Exercise", "This run"],
                changed_rows(results),
                "Settings in which this run differs from the exercise.",
            )
        )
    if cost_rows(results):
        parts.append(
            table_markdown(["Stage", "Seconds"], cost_rows(results), "Wall-clock time of each stage, nothing cached.")
        )
    return "\n\n".join(parts) + "\n"


# %% [markdown]
# ## The page
# One column of text, at most as wide as is pleasant to read; light or dark as the reader's machine has it. The figures keep a white ground,
# on which they were drawn.

# %%
#| export
PAGE = """<!DOCTYPE html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>@title@</title>
<link rel="icon" href="data:,">
<style>
:root { --ink: #1f2328; --quiet: #5a626c; --ground: #ffffff; --card: #f5f7f9; --line: #d5dae0; --accent: #1f5c99; --alarm: #b3261e; --alarm-ground: #fdeceb; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --quiet: #a2abb5; --ground: #14171b; --card: #1d2127; --line: #363d46; --accent: #7db7f0; --alarm: #ffb4ab; --alarm-ground: #3b1512; }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 5rem; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header, main, footer { max-width: 60rem; margin: 0 auto; padding: 0 1rem; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.2rem); line-height: 1.2; margin: 2rem 0 .25rem; }
h2 { font-size: 1.25rem; line-height: 1.3; color: var(--accent); margin: 3rem 0 .75rem; padding-top: 1rem; border-top: 1px solid var(--line); }
header p { color: var(--quiet); margin: 0 0 1rem; }
a { color: var(--accent); }
.top { position: sticky; top: 0; z-index: 2; background: var(--ground); border-bottom: 1px solid var(--line); }
.stamp { background: var(--alarm-ground); color: var(--alarm); margin: 0; padding: .35rem 1rem; font-size: .85rem; font-weight: 600; text-align: center; }
nav { max-width: 60rem; margin: 0 auto; padding: .5rem 1rem; display: flex; gap: .4rem; overflow-x: auto; scrollbar-width: thin; }
nav a { flex: none; padding: .2rem .65rem; border: 1px solid var(--line); border-radius: 1rem; text-decoration: none; font-size: .85rem; color: var(--ink); background: var(--card); }
nav a:hover, nav a:focus { border-color: var(--accent); color: var(--accent); }
.plot { margin: 1.5rem 0; }
figure { margin: 0; }
.plot img { display: block; margin: 0 auto; max-width: 100%; height: auto; background: #fff; border-radius: .4rem; }
figcaption, .title { color: var(--quiet); font-size: .9rem; text-align: center; padding: .5rem 0; }
.title { margin-top: 1.5rem; }
.title p { margin: 0; }
iframe { display: none; width: 100%; height: 30rem; border: 1px solid var(--line); border-radius: .4rem; background: #fff; }
.touch { text-align: center; margin: 0; font-size: .9rem; }
@media screen and (min-width: 48rem) {
  iframe { display: block; }
  .interactive img, .touch { display: none; }
}
.table { overflow-x: auto; margin: 0 0 1.5rem; }
table { border-collapse: collapse; margin: 0 auto; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
thead th { border-bottom: 2px solid var(--quiet); }
code { font-size: .88em; background: var(--card); padding: .1em .3em; border-radius: .25rem; overflow-wrap: anywhere; }
math[display="block"] { overflow-x: auto; overflow-y: hidden; padding: .25rem 0; }
footer { color: var(--quiet); font-size: .85rem; margin: 3rem auto 2rem; }
@media print { nav { display: none; } .touch { display: none; } }
</style>
</head>
<body>
<header><h1>@title@</h1><p>@source@</p></header>
<div class="top">@stamp@<nav aria-label="Questions">@links@</nav></div>
<main>
@body@
</main>
<footer>Every number here was written by the run into results.json; none by hand.</footer>
</body>
</html>
"""


def to_html(markdown: str) -> str:
    """HTML of our markdown, mathematics as MathML; whatever pandoc warns of is an error."""
    return pypandoc.convert_text(
        markdown, "html5", format="markdown-citations", extra_args=["--fail-if-warnings", "--columns=10000", "--mathml"]
    )


# %%
print(to_html("The AUC is $1 - \\epsilon$."))


# %%
#| export
def page_html(folder: Path, results: dict) -> str:
    """The page as HTML."""
    head = results["header"]
    stamp = warning(head)
    values = {
        "title": TITLE,
        "source": html.escape(
            f"{DATASET_NAMES[head['dataset']]}, profile {head['profile']}, seed {head['seed']}, {head['device']}, {head['updated']}"
        ),
        "stamp": f'<p class="stamp" role="note">{html.escape(stamp)}</p>' if stamp else "",
        "links": "".join(f'<a href="#{name.lower()}">{name}</a>' for name in [*results["questions"], "run"]),
        "body": to_html(page_markdown(folder, results)),
    }
    return re.sub(r"@(\w+)@", lambda match: values[match[1]], PAGE)


def build(folder: Path) -> Path:
    """Write figures/index.html from a run's results.json and figures; returns its path. UserError where they are missing."""
    folder = Path(folder)
    page = page_html(folder, load_results(folder))
    return atomic(folder / "figures" / "index.html", lambda path: path.write_text(page))


# %%
if (cfg.folder / "results.json").is_file():
    print(build(cfg.folder))


# %%
#| export
def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.tools.results_page",
        description="Write figures/index.html from results.json and figures/.",
    )
    parser.add_argument(
        "--out",
        default="",
        metavar="FOLDER",
        help="folder of the run: results.json and figures/ (default: the project's folder)",
    )
    options = parser.parse_args(arguments)
    try:
        print(build(Path(options.out).expanduser() if options.out else project_root()))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    raise SystemExit(main())
