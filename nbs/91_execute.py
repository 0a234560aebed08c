# %% [markdown]
# # 91 · Running a notebook without a hand on it
# How is a notebook run headless, with other hyper-parameters, so that a failure is told in one sentence? papermill
# puts the parameters below the cell tagged `parameters` and runs the cells in order; we tell it what to run, count the
# cells for a progress bar, and turn its errors into sentences that name notebook, cell and reason.

# %%
#| default_exp tools.execute

# %%
#| export
import logging
import os
import re
import time
from pathlib import Path

import nbformat
import papermill
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from vicreg_nb.store import in_a_line
from vicreg_nb.threads import brief_waiting
from vicreg_nb.tools.export import ExportError, exported, ipynb_text, read_cells

logging.getLogger("papermill").addHandler(logging.NullHandler())  # its remarks go to no one who did not ask


# %%
#| export
class NotebookError(RuntimeError):
    """A notebook that did not run through; one sentence with its name, the cell and the reason."""


# %%
import atexit
import shutil
import tempfile

scratch = Path(tempfile.mkdtemp())  # the tests below work in here
atexit.register(shutil.rmtree, scratch)


def refused(function, *arguments) -> str:
    """The sentence with which a call is refused."""
    try:
        return f"not refused: {function(*arguments)}"
    except NotebookError as error:
        return str(error)


# %% [markdown]
# ## What is run
# A percent file is as good as an `.ipynb`; both start without the outputs of earlier runs. Parameters for a notebook
# without a `parameters` cell would be lost without a word, so they are refused.


# %%
#| export
def _load(source, parameters):
    """The notebook in a .py (percent format) or .ipynb. Raises NotebookError where it can't take `parameters`."""
    try:
        cells = read_cells(source)
        exported(cells if source.suffix == ".py" else [])  # tells a fault before any work
    except FileNotFoundError:
        raise NotebookError(f"{source} is not there: see nbs/ for the notebooks.") from None
    except ExportError as error:
        raise NotebookError(f"{source.name}, {error}") from None
    if parameters and not any("parameters" in tags for _, _, tags in cells):
        names = ", ".join(parameters)
        raise NotebookError(f"{source.name} has no cell tagged `parameters`, so it cannot take {names}: add one.")
    return nbformat.reads(ipynb_text(cells), as_version=4)


# %%
example = """% [markdown]
# # A root

% tags=["parameters"]
x: float = 4.0

%
print(x**0.5)

% tags=["skip-execution"]
raise SystemExit

% [markdown]
# ## Its inverse

%
1 / x
"""
(scratch / "root.py").write_text(re.sub("^%", "# %%", example, flags=re.M))
root = _load(scratch / "root.py", {"x": 1})
assert [cell.cell_type for cell in root.cells] == ["markdown", "code", "code", "code", "markdown", "code"]

# %% [markdown]
# ## One sentence for a failure
# papermill reports the error's name and its message. A `UserError` is a sentence already, and its name tells the reader
# nothing. The heading above the cell says more than the cell's number, which counts all cells of the source, from 1.


# %%
#| export
def _failure(source, cells, name, message):
    """The sentence for an error called `name` in the last one of `cells`."""
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    headings = [line.lstrip("# ").strip() for text in texts for line in text.split("\n") if re.match("#+ ", line)]
    place = f"{source.name}, cell {len(cells)}" + (f" ({headings[-1]})" if headings else "")
    message = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", message).strip()  # a terminal's colours
    message = re.sub(r"\(\d+\.py, line", "(line", message)  # a kernel's name for a cell
    return f"{place}: {message if name == 'UserError' else in_a_line(name, message)}"


# %%
path = Path("root.py")
assert _failure(path, root.cells[:3], "ValueError", "\x1b[31mno\x1b[0m") == "root.py, cell 3 (A root): ValueError: no"
assert _failure(path, root.cells, "UserError", "x is 0: give 1.") == "root.py, cell 6 (Its inverse): x is 0: give 1."

# %% [markdown]
# ## Running it
# The kernel is the Python that runs us, whatever another environment has registered under the name `python3`. It starts
# in the caller's folder, as under `papermill` itself. `MPLBACKEND` must not reach it: under another backend than its
# own, a notebook shows no figures. papermill puts the given parameters into a cell of their own, below the one tagged
# `parameters`; whoever looks for cell 7 looks in the source, so we count without it.


# %%
#| export
class _Kernel(AsyncKernelManager):
    kernel_spec = KernelSpec(**get_kernel_dict(), env={"MPLBACKEND": ""})


# %%
#| export
class _Progress:
    """What papermill calls: for each cell, with its index, and, as a file, for the text that a cell prints."""

    def __init__(self, cells, parameters, on_cell, on_line):
        self.number, self.total, self.begun, self.on_cell, self.on_line = 0, len(cells), "", on_cell, on_line
        tagged = [number for number, cell in enumerate(cells, 1) if "parameters" in cell.metadata.get("tags", ())]
        self.added = tagged[0] if parameters else self.total  # the index of papermill's own cell

    def started(self, cell, cell_index):
        self.number = cell_index + (cell_index < self.added)

    def completed(self, cell, cell_index):
        if self.on_cell:
            self.on_cell(self.number, self.total)

    def write(self, text):
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines if self.on_line else ():
            self.on_line(line)

    def flush(self):
        """What is begun waits for its end."""


# %%
seen, lines = [], []
progress = _Progress(root.cells, {"x": 1}, lambda *at: seen.append(at), lines.append)
for index in range(4):  # markdown, parameters, papermill's own, print
    progress.started(None, index)
    progress.completed(None, index)
progress.write("a\nb")
assert seen == [(1, 6), (2, 6), (2, 6), (3, 6)] and lines == ["a"]

# %% [markdown]
# The output file is kept where a cell fails, error and all.


# %%
#| export
def execute_notebook(source, output, parameters: dict = None, on_cell=None, cwd=None, on_line=None) -> float:
    """Run a notebook headless; returns the seconds it took.

    source: .py (percent format) or .ipynb. output: the executed .ipynb, there after a failure as well. parameters:
    replace those in the cell tagged `parameters`. on_cell(done, total): called when a cell has run; text counts too.
    cwd: the kernel's folder; default: the caller's. on_line(line): called for each line that a cell prints.
    Raises NotebookError, in one sentence, for the first cell that fails.
    """
    source, output, notebook, start = Path(source), Path(output), _load(Path(source), parameters), time.perf_counter()
    progress = _Progress(notebook.cells, parameters, on_cell, on_line)
    hooks = {"on_cell_start": progress.started, "on_cell_complete": progress.completed, "stdout_file": progress}
    kernel = {"kernel_name": "python3", "kernel_manager_class": _Kernel, "extra_arguments": ["--log-level=50"]}
    output.parent.mkdir(parents=True, exist_ok=True)
    place = str(output).replace("{", "{{").replace("}", "}}")  # papermill puts parameters into the braces of a path
    os.environ.update(brief_waiting(os.environ))  # the kernel inherits it
    try:
        papermill.execute_notebook(notebook, place, parameters, progress_bar=False, cwd=cwd, **hooks, **kernel)
    except PapermillExecutionError as error:
        raise NotebookError(_failure(source, notebook.cells[: progress.number], error.ename, error.evalue)) from None
    except DeadKernelError:
        raise NotebookError(_failure(source, notebook.cells[: progress.number], "DeadKernelError", "")) from None
    except KeyboardInterrupt:  # the kernel ends as well, and what nbclient's task would say of it is no news
        logging.getLogger("asyncio").setLevel(logging.CRITICAL + 1)
        raise
    return time.perf_counter() - start


# %%
execute_notebook(scratch / "root.py", scratch / "out" / "root.ipynb", {"x": 9.0}, on_line=lines.append)
assert lines == ["a", "3.0"] and "3.0" in (scratch / "out" / "root.ipynb").read_text()
print(refused(execute_notebook, scratch / "root.py", scratch / "out" / "root.ipynb", {"x": 0}))
