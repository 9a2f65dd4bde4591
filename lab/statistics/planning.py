"""What so many seeds can say, and how many would say more."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from lab.statistics.effects import effect_of
from lab.statistics.estimates import centred, known

CERTAIN = 20.0
"""Noncentrality at which every test here that can find anything finds it."""
MANY = 1_000_000
"""Seeds beyond which Student's t is the normal distribution."""
HOPELESS = 1e-6
"""An effect too small for any number of seeds: it would take some 10^13."""


@dataclass(frozen=True)
class SeedsNeeded:
    """Whole numbers of seeds, or infinity."""

    seeds: float
    low: float
    """If the true effect is as large as its interval allows."""
    high: float
    """If it is as small: infinite where the interval holds none at all."""


def smallest_p(seeds: int, comparisons: int = 1) -> float:
    """The smallest p of the two-sided sign-flip test of ``seeds`` pairs after Holm's or Bonferroni's correction: m 2 / 2^n."""
    return min(1.0, comparisons * 2.0 ** (1 - seeds))


def detectable(sd: float, seeds: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true mean difference that the paired two-sided test at level ``alpha`` finds with chance ``power``.

    In the unit of ``sd``, the standard deviation of the differences. The power is that of the t test, which the sign-flip
    test comes close to on normal differences; infinite where so few seeds cannot reach ``alpha`` at all.

    Raises:
        ValueError: ``alpha`` and ``power`` are not 0 < alpha < power < 1.
    """
    from scipy.optimize import brentq

    _check(alpha, power)
    if seeds < 2 or smallest_p(seeds) > alpha:
        return math.inf
    return sd * float(brentq(lambda d: _power(d, seeds, alpha / 2) - power, 0.0, CERTAIN / seeds**0.5))


def seeds_needed(
    differences: np.ndarray,
    margin: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
    level: float = 0.95,
    alternative: str = "two-sided",
) -> SeedsNeeded:
    """How many seeds would tell a true mean like that of ``differences`` [n] from ``margin``, with chance ``power``.

    Never fewer than the sign-flip test needs to reach ``alpha``. The interval follows from the ``level`` interval of the
    effect size: with few seeds it is wide, and says so. It is a plan for a new study on fresh seeds, not a licence to add
    some to this one.

    Args:
        margin: what the mean is told from, with its sign: -0.01 for "worse by no more than 0.01".
        alternative: "two-sided", or "greater" for the one-sided tests against a margin, which need fewer.

    Raises:
        ValueError: fewer than two differences, another alternative, or not 0 < alpha < power < 1.
    """
    _check(alpha, power)
    if alternative not in ("two-sided", "greater"):
        raise ValueError(f"alternative {alternative!r}: expected two-sided or greater")
    values = known(differences)
    if len(values) < 2:
        raise ValueError(f"{len(values)} differences; a plan needs two")
    effect = effect_of(centred(values, margin), level)
    size, low, high = effect.size, effect.low, effect.high
    if alternative == "two-sided":
        alpha /= 2
        size, low, high = _apart(size, low, high)
    return SeedsNeeded(*(_seeds(d, alpha, power) for d in (size, high, low)))


def _apart(size: float, low: float, high: float) -> tuple[float, float, float]:
    """Effect and interval by their distance from 0."""
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return abs(size), nearest, max(abs(low), abs(high))


def _seeds(effect: float, alpha: float, power: float) -> float:
    """The fewest seeds with which a one-sided test at ``alpha`` finds ``effect`` with chance ``power``."""
    from scipy import stats

    if effect < HOPELESS:
        return math.inf
    least = next(n for n in itertools.count(2) if 2.0**-n <= alpha)
    if effect > CERTAIN / least**0.5:
        return least
    normal = math.ceil(float((stats.norm.isf(alpha) + stats.norm.ppf(power)) / effect) ** 2)
    if normal > MANY:
        return normal
    # The t test needs a few more than the normal one.
    return next(n for n in itertools.count(max(least, normal)) if _power(effect, n, alpha) >= power)


def _power(effect: float, seeds: int, alpha: float) -> float:
    """Power of the one-sided t test at ``alpha``; a two-sided one at 2 ``alpha`` finds the wrong sign besides, if anything."""
    from statsmodels.stats.power import TTestPower

    return float(TTestPower().power(effect, seeds, alpha, alternative="larger"))


def _check(alpha: float, power: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"alpha {alpha} and power {power}: expected 0 < alpha < power < 1")
