"""The explorer: what it says of an image against plain computations, and the page in a real browser."""

import base64
import io
import json
import re

import numpy as np
import pytest
from browser import AT_REST, CHROMIUM, Browser
from made_run import make_run, smoke_book
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from smoke_run import smoke_config
from vicreg_nb.clustering import cluster
from vicreg_nb.data import open_dataset
from vicreg_nb.representations import Features, linear_probe
from vicreg_nb.store import UserError
from vicreg_nb.tools import explorer

KINDS = {
    "near": "<u2",
    "far": "<u2",
    "clusters": "<u2",
    "guesses": "<u2",
    "sure": "u1",
    "scores": "<f4",
    "places": "<u2",
}


def data_of(path):
    """The data in a page."""
    return json.loads(
        re.search(r'<script id="data" type="application/json">(.*?)</script>', path.read_text("utf-8"))[1]
    )


def unpacked(rung):
    """A rung's arrays, a row for each image."""
    arrays = {name: np.frombuffer(base64.b64decode(rung[name]), kind) for name, kind in KINDS.items()}
    count = len(arrays["scores"])
    return {name: values.reshape(count, -1) for name, values in arrays.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(Config, images, features of no run: a centre for each class, and noise)."""
    cfg, random = smoke_config(tmp_path_factory), np.random.default_rng(5)
    images = open_dataset(cfg)
    centres = random.normal(size=(10, 12))
    parts = (
        centres[labels] + random.normal(size=(len(labels), 12)) for labels in (images.train_labels, images.test_labels)
    )
    return cfg, images, Features(*(part.astype(np.float32) for part in parts), "made for the explorer")


# ---- what it says of an image


def test_neighbours_scores_and_clusters_are_those_of_a_plain_search(made):
    cfg, images, one = made
    told = explorer.facts(cfg, images, one)
    apart = np.linalg.norm(one.test[:, None].astype(np.float64) - one.test, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (told["near"] == np.argsort(apart, axis=1, kind="stable")[:, : explorer.NEIGHBOURS]).all()
    np.fill_diagonal(apart, -np.inf)
    assert (told["far"] == np.argsort(-apart, axis=1, kind="stable")[:, : explorer.NEIGHBOURS]).all()
    density = NearestNeighbors(n_neighbors=cfg.anomaly_k).fit(one.train).kneighbors(one.test)[0].mean(axis=1)
    np.testing.assert_allclose(told["scores"], density / np.median(density), rtol=1e-4)
    centres = cluster(cfg, one.train).centres
    assert (told["clusters"] == np.linalg.norm(one.test[:, None] - centres, axis=2).argmin(axis=1)).all()


def test_the_first_guess_is_the_probes(made):
    cfg, images, one = made
    told = explorer.facts(cfg, images, one)
    assert ((told["guesses"][:, 0] == images.test_labels) == linear_probe(cfg, one, images).hits).all()
    assert (np.diff(told["sure"], axis=1) <= 0).all() and (np.sort(told["guesses"], axis=1)[:, 1:] > 0).all()


def test_maps_are_turned_and_mirrored_but_not_bent():
    random = np.random.default_rng(1)
    reference = explorer.aligned(random.normal(size=(500, 2)))
    assert abs((reference**2).sum(axis=1).mean() - 1) < 1e-9
    for mirror in (1, -1):
        turn = np.array([[np.cos(2), -np.sin(2)], [np.sin(2), np.cos(2)]]) @ np.diag([1, mirror])
        np.testing.assert_allclose(explorer.aligned(7 * reference @ turn + 3, reference), reference, atol=1e-9)
    other = explorer.aligned(random.normal(size=(500, 2)), reference)
    closest = ((other - reference) ** 2).sum()
    for angle in np.linspace(0, 2 * np.pi, 40):
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        assert ((other @ turn - reference) ** 2).sum() > closest - 1e-9


def test_each_image_has_its_tile(made):
    pictures = made[1].test_images
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(explorer.sprite(pictures).partition(",")[2]))))
    for i in (0, explorer.COLUMNS - 1, explorer.COLUMNS, len(pictures) - 1):
        row, column = divmod(i, explorer.COLUMNS)
        tile = sheet[32 * row : 32 * row + 32, 32 * column : 32 * column + 32].astype(float)
        errors = [abs(tile - picture).mean() for picture in pictures.astype(float)]
        assert np.argmin(errors) == i and errors[i] < 15  # WebP keeps colours at half the resolution


# ---- of a run


def test_a_run_leaves_an_explorer_that_agrees_with_its_results(tmp_path_factory):
    folder = smoke_book(tmp_path_factory)
    path = folder / "figures" / "explorer.html"
    data, results = data_of(path), json.loads((folder / "results.json").read_text("utf-8"))
    assert [rung["name"] for rung in data["rungs"]] == list(explorer.RUNGS) and path.stat().st_size < 12e6
    labels = np.frombuffer(base64.b64decode(data["labels"]), "<u2")
    for rung in data["rungs"]:
        told = unpacked(rung)
        assert rung["accuracy"] == pytest.approx((told["guesses"][:, 0] == labels).mean(), abs=1e-9)
        assert len(told["near"]) == data["count"] and told["near"].max() < data["count"]
    assert data["rungs"][0]["accuracy"] == results["questions"]["Q3"]["numbers"]["accuracy"]
    assert "not a result" in data["stamp"]


def test_without_the_probe_there_is_no_explorer_and_no_failure(tmp_path, capsys):
    folder = make_run(tmp_path, questions=("Q1",))
    assert explorer.build(folder) is None and explorer.main(["--out", str(folder)]) == 1
    assert not (folder / "figures" / "explorer.html").exists() and "Q3" in capsys.readouterr().out


def test_a_run_without_its_trainings_is_one_sentence(tmp_path, capsys):
    folder = make_run(tmp_path, profile="smoke", dataset="shapes")
    with pytest.raises(UserError, match="run the book again"):
        explorer.build(folder)
    assert explorer.main(["--out", str(folder)]) == 1 and len(capsys.readouterr().err.splitlines()) == 1


# ---- in a browser

HOSTILE = "</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page(made, tmp_path_factory):
    """A page with two rungs, of which the second is the first mirrored, and with a class of a hostile name."""
    cfg, images, one = made
    told, places = explorer.facts(cfg, images, one), explorer.rung_map(cfg, one)
    places = places / abs(places).max()
    rungs = [explorer.rung_data("vicreg", 0.5, told, places), explorer.rung_data("free", 0.25, told, places * [-1, 1])]
    head = {"profile": "smoke", "dataset": "shapes", "seed": 0, "commit": HOSTILE}
    data = {"rungs": rungs} | explorer.picture_data(images) | explorer.words(images, head)
    data["classes"] = [HOSTILE, *images.classes[1:]]
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    path.write_text(explorer.page(data), encoding="utf-8")
    return path


def test_no_word_ends_the_data(page):
    text = page.read_text("utf-8")
    assert "<img src=x" not in text and data_of(page)["classes"][0] == HOSTILE
    assert not re.search(r'(src|href)="|@import|url\(|https?:', text.replace("http-equiv", ""))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not CHROMIUM:
        pytest.skip("no chromium or google-chrome here to open the page in")
    with Browser(tmp_path_factory.mktemp("chromium")) as one:
        yield one


@pytest.fixture
def opened(browser, page):
    """Opens the page; `rest` waits until nothing moves."""

    def show(width=1440, height=900, address="", **more):
        browser.events.clear()
        browser.open(page.as_uri() + address, width, height, **more)
        browser.run(AT_REST)
        return browser

    return show


def faults(browser):
    """What the page has thrown, or has asked the network for."""
    thrown = [event for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]
    asked = [event["params"]["request"]["url"] for event in browser.events
             if event.get("method") == "Network.requestWillBeSent"]  # fmt: skip
    return thrown, [url for url in asked if not url.startswith(("file:", "data:", "about:"))]


def place(browser, i):
    return browser.run(f"[px({i}), py({i})]")


def test_a_click_tells_all_about_an_image(opened, page):
    browser, told = opened(), unpacked(data_of(page)["rungs"][0])
    browser.click(*place(browser, 17))
    picked = browser.run("state.picked")
    assert picked >= 0 and browser.run("$('panel').hidden") is False
    titles = browser.run(
        "[...document.querySelectorAll('.rung')[0].querySelectorAll('.row button')].map(b => b.ariaLabel)"
    )
    numbers = [int(title.rpartition(" ")[2]) for title in titles]
    assert numbers == [*told["near"][picked], *told["far"][picked]]
    classes = browser.run("data.classes")
    assert classes[told["guesses"][picked, 0]] in browser.run("document.querySelector('.rung > button').textContent")
    browser.run("document.querySelector('.rung .row button').click()")
    assert browser.run("state.picked") == told["near"][picked, 0]
    browser.key("Escape")
    assert browser.run("state.picked") == -1 and browser.run("$('panel').hidden")
    assert browser.run("document.querySelectorAll('img').length") == 0 and faults(browser) == ([], [])


def test_points_glide_to_the_next_rung(opened):
    """A quarter of the way in time is a sixteenth in space: slow, then fast, by the cube of the time."""
    browser = opened()
    before = np.array(browser.run("[...X]"))
    between = browser.run("(set({rung: 1}), advance(journey.start + MOVE / 4), [...X])")
    np.testing.assert_allclose(between, before * (1 - 2 / 16), atol=1e-3)  # the second rung is the first mirrored
    browser.run(AT_REST)
    np.testing.assert_allclose(browser.run("[...X]"), -before, atol=1e-3)
    assert "Free vectors" in browser.run("document.querySelector('#ladder [aria-current=true]').textContent")
    browser.key("1"), browser.run(AT_REST)
    np.testing.assert_allclose(browser.run("[...X]"), before, atol=1e-3)


ARROWS = (("ArrowRight", "x", 1), ("ArrowUp", "y", 1), ("ArrowLeft", "x", -1), ("ArrowDown", "y", -1))


def walked(browser, key, among):
    """(the one of these images nearest to their middle, the image picked after an arrow key there)."""
    places = np.array(browser.run("[[...shown().x], [...shown().y]]"))[:, among]
    middle = int(among[((places - places.mean(axis=1, keepdims=True)) ** 2).sum(axis=0).argmin()])
    browser.run(f"set({{picked: {middle}}})")
    browser.key(key)
    return middle, browser.run("state.picked")


def test_a_class_is_found_and_the_rest_grows_faint(opened, made):
    browser, images = opened(), made[1]
    browser.key("/")
    for letter in "ring":
        browser.key(letter)
    expected = images.test_labels == images.classes.index("ring")
    assert (np.array(browser.run("[...kept]")) == expected).all()
    browser.key("Enter")
    assert browser.run("state.picked") == np.flatnonzero(expected)[0]
    for key, axis, sign in ARROWS:
        before, after = walked(browser, key, np.flatnonzero(expected))
        assert expected[after] and sign * browser.run(f"shown().{axis}[{after}] - shown().{axis}[{before}]") > 0
    for _ in range(2):
        browser.key("Escape")
    assert browser.run("kept.every(Boolean)") and browser.run("$('find').value") == ""


def test_arrows_walk_across_the_map(opened, made):
    browser = opened()
    for key, axis, sign in ARROWS:
        before, after = walked(browser, key, range(len(made[1].test_labels)))
        assert sign * browser.run(f"shown().{axis}[{after}] - shown().{axis}[{before}]") > 0


@pytest.mark.parametrize("colour", ["class", "cluster", "error", "anomaly"])
def test_colours_and_the_legend_agree_with_the_data(opened, page, made, colour):
    browser, told, labels = (
        opened(address=f"#colour={colour}"),
        unpacked(data_of(page)["rungs"][0]),
        made[1].test_labels,
    )
    group = np.array(browser.run("[...group]"))
    if colour == "anomaly":
        scores = told["scores"][:, 0]
        assert (np.diff(group[np.argsort(scores, kind="stable")]) >= 0).all() and group.max() == 23
        return
    wrong = (told["guesses"][:, 0] != labels).astype(int)
    expected = {"class": labels, "cluster": told["clusters"][:, 0], "error": wrong}[colour]
    assert (group == expected).all()
    counts = browser.run("[...document.querySelectorAll('#legend small')].map(one => +one.textContent)")
    assert counts == np.bincount(expected, minlength=len(counts)).tolist()
    browser.run("document.querySelectorAll('#legend button')[1].click()")
    assert (np.array(browser.run("[...kept]")) == (expected == 1)).all()


def test_zoom_keeps_the_place_below_the_pointer_and_shows_thumbnails(opened):
    browser = opened()
    assert browser.run("(camera.zoom = .25, look().photo)") == 0 and browser.run("(camera.zoom = 1, look().photo)") == 1
    before = np.array(place(browser, 3))
    x, y = pointer = np.round(before).tolist()  # a wheel's event is at whole pixels
    for _ in range(8):
        browser.mouse("mouseWheel", x, y, deltaX=0, deltaY=-120)
    browser.run(AT_REST)
    zoom = browser.run("camera.zoom")
    assert zoom > 3 and browser.run("look().photo") == 1
    there = pointer + (before - pointer) * zoom
    np.testing.assert_allclose(place(browser, 3), there, atol=0.1)
    browser.mouse("mousePressed", x, y, button="left")
    browser.mouse("mouseMoved", x + 40, y + 30, button="left", buttons=1)
    browser.mouse("mouseMoved", x + 80, y + 60, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 80, y + 60, button="left")
    browser.run(AT_REST)
    np.testing.assert_allclose(place(browser, 3), there + [80, 60], atol=0.1)
    assert browser.run("state.picked") == -1


def test_on_a_telephone_a_tap_opens_a_sheet_and_two_fingers_zoom(opened):
    browser = opened(390, 844, telephone=True, ratio=2)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    x, y = place(browser, 9)
    for kind, points in (("touchStart", [{"x": x, "y": y}]), ("touchEnd", [])):
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    browser.run(AT_REST)
    sheet = browser.run(
        "(({left, right, top, bottom}) => [left, right, top, bottom])($('panel').getBoundingClientRect())"
    )
    assert browser.run("state.picked") >= 0 and sheet[:2] == [0, 390] and 300 < sheet[2] < sheet[3] <= 844
    picked = place(browser, browser.run("state.picked"))
    assert 0 < picked[0] < 390 and picked[1] < sheet[2]  # not below the sheet
    browser.run("set({picked: -1})")
    browser.run(AT_REST)
    for kind, apart in (("touchStart", 40), ("touchMove", 80), ("touchMove", 120), ("touchEnd", 0)):
        points = [{"x": 195 + side * apart, "y": 420, "id": side} for side in (1, 0)] if apart else []
        browser.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)
    assert browser.run("camera.zoom") > 2 and browser.run("state.picked") == -1 and faults(browser) == ([], [])


def test_the_address_holds_what_is_shown(opened):
    browser = opened(address="#rung=free&colour=error&image=21&find=ring")
    shown = browser.run("[shown().name, state.colour, state.picked, state.find]")
    assert shown == ["free", "error", 21, "ring"]
    browser.key("Escape"), browser.key("1")
    assert browser.run("location.hash") == "#rung=vicreg&colour=error&find=ring"
    browser = opened(address="#rung=nothing&colour=constructor&image=99999")
    assert browser.run("[state.rung, state.colour, state.picked]") == [0, "class", -1]


WORDS, GROUNDS = ("ink", "quiet", "right", "wrong", "accent"), ("paper", "raised")


@pytest.mark.parametrize("dark", [False, True])
def test_words_are_readable_in_the_light_and_in_the_dark(opened, dark):
    browser = opened(address="#image=5", dark=dark)
    colours = browser.run(f"{[*WORDS, *GROUNDS]}.map(token)")
    light = dict(zip((*WORDS, *GROUNDS), map(luminance, colours), strict=True))
    for ground in GROUNDS:
        for name in WORDS:
            low, high = sorted((light[name], light[ground]))
            assert (high + 0.05) / (low + 0.05) > 4.5, (name, ground)  # WCAG 2, level AA
    assert faults(browser) == ([], [])


def luminance(colour):
    """The relative luminance of #rrggbb, as WCAG 2 defines it."""
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
