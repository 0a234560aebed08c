# Generated from nbs/03_ablations.py by `make export`. Do not edit: edit the notebook.
# cells nbs/03_ablations.py c6e547789cd12b60
# text c82a0cba06a39072

"""3 · Ablations (Q4, Q5)."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.decomposition import PCA
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, send, to_float
from vicreg_nb.identity import cached
from vicreg_nb.methods import METHODS, baseline, trained
from vicreg_nb.neighbours import agreement, nearest, same_class
from vicreg_nb.plots import RIGHT, WRONG, image_grid, lines, scatter
from vicreg_nb.representations import Features, Probe, features_of, linear_probe, untrained_features
from vicreg_nb.representations import effective_rank, gain, project_pca, singular_values
from vicreg_nb.store import UserError, digest, duration, new_generator
from vicreg_nb.training import Run, train


class Side(NamedTuple):
    """A trained encoder, its representations, and their linear probe."""

    run: Run
    features: Features
    probe: Probe


def _side(cfg, images, run):
    features = features_of(cfg, images, run)
    return Side(run, features, linear_probe(cfg, features, images))


def whitened(features: Features) -> Features:
    """The same along the principal directions of its training images, with unit variance along each."""
    pca = PCA(whiten=True, random_state=0).fit(features.train)
    return Features(pca.transform(features.train), pca.transform(features.test), f"{features.identity} whitened")


q4 = Question("Q4", "Ablation 1: no variance term", "Section 3.2, Question 4", defaults={"mu": 0.0})


@q4.result
def ablate(cfg: Config, images: Images) -> dict:
    """`Side`s with `cfg`'s weights and with the profile's own, and the controls; UserError where these are the same."""
    base = baseline(cfg)
    if cfg == base:
        raise UserError(f"mu is {cfg.mu:g}, the profile's own: nothing would be ablated; give another, such as mu=0.")
    run = trained(cfg, images, "no_variance" if cfg.mu == 0 else "ablation")
    sides = {"vicreg": _side(base, images, trained(base, images)), "ablated": _side(cfg, images, run)}
    probes = {name: linear_probe(base, whitened(side.features), images) for name, side in sides.items()}
    untrained = linear_probe(base, untrained_features(base, images, sides["vicreg"].run), images)
    return {"sides": sides, "whitened": probes, "untrained": untrained, "images": images}


def _titles(sides):
    """{side: its title}; that of another ablation than mu = 0 names the weights that it changes."""
    cut, whole = sides["ablated"].run.cfg, sides["vicreg"].run.cfg
    changed = [
        f"{name} = {getattr(cut, name):g}" for name in ("lam", "mu", "nu") if vars(cut)[name] != vars(whole)[name]
    ]
    title = METHODS["no_variance"].title if changed == ["mu = 0"] else ", ".join(changed)
    return {"vicreg": METHODS["vicreg"].title, "ablated": title}


@q4.figure("Cloud or line? PCA of the test representations with and without the variance term, on axes of one scale.")
def q4_pca(result):
    titles, images = _titles(result["sides"]), result["images"]
    panels = {titles[name]: project_pca(side.features.test) for name, side in result["sides"].items()}
    shown = {title: (points, images.test_labels) for title, points in panels.items()}
    return scatter(shown, images.classes, legend=True)


@q4.figure("How many directions remain? Standard deviation of the test representations along each principal direction.")
def q4_spectrum(result):
    curves, colours = {}, {}
    for (name, title), method in zip(_titles(result["sides"]).items(), ("vicreg", "no_variance"), strict=True):
        values = singular_values(result["sides"][name].features.test)
        curves[title] = np.arange(1, len(values) + 1), np.maximum(values, 1e-8 * values.max())  # a logarithm needs > 0
        colours[title] = METHODS[method].colour
    labels = "principal direction of the representation", "standard deviation along it"
    return lines({"": curves}, *labels, colours, yscale="log", width=5.2, height=2.8)


def _measured(side, labels):
    test, last, cfg = side.features.test, side.run.history[-20:].mean(axis=0), side.run.cfg
    spread = singular_values(test)
    share = spread**2 / max(1e-12, (spread**2).sum())
    return {
        "accuracy": side.probe.accuracy, "interval": side.probe.interval, "effective_rank": effective_rank(test),
        "first_singular_value": spread[0], "share_of_first": share[0], "share_of_picture": share[:2].sum(),
        "picture_agreement": agreement(project_pca(test), labels), "agreement": agreement(test, labels),
        "last_invariance_term": last[0], "last_variance_term": last[1], "last_covariance_term": last[2],
        "lam": cfg.lam, "mu": cfg.mu, "nu": cfg.nu,
    }  # fmt: skip


@q4.summary
def _numbers_q4(result):
    sides, images, titles = result["sides"], result["images"], _titles(result["sides"])
    numbers = {name: _measured(side, images.test_labels) | {"title": titles[name]} for name, side in sides.items()}
    for name, side in sides.items():
        numbers[name]["learned"] = gain(vars(side.probe), vars(result["untrained"]))
        numbers[name]["whitened"] = result["whitened"][name].accuracy
    cut = sides["ablated"]
    return numbers | {
        "untrained": {"accuracy": result["untrained"].accuracy, "interval": result["untrained"].interval},
        "lost": gain(vars(sides["vicreg"].probe), vars(cut.probe)),
        "recovered": gain(vars(result["whitened"]["ablated"]), vars(cut.probe)),
        "highest_variance_term": 2 * cut.run.cfg.gamma, "dimension": cut.features.test.shape[1],
        "epochs": cut.run.cfg.epochs, "chance": 1 / len(images.classes),
    }  # fmt: skip


@q4.table
def _table_q4(n):
    header = ["", "mu", "probe accuracy", "after whitening", "effective rank", "variance in the first direction"]
    form = "{title}|{mu:g}|{accuracy:.1%}|{whitened:.1%}|{effective_rank:.1f}|{share_of_first:.1%}"
    rows = [form.format(**side).split("|") for side in (n.vicreg, n.ablated)]
    rows.append(["Before any training", "", f"{n.untrained.accuracy:.1%}", "", "", ""])
    return {"caption": "With all terms and ablated, at the same settings and epochs.", "header": header, "rows": rows}


q4.says(
    """**The accuracy is worse: {ablated.accuracy:.1%} of the test images with $\\mu$ = {ablated.mu:g},
    {vicreg.accuracy:.1%} with all terms**, {lost.points:.1f} ± {lost.interval:.1f} points less (95 %, over the test
    images). Before any training it is {untrained.accuracy:.1%}, to which training adds {ablated.learned.points:.1f}
    points without the variance term and {vicreg.learned.points:.1f} with it.""",
    when=lambda n: n.lost.points > n.lost.interval,
)
q4.says(
    """**The accuracy is not measurably worse: {ablated.accuracy:.1%} of the test images with $\\mu$ = {ablated.mu:g},
    {vicreg.accuracy:.1%} with all terms** (the difference is known to ± {lost.interval:.1f} points, 95 %).""",
    when=lambda n: n.lost.points <= n.lost.interval,
)
q4.says(
    """What collapses is the projection $z$, on which the loss is computed. The variance term, recorded though not
    minimised, ends at {ablated.last_variance_term:.2f} of at most {highest_variance_term:g}: all images have nearly the
    same $z$. That costs nothing in the terms that are left: invariance ends at {ablated.last_invariance_term:.0e}
    ({vicreg.last_invariance_term:.2f} with all terms), covariance at {ablated.last_covariance_term:.0e}
    ({vicreg.last_covariance_term:.1f}). Only the variance term forbids it.""",
    when=lambda n: (
        n.ablated.last_variance_term > 0.95 * n.highest_variance_term
        and n.ablated.last_invariance_term < 0.01 * n.vicreg.last_invariance_term
    ),
)


q4.says(
    """The representation $y$, one network earlier, does not shrink to a point: along its first direction its standard
    deviation is {ablated.first_singular_value:.1f}, that of VICReg {vicreg.first_singular_value:.1f}. It becomes a
    line, as the picture shows: this direction holds {ablated.share_of_first:.1%} of the variance instead of
    {vicreg.share_of_first:.1%}, and the effective rank is {ablated.effective_rank:.1f} of {dimension} instead of
    {vicreg.effective_rank:.1f}.""",
    when=lambda n: n.ablated.first_singular_value > n.vicreg.first_singular_value and n.ablated.share_of_first > 0.95,
)
q4.says(
    """The picture explains the accuracy by what is not in it. In it the classes overlap with both: of a point's ten
    nearest points {ablated.picture_agreement:.1%} are of its class, and with VICReg {vicreg.picture_agreement:.1%}. But
    without the variance term the picture holds {ablated.share_of_picture:.1%} of the variance and with it
    {vicreg.share_of_picture:.1%}; in all directions together {ablated.agreement:.1%} and {vicreg.agreement:.1%} of the
    ten nearest are of a point's class. Nor are the other directions merely short: with the same spread along every one,
    the ablated representation gives {ablated.whitened:.1%}, {recovered.points:.1f} of the {lost.points:.1f} points.""",
    when=lambda n: (
        n.ablated.share_of_picture > 0.95 > n.vicreg.share_of_picture
        and n.vicreg.agreement - n.ablated.agreement > 2 * abs(n.vicreg.picture_agreement - n.ablated.picture_agreement)
        and n.recovered.points < 0.25 * n.lost.points
    ),
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


q5 = Question("Q5", "Ablation 2: no generated neighbours", "Section 3.2, Question 5", defaults={"mu": 0.0})


@q5.result
def compare(cfg: Config, images: Images) -> dict:
    """`Side`s of Q1, of the same for as long as Q5, and of Q5, all with the profile's own weights; Q5's neighbours."""
    base = baseline(cfg)
    runs = {"vicreg": trained(base, images), "control": control_run(base, images)}
    runs["neighbours"] = neighbour_run(base, images)
    sides = {name: _side(base, images, run) for name, run in runs.items()}
    return {"sides": sides, "table": neighbour_tables(base, sides["vicreg"].features)[0], "images": images}


@q5.figure("The first training image of each class (top row) and its nearest by VICReg below. Red: of another class.")
def q5_neighbours(result):
    images, labels = result["images"], result["images"].train_labels
    first = np.array([np.flatnonzero(labels == kind)[0] for kind in range(len(images.classes))])
    numbers = np.vstack((first, result["table"][first, :5].T))
    frames = np.where(labels[numbers] == labels[first], RIGHT, WRONG).tolist()
    frames[0] = [None] * len(first)
    captions = np.array(images.classes)[labels[numbers]].tolist()
    names = ["image", "nearest", "second", "third", "fourth", "fifth"][: len(numbers)]
    return image_grid(list(images.train_images[numbers]), captions, frames, labels=names)


@q5.summary
def _numbers_q5(result):
    labels, table, sides = result["images"].train_labels, result["table"], result["sides"]
    right, (whole, control, near) = same_class(table, labels), (side.probe for side in sides.values())
    with np.errstate(invalid="ignore"):  # constant values have no correlation
        by_class = np.bincount(labels, right) / np.bincount(labels)
        correlation = np.corrcoef(by_class, whole.per_class - near.per_class)[0, 1]
    methods = {
        name: {"accuracy": side.probe.accuracy, "epochs": len(side.run.tests), "seconds": side.run.seconds,
               "effective_rank": effective_rank(side.features.test)}
        for name, side in sides.items()
    }  # fmt: skip
    return methods | {
        "neighbour_count": table.shape[1], "same_class": right.mean(), "other_class": 1 - right.mean(),
        "same_class_by_rank": (labels[table] == labels[:, None]).mean(axis=0), "interval": whole.interval,
        "lost": gain(vars(whole), vars(near)), "ahead_of_control": gain(vars(near), vars(control)),
        "correlation": correlation,
    }  # fmt: skip


@q5.table
def _table_q5(n):
    titles = {"vicreg": "VICReg (Q1)", "control": "VICReg, as long as Q5", "neighbours": "Neighbour pairs (Q5)"}
    form = "{epochs}|{accuracy:.1%}|{effective_rank:.1f}"
    rows = [[title, *form.format(**n[name]).split("|"), duration(n[name]["seconds"])] for name, title in titles.items()]
    header = ["", "epochs", "probe accuracy", "effective rank", "training time"]
    return {"caption": "Generated views against neighbours from the data.", "header": header, "rows": rows}


q5.says(
    """**Yes, the accuracy is lower: {neighbours.accuracy:.1%} with neighbours from the data, {vicreg.accuracy:.1%} with
    generated ones**, {lost.points:.1f} ± {lost.interval:.1f} points less (95 %, over the test images).""",
    when=lambda n: n.lost.points > n.lost.interval,
)
q5.says(
    """**No, the accuracy is not measurably lower: {neighbours.accuracy:.1%} with neighbours from the data,
    {vicreg.accuracy:.1%} with generated ones** (the difference is known to ± {lost.interval:.1f} points, 95 %).""",
    when=lambda n: n.lost.points <= n.lost.interval,
)
q5.says(
    """Q1 had {vicreg.epochs} epochs and Q5 had {neighbours.epochs}. After as many as Q5, generated views give
    {control.accuracy:.1%}; beside them, neighbour pairs stand at {ahead_of_control.points:+.1f} ±
    {ahead_of_control.interval:.1f} points. But that leaves out the training of the encoder that chose the neighbours:
    {vicreg.epochs} epochs, with generated views. In all, Q5 takes more training than Q1.""",
)


q5.says(
    """What generated views add is certainty, and number. Two views of one image never show two classes; of the top
    {neighbour_count} neighbours {same_class:.1%} have the image's class, so that {other_class:.1%} of the pairs ask for
    one projection of two classes. T makes a new pair at every step; an image has {neighbour_count} neighbours. Nor do
    the neighbours do without generated views: those trained the representation that finds them.""",
    when=lambda n: n.lost.points > n.lost.interval,
)
q5.says(
    """Which of this costs the accuracy is not shown here: classes with fewer right neighbours do not clearly lose more
    (correlation over the ten classes: {correlation:.2f}).""",
    when=lambda n: n.lost.points > n.lost.interval and n.correlation is not None and n.correlation > -0.63,
)  # of ten pairs of numbers without relation, a correlation beyond 0.63 comes up in 5 % of cases
