"""One training step, ours and three other implementations of VICReg: CPU seconds and wall time a view.

    pip install -e '.[bench]'
    git clone https://github.com/facebookresearch/vicreg PEERS/vicreg
    git clone https://github.com/vturrisi/solo-learn PEERS/solo-learn
    python benchmarks/peers.py PEERS [--profile quick] [--batch 128] [--precision fp32] [--rounds 5] [--steps 3]

All train the same network, with the same batch and precision, on the same images, in turn, in one process. Each makes
its views as it does by default (at 32 pixels), so T differs: lightly's and facebookresearch's blur by another kernel or
solarise, solo-learn's is that of its CIFAR-10 configuration. Theirs are made image by image, ours in batches. The
losses and transforms of facebookresearch and solo-learn are imported from the two clones, and of the latter the two
files that hold them, with stand-ins for what they import only for several GPUs or for ImageNet. The peers' optimizer is
PyTorch's Adam, their tensors are in the usual memory format, ours are what `vicreg_nb.training` makes of them.

`data` and `network` are measured apart, in CPU seconds of all threads. `wall` is the time of both together: with two
DataLoader workers for the peers, whose start is not counted, nor are the up to two batches that they made meanwhile.
Medians over the rounds; `x ours` is the median of the rounds' ratios, with the lowest and the highest.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import torch
import torch.distributed as dist
import yaml
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from vicreg_nb.config import device_name, make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.training import GeneratedPairs, Trainer, full_batches, initial_networks, run_settings, train_step


class Peer(NamedTuple):
    views: Callable  # number of batches -> batches of two views, in this process
    loader: Callable  # the same as it is done in a training
    step: Callable  # two views -> nothing; an update


class Pictures(Dataset):
    """PIL images through a transform that makes two views."""

    def __init__(self, images, transform):
        self.images, self.transform = images, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return tuple(self.transform(Image.fromarray(self.images[index])))


def ours(cfg, images):
    trainer, pairs = Trainer(cfg, run_settings(cfg, images), 1), GeneratedPairs(cfg, images)

    def views(count):
        generator, batches = torch.Generator().manual_seed(0), full_batches(count * cfg.batch_size, cfg.batch_size)
        return pairs.epoch(torch.randperm(count * cfg.batch_size, generator=generator), batches, generator)

    trainer.model.train()
    return Peer(views, views, lambda x, x2: train_step(trainer, x, x2))


def theirs(cfg, images, transform, loss):
    """loss: a function of the model and two views."""
    model, half = nn.Sequential(*initial_networks(cfg)).train(), cfg.precision == "bf16"
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)

    def loader(count, **workers):
        pictures = Pictures(images.train_images[: count * cfg.batch_size], transform)
        return iter(DataLoader(pictures, cfg.batch_size, shuffle=True, **workers))

    def step(x, x2):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            value = loss(model, x, x2)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    return Peer(loader, lambda count: loader(count, num_workers=2, prefetch_factor=1), step)


def load(path, name):
    """A module from a file, without the package around it."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def facebook(cfg, images, folder):
    sys.path.insert(0, str(folder))  # its files import each other by bare names
    import augmentations
    import main_vicreg

    transform = augmentations.TrainTransform()
    for branch in (transform.transform, transform.transform_prime):
        crop = branch.transforms[0]
        branch.transforms[0] = transforms.RandomResizedCrop(32, interpolation=crop.interpolation)
    method = main_vicreg.VICReg.__new__(main_vicreg.VICReg)  # not by __init__, which makes its own ResNet
    nn.Module.__init__(method)
    method.args = SimpleNamespace(batch_size=cfg.batch_size, sim_coeff=25.0, std_coeff=25.0, cov_coeff=1.0)
    method.num_features, method.backbone = cfg.projection_dim, nn.Identity()

    def loss(model, x, x2):
        method.projector = model
        return method(x, x2)

    return theirs(cfg, images, transform, loss)


def lightly(cfg, images, folder):
    from lightly.loss import VICRegLoss
    from lightly.transforms import VICRegTransform

    criterion = VICRegLoss()
    return theirs(cfg, images, VICRegTransform(input_size=32), lambda model, x, x2: criterion(model(x), model(x2)))


class Node(dict):
    """A dict whose values are also attributes, as solo-learn's configurations are."""

    def __getattr__(self, name):
        return Node(self[name]) if isinstance(self[name], dict) else self[name]


def solo_learn(cfg, images, folder):
    stand_ins = {"solo.utils.misc": {"gather": lambda z: z}}  # of one process
    stand_ins["timm.data.constants"] = {f"IMAGENET_DEFAULT_{name}": (0.5, 0.5, 0.5) for name in ("MEAN", "STD")}
    for name, values in stand_ins.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(values)
    data = load(folder / "solo/data/pretrain_dataloader.py", "solo_data")
    criterion = load(folder / "solo/losses/vicreg.py", "solo_loss").vicreg_loss_func
    published = yaml.safe_load((folder / "scripts/pretrain/cifar/vicreg.yaml").read_text())["augmentations"][0]
    transform = data.NCropAugmentation(data.build_transform_pipeline("cifar10", Node(published)), 2)
    return theirs(cfg, images, transform, lambda model, x, x2: criterion(model(x), model(x2)))


PEERS = {
    "facebookresearch/vicreg": (facebook, "vicreg"),
    "lightly": (lightly, ""),
    "solo-learn": (solo_learn, "solo-learn"),
}


def measure(peer, count):
    """(CPU seconds of data, of network, wall seconds) of `count` steps."""
    start = time.process_time()
    batches = [(x, x2) for x, x2 in peer.views(count)]
    middle = time.process_time()
    for x, x2 in batches:
        peer.step(x, x2)
    end = time.process_time()
    if peer.views is peer.loader:
        steps, begun = peer.loader(count), time.perf_counter()
    else:
        steps = peer.loader(count + 1)
        next(steps)  # the workers have started
        begun = time.perf_counter()
    for x, x2 in steps:
        peer.step(x, x2)
    return middle - start, end - middle, time.perf_counter() - begun


def show(name, found, reference):
    """found, reference: a round's (data, network, wall) in seconds a view, for each round."""
    data, network, wall = (1000 * median(values) for values in zip(*found))
    line = f"{name:25}{data:8.3f}{network:9.3f}{data + network:9.3f}{wall:9.3f}"
    for total in (lambda times: times[0] + times[1], lambda times: times[2]):
        ratios = [total(times) / total(first) for times, first in zip(found, reference)]
        line += f"{median(ratios):8.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="with the clones vicreg and solo-learn")
    parser.add_argument("--profile", default="quick", help="whose network is trained")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="in each round")
    options = parser.parse_args()
    cfg = make_config(options.profile, device="cpu", batch_size=options.batch, precision=options.precision)
    images = open_dataset(cfg)
    dist.init_process_group(
        "gloo", store=dist.HashStore(), rank=0, world_size=1
    )  # facebookresearch's loss asks for one
    peers = {"ours": ours(cfg, images)}
    peers |= {name: make(cfg, images, options.folder / place) for name, (make, place) in PEERS.items()}
    found = {name: [] for name in peers}
    for peer in peers.values():
        measure(peer, 1)  # warms up
    for _ in range(options.rounds):
        for name, peer in peers.items():
            times = measure(peer, options.steps)
            found[name].append([seconds / (2 * cfg.batch_size * options.steps) for seconds in times])
    network = f"{cfg.profile}'s network, batch {cfg.batch_size}, {cfg.precision}"
    print(f"{network}, {options.rounds} rounds of {options.steps} steps, {device_name(cfg)}, torch {torch.__version__}")
    print(f"{'ms a view':25}{'data':>8}{'network':>9}{'CPU':>9}{'wall':>9}  {'CPU x ours':22}wall x ours")
    for name, rounds in found.items():
        show(name, rounds, found["ours"])


if __name__ == "__main__":
    main()
