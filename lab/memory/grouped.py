"""Memories that share their slots among groups of samples: classes, or classes of each task."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lab.batch import Steps
from lab.errors import require
from lab.memory.base import Memory, offered

GroupOf = Callable[[Tensor, Tensor], Tensor]
"""``group_of(examples, tasks)``: the group, int64 in [0, groups), of samples ``[M, S, B]``; ``tasks`` may be ``[M, S, 1]``.
What has a negative group (no label) is not offered. :meth:`lab.reader.Reader.targets_of` groups by output unit."""


class Grouped(Memory):
    """A memory that knows of ``groups`` groups, told apart by ``group_of``."""

    def __init__(self, seeds: list[int], capacity: int, groups: int, group_of: GroupOf, purpose: str):
        super().__init__(seeds, capacity, purpose)
        self.groups, self.group_of = groups, group_of

    def _offered_groups(self, steps: Steps) -> Tensor:
        """The group of each current sample, ``[M, S, B]``; one past the last for those that are not offered."""
        groups = self.group_of(steps.examples[..., : steps.current], steps.tasks[..., : steps.current])
        valid = offered(steps)
        return groups.masked_fill(groups < 0 if valid is None else ~valid | (groups < 0), self.groups)


def group_and_rank(counts: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """The group of the samples ``numbers`` ``[..., Q]``, and their place in it, where ``counts`` ``[..., G]`` samples of each
    group lie one group after the other."""
    ends = counts.cumsum(-1)
    group = torch.searchsorted(ends, numbers.contiguous(), right=True).clamp(max=counts.shape[-1] - 1)
    return group, numbers - (ends - counts).gather(-1, group)


def require_room(key: str, capacity: int, groups: int, what: str = "class") -> None:
    """Refuse a memory, the value of ``key``, that has not a slot for each of ``groups`` groups.

    >>> require_room("strategy.er.memory", 5, 10)
    Traceback (most recent call last):
    lab.errors.UserError: strategy.er.memory=5: expected at least 10, a slot for each class
    """
    require(capacity >= groups, key, capacity, f"at least {groups}, a slot for each {what}")
