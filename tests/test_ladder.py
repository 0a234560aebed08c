"""The missing step: what free vectors must arrive at, derived by hand, and whether they do."""

import json

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from scipy.linalg import eigh
from vicreg_nb.book import Numbers
from vicreg_nb.config import make_config
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.ladder import (
    DRAWN,
    SAMPLINGS,
    _free_step,
    _train_free,
    best_vectors,
    bottom_vectors,
    cosine_decay,
    edge_batches,
    edge_list,
    even_rotation,
    expected_terms,
    fit_exactly,
    free_vectors,
    judge_views,
    kind_graphs,
    least_loss,
    made_views,
    main_effect,
    network_result,
    optimal_spectrum,
    pair_problem,
    principal_angles,
    recovered_share,
    steps_down,
    variance_along,
    view_projections,
    view_spectrum,
    with_labels,
)
from vicreg_nb.laplacian_eigenmaps import all_pictures, eigenmaps, image_graph, knn_graph, laplacian_features
from vicreg_nb.methods import features, trained
from vicreg_nb.neighbours import nearest
from vicreg_nb.representations import Features, linear_probe
from vicreg_nb.store import UserError, new_generator
from vicreg_nb.vicreg import vicreg_loss, vicreg_terms


@pytest.fixture(scope="module")
def graph():
    """Three clouds in a row: a connected graph with hubs and a gap behind its second eigenvector."""
    random = np.random.default_rng(3)
    clouds = np.concatenate([random.normal(size=(20, 5)) + 2.6 * place * np.eye(5)[0] for place in range(3)])
    return knn_graph(clouds, 5)


def drawn_by_hand(graph, sampling):
    """Probability of each ordered pair, and of each image in each branch's spread, counted one by one."""
    w = graph.toarray()
    n, pairs, p = len(w), np.zeros_like(w), np.zeros((2, len(w)))
    for i in range(n):
        for j in range(n):
            if w[i, j]:
                there, back = 1 / n / w[i].sum(), 1 / n / w[j].sum()
                chances = {"walk": 0.5 * (there + back), "q5": there}
                pairs[i, j] = chances.get(sampling, 1 / w.sum())
                p[0, i] += pairs[i, j]
                p[1, j] += pairs[i, j]
    return pairs, np.full((2, n), 1 / n) if sampling == "nodes" else p


@pytest.mark.parametrize("sampling", DRAWN)
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
    values = eigh(laplacian.toarray(), np.diag(p[0]), eigvals_only=True)
    found = eigenmaps(graph, 4)
    np.testing.assert_allclose(values[1:5] / 2, found.values, atol=1e-6)
    assert principal_angles(found.vectors, bottom_vectors(laplacian.toarray(), p, 4)[1], p[0]).max() < 0.01


def test_an_unknown_way_of_drawing_is_refused(graph):
    with pytest.raises(UserError, match="sampling is 'stars'"):
        pair_problem(graph, "stars")


@pytest.mark.parametrize("sampling", DRAWN)
def test_expected_terms_by_a_slow_loop(graph, sampling):
    laplacian, p = pair_problem(graph, sampling)
    pairs, _ = drawn_by_hand(graph, sampling)
    z = 0.4 * np.random.default_rng(1).normal(size=(graph.shape[0], 3))
    terms = expected_terms(*(torch.from_numpy(part) for part in (z, laplacian.toarray(), p)), gamma=0.9, eps=1e-3)
    inv = sum(pairs[i, j] * ((z[i] - z[j]) ** 2).mean() for i in range(len(z)) for j in range(len(z)))
    var = cov = 0
    for weight in p:
        mean = sum(weight[i] * z[i] for i in range(len(z)))
        c = sum(weight[i] * np.outer(z[i] - mean, z[i] - mean) for i in range(len(z)))
        var += np.mean([max(0, 0.9 - np.sqrt(c[k, k] + 1e-3)) for k in range(3)])
        cov += sum(c[a, b] ** 2 for a in range(3) for b in range(3) if a != b) / 3
    np.testing.assert_allclose([term.item() for term in terms], [inv, var, cov])


@pytest.mark.parametrize("drawn", SAMPLINGS)
@pytest.mark.parametrize(("dims", "weights"), [(2, (25, 75, 3)), (4, (25, 25, 1)), (3, (25, 4, 0.5))])
def test_free_vectors_arrive_at_the_closed_form(graph, drawn, dims, weights):
    problems = {}
    for name in SAMPLINGS:
        laplacian, p = pair_problem(graph, name)
        problems[name] = laplacian.toarray(), p
    p = problems[drawn][1]
    values, vectors = bottom_vectors(*problems[drawn], dims)
    z = fit_exactly(*problems[drawn], dims, weights, make_config("smoke", exact_steps=4_000))
    predicted = optimal_spectrum(values, weights)
    terms = expected_terms(*map(torch.from_numpy, (z, *problems[drawn])))
    least = least_loss(values, predicted, weights)
    assert abs(vicreg_loss(terms, *weights).item() - least) < 1e-6 * least
    np.testing.assert_allclose(variance_along(z, vectors, p[0]), predicted, atol=1e-3)
    spectrum = np.linalg.eigvalsh((z - p[0] @ z).T @ (p[0][:, None] * (z - p[0] @ z)))[::-1]
    np.testing.assert_allclose(spectrum, predicted, atol=1e-3)  # nothing lies in other directions
    assert principal_angles(z, vectors[:, predicted > 0], p[0]).max(initial=0) < 0.01
    for name in SAMPLINGS:
        if name != drawn and (predicted > 0).all():
            assert principal_angles(z, bottom_vectors(*problems[name], dims)[1], p[0])[0] > 1


def test_water_filling_by_a_fine_search():
    values = np.array([0.1, 0.5, 1.1])
    grid = np.stack(np.meshgrid(*[np.linspace(0, 3, 76)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[grid.mean(axis=1) <= 1 - 1e-4]
    for weights in ((25, 25, 1), (5, 25, 3), (25, 12, 1), (200, 25, 1), (0, 25, 1)):
        lam, mu, nu = weights
        d = grid.mean(axis=1)
        losses = lam * (grid @ values) / 3 + 2 * mu * (1 - np.sqrt(d + 1e-4)) + 2 * nu * ((grid**2).mean(axis=1) - d**2)
        best = optimal_spectrum(values, weights)
        assert least_loss(values, best, weights) <= losses.min() + 1e-9
        np.testing.assert_allclose(best, grid[losses.argmin()], atol=0.12)
    assert (optimal_spectrum(values, (25, 0, 1)) == 0).all()  # without the variance term all collapses
    np.testing.assert_allclose(optimal_spectrum(values, (25, 250, 0)), [3 * (1 - 1e-4), 0, 0], atol=1e-3)


def test_principal_angles_by_hand():
    p, flat = np.full(4, 0.25), np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    turned = flat @ np.array([[1, 2], [0, 1]]) + 5
    assert principal_angles(turned, flat, p).max() < 1e-5
    p = np.array([0.1, 0.2, 0.3, 0.15, 0.2, 0.05])
    x = np.eye(6) - p  # centred by p
    plane, tilted = x[:, :2], np.c_[x[:, 0], np.cos(0.3) * x[:, 1] + np.sin(0.3) * x[:, 2]]
    root = np.diag(p**0.5)  # angles in the metric P are those of these
    q, r = (np.linalg.qr(root @ (side - p @ side))[0] for side in (plane, tilted))
    expected = np.degrees(np.arccos(np.clip(np.linalg.svd(q.T @ r, compute_uv=False), -1, 1)))
    np.testing.assert_allclose(principal_angles(tilted, plane, p), np.sort(expected)[::-1], atol=1e-5)
    assert principal_angles(tilted, plane[:, :0], p).shape == (0,)


def test_share_and_variance_of_each_eigenvector():
    p, basis = np.full(4, 0.25), np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    third = np.array([1.0, -1, -1, 1])
    z = np.c_[2 * basis[:, 0] + 3, 0.5 * basis[:, 1], 1e-6 * third]
    np.testing.assert_allclose(recovered_share(z, basis, p), [1, 1], atol=1e-9)
    np.testing.assert_allclose(recovered_share(z[:, :1], basis[:, :1] + basis[:, 1:], p), [0.5], atol=1e-9)
    np.testing.assert_allclose(variance_along(z, np.c_[basis, third], p), [4, 0.25, 1e-12], atol=1e-13)


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
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    return cfg, open_dataset(cfg)


def test_free_vectors_are_kept_learn_and_know_their_weights(smoke, monkeypatch):
    cfg, images = smoke
    graph = image_graph(cfg, images.train_images)
    free = free_vectors(cfg, graph)
    assert free["vectors"].shape == (384, 16) and free["vectors"].dtype == np.float32
    assert len(free["history"]) % cfg.free_epochs == 0
    loss = free["history"] @ np.array([cfg.lam, cfg.mu, cfg.nu])
    assert loss[-1] < 0.8 * loss[0]
    other = free_vectors(cfg.replace(mu=10 * cfg.mu), graph)
    monkeypatch.setattr("vicreg_nb.store.write_arrays", None)  # what is kept is not computed again
    assert np.array_equal(free_vectors(cfg, graph)["vectors"], free["vectors"])
    assert not np.array_equal(other["vectors"], free["vectors"])


def test_free_vectors_that_break_are_told(smoke):
    cfg, images = smoke
    with pytest.raises(UserError, match=r"free_lr \(0.1\)"):
        _train_free(cfg, image_graph(cfg, images.train_images).graph, (np.inf, 1, 1))


def test_the_learning_rate_decays_along_a_cosine():
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for step in range(11):
        assert cosine_decay(0.2, step, 10) == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_labels_make_neighbours_of_one_class_and_do_not_touch_test_images():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 80)
    x = (30 * random.normal(size=(100, 6)) + 500).astype(np.float32)
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    images = Images("made up", blank, labels, blank, labels[:20], tuple("abc"), "made up")
    one = with_labels(Features(x[:80], x[80:], "made up"), images)
    found = nearest(one.train, 4).numbers
    for i in range(80):
        order = np.argsort(np.linalg.norm(x[:80].astype(float) - x[i], axis=1), kind="stable")
        assert found[i].tolist() == [j for j in order if j != i and labels[j] == labels[i]][:4]
    plain = nearest(x[:80], 4, x[80:]).numbers
    assert np.array_equal(nearest(one.train, 4, one.test).numbers, plain)


def test_a_main_effect_is_a_paired_mean_over_the_other_axis():
    random = np.random.default_rng(1)
    hits = {(k, w): random.random(500) < 0.5 for k in ("vicreg", "untrained", "oracle") for w in ("network", "free")}
    hits |= {(k, "eigenvectors"): hits[k, "free"] for k in ("vicreg", "untrained", "oracle")}
    same = main_effect(hits, 1, "free", "eigenvectors")
    assert same.pop("each") == dict.fromkeys(("vicreg", "untrained", "oracle"), {"points": 0, "interval": 0})
    assert same == {"points": 0, "interval": 0, "least": 0, "most": 0}  # paired: no difference, no doubt
    gains = [100 * (hits[k, "network"].mean() - hits[k, "free"].mean()) for k in ("vicreg", "untrained", "oracle")]
    effect = main_effect(hits, 1, "network", "free")
    assert effect["points"] == pytest.approx(np.mean(gains))
    assert (effect["least"], effect["most"]) == pytest.approx((min(gains), max(gains)))
    assert [one["points"] for one in effect["each"].values()] == pytest.approx(gains)
    each = sum(100.0 * hits[k, "network"] - 100.0 * hits[k, "free"] for k in ("vicreg", "untrained", "oracle")) / 3
    # the interval against a bootstrap over images
    means = [each[random.integers(0, 500, 500)].mean() for _ in range(2_000)]
    assert effect["interval"] == pytest.approx(1.96 * np.std(means), rel=0.1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """(Config, Images, the ladder's entry in results.json) of a smoke run with free vectors' own weights."""
    cfg = make_config("smoke", device="cpu", epochs=1, mu=50.0, out=str(tmp_path_factory.mktemp("ladder")))
    steps_down.run(cfg)
    results = json.loads((cfg.folder / "results.json").read_text(encoding="utf-8"))
    return cfg, open_dataset(cfg), results["questions"]["ladder"]


def test_the_run_draws_its_figures_and_keeps_the_networks_own_weights(finished):
    cfg, _, entry = finished
    assert not entry["required"]
    assert all((cfg.figures / f"{name}.png").is_file() for name, _ in entry["figures"])
    names = ("vicreg", "ladder_vicreg", "ladder_untrained", "ladder_oracle")
    trained = {name: list(cfg.runs.glob(f"{name}-*")) for name in names}
    for folders in trained.values():
        assert len(folders) == 1
        settings = json.loads((folders[0] / "config.json").read_text(encoding="utf-8"))
        assert settings["mu"] == 25 and settings["epochs"] == cfg.ladder_epochs


def test_the_runs_numbers_are_those_of_its_vectors(finished):
    cfg, images, entry = finished
    numbers = entry["numbers"]
    graph = image_graph(cfg, images.train_images[: cfg.graph_size])
    degree, found = graph.graph.sum(axis=1), eigenmaps(graph.graph, cfg.components)
    whole = image_graph(cfg, all_pictures(images)).graph
    longer = cfg.replace(free_epochs=cfg.free_epochs * (whole.nnz // graph.graph.nnz))
    z = free_vectors(longer, graph)["vectors"].astype(float)
    predicted = optimal_spectrum(2 * found.values, (cfg.lam, cfg.mu, cfg.nu))
    centred = z - degree @ z / degree.sum()
    along = ((centred.T @ (degree[:, None] / degree.sum() * found.vectors)) ** 2).sum(axis=0)
    assert numbers["part"]["alive"] == (predicted > 0).sum()
    assert numbers["part"]["measured_first"] == pytest.approx(along[0], rel=1e-6)
    wider = slice(0, (predicted > 0).sum() // 2 + 1)
    assert numbers["part"]["smallest_part"] == pytest.approx((along[wider] / predicted[wider]).min(), rel=1e-6)
    spread = (degree / degree.sum() @ centred**2).sum()
    assert numbers["part"]["stray"] == pytest.approx(1 - along[predicted > 0].sum() / spread, abs=1e-9)
    eigenvectors = numbers["cells"]["untrained"]["eigenvectors"]["accuracy"]
    assert eigenvectors == linear_probe(cfg, laplacian_features(cfg, images), images).accuracy
    assert "free" not in numbers["cells"]["augmentations"]


def test_the_oracles_graph_keeps_training_images_within_their_class(finished):
    cfg, images, _ = finished
    graphs, count = kind_graphs(cfg, images), len(images.train_labels)
    inside = {kind: sparse.triu(one.graph[:count, :count]).tocoo() for kind, one in graphs.items()}
    bridges = {tuple(edge) for edge in graphs["oracle"].added.tolist()}
    joined = set(zip(inside["oracle"].row.tolist(), inside["oracle"].col.tolist(), strict=True)) - bridges
    assert all(images.train_labels[i] == images.train_labels[j] for i, j in joined)
    one = features(cfg.replace(mu=25.0), images, "vicreg")
    row = nearest(np.concatenate([one.train, one.test]), cfg.graph_neighbours).numbers[count + 3]
    assert all(graphs["oracle"].graph[count + 3, j] == 1 for j in row)  # a test image's neighbours know no labels


def test_an_unconnected_pair_of_images_is_no_edge():
    graph = sparse.csr_array(np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], float))
    assert edge_list(graph).T.tolist() == [[0, 1], [1, 2]]


def test_the_best_vectors_are_a_minimum_over_lambda(smoke):
    cfg, images = smoke
    graph = image_graph(cfg, all_pictures(images))
    lives = [best_vectors(cfg, images, graph, times)[1] for times in (0.04, 1.0, 25.0)]
    assert lives == sorted(lives, reverse=True) and lives[0] > lives[-1]
    one, count = best_vectors(cfg, images, graph, 1.0)
    z, degree = np.concatenate([one.train, one.test]).astype(float), graph.graph.sum(axis=1)
    centred = z - degree @ z / degree.sum()
    spectrum = np.linalg.eigvalsh(centred.T @ (degree[:, None] / degree.sum() * centred))[::-1]
    predicted = optimal_spectrum(2 * eigenmaps(graph.graph, cfg.components).values, (25, 25, 1))
    np.testing.assert_allclose(spectrum, predicted, atol=1e-4)
    assert count == (predicted > 0).sum()


@pytest.mark.parametrize("spectrum", [[5.0, 3, 1, 0, 0, 0, 0], [2.0] * 4, [0.0] * 3, [7.0], np.arange(60.0)])
def test_a_rotation_makes_any_spectrum_even(spectrum):
    u = even_rotation(np.array(spectrum))
    np.testing.assert_allclose(u @ u.T, np.eye(len(u)), atol=1e-10)
    turned = u @ np.diag(spectrum) @ u.T
    np.testing.assert_allclose(np.diag(turned), np.mean(spectrum), atol=1e-9)


def test_directions_are_judged_on_images_that_did_not_choose_them():
    random = np.random.default_rng(4)
    z = random.normal(size=(400, 12)) @ random.normal(size=(12, 12))
    z2 = z + 0.5 * random.normal(size=z.shape)
    found = view_spectrum(z, z2)
    both = np.concatenate([z[1::2], z2[1::2]])
    assert found.measured.sum() == pytest.approx(both.var(axis=0).sum(), rel=1e-6)  # nothing is counted twice
    changed = z.copy(), z2.copy()
    for part in changed:
        part[1::2] = random.normal(size=part[1::2].shape)
    other = view_spectrum(*changed)
    np.testing.assert_allclose(other.chosen, found.chosen)
    np.testing.assert_allclose(other.promised, found.promised)
    assert (np.diff(found.values) >= 0).all() and not np.allclose(other.values, found.values)


def test_made_views_meet_the_closed_form_and_a_stretched_z_does_not():
    cfg = make_config("smoke", lam=25.0, mu=25.0, nu=1.0)
    values, weights = np.linspace(0.3, 2.5, 16), (25, 25, 1)
    best = optimal_spectrum(values, weights)
    views = made_views(values, best, 30_000, 0)
    found, losses = judge_views(*views, cfg)
    assert abs(found.measured - best).sum() < 0.05 * best.sum()
    least = least_loss(values, best, weights)
    assert least - 0.1 < losses["loss"] < least + 0.3 and least - 0.1 < losses["layer"] < least + 0.4
    stretched, worse = judge_views(*(views * np.geomspace(0.5, 2, 16)), cfg)
    assert abs(stretched.measured - stretched.predicted).sum() > 0.2 * best.sum()
    assert worse["loss"] > least + 2 and worse["layer"] == pytest.approx(losses["layer"], abs=0.05)


def test_a_network_without_its_checkpoint_is_left_out(finished):
    cfg, images, entry = finished
    run = trained(cfg.replace(mu=25.0), images)
    z, z2 = view_projections(cfg, images, run, most=100)
    assert z.shape == z2.shape == (100, cfg.projection_dim) and not np.allclose(z, z2)
    (run.folder / "last.pt").unlink()
    assert view_projections(cfg, images, run) is None and network_result(cfg, images) is None
    numbers = Numbers(entry["numbers"] | {"network": None})
    assert "two views of each image" not in steps_down.answer(numbers)
