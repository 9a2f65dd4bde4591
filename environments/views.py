"""Tasks that all show the whole of the data, each seen in its own way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from environments.tasks import hold_out
from lab.protocols import Data, Task


def tasks_of_views(data: Data, views: Sequence[Tensor], labels: list[Tensor], validation: float, seed: int) -> tuple[Task, ...]:
    """A task for each of the ``views``, answered by its ``labels``, of all examples of ``data``; a share held out of each
    task's training examples is drawn from the member's seed.

    Rows that tasks have in common are one tensor: a thousand tasks need no more memory for theirs than one.
    """
    train, test = torch.arange(len(data.train)), torch.arange(len(data.test))
    nothing = train[:0]
    tasks = []
    for t, (view, own) in enumerate(zip(views, labels, strict=True)):
        rows, held = hold_out(train, validation, seed, t) if validation > 0 else (train, nothing)
        tasks.append(Task(rows, test, own, held, view))
    return tuple(tasks)
