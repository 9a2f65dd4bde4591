"""Error rates and power in seeded simulations: of the product's own functions, from data to decision.

A rate passes if it is at most the level plus three Monte-Carlo standard errors. Both methods draw from one distribution, so
that the null hypothesis is true whatever its shape.
"""

import itertools

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from lab.statistics import equivalent, holm, levels, noninferior, reserve_level, sign_flip, superior

ALPHA = 0.05
DRAWS = {
    "normal": lambda rng, size: rng.normal(size=size),
    "lognormal": lambda rng, size: rng.lognormal(size=size),
    "skewed": lambda rng, size: rng.exponential(size=size) ** 3,
}
by_shape = pytest.mark.parametrize("shape", DRAWS)


def null(shape, runs, seeds, methods=1):
    """Differences [runs, methods, seeds] of methods from a baseline that is one of them."""
    rng = np.random.default_rng([seeds, methods, list(DRAWS).index(shape)])
    values = DRAWS[shape](rng, (runs, methods + 1, seeds))
    return values[:, 1:] - values[:, :1]


def error(rate, runs):
    """The Monte-Carlo standard error of a rate."""
    return (rate * (1 - rate) / runs) ** 0.5


def assert_at_most(rejected, level=ALPHA):
    assert np.mean(rejected) <= level + 3 * error(level, len(rejected)), f"{np.mean(rejected):.4f} at {level}"


def reference(differences):
    """p [runs] of the two-sided sign-flip test of ``differences`` [runs, n], every flip of every run in one product."""
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=differences.shape[1])))
    sums = np.abs(differences @ signs.T)
    return (sums >= sums[:, :1] * (1 - 1e-12)).mean(1)


@by_shape
@pytest.mark.parametrize("seeds", [6, 10])
def test_false_positives_of_one_exact_test(shape, seeds):
    differences = null(shape, 4_000, seeds)[:, 0]
    p = np.array([sign_flip(d).p for d in differences])
    np.testing.assert_allclose(p[:500], reference(differences[:500]))
    assert_at_most(p <= ALPHA)
    assert np.mean(p <= ALPHA) > 0.02, "not by never rejecting"


@by_shape
def test_false_positives_of_one_sampled_test(shape):
    """Any number of random flips keeps the level, so 499 stand for the 99,999."""
    p = np.array([sign_flip(d, resamples=499).p for d in null(shape, 800, 25)[:, 0]])
    assert_at_most(p <= ALPHA)
    assert np.mean(p <= ALPHA) > 0.02


@by_shape
def test_false_positives_of_a_family(shape, monkeypatch):
    """Four methods against one baseline, the seeds of which they share: any rejection is a false one."""
    monkeypatch.setattr("gc.collect", lambda *_: 0)  # statsmodels calls it, for most of the time
    ps = [[sign_flip(d).p for d in run] for run in null(shape, 1_500, 10, methods=4)]
    assert_at_most([holm(p).min() <= ALPHA for p in ps])
    assert np.mean(np.min(ps, 1) <= ALPHA) > 0.1, "uncorrected it is far more"


@by_shape
def test_false_positives_of_declared_looks(shape):
    looks = [10, 20, 40]
    p = np.array([[sign_flip(d[:n], resamples=499).p for n in looks] for d in null(shape, 1_000, 40)[:, 0]])
    for spending in ("obrien_fleming", "pocock"):
        assert_at_most((p <= levels(looks, ALPHA, spending)).any(1))
    assert np.mean((p <= ALPHA).any(1)) > ALPHA + 3 * error(ALPHA, len(p)), "three looks at the full level are found out"


@by_shape
def test_false_positives_with_extensions_on_fresh_seeds(shape):
    """The declared test of ten seeds at .04, then at most two extensions by ten more, paid for out of a reserve of .01."""
    at = [ALPHA - 0.01, reserve_level(0.01, 1), reserve_level(0.01, 2)]
    runs = null(shape, 4_000, 30)[:, 0].reshape(-1, 3, 10)
    assert_at_most([any(sign_flip(d).p <= level for d, level in zip(run, at, strict=True)) for run in runs])


@pytest.mark.parametrize(("shape", "method", "runs"), [*((shape, "sign_flip", 2_000) for shape in DRAWS), ("normal", "t", 400)])
def test_false_positives_at_the_margin(shape, method, runs):
    """The truth is exactly as bad as the margin, so that every claim is a false one."""
    at_zero = null(shape, runs, 10)[:, 0]
    margin = at_zero.std() * 3
    assert_at_most([noninferior(d - margin, margin, method) <= ALPHA for d in at_zero])
    assert_at_most([superior(d + margin, margin, method) <= ALPHA for d in at_zero])
    assert_at_most([equivalent(d + margin, margin, method) <= ALPHA for d in at_zero])


@pytest.mark.parametrize(("seeds", "effect"), [(10, 1.0), (10, 0.7), (20, 0.66), (20, 0.9)])
def test_power_is_as_predicted(seeds, effect):
    """On normal differences; the sign-flip test may lose up to .02 against the t test, whose power is predicted."""
    runs = 3_000
    differences = np.random.default_rng(seeds).normal(effect, 1, (runs, seeds))
    power, predicted = np.mean([sign_flip(d).p <= ALPHA for d in differences]), TTestPower().power(effect, seeds, ALPHA)
    margin = 3 * error(predicted, runs)
    assert predicted - margin - 0.02 <= power <= predicted + margin
