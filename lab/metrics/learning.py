"""How fast tasks are learnt, from the curves inside them, each over its own phase.

``curves`` ``[M, E, T]``, ``steps`` ``[E]`` and ``tasks`` ``[E]`` (how many had been begun at each evaluation, 0 before
training) as in :mod:`lab.metrics.accuracy`. The phase of a task runs from the last evaluation before it to its last own one.
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray as Array


def areas(curves: Array, steps: Array, tasks: Array) -> Array:
    """Area under the learning curve of each task, by trapezoids, as a mean accuracy: ``[M, T]``."""
    found = []
    for j, points in enumerate(_phases(curves, tasks)):
        span = steps[points[-1]] - steps[points[0]]
        found.append(np.trapezoid(curves[:, points, j], np.asarray(steps)[points], axis=1) / span)
    return np.stack(found, 1)


def aulc(curves: Array, steps: Array, tasks: Array) -> Array:
    """Area under the learning curve, mean over tasks: ``[M]``."""
    return areas(curves, steps, tasks).mean(1)


def facilitation(curves: Array, steps: Array, tasks: Array) -> Array:
    """How much larger the area under the learning curve is of the last task than of the first, on the straight line through
    all tasks' (least squares): ``[M]``. Above 0, later tasks are learnt faster."""
    found = areas(curves, steps, tasks)
    number = np.arange(found.shape[1]) - (found.shape[1] - 1) / 2
    return (found * number).sum(1) / (number**2).sum() * (found.shape[1] - 1)


def steps_to(criterion: float, curves: Array, steps: Array, tasks: Array) -> tuple[Array, Array]:
    """Steps from each task's begin to the first evaluation at which it is answered with an accuracy of ``criterion``,
    ``[M, T]``, and whether it came to that; where not, the steps are those of its whole phase."""
    needed, reached = [], []
    for j, points in enumerate(_phases(curves, tasks)):
        enough = curves[:, points, j] >= criterion
        first = np.where(enough.any(1), enough.argmax(1), len(points) - 1)
        needed.append(np.asarray(steps)[points][first] - steps[points[0]])
        reached.append(enough.any(1))
    return np.stack(needed, 1).astype(float), np.stack(reached, 1)


def _phases(curves: Array, tasks: Array) -> list[Array]:
    """For each task the numbers of the evaluations that its phase has."""
    own = [np.flatnonzero(np.asarray(tasks) == j + 1) for j in range(curves.shape[2])]
    return [np.r_[points[0] - 1, points] for points in own]
