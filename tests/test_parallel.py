"""Several processes make what one makes; a rank that fails ends all, with its sentence."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from parallel_rank import SMALL, Double, Float64, config
from vicreg_nb import training
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.parallel import join
from vicreg_nb.store import UserError, read_arrays
from vicreg_nb.training import train


def start(count, *arguments):
    """Run a command as `count` processes by torchrun, or as one without it."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::FutureWarning:vicreg_nb"}
    command = [sys.executable, *torchrun, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)


@pytest.fixture(scope="module")
def made(root, tmp_path_factory):
    """The folder of what `parallel_rank` makes."""
    folder = tmp_path_factory.mktemp("made")
    done = start(1, root / "tests" / "parallel_rank.py", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("count", (2, 4))
def test_several_processes_make_what_one_makes(made, count):
    one = torch.load(made / "0-of-1.pt")
    scale = torch.cat([gradient.flatten() for gradient in one["gradients"]]).norm()
    for found in (torch.load(made / f"{rank}-of-{count}.pt") for rank in range(count)):
        for ours, theirs in zip(found["gradients"], one["gradients"], strict=True):
            assert ((ours - theirs).norm() / scale) < 1e-6
            if theirs.norm() > 1e-9 * scale:  # a bias before batch normalisation has none
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * theirs.norm().item())
        for name in ("terms", "tests", "state"):
            torch.testing.assert_close(found[name], one[name], rtol=1e-6, atol=1e-6)


def test_a_training_of_two_processes_goes_on_as_one(made, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "Trainer", Double)
    runs = []
    for folder in (made / "stopped", tmp_path / "one"):
        cfg = config(folder)
        images = open_dataset(cfg)
        runs.append(train(cfg, images, Float64(cfg, images)))
        assert ("after epoch 1" in capsys.readouterr().out) == (folder.name == "stopped")
    two, one = (torch.load(run.folder / "encoder.pt") for run in runs)
    torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(runs[0].history, runs[1].history, rtol=1e-6, atol=1e-6)
    assert one["stem.0.weight"].dtype == torch.float64


def asked(folder, *arguments):
    small = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    return ["--profile", "smoke", "--device", "cpu", "--only", "Q1", "--out", folder, *small, *arguments]


def book(count, *arguments):
    return start(count, "-m", "vicreg_nb.run_all", *asked(*arguments))


def test_the_book_trains_together_and_goes_on_alone(tmp_path):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path / "one"), **SMALL)
    one = train(cfg, open_dataset(cfg))
    done = book(2, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "two" / "runs" / one.folder.name  # the same run, by however many it is trained
    assert {path.name for path in folder.iterdir()} >= {"config.json", "last.pt", "encoder.pt", "history.npz"}
    assert done.stdout.count(f"{folder}\n") == 1  # the notebook finds it finished
    questions = json.loads((tmp_path / "two" / "results.json").read_text())["questions"]
    assert questions["Q1"]["numbers"]["batches"] == len(one.history)
    two = read_arrays(folder / "history.npz")
    np.testing.assert_allclose(two["history"][0], one.history[0], rtol=1e-5)  # before any step: the batch is the same
    np.testing.assert_allclose(two["history"], one.history, rtol=0.02, atol=1e-3)  # in fp32 rounding grows with steps
    np.testing.assert_allclose(two["tests"], one.tests, rtol=0.02, atol=1e-3)


def test_a_batch_that_cannot_be_shared_is_one_sentence(tmp_path):
    done = book(2, tmp_path, "--set", "batch_size=63")
    assert done.returncode == 1 and "vicreg_nb/run_all.py" not in done.stderr
    assert "a batch of 63 does not go into 2 equal parts" in done.stderr
    assert not list(tmp_path.glob("runs/vicreg-*"))


@pytest.mark.parametrize(("device", "local"), [("cuda", 1), ("cuda:0", 0)])
def test_fewer_gpus_than_processes_is_one_sentence(monkeypatch, device, local):
    given = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(local)}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.distributed, "init_process_group", None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)
    with pytest.raises(UserError, match="2 processes for 1 GPUs"):
        join(torch.device(device))


FAILING = """
import os, sys, torch
from vicreg_nb import run_all, training
from vicreg_nb.store import rank

step, steps = training.train_step, iter(range(4))

def train_step(*arguments):
    if next(steps) == 3 and rank() == int(sys.argv[1]):
        raise eval(sys.argv[2])
    return step(*arguments)  # in which the other one waits

training.train_step = train_step
os._exit(run_all.main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("failing", "error", "sentence"),
    [
        (1, "torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')", "memory ran out (2.00 GiB"),
        (0, "RuntimeError('cuDNN has an off day')", "RuntimeError: cuDNN has an off day"),
    ],
)
def test_a_rank_that_fails_in_an_epoch_ends_all_with_its_sentence(tmp_path, failing, error, sentence):
    (tmp_path / "program.py").write_text(FAILING)
    done = start(2, tmp_path / "program.py", failing, error, *asked(tmp_path))
    told = [line for line in done.stderr.splitlines() if line.startswith("process ")]
    assert done.returncode == 1 and "vicreg_nb/run_all.py" not in done.stderr
    assert len(told) == 1 and told[0].startswith(f"process {failing} of 2: {sentence}"), done.stderr
