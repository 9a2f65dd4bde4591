"""Paired comparisons against SciPy's own tests and a hand-worked case."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lab.statistics import paired, sign_flip


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


def flipped(differences, shift=0.0, alternative="two-sided"):
    """p of the sign-flip test by trying every flip, one after the other."""
    centred = [d - shift for d in differences]
    out = {"two-sided": abs, "greater": lambda x: x, "less": lambda x: -x}[alternative]
    sums = [out(math.fsum(s * d for s, d in zip(signs, centred, strict=True))) for signs in flips(len(centred))]
    return np.mean([s >= out(math.fsum(centred)) - 1e-12 * np.abs(centred).sum() for s in sums])


def flips(n):
    return itertools.product([1, -1], repeat=n)


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("n", [2, 5, 9, 12])
def test_sign_flip_against_every_flip_and_against_scipy(n, alternative):
    d = np.random.default_rng(n).normal(0.4, 1, n)
    found = sign_flip(d, 0.1, alternative)
    scipys = stats.permutation_test(
        (d - 0.1,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative=alternative
    )
    assert found.p == flipped(d, 0.1, alternative) == pytest.approx(scipys.pvalue)
    assert (found.exact, found.resamples) == (True, 2**n)


def test_twenty_pairs_are_exact_and_twenty_one_sampled():
    d = np.random.default_rng(4).normal(0.4, 1, 21)
    assert sign_flip(d[:20]).exact
    assert sign_flip(d[:20]).resamples == 2**20
    found = sign_flip(d)
    assert (found.exact, found.resamples, found) == (False, 99_999, sign_flip(d))
    left, right = ((np.array(list(flips(n))) @ part) for n, part in ((10, d[:10]), (11, d[10:])))
    exact = (np.abs(np.add.outer(left, right)) >= abs(d.sum()) - 1e-12).mean()
    assert found.p == pytest.approx(exact, abs=4 * np.sqrt(exact / 1e5))
    assert found.p * 100_000 == pytest.approx(round(found.p * 100_000)), "(b + 1) / (B + 1)"
    assert sign_flip(np.ones(30)).p == pytest.approx(1e-5), "b = 0"


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5.0, 1e7 / 3])
def test_differences_all_alike(value):
    assert sign_flip(np.full(10, value)).p == 2 / 1024
    assert sign_flip(np.full(10, value), alternative="greater").p == 1 / 1024
    assert sign_flip(np.full(10, value), alternative="less").p == 1.0


def test_what_is_rounding_alone_is_no_difference():
    assert sign_flip(np.full(10, 0.1 + 0.2), 0.3).p == 1.0  # 0.1 + 0.2 - 0.3 = 6e-17
    assert sign_flip(np.full(10, 0.1 + 0.2), 0.3, "greater").p == 1.0
    for n in (2, 10, 20, 25):
        assert sign_flip(np.zeros(n)).p == sign_flip(np.full(n, 1e-17)).p == 1.0
    # 0.1 + 0.2 and 0.3 are one sum: of 8 flips of each, those with |sum| 0.6 or, for the second, 0 and more.
    assert sign_flip([0.1, 0.2, 0.3]).p == 2 / 8
    assert sign_flip([0.1, 0.2, -0.3], alternative="greater").p == 5 / 8
    assert sign_flip([0.1, 0.2, -0.3]).p == 1.0


def test_wrong_words_and_too_few():
    with pytest.raises(ValueError, match="two-sided, greater, less"):
        sign_flip([1, 2], alternative="larger")
    with pytest.raises(ValueError, match="1 seeds"):
        sign_flip([1.0, np.nan])


differences = st.lists(st.floats(-100, 100), min_size=2, max_size=9)


@settings(max_examples=50, deadline=None)
@given(differences, st.sampled_from([-3.0, 0.5, 20.0]))
def test_p_is_a_probability_and_knows_no_names_for_a_and_b(d, shift):
    d = np.round(d, 6)
    p = sign_flip(d).p
    assert 2 / 2 ** len(d) <= p <= 1
    assert sign_flip(-d).p == p
    assert sign_flip(d, alternative="greater").p == sign_flip(-d, alternative="less").p
    rounded = np.round(d, 3)  # so that the shift loses nothing
    assert sign_flip(rounded + shift, shift).p == sign_flip(rounded).p
    assert p == flipped(d)


def test_everything_that_a_pair_of_methods_gets():
    draw = np.random.default_rng(8)
    a, b = draw.normal(0.7, 1, 12), draw.normal(0, 1, 12)
    found, d = paired(a, b), a - b
    assert found == paired(d)
    assert (found.sd, found.seeds, found.exact, found.method) == (np.std(d, ddof=1), 12, True, "t")
    assert found.wilcoxon == stats.wilcoxon(a, b).pvalue
    # Hedges (1981): J(m) is close to 1 - 3 / (4 m - 1).
    assert found.effect == pytest.approx(d.mean() / d.std(ddof=1) * (1 - 3 / (4 * 11 - 1)), rel=1e-3)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize(("n", "mean"), [(2, 1.0), (3, 0.1), (10, -0.8), (60, 3.0)])
def test_the_interval_of_the_effect_is_where_t_is_just_possible(n, mean, level):
    d = np.random.default_rng(n).normal(mean, 1, n)
    found, t = paired(d, level=level), stats.ttest_1samp(d, 0).statistic
    tail = (1 - level) / 2
    # Cohen's d and its limits as draws: T = (Z + effect sqrt n) / sqrt(V / m).
    draw = np.random.default_rng(0)
    z, v = draw.normal(size=100_000), np.sqrt(draw.chisquare(n - 1, 100_000) / (n - 1))
    for effect, above in ((found.effect_low, tail), (found.effect_high, 1 - tail)):
        assert ((z + effect * n**0.5) / v > t).mean() == pytest.approx(above, abs=0.005)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [2, 5, 10, 25])
def test_extreme_differences_neither_fail_nor_warn(n):
    alike, none = paired(np.full(n, -0.1)), paired(np.zeros(n))
    assert (alike.effect, alike.effect_low, alike.effect_high, alike.sd) == (-np.inf, -np.inf, -np.inf, 0.0)
    assert (none.effect, none.effect_low, none.effect_high, none.wilcoxon, none.p) == (0.0, 0.0, 0.0, None, 1.0)
    huge = paired(1.0 + 1e-9 * np.arange(n))
    assert 0 < huge.effect_low < huge.effect_high < np.inf
    tiny = paired(np.r_[np.resize([1.0, -1.0], n - 1), 1e-9])
    assert tiny.effect_low < 0 < tiny.effect_high


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
@pytest.mark.parametrize("df", [1, 2, 9, 200])
def test_the_noncentral_t_is_inverted_everywhere(df, level):
    from lab.statistics.effects import _noncentrality

    limits = np.array([_noncentrality(float(t), df, level) for t in np.r_[0, np.geomspace(1e-6, 1e7, 40)]])
    assert np.isfinite(limits).all()
    assert (np.diff(limits, axis=0) >= -1e-9).all(), "limits grow with t"
