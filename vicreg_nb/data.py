# Generated from nbs/00a_data.py by `make export`. Do not edit: edit the notebook.
# cells nbs/00a_data.py 09abd305d47b11cc
# text 29fcd583c62605e3

"""0a · Data."""

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


@dataclass(frozen=True)
class Outliers:
    """Images of something else. images: uint8 [M, 32, 32, 3]; labels: int64 [M]."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    identity: str


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


def _lossy_note(marks) -> str:
    """How many images are not exact, as a sentence; empty where all are. marks: bool, one for each image."""
    told = f"{marks.sum()} of the {len(marks):,} images are JPEG copies, with small errors; all others are exact."
    return told if marks.any() else ""


def _polygon(u, v, sides):
    angle = np.arctan2(v, u)
    sector = 2 * np.pi / sides
    return np.cos((angle + 0.5 * sector) % sector - 0.5 * sector) * np.hypot(u, v) - 0.75


def _star(u, v):
    return np.hypot(u, v) - 0.62 - 0.36 * np.cos(5 * np.arctan2(v, u))


def _cross(u, v):
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - 0.26, v - 0.95), np.maximum(v - 0.26, u - 0.95))


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


Images.from_arrays = partial(images_from_arrays)
Images.from_folder = partial(images_from_folder)


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


def open_dataset(cfg: Config) -> Images:
    """The images of `cfg.dataset`, cut to `train_size` and `test_size`.

    Raises UserError if they cannot be had, or if a setting does not fit them.
    """
    images = _open(cfg.dataset, cfg.train_size, cfg.test_size, tuple(data_folders()))
    counts = np.bincount(images.train_labels, minlength=len(images.classes))
    check_fit(cfg, len(images.train_labels), len(images.test_labels), int(counts.min()))
    return images


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
