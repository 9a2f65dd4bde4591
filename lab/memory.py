"""A bounded memory of sample addresses for each member; the data stay where they are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.batch import Batch, Steps
from lab.seeding import integers, member_keys

_TASK = 40
"""An address is ``task << 40 | row``."""
_ROW = (1 << _TASK) - 1


class Reservoir(nn.Module):
    """A uniform sample of everything a member has met (Vitter 1985, algorithm R), for all members at once.

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

    def draw_and_add(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Before each of the steps draw ``count`` samples, behind it offer its current ones; no step needs to be taken for it.

        Of N samples offered so far each is kept with probability K / N, as if they had come one by one; samples of weight 0
        (padding) are not offered. Draws are uniform and with replacement: examples, tasks and validity, each
        ``[M, S, count]``. Where a member's memory is empty they are not valid.
        """
        valid = None if steps.weights is None else steps.weights[..., : steps.current] > 0
        met = torch.full_like(steps.clock, steps.current) if valid is None else valid.sum(2)
        seen = self.seen.unsqueeze(1) + met.cumsum(1)  # behind each step
        filled = (seen - met).clamp(max=self.capacity).unsqueeze(2)
        slots = integers(self.keys[:, 1:], steps.clock, count, filled)
        history = _History(self.slots, self._places(steps, seen - met, valid), _packed(steps))
        begins = torch.arange(steps.clock.shape[1], device=slots.device).unsqueeze(1) * steps.current
        address = history.held(slots.flatten(1), begins.expand(-1, count).flatten()).view_as(slots)
        everything = torch.arange(self.capacity, device=slots.device).expand_as(self.slots)
        self.slots.copy_(history.held(everything, len(begins) * steps.current))
        self.seen.copy_(seen[:, -1])
        return address & _ROW, address >> _TASK, (filled > 0).expand_as(slots)

    def _places(self, steps: Steps, seen: Tensor, valid: Tensor | None) -> Tensor:
        """The slot that each current sample is written to, ``[M, S, B]``; K for those that are not kept."""
        column = torch.arange(steps.current, device=self.slots.device)
        rank = seen.unsqueeze(2) + (column if valid is None else valid.cumsum(2) - 1)
        drawn = integers(self.keys[:, :1], steps.clock, steps.current, rank + 1)
        places = torch.where(rank < self.capacity, rank, drawn).clamp_(max=self.capacity)
        return places if valid is None else places.masked_fill_(~valid, self.capacity)

    def add(self, batch: Batch, clock: Tensor) -> None:
        """Offer the current samples of one batch; see :meth:`draw_and_add`. ``clock`` ``[M]`` numbers the draw."""
        weights = None if batch.weights is None else batch.weights.unsqueeze(1)
        one = Steps(batch.examples.unsqueeze(1), batch.tasks.unsqueeze(1), batch.current, weights, clock.unsqueeze(1))
        self.draw_and_add(one, 0)

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


class _History:
    """What the slots ``[M, K]`` hold at each moment of a block, in which ``addresses`` are written to ``places``, both
    ``[M, S, B]``, one after the other; sorted once, so that it costs no loop over steps."""

    def __init__(self, slots: Tensor, places: Tensor, addresses: Tensor):
        self.slots, self.addresses = slots, addresses.flatten(1)
        self.length = self.addresses.shape[1]
        moments = torch.arange(self.length, device=slots.device)
        writes = (places.flatten(1) * self.length + moments).sort(1).values
        self.writes = torch.cat([torch.full_like(writes[:, :1], -1), writes], 1)

    def held(self, slots: Tensor, moment: Tensor | int) -> Tensor:
        """The addresses that slots ``[M, N]`` hold before the write number ``moment`` (``[N]`` or for all)."""
        behind = torch.searchsorted(self.writes, slots * self.length + moment)
        last = self.writes.gather(1, behind - 1)  # the greatest below: the last write to the slot, if to that slot it is
        written = self.addresses.gather(1, last % self.length)
        return torch.where(last.div(self.length, rounding_mode="floor") == slots, written, self.slots.gather(1, slots))


def _packed(steps: Steps) -> Tensor:
    """Addresses of the current samples, int64 ``[M, S, B]``."""
    return (steps.tasks[..., : steps.current] << _TASK) + steps.examples[..., : steps.current]
