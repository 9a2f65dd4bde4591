"""`lab study` as its users meet it: what is run, looked at, kept and refused. Training is faked but for one test."""

from __future__ import annotations

import json
import re
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import yaml

from lab.results import save
from lab.study import command, question, running
from tests.lab.comparison.material import results
from tests.lab.study.test_question import GOOD


@pytest.fixture
def here(tmp_path, monkeypatch, request):
    """An empty folder of a user's, where training gives what ``here.gain`` says at once."""

    class Here:
        def __init__(self):
            self.gain, self.code = 0.1, "c"
            self.trained: list[tuple[str, list[int]]] = []
            self.broken: dict[str, BaseException] = {}

        def study(self, name="mine", **changed):
            (tmp_path / "sweeps").mkdir(exist_ok=True)
            given = GOOD | {"measure": "accuracy", "common": []} | changed
            (tmp_path / "sweeps" / f"{name}.yaml").write_text(yaml.safe_dump(given, sort_keys=False))

        def record(self, name="mine"):
            return json.loads((tmp_path / "docs" / "results" / f"{name}.json").read_text())

    here = Here()

    def execute(config, table=True):
        (strategy,) = config["strategy"]
        if strategy in here.broken:
            raise here.broken[strategy]
        seeds = config["seeds"]
        cell = f"{strategy}{here.code}{config['optimizer']['lr']}"
        place = Path(config["paths"]["runs"]) / cell / "-".join(map(str, seeds))
        if not (place / "results.json").exists():
            place.mkdir(parents=True)
            here.trained.append((strategy, seeds))
            noise = [np.random.default_rng([seed, len(strategy)]).normal(0, 0.02) for seed in seeds]
            values = 0.7 + np.array(noise) + here.gain * (strategy == "er")
            words = [f"strategy={strategy}", f"optimizer.lr={config['optimizer']['lr']}"]
            save(results(values, *words, seeds=seeds, cell=f"{strategy}{here.code}"), place)
        return place

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lab.run.execute", execute)
    if "reported" not in request.fixturenames:  # seconds of drawing
        monkeypatch.setattr("lab.study.reporting.report", lambda study, kept, runs: running.home(study, runs))
    return here


@pytest.fixture
def reported():
    """For tests that look at the report."""


def lab(capfd, *words):
    status = command.main([*words, *(["tracking=off"] if words and not words[0].startswith("-") else [])])
    return status, *capfd.readouterr()


def test_the_list_says_what_each_study_has_come_to(here, capfd):
    here.study()
    here.study("other")
    assert lab(capfd, "mine")[0] == 0
    out = lab(capfd)[1]
    assert next(line for line in out.splitlines() if line.startswith("mine ")).split(maxsplit=2)[1:] == [
        "supported",
        "er forgets less",
    ]
    rows = {row["name"]: row for row in json.loads(lab(capfd, "--json")[1])}
    assert list(rows["mine"]) == ["name", "family", "claim", "verdict", "seeds", "measured"]
    assert (rows["mine"]["verdict"], rows["mine"]["seeds"]) == ("supported", 10)
    assert (rows["other"]["verdict"], rows["other"]["measured"]) == (None, None)


@pytest.mark.parametrize("words", [("data.dir=there",), ("--extend", "9"), ("--jobs", "2")])
def test_without_a_name_there_is_nothing_to_run(here, capfd, words):
    status = command.main([*words])
    assert (status, "lab study: name the study that is meant" in capfd.readouterr().err) == (2, True)


def test_a_broken_study_does_not_hide_the_others(here, capfd):
    here.study()
    here.study("broken", seeds=0)
    status, out, err = lab(capfd)
    assert status == 0
    assert "mine" in out
    assert "broken.yaml: seeds=0" in err


def test_a_study_is_run_judged_kept_and_reported(here, reported, capfd):
    here.study(measure="forgetting")
    status, out, err = lab(capfd, "mine")
    assert status == 0, err
    assert out.splitlines()[0] == "claim     er forgets less"
    assert "verdict   supported: sign-flip test paired by seed, two-sided level 0.04, 10 seeds (seeds 0-9)" in out
    assert out.splitlines()[-1] == "runs/studies/mine/report.html"
    assert {"report.html", "comparison.tex", "comparison.csv", "figures"} <= {
        p.name for p in Path("runs/studies/mine").iterdir()
    }
    walk = (Path(question.__file__).parents[2] / "docs" / "studies.md").read_text()
    (named,) = re.findall(r"\{(figures/[^}]*)\}", walk)
    assert (Path("runs/studies/mine") / named).exists()  # what the walk takes into the paper
    (look,) = here.record()["looks"]
    assert (look["kind"], look["verdict"], look["level"], look["seeds"]) == ("declared", "supported", 0.04, list(range(10)))


def test_finished_cells_are_skipped_and_the_same_look_is_not_counted_again(here, capfd):
    here.study()
    lab(capfd, "mine")
    before = list(here.trained)
    assert lab(capfd, "mine")[0] == 0
    assert here.trained == before == [("naive", list(range(10))), ("er", list(range(10)))]
    assert len(here.record()["looks"]) == 1


def test_how_many_seeds_are_trained_together_is_for_the_command_to_say(here, capfd):
    here.study(at_once=5)
    assert lab(capfd, "mine", "--at-once", "10")[0] == 0
    assert [seeds for _, seeds in here.trained] == [list(range(10))] * 2
    assert here.record()["command"] == "lab study mine --at-once 10"


def test_on_an_accelerator_one_process_has_all_of_a_cells_seeds(here, monkeypatch):
    monkeypatch.setattr("lab.workers.cores", lambda: 64)
    here.study()
    study = question.find("mine")
    assert (running._jobs(study, 5, "cuda"), running._processes(5, 4, "cuda")) == (1, 1)


def test_an_interrupted_study_goes_on_where_it_was(here, capfd):
    here.study()
    here.broken["er"] = KeyboardInterrupt()
    status, out, err = lab(capfd, "mine")
    assert (status, out) == (1, "")
    assert "interrupted" in err
    here.broken.clear()
    assert lab(capfd, "mine")[0] == 0
    assert [strategy for strategy, _ in here.trained] == ["naive", "er"]


def test_a_cell_that_fails_leaves_the_others_run_and_no_verdict(here, capfd):
    from lab.errors import UserError

    here.study()
    here.broken["naive"] = UserError("data.dir=nowhere: there is no such folder")
    status, out, err = lab(capfd, "mine")
    assert (status, out) == (1, "")
    assert "data.dir=nowhere" in err
    assert "mine: naive could not be run; the same command goes on from there" in err
    assert here.trained == [("er", list(range(10)))]
    assert not Path("docs").exists()


def test_other_numbers_of_other_code_are_a_look_that_nobody_declared(here, capfd):
    here.gain = 0.3
    here.study()
    lab(capfd, "mine")
    here.code, here.gain = "d", -0.1
    lab(capfd, "mine")
    first, second = here.record()["looks"]
    assert (first["verdict"], first["level"]) == ("supported", 0.04)
    assert (second["kind"], second["verdict"], second["level"]) == ("changed", "contradicted", 0.005)
    assert here.record()["verdict"] == "contradicted"
    here.code, here.gain = "e", 0.3  # and back to the first numbers: that is seen, and paid for, too
    lab(capfd, "mine")
    assert [look["level"] for look in here.record()["looks"]] == [0.04, 0.005, 0.0025]
    assert here.record()["verdict"] == "supported"


def test_the_same_numbers_of_other_code_are_no_new_look(here, capfd):
    here.study()
    lab(capfd, "mine")
    here.code = "d"
    lab(capfd, "mine")
    assert len(here.trained) == 4
    assert len(here.record()["looks"]) == 1


def test_other_numbers_of_the_same_code_are_written_down_and_cost_nothing(here, capfd):
    """Another machine computes otherwise in the last digits; its user chose nothing."""
    here.study()
    lab(capfd, "mine", "--runs", "here")
    here.gain += 1e-7
    lab(capfd, "mine", "--runs", "there")
    assert [(look["kind"], look["level"]) for look in here.record()["looks"]] == [("declared", 0.04), ("repeated", 0.04)]


@pytest.mark.parametrize(
    ("changed", "key"),
    [({"seeds": 14}, "seeds, looks"), ({"reserve": 0.0}, "reserve"), ({"test": GOOD["test"] | {"margin": 0.01}}, "tests"),
     ({"cells": GOOD["cells"] | {"er": ["strategy=er", "strategy.er.memory=9"]}}, "cells")],
)  # fmt: skip
def test_a_study_that_is_changed_after_a_look_is_another_study(here, capfd, changed, key):
    here.study()
    lab(capfd, "mine")
    here.study(**changed)
    status, out, err = lab(capfd, "mine")
    assert (status, out) == (2, "")
    assert f"mine.yaml: {key}: changed since the first look" in err
    assert len(here.record()["looks"]) == 1


def test_words_of_a_study_may_change_after_a_look(here, capfd):
    here.study()
    lab(capfd, "mine")
    here.study(claim="replay forgets less", minutes=2, metrics=["forgetting"])
    assert lab(capfd, "mine")[0] == 0
    assert here.record()["claim"] == "replay forgets less"


def test_looks_declared_beforehand_stop_early_and_share_the_level(here, capfd):
    here.gain = 0.3
    here.study(seeds=20, looks=[10, 20])
    out = lab(capfd, "mine")[1]
    (look,) = here.record()["looks"]
    assert look["seeds"] == list(range(10))
    assert 0 < look["level"] < 0.01  # O'Brien and Fleming spend little at the first look
    assert here.trained == [("naive", list(range(10))), ("er", list(range(10)))]
    assert "look 1" in out


def test_an_undecided_look_goes_on_to_the_next_with_the_new_seeds_alone(here, capfd):
    here.gain = 0.0
    here.study(seeds=20, looks=[10, 20], test=GOOD["test"] | {"margin": 0.0})
    lab(capfd, "mine")
    first, second = here.record()["looks"]
    assert (first["verdict"], second["verdict"]) == ("undecided", "undecided")
    assert second["seeds"] == list(range(20))
    assert here.trained[-1] == ("er", list(range(10, 20)))
    assert first["level"] + second["level"] == pytest.approx(0.04)


def test_an_extension_decides_on_fresh_seeds_alone_and_is_paid_from_the_reserve(here, capfd):
    here.gain = 0.0
    here.study(test=GOOD["test"] | {"margin": 0.0})
    assert "undecided" in lab(capfd, "mine")[1]
    here.gain = 0.1
    status, out, err = lab(capfd, "mine", "--extend", "10")
    assert status == 0, err
    assert "supported: sign-flip test paired by seed, two-sided level 0.005, 10 seeds (seeds 10-19)" in out
    declared, extension = here.record()["looks"]
    assert (declared["verdict"], extension["kind"], extension["seeds"]) == ("undecided", "extension", list(range(10, 20)))
    assert lab(capfd, "mine")[0] == 0  # the declared look over again does not undo it
    assert here.record()["verdict"] == "supported"
    status, _, err = lab(capfd, "mine", "--extend", "10")
    assert status == 2
    assert "mine cannot be extended: its verdict is supported" in err


def test_each_extension_gets_half_of_what_is_left(here, capfd):
    here.gain = 0.0
    here.study(test=GOOD["test"] | {"margin": 0.0})
    lab(capfd, "mine")
    for _ in range(2):
        assert lab(capfd, "mine", "--extend", "12")[0] == 0
    levels = [look["level"] for look in here.record()["looks"]]
    assert levels == pytest.approx([0.04, 0.005, 0.0025])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mine", "--extend", "5"), "the level left is 0.005, which 5 seeds cannot reach; 9 fresh seeds could"),
        (("mine", "--extend", "1"), "--extend=1: expected a number of fresh seeds from 2 on"),
        (("mine", "optimizer.lr=1"), "optimizer.lr=1: would change the declared study"),
        (("mine", "seeds=3"), "seeds=3: would change the declared study"),
        (("mine", "trainer.precision=64"), "would change the declared study: trainer.precision"),
        (("mine", "trainer={precision:64}"), "would change the declared study: trainer.precision"),
        (("mine", "trainer.max_steps=5"), "would change the declared study: trainer.max_steps"),
        (("mine", "~tracking"), "~tracking: would change the declared study"),
        (("mine", "--jobs", "0"), "--jobs=0: expected a number from 1 on"),
        (("mine", "--jobs", "-1"), "--jobs=-1: expected a number from 1 on"),
        (("mine", "--at-once", "0"), "--at-once=0: expected a number from 1 on"),
        (("mine", "trainer.accelerator=tpu"), "trainer.accelerator=tpu: expected one of auto, cpu, gpu"),
        (("mien",), "lab study mien: there is none. Did you mean mine"),
    ],
)
def test_what_is_refused(here, capfd, words, said):
    here.gain = 0.0
    here.study(test=GOOD["test"] | {"margin": 0.0})
    lab(capfd, "mine")
    status, out, err = lab(capfd, *words)
    assert (status, out) == (2, "")
    assert said in err


def test_no_reserve_no_extension(here, capfd):
    here.gain = 0.0
    here.study(test=GOOD["test"] | {"margin": 0.0}, reserve=0)
    assert "level 0.05" in lab(capfd, "mine")[1]
    status, _, err = lab(capfd, "mine", "--extend", "20")
    assert (status, "nothing of the reserve is left: ask a new study" in err) == (2, True)


def test_a_study_that_was_stopped_between_its_looks_cannot_be_extended(here, capfd):
    here.gain = 0.0
    here.study(seeds=20, looks=[10, 20], test=GOOD["test"] | {"margin": 0.0})
    lab(capfd, "mine")
    record = here.record()
    record["looks"].pop()  # as if it had been stopped after the first
    Path("docs/results/mine.json").write_text(json.dumps(record))
    status, _, err = lab(capfd, "mine", "--extend", "20")
    assert (status, "its declared seeds have not all been looked at yet" in err) == (2, True)


def test_more_seeds_of_changed_code_leave_those_of_the_old_behind(here, capfd):
    here.gain = 0.0
    here.study(test=GOOD["test"] | {"margin": 0.0})
    lab(capfd, "mine")
    here.code, here.gain = "d", 0.1
    status, out, err = lab(capfd, "mine", "--extend", "10")
    assert status == 0, err
    assert "supported" in out


def test_two_at_once_on_one_study_are_kept_apart(here, capfd):
    from lab.workers import locked

    here.study()
    with locked(Path("runs/studies/mine")):
        status, _, err = lab(capfd, "mine")
    assert (status, "another process is at work" in err) == (2, True)


def test_cells_that_cannot_be_held_against_each_other_are_refused_before_training(here, capfd):
    here.study(budget=[], cells={"naive": ["strategy=naive", "epochs=3"], "er": ["strategy=er", "epochs=10"]})
    status, _, err = lab(capfd, "mine")
    assert (status, here.trained) == (2, [])
    assert "naive and er are not comparable: epochs is 3 and 10; `varies` says what may differ" in err


def test_a_worker_that_is_killed_fails_its_cells_and_no_more(here, capfd, monkeypatch):
    import os
    import signal

    monkeypatch.setattr("lab.run.execute", lambda config, table: os.kill(os.getpid(), signal.SIGKILL))
    here.study()
    status, _, err = lab(capfd, "mine", "--jobs", "2")
    assert (status, "Traceback" in err) == (1, False)
    assert "could not be run; the same command goes on from there" in err


def test_environments_that_differ_in_the_method_are_environments(here, capfd):
    places = {"slow": ["optimizer.lr=0.01"], "fast": ["optimizer.lr=0.1"]}
    here.study(environments=places)
    status, _, err = lab(capfd, "mine")
    assert status == 0, err
    assert "(slow)" in here.record()["measured"]
    assert "(fast)" in here.record()["measured"]


def test_a_list_of_runs_that_is_damaged_is_made_anew(here, capfd):
    here.study()
    lab(capfd, "mine")
    Path("runs/studies/mine/.runs.json").write_text('{"naive": 3')
    assert lab(capfd, "mine")[0] == 0
    assert len(here.trained) == 2
    assert len(here.record()["looks"]) == 1


def test_runs_can_be_moved_with_their_study(here, capfd):
    here.study()
    lab(capfd, "mine")
    Path("runs").rename("moved")
    assert lab(capfd, "mine", "--runs", "moved")[0] == 0
    assert len(here.trained) == 2


def test_cost_is_the_sum_over_looks(here, capfd):
    here.gain = 0.0
    here.study(seeds=20, looks=[10, 20], test=GOOD["test"] | {"margin": 0.0})
    lab(capfd, "mine")
    assert here.record()["minutes"]["measured"] == pytest.approx(4 * 2.0 / 60, abs=0.05)


def test_a_study_not_yet_run_cannot_be_extended(here, capfd):
    here.study()
    status, _, err = lab(capfd, "mine", "--extend", "20")
    assert (status, "its declared seeds have not all been looked at yet" in err) == (2, True)


def test_a_record_that_cannot_be_read_is_not_overwritten(here, capfd):
    here.study()
    Path("docs/results").mkdir(parents=True)
    Path("docs/results/mine.json").write_text("{")
    status, _, err = lab(capfd, "mine")
    assert status == 2
    assert "docs/results/mine.json: is no record of a study" in err
    assert Path("docs/results/mine.json").read_text() == "{"


def test_a_diverged_member_leaves_it_undecided_and_is_named(here, capfd, monkeypatch):
    from lab import run

    faked = run.execute

    def diverging(config, table=True):
        from lab.results import load

        place = faked(config, table)
        found = load(place)
        if "er" in config["strategy"]:
            lost = results(found.metrics["accuracy"], "strategy=er", seeds=found.seeds, diverged=[7, *[None] * 9], cell="erc")
            save(lost, place)
        return place

    monkeypatch.setattr("lab.run.execute", diverging)
    here.study()
    out = lab(capfd, "mine")[1]
    assert "verdict   undecided" in out
    assert "a declared seed is missing: seed 0 of er diverged" in out


def test_a_real_study_of_seconds(tmp_path, monkeypatch, capfd):
    """Trained, several cells at once, and the record, tables and page are there."""
    monkeypatch.chdir(tmp_path)
    small = ["environment=permuted", "environment.tasks=2", "environment.validation=0.9", "network.width=12", "network.depth=1"]
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(yaml.safe_dump(GOOD | {"common": small, "budget": ["steps=20"], "seeds": 6}))
    status, out, err = lab(capfd, "mine", "--jobs", "2", "plan.stack=true")
    assert status == 0, err
    assert "mine: er: done" in err
    assert "6 seeds (seeds 0-5)" in out
    assert len(json.loads(Path("runs/studies/mine/.runs.json").read_text())["naive"]) == 1


@pytest.mark.slow
def test_cells_in_fresh_processes(tmp_path, monkeypatch, capfd):
    """As on a GPU, which forks cannot share; here on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_device", lambda study, words: "cuda")
    monkeypatch.setattr(running, "get_context", lambda way: ways.append(way) or get_context(way))
    ways: list[str] = []
    small = ["environment=permuted", "environment.tasks=2", "environment.validation=0.9", "network.width=12", "network.depth=1"]
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "mine.yaml").write_text(yaml.safe_dump(GOOD | {"common": small, "budget": ["steps=20"], "seeds": 6}))
    status, out, err = lab(capfd, "mine", "--jobs", "2", "trainer.accelerator=cpu")
    assert status == 0, err
    assert ways == ["spawn"]
    assert "6 seeds (seeds 0-5)" in out


def test_a_process_that_reads_other_code_than_the_command_began_with_trains_nothing(capfd):
    assert running._finished({}, loaded="another") is None
    assert "the lab's core was edited since the command began (another, now " in capfd.readouterr().err


def test_what_there_is_beside_what_was_published_is_no_look(here, capfd):
    here.study(published={"source": "somebody", "figures": {"er": [0.8, 0.01]}}, at_once=5)
    assert lab(capfd, "mine", "--published")[0] == 2  # nothing has been run
    status, out, err = lab(capfd, "mine")
    assert (status, [len(seeds) for _, seeds in here.trained]) == (0, [5, 5, 5, 5])
    assert err.count("published: somebody") == 2  # behind each portion
    assert here.record()["published"]["figures"][0]["cell"] == "er"
    status, again, _ = lab(capfd, "mine", "--published")
    assert status == 0
    assert again.strip() in out
    assert len(here.record()["looks"]) == 1
    here.study("other")
    assert "does not say what was published" in lab(capfd, "other", "--published")[2]
