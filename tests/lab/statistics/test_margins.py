"""Non-inferiority, superiority and equivalence against every flip, SciPy and statsmodels."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from lab.statistics import equivalent, noninferior, superior

D = np.random.default_rng(5).normal(0.05, 0.1, 8)


def share_above(values):
    signs = np.array(list(itertools.product([1, -1], repeat=len(values))))
    return (signs @ values >= values.sum() - 1e-12).mean()


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.3])
def test_sign_flip_against_every_flip(margin):
    assert noninferior(D, margin) == share_above(D + margin)
    assert superior(D, margin) == share_above(D - margin)
    assert equivalent(D, margin) == max(share_above(D + margin), share_above(margin - D))


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.3])
def test_t_against_statsmodels(margin):
    assert equivalent(D, margin, "t") == pytest.approx(ttost_paired(D, np.zeros(8), -margin, margin)[0])
    assert noninferior(D, margin, "t") == pytest.approx(DescrStatsW(D).ttest_mean(-margin, "larger")[1])
    assert superior(D, margin, "t") == pytest.approx(DescrStatsW(D).ttest_mean(margin, "larger")[1])


def test_a_hand_worked_case():
    """Ten seeds that each lose 0.01 are no worse by 0.02, with the smallest p there is, and not by 0.01 or less."""
    losses = np.full(10, -0.01)
    assert noninferior(losses, 0.02) == 1 / 1024
    assert noninferior(losses, 0.01) == noninferior(losses, 0.0) == 1.0
    assert equivalent(losses, 0.02) == 1 / 1024
    assert superior(-losses, 0.005) == 1 / 1024


@pytest.mark.filterwarnings("error")
def test_differences_all_alike_by_t():
    assert noninferior(np.full(5, -0.01), 0.02, "t") == 0.0
    assert noninferior(np.full(5, -0.01), 0.01, "t") == 1.0
    assert equivalent(np.full(5, 0.3), 0.2, "t") == 1.0


def test_what_is_refused():
    for call in (lambda: noninferior(D, -0.1), lambda: equivalent(D, 0.0), lambda: noninferior(D, np.nan)):
        with pytest.raises(ValueError, match="margin"):
            call()
    with pytest.raises(ValueError, match="sign_flip or t"):
        superior(D, 0.0, "wilcoxon")
    for method in ("sign_flip", "t"):
        with pytest.raises(ValueError, match="needs two"):
            superior([1.0, np.nan], 0.0, method)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=3, max_size=8), st.floats(0.01, 1), st.floats(0.01, 1))
def test_a_wider_margin_is_never_harder_by_t_and_equivalence_is_the_harder_side(values, one, other):
    small, large = sorted((one, other))
    assert noninferior(values, large, "t") <= noninferior(values, small, "t") + 1e-12
    assert equivalent(values, large) == max(noninferior(values, large), noninferior(np.negative(values), large))


def test_superiority_without_a_margin_is_the_one_sided_test():
    assert superior(D, 0.0, "t") == pytest.approx(stats.ttest_1samp(D, 0, alternative="greater").pvalue)
