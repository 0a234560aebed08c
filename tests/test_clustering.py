"""Sec. 4.3: silhouettes against scikit-learn and brute force, matchings over all permutations, and texts that follow the numbers."""

from itertools import permutations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from scipy.spatial.distance import cdist
from sklearn.datasets import make_blobs
from sklearn.metrics import silhouette_samples
from smoke_run import smoke_config
from vicreg_nb import clustering
from vicreg_nb.clustering import (
    CAPTION_CL1,
    CAPTION_CL3,
    CAPTIONS_CL2,
    COMPARED,
    METHODS,
    SIDE,
    Clustering,
    Map,
    answer_cl1,
    answer_cl2,
    answer_cl3,
    class_agreement_scores,
    cluster,
    distance_sums,
    figure_contingency,
    figure_map,
    figure_silhouettes,
    match_classes,
    numbers_cl1,
    silhouette_scores,
    silhouettes,
    spread_out,
    tsne_map,
)
from vicreg_nb.config import CLASS_COLOURS, UserError, make_config, read_results
from vicreg_nb.data import open_dataset
from vicreg_nb.retrieval import features_by_name


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


@pytest.fixture
def precisions(monkeypatch):
    """The precisions in which distances were summed, in order."""
    used, whole = [], distance_sums

    def noted(x, members, dtype=torch.float64):
        used.append(dtype)
        return whole(x, members, dtype)

    monkeypatch.setattr(clustering, "distance_sums", noted)
    return used


def overlapping(n, centres=5, d=16, seed=0):
    x, labels = make_blobs(n, d, centers=centres, cluster_std=6.0, random_state=seed)
    return x.astype(np.float32), labels


LARGE = 4 * SIDE + 301  # enough for single precision to be tried


def test_silhouettes_are_sklearns_in_single_precision(precisions):
    x, labels = overlapping(LARGE)
    found = silhouettes(x, labels)[0]
    assert precisions == [torch.float32]
    np.testing.assert_allclose(found, silhouette_samples(x.astype(np.float64), labels), atol=1e-6)


@pytest.mark.parametrize("n", [50, SIDE, SIDE + 1, 2 * SIDE + 77])
def test_silhouettes_are_sklearns_in_double_precision(precisions, n):
    x, labels = overlapping(n)
    found = silhouettes(x, labels)[0]
    assert precisions == [torch.float64]
    np.testing.assert_allclose(found, silhouette_samples(x.astype(np.float64), labels), atol=1e-6)


def test_uneven_clusters_and_singletons():
    x, _ = overlapping(900)
    labels = np.repeat([4, 7, 11, 12, 30], (600, 290, 8, 1, 1))  # neither from 0 nor without gaps
    found = silhouettes(x, labels)[0]
    np.testing.assert_allclose(found, silhouette_samples(x.astype(np.float64), labels), atol=1e-6)
    np.testing.assert_allclose(found, brute_silhouettes(x, labels), atol=1e-6)
    assert found[-2:].tolist() == [0, 0] and np.abs(found[:-2]).min() > 0


def test_data_far_off_the_origin(precisions):
    x, labels = overlapping(LARGE)
    moved = (x.astype(np.float64) + 10_000).astype(np.float32)
    np.testing.assert_allclose(silhouettes(moved, labels)[0], brute_silhouettes(moved, labels), atol=1e-6)


def test_a_tiny_cluster_is_summed_again_in_double_precision(precisions):
    x, labels = overlapping(LARGE)
    x[:4] = x[4] + 1e-4 * np.arange(4)[:, None]  # four points all but equal, which single precision cannot tell apart
    labels[:4] = 5
    found, expected = silhouettes(x, labels)[0], brute_silhouettes(x, labels)
    assert precisions == [torch.float32, torch.float64]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_several_labelings_share_one_pass(precisions):
    x, labels = overlapping(700)
    other = np.arange(700) % 3
    first, second = silhouettes(x, labels, other)
    assert len(precisions) == 1
    np.testing.assert_allclose(first, silhouettes(x, labels)[0], atol=1e-12)
    np.testing.assert_allclose(second, brute_silhouettes(x, other), atol=1e-6)


def test_equal_points_have_silhouette_zero():
    assert silhouettes(np.ones((9, 2)), np.arange(9) % 2)[0].tolist() == [0] * 9


@pytest.mark.parametrize(
    ("x", "labels", "sentence"),
    [
        (np.zeros((5, 2)), np.zeros(4, int), "there are 4 labels for 5 points"),
        (np.zeros((5, 2)), np.zeros(5, int), "there are 1 clusters of 5 points: a silhouette needs 2 to 4"),
        (np.zeros((5, 2)), np.arange(5), "there are 5 clusters of 5 points"),
        (np.array([[0.0], [np.nan], [1.0]]), np.array([0, 1, 1]), "the points hold NaN or infinity in 1 of 3 rows, first in row 1"),
    ],
)
def test_what_has_no_silhouette_is_refused(x, labels, sentence):
    with pytest.raises(UserError, match=sentence):
        silhouettes(x, labels)


def test_matching_by_hand():
    clusters, labels = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 1, 0, 2])
    assert match_classes(clusters, labels) == ({0: 1, 1: 0, 2: 2}, 4 / 6)


@pytest.mark.parametrize("seed", range(5))
def test_matching_is_the_best_of_all_permutations(seed):
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, 200)
    clusters = np.where(random.random(200) < 0.5, (labels * 2) % 5, random.integers(0, 5, 200))
    matching, accuracy = match_classes(clusters, labels)
    best = max((np.array(names)[clusters] == labels).mean() for names in permutations(range(5)))
    assert accuracy == pytest.approx(best) == pytest.approx((np.array([matching[row] for row in range(5)])[clusters] == labels).mean())


@pytest.mark.parametrize(("clusters", "matched"), [(np.arange(12) % 4, 3), (np.arange(12) % 2, 2)])
def test_more_or_fewer_clusters_than_classes(clusters, matched):
    labels = np.arange(12) % 3
    matching, accuracy = match_classes(clusters, labels)
    assert len(matching) == matched == len(set(matching.values()))
    assert accuracy == pytest.approx(sum(((clusters == row) & (labels == name)).sum() for row, name in matching.items()) / 12)


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
    together = [clusters[i] == clusters[j] for i in range(40) for j in range(i)], [labels[i] == labels[j] for i in range(40) for j in range(i)]
    both, expected = np.logical_and(*together).sum(), sum(together[0]) * sum(together[1]) / len(together[0])
    scores = class_agreement_scores(clusters, labels)
    assert scores["nmi"] == pytest.approx(mutual / ((entropy(rows) + entropy(columns)) / 2))
    assert scores["ari"] == pytest.approx((both - expected) / ((sum(together[0]) + sum(together[1])) / 2 - expected))


def test_kmeans_finds_clear_clusters_and_is_kept(tmp_path, monkeypatch):
    cfg = make_config("smoke", out=str(tmp_path), clusters=4, kmeans_inits=5)
    x, labels = make_blobs(300, 5, centers=4, cluster_std=0.3, random_state=0)
    found = cluster(cfg, x)
    assert class_agreement_scores(found.labels, labels)["accuracy"] == 1
    for row in range(4):
        np.testing.assert_allclose(found.centres[row], x[found.labels == row].mean(axis=0), atol=1e-6)
    assert found.inertia == pytest.approx(((x - found.centres[found.labels]) ** 2).sum())
    monkeypatch.setattr(clustering, "KMeans", lambda *_, **__: pytest.fail("clustered again"))
    assert np.array_equal(cluster(cfg, x).labels, found.labels)


def test_kmeans_refuses_more_clusters_than_images_and_nan(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path))
    with pytest.raises(UserError, match="clusters is 10, more than the 9 images: lower it"):
        cluster(cfg, np.zeros((9, 2)))
    with pytest.raises(UserError, match="NaN or infinity in 12 of 12 rows"):
        cluster(cfg, np.full((12, 2), np.nan))
    with pytest.raises(UserError, match="clusters is 1: give at least 2"):
        cfg.replace(clusters=1)


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


def test_both_maps_show_the_centres_in_black_and_the_points_in_their_colours():
    labels, found = np.array([0, 0, 1, 1]), Clustering(np.array([1, 1, 0, 2]), np.zeros((3, 5)), 0.0)
    one = Map(np.arange(4), np.arange(8.0).reshape(4, 2), np.array([[9.0, 9], [1, 0], [5, 5]]))
    fig = figure_map(one, found, labels, ("cat", "dog"), "Title")
    for ax, expected in zip(fig.axes, ([0, 0, 1, None], [0, 0, 1, 1]), strict=True):
        points, centres = ax.collections
        np.testing.assert_array_equal(centres.get_offsets(), one.centres)
        assert to_hex(centres.get_facecolor()[0]) == "#000000"
        order = [int(x) // 2 for x in np.asarray(points.get_offsets())[:, 0]]
        colours = dict(zip(order, map(to_hex, points.get_facecolor()), strict=True))
        assert [colours[number] for number, kind in enumerate(expected) if kind is not None] == [CLASS_COLOURS[kind] for kind in expected if kind is not None]
        assert colours[3] in CLASS_COLOURS or expected[3] is None
    names = [[text.get_text() for text in legend.get_texts()] for legend in fig.legends]
    fig.canvas.draw()
    assert all(legend.get_window_extent().y0 >= 0 for legend in fig.legends)  # nothing is cut off
    plt.close(fig)
    assert names == [["1: cat", "0: dog", "2"], ["cat", "dog", "cluster centre"]]


def test_contingency_figure_in_per_cent_of_each_cluster():
    found, labels = Clustering(np.array([1, 1, 1, 1, 0]), np.zeros((2, 2)), 0.0), np.array([0, 0, 0, 1, 1])
    fig = figure_contingency({"vicreg": found}, labels, ("cat", "dog"))
    shown, rows = [text.get_text() for text in fig.axes[0].texts], [text.get_text() for text in fig.axes[0].get_yticklabels()]
    title = fig.axes[0].get_title()
    plt.close(fig)
    assert shown == ["75", "25", "0", "100"] and rows == ["1 (4)", "0 (1)"] and "80% of the images matched" in title


def test_silhouette_figure_has_a_blade_for_each_cluster_and_the_mean():
    found = Clustering(np.repeat([0, 1, 2], (30, 1, 29)), np.zeros((3, 2)), 0.0)
    values = np.linspace(-0.2, 0.4, 60)
    fig = figure_silhouettes({"vicreg": {"clusters": values}}, {"vicreg": found}, found.labels, ("cat", "dog", "ship"))
    ax = fig.axes[0]
    names, mean = [text.get_text() for text in ax.get_yticklabels()], ax.lines[0].get_xdata()[0]
    blades, label = len(ax.collections), ax.get_xlabel()
    plt.close(fig)
    assert names == ["0: cat", "1: dog", "2: ship"] and blades == 3 and mean == pytest.approx(0.1) and "0.100" in label


def test_labels_are_spread_out_no_more_than_needed():
    np.testing.assert_allclose(spread_out([0.1, 0.5, 0.9]), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread_out([0.1, 0.5, 0.5, 0.9], gap=0.1), [0.1, 0.45, 0.55, 0.9])
    crowded = spread_out(np.linspace(0.98, 0.99, 12))
    assert np.diff(crowded).min() > 0.0449 and crowded[-1] <= 1 and crowded[0] >= 0
    assert np.diff(spread_out(np.full(40, 0.5))).min() > 0.0249


@pytest.mark.filterwarnings("ignore:Number of distinct clusters:sklearn.exceptions.ConvergenceWarning")
def test_a_representation_that_is_one_point_stops_nothing(tmp_path, smoke):
    cfg, images = smoke[0].replace(out=str(tmp_path)), smoke[1]
    x = np.ones((len(images.train_labels), 3), np.float32)
    found = cluster(cfg, x)
    scores = silhouette_scores(cfg, x, found.labels, images.train_labels)
    assert set(found.labels) == {0} and not scores["clusters"].any() and not scores["classes"].any()
    assert numbers_cl1(cfg, images, {"vicreg": x}, {"vicreg": found})["methods"]["vicreg"]["between"] == 0


def one(**changes):
    return {
        "silhouette": 0.1,
        "class_silhouette": 0.02,
        "nmi": 0.3,
        "ari": 0.2,
        "accuracy": 0.4,
        "by_cluster": 0.8,
        "by_class": 0.4,
        "map_silhouette": 0.35,
        "points": 10_000,
        "smallest": 3_000,
        "largest": 9_000,
        "between": 0.5,
    } | changes


def both(first, second):
    return {"methods": {"vicreg": first, "neighbours": second}, "clusters": 10, "inits": 5, "images": 50_000}


def test_answer_cl1_says_the_numbers():
    text = answer_cl1(both(one(smallest=1_234), one(accuracy=0.456)))
    assert "clusters of 1,234 to 9,000 images" in text and "45.6% of the images agree (NMI 0.300, ARI 0.200)" in text and "of 5 starts" in text


def test_answer_cl2_follows_the_numbers():
    text = answer_cl2(both(one(by_cluster=0.9), one(by_class=0.5)))
    assert "**VICReg looks more successful at finding clusters**" in text and "90.0% with VICReg and 80.0%" in text
    assert "**No generated neighbours looks more successful at separating the classes**" in text and "far better than the classes" in text
    text = answer_cl2(both(one(by_class=0.75), one(by_cluster=0.801, by_class=0.755)))
    assert text.count("**Neither looks more successful") == 2 and "about equally well" in text
    assert "**Neither" in answer_cl2(both(one(by_cluster=0.9, points=20), one(points=20)))  # too few points to tell


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (one(silhouette=0.14, nmi=0.35, by_cluster=0.9), one(), ["the higher is that of VICReg", "**It is coherent", "VICReg looks more clustered", "agree better with the classes. Over all rungs, silhouette and NMI rank the methods in the same order"]),
        (one(silhouette=0.14), one(nmi=0.4), ["higher is that of VICReg", "**It is not what the maps show**", "points to the wrong one: the clusters of No generated", "in another order"]),
        (one(), one(silhouette=0.101), ["no difference to speak of", "**It is coherent", "neither looks more clustered", "it has little to tell"]),
        (one(silhouette=0.3), one(silhouette=0.31), ["The maps flatter", "with both methods: it grades compactness"]),
        (one(silhouette=0.4), one(silhouette=0.3), ["The maps do not flatter both"]),
        (one(class_silhouette=0.2), one(), ["With No generated neighbours alone it gives the true classes a lower grade"]),
        (one(class_silhouette=0.2), one(class_silhouette=0.2), ["a grade as high as the clusters'"]),
    ],
)  # fmt: skip
def test_answer_cl3_follows_the_numbers(first, second, expected):
    text = answer_cl3(both(first, second))
    assert all(part in text for part in expected)
    weak = max(first["silhouette"], second["silhouette"]) < 0.25
    assert ("no substantial structure" in text) == weak


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    return open_dataset(smoke_config(tmp_path_factory))


@pytest.fixture(scope="module")
def ran(smoke):
    """CL1 to CL3 run whole in profile smoke: what was recorded."""
    clustering.run(smoke[0])
    return read_results(smoke[0])["questions"]


def test_run_records_all_three_and_writes_their_figures(smoke, ran):
    captions = {"CL1": [CAPTION_CL1], "CL2": CAPTIONS_CL2, "CL3": [CAPTION_CL3]}
    for question, answer in (("CL1", answer_cl1), ("CL2", answer_cl2), ("CL3", answer_cl3)):
        entry = ran[question]
        assert entry["figures"] == [list(pair) for pair in captions[question]] and entry["answer"] == answer(entry["numbers"])
        assert all((smoke[0].figures / f"{name}.png").stat().st_size > 10_000 for name, _ in entry["figures"])
    assert len(ran["CL3"]["tables"][0]["rows"]) == len(COMPARED)


def test_recorded_silhouettes_are_sklearns(smoke, ran):
    cfg, images = smoke
    for name in METHODS:
        x = features_by_name(cfg, images, name).train
        found = cluster(cfg, x)
        numbers = ran["CL3"]["numbers"]["methods"][name]
        assert numbers["silhouette"] == pytest.approx(silhouette_samples(x.astype(np.float64), found.labels).mean(), abs=1e-6)
        assert numbers["class_silhouette"] == pytest.approx(silhouette_samples(x.astype(np.float64), images.train_labels).mean(), abs=1e-6)
        sizes = np.bincount(found.labels)
        assert [ran["CL1"]["numbers"]["methods"][name][key] for key in ("smallest", "largest")] == [sizes.min(), sizes.max()]
        within = sum(((x[found.labels == row] - x[found.labels == row].mean(axis=0)) ** 2).sum() for row in range(10))
        assert ran["CL1"]["numbers"]["methods"][name]["between"] == pytest.approx(1 - within / ((x - x.mean(axis=0)) ** 2).sum(), abs=1e-4)


def test_too_many_clusters_stop_the_run_and_lose_no_training(smoke, ran):
    cfg = smoke[0]
    before = sorted(path.name for path in cfg.runs.iterdir())
    with pytest.raises(UserError, match="clusters is 385, more than the 384 images"):
        clustering.run(cfg.replace(clusters=385))
    assert sorted(path.name for path in cfg.runs.iterdir()) == before and set(read_results(cfg)["questions"]) >= {"CL1", "CL2", "CL3"}
