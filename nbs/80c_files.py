# %% [markdown]
# # 80c · Files of data
# In which forms do people have CIFAR-10 and MNIST, and how is a file read that anybody may have put there? Forms: an
# `npz` of arrays, and the archives in which both are published, packed or unpacked. A file is believed nothing. What
# can be checked is checked before memory is taken, and what is pickled is read only if its MD5 is the published one.

# %%
#| default_exp files

# %%
#| export
import gzip
import hashlib
import os
import pickle
import tarfile
import warnings
import zipfile
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np
from vicreg_nb.store import UserError

# %%
import tempfile

scratch = tempfile.TemporaryDirectory()  # the examples below work in here
here = Path(scratch.name)


def refused(function, *arguments):
    """Prints the sentence with which a call is refused."""
    try:
        function(*arguments)
    except UserError as error:
        print(str(error).replace(scratch.name, "..."))
    else:
        raise AssertionError(arguments)


# %% [markdown]
# ## What a data file holds
# Three of them serve the book, each known by the name of its `npz`: which images, how many, how many of each class.

# %%
#| export
EXPECTED = {  # file: shape of images, images of each class (None: at least one)
    "cifar10_train.npz": ((50_000, 32, 32, 3), 5_000),
    "cifar10_test.npz": ((10_000, 32, 32, 3), 1_000),
    "mnist_test.npz": ((10_000, 28, 28), None),
}
REMEDY = "delete it and run again to have it fetched afresh"

# %% [markdown]
# Arrays of another type or shape, and labels that cannot be, are told in one sentence.

# %%
#| export
_KINDS = {"images": np.uint8, "labels": np.integer, "lossy": np.bool_}


def _check_type(path, part, dtype, shape, name):
    """UserError unless `dtype` and `shape` are what the array `name` of the data file `part` must have."""
    expected = EXPECTED[part][0] if name == "images" else EXPECTED[part][0][:1]
    if not np.issubdtype(dtype, _KINDS[name]):
        wanted = "whole numbers from 0 to 9" if name == "labels" else np.dtype(_KINDS[name])
        raise UserError(f"{path} holds {name} of type {dtype} instead of {wanted}: {REMEDY}.")
    if shape != expected:
        raise UserError(f"{path} holds {name} of shape {shape}, not {expected}: {REMEDY}.")


# %%
_check_type("there", "mnist_test.npz", np.dtype("int64"), (10_000,), "labels")
refused(_check_type, "there", "mnist_test.npz", np.dtype("float64"), (10_000,), "labels")
refused(_check_type, "there", "mnist_test.npz", np.dtype("uint8"), (10**12, 28, 28), "images")


# %%
#| export
def _check_classes(path, labels, per_class):
    if labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{path} holds labels that are not whole numbers from 0 to 9: {REMEDY}.")
    counts = np.bincount(labels.astype(np.int64), minlength=10)
    wrong = np.flatnonzero(counts != per_class if per_class else counts == 0)
    if len(wrong):
        wanted = per_class or "at least one"
        raise UserError(f"{path} holds {counts[wrong[0]]} images of class {wrong[0]} instead of {wanted}: {REMEDY}.")


# %%
for labels in (np.arange(10_000) % 9, np.arange(10_000)):
    refused(_check_classes, "mnist_test.npz", labels, None)

# %% [markdown]
# ## An npz
# Numpy would take as much memory as a header asks for, be it a terabyte. So the header of each array is read first, and
# then as many bytes as the right array has; a compressed file cannot unpack into more.


# %%
#| export
def _read_npz(path, part):
    """{name: array} of images, labels and, where it is there, lossy."""
    with zipfile.ZipFile(path) as archive:
        there = [name for name in ("images", "labels", "lossy") if name != "lossy" or "lossy.npy" in archive.namelist()]
        return {name: _read_npy(archive, path, part, name) for name in there}


def _read_npy(archive, path, part, name):
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(f"{name}.npy") as file:
        shape, is_fortran, dtype = headers[np.lib.format.read_magic(file)](file)
        _check_type(path, part, dtype, shape, name)
        size = dtype.itemsize * int(np.prod(shape))
        content = bytearray(file.read(size))
        if len(content) != size or file.read(1):
            raise ValueError(f"{name} has not the {size} bytes that it should have")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if is_fortran else "C")


# %%
digits = {"images": np.zeros((10_000, 28, 28), np.uint8), "labels": np.arange(10_000) % 10}
np.savez_compressed(here / "good.npz", **digits)
assert _read_npz(here / "good.npz", "mnist_test.npz")["labels"].tolist() == digits["labels"].tolist()
np.savez(here / "wrong.npz", **digits | {"images": np.zeros((28, 28))})
refused(_read_npz, here / "wrong.npz", "mnist_test.npz")

# %% [markdown]
# ## CIFAR-10 as it is published
# `cifar-10-python.tar.gz` holds a folder `cifar-10-batches-py` with pickles of 10,000 images each, one byte for each
# red, then green, then blue. To unpickle is to run what is written there, so only the published bytes are unpickled.

# %%
#| export
BATCHES = {  # data file: its parts and their MD5
    "cifar10_train.npz": {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    "cifar10_test.npz": {"test_batch": "40351d587109b95175f43aff81a1287e"},
}
LARGEST = 400_000_000  # bytes of all that is in the archive, at most

# %%
from torchvision.datasets import CIFAR10  # in the package it would take a second, whenever somebody looks for a file

assert BATCHES == {f"cifar10_{part}.npz": dict(getattr(CIFAR10, f"{part}_list")) for part in ("train", "test")}


# %%
#| export
def _contents(path, names):
    """(name, bytes) of the named files in a folder or a tar archive, as far as they are there."""
    if path.is_dir():
        for file in (path / name for name in names if (path / name).is_file()):
            with file.open("rb") as stream:
                yield file.name, stream.read(LARGEST)
        return
    with tarfile.open(path, "r|gz") as archive:
        for member in archive:
            if member.offset_data + member.size > LARGEST:
                raise ValueError("it holds more than CIFAR-10 does")
            if member.isfile() and PurePosixPath(member.name).name in names:
                yield PurePosixPath(member.name).name, archive.extractfile(member).read()


# %%
pixels = np.arange(4 * 3072, dtype=np.uint8).reshape(4, 3072)
batch, batches = pickle.dumps({"data": pixels, "labels": [3, 1, 4, 1]}), here / "cifar-10-batches-py"
batches.mkdir()
(batches / "few").write_bytes(batch)
with tarfile.open(here / "few.tar.gz", "w:gz") as archive:
    archive.add(batches, "cifar-10-batches-py")
assert [*_contents(batches, ["few", "many"])] == [*_contents(here / "few.tar.gz", ["few"])] == [("few", batch)]


# %%
#| export
def _read_batches(path, part):
    """{"images", "labels"} of CIFAR-10's published files, in their folder or archive."""
    published, found = BATCHES[part], {}
    for name, content in _contents(path, published):
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != published[name]:
            raise UserError(f"{path} holds a {name} that is not the published one: {REMEDY}.")
        with warnings.catch_warnings(action="ignore"):  # of NumPy, for what an old NumPy has pickled
            found[name] = pickle.loads(content, encoding="latin1")
        if len(found) == len(published):
            break
    planes = np.concatenate([found[name]["data"] for name in published]).reshape(-1, 3, 32, 32)
    labels = np.array([*chain.from_iterable(found[name]["labels"] for name in published)])
    return {"images": np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), "labels": labels}


# %% [markdown]
# The four images made up above, in a folder and in an archive:

# %%
BATCHES["few"] = {"few": hashlib.md5(batch).hexdigest()}
for path in (batches, here / "few.tar.gz"):
    made = _read_batches(path, "few")
    assert (
        made["labels"].tolist() == [3, 1, 4, 1]
        and made["images"][1, 0, 5].tolist() == pixels[1, [5, 1029, 2053]].tolist()
    )
(batches / "few").write_bytes(batch[:-1])
refused(_read_batches, batches, "few")
del BATCHES["few"]

# %% [markdown]
# ## MNIST as it is published
# Two files, `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, gzipped or not: a header, then a byte for each pixel
# or label. Fashion-MNIST's have the same names, so here, too, the MD5 (of what is not gzipped) decides.

# %%
#| export
DIGITS = {  # array: its file, bytes of the header, MD5
    "images": ("t10k-images-idx3-ubyte", 16, "2646ac647ad5339dbf082846283269ea"),
    "labels": ("t10k-labels-idx1-ubyte", 8, "27ae3e4e09519cfbb04c329615203637"),
}


def _read_idx(path, part):
    """{"images", "labels"} of MNIST's test digits in a folder."""
    return {name: _idx(path, name, EXPECTED[part][0]) for name in DIGITS}


def _idx(folder, name, shape):
    file, header, md5 = DIGITS[name]
    packed = folder / f"{file}.gz"
    path = packed if packed.exists() else folder / file
    if not path.is_file():  # to open a pipe is to wait for somebody to write
        raise ValueError(f"{path} is no file")
    with gzip.open(path) if path == packed else path.open("rb") as stream:
        content = bytearray(stream.read(2 * int(np.prod(shape))))
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise UserError(f"{path} is not MNIST's file as it is published: {REMEDY}.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape if name == "images" else shape[:1])


# %%
(here / "t10k-images-idx3-ubyte").write_bytes(bytes(7_840_016))
refused(_read_idx, here, "mnist_test.npz")
(here / "t10k-images-idx3-ubyte").unlink()

# %% [markdown]
# ## Looking, and reading
# The same data may lie in a folder in several forms. The packed ones come before the unpacked ones, which may be half
# unpacked. A thing of the right name that is no file counts as found: it is named rather than passed over.

# %%
#| export
_CIFAR = {"cifar-10-python.tar.gz": _read_batches, "cifar-10-batches-py": _read_batches}
FORMS = {  # data file: {where it may be in a folder: how it is read}
    "cifar10_train.npz": {"cifar10_train.npz": _read_npz, **_CIFAR},
    "cifar10_test.npz": {"cifar10_test.npz": _read_npz, **_CIFAR},
    "mnist_test.npz": {"mnist_test.npz": _read_npz, "MNIST/raw": _read_idx},
}


def find_in(folder: Path, part: str) -> Path | None:
    """The first form in which a folder has a data file, or None."""
    for form in FORMS[part]:
        path = Path(folder) / form
        digits = [path / (DIGITS["images"][0] + ending) for ending in (".gz", "")]
        if any(map(os.path.exists, digits if path.name == "raw" else [path])):
            return path
    return None


# %%
assert find_in(here, "cifar10_test.npz") == batches and find_in(here, "mnist_test.npz") is None

# %% [markdown]
# ## Where they are looked for
# First in the folder that the environment variable `VICREG_NB_DATA` names, then in the user's cache; there also in
# `downloads`, where earlier versions kept what they had fetched.


# %%
#| export
def shown(path) -> str:
    """A path in a sentence: in one line, and not of thousands of letters."""
    text = " ".join(str(path).split())
    return text if len(text) <= 300 else text[:297] + "..."


# %%
assert shown("a\nb" * 1000).startswith("a ba b") and len(shown("x" * 1000)) == 300


# %%
#| export
def cache_folder() -> Path | None:
    """Where what is fetched is kept; None where there is no such place."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return Path(given if os.path.isabs(given) else Path.home() / ".cache") / "vicreg_nb"  # as XDG has it
    except RuntimeError:  # no HOME, and a user whom the system does not know
        return None


def data_folders() -> list[Path]:
    """Folders that may hold the data, first come first served."""
    given = os.environ.get("VICREG_NB_DATA")
    if given and not os.path.isdir(given):
        raise UserError(f"VICREG_NB_DATA names {shown(given)}, which is not a folder: correct it or unset it.")
    cache = cache_folder()
    return ([Path(given)] if given else []) + ([cache, cache / "downloads"] if cache else [])


def find_file(name: str) -> Path | None:
    """The first form of a data file in `data_folders()`, or None."""
    return next((path for folder in data_folders() if (path := find_in(folder, name))), None)


# %%
for folder in data_folders():
    print(folder.name, "holds", [path.name for name in FORMS if (path := find_in(folder, name))])


# %%
#| export
def read_data(path: Path, part: str) -> dict:
    """images uint8, labels int64 and lossy bool of a data file in any of its forms; UserError if it is damaged."""
    is_folder = path.name in ("cifar-10-batches-py", "raw")
    if not (os.path.isdir(path) if is_folder else os.path.isfile(path)):
        raise UserError(f"{path} is not the kind of file that its name says: move it away and run again.")
    read = next(read for form, read in FORMS[part].items() if Path(form).name == path.name)
    try:
        found = read(path, part)
        for name, array in found.items():
            _check_type(path, part, array.dtype, array.shape, name)
    except UserError:
        raise
    except PermissionError:
        raise UserError(f"{path} may not be read: change its permissions.") from None
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{path} is damaged or cut short ({type(error).__name__}): {REMEDY}.") from None
    _check_classes(path, found["labels"], EXPECTED[part][1])
    labels = found["labels"].astype(np.int64)
    return found | {"labels": labels, "lossy": found.get("lossy", np.zeros(len(labels), bool))}


# %%
np.savez_compressed(here / "mnist_test.npz", **digits)
assert set(read_data(here / "mnist_test.npz", "mnist_test.npz")) == {"images", "labels", "lossy"}
whole = (here / "mnist_test.npz").read_bytes()
for content in (whole[:3000], b"", b"a text"):
    (here / "mnist_test.npz").write_bytes(content)
    refused(read_data, here / "mnist_test.npz", "mnist_test.npz")
refused(read_data, here / "cifar-10-python.tar.gz", "cifar10_test.npz")
scratch.cleanup()
