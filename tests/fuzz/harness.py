"""What all fuzzers share: numbered inputs, each of which must end in one sentence or in a right result.

The suite tries a share of them, FUZZ=all (`make fuzz`) tries all. An input is made from its number alone, so that a
fault that is told can be tried again: FUZZ=<number>.
"""

import contextlib
import io
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from vicreg_nb.store import UserError

WHICH = os.environ.get("FUZZ", "")
LONGEST, WALL = 10, 600  # seconds of computing, and in all
_watched = {"folder": None, "wrote": []}


class Wrong(AssertionError):
    """What must not happen."""


def fuzz(attempt, count: int, share: int, folder: Path):
    """`attempt(random, folder)` for inputs 0 ... count - 1, each in an empty folder; it may raise UserError alone.

    An attempt that catches a refusal returns False for it: of all inputs, some must be taken.
    """
    numbers = [int(WHICH)] if WHICH.isdecimal() else range(count if WHICH == "all" else share)
    faults, taken = [], 0
    for number in numbers:
        here = folder / f"{number}"
        here.mkdir()
        try:
            with _time_limit(), _nothing_written_outside(here), contextlib.chdir(here):
                taken += attempt(random.Random(number), here) is not False
        except UserError as error:
            faults += [f"{number}: {fault}" for fault in unlike_a_sentence(str(error))]
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            last = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{Path(last.filename).name}, line {last.lineno}"
            faults.append(f"{number}: {type(error).__name__}: {str(error)[:300]} ({at})")
    assert not faults, f"{len(faults)} of {len(numbers)} inputs:\n" + "\n".join(faults)
    assert taken or WHICH.isdecimal(), f"all {len(numbers)} inputs were refused"


def unlike_a_sentence(said: str) -> list:
    """What is wrong with the words that a user reads."""
    wrong = {
        "has several lines": "\n" in said.strip(),
        "is empty": not said.strip(),
        "is long": len(said) > 1_500,
        "is a traceback": bool(re.search(r"Traceback|\.py, line \d+: \w+(Error|Exception)|^\w+Error", said.strip())),
    }
    return [f"{said[:300]!r} {what}" for what, holds in wrong.items() if holds]


def command(main, *arguments) -> tuple:
    """(status, output, words on stderr) of a command called in this process; its failure must be a sentence."""
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = main(list(arguments))
        except SystemExit as stop:  # argparse's
            return int(stop.code or 0), out.getvalue(), error.getvalue()
    if status and (error.getvalue() or not out.getvalue()):
        for fault in unlike_a_sentence(error.getvalue()):
            raise Wrong(fault)
    return status, out.getvalue(), error.getvalue()


@contextlib.contextmanager
def _time_limit():
    """What hangs is stopped. On a busy machine seconds pass that are not ours, so more is allowed while we compute."""
    began, computed = time.monotonic(), time.process_time()

    def ring(*_):
        if time.process_time() - computed > LONGEST or time.monotonic() - began > WALL:
            raise Wrong(f"it took more than {LONGEST} s, or {WALL} s in all")
        signal.alarm(LONGEST)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(LONGEST)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _nothing_written_outside(folder):
    _watched.update(folder=str(folder), wrote=[])
    try:
        yield
    finally:
        _watched["folder"] = None
    if _watched["wrote"]:
        raise Wrong(f"written outside of the folder: {_watched['wrote'][:3]}")


def _watch(event, arguments):
    """Python calls it for each file that is opened, made, moved or removed."""
    if _watched["folder"] is None:
        return
    paths = ()
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        paths = arguments[:1]
    elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chmod", "os.truncate"):
        paths = arguments[:1]
    elif event == "os.rename":
        paths = arguments[:2]
    scratch = (_watched["folder"], os.path.join(tempfile.gettempdir(), "tmp"), "/dev/", "/proc/")
    for path in (os.fsdecode(path) for path in paths if isinstance(path, (str, bytes, os.PathLike))):
        full = os.path.abspath(path)
        known = os.path.isdir(full) and event in ("os.mkdir", "open") or "__pycache__" in full  # open: a nameless file
        if not known and not full.startswith(scratch):
            _watched["wrote"].append(f"{event} {full}")


sys.addaudithook(_watch)

# ---- what may become of a file


def damaged(random: random.Random, whole: bytes) -> bytes:
    """Bytes as a failing disk, a broken copy, or somebody's editor may leave them."""
    at = random.randrange(max(1, len(whole)))
    end = min(len(whole), at + random.choice([1, 4, 512, 4096]))
    flipped = bytes([whole[at] ^ 1 << random.randrange(8)]) if whole else b""
    return random.choice([
        whole[:at] + flipped + whole[at + 1 :], whole[:at], whole[at:], whole[:at] + bytes(end - at) + whole[end:],
        whole[:at] + random.randbytes(end - at) + whole[end:], whole[:at] + whole[end:], whole + whole[at:end],
        whole[:at] + whole[at:end] + whole[at:], b"", random.randbytes(100), b"\xff\xfe" + whole,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", whole.replace(b"\n", b"\r\n"),
        b"<!DOCTYPE html><html>404</html>",
    ])  # fmt: skip


DEEP = [[]]
for _ in range(300):
    DEEP = [DEEP]
STRANGE = [None, True, 0, -1, 2**70, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "\ud800", "é\u2028\x00",
           "../..", "/", "x" * 5_000, "{0}", "<script>", [], {}, [None], {"a": 1}, [[1, 2], [3]], DEEP]  # fmt: skip


def strange(random: random.Random, tree):
    """A copy of a tree of dicts and lists in which one node is lost, doubled, or something else."""
    if isinstance(tree, (dict, list)) and tree and random.random() < 0.85:
        key = random.choice(list(tree) if isinstance(tree, dict) else range(len(tree)))
        changed = tree.copy()
        if random.random() < 0.15:
            del changed[key]
        else:
            changed[key] = strange(random, tree[key])
        return changed
    return random.choice(STRANGE)
