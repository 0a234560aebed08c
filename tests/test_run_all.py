"""The command that runs the book: what it chooses, what it keeps, where it stops, and that both ways in agree."""

import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import vicreg_nb
from made_run import answers, assert_same, make_run, smoke_book, without_notebooks
from vicreg_nb import book, data, run_all
from vicreg_nb.book import QUESTIONS, code_digest
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.run_all import Job, Stage, choose_stages, main, modules_below, parameters, read_change, stages
from vicreg_nb.store import UserError

# ---- a shelf of small chapters, in front of the book's

CHAPTER = """# Generated from nbs/{notebook}.py by `make export`. Do not edit: edit the notebook.
{before}
from vicreg_nb.book import Question

q = Question("{name}", "A title", "a place"{more})

class Drawn:
    def save(self, path, warning):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(f"{{path.name}}.png").write_bytes(b"")

@q.result
def compute(cfg, images):
    print("computes {name}")
    {body}
    return {{"mu": cfg.mu, "images": len(images.train_labels)}}

@q.figure("A caption.")
def figure_{name}(result):
    return Drawn()

q.summary(dict)
q.says("mu is {{mu}}")
"""


class Shelf:
    """A package of chapters of our own, and `main` as its user calls it."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys
        self.package = folder / "package"
        self.package.mkdir()

    def write(self, notebook, name, before="", body="", more=""):
        """A chapter with one question; without a name, with none."""
        text = f"# Generated from nbs/{notebook}.py by `make export`.\n{before}\n"
        if name:
            text = CHAPTER.format(notebook=notebook, name=name, before=before, body=body, more=more)
        self.write_text(notebook.split("_")[1], text)

    def write_text(self, module, text):
        (self.package / f"{module}.py").write_text(text)
        sys.modules.pop(f"vicreg_nb.{module}", None)
        importlib.invalidate_caches()

    def call(self, *arguments):
        """(exit status, what was computed, standard output, standard error)"""
        status = main(["--profile", "smoke", "--out", str(self.folder / "out"), *arguments])
        out, error = self.capsys.readouterr()
        return status, re.findall(r"^computes (\w+)$", out, flags=re.M), out, error

    @property
    def results(self):
        """Of the run to which the folder belongs."""
        return json.loads((self.folder / "out" / "results.json").read_text())

    def results_with(self, own=None, **changes):
        """Of a run in a folder of its own."""
        cfg = make_config("smoke", out=str(self.folder / "out"), **changes)
        return book.read_results(cfg, open_dataset(cfg), own)


@pytest.fixture
def package(tmp_path, monkeypatch, capsys):
    """An empty shelf; the book's own modules are found behind it, its chapters are no stages."""
    made = Shelf(tmp_path, capsys)
    places = [str(made.package), *vicreg_nb.__path__]
    monkeypatch.setattr(vicreg_nb, "__path__", places)
    monkeypatch.setattr(vicreg_nb.__spec__, "submodule_search_locations", places)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(run_all, "publish", lambda folder, dataset: None)
    known, modules = dict(QUESTIONS), set(sys.modules)
    yield made
    QUESTIONS.clear()
    QUESTIONS.update(known)
    for name in set(sys.modules) - modules:
        if name.startswith("vicreg_nb."):
            del sys.modules[name]


@pytest.fixture
def shelf(package):
    """Three chapters: the second stands on the first and has no question, the third stands on the second."""
    package.write("01_one", "Q1")
    package.write("02_two", "", before="import vicreg_nb.one as below")
    package.write("03_three", "Q3", before="from . import two")
    return package


# ---- which stages


def test_a_stage_is_a_notebook_that_is_exported(root):
    exported = {
        named[1]: path.stem
        for path in sorted((root / "nbs").glob("0*.py"))
        if (named := re.search(r"^#\| default_exp (\S+)", path.read_text(encoding="utf-8"), flags=re.M))
    }
    expected = [(notebook, module) for module, notebook in exported.items() if module != "run_all"]
    assert [(stage.notebook, stage.module) for stage in stages()] == expected


def test_a_new_chapter_takes_its_place_by_being_exported(shelf):
    assert stages()[0] == Stage("01_one", "one", ("Q1",)) and len(stages()) == 3
    shelf.write("09_mine", "mine")
    shelf.write("80_mystore", "")
    shelf.write("02a_between", "between")
    assert [stage.module for stage in stages()] == ["one", "two", "between", "three", "mine"]
    assert shelf.call("--only", "mine")[:2] == (0, ["mine"])


@pytest.mark.parametrize(
    "name", ["01a_training", "01a", "training", "01a_training.ipynb", "01a_training.py", "01A", "Training"]
)
def test_a_stage_goes_by_many_names(name):
    assert [stage.module for stage in choose_stages([name])] == ["training"]


def test_stages_come_in_the_books_order_and_once(shelf):
    def found(*arguments):
        return [stage.module for stage in choose_stages(*arguments)]

    assert found() == found([]) == ["one", "two", "three"]
    assert found(["Q3", "three", "01", "q1"]) == ["one", "three"]
    assert found([], "02") == ["two", "three"] and found([], "Q3") == ["three"]


@pytest.mark.parametrize("name", ["Q99", "", "1", "00c", "08_run_all", "80_store"])
def test_an_unknown_stage_is_one_sentence(name, capsys):
    with pytest.raises(UserError, match=f"'{name}'.*00_config.*07_clustering"):
        choose_stages([name])
    assert main(["--only", name]) == 1
    out, said = capsys.readouterr()
    assert out == "" and f"'{name}'" in said and len(said.strip().splitlines()) == 1


# ---- settings


@pytest.mark.parametrize("text, value", [
    ("lr=1e-3", 1e-3), ("epochs=3", 3), ("compile=True", True), ("schedule=onecycle", "onecycle"), ("out=/a=b", "/a=b"),
    ("mu=None", None),
])  # fmt: skip
def test_a_change_is_read_as_python_would(text, value):
    name, read = read_change(text)
    assert name == text.split("=")[0] and read == value and type(read) is type(value)


@pytest.mark.parametrize("wrong", ["lr", "lr=", "=3", "=", ""])
def test_a_change_without_name_or_value_is_refused(wrong):
    with pytest.raises(UserError, match=f"'{wrong}'"):
        read_change(wrong)


@pytest.mark.parametrize("arguments, words", [
    (["--set", "learning_rate=1"], ["'learning_rate'"]),
    (["--set", "epoch=1"], ["'epoch'", "'epochs'"]),
    (["--set", "mu=-1"], ["mu", "-1"]),
    (["--set", "mu=abc"], ["mu", "'abc'", "float"]),
    (["--set", "epochs=1.5"], ["epochs", "1.5", "int"]),
    (["--set", "lr"], ["'lr'"]),
    (["--set", "profile=tiny"], ["profile", "'tiny'", "smoke"]),
    (["--set", "components=383"], ["components", "383"]),
    (["--profile", "slow"], ["profile", "'slow'", "smoke"]),
    (["--dataset", "imagenet"], ["dataset", "'imagenet'", "shapes"]),
    (["--device", "tpu"], ["device", "'tpu'"]),
    (["--seed", "-1"], ["seed", "-1"]),
])  # fmt: skip
def test_a_wrong_setting_is_one_sentence(arguments, words, capsys, tmp_path):
    assert main(["--profile", "smoke", "--out", str(tmp_path / "none"), *arguments]) == 1
    out, error = capsys.readouterr()
    assert out == "" and all(word in error for word in words) and len(error.strip().splitlines()) == 1
    assert not (tmp_path / "none").exists()


def test_a_weight_that_would_mean_two_things_is_refused(shelf):
    shelf.write("04_four", "Q4", more=', defaults={"mu": 0.0}')
    status, ran, out, error = shelf.call("--set", "mu=5")
    assert (status, ran, out) == (1, [], "") and "mu" in error and len(error.strip().splitlines()) == 1
    assert shelf.call("--set", "mu=5", "--only", "Q4")[:2] == (0, ["Q4"])
    assert shelf.call("--set", "mu=5", "--only", "Q1")[:2] == (0, ["Q1"])
    assert shelf.call("--set", "lr=5e-3")[0] == 0


def test_a_wrong_setting_typed_in_a_terminal_shows_no_traceback(root):
    command = [sys.executable, "-m", "vicreg_nb.run_all", "--profile", "smoke", "--set", "epoch=1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert "'epoch'" in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_only_and_from_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "02", "--from", "03"])
    assert "--only" in capsys.readouterr().err


def test_a_notebook_is_given_what_makes_the_same_configuration(tmp_path):
    cfg = make_config("smoke", seed=3, device="cpu", out=str(tmp_path), mu=2.0, epochs=5)
    given = parameters(Job(cfg, None))
    where = {"profile": "smoke", "dataset": "shapes", "seed": 3, "device": "cpu", "out": str(tmp_path)}
    assert given == where | {"mu": 2.0, "epochs": 5} and make_config(**given) == cfg
    assert parameters(Job(cfg, None, ("mu", "nu"))) == given | {"nu": 1.0}  # given by hand, though it is the profile's


@pytest.mark.parametrize("folder", ["a file", "a file/below"])
def test_a_folder_that_cannot_be_is_one_sentence(shelf, folder):
    (shelf.folder / "a file").write_text("")
    status, _, _, error = shelf.call("--out", str(shelf.folder / folder))
    assert status == 1 and len(error.strip().splitlines()) == 1


# ---- what a stage builds on


def test_every_form_of_import_is_found_and_followed(package):
    (package.folder / "start.py").write_text(
        "import os, vicreg_nb.a, numpy.linalg as l\nimport vicreg_nb.b as y\nfrom vicreg_nb import c, nothing\n"
        "def late():\n    if True:\n        from vicreg_nb.d import e\n"
    )
    for module, source in {
        "a": "from . import a1\n", "a1": "from .a2 import (\n    x as y,\n)\n", "a2": "import vicreg_nb.a\n", "b": "",
        "c": "class C:\n    from .c1 import x\n", "c1": "", "d": "from vicreg_nb.tools import t\n", "e": "",
        "x": "", "t": "",
    }.items():  # fmt: skip
        package.write_text(module, source)
    below = [path.stem for path in modules_below(package.folder / "start.py")]
    assert below == ["a", "a1", "a2", "b", "c", "c1", "d"]


def test_what_a_notebook_may_hold_that_is_not_python(package):
    package.write_text("a", "")
    package.write_text("b", "")
    start = package.folder / "start.py"
    start.write_text("%matplotlib inline\nif True:\n    !pip install x\nfrom vicreg_nb.a import y\n")
    assert [path.stem for path in modules_below(start)] == ["a"]
    start.write_text("from vicreg_nb.a import (\n")  # will fail when it is run; until then, anything may matter
    assert [path.stem for path in modules_below(start)] == ["a", "b"]


def test_what_the_books_stages_build_on():
    for stage in stages():
        below = {path.stem for path in modules_below(book.package_folder() / f"{stage.module}.py")}
        assert "run_all" not in below and (stage.module == "config" or "store" in below), stage
        assert "views" in below or stage.module in ("config", "data", "views", "vicreg"), stage


# ---- running


def test_what_is_done_is_not_done_again(shelf):
    status, ran, out, error = shelf.call()
    assert (status, ran, error) == (0, ["Q1", "Q3"], "") and "done before" not in out
    assert list(shelf.results["questions"]) == ["Q1", "Q3"]
    assert list(shelf.results["stages"]) == ["01_one", "02_two", "03_three"]
    before = shelf.results
    status, ran, out, error = shelf.call()
    assert (status, ran) == (0, []) and out.count("done before") == 3 and shelf.results == before
    assert shelf.call("--again")[1] == ["Q1", "Q3"]
    assert shelf.call("--only", "03")[1] == ["Q3"]
    assert shelf.call("--from", "02")[1] == []


def test_a_changed_source_is_run_again_and_so_is_all_that_builds_on_it(shelf):
    shelf.call()
    shelf.write("03_three", "Q3", before="from . import two", body="1")
    assert shelf.call()[1] == ["Q3"]
    shelf.write("01_one", "Q1", body="1")
    assert shelf.call()[1] == ["Q1", "Q3"]  # three imports two, which imports one
    shelf.write("01_one", "Q1", before="# Other prose.", body="1")
    assert shelf.call()[1] == ["Q1"]  # its own text; what builds on it sees the same code


def test_a_source_that_is_edited_while_it_runs_is_run_again(shelf):
    edit = "from pathlib import Path; Path(__file__).write_text(Path(__file__).read_text() + '# edited')"
    shelf.write("03_three", "Q3", body=edit)
    assert shelf.call("--only", "Q3")[:2] == (0, ["Q3"])
    assert [line.split()[0] for line in shelf.call("--list", "--only", "Q3")[2].splitlines()] == ["to"]


def test_changed_settings_are_run_again(shelf):
    shelf.call()
    assert shelf.call("--set", "mu=3")[1] == ["Q1", "Q3"]
    assert shelf.results_with(mu=3.0)["questions"]["Q1"]["settings"] == {"mu": 3.0}
    assert shelf.call("--set", "mu=3", "--device", "cpu")[1] == []  # where it runs is no setting of the result
    assert shelf.call("--set", "mu=3", "--seed", "1")[1] == ["Q1", "Q3"]
    assert shelf.results["questions"]["Q1"]["settings"] == {} and shelf.call()[1] == []  # the first is as it was
    assert shelf.call("--seed", "1")[1] == ["Q1", "Q3"] and shelf.call("--set", "mu=3")[1] == []


def test_several_seeds_are_run_one_after_the_other_and_resumed(shelf):
    assert shelf.call("--seeds", "0", "2", "0")[:2] == (0, ["Q1", "Q3"] * 2)
    assert shelf.results["header"]["seed"] == 0 and shelf.results_with(seed=2)["questions"].keys() == {"Q1", "Q3"}
    assert shelf.call("--seeds", "0", "2", "1")[1] == ["Q1", "Q3"]
    assert not (shelf.folder / "out" / "results").exists()  # smoke runs are no results to take means of


def test_whole_runs_of_a_profile_keep_their_numbers_and_the_first_seed_is_shown(shelf, monkeypatch):
    monkeypatch.setattr(run_all, "doubts", lambda cfg, images, own=None: "")
    shelf.call("--seeds", "0", "1", "--only", "Q1")
    assert not list(shelf.folder.rglob("*-seed*.json"))  # not whole
    shelf.call("--seeds", "0", "1")
    kept = book.kept_numbers(shelf.folder / "out")
    assert [one["header"]["seed"] for one in kept] == [0, 1] and shelf.results["header"]["seed"] == 0
    for one, whole in zip(kept, (shelf.results, shelf.results_with(seed=1)), strict=True):
        assert one["questions"]["Q3"]["numbers"] == whole["questions"]["Q3"]["numbers"]


def test_other_images_are_run_again(shelf, monkeypatch):
    shelf.call()
    found = open_dataset(make_config("smoke"))
    other = type(found)(**vars(found) | {"identity": "another"})
    monkeypatch.setattr(data, "open_dataset", lambda cfg: other)
    assert shelf.call()[1] == ["Q1", "Q3"]


def test_a_lost_figure_is_made_again(shelf):
    shelf.call()
    (shelf.folder / "out" / "figures" / "figure_Q3.png").unlink()
    assert shelf.call()[1] == ["Q3"]


def test_the_results_are_of_the_present_code_once_every_stage_is(shelf):
    shelf.call()
    old = code_digest()
    assert shelf.results["header"]["code"] == old
    shelf.write("03_three", "Q3", before="from . import two", body="1")
    shelf.call("--only", "Q1")
    assert shelf.results["header"]["code"] == old  # three is still of the old code
    shelf.call()
    assert shelf.results["header"]["code"] == code_digest() != old


def test_an_answer_that_something_else_has_replaced_is_given_again(shelf):
    """As where an edited notebook is run in Jupyter."""
    shelf.call()
    own = shelf.results["questions"]["Q1"]
    QUESTIONS["Q1"].run(make_config("smoke", out=str(shelf.folder / "out")), {"mu": 25.0, "images": -1})
    assert shelf.results["questions"]["Q1"] != own
    assert shelf.call()[1] == ["Q1"] and shelf.results["questions"]["Q1"] == own
    assert shelf.call()[1] == []


def test_results_from_before_stages_noted_their_answers_are_done(shelf):
    shelf.call()
    results = shelf.results
    for stage in results["stages"].values():
        del stage["answers"]
    (shelf.folder / "out" / "results.json").write_text(json.dumps(results))
    assert shelf.call()[1] == []


def test_answers_of_several_codes_in_one_folder_are_told(shelf):
    _, _, out, _ = shelf.call()
    assert not book.mixture(shelf.results)
    shelf.write("02_two", "", before="import vicreg_nb.one as below\nx = 1")
    _, _, out, _ = shelf.call("--only", "Q1")  # Q3 builds on two, and is to do
    assert book.mixture(shelf.results) in out.splitlines()
    assert all(name in book.mixture(shelf.results) for name in ("Q1", "Q3"))
    before = shelf.results["questions"]
    shelf.write("02_two", "", before="import vicreg_nb.one as below")
    _, ran, out, _ = shelf.call()  # by what it builds on, Q1's answer is of the code that is there again
    assert ran == [] and not book.mixture(shelf.results) and "versions" not in out
    assert shelf.results["questions"]["Q1"] | {"code": ""} == before["Q1"] | {"code": ""}


def test_a_whole_run_in_two_folders_is_finished(shelf):
    """A value given by hand is the profile's own, but not Q4's."""
    shelf.call("--only", "Q1", "--set", "mu=25")
    shelf.write("04_four", "Q4", more=', defaults={"mu": 0.0}')
    for stage in ("Q4", "02", "Q3"):
        assert shelf.call("--only", stage, "--set", "mu=25")[0] == 0
    assert shelf.results["header"]["code"] == code_digest() and "Q4" not in shelf.results["questions"]


@pytest.mark.parametrize("before", [{"seconds": 1e6, "cpu_seconds": 7.0, "load": 3.0}, {"seconds": 1e6}])
def test_what_a_stage_cost_is_that_of_its_longest_run(shelf, before):
    """All of it, or as much as an older file tells."""
    shelf.write("03_three", "Q3", body="sum(range(3_000_000))")
    shelf.call()
    results = shelf.results
    cost = results["stages"]["03_three"]
    assert cost["cpu_seconds"] > 0 and ("load" in cost) == hasattr(os, "getloadavg")
    for seconds, kept in ((1e6, True), (0, False)):
        results["stages"]["03_three"] = before | {"seconds": seconds}
        (shelf.folder / "out" / "results.json").write_text(json.dumps(results))
        shelf.call("--only", "Q3")
        noted = shelf.results["stages"]["03_three"]
        costs = {part: noted[part] for part in noted if part not in ("key", "answers")}
        assert (costs == before) == kept and (kept or costs.keys() == cost.keys() - {"key", "answers"})


def test_list_tells_where_it_stands_and_touches_nothing(shelf):
    def files():
        return {path: path.read_bytes() for path in shelf.folder.rglob("*") if path.is_file()}

    def listed(*arguments):
        before = files()
        status, ran, out, error = shelf.call("--list", *arguments)
        assert (status, ran, error) == (0, [], "") and before == files()
        return [line.split("  ")[0].strip() for line in out.splitlines()]

    assert listed() == ["to do"] * 3
    shelf.call("--only", "01")
    assert listed() == ["done", "to do", "to do"]
    shelf.call()
    assert listed() == ["done"] * 3 and listed("--only", "Q3") == ["done"]
    assert listed("--seed", "7") == ["to do"] * 3  # and does not set aside the other run's results
    assert listed("--set", "mu=3") == ["to do"] * 3


def test_a_questions_own_values_hold_unless_they_are_given(shelf):
    """As a notebook's own parameters do; a value that is given counts even where it is the profile's."""
    shelf.write("04_four", "Q4", more=', defaults={"mu": 0.0}')
    for given, expected in {(): 0.0, ("mu=1",): 1.0, ("mu=25",): 25.0, ("lr=1e-2",): 0.0, ("mu=None",): 0.0}.items():
        arguments = [word for change in given for word in ("--set", change)]
        assert shelf.call("--only", "Q4", *arguments)[0] == 0
        changed = {name: float(value) for name, _, value in (text.partition("=") for text in given) if value != "None"}
        entry = shelf.results_with({"mu": 0.0}, **{"mu": 0.0} | changed)["questions"]["Q4"]
        assert entry["numbers"]["mu"] == expected and entry["answer"] == f"mu is {expected}"
    assert "done" in shelf.call("--list", "--only", "Q4")[2]  # 0 and 25 are not the same result: both are kept
    assert "done" in shelf.call("--list", "--only", "Q4", "--set", "mu=25")[2]


@pytest.mark.parametrize("own, mu, count", [("", 25.0, 1), (', defaults={"mu": 2.0}', 2.0, 2)])
def test_questions_that_share_a_result_compute_it_once(shelf, own, mu, count):
    """Unless they ask for it with other values."""
    one = CHAPTER.format(notebook="01_one", name="Q1", before="", body="", more="")
    shelf.write_text(
        "one", f'{one}\nr = Question("Q2", "A title", "a place"{own})\nr.result(compute)\nr.summary(dict)\n'
    )
    assert shelf.call("--only", "01")[:2] == (0, ["Q1"] * count)
    assert [shelf.results["questions"][name]["numbers"]["mu"] for name in ("Q1", "Q2")] == [25.0, mu]


TRAINS = """
    from vicreg_nb.identity import cached
    from vicreg_nb.training import train
    train(cfg, images)
    cached(cfg.cache, "kept", [1], lambda: print("computes kept") or {"x": 1})
"""


def test_all_is_trained_and_computed_anew_where_that_is_asked_for(shelf):
    shelf.write("01_one", "Q1", body=TRAINS)
    shelf.write("03_three", "Q3", body=TRAINS)

    def call(*arguments):
        _, ran, out, _ = shelf.call("--set", "epochs=1", *arguments)
        return ran, len(re.findall(r"^training vicreg: ", out, flags=re.M))

    assert call() == (["Q1", "kept", "Q3"], 1)  # both use one training, and one cache
    (first,) = (shelf.folder / "out" / "runs").glob("vicreg-*")
    (first / "mine.txt").write_text("of the first training")
    assert call("--again") == (["Q1", "Q3"], 0)
    assert call("--only", "Q1", "--retrain") == (["Q1", "kept"], 1)
    assert call("--retrain") == (["Q1", "kept", "Q3"], 1)
    assert call() == ([], 0) and call("--again") == (["Q1", "Q3"], 0)
    aside = sorted(first.parent.glob("*.before*"))
    assert [(folder / "mine.txt").exists() for folder in aside] == [True, False]
    assert all((folder / "encoder.pt").is_file() for folder in (first, *aside))
    assert not list(first.parent.glob(".retrain"))


# ---- where it stops


def test_a_failure_stops_the_book_and_names_place_and_error(shelf):
    shelf.write("03_three", "Q3", before="from . import two", body="1 / 0")
    line = (shelf.package / "three.py").read_text().split("1 / 0")[0].count("\n") + 1
    status, ran, out, error = shelf.call()
    assert (status, ran) == (1, ["Q1", "Q3"]) and len(error.strip().splitlines()) == 1
    assert f"three.py, line {line}: ZeroDivisionError" in error
    assert "03_three" not in shelf.results["stages"]
    shelf.write("03_three", "Q3", before="from . import two")
    assert shelf.call()[:2] == (0, ["Q3"])  # goes on where it stopped


@pytest.mark.parametrize("text, words", [
    ("raise UserError('mu is wrong')", ["one", "mu is wrong"]),
    ("from vicreg_nb.store import nothing", ["one", "ImportError", "nothing"]),
])  # fmt: skip
def test_a_failure_of_any_kind_is_one_sentence(shelf, text, words):
    shelf.write("01_one", "Q1", before="from vicreg_nb.store import UserError", body=text)
    status, ran, _, error = shelf.call()
    assert (status, ran) == (1, ["Q1"]) and len(error.strip().splitlines()) == 1
    assert all(word in error for word in words)


def test_an_interrupt_says_how_to_go_on(shelf):
    shelf.write("03_three", "Q3", body="raise KeyboardInterrupt")
    status, ran, _, error = shelf.call()
    assert status == 130 and ran == ["Q1", "Q3"] and len(error.strip().splitlines()) == 1
    assert "01_one" in shelf.results["stages"] and "03_three" not in shelf.results["stages"]


def test_it_says_at_the_end_where_things_are(shelf):
    _, _, out, _ = shelf.call()
    assert str(shelf.folder / "out" / "results.json") in out.splitlines()
    assert not any("report.pdf" in line for line in out.splitlines())  # there is none


# ---- data that cannot be had


@pytest.fixture
def no_data(no_network, tmp_path, monkeypatch):
    """Neither data nor network: every download is refused at once. The empty cache."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return tmp_path / "home"


def test_list_fetches_nothing(shelf, no_data):
    status, _, out, error = shelf.call("--profile", "quick", "--list")
    assert (status, error) == (0, "") and "fetching" not in out and out.count("to do") == 3
    assert shelf.call("--dataset", "cifar10", "--list")[0] == 0
    assert not list(no_data.rglob("*"))


def test_cifar10_that_cannot_be_had_is_one_sentence_with_the_remedies(shelf, no_data):
    status, ran, _, error = shelf.call("--dataset", "cifar10")
    assert (status, ran) == (1, []) and len(error.strip().splitlines()) == 1
    for word in ("cifar10_train.npz", str(no_data), "VICREG_NB_DATA", "shapes"):
        assert word in error


def test_auto_goes_on_with_the_embedded_data_loudly(shelf, no_data):
    status, ran, out, _ = shelf.call("--profile", "quick", "--dataset", "auto", "--set", "precision=fp32")
    assert (status, ran) == (0, ["Q1", "Q3"])
    assert "!!!!!!!!!!" in out and "shapes (5,000" in out
    assert shelf.results["header"]["dataset"] == "shapes" and shelf.results["header"]["profile"] == "quick"


# ---- with notebooks

NOTEBOOK = """# %% [markdown]
# # A stage

# %% tags=["parameters"]
# Parameters
profile: str = "auto"
dataset: str = "auto"
seed: int = 0
device: str = "auto"
out: str = ""
mu: float = 0.0

# %%
from vicreg_nb.book import Question
from vicreg_nb.config import notebook_config

cfg = notebook_config(globals())
q = Question("QUESTION", "A title", "a place")
q.result(lambda cfg, images: {"mu": cfg.mu, "dataset": cfg.dataset})
q.summary(dict)

# %% [markdown]
# ## Its work

# %%
q.run(cfg)
"""


@pytest.fixture
def project(shelf, monkeypatch, root):
    """The shelf with notebooks for its first and third chapter."""
    monkeypatch.chdir(shelf.folder)
    monkeypatch.setenv("PYTHONPATH", str(root))
    (shelf.folder / "settings.ini").write_text("")
    (shelf.folder / "nbs").mkdir()
    for notebook, question in (("01_one", "Q1"), ("03_three", "Q3")):
        (shelf.folder / "nbs" / f"{notebook}.py").write_text(NOTEBOOK.replace("QUESTION", question))
    return shelf


def test_without_papermill_or_notebooks_there_is_no_notebook_to_run(tmp_path, root, monkeypatch):
    stage = choose_stages(["01a"])[0]
    monkeypatch.chdir(root)
    assert run_all.notebook_path(stage) == root / "nbs" / "01a_training.py"
    find = importlib.util.find_spec
    for absent in ("papermill", "jupytext", "ipykernel", "vicreg_nb.tools"):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", lambda name, absent=absent: name != absent and find(name))
            assert run_all.notebook_path(stage) is None
    monkeypatch.chdir(tmp_path)
    assert run_all.notebook_path(stage) == root / "nbs" / "01a_training.py"  # those of the package, from anywhere
    monkeypatch.setattr(run_all, "project_root", lambda: tmp_path)
    assert run_all.notebook_path(stage) is None


def test_notebooks_are_run_with_the_settings_and_a_failure_names_notebook_cell_and_error(project):
    third = project.folder / "nbs" / "03_three.py"
    third.write_text(third.read_text() + "\n# %%\n1 / 0\n")
    status, _, out, error = project.call("--set", "mu=25")  # the profile's own: given all the same
    assert status == 1 and len(error.strip().splitlines()) == 1
    for word in ("03_three.py", "cell 6", "Its work", "ZeroDivisionError"):
        assert word in error
    assert project.results["questions"]["Q1"]["numbers"] == {"mu": 25.0, "dataset": "shapes"}
    assert list(project.results["stages"]) == ["01_one", "02_two"]
    executed = project.folder / "out" / "executed" / "03_three.ipynb"
    assert "ZeroDivisionError" in executed.read_text()
    third.write_text(third.read_text().replace("1 / 0", "1 / 1"))
    status, _, out, _ = project.call("--set", "mu=25")
    assert status == 0 and out.count("done before") == 2 and str(executed.parent) in out


def test_a_notebook_that_does_not_run_its_question_is_one_sentence(project):
    first = project.folder / "nbs" / "01_one.py"
    first.write_text(first.read_text().replace("q.run(cfg)", ""))
    status, _, _, error = project.call("--set", "mu=25")
    assert status == 1 and len(error.strip().splitlines()) == 1 and "01_one has not answered Q1" in error
    assert not project.results["stages"]


def alive(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="it looks for the kernel in /proc")
def test_control_c_in_a_running_notebook_stops_everything_and_says_how_to_go_on(project):
    """We wait for what is printed, for as long as it takes."""
    sleeper = project.folder / "nbs" / "01_one.py"
    sleeper.write_text(
        sleeper.read_text() + '\n# %%\nimport os, time\nprint("training", os.getpid())\ntime.sleep(3600)\n'
    )
    code = f"""
import signal, sys, vicreg_nb
signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite that runs in the background has it ignored
vicreg_nb.__path__.insert(0, {str(project.package)!r})
from vicreg_nb.run_all import main
sys.exit(main(["--profile", "smoke", "--out", "out"]))
"""
    pipes, kernel = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}, None
    with subprocess.Popen([sys.executable, "-c", code], **pipes, start_new_session=True) as command:
        try:
            found = (re.fullmatch(r"\s*training (\d+)\s*", line) for line in command.stdout)
            kernel = next((int(match[1]) for match in found if match), None)
            assert kernel, command.stderr.read()
            os.killpg(command.pid, signal.SIGINT)  # as a terminal does
            _, error = command.communicate()
            assert command.returncode == 130 and len(error.strip().splitlines()) == 1
            assert not alive(kernel)
        finally:
            for kill, process in ((os.killpg, command.pid), (os.kill, kernel)):
                with contextlib.suppress(ProcessLookupError, TypeError):
                    kill(process, signal.SIGKILL)


def test_publishing_needs_something_to_publish_and_the_tools_for_it(tmp_path, monkeypatch, capsys):
    run_all.publish(tmp_path)  # nothing there
    before = sorted(make_run(tmp_path).rglob("*"))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "typst" and find(name))
    run_all.publish(tmp_path)
    assert "typst" in capsys.readouterr().out
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name != "vicreg_nb.tools" and find(name))
    run_all.publish(tmp_path)
    assert capsys.readouterr().out == "" and sorted(tmp_path.rglob("*")) == before


def test_what_is_published_is_made_again_where_something_is_newer(tmp_path, monkeypatch):
    made, now = [], time.time() + 60  # after every file of the package
    tool = SimpleNamespace(build=lambda folder, dataset="": made.append(folder))
    monkeypatch.setattr(run_all.importlib, "import_module", lambda name: tool)
    pages = [make_run(tmp_path) / "report.pdf", tmp_path / "figures" / "index.html"]
    (tmp_path / "executed").mkdir(exist_ok=True)
    for page in (*pages, tmp_path / "executed" / "01_one.ipynb"):
        page.write_text("")
        os.utime(page, (now, now))
    run_all.publish(tmp_path)
    assert made == []
    os.utime(tmp_path / "results.json", (now + 1, now + 1))
    run_all.publish(tmp_path)
    assert made == [tmp_path] * 3
    (tmp_path / "executed" / "01_one.ipynb").unlink()
    run_all.publish(tmp_path)
    assert made == [tmp_path] * 5  # without notebooks no page
    os.utime(tmp_path / "results.json", (now - 1, now - 1))
    pages[0].unlink()
    run_all.publish(tmp_path)
    assert made == [tmp_path] * 7


# ---- both ways in


def test_each_question_is_answered_the_same_as_plain_python(tmp_path_factory, tmp_path):
    smoke, plain = smoke_book(tmp_path_factory), tmp_path / "plain"
    shutil.copytree(smoke / "runs", plain / "runs")
    without_notebooks(plain)
    assert_same(answers(smoke), answers(plain))
    figures = [figure for entry in answers(plain).values() for figure, _ in entry["figures"]]
    assert figures and all((plain / "figures" / f"{figure}.png").is_file() for figure in figures)
    trained = [{path.name for path in (folder / "runs").iterdir()} for folder in (smoke, plain)]
    assert trained[0] == trained[1]
