"""Odd environments and working folders: one sentence, or the images and folders that there are."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

from harness import Wrong, fuzz, unlike_a_sentence
from vicreg_nb import data
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.threads import brief_waiting

ROOT = Path(__file__).resolve().parent.parent.parent
PLACES = [None, "{here}", "{here}/a/b", "{here}/file", "{here}/pipe", "{here}/loop", "{here}/locked",
          "{here}/é\udcff\n", "relative", "~", "~nosuchuser", "$HOME", "/dev/null", "/proc/self", "/proc/nope",
          "x" * 5_000, "{here}/" + "y/" * 2_500, "{here}:{here}"]  # fmt: skip
WORDS = {
    "LC_ALL": [None, "", "C", "POSIX", "de_DE.UTF-8", "tr_TR", "xx_YY.utf8", "é", "../..", "x" * 5_000],
    "LANG": [None, "", "C", "ja_JP.SJIS", "nonsense"],
    "MPLBACKEND": [None, "", "agg", "TkAgg", "nonsense", "module://nowhere", "é\n"],
    "OMP_NUM_THREADS": [None, "", "0", "-1", "1", "1,2", "9" * 30, "x"],
    "OMP_WAIT_POLICY": [None, "", "PASSIVE", "active", "nonsense"],
}
FETCH = data.fetch  # the real one; what it downloads with is another's below


def environment(random, here):
    """An environment with a few odd values, and a working folder that need not be a good one."""
    for name in ("é\udcff\n", "locked", "work", "gone"):
        (here / name).mkdir()
    (here / "locked").chmod(0o555)
    (here / "file").touch()
    os.mkfifo(here / "pipe")
    (here / "loop").symlink_to("loop")
    odd = {"HOME": PLACES, "XDG_CACHE_HOME": PLACES, "VICREG_NB_DATA": ["", *PLACES]} | WORDS
    given = {"HOME": "{here}", "XDG_CACHE_HOME": None, "VICREG_NB_DATA": None}
    given |= {name: random.choice(odd[name]) for name in random.sample([*odd], random.choice([1, 2, 3]))}
    folder = random.choice(
        [here, here / "work", here / "é\udcff\n", here / "locked", here / "gone", Path("/proc/self")]
    )
    os.chdir(folder)
    (here / "gone").rmdir()
    return {name: value and value.replace("{here}", str(here)) for name, value in given.items()}


def test_settings_and_data(tmp_path, monkeypatch):
    def no_network(*_):
        raise OSError("no network")

    monkeypatch.setattr(data, "fetch", FETCH)
    monkeypatch.setattr(data, "download_url", no_network)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)  # nobody, whose home the system does not know

    def attempt(random, here):
        (here / "settings.ini").touch()
        with monkeypatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as told:
            for name, value in environment(random, here).items():
                patch.setenv(name, value) if value is not None else patch.delenv(name, raising=False)
            assert all(isinstance(value, str) for value in brief_waiting(os.environ).values())
            out = random.choice([str(here / "out"), "results", "~/results"])
            cfg = make_config("smoke", out=out, dataset=random.choice(["auto", "shapes", "cifar10"]), device="cpu")
            images = open_dataset(cfg.replace(dataset="auto") if random.random() < 0.5 else cfg)
            assert images.name == "shapes" and len(images.train_images) == cfg.train_size
            assert "NOT results on CIFAR-10" in told.getvalue() or cfg.dataset == "shapes"

    fuzz(attempt, 150, 25, tmp_path)


def test_the_command(tmp_path):
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--list", "--profile", "smoke"]

    def attempt(random, here):
        given = environment(random, here)
        kept = {name: value for name, value in os.environ.items() if name not in given} | {"PYTHONPATH": str(ROOT)}
        odd = {name: value for name, value in given.items() if value is not None}
        done = subprocess.run(command, env=kept | odd, capture_output=True, timeout=600)
        out, error = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert done.returncode in (0, 1) and bool(error) == bool(done.returncode), error[-300:]
        assert "01_vicreg" in out if done.returncode == 0 else not out
        for fault in unlike_a_sentence(error) if error else ():
            raise Wrong(fault)
        return done.returncode == 0

    fuzz(attempt, 24, 3, tmp_path)
