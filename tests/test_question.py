"""One driver for every question: it computes, draws, records, and says only what its numbers allow."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from vicreg_nb import book, data
from vicreg_nb.book import QUESTIONS, Numbers, Question, all_questions, chapters, read_results
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import METHOD_COLOURS, Drawing, lines
from vicreg_nb.store import UserError


@pytest.fixture
def question():
    """A question with a result, a figure, a table and three claims."""
    made = Question("Q0", "A question", "nowhere", required=False)
    made.result(lambda cfg, images: {"mean": images.train_images.mean(), "seed": cfg.seed})
    made.summary(
        lambda result: {"mean": np.float32(result["mean"]), "seed": torch.tensor(result["seed"]), "bad": np.nan}
    )
    made.table(lambda n: {"caption": "A table.", "header": ["mean"], "rows": [[f"{n.mean:.0f}"]]})

    @made.figure("A line.")
    def q0_line(result):
        return lines({"": {"mean": ([0, 1], [0, result["mean"]])}}, "x", "y", {"mean": METHOD_COLOURS[0]})

    made.says("The mean is {mean:.0f},\n as it was measured.")
    made.says("**It is dark.**", when=lambda n: n.mean < 1)
    yield made
    del QUESTIONS["Q0"]


@pytest.fixture
def cfg(tmp_path):
    return make_config("smoke", out=str(tmp_path))


def test_a_run_computes_draws_and_records(question, cfg, capsys):
    answer = question.run(cfg)
    entry = json.loads((cfg.folder / "results.json").read_text(encoding="utf-8"))["questions"]["Q0"]
    assert entry["answer"] == answer and "\n" not in answer and "dark" not in answer
    assert "It is dark" in capsys.readouterr().out  # what is not claimed is told
    assert entry["numbers"]["seed"] == 0 and entry["numbers"]["bad"] is None
    assert entry["tables"][0]["rows"] == [[f"{entry['numbers']['mean']:.0f}"]]
    assert entry["figures"] == [["q0_line", "A line."]] and entry["required"] is False
    assert (cfg.figures / "q0_line.png").is_file() and (cfg.figures / "q0_line.html").is_file()


def test_a_run_tells_where_its_results_are_and_what_they_are_not(question, cfg, capsys):
    changed = cfg.replace(mu=3.0)
    for each in (cfg, changed):
        question.run(each)
        images = open_dataset(each)
        last = capsys.readouterr().out.splitlines()[-1]
        assert str(book.results_folder(each, images) / "results.json") in last and book.doubts(each, images) in last
    question.run(cfg, tell=False)
    assert "results.json" not in capsys.readouterr().out


def test_a_result_at_hand_is_not_computed_again(question, cfg):
    question.compute = None
    assert "7" in question.run(cfg, {"mean": 7.0, "seed": 0})


def test_claims_hold_or_are_left_out(question):
    assert "dark" in question.answer({"mean": 0.5}) and "dark" not in question.answer({"mean": 50})


def test_a_claim_about_a_number_that_is_not_there_fails(question):
    question.says("{nothing}")
    with pytest.raises(KeyError, match="nothing"):
        question.answer({"mean": 1})
    with pytest.raises(AttributeError, match="accuracy"):
        Numbers({"mean": 1}).accuracy  # noqa: B018


def test_what_was_changed_and_where_it_comes_from_are_recorded(question, cfg):
    question.run(cfg.replace(mu=3.0))
    results = json.loads((cfg.folder / "results.json").read_text(encoding="utf-8"))
    assert results["questions"]["Q0"]["settings"] == {"mu": 3.0}
    images = open_dataset(cfg)
    counts = {"identity": images.identity, "train_images": 384, "test_images": 160}
    assert results["header"]["data"] == counts and results["header"]["dataset"] == "shapes"
    assert {"profile", "seed", "device", "versions", "commit", "code"} <= set(results["header"])


def test_results_of_another_run_are_set_aside(question, cfg):
    question.run(cfg)
    other = cfg.replace(seed=1)
    question.run(other)
    assert read_results(other, open_dataset(other))["questions"]["Q0"]["numbers"]["seed"] == 1
    assert read_results(cfg, open_dataset(cfg))["questions"]["Q0"]["numbers"]["seed"] == 0


def test_runs_take_turns_in_one_folder_and_none_loses_anything(question, cfg):
    """Seeds, settings and images, again and again: each comes back to its own numbers and figures."""
    images = open_dataset(cfg)
    other = type(images)(**vars(images) | {"identity": "another", "train_images": images.train_images // 2})
    runs = [(cfg, images), (cfg.replace(seed=1), images), (cfg.replace(mu=3.0), images), (cfg, other)]
    found = []
    for each, shown in runs * 2:
        for name in ("Q0", "again"):
            question.name = name
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(data, "open_dataset", lambda cfg, shown=shown: shown)
                question.run(each)
        found.append(book.results_folder(each, shown))
        assert list(read_results(each, shown)["questions"]) == ["Q0", "again"]
    assert found[:4] == found[4:] and len(set(found)) == 4 and found[0] == cfg.folder
    told = [json.loads((folder / "results.json").read_text())["questions"]["Q0"]["numbers"] for folder in found[:4]]
    assert [numbers["seed"] for numbers in told] == [0, 1, 0, 0] and told[3]["mean"] < told[0]["mean"] / 1.5
    assert all((folder / "figures" / "q0_line.png").is_file() for folder in found)


def test_a_questions_own_values_are_no_changed_settings(question, cfg):
    question.defaults = {"mu": 0.0}
    question.run(cfg.replace(mu=0.0))
    assert "Q0" in json.loads((cfg.folder / "results.json").read_text())["questions"]
    question.run(cfg)  # the profile's own mu is another than the question's
    assert len(list(cfg.runs.glob("smoke-shapes-seed0-*"))) == 1


@pytest.mark.parametrize("changed, there", [({}, True), ({"mu": 3.0}, False)])
def test_the_projects_own_folder_takes_no_changed_settings(cfg, tmp_path, monkeypatch, changed, there):
    (tmp_path / "settings.ini").write_text("")
    monkeypatch.chdir(tmp_path)
    images = open_dataset(cfg)
    real = type(images)(**vars(images) | {"name": "cifar10"})
    quick = make_config("quick", **changed)
    assert (book.results_folder(quick, real) == tmp_path) == there
    assert book.results_folder(quick, images).parent == tmp_path / "runs"  # embedded images are never on show


RECORDS = """
import os, sys
from vicreg_nb.book import changing_results
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
cfg = make_config("smoke", out=sys.argv[1])
images = open_dataset(cfg)
print("ready", flush=True)
for number in range(200):
    with changing_results(cfg, images) as results:
        results["stages"][f"theirs {number}"] = {"seconds": number}
with changing_results(cfg, images) as results:
    os._exit(9)
"""


def test_two_processes_that_record_at_once_lose_nothing(cfg):
    """Nor does it stop the other that one dies in the middle."""
    images = open_dataset(cfg)
    with subprocess.Popen([sys.executable, "-c", RECORDS, str(cfg.folder)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for number in range(200):
            with book.changing_results(cfg, images) as results:
                results["stages"][f"ours {number}"] = {"seconds": number}
        assert other.wait() == 9
    with book.changing_results(cfg, images) as results:
        assert set(results["stages"]) == {f"{name} {number}" for name in ("ours", "theirs") for number in range(200)}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"header": 3}', '"x"', '{"header": {}, "x": 1}'])
def test_a_broken_results_file_is_named_and_kept(question, cfg, text):
    path = cfg.folder / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match="results.json"):
        question.run(cfg)
    assert path.read_text() == text


def test_a_figure_of_a_smoke_run_says_so(question, cfg, monkeypatch):
    seen = []
    monkeypatch.setattr(Drawing, "save", lambda drawing, path, label: seen.append(label))
    question.run(cfg.replace(mu=3.0))
    assert len(seen) == 1 and "not a result" in seen[0] and "mu = 3" in seen[0]
    assert "not a result" in book.doubts(cfg, open_dataset(cfg))


def test_chapters_and_their_questions_are_found_by_their_files(root):
    found = chapters()
    assert list(found) == sorted(found) and found["05_retrieval"] == "retrieval"
    names = list(all_questions())
    assert names[:7] == ["Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "ladder"] and len(names) == 14
