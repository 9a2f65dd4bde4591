"""Small runs of ours, taken down step by step: what a member was shown, what was replayed, where its weights then were."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from lab.learner import ContinualLearner
from lab.networks import MLP
from lab.optimizers import SGD, StackedOptimizer
from lab.protocols import Batch, Strategy, Stream, generator
from lab.stream import Budget
from lab.testing.miniature import CLASSES_A_TASK, Miniature, fit_watched, small_learner

SEEDS = [3, 11]
TASKS = 3
BATCH = 4
RATE = 0.1
plain_sgd = partial(SGD, lr=RATE)


class Ordered(Miniature):
    """Three tasks of two classes, some twenty samples each, met in the stream's own order and not in another shuffled one."""

    def __init__(self, scenario: str):
        super().__init__(scenario, TASKS)

    def stream(self, seed: int) -> Stream:
        stream, draw = super().stream(seed), generator(seed, "ordered")
        shuffled = [phase.examples[torch.randperm(len(phase.examples), generator=draw)] for phase in stream.phases]
        pairs = zip(stream.phases, shuffled, strict=True)
        return replace(stream, phases=tuple(replace(phase, examples=order, ordered=True) for phase, order in pairs))


def network(scenario: str) -> nn.Module:
    outputs = CLASSES_A_TASK * (1 if scenario == "domain" else TASKS)
    return MLP((1, 8, 8), outputs, width=16, depth=1)


@dataclass
class Samples:
    """n of one member."""

    inputs: Tensor
    targets: Tensor
    tasks: Tensor

    def __len__(self) -> int:
        return len(self.targets)


@dataclass
class Step:
    phase: int
    current: Samples
    joined: Samples
    """Replayed columns of the batch."""
    parameters: dict[str, Tensor]
    """Behind the step."""
    drawn: list[Samples] = field(default_factory=list)
    """What the strategy asked for in the step itself, batch by batch."""
    noted: list[dict[str, Tensor]] = field(default_factory=list)
    """What ``note`` gave, each time it asked."""


@dataclass
class Member:
    """One member's run."""

    scenario: str
    first: dict[str, Tensor]
    """Parameters at first."""
    units: Tensor
    """Bool ``[T, C]``: what each task is answered with."""
    steps: list[Step] = field(default_factory=list)

    @property
    def parameters(self) -> list[dict[str, Tensor]]:
        """Behind each step."""
        return [step.parameters for step in self.steps]

    def of_phase(self, phase: int) -> list[Step]:
        return [step for step in self.steps if step.phase == phase]


def recorded(
    scenario: str,
    *strategies: Strategy,
    optimizer: Callable[[dict], StackedOptimizer] = plain_sgd,
    note: Callable[[ContinualLearner], dict[str, Tensor]] = lambda learner: {},
    make: Callable[[], nn.Module] | None = None,
) -> list[Member]:
    """Train two members at once, one pass over three tasks; ``note`` is taken down, ``[M, ...]``, when samples are drawn."""
    learner = small_learner(
        SEEDS, make or partial(network, scenario), strategies, optimizer, Ordered(scenario), Budget(BATCH), block=3
    )
    places = range(len(SEEDS))
    members = [Member(scenario, learner.population.member(m), learner.reader.units[m]) for m in places]
    asked: list[tuple[Batch, dict[str, Tensor]]] = []
    replay = learner.replay

    def asking(*addresses: Tensor) -> Batch:
        asked.append((replay(*addresses), {name: value.clone() for name, value in note(learner).items()}))
        return asked[-1][0]

    def watch(work, take) -> None:
        asked.clear()
        take()
        for m in places:
            if not work.batch.taking_part()[m]:
                continue
            parts = slice(work.batch.current), slice(work.batch.current, None)
            step = Step(learner.phase, *(_samples(work.batch, m, part) for part in parts), learner.population.member(m))
            step.drawn = [_samples(batch, m, slice(None), weighted=False) for batch, _ in asked]
            step.noted = [{name: value[m] for name, value in noted.items()} for _, noted in asked]
            members[m].steps.append(step)

    learner.replay = asking
    fit_watched(learner, watch)
    return members


def _samples(batch: Batch, member: int, columns: slice, weighted: bool = True) -> Samples:
    """Those of one member that count; all of them, where strategies weigh them by themselves."""
    counted = batch.weights_or_ones()[member, columns] > 0
    counted = counted if weighted else torch.ones_like(counted)
    parts = (batch.inputs, batch.targets, batch.tasks.expand_as(batch.examples))
    return Samples(*(part[member, columns][counted].clone() for part in parts))


def joined(parts: list[Samples]) -> Samples:
    return Samples(*(torch.cat([getattr(part, what) for part in parts]) for what in ("inputs", "targets", "tasks")))


def gap(parameters: list[dict[str, Tensor]], others: list[dict[str, Tensor]]) -> float:
    """The largest difference of any parameter behind any step."""
    pairs = zip(parameters, others, strict=True)
    return max(float((a[name] - b[name]).abs().max()) for a, b in pairs for name in a)
