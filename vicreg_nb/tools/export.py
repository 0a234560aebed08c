# Generated from nbs/90_export.py by `make export`. Do not edit: edit the notebook.
# cells nbs/90_export.py 7a3a941f01bde30e
# text 6a765f57a73b0b32

"""90 · Export: from notebooks to a package."""

import argparse
import ast
import configparser
import contextlib
import hashlib
import json
import os
import re
import symtable
import sys
from pathlib import Path


class ExportError(ValueError):
    """What export stops at: a sentence for each fault, with its place and what to do."""


_TOO_DEEP = RecursionError, MemoryError  # what JSON's and Python's parsers raise for thousands of brackets or signs


def _digest(*things):
    """16 hex digits that stand for `things`, which JSON can hold."""
    return hashlib.sha256(json.dumps(things).encode()).hexdigest()[:16]


KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


COLAB = """# On Colab only: fetch the project and install what is missing. Elsewhere this cell does nothing.
PROJECT = "{address}"  # the address to clone it from
DRIVE = False  # True: runs/ lies in your Google Drive, where it survives a disconnect
import glob, importlib.util, os, shutil, subprocess, sys

if "google.colab" in sys.modules and not os.path.exists("settings.ini"):
    find = lambda: sorted(glob.glob("vicreg_nb*/**/settings.ini", recursive=True), key=len)
    if PROJECT and not find():
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", PROJECT, "vicreg_nb"])
    for name in [] if find() else glob.glob("vicreg_nb*.zip"):
        shutil.unpack_archive(name, "vicreg_nb")
    if not find():
        sys.exit("The project is not here: upload the folder that holds settings.ini, packed as vicreg_nb.zip (the "
                 "folder's sign at the left), or write its address into PROJECT above; then run this cell again.")
    os.chdir(os.path.dirname(find()[0]))
    sys.path.insert(0, os.getcwd())
    if DRIVE:
        importlib.import_module("google.colab.drive").mount("/content/drive")
        os.makedirs("/content/drive/MyDrive/vicreg_nb/runs", exist_ok=True)
        os.path.lexists("runs") or os.symlink("/content/drive/MyDrive/vicreg_nb/runs", "runs")
    if not importlib.util.find_spec("faiss"):
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "faiss-cpu"], check=True)"""


BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({page})"
_ADDED = "# On Colab only:", BADGE[:18]  # how the cells begin that exist in the .ipynb alone


def colab_cells(ipynb: Path, address: str) -> list[tuple]:
    """The cells for Colab of a notebook of the project at `address`, which may be empty."""
    github, name = "https://github.com/", address.removesuffix("/").removesuffix(".git")
    page = name.replace(github, "https://colab.research.google.com/github/") + f"/blob/main/{ipynb.as_posix()}"
    badge = [("markdown", BADGE.format(page=page), ())] if name.startswith(github) else []
    return [*badge, ("code", COLAB.format(address=address), ("skip-execution",))]


def _split_percent(text):
    """(kind, source, tags) of each cell of a percent file; a header that jupytext wrote is none."""
    text = re.sub(r"\A# ---\n# jupyter:\n(#   .*\n)*# ---\n", "", text)
    above, *parts = re.split(r"^# %%(?!\S)(.*)\n?", text, flags=re.M)
    if above.strip(" \t\n"):
        yield "code", "\0" + above.strip(" \t\n"), []
    for marker, body in zip(parts[::2], parts[1::2], strict=True):
        match = re.fullmatch(r'(?: \[(markdown|raw)\])?(?: tags=\[("[^"\\]+"(?:, "[^"\\]+")*)\])?[ \t]*', marker)
        kind, tags = match.groups() if match else (None, None)
        if kind:
            body = re.sub("^# ?", "", re.sub(r"^(?!# |#$|[ \t]*$)", "\0", body, flags=re.M), flags=re.M)
        yield kind or "code", body if match else f"\0# %%{marker}\n{body}", re.findall('"(.*?)"', tags or "")


def read_cells(path: Path) -> list[tuple]:
    """The cells, (kind, source, tags), of a .py in percent format or an .ipynb. Raises ExportError for other files."""
    cells = []
    try:
        if not path.is_file():
            raise ValueError("a folder or a pipe is in its place")
        text = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
        if text.startswith("\ufeff"):
            raise ValueError("it begins with a BOM, a byte order mark")
        for kind, source, tags in (_split_percent if path.suffix == ".py" else _split_ipynb)(text):
            good = kind in ("code", "markdown", "raw") and isinstance(tags, list)
            if not good or not all(re.fullmatch(r'[^"\\\n]+', tag) for tag in tags):
                raise ValueError(f"cell_type or tags of cell {len(cells) + 1}")
            cells.append((kind, "".join(source).replace("\r\n", "\n").strip("\n").rstrip(" \t\n"), tuple(tags)))
    except (AttributeError, KeyError, TypeError, ValueError, *_TOO_DEEP) as error:
        what = f"its {path.suffix} is no notebook in format 4 and UTF-8 ({type(error).__name__}: {error})"
        raise ExportError(f"{what}: repair it, or delete it, and its other file makes it again.") from None
    return cells


def _split_ipynb(text):
    notebook = json.loads(text)
    notebook.get("metadata", {}).keys()  # a dict as well
    for cell in notebook["cells"]:
        yield cell["cell_type"], cell["source"], cell.get("metadata", {}).get("tags", [])


def percent_text(cells: list[tuple]) -> str:
    """The percent file of `cells`."""
    text, define, below = "", re.compile("@|def |async def |class "), None
    for kind, source, tags in cells:
        starts = [line for line in source.split("\n") if kind == "code" and re.match(r"[^\s#)}\]]", line)] or [""]
        text += "\n" * (bool(text) + bool(below or define.match(starts[0])))
        text += "# %%" + f" [{kind}]" * (kind != "code")
        text += f" tags={json.dumps(tags, ensure_ascii=False)}\n" if tags else "\n"
        text += f"{_percent_source(kind, source)}\n" if source else ""
        below = define.match(starts[-1])
    return text


def _percent_source(kind, source):
    prose = re.sub("^(.?)", lambda line: f"# {line[1]}" if line[1] else "#", source, flags=re.M)
    return source if kind == "code" else prose


def ipynb_text(cells: list[tuple], old: Path | None = None) -> str:
    """The .ipynb of `cells`; those that the file `old` holds as well keep their outputs, ids and settings."""
    before, kept, entries = json.loads(old.read_bytes()) if old else {"cells": []}, {}, {}
    for cell, entry in zip(read_cells(old) if old else [], before["cells"], strict=True):
        kept.setdefault(cell, []).append(entry)
    for cell in cells:
        kind, source, tags = cell
        entry = {"cell_type": kind, "id": _digest(cell), "metadata": {"tags": tags} if tags else {}}
        entry["source"] = re.findall(r"[^\n]*\n|[^\n]+", source)
        entry |= {"execution_count": None, "outputs": []} if kind == "code" else {}
        entry |= (kept.get(cell) or [{}]).pop(0)
        while str(entry["id"]) in entries:
            entry["id"] = _digest(entry["id"])
        entries[str(entry["id"])] = entry
    notebook = {"cells": list(entries.values()), "nbformat": 4, "nbformat_minor": 5}
    notebook["metadata"] = {**before.get("metadata", {}), "kernelspec": KERNEL}
    return _dumped(notebook)


def _dumped(notebook):
    try:
        return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    except _TOO_DEEP:
        raise ExportError("its .ipynb is nested too deeply: delete it, and its other file makes it again.") from None


def without_outputs(content: bytes) -> bytes:
    """An .ipynb without outputs, counts, and metadata other than tags; anything else comes back as it is."""
    try:
        notebook = json.loads(content)
        for cell in notebook["cells"]:
            cell["metadata"] = {name: tags for name, tags in cell["metadata"].items() if name == "tags" and tags}
            cell |= {"execution_count": None, "outputs": []} if cell["cell_type"] == "code" else {}
        kept = {"cells": notebook["cells"], "nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": KERNEL}}
        return _dumped(kept).encode()
    except (AttributeError, KeyError, TypeError, ValueError, *_TOO_DEEP):
        return content


FAULTS = {  # in a percent file -> what is wrong there
    "^(# )?\0": 'it begins no cell and is no prose: write `# %%`, [markdown] or [raw], tags=["name"], no title',
    r"^\s*#\s*(%%+(\s|$)|<codecell>\s*$|In\[[0-9 ]*\]:?\s*$)": "it would begin a cell in percent format: change it",
    "^(# )?(<{7}|[|]{7}|>{7})( |$)": "git left a conflict: resolve it",
    r"^# .*\]\(attachment:": "a picture was pasted in: save it as a file, and link to that",
    "^.*[\0\r\ud800-\udfff]": "it holds a carriage return or half a character: delete that",
}
DIRECTIVE = r"#\s*\|\s*(?:(export|hide)|default_exp\s+([a-zA-Z]\w*(?:\.[a-zA-Z]\w*)?))\s*"
MAGIC = r"^[ \t]*(%%?\w|!|\?{1,2}\w)|^[ \t]*[\w.]+\?{1,2}[ \t]*$|^[\w, ]+=[ \t]*(%\w|!)"


def _code(source, above):
    """([module that a code cell names], [code that it exports to stand below `above`]). Raises SyntaxError."""
    lines = source.split("\n")
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        magic = re.search(MAGIC, source, flags=re.M)
        if not magic or re.search(r"^#\s*\|\s*(?!hide\b|\s)", source, flags=re.M):
            error.msg += " (magics may stand in cells without directives only)" if magic else ""
            raise
        return [], []
    strings = [node for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.JoinedStr))]
    quoted = {n for node in strings for n in range(node.lineno, node.end_lineno)}
    found = {n: line for n, line in enumerate(lines) if re.match(r"#\s*\|", line) and n not in quoted}
    joined = {n for n, line in enumerate(lines, 1) if line.endswith("\\")}  # to the line above
    if wrong := [n for n, line in found.items() if not re.fullmatch(DIRECTIVE, line) or n in joined]:
        raise SyntaxError(
            "use #| export, #| hide or #| default_exp module, in a line of its own", ("", wrong[0] + 1, 1, "")
        )
    names = [re.fullmatch(DIRECTIVE, line).groups() for line in found.values()]
    code = "\n".join(line for n, line in enumerate(lines) if n not in found).strip("\n")
    if is_exported := ("export", None) in names:
        compile(ast.Module(ast.parse(above).body + tree.body, []), "cell", "exec", dont_inherit=True)
    return [module for _, module in names if module], [code] if is_exported and code else []


def exported(cells: list[tuple]) -> tuple[str, str]:
    """Name and code of the module that a notebook makes, "" for none. Raises ExportError for its first fault."""
    modules, parts = [], []
    for number, (kind, source, _) in enumerate(cells, 1):
        text = _percent_source(kind, source)
        try:
            for pattern, reason in FAULTS.items():
                if match := re.search(pattern, text, flags=re.M):
                    raise SyntaxError(reason, ("", text.count("\n", 0, match.start()) + 1, 1, ""))
            names, code = _code(source, "0" if parts else "'title'") if kind == "code" else ([], [])
        except SyntaxError as error:
            line = (source.split("\n") + [""])[(error.lineno or 1) - 1].strip("\0 \t")
            raise ExportError(f"cell {number}, line {error.lineno or 1}: {line[:80]!r}: {error.msg}.") from None
        except _TOO_DEEP:
            raise ExportError(f"cell {number} is nested too deeply for Python: write it in several steps.") from None
        modules, parts = modules + names, parts + code
    if len(set(modules)) > 1 or parts and not modules:
        raise ExportError(f"it exports to {' and '.join(modules) or 'no module'}: write one `#| default_exp name`.")
    return "".join(modules[:1]), "\n\n\n".join(parts)


def edit_pair(py: Path, last: str | None, take: str | None, address: str = "") -> tuple[list[tuple], dict]:
    """A pair's cells, and {path: (new text, why)} of files to be written; last: digest of its cells when exported."""
    ipynb = py.with_suffix(".ipynb")
    found = {path: read_cells(path) for path in (py, ipynb) if path.exists()}
    sides = {path: [cell for cell in cells if not cell[1].startswith(_ADDED)] for path, cells in found.items()}
    edited = [path for path in sides if _digest(*sides[path]) != last]
    if len({_digest(*cells) for cells in sides.values()}) == 1:
        edited = list(sides)[:1]
    if len(edited) == 2 and not take:
        raise ExportError("both its .py and its .ipynb were edited: keep one of them with --take py or --take ipynb.")
    source = edited[0] if len(edited) == 1 else py.with_suffix(f".{take}")
    cells, changes = sides[source], {}
    below = int(bool(cells) and cells[0][0] == "markdown")
    for path, wanted in {py: cells, ipynb: [*cells[:below], *colab_cells(ipynb, address), *cells[below:]]}.items():
        if found.get(path) != wanted:
            text = percent_text(wanted) if path == py else ipynb_text(wanted, path if path in found else None)
            is_carried = sides.get(path, cells) != cells
            changes[path] = text, f"{source} was edited: carried to {path}" if is_carried else f"{path}: written"
    return cells, changes


def _stamped(source, remedy, notebooks, text):
    """`text` under its header; notebooks: {name: cells} of those that it was made from."""
    cells = "".join(f"# cells {name} {_digest(*cells)}\n" for name, cells in notebooks.items())
    first = f"# Generated from {source} by `make export`. Do not edit: edit {remedy}.\n"
    return f"{first}{cells}# text {_digest(text)}\n{text}"


def _text(path, errors="strict"):
    """A file's text. Raises ExportError for what is there and is no file: to open a pipe is to wait for its writer."""
    if path.exists() and not path.is_file():
        raise ExportError(f"{path} is a folder or a pipe, not a file: move it away.")
    return path.read_text("utf-8", errors=errors)


def _last_export(package):
    """What the headers say: {notebook: digest of its cells}, {file: the notebook it was made from}, and faults."""
    last, made, faults = {}, {}, []
    for path in sorted(path for path in package.rglob("*.py") if "/." not in path.as_posix()):
        text = _text(path, errors="replace")
        header = re.match(r"# Generated from (\S+) by .*\n((?:# cells \S+ \w+\n)*)# text (\w+)\n", text)
        made[path] = header[1] if header else "a notebook"
        last |= dict(line.split()[2:] for line in header[2].splitlines()) if header else {}
        if not header or header[3] != _digest(text[header.end() :]):
            faults.append(f"{path} was edited by hand: move the edit to {made[path]}, and delete the file.")
    return last, made, faults


def _read_notebook(stem, package, last, made, take, address=""):
    """A notebook's cells, {path: (new text, why)} of its pair, {path: text} of its module. Raises ExportError."""
    name = f"{stem}.py"
    cells, changes = edit_pair(Path(name), last.get(name), take, address)
    module, code = exported(cells)
    if not cells or not code and name in made.values():
        raise ExportError("it exports nothing any more: put its cells back, or delete both of its files.")
    title = next((source.split("\n")[0].lstrip("# ") for kind, source, _ in cells if kind == "markdown"), stem)
    title = title.rstrip(".").replace("\\", "\\\\").replace('"', '\\"')
    text = _stamped(name, "the notebook", {name: cells}, f'\n"""{title}."""\n\n{code}\n')
    path = package.joinpath(*module.split(".")).with_suffix(".py")
    folder = _stamped("settings.ini", "the notebooks", {}, f'\n"""The {path.parent.name} of {package}."""\n')
    return cells, changes, {path: text, path.parent / "__init__.py": folder} if code else {}


def _lost_names(texts, book):
    """A line for each name that a notebook imports from a module of the package which has no such name (any more)."""
    there, faults = {}, []
    for path, text in texts.items():
        symbols = symtable.symtable(text, path.name, "exec").get_symbols()
        there[".".join(path.with_suffix("").parts)] = {
            s.get_name() for s in symbols if s.is_assigned() or s.is_imported()
        }
    for stem, cells in book.items():
        for number, (kind, source, _) in enumerate(cells, 1):
            for node in _imports(source) if kind == "code" else ():
                known = there.get(node.module, ()) if not node.level else ()
                lost = [alias.name for alias in node.names if known and alias.name not in {*known, "*"}]
                lost = [name for name in lost if f"{node.module}.{name}" not in there]
                faults += [f"{stem}: cell {number} imports {name}, which {node.module} has no more" for name in lost]
    return [f"{fault}: put its cell back, or change this import." for fault in faults]


def _imports(source):
    """The `from ... import ...` in a cell, wherever they stand; none where it holds magics."""
    with contextlib.suppress(SyntaxError):
        return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    return []


def _project():
    """The project in the current folder: its version, package, address, notebooks' names, and the files left out."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read_string(_text(Path("settings.ini")), "settings.ini")
    version, nbs, package = (settings.get("DEFAULT", key) for key in ("version", "nbs_path", "lib_path"))
    if not re.fullmatch(r"\w+", package) or package == nbs:
        raise ExportError(f"settings.ini: lib_path = {package}: name a folder in the project for the package alone.")
    if not re.fullmatch(r"[\w-]+(/[\w-]+)*", nbs):
        raise ExportError(f"settings.ini: nbs_path = {nbs}: name a folder in the project.")
    files = sorted(path for path in Path(nbs).iterdir() if path.suffix in (".py", ".ipynb"))
    book = [path for path in files if re.fullmatch(r"[0-9]\w*", path.stem, flags=re.ASCII)]
    if not book:
        raise ExportError(f"{nbs} holds no notebook whose name begins with a digit: see nbs_path in settings.ini.")
    address = settings.get("DEFAULT", "repository", fallback="").strip()
    if not re.fullmatch(r"(https://[\w./~-]+)?", address, flags=re.ASCII):
        raise ExportError(f"settings.ini: repository = {address}: give an address https://..., or nothing.")
    return version, Path(package), address, sorted({f"{nbs}/{path.stem}" for path in book}), sorted({*files} - {*book})


def _package_changes(texts, made):
    """{path: (new text, None to delete it; why)} of the package's files."""
    gone = {path: (None, f"{path} comes from no notebook any more: deleted") for path in sorted({*made} - {*texts})}
    new = {path for path in texts if path not in made or path.read_text("utf-8") != texts[path]}
    return gone | {path: (texts[path], f"{path}: written") for path in sorted(new)}


def plan(take: str | None = None) -> tuple[dict, list]:
    """({path: (new text, None to delete it; why)}, files left out). Raises ExportError with a line for each fault."""
    version, package, address, stems, left_out = _project()
    last, made, faults = _last_export(package)
    changes, texts, plain, book = {}, {}, {}, {}
    for stem in stems:
        try:
            cells, edits, module = _read_notebook(stem, package, last, made, take, address)
            if twice := [path for path in module if path in texts and path.name != "__init__.py"]:
                raise ExportError(f"{twice[0]} is another notebook's module: choose another name.")
            changes, texts, book = changes | edits, texts | module, book | {stem: cells}
            plain |= {} if module else {f"{stem}.py": cells}
        except ExportError as error:
            faults.append(f"{stem}: {error}")
    if faults or (faults := _lost_names(texts, book)):
        raise ExportError("\n".join(faults))
    text = f'\n"""{package}, exported from the notebooks in {Path(stems[0]).parent}/."""\n\n__version__ = "{version}"\n'
    texts[package / "__init__.py"] = _stamped("settings.ini", "settings.ini", plain, text)
    return changes | _package_changes(texts, made), left_out


def _write(path, text):
    """Replace a file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # what a killed call leaves, the next one writes over
    temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # JSON may hold half a character
    os.replace(temporary, path)


def _parser():
    parser = argparse.ArgumentParser(prog="python -m vicreg_nb.tools.export", description=main.__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a file is out of step")
    parser.add_argument("--take", choices=("py", "ipynb"), help="keep this side where both of a notebook were edited")
    parser.add_argument("--clean", action="store_true", help="git's filter: a notebook from stdin, without outputs")
    return parser


def main(arguments: list | None = None) -> int:
    """Carry each notebook's edit to its other file and to the package. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.clean:
        sys.stdout.buffer.write(without_outputs(sys.stdin.buffer.read()))
        return 0
    try:
        changes, left_out = plan(options.take)
        for path, (text, why) in changes.items():
            print(f"{why.replace(': ', ': to be ') if options.check else why}.")
            if not options.check:
                path.unlink() if text is None else _write(path, text)
    except (ExportError, OSError, UnicodeDecodeError, configparser.Error) as error:
        print(error, file=sys.stderr)
        return 1
    if left_out:
        print(f"Left out, for names that are not of the book: {', '.join(map(str, left_out))}.")
    print("" if changes else "The notebooks, their pairs and the package agree.\n", end="")
    if not options.check and not _project()[2]:
        print("No repository in settings.ini: the project's address there would give each notebook its Colab badge.")
    return int(options.check and bool(changes))


if __name__ == "__main__" and "__file__" in globals():  # in a notebook's kernel there is no __file__
    sys.exit(main())
