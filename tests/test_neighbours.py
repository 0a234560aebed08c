"""Neighbours: against scikit-learn and against all distances in double precision."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from vicreg_nb import neighbours
from vicreg_nb.neighbours import agreement, checked, distance_sums, farthest, nearest, same_class, same_class_parts
from vicreg_nb.store import UserError


def all_distances(x, queries):
    return np.linalg.norm(queries[:, None].astype(np.float64) - x[None].astype(np.float64), axis=2)


def clouds():
    random = np.random.default_rng(0)
    plain = random.normal(size=(700, 12)).astype(np.float32)
    copies = plain.copy()
    copies[5:9] = copies[3]
    return {
        "plain": plain,
        "copies": copies,
        "far from the origin": plain + np.float32(3_000),
        "a line": plain[:, :1] * np.ones((1, 12), np.float32),
        "two scales": np.concatenate((plain * np.float32(1e-3), plain[:50] * np.float32(1e3))),
        "constant": np.ones((40, 3), np.float32),
    }


@pytest.mark.parametrize("name", clouds())
@pytest.mark.parametrize("k", [1, 5])
def test_nearest_and_farthest_are_exact(name, k):
    x = clouds()[name]
    true = all_distances(x, x)
    np.fill_diagonal(true, np.nan)
    for search, sign in ((nearest, 1), (farthest, -1)):
        found = search(x, k)
        expected = sign * np.sort(sign * true, axis=1)[:, :k]
        scale = 1e-6 * np.nanmax(true) if name == "two scales" else 1e-9  # single precision nominates
        np.testing.assert_allclose(found.distances, expected, atol=max(scale, 1e-9))
        np.testing.assert_array_equal(found.distances, np.take_along_axis(all_distances(x, x), found.numbers, 1))
        assert (found.numbers != np.arange(len(x))[:, None]).all()


def test_nearest_to_other_points_is_sklearns():
    random = np.random.default_rng(1)
    x, queries = random.normal(size=(2_500, 16)), random.normal(size=(1_100, 16))
    distances, numbers = NearestNeighbors(n_neighbors=4).fit(x).kneighbors(queries)
    found = nearest(x, 4, queries)
    np.testing.assert_array_equal(found.numbers, numbers)
    np.testing.assert_allclose(found.distances, distances)
    assert nearest(x, 1, x[:3]).distances.max() == 0  # a query that is one of the points finds it


def test_the_gpus_way_finds_the_same(monkeypatch):
    """The branch of a GPU, on the CPU: PyTorch's product and topk instead of faiss."""
    x = clouds()["plain"]
    expected = nearest(x, 3), farthest(x, 3)

    class NoCPU:
        type = "cuda"

    monkeypatch.setattr(neighbours.torch, "device", lambda name: NoCPU)
    monkeypatch.setattr(neighbours.faiss, "IndexFlatIP", None)
    for search, result in zip((nearest, farthest), expected, strict=True):
        np.testing.assert_array_equal(search(x, 3, device="cpu").numbers, result.numbers)


@pytest.mark.parametrize("k", [0, -1, 700, 10_000])
def test_k_out_of_range(k):
    with pytest.raises(UserError, match=f"k is {k}"):
        nearest(clouds()["plain"], k)


def test_all_the_others_can_be_asked_for():
    assert np.sort(nearest(clouds()["plain"][:9], 8).numbers[0]).tolist() == list(range(1, 9))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_cannot_be_searched(bad):
    x = clouds()["plain"].copy()
    x[17, 3] = bad
    for search in (lambda: nearest(x, 2), lambda: nearest(clouds()["plain"], 2, x), lambda: distance_sums(x, x)):
        with pytest.raises(UserError, match="row 17"):
            search()
    with pytest.raises(UserError, match=r"\(0, 3\)"):
        checked(np.zeros((0, 3)))


def test_agreement_by_hand():
    numbers, labels = np.array([[1, 2], [0, 2]]), np.array([0, 0, 1])
    assert same_class(numbers, labels, np.array([0, 1])).tolist() == [0.5, 0.5]
    points = np.repeat(np.eye(3) * 100, 12, axis=0) + np.random.default_rng(0).normal(size=(36, 3))
    assert agreement(points, np.repeat(np.arange(3), 12)) == 1


def test_an_images_part_is_the_change_of_the_mean_by_its_weight():
    """Each pair weighs as much as both its images: the derivatives of the mean by these weights, by differences."""
    random = np.random.default_rng(3)
    labels, numbers = random.integers(0, 3, 60), random.integers(0, 60, (60, 4))
    same = labels[numbers] == labels[:, None]

    def mean(weights):
        pairs = weights[:, None] * weights[numbers]
        return (pairs * same).sum() / pairs.sum()

    step, parts = 1e-5 * np.eye(60), same_class_parts(numbers, labels)
    slopes = [60 * (mean(1 + one) - mean(1 - one)) / 2e-5 for one in step]
    np.testing.assert_allclose(parts, np.array(slopes) + same.mean(), atol=1e-6)


@pytest.mark.parametrize("name", clouds())
def test_sums_of_distances(name):
    x = clouds()[name]
    groups = np.eye(4)[np.arange(len(x)) % 4]
    expected = all_distances(x, x) @ groups
    np.testing.assert_allclose(distance_sums(x, groups), expected, rtol=1e-6, atol=1e-5)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("k, queries", [(2.5, None), ("3", None), (True, None), (2, np.zeros((3, 5)))])
def test_a_k_or_queries_that_do_not_fit_are_refused(k, queries):
    with pytest.raises(UserError):
        nearest(np.random.default_rng(0).normal(size=(9, 4)), k, queries)
