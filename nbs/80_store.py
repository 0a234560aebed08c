# %% [markdown]
# # 80 · Store
# What do all parts of the book share below the mathematics? One kind of error for a user's mistake, files that are
# there whole or not at all, a digest that tells one result from another, generators that do not disturb each other,
# and a cache.

# %%
#| default_exp store

# %%
#| export
import contextlib
import hashlib
import os
import sqlite3
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
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
# ## Whole files
# A file is written beside its place and then renamed: whoever looks finds the old or the new one, never half of one.


# %%
#| export
def atomic(path: Path, write) -> Path:
    """Call `write(temporary_path)` and rename: `path` is there whole or not at all."""
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
# A costly result is kept under the digest of what it was made from. A file that cannot be read is made again.

# %%
#| export
DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises for a damaged npz


def read_arrays(path: Path) -> dict:
    """The arrays of an npz file by name; one of `DAMAGED` if it is cut short or not an npz."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a damaged file open
        return {field: file[field] for field in file.files}


def cached(folder: Path, name: str, key, compute) -> dict:
    """The arrays of `compute()` (a dict of arrays), kept in `folder` under the digest of `key`."""
    path = folder / f"{name}-{digest(name, key)}.npz"
    if path.is_file():
        try:
            return read_arrays(path)
        except DAMAGED:
            log(f"{path} cannot be read: computed again")
    arrays = {field: np.asarray(value) for field, value in compute().items()}
    atomic(path, lambda temporary: np.savez(temporary, **arrays))
    return arrays


# %% [markdown]
# ## Progress
# On a terminal a bar; in a notebook and in a log one line at a time.


# %%
#| export
def log(message: str):
    """One line of progress that does not tear a progress bar."""
    tqdm.write(message, file=sys.stdout)
    sys.stdout.flush()


def progress(iterable, desc: str, total: int = None):
    """`iterable` with a tqdm bar on a terminal, without one elsewhere."""
    return tqdm(iterable, desc=desc, total=total, leave=False, disable=not sys.stderr.isatty(), dynamic_ncols=True)


def duration(seconds: float) -> str:
    """A time for people: 8 s, 3 min 20 s, 1 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


# %%
calls = []
for _ in range(2):
    squares = cached(Path(scratch.name), "squares", [3], lambda: calls.append(1) or {"values": np.arange(3) ** 2})[
        "values"
    ]
assert squares.tolist() == [0, 1, 4] and len(calls) == 1
next(Path(scratch.name).glob("squares-*.npz")).write_bytes(b"cut")
assert cached(Path(scratch.name), "squares", [3], lambda: {"values": np.zeros(1)})["values"].tolist() == [0]
scratch.cleanup()
log(f"a run of 4,000 seconds takes {duration(4_000)}")
