"""Measures of matrices over pairs of tasks beside accuracy, ``[M, T + 1, T]`` each: where outputs have names and rules.

Letters and rows as in :mod:`lab.metrics.accuracy`.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array

from lab.metrics.measuring import ALONE

H = {"h_05": 0.5, "h_1": 1.0, "h_2": 2.0}
"""beta of each."""


def h_score(P: Array, S: Array, beta: float) -> Array:
    """``(1 + beta^2) P S / (beta^2 P + S)`` of the task's measure P and the share S that keeps the rules (our reconstruction of
    the H-beta score of Song & Lee 2024): their harmonic mean for beta 1, nearer to S above; 0 where both are 0."""
    under = beta**2 * P + S
    return np.where(under == 0, 0.0, (1 + beta**2) * P * S / np.where(under == 0, 1.0, under))


def with_h(matrices: dict[str, Array], P: Array) -> dict[str, Array]:
    """The matrices, and where violations are among them the H scores of the task's own measure ``P`` too."""
    if "violation" not in matrices:
        return matrices
    return matrices | {name: h_score(P, 1 - matrices["violation"], beta) for name, beta in H.items()}


def violation_forgetting(V: Array) -> Array:
    """What of the rules was forgotten, ``mean_{j<T} (V[T, j] - min_{j<=l<=T} V[l, j])``: how much more they are violated at the
    end than at best since a task was trained, of the tasks that were measured then: ``[M]``."""
    total = V.shape[2]
    best = [np.where(np.isnan(V[:, j + 1, j]), np.nan, np.fmin.reduce(V[:, j + 1 :, j], axis=1)) for j in range(total - 1)]
    return _mean_of_known(V[:, -1, :-1] - np.stack(best, 1)) if best else np.full(len(V), np.nan)


def of_matrices(matrices: dict[str, Array], diverged: list[int | None]) -> tuple[dict[str, Array], dict[str, str]]:
    """Of each matrix the mean over the tasks that have a value after the last task, ``{name: [M]}``, and the forgetting of
    rules; and, of those that are undefined, why."""
    values = {name: _mean_of_known(matrix[:, -1]) for name, matrix in matrices.items()}
    if "violation" in matrices:
        values["violation_forgetting"] = violation_forgetting(matrices["violation"])
    lost = np.array([step is not None for step in diverged])
    values = {name: np.where(lost, np.nan, value) for name, value in values.items()}
    why = "every member diverged" if lost.all() else "no task has anything that it is measured on"
    reasons = {name: why for name, value in values.items() if np.isnan(value).all()}
    if "violation_forgetting" in reasons and not lost.all():
        alone = matrices["violation"].shape[2] == 1
        reasons["violation_forgetting"] = ALONE if alone else "no earlier task was measured when it was trained"
    return values, reasons


def _mean_of_known(values: Array) -> Array:
    """Mean over the last axis of what is defined; NaN for none."""
    known = ~np.isnan(values)
    count = known.sum(-1)
    return np.where(count > 0, np.where(known, values, 0).sum(-1) / np.maximum(count, 1), np.nan)
