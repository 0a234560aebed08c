# %% [markdown]
# # 3 · Ablations (Q4, Q5)
# What does each part of VICReg do? Take it away and look. First the variance term ($\mu = 0$, Q4): does the representation collapse, and how would one see it?
# Then the generated views (Q5): are neighbours in the data as good a notion of "the same" as two crops of one image?

# %%
#| default_exp ablations

# %%
#| export
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, open_dataset, to_float
from vicreg_nb.representations import (
    Features,
    Probe,
    features_of,
    figure_scatters,
    linear_probe,
    project_pca,
)
from vicreg_nb.methods import baseline, trained
from vicreg_nb.neighbours import nearest
from vicreg_nb.store import UserError, cached, digest, duration, log
from vicreg_nb.training import Run, train

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
mu: float = 0.0  # Q4's weight of the variance term
lam: float = None  # Q4's weight of the invariance term; None: the same as in Q1
nu: float = None  # Q4's weight of the covariance term; None: the same as in Q1
epochs: int = None  # of Q1 and Q4; None: the profile's value
neighbour_count: int = None  # Q5: top neighbours to choose from
neighbour_epochs: int = None  # Q5: epochs of training

# %%
from IPython.display import Markdown
from vicreg_nb.config import notebook_config

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## Two configurations that differ in one thing
# `cfg` holds Q4's weights; everything else, the number of epochs included, is Q1's.


# %%
base = baseline(cfg)
q1, q4 = trained(base, images), trained(cfg, images, q4_tag(cfg))
f1, f4 = features_of(base, images, q1), features_of(cfg, images, q4)
probe1, probe4 = linear_probe(base, f1, images), linear_probe(cfg, f4, images)
print(f"mu = {base.mu:g}: {probe1.accuracy:.1%}, mu = {cfg.mu:g}: {probe4.accuracy:.1%}")

# %% [markdown]
# ## Q4: how many dimensions are left?
# The singular values of the centred representation say how far it reaches in each direction. If it has collapsed, all but a few are
# negligible. The effective rank (Roy and Vetterli, 2007) counts them: the exponential of the entropy of the normalised
# singular values. It is $d$ when all are equal, 1 when there is but one.


# %%
#| export
def singular_values(x: np.ndarray) -> np.ndarray:
    """[N, d] to [min(N, d)]: standard deviations along the principal directions, falling."""
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
isotropic = random.normal(size=(20_000, 16))
line = random.normal(size=(500, 1)) @ random.normal(size=(1, 16))
assert (
    abs(effective_rank(isotropic) - 16) < 0.1
    and abs(effective_rank(line) - 1) < 1e-6
    and effective_rank(np.ones((9, 3))) == 0
)


# %%
#| export
def method_title(cfg: Config, name: str) -> str:
    """The method's name in a figure; Q4's says its mu."""
    return f"{METHOD_NAMES[name]} (mu = {cfg.mu:g})" if name == "no_variance" and cfg.mu else METHOD_NAMES[name]


def figure_spectrum(spectra: dict, titles: dict):
    """(matplotlib, plotly) of the singular values {method: [d]} by rank, on a logarithmic scale."""
    fig, ax = new_figure(width=5.2, height=2.8)
    lines = []
    for name, values in spectra.items():
        ranks, floor = np.arange(1, len(values) + 1), np.maximum(values, 1e-8 * values.max())
        ax.plot(ranks, floor, color=METHOD_COLOURS[name], linewidth=1.8, label=titles[name])
        lines.append(go.Scatter(x=ranks, y=floor, name=titles[name], line={"color": METHOD_COLOURS[name], "width": 2}))
    ax.set(yscale="log", xlabel="principal direction of the representation", ylabel="standard deviation along it")
    ax.legend()
    axes = {"xaxis": {"title": "principal direction"}, "yaxis": {"title": "standard deviation along it", "type": "log"}}
    return fig, go.Figure(lines, axes)


# %%
spectra = {"vicreg": singular_values(f1.test), "no_variance": singular_values(f4.test)}
titles = {name: method_title(cfg, name) for name in spectra}
save_figure(cfg, "q4_spectrum", *figure_spectrum(spectra, titles))

# %%
panels = {titles["vicreg"]: project_pca(f1.test), titles["no_variance"]: project_pca(f4.test)}
save_figure(cfg, "q4_pca", figure_scatters(panels, images.test_labels, images.classes))


# %%
#| export
def numbers_q4(
    cfg: Config, probes: tuple[Probe, Probe], features: tuple[Features, Features], runs: tuple[Run, Run]
) -> dict:
    """Q4's numbers; each pair is (Q1, ablated)."""
    sides = {}
    for name, probe, feature, run in zip(("vicreg", "ablated"), probes, features, runs, strict=True):
        spectrum = singular_values(feature.test)
        sides[name] = {
            "accuracy": probe.accuracy,
            "interval": probe.interval,
            "effective_rank": effective_rank(feature.test),
            "first_singular_value": spectrum[0],
            "share_of_first": spectrum[0] ** 2 / max(1e-12, (spectrum**2).sum()),
            "last_variance_term": run.history[-20:, 1].mean(),
            "mu": run.cfg.mu, "lam": run.cfg.lam, "nu": run.cfg.nu,
        }  # fmt: skip
    return sides | {"dimension": features[0].test.shape[1], "epochs": cfg.epochs, "chance": 0.1}


def answer_q4(numbers: dict) -> str:
    """Q4 in words, chosen by the numbers."""
    whole, cut, d = numbers["vicreg"], numbers["ablated"], numbers["dimension"]
    drop = 100 * (whole["accuracy"] - cut["accuracy"])
    verdict = (
        "worse"
        if drop > 200 * whole["interval"]
        else "better"
        if drop < -200 * whole["interval"]
        else "not measurably different"
    )
    text = (
        f"**With $\\mu$ = {cut['mu']:g} the linear probe is {verdict}: {cut['accuracy']:.1%} instead of {whole['accuracy']:.1%}** "
        f"(± {whole['interval']:.1%}; chance is {numbers['chance']:.0%}). "
    )
    return text + _explain_q4(whole, cut, d)


def _explain_q4(whole, cut, d):
    ranks = f"The effective rank of the representation is {cut['effective_rank']:.1f} of {d} dimensions instead of {whole['effective_rank']:.1f}"
    first = f"the first direction alone holds {cut['share_of_first']:.0%} of its variance instead of {whole['share_of_first']:.0%}"
    shrunk = cut["last_variance_term"] > 2 * whole["last_variance_term"]
    if cut["effective_rank"] < 0.5 * whole["effective_rank"]:
        return (
            f"{ranks}; {first}. That is what PCA shows: the cloud is squeezed into few directions, in which the classes lie on top of each other. "
            "Without the variance term nothing forbids the cheapest solution, which is to give all images the same projection: invariance is then perfect and there is nothing to correlate. "
            "The covariance term cannot prevent it; it is smallest where nothing varies. A linear layer cannot take apart what has been laid on one point."
        )
    size = "shrinks all directions together" if shrunk else "keeps its spread"
    return (
        f"{ranks}; {first}. The representation {size} rather than losing dimensions in this run: the projections may collapse after the projector, while the representation before it keeps part of what "
        "its architecture gives. What is lost is the pressure to keep images apart, and with it the accuracy that the training would have added."
    )


# %%
#| export
CAPTIONS_Q4 = (
    ("q4_pca", "PCA of the test representations with and without the variance term."),
    ("q4_spectrum", "Standard deviation of the representation along its principal directions: collapse, counted."),
)


def report_q4(cfg, probes, features, runs) -> str:
    """Record Q4 and return its answer."""
    numbers = numbers_q4(cfg, probes, features, runs)
    header = ["", "mu", "probe accuracy", "effective rank", "variance in the first direction"]
    rows = [
        [
            title,
            f"{side['mu']:g}",
            f"{side['accuracy']:.1%}",
            f"{side['effective_rank']:.1f}",
            f"{side['share_of_first']:.0%}",
        ]
        for title, side in ((METHOD_NAMES["vicreg"], numbers["vicreg"]), ("Ablated", numbers["ablated"]))
    ]
    table = {
        "caption": "With and without the variance term, at the same settings and epochs.",
        "header": header,
        "rows": rows,
    }
    return record(cfg, "Q4", "Ablation 1: no variance term", numbers, answer_q4(numbers), CAPTIONS_Q4, [table])


# %%
Markdown(report_q4(cfg, (probe1, probe4), (f1, f4), (q1, q4)))

# %% [markdown]
# ## Q5: nearest neighbours, exactly
# faiss compares every image with every other. It returns *squared* distances, so we take their roots; and an image is no neighbour of
# its own, whatever place it is found in (an exact duplicate may come first).


# %%
points = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
points[7] = points[3]  # a duplicate
distances, found = nearest(points, 3)
brute = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
np.fill_diagonal(brute, np.inf)
np.testing.assert_allclose(distances, np.sort(brute, axis=1)[:, :3], atol=1e-3)
assert found[3, 0] == 7 and found[7, 0] == 3 and not (found == np.arange(300)[:, None]).any()

# %% [markdown]
# ## Q5: pairs of neighbours
# The table of each image's nearest training images is computed once, by Q1's representation, and kept under the hash of Q1's encoder;
# Q1's network is then no longer in memory. Each step takes an image and one of its neighbours at random, neither augmented.


# %%
#| export
def neighbour_tables(cfg: Config, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Nearest training images of each training image [N, k] (itself excluded) and of each test image [M, k]."""
    k = cfg.neighbour_count

    def compute():
        return {"train": nearest(features.train, k)[1], "test": nearest(features.train, k, features.test)[1]}

    tables = cached(cfg.cache, "neighbours", [features.identity, k], compute)
    return tables["train"], tables["test"]


class NeighbourPairs:
    """x = I, x' = one of I's top neighbours among the training images, drawn anew each time."""

    def __init__(self, cfg: Config, images: Images, features: Features):
        self.identity = digest("neighbours", features.identity, cfg.neighbour_count)
        device = choose_device(cfg)
        self.train_images, self.test_images = (
            torch.from_numpy(part).to(device) for part in (images.train_images, images.test_images)
        )
        self.train_table, self.test_table = (
            torch.from_numpy(table).to(device) for table in neighbour_tables(cfg, features)
        )

    def train(self, indices: torch.Tensor, generator: torch.Generator):
        """Training images at `indices` [B] and a neighbour of each, both [B, 3, 32, 32]."""
        return self._pair(self.train_images, self.train_table, indices, generator)

    def test(self, indices: torch.Tensor, generator: torch.Generator):
        """Test images and a neighbour of each among the training images."""
        return self._pair(self.test_images, self.test_table, indices, generator)

    def _pair(self, images, table, indices, generator):
        choice = torch.randint(table.shape[1], (len(indices),), generator=generator).to(indices.device)
        neighbours = table[indices, choice]
        return (normalise(to_float(part, indices.device)) for part in (images[indices], self.train_images[neighbours]))


# %%
train_table, test_table = neighbour_tables(base, f1)
agreement = (images.train_labels[train_table] == images.train_labels[:, None]).mean()
print(f"{agreement:.1%} of the top {base.neighbour_count} neighbours have the image's class")
assert not (train_table == np.arange(len(train_table))[:, None]).any()

# %% [markdown]
# What the two branches will be shown as "the same": the first test image of each class in the first row, under it its neighbours.


# %%
#| export
def figure_neighbours(images: Images, table: np.ndarray):
    """The first training image of each class above its neighbours; a red frame where the class differs."""
    chosen = [np.flatnonzero(images.train_labels == label)[0] for label in range(len(images.classes))]
    rows = table.shape[1] + 1
    fig, axes = new_figure(rows, len(chosen), height=0.72 * rows + 0.15)
    for column, image in enumerate(chosen):
        for row, shown in enumerate([image, *table[image]]):
            ax = axes[row, column]
            ax.imshow(images.train_images[shown])
            ax.set(xticks=[], yticks=[])
            wrong = images.train_labels[shown] != images.train_labels[image]
            for side in ax.spines.values():
                side.set(visible=bool(wrong), color="#bd1f01", linewidth=2)
        axes[0, column].set_title(images.classes[column], fontsize=7)
    return fig


# %%
save_figure(cfg, "q5_neighbours", figure_neighbours(images, train_table))

# %% [markdown]
# ## Q5: train on them
# As the exercise advises, for a single epoch. So that the number of epochs is not mistaken for the effect of the neighbours, VICReg with generated
# views is also trained for just as long: the control.


# %%
#| export
def neighbour_run(cfg: Config, images: Images) -> Run:
    """Q5: VICReg with neighbours by Q1's representation as views, for `neighbour_epochs`."""
    pairs = NeighbourPairs(cfg, images, features_of(cfg, images, trained(cfg, images)))
    return train(cfg.replace(epochs=cfg.neighbour_epochs), images, pairs, "neighbours")


def control_run(cfg: Config, images: Images) -> Run:
    """Q1's method for as long as Q5's."""
    return trained(cfg.replace(epochs=cfg.neighbour_epochs), images)


# %%
q5, control = neighbour_run(base, images), control_run(base, images)
f5, fc = features_of(base, images, q5), features_of(base, images, control)
probe5, probe_control = linear_probe(base, f5, images), linear_probe(base, fc, images)
print(f"VICReg {probe1.accuracy:.1%}, for as long as Q5 {probe_control.accuracy:.1%}; neighbours {probe5.accuracy:.1%}")


# %%
#| export
@dataclass(frozen=True)
class NeighbourResult:
    """What Q5 compares: Q1, Q1's method for as long as Q5's, and Q5."""

    probes: dict  # vicreg, control, neighbours
    runs: dict
    features: dict
    table: np.ndarray  # [N, k]


def numbers_q5(cfg: Config, images: Images, result: NeighbourResult) -> dict:
    """Q5's numbers."""
    same = images.train_labels[result.table] == images.train_labels[:, None]
    methods = {
        name: {"accuracy": probe.accuracy, "epochs": len(result.runs[name].tests), "seconds": result.runs[name].seconds,
               "effective_rank": effective_rank(result.features[name].test)}
        for name, probe in result.probes.items()
    }  # fmt: skip
    return methods | {
        "neighbour_count": cfg.neighbour_count,
        "same_class": same.mean(),
        "same_class_by_rank": same.mean(axis=0),
        "interval": result.probes["vicreg"].interval,
    }


def answer_q5(numbers: dict) -> str:
    """Q5 in words, chosen by the numbers."""
    whole, control, near = (numbers[name] for name in ("vicreg", "control", "neighbours"))
    gap, fair = 100 * (whole["accuracy"] - near["accuracy"]), 100 * (control["accuracy"] - near["accuracy"])
    noise = 200 * numbers["interval"]
    verdict = "Yes, it is lower" if gap > noise else "Yes, it is higher" if gap < -noise else "No, not measurably"
    lines = [
        f"**{verdict}: {near['accuracy']:.1%} with neighbours from the data, {whole['accuracy']:.1%} with generated ones** "
        f"(± {numbers['interval']:.1%}). Q1 had {whole['epochs']} epochs and this run {near['epochs']}; VICReg with generated views for as long gives {control['accuracy']:.1%}.",
        f"Of the top {numbers['neighbour_count']} neighbours that Q1's representation finds, {numbers['same_class']:.1%} have the image's class: "
        "the rest are pairs that the invariance term is told to bring together and that a class would keep apart.",
    ]
    if gap > noise:
        lines.append(
            "What generated neighbours add: they are always the same object, and they say *which* differences do not matter (place, size, colour cast, blur). "
            "Neighbours by Q1's representation already agree in what Q1 has made invariant, so that they teach little that is new, and where they are of another class they teach something wrong. "
            "There are also only a few of them for each image, where T makes new ones at every step."
        )
    else:
        lines.append(
            "What compensates: the neighbours are found by Q1's representation, so that Q1's invariances are handed on through them; "
            "and a neighbour is another photograph, a difference that no augmentation makes."
        )
    if fair < -noise:
        lines.append(
            "In the same time, then, neighbours teach more than generated views: they start from what Q1 has learned."
        )
    elif fair > noise:
        lines.append("Also in the same time generated views teach more.")
    return "\n\n".join(lines)


# %%
#| export
CAPTION_Q5 = (
    "q5_neighbours",
    "One training image of each class and its nearest by VICReg's representation: what Q5's two branches see. Red frames: another class.",
)


def report_q5(cfg: Config, images: Images, result: NeighbourResult) -> str:
    """Record Q5 and return its answer."""
    numbers = numbers_q5(cfg, images, result)
    titles = {"vicreg": "VICReg (Q1)", "control": "VICReg, as long as Q5", "neighbours": "No generated neighbours (Q5)"}
    rows = [
        [
            title,
            f"{numbers[name]['epochs']}",
            f"{numbers[name]['accuracy']:.1%}",
            f"{numbers[name]['effective_rank']:.1f}",
            duration(numbers[name]["seconds"]),
        ]
        for name, title in titles.items()
    ]
    table = {
        "caption": "Generated views against neighbours from the data.",
        "header": ["", "epochs", "probe accuracy", "effective rank", "training time"],
        "rows": rows,
    }
    return record(cfg, "Q5", "Ablation 2: no generated neighbours", numbers, answer_q5(numbers), [CAPTION_Q5], [table])


# %%
result5 = NeighbourResult(
    {"vicreg": probe1, "control": probe_control, "neighbours": probe5},
    {"vicreg": q1, "control": control, "neighbours": q5},
    {"vicreg": f1, "control": fc, "neighbours": f5},
    train_table,
)
Markdown(report_q5(base, images, result5))

