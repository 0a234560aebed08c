"""The data's forms and checks, downloads, the embedded data set, and CIFAR-10 and MNIST where they are."""

import hashlib
import http.server
import os
import pickle
import socket
import threading
import urllib.request
import zipfile

import numpy as np
import pytest
import torch
from made_data import lay_out, publish
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torchvision.transforms import functional as TF
from vicreg_nb import data, files
from vicreg_nb.config import make_config
from vicreg_nb.data import (
    MEAN,
    STD,
    Absent,
    draw_shapes,
    find_file,
    normalise,
    obtain,
    open_dataset,
    open_outliers,
    to_float,
)
from vicreg_nb.files import read_data
from vicreg_nb.store import UserError


def write(folder, name, **arrays):
    path = folder / name
    np.savez_compressed(path, **arrays)
    return path


def cifar_test(**changes):
    arrays = {
        "images": np.zeros((10_000, 32, 32, 3), np.uint8),
        "labels": np.repeat(np.arange(10, dtype=np.uint8), 1_000),
    }
    return arrays | changes


def test_a_good_file_is_read(tmp_path):
    path = write(tmp_path, "cifar10_test.npz", **cifar_test(), lossy=np.arange(10_000) < 3)
    found = read_data(path, path.name)
    assert found["images"].shape == (10_000, 32, 32, 3) and found["labels"].dtype == np.int64
    assert np.array_equal(found["labels"], cifar_test()["labels"]) and found["lossy"].sum() == 3


WRONG = {
    "type": (cifar_test(images=np.zeros((10_000, 32, 32, 3), np.float32)), "float32"),
    "size": (cifar_test(images=np.zeros((9_000, 32, 32, 3), np.uint8)), r"\(9000, 32, 32, 3\)"),
    "labels": (cifar_test(labels=np.zeros(10_000, np.float32)), "whole numbers from 0 to 9"),
    "range": (cifar_test(labels=np.full(10_000, 11)), "whole numbers from 0 to 9"),
    "huge range": (cifar_test(labels=np.full(10_000, 2**63, np.uint64)), "whole numbers from 0 to 9"),
    "classes": (
        cifar_test(labels=np.r_[np.zeros(1, int), np.repeat(np.arange(10), 1_000)[1:-1], [3]]),
        "images of class",
    ),
    "missing": ({"images": np.zeros((10_000, 32, 32, 3), np.uint8)}, "damaged"),
    "pickle": (cifar_test(images=np.array([None, {}], dtype=object)), "object"),
    "lossy marks": (cifar_test(lossy=np.zeros(9, bool)), r"lossy of shape \(9,\)"),
    "lossy words": (cifar_test(lossy=np.full(10_000, "no")), "lossy of type"),
}


def refused(path, says, part="cifar10_test.npz"):
    """A file gets one sentence with its name and the remedy."""
    with pytest.raises(UserError, match=says) as caught:
        read_data(path, part)
    said = str(caught.value)
    assert str(path) in said and ("delete it" in said or "move it away" in said) and "\n" not in said


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_file_gets_one_sentence(tmp_path, fault):
    arrays, says = WRONG[fault]
    refused(write(tmp_path, "cifar10_test.npz", **arrays), says)


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file_gets_one_sentence(tmp_path, keep):
    path = write(tmp_path, "cifar10_test.npz", **cifar_test())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    refused(path, "damaged or cut short")


def lie(path, header, kind=zipfile.ZIP_DEFLATED, body=b"\0" * 10**6):
    """An npz whose images have the header that is given, and a body that goes with no good one."""
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("images.npy", magic + body)
        archive.writestr("labels.npy", magic)


SHAPE = b"{'descr': '|u1', 'fortran_order': False, 'shape': (%s), }\n"
LIES = {
    "a terabyte": lambda path: lie(path, SHAPE % b"10**12,".replace(b"10**12", b"1000000000000")),
    "negative": lambda path: lie(path, SHAPE % b"-1, 32, 32, 3"),
    "brackets": lambda path: lie(path, b"(" * 9_000 + b"\n"),
    "not a shape": lambda path: lie(path, b"7\n"),
    "a bomb": lambda path: lie(path, SHAPE % b"10000, 32, 32, 3", body=b"\0" * (10**4 * 3072 + 1)),
    "too short": lambda path: lie(path, SHAPE % b"10000, 32, 32, 3"),
    "another compression": lambda path: lie(path, SHAPE % b"10000, 32, 32, 3", zipfile.ZIP_LZMA),
    "bare": lambda path: (np.save(path.with_suffix(".npy"), np.zeros(3)), path.with_suffix(".npy").rename(path)),
    "bytes": lambda path: path.write_bytes(os.urandom(1000)),
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
}


@pytest.mark.parametrize("what", LIES)
def test_a_lying_file_gets_one_sentence_before_memory_is_taken(tmp_path, what):
    LIES[what](tmp_path / "cifar10_test.npz")
    refused(tmp_path / "cifar10_test.npz", "images of shape|damaged|not the kind of file")


def unknown_compression(path):
    whole = bytearray(path.read_bytes())
    for at in (whole.index(b"PK\x03\x04") + 8, whole.index(b"PK\x01\x02") + 10):
        whole[at] = 97
    path.write_bytes(whole)


def test_a_compression_that_nobody_knows(tmp_path):
    path = write(tmp_path, "cifar10_test.npz", **cifar_test())
    unknown_compression(path)
    refused(path, "damaged")


# ---- data as people have them


@pytest.fixture
def published(monkeypatch):
    """Small made-up data that count as published while a test runs. {file: bytes}"""
    return publish(monkeypatch)


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """Neither data nor network."""
    monkeypatch.delenv("VICREG_NB_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of the first address opened
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(data.ARCHIVES, "cifar10", [("cifar-10-python.tar.gz", ["http://localhost:9/x"], "0")])
    monkeypatch.setitem(data.ARCHIVES, "mnist", [("MNIST/raw/t10k-images-idx3-ubyte.gz", ["file:///no/such"], "0")])
    return tmp_path


@pytest.mark.parametrize("form", ["packed", "unpacked"])
def test_the_published_files_are_found_and_give_the_same_images(published, form, bare_machine, monkeypatch):
    folder = bare_machine / ("given" if form == "packed" else "vicreg_nb/downloads")
    lay_out(folder, published, form)
    if form == "packed":
        monkeypatch.setenv("VICREG_NB_DATA", str(folder))
    images = open_dataset(make_config("quick", device="cpu"))
    batches = {name: pickle.loads(content) for name, content in published.items() if "batch" in name}
    assert images.name == "cifar10" and images.train_images.shape == (500, 32, 32, 3) and not images.note
    for row, batch, name in ((images.train_images[107], 7, "data_batch_2"), (images.test_images[3], 3, "test_batch")):
        red, green, blue = batches[name]["data"][batch].reshape(3, 32, 32)
        assert all(np.array_equal(row[..., n], plane) for n, plane in enumerate((red, green, blue)))
    assert images.train_labels.tolist() == sum((batches[f"data_batch_{n}"]["labels"] for n in range(1, 6)), [])
    digits = open_outliers(images)
    middle = np.frombuffer(published["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(-1, 28, 28)
    assert np.array_equal(digits.images[:, 2:-2, 2:-2, 1], middle) and digits.labels[:12].tolist() == [*range(10), 0, 1]
    assert sorted(path.name for path in folder.iterdir())[-1].startswith("cifar-10")  # nothing was added


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize("part", files.EXPECTED)
@pytest.mark.parametrize("form", ["packed", "unpacked"])
def test_what_is_not_the_published_file_is_never_unpickled_nor_replaced(
    published, form, part, bare_machine, monkeypatch
):
    monkeypatch.chdir(bare_machine)
    wrong = {name: content[:-1] for name, content in published.items() if name.startswith("t10k")}
    lay_out(
        bare_machine / "vicreg_nb", published | {"test_batch": pickle.dumps(Bomb()), "data_batch_5": b""} | wrong, form
    )
    with pytest.raises(UserError, match="published.*delete it"):
        obtain(part)
    with pytest.raises(UserError, match="published"):  # `auto` does not go on with other data
        open_dataset(make_config("quick", device="cpu"))
    assert not (bare_machine / "unpickled").exists()


@pytest.mark.parametrize("cut", [4, 1_000, 900_000, None])
@pytest.mark.parametrize("dataset", ["cifar10", "auto"])
def test_a_damaged_archive_stops_auto_as_well(published, bare_machine, dataset, cut):
    lay_out(bare_machine / "vicreg_nb", published, "packed")
    path, cfg = bare_machine / "vicreg_nb" / "cifar-10-python.tar.gz", make_config("quick", device="cpu")
    whole = open_dataset(cfg).identity
    data._open.cache_clear()  # as the next run finds it
    path.write_bytes(path.read_bytes()[:-cut] if cut else b"")
    if cut == 4:  # the last bytes are of no use
        assert open_dataset(cfg.replace(dataset=dataset)).identity == whole
    else:
        with pytest.raises(UserError, match="damaged") as caught:
            open_dataset(cfg.replace(dataset=dataset))
        assert str(path) in str(caught.value)


def test_an_archive_that_unpacks_into_more_than_cifar10_is_not_read(published, tmp_path, monkeypatch):
    lay_out(tmp_path, published, "packed")
    assert len(read_data(tmp_path / "cifar-10-python.tar.gz", "cifar10_test.npz")["labels"]) == 100
    monkeypatch.setattr(files, "LARGEST", 1_000)
    refused(tmp_path / "cifar-10-python.tar.gz", "damaged")


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    def denied(path, part):
        raise PermissionError(path)

    path = write(tmp_path, "cifar10_test.npz", **cifar_test())
    monkeypatch.setitem(files.FORMS["cifar10_test.npz"], "cifar10_test.npz", denied)
    with pytest.raises(UserError, match=f"{path} may not be read"):
        read_data(path, path.name)


def test_a_damaged_npz_stops_auto_as_well(bare_machine):
    (bare_machine / "vicreg_nb").mkdir()
    (bare_machine / "vicreg_nb" / "cifar10_train.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cifar10_train.npz is damaged"):
        open_dataset(make_config("quick", device="cpu"))


# ---- downloads


class Replies(http.server.BaseHTTPRequestHandler):
    """What a broken server may say."""

    def do_GET(self):
        kind = self.path.strip("/")
        if kind == "garbage":
            self.wfile.write(b"\0\xffnot HTTP at all\r\n\r\n")
        elif kind in ("elsewhere", "round", "strange"):
            self.send_response(302)
            self.send_header(
                "Location", {"elsewhere": "http://[bad", "round": "/round", "strange": "gopher://x/"}[kind]
            )
            self.end_headers()
        elif kind == "error":
            self.send_error(503)
        elif kind != "nothing":
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.server.content)))
            self.end_headers()
            self.wfile.write(self.server.content[: None if kind == "good" else 100])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(published, tmp_path):
    """Its address; it has one good file, an archive of CIFAR-10."""
    lay_out(tmp_path / "published", published, "packed")
    made = http.server.ThreadingHTTPServer(("localhost", 0), Replies)
    made.content = (tmp_path / "published" / "cifar-10-python.tar.gz").read_bytes()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://localhost:{made.server_port}/", hashlib.md5(made.content).hexdigest()
    made.shutdown()
    made.server_close()


BROKEN = ("cut", "garbage", "elsewhere", "round", "strange", "error", "nothing")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broken_download_is_one_sentence_and_the_next_recovers(server, bare_machine, monkeypatch, capsys):
    (address, md5), timeout = server, socket.getdefaulttimeout()
    for kind in BROKEN:
        monkeypatch.setitem(data.ARCHIVES, "cifar10", [("cifar-10-python.tar.gz", [address + kind], md5)])
        with pytest.raises(Absent, match="VICREG_NB_DATA") as caught:
            open_dataset(make_config("quick", dataset="cifar10", device="cpu"))
        assert "\n" not in str(caught.value) and find_file("cifar10_test.npz") is None
        assert open_dataset(make_config("quick", device="cpu")).name == "shapes"
    data._open.cache_clear()  # as the next run finds it
    (bare_machine / f"vicreg_nb/.cifar-10-python.tar.gz.{2**22 + 1}.gz").touch()  # of a process that was killed
    addresses = [address + "garbage", address + "good"]  # a mirror helps
    monkeypatch.setitem(data.ARCHIVES, "cifar10", [("cifar-10-python.tar.gz", addresses, md5)])
    assert open_dataset(make_config("quick", device="cpu")).name == "cifar10"
    assert [path.name for path in (bare_machine / "vicreg_nb").iterdir()] == ["cifar-10-python.tar.gz"]
    assert socket.getdefaulttimeout() == timeout


def test_asked_for_and_not_to_be_had(bare_machine):
    with pytest.raises(UserError, match=r"cifar10_train\.npz.*cifar-10-python.tar.gz.*VICREG_NB_DATA"):
        open_dataset(make_config("quick", dataset="cifar10", device="cpu"))


def test_auto_falls_back_loudly(bare_machine, capsys):
    assert open_dataset(make_config("quick", device="cpu", batch_size=100)).name == "shapes"
    assert "NOT results on CIFAR-10" in capsys.readouterr().out


def test_without_a_home_what_is_given_is_enough(monkeypatch, tmp_path):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(data.Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    write(tmp_path, "cifar10_test.npz", **cifar_test())
    assert len(obtain("cifar10_test.npz")["labels"]) == 10_000
    with pytest.raises(Absent, match="HOME"):
        obtain("mnist_test.npz")


@pytest.mark.parametrize("folder", ["/no/such/folder", "~nobody-here", "x" * 3000, "/etc/passwd"])
def test_a_folder_that_is_none(monkeypatch, folder):
    monkeypatch.setenv("VICREG_NB_DATA", folder)
    with pytest.raises(UserError, match=f"VICREG_NB_DATA names {folder[:200]}"):
        obtain("cifar10_train.npz")


def test_what_was_opened_last_is_at_hand_and_other_sizes_are_other_data():
    cfg = make_config("smoke")
    assert open_dataset(cfg) is open_dataset(cfg.replace(seed=5))
    fewer = open_dataset(cfg.replace(train_size=380))
    assert len(fewer.train_images) == 380 and fewer.identity != open_dataset(cfg).identity


def test_a_setting_that_does_not_fit_the_images_is_told_at_once():
    with pytest.raises(UserError, match="^clusters is 384"):
        open_dataset(make_config("smoke", clusters=384))


def test_inexact_images_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("VICREG_NB_DATA", str(tmp_path))
    for name, shape, lossy in (("cifar10_train.npz", 50_000, 7), ("cifar10_test.npz", 10_000, 2)):
        images, labels = np.zeros((shape, 32, 32, 3), np.uint8), (np.arange(shape) % 10).astype(np.uint8)
        images[-1] = 255
        write(tmp_path, name, images=images, labels=labels, lossy=np.arange(shape) < lossy)
    assert "9 of the 60,000" in open_dataset(make_config("quick", device="cpu")).note


def test_images_that_are_all_the_same_are_refused_in_every_form(published, bare_machine):
    lay_out(bare_machine / "vicreg_nb", published, "packed")
    train = {"images": np.zeros((500, 32, 32, 3), np.uint8), "labels": (np.arange(500) % 10).astype(np.uint8)}
    write(bare_machine / "vicreg_nb", "cifar10_train.npz", **train)
    with pytest.raises(UserError, match="all 500 train images"):
        open_dataset(make_config("quick", device="cpu"))


def test_shapes_need_more_than_colour():
    images, labels = draw_shapes(2_000, seed=0)
    assert images.dtype == np.uint8 and np.bincount(labels).tolist() == [200] * 10
    colour = images.reshape(2_000, -1, 3).mean(axis=1) / 255
    spread = images.reshape(2_000, -1, 3).std(axis=1) / 255
    flat = np.hstack([colour, spread])
    score = LogisticRegression(max_iter=500).fit(flat[:1_500], labels[:1_500]).score(flat[1_500:], labels[1_500:])
    assert score < 0.25
    again, _ = draw_shapes(2_000, seed=0)
    assert np.array_equal(images, again) and not np.array_equal(images, draw_shapes(2_000, seed=1)[0])


@pytest.mark.parametrize(
    ("sizes", "says"), [({"train_size": 9_000}, "more than the 5000"), ({"test_size": 7}, "too few")]
)
def test_impossible_sizes(sizes, says):
    with pytest.raises(UserError, match=says):
        open_dataset(make_config("smoke", **sizes))


def test_embedded_outliers_are_the_digits_enlarged():
    outliers = open_outliers(open_dataset(make_config("smoke")))
    assert outliers.images.shape == (160, 32, 32, 3) and outliers.images.dtype == np.uint8
    small = outliers.images[:, ::4, ::4, 1]
    np.testing.assert_allclose(small, load_digits().images[:160] * 255 / 16, atol=1)


def test_normalisation_is_torchvisions():
    images, _ = draw_shapes(3, seed=5)
    expected = torch.stack([TF.normalize(TF.to_tensor(image), MEAN.tolist(), STD.tolist()) for image in images])
    torch.testing.assert_close(normalise(to_float(images)), expected)


def test_real_cifar10(real_data):
    images = open_dataset(make_config("quick", dataset="cifar10", device="cpu"))
    assert images.train_images.shape == (50_000, 32, 32, 3) and images.test_images.shape == (10_000, 32, 32, 3)
    assert (
        np.bincount(images.train_labels).tolist() == [5_000] * 10
        and np.bincount(images.test_labels).tolist() == [1_000] * 10
    )
    means = images.train_images.mean(axis=(0, 1, 2), dtype=np.float64) / 255
    np.testing.assert_allclose(means, MEAN, atol=1e-4)
    deviations = images.train_images.reshape(-1, 3).std(axis=0, dtype=np.float64) / 255
    np.testing.assert_allclose(deviations, STD, atol=1e-3)


def test_real_mnist_is_treated_like_cifar10(real_data):
    outliers = open_outliers(open_dataset(make_config("quick", dataset="cifar10", device="cpu")))
    assert outliers.images.shape == (10_000, 32, 32, 3)
    assert (outliers.images[:, :2] == 0).all() and (outliers.images[..., 0] == outliers.images[..., 2]).all()
    mean = outliers.images[:, 2:30, 2:30, 0].mean(dtype=np.float64) / 255
    assert mean == pytest.approx(0.1325, abs=2e-3)  # of MNIST's test digits
