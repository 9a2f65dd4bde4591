"""The accuracy tensor ``R[member, after task, on task]`` and the curves inside tasks: the primary results of a run."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.answering import among
from lab.protocols import NO_LABEL, Strategy, Stream, generator
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
    """

    def __init__(
        self, course: Course, seeds: list[int], split="test", tasks="all", samples: int | None = 500,
        batch: int | None = None, at_most: int | None = None, loss: bool = False,
    ):  # fmt: skip
        super().__init__()
        self.course, self.which, self.batch, self.split = course, tasks, batch, split
        streams, members, count = course.streams, len(course.streams), len(course.streams[0].tasks)
        self.scenario, self.tasks = streams[0].scenario, count
        self.data_split = "test" if split == "test" else "train"
        held = [[getattr(stream.tasks[t], split) for stream in streams] for t in range(count)]
        self.whole = Rows(_some(held, seeds, at_most))
        self.register_buffer("accuracy", torch.full((members, count + 1, count), NAN))
        self.register_buffer("accuracy_without_task", torch.full((members, count + 1, count), NAN))
        self.register_buffer("loss", torch.full((members, count + 1, count), NAN) if loss else None)
        self.steps = course.evaluations()
        fewest = min((most for most in (samples, at_most) if most), default=None)
        self.subset = Rows(_some(held, seeds, fewest)) if self.steps else None
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
        for name in ("accuracy", "accuracy_without_task", "loss", "curves"):
            made._buffers[name] = None if self._buffers[name] is None else torch.full_like(self._buffers[name], NAN)
        return made

    @torch.no_grad()
    def after_phase(self, learner: ContinualLearner, phase: int) -> None:
        """Measure the row of the accuracy tensor that a phase completes; -1 is before training."""
        row = self._row(phase)
        for task in self._due(row, phase):
            with_task, without, loss = self._measure(learner, task, phase, self.whole, self.loss is not None)
            self.accuracy[:, row, task] = with_task
            self.accuracy_without_task[:, row, task] = without
            if loss is not None:
                self.loss[:, row, task] = loss

    @torch.no_grad()
    def within_phase(self, learner: ContinualLearner, step: int) -> None:
        """Measure one point of the curves."""
        phase, number = self.course.phase_at(step), self.steps.index(step)
        row = self._row(phase)
        for task in self._due(row, phase):
            self.curves[:, number, task] = self._measure(learner, task, phase, self.subset)[0]

    def count(self) -> int:
        """Examples of one member that it is measured on in the whole run."""
        ends, points = range(-1, len(self.course.phases)), map(self.course.phase_at, self.steps)
        return self._count(self.whole, ends) + (self._count(self.subset, points) if self.subset else 0)

    def _count(self, rows: Rows, phases: Iterable[int]) -> int:
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

    def _measure(
        self, learner: ContinualLearner, task: int, phase: int, rows: Rows, loss: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Accuracies ``[M]`` on a task, with the task's identity (in the task-incremental scenario) and without; and the mean
        cross-entropy ``[M]`` of a label with it, where asked for."""
        examples, valid = rows(task)
        tasks = torch.full((len(examples), 1), task, device=examples.device)
        met = self.seen[phase + 1].unsqueeze(1)
        answers = {"task": learner.reader.units_of(tasks), "class": met, "domain": None}[self.scenario]
        told = tasks if self.scenario == "task" else None
        batch, counts, losses = self.batch or _fitting(learner), [], []
        for chunk, there in zip(examples.split(batch, 1), valid.split(batch, 1), strict=True):
            inputs, targets = learner.reader.read(chunk, tasks, self.data_split)
            logits = learner.predict(inputs, told)
            untold = learner.predict(inputs, None) if told is not None and _listens(learner) else logits
            real = (targets >= 0) & there.view(*there.shape, *[1] * (targets.dim() - 2))
            right = self._right(logits, answers, targets, real)
            without_task = right if told is None or untold is None else self._right(untold, met, targets, real)
            counts.append(torch.stack([right, without_task, real.flatten(1).sum(1)]))
            if loss:
                losses.append(self._losses(logits, answers, targets, real))
        right, without_task, total = torch.stack(counts).sum(0)
        met_task = self.met[phase + 1, :, task]
        known = met_task if self.scenario == "class" else torch.ones_like(met_task)
        answered = met_task if untold is not None else torch.zeros_like(met_task)
        mean_loss = torch.where(known, torch.stack(losses).sum(0) / total, NAN) if loss else None
        return torch.where(known, right / total, NAN), torch.where(answered, without_task / total, NAN), mean_loss

    @staticmethod
    def _right(logits: Tensor, units: Tensor | None, targets: Tensor, real: Tensor) -> Tensor:
        """How many answers ``[M]`` are right among the output units ``[M, 1, C]`` that may be given (None: all)."""
        return ((among(units, logits).argmax(-1) == targets) & real).flatten(1).sum(1)

    @staticmethod
    def _losses(logits: Tensor, units: Tensor | None, targets: Tensor, real: Tensor) -> Tensor:
        """The cross-entropies of all labels, added up, float64 ``[M]``; units as in :meth:`_right`."""
        flat = among(units, logits).flatten(0, -2)
        losses = F.cross_entropy(flat, torch.where(real, targets, NO_LABEL).flatten(), reduction="none")
        return losses.view(len(targets), -1).sum(1, dtype=torch.float64)


def _listens(learner: ContinualLearner) -> bool:
    """Whether strategies make of the task's identity more than the choice of output units."""
    kinds = map(type, learner.strategies)
    return any(kind.gates is not Strategy.gates or kind.predict is not Strategy.predict for kind in kinds)


def _fitting(learner: ContinualLearner) -> int:
    """Examples of a member in a forward pass; half of what is read at once elsewhere, since activations want a place too."""
    return max(32, learner.reader.at_once(2 * (learner.members if learner.population.stack else 1)))


class Rows(nn.Module):
    """The examples that tasks are measured on: for each task a list of rows of the data for each member.

    What tasks and members have in common is kept once: a thousand permutations of one test set cost one list of rows.
    """

    def __init__(self, tasks: list[list[Tensor]]):
        super().__init__()
        kept: dict[tuple[int, ...], int] = {}
        self.members = len(tasks[0])
        self.numbers = [kept.setdefault(tuple(map(id, rows)), len(kept)) for rows in tasks]
        for number in kept.values():
            rows = tasks[self.numbers.index(number)]
            alike = all(len(row) == len(rows[0]) and torch.equal(row, rows[0]) for row in rows)
            examples, valid = _padded(rows[:1] if alike else rows)
            self.register_buffer(f"examples_{number}", examples, persistent=False)
            self.register_buffer(f"valid_{number}", valid, persistent=False)

    def count(self, task: int) -> int:
        """How many examples the member with most of them has of a task."""
        return getattr(self, f"examples_{self.numbers[task]}").shape[1]

    def forward(self, task: int) -> tuple[Tensor, Tensor]:
        """A task's rows, and whether each is an example (members may have fewer than others), both ``[M, n]``."""
        number = self.numbers[task]
        return tuple(getattr(self, f"{what}_{number}").expand(self.members, -1) for what in ("examples", "valid"))


def _some(tasks: list[list[Tensor]], seeds: list[int], most: int | None) -> list[list[Tensor]]:
    """Of each task's rows for each member at most so many, drawn from the member's seed; None for all."""
    if most is None:
        return tasks
    return [
        [_shuffled(rows, seed, t)[:most].clone() for rows, seed in zip(task, seeds, strict=True)]
        for t, task in enumerate(tasks)
    ]


def _shuffled(examples: Tensor, seed: int, task: int) -> Tensor:
    return examples[torch.randperm(len(examples), generator=generator(seed, "evaluation", task))]


def _padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Index lists of the members as one ``[M, n]`` and which entries are real."""
    longest = max(map(len, rows))
    valid = torch.stack([torch.arange(longest) < len(row) for row in rows])
    return torch.stack([torch.nn.functional.pad(row, (0, longest - len(row))) for row in rows]), valid


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
