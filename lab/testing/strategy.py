"""The contract of strategies as a battery of checks, run on any strategy, the shipped ones and yours.

Every check trains a few small populations over :class:`~lab.testing.miniature.Miniature` streams and raises a
:class:`ContractError` that says in words what the strategy does against the contract.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab import compacting
from lab.engine import own_generators
from lab.learner import ContinualLearner
from lab.protocols import Rule, Strategy
from lab.stream import Block, Blocks
from lab.testing.device import ContractError, in_words
from lab.testing.elsewhere import moments, step_on_fake_cuda, step_on_meta
from lab.testing.miniature import checkpoint, fit, restored
from lab.testing.remembered import memories, plain, same, same_bits
from lab.testing.shapes import watch_shapes
from lab.testing.subject import SEEDS, Subject, kind

# --- the checks -------------------------------------------------------------------------------------------------------


def trains_where_it_claims(subject: Subject) -> None:
    """trains in every scenario it claims, with and without announced boundaries, stacked and in turn"""
    for scenario in subject.scenarios():
        for announced in (True,) if subject.needs_boundaries else (True, False):
            for stack in (True, False) if announced else (True,):
                where = f"scenario {scenario}, boundaries {'announced' if announced else 'not announced'}, {_plan(stack)}"
                learner = subject.learner(stack=stack, scenario=scenario, announced=announced)
                before = _parameters(learner)
                with in_words(f"{where}: training fails"):
                    fit(learner)
                if not bool(learner.population.finite().all()) or bool((learner.diverged_at >= 0).any()):
                    raise ContractError(f"{where}: the loss or the parameters became NaN or infinite")
                if all(torch.equal(before[name], value) for name, value in _parameters(learner).items()):
                    raise ContractError(f"{where}: training changed no parameter")


def gives_every_member_its_axis(subject: Subject) -> None:
    """keeps the member axis: buffers, loss, batches and update scales lead with [M, ...]"""
    for seeds in (SEEDS, SEEDS[:2]):
        learner = subject.learner(seeds)
        for strategy in learner.strategies:
            watch_shapes(strategy, len(seeds), learner.population.leaves)
        fit(learner)
        for strategy in learner.strategies:
            for name, buffer in _own_buffers(strategy):
                if buffer.shape[:1] != (len(seeds),):
                    raise ContractError(
                        f"{kind(strategy)}: its buffer {name} has shape {list(buffer.shape)} in a population of {len(seeds)}; "
                        f"the first axis must be the member's, [{len(seeds)}, ...]"
                    )
            for name, values in strategy.diagnostics().items():
                if values.shape != (len(seeds),):
                    raise ContractError(
                        f"{kind(strategy)}.diagnostics gives {name} shape {list(values.shape)}; expected [{len(seeds)}], one "
                        "value a member"
                    )


def keeps_members_apart(subject: Subject) -> None:
    """gives a member the same result whatever members it is trained with, and alone"""
    subject, first = subject.in_double(), SEEDS[0]
    alone, rounding = _alone(subject, first), {}
    for company in (SEEDS, [*reversed(SEEDS)], [8, first]):
        together = _trained(subject, company)
        own = {name: value[company.index(first)].unsqueeze(0) for name, value in together.items()}
        if all(torch.allclose(own[name], value, rtol=1e-4, atol=1e-5) for name, value in alone.items()):
            continue
        rounding = rounding or _gaps(alone, _alone(subject, first, off=torch.finfo(torch.float64).eps))
        for name, gap in _gaps(alone, own).items():
            if not gap <= max(1e-5, 10 * rounding[name]):
                raise ContractError(
                    f"the member with seed {first} ends with other weights ({name}: {gap:.1e} apart, where a rounding of the "
                    f"weights it begins with makes {rounding[name]:.1e}) beside {[seed for seed in company if seed != first]} "
                    "than alone: something is summed, averaged or drawn over the member axis"
                )


def lets_members_rest(subject: Subject) -> None:
    """leaves the state of members alone whose task is over while others still train"""
    learner = subject.learner(block=1)
    advance = learner.advance

    def watched(block: Block, optimizer_step: Callable[[], None]) -> None:
        before = {name: value.clone() for name, value in _of_members(learner).items()}
        advance(block, optimizer_step)
        resting = (~block.active[0]).nonzero().squeeze(1)
        for name, value in _of_members(learner).items():
            if value.shape[:1] == (learner.members,) and not torch.equal(value[resting], before[name][resting]):
                raise ContractError(
                    f"{name} changed for a member that takes no part in the step (its task was shorter; its samples have "
                    "weight 0): keep the old value where batch.weights is 0 throughout"
                )

    learner.advance = watched
    fit(learner)


def trains_alike_in_blocks_of_any_length(subject: Subject) -> None:
    """gives the same bits wherever the stream is cut into blocks"""
    ends = []
    for length in (1, 3, 8):
        learner = subject.learner(block=length)
        fit(learner)
        ends.append(_of_members(learner))
    for other in ends[1:]:
        for name, value in other.items():
            if not same_bits(value, ends[0][name]):
                raise ContractError(
                    f"{name} ends with other bits where blocks are cut elsewhere: what rehearse draws for a step may depend on "
                    "the step's own clock, and on what was offered before it, alone"
                )


def draws_from_its_own_generators(subject: Subject) -> None:
    """draws random numbers from the members' seeds, not from global generators"""
    learner = subject.learner()
    states = {
        "torch's global generator": lambda: torch.get_rng_state().tolist(),
        "numpy's global generator": lambda: np.random.get_state()[1:3],
        "Python's random": random.getstate,
    }
    before = {name: plain(state()) for name, state in states.items()}
    fit(learner)
    for name, state in states.items():
        if not same(before[name], plain(state())):
            raise ContractError(
                f"draws random numbers from {name}: a resumed run would draw others, and members would share them; use "
                "learner.draw in a step, and lab.protocols.generator at a task's end"
            )


def survives_a_resume(subject: Subject) -> None:
    """keeps its memory in buffers: a run resumed from a checkpoint ends with the same bits"""
    whole = subject.learner()
    at_first = memories(whole)
    count = len(fit(whole).course.spans)
    for cut in sorted({1, count // 2, count - 1}):
        stopped, resumed = subject.learner(), subject.learner()
        saved = checkpoint(stopped, fit(stopped, until=cut))
        try:
            blocks = restored(resumed, saved)
        except RuntimeError as error:
            raise ContractError(
                "its state cannot be loaded into a new learner: make every buffer in setup(), in its final shape "
                f"({' '.join(str(error).split())[:300]})"
            ) from None
        fit(resumed, blocks)
        _compare_resumed(whole, resumed, at_first, cut)


def goes_on_when_others_are_cut(subject: Subject) -> None:
    """goes on with the same bits when other members are cut from the population at a task's end"""
    seeds = [*SEEDS, 8]
    whole = subject.learner(seeds)
    spans = fit(whole).course.spans
    at = min(1 + next(number for number, span in enumerate(spans) if span.ends), len(spans) - 1)
    ended = torch.load(io.BytesIO(checkpoint(whole, Blocks(whole.course))), weights_only=True)
    for left, longest in (([0, 2], True), ([1, 3], False)):
        stopped, few = subject.learner(seeds), subject.learner(seeds, left=left)
        saved = checkpoint(stopped, fit(stopped, until=at))
        try:
            fit(few, restored(few, saved))
        except RuntimeError as error:
            raise ContractError(f"the members that are left cannot go on: {' '.join(str(error).split())[:300]}") from None
        own = compacting.cut(ended, few)["state_dict"]
        for name, value in few.state_dict().items():
            # Where the member with the longest tasks is cut, batches may be narrower by what was padded.
            if longest and not same_bits(value, own[name]):
                raise ContractError(
                    f"{name} ends with other bits where other members were cut at the first task's end: something is summed, "
                    "averaged or drawn over the member axis"
                )


def stays_on_the_device(subject: Subject) -> None:
    """never makes the host wait for the device: whole steps run on `meta`"""
    for stack in (True, False):
        for learner, block in moments(partial(subject.learner, stack=stack)):
            step_on_meta(learner, block)


def leaves_nothing_on_the_cpu(subject: Subject) -> None:
    """makes its tensors on the device of the learner: forward passes run on CUDA tensors (fake ones)"""
    for learner, block in moments(subject.learner):
        step_on_fake_cuda(learner, block)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    trains_where_it_claims,
    gives_every_member_its_axis,
    keeps_members_apart,
    lets_members_rest,
    trains_alike_in_blocks_of_any_length,
    draws_from_its_own_generators,
    survives_a_resume,
    goes_on_when_others_are_cut,
    stays_on_the_device,
    leaves_nothing_on_the_cpu,
)


def violations(subject: Subject, checks: Iterable[Callable[[Subject], None]] = CHECKS) -> dict[str, str | None]:
    """What each check (its title) finds wrong, or None."""
    return {check.__doc__: _verdict(check, subject) for check in checks}


def check_strategy(*words: str) -> None:
    """Put the strategies that the words name, as in ``check_strategy("strategy=mine")``, through the whole battery.

    Raises:
        ContractError: listing all that is wrong.
    """
    wrong = [text for text in violations(Subject.of(*words)).values() if text]
    if wrong:
        raise ContractError("\n".join(wrong))


def _verdict(check: Callable[[Subject], None], subject: Subject) -> str | None:
    try:
        with in_words("fails"):
            check(subject)
    except ContractError as violation:
        return str(violation)
    return None


# --- their parts ------------------------------------------------------------------------------------------------------


def _own_buffers(strategy: Strategy) -> Iterator[tuple[str, Tensor]]:
    """By name, without those of rules: what is known of outputs is no member's."""
    shared = {id(part) for module in strategy.modules() if isinstance(module, Rule) for part in module.modules()}
    for path, module in strategy.named_modules():
        if id(module) not in shared:
            yield from ((f"{path}.{name}".lstrip("."), buffer) for name, buffer in module.named_buffers(recurse=False))


def _plan(stack: bool) -> str:
    return "members stacked" if stack else "members in turn"


def _parameters(learner: ContinualLearner) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in learner.population.leaves.items()}


def _trained(subject: Subject, seeds: list[int]) -> dict[str, Tensor]:
    learner = subject.learner(seeds)
    fit(learner)
    return _parameters(learner)


def _alone(subject: Subject, seed: int, off: float = 0.0) -> dict[str, Tensor]:
    """The parameters that a member ends with by itself; ``off``: by what share each weight is moved before."""
    learner = subject.learner([seed], stack=False)
    for leaf in learner.population.leaves.values():
        up_or_down = (torch.arange(leaf.numel()) % 2 * 2 - 1).to(leaf.dtype).view(leaf.shape)
        leaf.data.mul_(1 + off * up_or_down)
    with own_generators(seed):  # draws that should not be are the same each time, so as not to be taken for rounding
        fit(learner)
    return _parameters(learner)


def _gaps(one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((value - other[name]).abs().max()) for name, value in one.items()}


def _of_members(learner: ContinualLearner) -> dict[str, Tensor]:
    """All state that strategies hold, and the parameters."""
    held = {f"{kind(s)}: its buffer {name}": buffer for s in learner.strategies for name, buffer in s.named_buffers()}
    return held | {f"the parameter {name}": value.data for name, value in learner.population.leaves.items()}


def _compare_resumed(whole: ContinualLearner, resumed: ContinualLearner, at_first: dict[str, Any], cut: int) -> None:
    kept, others = memories(whole), memories(resumed)
    lost = [name for name, value in kept.items() if not same(value, others.get(name))]
    if lost:
        raise ContractError(
            f"{lost[0]} is not in the checkpoint: after a resume it differs from an uninterrupted run. Memory must be a "
            "buffer, made in setup() with register_buffer (persistent)"
        )
    states = whole.state_dict(), resumed.state_dict()
    differing = [name for name, value in states[0].items() if not same_bits(value, states[1][name])]
    if differing:
        changed = [name for name, value in kept.items() if not same(value, at_first.get(name))]
        suspects = f"; what changes outside of buffers: {', '.join(changed)}" if changed else ""
        raise ContractError(
            f"resumed after block {cut}, {differing[0]} differs from an uninterrupted run: some state is lost{suspects}"
        )
