"""A memory whose draws follow a law of the time since each task was new: Gandhi, Shah, Marupudi & Varma 2024 (arXiv
2401.10393), who give no formula and say nothing of a memory: our reconstruction, as are the laws (:mod:`lab.lags`).

Time is counted in phases. In phase k a task that was new in phase j < k has the lag t = k - j >= 1 and the age t + 1, so that a
power law gives it (t + 1)^-d. To meet its samples again later does not make it younger.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lab.batch import Steps
from lab.lags import Law, apportion
from lab.memory.base import Memory, addresses, unpacked
from lab.seeding import bits

QUOTAS = ("even", "law")
_LOT = 32
"""Bits of a lot, and of the random number that a slot is drawn by."""
_NEVER = 1 << 62


class Lagged(Memory):
    """Filled ``at_end``; draws a task by the law of the lags, then one of its samples kept, all alike.

    Every sample has a lot, a hash of the member's key and its address, and a rank by it among those of its task, 0 the lowest.
    A task keeps its lowest lots, a uniform sample of all that were met of it, however its quota shrinks; to meet a sample
    again changes nothing. Among tasks the slots are shared out by ``quotas``:

        even    as many to each as to any other. Kept are the ``capacity`` samples of the lowest ranks, among equal ranks those
                of the lowest lots: with fewer slots than tasks, one sample of some tasks, drawn among all that were met.
        law     by the law's shares in the phase to come, to the largest remainders, of equal ones by lots of the tasks. With
                fewer slots than tasks the oldest get none. What a task cannot fill goes to the others in proportion to theirs.

    ``slots`` are sorted by task and lot, the filled ones first; ``kept`` ``[M]`` are filled. ``limits`` ``[M, K]`` are the sums
    of their probabilities, in units of 2^-32, that the next phase's draws are looked up in: what a draw costs grows with the
    logarithm of the slots, and not with the tasks. ``new`` ``[M, T]`` is the phase that each task was new in, -1 before;
    ``ended`` ``[M]`` counts the phases behind.
    """

    def __init__(
        self, seeds: list[int], capacity: int, tasks: int, law: Law, quotas: str = "even", purpose: str = "lagged"
    ):  # fmt: skip
        super().__init__(seeds, capacity, purpose)
        self.at_end, self.tasks, self.law, self.quotas = True, tasks, law, quotas
        self.register_buffer("limits", torch.zeros_like(self.slots))
        self.register_buffer("kept", torch.zeros(len(seeds), dtype=torch.int64))
        self.register_buffer("new", torch.full((len(seeds), tasks), -1))
        self.register_buffer("ended", torch.zeros(len(seeds), dtype=torch.int64))

    def draw_and_add(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError("filled when tasks end: see offer")

    def filled(self) -> Tensor:
        return torch.arange(self.capacity, device=self.slots.device) < self.kept.unsqueeze(1)

    def _drawn_at(self, clock: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        drawn = bits(self.keys[:, 1:], clock, count)
        slots = torch.searchsorted(self.limits, drawn.flatten(1), right=True).clamp(max=self.capacity - 1)
        found = (each.view_as(drawn) for each in unpacked(self.slots.gather(1, slots)))
        return *found, (self.kept > 0).view(-1, 1, 1).expand_as(drawn)

    # --- the end of a phase -------------------------------------------------------------------------------------------

    def offer(self, examples: Tensor, tasks: Tensor, valid: Tensor | None, clock: Tensor) -> None:
        """A phase with these samples has ended; see :meth:`Memory.offer`."""
        there = torch.ones_like(examples, dtype=torch.bool) if valid is None else valid > 0
        candidates = torch.cat([self.slots, addresses(examples, tasks)], 1)
        candidates, task, lots = self._by_task_and_lot(candidates, torch.cat([self.filled(), there], 1))
        counts = _counts(task, self.tasks)
        self.new.copy_(torch.where((self.new < 0) & (counts > 0), self.ended.unsqueeze(1), self.new))
        self.ended += 1
        priority = self._priority(task, lots, counts)
        chosen = priority.topk(self.capacity, largest=False)
        # By their places, which are by task and lot; those of none behind.
        places = chosen.indices.masked_fill(chosen.values == _NEVER, priority.shape[1]).sort(1).values
        self.kept.copy_((places < priority.shape[1]).sum(1))
        slots = candidates.gather(1, places.clamp(max=priority.shape[1] - 1))
        self.slots.copy_(slots.masked_fill(~self.filled(), 0))
        self._find_limits()

    def _by_task_and_lot(self, candidates: Tensor, there: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Addresses ``[M, N]`` in this order, their tasks and their lots; those that are not ``there`` or come again are of
        task T."""
        examples, tasks = unpacked(candidates)
        # One-to-one within a task: where lots are equal, so are examples.
        lots = bits(bits(self.keys[:, :1], tasks, 1).squeeze(2), examples, 1).squeeze(2)
        places, order = (tasks << _LOT | lots).masked_fill(~there, self.tasks << _LOT).sort(1)
        again = torch.zeros_like(there)
        again[:, 1:] = places[:, 1:] == places[:, :-1]
        tasks = (places >> _LOT).masked_fill(again, self.tasks)
        return candidates.gather(1, order), tasks, places & (1 << _LOT) - 1

    def _priority(self, task: Tensor, lots: Tensor, counts: Tensor) -> Tensor:
        """Of each candidate ``[M, N]``, the lower the sooner it is kept; of those that cannot be, the highest."""
        begins = torch.cat([counts.cumsum(1) - counts, torch.zeros_like(counts[:, :1])], 1)
        rank = (task < self.tasks).cumsum(1) - 1 - begins.gather(1, task)
        if self.quotas == "even":
            return (rank << _LOT | lots).masked_fill(task == self.tasks, _NEVER)
        # In the order of their lots: of equal remainders the first gets more, which must not be the oldest.
        order = bits(self.keys[:, :1], torch.arange(self.tasks, device=task.device).expand_as(counts), 1).squeeze(2).argsort(1)
        shares = self.law.shares(self._ages(counts)).gather(1, order)
        quotas = shared_out(self.capacity, shares, counts.gather(1, order)).gather(1, order.argsort(1))
        quotas = torch.cat([quotas, torch.zeros_like(quotas[:, :1])], 1)
        return torch.where(rank < quotas.gather(1, task), rank, _NEVER).masked_fill(task == self.tasks, _NEVER)

    def _ages(self, counts: Tensor) -> Tensor:
        """Of each task in the phase to come, ``[M, T]``, at least 2; infinite where there are no samples of it."""
        ages = (self.ended.unsqueeze(1) - self.new + 1).to(torch.float64)
        return ages.masked_fill(counts == 0, math.inf)

    def _find_limits(self) -> None:
        task = (unpacked(self.slots)[1]).masked_fill(~self.filled(), self.tasks)
        counts = _counts(task, self.tasks)
        each = self.law.shares(self._ages(counts)) / counts.clamp(min=1)
        sums = torch.cat([each, torch.zeros_like(each[:, :1])], 1).gather(1, task).cumsum(1)
        # The last is 1 to the bit, so that no number is beyond it.
        sums = sums / sums[:, -1:].clamp(min=math.ulp(0.0))
        self.limits.copy_((sums * 2.0**_LOT).round())


def _counts(task: Tensor, tasks: Tensor) -> Tensor:
    """How many of ``task`` ``[M, N]`` are each of 0 to ``tasks`` - 1: ``[M, T]``."""
    counts = torch.zeros(len(task), tasks + 1, dtype=torch.int64, device=task.device)
    return counts.scatter_add_(1, task, torch.ones_like(task))[:, :tasks]


def shared_out(capacity: int, shares: Tensor, counts: Tensor) -> Tensor:
    """``capacity`` slots dealt out by ``shares`` ``[M, T]`` (:func:`lab.lags.apportion`), to none more than its ``counts``;
    what one cannot fill goes to the others in proportion to theirs: int64 ``[M, T]``.

    >>> shared_out(12, torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[3, 9, 9]]))
    tensor([[3, 5, 4]])
    """
    full = torch.zeros_like(counts, dtype=torch.bool)
    while True:  # on the host's time; a round fills a task at least
        others = shares.to(torch.float64).masked_fill(full, 0)
        others = others / others.sum(1, keepdim=True).clamp(min=math.ulp(0.0))
        left = capacity - counts.mul(full).sum(1, keepdim=True)
        quotas = torch.where(full, counts, apportion(left, others))
        over = quotas > counts
        if not bool(over.any()):
            return quotas
        full |= over
