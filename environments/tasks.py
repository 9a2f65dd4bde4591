"""What environments share: drawing validation splits, the label maps of the scenarios, checking options."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import generator

SHARED = 0
"""The seed of what all members share."""


def hold_out(rows: Tensor, share: float, seed: int, task: int) -> tuple[Tensor, Tensor]:
    """Rows ``[n]`` as (train, validation), the latter a share drawn from the member's seed."""
    order = rows[torch.randperm(len(rows), generator=generator(seed, "validation", task))]
    held = round(share * len(rows))
    return order[held:].sort().values, order[:held].sort().values


def repeated_labels(classes: int, tasks: int, scenario: str) -> tuple[list[Tensor], int]:
    """Label maps where every task has all classes: the same units (domain), or a block of units each (task, class)."""
    same = scenario == "domain"
    maps = [torch.arange(classes) + (0 if same else t * classes) for t in range(tasks)]
    return maps, classes if same else classes * tasks
