# %% [markdown]
# # 80 · Store
# What do all parts of the book share below the mathematics? One kind of error for a user's mistake, files that are
# there whole or not at all, a digest that tells one result from another, and generators that do not disturb each other.

# %%
#| default_exp store

# %%
#| export
import atexit
import contextlib
import errno
import gc
import hashlib
import importlib
import importlib.util
import itertools
import os
import re
import shutil
import sqlite3
import stat
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

# %% [markdown]
# ## PyTorch, when it is needed
# PyTorch takes seconds to import. What only looks, such as `--help` or `--list`, shall not wait for it. So the modules
# below the data know it by a name that imports it when it is first asked for something.


# %%
#| export
class Later:
    """A library that is imported when it is first asked for something."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self.name), attribute)


torch = Later("torch")

# %% [markdown]
# PyTorch brings a million objects. At its end Python would look through all of them for what can be freed, for two
# seconds in each notebook and each command. It need not: the process ends.

# %%
#| export
atexit.register(gc.freeze)  # what is frozen the last collection leaves alone

# %%
assert torch.tensor([1]).item() == 1

# %% [markdown]
# ## One sentence for a mistake
# A mistake in the input stops the work before it starts, with one sentence that names the value and the remedy.


# %%
#| export
class UserError(ValueError):
    """A mistake in the input, told in one sentence that names the value and the remedy."""

    def _render_traceback_(self):
        """What a notebook shows of it: where in our code it was noticed says nothing to who made it."""
        return [f"UserError: {self}"]


# %%
try:
    raise UserError("epochs is 0: give 1 to 10000.")
except UserError as error:
    print(*error._render_traceback_())

# %% [markdown]
# Any other error is told by its kind and its own words. When memory runs out, these are a library's and name no remedy,
# so we say it ourselves. A notebook's process that is killed for its memory says nothing at all.


# %%
#| export
def in_a_line(kind: str, message: str) -> str:
    """An error of this kind in a line; where memory ran out, that, how much was asked for, and what helps."""
    memory = "MemoryError", "OutOfMemoryError", "DeadKernelError"
    if kind not in memory and not re.search("an(no|')t allocate memory", message):
        return f"{kind}: {message}".rstrip(": ")
    asked = re.search(r"allocate ([\d.]+ (?:[KMGTP]iB|bytes))", message)
    asked = f" ({asked[1]} asked for)" if asked else ""
    why = "the process ended without a word; out of memory, perhaps" if kind == memory[2] else "memory ran out"
    return f"{why}{asked}: give a smaller batch_size or train_size, or choose a smaller profile."


# %%
for too_large in (np.empty, torch.empty, bytearray):
    try:
        too_large(2**50)
    except (MemoryError, RuntimeError) as error:
        print(in_a_line(type(error).__name__, str(error)))
        assert "memory ran out" in in_a_line(type(error).__name__, str(error))
assert in_a_line("ValueError", "no: give 1.") == "ValueError: no: give 1."

# %% [markdown]
# ## The project's folder
# The nearest folder from here upwards that holds `settings.ini`: a notebook in `nbs/` finds it, and so does a command.
# From anywhere else, as with papermill in some other folder, it is the one in which the package lies.


# %%
#| export
def project_root() -> Path:
    """The nearest folder upwards with a settings.ini, else the package's, if it has one; else the current folder."""
    here, package = Path.cwd(), importlib.util.find_spec("vicreg_nb")
    beside = [Path(place).parent for place in package.submodule_search_locations] if package else []
    places = (here, *here.parents, *beside)
    return next((folder for folder in places if (folder / "settings.ini").is_file()), here)


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
    if hasattr(thing, "detach"):  # a tensor
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
def new_generator(seed: int, *names) -> "torch.Generator":
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
    dist = sys.modules.get("torch.distributed")  # who has not imported it is alone
    return dist.get_rank() if dist and dist.is_available() and dist.is_initialized() else 0


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
# On a terminal a bar; in a notebook and in a log one line at a time. Where a terminal does not know a letter, a number
# stands for it: nothing shall fail because its last line cannot be shown.

# %%
#| export
if hasattr(sys.stdout, "reconfigure"):  # a notebook's knows all letters
    sys.stdout.reconfigure(errors="backslashreplace")


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        if why := _not_written(path, error, temporary):
            raise UserError(f"{path} cannot be written: {why}.") from None
        raise
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
# Where a disk is full or a folder is not ours, that is a sentence. PyTorch does not say it: on a full disk its error is
# `unexpected pos 57600 vs 57496`. How large the file would have become nobody knows; how far it came is a lower bound.


# %%
#| export
def _not_written(path, error, temporary) -> str:
    """Why a file could not be written, and what to do; empty for any other error. temporary: what there is of it."""
    folder = next(place for place in path.absolute().parents if place.exists())
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    if full or re.search("unexpected pos|file write failed", str(error)):
        come = temporary.stat().st_size if temporary.is_file() else 0
        free = (come + shutil.disk_usage(folder).free) / 2**20
        room = f"it needs more than {come / 2**20:.1f} MiB, and {free:.1f} MiB are free in {folder}"
        return f"there is no room for it ({room}); make room, or choose another folder"
    if path.is_dir():
        return "a folder is in its place; move that away"
    if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return f"{folder} takes no files ({error.strerror}); choose another folder"
    return ""


# %%
for error in (RuntimeError("unexpected pos 57600 vs 57496"), OSError(errno.EROFS, "Read-only file system")):
    print(_not_written(note, error, note))
assert not _not_written(note, RuntimeError("other"), note)

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
def fault(path: Path) -> str:
    """What seems to be wrong with what is at a path, in words."""
    if not path.is_file():
        return "not a file"
    with path.open("rb") as file:
        begins = file.read(30)
    lfs = "a pointer of git-lfs (`git lfs pull` fetches the file)"
    return lfs if begins.startswith(b"version https://git-lfs") else "damaged" if begins else "empty"


# %%
note.write_text("anything")
assert (fault(note), fault(note.parent)) == ("damaged", "not a file")

# %% [markdown]
# To open a named pipe is to wait for its writer, and a device may have no end. So what anybody may have put there is
# looked at before it is opened.


# %%
#| export
def regular(path: Path, most: int = 2**30) -> Path:
    """The same path; OSError where something else than a file of at most `most` bytes is there."""
    if not stat.S_ISREG(os.stat(path).st_mode) or os.path.getsize(path) > most:
        raise OSError(f"{path} is no file, or has more than {most:,} bytes")
    return Path(path)


# %%
assert regular(note, 8) == note
for wrong, most in ((note.parent, 8), (Path(os.devnull), 8), (note, 7)):
    try:
        regular(wrong, most)
    except OSError as error:
        print(str(error).replace(scratch.name, "..."))
    else:
        raise AssertionError(wrong)


# %%
#| export
def set_aside(path: Path, why: str) -> str:
    """Rename what is at `path` to <name>.<why>, with a number where there is one already; returns the new name."""
    names = (f"{path.name}.{why}{number or ''}" for number in itertools.count())
    name = next(name for name in names if not os.path.lexists(path.with_name(name)))
    path.rename(path.with_name(name))
    return name


def recover(path: Path, read):
    """`read(path)`; None where there is nothing, or what is damaged so that `read` fails: it is set aside and named."""
    try:
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            raise IsADirectoryError(path)
        return read(path)
    except PermissionError:
        raise
    except Exception:  # a damaged file may raise anything
        what = fault(path)
        log(f"{path} is {what}: set aside as {set_aside(path, 'damaged')}")


# %%
note.write_text("")
assert recover(note, lambda path: 1 / len(path.read_text())) is None and not note.is_file()
note.mkdir()
assert recover(note, Path.read_text) is recover(note, Path.read_text) is None
assert [path.is_file() for path in sorted(note.parent.glob("note.txt.damaged*"))] == [True, False]

# %% [markdown]
# ## All of it anew
# Whoever doubts what was kept may want it made once more, in all the processes that a command starts. So the command
# leaves a mark, a file, and tells them its name: what was there before the mark does not count. Times of files are
# compared with each other only, since a disk elsewhere may have a clock of its own.

# %%
#| export
_MARK = "VICREG_NB_ANEW"  # the environment variable that names the mark


@contextlib.contextmanager
def anew(mark: Path):
    """Within it, here and in processes that are started, `is_current` is False for what was there before.

    mark: a file for its time. It stays where the block is broken off; the next one goes on from there.
    """
    if _MARK not in os.environ:  # as where torchrun's first process has begun the command once more
        mark.parent.mkdir(parents=True, exist_ok=True)
        if mark.exists():
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(mark.stat().st_mtime))
            log(f"going on from what was broken off: what was made since {when} stays (to begin anew, delete {mark})")
        else:
            mark.touch()
        os.environ[_MARK] = str(mark.absolute())
    try:
        yield
    finally:
        del os.environ[_MARK]
    mark.unlink(missing_ok=True)


# %% [markdown]
# Whoever keeps something asks before it uses it:


# %%
#| export
def is_current(path: Path) -> bool:
    """Whether what is at `path` may be used: always, but where all is made anew only what has been made since."""
    mark = os.environ.get(_MARK)
    return not mark or path.exists() and path.stat().st_mtime_ns > Path(mark).stat().st_mtime_ns


# %%
note = note.with_name("other.txt")
note.write_text("old")
with anew(note.with_name("mark")):
    assert not is_current(note)
    os.utime(note, (2**32, 2**32))  # much later
    assert is_current(note)
assert is_current(note) and not note.with_name("mark").exists()
for broken in (True, False):  # what was made before it was broken off counts when it goes on
    with contextlib.suppress(KeyboardInterrupt), anew(note.with_name("mark")):
        note.touch() if broken else None
        assert is_current(note)
        if broken:
            raise KeyboardInterrupt
assert not note.with_name("mark").exists()

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
# ## Arrays
# A file of arrays holds their digest, so that a damaged one is found out.

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
scratch.cleanup()
