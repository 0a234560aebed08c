# Generated from nbs/80_store.py by `make export`. Do not edit: edit the notebook.
# cells nbs/80_store.py b38583afc5721ebd
# text 87379a704dab3ae5

"""80 · Store."""

import ast
import contextlib
import dis
import functools
import hashlib
import importlib.util
import inspect
import itertools
import linecache
import os
import re
import sqlite3
import sys
import zipfile
import zlib
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType

import numpy as np
import torch
import torch.distributed as dist
from tqdm import tqdm


class UserError(ValueError):
    """A mistake in the input, told in one sentence that names the value and the remedy."""


def project_root() -> Path:
    """The nearest folder upwards with a settings.ini, else the current folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "settings.ini").is_file()), here)


def digest(*things) -> str:
    """16 hex digits that identify arrays, tensors, numbers, strings, dicts and lists of these."""
    state = hashlib.sha256()
    for thing in things:
        _feed(state, thing)
    return state.hexdigest()[:16]


def _feed(state, thing):
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        if thing.dtype.hasobject:  # their bytes are addresses
            raise TypeError(f"an array of {thing.dtype} has no digest: give one of numbers or strings")
        state.update(f"{thing.dtype}{thing.shape}".encode())
        state.update(np.ascontiguousarray(thing).data)
    elif isinstance(thing, dict):
        state.update(f"{{{len(thing)}".encode())
        for name in sorted(thing):
            _feed(state, [name, thing[name]])
    elif isinstance(thing, (list, tuple)):
        state.update(f"[{len(thing)}".encode())
        for item in thing:
            _feed(state, item)
    else:
        state.update(f"{type(thing).__name__}:{thing};".encode())


def _bare(text):
    """The parsed source without docstrings and types of arguments."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)):
            node.body = node.body[ast.get_docstring(node) is not None :] or [ast.Pass()]
        elif isinstance(node, ast.arg):
            node.annotation = None
    return tree


@functools.cache
def plain_code(text: str) -> str:
    """A source without comments, blank lines, formatting, docstrings and types of arguments."""
    try:
        return ast.unparse(_bare(text))
    except (SyntaxError, ValueError):  # in a notebook, % and ! begin a line that is not Python
        return text


def package_folder() -> Path:
    """The folder of the package."""
    return Path(importlib.util.find_spec("vicreg_nb").submodule_search_locations[0])


_AT_START = {str(path): path.read_text(encoding="utf-8") for path in package_folder().glob("*.py")}


def _text_of(file):
    """The source in a file, or in a notebook's cell of this name. UserError if the file is not what runs."""
    linecache.checkcache(file)
    text = "".join(linecache.getlines(file))
    if _AT_START.get(file, text) != text and plain_code(_AT_START[file]) != plain_code(text):
        raise UserError(f"{file} was changed after it was read: start again (in a notebook: restart the kernel).")
    return text


_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


@functools.cache
def _definitions(text):
    """{qualified name, for lambdas the line: node} of all functions and classes in a source."""
    found = {}

    def look(node, above):
        for child in ast.iter_child_nodes(node):
            inside = above
            if isinstance(child, ast.Lambda):
                found.setdefault(child.lineno, ast.List([], ast.Load())).elts.append(child)
            elif isinstance(child, _DEFINITIONS):
                found[above + child.name] = child
                inside = f"{above}{child.name}." + ("" if isinstance(child, ast.ClassDef) else "<locals>.")
            look(child, inside)

    with contextlib.suppress(SyntaxError, ValueError):
        look(_bare(text), "")
    return found


def _methods(kind):
    """The functions that a class has of its own; those of its module come first, before those made by a decorator."""
    own = [value for value in map(inspect.unwrap, vars(kind).values()) if isinstance(value, FunctionType)]
    return sorted(own, key=lambda function: function.__code__.co_filename.startswith("<string>"))


def _node_of(thing):
    """The node of a function's or class's definition; None where there is no source."""
    name, files = thing.__qualname__, [getattr(sys.modules.get(thing.__module__), "__file__", None) or ""]
    if isinstance(thing, FunctionType):
        name = thing.__code__.co_firstlineno if thing.__name__ == "<lambda>" else name
        files = [thing.__code__.co_filename]
    else:  # a class that a notebook has defined is known by its methods
        files += [method.__code__.co_filename for method in _methods(thing)]
    return next((node for file in files if (node := _definitions(_text_of(file)).get(name))), None)


_APART = {"vicreg_nb.config", "vicreg_nb.plots", "vicreg_nb.book", "vicreg_nb.store"}
_RANDOM = {"new_generator", "seeded", "_number"}  # the part of this module that has a say in what is computed


def _followed(thing) -> bool:
    """Whether a function or class is of the book, or of the user, and has a say in what is computed."""
    root = thing.__module__.partition(".")[0]
    if root in ("vicreg_nb", "__main__"):
        return thing.__module__ not in _APART or thing.__name__ in _RANDOM
    file = getattr(sys.modules.get(root), "__file__", None)
    library = root in sys.stdlib_module_names or {"site-packages", "dist-packages"} & set(Path(file or "").parts)
    return bool(file) and not library


def _names_used(code):
    """The global names that compiled code looks up."""
    steps = [step for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_NAME")]
    stored = {step.argval for step in steps if step.opname == "STORE_NAME"}
    yield from (step.argval for step in steps if step.argval not in stored)
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names_used(inner)


def _code_in(value) -> list:
    """The functions and classes that a value is, holds, or is an instance of."""
    if callable(value):
        value = inspect.unwrap(value)
    if isinstance(value, (FunctionType, type)):
        return [value]
    if isinstance(value, MethodType):
        return [value.__self__ if isinstance(value.__self__, type) else type(value.__self__)]
    if isinstance(value, functools.partial):
        value = [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, dict):
        value = list(value.values())
    return [code for item in value for code in _code_in(item)] if isinstance(value, (list, tuple)) else [type(value)]


def _is_constant(name, value) -> bool:
    """Whether a global value is a constant of the code: numbers, words, arrays; tables of these if NAMED_SO."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):  # under another name, it may be a store that fills with time
        return name.isupper() and all(_is_constant(name, item) for item in value)
    return value is None or isinstance(value, (int, float, str, bytes, np.ndarray, torch.Tensor, torch.dtype))


def _uses(thing, code, node):
    """(name, value) of what a function or class uses; the name is empty for values of the function around it."""
    scope, around = vars(sys.modules.get(thing.__module__, ast)), {}
    if isinstance(thing, FunctionType):
        cells = zip(thing.__code__.co_freevars, thing.__closure__ or ())
        scope, around = thing.__globals__, {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}
    else:  # methods given to the class from outside; all of them where its source is not known
        written = thing.__qualname__ if isinstance(node, ast.ClassDef) else "nowhere"
        yield from (("", method) for method in _methods(thing) if not method.__qualname__.startswith(written))
    for name in _names_used(code):
        value = around.get(name, scope.get(name))
        if isinstance(value, ModuleType) and value.__name__.startswith("vicreg_nb."):
            asked = [at for at in ast.walk(node) if isinstance(at, ast.Attribute) and isinstance(at.value, ast.Name)]
            yield from ((at.attr, getattr(value, at.attr, None)) for at in asked if at.value.id == name)
        elif name in around or (name in scope and not name.startswith("__")):
            yield "" if name in around else name, value


def _is_filled(cell):
    with contextlib.suppress(ValueError):
        return cell.cell_contents is not cell
    return False


def code_of(*things) -> dict:
    """{name: digest} of functions and classes, and of all code and constants of the book that they use."""
    found, waiting, seen = {}, _code_in(things), set()

    def note(name, value):
        while found.get(name, value) != value:  # another module's
            name += "'"
        found[name] = value

    while waiting:
        thing = waiting.pop(0)
        if thing in seen or not _followed(thing):
            continue
        seen.add(thing)
        text, code, node = _compiled(thing)
        note(thing.__qualname__, digest(text))
        for name, value in _uses(thing, code, node):
            waiting += _code_in(value)
            if name and _is_constant(name, value):
                note(name, digest(value))
    return found


def _compiled(thing):
    """A definition as text, as code, and as node; without a source, its compiled form must do for all three."""
    node = _node_of(thing)
    if node:
        text = ast.unparse(node)
        return text, compile(text, "<definition>", "exec"), node
    if isinstance(thing, FunctionType):
        return _steps(thing.__code__), thing.__code__, ast.Module([], [])
    return [_steps(method.__code__) for method in _methods(thing)], compile("", "<class>", "exec"), ast.Module([], [])


def _steps(code):
    consts = [_steps(inner) if isinstance(inner, CodeType) else inner for inner in code.co_consts]
    return [code.co_code.hex(), code.co_names, consts]


def new_generator(seed: int, *names) -> torch.Generator:
    """A CPU random generator of its own for each combination of seed and names."""
    return torch.Generator().manual_seed(_number(seed, names))


@contextlib.contextmanager
def seeded(seed: int, *names):
    """Within it, PyTorch's global CPU generator is that of seed and names; after it, where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_number(seed, names))
        yield


def _number(seed, names):
    return int(digest(seed, *names), 16) % 2**63


def rank() -> int:
    """The number of this process among those that share a training; 0 is the first."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


@contextlib.contextmanager
def one_thread():
    """Within it, PyTorch computes on one thread; after it, on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def log(message: str):
    """One line of progress that does not tear a progress bar; only the first process tells it."""
    if rank() == 0:
        tqdm.write(message, file=sys.stdout)
        sys.stdout.flush()


def progress(iterable, desc: str, total: int = None):
    """`iterable` with a tqdm bar on a terminal, without one elsewhere."""
    hidden = rank() > 0 or not sys.stderr.isatty()
    return tqdm(iterable, desc=desc, total=total, leave=False, disable=hidden, dynamic_ncols=True)


def duration(seconds: float) -> str:
    """A time for people: 8 s, 3 min 20 s, 1 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def atomic(path: Path, write) -> Path:
    """Call `write(temporary_path)` and rename: `path` is there whole or not at all. Only the first process writes."""
    if rank():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def remove_leftovers(*folders: Path):
    """Delete the temporary files of `atomic` in these folders whose process has ended."""
    for path in (path for folder in folders for path in folder.glob(".*")):
        match = re.fullmatch(r"\..*(\.\w+)\.(\d+)\1", path.name)
        if match and path.is_file() and not _is_running(int(match[2])):
            path.unlink(missing_ok=True)


def _is_running(number):
    if os.name != "posix":  # elsewhere, to ask a process is to end it
        return True
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def recover(path: Path, read):
    """`read(path)`; None where the file is absent, or damaged so that `read` fails: then it is set aside and named."""
    if not path.is_file():
        return None
    try:
        return read(path)
    except PermissionError:
        raise
    except Exception:  # a damaged file may raise anything
        with path.open("rb") as file:
            begins = file.read(30)
        names = (f"{path.name}.damaged{number or ''}" for number in itertools.count())
        aside = next(name for name in names if not path.with_name(name).exists())
        lfs = "a pointer of git-lfs (`git lfs pull` fetches the file)"
        what = lfs if begins.startswith(b"version https://git-lfs") else "damaged" if begins else "empty"
        path.rename(path.with_name(aside))
        log(f"{path} is {what}: set aside as {aside}")


@contextlib.contextmanager
def locked(path: Path):
    """Within it, no other process or thread is within it for the same `path`, a file that is left there, empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=600, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises for a damaged npz


def read_arrays(path: Path) -> dict:
    """The arrays of an npz file by name; one of `DAMAGED` if it is cut short or not an npz."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a damaged file open
        return {field: file[field] for field in file.files}


def read_whole(path: Path) -> dict:
    """The arrays that `write_arrays` has put into a file, without their digest; some exception if it is damaged."""
    arrays = read_arrays(path)
    if str(arrays.pop("digest", "")) != digest(arrays):
        raise ValueError("the digest does not agree")
    return arrays


def write_arrays(path: Path, arrays: dict):
    """Arrays by name, and their digest, in an npz file."""
    atomic(path, lambda temporary: np.savez(temporary, **arrays, digest=digest(arrays)))


def cached(folder: Path, name: str, key, compute) -> dict:
    """The arrays of `compute()` (a dict of arrays), kept in `folder` under the digest of `key` and of its code."""
    path = folder / f"{name}-{digest(name, key, code_of(compute))}.npz"
    arrays = recover(path, read_whole)
    if arrays is None:
        arrays = {field: np.asarray(value) for field, value in compute().items()}
        write_arrays(path, arrays)
    return arrays
