# %% [markdown]
# # 7 · Clustering (Sec. 4.3, bonus)
# Does the representation fall into groups by itself, and are they the classes? In short: k-means finds groups, but they
# cut through the classes. The silhouette grades them without knowing a class, and so it grades how compact they are.
#
# K-means divides the training images into ten clusters (CL1), t-SNE shows them (CL2), and the silhouette grades them
# (CL3), by the representations of VICReg and of Q5's *neighbour pairs* (VICReg's loss on an image and one of its
# nearest neighbours, without augmentation). We do know the classes, so at each step we can ask whether the clusters
# agree with them.

# %%
#| default_exp clustering

# %%
#| export
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import entropy
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from vicreg_nb.book import Question
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images
from vicreg_nb.methods import ASKED, COMPARED, METHODS, UNMEASURED, beyond_half, features, says_length
from vicreg_nb.neighbours import checked, distance_sums, nearest, same_class_parts
from vicreg_nb.plots import CLASS_COLOURS, Drawing, heatmap, new_figure, scatter
from vicreg_nb.representations import effective_rank, half_interval, project_tsne
from vicreg_nb.identity import cached

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
clusters: int = None  # k-means; None: the profile's value
kmeans_inits: int = None  # initialisations of k-means; the best is kept
tsne_train_size: int = None  # training images in the pictures; 50,000 took 3 min 49 s on two cores, each time
perplexity: float = None  # t-SNE's

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.data import open_dataset

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## K-means
# K-means looks for centres $c_1, \dots, c_K$ that make the sum of squared distances to the nearest centre small. It
# finds a local minimum, so it starts several times and keeps the best. Squares make it heed outliers. To see how much,
# we also note which share of all squared distances to the mean belongs to the outermost tenth of the images.


# %%
#| export
def outermost(x: np.ndarray) -> np.ndarray:
    """[N], true for the tenth of the rows of x [N, d] that is farthest from their mean."""
    away = np.linalg.norm(x - x.mean(axis=0, dtype=np.float64), axis=1)
    return np.isin(np.arange(len(x)), np.argsort(-away, kind="stable")[: -(-len(x) // 10)])


# %%
assert np.flatnonzero(outermost(np.r_[np.zeros(18), 5, -6][:, None])).tolist() == [18, 19]


# %%
#| export
class Clustering(NamedTuple):
    """K-means: clusters [N] of the images, centres [K, d], sum of squared distances to them, extent of the images."""

    labels: np.ndarray
    centres: np.ndarray
    inertia: float
    extent: float  # root of the images' mean squared distance to their mean
    outer: float  # share of the sum of these squares that the outermost tenth of the images holds

    @property
    def between(self) -> float:
        """The share of the variance that lies between the clusters, and not within them."""
        return 1 - self.inertia / (len(self.labels) * self.extent**2) if self.extent else 0.0


# %%
halves = Clustering(np.array([0, 0, 1, 1]), np.array([[0.0], [4.0]]), inertia=4.0, extent=5**0.5, outer=0.0)
assert abs(halves.between - 0.8) < 1e-12  # of -1, 1, 3 and 5: squares of 20 in all, 4 within


# %%
#| export
def cluster(cfg: Config, x: np.ndarray) -> Clustering:
    """K-means (scikit-learn) of x [N, d] into `cfg.clusters`; computed once. UserError for NaN."""
    x = checked(x)

    def compute():
        found = KMeans(cfg.clusters, n_init=cfg.kmeans_inits, random_state=cfg.seed).fit(x)
        return {"labels": found.labels_.astype(np.int64), "centres": found.cluster_centers_, "inertia": found.inertia_}

    found = cached(cfg.cache, "kmeans", [x, cfg.clusters, cfg.kmeans_inits, cfg.seed], compute)
    squares = ((x - x.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=1)
    outer = squares[outermost(x)].sum() / (squares.sum() or 1)
    return Clustering(found["labels"], found["centres"], float(found["inertia"]), squares.mean() ** 0.5, float(outer))


# %%
x = features(cfg, images, "vicreg").train
one = cluster(cfg, x)
print(f"sizes {np.bincount(one.labels).tolist()}")
distances = np.linalg.norm(x[:500, None].astype(np.float64) - one.centres, axis=2)
assert (distances.argmin(axis=1) == one.labels[:500]).mean() > 0.99  # everyone belongs to the nearest centre
assert one.inertia < len(x) * one.extent**2  # which is the inertia of a single cluster

# %% [markdown]
# ## Are the clusters the classes?
# Three measures that know the classes. Normalised mutual information and the adjusted Rand index ask how much the one
# division says about the other. The matched accuracy, known as clustering accuracy (ACC), gives each cluster a class of
# its own, in the best possible way (the Hungarian method), and counts. Such a match is forced: it names a cluster after
# a class even where another class is more frequent in it. So figures call a cluster by its number, and beside it stand
# its two largest classes with their shares.


# %%
#| export
def class_scores(clusters: np.ndarray, labels: np.ndarray) -> dict:
    """NMI, ARI and matched accuracy of clusters [N] against the classes [N]."""
    table = contingency_matrix(clusters, labels)
    return {
        "nmi": normalized_mutual_info_score(labels, clusters),
        "ari": adjusted_rand_score(labels, clusters),
        "accuracy": table[linear_sum_assignment(-table)].sum() / len(labels),
    }


def shares(clusters: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The share [clusters, classes] of each cluster that is of each class."""
    table = contingency_matrix(clusters, labels)
    return table / table.sum(axis=1, keepdims=True)


def cluster_names(clusters: np.ndarray, labels: np.ndarray, classes: tuple) -> list[str]:
    """What each cluster is called: its number, and its two largest classes with their shares."""
    names = []
    for number, row in enumerate(shares(clusters, labels)):
        largest = np.argsort(-row, kind="stable")[:2]
        names.append(f"{number}: " + ", ".join(f"{classes[kind]} {row[kind]:.0%}" for kind in largest))
    return names


# %%
renamed = np.array([2, 2, 0, 0, 1, 1])  # the same division under other names, then with one image misplaced
assert class_scores(renamed, np.array([0, 0, 1, 1, 2, 2])) == {"nmi": 1, "ari": 1, "accuracy": 1}
assert class_scores(renamed, np.array([0, 0, 1, 1, 2, 1]))["accuracy"] == 5 / 6
named = cluster_names(np.array([0, 0, 0, 1, 1]), np.array([0, 1, 1, 1, 2]), ("cat", "dog", "ox"))
assert named == ["0: dog 67%, cat 33%", "1: dog 50%, ox 50%"]
print(cluster_names(one.labels, images.train_labels, images.classes))

# %% [markdown]
# ## A map with the centres in it
# t-SNE has no rule that takes a new point into its picture. A centre can be drawn where it belongs only if it is
# embedded *together* with the points, as one more of them. Both methods show the same random training images.


# %%
#| export
class Map(NamedTuple):
    """t-SNE of training images and cluster centres: numbers of the images [n], points [n, 2], centres [K, 2]."""

    numbers: np.ndarray
    points: np.ndarray
    centres: np.ndarray


def tsne_map(cfg: Config, x: np.ndarray, centres: np.ndarray) -> Map:
    """t-SNE of `cfg.tsne_train_size` random rows of x [N, d], the same for each method, with the centres [K, d]."""
    count = min(cfg.tsne_train_size, len(x))
    numbers = np.sort(np.random.default_rng([cfg.seed, 23]).choice(len(x), count, replace=False))
    together = project_tsne(cfg, np.concatenate((x[numbers], centres)).astype(np.float32))
    return Map(numbers, together[:count], together[count:])


# %%
drawn = tsne_map(cfg, x, one.centres)
near = nearest(drawn.points, 5, drawn.centres).numbers
own = one.labels[drawn.numbers][near] == np.arange(len(drawn.centres))[:, None]
print(f"of the five points nearest to a centre in the map, {own.mean():.0%} are of its cluster")
assert own.mean() > 0.5

# %% [markdown]
# ## The silhouette, Eq. 8
# With $a_i$ the mean distance of point $i$ to the others of its cluster, and $b_i$ the smallest mean distance to the
# points of another cluster,
#
# $$S = \frac{1}{N} \sum_{i=1}^{N} \frac{b_i - a_i}{\max(a_i, b_i)}$$
#
# All it needs are each point's *sums* of distances to every cluster. `distance_sums` of [81](81_neighbours.ipynb)
# makes them for several divisions in one pass over all pairs of points. We use that: the classes are a division too,
# and get their silhouette along with the clusters.


# %%
#| export
def silhouettes(x: np.ndarray, *divisions: np.ndarray, device="cpu") -> list[np.ndarray]:
    """For each division (labels [N]) of the rows of x [N, d], the terms [N] of Eq. 8, over all pairs of points.

    A term is 0 where Eq. 8 has no value: for a point alone in its cluster, without another cluster, among equal points.
    """
    members = [labels[:, None] == np.unique(labels) for labels in divisions]
    sums = distance_sums(x, np.hstack(members), device)
    parts = np.split(sums, np.cumsum([own.shape[1] for own in members])[:-1], axis=1)
    return [_terms(*pair) for pair in zip(parts, members, strict=True)]


def _terms(sums, own):
    counts = own.sum(axis=0)  # cluster_size of each cluster
    size = own @ counts  # cluster_size(i)
    a = sums[own] / np.maximum(size - 1, 1)
    b = np.where(own, np.inf, sums / counts).min(axis=1)
    larger = np.maximum(a, b)
    valid = (size > 1) & (larger > 0) & np.isfinite(b)
    return np.where(valid, (b - a) / np.where(valid, larger, 1), 0)


# %%
from sklearn.metrics import silhouette_samples

points = np.random.default_rng(1).normal(size=(2_000, 8))
some, others = np.arange(2_000) % 4, (points[:, 0] > 0).astype(int)
some[0] = 9  # a cluster of one point
for ours, labels in zip(silhouettes(points, some, others), (some, others), strict=True):
    np.testing.assert_allclose(ours, silhouette_samples(points, labels), atol=1e-6)

# %% [markdown]
# ## All methods
# The three questions share one result. K-means and silhouettes are computed for all compared methods, maps for the two
# that the exercise asks for.


# %%
#| export
class Clustered(NamedTuple):
    """The training images' labels [N], the names of the classes, and by method what clustering made of the images."""

    labels: np.ndarray
    classes: tuple
    inits: int
    clusterings: dict  # {method: Clustering}
    maps: dict  # {method: Map}, of the two that the exercise asks for
    silhouettes: dict  # {method: {"clusters": [N], "classes": [N]}}, of the clusters, and of the true classes
    inner: Clustering  # of Laplacian Eigenmaps' vectors without the outermost tenth
    near: dict  # {method, or "longer": numbers [n, 10]}: of the images on the map the ten nearest, in all dimensions
    ranks: dict  # {method: effective rank of its representation}, of the same two


cl1 = Question("CL1", "Clustering: k-means", "Section 4.3, Question 1 (bonus)")
cl2 = Question("CL2", "Clustering: the clusters in two dimensions", "Section 4.3, Question 2 (bonus)")
cl3 = Question("CL3", "Clustering: the silhouette", "Section 4.3, Question 3 (bonus)")

# %% [markdown]
# Every silhouette rests on all pairs of 50,000 images, which takes a while. So it is kept, like the clusters and maps.


# %%
#| export
@cl1.result
@cl2.result
@cl3.result
def cluster_all(cfg: Config, images: Images) -> Clustered:
    """K-means, t-SNE maps and silhouettes of the training images."""
    labels, clusterings, maps, terms, ranks, spaces = images.train_labels, {}, {}, {}, {}, {}
    for name in COMPARED:
        x = features(cfg, images, name).train
        found = clusterings[name] = cluster(cfg, x)
        terms[name] = _both_silhouettes(cfg, x, found.labels, labels)
        if name in ASKED:
            shown = maps[name] = tsne_map(cfg, x, found.centres)
            ranks[name], spaces[name] = effective_rank(x), x[shown.numbers]
    inner = cluster(cfg, x[~outermost(x)])  # x: the last method's, Laplacian Eigenmaps'
    if cfg.neighbours_as_long:  # neighbour pairs, trained for as long as VICReg
        spaces["longer"] = features(cfg, images, "longer").train[shown.numbers]
    near = {name: nearest(points, min(10, len(points) - 1)).numbers for name, points in spaces.items()}
    return Clustered(labels, images.classes, cfg.kmeans_inits, clusterings, maps, terms, inner, near, ranks)


def _both_silhouettes(cfg, x, *divisions):
    def compute():
        return dict(zip(("clusters", "classes"), silhouettes(x, *divisions, device=choose_device(cfg)), strict=True))

    return cached(cfg.cache, "silhouette", [x, *divisions], compute)


# %%
result = cluster_all(cfg, images)
for name, one in result.silhouettes.items():
    print(f"{METHODS[name].title:20}" + ", ".join(f"{kind} {values.mean():+.4f}" for kind, values in one.items()))

# %% [markdown]
# ## CL1: which classes went into which cluster?
# A row for each cluster, and in it the share of each class. A cluster that is a class would be one dark cell. Rows
# stand in the order of their largest class.


# %%
#| export
@cl1.figure(
    "Which classes each cluster is made of, in per cent of the cluster; in brackets its number of images.", aside=True
)
def cl1_contingency(result: Clustered) -> Drawing:
    panels = {}
    for name in ASKED:
        clusters = result.clusterings[name].labels
        share = 100 * shares(clusters, result.labels)
        order = np.lexsort((-share.max(axis=1), share.argmax(axis=1)))
        rows = [f"{row} ({count:,})" for row, count in enumerate(np.bincount(clusters))]
        panels[METHODS[name].title] = [rows[row] for row in order], share[order]
    return heatmap(panels, result.classes, "class", "cluster")


# %%
cl1_contingency(result)

# %% [markdown]
# In numbers. What k-means has achieved is the share of the variance that lies *between* the clusters, and no longer
# within them. The *purity* is the share of images that are of their cluster's largest class.
#
# Squares make k-means heed outliers. How much of all squared distances to the mean belongs to the outermost tenth of
# the images? And when this tenth is left out, do the sizes of the clusters even out? That tests whether it is these
# images that make them uneven.


# %%
#| export
@cl1.summary
def _sizes(result):
    methods, count = {}, len(result.labels)
    for name, found in result.clusterings.items():
        sizes = np.bincount(found.labels, minlength=len(found.centres))
        methods[name] = {
            "smallest": sizes.min(),
            "largest": sizes.max(),
            "between": found.between,
            "purity": contingency_matrix(found.labels, result.labels).max(axis=1).sum() / count,
            "outer": found.outer,
        } | class_scores(found.labels, result.labels)
    inner = np.bincount(result.inner.labels)
    facts = {"clusters": len(result.clusterings["vicreg"].centres), "inits": result.inits}
    facts |= {"inner": {"smallest": inner.min(), "largest": inner.max()}}
    return facts | {"images": count, "methods": methods}


# %%
for name, one in _sizes(result)["methods"].items():
    print(f"{METHODS[name].title:20}" + ", ".join(f"{key} {value:.3g}" for key, value in one.items()))

# %% [markdown]
# The answer. A sentence with a condition (`when`) is left out where the numbers do not meet it.

# %%
#| export
_MATCHED = """with VICReg {methods.vicreg.accuracy:.1%} of the images agree after the best one-to-one match, with
    neighbour pairs {methods.neighbours.accuracy:.1%}** (clustering accuracy, ACC; normalised mutual information, NMI:
    {methods.vicreg.nmi:.3f} and {methods.neighbours.nmi:.3f}; adjusted Rand index, ARI: {methods.vicreg.ari:.3f} and
    {methods.neighbours.ari:.3f}; 1 where clusters are classes, about 0 by chance). If each cluster is named after its
    largest class, {methods.vicreg.purity:.1%} and {methods.neighbours.purity:.1%} of the images bear the right name."""
cl1.says(
    "**The clusters are not the classes: " + _MATCHED,
    when=lambda n: max(n.methods[name].accuracy for name in ASKED) < 0.6,
)
cl1.says(
    "**The clusters are the classes, in part: " + _MATCHED,
    when=lambda n: max(n.methods[name].accuracy for name in ASKED) >= 0.6,
)

# %%
#| export
cl1.says(
    """K-means divides {images:,} training images into {clusters} clusters; of {inits} starts the best is kept. The
    clusters have {methods.vicreg.smallest:,} to {methods.vicreg.largest:,} images with VICReg, and
    {methods.vicreg.between:.0%} of the variance is between them; {methods.neighbours.smallest:,} to
    {methods.neighbours.largest:,} and {methods.neighbours.between:.0%} with neighbour pairs."""
)
cl1.says(
    """Laplacian Eigenmaps' clusters have {methods.laplacian.smallest:,} to {methods.laplacian.largest:,} images.
    K-means minimises squares, and spends clusters on outliers: the outermost tenth of the images holds
    {methods.laplacian.outer:.0%} of all squared distances to the mean (with VICReg {methods.vicreg.outer:.0%}). Without
    this tenth the same k-means finds clusters of {inner.smallest:,} to {inner.largest:,}.""",
    when=lambda n: (
        n.methods.laplacian.outer > 1.5 * n.methods.vicreg.outer
        and n.inner.smallest > 2 * n.methods.laplacian.smallest
        and n.inner.largest < 0.8 * n.methods.laplacian.largest
    ),
)

# %%
cl1.run(cfg, result)

# %% [markdown]
# ## CL2: the clusters in two dimensions
# Each method's map twice: coloured by cluster, and by class. Clusters have colours of their own (Tol, 2021), since no
# cluster is a class.

# %%
#| export
CLUSTER_COLOURS = ("#332288", "#88ccee", "#44aa99", "#117733", "#999933",
                   "#ddcc77", "#cc6677", "#882255", "#aa4499", "#bbbbbb")  # fmt: skip


def _map(result, name):
    one, found, first = result.maps[name], result.clusterings[name], len(result.classes)
    colours = *CLASS_COLOURS[:first], *(CLUSTER_COLOURS[i % 10] for i in range(len(found.centres)))
    kinds = {"by cluster": first + found.labels[one.numbers], "by class": result.labels[one.numbers]}
    shown = f"{len(one.points):,} of {len(result.labels):,} images"
    panels = {f"{METHODS[name].title}, {kind}\n({shown})": (one.points, values) for kind, values in kinds.items()}
    drawing = scatter(panels, result.classes, colours=colours, marks=dict.fromkeys(panels, one.centres), width=5.8)
    drawing.picture.set_figheight(4.1)  # with room for the names of the clusters below
    ax = drawing.picture.axes[0]
    for label, colour in zip(cluster_names(found.labels, result.labels, result.classes), colours[first:], strict=True):
        ax.scatter([], [], color=colour, label=label)
    drawing.picture.legend(loc="outside lower center", ncols=3, fontsize=7.5, handletextpad=0)
    for row, place in enumerate(one.centres):
        box = {"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6}
        style = {"fontsize": 8, "fontweight": "bold", "bbox": box, "zorder": 5}
        ax.annotate(row, place, xytext=(5, 4), textcoords="offset points", **style)
    return drawing


# %%
_map(result, "vicreg")

# %% [markdown]
# The two figures that the exercise asks for. Look for two things: do the points of one colour lie together on the left,
# and do they on the right?


# %%
#| export
@cl2.figure(
    "VICReg: t-SNE of training images by cluster and by class; black: the clusters' centres, embedded with the images."
)
def cl2_vicreg(result: Clustered) -> Drawing:
    return _map(result, "vicreg")


@cl2.figure(
    "Neighbour pairs: t-SNE of training images by cluster (its number beside its centre) and by class; the names below "
    "are the two largest classes of each cluster."
)
def cl2_neighbours(result: Clustered) -> Drawing:
    return _map(result, "neighbours")


# %%
cl2_neighbours(result)

# %% [markdown]
# What the eye judges in the maps can be counted there: how many of a point's ten nearest points in the map are of its
# cluster, and how many of its class. Where one cluster is large, many are of it by chance, so chance is taken out: 0 is
# what shuffled labels would give, 1 is all. Both maps show the same images, so the methods are compared image by image,
# by what each adds as the one that is asked and as a neighbour of others (`same_class_parts` of
# [81](81_neighbours.ipynb)).


# %%
#| export
@cl2.summary
def _in_maps(result):
    methods, seen = {}, {"by_cluster": [], "by_class": [], "distance": []}
    for name, one in result.maps.items():
        clusters, classes = result.clusterings[name].labels[one.numbers], result.labels[one.numbers]
        near = nearest(one.points, min(10, len(one.points) - 1)).numbers
        seen["distance"].append(silhouettes(one.points, clusters)[0])
        methods[name] = {"map_silhouette": seen["distance"][-1].mean(), "points": len(clusters)}
        methods[name] |= {"between": result.clusterings[name].between, "effective_rank": result.ranks[name]}
        methods[name]["by_class_before"] = same_class_parts(result.near[name], classes).mean()
        for kind, labels in (("by_cluster", clusters), ("by_class", classes)):
            same, chance = same_class_parts(near, labels), ((np.bincount(labels) / len(labels)) ** 2).sum()
            seen[kind].append((same - chance) / max(1 - chance, 1e-12))
            methods[name] |= {kind: same.mean(), f"{kind}_beyond": seen[kind][-1].mean()}
    gaps = {}
    for kind, (first, second) in seen.items():
        gap, interval = (first - second).mean(), half_interval(first - second)
        gaps[kind] = {"gap": gap, "interval": interval}
    own = {name: same_class_parts(near, classes) for name, near in result.near.items()}  # in all dimensions
    by_length = beyond_half(*(own[name] for name in ("neighbours", "vicreg", "longer"))) if "longer" in own else None
    return {
        "methods": methods, "gaps": gaps, "over": "95 % over the points of this map",
        "longer": own["longer"].mean() if by_length else None, "by_length": by_length or UNMEASURED,
    }  # fmt: skip


# %%
print(_in_maps(result))

# %% [markdown]
# The answer. A method is called ahead where the difference exceeds its 95 % interval over the points.

# %%
#| export
_BY_CLUSTER = """Of a point's ten nearest points in the map, {methods.vicreg.by_cluster:.1%} are of its cluster with
    VICReg and {methods.neighbours.by_cluster:.1%} with neighbour pairs; with chance taken out (0: shuffled labels, 1:
    all) {methods.vicreg.by_cluster_beyond:.3f} and {methods.neighbours.by_cluster_beyond:.3f} (difference
    {gaps.by_cluster.gap:+.3f} ± {gaps.by_cluster.interval:.3f}, {over})."""
_BY_CLASS = """Of the same ten nearest, {methods.vicreg.by_class:.1%} are of the point's class with VICReg and
    {methods.neighbours.by_class:.1%} with
    neighbour pairs; with chance taken out {methods.vicreg.by_class_beyond:.3f} and
    {methods.neighbours.by_class_beyond:.3f} (difference {gaps.by_class.gap:+.3f} ± {gaps.by_class.interval:.3f})."""
for _kind, _what, _text in (
    ("by_cluster", "finding clusters", _BY_CLUSTER), ("by_class", "separating the classes", _BY_CLASS)
):  # fmt: skip
    for _sign, _name in ((1, "vicreg"), (-1, "neighbours")):
        cl2.says(
            f"**More successful at {_what}: {METHODS[_name].title}.** {_text}",
            when=lambda n, kind=_kind, sign=_sign: sign * n.gaps[kind].gap > n.gaps[kind].interval,
        )
    cl2.says(
        f"**Neither is measurably more successful at {_what}.** {_text}",
        when=lambda n, kind=_kind: abs(n.gaps[kind].gap) <= n.gaps[kind].interval,
    )

# %% [markdown]
# What both maps have in common:

# %%
#| export
cl2.says(
    """In both maps the clusters hold together far better than the classes. K-means returns compact groups, whatever
    they are, and had no clue which groups to look for. A division that cuts through the classes is not an error of the
    method.""",
    when=lambda n: min(one["by_cluster_beyond"] - one["by_class_beyond"] for one in n.methods.values()) > 0.1,
)

# %% [markdown]
# Why one of them? If it is the map's doing, the representation itself need not show it.

# %%
#| export
cl2.says(
    """That the clusters of neighbour pairs hold together better goes with their representation: it uses fewer
    directions (effective rank, Q4: {methods.neighbours.effective_rank:.0f}, VICReg's
    {methods.vicreg.effective_rank:.0f}), and more of its variance lies between the ten clusters
    ({methods.neighbours.between:.0%}, VICReg's {methods.vicreg.between:.0%}).""",
    when=lambda n: (
        n.methods.neighbours.between > n.methods.vicreg.between
        and n.methods.neighbours.effective_rank < n.methods.vicreg.effective_rank
        and n.gaps.by_cluster.gap < -n.gaps.by_cluster.interval
    ),
)

# %% [markdown]
# And the classes? The representation itself tells, and neighbour pairs that were trained for as long as VICReg.


# %%
#| export
def _there_before(n):
    """Whether VICReg keeps the classes apart measurably better, and most of that is there before the map."""
    vicreg, neighbours = (n.methods[name] for name in ASKED)
    before, after = (vicreg[key] - neighbours[key] for key in ("by_class_before", "by_class"))
    return n.gaps.by_class.gap > n.gaps.by_class.interval and before > after / 2


cl2.says(
    """Why does VICReg keep the classes apart better? Most of it is there before the map: in all dimensions
    {methods.vicreg.by_class_before:.1%} of the ten nearest of the same images are of their class with VICReg and
    {methods.neighbours.by_class_before:.1%} with neighbour pairs.""",
    when=_there_before,
)
says_length(cl2, "this difference", lambda n: n.by_length, "they have {longer:.1%} then.", when=_there_before)

# %%
from vicreg_nb.book import Numbers, plain_numbers

for gap, before, there in ((0.07, 0.46, True), (0.07, 0.42, False), (0.005, 0.46, False)):
    made = zip(ASKED, ((before, 0.45), (0.4, 0.39)), strict=True)
    made = {name: dict(zip(("by_class_before", "by_class"), shares, strict=True)) for name, shares in made}
    numbers = plain_numbers({"methods": made, "gaps": {"by_class": {"gap": gap, "interval": 0.01}}})
    assert _there_before(numbers) == there

# %%
cl2.run(cfg, result)

# %% [markdown]
# ## CL3: the silhouette's own picture
# Each image's silhouette, sorted within its cluster (Rousseeuw, 1987); all clusters are drawn equally high, the best
# first. A good cluster is a broad blade. What lies left of zero is nearer to another cluster than to its own.


# %%
#| export
@cl3.figure(
    "The silhouette of each training image, cluster by cluster, the best first. Dashed: the mean of all images.",
    aside=True,
)
def cl3_silhouettes(result: Clustered) -> Drawing:
    fig, axes = new_figure(1, len(ASKED), height=3.2, sharex=True)
    for ax, name in zip(axes, ASKED, strict=True):
        clusters, values = result.clusterings[name].labels, result.silhouettes[name]["clusters"]
        names = cluster_names(clusters, result.labels, result.classes)
        order = sorted(range(len(names)), key=lambda row: -values[clusters == row].mean())
        for place, row in enumerate(order):
            blade = np.quantile(values[clusters == row], np.linspace(1, 0, 200))
            height, colour = place + np.linspace(-0.42, 0.42, 200), CLUSTER_COLOURS[row % 10]
            ax.fill_betweenx(height, 0, blade, color=colour, linewidth=0)
        ax.axvline(values.mean(), color="black", linewidth=0.9, linestyle="--")
        ax.set(
            title=METHODS[name].title, xlabel=f"silhouette (mean {values.mean():.3f})", ylim=(len(order) - 0.5, -0.5)
        )
        ax.set_yticks(range(len(order)), [names[row] for row in order], fontsize=7.5)
        ax.grid(axis="y", visible=False)
    axes[0].set_ylabel("cluster: its two largest classes")
    return Drawing(fig)


# %%
cl3_silhouettes(result)

# %% [markdown]
# Do the two methods differ, or is it the draw of the images? A silhouette is a mean over images. The normalised mutual
# information is none, so we draw the images anew: how many fall to each class and each cluster of both methods.


# %%
#| export
def nmi_gap(labels: np.ndarray, first: np.ndarray, second: np.ndarray, draws: int = 100) -> tuple[float, float]:
    """(NMI of the clusters `first` and the classes, minus that of `second`; half its 95 % interval). All [N]."""
    counts, random = np.zeros([one.max() + 1 for one in (labels, first, second)], int), np.random.default_rng(17)
    np.add.at(counts, (labels, first, second), 1)
    drawn = random.multinomial(len(labels), counts.ravel() / len(labels), draws).reshape(-1, *counts.shape)
    gaps = [_nmi(one.sum(axis=2)) - _nmi(one.sum(axis=1)) for one in (counts, *drawn)]
    return gaps[0], 1.96 * float(np.std(gaps[1:]))


def _nmi(table):
    both = entropy(table.sum(axis=0)) + entropy(table.sum(axis=1))
    return float(mutual_info_score(None, None, contingency=table) / max(both / 2, 1e-12))


# %%
random = np.random.default_rng(0)
kinds = random.integers(0, 4, 1_000)
first, second = (np.where(random.random(1_000) < share, kinds, random.integers(0, 5, 1_000)) for share in (0.5, 0.4))


def gap_of(draw):
    return np.subtract(*(normalized_mutual_info_score(kinds[draw], one[draw]) for one in (first, second)))


gap, half = nmi_gap(kinds, first, second)
spread = 1.96 * np.std([gap_of(random.integers(0, 1_000, 1_000)) for _ in range(100)])
print(f"difference {gap:.3f} ± {half:.3f}; image by image ± {spread:.3f}")
assert abs(gap - gap_of(np.arange(1_000))) < 1e-9 and abs(half / spread - 1) < 0.4

# %% [markdown]
# The two silhouettes, beside all that agrees with the classes, and what was counted in the maps.


# %%
#| export
@cl3.summary
def _grades(result):
    methods, seen = {}, _in_maps(result)
    for name, one in result.silhouettes.items():
        grades = {"silhouette": one["clusters"].mean(), "class_silhouette": one["classes"].mean()}
        grades |= {"negative": (one["clusters"] < 0).mean()} | seen["methods"].get(name, {})
        methods[name] = grades | class_scores(result.clusterings[name].labels, result.labels)
    largest = np.bincount(result.clusterings["no_variance"].labels).max() / len(result.labels)
    facts = {"asked_for": ASKED, "images": len(result.labels), "collapsed_in_one": largest}
    gap = np.subtract(*(result.silhouettes[name]["clusters"] for name in ASKED))
    gaps = {"silhouette": (gap.mean(), half_interval(gap))}
    gaps["nmi"] = nmi_gap(result.labels, *(result.clusterings[name].labels for name in ASKED))
    gaps = {name: dict(zip(("gap", "interval"), pair, strict=True)) for name, pair in gaps.items()}
    facts |= {"gaps": gaps, "over": "95 % over the images, with the clusters as they are"}
    return {"methods": methods, "map_gaps": seen["gaps"]} | facts


@cl3.table
def _all_methods(n):
    keys = ("silhouette", "class_silhouette", "nmi", "ari", "accuracy")
    rows = [[METHODS[name].title, *(f"{one[key]:.4f}" for key in keys)] for name, one in n.methods.items()]
    header = ["method", "silhouette", "silhouette of the classes", "NMI", "ARI", "ACC"]
    caption = "The silhouettes of k-means' clusters and of the true classes, and how far clusters and classes agree."
    return {"caption": caption, "header": header, "rows": rows}


# %%
print(*_all_methods(Numbers(_grades(result)))["rows"], sep="\n")

# %% [markdown]
# ## CL3: the answer
# The two scores, and whether they fit the maps.


# %%
#| export
def _ahead(one):
    """1 where VICReg is measurably ahead, -1 where neighbour pairs are, 0 where neither is."""
    return int(np.sign(one["gap"])) if abs(one["gap"]) > one["interval"] else 0


def _agree(n, gap):
    """1 where a difference has the order of the silhouettes, -1 where it has the other, 0 where it has none; None where
    the silhouettes have none."""
    return _ahead(gap) * _ahead(n.gaps.silhouette) if _ahead(n.gaps.silhouette) else None


# %%
for gap, own, sign in ((0.1, -0.2, -1), (-0.1, -0.2, 1), (0.01, -0.2, 0), (0.1, 0.01, None)):
    first, second = ({"gap": value, "interval": 0.05} for value in (gap, own))
    assert _agree(plain_numbers({"gaps": {"silhouette": second}}), first) == sign

# %%
#| export
_COUNTED = {
    1: "**This is coherent with the maps if one counts neighbours**, where the same method's clusters hold together "
    "better",
    -1: "**This is not what the maps show if one counts neighbours**, where the other method's clusters hold together "
    "better",
    0: "**The maps cannot confirm it:** counted by neighbours, they do not tell the methods apart",
}
_IN_MAPS = """ (Question 2: {map_gaps.by_cluster.gap:+.3f} ± {map_gaps.by_cluster.interval:.3f}, VICReg minus neighbour
    pairs, with chance taken out)."""
_BY_DISTANCE = {
    1: "By distance in the map the same method is ahead, too",
    -1: "By distance in the map, however, the other method is ahead (t-SNE keeps neighbours and gives up distances)",
    0: "By distance the maps do not tell the methods apart (t-SNE keeps neighbours and gives up distances)",
}
_MAPS = """: the maps' silhouettes are {methods.vicreg.map_silhouette:.2f} and
    {methods.neighbours.map_silhouette:.2f} (a difference of {map_gaps.distance.gap:+.3f} ±
    {map_gaps.distance.interval:.3f})."""

# %%
#| export
cl3.says(
    """**The silhouette is {methods.vicreg.silhouette:.4f} with VICReg and {methods.neighbours.silhouette:.4f} with
    neighbour pairs**, over all {images:,} images in the representation's own dimensions (difference
    {gaps.silhouette.gap:+.4f} ± {gaps.silhouette.interval:.4f}, {over})."""
)
for _sign, _said in _COUNTED.items():
    cl3.says(_said + _IN_MAPS, when=lambda n, sign=_sign: _agree(n, n.map_gaps.by_cluster) == sign)
cl3.says(
    "The two do not differ measurably, so the maps have no order to confirm.",
    when=lambda n: not _ahead(n.gaps.silhouette),
)

# %% [markdown]
# The maps have silhouettes of their own, and all of them are to be judged.

# %%
#| export
for _sign, _said in _BY_DISTANCE.items():
    cl3.says(_said + _MAPS, when=lambda n, sign=_sign: _agree(n, n.map_gaps.distance) == sign)
cl3.says(
    """All four, of the representations and of the maps, are low: Kaufman and Rousseeuw (1990) see no substantial
    structure below 0.25.""",
    when=lambda n: max(max(n.methods[name].silhouette, n.methods[name].map_silhouette) for name in ASKED) < 0.25,
)

# %% [markdown]
# Then, since we know the classes: does the silhouette tell which method's clusters agree better with them?

# %%
#| export
_TRUTH = """ the NMI is {methods.vicreg.nmi:.3f} with VICReg and {methods.neighbours.nmi:.3f} with neighbour pairs
    (difference {gaps.nmi.gap:+.3f} ± {gaps.nmi.interval:.3f})."""
_POINTS = {
    1: "**It points to the method whose clusters match the classes better**:",
    -1: "**It does not point to the method whose clusters match the classes better**:",
    0: "**Which method's clusters match the classes better is not measurable**:",
}
for _sign, _said in _POINTS.items():
    cl3.says(_said + _TRUTH, when=lambda n, sign=_sign: _agree(n, n.gaps.nmi) == sign)

# %%
#| export
cl3.says(
    """The collapsed encoder of Q4 even has the highest of all, {methods.no_variance.silhouette:.3f}, with an NMI of
    {methods.no_variance.nmi:.3f}: one of its clusters holds {collapsed_in_one:.0%} of the images.""",
    when=lambda n: (
        n.methods.no_variance.silhouette == max(one["silhouette"] for one in n.methods.values())
        and n.collapsed_in_one > 0.5
    ),
)
cl3.says(
    """The silhouette gives the true classes a lower grade than the clusters, {methods.vicreg.class_silhouette:.4f} and
    {methods.neighbours.class_silhouette:.4f}. It grades compactness, which is what k-means seeks, and not
    agreement with the classes.""",
    when=lambda n: all(n.methods[name].class_silhouette < n.methods[name].silhouette for name in ASKED),
)

# %%
cl3.run(cfg, result)
