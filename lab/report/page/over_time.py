"""Charts of what changes over training: accuracy on the tasks met, on each task, forgetting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lab.comparison.cells import Cell, blocks
from lab.report import lags
from lab.report.curves import Timeline, begins, by_steps, by_tasks, forgetting_of_tasks_met, of_tasks_met, thinned
from lab.report.drawing import COLOURS
from lab.report.page import series
from lab.report.page.charts import BANDS, COLOUR, DASHED, GREY, HOVER, Chart, number, spec
from lab.report.page.series import Point
from lab.results import Results

MOST_LINES = len(COLOURS)
"""Tasks of a run that get a line of their own."""

FEW = 30
"""Places at which a line's points are marked."""


def learning(cells: list[Cell]) -> list[Chart]:
    """Accuracy on the tasks met, a chart for each environment."""
    return list(_by_cell(cells, of_tasks_met, "Accuracy on tasks met", "Mean accuracy on the tasks met so far."))


def forgetting(cells: list[Cell]) -> list[Chart]:
    """Forgetting of earlier tasks, a chart for each environment that has any."""
    caption = "The best accuracy that each earlier task had after a task, less what it has now; mean over earlier tasks."
    return list(_by_cell(cells, forgetting_of_tasks_met, "Forgetting", caption))


def _by_cell(cells: list[Cell], of: Callable[[Timeline], np.ndarray], title: str, caption: str) -> Iterator[Chart]:
    for block in blocks(cells):
        curved = all(cell.results.curves for cell in block)
        times = {cell.name: (by_steps if curved else by_tasks)(cell.results) for cell in block}
        lines = {name: series.line(time, of(time)) for name, time in times.items()}
        without = [name for name, points in lines.items() if not points]
        if len(without) < len(lines):
            missing = f" Undefined for {', '.join(without)}." if without else ""
            x = next(iter(times.values())).label
            yield _chart(f"{title}: {block[0].environment}", caption + missing, lines, x, begins(times.values()), title.lower())


def by_task(cell: Cell) -> list[Chart]:
    """One run's accuracy on each of its tasks, if any seed has one."""
    time, total = by_steps(cell.results), cell.results.accuracy.shape[2]
    tasks = thinned(np.arange(total), MOST_LINES)
    lines = {f"task {task + 1}": series.line(time, time.accuracy[:, :, task]) for task in tasks}
    some = f" {len(tasks)} of {total} tasks, evenly spaced." if len(tasks) < total else ""
    caption = f"Before and after each was trained on.{some}"
    known = any(lines.values())
    return [_chart("Accuracy on each task", caption, lines, time.label, begins([time]), "accuracy")] if known else []


def learnt(cells: list[Cell]) -> list[Chart]:
    """How fast tasks are learnt, for each environment: the target after new weights, the area under each one's learning curve,
    and steps to the criterion."""
    target = "From when the weights began anew; what was learnt before went with them."
    area = "Of the accuracy on each task over its own phase. Where it rises, later tasks are learnt faster."
    steps = "From a task's begin to the first evaluation with the accuracy evaluation.criterion; at most its whole phase."
    return [
        *_by_number(cells, lags.on_target, "Accuracy on the target", target, "steps since the weights began anew"),
        *_by_number(cells, lags.areas_by_task, "Area under the learning curve", area, "task"),
        *_by_number(cells, lags.steps_by_task, "Steps to the criterion", steps, "task"),
    ]


def forgetting_by_lag(cells: list[Cell]) -> list[Chart]:
    """Forgetting against the time since, on logarithmic axes, for each environment."""
    fits = [f"{cell.name}: {lags.exponent(cell.results)}" for cell in cells if lags.exponent(cell.results)]
    caption = f"How much less is known of a task so many tasks later. Fitted powers t^b: {'; '.join(fits)}."
    return list(_by_number(cells, lags.by_lag, "Forgetting by lag", caption, "lag in tasks", log=True)) if fits else []


def _by_number(
    cells: list[Cell], of: Callable[[Results], lags.Series], title: str, caption: str, x: str, log: bool = False
) -> Iterator[Chart]:
    for block in blocks(cells):
        found = {cell.name: of(cell.results) for cell in block}
        lines = {name: series.line(each, each.values) for name, each in found.items()}
        if log:
            lines = {name: [point for point in points if point.mean >= lags.LEAST_SHOWN] for name, points in lines.items()}
        lines = {name: points for name, points in lines.items() if points}
        if lines:
            yield _chart(f"{title}: {block[0].environment}", caption, lines, x, [], title.lower(), log)


def _chart(
    title: str, caption: str, lines: dict[str, list[Point]], unit: str, starts: list[float], y: str, log: bool = False
) -> Chart:
    values = [point.row(name) for name, points in lines.items() for point in points]
    x = f"training {unit}" if unit == "steps" else unit
    last = {"domainMax": max(value["x"] for value in values), "nice": False} | ({"type": "log"} if log else {})
    axis = number("x", x, axis={"grid": False, "tickMinStep": 1, "tickCount": 8}, scale=last)
    if log:  # where an interval goes below what is shown, its band ends at the edge
        values = [value | {"low": value["low"] and max(value["low"], lags.LEAST_SHOWN)} for value in values]
    rows = [(name, [name, f"{p.x:g}", *p.cells()]) for name, points in lines.items() for p in points]
    hover = {"x": x, "mean": y, "between": "95 % interval", "seeds": "seeds"}
    drawn = spec(values, hover, layer=_layers(values, starts, x, y, log), encoding={"x": axis, "color": COLOUR}, height=280)
    rules = " Vertical lines: a task begins." if starts else ""
    return Chart(title, f"{caption} {BANDS}{rules}", drawn, ["", x, f"{y}, mean", "95 % interval", "seeds"], rows)


def _layers(values: list[dict], starts: list[float], x: str, y: str, log: bool) -> list[dict[str, Any]]:
    """Where tasks begin; bands; lines; and the points that answer to hovering, the nearest one shown."""
    few = len({value["x"] for value in values}) <= FEW
    scale = {"type": "log", "domain": [lags.LEAST_SHOWN, 1]} if log else {"zero": y == "forgetting"}
    mean = number("mean", y, scale=scale)
    hover = {"name": "under", "select": {"type": "point", "nearest": True, "on": "pointerover", "clear": "pointerout"}}
    opacity = {"condition": {"param": "under", "empty": False, "value": 1}, "value": 0}
    rules = {
        "data": {"values": [{"x": step} for step in starts]},
        "mark": {"type": "rule", "opacity": 0.35},
        "encoding": {"x": number("x", x), "color": GREY},
    }
    return [
        *([rules] if starts else []),
        {"mark": {"type": "area", "opacity": 0.18}, "encoding": {"y": number("low", y), "y2": {"field": "high"}}},
        {
            "mark": {"type": "line", "strokeWidth": 2, "point": {"size": 40} if few else False},
            "encoding": {"y": mean, "strokeDash": DASHED},
        },
        {
            "params": [hover],
            "mark": {"type": "point", "filled": True, "size": 90} | HOVER,
            "encoding": {"y": mean, "opacity": opacity},
        },
    ]
