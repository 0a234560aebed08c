# Generated from nbs/04a_ladder.py by `make export`. Do not edit: edit the notebook.
# cells nbs/04a_ladder.py 401952a1051cd2ac
# text 8eae20e79158a98f

"""4a · The ladder."""

import math
import time
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.linalg import eigh, subspace_angles
from scipy.optimize import brentq, minimize
from scipy.stats import mode
from torch.nn.functional import embedding
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images
from vicreg_nb.laplacian_eigenmaps import (
    ImageGraph, all_pictures, control_graph, embed, graph_embedding, image_graph, laplacian_features,
    split_features,
)  # fmt: skip
from vicreg_nb.methods import ASKED, METHODS, baseline, colours_by_title, features, run_of
from vicreg_nb.neighbours import nearest, same_class
from vicreg_nb.plots import METHOD_COLOURS, Drawing, dots, new_figure, scatter
from vicreg_nb.representations import Features, effective_rank, gain, linear_probe, project_tsne
from vicreg_nb.store import UserError, cached, digest, duration, log, new_generator, progress
from vicreg_nb.vicreg import Terms, vicreg_loss, vicreg_terms


SAMPLINGS = ("edges", "walk", "nodes")  # both branches have one distribution
DRAWN = (*SAMPLINGS, "q5")


def pair_problem(graph: sparse.csr_array, sampling: str) -> tuple[sparse.csr_array, np.ndarray]:
    """(L, p) of a symmetric graph [N, N] and one of `DRAWN`; UserError for another.

    The expected invariance term is tr(Z^T L Z) / c; p [2, N]: an image's weight in the statistics of each branch.
    """
    if sampling not in DRAWN:
        raise UserError(f"sampling is {sampling!r}: choose one of {', '.join(DRAWN)}.")
    degree = graph.sum(axis=1)
    if sampling in ("edges", "nodes"):
        pairs = graph / degree.sum()
    else:
        pairs = sparse.diags_array(1 / (len(degree) * degree)) @ graph
        pairs = pairs if sampling == "q5" else (pairs + pairs.T) / 2
    branches = np.stack([pairs.sum(axis=1), pairs.sum(axis=0)])
    laplacian = (sparse.diags_array(branches.sum(axis=0)) - pairs - pairs.T).tocsr()
    return laplacian, np.full_like(branches, 1 / len(degree)) if sampling == "nodes" else branches


def expected_terms(
    z: torch.Tensor, laplacian: torch.Tensor, p: torch.Tensor, gamma: float = 1.0, eps: float = 1e-4, hinge=torch.relu
) -> Terms:
    """Eq. 2-5 of z [N, c] over all pairs instead of a batch; var and cov of both branches, as in `vicreg_terms`.

    laplacian: [N, N]; p: [2, N], weights of the images in each branch.
    """
    var = cov = 0
    for weight in p:
        centred = z - weight @ z
        covariances = centred.T @ (weight[:, None] * centred)
        var = var + hinge(gamma - torch.sqrt(covariances.diagonal() + eps)).mean()
        cov = cov + (covariances.square().sum() - covariances.diagonal().square().sum()) / z.shape[1]
    return Terms((z * (laplacian @ z)).sum() / z.shape[1], var, cov)


def optimal_spectrum(values: np.ndarray, weights: tuple, gamma: float = 1.0, eps: float = 1e-4) -> np.ndarray:
    """The best variances s [c] along c eigenvectors with eigenvalues a [c], the smallest first, by water-filling.

    weights: lambda, mu, nu. Proven for mu >= 8 nu gamma^3.
    """
    lam, mu, nu = weights
    nu = max(nu, 1e-6)  # no covariance term at all is the limit of little
    ground, full = lam * np.asarray(values) / (4 * nu), max(0.0, gamma**2 - eps)

    def water(level):
        return np.maximum(0, level - ground)

    def too_high(level):
        """Positive where the last drop cost more than the hinge gives for it."""
        d = water(level).mean()
        return level - d - mu / (4 * nu * math.sqrt(d + eps))

    if not mu * full:
        return np.zeros(len(ground))
    level = brentq(lambda level: water(level).mean() - full, 0, ground.max() + full + 1)
    if too_high(level) > 0:
        level = brentq(too_high, 0, level)
    return water(level)


def least_loss(values: np.ndarray, spectrum: np.ndarray, weights: tuple, gamma: float = 1.0, eps: float = 1e-4):
    """Eq. 6 over all pairs of vectors with this spectrum [c], paired with values [c], and equal dimensions."""
    lam, mu, nu = weights
    d = spectrum.mean()
    cov = (spectrum**2).mean() - d**2
    return lam * (spectrum * values).mean() + 2 * mu * max(0.0, gamma - math.sqrt(d + eps)) + 2 * nu * cov


def in_metric(z: np.ndarray, p: np.ndarray) -> np.ndarray:
    """z [N, c] centred by weights p [N], in coordinates in which the metric P = diag(p) is the usual one."""
    return np.sqrt(p)[:, None] * (z - p @ z)


def _widest(z, p, count):
    """Orthonormal basis [N, count], in the metric's coordinates, of the widest directions of z."""
    return np.linalg.svd(in_metric(z, p), full_matrices=False)[0][:, :count]


def principal_angles(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Angles [r] in degrees, the largest first, of the span of basis [N, r] and the r widest directions of z [N, c]."""
    count = basis.shape[1]
    return np.degrees(subspace_angles(_widest(z, p, count), in_metric(basis, p))) if count else np.zeros(0)


def recovered_share(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The share [r] of each column of basis [N, r] that lies in the r widest directions of z [N, c]."""
    basis = in_metric(basis, p)
    inside = _widest(z, p, basis.shape[1]).T @ basis
    return (inside**2).sum(axis=0) / (basis**2).sum(axis=0)


def variance_along(z: np.ndarray, vectors: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The variance [r] of z [N, c] along each of vectors [N, r], which are orthonormal in the metric P."""
    return ((in_metric(vectors, p).T @ in_metric(z, p)) ** 2).sum(axis=1)


_WIDTHS = 10.0 ** -np.arange(1, 9)  # of the hinge's rounding, one after the other


def rounded_hinge(x: torch.Tensor, width: float) -> torch.Tensor:
    """max(0, x), with a parabola for the kink; at most width / 2 less."""
    return torch.where(x > width, x - width / 2, torch.relu(x) ** 2 / (2 * width))


def fit_exactly(laplacian: np.ndarray, p: np.ndarray, dims: int, weights: tuple, cfg: Config) -> np.ndarray:
    """Free vectors float64 [N, dims] that minimise Eq. 6 over all pairs; laplacian: [N, N], p: [2, N]."""
    matrix, branches = torch.from_numpy(laplacian), torch.from_numpy(p)
    scale = branches.mean(dim=0).sqrt()[:, None]  # the metric's coordinates: fewer steps
    random = np.random.default_rng([cfg.seed, 5])

    def loss(x, width):
        x = torch.from_numpy(x.reshape(-1, dims)).requires_grad_()
        terms = expected_terms(x / scale, matrix, branches, cfg.gamma, cfg.eps, partial(rounded_hinge, width=width))
        value = vicreg_loss(terms, *weights)
        value.backward()
        return value.item(), x.grad.numpy().ravel()

    x, options = 0.1 * random.normal(size=p.shape[1] * dims), {"maxiter": cfg.exact_steps, "maxfun": 10**6}
    for width in _WIDTHS:
        x = x + 0.01 * width * random.normal(size=x.shape)
        options |= {"ftol": 0, "gtol": 1e-10, "maxcor": 30}
        x = minimize(loss, x, width, method="L-BFGS-B", jac=True, options=options).x
    return x.reshape(-1, dims) / scale.numpy()


def bottom_vectors(laplacian: np.ndarray, p: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest eigenvalues [dims] of L y = a P y without the constant's, and vectors [N, dims] (LAPACK)."""
    return eigh(laplacian, np.diag(p.mean(axis=0)), subset_by_index=(1, dims))


EXACT_DIMS = 3
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)  # of mu and nu


def scaled_weights(cfg: Config, scale: float = 1.0) -> tuple[float, float, float]:
    """lambda, mu and nu of Eq. 6, the last two times `scale`."""
    return cfg.lam, scale * cfg.mu, scale * cfg.nu


def _at_scale(cfg, problem, scale):
    """Of drawn edges: (predicted variances [dims], measured ones, excess of the loss over its least, largest angle)."""
    weights, p = scaled_weights(cfg, scale), problem[1]
    values, vectors = bottom_vectors(*problem, EXACT_DIMS)
    predicted = optimal_spectrum(values, weights, cfg.gamma, cfg.eps)
    least = least_loss(values, predicted, weights, cfg.gamma, cfg.eps)
    z = fit_exactly(*problem, EXACT_DIMS, weights, cfg)
    terms = expected_terms(*map(torch.from_numpy, (z, *problem)), cfg.gamma, cfg.eps)
    excess = vicreg_loss(terms, *weights).item() - least
    angles = principal_angles(z, vectors[:, predicted > 0], p[0])
    return predicted, variance_along(z, vectors, p[0]), excess / max(least, 1e-12), angles.max(initial=0)


def _compare_drawings(cfg, problems):
    """(the scale, largest angle [drawn by, Laplacian of]) of problems {drawn by: (L, p)}."""
    bottoms = {name: bottom_vectors(*problems[name], EXACT_DIMS) for name in SAMPLINGS}
    lives = []  # the fewest directions that live at each scale, over the ways of drawing
    for scale in SCALES:
        weights = scaled_weights(cfg, scale)
        spectra = (optimal_spectrum(values, weights, cfg.gamma, cfg.eps) for values, _ in bottoms.values())
        lives.append(min(int((spectrum > 0).sum()) for spectrum in spectra))
    place, table = int(np.argmax(lives)), np.zeros((len(DRAWN), len(SAMPLINGS)))
    for row, drawn in enumerate(progress(DRAWN, "ways of drawing")):
        z = fit_exactly(*problems[drawn], EXACT_DIMS, scaled_weights(cfg, SCALES[place]), cfg)
        for column, name in enumerate(SAMPLINGS):
            basis, p = bottoms[name][1][:, : lives[place]], problems[name][1].mean(axis=0)
            table[row, column] = principal_angles(z, basis, p).max(initial=0)
    return SCALES[place], table


def _solve(cfg, graph):
    problems = {name: pair_problem(graph, name) for name in DRAWN}
    problems = {name: (laplacian.toarray(), p) for name, (laplacian, p) in problems.items()}
    sweep = zip(*(_at_scale(cfg, problems["edges"], scale) for scale in progress(SCALES, "weights")), strict=True)
    solved = dict(zip(("predicted", "measured", "excess", "angle"), map(np.array, sweep), strict=True))
    solved["chosen"], solved["table"] = _compare_drawings(cfg, problems)
    return solved


def solve_exactly(cfg: Config, images: Images) -> dict:
    """On the graph of the first `exact_size` training images; computed once. Angles are in degrees.

    Of drawn edges at each of `SCALES`: predicted, measured [scales, dims]: variances along the first eigenvectors;
    excess [scales]: of the loss over its least value; angle [scales]: the largest, of those that should live.
    table [drawn by, Laplacian of]: largest angle at the scale `chosen`.
    """
    graph = image_graph(cfg, images.train_images[: cfg.exact_size])
    key = [graph.identity, cfg.exact_steps, cfg.lam, cfg.mu, cfg.nu, cfg.gamma, cfg.eps, cfg.seed, SCALES, EXACT_DIMS]
    return cached(cfg.cache, "exact", key, lambda: _solve(cfg, graph.graph))


def edge_list(graph: sparse.csr_array) -> torch.Tensor:
    """The edges of a symmetric graph, once each: int64 [2, E]."""
    upper = sparse.triu(graph, k=1).tocoo()
    return torch.from_numpy(np.stack([upper.row, upper.col]).astype(np.int64))


def edge_batches(edges: torch.Tensor, size: int, generator: torch.Generator):
    """All edges [2, E] in random order, each in a random direction, in batches [2, size]; the rest is left out."""
    order = torch.randperm(edges.shape[1], generator=generator)
    turned = torch.rand(len(order), generator=generator) < 0.5
    both = torch.where(turned, edges.flip(0), edges)[:, order]
    yield from (both[:, start : start + size] for start in range(0, len(order) - size + 1, size))


def _free_step(z, pairs, optimizer, weights, cfg):
    """One update of free vectors z [N, c] from pairs [2, B]; returns the three terms [3], detached."""
    left, right = embedding(pairs, z)
    terms = vicreg_terms(left, right, cfg.gamma, cfg.eps)
    vicreg_loss(terms, *weights).backward()
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack([term.detach() for term in terms])


def cosine_decay(lr: float, step: int, steps: int) -> float:
    """`lr` at step 0, down along half a cosine to 0 after `steps`."""
    return 0.5 * lr * (1 + math.cos(math.pi * step / steps))


def _train_free(cfg, graph, weights):
    start, device, generator = time.perf_counter(), choose_device(cfg), new_generator(cfg.seed, "free vectors")
    edges = edge_list(graph)
    size = min(cfg.free_batch, edges.shape[1])
    steps = cfg.free_epochs * (edges.shape[1] // size)
    z = (0.1 * torch.randn(graph.shape[0], cfg.components, generator=generator)).to(device).requires_grad_()
    optimizer, history = torch.optim.Adam([z], lr=cfg.free_lr, fused=True), []
    log(f"free vectors: {graph.shape[0]:,} x {cfg.components}, {steps:,} steps, mu {weights[1]:g}, nu {weights[2]:g}")
    for _ in progress(range(cfg.free_epochs), "free vectors"):
        for pairs in edge_batches(edges, size, generator):
            optimizer.param_groups[0]["lr"] = cosine_decay(cfg.free_lr, len(history), steps)
            history.append(_free_step(z, pairs.to(device), optimizer, weights, cfg))
        if not history[-1].isfinite().all():
            raise UserError(
                f"the loss of the free vectors is no longer finite after {len(history)} steps: "
                f"lower free_lr ({cfg.free_lr:g}) or the weights."
            )
    arrays = {"vectors": z.detach().cpu().numpy(), "history": torch.stack(history).cpu().numpy()}
    return arrays | {"seconds": time.perf_counter() - start}


def free_vectors(cfg: Config, graph: ImageGraph, scale: float = 1.0) -> dict:
    """VICReg without a network, trained on a graph's edges with mu and nu times `scale`; computed once.

    vectors: float32 [N, components]; history: the terms of each step [steps, 3]; seconds: that it took.
    UserError if the loss turns NaN or infinite.
    """
    weights = scaled_weights(cfg, scale)
    settings = [cfg.components, cfg.free_epochs, cfg.free_batch, cfg.free_lr, cfg.gamma, cfg.eps, cfg.seed]
    key = [graph.identity, list(weights), settings]
    return cached(cfg.cache, "free", key, lambda: _train_free(cfg, graph.graph, weights))


BATCH_SCALES = (0.1, 1.0, 10.0)  # of mu and nu, in batches


class SpectrumResult(NamedTuple):
    """Free vectors against the closed form; r directions should live."""

    predicted: np.ndarray  # variance along each eigenvector [components]
    measured: np.ndarray  # the same of the free vectors
    recovered: np.ndarray  # share [r] of each eigenvector that should live in the r widest directions
    stray: float  # share of the variance that lies outside these eigenvectors


def compare_eigenvectors(cfg: Config, graph: ImageGraph, scale: float = 1.0) -> SpectrumResult:
    """Free vectors with mu and nu times `scale` against the closed form on the same image graph."""
    degree, bottom = graph.graph.sum(axis=1), embed(cfg, graph)
    z, p = free_vectors(cfg, graph, scale)["vectors"].astype(np.float64), degree / degree.sum()
    predicted = optimal_spectrum(2 * bottom.values, scaled_weights(cfg, scale), cfg.gamma, cfg.eps)
    measured, alive = variance_along(z, bottom.vectors, p), predicted > 0
    recovered = recovered_share(z, bottom.vectors[:, alive], p)
    return SpectrumResult(predicted, measured, recovered, 1 - measured[alive].sum() / (in_metric(z, p) ** 2).sum())


def nearest_vote(one: Features, images: Images, k: int = 10, device="cpu") -> tuple[float, float]:
    """(accuracy of a majority vote of the k nearest training images, share of these with the image's class); of test
    images."""
    numbers = nearest(one.train, k, one.test, device).numbers
    votes = mode(images.train_labels[numbers], axis=1).mode
    same = same_class(numbers, images.train_labels, images.test_labels)
    return float((votes == images.test_labels).mean()), float(same.mean())


def measure(cfg: Config, images: Images, one: Features, seconds: float) -> dict:
    """The numbers of one representation: shares of the test images, effective rank, seconds of its own training."""
    probe, (voted, same) = linear_probe(cfg, one, images), nearest_vote(one, images, device=choose_device(cfg))
    shares = {"accuracy": probe.accuracy, "interval": probe.interval, "knn_accuracy": voted, "same_class": same}
    return shares | {"effective_rank": effective_rank(one.test), "dimension": one.test.shape[1], "seconds": seconds}


RUNGS = (*ASKED, "free", "laplacian")
steps_down = Question("ladder", "The ladder, with the missing step", "Section 3.2, beyond Question 6", required=False)


def rung_features(cfg: Config, images: Images) -> dict[str, tuple[Features, float]]:
    """{name: (`Features`, seconds of its training)} of the steps, and of Q6's control."""
    networks, graph = baseline(cfg), image_graph(cfg, all_pictures(images))
    rungs = {name: (features(networks, images, name), run_of(networks, images, name).seconds) for name in ASKED}
    free, control = free_vectors(cfg, graph), control_graph(networks, images)
    split = split_features(images, free["vectors"], digest(graph.identity, "free", free["vectors"]))
    rungs["free"] = split, graph.seconds.sum() + free["seconds"]
    rungs["laplacian"] = laplacian_features(cfg, images), graph.seconds.sum() + embed(cfg, graph).seconds
    rungs["control"] = graph_embedding(cfg, images, control), control.seconds.sum() + embed(cfg, control).seconds
    return rungs


@steps_down.result
def compare_ladder(cfg: Config, images: Images) -> dict:
    """Free vectors against eigenvectors, and all steps of the ladder."""
    graphs = [image_graph(cfg, pictures) for pictures in (images.train_images[: cfg.graph_size], all_pictures(images))]
    batches = {scale: compare_eigenvectors(cfg, graphs[0], scale) for scale in BATCH_SCALES}
    rungs, labels = rung_features(cfg, images), images.test_labels[: cfg.tsne_size]
    maps = {METHODS[name].title: project_tsne(cfg, rungs[name][0].test[: cfg.tsne_size]) for name in RUNGS}
    return {
        "cfg": cfg,
        "exact": solve_exactly(cfg, images) | {"images": cfg.exact_size},
        "batches": batches,
        "whole": compare_eigenvectors(cfg, graphs[1]),
        "sizes": [graph.graph.shape[0] for graph in graphs],
        "rungs": {name: measure(cfg, images, *one) for name, one in rungs.items()},
        "maps": {title: (points, labels) for title, points in maps.items()},
        "classes": images.classes,
    }


@steps_down.figure("What is left of the classes as VICReg is taken apart, in per cent of the test images.")
def ladder(result: dict) -> Drawing:
    measures = {
        "accuracy": "linear probe",
        "knn_accuracy": "vote of the 10 nearest",
        "same_class": "10 nearest of the class",
    }
    values = {METHODS[name].title: [100 * result["rungs"][name][key] for key in measures] for name in RUNGS}
    chance, colours = 100 / len(result["classes"]), colours_by_title(RUNGS)
    return dots(
        {"": values}, list(measures.values()), "of the test images / %", colours, chance, height=2.1, xlim=(0, None)
    )


@steps_down.figure("t-SNE of the same test images at each step; a class's name stands at the middle of its points.")
def ladder_tsne(result: dict) -> Drawing:
    return scatter(result["maps"], result["classes"], width=5.6)


def _draw_small(ax, exact):
    for place, mark in enumerate("os^"):
        colour = METHOD_COLOURS[place]
        ax.plot(SCALES, exact["predicted"][:, place], color=colour)
        ax.plot(SCALES, exact["measured"][:, place], mark, color=colour, label=f"eigenvector {place + 1}")
    ax.set(xscale="log", xlabel="mu and nu, times the exercise's", ylabel="variance along an eigenvector")
    ax.set_xticks(SCALES, [f"{scale:g}" for scale in SCALES])
    ax.legend(fontsize=7)


def _draw_spectrum(ax, curves):
    """{label: SpectrumResult}, on a scale that is logarithmic above 0.01 and has room for 0."""
    for colour, (label, one) in zip(METHOD_COLOURS, curves.items(), strict=False):
        number = np.arange(1, len(one.predicted) + 1)
        ax.plot(number, one.predicted, color=colour)
        ax.plot(number, one.measured, ".", markersize=3, color=colour, label=label)
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.4)
    ax.set(xlabel="number of the eigenvector", ylim=(0, None))
    ax.legend(fontsize=7, title="times mu and nu", title_fontsize=7)


@steps_down.figure(
    "How far free vectors are spread along each eigenvector: the closed form (lines) and what training found (points), "
    "on three sets of images."
)
def ladder_spectrum(result: dict) -> Drawing:
    fig, axes = new_figure(1, 3, height=2.7)
    batches = {f"{scale:g}": one for scale, one in result["batches"].items()}
    _draw_small(axes[0], result["exact"])
    _draw_spectrum(axes[1], batches)
    _draw_spectrum(axes[2], {"1": result["whole"]})
    sizes = result["exact"]["images"], *result["sizes"]
    for ax, size, how in zip(axes, sizes, ("all pairs", "batches", "batches"), strict=True):
        ax.set_title(f"{size:,} images, {how}")
    return Drawing(fig)


@steps_down.figure(
    "Largest angle in degrees between free vectors, by the way their pairs are drawn, and the eigenvectors of each "
    "Laplacian, on the small graph."
)
def ladder_angles(result: dict) -> Drawing:
    table = result["exact"]["table"]
    fig, ax = new_figure(width=3.4, height=2.3)
    ax.imshow(np.log10(table + 0.01), cmap="Purples", vmin=-2, vmax=2, aspect="auto")
    for i, j in np.ndindex(table.shape):
        style = {"fontweight": "bold" if i == j else "normal", "color": "white" if table[i, j] > 1 else "#222222"}
        ax.text(
            j, i, f"{table[i, j]:.1g}" if table[i, j] < 1 else f"{table[i, j]:.1f}", ha="center", va="center", **style
        )
    ax.set(xticks=range(len(SAMPLINGS)), yticks=range(len(DRAWN)), xticklabels=SAMPLINGS, yticklabels=DRAWN)
    ax.set(xlabel="Laplacian of", ylabel="drawn by")
    ax.grid(False)
    return Drawing(fig)


def _spectrum_numbers(one):
    r = len(one.recovered)
    return {
        "alive": r, "of": len(one.predicted), "recovered": one.recovered.mean() if r else 1.0, "stray": one.stray,
        "predicted_first": one.predicted[0], "measured_first": one.measured[0],
        "predicted_middle": one.predicted[r // 2], "measured_middle": one.measured[r // 2], "middle": r // 2 + 1,
        "predicted_last": one.predicted[max(0, r - 1)], "measured_last": one.measured[max(0, r - 1)],
        "error": abs(one.measured - one.predicted).sum() / one.predicted.sum() if r else 0.0,
    }  # fmt: skip


def _exact_numbers(cfg, exact):
    own, other = np.eye(len(DRAWN), len(SAMPLINGS), dtype=bool), ~np.eye(len(SAMPLINGS), dtype=bool)
    table = exact["table"]
    return {
        "images": cfg.exact_size, "dims": EXACT_DIMS, "chosen": float(exact["chosen"]), "scales": SCALES,
        "table": dict(zip(DRAWN, table, strict=True)), "own": table[own].max(), "other": table[:3][other].max(),
        "nearest_other": table[:3][other].min(), "q5": table[3, SAMPLINGS.index("walk")],
        "alive": (exact["predicted"] > 0).sum(axis=1), "largest_angle": exact["angle"].max(),
        "largest_excess": abs(exact["excess"]).max(), "error": abs(exact["measured"] - exact["predicted"]).max(),
        "proven": cfg.mu >= 8 * cfg.nu * cfg.gamma**3,
    }  # fmt: skip


@steps_down.summary
def _numbers(result):
    rungs = result["rungs"]
    steps = {lower: gain(rungs[upper], rungs[lower]) for upper, lower in zip(RUNGS, RUNGS[1:], strict=False)}
    largest = max(steps, key=lambda name: steps[name]["points"])
    batches = [_spectrum_numbers(one) for one in result["batches"].values()]
    picture = {name: [one[name] for one in batches] for name in batches[0]}
    return rungs | {
        "steps": steps,
        "largest_step": steps[largest] | {"to": METHODS[largest].title},
        "control_gain": gain(rungs["control"], rungs["neighbours"]),
        "exact": _exact_numbers(result["cfg"], result["exact"]),
        "picture": picture | {"images": result["sizes"][0], "scales": BATCH_SCALES},
        "whole": _spectrum_numbers(result["whole"]) | {"images": result["sizes"][1]},
    }


@steps_down.table
def _table(n):
    header = ["", "linear probe", "10 nearest vote", "same class among them", "effective rank", "training"]
    titles = {name: METHODS[name].title for name in RUNGS} | {"control": "Laplacian Eigenmaps, VICReg's neighbours"}
    rows = []
    for name, title in titles.items():
        shares = [f"{n[name][key]:.1%}" for key in ("accuracy", "interval", "knn_accuracy", "same_class")]
        rank = f"{n[name]['effective_rank']:.0f} of {n[name]['dimension']}"
        rows.append([title, " ± ".join(shares[:2]), *shares[2:], rank, duration(n[name]["seconds"])])
    caption = """The ladder, on the test images, with 95 % intervals over these. Training: of the step itself; neighbour
        pairs rest on VICReg's, free vectors and eigenvectors include their graph."""
    return {"caption": " ".join(caption.split()), "header": header, "rows": rows}


_STEP = (
    "The largest step, {largest_step.points:.1f} ± {largest_step.interval:.1f} points, is the one to {largest_step.to}."
)
steps_down.says("""**The linear probe on the way down: VICReg {vicreg.accuracy:.1%}, neighbour pairs
    {neighbours.accuracy:.1%}, free vectors {free.accuracy:.1%}, Laplacian Eigenmaps {laplacian.accuracy:.1%}.**""")
steps_down.says(_STEP, lambda n: n.largest_step.points > n.largest_step.interval)
steps_down.says(
    """From neighbour pairs to free vectors it is not the network alone that goes. The graph changes from VICReg's
    neighbours to an untrained network's, and with it their number, the length of the training, and that test images
    take part. Where the graph is VICReg's, eigenvectors reach {control.accuracy:.1%} without a network, and so
    {control_gain.points:.1f} ± {control_gain.interval:.1f} points more than the network trained on VICReg's
    neighbours.""",
    lambda n: n.steps.free.points > n.steps.free.interval and n.control_gain.points > n.control_gain.interval,
)
steps_down.says(
    """Between free vectors and eigenvectors there is no measurable difference ({steps.laplacian.points:.1f} ±
    {steps.laplacian.interval:.1f} points).""",
    lambda n: abs(n.steps.laplacian.points) <= n.steps.laplacian.interval,
)


steps_down.says(
    """**Free vectors arrive where the closed form says.** On {exact.images} images, in {exact.dims} dimensions, at
    {exact.scales[0]:g} to {exact.scales[4]:g} times the exercise's $\\mu$ and $\\nu$, the loss that descent finds is
    within {exact.largest_excess:.0e} of the least one, the variances along the eigenvectors within {exact.error:.0e} of
    the predicted ones, and the directions within {exact.largest_angle:.0e} degrees of the eigenvectors. The weights
    decide how many directions are worth their invariance: {exact.alive[0]}, {exact.alive[1]}, {exact.alive[2]},
    {exact.alive[3]} and {exact.alive[4]} of {exact.dims}.""",
    lambda n: (
        n.exact.proven and n.exact.largest_excess < 1e-6 and n.exact.error < 0.01 and n.exact.largest_angle < 0.01
    ),
)
steps_down.says(
    """The graph decides which directions, by the way its pairs are drawn: each way ends within {exact.own:.0e} degrees
    of the eigenvectors of its own Laplacian, and {exact.nearest_other:.1f} to {exact.other:.1f} degrees from the
    others'. Drawing edges gives Laplacian Eigenmaps. Q5's way (an image, then a neighbour, never exchanged) has two
    covariance matrices and no such problem; it ends {exact.q5:.1f} degrees from the one with exchanged images.""",
    lambda n: n.exact.own < 0.01 and n.exact.own < n.exact.nearest_other / 10 and n.exact.q5 > 10 * n.exact.own,
)


steps_down.says(
    """On real graphs the weights leave fewer directions than there are dimensions. On {picture.images:,} images
    {picture.alive[0]}, {picture.alive[1]} and {picture.alive[2]} of {whole.of} should live, with $\\mu$ and $\\nu$ at
    {picture.scales[0]:g}, {picture.scales[1]:g} and {picture.scales[2]:g} times the exercise's, and on {whole.images:,}
    images {whole.alive} at once. Training in batches finds {picture.recovered[0]:.0%}, {picture.recovered[1]:.0%} and
    {picture.recovered[2]:.0%} of these directions, and {whole.recovered:.0%}.""",
    lambda n: n.exact.proven and n.picture.alive[1] < n.whole.of,
)
steps_down.says(
    """The variance along the first eigenvector of {picture.images:,} images should be {picture.predicted_first[1]:.2f}
    and is {picture.measured_first[1]:.2f}; {picture.stray[1]:.1%} of all variance lies outside the directions that
    should live, where the exact loss of the small graph leaves none. So a direction that is worth nothing still shows
    some spread in batches, and to count directions with spread would count too many.""",
    lambda n: 0 < n.picture.stray[1] < 0.2 and n.picture.alive[1] < n.whole.of and n.exact.error < 0.01,
)
