"""The report: whose numbers it shows, how long it may be, what it must say, and what it must not do."""

import json
import re

import pytest
from made_run import make_run, smoke_book, write_png
from pypdf import PdfReader
from vicreg_nb.config import EXERCISE, METHOD_NAMES, PROFILES, UserError
from vicreg_nb.tools import report
from vicreg_nb.tools.report import (
    QUESTIONS,
    build,
    fitted,
    load_results,
    main,
    markdown_table,
    rows_of,
    section_lengths,
)

SHARP = 'A title: $5 * 3_000 # <b> @x "q" [y](z) \\alpha ~ = - + / {i} ^2 `c` | !'


def pages_of(pdf):
    return [page.extract_text() for page in PdfReader(pdf).pages]


def words_of(pdf):
    return " ".join(" ".join(pages_of(pdf)).split())


def change(folder, edit):
    results = json.loads((folder / "results.json").read_text())
    edit(results)
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A made-up run with its report; tests do not change it."""
    folder = make_run(tmp_path_factory.mktemp("made"))
    build(folder)
    return folder


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return smoke_book(tmp_path_factory)


# ---- what it says


def test_every_question_is_marked_with_its_number_and_title(made):
    contents, text = pages_of(made / "report.pdf")[0].split("The methods in short")[0], words_of(made / "report.pdf")
    for name, number in QUESTIONS.items():
        assert f"{number}: A title for {name}" in " ".join(contents.split())
        assert text.count(f"{number}: A title for {name}") == 2, name  # there and on top of its section


def test_it_has_everything_that_was_recorded(made):
    text = words_of(made / "report.pdf")
    for name, entry in load_results(made)["questions"].items():
        for _, caption in entry["figures"]:
            assert f"{caption.split(',')[0]}, with" in text
        assert f"The numbers of {name}." in text and f"{entry['numbers']['count']:,}" in text
    for fact in (
        "abcdef123456",
        "0123456789abcdef",
        "a device",
        "bf16",
        "torch 2.11.0",
        "2024-07-25 10:00:00 UTC",
        "50,000 training and 10,000 test images",
    ):
        assert fact in text
    assert "References" in text and "Difficulties, what worked and what did not" in text
    assert "Automatic tools" not in text  # only where there is a statement


def test_equations_carry_the_exercises_numbers(made):
    text = words_of(made / "report.pdf")
    assert (
        re.search(r"MSE.{0,40}\(2\)", text)
        and all(f"({number})" in text for number in range(1, 7))
        and "(7)" not in text
    )


@pytest.mark.parametrize("header, said", [
    ({"profile": "smoke"}, "Smoke run: a few steps to test the code, not a result"),
    ({"dataset": "shapes"}, "Made from the embedded data set shapes (profile exercise): not a result on CIFAR-10"),
    ({"profile": "quick"}, ""),
])  # fmt: skip
def test_a_run_that_is_no_result_says_so_on_every_page(tmp_path, header, said):
    pages = pages_of(build(make_run(tmp_path, questions=("Q1", "Q3", "Q7"), **header)))
    assert len(pages) > 2
    assert [said in " ".join(page.split()) for page in pages] == [True] * len(pages)
    if not said:
        assert not any("not a result" in " ".join(page.split()) for page in pages)


def test_what_is_missing_is_said(tmp_path):
    text = words_of(build(make_run(tmp_path, questions=("Q1", "AD1"))))
    assert "this run has not answered Q2, Q3, Q4, Q5, Q6, Q7, AD2, AD3 yet" in text


def test_sentences_follow_the_numbers(tmp_path):
    def said(accuracy, plain, **header):
        make_run(tmp_path, questions=("Q3",), **header)
        change(
            tmp_path,
            lambda results: results["questions"]["Q3"]["numbers"].update(accuracy=accuracy, untrained_accuracy=plain),
        )
        results = load_results(tmp_path)
        return " ".join(report.worked(results)), " ".join(report.did_not(results))

    worked, not_worked = said(0.61, 0.3)
    assert (
        "The exercise's settings worked as given: the linear probe reaches 61.0%" in worked
        and "61.0%" not in not_worked
    )
    assert "This run's settings were enough" in said(0.61, 0.3, profile="quick")[0]
    worked, not_worked = said(0.5, 0.3)
    assert "Training taught the encoder something: its linear probe gives 50.0%, and 30.0% untrained" in worked
    assert "stays at 50.0%, below the exercise's 60%" in not_worked
    assert "Training taught" not in said(0.31, 0.3)[0]  # within twice the interval of 0.0096


# ---- its numbers


NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def numbers_in(text):
    return {token.rstrip(".,") for token in NUMBER.findall(text)}


def forms(value):
    """Every number under a nested value, as the report may write it, and every number in its strings."""
    if isinstance(value, dict):
        return set().union(*map(forms, value), *map(forms, value.values()))
    if isinstance(value, list):
        return set().union(*map(forms, value))
    if isinstance(value, str):
        return numbers_in(value)
    if isinstance(value, bool) or value is None:
        return set()
    return numbers_in(" ".join([str(value), f"{value:.1%}", f"{value:.0%}", f"{value:.3f}", f"{value:,.0f}"]))


def strange_numbers(folder):
    """Numbers in the report that are neither in results.json nor in the report's own fixed text."""
    pages = pages_of(folder / "report.pdf")
    text = "\n".join(pages)
    text = re.sub(r"Page\s+\d+\s+of\s+\d+", "", text)
    text = re.sub(r"(?:Figure|Table)\s+\d+\s*\.", "", text)
    contents, body = text.split("The methods in short", 1)
    results = json.loads((folder / "results.json").read_text())
    fixed = [
        report.METHOD,
        report.DIFFICULTIES,
        report.REFERENCES,
        report.TITLE,
        report.SUBTITLE,
        *QUESTIONS,
        *QUESTIONS.values(),
        *report.DATASET_NAMES.values(),
    ]
    fixed += [*METHOD_NAMES.values(), "(1)(2)(3)(4)(5)(6) 1. 2. 3. 4. 5."]  # equations, references
    settings = [str(value) for value in [*EXERCISE.values(), *PROFILES[results["header"]["profile"]].values()]]
    seconds = sum(stage["seconds"] for stage in results["stages"].values())
    known = forms(results) | numbers_in(" ".join(fixed)) | forms(seconds) | set().union(*map(numbers_in, settings))
    numbered = {str(page) for page in range(1, len(pages) + 1)}
    return (numbers_in(contents) - known - numbered) | (numbers_in(body) - known)


def test_every_number_in_the_report_is_in_the_results(made):
    assert strange_numbers(made) == set()


def test_every_number_of_the_smoke_books_report_is_in_its_results(book):
    assert len(numbers_in(words_of(book / "report.pdf"))) > 200
    assert strange_numbers(book) == set()


def test_a_number_typed_by_hand_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "DIFFICULTIES", report.DIFFICULTIES + "\nIt took 7391 hours, and 48.9 %.\n")
    build(make_run(tmp_path))
    monkeypatch.undo()
    assert strange_numbers(tmp_path) == {"7391", "48.9"}


# ---- its length and its look


def test_the_pages_are_counted_and_allowed(made, tmp_path):
    assert len(PdfReader(made / "report.pdf").pages) <= 16
    without = make_run(tmp_path, questions=[name for name in QUESTIONS if not name.startswith("CL")])
    assert len(PdfReader(build(without)).pages) <= 14
    assert report.page_limit(load_results(made)) == 16 and report.page_limit(load_results(without)) == 14


@pytest.mark.parametrize("bonus, limit", [(True, 16), (False, 14)])
def test_a_report_that_is_too_long_names_its_longest_sections(tmp_path, bonus, limit, capsys):
    folder = make_run(
        tmp_path, questions=[name for name in QUESTIONS if bonus or not name.startswith("CL")], sentences=30
    )
    change(folder, lambda results: results["questions"]["Q5"].update(answer="So many words. " * 700))
    assert main(["--out", str(folder)]) == 1
    out, error = capsys.readouterr()
    assert out == "" and len(error.splitlines()) == 1 and not (folder / "report.pdf").exists()
    assert re.match(
        rf"The report has \d+ pages and may have {limit}: shorten its longest sections, Section 3.2, Question 5 \(Q5\): A title for Q5 \(\d",
        error,
    )
    assert error.count(" pages)") == 3


def test_figures_shrink_before_it_is_an_error(tmp_path):
    folder = make_run(tmp_path, sentences=25)
    results = load_results(folder)
    at_full_size = report.typst_source(report.report_markdown(folder, results, 1.0), results)
    assert section_lengths(at_full_size, folder)[0] > 16
    assert len(PdfReader(build(folder)).pages) <= 16


def test_sections_are_measured_as_long_as_they_are(made):
    results = load_results(made)
    pages, lengths = section_lengths(fitted(made, results), made)
    assert pages == len(PdfReader(made / "report.pdf").pages)
    assert list(lengths)[0] == "Method" and list(lengths)[-1] == "References" and len(lengths) == len(QUESTIONS) + 4
    assert all(length > 0 for length in lengths.values()) and sum(lengths.values()) < pages


@pytest.mark.parametrize("sentences", [1, 6, 9])
def test_no_heading_is_left_alone_at_the_foot_of_a_page(tmp_path, sentences):
    pages = pages_of(build(make_run(tmp_path, sentences=sentences)))
    headings = [f"{number}: A title for {name}" for name, number in QUESTIONS.items()]
    headings += ["Method", "Difficulties, what worked and what did not", "The run: provenance and cost", "References"]
    for page in pages:
        text = re.sub(r"Page \d+ of \d+$", "", " ".join(page.split())).strip()
        assert not text.endswith(tuple(headings))


@pytest.mark.parametrize("sentences", [1, 6])
def test_no_figure_stands_on_a_page_before_its_questions_heading(tmp_path, sentences):
    pages = [" ".join(page.split()) for page in pages_of(build(make_run(tmp_path, sentences=sentences)))]
    pages[0] = pages[0].split("The methods in short")[1]  # without the contents
    for name, number in QUESTIONS.items():
        (heading,) = [place for place, page in enumerate(pages) if f"{number}: A title for {name}" in page]
        shown = [
            place
            for place, page in enumerate(pages)
            if re.search(rf"Figure \d+\. {name.capitalize() if name == 'ladder' else name} · ", page)
        ]
        assert shown and min(shown) >= heading, name


def test_figures_keep_one_scale_and_the_margins():
    for widths in ([6.9], [3.4, 3.2], [4.6, 4.6, 4.6], [12.0], [2.0] * 7):
        rows = rows_of(widths, 1.0)
        assert sum(map(len, rows)) == len(widths)
        assert all(sum(row) + report.GUTTER * (len(row) - 1) <= report.TEXT_WIDTH + 1e-9 for row in rows)
    assert rows_of([3.0, 3.0], 1.0) == [[3.0, 3.0]] and rows_of([6.0, 6.0], 1.0) == [[6.0], [6.0]]
    assert rows_of([3.0, 3.0], 0.5) == [[1.5, 1.5]]


# ---- reproducible, offline, robust


def test_the_same_run_gives_the_same_bytes(made, tmp_path):
    assert build(made, path=tmp_path / "again.pdf").read_bytes() == (made / "report.pdf").read_bytes()


def test_it_needs_no_network(made):
    source = report.typst_source(report.report_markdown(made, load_results(made), 1.0), load_results(made)).decode()
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


def test_titles_names_and_statements_come_through_literally(tmp_path):
    folder = make_run(tmp_path, questions=("Q1",))
    change(folder, lambda results: results["questions"]["Q1"].update(title=SHARP))
    author = 'Zoë "Z" #1 $x$ <i> @home [b] \\n _u_ * (zoe@x)'
    statement = "It wrote 50% of #set text(red), and $x^2$ too; @someone & <label> in C:\\\\dir; image(1).\n\n<div>raw</div>\n\n# A heading\n\n```\ncode #x ```` y\n```\n"
    text = words_of(build(folder, author=author, statement=statement))
    straight = text.translate(str.maketrans("“”‘’", "\"\"''"))
    assert f"Section 3.2, Question 1 (Q1): {SHARP}" in straight
    assert author in straight
    for part in (
        "50% of #set text(red), and $x^2$ too; @someone",
        "& <label>",
        "C:\\dir; image(1)",
        "<div>raw</div>",
        "A heading",
        "code #x ```` y",
    ):
        assert part in straight, part


def test_a_picture_in_the_statement_is_refused(made, tmp_path):
    with pytest.raises(UserError, match="holds a picture: give words only"):
        build(made, statement="![x](figures/q1_0.png)", path=tmp_path / "x.pdf")


def test_a_heading_inside_an_answer_is_no_section(tmp_path):
    folder = make_run(tmp_path, questions=("Q1", "Q3"))
    change(folder, lambda results: results["questions"]["Q1"].update(answer="# So\n\nIt is."))
    _, lengths = section_lengths(fitted(folder, load_results(folder)), folder)
    assert len(lengths) == 6 and "So It is." in words_of(build(folder))


@pytest.mark.parametrize(
    "content, said",
    [
        (None, "is in results.json but not on disk: run its question again"),
        (b"GIF89a" + b"0" * 30, "is not a PNG picture"),
    ],
)
def test_a_missing_or_broken_figure_is_one_sentence(tmp_path, content, said, capsys):
    figure = make_run(tmp_path, questions=("Q1", "Q3")) / "figures" / "q3_1.png"
    figure.unlink() if content is None else figure.write_bytes(content)
    assert main(["--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"{figure} {said}") and len(error.splitlines()) == 1


@pytest.mark.parametrize("text, said", [
    (None, "results.json is not there"), ("{", "is not a results file"), ("[]", "is not a results file"),
    ('{"header": {}, "questions": {}}', "is not a results file"),
    ('{"header": {"profile": "quick"}, "questions": {}}', "holds no question yet"),
    ('{"header": {"profile": "quick"}, "questions": {"Q99": {}}}', "holds 'Q99', which is no question"),
])  # fmt: skip
def test_a_file_that_is_no_run_is_one_sentence(tmp_path, text, said, capsys):
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    assert main(["--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1


def test_a_large_figure_stays_on_the_page(tmp_path):
    folder = make_run(tmp_path, questions=("Q1", "Q2"))
    write_png(folder / "figures" / "q2_0.png", 14, 8)
    assert len(PdfReader(build(folder)).pages) <= 14
