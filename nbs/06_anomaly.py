# %% [markdown]
# # 6 · Anomaly detection (Sec. 4.2)
# Can an encoder that was trained on CIFAR-10 tell that a digit of MNIST does not belong? An image is called anomalous
# where few training images lie near it. In short: most digits do score above most photographs, but they are a weak
# test of a representation. They are darker than nearly every photograph, which takes no network to see.
#
# The chapter scores all test images, draws the ROC curves, and looks at the most anomalous images. The exercise counts
# its three questions as 1, 3 and 3; here they are AD1, AD2 and AD3.

# %%
#| default_exp anomaly

# %%
#| export
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata, spearmanr
from sklearn.metrics import roc_auc_score, roc_curve
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, Outliers, image_attributes, open_outliers
from vicreg_nb.methods import ASKED, ENCODERS, METHODS, UNTRAINED, colours_by_title, encoded, features
from vicreg_nb.neighbours import nearest
from vicreg_nb.plots import QUIET, Drawing, image_grid, lines

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
# Beside the two methods that the exercise asks for stand three controls: what they can do, one can do without a good
# representation. One is the encoder of Q4, trained without the variance term, which has collapsed. One is the network
# that training starts from. And one is no network at all: the pixels, of images shrunk to 8 x 8. (Laplacian Eigenmaps
# have a vector for each image of their graph and none for a new image.)

# %%
#| export
DETECTORS = {name: METHODS[name].title for name in ENCODERS} | {"untrained": UNTRAINED.title, "pixels": "Pixels, 8 x 8"}


def encode_all(cfg: Config, images: Images, outliers: Outliers, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A detector's representations, float32: of training images [N, d]; of the normal test images, then anomalies."""
    if name == "pixels":
        return _shrunk(images.train_images), _shrunk(np.concatenate((images.test_images, outliers.images)))
    normal = features(cfg, images, name)
    return normal.train, np.concatenate((normal.test, encoded(cfg, images, name, outliers.images)))


def _shrunk(pictures):
    return pictures.reshape(-1, 8, 4, 8, 4, 3).mean(axis=(2, 4), dtype=np.float32).reshape(len(pictures), -1)


# %%
for name in DETECTORS:
    train, tested = encode_all(cfg, images, outliers, name)
    assert len(tested) == len(images.test_images) + len(outliers.images)
    print(f"{DETECTORS[name]:20}training images {train.shape}, tested images {tested.shape}")
np.testing.assert_allclose(tested[-1][:3], outliers.images[-1, :4, :4].mean(axis=(0, 1)))

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
# How far would one come with a single number? Brightness, contrast, fine texture and colourfulness of the image itself
# are the plainest scores that there are. They are a control now, and later they describe what a method finds.


# %%
#| export
def properties(pictures: np.ndarray) -> dict:
    """{name: values [N]} of four plain properties of images uint8 [N, 32, 32, 3]."""
    found = image_attributes(pictures)
    plain = {name: found[name][:, 0] for name in ("brightness", "contrast", "fine texture")}
    return plain | {"colourfulness": np.linalg.norm(found["colour"], axis=1)}


# %%
grey, red = np.full((1, 32, 32, 3), 51, np.uint8), np.full((1, 32, 32, 3), [255, 0, 0], np.uint8)
of_grey, of_red = ({name: values[0] for name, values in properties(one).items()} for one in (grey, red))
np.testing.assert_allclose(list(of_grey.values()), [0.2, 0, 0, 0], atol=1e-4)
assert of_red["colourfulness"] > 0.7 and of_red["fine texture"] == 0

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
    by_class: dict  # {detector: AUC [classes], with that class as the normal one}

    def relative(self, name: str) -> np.ndarray:
        """A method's scores [Q] at the exercise's k, in units of the median of the normal images."""
        scores = self.scores[name][:, self.k - 1]
        return scores / (np.median(scores[self.truth == 0]) or 1)  # 0 where all representations are one


# %%
made = Scores(images, "", None, [], np.array([0, 0, 0, 1]), 1, {}, {"vicreg": np.array([[1], [2], [3], [8]])}, {}, {})
assert made.relative("vicreg").tolist() == [0.5, 1, 1.5, 4]

# %% [markdown]
# One search for each detector, with as many neighbours as the largest $k$ needs; the last two do with the exercise's.

# %%
#| export
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
    called = [images.classes[label] for label in images.test_labels]
    called += [f"{outliers.name} {label}" for label in outliers.labels]
    scores, near, by_class = {}, {}, {}
    for name in DETECTORS:
        train, tested = encode_all(cfg, images, outliers, name)
        found = nearest(train, max(k, cfg.max_k) if name in ENCODERS else k, tested, device)
        scores[name], near[name] = inverse_density(found.distances), found.numbers[:, :k]
        by_class[name] = class_aucs(train, tested[truth == 0], images, k, device)
    return Scores(images, outliers.name, pictures, called, truth, k, properties(pictures), scores, near, by_class)


# %%
result = score_all(cfg, images)
for name, title in DETECTORS.items():
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
    "the normal images. Scores above 3 are counted at 3."
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
    """**Digits lie where training images are fewer: their median score is {methods.vicreg.ratio:.2f} times that of
    {names[0]} with VICReg and {methods.neighbours.ratio:.2f} times with neighbour pairs.**""",
    when=lambda n: min(n.methods.vicreg.ratio, n.methods.neighbours.ratio) > 1.05,
)
ad1.says(
    """The reference is {counts.reference:,} training images; {counts.normal:,} test images of {names[0]} are normal and
    {counts.anomalous:,} of {names[1]} anomalous; k is {k}. A threshold that calls 5 % of the normal images anomalous
    finds {methods.vicreg.above_95:.1%} of {names[1]} with VICReg, {methods.neighbours.above_95:.1%} with neighbour
    pairs and {methods.no_variance.above_95:.1%} with the collapsed encoder of Q4, although its ratio of medians is
    {methods.no_variance.ratio:.2f}."""
)

# %%
ad1.run(cfg, result)

# %% [markdown]
# ## AD2: the ROC curve
# A threshold on the score calls some normal images anomalous (the false positive rate) and finds some of the
# anomalies (the true positive rate). The curve shows both for all thresholds. Who wants few false alarms uses only its
# left end, so that end has a panel of its own. Curve and area are scikit-learn's.


# %%
#| export
@ad2.figure(
    "Which method finds more anomalies, over all thresholds (left) and where false alarms are few (right): ROC curves. "
    "Dashed: the collapsed encoder of Q4, and chance."
)
def ad2_roc(tested: Scores) -> Drawing:
    curves, colours = {}, {}
    for name in ENCODERS:
        label = f"{METHODS[name].title}: AUC {roc_auc_score(tested.truth, tested.relative(name)):.4f}"
        curves[label], colours[label] = roc_curve(tested.truth, tested.relative(name))[:2], METHODS[name].colour
    curves["chance: AUC 0.5"], colours["chance: AUC 0.5"] = (np.linspace(0, 1, 11),) * 2, QUIET
    few = {label: (false[false <= 0.1], true[false <= 0.1]) for label, (false, true) in curves.items()}
    panels = {"all thresholds": curves, "at most 10 % false positives": few}
    return lines(panels, "false positive rate", "true positive rate", colours, dashed=list(curves)[2:], height=3.3)


# %%
ad2_roc(result)

# %% [markdown]
# ## How sure is an area?
# The AUC is the chance that a random anomaly scores higher than a random normal image. DeLong et al. (1988) write it as
# a mean over images: each has a *placement*, the share of images of the other kind that it beats. So the AUC has the
# standard error of a mean. So has the difference of two AUCs over the same images, from the differences of their
# placements, image by image.


# %%
#| export
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
# The area weighs all thresholds alike, also those that nobody would use. Two measures look at the left end of the
# curve: the area up to a false positive rate of 10 %, rescaled so that chance is 0.5 (`max_fpr` of scikit-learn), and
# the share of anomalies that is found at 5 %. The interval of their difference comes from a bootstrap: draw the test
# images anew, the same for both methods, and see how much the difference varies.


# %%
#| export
def at_few_alarms(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(area up to 10 % false positives, rescaled; share of anomalies found at 5 %) of scores [Q]."""
    found = (scores[truth == 1] > np.quantile(scores[truth == 0], 0.95)).mean()
    return np.array([roc_auc_score(truth, scores, max_fpr=0.1), found])


def bootstrap_gap(truth, scores, other, measure, seed: int, draws: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """(measure of `scores` minus that of `other`; half the 95 % interval) over the same images."""
    kinds, random = [np.flatnonzero(truth == kind) for kind in (0, 1)], np.random.default_rng([seed, 17])
    drawn = (np.concatenate([random.choice(kind, len(kind)) for kind in kinds]) for _ in range(draws))
    gaps = [measure(truth[draw], scores[draw]) - measure(truth[draw], other[draw]) for draw in drawn]
    return measure(truth, scores) - measure(truth, other), 1.96 * np.std(gaps, axis=0)


# %%
noisy = values + random.normal(size=3_000)
gap, half = bootstrap_gap(truth, values, noisy, lambda *given: np.array([roc_auc_score(*given)]), seed=0, draws=300)
exact = auc_interval(truth, values, noisy)
print(f"difference {gap[0]:.4f} ± {half[0]:.4f} by bootstrap, {exact[0]:.4f} ± {exact[1]:.4f} by placements")
assert abs(half[0] / exact[1] - 1) < 0.25
np.testing.assert_allclose(at_few_alarms(truth, np.where(truth == 1, 2.0, values / 9)), [1, 1])

# %% [markdown]
# ## Other k
# The exercise sets $k = 2$. Would another choice have told another story?


# %%
#| export
@ad2.figure(
    "Does the choice of k matter? AUC against the number of neighbours; the dotted line is the k of Eq. 7 here."
)
def ad2_auc_by_k(tested: Scores) -> Drawing:
    curves = {METHODS[name].title: _auc_by_k(tested, name) for name in ENCODERS}
    curves = {title: (np.arange(1, len(values) + 1), values) for title, values in curves.items()}
    dashed = [METHODS["no_variance"].title]
    drawing = lines({"": curves}, "number of neighbours k", "AUC", colours_by_title(), dashed, width=4.6, height=2.5)
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


@ad2.figure("The training images that are most often among the nearest of a digit, and how often they are.")
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
# ## AD2 in numbers
# First each detector's areas, with the intervals, and the same for the plain properties as scores, each in whichever
# direction is better.


# %%
#| export
def _areas(tested, name):
    scores, by_class = tested.relative(name), dict(zip(tested.images.classes, tested.by_class[name], strict=True))
    area, interval = auc_interval(tested.truth, scores)
    few = dict(zip(("auc_at_10", "found_at_5"), at_few_alarms(tested.truth, scores), strict=True))
    curve = _auc_by_k(tested, name)
    best = {"auc_by_k": curve, "best_k": int(curve.argmax()) + 1, "best_auc": curve.max()}
    areas = {"auc": area, "interval": interval, "auc_by_class": by_class, "class_mean": tested.by_class[name].mean()}
    return areas | few | (best if name in ENCODERS else {})


def _plain_areas(tested, trait):
    values = tested.plain[trait] * (1 if roc_auc_score(tested.truth, tested.plain[trait]) > 0.5 else -1)
    few = dict(zip(("auc_at_10", "found_at_5"), at_few_alarms(tested.truth, values), strict=True))
    return {"auc": roc_auc_score(tested.truth, values)} | few


# %%
for name, title in DETECTORS.items():
    one = _areas(result, name)
    print(f"{title:20}AUC {one['auc']:.4f} ± {one['interval']:.4f}, found at 5 % {one['found_at_5']:.3f}")
    assert abs(one["auc"] - roc_auc_score(result.truth, result.relative(name))) < 1e-9
print({trait: f"{_plain_areas(result, trait)['auc']:.4f}" for trait in result.plain})

# %% [markdown]
# Then what the exercise asks for, the comparison: at its k, at others, where false alarms are few, and on the harder
# test. And the ten training images that are most often near a digit: how much of all neighbour places do these ten
# hold, and how dark are they?


# %%
#| export
def _gaps(tested):
    """VICReg's measures less those of neighbour pairs, {name: {gap, interval}}."""
    columns = [tested.scores[name].T for name in ASKED]
    tried = {k: f"k{k}" for k in (1, 2, 3) if k < len(columns[0])} | {len(columns[0]): "largest_k"}
    gaps = {name: auc_interval(tested.truth, *(one[k - 1] for one in columns)) for k, name in tried.items()}
    few = bootstrap_gap(tested.truth, *(tested.relative(name) for name in ASKED), at_few_alarms, seed=0)
    gaps |= dict(zip(("auc_at_10", "found_at_5"), zip(*few, strict=True), strict=True))
    return {name: {"gap": gap, "interval": interval} for name, (gap, interval) in gaps.items()}


def _most_used(tested, name):
    numbers, counts = _most_often_near(tested, name)
    brightness = tested.images.train_images.mean(axis=(1, 2, 3))
    darker = (brightness > brightness[numbers[:10], None]).mean()
    return {"share": counts[numbers[:10]].sum() / counts.sum(), "darker_than": darker}


# %%
print(_gaps(result))
print({name: _most_used(result, name) for name in ASKED})


# %%
#| export
@ad2.summary
def _comparison(tested):
    methods, truth = {name: _areas(tested, name) for name in DETECTORS}, tested.truth
    gap, interval = auc_interval(truth, *(tested.relative(name) for name in ASKED))
    first, second = (methods[name]["auc_by_k"] for name in ASKED)
    leads = {"k": (first > second).sum(), "of": len(first)}
    leads["classes"] = (tested.by_class["vicreg"] > tested.by_class["neighbours"]).sum()
    plain = {trait: _plain_areas(tested, trait) for trait in tested.plain}
    controls = {name: methods[name]["auc"] for name in DETECTORS if name not in ASKED}
    return {
        "k": tested.k, "gap": gap, "gap_interval": interval, "gaps": _gaps(tested), "methods": methods, "plain": plain,
        "vicreg_leads": leads, "ten": {name: _most_used(tested, name) for name in ASKED},
        "best_control": {"name": DETECTORS[max(controls, key=controls.get)], "auc": max(controls.values())},
    }  # fmt: skip


# %%
numbers = _comparison(result)
assert abs(numbers["gap"] - numbers["methods"]["vicreg"]["auc"] + numbers["methods"]["neighbours"]["auc"]) < 1e-9
print({key: numbers[key] for key in ("gap", "gap_interval", "vicreg_leads", "best_control", "ten")})

# %% [markdown]
# All detectors in a table: what they reach on digits, overall and with few false alarms, and on the harder test.


# %%
#| export
@ad2.table
def _detectors(n):
    keys = ("auc", "auc_at_10", "found_at_5", "class_mean")
    named = {title: n.methods[name] for name, title in DETECTORS.items()}
    named |= {f"{trait} alone".capitalize(): one for trait, one in n.plain.items()}
    rows = [[title, *(f"{one[key]:.3f}" if key in one else "–" for key in keys)] for title, one in named.items()]
    header = ["detector", "AUC", "AUC up to 10 % false alarms", "digits found at 5 %", "AUC, one class normal"]
    caption = f"What finds the anomalies, k = {n.k}; last column: within CIFAR-10, the mean over the normal class."
    return {"caption": caption, "header": header, "rows": rows}


# %%
from vicreg_nb.book import Numbers

print(*_detectors(Numbers(numbers))["rows"], sep="\n")

# %% [markdown]
# ## AD2: the answer
# Which method is better? First the areas at the exercise's k. Then what could overturn the verdict: few false alarms,
# other k, and the harder test.

# %%
#| export
_AUCS = """AUC {methods.vicreg.auc:.4f} (± {methods.vicreg.interval:.4f}) with VICReg and {methods.neighbours.auc:.4f}
    (± {methods.neighbours.interval:.4f}) with neighbour pairs; the difference is {gap:+.4f} ± {gap_interval:.4f}.**
    The intervals are 95 % over test images (DeLong et al., 1988). They do not tell what another training would give."""
ad2.says("**VICReg is better on this task: " + _AUCS, when=lambda n: n.gap > n.gap_interval)
ad2.says("**Neighbour pairs are better on this task: " + _AUCS, when=lambda n: -n.gap > n.gap_interval)
ad2.says("**No difference can be measured: " + _AUCS, when=lambda n: abs(n.gap) <= n.gap_interval)


def _sign(one):
    """Which way a difference points: 1 VICReg, -1 neighbour pairs, 0 less than its interval."""
    return (one["gap"] > one["interval"]) - (one["gap"] < -one["interval"])


_FEW = """at 5 % false alarms VICReg finds {methods.vicreg.found_at_5:.1%} of the anomalies, neighbour pairs
    {methods.neighbours.found_at_5:.1%} (difference {gaps.found_at_5.gap:+.3f} ± {gaps.found_at_5.interval:.3f}),
    and the rescaled area up to 10 % is {methods.vicreg.auc_at_10:.3f} and {methods.neighbours.auc_at_10:.3f}
    ({gaps.auc_at_10.gap:+.3f} ± {gaps.auc_at_10.interval:.3f}; bootstrap over the test images)."""
ad2.says(
    "That holds where false alarms are few, too: " + _FEW,
    when=lambda n: {_sign(n.gaps[name]) for name in ("found_at_5", "auc_at_10")} == {np.sign(n.gap)},
)
ad2.says(
    "Where false alarms are few that is not so: " + _FEW,
    when=lambda n: {_sign(n.gaps[name]) for name in ("found_at_5", "auc_at_10")} != {np.sign(n.gap)},
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
    return image_grid([list(tested.pictures[row]) for _, row in rows.values()], captions, labels=list(rows))


# %%
assert (np.diff(result.relative("vicreg")[_order(result, "vicreg")]) <= 0).all()
_grid(result, {"VICReg:\nlowest\nscores": ("vicreg", _order(result, "vicreg")[-SHOWN:])})

# %% [markdown]
# The exercise's figure, a row for each method. Digits crowd the photographs out of it. So a second figure shows the
# photographs alone: the oddest, and the most ordinary.


# %%
#| export
@ad3.figure("What each method finds most anomalous among all test images; the number is the score over normal median.")
def ad3_most_anomalous(tested: Scores) -> Drawing:
    return _grid(tested, {METHODS[name].title: (name, _order(tested, name)[:SHOWN]) for name in ASKED})


@ad3.figure("The oddest and the most ordinary of the normal test images by each method.")
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
# kind: Spearman's rank correlation (from -1 to 1) tells whether the score rises with a property. Among the digits, all
# white on black, brightness is simply the amount of ink.


# %%
#| export
def _along(tested, name, kind):
    """{property: Spearman's correlation with the score}, over the images of one kind."""
    own, scores = tested.truth == kind, tested.relative(name)
    return {trait: spearmanr(values[own], scores[own]).statistic for trait, values in tested.plain.items()}


def _standing(tested, chosen):
    """{property: mean share of the normal test images that have less of it than the images `chosen`}."""
    normal = {trait: np.sort(values[tested.truth == 0]) for trait, values in tested.plain.items()}
    below = {trait: np.searchsorted(normal[trait], values[chosen]) for trait, values in tested.plain.items()}
    return {trait: values.mean() / (tested.truth == 0).sum() for trait, values in below.items()}


# %%
made = result._replace(scores={"vicreg": np.tile(result.plain["contrast"][:, None], (1, result.k))})  # as the score
assert _along(made, "vicreg", kind=0)["contrast"] > 0.999
assert _standing(made, _order(made, "vicreg", kind=0)[:1])["contrast"] > 0.99 - 1 / len(images.test_images)
print({trait: f"{value:+.2f}" for trait, value in _along(result, "vicreg", kind=0).items()})

# %% [markdown]
# The summary holds the numbers of the images shown, so that what is said of them is said of no others.


# %%
#| export
@ad3.summary
def _traits(tested):
    methods = {}
    for name in ASKED:
        order = _order(tested, name)
        methods[name] = {
            "shown": [tested.called[number] for number in order[:SHOWN]],
            "numbers": order[:SHOWN],
            "anomalies_shown": tested.truth[order[:SHOWN]].sum(),
            "anomalies_in_100": tested.truth[order[:100]].sum(),
            "standing": _standing(tested, order[:SHOWN]),
            "odd": _standing(tested, order[tested.truth[order] == 0][:100]),
            "correlations": _along(tested, name, kind=0),
            "ink": _along(tested, name, kind=1)["brightness"],
        }
    normal = [tested.relative(name)[tested.truth == 0] for name in ASKED]
    top = [set(_order(tested, name, kind=0)[: max(1, len(normal[0]) // 20)]) for name in ASKED]
    facts = {"name": tested.name, "methods": methods, "rank_correlation": spearmanr(*normal).statistic}
    return facts | {"shown": SHOWN, "shared_top_twentieth": len(top[0] & top[1]) / len(top[0])}


# %%
for name, one in _traits(result)["methods"].items():
    print(METHODS[name].title, one)

# %% [markdown]
# ## AD3: the answer
# What the fourteen pictures show, in words that were written while looking at them, each with the count that could
# have contradicted it.

# %%
#| export
ad3.says(
    """**Of the {shown} most anomalous images {methods.vicreg.anomalies_shown} are {name} with VICReg and
    {methods.neighbours.anomalies_shown} with neighbour pairs; of the first hundred
    {methods.vicreg.anomalies_in_100} and {methods.neighbours.anomalies_in_100}.**"""
)
ad3.says(
    """VICReg's digits are thin, those of neighbour pairs bold. It is no chance of these few: over all digits the
    correlation of score and ink is {methods.vicreg.ink:+.2f} with VICReg and {methods.neighbours.ink:+.2f} with
    neighbour pairs.""",
    when=lambda n: n.name == "MNIST" and n.methods.vicreg.ink < -0.1 and n.methods.neighbours.ink > 0.1,
)
ad3.says(
    """Neighbour pairs also put two photographs among their {shown}: an airplane on bright blue below a line of writing,
    and a frog in a spotlight.""",
    when=lambda n: (
        n.name == "MNIST"
        and {189, 9801} <= set(n.methods.neighbours.numbers)
        and n.methods.neighbours.anomalies_shown == n.shown - 2
    ),
)

# %% [markdown]
# And what the exercise asks last: is one method better at this, when neither was told what to look for?

# %%
#| export
ad3.says(
    """Among the photographs, smooth ones score high with both (correlation with fine texture
    {methods.vicreg.correlations[fine texture]:+.2f} and {methods.neighbours.correlations[fine texture]:+.2f}). With
    neighbour pairs so do those of high contrast ({methods.neighbours.correlations.contrast:+.2f}), which VICReg's score
    does not follow ({methods.vicreg.correlations.contrast:+.2f}): its views change the contrast at random.""",
    when=lambda n: (
        max(one["correlations"]["fine texture"] for one in n.methods.values()) < -0.1
        and n.methods.neighbours.correlations.contrast > 0.1 > abs(n.methods.vicreg.correlations.contrast)
    ),
)
ad3.says(
    """**Is one better? Not as such.** They agree only in part on which normal images are odd: the rank correlation of
    their scores is {rank_correlation:.2f}, and they share {shared_top_twentieth:.0%} of the oddest twentieth. Neither
    was told what we look for, and an odd photograph is an anomaly too. That the AUC counts it as an error is our choice
    of question. So the ROC tells which method shares our idea of an anomaly here, and no more.""",
    when=lambda n: n.rank_correlation < 0.6,
)

# %%
ad3.run(cfg, result)
