"""Training throughput against a plain reference, in one alternating run.

    python benchmarks/training.py [--width 16 --encoder small] [--batch 256] [--steps 4] [--rounds 3]

The reference is what the usual repository does: the same network in fp32, eager, NCHW, torchvision's transforms image
by image in a DataLoader with two workers, Adam. Ours is `vicreg_nb.training.train_step` on `vicreg_nb.views`, in the
precision that it chooses for this machine. So the ratio is of two things together, a plain loop and, where bf16 is
chosen, fp32; benchmarks/peers.py compares with other libraries in one precision. Views per second are medians over
rounds; so is their ratio.
"""

import argparse
import time
from statistics import median

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from vicreg_nb.config import make_config
from vicreg_nb.data import MEAN, STD, open_dataset
from vicreg_nb.training import GeneratedPairs, Trainer, choose_precision, full_batches, run_settings, train_step
from vicreg_nb.store import new_generator
from vicreg_nb.vicreg import NETWORKS, Projector, vicreg_loss, vicreg_terms

GFLOP_PER_VIEW = 3.12  # forward and backward at width 64, stride 1


class PerImage(Dataset):
    """Two views of each image by torchvision's transforms, one image at a time."""

    def __init__(self, images):
        self.images = images
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomResizedCrop(32, scale=(0.2, 1)),
                transforms.RandomHorizontalFlip(),
                transforms.ColorJitter(0.4, 0.4, 0.2, 0.1),
                transforms.RandomGrayscale(0.2),
                transforms.RandomApply([transforms.GaussianBlur(3, (0.1, 2.0))]),
                transforms.ToTensor(),
                transforms.Normalize(MEAN.tolist(), STD.tolist()),
            ]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(self.images[index]), self.transform(self.images[index])


def reference_steps(cfg, images, model, optimizer, steps):
    """Seconds for `steps` steps of the reference, the loader's start not counted."""
    chosen = images.train_images[: (steps + 1) * cfg.batch_size]
    batches = iter(DataLoader(PerImage(chosen), cfg.batch_size, shuffle=True, num_workers=2, prefetch_factor=1))
    next(batches)
    start = time.perf_counter()
    for x, x2 in batches:
        loss = vicreg_loss(vicreg_terms(model(x), model(x2)), cfg.lam, cfg.mu, cfg.nu)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
    return time.perf_counter() - start


def our_steps(trainer, pairs, steps):
    """(wall, CPU) seconds for `steps` steps of ours on random images, their views included."""
    generator, size = new_generator(0, "benchmark"), trainer.cfg.batch_size
    order = torch.randint(len(pairs.train_images), (steps * size,), generator=generator)
    wall, cpu = time.perf_counter(), time.process_time()
    for x, x2 in pairs.epoch(order, full_batches(len(order), size), generator):
        train_step(trainer, x, x2)
    return time.perf_counter() - wall, time.process_time() - cpu


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=2, help="steps timed in each round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cfg = make_config("exercise", device="cpu", width=options.width, encoder=options.encoder, batch_size=options.batch)
    images = open_dataset(cfg)
    trainer, pairs = Trainer(cfg, run_settings(cfg, images), 1), GeneratedPairs(cfg, images)
    model = nn.Sequential(
        NETWORKS[cfg.encoder](cfg.width, cfg.encoder_dim), Projector(cfg.encoder_dim, cfg.projection_dim)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)
    views, speeds = 2 * cfg.batch_size * options.steps, {"reference": [], "ours": []}
    our_steps(trainer, pairs, 1)
    for _ in range(options.rounds):
        speeds["reference"].append(views / reference_steps(cfg, images, model, optimizer, options.steps))
        speeds["ours"].append(views / our_steps(trainer, pairs, options.steps)[0])
    ratios = np.array(speeds["ours"]) / np.array(speeds["reference"])
    print(
        f"{cfg.encoder}, width {cfg.width}, batch {cfg.batch_size}, "
        f"ours in {choose_precision(cfg)}, the reference a plain loop in fp32, {torch.get_num_threads()} threads"
    )
    for name, values in speeds.items():
        print(f"{name:10} {median(values):8.1f} views/s")
    print(
        f"ratio      {median(ratios):8.2f} (from {ratios.min():.2f} to {ratios.max():.2f} over {options.rounds} rounds)"
    )
    if (cfg.encoder, cfg.width) == ("resnet18", 64):
        print(f"ours       {median(speeds['ours']) * GFLOP_PER_VIEW / 1000:8.2f} TFLOP/s")


if __name__ == "__main__":
    main()
