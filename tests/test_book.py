"""The three ways in, as a user types them: the whole book, one notebook with a parameter, an edit in Jupyter."""

import ast
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from claims import assert_claims_hold_up
from made_run import answers, assert_same, smoke_book, told_by_the_book, without_notebooks
from pypdf import PdfReader
from vicreg_nb.book import all_questions, code_digest
from vicreg_nb.run_all import stages
from vicreg_nb.tools.execute import execute_notebook
from vicreg_nb.tools.export import without_outputs

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted(path.stem for path in (ROOT / "nbs").glob("*.py"))
ELSEWHERE = ("09_change_one_thing", "90_export", "91_execute")  # run by test_library; they run notebooks themselves
OTHERS = [name for name in NOTEBOOKS if name >= "08" and name not in ELSEWHERE]
TAGGED = [name for name in OTHERS if '# %% tags=["parameters"]' in (ROOT / "nbs" / f"{name}.py").read_text("utf-8")]
RESULTS = [*sorted(ROOT.glob("results*.json")), *sorted(ROOT.glob("results/*.json"))]
RESULTS = [path.relative_to(ROOT).as_posix() for path in RESULTS if "-with-" not in path.name]  # whole runs of profiles


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return smoke_book(tmp_path_factory)


@pytest.fixture
def copied(book, tmp_path):
    """The smoke book's folder, to be changed."""
    return shutil.copytree(book, tmp_path / "copy")


def results_of(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def leaves(value):
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


# ---- python -m vicreg_nb.run_all


def test_the_book_answers_every_question_with_finite_numbers(book):
    results = results_of(book)
    assert set(results["questions"]) == set(all_questions())
    for name, entry in results["questions"].items():
        numbers = list(leaves(entry["numbers"]))
        assert len(numbers) > 1 and entry["answer"], name
        assert all(isinstance(value, str) or math.isfinite(value) for value in numbers), name  # None: not finite
    run = {name: results["header"][name] for name in ("profile", "dataset", "seed")}
    assert run == {"profile": "smoke", "dataset": "shapes", "seed": 0}
    assert results["header"]["data"]["train_images"] == 384
    assert set(results["stages"]) == {stage.notebook for stage in stages()}


def test_every_question_of_the_exercise_has_its_chapter():
    required = {name for name, question in all_questions().items() if question.required}
    assert required == {"Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "Q7", "AD1", "AD2", "AD3"}
    assert set(all_questions()) >= required | {"ladder", "CL1", "CL2", "CL3"}


def test_every_figure_recorded_is_on_disk_and_none_is_forgotten(book):
    recorded = {figure for entry in answers(book).values() for figure, _ in entry["figures"]}
    on_disk = {path.stem for path in (book / "figures").glob("*.png")}
    assert recorded == on_disk


def test_every_notebook_was_executed_without_an_error(book):
    for stage in stages():
        notebook = nbformat.read(book / "executed" / f"{stage.notebook}.ipynb", as_version=4)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        assert not [output for output in outputs if output.output_type == "error"]
        complaints = [output.text for output in outputs if output.get("name") == "stderr"]
        assert complaints == [], stage.notebook
        drawn = any("image/png" in output.get("data", ()) for output in outputs)
        assert drawn or stage.notebook in ("00_config", "01_vicreg")


def test_report_and_page_are_there_and_the_places_are_told(book, tmp_path_factory):
    lines = told_by_the_book(tmp_path_factory)
    for path in ("results.json", "figures/index.html", "report.pdf", "executed"):
        assert (book / path).exists() and str(book / path) in lines
    assert len(PdfReader(book / "report.pdf").pages) <= 16
    started = [line.split()[0] for line in lines if re.match(r"\d\d\w?_", line)]
    assert started == [stage.notebook for stage in stages()]


def test_a_second_call_finds_everything_done(book, root):
    kept = [book / "results.json", *sorted((book / "executed").iterdir()), *sorted((book / "figures").glob("*.png"))]
    before = [path.stat().st_mtime_ns for path in kept]
    report = (book / "report.pdf").read_bytes()
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--profile", "smoke", "--device", "cpu", "--out", str(book)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before") == len(stages())
    assert [path.stat().st_mtime_ns for path in kept] == before and (book / "report.pdf").read_bytes() == report


@pytest.mark.parametrize("name", TAGGED)
def test_the_other_notebooks_run_as_well(root, copied, tmp_path, name):
    given = {"profile": "smoke", "device": "cpu", "out": str(copied)}
    execute_notebook(root / "nbs" / f"{name}.py", tmp_path / "out.ipynb", given, cwd=root)


def test_those_without_parameters_run_as_plain_python(root):
    names = [name for name in OTHERS if name not in TAGGED]
    code = "import runpy, sys\nfor path in sys.argv[1:]:\n    print(path, flush=True)\n    runpy.run_path(path)"
    command = [sys.executable, "-c", code, *(f"nbs/{name}.py" for name in names)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert len(names) > 5 and done.returncode == 0, done.stdout[-2000:] + done.stderr


# ---- claims


@pytest.mark.parametrize("file", RESULTS)
def test_every_claim_fits_the_published_numbers(root, file):
    results = json.loads((root / file).read_text(encoding="utf-8"))
    assert_claims_hold_up(results["questions"], old=results["header"]["code"] != code_digest())


def test_every_claim_fits_a_run_whose_numbers_mean_nothing(book):
    assert_claims_hold_up(answers(book))


# ---- papermill


def papermill(root, notebook, output, *parameters):
    program = str(Path(sys.executable).with_name("papermill"))
    command = [program, f"nbs/{notebook}.ipynb", str(output), *parameters, "-k", "python3"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=root, **pipes, env=os.environ | {"COLUMNS": "200"})


def test_papermill_with_a_parameter_as_typed(root, book, copied, tmp_path):
    """mu 0 is Q4's own, so everything is found; mu 1 is another training, and only Q4 changes, as in plain Python."""
    finished, first = {path.name for path in (copied / "runs").iterdir()}, answers(book)
    for mu in ("0", "1"):
        where = ("-p", "profile", "smoke", "-p", "device", "cpu", "-p", "out", str(copied))
        process = papermill(root, "03_ablations", tmp_path / "out.ipynb", "-p", "mu", mu, *where)
        _, error = process.communicate()
        assert process.returncode == 0, error
        new = sorted({path.name for path in (copied / "runs").iterdir()} - finished)
        assert [name.split("-")[0] for name in new] == ([] if mu == "0" else ["ablation", "smoke"])
        assert all(entry["numbers"] == first[name]["numbers"] for name, entry in answers(copied).items())
    changed = answers(copied / "runs" / new[1])
    assert list(changed) == ["Q4", "Q5"] and changed["Q5"]["numbers"] == first["Q5"]["numbers"]
    assert changed["Q4"]["settings"]["mu"] == 1.0 and changed["Q4"]["numbers"] != first["Q4"]["numbers"]
    shutil.copytree(copied / "runs", tmp_path / "plain" / "runs", ignore=shutil.ignore_patterns(new[1]))
    without_notebooks(tmp_path / "plain", "--only", "Q4", "--set", "mu=1")
    assert_same(changed["Q4"], answers(tmp_path / "plain")["Q4"])


def test_a_wrong_parameter_stops_bare_papermill_with_one_sentence(root, tmp_path):
    wrong = {("mue", "0"): ["'mue'", "'mu'"], ("mu", "-1"): ["mu", "-1"], ("mu", "abc"): ["mu", "'abc'", "float"]}
    where = ("-p", "profile", "smoke", "-p", "out", str(tmp_path / "none"))
    outputs = [tmp_path / f"{number}.ipynb" for number in range(len(wrong))]
    processes = [papermill(root, "03_ablations", output, "-p", *given, *where) for output, given in zip(outputs, wrong)]
    for process, output, words in zip(processes, outputs, wrong.values()):
        _, error = process.communicate()
        last = re.sub(r"\x1b\[[0-9;]*m", "", error).strip().splitlines()[-1]
        assert process.returncode == 1 and last.startswith("UserError: ") and all(word in last for word in words)
        cells = nbformat.read(output, as_version=4).cells
        errors = [item.evalue for cell in cells for item in cell.get("outputs", ()) if item.output_type == "error"]
        assert errors == [last.removeprefix("UserError: ")]
    assert not (tmp_path / "none").exists()


# ---- Jupyter


@pytest.fixture
def project(root, tmp_path):
    """A copy of what is exported."""
    folder, left_out = tmp_path / "project", shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    for name in ("nbs", "vicreg_nb"):
        shutil.copytree(root / name, folder / name, ignore=left_out)
    shutil.copy(root / "settings.ini", folder)
    return folder


def python_in(project, *arguments):
    environment = os.environ | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env=environment)


def test_an_edit_made_in_jupyter_arrives_in_the_source_and_the_package(project):
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    path = project / "nbs" / "01_vicreg.ipynb"
    notebook = nbformat.read(path, as_version=4)
    exported = [cell for cell in notebook.cells if cell.cell_type == "code" and "#| export" in cell.source]
    cell = next(cell for cell in exported if "\ndef " in cell.source)
    cell.source += '\n\n\ndef edited_in_jupyter() -> str:\n    """A word."""\n    return "arrived"'
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text="hello")], 3
    kernel = {"display_name": "mine", "name": "python3", "language": "python"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(notebook, path)

    assert python_in(project, "-m", "vicreg_nb.tools.export", "--check").returncode == 1
    done = python_in(project, "-m", "vicreg_nb.tools.export")
    assert done.returncode == 0, done.stderr
    changed = {str(path.relative_to(project)) for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"nbs/01_vicreg.ipynb", "nbs/01_vicreg.py", "vicreg_nb/vicreg.py"}
    assert {path for path in project.rglob("*") if path.is_file()} == set(before)
    assert "edited_in_jupyter" in (project / "nbs" / "01_vicreg.py").read_text()
    assert "hello" in path.read_text()  # outputs stay in the working file
    assert python_in(project, "-c", "from vicreg_nb.vicreg import *; print(edited_in_jupyter())").stdout == "arrived\n"
    assert python_in(project, "-m", "vicreg_nb.tools.export", "--check").returncode == 0


# ---- every notebook


@pytest.fixture(params=NOTEBOOKS)
def cells(request, root):
    return nbformat.read(root / "nbs" / f"{request.param}.ipynb", as_version=4).cells


def tagged(cells, tag):
    return [place for place, cell in enumerate(cells) if tag in cell.metadata.get("tags", ())]


def assert_opens_well(cells):
    """A title with its question, a badge or none, the cell for Colab; no other title. Returns the badges."""
    (colab,) = tagged(cells, "skip-execution")
    assert "Colab" in cells[colab].source
    opening, *badges = cells[:colab]
    title, _, text = opening.source.partition("\n")
    assert opening.cell_type == "markdown" and re.match(r"# \d", title)
    assert "?" in text.strip().split("\n\n")[0]
    assert not any(cell.source.startswith("# ") for cell in cells[1:] if cell.cell_type == "markdown")
    return badges


def test_a_notebook_opens_with_a_title_its_question_and_colab(cells):
    assert all("colab.research" in badge.source for badge in assert_opens_well(cells))


def test_with_the_projects_address_each_notebook_has_its_badge(project):
    settings = (project / "settings.ini").read_text(encoding="utf-8")
    with_address = re.sub(r"(?m)^repository =.*", "repository = https://github.com/somebody/book", settings)
    (project / "settings.ini").write_text(with_address, encoding="utf-8")
    done = python_in(project, "-m", "vicreg_nb.tools.export")
    assert done.returncode == 0, done.stderr
    for name in NOTEBOOKS:
        (badge,) = assert_opens_well(nbformat.read(project / "nbs" / f"{name}.ipynb", as_version=4).cells)
        assert f"github/somebody/book/blob/main/nbs/{name}.ipynb" in badge.source


def test_the_colab_cell_does_nothing_elsewhere(cells, monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("it must not install anything here")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(os, "chdir", refuse)
    (colab,) = tagged(cells, "skip-execution")
    exec(compile(cells[colab].source, "cell", "exec"), {})


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


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_git_keeps_no_outputs_of_a_notebook(root, name):
    """What it would store of the working file, in which they may stand, and what it has stored, in a checkout."""
    stored = [without_outputs((root / "nbs" / f"{name}.ipynb").read_bytes())]
    if shutil.which("git"):
        shown = subprocess.run(["git", "show", f"HEAD:./nbs/{name}.ipynb"], cwd=root, capture_output=True)
        stored += [shown.stdout] if shown.returncode == 0 else []
    for content in stored:
        code = [cell for cell in json.loads(content)["cells"] if cell["cell_type"] == "code"]
        assert code and all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_notebooks_pairs_and_package_are_in_step(root):
    command = [sys.executable, "-m", "vicreg_nb.tools.export", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.stem for path in (root / "nbs").glob("*.ipynb")} == set(NOTEBOOKS)
