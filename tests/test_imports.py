"""The package imports only what the exercise allows; the tools may import more."""

import ast
import subprocess
import sys

from reading import CHAPTERS, own_modules

ALLOWED = {
    "vicreg_nb",
    "numpy", "scipy", "sklearn", "faiss", "torch", "torchvision", "matplotlib", "tensorboard", "wandb", "pandas",
    "plotly", "tqdm",
}  # fmt: skip


def imported(source):
    """(line, top-level name) of each absolute import in a source, wherever it stands."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        yield from ((node.lineno, name.split(".")[0]) for name in names)


def strangers(source):
    return {name for _, name in imported(source)} - ALLOWED - sys.stdlib_module_names


def modules(root):
    package = root / "vicreg_nb"
    return [path for path in sorted(package.rglob("*.py")) if package / "tools" not in path.parents]


def undocumented(source):
    """Public functions and classes without a docstring; a question's figure has its caption instead."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            captioned = any(".figure(" in ast.unparse(decorator) for decorator in node.decorator_list)
            if not captioned and not ast.get_docstring(node):
                yield node.name


def test_every_public_function_and_class_has_a_docstring(root):
    found = {path.name: list(undocumented(path.read_text(encoding="utf-8"))) for path in modules(root)}
    assert {name: names for name, names in found.items() if names} == {}
    made = "@q1.figure('What is shown?')\ndef a(): pass\ndef _b(): pass\ndef c(): pass\nclass D: pass\ndef e(): 'Says.'"
    assert list(undocumented(made)) == ["c", "D"]


def test_the_package_imports_only_what_is_allowed(root):
    assert len(modules(root)) > 5
    found = {path.name: strangers(path.read_text()) for path in modules(root)}
    assert {name: names for name, names in found.items() if names} == {}


def test_the_walk_finds_a_stranger_wherever_it_hides():
    source = "import numpy.linalg, lightly.loss\ndef f():\n    from kornia.augmentation import x\n"
    source += "try:\n    import os\nfinally:\n    pass\n"
    assert strangers(source) == {"lightly", "kornia"}


def test_tools_are_imported_only_where_they_are_needed(root):
    """Without tools/ (as in the submission) every module still imports: no import of tools at module level."""
    for path in modules(root):
        for node in ast.parse(path.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any("tools" in name.split(".") for name in names), f"{path.name}, line {node.lineno}"


def test_importing_prints_nothing_and_needs_no_tools(root):
    names = [path.stem for path in modules(root) if path.stem != "__init__"]
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module("vicreg_nb." + name)
assert not {{"jupytext", "papermill", "nbformat", "IPython"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


LAZY_ARROWS = {("methods", "ablations"), ("methods", "laplacian_eigenmaps")}  # the table of methods, inside functions


def arrows(root, anywhere):
    """(module, imported module) pairs of the package outside tools; anywhere: those inside functions too."""
    for path in modules(root):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree) if anywhere else tree.body:
            yield from ((path.stem, name) for name in own_modules(node))


def test_what_chapters_share_imports_no_chapter(root):
    shared = {(one, other) for one, other in arrows(root, anywhere=True) if one not in CHAPTERS and other in CHAPTERS}
    assert shared <= LAZY_ARROWS
    assert not {(one, other) for one, other in arrows(root, anywhere=False) if one not in CHAPTERS} & LAZY_ARROWS


def test_modules_are_imported_in_one_direction(root):
    below = {path.stem: set() for path in modules(root)}
    for one, other in arrows(root, anywhere=False):
        below[one].add(other)
    while below:
        lowest = {name for name, others in below.items() if not others & set(below)}
        assert lowest, f"these import each other: {sorted(below)}"
        below = {name: others for name, others in below.items() if name not in lowest}


LAYERS = (  # each imports only from those before it
    ("store",),
    ("config", "plots", "neighbours", "vicreg", "parallel", "files", "identity"),
    ("data",),
    ("views", "book"),
    ("training",),
    ("representations",),
    ("methods",),
)


def test_each_layer_stands_on_those_below(root):
    height = {name: place for place, names in enumerate(LAYERS) for name in names}
    assert set(height) <= {path.stem for path in modules(root)}
    shared = {(one, other) for one, other in arrows(root, anywhere=False) if one in height and other != "__init__"}
    assert {(one, other) for one, other in shared if height.get(other, len(LAYERS)) >= height[one]} == set()


def test_an_arrow_is_seen_in_every_form():
    forms = (
        "from . import a\nfrom vicreg_nb import b\nimport vicreg_nb.c as d\ndef f():\n    from vicreg_nb.e import g\n"
    )
    seen = set().union(*(own_modules(node) for node in ast.walk(ast.parse(forms))))
    assert seen == {"a", "b", "c", "e"}
