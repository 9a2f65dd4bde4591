"""Split data: every task brings some of the classes (Zenke et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from environments.tasks import SHARED, hold_out
from lab.protocols import Data, Stream, Task, fraction, generator, invalid, one_of, phase_per_task, require, whole


class Split:
    """The classes in ``tasks`` groups, in an order drawn from the member's seed.

    ``class`` and ``task``: a class keeps its output unit; ``domain``: a class is told by its place within its task, so all
    tasks need equally many. Where classes do not divide evenly, the first tasks have one more.

    Args:
        class_order: null (from the member's seed), ``sorted``, or a list of all classes.
        shared: one drawn order for all members.
    """

    def __init__(self, source: Data, tasks: int = 5, scenario: str = "class", class_order=None, validation: float = 0.0, shared: bool = False):
        self.data, self.shared = source, shared
        self.scenario = one_of("environment.scenario", scenario, ("class", "task", "domain"))
        self.validation = fraction("environment.validation", validation)
        require(source.train.targets.dim() == 1, "environment.source", source.name, "one label an example")
        self.tasks = whole("environment.tasks", tasks, 1)
        require(tasks <= source.classes, "environment.tasks", tasks, f"at most one task a class; {source.name} has {source.classes} classes")
        if scenario == "domain" and source.classes % tasks:
            raise invalid("environment.tasks", tasks, f"a divisor of the {source.classes} classes, since the scenario is domain")
        self.class_order = self._fixed_order(class_order)

    def _fixed_order(self, given) -> list[int] | None:
        if given is None:
            return None
        order = list(range(self.data.classes)) if given == "sorted" else list(given)
        sound = not isinstance(given, str) or given == "sorted"
        require(sound and sorted(order) == list(range(self.data.classes)), "environment.class_order", given, f"null, sorted, or each of 0..{self.data.classes - 1} once")
        return order

    def stream(self, seed: int) -> Stream:
        groups = self._order(SHARED if self.shared else seed).tensor_split(self.tasks)
        tasks = tuple(self._task(t, group, seed) for t, group in enumerate(groups))
        outputs = len(groups[0]) if self.scenario == "domain" else self.data.classes
        return Stream(tasks, phase_per_task(tasks), self.scenario, outputs)

    def _order(self, seed: int) -> Tensor:
        if self.class_order is not None:
            return torch.tensor(self.class_order)
        return torch.randperm(self.data.classes, generator=generator(seed, "class order"))

    def _task(self, number: int, classes: Tensor, seed: int) -> Task:
        labels = torch.full((self.data.classes,), -1)
        labels[classes] = torch.arange(len(classes)) if self.scenario == "domain" else classes
        train, held = hold_out(_rows_of(self.data.train.targets, classes), self.validation, seed, number)
        return Task(train, _rows_of(self.data.test.targets, classes), labels, held)


def _rows_of(targets: Tensor, classes: Tensor) -> Tensor:
    return torch.isin(targets, classes).nonzero().squeeze(1)
