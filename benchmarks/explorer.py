"""The explorer in a headless Chromium: how large the page is, how soon it is there, how often it is drawn.

    python benchmarks/explorer.py [figures/explorer.html] [--rounds 3]

Asked of it: at most 12 MB, there in 2 s, 60 frames a second while 4,000 points are panned. It is there with the first
frame that holds all pictures. A frame's time is that to the next one, while the mouse drags the map, while points glide
from rung to rung, and while the wheel zooms in until the pictures show. Chromium draws without a graphics card here,
and at most 60 times a second.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from browser import AT_REST, CHROMIUM, Browser  # noqa: E402

FRAMES = """
(async () => {
  const noted = [], frame = () => new Promise(requestAnimationFrame), middle = [innerWidth / 2, innerHeight / 2];
  const mouse = (kind, x, y) => map.dispatchEvent(new PointerEvent(kind, {clientX: x, clientY: y, pointerId: 1}));
  map.setPointerCapture = () => {};  // of a pointer that the browser does not have
  %s
  return noted;
})()
"""
ACTIONS = {
    "panning": """
        mouse('pointerdown', ...middle);
        for (let i = 0; i < 300; i++) {
          mouse('pointermove', middle[0] + 300 * Math.sin(i / 25), middle[1] + 200 * Math.sin(i / 40));
          noted.push(await frame());
        }
        mouse('pointerup', ...middle);""",
    "gliding": """
        for (let i = 1; i <= data.rungs.length; i++) {
          set({rung: i % data.rungs.length});
          while (journey) noted.push(await frame());
        }""",
    "zooming": """
        for (let i = 0; i < 60; i++) {
          map.dispatchEvent(new WheelEvent('wheel', {clientX: middle[0], clientY: middle[1], deltaY: -30}));
          noted.push(await frame());
        }""",
}


def visit(page):
    """(milliseconds until the page is there, {action: those between its frames}, how many images it has)."""
    with tempfile.TemporaryDirectory() as profile, Browser(Path(profile)) as browser:
        began = time.perf_counter()
        browser.open(page.as_uri(), 1440, 900)
        browser.run(AT_REST)
        found, between = 1000 * (time.perf_counter() - began), {}
        for name, action in ACTIONS.items():
            before = browser.run("[px(0), py(0), camera.zoom]")
            noted = browser.run(FRAMES % action)
            between[name] = [after - one for one, after in zip(noted, noted[1:])]
            assert name == "gliding" or browser.run("[px(0), py(0), camera.zoom]") != before, f"{name}: nothing moved"
            browser.run(AT_REST)
        return found, between, browser.run("N")


def main():
    """Print what was measured, over all rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", nargs="?", default="figures/explorer.html", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    if not CHROMIUM or not args.page.is_file():
        sys.exit("there is no Chromium here" if not CHROMIUM else f"{args.page} is not there: run the book first")
    rounds = [visit(args.page.resolve()) for _ in range(args.rounds)]
    there, size = statistics.median(one for one, *_ in rounds), args.page.stat().st_size
    print(f"{rounds[0][2]:,} images, {size / 1e6:.1f} MB, there after {there / 1000:.2f} s (median of {args.rounds})")
    print(f"{'':10}{'frames':>8}{'a second':>10}{'99 of 100 within':>18}")
    for name in ACTIONS:
        every = sorted(one for _, between, _ in rounds for one in between[name])
        late = every[int(0.99 * len(every))]
        print(f"{name:10}{len(every):8,}{1000 * len(every) / sum(every):10.1f}{late:15.1f} ms")


if __name__ == "__main__":
    main()
