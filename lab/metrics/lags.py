"""Forgetting as a function of time: how much less is known of a task so many tasks later, and the power law through it.

Of the accuracy tensor ``R[m, i, j]`` as in :mod:`lab.metrics.accuracy`.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

LEAST_LAGS = 3
"""A curve of two parameters goes through any two points."""
_STEEPEST = 4.0
_GRID = np.linspace(-1, 1, 401)


def forgetting_by_lag(R: Array) -> tuple[Array, Array]:
    """``mean_j (R[j, j] - R[j + t, j])`` over the tasks that were evaluated at lag t = 1 .. T - 1: ``[M, T - 1]``, NaN where
    none was; and how many these were, ``[M, T - 1]``."""
    tasks = R.shape[2]
    own = np.arange(tasks)
    learnt = R[:, own + 1, own]
    values, counts = np.full((len(R), tasks - 1), np.nan), np.zeros((len(R), tasks - 1), dtype=int)
    for t in range(1, tasks):
        lost = learnt[:, : tasks - t] - R[:, own[: tasks - t] + 1 + t, own[: tasks - t]]
        known = ~np.isnan(lost)
        counts[:, t - 1] = known.sum(1)
        values[:, t - 1] = np.where(known, lost, 0).sum(1) / np.where(counts[:, t - 1], counts[:, t - 1], np.nan)
    return values, counts


def power_law(values: Array, counts: Array) -> tuple[Array, Array]:
    """The curve ``a t^b`` through ``values`` ``[M, L]`` at lags t = 1 .. L: ``a`` and ``b``, each ``[M]``.

    By least squares, each lag weighted with the number of tasks behind it, for each b at the best a, which is linear. NaN where
    fewer than three lags are known, where nothing is forgotten on the whole (a <= 0), or where no b within -4 and 4 is best.
    """
    known = ~np.isnan(values)
    weights, values = np.where(known, counts, 0), np.where(known, values, 0)
    lags = np.arange(1, values.shape[1] + 1)
    best = np.zeros(len(values))
    for width in (_STEEPEST, 2 * _STEEPEST / 200, 2 * _STEEPEST / 200**2):  # each grid within two cells of the one before
        candidates = best[:, None] + width * _GRID
        best = np.take_along_axis(candidates, _explained(values, weights, lags, candidates).argmax(1)[:, None], 1)[:, 0]
    curves = lags ** best[:, None]
    scale = _safe((weights * values * curves).sum(1), (weights * curves**2).sum(1))
    sound = (known.sum(1) >= LEAST_LAGS) & (scale > 0) & (np.abs(best) < _STEEPEST)
    return np.where(sound, scale, np.nan), np.where(sound, best, np.nan)


def forgetting_exponent(R: Array) -> Array:
    """b of the power law ``a t^b`` of forgetting over lags (:func:`power_law`): ``[M]``."""
    return power_law(*forgetting_by_lag(R))[1]


def counts_by_lag(counts: Array, completed: list[int]) -> Array:
    """``counts`` ``[P, T]`` of something about each task in each phase, which completes the task ``completed`` ``[P]``, by how
    many tasks ago a task was new: ``[P, T - 1]`` for 1, 2, ..; NaN where no task was, before, in a phase of its own."""
    found = np.full((len(counts), counts.shape[1] - 1), np.nan)
    for phase, task in enumerate(completed):
        earlier = np.array(completed[:phase], dtype=int)  # joint training has none: what it shows was not met before
        earlier = earlier[earlier < task]
        found[phase, task - earlier - 1] = counts[phase, earlier]
    return found


def _explained(values: Array, weights: Array, lags: Array, exponents: Array) -> Array:
    """The part of the sum of squares ``[M, G]`` that curves of the exponents ``[M, G]`` explain, at the best a above 0."""
    curves = lags ** exponents[..., None]
    along = (weights[:, None] * values[:, None] * curves).sum(2)
    return np.where(along > 0, _safe(along**2, (weights[:, None] * curves**2).sum(2)), 0)


def _safe(over: Array, under: Array) -> Array:
    return np.divide(over, under, out=np.zeros_like(over, dtype=float), where=under > 0)
