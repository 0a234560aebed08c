"""The command that runs the book: what it chooses, what it keeps, where it stops, and what it says."""

import ast
import functools
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest
from vicreg_nb import data, run_all
from vicreg_nb.config import PROFILES, UserError, make_config, record
from vicreg_nb.data import open_dataset
from vicreg_nb.run_all import STAGES, Stage, choose_stages, main, modules_below, parameters, print_places, read_changes

NOTEBOOK = """# %% [markdown]
# # A stage

# %% tags=["parameters"]
# Parameters
profile: str = "auto"
dataset: str = "auto"
seed: int = 0
device: str = "auto"
out: str = ""
mu: float = None

# %%
from vicreg_nb.config import notebook_config, record
from vicreg_nb.data import open_dataset

cfg, images = open_dataset(notebook_config(globals()))

# %% [markdown]
# ## Its work

# %%
record(cfg, "QUESTION", "A title", {"mu": cfg.mu})
"""


def found(names, start=""):
    return [stage.module for stage in choose_stages(names, start)]


# ---- which stages


def test_every_stage_is_a_notebook_that_exports_its_module(root):
    sources = {path.stem: path.read_text() for path in sorted((root / "nbs").glob("0*.py"))}
    assert [stage.notebook for stage in STAGES] == [name for name in sources if name != "08_run_all"]
    for stage in STAGES:
        assert f"#| default_exp {stage.module}\n" in sources[stage.notebook]
        assert "\ndef run(cfg" in sources[stage.notebook] or not stage.questions


@pytest.mark.parametrize(
    "name", ["01a_training", "01a", "training", "Q1", "q1", "01a_training.ipynb", "01a_training.py", "01A"]
)
def test_a_stage_goes_by_many_names(name):
    assert found([name]) == ["training"]


def test_stages_come_in_the_books_order_and_once():
    assert found(["Q7", "02", "Q3", "AD2"]) == ["representations", "retrieval", "anomaly"]
    assert found([]) == [stage.module for stage in STAGES]
    assert found([], "06") == ["anomaly", "clustering"]
    assert found([], "CL3") == ["clustering"]


@pytest.mark.parametrize("name", ["Q9", "", "1", "00c", "08_run_all"])
def test_an_unknown_stage_is_one_sentence(name, capsys):
    with pytest.raises(UserError, match=f"'{name}' is not a stage: choose among 00_config, .*, or a question such as"):
        choose_stages([name])
    assert main(["--only", name]) == 1
    out, said = capsys.readouterr()
    assert out == "" and said.strip().startswith(f"'{name}' is not a stage") and len(said.strip().splitlines()) == 1


# ---- settings


@pytest.mark.parametrize("text, value", [
    ("lr=1e-3", 1e-3), ("epochs=3", 3), ("compile=True", True), ("schedule=onecycle", "onecycle"), ("out=/a=b", "/a=b"), ("mu=None", None),
])  # fmt: skip
def test_changes_are_read_as_python_would(text, value):
    ((name, read),) = read_changes([text]).items()
    assert name == text.split("=")[0] and read == value and type(read) is type(value)


@pytest.mark.parametrize("wrong", ["lr", "lr=", "=3", "=", ""])
def test_a_change_without_name_or_value_is_refused(wrong):
    with pytest.raises(UserError, match=f"^--set takes NAME=VALUE, not '{wrong}'.$"):
        read_changes([wrong])


@pytest.mark.parametrize("arguments, said", [
    (["--set", "learning_rate=1"], "'learning_rate' is not a parameter"),
    (["--set", "epoch=1"], "'epoch' is not a parameter: did you mean 'epochs'"),
    (["--set", "data=1"], "'data' is not a parameter"),
    (["--set", "mu=-1"], "mu is -1.0: give at least 0."),
    (["--set", "mu=abc"], "mu is 'abc' (str): give a value of type float."),
    (["--set", "mu=5"], "--set mu would mean Q1's weight in one notebook and Q4's in another"),
    (["--set", "epochs=1.5"], "epochs is 1.5 (float)"),
    (["--set", "lr"], "--set takes NAME=VALUE, not 'lr'."),
    (["--set", "profile=tiny"], "profile is 'tiny': choose one of auto, smoke"),
    (["--profile", "slow"], "profile is 'slow': choose one of auto, smoke"),
    (["--dataset", "imagenet"], "dataset is 'imagenet': choose one of auto, cifar10, shapes."),
    (["--device", "tpu"], "device is 'tpu'"),
    (["--seed", "-1"], "seed is -1: give at least 0."),
])  # fmt: skip
def test_a_wrong_setting_is_one_sentence(arguments, said, capsys, tmp_path):
    assert main(["--profile", "smoke", "--out", str(tmp_path / "none"), *arguments]) == 1
    out, error = capsys.readouterr()
    assert out == "" and said in error and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_a_wrong_setting_typed_in_a_terminal_shows_no_traceback(root):
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--profile", "smoke", "--set", "epoch=1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "\n'epoch' is not a parameter: did you mean 'epochs'.\n"


def test_only_and_from_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "02", "--from", "03"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_a_notebook_is_given_what_makes_the_same_configuration(tmp_path):
    cfg = make_config("smoke", seed=3, device="cpu", out=str(tmp_path), mu=2.0, epochs=5)
    given = parameters(cfg)
    assert given == {"profile": "smoke", "dataset": "shapes", "seed": 3, "device": "cpu", "out": str(tmp_path), "mu": 2.0, "epochs": 5}
    assert make_config(**given) == cfg


@pytest.mark.parametrize("folder", ["a file", "a file/below"])
def test_a_folder_that_cannot_be_is_one_sentence(tmp_path, capsys, folder):
    (tmp_path / "a file").write_text("")
    assert main(["--profile", "smoke", "--only", "00", "--out", str(tmp_path / folder)]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


# ---- running, with three small modules in place of the book's


class Shelf:
    """Three stages as plain modules, `main` as its user calls it, and what was run."""

    def __init__(self, folder, monkeypatch, capsys):
        self.folder, self.monkeypatch, self.capsys, self.ran = folder, monkeypatch, capsys, []
        (folder / "package").mkdir()
        monkeypatch.setattr(run_all, "STAGES", (Stage("1_one", "one", ("Q1",)), Stage("2_two", "two"), Stage("3_three", "three", ("Q3",))))
        monkeypatch.setattr(run_all, "package_folder", lambda: folder / "package")
        monkeypatch.setattr(run_all, "notebook_path", lambda stage: None)
        monkeypatch.setattr(run_all, "publish", lambda cfg: None)
        monkeypatch.setattr(data, "draw_shapes", functools.cache(data.draw_shapes))
        self.write("one", 'def run(cfg): work(cfg, "Q1")\n')
        self.write("two", "from .one import run\n")
        self.write("three", 'from .two import x\ndef run(cfg): work(cfg, "Q3")\n')

    def write(self, name, text):
        path = self.folder / "package" / f"{name}.py"
        path.write_text(text)
        module = types.ModuleType(name)
        module.work = self.work
        code = "\n" * text.count("\n", 0, text.index("def")) + text[text.index("def") :] if "def" in text else ""
        exec(compile(code, str(path), "exec"), vars(module))
        self.monkeypatch.setitem(sys.modules, f"vicreg_nb.{name}", module)

    def work(self, cfg, question):
        self.ran.append(question)
        cfg, _ = open_dataset(cfg)
        (cfg.figures).mkdir(exist_ok=True, parents=True)
        (cfg.figures / f"{question}.png").write_bytes(b"")
        record(cfg, question, "A title", {"mu": cfg.mu}, figures=[(question, "A caption.")])

    def call(self, *arguments):
        """(exit status, what ran, standard output, standard error)"""
        self.ran.clear()
        status = main(["--profile", "smoke", "--out", str(self.folder / "out"), *arguments])
        return status, list(self.ran), *self.capsys.readouterr()

    @property
    def results(self):
        return json.loads((self.folder / "out" / "results.json").read_text())


@pytest.fixture
def shelf(tmp_path, monkeypatch, capsys):
    return Shelf(tmp_path, monkeypatch, capsys)


def test_what_is_done_is_not_done_again(shelf):
    status, ran, out, error = shelf.call()
    assert (status, ran, error) == (0, ["Q1", "Q3"], "") and "done before" not in out
    assert set(shelf.results["questions"]) == {"Q1", "Q3"} and set(shelf.results["stages"]) == {"1_one", "2_two", "3_three"}
    before = shelf.results
    status, ran, out, error = shelf.call()
    assert (status, ran) == (0, []) and out.count("done before") == 3 and shelf.results == before
    assert shelf.call("--again")[1] == ["Q1", "Q3"]
    assert shelf.call("--only", "3")[1] == ["Q3"]
    assert shelf.call("--from", "2")[1] == []


def test_a_changed_source_is_run_again_and_so_is_all_that_builds_on_it(shelf):
    shelf.call()
    shelf.write("three", 'from .two import x\ndef run(cfg): work(cfg, "Q3") or 1\n')
    assert shelf.call()[1] == ["Q3"]
    shelf.write("one", 'def run(cfg): work(cfg, "Q1") or 1\n')
    assert shelf.call()[1] == ["Q1", "Q3"]  # three imports two, which imports one
    shelf.write("one", '# Generated from other prose.\ndef run(cfg): work(cfg, "Q1") or 1\n')
    assert shelf.call()[1] == ["Q1"]  # its own text; what builds on it sees the same code


def test_changed_settings_are_run_again(shelf):
    shelf.call()
    assert shelf.call("--set", "mu=3")[1] == ["Q1", "Q3"]
    assert shelf.results["questions"]["Q1"]["settings"] == {"mu": 3.0}
    assert shelf.call("--set", "mu=3", "--device", "cpu")[1] == []  # where it runs is no setting of the result
    assert shelf.call("--set", "mu=3", "--seed", "1")[1] == ["Q1", "Q3"]
    assert (shelf.folder / "out" / "results-smoke-shapes-seed0.json").is_file()


def test_a_lost_figure_is_made_again(shelf):
    shelf.call()
    (shelf.folder / "out" / "figures" / "Q3.png").unlink()
    assert shelf.call()[1] == ["Q3"]


def test_the_results_are_of_the_present_code_once_every_stage_is(shelf):
    shelf.call()
    shelf.monkeypatch.setattr(run_all, "code_digest", lambda: "new")
    shelf.monkeypatch.setattr(run_all, "header", lambda cfg: {"code": "new", "commit": "c0ffee", "device": "another"})
    device = shelf.results["header"]["device"]
    shelf.write("three", 'from .two import x\ndef run(cfg): work(cfg, "Q3") or 1\n')
    shelf.call("--only", "1")
    assert shelf.results["header"]["code"] != "new"  # three is still of the old code
    shelf.call()
    head = shelf.results["header"]
    assert (head["code"], head["commit"], head["device"]) == ("new", "c0ffee", device)


def test_list_tells_where_it_stands_and_touches_nothing(shelf):
    def listed(*arguments):
        before = {path: path.read_bytes() for path in shelf.folder.rglob("*") if path.is_file()}
        status, ran, out, error = shelf.call("--list", *arguments)
        assert (status, ran, error) == (0, [], "") and before == {path: path.read_bytes() for path in shelf.folder.rglob("*") if path.is_file()}
        return [line.split("  ")[0].strip() for line in out.splitlines()]

    assert listed() == ["to do"] * 3
    shelf.call("--only", "1")
    assert listed() == ["done", "to do", "to do"]
    shelf.call()
    assert listed() == ["done"] * 3 and listed("--only", "Q3") == ["done"]
    assert listed("--seed", "7") == ["to do"] * 3  # and does not set aside the other run's results
    assert listed("--set", "mu=3") == ["to do"] * 3


def test_a_stage_without_questions_is_run_where_it_can_be(shelf):
    shelf.write("two", 'from .one import x\ndef run(cfg): work(cfg, "views")\n')
    assert shelf.call("--only", "2")[1] == ["views"]


def test_list_fetches_nothing(shelf, no_data):
    status, _, out, error = shelf.call("--profile", "quick", "--list")
    assert (status, error) == (0, "") and "fetching" not in out and out.count("to do") == 3
    assert shelf.call("--dataset", "cifar10", "--list")[0] == 0
    assert not list(no_data.rglob("*"))


def test_a_failure_stops_the_book_and_names_place_and_error(shelf):
    shelf.write("two", "from .one import run\n")
    shelf.write("three", "from .two import x\ndef run(cfg):\n    1 / 0\n")
    status, ran, out, error = shelf.call()
    assert (status, ran, error) == (1, ["Q1"], "\nthree: three.py, line 3: ZeroDivisionError: division by zero\n")
    assert "3_three" not in shelf.results["stages"]
    shelf.write("three", 'from .two import x\ndef run(cfg): work(cfg, "Q3")\n')
    assert shelf.call()[:2] == (0, ["Q3"])  # goes on where it stopped


def test_the_first_failure_is_the_last_stage(shelf):
    shelf.monkeypatch.setattr(sys.modules["vicreg_nb.one"], "run", refuse)
    status, ran, _, error = shelf.call()
    assert (status, ran, error) == (1, [], "\none: mu is wrong: give another.\n")


def refuse(cfg):
    raise UserError("mu is wrong: give another.")


def test_an_interrupt_says_how_to_go_on(shelf):
    def interrupt(cfg):
        raise KeyboardInterrupt

    shelf.monkeypatch.setattr(sys.modules["vicreg_nb.three"], "run", interrupt)
    status, ran, _, error = shelf.call()
    assert (status, ran, error) == (130, ["Q1"], "\nInterrupted: the same command goes on from here.\n")
    assert "1_one" in shelf.results["stages"]


def test_it_says_at_the_end_where_things_are(tmp_path, capsys):
    cfg = make_config("smoke", out=str(tmp_path))
    (tmp_path / "figures").mkdir()
    (tmp_path / "report.pdf").write_bytes(b"")
    print_places(cfg, 61)
    out = capsys.readouterr().out
    assert "Done in 1 min 01 s." in out
    lines = dict(line.split(maxsplit=1) for line in out.splitlines()[2:])
    assert lines == {"figures": str(tmp_path / "figures"), "report": str(tmp_path / "report.pdf")}


# ---- data that cannot be had


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    """Neither data nor network: every download is refused at once. The empty cache."""
    monkeypatch.delenv("VICREG_NB_DATA", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return tmp_path / "home"


def test_cifar10_that_cannot_be_had_is_one_sentence_with_the_remedies(shelf, no_data):
    status, ran, _, error = shelf.call("--dataset", "cifar10")
    assert (status, ran) == (1, []) and len(error.strip().splitlines()) == 1
    for word in ("cifar10_train.npz", str(no_data), "put the file there", "VICREG_NB_DATA", "dataset shapes"):
        assert word in error


def test_auto_goes_on_with_the_embedded_data_loudly(shelf, no_data):
    status, ran, out, _ = shelf.call("--profile", "quick", "--dataset", "auto", "--set", "precision=fp32")
    assert (status, ran) == (0, ["Q1", "Q3"])
    assert "!!!!!!!!!!" in out and "NOT results on CIFAR-10" in out and "shapes (5,000 training images)" in out
    assert shelf.results["header"]["dataset"] == "shapes" and shelf.results["header"]["profile"] == "quick"


# ---- with notebooks


@pytest.fixture
def project(tmp_path, monkeypatch, capsys):
    """A project with two notebooks in place of the book's, run through papermill."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings.ini").write_text("")
    (tmp_path / "nbs").mkdir()
    for name, question in (("1_one", "Q1"), ("2_two", "Q2")):
        (tmp_path / "nbs" / f"{name}.py").write_text(NOTEBOOK.replace("QUESTION", question))
    monkeypatch.setattr(run_all, "STAGES", (Stage("1_one", "training", ("Q1",)), Stage("2_two", "training", ("Q2",))))
    monkeypatch.setattr(run_all, "publish", lambda cfg: None)
    return tmp_path


def test_notebooks_are_executed_with_the_settings_and_a_failure_names_notebook_cell_and_error(project, root, monkeypatch, capsys):
    monkeypatch.setenv("PYTHONPATH", str(root))
    second = project / "nbs" / "2_two.py"
    second.write_text(second.read_text() + "\n# %%\n1 / 0\n")
    arguments = ["--profile", "smoke", "--out", "out", "--set", "mu=3"]
    assert main(arguments) == 1
    out, error = capsys.readouterr()
    assert error == "\n2_two.py, cell 6 (Its work): ZeroDivisionError: division by zero\n"
    results = json.loads((project / "out" / "results.json").read_text())
    assert results["questions"]["Q1"]["numbers"] == {"mu": 3.0} and list(results["stages"]) == ["1_one"]
    assert "ZeroDivisionError" in (project / "out" / "executed" / "2_two.ipynb").read_text()
    second.write_text(second.read_text().replace("1 / 0", "1 / 1"))
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "1_one                     done before" in out and "2_two                     done before" not in out
    assert f"notebooks  {'out/executed'}" in out


def test_control_c_in_a_running_notebook_stops_everything_and_says_how_to_go_on(project, root):
    sleeper = project / "nbs" / "1_one.py"
    sleeper.write_text(sleeper.read_text() + "\n# %%\nimport os, time\nfrom pathlib import Path\nPath('pid').write_text(str(os.getpid()))\ntime.sleep(600)\n")
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a suite that runs in the background would hand down its deafness
    code += "from vicreg_nb import run_all as r; r.STAGES = (r.Stage('1_one', 'training', ('Q1',)),); sys.exit(r.main(['--profile', 'smoke', '--out', 'out']))"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(root)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        waited(lambda: (project / "pid").is_file() and (project / "pid").read_text())
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert error.strip() == "Interrupted: the same command goes on from here."
    waited(lambda: not running(int((project / "pid").read_text())))  # no kernel is left behind


def waited(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_without_papermill_or_notebooks_there_is_no_notebook_to_run(tmp_path, root, monkeypatch):
    stage = choose_stages(["01a"])[0]
    monkeypatch.chdir(root)
    assert run_all.notebook_path(stage) == root / "nbs" / "01a_training.py"
    find = run_all.importlib.util.find_spec
    for absent in ("papermill", "jupytext", "ipykernel", "vicreg_nb.tools"):
        with monkeypatch.context() as patch:
            patch.setattr(run_all.importlib.util, "find_spec", lambda name, absent=absent: None if name == absent else find(name))
            assert run_all.notebook_path(stage) is None
    monkeypatch.chdir(tmp_path)
    assert run_all.notebook_path(stage) is None


def test_what_a_stage_builds_on_is_found(root):
    """Against Python's own parser, followed by hand."""

    def direct(path):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").startswith("vicreg_nb")):
                yield (node.module or "").removeprefix("vicreg_nb.").split(".")[0]

    def followed(path, seen):
        for name in set(direct(path)) - seen - {"tools"}:
            seen.add(name)
            followed(root / "vicreg_nb" / f"{name}.py", seen)
        return seen

    for stage in STAGES:
        for path in (root / "nbs" / f"{stage.notebook}.py", root / "vicreg_nb" / f"{stage.module}.py"):
            assert {module.stem for module in modules_below(path)} == followed(path, set()), path


def test_profiles_say_nothing_that_a_notebook_could_not_take():
    assert {name for profile in PROFILES.values() for name in profile} - set(PROFILES["exercise"]) == {"dataset"}


def test_publishing_needs_something_to_publish_and_the_tools_for_it(tmp_path, monkeypatch, capsys):
    cfg = make_config("smoke", out=str(tmp_path))
    run_all.publish(cfg)  # nothing there
    (tmp_path / "results.json").write_text(json.dumps({"header": {"profile": "smoke", "dataset": "shapes", "seed": 0}, "questions": {"Q1": {}}, "stages": {}}))
    find = run_all.importlib.util.find_spec
    monkeypatch.setattr(run_all.importlib.util, "find_spec", lambda name: None if name == "typst" else find(name))
    run_all.publish(cfg)
    assert capsys.readouterr().out == "no report and no results page, for lack of typst: pip install pypandoc_binary typst\n"
    monkeypatch.setattr(run_all.importlib.util, "find_spec", lambda name: None if name == "vicreg_nb.tools" else find(name))
    run_all.publish(cfg)
    assert capsys.readouterr().out == "" and [path.name for path in tmp_path.iterdir()] == ["results.json"]
