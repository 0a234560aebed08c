"""Edit, run, save, `make export`, edit, save: through `make lab` and a real browser, as a reader does it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from browser import CHROMIUM, Browser
from vicreg_nb.config import project_root

NOTEBOOK = "80a_threads.ipynb"
# JupyterLab's own notebook panel, when it can be used: it is shown, and its kernel has nothing to do
PANEL = f"""(() => {{
    const panels = [...jupyterapp.shell.widgets('main')].filter(one => one.context?.path == '{NOTEBOOK}');
    const kernel = panels[0]?.sessionContext?.session?.kernel;
    return kernel?.status == 'idle' && panels[0].content.widgets.length ? panels[0] : null;
}})()"""
CELLS = "[..." + PANEL + ".content.widgets].map(cell => cell.model)"


def until(browser, script, seconds=180):
    """The value of a script as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := browser.run(script)):
        assert time.monotonic() < end, f"not within {seconds} s: {script}\n{browser.run('document.body.innerText')}"
        time.sleep(0.2)
    return value


def edit(browser, before: str, after: str):
    """Replace a text in the cell that has it, as by typing."""
    found = f"{CELLS}.map(cell => cell.sharedModel).filter(cell => cell.source.includes({json.dumps(before)}))"
    replaced = f"cell.source.replace({json.dumps(before)}, {json.dumps(after)})"
    assert browser.run(f"{found}.map(cell => cell.setSource({replaced})).length") == 1


def save(browser):
    """What Ctrl+S does; a dialogue that asks anything would keep the command waiting."""
    browser.run(f"{PANEL}.content.activate() ?? 1")
    browser.run("void jupyterapp.commands.execute('docmanager:save')")
    asked = until(browser, f"document.querySelector('.jp-Dialog')?.innerText ?? !{PANEL}.context.model.dirty")
    assert asked is True


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git has of this project, in a folder of its own, as it lies here."""
    folder = tmp_path_factory.mktemp("lab") / "clone"
    names = subprocess.run(["git", "ls-files", "-z"], cwd=project_root(), capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (project_root() / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(project_root() / name, folder / name)
    own = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull}  # whoever signs commits or has hooks does so elsewhere
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"]):
        subprocess.run(["git", *command], cwd=folder, env=own, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def browser(clone, tmp_path_factory):
    """JupyterLab with the notebook open, as `make lab` starts it."""
    pytest.importorskip("jupyterlab", reason="JupyterLab is not installed: make lab does it")
    if not CHROMIUM:
        pytest.skip("no chromium or google-chrome here to open JupyterLab in")
    more = "--no-browser --port=0 --IdentityProvider.token= --allow-root --LabApp.expose_app_in_browser=True"
    command = ["make", "-s", "lab", f"PYTHON={sys.executable}", f"ARGS={more}"]
    own = {"JUPYTER_CONFIG_DIR": str(clone / "jupyter"), "JUPYTER_DATA_DIR": str(clone / "jupyter"), "HOME": str(clone)}
    log = clone.parent / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=clone, env=os.environ | own, stderr=out, stdout=out, start_new_session=True
        )
    try:
        end = time.monotonic() + 120
        while not (found := re.search(r"http://localhost:\d+/", log.read_text())):
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        with Browser(tmp_path_factory.mktemp("chromium")) as one:
            one.call("Emulation.setFocusEmulationEnabled", enabled=True)  # a command asks which panel has the focus
            one.open(f"{found[0]}lab/tree/{NOTEBOOK}", 1280, 800)
            until(one, f"window.jupyterapp && {PANEL} != null")
            yield one
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def test_nothing_is_lost_between_lab_and_export(browser, clone):
    def export():
        done = subprocess.run(
            ["make", "-s", "export", f"PYTHON={sys.executable}"], cwd=clone, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def committed():
        """What a commit of everything would change."""
        subprocess.run(["git", "add", "nbs", "vicreg_nb"], cwd=clone, check=True)
        told = subprocess.run(["git", "diff", "--cached", "--name-only"], cwd=clone, capture_output=True, check=True)
        return told.stdout.decode().split()

    browser.run("jupyterapp.commands.execute('notebook:run-all-cells').then(() => 1)")
    printed = f"{CELLS}.filter(cell => cell.type == 'code' && cell.outputs.length).length"
    outputs = until(browser, f"{PANEL} && {printed}")
    edit(browser, 'SPINS = "20000"', 'SPINS = "30000"')
    save(browser)
    assert "80a_threads.ipynb was edited" in export()
    assert 'SPINS = "30000"' in (clone / "vicreg_nb" / "threads.py").read_text("utf-8")
    assert 'SPINS = "30000"' in (clone / "nbs" / "80a_threads.py").read_text("utf-8")

    edit(browser, 'SPINS = "30000"', 'SPINS = "40000"')  # the page is still open, and the server has seen an export
    save(browser)
    export()
    assert 'SPINS = "40000"' in (clone / "vicreg_nb" / "threads.py").read_text("utf-8")
    saved = json.loads((clone / "nbs" / NOTEBOOK).read_text("utf-8"))
    assert sum(bool(cell.get("outputs")) for cell in saved["cells"]) == outputs > 0
    assert committed() == ["nbs/80a_threads.ipynb", "nbs/80a_threads.py", "vicreg_nb/threads.py"]
    edit(browser, 'SPINS = "40000"', 'SPINS = "20000"')
    save(browser)
    export()
    assert committed() == []  # what was computed stays in the file and out of git
