# %% [markdown]
# # 80 · Store
# What do all parts of the book share below the mathematics? One kind of error for a user's mistake, files that are
# there whole or not at all, a digest that tells one result from another, down to the code that made it, generators that
# do not disturb each other, and a cache.

# %%
#| default_exp store

# %%
#| export
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

# %% [markdown]
# ## One sentence for a mistake
# A mistake in the input stops the work before it starts, with one sentence that names the value and the remedy.


# %%
#| export
class UserError(ValueError):
    """A mistake in the input, told in one sentence that names the value and the remedy."""


# %%
try:
    raise UserError("epochs is 0: give 1 to 10000.")
except UserError as error:
    print(error)

# %% [markdown]
# ## The project's folder
# The nearest folder from here upwards that holds `settings.ini`: a notebook in `nbs/` finds it, and so does a command.


# %%
#| export
def project_root() -> Path:
    """The nearest folder upwards with a settings.ini, else the current folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "settings.ini").is_file()), here)


# %%
print(project_root().name)

# %% [markdown]
# ## Digests
# Two results are the same if they were made from the same things. A digest of these things names folders and files.


# %%
#| export
def digest(*things) -> str:
    """16 hex digits that identify arrays, tensors, numbers, strings, dicts and lists of these."""
    state = hashlib.sha256()
    for thing in things:
        _feed(state, thing)
    return state.hexdigest()[:16]


# %%
#| export
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


# %%
assert digest(1, "a") != digest(1, "b") and digest(1, "a") == digest(1, "a")
assert digest(np.zeros(3)) != digest(np.zeros(3, "float32")) and digest({"a": 1}) != digest(["a", 1])

# %% [markdown]
# ## The code that computes
# What a function computes depends on its code, and on that of all it calls. Whoever changes a loss must not be given
# the result of the old one; whoever changes a comment must not wait for a new one. So code is compared without what
# does not run: comments, blank lines and formatting, which Python's parser drops; docstrings; the types of arguments.


# %%
#| export
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


# %%
one = 'def f(x: int) -> int:\n    """Of x."""\n\n    return (x\n            + 1)  # more'
assert plain_code(one) == plain_code("def f(x): return x + 1") != plain_code("def f(x): return x + 2")
assert plain_code('def f():\n    "Nothing else."') == plain_code("def f(): pass")

# %% [markdown]
# A function or class is found in its file, or in the notebook's cell that defined it last, by the name that it has
# there. A lambda has none, so it is found by its line.
#
# A module's file may be edited while it runs. Then the file is no longer what runs, and nothing may be kept in its
# name. So the package's files are read at the start, and compared.


# %%
#| export
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


# %%
assert "store.py" in {Path(file).name for file in _AT_START}


# %%
#| export
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


# %%
assert list(_definitions("class A:\n    def f(self):\n        def g(): pass\nh = lambda: 0")) == [
    "A", "A.f", "A.f.<locals>.g", 4
]  # fmt: skip


# %%
#| export
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


# %%
class Twice:
    def of(self, x):
        return (lambda y: 2 * y)(x)


assert isinstance(_node_of(Twice), ast.ClassDef) and isinstance(_node_of(Twice.of), ast.FunctionDef)
assert _node_of(digest).name == "digest" and ast.unparse(_node_of(lambda: 3)) == "[lambda: 3]"

# %% [markdown]
# What does it use? The names that its compiled form looks up outside itself, wherever they point at this moment: a
# function that was replaced is seen as it now is. Libraries are not followed, and neither are the parts of the book
# that make no result: settings (their values are told apart where they matter), figures, files, lines of progress.


# %%
#| export
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


# %%
assert set(_names_used(compile("def f(x, y=a):\n    z = b\n    return [g(i) for i in x if z]", "", "exec"))) == set(
    "abg"
)
assert _followed(Twice) and not _followed(torch.nn.Linear) and not _followed(Path)


# %%
#| export
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


# %%
assert _code_in({"a": [functools.partial(digest, 1)], "b": Twice().of})[0] is digest
assert _is_constant("A", {"a": (0.5, "x")}) and not _is_constant("calls", [1]) and not _is_constant("A", Twice())


# %%
#| export
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


# %%
FACTOR, thrice = 3, lambda x: FACTOR * x
node = _node_of(thrice)
assert dict(_uses(thrice, compile(ast.unparse(node), "", "exec"), node)) == {"FACTOR": 3}


# %%
#| export
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


# %%
#| export
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


# %%
def shown():
    return Twice().of(thrice(FACTOR))


before = code_of(shown)
print(before)
assert set(before) == {"shown", "Twice", "<lambda>", "FACTOR"}
FACTOR = 4
after = code_of(shown)
assert [name for name in before if before[name] != after[name]] == ["FACTOR"]

# %% [markdown]
# ## Generators
# Every random choice has its own named generator, so that adding one does not move the others. Layers draw their
# initial weights from PyTorch's global generator; `seeded` sets that one for a while, and puts it back.


# %%
#| export
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


# %%
assert torch.equal(torch.rand(3, generator=new_generator(0, "x")), torch.rand(3, generator=new_generator(0, "x")))
assert not torch.equal(torch.rand(3, generator=new_generator(0, "x")), torch.rand(3, generator=new_generator(0, "y")))
before = torch.random.get_rng_state()
with seeded(0, "x"):
    drawn = torch.rand(3)
assert torch.equal(drawn, torch.rand(3, generator=new_generator(0, "x")))
assert torch.equal(before, torch.random.get_rng_state())

# %% [markdown]
# ## One process of several
# Where several processes share a training ([85_parallel](85_parallel.ipynb)), only the first writes files and tells how
# far it is. A process that is alone is the first.


# %%
#| export
def rank() -> int:
    """The number of this process among those that share a training; 0 is the first."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


# %%
assert rank() == 0

# %% [markdown]
# ## One thread
# PyTorch shares an operation among threads. A small one is over before they have all begun, so that sharing makes it
# slower, and on a busy core very much so. Where there are thousands of small operations, one thread does them.


# %%
#| export
@contextlib.contextmanager
def one_thread():
    """Within it, PyTorch computes on one thread; after it, on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# %%
before = torch.get_num_threads()
with one_thread():
    assert torch.get_num_threads() == 1
assert torch.get_num_threads() == before

# %% [markdown]
# ## Progress
# On a terminal a bar; in a notebook and in a log one line at a time.


# %%
#| export
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


# %%
log(f"a run of 4,000 seconds takes {duration(4_000)}")

# %% [markdown]
# ## Whole files
# A file is written beside its place and then renamed: whoever looks finds the old or the new one, never half of one.


# %%
#| export
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


# %%
import tempfile

scratch = tempfile.TemporaryDirectory()
note = Path(scratch.name) / "note.txt"
atomic(note, lambda path: path.write_text("old", encoding="utf-8"))
with contextlib.suppress(ZeroDivisionError):
    atomic(note, lambda path: path.write_text(str(1 / 0), encoding="utf-8"))
assert note.read_text(encoding="utf-8") == "old" and len(list(note.parent.iterdir())) == 1

# %% [markdown]
# A process that is killed before it renames leaves its temporary file behind. The next run removes those whose process
# is gone.


# %%
#| export
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


# %%
theirs = [note.with_name(f".last.pt.{number}.pt") for number in (os.getpid(), 2**22 + 1)]  # more than Linux has
for path in theirs:
    path.touch()
remove_leftovers(note.parent)
assert [path.is_file() for path in theirs] == [True, os.name != "posix"] and note.is_file()

# %% [markdown]
# ## Damaged files
# A disk may fail, a copy may be cut short, and a repository may hold a pointer of git-lfs instead of the file. Formats
# tell only some of it: a flipped bit in a file of weights gives other weights. So what is kept holds its own digest. A
# file that does not agree with it is named and set aside, not deleted, and whoever wanted it goes on without.


# %%
#| export
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


# %%
note.write_text("")
assert recover(note, lambda path: 1 / len(path.read_text())) is None and not note.is_file()
assert recover(note, Path.read_text) is None and note.with_name("note.txt.damaged").is_file()

# %% [markdown]
# ## One at a time
# Two processes that read a file, add to it and write it back would lose what the other added. They take turns by a
# lock. SQLite has one for every platform, and the system frees it where its owner dies.


# %%
#| export
@contextlib.contextmanager
def locked(path: Path):
    """Within it, no other process or thread is within it for the same `path`, a file that is left there, empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=600, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


# %%
for _ in range(2):  # the first leaves nothing behind that stops the second
    with contextlib.suppress(ZeroDivisionError), locked(Path(scratch.name) / "lock"):
        atomic(note, lambda path: path.write_text("new" * (1 // 0), encoding="utf-8"))

# %% [markdown]
# ## Never compute twice
# A costly result is kept under the digest of what it was made from, and of the code that made it. A damaged file is
# made again.

# %%
#| export
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


# %%
kept = note.with_suffix(".npz")
write_arrays(kept, {"x": np.arange(3)})
assert recover(kept, read_whole)["x"].tolist() == [0, 1, 2]


# %%
#| export
def cached(folder: Path, name: str, key, compute) -> dict:
    """The arrays of `compute()` (a dict of arrays), kept in `folder` under the digest of `key` and of its code."""
    path = folder / f"{name}-{digest(name, key, code_of(compute))}.npz"
    arrays = recover(path, read_whole)
    if arrays is None:
        arrays = {field: np.asarray(value) for field, value in compute().items()}
        write_arrays(path, arrays)
    return arrays


# %%
POWER, calls = 2, []


def powers():
    calls.append(1)
    return {"values": np.arange(3) ** POWER}


here = Path(scratch.name)
assert [cached(here, "powers", [3], powers)["values"].tolist() for _ in range(2)] == [[0, 1, 4]] * 2 and len(calls) == 1
next(here.glob("powers-*.npz")).write_bytes(b"cut")
assert cached(here, "powers", [3], powers)["values"].tolist() == [0, 1, 4] and len(calls) == 2
POWER = 3
assert cached(here, "powers", [3], powers)["values"].tolist() == [0, 1, 8] and len(calls) == 3
scratch.cleanup()
