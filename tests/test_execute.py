"""Notebooks run headless: what goes in, what comes out, and the one sentence for each failure."""

import json
import logging
import os
import re

import nbformat
import pytest
from vicreg_nb.tools.execute import NotebookError, execute_notebook, heading, load, strip_ansi

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
    level = logging.getLogger("papermill").level
    seconds = execute_notebook(half, target, {"x": 9.0}, on_cell=lambda *call: calls.append(call))
    assert 0 < seconds < 60
    assert printed(target) == f"4.5 {tmp_path}\n"
    assert calls[-1] == (6, 6) and calls == sorted(calls) and {total for _, total in calls} == {6}
    assert capfd.readouterr() == ("", "")
    assert logging.getLogger("papermill").level == level


def test_an_ipynb_is_as_good_and_its_folder_can_be_chosen(half, tmp_path):
    source, target = tmp_path / "pair.ipynb", tmp_path / "out.ipynb"
    nbformat.write(load(half, {}), source)
    (tmp_path / "elsewhere").mkdir()
    execute_notebook(str(source), str(target), cwd=tmp_path / "elsewhere")
    assert printed(target) == f"2.0 {tmp_path / 'elsewhere'}\n"
    assert source.read_bytes() != target.read_bytes() and outputs(source) == []


def test_a_failure_is_one_sentence_and_the_notebook_is_kept(half, tmp_path):
    target = tmp_path / "half.ipynb"
    with pytest.raises(NotebookError) as caught:
        execute_notebook(half, target, {"x": 0})
    assert str(caught.value) == "half.py, cell 6 (Of a number): ZeroDivisionError: division by zero"
    assert printed(target).startswith("0.0 ")  # what ran before it
    assert [output.ename for output in outputs(target) if output.output_type == "error"] == ["ZeroDivisionError"]


@pytest.mark.parametrize("parameters, number", [({}, 5), ({"x": 3}, 5)])
def test_the_cell_is_counted_in_the_source(half, tmp_path, parameters, number):
    half.write_text(HALF.replace("print(x", "print(nobody"))
    with pytest.raises(NotebookError, match=rf"half\.py, cell {number} \(Of a number\): NameError"):
        execute_notebook(half, tmp_path / "half.ipynb", parameters)
    lines = half.read_text().split("\n")
    cells = [n for n, line in enumerate(lines) if line.startswith("# %%")]
    assert "nobody" in "".join(lines[cells[number - 1] : cells[number]])


def test_a_user_error_is_its_sentence_without_colours(fail):
    assert (
        fail("raise UserError('\\x1b[31mmu is -1\\x1b[0m: give at least 0.')")
        == "faulty.py, cell 2: mu is -1: give at least 0."
    )


def test_other_failures(fail):
    assert fail("raise KeyError") == "faulty.py, cell 2: KeyError"
    assert re.fullmatch(r"faulty\.py, cell 2: SyntaxError: .*\(line 1\)", fail("x = ("))
    assert fail("import sys; sys.exit(3)") == "faulty.py, cell 2: SystemExit: 3"
    assert "faulty.py, cell 2: DeadKernelError: the process ended" in fail("import os; os._exit(1)")


def test_parameters_that_nothing_takes_are_refused(fail, tmp_path):
    assert "faulty.py has no cell tagged `parameters`, so it cannot take mu: add one." == fail(
        "1", parameters={"mu": 0}
    )
    assert not (tmp_path / "faulty.ipynb").exists()


@pytest.mark.parametrize("name, text, said", [
    ("none.ipynb", None, "is not there"),
    ("broken.ipynb", "{", "is not a notebook"),
    ("other.ipynb", json.dumps([1]), "is not a notebook"),
    ("latin.py", "# é".encode("latin-1"), "is not a notebook"),
])  # fmt: skip
def test_what_is_no_notebook_is_named(tmp_path, name, text, said):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(NotebookError, match=f"{re.escape(name)} {said}"):
        execute_notebook(tmp_path / name, tmp_path / "out.ipynb")


def test_headings_and_colours():
    cells = [nbformat.v4.new_markdown_cell("# A\ntext\n## B"), nbformat.v4.new_code_cell("# not a heading")]
    assert heading(cells) == "B" and heading(cells[1:]) == "" and heading([]) == ""
    assert strip_ansi("\x1b[0;31mred\x1b[0m \x1b[1mbold\x1b[22;39m") == "red bold"


@pytest.mark.parametrize("name", ["90_export", "91_execute"])
def test_the_tools_own_notebooks_run(root, tmp_path, name):
    execute_notebook(root / "nbs" / f"{name}.py", tmp_path / f"{name}.ipynb", cwd=root)
    assert os.listdir(tmp_path) == [f"{name}.ipynb"]


def test_what_a_cell_prints_is_told_line_by_line_while_it_runs(tmp_path):
    source, lines = tmp_path / "talk.py", []
    source.write_text("# %%\nprint('one\\ntw', end='')\nprint('o')\nprint('unfinished', end='')\n\n# %%\nprint()\nassert False\n")
    with pytest.raises(NotebookError):
        execute_notebook(source, tmp_path / "talk.ipynb", on_line=lines.append)
    assert lines == ["one", "two", "unfinished"]
