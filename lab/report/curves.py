"""What is learnt and what is forgotten as time goes by: series over steps or tasks, member by member."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from lab.results import Results


@dataclass(frozen=True)
class Timeline:
    """Accuracy on each task, evaluation after evaluation, of the members that did not diverge."""

    label: str
    """What ``where`` counts."""
    where: np.ndarray
    """``[E]``"""
    met: np.ndarray
    """``[E]``: how many tasks had been begun by then."""
    accuracy: np.ndarray
    """``[M, E, T]``"""
    after_tasks: np.ndarray
    """``[M, T + 1, T]``: the accuracy tensor."""


def settled(results: Results, name: str = "accuracy") -> np.ndarray:
    """The accuracy tensor, or another of the results' matrices, ``[M', T + 1, T]`` of the members that did not diverge, as the
    measures count them."""
    values = results.accuracy if name == "accuracy" else results.matrices[name]
    return values[[step is None for step in results.diverged]]


def by_tasks(results: Results) -> Timeline:
    """The rows of the accuracy matrix."""
    rows = settled(results)
    tasks = np.arange(rows.shape[1])
    return Timeline("tasks trained", tasks, tasks, rows, rows)


def by_steps(results: Results) -> Timeline:
    """The curves, where some were recorded, or else the rows of the matrix."""
    if not results.curves:
        return by_tasks(results)
    kept = [step is None for step in results.diverged]
    steps, tasks = np.array(results.curves["steps"]), np.array(results.curves["task"])
    return Timeline("steps", steps, tasks, np.asarray(results.curves["accuracy"])[kept], results.accuracy[kept])


def of_tasks_met(time: Timeline) -> np.ndarray:
    """Mean accuracy on the tasks met so far ``[M, E]``; NaN before the first."""
    return _over_evaluations(time, lambda e, met: time.accuracy[:, e, :met].mean(1) if met else None)


def forgetting_of_tasks_met(time: Timeline) -> np.ndarray:
    """Mean over the tasks before the present one of the best accuracy after an earlier task less that now ``[M, E]``.

    Its last value is the measure ``forgetting``; NaN before the second task.
    """

    def of(e: int, met: int) -> np.ndarray | None:
        if met < 2:
            return None
        best = np.fmax.reduce(time.after_tasks[:, 1:met, : met - 1], axis=1)
        return (best - time.accuracy[:, e, : met - 1]).mean(1)

    return _over_evaluations(time, of)


def begins(times: Iterable[Timeline]) -> list[float]:
    """The steps at which tasks begin, but for the first, if these are the same for all that train one task after the other;
    none where time is counted in tasks."""
    found = {tuple(time.where[:-1][(np.diff(time.met) > 0) & (time.met[:-1] > 0)]) for time in times if time.label == "steps"}
    found -= {()}
    return [float(step) for step in found.pop()] if len(found) == 1 else []


def thinned(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the values, evenly spaced, the first and the last among them.

    >>> thinned(np.arange(10), 4).tolist()
    [0, 3, 6, 9]
    """
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def _over_evaluations(time: Timeline, of: Callable[[int, int], np.ndarray | None]) -> np.ndarray:
    """``of(e, tasks met)`` of each evaluation, side by side."""
    nothing = np.full(len(time.accuracy), np.nan)
    columns = [of(e, met) for e, met in enumerate(time.met)]
    return np.stack([nothing if column is None else column for column in columns], 1)
