# %% [markdown]
# # 2 · Representations (Q2, Q3)
# What has the encoder learned, without ever seeing a label? We look at its representations of the test images in two
# dimensions (PCA and t-SNE), and ask how well one linear layer on the frozen encoder tells the ten classes apart.
#
# In short, for the run that this project shows: animals and vehicles lie apart, within each group the classes overlap,
# and most of what the linear layer finds in the features was put there by the training.
#
# *Try:* for Q2 another `perplexity`, and watch the shares of neighbours of the same class: only t-SNE's can move.
#
# *Try:* for Q3 fewer `epochs`, and watch what the probe gains over the untrained network, whose own accuracy stays.

# %%
#| default_exp representations

# %%
#| export
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
# An accuracy over 10,000 images is an estimate: other test images would have given another one. Unless another is
# named, the intervals of this book are over the test images, and do not hold the luck of a training, which another
# seed would show. Those of the report over several seeds do, but all seeds are tested on the same images: they do not
# hold the luck of these. Student's t keeps an interval wide enough where it is of few values, such as ten classes.


# %%
#| export
def half_interval(values: np.ndarray) -> float:
    """Half the 95 % interval of the mean of independent values [n]; for hits and misses, that of an accuracy."""
    return stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))


# %%
for hits in (np.repeat([1, 0], [6, 4]), np.repeat([1, 0], [6_000, 4_000])):
    low, high = stats.t.interval(0.95, len(hits) - 1, hits.mean(), stats.sem(hits))
    print(f"{len(hits):6,} images: {hits.mean():.0%} ± {half_interval(hits):.1%}")
    assert np.isclose(high - low, 2 * half_interval(hits))

# %% [markdown]
# Around the linear layer, the protocol: the features are scaled to zero mean and unit variance with the training set's
# statistics (the layer could do that itself, only slowly), the layer is fitted on the training images, and the test
# images are used once in this protocol, at the end. They were used before, though: the recipe of profile `quick` was
# chosen among about twenty by this very accuracy, nearly always with seed 0 (the table in [0](00_config.ipynb)). So
# what that profile reaches may be a little flattered.


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


# %% [markdown]
# scikit-learn's logistic regression solves the same problem to the end, and must come within three points of it.

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
# by image: only those that one of them alone names rightly make the difference (McNemar, 1947). Its interval is usually
# narrower than that of two accuracies on different images would be: it is where the two tend to hit the same images.


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
# Two means over the same points are compared by their difference, point by point, with its 95 % interval: what other
# test images in the same pictures would change. Why is one picture better? If it is that a plane has no room for what
# PCA keeps, then PCA must do as well as t-SNE once it is given more dimensions; how many it needs is measured.

# %%
#| export
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


# %%
more, half = _ahead(result.near, labels, "PCA")
own = [same_class(result.near[name], labels) for name in ("t-SNE", "PCA")]
print(
    f"{more:+.1f} ± {half:.1f} points; as if the points were independent ± {100 * half_interval(own[0] - own[1]):.1f}"
)
assert np.isclose(more, 100 * (own[0].mean() - own[1].mean()))
assert list(_pca_needs(result, 0).values()) == [2, 0] and list(_pca_needs(result, 1.1).values()) == [None, 0]


# %%
#| export
def _centred(points, labels):
    """For each of the points [N, 2]: whether it is nearest to the centre of its own class; chance, if all are one."""
    points = points[: len(labels)]
    if not np.ptp(points, axis=0).any():
        return np.full(len(labels), 1 / len(np.unique(labels)))
    return NearestCentroid().fit(points, labels).predict(points) == labels


# %%
apart = np.random.default_rng(0).normal(size=(200, 2)) + 9 * np.arange(4).repeat(50)[:, None]
assert _centred(apart, np.arange(4).repeat(50)).all() and _centred(apart, np.arange(200) % 4).mean() < 0.5
assert (_centred(np.ones((200, 2)), np.arange(200) % 4) == 1 / 4).all()

# %% [markdown]
# Do two ways to mix the classes order them alike? That animals are mixed with animals, and vehicles with vehicles,
# would make any two of them look alike, whatever they do within these groups. So the pairs of classes are ranked within
# their group, and the correlation of these ranks must be beyond what it is when the classes of a group are exchanged
# at random in one of the two.

# %%
#| export
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


# %%
random, groups = np.random.default_rng(0), np.repeat([0, 1], [6, 4])
apart = 0.2 * (groups[:, None] == groups) + 0.1 * random.random((3, 10, 10))
off = ~np.eye(10, dtype=bool)
found = same_order(apart[0], apart[1], groups)
print(f"by groups alone: over all pairs {stats.spearmanr(apart[0][off], apart[1][off]).statistic:.2f}, within {found}")
assert found["rank"] < found["chance"]
found = same_order(apart[0], apart[0] + 0.2 * apart[2], groups)
assert found["rank"] > found["chance"] and same_order(apart[0], np.ones((10, 10)), groups)["rank"] is None


# %%
#| export
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


# %%
numbers = _numbers_q2(result)
for name in ("agreement", "groups", "overlapping", "entangled", "within", "largest_needs"):
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
# Is that so only by neighbours, which t-SNE is built from?

# %%
#| export
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

# %%
#| export
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

# %% [markdown]
# Were the classes captured? One of three claims holds.

# %%
#| export
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
    """Whether classes of a group are mixed in the picture as they are by the probe, or among pixels, beyond chance."""
    return n.within[name].rank is not None and n.within[name].rank > n.within[name].chance


# %%
from vicreg_nb.book import plain_numbers

made = {"probe": {"rank": None, "chance": None}, "pixels": {"rank": 0.6, "chance": 0.4}}
made = plain_numbers({"within": made})
assert not _ordered_alike(made, "probe") and _ordered_alike(made, "pixels")

# %%
#| export
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

# %% [markdown]
# Among pixels there are two outcomes: an explanation of the overlap, or none.

# %%
#| export
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
    counts = {"train_images": len(images.train_labels), "test_images": len(images.test_labels)}
    return numbers | settings | counts | {"dataset": images.name}


# %%
numbers = _numbers_q3(result)
print({name: numbers[name] for name in ("accuracy", "interval", "gain", "hardest", "easiest")})
assert np.isclose(np.trace(numbers["confusion"]) / len(images.test_labels), numbers["accuracy"])

# %% [markdown]
# The exercise asks for at least 60 %. Whether that is reached is a claim like any other; where it is not, the settings
# say why.

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
    _PROBE
    + """. The exercise's {bar:.0%} is not reached in profile {profile} (an encoder of width {width}, {epochs} epochs
    of VICReg)."""
    + _PROTOCOL,
    when=lambda n: n.accuracy < n.bar,
)

# %% [markdown]
# Whose accuracy it is, and that the recipe was chosen by these test images, is no part of any interval, so it is said.

# %%
#| export
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

# %%
runs = [("quick", "cifar10"), ("quick", "shapes"), ("exercise", "cifar10")]
made = [_chosen(plain_numbers({"profile": name, "dataset": data})) for name, data in runs]
assert made == [True, False, False]

# %% [markdown]
# And what was there before the training, whatever came of it, with the hardest class and the two easiest.

# %%
#| export
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

# %%
q3.run(cfg, result)
