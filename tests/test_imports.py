"""The package imports only what the exercise allows; the tools may import more."""

import ast
import subprocess
import sys

ALLOWED = {
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
