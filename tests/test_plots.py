"""Each drawing shows the numbers that it was given, in the PNG's figure and in the HTML's."""

import matplotlib
import numpy as np
import pytest
from PIL import Image
from vicreg_nb.plots import (
    CLASS_COLOURS,
    METHOD_COLOURS,
    RIGHT,
    WRONG,
    Drawing,
    dots,
    heatmap,
    image_grid,
    lines,
    new_figure,
    scatter,
)

COLOURS = {"one": METHOD_COLOURS[0], "two": METHOD_COLOURS[1]}


def values(array):
    return np.asarray(array, float).tolist()


def test_methods_never_wear_the_colours_of_classes():
    assert not set(METHOD_COLOURS) & {*CLASS_COLOURS, RIGHT, WRONG} and len(set(METHOD_COLOURS)) == len(METHOD_COLOURS)


def test_lines_draw_both_from_one_table():
    x = np.arange(1, 5)
    panels = {"left": {"one": (x, x**2), "two": (x, 3.0 - x)}, "right": {"one": (x, x)}}
    drawn = lines(panels, "x", "y", COLOURS, dashed=["two"])
    assert [ax.get_title() for ax in drawn.picture.axes] == ["left", "right"]
    curves = [line for ax in drawn.picture.axes for line in ax.get_lines()]
    assert [values(line.get_ydata()) for line in curves] == [values(trace.y) for trace in drawn.interactive.data]
    assert [line.get_color() for line in curves] == [trace.line.color for trace in drawn.interactive.data]
    assert [line.get_linestyle() for line in curves] == ["-", "--", "-"]


def test_logarithmic_axes_in_both():
    drawn = lines({"": {"one": ([1, 10], [1, 100])}}, "x", "y", COLOURS, yscale="log")
    assert drawn.picture.axes[0].get_yscale() == drawn.interactive.layout.yaxis.type == "log"
    assert drawn.interactive.layout.xaxis.type != "log"


def test_dots_stand_in_their_rows():
    drawn = dots({"": {"one": [10, 20, 30], "two": [15, 5, 40]}}, ["a", "b", "c"], "share / %", COLOURS, chance=10)
    places = [cloud.get_offsets() for cloud in drawn.picture.axes[0].collections if len(cloud.get_offsets()) == 3]
    assert [values(place[:, 0]) for place in places] == [values(trace.x) for trace in drawn.interactive.data]
    assert all(np.abs(place[:, 1] - np.arange(3)).max() < 0.5 for place in places)
    assert list(drawn.interactive.data[0].y) == ["a", "b", "c"]


def test_a_scatter_shows_every_point_in_its_class_colour():
    random = np.random.default_rng(0)
    points, labels = random.normal(size=(300, 2)), random.integers(0, 3, 300)
    drawn = scatter({"here": (points, labels)}, ["cat", "dog", "ship"], marks={"here": points[:2]})
    cloud, marks = drawn.picture.axes[0].collections[:2]
    shown = {tuple(place) for place in np.asarray(cloud.get_offsets())}
    assert shown == {tuple(point) for point in points} and len(marks.get_offsets()) == 2
    assert len(np.unique(cloud.get_facecolors(), axis=0)) == 3


def test_a_grid_frames_and_captions_its_images():
    pictures = list(np.random.default_rng(0).integers(0, 255, (3, 4, 4, 3)).astype(np.uint8))
    drawn = image_grid([pictures[:2], [pictures[2]]], [["query", "ship"], ["cat"]], [[None, RIGHT], [WRONG]])
    axes = drawn.picture.axes
    assert [len(ax.images) for ax in axes] == [1, 1, 1, 0]
    assert np.array_equal(axes[2].images[0].get_array(), pictures[2])
    assert [ax.get_xlabel() for ax in axes] == ["query", "ship", "cat", ""]
    seen = [ax.spines["left"].get_edgecolor() for ax in axes[1:3]]
    assert seen[0][1] > seen[0][0] and seen[1][0] > seen[1][1]  # green, red


def test_a_heat_map_writes_its_numbers():
    matrix = np.array([[70.4, 29.6], [10, 90]])
    drawn = heatmap({"": (["a", "b"], matrix)}, ["x", "y"], "columns", "rows")
    assert [text.get_text() for text in drawn.picture.axes[0].texts] == ["70", "30", "10", "90"]
    assert values(drawn.interactive.data[0].z) == values(matrix)


def test_a_drawing_is_saved_whole_and_labelled(tmp_path):
    drawn = lines({"": {"one": ([1, 2], [1, 2])}}, "x", "y", COLOURS)
    drawn.save(tmp_path / "curve", "not a result <script>")
    with Image.open(tmp_path / "curve.png") as picture:
        assert picture.size[0] == pytest.approx(6.9 * 200, abs=2)
    assert any("not a result" in text.get_text() for text in drawn.picture.texts)
    page = (tmp_path / "curve.html").read_text(encoding="utf-8")
    assert "curve" in page and "not a result <script>" not in page
    assert not drawn.interactive.layout.annotations  # the label is on the file, not on the drawing


def test_a_notebook_shows_a_drawing():
    assert Drawing(new_figure()[0])._repr_png_().startswith(b"\x89PNG")


def test_the_page_shows_what_the_picture_shows():
    """Labels that only a later panel has, the line of chance, limits, and the title of a heat map's rows."""
    colours = {"a": "#111111", "b": "#222222"}
    page = dots({"1": {"a": [1, 2]}, "2": {"b": [2, 3]}}, ["r", "s"], "x", colours, chance=1.5, xlim=(0, 5)).interactive
    assert [trace.showlegend for trace in page.data] == [True, True]
    assert [(shape.x0, shape.showlegend) for shape in page.layout.shapes] == [(1.5, True), (1.5, False)]
    assert page.layout.xaxis.range == page.layout.xaxis2.range == (0, 5)
    curves = {"1": {"a": ([1, 2], [1, 2])}, "2": {"a": ([1, 2], [1, 2]), "b": ([1, 2], [1, 2])}}
    page = lines(curves, "x", "y", colours, yscale="log", ylim=(0.1, 10)).interactive
    assert [trace.showlegend for trace in page.data] == [True, False, True]
    assert page.layout.yaxis.range == (-1, 1) and page.layout.yaxis.type == "log"
    page = heatmap({"": (["r"], np.ones((1, 2)))}, ["c", "d"], "columns", "rows").interactive
    assert page.layout.yaxis.title.text == "rows"


def test_a_users_matplotlibrc_does_not_reach_our_figures(monkeypatch):
    usual = lines({"": {"a": ([0, 1], [1, 2])}}, "x", "y", {"a": "black"})._repr_png_()
    monkeypatch.setitem(matplotlib.rcParams, "font.family", ["monospace"])
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "red")
    assert lines({"": {"a": ([0, 1], [1, 2])}}, "x", "y", {"a": "black"})._repr_png_() == usual


def test_a_notebook_is_shown_both_figures():
    from IPython.core.formatters import DisplayFormatter

    drawn = lines({"": {"a": ([0, 1], [1, 2])}}, "x", "y", {"a": "#000000"})
    shown, _ = DisplayFormatter(active_types=["image/png", "text/plain"]).format(drawn)
    assert shown["image/png"].startswith(b"\x89PNG") and len(shown["application/vnd.plotly.v1+json"]["data"]) == 1
