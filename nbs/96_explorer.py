# %% [markdown]
# # 96 · The explorer
# What does each step of the ladder do to *these* images? `figures/explorer.html` lets one look: test images in two
# dimensions, which move from rung to rung; a click shows an image, its nearest and farthest by every method, what the
# probe takes it for, and how odd it is. It is one file that loads nothing from any network.
# `python -m vicreg_nb.tools.explorer` makes it from a finished run; so does the end of `python -m vicreg_nb.run_all`.

# %%
#| default_exp tools.explorer

# %% [markdown]
# Its t-SNEs and neighbours take all cores, so how threads wait is chosen first ([80a_threads](80a_threads.ipynb)).

# %%
#| export
import os

from vicreg_nb.threads import brief_waiting

os.environ.update(brief_waiting(os.environ))  # before PyTorch is imported, which reads it once

# %%
#| export
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

# %% [markdown]
# It computes little of its own: the chapters and rooms have nearly all of it.

# %%
#| export
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

# %% [markdown]
# The examples below have no run at hand. They make do with the embedded images, and with vectors that were made up
# around ten centres.

# %%
import tempfile

from vicreg_nb.neighbours import same_class
from vicreg_nb.representations import linear_probe

scratch = tempfile.TemporaryDirectory()
cfg = make_config("smoke", out=scratch.name, device="cpu")
images, random = open_dataset(cfg), np.random.default_rng(0)
centres = random.normal(size=(10, 8))
parts = [centres[labels] + random.normal(size=(len(labels), 8)) for labels in (images.train_labels, images.test_labels)]
made = Features(*(part.astype(np.float32) for part in parts), "made up")

# %% [markdown]
# ## The rungs
# The methods of the book from the top of the ladder down, and at its foot, as the ground that all of them stand on, the
# untrained network. A run has a rung if its results hold that method's linear probe. Free vectors are those of the
# graph whose eigenvectors are the next rung, so that between the two only the way to find vectors changes.


# %%
#| export
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

# %%
print(*(f"{name:12}{rung.title:22}{' '.join(rung.probe)}" for name, rung in RUNGS.items()), sep="\n")
assert list(RUNGS)[:-1] == list(METHODS)

# %% [markdown]
# ## Which run is it?
# Everything is read from what a run has left. Its settings stand at the head of its results; its trainings and caches
# lie below its own folder, or below the project's, where several runs share them. Nothing is trained here: where the
# trainings are gone, or were made by other code, that is said.


# %%
#| export
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


# %%
head = {"profile": "smoke", "dataset": "shapes", "seed": 3, "data": {"identity": images.identity}}
head |= {"settings": {"lr": 0.5}, "commit": "abc"}
apart = own_folder(Path(scratch.name).resolve(), which_run(head))
assert run_config(apart, head).folder == Path(scratch.name).resolve() and run_config(apart, head).lr == 0.5
assert run_config(scratch.name, head).folder == Path(scratch.name).resolve()
for other in (head | {"data": {"identity": "other"}}, head):
    try:
        check_trained(cfg, images, other)
    except UserError as error:
        print(error)
    else:
        raise AssertionError(other)


# %%
#| export
def rung_features(cfg: Config, images: Images, name: str) -> Features:
    """The `Features` of a rung, one of `RUNGS`, from the run's trainings and caches."""
    if name == "free":
        vectors = free_vectors(cfg, image_graph(cfg, all_pictures(images)))["vectors"]
        return split_features(images, vectors, digest("free", vectors))
    return features(cfg, images, name)


# %%
free = rung_features(cfg, images, "free")
print(f"free vectors: train {free.train.shape}, test {free.test.shape}")
assert free.identity == rung_features(cfg, images, "free").identity

# %% [markdown]
# ## Maps that can be compared
# Each rung's map is the book's t-SNE of its own features, and knows nothing of the others. To start it from another
# rung's map would make points move less, but would also carry that rung's classes into it. So each is only turned,
# mirrored and scaled, which no t-SNE minds, as close to VICReg's map as that goes (Procrustes' problem).

# %%
#| export
POINTS = 4_000  # test images shown, the first ones


def aligned(points: np.ndarray, reference: np.ndarray = None) -> np.ndarray:
    """Points [N, 2] centred, of mean square radius 1, turned or mirrored closest to a reference [N, 2] of that kind."""
    points = points - points.mean(axis=0, dtype=np.float64)
    points /= np.sqrt((points**2).sum(axis=1).mean()) or 1
    return points if reference is None else points @ orthogonal_procrustes(points, reference)[0]


def rung_map(cfg: Config, one: Features, reference: np.ndarray = None) -> np.ndarray:
    """Places [N, 2] of the first test images by t-SNE of their features, `aligned`; one place where these are equal."""
    return aligned(project_tsne(cfg, one.test[:POINTS]), reference)


# %%
there = rung_map(cfg, made)
turned = 3 * there @ [[0, 1], [1, 0]] + [5, -7]  # mirrored, scaled and moved
np.testing.assert_allclose(aligned(turned, there), there, atol=1e-9)
assert not rung_map(cfg, Features(made.train, np.ones((50, 8), np.float32), "all the same")).any()

# %% [markdown]
# ## What the probe takes an image for
# The probe is Q3's, on the same scaled features. Of the test images the three likeliest classes are kept, with the
# probability that its softmax gives them.


# %%
#| export
def guesses(cfg: Config, one: Features, images: Images) -> tuple[np.ndarray, np.ndarray]:
    """The three likeliest classes [M, 3] of the test images by Q3's linear probe, and their probabilities [M, 3].

    Where there are only two classes, a third one has the probability 0.
    """
    likely = probe_scores(cfg, one, images)[1].softmax(dim=1).topk(min(3, len(images.classes)))
    absent = (0, 0), (0, 3 - likely.indices.shape[1])
    return np.pad(likely.indices.cpu().numpy(), absent), np.pad(likely.values.cpu().numpy(), absent)


# %%
named, sure = guesses(cfg, made, images)
assert ((named[:, 0] == images.test_labels) == linear_probe(cfg, made, images).hits).all()
assert (np.diff(sure) <= 0).all() and sure.sum(axis=1).max() <= 1 + 1e-6

# %% [markdown]
# ## What there is to tell of an image
# Its nearest and farthest among the images shown, so that each of them can be clicked in turn; its guesses; its score
# by Eq. 7, in units of the median of all test images, as in Sec. 4.2; and the cluster of training images whose centre
# is nearest to it. Laplacian Eigenmaps and free vectors have a score here, too: what they cannot embed is a digit of
# MNIST, and all these images are in their graph.

# %%
#| export
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


# %%
told = facts(cfg, images, made)
print({name: values.shape for name, values in told.items()})
shares = [same_class(told[name], images.test_labels).mean() for name in ("near", "far")]
print("of the nearest images {:.0%} are of the image's class, of the farthest {:.0%}".format(*shares))
assert shares[0] > shares[1] and abs(np.median(told["scores"]) - 1) < 1e-9

# %% [markdown]
# ## Pictures and numbers in one file
# The images go into the page as tiles of one WebP, the arrays as the bytes of their numbers. That is about 8 MB for
# 4,000 images of CIFAR-10, most of it pictures.

# %%
#| export
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


# %%
again = Image.open(io.BytesIO(base64.b64decode(sprite(images.test_images).partition(",")[2])))
tile = np.asarray(again)[32:64, 64:96]  # in the second row, the third
gaps = abs(tile - images.test_images.astype(float)).mean(axis=(1, 2, 3))
assert gaps.argmin() == COLUMNS + 2
assert np.frombuffer(base64.b64decode(packed([[1, 2], [3, 65_535]], "<u2")), "<u2").tolist() == [1, 2, 3, 65_535]

# %% [markdown]
# A rung as the page takes it. Places are whole numbers of 16 bits between the ends of the widest map.


# %%
#| export
def rung_data(name: str, accuracy: float, told: dict, places: np.ndarray) -> dict:
    """What the page holds of a rung; told: its `facts`; places: [N, 2] in -1 ... 1."""
    kinds = {"near": "<u2", "far": "<u2", "clusters": "<u2", "guesses": "<u2", "scores": "<f4"}
    arrays = {field: packed(told[field], kind) for field, kind in kinds.items()}
    arrays |= {"sure": packed(np.round(100 * told["sure"]), "u1"), "cluster_names": told["cluster_names"].tolist()}
    arrays["places"] = packed(np.round((places + 1) * 32767.5), "<u2")
    rung = RUNGS[name]._asdict() | {"name": name, "accuracy": accuracy}
    return {field: value for field, value in rung.items() if field != "probe"} | arrays


# %%
one = rung_data("free", 0.5, told, there / abs(there).max())
back = np.frombuffer(base64.b64decode(one["places"]), "<u2").reshape(-1, 2) / 32767.5 - 1
np.testing.assert_allclose(back * abs(there).max(), there, atol=1e-4)

# %% [markdown]
# ## All of it
# The accuracies are those of the results, so that page and report agree.


# %%
#| export
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


# %% [markdown]
# What it rests on: the pictures, and the words around them.


# %%
#| export
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


# %%
print(words(images, head))
assert picture_data(images)["count"] == len(images.test_labels) and "not a result" in words(images, head)["stamp"]

# %% [markdown]
# ## The page
# It draws on a plain canvas. Plotly, which the book's other figures use, has no thumbnails that move; and a canvas
# stamps thousands of points a frame on any machine, also on one without a graphics card, where WebGL is often absent.
# The page itself is no Python, so it is the one file of the package that is written where it lies:
# `vicreg_nb/tools/explorer.html`. What goes into it is one piece of JSON in which no tag can begin, and the script
# shows all words as words.


# %%
#| export
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


# %%
data = {"rungs": [one]} | picture_data(images) | words(images, head) | {"classes": ["</script><b>"] * 10}
text = page(data)
assert text.count("</script>") == 2 and "<b>" not in text and json.dumps(data["about"]) in text
print(f"{len(text) / 1e6:.1f} MB")
scratch.cleanup()

# %% [markdown]
# ## The command


# %%
#| export
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


# %%
assert main(["--out", "/no/such/run"]) == 1

# %%
#| export
if __name__ == "__main__" and "get_ipython" not in globals():  # a notebook's kernel is __main__, too
    sys.exit(main())
