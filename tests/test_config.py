"""Settings are checked before any work: by type, by range, beside each other, and against the data."""

import math

import numpy as np
import pytest
from vicreg_nb.config import (
    PROFILES,
    SETTINGS,
    Config,
    changed_settings,
    check_fit,
    make_config,
    notebook_config,
    profile_values,
)
from vicreg_nb.run_all import read_change
from vicreg_nb.store import UserError

EXERCISE = {  # Sec. 2.1.2, word for word
    "gamma": 1.0, "eps": 1e-4, "lam": 25.0, "mu": 25.0, "nu": 1.0, "projection_dim": 512, "encoder_dim": 128,
    "batch_size": 256, "lr": 3e-4, "weight_decay": 1e-6, "epochs": 30, "neighbour_count": 3, "neighbour_epochs": 1,
    "anomaly_k": 2, "encoder": "resnet18", "width": 64, "optimizer": "adam", "schedule": "constant", "train_size": 0,
}  # fmt: skip
NUMBERS = [name for name, field in SETTINGS.items() if field.type in (int, float)]
WORDS = [name for name, field in SETTINGS.items() if field.type is str and field.metadata["allowed"]]


def test_exercise_profile_has_the_exercises_hyper_parameters():
    cfg = make_config("exercise", device="cpu")
    assert {name: getattr(cfg, name) for name in EXERCISE} == EXERCISE


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_valid_and_changes_something_real(profile):
    cfg = make_config(profile)
    assert cfg.profile == profile and changed_settings(cfg) == {}
    assert set(PROFILES[profile]) <= set(SETTINGS)
    assert all(profile_values(profile)[name] == value for name, value in PROFILES[profile].items())


def refused(name, value):
    """The sentence for a wrong value: one line, not too long, that names the setting."""
    with pytest.raises(UserError, match=rf"^{name} is ") as caught:
        make_config(**{"profile": "smoke", name: value})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_two_ends(name):
    low, high = SETTINGS[name].metadata["allowed"]
    step = 1 if SETTINGS[name].type is int else (high - low) * 1e-6
    for value in (low - step, high + step, float("inf"), float("nan"), 10**400, -(10**400), "1" * 100_000, True, [1]):
        refused(name, value)
    assert low <= SETTINGS[name].default <= high


@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_typed_for_a_number_is_one_or_is_refused(name):
    for typed in ("nan", "inf", "-inf", "1e400"):
        assert read_change(f"{name}={typed}")[1].__class__ is float
        refused(*read_change(f"{name}={typed}"))


@pytest.mark.parametrize("name", ["epochs", "lr"])
def test_a_very_long_number_is_refused(name):
    for typed in ("-" * 5_000 + "1", "-" * 100_000 + "1", "1" + "+1" * 50_000, "[" * 50_000, "{[]: 1}", "9" * 5_000):
        refused(*read_change(f"{name}={typed}"))


@pytest.mark.parametrize("name", WORDS)
def test_every_choice_is_one_of_its_words(name):
    for value in ("", "no such word", 3, "x" * 100_000):
        refused(name, value)
    assert SETTINGS[name].default in SETTINGS[name].metadata["allowed"]


@pytest.mark.parametrize("device", ["tpu", "", "cuda:99", "cuda:x", "meta"])
def test_a_device_that_is_not_there(device):
    refused("device", device)


def test_a_whole_number_passes_for_float_and_nothing_else_is_converted():
    assert make_config("smoke", mu=3).mu == 3.0 and isinstance(make_config("smoke", mu=3).mu, float)
    refused("epochs", 2.0)


@pytest.mark.parametrize("name", ["learning_rate", "batchsize", "data", "replace", ""])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(UserError, match=f"'{name}' is not a parameter"):
        make_config("smoke", **{name: 1})


def test_a_near_miss_is_suggested():
    with pytest.raises(UserError, match="'batch_size'"):
        make_config("smoke", batchsize=3)


def test_none_keeps_the_profiles_value():
    assert make_config("smoke", epochs=None) == make_config("smoke")


def test_config_is_frozen_and_replace_is_checked():
    cfg = make_config("smoke")
    with pytest.raises(AttributeError):
        cfg.mu = 3.0
    with pytest.raises(UserError, match="lam is"):
        cfg.replace(lam=-2)


def test_changed_settings_are_those_of_the_experiment():
    cfg = make_config("quick", seed=4, out="somewhere", device="cpu", mu=3, dataset="cifar10")
    assert changed_settings(cfg) == {"mu": 3.0}


TOO_LARGE = {  # with 400 training images and 160 test images, 40 of each class
    "batch_size": 401, "neighbour_count": 400, "graph_neighbours": 120, "components": 299, "neighbours_shown": None,
    "anomaly_k": 41, "max_k": 401, "clusters": 400, "per_class": None, "perplexity": 160.0,
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name, value in TOO_LARGE.items() if value])
def test_what_does_not_fit_the_data_is_told_before_any_work(name):
    cfg = make_config("smoke", train_size=0)
    check_fit(cfg.replace(**{name: type(getattr(cfg, name))(TOO_LARGE[name] - 1)}), 400, 160)
    with pytest.raises(UserError, match=rf"^{name} is "):
        check_fit(cfg.replace(**{name: TOO_LARGE[name]}), 400, 160)


def test_few_images_are_enough_or_refused():
    with pytest.raises(UserError, match="^neighbours_shown is 5"):
        check_fit(Config(batch_size=2, graph_neighbours=1, components=2, neighbour_count=1), 5, 5)


def test_notebook_parameters_are_those_of_the_parameters_cells():
    cells = ["x = 1", "# Parameters\nprofile: str = 'smoke'\nmu: float = 3", "# Parameters\nepochs = 4\n"]
    cfg = notebook_config({"In": cells, "profile": "smoke", "mu": 3, "epochs": 4, "lam": 99})
    assert (cfg.mu, cfg.epochs, cfg.lam) == (3.0, 4, 25.0)


def test_unknown_injected_parameter_is_refused():
    cells = ["# Parameters\nprofile = 'smoke'", "# Parameters\nepoch = 4\n"]
    with pytest.raises(UserError, match="'epoch' is not a parameter"):
        notebook_config({"In": cells, "profile": "smoke", "epoch": 4})


def test_every_setting_says_what_it_means():
    for name, field in SETTINGS.items():
        assert field.metadata["meaning"], name
        if name in NUMBERS:
            assert all(math.isfinite(end) for end in field.metadata["allowed"])


@pytest.mark.parametrize("given, word", [
    ({"out": "a" * 300}, "out"), ({"out": "a\0b"}, "out"), ({"out": "~nobody-here/x"}, "out"),
    ({"out": "/dev/null/x"}, "out"), ({"profile": np.zeros((9, 9))}, "profile"),
    ({"dataset": np.zeros((9, 9))}, "dataset"),
    ({"profile": ["smoke"]}, "profile"), ({"device": "x" * 1000}, "device"), ({"x" * 1000: 1}, "xxx"),
    ({"seed": -(10**400)}, "-10^400"),
])  # fmt: skip
def test_what_is_no_setting_is_one_short_sentence(given, word):
    with pytest.raises(UserError) as caught:
        make_config(**{"profile": "smoke"} | given)
    said = str(caught.value)
    assert word in said and "\n" not in said and len(said) < 900


@pytest.mark.parametrize("name", ["per_class", "anomaly_k"])
def test_what_is_taken_of_a_class_is_compared_with_the_smallest(name):
    cfg = make_config("smoke", **{name: 3})
    check_fit(cfg, 400, 160, 3)
    with pytest.raises(UserError, match=name):
        check_fit(cfg, 400, 160, 2)
