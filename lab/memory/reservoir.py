"""The reservoir: Vitter 1985, "Random Sampling with a Reservoir", ACM Transactions on Mathematical Software 11(1)."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.batch import Batch, Steps
from lab.memory.base import Memory, offered, packed, unpacked
from lab.memory.history import History
from lab.seeding import integers


class Reservoir(Memory):
    """A uniform sample of everything a member has met (algorithm R): of N samples offered each is kept with probability
    K / N, as if they had come one by one. ``seen`` ``[M]`` counts what was offered.
    """

    def __init__(self, seeds: list[int], capacity: int, purpose: str = "reservoir"):
        super().__init__(seeds, capacity, purpose)
        self.register_buffer("seen", torch.zeros(len(seeds), dtype=torch.int64))

    def draw_and_add(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        valid = offered(steps)
        met = torch.full_like(steps.clock, steps.current) if valid is None else valid.sum(2)
        seen = self.seen.unsqueeze(1) + met.cumsum(1)  # behind each step
        filled = (seen - met).clamp(max=self.capacity).unsqueeze(2)
        slots = integers(self.keys[:, 1:], steps.clock, count, filled)
        history = History(self.slots, self._places(steps, seen - met, valid), packed(steps))
        addresses = history.before_steps(slots)
        self.slots.copy_(history.behind())
        self.seen.copy_(seen[:, -1])
        return *unpacked(addresses), (filled > 0).expand_as(slots)

    def _places(self, steps: Steps, seen: Tensor, valid: Tensor | None) -> Tensor:
        """The slot that each current sample is written to, ``[M, S, B]``; K for those that are not kept."""
        column = torch.arange(steps.current, device=self.slots.device)
        rank = seen.unsqueeze(2) + (column if valid is None else valid.cumsum(2) - 1)
        drawn = integers(self.keys[:, :1], steps.clock, steps.current, rank + 1)
        places = torch.where(rank < self.capacity, rank, drawn).clamp_(max=self.capacity)
        return places if valid is None else places.masked_fill_(~valid, self.capacity)

    def places(self, batch: Batch, clock: Tensor) -> Tensor:
        """The slots that :meth:`add` will write a batch's current samples to, ``[M, B]``, for what else is to be kept of them;
        K for those that are not kept. No slot twice: a sample that a later one of the batch overwrites is not kept."""
        examples, tasks = batch.examples[:, : batch.current], batch.tasks[:, : batch.current]
        valid = None if batch.weights is None else batch.weights[:, None, : batch.current] > 0
        one = Steps(examples.unsqueeze(1), tasks.unsqueeze(1), batch.current, None, clock.unsqueeze(1))
        places = self._places(one, self.seen.unsqueeze(1), valid).squeeze(1)
        overwritten = (places.unsqueeze(2) == places.unsqueeze(1)).triu(1).any(2)
        return places.masked_fill(overwritten, self.capacity)

    def filled(self) -> Tensor:
        return torch.arange(self.capacity, device=self.slots.device) < self.seen.unsqueeze(1)
