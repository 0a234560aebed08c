# Generated from nbs/04a_ladder.py by `make export`. Do not edit: edit the notebook.
# cells nbs/04a_ladder.py 041fbee25d93b7cf
# text 844f20143dc14c66

"""4a · The ladder."""

import math
import time
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
import scipy.sparse as sparse
import torch
from scipy.linalg import eigh, subspace_angles
from torch.nn.functional import embedding
from vicreg_nb.ablations import baseline, effective_rank, method_run, nearest
from vicreg_nb.config import (
    METHOD_COLOURS,
    METHOD_NAMES,
    Config,
    UserError,
    cached,
    choose_device,
    digest,
    new_figure,
    progress,
    record,
    save_figure,
    say,
    stream,
)
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.laplacian_eigenmaps import (
    ImageGraph,
    all_pictures,
    embed,
    image_graph,
    laplacian_features,
    split_features,
)
from vicreg_nb.representations import Features, features_of, figure_scatters, linear_probe, project_tsne
from vicreg_nb.training import duration
from vicreg_nb.vicreg import Terms, vicreg_loss, vicreg_terms


SAMPLINGS = ("edges", "walk", "nodes")


def pair_problem(graph: sparse.csr_matrix, sampling: str) -> tuple[sparse.csr_matrix, np.ndarray]:
    """(L, p) of a symmetric graph [N, N]: the expected invariance term is tr(Z^T L Z) / c, image i weighs p_i in the spread."""
    degree = graph.sum(axis=1).A1
    if sampling == "walk":
        step = sparse.diags(1 / degree) @ graph
        pairs = (step + step.T) / (2 * len(degree))
    elif sampling in ("edges", "nodes"):
        pairs = graph / degree.sum()
    else:
        raise UserError(f"sampling is {sampling!r}: choose one of {', '.join(SAMPLINGS)}.")
    met = np.asarray(pairs.sum(axis=1)).ravel()
    laplacian = (2 * (sparse.diags(met) - pairs)).tocsr()
    return laplacian, np.full(len(degree), 1 / len(degree)) if sampling == "nodes" else met


def expected_terms(
    z: torch.Tensor, laplacian: torch.Tensor, p: torch.Tensor, gamma: float = 1.0, eps: float = 1e-4
) -> Terms:
    """Eq. 2-5 for z [N, c] over all pairs instead of a batch; var and cov for both branches, as in `vicreg_terms`. laplacian: [N, N]; p: [N]."""
    c = z.shape[1]
    centred = z - p @ z
    covariances = centred.T @ (p[:, None] * centred)
    var = torch.relu(gamma - torch.sqrt(covariances.diagonal() + eps)).mean()
    cov = (covariances.square().sum() - covariances.diagonal().square().sum()) / c
    return Terms((z * (laplacian @ z)).sum() / c, 2 * var, 2 * cov)


EXACT_LR = 0.1


class Weights(NamedTuple):
    """Lambda, mu and nu of Eq. 6."""

    lam: float
    mu: float
    nu: float


def fit_exactly(
    laplacian: np.ndarray, p: np.ndarray, dims: int, weights: Weights, steps: int, seed: int = 0
) -> np.ndarray:
    """Free vectors [N, dims], float64, that minimise Eq. 6 over all pairs, from small random ones."""
    laplacian, p = torch.from_numpy(laplacian), torch.from_numpy(p)
    z = (0.1 * torch.randn(len(p), dims, dtype=torch.float64, generator=stream(seed, "free vectors"))).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=EXACT_LR)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = falling(EXACT_LR, step, steps)
        loss = vicreg_loss(expected_terms(z, laplacian, p), *weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return z.detach().numpy()


def falling(lr: float, step: int, steps: int) -> float:
    """`lr` at step 0, down along a cosine to 0 after `steps`."""
    return 0.5 * lr * (1 + math.cos(math.pi * step / steps))


def bottom_vectors(laplacian: np.ndarray, p: np.ndarray, dims: int) -> np.ndarray:
    """Eigenvectors [N, dims] of the smallest eigenvalues of L y = a P y (LAPACK), without the constant."""
    return eigh(laplacian, np.diag(p), subset_by_index=(1, dims))[1]


COLLAPSED = 0.01


def principal_angles(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Angles [c] in degrees, falling, between the spans of z [N, c], centred with weights p [N], and of `basis` [N, c]; 90 for each collapsed direction."""
    directions, spread, _ = np.linalg.svd(z - p @ z, full_matrices=False)
    kept = directions[:, spread > COLLAPSED * spread[0]]
    if not kept.shape[1]:  # all on one point
        return np.full(z.shape[1], 90.0)
    angles = np.degrees(subspace_angles(kept, basis))[: kept.shape[1]]
    return np.concatenate([np.full(z.shape[1] - kept.shape[1], 90.0), np.sort(angles)[::-1]])


EXACT_DIMS = 3
GROWTH = (0.1, 0.3, 1.0, 3.0, 10.0)  # mu and nu, of the exercise's, against lambda


class Exact(NamedTuple):
    """The small graph's results. sweep: degrees [growth, 2, dims] after a quarter of the steps and after all; table: largest angle in degrees
    [drawn, Laplacian]; chosen: the growth at which the table was made; hubs: correlation of an image's weight with its degree [drawn]."""

    sweep: np.ndarray
    table: np.ndarray
    chosen: float
    hubs: np.ndarray


def grown(cfg: Config, growth: float) -> Weights:
    """The weights of `cfg` with mu and nu times `growth`."""
    return Weights(cfg.lam, growth * cfg.mu, growth * cfg.nu)


def solve_exactly(cfg: Config, images: Images) -> Exact:
    """The sweep over weights and the table of angles, on the graph of the first `exact_size` training images; computed once."""
    graph = image_graph(cfg, images.train_images[: cfg.exact_size])
    key = [graph.identity, cfg.exact_steps, cfg.lam, cfg.mu, cfg.nu, cfg.gamma, cfg.eps, cfg.seed, GROWTH, EXACT_DIMS]
    return Exact(**cached(cfg, "exact", key, lambda: _solve(cfg, graph.graph)._asdict()))


def _solve(cfg, graph):
    degree = graph.sum(axis=1).A1
    problems = [(part[0].toarray(), part[1]) for part in (pair_problem(graph, sampling) for sampling in SAMPLINGS)]
    bases = [bottom_vectors(*problem, EXACT_DIMS) for problem in problems]

    def angles(drawn, against, weights, steps):
        z = fit_exactly(*problems[drawn], EXACT_DIMS, weights, steps, cfg.seed)
        return [principal_angles(z, bases[place], problems[place][1]) for place in against]

    lengths = (max(1, cfg.exact_steps // 4), cfg.exact_steps)
    sweep = np.array(
        [[angles(0, [0], grown(cfg, growth), steps)[0] for steps in lengths] for growth in progress(GROWTH, "weights")]
    )
    alive = (sweep[:, 1] < 90).sum(axis=1)
    chosen = GROWTH[int(np.argmax(alive == alive.max()))]
    table = np.array(
        [[one[0] for one in angles(drawn, range(3), grown(cfg, chosen), cfg.exact_steps)] for drawn in range(3)]
    )
    hubs = np.array(
        [np.corrcoef(p, degree)[0, 1] if np.ptp(p) > 1e-12 and np.ptp(degree) else 0.0 for _, p in problems]
    )
    return Exact(sweep, table, chosen, hubs)


def edge_list(graph: sparse.csr_matrix) -> torch.Tensor:
    """The edges of a symmetric graph, once each: int64 [2, E]."""
    upper = sparse.triu(graph, k=1).tocoo()
    return torch.from_numpy(np.stack([upper.row, upper.col]).astype(np.int64))


def edge_batches(edges: torch.Tensor, size: int, generator: torch.Generator):
    """All edges [2, E] in a random order, each in a random direction, in batches [2, size]; an incomplete batch is left out."""
    order = torch.randperm(edges.shape[1], generator=generator)
    turned = torch.rand(len(order), generator=generator) < 0.5
    both = torch.where(turned, edges.flip(0), edges)[:, order]
    yield from (both[:, start : start + size] for start in range(0, len(order) - size + 1, size))


class Free(NamedTuple):
    """Free vectors float32 [N, c], the terms of each step [steps, 3], and the seconds that it took."""

    vectors: np.ndarray
    history: np.ndarray
    seconds: float


def free_vectors(cfg: Config, graph: ImageGraph, weights: Weights = None) -> Free:
    """VICReg without a network: `components` numbers per image, trained on the graph's edges; computed once. `weights`: those of `cfg` by default.

    Raises UserError if the loss turns NaN or infinite.
    """
    weights = weights or Weights(cfg.lam, cfg.mu, cfg.nu)
    settings = [cfg.components, cfg.free_epochs, cfg.free_batch, cfg.free_lr, cfg.gamma, cfg.eps, cfg.seed]
    found = cached(
        cfg, "free", [graph.identity, list(weights), settings], lambda: _train_free(cfg, graph.graph, weights)._asdict()
    )
    return Free(found["vectors"], found["history"], float(found["seconds"]))


def _train_free(cfg, graph, weights):
    start, device, generator = time.perf_counter(), choose_device(cfg), stream(cfg.seed, "free vectors")
    edges = edge_list(graph)
    size = min(cfg.free_batch, edges.shape[1])
    steps = cfg.free_epochs * (edges.shape[1] // size)
    z = (0.1 * torch.randn(graph.shape[0], cfg.components, generator=generator)).to(device).requires_grad_()
    optimizer, history = torch.optim.Adam([z], lr=cfg.free_lr, fused=True), []
    say(
        f"free vectors: {graph.shape[0]:,} x {cfg.components}, {cfg.free_epochs} epochs of {steps // cfg.free_epochs} steps, lambda {weights.lam:g}, mu {weights.mu:g}, nu {weights.nu:g}"
    )
    for _ in progress(range(cfg.free_epochs), "free vectors"):
        for pairs in edge_batches(edges, size, generator):
            optimizer.param_groups[0]["lr"] = falling(cfg.free_lr, len(history), steps)
            history.append(_free_step(z, pairs.to(device), optimizer, weights, cfg))
        if not history[-1].isfinite().all():
            raise UserError(
                f"the loss of the free vectors is no longer finite after {len(history)} steps: lower free_lr ({cfg.free_lr:g}) or the weights."
            )
    return Free(z.detach().cpu().numpy(), torch.stack(history).cpu().numpy(), time.perf_counter() - start)


def _free_step(z, pairs, optimizer, weights, cfg):
    """A step of Algorithm 1 with z_i looked up instead of computed."""
    left, right = embedding(pairs, z)
    terms = vicreg_terms(left, right, cfg.gamma, cfg.eps)
    vicreg_loss(terms, *weights).backward()
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack([term.detach() for term in terms])


REAL_GROWTH = (0.1, 1.0, 10.0)


class Found(NamedTuple):
    """Free vectors against Laplacian Eigenmaps: principal angles [components] in degrees, falling; the share of each eigenvector that was found."""

    angles: np.ndarray
    captured: np.ndarray


def compare_eigenvectors(cfg: Config, graph: ImageGraph, growth: float = 1.0) -> Found:
    """`Found` on an image graph, with mu and nu times `growth`; computed once."""
    free, eigenvectors = free_vectors(cfg, graph, grown(cfg, growth)), embed(cfg, graph).vectors
    degree = graph.graph.sum(axis=1).A1
    sides = free.vectors.astype(np.float64), eigenvectors, degree / degree.sum()
    return Found(
        **cached(
            cfg,
            "found",
            [free.vectors, graph.identity],
            lambda: {"angles": principal_angles(*sides), "captured": captured(*sides)},
        )
    )


def captured(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The share [c] of each column of `basis` [N, c] that lies in the span of z [N, c], centred with weights p [N]."""
    directions, spread, _ = np.linalg.svd(z - p @ z, full_matrices=False)
    inside = directions[:, spread > COLLAPSED * spread[0]].T @ basis
    return (inside**2).sum(axis=0) / (basis**2).sum(axis=0)


def overlap(angles: np.ndarray) -> float:
    """The share of a subspace that lies in the other: the mean squared cosine of the angles in degrees."""
    return float((np.cos(np.radians(angles)) ** 2).mean())


def figure_angles(exact: Exact, real: dict, whole: Found, sizes: tuple):
    """Angles on the small graph by weights, each way of drawing against each Laplacian, and the angles on the real graphs of `sizes` images."""
    fig, (left, middle, right) = new_figure(1, 3, height=2.9, gridspec_kw={"width_ratios": (1.15, 0.95, 1.15)})
    for column, style, steps in ((0, ":", "a quarter of the steps"), (1, "-", "all steps")):
        largest = [angles[angles < 90].max(initial=0) for angles in exact.sweep[:, column]]
        left.plot(
            GROWTH,
            np.maximum(largest, 1e-3),
            style,
            marker="o",
            markersize=3.5,
            color=METHOD_COLOURS["free"],
            label=steps,
        )
    for growth, angles in zip(GROWTH, exact.sweep[:, 1], strict=True):
        left.annotate(
            f"{(angles < 90).sum()}",
            (growth, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            fontsize=8,
            color="#444444",
        )
    left.annotate("directions alive", (0.5, 1.1), xycoords="axes fraction", ha="center", fontsize=8, color="#444444")
    left.set(
        xscale="log", yscale="log", xlabel="mu and nu, times the exercise's", ylabel="largest angle of these / degrees"
    )
    left.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=2, fontsize=7, columnspacing=1)
    _angle_table(middle, exact)
    for growth, (angles, _) in real.items():
        right.plot(
            np.arange(1, len(angles) + 1),
            angles[::-1],
            color=METHOD_COLOURS["free"],
            alpha=0.35 + 0.3 * REAL_GROWTH.index(growth),
            label=f"{sizes[0]:,}, x {growth:g}",
        )
    right.plot(
        np.arange(1, len(whole.angles) + 1),
        whole.angles[::-1],
        color=METHOD_COLOURS["laplacian"],
        linewidth=1.8,
        label=f"{sizes[1]:,}, x 1",
    )
    right.set(xlabel="number of the angle", ylabel="angle / degrees", ylim=(0, 92))
    right.legend(
        title="images, and times mu and nu",
        title_fontsize=7,
        fontsize=7,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.26),
        ncols=2,
        columnspacing=1,
    )
    for ax, title in zip(
        (left, middle, right), ("small graph, exact", "largest angle / degrees", "real graphs, in batches"), strict=True
    ):
        ax.set_title(title, pad=24 if ax is left else 6, fontsize=9)
    return fig


def _angle_table(ax, exact):
    ax.imshow(np.log10(exact.table + 0.01), cmap="Purples", vmin=-1, vmax=2)
    for i, j in np.ndindex(exact.table.shape):
        ax.text(
            j,
            i,
            f"{exact.table[i, j]:.2g}",
            ha="center",
            va="center",
            fontsize=8,
            fontweight="bold" if i == j else "normal",
            color="white" if exact.table[i, j] > 10 else "#222222",
        )
    ax.set(
        xticks=range(3),
        yticks=range(3),
        xticklabels=SAMPLINGS,
        yticklabels=SAMPLINGS,
        xlabel="Laplacian of",
        ylabel="drawn by",
    )
    ax.grid(False)


RUNGS = ("vicreg", "neighbours", "free", "laplacian")
VOTERS = 10


class Rung(NamedTuple):
    """A rung's numbers: shares of the test images, effective rank, seconds of its own training."""

    accuracy: float
    interval: float
    knn_accuracy: float
    same_class: float
    effective_rank: float
    dimension: int
    seconds: float


def nearest_vote(features: Features, images: Images, k: int = VOTERS) -> tuple[float, float]:
    """(accuracy on the test images of a majority vote of the k nearest training images, the share of these that have the image's class)."""
    votes = images.train_labels[nearest(features.train, k, features.test)[1]]
    counts = np.stack([(votes == label).sum(axis=1) for label in range(len(images.classes))], axis=1)
    return float((counts.argmax(axis=1) == images.test_labels).mean()), float(
        (votes == images.test_labels[:, None]).mean()
    )


def free_features(cfg: Config, images: Images, graph: ImageGraph) -> Features:
    """Free vectors of training and test images together."""
    free = free_vectors(cfg, graph)
    return split_features(images, free.vectors, digest(graph.identity, "free", free.vectors))


def climb(cfg: Config, images: Images) -> tuple[dict, dict]:
    """({rung: Features}, {rung: Rung}) of the four rungs, the networks with the profile's own weights."""
    networks = baseline(cfg)
    runs = {name: method_run(networks, images, name) for name in ("vicreg", "neighbours")}
    graph = image_graph(cfg, all_pictures(images))
    features = {name: features_of(networks, images, one) for name, one in runs.items()}
    features |= {"free": free_features(cfg, images, graph), "laplacian": laplacian_features(cfg, images)}
    seconds = {name: one.seconds for name, one in runs.items()}
    seconds |= {
        "free": graph.seconds.sum() + free_vectors(cfg, graph).seconds,
        "laplacian": graph.seconds.sum() + embed(cfg, graph).seconds,
    }
    return features, {name: _measure(cfg, images, features[name], seconds[name]) for name in RUNGS}


def _measure(cfg, images, features, seconds):
    probe, (voted, same) = linear_probe(cfg, features, images), nearest_vote(features, images)
    return Rung(
        probe.accuracy,
        probe.interval,
        voted,
        same,
        effective_rank(features.test),
        features.test.shape[1],
        float(seconds),
    )


MEASURES = {
    "accuracy": "linear probe",
    "knn_accuracy": "vote of the 10 nearest",
    "same_class": "same class among the 10 nearest",
}


def figure_ladder(rungs: dict):
    """(matplotlib, plotly) the measures of each rung, in per cent of the test images; the rungs from the top down."""
    fig, ax = new_figure(width=6.9, height=2.5)
    places, interactive = np.arange(len(rungs)), go.Figure()
    for marker, shade, (key, label) in zip("oDs", (1.0, 0.65, 0.35), MEASURES.items(), strict=True):
        values = [100 * getattr(rung, key) for rung in rungs.values()]
        ax.plot(values, places, color="#c8c8c8", linewidth=1, zorder=1)
        ax.scatter(
            values, places, c=[METHOD_COLOURS[name] for name in rungs], marker=marker, s=46, alpha=shade, zorder=2
        )
        ax.scatter([], [], color="#444444", alpha=shade, marker=marker, s=30, label=label)
        interactive.add_scatter(
            x=values, y=[METHOD_NAMES[name] for name in rungs], name=label, mode="lines+markers", marker={"size": 11}
        )
    for place, rung in zip(places, rungs.values(), strict=True):
        ax.annotate(
            f"{100 * rung.accuracy:.1f}",
            (100 * rung.accuracy, place),
            xytext=(7, 4),
            textcoords="offset points",
            fontsize=8,
        )
    ax.axvline(10, color="#777777", linewidth=0.8, linestyle=":", label="chance")
    ax.set(
        yticks=places,
        yticklabels=[METHOD_NAMES[name] for name in rungs],
        ylim=(len(rungs) - 0.5, -0.5),
        xlim=(0, None),
        xlabel="of the test images / %",
    )
    fig.legend(loc="outside lower center", ncols=4)
    interactive.update_layout(
        xaxis={"title": "of the test images / %", "rangemode": "tozero"}, yaxis={"autorange": "reversed"}
    )
    return fig, interactive


def ladder_pictures(cfg: Config, features: dict) -> dict:
    """{rung's name: t-SNE [n, 2]} of the same first test images."""
    return {METHOD_NAMES[name]: project_tsne(cfg, one.test[: cfg.tsne_size]) for name, one in features.items()}


def numbers_ladder(cfg: Config, exact: Exact, real: dict, whole: Found, sizes: tuple, rungs: dict) -> dict:
    """All that the answer rests on; angles in degrees."""
    small = {
        "images": cfg.exact_size, "dims": EXACT_DIMS, "chosen": float(exact.chosen), "table": dict(zip(SAMPLINGS, exact.table, strict=True)),
        "own": exact.table.diagonal().max(), "other": exact.table[~np.eye(3, dtype=bool)].max(), "nearest_other": exact.table[~np.eye(3, dtype=bool)].min(),
        "hubs": dict(zip(SAMPLINGS, exact.hubs, strict=True)), "growth": list(GROWTH), "alive": (exact.sweep[:, 1] < 90).sum(axis=1),
        "largest_alive": [angles[angles < 90].max(initial=0) for angles in exact.sweep[:, 1]],
        "largest_alive_sooner": [angles[angles < 90].max(initial=0) for angles in exact.sweep[:, 0]],
    }  # fmt: skip
    batches = {f"x{growth:g}": {"growth": growth} | _angle_numbers(found) for growth, found in real.items()}
    large = {"images": sizes[1], "chance": cfg.components / sizes[1]} | _angle_numbers(whole)
    return {name: rung._asdict() for name, rung in rungs.items()} | {
        "exact": small,
        "picture": {"images": sizes[0], "weights": batches},
        "whole": large,
    }


def _angle_numbers(found):
    angles, last = found.angles, max(1, len(found.captured) // 8)
    return {
        "overlap": overlap(angles), "median": np.median(angles), "largest": angles.max(), "within_ten": int((angles < 10).sum()), "of": len(angles),
        "alive": int((angles < 90).sum()), "first_half": found.captured[: len(angles) // 2].mean(), "last_eighth": found.captured[-last:].mean(),
    }  # fmt: skip


def answer_ladder(numbers: dict) -> str:
    """What the ladder shows, chosen by the numbers."""
    return "\n\n".join(
        (
            _answer_rungs(numbers),
            _answer_exact(numbers["exact"]),
            _answer_weights(numbers["exact"]),
            _answer_real(numbers),
        )
    )


def _answer_rungs(numbers):
    steps = [
        (numbers[upper]["accuracy"] - numbers[lower]["accuracy"], upper, lower)
        for upper, lower in zip(RUNGS, RUNGS[1:], strict=False)
    ]
    drop, upper, lower = max(steps)
    path = ", ".join(f"{METHOD_NAMES[name]} {numbers[name]['accuracy']:.1%}" for name in RUNGS)
    noise = 2 * numbers["vicreg"]["interval"]
    text = f"**The linear probe on the way down: {path}.** "
    if drop <= noise:
        return text + "No step costs more than the noise."
    text += (
        f"The dearest step is the one from {METHOD_NAMES[upper]} to {METHOD_NAMES[lower]}: {100 * drop:.1f} points. "
    )
    last = numbers["free"]["accuracy"] - numbers["laplacian"]["accuracy"]
    if abs(last) <= noise:
        return (
            text
            + "Between free vectors and eigenvectors there is no measurable difference: they are two ways to one thing."
        )
    return (
        text
        + f"Free vectors and eigenvectors, two ways to one optimum, still differ by {100 * abs(last):.1f} points, in favour of the {'free vectors' if last > 0 else 'eigenvectors'}: the loss fixes the subspace but not the scale of its directions, and the ways end at different distances from it."
    )


def _answer_exact(small):
    verdict = (
        "confirm" if small["own"] < 1 else "support" if small["own"] < small["nearest_other"] else "do not confirm"
    )
    text = (
        f"**The numbers {verdict} the derivation.** On {small['images']} images, where every optimum is known, free vectors in {small['dims']} dimensions end within {small['own']:.2f} degrees of the eigenvectors of "
        f"the Laplacian that their way of drawing belongs to, and {small['nearest_other']:.1f} to {small['other']:.1f} degrees from those of the others. Drawing edges gives Laplacian Eigenmaps."
    )
    walk, edges = small["hubs"]["walk"], small["hubs"]["edges"]
    if walk < 0.5:
        return text
    return text + (
        f" Drawing images uniformly, and then a neighbour of each, does *not* free the spread from the degree, though one might expect it: an image's weight still correlates with its degree "
        f"by {walk:.2f} (by {edges:.2f} when edges are drawn), because hubs come back as neighbours."
    )


def _answer_weights(small):
    first, last = small["alive"][0], small["alive"][-1]
    text = f"As $\\mu$ and $\\nu$ grow against $\\lambda$ from {small['growth'][0]:g} to {small['growth'][-1]:g} times the exercise's, {first} and then {last} of {small['dims']} directions stay alive; "
    text += f"those that do lie within {max(small['largest_alive'][:2]):.2g} degrees of the eigenvectors even at the smallest weights. "
    sooner, later = small["largest_alive_sooner"][-1], small["largest_alive"][-1]
    if later > 2 * max(small["largest_alive"][:2]) + 0.5:
        text += (
            f"Larger weights do not move the optimum but make the way longer: at the largest, the angle is {sooner:.1f} degrees after a quarter of the steps and {later:.1f} after all of them."
            if later < sooner
            else f"At the largest weights the way is longest: {later:.1f} degrees remain."
        )
    return text


def _answer_real(numbers):
    whole, picture = numbers["whole"], numbers["picture"]
    text = (
        f"In batches on the real graph, free vectors find {whole['overlap']:.0%} of the subspace of the {whole['of']} bottom eigenvectors of {whole['images']:,} images (a random subspace has {whole['chance']:.1%}); "
        f"{whole['within_ten']} of {whole['of']} angles are below ten degrees, half of them below {whole['median']:.0f}. "
    )
    if whole["first_half"] > whole["last_eighth"] + 0.05:
        text += (
            f"Of the first half of the eigenvectors {whole['first_half']:.0%} is found, of the last eighth {whole['last_eighth']:.0%}: the last ones stand close beside those left out, "
            "so that to the loss they are worth nearly the same, and batches only estimate it. "
        )
    weights = list(picture["weights"].values())
    parts = [
        f"{one['overlap']:.0%} with {one['alive']} of {one['of']} directions alive (x {one['growth']:g})"
        for one in weights
    ]
    reasons = ["small weights let directions die"] if weights[0]["alive"] < weights[0]["of"] else []
    reasons += (
        ["large ones make the way longer than these epochs"]
        if weights[-1]["overlap"] < max(one["overlap"] for one in weights)
        else []
    )
    return (
        text
        + f"On {picture['images']:,} images, by weights, it is {'; '.join(parts)}"
        + (f": {', and '.join(reasons)}." if reasons else ".")
    )


CAPTIONS_LADDER = (
    ("ladder", "The ladder: linear probe and nearest neighbours on the test images, rung by rung."),
    ("ladder_tsne", "t-SNE of the same test images on all four rungs."),
    (
        "ladder_angles",
        "Angles between free vectors and eigenvectors: by weights and by ways of drawing on a small graph, and on real ones.",
    ),
)


def report_ladder(cfg: Config, numbers: dict) -> str:
    """Record the ladder and return its answer."""
    header = ["rung", "linear probe", "10 nearest vote", "same class among them", "effective rank", "training"]
    rows = [
        [METHOD_NAMES[name], f"{one['accuracy']:.1%}", f"{one['knn_accuracy']:.1%}", f"{one['same_class']:.1%}", f"{one['effective_rank']:.0f} of {one['dimension']}", duration(one["seconds"])]
        for name in RUNGS for one in [numbers[name]]
    ]  # fmt: skip
    caption = "The ladder, on the test images. Training: of the rung itself; the second rests on the first, the last two include their graph."
    table = {"caption": caption, "header": header, "rows": rows}
    return record(
        cfg, "ladder", "The ladder, with the missing rung", numbers, answer_ladder(numbers), CAPTIONS_LADDER, [table]
    )


def run(cfg: Config):
    """The ladder from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    exact = solve_exactly(cfg, images)
    graphs = [image_graph(cfg, pictures) for pictures in (images.train_images[: cfg.graph_size], all_pictures(images))]
    sizes = tuple(graph.graph.shape[0] for graph in graphs)
    real = {growth: compare_eigenvectors(cfg, graphs[0], growth) for growth in REAL_GROWTH}
    whole = compare_eigenvectors(cfg, graphs[1])
    features, rungs = climb(cfg, images)
    save_figure(cfg, "ladder_angles", figure_angles(exact, real, whole, sizes))
    save_figure(cfg, "ladder", *figure_ladder(rungs))
    save_figure(
        cfg,
        "ladder_tsne",
        figure_scatters(ladder_pictures(cfg, features), images.test_labels[: cfg.tsne_size], images.classes, columns=4),
    )
    report_ladder(cfg, numbers_ladder(cfg, exact, real, whole, sizes, rungs))
