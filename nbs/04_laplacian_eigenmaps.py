# %% [markdown]
# # 4 · Laplacian Eigenmaps (Q6)
# What is left of VICReg without generated views and without a network? A graph of neighbours, and one vector for each
# image that changes as little as possible along the edges. That is Laplacian Eigenmaps (Belkin and Niyogi, 2003).
# Nothing is trained: the vectors are eigenvectors. In short, they know the classes less well than VICReg does, and most
# of what they lack is in the graph: given VICReg's own neighbours, eigenvectors do nearly as well as its network.
#
# The exercise calls this algorithm difficult to run, and shows a picture of 10,000 images. Here it runs on these and on
# all 60,000. The chapter builds the graph, makes sure that it is connected, takes its eigenvectors, and then asks Q6.

# %%
#| default_exp laplacian_eigenmaps

# %%
#| export
import time
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from torch import nn
from vicreg_nb.book import OVER_IMAGES, Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, image_attributes
from vicreg_nb.identity import cached, code_of
from vicreg_nb.methods import METHODS, features
from vicreg_nb.neighbours import agreement, nearest
from vicreg_nb.plots import Drawing, scatter
from vicreg_nb.representations import Features, gain, linear_probe, outputs, project_tsne
from vicreg_nb.store import UserError, digest, log, seeded

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
graph_neighbours: int = None  # k of the neighbour graph; None: the profile's value
graph_size: int = None  # training images in the exercise's picture
components: int = None  # eigenvectors kept
perplexity: float = None  # t-SNE's

# %%
import torch
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import METHOD_COLOURS, QUIET, lines, new_figure

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## What to compare: footnote 3
# Distances between pixels are a poor notion of likeness: a shift by two pixels changes nearly all of them. The
# exercise's footnote 3 therefore first reduces the images with an *untrained* CNN: four convolutions, and a linear
# layer to 1024 numbers. Each convolution below halves the side of the image. The weights are the random ones that
# PyTorch gives a new layer, so they need a seed of their own.


# %%
#| export
def untrained_cnn(seed: int) -> nn.Sequential:
    """Footnote 3: [B, 3, 32, 32] to [B, 1024] by four convolutions and a linear layer, with random weights."""
    widths = (3, 32, 64, 128, 256)
    with seeded(seed, "untrained cnn"):
        layers = [layer for pair in pairwise(widths) for layer in (nn.Conv2d(*pair, 3, 2, 1), nn.ReLU(inplace=True))]
        cnn = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 2 * 2, 1024))
    return cnn.eval().requires_grad_(False)


# %%
cnn = untrained_cnn(seed)
assert cnn(torch.zeros(2, 3, 32, 32)).shape == (2, 1024)
assert torch.equal(cnn[0].weight, untrained_cnn(seed)[0].weight)
assert not torch.equal(cnn[0].weight, untrained_cnn(seed + 1)[0].weight)
print(cnn)

# %% [markdown]
# It looks at all images in batches, and stays in fp32: it takes seconds, and which of two nearly equal neighbours is
# the nearer one should not depend on rounding.


# %%
#| export
def graph_features(cfg: Config, pictures: np.ndarray, batch: int = None) -> np.ndarray:
    """Footnote 3's features, float32 [N, 1024], of images uint8 [N, 32, 32, 3]."""
    return outputs(untrained_cnn(cfg.seed), pictures, choose_device(cfg), batch=batch)


# %% [markdown]
# Is it any better than pixels? We count how many of an image's nearest neighbours have its class. On CIFAR-10 the two
# come out nearly equal, at twice the rate of chance: what the network saves is size, 1024 numbers instead of 3072.

# %%
some, labels = images.train_images[:2_000], images.train_labels[:2_000]
seen = graph_features(cfg, some)
np.testing.assert_allclose(seen[:3], graph_features(cfg, some[:3], batch=2), atol=1e-4)  # no image depends on another
for name, x in {"pixels": some.reshape(len(some), -1).astype(np.float32), "untrained CNN": seen}.items():
    share = agreement(x, labels, cfg.graph_neighbours)
    print(f"{name:14} {share:.1%} of the {cfg.graph_neighbours} nearest images have the image's class")

# %% [markdown]
# ## The graph
# An edge joins two images if one of them is among the $k$ nearest of the other. The "or" makes the matrix $W$ symmetric
# (an image may be near to another that has $k$ nearer ones of its own). All edges have weight 1, which Belkin and
# Niyogi call simple-minded: there is no width to choose.


# %%
#| export
def knn_graph(x: np.ndarray, k: int, device="cpu") -> sparse.csr_array:
    """W, symmetric [N, N] of zeros and ones: an edge where one image is among the k nearest (l2) of the other.

    x: features [N, d]. Raises UserError for NaN, and for k outside 1 ... N - 1.
    """
    return _either_way(nearest(x, k, device=device).numbers)


def _either_way(numbers):
    """W of each image's neighbours `numbers` [N, k]."""
    numbers = numbers.astype(np.int32)  # as scikit-learn wants them
    n, k = numbers.shape
    places = numbers.ravel(), k * np.arange(n + 1, dtype=np.int32)
    directed = sparse.csr_array((np.ones(n * k), *places), shape=(n, n))
    return directed.maximum(directed.T)


# %% [markdown]
# scikit-learn, given the same points in double precision, finds the same edges:

# %%
from sklearn.neighbors import kneighbors_graph

points = np.random.default_rng(seed).normal(size=(1_000, 16)).astype(np.float32)
found = knn_graph(points, cfg.graph_neighbours)
reference = kneighbors_graph(points.astype(np.float64), cfg.graph_neighbours, include_self=False)
assert abs(reference.maximum(reference.T) - found).sum() == 0
graph = knn_graph(seen, cfg.graph_neighbours)
assert graph.diagonal().sum() == 0 and abs(graph - graph.T).sum() == 0

# %% [markdown]
# The degree of an image, which is its number of edges, is far from constant. In high dimensions a few images are near
# to very many others. Such *hubs* will matter in the next chapter, where an image is drawn as often as its degree says.

# %%
degree = graph.sum(axis=1)
fig, ax = new_figure(width=4.6, height=2.1)
ax.hist(degree, np.unique(np.geomspace(degree.min(), degree.max() + 1, 20).round()) - 0.5, color=METHOD_COLOURS[4])
ax.set(yscale="log", xlabel="degree (edges at an image)", ylabel="images")
Drawing(fig)

# %% [markdown]
# ## Connected components
# If no edge connects two parts of a graph, then "as little change as possible along the edges" does not say where to
# put one part against the other: the first eigenvectors only name the parts. So these connected components are counted,
# and joined in the most modest way, by the shortest edges that connect them all: their minimum spanning tree.
#
# Prim's algorithm finds it. The tree is the largest component at first. At each step the shortest edge out of the tree
# is added, and the component at its other end comes in. A connected graph needs some edge out of the tree, and the
# shortest will do, so this is exact. Each step only compares the images outside with those that came in last.


# %%
#| export
def join_components(graph: sparse.csr_array, x: np.ndarray, device="cpu") -> tuple[sparse.csr_array, np.ndarray]:
    """(the connected graph, int [E, 2]: the edges added), by the minimum spanning tree (l2) of its components.

    x: features [N, d] of the graph's N images.
    """
    label, added = connected_components(graph, directed=False)[1], []
    inside = label == np.bincount(label).argmax()
    new, rest = np.flatnonzero(inside), np.flatnonzero(~inside)
    length, end = np.full(len(rest), np.inf), np.zeros(len(rest), int)  # the shortest edge from each image of the rest
    while len(rest):
        found = nearest(x[new], 1, x[rest], device)
        closer = found.distances[:, 0] < length
        length[closer], end[closer] = found.distances[closer, 0], new[found.numbers[closer, 0]]
        shortest = length.argmin()
        added.append(sorted((rest[shortest], end[shortest])))
        reached = label[rest] == label[rest[shortest]]
        new = rest[reached]
        rest, length, end = rest[~reached], length[~reached], end[~reached]
    added = np.array(added, np.int32).reshape(-1, 2)
    bridges = sparse.csr_array((np.ones(len(added)), added.T), shape=graph.shape)
    return graph.maximum(bridges).maximum(bridges.T), added


# %% [markdown]
# Three clouds of points in the plane, and the edges that join them. The reference is the spanning tree over *all* pairs
# of points, in which an edge that the graph has already costs nothing.

# %%
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

random = np.random.default_rng(0)
clouds = ((60, (0, 0)), (30, (9, 0)), (12, (20, 0)))
islands = np.concatenate([random.normal(size=(size, 2)) + place for size, place in clouds])
apart = knn_graph(islands, 4)
joined, added = join_components(apart, islands)
lengths = sparse.csr_array(np.where(apart.toarray() > 0, 1e-9, cdist(islands, islands)))
tree = minimum_spanning_tree(lengths)
assert abs(tree.sum() - np.linalg.norm(islands[added[:, 0]] - islands[added[:, 1]], axis=1).sum()) < 1e-6
assert connected_components(joined, directed=False)[0] == 1
fig, ax = new_figure(width=6.9, height=1.9)
for edges, colour, width in ((np.argwhere(apart.toarray()), QUIET, 0.6), (added, METHOD_COLOURS[1], 2)):
    ax.plot(*islands[edges].transpose(2, 1, 0), color=colour, linewidth=width)
ax.scatter(*islands.T, s=9, color=METHOD_COLOURS[0], zorder=3)
ax.set(aspect="equal", xticks=[], yticks=[], title="the thick edges join the connected components")
Drawing(fig)

# %% [markdown]
# ## The eigenvectors
# Let $y_i$ be the vector of image $i$, $D$ the diagonal matrix of the degrees, and $L = D - W$ the Laplacian. We want
# little change along the edges, spread in each dimension, and no two dimensions the same:
#
# $$\min_Y \frac{1}{2} \sum_{ij} W_{ij} \|y_i - y_j\|^2 = \min_Y tr(Y^T L Y)
# \qquad \text{so that} \quad Y^T D Y = vol \cdot I, \quad Y^T D 1 = 0$$
#
# with $vol$ the sum of the degrees. These are VICReg's three terms again: invariance, variance, covariance. The
# solution is the bottom of $L y = \kappa D y$, without the constant vector. Up to a rotation of $Y$ it is unique where
# the next eigenvalue $\kappa$ is larger, if the graph is connected and its weights are finite and not negative. Another
# graph is refused. The solver gives at most $N - 2$ vectors.


# %%
#| export
def _checked_graph(graph, components):
    """The graph in double precision, or a UserError."""
    graph = sparse.csr_array(graph, dtype=np.float64, copy=True)
    graph.eliminate_zeros()  # a stored zero is no edge
    n = graph.shape[0]
    symmetric = graph.shape == (n, n) and not abs(graph - graph.T).max() > 1e-12 * graph.max()
    if not (symmetric and np.isfinite(graph.data).all() and (graph.data > 0).all()):
        raise UserError(
            f"the graph of shape {graph.shape} is not symmetric or has negative, infinite or NaN weights: "
            "use graph.maximum(graph.T) of weights >= 0."
        )
    if not 1 <= components <= n - 2:
        raise UserError(f"components is {components}: choose from 1 to {n - 2}, two less than the {n} images.")
    if (count := connected_components(graph, directed=False)[0]) > 1:
        raise UserError(f"the graph has {count} connected components: join them by join_components(graph, features).")
    return graph


# %%
for wrong, wanted in ((apart, 3), (joined, 101), (sparse.triu(joined), 3), (-joined, 3)):
    try:
        _checked_graph(wrong, wanted)
    except UserError as error:
        print(error)
    else:
        raise AssertionError(wanted)

# %% [markdown]
# With $y = D^{-1/2} v$ the problem becomes symmetric,
#
# $$D^{-1/2} W D^{-1/2} v = (1 - \kappa) v ,$$
#
# and the smallest $\kappa$ belong to the *largest* eigenvalues of a sparse matrix. Lanczos' method (ARPACK) finds
# these from nothing but products with the matrix. To ask for the smallest eigenvalues of $L$ instead would need a
# factorisation, which fills up with non-zeros: that is what makes the algorithm difficult to run. The tolerance stays
# at machine precision. A loose one saves few products, and overlooks eigenvalues that come twice, as on a ring.


# %%
#| export
class Embedding(NamedTuple):
    """The bottom of L y = kappa D y, without the constant."""

    vectors: np.ndarray  # [N, c], of mean 0 and variance 1 where an image weighs as much as its degree
    values: np.ndarray  # kappa [c], in 0 ... 2, the smallest first
    residuals: np.ndarray  # [c], norms of (D^-1/2 W D^-1/2 - 1 + kappa) v for |v| = 1
    seconds: float


def eigenmaps(graph: sparse.csr_array, components: int, seed: int = 0) -> Embedding:
    """Laplacian Eigenmaps (Belkin and Niyogi, 2003) of a symmetric connected graph [N, N]; UserError for another."""
    start, graph = time.perf_counter(), _checked_graph(graph, components)
    degree, n = graph.sum(axis=1), graph.shape[0]
    scale = sparse.diags_array(degree**-0.5)
    adjacency = (scale @ graph @ scale).tocsr()
    kept = min(n, components + max(21, 1 + 5 * (components + 1) // 8))  # measured: few restarts in little memory
    first = np.random.default_rng([seed, 4]).normal(size=n)
    top, v = eigsh(adjacency, k=components + 1, which="LA", v0=first, ncv=kept)
    order = np.argsort(-top)[1:]  # the first is the constant
    top, v = top[order], v[:, order]
    v *= np.sign(v[np.abs(v).argmax(axis=0), np.arange(components)])  # the same sign in every run
    residuals = np.linalg.norm(adjacency @ v - v * top, axis=0)
    vectors = np.sqrt(degree.sum() / degree)[:, None] * v
    return Embedding(vectors, 1 - top, residuals, time.perf_counter() - start)


# %% [markdown]
# Against all eigenvectors by LAPACK, on the three clouds. Each vector is a wave over the graph, and the first ones are
# the slowest: the first tells the ends apart, the second the middle from the ends.

# %%
from scipy.linalg import eigh, subspace_angles

embedding = eigenmaps(joined, 3)
weights = joined.toarray()
values, vectors = eigh(np.diag(weights.sum(axis=1)) - weights, np.diag(weights.sum(axis=1)))
np.testing.assert_allclose(embedding.values, values[1:4], atol=1e-10)
angle = np.degrees(subspace_angles(embedding.vectors, vectors[:, 1:4]).max())
print(f"largest angle to LAPACK's {angle:.1e} degrees, largest residual {embedding.residuals.max():.1e}")
assert angle < 1e-5
fig, axes = new_figure(1, 3, height=1.2)
for j, ax in enumerate(axes):
    ax.scatter(*islands.T, s=8, c=embedding.vectors[:, j], cmap="RdBu", vmin=-2, vmax=2)
    ax.set(aspect="equal", xticks=[], yticks=[], title=f"$\\kappa$ = {embedding.values[j]:.4f}")
Drawing(fig)

# %% [markdown]
# ## From images to vectors
# Three steps, each of them timed: features, neighbours, eigenvectors.


# %%
#| export
def _new_graph(cfg, make_features, find):
    """The arrays of an `ImageGraph`, from features [N, d]; find: None, or what finds neighbours another way."""
    times, device = [time.perf_counter()], choose_device(cfg)
    x = make_features()
    times.append(time.perf_counter())
    log(f"the {cfg.graph_neighbours} nearest of each of {len(x):,} images in {x.shape[1]} dimensions")
    asked = x, cfg.graph_neighbours, device
    graph = _either_way(find(*asked)) if find else knn_graph(*asked)
    sizes = np.sort(np.bincount(connected_components(graph, directed=False)[1]))[::-1]
    graph, added = join_components(graph, x, device)
    times.append(time.perf_counter())
    log(f"connected components: {len(sizes):,}; edges that join them: {len(added):,}")
    arrays = {"indices": graph.indices, "indptr": graph.indptr, "sizes": sizes, "added": added}
    return arrays | {"seconds": np.diff(times)}


# %%
made = _new_graph(cfg.replace(graph_neighbours=4), lambda: islands, None)
assert made["sizes"].tolist() == [60, 30, 12] and (made["added"] == added).all()

# %% [markdown]
# A graph is kept under the digest of what it is made from, so that whoever needs it later finds the same one.


# %%
#| export
class ImageGraph(NamedTuple):
    """A connected neighbour graph of images, and how it came to be."""

    graph: sparse.csr_array
    sizes: np.ndarray  # images in each connected component that it had, the largest first
    added: np.ndarray  # [E, 2], the edges that join these
    seconds: np.ndarray  # [2], of the features and of the search for neighbours
    identity: str  # digest of what it is made from


def make_graph(cfg: Config, identity, make_features, find=None) -> ImageGraph:
    """The graph of `make_features()` -> [N, d], computed once for each `identity`.

    find: (features, k, device) -> numbers [N, k] of each image's neighbours; None: its nearest.
    """

    def compute():
        return _new_graph(cfg, make_features, find)

    key = digest(identity, cfg.graph_neighbours, code_of(compute))
    arrays = cached(cfg.cache, "graph", [key, choose_device(cfg).type], compute)
    indices, indptr, *others = (arrays[name] for name in ("indices", "indptr", "sizes", "added", "seconds"))
    graph = sparse.csr_array((np.ones(len(indices)), indices, indptr), shape=(len(indptr) - 1,) * 2)
    return ImageGraph(graph, *others, key)


# %%
import tempfile

with tempfile.TemporaryDirectory() as folder:
    here = cfg.replace(out=folder, graph_neighbours=4)
    made = [make_graph(here, "islands", lambda: islands) for _ in range(2)]
assert (made[0].graph != joined).nnz == 0 and made[1].sizes.tolist() == [60, 30, 12]
assert (made[0].seconds == made[1].seconds).all()  # the second one was found, not made

# %% [markdown]
# What the rest of the book asks for: the graph of some images by footnote 3's features, and the eigenvectors of a
# graph.


# %%
#| export
def image_graph(cfg: Config, pictures: np.ndarray) -> ImageGraph:
    """The graph of images uint8 [N, 32, 32, 3] by footnote 3's features."""
    identity = ["footnote 3", digest(pictures), cfg.seed, choose_device(cfg).type]
    return make_graph(cfg, identity, lambda: graph_features(cfg, pictures))


def embed(cfg: Config, graph: ImageGraph) -> Embedding:
    """`eigenmaps` of an image graph with `cfg.components`, computed once."""

    def compute():
        log(f"{cfg.components} eigenvectors of {graph.graph.shape[0]:,} images and {graph.graph.nnz // 2:,} edges")
        return eigenmaps(graph.graph, cfg.components, cfg.seed)._asdict()

    arrays = cached(cfg.cache, "eigenmaps", [graph.identity, cfg.components, cfg.seed], compute)
    return Embedding(**arrays | {"seconds": float(arrays["seconds"])})


# %% [markdown]
# First the exercise's own setting, the first images of the training set. The eigenvalues rise smoothly: there is no gap
# behind which one would stop, as there would be if the images fell into clear groups.

# %%
small_graph = image_graph(cfg, images.train_images[: cfg.graph_size])
small = embed(cfg, small_graph)
seconds = [*small_graph.seconds, small.seconds]
print(f"{len(small.vectors):,} images: features, neighbours, eigenvectors in {np.round(seconds, 1)} s")
print(f"largest residual {small.residuals.max():.0e}")
curve = {"": {"": (np.arange(1, cfg.components + 1), small.values)}}
lines(curve, "number of the eigenvector", "eigenvalue", {"": METHODS["laplacian"].colour}, width=4.6, ylim=(0, None))

# %% [markdown]
# ## All images
# A graph embeds the images that are in it, and no others. There is no $f$ that could be applied to a new image: that is
# what *amortisation* by a network gives, and what Q6 takes away. For a probe to see test images, they must be in the
# graph from the start. So training and test images are embedded together, all without labels: the graph of 60,000
# images holds the 10,000 test images, which no network here is trained on.


# %%
#| export
def all_pictures(images: Images) -> np.ndarray:
    """Training images, then test images, uint8 [N + M, 32, 32, 3]."""
    return np.concatenate([images.train_images, images.test_images])


def split_features(images: Images, vectors: np.ndarray, identity: str) -> Features:
    """Rows of `all_pictures` as `Features`, float32."""
    train, test = np.split(vectors.astype(np.float32), [len(images.train_images)])
    return Features(train, test, identity)


def graph_embedding(cfg: Config, images: Images, graph: ImageGraph) -> Features:
    """Laplacian Eigenmaps of a graph of training and test images, `components` dimensions of unit variance."""
    return split_features(
        images, embed(cfg, graph).vectors, digest(graph.identity, cfg.components, cfg.seed, code_of(eigenmaps))
    )


def laplacian_features(cfg: Config, images: Images) -> Features:
    """Laplacian Eigenmaps of training and test images together, by footnote 3's features."""
    return graph_embedding(cfg, images, image_graph(cfg, all_pictures(images)))


# %%
embedded = laplacian_features(cfg, images)
print(f"train {embedded.train.shape}, test {embedded.test.shape}")
whole = image_graph(cfg, all_pictures(images))
share = whole.graph.sum(axis=1) / whole.graph.sum()  # an image weighs as much as its degree
y = np.concatenate([embedded.train, embedded.test]).astype(np.float64)
np.testing.assert_allclose(y.T * share @ y, np.eye(cfg.components), atol=1e-4)

# %% [markdown]
# ## New images after all
# How much does it matter that the test images take part? An eigenvector with $L y = \kappa D y$ meets, at each image,
#
# $$y_i = \frac{1}{1 - \kappa} \cdot \frac{1}{d_i} \sum_j W_{ij}\, y_j ,$$
#
# the mean over its neighbours, stretched by $1 / (1 - \kappa)$. The right side can be taken at an image that is not in
# the graph, with its nearest images in the graph as neighbours. This is Nyström's extension (Bengio et al., 2004). So
# the eigenvectors of the training images alone reach the test images too.


# %%
#| export
def nystrom(embedding: Embedding, numbers: np.ndarray) -> np.ndarray:
    """Vectors [M, c] of new images, from numbers [M, k] of their neighbours among the embedded images."""
    return embedding.vectors[numbers].mean(axis=1) / (1 - embedding.values)


def amortised_features(cfg: Config, images: Images) -> Features:
    """Laplacian Eigenmaps of the training images alone, by footnote 3's features; test images by Nyström."""
    graph = image_graph(cfg, images.train_images)

    def compute():
        train, test = (graph_features(cfg, pictures) for pictures in (images.train_images, images.test_images))
        return {"numbers": nearest(train, cfg.graph_neighbours, test, choose_device(cfg)).numbers}

    numbers = cached(cfg.cache, "test neighbours", [graph.identity, digest(images.test_images)], compute)["numbers"]
    found, identity = embed(cfg, graph), digest("nystrom", graph.identity, cfg.components, cfg.seed)
    return Features(found.vectors.astype(np.float32), nystrom(found, numbers).astype(np.float32), identity)


# %%
rows = [small_graph.graph.indices[slice(*small_graph.graph.indptr[i : i + 2])] for i in range(5)]
again = np.concatenate([nystrom(small, row[None]) for row in rows])  # images of the graph, from their own neighbours
np.testing.assert_allclose(again, small.vectors[:5], atol=1e-6)
extended = amortised_features(cfg, images)
print(f"mean square of the test images' vectors, 1 for training images: {(extended.test**2).mean():.2f}")

# %% [markdown]
# ## What does an edge know?
# Everything that eigenvectors know of an image, they know from its edges. So before comparing vectors, we look at the
# edges, in two ways. How often do the two ends have one class? And how alike are they in properties of their pixels,
# measured against pairs drawn at random? An untrained network should find images that are as light and as dark, since
# that is what its input is.


# %%
#| export
def same_class_edges(graph: sparse.csr_array, images: Images) -> float:
    """The share of a graph's edges, of `all_pictures`, that join two images of one class."""
    labels = np.concatenate([images.train_labels, images.test_labels])
    i, j = graph.nonzero()
    return (labels[i] == labels[j]).mean()


def edge_facts(graph: sparse.csr_array, images: Images) -> dict:
    """`same_class_edges`, and for each of `ATTRIBUTES` how far the ends of an edge differ (l2; random pairs: 1)."""
    i, j = graph.nonzero()
    shuffled, differ = np.random.default_rng(0).permutation(j), {}
    for name, values in image_attributes(all_pictures(images)).items():
        near, far = (np.linalg.norm(values[i] - values[ends], axis=1).mean() for ends in (j, shuffled))
        differ[name] = near / max(far, 1e-3)  # images without any colour differ in it by nothing
    return {"same_class_edges": same_class_edges(graph, images), "differ": differ}


# %%
facts = edge_facts(whole.graph, images)
print(f"within a class {facts['same_class_edges']:.1%}; differ", {k: f"{v:.2f}" for k, v in facts["differ"].items()})
order = np.random.default_rng(1).permutation(len(share))
pairs = sparse.csr_array((np.ones(len(order)), (order, np.roll(order, 1))), shape=whole.graph.shape)
assert abs(edge_facts(pairs, images)["differ"]["brightness"] - 1) < 0.15  # pairs at random differ like pairs at random

# %% [markdown]
# ## Q6: the comparison, and a control
# Two things differ between VICReg and these eigenvectors: *who says which images are alike* (augmentations, or an
# untrained network), and *how the vectors are found* (by a network that must produce them, or one by one). A mere
# comparison of the two cannot tell which matters. So there is a control that changes only the first: Laplacian
# Eigenmaps again, but on the graph of neighbours by *VICReg's* representation.

# %%
#| export
q6 = Question("Q6", "Ablation 3: Laplacian Eigenmaps", "Section 3.2, Question 6", required=True)


def control_graph(cfg: Config, images: Images) -> ImageGraph:
    """The neighbour graph of training and test images by VICReg's representation."""
    vicreg = features(cfg, images, "vicreg")
    return make_graph(cfg, ["representation", vicreg.identity], lambda: np.concatenate([vicreg.train, vicreg.test]))


# %%
control = control_graph(cfg, images)
print(f"within a class {same_class_edges(control.graph, images):.1%}")

# %% [markdown]
# The probe is Q3's for all three. The exercise wants two pictures side by side: its Fig. 2, of Laplacian Eigenmaps of
# 10,000 training images, and Q2's, of VICReg's test images. Of Fig. 2 there are no points that could be measured, so
# the first picture is made again as footnote 3 says. The two show different images; the probe has the same for both.


# %%
#| export
@q6.result
def compare_laplacian(cfg: Config, images: Images) -> dict:
    """VICReg, Laplacian Eigenmaps (also without test images in the graph), and on VICReg's neighbours."""
    graphs = {
        "small": image_graph(cfg, images.train_images[: cfg.graph_size]),
        "laplacian": image_graph(cfg, all_pictures(images)),
        "control": control_graph(cfg, images),
    }
    embeddings = {name: embed(cfg, graph) for name, graph in graphs.items()}
    compared = {"vicreg": features(cfg, images, "vicreg")}
    compared |= {name: graph_embedding(cfg, images, graphs[name]) for name in ("laplacian", "control")}
    compared["amortised"] = amortised_features(cfg, images)
    shown = images.train_images[: cfg.graph_size]
    small, test = embeddings["small"].vectors.astype(np.float32), compared["vicreg"].test[: cfg.tsne_size]
    maps = {
        "laplacian": (project_tsne(cfg, small), images.train_labels[: len(small)]),
        "vicreg": (project_tsne(cfg, test), images.test_labels[: len(test)]),
    }
    probes = {name: linear_probe(cfg, one, images) for name, one in compared.items()}
    edges = {name: edge_facts(graphs[name].graph, images) for name in ("laplacian", "control")}
    whole = {"eigenvectors": small, "pixels": shown.reshape(len(shown), -1).astype(np.float32)}
    whole = {name: agreement(points, images.train_labels[: len(points)]) for name, points in whole.items()}
    given = {"neighbours": cfg.graph_neighbours, "components": cfg.components, "classes": images.classes}
    found = {"graphs": graphs, "embeddings": embeddings, "probes": probes, "edges": edges, "maps": maps}
    return given | found | {"in_all": whole}


# %%
result = q6.compute(cfg, images)
print({name: f"{probe.accuracy:.1%} ± {probe.interval:.1%}" for name, probe in result["probes"].items()})

# %% [markdown]
# ## The picture
# Where does a class keep together? A picture of many points in ten colours deceives the eye, so the answer below also
# counts: how many of a point's ten nearest in the picture have its class.


# %%
#| export
@q6.figure(
    "Does a class have a region of its own? t-SNE of Laplacian Eigenmaps (training images, made as footnote 3 says, in "
    "place of the exercise's Fig. 2) and of VICReg (test images, as in Q2)."
)
def q6_tsne(result: dict) -> Drawing:
    kinds, panels = {"laplacian": "training", "vicreg": "test"}, {}
    for name, (points, labels) in result["maps"].items():
        panels[f"{METHODS[name].title}: {len(labels):,} {kinds[name]} images"] = points, labels
    return scatter(panels, result["classes"])


# %%
q6_tsne(result)

# %% [markdown]
# ## In numbers
# What there is to tell of a graph and its eigenvectors:


# %%
#| export
def _graph_numbers(graph, embedding):
    degree = graph.graph.sum(axis=1)
    seconds = dict(zip(("features", "neighbours", "eigenvectors"), (*graph.seconds, embedding.seconds), strict=True))
    return {
        "images": len(degree), "edges": graph.graph.nnz // 2, "mean_degree": degree.mean(), "max_degree": degree.max(),
        "connected_components": len(graph.sizes), "component_sizes": graph.sizes[:10],
        "joining_edges": len(graph.added), "first_eigenvalue": embedding.values[0],
        "last_eigenvalue": embedding.values[-1], "largest_residual": embedding.residuals.max(),
        "seconds": seconds | {"total": sum(seconds.values())},
    }  # fmt: skip


# %%
print(_graph_numbers(small_graph, small))

# %% [markdown]
# The control splits the difference between VICReg and Laplacian Eigenmaps in two. Each part is a difference
# of two accuracies on the same test images, with the interval of the paired difference.


# %%
#| export
@q6.summary
def _numbers(result):
    probes, graphs, embeddings = (result[name] for name in ("probes", "graphs", "embeddings"))
    methods = {name: {"accuracy": probe.accuracy, "interval": probe.interval} for name, probe in probes.items()}
    for name, (points, labels) in result["maps"].items():
        methods[name] |= {"picture_agreement": agreement(points, labels), "picture_images": len(points)}
    for name, facts in result["edges"].items():
        methods[name] |= facts
    pairs = {"total": ("vicreg", "laplacian"), "graph": ("control", "laplacian"), "rest": ("vicreg", "control")}
    pairs["held"] = "laplacian", "amortised"
    gains = {name: gain(probes[one], probes[other]) for name, (one, other) in pairs.items()}
    sizes = {"small": "small", "whole": "laplacian"}
    sizes = {name: _graph_numbers(graphs[graph], embeddings[graph]) for name, graph in sizes.items()}
    settings = {"neighbours": result["neighbours"], "components": result["components"]}
    over = "95 %, paired over the test images"
    return methods | gains | sizes | settings | {
        "chance": 1 / len(result["classes"]), "in_all": result["in_all"], "over": over,
    }  # fmt: skip


# %%
numbers = _numbers(result)
parts = numbers["graph"]["points"] + numbers["rest"]["points"]
assert abs(numbers["total"]["points"] - parts) < 1e-9
print(
    {step: f"{numbers[step]['points']:+.1f} ± {numbers[step]['interval']:.1f}" for step in ("total", "graph", "rest")}
)

# %% [markdown]
# ## Q6 in words
# The control carries the argument. If it stays where Laplacian Eigenmaps are, then the graph is not the reason; if it
# comes up to VICReg, then it is.


# %%
#| export
@q6.table
def _table(n):
    def row(title, one, edges):
        return [title, f"{one.accuracy:.1%} ± {one.interval:.1%}", edges]

    rows = [
        row(METHODS["vicreg"].title, n.vicreg, "–"),
        row(METHODS["laplacian"].title, n.laplacian, f"{n.laplacian.same_class_edges:.1%}"),
        row("Laplacian Eigenmaps, training images alone", n.amortised, "–"),
        row("Laplacian Eigenmaps, VICReg's neighbours", n.control, f"{n.control.same_class_edges:.1%}"),
    ]
    caption = f"Linear probe, and how often an edge joins two images of one class. {OVER_IMAGES}"
    return {"caption": caption, "header": ["", "linear probe", "edges within a class"], "rows": rows}


# %%
print(f"an edge drawn at random would be within a class in {numbers['chance']:.0%} of the cases")

# %% [markdown]
# First the verdict, and what the pictures show.

# %%
#| export
_PROBES = """the linear probe reaches {vicreg.accuracy:.1%} on VICReg's representation and {laplacian.accuracy:.1%} on
    that of Laplacian Eigenmaps** (a difference of {total.points:.1f} ± {total.interval:.1f} points, {over}; chance is
    {chance:.0%})."""
q6.says("**VICReg is more effective: " + _PROBES, when=lambda n: n.total.points > n.total.interval)
q6.says("**Laplacian Eigenmaps are more effective: " + _PROBES, when=lambda n: n.total.points < -n.total.interval)
q6.says("**Neither is measurably better: " + _PROBES, when=lambda n: abs(n.total.points) <= n.total.interval)

# %%
#| export
_PICTURES = """of a point's ten nearest in the picture, {laplacian.picture_agreement:.1%} have its class with Laplacian
    Eigenmaps ({laplacian.picture_images:,} training images, with a graph of their own) and
    {vicreg.picture_agreement:.1%} with VICReg ({vicreg.picture_images:,} test images; chance is {chance:.0%})."""
_FIG_2 = """ (The exercise asks to compare its Fig. 2. Of that we have no points that could be measured, so the left
    picture, made as its footnote 3 says, stands in for it; of the printed one nothing is claimed. The two pictures show
    different images; the probe has the same for both methods.)"""


def _as_pictured(n):
    """Whether VICReg is more effective, and its picture plainly the better one."""
    clear = n.laplacian.picture_agreement < 0.3 and n.vicreg.picture_agreement > 0.4
    return n.total.points > n.total.interval and clear


q6.says(
    "The pictures say the same. The classes are far more mixed on the left than on the right: " + _PICTURES + _FIG_2,
    when=_as_pictured,
)
q6.says(
    "In the pictures, " + _PICTURES + _FIG_2,
    when=lambda n: not _as_pictured(n),
)

# %%
#| export
q6.says(
    """It is not t-SNE that loses Laplacian Eigenmaps' classes: in all {components} dimensions {in_all.eigenvectors:.1%}
    of a point's ten nearest have its class. Among the images' plain pixels, 32 x 32 of them, it is {in_all.pixels:.1%}.
    """,
    when=lambda n: n.laplacian.picture_agreement > 0.9 * n.in_all.eigenvectors,
)

# %%
#| export
q6.says("""The graph's features are as in the exercise's footnote 3: the outputs of a small *random CNN*, which is never
    trained. (Elsewhere "before training" means Q1's own encoder.) The footnote gives neither the widths of its layers
    nor the graph's edges; both are our choice: an edge where one of two images is among the {neighbours} nearest of
    the other, all of weight 1.""")

# %% [markdown]
# Then the reason, as far as the control and the edges tell it. The claim about the graph stands only if the control
# gains most of the difference *and* its edges differ in the way that is said.

# %%
#| export
_SEEN = ("brightness", "background")  # by the random CNN


def _graph_decides(n):
    """Most of the difference is the graph's, and the edges show why."""
    gained = n.graph.points - n.graph.interval > max(0, n.total.points / 2)
    better = n.control.same_class_edges > n.laplacian.same_class_edges
    return gained and better and all(n.control.differ[seen] > 1.2 * n.laplacian.differ[seen] for seen in _SEEN)


q6.says("""Both methods ask for the same three things: neighbours close together, spread in every dimension, no
    dimension that repeats another. They differ in what decides which images are neighbours, and in what finds the
    vectors. The control changes the first alone: on the graph of neighbours by VICReg's representation, Laplacian
    Eigenmaps reach {control.accuracy:.1%}.""")

# %%
#| export
q6.says(
    """**It is mostly the graph: {graph.points:.1f} ± {graph.interval:.1f} of the {total.points:.1f} points.** In the
    control's graph {control.same_class_edges:.1%} of the edges join images of one class, in the random CNN's
    {laplacian.same_class_edges:.1%}. The random CNN takes images of one brightness for neighbours, with like upper and
    lower edges: they differ in them by {laplacian.differ.brightness:.0%} and {laplacian.differ.background:.0%} of what
    random pairs do, VICReg's neighbours by {control.differ.brightness:.0%} and {control.differ.background:.0%}. (In
    colour without brightness it is {laplacian.differ.colour:.0%} and {control.differ.colour:.0%}, in contrast
    {laplacian.differ.contrast:.0%} and {control.differ.contrast:.0%}, in fine texture
    {laplacian.differ[fine texture]:.0%} and {control.differ[fine texture]:.0%}, in layout
    {laplacian.differ.layout:.0%} and {control.differ.layout:.0%}.)""",
    when=_graph_decides,
)

# %%
#| export
q6.says(
    """So most of VICReg's lead lies in which images count as neighbours. Its own pairs come from augmentations; what
    neighbours that are chosen without them are worth, Q5 tells. And the control borrows its neighbours from VICReg: it
    does not show that eigenvectors could have done without it.""",
    when=lambda n: _graph_decides(n) and n.rest.points > n.rest.interval,
)

# %% [markdown]
# What remains between the control and VICReg, and what it took to run all this.

# %%
#| export
_PART = "{graph.points:.1f} ± {graph.interval:.1f} of the {total.points:.1f} points."


def _part_of_graph(n):
    """The range of the part that the graph has in VICReg's lead; None where there is no lead."""
    low, high = n.graph.points - n.graph.interval, n.graph.points + n.graph.interval
    return (low / n.total.points, high / n.total.points) if n.total.points > n.total.interval else None


# %%
from vicreg_nb.book import plain_numbers

for points, interval, part in ((7, 8, (-0.1, 1.5)), (3, 1, (0.2, 0.4)), (0, 1, (-0.1, 0.1))):
    made = {"graph": {"points": points, "interval": interval}, "total": {"points": 10, "interval": 1}}
    np.testing.assert_allclose(_part_of_graph(plain_numbers(made)), part)
assert _part_of_graph(plain_numbers(made | {"total": {"points": 1, "interval": 2}})) is None

# %%
#| export
q6.says(
    "The graph is a part of it: " + _PART,
    when=lambda n: not _graph_decides(n) and _part_of_graph(n) and _part_of_graph(n)[0] > 0,
)
q6.says(
    "The graph is not the reason here: with VICReg's neighbours Laplacian Eigenmaps gain only " + _PART,
    when=lambda n: _part_of_graph(n) and _part_of_graph(n)[0] <= 0 and _part_of_graph(n)[1] < 0.5,
)
q6.says(
    "How much of it is the graph cannot be told: with VICReg's neighbours Laplacian Eigenmaps gain " + _PART,
    when=lambda n: _part_of_graph(n) and _part_of_graph(n)[0] <= 0 and _part_of_graph(n)[1] >= 0.5,
)

# %%
#| export
q6.says(
    """Between the control and VICReg {rest.points:.1f} ± {rest.interval:.1f} points remain, for a network in place of
    eigenvectors and for generated views in place of neighbours. Q6 cannot separate the two; the ladder trains what lies
    between them (beyond Question 6).""",
    when=lambda n: n.rest.points > n.rest.interval,
)
q6.says(
    """Between the control and VICReg no measurable difference remains ({rest.points:.1f} ± {rest.interval:.1f}
    points).""",
    when=lambda n: abs(n.rest.points) <= n.rest.interval,
)
q6.says(
    "The control is even ahead of VICReg (VICReg against it: {rest.points:+.1f} ± {rest.interval:.1f} points).",
    when=lambda n: n.rest.points < -n.rest.interval,
)

# %%
#| export
_RUN = """To run it: {components} eigenvectors of {whole.images:,} images took {whole.seconds.total:.1f} s
    ({whole.seconds.features:.1f} s for the features, {whole.seconds.neighbours:.1f} s for exact neighbours,
    {whole.seconds.eigenvectors:.1f} s for the eigenvectors), with a largest residual of {whole.largest_residual:.1e}.
    """
q6.says(_RUN + "The graph is connected as it is.", when=lambda n: n.whole.joining_edges == 0)
q6.says(
    _RUN + "{whole.joining_edges:,} edges had to be added to make the graph connected.",
    when=lambda n: n.whole.joining_edges > 0,
)

# %% [markdown]
# What is it worth to the test images to take part in the graph? The graph that holds them against the one that does
# not. This is not what a network is worth: both sides are eigenvectors.

# %%
#| export
_HELD = """Laplacian Eigenmaps give a vector only to what is in the graph, so the graph of {whole.images:,} images holds
    the test images, without labels. With the training images alone, and the test images added later by Nyström's
    extension (the mean of the vectors of an image's neighbours, scaled; Bengio et al., 2004), the probe reaches
    {amortised.accuracy:.1%}. So taking part in the graph """
q6.says(
    _HELD + """is worth {held.points:.1f} ± {held.interval:.1f} points.""",
    when=lambda n: n.held.points > n.held.interval,
)
q6.says(
    _HELD + """is worth nothing measurable ({held.points:+.1f} ± {held.interval:.1f} points).""",
    when=lambda n: abs(n.held.points) <= n.held.interval,
)
q6.says(
    _HELD + """costs the test images accuracy ({held.points:+.1f} ± {held.interval:.1f} points).""",
    when=lambda n: n.held.points < -n.held.interval,
)

# %%
q6.run(cfg, result)
