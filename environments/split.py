"""Split data: every task brings some of the classes (Zenke et al. 2017)."""

from __future__ import annotations

import torch
from torch import Tensor

from environments.augment import augmentation
from environments.tasks import SHARED, hold_out, numbers, source_of, switch
from lab.protocols import Data, Stream, Task, UserError, fraction, generator, invalid, one_of, phase_per_task, require, whole


class Split:
    """The classes in ``tasks`` groups, in an order drawn from the member's seed.

    ``class`` and ``task``: a class keeps its output unit; ``domain``: a class is told by its place within its task, so all
    tasks need equally many. Where classes do not divide evenly, the first tasks have one more.

    Args:
        class_order: null (from the member's seed), ``sorted``, or a list of all classes.
        shared: one drawn order for all members.
        augment: ``crop``, ``flip`` or ``crop_flip`` on training images, or None; ``padding`` in pixels.
    """

    def __init__(
        self,
        source: Data,
        tasks: int = 5,
        scenario: str = "class",
        class_order: str | list[int] | None = None,
        validation: float = 0.0,
        shared: bool = False,
        augment: str | None = None,
        padding: int = 4,
    ):
        self.data, self.tasks = source_of(source), whole("environment.tasks", tasks, 1)
        self.scenario = one_of("environment.scenario", scenario, ("class", "task", "domain"))
        self.validation, self.shared = fraction("environment.validation", validation), switch("environment.shared", shared)
        require(source.train.targets.dim() == 1, "environment.source", source.name, "a source with one label an example")
        classes = source.classes
        require(tasks <= classes, "environment.tasks", tasks, f"at most {classes}, a task for each class of {source.name}")
        if scenario == "domain" and classes % tasks:
            raise invalid("environment.tasks", tasks, f"a divisor of the {classes} classes, since the scenario is domain")
        for split in ("train", "test"):
            _check_all_there(source, split)
        self.class_order = self._fixed_order(class_order)
        self.augment = augmentation(augment, padding, source)

    def _fixed_order(self, given: object) -> list[int] | None:
        if given is None:
            return None
        everyone = list(range(self.data.classes))
        order = everyone if given == "sorted" else numbers(given)
        sound = order is not None and sorted(order) == everyone
        require(sound, "environment.class_order", given, f"null, sorted, or a list of each of 0..{everyone[-1]} once")
        return [int(c) for c in order]

    def stream(self, seed: int) -> Stream:
        groups = self._order(SHARED if self.shared else seed).tensor_split(self.tasks)
        tasks = tuple(self._task(t, group, seed) for t, group in enumerate(groups))
        outputs = len(groups[0]) if self.scenario == "domain" else self.data.classes
        return Stream(tasks, phase_per_task(tasks), self.scenario, outputs, augment=self.augment)

    def _order(self, seed: int) -> Tensor:
        if self.class_order is not None:
            return torch.tensor(self.class_order)
        return torch.randperm(self.data.classes, generator=generator(seed, "class order"))

    def _task(self, number: int, classes: Tensor, seed: int) -> Task:
        labels = torch.full((self.data.classes,), -1)
        labels[classes] = torch.arange(len(classes)) if self.scenario == "domain" else classes
        train, held = hold_out(_rows_of(self.data.train.targets, classes), self.validation, seed, number)
        return Task(train, _rows_of(self.data.test.targets, classes), labels, held)


def _check_all_there(source: Data, split: str) -> None:
    """A class without examples could make a task that cannot be trained on, or not be measured."""
    there = getattr(source, split).targets.unique()
    absent = sorted(set(range(source.classes)) - set(there.tolist()))
    if absent:
        raise UserError(f"environment.source={source.name}: class {absent[0]} has no {split} example, and each needs one here")


def _rows_of(targets: Tensor, classes: Tensor) -> Tensor:
    return torch.isin(targets, classes).nonzero().squeeze(1)
