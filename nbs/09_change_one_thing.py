# %% [markdown]
# # 9 · Change one thing
# How do you try an idea of your own? Here are five, each changed in one place: a weight of the loss, the augmentation,
# the backbone, the data, the loss itself. Each is trained like VICReg as it is, measured by the same probe, and set
# beside it.
#
# In profile `smoke`, as it stands here, all of it takes seconds, and its numbers mean nothing. The same notebook with
# `-p profile quick` trains on CIFAR-10, each change for as long as the book's own run, which it finds finished.

# %% tags=["parameters"]
# Parameters
profile: str = "smoke"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes, a folder of images; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder

# %%
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from vicreg_nb.book import Question
from vicreg_nb.config import notebook_config
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.plots import METHOD_COLOURS, dots, image_grid
from vicreg_nb.representations import effective_rank, encode, features_of, gain, linear_probe
from vicreg_nb.store import new_generator, seeded
from vicreg_nb.training import GeneratedPairs, load_encoder, train
from vicreg_nb.vicreg import Terms
from vicreg_nb.views import apply_views, draw_parameters, write_recipes

cfg = notebook_config(globals())
images = open_dataset(cfg)

# %% [markdown]
# ## How it is measured
# By Q3's linear probe on the frozen features, with half its 95 % interval over the test images, and by the effective
# rank, which says how many directions the features use. What is trained already is found again. It is one training
# each: repeat what you find with other seeds before you believe it.


# %%
def measured(cfg, images, run):
    """The linear probe of a run's encoder; tells what it finds."""
    features = features_of(cfg, images, run)
    probe, rank = linear_probe(cfg, features, images), effective_rank(features.test)
    print(f"probe {probe.accuracy:.1%} ± {probe.interval:.1%}, effective rank {rank:.1f} of {features.test.shape[1]}")
    return probe


def as_it_is(cfg, images):
    return cfg, images, train(cfg, images)


plain = measured(*as_it_is(cfg, images))

# %% [markdown]
# ## 1. A weight of the loss
# Any setting is changed with `replace`, and all of them are listed in [00_config](00_config.ipynb). Without a notebook:
# `python -m vicreg_nb.run_all --only Q3 --set lam=5`. A fifth of $\lambda$ asks less that two views be the same.


# %%
def fifth(cfg, images):
    cfg = cfg.replace(lam=cfg.lam / 5)
    return cfg, images, train(cfg, images)


probe = measured(*fifth(cfg, images))

# %% [markdown]
# ## 2. The augmentation
# Where the two views come from is an object with two methods, `epoch` and `tests`. This one draws T's parameters, and
# takes the colours back: the views differ in crop and mirror image alone. Its `identity` and its code are a part of
# the training's key. (To change T itself, for the whole book: `draw_parameters` in [00b_views](00b_views.ipynb).)


# %%
def plain_recipes(n, generator, size, images):
    """T's recipes for n views, without anything that changes colours or blurs."""
    p = draw_parameters(n, generator, size, images.shape[1])
    one, zero = torch.ones_like(p.hue), torch.zeros_like(p.hue)
    same = dict(brightness=one, contrast=one, saturation=one, hue=zero, grey=p.grey & False, sigma=zero)
    return write_recipes(replace(p, **same), images.device)


class CropsAlone(GeneratedPairs):
    """Two crops of each image, in its own colours."""

    identity = "crops alone"

    def epoch(self, order, batches, generator, images=None):
        images = self.train_images if images is None else images
        both = [plain_recipes(len(order), generator, self.size, images) for _ in range(2)]
        for rows in batches:
            shown = images[order[rows].to(images.device)]
            yield tuple(apply_views(shown, recipes[rows]) for recipes in both)

    def tests(self, batches):
        order, generator = torch.arange(len(self.test_images)), new_generator(self.seed, "test views")
        return self.epoch(order, batches, generator, self.test_images)


# %%
pairs = CropsAlone(cfg, images)
x, x2 = next(pairs.epoch(torch.arange(8), [slice(8)], new_generator(seed, "shown")))
low, high = x.amin(), x.amax()
shown = [((view - low) / (high - low)).permute(0, 2, 3, 1).cpu().numpy() for view in (x, x2)]
image_grid([list(images.train_images[:8]), *map(list, shown)], labels=["image", "x", "x'"], width=6)


# %%
def crops(cfg, images):
    return cfg, images, train(cfg, images, CropsAlone(cfg, images), tag="crops")


probe = measured(*crops(cfg, images))

# %% [markdown]
# ## 3. The backbone
# Any `nn.Module` from views `[B, 3, 32, 32]` to vectors `[B, d]`. This is a small vision transformer: 16 patches of
# 8 x 8 pixels, two layers of attention, the mean over the patches. Nothing needs to be registered: the key of the
# training holds its code and its initial weights, which `seeded` makes the same each time. (The rates of a profile were
# found for its own encoder: before you compare, look for better ones, `lr` and `muon_lr`. For the whole book an encoder
# is a class with `width` and `dim` in `NETWORKS` of [01_vicreg](01_vicreg.ipynb), and a name for `encoder` in
# [00_config](00_config.ipynb).)


# %%
class Patches(nn.Module):
    """A small vision transformer: images [B, 3, 32, 32] to [B, dim]."""

    def __init__(self, width=64, dim=32):
        super().__init__()
        self.cut = nn.Conv2d(3, width, kernel_size=8, stride=8)
        self.place = nn.Parameter(0.02 * torch.randn(16, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(width, dim)

    def forward(self, x):
        patches = self.cut(x).flatten(2).transpose(1, 2) + self.place
        return self.head(self.layers(patches).mean(dim=1))


def transformer(cfg, images):
    with seeded(cfg.seed, "patches"):
        patches = Patches(dim=cfg.encoder_dim)
    return cfg, images, train(cfg, images, tag="patches", encoder=patches)


probe = measured(*transformer(cfg, images))

# %% [markdown]
# ## 4. The data
# Images of your own are arrays (`Images.from_arrays`) or a folder with a folder of pictures for each class
# (`Images.from_folder`; on the command line `--dataset FOLDER`). [00a_data](00a_data.ipynb) shows CIFAR-100. Here they
# are the same images without their colours, so that the numbers can be compared.


# %%
def grey(pictures):
    """uint8 [N, 32, 32, 3], each pixel the mean of its three channels."""
    return np.repeat(pictures.mean(axis=3, keepdims=True).astype(np.uint8), 3, axis=3)


def colourless(cfg, images):
    halves = grey(images.train_images), images.train_labels, grey(images.test_images), images.test_labels
    images = Images.from_arrays(*halves, classes=images.classes, name="grey")
    return cfg, images, train(cfg, images, tag="grey")


probe = measured(*colourless(cfg, images))

# %% [markdown]
# ## 5. The loss
# Any function of two batches of projections that returns three terms. Barlow Twins (Zbontar et al., 2021) wants the
# correlations between the two views of each direction to be one, and those between different directions to be zero.
# It needs no term for the variance. Its authors weight the second kind by 0.005; both are sums over directions.


# %%
def barlow_twins(z, z2):
    """On and off the diagonal of the correlations between two views' directions, Zbontar et al., Eq. 1 and 2."""
    z, z2 = ((part - part.mean(dim=0)) / part.std(dim=0, correction=0).clamp(min=1e-6) for part in (z, z2))
    correlations = z.T @ z2 / len(z)
    same = correlations.diagonal()
    off = correlations.square().sum() - same.square().sum()
    return Terms((1 - same).square().sum(), z.new_zeros(()), off)


def twins(cfg, images):
    cfg = cfg.replace(lam=1.0, nu=0.005)
    return cfg, images, train(cfg, images, tag="twins", objective=barlow_twins)


probe = measured(*twins(cfg, images))

# %% [markdown]
# ## All of them as a question
# What the book asks, it asks as a `Question`: what computes, what draws, what it says. In a notebook of your own,
# say `nbs/10_mine.py`, with `#| default_exp mine` and `#| export` in its cells, this one would be a chapter after
# `make export`: `run_all` picks it up by itself, and its figures, numbers and sentences go where the others' do, if its
# last cell runs it, `mine.run(cfg)`.

# %%
mine = Question("mine", "Change one thing", "an idea of our own")
CHANGES = {
    "as it is": as_it_is, "lambda / 5": fifth, "crops alone": crops, "transformer": transformer,
    "grey images": colourless, "Barlow Twins": twins,
}  # fmt: skip


@mine.result
def tried(cfg, images):
    """{change: its linear probe}."""
    return {name: measured(*change(cfg, images)) for name, change in CHANGES.items()}


@mine.summary
def differences(found):
    """Accuracy as it is, and the points that each change gains, both with half their 95 % intervals."""
    base, *changed = found
    gains = {name: gain(found[name], found[base]) for name in changed}
    return {"accuracy": found[base].accuracy, "interval": found[base].interval, "gains": gains}


# %%
@mine.figure("What the linear probe gains or loses in percentage points when one thing is changed.")
def mine_changes(found):
    gains = differences(found)["gains"]
    points = {"change": [one["points"] for one in gains.values()]}
    return dots({"": points}, list(gains), "percentage points", {"change": METHOD_COLOURS[0]}, width=4.6)


found = tried(cfg, images)
assert found["as it is"].accuracy == plain.accuracy
mine_changes(found)

# %% [markdown]
# A sentence is said if its numbers bear it. One about a change stands under the condition that the difference is
# larger than its interval.

# %%
mine.says("As it is, the probe classifies {accuracy:.1%} ± {interval:.1%} of the test images correctly.")
for change in list(CHANGES)[1:]:
    mine.says(
        f"**{change}:** {{gains[{change}][points]:+.1f}} ± {{gains[{change}][interval]:.1f}} points.",
        when=lambda n, change=change: abs(n.gains[change]["points"]) > n.gains[change]["interval"],
    )
mine.answer(differences(found))

# %% [markdown]
# ## And then?
# A training is a folder in `runs/`, and is found there by its settings. From there its encoder can be had by name, and
# its vectors for any images:

# %%
few, run, own = images.test_images[:5], train(cfg, images), transformer(cfg, images)[-1]
vectors = encode(load_encoder(run.folder), few)
assert vectors.shape == (5, cfg.encoder_dim)
again = encode(load_encoder(own.folder, encoder=Patches(dim=cfg.encoder_dim)), few)
assert np.allclose(again, encode(own.encoder(), few))
vectors[:, :4]
