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
    """``mean_{j<T} min`` of the accuracy on task j over the evaluations after it (De Lange et al. 2023): ``[M]``."""
    total = curves.shape[2]
    lowest = [curves[:, np.asarray(tasks) > j + 1, j].min(1) for j in range(total - 1)]
    return np.mean(lowest, 0)


def worst_case_accuracy(R: Array, curves: Array, tasks: Array) -> Array:
    """``R[T, T] / T + (1 - 1/T) min_accuracy`` (De Lange et al. 2023, WC-ACC): ``[M]``."""
    share = 1 / R.shape[2]
    return share * R[:, -1, -1] + (1 - share) * min_accuracy(curves, tasks)


def aulc(curves: Array, steps: Array, tasks: Array) -> Array:
    """Area under the learning curve: the accuracy on each task over its own phase, by trapezoids, mean over tasks: ``[M]``.

    The phase of task j runs from the last evaluation before it to its last own one.
    """
    areas = []
    for j in range(curves.shape[2]):
        own = np.flatnonzero(np.asarray(tasks) == j + 1)
        points = np.r_[own[0] - 1, own]
        span = steps[points[-1]] - steps[points[0]]
        areas.append(np.trapezoid(curves[:, points, j], np.asarray(steps)[points], axis=1) / span)
    return np.mean(areas, 0)


def measure(R: Array, curves: dict | None, diverged: list[int | None]) -> tuple[dict[str, Array], dict[str, str]]:
    """All measures ``{name: [M]}`` and, for those that are undefined, why.

    ``curves``: ``{"steps": [E], "task": [E] (0 before training), "accuracy": [M, E, T]}`` or None.
    """
    of_tensor = (accuracy, learning_accuracy, backward_transfer, forgetting, forward_transfer, plasticity_loss)
    values = {f.__name__: f(R) for f in of_tensor}
    reasons = {}
    single = R.shape[2] == 1
    joint = not single and np.isnan(R[:, 1:-1]).all() and not np.isnan(R[:, -1]).all()
    for name in values:
        if single and name not in ("accuracy", "learning_accuracy"):
            reasons[name] = "there is only one task"
        elif joint and name != "accuracy":
            reasons[name] = "all tasks were trained at once: there is no accuracy after single tasks"
    if "forward_transfer" not in reasons and np.isnan(R[:, 0]).all():
        reasons["forward_transfer"] = "in the class-incremental scenario a task cannot be answered before its classes are met"
    values |= _curve_measures(R, curves, single, joint, reasons)
    for name in reasons:
        values[name] = np.full(len(R), np.nan)
    lost = np.array([step is not None for step in diverged])
    values = {name: np.where(lost, np.nan, value) for name, value in values.items()}
    why = "every member diverged" if lost.all() else "not all that it needs was evaluated (evaluation.tasks)"
    reasons |= {name: why for name, value in values.items() if name not in reasons and np.isnan(value).all()}
    return values, reasons


def _curve_measures(R: Array, curves: dict | None, single: bool, joint: bool, reasons: dict[str, str]) -> dict[str, Array]:
    names = ("anytime_accuracy", "min_accuracy", "worst_case_accuracy", "aulc")
    nothing = {name: np.full(len(R), np.nan) for name in names}
    if curves is None:
        reasons.update(dict.fromkeys(names, "no curves were recorded; set evaluation.every"))
        return nothing
    steps, tasks, points = np.array(curves["steps"]), np.array(curves["task"]), np.asarray(curves["accuracy"])
    if joint:
        reasons.update(dict.fromkeys(names[1:], "all tasks were trained at once"))
        return nothing | {"anytime_accuracy": anytime_accuracy(points, tasks)}
    own = aulc(points, steps, tasks)
    if np.isnan(own).all():
        reasons["aulc"] = "in the class-incremental scenario a task cannot be answered before its classes are met"
    if single:
        reasons.update(dict.fromkeys(names[1:3], "there is only one task"))
        return nothing | {"anytime_accuracy": anytime_accuracy(points, tasks), "aulc": own}
    return {
        "anytime_accuracy": anytime_accuracy(points, tasks),
        "min_accuracy": min_accuracy(points, tasks),
        "worst_case_accuracy": worst_case_accuracy(R, points, tasks),
        "aulc": own,
    }


def _learnt(R: Array) -> Array:
    own = np.arange(R.shape[2])
    return R[:, own + 1, own]


def _mean(values: Array) -> Array:
    """Mean over the last axis; NaN for none at all."""
    return values.mean(-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _largest(values: Array) -> Array:
    """The largest value over axis 1 that was evaluated; NaN where none was."""
    known = np.where(np.isnan(values), -np.inf, values).max(1)
    return np.where(np.isneginf(known), np.nan, known)
