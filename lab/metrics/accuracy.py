"""Measures of the accuracy tensor ``R[m, i, j]``: member m, after task i (row 0: before training), on task j.

Tasks count from 1 in the formulae, T of them. R may hold NaN where accuracy is undefined or was not evaluated.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array


def accuracy(R: Array) -> Array:
    """Final average accuracy, ``mean_j R[T, j]``: ``[M]``."""
    return R[:, -1].mean(1)


def learning_accuracy(R: Array) -> Array:
    """How well each task was learnt when it was trained, ``mean_j R[j, j]``: ``[M]``."""
    return _learnt(R).mean(1)


def backward_transfer(R: Array) -> Array:
    """What later tasks did to earlier ones, ``mean_{j<T} (R[T, j] - R[j, j])`` (Lopez-Paz & Ranzato 2017): ``[M]``."""
    return _mean(R[:, -1, :-1] - _learnt(R)[:, :-1])


def forgetting(R: Array) -> Array:
    """``mean_{j<T} (max_{1<=l<T} R[l, j] - R[T, j])`` (Chaudhry et al. 2018), over the rows that were evaluated: ``[M]``."""
    return _mean(_largest(R[:, 1:-1, :-1]) - R[:, -1, :-1]) if R.shape[2] > 1 else np.full(len(R), np.nan)


def forward_transfer(R: Array) -> Array:
    """What earlier tasks did for later ones, ``mean_{j>1} (R[j-1, j] - R[0, j])``: ``[M]``."""
    later = np.arange(1, R.shape[2])
    return _mean(R[:, later, later] - R[:, 0, later])


def plasticity_loss(R: Array) -> Array:
    """How much less of the last tasks is learnt than of the first, ``mean_{j<=k} R[j, j] - mean_{j>T-k} R[j, j]`` with
    k = T/5, rounded down, at least 1: ``[M]``. It says plasticity where tasks are equally hard (relabelled, permuted)."""
    own = _learnt(R)
    fifth = max(1, own.shape[1] // 5)
    return own[:, :fifth].mean(1) - own[:, -fifth:].mean(1)


def anytime_accuracy(curves: Array, tasks: Array) -> Array:
    """The mean over evaluations of the mean over tasks met: ``[M]``.

    ``curves`` ``[M, E, T]``; ``tasks`` ``[E]``: how many tasks had been met at each evaluation (0 before training).
    """
    values = [_mean(curves[:, e, :count]) for e, count in enumerate(tasks) if count]
    return np.mean(values, 0)


def min_accuracy(curves: Array, tasks: Array) -> Array:
    """``mean_{j<T} min`` of the accuracy on task j over the evaluations after it (De Lange et al. 2023): ``[M]``; of tasks that
    are trained together with the last one there are none."""
    tasks, total = np.asarray(tasks), curves.shape[2]
    ended = [tasks[tasks > j].min() for j in range(total - 1)]  # together with others, where several are trained at once
    lowest = [curves[:, tasks > end, j].min(1) for j, end in enumerate(ended) if end < tasks.max()]
    return np.mean(lowest, 0)


def worst_case_accuracy(R: Array, curves: Array, tasks: Array) -> Array:
    """``R[T, T] / T + (1 - 1/T) min_accuracy`` (De Lange et al. 2023, WC-ACC): ``[M]``."""
    share = 1 / R.shape[2]
    return share * R[:, -1, -1] + (1 - share) * min_accuracy(curves, tasks)


def _learnt(R: Array) -> Array:
    """Each task's accuracy when it had been trained, ``[M, T]``: together with later ones where its own row is not there."""
    there = ~np.isnan(R).all((0, 2))
    rows = [next((i for i in range(j + 1, len(there)) if there[i]), j + 1) for j in range(R.shape[2])]
    return R[:, rows, np.arange(R.shape[2])]


def _mean(values: Array) -> Array:
    """Mean over the last axis; NaN for none at all."""
    return values.mean(-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _largest(values: Array) -> Array:
    """The largest value over axis 1 that was evaluated; NaN where none was."""
    known = np.where(np.isnan(values), -np.inf, values).max(1)
    return np.where(np.isneginf(known), np.nan, known)
