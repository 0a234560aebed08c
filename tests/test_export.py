"""Notebooks to package: what is written, what is carried over, and everything that must be refused."""

import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import types

import jupytext
import nbformat
import pytest
from jupytext.config import load_jupytext_config
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from vicreg_nb.config import project_root
from vicreg_nb.tools import export

SETTINGS = "[DEFAULT]\nversion = 0.1\nnbs_path = nbs\nlib_path = tiny\n"
AREA = '''# %% [markdown]
# # Area
# Of a square, $a^2$.

# %%
#| default_exp area

# %% tags=["parameters"]
side: float = 2.0  # metres


# %%
#| export
def area(side):
    """Square metres."""
    return side**2


# %%
assert area(3) == 9
'''
EDITED = AREA.replace("side**2", "side * side")
VOLUME = """# %% [markdown]
# # Volume

# %%
#| default_exp tools.volume

# %%
#| export
from tiny.area import area


# %%
#| hide
#| export
def volume(side):
    return area(side) * side
"""


class Tiny:
    """A project in a temporary folder, used as its user would: through files and the command."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.write("settings.ini", SETTINGS)
        self.write("nbs/1_area.py", AREA)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def read(self, name):
        return (self.folder / name).read_bytes().decode()

    def cells(self):
        return json.loads(self.read("nbs/1_area.ipynb"))["cells"]

    def state(self):
        """Every file with its bytes and time of writing."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def contents(self):
        return {path: content for path, (content, _) in self.state().items()}

    def run(self, *arguments):
        """(exit code, everything printed)"""
        return export.main(list(arguments)), "".join(self.capsys.readouterr())

    def done(self, *arguments):
        """What is printed by a call that must succeed and leave nothing to be done."""
        code, text = self.run(*arguments)
        assert code == 0 and self.run("--check")[0] == 0, text
        return text

    def refused(self, *arguments):
        """What is printed by a call that must fail and change nothing."""
        before = self.state()
        code, text = self.run(*arguments)
        assert code == 1 and self.state() == before, text
        return text

    def jupyter(self, change=lambda cells: None, name="1_area"):
        """Save a notebook as Jupyter does: with outputs, ids and metadata of its own, after `change(cells)`."""
        notebook = json.loads(self.read(f"nbs/{name}.ipynb"))
        for number, cell in enumerate(notebook["cells"]):
            cell["id"] = f"jupyter-{number}"
            cell["metadata"]["collapsed"] = True
            if cell["cell_type"] == "code":
                cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": [f"hello {number}\n"]}]
        change(notebook["cells"])
        notebook["metadata"]["accelerator"] = "GPU"
        self.write(f"nbs/{name}.ipynb", json.dumps(notebook))

    def python(self, *command, **environment):
        """What a fresh Python prints."""
        environment = os.environ | {"PYTHONPATH": ""} | environment  # the tiny package, not ours
        done = subprocess.run([sys.executable, *command], cwd=self.folder, capture_output=True, env=environment)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()


@pytest.fixture
def tiny(tmp_path, monkeypatch, capsys):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return Tiny(tmp_path / "project", capsys)


def entry(source, kind="code"):
    return {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)}


def replace(old, new):
    """A change for `Tiny.jupyter`."""

    def change(cells):
        (cell,) = [cell for cell in cells if old in "".join(cell["source"])]
        cell["source"] = "".join(cell["source"]).replace(old, new)

    return change


# ---- what is written


def test_the_package_works_and_code_stays_as_it_is_written(tiny):
    tiny.write("nbs/2_volume.py", VOLUME.replace("# Volume", '# A "volume" \\ \u2028.'))
    tiny.done()
    code = "import tiny, tiny.tools.volume as v; print(v.volume(3), tiny.__version__)"
    assert tiny.python("-c", code) == "27 0.1"
    header, code = tiny.read("tiny/tools/volume.py").split('\n\n"""A \\"volume\\" \\\\ \u2028."""\n\n')
    assert header.split("\n")[0] == "# Generated from nbs/2_volume.py by `make export`. Do not edit: edit the notebook."
    assert code == "\n\n\n".join(part.split("\n\n\n")[0].strip() for part in VOLUME.split("#| export\n")[1:]) + "\n"
    assert "assert" not in tiny.read("tiny/area.py")


def test_twice_is_once_to_the_byte_and_what_is_lost_comes_back(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.done()
    before = tiny.state()
    tiny.done()
    assert tiny.state() == before
    contents = tiny.contents()
    for path in [*(tiny.folder / "tiny").rglob("*.py"), *(tiny.folder / "nbs").glob("*a.ipynb")]:
        path.unlink()
    tiny.done()
    (tiny.folder / "nbs/1_area.py").unlink()
    tiny.done()
    assert tiny.contents() == contents


def test_the_ipynb_alone_has_a_kernel_and_the_colab_cell(tiny):
    tiny.done()
    text = tiny.read("nbs/1_area.ipynb")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert nbformat.writes(notebook) + "\n" == text and notebook.metadata.kernelspec.name == "python3"
    title, colab, *rest = notebook.cells
    assert title.cell_type == "markdown" and colab.metadata.tags == ["skip-execution"] and "Colab" in colab.source
    theirs = jupytext.read(tiny.folder / "nbs/1_area.py").cells
    assert [(c.cell_type, c.source) for c in (title, *rest)] == [(c.cell_type, c.source) for c in theirs]
    tiny.write("nbs/1_area.ipynb", text.replace("vicreg_nb.zip", "mine.zip"))
    tiny.done()  # the cell is export's own: it is set back, and never arrives in the .py
    assert tiny.read("nbs/1_area.ipynb") == text and tiny.read("nbs/1_area.py") == AREA


ADDRESS = "https://github.com/somebody/book"


def test_the_address_in_settings_gives_each_notebook_a_badge_and_the_way_to_clone_it(tiny):
    assert "Colab" in tiny.done() and "Colab" not in tiny.run("--check")[1]
    without = tiny.read("nbs/1_area.ipynb")
    tiny.write("settings.ini", f"{SETTINGS}repository = {ADDRESS}\n")
    assert "Colab" not in tiny.done()
    badge, colab = tiny.cells()[1:3]
    assert "research.google.com/github/somebody/book/blob/main/nbs/1_area.ipynb)" in "".join(badge["source"])
    assert f'PROJECT = "{ADDRESS}"' in "".join(colab["source"]) and tiny.read("nbs/1_area.py") == AREA
    tiny.write("settings.ini", SETTINGS)
    tiny.done()
    assert tiny.read("nbs/1_area.ipynb") == without
    tiny.write("settings.ini", SETTINGS + 'repository = "; import os\n')
    assert "repository" in tiny.refused()


STUB = """import sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")"""


def on_colab(folder, address=""):
    """The outcome of the Colab cell in a kernel that starts in `folder`, and what it then imports."""
    cells = [STUB, export.COLAB.format(address=address), "import vicreg_nb; print(vicreg_nb.__file__)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook.cells[-1].outputs[0].text.strip()


@pytest.fixture
def their_project(tmp_path):
    for name in ("settings.ini", "vicreg_nb/__init__.py"):
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (tmp_path / "content").mkdir()
    return tmp_path / "theirs"


def test_on_colab_a_notebook_alone_says_what_to_do(their_project, tmp_path):
    for address in ("", (tmp_path / "nowhere").as_uri()):
        with pytest.raises(CellExecutionError, match="settings.ini.*vicreg_nb.zip") as caught:
            on_colab(tmp_path / "content", address)
        assert caught.value.ename == "SystemExit"


@pytest.fixture
def no_git_settings(monkeypatch):
    """Whoever signs commits or has hooks does so elsewhere."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


@pytest.mark.parametrize("way", ["folder", "zip", "zip of GitHub", "clone"])
def test_on_colab_the_project_is_found_where_it_is(way, their_project, tmp_path, no_git_settings):
    content, address = tmp_path / "content", ""
    if way == "folder":
        shutil.copytree(their_project, content / "vicreg_nb")
    elif way == "clone":
        git = ["git", "-C", str(their_project), "-c", "user.name=a", "-c", "user.email=a@b"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
            subprocess.run([*git, *command], check=True)
        address = their_project.as_uri()
    else:
        top = "." if way == "zip" else their_project.rename(tmp_path / "vicreg_nb-main").name
        root = their_project if way == "zip" else tmp_path
        shutil.make_archive(content / ("vicreg_nb" if way == "zip" else "vicreg_nb-main"), "zip", root, top)
    assert on_colab(content, address).startswith(str(content / "vicreg_nb"))


def test_on_colab_only_what_is_missing_is_installed_and_drive_is_mounted_when_asked(
    their_project, tmp_path, monkeypatch
):
    done, drive = [], types.ModuleType("google.colab.drive")
    drive.mount = lambda place: done.append(place)
    shutil.copytree(their_project, tmp_path / "content" / "vicreg_nb")
    monkeypatch.chdir(tmp_path / "content")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", sys.modules | {"google.colab": drive, "google.colab.drive": drive})
    monkeypatch.setattr(subprocess, "run", lambda command, check: done.append(command[-2:]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(os, "makedirs", lambda place, exist_ok: None)
    exec(export.COLAB.replace("DRIVE = False", "DRIVE = True"), {})
    assert done == ["/content/drive", ["--no-deps", "faiss-cpu"]] and os.path.islink("runs")
    exec(export.COLAB, {})  # once more: it is there already
    assert len(done) == 2


def test_outputs_stay_in_the_working_file_and_out_of_git(tiny, no_git_settings):
    """Through git itself, with the filter that make sets up; the file that Jupyter has saved is not touched."""
    tiny.done()
    notebook = json.loads(tiny.read("nbs/1_area.ipynb"))
    clean = tiny.read("nbs/1_area.ipynb")
    notebook["cells"][-1] |= {
        "outputs": [{"output_type": "stream", "name": "stdout", "text": ["9"]}],
        "execution_count": 3,
    }
    notebook["metadata"]["language_info"] = {"name": "python"}
    saved = json.dumps(notebook)
    tiny.write("nbs/1_area.ipynb", saved)
    tiny.done()
    assert tiny.read("nbs/1_area.ipynb") == saved
    tiny.write(".gitattributes", "nbs/*.ipynb filter=notebook\n")
    program = shlex.join([sys.executable, export.__file__, "--clean"])
    for command in (["init", "-q"], ["config", "filter.notebook.clean", program], ["add", "nbs"]):
        subprocess.run(["git", *command], cwd=tiny.folder, check=True)
    kept = subprocess.run(["git", "show", ":nbs/1_area.ipynb"], cwd=tiny.folder, capture_output=True, text=True)
    assert kept.stdout == clean and tiny.read("nbs/1_area.ipynb") == saved
    assert export.without_outputs(b"{]") == b"{]"


def test_a_function_that_is_imported_elsewhere_and_whose_cell_is_gone_is_named(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.done()
    before = tiny.contents()
    text = AREA.replace("def area", "def field").replace("assert area", "assert field")
    tiny.write("nbs/1_area.py", text)
    error = tiny.refused()
    assert "nbs/2_volume" in error and "imports area" in error and "tiny.area" in error
    tiny.write("nbs/1_area.py", AREA)
    assert tiny.contents() == before


def test_heads_in_a_py_are_no_cells(tiny):
    header = "# ---\n# jupyter:\n#   kernelspec:\n#     name: python3\n# ---\n\n"
    tiny.write("nbs/1_area.py", f'{header}# %% tags=["skip-execution"]\n{export.COLAB}\n\n{AREA}')
    tiny.done()
    assert tiny.read("nbs/1_area.py") == AREA and len(tiny.cells()) == 6


def test_an_inserted_cell_changes_no_other_id(tiny):
    tiny.write("nbs/1_area.py", AREA + "\n# %%\nx = 1\n\n# %%\nx = 1\n")
    tiny.done()
    before = [cell["id"] for cell in tiny.cells()]
    tiny.write("nbs/1_area.py", tiny.read("nbs/1_area.py").replace("# %%\nassert", "# %%\nnew = 0\n\n# %%\nassert"))
    tiny.done()
    after = [cell["id"] for cell in tiny.cells()]
    assert len({*before}) == len(before) and [id for id in after if id in before] == before


# ---- which side was edited


@pytest.mark.parametrize("newest", ["py", "ipynb"])
@pytest.mark.parametrize("side, other", [("py", "ipynb"), ("ipynb", "py")])
def test_an_edit_is_carried_over_whatever_the_clock_says(tiny, side, other, newest):
    tiny.done()
    tiny.write("nbs/1_area.py", EDITED) if side == "py" else tiny.jupyter(replace("side**2", "side * side"))
    (tiny.folder / f"nbs/1_area.{newest}").touch()
    assert f"nbs/1_area.{side} was edited: carried to nbs/1_area.{other}" in tiny.done()
    assert tiny.read("nbs/1_area.py") == EDITED  # no other line of it moved
    assert "side * side" in tiny.read("nbs/1_area.ipynb") and "side * side" in tiny.read("tiny/area.py")


def test_jupyter_may_add_remove_move_and_tag_cells(tiny):
    tiny.done()

    def change(cells):
        cells[2], cells[3] = cells[3], cells[2]
        cells[5:] = [entry("area(5)") | {"metadata": {"tags": ["report", "é"]}}]

    tiny.jupyter(change)
    tiny.done()
    text = tiny.read("nbs/1_area.py")
    assert text.endswith('\n\n\n# %% tags=["report", "é"]\narea(5)\n') and "assert" not in text
    assert text.index('# %% tags=["parameters"]\nside') < text.index("default_exp")


def test_what_was_computed_is_kept_where_the_source_is(tiny):
    tiny.done()
    tiny.jupyter()
    before = tiny.read("nbs/1_area.ipynb")
    tiny.done()
    assert tiny.read("nbs/1_area.ipynb") == before  # no edit: not touched
    tiny.write("nbs/1_area.py", EDITED.replace("# %%\nassert", "# %%\nnew = 0\n\n# %%\nassert"))
    tiny.done()
    outputs = ["".join(cell["outputs"][0]["text"]) if cell.get("outputs") else "" for cell in tiny.cells()]
    assert outputs == ["", "hello 1\n", "hello 2\n", "hello 3\n", "", "", "hello 5\n"]
    assert json.loads(tiny.read("nbs/1_area.ipynb"))["metadata"]["accelerator"] == "GPU"
    tiny.jupyter(replace("new = 0", "new = 1"))
    before = tiny.read("nbs/1_area.ipynb")
    tiny.done()
    assert tiny.read("nbs/1_area.ipynb") == before and "new = 1" in tiny.read("nbs/1_area.py")


@pytest.mark.parametrize("side, kept, lost", [("py", "side * side", "pow"), ("ipynb", "pow(side, 2)", "side * side")])
def test_edits_on_both_sides_stop_until_one_is_chosen(tiny, side, kept, lost):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.done()
    tiny.write("nbs/1_area.py", EDITED)
    tiny.jupyter(replace("side**2", "pow(side, 2)"))
    tiny.jupyter(replace("* side", "* abs(side)"), "2_volume")  # this edit has to wait
    for text in (tiny.refused(), tiny.refused("--check")):
        assert text.startswith("nbs/1_area: ") and "--take py" in text and "--take ipynb" in text
    tiny.done("--take", side)
    for file in ("nbs/1_area.py", "nbs/1_area.ipynb", "tiny/area.py"):
        assert kept in tiny.read(file) and lost not in tiny.read(file)
    assert "* abs(side)" in tiny.read("nbs/2_volume.py")  # the one edit of a pair counts, whichever side is taken


def test_the_same_edit_on_both_sides_is_one_and_without_a_record_nothing_is_guessed(tiny):
    tiny.done()
    tiny.write("nbs/1_area.py", EDITED)
    tiny.jupyter(replace("side**2", "side * side"))
    tiny.done()
    assert "side * side" in tiny.read("tiny/area.py")
    tiny.write("nbs/1_area.py", AREA)
    shutil.rmtree(tiny.folder / "tiny")
    assert "--take" in tiny.refused()


def test_a_notebook_without_a_module_is_paired_as_well(tiny):
    tiny.write("nbs/0_notes.py", "# %%\nx = 1\n")
    tiny.done()
    tiny.jupyter(replace("x = 1", "x = 2"), "0_notes")
    tiny.done()
    assert tiny.read("nbs/0_notes.py") == "# %%\nx = 2\n"
    tiny.write("nbs/0_notes.py", "# %%\nx = 3\n")
    tiny.done()
    assert "x = 3" in tiny.read("nbs/0_notes.ipynb")


# ---- the package


def test_a_deleted_notebook_takes_its_module_along(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.done()
    for path in (tiny.folder / "nbs").glob("2_volume.*"):
        path.unlink()
    assert "tiny/tools/volume.py" in tiny.refused("--check")
    tiny.done()
    assert sorted(path.name for path in (tiny.folder / "tiny").rglob("*.py")) == ["__init__.py", "area.py"]


@pytest.mark.parametrize("text", ["", "\n", "# %%\n#| default_exp area\n", AREA.replace("#| export\n", "")])
def test_an_emptied_notebook_does_not_lose_its_module(tiny, text):
    tiny.done()
    tiny.write("nbs/1_area.py", text)
    assert tiny.refused().startswith("nbs/1_area: ")


def test_a_module_edited_by_hand_is_refused_not_overwritten(tiny):
    tiny.done()
    module = tiny.folder / "tiny/area.py"
    module.write_text(module.read_text().replace("side**2", "side**3"))
    tiny.write("nbs/1_area.py", EDITED)  # also with an edit waiting
    tiny.write("tiny/other.py", b"\xff = 1\n")  # nor did export write this one
    for text in (tiny.refused("--check"), tiny.refused()):
        assert "tiny/area.py" in text and "nbs/1_area.py" in text and "tiny/other.py" in text
    module.unlink()  # the remedy
    (tiny.folder / "tiny/other.py").unlink()
    assert "side * side" in tiny.done("--take", "py") + module.read_text()


def test_only_notebooks_whose_name_begins_with_a_digit_are_of_the_book(tiny):
    for name in ("Untitled.ipynb", "1_area-Copy1.ipynb", "helper.py", "jupytext.toml"):
        tiny.write(f"nbs/{name}", "no notebook")
    tiny.write("tiny/.ipynb_checkpoints/area-checkpoint.py", "Jupyter's")
    text = tiny.done()
    assert all(name in text for name in ("Untitled.ipynb", "1_area-Copy1.ipynb", "helper.py")) and ".toml" not in text
    tiny.write("nbs/1_area_old.py", AREA)
    assert "tiny/area.py" in tiny.refused()  # two notebooks of the book for one module
    for path in (tiny.folder / "nbs").glob("1_area*"):
        path.unlink()
    assert "nbs" in tiny.refused()  # not one notebook: settings.ini names a wrong folder


# ---- what may stand in a notebook

# fmt: off
FAULTS = {  # a cell -> the line that the message names, counted in the cell
    "def f(:\n    pass": 1, "x = 1\n\n  y = 2": 3, "#| export\n\nx = (": 3, "x = '\x00'": 1, "x = 1  # a\rb": 1,
    "#| export\n%timeit f()": 2, "#| export\nif 1:\n    !ls": 3, "#| export\nx = !ls": 2, "#| export\n%%bash\nls": 2,
    "%matplotlib inline\n#| export\nx = 1": 1, "#| export\nreturn 3": 2, "#| export\nawait f()": 2,
    "#| export\nfrom __future__ import annotations": 2, "#| exprot\nx = 1": 1, "#| export other": 1,
    "x = 1\n#| exprot": 2, "#| default_exp a-b": 1, "#| default_exp ../a": 1, "#| default_exp": 1,
    "x = 1\n<<<<<<< HEAD\ny = 2": 2, "x = 1\n>>>>>>> theirs": 2, "x = 1\n  # %% inner": 2, "x = 1\n# In[3]:": 2,
}
FAULTS |= {f"{head}x = {deep}": None for head in ("", "#| export\n") for deep in (  # no parser says where it gave up
    "-" * 5_000 + "1", "-" * 100_000 + "1", "1" + "+1" * 50_000, "a" + ".b" * 50_000, "a" + "[0]" * 50_000,
)}
PERCENT_FAULTS = {  # the text of a cell in a .py -> the line that the message names
    "# %% A title\nx = 1": 1, "# %% [md]\n# x": 1, "# %% tags=[parameters]\nx = 1": 1, "# %% [raw]\nx": 1,
    '# %% tags=["a"] slideshow={}\nx = 1': 1, "# %% [markdown]\n# x\n\ny = 1": 3, "# %% [markdown]\n# x\n#| export": 2,
    "# %% [markdown]\n# x\n<<<<<<< HEAD": 2,
}
PROSE_FAULTS = ["<<<<<<< HEAD", "%% a", "![a](attachment:a.png)", "half \ud800", "a\rb"]
CARRIED = [
    "%timeit f()", "!ls", "x = !ls", "if 1:\n    %time f()", "%%bash\necho 'a\nif", "f?", "??f", "await f()", "#| hide",
    "# !ls\n# %time\n# %%time\nx = 1", "text = '''\n#| export\n#| exprot\n'''", "# only a remark", "", "é = '\u2028'",
]
BROKEN = ["", "{", "<<<<<<< HEAD\n{}", "[]", '{"cells": 3}', '{"cells": [3]}', '{"worksheets": []}', b"\xff{}"]
BROKEN += ["[" * 100_000, '{"cells": [], "metadata": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}"]
BROKEN += ['{"cells": [], "metadata": []}', *(json.dumps({"cells": [entry("x") | wrong]}) for wrong in (
    {"source": 3}, {"source": [3]}, {"cell_type": "heading"}, {"metadata": []}, {"metadata": {"tags": "a"}},
    {"metadata": {"tags": [3]}}, {"metadata": {"tags": ['a"b']}},
))]
# fmt: on


def shown(value):
    """A parameter as it stands in a test's name."""
    return repr(value)[:60]


@pytest.mark.parametrize("cell, line", FAULTS.items(), ids=shown)
@pytest.mark.parametrize("side", ["py", "ipynb"])
def test_a_fault_is_named_by_notebook_cell_and_line(tiny, side, cell, line):
    tiny.done()
    text = AREA + f"\n# %%\n{cell}\n"
    tiny.write("nbs/1_area.py", text) if side == "py" else tiny.jupyter(lambda cells: cells.append(entry(cell)))
    text = tiny.refused()
    place = f", line {line}: " if line else " "
    assert text.startswith(f"nbs/1_area: cell 6{place}") and text.count("\n") == 1 and len(text) < 500
    assert tiny.refused("--check") == text


@pytest.mark.parametrize("text, line", PERCENT_FAULTS.items(), ids=shown)
def test_what_is_no_percent_format_is_refused(tiny, text, line):
    tiny.write("nbs/1_area.py", f"{AREA}\n{text}\n")
    assert tiny.refused().startswith(f"nbs/1_area: cell 6, line {line}: ")
    tiny.write("nbs/1_area.py", f"import os\n\n{AREA}")
    assert tiny.refused().startswith("nbs/1_area: cell 1, line 1: 'import os'")


@pytest.mark.parametrize("text", PROSE_FAULTS, ids=ascii)
@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_prose_that_a_py_cannot_hold_is_refused(tiny, kind, text):
    tiny.done()
    tiny.jupyter(lambda cells: cells.append(entry(f"a\n{text}", kind)))
    assert tiny.refused().startswith("nbs/1_area: cell 6, line 2: ")


@pytest.mark.parametrize("source", CARRIED)
@pytest.mark.parametrize("side", ["py", "ipynb"])
def test_what_is_not_exported_is_carried_as_it_is(tiny, side, source):
    tiny.done()
    module = tiny.read("tiny/area.py").split("\n")[3:]
    text = AREA + f"\n# %%\n{source}\n\n# %% [raw]\n# x\n".replace("\n\n\n", "\n\n")
    cells = [entry("") | {"source": source}, entry("x", "raw")]
    tiny.write("nbs/1_area.py", text) if side == "py" else tiny.jupyter(lambda found: found.extend(cells))
    tiny.done()
    assert "".join(tiny.cells()[-2]["source"]) == source and tiny.cells()[-1]["cell_type"] == "raw"
    assert tiny.read("nbs/1_area.py") == text and tiny.read("tiny/area.py").split("\n")[3:] == module


@pytest.mark.parametrize("text", BROKEN, ids=shown)
def test_a_broken_ipynb_is_refused_in_one_sentence(tiny, text):
    tiny.done()
    tiny.write("nbs/1_area.ipynb", text)
    said = tiny.refused()
    assert said.startswith("nbs/1_area: its .ipynb") and said.count("\n") == 1
    (tiny.folder / "nbs/1_area.ipynb").unlink()  # the remedy
    tiny.done()


def test_metadata_that_can_be_read_and_not_written_are_told_before_anything_is(tiny):
    tiny.done()
    clean = tiny.read("nbs/1_area.ipynb").encode()
    for depth in range(700, 1_000, 20):  # Python's own limit is 1,000
        deep = b'"a": ' + b"[" * depth + b"]" * depth
        tiny.write("nbs/1_area.ipynb", clean.replace(b'"kernelspec"', deep + b', "kernelspec"'))
        tiny.write("nbs/1_area.py", EDITED)
        code, text = tiny.run()
        assert code == 0 or text.startswith("nbs/1_area: its .ipynb") and text.count("\n") == 1
        assert b"kernelspec" in export.without_outputs((tiny.folder / "nbs/1_area.ipynb").read_bytes())
        tiny.write("nbs/1_area.py", AREA)
        tiny.write("nbs/1_area.ipynb", clean)
        tiny.done()
    assert code == 1


def test_a_future_import_may_stand_in_the_first_exported_cell(tiny):
    future = "# %%\n#| export\nfrom __future__ import annotations\n\n"
    tiny.write("nbs/1_area.py", AREA.replace("# %%\n#| default", f"{future}# %%\n#| default"))
    tiny.done()
    assert (
        tiny.python("-c", "import tiny.area; print(tiny.area.annotations.optional[0], tiny.area.__doc__)") == "3 Area."
    )


def test_export_needs_one_module_to_go_to_and_tells_all_faults_at_once(tiny):
    tiny.write("nbs/1_area.py", AREA.replace("#| default_exp area", ""))
    tiny.write("nbs/2_volume.py", VOLUME + "\n# %%\n#| default_exp other\n")
    first, second = tiny.refused().splitlines()
    assert first.startswith("nbs/1_area: ") and "default_exp" in first
    assert second.startswith("nbs/2_volume: ") and "tools.volume" in second and "other" in second


# ---- bytes


@pytest.mark.parametrize("text, said", [("é".encode("latin-1"), "utf-8"), (b"\xef\xbb\xbf# %%\n", "BOM")])
def test_a_py_that_is_not_plain_utf_8_is_refused(tiny, text, said):
    tiny.write("nbs/1_area.py", text)
    assert said in tiny.refused()


def test_a_checkout_with_crlf_everywhere_works(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.done()
    for path, content in tiny.contents().items():
        path.write_bytes(content.replace(b"\n", b"\r\n"))
    before = tiny.state()
    tiny.done()
    assert tiny.state() == before  # nothing is out of step
    tiny.write("nbs/1_area.py", EDITED.replace("\n", "\r\n"))
    tiny.done()
    assert b"\r" not in (tiny.folder / "tiny/area.py").read_bytes() and "side * side" in tiny.read("nbs/1_area.ipynb")


NASTY = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\ufeff\u00a0é∑😀\\\"'`{}%!#"


def test_only_line_ends_end_a_line(tiny):
    comment = f"x = 1  # a{NASTY}b"
    tiny.write("nbs/1_area.py", AREA + f"\n# %%\n#| export\n{comment}\n\n# %% [markdown]\n# a{NASTY}\n# {NASTY}b\n")
    for _ in range(2):
        tiny.done()
        assert tiny.read("tiny/area.py").endswith(f"\n\n\n{comment}\n")
        assert "".join(tiny.cells()[-1]["source"]) == f"a{NASTY}\n{NASTY}b" and len(tiny.cells()) == 8
        (tiny.folder / "nbs/1_area.py").unlink()


def test_random_notebooks_are_carried_over_exactly_or_refused(tmp_path):
    """Whatever cells there are: their two files hold the same, and writing them again changes no byte."""
    lines = ["", "x = 1", "# !ls", "%time", "#| export", "def f():\n    pass", "  ", "'''", "- item", "# %%", "# +"]
    lines += ["---", "@d\nclass A: pass", "#", "[markdown]", "\ty", "# # h", "#x", "x = '''\ndef a\n'''", *NASTY]
    choose, refused = random.Random(0), 0
    py, ipynb = tmp_path / "a.py", tmp_path / "a.ipynb"
    for _ in range(400):
        cells = []
        for _ in range(choose.randint(1, 4)):
            source = "\n".join(choose.choice(lines) for _ in range(choose.randint(0, 3))).strip("\n").rstrip(" \t\n")
            kind = choose.choice(["code", "code", "markdown", "raw"])
            cells.append((kind, source, choose.choice([(), ("a",), ("a", "b c")])))
        py.write_bytes(export.percent_text(cells).encode())
        ipynb.write_bytes(export.ipynb_text(cells).encode())
        assert export.read_cells(ipynb) == cells and export.ipynb_text(cells, ipynb).encode() == ipynb.read_bytes()
        if any(re.search("^# %%", source, re.M) for kind, source, _ in cells if kind == "code"):
            with pytest.raises(export.ExportError):
                export.exported(cells)
            refused += 1
        else:
            assert export.read_cells(py) == cells
    assert 0 < refused < 200


# ---- the command


def test_check_names_each_file(tiny):
    tiny.done()
    tiny.write("nbs/1_area.py", EDITED)
    first, second = tiny.refused("--check").splitlines()
    assert "nbs/1_area.ipynb" in first and "tiny/area.py" in second
    tiny.done()
    tiny.write("settings.ini", SETTINGS.replace("0.1", "0.2"))
    assert "tiny/__init__.py" in tiny.refused("--check")


@pytest.mark.parametrize("folder", ["..", ".", "../elsewhere", "/tmp/tiny", "nbs", "a/b"])
def test_a_package_outside_of_the_project_is_refused(tiny, folder):
    tiny.write("settings.ini", SETTINGS.replace("= tiny", f"= {folder}"))
    assert f"lib_path = {folder}" in tiny.refused()


@pytest.mark.parametrize("folder", ["..", "../elsewhere", "/tmp", ""])
def test_notebooks_outside_of_the_project_are_refused(tiny, folder):
    tiny.write("../elsewhere/1_area.py", AREA)
    tiny.write("../1_area.py", AREA)
    tiny.write("settings.ini", SETTINGS.replace("= nbs", f"= {folder}"))
    assert f"nbs_path = {folder}" in tiny.refused()


@pytest.mark.parametrize("name", ["settings.ini", "nbs/1_area.py", "nbs/1_area.ipynb", "tiny/area.py"])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused_and_never_waited_for(tiny, name, make):
    tiny.done()
    (tiny.folder / name).unlink()
    make(tiny.folder / name)
    assert name in tiny.refused() or name.partition(".")[0] in tiny.refused()


@pytest.mark.parametrize("old, new, said", [("nbs_", "", "nbs_"), ("[", "", "ini"), ("= nbs", "= no", "no")])
def test_wrong_settings_are_refused(tiny, old, new, said):
    tiny.write("settings.ini", SETTINGS.replace(old, new))
    assert said in tiny.refused()
    (tiny.folder / "settings.ini").unlink()
    assert "settings.ini" in tiny.refused()


def test_a_write_that_fails_leaves_the_edit_to_be_found(tiny, monkeypatch):
    tiny.done()
    tiny.write("nbs/1_area.py", EDITED)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: paths[0].unlink() or paths[0].stat())
        assert tiny.run()[0] == 1
    assert "nbs/1_area.py was edited" in tiny.done() and "side * side" in tiny.read("tiny/area.py")


def test_what_a_killed_call_left_is_gone_after_the_next(tiny, monkeypatch):
    tiny.done()
    tiny.write("nbs/1_area.py", EDITED)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: paths[0].rename(tiny.folder / "no/such/folder"))
        patch.setattr(os, "getpid", lambda: 2**22 + 1)
        assert tiny.run()[0] == 1
    assert list(tiny.folder.rglob(".*"))
    tiny.done()
    assert not list(tiny.folder.rglob(".*"))


def test_the_exporter_exports_itself_whatever_the_locale(tiny, root):
    (tiny.folder / "nbs/1_area.py").unlink()
    for name in ("settings.ini", "nbs/90_export.py"):
        tiny.write(name, (root / name).read_bytes())
    latin = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    assert "vicreg_nb/tools/export.py" in tiny.python("nbs/90_export.py", **latin)
    assert tiny.read("vicreg_nb/tools/export.py") == (root / "vicreg_nb/tools/export.py").read_text("utf-8")
    assert tiny.python("-m", "vicreg_nb.tools.export", "--check", **latin)
    code = "import sys, vicreg_nb.tools.export; print({'torch', 'numpy', 'jupytext'} & set(sys.modules))"
    assert tiny.python("-c", code, **latin) == "set()"


def test_jupytext_reads_this_repository_alike_and_ruff_agrees_with_the_blank_lines(root, tmp_path):
    percent = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    for path in sorted((root / "nbs").glob("*.py")):
        cells, theirs = export.read_cells(path), jupytext.read(path, fmt=percent).cells
        assert [cell[:2] for cell in cells] == [(cell.cell_type, cell.source.strip("\n")) for cell in theirs]
        (tmp_path / path.name).write_text(export.percent_text(cells), encoding="utf-8")
    command = [sys.executable, "-m", "ruff", "format", "--check", "--config", root / "pyproject.toml", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_jupytext_pairs_no_notebook_so_that_each_opens_in_jupyterlab(root):
    """A pair of jupytext's whose .ipynb is the newer one, as after an export, would be refused there."""
    for path in sorted((root / "nbs").glob("*.ipynb")):
        assert load_jupytext_config(str(path)).default_formats(str(path)) is None


def test_an_edit_in_jupyter_changes_no_other_line_of_the_book():
    """Each .py is the text that its .ipynb would be carried to."""
    sources = sorted((project_root() / "nbs").glob("*.py"))
    assert sources and all(export.percent_text(export.read_cells(py)) == py.read_text("utf-8") for py in sources)
