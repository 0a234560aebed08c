"""Sec. 4.2: scores by brute force, areas and intervals against scikit-learn and the bootstrap, and the whole run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from smoke_run import smoke_config
from torchvision.transforms import functional as TF
from vicreg_nb.anomaly import (
    DETECTORS,
    Scores,
    ad1,
    ad2,
    ad2_nearest,
    ad2_roc,
    ad3,
    ad3_most_anomalous,
    ad3_normal_images,
    auc_interval,
    bootstrap_gap,
    class_aucs,
    edited,
    encode_all,
    inverse_density,
    partial_auc,
    placements,
    properties,
    score_all,
)
from vicreg_nb.book import read_results
from vicreg_nb.config import make_config
from vicreg_nb.data import MEAN, STD, Images, Outliers, open_dataset, open_outliers
from vicreg_nb.methods import ASKED, ENCODERS, METHODS, run_of
from vicreg_nb.neighbours import nearest
from vicreg_nb.representations import encode
from vicreg_nb.store import UserError
from vicreg_nb.vicreg import SmallEncoder


def gaussian(n, d=16, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def exact(reference, queries):
    """All l2 distances in double precision, each row rising."""
    return np.sort(cdist(queries.astype(np.float64), reference.astype(np.float64)), axis=1)


@pytest.mark.parametrize("k", [1, 2, 7, 300])
def test_score_is_the_mean_distance_and_not_the_mean_of_squares(k):
    reference, queries = gaussian(300), gaussian(50, seed=1)
    distances = exact(reference, queries)[:, :k]
    scores = inverse_density(nearest(reference, k, queries).distances)
    np.testing.assert_allclose(scores[:, -1], distances.mean(axis=1), rtol=1e-6)
    assert np.abs(scores[:, -1] / (distances**2).mean(axis=1) - 1).min() > 0.1
    if k > 1:
        assert (scores[:, -1] < np.sqrt((distances**2).mean(axis=1))).all()


def test_scores_of_all_k_come_from_one_search():
    reference, queries = gaussian(60), gaussian(20, seed=1)
    scores = inverse_density(nearest(reference, 9, queries).distances)
    for k in range(1, 10):
        np.testing.assert_allclose(scores[:, k - 1], exact(reference, queries)[:, :k].mean(axis=1), rtol=1e-6)


def test_a_test_image_equal_to_a_training_image_is_not_dropped_as_itself():
    reference = gaussian(100)
    scores = inverse_density(nearest(reference, 2, reference[:10]).distances)
    assert (scores[:, 0] == 0).all()
    np.testing.assert_allclose(scores[:, 1], exact(reference, reference[:10])[:, 1] / 2, rtol=1e-6)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A made-up mnist_test.npz where it is looked for; returns its digits."""
    digits = np.random.default_rng(0).integers(0, 256, (10_000, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist_test.npz", images=digits, labels=(np.arange(10_000) % 10).astype(np.uint8))
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    return digits


def made_images(tests=30):
    blank = np.zeros((tests, 32, 32, 3), np.uint8)
    return Images("cifar10", blank, np.zeros(tests, int), blank, np.zeros(tests, int), ("a",), "made")


def test_mnist_is_normalised_like_cifar10(mnist):
    outliers = open_outliers(made_images())
    torch.manual_seed(0)
    encoder = SmallEncoder(8, 32).eval()
    pictures = [TF.pad(TF.to_tensor(digit), 2).repeat(3, 1, 1) for digit in mnist[:30]]
    with torch.inference_mode():
        expected = encoder(torch.stack([TF.normalize(picture, MEAN.tolist(), STD.tolist()) for picture in pictures]))
    assert outliers.name == "MNIST" and len(outliers.images) == 30
    np.testing.assert_allclose(encode(encoder, outliers.images), expected, atol=1e-5)


def test_missing_mnist_is_one_sentence(no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    with pytest.raises(UserError, match="mnist_test.npz") as caught:
        open_outliers(made_images())
    assert "VICREG_NB_DATA" in str(caught.value) and len(str(caught.value).splitlines()) == 1


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    cfg = smoke_config(tmp_path_factory)
    images = open_dataset(cfg)
    return cfg, images, open_outliers(images)


@pytest.mark.parametrize("name", ASKED)
def test_one_encoder_makes_all_sides(smoke, name):
    cfg, images, outliers = smoke
    train, tested = encode_all(cfg, images, outliers, name)
    encoder, pictures = run_of(cfg, images, name).encoder(), np.concatenate((images.test_images, outliers.images))
    np.testing.assert_allclose(train, encode(encoder, images.train_images), atol=1e-4)
    np.testing.assert_allclose(tested, encode(encoder, pictures), atol=1e-4)
    other = run_of(cfg, images, "vicreg" if name == "neighbours" else "neighbours").encoder()
    assert np.abs(tested - encode(other, pictures)).max() > 0.01


RANDOM = np.random.default_rng(3)
TRUTH = RANDOM.integers(0, 2, 1_200)
SCORES = RANDOM.integers(0, 12, 1_200) / 4 + TRUTH  # with many ties
OTHERS = SCORES + RANDOM.normal(size=1_200)


@pytest.mark.parametrize("scores", [SCORES, OTHERS, -SCORES, np.zeros(1_200)])
def test_placements_average_to_the_area_of_sklearn(scores):
    shares = placements(TRUTH, scores)
    assert [shares[TRUTH == kind].mean() for kind in (0, 1)] == pytest.approx([roc_auc_score(TRUTH, scores)] * 2)
    assert auc_interval(TRUTH, scores)[0] == pytest.approx(roc_auc_score(TRUTH, scores))


def test_placements_by_hand():
    shares = placements(np.array([0, 0, 1, 1]), np.array([1.0, 3, 3, 2]))
    assert shares.tolist() == [1, 0.25, 0.75, 0.5]


def bootstrap(statistic):
    random, kinds = np.random.default_rng(0), [np.flatnonzero(TRUTH == value) for value in (0, 1)]
    draws = [np.concatenate([random.choice(kind, len(kind)) for kind in kinds]) for _ in range(400)]
    return 1.96 * np.std([statistic(draw) for draw in draws])


def test_intervals_are_those_of_the_bootstrap():
    def area(draw, scores):
        return roc_auc_score(TRUTH[draw], scores[draw])

    assert auc_interval(TRUTH, SCORES)[1] == pytest.approx(bootstrap(lambda draw: area(draw, SCORES)), rel=0.15)
    gap, half = auc_interval(TRUTH, SCORES, OTHERS)
    assert gap == pytest.approx(roc_auc_score(TRUTH, SCORES) - roc_auc_score(TRUTH, OTHERS))
    assert half == pytest.approx(bootstrap(lambda draw: area(draw, SCORES) - area(draw, OTHERS)), rel=0.15)


def test_partial_area_by_hand():
    normal, strange = np.arange(100.0), np.array([98.5, 96.5, 94.5, 50.0])
    truth, scores = np.repeat([0, 1], [100, 4]), np.concatenate((normal, strange))
    beaten = [0.05 - 0.01, 0.05 - 0.03, 0, 0]  # the width of the curve below a rate of 0.05, at each anomaly
    chance = 0.05**2 / 2
    assert partial_auc(truth, scores) == pytest.approx(0.5 * (1 + (np.mean(beaten) - chance) / (0.05 - chance)))


def test_bootstrap_agrees_with_delong():
    gap, half = bootstrap_gap(TRUTH, SCORES, OTHERS, roc_auc_score, draws=400)
    assert auc_interval(TRUTH, SCORES, OTHERS) == (pytest.approx(gap), pytest.approx(half, rel=0.2))


def test_a_difference_of_paired_scores_is_surer_than_of_unpaired_ones():
    paired = auc_interval(TRUTH, SCORES, SCORES + 1e-3 * OTHERS)[1]
    assert paired < 0.5 * auc_interval(TRUTH, SCORES)[1] and auc_interval(TRUTH, SCORES, SCORES) == (0, 0)


@pytest.fixture
def three_classes():
    """(train, test, images) of three classes that overlap."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(3, 6))
    labels, tests = np.arange(150) % 3, np.arange(90) % 3
    blank = np.zeros((1, 32, 32, 3), np.uint8)
    images = Images("made", blank, labels, blank, tests, ("a", "b", "c"), "made")
    return *(centres[part] + random.normal(size=(len(part), 6)) for part in (labels, tests)), images


def test_class_aucs_against_each_class_on_its_own(three_classes):
    train, test, images = three_classes
    expected = []
    for label in range(3):
        scores = exact(train[images.train_labels == label], test)[:, :2].mean(axis=1)
        expected.append(roc_auc_score((images.test_labels != label).astype(int), scores))
    found = class_aucs(train, test, images, k=2)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert found.min() > 0.6


def test_k_larger_than_a_class_is_refused(three_classes):
    with pytest.raises(UserError, match="51"):
        class_aucs(*three_classes, k=51)


def test_properties_by_torchvision():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    grey = torch.stack([TF.rgb_to_grayscale(TF.to_tensor(picture)) for picture in pictures]).numpy()[:, 0]
    found = properties(pictures)
    np.testing.assert_allclose(found["brightness"], grey.mean(axis=(1, 2)), atol=2e-4)
    np.testing.assert_allclose(found["contrast"], grey.std(axis=(1, 2)), atol=2e-4)
    x, y = np.meshgrid(np.arange(32), np.arange(32))
    mean = pictures.mean(axis=3)
    for number, weights in enumerate(mean):  # numpy's weighted covariance
        table = np.cov(x.ravel(), y.ravel(), aweights=weights.ravel())
        expected = abs(table[0, 1]) / np.sqrt(table[0, 0] * table[1, 1])
        assert found["diagonal"][number] == pytest.approx(expected, abs=1e-5)
        edge = np.r_[weights[:5].ravel(), weights[-5:].ravel(), weights[5:-5, :5].ravel(), weights[5:-5, -5:].ravel()]
        assert found["border"][number] == pytest.approx(edge.std() / 255, rel=1e-4)
    shuffled = properties(pictures[:, ::-1])
    for name, values in found.items():
        np.testing.assert_allclose(shuffled[name], values, rtol=1e-3, atol=1e-5)  # upside down nothing changes


def test_edited_images_by_hand(mnist):
    bright = np.random.default_rng(1).integers(60, 256, (30, 32, 32, 3)).astype(np.uint8)
    images = replace(made_images(), test_images=bright)
    outliers = open_outliers(images)
    found, grey = edited(images, outliers), bright @ [0.299, 0.587, 0.114]
    assert np.array_equal(found["digits"], outliers.images)
    for name, share in (("dimmed digits", 0.6), ("dark digits", 0.3)):
        np.testing.assert_allclose(found[name], share * outliers.images, atol=1)
    dark, tones = found["dark photographs"], found["two-tone photographs"]
    np.testing.assert_allclose(dark[..., 0], grey * outliers.images.mean() / grey.mean(), atol=1.5)
    assert (dark == dark[..., :1]).all() and set(np.unique(tones)) == {0, 255}
    np.testing.assert_allclose((tones > 0).mean(axis=(1, 2, 3)), (outliers.images > 127).mean(), atol=0.02)
    for tone, picture in zip(tones[..., 0] > 0, grey, strict=True):
        assert picture[tone].min() > picture[~tone].max() - 1.1


@pytest.fixture
def pair():
    """Four normal images and three anomalies, scored by both methods, k = 2; a picture's first pixel is its number."""
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3)).astype(np.uint8)
    pictures[:, 0, 0] = np.arange(7)[:, None]
    images = Images("made", pictures, np.arange(7) % 2, pictures[:4], np.array([0, 1, 0, 1]), ("cat", "dog"), "made")
    called = ["cat", "dog", "cat", "dog", "digit 7", "digit 8", "digit 9"]
    first = np.array([[1, 1], [2, 2], [3, 3], [4, 4], [9, 9], [8, 8], [3.5, 3.5]])
    scores = {"vicreg": first, "neighbours": first[::-1], "no_variance": np.ones((7, 2))}
    near = dict.fromkeys(scores, np.array([[0, 1]] * 4 + [[6, 2], [6, 3], [6, 2]]))
    by_class, truth = dict.fromkeys(scores, np.array([0.5, 0.75])), np.array([0, 0, 0, 0, 1, 1, 1])
    plain = {"brightness": np.array([5, 1, 2, 3, 9, 0, 2.5])} | dict.fromkeys(
        ("contrast", "fine texture", "colourfulness", "border", "diagonal"), np.arange(7.0)
    )
    return Scores(images, "digit", pictures, called, truth, 2, plain, scores, near, {}, by_class)


def shown(drawing):
    """The numbers of the pictures in a figure, place by place."""
    return [int(ax.images[0].get_array()[0, 0, 0]) for ax in drawing.picture.axes if ax.images]


def test_the_most_anomalous_stand_first(pair):
    assert shown(ad3_most_anomalous(pair)) == [4, 5, 3, 6, 2, 1, 0, 2, 1, 3, 0, 4, 5, 6]
    captions = [ax.get_xlabel().split("\n") for ax in ad3_most_anomalous(pair).picture.axes]
    assert captions[0] == ["digit 7", "3.60"] and captions[2] == ["dog", "1.60"]


def test_only_normal_images_among_the_normal(pair):
    odd, ordinary, *other = np.reshape(shown(ad3_normal_images(pair)), (4, 4)).tolist()
    assert odd == [3, 2, 1, 0] and ordinary == [0, 1, 2, 3] and other == [[2, 1, 3, 0], [0, 3, 1, 2]]


def test_the_training_images_nearest_to_anomalies_are_counted(pair):
    assert shown(ad2_nearest(pair))[:3] == [6, 2, 3]
    assert [ax.get_xlabel().split("\n")[1].split()[0] for ax in ad2_nearest(pair).picture.axes[:3]] == ["3", "2", "1"]


def test_a_representation_that_is_one_point_has_scores_of_zero(pair):
    flat = pair._replace(scores={"vicreg": np.zeros((7, 2))})
    assert flat.relative("vicreg").tolist() == [0] * 7


def test_roc_figure_names_the_areas_of_sklearn(pair):
    drawing = ad2_roc(pair)
    names = {trace.name for trace in drawing.interactive.data}
    for name in ENCODERS:
        assert f"{METHODS[name].title}: AUC {roc_auc_score(pair.truth, pair.scores[name][:, 1]):.4f}" in names


def test_numbers_by_hand(pair):
    numbers, texture = (ad3.numbers(pair)[name] for name in ("methods", "texture"))
    along = {name: one["along_anomalies"]["fine texture"]["more"] for name, one in numbers.items()}
    assert along == {"vicreg": pytest.approx(-1), "neighbours": pytest.approx(-1)}  # texture rises, both scores fall
    assert texture == {"more": pytest.approx(0), "interval": pytest.approx(0)}
    assert numbers["vicreg"]["shown"][:3] == ["digit 7", "digit 8", "dog"]
    assert numbers["vicreg"]["anomalies_shown"] == numbers["vicreg"]["anomalies_in_100"] == 3
    densities = ad1.numbers(pair)["methods"]["vicreg"]
    assert (densities["median_normal"], densities["median_anomalous"], densities["ratio"]) == (2.5, 8, 3.2)
    assert densities["above_95"] == pytest.approx(2 / 3)
    assert numbers["vicreg"]["odd"]["brightness"] == pytest.approx((3 + 0 + 1 + 2) / 4 / 4)  # of normal ones below each


@pytest.fixture(scope="module")
def ran(smoke):
    """AD1 to AD3 run whole in profile smoke: what was recorded."""
    result = score_all(*smoke[:2])
    for question in (ad1, ad2, ad3):
        question.run(smoke[0], result)
    return read_results(*smoke[:2])["questions"]


def test_run_records_all_three_and_writes_their_figures(smoke, ran):
    for question in (ad1, ad2, ad3):
        entry = ran[question.name]
        assert [name for name, _ in entry["figures"]] == list(question.figures) and entry["answer"]
        assert all((smoke[0].figures / f"{name}.png").stat().st_size > 10_000 for name in question.figures)
    assert "plotly" in (smoke[0].figures / "ad2_roc.html").read_text(encoding="utf-8")
    table = ran["AD2"]["tables"][0]
    assert len(table["header"]) == 4 and {row[0] for row in table["rows"]} >= set(DETECTORS.values())


def test_recorded_areas_are_those_of_brute_force(smoke, ran):
    """Each method's test features are scored against its own training features, and by no other's."""
    cfg, images, outliers = smoke
    truth = np.repeat([0, 1], [160, 160])
    for name in ENCODERS:
        encoder = run_of(cfg, images, name).encoder()
        pictures = np.concatenate((images.test_images, outliers.images))
        distances = exact(encode(encoder, images.train_images), encode(encoder, pictures))
        one = ran["AD2"]["numbers"]["methods"][name]
        assert one["auc"] == pytest.approx(roc_auc_score(truth, distances[:, :2].mean(axis=1)), abs=1e-4)
        assert one["auc_by_k"][19] == pytest.approx(roc_auc_score(truth, distances[:, :20].mean(axis=1)), abs=1e-4)
    strange = encode(encoder, edited(images, outliers)["two-tone photographs"])
    scores = [distances[:160], exact(encode(encoder, images.train_images), strange)]
    area = roc_auc_score(np.repeat([0, 1], [160, len(strange)]), np.concatenate(scores)[:, :2].mean(axis=1))
    assert one["edits"]["two-tone photographs"] == pytest.approx(area, abs=1e-4)
    seen = ran["AD3"]["numbers"]["methods"]["vicreg"]
    assert len(seen["shown"]) == 7
    assert sum(text.startswith("digits") for text in seen["shown"]) == seen["anomalies_shown"]


def test_a_k_too_large_stops_before_any_work(smoke, tmp_path):
    cfg = make_config("smoke", device="cpu", out=str(tmp_path))
    for name in ("max_k", "anomaly_k"):
        with pytest.raises(UserError, match=name):
            ad1.run(cfg.replace(**{name: 385}))
    assert not cfg.runs.exists()


def test_as_many_anomalies_as_test_images(smoke):
    _, images, _ = smoke
    fewer = replace(images, test_images=images.test_images[:50], test_labels=images.test_labels[:50])
    outliers = open_outliers(fewer)
    assert isinstance(outliers, Outliers) and len(outliers.images) == len(outliers.labels) == 50
