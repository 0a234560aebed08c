"""Notebooks to package: what is written, what is carried over, and everything that must be refused."""

import json
import random
import shutil
import subprocess
import sys

import jupytext
import nbformat
import pytest
from vicreg_nb.tools import export

SETTINGS = "[DEFAULT]\nlib_name = tiny\nversion = 0.1\nnbs_path = nbs\nlib_path = tiny\n"
AREA = '''# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
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
VOLUME = """# %% [markdown]
# # Volume
# %%
#| default_exp tools.volume
# %%
#| export
import math

from tiny.area import area

UNIT, (_HIDDEN, Also) = "m3", (1, 2)


def volume(side):
    from tiny import area as module
    import tiny.area as again

    return area(side) * side + module.area(0) + again.area(0)
# %%
#| export
class Cube:
    inner = 1
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
        path.write_text(text, encoding="utf-8")

    def read(self, name):
        return (self.folder / name).read_text(encoding="utf-8")

    def state(self):
        """Every file with its bytes and time of writing."""
        files = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    def run(self, *arguments):
        """(exit code, everything printed)"""
        code = export.main(list(arguments))
        return code, "".join(self.capsys.readouterr())

    def refused(self, *arguments):
        """What is printed by a call that must fail and change nothing."""
        before = self.state()
        code, text = self.run(*arguments)
        assert code == 1 and self.state() == before
        return text

    def jupyter(self, name, change):
        """Save a notebook as Jupyter does: with outputs, ids and metadata of its own, after `change(cells)`."""
        notebook = json.loads(self.read(name))
        cells = notebook["cells"]
        change(cells)
        for number, cell in enumerate(cells):
            cell["id"] = f"jupyter-{number}"
            cell["metadata"]["collapsed"] = True
            if cell["cell_type"] == "code":
                output = {"output_type": "stream", "name": "stdout", "text": ["hello\n"]}
                cell.update(execution_count=number, outputs=[output])
        kernel = {"display_name": "my env", "language": "python", "name": "python3"}
        notebook["metadata"] = {"kernelspec": kernel, "language_info": {"name": "python"}, "colab": {"provenance": []}}
        self.write(name, json.dumps(notebook))

    def python(self, code):
        """What a fresh Python prints."""
        done = subprocess.run([sys.executable, "-c", code], cwd=self.folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()


@pytest.fixture
def tiny(tmp_path, monkeypatch, capsys):
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return Tiny(tmp_path / "project", capsys)


def code_cell(source):
    return {"cell_type": "code", "metadata": {}, "source": source.splitlines(keepends=True)}


def replace(number, old, new):
    """A change for `Tiny.jupyter`."""

    def change(cells):
        assert old in "".join(cells[number]["source"])
        cells[number]["source"] = "".join(cells[number]["source"]).replace(old, new)

    return change


def sources(notebook):
    return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]


# ---- what is written


def test_the_package_works_and_imports_are_relative(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    assert tiny.run()[0] == 0
    assert tiny.python("from tiny.tools.volume import *; print(volume(3), UNIT, Also, Cube.inner)") == "27 m3 2 1"
    assert tiny.python("import tiny; print(tiny.__version__, tiny.area if hasattr(tiny, 'area') else '')") == "0.1"
    text = tiny.read("tiny/tools/volume.py")
    assert (
        "from ..area import area" in text
        and "    from .. import area as module\n    from .. import area as again" in text
    )
    assert "tiny." not in text.split("\n", 3)[3]
    # the whole package moves to another name: nothing in it says `tiny` in an import
    shutil.copytree(tiny.folder / "tiny", tiny.folder / "moved")
    shutil.rmtree(tiny.folder / "tiny")
    assert tiny.python("from moved.tools.volume import volume; print(volume(2))") == "8"


def test_all_names_what_is_defined_and_public(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.run()
    assert tiny.python("import tiny.tools.volume as v; print(v.__all__)") == "['Also', 'Cube', 'UNIT', 'volume']"
    assert tiny.python("import tiny.area as a; print(a.__all__, a.__doc__)") == "['area'] Area."


def test_header_and_layout(tiny):
    tiny.run()
    first, *_, last = tiny.read("tiny/area.py").split("\n")
    assert first == "# Generated from nbs/1_area.py by `make export`. Do not edit: edit the notebook."
    assert last == "" and not tiny.read("tiny/area.py").endswith("\n\n")
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.run()
    assert "\n    return area(side) * side + module.area(0) + again.area(0)\n\n\nclass Cube:" in tiny.read(
        "tiny/tools/volume.py"
    )
    assert "#|" not in tiny.read("tiny/area.py") and "assert" not in tiny.read("tiny/area.py")


def test_twice_is_once_to_the_byte(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    code, text = tiny.run()
    assert "nbs/1_area.ipynb" in text and "tiny/tools/volume.py" in text
    before = tiny.state()
    code, text = tiny.run()
    assert code == 0 and text == "The notebooks, their pairs and the package agree.\n"
    assert tiny.state() == before
    for path in [*(tiny.folder / "tiny").rglob("*.py"), tiny.folder / "nbs/1_area.ipynb"]:
        path.unlink()
    tiny.run()
    assert {path: content for path, (content, _) in tiny.state().items()} == {
        path: content for path, (content, _) in before.items()
    }


def test_the_pair_is_valid_holds_no_outputs_and_says_the_same_as_jupytext(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.run()
    for name in ("1_area", "2_volume"):
        text = tiny.read(f"nbs/{name}.ipynb")
        notebook = nbformat.reads(text, as_version=4)
        nbformat.validate(notebook)
        assert nbformat.writes(notebook) + "\n" == text  # as nbformat itself would write it
        assert sources(notebook) == sources(jupytext.read(tiny.folder / f"nbs/{name}.py"))
        assert set(notebook.metadata) == {"kernelspec"} and notebook.metadata.kernelspec.name == "python3"
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)
        for cell in notebook.cells:
            assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)


def test_an_inserted_cell_changes_no_other_id(tiny):
    tiny.write("nbs/1_area.py", AREA + "\n# %%\nx = 1\n\n# %%\nx = 1\n")
    tiny.run()
    before = [cell["id"] for cell in json.loads(tiny.read("nbs/1_area.ipynb"))["cells"]]
    tiny.write("nbs/1_area.py", tiny.read("nbs/1_area.py").replace("# %%\nassert", "# %%\nnew = 0\n\n# %%\nassert"))
    tiny.run()
    after = [cell["id"] for cell in json.loads(tiny.read("nbs/1_area.ipynb"))["cells"]]
    assert len(set(before)) == len(before) and [id for id in after if id in before] == before


def test_empty_cells_and_cells_with_only_a_directive(tiny):
    tiny.write(
        "nbs/1_area.py",
        AREA + "\n# %%\n\n# %%\n#| export\n\n# %%\n#| hide\n\n# %% [markdown]\n\n# %%\n#| export\n# a remark\n\n# %%\n",
    )
    code, text = tiny.run()
    assert code == 0 and tiny.run("--check")[0] == 0
    kinds = [cell["cell_type"] for cell in json.loads(tiny.read("nbs/1_area.ipynb"))["cells"]]
    assert kinds == ["markdown"] + 4 * ["code"] + 3 * ["code"] + ["markdown", "code", "code"]
    assert tiny.read("tiny/area.py").endswith("return side**2\n\n\n# a remark\n")
    tiny.write("nbs/3_none.py", "")  # an empty file, too
    assert tiny.run()[0] == 0 and tiny.run("--check")[0] == 0


def test_two_notebooks_make_one_module_in_their_order(tiny):
    tiny.write(
        "nbs/1b_more.py", "# %%\n#| default_exp area\n# %%\n#| export\ndef double(side):\n    return 2 * area(side)\n"
    )
    assert tiny.run()[0] == 0
    text = tiny.read("tiny/area.py")
    assert text.startswith("# Generated from nbs/1_area.py and nbs/1b_more.py by")
    assert text.index("def area") < text.index("def double")
    assert tiny.python("from tiny.area import *; print(double(3))") == "18"
    tiny.jupyter("nbs/1b_more.ipynb", replace(1, "2 *", "4 *"))  # each half is carried over on its own
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "side * side"))
    assert tiny.run()[0] == 0
    assert (
        "4 * area" in tiny.read("nbs/1b_more.py") and tiny.python("from tiny.area import *; print(double(3))") == "36"
    )


def test_a_copy_of_a_notebook_is_no_second_half(tiny):
    tiny.run()
    shutil.copy(tiny.folder / "nbs/1_area.ipynb", tiny.folder / "nbs/1_area-Copy1.ipynb")
    assert "nbs/1_area.py and nbs/1_area-Copy1.py both define `area` in module area" in tiny.refused()


def test_comments_stay_comments_on_both_sides(tiny):
    remarks = "# %%\n# !echo from the percent file\n# %timeit\nx = 1\n"
    tiny.write("nbs/1_area.py", AREA + "\n" + remarks)
    tiny.run()
    assert json.loads(tiny.read("nbs/1_area.ipynb"))["cells"][-1]["source"] == remarks.splitlines(keepends=True)[
        1:3
    ] + ["x = 1"]
    tiny.jupyter("nbs/1_area.ipynb", lambda cells: cells.append(code_cell("# !echo from Jupyter\n# % y")))
    tiny.run()
    assert tiny.read("nbs/1_area.py").endswith(remarks + "\n# %%\n# !echo from Jupyter\n# % y\n")
    assert tiny.run("--check")[0] == 0


def test_a_bare_import_of_the_package_stays(tiny):
    tiny.write("nbs/1_area.py", AREA + "\n# %%\n#| export\nimport tiny\n\nVERSION = tiny.__version__\n")
    tiny.run()
    assert tiny.python("from tiny.area import *; print(VERSION)") == "0.1"


def test_text_that_looks_like_an_import_is_left_alone(tiny):
    tiny.write(
        "nbs/1_area.py",
        AREA + "\n# %%\n#| export\nHELP = '''\nfrom tiny.area import é\n'''; from tiny import area as ü\n",
    )
    tiny.run()
    assert "\nfrom tiny.area import é\n'''; from . import area as ü\n" in tiny.read("tiny/area.py")


# ---- which side was edited


def test_an_edit_in_the_py(tiny):
    tiny.run()
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "side * side"))
    code, text = tiny.run()
    assert code == 0 and "nbs/1_area.ipynb differs from nbs/1_area.py" in text
    assert "side * side" in tiny.read("nbs/1_area.ipynb") and "side * side" in tiny.read("tiny/area.py")
    assert tiny.read("nbs/1_area.py") == AREA.replace("side**2", "side * side")


@pytest.mark.parametrize("newest", ["py", "ipynb"])
@pytest.mark.parametrize("layout", ["\n\n\n", "\n\n", "\n"])
def test_an_edit_in_jupyter_whatever_the_clock_says(tiny, newest, layout):
    area = AREA.replace("\n\n\n", layout)
    tiny.write("nbs/1_area.py", area)
    tiny.run()
    tiny.jupyter("nbs/1_area.ipynb", replace(3, "side**2", "side * side"))
    (tiny.folder / f"nbs/1_area.{newest}").touch()
    code, text = tiny.run()
    assert code == 0 and "nbs/1_area.py differs from nbs/1_area.ipynb" in text
    assert tiny.read("nbs/1_area.py") == area.replace("side**2", "side * side")  # no other line of it moved
    assert "side * side" in tiny.read("tiny/area.py") and "hello" not in tiny.read("nbs/1_area.ipynb")
    assert tiny.run("--check")[0] == 0


def test_jupyter_may_add_remove_move_and_tag_cells(tiny):
    tiny.run()

    def change(cells):
        cells[1], cells[2] = cells[2], cells[1]
        del cells[4]
        cells.append(code_cell("area(5)"))
        cells[-1]["metadata"]["tags"] = ["report"]

    tiny.jupyter("nbs/1_area.ipynb", change)
    assert tiny.run()[0] == 0
    text = tiny.read("nbs/1_area.py")
    assert text.endswith('\n\n# %% tags=["report"]\narea(5)\n') and "assert" not in text
    assert text.index('# %% tags=["parameters"]\nside') < text.index("default_exp") and tiny.run("--check")[0] == 0


def test_outputs_ids_and_metadata_are_no_edit(tiny):
    tiny.run()
    before = tiny.read("nbs/1_area.ipynb")
    tiny.jupyter("nbs/1_area.ipynb", lambda cells: None)
    assert tiny.read("nbs/1_area.ipynb") != before
    assert "nbs/1_area.ipynb differs from nbs/1_area.py: run `make export`." in tiny.refused("--check")
    code, text = tiny.run()
    assert code == 0 and tiny.read("nbs/1_area.ipynb") == before and tiny.read("nbs/1_area.py") == AREA
    tiny.jupyter("nbs/1_area.ipynb", lambda cells: None)  # run in Jupyter, and edited in the .py: not both edited
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "side * side"))
    assert tiny.run()[0] == 0 and "side * side" in tiny.read("nbs/1_area.ipynb")


def edit_both(tiny):
    tiny.run()
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "side * side"))
    tiny.jupyter("nbs/1_area.ipynb", replace(3, "side**2", "pow(side, 2)"))


def test_edits_on_both_sides_stop_and_change_nothing(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    edit_both(tiny)
    tiny.write("nbs/2_volume.py", VOLUME.replace("m3", "l"))  # its edit has to wait as well
    text = tiny.refused()
    assert "nbs/1_area.py and 1_area.ipynb were both edited" in text
    assert '`make export ARGS="--take py 1_area"`' in text and '`make export ARGS="--take ipynb 1_area"`' in text
    assert "both edited" in tiny.refused("--check")


@pytest.mark.parametrize("side, kept, lost", [("py", "side * side", "pow"), ("ipynb", "pow(side, 2)", "side * side")])
@pytest.mark.parametrize("name", ["1_area", "nbs/1_area.py", "1_area.ipynb"])
def test_both_ways_out(tiny, side, kept, lost, name):
    edit_both(tiny)
    assert tiny.run("--take", side, name)[0] == 0
    for file in ("nbs/1_area.py", "nbs/1_area.ipynb", "tiny/area.py"):
        assert kept in tiny.read(file) and lost not in tiny.read(file)
    assert tiny.run("--check")[0] == 0


def test_the_same_edit_on_both_sides_is_one(tiny):
    tiny.run()
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "side * side"))
    tiny.jupyter("nbs/1_area.ipynb", replace(3, "side**2", "side * side"))
    assert tiny.run()[0] == 0 and "side * side" in tiny.read("tiny/area.py")


def test_a_notebook_without_a_module_is_paired_as_well(tiny):
    tiny.write("nbs/0 my notes.py", "# %%\nx = 1\n")
    tiny.run()
    tiny.jupyter("nbs/0 my notes.ipynb", replace(0, "1", "2"))
    assert tiny.run()[0] == 0 and tiny.read("nbs/0 my notes.py").endswith("# %%\nx = 2\n")
    tiny.write("nbs/0 my notes.py", "# %%\nx = 3\n")
    assert tiny.run()[0] == 0 and "x = 3" in tiny.read("nbs/0 my notes.ipynb")
    assert tiny.run("--check")[0] == 0


def test_without_a_record_two_different_sides_are_not_guessed(tiny):
    edit_both(tiny)
    shutil.rmtree(tiny.folder / "tiny")
    assert "no earlier export tells which was edited" in tiny.refused()


def test_a_lost_side_comes_back_and_a_notebook_from_jupyter_gets_its_py(tiny):
    tiny.run()
    before = tiny.state()
    (tiny.folder / "nbs/1_area.ipynb").unlink()
    tiny.run()
    (tiny.folder / "nbs/1_area.py").unlink()
    tiny.run()
    assert {path: content for path, (content, _) in tiny.state().items()} == {
        path: content for path, (content, _) in before.items()
    }


def test_a_deleted_notebook_takes_its_module_along(tiny):
    tiny.write("nbs/2_volume.py", VOLUME)
    tiny.run()
    for suffix in ("py", "ipynb"):
        (tiny.folder / f"nbs/2_volume.{suffix}").unlink()
    assert "tiny/tools/volume.py comes from no notebook any more" in tiny.refused("--check")
    assert tiny.run()[0] == 0
    assert sorted(path.name for path in (tiny.folder / "tiny").rglob("*.py")) == ["__init__.py", "area.py"]


# ---- modules edited by hand


def test_a_module_edited_by_hand_is_refused_not_overwritten(tiny):
    tiny.run()
    module = tiny.folder / "tiny/area.py"
    module.write_text(module.read_text().replace("side**2", "side**3"))
    assert "tiny/area.py was edited by hand: move the edit to nbs/1_area.py, and delete the file." in tiny.refused(
        "--check"
    )
    assert "edited by hand" in tiny.refused()
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "abs(side) ** 2"))  # also with an edit waiting
    assert "edited by hand" in tiny.refused()
    module.unlink()  # the remedy
    assert tiny.run("--take", "py", "1_area")[0] == 0 and "abs(side)" in module.read_text()


def test_a_file_that_export_did_not_write_is_refused(tiny):
    tiny.write("tiny/area.py", "def area(): pass\n")
    tiny.write("tiny/other.py", "x = 1\n")
    text = tiny.refused()
    assert "tiny/area.py was not written by export: move its code to nbs/1_area.py" in text
    assert "tiny/other.py was not written by export: move its code to a notebook" in text


# ---- faults in notebooks


@pytest.mark.parametrize(
    "cell, said",
    [
        ("def f(:\n    pass", "cell 6, line 1: invalid syntax: `def f(:`"),
        ("x = 1\n\n  y = 2", "cell 6, line 3: unexpected indent: `y = 2`"),
        ("#| export\n\nx = (", "cell 6, line 3: '(' was never closed: `x = (`"),
        ("!ls", "cell 6, line 1 is `!ls`, a magic or shell line"),
        ("x = 1\n%matplotlib inline", "cell 6, line 2 is `%matplotlib inline`, a magic or shell line"),
        ("#| exprot\nx = 1", "cell 6: `#| exprot` is not a directive"),
        ("x = 1\n#| export\ny = 2", "cell 6: `#| export` has no effect there"),
        ("#| default_exp other", "cell 6: `#| default_exp other` after `#| default_exp area`"),
        ("#| export\nimport tiny.area", "cell 6: `import tiny.area` cannot be made relative"),
        ("#| export\nimport os, tiny.area as a", "cell 6: `import os, tiny.area as a` cannot be made relative"),
        ("#| export\nreturn 3", "the exported cells make no module: 'return' outside function"),
    ],
)
@pytest.mark.parametrize("side", ["py", "ipynb"])
def test_a_fault_is_named_by_notebook_cell_and_line(tiny, side, cell, said):
    tiny.run()
    if side == "py":
        tiny.write("nbs/1_area.py", AREA + f"\n# %%\n{cell}\n")
    else:
        tiny.jupyter("nbs/1_area.ipynb", lambda cells: cells.append(code_cell(cell)))
    text = tiny.refused()
    assert said in text and text.startswith(
        "nbs/1_area.py: " if "make no module" in said else f"nbs/1_area.{side}, cell 6"
    )
    assert len(text.splitlines()) == 1 and said in tiny.refused("--check")


def test_all_faults_are_told_at_once(tiny):
    tiny.write("nbs/1_area.py", AREA + "\n# %%\n)\n")
    tiny.write("nbs/2_volume.py", VOLUME + "\n# %%\n)\n")
    assert [line.split(",")[0] for line in tiny.refused().splitlines()] == ["nbs/1_area.py", "nbs/2_volume.py"]


@pytest.mark.parametrize("name", ["", "a-b", "__init__", "a..b", "../a"])
def test_module_names_are_checked(tiny, name):
    tiny.write("nbs/1_area.py", AREA.replace("default_exp area", f"default_exp {name}"))
    assert "names no module" in tiny.refused()


def test_export_without_a_module_to_go_to(tiny):
    tiny.write("nbs/1_area.py", AREA.replace("#| default_exp area", ""))
    assert "nbs/1_area.py, cell 4 is exported, but no cell says where to" in tiny.refused()


@pytest.mark.parametrize("line", ["# %%", "# %% [markdown]", "# In[3]:"])
def test_what_a_percent_file_cannot_hold_is_refused(tiny, line):
    tiny.run()
    tiny.jupyter("nbs/1_area.ipynb", lambda cells: cells.append(code_cell(f"x = 1\n{line}\ny = 2")))
    assert "nbs/1_area.ipynb, cell 6 cannot stand in a percent file" in tiny.refused()


def test_a_pasted_picture_is_refused(tiny):
    tiny.run()

    def paste(cells):
        cells[0]["attachments"] = {"image.png": {"image/png": "AAAA"}}

    tiny.jupyter("nbs/1_area.ipynb", paste)
    assert "nbs/1_area.ipynb, cell 1 has a picture pasted in" in tiny.refused()


@pytest.mark.parametrize("text", ["", "{", "<<<<<<< HEAD\n{}", '{"cells": 3}', '{"worksheets": []}', '{"cells": [{}]}'])
def test_a_broken_ipynb_is_named_with_its_way_out(tiny, text):
    tiny.run()
    tiny.write("nbs/1_area.ipynb", text)
    assert "nbs/1_area.ipynb is not a notebook" in tiny.refused()
    assert tiny.run("--take", "py", "1_area")[0] == 0 and tiny.run("--check")[0] == 0


def test_random_notebooks_are_carried_over_exactly_or_refused():
    """Whatever cells Jupyter makes: their percent file reads back as the same cells, or there is an error."""
    pieces = [
        "",
        "\n",
        "x = 1",
        "# !ls",
        "%time",
        "#| export",
        "def f():\n    pass",
        "  ",
        "'''",
        '"""\n\n# %%\n"""',
        "- item",
    ]
    pieces += [
        "# %% x",
        "# +",
        "# -",
        "@d\nclass A: pass",
        "---",
        "é ∑",
        "#",
        "#!bang",
        "[markdown]",
        "\ty",
        "# # h",
        "\x0c",
    ]
    choose = random.Random(0)
    refused = 0
    for _ in range(400):
        cells = []
        for _ in range(choose.randint(1, 4)):
            source = "\n".join(choose.choice(pieces) for _ in range(choose.randint(0, 3)))
            tags = choose.choice([[], [], ["a"], ["a", "b c"]])
            cells.append(export.clean(choose.choice(["code", "code", "markdown", "raw"]), source, {"tags": tags}))
        try:
            text = export.percent_text(cells, "random")
        except export.ExportError:
            refused += 1
            continue
        back = jupytext.reads(text, fmt={"extension": ".py", "format_name": "percent", "comment_magics": False})
        assert [(cell.cell_type, cell.source.strip("\n").rstrip()) for cell in back.cells] == [
            (c.kind, c.source) for c in cells
        ]
        assert export.percent_text(cells, "random", old=text) == text
    assert refused < 200  # most of them pass


# ---- the command


def test_check_names_each_file_and_writes_nothing(tiny):
    tiny.run()
    assert tiny.run("--check") == (0, "The notebooks, their pairs and the package agree.\n")
    tiny.write("nbs/1_area.py", AREA.replace("side**2", "side * side"))
    assert tiny.refused("--check").splitlines() == [
        "nbs/1_area.ipynb differs from nbs/1_area.py: run `make export`.",
        "tiny/area.py differs from nbs/1_area.py: run `make export`.",
    ]
    tiny.run()
    tiny.write("settings.ini", SETTINGS.replace("0.1", "0.2"))
    assert tiny.refused("--check") == "tiny/__init__.py differs from settings.ini: run `make export`.\n"
    (tiny.folder / "tiny/area.py").unlink()
    assert "tiny/area.py is missing beside nbs/1_area.py" in tiny.refused("--check")


def test_wrong_arguments(tiny):
    assert "1_aera is not a notebook in nbs/: do you mean 1_area?" in tiny.refused("--take", "py", "1_aera")
    assert "--take needs a side and the notebooks" in tiny.refused("--take", "py")
    assert "--take needs a side and the notebooks" in tiny.refused("1_area")
    assert "nbs/1_area.ipynb is not there" in tiny.refused("--take", "ipynb", "1_area")


def test_outside_of_a_project_and_with_broken_settings(tiny, tmp_path, monkeypatch):
    tiny.write("settings.ini", SETTINGS.replace("nbs_path", "notebooks"))
    assert "settings.ini: 'nbs_path': it needs a [DEFAULT] section" in tiny.refused()
    tiny.write("settings.ini", SETTINGS.replace("= nbs", "= empty"))
    assert "empty/ holds no notebooks" in tiny.refused()
    monkeypatch.chdir(tmp_path)
    assert "lies in no project" in tiny.refused()


def test_the_exporter_exports_itself_where_the_package_is_missing(root, tmp_path):
    (tmp_path / "nbs").mkdir()
    shutil.copy(root / "settings.ini", tmp_path)
    shutil.copy(root / "nbs" / "90_export.py", tmp_path / "nbs")

    def call(*command):
        return subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True)

    made = call("nbs/90_export.py")
    assert made.returncode == 0 and "vicreg_nb/tools/export.py" in made.stdout, made.stderr
    checked = call("-m", "vicreg_nb.tools.export", "--check")
    assert (checked.returncode, checked.stdout) == (0, "The notebooks, their pairs and the package agree.\n"), (
        checked.stderr
    )


def test_this_repository_is_in_step(root):
    done = subprocess.run(
        [sys.executable, "-m", "vicreg_nb.tools.export", "--check"], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
