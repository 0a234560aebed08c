"""Q7: what is found by brute force in double precision, counts by hand, frames by class, verdicts."""

from collections import Counter

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image, ImageEnhance
from scipy.spatial.distance import cdist
from sklearn.utils import resample
from smoke_run import smoke_config
from claims import claims_made
from vicreg_nb import retrieval
from vicreg_nb.book import Numbers, plain_numbers, read_results
from vicreg_nb.config import make_config
from vicreg_nb.data import ATTRIBUTES, Images, image_attributes, open_dataset
from vicreg_nb.methods import ASKED, COMPARED, features, run_of
from vicreg_nb.neighbours import Neighbours
from vicreg_nb.plots import RIGHT, WRONG
from vicreg_nb.representations import Features, encode
from vicreg_nb.retrieval import (
    CHANGES,
    Retrieved,
    attribute_ratios,
    changed,
    choose_queries,
    directions,
    hubness,
    moves,
    own_class,
    q7,
    ratio_gaps,
    retrieve,
    search,
    typical_distance,
)
from vicreg_nb.store import UserError


def gaussian(n, d=12, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_search_is_brute_force_in_double_precision_and_done_once(tmp_path, monkeypatch):
    cfg, x = make_config("smoke", out=str(tmp_path), device="cpu", neighbours_shown=4), gaussian(300)
    x[40:46] = x[3]
    found = search(cfg, x)
    distances = cdist(x.astype(np.float64), x.astype(np.float64))
    rows = np.arange(300)[:, None]
    assert all((side.numbers != rows).all() and side.numbers.shape == (300, 4) for side in found)
    for side in found[:2]:
        np.testing.assert_allclose(side.distances, distances[rows, side.numbers], atol=1e-12)
    cosines = 1 - cdist(x - x.mean(axis=0), x - x.mean(axis=0), "cosine")
    np.testing.assert_allclose(cosines[rows, found.opposite.numbers], np.sort(cosines, axis=1)[:, :4], atol=1e-5)
    np.testing.assert_allclose(found.far.distances, -np.sort(-distances, axis=1)[:, :4], atol=1e-12)
    np.fill_diagonal(distances, np.inf)
    np.testing.assert_allclose(found.near.distances, np.sort(distances, axis=1)[:, :4], atol=1e-12)
    monkeypatch.setattr("vicreg_nb.store.write_arrays", None)  # what is kept is not computed again
    again = search(cfg, x)
    assert all(np.array_equal(one.numbers, two.numbers) for one, two in zip(found, again, strict=True))


def test_directions_forget_how_far_out_a_point_lies():
    x = gaussian(200)
    away = x - x.mean(axis=0)
    farther = x.mean(axis=0) + away * np.exp(np.random.default_rng(1).normal(size=(100, 1))).repeat(2, axis=0)
    farther[1::2] = 2 * x.mean(axis=0) - farther[::2]  # in pairs around the mean, which stays where it is
    np.testing.assert_allclose(np.linalg.norm(directions(farther), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(directions(farther)[::2], (away / np.linalg.norm(away, axis=1)[:, None])[::2], atol=1e-5)
    assert not directions(np.ones((3, 2))).any()


LABELS = np.repeat(np.arange(3), (40, 5, 55))


def test_queries_are_of_each_class_and_seeded():
    chosen = choose_queries(LABELS, ("a", "b", "c"), 4, seed=1)
    assert LABELS[chosen].tolist() == [0] * 4 + [1] * 4 + [2] * 4 and len(set(chosen)) == 12
    assert np.array_equal(chosen, choose_queries(LABELS, ("a", "b", "c"), 4, seed=1))
    assert not np.array_equal(chosen, choose_queries(LABELS, ("a", "b", "c"), 4, seed=2))


@pytest.mark.parametrize(
    ("classes", "per_class", "named"), [("abc", 6, "per_class is 6.* b "), ("abcd", 1, "per_class is 1.* d ")]
)
def test_a_class_with_too_few_images_is_named(classes, per_class, named):
    with pytest.raises(UserError, match=named):
        choose_queries(LABELS, tuple(classes), per_class, seed=0)


def test_shares_and_their_intervals_by_scikit_learns_resampling():
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 1_000)
    found = [
        random.integers(0, 60, 10)[labels][:, None],
        random.integers(0, 1_000, (1_000, 3)),
    ]  # the first: ten at most
    shares, halves, half = own_class(labels, *found)
    assert shares == pytest.approx([(labels[one] == labels[:, None]).mean() for one in found])

    def share_of(one, images):  # all pairs of the images drawn, one by one
        times, pairs = Counter(images.tolist()), [(query, each) for query in range(1_000) for each in one[query]]
        weight = np.array([times[query] * times[each] for query, each in pairs])
        return np.average([labels[query] == labels[each] for query, each in pairs], weights=weight)

    draws = [resample(np.arange(1_000), random_state=seed) for seed in range(80)]
    drawn = np.array([[share_of(one, images) for one in found] for images in draws])
    assert halves == pytest.approx(1.96 * drawn.std(axis=0), rel=0.3)
    assert half == pytest.approx(1.96 * (drawn[:, 0] - drawn[:, 1]).std(), rel=0.3)
    assert own_class(labels, found[1], found[1])[2] == 0


def test_hubness_by_hand():
    numbers = np.array([[9, 1], [9, 2], [9, 1], [3, 1], [4, 5]])
    facts = hubness(numbers, top=2)
    assert facts["hubs"].tolist() == [1, 9] and facts["counts"].tolist() == [3, 3]
    assert facts["covered"] == 4 / 5 and facts["distinct"] == 6
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
    np.testing.assert_allclose(
        found["fine texture"][:, 0], [0, 0, 0, 1 / 31 / 2], atol=1e-5
    )  # one step of 1 among 31 across, none down
    np.testing.assert_allclose(
        found["layout"][3].reshape(8, 8), np.where(np.arange(8) < 4, -1, 1) / 8 * np.ones((8, 1)), atol=1e-4
    )
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


def test_attribute_ratios_of_pairs_of_two_classes_and_their_gaps_by_hand():
    random = np.random.default_rng(0)
    labels, value = random.integers(0, 3, 600), random.normal(size=(600, 2))
    near, other = random.integers(0, 600, (2, 600, 2))
    near[:, 0] = np.abs(value[:, :1] - value[:, 0] + 9 * np.eye(600)).argmin(axis=1)  # alike in one of two numbers
    far, strangers = cdist(value, value), np.random.default_rng([0, 7]).permutation(600)

    def mean(pairs, counted=lambda i, j: True):
        return np.mean([far[i, j] for i, j in pairs if counted(i, j)])

    def two(i, j):
        return labels[i] != labels[j]

    near_pairs, other_pairs = ([(i, j) for i, row in enumerate(one) for j in row] for one in (near, other))
    unit = list(enumerate(strangers))
    found = attribute_ratios({"value": value}, near, 0, labels)["value"]
    assert found == pytest.approx(mean(near_pairs, two) / mean(unit, two))
    assert attribute_ratios({"value": value}, near, 0, np.zeros(600))["value"] == 1
    gap = ratio_gaps({"value": value}, near, other, seed=0)["value"]
    assert gap["more"] == pytest.approx((mean(near_pairs) - mean(other_pairs)) / mean(unit))
    rows = []
    for _ in range(100):  # the images drawn anew, pair by pair
        times = np.bincount(random.integers(0, 600, 600), minlength=600)
        drawn = [np.average([far[i, j] for i, j in one], weights=[times[i] * times[j] for i, j in one])
                 for one in (near_pairs, other_pairs)]  # fmt: skip
        rows.append(drawn[0] - drawn[1])
    assert gap["interval"] == pytest.approx(1.96 * np.std(rows) / mean(unit), rel=0.3)


def test_changes_by_hand_and_by_pillow():
    pictures = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    found = changed(pictures)
    assert list(found) == list(CHANGES)
    assert all(part.shape == pictures.shape and part.dtype == np.uint8 for part in found.values())
    np.testing.assert_array_equal(found["upside down"], pictures[:, ::-1])
    np.testing.assert_array_equal(found["mirrored"], pictures[:, :, ::-1])
    np.testing.assert_allclose(found["darker"], 0.6 * pictures, atol=1)
    np.testing.assert_allclose(found["grey"][..., 0], pictures @ [0.299, 0.587, 0.114], atol=1.1)
    for i, picture in enumerate(pictures):
        dull = ImageEnhance.Contrast(Image.fromarray(picture)).enhance(0.6)
        np.testing.assert_allclose(found["less contrast"][i].astype(int), np.asarray(dull).astype(int), atol=2)
        edge = np.ones((32, 32), bool)
        edge[5:27, 5:27] = False
        np.testing.assert_array_equal(found["other border"][i][edge], pictures[i - 1][edge])
        np.testing.assert_array_equal(found["other border"][i][~edge], picture[~edge])
        np.testing.assert_array_equal(found["other centre"][i][edge], picture[edge])
        np.testing.assert_array_equal(found["other centre"][i][~edge], pictures[i - 1][~edge])


def test_typical_distance_is_the_mean_over_different_rows():
    x = gaussian(300) + 7
    distances = cdist(x, x)
    assert typical_distance(x, seed=0) == pytest.approx(distances.sum() / (300 * 299), rel=0.005)


@pytest.fixture
def made():
    """A result of two classes in turn, six images that can be told apart, two queries."""
    blank = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((1, 32, 32, 3), np.uint8)
    images = Images("made", blank, np.arange(6) % 2, blank, np.arange(6) % 2, ("cat", "dog"), "made")
    found = {"vicreg": [[2, 1], [0, 3], *[[5, 0]] * 4], "neighbours": [[5, 4], [3, 5], *[[5, 2]] * 4]}
    methods = {
        name: {side: Neighbours(np.ones((6, 2)), np.array(numbers)) for side in Retrieved._fields}
        for name, numbers in found.items()
    }
    return {"images": images, "queries": np.array([0, 1]), "methods": methods}


@pytest.mark.parametrize("figure", ["q7_nearest", "q7_farthest"])
def test_a_green_frame_is_of_the_querys_class_everywhere(made, figure):
    axes = [ax for ax in q7.figures[figure][0](made).picture.axes if ax.images]
    numbers = [int(ax.images[0].get_array()[0, 0, 0]) for ax in axes]
    colours = [to_hex(ax.spines["top"].get_edgecolor()) for ax in axes]
    assert numbers == [0, 2, 1, 5, 4, 1, 0, 3, 3, 5]
    assert [ax.get_xlabel() for ax in axes] == [("cat", "dog")[number % 2] for number in numbers]
    green, red = RIGHT, WRONG
    assert colours[1:5] == [green, red, red, green] and colours[6:] == [red, green, green, green]
    assert not {green, red} & {colours[0], colours[5]}


def test_hubs_stand_under_their_share_of_the_queries(made):
    axes = [ax for ax in q7.figures["q7_hubs"][0](made).picture.axes if ax.images]
    shown = [(int(ax.images[0].get_array()[0, 0, 0]), ax.get_xlabel()) for ax in axes]
    assert shown[:2] == [(0, "cat\n83%"), (5, "dog\n67%")]  # five and four of the six queries


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Q7 run whole in profile smoke: (cfg, images)."""
    cfg = smoke_config(tmp_path_factory)
    q7.run(cfg)
    return cfg, open_dataset(cfg)


def test_run_records_q7_and_writes_its_figures(ran):
    cfg, images = ran
    entry = read_results(cfg, images)["questions"]["Q7"]
    assert [name for name, _ in entry["figures"]] == list(q7.figures) and all(entry["tables"])
    assert all((cfg.figures / f"{name}.png").stat().st_size > 10_000 for name in q7.figures)
    assert all((cfg.figures / f"{name}.html").is_file() for name in ("q7_attributes",))
    assert list(entry["numbers"]["methods"]) == list(COMPARED)


def test_recorded_numbers_are_those_of_brute_force(ran):
    cfg, images = ran
    numbers, hits = read_results(cfg, images)["questions"]["Q7"]["numbers"], {}
    for name in ASKED:
        x = features(cfg, images, name).train.astype(np.float64)
        distances = cdist(x, x)
        far = np.argsort(-distances, axis=1)[:, :5]
        np.fill_diagonal(distances, np.inf)
        hits[name] = images.train_labels[np.argsort(distances, axis=1)[:, :5]] == images.train_labels[:, None]
        found = numbers["methods"][name]
        assert found["precision"] == pytest.approx(hits[name].mean())
        assert found["far"]["distinct"] == len(np.unique(far))
        assert found["far"]["distance"] * typical_distance(x, cfg.seed) == pytest.approx(
            -np.sort(-cdist(x, x), axis=1)[:, :5].mean()
        )
        away = x - x.mean(axis=0)
        turned = cdist(away / np.linalg.norm(away, axis=1)[:, None], away / np.linalg.norm(away, axis=1)[:, None])
        unit = turned.sum() / (len(x) * (len(x) - 1))
        farthest = -np.sort(-turned, axis=1)[:, :5].mean()
        assert found["opposite"]["distance"] == pytest.approx(farthest / unit, rel=0.01)
        for kind, label in enumerate(images.classes):
            assert found["far"]["classes"][label] == pytest.approx((images.train_labels[far] == kind).mean())
        moved = moves(cfg, images, name, np.arange(20))
        flipped = encode(run_of(cfg, images, name).encoder(), images.train_images[:20, :, ::-1].copy())
        expected = np.linalg.norm(flipped - x[:20], axis=1) / typical_distance(x, cfg.seed)
        np.testing.assert_allclose(moved[list(CHANGES).index("mirrored")], expected, atol=0.01)
    gap = hits["vicreg"].mean() - hits["neighbours"].mean()
    assert numbers["gaps"]["near"]["points"] == pytest.approx(100 * gap)
    queries = choose_queries(images.train_labels, images.classes, cfg.per_class, cfg.seed)
    shown = queries[:: cfg.per_class]  # one of each class
    assert (
        numbers["figures"]["vicreg"]["green"] == hits["vicreg"][shown].sum()
        and numbers["figures"]["of"] == hits["vicreg"][shown].size
    )


@pytest.mark.parametrize("sign", [1, 0])
def test_there_is_one_verdict_on_close_and_one_on_distant_images(ran, sign):
    cfg, images = ran
    numbers = nested(read_results(cfg, images)["questions"]["Q7"]["numbers"])
    for side in Retrieved._fields:
        numbers["gaps"][side] |= {"points": (5 if side == "near" else -5) * sign, "interval": 1.0}
    assert all(claims_made(q7, numbers, f"gaps.{side}.points") == 1 for side in Retrieved._fields)


def nested(value):
    return Numbers({key: nested(item) for key, item in value.items()}) if isinstance(value, dict) else value


@pytest.mark.parametrize("wrong", [{"clusters": 384}, {"max_k": 385}])
def test_a_mistake_loses_no_training(ran, wrong):
    cfg, images = ran
    mistaken = cfg.replace(**wrong)  # in range, but not for so few images
    before = sorted(path.name for path in cfg.runs.iterdir())
    with pytest.raises(UserError, match=f"{list(wrong)[0]} is {list(wrong.values())[0]}"):
        q7.run(mistaken)
    assert sorted(path.name for path in cfg.runs.iterdir()) == before
    assert "Q7" in read_results(cfg, images)["questions"]


def test_a_representation_that_is_one_point_stops_nothing(ran, monkeypatch):
    cfg, images = ran
    point = np.ones((len(images.train_labels), 4), np.float32)
    monkeypatch.setattr(retrieval, "features", lambda cfg, images, name: Features(point, point, "point"))
    monkeypatch.setattr(retrieval, "encoded", lambda cfg, images, name, pictures: np.ones((len(pictures), 4)))
    numbers = plain_numbers(q7.numbers(retrieve(cfg, images)))
    assert numbers["methods"]["vicreg"]["far"]["distance"] == 0 and numbers["moves"]["vicreg"]["grey"] == 0
