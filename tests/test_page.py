"""The book as one page: every executed notebook, and what a run found, shown letter by letter."""

import json

import pytest
from made_run import make_run
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
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


def test_results_stand_on_top_as_words(run):
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["header"]["device"] = "<script>alert(2)</script>"
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    page = build(run).read_text(encoding="utf-8")
    accuracy = results["questions"]["Q3"]["numbers"]["accuracy"]
    assert f"{accuracy:.1%}" in page and "<script>alert(2)" not in page and "&lt;script&gt;alert(2)" in page


@pytest.mark.parametrize("header", [{"profile": "smoke"}, {"dataset": "shapes"}])
def test_what_is_no_result_says_so(run, header):
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["header"] |= header
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    assert 'class="stamp"' in build(run).read_text(encoding="utf-8")


def test_without_notebooks_it_is_one_sentence(tmp_path, capsys):
    folder = make_run(tmp_path, questions=("Q1",))
    with pytest.raises(UserError, match="executed"):
        build(folder)
    assert main(["--out", str(folder)]) == 1 and len(capsys.readouterr().err.splitlines()) == 1
