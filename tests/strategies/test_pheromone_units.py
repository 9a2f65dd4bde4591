"""Groups of units: what a sample does to them, worked by hand, and which weights a multiplier reaches."""

from functools import partial

import pytest
import torch
from torch import tensor

from lab.errors import UserError
from lab.networks import CNN, MLP, SlimResNet18
from lab.protocols import Batch
from lab.testing.miniature import small_learner
from strategies.pheromone_units import Units

TINY = partial(MLP, (1, 8, 8), 4, width=3, depth=1)


def test_traffic_worked_by_hand():
    """64 inputs in groups of 32, 3 units in groups of 2 and 1, 4 outputs in groups of 2."""
    learner = small_learner([1], TINY)
    units = Units(learner, 2)
    inputs = torch.zeros(1, 2, 64)
    inputs[0, 0, :32], inputs[0, 0, 32:] = 3, 1  # shares .75, .25
    inputs[0, 1, 0] = -5  # all of it in the first
    learner.activations = {"hidden.1": tensor([[[1.0, 3, 2], [0, 0, 4]]])}  # means 2 and 2, 0 and 4
    answers = tensor([[[0.1, 0.5, 0.4, 0], [0.25, 0.25, 0.5, 0]]])  # shares .6 and .4, .5 and .5
    nothing = torch.zeros(1, 2, dtype=torch.int64)
    batch = Batch(inputs.view(1, 2, 1, 8, 8), nothing, nothing, nothing, 2)
    first, second = units.traffic(learner, batch, answers, tensor([[0.5, -0.5]]))
    torch.testing.assert_close(first, tensor([[[0.1875, 0.1875 - 0.5], [0.0625, 0.0625]]]))
    torch.testing.assert_close(second, tensor([[[0.15, 0.1], [0.15 - 0.25, 0.1 - 0.25]]]))


def test_a_multiplier_reaches_the_weights_of_its_block():
    learner = small_learner([1, 2], TINY)
    units = Units(learner, 2)
    assert units.shapes == [(2, 2), (2, 2)]
    multipliers = [tensor([[[1.0, 2], [3, 4]]]).expand(2, -1, -1), tensor([[[5.0, 6], [7, 8]]]).expand(2, -1, -1)]
    first, second = units.scales(learner, multipliers)
    assert first["hidden/0/weight"].shape == (2, 3, 64)
    for m in range(2):
        assert first["hidden/0/weight"][m, :, 31:33].tolist() == [[1, 3], [1, 3], [2, 4]]
        assert second["head/weight"][m].tolist() == [[5, 5, 7]] * 2 + [[6, 6, 8]] * 2


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_channels_that_are_flattened_stay_in_their_group(norm):
    """10 channels of the last convolution in groups of 4, 3 and 3, each with 4 columns; 40 columns would be cut at 13.3."""
    learner = small_learner([1], partial(CNN, (1, 8, 8), 4, channels=5, width=6, norm=norm))
    units = Units(learner, 3)
    assert units.shapes == [(1, 3), (3, 3), (3, 3), (3, 3)]
    multipliers = [torch.arange(float(a * b)).view(1, a, b) for a, b in units.shapes]
    convolution, _, flattened, head = units.scales(learner, multipliers)
    assert convolution["features/0/0/0/weight"].shape == (1, 5, 1, 1, 1)
    scale = flattened["features/1/weight"]
    assert scale.shape == (1, 6, 40)
    groups = tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]).repeat_interleave(4)
    assert torch.equal(scale[0, 0], groups * 3.0)
    assert torch.equal(scale[0, 5], groups * 3.0 + 2)
    assert [*head] == ["head/weight"]


def test_activity_of_feature_maps_is_over_places():
    learner = small_learner([1], partial(CNN, (1, 8, 8), 4, channels=2, width=4))
    units = Units(learner, 2)
    maps = torch.zeros(1, 1, 2, 8, 8)
    maps[0, 0, 0, 0, 0], maps[0, 0, 1, :4] = 32, 3  # means .5 and 1.5
    learner.activations = {m.before.path: torch.ones(1, 1, m.before.units) for m in units.matrices[2:]}
    learner.activations[units.matrices[1].before.path] = maps
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    batch = Batch(torch.rand(1, 1, 1, 8, 8), nothing, nothing, nothing, 1)
    first, *_ = units.traffic(learner, batch, torch.full((1, 1, 4), 0.25), torch.ones(1, 1))
    torch.testing.assert_close(first, tensor([[[0.25, 0.75]]]))


def test_more_slots_than_units_are_refused():
    with pytest.raises(UserError, match=r"strategy\.pheromone\.slots=4: expected at most 3, the units of .* hidden\.1"):
        Units(small_learner([1], TINY), 4)


@pytest.mark.parametrize("network", [SlimResNet18, partial(MLP, depth=0)])
def test_other_networks_are_refused(network):
    with pytest.raises(UserError, match=r"^network: "):
        Units(small_learner([1], partial(network, (1, 8, 8), 4)), 2)
