"""The numbers behind the charts: means and intervals over seeds, of what is measured again and again in a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.report.curves import Timeline, settled, thinned
from lab.report.lags import Series
from lab.report.summary import interval
from lab.results import Results

MOST_POINTS = 150
"""Points of a line that a page shows; of more, evenly spaced ones."""

MOST_TASKS = 40
"""Rows and columns of a matrix that a page shows; of more, evenly spaced ones."""

DIGITS = 4


@dataclass(frozen=True)
class Point:
    """A mean over seeds with its 95 % t interval; NaN where there are too few."""

    x: float
    mean: float
    low: float
    high: float
    seeds: int

    @property
    def between(self) -> str:
        """The interval in words; a dash where there is none."""
        return f"{self.low:.{DIGITS}f} to {self.high:.{DIGITS}f}" if np.isfinite(self.low) else "-"

    def row(self, series: str) -> dict[str, Any]:
        """The point as a chart takes it."""
        numbers = {key: rounded(getattr(self, key)) for key in ("mean", "low", "high")}
        return {"series": series, "x": int(self.x), **numbers, "between": self.between, "seeds": self.seeds}

    def cells(self) -> list[str]:
        """The point as a table shows it."""
        return [f"{self.mean:.{DIGITS}f}", self.between, str(self.seeds)]


def line(time: Timeline | Series, values: np.ndarray) -> list[Point]:
    """The points of values ``[M, E]`` at its places; none where no member has one."""
    known = np.flatnonzero((~np.isnan(values)).any(0))
    return [_point(time.where[e], values[:, e]) for e in thinned(known, MOST_POINTS)]


def matrix(results: Results, name: str = "accuracy") -> list[tuple[int, int, Point]]:
    """``(after task, on task, accuracy)``, or another of the results' matrices, tasks from 1, row 0 before training; without
    what was not evaluated."""
    values = settled(results, name)
    tasks = thinned(np.arange(values.shape[2]), MOST_TASKS)
    pairs = [(i, int(j)) for i in (0, *(int(task) + 1 for task in tasks)) for j in tasks]
    return [(i, j + 1, _point(j + 1, values[:, i, j])) for i, j in pairs if not np.isnan(values[:, i, j]).all()]


def rounded(value: float) -> float | None:
    """For JSON, which knows no NaN."""
    return round(float(value), DIGITS) if np.isfinite(value) else None


def _point(x: float, values: np.ndarray) -> Point:
    return Point(float(x), *interval(values), int((~np.isnan(values)).sum()))
