"""What environments share: drawing validation splits, the label maps of the scenarios, checking options."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import Data, Environment, generator, invalid, require

SHARED = 0
"""The seed of what all members share."""


def hold_out(rows: Tensor, share: float, seed: int, task: int) -> tuple[Tensor, Tensor]:
    """Rows ``[n]`` as (train, validation), both ascending, the latter a share drawn from the member's seed.

    A share above 0 holds out at least one row, and at least one row is left to train on.
    """
    order = rows[torch.randperm(len(rows), generator=generator(seed, "validation", task))]
    held = min(max(round(share * len(rows)), int(share > 0)), len(rows) - 1)
    return order[held:].sort().values, order[:held].sort().values


def repeated_labels(classes: int, tasks: int, scenario: str) -> tuple[list[Tensor], int]:
    """Label maps where every task has all classes: the same units (domain), or a block of units each (task, class)."""
    same = scenario == "domain"
    maps = [torch.arange(classes) + (0 if same else t * classes) for t in range(tasks)]
    return maps, classes if same else classes * tasks


def source_of(given: object) -> Data:
    """``given``, which must be the data of a source."""
    if not isinstance(given, Data):
        expected = "a source: one that `lab list` names, or your own that returns lab.protocols.Data"
        raise invalid("environment.source", _kind(given), expected)
    return given


def images_of(given: object) -> Data:
    """``given``, which must be the data of a source of images."""
    data = source_of(given)
    expected = f"a source of images; examples of this one have the shape {list(data.train.inputs.shape[1:])}"
    require(data.train.inputs.dim() == 4, "environment.source", data.name, expected)
    return data


def base_of(given: object) -> Environment:
    """``given``, which must be an environment."""
    if not (hasattr(given, "stream") and hasattr(given, "data")):
        raise invalid("environment.base", _kind(given), "an environment to wrap, e.g. environment.base=split")
    return given


def switch(key: str, given: object) -> bool:
    """``given``, which must be true or false."""
    require(isinstance(given, bool), key, given, "true or false")
    return given


def numbers(given: object) -> list | None:
    """``given`` as a list of numbers, None if it is none."""
    sound = isinstance(given, (list, tuple)) and all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in given)
    return list(given) if sound else None


def _kind(given: object) -> object:
    """A value of the configuration as it is, of anything else its kind."""
    return given if given is None or isinstance(given, (str, int, float)) else type(given).__name__
