"""A bounded memory of sample addresses for each member; the data stay where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lab.seeding import integers, member_keys

if TYPE_CHECKING:
    from lab.protocols import Batch


class Reservoir(nn.Module):
    """A uniform sample of everything a member has met (Vitter 1985, algorithm R), a batch at a time, for all members.

    ``slots`` ``[M, K, 2]`` holds (row of ``data.train``, task); ``seen`` ``[M]`` counts what was offered.
    """

    def __init__(self, seeds: list[int], capacity: int, purpose: str = "reservoir"):
        super().__init__()
        self.capacity = capacity
        self.register_buffer("slots", torch.zeros(len(seeds), capacity, 2, dtype=torch.int64))
        self.register_buffer("seen", torch.zeros(len(seeds), dtype=torch.int64))
        keys = [member_keys(seeds, f"{purpose}/{what}") for what in ("add", "draw")]
        self.register_buffer("keys", torch.stack(keys, 1), persistent=False)

    def add(self, batch: Batch, clock: Tensor) -> None:
        """Offer the batch's current samples; each stays with probability K / seen, as if they had come one by one.

        ``clock`` ``[M]`` numbers the draw; samples of weight 0 (padding) are not offered.
        """
        width = batch.current
        examples, tasks = batch.examples[:, :width], batch.tasks.expand_as(batch.examples)[:, :width]
        valid = torch.ones_like(examples, dtype=torch.bool) if batch.weights is None else batch.weights[:, :width] > 0
        rank = self.seen.unsqueeze(1) + valid.cumsum(1) - 1
        drawn = integers(self.keys[:, 0], clock, width, rank + 1)
        slot = torch.where(rank < self.capacity, rank, drawn)
        slot = torch.where(valid & (slot < self.capacity), slot, self.capacity)
        # Of several samples that draw one slot the last stays: scatter the largest column, then gather.
        column = torch.arange(width, device=slot.device).expand_as(slot)
        last = torch.full((len(slot), self.capacity + 1), -1, device=slot.device)
        last = last.scatter_reduce(1, slot, column, "amax")[:, :-1]
        address = torch.stack([examples, tasks], 2)
        offered = address.gather(1, last.clamp(min=0).unsqueeze(2).expand(-1, -1, 2))
        torch.where((last >= 0).unsqueeze(2), offered, self.slots, out=self.slots)
        self.seen += valid.sum(1)

    def draw(self, count: int, clock: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` samples for each member, uniformly with replacement: examples, tasks and validity, each ``[M, count]``.

        Where a member's memory is empty its samples are not valid.
        """
        filled = self.seen.clamp(max=self.capacity).unsqueeze(1)
        slot = integers(self.keys[:, 1], clock, count, filled)
        address = self.slots.gather(1, slot.unsqueeze(2).expand(-1, -1, 2))
        return address[..., 0], address[..., 1], (filled > 0).expand_as(slot)
