"""Memories that write samples to slots: what the slots hold at each moment of a block, without a loop over its steps."""

from __future__ import annotations

import torch
from torch import Tensor


class History:
    """What the slots ``[M, K]`` hold at each moment of a block, in which ``addresses`` are written to ``places`` (K and more:
    nowhere), both ``[M, S, B]``, one after the other; sorted once, so that it costs no loop over steps."""

    def __init__(self, slots: Tensor, places: Tensor, addresses: Tensor):
        self.slots, self.addresses, self.width = slots, addresses.flatten(1), addresses.shape[2]
        self.length = self.addresses.shape[1]
        moments = torch.arange(self.length, device=slots.device)
        writes = (places.flatten(1) * self.length + moments).sort(1).values
        self.writes = torch.cat([torch.full_like(writes[:, :1], -1), writes], 1)

    def before_steps(self, slots: Tensor) -> Tensor:
        """The addresses that slots ``[M, S, N]`` hold before each step."""
        begins = torch.arange(slots.shape[1], device=slots.device).unsqueeze(1) * self.width
        return self._held(slots.flatten(1), begins.expand(-1, slots.shape[2]).flatten()).view_as(slots)

    def behind(self) -> Tensor:
        """The addresses that all slots hold when the block is over, ``[M, K]``."""
        return self._held(torch.arange(self.slots.shape[1], device=self.slots.device).expand_as(self.slots), self.length)

    def _held(self, slots: Tensor, moment: Tensor | int) -> Tensor:
        """The addresses that slots ``[M, N]`` hold before the write number ``moment`` (``[N]`` or for all)."""
        behind = torch.searchsorted(self.writes, slots * self.length + moment)
        last = self.writes.gather(1, behind - 1)  # the greatest below: the last write to the slot, if to that slot it is
        written = self.addresses.gather(1, last % self.length)
        return torch.where(last.div(self.length, rounding_mode="floor") == slots, written, self.slots.gather(1, slots))
