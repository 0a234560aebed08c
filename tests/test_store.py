"""Files are whole or absent, results are found by what they were made from, generators do not disturb each other."""

import errno
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from vicreg_nb import book
from vicreg_nb.identity import cached, code_of
from vicreg_nb.store import UserError, atomic, digest, duration, new_generator, read_arrays, recover, seeded

SIGN = 1


def test_digest_tells_types_shapes_and_order():
    things = [1, 1.0, "1", [1], [[1]], {"a": 1}, {"a": "1"}, np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32)]
    assert len({digest(thing) for thing in things}) == len(things)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(torch.arange(3)) == digest(np.arange(3))
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.arange(6).reshape(2, 3).T.copy())


def test_generators_are_independent_and_reproducible():
    keys = ((0, "a"), (0, "b"), (1, "a"), (0, "a"))
    draws = [torch.rand(4, generator=new_generator(*key)).tolist() for key in keys]
    assert draws[0] == draws[3] and draws[0] != draws[1] != draws[2]


def test_seeded_gives_the_same_weights_and_puts_the_global_generator_back():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    weights = []
    for _ in range(2):
        with seeded(0, "weights"):
            weights.append(torch.nn.Linear(3, 2).weight)
    assert torch.equal(*weights) and torch.equal(torch.rand(2), expected)
    with pytest.raises(ZeroDivisionError), seeded(1, "weights"):
        torch.rand(100 // 0)


def test_cached_computes_once_and_mends_a_damaged_file(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"x": np.arange(5)}

    for _ in range(2):
        assert cached(tmp_path, "thing", ["key"], compute)["x"].tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 1
    next(tmp_path.glob("thing-*.npz")).write_bytes(b"PK\x03\x04 cut")
    cached(tmp_path, "thing", ["key"], compute)
    cached(tmp_path, "thing", ["other key"], compute)
    assert len(calls) == 3


@pytest.mark.parametrize("at", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
def test_a_flipped_bit_in_the_cache_is_noticed_or_makes_no_difference(tmp_path, at):
    values = np.linspace(0, 1, 40)

    def compute():
        return {"x": values, "y": values[:3]}

    cached(tmp_path, "thing", ["key"], compute)
    path = next(tmp_path.glob("thing-*.npz"))
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(content)
    again = cached(tmp_path, "thing", ["key"], compute)
    assert set(again) == {"x", "y"} and np.array_equal(again["x"], values) and np.array_equal(again["y"], values[:3])


def test_a_file_set_aside_replaces_none(tmp_path):
    for content in ("a", "b", "c"):
        (tmp_path / "f.npz").write_text(content)
        assert recover(tmp_path / "f.npz", read_arrays) is None
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["a", "b", "c"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        atomic(path, broken)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_where_a_file_cannot_be_the_sentence_says_why(tmp_path):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / "folder").mkdir()
    for name, write, why in (
        ("folder", Path.touch, "a folder is in its place"),
        ("x", denied, f"{tmp_path} takes no files (Permission denied)"),
    ):
        with pytest.raises(UserError) as caught:
            atomic(tmp_path / name, write)
        assert str(caught.value).startswith(f"{tmp_path / name} cannot be written: {why}")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]


def test_an_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(tmp_path / "bad.npz")


@pytest.mark.parametrize(("seconds", "words"), [(7.6, "8 s"), (200, "3 min 20 s"), (3_900, "1 h 05 min")])
def test_durations(seconds, words):
    assert duration(seconds) == words


MODULE = '''
"""A module."""
import functools
import helper
from helper import half as by_half

SCALE = 2.0
TABLE = {"a": [1, 2]}
calls = []


def unrelated():
    return 1


@functools.cache
def factor(x: int) -> int:
    """Of x."""
    return SCALE * x


class Base:
    def shift(self, x):
        return x + TABLE["a"][0]


class Net(Base):
    kinds = (factor,)

    def forward(self, x):
        local = by_half(x)
        return self.shift(local)


def compute(net=None):
    calls.append(1)

    def inner(y):
        return factor(y)

    return Net().forward(inner(3))
'''
HELPER = "def half(x):\n    return x / 2\n"
COSMETIC = [
    ("    return SCALE * x", "    # a comment\n\n    return (SCALE\n        * x)  # more"),
    ('"""Of x."""', '"""Of another x,\n    in two lines."""'),
    ("x: int) -> int", "x: float) -> float"),
    ("    return 1", "    return 2"),
    ('"""A module."""', '"""Another text."""'),
]
REAL = [
    ("SCALE * x", "SCALE + x", {"factor"}),
    ("SCALE = 2.0", "SCALE = 3.0", {"SCALE"}),
    ("[1, 2]", "[2, 2]", {"TABLE"}),
    ('x + TABLE["a"][0]', 'x - TABLE["a"][0]', {"Base"}),
    ("inner(3)", "inner(4)", {"compute"}),
    ("half as by_half", "third as by_half", {"half", "third"}),
    ("@functools.cache\n", "", {"factor"}),
]


def codes(folder, monkeypatch, module=MODULE, helper=HELPER):
    """`code_of` the function `compute` of a module with this source."""
    monkeypatch.syspath_prepend(str(folder))
    for name, text in (("helper", helper), ("mine", module)):
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits within a second would look like one
    try:
        return code_of(importlib.import_module("mine").compute)
    finally:
        sys.modules.pop("mine"), sys.modules.pop("helper")


def test_code_is_followed_through_calls_classes_tables_and_modules(tmp_path, monkeypatch):
    found = codes(tmp_path, monkeypatch)
    assert set(found) == {"compute", "factor", "SCALE", "Net", "Base", "TABLE", "half"}
    assert codes(tmp_path, monkeypatch) == found


@pytest.mark.parametrize(("old", "new"), COSMETIC)
def test_what_does_not_run_does_not_count(tmp_path, monkeypatch, old, new):
    assert old in MODULE
    before = codes(tmp_path, monkeypatch)
    assert codes(tmp_path, monkeypatch, MODULE.replace(old, new)) == before


@pytest.mark.parametrize(("old", "new", "names"), REAL)
def test_what_runs_counts_and_is_named(tmp_path, monkeypatch, old, new, names):
    assert old in MODULE
    before = codes(tmp_path, monkeypatch)
    helper = HELPER + "\n\ndef third(x):\n    return x / 3\n"
    after = codes(tmp_path, monkeypatch, MODULE.replace(old, new), helper)
    assert {name for name in before | after if before.get(name) != after.get(name)} == names


def test_another_modules_code_counts(tmp_path, monkeypatch):
    assert codes(tmp_path, monkeypatch) != codes(tmp_path, monkeypatch, helper="def half(x):\n    return x / 2.5\n")


def test_code_replaced_at_run_time_is_seen(monkeypatch):
    from vicreg_nb import vicreg

    before = code_of(vicreg.vicreg_terms)
    monkeypatch.setattr(vicreg, "variance", lambda z, gamma, eps: z.std())
    assert code_of(vicreg.vicreg_terms) != before
    monkeypatch.undo()
    assert code_of(vicreg.vicreg_terms) == before
    monkeypatch.setattr(vicreg.Encoder, "forward", lambda self, x: x)
    assert any("<lambda>" in name for name in code_of(vicreg.Encoder))


def test_code_without_a_source_counts_by_its_compiled_form():
    program = (
        "def f(x):\n    return g(x)\ndef g(x):\n    return x + {}\nclass Pairs:\n    def train(self): return f(1)\n"
    )
    program += "from vicreg_nb.identity import code_of\nprint(code_of(Pairs))"
    texts = [
        subprocess.run([sys.executable, "-c", program.format(n)], capture_output=True, text=True, check=True).stdout
        for n in (1, 1, 2)
    ]
    assert texts[0] == texts[1] != texts[2] and "'g'" in texts[0]


def test_a_file_that_was_edited_while_it_runs_is_refused(tmp_path, root):
    """A copy of the package is edited after it was imported: by a comment, then by a number."""
    shutil.copytree(root / "vicreg_nb", tmp_path / "vicreg_nb", ignore=shutil.ignore_patterns("__pycache__"))
    program = """
from pathlib import Path
from vicreg_nb import vicreg
from vicreg_nb.identity import code_of
from vicreg_nb.store import UserError
path = Path(vicreg.__file__)
before, text = code_of(vicreg.variance), path.read_text()
path.write_text("# new" + chr(10) + text)
assert code_of(vicreg.variance) == before
path.write_text(text.replace("gamma - sigma", "gamma + sigma"))
try:
    code_of(vicreg.variance)
except UserError as error:
    print(error)
"""
    command = [sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "vicreg.py was changed" in done.stdout, done.stderr


def test_a_cached_result_is_computed_again_by_other_code(tmp_path, monkeypatch):
    power = 2

    def squares():
        return {"x": np.arange(3) ** power * SIGN}

    monkeypatch.setitem(globals(), "SIGN", 1)
    assert cached(tmp_path, "thing", [power], squares)["x"].tolist() == [0, 1, 4]
    monkeypatch.setitem(globals(), "SIGN", -1)
    assert cached(tmp_path, "thing", [power], squares)["x"].tolist() == [0, -1, -4]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("encoding", [{}, {"PYTHONIOENCODING": "latin-1"}])
def test_results_are_read_and_lines_shown_in_any_locale(tmp_path, root, encoding):
    from made_run import make_run

    folder = make_run(tmp_path, questions=("Q1",), device="a – device, \u03bb")
    code = "import sys; from pathlib import Path; from vicreg_nb import book, store; "
    code += "store.log(book.read_file(Path(sys.argv[1]))['header']['device']); print(book.code_digest())"
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"} | encoding
    command = [sys.executable, "-c", code, str(folder / "results.json")]
    done = subprocess.run(command, cwd=root, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr.decode()
    assert rb"a \u2013 device, \u03bb" in done.stdout and book.code_digest().encode() in done.stdout


FULL = """
import resource, sys
from pathlib import Path
from vicreg_nb.store import UserError, atomic
resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20, 3 * 2**20))
try:
    atomic(Path(sys.argv[1]), lambda path: path.write_bytes(bytes(5 * 2**20)))
except UserError as error:
    print(error)
"""


def test_where_there_is_no_room_the_sentence_says_how_far_the_file_came(tmp_path, root):
    pytest.importorskip("resource", reason="only Unix limits the size of files")
    path = tmp_path / "large.bin"
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=root, capture_output=True, text=True)
    assert len(done.stdout.splitlines()) == 1, done.stderr
    assert str(path) in done.stdout and " 3.0 MiB" in done.stdout and not list(tmp_path.iterdir())
