"""Retrieval, anomaly scores, k-means, silhouette and t-SNE at full size, against plain references in alternation.

    python benchmarks/downstream.py [--parts retrieval anomaly kmeans silhouette tsne] [--features FILE.npz]
                                    [--rounds 3] [--count 50000]

The features are 50,000 x 128 from ten overlapping Gaussians, and 20,000 test rows; or real ones, from a file with the
arrays `train` and `test` (such as runs/cache/features-*.npz). The references are scikit-learn's exact functions, and
for retrieval a plain `torch.cdist` with two `topk`, timed on a tenth of the queries. Seconds are medians over rounds,
ratios medians of each round's.
"""

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.neighbors import NearestNeighbors
from vicreg_nb.anomaly import inverse_density
from vicreg_nb.clustering import cluster, silhouettes, tsne_map
from vicreg_nb.config import make_config
from vicreg_nb.neighbours import farthest, nearest

TARGETS = {"retrieval": 10, "anomaly": 5, "kmeans": 20, "silhouette": 10, "tsne": 60}  # seconds on two cores


def gaussians(count, d=128, tests=20_000):
    """(train [count, d], test [tests, d], classes of train): ten overlapping Gaussians, flat in later dimensions."""
    random = np.random.default_rng(0)
    scale = np.linspace(1, 0.15, d)
    labels = random.integers(0, 10, count + tests)
    x = (random.normal(size=(10, d))[labels] * 0.45 + random.normal(size=(count + tests, d))) * scale + 0.5
    return x[:count].astype(np.float32), x[count:].astype(np.float32), labels[:count]


def read_features(path, count):
    """The same from a file; the test rows are repeated up to 20,000, and the classes are k-means clusters."""
    with np.load(path) as file:
        train, test = file["train"][:count], file["test"]
    return train, np.resize(test, (20_000, test.shape[1])), KMeans(10, n_init=1, random_state=0).fit(train).labels_


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def alternate(rounds, ours, reference=None, scale=1):
    """Median seconds of `ours`, of `reference` times `scale`, their ratio, and what the last calls returned."""
    times, results = {"ours": [], "reference": []}, {}
    for _ in range(rounds):
        for name, work in (("reference", reference), ("ours", ours)):
            if work is not None:
                spent, results[name] = seconds(work)
                times[name].append(spent * (scale if name == "reference" else 1))
    ratios = [slow / fast for slow, fast in zip(times["reference"], times["ours"])]
    return median(times["ours"]), median(times["reference"] or [0]), median(ratios or [0]), results


def show(title, ours, target=None, reference=0, ratio=0, note=""):
    met = "" if target is None else f"  target {target} s: {'met' if ours < target else 'MISSED'}"
    against = f"  reference {reference:6.2f} s, ratio {ratio:5.2f}" if reference else ""
    print(f"{title:44}{ours:7.2f} s{met}{against}{'  ' + note if note else ''}", flush=True)


def both_ends(x, k, queries=None):
    """Retrieval as Q7 has it: the k nearest and the k most distant of each row, or of the rows `queries`."""
    return nearest(x, k, queries), farthest(x, k, queries)


def plain_search(x, k, queries):
    """Nearest and farthest by all distances and two `topk`, in blocks; the row itself is still among the nearest."""
    x, parts = torch.from_numpy(x), []
    for block in torch.from_numpy(queries).split(500):
        distances = torch.cdist(x[block], x)
        parts.append((distances.topk(k + 1, largest=False), distances.topk(k)))
    return parts


def retrieval(x, test, labels, rounds):
    asked = np.random.default_rng(1).choice(len(x), max(10, len(x) // 10), replace=False)
    scale = len(x) / len(asked)
    ours, slow, ratio, _ = alternate(rounds, lambda: both_ends(x, 5), lambda: plain_search(x, 5, asked), scale)
    show(f"retrieval, all {len(x):,} queries", ours, TARGETS["retrieval"], slow, ratio)
    show("retrieval, 10 queries", alternate(rounds, lambda: both_ends(x, 5, x[asked[:10]]))[0])


def anomaly(x, test, labels, rounds):
    for k in (2, 50):
        brute = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(x)
        ours, slow, ratio, found = alternate(
            rounds,
            lambda k=k: inverse_density(nearest(x, k, test).distances)[:, -1],
            lambda brute=brute: brute.kneighbors(test)[0].mean(axis=1),
        )
        apart = np.abs(found["ours"] / found["reference"] - 1).max()
        note = f"largest relative difference {apart:.0e}"
        show(f"anomaly scores of {len(test):,}, k = {k}", ours, TARGETS["anomaly"], slow, ratio, note)


def kmeans(x, test, labels, rounds):
    cfg = make_config("exercise", device="cpu")

    def ours():
        with tempfile.TemporaryDirectory() as folder:
            return cluster(cfg.replace(out=folder), x)

    show(f"k-means, {cfg.clusters} clusters, {cfg.kmeans_inits} starts", alternate(rounds, ours)[0], TARGETS["kmeans"])


class Memory(threading.Thread):
    """The largest resident memory in bytes while it runs, beyond that at its start (Linux)."""

    def __enter__(self):
        self.stopped, self.start_bytes, self.peak = threading.Event(), self.resident(), 0
        self.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.join()

    def run(self):
        while not self.stopped.wait(0.01):
            self.peak = max(self.peak, self.resident() - self.start_bytes)

    @staticmethod
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def silhouette(x, test, labels, rounds):
    clusters = KMeans(10, n_init=1, random_state=0).fit(x).labels_
    with Memory() as memory:
        silhouettes(x, clusters)
    ours, slow, ratio, found = alternate(
        rounds, lambda: silhouettes(x, clusters)[0], lambda: silhouette_score(x, clusters)
    )
    apart = np.abs(found["ours"] - silhouette_samples(x.astype(np.float64), clusters)).max()
    mean = f"mean {found['ours'].mean():.6f}, sklearn {found['reference']:.6f}"
    note = f"{mean}; largest difference to sklearn in float64 {apart:.1e}; {memory.peak / 2**20:.0f} MiB more memory"
    show(f"silhouette of {len(x):,}", ours, TARGETS["silhouette"], slow, ratio, note)
    show("silhouette of clusters and classes at once", alternate(rounds, lambda: silhouettes(x, clusters, labels))[0])


def tsne(x, test, labels, rounds):
    cfg = make_config("exercise", device="cpu", tsne_train_size=min(10_000, len(x)))
    centres = np.stack([x[labels == label].mean(axis=0) for label in range(10)])
    with tempfile.TemporaryDirectory() as folder:
        spent, one = seconds(lambda: tsne_map(cfg.replace(out=folder), x, centres))
    show(f"t-SNE of {len(one.points):,} and 10 centres, once", spent, TARGETS["tsne"])


PARTS = {"retrieval": retrieval, "anomaly": anomaly, "kmeans": kmeans, "silhouette": silhouette, "tsne": tsne}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--features", help="npz with the arrays train and test; without it, Gaussians")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=50_000, help="training rows")
    options = parser.parse_args()
    x, test, labels = read_features(options.features, options.count) if options.features else gaussians(options.count)
    print(f"train {x.shape}, test {test.shape}, {torch.get_num_threads()} threads, medians of {options.rounds} rounds")
    for name in options.parts:
        PARTS[name](x, test, labels, options.rounds)


if __name__ == "__main__":
    main()
