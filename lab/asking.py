"""A learner is asked about examples of a task, chunk by chunk, among the output units that may answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.answering import among
from lab.protocols import Strategy

if TYPE_CHECKING:
    from lab.learner import ContinualLearner


@dataclass(frozen=True)
class Chunk:
    """Some examples of each member, and what is answered to them."""

    inputs: Tensor
    """``[M, n, ...]``."""
    targets: Tensor
    """``[M, n]`` or ``[M, n, P]``."""
    there: Tensor
    """Whether there is an example, bool ``[M, n]``: members may have fewer than others."""
    logits: Tensor
    """``[M, n, C]`` or ``[M, n, P, C]``, minus infinity at units that may not answer."""
    untold: Tensor | None
    """The same where the task's identity is not given: the very same where it never is, None where there is no answer then."""


class Asking:
    """One task, as it is asked about once.

    Args:
        scenario: of the stream.
        seen: output units met by then, bool ``[M, C]``.
        split: of the data that examples are rows of.
        batch: examples of a member in one forward pass; None for as many as are fastest.
    """

    def __init__(
        self, learner: ContinualLearner, task: int, scenario: str, seen: Tensor, split: str = "test", batch: int | None = None
    ):
        self.learner, self.task, self.split, self.batch = learner, task, split, batch or _fitting(learner)
        self.tasks = torch.full((len(seen), 1), task, device=seen.device)
        self._met = seen.unsqueeze(1)
        self._told = self.tasks if scenario == "task" else None
        self._units = {"task": learner.reader.units_of(self.tasks), "class": self._met, "domain": None}[scenario]

    def answers(self, examples: Tensor, valid: Tensor) -> Iterator[Chunk]:
        """What is answered to examples ``[M, n]``, of which some members may have fewer (``valid``, bool)."""
        for rows, there in zip(examples.split(self.batch, 1), valid.split(self.batch, 1), strict=True):
            inputs, targets = self.read(rows)
            scores = self.learner.predict(inputs, self._told)
            logits = among(self._units, scores)
            yield Chunk(inputs, targets, there, logits, logits if self._told is None else self._untold(inputs, scores))

    def read(self, examples: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of examples ``[M, n]``."""
        return self.learner.reader.read(examples, self.tasks, self.split)

    def _untold(self, inputs: Tensor, scores: Tensor) -> Tensor | None:
        unnamed = self.learner.predict(inputs, None) if _listens(self.learner) else scores
        return None if unnamed is None else among(self._met, unnamed)


def _listens(learner: ContinualLearner) -> bool:
    """Whether strategies make of the task's identity more than the choice of output units."""
    kinds = map(type, learner.strategies)
    return any(kind.gates is not Strategy.gates or kind.predict is not Strategy.predict for kind in kinds)


def _fitting(learner: ContinualLearner) -> int:
    """Examples of a member in a forward pass; half of what is read at once elsewhere, since activations want a place too."""
    return max(32, learner.reader.at_once(2 * (learner.crowd if learner.population.stack else 1)))
