"""Sec. 4.3: silhouettes against scikit-learn and brute force, matchings over all permutations, and the whole run."""

from itertools import permutations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.spatial.distance import cdist
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_samples
from smoke_run import smoke_config
from vicreg_nb import clustering
from vicreg_nb.book import read_results
from vicreg_nb.clustering import (
    CLUSTER_COLOURS,
    Clustered,
    Clustering,
    Map,
    cl1,
    cl1_contingency,
    cl2,
    cl2_neighbours,
    cl2_vicreg,
    cl3,
    cl3_silhouettes,
    class_scores,
    cluster,
    cluster_all,
    cluster_names,
    outermost,
    shares,
    silhouettes,
    tsne_map,
)
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.methods import ASKED, COMPARED, features
from vicreg_nb.plots import CLASS_COLOURS
from vicreg_nb.store import UserError


def brute_silhouettes(x, labels):
    """Eq. 8 before the mean, word for word, from differences in double precision."""
    distances, values = cdist(x.astype(np.float64), x.astype(np.float64)), np.zeros(len(x))
    means = {label: distances[:, labels == label].mean(axis=1) for label in np.unique(labels)}
    for i, label in enumerate(labels):
        size = (labels == label).sum()
        if size > 1:
            a, b = means[label][i] * size / (size - 1), min(mean[i] for other, mean in means.items() if other != label)
            values[i] = (b - a) / max(a, b)
    return values


def overlapping(n, centres=5, d=16, seed=0):
    x, labels = make_blobs(n, d, centers=centres, cluster_std=6.0, random_state=seed)
    return x.astype(np.float32), labels


@pytest.mark.parametrize("n", [50, 999, 1_000, 2_077])
def test_silhouettes_are_sklearns(n):
    x, labels = overlapping(n)
    np.testing.assert_allclose(silhouettes(x, labels)[0], silhouette_samples(x.astype(np.float64), labels), atol=1e-6)


def test_uneven_clusters_and_singletons():
    x, _ = overlapping(900)
    labels = np.repeat([4, 7, 11, 12, 30], (600, 290, 8, 1, 1))  # neither from 0 nor without gaps
    found = silhouettes(x, labels)[0]
    np.testing.assert_allclose(found, silhouette_samples(x.astype(np.float64), labels), atol=1e-6)
    np.testing.assert_allclose(found, brute_silhouettes(x, labels), atol=1e-6)
    assert found[-2:].tolist() == [0, 0] and np.abs(found[:-2]).min() > 0


def test_data_far_off_the_origin():
    x, labels = overlapping(1_500)
    moved = (x.astype(np.float64) + 10_000).astype(np.float32)
    np.testing.assert_allclose(silhouettes(moved, labels)[0], brute_silhouettes(moved, labels), atol=1e-6)


def test_a_tiny_cluster_keeps_its_digits():
    x, labels = overlapping(1_500)
    x[:4] = x[4] + 1e-4 * np.arange(4)[:, None]  # four points all but equal
    labels[:4] = 5
    np.testing.assert_allclose(silhouettes(x, labels)[0], brute_silhouettes(x, labels), atol=1e-6)


def test_several_divisions_share_one_pass(monkeypatch):
    x, labels = overlapping(700)
    other, passes, whole = np.arange(700) % 3, [], clustering.distance_sums
    monkeypatch.setattr(clustering, "distance_sums", lambda *given: passes.append(1) or whole(*given))
    first, second = silhouettes(x, labels, other)
    assert len(passes) == 1
    np.testing.assert_allclose(first, brute_silhouettes(x, labels), atol=1e-6)
    np.testing.assert_allclose(second, brute_silhouettes(x, other), atol=1e-6)


@pytest.mark.parametrize(("x", "labels"), [(np.ones((9, 2)), np.arange(9) % 2), (np.eye(9), np.zeros(9, int))])
def test_without_a_value_the_silhouette_is_zero(x, labels):
    assert silhouettes(x, labels)[0].tolist() == [0] * 9


def test_nan_is_refused():
    with pytest.raises(UserError, match="NaN"):
        silhouettes(np.array([[0.0], [np.nan], [1.0]]), np.array([0, 1, 1]))


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_best_of_all_permutations(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 200)
    clusters = np.where(random.random(200) < 0.5, (labels * 2) % 5, random.integers(0, 5, 200))
    best = max((np.array(names)[clusters] == labels).mean() for names in permutations(range(5)))
    assert class_scores(clusters, labels)["accuracy"] == pytest.approx(best)


@pytest.mark.parametrize("count", [4, 2])
def test_more_or_fewer_clusters_than_classes(count):
    clusters, labels = np.arange(12) % count, np.arange(12) % 3
    table = np.array([[((clusters == row) & (labels == name)).sum() for name in range(3)] for row in range(count)])
    chosen = [sum(table[row, name] for name, row in enumerate(rows)) for rows in permutations(range(count), 3)]
    chosen += [sum(table[row, name] for row, name in enumerate(names)) for names in permutations(range(3), count)]
    assert class_scores(clusters, labels)["accuracy"] == pytest.approx(max(chosen) / 12)


def entropy(counts):
    share = counts[counts > 0] / counts.sum()
    return -(share * np.log(share)).sum()


def test_nmi_and_ari_by_their_definitions():
    random = np.random.default_rng(1)
    labels = random.integers(0, 3, 40)
    clusters = np.where(random.random(40) < 0.6, labels, random.integers(0, 4, 40))
    table = np.array([[((clusters == row) & (labels == name)).sum() for name in range(3)] for row in range(4)])
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    mutual = entropy(rows) + entropy(columns) - entropy(table.ravel())
    pairs = [(i, j) for i in range(40) for j in range(i)]
    together = [np.array([kind[i] == kind[j] for i, j in pairs]) for kind in (clusters, labels)]
    both, expected = (together[0] & together[1]).sum(), together[0].sum() * together[1].sum() / len(pairs)
    scores = class_scores(clusters, labels)
    assert scores["nmi"] == pytest.approx(mutual / ((entropy(rows) + entropy(columns)) / 2))
    assert scores["ari"] == pytest.approx((both - expected) / ((together[0].sum() + together[1].sum()) / 2 - expected))
    np.testing.assert_allclose(shares(clusters, labels), table / rows[:, None])


def test_a_cluster_is_called_by_its_two_largest_classes_and_their_shares():
    clusters, labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2]), np.array([1, 1, 1, 0, 1, 1, 0, 2, 2, 1, 1])
    first, second, third = cluster_names(clusters, labels, ("cat", "dog", "ox"))
    assert "dog 75%, cat 25%" in first and "dog 100%" in second
    assert "dog 40%" in third and "ox 40%" in third and "cat" not in third


def test_kmeans_finds_clear_clusters_and_is_kept(tmp_path, monkeypatch):
    cfg = make_config("smoke", out=str(tmp_path), clusters=4, kmeans_inits=5)
    x, labels = make_blobs(300, 5, centers=4, cluster_std=0.3, random_state=0)
    found = cluster(cfg, x)
    assert class_scores(found.labels, labels)["accuracy"] == 1
    for row in range(4):
        np.testing.assert_allclose(found.centres[row], x[found.labels == row].mean(axis=0), atol=1e-6)
    assert found.inertia == pytest.approx(((x - found.centres[found.labels]) ** 2).sum())
    squares = ((x - x.mean(axis=0)) ** 2).sum(axis=1)
    assert found.extent**2 == pytest.approx(squares.mean())
    assert found.outer == pytest.approx(np.sort(squares)[-30:].sum() / squares.sum())
    assert sorted(squares[outermost(x)]) == pytest.approx(np.sort(squares)[-30:])
    monkeypatch.setattr("vicreg_nb.store.write_arrays", None)  # what is kept is not computed again
    assert np.array_equal(cluster(cfg, x).labels, found.labels)


def test_kmeans_refuses_nan(tmp_path):
    with pytest.raises(UserError, match="NaN"):
        cluster(make_config("smoke", out=str(tmp_path)), np.full((12, 2), np.nan))


def test_one_cluster_is_refused():
    with pytest.raises(UserError, match="clusters"):
        make_config("smoke", clusters=1)


def test_centres_are_embedded_together_with_the_points(tmp_path, monkeypatch):
    cfg = make_config("smoke", out=str(tmp_path), tsne_train_size=50)
    x, centres = np.random.default_rng(0).normal(size=(120, 6)).astype(np.float32), np.arange(18.0).reshape(3, 6)
    monkeypatch.setattr(clustering, "project_tsne", lambda cfg, together: together[:, :2])
    one = tsne_map(cfg, x, centres)
    np.testing.assert_array_equal(one.points, x[one.numbers, :2])
    np.testing.assert_array_equal(one.centres, centres[:, :2])
    assert len(set(one.numbers)) == 50 and np.array_equal(one.numbers, tsne_map(cfg, -x, centres).numbers)
    assert len(tsne_map(cfg.replace(tsne_train_size=500), x, centres).numbers) == 120


def test_each_centre_lies_among_the_points_of_its_cluster(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path), clusters=3, tsne_train_size=150)
    x, _ = make_blobs(200, 8, centers=3, cluster_std=1.0, random_state=1)
    found = cluster(cfg, x)
    one = tsne_map(cfg, x, found.centres)
    for row, place in enumerate(one.centres):
        nearest = np.argsort(np.linalg.norm(one.points - place, axis=1))[:10]
        assert (found.labels[one.numbers[nearest]] == row).all()


@pytest.fixture
def made():
    """A result by hand: six images of two classes in three clusters, the same for all methods."""
    clusters, labels = np.array([1, 1, 0, 2, 2, 1]), np.array([0, 0, 1, 1, 1, 1])
    found = Clustering(clusters, np.array([[4.0, 0], [0, 0], [0, 2]]), 1.0, 2.0, 0.5)
    points = np.arange(12.0).reshape(6, 2)
    one = Map(np.arange(6), points, np.array([[9.0, 9], [1, 0], [5, 5]]))
    values = {"clusters": np.array([0.1, 0.2, 0.0, -0.4, 0.4, 0.3]), "classes": np.full(6, -0.1)}
    maps = dict.fromkeys(ASKED, one)
    everywhere = [dict.fromkeys(COMPARED, found), maps, dict.fromkeys(COMPARED, values)]
    near = np.argsort(np.abs(np.subtract.outer(np.arange(6), np.arange(6))), axis=1, kind="stable")[:, 1:3]
    measured = dict.fromkeys(ASKED, near), dict.fromkeys(ASKED, 2.0)
    return Clustered(labels, ("cat", "dog"), 3, *everywhere, found, *measured)


@pytest.mark.parametrize("draw", [cl2_vicreg, cl2_neighbours])
def test_no_title_of_a_map_is_wider_than_its_panel(made, draw):
    many = made._replace(labels=np.resize(made.labels, 50_000), clusterings=made.clusterings | {
        name: one._replace(labels=np.resize(one.labels, 50_000)) for name, one in made.clusterings.items()
    })  # fmt: skip
    picture = draw(many).picture
    picture.draw_without_rendering()
    for ax in picture.axes:
        assert "of 50,000 images" in ax.get_title()
        assert ax.title.get_window_extent().width <= 1.02 * ax.get_window_extent().width


@pytest.mark.parametrize("draw", [cl2_vicreg, cl2_neighbours])
def test_maps_show_the_centres_in_black_and_the_points_in_their_colours(made, draw):
    drawing, one = draw(made), made.maps["vicreg"]
    clusters, classes = made.clusterings["vicreg"].labels, made.labels
    expected = [CLUSTER_COLOURS[row] for row in clusters], [CLASS_COLOURS[kind] for kind in classes]
    for ax, colours in zip(drawing.picture.axes, expected, strict=True):
        points, centres, *_ = ax.collections
        np.testing.assert_array_equal(centres.get_offsets(), one.centres)
        assert to_hex(centres.get_facecolor()[0]) == "#000000"
        order = [int(x) // 2 for x in np.asarray(points.get_offsets())[:, 0]]
        shown = dict(zip(order, map(to_hex, points.get_facecolor()), strict=True))
        assert [shown[number] for number in range(6)] == colours
    drawing.picture.canvas.draw()
    assert drawing.picture.legends[0].get_window_extent().y0 >= 0  # nothing is cut off
    named = [text.get_text() for text in drawing.picture.legends[0].get_texts()]
    assert named == cluster_names(made.clusterings["vicreg"].labels, made.labels, made.classes)


def test_contingency_figure_in_per_cent_of_each_cluster(made):
    ax = cl1_contingency(made).picture.axes[0]
    rows = [text.get_text() for text in ax.get_yticklabels()]
    shown = dict(zip(rows, np.reshape([text.get_text() for text in ax.texts], (3, 2)).tolist(), strict=True))
    assert shown == {"1 (3)": ["67", "33"], "0 (1)": ["0", "100"], "2 (2)": ["0", "100"]}


def test_silhouette_figure_has_a_blade_for_each_cluster_and_the_mean(made):
    ax = cl3_silhouettes(made).picture.axes[0]
    assert [text.get_text()[0] for text in ax.get_yticklabels()] == ["1", "0", "2"] and len(ax.collections) == 3
    assert ax.lines[0].get_xdata()[0] == pytest.approx(0.1)
    assert [to_hex(blade.get_facecolor()[0]) for blade in ax.collections] == [CLUSTER_COLOURS[row] for row in (1, 0, 2)]


def test_numbers_by_hand(made):
    one = cl1.numbers(made)["methods"]["vicreg"]
    assert (one["smallest"], one["largest"], one["purity"]) == (1, 3, pytest.approx(5 / 6))
    assert one["between"] == pytest.approx(1 - 1 / (6 * 4))
    seen = cl2.numbers(made)
    chance, all_five = (
        (1 + 9 + 4) / 36,
        (np.array([2, 2, 0, 1, 1, 2]) / 5).mean(),
    )  # a point's neighbours are all others
    assert seen["methods"]["vicreg"]["by_cluster"] == pytest.approx(all_five)
    assert seen["methods"]["vicreg"]["by_cluster_beyond"] == pytest.approx((all_five - chance) / (1 - chance))
    assert seen["gaps"]["by_class"]["gap"] == 0
    assert [cl2.answer(seen).count(text) for text in ("**Neither is measurably", "**More successful at")] == [2, 0]
    assert cl3.numbers(made)["methods"]["laplacian"]["negative"] == pytest.approx(1 / 6)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    cfg = smoke_config(tmp_path_factory)
    return cfg, open_dataset(cfg)


@pytest.fixture(scope="module")
def ran(smoke):
    """CL1 to CL3 run whole in profile smoke: what was recorded."""
    result = cluster_all(*smoke)
    for question in (cl1, cl2, cl3):
        question.run(smoke[0], result)
    return read_results(*smoke[:2])["questions"]


def test_run_records_all_three_and_writes_their_figures(smoke, ran):
    for question in (cl1, cl2, cl3):
        entry = ran[question.name]
        assert [name for name, _ in entry["figures"]] == list(question.figures) and entry["answer"]
        assert not entry["required"]
        assert all((smoke[0].figures / f"{name}.png").stat().st_size > 10_000 for name in question.figures)
    assert len(ran["CL3"]["tables"][0]["rows"]) == len(COMPARED)


def test_recorded_silhouettes_are_sklearns(smoke, ran):
    cfg, images = smoke
    for name in ASKED:
        x = features(cfg, images, name).train
        found, numbers = cluster(cfg, x), ran["CL3"]["numbers"]["methods"][name]
        for key, labels in (("silhouette", found.labels), ("class_silhouette", images.train_labels)):
            assert numbers[key] == pytest.approx(silhouette_samples(x.astype(np.float64), labels).mean(), abs=1e-6)
        sizes, one = np.bincount(found.labels), ran["CL1"]["numbers"]["methods"][name]
        assert [one[key] for key in ("smallest", "largest")] == [sizes.min(), sizes.max()]
        parts = [x[found.labels == row] for row in range(10)]
        within = sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)
        assert one["between"] == pytest.approx(1 - within / ((x - x.mean(axis=0)) ** 2).sum(), abs=1e-4)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning")
def test_a_representation_that_is_one_point_stops_nothing(tmp_path, smoke, monkeypatch):
    cfg, images = smoke[0].replace(out=str(tmp_path)), smoke[1]
    point = type("", (), {"train": np.ones((len(images.train_labels), 3), np.float32)})
    monkeypatch.setattr(clustering, "features", lambda *_: point)
    monkeypatch.setattr(clustering, "tsne_map", lambda *_: Map(np.arange(20), np.zeros((20, 2)), np.zeros((3, 2))))
    result = cluster_all(cfg, images)
    assert set(result.clusterings["vicreg"].labels) == {0}
    assert not result.silhouettes["vicreg"]["clusters"].any() and not result.silhouettes["vicreg"]["classes"].any()
    assert cl1.numbers(result)["methods"]["vicreg"]["between"] == 0


def test_too_many_clusters_stop_before_any_work(smoke, tmp_path):
    cfg = smoke[0].replace(out=str(tmp_path), clusters=385)
    with pytest.raises(UserError, match="clusters"):
        cl1.run(cfg)
    assert not cfg.runs.exists()
