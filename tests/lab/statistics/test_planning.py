"""What seeds can say against statsmodels' own solver and against its power at the answer."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from lab.statistics import detectable, paired, seeds_for_equivalence, seeds_needed, sign_flip, smallest_p


def differences(effect, n=10):
    """Differences whose mean is ``effect`` of their standard deviations, which is 1."""
    values = np.random.default_rng(n).normal(size=n)
    return (values - values.mean()) / values.std(ddof=1) + effect


def test_the_smallest_p():
    assert smallest_p(10) == 2 / 1024 == sign_flip(np.arange(1, 11)).p
    assert smallest_p(10, 4) == 8 / 1024
    assert smallest_p(2, 4) == smallest_p(0) == 1.0


def test_beyond_the_exact_test_it_is_what_random_flips_can_give():
    assert smallest_p(25) == 2e-5 >= sign_flip(np.ones(25)).p
    assert seeds_needed(differences(9.0), alpha=1e-5).seeds == math.inf


@pytest.mark.parametrize("seeds", [6, 10, 20, 300])
def test_detectable_is_what_statsmodels_solves(seeds):
    solved = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8)
    assert detectable(0.3, seeds) == pytest.approx(0.3 * solved, rel=1e-4)


def test_where_nothing_is_detectable():
    assert detectable(0.3, 5) == detectable(0.3, 1) == detectable(0.3, 10, alpha=0.001) == math.inf
    assert detectable(0.0, 10) == 0.0


@pytest.mark.parametrize("effect", [0.05, 0.2, 0.5, 0.9, -0.5])
def test_seeds_needed_are_the_fewest_with_the_power(effect):
    found = seeds_needed(differences(effect))
    assert TTestPower().power(abs(effect), found.seeds, 0.05) >= 0.8 > TTestPower().power(abs(effect), found.seeds - 1, 0.05)
    assert found.low <= found.seeds <= found.high


def test_seeds_to_tell_from_a_margin():
    found = seeds_needed(differences(0.2), margin=-0.3)
    assert found.seeds == math.ceil(TTestPower().solve_power(0.5, alpha=0.05, power=0.8))


def test_equivalence_asks_for_both_edges():
    """Of a difference of none, within half a standard deviation: simulated, the t tests of both edges have the power."""
    seeds = seeds_for_equivalence(differences(0.0), 0.5, alpha=0.04).seeds
    values = np.random.default_rng(0).normal(size=(4000, int(seeds)))
    t, edge = values.mean(1) / values.std(1, ddof=1) * seeds**0.5, 0.5 / values.std(1, ddof=1) * seeds**0.5
    found = (np.minimum(t + edge, edge - t) >= stats.t.isf(0.02, seeds - 1)).mean()
    assert 0.78 < found < 0.84
    assert seeds > seeds_needed(differences(0.0), margin=0.5, alpha=0.04).seeds


def test_equivalence_beyond_the_edge_is_told_from_the_edge():
    assert seeds_for_equivalence(differences(1.0), 0.4).seeds == seeds_needed(differences(1.0), margin=0.4).seeds
    assert seeds_for_equivalence(np.full(5, 0.4), 0.4).seeds == math.inf
    assert seeds_for_equivalence(differences(0.5), 0.4).high == math.inf, "its interval holds the edge"


def test_the_interval_is_that_of_the_effect():
    values = differences(1.0, 12)
    found, effect = seeds_needed(values), paired(values)
    assert found.low == seeds_needed(differences(effect.effect_high, 12)).seeds
    assert found.high == seeds_needed(differences(effect.effect_low, 12)).seeds
    assert seeds_needed(differences(0.3)).high == math.inf, "the interval of the effect holds 0"


def test_never_fewer_than_the_sign_flip_test_needs():
    assert seeds_needed(differences(9.0)).seeds == 6  # 2 / 2^6 < .05 < 2 / 2^5
    assert seeds_needed(differences(9.0), alpha=0.05 / 8).seeds == 9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("effect", [0.0, 1e-300, 1e-9, 1e-5, 1e-3, 50.0, 1e6, 1e11])
def test_extreme_effects_neither_fail_nor_warn_nor_take_long(effect):
    seeds_needed(differences(1.0)), detectable(1.0, 10)  # imports
    started = time.perf_counter()
    found = seeds_needed(differences(effect))
    assert time.perf_counter() - started < 0.5
    assert 6 <= found.low <= found.seeds <= found.high
    assert seeds_needed(np.full(5, effect)).seeds == (6 if effect > 1e-12 else math.inf)


def test_what_is_refused():
    with pytest.raises(ValueError, match="0 < alpha < power < 1"):
        detectable(1.0, 10, alpha=0.9)
    with pytest.raises(ValueError, match="needs two"):
        seeds_needed([1.0, np.nan])


@settings(max_examples=50, deadline=None)
@given(st.integers(6, 60), st.floats(0.01, 5))
def test_more_seeds_detect_less_and_what_they_detect_they_would_resolve(seeds, sd):
    found = detectable(sd, seeds)
    assert detectable(sd, seeds + 1) < found
    assert seeds_needed(differences(found / sd * (1 + 1e-9))).seeds == seeds
