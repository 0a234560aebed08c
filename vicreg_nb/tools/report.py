# Generated from nbs/92_report.py by `make export`. Do not edit: edit the notebook.
# cells nbs/92_report.py 2f2bc69aea7969e3
# text b323f9bdd389a555

"""92 · The report."""

import argparse
import json
import re
import struct
import sys
from pathlib import Path

import pypandoc
import typst
from vicreg_nb.config import EXERCISE, METHOD_NAMES, PROFILES, UserError, atomic, project_root


QUESTIONS = {
    "Q1": "Section 3.2, Question 1 (Q1)",
    "Q2": "Section 3.2, Question 2 (Q2)",
    "Q3": "Section 3.2, Question 3 (Q3)",
    "Q4": "Section 3.2, Question 4 (Q4)",
    "Q5": "Section 3.2, Question 5 (Q5)",
    "Q6": "Section 3.2, Question 6 (Q6)",
    "ladder": "Section 3.2, beyond Question 6",
    "Q7": "Section 3.2, Question 7 (Q7)",
    "AD1": "Section 4.2, Question 1",
    "AD2": "Section 4.2, Question 2",
    "AD3": "Section 4.2, Question 3",
    "CL1": "Section 4.3, Question 1 (bonus)",
    "CL2": "Section 4.3, Question 2 (bonus)",
    "CL3": "Section 4.3, Question 3 (bonus)",
}
MANDATORY = ("Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "AD1", "AD2", "AD3")
DATASET_NAMES = {"cifar10": "CIFAR-10", "shapes": "shapes (drawn by the code, not CIFAR-10)"}


def heading(name: str, entry: dict) -> str:
    """A question's heading in markdown: its number in the exercise, and its title, letter by letter."""
    return f"{QUESTIONS[name]}: {literal(entry['title'])}"


def literal(text: str) -> str:
    """`text` in markdown so that every character of it is shown."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def load_results(folder: Path, name: str = "results.json") -> dict:
    """The results file of a run, its questions in the exercise's order; UserError where there is none to report on."""
    path = Path(folder) / name
    if not path.is_file():
        raise UserError(
            f"{path} is not there: run `python -m vicreg_nb.run_all` first, or name the run's folder with --out."
        )
    try:
        results = json.loads(path.read_text())
        questions, _ = results["questions"], results["header"]["profile"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is not a results file: move it away and run `python -m vicreg_nb.run_all` again."
        ) from None
    strange = [name for name in questions if name not in QUESTIONS]
    if strange:
        raise UserError(
            f"{path} holds {strange[0]!r}, which is no question of the exercise: move the file away and run again."
        )
    results["questions"] = {name: questions[name] for name in QUESTIONS if name in questions}
    if not questions:
        raise UserError(f"{path} holds no question yet: run `python -m vicreg_nb.run_all` first.")
    return results


def warning(header: dict) -> str:
    """What every page must say of a run that is no result on CIFAR-10; empty for a real one."""
    if header["dataset"] != "cifar10":
        return f"Made from the embedded data set {header['dataset']} (profile {header['profile']}): not a result on CIFAR-10"
    return "Smoke run: a few steps to test the code, not a result" if header["profile"] == "smoke" else ""


def missing(results: dict) -> list[str]:
    """The exercise's mandatory questions that a run has not answered yet."""
    return [name for name in MANDATORY if name not in results["questions"]]


NUMERIC = re.compile(r"^[*−+±≈<>-]*\d([^a-zA-Z]|(?<![a-zA-Z])(s|min|h|MiB|GiB)(?![a-zA-Z]))*$|^(–|-|—|n/a)?$")


def markdown_table(header: list, rows: list, caption: str = "") -> str:
    """A pipe table of strings, with its caption; a bar in a cell is kept from ending it."""
    if any(len(row) != len(header) for row in rows):
        raise ValueError(f"a row of the table {caption!r} has not {len(header)} cells")
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    rules = ["---:" if column and all(NUMERIC.match(str(cell)) for cell in column) else ":---" for column in columns]
    lines = [_table_line(cells) for cells in (header, rules, *rows)]
    return "\n".join(lines) + (f"\n\n: {caption}" if caption else "") + "\n"


def _table_line(cells):
    return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", str(cell)) for cell in cells) + " |"


def provenance_rows(results: dict) -> list[list[str]]:
    """What ran, with what, on what: rows of (fact, value) from the header of results.json."""
    head = results["header"]
    data = head.get("data", {})
    libraries = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    facts = {
        "Profile": head["profile"],
        "Data": DATASET_NAMES[head["dataset"]] + _sizes(data),
        "Digest of the data": f"`{data['identity']}`" if data else "",
        "On the data": literal(head.get("dataset_note", "")),
        "Seed": str(head["seed"]),
        "Device": literal(head["device"]),
        "Precision": number(results, "Q1", "precision") or "",
        "Versions": libraries,
        "Code": f"commit `{head['commit']}`, digest `{head['code']}`",
        "Run": f"begun {head['started']}, ended {head['updated']}",
    }
    return [[name, value] for name, value in facts.items() if value]


def _sizes(data):
    return f", {data['train_images']:,} training and {data['test_images']:,} test images" if data else ""


def cost_rows(results: dict) -> list[list[str]]:
    """Wall-clock seconds of each stage, and their sum."""
    seconds = {name: stage["seconds"] for name, stage in results["stages"].items()}
    rows = [[name.replace("_", " "), f"{value:,.0f}"] for name, value in seconds.items()]
    return rows + [["**the whole book**", f"**{sum(seconds.values()):,.0f}**"]] if rows else []


def common_settings(results: dict) -> dict:
    """Settings changed from the profile's in every question alike; others are a question's own."""
    each = [entry.get("settings", {}) for entry in results["questions"].values()]
    return {name: value for name, value in each[0].items() if all(one.get(name) == value for one in each)}


def changed_rows(results: dict) -> list[list[str]]:
    """Settings in which a run differs from the exercise's: (setting, exercise, this run)."""
    used = PROFILES[results["header"]["profile"]] | common_settings(results)
    return [
        [name.replace("_", " "), str(value), str(used[name])] for name, value in EXERCISE.items() if used[name] != value
    ]


PROBES = {  # where each method's probe accuracy stands
    "vicreg": ("Q3", "accuracy"),
    "no_variance": ("Q4", "ablated", "accuracy"),
    "neighbours": ("Q5", "neighbours", "accuracy"),
    "free": ("ladder", "free", "accuracy"),
    "laplacian": ("ladder", "laplacian", "accuracy"),
}
TASKS = {  # column: question, name of a method's number, how it is written
    "Retrieval precision": ("Q7", "precision", ".1%"),
    "Anomaly AUC": ("AD2", "auc", ".3f"),
    "Silhouette": ("CL3", "silhouette", ".3f"),
    "Cluster NMI": ("CL3", "nmi", ".3f"),
}


def number(results: dict, question: str, *path):
    """A number of results.json, or None where the run has not got it."""
    value = results["questions"].get(question, {}).get("numbers", {})
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def headline_table(results: dict) -> tuple[list, list]:
    """(header, rows) of the methods' main numbers; a task that nobody has been measured on is left out."""
    rows = [[METHOD_NAMES[method], *headline_cells(results, method)] for method in METHOD_NAMES]
    rows = [row for row in rows if any(cell != "–" for cell in row[1:])]
    kept = [0] + [place for place in range(1, 2 + len(TASKS)) if any(row[place] != "–" for row in rows)]
    names = ["Method", "Linear probe", *TASKS]
    return [names[place] for place in kept], [[row[place] for place in kept] for row in rows]


def headline_cells(results: dict, method: str) -> list[str]:
    """A method's main numbers as words; a dash for what was not measured."""
    values = [(number(results, *PROBES[method]), ".1%")]
    values += [(number(results, question, "methods", method, name), form) for question, name, form in TASKS.values()]
    return ["–" if value is None else format(value, form) for value, form in values]


METHOD = r"""
# Method {#method}

An encoder $f$ gives the representation $y$ that we want, a projector $h$ the projection $z$ that is trained on, and $T$ draws
a random view of an image $I$:

$$z = h(f(T(I))) ; \quad z' = h(f(T(I)))$$

For a batch $B$ of images, $Z$ and $Z'$ hold the projections of both views, each of dimension $d$. The **invariance** objective
brings the two views of an image together,

$$\mathcal{L}_{\mathrm{inv}}(Z, Z') = \frac{1}{\left|B\right|} \sum_{i=1}^{\left|B\right|} \mathrm{MSE}(z_i, z'_i)$$

the **variance** objective keeps the standard deviation of every dimension above a threshold $\gamma$,

$$\mathcal{L}_{\mathrm{var}}(Z) = \frac{1}{d} \sum_{j=1}^{d} \max(0, \gamma - \sigma_j) ; \quad \sigma_j = \sqrt{\mathrm{Var}(z_1^j, \ldots, z_{\left|B\right|}^j) + \epsilon}$$

and the **covariance** objective keeps two dimensions from saying the same. With the covariance matrix

$$C(Z) = \frac{1}{\left|B\right| - 1} \sum_{i=1}^{\left|B\right|} (z_i - \bar{z})(z_i - \bar{z})^T ; \quad \bar{z} = \frac{1}{\left|B\right|} \sum_{i=1}^{\left|B\right|} z_i$$

it is the sum of the squares beside the diagonal,

$$\mathcal{L}_{\mathrm{cov}}(Z) = \frac{1}{d} \sum_{i \neq j} [C(Z)]_{i,j}^2$$

Variance and covariance act on both branches, and are added, not averaged as in some public implementations:

$$\mathcal{L}(Z, Z') = \lambda \, \mathcal{L}_{\mathrm{inv}}(Z, Z') + \mu \, [\mathcal{L}_{\mathrm{var}}(Z) + \mathcal{L}_{\mathrm{var}}(Z')] + \nu \, [\mathcal{L}_{\mathrm{cov}}(Z) + \mathcal{L}_{\mathrm{cov}}(Z')]$$
"""


def typst_block(code: str) -> str:
    """Typst that pandoc passes through as it is."""
    return f"```{{=typst}}\n{code}\n```\n"


def method_section(results: dict) -> str:
    """Eq. 1-6, the architecture in words, and what differs from the exercise's settings."""
    numbered = (
        typst_block('#set math.equation(numbering: "(1)")')
        + METHOD
        + typst_block("#set math.equation(numbering: none)")
    )
    rows = changed_rows(results)
    if not rows:
        return numbered + "\nArchitecture, augmentations, optimiser and all hyper-parameters are the exercise's.\n"
    note = "\nThe loss, the augmentations and the optimiser are the exercise's. This run's budget changes the settings of the next table.\n\n"
    columns = 3 if len(rows) > 12 else 2 if len(rows) > 4 else 1
    names = ["Setting", "Exercise", "This run"] * columns
    return (
        numbered
        + note
        + markdown_table(names, side_by_side(rows, columns), "Settings in which this run differs from the exercise.")
    )


def side_by_side(rows: list[list[str]], columns: int) -> list[list[str]]:
    """A long, narrow table folded into `columns` parts that stand side by side."""
    height = -(-len(rows) // columns)
    padded = rows + [[""] * len(rows[0])] * (height * columns - len(rows))
    return [[cell for part in range(columns) for cell in padded[part * height + line]] for line in range(height)]


TEXT_WIDTH = 16.8 / 2.54  # inches between the margins
GUTTER = 0.15  # inches between figures of a row
DOTS = 200  # per inch, as `save_figure` writes
READABLE = 0.7  # smallest scale: 9-point letters come out at 6.3


def png_size(path: Path) -> tuple[float, float]:
    """(width, height) in inches of a figure on disk, from the PNG's own header."""
    with open(path, "rb") as file:
        start = file.read(24)
    if start[:8] != b"\x89PNG\r\n\x1a\n":
        raise UserError(f"{path} is not a PNG picture: delete it and run its question again.")
    width, height = struct.unpack(">II", start[16:24])
    return width / DOTS, height / DOTS


def rows_of(widths: list[float], scale: float) -> list[list[float]]:
    """The widths in inches on the page, row by row, in order.

    widths: of the figures as drawn. A figure joins the row if all of it fits at no less than `READABLE` scale.
    """
    rows = []
    for width in widths:
        if rows and _shrink(rows[-1] + [width], scale) >= min(READABLE, scale):
            rows[-1].append(width)
        else:
            rows.append([width])
    return [[width * _shrink(row, scale) for width in row] for row in rows]


def _shrink(row, scale):
    return min(scale, (TEXT_WIDTH - GUTTER * (len(row) - 1)) / sum(row))


def figures_markdown(folder: Path, figures: list, scale: float) -> str:
    """Rows of figures with captions, which float to where there is room; UserError for a figure that is not on disk."""
    paths = [Path(folder) / "figures" / f"{name}.png" for name, _ in figures]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{path} is in results.json but not on disk: run its question again, `python -m vicreg_nb.run_all`."
            )
    rows, position, text = rows_of([png_size(path)[0] for path in paths], scale), 0, []
    for row in rows:
        cells = [_figure(*figures[position + i], width) for i, width in enumerate(row)]
        position += len(row)
        text.append(_side_by_side(cells, row))
    return "\n".join(text)


def _figure(name, caption, width):
    return f"![{caption}](/figures/{name}.png){{width={width:.3f}in}}\n"


def _side_by_side(cells, widths):
    columns = ", ".join(f"{width:.3f}in" for width in widths)
    inner = typst_block("][").join(f"\n{cell}\n" for cell in cells)
    start = f"#figure-row(({columns},))["
    return typst_block(start) + inner + typst_block("]")


def question_section(folder: Path, name: str, entry: dict, scale: float) -> str:
    """One question of the exercise as markdown; captions name the question, since figures may float off its text."""
    answer = re.sub(r"^#+\s+(.*)$", r"**\1**", entry["answer"], flags=re.M)
    tables = [markdown_table(table["header"], table["rows"], table["caption"]) for table in entry["tables"]]
    figures = [
        (figure, f"{name.capitalize() if name == 'ladder' else name} · {caption}")
        for figure, caption in entry["figures"]
    ]
    first, _, rest = answer.partition(
        "\n\n"
    )  # figures come after it in the source, so that none stands before its heading's page
    parts = [
        f"# {heading(name, entry)} {{#{name.lower()}}}",
        first,
        figures_markdown(folder, figures, scale),
        rest,
        *tables,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def difficulties(results: dict) -> str:
    """The section on difficulties, what worked and what did not, as markdown."""
    parts = [
        DIFFICULTIES.strip(),
        "**What worked.** " + " ".join(worked(results)),
        "**What did not.** " + " ".join(did_not(results)),
    ]
    return "# Difficulties, what worked and what did not {#difficulties}\n\n" + "\n\n".join(parts) + "\n"


DIFFICULTIES = r"""
**Errors that do not crash.** Most of what goes wrong in this exercise still trains and still gives a plausible number. An image counts
among its own neighbours and the neighbours look perfect; a neighbour is looked up by its place in the batch instead of in the data
set; faiss returns *squared* distances, so that their mean is not Eq. 7; MNIST is not normalised like CIFAR-10, and the AUC moves;
test losses are computed with batch statistics; the covariance is divided by the wrong dimension. We met these as
risks rather than as bugs, since each has a test that compares with a slow computation written straight from the formula.

**The time of a training step.** Nearly all the time goes into the encoder, and views made image by image in a data
loader starve it. Views are therefore drawn for a whole batch at once, each image with its own random numbers, and held against
torchvision's operations image by image; the losses stay on the device until the epoch ends.

**Laplacian Eigenmaps at full size.** A nearest-neighbour graph may fall into pieces, and each piece adds an eigenvector that says only
which piece a node is in. The pieces are counted, reported, and joined by the shortest edges between them; the eigenvectors come from a sparse solver on
the normalised adjacency, whose largest eigenvalues converge faster than the Laplacian's smallest ones.

**Free vectors.** Minimising the VICReg loss without a network is a harder problem than with one: a quasi-Newton method stops in the
kink of the hinge, where Adam with a falling learning rate goes through. Which Laplacian the optimum belongs to hangs on how
pairs are drawn, and the obvious guess was wrong: to draw an image, and then a neighbour of it, still favours the hubs.
"""


def worked(results: dict) -> list[str]:
    """Sentences on what worked, each conditional on its numbers."""
    said = []
    accuracy, bar, plain, interval = (
        number(results, "Q3", name) for name in ("accuracy", "bar", "untrained_accuracy", "interval")
    )
    if accuracy is not None and accuracy >= bar:
        settings = (
            "This run's settings were enough" if changed_rows(results) else "The exercise's settings worked as given"
        )
        said.append(f"{settings}: the linear probe reaches {accuracy:.1%}, and the exercise asks for {bar:.0%}.")
    elif accuracy is not None and accuracy - plain > 2 * interval:  # Q3's own rule
        said.append(
            f"Training taught the encoder something: its linear probe gives {accuracy:.1%}, and {plain:.1%} untrained."
        )
    said.append(
        "Small exact cases were worth their time: a graph that can be solved densely, a loss computed by a double loop and a score in double precision found what curves do not show."
    )
    return said


def did_not(results: dict) -> list[str]:
    """Sentences on what did not work, each conditional on its numbers."""
    said = []
    accuracy, bar = number(results, "Q3", "accuracy"), number(results, "Q3", "bar")
    if accuracy is not None and accuracy < bar:
        said.append(f"With this run's budget the probe stays at {accuracy:.1%}, below the exercise's {bar:.0%}.")
    said.append("An exact pin of PyTorch's version resolved to a build that torchvision could not load; lower bounds did not have this trouble. "
                "Pictures of clusters and silhouettes were no safe judges of a representation; hence the table of other measures beside them.")  # fmt: skip
    return said


TEMPLATE = r"""
#set document(title: "$title$", date: none)
#set text(font: "Libertinus Serif", size: 10pt, lang: "en", region: "gb", fallback: true)
#show math.equation: set text(font: "New Computer Modern Math")
#show raw: set text(font: "DejaVu Sans Mono", size: 0.92em)
#set par(justify: true, leading: 0.56em, spacing: 0.85em)
#let quiet = rgb("#5a5f66")
#let accent = rgb("#1f4e79")
#let stamp = "$stamp$"
#set page(
  paper: "a4",
  margin: (x: 2.1cm, top: 2.3cm, bottom: 1.9cm),
  header-ascent: 0.55cm,
  header: {
    set text(size: 8pt, fill: quiet)
    grid(columns: (1fr, auto), [$running$], [$source$])
    v(-0.75em)
    line(length: 100%, stroke: 0.4pt + quiet)
    if stamp != "" {
      v(-0.7em)
      align(center, box(fill: rgb("#fdeceb"), stroke: 0.5pt + rgb("#b3261e"), inset: (x: 6pt, y: 2.4pt), radius: 2pt,
        text(fill: rgb("#b3261e"), size: 7.6pt, weight: "bold", stamp)))
    }
  },
  footer: context align(center, text(size: 8pt, fill: quiet)[Page #counter(page).display() of #counter(page).final().first()]),
)
#set heading(numbering: none)
#show heading: set block(sticky: true)
#show heading.where(level: 1): it => {
  block(above: 1.5em, below: 0.75em, sticky: true, {
    text(size: 12pt, weight: "bold", fill: accent, it.body)
    context [#metadata((page: here().page(), y: here().position().y.pt())) <mark>]
  })
}
#set list(indent: 0.4em, spacing: 0.65em)
#show link: set text(fill: accent)
#set figure(gap: 0.55em)
#show figure: set block(breakable: false, above: 1.1em, below: 1.1em)
#show figure.caption: set text(size: 8.8pt)
#show figure.caption: it => block(width: 94%, align(center, {
  set par(justify: false)
  text(weight: "bold")[#it.supplement #context it.counter.display(it.numbering).] + h(0.35em) + it.body
}))
#show figure.where(kind: table): set figure.caption(position: top)
#set table(stroke: none, inset: (x: 6pt, y: 2.6pt))
#set table.hline(stroke: 0.4pt)
#show table: set text(size: 9pt)
#show table: set par(justify: false)
#show table.cell.where(y: 0): strong
#show table: it => block(stroke: (top: 0.8pt, bottom: 0.8pt), inset: (y: 1.5pt), it)
#let figure-row(widths, ..cells) = place(auto, float: true, clearance: 1.3em, align(center,
  grid(columns: widths, column-gutter: 0.15in, align: center + bottom, ..cells.pos())))
#let contents(..names) = {
  set text(size: 8.8pt)
  set par(justify: false, leading: 0.5em)
  let entry(name) = context {
    let place = query(name).first()
    link(name, text(fill: black, place.body) + box(width: 1fr, inset: (x: 3pt), repeat(gap: 2pt)[.]) + str(place.location().page()))
  }
  let half = calc.ceil(names.pos().len() / 2)
  let side(part) = stack(spacing: 0.62em, ..part.map(entry))
  grid(columns: (1fr, 1fr), column-gutter: 1.8em, side(names.pos().slice(0, half)), side(names.pos().slice(half)))
}
#let horizontalrule = line(length: 100%, stroke: 0.4pt)

#align(center, {
  text(size: 18pt, weight: "bold", fill: accent)[$title$]
  linebreak()
  v(-0.2em)
  text(size: 11pt)[$subtitle$]
  if "$author$" != "" { linebreak(); text(size: 11pt)[$author$] }
})
#v(0.4em)

$body$

#context [#metadata((page: here().page(), y: here().position().y.pt())) <mark>]
"""
TITLE = "VICReg, peeled back to Laplacian Eigenmaps"
SUBTITLE = "Exercise 3: Self-Supervised and Unsupervised Learning"


def to_typst(markdown: str) -> str:
    """Typst of our markdown; whatever pandoc warns of is an error."""
    return pypandoc.convert_text(
        markdown, "typst", format="markdown-citations", extra_args=["--fail-if-warnings", "--columns=10000"]
    )


REFERENCES = r"""
# References {#references}

1. Adrien Bardes, Jean Ponce, and Yann LeCun. *VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning.* arXiv:2105.04906, 2021.
2. Alex Krizhevsky and Geoffrey Hinton. *Learning Multiple Layers of Features from Tiny Images.* 2009.
3. Tal Reiss, Niv Cohen, Liron Bergman, and Yedid Hoshen. *PANDA: Adapting Pretrained Features for Anomaly Detection and Segmentation.* CVPR, 2021.
4. Laurens van der Maaten and Geoffrey Hinton. *Visualizing Data using t-SNE.* Journal of Machine Learning Research 9(11), 2008.
5. Mikhail Belkin and Partha Niyogi. *Laplacian Eigenmaps for Dimensionality Reduction and Data Representation.* Neural Computation 15(6), 2003.
"""


def report_markdown(folder: Path, results: dict, scale: float, statement: str = "") -> str:
    """The whole report as markdown; scale: of the figures, 1 is as drawn; statement: on automatic tools, as somebody wrote it."""
    questions = [question_section(folder, name, entry, scale) for name, entry in results["questions"].items()]
    tools = ["# Automatic tools {#tools}\n\n" + statement_block(statement)] if statement else []
    body = "\n\n".join(
        [method_section(results), *questions, difficulties(results), *tools, run_section(results), REFERENCES]
    )
    return opening(results, re.findall(r"^# .*\{#(\w+)\}$", body, flags=re.M)) + body


def statement_block(statement: str) -> str:
    """A text from outside, read as plain CommonMark: nothing in it can upset the page, and no HTML in it gets lost."""
    tree = spelled_out(json.loads(pypandoc.convert_text(statement, "json", format="commonmark")))
    options = ["--fail-if-warnings", "--shift-heading-level-by=1", "--columns=10000"]
    text = pypandoc.convert_text(json.dumps(tree), "typst", format="json", extra_args=options)
    if '"t": "Image"' in json.dumps(tree):
        raise UserError("The statement on automatic tools holds a picture: give words only.")
    fence = "`" * (3 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{{=typst}}\n{text}\n{fence}\n"


def spelled_out(node):
    """pandoc's tree with every raw HTML in it as the words that it is."""
    if isinstance(node, dict) and node.get("t") in ("RawInline", "RawBlock"):
        word = {"t": "Str", "c": node["c"][1]}
        return word if node["t"] == "RawInline" else {"t": "Para", "c": [word]}
    if isinstance(node, dict):
        return {name: spelled_out(value) for name, value in node.items()}
    return [spelled_out(value) for value in node] if isinstance(node, list) else node


def opening(results: dict, labels: list) -> str:
    """Contents, from the sections' labels, and what is missing if the run is not whole."""
    contents = typst_block(f"#contents({', '.join(f'<{label}>' for label in labels)})")
    lacking = missing(results)
    note = f"**Not a whole report:** this run has not answered {', '.join(lacking)} yet." if lacking else ""
    names, rows = headline_table(results)
    table = (
        markdown_table(
            names, rows, "The methods in short; what each number means is told where its question is answered."
        )
        if rows
        else ""
    )
    return f"{contents}\n\n{note}\n\n{table}\n"


def run_section(results: dict) -> str:
    """Provenance and cost."""
    provenance = markdown_table(
        ["", "This run"], provenance_rows(results), "Where every number of this report comes from."
    )
    cost = cost_rows(results)
    columns = 3 if len(cost) > 6 else 1
    table = (
        markdown_table(
            ["Stage", "Seconds"] * columns,
            side_by_side(cost, columns),
            "What it cost: wall-clock time of each stage, nothing cached.",
        )
        if cost
        else ""
    )
    return f"# The run: provenance and cost {{#run}}\n\n{provenance}\n\n{table}\n"


def typst_source(markdown: str, results: dict, author: str = "") -> bytes:
    """The typst file of a report: our markdown in our page."""
    head = results["header"]
    values = {
        "title": TITLE,
        "subtitle": SUBTITLE,
        "author": typst_text(author),
        "running": TITLE,
        "source": f"profile {head['profile']}, {head['dataset']}, seed {head['seed']}",
        "stamp": warning(head),
        "body": to_typst(markdown),
    }
    return re.sub(r"\$(\w+)\$", lambda match: values[match[1]], TEMPLATE).encode()


def typst_text(text: str) -> str:
    """`text` so that typst shows every character of it, in markup and in strings alike."""
    return "".join(f"\\u{{{ord(sign):x}}}" if sign in '\\"#$*_`<>@[]~=-+/' else sign for sign in text)


def compiled(source: bytes, folder: Path) -> bytes:
    """The PDF of a typst file; its absolute paths begin at `folder`. Whatever typst warns of is an error."""
    pdf, warnings = typst.compile_with_warnings(source, root=str(folder), ignore_system_fonts=True)
    if warnings:
        raise RuntimeError(f"typst warns: {warnings[0]}")
    return pdf


SCALES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, READABLE)
PAGE_HEIGHT = 841.89  # points of A4


def page_limit(results: dict) -> int:
    """The exercise's Sec. 5.2.1: 14 pages, or 16 where the clustering bonus is done."""
    return 16 if any(name.startswith("CL") for name in results["questions"]) else 14


def section_lengths(source: bytes, folder: Path) -> tuple[int, dict]:
    """(pages, section: length in pages) of a typst file."""
    marks = json.loads(typst.query(source, "<mark>", field="value", root=str(folder), ignore_system_fonts=True))
    places = [mark["page"] + mark["y"] / PAGE_HEIGHT for mark in marks]
    names = [re.sub(r"\\(.)", r"\1", name) for name in re.findall(r"^= (.+)$", source.decode(), flags=re.M)]
    return marks[-1]["page"], {
        name: end - start for name, start, end in zip(names, places[:-1], places[1:], strict=True)
    }


def fitted(folder: Path, results: dict, author: str = "", statement: str = "") -> bytes:
    """The typst file with the largest figures that keep the page limit; UserError where none does."""
    limit = page_limit(results)
    for scale in SCALES:
        source = typst_source(report_markdown(folder, results, scale, statement), results, author)
        pages, lengths = section_lengths(source, folder)
        if pages <= limit:
            return source
    longest = sorted(lengths, key=lengths.get, reverse=True)[:3]
    named = "; ".join(f"{name} ({lengths[name]:.1f} pages)" for name in longest)
    raise UserError(f"The report has {pages} pages and may have {limit}: shorten its longest sections, {named}.")


def build(folder: Path, author: str = "", statement: str = "", path: Path = None) -> Path:
    """Write report.pdf from a run's results.json and figures; returns its path.

    author: for the title; statement: on automatic tools, CommonMark; path: where to, by default `folder`/report.pdf.
    Raises UserError where results or figures are missing, or the report is longer than the exercise allows.
    """
    folder = Path(folder)
    results = load_results(folder)
    pdf = compiled(fitted(folder, results, author, statement), folder)
    return atomic(Path(path or folder / "report.pdf"), lambda temporary: temporary.write_bytes(pdf))


def main(arguments: list = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vicreg_nb.tools.report", description="Write report.pdf from results.json and figures/."
    )
    parser.add_argument(
        "--out", default="", help="folder of the run: results.json and figures/ (default: the project's folder)"
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
