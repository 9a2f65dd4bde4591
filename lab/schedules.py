"""The learning rate over time: a factor eta(t) / eta_0 for every member and step, known before training begins.

A run's steps are counted before it starts, so a schedule is a table of factors, worked out on the host, a phase at a time: it
needs no state, differs between members where their settings do, and a resumed run reads on where it was.

Over a span of T steps, t = 0, 1, ..., T - 1: warm-up rises linearly over W steps, (t + 1) / W; then the rate is constant; the
last D steps decay from 1 towards ``final``, with r = (t - (T - D)) / D in [0, 1), so that ``final`` would be reached one step
after the last:

    sqrt        (1 - sqrt r) + final sqrt r       Luo et al. 2025 (arXiv 2511.18903): warm-up, stable, decay (WSD)
    linear      1 - (1 - final) r                 as torch's LinearLR
    cosine      final + (1 - final) (1 + cos pi r) / 2    as torch's CosineAnnealingLR (Loshchilov & Hutter 2017)
    exponential final^r                           as torch's ExponentialLR
    step        final^(floor((n + 1) r) / n) for n = ``drops``: n drops by equal factors, constant in between, as torch's StepLR

torch's schedulers compute the same numbers one step after the other for one rate of one optimiser; they take part by name, in
:class:`Torch` (ADR 10).
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import lr_scheduler

from lab.errors import UserError, number, one_of, require, whole

SPANS = ("stream", "task")
SHAPES = ("sqrt", "linear", "cosine", "exponential", "step")


class Curve:
    """What the schedules share: one curve over the stream, or one for each phase.

    Args:
        span: ``stream``: one curve over all of a member's steps; ``task``: one for each phase, started again with it.
    """

    def __init__(self, span: str = "stream"):
        self.span = one_of("schedule.span", span, SPANS)

    def of(self, member: int, steps: int) -> Tensor:
        """The factors of a span of so many steps, float64 ``[steps]``."""
        raise NotImplementedError

    def check(self, members: int, spans: list[list[int]]) -> None:
        """Refuse, before training, spans (their steps, for each member) that it does not fit."""

    def constant(self, member: int) -> bool:
        """Whether the factor is 1 throughout."""
        return False


class Schedule(Curve):
    """Warm-up, constant, decay. Every value may be one for all members, or a list of one a member.

    Args:
        warmup: how long it rises: a share of the span, below 1, or a whole number of steps from 2 on.
        decay: how long it decays at the end: a share of the span, or a whole number of steps from 2 on; 1 is the whole span.
        final: what it decays to, as a share of the peak rate: 1 does not decay, 1/3 is moderate, 1/300 hard.
        shape: ``sqrt``, ``linear``, ``cosine``, ``exponential`` or ``step``.
        drops: of the shape ``step``: how many times the rate drops, by equal factors; one value for all members.
    """

    def __init__(
        self,
        warmup: float | Sequence[float] = 0,
        decay: float | Sequence[float] = 0.0,
        final: float | Sequence[float] = 1.0,
        shape: str | Sequence[str] = "sqrt",
        drops: int = 2,
        span: str = "stream",
    ):
        super().__init__(span)
        self.warmup = _each("schedule.warmup", warmup, _warmup)
        self.decay = _each("schedule.decay", decay, _decay)
        self.final = _each("schedule.final", final, _final)
        self.shape = _each("schedule.shape", shape, lambda key, given: one_of(key, given, SHAPES))
        self.drops = whole("schedule.drops", drops, 1)
        self.given = {"warmup": warmup, "decay": decay, "final": final, "shape": shape}
        for place, (shape_, final_) in enumerate(_paired(self.shape, self.final)):
            given = final if len(self.final) == 1 else final[place]
            endless = shape_ in ("exponential", "step") and final_ == 0
            require(not endless, "schedule.final", given, f"above 0 where schedule.shape={shape_}, which multiplies")

    def constant(self, member: int) -> bool:
        decays = _own(self.decay, member) and _own(self.final, member) < 1
        return not _own(self.warmup, member) and not decays

    def check(self, members: int, spans: list[list[int]]) -> None:
        for name, given in self.given.items():
            values = getattr(self, name)
            require(len(values) in (1, members), f"schedule.{name}", given, f"one value, or a list of {members} (one a member)")
        for member, own in enumerate(spans):
            self._check_room(member, min(own))

    def _check_room(self, member: int, steps: int) -> None:
        warmup, decay = (_steps(_own(values, member), steps) for values in (self.warmup, self.decay))
        whose = "the shortest task" if self.span == "task" else "the run"
        for name, length in (("warmup", warmup), ("decay", decay)):
            given = _own(getattr(self, name), member)
            expected = f"at most the {steps} steps of {whose} (schedule.span={self.span})"
            require(length <= steps, f"schedule.{name}", f"{given:g}", expected)
        both = f"schedule.warmup={_own(self.warmup, member):g}, schedule.decay={_own(self.decay, member):g}"
        if warmup + decay > steps:
            raise UserError(f"{both}: {warmup} + {decay} steps are more than the {steps} of {whose}")

    def of(self, member: int, steps: int) -> Tensor:
        own = (_own(values, member) for values in (self.warmup, self.decay, self.final, self.shape))
        return _trapezoid(steps, *own, self.drops)


class Torch(Curve):
    """Any scheduler of ``torch.optim.lr_scheduler`` that needs nothing but the step: ``name`` with its own ``options``."""

    def __init__(self, name: str | None = None, options: dict[str, Any] | None = None, span: str = "stream"):
        super().__init__(span)
        self.kind = getattr(lr_scheduler, one_of("schedule.name", name, by_the_step()))
        self.options = dict(options or {})
        self._worked_out: dict[int, Tensor] = {}

    def check(self, members: int, spans: list[list[int]]) -> None:
        for steps in {steps for own in spans for steps in own}:
            self.of(0, steps)  # some say only behind their last step that they have had all they were made for

    def of(self, member: int, steps: int) -> Tensor:
        if steps not in self._worked_out:
            self._worked_out[steps] = _by_torch(self.kind, self.options, steps)
        return self._worked_out[steps]


def by_the_step() -> tuple[str, ...]:
    """torch's schedulers that a configuration can name: none that wants functions, losses or other schedulers."""
    kinds = {n: kind for n, kind in vars(lr_scheduler).items() if inspect.isclass(kind) and n[0] != "_"}
    schedulers = {n for n, kind in kinds.items() if issubclass(kind, lr_scheduler.LRScheduler)}
    others = {"LRScheduler", "LambdaLR", "MultiplicativeLR", "ReduceLROnPlateau", "SequentialLR", "ChainedScheduler"}
    return tuple(sorted(schedulers - others))


class Rates:
    """The factors of all members at every step of a course: what blocks of steps are given.

    Args:
        lengths: ``[phase][member]``: how many steps each member takes of each phase.
    """

    def __init__(self, curve: Curve, lengths: list[list[int]]):
        self.curve, self.lengths = curve, lengths
        members = range(len(lengths[0]))
        self.before = torch.tensor([[0] * len(members), *lengths]).cumsum(0).tolist()
        self.constant = all(curve.constant(m) for m in members)
        per_task = [[own[m] for own in lengths] for m in members]
        curve.check(len(members), per_task if curve.span == "task" else [[sum(own)] for own in per_task])
        self._phase: tuple[int, Tensor] | None = None

    def at(self, phase: int, first: int, count: int) -> Tensor | None:
        """Factors of ``count`` steps from step ``first`` of a phase on, float64 ``[count, M]``; None where all are always 1.

        A member that has no steps left there keeps its last factor.
        """
        if self.constant:
            return None
        if self._phase is None or self._phase[0] != phase:
            self._phase = phase, self._of_phase(phase)
        steps = torch.arange(first, first + count)  # beyond the last where others, elsewhere, train for longer
        return self._phase[1][steps.clamp(max=len(self._phase[1]) - 1)]

    def _of_phase(self, phase: int) -> Tensor:
        longest = max(self.lengths[phase])
        return torch.stack([self._of_member(m, phase, longest) for m in range(len(self.lengths[phase]))], 1)

    def _of_member(self, member: int, phase: int, longest: int) -> Tensor:
        length = self.lengths[phase][member]
        if self.curve.span == "task":
            own = self.curve.of(member, length)
        else:
            start = self.before[phase][member]
            own = self.curve.of(member, self.before[-1][member])[start : start + length]
        return torch.cat([own, own[-1:].expand(longest - length)])


@lru_cache(maxsize=256)
def _trapezoid(steps: int, warmup: float, decay: float, final: float, shape: str, drops: int) -> Tensor:
    t = torch.arange(steps, dtype=torch.float64)
    rising, falling = _steps(warmup, steps), _steps(decay, steps)
    factors = torch.ones(steps, dtype=torch.float64)
    if falling:
        factors[steps - falling :] = _decayed(torch.arange(falling, dtype=torch.float64) / falling, final, shape, drops)
    return torch.where(t < rising, (t + 1) / max(rising, 1), factors)


def _decayed(r: Tensor, final: float, shape: str, drops: int) -> Tensor:
    if shape == "sqrt":
        return (1 - r.sqrt()) + final * r.sqrt()
    if shape == "linear":
        return 1 - (1 - final) * r
    if shape == "cosine":
        return final + (1 - final) * (1 + torch.cos(math.pi * r)) / 2
    if shape == "step":
        # Rounded before it is cut: 3 * (1/3) may fall short of 1 in binary.
        r = ((drops + 1) * r).mul(1 << 32).round().div(1 << 32).floor() / drops
    return final**r


def _by_torch(kind: Callable[..., Any], options: dict[str, Any], steps: int) -> Tensor:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    name = kind.__name__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a scheduler's own past (deprecated arguments)
            scheduler = kind(optimizer, **options)
            factors = []
            for _ in range(steps):
                factors.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                scheduler.step()
    except (TypeError, ValueError, AssertionError, AttributeError, KeyError, ZeroDivisionError) as error:
        takes = ", ".join(list(inspect.signature(kind).parameters)[1:])
        raise UserError(f"schedule.options={options}: {name} refuses them ({error}); it takes {takes}") from None
    return torch.tensor(factors, dtype=torch.float64)


def _each(key: str, given: Any, sound: Callable[[str, Any], Any]) -> list[Any]:
    """One value for all members, or one for each, checked."""
    values = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    require(bool(values), key, given, "a value, or a list of one a member")
    return [sound(key, value) for value in values]


def _own(values: list[Any], member: int) -> Any:
    return values[0] if len(values) == 1 else values[member]


def _paired(*lists: list[Any]) -> list[tuple[Any, ...]]:
    """Values side by side, where some lists hold one for all."""
    longest = max(map(len, lists))
    return list(zip(*(values * longest if len(values) == 1 else values for values in lists), strict=False))


def _warmup(key: str, given: Any) -> float:
    """A share of the span in [0, 1), or a whole number of steps: 1 would be taken for either, and is neither."""
    require(_is_length(given) and given != 1, key, given, "a share of the span in [0, 1), or a whole number of steps from 2 on")
    return given


def _decay(key: str, given: Any) -> float:
    """A share of the span in [0, 1], or a whole number of steps."""
    require(_is_length(given), key, given, "a share of the span in [0, 1], or a whole number of steps from 2 on")
    return given


def _is_length(given: Any) -> bool:
    number = isinstance(given, (int, float)) and not isinstance(given, bool)
    return number and (0 <= given <= 1 or (given > 1 and float(given).is_integer()))


def _steps(length: float, steps: int) -> int:
    """A length in steps, of a span of so many."""
    return round(length * steps) if length <= 1 else int(length)


def _final(key: str, given: Any) -> float:
    return float(number(key, given, 0, 1))
