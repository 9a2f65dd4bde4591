"""Paired comparisons against SciPy's own tests and a hand-worked case."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lab.statistics import paired


def test_interval_and_p_against_independent_ones():
    draw = np.random.default_rng(3)
    a, b = draw.normal(0.3, 1, 9), draw.normal(0, 1, 9)
    found = paired(a, b)
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval(0.95)
    np.testing.assert_allclose([found.difference, found.low, found.high], [(a - b).mean(), interval.low, interval.high])
    # All 2^9 flips by hand.
    d = a - b
    means = [abs(np.mean(d * signs)) for signs in itertools.product([1, -1], repeat=9)]
    assert found.p == pytest.approx(np.mean(np.array(means) >= abs(d.mean()) - 1e-12))


def test_the_smallest_p_of_ten_seeds():
    assert paired(np.arange(1.0, 11), np.zeros(10)).p == pytest.approx(2 / 2**10)


def test_pairs_with_an_undefined_value_are_left_out():
    found = paired(np.array([1.0, 2.0, np.nan, 4.0]), np.array([0.0, 0.0, 0.0, np.nan]))
    assert (found.seeds, found.difference) == (2, 1.5)
    with pytest.raises(ValueError, match="1 seeds"):
        paired(np.array([1.0, np.nan]), np.zeros(2))


def test_the_interval_of_the_tables_is_students_t():
    from lab.report.summary import interval

    values = np.random.default_rng(1).normal(size=7)
    expected = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    np.testing.assert_allclose(interval(np.r_[values, np.nan]), [values.mean(), *expected])
