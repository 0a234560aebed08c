# Generated from nbs/96_explorer.py by `make export`. Do not edit: edit the notebook.
# cells nbs/96_explorer.py 8b626b856ee483f8
# text 393ac8f08c157631

"""96 · The explorer."""

import os

from vicreg_nb.threads import brief_waiting

os.environ.update(brief_waiting(os.environ))  # before PyTorch is imported, which reads it once


import argparse
import base64
import io
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.linalg import orthogonal_procrustes


from vicreg_nb.anomaly import inverse_density
from vicreg_nb.book import own_folder, which_run
from vicreg_nb.clustering import CLUSTER_COLOURS, cluster, cluster_names
from vicreg_nb.config import Config, checked_folder, choose_device, make_config
from vicreg_nb.data import Images, open_dataset
from vicreg_nb.identity import cached, package_folder
from vicreg_nb.ladder import free_vectors
from vicreg_nb.laplacian_eigenmaps import all_pictures, image_graph, split_features
from vicreg_nb.methods import METHODS, UNTRAINED, features
from vicreg_nb.neighbours import farthest, nearest
from vicreg_nb.plots import CLASS_COLOURS
from vicreg_nb.representations import Features, probe_scores, project_tsne
from vicreg_nb.store import UserError, atomic, digest, log
from vicreg_nb.tools.report import DATASET_NAMES, PROBES, load_results, number, warning, with_warnings
from vicreg_nb.training import find_run, is_finished


class Rung(NamedTuple):
    """A step of the ladder as the page shows it; probe: where its accuracy stands in results.json."""

    title: str
    colour: str
    probe: tuple
    note: str


_NOTES = {
    "vicreg": "A network learns to give two augmented views of an image the same vector, while a variance and a "
    "covariance term spread the vectors.",
    "no_variance": "VICReg without its variance term: nothing keeps the vectors apart any more.",
    "neighbours": "No augmentations: the pairs are an image and one of its neighbours by VICReg's representation.",
    "free": "No network: each image has a vector of its own, and VICReg's loss is minimised over the edges of a graph "
    "that joins images which a random CNN finds alike.",
    "laplacian": "Nothing is trained: eigenvectors of the same graph.",
}
RUNGS = {name: Rung(METHODS[name].title, METHODS[name].colour, PROBES[name], note) for name, note in _NOTES.items()}
RUNGS["untrained"] = Rung(
    *UNTRAINED, ("Q3", "untrained_accuracy"), "The network that VICReg starts from: random weights."
)


def run_config(folder: Path, header: dict, dataset: str = "") -> Config:
    """The `Config` of the run in a folder, from the header of its results; dataset: the run's folder of images."""
    folder, shared = Path(folder).resolve(), Path(folder).resolve().parent.parent
    home = shared if own_folder(shared, which_run(header)) == folder else folder
    names = {"dataset": dataset or header["dataset"], "seed": header["seed"], "out": str(home)}
    return make_config(header["profile"], **names, **header.get("settings", {}))


def check_trained(cfg: Config, images: Images, header: dict):
    """UserError where the images or the trained network of a run are not here."""
    if images.identity != header["data"]["identity"]:
        raise UserError(f"The run's {header['dataset']} differs from the one found here: run the book again.")
    folder = find_run(cfg, images)[1]
    if not is_finished(folder):
        raise UserError(f"The run's training {folder} is not there for the present code: run the book again.")


def rung_features(cfg: Config, images: Images, name: str) -> Features:
    """The `Features` of a rung, one of `RUNGS`, from the run's trainings and caches."""
    if name == "free":
        vectors = free_vectors(cfg, image_graph(cfg, all_pictures(images)))["vectors"]
        return split_features(images, vectors, digest("free", vectors))
    return features(cfg, images, name)


POINTS = 4_000  # test images shown, the first ones


def aligned(points: np.ndarray, reference: np.ndarray = None) -> np.ndarray:
    """Points [N, 2] centred, of mean square radius 1, turned or mirrored closest to a reference [N, 2] of that kind."""
    points = points - points.mean(axis=0, dtype=np.float64)
    points /= np.sqrt((points**2).sum(axis=1).mean()) or 1
    return points if reference is None else points @ orthogonal_procrustes(points, reference)[0]


def rung_map(cfg: Config, one: Features, reference: np.ndarray = None) -> np.ndarray:
    """Places [N, 2] of the first test images by t-SNE of their features, `aligned`; one place where these are equal."""
    return aligned(project_tsne(cfg, one.test[:POINTS]), reference)


def guesses(cfg: Config, one: Features, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """The three likeliest classes [M, 3] of the test images by Q3's linear probe, and their probabilities [M, 3].

    Where there are only two classes, a third one has the probability 0.
    """
    likely = probe_scores(cfg, one, images)[1].softmax(dim=1).topk(min(3, len(images.classes)))
    absent = (0, 0), (0, 3 - likely.indices.shape[1])
    return np.pad(likely.indices.cpu().numpy(), absent), np.pad(likely.values.cpu().numpy(), absent)


NEIGHBOURS = 8  # nearest and farthest images of each image


def facts(cfg: Config, images: Images, one: Features) -> dict:
    """Arrays over the first test images by a rung's features, and names of clusters; computed once."""

    def compute():
        shown, device = one.test[:POINTS], choose_device(cfg)
        count, found = min(NEIGHBOURS, len(shown) - 1), cluster(cfg, one.train)
        named, sure = guesses(cfg, one, images)
        scores = inverse_density(nearest(one.train, cfg.anomaly_k, one.test, device).distances)[:, -1]
        return {
            "near": nearest(shown, count, device=device).numbers,
            "far": farthest(shown, count, device=device).numbers,
            "guesses": named[:POINTS],
            "sure": sure[:POINTS],
            "scores": (scores / (np.median(scores) or 1))[:POINTS],
            "clusters": nearest(found.centres, 1, shown, device).numbers[:, 0],
            "cluster_names": cluster_names(found.labels, images.train_labels, images.classes),
        }

    settings = [cfg.probe_epochs, cfg.probe_lr, cfg.probe_batch, cfg.anomaly_k, cfg.clusters, cfg.kmeans_inits]
    return cached(cfg.cache, "explorer", [one.identity, images.identity, cfg.seed, *settings], compute)


COLUMNS = 64  # tiles in a row


def sprite(pictures: np.ndarray) -> str:
    """Images uint8 [N, 32, 32, 3] as tiles of one WebP, as a data URI."""
    count, side = -(-len(pictures) // COLUMNS) * COLUMNS, pictures.shape[1]
    tiles = np.zeros((count, side, side, 3), np.uint8)
    tiles[: len(pictures)] = pictures
    sheet = tiles.reshape(-1, COLUMNS, side, side, 3).swapaxes(1, 2).reshape(-1, COLUMNS * side, 3)
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "webp", quality=90)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def packed(values: np.ndarray, kind: str) -> str:
    """The bytes of an array as numpy's type `kind`, in base64."""
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode()


def rung_data(name: str, accuracy: float, told: dict, places: np.ndarray) -> dict:
    """What the page holds of a rung; told: its `facts`; places: [N, 2] in -1 ... 1."""
    kinds = {"near": "<u2", "far": "<u2", "clusters": "<u2", "guesses": "<u2", "scores": "<f4"}
    arrays = {field: packed(told[field], kind) for field, kind in kinds.items()}
    arrays |= {"sure": packed(np.round(100 * told["sure"]), "u1"), "cluster_names": told["cluster_names"].tolist()}
    arrays["places"] = packed(np.round((places + 1) * 32767.5), "<u2")
    rung = RUNGS[name]._asdict() | {"name": name, "accuracy": accuracy}
    return {field: value for field, value in rung.items() if field != "probe"} | arrays


def collect(folder: Path, dataset: str = "") -> dict | None:
    """What the page shows of a run; None where its results lack VICReg's probe. UserError where it has been undone."""
    results = load_results(folder)
    accuracies = {name: number(results, *rung.probe) for name, rung in RUNGS.items()}
    names = [name for name, accuracy in accuracies.items() if accuracy is not None]
    if "vicreg" not in names:
        return log(f"no explorer for {folder} yet: it shows what Q3 has probed")
    cfg = run_config(folder, results["header"], dataset)
    images = open_dataset(cfg)
    check_trained(cfg, images, results["header"])
    told, maps = {}, {}
    for name in names:
        found = rung_features(cfg, images, name)
        told[name], maps[name] = facts(cfg, images, found), rung_map(cfg, found, maps.get("vicreg"))
    widest = max(np.abs(places).max() for places in maps.values())
    rungs = [rung_data(name, accuracies[name], told[name], maps[name] / widest) for name in names]
    return {"rungs": rungs} | picture_data(images) | words(images, results["header"])


def picture_data(images: Images) -> dict:
    """The first test images, their classes, and the colours of classes and clusters."""
    labels = images.test_labels[:POINTS]
    colours = {"class_colours": CLASS_COLOURS, "cluster_colours": CLUSTER_COLOURS, "columns": COLUMNS}
    shown = {"count": len(labels), "neighbours": min(NEIGHBOURS, len(labels) - 1), "labels": packed(labels, "<u2")}
    return colours | shown | {"classes": images.classes, "sprite": sprite(images.test_images[:POINTS])}


def words(images: Images, header: dict) -> dict:
    """What the page says of itself."""
    count, name = min(POINTS, len(images.test_labels)), DATASET_NAMES.get(images.name, images.name)
    about = f"{count:,} test images of {name}, laid out by each step of the ladder in turn (t-SNE)."
    made = "Nearest and farthest are those among the images shown. On a map, distances between groups say little. "
    made += f"Profile {header['profile']}, seed {header['seed']}, commit {header['commit']}."
    return {"about": about, "stamp": warning(header), "made": made}


def page(data: dict) -> str:
    """The HTML of the explorer with its data."""
    template = (package_folder() / "tools" / "explorer.html").read_text(encoding="utf-8")
    return template.replace("{{data}}", json.dumps(data).replace("<", "\\u003c"))


def build(folder: Path, dataset: str = "") -> Path | None:
    """Write figures/explorer.html from a run's results, trainings and caches; returns its path, None if too early.

    dataset: the folder of images, where the run was of one.
    """
    data = collect(Path(folder), dataset)
    if data is None:
        return None
    path = Path(folder) / "figures" / "explorer.html"
    return atomic(path, lambda place: place.write_text(page(data), encoding="utf-8"))


def main(arguments: list = None) -> int:
    """The command line; returns the exit status."""
    about = "Write figures/explorer.html, from a finished run."
    parser = argparse.ArgumentParser(prog="python -m vicreg_nb.tools.explorer", description=about)
    parser.add_argument("--out", default="", metavar="FOLDER", help="folder of the run (default: the project's folder)")
    parser.add_argument("--dataset", default="", metavar="FOLDER", help="of images, where the run was of one")
    options = parser.parse_args(arguments)
    try:
        folder = checked_folder(options.out)
        if made := build(folder, options.dataset):
            print(with_warnings(made, folder))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return int(made is None)


if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    sys.exit(main())
