"""Forgetting by lag against plain loops, the power law through it against SciPy's least squares."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from lab.metrics import measure
from lab.metrics.lags import forgetting_by_lag, power_law

NAN = float("nan")


def accuracies(members: int, tasks: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((members, tasks + 1, tasks))


def forgetting_law(a: float, b: float, tasks: int) -> np.ndarray:
    """A member of whom every task is known to .9 when it is learnt and to ``a t^b`` less t tasks later."""
    R = np.full((1, tasks + 1, tasks), 0.1)
    for j in range(tasks):
        for i in range(j, tasks):
            R[0, i + 1, j] = 0.9 - (a * (i - j) ** b if i > j else 0)
    return R


@pytest.mark.parametrize("known", ["all", "log_lags"])
def test_it_is_the_mean_over_all_tasks_that_were_evaluated_at_that_lag(known):
    R, tasks = accuracies(2, 7), 7
    if known == "log_lags":
        for i in range(1, tasks):
            for j in range(tasks):
                if i - 1 - j not in (0, 1, 2, 4):
                    R[:, i, j] = NAN
    values, counts = forgetting_by_lag(R)
    for m in range(2):
        for t in range(1, tasks):
            lost = [R[m, j + 1, j] - R[m, j + 1 + t, j] for j in range(tasks - t)]
            lost = [value for value in lost if not math.isnan(value)]
            assert counts[m, t - 1] == len(lost)
            if lost:
                assert values[m, t - 1] == pytest.approx(sum(lost) / len(lost))
            else:
                assert math.isnan(values[m, t - 1])


@pytest.mark.parametrize(("a", "b"), [(0.05, 0.5), (0.3, 0.2), (0.2, 0.0), (0.4, -0.7), (0.02, 1.3)])
def test_a_power_law_is_found_again(a, b):
    found = power_law(*forgetting_by_lag(forgetting_law(a, b, 9)))
    assert found[0] == pytest.approx(a, rel=1e-3)
    assert found[1] == pytest.approx(b, abs=1e-3)
    assert measure(forgetting_law(a, b, 9), None, [None])[0]["forgetting_exponent"] == pytest.approx(b, abs=1e-3)


@given(st.integers(0, 10_000), st.integers(4, 12))
def test_the_fit_is_the_least_squares_that_scipy_finds(seed, lags):
    draws = np.random.default_rng(seed)
    values = 0.2 * np.arange(1, lags + 1) ** draws.uniform(-1, 1) + draws.normal(0, 0.02, lags)
    counts = draws.integers(1, 20, lags)
    (a,), (b,) = power_law(values[None], counts[None])
    if not math.isnan(b):
        t = np.arange(1, lags + 1)
        theirs, _ = curve_fit(lambda t, a, b: a * t**b, t, values, p0=(a, b), sigma=1 / np.sqrt(counts))
        assert (a, b) == pytest.approx(tuple(theirs), abs=2e-3)


def test_where_nothing_is_forgotten_there_is_no_exponent():
    values, reasons = measure(forgetting_law(-0.02, 0.5, 9), None, [None])
    assert np.isnan(values["forgetting_exponent"]).all()
    assert reasons["forgetting_exponent"] == "no power law fits the forgetting"


def test_two_lags_fit_any_law():
    a, b = power_law(np.array([[0.1, 0.2, NAN, NAN]]), np.array([[3, 2, 0, 0]]))
    assert np.isnan([a, b]).all()
