"""Averages of a member's weights over time, evaluated in place of the weights that are trained, which go on untouched.

Of n snapshots x_1 (the oldest), ..., x_n, with weights that add up to 1 (Luo et al. 2025, arXiv 2511.18903, who average the
last six checkpoints):

    sma         1 / n
    wma         i / (1 + ... + n)
    ema         alpha (1 - alpha)^(n-i) / (1 - (1 - alpha)^n)             bias-corrected
    ema_source  alpha (1 - alpha)^(n-i), and (1 - alpha)^(n-1) for x_1    begun with the first, as torch's swa_utils has it

The last keeps most weight on the oldest where snapshots are few: .328 of six at alpha = .2. :class:`Iterates` is the
exponential average of the weights over the steps instead. Running statistics of batch normalisation are averaged along.

torch.optim.swa_utils averages one network; here the members of a population may be due at different steps, and a checkpoint
holds it all. That both come to the same is tested.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lab.errors import UserError, invalid, number, one_of, require, strength, whole
from lab.population import Population
from lab.stream import Course

KINDS = ("sma", "wma", "ema", "ema_source")
RAW = "raw"
OVER = ("run", "task", "tasks")


class Averaging(nn.Module):
    """What averages share; by itself none: the weights as they are."""

    beside: tuple[str, ...] = ()
    """What is evaluated too, beside what stands for the run."""
    averages: bool = False
    """Whether it does anything."""
    every: int | None = None
    """Steps between two updates, of what is updated throughout."""

    def check(self, course: Course) -> None:
        """Refuse, before training, a course that it does not fit.

        Raises:
            UserError: names the key.
        """

    def setup(self, population: Population, course: Course) -> None:
        """Make the buffers, and work out when what is due."""

    def moments(self, course: Course) -> list[list[int]]:
        """Behind which of the run's steps, from 1, each member's weights are taken in."""
        return [[] for _ in course.streams]

    def after_step(self, population: Population, step: int) -> None:
        """The step with this number, from 1, has been taken by all who take it."""

    def begin(self) -> None:
        """A phase begins."""

    def begun(self, step: int) -> bool:
        """Whether anything has been averaged by then; if not, all averages are the weights as they are."""
        return False

    def state(self, population: Population, kind: str | None) -> dict[str, Tensor]:
        """Averaged weights ``[M, ...]`` by name; ``kind``: one of ``beside``, None for what stands for the run."""
        raise NotImplementedError

    def announcement(self, members: int, parameters: int, size: int) -> str | None:
        """What memory it takes, in a sentence."""
        return None

    @contextmanager
    def in_place(self, population: Population, kind: str | None) -> Iterator[None]:
        """Have the population answer with an average for a while."""
        own = {name: value.detach().clone() for name, value in held(population).items()}
        population.load(self.state(population, kind))
        try:
            yield
        finally:
            population.load(own)


class Timed(Averaging):
    """What is updated at certain steps of each member's own, known before training.

    ``over``: ``run``, or ``task``: begun anew with each phase, or (snapshots) ``tasks``.
    """

    over: str
    averages = True

    def check(self, course: Course) -> None:
        for member in range(len(course.streams)):
            self._places(course, member)

    def setup(self, population: Population, course: Course) -> None:
        members, moments = population.members, self.moments(course)
        self._first = min(min(own) for own in moments)
        who: dict[tuple[int, int], list[int]] = {}
        for member, own in enumerate(moments):
            for ordinal, step in enumerate(own):
                who.setdefault((step, ordinal), []).append(member)
        alike = {(): 0} | {tuple(own): i for i, own in enumerate(sorted(set(map(tuple, who.values()))), 1)}
        masks = torch.zeros(len(alike), members, dtype=torch.bool)
        for own, row in alike.items():
            masks[row, list(own)] = True
        self._due: dict[int, list[tuple[int, int | None]]] = {}
        for (step, ordinal), own in who.items():
            self._due.setdefault(step, []).append((ordinal, None if len(own) == members else alike[tuple(own)]))
        self.register_buffer("masks", masks, persistent=False)
        self.register_buffer("taken", torch.zeros(members, dtype=torch.int64))

    def moments(self, course: Course) -> list[list[int]]:
        # Members whose tasks are shorter rest behind their own steps.
        starts, members = [0, *course.ends], range(len(course.streams))
        return [[starts[phase] + step for phase, step in self._places(course, m)] for m in members]

    def _places(self, course: Course, member: int) -> list[tuple[int, int]]:
        """Where a member is due: a phase, and the member's step in it, from 1."""
        raise NotImplementedError

    @torch.no_grad()
    def after_step(self, population: Population, step: int) -> None:
        for ordinal, row in self._due.get(step, ()):
            members = None if row is None else self.masks[row]
            self._update(held(population), ordinal, members)
            self.taken.add_(1 if members is None else members.long())

    def _update(self, own: dict[str, Tensor], ordinal: int, members: Tensor | None) -> None:
        """Take the weights ``own`` in, for the first time where ``ordinal`` is 0; for ``members`` ``[M]``, None for all."""
        raise NotImplementedError

    def begin(self) -> None:
        if self.over == "task":
            self.taken.zero_()

    def begun(self, step: int) -> bool:
        return step >= self._first


class Snapshots(Timed):
    """The average of the last snapshots.

    Args:
        kind: ``sma``, ``wma``, ``ema`` or ``ema_source``: one, or one a member; ``alpha``: of the latter two, likewise.
        snapshots: k, how many.
        over: ``run``: k spread evenly over the last ``window`` of a member's steps, the last one at the end; ``task``: the same
            within each phase; ``tasks``: the ends of the last k phases, all of them while they are fewer.
        window: a share of the steps in (0, 1].
        beside: other averages of the same snapshots to be evaluated too, and ``raw``, the weights as they are.
    """

    def __init__(
        self,
        kind: str | Sequence[str] = "sma",
        snapshots: int = 6,
        over: str = "run",
        window: float = 0.2,
        alpha: float | Sequence[float] = 0.2,
        beside: Sequence[str] = (RAW,),
    ):
        super().__init__()
        given = [kind] if isinstance(kind, str) or not isinstance(kind, Sequence) else list(kind)
        self.kind = [one_of("averaging.kind", each, KINDS) for each in given]
        self.alpha = strength("averaging.alpha", list(alpha) if isinstance(alpha, Sequence) else alpha, 0, 1)
        self.count, self.over = whole("averaging.snapshots", snapshots, 1), one_of("averaging.over", over, OVER)
        self.window = number("averaging.window", window, 0, 1)
        require(self.window > 0, "averaging.window", window, "a share of the steps in (0, 1]")
        self.beside = _beside(beside, self.kind)

    def check(self, course: Course) -> None:
        self._pairs(len(course.streams))
        super().check(course)

    def setup(self, population: Population, course: Course) -> None:
        super().setup(population, course)
        pairs = self._pairs(population.members)
        for name, value in held(population).items():
            self.register_buffer(f"ring/{name}", torch.zeros(self.count, *value.shape, dtype=value.dtype))
        for kind in {None, *self.beside} - {RAW}:
            tables = [self._table(kind or own, alpha) for own, alpha in pairs]
            self.register_buffer(f"weights/{kind}", torch.stack(tables), persistent=False)

    def _pairs(self, members: int) -> list[tuple[str, float]]:
        """Each member's kind and alpha."""
        kinds, alphas = (_of_each(f"averaging.{name}", getattr(self, name), members) for name in ("kind", "alpha"))
        return list(zip(kinds, alphas, strict=True))

    def _table(self, kind: str, alpha: float) -> Tensor:
        """Weights float64 ``[k + 1, k]``: row n those of n snapshots, the oldest first."""
        rows = [weights(kind, alpha, n) for n in range(self.count + 1)]
        return torch.stack([nn.functional.pad(row, (0, self.count - len(row))) for row in rows])

    def _places(self, course: Course, member: int) -> list[tuple[int, int]]:
        lengths = [own[member] for own in course.lengths]
        if self.over == "tasks":
            expected = f"at most {len(lengths)}, since averaging.over=tasks takes one at the end of each task"
            require(self.count <= len(lengths), "averaging.snapshots", self.count, expected)
            return list(enumerate(lengths))
        if self.over == "task":
            return [(phase, step) for phase, length in enumerate(lengths) for step in self._spread(length, "a task")]
        ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
        steps = self._spread(ends[-1], "the run")
        phases = [next(p for p in range(len(lengths)) if step <= ends[p + 1]) for step in steps]
        return [(phase, step - ends[phase]) for phase, step in zip(phases, steps, strict=True)]

    def _spread(self, steps: int, whose: str) -> list[int]:
        room = round(self.window * steps)
        expected = f"at most {room}, the steps in the last {self.window:g} (averaging.window) of the {steps} of {whose}"
        require(self.count <= room, "averaging.snapshots", self.count, expected)
        return [steps - round(room * (self.count - 1 - i) / self.count) for i in range(self.count)]

    def _update(self, own: dict[str, Tensor], ordinal: int, members: Tensor | None) -> None:
        for name, value in own.items():
            kept = self._buffers[f"ring/{name}"][ordinal % self.count]
            kept.copy_(value if members is None else torch.where(_like(members, value), value, kept))

    @torch.no_grad()
    def state(self, population: Population, kind: str | None) -> dict[str, Tensor]:
        own = held(population)
        if kind == RAW:
            return {name: value.clone() for name, value in own.items()}
        weights_MK, some = self._of_slots(kind), self.taken > 0
        averaged = {}
        for name, value in own.items():
            mean = torch.zeros_like(value)
            for slot, kept in enumerate(self._buffers[f"ring/{name}"]):
                mean.add_(kept * _like(weights_MK[:, slot].to(value.dtype), value))
            averaged[name] = torch.where(_like(some, value), mean, value)
        return averaged

    def _of_slots(self, kind: str | None) -> Tensor:
        """The weights of what lies in the ring, ``[M, k]``: where it has gone round, the oldest is where the next will be."""
        n, slots = self.taken.clamp(max=self.count), torch.arange(self.count, device=self.taken.device)
        oldest = torch.where(self.taken > self.count, self.taken, 0).unsqueeze(1)
        of_rank = self._buffers[f"weights/{kind}"][torch.arange(len(n), device=n.device), n]
        return of_rank.gather(1, (slots - oldest) % self.count)

    def announcement(self, members: int, parameters: int, size: int) -> str | None:
        total = self.count * members * parameters * size
        return f"averaging: keeps {self.count} snapshots of {members} networks, {total / 2**20:.1f} MiB"


class Iterates(Timed):
    """The exponential average of the weights over the steps, bias-corrected: x_i of n counts in proportion to d^(n-i).

    Args:
        decay: of a step: how much of the average stays; one value, or a list of one a member.
        every: steps between two updates; d is decay^every.
        over: ``run``, or ``task``: begun anew with each phase.
    """

    beside = (RAW,)

    def __init__(self, decay: float | Sequence[float] = 0.999, every: int = 10, over: str = "run"):
        super().__init__()
        self.decay = strength("averaging.decay", list(decay) if isinstance(decay, Sequence) else decay, 0, 1)
        self.every, self.over = whole("averaging.every", every, 1), one_of("averaging.over", over, OVER[:2])

    def check(self, course: Course) -> None:
        _of_each("averaging.decay", self.decay, len(course.streams))
        super().check(course)

    def setup(self, population: Population, course: Course) -> None:
        super().setup(population, course)
        decays = _of_each("averaging.decay", self.decay, population.members)
        for name, value in held(population).items():
            self.register_buffer(f"mean/{name}", value.detach().clone())
        self.register_buffer("stays", torch.tensor(decays, dtype=torch.float64) ** self.every, persistent=False)
        self._alike = self._shares_of_all(course, decays)

    def _shares_of_all(self, course: Course, decays: list[float]) -> list[float] | None:
        """What each update counts for, where that is the same for all members: a number is cheaper than one a member."""
        places = [self._places(course, member) for member in range(len(decays))]
        if len(set(decays)) > 1 or any(own != places[0] for own in places):
            return None
        if self.over == "run":
            numbers = list(range(1, len(places[0]) + 1))
        else:
            counts = Counter(phase for phase, _ in places[0])
            numbers = [n for phase in sorted(counts) for n in range(1, counts[phase] + 1)]
        return _shares(self.stays[0], torch.tensor(numbers)).tolist()

    def _places(self, course: Course, member: int) -> list[tuple[int, int]]:
        lengths = [own[member] for own in course.lengths]
        room, whose = (min(lengths), "the shortest task") if self.over == "task" else (sum(lengths), "the run")
        require(self.every <= room, "averaging.every", self.every, f"at most the {room} steps of {whose}")
        places, before = [], 0
        for phase, length in enumerate(lengths):
            places += [(phase, step) for step in range(1, length + 1) if (before + step) % self.every == 0]
            before += length if self.over == "run" else 0
        return places

    def _update(self, own: dict[str, Tensor], ordinal: int, members: Tensor | None) -> None:
        means, values = [self._buffers[f"mean/{name}"] for name in own], [value.detach() for value in own.values()]
        if self._alike is not None:
            torch._foreach_lerp_(means, values, self._alike[ordinal])
            return
        share = _shares(self.stays, self.taken + 1)
        share = share if members is None else torch.where(members, share, 0.0)
        torch._foreach_lerp_(means, values, [_like(share.to(value.dtype), value) for value in values])

    @torch.no_grad()
    def state(self, population: Population, kind: str | None) -> dict[str, Tensor]:
        own, some = held(population), self.taken > 0
        if kind == RAW:
            return {name: value.clone() for name, value in own.items()}
        return {name: torch.where(_like(some, value), self._buffers[f"mean/{name}"], value) for name, value in own.items()}

    def announcement(self, members: int, parameters: int, size: int) -> str | None:
        return f"averaging: keeps one average of {members} networks, {members * parameters * size / 2**20:.1f} MiB"


def _shares(stays: Tensor, n: Tensor) -> Tensor:
    """What the n-th of an exponential average's values counts for then: (1 - d) / (1 - d^n), and 1 / n where d is 1."""
    return torch.where(stays < 1, (1 - stays) / (1 - stays**n), 1 / n)


def weights(kind: str, alpha: float, n: int) -> Tensor:
    """The weights of n snapshots, the oldest first, float64 ``[n]``.

    >>> [round(float(w), 3) for w in weights("ema_source", 0.2, 6)]
    [0.328, 0.082, 0.102, 0.128, 0.16, 0.2]
    """
    i = torch.arange(1, n + 1, dtype=torch.float64)
    if kind == "sma":
        return torch.ones_like(i) / max(n, 1)
    if kind == "wma":
        return i / i.sum().clamp(min=1)
    decayed = alpha * (1 - alpha) ** (n - i) if alpha else torch.ones_like(i) / max(n, 1)
    if kind == "ema":
        return decayed / decayed.sum() if n else decayed
    if n:
        decayed[0] = (1 - alpha) ** (n - 1)
        decayed[1:] = alpha * (1 - alpha) ** (n - i[1:])
    return decayed


def held(population: Population) -> dict[str, Tensor]:
    """What is averaged of a population: parameters, and running statistics, ``[M, ...]`` by name."""
    return {name: value for name, value in population.held().items() if value.is_floating_point()}


def _like(values: Tensor, value: Tensor) -> Tensor:
    """``[M]`` as it broadcasts over ``[M, ...]``."""
    return values.view(-1, *[1] * (value.dim() - 1))


def _of_each(key: str, given: list | float, members: int) -> list:
    """A value for each member."""
    values = given if isinstance(given, list) else [given]
    require(len(values) in (1, members), key, given, f"one value, or a list of {members} (one a member)")
    return values * members if len(values) == 1 else values


def _beside(given: object, kinds: list[str]) -> tuple[str, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise invalid("averaging.beside", given, f"a list of {', '.join((RAW, *KINDS))}")
    named = [one_of("averaging.beside", each, (RAW, *KINDS)) for each in given]
    if len(set(named)) < len(named) or (len(set(kinds)) == 1 and kinds[0] in named):
        raise UserError(f"averaging.beside={named}: names one twice, or what averaging.kind={kinds[0]} is already")
    return tuple(named)
