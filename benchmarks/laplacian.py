"""Laplacian Eigenmaps of all images, against scikit-learn, and Q5's neighbour table.

    python benchmarks/laplacian.py [--parts whole sklearn table] [--small 10000] [--rounds 3] [--components 128]
                                   [--neighbours 10]

whole    training and test images of CIFAR-10 together (60,000): seconds of footnote 3's features in fp32, of exact
         neighbours and of the eigenvectors, the largest residual, and the process's peak memory. Nothing is read from
         a cache.
sklearn  the first `--small` training images: from the same graph to the embedding by `eigenmaps` and by scikit-learn's
         `SpectralEmbedding` with its default solver, in alternating rounds. Seconds and their ratio are medians over
         rounds; residuals are measured alike for both, as norms of (D^-1/2 W D^-1/2 - 1 + lambda) v for |v| = 1, with
         lambda the Rayleigh quotient of v.
table    the 3 nearest of each of 50,000 rows of 128 float32 numbers: random normal ones, whose exact search takes as
         long as that of representations.

The images are looked for as everywhere in the book (VICREG_NB_DATA). On two free cores all parts take about five
minutes.
"""

import argparse
import resource
import sys
import time
from statistics import median

import numpy as np
import scipy.sparse as sparse
import torch
from sklearn.manifold import SpectralEmbedding
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.laplacian_eigenmaps import all_pictures, eigenmaps, graph_features, join_components, knn_graph
from vicreg_nb.neighbours import nearest

PARTS = ("whole", "sklearn", "table")


def peak_memory():
    """The process's largest resident memory so far, in GiB (Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(function, *arguments):
    """(seconds, result)."""
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def timed_graph(cfg, pictures):
    """(seconds of features, seconds of neighbours, connected graph, the edges added for that)."""
    first, x = timed(graph_features, cfg, pictures)
    second, (graph, added) = timed(lambda: join_components(knn_graph(x, cfg.graph_neighbours), x))
    return first, second, graph, added


def measured_residuals(graph, vectors):
    """Residuals [c] of an embedding [N, c] up to the scale of its columns, in double precision."""
    degree = graph.sum(axis=1)
    scale = sparse.diags_array(degree**-0.5)
    v = np.sqrt(degree)[:, None] * vectors
    v /= np.linalg.norm(v, axis=0)
    product = scale @ (graph @ (scale @ v))
    return np.linalg.norm(product - v * (v * product).sum(axis=0), axis=0)


def whole(cfg, images):
    pictures = all_pictures(images)
    features, neighbours, graph, added = timed_graph(cfg, pictures)
    embedding = eigenmaps(graph, cfg.components, cfg.seed)
    size = f"{len(pictures):,} images, {cfg.graph_neighbours} neighbours, {graph.nnz // 2:,} edges"
    print(f"whole: {size}, {len(added):,} of them added to connect the graph; {cfg.components} components")
    steps = {"features": features, "neighbours": neighbours, "eigenvectors": embedding.seconds}
    for name, seconds in (steps | {"total": sum(steps.values())}).items():
        print(f"  {name:17} {seconds:8.1f} s")
    again = measured_residuals(graph, embedding.vectors).max()
    print(f"  largest residual  {embedding.residuals.max():8.0e} (measured again: {again:.0e})")
    print(f"  peak memory       {peak_memory():8.2f} GiB")


def against_sklearn(cfg, images, options):
    pictures = images.train_images[: options.small]
    graph = timed_graph(cfg, pictures)[2]
    theirs = SpectralEmbedding(cfg.components, affinity="precomputed", random_state=cfg.seed)
    methods = {
        "scikit-learn": theirs.fit_transform,
        "ours": lambda graph: eigenmaps(graph, cfg.components, cfg.seed).vectors,
    }
    seconds, residuals = {name: [] for name in methods}, {}
    for _ in range(options.rounds):
        for name, method in methods.items():
            spent, vectors = timed(method, graph)
            seconds[name].append(spent)
            residuals[name] = measured_residuals(graph, vectors).max()
    size = f"{len(pictures):,} images, {graph.nnz // 2:,} edges, {cfg.components} components"
    print(f"sklearn: {size}, from the graph to the embedding")
    for name, spent in seconds.items():
        print(f"  {name:17} {median(spent):8.2f} s, largest residual {residuals[name]:.0e}")
    ratios = np.array(seconds["scikit-learn"]) / np.array(seconds["ours"])
    spread = f"from {ratios.min():.2f} to {ratios.max():.2f} over {options.rounds} rounds"
    print(f"  ratio             {median(ratios):8.2f} ({spread})")


def table(rows, dimensions, k):
    x = np.random.default_rng(0).normal(size=(rows, dimensions)).astype(np.float32)
    seconds, _ = timed(nearest, x, k)
    print(f"table: the {k} nearest of each of {rows:,} x {dimensions} random normal float32")
    print(f"  seconds           {seconds:8.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--small", type=int, default=10_000, help="images compared with scikit-learn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--components", type=int, default=128)
    parser.add_argument("--neighbours", type=int, default=10, help="k of the graph")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # each part's lines as soon as it is done, in a file too
    sizes = {"components": options.components, "graph_neighbours": options.neighbours}
    cfg = make_config("exercise", dataset="cifar10", device="cpu", **sizes)
    print(f"{torch.get_num_threads()} threads, CPU {torch.backends.cpu.get_cpu_capability()}")
    if {"whole", "sklearn"} & set(options.parts):
        images = open_dataset(cfg)
    if "whole" in options.parts:
        whole(cfg, images)
    if "sklearn" in options.parts:
        against_sklearn(cfg, images, options)
    if "table" in options.parts:
        table(50_000, 128, 3)


if __name__ == "__main__":
    main()
