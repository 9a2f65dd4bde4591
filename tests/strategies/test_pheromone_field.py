"""The rules of the field on 3x3 fields worked by hand, and under fuzzing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import tensor

from lab.errors import UserError
from strategies.pheromone_field import Dynamics, entropy

FIELD = tensor([[2.0, 1, 3], [2, 2, 2], [1, 3, 2]])
CHANGE = tensor([[4.0, -2, 0], [1, -8, 0.5], [0, 0, 2]])
HALF = {"rho": 0.5, "tau_min": 1.0, "tau_max": 3.0, "delta": 0.25, "top_k": 3}
EVAPORATED = tensor([[1.5, 1, 2], [1.5, 1.5, 1.5], [1, 2, 1.5]])
"""Half of the field and half of tau_min."""


def test_evaporation():
    assert torch.equal(Dynamics(**HALF).evaporated(FIELD), EVAPORATED)
    assert torch.equal(Dynamics(**HALF, evaporation="identity").evaporated(FIELD), FIELD)


def test_a_deposit_on_the_largest_three_and_what_ties_with_the_last():
    """Shares of the largest, 8, are .5, -.25, -1 and .25; all of it is .25 x 2."""
    expected = EVAPORATED + tensor([[0.25, -0.125, 0], [0, -0.5, 0], [0, 0, 0.125]])
    assert torch.equal(Dynamics(**HALF).deposited(EVAPORATED, CHANGE), expected)


def test_a_step():
    """Only the second entry, .875, is below tau_min."""
    expected = tensor([[1.75, 1, 2], [1.5, 1, 1.5], [1, 2, 1.625]])
    assert torch.equal(Dynamics(**HALF).updated(FIELD, CHANGE), expected)
    several = Dynamics(**HALF).updated(torch.stack([FIELD, FIELD]), torch.stack([CHANGE, 0 * CHANGE]))
    assert torch.equal(several[0], expected)
    assert torch.equal(several[1], EVAPORATED), "nothing is laid down where nothing happened"


def test_an_eighth_of_the_entries_by_default():
    change = torch.arange(1.0, 65).view(8, 8)
    moved = Dynamics().deposited(torch.zeros(8, 8), change) != 0
    assert moved.sum() == 8
    assert moved[-1].all()
    assert (Dynamics(top_k=100).deposited(torch.zeros(8, 8), change) != 0).all()


def test_wrong_answers_take_away_unless_deposits_are_always_positive():
    right = tensor([[True, False]])
    assert Dynamics().signs(right).tolist() == [[1, -1]]
    assert Dynamics(deposit="positive").signs(right).tolist() == [[1, 1]]


def test_a_cold_field():
    assert Dynamics().cold == pytest.approx(1.05)


numbers = st.floats(width=32, allow_subnormal=False)


@given(
    arrays("float32", (2, 3, 4), elements=numbers),
    st.lists(st.floats(0, 1), min_size=2, max_size=2),
    st.floats(0, 1e6),
    st.none() | st.integers(1, 20),
    st.sampled_from(["decay", "identity"]),
)
def test_fields_stay_within_their_bounds_and_deposits_keep_their_sign(change, places, delta, top_k, evaporation):
    dynamics = Dynamics(places[0], 0.1, 2.0, delta, top_k, evaporation=evaporation)
    field, change = torch.full((2, 3, 4), 0.1 + 1.9 * places[1]).clamp(0.1, 2), torch.from_numpy(change)
    for _ in range(3):
        before = dynamics.evaporated(field)
        field = dynamics.updated(field, change)
        assert ((field >= torch.tensor(0.1)) & (field <= 2)).all()
        moved, sign = (field - before.clamp(0.1, 2)).sign(), torch.where(change.isfinite(), change, 0).sign()
        assert ((moved == 0) | (moved == sign)).all()


def test_always_positive_deposits_saturate_where_signed_ones_do_not():
    """Half of the samples are wrong: what all of them do alike cancels, or grows without end."""
    traffic, right = torch.rand(50, 8, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.5, tensor([1, 0] * 4).bool()
    saturation = {}
    for deposit in ("signed", "positive"):
        dynamics, field = Dynamics(deposit=deposit, top_k=9), torch.full((3, 3), 1.05)
        for step in traffic:
            field = dynamics.updated(field, (dynamics.signs(right).view(8, 1, 1) * step).mean(0))
        saturation[deposit] = float(dynamics.saturation(field))
    assert saturation["positive"] == 1
    assert saturation["signed"] < 0.5


def test_entropy_and_saturation():
    even, one = torch.full((2, 2), 0.7), tensor([[1.0, 0], [0, 0]])
    assert entropy(torch.stack([even, one])).tolist() == pytest.approx([1, 0])
    assert float(entropy(tensor([[3.0, 1], [0, 0]]))) == pytest.approx(
        (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / math.log(4)
    )
    assert entropy(torch.ones(1, 1)).isnan()
    assert Dynamics().saturation(tensor([[2.0, 1.95], [1.9, 0.1]])) == 0.5, "above 1.905"


@pytest.mark.parametrize(
    "options",
    [
        {"rho": 1.1}, {"rho": -0.1}, {"tau_min": 0}, {"tau_min": 2.0}, {"tau_max": 0.05}, {"delta": -1}, {"top_k": 0},
        {"deposit": "negative"}, {"evaporation": "none"},
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(options):
    ((key, value),) = options.items()
    named = rf"strategy\.pheromone\.{key}={value}" if options != {"tau_min": 2.0} else r"tau_max=2.*tau_min=2"
    with pytest.raises(UserError, match=named):
        Dynamics(**options)
