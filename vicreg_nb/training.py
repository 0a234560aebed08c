# Generated from nbs/01a_training.py by `make export`. Do not edit: edit the notebook.
# cells nbs/01a_training.py bbcfedf2f440bc39
# text 21f2041b017f75ac

"""1a · Training (Q1)."""

import contextlib
import copy
import inspect
import json
import math
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path


import numpy as np
import pandas as pd
import torch
from torch import nn
from vicreg_nb.book import Question
from vicreg_nb.config import Config, check_fit, choose_device, device_name, short
from vicreg_nb.data import Images, open_dataset, send
from vicreg_nb.identity import cached, code_of
from vicreg_nb.parallel import after_first, average_gradients, from_first, gathered, share, synchronised, world
from vicreg_nb.plots import METHOD_COLOURS, lines
from vicreg_nb.store import UserError, atomic, digest, duration, fault, log, new_generator, progress, rank, read_whole
from vicreg_nb.store import is_current, recover, regular, remove_leftovers, seeded, set_aside, write_arrays
from vicreg_nb.vicreg import NETWORKS, Encoder, Projector, Terms, covariance, vicreg_loss, vicreg_terms
from vicreg_nb.views import apply_views, draw_recipes


def _two_views(images, order, batches, generator, size):
    """Two views [B, 3, size, size] of the bytes `images[order[rows]]`, for the rows of each batch of an epoch."""
    both = [draw_recipes(len(order), generator, size, images.shape[1], images.device) for _ in range(2)]
    order = send(order, images.device)
    for rows in batches:
        shown = images[order[rows]]
        yield tuple(apply_views(shown, recipes[rows]) for recipes in both)


class GeneratedPairs:
    """x = T(I), x' = T(I) of Eq. 1, for training and for test images."""

    identity = "generated"

    def __init__(self, cfg: Config, images: Images):
        self.size, self.seed, self.device, self.kept = cfg.view_size, cfg.seed, choose_device(cfg), (None, None)
        self.train_images = torch.from_numpy(images.train_images).to(self.device)
        self.test_images = torch.from_numpy(images.test_images).to(self.device)

    def epoch(self, order: torch.Tensor, batches: list[slice], generator: torch.Generator):
        """Two views [B, 3, S, S] of the training images `order[rows]` [B], for the rows of each batch."""
        return _two_views(self.train_images, order, batches, generator, self.size)

    def tests(self, batches: list[slice]):
        """Two views of the test images in each batch, the same ones at each call; a GPU has the room to keep them."""
        order, generator = torch.arange(len(self.test_images)), new_generator(self.seed, "test views")
        views = _two_views(self.test_images, order, batches, generator, self.size)
        if self.device.type == "cpu":
            return views
        if self.kept[0] != batches:
            self.kept = batches, list(views)
        return self.kept[1]


PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, precision: str):
    """Within it, convolutions and matrix products are in `precision`."""
    return torch.autocast(device.type, PRECISIONS[precision], enabled=precision != "fp32")


def _of_gpu(device):
    """The precision of a GPU's tensor cores; fp32 where it has none."""
    generation = torch.cuda.get_device_capability(device)[0]
    if generation >= 8 and torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if generation >= 7 else "fp32"


def _bf16_speedup(repeats: int = 12) -> float:
    """How many times faster a convolution is in bf16 than in fp32 on one thread of this CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    conv = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(64, 64, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    seconds = {False: [], True: []}
    for _ in range(repeats + 1):  # the first round warms up
        for half in seconds:
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                y = conv(x)
            y.float().sum().backward()
            seconds[half].append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return min(seconds[False][1:]) / min(seconds[True][1:])


def choose_precision(cfg: Config) -> str:
    """fp32, bf16 or fp16: as asked, or the fastest on this device. UserError for fp16 where there is none."""
    device = choose_device(cfg)
    if cfg.precision == "fp16" and (device.type == "cpu" or torch.cuda.get_device_capability(device) < (5, 3)):
        raise UserError(f"precision is fp16, which {device_name(cfg)} does not have: choose auto, bf16 or fp32.")
    if cfg.precision != "auto":
        return cfg.precision
    return _of_gpu(device) if device.type == "cuda" else _of_cpu(cfg)


def _of_cpu(cfg):
    """What a small convolution finds faster, measured once by a machine and a version of PyTorch."""
    capability = torch.backends.cpu.get_cpu_capability()
    note = cfg.cache / f"precision-{digest(platform.node(), platform.machine(), capability, torch.__version__)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        noted = json.loads(regular(note).read_text(encoding="utf-8"))["precision"]
        if noted in ("fp32", "bf16"):
            return noted
    speedup = _bf16_speedup()
    chosen = "bf16" if speedup > 1.25 else "fp32"
    log(f"{device_name(cfg)}: a convolution in bf16 takes {1 / speedup:.2f} of its time in fp32, so {chosen}")
    found = json.dumps({"precision": chosen, "bf16_speedup": round(speedup, 3)})
    atomic(note, lambda path: path.write_text(found, encoding="utf-8"))
    return chosen


_WEIGHT_SETTINGS = (
    "seed", "precision", "encoder", "width", "view_size", "encoder_dim", "projection_dim", "lam", "mu", "nu", "gamma",
    "eps", "epochs", "batch_size", "optimizer", "lr", "muon_lr", "weight_decay", "schedule",
)  # fmt: skip


def run_settings(cfg: Config, images: Images, pairs=GeneratedPairs, encoder: nn.Module = None, objective=None) -> dict:
    """Everything that changes the weights of a run, and nothing else.

    pairs: where they come from, or its class. encoder, objective: those that are not the book's.
    """
    settings = {name: getattr(cfg, name) for name in _WEIGHT_SETTINGS} | {"precision": choose_precision(cfg)}
    code = code_of(pairs, initial_networks, Trainer, train_epoch, evaluate_terms)
    own = {} if encoder is None else {"own_encoder": own_encoder(encoder)}
    own |= {} if objective is None else {"own_objective": own_objective(objective)}
    return settings | {"data": images.identity, "pairs": pairs.identity, "code": code} | own


def run_folder(cfg: Config, settings: dict, tag: str = "vicreg") -> Path:
    """Where the run with these settings is, or will be."""
    return cfg.runs / f"{tag}-{digest(settings)[:10]}"


def is_finished(folder: Path) -> bool:
    """Whether a run's folder holds a finished training."""
    return (folder / "encoder.pt").is_file() and (folder / "history.npz").is_file()


def cosine_decay(lr: float, step: float, steps: float) -> float:
    """`lr` at step 0, down along half a cosine to 0 after `steps`."""
    return 0.5 * lr * (1 + math.cos(math.pi * step / steps))


def relative_rate(cfg: Config, step: int, steps: int) -> float:
    """The learning rate of step 0 ... steps - 1, as a part of its peak."""
    if cfg.schedule == "constant":
        return 1.0
    done, peak = (step + 1) / steps, 0.2
    return done / peak if done <= peak else cosine_decay(1, done - peak, 1 - peak)


def initial_networks(cfg: Config) -> tuple[nn.Module, Projector]:
    """f and h with the weights that training starts from."""
    with seeded(cfg.seed, "weights"):
        encoder = NETWORKS[cfg.encoder](cfg.width, cfg.encoder_dim)
        return encoder, Projector(cfg.encoder_dim, cfg.projection_dim)


def orthogonalised(matrix: torch.Tensor, rounds: int = 4) -> torch.Tensor:
    """Nearly U V^T of `matrix` [m, n] = U S V^T, by Newton-Schulz iteration with the coefficients of Jordan (2024)."""
    x = matrix / (matrix.norm() + 1e-7)
    wide = x if len(x) <= x.shape[1] else x.T
    for _ in range(rounds):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide if len(x) <= x.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Muon for weights of two and more dimensions: momentum 0.95 with Nesterov's look ahead, no weight decay."""

    def __init__(self, weights, lr: float):
        super().__init__(list(weights), {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                mean.mul_(0.95).add_(weight.grad)
                step = orthogonalised((weight.grad + 0.95 * mean).flatten(1))
                size = max(1, step.shape[0] / step.shape[1]) ** 0.5
                weight.add_(step.view_as(weight), alpha=-group["lr"] * size)


def _optimizers(cfg, encoder, projector):
    """The optimisers of both networks together; each weight belongs to one of them."""
    weights = [*encoder.parameters(), *projector.parameters()]
    matrices = [weight for weight in encoder.parameters() if weight.dim() > 1] if cfg.optimizer == "muon" else []
    rest = [weight for weight in weights if all(weight is not matrix for matrix in matrices)]
    adam = torch.optim.Adam(rest, cfg.lr, (0.9, 0.999), weight_decay=cfg.weight_decay, fused=True)
    return [adam, Muon(matrices, cfg.muon_lr)] if matrices else [adam]


_PROGRESS, _STATEFUL = ("epoch", "seconds", "history", "tests"), ("model", "scaler")


class Trainer:
    """Everything that a step changes. history: [steps done, 3], terms of each batch; tests: [epochs done, 3]."""

    def __init__(self, cfg: Config, settings: dict, steps_per_epoch: int):
        self.cfg, self.device, self.steps = cfg, choose_device(cfg), steps_per_epoch
        self.precision = settings["precision"]
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.encoder, self.projector = initial_networks(cfg)
        model = synchronised(nn.Sequential(self.encoder, self.projector), self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.forward = torch.compile(self.model) if cfg.compile else self.model
        self.optimizers = _optimizers(cfg, self.encoder, self.projector)
        self.objective = partial(vicreg_terms, gamma=cfg.gamma, eps=cfg.eps)
        self.epoch, self.seconds, self.history, self.tests = 0, 0.0, torch.empty(0, 3), torch.empty(0, 3)

    def state(self) -> dict:
        numbers = {name: getattr(self, name) for name in _PROGRESS}
        optimizers = [optimizer.state_dict() for optimizer in self.optimizers]
        return numbers | {name: getattr(self, name).state_dict() for name in _STATEFUL} | {"optimizers": optimizers}

    def load(self, state: dict):
        vars(self).update({name: state[name] for name in _PROGRESS})
        pairs = [(getattr(self, name), state[name]) for name in _STATEFUL]
        for part, kept in pairs + list(zip(self.optimizers, state["optimizers"], strict=True)):
            part.load_state_dict(kept)


def _compare(trainer, x, x2) -> Terms:
    """Z = h(f(x)), Z' = h(f(x')), and their three terms."""
    with autocast(trainer.device, trainer.precision):
        z = trainer.forward(x.contiguous(memory_format=torch.channels_last))  # Z = h(f(T(B)))
        z2 = trainer.forward(x2.contiguous(memory_format=torch.channels_last))  # Z' = h(f(T(B)))
    return trainer.objective(gathered(z), gathered(z2))


def train_step(trainer: Trainer, x: torch.Tensor, x2: torch.Tensor) -> torch.Tensor:
    """One update from two views [B, 3, S, S] of each image; returns the three terms [3], on the device."""
    cfg = trainer.cfg
    terms = _compare(trainer, x, x2)
    loss = vicreg_loss(terms, cfg.lam, cfg.mu, cfg.nu)  # Eq. 6
    trainer.scaler.scale(loss).backward()
    average_gradients(trainer.model)
    for optimizer in trainer.optimizers:
        trainer.scaler.step(optimizer)  # with fp16 and Muon this waits: whether the gradients are finite
        optimizer.zero_grad(set_to_none=True)
    trainer.scaler.update()
    return torch.stack(terms).detach()


OBJECTIVES = ("invariance", "variance", "covariance")


def _stop_if_broken(trainer, terms, first):
    """UserError that names epoch, step and terms if one of the `terms` [n, 3] from step `first` on is not finite."""
    broken = (~terms.isfinite()).any(dim=1).nonzero()
    if len(broken):
        step = broken[0].item()
        shown = ", ".join(f"{name} {value:g}" for name, value in zip(OBJECTIVES, terms[step].tolist()))
        kept = f"the state after epoch {trainer.epoch} is kept" if trainer.epoch else "no epoch was finished"
        raise UserError(
            f"the loss is no longer finite in epoch {trainer.epoch + 1}, step {first + step + 1} of {trainer.steps} "
            f"({shown}; {kept}): lower lr ({trainer.cfg.lr:g}) or the weights."
        )


def _stop_if_overflowing(trainer):
    """UserError if the loss in fp16 would have to be scaled down: nearly all steps of an epoch were left out then."""
    if trainer.scaler.get_scale() < 1:
        raise UserError(
            f"the gradients overflow fp16 in epoch {trainer.epoch + 1}: choose precision fp32, or lower lr "
            f"({trainer.cfg.lr:g}) or the weights."
        )


def full_batches(count: int, size: int) -> list[slice]:
    """The rows of each batch of `size` out of `count`; what does not fill a batch is left out."""
    return [slice(start, start + size) for start in range(0, count - size + 1, size)]


def train_epoch(trainer: Trainer, pairs, count: int) -> torch.Tensor:
    """Algorithm 1's inner loop over `count` images; returns the terms of each step, [steps, 3], on the CPU."""
    cfg = trainer.cfg
    trainer.model.train()
    torch.backends.cudnn.benchmark = True  # all batches have one shape, for which cuDNN shall try its ways
    generator = new_generator(cfg.seed, "epoch", trainer.epoch)
    order = torch.randperm(count, generator=generator)
    batches = [share(rows) for rows in full_batches(count, cfg.batch_size)]
    views = progress(pairs.epoch(order, batches, generator), f"epoch {trainer.epoch + 1}/{cfg.epochs}", len(batches))
    terms = []
    for step, (x, x2) in enumerate(views):  # T(B) and T(B)
        rate = relative_rate(cfg, trainer.epoch * trainer.steps + step, cfg.epochs * trainer.steps)
        for optimizer in trainer.optimizers:
            optimizer.param_groups[0]["lr"] = rate * optimizer.defaults["lr"]
        terms.append(train_step(trainer, x, x2))
        if trainer.device.type == "cpu":
            _stop_if_broken(trainer, terms[-1][None], step)
    terms = torch.stack(terms).cpu()
    _stop_if_broken(trainer, terms, 0)
    _stop_if_overflowing(trainer)
    return terms


@torch.no_grad()
def evaluate_terms(trainer: Trainer, pairs, count: int) -> torch.Tensor:
    """The three terms [3] over the test set, averaged over its full batches."""
    trainer.model.eval()
    batches = [share(rows) for rows in full_batches(count, min(trainer.cfg.batch_size, count))]
    terms = [torch.stack(_compare(trainer, x, x2)) for x, x2 in pairs.tests(batches)]
    return torch.stack(terms).mean(dim=0).cpu()


@dataclass(frozen=True)
class Run:
    """A finished training. history: float32 [steps, 3], tests: float32 [epochs, 3]; columns as `OBJECTIVES`."""

    cfg: Config
    folder: Path
    history: np.ndarray
    tests: np.ndarray
    seconds: float
    precision: str

    @cached_property
    def identity(self) -> str:
        return digest(self._weights())

    def encoder(self, device="cpu") -> Encoder:
        """f, frozen and in evaluation mode."""
        encoder = NETWORKS[self.cfg.encoder](self.cfg.width, self.cfg.encoder_dim)
        encoder.load_state_dict(self._weights())
        return encoder.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)

    def _weights(self):
        record = _whole(self.folder / "history.npz", read_whole)
        return _whole(self.folder / "encoder.pt", lambda path: _load(path, str(record["weights"])))


def _write_run(trainer, folder):
    """history.npz and encoder.pt, after which no earlier checkpoint is needed."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trainer.encoder.state_dict().items()}
    arrays = {name: np.asarray(getattr(trainer, name)) for name in ("history", "tests", "seconds")}
    write_arrays(folder / "history.npz", arrays | {"weights": np.asarray(digest(weights))})
    atomic(folder / "encoder.pt", lambda path: torch.save(weights, path))
    if rank() == 0:
        (folder / "previous.pt").unlink(missing_ok=True)


def _read_run(folder):
    """The arrays of history.npz; None where the run is not finished, or one of its two files is damaged."""
    record = recover(folder / "history.npz", read_whole)
    weights = record and recover(folder / "encoder.pt", lambda path: _load(path, str(record["weights"])))
    return record if weights else None


def _load(path, expected=None):
    """The contents of a file of PyTorch's; ValueError unless they have the digest `expected`, or one inside."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    if (expected or content.pop("digest")) != digest(content):
        raise ValueError("the digest does not agree")
    return content


def _whole(path, read):
    """`read(path)`; UserError where the file is damaged or gone."""
    try:
        return read(path)
    except (PermissionError, MemoryError):
        raise
    except Exception:  # a damaged file may raise anything
        remedy = "copy it anew, or train with the settings of its folder again, which makes it anew"
        raise UserError(f"{path} is {fault(path)}: {remedy}.") from None


def load_networks(run: Run) -> nn.Sequential | None:
    """h after f, as training left them, in evaluation mode; None where last.pt was deleted or is damaged."""
    state = recover(run.folder / "last.pt", _load)
    if not state:
        return None
    networks = nn.Sequential(*initial_networks(run.cfg))
    networks.load_state_dict(state["model"])
    return networks.eval()


def find_run(cfg: Config, images: Images, pairs=GeneratedPairs, tag="vicreg", encoder=None, objective=None) -> tuple:
    """(settings, folder) of a run; `auto` takes the precision of one that is finished, where there is one."""
    settings = run_settings(cfg, images, pairs, encoder, objective)
    for precision in PRECISIONS if cfg.precision == "auto" else ():
        other = settings | {"precision": precision}
        if is_finished(run_folder(cfg, other, tag)) and not is_finished(run_folder(cfg, settings, tag)):
            another = f"precision={settings['precision']} trains another"
            log(f"training {tag}: the run that is finished in {precision} is taken ({another})")
            return other, run_folder(cfg, other, tag)
    return settings, run_folder(cfg, settings, tag)


def _read_settings(folder):
    """What config.json says; nothing where it cannot be read."""
    try:
        return dict(json.loads(regular(folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def _why_anew(cfg, settings, tag):
    """A sentence on the latest run that differs in its code or its precision alone; empty where there is none."""
    paths = sorted(cfg.runs.glob(f"{tag}-*/config.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for name, before in ((path.parent.name, _read_settings(path.parent)) for path in paths):
        differing = [setting for setting in settings if before.get(setting) != settings[setting]]
        was = before.get("precision")
        if differing == ["precision"] and was in list(PRECISIONS):
            return f"training {tag} anew: {name} has the same settings in {was}, which precision={was} would take"
        if differing == ["code"] and isinstance(before.get("code"), dict):
            old, new = before["code"], settings["code"]
            parts = [f"`{part}`" for part in new | old if old.get(part) != new.get(part)]
            shown = ", ".join(parts[:5]) + (f" and {len(parts) - 5} more" if parts[5:] else "")
            return f"training {tag} anew: the code of {shown} has changed since {name}"
    return ""


def _write_checkpoint(state, folder):
    """last.pt, with its digest inside; what was last.pt is previous.pt. Only the first of several ranks writes."""
    if rank():
        return
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder / "last.pt", folder / "previous.pt")
    atomic(folder / "last.pt", lambda path: torch.save(state | {"digest": digest(state)}, path))


def _resume(trainer, folder) -> bool:
    """Go on from the latest checkpoint that is whole; False where there is none."""
    for name in ("last.pt", "previous.pt"):
        state = recover(folder / name, _load)
        if state:
            trainer.load(state)
            log(f"resuming {folder.name} after epoch {trainer.epoch}")
            return True
    return False


def _on_cpu(state):
    """A copy of dicts and lists, whose tensors are on the CPU."""
    if isinstance(state, dict):
        return {name: _on_cpu(value) for name, value in state.items()}
    if isinstance(state, list):
        return [_on_cpu(value) for value in state]
    return state.to("cpu", copy=True) if isinstance(state, torch.Tensor) else state


class _Checkpoints:
    """Writes the checkpoints of a training to a folder, beside the training; who leaves it waits for the last."""

    def __init__(self, folder):
        self.folder, self.thread, self.writing = folder, ThreadPoolExecutor(1), None

    def write(self, trainer, start):
        """The state as it is now. To its seconds are added those since `start`, with the wait for the one before."""
        if self.writing:
            self.writing.result()
        state = _on_cpu(trainer.state())
        trainer.seconds += time.perf_counter() - start
        self.writing = self.thread.submit(_write_checkpoint, state | {"seconds": trainer.seconds}, self.folder)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.thread.shutdown()
        if self.writing and kind is None:
            self.writing.result()


def _keep_settings(cfg, folder, settings, resumed):
    """config.json: what makes the weights, and where they were made."""
    machines = _read_settings(folder).get("machines", []) if resumed else []
    now = {"device": device_name(cfg), "threads": torch.get_num_threads(), "torch": str(torch.__version__)}
    for name, value in machines[-1].items() if machines else ():
        if now.get(name) != value:
            log(f"resuming with {name} {now.get(name)} after {value}: weights may differ from those of an unbroken run")
    text = json.dumps(settings | {"machines": machines + [now] * (now not in machines[-1:])}, indent=1)
    atomic(folder / "config.json", lambda path: path.write_text(text, encoding="utf-8"))


def own_encoder(encoder: nn.Module) -> dict:
    """What makes the weights of an encoder that is not the book's: code, layers as they print, numbers, weights."""
    values = [
        (name, value)
        for part in encoder.modules()
        for name, value in vars(part).items()
        if not name.startswith("_") and name != "training"
    ]
    functions = [value for _, value in values if callable(value) and not isinstance(value, nn.Module)]
    plain = [(name, repr(value)) for name, value in values if isinstance(value, (int, float, str, tuple, list))]
    code = code_of([type(part) for part in encoder.modules()], functions)
    return {"code": code, "layers": digest(repr(encoder), plain), "weights": digest(encoder.state_dict())}


def _fitted(cfg, encoder):
    """The `Config` with the dimension of an own encoder's vectors; UserError if it makes none."""
    if not isinstance(encoder, nn.Module):
        raise UserError(f"encoder is {short(encoder)}: give a torch.nn.Module that makes [B, d] of [B, 3, 32, 32].")
    views = torch.zeros(2, 3, cfg.view_size, cfg.view_size)
    try:
        with torch.no_grad():
            y = copy.deepcopy(encoder).cpu().eval()(views)
    except Exception as error:
        why = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".")
        raise UserError(
            f"the encoder fails on views {list(views.shape)} ({why}): give one that makes [2, d]."
        ) from error
    if not isinstance(y, torch.Tensor) or y.dim() != 2 or len(y) != 2:
        made = list(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
        raise UserError(f"the encoder makes {made} of views {list(views.shape)}: give one that makes [2, d].")
    return cfg.replace(encoder_dim=y.shape[1])


def _moved(encoder, size):
    """The weights that training moves: neither frozen nor without a part in what the encoder makes."""
    copied = copy.deepcopy(encoder).cpu().eval()
    y = copied(torch.zeros(2, 3, size, size))
    if y.requires_grad:
        y.sum().backward()
    return [weight for weight, tried in zip(encoder.parameters(), copied.parameters()) if tried.grad is not None]


class _OwnTrainer(Trainer):
    """A `Trainer` of an encoder that is not the book's."""

    def __init__(self, cfg: Config, settings: dict, steps_per_epoch: int, encoder: nn.Module):
        super().__init__(cfg, settings, steps_per_epoch)
        self.encoder = copy.deepcopy(encoder)
        model = synchronised(nn.Sequential(self.encoder, self.projector), self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.forward = torch.compile(self.model) if cfg.compile else self.model
        self.optimizers = _optimizers(cfg, nn.ParameterList(_moved(self.encoder, cfg.view_size)), self.projector)


@dataclass(frozen=True)
class OwnRun(Run):
    """A finished training of an encoder that is not the book's."""

    made: nn.Module

    def encoder(self, device="cpu") -> nn.Module:
        """f, frozen and in evaluation mode."""
        encoder = copy.deepcopy(self.made)
        encoder.load_state_dict(self._weights())
        return encoder.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)


def own_objective(objective) -> dict:
    """What makes the terms of an objective that is not the book's: its code, and plain values from around it."""
    around = inspect.getclosurevars(objective)
    values = {**around.globals, **around.nonlocals}
    plain = {name: value for name, value in values.items() if isinstance(value, (int, float, str, tuple, list))}
    return {"code": code_of(objective), "values": digest(repr(sorted(plain.items())))}


def _check_objective(cfg, objective):
    """UserError unless `objective`, if there is one, makes three finite numbers with a gradient of two batches."""
    if objective is None:
        return
    remedy = "give a function of z and z2 [B, d] that returns Terms(invariance, variance, covariance)"
    both = torch.randn(2, 8, cfg.projection_dim, generator=new_generator(cfg.seed, "objective"))
    z, z2 = (projections.requires_grad_() for projections in both)
    if not inspect.isfunction(objective):
        raise UserError(f"objective is {short(objective)}: {remedy}.")
    try:
        terms = Terms(*objective(z, z2))
        vicreg_loss(terms, cfg.lam, cfg.mu, cfg.nu).backward()
        fits = all(term.shape == () and term.isfinite() for term in terms) and z.grad is not None
    except Exception as error:
        why = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".")
        raise UserError(f"the objective fails on projections {list(z.shape)} ({why}): {remedy}.") from error
    if not fits:
        raise UserError(f"the objective's terms are not three finite numbers that depend on z: {remedy}.")


def _is_finite(optimizers) -> bool:
    """Whether all that these optimisers remember is finite."""
    kept = [value for optimizer in optimizers for state in optimizer.state.values() for value in state.values()]
    return bool(torch.stack([value.isfinite().all() for value in kept]).all())


def _one_epoch(trainer, pairs, images, checkpoints):
    cfg, start = trainer.cfg, time.perf_counter()
    terms = train_epoch(trainer, pairs, len(images.train_images))
    tested = evaluate_terms(trainer, pairs, len(images.test_images))
    if not (tested.isfinite().all() and _is_finite(trainer.optimizers)):  # which no training loss has seen yet
        raise UserError(f"the network is lost in epoch {trainer.epoch + 1}: lower lr ({cfg.lr:g}) or the weights.")
    trainer.history = torch.cat([trainer.history, terms])
    trainer.tests = torch.cat([trainer.tests, tested[None]])
    trainer.epoch += 1
    checkpoints.write(trainer, start)
    shown = zip(OBJECTIVES, terms.mean(dim=0), tested)
    told = ", ".join(f"{name} {mean:.3f} (test {test:.3f})" for name, mean, test in shown)
    left = trainer.seconds / trainer.epoch * (cfg.epochs - trainer.epoch)
    log(f"epoch {trainer.epoch:3}/{cfg.epochs}: {told}, {duration(left)} left")
    if cfg.tensorboard:
        _write_events(trainer, checkpoints.folder)


def _write_events(trainer, folder):
    """The terms of the last epoch as TensorBoard events."""
    from torch.utils.tensorboard import SummaryWriter

    done = len(trainer.history)
    with SummaryWriter(folder / "tensorboard") as writer:
        for column, name in enumerate(OBJECTIVES):
            for step in range(done - trainer.steps, done):
                writer.add_scalar(f"train/{name}", trainer.history[step, column].item(), step)
            writer.add_scalar(f"test/{name}", trainer.tests[-1, column].item(), done)


def _find_finished(cfg, folder, tag):
    """`_read_run` of a tidied folder; where all is made anew, an earlier run steps aside."""
    remove_leftovers(folder, cfg.cache)
    if folder.is_dir() and not is_current(folder / "config.json"):
        log(f"training {tag} anew: the earlier one is kept as {set_aside(folder, 'before')}")
    return _read_run(folder)


def _begin(cfg, images, settings, folder, tag, encoder=None, objective=None):
    """A trainer in the state from which the training begins or goes on, the same on all ranks."""
    facts = cfg, settings, len(images.train_images) // cfg.batch_size
    trainer = Trainer(*facts) if encoder is None else _OwnTrainer(*facts, encoder)
    trainer.objective = objective or trainer.objective
    if rank() == 0:
        resumed = _resume(trainer, folder)
        if not resumed and (why := _why_anew(cfg, settings, tag)):
            log(why)
        _keep_settings(cfg, folder, settings, resumed)
    if world() > 1:
        trainer.load(from_first(trainer.state()))
    return trainer


def train(cfg: Config, images: Images, pairs=None, tag="vicreg", encoder: nn.Module = None, objective=None) -> Run:
    """Algorithm 1 with `pairs` (Q1's generated views by default): trained, resumed, or loaded if it is finished.

    encoder: any module from views float32 [B, 3, S, S] to [B, d], in place of the one that `cfg` names.
    objective: a function of z, z2 [B, d] that returns three `Terms`, in place of Eq. 2-5; Eq. 6 weights them.
    Writes runs/<tag>-<digest>/config.json, last.pt (after each epoch), encoder.pt and history.npz.
    A damaged file is set aside, and made again. UserError for what does not fit, or a loss that breaks.
    """
    check_fit(cfg, len(images.train_images), len(images.test_images), names=("batch_size",))  # images of one's own
    cfg = cfg if encoder is None else _fitted(cfg, encoder)
    _check_objective(cfg, objective)
    pairs, own = pairs or GeneratedPairs(cfg, images), (encoder, objective)
    settings = from_first(find_run(cfg, images, pairs, tag, *own)[0])
    folder = run_folder(cfg, settings, tag)
    finished = _find_finished(cfg, folder, tag) if rank() == 0 else None
    if not from_first(finished is not None):
        trainer = _begin(cfg, images, settings, folder, tag, *own)
        log(f"training {tag}: {cfg.epochs} epochs on {device_name(cfg)} in {settings['precision']}, {folder}")
        with _Checkpoints(folder) as checkpoints:
            while trainer.epoch < cfg.epochs:
                _one_epoch(trainer, pairs, images, checkpoints)
        _write_run(trainer, folder)
    record = after_first(lambda: finished or _read_run(folder))
    found = cfg, folder, record["history"], record["tests"], float(record["seconds"]), settings["precision"]
    return Run(*found) if encoder is None else OwnRun(*found, encoder)


def load_encoder(run: Run | str | Path, device="cpu", encoder: nn.Module = None) -> nn.Module:
    """f of a finished training, frozen and in evaluation mode: normalised images [B, 3, H, W] to [B, d].

    run: a `Run`, or its folder. encoder: for the folder of an own encoder, one made in the same way.
    UserError if the folder holds no finished training, a damaged one, or one of another encoder.
    """
    if isinstance(run, Run):
        return run.encoder(device)
    folder = Path(run).expanduser()
    settings, names = _read_settings(folder), ("encoder", "width", "encoder_dim", "precision")
    if not (settings.keys() >= set(names) and is_finished(folder)):
        raise UserError(f"{folder} holds no finished training: give a folder of runs/ with encoder.pt and config.json.")
    if "own_encoder" in settings and encoder is None:
        raise UserError(f"{folder} is a training of an own encoder: give one that is made in the same way, encoder=...")
    kept = (Config(**{name: settings[name] for name in names}), folder, None, None, 0.0, settings["precision"])
    try:
        return (Run(*kept) if encoder is None else OwnRun(*kept, encoder)).encoder(device)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:120]
        raise UserError(f"the weights in {folder} are of another encoder ({why} ...): give its own.") from None


q1 = Question("Q1", "Training", "Section 3.2, Question 1", compute=train, required=True)


def _objective(run, name):
    """The curves of one objective: each batch, the running median, the test set after each epoch."""
    column = OBJECTIVES.index(name)
    values, tests = run.history[:, column], run.tests[:, column]
    batches, ends = np.arange(1, len(values) + 1), len(values) // len(tests) * np.arange(1, len(tests) + 1)
    smooth = pd.Series(values).rolling(max(1, len(values) // 50), center=True, min_periods=1).median().to_numpy()
    curves = {"each batch": (batches, values), "running median": (batches, smooth), "test set": (ends, tests)}
    colours = dict(zip(curves, ("#a9c3de", METHOD_COLOURS[0], "#111111")))
    top = 1.15 * max(np.quantile(values, 0.995), tests.max())  # the first batches may lie far above
    look = {"thin": ["each batch"], "points": ["test set"], "width": 2.3, "height": 2.3, "ylim": (0, top)}
    return lines({"": curves}, "training batch", f"{name} term", colours, **look)


@q1.figure(
    "The invariance term (Eq. 2) of the training batches, and of the test set (evaluation mode) after each epoch."
)
def q1_invariance(run):
    return _objective(run, "invariance")


@q1.figure("The variance term (Eq. 3, both branches): training batches, and the test set after each epoch.")
def q1_variance(run):
    return _objective(run, "variance")


@q1.figure(
    "The covariance term (Eq. 5, both branches): training batches, and the test set (evaluation mode) after each "
    "epoch. Whether a gap between them is due to new images or to evaluation mode is measured in the text."
)
def q1_covariance(run):
    return _objective(run, "covariance")


@torch.no_grad()
def _for_their_size(networks: nn.Module, batches) -> tuple[float, float]:
    """Over batches of views (x, x'): mean squared distance of their projections, that of two unrelated images is 1;
    and the covariance term of both branches for a mean variance of 1."""
    networks, near, far, terms = copy.deepcopy(networks).train(), 0.0, 0.0, []
    for views in batches:
        branches = [networks(view).float() for view in views]
        near += (branches[0] - branches[1]).square().mean().item()
        far += sum(z.var(dim=0).mean().item() for z in branches)
        terms.append(sum(covariance(z).item() / z.var(dim=0).mean().item() ** 2 for z in branches))
    return near / far, float(np.mean(terms))


def _looked_back(run: Run, most: int = 2_000) -> dict | None:
    """terms [3]: of training images, computed as those of the test set; by_batch [3]: of the test images, in training
    mode. sized [2, 2]: `_for_their_size` before and after, over `most` test images. None if the trained networks are
    not there any more.
    """
    images, networks = open_dataset(run.cfg), None if isinstance(run, OwnRun) else load_networks(run)
    if networks is None:
        return None

    @torch.no_grad()
    def compute():
        trainer, count = Trainer(run.cfg, {"precision": run.precision}, 1), len(images.test_images)
        size = min(run.cfg.batch_size, count)
        pairs, batches = GeneratedPairs(run.cfg, images), full_batches(min(count, max(most, size)), size)
        sized = [_for_their_size(trainer.model, pairs.tests(batches))]
        trainer.model.load_state_dict(networks.state_dict())
        sized.append(_for_their_size(trainer.model, pairs.tests(batches)))
        known = replace(images, test_images=images.train_images[: min(count, len(images.train_images))])
        terms = evaluate_terms(trainer, GeneratedPairs(run.cfg, known), len(known.test_images)).numpy()
        trainer.model.train()
        tests = pairs.tests(full_batches(count, size))
        by_batch = np.mean([[term.item() for term in _compare(trainer, x, x2)] for x, x2 in tests], axis=0)
        return {"terms": terms, "by_batch": by_batch, "sized": np.array(sized)}

    return cached(run.cfg.cache, "looked back", [run.identity, images.identity, run.precision, most], compute)


_CHOICES = {"encoder": "encoder", "optimiser": "optimizer", "learning rate": "lr", "batch size": "batch_size"}
_CHOICES |= {"number of epochs": "epochs"}


def _unlike(cfg):
    """What of the training is not as the exercise has it, in words."""
    return ", ".join(word for word, name in _CHOICES.items() if getattr(cfg, name) != getattr(Config(), name))


@q1.summary
def _numbers(run):
    cfg, steps = run.cfg, len(run.history) // len(run.tests)
    numbers = {"epochs": len(run.tests), "batches": len(run.history), "batch_size": cfg.batch_size}
    numbers |= {"seconds": run.seconds, "time": duration(run.seconds), "precision": run.precision}
    numbers["views"] = 2 * cfg.batch_size * len(run.history)
    numbers["views_per_second"] = numbers["views"] / run.seconds
    weights = np.array([cfg.lam, cfg.mu, cfg.nu])
    columns = [*zip(OBJECTIVES, run.history.T, run.tests.T), ("loss", run.history @ weights, run.tests @ weights)]
    for name, batches, tests in columns:
        epochs = {"first_epoch": batches[:steps].mean(), "last_epoch": batches[-steps:].mean()}
        numbers[name] = {"first_batch": batches[0], **epochs, "first_test": tests[0], "last_test": tests[-1]}
    found = _looked_back(run) or {"terms": [np.nan] * 3, "by_batch": [np.nan] * 3, "sized": np.full((2, 2), np.nan)}
    for name, part in (("evaluated", "terms"), ("by_batch", "by_batch")):
        numbers["covariance"][name] = found[part][OBJECTIVES.index("covariance")]
    for name, values in zip(("distance", "correlated"), zip(*found["sized"], strict=True), strict=True):
        numbers[name] = dict(zip(("before", "after"), values, strict=True))
    numbers["correlated"]["smallest_before"] = numbers["correlated"]["before"]  # it differs much by initial weights
    numbers["loss"]["by_batch"] = weights @ found["by_batch"]
    numbers["unlike"] = _unlike(cfg)
    return numbers | {"test_gap": tests[-1] / epochs["last_epoch"] - 1}  # of the loss


_COURSE = """**In {epochs} epochs ({batches:,} batches of {batch_size}, {time} in {precision}) the loss of Eq. 6 goes
    from {loss.first_epoch:.1f}, the mean of the first epoch, to {loss.last_epoch:.1f} in the last.** From the first
    epoch to the last the invariance term goes from {invariance.first_epoch:.3f} to {invariance.last_epoch:.3f}, the
    variance term from {variance.first_epoch:.3f} to {variance.last_epoch:.3f}, the covariance term from
    {covariance.first_epoch:.3f} to {covariance.last_epoch:.3f}."""
q1.says(_COURSE + " Other than in the exercise here: {unlike}.", when=lambda n: bool(n.get("unlike")))
q1.says(_COURSE, when=lambda n: not n.get("unlike"))


def _closer(n):
    """Whether the invariance term has risen, though for their size two views come closer."""
    rises = n.invariance.last_epoch > n.invariance.first_epoch
    return rises and n.distance.after is not None and n.distance.after < n.distance.before


q1.says(
    """**The invariance term rises because all projections spread; for their size, the views of an image come closer.**
    Their squared distance is {distance.before:.0%} of that of two unrelated images before the training, and
    {distance.after:.0%} after it (test images, in batches as in training).""",
    when=_closer,
)
q1.says(
    """The covariance term rises for the same reason, as it grows with the fourth power of the spread: for a mean
    variance of 1 it falls from at least {correlated.smallest_before:.0f} to {correlated.after:.0f}.""",
    when=lambda n: (
        _closer(n)
        and n.covariance.last_epoch > n.covariance.first_epoch
        and n.correlated.after < n.correlated.get("smallest_before", 0)
    ),
)


_TEST = """On the test set the loss ends at {loss.last_test:.1f}, {test_gap:.1%} above the training batches of the last
    epoch. Invariance ({invariance.last_test:.3f}) and variance ({variance.last_test:.3f}) end near their values there;
    the covariance term is {covariance.last_test:.2f} instead of {covariance.last_epoch:.2f}. """
_MODE = """training images, compared in the same way, give {covariance.evaluated:.2f}. """
_BATCH = """evaluation mode, in which batch normalisation uses running averages over the last batches: by the statistics
    of the batch at hand, as in training, the test images have {covariance.by_batch:.2f}. """


def _share_of_mode(n):
    """How much of the test set's gap in covariance there is on training images in evaluation mode.

    nan, of which nothing is said, if that is unknown, or if the gap is not covariance's alone.
    """
    low, high, mode = n.covariance.last_epoch, n.covariance.last_test, n.covariance.evaluated
    near = all(abs(n[name].last_test - n[name].last_epoch) < 0.1 * n[name].last_epoch for name in OBJECTIVES[:2])
    told = mode is not None and high > 1.15 * low and n.test_gap > 0 and near
    return (mode - low) / (high - low) if told else np.nan


def _gone_by_batch(n):
    """Whether most of the gap is gone by the statistics of the batch at hand."""
    low, high, there = n.covariance.last_epoch, n.covariance.last_test, n.covariance.by_batch
    return there is not None and there - low < 0.3 * (high - low)


_OLD = _TEST + "New images are not the cause: " + _MODE
q1.says(
    _OLD + "The cause is " + _BATCH,
    when=lambda n: _share_of_mode(n) > 0.7 and _gone_by_batch(n),
)
q1.says(
    _OLD + "What is, was not found.",
    when=lambda n: _share_of_mode(n) > 0.7 and not _gone_by_batch(n),
)
_BOTH = _TEST + "New images are part of the cause: " + _MODE
q1.says(
    _BOTH + "The rest is due to " + _BATCH,
    when=lambda n: 0.3 < _share_of_mode(n) <= 0.7 and _gone_by_batch(n),
)
q1.says(
    _BOTH + "What the rest is, was not found.",
    when=lambda n: 0.3 < _share_of_mode(n) <= 0.7 and not _gone_by_batch(n),
)
q1.says(_TEST + "That is because the images are new: " + _MODE, when=lambda n: _share_of_mode(n) <= 0.3)
q1.says(
    """On the test set the loss ends at {loss.last_test:.1f}, {test_gap:+.1%} from the training batches of the last
    epoch.""",
    when=lambda n: np.isnan(_share_of_mode(n)),
)


q1.says(
    """With the statistics of each batch, as in training, the loss is as low on new images: {loss.by_batch:.1f}, where
    the training batches of the last epoch have {loss.last_epoch:.1f}.""",
    when=lambda n: n.loss.get("by_batch") is not None and n.loss.by_batch < 1.01 * n.loss.last_epoch,
)
