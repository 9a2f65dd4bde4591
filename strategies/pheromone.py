"""Pheromone-routing memory: Basu 2026, "The Coordinate System Problem in Persistent Structural Memory for Neural
Architectures", arXiv 2603.22858.

A field of pheromone lies over transitions between groups of units. Where a transition takes part in right answers it grows,
where in wrong ones it shrinks, and it evaporates; no gradient goes through it, and a reset of the weights leaves it. Its rules
are in :mod:`strategies.pheromone_field`, where it lies in :mod:`strategies.pheromone_units` (perceptrons and convolutional
networks, our reconstruction). How it acts:

    rate        updates of weights are multiplied by the field (:mod:`strategies.pheromone_rate`)
    none        not at all: a field that is only looked at

All samples of a step lay pheromone down, replayed ones too, each by its share in the step's loss. An answer is the most
probable of the output units that the sample's loss runs over.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import Strategy, one_of, whole
from strategies.pheromone_field import Dynamics, entropy
from strategies.pheromone_rate import RatePrior
from strategies.pheromone_units import Units

ACTIONS = ("rate", "none")
ANSWERS = ""
"""The path of the network as a whole among its layers."""


class Pheromone(Strategy):
    """A field for every weight matrix, kept over the whole stream.

    Args:
        action: how it acts.
        strength: lambda of ``rate``, a number or a list of one a member; null: 1 / (mean tau).
        control: of ``rate``, in place of what the field says: ``constant`` or ``shuffled``.
        slots: into how many groups a hidden layer's units are dealt.
        rho, tau_min, tau_max, delta, top_k, deposit, evaporation: see :class:`strategies.pheromone_field.Dynamics`.
    """

    needs_classes = True

    def __init__(
        self,
        action: str = "rate",
        strength: float | list[float] | None = None,
        control: str = "none",
        slots: int = 8,
        rho: float = 0.8,
        tau_min: float = 0.1,
        tau_max: float = 2.0,
        delta: float = 0.3,
        top_k: int | None = None,
        deposit: str = "signed",
        evaporation: str = "decay",
    ):
        super().__init__()
        self.dynamics = Dynamics(rho, tau_min, tau_max, delta, top_k, deposit, evaporation)
        self.action = one_of("strategy.pheromone.action", action, ACTIONS)
        self.rate = RatePrior(strength, control, 1 / (self.dynamics.cold - tau_min))
        self.slots = whole("strategy.pheromone.slots", slots, 1)

    def setup(self, learner):
        self.ground = Units(learner, self.slots)
        learner.population.watched += [ANSWERS] if ANSWERS not in learner.population.watched else []
        for n, shape in enumerate(self.ground.shapes):
            cold = torch.full((learner.members, *shape), self.dynamics.cold, dtype=learner.population.precise)
            self.register_buffer(f"field_{n}", cold)
        self.rate.setup(learner, self.ground.shapes)

    @property
    def fields(self) -> list[Tensor]:
        """tau of every weight matrix, ``[M, a, b]``."""
        return [self.get_buffer(f"field_{n}") for n in range(len(self.ground.shapes))]

    def update_scale(self, learner):
        if self.action != "rate":
            return None
        return self.rate.scales(learner, self.ground.scales(learner, self.rate.multipliers(self.fields)))

    def after_step(self, learner, batch):
        shares, takes_part = batch.shares(learner.population.precise), batch.taking_part().view(-1, 1, 1)
        answers = learner.log_probabilities(batch, learner.activations[ANSWERS].detach().to(shares.dtype))
        signs = self.dynamics.signs(answers.argmax(2) == batch.targets) * (batch.targets >= 0)
        changes = self.ground.traffic(learner, batch, answers.exp(), shares * signs)
        for field, change in zip(self.fields, changes, strict=True):
            field.copy_(torch.where(takes_part, self.dynamics.updated(field, change), field))

    def recorded(self) -> dict[str, Tensor]:
        """The fields as they are, ``[M, a, b]`` each, for who keeps them over time."""
        return {f"field_{n}": field for n, field in enumerate(self.fields)}

    def diagnostics(self):
        """How warm fields are, how many entries are close to tau_max, and how evenly they are spread: means over the fields."""
        of_fields = {"mean": lambda field: field.mean((1, 2)), "saturation": self.dynamics.saturation, "entropy": entropy}
        return {name: torch.stack([of(field) for field in self.fields]).mean(0) for name, of in of_fields.items()}
