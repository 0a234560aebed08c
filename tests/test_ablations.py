"""Q4 and Q5: neighbours by brute force, collapse by construction, and texts that follow the numbers."""

import numpy as np
import pytest
import torch
from vicreg_nb.ablations import (
    NeighbourPairs,
    answer_q4,
    answer_q5,
    baseline,
    effective_rank,
    method_encoder,
    method_features,
    method_run,
    nearest,
    neighbour_tables,
    singular_values,
)
from vicreg_nb.config import UserError, make_config, stream
from vicreg_nb.data import normalise, open_dataset, to_float
from vicreg_nb.representations import encode


def brute_force(x, queries, exclude):
    distances = np.sqrt(((queries[:, None].astype(np.float64) - x[None].astype(np.float64)) ** 2).sum(axis=2))
    if exclude:
        np.fill_diagonal(distances, np.inf)
    return distances


def test_nearest_excludes_itself_and_gives_distances_not_squares():
    x = np.random.default_rng(0).normal(size=(200, 7)).astype(np.float32)
    distances, found = nearest(x, 5)
    exact = brute_force(x, x, True)
    np.testing.assert_array_equal(found, np.argsort(exact, axis=1)[:, :5])
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :5], rtol=1e-4)


def test_nearest_to_queries_drops_nobody():
    random = np.random.default_rng(0)
    x, queries = random.normal(size=(100, 4)).astype(np.float32), random.normal(size=(30, 4)).astype(np.float32)
    queries[0] = x[17]
    _, found = nearest(x, 3, queries)
    assert found[0, 0] == 17
    np.testing.assert_array_equal(found, np.argsort(brute_force(x, queries, False), axis=1)[:, :3])


def test_nearest_with_many_duplicates_never_returns_itself():
    x = np.zeros((12, 3), np.float32)
    distances, found = nearest(x, 4)
    assert found.shape == (12, 4) and not (found == np.arange(12)[:, None]).any() and (distances == 0).all()


@pytest.mark.parametrize("k", [0, -1, 10, 99])
def test_nearest_refuses_an_impossible_k(k):
    with pytest.raises(UserError, match=f"k is {k}: choose from 1 to 9"):
        nearest(np.zeros((10, 2), np.float32), k)


def test_nearest_refuses_nan():
    with pytest.raises(UserError, match="NaN"):
        nearest(np.full((10, 2), np.nan, np.float32), 2)


def test_singular_values_are_standard_deviations():
    x = np.random.default_rng(0).normal(size=(500, 6)) * [9, 5, 3, 2, 1, 0.1] + 7
    eigenvalues = np.linalg.eigvalsh(np.cov(x.T))[::-1]
    np.testing.assert_allclose(singular_values(x) ** 2, eigenvalues, rtol=1e-9)


def test_effective_rank_of_known_spectra():
    orthogonal = np.linalg.qr(np.random.default_rng(0).normal(size=(400, 9)) - 0)[0]
    orthogonal -= orthogonal.mean(axis=0)
    orthogonal = np.linalg.qr(orthogonal)[0]
    assert effective_rank(orthogonal) == pytest.approx(9, rel=1e-6)
    two = orthogonal[:, :2] * [3, 1]
    p = np.array([0.75, 0.25])
    assert effective_rank(two) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-6)
    assert effective_rank(np.full((50, 4), 3.0)) == 0


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return open_dataset(make_config("smoke", out=str(tmp_path_factory.mktemp("ablations")), epochs=1))


def test_neighbour_pairs_are_looked_up_in_the_data_set_and_not_augmented(smoke):
    cfg, images = smoke
    features = method_features(cfg, images, "vicreg")
    pairs = NeighbourPairs(cfg, images, features)
    indices = torch.tensor([300, 5, 17, 200])
    x, x2 = pairs.train(indices, stream(0, "pairs"))
    everything = normalise(to_float(images.train_images))
    torch.testing.assert_close(x, everything[indices])
    exact = np.argsort(brute_force(features.train, features.train[indices.numpy()], False), axis=1)
    for row, image in enumerate(indices.tolist()):
        allowed = [other for other in exact[row] if other != image][:3]
        assert any(torch.equal(x2[row], everything[other]) for other in allowed)


def test_all_three_neighbours_are_drawn_equally(smoke):
    cfg, images = smoke
    features = method_features(cfg, images, "vicreg")
    pairs, generator = NeighbourPairs(cfg, images, features), stream(0, "draws")
    table, _ = neighbour_tables(cfg, features)
    everything = normalise(to_float(images.train_images))
    _, x2 = pairs.train(torch.zeros(3_000, dtype=torch.long), generator)
    shares = [(x2 == everything[other]).flatten(1).all(dim=1).float().mean().item() for other in table[0]]
    assert sum(shares) == pytest.approx(1) and shares == pytest.approx([1 / 3] * 3, abs=0.05)


def test_test_pairs_take_neighbours_from_the_training_images(smoke):
    cfg, images = smoke
    features = method_features(cfg, images, "vicreg")
    x, x2 = NeighbourPairs(cfg, images, features).test(torch.arange(6), stream(0, "pairs"))
    torch.testing.assert_close(x, normalise(to_float(images.test_images[:6])))
    exact = np.argsort(brute_force(features.train, features.test[:6], False), axis=1)[:, :3]
    everything = normalise(to_float(images.train_images))
    assert all(any(torch.equal(x2[row], everything[other]) for other in exact[row]) for row in range(6))


def test_each_method_has_its_own_encoder(smoke, capsys):
    cfg, images = smoke
    features = {}
    for name in ("vicreg", "no_variance", "neighbours"):
        features[name] = method_features(cfg, images, name)
        again = encode(method_encoder(cfg, images, name), images.test_images)
        np.testing.assert_allclose(features[name].test, again, atol=1e-5)
    assert len({feature.identity for feature in features.values()}) == 3
    assert method_run(cfg, images, "no_variance").cfg.mu == 0
    assert len(method_run(cfg.replace(epochs=1), images, "neighbours").tests) == cfg.neighbour_epochs


def test_a_missing_q1_is_trained_first_and_said_so(tmp_path, capsys):
    cfg, images = open_dataset(make_config("smoke", out=str(tmp_path), epochs=1))
    method_run(cfg, images, "neighbours")
    assert "vicreg with mu = 25 has not been trained with these settings yet: training it first" in capsys.readouterr().out


def test_unknown_method(smoke):
    with pytest.raises(UserError, match="choose vicreg, no_variance or neighbours"):
        method_run(*smoke, "simclr")


def test_more_neighbours_than_images(smoke):
    cfg, images = smoke
    with pytest.raises(UserError, match="k is 400: choose from 1 to 383"):
        neighbour_tables(cfg.replace(neighbour_count=400), method_features(cfg, images, "vicreg"))


def test_baseline_restores_the_profiles_weights():
    cfg = make_config("smoke", mu=0.0, lam=3.0)
    assert baseline(cfg) == make_config("smoke")


def side(accuracy, rank, share=0.2):
    return {"accuracy": accuracy, "interval": 0.01, "effective_rank": rank, "share_of_first": share, "last_variance_term": 0.5, "mu": 0.0}


@pytest.mark.parametrize(
    ("cut", "expected"),
    [(side(0.2, 3.0), ["worse", "squeezed"]), (side(0.6, 60.0), ["not measurably different", "rather than losing"]), (side(0.7, 60.0), ["better"])],
)
def test_answer_to_q4_follows_the_numbers(cut, expected):
    text = answer_q4({"vicreg": side(0.6, 64.0), "ablated": cut, "dimension": 128, "chance": 0.1})
    assert all(word in text for word in expected)


@pytest.mark.parametrize(
    ("near", "control", "expected"),
    [(0.5, 0.55, ["it is lower", "Also in the same time"]), (0.6, 0.5, ["not measurably", "In the same time"]), (0.7, 0.5, ["it is higher", "What compensates"])],
)
def test_answer_to_q5_follows_the_numbers(near, control, expected):
    def one(accuracy):
        return {"accuracy": accuracy, "epochs": 1, "seconds": 3.0, "effective_rank": 9.0}

    numbers = {"vicreg": one(0.6), "control": one(control), "neighbours": one(near), "interval": 0.01, "neighbour_count": 3, "same_class": 0.4}
    text = answer_q5(numbers)
    assert all(word in text for word in expected)
