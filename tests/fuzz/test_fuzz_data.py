"""Data files: damaged, lying, of another kind. Each is refused in a sentence, or gives the images that it had."""

import io
import os
import zipfile

import numpy as np
from harness import damaged, fuzz, strange
from made_data import SMALL, lay_out, publish
from vicreg_nb.files import find_in, read_data
from vicreg_nb.store import UserError, digest


def read_all(folder):
    """{part: digest of what is read, or the sentence with which it is refused}"""
    found = {}
    for part in SMALL:
        path = find_in(folder, part)
        try:
            found[part] = digest(read_data(path, part)) if path else None
        except UserError as error:
            assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 500 + len(str(path))
    return found


def test_published_files(tmp_path, monkeypatch):
    published, good = publish(monkeypatch), {}
    for form in ("packed", "unpacked"):
        lay_out(tmp_path / form, published, form)
        good[form] = read_all(tmp_path / form)
    assert good["packed"] == good["unpacked"] and all(good["packed"].values())

    def attempt(random, here):
        form = random.choice(["packed", "unpacked"])
        lay_out(here, published, form)
        path = random.choice([path for path in here.rglob("*") if path.is_file()])
        if random.random() < 0.2:
            path.unlink()
            random.choice([os.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: None])(path)
        else:
            path.write_bytes(damaged(random, path.read_bytes()))
        read = read_all(here)
        for part, found in read.items():
            assert found in (None, good[form][part]), f"{path.name} is read as something else"
        return any(read.values())

    fuzz(attempt, 200, 12, tmp_path)


def test_arrays(tmp_path, monkeypatch):
    publish(monkeypatch)
    labels = np.arange(100) % 10
    right = {"images": np.zeros((100, 28, 28), np.uint8), "labels": labels, "lossy": labels > 8}
    types = ("u1", ">i8", "f4", "O", "U3", "c8", "?", "M8[s]", "V5", [("a", "u1")], "S0")
    shapes = ((100, 28, 28), (100,), (), (0,), (99, 28, 28), (28, 28, 100), (100, 28, 28, 1))

    def attempt(random, here):
        arrays, path, changed = dict(right), here / "mnist_test.npz", random.choice(list(right))
        if random.random() < 0.5:
            dtype = random.choice(types)
            arrays[changed] = np.zeros(random.choice(shapes), dtype) if random.random() < 0.9 else right["labels"][::-1]
        content = io.BytesIO()
        np.save(content, arrays[changed], allow_pickle=True)
        npy = damaged(random, content.getvalue()) if random.random() < 0.4 else content.getvalue()
        header = {"descr": "|u1", "fortran_order": False, "shape": (100, 28, 28)}
        if random.random() < 0.4:
            text = f"{strange(random, header)}".encode("utf-8", "replace").ljust(60) + b"\n"
            npy = b"\x93NUMPY\x01\x00" + min(len(text), 65_535).to_bytes(2, "little") + text + bytes(78_400)
        with zipfile.ZipFile(path, "w", random.choice([0, 8, 12, 14])) as archive:
            for name, array in arrays.items():
                part = io.BytesIO()
                np.save(part, array, allow_pickle=True)
                archive.writestr(f"{name}.npy", npy if name == changed else part.getvalue())
        found = read_data(path, "mnist_test.npz")
        assert found["images"].shape == (100, 28, 28) and sorted(found["labels"]) == sorted(labels)

    fuzz(attempt, 150, 10, tmp_path)
