# %% [markdown]
# # 0a · Data
# What do we train on? CIFAR-10: 60,000 colour images of 32 x 32 pixels in ten classes. MNIST's test digits are
# the anomalies of Sec. 4.2. Both are fetched once, and checked each time they are read. A machine with neither
# network nor data gets ten classes of drawn shapes, and is told so loudly.

# %%
#| default_exp data

# %%
#| export
import re
import socket
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from http.client import HTTPException
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torchvision.datasets import CIFAR10, MNIST, ImageFolder
from torchvision.datasets.folder import default_loader
from torchvision.datasets.utils import download_url
from torchvision.transforms import functional as TF
from vicreg_nb.config import DATASETS, Config, check_fit
from vicreg_nb.files import FORMS, cache_folder, data_folders, find_file, read_data, shown
from vicreg_nb.store import UserError, atomic, digest, log, progress, regular, remove_leftovers

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
train_size: int = None  # training images; 0: all; None: the profile's value
test_size: int = None  # test images; 0: all; None: the profile's value

# %%
import tempfile

from vicreg_nb.config import notebook_config
from vicreg_nb.plots import image_grid

cfg = notebook_config(globals())

# %% [markdown]
# ## What a data set is
# Images stay bytes (`uint8`) until the moment they are used: 150 MB for all of CIFAR-10, which fits on any device.

# %%
#| export
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN = torch.tensor((0.4914, 0.4822, 0.4465))  # of CIFAR-10's training pixels, red green blue, in 0..1
STD = torch.tensor((0.247, 0.243, 0.261))


@dataclass(frozen=True)
class Images:
    """A labelled data set. images: uint8 [N, 32, 32, 3], RGB; labels: int64 [N], indices into `classes`."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple
    identity: str  # digest of all images and labels
    note: str = ""  # what a reader of its results should know


# %%
#| export
@dataclass(frozen=True)
class Outliers:
    """Images of something else. images: uint8 [M, 32, 32, 3]; labels: int64 [M]."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    identity: str


# %%
print(CIFAR10_CLASSES, MEAN.tolist(), STD.tolist())

# %% [markdown]
# ## Fetching
# `torchvision` downloads the published archives and compares their MD5. What a broken connection leaves is deleted, so
# that the next run begins anew. Whatever goes wrong on the way is one sentence.

# %%
#| export
ARCHIVES = {  # data set: [(file in the cache, addresses, MD5)]
    "cifar10": [(CIFAR10.filename, [CIFAR10.url], CIFAR10.tgz_md5)],
    "mnist": [
        (f"MNIST/raw/{name}", [mirror + name for mirror in MNIST.mirrors], md5)
        for name, md5 in MNIST.resources
        if name.startswith("t10k")
    ],
}


class Absent(UserError):
    """Data that are nowhere here, and cannot be fetched."""


# %%
#| export
def fetch(name: str) -> Path:
    """Download the archives that hold a data file into the user's cache; returns where it is found then.

    Raises Absent with the remedies when they cannot be downloaded.
    """
    folder, waited = cache_folder(), socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        if folder is None:
            raise FileNotFoundError("there is no HOME to keep it in")
        for file, addresses, md5 in ARCHIVES[name.split("_")[0]]:
            remove_leftovers((folder / file).parent)
            log(f"fetching {file} into {folder}")
            _download(folder / file, addresses, md5)
    except _BROKEN as error:
        looked = f"{' or '.join(FORMS[name])} is in none of {', '.join(map(shown, data_folders()))}"
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        remedies = "put it there, set VICREG_NB_DATA to its folder, or use dataset shapes"
        raise Absent(f"{looked} and cannot be downloaded ({why}): {remedies}.") from None
    finally:
        socket.setdefaulttimeout(waited)
    return find_file(name)


# %%
#| export
_BROKEN = (OSError, RuntimeError, ValueError, EOFError, HTTPException)  # what a connection may end in


def _download(path, addresses, md5):
    """A file from the first of its addresses that gives it whole; one of `_BROKEN` if none does."""
    for address in addresses:
        try:
            return atomic(path, lambda place, address=address: download_url(address, place.parent, place.name, md5))
        except _BROKEN:
            if address == addresses[-1]:
                raise


def obtain(name: str) -> dict:
    """images, labels, lossy of a data file, found or fetched. UserError if it is damaged, Absent if it is nowhere."""
    return read_data(find_file(name) or fetch(name), name)


# %%
with tempfile.TemporaryDirectory() as folder:
    try:
        _download(Path(folder) / "copy", [(Path(folder) / "not there").as_uri()], "an MD5")
    except _BROKEN as error:
        print(error)
    assert not (Path(folder) / "copy").exists()

# %% [markdown]
# A copy of CIFAR-10 may say of some images that they are not exact, in an array `lossy` beside the others (the
# published archives have none). Nothing is computed differently, but the results say so.


# %%
#| export
def _lossy_note(marks) -> str:
    """How many images are not exact, as a sentence; empty where all are. marks: bool, one for each image."""
    told = f"{marks.sum()} of the {len(marks):,} images are JPEG copies, with small errors; all others are exact."
    return told if marks.any() else ""


# %%
assert "1 of the 3 images" in _lossy_note(np.array([True, False, False])) and not _lossy_note(np.zeros(3, bool))

# %% [markdown]
# ## The embedded data set: shapes
# Ten outlines, drawn at a random place, size and turn, in two random colours over a gradient with noise. Colour says
# nothing about the class. In each formula, `u` and `v` are the coordinates of a pixel as the shape sees them, and the
# value is negative inside.


# %%
#| export
def _polygon(u, v, sides):
    angle = np.arctan2(v, u)
    sector = 2 * np.pi / sides
    return np.cos((angle + 0.5 * sector) % sector - 0.5 * sector) * np.hypot(u, v) - 0.75


def _star(u, v):
    return np.hypot(u, v) - 0.62 - 0.36 * np.cos(5 * np.arctan2(v, u))


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - 0.26, v - 0.95), np.maximum(v - 0.26, u - 0.95))


# %%
axis = np.linspace(-1, 1, 200)
inside = _polygon(axis[None], axis[:, None], 4) < 0  # a square of side 1.5
assert abs(inside.mean() * 4 - 1.5**2) < 0.05

# %%
#| export
SHAPES = {
    "disc": lambda u, v: np.hypot(u, v) - 0.85,
    "ring": lambda u, v: np.abs(np.hypot(u, v) - 0.7) - 0.2,
    "triangle": lambda u, v: _polygon(u, v, 3) + 0.25,
    "square": lambda u, v: _polygon(u, v, 4),
    "star": _star,
    "cross": _cross,
    "bar": lambda u, v: np.maximum(np.abs(u) - 0.24, np.abs(v) - 1.0),
    "crescent": lambda u, v: np.maximum(np.hypot(u, v) - 0.9, 0.72 - np.hypot(u - 0.45, v)),
    "two discs": lambda u, v: np.minimum(np.hypot(u - 0.52, v), np.hypot(u + 0.52, v)) - 0.42,
    "stripes": lambda u, v: np.maximum(np.hypot(u, v) - 1.0, 0.45 * np.cos(3 * np.pi * u)),
}


# %%
#| export
def draw_shapes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` drawn images (uint8 [count, 32, 32, 3]) and their labels, the classes in turn."""
    random = np.random.default_rng([seed, count])
    labels = np.arange(count, dtype=np.int64) % len(SHAPES)
    u, v = _shape_coordinates(random, count)
    inside = np.empty((count, 32, 32), np.float32)
    for label, formula in enumerate(SHAPES.values()):
        mine = labels == label
        inside[mine] = np.clip(0.5 - 6 * formula(u[mine], v[mine]), 0, 1)
    ink, paper = _two_colours(random, count)
    picture = inside[..., None] * ink + (1 - inside[..., None]) * paper
    picture += random.normal(0, 0.04, picture.shape)
    return (255 * np.clip(picture, 0, 1)).astype(np.uint8), labels


# %%
#| export
def _shape_coordinates(random, count):
    def each(low, high):
        return random.uniform(low, high, (count, 1, 1))

    axis = np.linspace(-1, 1, 32)
    x, y = axis[None, None, :] - each(-0.3, 0.3), axis[None, :, None] - each(-0.3, 0.3)
    turn, size = each(0, 2 * np.pi), each(0.45, 0.8)
    return (x * np.cos(turn) + y * np.sin(turn)) / size, (y * np.cos(turn) - x * np.sin(turn)) / size


def _two_colours(random, count):
    ink, paper, other = random.uniform(0, 1, (3, count, 1, 1, 3))
    ink = np.where(np.abs(ink - paper).sum(-1, keepdims=True) < 0.8, 1 - paper, ink)
    slope = np.linspace(0, 0.35, 32)[None, :, None, None]
    return ink, (1 - slope) * paper + slope * other


# %% [markdown]
# Two of each class:

# %%
pictures, kinds = draw_shapes(20, seed=1)
names = [list(SHAPES)[kind] for kind in kinds]
image_grid([list(pictures[:10]), list(pictures[10:])], captions=[names[:10], names[10:]])

# %% [markdown]
# ## Images of your own
# They come as arrays, or as a folder of pictures. From there on they are treated like CIFAR-10's, and a training on
# them is told from all others by a digest of their bytes. CIFAR-100, for example, is four lines:
#
# ```python
# parts = [torchvision.datasets.CIFAR100("data", train=train, download=True) for train in (True, False)]
# arrays = [array for part in parts for array in (part.data, part.targets)]
# images = Images.from_arrays(*arrays, classes=parts[0].classes, name="cifar100")
# run = train(make_config("quick"), images)  # of vicreg_nb.config and vicreg_nb.training
# ```
#
# What does not fit is told before any work.


# %%
#| export
def _checked_part(part, images, labels, classes):
    """Images and labels of one part; UserError for the first thing that is wrong with them."""
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
        wanted = "give bytes (uint8) of the shape [N, 32, 32, 3], red green blue from 0 to 255"
        raise UserError(f"{part}_images are {images.dtype} of the shape {list(images.shape)}: {wanted}.")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        wanted = f"give a whole number for each of the {len(images)} images"
        raise UserError(f"{part}_labels are {labels.dtype} of the shape {list(labels.shape)}: {wanted}.")
    if len(strange := np.setdiff1d(labels, np.arange(len(classes)))):
        raise UserError(f"{part}_labels hold {strange[0]}: give numbers from 0 to {len(classes) - 1}, one a class.")
    if len(absent := np.setdiff1d(np.arange(len(classes)), labels)):
        raise UserError(f"class {classes[absent[0]]!r} has no {part} image: add some, or leave the class out.")
    _differ(part, images)
    return images, labels.astype(np.int64)


def _differ(part, images):
    """UserError where all images of one part are the same one."""
    if all(np.array_equal(image, images[0]) for image in images):
        raise UserError(f"all {len(images)} {part} images are the same one: give images that differ.")


# %%
pictures, kinds = draw_shapes(30, seed=0)
wrongs = (pictures / 255, kinds), (pictures[..., 0], kinds), (pictures, kinds[1:]), (pictures, kinds - 1)
for wrong in (*wrongs, (pictures[:9], kinds[:9]), (0 * pictures, kinds)):
    try:
        _checked_part("train", *wrong, tuple(SHAPES))
    except UserError as error:
        print(error)
    else:
        raise AssertionError(wrong)


# %%
#| export
def images_from_arrays(train_images, train_labels, test_images, test_labels, classes=(), name: str = "own") -> Images:
    """`Images` of your own arrays; also `Images.from_arrays`.

    images: uint8 [N, 32, 32, 3], red green blue, 0 to 255. labels: whole numbers [N] from 0, each class in both parts.
    classes: a name for each label; without them, the numbers. UserError for the first thing that does not fit.
    """
    if not len(classes):
        classes = range(int(np.max(train_labels, initial=0)) + 1)
    classes = tuple(map(str, classes))
    parts = _checked_part("train", train_images, train_labels, classes)
    parts += _checked_part("test", test_images, test_labels, classes)
    name = re.sub(r"[^\w.-]+", "-", name) or "own"  # it will be a part of folders' names
    return Images(f"own-{name}" if name in DATASETS else name, *parts, classes, digest(*parts))


# %%
mine = images_from_arrays(pictures, kinds, *draw_shapes(10, seed=1), name="cifar10")
assert mine.name == "own-cifar10" and mine.classes == tuple("0123456789")
assert mine.identity == digest(pictures, kinds, *draw_shapes(10, seed=1))

# %% [markdown]
# Pictures of any size and shape are made small: the shorter side becomes 32 pixels, and the middle square is kept.
# `torchvision` lists a folder class by class; they are shuffled, always in the same way, so that any first thousand of
# them holds all classes.


# %%
#| export
def _small_picture(path):
    try:
        return np.asarray(TF.center_crop(TF.resize(default_loader(regular(path)), 32), 32))
    except Exception as error:  # a damaged file may raise anything
        raise UserError(f"{path} is no image that can be read ({type(error).__name__}): repair or remove it.") from None


def _read_folder(folder):
    """(images, labels, classes) of a folder that holds a folder of pictures for each class."""
    try:
        found = ImageFolder(folder)
    except OSError as error:
        reason = str(error).split("\n")[0].rstrip(".")
        raise UserError(f"{reason} in {folder}: give a folder with a folder of pictures for each class.") from None
    images = np.stack([_small_picture(path) for path, _ in progress(found.samples, "reading pictures")])
    order = np.random.default_rng(0).permutation(len(images))
    return images[order], np.array(found.targets)[order], found.classes


# %%
place = tempfile.TemporaryDirectory()
album = Path(place.name) / "album"
for number, (picture, kind) in enumerate(zip(*draw_shapes(50, seed=0))):
    (album / list(SHAPES)[kind]).mkdir(parents=True, exist_ok=True)
    TF.to_pil_image(picture).resize((64, 48)).save(album / list(SHAPES)[kind] / f"{number}.png")
small, kinds, names = _read_folder(album)
assert small.shape == (50, 32, 32, 3) and names == sorted(SHAPES) and not (np.diff(kinds) >= 0).all()
image_grid([list(small[:10])], captions=[[names[kind] for kind in kinds[:10]]])


# %%
#| export
def images_from_folder(path: str | Path) -> Images:
    """`Images` of the pictures in path/train/<class>/ and path/test/<class>/ (or val); also `Images.from_folder`.

    Without these, of path/<class>/, a fifth of each class for testing. UserError for what cannot be read as such.
    """
    path = Path(path).expanduser()
    parts = [path / "train", path / ("val" if (path / "val").is_dir() else "test")]
    if len({part.is_dir() for part in parts}) > 1:
        raise UserError(f"{path} has one of the folders train and test (or val): give both, or neither.")
    if parts[0].is_dir():
        (images, labels, classes), (test_images, test_labels, others) = map(_read_folder, parts)
        if others != classes:
            raise UserError(f"{parts[0]} has the classes {', '.join(classes)}, {parts[1].name} {', '.join(others)}.")
        return images_from_arrays(images, labels, test_images, test_labels, classes, path.resolve().name)
    images, labels, classes = _read_folder(path)
    of_class = [np.flatnonzero(labels == label) for label in range(len(classes))]
    is_test = np.isin(np.arange(len(labels)), np.concatenate([places[::5] for places in of_class]))
    halves = images[~is_test], labels[~is_test], images[is_test], labels[is_test]
    note = "A fifth of the images of each class are the test images."
    return replace(images_from_arrays(*halves, classes, path.resolve().name), note=note)


# %%
drawn = images_from_folder(album)
assert drawn.name == "album" and (np.bincount(drawn.train_labels) == 4).all() and len(drawn.test_labels) == 10
(album / "train").mkdir()
try:
    images_from_folder(album)
except UserError as error:
    print(str(error).replace(place.name, "..."))
place.cleanup()

# %% [markdown]
# Both are at hand in `Images`. They are put there from outside, and as plain objects: the code of `Images` is a part of
# what all kept features rest on, and how other images are read shall not have them computed again.

# %%
#| export
Images.from_arrays = partial(images_from_arrays)
Images.from_folder = partial(images_from_folder)

# %%
assert Images.from_arrays(*draw_shapes(10, seed=0), *draw_shapes(10, seed=1)).name == "own"

# %% [markdown]
# ## Opening
# `auto` means CIFAR-10 where it is found or can be fetched; a folder's name means the pictures in it. Nothing is
# replaced silently: a damaged file stops `auto`, too. What was opened last stays in memory, so that every chapter may
# ask for it.


# %%
#| export
def _images(name, parts, classes, sizes, note=""):
    train_images, train_labels, test_images, test_labels = parts
    _differ("train", train_images), _differ("test", test_images)
    train, test = _cut("train_size", sizes[0], train_labels), _cut("test_size", sizes[1], test_labels)
    parts = (train_images[train], train_labels[train], test_images[test], test_labels[test])
    return Images(name, *parts, classes, digest(*parts), note)


def _cut(name, size, labels):
    if size > len(labels):
        raise UserError(
            f"{name} is {size}, more than the {len(labels)} images that there are: lower it, or give 0 for all."
        )
    chosen = slice(0, size or None)
    if len(np.unique(labels[chosen])) < len(np.unique(labels)):
        raise UserError(f"{name} is {size}, too few to hold all classes: raise it, or give 0 for all.")
    return chosen


# %%
few = _images("shapes", draw_shapes(5_000, seed=0) + draw_shapes(1_000, seed=1), tuple(SHAPES), (1_000, 100))
assert (len(few.train_images), len(few.test_labels)) == (1_000, 100)
for size in (9, 5_001):
    try:
        _cut("train_size", size, np.arange(5_000) % 10)
    except UserError as error:
        print(error)
    else:
        raise AssertionError(size)


# %%
#| export
@lru_cache(maxsize=1)
def _open(name, train_size, test_size, folders):
    if name not in DATASETS:
        own = Images.from_folder(name)
        parts = own.train_images, own.train_labels, own.test_images, own.test_labels
        return _images(own.name, parts, own.classes, (train_size, test_size), own.note)
    if name in ("auto", "cifar10"):
        try:
            found = obtain("cifar10_train.npz"), obtain("cifar10_test.npz")
            parts = [data[array] for data in found for array in ("images", "labels")]
            note = _lossy_note(np.concatenate([data["lossy"] for data in found]))
            return _images("cifar10", parts, CIFAR10_CLASSES, (train_size, test_size), note)
        except Absent as error:
            if name == "cifar10":
                raise
            log(
                f"{LINE}\nNo CIFAR-10 here: {error}\nGoing on with the embedded data set `shapes`. "
                f"Its numbers are NOT results on CIFAR-10.\n{LINE}"
            )
    return _images(
        "shapes", draw_shapes(5_000, seed=0) + draw_shapes(1_000, seed=1), tuple(SHAPES), (train_size, test_size)
    )


LINE = "!" * 78

# %%
assert _open("shapes", 1_000, 100, ()).identity == few.identity


# %%
#| export
def open_dataset(cfg: Config) -> Images:
    """The images of `cfg.dataset`, cut to `train_size` and `test_size`.

    Raises UserError if they cannot be had, or if a setting does not fit them.
    """
    images = _open(cfg.dataset, cfg.train_size, cfg.test_size, tuple(data_folders()))
    counts = np.bincount(images.train_labels, minlength=len(images.classes))
    check_fit(cfg, len(images.train_labels), len(images.test_labels), int(counts.min()))
    return images


# %%
images = open_dataset(cfg)
print(f"{images.name}: {len(images.train_images):,} training and {len(images.test_images):,} test images")
print(f"identity {images.identity}. {images.note}")
assert open_dataset(cfg) is images

# %% [markdown]
# ## The anomalies
# MNIST's digits are grey, 28 x 28. They get a border of two black pixels (32 x 32, no resampling, so that the strokes
# stay as they are) and the same value in all three channels; from there on they are treated exactly like CIFAR-10's
# images, normalisation included. Scikit-learn's bundled digits, 8 x 8, enlarged, stand in their place on a machine with
# nothing.


# %%
#| export
def open_outliers(images: Images) -> Outliers:
    """The anomalies of Sec. 4.2 for a data set: MNIST for CIFAR-10; as many as there are test images at most."""
    if images.name == "cifar10":
        name, found = "MNIST", obtain("mnist_test.npz")
        pictures, labels = np.pad(found["images"], ((0, 0), (2, 2), (2, 2))), found["labels"]
    else:
        digits = load_digits()
        name, labels = "digits", digits.target.astype(np.int64)
        pictures = np.kron(digits.images * (255 / 16), np.ones((1, 4, 4))).astype(np.uint8)
    count = len(images.test_labels)
    pictures, labels = np.repeat(pictures[:count, ..., None], 3, axis=3), labels[:count]
    return Outliers(name, pictures, labels, digest(pictures, labels))


# %%
digits = open_outliers(images)
assert len(digits.images) <= len(images.test_images) and (digits.images[..., 0] == digits.images[..., 2]).all()

# %% [markdown]
# ## From bytes to what a network sees


# %%
#| export
def to_float(images, device="cpu") -> torch.Tensor:
    """uint8 [B, 32, 32, 3] (array or tensor) to float32 [B, 3, 32, 32] in 0..1 on `device`."""
    return torch.as_tensor(images).to(device).permute(0, 3, 1, 2).float().div_(255)


@cache
def pixel_statistics(device) -> tuple[torch.Tensor, torch.Tensor]:
    """MEAN and STD, [3, 1, 1] on `device`: copied once, for a copy to a GPU would wait for the work queued there."""
    return MEAN.view(3, 1, 1).to(device), STD.view(3, 1, 1).to(device)


def normalise(x: torch.Tensor) -> torch.Tensor:
    """[B, 3, H, W] in 0..1 to zero mean and unit variance over CIFAR-10, channel by channel."""
    mean, std = pixel_statistics(x.device)
    return (x - mean) / std


def send(x: torch.Tensor, device) -> torch.Tensor:
    """`x` on `device`. To a GPU it goes from pinned memory: a copy that the program does not wait for."""
    return x.pin_memory().to(device, non_blocking=True) if torch.device(device).type == "cuda" else x.to(device)


# %% [markdown]
# `torchvision`'s own operations give the same:

# %%
sample = draw_shapes(4, seed=2)[0]
expected = torch.stack([TF.normalize(TF.to_tensor(image), MEAN.tolist(), STD.tolist()) for image in sample])
torch.testing.assert_close(normalise(to_float(sample)), expected)

# %% [markdown]
# ## A look at it
# Ten images of each class, in the colours that the classes wear all through the book.


# %%
def class_examples(images: Images, count: int) -> np.ndarray:
    """The first `count` training images of each class, uint8 [10, count, 32, 32, 3]."""
    rows = [np.flatnonzero(images.train_labels == label)[:count] for label in range(len(images.classes))]
    count = min(map(len, rows))
    return np.stack([images.train_images[row[:count]] for row in rows])


# %%
examples = class_examples(images, 10)
image_grid([list(row) for row in examples], labels=images.classes, width=5.2)

# %% [markdown]
# Each class must be there as often as any other in the whole data set, and the training pixels of CIFAR-10 must have
# the mean that the exercise's normalisation assumes.

# %%
counts = np.bincount(images.train_labels, minlength=len(images.classes))
print(dict(zip(images.classes, counts.tolist(), strict=True)))
if images.name == "cifar10" and not cfg.train_size:
    assert (counts == 5_000).all()
    mean = images.train_images.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    np.testing.assert_allclose(mean, MEAN.numpy(), atol=1e-3)

# %%
outliers = open_outliers(images)
image_grid([list(outliers.images[:10])], captions=[list(map(str, outliers.labels[:10]))])

# %% [markdown]
# ## What can be measured in an image without a network
# Some chapters ask what a representation attends to. They need properties of the images themselves to compare it with:
# colour, brightness, contrast, texture and layout, each a vector of a few numbers an image.

# %%
#| export
ATTRIBUTES = {
    "colour": "mean colour without brightness",
    "background": "mean colour of the upper and lower edge",
    "brightness": "mean brightness",
    "contrast": "standard deviation of the brightness",
    "fine texture": "mean step between neighbouring pixels",
    "layout": "where it is light and where dark, on a grid of 8 x 8",
}


def image_attributes(images: np.ndarray, block: int = 5_000) -> dict:
    """{attribute: float32 [N, m]} of images uint8 [N, 32, 32, 3]."""
    parts = [_attributes(images[start : start + block]) for start in range(0, len(images), block)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# %%
#| export
def _attributes(images):
    x = images.astype(np.float32) / 255
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R BT.601
    brightness = grey.mean(axis=(1, 2))[:, None]
    coarse = grey.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(-1, 64) - brightness
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    return {
        "colour": x.mean(axis=(1, 2)) - brightness,
        "background": np.concatenate((x[:, :4], x[:, -4:]), axis=1).mean(axis=(1, 2)),
        "brightness": brightness,
        "contrast": grey.std(axis=(1, 2))[:, None],
        "fine texture": steps[:, None] / 2,
        "layout": coarse / (np.linalg.norm(coarse, axis=1, keepdims=True) + 1e-6),
    }


# %%
grey = np.full((1, 32, 32, 3), 102, np.uint8)
found = image_attributes(np.concatenate((grey, images.test_images[:9])))
assert list(found) == list(ATTRIBUTES) and all(len(values) == 10 for values in found.values())
assert abs(found["brightness"][0, 0] - 0.4) < 1e-6 and found["contrast"][0, 0] < 1e-6
