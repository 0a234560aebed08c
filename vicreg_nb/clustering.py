# Generated from nbs/07_clustering.py by `make export`. Do not edit: edit the notebook.
# cells nbs/07_clustering.py 85e16cec901c1f6c
# text 45f4aa140090dcea

"""7 · Clustering (Sec. 4.3, bonus)."""

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


def outermost(x: np.ndarray) -> np.ndarray:
    """[N], true for the tenth of the rows of x [N, d] that is farthest from their mean."""
    away = np.linalg.norm(x - x.mean(axis=0, dtype=np.float64), axis=1)
    return np.isin(np.arange(len(x)), np.argsort(-away, kind="stable")[: -(-len(x) // 10)])


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


cl2.says(
    """In both maps the clusters hold together far better than the classes. K-means returns compact groups, whatever
    they are, and had no clue which groups to look for. A division that cuts through the classes is not an error of the
    method.""",
    when=lambda n: min(one["by_cluster_beyond"] - one["by_class_beyond"] for one in n.methods.values()) > 0.1,
)


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


def _ahead(one):
    """1 where VICReg is measurably ahead, -1 where neighbour pairs are, 0 where neither is."""
    return int(np.sign(one["gap"])) if abs(one["gap"]) > one["interval"] else 0


def _agree(n, gap):
    """1 where a difference has the order of the silhouettes, -1 where it has the other, 0 where it has none; None where
    the silhouettes have none."""
    return _ahead(gap) * _ahead(n.gaps.silhouette) if _ahead(n.gaps.silhouette) else None


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


for _sign, _said in _BY_DISTANCE.items():
    cl3.says(_said + _MAPS, when=lambda n, sign=_sign: _agree(n, n.map_gaps.distance) == sign)
cl3.says(
    """All four, of the representations and of the maps, are low: Kaufman and Rousseeuw (1990) see no substantial
    structure below 0.25.""",
    when=lambda n: max(max(n.methods[name].silhouette, n.methods[name].map_silhouette) for name in ASKED) < 0.25,
)


_TRUTH = """ the NMI is {methods.vicreg.nmi:.3f} with VICReg and {methods.neighbours.nmi:.3f} with neighbour pairs
    (difference {gaps.nmi.gap:+.3f} ± {gaps.nmi.interval:.3f})."""
_POINTS = {
    1: "**It points to the method whose clusters match the classes better**:",
    -1: "**It does not point to the method whose clusters match the classes better**:",
    0: "**Which method's clusters match the classes better is not measurable**:",
}
for _sign, _said in _POINTS.items():
    cl3.says(_said + _TRUTH, when=lambda n, sign=_sign: _agree(n, n.gaps.nmi) == sign)


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
