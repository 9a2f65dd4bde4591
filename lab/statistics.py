"""Comparisons paired by seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """A - B over the seeds that both have."""

    difference: float
    low: float
    high: float
    p: float
    seeds: int


def paired(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Paired:
    """Mean difference of values ``[M]`` paired by position, its Student's t interval and the p-value of the two-sided
    sign-flip permutation test (exact up to 20 pairs, 100,000 random flips beyond).

    Pairs in which either is NaN are left out.

    Raises:
        ValueError: if fewer than two pairs are left.
    """
    from scipy import stats

    both = ~(np.isnan(a) | np.isnan(b))
    differences = (a - b)[both]
    if len(differences) < 2:
        raise ValueError(f"{len(differences)} seeds have both values; a comparison needs two")
    mean = float(differences.mean())
    spread = stats.sem(differences)
    low, high = stats.t.interval(level, len(differences) - 1, loc=mean, scale=spread) if spread else (mean, mean)
    exact = len(differences) <= 20
    test = stats.permutation_test(
        (differences,),
        lambda x, axis: x.mean(axis=axis),
        permutation_type="samples",
        n_resamples=np.inf if exact else 99_999,
        vectorized=True,
        rng=0,
    )
    return Paired(mean, float(low), float(high), float(test.pvalue), len(differences))
