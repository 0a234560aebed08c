"""Kill the smoke book at random moments, resume it, and compare its results with those of a book that was let be.

    python tests/fuzz/kills.py --kills 40 --seed 0

A book is killed five times at most before it may end.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from made_run import assert_same  # noqa: E402


def run(folder: Path, seconds: float = None) -> bool:
    """Run the book; False where it was killed after so many seconds. Its kernel then ends by itself."""
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--profile", "smoke", "--out", str(folder)]
    with (folder / "log.txt").open("ab") as log:
        book = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        try:
            if book.wait(seconds):
                sys.exit(f"the book failed, see {folder}/log.txt")
            return True
        except subprocess.TimeoutExpired:
            os.killpg(book.pid, signal.SIGKILL)
            book.wait()
            return False


def answers(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["questions"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, left, folder = random.Random(options.seed), options.kills, Path(tempfile.mkdtemp(prefix="kills-"))
    (folder / "whole").mkdir()
    run(folder / "whole")
    for number in range(options.kills):
        if left <= 0:
            break
        killed = folder / f"{number}"
        killed.mkdir()
        for _ in range(min(5, left)):
            seconds = chance.uniform(3, 60)
            left -= 1
            if run(killed, seconds):
                break
            print(f"book {number}: killed after {seconds:.1f} s", flush=True)
        run(killed)
        assert_same(answers(folder / "whole"), answers(killed), tolerance=0)
        rest = [path for path in killed.rglob(".*.*") if path.is_file() and path.name != ".results.lock"]
        assert not rest, f"left behind: {rest}"
        print(f"book {number}: the same results; {left} kills to go", flush=True)


if __name__ == "__main__":
    main()
