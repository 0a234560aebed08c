"""Does profile `quick` train in no more time than it did before it was found anew?

    python benchmarks/quick.py [--steps 20] [--rounds 9] [--precision auto]

Before: ResNet18 at width 16 with a first convolution of stride 2, Adam at 2e-3, ten epochs in batches of 128, one
cycle. Both train on the same images by today's code (views, step, precision), so that the recipes alone differ.

A piece is `--steps` training steps, views included. The pieces of the two alternate in one process, and which of them
comes first alternates over the rounds. Medians over the rounds, of wall seconds and of CPU seconds of all threads,
times the number of steps are the whole trainings'; the test terms after each epoch are not counted. The ratio is the
median of the rounds' ratios, with the lowest and the highest. A round takes about five seconds on two cores.
"""

import argparse
from statistics import median

import torch
from training import our_steps
from vicreg_nb.config import device_name, make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.training import GeneratedPairs, Trainer, choose_precision, full_batches

BEFORE = dict(encoder="resnet18", width=16, optimizer="adam", lr=2e-3, batch_size=128, epochs=10, schedule="onecycle")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="in each piece")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    options = parser.parse_args()
    now = make_config("quick", device="cpu", precision=options.precision)
    before = now.replace(**BEFORE)
    images, settings = open_dataset(now), {"precision": choose_precision(now)}
    pairs = GeneratedPairs(now, images)
    trainers = {"before": Trainer(before, settings, 1), "now": Trainer(now, settings, 1)}
    trainers["before"].encoder.stem[0].stride = (2, 2)
    found = {name: [] for name in trainers}
    for trainer in trainers.values():
        trainer.model.train()
        our_steps(trainer, pairs, 2)  # warms up
    for round_ in range(options.rounds):
        for name in list(trainers)[:: 1 - 2 * (round_ % 2)]:
            found[name].append(our_steps(trainers[name], pairs, options.steps))
    what = f"{images.name}, {settings['precision']}, {options.rounds} rounds of {options.steps} steps"
    print(f"{what}, {device_name(now)}, torch {torch.__version__}")
    steps = {name: cfg.epochs * len(full_batches(len(images.train_images), cfg.batch_size))
             for name, cfg in (("before", before), ("now", now))}  # fmt: skip
    show(found, steps, options.steps)


def show(found, whole, steps):
    """found: (wall, CPU) seconds of each piece of `steps` steps; whole: steps of a whole training."""
    print(f"{'':8}{'ms a step':>10}{'CPU ms a step':>15}{'steps':>8}{'a training':>12}{'CPU':>9}")
    for name, pieces in found.items():
        wall, cpu = (median(seconds) / steps for seconds in zip(*pieces))
        print(f"{name:8}{1000 * wall:10.1f}{1000 * cpu:15.1f}{whole[name]:8}{wall * whole[name]:10.0f} s"
              f"{cpu * whole[name]:7.0f} s")  # fmt: skip
    longer = whole["now"] / whole["before"]
    for at, kind in enumerate(("wall", "CPU")):
        ratios = [longer * now[at] / before[at] for now, before in zip(found["now"], found["before"])]
        verdict = "no more time" if median(ratios) <= 1 else "more time"
        spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"a whole training now takes {spread} of the {kind} time before: {verdict}")


if __name__ == "__main__":
    main()
