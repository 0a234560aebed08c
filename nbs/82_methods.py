# %% [markdown]
# # 82 · Methods
# Which methods does the book compare, and where does each get its representation from? Q4 takes away the variance term,
# Q5 the generated views, Q6 the network. Whoever compares them asks here, by name, and gets what the chapters trained.

# %%
#| default_exp methods

# %%
#| export
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device, profile_values
from vicreg_nb.data import Images
from vicreg_nb.identity import cached
from vicreg_nb.plots import METHOD_COLOURS, QUIET
from vicreg_nb.representations import (
    Features, encode, features_of, half_interval, untrained_encoder, untrained_features
)  # fmt: skip
from vicreg_nb.store import UserError, digest, log
from vicreg_nb.training import Run, find_run, is_finished, train

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder

# %%
from vicreg_nb.book import QUESTIONS
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset
from vicreg_nb.neighbours import nearest, same_class

cfg = notebook_config(globals())
images = open_dataset(cfg)

# %% [markdown]
# ## Names and colours
# Each method has one name and one colour in all texts and figures.


# %%
#| export
class Method(NamedTuple):
    """How a method is called and drawn."""

    title: str
    colour: str


_TITLES = {
    "vicreg": "VICReg",
    "no_variance": "No variance term",
    "neighbours": "Neighbour pairs",
    "free": "Free vectors",
    "laplacian": "Laplacian Eigenmaps",
}
METHODS = {name: Method(title, colour) for (name, title), colour in zip(_TITLES.items(), METHOD_COLOURS, strict=True)}
ASKED = ("vicreg", "neighbours")  # the two that the exercise compares in Q7, Sec. 4.2 and 4.3
ENCODERS = (*ASKED, "no_variance")  # those that can embed a new image
UNTRAINED = Method("Before training", QUIET)  # no method but the control: the network that training starts from
LONGER = Method("Neighbour pairs, as long as VICReg", METHODS["neighbours"].colour)  # where `neighbours_as_long`
COMPARED = (*ENCODERS, "laplacian")  # those that stand beside them in the tables


def colours_by_title(names=tuple(METHODS)) -> dict:
    """{title: colour} of methods, as the drawing functions take it."""
    return {METHODS[name].title: METHODS[name].colour for name in names}


# %%
for name, method in METHODS.items():
    print(f"{name:12}{method.title:22}{method.colour}")

# %% [markdown]
# ## Q1's method, with its own weights
# An ablation changes `lam`, `mu` or `nu` of its own run; what it is compared with keeps the profile's.


# %%
#| export
def baseline(cfg: Config) -> Config:
    """Q1's configuration: the same with the profile's own weights of the three terms."""
    values = profile_values(cfg.profile)
    return cfg.replace(**{name: values[name] for name in ("lam", "mu", "nu")})


def trained(cfg: Config, images: Images, tag: str = "vicreg") -> Run:
    """The run with generated views that `cfg` describes; says so if it must be trained first."""
    if not is_finished(find_run(cfg, images, tag=tag)[1]):
        log(f"{tag} with mu = {cfg.mu:g} has not been trained with these settings yet: training it first")
    return train(cfg, images, tag=tag)


# %%
assert baseline(cfg.replace(mu=0, lr=0.5)) == cfg.replace(lr=0.5)

# %% [markdown]
# ## Runs and features by name
# The chapters define what Q5 and Q6 train and compute; they are imported when they are asked for, since they stand on
# this notebook themselves.


# %%
#| export
def run_of(cfg: Config, images: Images, name: str) -> Run:
    """The run of a method that has an encoder (one of `ENCODERS`), trained if need be; UserError for others."""
    if name == "vicreg":
        return trained(cfg, images)
    if name == "no_variance":
        return trained(cfg.replace(mu=0.0), images, "no_variance")
    if name == "neighbours":
        from vicreg_nb.ablations import neighbour_run

        return neighbour_run(cfg, images)
    if name == "longer":  # the same pairs, for as many epochs as VICReg
        return run_on_neighbours(cfg, images, features(cfg, images, "vicreg"), "neighbours")
    raise UserError(f"{name!r} is not a method with an encoder: choose one of {', '.join(ENCODERS)}.")


def features(cfg: Config, images: Images, name: str) -> Features:
    """A method's `Features`: those of its encoder, of the "untrained" one, or the vectors of Laplacian Eigenmaps."""
    if name == "untrained":
        return untrained_features(cfg, images, run_of(cfg, images, "vicreg"))
    if name == "laplacian":
        from vicreg_nb.laplacian_eigenmaps import laplacian_features

        return laplacian_features(cfg, images)
    return features_of(cfg, images, run_of(cfg, images, name))


# %%
for name in COMPARED:
    found = features(cfg, images, name)
    print(f"{METHODS[name].title:22}train {found.train.shape}, test {found.test.shape}")

# %% [markdown]
# Other pictures than those of the data set go through the same encoders: the digits of Sec. 4.2, and images in which Q7
# changes one thing.


# %%
#| export
def encoded(cfg: Config, images: Images, name: str, pictures: np.ndarray) -> np.ndarray:
    """What the encoder of a method, or the "untrained" one, makes of pictures uint8 [N, 32, 32, 3]; computed once."""
    run, device = run_of(cfg, images, "vicreg" if name == "untrained" else name), choose_device(cfg)

    def compute():
        encoder = untrained_encoder(cfg, images, device) if name == "untrained" else run.encoder(device)
        return {"vectors": encode(encoder, pictures, device, run.precision)}

    return cached(cfg.cache, "encoded", [features(cfg, images, name).identity, pictures], compute)["vectors"]


# %%
for name in (*ENCODERS, "untrained"):
    again, known = encoded(cfg, images, name, images.test_images[:8]), features(cfg, images, name).test[:8]
    np.testing.assert_allclose(again, known, atol=0.05 * np.abs(known).max())

# %% [markdown]
# Q5's way of training works with any features that say which images are neighbours:


# %%
#| export
def run_on_neighbours(cfg: Config, images: Images, source: Features, tag: str) -> Run:
    """VICReg on pairs of neighbours by the features `source`, `cfg.neighbour_count` of each image."""
    from vicreg_nb.ablations import NeighbourPairs

    return train(cfg, images, NeighbourPairs(cfg, images, source), tag)


# %%
short = cfg.replace(epochs=cfg.neighbour_epochs)
again = run_on_neighbours(short, images, features(cfg, images, "vicreg"), "neighbours")
assert again.folder == run_of(cfg, images, "neighbours").folder  # with Q1's features it is Q5

# %% [markdown]
# ## How much is the length of the training?
# Q5's neighbour pairs train for an epoch, VICReg for many. Where the two differ, the pairs may be the reason, or the
# length. Neighbour pairs that were trained for as long tell: does their number lie beyond half the way from the shorter
# ones' to VICReg's, or even past VICReg's? It may do so by chance, so both have an interval.

# %%
#| export
UNMEASURED = {"more": None, "interval": None, "past": {"more": None, "interval": None}}  # without a longer training


def beyond_half(short: np.ndarray, vicreg: np.ndarray, longer: np.ndarray) -> dict:
    """By how much neighbour pairs trained as long as VICReg are beyond half the way from the shorter ones to VICReg.

    All [n], the same thing measured on the same images. Returns "more", a mean in their unit, below 0 where less than
    half of the way is gone, and half its 95 % "interval"; and in "past" the same beyond the whole way.
    """
    way = np.sign(np.mean(vicreg) - np.mean(short))
    ends = (np.asarray(short) + vicreg) / 2, vicreg
    half, past = ({"more": (way * (longer - end)).mean(), "interval": half_interval(longer - end)} for end in ends)
    return half | {"past": past}


# %%
noise = np.random.default_rng(0).normal(size=(3, 1_000))
for up in (1, -1):  # whether VICReg's numbers are the higher ones
    found = [beyond_half(*(noise + up * np.array([[0], [2], [end]]))) for end in (0, 1, 2, 3)]
    np.testing.assert_allclose([one["more"] for one in found], [-1, 0, 1, 2], atol=0.15)
    np.testing.assert_allclose([one["past"]["more"] for one in found], [-2, -1, 0, 1], atol=0.15)

# %% [markdown]
# What is said of it has the same five outcomes everywhere. That most of a difference is gone is too little to say where
# it is reversed, and where nothing measurable is left.


# %%
#| export
def _gone(one):
    """How much of a difference is gone, by its `beyond_half`: "all" where the rest is not measurable."""
    past = one["past"]
    if past["more"] > past["interval"]:
        return "reversed"
    if abs(one["more"]) <= one["interval"]:
        return "unknown"
    return "less" if one["more"] < 0 else "most" if past["more"] < -past["interval"] else "all"


def says_length(question: Question, what: str, of: Callable, tail: str, when: Callable):
    """Add the claims on how much of `what` goes away in a longer training.

    of(numbers): its `beyond_half`; tail: what the longer trained ones have; when: whether there is such a difference.
    """
    longer = f"when neighbour pairs train for as long as VICReg: {tail}"
    outcomes = {
        "reversed": f"{what[0].upper()}{what[1:]} is reversed {longer}",
        "all": f"Nothing measurable is left of {what} {longer}",
        "most": f"Most of {what} goes away {longer}",
        "less": f"Less than half of {what} goes away {longer}",
        "unknown": f"It cannot be told how much of {what} goes away {longer}",
    }
    for gone, text in outcomes.items():
        question.says(text, lambda n, gone=gone: of(n)["more"] is not None and bool(when(n)) and _gone(of(n)) == gone)


# %%
made = Question("made", "Made up", "nowhere")
says_length(made, "it", lambda n: n, "{more} ± {interval}.", lambda n: n.apart)
ways = {"It is": (5, 2), "Nothing": (3, 0), "Most": (2, -2), "Less": (-2, -5), "It cannot": (0.5, -3), "": (2, -2)}
for begins, (more, past) in ways.items():
    one = {"more": more, "interval": 1, "past": {"more": past, "interval": 1}, "apart": bool(begins)}
    said = made.answer(one)
    print(said)
    assert said.startswith(begins) and bool(said) == bool(begins)
assert made.answer(UNMEASURED | {"apart": 1}) == "" and QUESTIONS.pop("made") is made

# %% [markdown]
# ## Neighbours of the same class
# Q5 and the ladder ask what neighbours would be worth if all of them were right. Such an *oracle* uses the training
# labels: its neighbours are the nearest by the given features within the image's own class.


# %%
#| export
def with_labels(one: Features, images: Images) -> Features:
    """`one` with the class of a training image as ten more dimensions, so far apart that its nearest are of its class.

    Test images have zeros there: they are as far from every class.
    """
    far = 4 * np.linalg.norm(one.train - one.train.mean(axis=0), axis=1).max()
    classes = len(images.classes)
    train = np.c_[one.train, far * np.eye(classes, dtype=np.float32)[images.train_labels]]
    test = np.c_[one.test, np.zeros((len(one.test), classes), np.float32)]
    return Features(train.astype(np.float32), test, digest(one.identity, "labels", images.train_labels))


# %%
vicreg = features(cfg, images, "vicreg")
few = np.bincount(images.train_labels).min() - 1  # others of an image's class there are, at least
near = nearest(with_labels(vicreg, images).train, min(cfg.graph_neighbours, few)).numbers
assert (same_class(near, images.train_labels) == 1).all()
first = near[0][: min(3, len(near[0]))]
distances = np.linalg.norm(vicreg.train.astype(np.float64) - vicreg.train[0], axis=1)
distances[images.train_labels != images.train_labels[0]] = np.inf
assert (first == np.argsort(distances, kind="stable")[1 : len(first) + 1]).all()  # the first is the image itself
