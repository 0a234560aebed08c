# Generated from nbs/06_anomaly.py by `make export`. Do not edit: edit the notebook.
# cells nbs/06_anomaly.py 42ddd68d5211c9b6
# text c45337a706809a92

"""6 · Anomaly detection (Sec. 4.2)."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from matplotlib.ticker import MaxNLocator
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score, roc_curve
from vicreg_nb.ablations import method_run, nearest
from vicreg_nb.config import (
    METHOD_COLOURS,
    METHOD_NAMES,
    Config,
    UserError,
    cached,
    choose_device,
    new_figure,
    progress,
    record,
    save_figure,
)
from vicreg_nb.data import Images, Outliers, open_dataset, open_outliers
from vicreg_nb.representations import encode, features_of
from vicreg_nb.retrieval import METHODS, SPARE, checked, image_attributes, picture_rows, show_image


ENCODERS = (*METHODS, "no_variance")  # the methods that can embed a new image


@dataclass(frozen=True)
class Space:
    """Representations by one encoder: normal reference [N, d], normal test images [M, d] and anomalies [A, d], all float32."""

    method: str
    train: np.ndarray
    test: np.ndarray
    outliers: np.ndarray

    def __post_init__(self):
        for part in ("train", "test", "outliers"):
            checked(getattr(self, part), name=f"the {part} features of {self.method}")


def open_space(cfg: Config, images: Images, outliers: Outliers, method: str) -> Space:
    """The `Space` of a method's encoder, which is trained if need be; the anomalies are encoded once."""
    run = method_run(cfg, images, method)
    features = features_of(cfg, images, run)

    def compute():
        device = choose_device(cfg)
        return {"outliers": encode(run.encoder(device), outliers.images, device, run.precision)}

    arrays = cached(cfg, "outliers", [run.identity, run.precision, outliers.identity], compute)
    return Space(method, features.train, features.test, arrays["outliers"])


def neighbour_distances(reference: np.ndarray, queries: np.ndarray, k: int, block: int = 1_000) -> np.ndarray:
    """l2 distances float64 [Q, k] from each query [Q, d] to its k nearest rows of the reference [N, d], rising.

    Raises UserError for k outside 1..N and for NaN.
    """
    if not 1 <= k <= len(reference):
        raise UserError(f"k is {k}: choose from 1 to {len(reference)}, the number of images to compare with.")
    reference, queries = (
        checked(reference, name="the reference features"),
        checked(queries, name="the queried features"),
    )
    centre = reference.mean(axis=0, dtype=np.float64).astype(np.float32)  # moves no distance, saves digits
    reference, queries = reference - centre, queries - centre
    _, found = nearest(reference, min(k + SPARE, len(reference)), queries)
    parts = []
    for start in range(0, len(queries), block):
        difference = reference[found[start : start + block]] - queries[start : start + block, None]
        parts.append(np.sqrt(np.einsum("qkd,qkd->qk", difference, difference)))
    return np.sort(np.concatenate(parts), axis=1)[:, :k].astype(np.float64)


def inverse_density(distances: np.ndarray, k: int) -> np.ndarray:
    """Eq. 7: scores [Q], the mean of the k smallest distances of each row of [Q, K], which rise along the row."""
    if not 1 <= k <= distances.shape[1]:
        raise UserError(
            f"k is {k}, but {distances.shape[1]} nearest images are at hand: choose from 1 to {distances.shape[1]}."
        )
    return distances[:, :k].mean(axis=1)


@dataclass(frozen=True)
class Scored:
    """Distances [M + A, K] of the test images, the normal ones first, to their nearest training images; truth [M + A]: 1 for an anomaly."""

    method: str
    distances: np.ndarray
    truth: np.ndarray

    def scores(self, k: int) -> np.ndarray:
        """Eq. 7 for all test images."""
        return inverse_density(self.distances, k)


def score_space(cfg: Config, space: Space) -> Scored:
    """Distances of all test images and anomalies of a `Space` to its training images; computed once."""
    k = max(cfg.anomaly_k, cfg.max_k)
    queries = np.concatenate((space.test, space.outliers))

    def compute():
        return {"distances": neighbour_distances(space.train, queries, k)}

    distances = cached(cfg, "anomaly", [space.train, queries, k], compute)["distances"]
    return Scored(space.method, distances, np.repeat([0, 1], [len(space.test), len(space.outliers)]))


def kind_names(images: Images, outliers: Outliers) -> tuple[str, str]:
    """What normal and anomalous images are called in figures and text."""
    return {"cifar10": "CIFAR-10"}.get(images.name, images.name), outliers.name


def figure_scores(scored: dict, k: int, names: tuple):
    """Distributions of the scores of normal and anomalous test images, a panel for each method, in units of the normal median."""
    fig, axes = new_figure(1, len(scored), height=2.2, sharey=True, squeeze=False)
    for ax, one in zip(axes[0], scored.values(), strict=True):
        scores = one.scores(k) / np.median(one.scores(k)[one.truth == 0])
        bins = np.linspace(0, np.quantile(scores, 0.998), 60)
        for value, colour, name in zip((0, 1), ("#5c6670", "#e76300"), names, strict=True):
            part = scores[one.truth == value]
            ax.hist(
                part.clip(max=bins[-1]),
                bins,
                weights=np.full(len(part), 100 / len(part)),
                color=colour,
                alpha=0.6,
                label=name,
            )
        ax.set(title=METHOD_NAMES[one.method], xlabel="score / median of the normal images", xlim=(0, bins[-1]))
    axes[0, 0].set_ylabel("test images / %")
    axes[0, -1].legend(loc="upper right")
    return fig


def placements(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(share of normal images below each anomaly [A], share of anomalies above each normal image [M]); ties count half."""
    normal, anomalous = np.sort(scores[truth == 0]), np.sort(scores[truth == 1])

    def share_below(values, pool):
        return (np.searchsorted(pool, values, "left") + np.searchsorted(pool, values, "right")) / (2 * len(pool))

    return share_below(scores[truth == 1], normal), 1 - share_below(scores[truth == 0], anomalous)


def mean_interval(anomalous: np.ndarray, normal: np.ndarray) -> float:
    """Half the 95 % interval of an AUC, or of a difference of two, from its placements (DeLong et al., 1988)."""
    return float(1.96 * np.sqrt(anomalous.var(ddof=1) / len(anomalous) + normal.var(ddof=1) / len(normal)))


def auc_difference(truth: np.ndarray, scores: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """(AUC of `scores` minus AUC of `other`, half its 95 % interval), over the same images."""
    gap = [a - b for a, b in zip(placements(truth, scores), placements(truth, other), strict=True)]
    return float(gap[0].mean()), mean_interval(*gap)


def figure_roc(scored: dict, k: int):
    """(matplotlib, plotly) ROC curves of all methods in one figure, the AUC in the legend; curves by sklearn."""
    fig, ax = new_figure(width=4.4, height=4.3)
    interactive = go.Figure()
    for name, one in scored.items():
        false, true, _ = roc_curve(one.truth, one.scores(k))
        label = f"{METHOD_NAMES[name]}: AUC {roc_auc_score(one.truth, one.scores(k)):.4f}"
        ax.plot(
            false,
            true,
            color=METHOD_COLOURS[name],
            linewidth=1.8,
            linestyle="-" if name in METHODS else "--",
            label=label,
        )
        few = np.unique(np.linspace(0, len(false) - 1, 400).astype(int))
        interactive.add_scatter(x=false[few], y=true[few], name=label, line={"color": METHOD_COLOURS[name]})
    ax.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":", label="chance: AUC 0.5")
    ax.set(
        xlabel="false positive rate (normal images called anomalous)",
        ylabel="true positive rate (anomalies found)",
        xlim=(-0.01, 1),
        ylim=(0, 1.01),
    )
    ax.set_box_aspect(1)
    ax.legend(loc="lower right")
    interactive.update_layout(xaxis={"title": "false positive rate"}, yaxis={"title": "true positive rate"})
    return fig, interactive


def auc_by_k(one: Scored, max_k: int) -> np.ndarray:
    """AUC [max_k] of Eq. 7's score for k = 1 .. max_k."""
    scores = np.cumsum(one.distances[:, :max_k], axis=1) / np.arange(1, max_k + 1)
    return np.array([roc_auc_score(one.truth, column) for column in scores.T])


def figure_auc_by_k(curves: dict, k: int):
    """(matplotlib, plotly) AUC against the number of neighbours; `curves` is {method: [max_k]}."""
    fig, ax = new_figure(width=4.6, height=2.5)
    interactive = go.Figure()
    for name, values in curves.items():
        steps = np.arange(1, len(values) + 1)
        ax.plot(
            steps,
            values,
            color=METHOD_COLOURS[name],
            linewidth=1.8,
            linestyle="-" if name in METHODS else "--",
            label=METHOD_NAMES[name],
        )
        ax.plot(k, values[k - 1], "o", color=METHOD_COLOURS[name], markersize=5)
        interactive.add_scatter(x=steps, y=values, name=METHOD_NAMES[name], line={"color": METHOD_COLOURS[name]})
    ax.set(xlabel="number of neighbours k", ylabel="AUC", xlim=(0.5, len(values) + 0.5))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    fig.legend(loc="outside lower center", ncols=len(curves))
    interactive.update_layout(xaxis={"title": "number of neighbours k"}, yaxis={"title": "AUC"})
    return fig, interactive


def class_aucs(cfg: Config, space: Space, images: Images) -> np.ndarray:
    """AUC [classes] with each class in turn as the normal one; computed once. UserError for a class with no images."""
    labels, tests = images.train_labels, images.test_labels
    for part, values in (("training", labels), ("test", tests)):
        missing = np.setdiff1d(np.arange(len(images.classes)), values)
        if len(missing):
            raise UserError(
                f"class {images.classes[missing[0]]} has no {part} images, so it cannot be the normal class: use more images."
            )

    def compute():
        aucs = []
        for label in progress(range(len(images.classes)), "one class as normal"):
            distances = neighbour_distances(space.train[labels == label], space.test, cfg.anomaly_k)
            aucs.append(roc_auc_score(tests != label, inverse_density(distances, cfg.anomaly_k)))
        return {"aucs": np.array(aucs)}

    return cached(cfg, "class_aucs", [space.train, space.test, labels, tests, cfg.anomaly_k], compute)["aucs"]


def caption(images: Images, outliers: Outliers, number: int) -> str:
    """What the test image of this number is: CIFAR-10's images come first, then the anomalies."""
    count = len(images.test_images)
    return (
        images.classes[images.test_labels[number]]
        if number < count
        else f"{outliers.name} {outliers.labels[number - count]}"
    )


def figure_ranked(images: Images, outliers: Outliers, rows: list):
    """Rows of images; each row is (title, colour, numbers of test images, scores)."""
    count = max(len(numbers) for _, _, numbers, _ in rows)
    fig, axes = picture_rows([(title, colour) for title, colour, _, _ in rows], count, 1.52)
    pictures = np.concatenate((images.test_images, outliers.images))
    for line, (_, _, numbers, scores) in zip(axes, rows, strict=True):
        for ax, number, score in zip(line, numbers, scores, strict=False):
            show_image(ax, pictures[number], f"{caption(images, outliers, number)}\n{score:.2f}", size=6.5)
        for ax in line[len(numbers) :]:
            ax.axis("off")
    return fig


def top_rows(scored: dict, k: int, count: int, normal_only: bool = False, least: bool = False) -> list:
    """Rows for `figure_ranked`: the `count` most (or least) anomalous test images by each method."""
    rows = []
    for name, one in scored.items():
        scores = one.scores(k) / np.median(one.scores(k)[one.truth == 0])
        pool = np.flatnonzero(one.truth == 0) if normal_only else np.arange(len(scores))
        order = pool[np.argsort(scores[pool] if least else -scores[pool], kind="stable")][:count]
        title = f"{METHOD_NAMES[name]}: the {count} {'least' if least else 'most'} anomalous{' normal' if normal_only else ''} test images"
        rows.append((title, METHOD_COLOURS[name], order, scores[order]))
    return rows


def score_attributes(images: Images, one: Scored, k: int) -> dict:
    """{property: Spearman's correlation with the score}, over the normal test images."""
    attributes = image_attributes(images.test_images)
    scores = one.scores(k)[one.truth == 0]
    values = {name: attributes[name][:, 0] for name in ("brightness", "contrast", "fine texture")}
    values["colourfulness"] = np.linalg.norm(attributes["colour"], axis=1)
    return {name: float(spearmanr(value, scores).statistic) for name, value in values.items()}


def numbers_ad1(cfg: Config, images: Images, outliers: Outliers, scored: dict) -> dict:
    """AD1: the scores of normal and anomalous images for each method."""
    methods = {}
    for name, one in scored.items():
        scores = one.scores(cfg.anomaly_k)
        normal, anomalous = scores[one.truth == 0], scores[one.truth == 1]
        methods[name] = {
            "median_normal": np.median(normal),
            "median_anomalous": np.median(anomalous),
            "ratio": np.median(anomalous) / (np.median(normal) or 1),  # 0 where all representations are one
            "above_95": (anomalous > np.quantile(normal, 0.95)).mean(),
        }
    counts = {
        "reference": len(images.train_labels),
        "normal": len(images.test_labels),
        "anomalous": len(outliers.labels),
    }
    return {"k": cfg.anomaly_k, "counts": counts, "names": kind_names(images, outliers), "methods": methods}


def numbers_ad2(cfg: Config, images: Images, scored: dict, curves: dict, by_class: dict) -> dict:
    """AD2: AUC with its interval, AUC over k, AUC with each class as the normal one, and the difference of the two methods."""
    methods = {}
    for name, one in scored.items():
        scores, curve = one.scores(cfg.anomaly_k), curves[name]
        methods[name] = {
            "auc": roc_auc_score(one.truth, scores),
            "interval": mean_interval(*placements(one.truth, scores)),
            "auc_by_k": curve,
            "best_k": int(curve.argmax()) + 1,
            "best_auc": curve.max(),
            "auc_by_class": dict(zip(images.classes, by_class[name], strict=True)),
            "class_mean": by_class[name].mean(),
        }
    first, second = (scored[name].scores(cfg.anomaly_k) for name in METHODS)
    gap, interval = auc_difference(scored[METHODS[0]].truth, first, second)
    return {"k": cfg.anomaly_k, "gap": gap, "gap_interval": interval, "methods": methods}


def numbers_ad3(cfg: Config, images: Images, outliers: Outliers, scored: dict) -> dict:
    """AD3: what the most anomalous images are, what goes along with the score, and how far the two methods agree."""
    methods = {}
    for name in METHODS:
        one = scored[name]
        order = np.argsort(-one.scores(cfg.anomaly_k), kind="stable")
        methods[name] = {
            "shown": [caption(images, outliers, number) for number in order[: cfg.anomalies_shown]],
            "anomalies_shown": int(one.truth[order[: cfg.anomalies_shown]].sum()),
            "anomalies_in_100": int(one.truth[order[:100]].sum()),
            "correlations": score_attributes(images, one, cfg.anomaly_k),
        }
    first, second = (scored[name].scores(cfg.anomaly_k)[scored[name].truth == 0] for name in METHODS)
    top = [set(np.argsort(-scores)[: max(1, len(scores) // 20)]) for scores in (first, second)]
    shared = len(top[0] & top[1]) / len(top[0])
    return {
        "name": outliers.name,
        "methods": methods,
        "rank_correlation": spearmanr(first, second).statistic,
        "shared_top_twentieth": shared,
    }


def answer_ad1(numbers: dict) -> str:
    """AD1 in words, chosen by the numbers."""
    counts, (normal, other) = numbers["counts"], numbers["names"]
    lines = [
        f"The reference is {counts['reference']:,} training images; {counts['normal']:,} test images of {normal} are normal and {counts['anomalous']:,} of {other} "
        f"anomalous. The score is Eq. 7 with k = {numbers['k']}."
    ]
    for name in METHODS:
        one = numbers["methods"][name]
        side = "higher than" if one["ratio"] > 1 else "lower than"
        lines.append(
            f"{METHOD_NAMES[name]}: the median score of {other} is {one['ratio']:.2f} times that of {normal}, {side} the normal one; {one['above_95']:.1%} of {other} score above 95 % of the normal images."
        )
    return "\n\n".join(lines)


def answer_ad2(numbers: dict) -> str:
    """AD2 in words: which method is better, by three witnesses."""
    first, second = METHODS if numbers["gap"] >= 0 else METHODS[::-1]
    a, b = numbers["methods"][first], numbers["methods"][second]
    facts = f"AUC {a['auc']:.4f} (± {a['interval']:.4f}) against {b['auc']:.4f} (± {b['interval']:.4f}), 95 % intervals"
    clear = abs(numbers["gap"]) > numbers["gap_interval"]
    head = f"**{METHOD_NAMES[first]} is better on this task**" if clear else "**Neither method is better on this task**"
    verdict = f"{head}: {facts}; the difference is {abs(numbers['gap']):.4f} ± {numbers['gap_interval']:.4f}."
    return "\n\n".join(
        [verdict, _other_witnesses(a, b, first, second, clear)] + ([_why_better(a, b, first)] if clear else [])
    )


def _other_witnesses(a, b, first, second, clear):
    ahead = int((np.array(a["auc_by_k"]) > np.array(b["auc_by_k"])).sum())
    by_class = [a["auc_by_class"][name] > b["auc_by_class"][name] for name in a["auc_by_class"]]
    apart = a["class_mean"] - b["class_mean"]
    if abs(apart) < 0.005:
        agree = "this witness sees no difference"
    elif clear:
        agree = "this witness agrees" if apart > 0 else "this witness says the opposite"
    else:
        agree = f"this witness puts {METHOD_NAMES[first if apart > 0 else second]} ahead"
    return (
        f"*Other k:* {METHOD_NAMES[first]} is ahead for {ahead} of {len(a['auc_by_k'])} values of k (best: {a['best_auc']:.4f} at k = {a['best_k']}, against {b['best_auc']:.4f} at k = {b['best_k']}). "
        f"*One class as normal:* {agree}: the mean AUC is {a['class_mean']:.3f} with {METHOD_NAMES[first]} and {b['class_mean']:.3f} with {METHOD_NAMES[second]}; {METHOD_NAMES[first]} is ahead for {sum(by_class)} of {len(by_class)} classes."
    )


def _why_better(a, b, first):
    if first == "neighbours":
        reason = (
            "A plausible reason: crops and colour changes teach VICReg to overlook contrast, colour and scale, which is much of what sets a bright stroke on black apart from a photograph. "
            "Without generated views nothing is taught to be overlooked, and what is strange stays far away."
        )
    else:
        reason = (
            "A plausible reason: views that differ by crop, colour and blur spread the representation over what varies among real images, so that a stroke on black falls where no training image lies. "
            "Neighbours as views only inherit that geometry and fold it together."
        )
    if a["class_mean"] <= b["class_mean"]:
        reason += " That it is not ahead with one class as normal says that this is about images unlike any photograph, and not about what is in them."
    return reason


def answer_ad3(numbers: dict) -> str:
    """AD3 in words: what each method found anomalous."""
    lines = []
    for name in METHODS:
        one = numbers["methods"][name]
        total = len(one["shown"])
        seen = f"{one['anomalies_shown']} of the {total} are {numbers['name']}, and {one['anomalies_in_100']} of the first hundred"
        ranked = sorted(one["correlations"].items(), key=lambda item: -abs(item[1]))
        traits = [
            f"{'high' if value > 0 else 'low'} {trait} ({value:+.2f})" for trait, value in ranked if abs(value) >= 0.1
        ]
        found = (
            f"among the normal images a high score goes along with {' and '.join(traits[:2])}"
            if traits
            else "among the normal images the score goes along with none of the properties measured"
        )
        lines.append(
            f"**{METHOD_NAMES[name]}**: {seen} ({', '.join(one['shown'])}). By Spearman's correlation, {found}."
        )
    rho, shared = numbers["rank_correlation"], numbers["shared_top_twentieth"]
    view = "largely agree" if rho > 0.6 else "agree in part" if rho > 0.2 else "hardly agree"
    lines.append(
        f"The two {view} on which normal images are odd: the rank correlation of their scores is {rho:.2f}, and they share {shared:.0%} of the oddest twentieth. "
        "Neither was told which anomalies we look for. A photograph of an unusual thing, in an unusual light or badly cut out, is an anomaly in its own right; that the AUC counts it as a mistake "
        "is our choice of question, not the method's error. So the ROC says which method shares our idea of an anomaly here, and not which is better at finding anomalies as such."
    )
    return "\n\n".join(lines)


CAPTION_AD1 = ("ad1_scores", "Scores of normal and anomalous test images by both methods.")
CAPTIONS_AD2 = (
    ("ad2_roc", "ROC curves of the methods that have an encoder, with their AUC."),
    ("ad2_auc_by_k", "AUC against the number of neighbours; the dot is the exercise's k."),
)
CAPTIONS_AD3 = (
    (
        "ad3_most_anomalous",
        "The most anomalous test images by each method, with their score in units of the normal median.",
    ),
    ("ad3_normal_images", "The oddest and the most ordinary of the normal test images by each method."),
)


def tables_ad2(numbers: dict) -> list[dict]:
    """AUC by normal class and method, as a table."""
    methods = numbers["methods"]
    rows = [
        [name, *(f"{one['auc_by_class'][name]:.3f}" for one in methods.values())]
        for name in methods[METHODS[0]]["auc_by_class"]
    ]
    rows.append(["mean", *(f"{one['class_mean']:.3f}" for one in methods.values())])
    caption = f"AUC with one class as normal and the nine others as anomalies, k = {numbers['k']}."
    return [{"caption": caption, "header": ["normal class", *(METHOD_NAMES[name] for name in methods)], "rows": rows}]


def report_ad1(cfg: Config, numbers: dict) -> str:
    """Record AD1 and return its answer."""
    return record(cfg, "AD1", "Anomaly detection: kNN density", numbers, answer_ad1(numbers), [CAPTION_AD1])


def report_ad2(cfg: Config, numbers: dict) -> str:
    """Record AD2 and return its answer."""
    return record(
        cfg, "AD2", "Anomaly detection: ROC and AUC", numbers, answer_ad2(numbers), CAPTIONS_AD2, tables_ad2(numbers)
    )


def report_ad3(cfg: Config, numbers: dict) -> str:
    """Record AD3 and return its answer."""
    return record(cfg, "AD3", "Anomaly detection: the most anomalous", numbers, answer_ad3(numbers), CAPTIONS_AD3)


def run(cfg: Config):
    """AD1 to AD3 from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    outliers, k = open_outliers(cfg), cfg.anomaly_k
    spaces = {name: open_space(cfg, images, outliers, name) for name in ENCODERS}
    scored = {name: score_space(cfg, space) for name, space in spaces.items()}
    curves = {name: auc_by_k(one, max(cfg.max_k, k)) for name, one in scored.items()}
    by_class = {name: class_aucs(cfg, space, images) for name, space in spaces.items()}
    asked_for = {name: scored[name] for name in METHODS}
    save_figure(cfg, "ad1_scores", figure_scores(asked_for, k, kind_names(images, outliers)))
    save_figure(cfg, "ad2_roc", *figure_roc(scored, k))
    save_figure(cfg, "ad2_auc_by_k", *figure_auc_by_k(curves, k))
    save_figure(cfg, "ad3_most_anomalous", figure_ranked(images, outliers, top_rows(asked_for, k, cfg.anomalies_shown)))
    normal = [row for least in (False, True) for row in top_rows(asked_for, k, cfg.anomalies_shown, True, least)]
    save_figure(cfg, "ad3_normal_images", figure_ranked(images, outliers, normal))
    report_ad1(cfg, numbers_ad1(cfg, images, outliers, scored))
    report_ad2(cfg, numbers_ad2(cfg, images, scored, curves, by_class))
    report_ad3(cfg, numbers_ad3(cfg, images, outliers, scored))
