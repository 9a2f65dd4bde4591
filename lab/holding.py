"""What the slots of a network hold: how much of each place of a sequence, and of each part that was planted, goes to which.

Letters in shapes: P phases, M members, L layers, N places, K planted parts, m slots, B sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lab.learner import ContinualLearner

VIEWS = ("grouper_1", "grouper_2")
MOST, AT_ONCE = 256, 32
"""Test sequences that are looked at, of each task; and in one forward pass."""


class Holding(nn.Module):
    """Measured at the end of each phase on test sequences of the task that it completes, without noise or dropout.

    ``by_place`` ``[P, M, L, 2, N, m]``: the mean over sequences of Q_v(i, a), for both views; ``by_mark``
    ``[P, M, L, 2, K + 1, m]``: its mean over all places that are of no planted part (row 0) or of part k (row k + 1), NaN where
    none is; only of data that say what was planted (``Examples.marks``).
    """

    def __init__(self, members: int, phases: int, layers: int, places: int, slots: int, marks: Tensor | None):
        super().__init__()
        self.paths = [f"layers.{layer}.{view}" for layer in range(layers) for view in VIEWS]
        shape = (phases, members, layers, len(VIEWS))
        self.register_buffer("by_place", torch.full((*shape, places, slots), float("nan")))
        parts = None if marks is None else int(marks.max()) + 2
        self.register_buffer("by_mark", None if marks is None else torch.full((*shape, parts, slots), float("nan")))
        self.register_buffer("marks", marks, persistent=False)

    @torch.no_grad()
    def note(self, learner: ContinualLearner, phase: int) -> None:
        """Measure what is held at the end of a phase."""
        task = learner.course.phases[phase].completes
        rows = torch.stack([stream.tasks[task].test[:MOST] for stream in learner.course.streams]).to(self.by_place.device)
        tasks, counted = torch.full((len(rows), 1), task, device=rows.device), 0
        by_place = torch.zeros_like(self.by_place[phase])
        by_mark = None if self.by_mark is None else torch.zeros_like(self.by_mark[phase])
        for some in rows.split(AT_ONCE, 1):
            groups = self._groups(learner, learner.reader.read(some, tasks, "test")[0]).to(by_place.dtype)
            by_place += groups.sum(3)
            if by_mark is not None:
                parts = nn.functional.one_hot(self.marks[some] + 1, by_mark.shape[3]).to(groups.dtype)  # [M, B, N, K + 1]
                by_mark += torch.einsum("mlvbna,mbnk->mlvka", groups, parts)
                counted = counted + parts.sum((1, 2))
        self.by_place[phase] = by_place / rows.shape[1]
        if by_mark is not None:
            self.by_mark[phase] = by_mark / counted.view(len(rows), 1, 1, -1, 1)

    def _groups(self, learner: ContinualLearner, inputs: Tensor) -> Tensor:
        """Q of both views of all layers, ``[M, L, 2, B, N, m]``."""
        with learner.population.evaluating():
            seen = learner.population.put_out_for(inputs, self.paths)
        return torch.stack([seen[path] for path in self.paths], 1).unflatten(1, self.by_place.shape[2:4])

    def contents(self) -> dict[str, Tensor]:
        """What was measured, by name."""
        return {"by_place": self.by_place} | ({} if self.by_mark is None else {"by_mark": self.by_mark})


def holding_of(learner: ContinualLearner) -> Holding | None:
    """For a population of networks with slots over places; None for others, and where members have differently many test
    examples of a task."""
    held, course = learner.population.held(), learner.course
    layers = sum(name.startswith("layers/") and name.endswith("/field") for name in held)
    counts = {tuple(len(task.test[:MOST]) for task in stream.tasks) for stream in course.streams}
    if not layers or len(counts) > 1:
        return None
    marks, slots = learner.reader.marks, held["layers/0/field"].shape[1]
    return Holding(learner.members, len(course.phases), layers, learner.reader.shape[0], slots, marks)
