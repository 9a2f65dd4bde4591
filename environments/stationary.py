"""Data that do not change: all of a source's examples, as one task or dealt out at random."""

from __future__ import annotations

import torch

from environments.tasks import hold_out, source_of
from lab.protocols import Data, Stream, Task, fraction, generator, phase_per_task, require, whole


class Stationary:
    """The training examples of a source, dealt out at random over ``tasks`` parts, which differ in size by at most one.

    Each part is answered by the data's own classes and tested on all test examples (domain-incremental): what changes from one
    task to the next is which examples are met, and nothing of what is to be learnt. With more than one it is what streams whose
    tasks do differ are held against: what a boundary by itself does. Labels may be one a token.

    Args:
        tasks: how many parts; 1: all examples together.
        validation: the share of each part that is held out. It is drawn from the member's seed, as the parts are.
    """

    def __init__(self, source: Data, tasks: int = 1, validation: float = 0.0):
        self.data, self.tasks = source_of(source), whole("environment.tasks", tasks, 1)
        self.validation = fraction("environment.validation", validation)
        there = len(source.train)
        require(tasks <= there, "environment.tasks", tasks, f"at most {there}, the training examples of {source.name}")

    def stream(self, seed: int) -> Stream:
        test, classes = torch.arange(len(self.data.test)), torch.arange(self.data.classes)
        order = torch.randperm(len(self.data.train), generator=generator(seed, "parts"))
        parts = (hold_out(part, self.validation, seed, t) for t, part in enumerate(order.tensor_split(self.tasks)))
        tasks = tuple(Task(train, test, classes, held) for train, held in parts)
        return Stream(tasks, phase_per_task(tasks), "domain", self.data.classes)
