"""Q6: the graph against scikit-learn, the eigenvectors against LAPACK and scikit-learn, a graph in pieces, and a text that follows the numbers."""

import json

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from matplotlib.image import imread
from scipy.linalg import eigh, subspace_angles
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial.distance import cdist
from sklearn.manifold import SpectralEmbedding, spectral_embedding
from sklearn.neighbors import kneighbors_graph
from torch import nn
from vicreg_nb.config import UserError, make_config
from vicreg_nb.data import draw_shapes, normalise, open_dataset, to_float
from vicreg_nb.laplacian_eigenmaps import (
    ImageGraph,
    all_pictures,
    answer_q6,
    eigenmaps,
    embed,
    figure_eigenvalues,
    figure_pictures,
    graph_features,
    image_graph,
    join_pieces,
    knn_graph,
    laplacian_features,
    make_graph,
    run,
    same_class_edges,
    split_features,
    untrained_cnn,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def edges_of(graph):
    return set(zip(*(part.tolist() for part in sparse.triu(graph).nonzero())))


def neighbours_either_way(x, k):
    directed = kneighbors_graph(x, k, include_self=False)
    return directed.maximum(directed.T)


def one_piece(n=120, k=6, seed=0):
    """A graph in one piece, unequal in its degrees."""
    x = normal(n, 5, seed=seed)
    return join_pieces(knn_graph(x, k), x)[0]


def dense_solution(graph):
    """All (eigenvalues, eigenvectors) of L y = lambda D y by LAPACK."""
    weights = graph.toarray()
    degrees = np.diag(weights.sum(axis=1))
    return eigh(degrees - weights, degrees)


def ring(n):
    neighbours = (np.arange(n) + 1) % n
    half = sparse.csr_matrix((np.ones(n), (np.arange(n), neighbours)), shape=(n, n))
    return half + half.T


# the graph


@pytest.mark.parametrize("k", [1, 4, 199])
def test_knn_graph_is_that_of_scikit_learn(k):
    x = normal(200, 7)
    assert abs(knn_graph(x, k) - neighbours_either_way(x, k)).sum() == 0


def test_knn_graph_keeps_its_digits_where_the_features_lie_far_from_zero():
    x = (normal(1500, 128) + 300).astype(np.float32)
    assert abs(knn_graph(x, 5) - neighbours_either_way(x.astype(np.float64), 5)).sum() == 0


def test_knn_graph_is_symmetric_of_ones_and_without_self_loops():
    graph = knn_graph(normal(150, 3), 5)
    assert abs(graph - graph.T).sum() == 0 and graph.diagonal().sum() == 0
    assert set(graph.data) == {1.0} and graph.sum(axis=1).min() >= 5


def test_duplicates_are_neighbours_of_each_other_and_not_of_themselves():
    x = normal(60, 4)
    x[50:] = x[7]
    graph = knn_graph(x, 4)
    same = [7, *range(50, 60)]
    assert graph.diagonal().sum() == 0
    for image in same:
        assert graph[image, [other for other in same if other != image]].sum() >= 4


@pytest.mark.parametrize(
    ("features", "k", "message"),
    [
        (normal(10, 2), 0, "k is 0: choose from 1 to 9"),
        (normal(10, 2), 10, "k is 10: choose from 1 to 9"),
        (normal(1, 2), 1, r"shape \(1, 2\) make no graph"),
        (normal(10), 1, r"shape \(10,\) make no graph"),
        (np.where(np.arange(20).reshape(10, 2) == 6, np.nan, 0), 1, "NaN or infinity in 1 of 10 rows, first in row 3"),
        (np.full((4, 2), np.inf), 1, "NaN or infinity in 4 of 4 rows, first in row 0"),
    ],
)
def test_knn_graph_refuses_with_one_sentence(features, k, message):
    with pytest.raises(UserError, match=message) as caught:
        knn_graph(features, k)
    assert "\n" not in str(caught.value)


# a graph in pieces


def bridges_by_brute_force(graph, x):
    """The edges of the minimum spanning tree over all pairs of images that cost something when edges of the graph are free."""
    distances = cdist(x, x)
    count, piece = connected_components(graph, directed=False)
    between, shortest = np.zeros((count, count)), {}
    for a in range(count):
        for b in range(a + 1, count):
            rows, columns = np.flatnonzero(piece == a), np.flatnonzero(piece == b)
            block = distances[np.ix_(rows, columns)]
            i, j = np.unravel_index(block.argmin(), block.shape)
            between[a, b], shortest[a, b] = block.min(), tuple(sorted((int(rows[i]), int(columns[j]))))
    return {shortest[tuple(sorted(pair))] for pair in zip(*(part.tolist() for part in minimum_spanning_tree(between).nonzero()))}


def islands(sizes, dimensions=3, seed=0):
    places = 12 * normal(len(sizes), dimensions, seed=seed + 1)
    return np.concatenate([normal(size, dimensions, seed=seed + 2 + size) + place for size, place in zip(sizes, places)])


def hook():
    """A crowd with a tail whose tip finds the small piece among its nearest, while the crowd is nearer to the largest piece."""
    steps = np.arange(0.5, 20.5, 0.5)[:, None]
    mine = [0.05 * normal(50, 2), steps * [0, 1]]
    small = [[6, 20] + 0.05 * normal(5, 2)]
    largest = [[8, 0] + 0.05 * normal(100, 2), [5, 0] + np.arange(0, 7, 0.5)[:, None] * [1, 0], [11.5, 0] + steps * [0, 1]]
    return np.concatenate(mine + small + largest)


@pytest.mark.parametrize(
    ("x", "k"),
    [
        (hook(), 4),
        (islands((60, 35, 12, 7)), 4),
        (islands((90, 80, 70, 60, 50)), 5),  # more than the 32 nearest lie within a piece
        (normal(300, 3), 1),  # many small pieces side by side, several rounds
        (normal(2, 2).repeat(20, axis=0), 3),  # duplicates alone
    ],
)
def test_pieces_are_joined_by_the_shortest_edges(x, k):
    apart = knn_graph(x, k)
    joined, pieces = join_pieces(apart, x)
    added = {tuple(edge) for edge in pieces.added.tolist()}
    length = cdist(x, x)
    expected = bridges_by_brute_force(apart, x)
    assert connected_components(joined, directed=False)[0] == 1 and abs(joined - joined.T).sum() == 0
    assert edges_of(joined) == edges_of(apart) | added and not edges_of(apart) & added
    assert len(added) == len(pieces.added) == len(pieces.sizes) - 1 == len(expected) > 0
    assert sum(length[edge] for edge in added) == pytest.approx(sum(length[edge] for edge in expected), rel=1e-12)


def test_edges_of_equal_length_close_no_circle():
    corners = np.array([[0, 0], [10, 0], [5, 75**0.5], [5, -(75**0.5)], [-5, 75**0.5], [-5, -(75**0.5)], [-10, 0]])
    x = np.repeat(corners, 4, axis=0)
    joined, pieces = join_pieces(knn_graph(x, 3), x)
    assert len(pieces.sizes) == 7 and len(pieces.added) == 6
    assert connected_components(joined, directed=False)[0] == 1


def test_pieces_are_told_with_their_sizes():
    x = islands((60, 35, 12))
    _, pieces = join_pieces(knn_graph(x, 4), x)
    assert pieces.sizes.tolist() == [60, 35, 12]
    assert str(pieces) == "the graph was in 3 pieces, of 60 images and of 35, 12; 2 edges, the shortest between them, joined them"
    x = islands((60, 35))
    assert str(join_pieces(knn_graph(x, 4), x)[1]).endswith("of 60 images and of 35; an edge, the shortest between them, joined them")


def test_a_graph_in_one_piece_is_untouched():
    x = normal(80, 2)
    graph = knn_graph(x, 8)
    assert connected_components(graph, directed=False)[0] == 1  # so that the test means something
    joined, pieces = join_pieces(graph, x)
    assert abs(joined - graph).sum() == 0 and pieces.sizes.tolist() == [80] and pieces.added.shape == (0, 2)
    assert str(pieces) == "the graph is in one piece"


def test_join_pieces_refuses_features_of_other_images():
    with pytest.raises(UserError, match="9 rows of features for a graph of 12 images"):
        join_pieces(knn_graph(normal(12, 2), 2), normal(9, 2))


# the eigenvectors


@pytest.mark.parametrize(("n", "components"), [(120, 5), (120, 118), (700, 20), (3, 1)])
def test_eigenmaps_are_lapacks(n, components):
    graph = one_piece(n, 6 if n > 6 else 1)
    embedding = eigenmaps(graph, components)
    values, vectors = dense_solution(graph)
    assert embedding.vectors.shape == (n, components)
    np.testing.assert_allclose(embedding.values, values[1 : components + 1], atol=1e-12)
    assert subspace_angles(embedding.vectors, vectors[:, 1 : components + 1]).max() < 1e-6


def test_weights_count():
    graph = one_piece()
    noise = sparse.triu(graph).multiply(np.random.default_rng(0).uniform(0.2, 3, graph.shape))
    weighted = (noise + noise.T).tocsr()
    embedding, (values, vectors) = eigenmaps(weighted, 4), dense_solution(weighted)
    np.testing.assert_allclose(embedding.values, values[1:5], atol=1e-12)
    assert subspace_angles(embedding.vectors, vectors[:, 1:5]).max() < 1e-6
    assert subspace_angles(embedding.vectors, eigenmaps(graph, 4).vectors).max() > 0.01


def test_eigenmaps_are_those_of_scikit_learn_column_by_column():
    graph = one_piece(300, 8)
    embedding = eigenmaps(graph, 10)
    by_class = SpectralEmbedding(10, affinity="precomputed", random_state=0).fit_transform(graph)
    by_function = spectral_embedding(graph, n_components=10, random_state=0)
    for other in (by_class, by_function):
        assert subspace_angles(embedding.vectors, other).max() < 1e-6
        cosines = (embedding.vectors * other).sum(axis=0) / np.linalg.norm(embedding.vectors, axis=0) / np.linalg.norm(other, axis=0)
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
    first = eigenmaps(sparse.csr_matrix(crowds), 1).vectors[:, 0]
    assert len(set(np.sign(first[:80]))) == len(set(np.sign(first[80:]))) == 1 and first[0] * first[80] < 0


@pytest.mark.parametrize("tolerance", [0, 1e-2])
def test_residuals_are_what_they_are_said_to_be(tolerance):
    graph = one_piece(700)
    embedding = eigenmaps(graph, 20, tolerance=tolerance)
    degree = graph.toarray().sum(axis=1)
    adjacency = graph.toarray() / np.sqrt(np.outer(degree, degree))
    v = embedding.vectors * np.sqrt(degree / degree.sum())[:, None]
    np.testing.assert_allclose(np.linalg.norm(v, axis=0), 1, atol=1e-9)
    by_hand = np.linalg.norm(adjacency @ v - v * (1 - embedding.values), axis=0)
    np.testing.assert_allclose(embedding.residuals, by_hand, atol=1e-14)
    assert (by_hand.max() < 1e-13) == (tolerance == 0)


def test_an_image_weighs_as_much_as_its_degree():
    graph = one_piece()
    y, degree = eigenmaps(graph, 7).vectors, graph.toarray().sum(axis=1)
    share = degree / degree.sum()
    np.testing.assert_allclose(share @ y, 0, atol=1e-10)
    np.testing.assert_allclose(y.T * share @ y, np.eye(7), atol=1e-10)
    assert abs(y.mean(axis=0)).max() > 0.01  # the plain mean is another one


def test_eigenvalues_rise():
    values = eigenmaps(one_piece(), 30).values
    assert (np.diff(values) >= 0).all() and 0 < values[0] and values[-1] <= 2


def test_one_seed_gives_one_embedding_and_another_seed_the_same_space():
    graph = one_piece()
    first, again, other = (eigenmaps(graph, 5, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    assert not np.array_equal(first.vectors, other.vectors)
    np.testing.assert_allclose(first.vectors, other.vectors, atol=1e-8)  # signs too


def test_the_global_random_streams_are_left_alone():
    graph = one_piece()
    np.random.seed(0)
    expected = np.random.get_state()[1].copy()
    eigenmaps(graph, 5)
    np.testing.assert_array_equal(np.random.get_state()[1], expected)


def test_stored_zeros_are_no_edges():
    graph = one_piece()
    rows, columns = np.argwhere(np.triu(graph.toarray() == 0, 1))[:40].T
    zeros = sparse.coo_matrix((np.zeros(80), (np.r_[rows, columns], np.r_[columns, rows])), shape=graph.shape)
    edges = graph.tocoo()
    both = (np.r_[edges.data, zeros.data], (np.r_[edges.row, zeros.row], np.r_[edges.col, zeros.col]))
    padded = sparse.csr_matrix(both, shape=graph.shape)
    stored = padded.nnz
    assert stored == graph.nnz + 80
    np.testing.assert_allclose(eigenmaps(padded, 4).vectors, eigenmaps(graph, 4).vectors, atol=1e-9)
    assert padded.nnz == stored  # the caller's graph is not changed


def two_pieces(m=6):
    return sparse.csr_matrix(np.kron(np.eye(2), np.ones((m, m)) - np.eye(m)))


def changed(i, j, value):
    graph = one_piece().tolil()
    graph[i, j] = value
    return graph.tocsr()


def only_stored_zeros():
    return sparse.csr_matrix((np.zeros(2), ([0, 1], [1, 0])), shape=(5, 5))


@pytest.mark.parametrize(
    ("graph", "components", "message"),
    [
        (sparse.csr_matrix((10, 10)), 2, r"shape \(10, 10\) has 0 edges"),
        (only_stored_zeros(), 2, r"shape \(5, 5\) has 0 edges"),
        (sparse.csr_matrix(np.ones((4, 5))), 2, r"graph of shape \(4, 5\)"),
        (two_pieces(), 2, "in 2 pieces, the smallest of 6 images: join them first with join_pieces"),
        (sparse.block_diag([one_piece(20), [[0.0]]]).tocsr(), 2, "in 2 pieces, the smallest of 1 image"),
        (one_piece(), 0, "components is 0: choose from 1 to 118"),
        (one_piece(), 119, "components is 119: choose from 1 to 118"),
        (changed(3, 5, 7.0), 2, "is not symmetric"),
        (changed([3, 5], [5, 3], -1.0), 2, "has negative"),
        (changed([3, 5], [5, 3], np.nan), 2, "NaN weights"),
        (changed([3, 5], [5, 3], np.inf), 2, "infinite"),
    ],
)
def test_eigenmaps_refuses_with_one_sentence(graph, components, message):
    with pytest.raises(UserError, match=message) as caught:
        eigenmaps(graph, components)
    assert "\n" not in str(caught.value)


# footnote 3


def test_the_untrained_cnn_is_footnote_3s():
    cnn = untrained_cnn(0)
    convolutions = [layer for layer in cnn if isinstance(layer, nn.Conv2d)]
    linear = [layer for layer in cnn if isinstance(layer, nn.Linear)]
    assert len(convolutions) == 4 and len(linear) == 1 and linear[0].out_features == 1024
    assert cnn(torch.zeros(2, 3, 32, 32)).shape == (2, 1024)
    assert not any(parameter.requires_grad for parameter in cnn.parameters()) and not cnn.training


def test_its_weights_come_from_the_seed_and_from_no_global_stream():
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
    features = graph_features(cfg, pictures)
    assert features.dtype == np.float32 and features.shape == (23, 1024)
    for other in (features, graph_features(cfg, pictures, batch=4), graph_features(cfg, pictures[[22, 0]])[[1]]):
        np.testing.assert_allclose(other, expected[: len(other)], atol=1e-5)


# of images


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(Config, Images) of a smoke run of Q6."""
    cfg = make_config("smoke", device="cpu", epochs=1, out=str(tmp_path_factory.mktemp("laplacian")))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so small a network gains nothing from two, and loses much where they must wait for each other
    run(cfg)
    torch.set_num_threads(threads)
    return open_dataset(cfg)


def test_the_plain_run_writes_numbers_answer_and_figure(finished):
    cfg, images = finished
    entry = json.loads((cfg.folder / "results.json").read_text())["questions"]["Q6"]
    numbers = entry["numbers"]
    assert entry["answer"] == answer_q6(numbers)
    assert [name for name, _ in entry["figures"]] == ["q6_tsne"]
    assert imread(cfg.figures / "q6_tsne.png").std() > 0.05
    assert numbers["small"]["images"] == cfg.graph_size and numbers["whole"]["images"] == len(images.train_images) + len(images.test_images)
    assert numbers["whole"]["largest_residual"] < 1e-12
    assert numbers["whole"]["seconds"]["total"] == pytest.approx(sum(numbers["whole"]["seconds"][step] for step in ("features", "neighbours", "eigenvectors")))


def test_the_runs_numbers_are_those_of_a_graph_made_by_hand(finished):
    cfg, images = finished
    numbers = json.loads((cfg.folder / "results.json").read_text())["questions"]["Q6"]["numbers"]
    pictures, labels = all_pictures(images), np.concatenate([images.train_labels, images.test_labels])
    np.testing.assert_array_equal(pictures, np.concatenate([images.train_images, images.test_images]))
    features = graph_features(cfg, pictures)
    graph, _ = join_pieces(neighbours_either_way(features.astype(np.float64), cfg.graph_neighbours).tocsr(), features)
    pairs = np.array(sorted(edges_of(graph)))
    assert numbers["whole"]["edges"] == len(pairs)
    assert numbers["whole"]["max_degree"] == np.bincount(pairs.ravel()).max()
    assert numbers["laplacian"]["same_class_edges"] == pytest.approx((labels[pairs[:, 0]] == labels[pairs[:, 1]]).mean())
    assert numbers["whole"]["last_eigenvalue"] == pytest.approx(dense_solution(graph)[0][cfg.components], abs=1e-10)


def test_same_class_edges_by_hand():
    graph = sparse.csr_matrix(np.array([[0, 1, 1, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 1, 0.0]]))
    assert same_class_edges(graph, np.array([0, 0, 1, 1])) == pytest.approx(2 / 3)


def test_features_are_split_into_training_and_test_rows(finished):
    cfg, images = finished
    n = len(images.train_images) + len(images.test_images)
    vectors = np.arange(2.0 * n).reshape(n, 2)
    features = split_features(images, vectors, "name")
    assert features.train.dtype == features.test.dtype == np.float32 and features.identity == "name"
    np.testing.assert_array_equal(features.train, vectors[: len(images.train_images)])
    np.testing.assert_array_equal(features.test, vectors[len(images.train_images) :])
    embedded = laplacian_features(cfg, images)
    whole = embed(cfg, image_graph(cfg, all_pictures(images))).vectors
    np.testing.assert_allclose(np.concatenate([embedded.train, embedded.test]), whole, rtol=1e-6)


def test_a_second_call_loads_graph_and_embedding(tmp_path, monkeypatch):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    pictures = draw_shapes(60, 0)[0]
    graph = image_graph(cfg, pictures)
    embedding = embed(cfg, graph)
    for name in ("graph_features", "knn_graph", "eigenmaps"):
        monkeypatch.setattr(f"vicreg_nb.laplacian_eigenmaps.{name}", None)
    loaded = image_graph(cfg, pictures)
    assert isinstance(loaded, ImageGraph) and loaded.identity == graph.identity and abs(loaded.graph - graph.graph).sum() == 0
    np.testing.assert_array_equal(loaded.seconds, graph.seconds)
    again = embed(cfg, loaded)
    for name, value in vars(embedding).items():
        np.testing.assert_array_equal(getattr(again, name), value)


def test_other_pictures_neighbours_seed_or_components_are_computed_anew(tmp_path):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    pictures = draw_shapes(60, 0)[0]
    others = [(cfg, pictures[:50]), (cfg.replace(graph_neighbours=5), pictures), (cfg.replace(seed=1), pictures), (cfg, pictures)]
    graphs = [image_graph(*other) for other in others]
    assert len({graph.identity for graph in graphs}) == 4
    assert embed(cfg, graphs[3]).vectors.shape == (60, 16) and embed(cfg.replace(components=3), graphs[3]).vectors.shape == (60, 3)


@pytest.mark.parametrize("name", ["graph", "eigenmaps"])
def test_a_damaged_cache_file_is_computed_again(tmp_path, name, capsys):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    pictures = draw_shapes(60, 0)[0]
    graph = image_graph(cfg, pictures)
    before = embed(cfg, graph).vectors
    [path] = cfg.cache.glob(f"{name}-*.npz")
    path.write_bytes(path.read_bytes()[:200])
    capsys.readouterr()
    again = image_graph(cfg, pictures)
    np.testing.assert_array_equal(embed(cfg, again).vectors, before)
    assert abs(again.graph - graph.graph).sum() == 0
    assert f"{path} cannot be read: computed again" in capsys.readouterr().out
    np.load(path).close()  # whole again


def test_pictures_in_pieces_are_joined_and_said_so(tmp_path, capsys):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path), graph_neighbours=4)
    made = [make_graph(cfg, "islands", lambda: islands((40, 20))) for _ in range(2)]
    assert capsys.readouterr().out.count("the graph was in 2 pieces, of 40 images and of 20") == 1
    for graph in made:
        assert graph.pieces.sizes.tolist() == [40, 20] and graph.pieces.added.shape == (1, 2)
        assert connected_components(graph.graph, directed=False)[0] == 1


# figures and words


def test_figures_show_every_point_once():
    embedding = eigenmaps(one_piece(), 12)
    left, right = figure_eigenvalues(embedding).axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), embedding.values)
    assert len(right.lines[0].get_ydata()) == 12
    panels = {"one": (normal(50, 2), np.arange(50) % 10), "two": (normal(30, 2, seed=1), np.arange(30) % 10)}
    classes = tuple("abcdefghij")
    figure = figure_pictures(panels, classes)
    for ax, (title, (points, _)) in zip(figure.axes, panels.items()):
        shown = ax.collections[0].get_offsets()
        assert ax.get_title() == title
        np.testing.assert_array_equal(np.sort(shown, axis=0), np.sort(points, axis=0))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(classes)


def q6(vicreg, laplacian, control, pictures=(0.5, 0.3)):
    seconds = {"features": 27.0, "neighbours": 26.0, "eigenvectors": 13.0, "total": 66.0}
    size = {"images": 60_000, "seconds": seconds, "largest_residual": 2e-14, "pieces_in_words": "the graph is in one piece"}
    return {
        "vicreg": {"accuracy": vicreg, "interval": 0.01, "picture_agreement": pictures[0]},
        "laplacian": {"accuracy": laplacian, "interval": 0.01, "picture_agreement": pictures[1], "same_class_edges": 0.25},
        "control": {"accuracy": control, "interval": 0.01, "same_class_edges": 0.45},
        "small": size | {"images": 10_000}, "whole": size, "components": 128, "chance": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("vicreg", "laplacian", "pictures", "expected"),
    [
        (0.70, 0.36, (0.5, 0.3), ["**VICReg is more effective", "70.0% on VICReg's", "36.0% on that of Laplacian", "The pictures agree: "]),
        (0.70, 0.36, (0.3, 0.5), ["**VICReg is more effective", "The pictures do not show it: ", "30.0% have its class with VICReg and 50.0%"]),
        (0.36, 0.70, (0.3, 0.5), ["**Laplacian Eigenmaps are more effective", "The pictures agree: "]),
        (0.36, 0.70, (0.5, 0.3), ["**Laplacian Eigenmaps are more effective", "The pictures do not show it: "]),
        (0.50, 0.49, (0.5, 0.3), ["**The two are not measurably different", "The pictures in numbers: "]),
    ],
)
def test_the_verdict_follows_the_numbers(vicreg, laplacian, pictures, expected):
    text = answer_q6(q6(vicreg, laplacian, 0.4, pictures))
    assert all(words in text for words in expected)


@pytest.mark.parametrize(
    ("vicreg", "laplacian", "control", "expected"),
    [
        (0.70, 0.36, 0.60, ["a better graph gives 24.0 points", "The other 10.0 points are the network's"]),
        (0.70, 0.36, 0.69, ["So it is the graph: given VICReg's neighbours, eigenvectors do as well"]),
        (0.60, 0.36, 0.70, ["even surpass VICReg, by 10.0 points"]),
        (0.70, 0.36, 0.37, ["not measurably better for it here, and 33.0 points are the network's"]),
        (0.70, 0.36, 0.30, ["even worse for it here, by 6.0 points, and 40.0 points are the network's"]),
        (0.36, 0.36, 0.37, ["neither the graph nor the network"]),
        (0.30, 0.36, 0.37, ["it is not the graph", "the eigenvectors do better than VICReg"]),
        (0.30, 0.36, 0.31, ["it is the graph, and VICReg's is the worse one here, by 5.0 points"]),
        (0.20, 0.36, 0.30, ["worse ones here, by 6.0 points", "loses another 10.0"]),
    ],
)
def test_the_explanation_follows_the_control(vicreg, laplacian, control, expected):
    text = answer_q6(q6(vicreg, laplacian, control)).split("\n\n")[2]
    assert all(words in text for words in expected)
    assert f"is probed at {control:.1%}" in text and text.count("So ") == 1


def test_the_cost_is_in_the_answer():
    cost = answer_q6(q6(0.7, 0.4, 0.5)).split("\n\n")[1]
    for words in ("128 eigenvectors of 60,000 images", "residuals below 2e-14", "10,000 images", "the graph is in one piece"):
        assert words in cost
