"""`lab compare` as its users meet it: what may be named, what comes out, and what bad input gets."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
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
        (("runs", "--filter", "params.x = '1'"), "--filter params.x = '1': belongs to --experiment NAME"),
        (("runs/notes.txt",), "runs/notes.txt: holds no run"),
        (("--experiment", "x", "--uri", "http://127.0.0.1:9"), "tracking.uri=http://127.0.0.1:9: does not answer"),
    ],
)
def test_where_nothing_useful_can_be_said_it_is_status_2_and_a_sentence(runs, capfd, words, said):
    Path("empty").mkdir()
    Path("runs/notes.txt").touch()
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


def test_a_metric_that_is_asked_for_twice_is_tested_once(runs, capfd):
    found = json.loads(lab(capfd, "runs", "--metric", "accuracy", "--metric", "accuracy", "--json")[1])
    assert (found["tests"], len(found["differences"])) == (1, 1)


def test_of_unequal_seeds_the_smallest_p_is_what_holm_can_give(runs, capfd):
    """The many may come before the few, whose p is then multiplied by less."""
    folder(runs, "f", ER[:6] + np.linspace(0.01, 0.03, 6), "strategy=cumulative", cell="f")
    found = json.loads(lab(capfd, "runs", "--metric", "accuracy", "--json")[1])
    least = {row["cell"]: row["smallest_p"] for row in found["differences"]}
    assert least == pytest.approx({"er": 2 * 2 / 2**10, "cumulative": 2 / 2**6})
    assert {row["cell"]: row["p_holm"] for row in found["differences"]} == pytest.approx(least)
    assert not any("is possible" in note for note in found["notes"])


def test_links_are_followed_and_a_circle_ends(runs, capfd):
    Path("links").mkdir()
    for name in ("n", "e"):
        Path("links", name).symlink_to((runs / name).resolve())
    Path("links", "again").symlink_to(Path("links").resolve())
    found = json.loads(lab(capfd, "links", "--metric", "accuracy", "--json")[1])
    assert {row["cell"] for row in found["cells"]} == {"naive", "er"}


def test_folders_that_are_called_like_ours_are_looked_into(runs, capfd):
    folder(runs, "studies-2024", ER - 0.2, "strategy=cumulative", cell="s")
    folder(runs, "part-time", ER - 0.1, "strategy=joint", cell="p")
    found = json.loads(lab(capfd, "runs", "--metric", "accuracy", "--json")[1])
    assert {row["cell"] for row in found["cells"]} == {"naive", "er", "cumulative", "joint"}


def test_the_same_seeds_with_other_numbers_are_told(runs, capfd):
    folder(runs, "copy", NAIVE + 0.01, cell="n")
    notes = json.loads(lab(capfd, "runs", "--json")[1])["notes"]
    assert any(note.endswith("too, and taken from there; their numbers differ") for note in notes)


def test_a_cell_that_is_not_in_every_environment_is_told_to_have_no_rank(runs, capfd):
    for name, words, values in (("n2", [], NAIVE), ("e2", ["strategy=er"], ER)):
        folder(runs, name, values, "environment.tasks=4", *words, cell=name, data="d2")
    folder(runs, "c", ER, "strategy=cumulative", cell="c")
    notes = json.loads(lab(capfd, "runs", "--metric", "accuracy", "--json")[1])["notes"]
    assert "cumulative: not in permuted digits x4 · domain, and so without a rank" in notes


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [('"seeds": [0,', '"seeds": ["0",', "whole numbers"), ('"format": 1', '"format": 99', "format 99: of a newer lab"),
     ('"steps": 3', '"steps": Infinity', "Infinity: no number of JSON")],
)  # fmt: skip
def test_what_json_cannot_hold_and_newer_files_are_left_out(runs, capfd, old, new, said):
    text = (runs / "n" / "seeds" / "results.json").read_text()
    assert old in text
    (runs / "odd").mkdir()
    (runs / "odd" / "results.json").write_text(text.replace(old, new))
    left = json.loads(lab(capfd, "runs", "--json")[1])["left_out"]
    assert any("runs/odd/results.json" in line and said in line for line in left)


def test_where_the_terminal_knows_no_middle_dot(runs):
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)}
    code = "import sys; sys.argv[0] = 'lab'; from lab.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "compare", "runs"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert "permuted digits x3 ? domain" in done.stdout
