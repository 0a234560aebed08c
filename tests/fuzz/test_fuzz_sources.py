"""The exporter's sources: spoiled notebooks, settings and folders are refused whole, or exported and in step."""

import json
import os
import re
import shutil
from pathlib import Path

from harness import Wrong, command, damaged, fuzz, strange
from vicreg_nb.tools import export

SETTINGS = "[DEFAULT]\nversion = 0.1\nnbs_path = nbs\nlib_path = tiny\n"
AREA = '# %% [markdown]\n# # Area\n\n# %%\n#| default_exp area\n\n# %% tags=["parameters"]\nside: float = 2.0\n\n# %%\n'
AREA += '#| export\ndef area(side):\n    """Square metres."""\n    return side**2\n\n\n# %%\nassert area(3) == 9\n'
LINES = ["# -*- coding: latin-1 -*-", "# %%", "#| export", "#| default_exp ../a", "#| default_exp a.b.c", "%time f()",
         "# ---\n# jupyter: !!python/object:os.system\n# ---", "(" * 300, "'''", "\x0c",
         "!ls",
         "# %% [markdown]", "# %% [raw]", "from __future__ import annotations", "return", "é = '\u2028'", "x = 1\\",
         '# %% tags=["a", "a"]', "x = " + "9" * 5_000, "#| default_exp con", "#| default_exp __init__", "\tx = 1",
         "\x00",
         "#| default_exp tools.area", "#| default_exp class", "#| hide\n#| export", "# cells nbs/1_area.py 0",
         "\ufeff"]  # fmt: skip
DEEP = ["x = " + "-" * 5_000 + "1", "-" * 100_000 + "1", "x = 1" + "+1" * 50_000, "a" + ".b" * 50_000, "not " * 50_000,
        "a" + "[0]" * 50_000, "x = 1" + "+1" * 300, "f" + "()" * 900]  # fmt: skip
BRACKETS = ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "[" * 960 + "]" * 960, '{"a":' * 980 + "0" + "}" * 980]
FIELDS = ["version", "nbs_path", "lib_path", "tests_path", "[DEFAULT]", "%(version)s", "= "]
VALUES = ["", "..", "/", ".", "nbs", "nbs/", "a b", "é", "x" * 300, "~", "tiny/../..", "%(x)s", "0.1\n\n  0.2", '"" "',
          "\x00"]  # fmt: skip


def state(folder):
    """Every file and its content, links and folders by their kind."""
    return {path: path.read_bytes() if path.is_file() and not path.is_symlink() else path.is_dir()
            for path in folder.rglob("*") if "__pycache__" not in path.parts}  # fmt: skip


def spoil(random, path):
    kind = random.random()
    if kind < 0.15:
        path.unlink()
        random.choice([os.mkdir, os.mkfifo, lambda path: path.symlink_to("nowhere"), Path.touch])(path)
    elif kind < 0.3:
        path.write_bytes(damaged(random, path.read_bytes()))
    elif path.suffix == ".ipynb" and kind < 0.5:
        whole = path.read_text("utf-8")
        at = random.choice([match.start() for match in re.finditer('"metadata"|"tags"|"outputs"', whole)])
        path.write_text(f'{whole[:at]}"deep": {random.choice(BRACKETS)}, {whole[at:]}', encoding="utf-8")
    elif path.suffix == ".ipynb":
        path.write_text(json.dumps(strange(random, json.loads(path.read_bytes()))), encoding="utf-8")
    elif path.suffix == ".py":
        lines = path.read_text("utf-8").split("\n")
        lines.insert(random.randrange(len(lines)), random.choice(DEEP if kind < 0.5 else LINES))
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        text = path.read_text("utf-8").replace(random.choice(FIELDS), random.choice([*FIELDS, *VALUES]))
        old = random.choice(["0.1", "= nbs", "= tiny"])
        path.write_text(text.replace(old, old[: old.find(" ") + 1] + random.choice(VALUES)), encoding="utf-8")


def test_sources(tmp_path):
    def attempt(random, here):
        here = here / "project"
        (here / "nbs").mkdir(parents=True)
        (here / "settings.ini").write_text(SETTINGS)
        (here / "nbs/1_area.py").write_text(AREA)
        os.chdir(here)
        command(export.main)
        files = [path for path in here.rglob("*") if path.is_file()]
        for path in random.sample(files, random.choice([1, 1, 2])):
            spoil(random, path)
        before = state(here)
        status, _, error = command_lines(*random.choice([(), ("--check",), ("--take", "py"), ("--take", "ipynb")]))
        if status and error:
            assert state(here) == before, "refused, yet something was written"
        elif not status:
            assert command_lines("--check")[0] == 0, "exported, but not in step"
        return not status

    def command_lines(*arguments):
        """As `command`; the exporter tells each fault in a line of its own."""
        try:
            return command(export.main, *arguments)
        except Wrong as fault:
            if "several lines" not in str(fault):
                raise
        return 1, "", "several"

    fuzz(attempt, 400, 60, tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)
