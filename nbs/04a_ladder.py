# %% [markdown]
# # 4a · The ladder
# Between VICReg with neighbour pairs (Q5) and Laplacian Eigenmaps (Q6) a step is missing: VICReg without a *network*.
# Each image gets a vector of its own, and VICReg's loss is minimised over the edges of the graph. Does this arrive at
# the eigenvectors? It must, and the loss even says how many of them it takes and how far it spreads each.
#
# The exercise peels VICReg back to Laplacian Eigenmaps. That its optimum is a spectral embedding is a theorem of
# Balestriero and LeCun (2022, arXiv 2205.11508; see also HaoChen et al., 2021, arXiv 2106.04156). This chapter derives
# the whole optimum in closed form, tests it on a small graph to many digits, then on 10,000 and on 60,000 images, and
# at last puts the steps of the ladder side by side.

# %%
#| default_exp ladder

# %%
#| export
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

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
lam: float = None  # weight of the invariance term for free vectors; None: the profile's value
mu: float = None  # weight of their variance term
nu: float = None  # weight of their covariance term
free_epochs: int = None  # passes over the graph
free_batch: int = None  # edges in a step
free_lr: float = None  # Adam's learning rate, with cosine decay
exact_size: int = None  # images in the small graph
exact_steps: int = None  # steps on it, at most, for each rounding of the hinge

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import lines

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## The loss of all pairs at once
# Let $\Pi_{ij}$ be the probability that images $i$ and $j$ are drawn as a pair, and $p_i$ how often image $i$ stands
# in the variance and covariance terms. Image $i$ has a free vector $z_i \in \mathbb{R}^c$, row $i$ of $Z$. With enough
# pairs, Eq. 2 and Eq. 4 become
#
# $$\mathcal{L}_{inv} = \frac{1}{c} \sum_{ij} \Pi_{ij} \|z_i - z_j\|^2 = \frac{1}{c} tr(Z^T L Z),
# \qquad C = Z^T P Z$$
#
# with $L = diag(\Pi 1 + \Pi^T 1) - \Pi - \Pi^T$, $P = diag(p)$, and $Z$ centred by $p$. The ways of drawing differ:
#
# | drawn | $\Pi$ | $p_i$ | eigenproblem $L\,y = a\,P\,y$ |
# |---|---|---|---|
# | **edges**: an edge | $W / vol$ | $d_i / vol$ | $(D - W)\,y = \lambda D y$: Laplacian Eigenmaps, $a = 2 \lambda$ |
# | **walk**: an image, a neighbour | $(D^{-1}W + W D^{-1}) / 2N$ | $(1 + \sum_j W_{ij} / d_j) / 2N$ | other weights |
# | **nodes**: edges, and images for the spread | $W / vol$ | $1 / N$ | $(D - W)\,y = \lambda y$: not normalised |
# | **q5**: an image, a neighbour, never exchanged | $D^{-1}W / N$ | $1/N$, and $\sum_j W_{ij} / (N d_j)$ | none |
#
# $d_i$ are the degrees, $vol$ is their sum, $N$ the number of images. Q5 draws as the last row does: its first branch
# holds every image equally often, the second one neighbours, and a hub is a neighbour of many. So the branches have two
# different covariance matrices, and the loss has two $P$. If the two images are exchanged in half of the cases, both
# branches have the mean of the two weights: that is the walk. The theorem below needs one $P$, so it is for the first
# three; how far from it Q5's way of drawing ends is measured.


# %%
#| export
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


# %%
small = image_graph(cfg, images.train_images[: cfg.exact_size]).graph
degree = small.sum(axis=1)
for sampling in DRAWN:
    laplacian, p = pair_problem(small, sampling)
    assert abs(p.sum(axis=1) - 1).max() < 1e-12 and abs(laplacian.sum(axis=1)).max() < 1e-12
    related = [np.corrcoef(branch, degree)[0, 1] if np.ptp(branch) > 1e-12 else 0 for branch in p]
    print(f"{sampling:6} correlation of an image's weight with its degree: {np.round(related, 2)} in the two branches")

# %% [markdown]
# The loss over all pairs is then a formula. `hinge` can be replaced by a smooth one, which the descent below needs.


# %%
#| export
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


# %% [markdown]
# Against Eq. 2-6 on a batch of all edges, in both directions (whose covariance is divided by one less):

# %%
laplacian, p = pair_problem(small, "edges")
laplacian, p = torch.from_numpy(laplacian.toarray()), torch.from_numpy(p)
i, j = (torch.from_numpy(side.astype(np.int64)) for side in small.nonzero())
z = 0.3 * torch.randn(p.shape[1], 4, dtype=torch.float64, generator=new_generator(seed, "test of the terms"))
ours, batch = expected_terms(z, laplacian, p), vicreg_terms(z[i], z[j])
torch.testing.assert_close(ours.inv, batch.inv)
torch.testing.assert_close(ours.cov, batch.cov * ((len(i) - 1) / len(i)) ** 2)
torch.testing.assert_close(ours.var, batch.var, rtol=1e-3, atol=0)

# %% [markdown]
# ## Where must it arrive?
# Let $a_1 \le a_2 \le \dots$ be the eigenvalues of $L\,y = a\,P\,y$ without the constant vector, and $y_i$ the
# eigenvectors, $y_i^T P y_j = \delta_{ij}$. Let $v = \gamma^2 - \epsilon$, the variance from which on the hinge is 0.
#
# **Theorem.** Let $\mu \ge 8 \nu \gamma^3$ and $\lambda, \nu > 0$. Then $Z$ is a minimum of Eq. 6 over all pairs if
# and only if $Z = \sum_i \sqrt{s_i}\, y_i u_i^T$ with orthonormal $u_i$ that give all dimensions the same variance, and
#
# $$s_i = \max\left(0,\; t - \frac{\lambda a_i}{4 \nu}\right)
# \qquad \text{with } t \text{ such that} \quad \sum_i s_i = c\,v ,$$
#
# if this $t$ is at most $v + \mu / (4 \nu \gamma)$: then the hinge is tight. A larger one would not be worth its
# invariance, and the mean variance $d = \frac{1}{c} \sum_i s_i$ stays below $v$, where
# $t = d + \mu / (4 \nu \sqrt{d + \epsilon})$.
#
# This is *water-filling*: water is poured to the level $t$ onto a ground of height $\lambda a_i / 4 \nu$. Eigenvectors
# whose ground lies above the level stay dry. The weights decide how many live, the graph decides which. To lie in the
# span of the bottom eigenvectors is therefore necessary for an optimum, for all weights, but not sufficient.
#
# **Proof.** Write $h(x) = \max(0, \gamma - \sqrt{x + \epsilon})$. With $C$ of trace $T$ and eigenvalues
# $s_1 \ge \dots \ge s_c \ge 0$, Eq. 6 times $c$ is
#
# $$J = \lambda\, tr(Z^T L Z) + 2 \nu \sum_i s_i^2 + \sum_k \eta(C_{kk}) , \qquad
# \eta(x) = 2 \mu\, h(x) - 2 \nu x^2 .$$
#
# 1. *No dimension has $C_{kk} > v$.* If one had, shrinking its column in $Z$ a little would make the invariance term
#    smaller, the covariances no larger, and leave the hinge at 0.
# 2. *Pairing.* Write $Z = P^{-1/2} V S^{1/2} U^T$ with orthonormal columns in $V$ and $U$. By von Neumann's trace
#    inequality $tr(Z^T L Z) = \sum_i s_i \, v_i^T P^{-1/2} L P^{-1/2} v_i \ge \sum_i s_i a_i$, with equality only if
#    the directions with $s_i > 0$ are bottom eigenvectors, the widest paired with the smallest eigenvalue (where
#    eigenvalues are equal there is a choice of basis).
# 3. *Equal dimensions.* On $[0, v]$ we have $\eta'' = \frac{\mu}{2} (x + \epsilon)^{-3/2} - 4 \nu \ge
#    \frac{\mu}{2 \gamma^3} - 4 \nu \ge 0$. So $\eta$ is convex there, and by Jensen
#    $\sum_k \eta(C_{kk}) \ge c\, \eta(T / c)$. By the theorem of Schur and Horn some rotation $U$ gives any spectrum a
#    constant diagonal, and $U$ occurs nowhere else. So both bounds are reached together.
# 4. *Water.* What remains, $\lambda \sum_i a_i s_i + 2 \nu (\sum_i s_i^2 - T^2 / c) + 2 \mu c\, h(T / c)$, is convex in
#    $s \ge 0$, so that a zero of its slope is its minimum:
#    $\lambda a_i + 4 \nu s_i + \eta'(T / c) = 0$ where $s_i > 0$, and $\ge 0$ elsewhere. With
#    $4 \nu t = -\eta'(T / c)$ this is the water-filling. At the kink $T / c = v$ the slope may be anything from
#    $-4 \nu v - \mu / \gamma$ to $-4 \nu v$: the level from $v + \mu / (4 \nu \gamma)$ down to $v$. $\blacksquare$
#
# The exercise's weights meet the condition ($\mu = 25$, $8 \nu = 8$). In code, the level is where a rising function
# crosses 0.


# %%
#| export
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


# %% [markdown]
# The water over its ground, for five eigenvalues and three weights $\lambda$:

# %%
five = np.array([0.05, 0.2, 0.4, 0.5, 0.9])
fig, axes = new_figure(1, 3, width=6.2, height=1.8, sharey=True)
for ax, weight in zip(axes, (3, 12, 48), strict=True):
    best = optimal_spectrum(five, (weight, 25, 1))
    ax.bar(range(1, 6), weight * five / 4, color="#c9c2b8", label="ground")
    ax.bar(range(1, 6), best, bottom=weight * five / 4, color=METHOD_COLOURS[0], label="water")
    ax.set(title=f"$\\lambda$ = {weight}: {(best > 0).sum()} live", xlabel="eigenvector")
axes[0].legend()
assert (best == 0).any() and abs(best.sum() / 5 - (1 - 1e-4)) < 1e-9
Drawing(fig)

# %% [markdown]
# And the loss that goes with a spectrum:


# %%
#| export
def least_loss(values: np.ndarray, spectrum: np.ndarray, weights: tuple, gamma: float = 1.0, eps: float = 1e-4):
    """Eq. 6 over all pairs of vectors with this spectrum [c], paired with values [c], and equal dimensions."""
    lam, mu, nu = weights
    d = spectrum.mean()
    cov = (spectrum**2).mean() - d**2
    return lam * (spectrum * values).mean() + 2 * mu * max(0.0, gamma - math.sqrt(d + eps)) + 2 * nu * cov


# %% [markdown]
# The theorem says that no other $s$ is better. So we try: a general method for convex problems, and many random
# spectra.

# %%
from scipy.optimize import LinearConstraint

for weights in ((3, 25, 1), (12, 25, 1), (48, 25, 1), (48, 8, 1)):
    best, cost = optimal_spectrum(five, weights), partial(least_loss, five, weights=weights)
    box = LinearConstraint(np.ones(5), 0, 5 * (1 - 1e-4))  # no more variance than the hinge asks for
    start = {"x0": np.full(5, 0.3), "bounds": [(0, None)] * 5, "constraints": [box]}
    solved = minimize(cost, method="SLSQP", tol=1e-12, **start)
    np.testing.assert_allclose(best, solved.x, atol=1e-3)
    others = np.random.default_rng(0).dirichlet(np.ones(5), 1_000) * 5 * (1 - 1e-4)
    assert min(map(cost, others)) > cost(best) - 1e-12
    print(f"lambda, mu, nu = {weights}: {best.round(3)}, mean {best.mean():.3f}")

# %% [markdown]
# ## How far is one subspace from another?
# The eigenvectors are orthogonal in the metric $P$, so angles and shares are taken in it: every vector is centred and
# multiplied by $\sqrt{p_i}$ in each place. Principal angles say how far one subspace is turned out of the other: all 0
# degrees if they are the same. Of $Z$ we take as many of its widest directions as the other side has; the theorem says
# how many there should be, and no threshold has to say which directions "live".


# %%
#| export
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


# %%
random = np.random.default_rng(0)
p_random = random.dirichlet(np.ones(50))
basis = np.linalg.qr(in_metric(random.normal(size=(50, 3)), p_random))[0] / np.sqrt(p_random)[:, None]
rotation = np.linalg.qr(random.normal(size=(3, 3)))[0]
turned = basis * [3, 2, 1e-4] @ rotation + random.normal(size=3)  # the same span, elsewhere, of other widths
print(f"another direction: {principal_angles(turned, random.normal(size=(50, 1)), p_random).round(1)} degrees")
assert principal_angles(turned, basis, p_random).max() < 1e-3

# %% [markdown]
# Two more measures look at each eigenvector: which share of it is found, and how far $Z$ is spread along it.


# %%
#| export
def recovered_share(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The share [r] of each column of basis [N, r] that lies in the r widest directions of z [N, c]."""
    basis = in_metric(basis, p)
    inside = _widest(z, p, basis.shape[1]).T @ basis
    return (inside**2).sum(axis=0) / (basis**2).sum(axis=0)


def variance_along(z: np.ndarray, vectors: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The variance [r] of z [N, c] along each of vectors [N, r], which are orthonormal in the metric P."""
    return ((in_metric(vectors, p).T @ in_metric(z, p)) ** 2).sum(axis=1)


# %%
assert abs(recovered_share(turned, basis, p_random) - 1).max() < 1e-9
np.testing.assert_allclose(variance_along(turned, basis, p_random), [9, 4, 1e-8], rtol=1e-6)

# %% [markdown]
# ## The descent
# From small random vectors down the exact gradient, by a quasi-Newton method (L-BFGS) in double precision. It gets
# stuck at the kink of the hinge, so the hinge is rounded, first over a wide and then over an ever narrower stretch,
# until the rounding changes the loss by less than $10^{-8} \mu$. Before each of these a little noise is added: a
# direction that has collapsed completely has no gradient that could bring it back.


# %%
#| export
_WIDTHS = 10.0 ** -np.arange(1, 9)  # of the hinge's rounding, one after the other


def rounded_hinge(x: torch.Tensor, width: float) -> torch.Tensor:
    """max(0, x), with a parabola for the kink; at most width / 2 less."""
    return torch.where(x > width, x - width / 2, torch.relu(x) ** 2 / (2 * width))


# %%
x = torch.linspace(-0.5, 0.5, 101)
curves = {"hinge": (x, torch.relu(x)), "rounded": (x, rounded_hinge(x, 0.3))}
lines({"": curves}, "gamma - sigma", "hinge", dict(zip(curves, METHOD_COLOURS, strict=False)), width=3.4, height=1.7)

# %% [markdown]
# The descent itself, and what it should find, by LAPACK:


# %%
#| export
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


# %%
problem = laplacian.numpy(), p.numpy()
values, vectors = bottom_vectors(*problem, 2)
weights = cfg.lam, 4 * cfg.mu, 4 * cfg.nu
plane = fit_exactly(*problem, 2, weights, cfg)
angle = principal_angles(plane, vectors, problem[1][0])[0]
print(f"{angle:.1e} degrees from the first eigenvectors")
print("variance along them:", variance_along(plane, vectors, problem[1][0]).round(6))
print("water-filling:      ", optimal_spectrum(values, weights, cfg.gamma, cfg.eps).round(6))
assert angle < 0.01

# %% [markdown]
# ## On a small graph, exactly
# How do the weights act? $\mu$ and $\nu$ are scaled together against $\lambda$, in three dimensions, and the result
# compared with the closed form: its loss, the variance along each eigenvector, and the angle to those that should live.


# %%
#| export
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


# %%
predicted, found, excess, angle = _at_scale(cfg, problem, 10)
print(f"predicted {predicted.round(5)}, found {found.round(5)}, excess {excess:.0e}, largest angle {angle:.0e} degrees")

# %% [markdown]
# Then, at the first scale at which all directions should live, each way of drawing is compared with each Laplacian.


# %%
#| export
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


# %%
two = {name: problem for name in DRAWN}  # one and the same for all: no angles
assert _compare_drawings(cfg, two)[1].max() < 0.01

# %% [markdown]
# Both together take half a minute, so the result is kept.


# %%
#| export
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


# %%
exact = solve_exactly(cfg, images)
for scale, *row in zip(SCALES, *(exact[name] for name in ("predicted", "measured", "excess", "angle")), strict=True):
    print(f"x {scale:<4g} predicted {row[0].round(4)}, measured {row[1].round(4)}", end=", ")
    print(f"loss {row[2]:.0e} above the least, largest angle {row[3]:.0e} degrees")
print(f"at x {float(exact['chosen']):g}, a row for each way of drawing, a column for each Laplacian:")
print(exact["table"].round(3))
if cfg == baseline(cfg) and images.name == "cifar10":
    assert exact["table"][:3].diagonal().max() < 0.01 and abs(exact["excess"]).max() < 1e-6

# %% [markdown]
# ## On the real graph, in batches
# Now 60,000 images, 128 dimensions, and batches of edges: this is Algorithm 1 with a table of vectors in place of
# $h(f(T(\cdot)))$, and the two ends of an edge in place of two views. Variance and covariance over a batch are
# estimates: a price that the exact loss above does not pay.


# %%
#| export
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


# %%
edges = edge_list(small)
seen = torch.cat(list(edge_batches(edges, 2, new_generator(seed, "edges"))), dim=1)
assert edges.shape[1] == small.nnz // 2 and seen.shape[1] == edges.shape[1] // 2 * 2
assert {tuple(sorted(pair)) for pair in seen.T.tolist()} <= {tuple(pair) for pair in edges.T.tolist()}

# %% [markdown]
# A step is that of Algorithm 1, except that $z$ is looked up instead of computed.


# %%
#| export
def _free_step(z, pairs, optimizer, weights, cfg):
    """One update of free vectors z [N, c] from pairs [2, B]; returns the three terms [3], detached."""
    left, right = embedding(pairs, z)
    terms = vicreg_terms(left, right, cfg.gamma, cfg.eps)
    vicreg_loss(terms, *weights).backward()
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack([term.detach() for term in terms])


# %%
z = torch.randn(small.shape[0], 8, generator=new_generator(seed, "step")).requires_grad_()
adam = torch.optim.Adam([z], lr=0.05)
steps = [_free_step(z, edges[:, :512], adam, scaled_weights(cfg), cfg) for _ in range(20)]
losses = [vicreg_loss(Terms(*terms), *scaled_weights(cfg)).item() for terms in steps]
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
assert losses[-1] < losses[0]

# %% [markdown]
# The training passes over the graph several times, with cosine decay over all steps: the smaller the last steps, the
# less of the noise of single batches stays in the vectors.


# %%
#| export
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


# %%
try:
    _train_free(cfg.replace(free_epochs=3), small, (math.inf, 1, 1))
except UserError as error:
    print(error)
else:
    raise AssertionError("an infinite loss")

# %% [markdown]
# The vectors are kept, under the graph and all settings that make them.


# %%
#| export
def free_vectors(cfg: Config, graph: ImageGraph, scale: float = 1.0) -> dict:
    """VICReg without a network, trained on a graph's edges with mu and nu times `scale`; computed once.

    vectors: float32 [N, components]; history: the terms of each step [steps, 3]; seconds: that it took.
    UserError if the loss turns NaN or infinite.
    """
    weights = scaled_weights(cfg, scale)
    settings = [cfg.components, cfg.free_epochs, cfg.free_batch, cfg.free_lr, cfg.gamma, cfg.eps, cfg.seed]
    key = [graph.identity, list(weights), settings]
    return cached(cfg.cache, "free", key, lambda: _train_free(cfg, graph.graph, weights))


# %%
picture_graph = image_graph(cfg, images.train_images[: cfg.graph_size])
free = free_vectors(cfg, picture_graph)
loss = free["history"] @ np.array(scaled_weights(cfg))
curve = {"": {"": (np.arange(1, len(loss) + 1), loss)}}
lines(curve, "step", "loss of a batch", {"": METHODS["free"].colour}, width=4.6, yscale="log")

# %% [markdown]
# Are they what the theorem says? From the eigenvalues it says how many directions live, and how far each is spread. The
# variance of the free vectors along each eigenvector is measured beside it, and how much of their variance lies outside
# the directions that should live: noise of the batches, and what training has not yet removed.

# %%
#| export
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


# %%
found = compare_eigenvectors(cfg, picture_graph)
print(f"{len(found.recovered)} of {cfg.components} directions should live; {found.recovered.mean():.1%} of them found")
print(f"{found.stray:.1%} of the variance lies outside of them")
number, tint = np.arange(1, cfg.components + 1), {"predicted": METHOD_COLOURS[1], "measured": METHOD_COLOURS[0]}
curves = {"predicted": (number, found.predicted), "measured": (number, found.measured)}
lines({"": curves}, "number of the eigenvector", "variance along it", tint, width=4.6)

# %% [markdown]
# ## All steps side by side
# The same images, the same probe. Beside the linear probe stands a classifier that learns nothing: the majority among
# an image's ten nearest training images. A linear layer can undo a bad scaling of the dimensions, a vote cannot.


# %%
#| export
def nearest_vote(one: Features, images: Images, k: int = 10, device="cpu") -> tuple[float, float]:
    """(accuracy of a majority vote of the k nearest training images, share of these with the image's class); of test
    images."""
    numbers = nearest(one.train, k, one.test, device).numbers
    votes = mode(images.train_labels[numbers], axis=1).mode
    same = same_class(numbers, images.train_labels, images.test_labels)
    return float((votes == images.test_labels).mean()), float(same.mean())


# %%
one_hot = (np.eye(10, dtype=np.float32)[labels] for labels in (images.train_labels, images.test_labels))
assert nearest_vote(Features(*one_hot, "labels"), images) == (1.0, 1.0)  # the labels themselves are never mistaken

# %% [markdown]
# What is told of each step: these, the effective rank, and the time that it took.


# %%
#| export
def measure(cfg: Config, images: Images, one: Features, seconds: float) -> dict:
    """The numbers of one representation: shares of the test images, effective rank, seconds of its own training."""
    probe, (voted, same) = linear_probe(cfg, one, images), nearest_vote(one, images, device=choose_device(cfg))
    shares = {"accuracy": probe.accuracy, "interval": probe.interval, "knn_accuracy": voted, "same_class": same}
    return shares | {"effective_rank": effective_rank(one.test), "dimension": one.test.shape[1], "seconds": seconds}


# %%
print(measure(cfg, images, laplacian_features(cfg, images), seconds=0))

# %% [markdown]
# The networks keep the profile's own weights, whatever `lam`, `mu` and `nu` this notebook gives to the free vectors.
# The last entry is Q6's control: eigenvectors, but on the graph of VICReg's neighbours.

# %%
#| export
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


# %%
for name, (one, seconds) in rung_features(cfg, images).items():
    print(f"{name:12} train {one.train.shape}, test {one.test.shape}, {duration(seconds)}")

# %% [markdown]
# And all together: the small graph, the angles in batches, the steps, and their pictures of the same test images.


# %%
#| export
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


# %%
result = steps_down.compute(cfg, images)
for name, rung in result["rungs"].items():
    print(f"{name:12} probe {rung['accuracy']:.1%}, vote {rung['knn_accuracy']:.1%}")

# %% [markdown]
# ## The ladder
# Each line is read from the right, where VICReg stands, to the left.


# %%
#| export
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


# %%
ladder(result)


# %%
#| export
@steps_down.figure("t-SNE of the same test images at each step; a class's name stands at the middle of its points.")
def ladder_tsne(result: dict) -> Drawing:
    return scatter(result["maps"], result["classes"], width=5.6)


# %%
ladder_tsne(result)

# %% [markdown]
# ## Prediction and measurement
# Lines are the closed form, points are measured. Nothing in the lines was fitted: they come from the graph's
# eigenvalues and the three weights.


# %%
#| export
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


# %%
fig, (left, right) = new_figure(1, 2, width=5.6, height=2.5)
_draw_small(left, exact)
_draw_spectrum(right, {"1": found})
Drawing(fig)


# %%
#| export
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


# %%
ladder_spectrum(result)

# %% [markdown]
# And which Laplacian? Each way of drawing against each: small on the diagonal, or the derivation is wrong. The last row
# has no Laplacian of its own.


# %%
#| export
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


# %%
ladder_angles(result)

# %% [markdown]
# ## In numbers
# First those of the closed form, then all. A step of the ladder is told as a difference with its interval.


# %%
#| export
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


# %%
print(_spectrum_numbers(result["whole"]))
perfect = SpectrumResult(np.ones(16), np.ones(16), np.ones(16), 0.0)
assert _spectrum_numbers(perfect)["error"] == 0 and _spectrum_numbers(perfect)["alive"] == 16


# %%
#| export
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


# %%
numbers = _numbers(result)
print({name: f"{step['points']:+.1f} ± {step['interval']:.1f}" for name, step in numbers["steps"].items()})

# %% [markdown]
# ## In words


# %%
#| export
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


# %%
for row in _table(numbers)["rows"]:
    print(", ".join(row))

# %% [markdown]
# On the way down several things change at once, so the ladder alone does not say what a step is the price of. The
# control says it for the largest one.

# %%
#| export
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

# %% [markdown]
# Is the derivation right? On the small graph it could have failed: with a smaller loss than the least one, another
# spectrum, the wrong Laplacian, or no subspace at all.

# %%
#| export
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

# %% [markdown]
# And in batches, on real graphs:

# %%
#| export
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

# %%
steps_down.run(cfg, result)
