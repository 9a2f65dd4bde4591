"""The class-balanced memory: after Prabhu et al. 2020, "GDumb: A Simple Approach that Questions Our Progress in Continual
Learning" (ECCV), whose greedy sampler gives each class met k / |classes| of k slots, taken from the largest class.

Theirs turns a sample away whose class has its share already, so that it keeps the first ones of each class. Here every sample
draws a lot when it is offered and each class keeps its lowest lots: a uniform sample of all that were met of it, at any time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.batch import Steps
from lab.memory.base import packed, unpacked
from lab.memory.grouped import Grouped, GroupOf, group_and_rank
from lab.seeding import bits, integers

_GROUP = 32
"""A lot is ``group << 32 | 32 random bits``: a one-to-one hash of the sample's number, so that no two of a member are equal."""
_BITS = (1 << _GROUP) - 1
AT_ONCE = 2**23
"""Candidates times moments that are looked at together: 32 MiB."""


class Balanced(Grouped):
    """As many samples of each group as of any other, as far as they were met, and not more than ``per_class``; groups that
    fall short leave their share to the others.

    Among the samples of its group each has a rank by its lot, 0 the lowest. Kept are the ``capacity`` samples of the lowest
    ranks, among equal ranks those of the lowest lots. What was turned away once would not be kept later either, since its
    rank can only rise and the highest rank kept only fall: so this depends on all that was met and on nothing else.

    ``slots`` are sorted by group and lot, the filled ones first; ``lots`` ``[M, K]`` are theirs; ``seen`` ``[M]`` counts what
    was offered.
    """

    def __init__(
        self, seeds: list[int], capacity: int, groups: int, group_of: GroupOf, purpose: str = "balanced",
        per_class: int | None = None,
    ):  # fmt: skip
        super().__init__(seeds, capacity, groups, group_of, purpose)
        self.per_class = capacity if per_class is None else per_class
        self.register_buffer("lots", torch.full((len(seeds), capacity), groups << _GROUP))
        self.register_buffer("seen", torch.zeros(len(seeds), dtype=torch.int64))

    def draw_and_add(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        candidates = self._candidates(steps)
        several = max(1, AT_ONCE // candidates.lots.numel())
        parts = [self._drawn(candidates, clock, count, s * several) for s, clock in enumerate(steps.clock.split(several, 1))]
        self._keep(candidates, steps.clock.shape[1])
        return tuple(torch.cat(part, 1) for part in zip(*parts, strict=True))

    def _candidates(self, steps: Steps) -> _Candidates:
        """What is kept, there from moment 0 on, and what is offered in step s, there from s + 1 on."""
        groups = self._offered_groups(steps)
        since = torch.arange(1, groups.shape[1] + 1, device=groups.device).view(1, -1, 1).expand_as(groups)
        groups = groups.flatten(1)
        seen = self.seen.unsqueeze(1) + (groups < self.groups).cumsum(1)
        self.seen.copy_(seen[:, -1])
        lots = groups << _GROUP | bits(self.keys[:, :1], seen, 1).squeeze(2)
        return _Candidates(
            torch.cat([self.lots, lots], 1),
            torch.cat([self.slots, packed(steps).flatten(1)], 1),
            torch.cat([torch.zeros_like(self.slots), since.flatten(1)], 1),
            self.groups,
        )

    def _drawn(self, candidates: _Candidates, clock: Tensor, count: int, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is drawn before the steps from number ``first`` on, whose ``clock`` ``[M, S]`` is; see :meth:`draw_and_add`."""
        if count == 0:
            nothing = clock.unsqueeze(2)[..., :0]
            return nothing, nothing, nothing > 0
        moments = torch.arange(first, first + clock.shape[1], device=clock.device)
        kept = _Kept(candidates, moments, self.capacity, self.per_class)
        index = kept.index(integers(self.keys[:, 1:], clock, count, kept.total))  # an empty slot where nothing is kept
        addresses = candidates.addresses.unsqueeze(1).expand(-1, len(moments), -1).gather(2, index)
        return *unpacked(addresses), (kept.total > 0).expand_as(index)

    def _keep(self, candidates: _Candidates, last: int) -> None:
        """Fill the slots with what is kept at the last moment."""
        kept = _Kept(candidates, torch.full((1,), last, device=self.slots.device), self.capacity, self.per_class)
        numbers = torch.arange(self.capacity, device=self.slots.device).expand_as(self.slots).unsqueeze(1)
        index = kept.places(numbers).squeeze(1).clamp_(max=candidates.lots.shape[1] - 1)  # by now all are there
        valid = (numbers < kept.total).squeeze(1)
        self.slots.copy_(torch.where(valid, candidates.addresses.gather(1, index), 0))
        self.lots.copy_(torch.where(valid, candidates.lots.gather(1, index), self.groups << _GROUP))

    def filled(self) -> Tensor:
        return self.lots < self.groups << _GROUP


class _Candidates:
    """Samples that may be kept, ``[M, N]``, sorted by group and lot, with the moment ``since`` which each is there; ``ends``
    ``[M, G]`` are where the groups end, behind which come those without one."""

    def __init__(self, lots: Tensor, addresses: Tensor, since: Tensor, groups: int):
        self.lots, order = lots.sort(1)
        self.addresses, self.since = addresses.gather(1, order), since.gather(1, order)
        limits = torch.arange(1, groups + 1, device=lots.device) << _GROUP
        self.ends = torch.searchsorted(self.lots, limits.expand(len(lots), -1).contiguous())


class _Kept:
    """Which of the candidates are kept at each of ``moments`` ``[T]``: ``shares`` ``[M, T, G]`` of the lowest lots that are
    there of each group, ``total`` ``[M, T, 1]`` together."""

    def __init__(self, candidates: _Candidates, moments: Tensor, capacity: int, per_class: int):
        there = candidates.since.unsqueeze(1) <= moments.unsqueeze(1)
        self.standing = there.cumsum(2, dtype=torch.int32)  # [M, T, N]: how many are there, up to each candidate
        self.lots = candidates.lots.unsqueeze(1).expand_as(there)
        last = (candidates.ends - 1).clamp(min=0).unsqueeze(1).expand(-1, len(moments), -1)
        ends = self.standing.gather(2, last).long() * (candidates.ends > 0).unsqueeze(1)
        counts = ends.diff(dim=2, prepend=torch.zeros_like(ends[..., :1]))
        self.begins = ends - counts
        self.shares = self._shares(counts.clamp(max=per_class), capacity)
        self.total = self.shares.sum(2, keepdim=True)

    def _shares(self, counts: Tensor, capacity: int) -> Tensor:
        level = water_level(counts, capacity)
        shares = torch.minimum(counts, level)
        # What is left over goes to the lowest lots among the groups' next samples.
        more = counts > level
        lots = (self.lots.gather(2, self._find(self.begins + level)) & _BITS).masked_fill(~more, 1 << _GROUP)
        lucky = lots.argsort(2).argsort(2) < capacity - shares.sum(2, keepdim=True)
        return shares + (more & lucky)

    def places(self, numbers: Tensor) -> Tensor:
        """The places among the candidates there of the samples ``numbers`` ``[M, T, Q]`` of those kept."""
        group, rank = group_and_rank(self.shares, numbers)
        return self.begins.gather(2, group) + rank

    def index(self, numbers: Tensor) -> Tensor:
        """Which candidates are the samples ``numbers`` ``[M, T, Q]`` of those kept."""
        return self._find(self.places(numbers))

    def _find(self, places: Tensor) -> Tensor:
        """Which candidates have these places ``[M, T, Q]`` among those that are there."""
        return torch.searchsorted(self.standing, places.int() + 1).clamp(max=self.standing.shape[2] - 1)


def water_level(counts: Tensor, capacity: int) -> Tensor:
    """The most that each of G groups with ``counts`` ``[..., G]`` samples may have, ``[..., 1]``, for all to have
    ``capacity`` together.

    With the i smallest groups whole, the others may have an equal share of the rest; the best of these is the level.

    >>> water_level(torch.tensor([1, 9, 5, 7]), 12)
    tensor([3])
    """
    smaller = counts.sort(-1).values
    whole = smaller.cumsum(-1) - smaller
    others = torch.arange(counts.shape[-1], 0, -1, device=counts.device)
    return (capacity - whole).div(others, rounding_mode="floor").amax(-1, keepdim=True)
