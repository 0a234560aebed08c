"""An epoch of the real training in float64, as one process or as a rank of torchrun: python parallel_rank.py FOLDER."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.parallel import join, world
from vicreg_nb.store import rank
from vicreg_nb.training import GeneratedPairs, Trainer, evaluate_terms, run_settings, train_epoch


class Float64(GeneratedPairs):
    """The same views in float64."""

    def epoch(self, *args):
        return ((x.double(), x2.double()) for x, x2 in super().epoch(*args))

    def tests(self, *args):
        return ((x.double(), x2.double()) for x, x2 in super().tests(*args))


def main(folder):
    """Write the terms, the first step's gradients and the state after an epoch."""
    torch.set_num_threads(1)
    cfg = make_config("smoke", device="cpu", out=str(folder), optimizer="muon", muon_lr=0.02)
    join(torch.device("cpu"))
    images = open_dataset(cfg)
    trainer, gradients = Trainer(cfg, run_settings(cfg, images), len(images.train_images) // cfg.batch_size), []
    trainer.model.double()
    step = trainer.optimizers[0].step

    def recorded():
        gradients.append([p.grad.clone() for p in trainer.model.parameters()])
        step()

    trainer.optimizers[0].step = recorded
    pairs = Float64(cfg, images)
    found = {"terms": train_epoch(trainer, pairs, len(images.train_images)), "gradients": gradients[0]}
    found |= {"tests": evaluate_terms(trainer, pairs, len(images.test_images)), "state": trainer.model.state_dict()}
    torch.save(found, folder / f"{rank()}-of-{world()}.pt")
    if world() > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
