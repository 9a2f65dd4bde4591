"""Groups of units as slots: pheromone for perceptrons and convolutional networks. Our reconstruction.

The source has slots in its own network alone. Here the units behind a layer, in their order, are dealt into groups as large as
each other (+- 1), and every weight matrix W ``[out, in]`` has a field over (group of inputs -> group of outputs). What a sample
does to W's blocks is the outer product of two distributions over groups,

    p(a, b) = u_a v_b        u_a = mean |h| of group a of the inputs / the sum of these over all groups, v_b likewise

with h what goes into W, and what goes into the next layer that takes the units behind W: activations, where there is an
activation in between. Behind the last layer they are the probabilities of the output units. Units of a convolution are its
channels, whose |h| is averaged over all places. A multiplier of the block (a, b) multiplies the update of every weight between
a unit of a and one of b; biases and normalisation layers are left alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.networks.norm import BatchNorm
from lab.protocols import INTO, UserError, require

NORMALISATION = (BatchNorm, nn.GroupNorm, nn.LayerNorm)
"""Layers whose parameters have no field."""


@dataclass(frozen=True)
class Units:
    """So many, dealt into groups; ``seen``: the name of what their activity is seen by, "" for the network's answers."""

    seen: str
    count: int
    groups: int

    def of_each(self, like: Tensor, repeats: int = 1) -> Tensor:
        """The group of each unit, ``repeats`` times over, int64 ``[count * repeats]``, on the device of a tensor."""
        units = torch.arange(self.count * repeats, device=like.device) // repeats
        return units * self.groups // self.count


@dataclass(frozen=True)
class Matrix:
    """A weight ``[M, out, in, ...]`` by its name among the population's leaves, and the units around it."""

    name: str
    before: Units
    behind: Units
    shape: tuple[int, ...]

    @property
    def repeats(self) -> int:
        """Columns of each unit before it: a channel that was flattened has several."""
        return self.shape[1] // self.before.count


class Groups:
    """Where a population's fields lie, and how they act.

    Args:
        slots: into how many groups the units of a hidden layer are dealt; those of inputs and outputs, of which the data decide
            how many there are, into at most as many as there are.
    Raises:
        UserError: more slots than a hidden layer has units, or a network of other layers.
    """

    def __init__(self, learner, slots: int):
        self.matrices = _matrices(learner, slots)
        self.shapes = [(each.before.groups, each.behind.groups) for each in self.matrices]
        seen = [each.before.seen for each in self.matrices]
        learner.population.watched += [path for path in seen if path not in learner.population.watched]

    def traffic(self, learner, batch, answers: Tensor, weights: Tensor) -> list[Tensor]:
        """For each matrix the sum over samples of weight times p, ``[M, a, b]``; ``answers`` ``[M, B, C]`` are probabilities,
        ``weights`` ``[M, B]``."""
        units = dict.fromkeys(each for matrix in self.matrices for each in (matrix.before, matrix.behind))
        active = {each: learner.activations[each.seen].detach() if each.seen else answers for each in units}
        shares = {each: _shares(active[each].to(weights.dtype), each) for each in units}
        return [(shares[m.before] * weights.unsqueeze(2)).mT @ shares[m.behind] for m in self.matrices]

    def scales(self, learner, batch, multipliers: list[Tensor]) -> list[dict[str, Tensor]]:
        """For each matrix what multipliers ``[M, a, b]`` of its blocks are for its weights' updates, by the weight's name."""
        return [{m.name: _blown_up(multiplier, m)} for m, multiplier in zip(self.matrices, multipliers, strict=True)]


def _matrices(learner, slots: int) -> list[Matrix]:
    """The network's weight matrices in the order in which they are run."""
    population = learner.population
    layers = population.layers(nn.Linear, nn.Conv2d, *NORMALISATION) or {}
    weights = {path: tuple(layer.weight.shape) for path, layer in layers.items() if type(layer) not in NORMALISATION}
    run = [*population.put_out(weights, learner.reader.shape)] if weights and not learner.reader.tokens else []
    behind = {path: _next(run[n + 1 :], weights, weights[path][0]) for n, path in enumerate(run)}
    if not run or any(taker is None for taker in [*behind.values()][:-1]):
        raise UserError(
            "network: strategy.pheromone lays its fields between groups of units, in networks of linear layers and "
            "convolutions, or between the slots of a network that has them; expected mlp, cnn, slim_resnet18 or pathways"
        )
    counts = {taker: weights[path][0] for path, taker in behind.items() if taker}

    def units(path: str | None, count: int, given_by_data: bool) -> Units:
        fits = given_by_data or slots <= count
        require(fits, "strategy.pheromone.slots", slots, f"at most {count}, as many units as go into the layer {path}")
        return Units(f"{INTO}{path}" if path else "", count, min(slots, count))

    return [
        Matrix(
            population.leaf_of(path, "weight"),
            units(path, counts.get(path, weights[path][1]), path not in counts),
            units(taker, weights[path][0], taker is None),
            weights[path],
        )
        for path, taker in behind.items()
    ]


def _next(later: list[str], weights: dict[str, tuple[int, ...]], count: int) -> str | None:
    """The next layer that takes so many units, or has several columns for each of them; None where there is none."""
    takes = (path for path in later if weights[path][1] == count or (len(weights[path]) == 2 and weights[path][1] % count == 0))
    return next(takes, None)


def _shares(active: Tensor, units: Units) -> Tensor:
    """Each group's share in the activity ``[M, B, units, ...]`` (flat ones may come in any shape), ``[M, B, groups]``."""
    size = active.abs().flatten(2).unflatten(2, (units.count, -1)).mean(3)
    member = F.one_hot(units.of_each(active), units.groups).to(size.dtype)
    mean = size @ (member / member.sum(0))
    return mean / mean.sum(2, keepdim=True).clamp(min=torch.finfo(mean.dtype).tiny)


def _blown_up(multiplier: Tensor, matrix: Matrix) -> Tensor:
    """``[M, a, b]`` as ``[M, out, in, ...]``; as ``[in, out]`` in memory, the order in which weights lie there."""
    columns, rows = matrix.before.of_each(multiplier, matrix.repeats), matrix.behind.of_each(multiplier)
    scale = multiplier.index_select(1, columns).index_select(2, rows).mT
    return scale[(..., *[None] * (len(matrix.shape) - 2))]
