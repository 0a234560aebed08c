"""A machine without data and network, on which drawn images are drawn once."""

from functools import cache

import matplotlib.font_manager  # noqa: F401  now, since it writes its list of fonts into the cache
import pytest
from vicreg_nb import data


@pytest.fixture(autouse=True)
def bare_machine(no_network, monkeypatch):
    def absent(name):
        raise data.Absent(f"{name} is not here: use dataset shapes.")

    monkeypatch.setattr(data, "fetch", absent)
    monkeypatch.setattr(data, "draw_shapes", cache(data.draw_shapes))
