# Generated from nbs/00a_data.py by `make export`. Do not edit: edit the notebook.
# cells nbs/00a_data.py aea9c2add3b0b911
# text 2535d53ab1adfd1b

"""0a · Data."""

import os
import socket
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
import torchvision
from sklearn.datasets import load_digits
from vicreg_nb.config import Config, check_fit
from vicreg_nb.store import DAMAGED, UserError, atomic, digest, log, read_arrays


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


def data_folders() -> list[Path]:
    """Folders that may hold the cache files, first come first served."""
    given = os.environ.get("VICREG_NB_DATA")
    if given and not Path(given).is_dir():
        raise UserError(f"VICREG_NB_DATA names {given}, which is not a folder: correct it or unset it.")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vicreg_nb"
    return ([Path(given)] if given else []) + [cache]


def find_file(name: str) -> Path | None:
    """The first `name` in `data_folders()`, or None."""
    return next((folder / name for folder in data_folders() if (folder / name).is_file()), None)


EXPECTED = {  # file: shape of images, images of each class (None: at least one)
    "cifar10_train.npz": ((50_000, 32, 32, 3), 5_000),
    "cifar10_test.npz": ((10_000, 32, 32, 3), 1_000),
    "mnist_test.npz": ((10_000, 28, 28), None),
}
REMEDY = "delete it and run again to have it fetched afresh"


def _check_classes(path, labels, per_class):
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{path} holds labels that are not whole numbers from 0 to 9: {REMEDY}.")
    counts = np.bincount(labels, minlength=10)
    wrong = np.flatnonzero(counts != per_class if per_class else counts == 0)
    if len(wrong):
        wanted = per_class or "at least one"
        raise UserError(f"{path} holds {counts[wrong[0]]} images of class {wrong[0]} instead of {wanted}: {REMEDY}.")


def read_cache_file(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8, labels int64) of a cache file; UserError with one sentence if it is damaged."""
    try:
        arrays = read_arrays(path)
        images, labels = arrays["images"], arrays["labels"]
    except (*DAMAGED, KeyError) as error:
        raise UserError(f"{path} is damaged or cut short ({type(error).__name__}): {REMEDY}.") from None
    shape, per_class = EXPECTED[path.name]
    if images.dtype != np.uint8:
        raise UserError(f"{path} holds images of type {images.dtype} instead of uint8: {REMEDY}.")
    if images.shape != shape or labels.shape != shape[:1]:
        raise UserError(
            f"{path} holds images {images.shape} and labels {labels.shape}, not {shape} and {shape[:1]}: {REMEDY}."
        )
    _check_classes(path, labels, per_class)
    return images, labels.astype(np.int64)


def fetch(file_name: str) -> Path:
    """Download a data set with torchvision, decode it into the user's cache, and return the file.

    Raises UserError with the remedies when it cannot be downloaded.
    """
    folder = data_folders()[-1]
    source = torchvision.datasets.MNIST if file_name.startswith("mnist") else torchvision.datasets.CIFAR10
    waited = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        log(f"fetching {source.__name__} into {folder}")
        data = source(folder / "downloads", train="train" in file_name, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{file_name} is in none of {', '.join(map(str, data_folders()))} and cannot be downloaded "
            f"({type(error).__name__}): put the file there, set VICREG_NB_DATA to its folder, or use dataset shapes."
        ) from None
    finally:
        socket.setdefaulttimeout(waited)
    return atomic(folder / file_name, lambda path: _decode(data, path))


def _decode(data, path):
    np.savez_compressed(path, images=np.asarray(data.data, np.uint8), labels=np.asarray(data.targets, np.uint8))


def obtain(file_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a data file, found or fetched."""
    return read_cache_file(find_file(file_name) or fetch(file_name))


def _lossy_note() -> str:
    """How many images of the CIFAR-10 found here are not exact, as a sentence; empty where all are."""
    marks = np.concatenate([_lossy(find_file(name)) for name in ("cifar10_train.npz", "cifar10_test.npz")])
    told = f"{marks.sum()} of the {len(marks):,} images are JPEG copies of the right image; all others are exact."
    return told if marks.any() else ""


def _lossy(path):
    with np.load(path, allow_pickle=False) as file:
        return file["lossy"] if "lossy" in file.files else np.zeros(0, bool)


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


def _images(name, parts, classes, sizes, note=""):
    train_images, train_labels, test_images, test_labels = parts
    train, test = _cut("train_size", sizes[0], train_labels), _cut("test_size", sizes[1], test_labels)
    parts = (train_images[train], train_labels[train], test_images[test], test_labels[test])
    return Images(name, *parts, classes, digest(*parts), note)


def _cut(name, size, labels):
    if size > len(labels):
        raise UserError(
            f"{name} is {size}, more than the {len(labels)} images that there are: lower it, or give 0 for all."
        )
    chosen = slice(0, size or None)
    if len(np.unique(labels[chosen])) < 10:
        raise UserError(f"{name} is {size}, too few to hold all ten classes: raise it, or give 0 for all.")
    return chosen


@lru_cache(maxsize=1)
def _open(name, train_size, test_size, folders):
    if name in ("auto", "cifar10"):
        try:
            parts = obtain("cifar10_train.npz") + obtain("cifar10_test.npz")
            return _images("cifar10", parts, CIFAR10_CLASSES, (train_size, test_size), _lossy_note())
        except UserError as error:
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
    check_fit(cfg, len(images.train_labels), len(images.test_labels))
    return images


def open_outliers(images: Images) -> Outliers:
    """The anomalies of Sec. 4.2 for a data set: MNIST for CIFAR-10; as many as there are test images at most."""
    if images.name == "cifar10":
        name, (pictures, labels) = "MNIST", obtain("mnist_test.npz")
        pictures = np.pad(pictures, ((0, 0), (2, 2), (2, 2)))
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
