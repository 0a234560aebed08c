# %% [markdown]
# # 83 · Plots
# How do all figures of the book come to look alike? Five kinds of drawing serve nearly all of them: lines, dots,
# scatter, image grids and heat maps. Each takes a small table of panels, and the first two draw the PNG for the report
# and the interactive HTML from the same table.

# %%
#| default_exp plots

# %%
#| export
import io
import json
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import LogLocator
from plotly.subplots import make_subplots
from scipy.ndimage import gaussian_filter
from vicreg_nb.store import atomic

# %% [markdown]
# ## Colours
# Ten colours for the ten classes, made for the colour-blind as well (Petroff, 2021); but his two greys are too alike in
# small dots, so the first of them is a pink here. Methods never wear the colours
# of classes: they have five dark ones of their own. A green frame says *right*, a red one *wrong*.

# %%
#| export
CLASS_COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#f7a6c8", "#832db6",
                 "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")  # fmt: skip
METHOD_COLOURS = ("#14487f", "#b3457c", "#0b7a5b", "#7a6a00", "#4d4d4d")
RIGHT, WRONG, QUIET = "#2e9e4f", "#d1495b", "#9aa0a6"
STYLE = {
    "figure.dpi": 110, "savefig.dpi": 200, "font.size": 9, "axes.titlesize": 9, "axes.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555", "axes.labelcolor": "#333333",
    "xtick.color": "#555555", "ytick.color": "#555555", "axes.grid": True, "grid.color": "#e8e8e8",
    "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8,
    "figure.constrained_layout.use": True,
}  # fmt: skip

# %% [markdown]
# ## A figure
# What a drawing function returns: a matplotlib figure, and a plotly one where there is something to point at.


# %%
#| export
class Drawing(NamedTuple):
    """A figure: `picture` (matplotlib) and `interactive` (plotly, or None). A notebook shows what it can of both."""

    picture: Figure
    interactive: Any = None

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.picture.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()

    def _repr_mimebundle_(self, include=None, exclude=None):
        """Beside the picture, for notebooks that know plotly's own format; JupyterLab does, without a network."""
        return {"application/vnd.plotly.v1+json": json.loads(self.interactive.to_json())} if self.interactive else {}

    def save(self, path: Path, label: str = "") -> "Drawing":
        """Write <path>.png and, where there is one, <path>.html; `label`: a warning in their corners."""
        if label:
            _mark(self.picture, label)
        said = {"smallest letters": f"{_smallest_letters(self.picture):g}"}  # how small may the report show it?
        atomic(Path(f"{path}.png"), lambda place: self.picture.savefig(place, dpi=200, metadata=said))
        if self.interactive is not None:
            _save_html(self.interactive, Path(f"{path}.html"), label)
        return self


# %%
#| export
def _smallest_letters(figure):
    """Points of the smallest text that a figure shows."""
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return min((text.get_fontsize() for text in shown), default=STYLE["font.size"])


# %%
assert _smallest_letters(Figure()) == 9


# %%
#| export
def _mark(picture, label):
    """The label in a line of its own, below everything."""
    height = 0.13 / picture.get_figheight()
    picture.get_layout_engine().set(rect=(0, height, 1, 1 - height))
    picture.text(0.995, 0.005, label, ha="right", va="bottom", fontsize=7, color=WRONG)


def _save_html(figure, path, label):
    page = go.Figure(figure)
    page.update_layout(template="plotly_white", font={"family": "system-ui, sans-serif"})
    if label:
        corner = {"xref": "paper", "yref": "paper", "x": 1, "y": -0.18, "showarrow": False}
        page.add_annotation(text=label, font={"size": 10, "color": WRONG}, **corner)
    atomic(path, lambda place: page.write_html(place, include_plotlyjs="directory", div_id=path.stem))


def new_figure(rows: int = 1, cols: int = 1, width: float = 6.9, height: float = None, **subplots):
    """(figure, axes) in the book's style; sizes in inches, 6.9 is the report's full width."""
    matplotlib.rcdefaults()  # whatever a matplotlibrc of the user's says
    matplotlib.rcParams.update(STYLE)
    fig = Figure(figsize=(width, height or 0.62 * width * rows / cols))
    return fig, fig.subplots(rows, cols, **subplots)


# %%
fig, axes = new_figure(2, 1, height=1.4)
for ax, colours in zip(axes, (CLASS_COLOURS, METHOD_COLOURS), strict=True):
    ax.bar(range(len(colours)), 1, color=colours, width=0.92)
    ax.set(yticks=[], xticks=range(len(colours)))
    ax.grid(False)
Drawing(fig)

# %% [markdown]
# Panels side by side often show the same curves. They share one legend, in which each label stands once.


# %%
#| export
def _legend(fig, axes):
    """One legend below all panels, each label once."""
    found = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    if len(found) > 1:
        columns = 1 + int(fig.get_figwidth() * 14 / (6 + max(map(len, found))))
        fig.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), columns))


# %%
fig, axes = new_figure(1, 2, width=4.6, height=1.2)
for ax in axes:
    ax.plot([0, 1], label="up")
    ax.plot([1, 0], label="down")
_legend(fig, axes)
assert [text.get_text() for text in fig.legends[0].get_texts()] == ["up", "down"]
Drawing(fig)

# %% [markdown]
# ## Lines
# Curves against a number, side by side in panels: losses over batches, spectra, ROC curves.


# %%
#| export
def _once(label, named):
    """Of a trace: its place in the legend, where each label stands once, by the first panel that has it."""
    first = label not in named
    named.add(label)
    return {"legendgroup": label, "showlegend": first}


def _axis(axes, which):
    """plotly's options for an axis as `Axes.set` has it: its scale and its limits."""
    log, limits = axes.get(f"{which}scale") == "log", axes.get(f"{which}lim")
    if isinstance(limits, (int, float)):
        limits = (limits, None)
    limits = limits and [np.log10(end) if log and end is not None else end for end in limits]
    return ({"type": "log"} if log else {}) | ({"range": list(limits)} if limits else {})


# %%
named = set()
assert [_once(label, named)["showlegend"] for label in "abab"] == [True, True, False, False]
assert _axis({"yscale": "log", "ylim": (0.1, 10)}, "y") == {"type": "log", "range": [-1, 1]} and _axis({}, "x") == {}

# %% [markdown]
# A logarithmic axis over less than two powers of ten says 0.5, 1, 2 in place of $5 \times 10^{-1}$, which is hard to
# read.


# %%
#| export
def _plain_logarithm(ax):
    bottom, top = ax.get_ylim()
    if ax.get_yscale() == "log" and top < 100 * bottom:
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")


# %%
_, ax = new_figure()
ax.set(yscale="log", ylim=(0.4, 3))
_plain_logarithm(ax)
assert ax.yaxis.get_major_formatter()(0.5, 0) == "0.5"


# %%
#| export
def lines(panels: dict, xlabel: str, ylabel: str, colours: dict, dashed=(), thin=(), points=(), width=6.9, height=2.4,
          **axes) -> Drawing:  # fmt: skip
    """Curves {panel title: {label: (x, y)}}; colours: {label: colour}; axes: of every panel, as in `Axes.set`.

    dashed, thin, points: the labels drawn as dashed lines, as thin ones, and as points without a line.
    """
    fig, places = new_figure(1, len(panels), width=width, height=height, squeeze=False)
    page, named = make_subplots(1, len(panels), subplot_titles=list(panels)), set()
    for column, (ax, (title, curves)) in enumerate(zip(places[0], panels.items(), strict=True), 1):
        for label, (x, y) in curves.items():
            style, size = "o" if label in points else "--" if label in dashed else "-", 0.5 if label in thin else 1.6
            ax.plot(x, y, style, color=colours[label], linewidth=size, markersize=3.5, label=label)
            line = {"color": colours[label], "dash": "dash" if label in dashed else "solid", "width": 1.3 * size}
            look = {"mode": "markers" if label in points else "lines", "line": line}
            once = _once(label, named)
            page.add_trace(go.Scatter(x=x, y=y, name=label, **look, **once), row=1, col=column)
        ax.set(title=title, xlabel=xlabel, **axes)
        _plain_logarithm(ax)
    places[0, 0].set_ylabel(ylabel)
    _legend(fig, places[0])
    page.update_xaxes(title=xlabel, **_axis(axes, "x"))
    page.update_yaxes(**_axis(axes, "y"))
    page.update_yaxes(title=ylabel, col=1)
    return Drawing(fig, page)


# %%
x = np.linspace(0.01, 1, 50)
curves = {"root": (x, np.sqrt(x)), "square": (x, x**2), "cube": (x[::9], x[::9] ** 3)}
colours = dict(zip(curves, METHOD_COLOURS, strict=False))
lines({"one": curves, "two": curves}, "x", "y", colours, dashed=["square"], thin=["root"], points=["cube"])

# %% [markdown]
# ## Dots
# A number for each row and method: a dot plot. Rows are read from the top; the methods stand a little apart, so that
# none hides another.

# %%
#| export
CHANCE = {"color": "#777777", "dash": "dot"}  # a line


# %%
#| export
def dots(panels: dict, rows, xlabel: str, colours: dict, chance: float = None, width=6.9, height=None,
         **axes) -> Drawing:  # fmt: skip
    """Dots {panel title: {label: values [rows]}}; colours: {label: colour}; chance: where to draw a dotted line."""
    height = height or 0.21 * len(rows) + 0.9
    fig, places = new_figure(1, len(panels), width=width, height=height, squeeze=False, sharey=True)
    page, named = make_subplots(1, len(panels), subplot_titles=list(panels), shared_yaxes=True), set()
    for column, (ax, (title, series)) in enumerate(zip(places[0], panels.items(), strict=True), 1):
        every = np.array(list(series.values()), float)
        ax.hlines(range(len(rows)), every.min(axis=0), every.max(axis=0), color="#dddddd", linewidth=2, zorder=1)
        for place, (label, values) in enumerate(series.items()):
            y = np.arange(len(rows)) + 0.15 * (place - 0.5 * (len(series) - 1))
            mark = {"color": colours[label], "marker": "osD^vP"[place % 6], "edgecolors": "white", "linewidths": 0.5}
            ax.scatter(values, y, s=28, zorder=2, label=label, **mark)
            once = _once(label, named) | {"marker": {"color": colours[label], "size": 11}}
            page.add_trace(go.Scatter(x=values, y=rows, mode="markers", name=label, **once), row=1, col=column)
        if chance is not None:
            ax.axvline(chance, color=CHANCE["color"], linewidth=0.8, linestyle=":", label="chance")
            page.add_vline(chance, line=CHANCE, name="chance", row=1, col=column, **_once("chance", named))
        ax.set(title=title, xlabel=xlabel, yticks=range(len(rows)), yticklabels=rows, **axes)
        ax.set_ylim(len(rows) - 0.5, -0.5)
    _legend(fig, places[0])
    page.update_xaxes(title=xlabel, **_axis(axes, "x"))
    page.update_yaxes(autorange="reversed", col=1)
    return Drawing(fig, page)


# %%
table = {"VICReg": [52, 61, 40], "untrained": [22, 31, 19]}
dots({"": table}, ["cat", "ship", "frog"], "accuracy / %", dict(zip(table, METHOD_COLOURS, strict=False)), chance=10)

# %% [markdown]
# ## Scatter
# Points in the plane, coloured by class, with the class's name where its points are densest: ten colours alone would
# not be told apart, and the middle of a class in two parts is in neither. Axes of one scale, or a picture would show a
# shape that is not there. First the names: where they would cover each other, they move up and down until they do not.


# %%
#| export
def _apart(places, names, inch, marks=()):
    """`places` [K, 2] of labels, each moved up or down to the nearest place free of other labels and of marks.

    marks: points [M, 2]; inch: an inch of paper in data units.
    """
    taken = [(x, y, 0.04) for x, y in marks]
    for (x, middle), name in zip(places, names, strict=True):
        for step in count():
            y, half = middle + 0.03 * inch * (-1) ** step * ((step + 1) // 2), 0.04 * len(name)
            if all(abs(x - a) >= inch * (half + wide) or abs(y - b) >= 0.15 * inch for a, b, wide in taken):
                break
        taken.append((x, y, half))
    return np.array(taken)[len(marks) :, :2]


# %%
crowd = _apart([[0, 0], [0.1, 0.02], [0, 0.01], [9, 0]], ["automobile", "truck", "cat", "dog"], inch=1)
assert np.diff(np.sort(crowd[:3, 1])).min() > 0.149 and crowd[[0, 3]].tolist() == [[0, 0], [9, 0]]
assert abs(_apart([[0, 0]], ["cat"], 1, marks=[[0.1, 0.02]])[0, 1] - 0.02) > 0.149


# %%
#| export
def _densest(points):
    """Where points [N, 2] are densest, on a grid of 24 x 24 over them, smoothed by a cell."""
    counts, *edges = np.histogram2d(*points.T, bins=24)
    cell = np.unravel_index(gaussian_filter(counts, 1).argmax(), counts.shape)
    return [(edge[place] + edge[place + 1]) / 2 for place, edge in zip(cell, edges, strict=True)]


# %%
two = np.random.default_rng(0).normal(size=(900, 2)) + np.repeat([[0, 0], [12, 0]], (300, 600), axis=0)
assert np.hypot(*(np.array(_densest(two)) - [12, 0])) < 1.5


# %%
#| export
def _name_classes(ax, points, labels, classes, colours, inch, marks=()):
    kinds = [kind for kind in range(len(classes)) if (labels == kind).any()]
    middles = [_densest(points[labels == kind]) for kind in kinds]
    places = _apart(middles, [classes[kind] for kind in kinds], inch, marks)
    for kind, middle, place in zip(kinds, middles, places, strict=True):
        box = {"facecolor": "white", "alpha": 0.8, "linewidth": 1.2, "boxstyle": "round,pad=0.15"}
        box["edgecolor"] = colour = colours[kind % len(colours)]
        ax.plot(*zip(middle, place, strict=True), color="#222222", linewidth=0.7, zorder=4)
        ax.plot(*middle, "o", color=colour, markersize=3.5, markeredgecolor="#222222", markeredgewidth=0.6, zorder=4)
        ax.text(*place, classes[kind], fontsize=7.5, color="#222222", ha="center", va="center", bbox=box, zorder=5)


def _cloud(ax, points, shades):
    """Points in a random order, so that no class lies on top of the others; the more, the smaller."""
    order = np.random.default_rng(0).permutation(len(points))
    size = float(np.clip(20_000 / len(points), 2, 14))
    ax.scatter(*points[order].T, c=shades[order], s=size, alpha=0.75, linewidths=0, rasterized=True)


def _list_classes(ax, classes, colours):
    """Entries for a legend, one for each class."""
    for kind, name in enumerate(classes):
        ax.scatter([], [], color=colours[kind % len(colours)], label=name)


# %%
_, ax = new_figure()
_list_classes(ax, ["cat", "ship"], CLASS_COLOURS)
assert ax.get_legend_handles_labels()[1] == ["cat", "ship"]


# %%
#| export
def scatter(panels: dict, classes, columns=2, colours=CLASS_COLOURS, marks=None, legend=False, width=6.9) -> Drawing:
    """Points {title: (points [N, 2], labels [N])}; classes: their names; marks: {title: points to draw in black}.

    legend: the names stand below the panels, for classes that lie on one another.
    """
    rows = -(-len(panels) // columns)
    height = width / columns * rows + (0.7 if legend else 0.3)
    fig, places = new_figure(rows, columns, width=width, height=height, squeeze=False)
    for ax, (title, (points, labels)) in zip(places.flat, panels.items(), strict=False):
        _cloud(ax, points, np.array([colours[kind % len(colours)] for kind in labels]))
        if legend:
            _list_classes(ax, classes, colours)
        else:
            inch = 1.1 * np.ptp(points, axis=0).max() / (width / columns)
            _name_classes(ax, points, labels, classes, colours, inch, marks[title] if marks else ())
        if marks:
            ax.scatter(*marks[title].T, color="black", s=55, marker="X", edgecolors="white", linewidths=0.9, zorder=6)
        ax.set(title=title, xticks=[], yticks=[])
        ax.axis("equal")
        ax.set_box_aspect(1)
    for ax in places.flat[len(panels) :]:
        ax.remove()
    _legend(fig, places.flat[: len(panels)])
    return Drawing(fig)


# %%
random = np.random.default_rng(0)
kinds = random.integers(0, 3, 600)
cloud = random.normal(size=(600, 2)) + 4 * np.eye(3)[kinds][:, :2]
scatter({"by kind": (cloud, kinds), "shuffled": (cloud, random.permutation(kinds))}, ["cat", "ship", "frog"])

# %% [markdown]
# ## Image grids
# Rows of images, each with a caption and a frame where it says something. `None` leaves a place empty, and a column
# that is empty in all rows is a narrow gap.


# %%
#| export
def image_grid(rows: list, captions=None, frames=None, titles=None, labels=None, width: float = 6.9) -> Drawing:
    """Rows of images (uint8 arrays, or None for an empty place), with for each image a caption and a frame's colour.

    captions, frames: as `rows`, or None; titles: a heading above each row, or None; labels: a word left of each row.
    """
    columns = max(map(len, rows))
    filled = {place for row in rows for place, picture in enumerate(row) if picture is not None}
    widths = [1 if place in filled else 0.25 for place in range(columns)]
    lines = 1 + max((str(text).count("\n") for row in captions for text in row), default=0) if captions else 0
    inch = (width - (0.9 if labels else 0)) / sum(widths)
    height = len(rows) * (inch + 0.13 * lines + (0.2 if titles else 0)) + 0.05
    fig, axes = new_figure(len(rows), columns, width, height, squeeze=False, gridspec_kw={"width_ratios": widths})
    fig.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    for row, line in enumerate(axes):
        for column, ax in enumerate(line):
            shown = column < len(rows[row]) and rows[row][column] is not None
            caption = captions[row][column] if captions and shown else ""
            frame = frames[row][column] if frames and shown else None
            _show(ax, rows[row][column] if shown else None, caption, frame)
        if titles and titles[row]:
            line[0].set_title(titles[row], loc="left", fontsize=8.5)
        if labels:
            line[0].set_ylabel(labels[row], rotation=0, ha="right", va="center", fontsize=8)
    return Drawing(fig)


# %%
#| export
def _show(ax, picture, caption, frame):
    """One image without axes, with its caption under it, in a frame where there is something to say."""
    ax.set(xticks=[], yticks=[], anchor="N")
    ax.grid(False)
    for side in ax.spines.values():
        side.set(visible=picture is not None, color=frame or "#d0d0d0", linewidth=2.2 if frame else 0.5)
    if picture is not None:
        ax.imshow(picture, interpolation="nearest")
        ax.set_xlabel(caption, fontsize=7, labelpad=1.8, color="#444444")


# %%
pictures = np.random.default_rng(1).integers(0, 255, (5, 8, 8, 3)).astype(np.uint8)
frames = [[None, RIGHT, WRONG], [None, RIGHT, RIGHT]]
grid = [[*pictures[:3]], [pictures[3], None, pictures[4]]]
gap = image_grid([[pictures[0], None, pictures[1]]]).picture.axes[0].get_gridspec()
assert gap.get_width_ratios() == [1, 0.25, 1]
image_grid(grid, [["query", "ship", "cat"], ["query", "", "frog"]], frames, ["VICReg", "neighbour pairs"], width=3)

# %% [markdown]
# ## Images over dots
# What was changed in an image, and what came of it: a column of images for each change, and below it its numbers.


# %%
#| export
def images_over_dots(pictures: dict, series: dict, ylabel: str, colours: dict, line: int = None, width=6.9, height=3.2,
                     **axes) -> Drawing:  # fmt: skip
    """Images {column: a list of as many rows}, and below each column dots {label: values [columns]}.

    colours: {label: colour}; line: after how many columns a vertical line stands; axes: as in `Axes.set`.
    """
    rows, x = len(next(iter(pictures.values()))), np.arange(len(pictures))
    ratios = {"height_ratios": [1] * rows + [1.3 * rows], "wspace": 0.02, "hspace": 0.02}
    fig, places = new_figure(rows + 1, len(pictures), width, height, squeeze=False, gridspec_kw=ratios)
    for (row, column), ax in np.ndenumerate(places):
        ax.axis("off")
        if row < rows:
            ax.imshow(list(pictures.values())[column][row], interpolation="nearest")
    ax = fig.add_subplot(places[0, 0].get_gridspec()[rows, :])
    for number, (label, values) in enumerate(series.items()):
        aside = 0.15 * (number - 0.5 * (len(series) - 1))
        ax.plot(x + aside, values, "osD^vP"[number % 6], color=colours[label], markersize=5, label=label)
    if line:
        ax.axvline(line - 0.5, color=QUIET, linewidth=0.8)
    ax.set(xlim=(-0.5, len(x) - 0.5), ylabel=ylabel, **axes)
    ax.set_xticks(x, [name.replace(" ", "\n") for name in pictures], fontsize=7.5)
    _legend(fig, [ax])
    return Drawing(fig)


# %%
moved = {"VICReg": [0, 21, 30], "untrained": [0, 41, 72]}
shown = {"original": pictures[:1], "less contrast": 100 + pictures[:1] // 4, "upside down": pictures[:1, ::-1]}
images_over_dots(shown, moved, "move / %", dict(zip(moved, METHOD_COLOURS, strict=False)), line=2, width=3, height=2.4)

# %% [markdown]
# ## Heat maps
# A matrix of percentages with its numbers written in: confusions, and what clusters are made of.


# %%
#| export
def heatmap(panels: dict, columns, xlabel: str, ylabel: str, width=6.9, height=3.6, form=".0f", top=100) -> Drawing:
    """Matrices {panel title: (row names, values [rows, columns])} on a scale from 0 to `top`; form: of the numbers."""
    fig, places = new_figure(1, len(panels), width=width, height=height, squeeze=False)
    page = make_subplots(1, len(panels), subplot_titles=list(panels))
    for place, (ax, (title, (rows, values))) in enumerate(zip(places[0], panels.items(), strict=True), 1):
        ax.imshow(values, cmap="Blues", vmin=0, vmax=top, aspect="auto")
        for i, j in np.ndindex(values.shape):
            colour = "white" if values[i, j] > 0.55 * top else "#333333"
            ax.text(j, i, format(values[i, j], form), ha="center", va="center", fontsize=7, color=colour)
        ax.set(title=title, xlabel=xlabel, xticks=range(len(columns)), yticks=range(len(rows)), yticklabels=rows)
        ax.set_xticklabels(columns, rotation=45, ha="right", rotation_mode="anchor")
        ax.grid(False)
        ax.tick_params(labelsize=7.5)
        heat = go.Heatmap(
            z=values, x=list(columns), y=list(rows), colorscale="Blues", zmin=0, zmax=top, showscale=False
        )
        page.add_trace(heat, row=1, col=place)
    places[0, 0].set_ylabel(ylabel)
    page.update_yaxes(autorange="reversed")
    page.update_yaxes(title=ylabel, col=1)
    page.update_xaxes(title=xlabel)
    return Drawing(fig, page)


# %%
names = ["cat", "dog", "ship"]
heatmap(
    {"": (names, np.array([[70.0, 28, 2], [31, 66, 3], [1, 2, 97]]))}, names, "predicted", "true", width=3, height=2.4
)
