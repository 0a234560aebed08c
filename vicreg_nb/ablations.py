# Generated from nbs/03_ablations.py by `make export`. Do not edit: edit the notebook.
# cells nbs/03_ablations.py 5e95aa298191d39e
# text a95fdce6e5845d88

"""3 · Ablations (Q4, Q5)."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from vicreg_nb.book import OVER_IMAGES, Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, pixel_statistics, send, to_float
from vicreg_nb.identity import cached
from vicreg_nb.methods import METHODS, baseline, run_on_neighbours, trained, with_labels
from vicreg_nb.neighbours import agreement, nearest, same_class
from vicreg_nb.plots import RIGHT, WRONG, image_grid, lines, scatter
from vicreg_nb.representations import Features, Probe, encode, features_of, linear_probe, untrained_features
from vicreg_nb.representations import effective_rank, gain, half_interval, outputs, project_pca, singular_values
from vicreg_nb.store import UserError, digest, duration, new_generator
from vicreg_nb.training import OBJECTIVES, Run, load_networks, train
from vicreg_nb.views import JITTER, apply_views, draw_parameters, plain_parameters, write_recipes


class Side(NamedTuple):
    """A trained encoder, its representations, and their linear probe."""

    run: Run
    features: Features
    probe: Probe


def _side(cfg, images, run):
    features = features_of(cfg, images, run)
    return Side(run, features, linear_probe(cfg, features, images))


def projections(cfg: Config, images: Images, run: Run) -> np.ndarray | None:
    """z = h(f(I)) float32 [M, d] of the test images; None without the run's last.pt."""
    networks = load_networks(run)
    return networks and outputs(networks, images.test_images, choose_device(cfg))


@np.errstate(invalid="ignore")  # of a constant, PCA's shares of the variance are 0 / 0
def whitened(features: Features) -> Features:
    """The same along the principal directions of its training images, with unit variance along each."""
    train, test = features.train - features.train[:1], features.test - features.train[:1]  # a constant is exactly zero
    pca = PCA(whiten=True, random_state=0).fit(train)
    return Features(pca.transform(train), pca.transform(test), f"{features.identity} whitened")


_PAIRED = "95 %, paired over the test images"
q4 = Question("Q4", "Ablation 1: no variance term", "Section 3.2, Question 4", defaults={"mu": 0.0}, required=True)


@q4.result
def ablate(cfg: Config, images: Images) -> dict:
    """`Side`s with `cfg`'s weights and with the profile's own, and the controls; UserError where these are the same."""
    base = baseline(cfg)
    if cfg == base:
        raise UserError(f"mu is {cfg.mu:g}, the profile's own: nothing would be ablated; give another, such as mu=0.")
    run = trained(cfg, images, "no_variance" if cfg.mu == 0 else "ablation")
    sides = {"vicreg": _side(base, images, trained(base, images)), "ablated": _side(cfg, images, run)}
    exact = {name: features_of(base, images, side.run, "fp32") for name, side in sides.items()}
    exact["untrained"] = untrained_features(base, images, sides["vicreg"].run, "fp32")
    probes = {name: linear_probe(base, whitened(found), images) for name, found in exact.items()}
    start = untrained_features(base, images, sides["vicreg"].run)
    plain = {"ablated": linear_probe(base, exact["ablated"], images), "untrained": linear_probe(base, start, images)}
    z = {name: projections(base, images, side.run) for name, side in sides.items()}
    return {
        "sides": sides, "z": z, "whitened": probes, "plain": plain, "start": start.test,
        "images": images,
    }  # fmt: skip


def _titles(sides):
    """{side: its title}; that of another ablation than mu = 0 names the weights that it changes."""
    cut, whole = (vars(sides[name].run.cfg) for name in ("ablated", "vicreg"))
    changed = [f"{name} = {cut[name]:g}" for name in ("lam", "mu", "nu") if cut[name] != whole[name]]
    title = METHODS["no_variance"].title if changed == ["mu = 0"] else ", ".join(changed)
    return {"vicreg": METHODS["vicreg"].title, "ablated": title}


def _colours(sides):
    """{title: colour} of both sides."""
    methods = {"vicreg": "vicreg", "ablated": "no_variance"}
    return {title: METHODS[methods[name]].colour for name, title in _titles(sides).items()}


@q4.figure("The three terms over the training batches (running median).", aside=True)
def q4_terms(result):
    panels = {f"{name} (Eq. {number})": {} for name, number in zip(OBJECTIVES, (2, 3, 5), strict=True)}
    for name, title in _titles(result["sides"]).items():
        history = pd.DataFrame(result["sides"][name].run.history).clip(lower=1e-12)  # a logarithm needs more than zero
        smooth = history.rolling(max(1, len(history) // 50), center=True, min_periods=1).median()
        for column, curves in enumerate(panels.values()):
            curves[title] = np.arange(1, len(history) + 1), smooth[column].to_numpy()
    return lines(panels, "training batch", "term", _colours(result["sides"]), yscale="log", height=2.3)


@q4.figure(
    "PCA of the test representations with and without the variance term. Each panel has a scale of "
    "its own, the same for both axes."
)
def q4_pca(result):
    titles, images = _titles(result["sides"]), result["images"]
    panels = {titles[name]: project_pca(side.features.test) for name, side in result["sides"].items()}
    shown = {title: (points, images.test_labels) for title, points in panels.items()}
    return scatter(shown, images.classes, legend=True, width=4.8)


@q4.figure(
    "Standard deviations of the test images' representations y and projections z along each principal direction.",
    aside=True,
)
def q4_spectrum(result):
    sides, titles = result["sides"], _titles(result["sides"])
    panels = {"representation y": {name: side.features.test for name, side in sides.items()}}
    if all(z is not None for z in result["z"].values()):
        panels["projection z"] = result["z"]
    curves = {}
    for panel, found in panels.items():
        spectra = {titles[name]: singular_values(x) for name, x in found.items()}
        lowest = 1e-8 * (max(values.max() for values in spectra.values()) or 1)  # a logarithm needs more than zero
        curves[panel] = {name: (np.arange(1, len(x) + 1), x.clip(min=lowest)) for name, x in spectra.items()}
    width = 6.9 if len(panels) == 2 else 4.6
    look = {"yscale": "log", "width": width, "height": 2.5}
    return lines(curves, "principal direction", "standard deviation along it", _colours(sides), **look)


def squares(points: np.ndarray, count: int = 50) -> np.ndarray:
    """Those of `count` x `count` squares [n, 2] in the frame of a picture's [N, 2] middle 99 % that hold a point."""
    low, high = np.quantile(points, (0.005, 0.995), axis=0)
    points = points[((points >= low) & (points <= high)).all(axis=1)]
    places = (points - low) / max((high - low).max(), 1e-30) * count
    return np.unique(places.astype(int).clip(max=count - 1), axis=0)


def straight(places: np.ndarray, k: int = 10) -> float:
    """Which share of the variance of the `k` places [n, 2] around each is in one direction: of a line nearly all."""
    search = NearestNeighbors(n_neighbors=min(k, len(places))).fit(places)
    near = places[search.kneighbors(places, return_distance=False)]
    spread = np.linalg.svd(near - near.mean(axis=1, keepdims=True), compute_uv=False) ** 2
    return float((spread[:, 0] / np.maximum(spread.sum(axis=1), 1e-30)).mean())


def _weights(cfg, other):
    """Those weights of the loss that differ from another configuration's, in words."""
    named = {"lambda": (cfg.lam, other.lam), "mu": (cfg.mu, other.mu), "nu": (cfg.nu, other.nu)}
    return ", ".join(f"$\\{name}$ = {one:g}" for name, (one, another) in named.items() if one != another)


def _spread(x):
    """The largest standard deviation along a direction, the share of variance in it and in the first two, the rank."""
    values = singular_values(x)
    share = values**2 / max(1e-30, (values**2).sum())
    names = ("first_singular_value", "share_of_first", "share_of_picture", "effective_rank")
    return dict(zip(names, (values[0], share[0], share[:2].sum(), effective_rank(x)), strict=True))


def _measured(side, z, images):
    test, last, cfg = side.features.test, side.run.history[-20:].mean(axis=0), side.run.cfg
    picture, labels = project_pca(test), images.test_labels
    held = squares(picture)
    return _spread(test) | {
        "accuracy": side.probe.accuracy, "interval": side.probe.interval,
        "z": None if z is None else _spread(z) | {"spread": z.std(axis=0, dtype=np.float64).mean()},
        "filled": len(held) / 50**2, "straight": straight(held),
        "picture_agreement": agreement(picture, labels), "agreement": agreement(test, labels),
        "last_invariance_term": last[0], "last_variance_term": last[1], "last_covariance_term": last[2],
        "lam": cfg.lam, "mu": cfg.mu, "nu": cfg.nu,
    }  # fmt: skip


@q4.summary
def _numbers_q4(result):
    sides, images, titles = result["sides"], result["images"], _titles(result["sides"])
    plain, numbers = result["plain"], {}
    for name, side in sides.items():
        numbers[name] = _measured(side, result["z"][name], images) | {"title": titles[name]}
        numbers[name]["weights"] = _weights(side.run.cfg, sides["ablated" if name == "vicreg" else "vicreg"].run.cfg)
        numbers[name]["learned"] = gain(side.probe, plain["untrained"])
        numbers[name]["whitened"] = result["whitened"][name].accuracy
    cut = sides["ablated"]
    return numbers | {
        "untrained": _spread(result["start"]) | {
            "accuracy": plain["untrained"].accuracy, "interval": plain["untrained"].interval,
            "whitened": result["whitened"]["untrained"].accuracy,
        },
        "lost": gain(sides["vicreg"].probe, cut.probe),
        "recovered": gain(result["whitened"]["ablated"], plain["ablated"]), "exact": plain["ablated"].accuracy,
        "whitened_below": gain(result["whitened"]["untrained"], result["whitened"]["ablated"]),
        "taken": -numbers["ablated"]["learned"]["points"], "over": _PAIRED,
        "outside": 1 - numbers["vicreg"]["share_of_picture"],
        "highest_variance_term": 2 * (cut.run.cfg.gamma - cut.run.cfg.eps**0.5),  # all z equal in Eq. 3
        "dimension": cut.features.test.shape[1], "epochs": cut.run.cfg.epochs, "chance": 1 / len(images.classes),
    }  # fmt: skip


@q4.table
def _table_q4(n):
    header = ["", "$\\mu$", "probe accuracy", "after whitening", "effective rank", "variance in the first direction"]
    form = "{title}|{mu}|{accuracy:.1%}|{whitened:.1%}|{effective_rank:.1f}|{share_of_first:.1%}"
    sides = ({**n.vicreg, "mu": f"{n.vicreg.mu:g}"}, {**n.ablated, "mu": f"{n.ablated.mu:g}"})
    start = {**n.untrained, "title": "Before any training", "mu": "–"}
    rows = [form.format(**side).split("|") for side in (*sides, start)]
    caption = "With all terms and ablated, at the same settings and epochs, and the network that both start from."
    return {"caption": caption, "header": header, "rows": rows}


q4.says(
    """**The accuracy is worse: {ablated.accuracy:.1%} of the test images with {ablated.weights}, {vicreg.accuracy:.1%}
    with {vicreg.weights}**, {lost.points:.1f} ± {lost.interval:.1f} points less ({over}).""",
    when=lambda n: n.lost.points > n.lost.interval,
)
q4.says(
    """**The accuracy is not measurably worse: {ablated.accuracy:.1%} of the test images with {ablated.weights},
    {vicreg.accuracy:.1%} with {vicreg.weights}** (the difference is known to ± {lost.interval:.1f} points, {over}).""",
    when=lambda n: n.lost.points <= n.lost.interval,
)


_BEFORE = """Before any training it is {untrained.accuracy:.1%}. Training with the profile's own weights adds
    {vicreg.learned.points:.1f} ± {vicreg.learned.interval:.1f} points; the ablated training """
q4.says(
    _BEFORE + "takes {taken:.1f} ± {ablated.learned.interval:.1f} away.",
    when=lambda n: n.taken > n.ablated.learned.interval,
)
q4.says(
    _BEFORE + "changes it by {ablated.learned.points:+.1f} ± {ablated.learned.interval:.1f}.",
    when=lambda n: n.taken <= n.ablated.learned.interval,
)


q4.says(
    """**What collapses to a point is the projection $z$**, on which the loss is computed. The variance term, recorded
    though not minimised, ends at {ablated.last_variance_term:.2f}; at most it can be $2 (\\gamma -
    \\sqrt{{\\epsilon}})$ = {highest_variance_term:.2f}, where all images have one $z$: on test images the mean standard
    deviation of a dimension is {ablated.z.spread:.1e} ({vicreg.z.spread:.2f} with all terms). That costs nothing in the
    terms that are left: invariance ends at {ablated.last_invariance_term:.0e} ({vicreg.last_invariance_term:.2f} with
    all terms), covariance at {ablated.last_covariance_term:.0e} ({vicreg.last_covariance_term:.1f}). Only the variance
    term forbids it.""",
    when=lambda n: (
        n.ablated.mu == 0
        and n.ablated.last_variance_term > 0.95 * n.highest_variance_term
        and n.ablated.last_invariance_term < 0.01 * n.vicreg.last_invariance_term
        and None not in (n.ablated.z, n.vicreg.z)
        and n.ablated.z.spread < 0.1 * n.vicreg.z.spread
    ),
)


q4.says(
    """**The representation $y$, one network earlier, collapses as well: not to a point, but to a few directions.** Its
    standard deviation along the first is {ablated.first_singular_value:.1f} (VICReg's
    {vicreg.first_singular_value:.1f}), but this direction holds {ablated.share_of_first:.0%} of the variance
    ({vicreg.share_of_first:.0%}), the two of the picture {ablated.share_of_picture:.0%}
    ({vicreg.share_of_picture:.0%}), and the effective rank (Roy and Vetterli, 2007), the number of directions in use,
    is {ablated.effective_rank:.1f} of {dimension} ({vicreg.effective_rank:.1f}). The projector maps all of it to one
    $z$, so no term asks for more of $y$, nor for less.""",
    when=lambda n: (
        n.ablated.first_singular_value > 0.1 * n.vicreg.first_singular_value
        and n.ablated.share_of_picture > 0.75 > 2 * n.vicreg.share_of_picture
        and n.ablated.effective_rank < 0.1 * n.vicreg.effective_rank
    ),
)


q4.says(
    """**What one sees:** VICReg's picture is a cloud; without the variance term the points lie on a few thin lines.
    Of the 50 × 50 squares of a grid over the picture without its outermost points only {ablated.filled:.1%} hold a
    point (VICReg: {vicreg.filled:.0%}). They lie in lines: of the variance of ten squares close together
    {ablated.straight:.0%} is in one direction (VICReg: {vicreg.straight:.0%}).""",
    when=lambda n: (
        n.ablated.mu == 0 and n.ablated.filled < 0.25 * n.vicreg.filled and n.ablated.straight > 0.8 > n.vicreg.straight
    ),
)
q4.says(
    """**The pictures explain the accuracy by what is not in them.** In both the classes overlap: of a point's ten
    nearest, {ablated.picture_agreement:.0%} are of its class without the variance term and
    {vicreg.picture_agreement:.0%} with it, where chance is {chance:.0%}. But without the variance term the picture is
    nearly all there is, while {outside:.0%} of VICReg's variance lie outside it: in all directions together
    {vicreg.agreement:.0%} of the ten nearest are of a point's class with VICReg, and still only
    {ablated.agreement:.0%} without the variance term.""",
    when=lambda n: (
        n.ablated.mu == 0
        and n.ablated.share_of_picture > 0.75 > n.vicreg.share_of_picture
        and n.vicreg.agreement - n.ablated.agreement > 2 * abs(n.vicreg.picture_agreement - n.ablated.picture_agreement)
    ),
)


q4.says(
    """What was lost is gone for a linear probe, and not only too small to be used: with the same spread along every
    direction, the ablated representation gives {ablated.whitened:.1%}, which brings back only {recovered.points:.1f} ±
    {recovered.interval:.1f} of the {lost.points:.1f} points. (Both sides encoded in fp32: without the stretching,
    {exact:.1%}.)""",
    when=lambda n: n.lost.points > n.lost.interval and n.recovered.points < 0.25 * n.lost.points,
)
q4.says(
    """Part of what was lost is only too small to be used: with the same spread along every direction, the ablated
    representation gives {ablated.whitened:.1%}, {recovered.points:.1f} ± {recovered.interval:.1f} of the
    {lost.points:.1f} points that were lost.""",
    when=lambda n: n.lost.points > n.lost.interval and n.recovered.points >= 0.25 * n.lost.points,
)
q4.says(
    """Even so it stays {whitened_below.points:.1f} ± {whitened_below.interval:.1f} points below the encoder before
    training, treated in the same way ({untrained.whitened:.1%}).""",
    when=lambda n: n.whitened_below.points > n.whitened_below.interval,
)


def neighbour_tables(cfg: Config, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Nearest training images of each training image [N, k] (itself excluded) and of each test image [M, k]."""
    k, device = cfg.neighbour_count, choose_device(cfg)

    def compute():
        queries = {"train": None, "test": features.test}
        return {name: nearest(features.train, k, asked, device).numbers for name, asked in queries.items()}

    tables = cached(cfg.cache, "neighbours", [features.identity, k, device.type], compute)
    return tables["train"], tables["test"]


class NeighbourPairs:
    """x = I, x' = one of I's top neighbours among the training images, drawn anew each time."""

    def __init__(self, cfg: Config, images: Images, features: Features):
        self.identity = digest("neighbours", features.identity, cfg.neighbour_count)
        self.seed, self.device = cfg.seed, choose_device(cfg)
        self.train_images = torch.from_numpy(images.train_images).to(self.device)
        self.test_images = torch.from_numpy(images.test_images).to(self.device)
        self.train_table, self.test_table = map(torch.from_numpy, neighbour_tables(cfg, features))

    def epoch(self, order: torch.Tensor, batches: list[slice], generator: torch.Generator):
        """The training images `order[rows]` [B] and a neighbour of each, for the rows of each batch."""
        return self._pairs(self.train_images, self.train_table, order, batches, generator)

    def tests(self, batches: list[slice]):
        """Test images and a neighbour of each among the training images: the same ones whenever they are asked for."""
        generator, order = new_generator(self.seed, "test views"), torch.arange(len(self.test_images))
        return self._pairs(self.test_images, self.test_table, order, batches, generator)

    def _pairs(self, images, table, order, batches, generator):
        choice = torch.randint(table.shape[1], (len(order),), generator=generator)
        numbers = send(torch.stack([order, table[order, choice]]), self.device)
        for rows in batches:
            shown = images[numbers[0, rows]], self.train_images[numbers[1, rows]]
            yield tuple(normalise(to_float(part, self.device)) for part in shown)


def neighbour_run(cfg: Config, images: Images) -> Run:
    """Q5: VICReg with neighbours by Q1's representation as views, for `neighbour_epochs`."""
    pairs = NeighbourPairs(cfg, images, features_of(cfg, images, trained(cfg, images)))
    return train(cfg.replace(epochs=cfg.neighbour_epochs), images, pairs, "neighbours")


def control_run(cfg: Config, images: Images) -> Run:
    """Q1's method for as long as Q5's."""
    return trained(cfg.replace(epochs=cfg.neighbour_epochs), images)


def further_runs(cfg: Config, images: Images, features: Features) -> dict[str, Run]:
    """Q5 changed in one thing at a time; features: of Q1's encoder. `long` if `neighbours_as_long` says so."""
    ladder = cfg.replace(epochs=cfg.ladder_epochs, neighbour_count=cfg.graph_neighbours)
    untrained, short = untrained_features(cfg, images, trained(cfg, images)), cfg.replace(epochs=cfg.neighbour_epochs)
    runs = {
        "views": trained(ladder, images),
        "blind": run_on_neighbours(short, images, untrained, "neighbours_untrained"),
        "more": run_on_neighbours(ladder, images, features, "ladder_vicreg"),
        "oracle": run_on_neighbours(ladder, images, with_labels(features, images), "ladder_oracle"),
    }
    if cfg.neighbours_as_long:
        runs["long"] = run_on_neighbours(cfg, images, features, "neighbours")
    return runs


ALONE = {"colours": ("order", *JITTER), "crop": ("top", "left", "height", "width")}  # of T's parameters


def altered(pictures: np.ndarray, names: tuple, generator: torch.Generator) -> np.ndarray:
    """Images uint8 [n, 32, 32, 3] with these of T's parameters drawn as T draws them; all else stays as it is."""
    count, side = pictures.shape[:2]
    drawn = draw_parameters(count, generator, side, side)
    alone = replace(plain_parameters(count, side, side), **{name: getattr(drawn, name) for name in names})
    mean, std = pixel_statistics("cpu")
    views = apply_views(torch.from_numpy(pictures), write_recipes(alone)) * std + mean
    return (255 * views).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def displacement(before: np.ndarray, after: np.ndarray, all_images: np.ndarray) -> np.ndarray:
    """Squared distance [n] from `before` to `after` [n, d]; that of two unrelated ones of `all_images` [M, d] is 1."""
    return ((after - before) ** 2).sum(axis=1) / (2 * all_images.var(axis=0, dtype=np.float64).sum())


def moved(cfg: Config, images: Images, side: Side, most: int = 2_000) -> dict[str, np.ndarray]:
    """`displacement` [n] of the first `most` test images under each change of `ALONE`, the same for any side."""
    device, test = choose_device(cfg), side.features.test
    encoder, found = side.run.encoder(device), {}
    for kind, names in ALONE.items():
        changed = altered(images.test_images[:most], names, new_generator(cfg.seed, "altered", kind))
        after = encode(encoder, changed, device, side.run.precision)
        found[kind] = displacement(test[: len(after)], after, test)
    return found


# the notebook's `mu` is Q4's, and no change of Q5, which uses `baseline(cfg)`
q5 = Question(
    "Q5", "Ablation 2: no generated neighbours", "Section 3.2, Question 5", defaults={"mu": 0.0}, required=True
)


@q5.result
def compare(cfg: Config, images: Images) -> dict:
    """`Side`s of Q1, its control, Q5 and what is trained beside it, with the profile's own weights; Q5's
    neighbours."""
    base = baseline(cfg)
    first = _side(base, images, trained(base, images))
    runs = {"control": control_run(base, images), "neighbours": neighbour_run(base, images)}
    runs |= further_runs(base, images, first.features)
    sides = {"vicreg": first} | {name: _side(base, images, run) for name, run in runs.items()}
    more = neighbour_tables(base.replace(neighbour_count=base.graph_neighbours), first.features)[0]
    blind = neighbour_tables(base, untrained_features(base, images, first.run))[0]
    by_labels = with_labels(first.features, images)
    oracle = neighbour_tables(base.replace(neighbour_count=base.graph_neighbours), by_labels)[0]
    return {
        "sides": sides, "moved": {name: moved(base, images, side) for name, side in sides.items()}, "images": images,
        "table": neighbour_tables(base, first.features)[0], "more": more, "blind": blind, "oracle": oracle,
    }  # fmt: skip


@q5.figure(
    "Where the frame is red, a pair joins two classes: the first training image of each class (top row) and its "
    "nearest by VICReg below."
)
def q5_neighbours(result):
    images, labels = result["images"], result["images"].train_labels
    first = np.array([np.flatnonzero(labels == kind)[0] for kind in range(len(images.classes))])
    numbers = np.vstack((first, result["table"][first, :5].T))
    frames = np.where(labels[numbers] == labels[first], RIGHT, WRONG).tolist()
    frames[0] = [None] * len(first)
    captions = np.array(images.classes)[labels[numbers]].tolist()
    names = ["image", "nearest", "second", "third", "fourth", "fifth"][: len(numbers)]
    return image_grid(list(images.train_images[numbers]), captions, frames, labels=names)


def _side_numbers(side, moved):
    means = {kind: {"share": values.mean(), "interval": half_interval(values)} for kind, values in moved.items()}
    numbers = {"accuracy": side.probe.accuracy, "interval": side.probe.interval, "moved": means}
    numbers |= {"epochs": len(side.run.tests), "seconds": side.run.seconds}
    return numbers | {"effective_rank": effective_rank(side.features.test)}


def _more_moved(moved, one, other):
    """By how much more than `other` a side `one` is moved by each change, with half the 95 % interval."""
    gaps = {kind: moved[one][kind] - moved[other][kind] for kind in ALONE}
    return {kind: {"more": gap.mean(), "interval": half_interval(gap)} for kind, gap in gaps.items()}


def _moved_as_long(moved):
    """The same of neighbour pairs and views for as long as Q1, and how far the former; None one by one without
    them."""
    if "long" not in moved:
        return {kind: dict.fromkeys(("more", "interval", "share")) for kind in ALONE}
    gaps = _more_moved(moved, "long", "vicreg")
    return {kind: gap | {"share": moved["long"][kind].mean()} for kind, gap in gaps.items()}


_GAINS = {  # number: the two sides of which it is the difference in accuracy
    "lost": ("vicreg", "neighbours"), "ahead_of_control": ("neighbours", "control"),
    "by_time": ("long", "neighbours"), "lost_as_long": ("vicreg", "long"), "by_number": ("more", "neighbours"),
    "by_choice": ("neighbours", "blind"),
    "by_labels": ("oracle", "more"), "views_by_time": ("vicreg", "views"), "oracle_over_views": ("oracle", "views"),
}  # fmt: skip


@q5.summary
def _numbers_q5(result):
    labels, table, sides = result["images"].train_labels, result["table"], result["sides"]
    pairs = ("table", "more", "blind", "oracle")
    right, more, blind, oracle = (same_class(result[name], labels).mean() for name in pairs)
    probes = {name: side.probe for name, side in sides.items()}
    numbers = {name: _side_numbers(side, result["moved"][name]) for name, side in sides.items()}
    gains = dict.fromkeys(_GAINS, {"points": None, "interval": None})  # of a training that this run has not made
    gains |= {name: gain(probes[a], probes[b]) for name, (a, b) in _GAINS.items() if {a, b} <= set(probes)}
    total = {name: numbers["vicreg"][name] + numbers["neighbours"][name] for name in ("epochs", "seconds")}
    total["epochs_as_long"] = 2 * numbers["vicreg"]["epochs"]
    return {"long": None} | numbers | gains | {
        "accuracy_as_long": probes["long"].accuracy if "long" in probes else None,
        "neighbour_count": table.shape[1], "same_class": right, "other_class": 1 - right,
        "same_class_by_rank": (labels[table] == labels[:, None]).mean(axis=0),
        "more_count": result["more"].shape[1], "same_class_of_more": more, "other_of_more": 1 - more,
        "same_class_of_blind": blind, "same_class_of_oracle": oracle,  # where a class has fewer images, not all are
        "moved_more": _more_moved(result["moved"], "neighbours", "control"), "total": total,
        "moved_as_long": _moved_as_long(result["moved"]),
        "changed_images": len(result["moved"]["vicreg"]["crop"]), "over": _PAIRED,
    }  # fmt: skip


@q5.table
def _table_q5(n):
    titles = {
        "vicreg": ("VICReg (Q1)", 1), "control": ("VICReg, as long as Q5", 1),
        "neighbours": (f"{n.neighbour_count} neighbours (Q5)", n.same_class),
        "long": (f"{n.neighbour_count} neighbours, as long as Q1", n.same_class),
        "blind": (f"{n.neighbour_count} neighbours chosen before training", n.same_class_of_blind),
        "views": ("VICReg, as long as the next two", 1),
        "more": (f"{n.more_count} neighbours", n.same_class_of_more),
        "oracle": (f"{n.more_count} neighbours of its class (oracle)", n.same_class_of_oracle),
    }  # fmt: skip
    if n.views.epochs == n.control.epochs:
        del titles["views"]  # it is the control
    form = "{epochs}|{accuracy:.1%} ± {interval:.1%}|{moved[colours][share]:.3f}|{moved[crop][share]:.3f}"
    shown = [(title, pure, n[name]) for name, (title, pure) in titles.items() if n[name]]
    rows = [
        [title, f"{pure:.1%}", *form.format(**side).split("|"), duration(side["seconds"])]
        for title, pure, side in shown
    ]
    header = ["pairs", "of one class", "epochs", "probe accuracy", "moved by colours", "by a crop", "training time"]
    caption = f"""Generated views against neighbours from the data. Moved: squared distance by which a change of
    colours or of the crop moves a representation; that of two unrelated images is 1. {OVER_IMAGES}"""
    return {"caption": " ".join(caption.split()), "header": header, "rows": rows}


q5.says(
    """**Yes, the accuracy is lower: {neighbours.accuracy:.1%} with neighbours from the data, {vicreg.accuracy:.1%}
    with generated ones**, {lost.points:.1f} ± {lost.interval:.1f} points less ({over}).""",
    when=lambda n: n.lost.points > n.lost.interval,
)
q5.says(
    """**No, the accuracy is not measurably lower: {neighbours.accuracy:.1%} with neighbours from the data,
    {vicreg.accuracy:.1%} with generated ones** (the difference is known to ± {lost.interval:.1f} points, {over}).""",
    when=lambda n: n.lost.points <= n.lost.interval,
)


def _much(n, gain):
    """1 where a gain can be measured and is at least a quarter of what is lost, -1 where a loss is so, else 0."""
    points = n[gain]["points"]
    return int(np.sign(points)) if abs(points) > max(n[gain]["interval"], n.lost.points / 4) else 0


q5.says(
    """**The added value of generated views, in sum:** of the {lost.points:.1f} points that Q5 loses
    {by_time.points:.1f} come back by training for as long, and {lost_as_long.points:.1f} ±
    {lost_as_long.interval:.1f} remain: what neighbour pairs lack costs little then. But these neighbours were chosen by
    what generated views had taught. Chosen without it, they cost {by_choice.points:.1f} points more after as many
    epochs as Q5's; no other length was tried.""",
    when=lambda n: (
        n.long
        and n.by_choice.points > n.by_choice.interval
        and abs(n.lost_as_long.points) < 0.25 * n.by_choice.points
        and max(_much(n, "by_labels"), _much(n, "by_number")) < 1
    ),
)


q5.says(
    """But Q1 ran for {vicreg.epochs} epochs and Q5, as the exercise advises a short training, for {neighbours.epochs}.
    Generated views for as long as Q5 reach {control.accuracy:.1%}, {ahead_of_control.points:.1f} ±
    {ahead_of_control.interval:.1f} points less than neighbour pairs. This is no proof that neighbours teach more in the
    same time: the encoder that chose them had {vicreg.epochs} epochs with generated views, so that Q5 takes
    {total.epochs} in all.""",
    when=lambda n: (
        n.vicreg.epochs > n.neighbours.epochs
        and n.ahead_of_control.points > n.ahead_of_control.interval
        and n.lost.points > n.lost.interval
    ),
)


_AS_LONG = """Trained for {vicreg.epochs} epochs, as many as Q1, neighbour pairs reach {accuracy_as_long:.1%}:
    {by_time.points:.1f} ± {by_time.interval:.1f} points more than after {neighbours.epochs}, and
    {lost_as_long.points:.1f} ± {lost_as_long.interval:.1f} less than generated views ({total.epochs_as_long} epochs in
    all, with those of the encoder that chose the neighbours). """


def _by_length(n):
    """Which part of what is lost a longer training brings back; 0 where nothing measurable, nan where none was made."""
    if not n.long or n.vicreg.epochs <= n.neighbours.epochs:
        return np.nan
    gained = n.by_time.points if n.by_time.points > n.by_time.interval else 0
    return gained / n.lost.points if n.lost.points > n.lost.interval else gained and np.inf


q5.says(
    _AS_LONG + "So the exercise's advice of a short training is confirmed here.",
    when=lambda n: _by_length(n) == 0,
)
q5.says(
    "**Most of the difference is length**, so the exercise's advice of a short training is not confirmed here. "
    + _AS_LONG,
    when=lambda n: 0.5 < _by_length(n) < np.inf,
)
q5.says("**Length is the smaller part of the difference.** " + _AS_LONG, when=lambda n: 0 < _by_length(n) <= 0.5)
q5.says(
    "**A longer training gains more than Q5 has lost.** " + _AS_LONG,
    when=lambda n: _by_length(n) == np.inf and -n.lost_as_long.points > n.lost_as_long.interval,
)
q5.says(
    "**What Q5 has lost is too little to be measured, but a longer training gains.** " + _AS_LONG,
    when=lambda n: _by_length(n) == np.inf and -n.lost_as_long.points <= n.lost_as_long.interval,
)


_CHOSEN = """Neighbours that the encoder chooses before its training, of which {same_class_of_blind:.1%} are of the
    image's class instead of {same_class:.1%}, give {blind.accuracy:.1%} after as many epochs as Q5's:
    {by_choice.points:.1f} ± {by_choice.interval:.1f} points less."""
q5.says(
    "**Generated views are still at work in Q5, in the choice of the neighbours.** " + _CHOSEN,
    when=lambda n: n.by_choice.points > n.by_choice.interval,
)
q5.says(
    "Who chose the neighbours makes no difference that could be measured. " + _CHOSEN,
    when=lambda n: n.by_choice.points <= n.by_choice.interval,
)


def _colours_unlearned(n):
    """Whether a change of colours moves the blindly chosen ones' representation more than Q5's."""
    blind, ours = n.blind.moved.colours, n.neighbours.moved.colours
    return blind.share - ours.share > blind.interval + ours.interval


q5.says(
    """With neighbours chosen before training a change of colours moves a representation by
    {blind.moved.colours.share:.2f} of the squared distance of two unrelated images, with Q5's by
    {neighbours.moved.colours.share:.2f}: that colours may be ignored is learned from views, or from neighbours that
    views have chosen.""",
    when=_colours_unlearned,
)


_CERTAIN = """Two views of one image never show two classes; of the top {neighbour_count} neighbours {other_class:.1%}
    are of another class than the image (red frames in the figure), of the top {more_count} {other_of_more:.1%}. If all
    {more_count} are of the image's class (by its label: an *oracle*; they are also farther away), the accuracy is
    {oracle.accuracy:.1%} instead of {more.accuracy:.1%}: {by_labels.points:+.1f} ± {by_labels.interval:.1f} points,
    after {oracle.epochs} of Q1's {vicreg.epochs} epochs."""


q5.says(
    "**Generated views add pairs that are surely of one class, and that matters.** " + _CERTAIN,
    when=lambda n: _much(n, "by_labels") == 1,
)
q5.says(
    "**That a pair is surely of one class is a small part of what generated views add.** " + _CERTAIN,
    when=lambda n: n.by_labels.points > n.by_labels.interval and not _much(n, "by_labels"),
)
q5.says(
    """**Pairs that are surely of one class gain a network nothing measurable in so short a training** (what vectors
    without a network gain, the ladder tells). """
    + _CERTAIN,
    when=lambda n: n.by_labels.points <= n.by_labels.interval,
)


_NUMBER = """{more_count} neighbours instead of {neighbour_count} change the accuracy by {by_number.points:+.1f} ±
    {by_number.interval:.1f} points. (Partners that are new at every step, as T makes them, were not tried.)"""
q5.says(
    "**More neighbours help:** " + _NUMBER,
    when=lambda n: n.more.epochs == n.neighbours.epochs and _much(n, "by_number") == 1,
)
q5.says(
    "**More neighbours do harm:** " + _NUMBER,
    when=lambda n: n.more.epochs == n.neighbours.epochs and _much(n, "by_number") == -1,
)
q5.says(
    "**The number of neighbours matters as little**, as far as it was tried: " + _NUMBER,
    when=lambda n: n.more.epochs == n.neighbours.epochs and not _much(n, "by_number") and _much(n, "by_labels") < 1,
)


_EPOCH = """Epoch for epoch, neighbours known to be of one class {verb} generated views, though choosing them took
    VICReg and the labels: trained for as long, they are {{oracle_over_views.points:+.1f}} ±
    {{oracle_over_views.interval:.1f}} points ahead. """
q5.says(
    _EPOCH.format(verb="teach more than")
    + """But generated views go on teaching: from {views.epochs} to {vicreg.epochs} epochs they rise by
    {views_by_time.points:.1f} ± {views_by_time.interval:.1f} points.""",
    when=lambda n: (
        n.oracle_over_views.points > n.oracle_over_views.interval
        and n.vicreg.epochs > n.views.epochs
        and n.views_by_time.points > n.views_by_time.interval
    ),
)
q5.says(
    _EPOCH.format(verb="teach no more than"),
    when=lambda n: n.oracle_over_views.points <= n.oracle_over_views.interval,
)
q5.says(
    "Whether neighbour pairs would rise as well with more epochs was not tried in this run (`neighbours_as_long`).",
    when=lambda n: not n.long,
)


_MOVED = """A change of colours alone, drawn as T draws it, moves a representation by
    {neighbours.moved.colours.share:.3f} with neighbour pairs, by {control.moved.colours.share:.3f} with generated
    views for as long, by {vicreg.moved.colours.share:.3f} in Q1; a crop alone by {neighbours.moved.crop.share:.3f},
    {control.moved.crop.share:.3f} and {vicreg.moved.crop.share:.3f} (squared distance of two unrelated images: 1;
    {changed_images:,} test images). """


def _all_moved(n):
    """Whether neighbour pairs are moved more than generated views for as long by both changes."""
    return all(gap["more"] > gap["interval"] for gap in n.moved_more.values())


q5.says(
    "**Generated views add invariance** to changes made by T, which are meant to leave the class as it is. " + _MOVED,
    when=_all_moved,
)
q5.says(
    "**That generated views add invariance is not seen in both of T's changes.** " + _MOVED,
    when=lambda n: not _all_moved(n),
)


_STILL = """after as many epochs as Q1 neighbour pairs are moved by {moved_as_long.colours.share:.3f} by colours
    ({moved_as_long.colours.more:+.4f} ± {moved_as_long.colours.interval:.4f} against Q1) and by
    {moved_as_long.crop.share:.3f} by a crop ({moved_as_long.crop.more:+.4f} ± {moved_as_long.crop.interval:.4f})."""


def _still_moved(n, sign=1):
    """The changes by which neighbour pairs are moved more than Q1 after as many epochs, or less: -1."""
    return {name for name, gap in n.moved_as_long.items() if sign * gap["more"] > gap["interval"]}


for _lasting, _said in (
    ({*ALONE}, "That lasts"), ({"colours"}, "For colours this difference lasts, and for the crop it cannot be told"),
    ({"crop"}, "For the crop this difference lasts, and for colours it cannot be told"),
    (set(), "Whether that lasts cannot be told"),
):  # fmt: skip
    q5.says(
        f"{_said}: {_STILL}",
        when=lambda n, lasting=_lasting: (
            n.long and _all_moved(n) and _still_moved(n) == lasting and not _still_moved(n, -1)
        ),
    )
q5.says(
    f"That does not last for both changes: {_STILL}",
    when=lambda n: n.long and _all_moved(n) and _still_moved(n, -1),
)
