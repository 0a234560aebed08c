# %% [markdown]
# # 1a · Training (Q1)
# How do the three objectives move while VICReg trains, on the training batches and, once an epoch, on the test set?
# One loop, Algorithm 1, serves all experiments of this book: they differ in the pairs of views that it is given
# and in the weights of the loss, and in nothing else.

# %%
#| default_exp training

# %%
#| export
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
from vicreg_nb.config import Config, choose_device, device_name
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.store import (
    UserError,
    atomic,
    digest,
    duration,
    log,
    new_generator,
    progress,
    read_arrays,
    seeded,
)
from vicreg_nb.vicreg import Encoder, Projector, Terms, vicreg_loss, vicreg_terms
from vicreg_nb.views import make_view

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
epochs: int = None  # passes over the training images; None: the profile's value
batch_size: int = None  # |B|
lr: float = None  # Adam's learning rate (its peak, for onecycle)
weight_decay: float = None  # Adam's
schedule: str = None  # constant (the exercise's) or onecycle
lam: float = None  # weight of the invariance term
mu: float = None  # weight of the variance term
nu: float = None  # weight of the covariance term
width: int = None  # channels of the encoder's first stage; ResNet18 has 64
stem_stride: int = None  # stride of the first convolution; the exercise's is 1
precision: str = None  # auto, fp32 or bf16
tensorboard: bool = None  # write TensorBoard events beside the checkpoints

# %%
from IPython.display import Markdown, display
from vicreg_nb.config import notebook_config

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## Pairs of views
# A source of pairs gives, for the indices of a batch, the two inputs of the two branches. Q1's source draws two views of each image.
# (Q5 will give an image and a neighbour of it instead.) The images live on the device, as bytes.


# %%
#| export
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


# %% [markdown]
# ## What makes the weights
# A run is found again by what makes its weights: data, hyper-parameters, seed, precision. Its folder is named after their hash.

# %%
#| export
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


# %% [markdown]
# ## Which precision is faster here
# Half-precision convolutions are several times faster on some hardware and ten times slower on other: measured once for each machine,
# on one convolution, forward and backward.


# %%
#| export
def choose_precision(cfg: Config) -> str:
    """fp32 or bf16: as asked, or whichever a small convolution finds faster on this device (kept for next time)."""
    if cfg.precision != "auto":
        return cfg.precision
    device = choose_device(cfg)
    note = cfg.cache / f"precision-{digest(device_name(cfg), torch.__version__)}.json"
    if not note.is_file():
        speedup = bf16_speedup(device)
        chosen = "bf16" if speedup > 1.25 else "fp32"
        log(f"{device_name(cfg)}: a convolution in bf16 takes {1 / speedup:.2f} of its time in fp32, so {chosen}")
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


# %% [markdown]
# ## The learning rate
# Constant, as the exercise asks; or one cycle (Smith, 2018): up in a straight line for the first fifth, then down along a cosine to zero,
# which gets further in few epochs.


# %%
#| export
def learning_rate(cfg: Config, step: int, steps: int) -> float:
    """The learning rate of step 0 ... steps - 1."""
    if cfg.schedule == "constant":
        return cfg.lr
    done, peak = (step + 1) / steps, 0.2
    if done <= peak:
        return cfg.lr * done / peak
    return cfg.lr * 0.5 * (1 + math.cos(math.pi * (done - peak) / (1 - peak)))


# %%
fig, ax = new_figure(width=3.4, height=1.7)
for schedule_name in ("constant", "onecycle"):
    ax.plot([learning_rate(cfg.replace(schedule=schedule_name), step, 100) for step in range(100)], label=schedule_name)
ax.set(xlabel="% of training", ylabel="learning rate", ylim=(0, None))
ax.legend()
fig

# %% [markdown]
# ## The state of a training
# Encoder, projector, optimiser, and the history of the three terms: all that is needed to go on after an interruption.


# %%
#| export
class Trainer:
    """Everything that a step changes. `history`: [steps done, 3] terms of each batch; `tests`: [epochs done, 3]."""

    def __init__(self, cfg: Config, settings: dict, steps_per_epoch: int):
        self.cfg, self.device, self.steps = cfg, choose_device(cfg), steps_per_epoch
        self.half = settings["precision"] == "bf16"
        with seeded(cfg.seed, "weights"):
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


# %% [markdown]
# ## Algorithm 1, a step
# The body of the exercise's Algorithm 1, line by line. The loss is computed in fp32 whatever the network runs in.
# The terms stay on the device: asking for their values here would make a GPU wait at every step.


# %%
#| export
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


# %% [markdown]
# A few steps on one batch must lower the loss:

# %%
pairs = GeneratedPairs(cfg, images)
trial = Trainer(cfg.replace(lr=1e-3, schedule="constant"), run_settings(cfg, images), steps_per_epoch=8)
x, x2 = pairs.train(torch.arange(min(64, len(images.train_images))), new_generator(seed, "trial"))
losses = [vicreg_loss(train_step(trial, x, x2), cfg.lam, cfg.mu, cfg.nu).item() for _ in range(8)]
first, last = losses[0], losses[-1]
print(f"loss {first:.1f} -> {last:.1f} after 8 steps")
assert last < first

# %% [markdown]
# ## An epoch
# The order of the images and all their views come from one random stream of the epoch's own: an epoch that is begun again after
# an interruption is the same epoch.


# %%
#| export
def train_epoch(trainer: Trainer, pairs, count: int) -> torch.Tensor:
    """Algorithm 1's inner loop over `count` images; returns the terms of each step [steps, 3]. An incomplete batch is left out."""
    cfg = trainer.cfg
    trainer.model.train()
    generator = new_generator(cfg.seed, "epoch", trainer.epoch)
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


# %% [markdown]
# ## The test terms
# In evaluation mode (the batch normalisation uses its running statistics), without gradients, and with the same views at each epoch, so that
# the curve shows the encoder's progress and not the luck of the draw.


# %%
#| export
@torch.no_grad()
def evaluate_terms(trainer: Trainer, pairs, count: int) -> torch.Tensor:
    """The three terms [3] over the test set, averaged over its full batches."""
    trainer.model.eval()
    generator = new_generator(trainer.cfg.seed, "test views")
    size = min(trainer.cfg.batch_size, count)
    batches = torch.arange(count - count % size, device=trainer.device).split(size)
    terms = [torch.stack(project_and_compare(trainer, *pairs.test(batch, generator))) for batch in batches]
    return torch.stack(terms).mean(dim=0).cpu()


# %% [markdown]
# ## A run
# A finished run is loaded; one that was broken off goes on from its last epoch. Files are written whole or not at all.


# %%
#| export
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


# %%
#| export
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
    log(
        f"training {tag}: {cfg.epochs} epochs of {steps} steps on {device_name(cfg)} in {settings['precision']}, {folder}"
    )
    _train_epochs(trainer, pairs, images, folder)
    _finish(trainer, folder)
    return _load(cfg, folder, settings, fresh=True)


# %%
#| export
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
        log(_epoch_line(trainer, terms, tested, trained))
        if writer:
            _write_events(writer, trainer, terms, tested)


def _epoch_line(trainer, terms, tested, seconds):
    left = trainer.seconds / trainer.epoch * (trainer.cfg.epochs - trainer.epoch)
    (inv, var, cov), (inv_t, var_t, cov_t) = terms.mean(dim=0).tolist(), tested.tolist()
    speed = 2 * trainer.cfg.batch_size * trainer.steps / seconds
    return (
        f"epoch {trainer.epoch:3}/{trainer.cfg.epochs}  inv {inv:.4f}  var {var:.4f}  cov {cov:.4f}  "
        f"test inv {inv_t:.4f}  var {var_t:.4f}  cov {cov_t:.4f}  {speed:,.0f} views/s  {duration(left)} left"
    )


# %%
#| export
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
    log(f"resuming {folder.name} after epoch {trainer.epoch}")


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


# %%
#| export
def _tensorboard(cfg, folder):
    if not cfg.tensorboard:
        return None
    from torch.utils.tensorboard import SummaryWriter  # slow to import, seldom wanted

    return SummaryWriter(folder / "tensorboard")


def _write_events(writer, trainer, terms, tested):
    begin = (trainer.epoch - 1) * trainer.steps
    for column, name in enumerate(OBJECTIVES):
        for step, value in enumerate(terms[:, column].tolist()):
            writer.add_scalar(f"train/{name}", value, begin + step)
        writer.add_scalar(f"test/{name}", tested[column].item(), trainer.epoch * trainer.steps)
    writer.flush()


OBJECTIVES = ("invariance", "variance", "covariance")

# %% [markdown]
# ## Train
# One line an epoch: the three terms over the training batches, the same on the test set, views per second, and the time left.

# %%
run_q1 = train(cfg, images)
print(f"{'trained' if run_q1.fresh else 'found'} in {run_q1.folder}")
