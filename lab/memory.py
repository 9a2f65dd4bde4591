"""A bounded memory of sample addresses for each member; the data stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.seeding import integers, member_keys

if TYPE_CHECKING:
    from lab.protocols import Batch


_TASK = 40
"""An address is ``task << 40 | row``."""
_ROW = (1 << _TASK) - 1


class Reservoir(nn.Module):
    """A uniform sample of everything a member has met (Vitter 1985, algorithm R), a batch at a time, for all members.

    ``slots`` ``[M, K]`` holds addresses, each a row of ``data.train`` and a task in one number; ``seen`` ``[M]`` counts what
    was offered.
    """

    def __init__(self, seeds: list[int], capacity: int, purpose: str = "reservoir"):
        super().__init__()
        self.capacity = capacity
        self.register_buffer("slots", torch.zeros(len(seeds), capacity, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(len(seeds), dtype=torch.int64))
        keys = [member_keys(seeds, f"{purpose}/{what}") for what in ("add", "draw")]
        self.register_buffer("keys", torch.stack(keys, 1), persistent=False)

    def add(self, batch: Batch, clock: Tensor) -> None:
        """Offer the batch's current samples; each stays with probability K / seen, as if they had come one by one.

        ``clock`` ``[M]`` numbers the draw; samples of weight 0 (padding) are not offered.
        """
        width = batch.current
        column = torch.arange(width, device=self.slots.device)
        rank = self.seen.unsqueeze(1) + column
        valid = None if batch.weights is None else batch.weights[:, :width] > 0
        if valid is not None:
            rank = self.seen.unsqueeze(1) + valid.cumsum(1) - 1
        slot = torch.where(rank < self.capacity, rank, integers(self.keys[:, 0], clock, width, rank + 1))
        if valid is not None:
            slot = slot.masked_fill_(~valid, self.capacity)
        address = (batch.tasks[:, :width] << _TASK) + batch.examples[:, :width]
        # Of several samples that draw one slot the last stays: scatter the largest column, then gather.
        last = torch.full((len(slot), self.capacity + 1), -1, device=slot.device)
        last = last.scatter_reduce_(1, slot.clamp_(max=self.capacity), column.expand_as(slot), "amax")[:, :-1]
        torch.where(last >= 0, address.gather(1, last.clamp(min=0)), self.slots, out=self.slots)
        self.seen += width if valid is None else valid.sum(1)

    def draw(self, count: int, clock: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` samples for each member, uniformly with replacement: examples, tasks and validity, each ``[M, count]``.

        Where a member's memory is empty its samples are not valid.
        """
        filled = self.seen.clamp(max=self.capacity).unsqueeze(1)
        slot = integers(self.keys[:, 1], clock, count, filled)
        address = self.slots.gather(1, slot)
        return address & _ROW, address >> _TASK, (filled > 0).expand_as(slot)

    def contents(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that is kept: examples, tasks and whether a slot is filled, each ``[M, K]``."""
        filled = torch.arange(self.capacity, device=self.slots.device) < self.seen.unsqueeze(1)
        return self.slots & _ROW, self.slots >> _TASK, filled
