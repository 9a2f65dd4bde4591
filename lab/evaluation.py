"""The accuracy tensor ``R[member, after task, on task]`` and the curves inside tasks: the primary results of a run."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.asking import Asking, Chunk
from lab.protocols import NO_LABEL, Layout, Stream
from lab.rows import Rows, some
from lab.ruled import Ruled
from lab.stream import Course

if TYPE_CHECKING:
    from lab.learner import ContinualLearner

NAN = float("nan")


class Evaluation(nn.Module):
    """Measures a learner after every phase on whole test sets, and within phases on a fixed subset of each.

    All results are buffers, so a checkpoint holds what was measured so far. What was not measured is NaN.

    Args:
        split: ``test`` or ``validation``.
        tasks: ``all`` after every task, or ``log_lags``: the tasks at lags 0, 1, 2, 4, 8, ... (all at the end).
        samples: size of the subset on which curves are measured; None for the whole test set.
        batch: examples of a member in one forward pass; None for as many as are fastest.
        at_most: so many examples of each task stand for its test set, drawn from the member's seed; None for all.
        loss: whether to measure the mean cross-entropy too, on the same examples and among the same output units.
        layout: what outputs are called, where they have names: then :mod:`lab.ruled` measures further matrices.
        constrained: of how many best answers constrained decoding chooses; 0 for none.
    """

    def __init__(
        self, course: Course, seeds: list[int], split="test", tasks="all", samples: int | None = 500,
        batch: int | None = None, at_most: int | None = None, loss: bool = False, layout: Layout | None = None,
        constrained: int = 16,
    ):  # fmt: skip
        super().__init__()
        self.course, self.which, self.batch, self.split = course, tasks, batch, split
        streams, members, count = course.streams, len(course.streams), len(course.streams[0].tasks)
        self.scenario, self.tasks = streams[0].scenario, count
        self.data_split = "test" if split == "test" else "train"
        held = [[getattr(stream.tasks[t], split) for stream in streams] for t in range(count)]
        tests = some(held, seeds, at_most)
        self.whole = Rows(tests)
        self.register_buffer("accuracy", torch.full((members, count + 1, count), NAN))
        self.register_buffer("accuracy_without_task", torch.full((members, count + 1, count), NAN))
        self.register_buffer("loss", torch.full((members, count + 1, count), NAN) if loss else None)
        fits = layout is not None and layout.sayable.shape[1] == streams[0].outputs
        self.ruled = Ruled(layout, streams, seeds, tests, split, at_most, constrained) if fits else None
        named = (len(self.ruled.names), members, count + 1, count) if self.ruled else None
        self.register_buffer("matrices", torch.full(named, NAN) if named else None)
        self.violated: dict[str, Any] | None = None
        """What breaks rules most at the end of the run (:meth:`lab.violated.Worst.told`)."""
        self.steps = course.evaluations()
        fewest = min((most for most in (samples, at_most) if most), default=None)
        self.subset = Rows(some(held, seeds, fewest)) if self.steps else None
        self.register_buffer("curves", torch.full((members, len(self.steps), count), NAN))
        # What had been met at the end of each phase (row 0: nothing): output units [P + 1, M, C], whole tasks [P + 1, M, T].
        since = [first_met(stream) for stream in streams]
        phases = torch.arange(len(course.phases) + 1).view(-1, 1, 1)
        self.register_buffer("seen", torch.stack([units for units, _ in since]) <= phases, persistent=False)
        self.register_buffer("met", torch.stack([tasks for _, tasks in since]) <= phases, persistent=False)
        # Class-incremental, a task has no accuracy before its classes are met: [P + 1][T], whether some member has met them.
        self._measurable = (self.met.any(1) | torch.tensor(self.scenario != "class")).tolist()

    def twin(self) -> Evaluation:
        """Another one, empty, that measures on the same examples: for other weights of the same learner."""
        made = copy.copy(self)
        made._buffers, made._modules = dict(self._buffers), dict(self._modules)
        for name in ("accuracy", "accuracy_without_task", "loss", "matrices", "curves"):
            made._buffers[name] = None if self._buffers[name] is None else torch.full_like(self._buffers[name], NAN)
        return made

    @torch.no_grad()
    def after_phase(self, learner: ContinualLearner, phase: int) -> None:
        """Measure the row of the accuracy tensor that a phase completes; -1 is before training."""
        row = self._row(phase)
        worst = self.ruled.worst() if self.ruled and row == self.tasks else None
        for task in self._due(row, phase):
            asking, heard = self._asking(learner, task, phase), []
            hear = partial(self.ruled.tested, asking, worst, heard) if self.ruled else None
            with_task, without, loss = self._measure(asking, phase, self.whole, self.loss is not None, hear)
            self.accuracy[:, row, task] = with_task
            self.accuracy_without_task[:, row, task] = without
            if loss is not None:
                self.loss[:, row, task] = loss
            if self.ruled:
                measured = self.ruled.measure(asking, heard, worst)
                self.matrices[:, :, row, task] = torch.where(self._known(phase, task), measured, NAN)
        self.violated = worst.told() if worst else None

    @torch.no_grad()
    def within_phase(self, learner: ContinualLearner, step: int) -> None:
        """Measure one point of the curves."""
        phase, number = self.course.phase_at(step), self.steps.index(step)
        row = self._row(phase)
        for task in self._due(row, phase):
            self.curves[:, number, task] = self._measure(self._asking(learner, task, phase), phase, self.subset)[0]

    def count(self) -> int:
        """Examples of one member that it is measured on in the whole run."""
        ends, points = range(-1, len(self.course.phases)), map(self.course.phase_at, self.steps)
        groups = self._count(self.ruled, ends) if self.ruled else 0
        return self._count(self.whole, ends) + groups + (self._count(self.subset, points) if self.subset else 0)

    def _count(self, rows: Rows | Ruled, phases: Iterable[int]) -> int:
        return sum(rows.count(task) for phase in phases for task in self._due(self._row(phase), phase))

    def _row(self, phase: int) -> int:
        """The row of the accuracy tensor that a phase works towards; row 0 before the first."""
        return self.course.phases[phase].completes + 1 if phase >= 0 else 0

    def _due(self, row: int, phase: int) -> list[int]:
        """The tasks to measure in a row, at or within a phase."""
        return [task for task in self._chosen(row) if self._measurable[phase + 1][task]]

    def _chosen(self, row: int) -> list[int]:
        """The tasks that `evaluation.tasks` names for a row."""
        if self.which == "all" or row in (0, self.tasks):
            return list(range(self.tasks))
        lags = [0, *(2**i for i in range(self.tasks.bit_length()))]
        # The next task too: forward transfer needs what is known of it before it is trained.
        return sorted({row - 1 - lag for lag in lags if lag < row} | {min(row, self.tasks - 1)})

    def _asking(self, learner: ContinualLearner, task: int, phase: int) -> Asking:
        return Asking(learner, task, self.scenario, self.seen[phase + 1], self.data_split, self.batch)

    def _measure(
        self, asking: Asking, phase: int, rows: Rows, loss: bool = False, hear: Callable[[Chunk], None] | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Accuracies ``[M]`` on a task, with the task's identity (in the task-incremental scenario) and without; and the mean
        cross-entropy ``[M]`` of a label with it, where asked for. Whoever wants to ``hear`` is told what is answered."""
        counts, losses = [], []
        for chunk in asking.answers(*rows(asking.task)):
            targets, there = chunk.targets, chunk.there
            real = (targets >= 0) & there.view(*there.shape, *[1] * (targets.dim() - 2))
            right, untold = self._right(chunk.logits, targets, real), chunk.untold
            without_task = right if untold is None or untold is chunk.logits else self._right(untold, targets, real)
            counts.append(torch.stack([right, without_task, real.flatten(1).sum(1)]))
            if loss:
                losses.append(self._losses(chunk.logits, targets, real))
            if hear:
                hear(chunk)
        right, without_task, total = torch.stack(counts).sum(0)
        known, met_task = self._known(phase, asking.task), self.met[phase + 1, :, asking.task]
        answered = met_task if untold is not None else torch.zeros_like(met_task)
        mean_loss = torch.where(known, torch.stack(losses).sum(0) / total, NAN) if loss else None
        return torch.where(known, right / total, NAN), torch.where(answered, without_task / total, NAN), mean_loss

    def _known(self, phase: int, task: int) -> Tensor:
        """Whose accuracy on a task is defined by then, bool ``[M]``."""
        met_task = self.met[phase + 1, :, task]
        return met_task if self.scenario == "class" else torch.ones_like(met_task)

    @staticmethod
    def _right(logits: Tensor, targets: Tensor, real: Tensor) -> Tensor:
        """How many answers ``[M]`` are right."""
        return ((logits.argmax(-1) == targets) & real).flatten(1).sum(1)

    @staticmethod
    def _losses(logits: Tensor, targets: Tensor, real: Tensor) -> Tensor:
        """The cross-entropies of all labels, added up, float64 ``[M]``."""
        losses = F.cross_entropy(logits.flatten(0, -2), torch.where(real, targets, NO_LABEL).flatten(), reduction="none")
        return losses.view(len(targets), -1).sum(1, dtype=torch.float64)


def first_met(stream: Stream) -> tuple[Tensor, Tensor]:
    """The number of the phase, from 1, in which each output unit ``[C]`` is first an answer, and by which all units of each
    task ``[T]`` have been; one past the last for never."""
    count, never = len(stream.tasks), len(stream.phases) + 1
    shown = torch.full((count,), never)
    for number, phase in reversed(list(enumerate(stream.phases, 1))):
        shown[phase.tasks.bincount(minlength=count) > 0] = number
    labels = torch.stack([task.labels for task in stream.tasks])
    places = torch.where(labels >= 0, labels, stream.outputs)
    units = torch.full((stream.outputs + 1,), never)
    units.scatter_reduce_(0, places.flatten(), shown.unsqueeze(1).expand_as(places).flatten(), "amin")
    units[-1] = 0  # no unit: as good as met
    return units[:-1], units[places].amax(1)
