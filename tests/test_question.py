"""One driver for every question: it computes, draws, records, and says only what its numbers allow."""

import json

import numpy as np
import pytest
import torch
from vicreg_nb import book
from vicreg_nb.book import QUESTIONS, Numbers, Question, all_questions, chapters, read_results
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.plots import METHOD_COLOURS, lines
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
    aside = json.loads((cfg.folder / "results-smoke-shapes-seed0.json").read_text(encoding="utf-8"))
    assert aside["questions"]["Q0"]["numbers"]["seed"] == 0


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"header": 3}', '"x"', '{"header": {}, "x": 1}'])
def test_a_broken_results_file_is_named_and_kept(question, cfg, text):
    path = cfg.folder / "results.json"
    path.write_text(text)
    with pytest.raises(UserError, match="results.json"):
        question.run(cfg)
    assert path.read_text() == text


def test_a_figure_of_a_smoke_run_says_so(question, cfg, monkeypatch):
    seen = []
    monkeypatch.setattr(book, "warning_label", lambda *of: seen.append(of) or "careful")
    question.run(cfg)
    assert len(seen) == 1
    monkeypatch.undo()
    assert "not a result" in book.warning_label(cfg, open_dataset(cfg))


def test_chapters_and_their_questions_are_found_by_their_files(root):
    found = chapters()
    assert list(found) == sorted(found) and found["05_retrieval"] == "retrieval"
    names = list(all_questions())
    assert names[:7] == ["Q1", "Q2", "Q3", "Q4", "Q5", "Q6", "ladder"] and len(names) == 14
