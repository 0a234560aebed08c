"""How threads should wait: a training step on a quiet machine, beside other work, and three trainings at once.

    python benchmarks/busy.py [--steps 20] [--rounds 5] [--profile quick] [--only quiet busy together]

Each setting of OpenMP's waiting runs in a process of its own, all settings by turns in every round, and medians over
the rounds are shown: seconds of wall time and of CPU time for the steps, and wall time against the best setting's.
quiet: alone. busy: beside one process for each core that never rests. together: three at once, the last one's end
counts, and it is compared with one alone. A machine that has other work to do has no quiet case.
ours: what `vicreg_nb.threads` chooses when the process starts.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from statistics import median

from vicreg_nb.threads import brief_waiting

SETTINGS = {
    "ours": {},
    "default": {},
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"spin {count:,}": {"GOMP_SPINCOUNT": str(count)} for count in (1_000, 5_000, 20_000, 50_000, 100_000)},
}
CASES = {"quiet": (0, 1), "busy": (os.cpu_count(), 1), "together": (0, 3)}  # processes that compete, trainings at once
FACTOR, CLOSE = 4, 1.05  # three at once may take this many times as long as one; within this of the best is close


def steps(profile, count):
    """What a measured process does: some steps of training, and on its last line what they took."""
    import torch
    from vicreg_nb.config import make_config
    from vicreg_nb.data import open_dataset
    from vicreg_nb.store import new_generator
    from vicreg_nb.training import GeneratedPairs, Trainer, train_step

    cfg = make_config(profile, dataset="shapes", device="cpu", tensorboard=False)
    images = open_dataset(cfg)
    trainer, pairs = Trainer(cfg, {"precision": "fp32"}, count), GeneratedPairs(cfg, images)
    generator = new_generator(0, "busy")
    for step in range(-2, count):  # two to warm up
        if step == 0:
            wall, cpu = time.perf_counter(), time.process_time()
        order = torch.randint(len(images.train_images), (cfg.batch_size,), generator=generator)
        train_step(trainer, *next(pairs.epoch(order, [slice(len(order))], generator)))
    print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))


def start(setting, options):
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, __file__, "--child", options.profile, "--steps", str(options.steps)]
    command += ["--chosen"] if setting == "ours" else []
    return subprocess.Popen(command, env=clean | SETTINGS[setting], stdout=subprocess.PIPE, text=True)


@contextlib.contextmanager
def competitors(count):
    """Within it, `count` processes that never rest."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measure(case, setting, options):
    """(wall, CPU) seconds of the slowest training."""
    others, trainings = CASES[case]
    with competitors(others):
        running = [start(setting, options) for _ in range(trainings)]
        return max(json.loads(process.communicate()[0].splitlines()[-1]) for process in running)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--chosen", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.chosen:
        os.environ.update(brief_waiting(os.environ))  # before PyTorch is imported
    if options.child:
        return steps(options.child, options.steps)
    taken = {(case, setting): [] for case in options.only for setting in options.settings}
    for _ in range(options.rounds):
        for case, setting in taken:
            taken[case, setting].append(measure(case, setting, options))
    show(taken, options)


def show(taken, options):
    wall = {at: median(wall for wall, _ in values) for at, values in taken.items()}
    print(f"{options.steps} steps of {options.profile}, {os.cpu_count()} cores, {options.rounds} rounds, fp32")
    for case in options.only:
        best = min(wall[case, setting] for setting in options.settings)
        for setting in options.settings:
            cpu = median(cpu for _, cpu in taken[case, setting])
            alone = (
                f"  {wall[case, setting] / wall['quiet', setting]:.2f} of one"
                if case == "together" and ("quiet" in options.only)
                else ""
            )
            seconds = f"{wall[case, setting]:7.2f} s {cpu:7.2f} s of CPU"
            print(f"{case:9} {setting:13} {seconds} {wall[case, setting] / best:6.2f} of the best{alone}")
    both = [case for case in ("quiet", "busy") if case in options.only]
    close = [
        setting for setting in options.settings
        if all(wall[case, setting] <= CLOSE * min(wall[case, other] for other in options.settings) for case in both)
    ]  # fmt: skip
    print(f"within {CLOSE - 1:.0%} of the best in {' and '.join(both) or 'no case'}: {', '.join(close) or 'none'}")


if __name__ == "__main__":
    main()
