"""Whether slots of different members are the same slots: how alike what they hold is, against chance.

Slots that are learnt have no order: slot 3 of one member may be slot 7 of another. So what two members' slots hold is compared
as they are, and under the matching that suits best (the assignment problem, Kuhn 1955). Matching finds likeness in noise too,
so each figure stands beside what it is where there is nothing to be found.

Letters in shapes: M members, m slots, F features (of what a slot holds).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy import ndarray as Array
from scipy.optimize import linear_sum_assignment

MOST = 200
"""Pairs of members that are looked at; of more, evenly spaced ones."""


@dataclass(frozen=True)
class Agreement:
    """Mean correlations over pairs of members."""

    same: float
    """Of slots of the same number."""
    other: float
    """Of slots of different numbers: ``same`` by chance."""
    matched: float
    """Of slots that are matched."""
    chance: float
    """Of slots that are matched where the features of one of the two were shuffled: ``matched`` by chance."""


def of_slots(profiles: Array, draw: int = 0) -> Agreement | None:
    """How alike slots are in what they hold, ``[M, m, F]``: correlations over features, from each of which its mean over slots
    is taken away, so that what all slots share counts for nothing. None of fewer than two members, slots or features."""
    if min(profiles.shape) < 2 or not np.isfinite(profiles).all():
        return None
    rng, centred = np.random.default_rng(draw), profiles - profiles.mean(1, keepdims=True)
    found = []
    for i, j in _pairs(len(profiles)):
        one, other = centred[i], centred[j]
        alike, by_chance = _correlations(one, other), _correlations(one, other[:, rng.permutation(other.shape[1])])
        own = np.eye(len(alike), dtype=bool)
        found.append([alike[own].mean(), alike[~own].mean(), _matched(alike), _matched(by_chance)])
    return Agreement(*map(float, np.mean(found, 0)))


def of_fields(fields: Array, draw: int = 0) -> tuple[float, float] | None:
    """How alike members' fields ``[M, a, b]`` are as they are: the mean correlation of their entries, and the same where rows
    and columns of one of the two were shuffled. None of fewer than two members, or where none has any variation."""
    rng, found = np.random.default_rng(draw), []
    for i, j in _pairs(len(fields)):
        one, other = fields[i], fields[j]
        shuffled = other[rng.permutation(len(other))][:, rng.permutation(other.shape[1])]
        found.append([_correlations(one.reshape(1, -1), each.reshape(1, -1))[0, 0] for each in (other, shuffled)])
    return tuple(map(float, np.mean(found, 0))) if found and np.ptp(fields, axis=(1, 2)).any() else None


def _pairs(members: int) -> list[tuple[int, int]]:
    pairs = list(combinations(range(members), 2))
    return [pairs[i * len(pairs) // MOST] for i in range(MOST)] if len(pairs) > MOST else pairs


def _matched(alike: Array) -> float:
    """The mean correlation ``[m, m]`` under the best matching."""
    return float(alike[linear_sum_assignment(alike, maximize=True)].mean())


def _correlations(one: Array, other: Array) -> Array:
    """Pearson's, of each row of ``[m, F]`` with each of the other; 0 with a row that does not vary."""
    rows = [each - each.mean(1, keepdims=True) for each in (one, other)]
    unit = [each / np.maximum(np.linalg.norm(each, axis=1, keepdims=True), 1e-12) for each in rows]
    return unit[0] @ unit[1].T
