"""Looks at the data before the last seed is in, without more false positives.

The level is spent on looks that are declared beforehand, or kept in reserve for extensions that are not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def levels(looks: Sequence[int], alpha: float, spending: str = "obrien_fleming") -> list[float]:
    """The level at which to test at each of ``looks``, cumulative numbers of seeds of which the last is the declared end.

    The increments of a spending function (Lan & DeMets 1983) at the shares t of all seeds: 2 (1 - Phi(z_{alpha/2} / sqrt t)),
    which spends little at first, like O'Brien & Fleming's boundaries, or alpha ln(1 + (e - 1) t), which spends more evenly,
    like Pocock's. Each look is tested at its own increment. These sum to ``alpha``, so the chance of a false positive at any
    look is at most ``alpha`` by the union bound, for exact tests of any kind, without normal approximations. That is a bit
    conservative: boundaries that reckon with the looks' correlation are wider. A level below the smallest p of so few seeds
    (:func:`lab.statistics.smallest_p`) is spent in vain; declare no look there.

    Raises:
        ValueError: looks that do not increase from 1 on, a level outside (0, 1), or another spending function.
    """
    functions = {"obrien_fleming": _obrien_fleming, "pocock": _pocock}
    if spending not in functions:
        raise ValueError(f"spending {spending!r}: expected one of {', '.join(functions)}")
    _check_level(alpha)
    if not len(looks) or looks[0] < 1 or (np.diff(looks) <= 0).any():
        raise ValueError(f"looks {list(looks)}: expected cumulative numbers of seeds, each larger than the one before")
    spent = [functions[spending](look / looks[-1], alpha) for look in looks]
    return [float(level) for level in np.diff([0.0, *spent])]


def reserve_level(alpha_reserved: float, k: int) -> float:
    """The level of the ``k``-th extension (from 1) that nobody declared, decided on fresh seeds alone.

    alpha_reserved / 2^k, so that all extensions together, however many, spend no more than was reserved. What is reserved
    must be taken from the level of the declared test: base level + reserve = level of the whole. Without a reserve it is 0.

    Raises:
        ValueError: a reserve outside [0, 1), or k below 1.
    """
    if alpha_reserved != 0:
        _check_level(alpha_reserved)
    if k < 1:
        raise ValueError(f"extension {k}: expected a whole number from 1 on")
    return alpha_reserved / 2**k


def _obrien_fleming(t: float, alpha: float) -> float:
    from scipy.stats import norm

    return 2 * float(norm.sf(norm.isf(alpha / 2) / math.sqrt(t)))


def _pocock(t: float, alpha: float) -> float:
    return alpha * math.log1p((math.e - 1) * t)


def _check_level(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"level {alpha}: expected a number between 0 and 1")
