"""The book as one page: every executed notebook, and what a run found, shown letter by letter."""

import json
import re

import pytest
from browser import CHROMIUM, Browser
from made_run import answers, change, make_run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from vicreg_nb.book import keep_numbers
from vicreg_nb.store import UserError
from vicreg_nb.tools.page import build, main

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYPhfDwADAwGAvwJ3VAAAAABJRU5ErkJggg=="


def notebook(title, printed):
    shown = new_output("display_data", data={"image/png": PIXEL})
    cells = [
        new_markdown_cell(f"# {title}\nwith $x^2$"),
        new_code_cell("secret_set_up", metadata={"tags": ["skip-execution"]}),
        new_code_cell("print()", outputs=[new_output("stream", text=printed), shown], execution_count=1),
    ]
    return new_notebook(cells=cells)


@pytest.fixture
def run(tmp_path):
    folder = make_run(tmp_path, questions=("Q1", "Q3"))
    (folder / "executed").mkdir()
    for name, title in (("02_b", "Second"), ("01_a", "First")):
        text = json.dumps(notebook(title, f"printed by {title} <script>alert(1)</script>"))
        (folder / "executed" / f"{name}.ipynb").write_text(text, encoding="utf-8")
    return folder


def test_all_notebooks_stand_on_one_page_in_order(run):
    page = build(run).read_text(encoding="utf-8")
    assert page.index(">First</h1>") < page.index(">Second</h1>") and page.count("<math") >= 2
    assert "printed by First" in page and "secret_set_up" not in page
    assert page.count("data:image/png;base64") == 2 and "<script>alert" not in page


def test_what_a_cell_displays_is_shown_as_words_and_never_as_html(run):
    live = "<script>alert(3)</script><b>bold</b>"
    data = [{"text/markdown": f"**An answer** {live}"}, {"text/html": live, "text/plain": "the plain words"}]
    outputs = [new_output("display_data", data=one) for one in data]
    given = new_code_cell("out = '/home/somebody'", metadata={"tags": ["injected-parameters"]})
    cells = [new_markdown_cell(f"# Third\n{live}"), given, new_code_cell("#| export\nx = 1", outputs=outputs)]
    (run / "executed" / "03_c.ipynb").write_text(json.dumps(new_notebook(cells=cells)), encoding="utf-8")
    page = build(run).read_text(encoding="utf-8")
    assert "<strong>An answer</strong>" in page and "the plain words" in page
    assert "<script>alert" not in page and "<b>bold" not in page and page.count("&lt;script&gt;alert(3)") == 2
    assert "/home/somebody" not in page and "#| export" not in page


def test_answers_and_interactive_drawings_are_named_on_top(run):
    answer = "**It is $k$** <img src=x onerror=alert(4)>.\n\nNot shown here."
    change(run, lambda results: results["questions"]["Q3"].update(answer=answer))
    (run / "figures" / "q3_0.html").write_text("<p>a drawing</p>", encoding="utf-8")
    page = build(run).read_text(encoding="utf-8")
    assert "<img src=x" not in page and "&lt;img src=x" in page and "Not shown here" not in page
    assert 'href="q3_0.html"' in page and 'href="q3_1.html"' not in page and "explorer.html" not in page
    (run / "figures" / "explorer.html").write_text("<p>images</p>", encoding="utf-8")
    assert 'href="explorer.html"' in build(run).read_text(encoding="utf-8")
    assert "Q7" in page  # which is missing


def test_the_same_run_gives_the_same_page_that_loads_nothing(run):
    page = build(run).read_bytes()
    assert build(run).read_bytes() == page
    assert not re.search(rb'(src|srcset)="(?!data:)|<link[^>]+href="(?!data:)|@import|url\(', page)


@pytest.mark.skipif(not CHROMIUM, reason="no chromium or google-chrome here to open the page in")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_on_a_telephone_and_on_a_desk(run, tmp_path, width):
    wide = new_code_cell("x = " + "1 + " * 200 + "1", outputs=[new_output("stream", text="y" * 500)])
    (run / "executed" / "04_d.ipynb").write_text(json.dumps(new_notebook(cells=[wide])), encoding="utf-8")
    with Browser(tmp_path / "profile") as browser:
        browser.open(build(run).as_uri(), width, 900)
        assert 0 < browser.run("document.documentElement.scrollWidth") <= width


def test_results_stand_on_top_as_words(run):
    change(run, lambda results: results["header"].update(device="<script>alert(2)</script>"))
    page, accuracy = build(run).read_text(encoding="utf-8"), answers(run)["Q3"]["numbers"]["accuracy"]
    assert f"{accuracy:.1%}" in page and "<script>alert(2)" not in page and "&lt;script&gt;alert(2)" in page


def test_another_profiles_run_is_told_beside(run):
    other = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert "83.1%" not in build(run).read_text(encoding="utf-8")
    other["header"]["profile"], other["questions"]["Q3"]["numbers"]["accuracy"] = "quick", 0.8312
    keep_numbers(run, other)
    assert "83.1%" in build(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("header", [{"profile": "smoke"}, {"dataset": "shapes"}])
def test_what_is_no_result_says_so(run, header):
    change(run, lambda results: results["header"].update(header))
    assert 'class="stamp"' in build(run).read_text(encoding="utf-8")


def test_without_notebooks_it_is_one_sentence(tmp_path, capsys):
    folder = make_run(tmp_path, questions=("Q1",))
    with pytest.raises(UserError, match="executed"):
        build(folder)
    assert main(["--out", str(folder)]) == 1 and len(capsys.readouterr().err.splitlines()) == 1


def test_without_pandoc_it_is_one_sentence(run, monkeypatch):
    def absent(*given, **more):
        raise OSError("No pandoc was found")

    monkeypatch.setattr("pypandoc.convert_text", absent)
    with pytest.raises(UserError, match="pip install pypandoc_binary"):
        build(run)
