# Generated from nbs/03_ablations.py by `make export`. Do not edit: edit the notebook.
# cells nbs/03_ablations.py d837547e0f16184f
# text 66edb1a7ca687234

"""3 · Ablations (Q4, Q5)."""

from dataclasses import dataclass

import faiss
import numpy as np
import plotly.graph_objects as go
import torch
from vicreg_nb.config import (
    METHOD_COLOURS,
    METHOD_NAMES,
    PROFILES,
    Config,
    UserError,
    cached,
    choose_device,
    digest,
    new_figure,
    record,
    save_figure,
    say,
)
from vicreg_nb.data import Images, normalise, open_dataset, to_float
from vicreg_nb.representations import (
    Features,
    Probe,
    features_of,
    figure_scatters,
    linear_probe,
    project_pca,
)
from vicreg_nb.training import Run, duration, is_finished, run_folder, run_settings, train


def baseline(cfg: Config) -> Config:
    """Q1's configuration: the same with the profile's own weights of the three terms."""
    return cfg.replace(**{name: PROFILES[cfg.profile][name] for name in ("lam", "mu", "nu")})


def trained(cfg: Config, images: Images, tag: str = "vicreg") -> Run:
    """The run with generated views that `cfg` describes; says so if it must be trained first."""
    if not is_finished(run_folder(cfg, run_settings(cfg, images), tag)):
        say(f"{tag} with mu = {cfg.mu:g} has not been trained with these settings yet: training it first")
    return train(cfg, images, tag=tag)


def q4_tag(cfg: Config) -> str:
    """The folder name of Q4's run."""
    return "no_variance" if cfg.mu == 0 else "ablation"


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


def nearest(x: np.ndarray, k: int, queries: np.ndarray = None) -> tuple[np.ndarray, np.ndarray]:
    """(l2 distances [Q, k], indices [Q, k] into x) of the k nearest rows of x, nearest first; exact.

    Without `queries` they are the rows of x, each left out of its own neighbours.
    Raises UserError for k below 1 or larger than the data, and for NaN.
    """
    limit = len(x) - (queries is None)
    if not 1 <= k <= limit:
        raise UserError(f"k is {k}: choose from 1 to {limit}, the number of images to compare with.")
    x = np.ascontiguousarray(x, dtype=np.float32)
    asked = x if queries is None else np.ascontiguousarray(queries, dtype=np.float32)
    if not (np.isfinite(x).all() and np.isfinite(asked).all()):
        raise UserError("the features hold NaN or infinite values: train the encoder again with a lower lr.")
    centre = x.mean(axis=0, dtype=np.float64).astype(
        np.float32
    )  # moves no distance; faiss subtracts norms, so small ones save digits
    x, asked = x - centre, asked - centre
    index = faiss.IndexFlatL2(x.shape[1])
    index.add(x)
    squared, found = index.search(asked, k + (queries is None))
    if queries is None:
        squared, found = _without_itself(squared, found)
    return np.sqrt(np.maximum(squared, 0)), found


def _without_itself(squared, found):
    """Drop each row's own index; where duplicates have pushed it off the list, drop the last."""
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(found), found.shape[1] - 1)
    return squared[~own].reshape(shape), found[~own].reshape(shape)


def neighbour_tables(cfg: Config, features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Nearest training images of each training image [N, k] (itself excluded) and of each test image [M, k]."""
    k = cfg.neighbour_count

    def compute():
        return {"train": nearest(features.train, k)[1], "test": nearest(features.train, k, features.test)[1]}

    tables = cached(cfg, "neighbours", [features.identity, k], compute)
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


def neighbour_run(cfg: Config, images: Images) -> Run:
    """Q5: VICReg with neighbours by Q1's representation as views, for `neighbour_epochs`."""
    pairs = NeighbourPairs(cfg, images, features_of(cfg, images, trained(cfg, images)))
    return train(cfg.replace(epochs=cfg.neighbour_epochs), images, pairs, "neighbours")


def control_run(cfg: Config, images: Images) -> Run:
    """Q1's method for as long as Q5's."""
    return trained(cfg.replace(epochs=cfg.neighbour_epochs), images)


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


def method_run(cfg: Config, images: Images, name: str) -> Run:
    """The run of a method with an encoder: vicreg (Q1), no_variance (Q4), neighbours (Q5); trained if need be."""
    if name == "vicreg":
        return trained(cfg, images)
    if name == "no_variance":
        return trained(cfg.replace(mu=0.0), images, "no_variance")
    if name == "neighbours":
        return neighbour_run(cfg, images)
    raise UserError(f"{name!r} is not a method with an encoder: choose vicreg, no_variance or neighbours.")


def method_encoder(cfg: Config, images: Images, name: str):
    """The method's frozen encoder on the device of `cfg`."""
    return method_run(cfg, images, name).encoder(choose_device(cfg))


def method_features(cfg: Config, images: Images, name: str) -> Features:
    """The method's `Features`."""
    return features_of(cfg, images, method_run(cfg, images, name))


def run(cfg: Config):
    """Q4 (with mu = 0) and Q5 from data to record, without a notebook."""
    base, images = open_dataset(cfg)
    cut = base.replace(mu=0.0)
    runs = method_run(base, images, "vicreg"), method_run(base, images, "no_variance")
    features = tuple(features_of(base, images, one) for one in runs)
    probes = tuple(linear_probe(base, one, images) for one in features)
    names = ("vicreg", "no_variance")
    titles = {name: method_title(cut, name) for name in names}
    spectra = {name: singular_values(one.test) for name, one in zip(names, features, strict=True)}
    save_figure(base, "q4_spectrum", *figure_spectrum(spectra, titles))
    panels = {titles[name]: project_pca(one.test) for name, one in zip(names, features, strict=True)}
    save_figure(base, "q4_pca", figure_scatters(panels, images.test_labels, images.classes))
    report_q4(cut, probes, features, runs)
    report_q5(base, images, _compare_neighbours(base, images))


def _compare_neighbours(cfg, images):
    runs = {
        "vicreg": trained(cfg, images),
        "control": control_run(cfg, images),
        "neighbours": neighbour_run(cfg, images),
    }
    features = {name: features_of(cfg, images, one) for name, one in runs.items()}
    probes = {name: linear_probe(cfg, one, images) for name, one in features.items()}
    table, _ = neighbour_tables(cfg, features["vicreg"])
    save_figure(cfg, "q5_neighbours", figure_neighbours(images, table))
    return NeighbourResult(probes, runs, features, table)
