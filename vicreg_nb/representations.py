# Generated from nbs/02_representations.py by `make export`. Do not edit: edit the notebook.
# cells nbs/02_representations.py 2b943d87f708ec90
# text dd67f998604bfddb

"""2 · Representations (Q2, Q3)."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix
from sklearn.neighbors import NearestNeighbors
from torch import nn
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, open_dataset, to_float
from vicreg_nb.training import Run, train
from vicreg_nb.store import UserError, cached, digest, log, new_generator, progress, seeded
from vicreg_nb.vicreg import Encoder


@dataclass(frozen=True)
class Features:
    """Representations by one method. train: float32 [N, d]; test: float32 [M, d]; identity: digest of where they come from."""

    train: np.ndarray
    test: np.ndarray
    identity: str


@torch.inference_mode()
def encode(encoder: Encoder, images: np.ndarray, device="cpu", precision: str = "fp32", batch: int = 500) -> np.ndarray:
    """Representations float32 [N, d] of images uint8 [N, 32, 32, 3] by an encoder in evaluation mode."""
    if encoder.training:
        raise UserError(
            "the encoder is in training mode, so its batch normalisation would mix images: call .eval() first."
        )
    device, parts = torch.device(device), []
    encoder = encoder.to(device)
    for start in progress(range(0, len(images), batch), "encoding"):
        x = normalise(to_float(images[start : start + batch], device)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            parts.append(encoder(x).float())
    return torch.cat(parts).cpu().numpy()


def features_of(cfg: Config, images: Images, run: Run) -> Features:
    """The `Features` of a run's encoder, computed once."""
    identity = digest(run.identity, images.identity, run.precision)

    def compute():
        device = choose_device(cfg)
        encoder = run.encoder(device)
        return {part: encode(encoder, pictures, device, run.precision)
                for part, pictures in (("train", images.train_images), ("test", images.test_images))}  # fmt: skip

    arrays = cached(cfg.cache, "features", identity, compute)
    return Features(arrays["train"], arrays["test"], identity)


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


def project_pca(x: np.ndarray) -> np.ndarray:
    """[N, d] to [N, 2]: the first two principal components."""
    return PCA(2, random_state=0).fit_transform(x)


def project_tsne(cfg: Config, x: np.ndarray) -> np.ndarray:
    """[N, d] to [N, 2] by t-SNE (van der Maaten and Hinton, 2008), started from PCA; computed once.

    Raises UserError where the perplexity is not below the number of points.
    """
    if cfg.perplexity >= len(x):
        raise UserError(f"perplexity is {cfg.perplexity:g}, not less than the {len(x)} points: lower it.")

    def compute():
        log(f"t-SNE of {len(x):,} points")
        tsne = TSNE(2, perplexity=cfg.perplexity, init="pca", random_state=cfg.seed, n_jobs=-1)
        return {"points": tsne.fit_transform(x)}

    return cached(cfg.cache, "tsne", [x, cfg.perplexity, cfg.seed], compute)["points"]


def figure_scatters(panels: dict, labels: np.ndarray, classes: tuple, columns: int = 2):
    """Scatter plots side by side, {title: points [N, 2]}, the same points in the same class colours in each."""
    rows = -(-len(panels) // columns)
    fig, axes = new_figure(rows, columns, height=6.9 / columns * rows + 0.35, squeeze=False)
    order = np.random.default_rng(0).permutation(len(labels))  # no class lies on top of the others
    colours = np.array(CLASS_COLOURS)[labels]
    size = float(np.clip(12_000 / len(labels), 1.5, 14))
    for ax, (title, points) in zip(axes.flat, panels.items(), strict=False):
        ax.scatter(*points[order].T, c=colours[order], s=size, alpha=0.75, linewidths=0)
        ax.set(xticks=[], yticks=[])
        ax.set_title(title, fontsize=10 if columns < 3 else 8)
        ax.set_box_aspect(1)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    handles = [
        axes.flat[0].scatter([], [], color=colour, s=28, label=name)
        for colour, name in zip(CLASS_COLOURS, classes, strict=True)
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2, handletextpad=0.2)
    return fig


def neighbour_agreement(points: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """The mean share of a point's k nearest points (itself excluded) that have its label."""
    found = NearestNeighbors(n_neighbors=k).fit(points).kneighbors(return_distance=False)
    return float((labels[found] == labels[:, None]).mean())


@dataclass(frozen=True)
class Probe:
    """A linear probe's result. confusion: int [10, 10], rows are the true classes; per_class: accuracy of each; all on test images."""

    accuracy: float
    train_accuracy: float
    confusion: np.ndarray
    per_class: np.ndarray
    interval: float  # half the 95 % interval of the accuracy


def linear_probe(cfg: Config, features: Features, images: Images) -> Probe:
    """Accuracy on the test images of one linear layer trained with SGD on the training images' features."""
    device = choose_device(cfg)
    if not (np.isfinite(features.train).all() and np.isfinite(features.test).all()):
        raise UserError("the features hold NaN or infinite values: train the encoder again with a lower lr.")
    mean, std = features.train.mean(axis=0), features.train.std(axis=0) + 1e-6
    x, x_test = (torch.from_numpy((part - mean) / std).to(device) for part in (features.train, features.test))
    y = torch.from_numpy(images.train_labels).to(device)
    layer = fit_linear(cfg, x, y, len(images.classes))
    with torch.inference_mode():
        guess_train, guess = (layer(part).argmax(dim=1).cpu().numpy() for part in (x, x_test))
    confusion = confusion_matrix(images.test_labels, guess, labels=range(len(images.classes)))
    accuracy = float((guess == images.test_labels).mean())
    interval = 1.96 * float(np.sqrt(accuracy * (1 - accuracy) / len(guess)))
    per_class = confusion.diagonal() / confusion.sum(axis=1).clip(min=1)
    return Probe(accuracy, float((guess_train == images.train_labels).mean()), confusion, per_class, interval)


def fit_linear(cfg: Config, x: torch.Tensor, y: torch.Tensor, classes: int) -> nn.Linear:
    """SGD with momentum and a cosine schedule on softmax cross-entropy. x: [N, d] float; y: [N] int."""
    layer = nn.Linear(x.shape[1], classes).to(x.device)
    nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=cfg.probe_lr, momentum=0.9)
    steps = cfg.probe_epochs * -(-len(x) // cfg.probe_batch)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = new_generator(cfg.seed, "probe")
    for _ in progress(range(cfg.probe_epochs), "linear probe"):
        for batch in torch.randperm(len(x), generator=generator).to(x.device).split(cfg.probe_batch):
            loss = nn.functional.cross_entropy(layer(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    return layer


def untrained_features(cfg: Config, images: Images, run: Run) -> Features:
    """`Features` of the run's architecture with its random initial weights (batch statistics of 2,000 training images)."""

    def compute():
        torch.manual_seed(cfg.seed)
        device = choose_device(cfg)
        encoder = (
            Encoder(cfg.width, cfg.stem_stride, cfg.encoder_dim).to(device, memory_format=torch.channels_last).train()
        )
        for layer in encoder.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.momentum = None  # a plain mean over the batches seen
        with torch.no_grad():
            for batch in np.array_split(images.train_images[:2_000], 8):
                encoder(normalise(to_float(batch, device)).contiguous(memory_format=torch.channels_last))
        encoder.eval()
        return {"train": encode(encoder, images.train_images, device, run.precision),
                "test": encode(encoder, images.test_images, device, run.precision)}  # fmt: skip

    key = [images.identity, cfg.width, cfg.stem_stride, cfg.encoder_dim, cfg.seed, run.precision]
    arrays = cached(cfg.cache, "untrained", key, compute)
    return Features(arrays["train"], arrays["test"], digest(key))


def figure_confusion(probe: Probe, classes: tuple):
    """(matplotlib, plotly) confusion matrix in per cent of the true class."""
    share = 100 * probe.confusion / probe.confusion.sum(axis=1, keepdims=True).clip(min=1)
    fig, ax = new_figure(width=4.6, height=4.3)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for i, j in np.ndindex(share.shape):
        ax.text(
            j,
            i,
            f"{share[i, j]:.0f}",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if share[i, j] > 55 else "#333333",
        )
    ax.set(xticks=range(10), yticks=range(10), yticklabels=classes, xlabel="predicted class", ylabel="true class")
    ax.set_xticklabels(classes, rotation=45, ha="right", rotation_mode="anchor")
    ax.grid(False)
    heat = go.Heatmap(
        z=share,
        x=classes,
        y=classes,
        colorscale="Blues",
        zmin=0,
        zmax=100,
        hovertemplate="%{y} taken for %{x}: %{z:.1f} %<extra></extra>",
    )
    axes = {"xaxis": {"title": "predicted class"}, "yaxis": {"title": "true class", "autorange": "reversed"}}
    return fig, go.Figure(heat, axes)


def figure_per_class(probe: Probe, classes: tuple):
    """(matplotlib, plotly) accuracy of each class, in the class's colour."""
    fig, ax = new_figure(width=4.6, height=2.3)
    bars = ax.barh(classes, 100 * probe.per_class, color=CLASS_COLOURS)
    ax.bar_label(bars, fmt="%.0f", padding=3, fontsize=7)
    ax.axvline(100 * probe.accuracy, color="#333333", linewidth=0.8, linestyle="--")
    ax.invert_yaxis()
    ax.set(xlabel="accuracy on the test images / %", xlim=(0, 100))
    ax.grid(axis="y", visible=False)
    bar = go.Bar(x=100 * probe.per_class, y=classes, orientation="h", marker_color=CLASS_COLOURS)
    axes = {
        "xaxis": {"title": "accuracy on the test images / %", "range": [0, 100]},
        "yaxis": {"autorange": "reversed"},
    }
    return fig, go.Figure(bar, axes)


def entangled_pairs(confusion: np.ndarray, classes: tuple, count: int = 3) -> list[dict]:
    """The pairs of classes most often taken for each other: names, and the share of their images that are."""
    both = (confusion + confusion.T).astype(float)
    totals = confusion.sum(axis=1)
    pairs = [(both[i, j] / max(1, totals[i] + totals[j]), i, j) for i in range(len(both)) for j in range(i)]
    return [{"pair": [classes[j], classes[i]], "share": share} for share, i, j in sorted(pairs, reverse=True)[:count]]


def numbers_q2(features: Features, labels: np.ndarray, panels: dict, probe: Probe, classes: tuple) -> dict:
    """Q2's numbers: the pictures' neighbour agreement, PCA's share of the variance, and the entangled pairs."""
    explained = PCA(2).fit(features.test).explained_variance_ratio_
    agreement = {name: neighbour_agreement(points, labels) for name, points in panels.items()}
    agreement["representation"] = neighbour_agreement(features.test[: len(labels)], labels)
    return {
        "points": len(labels),
        "agreement": agreement,
        "pca_variance": explained.sum(),
        "entangled": entangled_pairs(probe.confusion, classes),
    }


def answer_q2(numbers: dict) -> str:
    """Q2 in words, chosen by the numbers."""
    pca, tsne, full = (numbers["agreement"][name] for name in ("PCA", "t-SNE", "representation"))
    better, other = ("t-SNE", "PCA") if tsne > pca else ("PCA", "t-SNE")
    high, low = max(pca, tsne), min(pca, tsne)
    clear = "clearly more effective" if high > 1.15 * low else "a little more effective"
    pairs = ", ".join(
        f"{a} and {b} ({share['share']:.0%} of their images)"
        for share in numbers["entangled"]
        for a, b in [share["pair"]]
    )
    captured = "largely" if full > 0.6 else "partly" if full > 0.25 else "hardly"
    return (
        f"**{better} is {clear} for looking at.** Among a point's ten nearest points in the picture, {high:.1%} are of its class with {better} and "
        f"{low:.1%} with {other}; in the whole representation it is {full:.1%} (chance is a tenth). PCA's plane holds {numbers['pca_variance']:.0%} of the variance: "
        "it shows the coarse directions and lays everything else on top of each other. t-SNE gives up distances to keep neighbourhoods, and neighbourhoods are where the classes are.\n\n"
        f"**VICReg has {captured} captured the classes.** No label was used, so groups arise where classes also look different. The pairs that the probe mixes up most are {pairs}: "
        "things of similar shape, pose and background, which random crops and colour changes give the encoder no reason to tell apart."
    )


def numbers_q3(probe: Probe, untrained: Probe, classes: tuple) -> dict:
    """Q3's numbers, accuracies as shares of the test images."""
    return {
        "accuracy": probe.accuracy,
        "interval": probe.interval,
        "train_accuracy": probe.train_accuracy,
        "untrained_accuracy": untrained.accuracy,
        "per_class": dict(zip(classes, probe.per_class, strict=True)),
        "confusion": probe.confusion,
        "bar": 0.6,
    }


def answer_q3(numbers: dict) -> str:
    """Q3 in words, chosen by the numbers."""
    ranked = sorted(numbers["per_class"].items(), key=lambda item: item[1])
    (worst, low), (best, high) = ranked[0], ranked[-1]
    bar = "reached" if numbers["accuracy"] >= numbers["bar"] else "not reached with this profile's budget"
    gain = numbers["accuracy"] - numbers["untrained_accuracy"]
    training = "the training's merit" if gain > 2 * numbers["interval"] else "not a clear gain"
    return (
        f"**The linear probe classifies {numbers['accuracy']:.1%} (± {numbers['interval']:.1%}, 95 %) of the test images correctly**; "
        f"the exercise's bar of {numbers['bar']:.0%} is {bar}. The same encoder untrained gives {numbers['untrained_accuracy']:.1%}, so the difference of "
        f"{100 * gain:.1f} points is {training}. On the training images it is {numbers['train_accuracy']:.1%}. The easiest class is {best} ({high:.0%}), the hardest {worst} ({low:.0%})."
    )


CAPTION_Q2 = ("q2_pca_tsne", "Representations of the test images by class: PCA and t-SNE.")
CAPTIONS_Q3 = (
    ("q3_confusion", "Confusion of the linear probe, in per cent of each true class."),
    ("q3_per_class", "Accuracy of the linear probe by class; the dashed line is the mean."),
)


def report_q2(cfg, images, features, panels, probe) -> str:
    """Record Q2 and return its answer."""
    labels = images.test_labels[: cfg.tsne_size]
    numbers = numbers_q2(features, labels, panels, probe, images.classes)
    return record(cfg, "Q2", "PCA and t-SNE", numbers, answer_q2(numbers), [CAPTION_Q2])


def report_q3(cfg, images, probe, untrained) -> str:
    """Record Q3 and return its answer."""
    numbers = numbers_q3(probe, untrained, images.classes)
    return record(cfg, "Q3", "Linear probing", numbers, answer_q3(numbers), CAPTIONS_Q3)


def run(cfg: Config):
    """Q2 and Q3 from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    q1 = train(cfg, images)
    features = features_of(cfg, images, q1)
    probe = linear_probe(cfg, features, images)
    untrained = linear_probe(cfg, untrained_features(cfg, images, q1), images)
    shown = slice(0, cfg.tsne_size)
    panels = {"PCA": project_pca(features.test)[shown], "t-SNE": project_tsne(cfg, features.test[shown])}
    save_figure(cfg, "q2_pca_tsne", figure_scatters(panels, images.test_labels[shown], images.classes))
    save_figure(cfg, "q3_confusion", *figure_confusion(probe, images.classes))
    save_figure(cfg, "q3_per_class", *figure_per_class(probe, images.classes))
    report_q2(cfg, images, features, panels, probe)
    report_q3(cfg, images, probe, untrained)
