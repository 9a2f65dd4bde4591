"""A table in order of time, met once, whose law changes as it goes: test, then train (Dawid 1984; Gama et al. 2013)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from environments.tasks import source_of, switch
from lab.protocols import Data, Examples, Stream, Task, fraction, invalid, phase_per_task, require, whole


def previous_label(targets: Tensor, rows: list[Tensor]) -> Tensor:
    """The accuracy ``[T]`` of predicting that a label is the one met before it, on each of the tasks' ``rows`` in turn.

    Before the very first example there is none: it is left out.
    """
    met = targets[torch.cat(rows)]
    same = torch.cat([torch.tensor([torch.nan]), (met[1:] == met[:-1]).float()])
    return torch.stack([part.nanmean() for part in same.split([len(part) for part in rows])])


class Drift:
    """``tasks`` consecutive segments of an ordered table, each with the same output units (domain-incremental).

    Prequential: every training example is predicted just before the step that trains on it, and the accuracy is reported
    beside that of predicting the previous label (which costs no learning, and knows each label at once: a learner that meets
    batches of B examples knows it up to B examples later, so ``batch_size=1`` is the fair comparison). For the accuracy
    tensor, the latest share of each segment is kept out of training: neighbouring rows are alike, so a random share would
    test on what was as good as trained on. All members meet the same stream.

    Args:
        test: the share of each segment, its latest rows, that is tested on.
        validation: the share of each segment, just before ``test``, that is held out too.
        announced: whether strategies are told where segments end; the drift itself knows no such places.
    """

    def __init__(self, source: Data, tasks: int = 10, test: float = 0.2, validation: float = 0.0, announced: bool = False):
        self.tasks, self.announced = whole("environment.tasks", tasks, 1), switch("environment.announced", announced)
        self.test, self.validation = fraction("environment.test", test), fraction("environment.validation", validation)
        require(test > 0, "environment.test", test, "a number above 0 and below 1")
        require(test + validation < 1, "environment.test", test, f"less than 1 together with validation={validation}")
        if not source_of(source).ordered:
            raise invalid("environment.source", source.name, "a source in order of time: elec2, weather, or table for your own")
        both = (source.train, source.test)
        table = Examples(torch.cat([split.inputs for split in both]), torch.cat([split.targets for split in both]))
        self.data = replace(source, train=table, test=table)
        self.segments = torch.arange(len(table)).tensor_split(tasks)
        least = min(map(len, self.segments))
        if self._cut(least)[0] < 2:
            raise invalid("environment.tasks", tasks, f"fewer: segments of {least} rows leave fewer than 2 to train on")

    def stream(self, seed: int) -> Stream:
        tasks = tuple(map(self._task, self.segments))
        baseline = previous_label(self.data.train.targets, [task.train for task in tasks])
        phases = phase_per_task(tasks, ordered=True, announced=self.announced)
        return Stream(tasks, phases, "domain", self.data.classes, prequential=True, baseline=baseline)

    def _cut(self, rows: int) -> tuple[int, int]:
        """Where validation and test begin in a segment of so many rows."""
        test = max(1, round(self.test * rows))
        held = max(round(self.validation * rows), int(self.validation > 0))
        return rows - test - held, rows - test

    def _task(self, rows: Tensor) -> Task:
        train, validation, test = rows.tensor_split(self._cut(len(rows)))
        return Task(train, test, torch.arange(self.data.classes), validation)
