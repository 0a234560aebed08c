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
import sys
import zipfile
import zlib
from pathlib import Path

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


def _feed(state, thing):
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        state.update(f"{thing.dtype}{thing.shape}".encode())
        state.update(np.ascontiguousarray(thing).data)
    elif isinstance(thing, dict):
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
assert digest(np.zeros(3)) != digest(np.zeros(3, "float32"))

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
