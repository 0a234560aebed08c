"""Q7: the search against brute force in double precision, counts by hand, and a text that follows the numbers."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from scipy.spatial.distance import cdist
from smoke_run import smoke_config
from vicreg_nb import retrieval
from vicreg_nb.config import UserError, read_results
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.retrieval import (
    ATTRIBUTES,
    CAPTIONS_Q7,
    COMPARED,
    FRAME,
    METHODS,
    TILE,
    answer_q7,
    attribute_ratios,
    checked,
    choose_queries,
    class_agreement,
    features_by_name,
    figure_hubs,
    figure_retrieval,
    hubness,
    image_attributes,
    numbers_q7,
    search,
    tables_q7,
    typical_distance,
)


def gaussian(n, d=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def with_copies():
    x = gaussian(2_500)
    x[40:60] = x[3]
    x[-1] = x[0]
    return x


DATA = {
    "not a multiple of the tile": gaussian(2 * TILE + 77),
    "one tile": gaussian(TILE),
    "one less than a tile": gaussian(TILE - 1),
    "copies": with_copies(),
    "far from the origin": gaussian(2_200) + 1_000,
    "on a line": gaussian(2_200, 1) * np.ones((1, 12), np.float32),
    "on a grid, with ties": np.random.default_rng(1).integers(0, 3, (2_200, 4)).astype(np.float32),
    "all one point": np.ones((70, 3), np.float32),
    "double precision": gaussian(300).astype(np.float64) + 1e-9,
}


@pytest.mark.parametrize("name", DATA)
def test_search_is_brute_force_in_double_precision(name):
    x, k = DATA[name], 5
    found = search(x, k)
    rows = np.arange(len(x))[:, None]
    distances = cdist(x.astype(np.float64), x.astype(np.float64))
    for numbers, reported in ((found.near, found.near_distance), (found.far, found.far_distance)):
        assert (numbers != rows).all() and all(len(set(row)) == k for row in numbers)
        np.testing.assert_allclose(reported, distances[rows, numbers], rtol=1e-12, atol=1e-13)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(found.near_distance, np.sort(np.partition(distances, k)[:, :k], axis=1), rtol=1e-12, atol=1e-13)
    np.fill_diagonal(distances, -np.inf)
    np.testing.assert_allclose(found.far_distance, -np.sort(np.partition(-distances, k)[:, :k], axis=1), rtol=1e-12, atol=1e-13)


def test_search_of_a_few_queries_is_the_same_as_of_all():
    x, asked = with_copies(), np.array([2_499, 3, 41, 700])
    for some, every in zip(search(x, 4, asked), search(x, 4), strict=True):
        np.testing.assert_array_equal(some, every[asked])


def test_a_copy_is_a_neighbour_and_the_image_itself_is_not():
    x = gaussian(500)
    x[77] = x[5]
    found = search(x, 1, np.array([5, 77]))
    assert found.near.tolist() == [[77], [5]] and (found.near_distance == 0).all()


@pytest.mark.parametrize("n", [2, 3, 6])
def test_few_images_are_all_ranked(n):
    x = np.arange(n, dtype=np.float32)[:, None] ** 2
    found = search(x, n - 1)
    assert found.near[0].tolist() == list(range(1, n)) and found.far[0].tolist() == list(range(n - 1, 0, -1))


def test_rows_that_single_precision_claims_to_have_proven_are_right():
    tight = gaussian(1_200) / 100
    x = np.concatenate((tight + 100, tight[:1_000] - 100, 50 * gaussian(800, seed=1)))
    rows = np.arange(len(x))
    found, proven = retrieval._search_rows(x, rows, 3, torch.float32)
    distances = cdist(x.astype(np.float64), x.astype(np.float64))
    np.fill_diagonal(distances, np.inf)
    wrong = np.abs(found.near_distance - np.sort(np.partition(distances, 3)[:, :3], axis=1)).max(axis=1) > 1e-12
    assert wrong.any() and proven.any() and not (wrong & proven).any()


@pytest.mark.parametrize(
    ("features", "k", "sentence"),
    [
        (np.zeros(5), 1, r"shape \(5,\): give an array"),
        (np.array([[0.0], [np.nan], [np.inf], [1.0]]), 1, "NaN or infinity in 2 of 4 rows, first in row 1"),
        (np.zeros((4, 2)), 0, "k is 0, but of 4 images each has 1 to 3 others"),
        (np.zeros((4, 2)), 4, "k is 4, but of 4 images each has 1 to 3 others"),
    ],
)
def test_features_that_cannot_be_searched_are_refused(features, k, sentence):
    with pytest.raises(UserError, match=sentence):
        checked(features, k)
    with pytest.raises(UserError, match=sentence):
        search(features, k)


def test_features_without_a_k_may_be_a_single_row():
    assert checked(np.zeros((1, 3))).shape == (1, 3)


LABELS = np.repeat(np.arange(3), (40, 5, 55))


def test_queries_are_of_each_class_and_seeded():
    chosen = choose_queries(LABELS, ("a", "b", "c"), 4, seed=1)
    assert LABELS[chosen].tolist() == [0] * 4 + [1] * 4 + [2] * 4 and len(set(chosen)) == 12
    assert np.array_equal(chosen, choose_queries(LABELS, ("a", "b", "c"), 4, seed=1))
    assert not np.array_equal(chosen, choose_queries(LABELS, ("a", "b", "c"), 4, seed=2))


@pytest.mark.parametrize(("classes", "sentence"), [("abc", "class b has 5 images, fewer than per_class 6"), ("abcd", "class b has 5")])
def test_a_class_with_too_few_images_is_named(classes, sentence):
    with pytest.raises(UserError, match=sentence):
        choose_queries(LABELS, tuple(classes), 6, seed=0)
    with pytest.raises(UserError, match="class d has 0 images, fewer than per_class 1"):
        choose_queries(LABELS, tuple("abcd"), 1, seed=0)


def test_class_agreement_by_hand():
    labels, numbers = np.array([0, 0, 1, 1]), np.array([[1, 2], [2, 3], [3, 1], [2, 0]])
    np.testing.assert_allclose(class_agreement(numbers, labels, 2), [(1 / 2 + 0) / 2, (1 / 2 + 1 / 2) / 2])


def test_hubness_by_hand():
    numbers = np.array([[9, 1], [9, 2], [9, 1], [3, 1], [4, 5]])
    facts = hubness(numbers, top=2)
    assert facts["hubs"].tolist() == [1, 9] and facts["counts"].tolist() == [3, 3]
    assert facts["covered"] == 4 / 5 and facts["largest"] == 3 / 5 and facts["distinct"] == 6
    assert hubness(numbers, top=10)["covered"] == 1


def test_attributes_of_plain_images_by_hand():
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    pictures[1] = 255
    pictures[2, ..., 0] = 255  # red
    pictures[3, :, 16:] = 255  # black beside white
    found = image_attributes(pictures)
    np.testing.assert_allclose(found["brightness"][:, 0], [0, 1, 0.299, 0.5], atol=1e-5)
    np.testing.assert_allclose(found["contrast"][:, 0], [0, 0, 0, 0.5], atol=1e-5)
    np.testing.assert_allclose(found["colour"][2], [1 - 0.299, -0.299, -0.299], atol=1e-5)
    np.testing.assert_allclose(found["background"][3], [0.5] * 3, atol=1e-5)
    np.testing.assert_allclose(found["fine texture"][:, 0], [0, 0, 0, 1 / 31 / 2], atol=1e-5)  # one step of 1 among 31 across, none down
    np.testing.assert_allclose(found["layout"][3].reshape(8, 8), np.where(np.arange(8) < 4, -1, 1) / 8 * np.ones((8, 1)), atol=1e-4)
    assert set(found) == set(ATTRIBUTES)


def test_background_is_the_upper_and_lower_edge():
    pictures = np.zeros((1, 32, 32, 3), np.uint8)
    pictures[0, 4:28] = 255
    assert image_attributes(pictures)["background"].max() == 0
    pictures[0, :4, :, 1] = 255
    np.testing.assert_allclose(image_attributes(pictures)["background"][0], [0, 0.5, 0], atol=1e-6)


def test_attributes_do_not_depend_on_the_block():
    pictures = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3)).astype(np.uint8)
    whole = image_attributes(pictures)
    for name, values in image_attributes(pictures, block=3).items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6)


def test_attribute_ratios_of_equal_and_of_opposite_pairs():
    value = (np.arange(4_000) % 2).astype(np.float32)[:, None]  # of two random images, half of the pairs differ
    same, opposite = ((np.arange(4_000)[:, None] + step) % 4_000 for step in (np.array([2, 4]), np.array([1, 3])))
    assert attribute_ratios({"value": value}, same, seed=0)["value"] == 0
    assert attribute_ratios({"value": value}, opposite, seed=0)["value"] == pytest.approx(2, rel=0.05)


def test_typical_distance_is_the_mean_over_different_rows():
    x = gaussian(300) + 7
    distances = cdist(x, x)
    assert typical_distance(x, seed=0) == pytest.approx(distances.sum() / (300 * 299), rel=0.005)


@pytest.fixture
def pictures():
    """Two classes in turn, six images that can be told apart."""
    blank = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    return Images("made", blank, np.array([0, 1, 0, 1, 0, 1]), blank, np.arange(6) % 2, ("cat", "dog"), "made")


@pytest.mark.parametrize("farthest", [False, True])
def test_frames_mark_the_wrong_class_when_near_and_the_own_class_when_far(pictures, farthest):
    results = {"vicreg": np.array([[2, 1], [0, 3]]), "neighbours": np.array([[5, 4], [3, 5]])}
    fig = figure_retrieval(pictures, np.array([0, 1]), results, farthest)
    shown = [ax for ax in fig.axes if ax.images]
    numbers = [int(ax.images[0].get_array()[0, 0, 0]) for ax in shown]
    framed = [to_hex(ax.spines["top"].get_edgecolor()) == FRAME for ax in shown]
    captions = [ax.get_xlabel() for ax in shown]
    plt.close(fig)
    assert numbers == [0, 2, 1, 5, 4, 1, 0, 3, 3, 5]
    assert captions == [("cat", "dog")[number % 2] for number in numbers]
    own = [False, True, False, False, True, False, False, True, True, True]  # of the query's class, by hand
    queries = (0, 5)
    assert framed == [place not in queries and same == farthest for place, same in enumerate(own)]


def test_hubs_stand_under_their_share_of_the_queries(pictures):
    fig = figure_hubs(pictures, {"vicreg": hubness(np.array([[5], [5], [5], [5], [2], [5]]))})
    captions = [ax.get_xlabel() for ax in fig.subfigs[0].axes if ax.images]
    plt.close(fig)
    assert captions == ["dog\n83.3%", "cat\n16.7%"]


def side(precision=0.5, far_same=0.05, colour=0.5, covered=0.8, far_distance=2.0):
    attributes = {"colour": colour, "layout": 0.9, "contrast": 0.7}
    return {
        "precision": precision,
        "precision_interval": 0.01,
        "precision_by_class": {"cat": precision, "dog": precision},
        "far_same_class": far_same,
        "near_distance": 0.3,
        "far_distance": far_distance,
        "far_hubs": {"covered": covered, "largest": 0.5, "distinct": 321},
        "near_attributes": attributes,
        "far_attributes": attributes,
    }


def told(first, second):
    return answer_q7({"k": 5, "images": 100, "chance": 0.1, "methods": {"vicreg": first, "neighbours": second}})


@pytest.mark.parametrize(
    ("vicreg", "neighbours", "expected"),
    [
        (0.5, 0.4, ["**VICReg is better at keeping close", "50.0% are of the query's class with VICReg and 40.0%", "ahead in 2 of 2", "blurs the classes"]),
        (0.4, 0.5, ["**No generated neighbours is better at keeping close", "Here it gained by that"]),
        (0.5, 0.49, ["**Neither excels at keeping close", "within the noise"]),
    ],
)
def test_the_answer_on_close_images_follows_the_numbers(vicreg, neighbours, expected):
    text = told(side(precision=vicreg), side(precision=neighbours))
    assert all(part in text for part in expected)


def test_the_answer_on_distant_images_follows_the_numbers():
    text = told(side(far_same=0.02), side(far_same=0.08, far_distance=3.0))
    assert "**VICReg is better at keeping distant" in text and "only 2.0%" in text
    assert "3.00 times as far as random pairs do with No generated neighbours and 2.00 times with VICReg" in text
    assert "**No generated neighbours is better at keeping distant" in told(side(far_same=0.08), side(far_same=0.02))
    assert "**Neither excels at keeping distant" in told(side(), side())
    assert "tell more about themselves" in told(side(), side())
    assert "tell more about themselves" not in told(side(covered=0.3), side())


def test_the_answer_on_attributes_follows_the_numbers():
    text = told(side(colour=0.5), side(colour=0.3))
    assert "VICReg attends most to colour (50%) and contrast (70%), and least to layout (90%)" in text
    assert "They differ most in colour: 50% with VICReg, 30% with No generated neighbours, which holds its neighbours closer together" in text
    assert "differ less than VICReg's" in text
    text = told(side(colour=0.5), side(colour=0.8))
    assert "lets its neighbours vary more" in text and "differ more than VICReg's" in text
    text = told(side(), side())
    assert "attend to the same things" in text and "No colour is ever changed" not in text


def test_the_tables_hold_the_numbers():
    methods = {"vicreg": side(precision=0.25), "neighbours": side(far_same=0.07)}
    near, far = tables_q7({"k": 5, "images": 100, "methods": methods})
    assert near["header"] == ["class", "VICReg", "No generated neighbours"] and near["rows"][0] == ["cat", "25.0%", "50.0%"]
    assert near["rows"][-1][0] == "mean" and far["rows"][0][1:] == ["5.0%", "7.0%"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Q7 run whole in profile smoke: (cfg, images)."""
    cfg = smoke_config(tmp_path_factory)
    retrieval.run(cfg)
    return open_dataset(cfg)


def test_run_records_q7_and_writes_its_figures(ran):
    cfg, images = ran
    entry = read_results(cfg)["questions"]["Q7"]
    assert entry["figures"] == [list(pair) for pair in CAPTIONS_Q7] and all(entry["tables"])
    assert all((cfg.figures / f"{name}.png").stat().st_size > 10_000 for name, _ in CAPTIONS_Q7)
    assert all((cfg.figures / f"{name}.html").is_file() for name in ("q7_precision", "q7_attributes"))
    assert list(entry["numbers"]["methods"]) == list(COMPARED) and entry["answer"] == answer_q7(entry["numbers"])


def test_recorded_precision_is_that_of_brute_force(ran):
    cfg, images = ran
    numbers = read_results(cfg)["questions"]["Q7"]["numbers"]
    for name in METHODS:
        x = features_by_name(cfg, images, name).train.astype(np.float64)
        distances = cdist(x, x)
        far = np.argsort(-distances, axis=1)[:, :5]
        np.fill_diagonal(distances, np.inf)
        hits = images.train_labels[np.argsort(distances, axis=1)[:, :5]] == images.train_labels[:, None]
        assert numbers["methods"][name]["precision"] == pytest.approx(hits.mean())
        assert numbers["methods"][name]["far_hubs"]["distinct"] == len(np.unique(far))


def test_the_search_is_not_done_twice(ran, monkeypatch):
    cfg, images = ran
    monkeypatch.setattr(retrieval, "search", lambda *_: pytest.fail("searched again"))
    found = retrieval.retrieve_all(cfg, images)
    assert list(found) == list(COMPARED)


def test_a_mistake_loses_no_training(ran):
    cfg, images = ran
    before = sorted(path.name for path in cfg.runs.iterdir())
    with pytest.raises(UserError, match="k is 384, but of 384 images each has 1 to 383 others"):
        retrieval.run(cfg.replace(neighbours_shown=384))
    with pytest.raises(UserError, match="fewer than per_class 100"):
        retrieval.run(cfg.replace(per_class=100))
    assert sorted(path.name for path in cfg.runs.iterdir()) == before
    assert "Q7" in read_results(cfg)["questions"]


def test_a_representation_that_is_one_point_stops_nothing(ran, monkeypatch):
    cfg, images = ran
    point = np.ones((len(images.train_labels), 4), np.float32)
    monkeypatch.setattr(retrieval, "features_by_name", lambda cfg, images, name: retrieval.Features(point, point, "point"))
    numbers = numbers_q7(cfg, images, {name: search(point, 5) for name in METHODS})
    assert numbers["methods"]["vicreg"]["far_distance"] == 0
