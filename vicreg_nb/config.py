# Generated from nbs/00_config.py by `make export`. Do not edit: edit the notebook.
# cells nbs/00_config.py e81a6e247cdceadc
# text 37e13e4505829640

"""0 · Configuration."""

import ast
import ctypes
import dataclasses
import difflib
import math
import os
import platform
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from vicreg_nb.store import Later, UserError, project_root

torch = Later("torch")


def setting(default, allowed, meaning: str):
    """A field of `Config`. allowed: (lowest, highest) of a number, a tuple of words, or None."""
    return dataclasses.field(default=default, metadata={"allowed": allowed, "meaning": meaning})


DATASETS = ("auto", "cifar10", "shapes")


@dataclass(frozen=True)
class _RunSettings:
    profile: str = setting("exercise", ("smoke", "quick", "exercise", "best"), "a set of values under one name")
    dataset: str = setting("auto", None, "auto (CIFAR-10 where it can be had), cifar10, shapes, or a folder of images")
    device: str = setting("auto", None, "auto, cpu, cuda, cuda:1 ...")
    seed: int = setting(0, (0, 2**32 - 1), "of everything random")
    out: str = setting("", None, "folder of results; empty: the project's folder")
    precision: str = setting("auto", ("auto", "fp32", "bf16", "fp16"), "auto: what is fastest here")
    compile: bool = setting(False, None, "torch.compile the network")
    tensorboard: bool = setting(False, None, "write TensorBoard events beside the checkpoints")
    train_size: int = setting(0, (0, 10**7), "training images used; 0: all")
    test_size: int = setting(0, (0, 10**7), "test images used; 0: all")


@dataclass(frozen=True)
class _TrainingSettings:
    encoder: str = setting("resnet18", ("resnet18", "small"), "the network f; small: for a CPU")
    width: int = setting(64, (1, 1024), "channels of the encoder's first stage; ResNet18 has 64")
    view_size: int = setting(32, (16, 256), "side of a view in pixels")
    encoder_dim: int = setting(128, (2, 65_536), "dimension of the representation y")
    projection_dim: int = setting(512, (1, 65_536), "dimension d of the projection z")
    lam: float = setting(25.0, (0, 1e6), "lambda: weight of the invariance term")
    mu: float = setting(25.0, (0, 1e6), "weight of the variance term")
    nu: float = setting(1.0, (0, 1e6), "weight of the covariance term")
    gamma: float = setting(1.0, (0, 1e6), "the standard deviation that the variance term asks for")
    eps: float = setting(1e-4, (1e-12, 1), "added to the variance under the root")
    epochs: int = setting(30, (1, 100_000), "passes over the training images")
    batch_size: int = setting(256, (2, 10**6), "|B|")
    optimizer: str = setting("adam", ("adam", "muon"), "muon: Muon for the encoder's matrices, Adam for the rest")
    lr: float = setting(3e-4, (1e-9, 10), "Adam's learning rate (its peak, for onecycle)")
    muon_lr: float = setting(0.08, (1e-9, 10), "Muon's learning rate (its peak, for onecycle)")
    weight_decay: float = setting(1e-6, (0, 10), "Adam's")
    schedule: str = setting("constant", ("constant", "onecycle"), "of the learning rate")


@dataclass(frozen=True)
class _QuestionSettings:
    neighbour_count: int = setting(3, (1, 1000), "Q5: top neighbours to choose from")
    neighbour_epochs: int = setting(1, (1, 100_000), "Q5: epochs of training with neighbours as views")
    neighbours_as_long: bool = setting(True, None, "Q5: train with neighbours for as long as Q1, too")
    probe_epochs: int = setting(40, (1, 100_000), "passes of SGD over the frozen features")
    probe_lr: float = setting(0.1, (1e-9, 1000), "the probe's learning rate")
    probe_batch: int = setting(256, (1, 10**6), "the probe's batch")
    tsne_size: int = setting(10_000, (20, 10**6), "test images in a t-SNE picture")
    perplexity: float = setting(30.0, (1, 10_000), "t-SNE's")
    per_class: int = setting(3, (1, 10), "Q7: query images of each class")
    neighbours_shown: int = setting(5, (1, 12), "Q7: nearest and most distant images of each query")
    anomaly_k: int = setting(2, (1, 10_000), "k of Eq. 7")
    max_k: int = setting(50, (1, 1000), "the AUC is drawn for k up to this")
    clusters: int = setting(10, (2, 1000), "of k-means")
    kmeans_inits: int = setting(5, (1, 1000), "starts of k-means; the best is kept")
    tsne_train_size: int = setting(10_000, (20, 10**6), "training images in the clustering pictures")


@dataclass(frozen=True)
class _GraphSettings:
    graph_neighbours: int = setting(10, (1, 200), "k of the neighbour graph")
    graph_size: int = setting(10_000, (20, 10**6), "training images in the exercise's own Laplacian Eigenmaps figure")
    components: int = setting(128, (2, 10_000), "eigenvectors kept")
    free_epochs: int = setting(20, (1, 100_000), "passes over the graph with a free vector per image")
    free_batch: int = setting(4096, (2, 10**7), "edges in a step of it")
    free_lr: float = setting(0.1, (1e-9, 100), "Adam's learning rate for free vectors, with cosine decay")
    ladder_epochs: int = setting(10, (1, 100_000), "epochs of each network in the ladder's table")
    exact_size: int = setting(300, (20, 3000), "images in the small graph on which every optimum is known")
    exact_steps: int = setting(4_000, (1, 10**6), "steps towards it, at most, for each rounding of the hinge")


@dataclass(frozen=True)
class Config(_GraphSettings, _QuestionSettings, _TrainingSettings, _RunSettings):
    """All settings of a run. Build it with `make_config`, change it with `.replace(...)`."""

    def replace(self, **changes) -> "Config":
        """A checked copy with other values."""
        return _check(dataclasses.replace(self, **changes))

    @property
    def folder(self) -> Path:
        """Where results go."""
        return Path(self.out).expanduser() if self.out else project_root()

    figures = property(lambda self: self.folder / "figures")
    runs = property(lambda self: self.folder / "runs")
    cache = property(lambda self: self.folder / "runs" / "cache")

    def __str__(self):
        return "\n".join(f"{name:17}{getattr(self, name)}" for name in SETTINGS)


SETTINGS = {field.name: field for field in dataclasses.fields(Config)}


def _smoke():
    """A test of everything: small drawn images, a few steps, a few minutes in all. Its numbers mean nothing."""
    data = dict(dataset="shapes", train_size=384, test_size=160, precision="fp32")
    network = dict(encoder="small", width=8, encoder_dim=32, projection_dim=64)
    training = dict(epochs=2, batch_size=64, lr=1e-3, schedule="onecycle", probe_epochs=10, probe_batch=64)
    graph = dict(graph_neighbours=8, graph_size=300, components=16, free_epochs=6, free_batch=512)
    small = dict(ladder_epochs=1, exact_size=120, exact_steps=300, max_k=20, kmeans_inits=2)
    return data | network | training | graph | small | dict(tsne_size=160, tsne_train_size=200, perplexity=10.0)


def _exercise():
    """The exercise's hyper-parameters exactly, 30 epochs: for a GPU. On two busy AVX512 cores ten epochs (seed 0, bf16)
    took 4 h 34 min, 60.6 views a second, and reached a probe of 66.0 %."""
    return {}


def _best():
    """Our own recipe, for a GPU: Muon and one cycle. It has no whole result yet. In a trial of five epochs on 10,000
    images (seed 0, bf16, a core of an AVX512 machine each) the exercise's network reached a probe of 51.6 % with it,
    in 1.11 times the CPU seconds of Adam (at 1e-3 in the same cycle), which reached 45.3 %."""
    return dict(epochs=200, optimizer="muon", lr=2e-3, schedule="onecycle")


def _quick():
    """CIFAR-10 on a CPU: a small encoder, small batches, Muon, ten epochs. When it was chosen, seed 0 reached 67.3 %,
    in eleven and a half minutes on one core of an AVX512 machine."""
    training = dict(encoder="small", width=32, optimizer="muon", lr=2e-3, schedule="onecycle")
    probe = dict(probe_epochs=30, tsne_train_size=4_000, free_epochs=8, kmeans_inits=3)
    return training | probe | dict(batch_size=128, epochs=10, ladder_epochs=1)


PROFILES = {make.__name__[1:]: make() for make in (_smoke, _quick, _exercise, _best)}


def profile_values(profile: str) -> dict:
    """Every setting's value in a profile, by name."""
    return {name: field.default for name, field in SETTINGS.items()} | {"profile": profile} | PROFILES[profile]


def changed_settings(cfg: Config, own: dict = None) -> dict:
    """The settings that differ from the profile's, other than where, on what and with which seed it ran.

    own: values that count as unchanged in place of the profile's.
    """
    values = profile_values(cfg.profile) | (own or {})
    apart = ("profile", "dataset", "device", "seed", "out")
    return {name: getattr(cfg, name) for name in SETTINGS if name not in apart and getattr(cfg, name) != values[name]}


def short(value):
    """A value as it is shown in a sentence; a number of 400 digits is not shown whole."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a number of about {'-' * (value < 0)}10^{int(abs(value).bit_length() * math.log10(2))}"
    text = " ".join(repr(value).split())  # an array's has several lines
    return text if len(text) <= 60 else text[:57] + "..."


def _check(cfg: Config) -> Config:
    """The same `Config`, or a `UserError` that names the first value out of range."""
    for name, field in SETTINGS.items():
        value = _typed(name, getattr(cfg, name), field.type)
        object.__setattr__(cfg, name, value)
        allowed = field.metadata["allowed"]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if not allowed[0] <= value <= allowed[1]:  # NaN is in no range
                raise UserError(f"{name} is {short(value)}: give {short(allowed[0])} to {short(allowed[1])}.")
        elif allowed and value not in allowed:
            raise UserError(f"{name} is {short(value)}: choose one of {', '.join(allowed)}.")
    if cfg.dataset not in DATASETS and not os.path.isdir(os.path.expanduser(cfg.dataset)):
        known = f"choose one of {', '.join(DATASETS)}, or give a folder of images"
        raise UserError(f"dataset is {short(cfg.dataset)}: {known}.")
    return cfg


def _typed(name, value, kind):
    """`value` as `kind`; whole numbers pass for float, nothing else is converted."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1000:
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{name} is {short(value)} ({type(value).__name__}): give a value of type {kind.__name__}.")
    return value


def make_config(profile: str = "auto", **overrides) -> Config:
    """The checked `Config` of a profile, with `overrides`; an override of None keeps the profile's value.

    Raises UserError for an unknown profile or name, a wrong type, a value out of range, or a device that is not there.
    """
    if profile is None or isinstance(profile, str) and profile == "auto":
        profile = "exercise" if overrides.get("device") != "cpu" and has_gpu() else "quick"
    for name in overrides:
        if name not in SETTINGS:
            raise UserError(f"{short(name)} is not a parameter{_did_you_mean(name)}.")
    given = {name: value for name, value in overrides.items() if value is not None}
    if isinstance(given.get("dataset"), str) and given["dataset"] == "auto":
        del given["dataset"]  # a profile may have its own
    known = isinstance(profile, str) and profile in PROFILES  # an unknown one is told by the check
    cfg = _check(Config(**(profile_values(profile) if known else {"profile": profile}) | given))
    checked_folder(cfg.out)
    if not cfg.out and profile == "smoke":
        cfg = cfg.replace(out=str(project_root() / "runs" / "smoke"))
    if cfg.device not in ("auto", "cpu"):  # these are always there
        choose_device(cfg)
    return cfg


def checked_folder(out: str) -> Path:
    """The folder that `out` names; UserError where it cannot be one, or takes no files. Nothing is made yet."""
    try:
        if "\0" in out:
            raise ValueError("a path holds no NUL")
        folder = Config(out=out).folder
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file")
        with tempfile.TemporaryFile(dir=there):  # some folders, as those in /proc, say that they take files, and do not
            return folder
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: no such user's home
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"out is {short(out)}: {reason}; give a folder that can be written to.") from None


def _did_you_mean(name):
    close = difflib.get_close_matches(str(name), SETTINGS, n=1)
    return f": did you mean {close[0]!r}" if close else f": choose among {', '.join(SETTINGS)}"


def has_gpu() -> bool:
    """Whether PyTorch sees a GPU. It is not asked, for it is slow to import, where there is no driver of one."""
    if "torch" not in sys.modules and sys.platform == "linux" and not Path("/dev/kfd").exists():
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return False
    return torch.cuda.is_available()


def choose_device(cfg: Config) -> "torch.device":
    """The torch device of a `Config`; UserError where it is not there."""
    name = cfg.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, ValueError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device is {short(name)}: choose auto, cpu or cuda.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device is {name!r}, but PyTorch sees no such GPU here: use device cpu or auto.")
    return device


_AT_MOST = (  # setting, largest value as (counts of training, test, smallest class's images, cfg), what that is
    ("batch_size", lambda n, m, few, cfg: n, "the training images"),
    ("neighbour_count", lambda n, m, few, cfg: n - 1, "the other training images"),
    (
        "graph_neighbours",
        lambda n, m, few, cfg: min(n, cfg.graph_size, cfg.exact_size) - 1,
        "the other images of a graph",
    ),
    ("components", lambda n, m, few, cfg: min(n, cfg.graph_size) - 2, "two less than the images of the smaller graph"),
    ("neighbours_shown", lambda n, m, few, cfg: n - 1, "the other training images"),
    ("anomaly_k", lambda n, m, few, cfg: few, "the training images of the smallest class"),
    ("max_k", lambda n, m, few, cfg: n, "the training images"),
    ("clusters", lambda n, m, few, cfg: n - 1, "one less than the training images"),
    ("per_class", lambda n, m, few, cfg: few, "the training images of the smallest class"),
    ("perplexity", lambda n, m, few, cfg: min(m, n, cfg.tsne_size, cfg.tsne_train_size) - 1, "the points of a t-SNE"),
)


def check_fit(cfg: Config, train: int, test: int, smallest: int = None, names: tuple = ()):
    """UserError for the first setting that is too large beside others, or for `train` and `test` images.

    smallest: training images of the smallest class; None: a tenth of all. names: the settings asked; none: all.
    """
    few = train // 10 if smallest is None else smallest
    for name, largest, what in (row for row in _AT_MOST if row[0] in names or not names):
        value, most = getattr(cfg, name), largest(train, test, few, cfg)
        if value > most:
            raise UserError(f"{name} is {value:g}, more than {most:,} ({what}): lower it.")


def notebook_config(namespace: dict) -> Config:
    """The `Config` of the parameters cells run in a notebook; `namespace` is its `globals()`."""
    sources = [source for source in namespace.get("In", []) if source.lstrip().startswith("# Parameters")]
    names = {name for source in sources for name in _assigned(source) if not name.startswith("PAPERMILL_")}
    if not sources:  # a plain script: no history of cells to read
        names = set(SETTINGS) & set(namespace)
    return make_config(**{name: namespace[name] for name in sorted(names) if name in namespace})


def _assigned(source):
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


def device_name(cfg: Config) -> str:
    """The device in words: a GPU's name, or the number of CPU threads and the processor."""
    device = choose_device(cfg)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads != 1)}, {platform.machine()} {capability}"
