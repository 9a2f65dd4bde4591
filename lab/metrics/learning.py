"""How fast tasks are learnt, from the curves inside them, each over its own phase.

``curves`` ``[M, E, T]``, ``steps`` ``[E]`` and ``tasks`` ``[E]`` (how many had been begun at each evaluation, 0 before
training) as in :mod:`lab.metrics.accuracy`. The phase of a task runs from the last evaluation before it to its last own one;
tasks that are trained together have the same. Before a phase of the tasks ``fresh`` the weights begin anew: what was answered
before it is no point of its curve.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy import ndarray as Array


def areas(curves: Array, steps: Array, tasks: Array, fresh: Collection[int] = ()) -> Array:
    """Area under the learning curve of each task, by trapezoids, as a mean accuracy: ``[M, T]``."""
    found = []
    for j, points in enumerate(_phases(curves, tasks, fresh)):
        span = steps[points[-1]] - steps[points[0]]
        alone = curves[:, points[0], j]  # one evaluation since the weights began anew
        found.append(np.trapezoid(curves[:, points, j], np.asarray(steps)[points], axis=1) / span if span else alone)
    return np.stack(found, 1)


def aulc(curves: Array, steps: Array, tasks: Array, fresh: Collection[int] = ()) -> Array:
    """Area under the learning curve, mean over tasks: ``[M]``."""
    return areas(curves, steps, tasks, fresh).mean(1)


def target_aulc(curves: Array, steps: Array, tasks: Array, fresh: Collection[int]) -> Array:
    """Area under the learning curve, mean over the target's tasks, those since the weights last began anew: ``[M]``."""
    return areas(curves, steps, tasks, fresh)[:, max(fresh) :].mean(1)


def facilitation(curves: Array, steps: Array, tasks: Array, fresh: Collection[int] = ()) -> Array:
    """How much larger the area under the learning curve is of the last task than of the first, on the straight line through
    all tasks' (least squares): ``[M]``. Above 0, later tasks are learnt faster."""
    found = areas(curves, steps, tasks, fresh)
    number = np.arange(found.shape[1]) - (found.shape[1] - 1) / 2
    return (found * number).sum(1) / (number**2).sum() * (found.shape[1] - 1)


def steps_to(criterion: float, curves: Array, steps: Array, tasks: Array, fresh: Collection[int] = ()) -> tuple[Array, Array]:
    """Steps from each task's begin to the first evaluation at which it is answered with an accuracy of ``criterion``,
    ``[M, T]``, and whether it came to that; where not, the steps are those of its whole phase."""
    needed, reached, steps = [], [], np.asarray(steps)
    for j, points in enumerate(_phases(curves, tasks, fresh)):
        enough = curves[:, points, j] >= criterion
        first = np.where(enough.any(1), enough.argmax(1), len(points) - 1)
        begin = steps[points[0] - 1] if j in fresh else steps[points[0]]
        needed.append(steps[points][first] - begin)
        reached.append(enough.any(1))
    return np.stack(needed, 1).astype(float), np.stack(reached, 1)


def _phases(curves: Array, tasks: Array, fresh: Collection[int]) -> list[Array]:
    """For each task the numbers of the evaluations that its phase has."""
    tasks = np.asarray(tasks)
    own = [np.flatnonzero(tasks == tasks[tasks > j].min()) for j in range(curves.shape[2])]
    return [points if j in fresh else np.r_[points[0] - 1, points] for j, points in enumerate(own)]
