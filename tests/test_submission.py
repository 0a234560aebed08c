"""The submission's zip: what is refused, what is in it, and that it runs on its own."""

import ast
import contextlib
import io
import os
import subprocess
import sys
import zipfile

import pytest
from made_run import answers, assert_same, change, make_run, smoke_book
from pypdf import PdfReader
from vicreg_nb import book, run_all
from vicreg_nb.config import make_config
from vicreg_nb.run_all import Job, noted_images, stage_key, stages
from vicreg_nb.tools import submission
from vicreg_nb.tools.submission import ALLOWED, forbidden_imports, main, marked

STATEMENT = """A tool wrote a draft of "everything"; we read it, line by line.

It was of use for tests & for C:\\paths, #hash and 50 %.
"""


def prepared(folder, **made):
    """A run, as the book would have noted it."""
    (folder / "statement.txt").write_text(STATEMENT)
    change(make_run(folder, **made), note_stages)
    return folder


def note_stages(results):
    """As of a run by the present code."""
    job = Job(make_config("exercise", dataset="cifar10"), noted_images(results["header"]))
    for stage in stages():
        noted = {"key": stage_key(job, stage), "answers": run_all._answers(results, stage), "seconds": 1.0}
        results["stages"][stage.notebook] = noted


@pytest.fixture
def run(tmp_path):
    return prepared(tmp_path)


def words(run, **changes):
    given = {
        "--name": "Grün A. Name",
        "--username": "a.name7",
        "--tools-statement": str(run / "statement.txt"),
        "--out": str(run),
    } | changes
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


# ---- what is refused


@pytest.mark.parametrize("option, value, words", [
    ("--name", "", ["name", "''"]), ("--name", "  ", ["name", "''"]), ("--name", "two\nlines", ["name", "two"]),
    ("--username", "", ["username", "''"]), ("--username", "two words", ["username", "'two words'"]),
    ("--tools-statement", "", ["statement", "--tools-statement"]),
    ("--tools-statement", "/nowhere/file", ["/nowhere/file", "FileNotFoundError", "--tools-statement"]),
])  # fmt: skip
def test_missing_words_are_asked_for(refusal, option, value, words):
    said = refusal(**{option: value})
    assert all(word in said for word in words)


@pytest.mark.parametrize("content", [b"", b" \n\t\n", b"---\n", b"\xff\xfe\x00"])
def test_an_empty_statement_is_none(refusal, run, content):
    (run / "statement.txt").write_bytes(content)
    said = refusal()
    assert str(run / "statement.txt") in said and "--tools-statement" in said


@pytest.mark.parametrize("path", ["/dev/zero", "~nobody-here/x", "a\0b"])
def test_a_statement_that_is_no_file(refusal, path):
    assert path in refusal(**{"--tools-statement": path})


@pytest.mark.parametrize("header, words", [
    ({"profile": "smoke"}, ["smoke", "--profile"]),
    ({"dataset": "shapes"}, ["shapes", "--profile"]),
    ({"code": "0123456789abcdef"}, ["changed", "run_all"]),
])  # fmt: skip
def test_a_run_that_cannot_be_handed_in(refusal, run, header, words):
    change(run, lambda results: results["header"].update(header))
    said = refusal()
    assert all(word.lower() in said.lower() for word in words)


def test_an_unanswered_question_is_named(refusal, run):
    change(run, lambda results: [results["questions"].pop(name) for name in ("Q5", "AD2", "CL1", "ladder")])
    said = refusal()
    assert "Q5, AD2" in said and "CL1" not in said and "ladder" not in said  # the bonus is a bonus


@pytest.mark.parametrize("spoil", [
    lambda results: results["questions"]["Q5"].update(answer="Of an edited notebook."),
    lambda results: results["stages"]["03_ablations"].update(key="of other code"),
    lambda results: results["stages"].pop("03_ablations"),
])  # fmt: skip
def test_an_answer_that_the_present_book_has_not_given_is_named(refusal, run, spoil):
    change(run, spoil)
    said = refusal()
    assert "Q5" in said and "Q7" not in said and "run_all" in said


def test_an_answer_to_a_bonus_is_not_looked_at(run):
    change(run, lambda results: results["questions"]["CL1"].update(answer="Of an edited notebook."))
    assert submission.checked_results(run)


def test_results_from_before_stages_noted_their_answers(run):
    change(run, lambda results: [stage.pop("answers") for stage in results["stages"].values()])
    assert submission.checked_results(run)


def test_a_report_that_is_too_long(refusal, run):
    prepared(run, sentences=42)
    assert "16" in refusal()


def test_no_run_at_all(refusal, run):
    (run / "results.json").unlink()
    assert "results.json" in refusal()


def test_an_import_that_the_exercise_does_not_allow(refusal, monkeypatch, tmp_path):
    module = tmp_path / "extra.py"
    module.write_text("import numpy\nimport timm.models\n")
    monkeypatch.setattr(submission, "package_folder", lambda: tmp_path)
    assert "extra.py, line 2: timm.models" in refusal()


@pytest.mark.parametrize("source, count", [
    ("import os, numpy.linalg, sklearn.svm as s", 0), ("from .config import x", 0),
    ("from vicreg_nb.config import x\nimport vicreg_nb.store as s", 0), ("from torch.utils.tensorboard import x", 0),
    ("from PIL import Image", 1), ("def f():\n    import IPython, os", 1), ("class A:\n    from lightly import x", 1),
    ("from .tools import export", 1), ("from vicreg_nb import tools", 1), ("import vicreg_nb.tools.report as r", 1),
    ("def f():\n    from .tools.report import x", 0), ("def f():\n    from vicreg_nb.tools.report import x", 0),
])  # fmt: skip
def test_imports_are_found_wherever_they_hide(tmp_path, source, count):
    (tmp_path / "module.py").write_text(source)
    assert len(forbidden_imports(tmp_path / "module.py")) == count


# ---- what is in it


@pytest.fixture(scope="module")
def zipped(tmp_path_factory):
    """A run with its submission; tests do not change it."""
    run, out = prepared(tmp_path_factory.mktemp("zipped")), io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(words(run)) == 0
    whose = "profile exercise, seed 0, of 2024-07-25 11:00:00 UTC"
    assert out.getvalue() == f"{run / 'submission.zip'}\n{whose}\n"
    return run


@pytest.fixture
def archive(zipped):
    with zipfile.ZipFile(zipped / "submission.zip") as opened:
        yield opened


def test_the_zip_holds_what_the_exercise_asks_for(archive, root):
    names = set(archive.namelist())
    modules = {f"vicreg_nb/{path.name}" for path in (root / "vicreg_nb").glob("*.py")}
    assert names == {"README.md", "requirements.txt", "report.pdf"} | modules
    assert {
        "vicreg_nb/training.py",
        "vicreg_nb/ablations.py",
        "vicreg_nb/anomaly.py",
        "vicreg_nb/clustering.py",
    } <= names
    assert all(member.external_attr >> 16 & 0o777 == 0o644 for member in archive.infolist())
    readme = archive.read("README.md").decode()
    assert "Name: Grün A. Name\n" in readme and "CSE username: a.name7\n" in readme and "{" not in readme
    lines = [line.strip() for line in readme.splitlines()]
    for name in modules - {"vicreg_nb/__init__.py"}:  # each with what it is about
        assert any(line.startswith(f"- `{name.split('/')[1]}`: ") for line in lines), name
    for question in book.all_questions().values():
        assert question.place in readme


def test_its_code_is_the_code_with_the_statement_at_its_head(archive, root):
    for name in archive.namelist():
        if name.endswith(".py"):
            source, original = archive.read(name).decode(), (root / name).read_text(encoding="utf-8")
            first, rest = original.split("\n", 1)
            assert first.startswith("# Generated from ") and source.startswith(f"{first}\n") and source.endswith(rest)
            head = source.removesuffix(rest).splitlines()[1:]
            assert all(line.startswith("#") or not line for line in head)
            told = " ".join(line.strip("# ") for line in head)
            assert "Grün A. Name (a.name7)" in told
            assert all(" ".join(part.split()) in told for part in STATEMENT.split("\n\n"))
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Import):
                    names = {alias.name.split(".")[0] for alias in node.names}
                    assert names <= {*ALLOWED, "vicreg_nb", *sys.stdlib_module_names}


def test_a_module_of_ones_own_gets_the_statement_on_top():
    source = marked('"""Mine."""\nfrom __future__ import annotations\nx = 1\n', "A Name", "user", "None.")
    assert source.startswith("# Handed in by A Name") and ast.get_docstring(ast.parse(source)) == "Mine."
    compile(source, "mine", "exec")


def test_its_requirements_are_on_the_exercises_list(archive):
    lines = archive.read("requirements.txt").decode().splitlines()
    names = {line.split(">")[0].strip() for line in lines}
    assert names <= {*ALLOWED, "scikit-learn", "faiss-cpu"} - {"sklearn", "faiss"}
    assert "torch" in names


def test_its_report_has_name_and_statement(archive):
    pages = [page.extract_text() for page in PdfReader(io.BytesIO(archive.read("report.pdf"))).pages]
    text = " ".join(" ".join(pages).split())
    assert "Grün A. Name (a.name7)" in pages[0]
    assert all(word in text for word in ("A tool wrote a draft of", "everything", "#hash and 50 %"))


def test_the_same_run_and_words_give_the_same_bytes(zipped, run):
    assert main(words(run)) == 0
    assert (run / "submission.zip").read_bytes() == (zipped / "submission.zip").read_bytes()
    assert not (run / "report.pdf").exists()  # the one of the project stays as it is


@pytest.mark.parametrize("accuracy, loud", [(0.59, True), (0.6, False)])
def test_a_probe_below_the_exercises_bar_is_told_loudly(run, capsys, monkeypatch, accuracy, loud):
    change(run, lambda results: results["questions"]["Q3"]["numbers"].update(accuracy=accuracy))
    monkeypatch.setattr(submission, "make_submission", lambda folder, *words: folder / "submission.zip")
    assert main(words(run)) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!!!")]
    assert bool(told) == loud and all("59" in line and "60" in line for line in told)


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

    code = "from importlib.util import find_spec as f; import vicreg_nb as v; print(v.__file__, f('papermill'), "
    where = python("-c", code + "f('vicreg_nb.tools'))")
    assert where.stdout == f"{home / 'vicreg_nb' / '__init__.py'} None None\n", where.stderr
    done = python("-m", "vicreg_nb.run_all", "--profile", "smoke", "--device", "cpu", "--only", "Q1", "Q3")
    assert done.returncode == 0, done.stdout + done.stderr
    out = home / "runs" / "smoke"
    found, expected = answers(out), answers(smoke_book(tmp_path_factory))
    assert set(found) == {"Q1", "Q2", "Q3"}
    for name, entry in found.items():
        assert_same(entry["numbers"], expected[name]["numbers"], name, tolerance=1e-3)
        assert all((out / "figures" / f"{figure}.png").is_file() for figure, _ in entry["figures"])
