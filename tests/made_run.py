"""Runs for the tests of report, page, README and submission: one made up, and the whole smoke book, run once."""

import json
import math
import os
import re
import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

from filelock import FileLock  # PyTorch brings it
from vicreg_nb.book import code_digest

ROOT = Path(__file__).resolve().parent.parent
HEADER = {
    "profile": "exercise",
    "dataset": "cifar10",
    "seed": 0,
    "data": {"train_images": 50_000, "test_images": 10_000, "identity": "0123456789abcdef"},
    "dataset_note": "",
    "device": "a device",
    "versions": {"python": "3.11.2", "torch": "2.11.0", "numpy": "2.3.1"},
    "commit": "abcdef123456",
    "started": "2024-07-25 10:00:00 UTC",
    "updated": "2024-07-25 11:00:00 UTC",
}
FIGURES = {  # question: width and height in inches of its figures
    "Q1": [(3.4, 2.1)] * 3,
    "Q2": [(6.9, 3.8)],
    "Q3": [(4.6, 4.3), (4.6, 2.3)],
    "Q4": [(6.9, 3.8), (5.2, 2.8)],
    "Q5": [(6.9, 2.3)],
    "Q6": [(6.9, 3.8)],
    "ladder": [(6.9, 3.0), (6.9, 2.4)],
    "Q7": [(6.9, 5.0), (6.9, 5.0), (6.9, 2.9)],
    "AD1": [(6.9, 2.4)],
    "AD2": [(3.4, 3.0), (3.4, 3.0)],
    "AD3": [(6.9, 2.4)],
    "CL1": [(4.6, 2.6)],
    "CL2": [(6.9, 5.2)],
    "CL3": [(5.2, 2.3)],
}
SECTIONS = {"Q": "3.2", "AD": "4.2", "CL": "4.3"}
SENTENCE = (
    "A representation keeps images of one kind together, and what it keeps apart is told by shape and background. "
)


def make_run(folder: Path, questions=tuple(FIGURES), sentences=4, **header) -> Path:
    """Write results.json and figures/ of a made-up run; `header` replaces entries of its header."""
    folder = Path(folder)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    made = {}
    for place, name in enumerate(questions):
        names = [f"{name.lower()}_{number}" for number in range(len(FIGURES[name]))]
        for figure, size in zip(names, FIGURES[name], strict=True):
            write_png(folder / "figures" / f"{figure}.png", *size)
        figures = [(figure, f"What {name} shows, with $k = {place + 2}$.") for figure in names]
        made[name] = make_entry(name, place, figures, sentences)
    results = {"header": HEADER | {"code": code_digest()} | header, "questions": made, "stages": make_stages()}
    (folder / "results.json").write_text(json.dumps(results, ensure_ascii=False), encoding="utf-8")
    return folder


def change(folder: Path, edit):
    """Write results.json anew after `edit(results)`."""
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    edit(results)
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")


def make_entry(name, place, figures, sentences):
    """What results.json holds of a question."""
    numbers = {
        "accuracy": 0.6183 + place / 100,
        "bar": 0.6,
        "untrained_accuracy": 0.3127,
        "interval": 0.0096,
        "auc": 0.9126 - place / 1000,
        "k": place + 2,
        "count": 12_345 + place,
    }
    if name == "Q1":
        numbers["precision"] = "bf16"
    kind, number = name.rstrip("0123456789"), name.lstrip("ADCLQ")
    return {
        "title": f"A title for {name}",
        "place": f"Section {SECTIONS[kind]}, Question {number}"
        if kind in SECTIONS
        else "Section 3.2, beyond Question 6",
        "required": kind in ("Q", "AD"),
        "numbers": numbers,
        "answer": make_answer(numbers, sentences),
        "figures": figures,
        "tables": [make_table(name, numbers)],
        "settings": {},
    }


def make_answer(numbers, sentences):
    said = f"**It reaches {numbers['accuracy']:.1%}**, with an AUC of {numbers['auc']:.3f} at $k = {numbers['k']}$. "
    return f"{said}{SENTENCE * sentences}\n\n{SENTENCE}Of the images, {numbers['count']:,} are meant."


def make_table(name, numbers):
    rows = [
        ["VICReg", f"{numbers['accuracy']:.1%}", f"{numbers['auc']:.3f}"],
        ["untrained | plain", f"{numbers['untrained_accuracy']:.1%}", "–"],
    ]
    return {"caption": f"The numbers of {name}.", "header": ["Method", "Accuracy", "AUC"], "rows": rows}


def make_stages():
    return {"01a_training": {"key": "0", "seconds": 431.27}, "02_representations": {"key": "0", "seconds": 88.4}}


def write_png(path: Path, width: float, height: float, dots: int = 200):
    """A grey picture of this size in inches."""
    columns, rows = round(width * dots), round(height * dots)
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    grey = zlib.compress((b"\0" + b"\xd0" * columns) * rows, 1)
    chunks = [(b"IHDR", head), (b"IDAT", grey), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def smoke_book(tmp_path_factory) -> Path:
    """The folder of the whole smoke book, run through papermill as its user types it; once for all tests."""
    return _booked(shared(tmp_path_factory))[0]


def without_notebooks(folder: Path, *arguments: str):
    """Run the smoke book in `folder` as plain Python, as where no papermill is installed."""
    code = "import sys; from vicreg_nb import run_all; run_all.publish = lambda folder, dataset: None; "
    code += "run_all.notebook_path = lambda stage: None; sys.exit(run_all.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "--profile", "smoke", "--device", "cpu", "--out", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / "executed").is_dir()


def told_by_the_book(tmp_path_factory) -> list:
    """The lines that the command of `smoke_book` printed."""
    return _booked(shared(tmp_path_factory))[1]


@cache
def _booked(place):
    folder, told = place / "book", place / "book.txt"
    with FileLock(place / "book.lock"):  # the other processes that test wait for the one that came first
        if not told.exists():
            given = ["--profile", "smoke", "--device", "cpu", "--out", str(folder)]
            command = [sys.executable, "-m", "vicreg_nb.run_all", *given]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            told.write_text(f"{done.returncode}\n{done.stdout}{done.stderr}", encoding="utf-8")
    code, *lines = told.read_text(encoding="utf-8").splitlines()
    assert code == "0", "\n".join(lines)
    return folder, lines


def shared(tmp_path_factory) -> Path:
    """A folder of this call of pytest, by however many processes it tests."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def answers(folder: Path) -> dict:
    """The questions in a run's results.json."""
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["questions"]


def untimed(text: str) -> str:
    """`text` with every duration in it, as `store.duration` writes them, replaced by a word."""
    return re.sub(r"\b\d+ (?:h \d\d min|min \d\d s|s)\b", "a while", text)


def assert_same(one, other, place="", tolerance=1e-6):
    """The same structure and words; the same numbers but for `tolerance`, and for times."""
    if isinstance(one, dict):
        assert set(one) == set(other), place
        for name in one:
            if "second" not in name and name != "time":  # how long it took, as a number or in words
                assert_same(one[name], other[name], f"{place}.{name}", tolerance)
    elif isinstance(one, list):
        assert len(one) == len(other), place
        for number, (item, another) in enumerate(zip(one, other, strict=True)):
            assert_same(item, another, f"{place}[{number}]", tolerance)
    elif isinstance(one, float):
        assert math.isclose(one, other, rel_tol=tolerance, abs_tol=min(1e-5, 10 * tolerance)), f"{place}: {one} {other}"
    elif isinstance(one, str) and isinstance(other, str):
        assert untimed(one) == untimed(other), place
    else:
        assert one == other, place
