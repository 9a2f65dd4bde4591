"""Pheromone-routing memory: Basu 2026, "The Coordinate System Problem in Persistent Structural Memory for Neural
Architectures", arXiv 2603.22858.

A field of pheromone lies over transitions between slots: those of a network that has slots (:mod:`strategies.pheromone_slots`),
or groups of units of perceptrons and convolutional networks (:mod:`strategies.pheromone_units`, our reconstruction). Where a
transition takes part in right answers the field grows, where in wrong ones it shrinks, and it evaporates
(:mod:`strategies.pheromone_field`); no gradient goes through it. How it acts:

    routing      networks with slots read it: p(a -> b) = softmax_b(alpha log tau_ab + beta log(A_ab + eps))
    rate         updates of weights are multiplied by it (:mod:`strategies.pheromone_rate`)
    completion   what routing looked like is learnt, and a prior after a reset (:mod:`strategies.pheromone_completion`)
    none         not at all: a field that is only looked at

A reset of the weights (``Phase.fresh``) leaves the field, or what ``carry`` makes of it (:mod:`strategies.pheromone_carrying`).

All samples of a step lay pheromone down, replayed ones too, each by its share in the step's loss. An answer is the most
probable of the output units that the sample's loss runs over.
"""

from __future__ import annotations

from inspect import signature

import torch
from torch import Tensor

from lab.protocols import Strategy, UserError, invalid, one_of, require, whole
from strategies.pheromone_carrying import CARRIES, Kept, of_rank, smallest
from strategies.pheromone_completion import Completion
from strategies.pheromone_field import Dynamics, entropy
from strategies.pheromone_rate import RatePrior
from strategies.pheromone_slots import Slots, has_slots
from strategies.pheromone_units import Groups

ACTIONS = ("routing", "rate", "completion")
ANSWERS = ""
"""The path of the network as a whole among its layers."""
GROUPS = 8
"""Of units, where ``slots`` does not say."""


class Pheromone(Strategy):
    """A field for every layer, kept over the whole stream.

    Args:
        action: how it acts: ``routing``, ``rate``, ``completion``, a list of several of these, or ``none``.
        strength: lambda of ``rate``, a number or a list of one a member; null: 1 / (mean tau).
        control: of ``rate``, in place of what the field says: ``constant`` or ``shuffled``.
        slots: into how many groups a hidden layer's units are dealt; null: 8, or the slots that the network has.
        field: a file of fields to begin with, a run's `recorded.npz` say; null: cold ones.
        carry: what becomes of fields when weights are reset.
        rank: of ``carry=svd``.
        completion_pattern, completion_trained, completion_weight, completion_epochs: see
            :mod:`strategies.pheromone_completion`.
        rho, tau_min, tau_max, delta, top_k, deposit, evaporation: see :class:`strategies.pheromone_field.Dynamics`.
    """

    needs_classes = True

    def __init__(
        self,
        action: str | list[str] = "rate",
        strength: float | list[float] | None = None,
        control: str = "none",
        slots: int | None = None,
        field: str | None = None,
        carry: str = "keep",
        rank: int = 4,
        completion_pattern: str = "agreement",
        completion_trained: bool = True,
        completion_weight: float = 0.3,
        completion_epochs: int = 20,
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
        listed = action if isinstance(action, list) else [action]
        different = bool(listed) and len(set(map(str, listed))) == len(listed)
        require(different, "strategy.pheromone.action", action, "one of its values, or a list of different ones")
        possible = ACTIONS if len(listed) > 1 else (*ACTIONS, "none")
        self.actions = {one_of("strategy.pheromone.action", each, possible) for each in listed} - {"none"}
        self.rate = RatePrior(strength, control, 1 / (self.dynamics.cold - tau_min))
        self.slots = None if slots is None else whole("strategy.pheromone.slots", slots, 1)
        self.kept = None if field is None else Kept(field)
        self.carry = one_of("strategy.pheromone.carry", carry, CARRIES)
        self.rank = whole("strategy.pheromone.rank", rank, 1)
        options = (completion_pattern, completion_trained, completion_weight, completion_epochs)
        self.completion = Completion(*options, kept=carry != "reset")
        _refuse_idle("rate" in self.actions, "action=rate", strength=strength, control=control)
        _refuse_idle(
            "completion" in self.actions,
            "action=completion",
            completion_pattern=completion_pattern,
            completion_trained=completion_trained,
            completion_weight=completion_weight,
            completion_epochs=completion_epochs,
        )
        _refuse_idle(carry == "svd", "carry=svd", rank=rank)

    def file_digests(self):
        return {"field": self.kept.digest()} if self.kept else {}

    def check(self, stream, data):
        if any(phase.fresh for phase in stream.phases):
            return
        nothing = "what comes of it shows where weights are reset, and this environment resets none; expected"
        if self.carry != "keep":
            raise UserError(f"strategy.pheromone.carry={self.carry}: {nothing} keep")
        if "completion" in self.actions:
            raise UserError(f"strategy.pheromone.action=completion: {nothing} another action")

    def setup(self, learner):
        slotted = has_slots(learner)
        self._refuse_units(slotted)
        self.ground = Slots(learner, self.slots) if slotted else Groups(learner, self.slots or GROUPS)
        full = max(min(shape) for shape in self.ground.shapes)
        if self.carry == "svd":
            require(self.rank < full, "strategy.pheromone.rank", self.rank, f"less than {full}, the rank of the largest field")
        learner.population.watched += [ANSWERS] if ANSWERS not in learner.population.watched else []
        for n, shape in enumerate(self.ground.shapes):
            cold = torch.full((learner.members, *shape), self.dynamics.cold, dtype=learner.population.precise)
            first = self.kept.of(n, shape, learner.places, self.dynamics).to(cold) if self.kept else cold
            self.register_buffer(f"field_{n}", self.dynamics.clamped(first))
        if self.carry == "minimum":
            self._keep_fields_of_tasks(len(learner.course.streams[0].tasks))
        if "rate" in self.actions:
            self.rate.setup(learner, self.ground.shapes)
        if "completion" in self.actions:
            self.completion.setup(learner, self.ground)
        self._write(learner, _all(learner))

    def _refuse_units(self, slotted: bool) -> None:
        """Refuse what needs a network with slots where there is none."""
        needing = {"action": sorted(self.actions - {"rate"}), "carry": [self.carry] if self.carry == "minimum" else []}
        for key, values in needing.items():
            if values and not slotted:
                raise invalid(f"strategy.pheromone.{key}", values[0], "a network that has slots for that, network=pathways")

    def _keep_fields_of_tasks(self, tasks: int) -> None:
        """A field of each task, ``[M, T, m, m]``, laid down by its own samples alone."""
        for n, field in enumerate(self.fields):
            self.register_buffer(f"of_task_{n}", field.unsqueeze(1).repeat(1, tasks, 1, 1))
        self.register_buffer("met", torch.zeros(len(self.field_0), tasks, dtype=torch.bool))

    @property
    def fields(self) -> list[Tensor]:
        """tau of every layer, ``[M, a, b]``."""
        return [self.get_buffer(f"field_{n}") for n in range(len(self.ground.shapes))]

    def begin_task(self, learner, task):
        if not learner.course.phases[task].fresh:
            return
        for n, field in enumerate(self.fields if task else ()):
            field.copy_(self.dynamics.clamped(self._carried(n, field)))
        if "completion" in self.actions:
            self.completion.begin(learner, task)
        self._write(learner, _all(learner))

    def _carried(self, n: int, field: Tensor) -> Tensor:
        """What a field is when weights have been reset."""
        if self.carry == "reset":
            return torch.full_like(field, self.dynamics.cold)
        if self.carry == "minimum":
            return smallest(self.get_buffer(f"of_task_{n}"), self.met)
        return of_rank(field, self.rank) if self.carry == "svd" else field

    def _write(self, learner, who: Tensor) -> None:
        """Put the fields where networks read them, if that is how they act, for members ``who`` ``[M]``."""
        if "routing" in self.actions:
            self.ground.write(learner, "field", self.fields, who)

    def update_scale(self, learner, batch):
        if "rate" not in self.actions:
            return None
        return self.rate.scales(learner, self.ground.scales(learner, batch, self.rate.multipliers(self.fields)))

    def after_step(self, learner, batch):
        shares, takes_part = batch.shares(learner.population.precise), batch.taking_part()
        answers = learner.log_probabilities(batch, learner.activations[ANSWERS].detach().to(shares.dtype))
        right = answers.argmax(2) == batch.targets
        weights = shares * self.dynamics.signs(right) * (batch.targets >= 0)
        changes = self.ground.traffic(learner, batch, answers.exp(), weights)
        for field, change in zip(self.fields, changes, strict=True):
            field.copy_(torch.where(takes_part.view(-1, 1, 1), self.dynamics.updated(field, change), field))
        if self.carry == "minimum":
            self._lay_down_by_task(learner, batch, weights)
        if "completion" in self.actions:
            self.completion.after_step(learner, batch, right)
        self._write(learner, takes_part)

    def _lay_down_by_task(self, learner, batch, weights: Tensor) -> None:
        tasks = torch.arange(self.met.shape[1], device=weights.device).view(1, -1, 1)
        weights = weights.unsqueeze(1) * (batch.tasks.unsqueeze(1) == tasks)  # [M, T, B]
        there = (weights != 0).any(2)
        self.met |= there
        for n, change in enumerate(self.ground.traffic(learner, batch, None, weights)):
            field = self.get_buffer(f"of_task_{n}")
            field.copy_(torch.where(there[..., None, None], self.dynamics.updated(field, change), field))

    def recorded(self) -> dict[str, Tensor]:
        """The fields as they are, ``[M, a, b]`` each, for who keeps them over time."""
        return {f"field_{n}": field for n, field in enumerate(self.fields)}

    def diagnostics(self):
        """How warm fields are, how many entries are close to tau_max, and how evenly they are spread: means over the fields."""
        of_fields = {"mean": lambda field: field.mean((1, 2)), "saturation": self.dynamics.saturation, "entropy": entropy}
        return {name: torch.stack([of(field) for field in self.fields]).mean(0) for name, of in of_fields.items()}


def _refuse_idle(acts: bool, where: str, **options) -> None:
    """Refuse options that differ from their defaults where they would do nothing."""
    for name, given in options.items():
        plain = signature(Pheromone.__init__).parameters[name].default
        if given != plain and not acts:
            told = "null" if plain is None else str(plain).lower()
            raise invalid(f"strategy.pheromone.{name}", given, f"{told}, or {where}, which is what it is for")


def _all(learner) -> Tensor:
    """All members, bool ``[M]``."""
    return torch.ones_like(learner.clock, dtype=torch.bool)
