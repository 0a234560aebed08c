# Generated from nbs/80_store.py by `make export`. Do not edit: edit the notebook.
# cells nbs/80_store.py 415ba6f2db5615ec
# text d11aaa668d8d6d91

"""80 · Store."""

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


class Later:
    """A library that is imported when it is first asked for something."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, attribute):
        return getattr(importlib.import_module(self.name), attribute)


torch = Later("torch")


atexit.register(gc.freeze)  # what is frozen the last collection leaves alone


class UserError(ValueError):
    """A mistake in the input, told in one sentence that names the value and the remedy."""

    def _render_traceback_(self):
        """What a notebook shows of it: where in our code it was noticed says nothing to who made it."""
        return [f"UserError: {self}"]


def in_a_line(kind: str, message: str) -> str:
    """An error of this kind in a line; where memory ran out, that, how much was asked for, and what helps."""
    memory = "MemoryError", "OutOfMemoryError", "DeadKernelError"
    if kind not in memory and not re.search("an(no|')t allocate memory", message):
        return f"{kind}: {message}".rstrip(": ")
    asked = re.search(r"allocate ([\d.]+ (?:[KMGTP]iB|bytes))", message)
    asked = f" ({asked[1]} asked for)" if asked else ""
    why = "the process ended without a word; out of memory, perhaps" if kind == memory[2] else "memory ran out"
    return f"{why}{asked}: give a smaller batch_size or train_size, or choose a smaller profile."


def project_root() -> Path:
    """The nearest folder upwards with a settings.ini, else the package's, if it has one; else the current folder."""
    here, package = Path.cwd(), importlib.util.find_spec("vicreg_nb")
    beside = [Path(place).parent for place in package.submodule_search_locations] if package else []
    places = (here, *here.parents, *beside)
    return next((folder for folder in places if (folder / "settings.ini").is_file()), here)


def digest(*things) -> str:
    """16 hex digits that identify arrays, tensors, numbers, strings, dicts and lists of these."""
    state = hashlib.sha256()
    for thing in things:
        _feed(state, thing)
    return state.hexdigest()[:16]


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


def rank() -> int:
    """The number of this process among those that share a training; 0 is the first."""
    dist = sys.modules.get("torch.distributed")  # who has not imported it is alone
    return dist.get_rank() if dist and dist.is_available() and dist.is_initialized() else 0


@contextlib.contextmanager
def one_thread():
    """Within it, PyTorch computes on one thread; after it, on as many as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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


def fault(path: Path) -> str:
    """What seems to be wrong with what is at a path, in words."""
    if not path.is_file():
        return "not a file"
    with path.open("rb") as file:
        begins = file.read(30)
    lfs = "a pointer of git-lfs (`git lfs pull` fetches the file)"
    return lfs if begins.startswith(b"version https://git-lfs") else "damaged" if begins else "empty"


def regular(path: Path, most: int = 2**30) -> Path:
    """The same path; OSError where something else than a file of at most `most` bytes is there."""
    if not stat.S_ISREG(os.stat(path).st_mode) or os.path.getsize(path) > most:
        raise OSError(f"{path} is no file, or has more than {most:,} bytes")
    return Path(path)


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


def is_current(path: Path) -> bool:
    """Whether what is at `path` may be used: always, but where all is made anew only what has been made since."""
    mark = os.environ.get(_MARK)
    return not mark or path.exists() and path.stat().st_mtime_ns > Path(mark).stat().st_mtime_ns


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
