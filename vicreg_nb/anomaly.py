# Generated from nbs/06_anomaly.py by `make export`. Do not edit: edit the notebook.
# cells nbs/06_anomaly.py 80afbadfa8c744ef
# text fca0aed4ab0951e2

"""6 · Anomaly detection (Sec. 4.2)."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score, roc_curve
from torchvision.transforms import functional as TF
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, Outliers, image_attributes, open_outliers
from vicreg_nb.methods import ASKED, ENCODERS, LONGER, METHODS, UNTRAINED, colours_by_title, encoded, features
from vicreg_nb.neighbours import nearest
from vicreg_nb.plots import QUIET, Drawing, image_grid, images_over_dots, lines


DETECTORS = {name: METHODS[name].title for name in ENCODERS} | {"longer": LONGER.title, "untrained": UNTRAINED.title}


def detectors_of(cfg: Config) -> dict:
    """{detector: title} of those that a run has: neighbour pairs as long as VICReg only with `neighbours_as_long`."""
    return {name: title for name, title in DETECTORS.items() if cfg.neighbours_as_long or name != "longer"}


def encode_all(cfg: Config, images: Images, outliers: Outliers, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A detector's representations, float32: of training images [N, d]; of the normal test images, then anomalies."""
    normal = features(cfg, images, name)
    return normal.train, np.concatenate((normal.test, encoded(cfg, images, name, outliers.images)))


def inverse_density(distances: np.ndarray) -> np.ndarray:
    """Eq. 7 for k = 1 .. K, in the columns of [Q, K]; distances: [Q, K], of each image to its K nearest, rising."""
    return np.cumsum(distances, axis=1) / np.arange(1, distances.shape[1] + 1)


def class_aucs(train: np.ndarray, test: np.ndarray, images: Images, k: int, device="cpu") -> np.ndarray:
    """AUC [classes] of Eq. 7 with each class in turn as the normal one; train [N, d] and test [M, d] by one encoder."""
    aucs = []
    for label in range(len(images.classes)):
        distances = nearest(train[images.train_labels == label], k, test, device).distances
        aucs.append(roc_auc_score(images.test_labels != label, inverse_density(distances)[:, -1]))
    return np.array(aucs)


def properties(pictures: np.ndarray) -> dict:
    """{name: values [N]} of six plain properties of images uint8 [N, 32, 32, 3]."""
    found, grey = image_attributes(pictures), pictures.mean(axis=3, dtype=np.float32)
    plain = {name: found[name][:, 0] for name in ("brightness", "contrast", "fine texture")}
    edge = np.pad(np.zeros((22, 22), bool), 5, constant_values=True)
    weights, axis = grey / np.maximum(grey.sum(axis=(1, 2), keepdims=True), 1), np.arange(32)
    y, x = ((weights.sum(axis=across), axis - (weights.sum(axis=across) @ axis)[:, None]) for across in (2, 1))
    spread = [np.sqrt((weight * place**2).sum(axis=1)) for weight, place in (x, y)]
    along = np.abs(np.einsum("nij,ni,nj->n", weights, y[1], x[1])) / np.maximum(spread[0] * spread[1], 1e-6)
    colourfulness = np.linalg.norm(found["colour"], axis=1)
    return plain | {"colourfulness": colourfulness, "border": grey[:, edge].std(axis=1) / 255, "diagonal": along}


def edited(images: Images, outliers: Outliers) -> dict:
    """{edit: images uint8 [n, 32, 32, 3]} of at most a thousand anomalies, or of normal test images."""
    parts = (torch.from_numpy(part[:1_000]).permute(0, 3, 1, 2) for part in (outliers.images, images.test_images))
    digits, grey = next(parts), TF.rgb_to_grayscale(next(parts), 3)
    ink, dark = (outliers.images > 127).mean(), outliers.images.mean() / max(grey.float().mean().item(), 1)
    limits = grey.float().flatten(1).quantile(1 - ink, dim=1)[:, None, None, None]
    found = {
        "digits": digits,
        "less ink": TF.adjust_brightness(digits, 0.6),
        "little ink": TF.adjust_brightness(digits, 0.3),
        "two-tone photographs": 255 * (grey > limits).byte(),
        "dark photographs": TF.adjust_brightness(grey, dark),
    }
    return {name: part.permute(0, 2, 3, 1).contiguous().numpy() for name, part in found.items()}


class Scores(NamedTuple):
    """The Q tested images, normal ones first, then anomalies, and what the methods say of them."""

    images: Images
    name: str  # of the anomalies
    pictures: np.ndarray  # uint8 [Q, 32, 32, 3]
    called: list  # [Q], what each is: its class, or its digit
    truth: np.ndarray  # [Q], 1 for an anomaly
    k: int  # of Eq. 7
    plain: dict  # {property: values [Q]}
    scores: dict  # {detector: Eq. 7 [Q, K]}, column k - 1 with k neighbours
    near: dict  # {detector: numbers [Q, k] of each image's nearest training images}
    edits: dict  # {detector: {edit: Eq. 7 of the `edited` images}}
    by_class: dict  # {detector: AUC [classes], with that class as the normal one}

    def relative(self, name: str) -> np.ndarray:
        """A method's scores [Q] at the exercise's k, in units of the median of the normal images."""
        scores = self.scores[name][:, self.k - 1]
        return scores / (np.median(scores[self.truth == 0]) or 1)  # 0 where all representations are one


ad1 = Question("AD1", "Anomaly detection: kNN density", "Section 4.2, Question 1")
ad2 = Question("AD2", "Anomaly detection: ROC and AUC", "Section 4.2, Question 2")
ad3 = Question("AD3", "Anomaly detection: the most anomalous", "Section 4.2, Question 3")


@ad1.result
@ad2.result
@ad3.result
def score_all(cfg: Config, images: Images) -> Scores:
    """Score all test images and anomalies by each of the `DETECTORS`."""
    outliers, device, k = open_outliers(images), choose_device(cfg), cfg.anomaly_k
    truth = np.repeat([0, 1], [len(images.test_labels), len(outliers.labels)])
    pictures = np.concatenate((images.test_images, outliers.images))
    called = [images.classes[i] for i in images.test_labels] + [f"{outliers.name} {i}" for i in outliers.labels]
    scores, near, by_class, edits, shown = {}, {}, {}, {}, edited(images, outliers)
    for name in detectors_of(cfg):
        train, tested = encode_all(cfg, images, outliers, name)
        found = nearest(train, max(k, cfg.max_k), tested, device)
        scores[name], near[name] = inverse_density(found.distances), found.numbers[:, :k]
        changed = {edit: encoded(cfg, images, name, part) for edit, part in shown.items()}
        far = {edit: nearest(train, k, part, device).distances for edit, part in changed.items()}
        edits[name] = {edit: inverse_density(distances)[:, -1] for edit, distances in far.items()}
        by_class[name] = class_aucs(train, tested[truth == 0], images, k, device)
    facts = images, outliers.name, pictures, called, truth, k, properties(pictures)
    return Scores(*facts, scores, near, edits, by_class)


@ad1.figure(
    "Where the anomalies lie among the normal images: distribution of the scores of Eq. 7, in units of the median of "
    "the normal images. Scores above 3 are counted at 3.",
    aside=True,
)
def ad1_scores(tested: Scores) -> Drawing:
    bins, panels = np.linspace(0, 3, 61), {}
    for name in ENCODERS:
        parts = [tested.relative(name).clip(max=2.99)[tested.truth == kind] for kind in (0, 1)]
        curves = [(bins[:-1] + 0.025, 100 * np.histogram(part, bins)[0] / len(part)) for part in parts]
        panels[METHODS[name].title] = dict(zip(("normal", "anomalous"), curves, strict=True))
    colours = {"normal": QUIET, "anomalous": "#222222"}
    return lines(panels, "score / normal median", "test images / %", colours, height=2.2)


@ad1.summary
def _densities(tested):
    methods = {}
    for name in ENCODERS:
        normal, anomalous = (tested.scores[name][tested.truth == kind, tested.k - 1] for kind in (0, 1))
        medians = {"median_normal": np.median(normal), "median_anomalous": np.median(anomalous)}
        ratio = medians["median_anomalous"] / (medians["median_normal"] or 1)
        above = (anomalous > np.quantile(normal, 0.95)).mean()
        methods[name] = medians | {"ratio": ratio, "above_95": above}
    images = {"cifar10": "CIFAR-10"}.get(tested.images.name, tested.images.name)
    counts = dict(zip(("normal", "anomalous"), np.bincount(tested.truth), strict=True))
    counts["reference"] = len(tested.images.train_labels)
    return {"k": tested.k, "counts": counts, "names": [images, tested.name], "methods": methods}


ad1.says(
    """**Digits score higher: their median is {methods.vicreg.ratio:.2f} times that of {names[0]} with VICReg and
    {methods.neighbours.ratio:.2f} times with neighbour pairs.**""",
    when=lambda n: min(n.methods.vicreg.ratio, n.methods.neighbours.ratio) > 1.05,
)
ad1.says(
    """The score is the exercise's Eq. 7, after Reiss et al. (2021), who square the distances: the mean distance
    $\\frac{{1}}{{k}} \\sum_i \\lVert y - y_i \\rVert_2$ of a representation from its $k$ nearest training images. The
    reference is {counts.reference:,} training images; {counts.normal:,} test images of {names[0]} are normal and
    {counts.anomalous:,} of {names[1]} anomalous; k is {k}. A threshold that calls 5 % of the normal images anomalous
    finds {methods.vicreg.above_95:.1%} of {names[1]} with VICReg, {methods.neighbours.above_95:.1%} with neighbour
    pairs."""
)
ad1.says(
    """The collapsed encoder of Q4 finds {methods.no_variance.above_95:.1%}: to it the digits lie nearer to the training
    images than photographs do (ratio of the medians {methods.no_variance.ratio:.2f}).""",
    when=lambda n: n.methods.no_variance.ratio < 1 and n.methods.no_variance.above_95 < 0.05,
)


FEW = 0.05  # a rate of false alarms that somebody might accept


@ad2.figure(
    "ROC curves over all thresholds (left) and where false alarms are few (right). "
    "Dashed: the collapsed encoder of Q4, and chance."
)
def ad2_roc(tested: Scores) -> Drawing:
    curves, colours = {}, {}
    for name in ENCODERS:
        label = f"{METHODS[name].title}: AUC {roc_auc_score(tested.truth, tested.relative(name)):.4f}"
        curves[label], colours[label] = roc_curve(tested.truth, tested.relative(name))[:2], METHODS[name].colour
    curves["chance: AUC 0.5"], colours["chance: AUC 0.5"] = (np.linspace(0, 1, 21),) * 2, QUIET
    few = {label: (np.r_[x[x <= FEW], FEW], np.r_[y[x <= FEW], y[x <= FEW][-1]]) for label, (x, y) in curves.items()}
    panels = {"all thresholds": curves, f"at most {FEW:.0%} false positives": few}
    return lines(panels, "false positive rate", "true positive rate", colours, dashed=list(curves)[2:], height=2.6)


def placements(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share [Q] of images of the other kind that are on the right side of each image (DeLong et al., 1988)."""
    below = rankdata(scores)  # of all images; ties count half
    for kind in (0, 1):
        below[truth == kind] -= rankdata(scores[truth == kind])  # without those of its own kind
        below[truth == kind] /= (truth != kind).sum()
    return np.where(truth == 1, below, 1 - below)


def auc_interval(truth: np.ndarray, scores: np.ndarray, other: np.ndarray = None) -> tuple[float, float]:
    """(AUC, or AUC minus that of `other`; half its 95 % interval) over the same images. All of shape [Q]."""
    shares = placements(truth, scores) - (0 if other is None else placements(truth, other))
    kinds = [shares[truth == kind] for kind in (0, 1)]
    return float(kinds[1].mean()), 1.96 * sum(kind.var(ddof=1) / len(kind) for kind in kinds) ** 0.5


def partial_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The area of scores [Q] up to a false positive rate of `FEW`, rescaled to 0.5 for chance and 1 at best."""
    return float(roc_auc_score(truth, scores, max_fpr=FEW))


def bootstrap_gap(truth, scores, other, measure=partial_auc, draws: int = 100) -> tuple[float, float]:
    """(measure of `scores` minus that of `other`; half the 95 % interval) over the same images."""
    kinds, random = [np.flatnonzero(truth == kind) for kind in (0, 1)], np.random.default_rng(17)
    drawn = (np.concatenate([random.choice(kind, len(kind)) for kind in kinds]) for _ in range(draws))
    gaps = [measure(truth[draw], scores[draw]) - measure(truth[draw], other[draw]) for draw in drawn]
    return measure(truth, scores) - measure(truth, other), float(1.96 * np.std(gaps))


@ad2.figure(
    "AUC against the number of neighbours; the dotted line is the k of Eq. 7 here.",
    aside=True,
)
def ad2_auc_by_k(tested: Scores) -> Drawing:
    curves = {METHODS[name].title: _auc_by_k(tested, name) for name in ASKED}
    curves = {title: (np.arange(1, len(values) + 1), values) for title, values in curves.items()}
    drawing = lines({"": curves}, "number of neighbours k", "AUC", colours_by_title(), width=4.6, height=2.3)
    drawing.picture.axes[0].axvline(tested.k, color=QUIET, linewidth=0.8, linestyle=":")
    return drawing


def _auc_by_k(tested, name):
    return np.array([roc_auc_score(tested.truth, column) for column in tested.scores[name].T])


SHOWN = 7  # images in a row; the exercise asks for the seven most anomalous


@ad2.figure("The training images that are most often among the nearest of a digit, and how often they are.", aside=True)
def ad2_nearest(tested: Scores) -> Drawing:
    images, rows, captions = tested.images, [], []
    for name in ASKED:
        numbers, counts = _most_often_near(tested, name)
        rows.append(list(images.train_images[numbers[:SHOWN]]))
        captions.append([f"{images.classes[images.train_labels[i]]}\n{counts[i]:,} times" for i in numbers[:SHOWN]])
    return image_grid(rows, captions, labels=[METHODS[name].title for name in ASKED], width=6)


def _most_often_near(tested, name):
    """(numbers of the training images, those most often among the nearest of an anomaly first; how often each is)."""
    near = tested.near[name][tested.truth == 1]
    counts = np.bincount(near.ravel(), minlength=len(tested.images.train_labels))
    return np.argsort(-counts, kind="stable"), counts


def _edit_auc(tested, name, edit):
    """The area with the edited images as anomalies."""
    normal, strange = tested.scores[name][tested.truth == 0, tested.k - 1], tested.edits[name][edit]
    return roc_auc_score(np.repeat([0, 1], [len(normal), len(strange)]), np.concatenate((normal, strange)))


@ad2.figure(
    "Shape, hard contrast and darkness taken apart: two of each kind of edited images, and the "
    "AUC with them in place of the digits; 0.5 is chance."
)
def ad2_edits(tested: Scores) -> Drawing:
    named = {name: METHODS[name] for name in ASKED} | {"untrained": UNTRAINED}
    pictures = {edit: part[:2] for edit, part in edited(tested.images, open_outliers(tested.images)).items()}
    areas = {one.title: [_edit_auc(tested, name, edit) for edit in pictures] for name, one in named.items()}
    colours = {one.title: one.colour for one in named.values()}
    return images_over_dots(pictures, areas, "AUC", colours, width=4.6, height=2.6, ylim=(0, 1.08))


def _areas(tested, name):
    scores = tested.relative(name)
    area, interval = auc_interval(tested.truth, scores)
    return {"auc": area, "interval": interval, "partial": partial_auc(tested.truth, scores),
            "edits": {edit: _edit_auc(tested, name, edit) for edit in tested.edits[name]},
            "auc_by_k": _auc_by_k(tested, name), "class_mean": tested.by_class[name].mean()}  # fmt: skip


def _plain_areas(tested, trait):
    values = tested.plain[trait] * (1 if roc_auc_score(tested.truth, tested.plain[trait]) > 0.5 else -1)
    return {"auc": roc_auc_score(tested.truth, values), "partial": partial_auc(tested.truth, values)}


def _most_used(tested, name):
    numbers, counts = _most_often_near(tested, name)
    brightness = tested.images.train_images.mean(axis=(1, 2, 3))
    darker = (brightness > brightness[numbers[:10], None]).mean()
    return {"share": counts[numbers[:10]].sum() / counts.sum(), "darker_than": darker}


@ad2.summary
def _comparison(tested):
    methods, truth = {name: _areas(tested, name) for name in tested.scores}, tested.truth
    methods = {"longer": {"auc": None, "class_mean": None, "edits": {"less ink": None}}} | methods
    methods["no_variance"] |= dict.fromkeys(("lowest", "highest"), methods["no_variance"]["auc"])  # over trainings
    first, second = (methods[name]["auc_by_k"] for name in ASKED)
    columns = [tested.scores[name].T for name in ASKED]
    at = {"own": tested.k, "largest_k": len(first)}
    gaps = {name: auc_interval(truth, *(one[k - 1] for one in columns)) for name, k in at.items()}
    gaps["partial"] = bootstrap_gap(truth, *(tested.relative(name) for name in ASKED))
    leads = {"k": (first > second).sum(), "classes": np.greater(*(tested.by_class[name] for name in ASKED)).sum()}
    return {
        "k": tested.k, "max_k": len(first), "methods": methods,
        "plain": {trait: _plain_areas(tested, trait) for trait in tested.plain},
        "gaps": {name: {"gap": gap, "interval": interval} for name, (gap, interval) in gaps.items()},
        "leads": leads, "all_classes": len(tested.images.classes),
        "over": "95 % over the test images of one training, paired (DeLong et al., 1988; the second by bootstrap)",
        "ten": {name: _most_used(tested, name) for name in ASKED},
    }  # fmt: skip


@ad2.table
def _detectors(n):
    keys = ("auc", "partial", "class_mean")
    named = {title: n.methods[name] for name, title in DETECTORS.items() if n.methods[name]["auc"] is not None}
    named |= {f"{trait} alone".capitalize(): one for trait, one in n.plain.items()}
    rows = [[title, *(f"{one[key]:.4f}" if key in one else "–" for key in keys)] for title, one in named.items()]
    first, second = (n.methods[name] for name in ASKED)
    gap = [f"{first[key] - second[key]:.4f}" for key in keys]
    rows.append([" minus ".join(METHODS[name].title for name in ASKED), *gap])
    header = ["detector", "AUC", f"up to {FEW:.0%} false alarms", "AUC, one class normal"]
    caption = (
        f"What finds the anomalies, k = {n.k}; last column: the mean over the classes. A property alone counts in its "
        "better direction, which only the labels tell. (Colourfulness: how far the mean colour is from grey; border: "
        "how uneven the outer five pixels are; diagonal: how far the light lies along one.)"
    )
    return {"caption": caption, "header": header, "rows": rows}


_AUCS = """AUC {methods.vicreg.auc:.4f} with VICReg and {methods.neighbours.auc:.4f} with neighbour pairs; the
    difference is {gaps.own.gap:+.4f} ± {gaps.own.interval:.4f}.** Up to 5 % false alarms the area, rescaled so that
    chance is 0.5, is {methods.vicreg.partial:.3f} and {methods.neighbours.partial:.3f} ({gaps.partial.gap:+.3f} ±
    {gaps.partial.interval:.3f}). Intervals are {over}."""
ad2.says("**VICReg is better on this task: " + _AUCS, when=lambda n: n.gaps.own.gap > n.gaps.own.interval)
ad2.says("**Neighbour pairs are better on this task: " + _AUCS, when=lambda n: -n.gaps.own.gap > n.gaps.own.interval)
ad2.says(
    "**Neighbour pairs are ahead at each k, but by no more than chance in the training may change: " + _AUCS,
    when=lambda n: abs(n.gaps.own.gap) <= n.gaps.own.interval and n.gaps.own.gap < 0 and n.leads.k == 0,
)
ad2.says(
    "**No difference can be measured: " + _AUCS,
    when=lambda n: abs(n.gaps.own.gap) <= n.gaps.own.interval and not (n.gaps.own.gap < 0 and n.leads.k == 0),
)


ad2.says(
    """**VICReg's views change brightness and contrast at random, and its scores react less to them;** two neighbours
    differ in both only as far as neighbours do. Digits with 60 % of the ink, as far as VICReg's views darken an image,
    are found with an AUC of {methods.vicreg.edits[less ink]:.2f} by VICReg, {methods.neighbours.edits[less ink]:.2f} by
    neighbour pairs and {methods.untrained.edits[less ink]:.2f} before any training (a thousand digits).""",
    when=lambda n: (
        all(n.methods[name].edits["two-tone photographs"] > 0.95 for name in ASKED)
        and max(n.methods[name].edits[edit] for name in ASKED for edit in ("little ink", "dark photographs")) < 0.8
        and n.methods.neighbours.edits["less ink"] > 0.05 + n.methods.vicreg.edits["less ink"]
        and n.methods.untrained.edits["less ink"] > 0.05 + n.methods.vicreg.edits["less ink"]
    ),
)


_LONGER = """trained for as long as VICReg, neighbour pairs find these digits with {methods.longer.edits[less ink]:.2f},
    all digits with {methods.longer.auc:.4f}."""


def _ink(n):
    """How far neighbour pairs trained as long as VICReg have come from the shorter ones (0) to VICReg (1), or None."""
    longer = n.methods.longer.edits["less ink"]
    short, vicreg = (n.methods[name].edits["less ink"] for name in ("neighbours", "vicreg"))
    return (short - longer) / (short - vicreg) if longer is not None and short > 0.05 + vicreg else None


ad2.says(
    "That is mostly the length of the training: " + _LONGER,
    when=lambda n: _ink(n) is not None and _ink(n) > 0.5,
)
ad2.says(
    "That is not mostly the length of the training: " + _LONGER,
    when=lambda n: _ink(n) is not None and _ink(n) <= 0.5,
)


ad2.says(
    """What both react to is hard contrast, white on black: photographs turned into black and white, which have no
    digit's shape, are told from the others with {methods.vicreg.edits[two-tone photographs]:.3f} and
    {methods.neighbours.edits[two-tone photographs]:.3f}. Shape or darkness alone does less: digits with 30 % of
    the ink, of the same shape and darker, get only {methods.vicreg.edits[little ink]:.2f} and
    {methods.neighbours.edits[little ink]:.2f}, photographs as dark and grey as digits
    {methods.vicreg.edits[dark photographs]:.2f} and {methods.neighbours.edits[dark photographs]:.2f}. The mere amount
    of contrast is a weaker score ({plain.contrast.auc:.2f}): many photographs have as much, in greys and colours.""",
    when=lambda n: (
        all(n.methods[name].edits["two-tone photographs"] > 0.95 for name in ASKED)
        and max(n.methods[name].edits[edit] for name in ASKED for edit in ("little ink", "dark photographs")) < 0.8
    ),
)


_COLLAPSED = (
    "The collapsed encoder of Q4 has an AUC of {methods.no_variance.auc:.3f} ± {methods.no_variance.interval:.3f}"
)
ad2.says(_COLLAPSED + ".", when=lambda n: n.methods.no_variance.interval <= 0.1)
ad2.says(
    """The collapsed encoder of Q4 has an AUC of {methods.no_variance.lowest:.3f} to {methods.no_variance.highest:.3f}
    after different trainings: whether it finds the digits is a matter of chance.""",
    when=lambda n: n.methods.no_variance.interval > 0.1,
)
ad2.says(
    """**So the task does not measure how good a representation is.** No training is needed: the encoder before training
    has an AUC of {methods.untrained.auc:.4f}; and no network: digits are darker and greyer than photographs, and
    brightness alone has {plain.brightness.auc:.4f}, colourfulness {plain.colourfulness.auc:.4f}. With one class as the
    normal one and all others as anomalies, where the object must be seen, the order turns: VICReg has
    {methods.vicreg.class_mean:.3f}, neighbour pairs {methods.neighbours.class_mean:.3f}, before training it is
    {methods.untrained.class_mean:.3f}; VICReg is ahead of neighbour pairs in {leads.classes} of {all_classes}
    classes.""",
    when=lambda n: (
        n.methods.untrained.auc > n.methods.vicreg.auc
        and n.methods.vicreg.class_mean > n.methods.neighbours.class_mean > n.methods.untrained.class_mean
    ),
)


ad2.says(
    """A few training images are like a digit to an encoder: of all places among the {k} nearest images of a digit, ten
    images hold {ten.vicreg.share:.0%} with VICReg and {ten.neighbours.share:.0%} with neighbour pairs. They are
    dark as digits are: darker than {ten.vicreg.darker_than:.1%} and {ten.neighbours.darker_than:.1%} of the training
    images. The score of a digit is its distance to these few, and a larger k looks past them.""",
    when=lambda n: all(one.share > 0.5 and one.darker_than > 0.9 for one in n.ten.values()),
)
ad2.says(
    """With k = 1, 2, 3 the AUC is {methods.vicreg.auc_by_k[0]:.3f}, {methods.vicreg.auc_by_k[1]:.3f},
    {methods.vicreg.auc_by_k[2]:.3f} with VICReg and {methods.neighbours.auc_by_k[0]:.4f},
    {methods.neighbours.auc_by_k[1]:.4f}, {methods.neighbours.auc_by_k[2]:.4f} with neighbour pairs; with k = {max_k}
    the difference is {gaps.largest_k.gap:+.4f} ± {gaps.largest_k.interval:.4f}. VICReg is ahead at {leads.k} of the
    {max_k} values of k.""",
    when=lambda n: n.max_k >= 3,
)


def _order(tested, name, kind=None):
    """Numbers of the tested images, the most anomalous first; kind: 0 or 1 for only normal images or only anomalies."""
    order = np.argsort(-tested.relative(name), kind="stable")
    return order if kind is None else order[tested.truth[order] == kind]


def _grid(tested, rows):
    """Images in rows {label: (method, numbers of tested images)}."""
    captions = [[f"{tested.called[i]}\n{tested.relative(name)[i]:.2f}" for i in row] for name, row in rows.values()]
    return image_grid([list(tested.pictures[row]) for _, row in rows.values()], captions, labels=list(rows), width=5.8)


@ad3.figure(
    "What each method finds most anomalous among all test images; the number is the score, "
    "divided by the median score of the normal images."
)
def ad3_most_anomalous(tested: Scores) -> Drawing:
    return _grid(tested, {METHODS[name].title: (name, _order(tested, name)[:SHOWN]) for name in ASKED})


@ad3.figure("The oddest and the most ordinary of the normal test images by each method.", aside=True)
def ad3_normal_images(tested: Scores) -> Drawing:
    rows = {}
    for name in ASKED:
        order, title = _order(tested, name, kind=0), METHODS[name].title
        rows |= {f"{title}\noddest": (name, order[:SHOWN]), f"{title}\nmost ordinary": (name, order[::-1][:SHOWN])}
    return _grid(tested, rows)


def _along(tested, name, kind=0):
    """{property: Spearman's correlation with the score} over the normal images, or, kind = 1, over the anomalies."""
    own, scores = tested.truth == kind, tested.relative(name)
    return {trait: spearmanr(values[own], scores[own]).statistic for trait, values in tested.plain.items()}


def _standing(tested, chosen, over=np.mean, kind=0):
    """{property: share of the normal images, or the anomalies, that have less of it than those of `chosen`}."""
    all_of = {trait: np.sort(values[tested.truth == kind]) for trait, values in tested.plain.items()}
    below = {trait: np.searchsorted(all_of[trait], values[chosen]) for trait, values in tested.plain.items()}
    return {trait: over(values) / (tested.truth == kind).sum() for trait, values in below.items()}


def _along_anomalies(tested, draws=100):
    """{method: {property: correlation with its score over the anomalies}}, and by how much that of neighbour pairs with
    fine texture is above VICReg's; each as "more", with half its 95 % bootstrap `interval`."""
    own, traits = tested.truth == 1, list(tested.plain)
    rows = [values[own] for values in tested.plain.values()] + [tested.relative(name)[own] for name in ASKED]
    ranks, random = np.array([rankdata(row) for row in rows]), np.random.default_rng(17)

    def correlations(of):
        with np.errstate(invalid="ignore"):  # a property that is the same in all images
            found = np.nan_to_num(np.corrcoef(of)[len(traits) :, : len(traits)])
        return np.vstack((found, found[1] - found[0]))

    drawn = [correlations(ranks[:, random.integers(own.sum(), size=own.sum())]) for _ in range(draws)]
    both = np.stack((correlations(ranks), 1.96 * np.std(drawn, axis=0)), axis=2).tolist()
    told = [{trait: dict(zip(("more", "interval"), pair, strict=True)) for trait, pair in zip(traits, row, strict=True)}
            for row in both]  # fmt: skip
    return dict(zip(ASKED, told, strict=False)) | {"texture": told[-1]["fine texture"]}


def _kinds_shown(tested, name):
    """A Counter: how often each kind is among the most anomalous images."""
    return Counter(tested.called[i] for i in _order(tested, name)[:SHOWN])


@ad3.summary
def _traits(tested):
    methods, along = {}, _along_anomalies(tested)
    for name in ASKED:
        order = _order(tested, name)
        methods[name] = {
            "shown": [tested.called[number] for number in order[:SHOWN]],
            "anomalies_shown": tested.truth[order[:SHOWN]].sum(),
            "anomalies_in_100": tested.truth[order[:100]].sum(),
            "below": {trait: 1 - share for trait, share in _standing(tested, order[:SHOWN], np.max).items()},
            "odd": _standing(tested, order[tested.truth[order] == 0][:100]),
            "correlations": _along(tested, name),
            "kinds": ", ".join(f"{kind} ({count})" for kind, count in _kinds_shown(tested, name).most_common()),
            "along_anomalies": along[name],
            "largest_along": max(abs(one["more"]) for one in along[name].values()),
        }
    normal = [tested.relative(name)[tested.truth == 0] for name in ASKED]
    top = [set(_order(tested, name, kind=0)[: max(1, len(normal[0]) // 20)]) for name in ASKED]
    facts = {"name": tested.name, "methods": methods, "anomalies": tested.truth.sum(), "properties": len(tested.plain)}
    facts["over"] = "95 %, bootstrap over the anomalies"
    facts["rank_correlation"] = spearmanr(*normal).statistic
    facts["texture"], (first, second) = along["texture"], (_kinds_shown(tested, name) for name in ASKED)
    facts["shared_kinds"] = (first & second).total()
    below = min(one["below"][trait] for one in methods.values() for trait in ("brightness", "colourfulness", "border"))
    return facts | {"smallest_below": below, "shown": SHOWN, "shared_top_twentieth": len(top[0] & top[1]) / len(top[0])}


ad3.says(
    """**Of the {shown} most anomalous images {methods.vicreg.anomalies_shown} are {name} with VICReg and
    {methods.neighbours.anomalies_shown} with neighbour pairs; of the first hundred
    {methods.vicreg.anomalies_in_100} and {methods.neighbours.anomalies_in_100}.**""",
    when=lambda n: min(one.anomalies_in_100 for one in n.methods.values()) < 100,
)
ad3.says(
    "**All {shown} of both methods are {name}, and so are the first hundred of both.**",
    when=lambda n: min(one.anomalies_in_100 for one in n.methods.values()) == 100,
)
ad3.says(
    """**What both find odd is white on black**, as any digit is: each of the seven of both is darker, less colourful
    and of a more even border (the outer five pixels) than at least {smallest_below:.1%} of the normal images.""",
    when=lambda n: all(
        one.below[trait] > 0.9 for one in n.methods.values() for trait in ("brightness", "colourfulness", "border")
    ),
)


ad3.says(
    """They differ in which {name} images they put first: VICReg {methods.vicreg.kinds}, neighbour pairs
    {methods.neighbours.kinds}.""",
    when=lambda n: 2 * n.shared_kinds < n.shown,
)


def _goes_along(n, name):
    """The properties that measurably go along with a method's score of an anomaly, and not by next to nothing."""
    return {trait for trait, one in n.methods[name].along_anomalies.items() if abs(one.more) > max(0.1, one.interval)}


_TEXTURE = """**Digits of fine texture, strokes with many edges, are odd to neighbour pairs:** over all {anomalies:,}
    the rank correlation with their score is {methods.neighbours.along_anomalies[fine texture][more]:+.2f} ±
    {methods.neighbours.along_anomalies[fine texture][interval]:.2f}; with VICReg's it is
    {methods.vicreg.along_anomalies[fine texture][more]:+.2f} ±
    {methods.vicreg.along_anomalies[fine texture][interval]:.2f}, """
ad3.says(
    _TEXTURE + "which is less by {texture.more:.2f} ± {texture.interval:.2f}.",
    when=lambda n: "fine texture" in _goes_along(n, "neighbours") and n.texture.more > n.texture.interval,
)
ad3.says(
    _TEXTURE + "so that it is theirs alone is not shown (difference {texture.more:+.2f} ± {texture.interval:.2f}).",
    when=lambda n: "fine texture" in _goes_along(n, "neighbours") and n.texture.more <= n.texture.interval,
)


ad3.says(
    "With VICReg's score none of the {properties} properties goes along by more than chance makes ({over}).",
    when=lambda n: not _goes_along(n, "vicreg"),
)
ad3.says(
    """**To VICReg a digit is odder the more uneven its border is (the outer five pixels), but weakly:** the rank
    correlation is {methods.vicreg.along_anomalies.border.more:+.2f} ±
    {methods.vicreg.along_anomalies.border.interval:.2f} ({over}). With no other of the {properties} properties does it
    go along beyond chance: contrast has {methods.vicreg.along_anomalies.contrast.more:+.2f} ±
    {methods.vicreg.along_anomalies.contrast.interval:.2f}.""",
    when=lambda n: _goes_along(n, "vicreg") == {"border"} and n.methods.vicreg.along_anomalies.border.more > 0,
)
ad3.says(
    """No single property explains much of what makes a digit odd: the largest rank correlation, of either sign, is
    {methods.vicreg.largest_along:.2f} with VICReg's score and {methods.neighbours.largest_along:.2f} with that of
    neighbour pairs (in any one training).""",
    when=lambda n: max(one.largest_along for one in n.methods.values()) < 0.5,
)


ad3.says(
    """How much ink a digit has says next to nothing of its score (rank correlation with brightness
    {methods.vicreg.along_anomalies.brightness.more:+.2f} and
    {methods.neighbours.along_anomalies.brightness.more:+.2f}).""",
    when=lambda n: all(abs(one.along_anomalies.brightness.more) < 0.2 for one in n.methods.values()),
)


ad3.says(
    """Among the photographs, those of high contrast are odd to both: the hundred oddest have more of it than
    {methods.vicreg.odd.contrast:.0%} and {methods.neighbours.odd.contrast:.0%} of the normal images, and over all of
    them the correlation with the score is {methods.vicreg.correlations.contrast:+.2f} and
    {methods.neighbours.correlations.contrast:+.2f}.""",
    when=lambda n: all(one.correlations.contrast > 0.2 and one.odd.contrast > 0.6 for one in n.methods.values()),
)
ad3.says(
    """**Is one better? Not as such.** They agree only in part on which normal images are odd: the rank correlation of
    their scores is {rank_correlation:.2f}, and they share {shared_top_twentieth:.0%} of the oddest twentieth. Neither
    was told what we look for, and an odd photograph is an anomaly too. Only our choice of what to look for makes it
    an error. So the ROC tells which method shares our idea of an anomaly here, and no more.""",
    when=lambda n: n.shared_top_twentieth < 0.6,
)
