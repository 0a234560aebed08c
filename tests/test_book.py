"""The book, the three ways in, as a user types them: the whole book, one notebook with a parameter, an edit in Jupyter."""

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from made_run import BOOK, smoke_book
from pypdf import PdfReader
from vicreg_nb.run_all import STAGES
from vicreg_nb.tools.execute import execute_notebook
from vicreg_nb.tools.report import QUESTIONS

NOTEBOOKS = sorted(path.stem for path in (Path(__file__).resolve().parent.parent / "nbs").glob("*.py"))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return smoke_book(tmp_path_factory)


@pytest.fixture
def copied(book, tmp_path):
    """The smoke book's folder, to be changed."""
    return shutil.copytree(book, tmp_path / "copy")


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def leaves(value):
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


# ---- python -m vicreg_nb.run_all


def test_the_book_answers_every_question_with_finite_numbers(book):
    results = results_of(book)
    assert set(results["questions"]) == set(QUESTIONS)
    for name, entry in results["questions"].items():
        numbers = list(leaves(entry["numbers"]))
        assert len(numbers) > 1 and entry["answer"], name
        assert all(isinstance(value, str) or math.isfinite(value) for value in numbers), name  # None: not finite
    assert {name: results["header"][name] for name in ("profile", "dataset", "seed")} == {"profile": "smoke", "dataset": "shapes", "seed": 0}
    assert results["header"]["data"]["train_images"] == 384
    assert set(results["stages"]) == {stage.notebook for stage in STAGES}


def test_every_figure_recorded_is_on_disk_and_none_is_forgotten(book):
    recorded = {figure for entry in results_of(book)["questions"].values() for figure, _ in entry["figures"]}
    on_disk = {path.stem for path in (book / "figures").glob("*.png")}
    assert recorded <= on_disk and on_disk - recorded <= {"data", "views"}


def test_every_notebook_was_executed_without_an_error(book):
    for stage in STAGES:
        notebook = nbformat.read(book / "executed" / f"{stage.notebook}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert not [output for output in outputs if output.output_type == "error"]
        complaints = [output.text for output in outputs if output.get("name") == "stderr"]
        assert complaints == [], stage.notebook
        assert any("image/png" in output.get("data", ()) for output in outputs) or stage.notebook == "01_vicreg"


def test_report_and_page_are_there_and_the_places_are_told(book):
    out = BOOK["done"].stdout
    for path in ("results.json", "figures", "figures/index.html", "report.pdf", "executed"):
        assert (book / path).exists() and f" {book / path}\n" in out
    assert len(PdfReader(book / "report.pdf").pages) <= 16
    assert [line.split()[0] for line in out.splitlines() if re.match(r"\d\d\w?_", line)] == [stage.notebook for stage in STAGES]


def test_a_second_call_finds_everything_done_and_is_quick(book, root):
    kept = [book / "results.json", *sorted((book / "executed").iterdir()), *sorted((book / "figures").glob("*.png"))]
    before = [path.stat().st_mtime_ns for path in kept]
    report = (book / "report.pdf").read_bytes()
    start = time.perf_counter()
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--profile", "smoke", "--out", str(book)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before") == len(STAGES)
    assert [path.stat().st_mtime_ns for path in kept] == before and (book / "report.pdf").read_bytes() == report
    assert time.perf_counter() - start < 60


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name == "08_run_all" or name[0] == "9" and name not in ("90_export", "91_execute")])
def test_the_other_notebooks_run_as_well(root, copied, tmp_path, name):
    tagged = '# %% tags=["parameters"]' in (root / "nbs" / f"{name}.py").read_text()
    execute_notebook(root / "nbs" / f"{name}.py", tmp_path / "out.ipynb", {"profile": "smoke", "out": str(copied)} if tagged else None, cwd=root)


# ---- papermill


def papermill(root, notebook, output, *parameters):
    command = [str(Path(sys.executable).with_name("papermill")), f"nbs/{notebook}.ipynb", str(output), *parameters, "-k", "python3"]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "200"})


def test_papermill_with_a_parameter_as_typed(root, book, copied, tmp_path):
    """mu 0 is Q4's own, so everything is found; mu 1 is another training, and only Q4 changes."""
    finished = {path.name for path in (copied / "runs").iterdir()}
    for mu in ("0", "1"):
        process = papermill(root, "03_ablations", tmp_path / "out.ipynb", "-p", "mu", mu, "-p", "profile", "smoke", "-p", "out", str(copied))
        _, error = process.communicate()
        assert process.returncode == 0, error
        trained = {path.name for path in (copied / "runs").iterdir()} - finished
        numbers = {name: entry["numbers"] for name, entry in results_of(copied)["questions"].items()}
        first = {name: entry["numbers"] for name, entry in results_of(book)["questions"].items()}
        if mu == "0":
            assert trained == set() and numbers == first
        else:
            assert len(trained) == 1 and [name for name in numbers if numbers[name] != first[name]] == ["Q4"]
    assert results_of(copied)["questions"]["Q4"]["settings"]["mu"] == 1.0


def test_a_wrong_parameter_stops_bare_papermill_with_one_sentence(root, tmp_path):
    wrong = {
        ("mue", "0"): "UserError: 'mue' is not a parameter: did you mean 'mu'.",
        ("mu", "-1"): "UserError: mu is -1.0: give at least 0.",
        ("mu", "abc"): "UserError: mu is 'abc' (str): give a value of type float.",
    }
    processes = [papermill(root, "03_ablations", tmp_path / f"{n}.ipynb", "-p", *given, "-p", "profile", "smoke", "-p", "out", str(tmp_path / "none")) for n, given in enumerate(wrong)]
    for number, (process, said) in enumerate(zip(processes, wrong.values())):
        _, error = process.communicate()
        assert process.returncode == 1
        assert re.sub(r"\x1b\[[0-9;]*m", "", error).strip().splitlines()[-1] == said
        cells = nbformat.read(tmp_path / f"{number}.ipynb", as_version=4).cells
        assert [output.evalue for cell in cells for output in cell.get("outputs", ()) if output.output_type == "error"] == [said.removeprefix("UserError: ")]
    assert not (tmp_path / "none").exists()


# ---- Jupyter


def test_an_edit_made_in_jupyter_arrives_in_the_source_and_the_package(root, tmp_path):
    project = tmp_path / "project"
    for name in ("nbs", "vicreg_nb"):
        shutil.copytree(root / name, project / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy(root / "settings.ini", project)
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    path = project / "nbs" / "01_vicreg.ipynb"
    notebook = nbformat.read(path, as_version=4)
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code" and "#| export" in cell.source and "\ndef " in cell.source)
    cell.source += '\n\n\ndef edited_in_jupyter() -> str:\n    """A word."""\n    return "arrived"'
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="hello")], 3
    notebook.metadata = {"kernelspec": {"display_name": "mine", "name": "python3", "language": "python"}, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)

    def python(*arguments):
        return subprocess.run([sys.executable, *arguments], cwd=project, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"})

    assert python("-m", "vicreg_nb.tools.export", "--check").returncode == 1
    done = python("-m", "vicreg_nb.tools.export")
    assert done.returncode == 0, done.stderr
    changed = {str(path.relative_to(project)) for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"nbs/01_vicreg.ipynb", "nbs/01_vicreg.py", "vicreg_nb/vicreg.py"}
    assert {path for path in project.rglob("*") if path.is_file()} == set(before)
    assert "edited_in_jupyter" in (project / "nbs" / "01_vicreg.py").read_text()
    assert "hello" not in path.read_text()
    assert python("-c", "from vicreg_nb.vicreg import *; print(edited_in_jupyter())").stdout == "arrived\n"
    assert python("-m", "vicreg_nb.tools.export", "--check").returncode == 0


# ---- every notebook


@pytest.fixture(params=NOTEBOOKS)
def cells(request, root):
    return nbformat.read(root / "nbs" / f"{request.param}.ipynb", as_version=4).cells


def tagged(cells, tag):
    return [place for place, cell in enumerate(cells) if tag in cell.metadata.get("tags", ())]


def test_a_notebook_opens_with_colab_a_title_and_its_question(cells):
    assert tagged(cells, "skip-execution") == [0] and "Colab" in cells[0].source
    title, *rest = cells[1].source.split("\n")
    assert cells[1].cell_type == "markdown" and re.match(r"# \d", title)
    assert "?" in " ".join(rest).split("\n\n")[0]
    assert not any(re.match("# ", cell.source) for cell in cells[2:] if cell.cell_type == "markdown")


def test_the_colab_cell_does_nothing_elsewhere(cells, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("it must not install anything here")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(os, "chdir", refuse)
    exec(compile(cells[0].source, "cell", "exec"), {})


def test_parameters_are_marked_annotated_explained_and_checked(cells):
    places = tagged(cells, "parameters")
    assert len(places) <= 1
    for place in places:
        source = cells[place].source
        assert source.startswith("# Parameters\n")
        for node, line in zip(ast.parse(source).body, source.splitlines()[1:], strict=True):
            assert isinstance(node, ast.AnnAssign) and re.search(r"  # \S", line), line
        after = [cell.source for cell in cells[place + 1 :] if cell.cell_type == "code"]
        checked = [number for number, source in enumerate(after) if "notebook_config(globals())" in source]
        defined = any("def notebook_config" in source for source in after)
        assert checked and (checked[0] == 0 or defined)  # at once, but where it is being defined


def test_a_notebook_keeps_no_outputs(cells):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells if cell.cell_type == "code")


def test_notebooks_pairs_and_package_are_in_step(root):
    done = subprocess.run([sys.executable, "-m", "vicreg_nb.tools.export", "--check"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in (root / "nbs").glob("*.ipynb")} == set(NOTEBOOKS)
