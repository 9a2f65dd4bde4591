"""Numbers that configuration gives: what is refused, and in which words."""

import numpy as np
import pytest

from lab.config import check
from lab.errors import LARGEST, UserError, number, strength
from lab.run import composed


def test_the_largest_number_is_that_of_float32():
    assert float(np.finfo(np.float32).max) == LARGEST


@pytest.mark.parametrize("given", [float("inf"), -float("inf"), float("nan"), 1e40, -1, True, "1", None])
@pytest.mark.parametrize("of", [number, strength])
def test_what_is_no_finite_number_is_refused(of, given):
    with pytest.raises(UserError, match=r"^strategy.x.pull=.*: expected a finite number from 0 on"):
        of("strategy.x.pull", given)


def test_in_a_list_each_has_to_be_one():
    assert strength("strategy.x.pull", [1, 1e38]) == [1.0, 1e38]
    for given in ([1.0, float("inf")], []):
        with pytest.raises(UserError, match="a list of one for each member"):
            strength("strategy.x.pull", given)


def test_an_upper_bound_is_said():
    assert number("strategy.x.share", 1, most=1) == 1.0
    with pytest.raises(UserError, match=r"strategy.x.share=inf: expected a number in \[0, 1\]"):
        number("strategy.x.share", float("inf"), most=1)


@pytest.mark.parametrize("clip", ["true", "0", "-1", "inf", "much"])
def test_gradients_are_clipped_to_a_number(clip):
    with pytest.raises(UserError, match=r"clip=.*: expected a finite number above 0, or null"):
        check(composed("strategy=naive", f"clip={clip}"))
