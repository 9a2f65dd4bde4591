"""Charts of a sweep's page: what :mod:`lab.sweep.figures` draws, to hover over, with the settings of each trial."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np

from lab.report.page.charts import COLOUR, DASHED, HOVER, Chart, Rows, number, spec
from lab.sweep.axes import Axis, shown, words
from lab.sweep.found import COMPLETE, PRUNED, Arm, Found, Trial, reached
from lab.sweep.landscape import known, ranked
from lab.sweep.winning import standings

GOOD_TO_BAD = ["#0072B2", "#8a8a8a", "#E69F00"]
"""Told apart by the colour-blind, on a light page and on a dark one."""

DIGITS = 4


def settings(trial: Trial) -> str:
    """``optimizer.lr=0.03, strategy.er.memory=500``"""
    return ", ".join(f"{key}={shown(value)}" for key, value in trial.settings.items()) or "-"


def history(found: Found, objective: str) -> list[Chart]:
    """Each trial's objective in the order of trials, and the best so far as a line."""
    rows = [row for arm in found.arms for row in _steps(arm, objective)]
    if not any(row["value"] is not None for row in rows):
        return []
    name = words(objective)
    hover = {"trial": "trial", "value": name, "state": "state", "settings": "settings", "best": "best so far"}
    y = {"scale": {"zero": False}}
    dots = {
        "mark": {"type": "point", "size": 45} | HOVER,
        "encoding": {"y": number("value", name, **y), "fillOpacity": _filled("state", COMPLETE), "fill": COLOUR},
    }
    line = {
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {"y": number("best", name, **y), "strokeDash": DASHED},
    }
    x = number("trial", "trial", axis={"grid": False, "tickMinStep": 1, "tickCount": 8})
    drawn = spec(rows, hover, layer=[line, dots], encoding={"x": x, "color": COLOUR}, height=280)
    table = _table(rows, "series", "trial", "state", "value", "best")
    caption = "Dots are trials, hollow where pruned, at what they had reached; lines are the best complete trial so far."
    return [Chart(f"History: {name}", caption, drawn, ["", "trial", "state", name, "best so far"], table)]


def _steps(arm: Arm, objective: str) -> Iterator[dict[str, Any]]:
    best = reached(arm.trials, objective, arm.objectives[objective])
    for trial, so_far in zip(arm.trials, best, strict=True):
        value = trial.values[objective] if trial.state in (COMPLETE, PRUNED) else np.nan
        yield _row(arm, trial) | {"value": _number(value), "best": _number(so_far)}


def _row(arm: Arm, trial: Trial) -> dict[str, Any]:
    return {"series": arm.name, "trial": trial.number, "state": trial.state, "settings": settings(trial)}


def importances(found: Found, objective: str) -> list[Chart]:
    """How much of the objective's variance each setting explains."""
    rows = [
        {"series": arm.name, "setting": f"{arm.name}: {key}", "share": round(share, DIGITS)}
        for arm in found.arms
        for key, share in arm.importances[objective].items()
    ]
    if not rows:
        return []
    y = {"field": "setting", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 260, "grid": False}}
    x = number("share", "share of the variance", scale={"domain": [0, 1]})
    bars = {"mark": {"type": "bar"} | HOVER, "encoding": {"x": x, "y": y, "color": COLOUR}}
    drawn = spec(rows, {"setting": "setting", "share": "share"}, **bars, height={"step": 22})
    caption = "Of what complete trials differ in; functional ANOVA on a forest of trees (Hutter, Hoos, Leyton-Brown 2014)."
    table = _table(rows, "setting", "share")
    return [Chart(f"Importances: {words(objective)}", caption, drawn, ["setting", "share"], table)]


def slices(found: Found, objective: str) -> list[Chart]:
    """The objective against each setting of each arm, the most important first."""
    return [
        _slice(arm, axis, objective) for arm in found.arms if len(known(arm, objective)) > 1 for axis in ranked(arm, objective)
    ]


def _slice(arm: Arm, axis: Axis, objective: str) -> Chart:
    trials = [trial for trial in known(arm, objective) if axis.key in trial.settings]
    rows = [
        _row(arm, trial) | {"x": _on(axis, trial.settings[axis.key]), "value": _number(trial.values[objective])}
        for trial in trials
    ]
    name = words(objective)
    if axis.choices is not None:
        x = {"field": "x", "type": "nominal", "sort": [shown(choice) for choice in axis.choices], "title": axis.key}
        x["axis"] = {"labelAngle": 0, "labelLimit": 90}
    else:
        scale = {"type": "log" if axis.log else "linear", "domain": [axis.low, axis.high], "nice": False}
        x = number("x", axis.key, scale=scale, axis={"tickCount": 4, "grid": False})
    encoding = {"x": x, "y": number("value", name, scale={"zero": False}), "color": COLOUR}
    hover = {"trial": "trial", "value": name, "settings": "settings"}
    drawn = spec(rows, hover, mark={"type": "point", "filled": True, "size": 45} | HOVER, encoding=encoding, height=170)
    table = _table(rows, "trial", "x", "value")
    caption = f"Complete trials: {name} against one setting; what else varies is different from dot to dot."
    return Chart(f"{arm.name}: {axis.key}", caption, drawn, ["trial", axis.key, name], table, arm.name)


def _on(axis: Axis, value: Any) -> Any:
    return shown(value) if axis.choices is not None else float(value)


def parallel(found: Found, objective: str) -> list[Chart]:
    """An upright axis a setting, a line a trial; a chart an arm."""
    return [chart for arm in found.arms if (chart := _parallel(arm, objective))]


def _parallel(arm: Arm, objective: str) -> Chart | None:
    trials = [trial for trial in known(arm, objective) if len(trial.settings) == len(arm.axes)]
    if len(trials) < 2 or not arm.axes:
        return None
    name, values = words(objective), np.array([trial.values[objective] for trial in trials])
    last = Axis(name, float(values.min()), float(values.max()))
    axes = [*arm.axes, last]
    of = [trial.settings | {name: value} for trial, value in zip(trials, values.tolist(), strict=True)]
    rows = [
        _row(arm, trial)
        | {"axis": axis.key, "place": round(float(axis.places([own[axis.key]])[0]), DIGITS), "value": _number(own[name])}
        for trial, own in zip(trials, of, strict=True)
        for axis in axes
    ]
    marks = [{"axis": axis.key, "place": place, "text": text} for axis in axes for place, text in axis.ticks()]
    x = {"field": "axis", "type": "nominal", "sort": None, "title": None}
    x |= {"axis": {"labelAngle": 0, "labelLimit": 200, "grid": True}, "scale": {"type": "point", "padding": 0.25}}
    y = number("place", axis=None, scale={"domain": [0, 1]})
    best_first = arm.objectives[objective] == "maximize"
    colours = GOOD_TO_BAD[::-1] if best_first else GOOD_TO_BAD
    colour = number("value", name, scale={"range": colours}, legend=None)
    line = {"mark": {"type": "line", "strokeWidth": 1.6, "opacity": 0.8} | HOVER, "encoding": {"detail": {"field": "trial"}}}
    line["encoding"] |= {"x": x, "y": y, "color": colour}
    label = {"mark": {"type": "text", "align": "left", "dx": 4, "fontSize": 11}, "data": {"values": marks}}
    label["encoding"] = {"x": x, "y": y, "text": {"field": "text"}, "color": {"value": "#8a8a8a"}}
    hover = {"trial": "trial", "value": name, "settings": "settings"}
    drawn = spec(rows, hover, layer=[line, label], height=260)
    cells = [[str(trial.number), *(shown(own[axis.key]) for axis in axes)] for trial, own in zip(trials, of, strict=True)]
    table = [(arm.name, row) for row in cells]
    caption = f"A line is a complete trial, in the colour of its {name}, which is the last axis too."
    return Chart(f"{arm.name}: all settings, {name}", caption, drawn, ["trial", *(axis.key for axis in axes)], table, arm.name)


def fronts(found: Found) -> list[Chart]:
    """All complete trials by each pair of objectives; those that none dominates are filled."""
    best = {(arm.name, trial.number) for arm, trial in found.front()}
    return [_front(found, best, *pair) for pair in combinations(found.objectives, 2)] if best else []


def _front(found: Found, best: set[tuple[str, int]], across: str, up: str) -> Chart:
    rows = [
        _row(arm, trial)
        | {
            "x": _number(trial.values[across]),
            "y": _number(trial.values[up]),
            "front": "yes" if (arm.name, trial.number) in best else "no",
        }
        for arm in found.arms
        for trial in arm.complete
    ]
    wide = all(row["x"] and row["x"] > 0 for row in rows) and max(row["x"] for row in rows) > 10 * min(row["x"] for row in rows)
    x = number("x", words(across), scale={"type": "log" if wide else "linear", "zero": False})
    encoding = {"x": x, "y": number("y", words(up), scale={"zero": False}), "color": COLOUR, "fill": COLOUR}
    encoding["fillOpacity"] = _filled("front", "yes")
    hover = {"trial": "trial", "x": words(across), "y": words(up), "front": "on the front", "settings": "settings"}
    drawn = spec(rows, hover, mark={"type": "point", "size": 60} | HOVER, encoding=encoding, height=320)
    header = ["", "trial", words(across), words(up), "on the front", "settings"]
    table = _table(rows, "series", "trial", "x", "y", "front", "settings")
    aims = " and ".join(f"{found.objectives[one]} {words(one)}" for one in (across, up))
    caption = f"To {aims}. Filled: no complete trial is better in one of all objectives without being worse in another."
    return Chart(f"{words(up)} against {words(across)}", caption, drawn, header, table)


def optimism(found: Found, objective: str) -> list[Chart]:
    """Winners and defaults on tuning streams and on fresh seeds; not of what a configuration costs, which no seed changes."""
    rows = []
    for row in standings(found, objective):
        for place, one in (("tuning streams", row.tuning), ("fresh seeds", row.fresh)):
            if one is not None:
                edges = {"low": _number(one.low), "high": _number(one.high)} if place == "fresh seeds" else {}
                own = {"series": row.arm, "row": f"{row.arm} {row.what}", "where": place, "mean": _number(one.mean)}
                rows.append(own | edges | {"said": str(one), "seeds": len(one.values)})
    if objective.startswith("cost.") or not any(row["where"] == "fresh seeds" for row in rows):
        return []
    y = {"field": "row", "type": "nominal", "title": None, "sort": None, "axis": {"labelLimit": 200, "grid": False}}
    shift = {"field": "where", "type": "nominal", "sort": ["tuning streams", "fresh seeds"]}
    name = words(objective)
    both = {"y": y, "yOffset": shift, "color": COLOUR}
    interval = {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": {"x": number("low", name), "x2": {"field": "high"}}}
    dots = {"mark": {"type": "point", "size": 70} | HOVER, "encoding": {"x": number("mean", name, scale={"zero": False})}}
    dots["encoding"] |= {"fill": COLOUR, "fillOpacity": _filled("where", "fresh seeds")}
    hover = {"row": "configuration", "where": "on", "said": f"{name} [95 %]", "seeds": "seeds"}
    drawn = spec(rows, hover, layer=[interval, dots], encoding=both, height={"step": 26})
    table = _table(rows, "row", "where", "said", "seeds")
    caption = "Hollow: the mean on tuning streams, by which the winner was chosen. Filled: on fresh seeds, with 95 % intervals."
    return [Chart(f"Optimism: {name}", caption, drawn, ["configuration", "on", f"{name} [95 %]", "seeds"], table)]


def _table(rows: list[dict[str, Any]], *keys: str) -> Rows:
    return [(row["series"], [_text(row[key]) for key in keys]) for row in rows]


def _filled(field: str, value: str) -> dict[str, Any]:
    return {"condition": {"test": f"datum['{field}'] === '{value}'", "value": 0.9}, "value": 0}


def _number(value: float) -> float | None:
    """To six significant digits; JSON knows no NaN."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.{DIGITS}g}" if isinstance(value, float) else str(value)
