"""How likely counts are: each place adds a whole number, by its class.

Letters in shapes: see :mod:`lab.rules.meaning`; R sums that can come about.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.rules.compiled import Run, Spot, Tally, Term
from lab.rules.meaning import SIGNS, ByClass

if TYPE_CHECKING:
    from lab.rules.truth import Graded

Part = tuple[int, dict[int, Tensor]]
"""Places along a dimension, and for each number that one may add how likely it does, ``[..., D axes]``."""


@dataclass(frozen=True)
class Numbers:
    """In which a distribution of sums is worked out: how to join independent places, and different ways to the same sum."""

    join: Callable[[Tensor, Tensor], Tensor]
    either: Callable[[Tensor, Tensor], Tensor]
    any_of: Callable[[Tensor], Tensor]
    """``either`` over the last axis."""
    impossible: float
    certain: float


PROBABILITIES = Numbers(torch.mul, torch.add, lambda sums: sums.sum(-1), 0.0, 1.0)
LOGARITHMS = Numbers(torch.add, torch.logaddexp, lambda sums: sums.logsumexp(-1), -1e6, 0.0)
GODEL = Numbers(torch.minimum, torch.maximum, lambda sums: sums.amax(-1), 0.0, 1.0)


def portions(meaning: Graded, tally: Tally) -> tuple[Tensor | int, list[Part]]:
    """What is sure of a tally's sum, ``[..., D axes]`` and what each place may add to it, by run."""
    constant: Tensor | int = tally.constant
    found: dict[Run, list[tuple[int, Tensor]]] = {}
    for term in tally.terms:
        sure, weighed = _weighed(meaning, term)
        constant = constant + term.times * sure
        if weighed is not None:
            found.setdefault(term.spot.run, []).append((term.times, weighed))
    axis = tally.terms[0].axis.number
    return constant, [(axis - meaning.depth, _by_weight(meaning, run, axis, terms)) for run, terms in found.items()]


def _weighed(meaning: Graded, term: Term) -> tuple[Tensor | int, Tensor | None]:
    """How much a term counts whatever is said, ``[..., D axes]``, and which classes it counts at each place, bool
    ``[..., D axes, C]`` (its axis has size 1 where that is the same at all places)."""
    dim, inside = term.axis.number - meaning.depth, meaning.inside((term.axis,))
    counted = ByClass(meaning).value(term.part)
    if term.spot is None:
        return (counted.squeeze(-1) & inside).sum(dim, keepdim=True), None
    run, offset = term.spot.run, term.spot.offset
    here = meaning.spread(meaning.there(run), term.spot, False)
    outside = (counted[..., -1] & inside & ~here).sum(dim, keepdim=True)
    classes = counted[..., :-1]
    if offset:  # where there is none, every place that counts is one of the positions
        classes = classes & inside.unsqueeze(-1)
    start, stop = meaning.slots(run)
    return outside, _moved(classes, dim - 1, offset, stop - start)


def _moved(values: Tensor, dim: int, offset: int, count: int) -> Tensor:
    """Values along a dimension at ``count`` places, each from ``offset`` places before it; False where there is none."""
    size = values.shape[dim]
    if size == 1 and not offset:
        return values
    if abs(offset) >= max(size, count):
        return torch.zeros_like(values.narrow(dim, 0, 1))
    return F.pad(values.transpose(dim, -1), (offset, count - size - offset), value=False).transpose(dim, -1)


def _by_weight(meaning: Graded, run: Run, axis: int, terms: list[tuple[int, Tensor]]) -> dict[int, Tensor]:
    """How likely each place of a run adds each number; places that do not count add 0."""
    start, stop = meaning.slots(run)
    meaning.lengths[axis] = stop - start
    spot = Spot(run, axis)
    chances, there = meaning.spread(meaning.chances(run), spot, 0.0, tail=1), meaning.spread(meaning.there(run), spot, False)
    weights = sum(times * mask.to(torch.int64) for times, mask in terms)
    sums = {0}
    for times, _ in terms:
        sums |= {before + times for before in sums}
    parts = {w: torch.einsum("...c,...c->...", chances, (weights == w).to(chances.dtype)) for w in sorted(sums)}
    parts[0] = parts[0] + (~there).to(chances.dtype)
    return parts


def chance_of(constant: Tensor | int, parts: list[Part], sign: str, numbers: Numbers, empty: Tensor) -> tuple[Tensor, Tensor]:
    """How likely ``constant + what the places add`` stands so to 0, and how likely it does not: ``[..., D axes]``.

    Place by place the distribution of the sum is worked out, which is exact where places are independent; it begins with that
    of no place, ``empty`` ``[D axes, 1]``.
    """
    sums, least = torch.full_like(empty, numbers.certain), 0
    for dim, part in parts:
        low, high = min(part), max(part)
        columns = {weight: chance.split(1, dim) for weight, chance in part.items()}
        for place in range(len(columns[low])):
            added = {weight: column[place].unsqueeze(-1) for weight, column in columns.items()}
            ways = [
                numbers.join(F.pad(sums, (weight - low, high - weight), value=numbers.impossible), chance)
                for weight, chance in added.items()
            ]
            sums, least = reduce(numbers.either, ways), least + low
    return _within(constant, sums, least, sign, numbers)


def _within(constant, sums: Tensor, least: int, sign: str, numbers: Numbers) -> tuple[Tensor, Tensor]:
    total = torch.arange(least, least + sums.shape[-1], device=sums.device)
    total = total + (constant.unsqueeze(-1) if isinstance(constant, Tensor) else constant)
    so = SIGNS[sign](total, torch.zeros_like(total))
    return tuple(numbers.any_of(torch.where(mask, sums, numbers.impossible)) for mask in (so, ~so))


def expectation(constant: Tensor | int, parts: list[Part]) -> Tensor:
    """The mean of ``constant + what the places add``."""
    return sum((w * chance.sum(dim, keepdim=True) for dim, part in parts for w, chance in part.items() if w), constant)


def at_most(part: Part) -> Part:
    """How likely each place adds at most each number; at most the largest, surely."""
    return part[0], _cumulated(part[1], sorted(part[1]))


def at_least(part: Part) -> Part:
    """How likely each place adds at least each number; at least the smallest, surely."""
    return part[0], _cumulated(part[1], sorted(part[1], reverse=True))


def _cumulated(chances: dict[int, Tensor], order: list[int]) -> dict[int, Tensor]:
    found, total = {}, 0
    for weight in order[:-1]:
        total = total + chances[weight]
        found[weight] = total
    return found | {order[-1]: torch.ones_like(chances[order[-1]])}
