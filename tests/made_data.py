"""Made-up data in all forms in which people have CIFAR-10 and MNIST, for the tests of what reads them."""

import gzip
import hashlib
import pickle
import tarfile
from pathlib import Path

import numpy as np
from vicreg_nb import files

SMALL = {  # data sets as small as the book can use
    "cifar10_train.npz": ((500, 32, 32, 3), 50),
    "cifar10_test.npz": ((100, 32, 32, 3), 10),
    "mnist_test.npz": ((100, 28, 28), None),
}
NAMES = {"cifar10_train.npz": [f"data_batch_{n}" for n in range(1, 6)], "cifar10_test.npz": ["test_batch"]}


def publish(monkeypatch) -> dict:
    """Small made-up data that count as the published ones from now on: {file: bytes}."""
    rng, made = np.random.default_rng(0), {}
    for part, names in NAMES.items():
        for name in names:
            labels, planes = rng.permutation(np.repeat(np.arange(10), 10)), rng.integers(0, 256, (100, 3072), np.uint8)
            made[name] = pickle.dumps({"data": planes, "labels": labels.tolist()}, protocol=2)
        monkeypatch.setitem(files.BATCHES, part, {name: hashlib.md5(made[name]).hexdigest() for name in names})
    made["t10k-images-idx3-ubyte"] = bytes(16) + rng.integers(0, 256, 78_400, np.uint8).tobytes()
    made["t10k-labels-idx1-ubyte"] = bytes(8) + (np.arange(100) % 10).astype(np.uint8).tobytes()
    for array, (name, header, _) in files.DIGITS.items():
        monkeypatch.setitem(files.DIGITS, array, (name, header, hashlib.md5(made[name]).hexdigest()))
    for part, expected in SMALL.items():
        monkeypatch.setitem(files.EXPECTED, part, expected)
    return made


def lay_out(folder: Path, published: dict, form: str):
    """The made-up data in a folder as people have them: packed or unpacked."""
    raw, batches = folder / "MNIST" / "raw", folder / "cifar-10-batches-py"
    raw.mkdir(parents=True)
    batches.mkdir()
    for name, content in published.items():
        if not name.startswith("t10k"):
            (batches / name).write_bytes(content)
        elif form == "packed":
            (raw / f"{name}.gz").write_bytes(gzip.compress(content, 1))
        else:
            (raw / name).write_bytes(content)
    if form == "packed":
        with tarfile.open(folder / "cifar-10-python.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(batches, batches.name)
        for path in batches.iterdir():
            path.unlink()
        batches.rmdir()
