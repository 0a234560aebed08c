"""The real training in float64, as one process or as a rank of torchrun: python parallel_rank.py FOLDER [stop].

An epoch, after which each rank writes what it has found; with `stop`, a training that is broken off after its first.
"""

import contextlib
import sys

import torch
import torch.distributed as dist
from vicreg_nb import training
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.parallel import join, world
from vicreg_nb.store import rank
from vicreg_nb.training import GeneratedPairs, Trainer, evaluate_terms, run_settings, train, train_epoch


class Float64(GeneratedPairs):
    """The same views in float64."""

    def epoch(self, *args):
        return ((x.double(), x2.double()) for x, x2 in super().epoch(*args))

    def tests(self, *args):
        return ((x.double(), x2.double()) for x, x2 in super().tests(*args))


class Double(Trainer):
    """The same networks in float64."""

    def __init__(self, *facts):
        super().__init__(*facts)
        self.model.double()


def config(folder):
    return make_config("smoke", device="cpu", out=str(folder), optimizer="muon", muon_lr=0.02)


def stopped(cfg, images):
    """A training that is broken off after its first epoch."""
    training.Trainer, one_epoch = Double, training._one_epoch

    def first_epoch(trainer, *arguments):
        if trainer.epoch:
            raise KeyboardInterrupt
        one_epoch(trainer, *arguments)

    training._one_epoch = first_epoch
    with contextlib.suppress(KeyboardInterrupt):
        train(cfg, images, Float64(cfg, images))


def epoch(cfg, images):
    """Write the terms, the first step's gradients and the state after an epoch."""
    trainer, gradients = Double(cfg, run_settings(cfg, images), len(images.train_images) // cfg.batch_size), []
    step = trainer.optimizers[0].step

    def recorded():
        gradients.append([p.grad.clone() for p in trainer.model.parameters()])
        step()

    trainer.optimizers[0].step = recorded
    pairs = Float64(cfg, images)
    found = {"terms": train_epoch(trainer, pairs, len(images.train_images)), "gradients": gradients[0]}
    found |= {"tests": evaluate_terms(trainer, pairs, len(images.test_images)), "state": trainer.model.state_dict()}
    torch.save(found, cfg.folder / f"{rank()}-of-{world()}.pt")


def main(folder, what=""):
    torch.set_num_threads(1)
    join(torch.device("cpu"))
    cfg = config(folder)
    (stopped if what else epoch)(cfg, open_dataset(cfg))
    if world() > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
