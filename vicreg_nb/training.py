# Generated from nbs/01a_training.py by `make export`. Do not edit: edit the notebook.
# cells nbs/01a_training.py 99ec598ed34b6d7b
# text d265c678d89bfefa

"""1a · Training (Q1)."""

import json
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch
from torch import nn
from vicreg_nb.config import (
    Config,
    UserError,
    atomic,
    choose_device,
    device_name,
    digest,
    new_figure,
    progress,
    read_arrays,
    record,
    save_figure,
    say,
    stream,
)
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.vicreg import Encoder, Projector, Terms, vicreg_loss, vicreg_terms
from vicreg_nb.views import make_view


class GeneratedPairs:
    """x = T(I), x' = T(I) of Eq. 1, for training and for test images."""

    identity = "generated"

    def __init__(self, cfg: Config, images: Images):
        device = choose_device(cfg)
        self.size = cfg.view_size
        self.train_images = torch.from_numpy(images.train_images).to(device)
        self.test_images = torch.from_numpy(images.test_images).to(device)

    def train(self, indices: torch.Tensor, generator: torch.Generator):
        """Two views [B, 3, S, S] of the training images at `indices` [B]."""
        return self._two_views(self.train_images[indices], generator)

    def test(self, indices: torch.Tensor, generator: torch.Generator):
        """The same of the test images."""
        return self._two_views(self.test_images[indices], generator)

    def _two_views(self, batch, generator):
        return make_view(batch, generator, self.size), make_view(batch, generator, self.size)


WEIGHT_SETTINGS = (
    "seed", "precision", "width", "stem_stride", "view_size", "encoder_dim", "projection_dim",
    "lam", "mu", "nu", "gamma", "eps", "epochs", "batch_size", "lr", "weight_decay", "schedule",
)  # fmt: skip


def run_settings(cfg: Config, images: Images, pairs: str = "generated") -> dict:
    """Everything that changes the weights of a run, and nothing else; `pairs` is the identity of the source of pairs."""
    settings = {name: getattr(cfg, name) for name in WEIGHT_SETTINGS}
    settings["precision"] = choose_precision(cfg)
    return settings | {"data": images.identity, "pairs": pairs}


def run_folder(cfg: Config, settings: dict, tag: str = "vicreg") -> Path:
    """Where the run with these settings is, or will be."""
    return cfg.runs / f"{tag}-{digest(settings)[:10]}"


def is_finished(folder: Path) -> bool:
    return (folder / "encoder.pt").is_file() and (folder / "history.npz").is_file()


def choose_precision(cfg: Config) -> str:
    """fp32 or bf16: as asked, or whichever a small convolution finds faster on this device (kept for next time)."""
    if cfg.precision != "auto":
        return cfg.precision
    device = choose_device(cfg)
    note = cfg.cache / f"precision-{digest(device_name(cfg), torch.__version__)}.json"
    if not note.is_file():
        speedup = bf16_speedup(device)
        chosen = "bf16" if speedup > 1.25 else "fp32"
        say(f"{device_name(cfg)}: a convolution in bf16 takes {1 / speedup:.2f} of its time in fp32, so {chosen}")
        found = json.dumps({"precision": chosen, "bf16_speedup": round(speedup, 3)})
        atomic(note, lambda path: path.write_text(found))
    return json.loads(note.read_text())["precision"]


def bf16_speedup(device: torch.device, repeats: int = 12) -> float:
    """Shortest time of a convolution's forward and backward pass in fp32 over that in bf16, alternating: a busy machine only lengthens them."""
    conv = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)
    x = torch.randn(64, 64, 8, 8, device=device).contiguous(memory_format=torch.channels_last).requires_grad_()
    seconds = {False: [], True: []}
    for _ in range(repeats + 1):
        for half in seconds:
            start = time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                y = conv(x)
            y.float().sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds[half].append(time.perf_counter() - start)
    return min(seconds[False][1:]) / min(seconds[True][1:])


def learning_rate(cfg: Config, step: int, steps: int) -> float:
    """The learning rate of step 0 ... steps - 1."""
    if cfg.schedule == "constant":
        return cfg.lr
    done, peak = (step + 1) / steps, 0.2
    if done <= peak:
        return cfg.lr * done / peak
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * (done - peak) / (1 - peak)))


class Trainer:
    """Everything that a step changes. `history`: [steps done, 3] terms of each batch; `tests`: [epochs done, 3]."""

    def __init__(self, cfg: Config, settings: dict, steps_per_epoch: int):
        self.cfg, self.device, self.steps = cfg, choose_device(cfg), steps_per_epoch
        self.half = settings["precision"] == "bf16"
        torch.manual_seed(int(digest(cfg.seed, "weights"), 16) % 2**63)
        self.encoder = Encoder(cfg.width, cfg.stem_stride, cfg.encoder_dim)
        self.projector = Projector(cfg.encoder_dim, cfg.projection_dim)
        self.model = nn.Sequential(self.encoder, self.projector).to(self.device, memory_format=torch.channels_last)
        self.forward = torch.compile(self.model) if cfg.compile else self.model
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), lr=cfg.lr, betas=(0.9, 0.999), weight_decay=cfg.weight_decay, fused=True
        )
        self.epoch, self.seconds, self.views = 0, 0.0, 0
        self.history, self.tests = torch.empty(0, 3), torch.empty(0, 3)

    def state(self) -> dict:
        numbers = {name: getattr(self, name) for name in ("epoch", "seconds", "views", "history", "tests")}
        return numbers | {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict):
        for name in ("epoch", "seconds", "views", "history", "tests"):
            setattr(self, name, state[name])
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def train_step(trainer: Trainer, x: torch.Tensor, x2: torch.Tensor) -> Terms:
    """One update from two views [B, 3, S, S]; returns the three terms, detached, on the device."""
    cfg = trainer.cfg
    terms = project_and_compare(trainer, x, x2)
    loss = vicreg_loss(terms, cfg.lam, cfg.mu, cfg.nu)  # Eq. 6
    loss.backward()
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    return Terms(*(term.detach() for term in terms))


def project_and_compare(trainer, x, x2):
    """z = h(f(x)), z' = h(f(x')) and the three terms."""
    with torch.autocast(trainer.device.type, torch.bfloat16, enabled=trainer.half):
        z = trainer.forward(x.contiguous(memory_format=torch.channels_last))
        z2 = trainer.forward(x2.contiguous(memory_format=torch.channels_last))
    return vicreg_terms(z, z2, trainer.cfg.gamma, trainer.cfg.eps)


def train_epoch(trainer: Trainer, pairs, count: int) -> torch.Tensor:
    """Algorithm 1's inner loop over `count` images; returns the terms of each step [steps, 3]. An incomplete batch is left out."""
    cfg = trainer.cfg
    trainer.model.train()
    generator = stream(cfg.seed, "epoch", trainer.epoch)
    order = torch.randperm(count, generator=generator)
    terms = []
    for step in progress(range(trainer.steps), f"epoch {trainer.epoch + 1}/{cfg.epochs}"):
        done = trainer.epoch * trainer.steps + step
        for group in trainer.optimizer.param_groups:
            group["lr"] = learning_rate(cfg, done, cfg.epochs * trainer.steps)
        indices = order[step * cfg.batch_size : (step + 1) * cfg.batch_size].to(trainer.device, non_blocking=True)
        terms.append(torch.stack(train_step(trainer, *pairs.train(indices, generator))))
        if trainer.device.type == "cpu":
            stop_if_not_finite(trainer, terms[-1:], step)
    stop_if_not_finite(trainer, terms, 0)
    return torch.stack(terms).cpu()


def stop_if_not_finite(trainer: Trainer, terms: list, first: int):
    """UserError with the step, the terms and the last good checkpoint if a term is NaN or infinite."""
    values = torch.stack(terms).cpu()
    broken = (~values.isfinite()).any(dim=1).nonzero()
    if len(broken):
        step = broken[0].item()
        inv, var, cov = values[step].tolist()
        kept = f"the state after epoch {trainer.epoch} is kept" if trainer.epoch else "no epoch was finished"
        raise UserError(
            f"the loss is no longer finite in epoch {trainer.epoch + 1}, step {first + step + 1} of {trainer.steps} "
            f"(invariance {inv:g}, variance {var:g}, covariance {cov:g}; {kept}): lower lr ({trainer.cfg.lr:g}) or the weights."
        )


@torch.no_grad()
def evaluate_terms(trainer: Trainer, pairs, count: int) -> torch.Tensor:
    """The three terms [3] over the test set, averaged over its full batches."""
    trainer.model.eval()
    generator = stream(trainer.cfg.seed, "test views")
    size = min(trainer.cfg.batch_size, count)
    batches = torch.arange(count - count % size, device=trainer.device).split(size)
    terms = [torch.stack(project_and_compare(trainer, *pairs.test(batch, generator))) for batch in batches]
    return torch.stack(terms).mean(dim=0).cpu()


@dataclass(frozen=True)
class Run:
    """A finished training. history: float32 [steps, 3]; tests: float32 [epochs, 3]; columns invariance, variance, covariance."""

    cfg: Config
    folder: Path
    history: np.ndarray
    tests: np.ndarray
    seconds: float
    views: int
    precision: str
    fresh: bool  # trained just now, not loaded

    @cached_property
    def identity(self) -> str:
        """Digest of the encoder's weights."""
        return digest(self._weights())

    def encoder(self, device="cpu") -> Encoder:
        """f, frozen and in evaluation mode."""
        encoder = Encoder(self.cfg.width, self.cfg.stem_stride, self.cfg.encoder_dim)
        encoder.load_state_dict(self._weights())
        return encoder.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def _weights(self):
        return torch.load(self.folder / "encoder.pt", map_location="cpu", weights_only=True)


def train(cfg: Config, images: Images, pairs=None, tag: str = "vicreg") -> Run:
    """Algorithm 1 with `pairs` (Q1's generated views by default): train, or resume, or load what is there.

    Writes runs/<hash>/config.json, last.pt (after each epoch), encoder.pt and history.npz.
    Raises UserError if the loss turns NaN or infinite, or the batch is larger than the data.
    """
    pairs = pairs or GeneratedPairs(cfg, images)
    steps = len(images.train_images) // cfg.batch_size
    if not steps:
        raise UserError(
            f"batch_size is {cfg.batch_size}, more than the {len(images.train_images)} training images: lower it."
        )
    settings = run_settings(cfg, images, pairs.identity)
    folder = run_folder(cfg, settings, tag)
    if is_finished(folder):
        return _load(cfg, folder, settings, fresh=False)
    atomic(folder / "config.json", lambda path: path.write_text(json.dumps(settings, indent=1)))
    trainer = Trainer(cfg, settings, steps)
    _resume(trainer, folder)
    say(
        f"training {tag}: {cfg.epochs} epochs of {steps} steps on {device_name(cfg)} in {settings['precision']}, {folder}"
    )
    _train_epochs(trainer, pairs, images, folder)
    _finish(trainer, folder)
    return _load(cfg, folder, settings, fresh=True)


def _train_epochs(trainer, pairs, images, folder):
    writer = _tensorboard(trainer.cfg, folder)
    while trainer.epoch < trainer.cfg.epochs:
        start = time.perf_counter()
        terms = train_epoch(trainer, pairs, len(images.train_images))
        trained = time.perf_counter() - start
        tested = evaluate_terms(trainer, pairs, len(images.test_images))
        trainer.history = torch.cat([trainer.history, terms])
        trainer.tests = torch.cat([trainer.tests, tested[None]])
        trainer.epoch += 1
        trainer.views += 2 * trainer.cfg.batch_size * trainer.steps
        trainer.seconds += time.perf_counter() - start
        atomic(folder / "last.pt", lambda path: torch.save(trainer.state(), path))
        say(_epoch_line(trainer, terms, tested, trained))
        if writer:
            _log(writer, trainer, terms, tested)


def _epoch_line(trainer, terms, tested, seconds):
    left = trainer.seconds / trainer.epoch * (trainer.cfg.epochs - trainer.epoch)
    (inv, var, cov), (inv_t, var_t, cov_t) = terms.mean(dim=0).tolist(), tested.tolist()
    speed = 2 * trainer.cfg.batch_size * trainer.steps / seconds
    return (
        f"epoch {trainer.epoch:3}/{trainer.cfg.epochs}  inv {inv:.4f}  var {var:.4f}  cov {cov:.4f}  "
        f"test inv {inv_t:.4f}  var {var_t:.4f}  cov {cov_t:.4f}  {speed:,.0f} views/s  {duration(left)} left"
    )


def duration(seconds: float) -> str:
    """A time for people: 8 s, 3 min 20 s, 1 h 05 min."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    return f"{minutes} min {seconds % 60:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def _resume(trainer, folder):
    """Go on from last.pt where there is one; a damaged one is told and not used."""
    path = folder / "last.pt"
    if not path.is_file():
        return
    try:
        trainer.load(torch.load(path, map_location=trainer.device, weights_only=True))
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it to train from the start.") from None
    trainer.history, trainer.tests = trainer.history.cpu(), trainer.tests.cpu()
    say(f"resuming {folder.name} after epoch {trainer.epoch}")


def _finish(trainer, folder):
    arrays = {"history": trainer.history.numpy(), "tests": trainer.tests.numpy()}
    arrays |= {"seconds": trainer.seconds, "views": trainer.views}
    atomic(folder / "history.npz", lambda path: np.savez(path, **arrays))
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trainer.encoder.state_dict().items()}
    atomic(folder / "encoder.pt", lambda path: torch.save(weights, path))


def _load(cfg, folder, settings, fresh):
    arrays = read_arrays(folder / "history.npz")
    seconds, views = float(arrays["seconds"]), int(arrays["views"])
    return Run(cfg, folder, arrays["history"], arrays["tests"], seconds, views, settings["precision"], fresh)


def _tensorboard(cfg, folder):
    if not cfg.tensorboard:
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import, seldom wanted

    return SummaryWriter(folder / "tensorboard")


def _log(writer, trainer, terms, tested):
    begin = (trainer.epoch - 1) * trainer.steps
    for column, name in enumerate(OBJECTIVES):
        for step, value in enumerate(terms[:, column].tolist()):
            writer.add_scalar(f"train/{name}", value, begin + step)
        writer.add_scalar(f"test/{name}", tested[column].item(), trainer.epoch * trainer.steps)
    writer.flush()


OBJECTIVES = ("invariance", "variance", "covariance")


def running_median(values: np.ndarray, window: int = 25) -> np.ndarray:
    """[n] to [n]: the median of the values around each."""
    half = min(window, len(values)) // 2
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def figure_objective(run: Run, column: int):
    """(matplotlib figure, plotly figure) of one objective (0 invariance, 1 variance, 2 covariance) against training batches."""
    values, tests = run.history[:, column], run.tests[:, column]
    smooth, name = running_median(values), OBJECTIVES[column]
    batches, ends = np.arange(1, len(values) + 1), len(values) // len(tests) * np.arange(1, len(tests) + 1)
    fig, ax = new_figure(width=6.9, height=2.3)
    ax.plot(batches, values, color="#b8d4ec", linewidth=0.6, label="training batches")
    ax.plot(batches, smooth, color="#2a6fb0", linewidth=1.4, label="their running median")
    ax.plot(ends, tests, "o", color="#bd1f01", markersize=4, label="test set, after each epoch")
    top = 1.15 * max(np.quantile(values, 0.995), tests.max())
    ax.set(xlabel="training batch", ylabel=f"{name} term", xlim=(0, len(values) * 1.01), ylim=(0, top))
    ax.legend(ncols=3, loc="upper right")
    return fig, _interactive_objective(name, batches, values, smooth, ends, tests)


def _interactive_objective(name, batches, values, smooth, ends, tests):
    lines = [
        go.Scatter(x=batches, y=values, name="training batches", line={"color": "#b8d4ec", "width": 1}),
        go.Scatter(x=batches, y=smooth, name="their running median", line={"color": "#2a6fb0", "width": 2}),
        go.Scatter(x=ends, y=tests, name="test set", mode="markers", marker={"color": "#bd1f01", "size": 8}),
    ]
    return go.Figure(
        lines, {"xaxis": {"title": "training batch"}, "yaxis": {"title": f"{name} term", "rangemode": "tozero"}}
    )


def numbers_q1(run: Run) -> dict:
    """What Q1 reports: terms at the start and the end, on training batches and the test set, and the cost."""
    last = len(run.history) // len(run.tests)
    numbers = {"epochs": len(run.tests), "batches": len(run.history), "seconds": run.seconds, "views": run.views}
    numbers |= {
        "views_per_second": run.views / run.seconds,
        "precision": run.precision,
        "batch_size": run.cfg.batch_size,
    }
    for column, name in enumerate(OBJECTIVES):
        numbers[name] = {
            "first_batch": run.history[0, column],
            "first_epoch": run.history[:last, column].mean(),
            "last_epoch": run.history[-last:, column].mean(),
            "first_test": run.tests[0, column],
            "last_test": run.tests[-1, column],
        }
    return numbers


def answer_q1(numbers: dict) -> str:
    """Q1 in words, chosen by the numbers."""
    lines = [
        f"VICReg was trained for {numbers['epochs']} epochs ({numbers['batches']:,} batches of {numbers['batch_size']}) in "
        f"{duration(numbers['seconds'])}, {numbers['views_per_second']:,.0f} views a second in {numbers['precision']}."
    ]
    for name in OBJECTIVES:
        term = numbers[name]
        start, end, test = term["first_epoch"], term["last_epoch"], term["last_test"]
        move = "falls" if end < start else "rises"
        gap = "higher" if test > 1.1 * end else "lower" if test < 0.9 * end else "about the same"
        lines.append(
            f"The **{name}** term {move} from {start:.3f} in the first epoch to {end:.3f} in the last; on the test set it ends at {test:.3f}, {gap}."
        )
    lines += _why_invariance_rises(numbers["invariance"], numbers["variance"])
    return "\n\n".join(lines)


def _why_invariance_rises(inv, var):
    """A sentence on how the invariance term begins, and one on how it goes on."""
    if inv["first_batch"] >= inv["first_epoch"]:
        return []
    start = (
        f"The invariance term starts low ({inv['first_batch']:.3f} in the first batch) and rises at first: "
        "an untrained network gives all images nearly the same projection, which is invariant and useless, and the variance term drives the projections apart."
    )
    if inv["last_epoch"] < inv["first_epoch"]:
        return [start + " Then the views are brought together again."]
    if var["last_epoch"] < var["first_epoch"]:
        return [
            start
            + " It does not come down in these epochs: the projections go on spreading, as the falling variance term says, and the distance between views grows with the spread."
        ]
    return [start]


CAPTIONS_Q1 = tuple(
    (f"q1_{name}", f"The {name} term against training batches, with its value on the test set after each epoch.")
    for name in OBJECTIVES
)


def report_q1(cfg: Config, run: Run) -> str:
    """Record Q1 and return its answer."""
    numbers = numbers_q1(run)
    return record(cfg, "Q1", "Training", numbers, answer_q1(numbers), CAPTIONS_Q1)


def run(cfg: Config):
    """Q1 from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    trained = train(cfg, images)
    for column, name in enumerate(OBJECTIVES):
        save_figure(cfg, f"q1_{name}", *figure_objective(trained, column))
    report_q1(cfg, trained)
