# Generated from nbs/02_representations.py by `make export`. Do not edit: edit the notebook.
# cells nbs/02_representations.py fee82e7c310095cb
# text 39fa5ea81783489c

"""2 · Representations (Q2, Q3)."""

from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import NearestCentroid
from torch import nn
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, send, to_float
from vicreg_nb.identity import cached, code_of
from vicreg_nb.neighbours import agreement, checked, nearest, same_class, same_class_parts
from vicreg_nb.plots import METHOD_COLOURS, QUIET, dots, heatmap, scatter
from vicreg_nb.store import UserError, digest, log, new_generator, progress
from vicreg_nb.training import Run, autocast, cosine_decay, initial_networks, train
from vicreg_nb.vicreg import Encoder


@contextmanager
def full_precision():
    """Convolutions in fp32 are computed in fp32; unasked, cuDNN would round their inputs to 10 bits (TF32)."""
    convolutions = torch.backends.cudnn.conv
    usual, convolutions.fp32_precision = convolutions.fp32_precision, "ieee"
    try:
        yield
    finally:
        convolutions.fp32_precision = usual


def _input(images, device):
    return normalise(to_float(images, device)).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def outputs(network, images: np.ndarray, device, precision: str = "fp32", batch: int = None) -> np.ndarray:
    """What a network in evaluation mode makes of images uint8 [N, 32, 32, 3], a batch at a time: float32 [N, d]."""
    device, parts = torch.device(device), []
    network, images = network.to(device, memory_format=torch.channels_last), torch.as_tensor(images).to(device)
    batches = images.split(batch or (500 if device.type == "cpu" else 2_000))
    with full_precision(), autocast(device, precision):
        for shown in progress(batches, "encoding"):
            parts.append(network(_input(shown, device)).float())
    return torch.cat(parts).cpu().numpy()


def encode(encoder: Encoder, images: np.ndarray, device="cpu", precision: str = "fp32", batch: int = None):
    """Representations float32 [N, d] of images uint8 [N, 32, 32, 3] by an encoder in evaluation mode."""
    if encoder.training:
        raise UserError("the encoder is in training mode, in which images of a batch mix: call .eval() first.")
    return outputs(encoder, images, device, precision, batch)


@dataclass(frozen=True)
class Features:
    """Representations by one method. train: float32 [N, d]; test: float32 [M, d]; identity: where they come from."""

    train: np.ndarray
    test: np.ndarray
    identity: str


def features_of(cfg: Config, images: Images, run: Run, precision: str = None) -> Features:
    """The `Features` of a run's encoder, computed once; in the precision of its training if none is given."""
    precision = precision or run.precision
    return _features(cfg, images, [run.identity, images.identity, precision], run.encoder, precision)


def _features(cfg, images, key, make_encoder, precision):
    device = choose_device(cfg)

    def compute():
        parts, encoder = {"train": images.train_images, "test": images.test_images}, make_encoder(device)
        return {part: encode(encoder, pictures, device, precision) for part, pictures in parts.items()}

    # another device rounds in another way, which may exchange near neighbours
    identity = digest(key, device.type, code_of(compute))
    return Features(**cached(cfg.cache, "features", identity, compute), identity=identity)


def singular_values(x: np.ndarray) -> np.ndarray:
    """[N, d] to [min(N, d)]: standard deviations along the principal directions, the largest first."""
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    return np.linalg.svd(centred, compute_uv=False) / np.sqrt(max(1, len(x) - 1))


def effective_rank(x: np.ndarray) -> float:
    """exp of the entropy of the normalised singular values (Roy and Vetterli, 2007); 0 for a constant."""
    values = singular_values(x)
    if values.sum() < 1e-12:
        return 0.0
    share = values / values.sum()
    share = share[share > 0]
    return float(np.exp(-(share * np.log(share)).sum()))


@np.errstate(invalid="ignore")  # of a constant, PCA's shares of the variance are 0 / 0
def project_pca(x: np.ndarray, dimensions: int = 2) -> np.ndarray:
    """[N, d] to [N, dimensions]: the first principal components; None: all of them."""
    return PCA(dimensions, random_state=0).fit_transform(x)


def project_tsne(cfg: Config, x: np.ndarray) -> np.ndarray:
    """[N, d] to [N, 2] by t-SNE, started from PCA; computed once. Zeros for a constant; UserError: perplexity >= N."""
    if cfg.perplexity >= len(x):
        raise UserError(f"perplexity is {cfg.perplexity:g}, not less than the {len(x)} points: lower it.")
    if not np.ptp(x, axis=0).any():  # a representation may collapse, and t-SNE divides by the spread of its start
        return np.zeros((len(x), 2), np.float32)

    def compute():
        log(f"t-SNE of {len(x):,} points")
        tsne = TSNE(2, perplexity=cfg.perplexity, init="pca", random_state=cfg.seed, n_jobs=-1)
        return {"points": tsne.fit_transform(x)}

    return cached(cfg.cache, "tsne", [x, cfg.perplexity, cfg.seed], compute)["points"]


def row_shares(confusion: np.ndarray) -> np.ndarray:
    """Counts [K, K] of guesses, rows are the true classes, as shares of their row."""
    return confusion / confusion.sum(axis=1, keepdims=True).clip(min=1)


def most_mixed(shares: np.ndarray, classes: tuple, count: int = 3) -> list[dict]:
    """The pairs of classes most often taken for each other: [{"pair": [a, b], "share", "there", "back"}, ...].

    shares: [K, K], of `row_shares`; there: of a's guesses that name b, back: of b's that name a, share: their mean.
    """
    second, first = np.tril_indices(len(classes), -1)
    mean = (shares[first, second] + shares[second, first]) / 2
    pairs = [(first[n], second[n], mean[n]) for n in np.argsort(-mean, kind="stable")[:count]]
    return [
        {"pair": [classes[a], classes[b]], "share": both, "there": shares[a, b], "back": shares[b, a]}
        for a, b, both in pairs
    ]


def fit_linear(cfg: Config, x: torch.Tensor, y: torch.Tensor, classes: int) -> nn.Linear:
    """SGD with momentum and cosine decay on softmax cross-entropy. x: [N, d] float; y: [N] int."""
    layer = nn.Linear(x.shape[1], classes, device=x.device)
    nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=cfg.probe_lr, momentum=0.9)
    steps, done, generator = cfg.probe_epochs * -(-len(x) // cfg.probe_batch), 0, new_generator(cfg.seed, "probe")
    for _ in progress(range(cfg.probe_epochs), "linear probe"):
        for batch in send(torch.randperm(len(x), generator=generator), x.device).split(cfg.probe_batch):
            optimizer.param_groups[0]["lr"] = cosine_decay(cfg.probe_lr, done, steps)
            nn.functional.cross_entropy(layer(x[batch]), y[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
            done += 1
    return layer


def half_interval(values: np.ndarray) -> float:
    """Half the 95 % interval of the mean of independent values [n]; for hits and misses, that of an accuracy."""
    return stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))


def probe_scores(cfg: Config, features: Features, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """What one linear layer, fitted on the training features, gives each class: [N, K], test [M, K]; UserError: NaN."""
    parts = checked(features.train, "the training features"), checked(features.test, "the test features")
    mean, std = parts[0].mean(axis=0), parts[0].std(axis=0) + 1e-6
    x, x_test = (torch.from_numpy((part - mean) / std).to(choose_device(cfg)) for part in parts)
    layer = fit_linear(cfg, x, torch.from_numpy(images.train_labels).to(x.device), len(images.classes))
    with torch.inference_mode():
        return layer(x), layer(x_test)


@dataclass(frozen=True)
class Probe:
    """A linear probe's result on the test images. confusion: int [10, 10], rows are the true classes."""

    accuracy: float
    train_accuracy: float
    confusion: np.ndarray
    per_class: np.ndarray  # accuracy of each class
    interval: float  # half the 95 % interval of the accuracy
    hits: np.ndarray  # bool [M], the test images that are named rightly


def linear_probe(cfg: Config, features: Features, images: Images) -> Probe:
    """The linear layer of `probe_scores`, scored on the test features. UserError for NaN."""
    guess_train, guess = (part.argmax(dim=1).cpu().numpy() for part in probe_scores(cfg, features, images))
    confusion = confusion_matrix(images.test_labels, guess, labels=range(len(images.classes)))
    accuracy, per_class = (guess == images.test_labels).mean(), confusion.diagonal() / confusion.sum(axis=1).clip(min=1)
    hits, on_train = guess == images.test_labels, float((guess_train == images.train_labels).mean())
    return Probe(float(accuracy), on_train, confusion, per_class, half_interval(hits), hits)


def gain(one: Probe, other: Probe) -> dict:
    """The accuracy of `one` less that of `other` in points, with half the 95 % interval of the paired difference."""
    difference = 100 * (one.hits.astype(float) - other.hits)
    return {"points": difference.mean(), "interval": half_interval(difference)}


def untrained_encoder(cfg: Config, images: Images, device="cpu") -> nn.Module:
    """The encoder that training starts from, in evaluation mode."""
    encoder = initial_networks(cfg)[0].to(device, memory_format=torch.channels_last).train()
    for layer in encoder.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.momentum = None  # a plain mean over the batches seen
    with torch.no_grad():
        for batch in np.array_split(images.train_images[:2_000], 8):
            encoder(_input(batch, device))
    return encoder.eval()


def untrained_features(cfg: Config, images: Images, run: Run, precision: str = "") -> Features:
    """`Features` of the network that `run` started from; precision: of encoding, if not the run's."""
    architecture, precision = [cfg.encoder, cfg.width, cfg.encoder_dim], precision or run.precision
    key = ["initial weights", cfg.seed, architecture, images.identity, precision]
    return _features(cfg, images, key, lambda device: untrained_encoder(cfg, images, device), precision)


def _neighbourhoods(cfg, spaces, images):
    """The ten nearest of each point [n, 10] in each of `spaces`, and among 8 x 8 pixels of its image."""
    pixels = images.reshape(len(images), 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    return {
        name: nearest(points, 10, device=choose_device(cfg)).numbers
        for name, points in (spaces | {"pixels": pixels}).items()
    }


q2 = Question("Q2", "PCA and t-SNE", "Section 3.2, Question 2", required=True)
q3 = Question("Q3", "Linear probing", "Section 3.2, Question 3", required=True)


class _Result(NamedTuple):
    cfg: Config
    images: Images
    features: Features
    panels: dict  # {"PCA": points [n, 2], "t-SNE": points [n, 2]} of the first n test images
    near: dict  # the ten nearest of each of these [n, 10]: in each picture, in all dimensions, among pixels
    trained: Probe
    untrained: Probe


@q2.result
@q3.result
def _compute(cfg, images):
    run = train(cfg, images)
    features, shown = features_of(cfg, images, run), slice(0, cfg.tsne_size)
    panels = {"PCA": project_pca(features.test)[shown], "t-SNE": project_tsne(cfg, features.test[shown])}
    near = _neighbourhoods(cfg, panels | {"representation": features.test[shown]}, images.test_images[shown])
    probes = (linear_probe(cfg, one, images) for one in (features, untrained_features(cfg, images, run)))
    return _Result(cfg, images, features, panels, near, *probes)


@q2.figure(
    "Which classes lie apart, and which on one another? PCA and t-SNE of the representations of the test images; the "
    "text counts whose points are neighbours. PCA: the two directions of most variance, with their share of it, where "
    "many points cover others; t-SNE: its axes mean nothing."
)
def q2_pca_tsne(result):
    labels, variances = result.images.test_labels, singular_values(result.features.test) ** 2
    first, second = variances[:2] / max(variances.sum(), 1e-30)
    titles = {"PCA": f"PCA: {first:.0%} of the variance across, {second:.0%} up", "t-SNE": "t-SNE"}
    panels = {titles[name]: (points, labels[: len(points)]) for name, points in result.panels.items()}
    return scatter(panels, result.images.classes)


def _confusions(result):
    """{name: shares [K, K]}: whose points are near whose in t-SNE's picture and among pixels, and the probe's."""
    labels, kinds = result.images.test_labels, range(len(result.images.classes))
    guesses = {name: labels[result.near[name]] for name in ("t-SNE", "pixels")}
    counts = {
        name: confusion_matrix(labels[: len(near)].repeat(near.shape[1]), near.ravel(), labels=kinds)
        for name, near in guesses.items()
    }
    return {name: row_shares(table) for name, table in (counts | {"probe": result.trained.confusion}).items()}


@q2.figure(
    "The classes of the ten nearest points in t-SNE's picture (left) and those that the "
    "linear probe names, which sees all dimensions (right); in per cent of the class.",
    aside=True,
)
def q2_confusions(result):
    shares, classes = _confusions(result), result.images.classes
    titles = {"t-SNE": "class of the ten nearest in t-SNE's picture", "probe": "class named by the linear probe"}
    panels = {title: (classes, 100 * shares[name]) for name, title in titles.items()}
    return heatmap(panels, classes, "", "true class", height=3.3)


@q3.figure("What each class gains by the training of the encoder: accuracy of the linear probe, before and after.")
def q3_per_class(result):
    series = {"untrained": 100 * result.untrained.per_class, "VICReg": 100 * result.trained.per_class}
    colours = {"untrained": QUIET, "VICReg": METHOD_COLOURS[0]}
    classes, chance = result.images.classes, 100 / len(result.images.classes)
    return dots({"": series}, classes, "accuracy / %", colours, chance=chance, width=4.6, xlim=(0, 100))


_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
_DIMENSIONS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)


def _pca_needs(result, wanted):
    """The first of `_DIMENSIONS` in which PCA's agreement reaches `wanted`, or None; the last too small, or 0."""
    count = len(result.panels["PCA"])
    turned = project_pca(result.features.test, None)[:count]
    labels = result.images.test_labels[:count]
    tried = (d for d in _DIMENSIONS if d <= turned.shape[1] and agreement(turned[:, :d], labels) >= wanted)
    needs = next(tried, None)
    return {"largest_needs": needs, "smallest_short": max((d for d in _DIMENSIONS if d < (needs or 0)), default=0)}


def _ahead(near, labels, other):
    """By how many points more of a point's neighbours are of its class in t-SNE's picture than in `other`."""
    more = 100 * np.subtract(*(same_class_parts(near[name], labels) for name in ("t-SNE", other)))
    return more.mean(), half_interval(more)


def _centred(points, labels):
    """For each of the points [N, 2]: whether it is nearest to the centre of its own class; chance, if all are one."""
    points = points[: len(labels)]
    if not np.ptp(points, axis=0).any():
        return np.full(len(labels), 1 / len(np.unique(labels)))
    return NearestCentroid().fit(points, labels).predict(points) == labels


_RARE = 0.025  # of the exchanges at random


def _ranks(shares, groups):
    """Each pair's rank among those of its group, from -1 to 1, by its shares both ways; 0 for pairs of two groups."""
    both, ranks = shares + shares.T, np.zeros(shares.shape)
    for group in np.unique(groups):
        pairs = np.tril(np.outer(groups == group, groups == group), -1)
        ranks[pairs] = (2 * stats.rankdata(both[pairs]) - pairs.sum() - 1) / max(pairs.sum(), 1)
    return ranks + ranks.T


def same_order(one: np.ndarray, other: np.ndarray, groups: np.ndarray, draws: int = 1_000) -> dict:
    """{"rank": correlation of the pairs' ranks in shares [K, K], "chance": what is rare at random}; None: no order."""
    one, other = _ranks(one, groups), _ranks(other, groups)
    scale, drawn = np.sqrt((one**2).sum() * (other**2).sum()), []
    if not scale:
        return {"rank": None, "chance": None}
    random, order, members = np.random.default_rng(17), np.arange(len(groups)), np.argsort(groups, kind="stable")
    for _ in range(draws):
        order[members] = np.lexsort((random.random(len(groups)), groups))
        drawn.append((one[np.ix_(order, order)] * other).sum() / scale)
    return {"rank": (one * other).sum() / scale, "chance": np.quantile(drawn, 1 - _RARE)}


@q2.summary
def _numbers_q2(result):
    near, classes, labels = result.near, result.images.classes, result.images.test_labels[: len(result.near["PCA"])]
    agreements, shares = {name: same_class(one, labels).mean() for name, one in near.items()}, _confusions(result)
    kinds, ranked = np.isin(classes, _ANIMALS), sorted(zip(shares["t-SNE"].diagonal(), classes, strict=True))
    animal, within = kinds[labels], (kinds[:, None] == kinds) & ~np.eye(len(classes), dtype=bool)
    groups = {name: same_class(near[name], animal).mean() for name in ("t-SNE", "PCA", "pixels")}
    mixed, by_probe = most_mixed(shares["t-SNE"], classes, 2), (shares["probe"] + shares["probe"].T) / 2
    mixed = [one | {"by_probe": by_probe[tuple(map(classes.index, one["pair"]))]} for one in mixed]
    centred = {name: _centred(points, labels) for name, points in result.panels.items()}
    by_centre, needs = centred["t-SNE"].astype(float) - centred["PCA"], _pca_needs(result, agreements["t-SNE"])
    variances = singular_values(result.features.test) ** 2
    return {
        "points": len(labels), "over": f"95 %, paired over the {len(labels):,} test images, the pictures held fixed",
        "centred": {name: one.mean() for name, one in centred.items()}, "dimension": result.features.test.shape[1],
        "by_centre": {"points": 100 * by_centre.mean(), "interval": 100 * half_interval(by_centre)},
        "agreement": agreements, "gain": dict(zip(("over_pca", "interval"), _ahead(near, labels, "PCA"))),
        "over_pixels": dict(zip(("points", "interval"), _ahead(near, labels, "pixels"))),
        "chance": 1 / len(classes), "groups": groups | {"chance": animal.mean() ** 2 + (~animal).mean() ** 2},
        "overlapping": mixed, "entangled": most_mixed(shares["probe"], classes, 2), "rare": _RARE,
        "confused_within": shares["probe"][within].sum() / max(within.sum(), 1), "pairs_within": within.sum() // 2,
        "within": {name: same_order(shares["t-SNE"], shares[name], kinds) for name in ("pixels", "probe")},
        "pca_variance": variances[:2].sum() / max(variances.sum(), 1e-30),
        "best": dict(zip(("share", "class"), ranked[-1])), "worst": dict(zip(("share", "class"), ranked[0])),
    } | needs  # fmt: skip


_NEAR = """Of a point's ten nearest points, {agreement[t-SNE]:.1%} are of its class in t-SNE's picture and
    {agreement[PCA]:.1%} in PCA's ({gain.over_pca:+.1f} ± {gain.interval:.1f} points, {over}; chance is
    {chance:.0%})."""


def _better(n):
    """Whether t-SNE's picture is measurably the more effective one."""
    return n.gain.over_pca > n.gain.interval


q2.says("**t-SNE is the more effective picture.** " + _NEAR, when=_better)
q2.says("**PCA is the more effective picture.** " + _NEAR, when=lambda n: n.gain.over_pca < -n.gain.interval)
q2.says(
    "**Neither picture is measurably more effective.** " + _NEAR,
    when=lambda n: abs(n.gain.over_pca) <= n.gain.interval,
)


_CENTRE = """: {centred[t-SNE]:.1%} of the points are nearest to the centre of their own class in t-SNE's picture,
    {centred[PCA]:.1%} in PCA's ({by_centre.points:+.1f} ± {by_centre.interval:.1f})."""
q2.says(
    "That is not only because t-SNE is built from neighbours" + _CENTRE,
    when=lambda n: _better(n) and n.by_centre.points > n.by_centre.interval,
)
q2.says(
    """This measure may favour t-SNE, which is built from neighbours; the distance to class centres shows no measurable
    difference"""
    + _CENTRE,
    when=lambda n: _better(n) and abs(n.by_centre.points) <= n.by_centre.interval,
)
q2.says(
    """This measure may favour t-SNE, which is built from neighbours; by the distance to class centres PCA's picture is
    the better one"""
    + _CENTRE,
    when=lambda n: _better(n) and n.by_centre.points < -n.by_centre.interval,
)


q2.says(
    """A plane has no room for what PCA keeps: its two directions hold {pca_variance:.0%} of the variance, and it needs
    more than {smallest_short} and at most {largest_needs} dimensions (only some numbers were tried) to keep as much of
    the classes together as t-SNE (van der Maaten and Hinton, 2008) does in two. All {dimension} dimensions keep
    {agreement[representation]:.1%}, so t-SNE loses little.""",
    when=lambda n: (
        _better(n)
        and n.largest_needs is not None
        and n.get("smallest_short", 0) > 3  # three would be as good as a plane
        and n.agreement["t-SNE"] > 0.9 * n.agreement.representation
    ),
)


_KEPT = """ In t-SNE's picture {agreement[t-SNE]:.1%} of a point's neighbours are of its class, among the images' own
    pixels (shrunk to 8 x 8) {agreement[pixels]:.1%} ({over_pixels.points:+.1f} ± {over_pixels.interval:.1f} points);
    most for {best[class]} ({best.share:.0%}), fewest for
    {worst[class]} ({worst.share:.0%})."""
q2.says(
    "**VICReg has captured the classes in part, and not accurately.**" + _KEPT,
    when=lambda n: n.agreement["t-SNE"] < 0.8 and n.over_pixels.points > n.over_pixels.interval,
)
q2.says("**VICReg has captured the classes accurately.**" + _KEPT, when=lambda n: n.agreement["t-SNE"] >= 0.8)
q2.says(
    "**VICReg has not measurably captured the classes better than pixels do.**" + _KEPT,
    when=lambda n: n.agreement["t-SNE"] < 0.8 and n.over_pixels.points <= n.over_pixels.interval,
)


q2.says(
    """The picture separates animals from vehicles: {groups[t-SNE]:.0%} of a point's neighbours are of the
    same of these two groups ({groups[PCA]:.0%} in PCA's picture, {groups[pixels]:.0%} among pixels; by chance
    {groups[chance]:.0%}).""",
    when=lambda n: n.groups["t-SNE"] - n.groups.chance > 0.5 * (1 - n.groups.chance),
)
_PAIR = "{{{0}.pair[0]}} and {{{0}.pair[1]}} ({{{0}.there:.0%}} and {{{0}.back:.0%}})"
q2.says(
    f"""**Most entangled are {_PAIR.format("overlapping[0]")}, and {_PAIR.format("overlapping[1]")}**: that share of the
    neighbours of the first class is of the second, and the other way round.""",
    when=lambda n: len(n.overlapping) > 1 and n.overlapping[1].share > n.chance,
)


def _ordered_alike(n, name):
    """Whether classes of a group are mixed in the picture as they are by the probe, or among pixels, beyond chance."""
    return n.within[name].rank is not None and n.within[name].rank > n.within[name].chance


_CHANCE = """(rank correlation {{within.{0}.rank:.2f}}; with the classes of a group exchanged at random, beyond
    {{within.{0}.chance:.2f}} in {{rare:.1%}} of cases)"""
q2.says(
    f"""It is not the picture alone that mixes them: the linear probe, which sees all dimensions, confuses the two
    classes of these pairs in {{overlapping[0].by_probe:.1%}} and {{overlapping[1].by_probe:.1%}} of their images
    (average over the pairs of two animals or of two other classes: {{confused_within:.1%}}). Most often it confuses
    {_PAIR.format("entangled[0]")}, and {_PAIR.format("entangled[1]")}.""",
    when=lambda n: (
        len(n.overlapping) > 1
        and _ordered_alike(n, "probe")
        and min(one["by_probe"] for one in n.overlapping) > 1.2 * n.confused_within
    ),
)
q2.says(
    f"""Of the {{pairs_within}} pairs of two animals or of two other classes, those that overlap more in the picture
    tend to be confused more by the probe {_CHANCE.format("probe")}.""",
    when=lambda n: _ordered_alike(n, "probe"),
)


q2.says(
    f"""Classes of a group overlap where their images look alike: pairs that are mixed more in the picture tend to be
    mixed more among plain pixels, too {_CHANCE.format("pixels")}.""",
    when=lambda n: _ordered_alike(n, "pixels"),
)
q2.says(
    f"""That classes of a group overlap where their images look alike cannot be shown: pairs that are mixed more in the
    picture are not measurably mixed more among plain pixels {_CHANCE.format("pixels")}.""",
    when=lambda n: n.within.pixels.rank is not None and not _ordered_alike(n, "pixels"),
)


@q3.summary
def _numbers_q3(result):
    cfg, images, probe, untrained = result.cfg, result.images, result.trained, result.untrained
    ranked = sorted(zip(probe.per_class, images.classes, strict=True))
    numbers = {name: getattr(probe, name) for name in ("accuracy", "interval", "train_accuracy", "confusion")}
    numbers |= {"untrained_accuracy": untrained.accuracy, "bar": 0.6, "over": "95 % over the test images"}
    numbers["dimension"] = result.features.test.shape[1]
    numbers["gain"] = gain(probe, untrained)
    for name, one in (("per_class", probe), ("untrained_per_class", untrained)):
        numbers[name] = dict(zip(images.classes, one.per_class, strict=True))
    before = numbers["untrained_per_class"]
    kind, easiest = ranked[0][1], sorted(kind for _, kind in ranked[-2:])  # by name: which is first differs by seed
    numbers["hardest"] = {"class": kind, "accuracy": numbers["per_class"][kind], "untrained": before[kind]}
    numbers["easiest"] = {"pair": easiest, "accuracies": [numbers["per_class"][kind] for kind in easiest]}
    settings = {name: getattr(cfg, name) for name in ("profile", "encoder", "epochs", "width", "probe_epochs")}
    counts = {"train_images": len(images.train_labels), "test_images": len(images.test_labels)}
    return numbers | settings | counts | {"dataset": images.name}


_PROBE = """**The linear probe classifies {accuracy:.1%} of the {test_images:,} test images correctly** (±
    {interval:.1%}, {over})"""
_PROTOCOL = """ The protocol: one fully connected layer on the {dimension} frozen features, scaled to zero mean and unit
    variance, {probe_epochs} epochs of SGD on the {train_images:,} training images, of which it classifies
    {train_accuracy:.1%} correctly."""
q3.says(
    _PROBE + ", more than the exercise's {bar:.0%}." + _PROTOCOL,
    when=lambda n: n.accuracy - n.interval >= n.bar,
)
q3.says(
    _PROBE + ". The exercise's {bar:.0%} is reached, though the interval holds it." + _PROTOCOL,
    when=lambda n: n.accuracy >= n.bar > n.accuracy - n.interval,
)
q3.says(
    _PROBE
    + """. The exercise's {bar:.0%} is not reached in profile {profile} (an encoder of width {width}, {epochs} epochs
    of VICReg)."""
    + _PROTOCOL,
    when=lambda n: n.accuracy < n.bar,
)


_SMALL = """This is the accuracy of the small network of profile {profile}, not of the exercise's ResNet18; whether the
    ablations come out alike with ResNet18 and Adam is not tested in this run. """
_CHOSEN = """The recipe of profile {profile} was chosen among others by this accuracy, on the same test images, which
    may flatter it."""


def _chosen(n):
    """Whether this accuracy is one of those by which the recipe was chosen."""
    return n.profile == "quick" and n.get("dataset", "cifar10") == "cifar10"


q3.says(_SMALL + _CHOSEN, when=lambda n: n.encoder != "resnet18" and _chosen(n))
q3.says(_SMALL, when=lambda n: n.encoder != "resnet18" and not _chosen(n))
q3.says(_CHOSEN, when=lambda n: n.encoder == "resnet18" and _chosen(n))


_BEFORE = "The very network that training started from, with the same initial weights, gives {untrained_accuracy:.1%}: "
_CLASSES = """ The hardest class is {hardest[class]} ({hardest[accuracy]:.0%}; untrained {hardest[untrained]:.0%}); the
    easiest are {easiest.pair[0]} ({easiest.accuracies[0]:.0%}) and {easiest.pair[1]} ({easiest.accuracies[1]:.0%})."""
q3.says(
    _BEFORE + "the training has added {gain.points:.1f} ± {gain.interval:.1f} points." + _CLASSES,
    when=lambda n: n.gain.points > n.gain.interval,
)
q3.says(
    _BEFORE
    + """that the training has added anything cannot be measured ({gain.points:+.1f} ± {gain.interval:.1f} points)."""
    + _CLASSES,
    when=lambda n: n.gain.points <= n.gain.interval,
)
