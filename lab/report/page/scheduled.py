"""Charts of what was scheduled: the learning rate, and how good the samples are that are met, over training."""

from __future__ import annotations

from typing import Any

import numpy as np

from lab.comparison.cells import Cell, blocks
from lab.report.page.charts import BANDS, COLOUR, DASHED, GREY, HOVER, SHOWN, Chart, number, spec
from lab.report.scheduled import MOST_ENDS, kind_of_score, learning_rates, over_decades, plain
from lab.report.summary import interval, mean_over_members

X = "training step"


def charts(cells: list[Cell]) -> list[Chart]:
    """Learning rates and qualities, for each environment; none where nothing was scheduled in any cell."""
    known = [cell for cell in cells if cell.results.scheduled]
    scored = [cell for cell in known if cell.results.scheduled["quality"] is not None]
    if all(plain(cell.results.config) for cell in known):
        return []
    return [*map(_rates, blocks(known)), *map(_qualities, blocks(scored))]


def _rates(cells: list[Cell]) -> Chart:
    found = {cell.name: learning_rates(cell.results.scheduled, cell.results.config) for cell in cells}
    values = [
        {"series": cell.name, "x": step, "rate": _digits(rate)}
        for cell in cells
        for step, rate in zip(cell.results.scheduled["steps"], mean_over_members(found[cell.name]), strict=True)
        if np.isfinite(rate)
    ]
    y = number("rate", "learning rate", scale={"type": "log"} if over_decades(list(found.values())) else {"zero": True})
    taken = [point for cell in cells for point in _taken(cell, found[cell.name])]
    circles = {
        "data": {"values": taken},
        "transform": [SHOWN],
        "mark": {"type": "point", "size": 40, "filled": False},
        "encoding": {"y": y, "color": COLOUR},
    }
    caption = "Mean over seeds." + " Circles: weights are taken in for an average." * bool(taken)
    every = {cell.name: cell.results.scheduled["every"] for cell in cells}
    caption += "".join(f" {name}: weights are taken in every {steps} steps." for name, steps in every.items() if steps)
    layers = [_line(y), *([circles] if taken else []), _hovered(y)]
    rows = [(value["series"], [value["series"], str(value["x"]), f"{value['rate']:g}"]) for value in values]
    drawn = _over_steps(values, {"x": X, "rate": "learning rate"}, layers, cells)
    return Chart(f"Learning rate: {cells[0].environment}", caption + _told(cells), drawn, ["", X, "learning rate"], rows)


def _taken(cell: Cell, found: np.ndarray) -> list[dict[str, Any]]:
    """Where the first member's weights are taken in."""
    mean, steps = mean_over_members(found), np.array(cell.results.scheduled["steps"])
    known = ~np.isnan(mean)
    taken = cell.results.scheduled["snapshots"][0]
    at = np.interp(taken, steps[known], mean[known])
    return [{"series": cell.name, "x": step, "rate": _digits(rate)} for step, rate in zip(taken, at, strict=True)]


def _qualities(cells: list[Cell]) -> Chart:
    name = f"mean {kind_of_score(cells[0].results.config)} of samples met"
    values = []
    for cell in cells:
        known = np.asarray(cell.results.scheduled["quality"], dtype=float)
        for step, column in zip(cell.results.scheduled["steps"], known.T, strict=True):
            mean, low, high = map(_digits, interval(column))
            between = "-" if low is None else f"{low:g} to {high:g}"
            values.append({"series": cell.name, "x": step, "quality": mean, "low": low, "high": high, "between": between})
    values = [value for value in values if value["quality"] is not None]
    y = number("quality", name, scale={"zero": False})
    area = {"mark": {"type": "area", "opacity": 0.18}, "encoding": {"y": number("low", name), "y2": {"field": "high"}}}
    hover = {"x": X, "quality": name, "between": "95 % interval"}
    drawn = _over_steps(values, hover, [area, _line(y), _hovered(y)], cells)
    rows = [(v["series"], [v["series"], str(v["x"]), f"{v['quality']:g}", v["between"]]) for v in values]
    title = f"{name.capitalize()}: {cells[0].environment}"
    return Chart(title, f"Of those around each step. {BANDS}{_told(cells)}", drawn, ["", X, name, "95 % interval"], rows)


# --- what both have ---------------------------------------------------------------------------------------------------


def _over_steps(values: list[dict], hover: dict[str, str], layers: list[dict], cells: list[Cell]) -> dict[str, Any]:
    last = {"domainMax": max(value["x"] for value in values), "nice": False}
    axis = number("x", X, axis={"grid": False, "tickMinStep": 1, "tickCount": 8}, scale=last)
    rules = {
        "data": {"values": [{"x": end} for end in _ends(cells)]},
        "mark": {"type": "rule", "opacity": 0.35},
        "encoding": {"color": GREY},
    }
    layers = [*([rules] if _ends(cells) else []), *layers]
    return spec(values, hover, layer=layers, encoding={"x": axis, "color": COLOUR}, height=220)


def _line(y: dict[str, Any]) -> dict[str, Any]:
    return {"mark": {"type": "line", "strokeWidth": 2}, "encoding": {"y": y, "strokeDash": DASHED}}


def _hovered(y: dict[str, Any]) -> dict[str, Any]:
    """The points that answer to hovering, the nearest one shown."""
    select = {"type": "point", "nearest": True, "on": "pointerover", "clear": "pointerout"}
    return {
        "params": [{"name": "under", "select": select}],
        "mark": {"type": "point", "filled": True, "size": 90} | HOVER,
        "encoding": {"y": y, "opacity": {"condition": {"param": "under", "empty": False, "value": 1}, "value": 0}},
    }


def _ends(cells: list[Cell]) -> list[int]:
    """The steps at which tasks end, but for the last, where they are the same for all and few."""
    ends = {tuple(cell.results.scheduled["tasks"][:-1]) for cell in cells}
    own = list(ends.pop()) if len(ends) == 1 else []
    return own if len(own) < MOST_ENDS else []


def _told(cells: list[Cell]) -> str:
    return " Vertical lines: a task ends." if _ends(cells) else ""


def _digits(value: float) -> float | None:
    """To four significant digits, for JSON, which knows no NaN."""
    return float(f"{value:.4g}") if np.isfinite(value) else None
