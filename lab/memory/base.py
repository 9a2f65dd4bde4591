"""What all memories have in common: addresses in slots, samples offered to them, samples drawn from them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.batch import Batch, Steps
from lab.errors import UserError
from lab.seeding import integers, member_keys

_TASK = 40
"""An address is ``task << 40 | row``."""
_ROW = (1 << _TASK) - 1
MOST_BYTES = 2**30
"""Of the addresses of all members; they are allocated whole."""


class Memory(nn.Module):
    """The addresses of up to ``capacity`` samples for each member, in ``slots`` ``[M, K]``.

    A memory is a function of what was offered to it, one sample after the other: how the stream is cut into steps' blocks
    makes no difference to what it keeps. Samples of weight 0 (padding, resting members) are not offered. Draws are uniform
    and with replacement over what is kept. One that is filled ``at_end`` is offered a whole task when it has ended.
    """

    def __init__(self, seeds: list[int], capacity: int, purpose: str):
        super().__init__()
        require_bytes(capacity, len(seeds))
        self.capacity, self.at_end = capacity, False
        self.register_buffer("slots", torch.zeros(len(seeds), capacity, dtype=torch.int64))
        keys = [member_keys(seeds, f"{purpose}/{what}") for what in ("add", "draw")]
        self.register_buffer("keys", torch.stack(keys, 1), persistent=False)

    def draw_and_add(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Before each of the steps draw ``count`` samples, behind it offer its current ones; no step needs to be taken for it.

        Examples, tasks and validity, each ``[M, S, count]``; where a member's memory is empty they are not valid.
        """
        raise NotImplementedError

    def filled(self) -> Tensor:
        """Which slots hold a sample, bool ``[M, K]``."""
        raise NotImplementedError

    def serve(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """What is to be replayed in each of the steps, and whatever else is due behind them: :meth:`draw_and_add`, or
        :meth:`draw_ahead` of a memory that is filled when tasks end."""
        return self.draw_ahead(steps, count) if self.at_end else self.draw_and_add(steps, count)

    def end_task(self, examples: Tensor, tasks: Tensor, valid: Tensor, clock: Tensor) -> None:
        """A task with these samples ``[M, N]`` has ended; see :meth:`offer`."""
        if self.at_end:
            self.offer(examples, tasks, valid, clock)

    def add(self, batch: Batch, clock: Tensor) -> None:
        """Offer the current samples of one batch. ``clock`` ``[M]`` numbers the step (:attr:`Steps.clock`)."""
        valid = None if batch.weights is None else batch.weights[:, : batch.current]
        self.offer(batch.examples[:, : batch.current], batch.tasks[:, : batch.current], valid, clock)

    def offer(self, examples: Tensor, tasks: Tensor, valid: Tensor | None, clock: Tensor) -> None:
        """Offer any number of samples ``[M, N]`` at once, those where ``valid`` ``[M, N]`` is above 0; ``tasks`` may be
        ``[M, 1]``. ``clock`` as in :meth:`add`; no two offers to a reservoir may have the same."""
        weights = None if valid is None else valid.unsqueeze(1)
        one = Steps(examples.unsqueeze(1), tasks.unsqueeze(1), examples.shape[1], weights, clock.unsqueeze(1))
        self.draw_and_add(one, 0)

    def draw(self, count: int, clock: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` samples for each member: examples, tasks and validity, each ``[M, count]``.

        Where a member's memory is empty its samples are not valid.
        """
        return tuple(drawn.squeeze(1) for drawn in self._drawn_at(clock.unsqueeze(1), count))

    def draw_ahead(self, steps: Steps, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`draw_and_add`, of what is kept now; nothing is offered."""
        return self._drawn_at(steps.clock, count)

    def distinct(self, count: int, lots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` different samples for each member, those of the lowest ``lots`` ``[M, K]`` in [0, 1): examples, tasks and
        validity, each ``[M, count]``; where fewer are kept the rest are not valid."""
        examples, tasks, filled = self.contents()
        chosen = lots.masked_fill(~filled, 2).topk(min(count, self.capacity), largest=False).indices
        return examples.gather(1, chosen), tasks.gather(1, chosen), filled.gather(1, chosen)

    def _drawn_at(self, clock: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` samples at each of the clocks ``[M, S]``."""
        numbers = self.filled().cumsum(1)
        kept = numbers[:, -1:].unsqueeze(2)
        drawn = integers(self.keys[:, 1:], clock, count, kept)
        slots = torch.searchsorted(numbers, drawn.flatten(1) + 1).clamp(max=self.capacity - 1)
        found = (each.view_as(drawn) for each in unpacked(self.slots.gather(1, slots)))
        return *found, (kept > 0).expand_as(drawn)

    def contents(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that is kept: examples, tasks and whether a slot is filled, each ``[M, K]``."""
        return *unpacked(self.slots), self.filled()


def require_bytes(capacity: int, members: int) -> None:
    """Refuse a memory that is far larger than any stream, before the machine runs out of its own."""
    size = 8 * capacity * members
    if size > MOST_BYTES:
        given = f"a memory of {capacity:,} samples takes {size:,} bytes (members: {members})"
        raise UserError(f"strategy: {given}; expected at most {MOST_BYTES >> 30} GiB")


def offered(steps: Steps) -> Tensor | None:
    """Which current samples are offered, bool ``[M, S, B]``; None for all."""
    return None if steps.weights is None else steps.weights[..., : steps.current] > 0


def packed(steps: Steps) -> Tensor:
    """Addresses of the current samples, int64 ``[M, S, B]``."""
    return addresses(steps.examples[..., : steps.current], steps.tasks[..., : steps.current])


def addresses(examples: Tensor, tasks: Tensor) -> Tensor:
    """Of examples ``[M, ...]`` met as ``tasks``, which broadcast."""
    return (tasks << _TASK) + examples


def unpacked(addresses: Tensor) -> tuple[Tensor, Tensor]:
    """Examples and tasks at addresses."""
    return addresses & _ROW, addresses >> _TASK
