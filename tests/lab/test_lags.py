"""Laws over times since, and dealing out by largest remainder."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UserError
from lab.lags import LAWS, Law, apportion, law

AGES = st.lists(st.integers(1, 2000), min_size=1, max_size=30)
EXPONENTS = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 8.0, math.inf])


def shares(kind: str, exponent: float, ages: list[float]) -> list[float]:
    return Law(kind, exponent).shares(torch.tensor(ages)).tolist()


@pytest.mark.parametrize(
    ("kind", "exponent", "expected"),
    [
        ("power", 1.0, [6 / 11, 3 / 11, 2 / 11]),
        ("power", 0.5, [0.43774, 0.30953, 0.25273]),  # 1, .70711, .57735 of 2.28446
        ("power", math.inf, [1, 0, 0]),
        ("power", 0.0, [1 / 3, 1 / 3, 1 / 3]),
        ("uniform", 2.0, [1 / 3, 1 / 3, 1 / 3]),
        ("recent", 2.0, [1, 0, 0]),
        ("exponential", math.inf, [1, 0, 0]),
    ],
)
def test_it_is_the_formula_at_ages_one_to_three(kind, exponent, expected):
    for got, wanted in zip(shares(kind, exponent, [1.0, 2.0, 3.0]), expected, strict=True):
        assert got == pytest.approx(wanted, abs=1e-5)


@given(AGES, EXPONENTS)
def test_the_exponential_has_the_power_laws_mean_age_and_falls_by_one_factor(ages, exponent):
    times = torch.tensor(ages, dtype=torch.float64)
    power, exponential = (Law(kind, exponent).shares(times) for kind in ("power", "exponential"))
    assert (exponential * times).sum().item() == pytest.approx((power * times).sum().item(), rel=1e-6)
    known = exponential > 1e-200
    if known.sum() > 2 and len(set(times[known].tolist())) > 2:
        order = times[known].argsort()
        slopes = exponential[known][order].log().diff() / times[known][order].diff()
        slopes = slopes[slopes.isfinite()]
        assert slopes.std(correction=0) < 1e-6


@given(AGES, EXPONENTS, st.sampled_from(LAWS))
def test_shares_are_shares_and_do_not_rise_with_age(ages, exponent, kind):
    times = torch.tensor(sorted(ages), dtype=torch.float64)
    got = Law(kind, exponent).shares(times)
    assert got.sum().item() == pytest.approx(1)
    assert (got >= 0).all()
    assert (got.diff() <= 1e-12).all()


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("exponent", [0.5, 2000.0, math.inf])
def test_what_was_never_met_gets_nothing(kind, exponent):
    never = math.inf
    assert shares(kind, exponent, [never, never]) == [0, 0]
    alone, beside = shares(kind, exponent, [2.0, 5.0]), shares(kind, exponent, [2.0, never, 5.0])
    assert beside == pytest.approx([alone[0], 0, alone[1]])


@given(st.integers(0, 10_000), AGES, EXPONENTS, st.sampled_from(LAWS))
def test_all_is_dealt_out_and_nobody_gets_more_than_one_off_what_is_due(total, ages, exponent, kind):
    due = Law(kind, exponent).shares(torch.tensor(ages))
    dealt = apportion(total, due)
    assert dealt.sum() == total
    assert ((dealt - due * total).abs() < 1).all()


def test_what_is_left_over_goes_to_the_largest_remainders_and_first_of_equal_ones():
    # 7.5 / 2.25 / .25: the one left over belongs to the first.
    assert apportion(10, torch.tensor([0.75, 0.225, 0.025])).tolist() == [8, 2, 0]
    assert apportion(10, torch.full((3,), 1 / 3)).tolist() == [4, 3, 3]
    assert apportion(torch.tensor([[1], [2]]), torch.full((2, 4), 0.25)).tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert apportion(7, torch.zeros(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("exponent", [-0.5, math.nan, "half", None, True])
def test_an_exponent_that_is_none_is_refused_by_its_key(exponent):
    with pytest.raises(UserError, match=r"environment\.exponent"):
        law("environment", "power", exponent)


def test_a_law_that_is_none_is_refused_by_its_key():
    with pytest.raises(UserError, match=r"strategy\.rehearsal\.law=zipf"):
        law("strategy.rehearsal", "zipf", 1)
