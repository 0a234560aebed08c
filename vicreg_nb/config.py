# Generated from nbs/00_config.py by `make export`. Do not edit: edit the notebook.
# cells nbs/00_config.py ec94c708190a3d1a
# text 5c3dbc60f0f33d60

"""0 · Configuration."""

import ast
import dataclasses
import difflib
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
import typing
import zipfile
import zlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from tqdm import tqdm


class UserError(ValueError):
    """A mistake in the input, told in one sentence that names the value and the remedy."""


@dataclass(frozen=True)
class Config:
    """All settings of a run. Build it with `make_config`, change it with `.replace(...)`."""

    profile: str  # smoke, quick, exercise or best
    dataset: str  # cifar10 or shapes; auto until `open_dataset` has looked
    device: str  # auto, cpu, cuda, cuda:1 ...
    seed: int  # of everything random
    out: str  # folder of results; empty: the project's folder
    precision: str  # auto, fp32 or bf16; auto measures which is faster here
    compile: bool  # torch.compile the network (and CUDA graphs on a GPU)
    tensorboard: bool  # write TensorBoard events beside the checkpoints
    train_size: int  # training images used; 0: all
    test_size: int  # test images used; 0: all
    width: int  # channels of the encoder's first stage; ResNet18 has 64
    stem_stride: int  # stride of the encoder's first convolution; the exercise's is 1
    view_size: int  # side of a view in pixels
    encoder_dim: int  # dimension of the representation y
    projection_dim: int  # dimension d of the projection z
    lam: float  # lambda: weight of the invariance term
    mu: float  # weight of the variance term
    nu: float  # weight of the covariance term
    gamma: float  # the standard deviation that the variance term asks for
    eps: float  # added to the variance under the root
    epochs: int  # passes over the training images
    batch_size: int  # |B|
    lr: float  # Adam's learning rate (its peak, for onecycle)
    weight_decay: float  # Adam's
    schedule: str  # constant (the exercise's) or onecycle
    neighbour_count: int  # Q5: top neighbours to choose from
    neighbour_epochs: int  # Q5: epochs of training with neighbours as views
    probe_epochs: int  # passes of SGD over the frozen features
    probe_lr: float  # its learning rate
    probe_batch: int  # its batch
    tsne_size: int  # test images in a t-SNE picture
    perplexity: float  # t-SNE's
    graph_neighbours: int  # k of the neighbour graph
    graph_size: int  # images in the exercise's own Laplacian Eigenmaps figure
    components: int  # eigenvectors kept
    free_epochs: int  # passes over the graph with a free vector per image
    free_batch: int  # edges in a step of it
    free_lr: float  # Adam's learning rate for free vectors, falling along a cosine
    exact_size: int  # images in the small graph on which every optimum is known
    exact_steps: int  # steps towards it
    per_class: int  # Q7: query images of each class
    neighbours_shown: int  # Q7: nearest and farthest images shown
    anomaly_k: int  # k of Eq. 7
    max_k: int  # AUC is drawn for k up to this
    anomalies_shown: int  # most anomalous images shown
    clusters: int  # k-means
    kmeans_inits: int  # initialisations of k-means; the best is kept
    tsne_train_size: int  # training images in the clustering pictures; 50,000 took 3 min 49 s on two cores
    data: dict  # facts of the images: identity, how many, a note; empty until `open_dataset` has looked

    def replace(self, **changes) -> "Config":
        """A checked copy with other values."""
        return check(dataclasses.replace(self, **changes))

    @property
    def folder(self) -> Path:
        """Where results go."""
        return Path(self.out).expanduser() if self.out else project_root()

    @property
    def figures(self) -> Path:
        return self.folder / "figures"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def cache(self) -> Path:
        return self.folder / "runs" / "cache"

    def __str__(self):
        facts = {name: getattr(self, name) for name in SETTINGS}.items()
        return "\n".join(f"{name:17}{value}" for name, value in facts)


SETTINGS = tuple(field.name for field in dataclasses.fields(Config) if field.name != "data")  # what a user may set


EXERCISE = dict(
    precision="auto", compile=False, tensorboard=False, train_size=0, test_size=0,
    width=64, stem_stride=1, view_size=32, encoder_dim=128, projection_dim=512,
    lam=25.0, mu=25.0, nu=1.0, gamma=1.0, eps=1e-4,
    epochs=30, batch_size=256, lr=3e-4, weight_decay=1e-6, schedule="constant",
    neighbour_count=3, neighbour_epochs=1,
    probe_epochs=40, probe_lr=0.1, probe_batch=256,
    tsne_size=10_000, perplexity=30.0,
    graph_neighbours=10, graph_size=10_000, components=128, free_epochs=20, free_batch=4096, free_lr=0.1,
    exact_size=300, exact_steps=4_000,
    per_class=1, neighbours_shown=5, anomaly_k=2, max_k=50, anomalies_shown=7,
    clusters=10, kmeans_inits=5, tsne_train_size=10_000,
)  # fmt: skip
PROFILES = {
    "smoke": EXERCISE | dict(
        dataset="shapes", train_size=384, test_size=160, precision="fp32",
        width=8, stem_stride=2, encoder_dim=32, projection_dim=64, epochs=2, batch_size=64, lr=1e-3, schedule="onecycle",
        probe_epochs=10, probe_batch=64, tsne_size=160, perplexity=10.0,
        graph_neighbours=8, graph_size=300, components=16, free_epochs=6, free_batch=512, exact_size=120, exact_steps=300, max_k=20, kmeans_inits=2, tsne_train_size=200,
    ),
    "quick": EXERCISE | dict(
        width=16, stem_stride=2, batch_size=128, epochs=10, lr=2e-3, schedule="onecycle",
        probe_epochs=30, tsne_size=4_000, tsne_train_size=4_000, free_epochs=8, kmeans_inits=3,
    ),
    "exercise": EXERCISE,
    "best": EXERCISE | dict(epochs=200, lr=1e-3, schedule="onecycle"),
}  # fmt: skip


def project_root() -> Path:
    """The nearest folder upwards with a settings.ini, else the current folder."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "settings.ini").is_file()), here)


def atomic(path: Path, write) -> Path:
    """Call `write(temporary_path)` and rename: `path` is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def choose_device(cfg: Config) -> torch.device:
    """The torch device of a `Config`; UserError where it is not there."""
    name = cfg.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"device is {name!r}: choose auto, cpu or cuda.") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"device is {name!r}, but PyTorch sees no such GPU here: use device cpu or auto.")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device is {name!r}: choose auto, cpu or cuda.")
    return device


def stream(seed: int, *names) -> torch.Generator:
    """A CPU random generator of its own for each combination of seed and names."""
    return torch.Generator().manual_seed(int(digest(seed, *names), 16) % 2**63)


def digest(*things) -> str:
    """16 hex digits that identify arrays, tensors, numbers, strings, dicts and lists of these."""
    state = hashlib.sha256()
    for thing in things:
        _feed(state, thing)
    return state.hexdigest()[:16]


def _feed(state, thing):
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu().numpy()
    if isinstance(thing, np.ndarray):
        state.update(f"{thing.dtype}{thing.shape}".encode())
        state.update(np.ascontiguousarray(thing).data)
    elif isinstance(thing, dict):
        for name in sorted(thing):
            _feed(state, [name, thing[name]])
    elif isinstance(thing, (list, tuple)):
        state.update(f"[{len(thing)}".encode())
        for item in thing:
            _feed(state, item)
    else:
        state.update(f"{type(thing).__name__}:{thing};".encode())


CHOICES = {
    "profile": tuple(PROFILES),
    "dataset": ("auto", "cifar10", "shapes"),
    "precision": ("auto", "fp32", "bf16"),
    "schedule": ("constant", "onecycle"),
    "stem_stride": (1, 2),
}
AT_LEAST = {
    "seed": 0, "train_size": 0, "test_size": 0, "lam": 0, "mu": 0, "nu": 0, "gamma": 0, "weight_decay": 0,
    "view_size": 16, "batch_size": 2, "free_batch": 2, "exact_size": 20, "neighbour_count": 1, "max_k": 1, "clusters": 2,
}  # fmt: skip
ZERO_ALLOWED = {"lam", "mu", "nu", "gamma", "weight_decay"}


def check(cfg: Config) -> Config:
    """The same `Config`, or a `UserError` that names the first value out of range."""
    for name, kind in typing.get_type_hints(Config).items():
        object.__setattr__(cfg, name, _typed(name, getattr(cfg, name), kind))
        value = getattr(cfg, name)
        if name in CHOICES and value not in CHOICES[name]:
            raise UserError(f"{name} is {value!r}: choose one of {', '.join(map(str, CHOICES[name]))}.")
        if kind in (int, float):
            _in_range(name, value, kind)
    if cfg.train_size and cfg.train_size < cfg.batch_size:
        raise UserError(f"batch_size is {cfg.batch_size}, more than the {cfg.train_size} training images: lower it.")
    return cfg


def _typed(name, value, kind):
    """`value` as `kind`; whole numbers pass for float, nothing else is converted."""
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{name} is {value!r} ({type(value).__name__}): give a value of type {kind.__name__}.")
    return value


def _in_range(name, value, kind):
    if not math.isfinite(value):
        raise UserError(f"{name} is {value}: give a finite number.")
    low = AT_LEAST.get(name, 1 if kind is int else 0)
    if value < low:
        raise UserError(f"{name} is {value}: give at least {low}.")
    if kind is float and value == 0 and name not in ZERO_ALLOWED:
        raise UserError(f"{name} is 0: give a number above 0.")


def make_config(profile: str = "auto", **overrides) -> Config:
    """The checked `Config` of a profile, with `overrides`; an override of None keeps the profile's value.

    Raises UserError for an unknown profile or name, a wrong type or a value out of range.
    """
    profile = "auto" if profile is None else profile
    if profile == "auto":
        profile = "exercise" if torch.cuda.is_available() and overrides.get("device") != "cpu" else "quick"
    if profile not in PROFILES:
        raise UserError(f"profile is {profile!r}: choose one of auto, {', '.join(PROFILES)}.")
    for name in overrides:
        if name not in SETTINGS:
            raise UserError(f"{name!r} is not a parameter{_did_you_mean(name, SETTINGS)}.")
    values = dict(dataset="auto", device="auto", seed=0, out="", data={}, profile=profile) | PROFILES[profile]
    given = {name: value for name, value in overrides.items() if value is not None}
    if given.get("dataset") == "auto":
        del given["dataset"]
    cfg = check(Config(**values | given))
    if not cfg.out and profile == "smoke":
        cfg = cfg.replace(out=str(project_root() / "runs" / "smoke"))
    choose_device(cfg)
    return cfg


def _did_you_mean(name, known):
    close = difflib.get_close_matches(name, known, n=1)
    return f": did you mean {close[0]!r}" if close else f": choose among {', '.join(known)}"


def notebook_config(namespace: dict) -> Config:
    """The `Config` of the parameters cells run in a notebook; `namespace` is its `globals()`."""
    sources = [source for source in namespace.get("In", []) if source.lstrip().startswith("# Parameters")]
    names = {name for source in sources for name in _assigned(source)}
    if not sources:  # a plain script: no history of cells to read
        names = set(SETTINGS) & set(namespace)
    return make_config(**{name: namespace[name] for name in sorted(names) if name in namespace})


def _assigned(source):
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from (target.id for target in targets if isinstance(target, ast.Name))


DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # what numpy raises for a damaged npz


def read_arrays(path: Path) -> dict:
    """The arrays of an npz file by name; one of `DAMAGED` if it is cut short or not an npz."""
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:  # numpy leaves a damaged file open
        return {field: file[field] for field in file.files}


def cached(cfg: Config, name: str, key, compute) -> dict:
    """The arrays of `compute()`, kept in `cfg.cache` under the digest of `key`.

    `compute` returns a dict of arrays; the answer has the same names.
    """
    path = cfg.cache / f"{name}-{digest(name, key)}.npz"
    if path.is_file():
        try:
            return read_arrays(path)
        except DAMAGED:
            say(f"{path} cannot be read: computed again")
    arrays = {field: np.asarray(value) for field, value in compute().items()}
    atomic(path, lambda temporary: np.savez(temporary, **arrays))
    return arrays


def say(message: str):
    """One line of progress that does not tear a progress bar."""
    tqdm.write(message, file=sys.stdout)
    sys.stdout.flush()


def progress(iterable, desc: str, total: int = None):
    """`iterable` with a tqdm bar on a terminal, without one elsewhere."""
    return tqdm(iterable, desc=desc, total=total, leave=False, disable=not sys.stderr.isatty(), dynamic_ncols=True)


CLASS_COLOURS = ("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
                 "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd")  # fmt: skip
METHOD_NAMES = {
    "vicreg": "VICReg",
    "no_variance": "No variance term",
    "neighbours": "No generated neighbours",
    "free": "Free vectors",
    "laplacian": "Laplacian Eigenmaps",
}
METHOD_COLOURS = dict(zip(METHOD_NAMES, ("#3f90da", "#94a4a2", "#e76300", "#832db6", "#bd1f01"), strict=True))
STYLE = {
    "figure.dpi": 110, "savefig.dpi": 200, "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold",
    "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": "#555555", "axes.labelcolor": "#333333",
    "xtick.color": "#555555", "ytick.color": "#555555", "axes.grid": True, "grid.color": "#e8e8e8", "grid.linewidth": 0.6,
    "axes.axisbelow": True, "legend.frameon": False, "legend.fontsize": 8, "figure.constrained_layout.use": True,
}  # fmt: skip


def new_figure(rows: int = 1, cols: int = 1, width: float = 6.9, height: float = None, **subplots_kw):
    """(figure, axes) in the book's style; sizes in inches, 6.9 is the report's full width."""
    plt.rcParams.update(STYLE)
    height = height or 0.62 * width * rows / cols
    return plt.subplots(rows, cols, figsize=(width, height), **subplots_kw)


def save_figure(cfg: Config, name: str, fig, html=None):
    """Write figures/<name>.png (and .html from the plotly figure `html`); returns `fig`.

    A figure from a smoke run or from the embedded dataset says so in its corner.
    """
    label = provenance_label(cfg)
    if label:
        height = 0.13 / fig.get_figheight()  # a line of its own, below everything
        fig.get_layout_engine().set(rect=(0, height, 1, 1 - height))
        fig.text(0.995, 0.005, label, ha="right", va="bottom", fontsize=6, color="#bd1f01")
    atomic(cfg.figures / f"{name}.png", lambda path: fig.savefig(path, dpi=200))
    if html is not None:
        html.update_layout(template="plotly_white", font={"family": "system-ui, sans-serif"})
        if label:
            html.add_annotation(text=label, xref="paper", yref="paper", x=1, y=-0.18, showarrow=False,
                                font={"size": 10, "color": "#bd1f01"})  # fmt: skip
        cfg.figures.mkdir(parents=True, exist_ok=True)
        html.write_html(cfg.figures / f"{name}.html", include_plotlyjs="directory", div_id=name)
    plt.close(fig)
    return fig


def provenance_label(cfg: Config) -> str:
    """What a reader must be warned of: empty for a real run on CIFAR-10."""
    if cfg.dataset == "auto":
        raise RuntimeError("open_dataset(cfg) comes before figures and records")
    if cfg.dataset == "cifar10" and cfg.profile != "smoke":
        return ""
    return (
        f"profile {cfg.profile}, dataset {cfg.dataset}: not a result on CIFAR-10"
        if cfg.dataset != "cifar10"
        else "smoke run: not a result"
    )


def record(cfg: Config, question: str, title: str, numbers: dict, answer: str = "", figures=(), tables=()) -> str:
    """Put a question's findings into results.json; returns the answer.

    numbers: nested dict of plain numbers and strings; figures: (name, caption) pairs;
    tables: dicts with caption, header and rows of strings.
    """
    entry = {
        "title": title,
        "numbers": _plain(numbers),
        "answer": answer.strip(),
        "figures": [list(pair) for pair in figures],
        "tables": _plain(list(tables)),
        "settings": changed_settings(cfg),
    }
    results = read_results(cfg) or {"header": header(cfg), "questions": {}, "stages": {}}
    results["header"] |= {"updated": _now()}
    results["questions"][question] = entry
    write_results(cfg, results)
    return answer


def changed_settings(cfg: Config) -> dict:
    """The settings that differ from the profile's own, other than where and on what it ran."""
    base = PROFILES[cfg.profile]
    return {
        name: value
        for name, value in dataclasses.asdict(cfg).items()
        if name in base and name != "dataset" and value != base[name]
    }


def _plain(value):
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.generic, torch.Tensor)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def results_path(cfg: Config) -> Path:
    return cfg.folder / "results.json"


def read_results(cfg: Config) -> dict | None:
    """results.json of this run; None where there is none. One of another run is set aside first."""
    path = results_path(cfg)
    if not path.is_file():
        return None
    try:
        results = json.loads(path.read_text())
        old = results["header"]
    except (ValueError, KeyError):
        raise UserError(f"{path} is not a results file: move it away and run again.") from None
    same = all(old.get(name) == getattr(cfg, name) for name in ("profile", "dataset", "seed"))
    if same:
        return results
    aside = path.with_name(f"results-{old.get('profile')}-{old.get('dataset')}-seed{old.get('seed')}.json")
    os.replace(path, aside)
    say(f"{path.name} was of another run and is now {aside.name}")
    return None


def write_results(cfg: Config, results: dict):
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    atomic(results_path(cfg), lambda path: path.write_text(text))


LIBRARIES = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "faiss-cpu", "matplotlib", "plotly")


def header(cfg: Config) -> dict:
    """Provenance of a run: what, with which seed and data, on what, with which versions."""
    return {
        "profile": cfg.profile,
        "dataset": cfg.dataset,
        "seed": cfg.seed,
        "data": {name: fact for name, fact in cfg.data.items() if name != "note"},
        "dataset_note": cfg.data.get("note", ""),
        "device": device_name(cfg),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES},
        "commit": _commit(),
        "code": code_digest(),
        "started": _now(),
    }


def device_name(cfg: Config) -> str:
    """The device in words: a GPU's name, or the number of CPU threads and the processor."""
    device = choose_device(cfg)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    return f"CPU, {torch.get_num_threads()} threads, {platform.machine()} {capability}"


def code_digest() -> str:
    """Digest of the package's modules outside tools: tells whether a result is older than the code."""
    folder = (
        Path(sys.modules["vicreg_nb"].__file__).parent if "vicreg_nb" in sys.modules else project_root() / "vicreg_nb"
    )
    return digest(*(f"{path.name}\n{path.read_text()}" for path in sorted(folder.glob("*.py"))))


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _commit():
    """The commit, with -dirty where notebooks or package differ from it (figures always do, after a run)."""
    try:
        commit, changed = (
            _git(*command)
            for command in (
                ("describe", "--always", "--abbrev=12"),
                ("status", "--porcelain", "--", "nbs", "vicreg_nb"),
            )
        )
        return commit + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*command):
    return subprocess.run(
        ["git", "-C", str(project_root()), *command], capture_output=True, text=True, check=True
    ).stdout.strip()


def _now():
    return time.strftime("%Y-%m-%d %H:%M:%S %Z")
