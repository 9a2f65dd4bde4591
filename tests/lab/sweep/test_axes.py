"""Places and marks on the axes of what varies."""

import numpy as np
import optuna
import pytest

from lab.sweep.axes import Axis, axis_of, shown, words

DISTRIBUTIONS = {
    "linear": (optuna.distributions.FloatDistribution(1.0, 3.0), [1.0, 1.5, 3.0], [0, 0.25, 1]),
    "log": (optuna.distributions.FloatDistribution(1e-4, 1.0, log=True), [1e-4, 1e-2, 1e-1], [0, 0.5, 0.75]),
    "whole": (optuna.distributions.IntDistribution(64, 256, step=64), [64, 128, 256], [0, 1 / 3, 1]),
    "whole, log": (optuna.distributions.IntDistribution(1, 100, log=True), [1, 10, 100], [0, 0.5, 1]),
    "choices": (optuna.distributions.CategoricalDistribution([200, "all", None, True]), ["all", True], [0.375, 0.875]),
    "one value": (optuna.distributions.FloatDistribution(2.0, 2.0), [2.0], [0.5]),
}  # fmt: skip


@pytest.mark.parametrize(("distribution", "values", "places"), DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_places(distribution, values, places):
    np.testing.assert_allclose(axis_of("key", distribution).places(values), places, atol=1e-12)


TICKS = {
    "decades": (Axis("lr", 1e-3, 1.0, log=True), ["0.001", "0.01", "0.1", "1"]),
    "many decades": (Axis("lr", 1e-8, 1.0, log=True), ["1e-08", "1e-06", "0.0001", "0.01", "1"]),
    "less than a decade": (Axis("lr", 0.02, 0.05, log=True), ["0.02", "0.0316", "0.05"]),
    "linear": (Axis("alpha", 0.0, 0.5), ["0", "0.25", "0.5"]),
    "choices": (Axis("memory", choices=(200, "a_very_long_name_of_one")), ["200", "a_very_long_nam…"]),
}


@pytest.mark.parametrize(("axis", "texts"), TICKS.values(), ids=TICKS)
def test_ticks_are_on_the_axis(axis, texts):
    places, found = zip(*axis.ticks(), strict=True)
    assert list(found) == texts
    assert 0 <= min(places) < max(places) <= 1
    assert list(places) == sorted(places)


def test_values_in_words():
    assert [shown(value) for value in (1e-5, 0.123456, 3, False, None)] == ["1e-05", "0.123", "3", "False", "null"]
    assert [words(name) for name in ("accuracy", "cost.state_bytes", "learning_accuracy")] == [
        "accuracy",
        "state bytes",
        "learning accuracy",
    ]
