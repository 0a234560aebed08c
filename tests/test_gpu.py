"""The path through a GPU, on fake tensors: everything is on one device, and the host waits at an epoch's end only."""

import re
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from fake_cuda import fake_cuda
from vicreg_nb import ablations, training, views
from vicreg_nb.ablations import NeighbourPairs
from vicreg_nb.config import make_config
from vicreg_nb.data import Images, pixel_statistics
from vicreg_nb.ladder import _train_free
from vicreg_nb.laplacian_eigenmaps import graph_features
from vicreg_nb.representations import Features, encode, fit_linear, linear_probe
from vicreg_nb.store import new_generator
from vicreg_nb.training import GeneratedPairs, Trainer, evaluate_terms, full_batches, train_epoch, train_step

TRAIN, TEST, BATCH = 80, 40, 32


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    parts = [(random.integers(0, 255, (n, 32, 32, 3), np.uint8), np.arange(n) % 10) for n in (TRAIN, TEST)]
    return Images("cifar10", *parts[0], *parts[1], tuple("abcdefghij"), "made")


@pytest.fixture
def gpu():
    with fake_cuda() as waits:
        yield waits


@pytest.fixture
def cfg(gpu, tmp_path):
    small = {"width": 4, "batch_size": BATCH, "epochs": 3, "precision": "bf16", "probe_epochs": 2, "free_epochs": 2}
    return make_config("smoke", out=str(tmp_path), device="cuda:0", **small)


def made(cfg, precision="bf16", optimizer="adam"):
    return Trainer(cfg.replace(optimizer=optimizer), {"precision": precision}, TRAIN // BATCH)


@pytest.fixture
def trainer(cfg):
    return made(cfg)


@pytest.fixture
def neighbours(cfg, images, monkeypatch):
    tables = [np.zeros((n, cfg.neighbour_count), np.int64) for n in (TRAIN, TEST)]
    monkeypatch.setattr(ablations, "neighbour_tables", lambda *_: tables)
    return NeighbourPairs(cfg, images, Features(None, None, "made"))


@pytest.fixture
def generated(cfg, images):
    return GeneratedPairs(cfg, images)


def first_batch(pairs):
    return next(pairs.epoch(torch.arange(TRAIN), full_batches(TRAIN, BATCH), new_generator(0, "test")))


class Watched:
    """Pairs, and how many waits there were when the last batch of an epoch was done."""

    def __init__(self, pairs, waits):
        self.pairs, self.waits, self.before_the_end = pairs, waits, None

    def epoch(self, *args):
        yield from self.pairs.epoch(*args)
        self.before_the_end = list(self.waits)


def places(waits):
    """{what was waited for} without the lines, each with how often."""
    return dict(Counter(wait.split(",")[0] for wait in waits))


@pytest.mark.parametrize(
    ("kind", "precision", "optimizer"),
    [
        ("generated", "bf16", "adam"),
        ("neighbours", "bf16", "adam"),
        ("generated", "bf16", "muon"),
        ("generated", "fp16", "adam"),
    ],
)
def test_an_epoch_waits_at_its_end_only(request, gpu, cfg, kind, precision, optimizer):
    """For the terms, and in fp16 for the scale."""
    trainer, pairs = made(cfg, precision, optimizer), Watched(request.getfixturevalue(kind), gpu)
    first_batch(pairs)  # sends the constants
    gpu.clear()
    terms = train_epoch(trainer, pairs, TRAIN)
    scale = {"a value": 1} if precision == "fp16" else {}
    assert pairs.before_the_end == [] and places(gpu) == {"a copy to the CPU": 1} | scale
    assert terms.shape == (TRAIN // BATCH, 3) and terms.device.type == "cpu"


def test_muon_in_fp16_waits_once_a_step(gpu, cfg, generated):
    """The scaler asks whether its gradients are finite; nothing else is waited for."""
    trainer, pairs = made(cfg, "fp16", "muon"), Watched(generated, gpu)
    first_batch(pairs)
    gpu.clear()
    train_epoch(trainer, pairs, TRAIN)
    assert places(pairs.before_the_end) == {"a value": TRAIN // BATCH} and len(set(pairs.before_the_end)) == 1
    assert places(gpu) == {"a value": TRAIN // BATCH + 1, "a copy to the CPU": 1}


def test_views_are_made_where_the_images_are(gpu, generated):
    x, x2 = first_batch(generated)
    assert x.device == x2.device == torch.device("cuda:0")
    assert x.shape == (BATCH, 3, 32, 32) and x.dtype == torch.float32


def test_the_network_runs_in_half_precision_and_the_loss_does_not(gpu, trainer, generated):
    seen = []
    trainer.model[0].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    terms = train_step(trainer, *first_batch(generated))
    assert seen == [torch.bfloat16] * 2 and terms.dtype == torch.float32 and terms.device.type == "cuda"


@pytest.mark.parametrize("kind", ["generated", "neighbours"])
def test_an_evaluation_waits_once(request, gpu, trainer, kind):
    pairs = request.getfixturevalue(kind)
    first_batch(pairs)
    gpu.clear()
    evaluate_terms(trainer, pairs, TEST)
    assert places(gpu) == {"a copy to the CPU": 1}


def test_test_views_stay_on_a_gpu(gpu, generated):
    batches = full_batches(TEST, BATCH)
    first, again = generated.tests(batches), generated.tests(batches)
    assert all(one is two for one, two in zip(first, again, strict=True)) and len(first) == 1
    assert generated.tests(full_batches(TEST, 8))[4][0].shape[0] == 8


def test_features_go_and_come_at_once(gpu, cfg, trainer, images):
    pixel_statistics(torch.device("cuda:0"))
    encoder, many = trainer.encoder.eval(), np.concatenate([images.train_images] * 60)
    gpu.clear()
    assert encode(encoder, many, cfg.device, "bf16").shape == (60 * TRAIN, cfg.encoder_dim)
    assert places(gpu) == {"a copy to the GPU": 1, "a copy to the CPU": 1}


def test_footnote_3s_features_go_and_come_at_once(gpu, cfg, images):
    few, many = ([images.train_images[:10]] * n for n in (1, 400))
    waits = []
    for pictures in (few, few, many):
        gpu.clear()
        assert graph_features(cfg, np.concatenate(pictures)).shape == (10 * len(pictures), 1024)
        waits.append(places(gpu))
    assert waits[1] == waits[2]  # the weights, the images, the features


def test_the_probe_does_not_wait(gpu, cfg):
    x, y = torch.zeros(TRAIN, 8, device=cfg.device), torch.zeros(TRAIN, dtype=torch.int64, device=cfg.device)
    gpu.clear()
    assert fit_linear(cfg, x, y, 10).weight.device == x.device
    assert gpu == []


def test_a_whole_probe_runs_on_a_gpu(gpu, cfg, images):
    features = Features(np.ones((TRAIN, 8), np.float32), np.ones((TEST, 8), np.float32), "made")
    linear_probe(cfg, features, images)
    assert places(gpu)["a copy to the CPU"] == 2  # what it takes the training and the test images for


def test_free_vectors_wait_once_an_epoch(gpu, cfg):
    graph = sparse.random_array((300, 300), density=0.1, rng=np.random.default_rng(0))
    found = _train_free(cfg.replace(free_batch=128), (graph + graph.T).tocsr(), (25, 25, 1))
    assert found["vectors"].shape == (300, cfg.components) and len(found["history"]) > 10 * cfg.free_epochs
    assert places(gpu) == {"a copy to the GPU": 1, "a value": cfg.free_epochs, "a copy to the CPU": 2}


# Faults that are planted here must be seen


def fault_on_the_cpu(monkeypatch):
    monkeypatch.setattr(training, "send", lambda x, device: x)  # the order stays behind


def fault_of_recipes(monkeypatch):
    write = views.write_recipes
    monkeypatch.setattr(views, "write_recipes", lambda p, device: write(p, "cpu"))


def fault_of_a_step(change):
    """A step that only makes three numbers out of its views, and then does what it should not."""

    def step(trainer, x, x2):
        return change((x - x2).mean(dim=(0, 2, 3)))

    return lambda monkeypatch: monkeypatch.setattr(training, "train_step", step)


def fault_of_pinning(monkeypatch):
    monkeypatch.setattr(training, "send", lambda x, device: x.to(device, non_blocking=True))


@pytest.mark.parametrize(
    ("plant", "wait"),
    [
        (fault_on_the_cpu, "a copy of an index to the GPU"),
        (fault_of_a_step(lambda terms: terms * terms[0].item()), "a value"),
        (fault_of_a_step(lambda terms: terms if terms.sum() > 0 else -terms), "a value"),
        (fault_of_a_step(lambda terms: terms + 0 * terms[terms > 0].sum()), "the size of a mask"),
        (fault_of_a_step(lambda terms: terms * (terms > 0).nonzero().numel()), "a size"),
        (fault_of_a_step(lambda terms: terms * torch.ones(3).to(terms.device)), "a copy to the GPU"),
        (fault_of_a_step(lambda terms: terms * torch.tensor([1, 2, 3], device=terms.device)), "a copy to the GPU"),
        (fault_of_a_step(lambda terms: (terms.cpu(), terms)[1]), "a copy to the CPU"),
        (fault_of_pinning, "a copy to the GPU"),
    ],
)  # fmt: skip
def test_a_wait_within_an_epoch_is_seen_with_its_line(gpu, trainer, generated, monkeypatch, plant, wait):
    pairs = Watched(generated, gpu)
    first_batch(pairs)
    gpu.clear()
    plant(monkeypatch)
    train_epoch(trainer, pairs, TRAIN)
    assert wait in places(pairs.before_the_end)
    assert all(re.search(r", (test_gpu|training|views)\.py:\d+$", each) for each in pairs.before_the_end)


@pytest.mark.parametrize("plant", [fault_of_recipes, fault_of_a_step(lambda terms: terms + torch.ones(3))])
def test_a_tensor_left_on_the_cpu_is_refused(gpu, trainer, generated, monkeypatch, plant):
    plant(monkeypatch)
    with pytest.raises((RuntimeError, AssertionError), match=r"cuda:0.*cpu|cpu.*cuda:0|device"):
        train_epoch(trainer, generated, TRAIN)
