"""Algorithm 1: it learns, it resumes to the bit, it stops when the loss breaks, it is found again by its settings."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from vicreg_nb.config import UserError, make_config, stream
from vicreg_nb.data import normalise, open_dataset, to_float
from vicreg_nb.training import (
    GeneratedPairs,
    Trainer,
    bf16_speedup,
    duration,
    evaluate_terms,
    figure_objective,
    learning_rate,
    run_folder,
    run_settings,
    train,
    train_step,
)
from vicreg_nb.vicreg import Encoder, vicreg_loss, vicreg_terms


@pytest.fixture
def smoke(tmp_path):
    return open_dataset(make_config("smoke", out=str(tmp_path)))


def weights(run):
    return torch.load(run.folder / "encoder.pt", weights_only=True)


def test_a_run_writes_what_it_promises_and_is_found_again(smoke):
    cfg, images = smoke
    run = train(cfg, images)
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "last.pt", "encoder.pt", "history.npz"}
    assert run.history.shape == (2 * 6, 3) and run.tests.shape == (2, 3) and run.views == 2 * 6 * 64 * 2
    assert run.fresh and not train(cfg, images).fresh
    assert json.loads((run.folder / "config.json").read_text())["lr"] == cfg.lr


def test_one_step_is_algorithm_1(smoke):
    """The same step written out in float64: two views, separately through f and h, Eq. 6, Adam."""
    cfg, images = smoke
    settings = run_settings(cfg, images)
    ours, theirs = Trainer(cfg, settings, 6), Trainer(cfg, settings, 6)
    ours.model.double(), theirs.model.double()
    x, x2 = (view.double() for view in GeneratedPairs(cfg, images).train(torch.arange(32), stream(0, "test")))
    adam = torch.optim.Adam(theirs.model.parameters(), lr=cfg.lr, betas=(0.9, 0.999), weight_decay=cfg.weight_decay)
    for _ in range(2):
        train_step(ours, x, x2)
        terms = vicreg_terms(theirs.projector(theirs.encoder(x)), theirs.projector(theirs.encoder(x2)))
        adam.zero_grad()
        vicreg_loss(terms, 25, 25, 1).backward()
        adam.step()
    for ours_p, theirs_p in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(ours_p, theirs_p, rtol=1e-6, atol=1e-8)


def test_the_two_views_differ_and_are_normalised(smoke):
    cfg, images = smoke
    x, x2 = GeneratedPairs(cfg, images).train(torch.arange(64), stream(0, "views"))
    plain = normalise(to_float(images.train_images[:64]))
    for view in (x, x2):
        assert view.shape == plain.shape and (view - plain).abs().mean() > 0.1
        assert view.min() >= normalise(torch.zeros(1, 3, 1, 1)).min() - 1e-4
        assert view.max() <= normalise(torch.ones(1, 3, 1, 1)).max() + 1e-4
    assert (x - x2).abs().mean() > 0.1


def test_test_terms_do_not_touch_the_model_and_use_running_statistics(smoke):
    cfg, images = smoke
    trainer = Trainer(cfg, run_settings(cfg, images), 6)
    pairs = GeneratedPairs(cfg, images)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    terms = evaluate_terms(trainer, pairs, len(images.test_images))
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert torch.equal(terms, evaluate_terms(trainer, pairs, len(images.test_images)))
    trainer.model.eval()
    generator, expected = stream(cfg.seed, "test views"), []
    with torch.no_grad():
        for start in range(0, 128, 64):  # 160 test images hold two full batches
            x, x2 = pairs.test(torch.arange(start, start + 64), generator)
            expected.append(torch.stack(vicreg_terms(trainer.model(x), trainer.model(x2))))
    torch.testing.assert_close(terms, torch.stack(expected).mean(dim=0))


def test_training_lowers_the_loss(smoke):
    cfg, images = smoke
    run = train(cfg.replace(epochs=14, lr=4e-3), images)
    loss = run.history @ np.array([cfg.lam, cfg.mu, cfg.nu])
    assert loss[-6:].mean() < 0.9 * loss[:6].mean()


PROGRAM = """
import sys
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.training import train
cfg, images = open_dataset(make_config("smoke", out=sys.argv[1], epochs=4, precision=sys.argv[2]))
train(cfg, images)
"""


def start_training(folder, precision):
    command = [sys.executable, "-u", "-c", PROGRAM, str(folder), precision]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"})


def test_a_killed_run_resumes_to_the_bit(tmp_path):
    whole = start_training(tmp_path / "whole", "fp32")
    assert whole.wait(120) == 0
    killed = start_training(tmp_path / "killed", "fp32")
    for line in killed.stdout:
        if line.startswith("epoch   2/4"):
            break
    time.sleep(0.05)  # into the third epoch
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert not list((tmp_path / "killed").glob("runs/*/encoder.pt"))
    resumed = start_training(tmp_path / "killed", "fp32")
    output = resumed.communicate(timeout=120)[0]
    assert resumed.returncode == 0 and "after epoch 2" in output or "after epoch 3" in output
    whole.stdout.close()
    runs = [next((tmp_path / name).glob("runs/vicreg-*")) for name in ("whole", "killed")]
    states = [torch.load(run / "encoder.pt", weights_only=True) for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    histories = [np.load(run / "history.npz") for run in runs]
    for name in ("history", "tests"):
        np.testing.assert_array_equal(histories[0][name], histories[1][name])


def test_a_damaged_checkpoint_is_named(smoke):
    cfg, images = smoke
    folder = run_folder(cfg, run_settings(cfg, images))
    folder.mkdir(parents=True)
    (folder / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"last\.pt cannot be read .* delete it"):
        train(cfg, images)


class PoisonedPairs(GeneratedPairs):
    identity = "poisoned"
    calls = 0

    def train(self, indices, generator):
        x, x2 = super().train(indices, generator)
        self.calls += 1
        return (x * float("nan"), x2) if self.calls == 9 else (x, x2)


def test_a_loss_that_breaks_stops_with_step_terms_and_checkpoint(smoke):
    cfg, images = smoke
    with pytest.raises(UserError, match=r"in epoch 2, step 3 of 6 \(invariance nan.*the state after epoch 1 is kept"):
        train(cfg, images, PoisonedPairs(cfg, images), "poisoned")
    folder = next(cfg.runs.glob("poisoned-*"))
    assert torch.load(folder / "last.pt", weights_only=True)["epoch"] == 1 and not (folder / "encoder.pt").exists()


def test_only_what_changes_the_weights_changes_the_folder(smoke):
    cfg, images = smoke
    base = run_folder(cfg, run_settings(cfg, images))
    for change in ({"probe_lr": 0.5}, {"anomaly_k": 7}, {"tensorboard": True}, {"tsne_size": 100}):
        assert run_folder(cfg, run_settings(cfg.replace(**change), images)) == base
    for change in ({"lr": 0.5}, {"seed": 4}, {"mu": 0.0}, {"epochs": 9}, {"precision": "bf16"}, {"width": 16}, {"batch_size": 32}):
        assert run_folder(cfg, run_settings(cfg.replace(**change), images)) != base
    assert run_folder(cfg, run_settings(cfg, replace(images, identity="other"))) != base


def test_the_encoder_is_frozen_and_has_the_final_weights(smoke):
    cfg, images = smoke
    run = train(cfg, images)
    encoder = run.encoder()
    assert isinstance(encoder, Encoder) and not encoder.training and not any(p.requires_grad for p in encoder.parameters())
    last = torch.load(run.folder / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(value, last[f"0.{name}"]) for name, value in encoder.state_dict().items())


def test_seeds_give_different_weights_and_the_same_seed_the_same(smoke, tmp_path):
    cfg, images = smoke
    first, second = train(cfg, images), train(cfg.replace(seed=1), images)
    again = train(cfg.replace(out=str(tmp_path / "again")), images)
    assert not torch.equal(weights(first)["stem.0.weight"], weights(second)["stem.0.weight"])
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())


def test_bf16_training_is_close_to_fp32(smoke):
    cfg, images = smoke
    fp32, bf16 = (train(cfg.replace(precision=precision, epochs=1), images) for precision in ("fp32", "bf16"))
    np.testing.assert_allclose(bf16.history, fp32.history, rtol=0.2, atol=0.1)
    assert bf16_speedup(torch.device("cpu"), repeats=1) > 0


def test_one_cycle_rises_falls_and_ends_at_zero():
    cfg = make_config("smoke", lr=1.0)
    rates = [learning_rate(cfg, step, 100) for step in range(100)]
    assert max(rates) == rates[19] == pytest.approx(1.0) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(np.diff(rates[:20]) > 0) and all(np.diff(rates[19:]) < 0)
    assert {learning_rate(cfg.replace(schedule="constant"), step, 100) for step in range(100)} == {1.0}


def test_tensorboard_events_are_written_when_asked_for(smoke):
    cfg, images = smoke
    run = train(cfg.replace(tensorboard=True, epochs=1), images)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    values = [event.value for event in events.Scalars("train/invariance")]
    np.testing.assert_allclose(values, run.history[:, 0], rtol=1e-6)
    assert len(events.Scalars("test/covariance")) == 1


def test_figures_show_what_was_recorded(smoke):
    cfg, images = smoke
    run = train(cfg, images)
    for column in range(3):
        fig, interactive = figure_objective(run, column)
        raw, _, test = fig.axes[0].lines
        np.testing.assert_array_equal(raw.get_ydata(), run.history[:, column])
        assert test.get_xdata().tolist() == [6, 12]
        np.testing.assert_array_equal(interactive.data[2].y, run.tests[:, column])


@pytest.mark.parametrize(("seconds", "text"), [(7.6, "8 s"), (59.4, "59 s"), (200, "3 min 20 s"), (3_900, "1 h 05 min")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_few_steps_on_real_images_lower_the_loss(real_data, tmp_path):
    cfg, images = open_dataset(
        make_config("quick", dataset="cifar10", device="cpu", out=str(tmp_path), train_size=2_048, test_size=512, precision="fp32", epochs=2, batch_size=128)
    )
    run = train(cfg, images)
    loss = run.history @ np.array([cfg.lam, cfg.mu, cfg.nu])
    assert np.isfinite(loss).all() and loss[-8:].mean() < loss[:8].mean()
