# %% [markdown]
# # 81 · Neighbours
# Which images are nearest to an image, and which are most distant from it? Half of the exercise asks this: Q5, Q6, Q7,
# and anomaly detection. So it is answered once, here, from all pairs, on a CPU by faiss and on a GPU by PyTorch.

# %%
#| default_exp neighbours

# %%
#| export
from typing import NamedTuple

import faiss
import numpy as np
import torch
from vicreg_nb.store import UserError, progress

# %% [markdown]
# ## Features that can be searched
# One NaN makes every distance to it NaN, and a search sorts it anywhere without a word. So features are checked before
# anything is computed from them, here and nowhere else. They are also centred: it changes no distance, and the smaller
# the norms, the smaller the rounding.


# %%
#| export
def checked(x: np.ndarray, name: str = "the features") -> np.ndarray:
    """`x` [N, d] as a contiguous array; UserError where it holds NaN or infinity, or is no matrix."""
    x = np.ascontiguousarray(x)
    if x.ndim != 2 or not len(x):
        raise UserError(f"{name} have shape {x.shape}: give an array of shape [images, dimensions].")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise UserError(
            f"{name} hold NaN or infinity in {len(bad)} of {len(x)} rows, first in row {bad[0]}: "
            "train again with a lower lr, or leave these rows out."
        )
    return x


# %%
for wrong in (np.full((3, 2), np.nan), np.zeros(3)):
    try:
        checked(wrong)
    except UserError as error:
        print(error)
    else:
        raise AssertionError(wrong)

# %% [markdown]
# ## Candidates, by one matrix product
# The squared distance of two points is
#
# $$\lVert a - b \rVert^2 = \lVert a \rVert^2 - 2\,a \cdot b + \lVert b \rVert^2 .$$
#
# For one $a$, the first term orders nothing. The rest is a dot product, $[-2a,\ 1] \cdot [b,\ \lVert b \rVert^2]$:
# its smallest values belong to the nearest points and its largest to the most distant ones. That is what faiss and a
# GPU do best. Single precision rounds, so this product only nominates: `SPARE` more candidates than are wanted.

# %%
#| export
SPARE = 4  # candidates beyond those wanted
_BLOCK = 1_000  # queries at a time


def _candidates(x, queries, count, farthest, device):
    """Numbers int64 [Q, count] of the rows of x [N, d] nearest to (or farthest from) each query [Q, d], in fp32."""
    centre = x.mean(axis=0, dtype=np.float64)
    x, queries = (x - centre).astype(np.float32), (queries - centre).astype(np.float32)
    points = np.concatenate((x, (x * x).sum(axis=1, keepdims=True)), axis=1)
    asked = np.concatenate((-2 * queries, np.ones((len(queries), 1), np.float32)), axis=1)
    asked = asked if farthest else -asked  # both searches below look for the largest product
    if torch.device(device).type == "cpu":
        index = faiss.IndexFlatIP(points.shape[1])
        index.add(points)
        return index.search(asked, count)[1]
    points, asked = torch.from_numpy(points).to(device), torch.from_numpy(asked).to(device)
    found = [(block @ points.T).topk(count, dim=1).indices for block in asked.split(_BLOCK)]
    return torch.cat(found).cpu().numpy()


# %%
points = np.random.default_rng(0).normal(3, 1, (40, 8))
true = np.argsort(((points[:, None] - points) ** 2).sum(axis=2), axis=1)
assert (_candidates(points, points, 3, False, "cpu") == true[:, :3]).all()
assert (_candidates(points, points, 3, True, "cpu") == true[:, ::-1][:, :3]).all()

# %% [markdown]
# ## In double precision
# The candidates' distances are then computed in double precision, plainly, as $\lVert a - b \rVert_2$, and these
# decide. (faiss returns *squared* distances; their mean is not the exercise's Eq. 7.) An image is no neighbour of its
# own. It is struck out by its number and not by its distance, since a copy of it is a neighbour like any other.


# %%
#| export
class Neighbours(NamedTuple):
    """l2 distances float64 [Q, k] and numbers int64 [Q, k] of images, best first; ties by number."""

    distances: np.ndarray
    numbers: np.ndarray


# %%
#| export
def _search(x, k, queries, farthest, device):
    own = queries is None
    x = checked(x)
    queries = x if own else checked(queries, "the queried features")
    if queries.shape[1] != x.shape[1]:
        raise UserError(f"The queries have {queries.shape[1]} dimensions and the features {x.shape[1]}: give as many.")
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool):
        raise UserError(f"k is {k!r}: give a whole number.")
    if not 1 <= k <= len(x) - own:
        raise UserError(f"k is {k}: choose from 1 to {len(x) - own}, the number of images to compare with.")
    found = np.sort(_candidates(x, queries, min(k + own + SPARE, len(x)), farthest, device), axis=1)
    distances = np.empty((len(queries), k))
    numbers = np.empty((len(queries), k), np.int64)
    for start in progress(range(0, len(queries), _BLOCK), "neighbours"):
        rows = np.arange(start, min(start + _BLOCK, len(queries)))
        exact = np.linalg.norm(x[found[rows]].astype(np.float64) - queries[rows, None], axis=2)
        key = np.where(own & (found[rows] == rows[:, None]), np.inf, -exact if farthest else exact)
        order = np.argsort(key, axis=1, kind="stable")[:, :k]
        distances[rows], numbers[rows] = (np.take_along_axis(part, order, 1) for part in (exact, found[rows]))
    return Neighbours(distances, numbers)


# %%
line = np.arange(5.0)[:, None]
print(_search(line, 2, None, farthest=False, device="cpu").numbers.tolist())
assert _search(line, 1, np.array([[1.2]]), farthest=True, device="cpu").distances.tolist() == [[2.8]]


# %%
#| export
def nearest(x: np.ndarray, k: int, queries: np.ndarray = None, device="cpu") -> Neighbours:
    """The k nearest rows of x [N, d] to each of `queries` [Q, d], or to each row of x, itself left out.

    Raises UserError for k below 1 or larger than the number of images to compare with, and for NaN.
    """
    return _search(x, k, queries, False, device)


def farthest(x: np.ndarray, k: int, queries: np.ndarray = None, device="cpu") -> Neighbours:
    """The k rows of x [N, d] that are most distant, the most distant first; otherwise as `nearest`."""
    return _search(x, k, queries, True, device)


# %% [markdown]
# Against plain double precision, with copies among the points, and where all points lie on a line:

# %%
random = np.random.default_rng(2)
points = random.normal(size=(1_000, 16)).astype(np.float32)
points[100:103] = points[7]
for x in (points, points[:, :1] * np.ones((1, 16), np.float32)):
    true = np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2)
    np.fill_diagonal(true, np.nan)
    np.testing.assert_allclose(nearest(x, 5).distances, np.sort(true, axis=1)[:, :5], atol=1e-12)
    np.testing.assert_allclose(farthest(x, 5).distances, -np.sort(-true, axis=1)[:, :5], atol=1e-12)
    assert (nearest(x, 5).numbers != np.arange(1_000)[:, None]).all()
assert nearest(points, 3).numbers[7].tolist() == [100, 101, 102]

# %% [markdown]
# So all is exact where the true ones are among the candidates. A known limit: where very many points lie on a line,
# single precision cannot tell the nearest apart, and nominates others, which are hardly farther away. With two wide
# directions there is room enough.

# %%
for wide in (1, 2):
    x = (random.normal(0, 10, (50_000, wide)) @ random.normal(size=(wide, 16)) / 4).astype(np.float32)
    true = [np.sort(np.linalg.norm(x - one, axis=1))[:5] for one in x[:150].astype(np.float64)]
    farther = nearest(x, 5, x[:150]).distances - true
    print(f"{wide} wide: {(farther > 1e-9).any(axis=1).sum()} of 150 differ, at most {farther.max():.4f} farther away")
    assert farther.max() < 0.02 and (wide == 1 or farther.max() < 1e-9)

# %% [markdown]
# ## Do neighbours agree?
# The plainest question to a set of neighbours: how many of them are of the same class as the image itself?


# %%
#| export
def same_class(numbers: np.ndarray, labels: np.ndarray, own: np.ndarray = None) -> np.ndarray:
    """Share [Q] of each query's neighbours `numbers` [Q, k] that have its label.

    labels: [N], of the images searched; own: [Q], of the queries, where these are not the images themselves.
    """
    return (labels[numbers] == (labels if own is None else own)[:, None]).mean(axis=1)


def agreement(points: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """The mean share of a point's k nearest points (itself left out) that have its label. points: [N, d]."""
    return float(same_class(nearest(points, k).numbers, labels).mean())


# %%
assert same_class(np.array([[1, 2], [0, 2], [0, 1]]), np.array([0, 0, 1])).tolist() == [0.5, 0.5, 0]
kinds = np.arange(1_000) % 10
print(f"ten kinds without any order agree in one case of ten: {agreement(points, kinds):.1%}")
assert agreement(points + 100 * kinds[:, None], kinds) == 1

# %% [markdown]
# How sure is that mean, had other images been drawn? It is of as many queries as there are images, but an image also
# answers the queries near it, so these shares are not independent. So each image is given its part in the mean both as
# a query and as an answer. These parts have the same mean; their spread, which counts each pair at both its images,
# makes an interval rather too wide than too narrow. It takes the space in which neighbours are sought as given.


# %%
#| export
def same_class_parts(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each image's part [N] in the mean of `same_class` of all, as a query and as an answer: for its interval."""
    asked = same_class(numbers, labels)
    beyond = (labels[numbers] == labels[:, None]) - asked.mean()
    return asked + np.bincount(numbers.ravel(), beyond.ravel(), len(labels)) / numbers.shape[1]


# %%
drawn = []
for _ in range(100):
    few = random.integers(0, 4, 300)
    found = nearest(random.normal(size=(300, 2)) + 2 * np.eye(4, 2)[few], 10).numbers
    drawn.append([same_class(found, few).mean(), same_class(found, few).std(), same_class_parts(found, few).std()])
spread, (_, plain, parts) = np.std([mean for mean, *_ in drawn]), np.mean(drawn, axis=0) / np.sqrt(300)
print(f"other images change the mean by {spread:.3f}; as if independent {plain:.3f}, by parts {parts:.3f}")
assert plain < 0.9 * spread < spread < parts and np.isclose(same_class_parts(found, few).mean(), drawn[-1][0])

# %% [markdown]
# ## Sums of distances
# The silhouette of Sec. 4.3 needs, for every point, the sum of its distances to each cluster: the matrix of all
# distances, a block of rows at a time, times the matrix that says who belongs to which cluster. In double precision,
# since a small cluster far from the centre would otherwise lose the small distances within it.


# %%
#| export
def distance_sums(x: np.ndarray, members: np.ndarray, device="cpu") -> np.ndarray:
    """Sums float64 [N, K] of l2 distances from each row of x [N, d] to those of K groups; members: 0 or 1, [N, K]."""
    x = checked(x, "the points").astype(np.float64)
    points = torch.from_numpy(x - x.mean(axis=0)).to(device)
    groups = torch.from_numpy(np.ascontiguousarray(members, np.float64)).to(device)
    blocks = progress(points.split(_BLOCK), "distance sums")
    return torch.cat([torch.cdist(block, points) @ groups for block in blocks]).cpu().numpy()


# %%
points = np.random.default_rng(0).normal(size=(1_300, 6)) + 50
groups = np.eye(3)[np.arange(1_300) % 3]
expected = np.linalg.norm(points[:, None] - points, axis=2) @ groups
np.testing.assert_allclose(distance_sums(points, groups), expected, rtol=1e-6)
