# Generated from nbs/04_laplacian_eigenmaps.py by `make export`. Do not edit: edit the notebook.
# cells nbs/04_laplacian_eigenmaps.py 70d63d1b9d06a908
# text 336e8b6fb1ea44f6

"""4 · Laplacian Eigenmaps (Q6)."""

import time
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.sparse.linalg import eigsh
from torch import nn
from vicreg_nb.config import Config, choose_device
from vicreg_nb.data import Images, normalise, open_dataset, to_float
from vicreg_nb.neighbours import nearest
from vicreg_nb.representations import Features, Probe, linear_probe, project_tsne
from vicreg_nb.store import UserError, cached, digest, duration, log, progress


FEATURE_SIZE = 1024


def untrained_cnn(seed: int) -> nn.Sequential:
    """The exercise's footnote 3: [B, 3, 32, 32] to [B, 1024] by four convolutions and a linear layer with random weights."""
    widths = (3, 32, 64, 128, 256)
    with torch.random.fork_rng(devices=[]):  # leaves the caller's random stream where it was
        torch.manual_seed(int(digest(seed, "untrained cnn"), 16) % 2**63)
        layers = [
            layer for i in range(4) for layer in (nn.Conv2d(widths[i], widths[i + 1], 3, 2, 1), nn.ReLU(inplace=True))
        ]
        cnn = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * 2 * 2, FEATURE_SIZE))
    return cnn.eval().requires_grad_(False)


@torch.inference_mode()
def graph_features(cfg: Config, pictures: np.ndarray, batch: int = 500) -> np.ndarray:
    """Footnote 3's features, float32 [N, 1024], of images uint8 [N, 32, 32, 3]."""
    device = choose_device(cfg)
    cnn = untrained_cnn(cfg.seed).to(device, memory_format=torch.channels_last)
    features = np.empty((len(pictures), FEATURE_SIZE), np.float32)
    for start in progress(range(0, len(pictures), batch), "untrained CNN"):
        x = normalise(to_float(pictures[start : start + batch], device)).contiguous(memory_format=torch.channels_last)
        features[start : start + batch] = cnn(x).cpu().numpy()
    return features


def knn_graph(features: np.ndarray, k: int) -> sparse.csr_matrix:
    """W, symmetric [N, N] of zeros and ones: an edge where one image is among the k nearest (l2) of the other.

    features: [N, d]. Raises UserError for fewer than two images, for NaN, and for k outside 1 ... N - 1.
    """
    features = np.asarray(features)
    if features.ndim != 2 or len(features) < 2:
        raise UserError(
            f"features of shape {features.shape} make no graph: give an array [images, dimensions] of at least 2 images."
        )
    broken = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(broken):
        raise UserError(
            f"the features hold NaN or infinity in {len(broken)} of {len(features)} rows, first in row {broken[0]}: leave these rows out."
        )
    found = nearest(features - features.mean(axis=0), k)[
        1
    ]  # centred: faiss subtracts squared norms, and their digits would be lost
    rows = np.repeat(np.arange(len(found)), k)
    directed = sparse.csr_matrix((np.ones(found.size), (rows, found.ravel())), shape=(len(found), len(found)))
    return directed.maximum(directed.T).tocsr()


@dataclass(frozen=True)
class Pieces:
    """The connected components that a graph had. sizes: images in each, falling; added: int [E, 2], the edges that joined them."""

    sizes: np.ndarray
    added: np.ndarray

    def __str__(self):
        if len(self.sizes) == 1:
            return "the graph is in one piece"
        small = ", ".join(f"{size:,}" for size in self.sizes[1:6]) + (" ..." if len(self.sizes) > 6 else "")
        edges = (
            "an edge, the shortest between them,"
            if len(self.added) == 1
            else f"{len(self.added):,} edges, the shortest between them,"
        )
        return f"the graph was in {len(self.sizes):,} pieces, of {self.sizes[0]:,} images and of {small}; {edges} joined them"


def join_pieces(graph: sparse.csr_matrix, features: np.ndarray) -> tuple[sparse.csr_matrix, Pieces]:
    """The graph in one piece, and what it took: the minimum spanning tree (l2) of its pieces. features: [N, d].

    Raises UserError where the features are not those of the graph's N images.
    """
    if len(features) != graph.shape[0]:
        raise UserError(
            f"there are {len(features)} rows of features for a graph of {graph.shape[0]} images: give one row for each image."
        )
    count, piece = connected_components(graph, directed=False)
    sizes, added = np.sort(np.bincount(piece))[::-1], [np.empty((0, 2), int)]
    while count > 1:
        edges = _without_circles(_ways_out(features, piece), piece)
        new = sparse.csr_matrix((np.ones(len(edges)), edges.T), shape=graph.shape)
        graph = graph.maximum(new).maximum(new.T).tocsr()
        added.append(edges)
        count, piece = connected_components(graph, directed=False)
    return graph, Pieces(sizes, np.sort(np.concatenate(added), axis=1))


def _ways_out(features, piece):
    """Edges [E, 2], rising in length: the shortest way out of each piece but the largest.

    One search for all: the 32 nearest of an image mostly include one outside its piece. Where they might have missed the shortest, a second search decides.
    """
    members = np.flatnonzero(piece != np.bincount(piece).argmax())
    distance, found = nearest(features, min(32, len(piece)), features[members])
    farthest = distance[:, -1].copy()
    distance[piece[found] == piece[members, None]] = np.inf
    lengths, edges = [], []
    for name in np.unique(piece[members]):
        mine = np.flatnonzero(piece[members] == name)
        i, j = np.unravel_index(distance[mine].argmin(), (len(mine), distance.shape[1]))
        length, edge = distance[mine[i], j], (members[mine[i]], found[mine[i], j])
        enclosed = np.isinf(distance[mine].min(axis=1))  # what is outside of these is at least as far as their farthest
        if length > farthest[mine[enclosed]].min(initial=np.inf) or np.isinf(length):
            length, edge = _shortest_way_out(features, piece == name)
        lengths.append(length)
        edges.append(edge)
    return np.array(edges)[np.argsort(lengths, kind="stable")]


def _shortest_way_out(features, inside):
    """(length, (image inside, image outside)) with the smallest distance."""
    members, others = np.flatnonzero(inside), np.flatnonzero(~inside)
    distance, found = nearest(features[others], 1, features[members])
    closest = distance[:, 0].argmin()
    return distance[closest, 0], (members[closest], others[found[closest, 0]])


def _without_circles(edges, piece):
    """Those of the edges, rising in length, that join pieces not joined by shorter ones; equal lengths could close a circle."""
    pairs, rank = np.unique(np.sort(piece[edges], axis=1), axis=0, return_index=True)
    tree = minimum_spanning_tree(sparse.csr_matrix((rank + 1.0, pairs.T), shape=(piece.max() + 1,) * 2))
    return edges[tree.data.astype(int) - 1]


@dataclass(frozen=True)
class Embedding:
    """Bottom of L y = lambda D y without the constant. vectors: [N, c], of mean 0 and variance 1 where an image weighs as much as its degree;
    values: [c] rising, in 0 ... 2; residuals: [c], norms of (D^-1/2 W D^-1/2 - 1 + lambda) v for |v| = 1."""

    vectors: np.ndarray
    values: np.ndarray
    residuals: np.ndarray
    seconds: float


def eigenmaps(graph: sparse.csr_matrix, components: int, seed: int = 0, tolerance: float = 0) -> Embedding:
    """Laplacian Eigenmaps (Belkin and Niyogi, 2003) of a symmetric graph [N, N] with weights >= 0.

    tolerance: ARPACK's, relative to the eigenvalues of D^-1/2 W D^-1/2; 0 is machine precision. The start of the iteration is drawn by `seed`.
    Raises UserError for an empty graph, one in pieces, and for more components than N - 2.
    """
    start = time.perf_counter()
    graph = _checked_graph(graph, components)
    degree = graph.sum(axis=1).A1
    scale = sparse.diags(degree**-0.5)
    adjacency = (scale @ graph @ scale).tocsr()
    wanted = components + 1  # the constant is the first
    lanczos = min(
        graph.shape[0], wanted + max(20, 5 * wanted // 8)
    )  # so many vectors kept: measured, neither restarts nor memory dominate
    first = np.random.default_rng([seed, 4]).normal(size=graph.shape[0])
    top, v = eigsh(adjacency, k=wanted, which="LA", v0=first, ncv=lanczos, tol=tolerance)
    order = np.argsort(-top)[1:]
    top, v = top[order], v[:, order]
    v *= np.sign(v[np.abs(v).argmax(axis=0), np.arange(components)])  # the same sign in every run
    residuals = np.linalg.norm(adjacency @ v - v * top, axis=0)
    vectors = np.sqrt(degree.sum() / degree)[:, None] * v
    return Embedding(vectors, 1 - top, residuals, time.perf_counter() - start)


def _checked_graph(graph, components):
    """The graph in double precision, or a UserError."""
    graph = sparse.csr_matrix(graph, dtype=np.float64, copy=True)
    graph.sum_duplicates()
    graph.eliminate_zeros()  # a stored zero is no edge
    n = graph.shape[0]
    if graph.shape != (n, n) or graph.nnz == 0:
        raise UserError(
            f"the graph of shape {graph.shape} has {graph.nnz} edges: give a square matrix with edges, such as knn_graph makes."
        )
    if (
        not np.isfinite(graph.data).all()
        or graph.data.min() < 0
        or abs(graph - graph.T).max() > 1e-12 * graph.data.max()
    ):
        raise UserError(
            "the graph has negative, infinite or NaN weights or is not symmetric: use graph.maximum(graph.T) of weights >= 0."
        )
    if not 1 <= components <= n - 2:
        raise UserError(f"components is {components}: choose from 1 to {n - 2}, two less than the {n} images.")
    count, piece = connected_components(graph, directed=False)
    if count > 1:
        raise UserError(
            f"the graph is in {count} pieces, the smallest of {np.bincount(piece).min()} images: join them first with join_pieces(graph, features)."
        )
    return graph


@dataclass(frozen=True)
class ImageGraph:
    """A neighbour graph in one piece; seconds: of the features and of the search for neighbours; identity: digest of what it is made from."""

    graph: sparse.csr_matrix
    pieces: Pieces
    seconds: np.ndarray
    identity: str


def make_graph(cfg: Config, identity, make_features) -> ImageGraph:
    """The graph of `make_features()` -> [N, d], computed once for each `identity`."""
    key = digest(identity, cfg.graph_neighbours)

    def compute():
        times = [time.perf_counter()]
        features = make_features()
        times.append(time.perf_counter())
        log(f"the {cfg.graph_neighbours} nearest of each of {len(features):,} images in {features.shape[1]} dimensions")
        graph, pieces = join_pieces(knn_graph(features, cfg.graph_neighbours), features)
        times.append(time.perf_counter())
        log(str(pieces))
        return {
            "indices": graph.indices,
            "indptr": graph.indptr,
            "sizes": pieces.sizes,
            "added": pieces.added,
            "seconds": np.diff(times),
        }

    arrays = cached(cfg.cache, "graph", key, compute)
    n = len(arrays["indptr"]) - 1
    graph = sparse.csr_matrix((np.ones(len(arrays["indices"])), arrays["indices"], arrays["indptr"]), shape=(n, n))
    return ImageGraph(graph, Pieces(arrays["sizes"], arrays["added"]), arrays["seconds"], key)


def image_graph(cfg: Config, pictures: np.ndarray) -> ImageGraph:
    """The graph of images uint8 [N, 32, 32, 3] by footnote 3's features."""
    return make_graph(cfg, ["footnote 3", digest(pictures), cfg.seed], lambda: graph_features(cfg, pictures))


def embed(cfg: Config, graph: ImageGraph) -> Embedding:
    """`eigenmaps` of an image graph with `cfg.components`, computed once."""

    def compute():
        n = graph.graph.shape[0]
        log(f"{cfg.components} eigenvectors of {n:,} images and {graph.graph.nnz // 2:,} edges")
        return vars(eigenmaps(graph.graph, cfg.components, cfg.seed))

    arrays = cached(cfg.cache, "eigenmaps", [graph.identity, cfg.components, cfg.seed], compute)
    return Embedding(arrays["vectors"], arrays["values"], arrays["residuals"], float(arrays["seconds"]))


def all_pictures(images: Images) -> np.ndarray:
    """Training images, then test images, uint8 [N + M, 32, 32, 3]."""
    return np.concatenate([images.train_images, images.test_images])


def split_features(images: Images, vectors: np.ndarray, identity: str) -> Features:
    """Rows of `all_pictures` as `Features`."""
    vectors = vectors.astype(np.float32)
    return Features(vectors[: len(images.train_images)], vectors[len(images.train_images) :], identity)


def laplacian_features(cfg: Config, images: Images) -> Features:
    """Laplacian Eigenmaps of training and test images together, `components` dimensions of unit variance."""
    graph = image_graph(cfg, all_pictures(images))
    identity = digest(graph.identity, cfg.components, cfg.seed)
    return split_features(images, embed(cfg, graph).vectors, identity)


def same_class_edges(graph: sparse.csr_matrix, labels: np.ndarray) -> float:
    """The share of edges that join two images of one class."""
    rows, columns = graph.nonzero()
    return float((labels[rows] == labels[columns]).mean())


def figure_eigenvalues(embedding: Embedding):
    """Eigenvalues by number, and their residuals."""
    fig, (left, right) = new_figure(1, 2, height=2.2)
    number = np.arange(1, len(embedding.values) + 1)
    left.plot(number, embedding.values, ".", color="#bd1f01", markersize=4)
    left.set(xlabel="number of the eigenvector", ylabel="eigenvalue $\\lambda$", ylim=(0, None))
    right.semilogy(number, embedding.residuals.clip(1e-17), ".", color="#717581", markersize=4)
    right.set(xlabel="number of the eigenvector", ylabel="residual")
    return fig


def figure_pictures(panels: dict, classes: tuple):
    """Scatter plots side by side, {title: (points [N, 2], labels [N])}, each with its own points."""
    fig, axes = new_figure(1, len(panels), height=6.9 / len(panels) + 0.35, squeeze=False)
    colours = np.array(CLASS_COLOURS)
    for ax, (title, (points, labels)) in zip(axes[0], panels.items(), strict=True):
        order = np.random.default_rng(0).permutation(len(points))  # no class lies on top of the others
        size = float(np.clip(12_000 / len(points), 1.5, 14))
        ax.scatter(*points[order].T, c=colours[labels[order]], s=size, alpha=0.75, linewidths=0)
        ax.set(title=title, xticks=[], yticks=[])
        ax.set_box_aspect(1)
    handles = [
        axes[0, 0].scatter([], [], color=colour, s=28, label=name)
        for colour, name in zip(colours, classes, strict=True)
    ]
    fig.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2, handletextpad=0.2)
    return fig


def pictures_q6(cfg: Config, images: Images, embedding: Embedding, vicreg: Features) -> dict:
    """{method: (t-SNE points, labels)}: Laplacian Eigenmaps of training images, VICReg of test images as in Q2."""
    test = slice(0, cfg.tsne_size)
    return {
        "laplacian": (
            project_tsne(cfg, embedding.vectors.astype(np.float32)),
            images.train_labels[: len(embedding.vectors)],
        ),
        "vicreg": (project_tsne(cfg, vicreg.test[test]), images.test_labels[test]),
    }


def control_graph(cfg: Config, vicreg: Features) -> ImageGraph:
    """The neighbour graph of training and test images by VICReg's representation."""
    return make_graph(cfg, ["representation", vicreg.identity], lambda: np.concatenate([vicreg.train, vicreg.test]))


def control_features(cfg: Config, images: Images, graph: ImageGraph) -> Features:
    """Laplacian Eigenmaps of a `control_graph`."""
    return split_features(images, embed(cfg, graph).vectors, digest(graph.identity, cfg.components, cfg.seed))


@dataclass(frozen=True)
class LaplacianResult:
    """What Q6 reports about: the small and the whole graph with their embeddings, the control's graph, pictures and probes."""

    small: tuple[ImageGraph, Embedding]
    whole: tuple[ImageGraph, Embedding]
    control: ImageGraph
    pictures: dict
    probes: dict[str, Probe]


def numbers_q6(cfg: Config, images: Images, result: LaplacianResult) -> dict:
    """Q6's numbers."""
    labels = np.concatenate([images.train_labels, images.test_labels])
    methods = {name: {"accuracy": probe.accuracy, "interval": probe.interval} for name, probe in result.probes.items()}
    for name, (points, colours) in result.pictures.items():
        methods[name]["picture_agreement"] = neighbour_agreement(points, colours)
        methods[name]["picture_images"] = len(points)
    methods["laplacian"]["same_class_edges"] = same_class_edges(result.whole[0].graph, labels)
    methods["control"]["same_class_edges"] = same_class_edges(result.control.graph, labels)
    sizes = {name: _graph_numbers(*getattr(result, name)) for name in ("small", "whole")}
    return (
        methods
        | sizes
        | {"neighbours": cfg.graph_neighbours, "components": cfg.components, "chance": 1 / len(images.classes)}
    )


def _graph_numbers(graph: ImageGraph, embedding: Embedding) -> dict:
    degree = graph.graph.sum(axis=1).A1
    features, neighbours = graph.seconds
    return {
        "images": len(degree), "edges": graph.graph.nnz // 2, "mean_degree": degree.mean(), "max_degree": degree.max(),
        "pieces": len(graph.pieces.sizes), "piece_sizes": graph.pieces.sizes[:10], "joining_edges": len(graph.pieces.added), "pieces_in_words": str(graph.pieces),
        "first_eigenvalue": embedding.values[0], "last_eigenvalue": embedding.values[-1], "largest_residual": embedding.residuals.max(),
        "seconds": {"features": features, "neighbours": neighbours, "eigenvectors": embedding.seconds, "total": features + neighbours + embedding.seconds},
    }  # fmt: skip


def answer_q6(numbers: dict) -> str:
    """Q6 in words, chosen by the numbers."""
    vicreg, laplacian = numbers["vicreg"], numbers["laplacian"]
    gap, noise = vicreg["accuracy"] - laplacian["accuracy"], 2 * max(vicreg["interval"], laplacian["interval"])
    verdict = (
        "VICReg is more effective"
        if gap > noise
        else "Laplacian Eigenmaps are more effective"
        if gap < -noise
        else "The two are not measurably different"
    )
    seen, other = vicreg["picture_agreement"], laplacian["picture_agreement"]
    agrees = (
        "The pictures in numbers"
        if abs(gap) <= noise
        else "The pictures agree"
        if (seen - other) * gap > 0
        else "The pictures do not show it"
    )
    return "\n\n".join([
        f"**{verdict} for classification: the linear probe reaches {vicreg['accuracy']:.1%} on VICReg's representation and {laplacian['accuracy']:.1%} on that of Laplacian Eigenmaps** "
        f"(± {vicreg['interval']:.1%}; chance is {numbers['chance']:.0%}). {agrees}: of a point's ten nearest in t-SNE's picture, {seen:.1%} have its class with VICReg and {other:.1%} with Laplacian Eigenmaps.",
        _cost_q6(numbers),
        _explain_q6(numbers, noise),
    ])  # fmt: skip


def _cost_q6(numbers):
    whole, seconds = numbers["whole"], numbers["whole"]["seconds"]
    return (
        f"To run it: {numbers['components']} eigenvectors of {whole['images']:,} images took {duration(seconds['total'])} ({duration(seconds['features'])} for the features, "
        f"{duration(seconds['neighbours'])} for exact neighbours, {duration(seconds['eigenvectors'])} from the graph to the embedding), with residuals below {whole['largest_residual']:.0e}; "
        f"{numbers['small']['images']:,} images took {duration(numbers['small']['seconds']['total'])}. Among {whole['images']:,} images {whole['pieces_in_words']}."
    )


def _explain_q6(numbers, noise):
    vicreg, laplacian, control = (numbers[name] for name in ("vicreg", "laplacian", "control"))
    graph, rest = control["accuracy"] - laplacian["accuracy"], vicreg["accuracy"] - control["accuracy"]
    text = (
        "What makes the one or the other more successful? Both want three things: neighbours close, spread, and no dimension twice. They differ in who counts as a neighbour, and in whether a network has to produce the vectors. "
        f"Of the edges in this graph, {laplacian['same_class_edges']:.1%} join images of one class; the untrained features see colour and layout. "
        f"As a control, the same algorithm on the graph of neighbours by VICReg's representation ({control['same_class_edges']:.1%} of its edges within a class) is probed at {control['accuracy']:.1%}. "
    )
    return text + CONCLUSIONS_Q6[_sign(graph, noise), _sign(rest, noise)].format(
        graph=100 * abs(graph), rest=100 * abs(rest)
    )


def _sign(difference, noise):
    return "+" if difference > noise else "-" if difference < -noise else "0"


# first sign: of the control less Laplacian Eigenmaps; second: of VICReg less the control; 0 within the noise
CONCLUSIONS_Q6 = {
    ("+", "+"): "So a better graph gives {graph:.1f} points: the augmentations know what does not matter in an image. The other {rest:.1f} points are the network's: it sees pixels where the eigenvectors see only edges, and must place similar images similarly.",
    ("+", "0"): "So it is the graph: given VICReg's neighbours, eigenvectors do as well as VICReg. The augmentations' knowledge of what does not matter is what counts.",
    ("+", "-"): "So given VICReg's neighbours the eigenvectors even surpass VICReg, by {rest:.1f} points: they average over many neighbours and leave out what varies fast among them.",
    ("0", "+"): "So a graph of VICReg's neighbours is not measurably better for it here, and {rest:.1f} points are the network's: it sees pixels where the eigenvectors see only edges.",
    ("0", "0"): "So neither the graph nor the network alone makes a measurable difference in this run.",
    ("0", "-"): "So it is not the graph, which makes no measurable difference here: on either one the eigenvectors do better than VICReg, which has to produce its vectors by a network.",
    ("-", "+"): "So a graph of VICReg's neighbours is even worse for it here, by {graph:.1f} points, and {rest:.1f} points are the network's: it sees pixels where the eigenvectors see only edges.",
    ("-", "0"): "So it is the graph, and VICReg's is the worse one here, by {graph:.1f} points: this VICReg finds poorer neighbours than an untrained network, and its own representation is no better.",
    ("-", "-"): "So VICReg's neighbours are the worse ones here, by {graph:.1f} points, and the network, which has to produce the vectors, loses another {rest:.1f}.",
}  # fmt: skip


CAPTIONS_Q6 = (
    (
        "q6_tsne",
        "t-SNE of Laplacian Eigenmaps (training images, as in the exercise's Fig. 2) beside VICReg (test images, as in Q2).",
    ),
)


def report_q6(cfg: Config, images: Images, result: LaplacianResult) -> str:
    """Record Q6 and return its answer."""
    numbers = numbers_q6(cfg, images, result)
    titles = {
        "vicreg": METHOD_NAMES["vicreg"],
        "laplacian": METHOD_NAMES["laplacian"],
        "control": "Laplacian Eigenmaps, VICReg's neighbours",
    }
    rows = [
        [title, f"{one['accuracy']:.1%}", f"{one['same_class_edges']:.1%}" if "same_class_edges" in one else "–"]
        for name, title in titles.items() for one in [numbers[name]]
    ]  # fmt: skip
    table = {
        "caption": "Linear probe, and how often an edge joins two images of one class.",
        "header": ["", "probe accuracy", "edges within a class"],
        "rows": rows,
    }
    return record(cfg, "Q6", "Ablation 3: Laplacian Eigenmaps", numbers, answer_q6(numbers), CAPTIONS_Q6, [table])


def run(cfg: Config):
    """Q6 from data to record, without a notebook."""
    cfg, images = open_dataset(cfg)
    graphs = [image_graph(cfg, pictures) for pictures in (images.train_images[: cfg.graph_size], all_pictures(images))]
    small, whole = ((graph, embed(cfg, graph)) for graph in graphs)
    vicreg = method_features(cfg, images, "vicreg")
    pictures = pictures_q6(cfg, images, small[1], vicreg)
    panels = {f"{METHOD_NAMES[name]}, {len(panel[0]):,} images": panel for name, panel in pictures.items()}
    save_figure(cfg, "q6_tsne", figure_pictures(panels, images.classes))
    control = control_graph(cfg, vicreg)
    sides = {
        "vicreg": vicreg,
        "laplacian": laplacian_features(cfg, images),
        "control": control_features(cfg, images, control),
    }
    probes = {name: linear_probe(cfg, features, images) for name, features in sides.items()}
    report_q6(cfg, images, LaplacianResult(small, whole, control, pictures, probes))
