"""Q6: the graph against scikit-learn, its components against brute force, eigenvectors against LAPACK."""

import dataclasses
import json
from functools import partial

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.linalg import eigh, subspace_angles
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.sparse.linalg import eigsh
from scipy.spatial.distance import cdist
from sklearn.manifold import SpectralEmbedding
from sklearn.neighbors import kneighbors_graph
from torch import nn
from vicreg_nb.book import Numbers
from vicreg_nb.config import make_config
from vicreg_nb.data import Images, draw_shapes, normalise, open_dataset, to_float
from vicreg_nb.laplacian_eigenmaps import (
    _graph_decides,
    all_pictures,
    amortised_features,
    edge_facts,
    eigenmaps,
    embed,
    graph_features,
    image_graph,
    join_components,
    knn_graph,
    laplacian_features,
    make_graph,
    nystrom,
    q6,
    split_features,
    untrained_cnn,
)
from vicreg_nb.store import UserError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def edges_of(graph):
    return set(zip(*(part.tolist() for part in sparse.triu(graph).nonzero()), strict=True))


def neighbours_either_way(x, k):
    directed = kneighbors_graph(x, k, include_self=False)
    return sparse.csr_array(directed.maximum(directed.T))


def connected(n=120, k=6, seed=0):
    """A connected graph, unequal in its degrees."""
    x = normal(n, 5, seed=seed)
    return join_components(knn_graph(x, k), x)[0]


def dense_solution(graph):
    """All (eigenvalues, eigenvectors) of L y = lambda D y by LAPACK."""
    weights = graph.toarray()
    degrees = np.diag(weights.sum(axis=1))
    return eigh(degrees - weights, degrees)


def ring(n):
    half = sparse.csr_array((np.ones(n), (np.arange(n), (np.arange(n) + 1) % n)), shape=(n, n))
    return half + half.T


# the graph


@pytest.mark.parametrize(
    ("x", "k"),
    [
        (normal(200, 7), 1),
        (normal(200, 7), 4),
        (normal(200, 7), 199),
        ((normal(1500, 128) + 300).astype(np.float32), 5),
    ],
)
def test_knn_graph_is_that_of_scikit_learn(x, k):
    graph = knn_graph(x, k)
    assert abs(graph - neighbours_either_way(x.astype(np.float64), k)).sum() == 0
    assert set(graph.data) == {1.0} and graph.diagonal().sum() == 0 and abs(graph - graph.T).sum() == 0


def test_duplicates_are_neighbours_of_each_other_and_not_of_themselves():
    x = normal(60, 4)
    x[50:] = x[7]
    graph = knn_graph(x, 4).toarray()
    same = [7, *range(50, 60)]
    assert graph.diagonal().sum() == 0 and (graph[np.ix_(same, same)].sum(axis=1) >= 4).all()


@pytest.mark.parametrize(("k", "value"), [(0, "k is 0"), (10, "k is 10")])
def test_knn_graph_names_a_wrong_k(k, value):
    with pytest.raises(UserError, match=value):
        knn_graph(normal(10, 2), k)


# connected components


def shortest_tree(graph, x):
    """Length of the minimum spanning tree over all pairs of images when the graph's edges are free."""
    label, lengths = connected_components(graph, directed=False)[1], cdist(x, x)
    groups = [np.flatnonzero(label == name) for name in range(label.max() + 1)]
    between = [[lengths[np.ix_(a, b)].min() if a is not b else 0 for b in groups] for a in groups]
    return minimum_spanning_tree(sparse.csr_array(np.array(between))).sum()


def islands(sizes, dimensions=3, seed=0):
    places = 12 * normal(len(sizes), dimensions, seed=seed + 1)
    parts = [normal(size, dimensions, seed=seed + 2 + size) for size in sizes]
    return np.concatenate([part + place for part, place in zip(parts, places, strict=True)])


def hook():
    """A crowd with a long tail: the tail's tip is near to the small component, the crowd to the largest one."""
    steps = np.arange(0.5, 20.5, 0.5)[:, None]
    mine, small = [0.05 * normal(50, 2), steps * [0, 1]], [6, 20] + 0.05 * normal(5, 2)
    pier = [5, 0] + np.arange(0, 7, 0.5)[:, None] * [1, 0]
    return np.concatenate([*mine, small, [8, 0] + 0.05 * normal(100, 2), pier, [11.5, 0] + steps * [0, 1]])


@pytest.mark.parametrize(
    ("x", "k"),
    [
        (hook(), 4),
        (islands((60, 35, 12, 7)), 4),
        (islands((90, 80, 70, 60, 50)), 5),
        (normal(300, 3), 1),  # many small components side by side
    ],
)
def test_components_are_joined_by_the_shortest_edges(x, k):
    apart = knn_graph(x, k)
    graph, added = join_components(apart, x)
    pairs = {tuple(edge) for edge in added.tolist()}
    count = connected_components(apart, directed=False)[0]
    assert connected_components(graph, directed=False)[0] == 1 and abs(graph - graph.T).sum() == 0
    assert edges_of(graph) == edges_of(apart) | pairs and not edges_of(apart) & pairs and set(graph.data) == {1.0}
    assert len(pairs) == len(added) == count - 1 > 0
    assert cdist(x, x)[added[:, 0], added[:, 1]].sum() == pytest.approx(shortest_tree(apart, x), rel=1e-12)


def test_edges_of_equal_length_close_no_circle():
    corners = np.array([[0, 0], [10, 0], [5, 75**0.5], [5, -(75**0.5)], [-5, 75**0.5], [-5, -(75**0.5)], [-10, 0]])
    x = np.repeat(corners, 4, axis=0)
    graph, added = join_components(knn_graph(x, 3), x)
    assert len(added) == 6 and connected_components(graph, directed=False)[0] == 1


def test_a_connected_graph_is_untouched():
    x = normal(80, 2)
    graph = knn_graph(x, 8)
    assert connected_components(graph, directed=False)[0] == 1  # so that the test means something
    joined, added = join_components(graph, x)
    assert abs(joined - graph).sum() == 0 and added.shape == (0, 2)


# the eigenvectors


@pytest.mark.parametrize(("n", "components"), [(120, 5), (120, 118), (700, 20), (3, 1)])
def test_eigenmaps_are_lapacks(n, components):
    graph = connected(n, 6 if n > 6 else 1)
    embedding = eigenmaps(graph, components)
    values, vectors = dense_solution(graph)
    assert embedding.vectors.shape == (n, components) and (np.diff(embedding.values) >= 0).all()
    np.testing.assert_allclose(embedding.values, values[1 : components + 1], atol=1e-12)
    assert subspace_angles(embedding.vectors, vectors[:, 1 : components + 1]).max() < 1e-6


def test_weights_count():
    graph = connected()
    noise = sparse.triu(graph).multiply(np.random.default_rng(0).uniform(0.2, 3, graph.shape))
    weighted = (noise + noise.T).tocsr()
    embedding, (values, vectors) = eigenmaps(weighted, 4), dense_solution(weighted)
    np.testing.assert_allclose(embedding.values, values[1:5], atol=1e-12)
    assert subspace_angles(embedding.vectors, vectors[:, 1:5]).max() < 1e-6
    assert subspace_angles(embedding.vectors, eigenmaps(graph, 4).vectors).max() > 0.01


def test_eigenmaps_are_those_of_scikit_learn_column_by_column():
    graph = connected(300, 8)
    ours = eigenmaps(graph, 10).vectors
    theirs = SpectralEmbedding(10, affinity="precomputed", random_state=0).fit_transform(graph)
    cosines = (ours * theirs).sum(axis=0) / np.linalg.norm(ours, axis=0) / np.linalg.norm(theirs, axis=0)
    np.testing.assert_allclose(np.abs(cosines), 1, atol=1e-9)


@pytest.mark.parametrize("n", [200, 1000])
def test_eigenvalues_that_come_twice_are_found_twice(n):
    embedding = eigenmaps(ring(n), 6)
    exact = 1 - np.cos(2 * np.pi * np.array([1, 1, 2, 2, 3, 3]) / n)
    np.testing.assert_allclose(embedding.values, exact, atol=1e-11)
    assert subspace_angles(embedding.vectors, dense_solution(ring(n))[1][:, 1:7]).max() < 1e-6


def test_two_crowds_on_one_edge_are_told_apart():
    crowds = np.kron(np.eye(2), np.ones((80, 80)) - np.eye(80))
    crowds[0, 80] = crowds[80, 0] = 1
    first = eigenmaps(sparse.csr_array(crowds), 1).vectors[:, 0]
    assert len(set(np.sign(first[:80]))) == len(set(np.sign(first[80:]))) == 1 and first[0] * first[80] < 0


def test_residuals_and_scale_by_hand(monkeypatch):
    graph = connected(700)
    degree = graph.toarray().sum(axis=1)
    share, adjacency = degree / degree.sum(), graph.toarray() / np.sqrt(np.outer(degree, degree))
    assert eigenmaps(graph, 20).residuals.max() < 1e-13
    monkeypatch.setattr("vicreg_nb.laplacian_eigenmaps.eigsh", partial(eigsh, tol=1e-2))  # residuals worth measuring
    loose = eigenmaps(graph, 20)
    np.testing.assert_allclose(loose.vectors.T * share @ loose.vectors, np.eye(20), atol=1e-9)
    v = loose.vectors * np.sqrt(share)[:, None]
    by_hand = np.linalg.norm(adjacency @ v - v * (1 - loose.values), axis=0)
    assert by_hand.max() > 1e-6
    np.testing.assert_allclose(loose.residuals, by_hand, atol=1e-14)


def test_mean_and_variance_are_weighted_by_degree():
    graph = connected()
    y, degree = eigenmaps(graph, 7).vectors, graph.toarray().sum(axis=1)
    np.testing.assert_allclose(degree @ y, 0, atol=1e-7)
    np.testing.assert_allclose(y.T * degree / degree.sum() @ y, np.eye(7), atol=1e-10)
    assert abs(y.mean(axis=0)).max() > 0.01  # the plain mean is another one


def test_one_seed_gives_one_embedding_and_another_seed_the_same_one_but_for_rounding():
    first, again, other = (eigenmaps(connected(), 5, seed).vectors for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(first, other, atol=1e-8)  # signs too


def test_stored_zeros_are_no_edges():
    graph = connected()
    rows, columns = np.argwhere(np.triu(graph.toarray() == 0, 1))[:40].T
    edges = graph.tocoo()
    data = np.r_[edges.data, np.zeros(80)]
    places = np.r_[edges.row, rows, columns], np.r_[edges.col, columns, rows]
    padded = sparse.csr_array((data, places), shape=graph.shape)
    np.testing.assert_allclose(eigenmaps(padded, 4).vectors, eigenmaps(graph, 4).vectors, atol=1e-9)
    assert padded.nnz == graph.nnz + 80  # the caller's graph is not changed


def changed(i, j, value):
    graph = connected().tolil()
    graph[i, j] = value
    return graph.tocsr()


@pytest.mark.parametrize(
    ("graph", "components", "value"),
    [
        (sparse.csr_array((10, 10)), 2, "10 connected components"),
        (sparse.csr_array(np.ones((4, 5))), 2, r"\(4, 5\)"),
        (sparse.csr_array(np.kron(np.eye(2), np.ones((6, 6)) - np.eye(6))), 2, "2 connected components"),
        (connected(), 0, "components is 0"),
        (connected(), 119, "components is 119"),
        (changed(3, 5, 7.0), 2, r"\(120, 120\)"),
        (changed([3, 5], [5, 3], -1.0), 2, r"\(120, 120\)"),
        (changed([3, 5], [5, 3], np.nan), 2, r"\(120, 120\)"),
        (changed([3, 5], [5, 3], np.inf), 2, r"\(120, 120\)"),
    ],
)
def test_eigenmaps_refuses_with_one_sentence(graph, components, value):
    with pytest.raises(UserError, match=value) as caught:
        eigenmaps(graph, components)
    assert "\n" not in str(caught.value)


# footnote 3


def test_the_untrained_cnn_is_footnote_3s():
    cnn = untrained_cnn(0)
    linear = [layer for layer in cnn if isinstance(layer, nn.Linear)]
    assert sum(isinstance(layer, nn.Conv2d) for layer in cnn) == 4
    assert len(linear) == 1 and linear[0].out_features == 1024
    assert not any(parameter.requires_grad for parameter in cnn.parameters()) and not cnn.training


def test_its_weights_come_from_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = untrained_cnn(1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = untrained_cnn(1).state_dict(), untrained_cnn(2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_features_are_the_cnn_of_normalised_pictures_whatever_the_batch():
    cfg = make_config("smoke", device="cpu", seed=3)
    pictures = draw_shapes(23, 0)[0]
    with torch.inference_mode():
        expected = untrained_cnn(3)(normalise(to_float(pictures))).numpy()
    whole = graph_features(cfg, pictures)
    assert whole.dtype == np.float32 and whole.shape == (23, 1024)
    for other in (whole, graph_features(cfg, pictures, batch=4), graph_features(cfg, pictures[[22, 0]])[[1]]):
        np.testing.assert_allclose(other, expected[: len(other)], atol=1e-5)


# of images


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(Config, Images, Q6's entry in results.json) of a smoke run."""
    cfg = make_config("smoke", device="cpu", epochs=1, out=str(tmp_path_factory.mktemp("laplacian")))
    q6.run(cfg)
    results = json.loads((cfg.folder / "results.json").read_text(encoding="utf-8"))
    return cfg, open_dataset(cfg), results["questions"]["Q6"]


def test_the_runs_numbers_are_those_of_a_graph_made_by_hand(finished):
    cfg, images, entry = finished
    numbers, whole = entry["numbers"], entry["numbers"]["whole"]
    pictures, labels = all_pictures(images), np.concatenate([images.train_labels, images.test_labels])
    np.testing.assert_array_equal(pictures, np.concatenate([images.train_images, images.test_images]))
    x = graph_features(cfg, pictures).astype(np.float64)
    graph, _ = join_components(neighbours_either_way(x, cfg.graph_neighbours), x)
    i, j = np.array(sorted(edges_of(graph))).T
    assert whole["images"] == len(pictures) and numbers["small"]["images"] == cfg.graph_size
    assert whole["edges"] == len(i) and whole["max_degree"] == np.bincount(np.r_[i, j]).max()
    assert numbers["laplacian"]["same_class_edges"] == pytest.approx((labels[i] == labels[j]).mean())
    assert whole["last_eigenvalue"] == pytest.approx(dense_solution(graph)[0][cfg.components], abs=1e-10)
    assert whole["largest_residual"] < 1e-12
    assert (cfg.figures / "q6_tsne.png").is_file()


def test_the_claim_about_the_graph_needs_its_gain_and_its_edges():
    def numbers(graph, total=15.0, same=0.4, brightness=0.6, ground=0.6):
        return Numbers(
            graph={"points": graph, "interval": 1.4}, total={"points": total, "interval": 1.4},
            laplacian={"same_class_edges": 0.3, "differ": {"brightness": 0.4, "background": 0.4}},
            control={"same_class_edges": same, "differ": {"brightness": brightness, "background": ground}},
        )  # fmt: skip

    assert _graph_decides(numbers(13))
    seen = numbers(13, brightness=0.45), numbers(13, ground=0.45)
    for refuted in (numbers(1), numbers(5), numbers(-13), numbers(13, same=0.2), *seen):
        assert not _graph_decides(refuted)


def test_edge_facts_by_hand():
    graph = sparse.csr_array(np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0.0]]))
    pictures = np.full((4, 32, 32, 3), [[[[0]]], [[[10]]], [[[20]]], [[[60]]]], np.uint8)
    labels = np.array([0, 0, 1, 1])
    images = Images("made up", pictures[:3], labels[:3], pictures[3:], labels[3:], tuple("ab"), "made up")
    facts = edge_facts(graph, images)
    assert facts["same_class_edges"] == pytest.approx(2 / 3)
    i, j = graph.nonzero()
    shades = np.array([0, 10, 20, 60])
    random = np.abs(shades[i] - shades[np.random.default_rng(0).permutation(j)]).mean()
    assert facts["differ"]["brightness"] == pytest.approx((10 + 20 + 40) / 3 / random, rel=1e-5)
    assert facts["differ"]["colour"] < 1e-2  # all are grey; what is left is rounding


def test_features_are_split_into_training_and_test_rows(finished):
    cfg, images, _ = finished
    n = len(images.train_images)
    vectors = np.arange(2.0 * (n + len(images.test_images))).reshape(-1, 2)
    split = split_features(images, vectors, "name")
    assert split.train.dtype == split.test.dtype == np.float32 and split.identity == "name"
    np.testing.assert_array_equal(split.train, vectors[:n])
    np.testing.assert_array_equal(split.test, vectors[n:])
    embedded = laplacian_features(cfg, images)
    whole = embed(cfg, image_graph(cfg, all_pictures(images))).vectors
    np.testing.assert_allclose(np.concatenate([embedded.train, embedded.test]), whole, rtol=1e-6)


def test_a_second_call_loads_graph_and_embedding(tmp_path, monkeypatch):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    pictures = draw_shapes(60, 0)[0]
    graph = image_graph(cfg, pictures)
    embedding = embed(cfg, graph)
    monkeypatch.setattr("vicreg_nb.store.write_arrays", None)  # what is kept is not computed again
    loaded = image_graph(cfg, pictures)
    assert loaded.identity == graph.identity and abs(loaded.graph - graph.graph).sum() == 0
    for kept, found in zip((*graph[1:4], *embedding), (*loaded[1:4], *embed(cfg, loaded)), strict=True):
        np.testing.assert_array_equal(found, kept)


def test_other_pictures_neighbours_seed_or_components_are_computed_anew(tmp_path):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    pictures = draw_shapes(60, 0)[0]
    others = [(cfg, pictures[:50]), (cfg.replace(graph_neighbours=5), pictures), (cfg.replace(seed=1), pictures)]
    graphs = [image_graph(*other) for other in (*others, (cfg, pictures))]
    assert len({graph.identity for graph in graphs}) == 4
    assert embed(cfg, graphs[3]).vectors.shape == (60, 16)
    assert embed(cfg.replace(components=3), graphs[3]).vectors.shape == (60, 3)


def test_images_in_several_components_are_joined_and_counted(tmp_path):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path), graph_neighbours=4)
    graph = make_graph(cfg, "islands", lambda: islands((40, 20)))
    assert graph.sizes.tolist() == [40, 20] and graph.added.shape == (1, 2)
    assert connected_components(graph.graph, directed=False)[0] == 1


def test_nystrom_gives_an_image_of_the_graph_its_own_vector():
    x = islands((40, 20))
    graph = join_components(knn_graph(x, 4), x)[0]
    found = eigenmaps(graph, 3)
    for i in range(0, 60, 7):
        row = graph.toarray()[i].nonzero()[0]
        np.testing.assert_allclose(nystrom(found, row[None])[0], found.vectors[i], atol=1e-8)


def test_new_images_stand_where_their_neighbours_do(tmp_path):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    images = open_dataset(cfg)
    one = amortised_features(cfg, images)
    alone = eigenmaps(image_graph(cfg, images.train_images).graph, cfg.components)
    np.testing.assert_allclose(one.train, alone.vectors, atol=1e-4)
    train, test = (graph_features(cfg, part).astype(float) for part in (images.train_images, images.test_images))
    for place in (0, 50, 159):
        near = np.argsort(np.linalg.norm(train - test[place], axis=1))[: cfg.graph_neighbours]
        np.testing.assert_allclose(one.test[place], alone.vectors[near].mean(axis=0) / (1 - alone.values), atol=1e-4)
    other = dataclasses.replace(images, test_images=images.test_images[::-1].copy())
    np.testing.assert_array_equal(amortised_features(cfg, other).test, one.test[::-1])
