"""Means and intervals against SciPy by another route, and a bootstrap written out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.statistics import estimate

finite = st.floats(-1e6, 1e6)


def test_below_twenty_it_is_students_t():
    values = np.random.default_rng(1).normal(size=19)
    found = estimate(np.r_[values, np.nan])
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose([found.low, found.high], [expected.low, expected.high])
    assert (found.n, found.method, found.mean, found.sd) == (19, "t", values.mean(), np.std(values, ddof=1))


def test_from_twenty_on_it_is_bca():
    """Efron (1987), equation 2.3: bias from the share of resampled means below the mean, acceleration from the jackknife."""
    values = np.random.default_rng(2).exponential(size=30)
    found = estimate(values)
    means = np.random.default_rng(7).choice(values, (40_000, 30)).mean(1)
    bias = stats.norm.ppf((means < values.mean()).mean())
    influence = values - values.mean()
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    z = bias + stats.norm.ppf([0.025, 0.975])
    expected = np.quantile(means, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    np.testing.assert_allclose([found.low, found.high], expected, atol=0.02)
    assert found.method == "BCa"
    assert found.high - found.mean > found.mean - found.low, "skewed to the right, as the values are"
    assert estimate(values) == found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [2, 19, 20, 50])
def test_values_all_alike_have_an_interval_of_no_width(n):
    values = np.full(n, 0.1) + np.resize([0.0, 1e-17], n)
    found = estimate(values)
    assert (found.low, found.high, found.sd) == (found.mean, found.mean, 0.0)


@pytest.mark.filterwarnings("error")
def test_too_few_values():
    one, none = estimate([np.nan, 2.0]), estimate([np.nan])
    assert (one.mean, one.n, one.method) == (2.0, 1, "none")
    assert (none.n, none.method) == (0, "none")
    assert np.isnan([one.sd, one.low, one.high, none.mean, none.sd, none.low, none.high]).all()


def test_an_infinite_value_is_refused():
    with pytest.raises(ValueError, match="infinite"):
        estimate([1.0, np.inf])


@settings(max_examples=50, deadline=None)
@given(st.lists(finite, min_size=2, max_size=19), st.floats(-1e3, 1e3))
def test_the_interval_holds_the_mean_and_moves_with_the_values(values, shift):
    found, moved = estimate(values), estimate(np.array(values) + shift)
    assert found.low <= found.mean <= found.high
    np.testing.assert_allclose(
        [moved.mean, moved.low, moved.high], np.add([found.mean, found.low, found.high], shift), rtol=1e-6, atol=1e-6
    )
