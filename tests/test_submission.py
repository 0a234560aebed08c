"""The submission's zip: what is refused, what is in it, and that it runs on its own."""

import ast
import io
import json
import os
import subprocess
import sys
import zipfile

import pytest
from made_run import make_run, smoke_book
from pypdf import PdfReader
from vicreg_nb.tools import submission
from vicreg_nb.tools.submission import ALLOWED, forbidden_imports, main

STATEMENT = 'A tool wrote a draft of "everything"; we read it, line by line.\n\nIt was of use for tests & for C:\\paths, #hash and 50 %.\n'


@pytest.fixture
def run(tmp_path):
    (tmp_path / "statement.txt").write_text(STATEMENT)
    return make_run(tmp_path)


def words(run, **changes):
    given = {"--name": "Grün A. Name", "--username": "a.name7", "--tools-statement": str(run / "statement.txt"), "--out": str(run)} | changes
    return [word for pair in given.items() for word in pair]


@pytest.fixture
def refusal(run, capsys):
    """The one sentence of a call that must make no zip."""

    def call(**changes):
        assert main(words(run, **changes)) == 1
        out, error = capsys.readouterr()
        assert out == "" and len(error.strip().splitlines()) == 1 and not (run / "submission.zip").exists()
        return error.strip()

    return call


def change(run, edit):
    results = json.loads((run / "results.json").read_text())
    edit(results)
    (run / "results.json").write_text(json.dumps(results))


# ---- what is refused


@pytest.mark.parametrize("option, value, said", [
    ("--name", "", "The name is ''"), ("--name", "  ", "The name is ''"), ("--name", "two\nlines", "The name is"),
    ("--username", "", "The username is ''"), ("--username", "two words", "The username is 'two words'"),
    ("--tools-statement", "", "The statement on automatic tools is missing"),
    ("--tools-statement", "/nowhere/file", "The statement /nowhere/file cannot be read (FileNotFoundError)"),
])  # fmt: skip
def test_missing_words_are_asked_for(refusal, option, value, said):
    assert refusal(**{option: value}).startswith(said)


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"---\n", b"\xff\xfe\x00"])
def test_an_empty_statement_is_none(refusal, run, content):
    (run / "statement.txt").write_bytes(content)
    assert "statement.txt is empty" in refusal() or content.startswith(b"\xff")
    assert "--tools-statement FILE" in refusal()


@pytest.mark.parametrize("header, said", [
    ({"profile": "smoke"}, "This run cannot be handed in (Smoke run"),
    ({"dataset": "shapes"}, "This run cannot be handed in (Made from the embedded data set shapes"),
    ({"code": "0123456789abcdef"}, "The results are older than the code"),
])  # fmt: skip
def test_a_run_that_cannot_be_handed_in(refusal, run, header, said):
    change(run, lambda results: results["header"].update(header))
    assert refusal().startswith(said)


def test_an_unanswered_question_is_named(refusal, run):
    change(run, lambda results: [results["questions"].pop(name) for name in ("Q5", "AD2", "CL1")])
    assert refusal().startswith("This run has not answered Q5, AD2: run")  # the bonus is a bonus


def test_a_report_that_is_too_long(refusal, run):
    make_run(run, sentences=35)
    assert "pages and may have 16: shorten its longest sections" in refusal()


def test_no_run_at_all(refusal, run):
    (run / "results.json").unlink()
    assert "results.json is not there: run" in refusal()


def test_an_import_that_the_exercise_does_not_allow(refusal, monkeypatch, tmp_path):
    module = tmp_path / "extra.py"
    module.write_text("import numpy\nimport timm.models\n")
    monkeypatch.setattr(submission, "package_modules", lambda: [module])
    assert refusal().startswith("The exercise does not allow this import: extra.py, line 2: timm.models; keep to faiss, matplotlib")


@pytest.mark.parametrize("source, count", [
    ("import os, numpy.linalg, sklearn.svm as s", 0), ("from .config import x", 0), ("from torch.utils.tensorboard import x", 0),
    ("from PIL import Image", 1), ("def f():\n    import IPython, os", 1), ("from .tools import export", 1),
    ("def f():\n    from .tools.report import x", 0), ("class A:\n    from lightly import x", 1),
])  # fmt: skip
def test_imports_are_found_wherever_they_hide(tmp_path, source, count):
    (tmp_path / "module.py").write_text(source)
    assert len(forbidden_imports(tmp_path / "module.py")) == count


# ---- what is in it


@pytest.fixture
def archive(run, capsys):
    assert main(words(run)) == 0, capsys.readouterr().err
    assert capsys.readouterr().out == f"{run / 'submission.zip'}\n"
    with zipfile.ZipFile(run / "submission.zip") as opened:
        yield opened


def test_the_zip_holds_what_the_exercise_asks_for(archive, root):
    names = set(archive.namelist())
    modules = {f"vicreg_nb/{path.name}" for path in (root / "vicreg_nb").glob("*.py")}
    assert names == {"README.md", "requirements.txt", "report.pdf"} | modules
    assert {"vicreg_nb/training.py", "vicreg_nb/ablations.py", "vicreg_nb/anomaly.py", "vicreg_nb/clustering.py"} <= names
    assert all(member.external_attr >> 16 & 0o777 == 0o644 for member in archive.infolist())
    readme = archive.read("README.md").decode()
    assert "Name: Grün A. Name\n" in readme and "CSE username: a.name7\n" in readme and "{" not in readme
    assert all(f"`{name.split('/')[1]}`" in readme for name in modules if "__init__" not in name)


def test_its_code_is_the_code_with_the_statement_on_top(archive, root):
    for name in archive.namelist():
        if name.endswith(".py"):
            source = archive.read(name).decode()
            original = (root / name).read_text()
            head = source.removesuffix(original)
            assert source.endswith(original) and all(line.startswith("#") or not line for line in head.splitlines())
            told = " ".join(line.strip("# ") for line in head.splitlines())
            assert "Grün A. Name (a.name7)" in told
            assert all(" ".join(part.split()) in told for part in STATEMENT.split("\n\n"))
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Import):
                    assert all(alias.name.split(".")[0] in ALLOWED | sys.stdlib_module_names for alias in node.names)


def test_its_requirements_are_on_the_exercises_list(archive):
    names = {line.split(">")[0].strip() for line in archive.read("requirements.txt").decode().splitlines()}
    assert names <= {"numpy", "scipy", "scikit-learn", "faiss-cpu", "torch", "torchvision", "matplotlib", "tensorboard", "wandb", "pandas", "plotly", "tqdm"}
    assert "torch" in names


def test_its_report_has_name_and_statement(archive):
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(archive.read("report.pdf"))).pages]
    text = " ".join(" ".join(pages).split())
    assert "Grün A. Name (a.name7)" in pages[0]
    assert "Automatic tools" in text and "#hash and 50 %" in text and "“everything”" in text.replace('"', "“", 1).replace('"', "”", 1)


def test_the_same_run_and_words_give_the_same_bytes(archive, run):
    before = (run / "submission.zip").read_bytes()
    assert main(words(run)) == 0 and (run / "submission.zip").read_bytes() == before
    assert not (run / "report.pdf").exists()  # the one of the project stays as it is


# ---- and it runs on its own

HIDE = """
import importlib.machinery, sys
HIDDEN = {"jupytext", "papermill", "nbformat", "nbclient", "IPython", "pypandoc", "typst", "ipykernel"}

class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else super().find_spec(name, path, target)

others = [finder for finder in sys.meta_path if not getattr(finder, "__module__", "").startswith("__editable__")]
sys.meta_path[:] = [Finder if finder is importlib.machinery.PathFinder else finder for finder in others]
"""


def test_the_unpacked_zip_runs_with_the_allowed_libraries_alone(archive, tmp_path, tmp_path_factory):
    """And finds what the notebooks found."""
    home, hidden = tmp_path / "unpacked", tmp_path / "hidden"
    archive.extractall(home)
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDE)
    environment = os.environ | {"PYTHONPATH": f"{hidden}{os.pathsep}{home}"}

    def python(*arguments):
        return subprocess.run([sys.executable, *arguments], cwd=home, env=environment, capture_output=True, text=True)

    where = python("-c", "import importlib.util as u, vicreg_nb; print(vicreg_nb.__file__, u.find_spec('papermill'), u.find_spec('vicreg_nb.tools'))")
    assert where.stdout == f"{home / 'vicreg_nb' / '__init__.py'} None None\n", where.stderr
    done = python("-m", "vicreg_nb.run_all", "--profile", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    out = home / "runs" / "smoke"
    results, book = (json.loads((folder / "results.json").read_text()) for folder in (out, smoke_book(tmp_path_factory)))
    assert set(results["questions"]) == set(book["questions"])
    for name, entry in results["questions"].items():
        assert dict(leaves(entry["numbers"])) == pytest.approx(dict(leaves(book["questions"][name]["numbers"])), rel=1e-3, abs=1e-5, nan_ok=True), name
        assert all((out / "figures" / f"{figure}.png").is_file() for figure, _ in entry["figures"])


def leaves(value, path=""):
    """(path, number) of everything in nested numbers but times."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is not None:
        for name, item in items:
            if "second" not in str(name):
                yield from leaves(item, f"{path}.{name}")
    elif isinstance(value, (int, float)):
        yield path, value
