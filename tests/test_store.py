"""Files are whole or absent, results are found by what they were made from, generators do not disturb each other."""

import numpy as np
import pytest
import torch
from vicreg_nb.store import atomic, cached, digest, duration, new_generator, read_arrays, seeded


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


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        atomic(path, broken)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_an_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / "bad.npz", x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(tmp_path / "bad.npz")


@pytest.mark.parametrize(("seconds", "words"), [(7.6, "8 s"), (200, "3 min 20 s"), (3_900, "1 h 05 min")])
def test_durations(seconds, words):
    assert duration(seconds) == words
