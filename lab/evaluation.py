"""The accuracy tensor ``R[member, after task, on task]`` and the curves inside tasks: the primary results of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.protocols import Strategy, Stream, generator
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
    """

    def __init__(
        self, course: Course, seeds: list[int], split="test", tasks="all", samples: int | None = 500, batch: int | None = None
    ):
        super().__init__()
        self.course, self.which, self.batch, self.split = course, tasks, batch, split
        streams, members, count = course.streams, len(course.streams), len(course.streams[0].tasks)
        self.scenario, self.tasks = streams[0].scenario, count
        self.data_split = "test" if split == "test" else "train"
        held = [
            _padded([_shuffled(getattr(s.tasks[t], split), seed, t) for s, seed in zip(streams, seeds, strict=True)])
            for t in range(count)
        ]
        for t, (examples, valid) in enumerate(held):
            self.register_buffer(f"examples_{t}", examples, persistent=False)
            self.register_buffer(f"valid_{t}", valid, persistent=False)
        self.samples = samples
        self.register_buffer("accuracy", torch.full((members, count + 1, count), NAN))
        self.register_buffer("accuracy_without_task", torch.full((members, count + 1, count), NAN))
        self.steps = course.evaluations()
        self.register_buffer("curves", torch.full((members, len(self.steps), count), NAN))
        # What had been met at the end of each phase (row 0: nothing): output units [P + 1, M, C], whole tasks [P + 1, M, T].
        seen = _seen_units(streams)
        units = torch.stack([torch.stack([_units(s, torch.tensor([t])) for t in range(count)]) for s in streams])
        self.register_buffer("seen", seen, persistent=False)
        self.register_buffer("met", ~(units & ~seen.unsqueeze(2)).any(-1), persistent=False)
        # Class-incremental, a task has no accuracy before its classes are met: [P + 1][T], whether some member has met them.
        self._measurable = (self.met.any(1) | torch.tensor(self.scenario != "class")).tolist()

    @torch.no_grad()
    def after_phase(self, learner: ContinualLearner, phase: int) -> None:
        """Measure the row of the accuracy tensor that a phase completes; -1 is before training."""
        row = self._row(phase)
        for task in self._due(row, phase):
            with_task, without = self._measure(learner, task, phase, None)
            self.accuracy[:, row, task] = with_task
            self.accuracy_without_task[:, row, task] = without

    @torch.no_grad()
    def within_phase(self, learner: ContinualLearner, step: int) -> None:
        """Measure one point of the curves."""
        phase, number = self.course.phase_at(step), self.steps.index(step)
        row = self._row(phase)
        for task in self._due(row, phase):
            self.curves[:, number, task] = self._measure(learner, task, phase, self.samples)[0]

    def count(self) -> int:
        """Examples of one member that it is measured on in the whole run."""
        sizes = [getattr(self, f"examples_{task}").shape[1] for task in range(self.tasks)]
        ends = range(-1, len(self.course.phases))
        whole = sum(sizes[task] for phase in ends for task in self._due(self._row(phase), phase))
        points = map(self.course.phase_at, self.steps)
        due = (task for phase in points for task in self._due(self._row(phase), phase))
        return whole + sum(min(sizes[task], self.samples or sizes[task]) for task in due)

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

    def _measure(self, learner: ContinualLearner, task: int, phase: int, samples: int | None) -> tuple[Tensor, Tensor]:
        """Accuracies ``[M]`` on a task, with the task's identity (in the task-incremental scenario) and without."""
        examples, valid = getattr(self, f"examples_{task}")[:, :samples], getattr(self, f"valid_{task}")[:, :samples]
        tasks = torch.full((len(examples), 1), task, device=examples.device)
        met = self.seen[phase + 1].unsqueeze(1)
        answers = {"task": learner.reader.units_of(tasks), "class": met, "domain": None}[self.scenario]
        told = tasks if self.scenario == "task" else None
        batch, counts = self.batch or _fitting(learner), []
        for chunk, there in zip(examples.split(batch, 1), valid.split(batch, 1), strict=True):
            inputs, targets = learner.reader.read(chunk, tasks, self.data_split)
            logits = learner.predict(inputs, told)
            untold = learner.predict(inputs, None) if told is not None and _listens(learner) else logits
            real = (targets >= 0) & there.view(*there.shape, *[1] * (targets.dim() - 2))
            right = self._right(logits, answers, targets, real)
            without_task = right if told is None or untold is None else self._right(untold, met, targets, real)
            counts.append(torch.stack([right, without_task, real.flatten(1).sum(1)]))
        right, without_task, total = torch.stack(counts).sum(0)
        met_task = self.met[phase + 1, :, task]
        known = met_task if self.scenario == "class" else torch.ones_like(met_task)
        answered = met_task if untold is not None else torch.zeros_like(met_task)
        return torch.where(known, right / total, NAN), torch.where(answered, without_task / total, NAN)

    @staticmethod
    def _right(logits: Tensor, units: Tensor | None, targets: Tensor, real: Tensor) -> Tensor:
        """How many answers ``[M]`` are right among the output units ``[M, 1, C]`` that may be given (None: all)."""
        if units is not None:
            units = units.view(units.shape[0], *[1] * (logits.dim() - 2), units.shape[-1])
            logits = logits.masked_fill(~units, -torch.inf)
        return ((logits.argmax(-1) == targets) & real).flatten(1).sum(1)


def _listens(learner: ContinualLearner) -> bool:
    """Whether strategies make of the task's identity more than the choice of output units."""
    kinds = map(type, learner.strategies)
    return any(kind.gates is not Strategy.gates or kind.predict is not Strategy.predict for kind in kinds)


def _fitting(learner: ContinualLearner) -> int:
    """Examples of a member in a forward pass; half of what is read at once elsewhere, since activations want a place too."""
    return max(32, learner.reader.at_once(2 * (learner.members if learner.population.stack else 1)))


def _padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Index lists of the members as one ``[M, n]`` and which entries are real."""
    longest = max(map(len, rows))
    valid = torch.stack([torch.arange(longest) < len(row) for row in rows])
    return torch.stack([torch.nn.functional.pad(row, (0, longest - len(row))) for row in rows]), valid


def _shuffled(examples: Tensor, seed: int, task: int) -> Tensor:
    return examples[torch.randperm(len(examples), generator=generator(seed, "evaluation", task))]


def _seen_units(streams: list[Stream]) -> Tensor:
    """Which output units were answers up to each phase, bool ``[P + 1, M, C]``."""
    return torch.stack([_cumulative([_units(s, phase.tasks.unique()) for phase in s.phases], s.outputs) for s in streams], 1)


def _units(stream: Stream, tasks: Tensor) -> Tensor:
    units = torch.zeros(stream.outputs, dtype=torch.bool)
    for task in tasks.tolist():
        labels = stream.tasks[task].labels
        units[labels[labels >= 0]] = True
    return units


def _cumulative(masks: list[Tensor], width: int) -> Tensor:
    return torch.cat([torch.zeros(1, width, dtype=torch.bool), torch.stack(masks)]).cummax(0).values
