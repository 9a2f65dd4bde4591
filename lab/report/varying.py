"""A measure against the one number in which cells differ: accuracy against the exponent of a law, say."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lab.comparison.cells import Cell, blocks
from lab.comparison.findings import Comparison
from lab.report.drawing import COLUMN, PAGE, empty, for_print, look, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 3
"""Cells: two are a difference."""


def varied(cells: list[Cell]) -> tuple[str, dict[str, float]] | None:
    """The setting that is all that an environment's cells differ in, and each cell's number of it, by name, NaN for null, which
    one cell may have; None where there is no such setting, or not the same one everywhere."""
    found = [_varied(group) for group in blocks(cells)]
    return found[0] if found and all(one == found[0] for one in found) else None


def _varied(group: list[Cell]) -> tuple[str, dict[str, float]] | None:
    settings = [cell.settings.method for cell in group]
    keys = [key for key in {key: None for own in settings for key in own} if len({own.get(key) for own in settings}) > 1]
    if len(group) < LEAST or len(keys) != 1:
        return None
    try:
        numbers = {cell.name: _number(cell.settings.method[keys[0]]) for cell in group}
    except (KeyError, ValueError):  # not set in all, or a word
        return None
    known = [number for number in numbers.values() if not math.isnan(number)]
    return (keys[0], numbers) if LEAST <= len(set(known)) == len(known) >= len(group) - 1 else None


def _number(setting: str) -> float:
    return math.nan if setting == "null" else float(setting)


@for_print
def against(comparison: Comparison, metric: str, key: str, numbers: dict[str, float]) -> Figure:
    """Mean and 95 % interval of every cell over the setting's numbers, which stand in their order at equal distances, and the
    baseline's mean as a line: a panel an environment."""
    rows = [row for row in comparison.cells if row.metric == metric and not row.undefined]
    places = list(dict.fromkeys(row.environment for row in rows))
    across = min(2, len(places))
    down = -(-len(places) // across)
    figure = empty(PAGE if across == 2 else COLUMN, 2.3 * down + 0.2)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, place in zip(panels, places, strict=False):
        _points(axes, {row.cell: row.estimate for row in rows if row.environment == place}, numbers, comparison.baseline)
        axes.set_title(wrapped(place, 50), loc="left")
        axes.set_xlabel(wrapped(key, 40))
    for axes in panels[::across]:
        axes.set_ylabel(metric.replace("_", " "))
    for axes in panels[len(places) :]:
        axes.remove()
    return figure


def _points(axes: Axes, found: dict, numbers: dict[str, float], baseline: str) -> None:
    order = sorted(numbers, key=lambda name: (math.isnan(numbers[name]), numbers[name]))
    known = [name for name in order if name in found]
    places = [order.index(name) for name in known]
    middle = [found[name].mean for name in known]
    below = [max(0.0, found[name].mean - found[name].low) if found[name].n > 1 else 0.0 for name in known]
    above = [max(0.0, found[name].high - found[name].mean) if found[name].n > 1 else 0.0 for name in known]
    style = look(0)
    axes.errorbar(places, middle, (below, above), capsize=2, linewidth=1, markersize=3.5, elinewidth=1, **style)
    if baseline in found:
        axes.axhline(found[baseline].mean, color="0.7", linewidth=0.6, zorder=0)
        axes.annotate(
            wrapped(baseline, 12), (1, found[baseline].mean), (2, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", color="0.4", fontsize=7,
        )  # fmt: skip
    axes.set_xticks(range(len(order)), [name if math.isnan(numbers[name]) else f"{numbers[name]:g}" for name in order])
    axes.set_xlim(-0.4, len(order) - 0.6)
    axes.spines[["top", "right"]].set_visible(False)
