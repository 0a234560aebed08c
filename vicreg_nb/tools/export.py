# Generated from nbs/90_export.py by `make export`. Do not edit: edit the notebook.

"""90 · Export: from notebooks to a package."""

import argparse
import ast
import configparser
import difflib
import hashlib
import json
import os
import re
import sys
import textwrap
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import jupytext
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell


class ExportError(ValueError):
    """Something that export cannot go on with: one line for each fault, with its file and the remedy."""


@dataclass(frozen=True)
class Project:
    """A project's folder, and what its settings.ini says."""

    root: Path
    name: str  # of the package
    version: str
    notebooks: Path  # folder of the notebooks
    package: Path  # folder of the package

    def show(self, path: Path) -> str:
        """`path` as messages and headers name it: from the project's folder, with slashes."""
        return path.relative_to(self.root).as_posix()


def open_project(start: Path = None) -> Project:
    """The project that `start` (default: the current folder) lies in. Raises ExportError where there is none."""
    start = Path(start or Path.cwd()).resolve()
    root = next((folder for folder in (start, *start.parents) if (folder / "settings.ini").is_file()), None)
    if root is None:
        raise ExportError(f"{start} lies in no project: change to the folder that holds settings.ini, or to one in it.")
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(root / "settings.ini", encoding="utf-8")
        name, version, notebooks, package = (settings["DEFAULT"][key] for key in SETTINGS)
    except (configparser.Error, KeyError) as error:
        raise ExportError(f"settings.ini: {error}: it needs a [DEFAULT] section with {', '.join(SETTINGS)}.") from None
    return Project(root, name, version, root / notebooks, root / package)


SETTINGS = ("lib_name", "version", "nbs_path", "lib_path")


@dataclass(frozen=True)
class Cell:
    """What counts of a cell."""

    kind: str  # code, markdown or raw
    source: str
    tags: tuple = ()


def digest(*things) -> str:
    """16 hex digits that stand for `things`, which JSON can hold."""
    return hashlib.sha256(json.dumps(things).encode()).hexdigest()[:16]


def cells_digest(cells) -> str:
    """16 hex digits that stand for a notebook's content."""
    return digest(*([cell.kind, cell.source, list(cell.tags)] for cell in cells))


def read_text(path: Path, project: Project) -> str:
    """The text of a file, as it stands there. Raises ExportError where it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExportError(f"{project.show(path)} is not UTF-8 text ({error}): save it as UTF-8.") from None


def read_ipynb(path: Path, project: Project) -> list:
    """The cells of an .ipynb. Raises ExportError where it is not one, or holds what a .py cannot."""
    name, text = project.show(path), read_text(path, project)
    try:
        entries = [(entry["cell_type"], entry["source"], entry) for entry in json.loads(text)["cells"]]
    except (ValueError, KeyError, TypeError):
        way_out = f'repair it, or go back to the .py with `make export ARGS="--take py {path.stem}"`'
        raise ExportError(
            f"{name} is not a notebook in format 4 (broken off, or a merge conflict?): {way_out}."
        ) from None
    for number, (_, _, entry) in enumerate(entries, 1):
        if entry.get("attachments"):
            raise ExportError(f"{name}, cell {number} has a picture pasted in: save it as a file and link to it.")
    return [clean(kind, "".join(source), entry.get("metadata", {})) for kind, source, entry in entries]


def clean(kind: str, source: str, metadata: dict) -> Cell:
    """A `Cell` without the spaces and line ends that the two formats keep differently."""
    lines = source.replace("\r\n", "\n").strip("\n").rstrip()
    return Cell(kind, lines, tuple(sorted(set(metadata.get("tags", ())))))


def ipynb_text(cells) -> str:
    """The .ipynb of `cells`: no outputs, and the same bytes each time."""
    seen = Counter()
    entries = []
    for cell in cells:
        seen[cell.kind, cell.source] += 1
        entry = {
            "cell_type": cell.kind,
            "id": digest(cell.kind, cell.source, seen[cell.kind, cell.source]),
            "metadata": {"tags": list(cell.tags)} if cell.tags else {},
            "source": cell.source.splitlines(keepends=True),
        }
        entries.append(entry | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {}))
    notebook = {"cells": entries, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}


def read_percent(text: str) -> list:
    """The cells of a percent file."""
    return [clean(cell.cell_type, cell.source, cell.metadata) for cell in jupytext.reads(text, fmt=PERCENT).cells]


def percent_text(cells, name: str, old: str = "") -> str:
    """The percent file of `cells`, with the blank lines between them as in its text before, `old`.

    Raises ExportError where percent format cannot hold a cell; `name` is the notebook's in the message.
    """
    make = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
    nodes = [make[cell.kind](cell.source, metadata={"tags": list(cell.tags)} if cell.tags else {}) for cell in cells]
    keep_spacing(nodes, cells, old)
    filters = {"notebook_metadata_filter": "kernelspec,-all", "cell_metadata_filter": "tags,-all"}
    notebook = new_notebook(cells=nodes, metadata={"kernelspec": KERNEL, "jupytext": filters})
    text = jupytext.writes(notebook, fmt=PERCENT)
    back = read_percent(text)
    if back != list(cells):
        number = next((n for n, (a, b) in enumerate(zip(cells, back), 1) if a != b), min(len(cells), len(back)))
        reason = "has a line that would start a new cell there, such as `# %%` or `# In[1]:`: change that line"
        raise ExportError(f"{name}, cell {number} cannot stand in a percent file: it {reason}.")
    return text


def keep_spacing(nodes, cells, old: str) -> None:
    """Give the `nodes` of `cells` the layout that the same cells have in the percent text `old`."""
    before = jupytext.reads(old, fmt=PERCENT).cells
    was = [clean(cell.cell_type, cell.source, cell.metadata) for cell in before]
    for change, start, end, to, to_end in difflib.SequenceMatcher(None, was, cells, autojunk=False).get_opcodes():
        if change == "equal" or end - start == to_end - to:  # a cell that was edited keeps its place
            for old_node, node in zip(before[start:end], nodes[to:to_end]):
                node.metadata.update({key: value for key, value in old_node.metadata.items() if key != "tags"})


DIRECTIVES = ("default_exp", "export", "hide")
SIGN = re.compile(r"#\s*\|\s*(\w*)\s*(.*)")


def directives(cell: Cell, where: str) -> tuple:
    """The directives of a code cell, {name: argument}, and the code below them; ExportError for an unknown one."""
    lines = cell.source.split("\n")
    size = next((n for n, line in enumerate(lines) if line.strip() and not SIGN.match(line)), len(lines))
    found = {}
    for line in filter(str.strip, lines[:size]):
        name, argument = SIGN.match(line).groups()
        if name not in DIRECTIVES:
            raise ExportError(f"{where}: `{line}` is not a directive: use {', '.join('#| ' + d for d in DIRECTIVES)}.")
        found[name] = argument.strip()
    for line in lines[size:]:
        if (late := SIGN.match(line)) and late[1] in DIRECTIVES:
            raise ExportError(f"{where}: `{line}` has no effect there: move it to the cell's first lines.")
    return found, "\n".join(lines[size:]).strip("\n").rstrip()


def relative_name(target: str, module: str, package: str) -> str:
    """How `module` (such as tools.export) of `package` names `target` (such as package.config): ..config."""
    here, there = [package, *module.split(".")][:-1], target.split(".")
    common = len(os.path.commonprefix([here, there]))
    return "." * (len(here) - common + 1) + ".".join(there[common:])


def relative_imports(code: str, module: str, package: str, where: str) -> str:
    """`code` with its imports from `package` made relative to `module`; a bare `import package` stays."""
    lines = code.encode().split(b"\n")
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import) and any(alias.name.startswith(f"{package}.") for alias in node.names):
            old, new = aliased_import(node, module, package, where)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] == package:
            old, new = rf"from\s+{re.escape(node.module)}", f"from {relative_name(node.module, module, package)}"
        else:
            continue
        line = lines[node.lineno - 1]
        head, tail = line[: node.col_offset], line[node.col_offset :]
        lines[node.lineno - 1] = head + re.sub(old.encode(), new.encode(), tail, count=1)
    return b"\n".join(lines).decode()


def aliased_import(node: ast.Import, module: str, package: str, where: str) -> tuple:
    """Pattern and replacement for `import package.x as y`; raises ExportError for one without an alias."""
    parent, _, leaf = node.names[0].name.rpartition(".")
    alias = node.names[0].asname
    if len(node.names) > 1 or not alias:
        bad = ast.unparse(node)
        raise ExportError(f"{where}: `{bad}` cannot be made relative: write `from {package} import ...` instead.")
    new = f"from {relative_name(parent, module, package)} import {leaf}"
    pattern = rf"import\s+{re.escape(node.names[0].name)}\s+as\s+{alias}\b"
    return pattern, new if alias == leaf else f"{new} as {alias}"


@dataclass
class Notebook:
    """A notebook's cells, and what they say of the package."""

    path: Path  # the side that counts: the .py, or the .ipynb where that was edited
    name: str  # of the .py, from the project's folder: it stands in the module's header
    cells: list
    old: str = ""  # text of the .py before export
    module: str = ""  # such as config or tools.export; empty: none
    exported: list = field(default_factory=list)  # code of the exported cells, imports made relative

    @property
    def title(self) -> str:
        """The first heading, else the notebook's name."""
        lines = (line for cell in self.cells if cell.kind == "markdown" for line in cell.source.split("\n"))
        return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), Path(self.name).stem)


def understand(notebook: Notebook, project: Project) -> None:
    """Fill in module and exported code. Raises ExportError for the first fault, with its cell."""
    codes = []
    for number, cell in enumerate(notebook.cells, 1):
        if cell.kind == "code":
            where = f"{project.show(notebook.path)}, cell {number}"
            found, code = directives(cell, where)
            parse(cell.source, where)
            if "default_exp" in found:
                notebook.module = module_name(found["default_exp"], notebook.module, where)
            if "export" in found:
                codes.append((where, code))
    if codes and not notebook.module:
        raise ExportError(f"{codes[0][0]} is exported, but no cell says where to: add one with `#| default_exp name`.")
    filled = [(where, code) for where, code in codes if code]
    notebook.exported = [relative_imports(code, notebook.module, project.name, where) for where, code in filled]


def module_name(name: str, before: str, where: str) -> str:
    """A module's name, checked."""
    if not all(part.isidentifier() and not part.startswith("__") for part in name.split(".")):
        raise ExportError(
            f"{where}: `#| default_exp {name}` names no module: write a name such as config or tools.run."
        )
    if before and before != name:
        raise ExportError(f"{where}: `#| default_exp {name}` after `#| default_exp {before}`: keep one of them.")
    return name


def parse(code: str, where: str) -> ast.Module:
    """The syntax tree of a cell; top-level `await` is allowed, as in a kernel."""
    try:
        return compile(code, where, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        line = (code.split("\n") + [""])[(error.lineno or 1) - 1].strip()
        if line.startswith(("%", "!", "?")) or line.endswith("?"):
            reason = "a magic or shell line, and notebooks are plain Python here: write it in Python, or delete it."
            raise ExportError(f"{where}, line {error.lineno} is `{line}`, {reason}") from None
        raise ExportError(f"{where}, line {error.lineno}: {error.msg}: `{line}`.") from None
    except ValueError as error:
        raise ExportError(f"{where}: {error}.") from None


MODULE = re.compile(r"# Generated from [^\n]*\n(?P<notebooks>(?:# cells [^\n]+ \w+\n)*)# text (?P<text>\w+)\n")


def module_text(notebooks: list, package: str) -> str:
    """The module of all `notebooks` that export to it, in their order. Raises ExportError where they make none."""
    check_names(notebooks)
    code = "\n\n\n".join(code for notebook in notebooks for code in notebook.exported)
    title = notebooks[0].title.rstrip(".").replace("\\", "\\\\").replace('"', '\\"')
    text = f'\n"""{title}."""\n\n{all_text(code)}\n' + (f"\n{code}\n" if code else "")
    names = " and ".join(notebook.name for notebook in notebooks)
    try:
        compile(text, "module", "exec")
    except SyntaxError as error:
        raise ExportError(
            f"{names}: the exported cells make no module: {error.msg}: `{(error.text or '').strip()}`."
        ) from None
    return stamped(names, "the notebook", notebooks, text)


def check_names(notebooks: list) -> None:
    """Raise ExportError where two notebooks define one name of a module, as a notebook and its copy do."""
    owners = {}
    for notebook in notebooks:
        for name in {name for code in notebook.exported for name in defined(ast.parse(code).body)}:
            owner = owners.setdefault(name, notebook.name)
            if owner != notebook.name:
                both = f"{owner} and {notebook.name} both define `{name}` in module {notebook.module}"
                raise ExportError(f"{both}: rename one, or delete the notebook that is a copy.")


def stamped(names: str, instead: str, notebooks: list, text: str) -> str:
    """`text` under the header that tells where it comes from."""
    lines = [f"# Generated from {names} by `make export`. Do not edit: edit {instead}."]
    lines += [f"# cells {notebook.name} {cells_digest(notebook.cells)}" for notebook in notebooks]
    return "\n".join([*lines, f"# text {digest(text)}", text])


def all_text(code: str) -> str:
    """The `__all__` of a module: its public functions, classes and variables, sorted."""
    names = sorted(name for name in set(defined(ast.parse(code).body)) if not name.startswith("_"))
    line = f"__all__ = {json.dumps(names)}"
    return line if len(line) <= 120 else "__all__ = [\n" + "".join(f'    "{name}",\n' for name in names) + "]"


def defined(statements):
    """The names that `statements` define at module level, imports left out."""
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if node.value else []
            names = (name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
            yield from (name.id for name in names if isinstance(name.ctx, ast.Store))
        for part in ("body", "orelse", "finalbody", "handlers") if isinstance(node, BLOCKS) else ():
            yield from defined(getattr(node, part, []))


BLOCKS = (ast.If, ast.Try, ast.With, ast.ExceptHandler)


@dataclass
class Module:
    """A file in the package, as it was found."""

    text: str
    generated: bool  # it has our header
    intact: bool  # and the text that was written under it
    cells: dict  # notebook's name -> digest of its cells at the last export


def read_module(path: Path, project: Project) -> Module:
    """What a file of the package says of itself."""
    text = read_text(path, project)
    header = MODULE.match(text)
    if not header:
        return Module(text, False, False, {})
    cells = dict(line.removeprefix("# cells ").rsplit(" ", 1) for line in header["notebooks"].splitlines())
    return Module(text, True, header["text"] == digest(text[header.end() :]), cells)


def edited_side(p: str, q: str, s: str) -> str:
    """Which side of a pair counts, py or ipynb; "" where both were edited. None stands for a file that is not there."""
    if p is None or q is None:
        return "ipynb" if p is None else "py"
    if p == q or s == q:
        return "py"
    return "ipynb" if s == p else ""


def read_pair(stem: str, project: Project, last: dict, take: str = "") -> Notebook:
    """The `Notebook` of a pair, from the side that counts. Raises ExportError where both were edited."""
    paths = {side: project.notebooks / f"{stem}.{side}" for side in ("py", "ipynb")}
    there = [side for side, path in paths.items() if path.exists() and take in ("", side)]
    if not there:
        raise ExportError(f"{project.show(paths[take])} is not there, so it cannot be taken: take the other side.")
    old = read_text(paths["py"], project).replace("\r\n", "\n") if paths["py"].exists() else ""
    cells = {side: read_percent(old) if side == "py" else read_ipynb(paths[side], project) for side in there}
    digests = {side: cells_digest(cells[side]) for side in there}
    name = project.show(paths["py"])
    side = edited_side(digests.get("py"), digests.get("ipynb"), last.get(name))
    if not side:
        ways = " or ".join(f'`make export ARGS="--take {side} {stem}"`' for side in paths)
        state = "were both edited" if name in last else "differ, and no earlier export tells which was edited"
        raise ExportError(f"{name} and {stem}.ipynb {state}: keep one of them with {ways}.")
    return Notebook(paths[side], name, cells[side], old)


def pair_texts(notebook: Notebook, project: Project) -> dict:
    """{path: text} of what the sides of a pair should hold; a .py that counts stays as it is."""
    texts = {notebook.path.with_suffix(".ipynb"): ipynb_text(notebook.cells)}
    if notebook.path.suffix == ".ipynb":
        texts[project.root / notebook.name] = percent_text(notebook.cells, project.show(notebook.path), notebook.old)
    return texts


@dataclass
class Plan:
    """What export would do: file -> (its new text or None to delete it, why), and what stands against it."""

    files: dict = field(default_factory=dict)
    faults: list = field(default_factory=list)


def make_plan(project: Project, take: dict = None) -> Plan:
    """What would change; `take` says which side to keep for a notebook, {stem: py or ipynb}."""
    plan, take = Plan(), take or {}
    found = {path: read_module(path, project) for path in sorted(project.package.rglob("*.py"))}
    last = {name: cells for module in found.values() for name, cells in module.cells.items()}
    groups = {"": []}
    for stem in stems(project):
        try:
            notebook = read_pair(stem, project, last, take.get(stem, ""))
            understand(notebook, project)
            texts = pair_texts(notebook, project)
        except ExportError as error:
            plan.faults.append(str(error))
            continue
        groups.setdefault(notebook.module, []).append(notebook)
        for path, text in texts.items():
            old = read_text(path, project) if path.exists() else None
            if old != text:
                plan.files[path] = text, reason(old, text, project.show(notebook.path))
    if not plan.faults:
        plan_modules(plan, package_texts(groups, project, plan), found, project)
    return plan


def stems(project: Project) -> list:
    """The names of all notebooks, in reading order. Raises ExportError where there are none."""
    paths = [path for suffix in ("py", "ipynb") for path in project.notebooks.glob(f"*.{suffix}")]
    found = sorted({path.stem for path in paths if not path.name.startswith((".", "_"))})
    if not found:
        raise ExportError(f"{project.show(project.notebooks)}/ holds no notebooks: see nbs_path in settings.ini.")
    return found


def package_texts(groups: dict, project: Project, plan: Plan) -> dict:
    """{path: (text, names of its sources)} of the whole package."""
    texts = {project.package / "__init__.py": (init_text(groups.pop(""), project), "settings.ini")}
    for module, notebooks in groups.items():
        path = project.package.joinpath(*module.split(".")).with_suffix(".py")
        try:
            texts[path] = module_text(notebooks, project.name), " and ".join(notebook.name for notebook in notebooks)
        except ExportError as error:
            plan.faults.append(str(error))
        for folder in path.parents[: module.count(".")]:
            text = f'\n"""The {folder.name} of {project.name}."""\n'
            texts[folder / "__init__.py"] = stamped("settings.ini", "the notebooks", [], text), "settings.ini"
    return texts


def init_text(notebooks: list, project: Project) -> str:
    """The package's `__init__.py`: its version, and the digests of the `notebooks` without a module."""
    text = f'\n"""{project.name}, exported from the notebooks in {project.show(project.notebooks)}/."""\n'
    text += f'\n__version__ = "{project.version}"\n'
    return stamped("settings.ini", "settings.ini", notebooks, text)


def plan_modules(plan: Plan, texts: dict, found: dict, project: Project) -> None:
    """Add the package to the plan; an edit by hand stands against it."""
    for path in sorted({*texts, *found}):
        text, sources = texts.get(path, (None, "a notebook"))
        module = found.get(path)
        if module and module.text == text:
            continue
        name = project.show(path)
        if module and not module.generated:
            plan.faults.append(f"{name} was not written by export: move its code to {sources}, and delete the file.")
        elif module and not module.intact:
            plan.faults.append(f"{name} was edited by hand: move the edit to {sources}, and delete the file.")
        else:
            plan.files[path] = text, reason(module, text, sources)


def reason(old, new, sources: str) -> str:
    """Why a file is out of step."""
    if new is None:
        return "comes from no notebook any more"
    return f"is missing beside {sources}" if old is None else f"differs from {sources}"


def export(project: Project, take: dict = None, check: bool = False) -> list:
    """Export all notebooks; returns a line for each file changed (with `check`: that would have to be).

    Raises ExportError, with nothing written, where a notebook has a fault, a module was edited by hand, or both
    sides of a pair were edited.
    """
    plan = make_plan(project, take)
    if plan.faults:
        raise ExportError("\n".join(plan.faults))
    for path, (text, _) in plan.files.items():
        if not check:
            write(path, text)
    return [f"{project.show(path)} {reason}" for path, (_, reason) in sorted(plan.files.items())]


def write(path: Path, text: str) -> None:
    """Replace a file whole; None deletes it."""
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(text.encode())
    os.replace(temporary, path)


def parser() -> argparse.ArgumentParser:
    """The command line of `make export`."""
    text = """
        Carry each notebook's edit from its .py to its .ipynb or back, whichever side was edited, and write the cells
        marked `#| export` to the package. Nothing is written where a notebook has a fault."""
    command = argparse.ArgumentParser(prog="python -m vicreg_nb.tools.export", description=textwrap.dedent(text))
    command.add_argument(
        "--check", action="store_true", help="write nothing; name each file that is out of step, and exit with 1"
    )
    command.add_argument(
        "--take", choices=("py", "ipynb"), help="keep this side of the notebooks named, and overwrite the other"
    )
    command.add_argument(
        "notebooks", nargs="*", metavar="NOTEBOOK", help="with --take: such as 03_ablations or nbs/03_ablations.py"
    )
    return command


def taken(side: str, names: list, project: Project) -> dict:
    """{stem: side} of the command line. Raises ExportError for a notebook that is not there."""
    if bool(side) != bool(names):
        raise ExportError("--take needs a side and the notebooks it is for: --take py 03_ablations, for instance.")
    known = stems(project)
    for name in names:
        if stem(name) not in known:
            close = difflib.get_close_matches(stem(name), known, 1, 0) or known
            raise ExportError(
                f"{name} is not a notebook in {project.show(project.notebooks)}/: do you mean {close[0]}?"
            )
    return {stem(name): side for name in names}


def stem(name: str) -> str:
    """The notebook that a user means by its name, .py or .ipynb, with a folder or without."""
    return re.sub(r"\.(py|ipynb)$", "", Path(name).name)


def main(arguments: list = None) -> int:
    """Run the command; returns the exit code."""
    given = parser().parse_args(arguments)
    try:
        project = open_project()
        lines = export(project, taken(given.take, given.notebooks, project), given.check)
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    for line in lines:
        print(f"{line}: run `make export`." if given.check else f"{line}: written.")
    if not lines:
        print("The notebooks, their pairs and the package agree.")
    return int(given.check and bool(lines))


if __name__ == "__main__" and "__file__" in globals():  # in a notebook's kernel there is no __file__
    sys.exit(main())
