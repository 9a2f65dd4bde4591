"""Tasks that are met again: the less often the longer ago, by a power law, or by a law that it is held against.

The idea is that of Gandhi, Shah, Marupudi & Varma 2024 (arXiv 2401.10393): people meet a task again with a probability that
falls as a power law of the time since they last met it, and where tasks come back like that, plain training forgets little.
They give no formula; this is our reconstruction. d is ``exponent``, n_k the number of training examples of task k, and the lag
of task j in phase k is t = k - j.

Budgeted. Phase k holds the n_k examples of task k and R examples of earlier tasks, of task j

    n_kj = R (t+1)^-d / sum_{i<k} (k-i+1)^-d    rounded by largest remainder, so that sum_j n_kj = R

or, where R grows with the phases, n_kj = round(min(n_k, n_j) (t+1)^-d), R_k = sum_j n_kj. Other laws deal out the same R.

Generative. Time goes in blocks of examples of one task. A phase is so many blocks: the first introduces task k, every other is
of a task already met, this one included, with a probability proportional to (blocks since it was last met)^-d; meeting it sets
its clock back.

Where an environment brings old tasks back it is taken for granted that their data are still there, unlike a memory of bounded
size: no comparison with rehearsal from a memory is fair without saying so.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from environments.tasks import base_of
from lab.protocols import Environment, Law, Phase, Stream, UserError, apportion, generator, invalid, one_of, require, whole
from lab.protocols import law as law_of_lags

LAWS = ("power", "uniform", "exponential", "recent", "once")
FORMS = ("budgeted", "generative")
GROWING = "growing"


class Reencounters:
    """The tasks of ``base``, each introduced in its own phase and met again in later ones, as of itself.

    ``base`` must have an announced phase for each task. Which examples come back is drawn from the member's seed, in each phase
    without replacement. In the budgeted form all laws give phases of equal length with the same new examples; in the generative
    one of equal length, while ``once`` meets more new examples.

    Args:
        law: ``power``; ``uniform``: all earlier tasks alike; ``exponential``: with the power law's mean lag; ``recent``: the
            last task alone (budgeted only: in the generative form it would never leave a task); ``once``: no earlier task, in
            their place examples of the current one again (generative: all blocks are of the phase's own task).
        exponent: d of the power law, and of the one that the exponential is matched to; inf is the last task alone.
        form: ``budgeted`` or ``generative``; the latter keeps its order, and asks for one pass.
        amount: budgeted: R as a share in (0, 1) of the smallest task's training examples, or a number, or ``growing``. What
            would ask a task for more than it has is refused: laws could no longer be compared at equal R.
        blocks: generative: how many blocks a phase has.
        block: generative: how many examples a block has; a task's are gone through in one shuffled order after the other.
    """

    def __init__(
        self,
        base: Environment,
        law: str = "power",
        exponent: float = 0.5,
        form: str = "budgeted",
        amount: float | int | str = 0.5,
        blocks: int = 10,
        block: int = 100,
    ):
        self.base = base_of(base)
        self.data = self.base.data
        self.kind, self.form = one_of("environment.law", law, LAWS), one_of("environment.form", form, FORMS)
        self.law = law_of_lags("environment", "power" if law == "once" else law, exponent)
        self.amount = _amount(amount)
        self.blocks, self.block = whole("environment.blocks", blocks, 2), whole("environment.block", block, 1)
        if form == "generative":
            never_left = "since form is generative and the last task alone would never be left, which is law=once"
            require(law != "recent", "environment.law", law, f"another, {never_left}")
            endless = law in ("power", "exponential") and self.law.exponent == math.inf
            require(not endless, "environment.exponent", exponent, f"less, {never_left}")

    def stream(self, seed: int) -> Stream:
        stream = self.base.stream(seed)
        _check(stream, type(self.base).__name__.lower())
        make = {"budgeted": self._budgeted, "generative": self._generative}[self.form]
        return replace(stream, phases=make(stream.phases, seed), one_pass=stream.one_pass or self.form == "generative")

    # --- budgeted -----------------------------------------------------------------------------------------------------

    def _budgeted(self, phases: tuple[Phase, ...], seed: int) -> tuple[Phase, ...]:
        sizes = torch.tensor([len(phase.examples) for phase in phases])
        again = encounters(self.kind, self.law, self.amount, tuple(sizes.tolist()), seed)
        examples, tasks = (torch.cat([getattr(phase, part) for phase in phases]) for part in ("examples", "tasks"))
        made = []
        for k, phase in enumerate(phases):
            rows = drawn(again[k], sizes, generator(seed, "reencounters", k))
            old = {"examples": examples[rows], "tasks": tasks[rows]}
            made.append(replace(phase, **{part: torch.cat([getattr(phase, part), more]) for part, more in old.items()}))
        return tuple(made)

    # --- generative ---------------------------------------------------------------------------------------------------

    def _generative(self, phases: tuple[Phase, ...], seed: int) -> tuple[Phase, ...]:
        met = self._tasks_of_blocks(len(phases), seed)
        examples = torch.empty(len(met), self.block, dtype=torch.int64)
        for task, phase in enumerate(phases):
            here = met == task
            examples[here] = _in_turn(phase.examples, int(here.sum()) * self.block, seed, task).view(-1, self.block)
        tasks = met.unsqueeze(1).expand_as(examples)
        halves = (part.reshape(len(phases), -1) for part in (examples, tasks))
        return tuple(replace(p, examples=e, tasks=t, ordered=True) for p, e, t in zip(phases, *halves, strict=True))

    def _tasks_of_blocks(self, count: int, seed: int) -> Tensor:
        """The task of every block of the stream, int64 ``[count * blocks]``."""
        met = torch.arange(count).repeat_interleave(self.blocks)
        if self.kind == "once":
            return met
        draws = torch.rand(len(met), dtype=torch.float64, generator=generator(seed, "reencounters"))
        last = torch.zeros(count, dtype=torch.float64)
        for now in range(len(met)):
            task, introduced = divmod(now, self.blocks)
            if introduced > 0:
                shares = self.law.shares(now - last[: task + 1]).cumsum(0)
                task = int(torch.searchsorted(shares, draws[now] * shares[-1], right=True))
            met[now], last[task] = task, now
        return met


def _in_turn(examples: Tensor, count: int, seed: int, task: int) -> Tensor:
    """``count`` of a task's examples: all of them in one shuffled order after the other."""
    draw = generator(seed, "reencounters", task)
    rounds = -(-count // len(examples))
    orders = [examples[torch.randperm(len(examples), generator=draw)] for _ in range(rounds)]
    return torch.cat(orders)[:count]


def encounters(kind: str, law: Law, amount: float | int | str, sizes: tuple[int, ...], seed: int) -> Tensor:
    """How many examples of each task j phase k meets again, ``[k, j]``: int64 ``[T, T]``, for tasks of these ``sizes``.

    Which of equal remainders are rounded up comes from the seed: it would always be the same tasks otherwise.

    Raises:
        UserError: a task would be asked for more examples than it has.
    """
    shares, total = _dealt(kind, law, amount, sizes)
    order = torch.rand(shares.shape, generator=generator(seed, "reencounters")).argsort(1)
    counts = torch.empty(shares.shape, dtype=torch.int64)
    counts.scatter_(1, order, apportion(total.unsqueeze(1), shares.gather(1, order)))
    if kind != "once" and (counts > torch.tensor(sizes)).any():
        k, j = (counts > torch.tensor(sizes)).nonzero()[0].tolist()
        asked = f"with task {k + 1} the {kind} law would ask task {j + 1} for {counts[k, j]} of its {sizes[j]} examples"
        raise invalid("environment.amount", amount, f"a number, or a larger environment.exponent: {asked}")
    return counts


@lru_cache(maxsize=16)
def _dealt(kind: str, law: Law, amount: float | int | str, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The share of each task j in what is met again in phase k, ``[k, j]``, and how much that is in all, ``[k]``."""
    number, n = torch.arange(len(sizes)), torch.tensor(sizes)
    lags = number.unsqueeze(1) - number
    ages = (lags + 1.0).double().masked_fill(lags < 1, math.inf)
    grown = _growing(n, ages, law.exponent) if amount == GROWING else None
    total = _fixed(n, amount) if grown is None else grown.sum(1)
    if kind == "once":
        return torch.eye(len(sizes)), total
    if kind == "power" and grown is not None:
        return grown.double() / total.unsqueeze(1).clamp(min=1), total
    return law.shares(ages), total


def _fixed(n: Tensor, amount: float | int) -> Tensor:
    """R of every phase, ``[T]``."""
    least = int(n.min())
    total = amount if isinstance(amount, int) else max(1, round(amount * least))
    require(total <= least, "environment.amount", amount, f"at most {least}, the training examples of the smallest task")
    return torch.full_like(n, total).index_fill(0, torch.tensor(0), 0)


def _growing(n: Tensor, ages: Tensor, exponent: float) -> Tensor:
    """What a power law that is not normalised asks of each task in each phase, int64 ``[T, T]``."""
    due = (torch.minimum(n.unsqueeze(1), n) * ages.pow(-exponent)).masked_fill(ages.isinf(), 0).round().long()
    expected = f"less, since nothing would be met again with environment.amount={GROWING}"
    require(bool(due.any()), "environment.exponent", f"{exponent:g}", expected)
    return due


def drawn(counts: Tensor, sizes: Tensor, draw: torch.Generator) -> Tensor:
    """Rows ``[counts.sum()]`` of a list of all examples, ``sizes`` ``[T]`` of each task in turn: ``counts`` ``[T]`` of each,
    without replacement; where that is more than there are, all of them, as often as that goes, and some of them once more."""
    tasks = torch.arange(len(counts)).repeat_interleave(counts)
    ends, rest, n = counts.cumsum(0), counts % sizes, sizes[tasks]
    slots = torch.arange(len(tasks)) - (ends - counts)[tasks]
    places, many = slots % n, 2 * rest > sizes
    for j in many.nonzero().squeeze(1).tolist():
        places[ends[j] - rest[j] : ends[j]] = torch.randperm(int(sizes[j]), generator=draw)[: rest[j]]
    few = ((slots >= (counts - rest)[tasks]) & ~many[tasks]).nonzero().squeeze(1)
    first, again = (sizes.cumsum(0) - sizes)[tasks], few
    while len(again) > 0:  # what was drawn already is drawn anew; at most half of a task is taken, so that soon ends
        places[again] = (torch.rand(len(again), dtype=torch.float64, generator=draw) * n[again]).long()
        again = few[_repeats((first + places)[few])]
    return first + places


def _repeats(values: Tensor) -> Tensor:
    """Which of the values ``[n]`` are equal to one before them."""
    order = values.argsort(stable=True)
    equal = torch.zeros(len(values), dtype=torch.bool)
    equal[order[1:]] = values[order].diff() == 0
    return equal


def _amount(given: object) -> float | int | str:
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    sound = given == GROWING or (number and (0 < given < 1 or (isinstance(given, int) and given >= 1)))
    require(
        sound, "environment.amount", given, f"a share in (0, 1) of the smallest task, a whole number from 1 on, or {GROWING}"
    )
    return given


def _check(stream: Stream, base: str) -> None:
    """Refuse a stream that has no earlier tasks to be met again in it."""
    phases = stream.phases
    require(len(phases) > 1, "environment.base.tasks", len(phases), "at least 2, so that one can be met again")
    if not all(phase.announced for phase in phases):
        raise UserError(f"environment.base={base}: it announces no boundaries, so no task of it is an earlier one")
    if any(phase.ordered for phase in phases):
        raise UserError(
            f"environment.base={base}: its examples are in an order of their own, which meeting them again would destroy"
        )
    own = (phase.completes == k and bool((phase.tasks == k).all()) for k, phase in enumerate(phases))
    if not all(own) or len(phases) != len(stream.tasks):
        raise UserError(f"environment.base={base}: its phases are not of one task each, so tasks are met again in it already")
