# Generated from nbs/07_clustering.py by `make export`. Do not edit: edit the notebook.
# cells nbs/07_clustering.py d6deba0183a259b2
# text b7eff3baaca27628

"""7 · Clustering (Sec. 4.3)."""

from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.lines import Line2D
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.isotonic import isotonic_regression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from vicreg_nb.config import (
    CLASS_COLOURS,
    METHOD_COLOURS,
    METHOD_NAMES,
    Config,
    UserError,
    cached,
    new_figure,
    progress,
    record,
    save_figure,
)
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.representations import neighbour_agreement, project_tsne
from vicreg_nb.retrieval import COMPARED, METHODS, checked, distance_factors, features_by_name


@dataclass(frozen=True)
class Clustering:
    """Clusters [N] of the training images, the centres [K, d], and the sum of squared distances to them."""

    labels: np.ndarray
    centres: np.ndarray
    inertia: float


def cluster(cfg: Config, x: np.ndarray) -> Clustering:
    """K-means (scikit-learn) of x [N, d] into `cfg.clusters`; computed once. UserError for NaN and for more clusters than rows."""
    x = checked(x)
    if cfg.clusters > len(x):
        raise UserError(f"clusters is {cfg.clusters}, more than the {len(x)} images: lower it.")

    def compute():
        found = KMeans(cfg.clusters, n_init=cfg.kmeans_inits, random_state=cfg.seed).fit(x)
        return {"labels": found.labels_.astype(np.int64), "centres": found.cluster_centers_, "inertia": found.inertia_}

    found = cached(cfg, "kmeans", [x, cfg.clusters, cfg.kmeans_inits, cfg.seed], compute)
    return Clustering(found["labels"], found["centres"], float(found["inertia"]))


def match_classes(clusters: np.ndarray, labels: np.ndarray) -> tuple[dict, float]:
    """({cluster: class}, one to one, that agrees with most images; the share of images that agree)."""
    table = contingency(clusters, labels)
    rows, columns = linear_sum_assignment(-table)
    return dict(zip(rows.tolist(), columns.tolist(), strict=True)), float(table[rows, columns].sum() / len(labels))


def contingency(clusters: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts int [clusters, classes]."""
    table = np.zeros((clusters.max() + 1, labels.max() + 1), np.int64)
    np.add.at(table, (clusters, labels), 1)
    return table


def class_agreement_scores(clusters: np.ndarray, labels: np.ndarray) -> dict:
    """NMI, ARI and matched accuracy of a clustering against the classes."""
    return {
        "nmi": normalized_mutual_info_score(labels, clusters),
        "ari": adjusted_rand_score(labels, clusters),
        "accuracy": match_classes(clusters, labels)[1],
    }


def figure_contingency(clusterings: dict, labels: np.ndarray, classes: tuple):
    """For each method, what share of every cluster (a row) belongs to each class, in per cent; matched pairs on the diagonal."""
    fig, axes = new_figure(1, len(clusterings), height=3.7, squeeze=False)
    for ax, (name, one) in zip(axes[0], clusterings.items(), strict=True):
        table, (matching, accuracy) = contingency(one.labels, labels), match_classes(one.labels, labels)
        order = sorted(range(len(table)), key=lambda row: matching.get(row, len(classes)))
        share = 100 * table[order] / table[order].sum(axis=1, keepdims=True).clip(min=1)
        ax.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for i, j in np.ndindex(share.shape):
            ax.text(
                j,
                i,
                f"{share[i, j]:.0f}",
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if share[i, j] > 55 else "#333333",
            )
        ax.set(
            xticks=range(len(classes)),
            yticks=range(len(order)),
            yticklabels=[f"{row} ({table[row].sum():,})" for row in order],
        )
        ax.set_xticklabels(classes, rotation=45, ha="right", rotation_mode="anchor")
        ax.set_title(
            f"{METHOD_NAMES[name]}\n{accuracy:.0%} of the images matched", fontsize=9, color=METHOD_COLOURS[name]
        )
        ax.grid(False)
        ax.tick_params(labelsize=7)
    axes[0, 0].set_ylabel("cluster (images)")
    return fig


@dataclass(frozen=True)
class Map:
    """t-SNE of some training images and the cluster centres: numbers of the images [n], points [n, 2], centres [K, 2]."""

    numbers: np.ndarray
    points: np.ndarray
    centres: np.ndarray


def tsne_map(cfg: Config, x: np.ndarray, centres: np.ndarray) -> Map:
    """t-SNE of `cfg.tsne_train_size` random rows of x [N, d], the same for each method, together with the centres [K, d]."""
    count = min(cfg.tsne_train_size, len(x))
    numbers = np.sort(np.random.default_rng([cfg.seed, 23]).choice(len(x), count, replace=False))
    together = project_tsne(cfg, np.concatenate((x[numbers], centres)).astype(np.float32))
    return Map(numbers, together[:count], together[count:])


def figure_map(one: Map, found: Clustering, labels: np.ndarray, classes: tuple, title: str):
    """The t-SNE map twice, coloured by cluster and by class, the cluster centres in black."""
    fig, axes = new_figure(1, 2, height=4.45)
    matching, _ = match_classes(found.labels, labels)
    names = {
        row: f"{row}: {classes[matching[row]]}" if row in matching else f"{row}" for row in range(len(found.centres))
    }
    order = np.random.default_rng(0).permutation(len(one.points))  # none lies on top of all others
    size = float(np.clip(9_000 / len(one.points), 1.2, 14))
    kinds = np.array([matching.get(row, 10 + row) for row in range(len(names))])[found.labels], labels
    for ax, kind, heading in zip(axes, kinds, ("by cluster", "by class"), strict=True):
        colours = np.array([_colour(value) for value in kind[one.numbers]])
        ax.scatter(*one.points[order].T, c=colours[order], s=size, alpha=0.7, linewidths=0, rasterized=True)
        ax.scatter(*one.centres.T, color="black", s=62, marker="X", edgecolors="white", linewidths=0.9, zorder=3)
        ax.set(title=f"{title}, {heading}", xticks=[], yticks=[], xlabel="t-SNE 1")
        ax.set_box_aspect(1)
    axes[0].set_ylabel("t-SNE 2")
    for row, place in enumerate(one.centres):
        axes[0].annotate(str(row), place, xytext=(5, 4), textcoords="offset points", fontsize=7.5, fontweight="bold", zorder=4,
                         bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 0.6})  # fmt: skip
    by_cluster = [
        _dot(_colour(matching.get(row, 10 + row)), name)
        for row, name in sorted(names.items(), key=lambda item: matching.get(item[0], 10))
    ]
    fig.legend(handles=by_cluster, loc="outside lower left", ncols=4, fontsize=6.5, handletextpad=0, columnspacing=0.8)
    by_class = [_dot(colour, name) for colour, name in zip(CLASS_COLOURS, classes, strict=False)]
    centre = Line2D([], [], linestyle="", marker="X", color="black", markersize=6, label="cluster centre")
    fig.legend(
        handles=[*by_class, centre],
        loc="outside lower right",
        ncols=4,
        fontsize=6.5,
        handletextpad=0,
        columnspacing=0.8,
    )
    return fig


def _colour(kind):
    """A class's colour; greys for clusters that no class is left for."""
    return CLASS_COLOURS[kind] if kind < 10 else ("#444444", "#777777", "#aaaaaa", "#cccccc")[kind % 4]


def _dot(colour, name):
    return Line2D([], [], linestyle="", marker="o", color=colour, markersize=4.5, label=name)


SIDE = 1024  # of a tile; four megabytes, which stay in the cache


def distance_sums(x: np.ndarray, members: np.ndarray, dtype=torch.float64) -> np.ndarray:
    """Sums float64 [N, K] of l2 distances from each row of x [N, d] to the rows of each of K groups; `members` is 0 or 1, [N, K]."""
    left, right = distance_factors(x, dtype)
    members = torch.from_numpy(np.ascontiguousarray(members.T)).to(dtype)
    sums = torch.zeros(members.shape, dtype=torch.float64)
    spans = [slice(start, min(start + SIDE, len(x))) for start in range(0, len(x), SIDE)]
    buffer = torch.empty(SIDE * SIDE, dtype=dtype)
    for i, rows in enumerate(progress(spans, "silhouette")):
        for columns in spans[i:]:
            shape = rows.stop - rows.start, columns.stop - columns.start
            tile = (
                torch.mm(left[rows], right[columns].T, out=buffer[: shape[0] * shape[1]].view(shape))
                .clamp_(min=0)
                .sqrt_()
            )
            if rows is columns:
                tile.fill_diagonal_(0)
            else:
                sums[:, columns] += members[:, rows] @ tile
            sums[:, rows] += members[:, columns] @ tile.T
    return sums.T.numpy()


def silhouettes_from_sums(sums: np.ndarray, labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each point's term of Eq. 8 [n] from its sums of distances [n, K], its cluster [n] and the clusters' sizes [K]."""
    rows = np.arange(len(labels))
    own = counts[labels]
    a = sums[rows, labels] / np.maximum(own - 1, 1)
    means = sums / counts
    means[rows, labels] = np.inf
    b = means.min(axis=1)
    larger = np.maximum(a, b)
    return np.where((own > 1) & (larger > 0), (b - a) / np.where(larger > 0, larger, 1), 0.0)


def encoded(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels as 0..K-1, the sizes of the K clusters); UserError unless 2 <= K <= N - 1."""
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 2 <= len(counts) < len(labels):
        raise UserError(
            f"there are {len(counts)} clusters of {len(labels)} points: a silhouette needs 2 to {len(labels) - 1}."
        )
    return labels, counts


def silhouettes(x: np.ndarray, *labelings: np.ndarray) -> list[np.ndarray]:
    """For each labeling [N] of the rows of x [N, d], the silhouettes [N] (Eq. 8, before the mean); one pass serves them all.

    Exact over all points; memory grows with N (d + K). UserError for NaN, for labels of another length, and unless there are 2 to N - 1 clusters.
    """
    x = checked(x, name="the points")
    for labels in labelings:
        if len(labels) != len(x):
            raise UserError(f"there are {len(labels)} labels for {len(x)} points: give one for each.")
    coded = [encoded(labels) for labels in labelings]
    members = np.concatenate([np.eye(len(counts), dtype=np.float32)[labels] for labels, counts in coded], axis=1)
    if len(x) > 4 * SIDE:
        sums = distance_sums(x, members, torch.float32)
        if _good_enough(x, members, sums, coded):
            return _split(sums, coded)
    return _split(distance_sums(x, members), coded)


def _split(sums, coded, rows=slice(None)):
    ends = np.cumsum([len(counts) for _, counts in coded])[:-1]
    return [
        silhouettes_from_sums(part, labels[rows], counts)
        for part, (labels, counts) in zip(np.split(sums, ends, axis=1), coded, strict=True)
    ]


def _good_enough(x, members, sums, coded, sample=3, tolerance=5e-7):
    """Whether the silhouettes of `sample` points of each cluster agree with those from differences of points, in which nothing cancels."""
    random = np.random.default_rng(0)
    parts = [np.flatnonzero(labels == cluster) for labels, counts in coded for cluster in range(len(counts))]
    rows = np.concatenate([random.permutation(part)[:sample] for part in parts])
    points = torch.from_numpy(x)
    exact = (
        torch.cdist(points[rows], points, compute_mode="donot_use_mm_for_euclid_dist").numpy().astype(np.float64)
        @ members
    )
    return all(
        np.abs(one - other).max() < tolerance
        for one, other in zip(_split(sums[rows], coded, rows), _split(exact, coded, rows), strict=True)
    )


def silhouette_scores(cfg: Config, x: np.ndarray, clusters: np.ndarray, labels: np.ndarray) -> dict:
    """{"clusters": silhouettes [N] of the clustering, "classes": of the true classes}; computed once."""

    def compute():
        if len(np.unique(clusters)) == 1:  # a representation that is one point has no second cluster to be far from
            return {"clusters": np.zeros(len(x)), "classes": silhouettes(x, labels)[0]}
        return dict(zip(("clusters", "classes"), silhouettes(x, clusters, labels), strict=True))

    return cached(cfg, "silhouette", [x, clusters, labels], compute)


def spread_out(places: list, gap: float = 0.045) -> np.ndarray:
    """The rising `places` in 0..1, moved as little as needs be so that labels stand `gap` apart (least squares)."""
    steps = min(gap, 1 / len(places)) * np.arange(len(places))
    return isotonic_regression(places - steps, y_min=0, y_max=1 - steps[-1]) + steps


def figure_silhouettes(scores: dict, clusterings: dict, labels: np.ndarray, classes: tuple):
    """Silhouette plot of each method's clusters, in the colours of the classes they are matched with."""
    fig, axes = new_figure(1, len(scores), height=3.4, sharex=True, squeeze=False)
    for ax, (name, one) in zip(axes[0], scores.items(), strict=True):
        found, values = clusterings[name], one["clusters"]
        matching, _ = match_classes(found.labels, labels)
        start, places, names = 0, [], []
        for row in sorted(range(len(found.centres)), key=lambda row: matching.get(row, 10 + row)):
            blade = np.sort(values[found.labels == row])[::-1]
            blade = blade[:: max(1, len(blade) // 400)]
            height = 0.92 * np.linspace(0, (found.labels == row).mean(), len(blade))
            ax.fill_betweenx(start + height, 0, blade, color=_colour(matching.get(row, 10 + row)), linewidth=0)
            places.append(start + height.mean())
            names.append(f"{row}: {classes[matching[row]]}" if row in matching else f"{row}")
            start += (found.labels == row).mean()
        ax.axvline(values.mean(), color="black", linewidth=0.9, linestyle="--")
        ax.set(
            title=METHOD_NAMES[name],
            xlabel=f"silhouette (dashed: the mean, {values.mean():.3f})",
            ylim=(1.0, 0),
            yticks=spread_out(places),
        )
        ax.set_yticklabels(names, fontsize=7)
        ax.grid(axis="y", visible=False)
    axes[0, 0].set_ylabel("cluster: matched class")
    return fig


def numbers_cl1(cfg: Config, images: Images, features: dict, clusterings: dict) -> dict:
    """CL1: sizes of the clusters, the share of the variance between them, and their agreement with the classes."""
    methods = {}
    for name, one in clusterings.items():
        x = features[name].astype(np.float64)
        sizes = np.bincount(one.labels, minlength=cfg.clusters)
        total = ((x - x.mean(axis=0)) ** 2).sum()
        explained = 1 - one.inertia / total if total > 0 else 0.0
        methods[name] = {
            "smallest": sizes.min(),
            "largest": sizes.max(),
            "between": explained,
        } | class_agreement_scores(one.labels, images.train_labels)
    return {"clusters": cfg.clusters, "inits": cfg.kmeans_inits, "images": len(images.train_labels), "methods": methods}


def numbers_cl2(images: Images, maps: dict, clusterings: dict) -> dict:
    """CL2: how well clusters and classes hold together in the maps."""
    methods = {}
    for name, one in maps.items():
        clusters, classes = clusterings[name].labels[one.numbers], images.train_labels[one.numbers]
        methods[name] = {
            "by_cluster": neighbour_agreement(one.points, clusters),
            "by_class": neighbour_agreement(one.points, classes),
        }
        methods[name] |= {"map_silhouette": silhouettes(one.points, clusters)[0].mean(), "points": len(one.numbers)}
    return {"methods": methods}


def numbers_cl3(images: Images, scores: dict, clusterings: dict, cl2: dict) -> dict:
    """CL3: silhouettes of the clusters and of the classes, beside what agrees with the classes."""
    methods = {}
    for name, one in scores.items():
        facts = {
            "silhouette": one["clusters"].mean(),
            "class_silhouette": one["classes"].mean(),
            "negative": (one["clusters"] < 0).mean(),
        }
        methods[name] = (
            facts | class_agreement_scores(clusterings[name].labels, images.train_labels) | cl2["methods"].get(name, {})
        )
    return {"methods": methods, "asked_for": list(METHODS)}


def leader(numbers: dict, key: str, tolerance: float) -> str | None:
    """Which of the two methods has the larger `key`; None within the tolerance."""
    first, second = (numbers["methods"][name][key] for name in METHODS)
    return None if abs(first - second) <= tolerance else METHODS[0] if first > second else METHODS[1]


def share_noise(numbers: dict, key: str) -> float:
    """Half the 95 % interval of the difference of two shares that were counted over `points` points each."""
    ones = [numbers["methods"][name] for name in METHODS]
    return 1.96 * sum(one[key] * (1 - one[key]) / one["points"] for one in ones) ** 0.5


def answer_cl1(numbers: dict) -> str:
    """CL1 in words."""
    lines = [
        f"K-means divides the {numbers['images']:,} training images into {numbers['clusters']} clusters; of {numbers['inits']} starts the best is kept."
    ]
    for name in METHODS:
        one = numbers["methods"][name]
        lines.append(
            f"{METHOD_NAMES[name]}: clusters of {one['smallest']:,} to {one['largest']:,} images, which hold {one['between']:.0%} of the variance between them. "
            f"Matched one to one with the classes, {one['accuracy']:.1%} of the images agree (NMI {one['nmi']:.3f}, ARI {one['ari']:.3f})."
        )
    return "\n\n".join(lines)


def answer_cl2(numbers: dict) -> str:
    """CL2 in words: which method looks better at clusters and at classes, by counting in the maps."""
    parts = []
    for key, what, verb in (
        ("by_cluster", "finding clusters", "cluster"),
        ("by_class", "separating the classes", "class"),
    ):
        first = leader(numbers, key, share_noise(numbers, key))
        head = (
            f"**Neither looks more successful at {what}**"
            if first is None
            else f"**{METHOD_NAMES[first]} looks more successful at {what}**"
        )
        shares = " and ".join(f"{numbers['methods'][name][key]:.1%} with {METHOD_NAMES[name]}" for name in METHODS)
        parts.append(f"{head}: of a point's ten nearest points in the map, {shares} are of its {verb}.")
    gaps = [numbers["methods"][name]["by_cluster"] - numbers["methods"][name]["by_class"] for name in METHODS]
    if min(gaps) > 0.1:
        parts.append(
            "In both maps the clusters hold together far better than the classes: k-means always returns compact groups, whatever they are. It was given no clue that we wanted "
            "animals and vehicles and not, say, bright and dark pictures, so that a division that cuts through the classes is no mistake of the method's."
        )
    else:
        parts.append(
            "Clusters and classes hold together about equally well in the maps, although k-means was given no clue which groups to look for."
        )
    return "\n\n".join(parts)


def answer_cl3(numbers: dict) -> str:
    """CL3 in words: the two silhouettes, whether they fit the maps, and whether they tell the truth."""
    first, second = (numbers["methods"][name] for name in METHODS)
    facts = f"{first['silhouette']:.4f} with {METHOD_NAMES['vicreg']} and {second['silhouette']:.4f} with {METHOD_NAMES['neighbours']}, over all points in the representation's own dimension"
    better = leader(numbers, "silhouette", 0.002)
    head = f"**The silhouettes are {facts}**" + (
        ": no difference to speak of." if better is None else f"; the higher is that of {METHOD_NAMES[better]}."
    )
    return "\n\n".join((head, _fits_maps(numbers, better), _tells_truth(numbers, better)))


def _fits_maps(numbers, better):
    seen = leader(numbers, "by_cluster", share_noise(numbers, "by_cluster"))
    fits = "**It is coherent with the maps**" if seen == better else "**It is not what the maps show**"
    looks = "neither looks more clustered" if seen is None else f"{METHOD_NAMES[seen]} looks more clustered"
    ones = [numbers["methods"][name] for name in METHODS]
    pairs = " and ".join(
        f"{one['map_silhouette']:.2f} ({METHOD_NAMES[name]}, against {one['silhouette']:.2f})"
        for name, one in zip(METHODS, ones, strict=True)
    )
    flatter = all(one["map_silhouette"] > one["silhouette"] for one in ones)
    verdict = (
        "The maps flatter, though: t-SNE draws apart what is continuous"
        if flatter
        else "The maps do not flatter both methods"
    )
    weak = max(one["silhouette"] for one in ones) < 0.25
    level = " Kaufman and Rousseeuw (1990) see no substantial structure below 0.25." if weak else ""
    return f"{fits}, where {looks}. {verdict}. Measured in the picture instead of the representation, the same clusters have {pairs}.{level}"


def _tells_truth(numbers, better):
    truth = leader(numbers, "nmi", 0.005)
    names = ", ".join(
        f"{METHOD_NAMES[name]} {one['silhouette']:.3f} / {one['nmi']:.3f}" for name, one in numbers["methods"].items()
    )
    if better is None or truth is None:
        verdict = "Between these two it has little to tell"
    elif better == truth:
        verdict = "Between these two it points to the method whose clusters agree better with the classes"
    else:
        verdict = f"Between these two it points to the wrong one: the clusters of {METHOD_NAMES[truth]} agree better with the classes"
    ranks = [
        sorted(numbers["methods"], key=lambda name: numbers["methods"][name][key]) for key in ("silhouette", "nmi")
    ]
    order = "in the same order" if ranks[0] == ranks[1] else "in another order"
    lower = [
        name
        for name in METHODS
        if numbers["methods"][name]["class_silhouette"] < numbers["methods"][name]["silhouette"]
    ]
    last = {
        0: "It does give the true classes a grade as high as the clusters'.",
        1: f"With {METHOD_NAMES[lower[0]] if lower else ''} alone it gives the true classes a lower grade than the clusters.",
        2: "And it gives the true classes a lower grade than the clusters, with both methods: it grades compactness, which is what k-means sought, and not truth.",
    }[len(lower)]
    classes = " and ".join(f"{numbers['methods'][name]['class_silhouette']:.4f}" for name in METHODS)
    return f"**Does the silhouette tell the truth?** {verdict}. Over all rungs, silhouette and NMI rank the methods {order} ({names}). {last} The classes themselves have {classes}."


CAPTION_CL1 = (
    "cl1_contingency",
    "What share of each cluster belongs to each class, in per cent; clusters in the order of their matched class.",
)
CAPTIONS_CL2 = tuple(
    (
        f"cl2_{name}",
        f"{METHOD_NAMES[name]}: t-SNE of training images by cluster and by class, with the cluster centres in black.",
    )
    for name in METHODS
)
CAPTION_CL3 = ("cl3_silhouettes", "Silhouette of each training image, cluster by cluster; the dashed line is the mean.")


def tables_cl3(numbers: dict) -> list[dict]:
    """Silhouette beside the measures that know the classes, for all methods."""
    keys = ("silhouette", "class_silhouette", "nmi", "ari", "accuracy")
    rows = [[METHOD_NAMES[name], *(f"{one[key]:.4f}" for key in keys)] for name, one in numbers["methods"].items()]
    header = ["method", "silhouette", "silhouette of the classes", "NMI", "ARI", "matched accuracy"]
    return [
        {
            "caption": "K-means on the training images: the silhouette, and what agrees with the classes.",
            "header": header,
            "rows": rows,
        }
    ]


def report_cl1(cfg: Config, numbers: dict) -> str:
    """Record CL1 and return its answer."""
    return record(cfg, "CL1", "Clustering: k-means", numbers, answer_cl1(numbers), [CAPTION_CL1])


def report_cl2(cfg: Config, numbers: dict) -> str:
    """Record CL2 and return its answer."""
    return record(cfg, "CL2", "Clustering: the clusters in two dimensions", numbers, answer_cl2(numbers), CAPTIONS_CL2)


def report_cl3(cfg: Config, numbers: dict) -> str:
    """Record CL3 and return its answer."""
    return record(
        cfg, "CL3", "Clustering: the silhouette", numbers, answer_cl3(numbers), [CAPTION_CL3], tables_cl3(numbers)
    )


def run(cfg: Config):
    """CL1 to CL3 from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    labels, classes = images.train_labels, images.classes
    features = {name: features_by_name(cfg, images, name).train for name in COMPARED}
    clusterings = {name: cluster(cfg, x) for name, x in features.items()}
    maps = {name: tsne_map(cfg, features[name], clusterings[name].centres) for name in METHODS}
    scores = {name: silhouette_scores(cfg, features[name], one.labels, labels) for name, one in clusterings.items()}
    asked_for = {name: clusterings[name] for name in METHODS}
    save_figure(cfg, "cl1_contingency", figure_contingency(asked_for, labels, classes))
    for name in METHODS:
        save_figure(cfg, f"cl2_{name}", figure_map(maps[name], clusterings[name], labels, classes, METHOD_NAMES[name]))
    save_figure(
        cfg,
        "cl3_silhouettes",
        figure_silhouettes({name: scores[name] for name in METHODS}, clusterings, labels, classes),
    )
    cl2 = numbers_cl2(images, maps, clusterings)
    report_cl1(cfg, numbers_cl1(cfg, images, features, clusterings))
    report_cl2(cfg, cl2)
    report_cl3(cfg, numbers_cl3(images, scores, clusterings, cl2))
