"""The package as a library: own encoders, own images, a trained encoder by its folder, a notebook of changes."""

import os
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn
from vicreg_nb.book import results_folder
from vicreg_nb.config import make_config
from vicreg_nb.data import SHAPES, Images, draw_shapes, open_dataset
from vicreg_nb.representations import encode, q2, q3
from vicreg_nb.run_all import stages
from vicreg_nb.store import UserError
from vicreg_nb.tools import explorer
from vicreg_nb.tools.execute import execute_notebook
from vicreg_nb.training import find_run, load_encoder, train
from vicreg_nb.vicreg import Terms, vicreg_terms


@pytest.fixture
def cfg(tmp_path):
    return make_config("smoke", out=str(tmp_path), epochs=1, device="cpu")


def pooled(activation=None):
    """A module without code of its own: all that tells it from another is how it prints, and its weights."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), activation or nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())


def test_any_module_is_trained_and_found_again(cfg):
    images, given = open_dataset(cfg), pooled()
    start = [weight.clone() for weight in given.parameters()]
    run = train(cfg, images, encoder=given)
    assert all(torch.equal(*pair) for pair in zip(start, given.parameters(), strict=True))  # the caller's is as it was
    assert not torch.equal(run.encoder()[0].weight, given[0].weight)
    assert train(cfg, images, encoder=pooled()).folder == run.folder
    vectors = encode(load_encoder(run.folder, encoder=pooled()), images.test_images[:9])
    assert vectors.shape == (9, 16)
    np.testing.assert_array_equal(vectors, encode(run.encoder(), images.test_images[:9]))


def test_an_own_encoder_has_a_key_of_its_own_and_changes_no_other(cfg):
    images = open_dataset(cfg)
    other, frozen = pooled(), pooled(nn.GELU())
    with torch.no_grad():
        other[0].bias += 1
    made = [None, pooled(), other, frozen]
    assert len({find_run(cfg, images, encoder=each)[1] for each in made}) == 4
    assert "own_encoder" not in find_run(cfg, images)[0]


def test_a_frozen_layer_of_an_own_encoder_stays_as_it_is(cfg):
    given = pooled().requires_grad_(False).append(nn.Linear(16, 8))
    run = train(cfg.replace(optimizer="muon"), open_dataset(cfg), encoder=given)
    assert torch.equal(run.encoder()[0].weight, given[0].weight)
    assert not torch.equal(run.encoder()[4].weight, given[4].weight)


def test_an_own_objective_is_trained_and_has_a_key_of_its_own(cfg):
    images, whole = open_dataset(cfg), train(cfg, open_dataset(cfg))

    def weighted(weight):
        return lambda z, z2: Terms(*(weight * term for term in vicreg_terms(z, z2, cfg.gamma, cfg.eps)))

    same, heavy = (train(cfg, images, objective=weighted(weight)) for weight in (1, 1.5))
    assert same.identity == whole.identity and len({run.folder for run in (whole, same, heavy)}) == 3
    assert heavy.identity != whole.identity and train(cfg, images, objective=weighted(1.5)).folder == heavy.folder
    np.testing.assert_allclose(heavy.history[0], 1.5 * whole.history[0], rtol=1e-5)


def one_argument(z):
    return z


@pytest.mark.parametrize(
    "wrong", ["mse", nn.MSELoss(), one_argument, lambda z, z2: (z, z2, z), lambda z, z2: 3 * [1.0]]
)
def test_what_is_no_objective_is_one_sentence(cfg, wrong):
    with pytest.raises(UserError, match="objective") as caught:
        train(cfg, open_dataset(cfg), objective=wrong)
    assert "\n" not in str(caught.value) and not cfg.runs.exists()


def test_fewer_images_than_a_batch_are_one_sentence(cfg):
    with pytest.raises(UserError, match="batch_size is 400.*384"):
        train(cfg.replace(batch_size=400), open_dataset(cfg))


@pytest.mark.parametrize("wrong", ["resnet18", nn.Conv2d(3, 4, 3), nn.Linear(5, 5), nn.Flatten(0)])
def test_a_module_that_is_no_encoder_is_one_sentence(cfg, wrong):
    with pytest.raises(UserError) as caught:
        train(cfg, open_dataset(cfg), encoder=wrong)
    assert "\n" not in str(caught.value) and "encoder" in str(caught.value)


def test_an_encoder_that_cannot_be_loaded_is_one_sentence(cfg):
    run = train(cfg, open_dataset(cfg))
    for arguments in ((cfg.folder,), (run.folder, "cpu", pooled())):
        with pytest.raises(UserError) as caught:
            load_encoder(*arguments)
        assert "\n" not in str(caught.value)


# ---- images of one's own


@pytest.fixture
def album(tmp_path):
    """Wide pictures of three classes, 12 of each; the left half is of the class's brightness, the middle white."""
    for number, name in enumerate(("a", "b", "c")):
        (tmp_path / "my album" / name).mkdir(parents=True)
        for count in range(12):
            pixels = np.full((40, 120, 3), 50 * number + count, np.uint8)
            pixels[:, 40:80] = 255
            Image.fromarray(pixels).save(tmp_path / "my album" / name / f"{count:02}.png")
    return tmp_path / "my album"


def test_a_folder_of_images_keeps_the_middle_and_splits_off_a_fifth(album):
    images = Images.from_folder(album)
    assert images.classes == ("a", "b", "c") and images.name == "my-album" and images.note
    assert np.bincount(images.train_labels).tolist() == [9] * 3 and np.bincount(images.test_labels).tolist() == [3] * 3
    assert (images.train_images == 255).mean() > 0.8 and images.identity == Images.from_folder(album).identity


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_folder_with_a_part_for_testing_keeps_it(album, tmp_path, part):
    parted = tmp_path / "parted"
    for name in ("train", part):
        shutil.copytree(album, parted / name)
    (parted / part / "c" / "00.png").unlink()
    images = Images.from_folder(parted)
    assert images.classes == ("a", "b", "c") and images.name == "parted" and not images.note
    assert np.bincount(images.train_labels).tolist() == [12] * 3
    assert np.bincount(images.test_labels).tolist() == [12, 12, 11]
    shutil.rmtree(parted / part / "b")
    with pytest.raises(UserError, match=f"train has the classes a, b, c, {part} a, c"):
        Images.from_folder(parted)
    shutil.rmtree(parted / part)
    with pytest.raises(UserError, match="give both, or neither"):
        Images.from_folder(parted)


def test_a_folder_can_be_the_data_set_of_a_run(album, tmp_path):
    sizes = dict(train_size=0, test_size=0, batch_size=8, graph_size=20, exact_size=20, components=4, perplexity=2.0)
    more = dict(graph_neighbours=4, max_k=9, tsne_size=20, tsne_train_size=20, anomaly_k=2)
    cfg = make_config("smoke", dataset=str(album), out=str(tmp_path / "out"), epochs=1, **sizes, **more)
    assert train(cfg, open_dataset(cfg)).history.shape == (3, 3)
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--profile", "smoke", "--dataset", str(album)]
    changes = [word for name, value in (sizes | more).items() for word in ("--set", f"{name}={value}")]
    done = subprocess.run([*command, "--out", cfg.out, "--list", *changes], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("to do") == len(stages()) and "done" not in done.stdout


def test_two_classes_of_ones_own_are_pictured_probed_and_shown(tmp_path):
    random = np.random.default_rng(0)
    for number, name in enumerate(("a", "b")):
        (tmp_path / "two" / name).mkdir(parents=True)
        for count in range(60):
            pixels = random.integers(40 * number, 200 + 40 * number, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "two" / name / f"{count:02}.png")
    sizes = dict(train_size=0, test_size=0, batch_size=8, clusters=2, graph_size=60, exact_size=40, perplexity=5.0)
    cfg = make_config("smoke", dataset=str(tmp_path / "two"), out=str(tmp_path / "out"), epochs=1, **sizes)
    for question in (q2, q3):
        assert question.run(cfg)
    assert explorer.build(results_folder(cfg, open_dataset(cfg)), cfg.dataset).is_file()


def test_a_damaged_picture_or_an_empty_class_is_named(album):
    picture = album / "b" / "03.png"
    for spoil in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.write_bytes(b"no picture")):
        picture.unlink()
        spoil(picture)
        with pytest.raises(UserError, match="03.png"):
            Images.from_folder(album)
    picture.unlink()
    (album / "d").mkdir()
    with pytest.raises(UserError, match="class"):
        Images.from_folder(album)
    with pytest.raises(UserError, match="nowhere"):
        make_config("smoke", dataset="nowhere")


def test_arrays_that_do_not_fit_are_one_sentence():
    pictures, kinds = draw_shapes(20, seed=0)
    short = (pictures[:5], kinds[:5]), (pictures, kinds[:-1]), (0 * pictures, kinds)
    for wrong in ((pictures, kinds + 1), (pictures / 255, kinds), *short):
        with pytest.raises(UserError) as caught:
            Images.from_arrays(pictures, kinds, *wrong, classes=range(10))
        assert "test" in str(caught.value) and "\n" not in str(caught.value)


# ---- the examples that are shown


def test_the_readmes_example_runs_as_it_stands(root, cfg, album, monkeypatch):
    (example,) = re.findall("```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), flags=re.S)
    album.rename(album.with_name("album"))
    monkeypatch.chdir(album.parent)
    small = cfg.replace(batch_size=8)
    monkeypatch.setattr("vicreg_nb.config.make_config", lambda profile: small)
    names = {}
    exec(example, names)
    assert names["vectors"].shape == (9, 512) and names["run"].folder.parent == cfg.folder / "runs"


def test_the_example_of_cifar100_gives_its_images(root, monkeypatch):
    def cifar100(folder, train, download):
        pictures, kinds = draw_shapes(60 if train else 20, seed=int(train))
        return SimpleNamespace(data=pictures, targets=kinds.tolist(), classes=list(SHAPES))

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", cifar100)
    source = (root / "nbs" / "00a_data.py").read_text(encoding="utf-8")
    (example,) = re.findall("# ```python\n(.*?)# ```", source, flags=re.S)
    names = {
        "torchvision": torchvision,
        "Images": Images,
        "make_config": make_config,
        "train": lambda cfg, images: images,
    }
    exec(example.replace("# ", "", 1).replace("\n# ", "\n"), names)
    images = names["run"]
    assert (images.name, images.classes) == ("cifar100", tuple(SHAPES))
    np.testing.assert_array_equal(images.train_images, draw_shapes(60, seed=1)[0])
    assert images.test_labels.tolist() == draw_shapes(20, seed=0)[1].tolist()


def test_the_notebook_of_changes_runs(root, tmp_path):
    given = {"profile": "smoke", "out": str(tmp_path)}
    execute_notebook(root / "nbs" / "09_change_one_thing.py", tmp_path / "09.ipynb", given)
    trained = {path.name.partition("-")[0] for path in (tmp_path / "runs").iterdir()} - {"cache"}
    assert trained == {"vicreg", "crops", "patches", "grey", "twins"}


def test_help_and_list_import_no_pytorch(root, tmp_path):
    for option in ("--help", "--list"):
        program = f"import sys; sys.argv[1:] = ['{option}', '--profile', 'smoke', '--out', {str(tmp_path)!r}]\n"
        program += "from vicreg_nb.run_all import main\ntry:\n    status = main()\n"
        program += "except SystemExit as stop:\n    status = stop.code\nassert status == 0, status\n"
        program += "assert not {'torch', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
