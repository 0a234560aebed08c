"""The report: whose numbers it shows, how long it may be, what it must say, and what it must not do."""

import importlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
import typst
from made_run import FIGURES, change, make_run, write_png
from PIL import Image
from pypdf import PdfReader
from scipy import stats
from vicreg_nb.book import QUESTIONS, Numbers, Question
from vicreg_nb.config import SETTINGS
from vicreg_nb.plots import Drawing, new_figure
from vicreg_nb.store import UserError
from vicreg_nb.tools import report
from vicreg_nb.tools.report import (
    Piece, Size, build, ends, few_colours, interleaved, load_results, main, markdown_table, over_seeds, palette_pdf,
    room_of, rows_of,
)  # fmt: skip


def pages_of(pdf):
    return [page.extract_text() for page in PdfReader(pdf).pages]


def words_of(pdf):
    return " ".join(" ".join(pages_of(pdf)).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A made-up run with its report; tests do not change it."""
    folder = make_run(tmp_path_factory.mktemp("made"))
    build(folder)
    return folder


# ---- what it says


def test_equations_carry_the_exercises_numbers(made):
    text = words_of(made / "report.pdf")
    assert (
        re.search(r"MSE.{0,40}\(2\)", text)
        and all(f"({number})" in text for number in range(1, 7))
        and "(7)" not in text
    )


@pytest.mark.parametrize("name", [name for name in SETTINGS if name not in report.APART])
def test_every_setting_of_the_method_that_differs_is_told(made, name):
    results = load_results(made)
    before, value = report.settings_rows(results), SETTINGS[name].default
    named = {"encoder": "small", "optimizer": "muon", "schedule": "onecycle"}
    other = named[name] if name in named else not value if isinstance(value, bool) else value + 1
    more = {"optimizer": "muon"} if name == "muon_lr" else {}
    for entry in results["questions"].values():
        entry["settings"] = {name: other, **more}
    assert report.settings_rows(results) != before


def test_what_the_text_cites_is_in_the_references(made):
    text = words_of(made / "report.pdf")
    said, _, listed = text.rpartition("References 1.")
    cited = re.findall(r"([A-Z]\w+)(?: and [A-Z]\w+| et al\.,?)? \(?((?:19|20)\d\d)\)", said)
    assert len(cited) > 1 and all(re.search(rf"{name}.*?{year}", listed) for name, year in cited)


# ---- its length and its look


def test_figures_share_a_row_that_can_still_be_read():
    for widths in ([6.9], [3.4, 3.2], [4.6, 4.6, 4.6], [12.0], [2.0] * 7):
        for least in (1.0, 0.7):
            sizes = [Size(width, 2.0, least) for width in widths]
            rows = rows_of(sizes)
            assert sum(rows, []) == sizes
            for row in rows:
                across = sum(size.width for size in row) * room_of(row) + report.GUTTER * (len(row) - 1)
                assert across <= report.TEXT_WIDTH + 1e-9 and (len(row) == 1 or room_of(row) >= least - 0.05)
    assert [len(row) for row in rows_of([Size(3, 2)] * 2)] == [2]
    assert [len(row) for row in rows_of([Size(6, 2), Size(2, 2), Size(6, 2)])] == [1, 1, 1]


@pytest.mark.parametrize("said, least", [("7", 1.0), ("14", 0.5), ("5", 1.0), ("large", 1.0), ("nan", 1.0), ("0", 1.0)])
def test_a_figure_shrinks_as_far_as_its_letters_allow(said, least):
    picture = Image.new("RGB", (400, 200))
    picture.info["smallest letters"] = said
    assert report.size_of(picture) == (2.0, 1.0, least)


def test_drawings_say_how_large_their_letters_are(tmp_path):
    _, ax = drawing = new_figure(width=2)
    ax.set_title("A title", fontsize=12)
    ax.text(0.5, 0.5, "small", fontsize=7.5)
    ax.text(0.5, 0.1, "", fontsize=3)
    (tmp_path / "figures").mkdir()
    Drawing(drawing[0]).save(tmp_path / "figures" / "x")
    assert report.size_of(report.read_figure(tmp_path, "x")).least == pytest.approx(7 / 7.5)


def test_asides_are_left_out_of_a_full_report_and_nothing_else(tmp_path):
    folder = make_run(tmp_path, sentences=14)
    change(folder, lambda results: results["questions"]["Q7"].update(asides=["q7_1"]))
    change(folder, lambda results: results["questions"]["CL2"].update(asides=["cl2_0"]))
    reader = PdfReader(build(folder))
    shown = {name: words_of(folder / "report.pdf").count(f"What {name} shows") for name in FIGURES}
    assert len(reader.pages) <= 14 and shown["CL2"] == 0 and shown["Q7"] >= 2
    assert all(shown[name] == len(FIGURES[name]) for name in FIGURES if name not in ("Q7", "CL2"))


@pytest.mark.parametrize("sentences", [1, 6])
def test_no_figure_stands_on_a_page_before_its_questions_heading(tmp_path, sentences):
    folder = make_run(tmp_path, sentences=sentences)
    pages = [" ".join(page.split()) for page in pages_of(build(folder))]
    pages[0] = pages[0].partition("An encoder")[2]  # without the contents
    for name in FIGURES:
        (heading,) = [place for place, page in enumerate(pages) if f"A title for {name}" in page]
        shown = [place for place, page in enumerate(pages) if f"What {name} shows" in page]
        assert shown and min(shown) >= heading, name


@pytest.mark.parametrize("sentences", [1, 6, 9])
def test_no_heading_is_left_alone_at_the_foot_of_a_page(tmp_path, sentences):
    for page in pages_of(build(make_run(tmp_path, sentences=sentences))):
        text = re.sub(r"Page \d+ of \d+$", "", " ".join(page.split())).strip()
        assert not re.search(r"(A title for \w+|Method|Automatic tools|References)$", text)


def test_the_order_of_pieces_is_the_best_of_all_that_are_allowed():
    def cost(order, start):
        early = sum(piece.kind != "figures" and later.kind == "figures" for piece, later in combinations(order, 2))
        for piece in order:
            start = ends(piece, start)
        return start + 0.003 * early

    random = np.random.default_rng(0)
    for _ in range(20):
        figures = [Piece("figures", "", height) for height in random.uniform(0.1, 0.6, 3)]
        others = [Piece("text", "", height) for height in random.uniform(0.02, 0.3, 2)] + [Piece("table", "", 0.15)]
        start = random.uniform(1.1, 1.9)
        allowed = [
            order
            for order in map(list, permutations(figures + others))
            if [one for one in order if one in figures] == figures and [one for one in order if one in others] == others
        ]
        found = interleaved(figures + others, start)
        assert found in allowed and cost(found, start) == pytest.approx(min(cost(order, start) for order in allowed))


def test_text_fills_the_page_that_a_figure_leaves(tmp_path):
    folder = make_run(tmp_path, questions=("Q1", "Q7"))
    results = load_results(folder)
    pieces, paragraph = report.report_pieces(folder, results), "The page goes on. " * 12
    section = next(place for place, piece in enumerate(pieces) if "A title for Q7" in piece.text)
    pieces[section + 4 : section + 4] = [Piece("text", paragraph)] * 9
    pieces = report.typst_pieces(pieces)
    for entry in results["questions"].values():
        for name, _ in entry["figures"]:
            (tmp_path / f"{name}.pdf").write_bytes(palette_pdf(few_colours(report.read_figure(folder, name))))
    plain = report.beginnings(report.typst_source(pieces, results), tmp_path)
    pieces = report.measured(pieces, results, tmp_path, 1.0)
    _, better = report.arranged(pieces, results, tmp_path, "", 1.0)
    assert better[-1][1] < plain[-1][1] and sorted(kind for kind, _ in better) == sorted(kind for kind, _ in plain)


# ---- its figures


def as_printed(picture):
    """A picture as the page of a report shows it, read back by another library."""
    page = '#set page(width: auto, height: auto, margin: 0pt)\n#image("/x.pdf", width: 1in)'
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "x.pdf").write_bytes(palette_pdf(few_colours(picture)))
        pdf = typst.compile(page.encode(), root=folder, ignore_system_fonts=True)
    (image,) = PdfReader(io.BytesIO(pdf)).pages[0].images
    return np.asarray(image.image.convert("RGB"), int)


def test_a_drawing_is_printed_as_it_is():
    flat = np.full((60, 80, 3), 255, np.uint8)
    flat[10:20], flat[:, 30:33] = (20, 72, 127), (179, 69, 124)
    assert (as_printed(Image.fromarray(flat)) == flat).all()


def test_photographs_keep_their_colours():
    random = np.random.default_rng(0)
    photos = np.kron(random.integers(0, 256, (24, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    drawing = photos.copy()
    drawing[:, :] = (255, 255, 255)
    count = [len(few_colours(Image.fromarray(picture)).getcolors()) for picture in (photos, drawing)]
    assert count[0] > 128 and count[1] == 1
    assert np.abs(as_printed(Image.fromarray(photos)) - photos).mean() < 12


# ---- reproducible, offline, robust


def test_it_is_the_same_in_any_locale(tmp_path):
    folder = make_run(tmp_path, questions=("Q1",), device="Zoës Gerät – №1")
    here = build(folder, path=tmp_path / "here.pdf").read_bytes()
    latin = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "vicreg_nb.tools.report", "--out", str(folder)]
    subprocess.run(command, env=latin, check=True, capture_output=True)
    assert (folder / "report.pdf").read_bytes() == here


def test_the_same_run_gives_the_same_bytes(made, tmp_path):
    assert build(made, path=tmp_path / "again.pdf").read_bytes() == (made / "report.pdf").read_bytes()


def test_it_needs_no_network(made):
    results = load_results(made)
    source = report.typst_source(report.typst_pieces(report.report_pieces(made, results)), results).decode()
    assert "@preview" not in source and "http" not in source


def test_bars_and_other_marks_in_a_table_stay_in_their_cell(made):
    assert "untrained | plain" in words_of(made / "report.pdf")
    table = markdown_table(["a", "b"], [["1 | 2", "3"], [r"4 \| 5", "6"]])
    assert [len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()] == [4, 4, 4, 4]
    with pytest.raises(ValueError, match="has not 2 cells"):
        markdown_table(["a", "b"], [["1"]], "A caption")


@pytest.mark.parametrize("cells, flush_right", [
    (["70.1 %", "–"], True), (["1,234"], True), (["−0.12", "*0.5*"], True), (["12 s", "3 min 20 s"], True),
    (["VICReg"], False), (["1 of them"], False), ([], False),
])  # fmt: skip
def test_numbers_are_set_flush_right(cells, flush_right):
    assert (markdown_table(["a"], [[cell] for cell in cells]).splitlines()[1] == "| ---: |") == flush_right


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "is in results.json but not on disk: run its question again"),
        (b"GIF89a" + b"0" * 30, "is not a picture"),
    ],
)
def test_a_missing_or_broken_figure_is_one_sentence(tmp_path, content, said, capsys):
    figure = make_run(tmp_path, questions=("Q1", "Q3")) / "figures" / "q3_1.png"
    figure.unlink() if content is None else figure.write_bytes(content)
    assert main(["--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{figure} {said}") and len(error.splitlines()) == 1


def test_a_large_figure_stays_on_the_page(tmp_path):
    folder = make_run(tmp_path, questions=("Q1", "Q2"))
    write_png(folder / "figures" / "q2_0.png", 14, 8)
    assert len(PdfReader(build(folder)).pages) <= 14


# ---- what it shows


def test_every_question_has_its_place_title_answer_and_captions(made):
    text = words_of(made / "report.pdf")
    for entry in load_results(made)["questions"].values():
        assert f"{entry['place']}: {entry['title']}" in text
        assert f"{entry['numbers']['count']:,}" in text and f"{entry['numbers']['accuracy']:.1%}" in text
    for fact in ("abcdef123456", "a device", "torch 2.11.0", "50,000"):
        assert fact in text


def test_questions_stand_in_the_books_order(made):
    text = words_of(made / "report.pdf")
    places = [text.rindex(f"A title for {name}") for name in FIGURES]
    assert places == sorted(places)


@pytest.mark.parametrize("header", [{"profile": "smoke"}, {"dataset": "shapes"}, {}])
def test_a_run_that_is_no_result_says_so_on_every_page(tmp_path, header):
    pages = pages_of(build(make_run(tmp_path, questions=("Q1", "Q3", "Q7"), **header)))
    assert all(("not a result" in " ".join(page.split())) == bool(header) for page in pages)


def test_what_is_missing_is_named(tmp_path):
    folder = make_run(tmp_path, questions=("Q1", "AD1"))
    assert report.missing(load_results(folder)) == ["Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "AD2", "AD3"]
    assert "Q2, Q3, Q4, Q5, Q6, Q7, AD2, AD3" in words_of(build(folder))


# ---- how long and how large it is


def test_pages_and_bytes_are_counted_and_allowed(made, tmp_path):
    assert len(PdfReader(made / "report.pdf").pages) <= 16 and (made / "report.pdf").stat().st_size < 2_000_000
    without = make_run(tmp_path, questions=[name for name in FIGURES if not name.startswith("CL")])
    assert len(PdfReader(build(without)).pages) <= 14
    assert report.page_limit(load_results(made)) == 16 and report.page_limit(load_results(without)) == 14


def test_a_report_that_is_too_long_names_its_longest_section(tmp_path, capsys):
    folder = make_run(tmp_path, sentences=30)
    change(folder, lambda results: results["questions"]["Q5"].update(answer="So many words. " * 900))
    assert main(["--out", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "A title for Q5" in error and len(error.splitlines()) == 1 and not (folder / "report.pdf").exists()


@pytest.mark.parametrize("header", [{}, {"profile": "smoke"}, {"settings": {"mu": 5.0}}])
@pytest.mark.parametrize("tool", ["report", "page", "explorer", "readme"])
def test_tools_say_what_a_run_is_not(tmp_path, capsys, monkeypatch, tool, header):
    folder, tool = make_run(tmp_path, **header), importlib.import_module(f"vicreg_nb.tools.{tool}")
    monkeypatch.setattr(tool, "refresh" if hasattr(tool, "refresh") else "build", lambda *given: folder / "made")
    assert tool.main(["--out", str(folder)]) == 0
    warned = report.warning(json.loads((folder / "results.json").read_text())["header"])
    assert capsys.readouterr().out.splitlines()[1:] == [warned] * bool(header)
    change(folder, lambda results: results["questions"]["Q5"].update(code="of another version"))
    assert tool.main(["--out", str(folder)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + bool(header)


# ---- words from outside


def test_names_and_statements_come_through_literally(tmp_path):
    folder = make_run(tmp_path, questions=("Q1",))
    author = 'Zoë "Z" #1 $x$ <i> @home [b] _u_ * (zoe@x)'
    statement = "It wrote 50% of #set text(red), and $x^2$ too.\n\n<div>raw</div>\n\n# A heading\n\n```\ncode #x\n```\n"
    text = words_of(build(folder, author=author, statement=statement))
    straight = text.translate(str.maketrans("“”‘’", "\"\"''"))
    for part in (author, "50% of #set text(red), and $x^2$ too", "<div>raw</div>", "A heading", "code #x"):
        assert part in straight, part


@pytest.mark.parametrize("statement, words", [
    ("[a](http://x.y).b", "a (http://x.y).b"), ("[](x)", "(x)"), ("```{=typst}\n#panic()\n```", "#panic()"),
    ("![x](figures/q1_0.png)", "x (figures/q1_0.png)"), ("$\\norm$", "$\\norm$"),
])  # fmt: skip
def test_a_statement_is_set_as_the_words_that_it_is(tmp_path, statement, words):
    text = words_of(build(make_run(tmp_path, questions=("Q1",)), statement=statement))
    assert f"Automatic tools {words} The run" in text


@pytest.mark.parametrize("statement", ["王小明", "it was fun 🎉"])
def test_a_letter_that_no_font_has_is_refused_in_a_sentence(made, tmp_path, statement):
    with pytest.raises(UserError, match="no '[王小明🎉]'") as caught:
        build(made, statement=statement, path=tmp_path / "x.pdf")
    assert "\n" not in str(caught.value) and not (tmp_path / "x.pdf").exists()


def test_an_answer_that_pandoc_cannot_read_is_one_sentence(tmp_path, capsys):
    folder = make_run(tmp_path, questions=("Q1",))
    change(folder, lambda results: results["questions"]["Q1"].update(answer="It is $\\norm$."))
    assert main(["--out", str(folder)]) == 1 and not (folder / "report.pdf").exists()
    error = capsys.readouterr().err
    assert "cannot be set" in error and "norm" in error and len(error.splitlines()) == 1


def test_without_pandoc_it_is_one_sentence(made, tmp_path, monkeypatch):
    def absent(*given, **more):
        raise OSError("No pandoc was found")

    monkeypatch.setattr(report.pypandoc, "convert_text", absent)
    with pytest.raises(UserError, match="pip install pypandoc_binary"):
        build(made, path=tmp_path / "x.pdf")
    assert not (tmp_path / "x.pdf").exists()


@pytest.mark.parametrize("text", [None, "{", "[]", '{"header": {}, "questions": {}}', '{"header": 3}', "\xff"])
def test_a_file_that_is_no_run_is_one_sentence(tmp_path, text, capsys):
    if text is not None:
        (tmp_path / "results.json").write_bytes(text.encode("latin-1"))
    assert main(["--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "results.json" in error and len(error.splitlines()) == 1


@pytest.fixture
def three_runs(monkeypatch):
    """Three runs of one question, whose probe, hardest class and detail differ from seed to seed."""
    asked = Question("Q0", "A question", "nowhere")
    QUESTIONS.pop("Q0")
    asked.says("It is {probe.accuracy:.1%} ± {probe.interval:.1%} ({over}).")
    asked.says("More: {gain.points:.2f} ± {gain.interval:.2f}.", when=lambda n: n.gain.points > n.gain.interval)
    asked.says("No more: {gain.points:.2f}.", when=lambda n: n.gain.points <= n.gain.interval)
    asked.says("Hardest is {hardest[class]} ({hardest.share:.0%}).")
    asked.says("Above 61: {probe.accuracy:.1%}.", when=lambda n: n.probe.accuracy > 0.61)
    asked.says("Above 63: {probe.accuracy:.1%}.", when=lambda n: n.probe.accuracy > 0.6299)
    asked.table(
        lambda n: {"caption": "Probe.", "header": ["", "probe"], "rows": [["VICReg", f"{n.probe.accuracy:.1%}"]]}
    )
    monkeypatch.setattr("vicreg_nb.book.all_questions", lambda: {"Q0": asked})
    runs = []
    for seed, (accuracy, points, kind) in enumerate(zip((0.6044, 0.6344, 0.6544), (1.0, 2.0, 6.0), "aab", strict=True)):
        numbers = Numbers({
            "probe": {"accuracy": accuracy, "interval": 0.001}, "gain": {"points": points, "interval": 0.1},
            "hardest": {"class": kind, "share": accuracy / 2}, "over": "over images", "time": f"{seed} s",
        })  # fmt: skip
        entry = {"numbers": numbers, "answer": "", "tables": [asked.tables[0](numbers)], "figures": [["x", "Lines."]]}
        runs.append({"header": {"seed": seed}, "questions": {"Q0": entry}})
    return runs


def test_text_and_tables_over_seeds_give_means_and_intervals_over_seeds(three_runs):
    entry = over_seeds(three_runs[0], three_runs)["questions"]["Q0"]
    values, gains = np.array([0.6044, 0.6344, 0.6544]), np.array([1.0, 2.0, 6.0])
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))
    said = entry["answer"].split("\n\n")
    assert said[0] == f"It is {values.mean():.1%} ± {(high - low) / 2:.1%} (95 % over 3 seeds)."
    low, high = stats.t.interval(0.95, 2, gains.mean(), stats.sem(gains))
    assert low < 0 and said[1].startswith("No more: 3.00.")  # though it is measurable in each run alone
    assert said[2] == "Hardest is a (30%). *(So in the first seed, not in each.)*"  # a name keeps its own number
    assert said[3] == "Above 61: 63.1%. *(This holds in 2 of 3 seeds.)*" and len(said) == 5
    assert said[4].endswith("*(This holds in 2 of 3 seeds.)*")
    low, high = stats.t.interval(0.95, 2, values.mean(), stats.sem(values))  # not of the rounded cells
    assert entry["tables"][0]["rows"] == [["VICReg", f"{values.mean():.1%} ± {(high - low) / 2:.1%}"]]
    assert entry["figures"] == [["x", "Lines. (Seed 0.)"]]


def test_what_holds_in_few_seeds_is_not_said_and_older_runs_spoil_nothing(three_runs):
    for run, accuracy in zip(three_runs, (0.6, 0.6, 0.7), strict=True):
        run["questions"]["Q0"]["numbers"]["probe"]["accuracy"] = accuracy
    assert "Above" not in over_seeds(three_runs[0], three_runs)["questions"]["Q0"]["answer"]
    del three_runs[0]["questions"]["Q0"]["numbers"]["hardest"]  # as if it had been measured later
    entry, over = three_runs[0]["questions"]["Q0"], over_seeds(three_runs[0], three_runs)["questions"]["Q0"]
    assert over["numbers"] == entry["numbers"] and over["tables"] == entry["tables"]
    assert over["answer"].startswith(entry["answer"]) and "one seed" in over["answer"]
    assert over_seeds(three_runs[0], three_runs[:1]) is three_runs[0]
