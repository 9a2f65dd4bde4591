"""Groups of units: what a sample does to them, worked by hand, and which weights a multiplier reaches."""

from functools import partial

import pytest
import torch
from torch import tensor

from lab.errors import UserError
from lab.networks import CNN, MLP, SlimResNet18
from lab.protocols import Batch
from lab.testing.miniature import small_learner
from strategies.pheromone_units import Groups

TINY = partial(MLP, (1, 8, 8), 4, width=3, depth=1)


def test_traffic_worked_by_hand():
    """64 inputs in groups of 32, 3 units in groups of 2 and 1, 4 outputs in groups of 2."""
    learner = small_learner([1], TINY)
    groups = Groups(learner, 2)
    inputs = torch.zeros(1, 2, 64)
    inputs[0, 0, :32], inputs[0, 0, 32:] = 3, 1  # shares .75, .25
    inputs[0, 1, 0] = -5  # all of it in the first
    hidden = tensor([[[1.0, 3, 2], [0, 0, 4]]])  # means 2 and 2, 0 and 4
    learner.activations = {"into hidden.0": inputs, "into head": hidden}
    answers = tensor([[[0.1, 0.5, 0.4, 0], [0.25, 0.25, 0.5, 0]]])  # shares .6 and .4, .5 and .5
    nothing = torch.zeros(1, 2, dtype=torch.int64)
    batch = Batch(inputs.view(1, 2, 1, 8, 8), nothing, nothing, nothing, 2)
    first, second = groups.traffic(learner, batch, answers, tensor([[0.5, -0.5]]))
    torch.testing.assert_close(first, tensor([[[0.1875, 0.1875 - 0.5], [0.0625, 0.0625]]]))
    torch.testing.assert_close(second, tensor([[[0.15, 0.1], [0.15 - 0.25, 0.1 - 0.25]]]))


def test_a_multiplier_reaches_the_weights_of_its_block():
    learner = small_learner([1, 2], TINY)
    groups = Groups(learner, 2)
    assert groups.shapes == [(2, 2), (2, 2)]
    multipliers = [tensor([[[1.0, 2], [3, 4]]]).expand(2, -1, -1), tensor([[[5.0, 6], [7, 8]]]).expand(2, -1, -1)]
    first, second = groups.scales(learner, None, multipliers)
    assert first["hidden/0/weight"].shape == (2, 3, 64)
    for m in range(2):
        assert first["hidden/0/weight"][m, :, 31:33].tolist() == [[1, 3], [1, 3], [2, 4]]
        assert second["head/weight"][m].tolist() == [[5, 5, 7]] * 2 + [[6, 6, 8]] * 2


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_channels_that_are_flattened_stay_in_their_group(norm):
    """10 channels of the last convolution in groups of 4, 3 and 3, each with 4 columns; 40 columns would be cut at 13.3."""
    learner = small_learner([1], partial(CNN, (1, 8, 8), 4, channels=5, width=6, norm=norm))
    groups = Groups(learner, 3)
    assert groups.shapes == [(1, 3), (3, 3), (3, 3), (3, 3)]
    multipliers = [torch.arange(float(a * b)).view(1, a, b) for a, b in groups.shapes]
    convolution, _, flattened, head = groups.scales(learner, None, multipliers)
    assert convolution["features/0/0/0/weight"].shape == (1, 5, 1, 1, 1)
    scale = flattened["features/1/weight"]
    assert scale.shape == (1, 6, 40)
    of_columns = tensor([0, 0, 0, 0, 1, 1, 1, 2, 2, 2]).repeat_interleave(4)
    assert torch.equal(scale[0, 0], of_columns * 3.0)
    assert torch.equal(scale[0, 5], of_columns * 3.0 + 2)
    assert [*head] == ["head/weight"]


def test_activity_of_feature_maps_is_over_places():
    learner = small_learner([1], partial(CNN, (1, 8, 8), 4, channels=2, width=4))
    groups = Groups(learner, 2)
    maps = torch.zeros(1, 1, 2, 8, 8)
    maps[0, 0, 0, 0, 0], maps[0, 0, 1, :4] = 32, 3  # means .5 and 1.5
    learner.activations = {m.before.seen: torch.ones(1, 1, m.shape[1]) for m in groups.matrices}
    learner.activations["into features.0.1.0"] = maps
    nothing = torch.zeros(1, 1, dtype=torch.int64)
    batch = Batch(torch.rand(1, 1, 1, 8, 8), nothing, nothing, nothing, 1)
    first, *_ = groups.traffic(learner, batch, torch.full((1, 1, 4), 0.25), torch.ones(1, 1))
    torch.testing.assert_close(first, tensor([[[0.25, 0.75]]]))


def test_units_behind_a_shortcut_are_those_of_the_sum():
    """Both the second convolution of a block and the one around it are followed by what the next block is given."""
    learner = small_learner([1], partial(SlimResNet18, (1, 8, 8), 4, filters=4))
    of = {m.name: m for m in Groups(learner, 4).matrices}
    assert len(of) == 1 + 8 * 2 + 3 + 1
    assert of["stem/0/weight"].behind.seen == "into stages.0.0.conv1"
    assert of["stages/1/0/conv1/weight"].behind.seen == "into stages.1.0.conv2"
    for path in ("conv2", "shortcut/0"):
        assert of[f"stages/1/0/{path}/weight"].behind.seen == "into stages.1.1.conv1"
    assert of["stages/1/0/shortcut/0/weight"].before.seen == "into stages.1.0.shortcut.0"
    assert of["stages/3/1/conv2/weight"].behind.seen == "into head"
    assert (of["head/weight"].behind.seen, of["head/weight"].before.count) == ("", 32)


def test_a_network_of_one_layer():
    assert Groups(small_learner([1], partial(MLP, (1, 8, 8), 4, depth=0)), 8).shapes == [(8, 4)]


def test_more_slots_than_units_are_refused():
    with pytest.raises(UserError, match=r"strategy\.pheromone\.slots=4: expected at most 3, as many units as go into .* head"):
        Groups(small_learner([1], TINY), 4)


class Shifted(MLP):
    """Has a parameter that is of no layer."""

    def __init__(self):
        super().__init__((1, 8, 8), 4)
        self.shift = torch.nn.Parameter(torch.zeros(4))

    def forward(self, inputs):
        return super().forward(inputs) + self.shift


def test_other_networks_are_refused():
    with pytest.raises(UserError, match=r"^network: .* expected mlp, cnn, slim_resnet18 or pathways"):
        Groups(small_learner([1], Shifted), 2)
