"""The real training in float64, by one process and by several: python parallel_rank.py FOLDER.

An epoch by 4, 2 and 1, after which each rank writes what it has found as FOLDER/RANK-of-COUNT.pt; and in FOLDER/stopped
a training by two that is broken off after its first epoch. torchrun's own launcher starts them, by a fork: what takes
longest, the imports, is done once.
"""

import contextlib
import sys

import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
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


SMALL = dict(width=4, train_size=128, test_size=64, batch_size=32)  # four batches an epoch


def config(folder):
    return make_config("smoke", device="cpu", out=str(folder), optimizer="muon", muon_lr=0.02, **SMALL)


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


def as_rank(what, folder):
    """What one of the processes does."""
    torch.set_num_threads(1)
    join(torch.device("cpu"))
    cfg = config(folder)
    what(cfg, open_dataset(cfg))
    if world() > 1:
        dist.barrier()
        dist.destroy_process_group()


def together(count, *work):
    started = dict(min_nodes=1, max_nodes=1, nproc_per_node=count, start_method="fork", max_restarts=0)
    rendezvous = dict(run_id=f"{count}", rdzv_backend="c10d", rdzv_endpoint="localhost:0")
    elastic_launch(LaunchConfig(**started, **rendezvous), as_rank)(*work)


def main(folder):
    together(4, epoch, folder)
    together(2, epoch, folder)
    together(2, stopped, f"{folder}/stopped")
    as_rank(epoch, folder)


if __name__ == "__main__":
    main(sys.argv[1])
