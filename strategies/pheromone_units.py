"""Groups of neighbouring units as slots: pheromone for perceptrons and convolutional networks. Our reconstruction.

The source has slots in its own network alone. Here the units of a layer, in their order, are dealt into groups as large as each
other (+- 1), and every weight matrix W ``[out, in]`` has a field over (group of inputs -> group of outputs). What a sample does
to W's blocks is the outer product of two distributions over groups,

    p(a, b) = u_a v_b        u_a = mean |h| of group a of the inputs / the sum of these over all groups, v_b likewise

with h the activations before and behind W; behind the last layer they are the probabilities of the output units. Units of a
convolution are its channels, whose |h| is averaged over all places. A multiplier of the block (a, b) multiplies the update of
every weight between a unit of a and one of b; biases and normalisation layers are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.networks.norm import BatchNorm
from lab.protocols import UserError, require

INPUTS, OUTPUTS = "inputs", "outputs"
"""What stands for a path where units are what the network is given, or answers."""
NORMALISATION = (BatchNorm, nn.GroupNorm, nn.LayerNorm)
"""Layers whose parameters have no field."""


@dataclass(frozen=True)
class Layer:
    """The units behind the activation at ``path``, dealt into so many ``groups``."""

    path: str
    units: int
    groups: int

    def of_unit(self, like: Tensor, repeats: int = 1) -> Tensor:
        """The group of each unit, ``repeats`` times over, int64 ``[units * repeats]``, on the device of a tensor."""
        units = torch.arange(self.units * repeats, device=like.device) // repeats
        return units * self.groups // self.units


@dataclass(frozen=True)
class Matrix:
    """A weight ``[M, out, in, ...]`` by its name among the population's leaves, and the layers around it."""

    name: str
    before: Layer
    behind: Layer
    repeats: int
    """Columns of each unit before it: a channel that was flattened has several."""
    kernel: int
    """How many axes the weight has behind ``[M, out, in]``."""


class Units:
    """Where a population's fields lie, and how they act.

    Args:
        slots: into how many groups the units of a hidden layer are dealt; those of inputs and outputs, of which the data decide
            how many there are, into at most as many as there are.
    Raises:
        UserError: more slots than a hidden layer has units, or another kind of network.
    """

    def __init__(self, learner, slots: int):
        self.matrices = list(_matrices(learner, slots))
        self.shapes = [(each.before.groups, each.behind.groups) for each in self.matrices]
        hidden = [each.before.path for each in self.matrices[1:]]
        learner.population.watched += [path for path in hidden if path not in learner.population.watched]

    def traffic(self, learner, batch, answers: Tensor, weights: Tensor) -> list[Tensor]:
        """For each matrix the sum over samples of weight times p, ``[M, a, b]``; ``answers`` ``[M, B, C]`` are probabilities,
        ``weights`` ``[M, B]``."""
        first, last = self.matrices[0].before, self.matrices[-1].behind
        shares = [_shares(batch.inputs.to(weights.dtype), first)]
        for matrix in self.matrices[1:]:
            shares.append(_shares(learner.activations[matrix.before.path].detach().to(weights.dtype), matrix.before))
        shares.append(_shares(answers, last))
        return [(u * weights.unsqueeze(2)).mT @ v for u, v in pairwise(shares)]

    def scales(self, learner, multipliers: list[Tensor]) -> list[dict[str, Tensor]]:
        """For each matrix what multipliers ``[M, a, b]`` of its blocks are for its weights' updates, by the weight's name."""
        return [{m.name: _blown_up(multiplier, m)} for m, multiplier in zip(self.matrices, multipliers, strict=True)]


def _matrices(learner, slots: int) -> Iterator[Matrix]:
    """The network's weight matrices in the order in which they are run."""
    population, shape = learner.population, learner.reader.shape
    layers = population.layers(nn.Linear, nn.Conv2d, *NORMALISATION) or {}
    weights = {path: layer.weight for path, layer in layers.items() if not isinstance(layer, NORMALISATION)}
    hidden = population.hidden(shape) if weights and not learner.reader.tokens else {}
    run = list(population.put_out([*weights, *hidden], shape).items()) if hidden else []
    _require_chain([path in weights for path, _ in run] == [True, False] * (len(run) // 2) + [True])
    before = None
    for number, (path, (outside, *_)) in enumerate(run[::2]):
        weight = weights[path]
        before = before or _layer(INPUTS, weight.shape[1], slots)
        behind = run[2 * number + 1] if 2 * number + 1 < len(run) else None
        _require_chain(weight.shape[1] % before.units == 0 and (behind is None or behind[1][0] == outside))
        after = _layer(OUTPUTS, outside, slots) if behind is None else _layer(behind[0], outside, slots)
        repeats = weight.shape[1] // before.units
        yield Matrix(population.leaf_of(path, "weight"), before, after, repeats, weight.dim() - 2)
        before = after


def _layer(path: str, units: int, slots: int) -> Layer:
    fits = path in (INPUTS, OUTPUTS) or slots <= units
    require(fits, "strategy.pheromone.slots", slots, f"at most {units}, the units of the network's layer {path}")
    return Layer(path, units, min(slots, units))


def _require_chain(holds: bool) -> None:
    if not holds:
        raise UserError(
            "network: strategy.pheromone lays its fields between groups of units, where linear layers or convolutions take "
            "turns with activation modules, or between the slots of a network that has them; expected mlp, cnn or pathways"
        )


def _shares(active: Tensor, layer: Layer) -> Tensor:
    """Each group's share in the activity ``[M, B, units, ...]`` (flat inputs may come in any shape), ``[M, B, groups]``."""
    size = active.abs().flatten(2).unflatten(2, (layer.units, -1)).mean(3)
    member = F.one_hot(layer.of_unit(active), layer.groups).to(size.dtype)
    mean = size @ (member / member.sum(0))
    return mean / mean.sum(2, keepdim=True).clamp(min=torch.finfo(mean.dtype).tiny)


def _blown_up(multiplier: Tensor, matrix: Matrix) -> Tensor:
    """``[M, a, b]`` as ``[M, out, in, ...]``; as ``[in, out]`` in memory, the order in which weights lie there."""
    columns, rows = matrix.before.of_unit(multiplier, matrix.repeats), matrix.behind.of_unit(multiplier)
    scale = multiplier.index_select(1, columns).index_select(2, rows).mT
    return scale[(..., *[None] * matrix.kernel)]
