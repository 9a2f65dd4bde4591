"""What seeds can say against statsmodels' own solver and against its power at the answer."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from lab.statistics import detectable, paired, seeds_needed, sign_flip, smallest_p


def differences(effect, n=10):
    """Differences whose mean is ``effect`` of their standard deviations, which is 1."""
    values = np.random.default_rng(n).normal(size=n)
    return (values - values.mean()) / values.std(ddof=1) + effect


def test_the_smallest_p():
    assert smallest_p(10) == 2 / 1024 == sign_flip(np.arange(1, 11)).p
    assert smallest_p(10, 4) == 8 / 1024
    assert smallest_p(2, 4) == smallest_p(0) == 1.0


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


def test_one_sided_seeds_and_a_margin():
    found = seeds_needed(differences(0.2), margin=-0.3, alternative="greater")
    assert found.seeds == math.ceil(TTestPower().solve_power(0.5, alpha=0.05, power=0.8, alternative="larger"))
    assert found.seeds < seeds_needed(differences(0.2), margin=-0.3).seeds
    assert seeds_needed(differences(0.2), margin=0.5, alternative="greater").seeds == math.inf


def test_the_interval_is_that_of_the_effect():
    values = differences(1.0, 12)
    found, effect = seeds_needed(values), paired(values)
    assert found.low == seeds_needed(differences(effect.effect_high, 12)).seeds
    assert found.high == seeds_needed(differences(effect.effect_low, 12)).seeds
    assert seeds_needed(differences(0.3)).high == math.inf, "the interval of the effect holds 0"


def test_never_fewer_than_the_sign_flip_test_needs():
    assert seeds_needed(differences(9.0)).seeds == 6  # 2 / 2^6 < .05 < 2 / 2^5
    assert seeds_needed(differences(9.0), alpha=0.05 / 8).seeds == 9
    assert seeds_needed(differences(9.0), alternative="greater").seeds == 5


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
    with pytest.raises(ValueError, match="two-sided or greater"):
        seeds_needed([1.0, 2.0], alternative="less")


@settings(max_examples=50, deadline=None)
@given(st.integers(6, 60), st.floats(0.01, 5))
def test_more_seeds_detect_less_and_what_they_detect_they_would_resolve(seeds, sd):
    found = detectable(sd, seeds)
    assert detectable(sd, seeds + 1) < found
    assert seeds_needed(differences(found / sd * (1 + 1e-9))).seeds == seeds
