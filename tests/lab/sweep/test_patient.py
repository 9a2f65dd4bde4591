"""A storage that fails now and then, before or after it did what was asked, is asked until it has done it once."""

from __future__ import annotations

import random

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError

from lab.sweep import patient
from lab.sweep.patient import Patient, told


class Flaky:
    """A storage whose calls fail at random, half of them after they were carried out."""

    def __init__(self, rate: float, seed: int = 0):
        self.wrapped, self.rate, self.draw, self.failures = InMemoryStorage(), rate, random.Random(seed), 0

    def __getattr__(self, name):
        call = getattr(self.wrapped, name)

        def perhaps(*args, **named):
            before, after = (self.draw.random() < self.rate / 2 for _ in range(2))
            if before:
                self._fail()
            answer = call(*args, **named)
            if after:
                self._fail()
            return answer

        return perhaps

    def _fail(self):
        self.failures += 1
        raise StorageInternalError("commit") from OperationalError("statement", {}, Exception("connection refused"))


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    monkeypatch.setattr(patient, "PAUSES", (0.0,))


def test_every_trial_is_made_once_and_told_once_whatever_answers_are_lost():
    flaky = Flaky(0.4)
    study = optuna.create_study(study_name="s", storage=Patient(flaky), load_if_exists=True)
    for number in range(25):
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        assert told(study._storage, trial._trial_id, TrialState.COMPLETE, [float(number)])
    assert flaky.failures > 50
    assert [trial.value for trial in study.trials] == list(range(25))
    assert all(0 <= trial.params["x"] <= 1 for trial in study.trials)


def test_the_first_to_tell_a_trial_has_told_it():
    study = optuna.create_study(storage=Patient(InMemoryStorage()))
    trial = study.ask()
    assert told(study._storage, trial._trial_id, TrialState.COMPLETE, [1.0])
    assert not told(study._storage, trial._trial_id, TrialState.COMPLETE, [2.0])
    assert study.trials[0].value == 1.0


def test_trials_are_born_with_what_they_are_part_of():
    storage = Patient(InMemoryStorage())
    study = optuna.create_study(storage=storage)
    with storage.born_with(round=3):
        study.ask()
    study.ask()
    assert [trial.user_attrs for trial in study.trials] == [{"round": 3}, {}]


def test_patience_has_an_end(capsys):
    storage = Patient(Flaky(2.0), longest=0.2)
    with pytest.raises(StorageInternalError):
        storage.get_all_studies()
    assert "does not answer (connection refused)" in capsys.readouterr().err


def test_what_is_refused_is_not_asked_again():
    storage = Patient(InMemoryStorage())
    with pytest.raises(KeyError):
        storage.get_study_id_from_name("none")
