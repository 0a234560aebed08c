"""What this project starts has threads that wait briefly, unless its user has chosen otherwise."""

import os
import shutil
import subprocess
import sys

import pytest
from vicreg_nb import threads
from vicreg_nb.threads import SPINS, brief_waiting, others_running
from vicreg_nb.tools.execute import execute_notebook

OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
EITHER = [[None, SPINS], ["PASSIVE", None]]  # by what else is running
SHOW = f"import os; print([os.environ.get(name) for name in {OWN}])"


@pytest.mark.parametrize(
    ("module", "given", "expected"),
    [
        ("run_all", {}, EITHER),
        ("run_all", {"GOMP_SPINCOUNT": "9"}, [[None, "9"]]),
        ("run_all", {"OMP_WAIT_POLICY": "ACTIVE"}, [["ACTIVE", None]]),
        ("tools.explorer", {}, EITHER),
    ],
)
def test_a_command_and_its_children_wait_briefly_unless_told_otherwise(module, given, expected, root):
    """The setting stands when PyTorch is first asked for, by run_all not in its import; a child has it, too."""
    program = f"""
import subprocess, sys
class Watch:
    def find_spec(self, name, *others):
        if name == "torch":
            {SHOW}
            sys.stdout.flush()
            subprocess.run([sys.executable, "-c", {SHOW!r}])
            sys.exit(imported != ({module!r} == "run_all"))
imported = False
sys.meta_path.insert(0, Watch())
import vicreg_nb.{module}
imported = True
import torch
"""
    environment = {name: value for name, value in os.environ.items() if name not in OWN} | given
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines() in [[str(one)] * 2 for one in expected], done.stderr


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize(("given", "expected"), [({}, EITHER), ({"OMP_WAIT_POLICY": "ACTIVE"}, [["ACTIVE", None]])])
def test_make_lab_starts_jupyter_with_the_same(given, expected, root, tmp_path):
    """A Python that shows its environment in place of starting Jupyter."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || set -- -c "{SHOW}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name not in OWN} | given
    command = ["make", "--silent", "lab", f"PYTHON={python}", "FILTER=true"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.stdout.strip() in [str(one) for one in expected], done.stderr


def test_a_notebooks_kernel_waits_briefly(tmp_path, monkeypatch):
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "own.py").write_text(f"# %%\n{SHOW}\n")
    lines = []
    execute_notebook(tmp_path / "own.py", tmp_path / "own.ipynb", on_line=lines.append)
    assert lines in [[str(one)] for one in EITHER]


@pytest.mark.parametrize(
    ("cores", "others", "busy"), [(2, 0, False), (2, 1, True), (4, 1, False), (4, 2, True), (64, 17, True)]
)
def test_threads_sleep_at_once_where_others_want_the_cores(monkeypatch, cores, others, busy):
    monkeypatch.setattr(threads, "others_running", lambda: others)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert brief_waiting({}) == ({"OMP_WAIT_POLICY": "PASSIVE"} if busy else {"GOMP_SPINCOUNT": SPINS})


def test_this_machine_tells_who_is_running():
    assert others_running() >= 0


@pytest.mark.parametrize(
    ("told", "others"), [("0 0 0 4/99 7", 3), ("", 0), ("0.1 0.2 0.3", 0), ("0.1 0.2 0.3 x/9 7", 0)]
)
def test_others_are_seen_and_a_machine_that_does_not_tell_counts_as_quiet(monkeypatch, told, others):
    monkeypatch.setattr(threads.Path, "read_text", lambda path: told)
    assert others_running() == others
