"""Rounds are shared by workers, to the number that was agreed, whoever of them is killed."""

from __future__ import annotations

import threading

import optuna
import pytest

from lab.sweep.claims import Claims, worker
from lab.sweep.rounds import asked, rounds, share
from lab.sweep.storage import open_storage

from . import crowd


def test_rounds_are_of_what_is_left():
    assert rounds(3, 8) == [range(3)]
    assert rounds(9, 4) == [range(4), range(4, 8), range(8, 9)]


def test_what_an_earlier_worker_left_is_taken_up_and_what_is_told_is_left(tmp_path):
    storage = open_storage(tmp_path, None)
    study = optuna.create_study(study_name="s", storage=storage)
    first = [trial for trial, _ in zip(asked(study, storage, range(3)), range(2), strict=False)]
    values = [trial.suggest_float("x", 0, 1) for trial in first]
    study.tell(first[0], 1.0)
    again = list(asked(study, storage, range(3)))
    assert [trial.number for trial in again] == [1, 2]
    assert again[0].suggest_float("x", 0, 1) == values[1]
    assert [trial.number for trial in asked(study, storage, range(3, 5))] == [3, 4]


def test_a_budget_is_kept_to_when_rounds_are_cut_otherwise(tmp_path):
    storage = open_storage(tmp_path, None)
    study = optuna.create_study(study_name="s", storage=storage)
    for at_once in (3, 2, 4):
        for places in rounds(5, at_once):
            list(asked(study, storage, places))
    assert len(study.trials) == 5


def test_twenty_kills_lose_no_trial_and_count_none_twice(tmp_path):
    workers = crowd.Crowd(None, tmp_path, 2)
    for _ in range(20):
        workers.kill()
    workers.end()
    crowd.check(workers)


def test_what_nobody_brings_to_an_end_is_said(tmp_path, capsys):
    claims, begun = Claims(open_storage(tmp_path, None), "s", tmp_path), []

    def work():
        begun.append(None)
        if len(begun) < 4:
            raise MemoryError

    for _ in range(3):
        with pytest.raises(MemoryError):
            share(claims, {"a": work})
    assert capsys.readouterr().err == ""
    share(claims, {"a": work})
    assert capsys.readouterr().err.startswith("lab: a: begun by 3 workers, and finished by none; ")


def test_who_waits_says_for_whom(tmp_path, capsys):
    storage, did = open_storage(tmp_path, None), []
    mine, theirs = Claims(storage, "s", tmp_path), Claims(storage, "s", tmp_path)
    with theirs.of("a") as claim:
        assert theirs.at_work(["a", "b"]) == {"a": worker()}
        ended = threading.Timer(0.3, claim.done)
        ended.start()
        share(mine, {"a": lambda: did.append("a"), "b": lambda: did.append("b")}, pause=0.02)
    assert did == ["b"]
    assert capsys.readouterr().err == f"lab: a is being done by {worker()}; waiting for it\n"
