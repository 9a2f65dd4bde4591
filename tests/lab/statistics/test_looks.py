"""Spending functions against published values and against their definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.statistics import levels, reserve_level


def test_obrien_flemings_published_values():
    """Lan & DeMets (1983), each side of a two-sided .05: of .025, .00153 is spent at half time, .00305 on both sides."""
    first, second = levels([10, 20], 0.025)
    assert 2 * first == pytest.approx(0.00305, abs=5e-6)
    assert first + second == pytest.approx(0.025)
    # All of .05 on one side: .0056 at half time.
    assert levels([10, 20], 0.05)[0] == pytest.approx(0.0056, abs=5e-5)


def test_pococks_values():
    """Lan & DeMets (1983): .05 ln(1 + (e - 1) / 2) = .0310 at half time; thirds spend .0226, .0155 and .0119."""
    assert levels([10, 20], 0.05, "pocock")[0] == pytest.approx(0.0310, abs=5e-5)
    thirds = levels([10, 20, 30], 0.05, "pocock")
    np.testing.assert_allclose(thirds, [0.0226, 0.0155, 0.0119], atol=1e-4)


def test_one_look_has_the_whole_level():
    assert levels([10], 0.05) == pytest.approx([0.05])


looks = st.lists(st.integers(1, 500), min_size=1, max_size=6, unique=True).map(sorted)


@settings(max_examples=50, deadline=None)
@given(looks, st.floats(0.001, 0.3), st.sampled_from(["obrien_fleming", "pocock"]))
def test_levels_sum_to_the_whole(looks, alpha, spending):
    found = levels(looks, alpha, spending)
    assert min(found) >= 0
    assert sum(found) == pytest.approx(alpha)


def test_the_reserve_is_never_spent_up():
    assert reserve_level(0.01, 1) == 0.005
    assert math.fsum(reserve_level(0.01, k) for k in range(1, 60)) <= 0.01
    assert reserve_level(0.0, 3) == 0.0


def test_what_is_refused():
    for bad in ([], [10, 10], [20, 10], [0, 10]):
        with pytest.raises(ValueError, match="looks"):
            levels(bad, 0.05)
    with pytest.raises(ValueError, match="spending"):
        levels([10], 0.05, "all at once")
    with pytest.raises(ValueError, match="level"):
        levels([10], 1.5)
    with pytest.raises(ValueError, match="extension 0"):
        reserve_level(0.01, 0)
