"""Charts that hold cells against each other: paired differences, accuracy matrices, ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lab.comparison.cells import Cell
from lab.comparison.findings import Comparison, Difference, Ranks
from lab.metrics import lower_is_better
from lab.report import lags, ruled
from lab.report.page import series
from lab.report.page.charts import COLOUR, GREY, HOVER, NAMES, SHOWN, Chart, number, spec
from lab.report.sheets import relation

AXIS = {"labelAngle": 0, "labelOverlap": True}
WITH_NUMBERS = 12
"""Tasks of a matrix that has room for its numbers."""


def differences(comparison: Comparison) -> list[Chart]:
    """Paired differences by seed, a chart for each metric and environment."""
    tested = [row for row in comparison.differences if row.paired]
    groups = dict.fromkeys((row.metric, row.environment) for row in tested)
    return [_differences([r for r in tested if (r.metric, r.environment) == group], comparison.margin) for group in groups]


def _differences(rows: list[Difference], margin: float | None) -> Chart:
    base, metric = rows[0].baseline, rows[0].metric.replace("_", " ")
    caption = (
        f"Small dots are seeds, each paired with {base} on the same seed; the large dot is their mean, "
        "the bar its 95 % interval. "
        f"{'Left' if rows[0].lower_is_better else 'Right'} of zero is better than {base}."
        + (f" Dashed: the margin of {margin:g}." if margin else "")
    )
    pairs = [(row, seed, value) for row in rows for seed, value in zip(row.seeds, row.values, strict=True)]
    table = [(row.cell, [row.cell, str(seed), f"{value:+.4f}"]) for row, seed, value in pairs]
    seeds = [{"series": row.cell, "seed": seed, "x": series.rounded(value)} for row, seed, value in pairs]
    edges = (0, -margin, margin) if margin else (0,)
    x = number("x", f"{metric}, difference to {base}", axis={"tickCount": 8}, scale={"padding": 14})
    layers = [*(_rule(edge, x) for edge in edges), _dots(seeds, x), *_means(rows, x)]
    hover = {"seed": "seed", "x": "difference", "between": "95 % interval", "seeds": "seeds"}
    title = f"{metric.capitalize()}, difference to {base}: {rows[0].environment}"
    return Chart(title, caption, spec([], hover, layer=layers, height={"step": 56}), ["", "seed", f"{metric} - {base}"], table)


def _rule(place: float, x: dict[str, Any]) -> dict[str, Any]:
    mark = {"type": "rule", "strokeDash": [5, 4] if place else [1, 0]}
    return {"data": {"values": [{"x": place}]}, "mark": mark, "encoding": {"x": x, "color": GREY}}


def _dots(seeds: list[dict], x: dict[str, Any]) -> dict[str, Any]:
    return {
        "data": {"values": seeds},
        "transform": [SHOWN],
        "mark": {"type": "point", "filled": True, "opacity": 0.55, "size": 36, "yOffset": 12} | HOVER,
        "encoding": {"x": x, "y": NAMES, "color": COLOUR},
    }


def _means(rows: list[Difference], x: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Interval and mean of each row."""
    shared = {"data": {"values": [_mean(row) for row in rows]}, "transform": [SHOWN]}
    ends = {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": NAMES, "color": COLOUR}
    yield shared | {"mark": {"type": "rule", "strokeWidth": 3, "yOffset": -6}, "encoding": ends}
    mark = {"type": "point", "filled": True, "opacity": 1, "size": 130, "yOffset": -6} | HOVER
    yield shared | {"mark": mark, "encoding": {"x": x, "y": NAMES, "color": COLOUR}}


def _mean(row: Difference) -> dict[str, Any]:
    found = row.paired
    between = f"{found.low:+.4f} to {found.high:+.4f}" if np.isfinite([found.low, found.high]).all() else "-"
    numbers = {"x": series.rounded(found.difference), "low": series.rounded(found.low), "high": series.rounded(found.high)}
    return {"series": row.cell, "seeds": len(row.seeds), "between": between, **numbers}


def matrices(cells: list[Cell], several: bool) -> list[Chart]:
    """The accuracy matrix of each cell with any value, all on one scale; of ``several``, each is switched with its cell."""
    many = len({cell.environment for cell in cells}) > 1
    known = [cell for cell in cells if series.matrix(cell.results)]
    return [_matrix(cell, f"{cell.name}: {cell.environment}" if many else cell.name, several) for cell in known]


def violations(cells: list[Cell], several: bool) -> list[Chart]:
    """How many break rules: of ``several`` cells any of them, of a run each."""
    many = len({cell.environment for cell in cells}) > 1
    titles = [f"{cell.name}: {cell.environment}" if many else cell.name for cell in cells]
    return [
        _matrix(cell, title if several else ruled.in_words(name), several, name)
        for cell, title in zip(cells, titles, strict=True)
        for name in ruled.violations(cell.results)[: 1 if several else None]
        if series.matrix(cell.results, name)
    ]


def _matrix(cell: Cell, title: str, several: bool, name: str = "accuracy") -> Chart:
    found, lower = series.matrix(cell.results, name), lower_is_better(name)
    what, measured = ("violation", "Violations of rules") if lower else (name, name.capitalize())
    values = [p.row(cell.name) | {"after": _row(i), "on": str(j), "percent": f"{100 * p.mean:.0f}"} for i, j, p in found]
    rows = [("", [_row(i), str(j), *point.cells()]) for i, j, point in found]
    shown, total = len({j for _, j, _ in found}), cell.results.accuracy.shape[2]
    some = f" {shown} of {total} tasks, evenly spaced." if shown < total else ""
    caption = (
        f"{measured} in per cent after each task (rows) on each task (columns), mean over seeds; grey: not evaluated.{some}"
    )
    hover = {"after": "after task", "on": "on task", "mean": what, "between": "95 % interval", "seeds": "seeds"}
    drawn = spec(
        values, hover, transform=[], layer=_tiles(shown, lower), encoding=_axes(found), height=250, usermeta={"blank": "void"}
    )
    header = ["after task", "on task", f"{what}, mean", "95 % interval", "seeds"]
    return Chart(title, caption, drawn, header, rows, cell.name if several else "")


def met_again(cells: list[Cell]) -> list[Chart]:
    """Samples of earlier tasks in each phase by lag, of the cells that met any."""
    found = [(cell, lags.met_again(cell.results)) for cell in cells]
    many = len({cell.environment for cell in cells}) > 1
    return [
        _met_again(cell, f"{cell.name}: {cell.environment}" if many else cell.name, counts, len(cells) > 1)
        for cell, counts in found
        if counts is not None
    ]


def _met_again(cell: Cell, title: str, counts: np.ndarray, several: bool) -> Chart:
    phases, tasks = (series.thinned(np.arange(size), series.MOST_TASKS) for size in counts.shape)
    found = [(int(p) + 1, int(t) + 1, float(counts[p, t])) for p in phases for t in tasks if not np.isnan(counts[p, t])]
    values = [{"series": cell.name, "phase": str(p), "lag": str(t), "samples": round(n, 1)} for p, t, n in found]
    some = f" {len(phases)} of {len(counts)} phases, evenly spaced." if len(phases) < len(counts) else ""
    caption = (
        "Samples of earlier tasks in each phase (rows) by the number of tasks since their own (columns), shown by the stream "
        f"and rehearsed from memories together, mean over seeds; grey: there is no such task.{some}"
    )
    names = {"phase": [str(p + 1) for p in phases], "lag": [str(t + 1) for t in tasks]}
    x, y = (
        {"field": field, "type": "ordinal", "title": words, "scale": {"domain": names[field]}, "axis": AXIS}
        for field, words in (("lag", "lag in tasks"), ("phase", "in the phase of task"))
    )
    colour = number("samples", scale={"type": "symlog", "scheme": "cividis"}, legend={"title": "samples"})
    layer = [{"mark": {"type": "rect"} | HOVER, "encoding": {"color": colour}}]
    hover = {"phase": "in the phase of task", "lag": "lag", "samples": "samples"}
    drawn = spec(values, hover, transform=[], layer=layer, encoding={"x": x, "y": y}, height=250, usermeta={"blank": "void"})
    rows = [("", [str(p), str(t), f"{n:,.1f}"]) for p, t, n in found]
    return Chart(title, caption, drawn, ["in the phase of task", "lag", "samples"], rows, cell.name if several else "")


def _row(task: int) -> str:
    return str(task) if task else "none"


def _axes(found: list[tuple]) -> dict[str, Any]:
    """Every task has its row, evaluated or not."""
    columns = sorted({j for _, j, _ in found})
    x = {"field": "on", "type": "ordinal", "title": "on task", "scale": {"domain": list(map(str, columns))}}
    y = {"field": "after", "type": "ordinal", "title": "after task", "scale": {"domain": list(map(_row, [0, *columns]))}}
    return {"x": x | {"axis": AXIS}, "y": y | {"axis": AXIS}}


def _tiles(tasks: int, lower: bool) -> list[dict[str, Any]]:
    """Light is good: much, or little where ``lower`` is better."""
    colour = number("mean", scale={"domain": [0, 1], "scheme": "cividis", "reverse": lower}, legend=None)
    tiles = {"mark": {"type": "rect"} | HOVER, "encoding": {"color": colour}}
    light = "datum.mean < 0.5" if lower else "datum.mean > 0.5"
    ink = {"condition": {"test": light, "value": "black"}, "value": "white"}
    numbers = {"mark": {"type": "text", "tooltip": None}, "encoding": {"text": {"field": "percent"}, "color": ink}}
    return [tiles, numbers] if tasks <= WITH_NUMBERS else [tiles]


def ranks(found: Ranks) -> Chart:
    """Average ranks over environments."""
    order = sorted(zip(found.cells, found.ranks, strict=True), key=lambda pair: pair[1])
    values = [{"series": name, "rank": round(rank, 3)} for name, rank in order]
    x = number("rank", "average rank (1 is best)", scale={"domain": [1, len(order)]})
    mark = {"type": "point", "filled": True, "size": 140, "opacity": 1} | HOVER
    encoding = {"x": x, "y": NAMES, "color": COLOUR}
    title = f"Average ranks by {found.metric.replace('_', ' ')}"
    rows = [(name, [name, f"{rank:.2f}"]) for name, rank in order]
    drawn = spec(values, {"rank": "average rank"}, mark=mark, encoding=encoding, height={"step": 36})
    return Chart(title, _of_ranks(found), drawn, ["", "rank"], rows)


def _of_ranks(found: Ranks) -> str:
    words = [f"Over {len(found.environments)} environments."]
    if np.isfinite(found.friedman_p):
        words.append(f"Friedman's test: p {relation(found.friedman_p)}.")
    if np.isfinite(found.critical_difference):
        words.append(f"Nemenyi's test does not tell apart ranks closer than {found.critical_difference:.2f}.")
    words += [f"Not told apart: {', '.join(clique)}." for clique in found.cliques]
    return " ".join(words)
