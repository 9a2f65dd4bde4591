"""Standardised effect sizes of paired differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lab.statistics.estimates import spread

FARTHEST = 1_000.0
"""The largest t at which the noncentral t distribution is computed; beyond, it only scales."""


@dataclass(frozen=True)
class Effect:
    """The mean difference in standard deviations of the differences, d_z."""

    size: float
    corrected: float
    """``size`` without its bias (Hedges' correction); NaN for two differences, where no factor removes it."""
    low: float
    high: float
    """The interval of the true d_z."""


def effect_of(differences: np.ndarray, level: float = 0.95) -> Effect:
    """The effect size of ``differences`` [n >= 2]: infinite with no width, or 0, where all are alike."""
    mean, sd = float(differences.mean()), spread(differences)
    if sd == 0:
        limit = float(np.copysign(np.inf, mean)) if mean else 0.0
        return Effect(limit, limit, limit, limit)
    df, root = len(differences) - 1, len(differences) ** 0.5
    low, high = _noncentrality(mean / sd * root, df, level)
    return Effect(mean / sd, mean / sd * _unbiasing(df), low / root, high / root)


def _unbiasing(m: int) -> float:
    """J(m) = G(m/2) / (sqrt(m/2) G((m-1)/2)) for m degrees of freedom (Hedges 1981, equation 6e)."""
    from scipy.special import gammaln

    return float(np.exp(gammaln(m / 2) - gammaln((m - 1) / 2)) / np.sqrt(m / 2)) if m > 1 else np.nan


def _noncentrality(t: float, df: int, level: float) -> tuple[float, float]:
    """Those noncentralities under which ``t`` is just not too high and just not too low (Steiger & Fouladi 1997)."""
    if t < 0:
        low, high = _noncentrality(-t, df, level)
        return -high, -low
    if t > FARTHEST:  # the normal in the numerator no longer counts: t and noncentrality grow in proportion
        low, high = _noncentrality(FARTHEST, df, level)
        return low * t / FARTHEST, high * t / FARTHEST
    tail = (1 - level) / 2
    return _inverted(t, df, tail), _inverted(t, df, 1 - tail)


def _inverted(t: float, df: int, p: float) -> float:
    """The noncentrality with P(T > t) = ``p``, for t >= 0."""
    from scipy import stats
    from scipy.optimize import brentq

    def excess(noncentrality: float) -> float:
        # Not cdf, which is NaN here and there.
        return float(stats.nct.sf(t, df, noncentrality)) - p

    z = abs(float(stats.norm.ppf(p)))
    high = t + z + 1
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, -z - 1, high))
