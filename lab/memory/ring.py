"""The ring buffer: Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning", arXiv 1902.10486."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.batch import Steps
from lab.memory.base import packed, unpacked
from lab.memory.grouped import Grouped, GroupOf, group_and_rank
from lab.memory.history import History
from lab.seeding import integers


class Ring(Grouped):
    """The last samples of each group, first in, first out: ``capacity // groups`` slots for each, one group's behind the
    other's (a remainder is not used). ``met`` ``[M, G]`` counts what was offered of each.
    """

    def __init__(self, seeds: list[int], capacity: int, groups: int, group_of: GroupOf, purpose: str = "ring"):
        self.share = capacity // groups
        super().__init__(seeds, self.share * groups, groups, group_of, purpose)
        self.register_buffer("met", torch.zeros(len(seeds), groups, dtype=torch.int64))

    def draw_and_add(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        groups = self._offered_groups(steps)
        came = _counts(groups, self.groups)
        met = self.met.unsqueeze(1) + came.cumsum(1)  # behind each step
        kept = (met - came).clamp(max=self.share)
        filled = kept.sum(2, keepdim=True)
        group, rank = group_and_rank(kept, integers(self.keys[:, 1:], steps.clock, count, filled))
        history = History(self.slots, self._places(groups.flatten(1)).view_as(groups), packed(steps))
        # Where nothing is kept the rank is of no slot; any will do, they are empty.
        addresses = history.before_steps((group * self.share + rank).clamp(0, self.capacity - 1))
        self.slots.copy_(history.behind())
        self.met.copy_(met[:, -1])
        return *unpacked(addresses), (filled > 0).expand_as(addresses)

    def _places(self, groups: Tensor) -> Tensor:
        """The slots that samples of these groups ``[M, N]``, one after the other, are written to; K for those not offered."""
        known = torch.cat([self.met, self.met[:, :1]], 1)  # of those not offered anything will do
        number = known.gather(1, groups) + _earlier(groups, self.groups)
        return torch.where(groups < self.groups, groups * self.share + number % self.share, self.capacity)

    def filled(self) -> Tensor:
        return (torch.arange(self.share, device=self.slots.device) < self.met.unsqueeze(2)).flatten(1)


def _counts(groups: Tensor, most: int) -> Tensor:
    """How many of groups ``[..., N]`` are each of 0 to ``most`` - 1: ``[..., most]``."""
    counts = torch.zeros(*groups.shape[:-1], most + 1, dtype=torch.int64, device=groups.device)
    return counts.scatter_add_(-1, groups, torch.ones_like(groups))[..., :most]


def _earlier(groups: Tensor, most: int) -> Tensor:
    """How many before each in groups ``[M, N]``, of 0 to ``most``, are of the same group."""
    moments = torch.arange(groups.shape[1], device=groups.device).expand_as(groups)
    order = (groups * groups.shape[1] + moments).argsort(1)
    counts = _counts(groups, most + 1)
    begins = (counts.cumsum(1) - counts).gather(1, groups.gather(1, order))
    return torch.empty_like(groups).scatter_(1, order, moments - begins)
