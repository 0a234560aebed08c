# Generated from nbs/91_execute.py by `make export`. Do not edit: edit the notebook.

"""91 · Running a notebook without a hand on it."""

import contextlib
import logging
import os
import re
import time
from pathlib import Path

import jupytext
import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError


class NotebookError(RuntimeError):
    """A notebook that did not run through; one sentence with its name, the cell and the reason."""


PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}


def load(source: Path, parameters: dict) -> nbformat.NotebookNode:
    """The notebook in a .py (percent format) or .ipynb. Raises NotebookError where it can't take `parameters`."""
    try:
        text = source.read_text(encoding="utf-8")
        notebook = jupytext.reads(text, fmt=PERCENT) if source.suffix == ".py" else nbformat.reads(text, as_version=4)
    except FileNotFoundError:
        raise NotebookError(f"{source} is not there: see nbs/ for the notebooks.") from None
    except (ValueError, AttributeError, nbformat.ValidationError) as error:
        raise NotebookError(f"{source} is not a notebook ({first_line(error)}): repair it.") from None
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    if parameters and not any("parameters" in cell.metadata.get("tags", ()) for cell in notebook.cells):
        names = ", ".join(parameters)
        raise NotebookError(f"{source.name} has no cell tagged `parameters`, so it cannot take {names}: add one.")
    return notebook


def first_line(error) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def failure(source: Path, notebook, number: int, name: str, message: str) -> str:
    """The sentence for an error called `name` in cell `number` of a notebook."""
    title = heading(notebook.cells[:number])
    place = f"{source.name}, cell {number}" + (f" ({title})" if title else "")
    message = re.sub(r"\(\d+\.py, line", "(line", strip_ansi(message).strip())  # a kernel's name for a cell
    return f"{place}: {message}" if name == "UserError" else f"{place}: {name}: {message}".rstrip(": ")


def heading(cells) -> str:
    """The last heading in `cells`."""
    texts = (cell.source for cell in reversed(cells) if cell.cell_type == "markdown")
    lines = (line for text in texts for line in reversed(text.split("\n")) if re.match(r"#+ ", line))
    return next(lines, "").lstrip("# ").strip()


def strip_ansi(text: str) -> str:
    """`text` without the codes that colour it in a terminal."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def execute_notebook(source, output, parameters: dict = None, on_cell=None, cwd=None, on_line=None) -> float:
    """Run a notebook headless; returns the seconds it took.

    source: .py (percent format) or .ipynb. output: the executed .ipynb; its folder is created, and the file is there
    after a failure as well. parameters: replace those in the cell tagged `parameters`. on_cell(done, total): called
    when a code cell has run; text counts too. cwd: the kernel's folder; default: the caller's. on_line(line): called for
    each line that a cell prints, while it runs.
    Raises NotebookError, in one sentence, for the first cell that fails.
    """
    source, output = Path(source), Path(output)
    notebook = load(source, parameters or {})
    progress = Progress(notebook, bool(parameters), on_cell)
    output.parent.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with quiet_log("papermill"), without_variable("MPLBACKEND"):
        try:
            run_cells(notebook, output, parameters or {}, progress, cwd, Lines(on_line) if on_line else None)
        except PapermillExecutionError as error:
            raise NotebookError(failure(source, notebook, progress.number, error.ename, error.evalue)) from None
        except DeadKernelError:
            reason = "the process ended without a word; out of memory, perhaps: choose a smaller profile."
            raise NotebookError(failure(source, notebook, progress.number, "DeadKernelError", reason)) from None
        except NoSuchKernel:
            raise NotebookError(f"{source.name} needs a Jupyter kernel: pip install ipykernel.") from None
    return time.perf_counter() - start


def run_cells(notebook, output: Path, parameters: dict, progress, cwd, printed) -> None:
    """Hand the notebook to papermill, without its bar and banner."""
    papermill.execute_notebook(
        notebook,
        output,
        parameters,
        kernel_name="python3",
        progress_bar=False,
        cwd=cwd,
        on_cell_start=progress.started,
        on_cell_complete=progress.completed,
        stdout_file=printed,
        extra_arguments=["--log-level=50"],
    )


class Progress:
    """Which cell runs, counted in the source notebook, where papermill adds a cell if `injected`."""

    def __init__(self, notebook, injected: bool, on_cell=None):
        tagged = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
        self.added = tagged[0] + 1 if injected else len(notebook.cells)
        self.total = len(notebook.cells)
        self.number = 0
        self.on_cell = on_cell

    def started(self, cell, cell_index: int):
        self.number = cell_index + (cell_index < self.added)

    def completed(self, cell, cell_index: int):
        self.started(cell, cell_index)
        if self.on_cell:
            self.on_cell(self.number, self.total)


@contextlib.contextmanager
def without_variable(name: str):
    """Keep an environment variable from the kernel: under another backend than its own, a notebook shows no figures."""
    value = os.environ.pop(name, None)
    try:
        yield
    finally:
        if value is not None:
            os.environ[name] = value


class Lines:
    """A file that hands each whole line written to it on to `on_line`."""

    def __init__(self, on_line):
        self.on_line, self.begun = on_line, ""

    def write(self, text: str):
        *lines, self.begun = (self.begun + text).split("\n")
        for line in lines:
            self.on_line(line)

    def flush(self):
        """What is begun waits for its end."""


@contextlib.contextmanager
def quiet_log(name: str):
    """Let a library's log say nothing for a while."""
    log = logging.getLogger(name)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
