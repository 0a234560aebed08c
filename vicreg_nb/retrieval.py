# Generated from nbs/05_retrieval.py by `make export`. Do not edit: edit the notebook.
# cells nbs/05_retrieval.py 5c4f8762924abb94
# text 9d76e2cba919ab37

"""5 · Retrieval (Q7)."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from torchvision.transforms import functional as TF
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import ATTRIBUTES, Images, image_attributes
from vicreg_nb.identity import cached
from vicreg_nb.methods import (
    ASKED, COMPARED, LONGER, METHODS, UNMEASURED, UNTRAINED, beyond_half, colours_by_title, encoded, features,
    says_length,
)  # fmt: skip
from vicreg_nb.neighbours import Neighbours, farthest, nearest, same_class, same_class_parts
from vicreg_nb.plots import RIGHT, WRONG, dots, image_grid, images_over_dots
from vicreg_nb.representations import half_interval
from vicreg_nb.store import UserError
from vicreg_nb.views import JITTER, SIGMA


class Retrieved(NamedTuple):
    """For every training image its nearest and its most distant others, and the most distant ones by direction."""

    near: Neighbours
    far: Neighbours
    opposite: Neighbours


def directions(x: np.ndarray) -> np.ndarray:
    """The rows of x [N, d] as seen from their mean, at length one (a row at the mean itself stays there)."""
    away = x - x.mean(axis=0, dtype=np.float64)
    return away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-12)


def search(cfg: Config, x: np.ndarray) -> Retrieved:
    """The `neighbours_shown` images of each kind for every row of x [N, d]; computed once."""
    k, device = cfg.neighbours_shown, choose_device(cfg)

    def compute():
        searches = (nearest, x), (farthest, x), (farthest, directions(x))
        found = [look(points, k, device=device) for look, points in searches]
        return {name: np.stack(part) for name, part in zip(("distances", "numbers"), zip(*found), strict=True)}

    found = cached(cfg.cache, "retrieval", [x, k, device.type], compute)
    return Retrieved(*map(Neighbours, found["distances"], found["numbers"]))


def choose_queries(labels: np.ndarray, classes: tuple, per_class: int, seed: int) -> np.ndarray:
    """Numbers [classes * per_class] of random images, class by class; UserError for a class with too few images."""
    chosen = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            raise UserError(f"per_class is {per_class}, but class {name} has {len(members)} images: lower it.")
        chosen.append(np.random.default_rng([seed, label]).choice(members, per_class, replace=False))
    return np.concatenate(chosen)


def drawn_means(found: list, values: list, draws: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Means of each `values` [N, k, ...] over the pairs of its `found` [N, k]: [M, ...], and [draws, M, ...] where the
    images are drawn anew."""
    random, count = np.random.default_rng(17), len(found[0])

    def means(times):
        weights = [times[:, None] * times[numbers] for numbers in found]
        pairs = zip(weights, values, strict=True)
        return np.array([np.tensordot(weight, one, axes=2) / max(weight.sum(), 1) for weight, one in pairs])

    drawn = [np.bincount(random.integers(count, size=count), minlength=count).astype(float) for _ in range(draws)]
    return means(np.ones(count)), np.array([means(times) for times in drawn])


def own_class(labels: np.ndarray, *found: np.ndarray, draws: int = 100) -> tuple[np.ndarray, np.ndarray, float]:
    """(Share of each `found` [N, k] that is of the query's class [M]; half its 95 % interval [M]; half that of the
    first less the last)."""
    usual, drawn = drawn_means(found, [(labels[numbers] == labels[:, None]).astype(float) for numbers in found], draws)
    return usual, 1.96 * drawn.std(axis=0), 1.96 * float((drawn[:, 0] - drawn[:, -1]).std())


def typical_distance(x: np.ndarray, seed: int, pairs: int = 100_000) -> float:
    """Mean l2 distance of random pairs of different rows of x [N, d]; 1 where all rows are equal."""
    random = np.random.default_rng([seed, 11])
    first, step = random.integers(0, len(x), pairs), random.integers(1, len(x), pairs)
    return float(np.linalg.norm(x[first].astype(np.float64) - x[(first + step) % len(x)], axis=1).mean()) or 1.0


def differences(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """How much the attribute `values` [N, m] of image i and the images numbers[i] differ: [N, k]."""
    return np.stack([np.linalg.norm(values - values[column], axis=1) for column in numbers.T], axis=1)


def attribute_ratios(attributes: dict, numbers: np.ndarray, seed: int, labels: np.ndarray = None) -> dict:
    """{attribute: mean difference of image i and the images numbers[i] ([N, k]), over that of random pairs}.

    labels: [N], if only pairs of two classes count; 1 where there are none.
    """

    def mean(values, numbers):
        counted = np.full(numbers.shape, True) if labels is None else labels[numbers] != labels[:, None]
        return differences(values, numbers)[counted].mean(dtype=np.float64) if counted.any() else np.nan

    other = np.random.default_rng([seed, 7]).permutation(len(numbers))[:, None]
    ratios = {name: mean(values, numbers) / mean(values, other) for name, values in attributes.items()}
    return {name: 1.0 if labels is not None and np.isnan(ratio) else float(ratio) for name, ratio in ratios.items()}


def ratio_gaps(attributes: dict, one: np.ndarray, other: np.ndarray, seed: int) -> dict:
    """{attribute: its ratio for the numbers `one` [N, k] less that for `other`, and half the 95 % interval}."""
    values = [np.stack([differences(each, found) for each in attributes.values()], axis=2) for found in (one, other)]
    usual, drawn = drawn_means([one, other], values)
    strangers = np.random.default_rng([seed, 7]).permutation(len(one))[:, None]
    units = [differences(each, strangers).mean(dtype=np.float64) for each in attributes.values()]
    more, halves = (usual[0] - usual[1]) / units, 1.96 * (drawn[:, 0] - drawn[:, 1]).std(axis=0) / units
    return {name: {"more": more[k], "interval": halves[k]} for k, name in enumerate(attributes)}


CENTRE = torch.nn.functional.pad(torch.ones(22, 22, dtype=torch.bool), (5, 5, 5, 5))
IN_VIEWS = {
    "mirrored": TF.hflip,
    "cropped": lambda x: TF.resized_crop(x, 6, 6, 20, 20, [32, 32]),
    "darker": lambda x: TF.adjust_brightness(x, JITTER["brightness"][0]),
    "less contrast": lambda x: TF.adjust_contrast(x, JITTER["contrast"][0]),
    "hue turned": lambda x: TF.adjust_hue(x, JITTER["hue"][1]),
    "grey": lambda x: TF.rgb_to_grayscale(x, 3),
    "blurred": lambda x: TF.gaussian_blur(x, 3, SIGMA[1]),
}
CHANGES = IN_VIEWS | {
    "opposite hue": lambda x: TF.adjust_hue(x, 0.5),
    "upside down": TF.vflip,
    "other border": lambda x: torch.where(CENTRE, x, x.roll(1, 0)),
    "other centre": lambda x: torch.where(CENTRE, x.roll(1, 0), x),
}


def changed(pictures: np.ndarray) -> dict:
    """{change: images} of images uint8 [N, 32, 32, 3]; where something is exchanged, it is the image's before it."""
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    return {name: change(x).permute(0, 2, 3, 1).contiguous().numpy() for name, change in CHANGES.items()}


def moves(cfg: Config, images: Images, name: str, numbers: np.ndarray) -> np.ndarray:
    """How far each change moves each of the training images `numbers` [n]: [changes, n], random pairs are at 1."""
    x, chosen = features(cfg, images, name).train, images.train_images[numbers]
    y = encoded(cfg, images, name, np.concatenate(list(changed(chosen).values())))
    far = np.linalg.norm(y.reshape(-1, *x[numbers].shape).astype(np.float64) - x[numbers], axis=2)
    return far / typical_distance(x, cfg.seed)


def _alike_in(cfg, images, attributes, methods):
    """Of the nearest images: the background of those of another class, and in what the two asked methods' differ."""
    near, ground = {name: methods[name]["near"].numbers for name in ASKED}, {"background": attributes["background"]}
    others = {
        name: attribute_ratios(ground, numbers, cfg.seed, images.train_labels)["background"]
        for name, numbers in near.items()
    }
    gaps = ratio_gaps(attributes, near["vicreg"], near["neighbours"], cfg.seed)
    return {"ground": attributes["background"].mean(axis=1), "ground_of_others": others, "alike": gaps}


q7 = Question("Q7", "Retrieval", "Section 3.2, Question 7", required=True)
MOVED = {name: METHODS[name] for name in ASKED} | {"longer": LONGER, "untrained": UNTRAINED}


@q7.result
def retrieve(cfg: Config, images: Images) -> dict:
    """What the `COMPARED` methods find for every training image, with yardsticks, and what changes do to a thousand."""
    queries = choose_queries(images.train_labels, images.classes, cfg.per_class, cfg.seed)
    attributes, methods = image_attributes(images.train_images), {}
    some = np.random.default_rng([cfg.seed, 13]).permutation(len(images.train_labels))[:1_000]
    for name in COMPARED:
        x = features(cfg, images, name).train
        found = search(cfg, x)
        alike = {side: attribute_ratios(attributes, each.numbers, cfg.seed) for side, each in found._asdict().items()}
        units = [typical_distance(points, cfg.seed) for points in (x, x, directions(x))]
        methods[name] = found._asdict() | {"typical": dict(zip(alike, units, strict=True)), "attributes": alike}
    longer = cfg.neighbours_as_long and search(cfg, features(cfg, images, "longer").train)._asdict()
    if longer:
        longer["attributes"] = attribute_ratios(attributes, longer["near"].numbers, cfg.seed)
    moved = {name: moves(cfg, images, name, some) for name in MOVED if longer or name != "longer"}
    found = {"methods": methods, "longer": longer, "moves": moved, **_alike_in(cfg, images, attributes, methods)}
    return found | {"images": images, "queries": queries, "epochs": [cfg.epochs, cfg.neighbour_epochs]}


def _pictures(result, side, heading, which=0):
    images, kinds = result["images"], np.array(result["images"].classes)[result["images"].train_labels]
    found = [result["methods"][name][side].numbers for name in ASKED]
    queries = result["queries"][which :: len(result["queries"]) // len(images.classes)]
    rows = [[query] + [place for numbers in found for place in (None, *numbers[query])] for query in queries]
    shown = [[None if number is None else images.train_images[number] for number in row] for row in rows]
    captions = [["" if number is None else kinds[number] for number in row] for row in rows]
    words = [["auto" if caption == "automobile" else caption for caption in row] for row in captions]  # it is too long
    frames = [[None] + [RIGHT if caption == line[0] else WRONG for caption in line[1:]] for line in captions]
    drawing = image_grid(shown, words, frames, width=5.7)
    k = found[0].shape[1]
    for place, name in enumerate(ASKED):  # after the query each method has a blank and k images; above the middle one
        ax = drawing.picture.axes[2 + place * (1 + k) + k // 2]
        ax.set_title(f"{METHODS[name].title}: {heading}", fontsize=8.5, color=METHODS[name].colour)
    return drawing


@q7.figure(
    "The nearest images (green: of the query's class; red: of another), by l2 distance, of ten "
    "random training images, one of each class."
)
def q7_nearest(result):
    return _pictures(result, "near", "the nearest")


@q7.figure(
    "The same queries and their most distant images, by l2 distance (frames as before): some recur in many rows."
)
def q7_farthest(result):
    return _pictures(result, "far", "the most distant")


def hubness(numbers: np.ndarray, top: int = 10) -> dict:
    """How unequally the images `numbers` [Q, k] share the queries: `distinct` images occur; the share of the queries
    with one of the `top` most frequent (`hubs`, with `counts`) is `covered`."""
    counts = np.bincount(numbers.ravel())
    distinct = np.count_nonzero(counts)
    hubs = np.argsort(-counts, kind="stable")[: min(top, distinct)]
    return {"covered": np.isin(numbers, hubs).any(axis=1).mean(), "distinct": distinct, "hubs": hubs,
            "counts": counts[hubs]}  # fmt: skip


@q7.figure(
    "What each method holds to be extreme: the images most often among the most distant, and for how many queries.",
    aside=True,
)
def q7_hubs(result):
    images, kinds = result["images"], np.array(result["images"].classes)[result["images"].train_labels]
    hubs = [hubness(result["methods"][name]["far"].numbers) for name in ASKED]
    captions = [
        [f"{kinds[hub]}\n{count / len(kinds):.0%}" for hub, count in zip(each["hubs"], each["counts"], strict=True)]
        for each in hubs
    ]
    shown = [list(images.train_images[each["hubs"]]) for each in hubs]
    return image_grid(shown, captions, labels=[METHODS[name].title.replace(" ", "\n") for name in ASKED])


@q7.figure(
    "How far the nearest and the most distant images differ from the query in properties of the pixels. Random pairs "
    "are at 100 %. Right: the most distant ones by direction, without hubs.",
    aside=True,
)
def q7_attributes(result):
    titles = {"near": "nearest", "far": "most distant", "opposite": "most distant, by direction"}
    panels = {
        title: {METHODS[name].title: 100 * np.array(list(result["methods"][name]["attributes"][side].values()))
                for name in ASKED}
        for side, title in titles.items()
    }  # fmt: skip
    return dots(panels, list(ATTRIBUTES), "% of random pairs", colours_by_title(ASKED), chance=100, height=2.4)


@q7.figure(
    "Two images with one thing changed, and how far such a change moves an image "
    "(mean of 1,000; 100 % is the distance of random pairs). Left of the line: what VICReg's training changes."
)
def q7_changes(result):
    shown = result["images"].train_images[result["queries"][[-1, len(result["queries"]) // 10]]]
    shown_as = {name: one for name, one in MOVED.items() if name != "longer"}
    moved = {one.title: np.r_[0, 100 * result["moves"][name].mean(axis=1)] for name, one in shown_as.items()}
    colours = {one.title: one.colour for one in shown_as.values()}
    pictures = {"original": shown} | changed(shown)
    return images_over_dots(
        pictures, moved, "distance moved / %", colours, line=1 + len(IN_VIEWS), height=2.9, ylim=(-4, 100)
    )


def _found(one, side, images):
    numbers, labels = one[side].numbers, images.train_labels
    hubs = hubness(numbers)
    share = np.bincount(labels[numbers].ravel(), minlength=len(images.classes)) / numbers.size
    return {
        "same_class": same_class(numbers, labels).mean(), "attributes": one["attributes"][side],
        "covered": hubs["covered"], "distinct": hubs["distinct"],
        "distance": one[side].distances.mean() / one["typical"][side],
        "classes": dict(zip(images.classes, share, strict=True)),
    }  # fmt: skip


def _first_far(first, second):
    """The class that is most often among the most distant images of a method, and its share of another method's."""
    shares, others = (one["far"]["classes"] for one in (first, second))
    name = max(shares, key=shares.get)
    return {"name": name, "share": shares[name], "other": others[name]}


def _moved(moves):
    """Mean moves by method and change, and how much farther those of neighbour pairs are than VICReg's."""
    gaps = dict(zip(CHANGES, moves["neighbours"] - moves["vicreg"], strict=True))
    means = {name: dict(zip(CHANGES, moved.mean(axis=1), strict=True)) for name, moved in moves.items()}
    gaps = {name: {"more": gap.mean(), "interval": half_interval(gap)} for name, gap in gaps.items()}
    return {"moves": means, "move_gaps": gaps}


def _counted(kinds, classes):
    """How many images there are of each of the three most frequent classes, and of all others."""
    counts = Counter(np.ravel(kinds).tolist()).most_common()
    named = [(classes[kind], count) for kind, count in counts[:3]] + [("others", sum(c for _, c in counts[3:]))]
    return ", ".join(f"{name} ({count})" for name, count in named if count)


def _in_words(rows):
    """Rows (class, VICReg's count, neighbour pairs' count) as words."""
    return ", ".join(f"{kind} ({first} and {second})" for kind, first, second in rows)


def _on_ground(brightness, queries, found):
    """Of the queries with the darkest and the lightest background: their brightness, and that of their answers."""
    told = {}
    for name, place in (("dark", brightness[queries].argmin()), ("light", brightness[queries].argmax())):
        means = {method: brightness[numbers[queries[place]]].mean() for method, numbers in found.items()}
        told[name] = {"row": place, "query": brightness[queries[place]], "all": brightness.mean()} | means
    return told


def _far_away(images, numbers):
    """Of the images most distant from the queries, {method: numbers}: the one that comes most often."""
    again = Counter(np.ravel(list(numbers.values())).tolist()).most_common(1)[0][0]
    rows = {name: (one == again).any(axis=1).sum() for name, one in numbers.items()}
    return rows | {"kind": images.classes[images.train_labels[again]]}


_CHANGED = {"light": ("darker", "less contrast"), "centre": ("other centre",)}  # what the answer asks of a longer one


def _as_long(result):
    """How neighbour pairs do that were trained for as long as VICReg; of None where none were."""
    longer, labels = result["longer"], result["images"].train_labels
    if not longer:
        nothing = {"share": None, "gap": {"points": None, "interval": None}}
        found = {"near": nothing, "opposite": nothing, "moves": dict.fromkeys(CHANGES)}
        return found | {"attributes": dict.fromkeys(ATTRIBUTES)} | dict.fromkeys(("classes", *_CHANGED), UNMEASURED)
    found = {"attributes": longer["attributes"]}
    for side in ("near", "opposite"):
        (first, share), _, half = own_class(labels, result["methods"]["vicreg"][side].numbers, longer[side].numbers)
        found[side] = {"share": share, "gap": {"points": 100 * (first - share), "interval": 100 * half}}
    near = [result["methods"][name]["near"].numbers for name in ("neighbours", "vicreg")] + [longer["near"].numbers]
    found["classes"] = beyond_half(*(same_class_parts(one, labels) for one in near))
    moves = [dict(zip(CHANGES, result["moves"][name], strict=True)) for name in ("neighbours", "vicreg", "longer")]
    for name, changes in _CHANGED.items():
        found[name] = beyond_half(*(np.mean([one[change] for change in changes], axis=0) for one in moves))
    return found | {"moves": {name: far.mean() for name, far in moves[2].items()}}


def _in_figures(result):
    """What the two figures of ten queries show, counted: numbers of these figures, and never means."""
    images, queries, labels = result["images"], result["queries"], result["images"].train_labels
    shown = queries[:: len(queries) // len(images.classes)]
    sides = {name: [result["methods"][name][side] for side in ("near", "far")] for name in ASKED}
    found = {name: [labels[one.numbers[shown]] for one in both] for name, both in sides.items()}
    right = {name: (near == labels[shown][:, None]).sum(axis=1) for name, (near, _) in found.items()}
    row = np.abs(np.subtract(*right.values())).argmax()  # where the two differ most
    kinds = [images.classes[label] for label in labels[shown]]
    told = {"of_figure": True, "of": found["vicreg"][0].size, "row": kinds[row], "rows": len(kinds)}
    for name, ahead in (("more", 1), ("fewer", -1)):  # than neighbour pairs
        rows = [one for one in zip(kinds, *right.values(), strict=True) if ahead * (one[1] - one[2]) > 0]
        told |= {name: _in_words(rows), f"count_{name}": len(rows)}
    on_ground = _on_ground(result["ground"], shown, {name: both[0].numbers for name, both in sides.items()})
    for name, one in on_ground.items():
        brought = {method: _counted(found[method][0][one["row"]], images.classes) for method in ASKED}
        told[name] = one | {"kind": kinds[one["row"]], "brought": brought}
    told["again"] = _far_away(images, {name: both[1].numbers[shown] for name, both in sides.items()})
    for name, (near, far) in found.items():
        told[name] = {"green": right[name].sum(), "near": _counted(near[row], images.classes)}
        told[name]["far"] = _counted(far, images.classes)
    return told


@q7.summary
def _numbers(result):
    images, labels = result["images"], result["images"].train_labels
    methods = {name: {side: _found(one, side, images) for side in Retrieved._fields}
               for name, one in result["methods"].items()}  # fmt: skip
    gaps = {}
    for side in Retrieved._fields:
        numbers = [result["methods"][name][side].numbers for name in ASKED]
        (first, second), halves, half = own_class(labels, *numbers)
        gaps[side] = {"points": 100 * (first - second), "interval": 100 * half, "by_images": 100 * half}
        for name, each in zip(ASKED, halves, strict=True):
            methods[name][side]["interval"] = each
    for one in methods.values():
        one["precision"] = one["near"]["same_class"]
    closer = sum(bool(gap["more"] > gap["interval"]) for gap in result["alike"].values())
    moved, over = _moved(result["moves"]), f"95 %, bootstrap over the {len(labels):,} images"
    return {
        "over": over, "figures": _in_figures(result),
        "far_first": {one: _first_far(methods[one], methods[two]) for one, two in (ASKED, ASKED[::-1])},
        "k": numbers[0].shape[1], "images": len(labels), "chance": (np.bincount(labels) / len(labels)).max(),
        "methods": methods, "gaps": gaps,
        "alike": {"of": len(ATTRIBUTES), "closer": closer, "gaps": result["alike"]},
        "ground_of_others": result["ground_of_others"],
        "epochs": result["epochs"], "longer": _as_long(result),
    } | moved  # fmt: skip


@q7.table
def _table(n):
    shown = {
        "same class among the nearest": "{near.same_class:.1%}",
        "same class among the most distant": "{far.same_class:.1%}",
        "same class among the most distant, by direction": "{opposite.same_class:.1%}",
        "images that are ever most distant": "{far.distinct:,}",
        "images that are ever most distant, by direction": "{opposite.distinct:,}",
        "queries with one of the commonest ten among them": "{far.covered:.1%}",
        "distance of the nearest / of random pairs": "{near.distance:.3f}",
        "distance of the most distant / of random pairs": "{far.distance:.3f}",
    }
    rows = [[what, *(form.format(**method) for method in n.methods.values())] for what, form in shown.items()]
    caption = f"The {n.k} nearest and the {n.k} most distant images, over all {n.images:,} training images."
    return {"caption": caption, "header": ["", *(METHODS[name].title for name in n.methods)], "rows": rows}


_CLOSE = """Of the {k} nearest images {methods.vicreg.precision:.1%} are of the query's class with VICReg and
    {methods.neighbours.precision:.1%} with neighbour pairs, a difference of {gaps.near.points:.1f} ±
    {gaps.near.interval:.1f} points ({over}; chance is {chance:.0%}). In the ten rows of the nearest images
    {figures.vicreg.green} and {figures.neighbours.green} of {figures.of} frames are green; ten are few, and the verdict
    rests on all {images:,} queries."""


def _closer(n):
    """1 where VICReg brings measurably more images of one class together, -1 where neighbour pairs do, else 0."""
    return int(np.sign(n.gaps.near.points)) if abs(n.gaps.near.points) > n.gaps.near.interval else 0


q7.says("**VICReg is better at keeping close images together.** " + _CLOSE, when=lambda n: _closer(n) == 1)
q7.says("**Neighbour pairs are better at keeping close images together.** " + _CLOSE, when=lambda n: _closer(n) == -1)
q7.says("**Neither is measurably better at keeping close images together.** " + _CLOSE, when=lambda n: not _closer(n))


q7.says(
    """Row by row, VICReg has more green frames than neighbour pairs for {figures.count_more} of the queries,
    {figures.more}, and fewer for {figures.count_fewer}: {figures.fewer}. They differ most for the {figures.row}: VICReg
    brings {figures.vicreg.near}, neighbour pairs {figures.neighbours.near}.""",
    when=lambda n: n.figures.count_more and n.figures.count_fewer,
)


def _kept_background(n):
    """Whether both bring images with a background like the query's: for the darkest, the lightest, and over all."""
    rows = [n.figures[name] for name in ("dark", "light")]
    kept = all(abs(row[method] - row.query) < 0.5 * abs(row.all - row.query) for row in rows for method in ASKED)
    return kept and max(n.ground_of_others[name] for name in ASKED) < 0.8


_ROW = """of class {{figures.{0}.kind}} (brightness {{figures.{0}.query:.0%}}), gets {{figures.{0}.brought.vicreg}} from
    VICReg, whose backgrounds average {{figures.{0}.vicreg:.0%}}, and {{figures.{0}.brought.neighbours}} from neighbour
    pairs ({{figures.{0}.neighbours:.0%}})"""
q7.says(
    f"""Nearest images are more alike in the background, the upper and lower edge, than random ones are, even where they
    are of two classes. The query with the darkest one, {_ROW.format("dark")}; the one with the lightest,
    {_ROW.format("light")}. (All images: {{figures.dark.all:.0%}}; 0 % is black.) Over all queries, where
    a nearest image is of another class the two backgrounds differ by {{ground_of_others.vicreg:.0%}} of what those of
    random pairs of two classes do with VICReg, and by {{ground_of_others.neighbours:.0%}} with neighbour pairs.""",
    when=_kept_background,
)


says_length(
    q7, "the difference in close images", lambda n: n.longer.classes,
    """after {epochs[0]} epochs instead of {epochs[1]}, {longer.near.share:.1%} of their nearest images are of the
    query's class (VICReg minus that: {longer.near.gap.points:+.1f} ± {longer.near.gap.interval:.1f} points).""",
    when=_closer,
)  # fmt: skip
q7.says(
    """Neighbour pairs had {epochs[1]} of VICReg's {epochs[0]} epochs (Q5). How much of all that follows is the length
    was not measured in this run (`neighbours_as_long`).""",
    when=lambda n: n.longer.near.share is None and n.epochs[1] < n.epochs[0],
)


def _alike(n):
    """Whether neighbour pairs bring images together that look measurably more alike, though fewer are of one class."""
    closer = sum(gap["more"] > gap["interval"] for gap in n.alike.gaps.values())
    return closer >= n.alike.closer > n.alike.of / 2 and _closer(n) == 1


q7.says(
    """**Neighbour pairs, as Q5 trains them, attend more to how an image looks.** Their nearest images are measurably
    more alike than VICReg's in {alike.closer} of {alike.of} properties of the pixels (colour without brightness;
    background: the upper and lower edge; brightness; contrast: its spread; fine texture: its steps from pixel to pixel;
    layout: where it is light), though fewer are of one class: they differ in contrast by
    {methods.neighbours.near.attributes.contrast:.0%} of what random pairs do, in brightness by
    {methods.neighbours.near.attributes.brightness:.0%}; VICReg's by {methods.vicreg.near.attributes.contrast:.0%} and
    {methods.vicreg.near.attributes.brightness:.0%}.""",
    when=_alike,
)
q7.says(
    """(Trained for as long as VICReg, theirs differ in contrast by {longer.attributes.contrast:.0%} and in brightness
    by {longer.attributes.brightness:.0%}.)""",
    when=lambda n: _alike(n) and n.longer.attributes.contrast is not None,
)


def _reacts(n):
    """Whether neighbour pairs are moved farther than VICReg by less light and by less contrast."""
    return all(n.moves.neighbours[name] > 1.2 * n.moves.vicreg[name] for name in _CHANGED["light"])


q7.says(
    """Where nothing but light or contrast is changed in an image, it moves farther with neighbour pairs: a darker one
    by {moves.vicreg.darker:.0%} of the distance of random pairs with VICReg, by {moves.neighbours.darker:.0%} with
    neighbour pairs and by {moves.untrained.darker:.0%} before training; one of less contrast by
    {moves.vicreg[less contrast]:.0%}, {moves.neighbours[less contrast]:.0%} and
    {moves.untrained[less contrast]:.0%}.""",
    when=_reacts,
)
says_length(
    q7, "this difference", lambda n: n.longer.light,
    "they are moved by {longer.moves.darker:.0%} and {longer.moves[less contrast]:.0%} then.",
    when=_reacts,
)  # fmt: skip


q7.says(
    """Much of what VICReg reacts to little, neighbour pairs react to little as well, although none of their views is
    mirrored, grey or blurred: such an image moves by {moves.neighbours.mirrored:.0%}, {moves.neighbours.grey:.0%} and
    {moves.neighbours.blurred:.0%} (VICReg {moves.vicreg.mirrored:.0%}, {moves.vicreg.grey:.0%} and
    {moves.vicreg.blurred:.0%}; before training {moves.untrained.mirrored:.0%}, {moves.untrained.grey:.0%} and
    {moves.untrained.blurred:.0%}). What of that they owe to VICReg, which chose their neighbours, Q5 asks.""",
    when=lambda n: all(n.moves[name][view] < 0.75 * n.moves.untrained[view] for name in ASKED for view in IN_VIEWS),
)
q7.says(
    """Neither ignores a picture turned upside down ({moves.vicreg[upside down]:.0%} and
    {moves.neighbours[upside down]:.0%}; before training {moves.untrained[upside down]:.0%}).""",
    when=lambda n: min(n.moves[name]["upside down"] for name in ASKED) > max(n.moves.vicreg[name] for name in IN_VIEWS),
)


def _more_moved(n, change):
    """1 where a change moves neighbour pairs measurably more than VICReg, -1 where it moves them less, else 0."""
    gap = n.move_gaps[change]
    return int(np.sign(gap.more)) if abs(gap.more) > gap.interval else 0


_CENTRE = """ Another centre (22 x 22 pixels) moves an image by {moves.vicreg[other centre]:.0%} with VICReg and by
    {moves.neighbours[other centre]:.0%} with neighbour pairs."""
_BORDER = (
    "Another border (5 pixels) moves it by {moves.vicreg[other border]:.0%} and {moves.neighbours[other border]:.0%}"
)
for _sign, _name in ((-1, "VICReg depends"), (1, "Neighbour pairs depend")):
    q7.says(
        f"**{_name} more on the centre of the image, where the object mostly is.**" + _CENTRE,
        when=lambda n, sign=_sign: _more_moved(n, "other centre") == sign,
    )
q7.says(
    "Which depends more on the centre of the image cannot be told." + _CENTRE,
    when=lambda n: not _more_moved(n, "other centre"),
)
says_length(
    q7, "this difference", lambda n: n.longer.centre, "they are moved by {longer.moves[other centre]:.0%} then.",
    when=lambda n: _more_moved(n, "other centre"),
)  # fmt: skip
q7.says(_BORDER + ", which does not differ measurably.", when=lambda n: not _more_moved(n, "other border"))
q7.says(_BORDER + ".", when=lambda n: _more_moved(n, "other border"))


def _far_ratio(n, side, name):
    """How many times as much the most distant images of neighbour pairs differ from the query as VICReg's do."""
    return n.methods.neighbours[side].attributes[name] / n.methods.vicreg[side].attributes[name]


_KINDS = """**What they put far away is of different classes.** In the figure of the most distant images VICReg's are
    {figures.vicreg.far}, those of neighbour pairs {figures.neighbours.far}. Over all queries
    {far_first.vicreg.share:.0%} of VICReg's are of class {far_first.vicreg.name} ({far_first.vicreg.other:.1%} of those
    of neighbour pairs), and {far_first.neighbours.share:.0%} of those of neighbour pairs are of class
    {far_first.neighbours.name} ({far_first.neighbours.other:.0%} of VICReg's)."""
q7.says(
    _KINDS,
    when=lambda n: (
        n.far_first.vicreg.name != n.far_first.neighbours.name
        and all(n.far_first[name].share > max(0.3, 0.2 + n.far_first[name].other) for name in ASKED)
    ),
)
q7.says(
    """One and the same image, of class {figures.again.kind}, is in {figures.again.vicreg} of the {figures.rows} rows of
    this figure with VICReg and in {figures.again.neighbours} with neighbour pairs.""",
    when=lambda n: min(n.figures.again[name] for name in ASKED) > 0.3 * n.figures.rows,
)


q7.says(
    """By their pixels, the most distant images of neighbour pairs differ from the query in contrast
    {methods.neighbours.far.attributes.contrast:.1f} times as much as random pairs, VICReg's
    {methods.vicreg.far.attributes.contrast:.1f} times. But so few images are most distant from any query
    ({methods.vicreg.far.distinct:,} and {methods.neighbours.far.distinct:,} of {images:,}) that this describes those
    few.""",
    when=lambda n: (
        _far_ratio(n, "far", "contrast") > 1.2 and all(n.methods[name].far.distinct < 0.05 * n.images for name in ASKED)
    ),
)


q7.says(
    """By direction alone, where outliers count no more than others, less of that is left: there the most distant images
    of neighbour pairs differ from the query in contrast {methods.neighbours.opposite.attributes.contrast:.2f} times as
    much as random pairs (VICReg's {methods.vicreg.opposite.attributes.contrast:.2f}), in colour alike
    ({methods.neighbours.opposite.attributes.colour:.2f} and
    {methods.vicreg.opposite.attributes.colour:.2f}). An image of less contrast moves more with neighbour pairs than
    with VICReg, one of turned hue or in grey moves nearly alike.""",
    when=lambda n: (
        1.03 < _far_ratio(n, "opposite", "contrast") < _far_ratio(n, "far", "contrast")
        and _far_ratio(n, "far", "contrast") > 1.2
        and abs(_far_ratio(n, "opposite", "colour") - 1) < 0.05
        and n.moves.neighbours["less contrast"] > 1.2 * n.moves.vicreg["less contrast"]
        and all(n.moves.neighbours[name] < 1.2 * n.moves.vicreg[name] for name in ("hue turned", "grey"))
    ),
)


_FAR = """We count how many of them are of the query's own class. By distance these are
    {methods.vicreg.far.same_class:.1%} with VICReg and {methods.neighbours.far.same_class:.1%} with neighbour pairs
    (chance is {chance:.0%}). Of {images:,} images {methods.vicreg.far.distinct:,} and
    {methods.neighbours.far.distinct:,} are ever among the most distant, and {methods.vicreg.far.covered:.1%} and
    {methods.neighbours.far.covered:.1%} of the queries have one of the same ten among theirs: with other images
    this difference, {gaps.far.points:+.1f} points, would be another by ± {gaps.far.by_images:.1f} (95 %, bootstrap
    over the images). So direction alone was looked at afterwards (representations centred and scaled to length 1),
    where {methods.vicreg.opposite.distinct:,} and {methods.neighbours.opposite.distinct:,} images take part. There
    the query's own class makes up {methods.vicreg.opposite.same_class:.1%} of VICReg's most distant images and
    {methods.neighbours.opposite.same_class:.1%} of those of neighbour pairs, a difference of
    {gaps.opposite.points:+.1f} ± {gaps.opposite.interval:.1f} points ({over})."""
_FAR_LONG = """(Trained for as long as VICReg, neighbour pairs have {longer.opposite.share:.1%} there; VICReg minus
    that: {longer.opposite.gap.points:+.1f} ± {longer.opposite.gap.interval:.1f}.)"""


def _apart(n):
    """1 where VICReg's most distant images by direction are measurably fewer of the query's class, -1 where more."""
    gap = n.gaps.opposite
    return int(-np.sign(gap.points)) if abs(gap.points) > max(gap.interval, gap.by_images) else 0


for _sign, _name in ((1, "VICReg is"), (-1, "neighbour pairs are")):
    for _little, _least in ((", by little", 0), ("", 2)):  # points
        q7.says(
            f"**By class, {_name} better at keeping distant images far apart{_little}.** " + _FAR,
            when=lambda n, sign=_sign, least=_least: (
                _apart(n) == sign and (abs(n.gaps.opposite.points) < 2) == (least < 2)
            ),
        )
q7.says("**Which keeps distant images farther apart cannot be told.** " + _FAR, when=lambda n: _apart(n) == 0)
q7.says(_FAR_LONG, when=lambda n: n.longer.opposite.share is not None)


def _farther(n, side):
    """By which part the most distant images of neighbour pairs are farther away than VICReg's."""
    return n.methods.neighbours[side].distance / n.methods.vicreg[side].distance - 1


q7.says(
    """**By distance, neighbour pairs put their most distant images farther away**
    ({methods.neighbours.far.distance:.2f} times the distance of random pairs, VICReg
    {methods.vicreg.far.distance:.2f} times). Most of that is due to outliers: by direction it is
    {methods.neighbours.opposite.distance:.2f} and {methods.vicreg.opposite.distance:.2f} times.""",
    when=lambda n: (
        n.methods.neighbours.far.distance > 1.1 * n.methods.vicreg.far.distance
        and _farther(n, "opposite") < _farther(n, "far") / 2
    ),
)
