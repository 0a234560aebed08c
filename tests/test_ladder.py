"""The missing rung: what free vectors must arrive at, derived by hand, and whether they do."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.linalg import eigh
from sklearn.neighbors import KNeighborsClassifier
from vicreg_nb.config import make_config
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.ladder import (
    SAMPLINGS,
    _free_step,
    bottom_vectors,
    cosine_decay,
    edge_batches,
    edge_list,
    expected_terms,
    fit_exactly,
    free_vectors,
    nearest_vote,
    overlap,
    pair_problem,
    principal_angles,
    recovered_share,
)
from vicreg_nb.laplacian_eigenmaps import eigenmaps, image_graph, knn_graph
from vicreg_nb.representations import Features
from vicreg_nb.store import UserError, new_generator
from vicreg_nb.vicreg import vicreg_loss, vicreg_terms


@pytest.fixture(scope="module")
def graph():
    """Three clouds in a row: a graph in one piece with hubs and a gap behind its second eigenvector."""
    random = np.random.default_rng(3)
    clouds = np.concatenate([random.normal(size=(20, 5)) + 2.6 * place * np.eye(5)[0] for place in range(3)])
    return knn_graph(clouds, 5)


def drawn_by_hand(graph, sampling):
    """Probability of each ordered pair, and of each image in the spread, counted one by one."""
    w = graph.toarray()
    n, pairs, p = len(w), np.zeros_like(w), np.zeros(len(w))
    for i in range(n):
        for j in range(n):
            if w[i, j]:
                chance = 1 / w.sum() if sampling != "walk" else 0.5 * (1 / n / w[i].sum() + 1 / n / w[j].sum())
                pairs[i, j] = chance
                p[i] += chance
    return pairs, np.full(n, 1 / n) if sampling == "nodes" else p


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_the_pair_problem_is_the_expectation_over_the_draws(graph, sampling):
    laplacian, p = pair_problem(graph, sampling)
    pairs, weights = drawn_by_hand(graph, sampling)
    assert pairs.sum() == pytest.approx(1)
    np.testing.assert_allclose(p, weights, atol=1e-12)
    z = np.random.default_rng(0).normal(size=(graph.shape[0], 3))
    expected = sum(pairs[i, j] * ((z[i] - z[j]) ** 2).sum() for i in range(len(z)) for j in range(len(z)))
    assert np.trace(z.T @ (laplacian @ z)) == pytest.approx(expected)


def test_drawing_edges_is_laplacian_eigenmaps(graph):
    laplacian, p = pair_problem(graph, "edges")
    values = eigh(laplacian.toarray(), np.diag(p), eigvals_only=True)
    found = eigenmaps(graph, 4)
    np.testing.assert_allclose(values[1:5] / 2, found.values, atol=1e-6)
    assert principal_angles(found.vectors, bottom_vectors(laplacian.toarray(), p, 4), p).max() < 0.01


def test_an_unknown_way_of_drawing_is_refused(graph):
    with pytest.raises(UserError, match="sampling is 'stars'"):
        pair_problem(graph, "stars")


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_expected_terms_by_a_slow_loop(graph, sampling):
    laplacian, p = pair_problem(graph, sampling)
    pairs, _ = drawn_by_hand(graph, sampling)
    z = 0.4 * np.random.default_rng(1).normal(size=(graph.shape[0], 3))
    terms = expected_terms(*(torch.from_numpy(part) for part in (z, laplacian.toarray(), p)), gamma=0.9, eps=1e-3)
    inv = sum(pairs[i, j] * ((z[i] - z[j]) ** 2).mean() for i in range(len(z)) for j in range(len(z)))
    mean = sum(p[i] * z[i] for i in range(len(z)))
    c = sum(p[i] * np.outer(z[i] - mean, z[i] - mean) for i in range(len(z)))
    var = 2 * np.mean([max(0, 0.9 - np.sqrt(c[k, k] + 1e-3)) for k in range(3)])
    cov = 2 * sum(c[a, b] ** 2 for a in range(3) for b in range(3) if a != b) / 3
    np.testing.assert_allclose([term.item() for term in terms], [inv, var, cov])


@pytest.mark.parametrize("drawn", SAMPLINGS)
def test_free_vectors_arrive_at_the_eigenvectors_of_their_own_laplacian(graph, drawn):
    problems = {
        name: (part[0].toarray(), part[1]) for name, part in ((name, pair_problem(graph, name)) for name in SAMPLINGS)
    }
    z = fit_exactly(*problems[drawn], 2, (25, 75, 3), 1_500)
    angles = {
        name: principal_angles(z, bottom_vectors(*problem, 2), problem[1])[0] for name, problem in problems.items()
    }
    assert angles[drawn] < 1 and min(angle for name, angle in angles.items() if name != drawn) > 1, angles


def test_small_weights_leave_fewer_directions_but_the_right_ones(graph):
    laplacian, p = pair_problem(graph, "edges")
    laplacian = laplacian.toarray()
    z = fit_exactly(laplacian, p, 3, (25, 2.5, 0.1), 1_500)
    angles = principal_angles(z, bottom_vectors(laplacian, p, 3), p)
    assert (angles == 90).any() and angles[angles < 90].max() < 1


def test_principal_angles_by_hand():
    p, flat = np.full(4, 0.25), np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    turned = flat @ np.array([[1, 2], [0, 1]]) + 5
    assert principal_angles(turned, flat, p).max() < 1e-5
    x = np.eye(6) - 1 / 6
    plane, tilted = x[:, :2], np.c_[x[:, 0], np.cos(0.3) * x[:, 1] + np.sin(0.3) * x[:, 2]]
    q, r = (np.linalg.qr(side)[0] for side in (plane, tilted))
    expected = np.degrees(np.arccos(np.clip(np.linalg.svd(q.T @ r, compute_uv=False), -1, 1)))
    np.testing.assert_allclose(principal_angles(tilted, plane, np.full(6, 1 / 6)), np.sort(expected)[::-1], atol=1e-5)
    assert principal_angles(flat * [1, 0], flat, p)[0] == 90
    assert principal_angles(np.ones((4, 2)), flat, p).tolist() == [90, 90]
    assert overlap(np.array([0.0, 90.0])) == pytest.approx(0.5)


def test_the_share_of_each_eigenvector_that_was_found():
    p, basis = np.full(4, 0.25), np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    z = np.c_[basis[:, 0] + 3, 1e-6 * basis[:, 1]]  # the second direction has collapsed
    np.testing.assert_allclose(recovered_share(z, basis, p), [1, 0], atol=1e-5)
    np.testing.assert_allclose(recovered_share(z[:, :1], basis @ np.array([[1, 1], [0, 1]]), p), [1, 0.5], atol=1e-9)


def test_an_epoch_holds_every_edge_once_and_both_directions(graph):
    edges = edge_list(graph)
    assert edges.shape[1] == graph.nnz // 2 and (edges[0] < edges[1]).all()
    assert all(graph[i, j] == 1 for i, j in edges.T.tolist())
    batches = list(edge_batches(edges, 7, new_generator(0, "a")))
    assert {batch.shape for batch in batches} == {(2, 7)} and len(batches) == edges.shape[1] // 7
    seen = torch.cat(batches, dim=1).T.tolist()
    plain = [tuple(sorted(pair)) for pair in seen]
    assert len(set(plain)) == len(plain) and set(plain) <= {tuple(pair) for pair in edges.T.tolist()}
    assert 0.3 < np.mean([i < j for i, j in seen]) < 0.7
    again = torch.cat(list(edge_batches(edges, 7, new_generator(0, "a"))), dim=1)
    assert again.T.tolist() == seen


def test_a_step_is_algorithm_1_on_looked_up_vectors(graph):
    cfg = make_config("smoke")
    z = torch.randn(graph.shape[0], 4, dtype=torch.float64, generator=new_generator(0, "z"))
    ours, theirs = z.clone().requires_grad_(), z.clone().requires_grad_()
    pairs = edge_list(graph)[:, :24]
    _free_step(ours, pairs, torch.optim.Adam([ours], lr=0.1), (25, 25, 1), cfg)
    adam = torch.optim.Adam([theirs], lr=0.1)
    terms = vicreg_terms(torch.stack([theirs[i] for i in pairs[0]]), torch.stack([theirs[j] for j in pairs[1]]))
    vicreg_loss(terms, 25, 25, 1).backward()
    adam.step()
    torch.testing.assert_close(ours, theirs)


@pytest.fixture
def smoke(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path))
    return cfg, open_dataset(cfg)


def test_free_vectors_are_kept_learn_and_know_their_weights(smoke, monkeypatch):
    cfg, images = smoke
    graph = image_graph(cfg, images.train_images)
    free = free_vectors(cfg, graph)
    assert (
        free["vectors"].shape == (384, 16)
        and free["vectors"].dtype == np.float32
        and len(free["history"]) % cfg.free_epochs == 0
    )
    loss = free["history"] @ np.array([cfg.lam, cfg.mu, cfg.nu])
    assert loss[-1] < 0.8 * loss[0]
    other = free_vectors(cfg, graph, 10)
    monkeypatch.setattr("vicreg_nb.ladder._train_free", None)  # what is kept is not trained again
    assert np.array_equal(free_vectors(cfg, graph)["vectors"], free["vectors"])
    assert not np.array_equal(other["vectors"], free["vectors"])


def test_free_vectors_that_break_are_told(smoke):
    cfg, images = smoke
    with pytest.raises(UserError, match="free_lr"):
        broken = dataclasses.replace(cfg, free_lr=1e38)  # past the check of settings
        free_vectors(broken, image_graph(cfg, images.train_images))


def test_the_learning_rate_falls_along_a_cosine():
    assert (
        cosine_decay(0.2, 0, 10) == 0.2
        and cosine_decay(0.2, 5, 10) == pytest.approx(0.1)
        and cosine_decay(0.2, 10, 10) == pytest.approx(0)
    )


def test_the_vote_is_scikit_learns():
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 700)
    x = (labels[:, None] + 4 * random.normal(size=(700, 6))).astype(np.float32)
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    images = Images("made up", blank, labels[:500], blank, labels[500:], tuple("abcdefghij"), "made up")
    accuracy, same = nearest_vote(Features(x[:500], x[500:], "made up"), images)
    solver = KNeighborsClassifier(10).fit(x[:500], labels[:500])
    assert accuracy == pytest.approx(solver.score(x[500:], labels[500:]))
    votes = labels[:500][solver.kneighbors(x[500:], return_distance=False)]
    assert same == pytest.approx((votes == labels[500:, None]).mean())
