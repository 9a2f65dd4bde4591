"""What a sweep has found, out of Optuna's studies and its record: states, winners, fronts, importances, optimism."""

import math

import numpy as np
import optuna
import pytest

from lab.sweep.found import Arm, reached, undominated
from lab.sweep.winning import standings

from .made import OBJECTIVES, TWO, found


@pytest.fixture(scope="module")
def one():
    return found()


@pytest.fixture(scope="module")
def two():
    return found(TWO)


def arm(objective, trials=30, objectives=None):
    """An arm whose trials have ``objective(trial)``."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objectives = objectives or OBJECTIVES
    sampler = optuna.samplers.RandomSampler(seed=1)
    study = optuna.create_study(directions=list(objectives.values()), sampler=sampler)
    study.optimize(objective, trials)
    return Arm("er", objectives, study)


def test_trials_are_told_by_what_became_of_them(one):
    naive = one.arms[0]
    assert naive.counts == {"complete": 12, "pruned": 1, "diverged": 1, "failed": 1}
    pruned, diverged, failed = naive.trials[-3:]
    assert (pruned.state, pruned.values) == ("pruned", {"accuracy": 0.3})
    assert (diverged.state, failed.state) == ("diverged", "failed")
    assert math.isnan(diverged.values["accuracy"])
    assert failed.settings == {}
    assert (failed.attributes["why"], pruned.seeds, pruned.seconds) == ("failed: no such thing", [1000, 1001, 1002], 4.2)
    assert [axis.key for axis in one.arms[1].axes] == ["optimizer.lr", "strategy.er.memory", "network.width"]


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_the_best_so_far_is_of_complete_trials(direction):
    values = [0.2, 0.5, None, 0.1, 0.9]
    best = {"maximize": [0.2, 0.5, 0.5, 0.5, 0.9], "minimize": [0.2, 0.2, 0.2, 0.1, 0.1]}[direction]

    def objective(trial):
        value = values[trial.number]
        if value is None:
            trial.report(-5.0 if direction == "minimize" else 5.0, 0)
            raise optuna.TrialPruned
        return value

    made = arm(objective, len(values), {"loss": direction})
    assert reached(made.trials, "loss", direction).tolist() == best
    assert made.winner.number == best.index(best[-1])
    assert np.isnan(reached(made.trials[2:3], "loss", direction)).all()


def test_the_front_is_optunas_where_there_is_one_arm(two):
    for one in two.arms:
        alone = [trial.number for _, trial in type(two)(**{**vars(two), "arms": [one]}).front()]
        assert sorted(alone) == sorted(trial.number for trial in one.study.best_trials)


def test_the_front_of_all_arms_is_what_nothing_beats(two):
    held = {(arm.name, trial.number) for arm, trial in two.front()}
    for mine, trial in ((arm, trial) for arm in two.arms for trial in arm.complete):
        beaten = any(
            other.values["accuracy"] >= trial.values["accuracy"]
            and other.values["cost.state_bytes"] <= trial.values["cost.state_bytes"]
            and other.values != trial.values
            for arm in two.arms
            for other in arm.complete
        )
        assert ((mine.name, trial.number) in held) != beaten
    assert len({arm for arm, _ in held}) == 2


def test_equal_points_do_not_beat_each_other():
    points = np.array([[1.0, 1.0], [1.0, 1.0], [0.0, 2.0], [1.0, 0.5]])
    assert undominated(points).tolist() == [True, True, True, False]
    assert undominated(np.empty((0, 2))).tolist() == []


def test_importances_are_of_the_objective_asked_for():
    def objective(trial):
        rate, memory = trial.suggest_float("rate", 0, 1), trial.suggest_float("memory", 0, 1)
        trial.suggest_categorical("nothing", ["a", "b"])
        return rate + 0.01 * memory, memory

    shares = arm(objective, 40, TWO).importances
    assert [next(iter(shares[name])) for name in TWO] == ["rate", "memory"]
    for name, key in (("accuracy", "rate"), ("cost.state_bytes", "memory")):
        assert shares[name][key] > 0.9
        assert sum(shares[name].values()) == pytest.approx(1)


@pytest.mark.parametrize(("trials", "value"), [(3, lambda rate: rate), (10, lambda rate: 0.5), (10, lambda rate: rate > 2)])
def test_nothing_is_important_where_nothing_is_known(trials, value):
    assert arm(lambda trial: float(value(trial.suggest_float("rate", 0, 1))), trials).importances == {"accuracy": {}}


def test_optimism_is_tuning_minus_fresh(one):
    tuned, default, *_ = standings(one, "accuracy")
    assert (tuned.arm, tuned.what, default.what) == ("naive", "tuned", "default")
    assert tuned.optimism == pytest.approx(0.02)  # as they were made
    assert tuned.fresh.mean - default.fresh.mean == pytest.approx(0.1)
    assert (len(tuned.fresh.values), len(tuned.tuning.values), default.optimism) == (6, 3, None)
    assert tuned.settings == max(one.arms[0].complete, key=lambda trial: trial.values["accuracy"]).settings
    assert tuned.chosen.startswith("optimizer.lr=0.0")


def test_before_winners_are_run_the_best_so_far_stands():
    rows = standings(found(finished=False), "accuracy")
    assert [(row.arm, row.what, row.fresh, row.optimism) for row in rows] == [
        (arm, "tuned", None, None) for arm in ("naive", "er")
    ]
    assert all(row.tuning.mean > 0.5 for row in rows)


def test_of_equal_trials_the_one_stands_that_is_better_by_the_next_objective():
    made = arm(lambda trial: (0.5, [7.0, 3.0, 3.0, 4.0][trial.number]), 4, TWO)
    assert made.winner.number == 1


def test_a_sweep_that_has_just_begun_has_nothing():
    begun = found(finished=False, trials=0)
    assert (begun.front(), standings(begun, "accuracy")) == ([], [])
