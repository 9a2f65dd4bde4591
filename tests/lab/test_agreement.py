"""Agreement of slots, where it is known."""

import numpy as np
import pytest

from lab.agreement import of_fields, of_slots

RNG = np.random.default_rng(3)


def test_slots_that_are_the_same_agree_as_they_are():
    found = of_slots(np.repeat(RNG.normal(size=(1, 6, 40)), 4, 0))
    assert found.same == pytest.approx(1)
    assert found.matched == pytest.approx(1)
    assert found.other < 0, "what slots share is taken away, so that others are against"
    assert abs(found.chance) < 0.5


def test_slots_in_another_order_agree_when_they_are_matched():
    one = RNG.normal(size=(6, 40))
    found = of_slots(np.stack([one[RNG.permutation(6)] for _ in range(20)]))
    assert abs(found.same) < 0.2
    assert found.matched == pytest.approx(1)


def test_unrelated_slots_agree_no_more_than_by_chance():
    found = of_slots(RNG.normal(size=(15, 6, 40)))
    assert found.same == pytest.approx(found.other, abs=0.05)
    assert found.matched == pytest.approx(found.chance, abs=0.03)
    assert found.matched > 0.1, "matching finds likeness in noise"


def test_two_slots_by_hand():
    """Centred over slots, the profiles of either member are u and -u; u of the one is (1, -1, 0), of the other (-1, 0, 1)."""
    profiles = np.array([[[2.0, 0, 1], [0, 2, 1]], [[1, 2, 3], [3, 2, 1]]])
    found = of_slots(profiles)
    r = np.corrcoef([1, -1, 0], [-1, 0, 1])[0, 1]
    assert found.same == pytest.approx(r)
    assert found.other == pytest.approx(-r)
    assert found.matched == pytest.approx(abs(r))


def test_fields_agree_as_they_are_or_not():
    field = RNG.normal(size=(8, 8))
    same, chance = of_fields(np.repeat(field[None], 10, 0))
    assert same == pytest.approx(1)
    assert abs(chance) < 0.3
    apart, chance = of_fields(RNG.normal(size=(30, 8, 8)))
    assert abs(apart) < 0.1
    assert abs(chance) < 0.1


def test_where_there_is_nothing_to_compare_there_is_no_figure():
    assert of_slots(np.ones((1, 4, 5))) is None
    assert of_slots(np.full((3, 4, 5), np.nan)) is None
    assert of_fields(np.ones((1, 3, 3))) is None
    assert of_fields(np.full((3, 3, 3), 1.05)) is None, "cold fields do not vary"
