"""Several processes make what one makes; a rank that fails ends all, with its sentence."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.training import train


def start(count, *arguments):
    """Run a command as `count` processes by torchrun, or as one without it."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::FutureWarning:vicreg_nb"}
    command = [sys.executable, *torchrun, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=500)


@pytest.fixture(scope="module")
def epochs(root, tmp_path_factory):
    """count of processes -> what each of its ranks found in an epoch."""
    found = {}
    for count in (1, 2, 4):
        folder = tmp_path_factory.mktemp(f"of_{count}")
        done = start(count, root / "tests" / "parallel_rank.py", folder)
        assert done.returncode == 0, done.stderr
        found[count] = [torch.load(folder / f"{rank}-of-{count}.pt") for rank in range(count)]
    return found


@pytest.mark.parametrize("count", (2, 4))
def test_several_processes_make_what_one_makes(epochs, count):
    (one,) = epochs[1]
    scale = torch.cat([gradient.flatten() for gradient in one["gradients"]]).norm()
    for found in epochs[count]:
        for ours, theirs in zip(found["gradients"], one["gradients"], strict=True):
            assert ((ours - theirs).norm() / scale) < 1e-6
            if theirs.norm() > 1e-9 * scale:  # a bias before batch normalisation has none
                torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6 * theirs.norm().item())
        for name in ("terms", "tests", "state"):
            torch.testing.assert_close(found[name], one[name], rtol=1e-6, atol=1e-6)
