"""A block's steps, made ready before they are taken: what memories add to them, and what the network will be shown.

Addresses do not depend on the network, so they are worked out and read for many steps at once: a step itself then costs
little more than its forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.batch import Batch, Steps, shares_of
from lab.stream import Block

if TYPE_CHECKING:
    from lab.learner import ContinualLearner


@dataclass(frozen=True)
class Work:
    """One step of all members."""

    batch: Batch
    shares: Tensor
    """The batch's :meth:`~lab.batch.Batch.shares`."""
    active: Tensor | None
    """Bool ``[M]``: who takes the step; None for everyone."""
    clock: Tensor
    """int64 ``[M]``: how many steps each member will have taken behind it."""
    rate: float | Tensor
    """What learning rates are multiplied by: a number, or float64 ``[M]``."""
    progress: Tensor
    """Which part of the phase each member has behind it, ``[M]``."""


def works(learner: ContinualLearner, block: Block, frozen: Tensor | None = None) -> Iterator[Work]:
    """The block's steps in their order; ``frozen`` ``[M]`` members sit them out."""
    active = block.active if frozen is None else block.active & ~frozen
    taken = active.cumsum(0)  # [S, M]
    before = learner.clock + taken - active.long()
    of_stream = Steps(
        block.examples.transpose(0, 1), block.tasks.transpose(0, 1), block.examples.shape[2],
        None if block.weights is None else block.weights.transpose(0, 1), before.T,
    )  # fmt: skip
    steps = of_stream
    for strategy in learner.strategies:
        steps = strategy.rehearse(learner, steps)
    learner.encounters.count_steps(block.phase, steps, active.T)
    examples, tasks = steps.examples.unbind(1), steps.tasks.unbind(1)
    weights = None if steps.weights is None else steps.weights.unbind(1)
    precise = learner.population.precise
    shares = None if steps.weights is None else shares_of(steps.weights.to(precise)).unbind(1)
    alike = torch.full_like(examples[0], 1 / steps.width, dtype=precise)
    clocks = (learner.clock + taken).unbind(0)
    for s, (inputs, targets) in enumerate(_read(learner, block, steps)):
        # A step whose samples all count has no weights, wherever blocks are cut: another kernel would mean other bits.
        plain = weights is None or (steps is of_stream and block.full[s])
        batch = Batch(inputs, targets, examples[s], tasks[s], steps.current, None if plain else weights[s])
        everyone = block.everyone[s] and frozen is None
        moment = (clocks[s], block.rate_of(s), block.progress[s])
        yield Work(batch, alike if plain else shares[s], None if everyone else active[s], *moment)


def _read(learner: ContinualLearner, block: Block, steps: Steps) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets ``[M, B, ...]`` of every step, read several steps at once."""
    reader, noise = learner.reader, None
    several = max(1, reader.at_once(steps.examples[:, 0].numel()))
    for first in range(0, len(block), several):
        part = slice(first, first + several)
        columns = [(steps.examples[:, part, : steps.current], _tasks(block, steps, part))]
        if steps.width > steps.current:
            columns += [(steps.examples[:, part, steps.current :], steps.tasks[:, part, steps.current :].flatten(1))]
        inputs, targets = zip(*(_in_steps(reader.seen(e.flatten(1), t), e) for e, t in columns), strict=True)
        inputs, targets = (each[0] if len(each) == 1 else torch.cat(each, 2) for each in (inputs, targets))
        if reader.augment is not None:
            noise = learner.noise(steps.clock[:, part], steps.width).flatten(1, 2)
        shown = reader.shown(inputs.flatten(1, 2), noise).view(inputs.shape)
        yield from zip(shown.unbind(1), targets.unbind(1), strict=True)


def _tasks(block: Block, steps: Steps, part: slice) -> Tensor:
    """Tasks of the stream's samples, ``[M, 1]`` where the block is of one task: environments read that faster."""
    if block.tasks.shape[2] == 1:
        return block.tasks[0]
    return steps.tasks[:, part, : steps.current].flatten(1)


def _in_steps(read: tuple[Tensor, Tensor], examples: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and targets ``[M, S * B, ...]`` as ``[M, S, B, ...]``, the shape of ``examples``."""
    inputs, targets = read
    return inputs.reshape(*examples.shape, *inputs.shape[2:]), targets.view(*examples.shape, *targets.shape[2:])
