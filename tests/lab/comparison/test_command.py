"""`lab compare` as its users meet it: what may be named, what comes out, and what bad input gets."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from lab.comparison import command
from lab.results import save
from tests.lab.comparison.material import folder, results

NAIVE = np.linspace(0.5, 0.6, 10)
ER = NAIVE + np.linspace(0.05, 0.15, 10)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A folder ``runs`` with one run of naive and one of er."""
    monkeypatch.chdir(tmp_path)
    folder(Path("runs"), "n", NAIVE, cell="n")
    folder(Path("runs"), "e", ER, "strategy=er", cell="e")
    return Path("runs")


def lab(capfd, *words):
    status = command.main([*words])
    return status, *capfd.readouterr()


def test_json_for_programs(runs, capfd):
    status, out, err = lab(capfd, "runs", "--metric", "accuracy", "--baseline", "naive", "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert (found["baseline"], found["metrics"], found["tests"]) == ("naive", ["accuracy"], 1)
    (row,) = found["differences"]
    assert (row["cell"], row["baseline"], len(row["seeds"])) == ("er", "naive", 10)
    assert row["p"] == pytest.approx(2 / 2**10)
    assert row["difference"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "named", [["runs"], ["runs/*"], ["runs/n/seeds", "runs/e/seeds"], ["runs/n", "runs/e/seeds/results.json"]]
)
def test_runs_are_named_by_folders_above_them_patterns_and_themselves(runs, capfd, named):
    found = json.loads(lab(capfd, *named, "--json")[1])
    assert {row["cell"] for row in found["cells"]} == {"naive", "er"}
    assert found["metrics"] == ["accuracy", "forgetting"]


def test_a_study_gives_its_own_names(runs, capfd, monkeypatch):
    from lab.study import question, running
    from tests.lab.study.test_question import read

    Path("sweeps").mkdir()
    study = read(Path("sweeps"), cells={"plain": ["strategy=naive"], "replay": ["strategy=er"]}, test={
        "kind": "superiority", "better": "replay", "than": "plain"})  # fmt: skip
    monkeypatch.setattr(question, "find", lambda name: study)
    running.home(study, runs).mkdir(parents=True)
    kept = {"plain": ["n/seeds"], "replay": ["e/seeds"]}
    (running.home(study, runs) / running.KEPT).write_text(json.dumps(kept))
    found = json.loads(lab(capfd, "mine", "--baseline", "plain", "--json")[1])
    assert [row["cell"] for row in found["cells"]] == ["plain", "replay", "plain", "replay"]


def test_a_study_that_was_not_run_is_said(runs, capfd):
    from tests.lab.study.test_question import read

    Path("sweeps").mkdir()
    read(Path("sweeps"))
    status, _, err = lab(capfd, "mine")
    assert (status, "mine: has not been run into runs yet; lab study mine runs it" in err) == (2, True)


@pytest.mark.parametrize("form", command.FORMATS)
def test_every_format_names_cells_and_figures(runs, capfd, form):
    status, out, _ = lab(capfd, "runs", "--format", form, "--margin", "0.02")
    assert status == 0
    assert "naive" in out
    assert "er" in out
    assert "0.1" in out


def test_csv_is_a_table(runs, capfd):
    rows = list(csv.DictReader(io.StringIO(lab(capfd, "runs", "--format", "csv")[1])))
    assert {(row["cell"], row["metric"]) for row in rows} >= {("naive", "accuracy"), ("er", "forgetting")}


def test_everything_is_saved_for_the_paper(runs, capfd):
    status, _, err = lab(capfd, "runs", "--save", "paper", "--metric", "accuracy")
    assert status == 0, err
    have = {str(path.relative_to("paper")) for path in Path("paper").rglob("*") if path.is_file()}
    assert {"comparison.tex", "comparison.csv", "comparison.md", "comparison.json", "report.html"} <= have
    assert {"figures/paired_differences-accuracy.svg", "figures/learning_curves.png", "figures/matrices.svg"} <= have


def test_unfinished_corrupt_and_foreign_files_are_left_out_by_name(runs, capfd):
    for name, text in {"torn": '{"config": ', "foreign": '{"rows": [1, 2]}', "list": "[1]", "binary": "\x00\x01"}.items():
        (runs / name).mkdir()
        (runs / name / "results.json").write_text(text)
    (runs / "half").mkdir()
    (runs / "half" / "incomplete").touch()
    status, out, _ = lab(capfd, "runs", "--json")
    assert status == 0
    left = json.loads(out)["left_out"]
    for name in ("torn", "foreign", "list", "binary"):
        assert any(f"runs/{name}/results.json: is not a results file of this lab" in line for line in left), left
    assert any("runs/half: not finished; the command that began it goes on" in line for line in left)


def test_results_whose_parts_do_not_fit_are_no_results(runs, capfd):
    content = json.loads((runs / "n" / "seeds" / "results.json").read_text())
    content["seeds"] = [0, 1]
    (runs / "odd").mkdir()
    (runs / "odd" / "results.json").write_text(json.dumps(content))
    left = json.loads(lab(capfd, "runs", "--json")[1])["left_out"]
    assert any("runs/odd/results.json: is not a results file of this lab (2 seeds, accuracy of shape" in line for line in left)


def test_unequal_seeds_and_diverged_members_are_named_in_every_format(runs, capfd):
    save(
        results(ER[:8], "strategy=er", seeds=[2, 3, 4, 5, 6, 7, 8, 11], diverged=[9, *[None] * 7], cell="e"),
        runs / "e" / "seeds",
    )
    for form in ("text", "markdown", "latex"):
        out = " ".join(lab(capfd, "runs", "--format", form, "--metric", "accuracy")[1].split())
        assert "seed 2 diverged at step 9" in out, form
        assert "seed 11 not run by naive" in out, form
        assert "seeds 0-1, 9 not run by er" in out, form


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name run directories, folders, patterns or a study; or --experiment NAME"),
        (("nowhere",), "nowhere: there is no such folder, no folder of that pattern, and no study of that name"),
        (("empty",), "empty: holds no run (no results.json below it)"),
        (("runs", "--metric", "acuracy"), "--metric acuracy: there is none of that name. Did you mean accuracy?"),
        (("runs", "--metric", "aulc"), "--metric aulc: no run has a value (no curves were recorded; set evaluation.every)"),
        (("runs", "--baseline", "ear"), "--baseline ear: there is no such cell. Did you mean er?"),
        (("runs", "--margin", "0"), "--margin=0.0: expected a number above 0"),
        (("runs", "--alpha", "1"), "--alpha=1.0: expected a number between 0 and .5"),
        (("runs", "--experiment", "x"), "--experiment x: instead of runs, not beside it"),
        (("--experiment", "x"), "there is no store"),
    ],
)
def test_where_nothing_useful_can_be_said_it_is_status_2_and_a_sentence(runs, capfd, words, said):
    Path("empty").mkdir()
    status, out, err = lab(capfd, *words)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_all_files_corrupt(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/results.json").write_text("{")
    status, _, err = lab(capfd, "runs")
    assert (status, "nothing to compare: runs/results.json: is not a results file" in err) == (2, True)


def test_not_comparable_is_refused_and_then_done_when_told(runs, capfd):
    folder(runs, "m", ER, "strategy=er", "batch_size=7", cell="m")
    (runs / "e" / "seeds" / "results.json").unlink()  # er at batch 7 is then alone
    status, _, err = lab(capfd, "runs")
    assert status == 2
    assert "are not comparable: batch_size is" in err
    assert "--varies batch_size" in err
    found = json.loads(lab(capfd, "runs", "--varies", "batch_size", "--json")[1])
    assert [row["cell"] for row in found["differences"]] == ["er", "er"]


def test_streams_may_be_what_is_compared(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(Path("runs"), "n", NAIVE, cell="n")
    folder(Path("runs"), "e", ER, "strategy=er", "environment.tasks=4", cell="e")
    assert lab(capfd, "runs")[0] == 2
    found = json.loads(lab(capfd, "runs", "--varies", "environment", "--json", "--metric", "accuracy")[1])
    assert [row["difference"] for row in found["differences"]] == [pytest.approx(0.1)]
    assert any("environment: differs between cells; pairs of seeds may share little" in note for note in found["notes"])


def test_seeds_that_are_no_repetitions_are_told(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"seed_for.{name}=0" for name in ("stream", "initialisation", "order")]
    folder(Path("runs"), "n", NAIVE, *words, cell="n")
    folder(Path("runs"), "e", ER, "strategy=er", *words, cell="e")
    notes = json.loads(lab(capfd, "runs", "--json")[1])["notes"]
    assert any("are all fixed: the seeds are copies of each other" in note for note in notes)


def test_a_folder_without_runs_is_told_beside_others(runs, capfd):
    Path("empty").mkdir()
    status, _, err = lab(capfd, "runs", "empty")
    assert (status, "empty: holds no run" in err) == (2, True)


def test_where_runs_lie_on_this_machine_is_not_told(runs, capfd):
    save(results(ER[:4], "strategy=er", cell="e"), runs / "n")
    out = lab(capfd, str(runs.resolve()), "--json")[1]
    assert "seeds 0-3 of runs/n are in runs/e/seeds too, and taken from there" in json.loads(out)["notes"]
    assert str(runs.resolve()) not in out


@pytest.mark.parametrize("broken", [{"provenance": None}, {"config": {"strategy": {"er": {}}, "environment": {}}}, {"cost": {}},
                                    {"curves": {"steps": [1], "task": [1], "accuracy": [[[1.0]]]}}])  # fmt: skip
def test_parts_of_a_file_that_are_none_leave_it_out(runs, capfd, broken):
    content = json.loads((runs / "n" / "seeds" / "results.json").read_text()) | broken
    (runs / "odd").mkdir()
    (runs / "odd" / "results.json").write_text(json.dumps(content))
    left = json.loads(lab(capfd, "runs", "--json")[1])["left_out"]
    assert any("runs/odd/results.json: is not a results file of this lab" in line for line in left)


def test_a_single_seed_says_what_it_cannot_say(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder(Path("runs"), "n", NAIVE[:1], cell="n")
    folder(Path("runs"), "e", ER[:1], "strategy=er", cell="e")
    status, out, _ = lab(capfd, "runs", "--metric", "accuracy")
    assert status == 0
    assert "1 seed with both values; a comparison needs two, a small p six" in " ".join(out.split())


def test_runs_come_back_out_of_mlflow(runs, capfd):
    from lab.tracking import publish

    settings = {
        "enabled": True,
        "uri": "sqlite:///store/mlflow.db",
        "experiment": "mine",
        "timeout": 60,
        "system_metrics": False,
    }
    for name in ("n", "e"):
        place = runs / name / "seeds"
        (place / "config.yaml").write_text("{}")
        assert publish(place, settings) is None
    where = ("--experiment", "mine", "--uri", "sqlite:///store/mlflow.db", "--metric", "accuracy", "--json")
    found = json.loads(lab(capfd, *where)[1])
    assert found["differences"][0]["difference"] == pytest.approx(0.1)
    status, out, err = lab(capfd, *where, "--filter", "params.strategy = 'er'")
    assert status == 0, err
    assert {row["cell"] for row in json.loads(out)["cells"]} == {"er"}
    status, _, err = lab(capfd, *where, "--filter", "params.strategy ~ 3")
    assert (status, "--filter params.strategy ~ 3: " in err) == (2, True)
    status, _, err = lab(capfd, "--experiment", "nine", *where[2:])
    assert (status, "--experiment nine: there is none in" in err) == (2, True)
