"""What so many seeds can say, and how many would say more."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from lab.statistics.effects import effect_of
from lab.statistics.estimates import centred, estimate, known, spread
from lab.statistics.paired import EXACT_TO, RESAMPLES

CERTAIN = 20.0
"""Noncentrality at which every test here that can find anything finds it."""
MANY = 1_000_000
"""Seeds beyond which Student's t is the normal distribution."""
SAMPLED_LEAST = 2 / (RESAMPLES + 1)
"""The smallest two-sided p of random flips, twice that of one side."""
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
    """The smallest p of the two-sided sign-flip test of ``seeds`` pairs after Holm's or Bonferroni's correction: m 2 / 2^n, and
    beyond the exact test what so many random flips can give."""
    least = 2.0 ** (1 - seeds) if seeds <= EXACT_TO else SAMPLED_LEAST
    return min(1.0, comparisons * least)


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
) -> SeedsNeeded:
    """How many seeds would tell a true mean like that of ``differences`` [n] from ``margin``, with chance ``power``.

    Never fewer than the sign-flip test needs to reach ``alpha``. The interval follows from the ``level`` interval of the
    effect size: with few seeds it is wide, and says so. It is a plan for a new study on fresh seeds, not a licence to add
    some to this one.

    Args:
        margin: what the mean is told from, with its sign: -0.01 for "worse by no more than 0.01".
        alpha: of both sides together.

    Raises:
        ValueError: fewer than two differences, or not 0 < alpha < power < 1.
    """
    _check(alpha, power)
    effect = effect_of(centred(_two_or_more(differences), margin), level)
    size, low, high = _apart(effect.size, effect.low, effect.high)
    return SeedsNeeded(*(_seeds(d, alpha / 2, power) for d in (size, high, low)))


def seeds_for_equivalence(
    differences: np.ndarray, margin: float, alpha: float = 0.05, power: float = 0.8, level: float = 0.95
) -> SeedsNeeded:
    """How many seeds would decide by two one-sided tests at ``alpha`` / 2 whether a true mean like that of ``differences`` [n]
    lies within ``margin`` of 0.

    Within it both tests must succeed: the chance is at least the sum of theirs less 1. Beyond it, one test of the contrary. On
    an edge no number decides. The interval is over the means in the ``level`` interval of the mean.

    Raises:
        ValueError: fewer than two differences, or not 0 < alpha < power < 1.
    """
    _check(alpha, power)
    values = _two_or_more(differences)
    found, sd = estimate(values, level), spread(values)
    nearest = min(max(0.0, found.low), found.high)
    seeds = [_to_equivalence(mean, sd, margin, alpha / 2, power) for mean in (found.mean, nearest, found.low, found.high)]
    edges = any(found.low <= edge <= found.high for edge in (-margin, margin))
    return SeedsNeeded(seeds[0], min(seeds), math.inf if edges else max(seeds))


def _to_equivalence(mean: float, sd: float, margin: float, alpha: float, power: float) -> float:
    """Seeds with which a true ``mean`` is found within ``margin``, or beyond it."""
    if sd == 0:
        return _seeds(math.inf if abs(mean) != margin else 0.0, alpha, power)
    near, far = (margin - abs(mean)) / sd, (margin + abs(mean)) / sd
    if near <= 0:
        return _seeds(-near, alpha, power)
    least = _seeds(near, alpha, power)  # of the nearer edge alone
    if least > MANY:
        return least
    return next(n for n in itertools.count(int(least)) if _power(near, n, alpha) + _power(far, n, alpha) - 1 >= power)


def _two_or_more(differences: np.ndarray) -> np.ndarray:
    values = known(differences)
    if len(values) < 2:
        raise ValueError(f"{len(values)} differences; a plan needs two")
    return values


def _apart(size: float, low: float, high: float) -> tuple[float, float, float]:
    """Effect and interval by their distance from 0."""
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return abs(size), nearest, max(abs(low), abs(high))


def _seeds(effect: float, alpha: float, power: float) -> float:
    """The fewest seeds with which a one-sided test at ``alpha`` finds ``effect`` with chance ``power``."""
    from scipy import stats

    if effect < HOPELESS or alpha < SAMPLED_LEAST / 2:
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
