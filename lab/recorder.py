"""Keeps over time what strategies show of themselves (:meth:`lab.protocols.Strategy.recorded`), as checkpoints keep it.

Letters in shapes: E moments, P phases, M members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from lab.holding import Holding, holding_of
from lab.recorded import Recorded

if TYPE_CHECKING:
    from lab.learner import ContinualLearner

MOST = 200
"""Moments that are kept; of more, evenly spaced ones."""
NAN = float("nan")


class Recorder(nn.Module):
    """What is kept at every point of the curves and every end of a phase: buffers that wait to be filled."""

    def __init__(self, learner: ContinualLearner):
        super().__init__()
        course = learner.course
        due = sorted({0, *course.ends, *course.evaluations()})
        spaced = [round(i * (len(due) - 1) / (MOST - 1)) for i in range(MOST)] if len(due) > MOST else range(len(due))
        self.steps, self.ends, self.seeds = [due[i] for i in spaced], list(course.ends), learner.seeds
        self._of = {number: [*strategy.recorded()] for number, strategy in enumerate(learner.strategies)}
        for number, strategy in enumerate(learner.strategies):
            for name, value in strategy.recorded().items():
                self.register_buffer(f"{number}/{name}", torch.full((len(self.steps), *value.shape), NAN))
        self.holding: Holding | None = holding_of(learner) if any(self._of.values()) else None

    @torch.no_grad()
    def note(self, learner: ContinualLearner, step: int, phase: int | None) -> None:
        """Keep what there is after ``step``, which ``phase`` ends (None: no phase; -1: the run is about to begin)."""
        if step in self.steps:
            moment = self.steps.index(step)
            for number, strategy in enumerate(learner.strategies):
                for name, value in strategy.recorded().items():
                    self._buffers[f"{number}/{name}"][moment] = value.detach()
        if self.holding is not None and phase is not None and phase >= 0:
            self.holding.note(learner, phase)

    def kept(self, names: list[str]) -> Recorded | None:
        """All of it, by the ``names`` of the strategies; None where no strategy shows anything."""
        values = {f"{names[n]}.{name}": _array(self._buffers[f"{n}/{name}"]) for n, own in self._of.items() for name in own}
        if not values:
            return None
        contents = {name: _array(value) for name, value in self.holding.contents().items()} if self.holding else {}
        return Recorded(np.array(self.steps), np.array(self.ends), np.array(self.seeds), values, contents)


def _array(value: Tensor) -> np.ndarray:
    return value.float().cpu().numpy()
