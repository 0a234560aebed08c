# Generated from nbs/81_neighbours.py by `make export`. Do not edit: edit the notebook.
# cells nbs/81_neighbours.py 2e580e878974229a
# text a7ca05aee3527f37

"""81 · Neighbours."""

from typing import NamedTuple

import faiss
import numpy as np
import torch
from vicreg_nb.store import UserError, progress


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


class Neighbours(NamedTuple):
    """l2 distances float64 [Q, k] and numbers int64 [Q, k] of images, best first; ties by number."""

    distances: np.ndarray
    numbers: np.ndarray


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


def nearest(x: np.ndarray, k: int, queries: np.ndarray = None, device="cpu") -> Neighbours:
    """The k nearest rows of x [N, d] to each of `queries` [Q, d], or to each row of x, itself left out.

    Raises UserError for k below 1 or larger than the number of images to compare with, and for NaN.
    """
    return _search(x, k, queries, False, device)


def farthest(x: np.ndarray, k: int, queries: np.ndarray = None, device="cpu") -> Neighbours:
    """The k rows of x [N, d] that are most distant, the most distant first; otherwise as `nearest`."""
    return _search(x, k, queries, True, device)


def same_class(numbers: np.ndarray, labels: np.ndarray, own: np.ndarray = None) -> np.ndarray:
    """Share [Q] of each query's neighbours `numbers` [Q, k] that have its label.

    labels: [N], of the images searched; own: [Q], of the queries, where these are not the images themselves.
    """
    return (labels[numbers] == (labels if own is None else own)[:, None]).mean(axis=1)


def agreement(points: np.ndarray, labels: np.ndarray, k: int = 10) -> float:
    """The mean share of a point's k nearest points (itself left out) that have its label. points: [N, d]."""
    return float(same_class(nearest(points, k).numbers, labels).mean())


def same_class_parts(numbers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each image's part [N] in the mean of `same_class` of all, as a query and as an answer: for its interval."""
    asked = same_class(numbers, labels)
    beyond = (labels[numbers] == labels[:, None]) - asked.mean()
    return asked + np.bincount(numbers.ravel(), beyond.ravel(), len(labels)) / numbers.shape[1]


def distance_sums(x: np.ndarray, members: np.ndarray, device="cpu") -> np.ndarray:
    """Sums float64 [N, K] of l2 distances from each row of x [N, d] to those of K groups; members: 0 or 1, [N, K]."""
    x = checked(x, "the points").astype(np.float64)
    points = torch.from_numpy(x - x.mean(axis=0)).to(device)
    groups = torch.from_numpy(np.ascontiguousarray(members, np.float64)).to(device)
    blocks = progress(points.split(_BLOCK), "distance sums")
    return torch.cat([torch.cdist(block, points) @ groups for block in blocks]).cpu().numpy()
