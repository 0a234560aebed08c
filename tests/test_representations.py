"""Features, projections and the linear probe against scikit-learn and torch on their own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torchvision.transforms import functional as TF
from vicreg_nb.config import UserError, make_config
from vicreg_nb.data import MEAN, STD, Images, draw_shapes, open_dataset
from vicreg_nb.representations import (
    Features,
    answer_q2,
    answer_q3,
    encode,
    entangled_pairs,
    features_of,
    linear_probe,
    neighbour_agreement,
    numbers_q3,
    project_pca,
    project_tsne,
    untrained_features,
)
from vicreg_nb.training import train
from vicreg_nb.vicreg import Encoder


@pytest.fixture(scope="module")
def blobs():
    """Ten overlapping Gaussian classes: (features, images) with labels."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 24))
    labels = random.integers(0, 10, 4_000)
    x = (centres[labels] + 1.2 * random.normal(size=(4_000, 24))).astype(np.float32) * random.uniform(0.01, 100, 24).astype(np.float32)
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    images = Images("blobs", blank, labels[:3_000], blank, labels[3_000:], tuple("abcdefghij"), "blobs")
    return Features(x[:3_000], x[3_000:], "blobs"), images


def test_probe_is_as_good_as_logistic_regression(blobs):
    features, images = blobs
    cfg = make_config("quick", device="cpu")
    probe = linear_probe(cfg, features, images)
    scaler = StandardScaler().fit(features.train)
    solver = LogisticRegression(max_iter=500).fit(scaler.transform(features.train), images.train_labels)
    assert probe.accuracy == pytest.approx(solver.score(scaler.transform(features.test), images.test_labels), abs=0.015)
    assert probe.train_accuracy == pytest.approx(solver.score(scaler.transform(features.train), images.train_labels), abs=0.015)


def test_probe_reports_test_images(blobs):
    features, images = blobs
    probe = linear_probe(make_config("quick", device="cpu"), features, images)
    counts = np.bincount(images.test_labels, minlength=10)
    assert probe.confusion.sum(axis=1).tolist() == counts.tolist()
    assert probe.accuracy == pytest.approx(probe.confusion.trace() / counts.sum())
    np.testing.assert_allclose(probe.per_class, probe.confusion.diagonal() / counts)


def test_probe_cannot_learn_from_labels_that_say_nothing(blobs):
    features, images = blobs
    shuffled = replace(images, train_labels=np.random.default_rng(1).permutation(images.train_labels))
    assert linear_probe(make_config("quick", device="cpu"), features, shuffled).accuracy < 0.2


def test_probe_refuses_nan(blobs):
    features, images = blobs
    broken = replace(features, test=np.full_like(features.test, np.nan))
    with pytest.raises(UserError, match="NaN"):
        linear_probe(make_config("smoke"), broken, images)


def test_encode_is_the_plain_forward_pass():
    torch.manual_seed(0)
    encoder = Encoder(8, 2, 32)
    encoder(torch.randn(16, 3, 32, 32))  # moves the running statistics
    encoder.eval()
    images, _ = draw_shapes(13, seed=3)
    x = torch.stack([TF.normalize(TF.to_tensor(image), MEAN.tolist(), STD.tolist()) for image in images])
    with torch.no_grad():
        expected = torch.cat([encoder(one[None]) for one in x]).numpy()
    np.testing.assert_allclose(encode(encoder, images, batch=5), expected, atol=1e-4)


def test_encode_refuses_an_encoder_in_training():
    with pytest.raises(UserError, match=r"call \.eval\(\) first"):
        encode(Encoder(8), draw_shapes(10, seed=0)[0])


def test_features_belong_to_their_run(tmp_path):
    cfg, images = open_dataset(make_config("smoke", out=str(tmp_path), epochs=1))
    run, other = train(cfg, images), train(cfg.replace(seed=1), images)
    features = features_of(cfg, images, run)
    np.testing.assert_allclose(features.test, encode(run.encoder(), images.test_images), atol=1e-5)
    assert features.identity != features_of(cfg, images, other).identity
    assert features.identity == features_of(cfg, images, run).identity
    assert not np.allclose(features.test, untrained_features(cfg, images, run).test)


def test_pca_is_scikit_learns():
    x = np.random.default_rng(0).normal(size=(200, 9))
    np.testing.assert_allclose(np.abs(project_pca(x)), np.abs(PCA(2).fit_transform(x)), atol=1e-9)


def test_tsne_is_kept_and_refuses_a_perplexity_too_large(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path))
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    first = project_tsne(cfg, x)
    assert first.shape == (60, 2) and np.array_equal(first, project_tsne(cfg, x))
    with pytest.raises(UserError, match="perplexity is 10, not less than the 8 points"):
        project_tsne(cfg, x[:8])


def test_neighbour_agreement_by_brute_force():
    random = np.random.default_rng(0)
    x, labels = random.normal(size=(50, 2)), random.integers(0, 3, 50)
    distances = np.linalg.norm(x[:, None] - x[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    expected = np.mean([(labels[np.argsort(row)[:5]] == label).mean() for row, label in zip(distances, labels, strict=True)])
    assert neighbour_agreement(x, labels, k=5) == pytest.approx(expected)


def test_entangled_pairs_by_hand():
    confusion = np.array([[8, 2, 0], [3, 7, 0], [0, 1, 9]])
    pairs = entangled_pairs(confusion, ("cat", "dog", "ship"), count=2)
    assert pairs == [{"pair": ["cat", "dog"], "share": pytest.approx(0.25)}, {"pair": ["dog", "ship"], "share": pytest.approx(0.05)}]


def test_answers_follow_the_numbers(blobs):
    pairs = [{"pair": ["cat", "dog"], "share": 0.25}]
    agreement = {"PCA": 0.3, "t-SNE": 0.2, "representation": 0.7}
    text = answer_q2({"agreement": agreement, "entangled": pairs, "pca_variance": 0.4})
    assert text.startswith("**PCA is clearly") and "largely captured" in text and "cat and dog (25%" in text
    text = answer_q2({"agreement": agreement | {"t-SNE": 0.31, "representation": 0.2}, "entangled": pairs, "pca_variance": 0.4})
    assert text.startswith("**t-SNE is a little") and "hardly captured" in text
    features, images = blobs
    probe = linear_probe(make_config("smoke"), features, images)
    numbers = numbers_q3(probe, replace(probe, accuracy=probe.accuracy - 0.3), images.classes)
    assert "is reached" in answer_q3(numbers | {"accuracy": 0.61}) and "not reached" in answer_q3(numbers | {"accuracy": 0.59})
    assert "not a clear gain" in answer_q3(numbers | {"untrained_accuracy": numbers["accuracy"]})
