"""Features, projections and the linear probe against scikit-learn and torch on their own."""

from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch
from claims import assert_claims_hold_up
from scipy.stats import binomtest, rankdata, spearmanr
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from torchvision.transforms import functional as TF
from vicreg_nb.book import plain_numbers
from vicreg_nb.config import make_config
from vicreg_nb.data import MEAN, STD, Images, draw_shapes, open_dataset
from vicreg_nb.representations import (
    Features,
    effective_rank,
    encode,
    features_of,
    gain,
    half_interval,
    linear_probe,
    most_mixed,
    project_pca,
    project_tsne,
    q2,
    q3,
    row_shares,
    same_order,
    singular_values,
    untrained_features,
)
from vicreg_nb.store import UserError
from vicreg_nb.training import Trainer, run_settings, train
from vicreg_nb.vicreg import SmallEncoder


@pytest.fixture(scope="module")
def blobs():
    """Ten overlapping Gaussian classes: (features, images) with labels."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(10, 24))
    labels = random.integers(0, 10, 4_000)
    scale = random.uniform(0.01, 100, 24).astype(np.float32)
    x = (centres[labels] + 1.2 * random.normal(size=(4_000, 24))).astype(np.float32) * scale
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    images = Images("blobs", blank, labels[:3_000], blank, labels[3_000:], tuple("abcdefghij"), "blobs")
    return Features(x[:3_000], x[3_000:], "blobs"), images


def test_probe_is_as_good_as_logistic_regression(blobs):
    features, images = blobs
    cfg = make_config("quick", device="cpu")
    probe = linear_probe(cfg, features, images)
    scaler = StandardScaler().fit(features.train)
    solver = LogisticRegression(max_iter=500).fit(scaler.transform(features.train), images.train_labels)
    for part, labels, found in (
        (features.test, images.test_labels, probe.accuracy),
        (features.train, images.train_labels, probe.train_accuracy),
    ):
        assert found == pytest.approx(solver.score(scaler.transform(part), labels), abs=0.015)


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
    for part in ("train", "test"):
        broken = replace(features, **{part: np.full_like(getattr(features, part), np.nan)})
        with pytest.raises(UserError, match=f"{part}.* NaN"):
            linear_probe(make_config("smoke"), broken, images)


def test_encode_is_the_plain_forward_pass():
    torch.manual_seed(0)
    encoder = SmallEncoder(8, 32)
    encoder(torch.randn(16, 3, 32, 32))  # moves the running statistics
    encoder.eval()
    images, _ = draw_shapes(13, seed=3)
    x = torch.stack([TF.normalize(TF.to_tensor(image), MEAN.tolist(), STD.tolist()) for image in images])
    with torch.no_grad():
        expected = torch.cat([encoder(one[None]) for one in x]).numpy()
    np.testing.assert_allclose(encode(encoder, images, batch=5), expected, atol=1e-4)


def test_encode_refuses_an_encoder_in_training():
    with pytest.raises(UserError, match=r"\.eval\(\)"):
        encode(SmallEncoder(8), draw_shapes(10, seed=0)[0])


@pytest.fixture
def smoke(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path), epochs=1, device="cpu")
    return cfg, open_dataset(cfg)


def test_features_belong_to_their_run(smoke):
    cfg, images = smoke
    run, other = train(cfg, images), train(cfg.replace(seed=1), images)
    features = features_of(cfg, images, run)
    np.testing.assert_allclose(features.test, encode(run.encoder(), images.test_images), atol=1e-5)
    np.testing.assert_allclose(features.train, encode(run.encoder(), images.train_images), atol=1e-5)
    assert features.identity != features_of(cfg, images, other).identity
    assert features.identity == features_of(cfg, images, run).identity


def test_untrained_features_are_those_of_the_network_that_training_starts_from(smoke):
    """Against the trainer's own encoder, its batch statistics taken in one pass over the same images."""
    cfg, images = smoke
    run = train(cfg, images)
    encoder = Trainer(cfg, run_settings(cfg, images), 6).encoder
    for layer in encoder.modules():
        if hasattr(layer, "momentum"):
            layer.momentum = None
    mean, std = (part.view(3, 1, 1) for part in (MEAN, STD))
    x = torch.from_numpy(images.train_images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        for batch in np.array_split(np.arange(len(x)), 8):
            encoder((x[batch] - mean) / std)
    expected = encode(encoder.eval(), images.test_images)
    features = untrained_features(cfg, images, run)
    np.testing.assert_allclose(features.test, expected, atol=1e-4)
    assert not np.allclose(features.test, features_of(cfg, images, run).test, atol=0.1)


def test_features_and_pictures_are_found_again(smoke, monkeypatch):
    cfg, images = smoke
    run = train(cfg, images)
    features = features_of(cfg, images, run)
    points = project_tsne(cfg, features.test[:40])
    monkeypatch.setattr("vicreg_nb.store.write_arrays", None)  # what is kept is not computed again
    np.testing.assert_array_equal(features_of(cfg, images, run).test, features.test)
    np.testing.assert_array_equal(project_tsne(cfg, features.test[:40]), points)


def test_pca_is_scikit_learns():
    x = np.random.default_rng(0).normal(size=(200, 9))
    np.testing.assert_allclose(np.abs(project_pca(x)), np.abs(PCA(2).fit_transform(x)), atol=1e-9)


def test_tsne_is_scikit_learns_is_kept_and_refuses_a_perplexity_too_large(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path))
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    first = project_tsne(cfg, x)
    theirs = TSNE(2, perplexity=cfg.perplexity, init="pca", random_state=cfg.seed).fit_transform(x)
    np.testing.assert_allclose(first, theirs, atol=1e-3)
    assert np.array_equal(first, project_tsne(cfg, x)) and len(list(cfg.cache.glob("tsne-*"))) == 1
    with pytest.raises(UserError, match="perplexity is 10"):
        project_tsne(cfg, x[:8])


def test_effective_rank_counts_directions():
    random = np.random.default_rng(0)
    assert effective_rank(random.normal(size=(20_000, 16))) == pytest.approx(16, abs=0.1)
    assert effective_rank(random.normal(size=(500, 1)) @ random.normal(size=(1, 16))) == pytest.approx(1, abs=1e-6)
    assert effective_rank(np.ones((9, 3))) == 0
    shares = np.array([3, 1]) / 4  # two directions with standard deviations 3 : 1
    plane = np.array([[3, 1], [3, -1], [-3, 1], [-3, -1]])
    assert effective_rank(plane) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_singular_values_are_the_roots_of_the_covariances_eigenvalues():
    x = np.random.default_rng(0).normal(5, 1, (50, 9)).astype(np.float32)
    expected = np.sqrt(np.linalg.eigvalsh(np.cov(x.T.astype(np.float64)))[::-1])
    np.testing.assert_allclose(singular_values(x), expected, rtol=1e-9)


def nearest_labels(points, labels):
    """The labels of the ten nearest of each point, by scikit-learn."""
    return labels[NearestNeighbors(n_neighbors=10).fit(points).kneighbors(return_distance=False)]


def test_mixed_classes_by_counting():
    random = np.random.default_rng(0)
    true, guess = random.integers(0, 4, (2, 200))
    confusion = np.zeros((4, 4), int)
    np.add.at(confusion, (true, guess), 1)
    shares, names = row_shares(confusion), ("cat", "dog", "frog", "ship")
    expected = {(a, b): (guess[true == a] == b).mean() for a in range(4) for b in range(4)}
    assert all(shares[pair] == pytest.approx(share) for pair, share in expected.items())
    largest = most_mixed(shares, names, count=6)
    for entry in largest:
        a, b = map(names.index, entry["pair"])
        assert (entry["there"], entry["back"]) == (pytest.approx(expected[a, b]), pytest.approx(expected[b, a]))
        assert entry["share"] == pytest.approx((entry["there"] + entry["back"]) / 2)
    assert len({frozenset(entry["pair"]) for entry in largest}) == 6
    assert largest == sorted(largest, key=lambda entry: -entry["share"])
    assert row_shares(np.zeros((3, 3), int)).tolist() == [[0, 0, 0]] * 3


def test_a_difference_is_that_of_mcnemar_and_of_a_paired_bootstrap(blobs):
    features, images = blobs
    cfg = make_config("quick", device="cpu")
    noise = np.random.default_rng(0).normal(size=features.test.shape).astype(np.float32)
    worse = replace(features, test=features.test + 0.5 * features.train.std(axis=0) * noise)
    one, other = (linear_probe(cfg, each, images) for each in (features, worse))
    found = gain(one, other)
    only = (one.hits & ~other.hits).sum(), (other.hits & ~one.hits).sum()
    assert found["points"] == pytest.approx(100 * (only[0] - only[1]) / len(one.hits))
    drawn = np.random.default_rng(1).integers(0, len(one.hits), (10_000, len(one.hits)))
    low, high = np.quantile(100 * (one.hits.astype(int) - other.hits)[drawn].mean(axis=1), (0.025, 0.975))
    assert (high - low) / 2 == pytest.approx(found["interval"], rel=0.05)
    assert (found["points"] > found["interval"]) == (binomtest(only[0], sum(only)).pvalue < 0.05)


@pytest.mark.parametrize("count", [3, 10, 2_000])
def test_of_a_hundred_intervals_ninety_five_hold_the_mean(count):
    """For few values, too, such as ten classes."""
    values = np.random.default_rng(count).normal(1, 1, (2_000, count))
    held = np.mean([abs(one.mean() - 1) < half_interval(one) for one in values])
    assert held == pytest.approx(0.95, abs=0.015)


def test_numbers_are_those_of_a_plain_count(smoke):
    cfg, images = smoke
    result = q2.compute(cfg, images)
    numbers, labels = q2.numbers(result), images.test_labels[: cfg.tsne_size]
    near = nearest_labels(result.panels["t-SNE"], labels)
    assert numbers["agreement"]["t-SNE"] == pytest.approx((near == labels[:, None]).mean())
    by_class = np.array([[(near[labels == a] == b).mean() for b in range(10)] for a in range(10)])
    by_probe = [one.pop("by_probe") for one in numbers["overlapping"]]
    assert numbers["overlapping"] == most_mixed(by_class, images.classes)[:2]
    assert numbers["best"]["share"] == pytest.approx(by_class.diagonal().max())
    assert numbers["worst"]["class"] == images.classes[by_class.diagonal().argmin()]
    probe = result.trained.confusion / result.trained.confusion.sum(axis=1, keepdims=True)
    off = ~np.eye(10, dtype=bool)
    kinds = np.isin(images.classes, ("bird", "cat", "deer", "dog", "frog", "horse"))
    assert numbers["within"]["probe"] == pytest.approx(same_order(by_class, probe, kinds))
    assert numbers["entangled"] == most_mixed(probe, images.classes)[:2]
    pairs = [[images.classes.index(kind) for kind in one["pair"]] for one in numbers["overlapping"]]
    assert by_probe == pytest.approx([(probe[a, b] + probe[b, a]) / 2 for a, b in pairs])
    assert numbers["confused_within"] == pytest.approx(probe[off & (kinds[:, None] == kinds)].mean())
    numbers = q3.numbers(result)
    worst = min(numbers["per_class"].values())
    assert numbers["hardest"]["accuracy"] == worst
    assert sorted(numbers["easiest"]["accuracies"])[::-1] == sorted(numbers["per_class"].values())[:-3:-1]
    assert numbers["per_class"][numbers["hardest"]["class"]] == worst


def ranks_within(shares, groups):
    """Pair by pair, as a list: the rank of its mean share among the pairs of its group, centred, over their number."""
    found = []
    for group in np.unique(groups):
        pairs = list(combinations(np.flatnonzero(groups == group), 2))
        ranks = rankdata([shares[a, b] + shares[b, a] for a, b in pairs])
        found += [(one - (len(pairs) + 1) / 2) / len(pairs) for one in ranks]
    return found


def test_order_within_groups_against_all_exchanges():
    groups = np.array([0, 1, 0, 1, 1, 0, 1])
    one, other = np.random.default_rng(1).random((2, 7, 7))
    found, places = same_order(one, other, groups, draws=20_000), [np.flatnonzero(groups == kind) for kind in (0, 1)]
    fixed = ranks_within(other, groups)
    assert found["rank"] == pytest.approx(np.corrcoef(ranks_within(one, groups), fixed)[0, 1])
    every = []
    for orders in product(*map(permutations, places)):
        order = np.arange(7)
        for place, members in zip(places, orders, strict=True):
            order[place] = members
        every.append(np.corrcoef(ranks_within(one[np.ix_(order, order)], groups), fixed)[0, 1])
    assert found["chance"] == pytest.approx(np.quantile(every, 0.975), abs=0.05)


def test_groups_alone_are_no_order_of_the_classes():
    """Where a class is mixed with its group, and at random within, all pairs seem ordered alike, and within rarely."""
    random, groups = np.random.default_rng(0), np.repeat([0, 1], [6, 4])
    made = (groups[:, None] == groups) + 0.5 * random.random((60, 2, 10, 10))
    off = ~np.eye(10, dtype=bool)
    assert np.mean([spearmanr(one[off], other[off]).statistic for one, other in made]) > 0.7
    found = [same_order(one, other, groups, 300) for one, other in made]
    assert sum(each["rank"] > each["chance"] for each in found) <= 5
    assert same_order(made[0, 0, :2, :2], made[0, 1, :2, :2], np.zeros(2))["rank"] is None


def test_how_many_dimensions_pca_needs(smoke):
    cfg, images = smoke
    result = q2.compute(cfg, images)
    numbers, labels = q2.numbers(result), images.test_labels[: cfg.tsne_size]
    kept = {}
    for dimensions in range(2, result.features.test.shape[1] + 1):
        near = nearest_labels(PCA(dimensions).fit_transform(result.features.test)[: cfg.tsne_size], labels)
        kept[dimensions] = (near == labels[:, None]).mean()
    needed, wanted = numbers["largest_needs"], numbers["agreement"]["t-SNE"]
    assert kept[2] == pytest.approx(numbers["agreement"]["PCA"], abs=1e-3)
    assert max(kept.values()) < wanted if needed is None else kept[needed] >= wanted - 1e-3
    if short := numbers["smallest_short"]:
        assert short < needed and kept[short] < wanted + 1e-3


def test_animals_and_vehicles_are_counted(smoke):
    """A picture in which the two groups lie far apart, and one in which they lie on one another."""
    cfg, images = smoke
    result = q2.compute(cfg, images)
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    named = replace(images, classes=names)
    animal = np.isin(np.array(names)[images.test_labels], names[2:8])
    points = np.random.default_rng(0).normal(size=(len(animal), 2))
    for gap, same in ((100, 1), (0, animal.mean() ** 2 + (1 - animal.mean()) ** 2)):
        apart = points + gap * animal[:, None]
        near = NearestNeighbors(n_neighbors=10).fit(apart).kneighbors(return_distance=False)
        groups = q2.numbers(result._replace(images=named, near=result.near | {"t-SNE": near}))["groups"]
        assert groups["t-SNE"] == pytest.approx(same, abs=0.06)
        assert groups["chance"] == pytest.approx(animal.mean() ** 2 + (1 - animal.mean()) ** 2)


def test_figures_show_the_numbers(smoke):
    cfg, images = smoke
    result = q2.compute(cfg, images)
    drawn = {name: draw(result) for question in (q2, q3) for name, (draw, _) in question.figures.items()}
    assert set(drawn) == {"q2_pca_tsne", "q2_confusions", "q3_per_class"}
    picture, probe = (trace.z for trace in drawn["q2_confusions"].interactive.data)
    np.testing.assert_allclose(np.diag(probe), 100 * result.trained.per_class)
    near = nearest_labels(result.panels["t-SNE"], images.test_labels[: cfg.tsne_size])
    cats = 100 * (near[images.test_labels[: cfg.tsne_size] == 3] == 5).mean()
    assert picture[3][5] == pytest.approx(cats)
    shown = {trace.name: trace.x for trace in drawn["q3_per_class"].interactive.data}
    np.testing.assert_allclose(shown["untrained"], 100 * result.untrained.per_class)
    names = {text.get_text() for text in drawn["q2_pca_tsne"].picture.axes[0].texts}
    assert names == set(images.classes)


@pytest.mark.parametrize("value", [0, 0.1])
def test_a_collapsed_representation_is_a_result(smoke, monkeypatch, value):
    """All images have the same features: nothing to see, and chance where classes are told apart by the pictures."""
    cfg, images = smoke
    parts = [np.full((len(labels), 16), value, np.float32) for labels in (images.train_labels, images.test_labels)]
    monkeypatch.setattr("vicreg_nb.representations.features_of", lambda *_: Features(*parts, "constant"))
    result = q2.compute(cfg, images)
    assert not result.panels["t-SNE"].any() and q2.numbers(result)["centred"]["t-SNE"] == pytest.approx(0.1)
    for question in (q2, q3):
        for draw, _ in question.figures.values():
            draw(result).picture.canvas.draw()
        assert_claims_hold_up({question.name: {"numbers": plain_numbers(question.numbers(result))}})
