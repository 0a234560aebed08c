"""Settings are checked before any work; results and caches are written whole or not at all."""

import json

import numpy as np
import pytest
import torch
from vicreg_nb.config import (
    PROFILES,
    UserError,
    atomic,
    cached,
    changed_settings,
    digest,
    make_config,
    new_figure,
    notebook_config,
    read_results,
    record,
    save_figure,
    stream,
)

EXERCISE = {  # Sec. 2.1.2, word for word
    "gamma": 1.0, "eps": 1e-4, "lam": 25.0, "mu": 25.0, "nu": 1.0, "projection_dim": 512, "encoder_dim": 128,
    "batch_size": 256, "lr": 3e-4, "weight_decay": 1e-6, "epochs": 30, "neighbour_count": 3, "neighbour_epochs": 1, "anomaly_k": 2,
}  # fmt: skip


def test_exercise_profile_has_the_exercises_hyper_parameters():
    cfg = make_config("exercise", device="cpu")
    assert {name: getattr(cfg, name) for name in EXERCISE} == EXERCISE
    assert (cfg.width, cfg.stem_stride, cfg.schedule, cfg.train_size) == (64, 1, "constant", 0)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid(profile):
    assert make_config(profile).profile == profile


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"learning_rate": 1e-3}, "choose among profile, .* lr, "),
        ({"batchsize": 3}, "did you mean 'batch_size'"),
        ({"mu": -1}, "mu is -1.0: give at least 0"),
        ({"mu": "a lot"}, "mu is 'a lot'"),
        ({"mu": float("nan")}, "finite"),
        ({"lr": 0}, "lr is 0"),
        ({"epochs": 2.5}, "type int"),
        ({"epochs": True}, "type int"),
        ({"epochs": 0}, "at least 1"),
        ({"batch_size": 1}, "at least 2"),
        ({"batch_size": 10_000}, "more than the 384 training images"),
        ({"schedule": "linear"}, "choose one of constant, onecycle"),
        ({"dataset": "imagenet"}, "choose one of auto, cifar10, shapes"),
        ({"device": "tpu"}, "choose auto, cpu or cuda"),
        ({"device": "cuda:99"}, "no such GPU"),
        ({"seed": -3}, "seed is -3"),
        ({"data": {}}, "'data' is not a parameter"),
    ],
)
def test_wrong_settings_get_one_sentence(wrong, says):
    with pytest.raises(UserError, match=says) as caught:
        make_config("smoke", **wrong)
    assert "\n" not in str(caught.value)


def test_unknown_profile():
    with pytest.raises(UserError, match="'fast': choose one of auto, smoke, quick"):
        make_config("fast")


def test_none_keeps_the_profiles_value():
    assert make_config("smoke", epochs=None) == make_config("smoke")


def test_config_is_frozen_and_replace_is_checked():
    cfg = make_config("smoke")
    with pytest.raises(AttributeError):
        cfg.mu = 3.0
    with pytest.raises(UserError, match="lam is"):
        cfg.replace(lam=-2)


def test_notebook_parameters_are_those_of_the_parameters_cells():
    cells = ["x = 1", "# Parameters\nprofile: str = 'smoke'\nmu: float = 3", "# Parameters\nepochs = 4\n"]
    cfg = notebook_config({"In": cells, "profile": "smoke", "mu": 3, "epochs": 4, "lam": 99})
    assert (cfg.mu, cfg.epochs, cfg.lam) == (3.0, 4, 25.0)


def test_unknown_injected_parameter_is_refused():
    with pytest.raises(UserError, match="'epoch' is not a parameter: did you mean 'epochs'"):
        notebook_config({"In": ["# Parameters\nprofile = 'smoke'", "# Parameters\nepoch = 4\n"], "profile": "smoke", "epoch": 4})


def test_digest_tells_types_shapes_and_order():
    things = [1, 1.0, "1", [1], [[1]], {"a": 1}, {"a": "1"}, np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32)]
    assert len({digest(thing) for thing in things}) == len(things)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(torch.arange(3)) == digest(np.arange(3))


def test_streams_are_independent_and_reproducible():
    draws = [torch.rand(4, generator=stream(*key)).tolist() for key in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))]
    assert draws[0] == draws[3] and draws[0] != draws[1] != draws[2]


def test_cached_computes_once_and_mends_a_damaged_file(tmp_path):
    cfg, calls = make_config("smoke", out=str(tmp_path)), []

    def compute():
        calls.append(1)
        return {"x": np.arange(5)}

    for _ in range(2):
        assert cached(cfg, "thing", ["key"], compute)["x"].tolist() == [0, 1, 2, 3, 4]
    assert len(calls) == 1
    next(cfg.cache.glob("thing-*.npz")).write_bytes(b"PK\x03\x04 cut")
    cached(cfg, "thing", ["key"], compute)
    cached(cfg, "thing", ["other key"], compute)
    assert len(calls) == 3


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        atomic(path, broken)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_record_keeps_numbers_plain_and_says_what_was_changed(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path), mu=3)
    record(cfg, "Q0", "A question", {"a": np.float32(0.5), "b": {"c": np.arange(2)}, "bad": float("nan")}, "an answer", [("f", "caption")])
    results = json.loads((tmp_path / "results.json").read_text())
    entry = results["questions"]["Q0"]
    assert entry["numbers"] == {"a": 0.5, "b": {"c": [0, 1]}, "bad": None}
    assert entry["settings"] == changed_settings(cfg) == {"mu": 3.0}
    assert {"profile", "dataset", "seed", "data", "device", "versions", "commit", "code"} <= set(results["header"])


def test_results_of_another_run_are_set_aside(tmp_path):
    first, second = (make_config("smoke", out=str(tmp_path), seed=seed) for seed in (0, 1))
    record(first, "Q0", "A question", {"a": 1})
    record(second, "Q0", "A question", {"a": 2})
    assert read_results(second)["questions"]["Q0"]["numbers"] == {"a": 2}
    assert json.loads((tmp_path / "results-smoke-shapes-seed0.json").read_text())["questions"]["Q0"]["numbers"] == {"a": 1}


def test_a_broken_results_file_is_named(tmp_path):
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(UserError, match=r"results\.json is not a results file"):
        read_results(make_config("smoke", out=str(tmp_path)))


def test_a_figure_of_a_smoke_run_says_so(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path))
    fig, _ = new_figure()
    save_figure(cfg, "picture", fig)
    assert any("not a result on CIFAR-10" in text.get_text() for text in fig.texts)
    assert (tmp_path / "figures" / "picture.png").stat().st_size > 1_000
