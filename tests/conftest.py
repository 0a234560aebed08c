"""What all tests share."""

import os
import urllib.request
from pathlib import Path

# so that the commands that tests start find the package, wherever they stand and whether or not it is installed
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, (str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH")))
)
os.environ.setdefault("MPLBACKEND", "agg")  # before matplotlib is imported, here and in the commands that tests start

from vicreg_nb.threads import brief_waiting

os.environ.update(brief_waiting(os.environ))  # before torch is imported
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many threads in all as there are processes that test

import pytest
import torch

if "OMP_NUM_THREADS" not in os.environ:
    torch.set_num_threads(min(2, os.cpu_count() or 1))


LONGEST = ("test_book", "test_training", "test_parallel", "test_report", "test_submission", "test_run_all")


def pytest_collection_modifyitems(items):
    """The files that take longest come first, so that two processes end together; those that need the book after it."""
    items.sort(key=lambda item: [*LONGEST, item.path.stem].index(item.path.stem))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real CIFAR-10 and MNIST; without it the test is skipped."""
    folder = os.environ.get("VICREG_NB_DATA")
    if not folder:
        pytest.skip("VICREG_NB_DATA is not set: no real data here")
    return Path(folder)


@pytest.fixture
def no_network(tmp_path_factory, monkeypatch):
    """Neither data nor network: every download is refused at once, and the cache is empty."""
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of the first address opened
    for name in ("VICREG_NB_DATA", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
