"""What `make check` counts, on notebooks with one fault each."""

import pytest
import reading

GOOD = """# %% [markdown]
# # 5 · A chapter
# A sentence of many words that explains what the next cell computes and why anybody should want to know it.

# %%
#| default_exp retrieval

# %%
#| export
def double(x):
    return 2 * x


# %%
assert double(1) == 2
"""
FAULTS = {
    "columns": GOOD.replace("2 * x", "2 * x  # " + "long " * 30),
    "lines": GOOD.replace("    return", "    x = x\n" * 25 + "    return"),
    "test or a picture": GOOD[: GOOD.rindex("# %%")],
    "prose": GOOD + "\n# %%\n" + "x = 1\n" * 20,
    "chapters": GOOD.replace("def double(x):", "def double(x):\n    from vicreg_nb.anomaly import y, z")
    + "\n# %%\nfrom vicreg_nb.clustering import y\n",
}  # fmt: skip


def written(folder, text):
    (folder / "05_retrieval.py").write_text(text, encoding="utf-8")
    return reading.measure(folder)


def test_a_good_chapter_has_no_fault(tmp_path):
    numbers, faults = written(tmp_path, GOOD)
    assert faults == [] and numbers["exported cells"] == 1 and numbers["arrows"] == 0


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(tmp_path, fault):
    _, faults = written(tmp_path, FAULTS[fault])
    assert any(fault in line for line in faults), faults


FORMS = (
    "import vicreg_nb.anomaly as a",
    "from vicreg_nb import store, anomaly",
    "def f():\n    from vicreg_nb.anomaly import (\n        x,\n    )",
)


@pytest.mark.parametrize("form", FORMS)
def test_an_arrow_is_counted_in_every_form(tmp_path, form):
    numbers, _ = written(tmp_path, f"{GOOD}\n# %%\n{form}\n")
    assert numbers["arrows"] == 1


def test_prose_that_names_a_chapter_is_no_arrow(tmp_path):
    numbers, _ = written(tmp_path, GOOD.replace("# A sentence", "# from vicreg_nb.anomaly: a sentence"))
    assert numbers["arrows"] == 0


def test_the_book_itself(root):
    assert reading.main(root / "nbs") == 0
