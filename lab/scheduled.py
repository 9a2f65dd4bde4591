"""What is scheduled for a run: its learning rates, what it is shown when, where weights are averaged; known before training.

All of it is read from what decides a run: the course's rates, the samples that its orders give, the steps behind which the
averaging takes weights in. Nothing is trained for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.averaging import Averaging
from lab.order import Scored
from lab.stream import Course, Order

MOST = 150
"""Points over a run."""

AROUND = 1024
"""Samples that are looked at around a point, or one step's."""

MOST_IN_ORDER = 24_000_000
"""Samples that are put in order to be looked at: about a second's work."""

SHARE = 10
"""Of a task's samples, the first and the last tenth are looked at."""


@dataclass(frozen=True)
class OfTask:
    """What is scheduled for one phase of all members."""

    task: int
    """The one that it completes."""
    steps: list[int]
    """``[M]``"""
    rate: np.ndarray
    """``[M, 3]``: what learning rates are multiplied by at its first, its middle and its last step."""
    quality: np.ndarray | None
    """``[M, 2]``: the mean score of the first and of the last tenth of its samples, None where there are no scores."""
    taken: list[int]
    """``[M]``: how often weights are taken in for an average."""


def scheduled(course: Course, averaging: Averaging, quality: Tensor | None) -> dict[str, Any]:
    """What is scheduled for the members of a course, at :data:`MOST` of its steps at most.

    Args:
        quality: float ``[N]``, how good the training examples are, for orders that have no scores of their own; or None.
    Returns:
        ``steps`` ``[P]``, from 1; ``tasks``: the steps at which phases end; ``rate`` ``[M, P]``: what learning rates are
        multiplied by, NaN where a member rests; ``quality`` ``[M, P]`` or None: the mean score of what is met around each of
        the steps, NaN where a member rests or is not looked at, for want of time; ``snapshots``: for each member the steps
        behind which its weights are taken in; ``every``: where these would be too many, how many steps lie between two of
        them, or None.
    """
    steps = points(course.ends)
    return {
        "steps": steps,
        "tasks": list(course.ends),
        "rate": _short(_rates(course, steps)),
        "quality": _short(_qualities(course, steps, quality)),
        "snapshots": [[] for _ in course.streams] if averaging.every else averaging.moments(course),
        "every": averaging.every,
    }


def by_task(course: Course, averaging: Averaging, quality: Tensor | None) -> list[OfTask]:
    """What is scheduled for each phase; ``quality`` as for :func:`scheduled`."""
    scores, moments = scores_of(course, quality), [np.array(own) for own in averaging.moments(course)]
    shown = _looked_at(course) if scores else 0
    orders = [_order(course, member) for member in range(shown)]
    found = []
    for number, (start, end) in enumerate(pairwise([0, *course.ends])):
        own, rates = course.lengths[number], _of_phase(course, number)
        places = [[0, (length - 1) // 2, length - 1] for length in own]
        means = np.full((len(own), 2), np.nan)
        for m, order in enumerate(orders):
            tenth = -(-own[m] // SHARE)
            means[m] = [_mean(order, scores[m], number, first, tenth) for first in (0, own[m] - tenth)]
        found.append(
            OfTask(
                course.phases[number].completes,
                own,
                np.array([rates[at, m] for m, at in enumerate(places)]),
                means if scores else None,
                [int(((start < own) & (own <= end)).sum()) for own in moments],
            )
        )
    return found


def points(ends: list[int]) -> list[int]:
    """Steps of a run whose phases end at ``ends``, evenly spaced; where phases are few, the first and the last of each too.

    >>> points([2, 4]), len(points([1000, 3000])), points([1000, 3000])[-1]
    ([1, 2, 3, 4], 150, 3000)
    """
    edges = {start + 1 for start in (0, *ends[:-1])} | set(ends)
    edges = edges if len(edges) <= MOST // 2 else {1, ends[-1]}
    evenly = np.linspace(1, ends[-1], MOST - len(edges) + 2).round().astype(int)[1:-1]
    return sorted(edges | set(evenly.tolist()))


def scores_of(course: Course, quality: Tensor | None) -> list[Tensor] | None:
    """Each member's scores ``[N]``: its order's, or else the data's own; None where there are none."""
    given = None if quality is None else quality.cpu()
    scores = [order.scores if isinstance(order, Scored) else given for order in course.orders]
    return None if any(own is None for own in scores) else scores


# --- rates ------------------------------------------------------------------------------------------------------------


def _rates(course: Course, steps: list[int]) -> np.ndarray:
    """``[M, P]``"""
    parts = [_of_phase(course, number)[at] for number, at in _in_phases(course, steps)]
    return np.concatenate(parts).T


def _of_phase(course: Course, number: int) -> np.ndarray:
    """What rates are multiplied by at each step of a phase ``[S, M]``; NaN where a member rests."""
    count, own = course.ends[number] - (course.ends[number - 1] if number else 0), course.lengths[number]
    rates = course.rates.at(number, 0, count) if course.rates else None
    rates = np.ones((max(own), len(own))) if rates is None else rates.numpy()
    rates = np.pad(rates, ((0, count - len(rates)), (0, 0)))
    return np.where(np.arange(count)[:, None] < np.array(own), rates, np.nan)


def _in_phases(course: Course, steps: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Phases, and which of their steps, from 0, are among the given ones of the run."""
    where = np.array(steps)
    for number, (start, end) in enumerate(pairwise([0, *course.ends])):
        own = where[(where > start) & (where <= end)]
        if len(own):
            yield number, own - start - 1


# --- quality ----------------------------------------------------------------------------------------------------------


def _qualities(course: Course, steps: list[int], quality: Tensor | None) -> np.ndarray | None:
    """``[M, P]``; NaN for members beyond those that can be looked at in time."""
    scores = scores_of(course, quality)
    if scores is None:
        return None
    found = np.full((len(course.streams), len(steps)), np.nan)
    shown = _looked_at(course)
    stretches = [stretch for number, at in _in_phases(course, steps) for stretch in _around(course, number, at)]
    for m in range(shown):
        order = _order(course, m)
        found[m] = [_mean(order, scores[m], *stretch) for stretch in _within(stretches, course, m)]
    return found


def _looked_at(course: Course) -> int:
    """How many members, the first ones, can be looked at: what costs time is the passes that are put in order for it."""
    sizes = [len(phase.examples) for phase in course.phases]
    in_order = min(course.samples(0) + sum(sizes), 2 * MOST * max(sizes))
    return min(len(course.streams), max(1, MOST_IN_ORDER // in_order))


def _around(course: Course, number: int, at: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """For steps ``at`` of a phase, those from half-way to the one before to half-way to the one behind, or fewer of them: the
    phase, the first and their count."""
    most = max(1, AROUND // course.budget.batch_size)
    length = course.ends[number] - (course.ends[number - 1] if number else 0)
    edges = [0, *((at[1:] + at[:-1] + 1) // 2), length]
    for step, (first, stop) in zip(at.tolist(), pairwise(map(int, edges)), strict=True):
        first = min(max(first, step - most // 2), max(first, stop - most))
        yield number, first, min(most, stop - first)


def _within(stretches: list[tuple[int, int, int]], course: Course, member: int) -> Iterator[tuple[int, int, int]]:
    """Stretches cut off where a member rests."""
    for number, first, count in stretches:
        yield number, first, min(count, course.lengths[number][member] - first)


def _order(course: Course, member: int) -> Order:
    return Order(course.streams[member], course.seeds[member], course.budget, course.orders[member])


def _mean(order: Order, scores: Tensor, number: int, first: int, count: int) -> float:
    """The mean score of what is met in ``count`` steps of a phase; NaN for none."""
    if count <= 0:
        return float("nan")
    chosen, own = order.take(number, first, count)
    met = scores[order.stream.phases[number].examples[chosen]]
    return float(torch.where(own, met, 0).sum(dtype=torch.float64) / own.sum())


def _short(values: np.ndarray | None) -> np.ndarray | None:
    """To six significant digits, since a results file keeps them as text."""
    return None if values is None else np.array([[float(f"{value:.6g}") for value in row] for row in values])
