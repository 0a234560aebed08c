"""Run folders and caches with damaged files: what is found again is what was kept, and nothing is deleted."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
from harness import damaged, fuzz, strange
from vicreg_nb.config import make_config
from vicreg_nb.data import draw_shapes, open_dataset
from vicreg_nb.identity import cached
from vicreg_nb.training import train

TINY = dict(encoder="small", width=4, encoder_dim=8, projection_dim=16, epochs=2, batch_size=32, precision="fp32")
PLACES = [os.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), lambda path: None]


def spoil(random, path):
    """Damage a file, or put something else, or nothing, in its place; returns what it then holds."""
    if random.random() < 0.15:
        path.unlink()
        return random.choice(PLACES)(path)
    whole = path.read_bytes()
    if path.suffix == ".json" and random.random() < 0.6:
        path.write_text(json.dumps(strange(random, json.loads(whole))), encoding="utf-8")
    else:
        path.write_bytes(damaged(random, whole))
    return path.read_bytes()


def test_run_folders(tmp_path):
    pictures, labels = draw_shapes(96, seed=0)
    shapes = open_dataset(make_config("smoke"))
    images = replace(shapes, train_images=pictures, train_labels=labels, test_images=pictures[:40], identity="few")
    cfg = make_config("smoke", device="cpu", out=str(tmp_path / "kept"), **TINY)
    run = train(cfg, images)
    weights, name = run.identity, run.folder.name

    def attempt(random, here):
        folder = here / "runs" / name
        shutil.copytree(run.folder, folder)
        files = random.sample(["encoder.pt", "history.npz", "last.pt", "config.json"], random.choice([1, 1, 2, 3]))
        content, *_ = [spoil(random, folder / file) for file in files]
        again = train(cfg.replace(out=str(here)), images)
        assert again.identity == weights and np.array_equal(again.history, run.history), "other weights are taken"
        if content and files in (["encoder.pt"], ["history.npz"]):
            assert any(content == path.read_bytes() for path in folder.iterdir() if path.is_file()), "it is lost"

    fuzz(attempt, 200, 12, tmp_path)


def test_caches(tmp_path):
    arrays = {"x": np.arange(3_000.0), "names": np.array(["é", "b"]), "one": np.array(3)}

    def attempt(random, here):
        cached(here, "x", [1], lambda: arrays)
        (path,) = here.iterdir()
        content = spoil(random, path)
        found = cached(here, "x", [1], lambda: arrays)
        assert all(np.array_equal(found[name], arrays[name]) for name in arrays), "something else is taken"
        kept = [path.read_bytes() for path in here.iterdir() if path.is_file()]
        assert not content or any(content == each for each in kept), "it is lost"

    fuzz(attempt, 150, 15, tmp_path)
