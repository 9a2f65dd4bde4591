"""The learning-rate prior: updates of weights, not gradients, are multiplied by what a pheromone field says (Basu 2026).

    eta_ab = eta (1 + lambda (tau_ab - mean tau))

The source does not give lambda; its worked example is 1 / (mean tau), which makes the multiplier tau_ab / (mean tau). With
another lambda a field can warm so that a multiplier would be negative; it is 0 then. Without that the multipliers of a
field average 1.

What such a method has to be better than has updates of the same size, or the same multipliers:

    constant    one number for each layer and step, with which the update's L2 norm is that of the scaled one
    shuffled    the field's multipliers in a random order, drawn from the member's seed and kept: only their places are wrong,
                and with them the size of updates, as gradients differ from place to place
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from lab.protocols import generator, one_of, require, strength

CONTROLS = ("none", "constant", "shuffled")


class RatePrior(nn.Module):
    """Multipliers of updates.

    Args:
        given: lambda, a number or a list of one a member; None for 1 / (mean tau).
        control: one of :data:`CONTROLS`.
        below: what lambda is to be less than.
    """

    def __init__(self, given: float | list[float] | None, control: str, below: float):
        super().__init__()
        key = "strategy.pheromone.strength"
        self.given = None if given is None else strength(key, given)
        numbers = [] if given is None else [self.given] if isinstance(self.given, float) else self.given
        expected = f"null, or less than {below:g} = 1 / (mean - tau_min) of a cold field, from where on rates would be negative"
        require(all(n < below for n in numbers), key, given, expected)
        self.control = one_of("strategy.pheromone.control", control, CONTROLS)

    def setup(self, learner, shapes: list[tuple[int, int]]) -> None:
        if self.given is not None:
            self.register_buffer("strength", learner.value("strategy.pheromone.strength", self.given).view(-1, 1, 1))
        for n, (a, b) in enumerate(shapes if self.control == "shuffled" else ()):
            orders = [torch.randperm(a * b, generator=generator(seed, "pheromone", "shuffled", n)) for seed in learner.seeds]
            self.register_buffer(f"order_{n}", torch.stack(orders))

    def multipliers(self, fields: list[Tensor]) -> list[Tensor]:
        """Of every transition, as fields ``[M, a, b]`` say; in another order where that is the control."""
        multipliers = [self._multiplier(field) for field in fields]
        if self.control != "shuffled":
            return multipliers
        orders = [self.get_buffer(f"order_{n}") for n in range(len(fields))]
        return [each.flatten(1).gather(1, order).view_as(each) for each, order in zip(multipliers, orders, strict=True)]

    def _multiplier(self, field: Tensor) -> Tensor:
        mean = field.mean((1, 2), keepdim=True)
        return field / mean if self.given is None else (1 + self.strength * (field - mean)).clamp(min=0)

    def scales(self, learner, layers: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The factors on updates of every layer's parameters by name, or what stands for them as a control."""
        if self.control == "constant":
            updates = coming_updates(learner, [name for layer in layers for name in layer])
            layers = [of_equal_norm(layer, updates) for layer in layers]
        return {name: scale for layer in layers for name, scale in layer.items()}


@torch.no_grad()
def coming_updates(learner, names: list[str]) -> dict[str, Tensor]:
    """What the optimiser's next step will subtract of these parameters, ``[M, ...]``, at a learning rate of 1 and unscaled;
    zeros for those without a gradient."""
    optimizer, leaves = learner.optimizer, learner.population.leaves
    moved = [name for name in names if leaves[name].grad is not None]
    state = {leaves[n]: {key: value.clone() for key, value in optimizer.state.get(leaves[n], {}).items()} for n in moved}
    twin = object.__new__(type(optimizer))  # copy.copy would ask the optimiser for what a checkpoint holds, which is less
    twin.__dict__.update(optimizer.__dict__, state=defaultdict(dict, state))
    updates = twin.directions([leaves[n] for n in moved], [leaves[n].grad for n in moved])
    return {name: torch.zeros_like(leaves[name]) for name in names} | dict(zip(moved, updates, strict=True))


def of_equal_norm(scales: dict[str, Tensor], updates: dict[str, Tensor]) -> dict[str, Tensor]:
    """In place of factors on updates one number a member, with which their L2 norm together is the same; 1 where there is no
    update."""
    scaled = sum((scale * updates[name]).flatten(1).square().sum(1) for name, scale in scales.items())
    plain = sum(updates[name].flatten(1).square().sum(1) for name in scales)
    factor = torch.where(plain > 0, scaled / plain, 1).sqrt()
    return {name: factor.view(-1, *[1] * (scale.dim() - 1)) for name, scale in scales.items()}
