"""A real PostgreSQL server as a sweep's storage: shared, killed at, stopped and started again."""

from __future__ import annotations

import time
from collections import Counter

import optuna
import pytest
from sqlalchemy import event

from lab.sweep import patient
from lab.sweep.claims import Claims
from lab.sweep.storage import open_storage

from . import crowd

pytestmark = pytest.mark.postgresql


def test_twenty_kills_lose_no_trial_and_count_none_twice(postgresql, tmp_path):
    workers = crowd.Crowd(postgresql.database("kills"), tmp_path, 2)
    for _ in range(20):
        workers.kill()
    workers.end()
    crowd.check(workers)


def test_of_many_machines_that_want_the_same_one_has_it(postgresql, tmp_path):
    from .test_claims import one_has_it

    one_has_it(postgresql.database("race"), tmp_path)


def test_a_restart_amid_calls_is_not_noticed(postgresql, tmp_path):
    storage = open_storage(tmp_path, postgresql.database("restart"))
    study = optuna.create_study(study_name="s", storage=storage)
    for number in range(3):
        trial = study.ask()
        postgresql.stop()
        postgresql.start()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, float(number))
    assert [trial.value for trial in study.trials] == list(range(3))


def test_a_restart_amid_a_query_is_not_noticed(postgresql, tmp_path):
    """The connection is cut off under a query for which Optuna has another one at hand, in the same session."""
    storage = open_storage(tmp_path, postgresql.database("query"))
    study = optuna.create_study(study_name="s", storage=storage)
    study.ask()
    under = []

    @event.listens_for(storage.wrapped._backend.engine, "before_cursor_execute")
    def restart(connection, cursor, statement, *_):
        if "ORDER BY trials.trial_id" in statement and not under:
            under.append(statement)
            postgresql.stop()
            postgresql.start()

    assert [trial.number for trial in study.get_trials()] == [0]
    assert under


@pytest.mark.slow
def test_a_minute_without_the_server_is_survived_by_all_workers(postgresql, tmp_path, capfd):
    """Nobody is taken for gone because nobody could be heard."""
    workers = crowd.Crowd(postgresql.database("minute"), tmp_path, 2)
    while len(workers.at_work()) < 2:  # a storage that is away from the first is refused
        time.sleep(0.05)
    postgresql.stop()
    time.sleep(60)
    postgresql.start()
    workers.end()
    crowd.check(workers)
    claims = Claims(open_storage(tmp_path, workers.url), "toy", tmp_path).study.trials
    assert {claim.value for claim in claims if claim.value is not None} == {0.0}, "work was taken from a worker that lived"
    assert set(Counter(claim.user_attrs["key"] for claim in claims if claim.value is not None).values()) == {1}
    told = capfd.readouterr().err
    assert "does not answer" in told
    assert "answers again" in told
    assert patient.LONGEST_WAIT > 60
