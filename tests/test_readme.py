"""The README's results: what is between the markers, and when it is stale."""

import json
import re

import numpy as np
import pytest
from made_run import change, make_run
from scipy import stats
from vicreg_nb.book import keep_numbers
from vicreg_nb.store import UserError
from vicreg_nb.tools.readme import BEGIN, END, main, refresh, results_block, with_block

README = f"# A project\n\nWords.\n\n{BEGIN}\n{END}\n\nMore words.\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "README.md").write_text(README)
    return make_run(tmp_path)


def test_results_are_written_between_the_markers_and_nothing_else_is_touched(project):
    assert refresh(project)
    text = (project / "README.md").read_text()
    before, rest = text.split(BEGIN)
    block, after = rest.split(END)
    assert (before, after) == tuple(README.split(f"{BEGIN}\n{END}"))
    numbers = json.loads((project / "results.json").read_text())["questions"]
    assert f"| VICReg | {numbers['Q3']['numbers']['accuracy']:.1%} |" in block
    for word in ("`exercise`", "CIFAR-10", "seed 0", "a device", "bf16", "PyTorch 2.11.0"):
        assert word in block
    assert not refresh(project) and (project / "README.md").read_text() == text


def test_a_stale_readme_is_told_and_left_alone(project, capsys):
    refresh(project)
    assert not refresh(project, check=True)
    change(project, lambda results: results["questions"]["Q3"]["numbers"].update(accuracy=0.7777))
    before = (project / "README.md").read_bytes()
    with pytest.raises(UserError, match="results are stale.*run `python -m vicreg_nb.tools.readme`"):
        refresh(project, check=True)
    assert main(["--check", "--out", str(project)]) == 1 and "stale" in capsys.readouterr().err
    assert (project / "README.md").read_bytes() == before
    assert main(["--out", str(project)]) == 0 and capsys.readouterr().out == "README.md: results written\n"
    assert "| VICReg | 77.8% |" in (project / "README.md").read_text()
    assert main(["--check", "--out", str(project)]) == 0


@pytest.mark.parametrize("header", [{"profile": "smoke"}, {"dataset": "shapes"}])
def test_a_run_that_is_no_result_is_refused(project, header):
    change(project, lambda results: results["header"].update(header))
    with pytest.raises(UserError, match="CIFAR-10"):
        refresh(project)
    assert (project / "README.md").read_text() == README


def test_without_results_it_says_so(tmp_path):
    (tmp_path / "README.md").write_text(README)
    with pytest.raises(UserError, match="CIFAR-10"):
        refresh(tmp_path)


def keep(project, profile, seed, accuracy):
    """Keep numbers of a whole run that differs from the project's in these."""
    run = json.loads((project / "results.json").read_text())
    run["header"].update(profile=profile, seed=seed)
    run["questions"]["Q3"]["numbers"]["accuracy"] = accuracy
    keep_numbers(project, run)


def test_all_seeds_of_a_profile_make_one_row_with_mean_and_interval(project):
    own = json.loads((project / "results.json").read_text())["questions"]["Q3"]["numbers"]["accuracy"]
    accuracies = [own, 0.61, 0.647]
    for seed, accuracy in enumerate([0.1, *accuracies[1:]]):  # of seed 0 the project's own run is newer
        keep(project, "exercise", seed, accuracy)
    block = results_block(project)
    interval = stats.ttest_1samp(accuracies, 0).confidence_interval(0.95)
    half = (interval.high - interval.low) / 2
    assert f"| VICReg | {np.mean(accuracies):.1%} ± {half:.1%} |" in block
    assert "three seeds" in block and "single run" not in block and block.count("| VICReg |") == 1


def test_a_single_run_has_no_interval_over_seeds_and_says_so(project):
    block = results_block(project)
    assert "A single run" in block and "no interval over seeds" in block and "±" not in block


@pytest.mark.parametrize("accuracy, order", [(0.9, ["quick", "exercise"]), (0.1, ["exercise", "quick"])])
def test_each_profile_has_a_table_the_better_probe_first(project, accuracy, order):
    keep(project, "quick", 1, accuracy)
    keep(project, "smoke", 0, 0.99)
    block = results_block(project)
    assert re.findall(r"\*\*CIFAR-10, profile `(\w+)`", block) == order and block.count("| VICReg |") == 2


def test_runs_on_other_images_or_of_other_code_are_told_apart(project):
    other = json.loads((project / "results.json").read_text())
    other["header"].update(seed=1, code="another")
    keep_numbers(project, other)
    assert "2 versions of the code" in results_block(project)
    other["header"]["data"]["identity"] = "another"
    keep_numbers(project, other)
    assert "A single run" in results_block(project)


def test_a_note_on_the_data_is_shown(project):
    change(project, lambda results: results["header"].update(dataset_note="3 of the 60,000 images are copies."))
    refresh(project)
    assert "3 of the 60,000 images are copies." in (project / "README.md").read_text()


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_markers_must_be_there_once_and_in_order(text):
    with pytest.raises(UserError, match="README.md must hold the line"):
        with_block(text, "block")


def test_a_missing_readme_is_one_sentence(project):
    (project / "README.md").unlink()
    with pytest.raises(UserError, match="README.md is not there"):
        refresh(project)


def test_this_projects_own_readme_is_not_stale(root):
    assert with_block((root / "README.md").read_text(encoding="utf-8"), "")  # the markers are there
    path = root / "results.json"
    if not path.is_file():
        pytest.skip("no results.json here: run the book first")
    if json.loads(path.read_text())["header"]["dataset"] != "cifar10":
        pytest.skip("results.json is not of CIFAR-10")
    assert not refresh(root, check=True)


def test_a_partial_run_tells_its_trainings_time(tmp_path):
    make_run(tmp_path, questions=("Q1", "Q3"))
    change(tmp_path, lambda results: results["questions"]["Q1"]["numbers"].update(seconds=200))
    assert "3 min 20 s" in results_block(tmp_path)
    keep(tmp_path, "quick", 1, 0.5)
    assert results_block(tmp_path).count("3 min 20 s") == 2  # of each profile


def test_a_run_with_its_own_settings_is_kept_beside_and_told_with_them(project, tmp_path):
    other = json.loads((project / "results.json").read_text())
    other["header"].update(settings={"epochs": 10}, seed=3)
    other["questions"] = {"Q3": other["questions"]["Q3"]}
    other["questions"]["Q3"]["numbers"]["accuracy"] = 0.2345
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "results.json").write_text(json.dumps(other))
    assert main(["--out", str(project), "--beside", str(tmp_path / "other")]) == 0
    text = (project / "README.md").read_text()
    assert "23.4%" in text and "with epochs = 10, seed 3" in text and "Q7" in text
    assert [path.name for path in (project / "results").iterdir()] == ["exercise-with-epochs-10-seed3.json"]
    assert results_block(project) in text and text.count("| VICReg |") == 2
    other["header"]["dataset"] = "shapes"
    (tmp_path / "other" / "results.json").write_text(json.dumps(other))
    assert main(["--out", str(project), "--beside", str(tmp_path / "other")]) == 1
