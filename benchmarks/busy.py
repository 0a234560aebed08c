"""How threads should wait: a training on a quiet machine, beside other work, and three trainings at once.

    python benchmarks/busy.py [--steps 20] [--rounds 5] [--profile quick] [--only quiet busy together smoke smokes]
                              [--settings ours default PASSIVE "spin 20,000" ...]

Each setting of OpenMP's waiting runs in a process of its own, all cases and settings by turns in every round, and
medians over the rounds are shown: seconds of wall time and of CPU time, and wall time against the best setting's.
quiet, busy, together: `--steps` steps of `--profile`. smoke, smokes: three whole trainings of profile `smoke`, one
after the other. busy: beside one process for each core that never rests. together, smokes: by three processes at once,
of which the slowest counts, and it is compared with one alone (quiet, smoke). They begin when all of them are ready.
A machine that has other work to do has no quiet case.
ours: what `vicreg_nb.threads` chooses when the process starts.

On two cores a round takes about a minute and a half for each setting, most of which is the start of PyTorch.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import NamedTuple

from vicreg_nb.threads import brief_waiting


class Case(NamedTuple):
    others: int = 0  # processes that compete
    trainings: int = 1  # at once
    smoke: bool = False  # whole trainings of smoke, instead of steps
    alone: str = ""  # the case that is the same with one training


SETTINGS = {
    "ours": {},
    "default": {},
    "PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
    **{f"spin {count:,}": {"GOMP_SPINCOUNT": str(count)} for count in (1_000, 5_000, 20_000, 50_000, 100_000)},
}
CASES = {
    "quiet": Case(),
    "busy": Case(others=os.cpu_count()),
    "together": Case(trainings=3, alone="quiet"),
    "smoke": Case(smoke=True),
    "smokes": Case(trainings=3, smoke=True, alone="smoke"),
}
FACTOR, CLOSE = 4, 1.05  # three at once may take this many times as long as one; within this of the best is close
WHOLE = 3  # trainings of smoke that are timed together, each of which takes less than a second


def training_steps(profile):
    """A function that takes some steps of training, and returns (wall, CPU) seconds."""
    from training import our_steps
    from vicreg_nb.config import make_config
    from vicreg_nb.data import open_dataset
    from vicreg_nb.training import GeneratedPairs, Trainer

    cfg = make_config(profile, dataset="shapes", device="cpu", tensorboard=False)
    trainer, pairs = Trainer(cfg, {"precision": "fp32"}, 1), GeneratedPairs(cfg, open_dataset(cfg))
    return lambda count: our_steps(trainer, pairs, count)


def smoke_trainings(folder):
    """A function that trains as often as is asked, each time with another seed, and returns (wall, CPU) seconds."""
    from vicreg_nb.config import make_config
    from vicreg_nb.data import open_dataset
    from vicreg_nb.training import train

    cfg = make_config("smoke", device="cpu", out=folder)
    images = open_dataset(cfg)

    def trainings(count):
        wall, cpu = time.perf_counter(), time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            for seed in range(count):
                train(cfg.replace(seed=100 * count + seed), images)
        return time.perf_counter() - wall, time.process_time() - cpu

    return trainings


def child(options):
    """What a measured process does: it warms up, waits until all are ready, and says (wall, CPU) seconds."""
    with tempfile.TemporaryDirectory() as folder:
        smoke = CASES[options.child].smoke
        work = smoke_trainings(folder) if smoke else training_steps(options.profile)
        work(2)  # warms up
        print("ready", flush=True)
        input()
        print(json.dumps(work(WHOLE if smoke else options.steps)))


def start(case, setting, options):
    clean = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    command = [sys.executable, __file__, "--child", case, "--steps", str(options.steps), "--profile", options.profile]
    command += ["--chosen"] if setting == "ours" else []
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=clean | SETTINGS[setting], **pipes)


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
    with competitors(CASES[case].others):
        running = [start(case, setting, options) for _ in range(CASES[case].trainings)]
        for process in running:
            while process.stdout.readline() not in ("ready\n", ""):  # what is said before
                pass
        for process in running:
            process.stdin.write("\n")
            process.stdin.flush()
        return max(json.loads(process.communicate()[0]) for process in running)


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
        return child(options)
    taken = {(case, setting): [] for case in options.only for setting in options.settings}
    for _ in range(options.rounds):
        for case, setting in taken:
            taken[case, setting].append(measure(case, setting, options))
    show(taken, options)


def show(taken, options):
    wall = {at: median(wall for wall, _ in values) for at, values in taken.items()}
    best = {case: min(wall[case, setting] for setting in options.settings) for case in options.only}
    print(f"{options.steps} steps of {options.profile}, smoke {WHOLE} times, {os.cpu_count()} cores, "
          f"{options.rounds} rounds, fp32")  # fmt: skip
    for (case, setting), values in taken.items():
        alone = CASES[case].alone
        times = f"  {wall[case, setting] / wall[alone, setting]:.2f} of one" if alone in best else ""
        seconds = f"{wall[case, setting]:7.2f} s {median(cpu for _, cpu in values):7.2f} s of CPU"
        print(f"{case:9} {setting:13} {seconds} {wall[case, setting] / best[case]:6.2f} of the best{times}")
    both = [case for case in ("quiet", "busy") if case in best]
    if both:
        close = (setting for setting in options.settings if all(wall[at, setting] <= CLOSE * best[at] for at in both))
        print(f"within {CLOSE - 1:.0%} of the best in {' and '.join(both)}: {', '.join(close) or 'none'}")
    for case, alone in ((case, CASES[case].alone) for case in options.only if CASES[case].alone in best):
        quick = (setting for setting in options.settings if wall[case, setting] <= FACTOR * wall[alone, setting])
        print(f"{case}: at most {FACTOR} times as long as {alone}: {', '.join(quick) or 'none'}")


if __name__ == "__main__":
    main()
