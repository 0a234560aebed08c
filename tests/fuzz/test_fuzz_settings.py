"""Settings and arguments of all sorts: refused in a sentence before any work, or taken as they were given."""

import json

from harness import STRANGE, command, fuzz
from vicreg_nb import run_all
from vicreg_nb.config import SETTINGS, make_config, notebook_config
from vicreg_nb.data import open_dataset

WORDS = ["", "1", "-1", "0", "1e-3", "3.0", "1e400", "nan", "inf", "-inf", "9" * 5_000, "[" * 300, "None",
         "True", "[1]", "{}", "__import__('os')", "é", "'", "\ud800", "0x10", "1_0", "cpu", "cuda:99", "shapes", "a=b",
         " 3", "2**40", "lambda: 0", "x" * 5_000, "../..", "/dev/null", "/proc/x", "~nosuchuser", "a\x00b", "1j",
         "b'x'", "0" * 999]  # fmt: skip
DEEP = ["-" * 5_000 + "1", "-" * 100_000 + "1", "1" + "+1" * 50_000, "(" * 50_000, "a" + ".b" * 50_000, "{[]: 1}"]
OPTIONS = "--profile --dataset --seed --device --out --set --set --set --only --from --again --list --no".split()


def near(random, name):
    """A value that may just be right."""
    allowed = SETTINGS[name].metadata["allowed"] or (0, 1)
    if isinstance(allowed[0], str):
        return random.choice([*allowed, "Adam", ""])
    low, high = allowed
    return random.choice([low, high, SETTINGS[name].default, low - 1, high + 1, int(low) + random.randrange(500), 0.5])


def checked(cfg, given):
    """A configuration that was taken is the one that was asked for, and fits its images."""
    for name, value in given.items():
        if value is not None and value != "auto" and name not in ("out", "profile"):
            assert getattr(cfg, name) == value, f"{name} is {getattr(cfg, name)!r}, and {value!r} was asked for"
    open_dataset(cfg)


def test_settings(tmp_path):
    def attempt(random, here):
        names = random.choices([*SETTINGS, "epoch", "x" * 400, "é"], k=random.choice([1, 1, 2, 3]))
        given = {name: random.choice(STRANGE) for name in names if name != "out"}
        given = {
            name: near(random, name) if name in SETTINGS and random.random() < 0.6 else given[name] for name in given
        }
        if random.random() < 0.5:
            return checked(make_config(**{"profile": "smoke", "out": str(here)} | given), given)
        cells = ["x = 1", "# Parameters\n" + "\n".join(f"{name} = None" for name in ("profile", "out", *given))]
        checked(notebook_config({"In": cells, "profile": "smoke", "out": str(here)} | given), given)

    fuzz(attempt, 400, 40, tmp_path)


def test_arguments(tmp_path, monkeypatch):
    monkeypatch.setattr(run_all, "publish", lambda folder, dataset: None)
    asked = []
    monkeypatch.setattr(run_all, "run_book", lambda job, chosen, again: asked.append((job, chosen)) or 0.0)

    def attempt(random, here):
        arguments = ["--profile", "smoke", "--out", str(here)]
        for option in random.choices(OPTIONS, k=random.choice([1, 1, 2, 3])):
            value = random.choice([*WORDS, *SETTINGS, "02", "Q7", "quick"])
            if option == "--set":
                value = random.choice([random.choice(WORDS), random.choice(DEEP)])
                name = random.choice([*SETTINGS, "", "é", "profile"])
                value = f"{name}={near(random, name) if name in SETTINGS and random.random() < 0.5 else value}"
            arguments += [option] if option in ("--again", "--list") else [option, value]
        before = list(here.rglob("*"))
        status, out, error = command(run_all.main, *arguments)
        assert status in (0, 1, 2) and bool(status) == bool(error), json.dumps([status, out[-300:], error[-300:]])
        if status:
            assert list(here.rglob("*")) == before, "refused, yet something was written"
        return not status

    fuzz(attempt, 400, 40, tmp_path)
