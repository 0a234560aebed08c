# Generated from nbs/05_retrieval.py by `make export`. Do not edit: edit the notebook.
# cells nbs/05_retrieval.py 58b1322d0f788465
# text b339d5b4bf282103

"""5 · Retrieval (Q7)."""

from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import torch
from vicreg_nb.ablations import method_features
from vicreg_nb.config import (
    METHOD_COLOURS,
    METHOD_NAMES,
    Config,
    UserError,
    cached,
    new_figure,
    progress,
    record,
    save_figure,
)
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.laplacian_eigenmaps import laplacian_features
from vicreg_nb.representations import Features


METHODS = ("vicreg", "neighbours")  # the two that the exercise asks for
COMPARED = (*METHODS, "no_variance", "laplacian")  # the other rungs stand beside them in the tables


def checked(features: np.ndarray, k: int = None, name: str = "the features") -> np.ndarray:
    """`features` [N, d] as a contiguous array; UserError where it holds NaN or infinity, or where k is given and not in 1..N-1."""
    features = np.ascontiguousarray(features)
    if features.ndim != 2:
        raise UserError(f"{name} have shape {features.shape}: give an array of shape [images, dimensions].")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(
            f"{name} hold NaN or infinity in {len(bad)} of {len(features)} rows, first in row {bad[0]}: train again with a lower lr."
        )
    if k is not None and not 1 <= k < len(features):
        raise UserError(
            f"k is {k}, but of {len(features)} images each has 1 to {len(features) - 1} others: choose k among these."
        )
    return features


def distance_factors(x: np.ndarray, dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """(left, right), both [N, d + 2], such that `left @ right.T` holds the squared l2 distances of all rows of x [N, d]."""
    x = torch.from_numpy((x - x.mean(axis=0, dtype=np.float64)).astype(np.float64))
    norms, ones = (x * x).sum(dim=1, keepdim=True), torch.ones(len(x), 1, dtype=x.dtype)
    return torch.cat((-2 * x, norms, ones), dim=1).to(dtype), torch.cat((x, ones, norms), dim=1).to(dtype)


ROWS, TILE, LANES = 256, 2048, 64


def fill_strip(left, right, strip, minima, maxima):
    """Squared distances of `left` [R, d + 2] to all points into `strip` [R, N], and the extremes of each lane [R, tiles, LANES]."""
    tiles = len(right) // TILE
    for tile in range(tiles):
        part = strip[:, tile * TILE : (tile + 1) * TILE]
        torch.mm(left, right[tile * TILE : (tile + 1) * TILE].T, out=part)
        lanes = part.view(len(left), -1, LANES)
        minima[:, tile], maxima[:, tile] = lanes.amin(dim=1), lanes.amax(dim=1)
    if tiles * TILE < len(right):
        strip[:, tiles * TILE :] = left @ right[tiles * TILE :].T


def extreme_columns(strip, extremes, count: int, largest: bool) -> torch.Tensor:
    """Columns [R, count] of the smallest (or largest) entries of each row of `strip`, given the extremes of its lanes."""
    rows, tiles, _ = extremes.shape
    best = extremes.flatten(1).topk(min(count, tiles * LANES), dim=1, largest=largest).indices
    first = best // LANES * TILE + best % LANES
    columns = (first[:, :, None] + torch.arange(0, TILE, LANES)).flatten(1)
    rest = torch.arange(tiles * TILE, strip.shape[1]).expand(rows, -1)
    columns = torch.cat((columns, rest), dim=1)
    chosen = strip.gather(1, columns).topk(count, dim=1, largest=largest).indices
    return columns.gather(1, chosen)


class Extremes(NamedTuple):
    """For each query its k nearest and k farthest images, the nearest and the farthest first. Numbers int64, l2 distances float64, all [Q, k]."""

    near: np.ndarray
    near_distance: np.ndarray
    far: np.ndarray
    far_distance: np.ndarray


def ranked(x: np.ndarray, rows: np.ndarray, columns: np.ndarray, k: int, sign: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best (numbers, distances) of the candidates `columns` [R, c]: nearest for sign 1, farthest for -1; ties by number."""
    columns = np.sort(columns, axis=1)
    difference = x[columns].astype(np.float64) - x[rows, None].astype(np.float64)
    distances = np.sqrt(np.einsum("rcd,rcd->rc", difference, difference))
    key = np.where(columns == rows[:, None], np.inf, sign * distances)  # itself comes last
    order = np.argsort(key, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(distances, order, axis=1)


SPARE = 4  # candidates beyond the k wanted and the image itself


def _search_rows(x, rows, k, dtype) -> tuple[Extremes, np.ndarray]:
    """`Extremes` of the images `rows` in x, and which of them are proven."""
    left, right = distance_factors(x, dtype)
    count = min(k + 1 + SPARE, len(x))
    strip, lanes = torch.empty(ROWS, len(x), dtype=dtype), torch.empty(2, ROWS, len(x) // TILE, LANES, dtype=dtype)
    reach = right[:, -1].sqrt()
    bound = (x.shape[1] + 6) * torch.finfo(dtype).eps * (reach + reach.max()) ** 2
    parts, proven = [], []
    for begin in progress(range(0, len(rows), ROWS), "searching"):
        chosen = rows[begin : begin + ROWS]
        here, slack = strip[: len(chosen)], bound[chosen].numpy()
        fill_strip(left[chosen], right, here, *lanes[:, : len(chosen)])
        found, safe = [], np.full(len(chosen), True)
        for lane, sign in zip(lanes[:, : len(chosen)], (1, -1), strict=True):
            columns = extreme_columns(here, lane, count, largest=sign < 0)
            last = here.gather(1, columns[:, -1:])[:, 0].double().numpy()
            found += ranked(x, chosen, columns.numpy(), k, sign)
            safe &= sign * found[-1][:, -1] ** 2 <= sign * last - slack
        parts.append(found)
        proven.append(safe | (count == len(x)))
    return Extremes(*map(np.concatenate, zip(*parts, strict=True))), np.concatenate(proven)


def search(x: np.ndarray, k: int, queries: np.ndarray = None) -> Extremes:
    """The k nearest and k farthest rows of x [N, d] for each of the rows `queries` (None: all), itself excluded; exact.

    Raises UserError for features with NaN and for k outside 1..N-1.
    """
    x = checked(x, k)
    rows = np.arange(len(x)) if queries is None else np.asarray(queries, np.int64)
    found, proven = _search_rows(x, rows, k, torch.float32)
    if not proven.all():
        again, _ = _search_rows(x, rows[~proven], k, torch.float64)
        for array, better in zip(found, again, strict=True):
            array[~proven] = better
    return found


def features_by_name(cfg: Config, images: Images, name: str) -> Features:
    """A method's `Features`, Laplacian Eigenmaps' included, which has no encoder."""
    return laplacian_features(cfg, images) if name == "laplacian" else method_features(cfg, images, name)


def retrieve(cfg: Config, features: Features, k: int) -> Extremes:
    """`search` over all training images of one method's `Features`; computed once."""
    x = checked(features.train, k)
    return Extremes(**cached(cfg, "retrieval", [x, k], lambda: search(x, k)._asdict()))


def retrieve_all(cfg: Config, images: Images, methods=COMPARED) -> dict:
    """{method: Extremes of all training images}, `neighbours_shown` of each."""
    return {name: retrieve(cfg, features_by_name(cfg, images, name), cfg.neighbours_shown) for name in methods}


def choose_queries(labels: np.ndarray, classes: tuple, per_class: int, seed: int) -> np.ndarray:
    """Numbers [classes * per_class] of random images, class by class; UserError for a class with too few images."""
    chosen = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < per_class:
            raise UserError(
                f"class {name} has {len(members)} images, fewer than per_class {per_class}: lower it or use more images."
            )
        chosen.append(np.random.default_rng([seed, label]).choice(members, per_class, replace=False))
    return np.concatenate(chosen)


FRAME = "#d55e00"  # vermilion, which stands out for the colour-blind too


def show_image(ax, picture, caption="", frame=False, size=5.5):
    """One image without axes, a caption under it, in a thick frame where it is to be noticed."""
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for side in ax.spines.values():
        side.set(visible=True, color=FRAME if frame else "#d0d0d0", linewidth=2.2 if frame else 0.5)
    ax.set_xlabel(
        caption,
        fontsize=size,
        labelpad=1.8,
        color=FRAME if frame else "#444444",
        fontweight="bold" if frame else "normal",
    )


def picture_rows(titles: list, columns: int, height: float):
    """(figure, axes [rows, columns]) for rows of images, each under its own title of `titles` [(text, colour)]; inches a row."""
    fig, ax = new_figure(height=height * len(titles))
    ax.remove()
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    lines = []
    for part, (text, colour) in zip(fig.subfigures(len(titles), 1, squeeze=False)[:, 0], titles, strict=True):
        part.suptitle(text, x=0.004, ha="left", fontsize=8, fontweight="bold", color=colour)
        lines.append(part.subplots(1, columns, squeeze=False)[0])
        for ax in lines[-1]:
            ax.set_anchor("N")
    return fig, np.stack(lines)


def figure_retrieval(images: Images, queries: np.ndarray, results: dict, farthest: bool):
    """Queries and, for each method of `results` {name: numbers [Q, k]}, their images. Frames: wrong class if nearest, own class if farthest."""
    k = next(iter(results.values())).shape[1]
    widths = [1.0] + ([0.22] + [1.0] * k) * len(results)
    inch = 6.9 / sum(widths)
    fig, axes = new_figure(
        len(queries),
        len(widths),
        height=(1.19 * inch) * len(queries) + 0.55,
        gridspec_kw={"width_ratios": widths},
        squeeze=False,
    )
    fig.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)  # room for the frames
    labels = images.train_labels
    for row, (line, query) in enumerate(zip(axes, queries, strict=True)):
        show_image(line[0], images.train_images[query], images.classes[labels[query]], size=6)
        for place, numbers in enumerate(results.values()):
            start = 1 + place * (k + 1)
            line[start].axis("off")
            for ax, number in zip(line[start + 1 :], numbers[row], strict=False):
                same = labels[number] == labels[query]
                show_image(
                    ax,
                    images.train_images[number],
                    images.classes[labels[number]],
                    frame=same if farthest else not same,
                )
    _retrieval_headings(axes[0], results, k, farthest)
    return fig


def _retrieval_headings(line, results, k, farthest):
    word = "most distant" if farthest else "nearest"
    line[0].set_title("query", fontsize=7.5)
    for place, name in enumerate(results):
        ax = line[1 + place * (k + 1) + (k + 1) // 2]
        ax.set_title(
            f"{METHOD_NAMES[name]}: the {k} {word}", fontsize=7.5, color=METHOD_COLOURS[name], x=0.5 if k % 2 else 1.05
        )


def class_agreement(numbers: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Share [classes] of the images `numbers` [N, k], row i belonging to image i, that have image i's class, by that class."""
    hits = (labels[numbers] == labels[:, None]).mean(axis=1)
    return np.bincount(labels, hits, minlength=classes) / np.bincount(labels, minlength=classes)


def _dots(ax, values, name, label):
    """A method's values, one on each line of a dot plot; the methods a little apart, so that none hides another."""
    place = COMPARED.index(name)
    rows = np.arange(len(values)) + 0.15 * (place - 1.5)
    ax.scatter(
        values,
        rows,
        color=METHOD_COLOURS[name],
        marker="osD^"[place],
        s=26,
        edgecolors="white",
        linewidths=0.5,
        zorder=2,
        label=label,
    )


def figure_precision(precision: dict, classes: tuple, k: int):
    """(matplotlib, plotly) precision at k of each class and method; `precision` is {method: [classes]}."""
    fig, ax = new_figure(width=6.9, height=2.9)
    rows = np.arange(len(classes))
    every = 100 * np.stack(list(precision.values()))
    ax.hlines(rows, every.min(axis=0), every.max(axis=0), color="#dddddd", linewidth=2, zorder=1)
    for (name, values), row in zip(precision.items(), every, strict=True):
        _dots(ax, row, name, f"{METHOD_NAMES[name]} (mean {100 * values.mean():.1f} %)")
    ax.axvline(100 / len(classes), color="#777777", linewidth=0.8, linestyle=":")
    ax.annotate("chance", (100 / len(classes), -0.75), fontsize=7, color="#666666", ha="center", annotation_clip=False)
    ax.set(
        yticks=rows,
        yticklabels=classes,
        xlabel=f"precision at {k}: nearest images of the same class / %",
        xlim=(0, None),
        ylim=(len(classes) - 0.5, -0.5),
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, handletextpad=0.2)
    dots = [
        go.Scatter(
            x=row,
            y=classes,
            mode="markers",
            name=METHOD_NAMES[name],
            marker={"color": METHOD_COLOURS[name], "size": 11},
        )
        for name, row in zip(precision, every, strict=True)
    ]
    axes = {"xaxis": {"title": f"precision at {k} / %", "rangemode": "tozero"}, "yaxis": {"autorange": "reversed"}}
    return fig, go.Figure(dots, axes)


def hubness(numbers: np.ndarray, top: int = 10) -> dict:
    """How unequally the images `numbers` [Q, k] share the queries.

    covered: share of queries with one of the `top` most frequent images; largest: share with the most frequent one; distinct: images that occur; hubs: the
    `top` most frequent of these.
    """
    counts = np.bincount(numbers.ravel())
    distinct = np.count_nonzero(counts)
    hubs = np.argsort(-counts, kind="stable")[: min(top, distinct)]
    covered = np.isin(numbers, hubs).any(axis=1).mean()
    return {
        "covered": covered,
        "largest": counts.max() / len(numbers),
        "distinct": distinct,
        "hubs": hubs,
        "counts": counts[hubs],
    }


def figure_hubs(images: Images, hubs: dict):
    """The images most often among the most distant, for each method of `hubs` {name: hubness}, with the share of queries they serve."""
    titles = [
        (
            f"{METHOD_NAMES[name]}: most often among the most distant, and for what share of the queries",
            METHOD_COLOURS[name],
        )
        for name in hubs
    ]
    fig, axes = picture_rows(titles, max(len(facts["hubs"]) for facts in hubs.values()), 1.2)
    for line, facts in zip(axes, hubs.values(), strict=True):
        for ax, number, count in zip(line, facts["hubs"], facts["counts"], strict=False):
            show_image(
                ax,
                images.train_images[number],
                f"{images.classes[images.train_labels[number]]}\n{count / len(images.train_labels):.1%}",
                size=6,
            )
        for ax in line[len(facts["hubs"]) :]:
            ax.axis("off")
    return fig


def image_attributes(images: np.ndarray, block: int = 5_000) -> dict:
    """{attribute: float32 [N, m]} of images uint8 [N, 32, 32, 3]."""
    parts = [_attributes(images[start : start + block]) for start in range(0, len(images), block)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _attributes(images):
    x = images.astype(np.float32) / 255
    grey = x @ np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R BT.601
    brightness = grey.mean(axis=(1, 2))[:, None]
    coarse = grey.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)).reshape(-1, 64) - brightness
    steps = np.abs(np.diff(grey, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(grey, axis=2)).mean(axis=(1, 2))
    return {
        "colour": x.mean(axis=(1, 2)) - brightness,
        "background": np.concatenate((x[:, :4], x[:, -4:]), axis=1).mean(axis=(1, 2)),
        "brightness": brightness,
        "contrast": grey.std(axis=(1, 2))[:, None],
        "fine texture": steps[:, None] / 2,
        "layout": coarse / (np.linalg.norm(coarse, axis=1, keepdims=True) + 1e-6),
    }


ATTRIBUTES = {
    "colour": "mean colour without brightness",
    "background": "mean colour of the upper and lower edge",
    "brightness": "mean brightness",
    "contrast": "standard deviation of the brightness",
    "fine texture": "mean step between neighbouring pixels",
    "layout": "where it is light and where dark, on a grid of 8 x 8",
}


def attribute_ratios(attributes: dict, numbers: np.ndarray, seed: int) -> dict:
    """{attribute: mean difference between image i and the images numbers[i] ([N, k]), over that of random pairs}."""
    other = np.random.default_rng([seed, 7]).permutation(len(numbers))
    ratios = {}
    for name, values in attributes.items():
        pairs = np.mean(
            [np.linalg.norm(values - values[column], axis=1).mean(dtype=np.float64) for column in numbers.T]
        )
        ratios[name] = float(pairs / np.linalg.norm(values - values[other], axis=1).mean(dtype=np.float64))
    return ratios


def figure_attributes(ratios: dict):
    """(matplotlib, plotly) how much neighbours, and the most distant images, differ in each attribute; random pairs are at 100 %."""
    fig, axes = new_figure(1, 2, height=2.5, sharey=True)
    rows = np.arange(len(ATTRIBUTES))
    for ax, side, title in zip(axes, ("near", "far"), ("nearest images", "most distant images"), strict=True):
        ax.axvline(100, color="#777777", linewidth=0.8, linestyle=":")
        for name, sides in ratios.items():
            _dots(ax, [100 * sides[side][attribute] for attribute in ATTRIBUTES], name, METHOD_NAMES[name])
        ax.set(
            yticks=rows,
            yticklabels=ATTRIBUTES,
            title=title,
            xlabel="difference, of that of random pairs / %",
            ylim=(len(rows) - 0.5, -0.5),
        )
    axes[0].set_xlim(0, max(106, axes[0].get_xlim()[1]))
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(names), handletextpad=0.2)
    dots = [
        go.Scatter(x=[100 * value for value in sides[side].values()], y=list(sides[side]), mode="markers", name=f"{METHOD_NAMES[name]}, {side}",
                   marker={"color": METHOD_COLOURS[name], "size": 11, "symbol": "circle" if side == "near" else "circle-open"})
        for name, sides in ratios.items() for side in ("near", "far")
    ]  # fmt: skip
    axes_titles = {"xaxis": {"title": "difference, of that of random pairs / %"}, "yaxis": {"autorange": "reversed"}}
    return fig, go.Figure(dots, axes_titles)


def typical_distance(x: np.ndarray, seed: int, pairs: int = 100_000) -> float:
    """Mean l2 distance of random pairs of different rows of x [N, d]."""
    random = np.random.default_rng([seed, 11])
    first, step = random.integers(0, len(x), pairs), random.integers(1, len(x), pairs)
    return float(np.linalg.norm(x[first].astype(np.float64) - x[(first + step) % len(x)], axis=1).mean())


def numbers_q7(cfg: Config, images: Images, found: dict) -> dict:
    """All that Q7's answer rests on, for each method of `found` {name: Extremes of all training images}."""
    labels, classes = images.train_labels, images.classes
    attributes, methods = image_attributes(images.train_images), {}
    for name, extremes in found.items():
        typical = typical_distance(features_by_name(cfg, images, name).train, cfg.seed)
        near, far = (class_agreement(numbers, labels, len(classes)) for numbers in (extremes.near, extremes.far))
        hubs = hubness(extremes.far)
        hits = (labels[extremes.near] == labels[:, None]).mean(axis=1)
        methods[name] = {
            "precision": hits.mean(),
            "precision_interval": 1.96 * hits.std() / np.sqrt(len(hits)),
            "precision_by_class": dict(zip(classes, near, strict=True)),
            "far_same_class": far.mean(),
            "near_distance": extremes.near_distance.mean() / (typical or 1),  # 0 where all representations are one
            "far_distance": extremes.far_distance.mean() / (typical or 1),
            "far_hubs": {key: hubs[key] for key in ("covered", "largest", "distinct")},
            "near_hubs": {key: hubness(extremes.near)[key] for key in ("covered", "largest", "distinct")},
            "near_attributes": attribute_ratios(attributes, extremes.near, cfg.seed),
            "far_attributes": attribute_ratios(attributes, extremes.far, cfg.seed),
        }
    return {
        "k": cfg.neighbours_shown,
        "images": len(labels),
        "chance": float((np.bincount(labels) / len(labels)).max()),
        "methods": methods,
    }


def answer_q7(numbers: dict) -> str:
    """Q7 in words, chosen by the numbers of the two methods it asks for."""
    return "\n\n".join((_answer_near(numbers), _answer_attributes(numbers), _answer_far(numbers), _answer_why(numbers)))


def _better(numbers, key, sign=1):
    """(name of the better method, its numbers, the other's name, its numbers) by `key`."""
    first, second = sorted(METHODS, key=lambda name: -sign * numbers["methods"][name][key])
    return METHOD_NAMES[first], numbers["methods"][first], METHOD_NAMES[second], numbers["methods"][second]


def _answer_near(numbers):
    first, a, second, b = _better(numbers, "precision")
    gap, noise = a["precision"] - b["precision"], a["precision_interval"] + b["precision_interval"]
    won = sum(a["precision_by_class"][name] > b["precision_by_class"][name] for name in a["precision_by_class"])
    facts = (
        f"Of the {numbers['k']} nearest images, {a['precision']:.1%} are of the query's class with {first} and {b['precision']:.1%} with {second}, "
        f"over all {numbers['images']:,} training images (chance is {numbers['chance']:.0%}; the 95 % intervals are ± {a['precision_interval']:.1%} and ± {b['precision_interval']:.1%})"
    )
    if gap <= noise:
        return f"**Neither excels at keeping close images together.** {facts}: the difference is within the noise."
    return f"**{first} is better at keeping close images together.** {facts}, and it is ahead in {won} of {len(a['precision_by_class'])} classes."


def _ordered(ratios):
    return sorted(ratios.items(), key=lambda item: item[1])


def _answer_attributes(numbers):
    lines = [
        "**What each attends to.** Neighbours differ in a property by so much of what random pairs do (100 %: the method does not look at it)."
    ]
    for name in METHODS:
        ratios = _ordered(numbers["methods"][name]["near_attributes"])
        (most, low), (next_, second), (least, high) = ratios[0], ratios[1], ratios[-1]
        lines.append(
            f"{METHOD_NAMES[name]} attends most to {most} ({low:.0%}) and {next_} ({second:.0%}), and least to {least} ({high:.0%})."
        )
    vicreg, neighbours = (numbers["methods"][name]["near_attributes"] for name in METHODS)
    gaps = {name: neighbours[name] - vicreg[name] for name in vicreg}
    name, gap = max(gaps.items(), key=lambda item: abs(item[1]))
    looser = METHODS[1] if gap > 0 else METHODS[0]
    if abs(gap) < 0.02:
        lines.append("The two attend to the same things: in no property do they differ by more than two points.")
    else:
        lines.append(
            f"They differ most in {name}: {vicreg[name]:.0%} with {METHOD_NAMES['vicreg']}, {neighbours[name]:.0%} with {METHOD_NAMES['neighbours']}, which "
            f"{'lets its' if looser == 'neighbours' else 'holds its'} neighbours {'vary more' if looser == 'neighbours' else 'closer together'} in it."
        )
    return " ".join(lines)


def _answer_far(numbers):
    first, a, second, b = _better(numbers, "far_same_class", sign=-1)
    if b["far_same_class"] - a["far_same_class"] < 0.005:
        lines = [
            f"**Neither excels at keeping distant images apart by class**: {a['far_same_class']:.1%} of the most distant images are of the query's own class with {first}, "
        ]
    else:
        lines = [
            f"**{first} is better at keeping distant images far apart**: only {a['far_same_class']:.1%} of the most distant images are of the query's own class, "
        ]
    lines[0] += f"{b['far_same_class']:.1%} with {second} (chance is {numbers['chance']:.0%})."
    wide, c, narrow, d = _better(numbers, "far_distance")
    lines.append(
        f"The most distant images lie {c['far_distance']:.2f} times as far as random pairs do with {wide} and {d['far_distance']:.2f} times with {narrow}."
    )
    for name in METHODS:
        hubs = numbers["methods"][name]["far_hubs"]
        lines.append(
            f"With {METHOD_NAMES[name]}, ten images are among the most distant of {hubs['covered']:.0%} of all queries, and only {hubs['distinct']:,} images ever are."
        )
    if min(numbers["methods"][name]["far_hubs"]["covered"] for name in METHODS) > 0.5:
        lines.append(
            "So the most distant images tell more about themselves, the outliers at the rim of the representation, than about the query."
        )
    return " ".join(lines)


def _answer_why(numbers):
    vicreg, neighbours = (numbers["methods"][name] for name in METHODS)
    colour = neighbours["near_attributes"]["colour"] - vicreg["near_attributes"]["colour"]
    lines = [
        "**Why.** VICReg is told by its views what not to look at: crops, flips, colour changes and blur of one image must get one representation. "
        "Without generated views, the only instruction is that an image and one of its nearest images in VICReg's own representation belong together: its tastes are inherited, and its mistakes too."
    ]
    if neighbours["precision"] < vicreg["precision"] - vicreg["precision_interval"]:
        lines.append(
            "Pulling together pairs of which many are of different classes blurs the classes, which is what the lower precision shows."
        )
    elif neighbours["precision"] > vicreg["precision"] + vicreg["precision_interval"]:
        lines.append(
            "Here it gained by that: pairs of different images of one class teach more about the class than two views of the same image."
        )
    if abs(colour) >= 0.02:
        lines.append(
            f"No colour is ever changed in its training, and its neighbours' colours differ {'more' if colour > 0 else 'less'} than VICReg's do."
        )
    return " ".join(lines)


CAPTIONS_Q7 = (
    (
        "q7_nearest",
        "An image of each class and its nearest training images by both methods. A frame marks an image of another class.",
    ),
    (
        "q7_farthest",
        "The same queries and their most distant training images. A frame marks an image of the query's own class.",
    ),
    ("q7_precision", "Precision among the nearest images of every training image, by class and method."),
    (
        "q7_attributes",
        "How much neighbours, and the most distant images, differ in a property; random pairs are at 100 %.",
    ),
    ("q7_hubs", "The ten images most often among the most distant, and the share of all queries that they serve."),
)


def tables_q7(numbers: dict) -> list[dict]:
    """Precision by class, and the properties of nearest and most distant images, as tables."""
    methods = numbers["methods"]
    names = [METHOD_NAMES[name] for name in methods]
    classes = next(iter(methods.values()))["precision_by_class"]
    rows = [[name, *(f"{facts['precision_by_class'][name]:.1%}" for facts in methods.values())] for name in classes]
    rows.append(["mean", *(f"{facts['precision']:.1%}" for facts in methods.values())])
    far = [
        ["own class among the most distant", *(f"{facts['far_same_class']:.1%}" for facts in methods.values())],
        ["distance of the nearest / of random pairs", *(f"{facts['near_distance']:.2f}" for facts in methods.values())],
        [
            "distance of the most distant / of random pairs",
            *(f"{facts['far_distance']:.2f}" for facts in methods.values()),
        ],
        [
            "queries served by ten most distant images",
            *(f"{facts['far_hubs']['covered']:.1%}" for facts in methods.values()),
        ],
        ["images that are ever most distant", *(f"{facts['far_hubs']['distinct']:,}" for facts in methods.values())],
    ]
    return [
        {
            "caption": f"Precision at {numbers['k']} over all {numbers['images']:,} training images.",
            "header": ["class", *names],
            "rows": rows,
        },
        {"caption": "The nearest and the most distant images, over all queries.", "header": ["", *names], "rows": far},
    ]


def report_q7(cfg: Config, numbers: dict) -> str:
    """Record Q7 and return its answer."""
    return record(cfg, "Q7", "Retrieval", numbers, answer_q7(numbers), CAPTIONS_Q7, tables_q7(numbers))


def run(cfg: Config):
    """Q7 from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    queries = choose_queries(images.train_labels, images.classes, cfg.per_class, cfg.seed)
    found = retrieve_all(cfg, images)
    numbers = numbers_q7(cfg, images, found)
    methods = numbers["methods"]
    for name, part, farthest in (("q7_nearest", "near", False), ("q7_farthest", "far", True)):
        results = {method: getattr(found[method], part)[queries] for method in METHODS}
        save_figure(cfg, name, figure_retrieval(images, queries, results, farthest))
    precision = {name: np.array(list(facts["precision_by_class"].values())) for name, facts in methods.items()}
    save_figure(cfg, "q7_precision", *figure_precision(precision, images.classes, cfg.neighbours_shown))
    ratios = {
        name: {"near": facts["near_attributes"], "far": facts["far_attributes"]} for name, facts in methods.items()
    }
    save_figure(cfg, "q7_attributes", *figure_attributes(ratios))
    save_figure(cfg, "q7_hubs", figure_hubs(images, {name: hubness(found[name].far) for name in METHODS}))
    report_q7(cfg, numbers)
