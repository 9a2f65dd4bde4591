"""Permuted images: every task shows the same images with pixels in another order (Goodfellow et al. 2013)."""

import math

import torch
from torch import Tensor

from environments.tasks import SHARED, repeated_labels, source_of, switch
from environments.views import tasks_of_views
from lab.protocols import Data, Stream, fraction, generator, one_of, phase_per_task, whole


def permute(inputs: Tensor, table: Tensor, tasks: Tensor) -> Tensor:
    """Inputs ``[M, B, ...]`` with positions reordered by the permutations ``table`` ``[M, T, D]`` of the tasks ``[M, B|1]``."""
    flat = inputs.flatten(2)
    members = torch.arange(len(table), device=table.device).unsqueeze(1)
    index = table[members, tasks].expand(-1, flat.shape[1], -1)
    return flat.gather(2, index).view(inputs.shape)


class Permuted:
    """``tasks`` permutations of one data set, drawn from the member's seed (``shared``: the same for all members).

    The first task is permuted too. ``domain``: the same output units for all tasks; ``task`` and ``class``: a block of units
    for each task.
    """

    def __init__(self, source: Data, tasks: int = 5, scenario: str = "domain", validation: float = 0.0, shared: bool = False):
        self.data, self.tasks = source_of(source), whole("environment.tasks", tasks, 1)
        self.scenario = one_of("environment.scenario", scenario, ("domain", "task", "class"))
        self.validation, self.shared = fraction("environment.validation", validation), switch("environment.shared", shared)

    def stream(self, seed: int) -> Stream:
        labels, outputs = repeated_labels(self.data.classes, self.tasks, self.scenario)
        size = math.prod(self.data.train.inputs.shape[1:])
        draws = (generator(SHARED if self.shared else seed, "permutation", t) for t in range(self.tasks))
        orders = [torch.randperm(size, generator=draw) for draw in draws]
        tasks = tasks_of_views(self.data, orders, labels, self.validation, seed)
        return Stream(tasks, phase_per_task(tasks), self.scenario, outputs, permute)
