# Generated from nbs/05_retrieval.py by `make export`. Do not edit: edit the notebook.
# cells nbs/05_retrieval.py 55def28bc6e3df58
# text e4c9d66e4be64f3a

"""5 · Retrieval (Q7)."""

from typing import NamedTuple

import numpy as np
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import ATTRIBUTES, Images, image_attributes
from vicreg_nb.identity import cached
from vicreg_nb.methods import ASKED, COMPARED, METHODS, colours_by_title, features
from vicreg_nb.neighbours import Neighbours, farthest, nearest, same_class
from vicreg_nb.plots import RIGHT, WRONG, dots, image_grid
from vicreg_nb.representations import half_interval
from vicreg_nb.store import UserError


class Retrieved(NamedTuple):
    """For every training image its nearest and its most distant others."""

    near: Neighbours
    far: Neighbours


def search(cfg: Config, x: np.ndarray) -> Retrieved:
    """The `neighbours_shown` nearest and most distant rows of x [N, d] for each of its rows; computed once."""
    k, device = cfg.neighbours_shown, choose_device(cfg)

    def compute():
        sides = {"near": nearest(x, k, device=device), "far": farthest(x, k, device=device)}
        numbers = {name: side.numbers for name, side in sides.items()}
        return numbers | {f"{name}_distance": side.distances for name, side in sides.items()}

    found = cached(cfg.cache, "retrieval", [x, k, device.type], compute)
    return Retrieved(*(Neighbours(found[f"{side}_distance"], found[side]) for side in ("near", "far")))


def typical_distance(x: np.ndarray, seed: int, pairs: int = 100_000) -> float:
    """Mean l2 distance of random pairs of different rows of x [N, d]."""
    random = np.random.default_rng([seed, 11])
    first, step = random.integers(0, len(x), pairs), random.integers(1, len(x), pairs)
    return float(np.linalg.norm(x[first].astype(np.float64) - x[(first + step) % len(x)], axis=1).mean())


def attribute_ratios(attributes: dict, numbers: np.ndarray, seed: int) -> dict:
    """{attribute: mean difference of image i and the images numbers[i] ([N, k]), over that of random pairs}."""
    other = np.random.default_rng([seed, 7]).permutation(len(numbers))

    def differ(values, partners):
        return np.linalg.norm(values - values[partners], axis=1).mean(dtype=np.float64)

    return {
        name: float(np.mean([differ(values, column) for column in numbers.T]) / differ(values, other))
        for name, values in attributes.items()
    }


def choose_queries(labels: np.ndarray, classes: tuple, per_class: int, seed: int) -> np.ndarray:
    """Numbers [classes * per_class] of random images, class by class; UserError for a class with too few images."""
    chosen = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            raise UserError(f"per_class is {per_class}, but class {name} has {len(members)} images: lower it.")
        chosen.append(np.random.default_rng([seed, label]).choice(members, per_class, replace=False))
    return np.concatenate(chosen)


q7 = Question("Q7", "Retrieval", "Section 3.2, Question 7")


@q7.result
def retrieve(cfg: Config, images: Images) -> dict:
    """What each of the `COMPARED` methods finds for every training image, and the yardsticks that go with it."""
    queries = choose_queries(images.train_labels, images.classes, cfg.per_class, cfg.seed)
    attributes, methods = image_attributes(images.train_images), {}
    for name in COMPARED:
        x = features(cfg, images, name).train
        found = search(cfg, x)
        methods[name] = found._asdict() | {
            "typical": typical_distance(x, cfg.seed),
            "hits": same_class(found.near.numbers, images.train_labels),
            "attributes": [attribute_ratios(attributes, side.numbers, cfg.seed) for side in found],
        }
    return {"images": images, "queries": queries, "methods": methods}


def _pictures(result, side, heading):
    images, kinds = result["images"], np.array(result["images"].classes)[result["images"].train_labels]
    found = [result["methods"][name][side].numbers for name in ASKED]
    rows = [[query] + [place for numbers in found for place in (None, *numbers[query])] for query in result["queries"]]
    shown = [[None if number is None else images.train_images[number] for number in row] for row in rows]
    captions = [["" if number is None else kinds[number] for number in row] for row in rows]
    frames = [[None] + [RIGHT if caption == line[0] else WRONG for caption in line[1:]] for line in captions]
    drawing = image_grid(shown, captions, frames)
    k = found[0].shape[1]
    for place, name in enumerate(ASKED):  # above the middle image of each method
        ax = drawing.picture.axes[2 + place * (1 + k) + k // 2]
        ax.set_title(f"{METHODS[name].title}: {heading}", fontsize=8.5, color=METHODS[name].colour)
    return drawing


@q7.figure(
    "A query of each class and the nearest training images by both methods. Green: of the query's class, red: not."
)
def q7_nearest(result):
    return _pictures(result, "near", "the nearest")


@q7.figure("The same queries and the most distant training images: look down the columns for images that come again.")
def q7_farthest(result):
    return _pictures(result, "far", "the most distant")


def _by_class(values, labels):
    return np.bincount(labels, values) / np.bincount(labels)


@q7.figure("Share of the nearest images that are of the query's class, for every training image as a query.")
def q7_precision(result):
    labels, classes, methods = result["images"].train_labels, result["images"].classes, result["methods"]
    series = {METHODS[name].title: 100 * _by_class(found["hits"], labels) for name, found in methods.items()}
    colours = colours_by_title(COMPARED)
    return dots({"": series}, classes, "same class / %", colours, chance=100 / len(classes), xlim=(0, None))


def hubness(numbers: np.ndarray, top: int = 10) -> dict:
    """How unequally the images `numbers` [Q, k] share the queries: `distinct` images occur; the share of the queries
    with the most frequent one is `largest`, with one of the `top` most frequent (`hubs`, with `counts`) `covered`."""
    counts = np.bincount(numbers.ravel())
    distinct = np.count_nonzero(counts)
    hubs = np.argsort(-counts, kind="stable")[: min(top, distinct)]
    covered, largest = np.isin(numbers, hubs).any(axis=1).mean(), counts.max() / len(numbers)
    return {"covered": covered, "largest": largest, "distinct": distinct, "hubs": hubs, "counts": counts[hubs]}


@q7.figure("The images most often among the most distant, and the share of all queries for which they are.")
def q7_hubs(result):
    images, kinds = result["images"], np.array(result["images"].classes)[result["images"].train_labels]
    hubs = [hubness(result["methods"][name]["far"].numbers) for name in ASKED]
    shares = [each["counts"] / len(kinds) for each in hubs]
    captions = [
        [f"{kind}\n{share:.0%}" for kind, share in zip(kinds[each["hubs"]], part)] for each, part in zip(hubs, shares)
    ]
    shown = [list(images.train_images[each["hubs"]]) for each in hubs]
    return image_grid(shown, captions, titles=[METHODS[name].title for name in ASKED])


def _interval_over_found(numbers, labels):
    """Half the 95 % interval of the share of `numbers` [N, k] that have the query's label, the images as the sample."""
    same, found = (labels[numbers] == labels[:, None]).ravel(), numbers.ravel()
    excess = np.bincount(found, same) - same.mean() * np.bincount(found)
    return 1.96 * np.sqrt((excess**2).sum()) / len(found)


@q7.figure(
    "In what the nearest images are alike (left) and the most distant ones differ (right); random pairs are at 100 %."
)
def q7_attributes(result):
    methods = result["methods"].items()
    titles = ("nearest images", "most distant images")
    panels = {
        title: {
            METHODS[name].title: 100 * np.array(list(found["attributes"][side].values())) for name, found in methods
        }
        for side, title in enumerate(titles)
    }
    label = "difference / % of that of random pairs"
    return dots(panels, list(ATTRIBUTES), label, colours_by_title(COMPARED), chance=100, height=2.5)


def _measured(found, labels, classes):
    near, far, typical = found["near"], found["far"], found["typical"] or 1  # 0 where all representations are one
    hits, hubs = found["hits"], [hubness(side.numbers) for side in (near, far)]
    near_hubs, far_hubs = ({name: each[name] for name in ("covered", "largest", "distinct")} for each in hubs)
    return {
        "precision": hits.mean(), "precision_interval": half_interval(hits),
        "precision_by_class": dict(zip(classes, _by_class(hits, labels), strict=True)),
        "far_same_class": _by_class(same_class(far.numbers, labels), labels).mean(),
        "far_same_class_interval": _interval_over_found(far.numbers, labels),
        "near_distance": near.distances.mean() / typical, "far_distance": far.distances.mean() / typical,
        "near_hubs": near_hubs, "far_hubs": far_hubs,
        "near_attributes": found["attributes"][0], "far_attributes": found["attributes"][1],
    }  # fmt: skip


@q7.summary
def _numbers(result):
    images, labels = result["images"], result["images"].train_labels
    methods = {name: _measured(found, labels, images.classes) for name, found in result["methods"].items()}
    hits, (one, two) = [result["methods"][name]["hits"] for name in ASKED], (methods[name] for name in ASKED)
    ahead = hits[0] - hits[1]
    farther = np.hypot(one["far_same_class_interval"], two["far_same_class_interval"])
    return {
        "k": result["methods"]["vicreg"]["near"].numbers.shape[1], "images": len(labels), "methods": methods,
        "chance": (np.bincount(labels) / len(labels)).max(), "queries": len(result["queries"]),
        "ahead": {"points": 100 * ahead.mean(), "interval": 196 * ahead.std() / np.sqrt(len(ahead)),
                  "classes": (_by_class(ahead, labels) > 0).sum(), "all_classes": len(images.classes)},
        "farther": {"points": 100 * (two["far_same_class"] - one["far_same_class"]), "interval": 100 * farther},
        "green": {name: each[result["queries"]].mean() for name, each in zip(ASKED, hits, strict=True)},
    }  # fmt: skip


@q7.table
def _table(n):
    shown = {
        "same class among the nearest": "{precision:.1%} ± {precision_interval:.1%}",
        "same class among the most distant": "{far_same_class:.1%} ± {far_same_class_interval:.1%}",
        "distance of the nearest / of random pairs": "{near_distance:.2f}",
        "distance of the most distant / of random pairs": "{far_distance:.2f}",
        "queries served by ten most distant images": "{far_hubs[covered]:.1%}",
        "images that are ever most distant": "{far_hubs[distinct]:,}",
    }
    rows = [[what, *(form.format(**method) for method in n.methods.values())] for what, form in shown.items()]
    caption = f"The {n.k} nearest and the {n.k} most distant images, over all {n.images:,} training images."
    return {"caption": caption, "header": ["", *(METHODS[name].title for name in n.methods)], "rows": rows}


q7.says(
    """**VICReg is better at keeping close images together: {methods.vicreg.precision:.1%} of the {k} nearest images are
    of the query's class, with neighbour pairs {methods.neighbours.precision:.1%}**, a difference of {ahead.points:.1f}
    ± {ahead.interval:.1f} points (95 %, over {images:,} queries; chance is {chance:.0%}). VICReg is ahead in
    {ahead.classes} of {ahead.all_classes} classes. In the pictures, with {queries} of these queries,
    {green.vicreg:.0%} of the frames are green with VICReg, and {green.neighbours:.0%} with neighbour pairs.""",
    when=lambda n: n.ahead.points > n.ahead.interval,
)
q7.says(
    """**VICReg is not measurably better at keeping close images together: {methods.vicreg.precision:.1%} of the {k}
    nearest images are of the query's class, with neighbour pairs {methods.neighbours.precision:.1%}** (the difference
    is known to ± {ahead.interval:.1f} points, 95 %; chance is {chance:.0%}).""",
    when=lambda n: n.ahead.points <= n.ahead.interval,
)


q7.says(
    """Both attend most to colours: VICReg's nearest images differ in colour by
    {methods.vicreg.near_attributes[colour]:.0%} of what random pairs do, but in layout by
    {methods.vicreg.near_attributes[layout]:.0%}; with neighbour pairs {methods.neighbours.near_attributes[colour]:.0%}
    and {methods.neighbours.near_attributes[layout]:.0%}. They differ in brightness,
    {methods.vicreg.near_attributes[brightness]:.0%} against {methods.neighbours.near_attributes[brightness]:.0%}:
    VICReg's views are made lighter and darker at random, neighbour pairs are not.""",
    when=lambda n: (
        all(n.methods[name]["near_attributes"]["colour"] < 0.5 for name in ASKED)
        and n.methods.vicreg.near_attributes["brightness"] > 1.1 * n.methods.neighbours.near_attributes["brightness"]
    ),
)


q7.says(
    """What they hold to be distant differs more. VICReg's most distant images differ from the query in brightness
    {methods.vicreg.far_attributes[brightness]:.1f} times as much as random pairs and in colour
    {methods.vicreg.far_attributes[colour]:.1f} times; those of neighbour pairs in brightness
    {methods.neighbours.far_attributes[brightness]:.1f} times and in colour
    {methods.neighbours.far_attributes[colour]:.1f} times, as those of the encoder without a variance term do
    ({methods.no_variance.far_attributes[colour]:.1f} times). That fits the trainings: VICReg's views change hue and
    saturation, and some lose all colour, so that colour alone must not set two images apart; the colours of neighbour
    pairs are not changed. Yet VICReg is not blind to colour, as its nearest images show.""",
    when=lambda n: (
        n.methods.neighbours.far_attributes["colour"] > 2 * n.methods.vicreg.far_attributes["colour"]
        and n.methods.vicreg.far_attributes["brightness"] > 1.5 * n.methods.neighbours.far_attributes["brightness"]
    ),
)


q7.says(
    """**Which is better at keeping distant images far apart cannot be told.** Of the most distant images
    {methods.vicreg.far_same_class:.1%} are of the query's own class with VICReg, with neighbour pairs
    {methods.neighbours.far_same_class:.1%} (chance is {chance:.0%}): a difference of {farther.points:.1f} ±
    {farther.interval:.1f} points (95 %, over the images found).""",
    when=lambda n: abs(n.farther.points) <= n.farther.interval,
)
q7.says(
    """**VICReg is better at keeping distant images far apart**: of its most distant images
    {methods.vicreg.far_same_class:.1%} are of the query's own class, with neighbour pairs
    {methods.neighbours.far_same_class:.1%}, {farther.points:.1f} ± {farther.interval:.1f} points more (95 %, over the
    images found).""",
    when=lambda n: n.farther.points > n.farther.interval,
)
q7.says(
    """All that is said of the most distant images rests on few: {methods.vicreg.far_hubs.distinct:,} and
    {methods.neighbours.far_hubs.distinct:,} of {images:,} ever are among them, and ten serve
    {methods.vicreg.far_hubs.covered:.0%} and {methods.neighbours.far_hubs.covered:.0%} of all queries. They are
    outliers, {methods.vicreg.far_distance:.1f} and {methods.neighbours.far_distance:.1f} times as far away as random
    pairs are apart, and tell more about themselves than about the query.""",
    when=lambda n: min(n.methods[name]["far_hubs"]["covered"] for name in ASKED) > 0.5,
)
