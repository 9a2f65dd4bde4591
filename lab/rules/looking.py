"""Which answers to groups of examples are looked at in a step, how probable they are, and how much each counts.

Letters in shapes: M members, B examples, G groups, k examples in a group, K answers, P places, C classes, L input tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.rules.exploring import best, drawn, everything
from lab.rules.layout import UNSAYABLE, Layout
from lab.seeding import member_keys

if TYPE_CHECKING:
    from lab.learner import ContinualLearner

WAYS = ("samples", "argmax", "topk", "beam", "all", "none")


@dataclass(frozen=True)
class Looked:
    """What was looked at. Of the leading axis, K, some have 1 for all."""

    inputs: Tensor
    """``[M, G, k, L]``."""
    log_probs: Tensor
    """``[K, M, G, k, P, C]``, differentiable, as are ``scores``."""
    real: Tensor
    """Which places count, bool ``[K, M, G, k, P]``."""
    answers: Tensor | None = None
    """Classes ``[K, M, G, k, P]``; None where the probabilities alone were looked at."""
    scores: Tensor | None = None
    """Their log-probabilities ``[K, M, G]``."""
    shares: Tensor | None = None
    """How much each counts, ``[K, M, G]``, without gradient; they add up to 1."""


class Looking(nn.Module):
    """Looks at answers to groups of one kind.

    Args:
        way: ``samples``: ``count`` draws; ``topk``, ``beam`` (where places are answered one after the other): so many of the
            most probable; ``argmax``: the most probable; ``all``; ``none``: the probabilities alone, where places are answered
            one after the other those behind the most probable answers.
        seeds: of the members, from which draws come.
        size: k.
    """

    def __init__(self, layout: Layout, way: str, count: int, seeds: Sequence[int], kind: str, size: int):
        super().__init__()
        self.layout, self.way, self.size = layout, way, size
        self.count = 1 if way in ("argmax", "none") else count
        self.register_buffer("keys", member_keys(list(seeds), f"answers/{kind}"), persistent=False)
        told = torch.tensor(layout.told, dtype=torch.int64)
        self.register_buffer("told", told.expand(len(seeds), -1), persistent=False)
        said = [row.nonzero().flatten().tolist() for row in layout.sayable] * size if way == "all" else []
        all_of_them = everything(said).view(-1, size, layout.places).expand(len(seeds), -1, -1, -1) if said else None
        self.register_buffer("everything", all_of_them, persistent=False)  # [M, K, k, P]

    def forward(self, learner: ContinualLearner, inputs: Tensor, tasks: Tensor, log_probs: Tensor) -> Looked:
        """Look at answers to ``inputs`` ``[M, B, ...]``, group by group, met as ``tasks`` ``[M, B]`` or ``[M, 1]``; the
        networks' ``log_probs`` of them are ``[M, B, C]`` or ``[M, B, P, C]``."""
        if self.layout.decoded:
            return self._decoded(learner, inputs, tasks)
        # No logarithm of minus infinity for what is not among the answers: its product with 0 is no number.
        log_probs = (log_probs.unsqueeze(2) if log_probs.dim() == 3 else log_probs).clamp(min=UNSAYABLE)
        inputs, log_probs = self._grouped(inputs.flatten(2)), self._grouped(log_probs)
        real = self.layout.real(inputs)
        if self.way == "none":
            return Looked(inputs, log_probs[None], real[None])
        answers, possible = self._independent(learner, log_probs.detach(), real)  # [M, G, K, k, P], [K, M, G]
        chosen = log_probs.gather(-1, answers.movedim(2, -1)).movedim(-1, 0)  # [K, M, G, k, P]
        scores = torch.where(real, chosen, 0).sum((-2, -1))
        return Looked(inputs, log_probs[None], real[None], answers.movedim(2, 0), scores, self._shares(scores, possible))

    @torch.no_grad()
    def _independent(self, learner: ContinualLearner, log_probs: Tensor, real: Tensor) -> tuple[Tensor, Tensor | None]:
        """Answers ``[M, G, K, k, P]`` where places are independent of each other; which of them there are, ``[K, M, G]``, of
        the best so many, of which a short example has fewer. None: all."""
        members, groups, size, places, _ = log_probs.shape
        if self.way == "all":
            return self.everything.unsqueeze(1).expand(-1, groups, -1, -1, -1), None
        if self.way == "argmax":
            return log_probs.argmax(-1).unsqueeze(2), None
        if self.way == "topk":
            answers, scores = best(log_probs.flatten(2, 3), self.count, real.flatten(2))
            return answers.unflatten(3, (size, places)), (scores > UNSAYABLE / 2).movedim(2, 0)
        noise = learner.draw(self.keys, groups * size * self.count * places).view(members, groups, size, self.count, places)
        return drawn(log_probs, noise).transpose(2, 3), None

    def _decoded(self, learner: ContinualLearner, inputs: Tensor, tasks: Tensor) -> Looked:
        """Where each place depends on those before: answers are decoded, and then read again for their probabilities."""
        members, width = inputs.shape[:2]
        answers = learner.population.decode(inputs, *self._gumbel(learner, members, width))  # [M, B, K, P]
        count = answers.shape[2]
        told = self.layout.retold(inputs.unsqueeze(2), answers, self.told[0]).flatten(1, 2)
        tasks = tasks.expand(members, width).repeat_interleave(count, 1)
        learner.count(forward=width * (count + 1), backward=width * count)
        log_probs = learner.logits(told, tasks).log_softmax(-1).unflatten(1, (width, count))  # [M, B, K, P, C]
        real = self.layout.real(inputs.unsqueeze(2), answers)
        chosen = torch.where(real, log_probs.gather(-1, answers.unsqueeze(-1)).squeeze(-1), 0)
        log_probs, real, answers, chosen = (self._grouped(x).movedim(3, 0) for x in (log_probs, real, answers, chosen))
        if self.way == "none":
            return Looked(self._grouped(inputs), log_probs, real)
        scores, possible = chosen.sum((-2, -1)), _first_ones(answers) if self.way == "beam" else None
        return Looked(self._grouped(inputs), log_probs, real, answers, scores, self._shares(scores, possible))

    def _gumbel(self, learner: ContinualLearner, members: int, width: int) -> tuple[Tensor | None, int]:
        """What :meth:`lab.population.Population.decode` is to draw with, and how many beams it is to follow."""
        if self.way != "samples":
            return None, self.count
        shape = (members, width, self.count, *self.layout.sayable.shape)
        lots = learner.draw(self.keys, prod(shape[1:])).view(shape)
        return -(-lots.clamp(min=1e-12).log()).log(), 1

    def _shares(self, scores: Tensor, possible: Tensor | None = None) -> Tensor:
        if self.way == "samples":
            return torch.full_like(scores, 1 / self.count, requires_grad=False)
        return (scores.detach() if possible is None else scores.detach().masked_fill(~possible, -torch.inf)).softmax(0)

    def _grouped(self, tensor: Tensor) -> Tensor:
        """``[M, B, ...]`` as ``[M, G, k, ...]``."""
        return tensor.unflatten(1, (-1, self.size))


def _first_ones(answers: Tensor) -> Tensor:
    """Which of answers ``[K, M, G, k, P]`` are none of those before: a beam wider than there are answers has some twice."""
    same = (answers.unsqueeze(1) == answers).flatten(4).all(4)  # [K, K, M, G]
    earlier = torch.ones(len(answers), len(answers), dtype=torch.bool, device=answers.device).tril(-1)
    return ~(same & earlier[:, :, None, None]).any(1)
