"""What was met again: how many samples of each task every member was trained on in each phase, counted as it happens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.batch import Batch, Steps
from lab.stream import Course


class Encounters(nn.Module):
    """Counts, for each phase, the samples of each task that the stream showed and that memories replayed.

    What weighs nothing (padding, resting members) is not counted. A sample that a memory holds and a method only measures with
    (GEM's constraints, MIR's candidates) was not rehearsed. ``shown`` and ``rehearsed`` are int32 ``[M, P, T]``.
    """

    def __init__(self, course: Course):
        super().__init__()
        shape = (len(course.streams), len(course.phases), len(course.streams[0].tasks))
        for what in ("shown", "rehearsed"):
            self.register_buffer(what, torch.zeros(shape, dtype=torch.int32))

    def count_steps(self, phase: int, steps: Steps, active: Tensor) -> None:
        """Count the samples of a block's steps, of which each member takes those that are ``active`` ``[M, S]``."""
        tasks, weights = steps.tasks.expand_as(steps.examples), steps.weights
        taken = active.unsqueeze(2).expand_as(tasks) if weights is None else (weights > 0) & active.unsqueeze(2)
        for counts, columns in ((self.shown, slice(steps.current)), (self.rehearsed, slice(steps.current, None))):
            if tasks[..., columns].shape[2]:
                _add(counts, phase, tasks[..., columns], taken[..., columns])

    def count_replayed(self, phase: int, batch: Batch, first: int, active: Tensor | None) -> None:
        """Count a step's columns from number ``first`` on, which strategies joined to it."""
        if batch.width > first:
            taken = batch.weights_or_ones()[:, first:] > 0
            self.count(
                phase, batch.tasks.expand_as(batch.examples)[:, first:], taken if active is None else taken & active[:, None]
            )

    def count(self, phase: int, tasks: Tensor, taken: Tensor) -> None:
        """Count rehearsed samples of these tasks ``[M, R]``, those that are ``taken``."""
        _add(self.rehearsed, phase, tasks, taken)


def _add(counts: Tensor, phase: int, tasks: Tensor, taken: Tensor) -> None:
    counts[:, phase].scatter_add_(1, tasks.flatten(1), taken.flatten(1).to(counts.dtype))
