"""Sec. 4.2: the score by brute force, areas and intervals against scikit-learn and the bootstrap, and texts that follow the numbers."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from smoke_run import smoke_config
from torchvision.transforms import functional as TF
from vicreg_nb import anomaly
from vicreg_nb.ablations import method_encoder, method_run
from vicreg_nb.anomaly import (
    CAPTION_AD1,
    CAPTIONS_AD2,
    CAPTIONS_AD3,
    ENCODERS,
    METHODS,
    Scored,
    Space,
    answer_ad1,
    answer_ad2,
    answer_ad3,
    auc_by_k,
    auc_difference,
    class_aucs,
    figure_auc_by_k,
    figure_ranked,
    figure_roc,
    inverse_density,
    kind_names,
    mean_interval,
    neighbour_distances,
    open_space,
    placements,
    top_rows,
)
from vicreg_nb.config import METHOD_NAMES, UserError, make_config, read_results
from vicreg_nb.data import MEAN, STD, Images, Outliers, open_dataset, open_outliers
from vicreg_nb.representations import encode
from vicreg_nb.vicreg import Encoder


def gaussian(n, d=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def exact(reference, queries):
    """All l2 distances in double precision, each row rising."""
    return np.sort(cdist(queries.astype(np.float64), reference.astype(np.float64)), axis=1)


@pytest.mark.parametrize("k", [1, 2, 7, 300])
def test_score_is_the_mean_distance_and_not_the_mean_of_squares(k):
    reference, queries = gaussian(300), gaussian(50, seed=1)
    distances = exact(reference, queries)[:, :k]
    scores = inverse_density(neighbour_distances(reference, queries, k), k)
    np.testing.assert_allclose(scores, distances.mean(axis=1), rtol=1e-6)
    assert np.abs(scores / (distances**2).mean(axis=1) - 1).min() > 0.1
    if k > 1:
        assert (scores < np.sqrt((distances**2).mean(axis=1))).all()


@pytest.mark.parametrize("offset", [0, 300])
def test_distances_of_nearly_equal_images_keep_their_digits(offset):
    reference = gaussian(400) + offset
    queries = reference[:40] + 1e-3 * gaussian(40, seed=1)
    np.testing.assert_allclose(neighbour_distances(reference, queries, 3), exact(reference, queries)[:, :3], rtol=1e-5)


def test_distances_do_not_depend_on_the_block():
    reference, queries = gaussian(200), gaussian(70, seed=1)
    np.testing.assert_array_equal(neighbour_distances(reference, queries, 4, block=9), neighbour_distances(reference, queries, 4))


def test_a_test_image_equal_to_a_training_image_is_not_dropped_as_itself():
    reference = gaussian(100)
    distances = neighbour_distances(reference, reference[:10], 2)
    assert (distances[:, 0] == 0).all()
    np.testing.assert_allclose(distances[:, 1], exact(reference, reference[:10])[:, 1], rtol=1e-6)


def test_scores_of_all_k_come_from_one_search():
    reference, queries = gaussian(60), gaussian(20, seed=1)
    one = Scored("vicreg", neighbour_distances(reference, queries, 9), np.arange(20) % 2)
    for k in (1, 2, 9):
        np.testing.assert_allclose(one.scores(k), exact(reference, queries)[:, :k].mean(axis=1), rtol=1e-6)


@pytest.mark.parametrize("k", [0, -1, 31])
def test_an_impossible_k_is_refused(k):
    with pytest.raises(UserError, match=f"k is {k}: choose from 1 to 30"):
        neighbour_distances(gaussian(30), gaussian(4), k)
    with pytest.raises(UserError, match=f"k is {k}, but 5 nearest images are at hand: choose from 1 to 5"):
        inverse_density(np.ones((3, 5)), k)


def test_nan_is_refused_wherever_it_is():
    good, bad = gaussian(9), gaussian(9)
    bad[4, 2] = np.nan
    with pytest.raises(UserError, match="the reference features hold NaN or infinity in 1 of 9 rows, first in row 4"):
        neighbour_distances(bad, good, 2)
    with pytest.raises(UserError, match="the queried features hold NaN"):
        neighbour_distances(good, bad, 2)
    for place, part in enumerate(("train", "test", "outliers")):
        parts = [good] * 3
        parts[place] = bad
        with pytest.raises(UserError, match=f"the {part} features of vicreg hold NaN"):
            Space("vicreg", *parts)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A made-up mnist_test.npz where it is looked for; returns its digits."""
    digits = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist_test.npz", images=digits, labels=(np.arange(10_000) % 10).astype(np.uint8))
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    return digits


def test_mnist_is_normalised_like_cifar10(mnist):
    outliers = open_outliers(make_config("quick", dataset="cifar10", device="cpu", test_size=30))
    torch.manual_seed(0)
    encoder = Encoder(8, 2, 32).eval()
    pictures = [TF.pad(TF.to_tensor(digit), 2).repeat(3, 1, 1) for digit in mnist[:30]]
    with torch.inference_mode():
        expected = encoder(torch.stack([TF.normalize(picture, MEAN.tolist(), STD.tolist()) for picture in pictures]))
    assert outliers.name == "MNIST" and len(outliers.images) == 30
    np.testing.assert_allclose(encode(encoder, outliers.images), expected, atol=1e-5)


def test_missing_mnist_is_one_clear_sentence(tmp_path, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="mnist_test.npz is in none of .* cannot be downloaded .*: put the file there, set VICREG_NB_DATA") as caught:
        open_outliers(make_config("quick", dataset="cifar10", device="cpu"))
    assert len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    cfg, images = open_dataset(smoke_config(tmp_path_factory))
    return cfg, images, open_outliers(cfg)


@pytest.mark.parametrize("name", ["vicreg", "neighbours"])
def test_one_encoder_makes_both_sides(smoke, name):
    cfg, images, outliers = smoke
    space, encoder = open_space(cfg, images, outliers, name), method_encoder(cfg, images, name)
    for part, pictures in (("train", images.train_images), ("test", images.test_images), ("outliers", outliers.images)):
        np.testing.assert_allclose(getattr(space, part), encode(encoder, pictures), atol=1e-4)
    other = "vicreg" if name == "neighbours" else "neighbours"
    assert np.abs(space.outliers - encode(method_encoder(cfg, images, other), outliers.images)).max() > 0.01
    assert method_run(cfg, images, name).precision == "fp32"


RANDOM = np.random.default_rng(3)
TRUTH = RANDOM.integers(0, 2, 1_200)
SCORES = RANDOM.integers(0, 12, 1_200) / 4 + TRUTH  # with many ties
OTHERS = SCORES + RANDOM.normal(size=1_200)


@pytest.mark.parametrize("scores", [SCORES, OTHERS, -SCORES, np.zeros(1_200)])
def test_placements_average_to_the_area_of_sklearn(scores):
    above, below = placements(TRUTH, scores)
    assert len(above) == TRUTH.sum() and len(below) == (1 - TRUTH).sum()
    assert [above.mean(), below.mean()] == pytest.approx([roc_auc_score(TRUTH, scores)] * 2)


def bootstrap(statistic):
    random, kinds = np.random.default_rng(0), [np.flatnonzero(TRUTH == value) for value in (0, 1)]
    draws = [np.concatenate([random.choice(kind, len(kind)) for kind in kinds]) for _ in range(400)]
    return 1.96 * np.std([statistic(draw) for draw in draws])


def test_intervals_are_those_of_the_bootstrap():
    def area(draw, scores):
        return roc_auc_score(TRUTH[draw], scores[draw])

    assert mean_interval(*placements(TRUTH, SCORES)) == pytest.approx(bootstrap(lambda draw: area(draw, SCORES)), rel=0.15)
    gap, interval = auc_difference(TRUTH, SCORES, OTHERS)
    assert gap == pytest.approx(roc_auc_score(TRUTH, SCORES) - roc_auc_score(TRUTH, OTHERS))
    assert interval == pytest.approx(bootstrap(lambda draw: area(draw, SCORES) - area(draw, OTHERS)), rel=0.15)


def test_a_difference_of_paired_scores_is_surer_than_of_unpaired_ones():
    _, paired = auc_difference(TRUTH, SCORES, SCORES + 1e-3 * OTHERS)
    alone = mean_interval(*placements(TRUTH, SCORES))
    assert paired < 0.5 * alone and auc_difference(TRUTH, SCORES, SCORES) == (0, 0)


def test_auc_by_k_is_that_of_each_score():
    reference, queries = gaussian(80), np.concatenate((gaussian(40, seed=1), 1.2 * gaussian(40, seed=2)))
    one = Scored("vicreg", neighbour_distances(reference, queries, 12), np.repeat([0, 1], 40))
    expected = [roc_auc_score(one.truth, exact(reference, queries)[:, :k].mean(axis=1)) for k in range(1, 13)]
    np.testing.assert_allclose(auc_by_k(one, 12), expected, atol=1e-9)
    assert len(auc_by_k(one, 5)) == 5


@pytest.fixture
def three_classes():
    """(space, images) of three classes that overlap."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(3, 6))
    labels, tests = np.arange(150) % 3, np.arange(90) % 3
    space = Space("vicreg", *((centres[part] + random.normal(size=(len(part), 6))).astype(np.float32) for part in (labels, tests)), gaussian(4, 6))
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    return space, Images("made", blank, labels, blank, tests, ("a", "b", "c"), "made")


def test_class_aucs_against_each_class_on_its_own(three_classes, tmp_path):
    space, images = three_classes
    expected = []
    for label in range(3):
        scores = exact(space.train[images.train_labels == label], space.test)[:, :2].mean(axis=1)
        expected.append(roc_auc_score((images.test_labels != label).astype(int), scores))
    found = class_aucs(make_config("smoke", out=str(tmp_path)), space, images)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.min() > 0.6


@pytest.mark.parametrize("part", ["training", "test"])
def test_a_class_without_images_is_named(three_classes, tmp_path, part):
    space, images = three_classes
    name = "train_labels" if part == "training" else "test_labels"
    images = replace(images, **{name: getattr(images, name) % 2})
    with pytest.raises(UserError, match=f"class c has no {part} images"):
        class_aucs(make_config("smoke", out=str(tmp_path)), space, images)


def test_k_larger_than_a_class_is_refused(three_classes, tmp_path):
    with pytest.raises(UserError, match="k is 51: choose from 1 to 50"):
        class_aucs(make_config("smoke", out=str(tmp_path), anomaly_k=51), *three_classes)


def scored_pair():
    """{method: Scored} of four normal images and three anomalies; k = 1 and 2 differ."""
    truth = np.array([0, 0, 0, 0, 1, 1, 1])
    first = np.array([[1, 1], [2, 2], [3, 3], [4, 4], [9, 9], [8, 8], [3.5, 3.5]])
    return {"vicreg": Scored("vicreg", first, truth), "neighbours": Scored("neighbours", first[::-1].copy(), truth)}


def test_top_rows_by_hand():
    scored = scored_pair()
    most = top_rows(scored, 2, 3)
    assert [row[2].tolist() for row in most] == [[4, 5, 3], [2, 1, 3]]
    np.testing.assert_allclose(most[0][3], np.array([9, 8, 4]) / 2.5)
    assert [row[2].tolist() for row in top_rows(scored, 2, 2, normal_only=True)] == [[3, 2], [2, 1]]
    assert [row[2].tolist() for row in top_rows(scored, 2, 2, normal_only=True, least=True)] == [[0, 1], [0, 3]]
    assert most[0][0] == "VICReg: the 3 most anomalous test images"


def test_ranked_images_stand_in_order_over_what_they_are():
    pictures = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    images = Images("made", pictures[:1], np.zeros(1, int), pictures[:4], np.array([0, 1, 0, 1]), ("cat", "dog"), "made")
    fig = figure_ranked(images, Outliers("digits", pictures[4:], np.array([7, 8, 9]), "made"), top_rows(scored_pair(), 2, 3))
    shown = [ax for ax in fig.axes if ax.images]
    numbers, captions = [int(ax.images[0].get_array()[0, 0, 0]) for ax in shown], [ax.get_xlabel() for ax in shown]
    titles = [part.get_suptitle() for part in fig.subfigs]
    plt.close(fig)
    assert numbers == [4, 5, 3, 2, 1, 3]
    assert captions[:3] == ["digits 7\n3.60", "digits 8\n3.20", "dog\n1.60"]
    assert [title.split(":")[0] for title in titles] == [METHOD_NAMES[name] for name in METHODS]


def test_roc_figure_names_the_areas_of_sklearn():
    scored = scored_pair()
    fig, interactive = figure_roc(scored, 2)
    labels = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
    plt.close(fig)
    expected = [f"{METHOD_NAMES[name]}: AUC {roc_auc_score(one.truth, one.scores(2)):.4f}" for name, one in scored.items()]
    assert labels[:2] == expected == [trace.name for trace in interactive.data]


def test_k_is_a_whole_number_on_its_axis():
    fig, interactive = figure_auc_by_k({"vicreg": np.linspace(0.5, 0.6, 20)}, 2)
    fig.canvas.draw()
    assert all(tick == int(tick) for tick in fig.axes[0].get_xticks())
    plt.close(fig)
    assert list(interactive.data[0].x) == list(range(1, 21))


def test_kinds_are_called_by_their_names():
    images = Images("cifar10", *[np.zeros(1)] * 4, (), "made")
    assert kind_names(images, Outliers("MNIST", np.zeros(1), np.zeros(1), "made")) == ("CIFAR-10", "MNIST")


def test_answer_ad1_follows_the_numbers():
    def text(ratio):
        one = {"ratio": ratio, "above_95": 0.31}
        counts = {"reference": 50_000, "normal": 10_000, "anomalous": 9_000}
        return answer_ad1({"k": 2, "counts": counts, "names": ["CIFAR-10", "MNIST"], "methods": dict.fromkeys(METHODS, one)})

    assert "higher than the normal one; 31.0% of MNIST" in text(1.5) and "1.50 times that of CIFAR-10" in text(1.5)
    assert "lower than" in text(0.5) and "50,000 training images" in text(0.5)


def area(auc, class_mean=0.6):
    by_class = {"cat": class_mean, "dog": class_mean}
    return {"auc": auc, "interval": 0.002, "auc_by_k": [auc, auc], "best_k": 2, "best_auc": auc, "auc_by_class": by_class, "class_mean": class_mean}


@pytest.mark.parametrize(
    ("vicreg", "neighbours", "expected", "absent"),
    [
        (area(0.9), area(0.97), ["**No generated neighbours is better", "AUC 0.9700 (± 0.0020) against 0.9000", "0.0700 ± 0.0050", "2 of 2 values", "crops and colour changes"], ["agrees"]),
        (area(0.97, 0.7), area(0.9), ["**VICReg is better", "this witness agrees", "ahead for 2 of 2 classes", "views that differ"], ["That it is not ahead"]),
        (area(0.97, 0.5), area(0.9), ["this witness says the opposite", "ahead for 0 of 2 classes", "That it is not ahead"], ["agrees"]),
        (area(0.901), area(0.9, 0.7), ["**Neither method is better", "puts No generated neighbours ahead"], ["plausible reason", "opposite"]),
        (area(0.9), area(0.9), ["**Neither method is better", "sees no difference"], ["plausible reason"]),
    ],
)
def test_answer_ad2_follows_the_numbers(vicreg, neighbours, expected, absent):
    numbers = {"k": 2, "gap": vicreg["auc"] - neighbours["auc"], "gap_interval": 0.005, "methods": {"vicreg": vicreg, "neighbours": neighbours}}
    text = answer_ad2(numbers)
    assert all(part in text for part in expected) and not any(part in text for part in absent)


@pytest.mark.parametrize(
    ("rho", "correlations", "expected"),
    [
        (0.9, {"brightness": 0.3, "contrast": -0.5}, ["largely agree", "low contrast (-0.50) and high brightness (+0.30)"]),
        (0.4, {"brightness": 0.3, "contrast": 0.05}, ["agree in part", "high brightness (+0.30)."]),
        (0.1, {"brightness": 0.05, "contrast": 0.05}, ["hardly agree", "with none of the properties"]),
    ],
)
def test_answer_ad3_follows_the_numbers(rho, correlations, expected):
    one = {"shown": ["MNIST 1", "cat"], "anomalies_shown": 1, "anomalies_in_100": 64, "correlations": correlations}
    text = answer_ad3({"name": "MNIST", "methods": dict.fromkeys(METHODS, one), "rank_correlation": rho, "shared_top_twentieth": 0.25})
    assert all(part in text for part in [*expected, "1 of the 2 are MNIST, and 64 of the first hundred (MNIST 1, cat)", "share 25%"])


@pytest.fixture(scope="module")
def ran(smoke):
    """AD1 to AD3 run whole in profile smoke: what was recorded."""
    anomaly.run(smoke[0])
    return read_results(smoke[0])["questions"]


def test_run_records_all_three_and_writes_their_figures(smoke, ran):
    cfg = smoke[0]
    captions = {"AD1": [CAPTION_AD1], "AD2": CAPTIONS_AD2, "AD3": CAPTIONS_AD3}
    for question, answer in (("AD1", answer_ad1), ("AD2", answer_ad2), ("AD3", answer_ad3)):
        entry = ran[question]
        assert entry["figures"] == [list(pair) for pair in captions[question]] and entry["answer"] == answer(entry["numbers"])
        assert all((cfg.figures / f"{name}.png").stat().st_size > 10_000 for name, _ in entry["figures"])
    for name, _ in CAPTIONS_AD2:
        assert "plotly" in (cfg.figures / f"{name}.html").read_text()
    header, rows = ran["AD2"]["tables"][0]["header"], ran["AD2"]["tables"][0]["rows"]
    assert header == ["normal class", *(METHOD_NAMES[name] for name in ENCODERS)] and len(rows) == 11


def test_recorded_areas_are_those_of_brute_force(smoke, ran):
    cfg, images, outliers = smoke
    truth = np.repeat([0, 1], [160, 160])
    for name in ENCODERS:
        encoder = method_encoder(cfg, images, name)
        train, test = encode(encoder, images.train_images), encode(encoder, np.concatenate((images.test_images, outliers.images)))
        distances, one = exact(train, test), ran["AD2"]["numbers"]["methods"][name]
        assert one["auc"] == pytest.approx(roc_auc_score(truth, distances[:, :2].mean(axis=1)), abs=1e-4)
        assert one["auc_by_k"][19] == pytest.approx(roc_auc_score(truth, distances[:, :20].mean(axis=1)), abs=1e-4)
    shown = ran["AD3"]["numbers"]["methods"]["vicreg"]
    assert len(shown["shown"]) == 7 and sum(text.startswith("digits") for text in shown["shown"]) == shown["anomalies_shown"]


def test_a_k_too_large_stops_the_run_and_loses_no_training(smoke, ran):
    cfg = smoke[0]
    before = sorted(path.name for path in cfg.runs.iterdir())
    with pytest.raises(UserError, match="k is 385: choose from 1 to 384"):
        anomaly.run(cfg.replace(max_k=385))
    assert sorted(path.name for path in cfg.runs.iterdir()) == before and set(read_results(cfg)["questions"]) >= {"AD1", "AD2", "AD3"}
