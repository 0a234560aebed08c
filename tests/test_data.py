"""The data's checks, the embedded data set, and CIFAR-10 and MNIST where they are."""

import socket
import urllib.error

import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torchvision.transforms import functional as TF
from vicreg_nb.config import make_config
from vicreg_nb.data import (
    MEAN,
    STD,
    draw_shapes,
    normalise,
    obtain,
    open_dataset,
    open_outliers,
    read_cache_file,
    to_float,
)
from vicreg_nb.store import UserError


def write(folder, name, **arrays):
    path = folder / name
    np.savez_compressed(path, **arrays)
    return path


def cifar_test(**changes):
    arrays = {
        "images": np.zeros((10_000, 32, 32, 3), np.uint8),
        "labels": np.repeat(np.arange(10, dtype=np.uint8), 1_000),
    }
    return arrays | changes


def test_a_good_file_is_read(tmp_path):
    images, labels = read_cache_file(write(tmp_path, "cifar10_test.npz", **cifar_test(), lossy=np.zeros(10_000, bool)))
    assert images.shape == (10_000, 32, 32, 3) and labels.dtype == np.int64


WRONG = {
    "type": (cifar_test(images=np.zeros((10_000, 32, 32, 3), np.float32)), "float32"),
    "size": (cifar_test(images=np.zeros((9_000, 32, 32, 3), np.uint8)), r"\(9000, 32, 32, 3\)"),
    "labels": (cifar_test(labels=np.zeros(10_000, np.float32)), "whole numbers from 0 to 9"),
    "range": (cifar_test(labels=np.full(10_000, 11)), "whole numbers from 0 to 9"),
    "classes": (
        cifar_test(labels=np.r_[np.zeros(1, int), np.repeat(np.arange(10), 1_000)[1:-1], [3]]),
        "images of class",
    ),
    "missing": ({"images": np.zeros(3)}, "damaged"),
    "pickle": (cifar_test(images=np.array([None, {}], dtype=object)), "damaged"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_file_gets_one_sentence(tmp_path, fault):
    arrays, says = WRONG[fault]
    path = write(tmp_path, "cifar10_test.npz", **arrays)
    with pytest.raises(UserError, match=says) as caught:
        read_cache_file(path)
    assert str(path) in str(caught.value) and "delete it" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_gets_one_sentence(tmp_path, keep):
    path = write(tmp_path, "cifar10_test.npz", **cifar_test())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    with pytest.raises(UserError, match="damaged or cut short"):
        read_cache_file(path)


def no_network(*args, **kwargs):
    raise urllib.error.URLError("no network")


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """Neither data nor network."""
    monkeypatch.delenv("VICREG_NB_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", no_network)
    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    no_network.__name__ = "CIFAR10"
    return tmp_path


def test_asked_for_and_not_to_be_had(bare_machine):
    timeout = socket.getdefaulttimeout()
    with pytest.raises(UserError, match=r"cifar10_train\.npz.*VICREG_NB_DATA"):
        open_dataset(make_config("quick", dataset="cifar10", device="cpu"))
    assert socket.getdefaulttimeout() == timeout


def test_auto_falls_back_loudly(bare_machine, capsys):
    assert open_dataset(make_config("quick", device="cpu", batch_size=100)).name == "shapes"
    assert "NOT results on CIFAR-10" in capsys.readouterr().out


def test_a_folder_that_is_none(monkeypatch):
    monkeypatch.setenv("VICREG_NB_DATA", "/no/such/folder")
    with pytest.raises(UserError, match="VICREG_NB_DATA names /no/such/folder"):
        obtain("cifar10_train.npz")


def test_what_was_opened_last_is_at_hand_and_other_sizes_are_other_data():
    cfg = make_config("smoke")
    assert open_dataset(cfg) is open_dataset(cfg.replace(seed=5))
    fewer = open_dataset(cfg.replace(train_size=380))
    assert len(fewer.train_images) == 380 and fewer.identity != open_dataset(cfg).identity


def test_a_setting_that_does_not_fit_the_images_is_told_at_once():
    with pytest.raises(UserError, match="^clusters is 384"):
        open_dataset(make_config("smoke", clusters=384))


def test_inexact_images_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    for name, shape, lossy in (("cifar10_train.npz", 50_000, 7), ("cifar10_test.npz", 10_000, 2)):
        images, labels = np.zeros((shape, 32, 32, 3), np.uint8), (np.arange(shape) % 10).astype(np.uint8)
        write(tmp_path, name, images=images, labels=labels, lossy=np.arange(shape) < lossy)
    assert "9 of the 60,000" in open_dataset(make_config("quick", device="cpu")).note


class FakeCIFAR10:
    """What torchvision hands over after a download."""

    def __init__(self, root, train, download):
        assert download
        self.data, self.targets = np.ones((10_000, 32, 32, 3), np.uint8), list(np.repeat(np.arange(10), 1_000))


def test_a_download_is_decoded_once(bare_machine, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", FakeCIFAR10)
    images, _ = obtain("cifar10_test.npz")
    assert images.mean() == 1 and (bare_machine / "vicreg_nb" / "cifar10_test.npz").is_file()
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", no_network)
    assert obtain("cifar10_test.npz")[0].shape == images.shape


def test_shapes_need_more_than_colour():
    images, labels = draw_shapes(2_000, seed=0)
    assert images.dtype == np.uint8 and np.bincount(labels).tolist() == [200] * 10
    colour = images.reshape(2_000, -1, 3).mean(axis=1) / 255
    spread = images.reshape(2_000, -1, 3).std(axis=1) / 255
    flat = np.hstack([colour, spread])
    score = LogisticRegression(max_iter=500).fit(flat[:1_500], labels[:1_500]).score(flat[1_500:], labels[1_500:])
    assert score < 0.25
    again, _ = draw_shapes(2_000, seed=0)
    assert np.array_equal(images, again) and not np.array_equal(images, draw_shapes(2_000, seed=1)[0])


@pytest.mark.parametrize(
    ("sizes", "says"), [({"train_size": 9_000}, "more than the 5000"), ({"test_size": 7}, "too few")]
)
def test_impossible_sizes(sizes, says):
    with pytest.raises(UserError, match=says):
        open_dataset(make_config("smoke", **sizes))


def test_embedded_outliers_are_the_digits_enlarged():
    outliers = open_outliers(open_dataset(make_config("smoke")))
    assert outliers.images.shape == (160, 32, 32, 3) and outliers.images.dtype == np.uint8
    small = outliers.images[:, ::4, ::4, 1]
    np.testing.assert_allclose(small, load_digits().images[:160] * 255 / 16, atol=1)


def test_normalisation_is_torchvisions():
    images, _ = draw_shapes(3, seed=5)
    expected = torch.stack([TF.normalize(TF.to_tensor(image), MEAN.tolist(), STD.tolist()) for image in images])
    torch.testing.assert_close(normalise(to_float(images)), expected)


def test_real_cifar10(real_data):
    images = open_dataset(make_config("quick", dataset="cifar10", device="cpu"))
    assert images.train_images.shape == (50_000, 32, 32, 3) and images.test_images.shape == (10_000, 32, 32, 3)
    assert (
        np.bincount(images.train_labels).tolist() == [5_000] * 10
        and np.bincount(images.test_labels).tolist() == [1_000] * 10
    )
    means = images.train_images.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    np.testing.assert_allclose(means, MEAN, atol=1e-4)
    deviations = images.train_images.reshape(-1, 3).std(axis=0, dtype=np.float64) / 255
    np.testing.assert_allclose(deviations, STD, atol=1e-3)


def test_real_mnist_is_treated_like_cifar10(real_data):
    outliers = open_outliers(open_dataset(make_config("quick", dataset="cifar10", device="cpu")))
    assert outliers.images.shape == (10_000, 32, 32, 3)
    assert (outliers.images[:, :2] == 0).all() and (outliers.images[..., 0] == outliers.images[..., 2]).all()
    mean = outliers.images[:, 2:30, 2:30, 0].mean(dtype=np.float64) / 255
    assert mean == pytest.approx(0.1325, abs=2e-3)  # of MNIST's test digits
