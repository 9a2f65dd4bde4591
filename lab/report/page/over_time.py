"""Charts of what changes over training: accuracy on the tasks met, on each task, forgetting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lab.comparison.cells import Cell, blocks
from lab.report.curves import Timeline, begins, by_steps, by_tasks, forgetting_of_tasks_met, of_tasks_met, thinned
from lab.report.drawing import COLOURS
from lab.report.page import series
from lab.report.page.charts import BANDS, COLOUR, DASHED, GREY, HOVER, Chart, number, spec
from lab.report.page.series import Point

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


def _chart(title: str, caption: str, lines: dict[str, list[Point]], unit: str, starts: list[float], y: str) -> Chart:
    values = [point.row(name) for name, points in lines.items() for point in points]
    x = f"training {unit}" if unit == "steps" else unit
    last = {"domainMax": max(value["x"] for value in values), "nice": False}
    axis = number("x", x, axis={"grid": False, "tickMinStep": 1, "tickCount": 8}, scale=last)
    rows = [(name, [name, f"{p.x:g}", *p.cells()]) for name, points in lines.items() for p in points]
    hover = {"x": x, "mean": y, "between": "95 % interval", "seeds": "seeds"}
    drawn = spec(values, hover, layer=_layers(values, starts, x, y), encoding={"x": axis, "color": COLOUR}, height=280)
    rules = " Vertical lines: a task begins." if starts else ""
    return Chart(title, f"{caption} {BANDS}{rules}", drawn, ["", x, f"{y}, mean", "95 % interval", "seeds"], rows)


def _layers(values: list[dict], starts: list[float], x: str, y: str) -> list[dict[str, Any]]:
    """Where tasks begin; bands; lines; and the points that answer to hovering, the nearest one shown."""
    few = len({value["x"] for value in values}) <= FEW
    mean = number("mean", y, scale={"zero": y == "forgetting"})
    hover = {"name": "under", "select": {"type": "point", "nearest": True, "on": "pointerover", "clear": "pointerout"}}
    opacity = {"condition": {"param": "under", "empty": False, "value": 1}, "value": 0}
    places = [{"x": step} for step in starts]
    return [
        {
            "data": {"values": places},
            "mark": {"type": "rule", "opacity": 0.35},
            "encoding": {"x": number("x", x), "color": GREY},
        },
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
