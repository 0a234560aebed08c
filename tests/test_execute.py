"""Notebooks run headless: what goes in, what comes out, and the one sentence for each failure."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
from vicreg_nb.tools.execute import NotebookError, execute_notebook
from vicreg_nb.tools.export import ipynb_text, read_cells

HALF = """# %% [markdown]
# # Half

# %% tags=["skip-execution"]
raise RuntimeError("never run")

# %% tags=["parameters"]
x: float = 4.0

# %% [markdown]
# Text.
# ## Of a number

# %%
import os

print(x / 2, os.getcwd())

# %%
1 / x
"""


@pytest.fixture
def half(tmp_path):
    path = tmp_path / "half.py"
    path.write_text(HALF)
    return path


@pytest.fixture
def fail(tmp_path):
    """The sentence for a notebook with one cell (and one before it)."""

    def sentence(cell, **options):
        path = tmp_path / "faulty.py"
        path.write_text(f"# %%\nclass UserError(ValueError): pass\n\n# %%\n{cell}\n")
        with pytest.raises(NotebookError) as caught:
            execute_notebook(path, tmp_path / "faulty.ipynb", **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return sentence


def outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return [output for cell in notebook.cells for output in cell.get("outputs", ())]


def printed(path):
    return "".join(output.get("text", "") for output in outputs(path))


def test_it_runs_with_parameters_counts_cells_and_keeps_quiet(half, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    calls, target = [], tmp_path / "new" / "folder" / "half.ipynb"
    seconds = execute_notebook(half, target, {"x": 9.0, "unknown": 1}, on_cell=lambda *call: calls.append(call))
    assert seconds > 0 and printed(target) == f"4.5 {tmp_path}\n"
    assert calls[-1] == (6, 6) and calls == sorted(calls) and {total for _, total in calls} == {6}
    assert capfd.readouterr() == ("", "")


def test_an_ipynb_is_as_good_and_its_folder_can_be_chosen(half, tmp_path):
    source, target = tmp_path / "pair.ipynb", tmp_path / "out.ipynb"
    source.write_text(ipynb_text(read_cells(half)))
    before = source.read_bytes()
    (tmp_path / "elsewhere").mkdir()
    execute_notebook(str(source), str(target), cwd=tmp_path / "elsewhere")
    assert printed(target) == f"2.0 {tmp_path / 'elsewhere'}\n" and source.read_bytes() == before


def test_the_kernel_is_this_python_whatever_is_registered(tmp_path, monkeypatch):
    """Another environment's `python3`, and the caller's matplotlib backend, are not the notebook's."""
    spec = {"argv": ["no-such-python", "{connection_file}"], "display_name": "other", "language": "python"}
    (tmp_path / "kernels" / "python3").mkdir(parents=True)
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "agg")
    (tmp_path / "a.py").write_text("# %%\nimport os, sys\nprint(sys.executable, os.environ['MPLBACKEND'])\n")
    execute_notebook(tmp_path / "a.py", tmp_path / "a.ipynb")
    python, backend = printed(tmp_path / "a.ipynb").split()
    assert python == sys.executable and "inline" in backend and os.environ["MPLBACKEND"] == "agg"


@pytest.mark.parametrize("parameters", [{}, {"x": 0}])
def test_a_failure_is_one_sentence_and_the_notebook_is_kept(half, tmp_path, parameters):
    """The cell is counted in the source, where papermill adds one of its own for parameters."""
    target = tmp_path / "half.ipynb"
    half.write_text(HALF if parameters else HALF.replace("4.0", "0"))
    with pytest.raises(NotebookError) as caught:
        execute_notebook(half, target, parameters)
    assert str(caught.value) == "half.py, cell 6 (Of a number): ZeroDivisionError: division by zero"
    assert printed(target).startswith("0.0 ")  # what ran before it
    assert [output.ename for output in outputs(target) if output.output_type == "error"] == ["ZeroDivisionError"]


def test_a_user_error_is_its_sentence_without_colours(fail):
    said = fail("raise UserError('\\x1b[31mmu is -1\\x1b[0m: give at least 0.')")
    assert said == "faulty.py, cell 2: mu is -1: give at least 0."


def test_other_failures(fail):
    assert fail("raise KeyError") == "faulty.py, cell 2: KeyError"
    assert re.fullmatch(r"faulty\.py, cell 2: SyntaxError: .*\(line 1\)", fail("return"))
    assert fail("import sys; sys.exit(3)") == "faulty.py, cell 2: SystemExit: 3"
    said = fail("import os; os._exit(1)")  # what a process says that is killed for its memory: nothing
    assert said.startswith("faulty.py, cell 2: ") and "memory" in said and "batch_size" in said


def test_parameters_that_nothing_takes_are_refused(fail, tmp_path):
    said = fail("1", parameters={"mu": 0})
    assert "faulty.py" in said and "mu" in said and not (tmp_path / "faulty.ipynb").exists()


@pytest.mark.parametrize("name, text", [
    ("none.ipynb", None), ("broken.ipynb", b"{"), ("other.ipynb", b"[1]"), ("latin.py", "# é".encode("latin-1")),
    ("slip.py", b"# %%\nx = (\n"), ("lost.py", b"# %% [markdown]\n# A\nx = 1\n"),
])  # fmt: skip
def test_what_is_no_notebook_is_named_before_any_work(tmp_path, name, text):
    if text is not None:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(NotebookError, match=re.escape(name)):
        execute_notebook(tmp_path / name, tmp_path / "out.ipynb")
    assert not (tmp_path / "out.ipynb").exists()


@pytest.mark.parametrize("name", ["90_export", "91_execute"])
def test_the_tools_own_notebooks_run(root, tmp_path, name):
    execute_notebook(root / "nbs" / f"{name}.py", tmp_path / f"{name}.ipynb", cwd=root)
    assert os.listdir(tmp_path) == [f"{name}.ipynb"]


def test_what_a_cell_prints_is_told_line_by_line_while_it_runs(tmp_path):
    source, lines = tmp_path / "talk.py", []
    source.write_text(
        "# %%\nprint('one\\ntw', end='')\nprint('o')\nprint('unfinished', end='')\n\n# %%\nprint()\n1 / 0\n"
    )
    with pytest.raises(NotebookError):
        execute_notebook(source, tmp_path / "talk.ipynb", on_line=lines.append)
    assert lines == ["one", "two", "unfinished"]


def test_braces_and_spaces_in_paths(tmp_path):
    place = tmp_path / "a {b} c"
    place.mkdir()
    (place / "x {y}.py").write_text('# %% tags=["parameters"]\nx = 1\n\n# %%\nprint(x)\n')
    lines = []
    execute_notebook(place / "x {y}.py", place / "out {z}.ipynb", {"x": 2}, on_line=lines.append)
    assert lines == ["2"] and (place / "out {z}.ipynb").is_file()


@pytest.mark.parametrize(("mu", "ends"), [("3", "Executing"), ("-3", "UserError: mu is -3.0: give 0 to 1000000.0.")])
def test_bare_papermill_from_any_folder(root, tmp_path, mu, ends):
    """Its paths are no settings, a mistake shows none of our code, results go to the project's folder."""
    source = tmp_path / "own.py"
    source.write_text(
        '# %% tags=["parameters"]\n# Parameters\nprofile = "quick"\nmu = 25.0\n\n# %%\n'
        "from vicreg_nb.config import notebook_config\ncfg = notebook_config(globals())\nprint('goes to', cfg.folder)\n"
    )
    book = tmp_path / "own.ipynb"
    book.write_text(ipynb_text(read_cells(source)))
    command = [sys.executable, "-m", "papermill", "--inject-paths", "--log-output", "-k", "python3", "-p", "mu", mu]
    environment = os.environ | {"PYTHONPATH": str(root)}
    run = dict(cwd=tmp_path, env=environment, capture_output=True, text=True)
    done = subprocess.run([*command, str(book), "out.ipynb"], **run)
    if mu == "3":
        assert done.returncode == 0 and f"goes to {root}" in done.stderr + done.stdout
    else:
        assert done.returncode == 1 and done.stderr.strip().endswith(ends) and "make_config" not in done.stderr
