"""Steps taken where a mistake shows: on the `meta` device, where no value can be read, and on fake CUDA tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from lab.ahead import works
from lab.learner import ContinualLearner
from lab.stream import Block
from lab.testing.device import OneDevice, in_words, move, to_fake_cuda, to_meta
from lab.testing.miniature import fit


def moments(make: Callable[[], ContinualLearner]) -> Iterator[tuple[ContinualLearner, Block]]:
    """New learners just before a block, on the CPU: before the run's first, and the second task's first and last."""
    course = make().course
    last = [max(n for n, span in enumerate(course.spans) if span.phase == phase) for phase in range(len(course.phases))]
    for number in dict.fromkeys([0, *(min(e + 1, last[-1]) for e in last[:1]), last[-1]]):
        learner = make()
        blocks = fit(learner, until=number)
        block = blocks.block(number)
        if block.begins:
            learner.begin(block.phase)
        learner._look_for_diverged = False
        learner._prepare(block)
        yield learner, block


def step_on_meta(learner: ContinualLearner, block: Block) -> None:
    """Take the last step of a block on the `meta` device; the learner is moved there for good.

    Raises:
        ContractError: where a value is read, or devices are mixed.
    """
    on_meta = _moved(learner, block, to_meta)
    with in_words("a training step fails on the meta device"), OneDevice():
        *_, work = works(learner, on_meta)
        learner.step(work, learner.optimizer.step)


def step_on_fake_cuda(learner: ContinualLearner, block: Block) -> None:
    """Take a block's last step on fake CUDA tensors; the learner is moved there for good. Gradients are ones: autograd has no
    threads for a device that is not there.

    Raises:
        ContractError: where a value is read, or devices are mixed.
    """
    mode, originals = FakeTensorMode(), (torch.autograd.backward, torch.autograd.grad)
    on_cuda = _moved(learner, block, to_fake_cuda(mode))

    def ones(*_args: Any, **_options: Any) -> None:
        for parameter in learner.population.leaves.values():
            parameter.grad = torch.ones_like(parameter)

    def ones_like(_outputs: Any, inputs: Any, *_args: Any, **_options: Any) -> tuple[Tensor, ...]:
        return tuple(torch.ones_like(each) for each in ([inputs] if isinstance(inputs, Tensor) else inputs))

    torch.autograd.backward, torch.autograd.grad = ones, ones_like
    try:
        with mode, in_words("a training step fails on CUDA tensors"), OneDevice():
            *_, work = works(learner, on_cuda)
            learner.step(work, learner.optimizer.step)
    finally:
        torch.autograd.backward, torch.autograd.grad = originals


def _moved(learner: ContinualLearner, block: Block, convert: Callable[[Tensor], Tensor]) -> Block:
    """Put a learner, and the block it is given, through ``convert``."""
    move(learner, convert, learner.optimizer)
    return block.through(convert)
