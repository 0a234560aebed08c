# %% [markdown]
# # 6 · Anomaly detection (Sec. 4.2)
# Can an encoder that was trained on CIFAR-10 tell that a digit of MNIST does not belong? An image is called anomalous
# where few training images lie near it. In short: most digits do score above most photographs, but they are a weak
# test of a representation. They are darker than nearly every photograph, which takes no network to see.
#
# The chapter scores all test images, draws the ROC curves, and looks at the most anomalous images, for VICReg and for
# Q5's *neighbour pairs* (VICReg's loss on an image and one of its nearest neighbours, without augmentation). The
# exercise counts its three questions as 1, 3 and 3; here they are AD1, AD2 and AD3.

# %%
#| default_exp anomaly

# %%
#| export
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
from vicreg_nb.methods import (
    ASKED, ENCODERS, LONGER, METHODS, UNMEASURED, UNTRAINED, beyond_half, colours_by_title, encoded, features,
    says_length,
)  # fmt: skip
from vicreg_nb.neighbours import nearest
from vicreg_nb.plots import QUIET, Drawing, image_grid, images_over_dots, lines
from vicreg_nb.representations import half_interval

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
anomaly_k: int = None  # k of Eq. 7; None: the profile's value
max_k: int = None  # the AUC is drawn for k up to this

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset

cfg = notebook_config(globals())
images = open_dataset(cfg)
outliers = open_outliers(images)
print(cfg)

# %% [markdown]
# ## One encoder for all images
# A distance between the representations of two images means something only if one encoder made both. So training
# images, normal test images and anomalies are encoded together here, by one encoder. The digits go the same way as the
# photographs, normalisation included; what was done to their size and colour stands in [0a](00a_data.ipynb).
#
# Beside the two methods that the exercise asks for stand two controls: what they can do, one can do without a good
# representation. One is the encoder of Q4, trained without the variance term, which has collapsed. The other is the
# network that training starts from. (Laplacian Eigenmaps have a vector for each image of their graph and none for a new
# image.)

# %%
#| export
DETECTORS = {name: METHODS[name].title for name in ENCODERS} | {"longer": LONGER.title, "untrained": UNTRAINED.title}


def detectors_of(cfg: Config) -> dict:
    """{detector: title} of those that a run has: neighbour pairs as long as VICReg only with `neighbours_as_long`."""
    return {name: title for name, title in DETECTORS.items() if cfg.neighbours_as_long or name != "longer"}


def encode_all(cfg: Config, images: Images, outliers: Outliers, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A detector's representations, float32: of training images [N, d]; of the normal test images, then anomalies."""
    normal = features(cfg, images, name)
    return normal.train, np.concatenate((normal.test, encoded(cfg, images, name, outliers.images)))


# %%
for name in detectors_of(cfg):
    train, tested = encode_all(cfg, images, outliers, name)
    assert len(tested) == len(images.test_images) + len(outliers.images)
    print(f"{DETECTORS[name]:20}training images {train.shape}, tested images {tested.shape}")

# %% [markdown]
# ## The score, Eq. 7
# The inverse density at an image $x$ is its mean distance to its $k$ nearest training images:
#
# $$s(x) = \frac{1}{k} \sum_{i=1}^{k} \ell_2(x, \mathrm{kNN}(x)_i)$$
#
# `nearest` of [81](81_neighbours.ipynb) gives these distances, nearest first. So the scores for all $k$ are running
# means of one table, and one search serves them all.


# %%
#| export
def inverse_density(distances: np.ndarray) -> np.ndarray:
    """Eq. 7 for k = 1 .. K, in the columns of [Q, K]; distances: [Q, K], of each image to its K nearest, rising."""
    return np.cumsum(distances, axis=1) / np.arange(1, distances.shape[1] + 1)


# %%
random = np.random.default_rng(0)
reference, asked = random.normal(size=(500, 16)), random.normal(size=(40, 16))
brute = np.sort(np.linalg.norm(asked[:, None] - reference, axis=2), axis=1)
scores = inverse_density(nearest(reference, 5, asked).distances)
for k in (1, 2, 5):
    np.testing.assert_allclose(scores[:, k - 1], brute[:, :k].mean(axis=1))
assert nearest(reference, 1, reference[:3]).distances.max() == 0  # a copy of a training image is as normal as can be

# %% [markdown]
# ## A harder test: one class of CIFAR-10 as the normal one
# Digits differ from photographs in so many ways that a good score may mean little. A stricter test stays within
# CIFAR-10: the training images of one class are the reference, and the test images of the nine others are the
# anomalies. It gives one AUC for each class.


# %%
#| export
def class_aucs(train: np.ndarray, test: np.ndarray, images: Images, k: int, device="cpu") -> np.ndarray:
    """AUC [classes] of Eq. 7 with each class in turn as the normal one; train [N, d] and test [M, d] by one encoder."""
    aucs = []
    for label in range(len(images.classes)):
        distances = nearest(train[images.train_labels == label], k, test, device).distances
        aucs.append(roc_auc_score(images.test_labels != label, inverse_density(distances)[:, -1]))
    return np.array(aucs)


# %%
centres = 3 * np.eye(10)  # ten classes far apart, then the same images with classes of no meaning
made = [centres[labels] + random.normal(size=(len(labels), 10)) for labels in (images.train_labels, images.test_labels)]
apart, alike = class_aucs(*made, images, 2), class_aucs(*(random.permutation(part) for part in made), images, 2)
print(f"classes far apart: mean AUC {apart.mean():.3f}; classes of no meaning: {alike.mean():.3f}")
assert apart.min() > 0.9 and abs(alike.mean() - 0.5) < 0.1

# %% [markdown]
# ## Plain properties of an image
# How far would one come with a single number? Six properties of the image itself are the plainest scores that there
# are: four are known from Q7, one tells how uneven the border is, and one how far the light lies along a diagonal (the
# correlation, without its sign, of the coordinates, weighted by the grey value). They are a control now, and later they
# describe what a method finds.


# %%
#| export
def properties(pictures: np.ndarray) -> dict:
    """{name: values [N]} of six plain properties of images uint8 [N, 32, 32, 3]."""
    found, grey = image_attributes(pictures), pictures.mean(axis=3, dtype=np.float32)
    plain = {name: found[name][:, 0] for name in ("brightness", "contrast", "fine texture")}
    edge = np.pad(np.zeros((22, 22), bool), 5, constant_values=True)
    weights, axis = grey / np.maximum(grey.sum(axis=(1, 2), keepdims=True), 1), np.arange(32)
    in_rows, in_columns = weights.sum(axis=2), weights.sum(axis=1)  # [N, 32]
    y, x = (axis - (one @ axis)[:, None] for one in (in_rows, in_columns))  # as seen from where the light is centred
    spread = np.sqrt((in_rows * y**2).sum(axis=1) * (in_columns * x**2).sum(axis=1))
    along = np.abs(np.einsum("nij,ni,nj->n", weights, y, x)) / np.maximum(spread, 1e-6)
    colourfulness = np.linalg.norm(found["colour"], axis=1)
    return plain | {"colourfulness": colourfulness, "border": grey[:, edge].std(axis=1) / 255, "diagonal": along}


# %%
grey, red, line = np.zeros((3, 1, 32, 32, 3), np.uint8)
grey[:], red[..., 0], line[0, np.arange(32), np.arange(32)] = 51, 255, 255
of_grey, of_red, of_line = ({name: each[0] for name, each in properties(one).items()} for one in (grey, red, line))
np.testing.assert_allclose(list(of_grey.values()), [0.2, 0, 0, 0, 0, 0], atol=1e-4)
assert of_red["colourfulness"] > 0.7 and of_red["fine texture"] == 0 and abs(of_line["diagonal"] - 1) < 1e-4

# %% [markdown]
# ## What makes a digit an anomaly?
# Its shape, its darkness, its hard contrast? Five kinds of images tell these apart, a thousand of each: digits as they
# are; dimmed to 60 % of their brightness, which is as far as T, VICReg's augmentations, darkens an image
# ([0b](00b_views.ipynb)), and to 30 %; photographs in two tones, with as much white on black as a digit; and
# photographs as dark and grey as digits.


# %%
#| export
def edited(images: Images, outliers: Outliers) -> dict:
    """{edit: images uint8 [n, 32, 32, 3]} of at most a thousand anomalies, or of normal test images."""
    parts = (torch.from_numpy(part[:1_000]).permute(0, 3, 1, 2) for part in (outliers.images, images.test_images))
    digits, grey = next(parts), TF.rgb_to_grayscale(next(parts), 3)
    ink, dark = (outliers.images > 127).mean(), outliers.images.mean() / max(grey.float().mean().item(), 1)
    limits = grey.float().flatten(1).quantile(1 - ink, dim=1)[:, None, None, None]
    found = {
        "digits": digits,
        "dimmed digits": TF.adjust_brightness(digits, 0.6),
        "dark digits": TF.adjust_brightness(digits, 0.3),
        "two-tone photographs": 255 * (grey > limits).byte(),
        "dark photographs": TF.adjust_brightness(grey, dark),
    }
    return {name: part.permute(0, 2, 3, 1).contiguous().numpy() for name, part in found.items()}


# %%
edits = edited(images, outliers)
image_grid([list(part[:8]) for part in edits.values()], labels=list(edits), width=5)

# %% [markdown]
# ## All test images
# The three questions share one result: what each test image is, how each method scores it, and which training images
# are its nearest.


# %%
#| export
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


# %%
made = Scores(
    images, "", None, [], np.array([0, 0, 0, 1]), 1, {}, {"vicreg": np.array([[1], [2], [3], [8]])}, {}, {}, {}
)
assert made.relative("vicreg").tolist() == [0.5, 1, 1.5, 4]

# %% [markdown]
# One search for each detector, with as many neighbours as the largest $k$ needs.

# %%
#| export
ad1 = Question("AD1", "Anomaly detection: kNN density", "Section 4.2, Question 1", required=True)
ad2 = Question("AD2", "Anomaly detection: ROC and AUC", "Section 4.2, Question 2", required=True)
ad3 = Question("AD3", "Anomaly detection: the most anomalous", "Section 4.2, Question 3", required=True)


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


# %%
result = score_all(cfg, images)
for name, title in detectors_of(cfg).items():
    areas = [roc_auc_score(result.truth, result.relative(name)), result.by_class[name].mean()]
    print(f"{title:20}AUC {areas[0]:.3f}, with one class as the normal one {areas[1]:.3f}")

# %% [markdown]
# ## AD1: the densities
# The scores of a method have no natural unit, so they are shown in units of the median of the normal images. That
# median is then at 1 in each panel. The question is how far to the right of it the digits lie, and how much of the two
# curves overlaps.


# %%
#| export
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


# %%
ad1_scores(result)

# %% [markdown]
# In numbers: the two medians, and the share of anomalies whose score lies above that of 95 % of the normal images.
# That is what a threshold finds that raises a false alarm at one normal image of twenty.


# %%
#| export
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


# %%
for name, one in _densities(result)["methods"].items():
    print(f"{METHODS[name].title:20}" + ", ".join(f"{key} {value:.3g}" for key, value in one.items()))

# %% [markdown]
# The answer. A sentence with a condition (`when`) is left out where the numbers do not meet it.

# %%
#| export
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

# %%
ad1.run(cfg, result)

# %% [markdown]
# ## AD2: the ROC curve
# A threshold on the score calls some normal images anomalous (the false positive rate) and finds some of the
# anomalies (the true positive rate). The curve shows both for all thresholds. Whoever wants few false alarms uses only
# its left end, so that end has a panel of its own. Curve and area are scikit-learn's.

# %%
#| export
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


# %%
ad2_roc(result)

# %% [markdown]
# ## How sure is an area?
# The AUC is the chance that a random anomaly scores higher than a random normal image. DeLong et al. (1988) write it as
# a mean over images: each has a *placement*, the share of images of the other kind that it beats. So the AUC has the
# standard error of a mean. We write it as one mean over all images, the two kinds weighted so that each counts for its
# half of the error. What is compared over the same images, such as two AUCs, is then compared image by image.


# %%
#| export
def placements(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share [Q] of images of the other kind that are on the right side of each image (DeLong et al., 1988)."""
    below = rankdata(scores)  # of all images; ties count half
    for kind in (0, 1):
        below[truth == kind] -= rankdata(scores[truth == kind])  # without those of its own kind
        below[truth == kind] /= (truth != kind).sum()
    return np.where(truth == 1, below, 1 - below)


def auc_by_image(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What each image adds to the AUC [Q]: the mean is the AUC, and its `half_interval` that of DeLong et al."""
    shares = placements(truth, scores)
    return shares.mean() + len(truth) / np.bincount(truth)[truth] * (shares - shares.mean())


def auc_interval(truth: np.ndarray, scores: np.ndarray, other: np.ndarray = None) -> tuple[float, float]:
    """(AUC, or AUC minus that of `other`; half its 95 % interval) over the same images. All of shape [Q]."""
    each = auc_by_image(truth, scores) - (0 if other is None else auc_by_image(truth, other))
    return float(each.mean()), float(half_interval(each))


# %%
truth = random.integers(0, 2, 3_000)
values = random.integers(0, 9, 3_000) / 4 + truth  # with many ties
draws = [random.integers(0, 3_000, 3_000) for _ in range(300)]
area, half = auc_interval(truth, values)
spread = 1.96 * np.std([roc_auc_score(truth[draw], values[draw]) for draw in draws])
print(f"AUC {area:.4f} ± {half:.4f}; by 300 bootstrap draws ± {spread:.4f}")
assert abs(area - roc_auc_score(truth, values)) < 1e-9 and abs(half / spread - 1) < 0.25

# %% [markdown]
# ## Few false alarms
# The area weighs all thresholds alike, also those that nobody would use. The *partial* area is that up to a false
# positive rate of 5 %, rescaled so that chance is 0.5 and a perfect score 1 (`max_fpr` of scikit-learn). The interval
# of a difference comes from a bootstrap: draw the test images anew, the same for both methods, and see how much the
# difference varies.


# %%
#| export
def partial_auc(truth: np.ndarray, scores: np.ndarray) -> float:
    """The area of scores [Q] up to a false positive rate of `FEW`, rescaled to 0.5 for chance and 1 at best."""
    return float(roc_auc_score(truth, scores, max_fpr=FEW))


def bootstrap_gap(truth, scores, other, measure=partial_auc, draws: int = 100) -> tuple[float, float]:
    """(measure of `scores` minus that of `other`; half the 95 % interval) over the same images."""
    kinds, random = [np.flatnonzero(truth == kind) for kind in (0, 1)], np.random.default_rng(17)
    drawn = (np.concatenate([random.choice(kind, len(kind)) for kind in kinds]) for _ in range(draws))
    gaps = [measure(truth[draw], scores[draw]) - measure(truth[draw], other[draw]) for draw in drawn]
    return measure(truth, scores) - measure(truth, other), float(1.96 * np.std(gaps))


# %%
noisy = values + random.normal(size=3_000)
gap, half = bootstrap_gap(truth, values, noisy, roc_auc_score, draws=300)
exact = auc_interval(truth, values, noisy)
print(f"difference {gap:.4f} ± {half:.4f} by bootstrap, {exact[0]:.4f} ± {exact[1]:.4f} by placements")
assert abs(half / exact[1] - 1) < 0.25 and partial_auc(truth, truth) == 1

# %% [markdown]
# ## Other k
# The exercise sets $k = 2$. Would another choice have told another story?


# %%
#| export
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


# %%
ad2_auc_by_k(result)

# %% [markdown]
# ## What does a digit look like to an encoder?
# A score is a distance to a few training images. Which ones? Counted over all digits, the same handful comes up again
# and again. To see it is to understand the score: it compares a digit with the nearest thing that CIFAR-10 has.

# %%
#| export
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


# %%
ad2_nearest(result)

# %% [markdown]
# The edited images tell more: which of them a score takes for anomalies.


# %%
#| export
def _with_edited(tested, name, edit):
    """(truth, scores) with the edited images as anomalies."""
    normal, strange = tested.scores[name][tested.truth == 0, tested.k - 1], tested.edits[name][edit]
    return np.repeat([0, 1], [len(normal), len(strange)]), np.concatenate((normal, strange))


@ad2.figure(
    "Shape, hard contrast and darkness taken apart: two of each kind of edited images, and the "
    "AUC with them in place of the digits; 0.5 is chance."
)
def ad2_edits(tested: Scores) -> Drawing:
    named = {name: METHODS[name] for name in ASKED} | {"untrained": UNTRAINED}
    pictures = {edit: part[:2] for edit, part in edited(tested.images, open_outliers(tested.images)).items()}
    areas = {
        one.title: [roc_auc_score(*_with_edited(tested, name, edit)) for edit in pictures]
        for name, one in named.items()
    }
    colours = {one.title: one.colour for one in named.values()}
    return images_over_dots(pictures, areas, "AUC", colours, width=4.6, height=2.6, ylim=(0, 1.08))


# %%
ad2_edits(result)

# %% [markdown]
# ## AD2 in numbers
# Each detector's areas: at the exercise's k with its interval, at few false alarms, at all k, with edited images in
# place of the digits, and on the harder test. The same for the plain properties as scores, each in whichever direction
# is better.


# %%
#| export
def _areas(tested, name):
    scores = tested.relative(name)
    area, interval = auc_interval(tested.truth, scores)
    return {"auc": area, "interval": interval, "partial": partial_auc(tested.truth, scores),
            "edits": {edit: roc_auc_score(*_with_edited(tested, name, edit)) for edit in tested.edits[name]},
            "auc_by_k": _auc_by_k(tested, name), "class_mean": tested.by_class[name].mean()}  # fmt: skip


def _better_way(tested, trait):
    return tested.plain[trait] * (1 if roc_auc_score(tested.truth, tested.plain[trait]) > 0.5 else -1)


def _plain_areas(tested, trait):
    values = _better_way(tested, trait)
    return {"auc": roc_auc_score(tested.truth, values), "partial": partial_auc(tested.truth, values)}


# %%
for name, title in detectors_of(cfg).items():
    one = _areas(result, name)
    print(f"{title:20}AUC {one['auc']:.4f} ± {one['interval']:.4f}, partial {one['partial']:.4f}")
    assert abs(one["auc"] - roc_auc_score(result.truth, result.relative(name))) < 1e-9
print({trait: f"{_plain_areas(result, trait)['auc']:.4f}" for trait in result.plain})

# %% [markdown]
# Then what the exercise asks for, the comparison: at its k, at the largest, and where false alarms are few. And the ten
# training images that are most often near a digit: how much of all neighbour places do they hold, and how dark are
# they?


# %%
#| export
def _most_used(tested, name):
    numbers, counts = _most_often_near(tested, name)
    brightness = tested.images.train_images.mean(axis=(1, 2, 3))
    darker = (brightness > brightness[numbers[:10], None]).mean()
    return {"share": counts[numbers[:10]].sum() / counts.sum(), "darker_than": darker}


# %%
print(_most_used(result, "vicreg"))


# %%
#| export
def _by_length(tested):
    """How far neighbour pairs, trained for as long as VICReg, come beyond half the way to it: in the AUC of dimmed
    digits, image by image; and with one class as the normal one, class by class."""
    names = ("neighbours", "vicreg", "longer")
    if "longer" not in tested.scores:
        return dict.fromkeys(("dimmed", "classes"), UNMEASURED)
    dimmed = [auc_by_image(*_with_edited(tested, name, "dimmed digits")) for name in names]
    return {"dimmed": beyond_half(*dimmed), "classes": beyond_half(*(tested.by_class[name] for name in names))}


# %%
print(_by_length(result))

# %% [markdown]
# And is a network needed, or its training? The encoder before training, brightness alone and colourfulness alone: is
# each of them measurably ahead of VICReg? With one class as the normal one, the classes are what is counted.


# %%
#| export
def _without(tested):
    """How far the AUC before training, and of two properties alone, is above VICReg's, at least, less its interval."""
    scores = [tested.relative("untrained")] + [_better_way(tested, trait) for trait in ("brightness", "colourfulness")]
    found = [auc_interval(tested.truth, one, tested.relative("vicreg")) for one in scores]
    return min(gap - interval for gap, interval in found)


def _by_class(tested):
    """(Difference, half its 95 % interval over the classes) of VICReg and neighbour pairs, and of these and before."""
    first, second, before = (tested.by_class[name] for name in (*ASKED, "untrained"))
    gaps = {"classes": first - second, "classes_before": second - before}
    return {name: (gap.mean(), half_interval(gap)) for name, gap in gaps.items()}


# %%
print(_without(result), _by_class(result))


# %%
#| export
@ad2.summary
def _comparison(tested):
    methods, truth = {name: _areas(tested, name) for name in tested.scores}, tested.truth
    methods = {"longer": {"auc": None, "class_mean": None, "edits": {"dimmed digits": None}}} | methods
    methods["no_variance"] |= dict.fromkeys(("lowest", "highest"), methods["no_variance"]["auc"])  # over trainings
    first, second = (methods[name]["auc_by_k"] for name in ASKED)
    columns = [tested.scores[name].T for name in ASKED]
    at = {"own": tested.k, "largest_k": len(first)}
    gaps = {name: auc_interval(truth, *(one[k - 1] for one in columns)) for name, k in at.items()}
    gaps["partial"] = bootstrap_gap(truth, *(tested.relative(name) for name in ASKED))
    longer = [tested.relative(name) for name in ("longer", "vicreg") if name in tested.scores]
    gaps["longer"] = auc_interval(truth, *longer) if longer[1:] else (None, None)
    gaps |= _by_class(tested)
    low, high = gaps["own"][0] - gaps["own"][1], gaps["own"][0] + gaps["own"][1]
    leads = {"k": (first > second).sum(), "classes": np.greater(*(tested.by_class[name] for name in ASKED)).sum()}
    return {
        "k": tested.k, "max_k": len(first), "methods": methods,
        "plain": {trait: _plain_areas(tested, trait) for trait in tested.plain},
        "gaps": {name: {"gap": gap, "interval": interval} for name, (gap, interval) in gaps.items()},
        "leads": leads, "all_classes": len(tested.images.classes), "smallest_lead": _without(tested),
        "lowest_gap": low, "highest_gap": high,  # ends of the interval at the exercise's k; over seeds, of all of them
        "over": "95 % over the test images of one training, paired (DeLong et al., 1988; the second by bootstrap; with "
        "one class as the normal one, over the classes)",
        "ten": {name: _most_used(tested, name) for name in ASKED}, "by_length": _by_length(tested),
    }  # fmt: skip


# %%
numbers = _comparison(result)
own = numbers["gaps"]["own"]["gap"]
assert abs(own - numbers["methods"]["vicreg"]["auc"] + numbers["methods"]["neighbours"]["auc"]) < 1e-9
print({key: numbers[key] for key in ("gaps", "leads", "ten")})

# %% [markdown]
# All detectors in a table: what they reach on digits, overall and with few false alarms, and on the harder test.


# %%
#| export
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


# %%
from vicreg_nb.book import Numbers, plain_numbers

print(*_detectors(Numbers(numbers))["rows"], sep="\n")

# %% [markdown]
# ## AD2: the answer
# Which method is better? First the areas at the exercise's k, and where false alarms are few.

# %%
#| export
_AUCS = """AUC {methods.vicreg.auc:.4f} with VICReg and {methods.neighbours.auc:.4f} with neighbour pairs; the
    difference is {gaps.own.gap:+.4f} ± {gaps.own.interval:.4f}.** Up to 5 % false alarms the area, rescaled so that
    chance is 0.5, is {methods.vicreg.partial:.3f} and {methods.neighbours.partial:.3f} ({gaps.partial.gap:+.3f} ±
    {gaps.partial.interval:.3f}). Intervals are {over}."""


def _in_each(n):
    """1 where VICReg is measurably better in each training, over its test images; -1 where neighbour pairs are."""
    return int(n.lowest_gap > 0) - int(n.highest_gap < 0)


_EACH = (
    "better on this task in each training (DeLong et al., 1988), by so little that over trainings it may be chance: "
)
for _who, _sign in (("VICReg is ", 1), ("Neighbour pairs are ", -1)):
    ad2.says(
        f"**{_who}{_EACH}{_AUCS}",
        when=lambda n, sign=_sign: abs(n.gaps.own.gap) <= n.gaps.own.interval and _in_each(n) == sign,
    )
ad2.says("**VICReg is better on this task: " + _AUCS, when=lambda n: n.gaps.own.gap > n.gaps.own.interval)
ad2.says("**Neighbour pairs are better on this task: " + _AUCS, when=lambda n: -n.gaps.own.gap > n.gaps.own.interval)

# %%
ends = [{"lowest_gap": low, "highest_gap": low + 2} for low in (1, -1, -3)]
assert [_in_each(plain_numbers(one)) for one in ends] == [1, 0, -1]

# %%
#| export
_SO_FAR = {"**VICReg is": lambda n: n.leads.k == n.max_k, "**Neighbour pairs are": lambda n: n.leads.k == 0}
for _who, _always in _SO_FAR.items():
    ad2.says(
        f"{_who} ahead at each k, but at k = {{k}} not measurably: {_AUCS}",
        when=lambda n, always=_always: abs(n.gaps.own.gap) <= n.gaps.own.interval and always(n) and not _in_each(n),
    )
ad2.says(
    "**No difference can be measured: " + _AUCS,
    when=lambda n: abs(n.gaps.own.gap) <= n.gaps.own.interval and 0 < n.leads.k < n.max_k and not _in_each(n),
)

# %% [markdown]
# Where do they differ? The edited images say what the scores see.

# %%
#| export
_DIM = """Digits dimmed to 60 % of their brightness, as far as VICReg's views darken an image, are found with an AUC of
    {methods.vicreg.edits[dimmed digits]:.2f} by VICReg, {methods.neighbours.edits[dimmed digits]:.2f} by neighbour
    pairs and {methods.untrained.edits[dimmed digits]:.2f} before any training (a thousand digits)."""


def _hard_contrast(n):
    """Whether both find what is in two tones, and neither what is merely dark or of a digit's shape."""
    edits = [n.methods[name].edits for name in ASKED]
    found = min(one["two-tone photographs"] for one in edits) > 0.95
    return found and max(one[edit] for one in edits for edit in ("dark digits", "dark photographs")) < 0.8


def _dims(n):
    """Whether VICReg, beside that, finds dimmed digits less well than neighbour pairs, and than before training."""
    own, *others = (n.methods[name].edits["dimmed digits"] for name in (*ASKED, "untrained"))
    return _hard_contrast(n) and min(others) > 0.05 + own


# %%
#| export
ad2.says("**VICReg loses more when the digits are dimmed.** " + _DIM, when=_dims)
ad2.says("The edited images do not tell why one would be better. " + _DIM, when=lambda n: not _dims(n))

# %% [markdown]
# Is it because VICReg was trained for longer?

# %%
#| export
says_length(
    ad2, "this difference", lambda n: n.by_length.dimmed,
    "they find the dimmed digits with {methods.longer.edits[dimmed digits]:.2f} then.",
    when=_dims,
)  # fmt: skip
_ALL = """Over all digits, neighbour pairs trained for as long have an AUC of {methods.longer.auc:.4f}, """
ad2.says(
    _ALL + "no measurable difference from VICReg ({gaps.longer.gap:+.4f} ± {gaps.longer.interval:.4f}).",
    when=lambda n: n.gaps.longer.gap is not None and abs(n.gaps.longer.gap) <= n.gaps.longer.interval,
)
ad2.says(
    _ALL + "a measurable difference from VICReg ({gaps.longer.gap:+.4f} ± {gaps.longer.interval:.4f}).",
    when=lambda n: n.gaps.longer.gap is not None and abs(n.gaps.longer.gap) > n.gaps.longer.interval,
)

# %%
#| export
ad2.says(
    """What both react to is hard contrast, white on black: photographs turned into black and white, which have no
    digit's shape, are told from the others with {methods.vicreg.edits[two-tone photographs]:.3f} and
    {methods.neighbours.edits[two-tone photographs]:.3f}. Shape or darkness alone does less: digits dimmed to 30 %, of
    the same shape and darker, get only {methods.vicreg.edits[dark digits]:.2f} and
    {methods.neighbours.edits[dark digits]:.2f}, photographs as dark and grey as digits
    {methods.vicreg.edits[dark photographs]:.2f} and {methods.neighbours.edits[dark photographs]:.2f}. The mere amount
    of contrast is a weaker score ({plain.contrast.auc:.2f}): many photographs have as much, in greys and colours.""",
    when=lambda n: _hard_contrast(n) and n.plain.contrast.auc < min(n.methods[name].auc for name in ASKED),
)

# %% [markdown]
# What, then, does the task measure? Three controls say it, and the harder test.

# %%
#| export
_COLLAPSED = "The collapsed encoder of Q4 has an AUC of "


def _by_chance(n):
    """Whether that differs from training to training so much that it is a matter of chance."""
    return n.methods.no_variance.highest - n.methods.no_variance.lowest > 0.1


ad2.says(
    _COLLAPSED + "{methods.no_variance.auc:.3f} ± {methods.no_variance.interval:.3f}.", when=lambda n: not _by_chance(n)
)
ad2.says(
    _COLLAPSED
    + """{methods.no_variance.lowest:.3f} to {methods.no_variance.highest:.3f} after different trainings: whether it
    finds the digits is a matter of chance.""",
    when=_by_chance,
)


# %%
#| export
def _turns(n):
    """Whether digits are found measurably better without training, and by plain properties, than by VICReg, and with
    one class as the normal one the order is the other way round."""
    first, second = n.gaps.classes, n.gaps.classes_before
    return n.smallest_lead > 0 and first.gap > first.interval and second.gap > second.interval


ad2.says(
    """**So the task does not measure how good a representation is.** No training is needed: the encoder before training
    has an AUC of {methods.untrained.auc:.4f}; and no network: digits are darker and greyer than photographs, and
    brightness alone has {plain.brightness.auc:.4f}, colourfulness {plain.colourfulness.auc:.4f}. Each of the three is
    measurably above VICReg in any one training. With one class as the normal one and all others as anomalies, VICReg
    comes before neighbour pairs, and these before the untrained encoder: {methods.vicreg.class_mean:.3f},
    {methods.neighbours.class_mean:.3f} and {methods.untrained.class_mean:.3f}. VICReg is ahead of neighbour pairs in
    {leads.classes} of {all_classes} classes, by {gaps.classes.gap:.3f} ± {gaps.classes.interval:.3f} in the mean.""",
    when=_turns,
)

# %%
#| export
says_length(
    ad2, "VICReg's lead in that test", lambda n: n.by_length.classes,
    "they have {methods.longer.class_mean:.3f} then.",
    when=_turns,
)  # fmt: skip

# %%
for lead, gap, sure in ((0.002, 0.03, True), (-0.001, 0.03, False), (0.002, 0.005, False)):
    gaps = {name: {"gap": gap, "interval": 0.01} for name in ("classes", "classes_before")}
    assert _turns(plain_numbers({"smallest_lead": lead, "gaps": gaps})) == sure

# %% [markdown]
# And what the score of a digit is made of, which also tells why the area depends on k.

# %%
#| export
ad2.says(
    """A few training images are like a digit to an encoder: of the {k} nearest training images of all digits, ten
    images hold {ten.vicreg.share:.0%} with VICReg and {ten.neighbours.share:.0%} with neighbour pairs. They are
    dark as digits are: darker than {ten.vicreg.darker_than:.1%} and {ten.neighbours.darker_than:.1%} of the training
    images. The score of a digit is mostly its distance to these few; with a larger k more images count.""",
    when=lambda n: all(one.share > 0.75 and one.darker_than > 0.9 for one in n.ten.values()),
)
ad2.says(
    """With k = 1, 2, 3 the AUC is {methods.vicreg.auc_by_k[0]:.3f}, {methods.vicreg.auc_by_k[1]:.3f},
    {methods.vicreg.auc_by_k[2]:.3f} with VICReg and {methods.neighbours.auc_by_k[0]:.4f},
    {methods.neighbours.auc_by_k[1]:.4f}, {methods.neighbours.auc_by_k[2]:.4f} with neighbour pairs; with k = {max_k}
    the difference is {gaps.largest_k.gap:+.4f} ± {gaps.largest_k.interval:.4f}. VICReg is ahead at {leads.k} of the
    {max_k} values of k.""",
    when=lambda n: n.max_k >= 3,
)

# %%
ad2.run(cfg, result)

# %% [markdown]
# ## AD3: the most anomalous
# The seven test images with the highest scores by each method, whatever they are. Under each image stands what it is,
# and its score in units of the median of the normal images.


# %%
#| export
def _order(tested, name, kind=None):
    """Numbers of the tested images, the most anomalous first; kind: 0 or 1 for only normal images or only anomalies."""
    order = np.argsort(-tested.relative(name), kind="stable")
    return order if kind is None else order[tested.truth[order] == kind]


def _grid(tested, rows):
    """Images in rows {label: (method, numbers of tested images)}."""
    captions = [[f"{tested.called[i]}\n{tested.relative(name)[i]:.2f}" for i in row] for name, row in rows.values()]
    return image_grid([list(tested.pictures[row]) for _, row in rows.values()], captions, labels=list(rows), width=5.8)


# %%
assert (np.diff(result.relative("vicreg")[_order(result, "vicreg")]) <= 0).all()
_grid(result, {"VICReg:\nlowest\nscores": ("vicreg", _order(result, "vicreg")[-SHOWN:])})

# %% [markdown]
# The exercise's figure, a row for each method. Digits crowd the photographs out of it. So a second figure shows the
# photographs alone: the oddest, and the most ordinary.


# %%
#| export
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


# %%
ad3_most_anomalous(result)

# %%
ad3_normal_images(result)

# %% [markdown]
# ## What goes along with a high score?
# Two measurements describe what a method finds. For chosen images, such as the seven: which share of the normal test
# images has less of a property than they? (One half says nothing.) And since seven images are few, over all images of a
# kind: Spearman's rank correlation (from -1 to 1) tells whether the score rises with a property.


# %%
#| export
def _along(tested, name):
    """{property: Spearman's correlation with the score} over the normal images."""
    own, scores = tested.truth == 0, tested.relative(name)
    return {trait: spearmanr(values[own], scores[own]).statistic for trait, values in tested.plain.items()}


def _standing(tested, chosen, over=np.mean, kind=0):
    """{property: share of the normal images, or the anomalies, that have less of it than those of `chosen`}."""
    all_of = {trait: np.sort(values[tested.truth == kind]) for trait, values in tested.plain.items()}
    below = {trait: np.searchsorted(all_of[trait], values[chosen]) for trait, values in tested.plain.items()}
    return {trait: over(values) / (tested.truth == kind).sum() for trait, values in below.items()}


# %%
made = result._replace(scores={"vicreg": np.tile(result.plain["contrast"][:, None], (1, result.k))})  # as the score
assert _along(made, "vicreg")["contrast"] > 0.999
assert _standing(made, _order(made, "vicreg", kind=0)[:1])["contrast"] > 0.99 - 1 / len(images.test_images)
print({trait: f"{value:+.2f}" for trait, value in _along(result, "vicreg").items()})

# %% [markdown]
# Over the anomalies each correlation has an interval: draw them anew, and see how much it varies. So has the lead of a
# property: by how much its correlation, of either sign, is beyond the largest of all others.


# %%
#| export
def _leads(correlations):
    """By how much each of [..., n] is in size beyond the largest of the others, or behind it."""
    sizes = np.abs(correlations)
    return sizes - np.stack([np.delete(sizes, i, axis=-1).max(axis=-1) for i in range(sizes.shape[-1])], axis=-1)


# %%
np.testing.assert_allclose(_leads([[-0.5, 0.2, 0.4], [0.3, 0.3, 0.1]]), [[0.1, -0.3, -0.1], [0, 0, -0.2]], atol=1e-9)


# %%
#| export
def _along_anomalies(tested, draws=100):
    """{method: {property: correlation with its score over the anomalies}}, and by how much that of neighbour pairs with
    fine texture is above VICReg's; each as "more", with half its 95 % bootstrap `interval`. And the lead of each
    property, less such an interval."""
    own, traits, random = tested.truth == 1, list(tested.plain), np.random.default_rng(17)
    rows = [values[own] for values in tested.plain.values()] + [tested.relative(name)[own] for name in ASKED]
    ranks = np.array([rankdata(row) for row in rows])

    def correlations(of):
        with np.errstate(invalid="ignore"):  # a property that is the same in all images
            found = np.nan_to_num(np.corrcoef(of)[len(traits) :, : len(traits)])
        return np.vstack((found, found[1] - found[0]))

    usual = correlations(ranks)
    drawn = np.array([correlations(ranks[:, random.integers(own.sum(), size=own.sum())]) for _ in range(draws)])
    halves, leads = 1.96 * drawn.std(axis=0), _leads(usual) - 1.96 * _leads(drawn).std(axis=0)
    told = [{trait: {"more": usual[row, i], "interval": halves[row, i], "smallest_lead": leads[row, i]}
             for i, trait in enumerate(traits)} for row in (0, 1)]  # fmt: skip
    at = traits.index("fine texture")
    return dict(zip(ASKED, told, strict=True)) | {"texture": {"more": usual[2, at], "interval": halves[2, at]}}


# %%
found = _along_anomalies(result)
own, scores = result.truth == 1, result.relative("neighbours")
for trait, one in found["neighbours"].items():
    assert abs(one["more"] - np.nan_to_num(spearmanr(result.plain[trait][own], scores[own]).statistic)) < 1e-9
gap = [found[name]["fine texture"]["more"] for name in ("neighbours", "vicreg")]
assert abs(found["texture"]["more"] - (gap[0] - gap[1])) < 1e-9
print({trait: f"{one['more']:+.2f} ± {one['interval']:.2f}" for trait, one in found["vicreg"].items()})

# %% [markdown]
# And which kinds are the most anomalous of all:


# %%
#| export
def _kinds_shown(tested, name):
    """A Counter: how often each kind is among the most anomalous images."""
    return Counter(tested.called[i] for i in _order(tested, name)[:SHOWN])


# %%
print(_kinds_shown(result, "vicreg"))
assert sum(_kinds_shown(result, "vicreg").values()) == SHOWN

# %% [markdown]
# The summary puts them together.


# %%
#| export
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


# %%
for name, one in _traits(result)["methods"].items():
    print(METHODS[name].title, one)

# %% [markdown]
# ## AD3: the answer
# What the fourteen pictures show, each sentence with the count that could have contradicted it.

# %%
#| export
ad3.says(
    """**Of the {shown} most anomalous images {methods.vicreg.anomalies_shown} are {name} with VICReg and
    {methods.neighbours.anomalies_shown} with neighbour pairs; of the first hundred
    {methods.vicreg.anomalies_in_100} and {methods.neighbours.anomalies_in_100}.**""",
    when=lambda n: min(one.anomalies_in_100 for one in n.methods.values()) < 100,
)
ad3.says(
    "**All {shown} images that are shown of each method are {name}, and so are the first hundred of each.**",
    when=lambda n: min(one.anomalies_in_100 for one in n.methods.values()) == 100,
)
ad3.says(
    """**What both find odd is white on black**, as any digit is: each of the seven of both is darker, less colourful
    and of a more even border (the outer five pixels) than at least {smallest_below:.1%} of the normal images.""",
    when=lambda n: all(
        one.below[trait] > 0.9 for one in n.methods.values() for trait in ("brightness", "colourfulness", "border")
    ),
)

# %% [markdown]
# The two rows differ, though. Which digits come first is told, and then, since seven are few, what goes along with the
# score of all anomalies.

# %%
#| export
_FIRST = (
    "in which {name} images they put first: VICReg {methods.vicreg.kinds}, neighbour pairs {methods.neighbours.kinds}."
)
ad3.says("They differ " + _FIRST, when=lambda n: 2 * n.shared_kinds < n.shown)
ad3.says("They agree, for the most part, " + _FIRST, when=lambda n: 2 * n.shared_kinds >= n.shown)


# %%
#| export
def _goes_along(n, name):
    """The properties that measurably go along with a method's score of an anomaly, and not by next to nothing."""
    along = n.methods[name].along_anomalies
    return [trait for trait, one in along.items() if abs(one["more"]) > max(0.1, one["interval"])]


def _most(n, name):
    """The one of them that does so most, measurably in each training; or None."""
    along = n.methods[name].along_anomalies
    return next((trait for trait in _goes_along(n, name) if along[trait]["smallest_lead"] > 0), None)


# %%
def made(**along):
    along = {name: dict(zip(("more", "interval", "smallest_lead"), one, strict=True)) for name, one in along.items()}
    return plain_numbers({"methods": {"vicreg": {"along_anomalies": along}}})


border, other = (0.2, 0.1, -0.2), (-0.3, 0.6, -0.1)  # the other is larger, but changes its sign
for numbers, which, most in (
    (made(border=border, contrast=other), ["border"], None),
    (made(border=border, diagonal=(-0.4, 0.1, 0.1)), ["border", "diagonal"], "diagonal"),
):
    assert _goes_along(numbers, "vicreg") == which and _most(numbers, "vicreg") == most

# %%
#| export
_MEANING = {
    "brightness": "its mean brightness (thick strokes)", "contrast": "its contrast",
    "fine texture": "its fine texture (strokes with many edges)", "colourfulness": "its colourfulness",
    "border": "how uneven its border is (the outer five pixels)", "diagonal": "how far it lies along a diagonal",
}  # fmt: skip
_ALONG = """{{methods.{0}.along_anomalies[{1}][more]:+.2f}} ± {{methods.{0}.along_anomalies[{1}][interval]:.2f}}"""
_WHOSE = {"vicreg": "VICReg's score", "neighbours": "Neighbour pairs' score"}
for _name, _whose in _WHOSE.items():
    for _trait, _words in _MEANING.items():
        _told = f"over all {{anomalies:,}} the rank correlation is {_ALONG.format(_name, _trait)} ({{over}})."
        ad3.says(
            f"**{_whose} of a digit goes most with {_words}:** {_told}",
            when=lambda n, name=_name, trait=_trait: _most(n, name) == trait,
        )
        ad3.says(
            f"""**{_whose} of a digit goes along measurably with only one of the {{properties}} properties,** {_words},
            though not measurably most with it in each training: {_told}""",
            when=lambda n, name=_name, trait=_trait: _most(n, name) is None and _goes_along(n, name) == [trait],
        )

# %% [markdown]
# Or with several of them, or with none:

# %%
#| export
for _name, _whose in _WHOSE.items():
    ad3.says(
        f"{_whose} of a digit goes with several of the {{properties}} properties, and measurably most with none.",
        when=lambda n, name=_name: _most(n, name) is None and len(_goes_along(n, name)) > 1,
    )
    ad3.says(
        f"""{_whose} of a digit has no rank correlation with one of the {{properties}} properties that is measurable and
        above 0.1 in size ({{over}}).""",
        when=lambda n, name=_name: not _goes_along(n, name),
    )

# %% [markdown]
# Is it theirs alone, and how much do the properties leave open?

# %%
#| export
_TEXTURE = "Fine texture has " + _ALONG.format("vicreg", "fine texture") + " with VICReg's score: "
ad3.says(
    _TEXTURE + "{texture.more:.2f} ± {texture.interval:.2f} less.",
    when=lambda n: _most(n, "neighbours") == "fine texture" and n.texture.more > n.texture.interval,
)
ad3.says(
    _TEXTURE
    + """that it counts for more with neighbour pairs is not shown (difference {texture.more:+.2f} ±
    {texture.interval:.2f}).""",
    when=lambda n: _most(n, "neighbours") == "fine texture" and n.texture.more <= n.texture.interval,
)
ad3.says(
    """No single property explains much of what makes a digit odd: in any one training the largest rank correlation, of
    either sign, is {methods.vicreg.largest_along:.2f} with VICReg's score and {methods.neighbours.largest_along:.2f}
    with that of neighbour pairs. It tells of all digits, and less of the few that come first.""",
    when=lambda n: max(one.largest_along for one in n.methods.values()) < 0.5,
)
ad3.says(
    """How thick the strokes of a digit are (its mean brightness) says next to nothing of its score: rank correlation
    {methods.vicreg.along_anomalies.brightness.more:+.2f} and
    {methods.neighbours.along_anomalies.brightness.more:+.2f}.""",
    when=lambda n: all(abs(one.along_anomalies.brightness.more) < 0.2 for one in n.methods.values()),
)

# %% [markdown]
# The photographs that each method finds odd, and what the exercise asks last: is one method better at this, when
# neither was told what to look for?

# %%
#| export
ad3.says(
    """Among the photographs, those of high contrast are odd to both: the hundred oddest have more of it than
    {methods.vicreg.odd.contrast:.0%} and {methods.neighbours.odd.contrast:.0%} of the normal images, and over all of
    them the correlation with the score is {methods.vicreg.correlations.contrast:+.2f} and
    {methods.neighbours.correlations.contrast:+.2f}.""",
    when=lambda n: all(one.correlations.contrast > 0.2 and one.odd.contrast > 0.6 for one in n.methods.values()),
)
ad3.says(
    """**Is one better? Only once it is said what to look for.** Neither method was told. An odd photograph is an
    anomaly too, and only our choice makes it an error. So the ROC tells which method shares our idea of an
    anomaly here, and no more."""
)
_ODD = """on which photographs are odd: the rank correlation of their scores is {rank_correlation:.2f}, and they share
    {shared_top_twentieth:.0%} of the oddest twentieth."""
ad3.says("They agree only in part " + _ODD, when=lambda n: n.shared_top_twentieth < 0.6)
ad3.says("They largely agree " + _ODD, when=lambda n: n.shared_top_twentieth >= 0.6)

# %%
ad3.run(cfg, result)
