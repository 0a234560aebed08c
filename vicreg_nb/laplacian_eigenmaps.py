# Generated from nbs/04_laplacian_eigenmaps.py by `make export`. Do not edit: edit the notebook.
# cells nbs/04_laplacian_eigenmaps.py 84d227887d95057e
# text 84216fd1edfe32aa

"""4 · Laplacian Eigenmaps (Q6)."""

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


def untrained_cnn(seed: int) -> nn.Sequential:
    """Footnote 3: [B, 3, 32, 32] to [B, 1024] by four convolutions and a linear layer, with random weights."""
    widths = (3, 32, 64, 128, 256)
    with seeded(seed, "untrained cnn"):
        layers = [layer for pair in pairwise(widths) for layer in (nn.Conv2d(*pair, 3, 2, 1), nn.ReLU(inplace=True))]
        cnn = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 2 * 2, 1024))
    return cnn.eval().requires_grad_(False)


def graph_features(cfg: Config, pictures: np.ndarray, batch: int = None) -> np.ndarray:
    """Footnote 3's features, float32 [N, 1024], of images uint8 [N, 32, 32, 3]."""
    return outputs(untrained_cnn(cfg.seed), pictures, choose_device(cfg), batch=batch)


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


q6 = Question("Q6", "Ablation 3: Laplacian Eigenmaps", "Section 3.2, Question 6", required=True)


def control_graph(cfg: Config, images: Images) -> ImageGraph:
    """The neighbour graph of training and test images by VICReg's representation."""
    vicreg = features(cfg, images, "vicreg")
    return make_graph(cfg, ["representation", vicreg.identity], lambda: np.concatenate([vicreg.train, vicreg.test]))


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


@q6.figure(
    "Does a class have a region of its own? t-SNE of Laplacian Eigenmaps (training images, made as footnote 3 says, in "
    "place of the exercise's Fig. 2) and of VICReg (test images, as in Q2)."
)
def q6_tsne(result: dict) -> Drawing:
    kinds, panels = {"laplacian": "training", "vicreg": "test"}, {}
    for name, (points, labels) in result["maps"].items():
        panels[f"{METHODS[name].title}: {len(labels):,} {kinds[name]} images"] = points, labels
    return scatter(panels, result["classes"])


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


_PROBES = """the linear probe reaches {vicreg.accuracy:.1%} on VICReg's representation and {laplacian.accuracy:.1%} on
    that of Laplacian Eigenmaps** (a difference of {total.points:.1f} ± {total.interval:.1f} points, {over}; chance is
    {chance:.0%})."""
q6.says("**VICReg is more effective: " + _PROBES, when=lambda n: n.total.points > n.total.interval)
q6.says("**Laplacian Eigenmaps are more effective: " + _PROBES, when=lambda n: n.total.points < -n.total.interval)
q6.says("**Neither is measurably better: " + _PROBES, when=lambda n: abs(n.total.points) <= n.total.interval)


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


q6.says(
    """It is not t-SNE that loses Laplacian Eigenmaps' classes: in all {components} dimensions {in_all.eigenvectors:.1%}
    of a point's ten nearest have its class. Among the images' plain pixels, 32 x 32 of them, it is {in_all.pixels:.1%}.
    """,
    when=lambda n: n.laplacian.picture_agreement > 0.9 * n.in_all.eigenvectors,
)


q6.says("""The graph's features are as in the exercise's footnote 3: the outputs of a small *random CNN*, which is never
    trained. (Elsewhere "before training" means Q1's own encoder.) The footnote gives neither the widths of its layers
    nor the graph's edges; both are our choice: an edge where one of two images is among the {neighbours} nearest of
    the other, all of weight 1.""")


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


q6.says(
    """So most of VICReg's lead lies in which images count as neighbours. Its own pairs come from augmentations; what
    neighbours that are chosen without them are worth, Q5 tells. And the control borrows its neighbours from VICReg: it
    does not show that eigenvectors could have done without it.""",
    when=lambda n: _graph_decides(n) and n.rest.points > n.rest.interval,
)


_PART = "{graph.points:.1f} ± {graph.interval:.1f} of the {total.points:.1f} points."


def _part_of_graph(n):
    """The range of the part that the graph has in VICReg's lead; None where there is no lead."""
    low, high = n.graph.points - n.graph.interval, n.graph.points + n.graph.interval
    return (low / n.total.points, high / n.total.points) if n.total.points > n.total.interval else None


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


_RUN = """To run it: {components} eigenvectors of {whole.images:,} images took {whole.seconds.total:.1f} s
    ({whole.seconds.features:.1f} s for the features, {whole.seconds.neighbours:.1f} s for exact neighbours,
    {whole.seconds.eigenvectors:.1f} s for the eigenvectors), with a largest residual of {whole.largest_residual:.1e}.
    """
q6.says(_RUN + "The graph is connected as it is.", when=lambda n: n.whole.joining_edges == 0)
q6.says(
    _RUN + "{whole.joining_edges:,} edges had to be added to make the graph connected.",
    when=lambda n: n.whole.joining_edges > 0,
)


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
