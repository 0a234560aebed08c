# %% [markdown]
# # 4a · The ladder
# Between VICReg with neighbour pairs (Q5) and Laplacian Eigenmaps (Q6) a step is missing: VICReg without a *network*.
# Each image gets a vector of its own, and VICReg's loss is minimised over the edges of the graph. Does this arrive at
# the eigenvectors? It must, and up to what batches can show it does: the two are one method, found in two ways.
#
# The exercise peels VICReg back to Laplacian Eigenmaps. That its optimum is a spectral embedding is a theorem of
# Balestriero and LeCun (2022, arXiv 2205.11508; see also HaoChen et al., 2021, arXiv 2106.04156). This chapter derives
# the part of it that we need, tests it on a small graph where every optimum is known, then on 60,000 images, and at
# last puts all four steps of the ladder side by side.

# %%
#| default_exp ladder

# %%
#| export
import math
import time
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.linalg import eigh, subspace_angles
from scipy.stats import mode
from torch.nn.functional import embedding
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, send
from vicreg_nb.laplacian_eigenmaps import (
    ImageGraph, all_pictures, control_graph, embed, graph_embedding, image_graph, laplacian_features,
    split_features,
)  # fmt: skip
from vicreg_nb.methods import ASKED, METHODS, baseline, colours_by_title, features, run_of
from vicreg_nb.neighbours import nearest, same_class
from vicreg_nb.plots import Drawing, dots, new_figure, scatter
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
exact_steps: int = None  # steps on it

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import lines

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## Where must it arrive?
# Let $\Pi_{ij} = \Pi_{ji}$ be the probability that images $i$ and $j$ are drawn as a pair, $p_i$ how often image $i$
# stands in the variance and covariance terms, and $z_i \in \mathbb{R}^c$ its free vector, the rows of $Z$. With enough
# pairs, Eq. 2 and Eq. 4 become
#
# $$\mathcal{L}_{inv} = \frac{1}{c} \sum_{ij} \Pi_{ij} \|z_i - z_j\|^2 = \frac{1}{c} tr(Z^T L Z),
# \qquad C = Z^T P Z$$
#
# with $L = 2\,(diag(\Pi 1) - \Pi)$, $P = diag(p)$, and $Z$ centred by $p$. Variance and covariance see nothing of $Z$
# but $C$. So fix $C$, with eigenvalues $s_1 \ge \dots \ge s_c \ge 0$, and ask only for the least invariance term. Write
# $Z = P^{-1/2} V S^{1/2} U^T$ with orthonormal columns in $V$, in $U$, and $S = diag(s)$. Then
#
# $$tr(Z^T L Z) = \sum_i s_i \, v_i^T P^{-1/2} L P^{-1/2} v_i \;\ge\; \sum_i s_i \, a_i ,$$
#
# where $a_1 \le a_2 \le \dots$ are the eigenvalues of
#
# $$L\,y = a\,P\,y$$
#
# without the constant vector. This is von Neumann's trace inequality. Equality needs two things: the directions with
# $s_i > 0$ span bottom eigenvectors, and each is paired with its eigenvalue, the widest with the smallest (where
# eigenvalues are equal there is a choice). Whatever $C$ is best, an optimum has both properties. So they are necessary
# **for all weights $\lambda > 0$, $\mu$ and $\nu$: an optimum lies in the span of the bottom eigenvectors.** They are
# not sufficient. The weights also decide $C$: how far each direction is spread, and whether it is worth its invariance
# at all. Too small a $\mu$ or $\nu$ leaves fewer than $c$ directions, but the *right* ones.

# %% [markdown]
# ## Which Laplacian?
# The one that the way of drawing makes. With degrees $d_i$, their sum $vol$ and $N$ images:
#
# | drawn | $\Pi$ | $p_i$ | eigenproblem |
# |---|---|---|---|
# | **edges**: an edge | $W / vol$ | $d_i / vol$ | $(D - W)\,y = \lambda D y$: Laplacian Eigenmaps, $a = 2 \lambda$ |
# | **walk**: an image, a neighbour | $(D^{-1}W + W D^{-1}) / 2N$ | $(1 + \sum_j W_{ij} / d_j) / 2N$ | other weights |
# | **nodes**: edges, and images for the spread | $W / vol$ | $1 / N$ | $(D - W)\,y = \lambda y$: not normalised |
#
# The walk draws an image, then one of its neighbours, and exchanges the two in half of the cases. It is nearly Q5, but
# not quite, since Q5 does not exchange them: its first branch holds every image equally often and its second one their
# neighbours, so that the two have different covariance matrices. With exchanged ends both have one, and the derivation
# holds. Nodes take edges for the invariance, and for variance and covariance all images alike.

# %%
#| export
SAMPLINGS = ("edges", "walk", "nodes")


def pair_problem(graph: sparse.csr_array, sampling: str) -> tuple[sparse.csr_array, np.ndarray]:
    """(L, p) of a symmetric graph [N, N] and one of `SAMPLINGS`; UserError for another.

    The expected invariance term is tr(Z^T L Z) / c, and image i has the weight p_i in variance and covariance.
    """
    degree = graph.sum(axis=1)
    if sampling == "walk":
        step = sparse.diags_array(1 / degree) @ graph
        pairs = (step + step.T) / (2 * len(degree))
    elif sampling in SAMPLINGS:
        pairs = graph / degree.sum()
    else:
        raise UserError(f"sampling is {sampling!r}: choose one of {', '.join(SAMPLINGS)}.")
    met = pairs.sum(axis=1)
    laplacian = (2 * (sparse.diags_array(met) - pairs)).tocsr()
    return laplacian, np.full(len(degree), 1 / len(degree)) if sampling == "nodes" else met


# %% [markdown]
# One would expect that to draw images uniformly gives each image the same weight. In the first branch it does. But the
# second holds neighbours, and a hub is a neighbour of many:

# %%
small = image_graph(cfg, images.train_images[: cfg.exact_size]).graph
degree = small.sum(axis=1)
for sampling in SAMPLINGS:
    laplacian, p = pair_problem(small, sampling)
    assert abs(p.sum() - 1) < 1e-12 and abs(laplacian.sum(axis=1)).max() < 1e-12
    related = np.corrcoef(p, degree)[0, 1] if np.ptp(p) > 1e-12 else 0
    print(f"{sampling:6} correlation of an image's weight with its degree: {related:.2f}")

# %% [markdown]
# ## The loss of all pairs at once
# On a small graph nothing need be drawn: the loss of *all* pairs is a formula, the one above.


# %%
#| export
def expected_terms(
    z: torch.Tensor, laplacian: torch.Tensor, p: torch.Tensor, gamma: float = 1.0, eps: float = 1e-4
) -> Terms:
    """Eq. 2-5 of z [N, c] over all pairs instead of a batch; var and cov of both branches, as in `vicreg_terms`.

    laplacian: [N, N]; p: [N].
    """
    c = z.shape[1]
    centred = z - p @ z
    covariances = centred.T @ (p[:, None] * centred)
    var = torch.relu(gamma - torch.sqrt(covariances.diagonal() + eps)).mean()
    cov = (covariances.square().sum() - covariances.diagonal().square().sum()) / c
    return Terms((z * (laplacian @ z)).sum() / c, 2 * var, 2 * cov)


# %% [markdown]
# Against Eq. 2-6 on a batch of all edges, in both directions (whose covariance is divided by one less):

# %%
laplacian, p = pair_problem(small, "edges")
laplacian, p = torch.from_numpy(laplacian.toarray()), torch.from_numpy(p)
i, j = (torch.from_numpy(side.astype(np.int64)) for side in small.nonzero())
z = 0.3 * torch.randn(len(p), 4, dtype=torch.float64, generator=new_generator(seed, "test of the terms"))
ours, batch = expected_terms(z, laplacian, p), vicreg_terms(z[i], z[j])
torch.testing.assert_close(ours.inv, batch.inv)
torch.testing.assert_close(ours.cov, batch.cov * ((len(i) - 1) / len(i)) ** 2)
torch.testing.assert_close(ours.var, batch.var, rtol=1e-3, atol=0)

# %% [markdown]
# ## How far is one subspace from another?
# The optimum fixes a span and not single vectors, so spans are compared. Principal angles say how far one is turned out
# of the other: all 0 degrees if they are the same, 90 for a direction that the other does not have. The mean of their
# squared cosines is the share of one that lies in the other. Directions in which the vectors have collapsed, below a
# hundredth of the widest, are left out, and count 90 degrees.
#
# On a small graph, where the loss is exact, this threshold separates the collapsed directions cleanly. In batches it
# does not: a direction that is worth nothing still carries the noise of the estimates, and may well be counted.

# %%
#| export
COLLAPSED = 0.01


def _directions(z, p):
    """Orthonormal basis [N, r] of the span of z [N, c], centred with weights p [N], without collapsed directions."""
    directions, spread, _ = np.linalg.svd(z - p @ z, full_matrices=False)
    return directions[:, spread > COLLAPSED * spread[0]]


def principal_angles(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Angles [c] in degrees, the largest first, between the spans of z [N, c], centred with p [N], and basis [N, c]."""
    kept = _directions(z, p)
    angles = np.degrees(subspace_angles(kept, basis))[: kept.shape[1]] if kept.shape[1] else []
    return np.concatenate([np.full(z.shape[1] - kept.shape[1], 90.0), np.sort(angles)[::-1]])


def recovered_share(z: np.ndarray, basis: np.ndarray, p: np.ndarray) -> np.ndarray:
    """The share [c] of each column of basis [N, c] that lies in the span of z [N, c], centred with weights p [N]."""
    return ((_directions(z, p).T @ basis) ** 2).sum(axis=0) / (basis**2).sum(axis=0)


# %%
random = np.random.default_rng(0)
basis, uniform = random.normal(size=(50, 3)), np.full(50, 1 / 50)
basis -= basis.mean(axis=0)
turned = basis @ random.normal(size=(3, 3)) + random.normal(size=3)  # the same span, elsewhere
assert principal_angles(turned, basis, uniform).max() < 1e-4
assert abs(recovered_share(turned, basis, uniform) - 1).max() < 1e-9
collapsed = np.c_[basis[:, :2], 1e-9 * basis[:, 2]]
print(f"with one direction collapsed: {principal_angles(collapsed, basis, uniform).round(3)} degrees")
assert principal_angles(collapsed, basis, uniform)[0] == 90

# %% [markdown]
# ## The descent
# Adam with cosine decay: large steps at first, and at the end small enough ones to settle in the kink of the hinge,
# where a quasi-Newton method gets stuck.

# %%
#| export
EXACT_LR = 0.1


def scaled_weights(cfg: Config, scale: float = 1.0) -> tuple[float, float, float]:
    """lambda, mu and nu of Eq. 6, the last two times `scale`."""
    return cfg.lam, scale * cfg.mu, scale * cfg.nu


def cosine_decay(lr: float, step: int, steps: int) -> float:
    """`lr` at step 0, down along half a cosine to 0 after `steps`."""
    return 0.5 * lr * (1 + math.cos(math.pi * step / steps))


# %%
curve = {"": {"": (np.arange(101), [cosine_decay(EXACT_LR, step, 100) for step in range(101)])}}
assert scaled_weights(cfg, 2) == (cfg.lam, 2 * cfg.mu, 2 * cfg.nu)
lines(curve, "% of the steps", "learning rate", {"": METHODS["free"].colour}, width=3.4, height=1.7)

# %% [markdown]
# From small random vectors down the exact gradient; and what it should find, by LAPACK.


# %%
#| export
def fit_exactly(laplacian: np.ndarray, p: np.ndarray, dims: int, weights: tuple, steps: int, seed: int = 0):
    """Free vectors float64 [N, dims] that minimise Eq. 6 over all pairs; laplacian: [N, N], p: [N]."""
    laplacian, p = torch.from_numpy(laplacian), torch.from_numpy(p)
    generator = new_generator(seed, "free vectors")
    z = (0.1 * torch.randn(len(p), dims, dtype=torch.float64, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=EXACT_LR)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = cosine_decay(EXACT_LR, step, steps)
        loss = vicreg_loss(expected_terms(z, laplacian, p), *weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return z.detach().numpy()


def bottom_vectors(laplacian: np.ndarray, p: np.ndarray, dims: int) -> np.ndarray:
    """Eigenvectors [N, dims] of the smallest eigenvalues of L y = a P y (LAPACK), without the constant."""
    return eigh(laplacian, np.diag(p), subset_by_index=(1, dims))[1]


# %% [markdown]
# With a single dimension and small weights the way is short, and the vector found is the first eigenvector:

# %%
problem = laplacian.numpy(), p.numpy()
line = fit_exactly(*problem, 1, scaled_weights(cfg, 0.1), steps=300, seed=seed)
angle = principal_angles(line, bottom_vectors(*problem, 1), problem[1])[0]
print(f"{angle:.4f} degrees from the first eigenvector")
assert angle < 1

# %% [markdown]
# ## On a small graph, exactly
# How do the weights act? $\mu$ and $\nu$ are scaled together against $\lambda$, in three dimensions. Then, at the first
# scale at which all directions survive, each way of drawing is compared with each Laplacian.


# %%
#| export
EXACT_DIMS = 3
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)  # of mu and nu


def _solve(cfg, graph):
    problems, degree = [pair_problem(graph, sampling) for sampling in SAMPLINGS], graph.sum(axis=1)
    problems = [(laplacian.toarray(), p) for laplacian, p in problems]
    bases = [bottom_vectors(*problem, EXACT_DIMS) for problem in problems]

    def angles(drawn, scale, steps):
        """Of vectors drawn in one way, against each Laplacian."""
        z = fit_exactly(*problems[drawn], EXACT_DIMS, scaled_weights(cfg, scale), steps, cfg.seed)
        return [principal_angles(z, basis, p) for basis, (_, p) in zip(bases, problems, strict=True)]

    lengths = max(1, cfg.exact_steps // 4), cfg.exact_steps
    sweep = np.array([[angles(0, scale, steps)[0] for steps in lengths] for scale in progress(SCALES, "weights")])
    survive = (sweep[:, 1] < 90).sum(axis=1)
    chosen = SCALES[int(np.argmax(survive == survive.max()))]
    table = np.array([angles(drawn, chosen, cfg.exact_steps) for drawn in range(3)])[:, :, 0]
    hubs = [np.corrcoef(p, degree)[0, 1] if np.ptp(p) > 1e-12 and np.ptp(degree) else 0.0 for _, p in problems]
    return {"sweep": sweep, "table": table, "chosen": chosen, "hubs": hubs}


# %%
hasty = _solve(cfg.replace(exact_steps=4), small)
assert hasty["sweep"].shape == (len(SCALES), 2, EXACT_DIMS) and hasty["table"].shape == (3, 3)
print(f"after four steps nothing is found yet: {hasty['table'].min():.0f} degrees at least")

# %% [markdown]
# With all steps it takes a minute, so the result is kept.


# %%
#| export
def solve_exactly(cfg: Config, images: Images) -> dict:
    """On the graph of the first `exact_size` training images, all angles in degrees; computed once.

    sweep: [scales, 2, dims], of drawn edges after a quarter of the steps and after all; chosen: the scale of table;
    table: largest angle [drawn by, Laplacian of]; hubs: correlation of an image's weight with its degree [drawn by].
    """
    graph = image_graph(cfg, images.train_images[: cfg.exact_size])
    key = [graph.identity, cfg.exact_steps, cfg.lam, cfg.mu, cfg.nu, cfg.gamma, cfg.eps, cfg.seed, SCALES, EXACT_DIMS]
    return cached(cfg.cache, "exact", key, lambda: _solve(cfg, graph.graph))


# %%
exact = solve_exactly(cfg, images)
for scale, (_, angles) in zip(SCALES, exact["sweep"], strict=True):
    found = np.sort(angles[angles < 90]).round(3).tolist()
    print(f"mu and nu x {scale:<4g} {len(found)} of {EXACT_DIMS} directions survive, at {found} degrees")
print(f"at x {float(exact['chosen']):g}, a row for each way of drawing, a column for each Laplacian:")
print(exact["table"].round(2))
if cfg.exact_steps >= 4_000 and cfg == baseline(cfg):
    assert exact["table"].diagonal().max() < 1

# %% [markdown]
# ## On the real graph, in batches
# Now 60,000 images, 128 dimensions, and batches of edges: this is Algorithm 1 with a table of vectors in place of
# $h(f(T(\cdot)))$, and the two ends of an edge in place of two views. Variance and covariance over a batch are
# estimates, and their squares are biased: a price that the exact loss above does not pay, and that the angles show.


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
# The training passes over the graph several times, with cosine decay over all steps.


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
# How much of the bottom eigenvectors is recovered? A subspace of many dimensions has many angles to another. Beside
# them stands the share of each single eigenvector: the first ones should come first.

# %%
#| export
BATCH_SCALES = (0.1, 1.0, 10.0)  # of mu and nu, in batches


class AngleResult(NamedTuple):
    """Free vectors against Laplacian Eigenmaps."""

    angles: np.ndarray  # principal angles [components] in degrees, the largest first
    recovered: np.ndarray  # share [components] of each eigenvector in the span of the free vectors


def compare_eigenvectors(cfg: Config, graph: ImageGraph, scale: float = 1.0) -> AngleResult:
    """Free vectors with mu and nu times `scale` against the eigenvectors of the same image graph."""
    degree = graph.graph.sum(axis=1)
    z = free_vectors(cfg, graph, scale)["vectors"].astype(np.float64)
    sides = z, embed(cfg, graph).vectors, degree / degree.sum()
    return AngleResult(principal_angles(*sides), recovered_share(*sides))


def overlap(angles: np.ndarray) -> float:
    """The share of a subspace that lies in the other: the mean squared cosine of the angles in degrees."""
    return float((np.cos(np.radians(angles)) ** 2).mean())


# %%
found = compare_eigenvectors(cfg, picture_graph)
assert abs(overlap(found.angles) - found.recovered.mean()) < 0.1  # equal if the eigenvectors were orthogonal
print(f"{overlap(found.angles):.1%} of the eigenvectors' span is recovered")
share = {"": {"": (np.arange(1, cfg.components + 1), 100 * found.recovered)}}
lines(share, "number of the eigenvector", "recovered / %", {"": METHODS["free"].colour}, width=4.6, ylim=(0, 101))

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
# ## The angles
# Left: the small graph, by weights. An angle of 0 is on the axis, below the logarithmic part. Middle: each way of
# drawing against each Laplacian; small on the diagonal, or the derivation is wrong. Right: the real graphs.


# %%
#| export
def _draw_sweep(ax, exact):
    for column, style, steps in ((0, ":", "a quarter of the steps"), (1, "-", "all steps")):
        largest = [angles[angles < 90].max(initial=0) for angles in exact["sweep"][:, column]]
        ax.plot(SCALES, largest, style, marker="o", markersize=3.5, color=METHODS["free"].colour, label=steps)
    ax.set_yscale("symlog", linthresh=1e-3, linscale=0.5)
    ax.set(xscale="log", ylim=(-2e-4, 120), title="small graph", ylabel="largest angle / degrees")
    survive = (exact["sweep"][:, 1] < 90).sum(axis=1)
    ax.set_xticks(SCALES, [f"{scale:g}\n({count})" for scale, count in zip(SCALES, survive, strict=True)])
    ax.set_xlabel("mu and nu, times the exercise's\n(surviving directions)")


def _draw_table(ax, table):
    ax.imshow(np.log10(table + 0.01), cmap="Purples", vmin=-1, vmax=2)
    for i, j in np.ndindex(table.shape):
        style = {"fontweight": "bold" if i == j else "normal", "color": "white" if table[i, j] > 10 else "#222222"}
        ax.text(j, i, f"{table[i, j]:.2g}", ha="center", va="center", fontsize=8, **style)
    ax.set(xticks=range(3), yticks=range(3), xticklabels=SAMPLINGS, yticklabels=SAMPLINGS)
    ax.set(xlabel="Laplacian of", ylabel="drawn by", title="largest angle / degrees")
    ax.grid(False)


# %%
fig, (left, right) = new_figure(1, 2, width=5, height=2.6)
_draw_sweep(left, exact)
_draw_table(right, exact["table"])
Drawing(fig)


# %%
#| export
@steps_down.figure(
    "Free vectors against eigenvectors: angles on a small graph, by weights and by ways of drawing, and on real graphs "
    "in batches."
)
def ladder_angles(result: dict) -> Drawing:
    fig, axes = new_figure(1, 3, height=2.9, gridspec_kw={"width_ratios": (1.15, 0.95, 1.15)})
    _draw_sweep(axes[0], result["exact"])
    _draw_table(axes[1], result["exact"]["table"])
    curves = {f"{result['sizes'][0]:,}, x {scale:g}": one for scale, one in result["batches"].items()}
    curves[f"{result['sizes'][1]:,}, x 1"] = result["whole"]
    for style, (label, one) in zip((":", "--", "-.", "-"), curves.items(), strict=True):
        number, width = np.arange(1, len(one.angles) + 1), 2 if style == "-" else 1.2
        axes[2].plot(number, one.angles[::-1], style, linewidth=width, color=METHODS["free"].colour, label=label)
    axes[2].set(xlabel="number of the angle", ylabel="angle / degrees", ylim=(0, 92), title="real graphs, in batches")
    axes[0].legend(fontsize=7, loc="upper left")
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2), "ncols": 2, "columnspacing": 1}
    axes[2].legend(title="images, and times mu and nu", title_fontsize=7, fontsize=7, **place)
    return Drawing(fig)


# %%
ladder_angles(result)

# %% [markdown]
# ## In numbers
# First those of angles, then all. A step of the ladder is told as a difference with its interval.


# %%
#| export
def _angle_numbers(one):
    angles, last = one.angles, max(1, len(one.recovered) // 8)
    return {
        "overlap": overlap(angles), "median": np.median(angles), "largest": angles.max(), "of": len(angles),
        "within_ten": (angles < 10).sum(), "alive": (angles < 90).sum(),
        "first_half": one.recovered[: len(angles) // 2].mean(), "last_eighth": one.recovered[-last:].mean(),
    }  # fmt: skip


def _exact_numbers(exact):
    table, (sooner, later) = exact["table"], exact["sweep"].transpose(1, 0, 2)
    other = table[~np.eye(3, dtype=bool)]
    return {
        "images": exact["images"], "dims": EXACT_DIMS, "chosen": float(exact["chosen"]), "scales": SCALES,
        "table": dict(zip(SAMPLINGS, table, strict=True)), "hubs": dict(zip(SAMPLINGS, exact["hubs"], strict=True)),
        "own": table.diagonal().max(), "other": other.max(), "nearest_other": other.min(),
        "alive": (later < 90).sum(axis=1),
        "largest_alive": [angles[angles < 90].max(initial=0) for angles in later],
        "largest_alive_sooner": [angles[angles < 90].max(initial=0) for angles in sooner],
    }  # fmt: skip


# %%
print(_angle_numbers(result["whole"]))
assert _angle_numbers(AngleResult(np.zeros(16), np.ones(16)))["overlap"] == 1


# %%
#| export
@steps_down.summary
def _numbers(result):
    rungs, whole = result["rungs"], _angle_numbers(result["whole"])
    steps = {lower: gain(rungs[upper], rungs[lower]) for upper, lower in zip(RUNGS, RUNGS[1:], strict=False)}
    largest = max(steps, key=lambda name: steps[name]["points"])
    batches = [_angle_numbers(one) for one in result["batches"].values()]
    picture = {name: [one[name] for one in batches] for name in batches[0]}
    return rungs | {
        "steps": steps,
        "largest_step": steps[largest] | {"to": METHODS[largest].title},
        "control_gain": gain(rungs["control"], rungs["neighbours"]),
        "exact": _exact_numbers(result["exact"]),
        "picture": picture | {"images": result["sizes"][0], "scales": BATCH_SCALES},
        "whole": whole | {"images": result["sizes"][1], "chance": whole["of"] / result["sizes"][1]},
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
# Is the derivation right? On the small graph it could have failed: at the wrong Laplacian, or at no subspace at all.

# %%
#| export
steps_down.says(
    """**Free vectors arrive where the derivation says.** On {exact.images} images, where the optimum is known, they end
    in {exact.dims} dimensions within {exact.own:.2f} degrees of the eigenvectors of the Laplacian that belongs to their
    way of drawing, and {exact.nearest_other:.1f} to {exact.other:.1f} degrees from those of the others. Drawing edges
    gives Laplacian Eigenmaps.""",
    lambda n: n.exact.own < min(1, n.exact.nearest_other / 2),
)
steps_down.says(
    """Drawing images uniformly, and then a neighbour of each, does not free an image's weight from its degree, though
    one might expect it: the correlation of the two is {exact.hubs.walk:.2f}, since hubs come back as neighbours.""",
    lambda n: n.exact.hubs.walk > 0.5,
)

# %% [markdown]
# What the weights do, on the same graph:

# %%
#| export
steps_down.says(
    """As $\\mu$ and $\\nu$ grow against $\\lambda$, from {exact.scales[0]:g} to {exact.scales[4]:g} times the
    exercise's, {exact.alive[0]} and then {exact.alive[4]} of {exact.dims} directions survive. At small weights those
    that do are already the right ones: within {exact.largest_alive[1]:.2g} degrees at {exact.scales[1]:g} times.""",
    lambda n: n.exact.alive[0] < n.exact.alive[4] and n.exact.largest_alive[1] < 1,
)
steps_down.says(
    """Larger weights make the way longer: at the largest the angle is {exact.largest_alive_sooner[4]:.1f} degrees after
    a quarter of the steps, and {exact.largest_alive[4]:.1f} after all of them.""",
    lambda n: 2 * n.exact.largest_alive[1] < n.exact.largest_alive[4] < n.exact.largest_alive_sooner[4],
)

# %% [markdown]
# And in batches, on real graphs:

# %%
#| export
steps_down.says("""In batches, free vectors recover {whole.overlap:.0%} of the span of the {whole.of} bottom
    eigenvectors of {whole.images:,} images (a random subspace has {whole.chance:.1%}): {whole.first_half:.0%} of the
    first half of them, {whole.last_eighth:.0%} of the last eighth. On {picture.images:,} images it is
    {picture.overlap[0]:.0%}, {picture.overlap[1]:.0%} and {picture.overlap[2]:.0%}, with $\\mu$ and $\\nu$ at
    {picture.scales[0]:g}, {picture.scales[1]:g} and {picture.scales[2]:g} times the exercise's.""")
steps_down.says(
    """How many directions survive in batches cannot be read from a threshold. With the exercise's weights
    {picture.alive[1]} of {whole.of} are wider than a hundredth of the widest, but only {picture.within_ten[1]} angles
    are below ten degrees. A direction that is worth nothing still carries the noise of the batches, so the count only
    bounds their number from above.""",
    lambda n: n.picture.alive[1] == n.whole.of and n.picture.within_ten[1] < n.whole.of / 2,
)

# %%
steps_down.run(cfg, result)
