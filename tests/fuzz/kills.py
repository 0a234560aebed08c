"""Kill the smoke book at random moments, resume it, and compare its results with those of a book that was let be.

    python tests/fuzz/kills.py [--kills 40] [--seed 0] [--record FILE]

A book is killed five times at most before it may end; that a book ends before its time is up is no kill. Each kill is a
line, with the last thing that the book said, and the last line is the verdict; a FILE gets these lines, too, at its
end. The first book that ends otherwise than the one that was let be stops it all, and its folder is named. Forty kills
take three quarters of an hour on two cores.
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


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def last_said(folder: Path) -> str:
    """The end of a book's log: where it was killed."""
    lines = (folder / "log.txt").read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    return " ".join(next((line for line in reversed(lines) if line.strip()), "nothing yet").split())[:80]


def difference(whole: Path, killed: Path) -> str:
    """How a killed book ended otherwise than one that was let be; empty where it did not."""
    try:
        assert_same(results(whole)["questions"], results(killed)["questions"], tolerance=0)
    except AssertionError as error:
        return f"other results: {error}"
    rest = [path.name for path in killed.rglob(".*.*") if path.is_file() and path.name != ".results.lock"]
    return f"left behind: {', '.join(rest)}" if rest else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="a file that gets each line at its end")
    options = parser.parse_args()

    def tell(line):
        print(line, flush=True)
        if options.record:
            with options.record.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    try:
        verdict = kill_books(options, tell)
    except SystemExit as error:
        tell(f"stopped: {error}")
        raise
    tell(verdict)


def kill_books(options, tell) -> str:
    """Kill one book after the other; the verdict. SystemExit for a book that fails or ends otherwise."""
    chance, done, books, folder = random.Random(options.seed), 0, 0, Path(tempfile.mkdtemp(prefix="kills-"))
    (folder / "whole").mkdir()
    run(folder / "whole")
    made = results(folder / "whole")["header"]
    tell(f"$ python tests/fuzz/kills.py --kills {options.kills} --seed {options.seed}")
    tell(f"profile smoke, commit {made['commit']}, {made['device']}, torch {made['versions']['torch']}")
    while done < options.kills:
        killed = folder / f"{books}"
        killed.mkdir()
        for _ in range(min(5, options.kills - done)):
            seconds = chance.uniform(3, 60)
            if run(killed, seconds):
                break
            done += 1
            tell(f"kill {done:2}: book {books}, after {seconds:4.1f} s: {last_said(killed)}")
        run(killed)
        books += 1
        if wrong := difference(folder / "whole", killed):
            sys.exit(f"{wrong}, see {killed}")
    return f"{done} kills of {books} books: each has the results of a book that was let be, and nothing is left behind"


if __name__ == "__main__":
    main()
