"""What a run looks like in MLflow: a parent for the cell, a child for each member. Pure functions of results; no MLflow here.

Series carry the number of the task (`accuracy by task/...`) or of the training step (`accuracy by step/...`) as MLflow's step.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.cell import deciding, flat, of_each_member
from lab.report.curves import thinned
from lab.report.summary import cell_name, interval, mean_over_members, method_name, overall
from lab.results import Results
from lab.tracking import labels

LONGEST = 500
"""Characters of a parameter's value that every version of MLflow keeps."""

SHOWN = 20
"""Tasks that have a series of their own; of more, evenly spaced ones. `results.json` keeps them all."""

DIGITS = 6

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a description."""

Point = tuple[str, float, int]
"""A metric's name, value and step."""


@dataclass(frozen=True)
class Entry:
    """An MLflow run, before it is sent."""

    name: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    lost: bool = False
    """Whether the member diverged."""


def identity(folder: Path) -> str:
    """What tells this run from all others, wherever its directory lies: a hash of its results, wall time included."""
    return hashlib.sha256((folder / "results.json").read_bytes()).hexdigest()[:16]


def cell(results: Results, folder: Path) -> Entry:
    """The parent: means, standard deviations and 95 % intervals over members."""
    name = cell_name(results.config)
    lost = sum(step is not None for step in results.diverged)
    points = [*_summary(results), ("seeds", float(len(results.seeds)), 0), ("seeds_diverged", float(lost), 0)]
    points += [("wall_seconds", round(float(results.cost["wall_seconds"]), 2), 0), *_series_of_cell(results)]
    points += _diagnostics({name: mean_over_members(values) for name, values in results.diagnostics.items()})
    tags = (
        labels.tags(results)
        | labels.diverged(results)
        | {
            "lab.kind": labels.CELL,
            "seeds": _short(str(results.seeds)),
            "lab.folder": str(folder),
            NOTE: labels.of_cell(results, folder),
        }
    )
    return Entry(name, params(results.config), tags, points)


def members(results: Results) -> Iterator[Entry]:
    """The children, in the order of the seeds; none has what is undefined for it."""
    for m, (seed, diverged) in enumerate(zip(results.seeds, results.diverged, strict=True)):
        tags = labels.tags(results) | ({} if diverged is None else {"diverged": f"at step {diverged}"})
        tags |= {"lab.kind": labels.MEMBER, "cell": labels.group(results), NOTE: labels.of_member(results, m)}
        points = [(name, float(values[m]), 0) for name, values in results.metrics.items()]
        points += [] if diverged is None else [("diverged_at_step", float(diverged), 0)]
        points += _series(results, results.accuracy[m], results.curves and results.curves["accuracy"][m])
        points += _series_of_matrices({measure: matrix[m] for measure, matrix in results.matrices.items()})
        own = params(results.config, m, len(results.seeds)) | {"seed": str(seed)}
        figures = {name: values[m] for name, values in results.diagnostics.items()}
        yield Entry(f"seed {seed}", own, tags, [*_known(points), *_diagnostics(figures)], diverged is not None)


def params(config: dict[str, Any], member: int | None = None, count: int = 0) -> dict[str, str]:
    """What decides the numbers, flat, alike for a cell and its members (but for what is given one value a member).

    >>> params({"strategy": {"er": {"_target_": "strategies.er.ER", "memory": 500}}, "epochs": 1, "paths": {"runs": "runs"}})
    {'strategy': 'er', 'strategy.er': 'ER', 'strategy.er.memory': '500', 'epochs': '1'}
    """
    found = {"strategy": method_name(config)} | dict(flat(deciding(config)))
    if member is not None:
        found |= {key: str(values[member]) for key, values in of_each_member(config, count).items()}
    if "trainer" in config:
        found["precision"] = str(config["trainer"]["precision"])
    return {_allowed(key): _short(value) for key, value in found.items()}


def accuracy_table(results: Results) -> dict[str, list]:
    """The accuracy matrix as columns: the mean over members after each task, on each task; None where undefined."""
    mean = mean_over_members(results.accuracy)
    columns = {"after task": ["none", *map(str, range(1, len(mean)))]}
    for task in range(mean.shape[1]):
        columns[f"on task {task + 1}"] = [None if np.isnan(value) else round(float(value), 4) for value in mean[:, task]]
    return columns


def _summary(results: Results) -> Iterator[Point]:
    for name, values in results.metrics.items():
        found = overall(values)
        named = {name: found.mean, f"{name}_std": found.sd, f"{name}_low": found.low, f"{name}_high": found.high}
        yield from _known((key, float(value), 0) for key, value in named.items())


def _series_of_cell(results: Results) -> Iterator[Point]:
    """The members' mean series, and the edges of the interval around the accuracy on the tasks met."""
    curves = None if results.curves is None else mean_over_members(results.curves["accuracy"])
    yield from _series(results, mean_over_members(results.accuracy), curves)
    yield from _series_of_matrices({measure: mean_over_members(matrix) for measure, matrix in results.matrices.items()})
    for i in range(1, results.accuracy.shape[1]):
        _, low, high = interval(results.accuracy[:, i, :i].mean(1))
        yield from _known((f"accuracy by task/tasks met {edge}", value, i) for edge, value in (("low", low), ("high", high)))


def _series(results: Results, accuracy: np.ndarray, curves: np.ndarray | None) -> list[Point]:
    """Accuracy ``[T + 1, T]`` after each task and, where recorded, curves ``[E, T]``: on tasks met, and on single tasks."""
    points = [*_on_tasks_met("accuracy", accuracy), *_on_single_tasks("accuracy", accuracy)]
    if curves is not None:
        steps, met, shown = results.curves["steps"], results.curves["task"], thinned(np.arange(accuracy.shape[1]), SHOWN)
        points += [("accuracy by step/tasks met", curves[e, :t].mean(), steps[e]) for e, t in enumerate(met) if t]
        points += [(f"accuracy by step/on task {j + 1:02d}", curves[e, j], step) for j in shown for e, step in enumerate(steps)]
    return list(_known(points))


def _series_of_matrices(matrices: dict[str, np.ndarray]) -> list[Point]:
    """What else is measured after each task, ``[T + 1, T]`` each: on tasks met, and how far rules are broken on single ones,
    since that is how rules are forgotten."""
    points = [point for measure, matrix in matrices.items() for point in _on_tasks_met(measure, matrix)]
    for measure, matrix in matrices.items():
        points += _on_single_tasks(measure, matrix) if measure.startswith("violation") else []
    return list(_known(points))


def _on_tasks_met(measure: str, matrix: np.ndarray) -> list[Point]:
    return [(f"{measure} by task/tasks met", matrix[i, :i].mean(), i) for i in range(1, len(matrix))]


def _on_single_tasks(measure: str, matrix: np.ndarray) -> list[Point]:
    shown = thinned(np.arange(matrix.shape[1]), SHOWN)
    return [(f"{measure} by task/on task {j + 1:02d}", matrix[i, j], i) for j in shown for i in range(len(matrix))]


def _diagnostics(figures: dict[str, float]) -> list[Point]:
    """What strategies tell of themselves: to six significant digits, since a residual may be small."""
    return [(f"diagnostics/{name}", float(f"{value:.6g}"), 0) for name, value in figures.items() if np.isfinite(value)]


def _known(points: Any) -> Iterator[Point]:
    """Without what is undefined, and to the digits that one reads; `results.json` keeps them all."""
    return ((name, round(float(value), DIGITS), int(step)) for name, value, step in points if np.isfinite(value))


def _allowed(key: str) -> str:
    """The characters that MLflow's names may have (they are file names in some stores), and no more than they may be long."""
    return re.sub(r"[^\w.\- ]|^\.+", "_", key, flags=re.ASCII)[:250]


def _short(value: str) -> str:
    return value if len(value) <= LONGEST else value[: LONGEST - 3] + "..."
