# %% [markdown]
# # 2 · Representations (Q2, Q3)
# What has the encoder learned, without ever seeing a label? We look at its representations of the test images in two
# dimensions (PCA and t-SNE), and ask how well one linear layer on the frozen encoder tells the ten classes apart.
#
# In short, for the run that this project shows: animals and vehicles lie apart, within each group the classes overlap,
# and most of what the linear layer finds in the features was put there by the training.

# %%
#| default_exp representations

# %%
#| export
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import NearestCentroid
from torch import nn
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, send, to_float
from vicreg_nb.identity import cached, code_of
from vicreg_nb.neighbours import agreement, checked, nearest, same_class
from vicreg_nb.plots import METHOD_COLOURS, QUIET, dots, heatmap, scatter
from vicreg_nb.store import UserError, digest, log, new_generator, progress
from vicreg_nb.training import Run, autocast, cosine_decay, initial_networks, train
from vicreg_nb.vicreg import Encoder

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
epochs: int = None  # of VICReg's training; None: the profile's value
probe_epochs: int = None  # passes of SGD over the frozen features
probe_lr: float = None  # its learning rate
probe_batch: int = None  # its batch
tsne_size: int = None  # test images in the picture
perplexity: float = None  # t-SNE's

# %%
from dataclasses import replace

from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import lines

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)
run = train(cfg, images)

# %% [markdown]
# ## From images to features
# The representation $y = f(I)$ of an image: not augmented, but normalised as in training, by the frozen encoder in
# evaluation mode. In training mode the batch normalisation would let an image's features depend on the other images
# of its batch, so that is refused.


# %%
#| export
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


# %%
usual = torch.backends.cudnn.conv.fp32_precision
with full_precision():
    assert torch.backends.cudnn.conv.fp32_precision == "ieee"
assert torch.backends.cudnn.conv.fp32_precision == usual

# %% [markdown]
# The bytes of all images go to the device at once, and the features come back at once: a GPU is waited for at the end
# only. Its batches are larger, so that it is not the program that it waits for.


# %%
#| export
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


# %%
alone = encode(run.encoder(), images.test_images[:7])
np.testing.assert_allclose(alone, encode(run.encoder(), images.test_images[:50])[:7], atol=1e-4)

# %% [markdown]
# Training and test features of one encoder stay together in one object, so that nobody can score one encoder's test
# features against another's training features. They are computed once and kept under the digest of the weights and
# the kind of device.


# %%
#| export
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


# %%
features = features_of(cfg, images, run)
print(f"train {features.train.shape}, test {features.test.shape}, computed by {run.folder.name}")
assert features.identity == features_of(cfg, images, run).identity

# %% [markdown]
# ## How many directions are in use?
# The singular values of the centred features are the standard deviations along their principal directions. If the
# representation collapses, then all but a few are negligible. The effective rank (Roy and Vetterli, 2007) counts
# those that matter, by the entropy of the normalised singular values $p_i$:
#
# $$\mathrm{erank} = \exp\Big(-\sum_i p_i \log p_i\Big), \qquad p_i = \frac{s_i}{\sum_j s_j} .$$
#
# It is $d$ when all are equal, and one when there is but one. Q4 and the ladder ask for it.


# %%
#| export
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


# %%
random = np.random.default_rng(0)
assert abs(effective_rank(random.normal(size=(20_000, 16))) - 16) < 0.1
assert abs(effective_rank(random.normal(size=(500, 1)) @ random.normal(size=(1, 16))) - 1) < 1e-6
assert effective_rank(np.ones((9, 3))) == 0
spectrum = singular_values(features.test)
curve = {f"effective rank {effective_rank(features.test):.0f}": (np.arange(1, len(spectrum) + 1), spectrum)}
colours = dict.fromkeys(curve, METHOD_COLOURS[0])
lines(dict(zip(curve, [curve])), "principal direction", "standard deviation", colours, width=3.4, yscale="log")

# %% [markdown]
# ## Two dimensions
# PCA keeps the two directions of largest variance. It is a linear shadow, in which distances mean the same everywhere,
# and all that happens in the other directions is laid on top of each other. t-SNE (van der Maaten and Hinton, 2008)
# keeps neighbourhoods and gives up distances: that two groups lie far apart in its picture says little, that two
# points are neighbours says much.


# %%
#| export
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


# %%
shown = slice(0, cfg.tsne_size)
panels = {"PCA": project_pca(features.test)[shown], "t-SNE": project_tsne(cfg, features.test[shown])}
assert all(points.shape == (len(images.test_labels[shown]), 2) for points in panels.values())
assert not project_tsne(cfg, np.full_like(features.test[shown], 0.1)).any()

# %% [markdown]
# ## Which classes are mixed?
# Whether classes overlap in a picture can be counted. Take each point's ten nearest points and note its class and
# theirs: that is a confusion matrix, as if each neighbour had guessed the class. Its rows, and those of the probe's
# confusion matrix, become shares of the class. Two classes need not be mixed alike from both sides: a small cloud
# inside a large one is surrounded by it, but not the other way round. So a pair has a share for each way, and is ranked
# by their mean.


# %%
#| export
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


# %%
toy = row_shares(np.array([[8, 2, 0], [3, 7, 0], [0, 1, 9]]))
cat_dog = most_mixed(toy, ("cat", "dog", "ship"), 1)[0]
print(cat_dog)
assert cat_dog["pair"] == ["cat", "dog"] and np.allclose([cat_dog[name] for name in ("there", "back")], [0.2, 0.3])

# %% [markdown]
# ## The linear probe, Sec. 2.2
# One fully connected layer $W y + b$, trained by SGD on the cross-entropy of its softmax, on features that do not
# change any more. It starts at zero, so that only the order of the batches is random, and the learning rate comes down
# along a cosine.


# %%
#| export
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


# %%
points = torch.tensor([[-1.0], [-0.8], [0.9], [1.1]]).repeat(64, 1)
sides = torch.tensor([0, 0, 1, 1]).repeat(64)
assert (fit_linear(cfg, points, sides, classes=2)(points).argmax(dim=1) == sides).all()

# %% [markdown]
# Around it, the protocol: the features are scaled to zero mean and unit variance with the training set's statistics
# (a linear layer could do that itself, only slowly), the layer is fitted on the training images, and the test images
# are used once, at the end. The interval is that of a share of independent test images. Below, scikit-learn's logistic
# regression solves the same problem to the end, and must not come out differently.

# %% [markdown]
# An accuracy over 10,000 images is an estimate: other test images would have given another one. All intervals of this
# book are over the draw of the test images. They do not hold the luck of a training, which another seed would show.


# %%
#| export
def half_interval(values: np.ndarray) -> float:
    """Half the 95 % interval of the mean of independent values [n]; for hits and misses, that of an accuracy."""
    return 1.96 * np.std(values) / np.sqrt(len(values))


# %%
hits = np.repeat([1, 0], [60, 40])
assert abs(half_interval(hits) - 1.96 * np.sqrt(0.6 * 0.4 / 100)) < 1e-12


# %%
#| export
def probe_scores(cfg: Config, features: Features, images: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """What one linear layer, fitted on the training features, gives each class: [N, K], test [M, K]; UserError: NaN."""
    parts = checked(features.train, "the training features"), checked(features.test, "the test features")
    mean, std = parts[0].mean(axis=0), parts[0].std(axis=0) + 1e-6
    x, x_test = (torch.from_numpy((part - mean) / std).to(choose_device(cfg)) for part in parts)
    layer = fit_linear(cfg, x, torch.from_numpy(images.train_labels).to(x.device), len(images.classes))
    with torch.inference_mode():
        return layer(x), layer(x_test)


# %%
grades = probe_scores(cfg, features, images)
rows = len(features.train), len(features.test)
assert [tuple(part.shape) for part in grades] == [(count, len(images.classes)) for count in rows]


# %%
#| export
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


# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

probe = linear_probe(cfg, features, images)
part = slice(0, 5_000)
fewer = replace(images, train_images=images.train_images[part], train_labels=images.train_labels[part])
ours = linear_probe(cfg, Features(features.train[part], features.test, "part"), fewer)
solver = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(features.train[part], fewer.train_labels)
solved = solver.score(features.test, images.test_labels)
print(f"on {len(fewer.train_labels):,} training images: SGD {ours.accuracy:.1%}, logistic regression {solved:.1%}")
print(f"on all {len(features.train):,}: {probe.accuracy:.1%} ± {probe.interval:.1%} of the test images")
assert cfg.profile == "smoke" or abs(ours.accuracy - solved) < 0.03

# %% [markdown]
# Two probes are tested on the same images, and are right or wrong on many of them together. So they are compared image
# by image: only those that one of them alone names rightly make the difference (McNemar, 1947), and its interval is
# narrower than that of two accuracies on different images would be.


# %%
#| export
def gain(one: Probe, other: Probe) -> dict:
    """The accuracy of `one` less that of `other` in points, with half the 95 % interval of the paired difference."""
    difference = 100 * (one.hits.astype(float) - other.hits)
    return {"points": difference.mean(), "interval": half_interval(difference)}


# %%
worse = replace(ours, hits=ours.hits & (np.arange(len(ours.hits)) % 10 > 0))  # a tenth of its hits are lost
lost = gain(ours, worse)
unpaired = 100 * np.hypot(half_interval(ours.hits), half_interval(worse.hits))
print(f"{lost['points']:.1f} ± {lost['interval']:.1f} points; as if on different images ± {unpaired:.1f}")
assert np.isclose(lost["points"], 100 * (ours.hits.mean() - worse.hits.mean())) and lost["interval"] < unpaired + 1e-9

# %% [markdown]
# ## Is it the training or the architecture?
# The features of an untrained convolutional network are already better than chance. What VICReg has learned is what
# lies above them. So the control is the very network that the training starts from, with the same initial weights.
# Only its batch normalisation needs running statistics; it gets those of two thousand training images.


# %%
#| export
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


# %%
untrained = linear_probe(cfg, untrained_features(cfg, images, run), images)
print(f"untrained {untrained.accuracy:.1%}, trained {probe.accuracy:.1%}, chance 10%")
start = untrained_encoder(cfg, images, "cpu").parameters()
assert all(torch.equal(a, b) for a, b in zip(start, initial_networks(cfg)[0].parameters(), strict=True))

# %% [markdown]
# ## Neighbours in a picture
# A picture shows a class well where a point's neighbours are of its class. To know what that is worth, the same is
# asked of all dimensions of the representation, and of the images themselves, shrunk to 8 x 8 pixels. The second
# control may also explain what overlaps: if classes overlap in the picture because their images look alike, then the
# same pairs overlap among plain pixels; if the picture has its own reasons, they do not.


# %%
#| export
def _neighbourhoods(cfg, spaces, images):
    """The ten nearest of each point [n, 10] in each of `spaces`, and among 8 x 8 pixels of its image."""
    pixels = images.reshape(len(images), 8, 4, 8, 4, 3).mean(axis=(2, 4)).reshape(len(images), -1)
    return {
        name: nearest(points, 10, device=choose_device(cfg)).numbers
        for name, points in (spaces | {"pixels": pixels}).items()
    }


# %%
found, labels = _neighbourhoods(cfg, panels, images.test_images[shown]), images.test_labels[shown]
print({name: f"{same_class(numbers, labels).mean():.1%}" for name, numbers in found.items()})
assert all(not (numbers == np.arange(len(labels))[:, None]).any() for numbers in found.values())

# %% [markdown]
# ## Q2 and Q3, computed
# The two questions share what was built above: features, two pictures of them, and two probes.

# %%
#| export
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


# %%
result = q2.compute(cfg, images)
assert abs(result.trained.accuracy - probe.accuracy) < 0.005

# %% [markdown]
# The two pictures side by side, each class in its colour and with its name at the middle of its points.


# %%
#| export
@q2.figure(
    "PCA and t-SNE of the representations of the test images, by class. PCA: the two directions of most variance, with "
    "their share of it; t-SNE: its axes mean nothing."
)
def q2_pca_tsne(result):
    labels, variances = result.images.test_labels, singular_values(result.features.test) ** 2
    first, second = variances[:2] / max(variances.sum(), 1e-30)
    titles = {"PCA": f"PCA: {first:.0%} of the variance across, {second:.0%} up", "t-SNE": "t-SNE"}
    panels = {titles[name]: (points, labels[: len(points)]) for name, points in result.panels.items()}
    return scatter(panels, result.images.classes)


# %%
q2_pca_tsne(result)

# %% [markdown]
# What overlaps in t-SNE's picture, and beside it what the probe takes for what. A row is a class: on the left the ten
# nearest points of its points, on the right the probe's answers, in per cent.


# %%
#| export
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


# %%
q2_confusions(result)

# %% [markdown]
# How much each class gains by the training.


# %%
#| export
@q3.figure("What each class gains by the training of the encoder: accuracy of the linear probe, before and after.")
def q3_per_class(result):
    series = {"untrained": 100 * result.untrained.per_class, "VICReg": 100 * result.trained.per_class}
    colours = {"untrained": QUIET, "VICReg": METHOD_COLOURS[0]}
    classes, chance = result.images.classes, 100 / len(result.images.classes)
    return dots({"": series}, classes, "accuracy / %", colours, chance=chance, width=4.6, xlim=(0, 100))


# %%
q3_per_class(result)

# %% [markdown]
# ## Q2: what the pictures show
# Two means over the same points are compared by their difference, point by point, with its 95 % interval. And two ways
# to mix the classes are compared by the rank correlation of their shares off the diagonal: it is one if they order them
# alike. Why is one picture better? If it is that a plane has no room for what PCA keeps, then PCA must do as well as
# t-SNE once it is given more dimensions; how many it needs is measured.

# %%
#| export
_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
_DIMENSIONS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64)


def _pca_needs(result, wanted):
    """The smallest of `_DIMENSIONS` in which PCA's agreement reaches `wanted`, or None."""
    count = len(result.panels["PCA"])
    turned = project_pca(result.features.test, None)[:count]
    labels = result.images.test_labels[:count]
    tried = (d for d in _DIMENSIONS if d <= turned.shape[1] and agreement(turned[:, :d], labels) >= wanted)
    return next(tried, None)


def _ordered(one, other):
    """The rank correlation of two arrays; None where one of them is constant."""
    return spearmanr(one, other).statistic if np.ptp(one) and np.ptp(other) else None


def _centred(points, labels):
    """For each of the points [N, 2]: whether it is nearest to the centre of its own class; chance, if all are one."""
    points = points[: len(labels)]
    if not np.ptp(points, axis=0).any():
        return np.full(len(labels), 1 / len(np.unique(labels)))
    return NearestCentroid().fit(points, labels).predict(points) == labels


# %%
assert _ordered([0, 1, 2], [9, 8, 7]) == -1 and _ordered([0, 1, 2], [0.1, 0.1, 0.1]) is None
assert _pca_needs(result, 0) == 2 and _pca_needs(result, 1.1) is None
apart = np.random.default_rng(0).normal(size=(200, 2)) + 9 * np.arange(4).repeat(50)[:, None]
assert _centred(apart, np.arange(4).repeat(50)).all() and _centred(apart, np.arange(200) % 4).mean() < 0.5
assert (_centred(np.ones((200, 2)), np.arange(200) % 4) == 1 / 4).all()


# %%
#| export
@q2.summary
def _numbers_q2(result):
    near, classes, labels = result.near, result.images.classes, result.images.test_labels[: len(result.near["PCA"])]
    own, shares = {name: same_class(one, labels) for name, one in near.items()}, _confusions(result)
    agreements, over = {name: one.mean() for name, one in own.items()}, own["t-SNE"] - own["PCA"]
    animal, ranked = np.isin(classes, _ANIMALS)[labels], sorted(zip(shares["t-SNE"].diagonal(), classes, strict=True))
    groups = {name: same_class(near[name], animal).mean() for name in ("t-SNE", "PCA", "pixels")}
    off = {name: one[~np.eye(len(classes), dtype=bool)] for name, one in shares.items()}
    mixed, by_probe = most_mixed(shares["t-SNE"], classes, 2), (shares["probe"] + shares["probe"].T) / 2
    mixed = [one | {"by_probe": by_probe[tuple(map(classes.index, one["pair"]))]} for one in mixed]
    centred = {name: _centred(points, labels) for name, points in result.panels.items()}
    by_centre = centred["t-SNE"].astype(float) - centred["PCA"]
    variances = singular_values(result.features.test) ** 2
    return {
        "points": len(labels), "over": f"95 %, paired over the {len(labels):,} test images",
        "centred": {name: one.mean() for name, one in centred.items()}, "dimension": result.features.test.shape[1],
        "by_centre": {"points": 100 * by_centre.mean(), "interval": 100 * half_interval(by_centre)},
        "agreement": agreements, "gain": {"over_pca": 100 * over.mean(), "interval": 100 * half_interval(over)},
        "chance": 1 / len(classes), "groups": groups | {"chance": animal.mean() ** 2 + (~animal).mean() ** 2},
        "overlapping": mixed, "confused": off["probe"].mean(), "entangled": most_mixed(shares["probe"], classes, 2),
        "alike": {name: _ordered(off["t-SNE"], off[name]) for name in ("pixels", "probe")},
        "pca_variance": variances[:2].sum() / max(variances.sum(), 1e-30), "pairs": len(off["probe"]),
        "largest_needs": _pca_needs(result, agreements["t-SNE"]),
        "best": dict(zip(("share", "class"), ranked[-1])), "worst": dict(zip(("share", "class"), ranked[0])),
    }  # fmt: skip


# %%
numbers = _numbers_q2(result)
for name in ("agreement", "groups", "overlapping", "entangled", "alike", "largest_needs"):
    print(name, numbers[name])
assert np.isclose(numbers["agreement"]["t-SNE"], agreement(panels["t-SNE"], labels))

# %% [markdown]
# The answer, claim by claim: first which picture is better and why. A claim whose numbers do not meet its condition is
# left out.

# %%
#| export
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

# %% [markdown]
# Is that so only by neighbours, of which t-SNE is made?

# %%
#| export
_CENTRE = """: {centred[t-SNE]:.1%} of the points are nearest to the centre of their own class in t-SNE's picture,
    {centred[PCA]:.1%} in PCA's ({by_centre.points:+.1f} ± {by_centre.interval:.1f})."""
q2.says(
    "That is not only because t-SNE is made of neighbours" + _CENTRE,
    when=lambda n: _better(n) and n.by_centre.points > n.by_centre.interval,
)
q2.says(
    "That is so by neighbours, of which t-SNE is made; by centres it cannot be told" + _CENTRE,
    when=lambda n: _better(n) and abs(n.by_centre.points) <= n.by_centre.interval,
)
q2.says(
    "That is so by neighbours, of which t-SNE is made; by centres PCA's picture is the better one" + _CENTRE,
    when=lambda n: _better(n) and n.by_centre.points < -n.by_centre.interval,
)

# %%
#| export
q2.says(
    """The reason is that t-SNE (van der Maaten and Hinton, 2008) keeps neighbourhoods and gives up distances, and PCA
    keeps distances along two directions. These hold {pca_variance:.0%} of the variance, and classes that differ along
    the others lie on one another: PCA needs up to {largest_needs} dimensions (of the numbers that were tried) to keep
    as much of the classes together as t-SNE does in two. All {dimension} dimensions keep
    {agreement[representation]:.1%}, so t-SNE loses little.""",
    when=lambda n: (
        _better(n)
        and n.largest_needs is not None
        and n.largest_needs > 2
        and n.agreement["t-SNE"] > 0.9 * n.agreement.representation
    ),
)

# %% [markdown]
# Were the classes captured? One of three claims holds.

# %%
#| export
_KEPT = """ In t-SNE's picture {agreement[t-SNE]:.1%} of a point's neighbours are of its class, among the images' own
    pixels (shrunk to 8 x 8) {agreement[pixels]:.1%}; most for {best[class]} ({best.share:.0%}), fewest for
    {worst[class]} ({worst.share:.0%})."""
q2.says(
    "**VICReg has captured the classes in part, and not accurately.**" + _KEPT,
    when=lambda n: n.agreement.pixels < n.agreement["t-SNE"] < 0.8,
)
q2.says("**VICReg has captured the classes accurately.**" + _KEPT, when=lambda n: n.agreement["t-SNE"] >= 0.8)
q2.says(
    "**VICReg has not captured the classes better than pixels do.**" + _KEPT,
    when=lambda n: n.agreement["t-SNE"] <= min(0.8, n.agreement.pixels),
)

# %% [markdown]
# Then which classes it holds apart, which it mixes, and whether that is the picture's doing.

# %%
#| export
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

# %% [markdown]
# The probe, and the pixels, were measured for this.


# %%
#| export
def _ordered_alike(n, name):
    """Whether classes are mixed in the picture as they are by the probe, or among pixels; not where none are mixed."""
    return n.alike[name] is not None and n.alike[name] > 0.5


# %%
from vicreg_nb.book import plain_numbers

made = plain_numbers({"alike": {"probe": None, "pixels": 0.6}})
assert not _ordered_alike(made, "probe") and _ordered_alike(made, "pixels")

# %%
#| export
q2.says(
    f"""It is not the picture that mixes them: the linear probe, which sees all dimensions, confuses the two classes of
    these pairs in {{overlapping[0].by_probe:.1%}} and {{overlapping[1].by_probe:.1%}} of their images (average over all
    pairs: {{confused:.1%}}). Most often it confuses {_PAIR.format("entangled[0]")}, and
    {_PAIR.format("entangled[1]")}.""",
    when=lambda n: (
        len(n.overlapping) > 1
        and _ordered_alike(n, "probe")
        and min(one["by_probe"] for one in n.overlapping) > 1.5 * n.confused
    ),
)
q2.says(
    """Over all {pairs} ordered pairs of classes, overlap in the picture and confusion by the probe have a rank
    correlation of {alike.probe:.2f}.""",
    when=lambda n: _ordered_alike(n, "probe"),
)
q2.says(
    """The classes overlap where their images look alike: pairs that are mixed in the picture tend to be mixed among
    plain pixels, too (rank correlation {alike.pixels:.2f}).""",
    when=lambda n: _ordered_alike(n, "pixels"),
)

# %%
q2.run(cfg, result)

# %% [markdown]
# ## Q3: what the probe says
# The accuracy with its interval; the control, image by image; the class that is easiest for the probe and the one that
# is hardest.


# %%
#| export
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
    return numbers | settings | {"train_images": len(images.train_labels), "test_images": len(images.test_labels)}


# %%
numbers = _numbers_q3(result)
print({name: numbers[name] for name in ("accuracy", "interval", "gain", "hardest", "easiest")})
assert np.isclose(np.trace(numbers["confusion"]) / len(images.test_labels), numbers["accuracy"])

# %% [markdown]
# The exercise asks for at least 60 %. Whether that is reached is a claim like any other.

# %%
#| export
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
    "These {accuracy:.1%} are of the small network of profile {profile}, not of the ResNet18 of the exercise.",
    when=lambda n: n.accuracy >= n.bar and n.encoder != "resnet18",
)

# %% [markdown]
# Where it is not reached, the settings say why; and what was there before the training, whatever came of it:

# %%
#| export
q3.says(
    _PROBE
    + """. The exercise's {bar:.0%} is not reached in profile {profile} (an encoder of width {width}, {epochs} epochs
    of VICReg)."""
    + _PROTOCOL,
    when=lambda n: n.accuracy < n.bar,
)
q3.says(
    """The very network that training started from, with the same initial weights, gives {untrained_accuracy:.1%}: the
    training has added {gain.points:.1f} ± {gain.interval:.1f} points.""",
    when=lambda n: n.gain.points > n.gain.interval,
)
q3.says(
    """The very network that training started from, with the same initial weights, gives {untrained_accuracy:.1%}: that
    the training has added anything cannot be measured ({gain.points:+.1f} ± {gain.interval:.1f} points).""",
    when=lambda n: n.gain.points <= n.gain.interval,
)
q3.says("The hardest class is {hardest[class]} ({hardest[accuracy]:.0%}; untrained {hardest[untrained]:.0%}).")
q3.says("""The easiest are {easiest.pair[0]} ({easiest.accuracies[0]:.0%}) and {easiest.pair[1]}
    ({easiest.accuracies[1]:.0%}).""")

# %%
q3.run(cfg, result)
