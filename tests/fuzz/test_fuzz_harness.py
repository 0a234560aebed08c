"""The fuzzers' own check: each kind of fault, planted, is told."""

import pytest
from harness import fuzz
from vicreg_nb.store import UserError


def refuse(words):
    raise UserError(words)


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (lambda here: int("x"), "ValueError"),
        (lambda here: refuse("One line.\nAnother."), "several lines"),
        (lambda here: (here.parent / "beside").touch(), "written outside"),
        (lambda here: refuse("It is so."), "all 1 inputs were refused"),
        (lambda here: False, "all 1 inputs were refused"),
    ],
)
def test_a_planted_fault_is_told(tmp_path, monkeypatch, planted, said):
    monkeypatch.setattr("harness.WHICH", "")
    with pytest.raises(AssertionError, match=said):
        fuzz(lambda random, here: planted(here), 1, 1, tmp_path)


def test_what_is_taken_is_no_fault(tmp_path):
    fuzz(lambda random, here: (here / "file").touch(), 1, 1, tmp_path)
