"""Trials side by side: who belongs together, and the same values as one after the other."""

import numpy as np
import pytest

from lab.results import load
from lab.sweep.arms import arm_of
from lab.sweep.population import Population, grouped, train
from lab.sweep.question import Asked
from lab.sweep.space import distribution
from lab.sweep.values import outcomes
from tests.lab.forked import SMALL
from tests.lab.sweep.test_question import read

WHERE = [word for word in SMALL if word.split(".")[0] in ("tracking=off", "plan", "trainer")]
WORDS = ["environment=permuted", "environment.tasks=3", "network.width=12", "network.depth=1", "steps=20"]
TUNING = ["evaluation.split=validation", "environment.validation=0.2"]


def arm(tmp_path, *words, where=(), **vary):
    """An arm on small digits; keys of ``vary`` with __ for dots."""
    space = {key.replace("__", "."): distribution(key, text) for key, text in vary.items()}
    return arm_of(read(tmp_path), Asked("mine", [*WORDS, *words], space), [*WHERE, *where], TUNING)


def test_what_members_may_have_of_their_own(tmp_path):
    found = arm(
        tmp_path, "strategy=[er,ewc]", "optimizer=adam",
        optimizer__lr="interval(0.01, 1)", optimizer__beta1="interval(0.5, 0.9)", strategy__ewc__strength="choice(1, 10)",
        schedule__warmup="range(0, 9)", strategy__er__memory="choice(50, 100)", strategy__er__balance="interval(0.1, 0.9)",
        strategy__ewc__mode="choice(separate, online)", clip="interval(1.0, 2.0)", batch_size="choice(10, 20)",
        network__width="choice(8, 12)",
    )  # fmt: skip
    assert found.of_members == {"optimizer.lr", "optimizer.beta1", "strategy.ewc.strength", "schedule.warmup"}


def test_what_the_default_configuration_has_of_what_varies(tmp_path):
    """What an arm's words say, or else the lab; nothing of keys whose space does not have it."""
    found = arm(
        tmp_path, "strategy=er", "optimizer=adam", "optimizer.lr=0.05", "strategy.er.memory=200", "network.depth=2",
        optimizer__lr="tag(log, interval(0.01, 1))", optimizer__beta1="interval(0.1, 0.5)",
        strategy__er__memory="range(100, 500, 100)", network__depth="int(interval(1, 3))", network__width="range(5, 20, 2)",
        clip="choice(1.0, 2.0)", batch_size="choice(10, 32)",
    )  # fmt: skip
    usual = {"optimizer.lr": 0.05, "strategy.er.memory": 200, "network.depth": 2}
    assert found.usual == usual | {"batch_size": 32}
    others = (found.default["network"]["width"], found.default["optimizer"]["beta1"], found.default["clip"])
    assert others == (12, 0.9, None), "not among those that vary"
    assert arm(tmp_path, "strategy=er", strategy="choice(derpp, er, naive)").usual == {"strategy": "er"}


def test_trials_are_grouped_by_what_changes_shapes(tmp_path):
    found = arm(tmp_path, "strategy=er", optimizer__lr="interval(0.01, 1)", strategy__er__memory="choice(50, 100)")
    values = [{"optimizer.lr": 0.1 + memory / 1e4, "strategy.er.memory": memory} for memory in (50, 100, 50, 50)]
    assert grouped(found, values) == [[0, 2, 3], [1]]


def test_settings_that_are_alike_are_no_lists(tmp_path):
    found = arm(tmp_path, "strategy=ewc", optimizer__lr="interval(0.01, 1)", strategy__ewc__strength="choice(1, 10)")
    values = [{"optimizer.lr": rate, "strategy.ewc.strength": 10} for rate in (0.1, 0.2)]
    config = Population(found, values, [1000, 1001]).config
    assert config["seeds"] == [1000, 1001, 1000, 1001]
    assert config["optimizer"]["lr"] == [0.1, 0.1, 0.2, 0.2]
    assert config["strategy"]["ewc"]["strength"] == 10
    assert Population(found, values[:1], [1000]).config["optimizer"]["lr"] == 0.1


@pytest.mark.parametrize(("processes", "precision", "tolerance"), [(1, 32, 0.01), (2, 64, 1e-9)])
def test_stacked_trials_get_what_they_get_one_after_the_other(tmp_path, processes, precision, tolerance):
    words = ["strategy=[er,ewc]", "strategy.er.memory=30"]
    found = arm(
        tmp_path, *words, where=[f"plan.processes={processes}", f"trainer.precision={precision}"],
        optimizer__lr="interval(0.01, 1)", strategy__ewc__strength="interval(1, 20)",
    )  # fmt: skip
    values = [{"optimizer.lr": rate, "strategy.ewc.strength": pull} for rate, pull in ((0.05, 1.0), (0.3, 5.0), (0.1, 20.0))]
    seeds, objectives = [1000, 1001, 1002], {"accuracy": "maximize", "cost.state_bytes": "minimize", "cost.passes": "minimize"}
    together = train(Population(found, values, seeds).experiment(tmp_path), objectives, 3, "").outcomes
    for own, stacked in zip(values, together, strict=True):
        (alone,) = train(Population(found, [own], seeds).experiment(tmp_path), objectives, 1, "").outcomes
        assert stacked.by_seed["accuracy"] == pytest.approx(alone.by_seed["accuracy"], abs=tolerance)
        assert stacked.by_seed["cost.state_bytes"] == alone.by_seed["cost.state_bytes"]
        assert stacked.by_seed["cost.passes"] == alone.by_seed["cost.passes"]
    assert len({tuple(of.by_seed["accuracy"]) for of in together}) == 3, "trials that end alike would show nothing"


def test_a_trial_in_which_a_seed_diverges_has_no_value_and_the_others_have(tmp_path):
    found = arm(tmp_path, "strategy=naive", optimizer__lr="interval(0.01, 1e30)")
    values = [{"optimizer.lr": 0.1}, {"optimizer.lr": 1e25}]
    trained = train(Population(found, values, [1000, 1001]).experiment(tmp_path), {"accuracy": "maximize"}, 2, "")
    sound, lost = trained.outcomes
    assert sound.why == ""
    assert np.isfinite(sound.means).all()
    assert lost.why.startswith("2 of 2 seeds diverged (steps ")
    assert lost.by_seed == {"accuracy": [None, None]}
    assert outcomes(load(trained.folder), {"accuracy": "maximize"}, 2) == trained.outcomes
