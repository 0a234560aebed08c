"""The results page: everything of a run on one page, from one folder, readable on a telephone."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import pytest
from made_run import make_run, smoke_book
from vicreg_nb.tools.report import QUESTIONS
from vicreg_nb.tools.results_page import build, main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
ALONE = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
PROBE = """<script>
const faults = [];
addEventListener("error", event => faults.push(event.message || "cannot load " + (event.target.src || event.target.href)), true);
addEventListener("load", () => {
  for (const image of document.images) image.loading = "eager";
  setTimeout(() => {
    const shown = [...document.images].filter(image => image.offsetWidth > 0);
    const wide = [...document.querySelectorAll("body *")].filter(e => !e.closest(".table, nav, math") && e.getBoundingClientRect().right > innerWidth + 1);
    const facts = {inner: innerWidth, page: document.documentElement.scrollWidth, faults, shown: shown.length,
      blank: shown.filter(image => !image.naturalWidth).map(image => image.src), wide: wide.map(e => e.outerHTML.slice(0, 80)),
      frames: [...document.querySelectorAll("iframe")].filter(frame => frame.offsetWidth > 0).length};
    parent.postMessage(JSON.stringify(facts), "*");
  }, 3000);
});
</script>"""


WINDOW = """<iframe src="opened.html" style="width: WIDTHpx; height: 900px"></iframe><pre id="facts"></pre>
<script>addEventListener("message", event => { if (event.data[0] == "{") document.getElementById("facts").textContent = event.data; });</script>"""


class Page(HTMLParser):
    """What a page says, and everything that it names."""

    def __init__(self, path):
        super().__init__()
        self.words, self.links, self.loads, self.ids, self.headings, self.style = [], [], [], [], [], False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join("".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.ids.append(named.get("id"))
        self.style = tag in ("style", "script")
        self.words.append(" " if tag in ("td", "th", "p", "tr", "h2") else "")
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            if name in named:
                (self.links if tag == "a" else self.loads).append(named[name])

    def handle_endtag(self, tag):
        self.style = False

    def handle_data(self, data):
        self.words.append("" if self.style else data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("made"))
    (folder / "figures" / "q1_0.html").write_text("<p>a drawing</p>")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return smoke_book(tmp_path_factory)


def plain(markdown):
    """Markdown's words, up to its first formula."""
    return " ".join(re.sub(r"[*\\_`]", "", markdown).split("$")[0].split())


def test_everything_recorded_is_on_the_page(book):
    results, page = json.loads((book / "results.json").read_text()), Page(book / "figures" / "index.html")
    assert len(results["questions"]) == len(QUESTIONS)
    straight = page.text.translate(str.maketrans("“”‘’", "\"\"''"))
    for name, entry in results["questions"].items():
        assert f"{QUESTIONS[name]}: {entry['title']}" in straight and name.lower() in page.ids
        for paragraph in entry["answer"].split("\n\n"):
            assert plain(paragraph) in straight
        for figure, caption in entry["figures"]:
            assert f"{figure}.png" in page.loads and plain(caption) in straight
            if (book / "figures" / f"{figure}.html").is_file():
                assert {f"{figure}.html"} <= set(page.loads) & set(page.links)
        for table in entry["tables"]:
            assert plain(table["caption"]) in straight
            for row in table["rows"]:
                assert all(plain(cell) in straight for cell in row)
    for fact in (
        results["header"]["code"],
        results["header"]["device"],
        results["header"]["updated"],
        results["header"]["data"]["identity"],
    ):
        assert fact in straight
    assert "not a result on CIFAR-10" in straight


def test_nothing_is_loaded_from_any_network(book):
    for path in [book / "figures" / "index.html", *sorted((book / "figures").glob("*.html"))]:
        page = Page(path)
        assert all(re.fullmatch(r"[\w.]+\.(png|html|js)|data:,", name) for name in page.loads), (path, page.loads)
        assert all((path.parent / name).is_file() for name in page.loads if name != "data:,")
        if path.name == "index.html":
            assert len(page.loads) > 20
            assert "@import" not in path.read_text() and "url(" not in path.read_text()


def test_links_lead_somewhere(book):
    page = Page(book / "figures" / "index.html")
    local = [link for link in page.links if link.startswith("#")]
    assert len(local) == len(QUESTIONS) + 1 and all(link[1:] in page.ids for link in local)
    assert all((book / "figures" / link).is_file() for link in page.links if not link.startswith("#"))
    assert len([name for name in page.ids if name]) == len({name for name in page.ids if name})


@pytest.mark.parametrize(
    "header, stamped", [({"profile": "smoke"}, True), ({"dataset": "shapes"}, True), ({"profile": "quick"}, False)]
)
def test_a_run_that_is_no_result_says_so(tmp_path, header, stamped):
    text = build(make_run(tmp_path, questions=("Q1",), **header)).read_text()
    assert ('class="stamp"' in text) == stamped


def test_marks_come_through_literally(tmp_path):
    folder = make_run(tmp_path, questions=("Q1",), device='a <b>device</b> & "more" | @title@')
    results = json.loads((folder / "results.json").read_text())
    results["questions"]["Q1"]["title"] = 'A <i> & $5 "x" @body@ *y* [z](w)'
    (folder / "results.json").write_text(json.dumps(results))
    text = Page(build(folder)).text.translate(str.maketrans("“”", '""'))
    assert 'Section 3.2, Question 1 (Q1): A <i> & $5 "x" @body@ *y* [z](w)' in text
    assert text.count('a <b>device</b> & "more" | @title@') == 2  # in the heading and in the provenance


def test_unfinished_runs_and_missing_figures(tmp_path, capsys):
    folder = make_run(tmp_path, questions=("Q1", "Q3"))
    assert main(["--out", str(folder)]) == 0 and capsys.readouterr().out == f"{folder / 'figures' / 'index.html'}\n"
    assert (
        "This run has not answered Q2, Q4, Q5, Q6, Q7, AD1, AD2, AD3 yet."
        in Page(folder / "figures" / "index.html").text
    )
    (folder / "figures" / "q3_1.png").unlink()
    assert main(["--out", str(folder)]) == 1
    error = capsys.readouterr().err
    assert "q3_1.png is in results.json but not on disk" in error and len(error.splitlines()) == 1


def test_the_same_run_gives_the_same_page(made):
    before = (made / "figures" / "index.html").read_bytes()
    assert build(made).read_bytes() == before


def opened(folder, width, profile):
    """What a browser finds on the page in a frame of this width (its own windows are never narrower than 500 pixels)."""
    page, window = folder / "figures" / "opened.html", folder / "figures" / "window.html"
    page.write_text((folder / "figures" / "index.html").read_text().replace("<head>", "<head>" + PROBE))
    window.write_text(WINDOW.replace("WIDTH", str(width)))
    command = [
        CHROMIUM,
        *ALONE.split(),
        f"--user-data-dir={profile}",
        "--enable-logging=stderr",
        "--window-size=1300,1000",
    ]
    command += ["--virtual-time-budget=20000", "--dump-dom", window.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    page.unlink()
    window.unlink()
    assert done.returncode == 0, done.stderr
    facts = re.search(r'<pre id="facts">(.+?)</pre>', done.stdout, re.S)
    assert facts, done.stderr[-2000:]
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(unescape(facts[1])), complaints


@pytest.mark.skipif(not CHROMIUM, reason="no chromium or google-chrome here to open the page in")
@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_it_on_a_telephone_and_on_a_desk(book, tmp_path, width):
    facts, complaints = opened(book, width, tmp_path / "profile")
    assert facts["inner"] == width and complaints == [] and facts["faults"] == []
    assert facts["page"] <= width and facts["wide"] == []
    assert facts["shown"] > 5 and facts["blank"] == []
    assert (facts["frames"] > 3) == (width == 1200)
