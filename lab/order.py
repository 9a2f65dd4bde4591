"""The order of the data: at random, by a score, or drawn from a growing share of what is sorted by a score.

Curriculum learning sorts examples by a score, higher being better (or easier): ascending keeps the best for last, as in Luo et
al. 2025 (arXiv 2511.18903), descending begins with it. The order of a pass is a permutation: every example is met exactly once
an epoch, as without a curriculum. With a *pacing function* g it is the older kind (Wu, Dyer & Neyshabur 2021, "When Do
Curricula Work?", arXiv 2012.03107): sample t of T is drawn, with replacement, from the first g(t) of the n sorted examples. As
shares of them, with b = ``start``, a = ``reach`` and x = min(1, t / (a T)):

    linear b + (1-b) x       root b + (1-b) x^1/2       quadratic b + (1-b) x^2       step b, then 1 from x = 1 on
    exponential b + (1-b) (e^10x - 1) / (e^10 - 1)      logarithmic b + (1-b) (1 + log(x + e^-10) / 10)

An order is worked out on the host from the member's seed; a block's content depends on its number alone, so a resumed run goes
on with the same samples.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lab.errors import UserError, fraction, number, one_of, require
from lab.protocols import Stream
from lab.seeding import generator, integers, member_keys, uniform

DIRECTIONS = ("ascending", "descending")
OVER = ("task", "tasks", "stream")
PHASES = ("all", "first", "last")
PACING = ("linear", "root", "quadratic", "step", "exponential", "logarithmic")


class Uniform:
    """At random: an order of the member's own in each epoch of each phase."""

    def unbounded(self, stream: Stream) -> Stream:
        """The stream as it is announced: without boundaries where the order leaves none."""
        return stream

    def arranged(self, stream: Stream, seed: int) -> Stream:
        """The stream with its phases in order."""
        return stream

    def places(self, stream: Stream, number: int, epoch: int, seed: int) -> Tensor:
        """A pass over phase ``number``: positions into its examples ``[n]``, each once."""
        n = len(stream.phases[number].examples)
        if stream.phases[number].ordered:
            return torch.arange(n)
        return torch.randperm(n, generator=generator(seed, "order", number, epoch))

    def draws(self, stream: Stream, number: int) -> bool:
        """Whether the samples of phase ``number`` are drawn, instead of met in passes over its examples."""
        return False

    def drawn(self, stream: Stream, number: int, samples: Tensor, of: int, seed: int) -> Tensor:
        """Where samples are drawn: positions into the examples of phase ``number`` for some of the ``of`` samples that are met
        in it, by their numbers ``[k]``."""
        raise NotImplementedError


class Scored(Uniform):
    """By a score.

    Args:
        score: ``quality`` (the environment's), ``reference`` (minus the loss of a learner not trained on the example), or
            a file, ``.npy`` or ``.npz``, with a number for each row of the training data.
        direction: ``ascending``: the best last; ``descending``.
        over: ``task``: within each phase; ``tasks``: the tasks themselves, by their mean score, within each at random;
            ``stream``: all samples of the stream, each met as of its own task, dealt to phases of the sizes they had, without
            boundaries.
        phases: which phases are in order: ``all``, the ``first`` or the ``last`` alone; the others are at random.
        mix: the share of the samples that are met at random all the same, spread over the whole of the order.
        pacing: null, or a function that says from how much of the sorted examples samples are drawn; ``start``: its share at
            first, ``reach``: the share of a phase's steps after which it is all of them.
        reference: settings of :class:`lab.scores.Reference`.
    """

    def __init__(
        self,
        score: str = "quality",
        direction: str = "ascending",
        over: str = "task",
        phases: str = "all",
        mix: float = 0.0,
        pacing: str | None = None,
        start: float = 0.2,
        reach: float = 0.8,
        reference: dict[str, Any] | None = None,
    ):
        require(isinstance(score, str) and bool(score), "order.score", score, "quality, reference, or a file's name")
        self.score, self.descending = score, one_of("order.direction", direction, DIRECTIONS) == "descending"
        self.over, self.phases = one_of("order.over", over, OVER), one_of("order.phases", phases, PHASES)
        self.mix = number("order.mix", mix, 0, 1)
        self.pacing = None if pacing is None else one_of("order.pacing", pacing, PACING)
        self.start, self.reach = fraction("order.start", start), number("order.reach", reach, 0, 1)
        require(self.reach > 0, "order.reach", reach, "a number in (0, 1]")
        self.reference = dict(reference or {})
        within = "task, since tasks as a whole are put in order" if over == "tasks" else "task, since phases are dealt anew"
        for key, given, idle in (("phases", phases, "all"), ("pacing", pacing, None)):
            require(over == "task" or given == idle, "order.over", over, f"{within} and order.{key}={given} is about one")
        require(over != "tasks" or not self.mix, "order.over", over, f"{within} and order.mix={mix} is about samples")
        self.scores: Tensor | None = None
        self._kept: tuple[Stream, int, int, Tensor] | None = None

    def by(self, scores: Tensor) -> Scored:
        """The same order by these scores, float ``[N]``."""
        made = copy(self)
        made.scores, made._kept = scores, None
        return made

    # --- streams ------------------------------------------------------------------------------------------------------

    def unbounded(self, stream: Stream) -> Stream:
        if any(phase.ordered for phase in stream.phases):
            raise UserError("order: the examples of this environment are in an order of their own; expected order=uniform")
        if self.over == "tasks":
            own = (p.completes == k and bool((p.tasks == k).all()) for k, p in enumerate(stream.phases))
            sound = len(stream.phases) == len(stream.tasks) and all(own)
            require(sound, "order.over", "tasks", "task or stream: the phases of this stream are not of one task each")
            fresh = any(phase.fresh for phase in stream.phases)
            require(not fresh, "order.over", "tasks", "task: this stream resets the weights before certain tasks")
        if self.over == "stream":
            return replace(stream, phases=tuple(replace(phase, announced=False) for phase in stream.phases))
        return stream

    def arranged(self, stream: Stream, seed: int) -> Stream:
        if self.over == "tasks":
            return self._tasks_in_order(stream)
        return self._all_in_order(stream, seed) if self.over == "stream" else stream

    def _tasks_in_order(self, stream: Stream) -> Stream:
        means = torch.stack([self.scores[phase.examples].double().mean() for phase in stream.phases])
        order = means.argsort(stable=True, descending=self.descending).tolist()
        phases = (stream.phases[old] for old in order)
        phases = tuple(replace(p, tasks=torch.full_like(p.tasks, new), completes=new) for new, p in enumerate(phases))
        baseline = stream.baseline if stream.baseline is None else stream.baseline[order]
        return replace(stream, tasks=tuple(stream.tasks[old] for old in order), phases=phases, baseline=baseline)

    def _all_in_order(self, stream: Stream, seed: int) -> Stream:
        examples, tasks = (torch.cat([getattr(phase, part) for phase in stream.phases]) for part in ("examples", "tasks"))
        places = self._sorted(examples, generator(seed, "order", "stream"), self.mix)
        dealt = places.split([len(phase.examples) for phase in stream.phases])
        phases = zip(stream.phases, dealt, strict=True)
        return replace(
            stream, phases=tuple(replace(p, examples=examples[own], tasks=tasks[own], ordered=True) for p, own in phases)
        )

    # --- samples ------------------------------------------------------------------------------------------------------

    def places(self, stream: Stream, number: int, epoch: int, seed: int) -> Tensor:
        if self.over != "task" or not self._chosen(stream, number):
            return super().places(stream, number, epoch, seed)
        return self._sorted(stream.phases[number].examples, generator(seed, "order", number, epoch), self.mix)

    def _chosen(self, stream: Stream, number: int) -> bool:
        return self.phases == "all" or number == (0 if self.phases == "first" else len(stream.phases) - 1)

    def _sorted(self, examples: Tensor, draw: torch.Generator, mix: float) -> Tensor:
        """Positions into the examples, by their scores, equal ones at random; a share of them, at random places, shuffled."""
        shuffled = torch.randperm(len(examples), generator=draw)
        order = shuffled[self.scores[examples[shuffled]].argsort(stable=True, descending=self.descending)]
        mixed = torch.randperm(len(order), generator=draw)[: round(mix * len(order))]
        order[mixed] = order[mixed[torch.randperm(len(mixed), generator=draw)]]
        return order

    def draws(self, stream: Stream, number: int) -> bool:
        return self.pacing is not None and self._chosen(stream, number)

    def drawn(self, stream: Stream, number: int, samples: Tensor, of: int, seed: int) -> Tensor:
        n = len(stream.phases[number].examples)
        key, for_mixing = (member_keys([seed], f"pacing/{number}/{what}").expand(len(samples)) for what in ("rank", "mix"))
        available = (paced(self.pacing, (samples / (self.reach * of)).clamp(max=1), self.start) * n).ceil().long()
        mixed = uniform(for_mixing, samples, 1).squeeze(-1) < self.mix
        ranks = integers(key, samples, 1, torch.where(mixed, n, available.clamp(1, n)).unsqueeze(-1)).squeeze(-1)
        return self._ranked(stream, number, seed)[ranks]

    def _ranked(self, stream: Stream, number: int, seed: int) -> Tensor:
        """Positions into a phase's examples by their scores: what pacing draws from, kept while the phase lasts."""
        kept = self._kept
        if kept is None or (kept[0] is not stream or kept[1:3] != (number, seed)):
            draw = generator(seed, "order", number, 0)
            kept = self._kept = stream, number, seed, self._sorted(stream.phases[number].examples, draw, mix=0.0)
        return kept[3]


def paced(kind: str, x: Tensor, start: float) -> Tensor:
    """The pacing functions of Wu et al. 2021 for x in [0, 1], as shares of the examples in [``start``, 1]."""
    if kind == "step":
        grown = (x >= 1).to(x.dtype)
    elif kind == "exponential":
        grown = torch.expm1(10 * x) / math.expm1(10)
    elif kind == "logarithmic":
        grown = 1 + torch.log(x + math.exp(-10)) / 10
    else:
        grown = x ** {"linear": 1, "root": 0.5, "quadratic": 2}[kind]
    return (start + (1 - start) * grown).clamp(start, 1)
