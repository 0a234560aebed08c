# %% [markdown]
# # 4a · The ladder
# Between VICReg with neighbour pairs (Q5) and Laplacian Eigenmaps (Q6) a step is missing: VICReg without a *network*.
# Each image gets a vector of its own, and VICReg's loss is minimised over the edges of the graph. Does this arrive at
# the eigenvectors? It must, and the loss even says how many of them it takes and how far it spreads each.
#
# ## The ladder is a table
# On the way from VICReg down to Laplacian Eigenmaps two things change: *who says which images are neighbours*, and *how
# the vectors are found*. The exercise calls the second *amortisation*: a network gives all images their vectors at the
# price of one function. To change both at once says nothing about either. So every kind of neighbour meets every way,
# and a linear probe tells what comes of it:
#
# | neighbours | network | free vectors | eigenvectors |
# |---|---|---|---|
# | **augmentations**: two views of one image | yes | cannot be | cannot be |
# | **VICReg's**: nearest by VICReg's representation | yes | yes | yes |
# | **a random CNN's**: nearest by the features of footnote 3 | yes | yes | yes |
# | **same class**: nearest by VICReg's representation within the class | yes | yes | yes |
#
# The last kind uses the training labels. It is an *oracle*, and says how far right neighbours alone would lead. For
# augmentations only the network can be trained: a view is never drawn twice, so that a table of vectors would have a
# row for every view that is never met again. All have the same number $k$ of neighbours, and the same probe. The
# networks have the same number of epochs, whatever their pairs, and are trained on the training images alone. Free
# vectors and eigenvectors of the test images need these in the graph. There each has its neighbours among all images,
# without labels, also for the oracle.
#
# Why eigenvectors? The exercise peels VICReg back to Laplacian Eigenmaps. That its optimum is a spectral embedding is a
# theorem of Balestriero and LeCun (2022, arXiv 2205.11508; see also HaoChen et al., 2021, arXiv 2106.04156). This
# chapter first derives the whole optimum in closed form, tests it on a small graph to many digits, then on 10,000 and
# on 60,000 images, and then fills the table. Whoever wants its numbers first goes to the figure, "The ladder", and
# comes back for the reason.

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
from torch.nn.functional import embedding
from vicreg_nb.book import OVER_IMAGES, Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, send
from vicreg_nb.identity import cached
from vicreg_nb.laplacian_eigenmaps import ImageGraph, all_pictures, control_graph, embed, graph_embedding
from vicreg_nb.laplacian_eigenmaps import graph_features, image_graph, make_graph, same_class_edges, split_features
from vicreg_nb.methods import METHODS, baseline, features, run_on_neighbours, trained, with_labels
from vicreg_nb.neighbours import nearest
from vicreg_nb.plots import METHOD_COLOURS, Drawing, new_figure
from vicreg_nb.representations import Features, features_of, gain, half_interval, linear_probe, untrained_features
from vicreg_nb.store import UserError, digest, log, new_generator, one_thread, progress
from vicreg_nb.training import Run, cosine_decay, load_networks
from vicreg_nb.vicreg import Terms, vicreg_loss, vicreg_terms
from vicreg_nb.views import make_view

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
ladder_epochs: int = None  # epochs of each network in the ladder's table
exact_size: int = None  # images in the small graph
exact_steps: int = None  # steps on it, at most, for each rounding of the hinge

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.book import Numbers, plain_numbers
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import lines
from vicreg_nb.store import duration

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# The kinds and the ways by their names in the code. Beware of one: `untrained` is the random CNN of footnote 3 here,
# where in other chapters it is Q1's encoder before its training.

# %%
#| export
KINDS = {
    "augmentations": "Augmentations",
    "vicreg": "VICReg's neighbours",
    "untrained": "Random CNN's neighbours",
    "oracle": "Same-class neighbours (oracle)",
}
KIND_COLOURS = {  # VICReg's views have VICReg's colour, VICReg's neighbours that of neighbour pairs
    "augmentations": METHODS["vicreg"].colour, "vicreg": METHODS["neighbours"].colour,
    "untrained": METHODS["laplacian"].colour, "oracle": METHODS["free"].colour,
}  # fmt: skip
WAYS = {"network": "network", "free": "free vectors", "eigenvectors": "eigenvectors"}
FULL = ("vicreg", "untrained", "oracle")  # kinds of neighbours that meet every way

# %% [markdown]
# ## The loss of all pairs at once
# Let $\Pi_{ij}$ be the probability that images $i$ and $j$ are drawn as a pair, an edge of a connected graph, and $p_i$
# how often image $i$ stands in the variance and covariance terms. Image $i$ has a free vector $z_i \in \mathbb{R}^c$,
# row $i$ of $Z$. With enough pairs, Eq. 2 and Eq. 4 become
#
# $$\mathcal{L}_{inv} = \frac{1}{c} \sum_{ij} \Pi_{ij} \|z_i - z_j\|^2 = \frac{1}{c} tr(Z^T L Z),
# \qquad C = Z^T P Z$$
#
# with $L = diag(\Pi 1 + \Pi^T 1) - \Pi - \Pi^T$, $P = diag(p)$, and $Z$ centred by $p$ (for drawn edges this $L$ is the
# last chapter's times $2 / vol$). The ways of drawing differ:
#
# | drawn | $\Pi$ | $p_i$ | eigenproblem $L\,y = a\,P\,y$ |
# |---|---|---|---|
# | **edges**: an edge | $W / vol$ | $d_i / vol$ | $(D - W)\,y = \kappa D y$: Laplacian Eigenmaps, $a = 2 \kappa$ |
# | **walk**: an image, a neighbour | $(D^{-1}W + W D^{-1}) / 2N$ | $(1 + \sum_j W_{ij} / d_j) / 2N$ | other weights |
# | **nodes**: edges, and images for the spread | $W / vol$ | $1 / N$ | $(D - W)\,y = \kappa y$: not normalised |
# | **q5**: an image, a neighbour, never exchanged | $D^{-1}W / N$ | $1/N$, and $\sum_j W_{ij} / (N d_j)$ | none |
#
# $d_i$ are the degrees, $vol$ is their sum, $N$ the number of images. Q5 draws nearly as the last row does (it takes
# only the image's own $k$ nearest, where an edge may also come from its other end): the first branch holds every image
# equally often, the second one neighbours, and a hub is a neighbour of many. So the branches have two different
# covariance matrices, and the loss has two $P$. If the two images are exchanged in half of the cases, both branches
# have the mean of the two weights: that is the walk. The theorem below needs one $P$, so it is for the first three; how
# far from it the last row ends is measured.

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
# Let $a_1 \le a_2 \le \dots$ be the eigenvalues of $L\,y = a\,P\,y$ without that of the constant vector, and $y_i$ the
# eigenvectors, $y_i^T P y_j = \delta_{ij}$. The graph has more than $c$ images, so there are at least $c$ of them. Let
# $b = \gamma^2 - \epsilon$, the variance from which on the hinge is 0.
#
# **Theorem.** Let $\lambda, \nu, b > 0$ and $\mu \ge 8 \nu \gamma^3$. Up to a shift of all vectors, and with some
# choice of eigenvectors where eigenvalues are equal, $Z$ is a global minimum of Eq. 6 over all pairs if and only if
# $Z = \sum_{i \le c} \sqrt{s_i}\, y_i u_i^T$ with orthonormal $u_i$ that give all dimensions the same variance, and
#
# $$s_i = \max\left(0,\; t - \frac{\lambda a_i}{4 \nu}\right)
# \qquad \text{with } t \text{ such that} \quad \sum_{i \le c} s_i = c\,b ,$$
#
# if this $t$ is at most $b + \mu / (4 \nu \gamma)$: then the hinge is tight. A larger one would not be worth its
# invariance, and the mean variance $m = \frac{1}{c} \sum_{i \le c} s_i$ stays below $b$, where
# $t = m + \mu / (4 \nu \sqrt{m + \epsilon})$.
#
# This is *water-filling*: water is poured to the level $t$ onto a ground of height $\lambda a_i / 4 \nu$. Eigenvectors
# whose ground lies above the level stay dry. The weights and the eigenvalues decide how many live; which directions
# these are, the graph's eigenvectors say. To lie in the span of the bottom eigenvectors is therefore necessary for an
# optimum, but not sufficient.
#
# **Proof.** Let $s_1 \ge \dots \ge s_c \ge 0$ be the eigenvalues of $C$ and $m$ their mean. Eq. 6 times $c$ is
#
# $$\lambda\, tr(Z^T L Z) + 2 \nu \sum_{i \le c} s_i^2 + \sum_k \eta(C_{kk}) , \qquad
# \eta(x) = 2 \mu \max\left(0, \gamma - \sqrt{x + \epsilon}\right) - 2 \nu x^2 .$$
#
# 1. *No dimension has $C_{kk} > b$ at a minimum.* If one had, shrinking its column in $Z$ a little would cost nothing:
#    its hinge stays at 0, and no covariance grows. And it would save invariance, strictly: a column with spread is not
#    constant, so it differs along some edge, because the graph is connected.
# 2. *Pairing.* Write $Z = P^{-1/2} V S^{1/2} U^T$ with $S = diag(s)$ and orthonormal columns in $V$ and $U$. As $Z$ is
#    centred, $Z^T p = 0$, the columns $v_i$ of $V$ with $s_i > 0$ are orthogonal to $P^{1/2} 1$: the constant vector
#    and its eigenvalue 0 are out of reach. By von Neumann's trace inequality $tr(Z^T L Z) = \sum_{i \le c} s_i \, v_i^T
#    P^{-1/2} L P^{-1/2} v_i \ge \sum_{i \le c} s_i a_i$, with equality if and only if the directions with $s_i > 0$ are
#    bottom eigenvectors, the widest paired with the smallest eigenvalue.
# 3. *Equal dimensions.* On $[0, b)$ we have $x + \epsilon < \gamma^2$, so that $\eta'' = \frac{\mu}{2} (x +
#    \epsilon)^{-3/2} - 4 \nu > \frac{\mu}{2 \gamma^3} - 4 \nu \ge 0$. So $\eta$ is strictly convex on $[0, b]$, and by
#    Jensen $\sum_k \eta(C_{kk}) \ge c\, \eta(m)$, with equality only for equal $C_{kk}$. By the theorem of Schur and
#    Horn some rotation $U$ gives any spectrum a constant diagonal, and $U$ occurs nowhere else. So both bounds are
#    reached together.
# 4. *Water.* What remains, $\lambda \sum_{i \le c} a_i s_i + 2 \nu \sum_{i \le c} s_i^2 + c\, \eta(m)$, is strictly
#    convex where $s \ge 0$ and $m \le b$: its middle term is, and the others are convex. So it has one minimum, and
#    that is where $\lambda a_i + 4 \nu s_i + \eta'(m) + \theta \ge 0$, with equality where $s_i > 0$. Here $\eta'(b)$
#    is the slope from the left, and $\theta \ge 0$ is 0 unless $m = b$. With $4 \nu t = -\eta'(m) - \theta$ this is the
#    water-filling, and $m = b$ if and only if the $t$ that fills to it has $4 \nu t \le -\eta'(b) = \mu / \gamma + 4
#    \nu b$. The $s_i$ fall as $a_i$ rises, as step 2 assumed. $\blacksquare$
#
# The exercise's weights meet the condition ($\mu = 25$, $8 \nu = 8$). In code, the level is where a rising function
# crosses 0.


# %%
#| export
def optimal_spectrum(values: np.ndarray, weights: tuple, gamma: float = 1.0, eps: float = 1e-4) -> np.ndarray:
    """The best variances s [c] along c eigenvectors with eigenvalues a [c], the smallest first, by water-filling.

    weights: lambda, mu, nu. Proven for lambda, nu > 0, gamma^2 > eps and mu >= 8 nu gamma^3.
    """
    lam, mu, nu = weights
    nu = max(nu, 1e-6)  # no covariance term at all is the limit of little
    ground, full = lam * np.asarray(values) / (4 * nu), max(0.0, gamma**2 - eps)

    def water(level):
        return np.maximum(0, level - ground)

    def too_high(level):
        """Positive where the last drop cost more than the hinge gives for it."""
        mean = water(level).mean()
        return level - mean - mu / (4 * nu * math.sqrt(mean + eps))

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
    mean = spectrum.mean()
    cov = (spectrum**2).mean() - mean**2
    return lam * (spectrum * values).mean() + 2 * mu * max(0.0, gamma - math.sqrt(mean + eps)) + 2 * nu * cov


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
        with one_thread():  # thousands of small products
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
# For the picture, the closed form also between these scales: it has bends there.


# %%
#| export
def _closed_form_curve(cfg, problem):
    """(scales [g], the closed form's variances [g, dims]) from the first of `SCALES` to the last."""
    values, scales = bottom_vectors(*problem, EXACT_DIMS)[0], np.geomspace(SCALES[0], SCALES[-1], 201)
    return scales, np.array([optimal_spectrum(values, scaled_weights(cfg, one), cfg.gamma, cfg.eps) for one in scales])


# %%
curve = _closed_form_curve(cfg, problem)[1]
np.testing.assert_allclose(curve[-1], predicted)  # of the last scale
assert curve.shape == (201, EXACT_DIMS) and (np.diff(curve) <= 0).all()

# %% [markdown]
# All together take a while, so the result is kept.


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
    table [drawn by, Laplacian of]: largest angle at the scale `chosen`; curve: scales, and the closed form's variances.
    """
    graph = image_graph(cfg, images.train_images[: cfg.exact_size])
    laplacian, p = pair_problem(graph.graph, "edges")
    curve = _closed_form_curve(cfg, (laplacian.toarray(), p))
    key = [graph.identity, cfg.exact_steps, cfg.lam, cfg.mu, cfg.nu, cfg.gamma, cfg.eps, cfg.seed, SCALES, EXACT_DIMS]
    return cached(cfg.cache, "exact", key, lambda: _solve(cfg, graph.graph)) | {"curve": curve}


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
# Now 60,000 images, 128 dimensions, and batches of edges: this is Algorithm 1 with a table of vectors in place of the
# networks, and the two ends of an edge in place of two views. Variance and covariance over a batch are
# estimates: a price that the exact loss above does not pay.


# %%
#| export
def edge_list(graph: sparse.csr_array) -> torch.Tensor:
    """The edges of a symmetric graph, once each: int64 [2, E]."""
    upper = sparse.triu(graph, k=1).tocoo()
    return torch.from_numpy(np.stack([upper.row, upper.col]).astype(np.int64))


def edge_batches(edges: torch.Tensor, size: int, generator: torch.Generator, device="cpu"):
    """All edges [2, E] in random order, each in a random direction, in batches [2, size]; the rest is left out."""
    order = torch.randperm(edges.shape[1], generator=generator)
    turned = torch.rand(len(order), generator=generator) < 0.5
    both = send(torch.where(turned, edges.flip(0), edges)[:, order], device)  # all of an epoch in one copy
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
def _train_free(cfg, graph, weights):
    start, device, generator = time.perf_counter(), choose_device(cfg), new_generator(cfg.seed, "free vectors")
    edges = edge_list(graph)
    size = min(cfg.free_batch, edges.shape[1])
    steps = cfg.free_epochs * (edges.shape[1] // size)
    z = (0.1 * torch.randn(graph.shape[0], cfg.components, generator=generator)).to(device).requires_grad_()
    optimizer, history = torch.optim.Adam([z], lr=cfg.free_lr, fused=True), []
    log(f"free vectors: {graph.shape[0]:,} x {cfg.components}, {steps:,} steps, mu {weights[1]:g}, nu {weights[2]:g}")
    for _ in progress(range(cfg.free_epochs), "free vectors"):
        for pairs in edge_batches(edges, size, generator, device):
            optimizer.param_groups[0]["lr"] = cosine_decay(cfg.free_lr, len(history), steps)
            history.append(_free_step(z, pairs, optimizer, weights, cfg))
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
def free_vectors(cfg: Config, graph: ImageGraph) -> dict:
    """VICReg without a network, trained on a graph's edges; computed once.

    vectors: float32 [N, components]; history: the terms of each step [steps, 3]; seconds: that it took.
    UserError if the loss turns NaN or infinite.
    """
    weights = scaled_weights(cfg)
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
class SpectrumResult(NamedTuple):
    """Free vectors against the closed form; r directions should live."""

    predicted: np.ndarray  # variance along each eigenvector [components]
    measured: np.ndarray  # the same of the free vectors
    recovered: np.ndarray  # share [r] of each eigenvector that should live in the r widest directions
    stray: float  # share of the variance that lies outside these eigenvectors


def compare_eigenvectors(cfg: Config, graph: ImageGraph) -> SpectrumResult:
    """Free vectors against the closed form on the same image graph."""
    degree, bottom = graph.graph.sum(axis=1), embed(cfg, graph)
    z, p = free_vectors(cfg, graph)["vectors"].astype(np.float64), degree / degree.sum()
    predicted = optimal_spectrum(2 * bottom.values, scaled_weights(cfg), cfg.gamma, cfg.eps)
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
# ## The graphs and the networks of the table
# The graphs of the three kinds. Two are Q6's. The oracle's is VICReg's, but with the rows of training images taken from
# within their class.


# %%
#| export
def kind_graphs(cfg: Config, images: Images) -> dict[str, ImageGraph]:
    """The graph of training and test images of each kind in `FULL`."""
    base = baseline(cfg)
    vicreg = features(base, images, "vicreg")
    labelled = with_labels(vicreg, images)

    def find(x, k, device):
        numbers = nearest(x, k, device=device).numbers
        numbers[: len(vicreg.train)] = nearest(labelled.train, k, device=device).numbers
        return numbers

    both = np.concatenate([vicreg.train, vicreg.test])
    return {
        "vicreg": control_graph(base, images),
        "untrained": image_graph(cfg, all_pictures(images)),
        "oracle": make_graph(cfg, ["oracle", labelled.identity], lambda: both, find),
    }


# %%
graphs = kind_graphs(cfg, images)
for kind, one in graphs.items():
    share = same_class_edges(one.graph, images)
    print(f"{KINDS[kind]:32}{one.graph.nnz // 2:9,} edges, {share:.1%} of them within a class")

# %% [markdown]
# The networks of the first column, each with its pairs and the same number of epochs:


# %%
#| export
def ladder_runs(cfg: Config, images: Images) -> dict[str, Run]:
    """The network of each kind, after `ladder_epochs`."""
    base = baseline(cfg)
    vicreg = features(base, images, "vicreg")
    parts = (graph_features(cfg, pictures) for pictures in (images.train_images, images.test_images))
    sources = {
        "vicreg": vicreg,
        "untrained": Features(*parts, digest("footnote 3", images.identity, cfg.seed)),
        "oracle": with_labels(vicreg, images),
    }
    short = base.replace(epochs=cfg.ladder_epochs, neighbour_count=cfg.graph_neighbours)
    runs = {kind: run_on_neighbours(short, images, one, f"ladder_{kind}") for kind, one in sources.items()}
    return {"augmentations": trained(short, images)} | runs


# %%
runs = ladder_runs(cfg, images)
assert {len(run.tests) for run in runs.values()} == {cfg.ladder_epochs}
print({kind: duration(run.seconds) for kind, run in runs.items()})

# %% [markdown]
# Now every cell of the table has a representation, and the same probe judges it. For the comparisons it is kept which
# test images each one names rightly.


# %%
#| export
def ladder_cells(cfg: Config, images: Images, graphs: dict) -> dict[tuple[str, str], Features]:
    """{(kind, way): `Features`} of all cells that there are; graphs: those of `kind_graphs`."""
    cells = {(kind, "network"): features_of(cfg, images, run) for kind, run in ladder_runs(cfg, images).items()}
    for kind, graph in graphs.items():
        vectors = free_vectors(cfg, graph)["vectors"]
        cells[kind, "free"] = split_features(images, vectors, digest(graph.identity, "free", vectors))
        cells[kind, "eigenvectors"] = graph_embedding(cfg, images, graph)
    return cells


# %%
cells = ladder_cells(cfg, images, graphs)
assert len(cells) == 1 + len(FULL) * len(WAYS)
for (kind, way), one in cells.items():
    print(f"{KINDS[kind]:32}{WAYS[way]:14}train {one.train.shape}, test {one.test.shape}")

# %% [markdown]
# ## Main effects
# What does a step cost? The *main effect* of the network against eigenvectors is their difference, averaged over the
# kinds of neighbours. It is taken image by image, on the same test images, so that its interval is that of a paired
# difference. The smallest and the largest of the differences that it averages say whether it depends on the kind.

# %%
#| export
STEPS = {  # what is compared along which axis of (kind, way)
    "network_eigenvectors": (1, "network", "eigenvectors"),
    "free_eigenvectors": (1, "free", "eigenvectors"),
    "network_free": (1, "network", "free"),
    "oracle_vicreg": (0, "oracle", "vicreg"),
    "vicreg_untrained": (0, "vicreg", "untrained"),
}


def main_effect(hits: dict, axis: int, one: str, other: str) -> dict:
    """Points by which `one` is ahead of `other` along an axis of {(kind, way): hits [M]}, averaged over the other axis.

    With half its 95 % interval over the test images, `each` of the averaged differences with its own, the smallest and
    the largest of them.
    """
    crossed = WAYS if axis == 0 else FULL
    cells = [[(name, place) if axis == 0 else (place, name) for name in (one, other)] for place in crossed]
    gains = 100 * np.array([hits[first].astype(float) - hits[second] for first, second in cells])
    each = gains.mean(axis=1)
    interval = half_interval(gains.mean(axis=0))
    found = {"points": each.mean(), "interval": interval, "least": each.min(), "most": each.max()}
    own = [{"points": one.mean(), "interval": half_interval(one)} for one in gains]
    return found | {"each": dict(zip(crossed, own, strict=True))}


# %%
random = np.random.default_rng(0)
made = {(kind, way): random.random(4_000) < 0.5 + 0.1 * (way == "free") for kind in FULL for way in WAYS}
for name, step in STEPS.items():
    effect = main_effect(made, *step)
    print(f"{name:22}{effect['points']:+6.1f} ± {effect['interval']:.1f}")
    assert abs(effect["points"] - 10 * (step[1] == "free") + 10 * (step[2] == "free")) < 2 * effect["interval"]

# %% [markdown]
# ## And the network?
# VICReg's own pairs are two views of one image, and its $z$ is a function of a view. Does it obey the theorem? The
# "graph" is then that of all views, which nobody can write down. But among the functions that are linear in $z$ its
# eigenproblem is small. With $K$ the covariance of $z$ over all views, and $K'$ that between the two views of an image,
# the invariance of a direction $w$ is $2\, w^T (K - K') w$, so that
#
# $$K' w = \rho\, K w , \qquad a = 2 (1 - \rho) .$$
#
# Directions are chosen on one half of the images, and measured on the other, since the best of many directions on the
# same images would look better than they are. On the other half they are no longer quite uncorrelated. So they are made
# so again, the most invariant first: else a part of the variance would be counted twice.


# %%
#| export
class ViewSpectrum(NamedTuple):
    """Directions of a network's z, the most invariant first, on images that did not choose them."""

    values: np.ndarray  # a [r]
    measured: np.ndarray  # variance of z along each [r]
    chosen: np.ndarray  # the directions as they were chosen [d, r], of variance 1 on the images that chose them
    promised: np.ndarray  # a [r] of these on those images


# %%
#| export
def _view_covariances(one, other):
    """(K, K') of z over two views [N, d]: of all views, and between the two of an image."""
    mean = (one.mean(axis=0) + other.mean(axis=0)) / 2
    one, other = one - mean, other - mean
    within, between = one.T @ one + other.T @ other, one.T @ other + other.T @ one
    return within / (2 * len(one)), between / (2 * len(one))


def view_spectrum(z: np.ndarray, z2: np.ndarray) -> ViewSpectrum:
    """Of projections [N, d] of two views of each image, by generalised eigenvectors of their two covariances."""
    (spread, between), (spread2, between2) = (_view_covariances(z[place::2], z2[place::2]) for place in (0, 1))
    lengths, axes = np.linalg.eigh(spread)
    kept = lengths > 1e-6 * lengths[-1]  # z may lie in fewer dimensions than it has
    basis = axes[:, kept] / np.sqrt(lengths[kept])
    negative, turn = np.linalg.eigh(-basis.T @ between @ basis)
    chosen = basis @ turn
    root = np.linalg.cholesky(chosen.T @ spread2 @ chosen + 1e-9 * np.eye(len(turn)))
    w = np.linalg.solve(root, chosen.T).T  # uncorrelated on the other half, each by the ones before it
    values = 2 * (1 - np.einsum("ij,ij->j", w, between2 @ w))
    order = np.argsort(values)
    measured = ((spread2 @ w) ** 2).sum(axis=0)
    return ViewSpectrum(values[order], measured[order], chosen, 2 * (1 + negative))


# %%
random, rho = np.random.default_rng(0), np.array([0.9, 0.6, 0.2])
common, apart = random.normal(size=(40_000, 3)), random.normal(size=(2, 40_000, 3))
mix = np.linalg.qr(random.normal(size=(3, 3)))[0] * [[2], [1], [0.5]]  # orthogonal rows of known lengths
one, other = ((np.sqrt(rho) * common + np.sqrt(1 - rho) * part) @ mix for part in apart)
known = view_spectrum(one, other)
np.testing.assert_allclose(known.values, 2 * (1 - rho), atol=0.05)
np.testing.assert_allclose(known.measured, [4, 1, 0.25], rtol=0.1)

# %% [markdown]
# What would the best loss be? The closed form makes a linear layer on top of $z$ from one half of the images, and Eq. 6
# is taken on the other. The layer needs the $u_i$ that give all dimensions one variance. The theorem of Schur and Horn
# says that there are such, and its proof makes them: turn the dimension that has most against the one that has least
# until the first has the mean, and go on with the others.


# %%
#| export
def even_rotation(spectrum: np.ndarray) -> np.ndarray:
    """An orthogonal U [c, c] for which U diag(spectrum) U^T has the same number everywhere on its diagonal."""
    spread, u = np.diag(np.asarray(spectrum, float)), np.eye(len(spectrum))
    left = list(range(len(u)))
    while len(left) > 1:
        over = spread.diagonal()[left] - np.mean(spectrum)
        if over.max() < 1e-12 or over.min() > -1e-12:
            break
        pair = [left[over.argmax()], left[over.argmin()]]
        both = spread[tuple(pair)]
        slope = (both + math.sqrt(both**2 - over.max() * over.min())) / -over.min()
        turn = np.array([[1, slope], [-slope, 1]]) / math.hypot(1, slope)
        spread[pair], u[pair] = turn @ spread[pair], turn @ u[pair]
        spread[:, pair] = spread[:, pair] @ turn.T
        left.remove(pair[0])
    return u


# %%
u = even_rotation(five)
np.testing.assert_allclose(np.diag(u * five @ u.T), five.mean())
np.testing.assert_allclose(u @ u.T, np.eye(5), atol=1e-12)

# %% [markdown]
# The projections are those of the trained network, encoder and projector, from its last checkpoint. Where that has been
# deleted, the question is left out.


# %%
#| export
@torch.inference_mode()
def view_projections(cfg: Config, images: Images, run: Run, most: int = 10_000):
    """z, z' float64 [N, d] of two views of the first `most` training images; None without the run's last.pt."""
    device, networks = choose_device(cfg), load_networks(run)
    if networks is None:
        return None
    networks, generator, parts = networks.to(device), new_generator(cfg.seed, "two views"), []
    for batch in torch.from_numpy(images.train_images[:most]).to(device).split(500):
        views = (make_view(batch, generator, run.cfg.view_size) for _ in range(2))
        parts.append(torch.stack([networks(view).cpu() for view in views]))
    return torch.cat(parts, dim=1).double().numpy()


# %%
run = trained(baseline(cfg), images)
if (views := view_projections(cfg, images, run)) is not None:
    apart = ((views[0] - views[1]) ** 2).mean()
    print(f"z {views[0].shape}; invariance term {apart:.3f}, at the end of training {run.tests[-1, 0]:.3f}")

# %% [markdown]
# Now $z$ against the closed form of its own pairs, and its loss against that of the layer.


# %%
#| export
def judge_views(z: np.ndarray, z2: np.ndarray, cfg: Config) -> tuple[SpectrumResult, dict]:
    """z [N, d] of two views against the closed form, and {"loss", "layer"} on the images that chose no direction.

    And "images", how many there are in all.
    """
    found, weights = view_spectrum(z, z2), scaled_weights(cfg)
    missing = z.shape[1] - len(found.values)

    def best(values):  # no pair has more than 4
        values = np.append(values, np.full(missing, 4.0))
        return optimal_spectrum(values, weights, cfg.gamma, cfg.eps)

    predicted, measured, promised = (
        best(found.values),
        np.append(found.measured, np.zeros(missing)),
        best(found.promised),
    )
    r, halves = len(found.promised), [torch.from_numpy(part[1::2]) for part in (z, z2)]
    layer = torch.from_numpy(found.chosen * np.sqrt(promised[:r]) @ even_rotation(promised)[:, :r].T)
    losses = {"images": len(z)}
    for name, views in {"loss": halves, "layer": [part @ layer for part in halves]}.items():
        losses[name] = vicreg_loss(vicreg_terms(*views, cfg.gamma, cfg.eps), *weights).item()
    alive = predicted > 0
    stray = 1 - measured[alive].sum() / max(1e-12, measured.sum())
    return SpectrumResult(predicted, measured, np.ones(alive.sum()), stray), losses


# %% [markdown]
# Covariances of hundreds of dimensions from thousands of images are estimates, so even a perfect $z$ would seem to miss
# the closed form. By how much is found with a made-up $z$ that meets it, of as many images, with the same invariances.


# %%
#| export
def made_views(values: np.ndarray, spectrum: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Two views [2, count, c] whose z meets the closed form: normal, with this spectrum [c] and a [c]."""
    live = spectrum > 0
    alike = np.clip(1 - values[live] / 2, 0, 1)
    common, *apart = np.random.default_rng([seed, 7]).normal(size=(3, count, live.sum()))
    layer = np.sqrt(spectrum[live]) * even_rotation(spectrum)[:, live]
    return np.stack([(np.sqrt(alike) * common + np.sqrt(1 - alike) * part) @ layer.T for part in apart])


# %%
best = optimal_spectrum(4 * five, (25, 25, 1))
met, losses = judge_views(*made_views(4 * five, best, 20_000, seed), cfg.replace(lam=25.0, mu=25.0, nu=1.0))
least = least_loss(4 * five, best, (25, 25, 1))
print(f"should be {met.predicted.round(2)}, is {met.measured.round(2)}; least {least:.2f}, {losses}")
np.testing.assert_allclose(met.measured, best, atol=0.1)
assert abs(losses["layer"] - least) < 0.5


# %%
#| export
def network_result(cfg: Config, images: Images) -> tuple[tuple, tuple] | None:
    """`judge_views` of VICReg's z, and of a made-up z that meets the closed form; None without its checkpoint."""
    base = baseline(cfg)
    pairs = view_projections(base, images, trained(base, images))
    if pairs is None:
        return None
    own, values = judge_views(*pairs, base), view_spectrum(*pairs).values
    values = np.append(values, np.full(pairs.shape[2] - len(values), 4.0))
    return own, judge_views(*made_views(values, own[0].predicted, pairs.shape[1], base.seed), base)


# %%
if of_network := network_result(cfg, images):
    for name, (obeyed, losses) in zip(("VICReg's z", "made-up z"), of_network, strict=True):
        print(f"{name}: {(obeyed.predicted > 0).sum()} of {len(obeyed.predicted)} directions should live")
        print(f"{obeyed.stray:.1%} of the variance lies outside of them; {losses}")

# %% [markdown]
# ## Does it go where free vectors go?
# The network that is trained on VICReg's neighbours has a graph that can be solved: free vectors would end in its
# eigenvectors. How much of each of them lies in the span of the network's representations? Measured before training,
# after the ladder's epochs, and after as many as Q1 (there with Q5's fewer neighbours, all of them among these). It
# need not get there. A network is one function for all images, and its representation is not yet the projection that
# the loss sees. And if it does, VICReg itself may hold as much: the graph is made of its representation. So VICReg's
# share is measured as well.


# %%
#| export
def longer_features(cfg: Config, images: Images) -> Features | None:
    """Of the network on Q5's pairs for as long as Q1; None where `neighbours_as_long` leaves it out."""
    if not cfg.neighbours_as_long:
        return None
    base = baseline(cfg)
    return features_of(cfg, images, run_on_neighbours(base, images, features(base, images, "vicreg"), "neighbours"))


# %%
as_long = longer_features(cfg, images)
print(f"train {as_long.train.shape}, test {as_long.test.shape}" if as_long else "the longer training is left out")


# %%
#| export
def shares_by_epochs(cfg: Config, images: Images, graph: ImageGraph) -> dict:
    """{epochs on VICReg's neighbours: share [c] of each eigenvector of their graph that lies in the network's span}.

    "vicreg": that of VICReg, which was never trained on neighbours.
    """
    base = baseline(cfg)
    stages = {"vicreg": features(base, images, "vicreg"), 0: untrained_features(base, images, trained(base, images))}
    stages[cfg.ladder_epochs] = features_of(cfg, images, ladder_runs(cfg, images)["vicreg"])
    if as_long := longer_features(cfg, images):
        stages[base.epochs] = as_long
    vectors, p = embed(cfg, graph).vectors, pair_problem(graph.graph, "edges")[1][0]
    spans = {epochs: np.concatenate([one.train, one.test]).astype(float) for epochs, one in stages.items()}
    return {epochs: recovered_share(y, vectors, p) for epochs, y in spans.items()}


# %%
for epochs, shares in shares_by_epochs(cfg, images, graphs["vicreg"]).items():
    print(f"{epochs:>6} epochs: {shares[:10].mean():.1%} of the first ten eigenvectors, {shares.mean():.1%} of all")
    assert 0 <= shares.min() and shares.max() < 1 + 1e-9

# %% [markdown]
# ## Which lambda?
# Balestriero and LeCun predict a large $\lambda$ for pairs that fit the task when data are few, and a small one for
# pairs that do not fit. Here the probe has the labels of all training images, and VICReg's neighbours fit in part, so
# this is only near to their case. With the closed form it needs no training: for each $\lambda$ the best free vectors
# are known. A random rotation stands for the $u_i$, which the loss leaves open up to equal variances. As long as all
# directions live, the vectors span one and the same space: a linear probe, which may scale and turn them, can hardly
# tell such $\lambda$ apart.

# %%
#| export
LAMBDAS = (0.04, 0.2, 1.0, 5.0, 25.0)  # times the exercise's
FITTING = ("oracle", "vicreg")  # kinds of neighbours: pairs that fit the classes, and Q5's


def best_vectors(cfg: Config, images: Images, graph: ImageGraph, times: float) -> tuple[Features, int]:
    """The closed form's free vectors with lambda `times` the exercise's, and how many of their directions live."""
    base, found = baseline(cfg), embed(cfg, graph)
    weights = (times * base.lam, base.mu, base.nu)
    spectrum = optimal_spectrum(2 * found.values, weights, base.gamma, base.eps)
    rotation = np.linalg.qr(np.random.default_rng([cfg.seed, 6]).normal(size=(len(spectrum),) * 2))[0]
    vectors = found.vectors * np.sqrt(spectrum) @ rotation
    identity = digest(graph.identity, "closed form", times, cfg.components, cfg.seed)
    return split_features(images, vectors, identity), int((spectrum > 0).sum())


def probe_by_lambda(cfg: Config, images: Images, graphs: dict) -> dict[str, list[tuple]]:
    """{kind of `FITTING`: for each of `LAMBDAS` the closed form's `Probe`, and how many of its directions live}."""
    rows = {}
    for kind in FITTING:
        made = (best_vectors(cfg, images, graphs[kind], times) for times in LAMBDAS)
        rows[kind] = [(linear_probe(cfg, one, images), lives) for one, lives in made]
    return rows


# %%
one, lives = best_vectors(cfg, images, graphs["vicreg"], 1.0)
print(f"{lives} directions live; rank {np.linalg.matrix_rank(one.train - one.train.mean(axis=0), tol=1e-2)}")

# %% [markdown]
# And all together: the small graph, the spectra in batches, the table.

# %%
#| export
steps_down = Question("ladder", "The ladder, with the missing step", "Section 3.2, beyond Question 6")


@steps_down.result
def compare_ladder(cfg: Config, images: Images) -> dict:
    """Free vectors against the closed form on three sets of images, and all cells of the ladder."""
    kinds, part = kind_graphs(cfg, images), image_graph(cfg, images.train_images[: cfg.graph_size])
    whole = kinds["untrained"]  # Q6's graph
    longer = cfg.replace(free_epochs=cfg.free_epochs * max(1, whole.graph.nnz // part.graph.nnz))
    probes = {cell: linear_probe(cfg, one, images) for cell, one in ladder_cells(cfg, images, kinds).items()}
    as_long = longer_features(cfg, images)
    return {
        "cfg": cfg, "classes": images.classes,
        "exact": solve_exactly(cfg, images) | {"images": cfg.exact_size},
        "part": compare_eigenvectors(longer, part),
        "whole": compare_eigenvectors(cfg, whole),
        "sizes": [one.graph.shape[0] for one in (part, whole)],
        "probes": probes,
        "top": linear_probe(cfg, features(baseline(cfg), images, "vicreg"), images),
        "longer": as_long and linear_probe(cfg, as_long, images),
        "network": network_result(cfg, images),
        "shares": shares_by_epochs(cfg, images, kinds["vicreg"]),
        "lambdas": probe_by_lambda(cfg, images, kinds),
        "edges": {kind: same_class_edges(one.graph, images) for kind, one in kinds.items()},
    }  # fmt: skip


# %%
result = steps_down.compute(cfg, images)
for (kind, way), probe in result["probes"].items():
    print(f"{KINDS[kind]:32}{WAYS[way]:14}{probe.accuracy:.1%} ± {probe.interval:.1%}")

# %% [markdown]
# ## The ladder
# One strand for each kind of neighbours. A strand that runs level says that it does not matter for these neighbours how
# the vectors are found; strands far apart say that the neighbours decide.


# %%
#| export
def _name_point(ax, x, y, name, colour):
    ax.annotate(name, (x, y), (8, 0), textcoords="offset points", va="center", fontsize=8, color=colour)


def _epochs(count):
    return f"{count} epoch{'s' if count > 1 else ''}"


STARS = (  # networks of full length: kind, where its probe is, title, how far above it
    ("augmentations", "top", "VICReg", 9),
    ("vicreg", "longer", "VICReg's neighbours", 4),
)

# %%
assert (_epochs(1), _epochs(2)) == ("1 epoch", "2 epochs")


# %%
#| export
@steps_down.figure(
    "One strand for each kind of neighbours, from a network down to eigenvectors: the linear probe on the test images, "
    "with 95 % intervals over these images (smaller than the dots). Stars: networks that were trained for as long as "
    "VICReg."
)
def ladder(result: dict) -> Drawing:
    (fig, ax), cfg = new_figure(width=5.6, height=2.9), result["cfg"]
    for shift, (kind, title) in zip((0, -0.02, 0, 0.02), KINDS.items(), strict=True):
        ways = [way for way in WAYS if (kind, way) in result["probes"]]
        probes = [result["probes"][kind, way] for way in ways]
        place = np.array([list(WAYS).index(way) for way in ways]) + shift
        heights, bars = 100 * np.array([(probe.accuracy, probe.interval) for probe in probes]).T
        ax.errorbar(place, heights, bars, fmt="o-", markersize=4, color=KIND_COLOURS[kind])
        _name_point(ax, place[-1], heights[-1] + {"oracle": 2, "vicreg": -2}.get(kind, 0), title, KIND_COLOURS[kind])
    for kind, name, title, above in STARS:
        if result[name]:
            top = 100 * result[name].accuracy
            ax.plot(0.01 * (above - 6), top, "*", markersize=9, color=KIND_COLOURS[kind], zorder=3)
            _name_point(ax, 0, top + above, f"{title}, {_epochs(cfg.epochs)}", KIND_COLOURS[kind])
    chance = 100 / len(result["classes"])
    ax.plot((0, len(WAYS) - 1), (chance, chance), ":", color="#777777")
    _name_point(ax, len(WAYS) - 1, chance, "chance", "#777777")
    ax.set_xticks(range(len(WAYS)), [f"network,\n{_epochs(cfg.ladder_epochs)}", *list(WAYS.values())[1:]])
    ax.set(ylabel="linear probe / %", xlim=(-0.15, len(WAYS) - 0.9), ylim=(0, ax.get_ylim()[1] + 8))
    return Drawing(fig)


# %%
ladder(result)

# %% [markdown]
# ## Prediction and measurement
# Lines are the closed form, points are measured. Nothing in the lines was fitted: they come from the graph's
# eigenvalues and the three weights.


# %%
#| export
def _draw_small(ax, exact):
    scales, curve = exact["curve"]
    for place, mark in enumerate("os^"):
        colour = METHOD_COLOURS[place]
        ax.plot(scales, curve[:, place], color=colour)
        ax.plot(SCALES, exact["measured"][:, place], mark, markersize=4, color=colour, label=f"eigenvector {place + 1}")
    ax.set(xscale="log", xlabel="$\\mu$ and $\\nu$, times this run's", ylabel="variance along it")
    ax.set_xticks(SCALES, [f"{scale:g}" for scale in SCALES])
    ax.minorticks_off()
    ax.set_ylim(top=1.4 * curve.max())  # room for the legend
    ax.legend(fontsize=7, loc="upper right")


def _draw_spectrum(ax, one, label="free vectors"):
    """On a scale that is logarithmic above 0.01 and has room for 0."""
    number = np.arange(1, len(one.predicted) + 1)
    ax.plot(number, one.predicted, color=METHOD_COLOURS[1], label="closed form")
    ax.plot(number, one.measured, ".", markersize=3, color=METHOD_COLOURS[0], label=label)
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.4)
    ax.set(xlabel="number of the eigenvector", ylim=(-0.0005, None))
    ax.legend(fontsize=7)


# %%
fig, (left, right) = new_figure(1, 2, width=5.6, height=2.5)
_draw_small(left, exact)
_draw_spectrum(right, found)
Drawing(fig)


# %%
#| export
@steps_down.figure(
    "Points, which are trained, against lines, to which nothing was fitted: the variance of free vectors along each "
    "eigenvector, and the closed form. Graphs of the random CNN's neighbours. Left: where the weights are a tenth, the "
    "hinge is not worth its price."
)
def ladder_spectrum(result: dict) -> Drawing:
    fig, axes = new_figure(1, 3, height=2.5)
    _draw_small(axes[0], result["exact"])
    _draw_spectrum(axes[1], result["part"])
    _draw_spectrum(axes[2], result["whole"])
    sizes = result["exact"]["images"], *result["sizes"]
    for ax, size, how in zip(axes, sizes, ("all pairs", "batches", "batches"), strict=True):
        ax.set_title(f"{size:,} images, {how}")
    return Drawing(fig)


# %%
ladder_spectrum(result)

# %% [markdown]
# The same of VICReg's network, and the probe over $\lambda$:


# %%
#| export
@steps_down.figure(
    "Left: is VICReg's own z spread as the closed form says? Its variance along the directions that two views share "
    "most (at the end, directions that z does not use). "
    "Right: what does a large λ cost? The linear probe of the closed form's vectors; numbers are the directions that "
    "live."
)
def ladder_network(result: dict) -> Drawing:
    fig, (left, right) = new_figure(1, 2, width=6.2, height=2.6)
    if result["network"]:
        _draw_spectrum(left, result["network"][0][0], "VICReg's z")
        left.set(xlabel="direction, most invariant first", ylabel="variance along it")
    for kind, rows in result["lambdas"].items():
        style = {"fmt": "o-", "markersize": 4, "color": KIND_COLOURS[kind], "label": KINDS[kind]}
        points = 100 * np.array([(probe.accuracy, probe.interval) for probe, _ in rows])
        right.errorbar(LAMBDAS, *points.T, **style)
        for times, (probe, lives) in zip(LAMBDAS, rows, strict=True):
            place = {"va": "bottom", "xytext": (0, 4)} if kind == "oracle" else {"va": "top", "xytext": (0, -5)}
            text = {"fontsize": 7, "color": KIND_COLOURS[kind], "ha": "center", "textcoords": "offset points"}
            right.annotate(f"{lives}", (times, 100 * probe.accuracy), **place, **text)
    right.set(xscale="log", xlabel="$\\lambda$, times the exercise's", ylabel="linear probe / %")
    right.set_ylim(0, 1.25 * right.get_ylim()[1])  # room for the legend
    right.set_xticks(LAMBDAS, [f"{times:g}" for times in LAMBDAS])
    right.minorticks_off()
    right.legend(fontsize=7)
    return Drawing(fig)


# %%
ladder_network(result)

# %% [markdown]
# And which Laplacian? Each way of drawing against each: small on the diagonal, or the derivation is wrong. The last row
# has no Laplacian of its own.


# %%
#| export
@steps_down.figure(
    "Largest angle in degrees between free vectors, by the way their pairs are drawn, and the eigenvectors of each "
    "Laplacian, on the small graph.",
    aside=True,
)
def ladder_angles(result: dict) -> Drawing:
    table = result["exact"]["table"]
    fig, ax = new_figure(width=3.4, height=2.1)
    ax.imshow(np.log10(table + 0.01), cmap="Purples", vmin=-2, vmax=2, aspect="auto")
    for i, j in np.ndindex(table.shape):
        style = {"fontweight": "bold" if i == j else "normal", "color": "white" if table[i, j] > 1 else "#222222"}
        text = f"{table[i, j]:.0e}" if table[i, j] < 0.05 else f"{table[i, j]:.1f}"
        ax.text(j, i, text, ha="center", va="center", fontsize=8, **style)
    ax.set(xticks=range(len(SAMPLINGS)), yticks=range(len(DRAWN)), xticklabels=SAMPLINGS, yticklabels=DRAWN)
    ax.set(xlabel="Laplacian of", ylabel="drawn by")
    ax.grid(False)
    return Drawing(fig)


# %%
ladder_angles(result)

# %% [markdown]
# ## In numbers
# First those of the closed form, then all.


# %%
#| export
def _upper(value):
    """The least number of one digit that is not below `value`, so that it can be told as a bound."""
    digit = 10.0 ** np.floor(np.log10(max(value, 1e-300)))
    return digit * np.ceil(value / digit)


def _spectrum_numbers(one):
    r = len(one.recovered)
    return {
        "alive": r, "of": len(one.predicted), "recovered": one.recovered.mean() if r else 1.0, "stray": one.stray,
        "predicted_first": one.predicted[0], "measured_first": one.measured[0],
        "smallest_part": (one.measured / one.predicted.clip(1e-9))[: r // 2 + 1].min(),  # in the wider half
        "error": abs(one.measured - one.predicted).sum() / one.predicted.sum() if r else 0.0,
    }  # fmt: skip


def _network_numbers(network):
    own, made = (_spectrum_numbers(found) | losses for found, losses in network)
    return own | {"made": made}


# %%
assert f"{_upper(4.49e-6):.0e} {_upper(8e-5):.0e}" == "5e-06 8e-05"


# %%
#| export
def _exact_numbers(cfg, exact):
    own, other = np.eye(len(DRAWN), len(SAMPLINGS), dtype=bool), ~np.eye(len(SAMPLINGS), dtype=bool)
    table = exact["table"]
    return {
        "images": cfg.exact_size, "dims": EXACT_DIMS, "chosen": float(exact["chosen"]), "scales": SCALES,
        "table": dict(zip(DRAWN, table, strict=True)), "largest_own": _upper(table[own].max()),
        "largest_other": table[:3][other].max(),
        "smallest_other": table[:3][other].min(), "q5": table[3, SAMPLINGS.index("walk")],
        "alive": (exact["predicted"] > 0).sum(axis=1), "largest_angle": _upper(exact["angle"].max()),
        "largest_excess": _upper(abs(exact["excess"]).max()),
        "largest_error": _upper(abs(exact["measured"] - exact["predicted"]).max()),
        "proven": cfg.mu >= 8 * cfg.nu * cfg.gamma**3,
    }  # fmt: skip


# %%
print(_spectrum_numbers(result["whole"]))
if of_network:
    print({name: _network_numbers(of_network)[name] for name in ("error", "made")})
perfect = SpectrumResult(np.ones(16), np.ones(16), np.ones(16), 0.0)
assert _spectrum_numbers(perfect)["error"] == 0 and _spectrum_numbers(perfect)["alive"] == 16


# %%
#| export
def _lambda_numbers(lambdas):
    """as_good: the smallest and the largest lambda whose probe is not measurably below the best one.

    Where one between them is below it, they are no range: then as_good holds all, which has no order with any other.
    """
    numbers = {"range": (LAMBDAS[0], LAMBDAS[-1])}
    for kind, rows in lambdas.items():
        probes = [probe for probe, _ in rows]
        best = int(np.argmax([probe.accuracy for probe in probes]))
        behind = [gain(probes[best], probe) for probe in probes]
        good = [place for place, one in enumerate(behind) if one["points"] <= one["interval"]]
        good = [LAMBDAS[place] for place in good] if good[-1] - good[0] < len(good) else LAMBDAS
        lost = probes[best].accuracy - probes[-1].accuracy
        numbers[kind] = {"best": LAMBDAS[best], "accuracy": probes[best].accuracy, "lost": lost, "points": 100 * lost}
        numbers[kind] |= {"widest": max(probe.interval for probe in probes), "as_good": (good[0], good[-1])}
        numbers[kind]["alive_last"] = rows[-1][1]
    return numbers


# %%
from vicreg_nb.representations import Probe

hits = [np.arange(1_000) < right for right in (600, 601, 598, 400, 200)]
made = [(Probe(one.mean(), 1.0, np.eye(10), np.ones(10), half_interval(one), one), 8) for one in hits]
known = _lambda_numbers({"oracle": made})["oracle"]
assert known["best"] == LAMBDAS[1] and known["as_good"] == (LAMBDAS[0], LAMBDAS[2]) and known["points"] > 40
gap = _lambda_numbers({"oracle": [made[place] for place in (1, 3, 0, 3, 4)]})["oracle"]
assert gap["as_good"] == (LAMBDAS[0], LAMBDAS[-1])
print(_lambda_numbers(result["lambdas"]))


# %%
#| export
def _share_numbers(shares):
    parts = {name: [one[:count].mean() for one in shares.values()] for name, count in (("first", 10), ("all", None))}
    steps = [np.diff(values[1:]) for values in parts.values()]
    facts = {"rising": bool(np.min(steps) > 0), "longest": list(shares)[-1]}
    names, more = ("vicreg", "start", "short"), 100 * (shares[facts["longest"]] - shares["vicreg"])
    for name, values in parts.items():
        own = more[: 10 if name == "first" else None]
        facts[name] = dict(zip(names, values, strict=False)) | {"end": values[-1]}
        facts[name]["over_vicreg"] = {"points": own.mean(), "interval": half_interval(own)}
    return facts


# %%
print(_share_numbers(result["shares"]))
known = _share_numbers(
    {"vicreg": np.full(12, 0.7), 0: np.full(12, 0.1), 1: np.full(12, 0.2), 9: np.append(np.full(10, 0.9), [0.3, 0.3])}
)
assert known["rising"] and known["longest"] == 9 and abs(known["all"]["end"] - 0.8) < 1e-12


# %%
#| export
def _longer_numbers(longer, top, eigenvectors):
    """A network on VICReg's neighbours for as long as VICReg, between eigenvectors and VICReg; of None without it."""
    if longer is None:
        missing = {"points": None, "interval": None}
        return {"accuracy": None, "interval": None, "over_eigenvectors": missing, "views": missing}
    steps = {"over_eigenvectors": gain(longer, eigenvectors), "views": gain(top, longer)}
    return {"accuracy": longer.accuracy, "interval": longer.interval} | steps


# %%
three = [made[place][0] for place in (2, 1, 3)]
known = _longer_numbers(*three)
both = known["over_eigenvectors"]["points"] + known["views"]["points"]
assert abs(both - 100 * (three[1].accuracy - three[2].accuracy)) < 1e-9
assert _longer_numbers(None, *three[1:])["views"]["points"] is None


# %%
#| export
@steps_down.summary
def _numbers(result):
    cells = {kind: {} for kind in KINDS}
    for (kind, way), probe in result["probes"].items():
        cells[kind][way] = {"accuracy": probe.accuracy, "interval": probe.interval}
    hits, cfg = {cell: probe.hits for cell, probe in result["probes"].items()}, result["cfg"]
    steps = {name: main_effect(hits, *step) for name, step in STEPS.items()}
    views = hits["augmentations", "network"].astype(float) - hits["vicreg", "network"]
    steps["views_neighbours"] = {"points": 100 * views.mean(), "interval": 100 * half_interval(views)}
    network = result["network"]
    return {
        "network": _network_numbers(network) if network else None,
        "shares": _share_numbers(result["shares"]),
        "lambdas": _lambda_numbers(result["lambdas"]),
        "cells": cells, "free": cells["untrained"]["free"], "edges": result["edges"],
        "steps": steps,
        "vicreg": {"accuracy": result["top"].accuracy, "interval": result["top"].interval},
        "longer": _longer_numbers(result["longer"], result["top"], result["probes"]["vicreg", "eigenvectors"]),
        "epochs": cfg.ladder_epochs, "epochs_text": _epochs(cfg.ladder_epochs),
        "full_epochs": cfg.epochs, "chance": 1 / len(result["classes"]), "dims": [cfg.projection_dim, cfg.encoder_dim],
        "neighbours": cfg.graph_neighbours, "few": cfg.neighbour_count, "components": cfg.components,
        "exact": _exact_numbers(cfg, result["exact"]),
        "part": _spectrum_numbers(result["part"]) | {"images": result["sizes"][0]},
        "whole": _spectrum_numbers(result["whole"]) | {"images": result["sizes"][1]},
    }  # fmt: skip


# %%
numbers = _numbers(result)
print({name: f"{step['points']:+.1f} ± {step['interval']:.1f}" for name, step in numbers["steps"].items()})

# %% [markdown]
# ## In words


# %%
#| export
@steps_down.table
def _table(n):
    def text(kind, way):
        cell = n["cells"][kind].get(way)
        return f"{cell['accuracy']:.1%} ± {cell['interval']:.1%}" if cell else "–"

    rows = [[title, *(text(kind, way) for way in WAYS)] for kind, title in KINDS.items()]
    caption = f"""The ladder: linear probe on the test images. {n.neighbours} neighbours of each image; networks after
        {_epochs(n.epochs)}. Augmentations have no table of vectors: a view is never drawn
        twice. {OVER_IMAGES}"""
    return {"caption": " ".join(caption.split()), "header": ["neighbours", *WAYS.values()], "rows": rows}


# %%
for table in steps_down.tables:
    for row in table(Numbers(numbers))["rows"]:
        print(" | ".join(row))

# %% [markdown]
# What the table says: first the neighbours, then the way.


# %%
#| export
def _more(step):
    """Whether each of the differences that a main effect averages is measurably above 0."""
    return all(one["points"] > one["interval"] for one in step.each.values())


def _weight(n):
    """The smallest effect of neighbours, VICReg's against a random CNN's, beside the largest of the ways."""
    ways = [abs(one["points"]) for name in list(STEPS)[:3] for one in n.steps[name].each.values()]
    return min(one["points"] for one in n.steps.vicreg_untrained.each.values()) / max(1e-9, *ways)


_NEIGHBOURS_FIRST = """VICReg's neighbours instead of the random CNN's are worth {steps.vicreg_untrained.points:+.1f} ±
    {steps.vicreg_untrained.interval:.1f} points on average over a network, free vectors and eigenvectors,
    {steps.vicreg_untrained.least:+.1f} at the least and {steps.vicreg_untrained.most:+.1f} at the most. A network of
    {epochs_text} instead of eigenvectors is worth {steps.network_eigenvectors.each.vicreg.points:+.1f} ±
    {steps.network_eigenvectors.each.vicreg.interval:.1f} points on VICReg's neighbours,
    {steps.network_eigenvectors.each.untrained.points:+.1f} ±
    {steps.network_eigenvectors.each.untrained.interval:.1f} on the random CNN's and
    {steps.network_eigenvectors.each.oracle.points:+.1f} ± {steps.network_eigenvectors.each.oracle.interval:.1f} on the
    oracle's. (It is more than amortisation: the network draws an image and one of its own nearest, sees no test image,
    the loss asks it for {dims[0]} dimensions, and the probe sees the {dims[1]} below them.)"""

# %%
whole = {"points": 0.0, "interval": 1.0}  # a mean that its parts cancel in
cases = {
    name: {"each": dict.fromkeys(WAYS if axis == 0 else FULL, {"points": 5.0, "interval": 1.0})} | whole
    for name, (axis, *_) in STEPS.items()
}
cases["free_eigenvectors"]["each"] = {kind: whole | {"points": p} for kind, p in zip(FULL, (30, -30, 0), strict=True)}
case = plain_numbers({"steps": cases})
assert _weight(case) == 5 / 30 and _more(case.steps.oracle_vicreg) and not _more(case.steps.free_eigenvectors)

# %% [markdown]
# There is a claim for each outcome: the neighbours matter more, or the network, or neither does everywhere.


# %%
#| export
def _heavier(n):
    """What matters more, wherever it is measured: "neighbours", "network" or neither."""
    if _more(n.steps.vicreg_untrained) and _weight(n) > 1:
        return "neighbours"
    return "network" if _more(n.steps.network_eigenvectors) and _weight(n) < 1 else "neither"


steps_down.says(
    "**It is the neighbours more than the network.** " + _NEIGHBOURS_FIRST, lambda n: _heavier(n) == "neighbours"
)
steps_down.says(
    "**A network instead of eigenvectors gains on all three kinds of neighbours.** " + _NEIGHBOURS_FIRST,
    lambda n: _heavier(n) == "network",
)
steps_down.says(_NEIGHBOURS_FIRST, lambda n: _heavier(n) == "neither")

# %% [markdown]
# Then the oracle, and generated views.

# %%
#| export
_RIGHT_CLASS = """: {{steps.oracle_vicreg.points:+.1f}} ± {{steps.oracle_vicreg.interval:.1f}} points over VICReg's
    ({each}). Of the edges {{edges.untrained:.1%}} join two images of one class in the random CNN's graph,
    {{edges.vicreg:.1%}} in VICReg's, {{edges.oracle:.1%}} in the oracle's, whose test images have no labels.""".format(
    each=", ".join(
        f"{title} {{steps.oracle_vicreg.each.{way}.points:+.1f}} ± {{steps.oracle_vicreg.each.{way}.interval:.1f}}"
        for way, title in WAYS.items()
    )
)
steps_down.says(
    "Neighbours of the right class are worth more still, on average" + _RIGHT_CLASS,
    lambda n: n.steps.oracle_vicreg.points > n.steps.oracle_vicreg.interval,
)
steps_down.says(
    "Neighbours of the right class are not measurably worth more, on average" + _RIGHT_CLASS,
    lambda n: n.steps.oracle_vicreg.points <= n.steps.oracle_vicreg.interval,
)

# %%
#| export
_VIEWS = """After {{epochs_text}} a network on augmentations reaches {{cells.augmentations.network.accuracy:.1%}} and
    {verb} one on VICReg's neighbours ({{cells.vicreg.network.accuracy:.1%}}; {{steps.views_neighbours.points:+.1f}} ±
    {{steps.views_neighbours.interval:.1f}} points); but to find these neighbours took {{full_epochs}} epochs of
    augmentations."""
steps_down.says(
    _VIEWS.format(verb="stays below"),
    lambda n: n.steps.views_neighbours.points < -n.steps.views_neighbours.interval,
)
steps_down.says(
    _VIEWS.format(verb="is ahead of"),
    lambda n: n.steps.views_neighbours.points > n.steps.views_neighbours.interval,
)
steps_down.says(
    _VIEWS.format(verb="does not measurably differ from"),
    lambda n: abs(n.steps.views_neighbours.points) <= n.steps.views_neighbours.interval,
)

# %% [markdown]
# The step between free vectors and eigenvectors:


# %%
#| export
def _alike(step):
    """Whether neither a main effect nor any of the differences that it averages can be told from 0."""
    return all(abs(one["points"]) <= one["interval"] for one in (step, *step.each.values()))


steps_down.says(
    """Between free vectors and eigenvectors there is no measurable difference on any kind of neighbours (mean
    {steps.free_eigenvectors.points:+.2f} ± {steps.free_eigenvectors.interval:.2f} points).""",
    lambda n: _alike(n.steps.free_eigenvectors),
)
steps_down.says(
    """Free vectors reach {steps.free_eigenvectors.points:+.1f} ± {steps.free_eigenvectors.interval:.1f} points against
    eigenvectors on average, on single kinds of neighbours {steps.free_eigenvectors.least:+.1f} at the least and
    {steps.free_eigenvectors.most:+.1f} at the most.""",
    lambda n: not _alike(n.steps.free_eigenvectors),
)

# %%
assert _alike(plain_numbers(whole | {"each": {}})) and not _alike(case.steps.free_eigenvectors)

# %% [markdown]
# And a network that is trained longer? Q5's, where it was trained for as long as VICReg, stands between eigenvectors of
# VICReg's graph and VICReg itself. From the eigenvectors it differs in more than amortisation, and that is said. There
# is a claim for each outcome:

# %%
#| export
_LONGER = """Trained for as long as VICReg ({full_epochs} epochs), Q5's network on VICReg's neighbours reaches
    {longer.accuracy:.1%}. It has {few} neighbours of each image, the graph {neighbours}; it also draws pairs another
    way, and sees no test image. Such a network is """


def _step(n, name):
    """1 where a step of the longer network is measurably up, -1 where down, 0 where neither; None without it."""
    step = n.longer[name]
    if step["points"] is None:
        return None
    return int(np.sign(step["points"])) if abs(step["points"]) > step["interval"] else 0


# %%
cases = [Numbers({"longer": {"views": {"points": points, "interval": 1.0}}}) for points in (-3, 0.5, 3, None)]
assert [_step(one, "views") for one in cases] == [-1, 0, 1, None]

# %%
#| export
steps_down.says(
    _LONGER
    + """{longer.over_eigenvectors.points:.1f} ± {longer.over_eigenvectors.interval:.1f} points ahead of eigenvectors
    of VICReg's graph; amortisation alone was not measured.""",
    lambda n: _step(n, "over_eigenvectors") == 1,
)
steps_down.says(
    _LONGER
    + """not measurably ahead of eigenvectors of VICReg's graph ({longer.over_eigenvectors.points:+.1f} ±
    {longer.over_eigenvectors.interval:.1f} points).""",
    lambda n: _step(n, "over_eigenvectors") == 0,
)
steps_down.says(
    _LONGER
    + """behind eigenvectors of VICReg's graph ({longer.over_eigenvectors.points:+.1f} ±
    {longer.over_eigenvectors.interval:.1f} points).""",
    lambda n: _step(n, "over_eigenvectors") == -1,
)

# %% [markdown]
# And from there to VICReg:

# %%
#| export
_LAST = """ ({longer.views.points:+.1f} ± {longer.views.interval:.1f} points; VICReg reaches {vicreg.accuracy:.1%})."""
steps_down.says("Generated views in place of neighbours add to this network" + _LAST, lambda n: _step(n, "views") == 1)
steps_down.says(
    "Generated views in place of neighbours add nothing measurable to this network" + _LAST,
    lambda n: _step(n, "views") == 0,
)
steps_down.says("Generated views in place of neighbours lose some of this" + _LAST, lambda n: _step(n, "views") == -1)

# %% [markdown]
# Is the derivation right? On the small graph it could have failed: with a smaller loss than the least one, another
# spectrum, the wrong Laplacian, or no subspace at all.

# %%
#| export
steps_down.says(
    """**Free vectors arrive where the closed form says.** On {exact.images} images, in {exact.dims} dimensions, at
    {exact.scales[0]:g} to {exact.scales[4]:g} times this run's $\\mu$ and $\\nu$, the loss that descent finds is above
    the least one by {exact.largest_excess:.0e} of it at most, the variances along the eigenvectors are within
    {exact.largest_error:.0e} of the predicted ones, and the directions within {exact.largest_angle:.0e} degrees of the
    eigenvectors. How many directions are worth their invariance changes with the weights: {exact.alive[0]},
    {exact.alive[1]}, {exact.alive[2]}, {exact.alive[3]} and {exact.alive[4]} of {exact.dims}.""",
    lambda n: (
        n.exact.proven
        and n.exact.largest_excess < 1e-6
        and n.exact.largest_error < 0.01
        and n.exact.largest_angle < 0.01
    ),
)
steps_down.says(
    """The graph decides which directions, by the way its pairs are drawn. Three ways were tried: edges evenly; an image
    evenly, then a neighbour, in either order; edges, with the images weighted evenly. Each ends within
    {exact.largest_own:.0e} degrees of the eigenvectors of its own Laplacian, and {exact.smallest_other:.1f} to
    {exact.largest_other:.1f} degrees from those of the other two. Edges give Laplacian Eigenmaps. A way like Q5's, an
    image and then a neighbour in this order, has two covariance matrices, and so no eigenproblem of this kind; it ends
    {exact.q5:.1f} degrees from the second way.""",
    lambda n: n.exact.largest_own < min(0.01, n.exact.smallest_other / 10) and n.exact.q5 > 10 * n.exact.largest_own,
)

# %% [markdown]
# And in batches, on real graphs:


# %%
#| export
def _some_dry(n):
    """Whether on both graphs fewer directions should live than there are dimensions."""
    return all(one.alive < one.of for one in (n.part, n.whole))


steps_down.says(
    """On the random CNN's graphs this run's weights leave fewer directions than there are dimensions: about
    {part.alive} of {part.of} should live on {part.images:,} images, and {whole.alive} on {whole.images:,}. As many
    widest directions of free vectors that are trained in batches hold {part.recovered:.1%} and {whole.recovered:.1%} of
    the squared length of the eigenvectors that should live.""",
    lambda n: n.exact.proven and _some_dry(n),
)
steps_down.says(
    """Outside of these eigenvectors lie {part.stray:.1%} and {whole.stray:.1%} of all variance, where the exact loss of
    the small graph leaves none: noise of the batches, or not yet removed by training. So counting directions by their
    spread gives too many.""",
    lambda n: _some_dry(n) and all(0 < one.stray < 0.2 for one in (n.part, n.whole)) and n.exact.largest_error < 0.01,
)
steps_down.says(
    """On {whole.images:,} images some eigenvectors stay far below their line: one of the wider half has only
    {whole.smallest_part:.0%} of its predicted variance. Why, was not looked into.""",
    lambda n: n.exact.proven and n.whole.smallest_part < 0.7,
)

# %% [markdown]
# The network. There is a claim for both ways in which it can come out. How far the made-up $z$ seems to be from the
# closed form is what the estimate alone gives.

# %%
#| export
_NETWORK = """The same can be asked of VICReg's own network, on two views of each of the first {network.images:,}
    training images, with directions that are chosen on one half of these and measured on the other. About
    {network.alive} of {network.of} should live. The variances of $z$ along them differ from the closed form's by
    {network.error:.0%} of their sum, where a made-up $z$ that meets it would seem to differ by
    {network.made.error:.0%}. """


def _missed(n):
    """Whether z is farther from the closed form than the estimate explains."""
    return n.network.error > n.network.made.error + 0.1


steps_down.says(
    _NETWORK + "So the network is near the closed form.", lambda n: n.network is not None and not _missed(n)
)
steps_down.says(_NETWORK + "So the network is not there.", lambda n: n.network is not None and _missed(n))

# %%
#| export
_LAYER = """ the loss of the second: it is {network.loss:.1f} with $z$ itself, and {network.layer:.1f} with the layer.
    (With the made-up $z$, to which a layer can add nothing, {network.made.loss:.1f} and {network.made.layer:.1f}.)"""


def _flat(n):
    """Whether z is far from the closed form, and yet costs little more than what a layer makes of it."""
    return n.network is not None and _missed(n) and abs(n.network.layer / n.network.loss - 1) < 0.1


steps_down.says(
    "A linear layer on top of $z$ that the closed form makes from the first half lowers" + _LAYER,
    lambda n: n.network is not None and n.network.layer < n.network.loss,
)
steps_down.says(
    "A linear layer on top of $z$ that the closed form makes from the first half does not lower" + _LAYER,
    lambda n: n.network is not None and n.network.layer >= n.network.loss,
)
steps_down.says("So spectra that are far apart can cost nearly the same.", _flat)

# %%
cases = [{"error": error, "made": {"error": 0.1}, "loss": 20.0, "layer": 19.0} for error in (0.15, 0.4)]
cases.append(cases[1] | {"layer": 15.0})
assert [_flat(plain_numbers({"network": one})) for one in cases] == [False, True, False]

# %% [markdown]
# And the network on neighbours. Whether it holds more of the eigenvectors than VICReg is judged by the difference,
# paired over the eigenvectors:

# %%
#| export
_SHARES = """Free vectors would end in the eigenvectors of VICReg's graph. Of the squared length of the first ten of
    them {shares.first.start:.0%} lies in the span of the untrained network's representations, {shares.first.short:.0%}
    after {epochs_text} of training on VICReg's neighbours and {shares.first.end:.0%} after {shares.longest}; of all
    {components} it is {shares.all.start:.0%}, {shares.all.short:.0%} and {shares.all.end:.0%}. VICReg itself, of whose
    representation the graph is made, has {shares.first.vicreg:.0%} and {shares.all.vicreg:.0%}. The difference between
    the network on neighbours and VICReg is {shares.first.over_vicreg.points:+.1f} ±
    {shares.first.over_vicreg.interval:.1f} points of the first, and {shares.all.over_vicreg.points:+.1f} ±
    {shares.all.over_vicreg.interval:.1f} of all."""


def _learned(n):
    """Whether training on neighbours leads to most of the first eigenvectors, and beyond what VICReg holds of them."""
    more = [n.shares[part].over_vicreg for part in ("first", "all")]
    return n.shares.rising and n.shares.first.end > 0.7 and all(one.points > one.interval for one in more)


# %%
case = {"rising": True} | {part: {"over_vicreg": {"points": 8.0, "interval": 2.0}} for part in ("first", "all")}
cases = [{"shares": case | {"first": case["first"] | {"end": end}}} for end in (0.3, 0.9)]
assert [_learned(plain_numbers(one)) for one in cases] == [False, True]

# %%
#| export
steps_down.says("**A network on neighbours learns the first of the eigenvectors.** " + _SHARES, _learned)
steps_down.says(
    "That a network on neighbours learns these eigenvectors is not shown. " + _SHARES, lambda n: not _learned(n)
)

# %% [markdown]
# And $\lambda$. What a large one costs is a difference of four accuracies; it counts as measured if it is larger than
# the sum of their intervals.

# %%
#| export
_LARGE = """Balestriero and LeCun predict a large $\\lambda$ for pairs that fit the task when data are few, and a small
    one for pairs that do not fit. Our probe has the labels of all training images, so this is only near to their case.
    At {lambdas.range[1]:g} times the exercise's $\\lambda$ the probe is {lambdas.oracle.points:.1f} points below its
    best for same-class neighbours ({lambdas.oracle.accuracy:.1%}), and {lambdas.vicreg.points:.1f} below for VICReg's
    ({lambdas.vicreg.accuracy:.1%}). """


def _spared(n):
    """1 where a large lambda costs the pairs that fit measurably less than VICReg's, -1 where more, 0 where neither."""
    fit, other = n.lambdas.oracle, n.lambdas.vicreg
    less = other.lost - fit.lost
    return int(np.sign(less)) if abs(less) > 2 * (fit.widest + other.widest) else 0


# %%
def losing(fit, other):
    kinds = {"oracle": {"lost": fit, "widest": 0.01}, "vicreg": {"lost": other, "widest": 0.01}}
    return Numbers({"lambdas": kinds})


assert [_spared(losing(*lost)) for lost in ((0.04, 0.1), (0.04, 0.07), (0.1, 0.04))] == [1, 0, -1]

# %%
#| export
_FEW_LIVE = """ (But only {lambdas.oracle.alive_last} and {lambdas.vicreg.alive_last} directions live there.)"""
steps_down.says(
    _LARGE + "So a large $\\lambda$ harms the pairs that fit less well the more, as they predict." + _FEW_LIVE,
    lambda n: _spared(n) == 1,
)
steps_down.says(_LARGE + "These losses do not differ measurably.", lambda n: _spared(n) == 0)
steps_down.says(
    _LARGE + "So a large $\\lambda$ harms the pairs that fit best the more, which they do not predict.",
    lambda n: _spared(n) == -1,
)

# %% [markdown]
# Which $\lambda$ is best? Around its highest point a curve is often flat. So a kind of neighbours has a range of best
# values, all those whose probe is not measurably below the highest (by the interval of the paired difference), and only
# ranges that lie apart have an order.

# %%
#| export
_RANGES = """The values whose probe is not measurably below the best are {lambdas.oracle.as_good[0]:g} to
    {lambdas.oracle.as_good[1]:g} times the exercise's for same-class neighbours, and {lambdas.vicreg.as_good[0]:g} to
    {lambdas.vicreg.as_good[1]:g} times for VICReg's"""


def _order(n):
    """1 where the pairs that fit have the larger best lambdas, -1 where the smaller, 0 where the ranges overlap."""
    fit, other = n.lambdas.oracle.as_good, n.lambdas.vicreg.as_good
    return int(fit[0] > other[1]) - int(fit[1] < other[0])


# %%
def good(fit, other):
    return Numbers({"lambdas": {"oracle": {"as_good": fit}, "vicreg": {"as_good": other}}})


ranges = ((5, 25), (0.04, 1)), ((0.04, 1), (0.2, 5)), ((0.04, 0.04), (0.2, 1))
assert [_order(good(*both)) for both in ranges] == [1, 0, -1]

# %%
#| export
steps_down.says(_RANGES + ": larger for the pairs that fit, as they predict.", lambda n: _order(n) == 1)
steps_down.says(_RANGES + ": smaller for the pairs that fit, which they do not predict.", lambda n: _order(n) == -1)

# %%
steps_down.run(cfg, result)
