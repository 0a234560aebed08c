"""results.json and executed notebooks, spoiled: a tool that reads them refuses them in a sentence, or does its work."""

import json
import os
import shutil
from functools import cache
from pathlib import Path

import pytest
from harness import command, damaged, fuzz, strange
from made_run import make_run
from vicreg_nb import book, run_all
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.run_all import Job, Stage
from vicreg_nb.store import UserError
from vicreg_nb.tools import page, readme, report, submission


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A whole made-up run, and a README to be filled."""
    folder = make_run(tmp_path_factory.mktemp("made"), ("Q1", "Q3", "AD2"))
    (folder / "README.md").write_text(f"{readme.BEGIN}\n{readme.END}\n", encoding="utf-8")
    return folder


@pytest.fixture
def results(made):
    """What its results.json holds, as text."""
    return (made / "results.json").read_text(encoding="utf-8")


def spoil(random, text, path):
    """Write a results file with something wrong in it, or put what is no file in its place."""
    kind = random.random()
    if kind < 0.1:
        random.choice([os.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])(path)
    elif kind < 0.2:
        path.write_bytes(damaged(random, text.encode()))
    else:
        tree = json.loads(text)
        for _ in range(random.choice([1, 1, 1, 3])):
            tree = strange(random, tree)
        path.write_text(json.dumps(tree), encoding="utf-8")


def state(path):
    return path.lstat().st_mode, path.read_bytes() if path.is_file() else None


def test_what_reads_results(tmp_path, results, monkeypatch):
    monkeypatch.setattr(submission, "code_digest", cache(book.code_digest))
    monkeypatch.setattr(page, "to_html", lambda text, *_: text)  # pandoc has fuzzers of its own
    monkeypatch.setattr(report, "fitted", lambda pieces, *_: pieces)
    monkeypatch.setattr(report, "read_figure", lambda folder, name: name)
    monkeypatch.setattr(report, "figure_rows", lambda folder, figures: [f"{name}: {words}" for name, words in figures])

    def attempt(random, here):
        spoil(random, results, here / "results.json")
        before = state(here / "results.json")
        cfg = make_config("smoke", out=str(here))
        job = Job(cfg, open_dataset(cfg))
        assert not run_all.is_done(job, Stage("01a_training", "training", ("Q1",)))
        readers = (
            lambda: book.read_file(here / "results.json"),
            lambda: book.results_folder(cfg, job.images),
            lambda: page.results_html(here, report.load_results(here)),
            lambda: report.report_pieces(here, report.load_results(here)),
            lambda: report.typst_source([], report.load_results(here)),
            lambda: readme.runs_markdown([report.load_results(here)]) + readme.picture(report.load_results(here)),
            lambda: readme.published_runs(here),
            lambda: submission.checked_results(here),
        )
        refused = 0
        for read in readers:
            try:
                read()
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 1_500, str(error)[:300]
                refused += 1
        assert state(here / "results.json") == before, "it is changed"
        return refused < 2  # the last refuses each of them: a made-up run has not answered all questions

    fuzz(attempt, 350, 20, tmp_path)


def test_executed_notebooks(tmp_path):
    cell = {"cell_type": "code", "metadata": {"tags": []}, "source": ["x"], "execution_count": 1}
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/markdown": "**Yes.**", "text/html": "<b>"}}
    text = {"cell_type": "markdown", "metadata": {}, "source": "# A title"}
    book = {"cells": [text, cell | {"outputs": [shown]}], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}

    def attempt(random, here):
        (here / "executed").mkdir()
        spoil(random, json.dumps(book), here / "executed" / "01_x.ipynb")
        made = page.whole_book(here)
        json.dumps(made)
        assert "text/html" not in str(made["cells"])

    fuzz(attempt, 100, 20, tmp_path)


def test_commands_on_spoiled_runs(tmp_path, made, results):
    def attempt(random, here):
        shutil.copytree(made, here, dirs_exist_ok=True)
        if random.random() < 0.7:
            (here / "results.json").unlink()
            spoil(random, results, here / "results.json")
        statement = random.choice([os.mkfifo, lambda path: path.write_bytes(damaged(random, b"By hand.\n"))])
        statement(here / "statement")
        words = ["--name", "A Name", "--username", "user", "--tools-statement", str(here / "statement")]
        main, more = random.choice([(report.main, []), (page.main, []), (readme.main, []), (submission.main, words)])
        wrong = [here / "results.json", Path("/dev/null"), Path("~nosuchuser"), "x" * 5_000, "a\x00b"]
        out = here if random.random() < 0.9 else random.choice(wrong)
        status, _, error = command(main, "--out", str(out), *more)
        assert status in (0, 1) and bool(status) == bool(error)
        return not status

    fuzz(attempt, 60, 6, tmp_path)
