"""What this project starts has threads that wait briefly, unless its user has chosen otherwise."""

import os
import subprocess
import sys

import pytest
from vicreg_nb.threads import SPINS
from vicreg_nb.tools.execute import execute_notebook

OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
SHOW = f"import os; print([os.environ.get(name) for name in {OWN}])"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, [None, SPINS]), ({"GOMP_SPINCOUNT": "9"}, [None, "9"]), ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None])],
)
def test_the_command_and_its_children_wait_briefly_unless_told_otherwise(given, expected, root):
    """The setting stands before PyTorch is there, and a child process has it, too."""
    program = f"""
import subprocess, sys
class Watch:
    def find_spec(self, name, *others):
        if name == "torch":
            {SHOW}
sys.meta_path.insert(0, Watch())
import vicreg_nb.run_all
assert "torch" not in sys.modules
import torch
subprocess.run([sys.executable, "-c", {SHOW!r}])
"""
    environment = {name: value for name, value in os.environ.items() if name not in OWN} | given
    done = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == [str(expected)] * 2, done.stderr


def test_a_notebooks_kernel_waits_briefly(tmp_path, monkeypatch):
    for name in OWN:
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "own.py").write_text(f"# %%\n{SHOW}\n")
    lines = []
    execute_notebook(tmp_path / "own.py", tmp_path / "own.ipynb", on_line=lines.append)
    assert lines == [str([None, SPINS])]
