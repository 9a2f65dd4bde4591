"""How often a study says what is not so: its whole procedure, looks, Holm and extensions included, on simulated nulls.

The difference lies on the margin, so that "supported" and "contradicted" are both false.
"""

from __future__ import annotations

import numpy as np
import pytest

from lab.statistics import levels, reserve_level
from lab.study.hypotheses import Hypothesis
from lab.study.verdict import UNDECIDED, Part, judged, word_of

ALPHA, RESERVE = 0.05, 0.01
REPEATS = 600
OFTEN = 6000
"""For `make test-slow`."""


@pytest.fixture(autouse=True)
def _uncollected(monkeypatch):
    """statsmodels collects garbage at every correction, 40 ms each."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)


def bound(repeats):
    """Nominal and three standard errors of the simulation."""
    return ALPHA + 3 * (ALPHA * (1 - ALPHA) / repeats) ** 0.5


SHAPES = {
    "normal": lambda rng, n: rng.normal(0, 1, n) - rng.normal(0, 1, n),
    "lognormal": lambda rng, n: rng.lognormal(0, 1.5, n) - rng.lognormal(0, 1.5, n),
    "exponential": lambda rng, n: rng.exponential(1, n) ** 2 - rng.exponential(1, n) ** 2,
    "mostly equal": lambda rng, n: rng.integers(0, 2, n) - rng.integers(0, 2, n) + 0.0,
}


def word(samples, test, level):
    return word_of(judged([Part(test, "", values) for values in samples]), level)


def falsely_decided(draw, rng, looks, extensions, parts, kind, margin):
    """Whether a study of nothing says something in the end."""
    test = Hypothesis(kind, "accuracy", {"a": 1.0, "b": -1.0}, margin, "a better than b")
    edge = margin if kind == "superiority" else -margin
    samples = [edge + draw(rng, looks[-1]) for _ in range(parts)]
    for count, level in zip(looks, levels(looks, ALPHA - RESERVE, "obrien_fleming"), strict=True):
        if word([values[:count] for values in samples], test, level) != UNDECIDED:
            return True
    for number in range(extensions):
        fresh = [edge + draw(rng, 12) for _ in range(parts)]
        if word(fresh, test, reserve_level(RESERVE, number + 1)) != UNDECIDED:
            return True
    return False


@pytest.mark.parametrize("repeats", [REPEATS, pytest.param(OFTEN, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("looks", "extensions", "parts", "kind", "margin"),
    [
        ([10], 0, 1, "superiority", 0.0),
        ([10], 2, 1, "superiority", 0.5),
        ([8, 12], 1, 1, "superiority", 0.0),
        ([10], 1, 3, "superiority", 0.0),
        ([10], 1, 1, "noninferiority", 0.5),
        ([8, 12], 1, 2, "equivalence", 0.5),
    ],
)
def test_false_verdicts_are_no_more_frequent_than_alpha(repeats, shape, looks, extensions, parts, kind, margin):
    rng = np.random.default_rng(list(shape.encode()) + looks + [extensions, parts])
    wrong = sum(falsely_decided(SHAPES[shape], rng, looks, extensions, parts, kind, margin) for _ in range(repeats))
    assert wrong / repeats <= bound(repeats)


def test_adding_seeds_until_it_is_significant_would_be_caught_here():
    """The bound is no formality: looking after every two seeds at the full level breaks it."""
    rng = np.random.default_rng(0)
    test = Hypothesis("superiority", "accuracy", {"a": 1.0, "b": -1.0}, 0.0, "a better than b")

    def peeking():
        values = rng.normal(0, 1, 20)
        return any(word([values[:count]], test, ALPHA) != UNDECIDED for count in range(8, 20, 2))

    assert sum(peeking() for _ in range(REPEATS)) / REPEATS > bound(REPEATS)


def test_a_true_difference_is_found_as_often_as_was_predicted():
    """Power of the verdict at 12 seeds against that of the t test, which planning goes by."""
    from statsmodels.stats.power import TTestPower

    rng = np.random.default_rng(1)
    test = Hypothesis("superiority", "accuracy", {"a": 1.0, "b": -1.0}, 0.0, "a better than b")
    found = sum(word([rng.normal(0.9, 1, 12)], test, ALPHA) == "supported" for _ in range(REPEATS)) / REPEATS
    predicted = TTestPower().power(0.9, 12, ALPHA)
    assert abs(found - predicted) < 3 * (predicted * (1 - predicted) / REPEATS) ** 0.5 + 0.02
