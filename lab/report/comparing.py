"""Figures of a comparison: differences seed by seed, learning and forgetting, matrices side by side, ranks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab.comparison.cells import Cell, blocks
from lab.comparison.findings import Comparison, Difference
from lab.report import lags
from lab.report.crossed import crossed, crossing
from lab.report.curves import Timeline, begins, by_steps, by_tasks, forgetting_of_tasks_met, of_tasks_met
from lab.report.drawing import COLUMN, PAGE, PRINT, band, empty, for_print, legend, look, matrix, wrapped, write
from lab.report.ranking import rank_diagram
from lab.report.sheets import relation
from lab.report.varying import against, varied
from lab.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def write_comparison_figures(comparison: Comparison, cells: list[Cell], folder: Path) -> list[Path]:
    """All figures that the comparison allows, in ``folder``, as PNG and SVG."""
    drawn = {f"paired_differences-{m}": paired_differences(comparison, m) for m in comparison.metrics if _rows(comparison, m)}
    drawn |= _by_setting(comparison, cells)
    drawn |= _crossings(comparison, cells)
    drawn["learning_curves"] = learning_curves(cells)
    if any("forgetting" not in cell.results.undefined for cell in cells):
        drawn["forgetting_curves"] = forgetting_curves(cells)
    drawn |= by_lag_and_task(cells)
    drawn["matrices"] = matrices(cells)
    drawn |= {f"ranks-{ranks.metric}": rank_diagram(ranks) for ranks in comparison.ranks}
    return [file for name, figure in drawn.items() for file in write(figure, folder / name, dots=220)]


def _by_setting(comparison: Comparison, cells: list[Cell]) -> dict[str, Figure]:
    """By name, each measure against the one number that the cells differ in, if there is such a one."""
    setting = varied(cells)
    if setting is None:
        return {}
    return {f"{m}_by_{setting[0].rpartition('.')[2]}": against(comparison, m, *setting) for m in _known(comparison)}


def _crossings(comparison: Comparison, cells: list[Cell]) -> dict[str, Figure]:
    """By name, each measure where cells cross two choices, if they do."""
    choices = crossed(cells)
    return {f"crossing-{m}": crossing(comparison, cells, m, choices) for m in _known(comparison)} if choices else {}


def _known(comparison: Comparison) -> list[str]:
    """Measures of which any cell has a value."""
    return [m for m in comparison.metrics if any(row.metric == m and not row.undefined for row in comparison.cells)]


def by_lag_and_task(cells: list[Cell]) -> dict[str, Figure]:
    """By name, the figures of forgetting by lag and of how fast the target and each task are learnt, as far as any cell has the
    numbers."""
    of = {
        "forgetting_by_lag": (forgetting_by_lag, lambda results: "forgetting_exponent" not in results.undefined),
        "target_curves": (target_curves, lags.has_target),
        "areas_by_task": (areas_by_task, lambda results: "facilitation" not in results.undefined),
        "steps_by_task": (steps_by_task, lambda results: "steps_to_criterion" not in results.undefined),
    }
    return {name: draw(cells) for name, (draw, known) in of.items() if any(known(cell.results) for cell in cells)}


@for_print
def paired_differences(comparison: Comparison, metric: str) -> Figure:
    """Each seed's difference to the baseline, its mean and 95 % interval: a panel an environment, a row a cell.

    The margin, where one was given, is shaded.
    """
    groups = _rows(comparison, metric)
    cells = list(dict.fromkeys(row.cell for row in comparison.cells))  # a cell looks the same in all figures
    labels = [[wrapped(row.cell, 18) for row in rows] for rows in groups.values()]
    heights = [sum(map(_height, names)) for names in labels]
    said = _direction(comparison, metric)
    figure = empty(COLUMN, 0.36 * sum(heights) + 0.4 * len(groups) + 0.15 * said.count("\n") + 0.2)
    panels = figure.subplots(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (environment, rows), names in zip(panels, groups.items(), labels, strict=True):
        axes.set_title(wrapped(environment, 34), loc="left")
        axes.axvline(0, color="black", linewidth=0.8, zorder=1)
        if comparison.margin:
            axes.axvspan(-comparison.margin, comparison.margin, color="0.88", linewidth=0, zorder=0)
        _differences(axes, rows, names, cells)
    figure.supxlabel(said, fontsize=PRINT["axes.labelsize"])  # an axes' own may be cut
    return figure


def _height(name: str) -> float:
    """Of a row that has this name on so many lines, in rows."""
    return max(1.0, 0.36 * (name.count("\n") + 1))


def _differences(axes: Axes, rows: list[Difference], names: list[str], cells: list[str]) -> None:
    """A panel's rows, from the top down."""
    heights = [_height(name) for name in names]
    places = np.cumsum(heights) - np.array(heights) / 2
    for place, row in zip(places, rows, strict=True):
        _difference(axes, place, row, look(cells.index(row.cell)))
    axes.set_yticks(places, names)
    axes.set_ylim(sum(heights), 0)
    axes.spines[["top", "right"]].set_visible(False)


def _rows(comparison: Comparison, metric: str) -> dict[str, list[Difference]]:
    rows = [row for row in comparison.differences if row.metric == metric]
    return {name: [row for row in rows if row.environment == name] for name in dict.fromkeys(r.environment for r in rows)}


def _difference(axes: Axes, place: float, row: Difference, style: dict[str, str]) -> None:
    """A row: the seeds as dots in the order of their values, below them the mean and its interval, beside them the test."""
    lift = np.linspace(-0.3, 0.0, len(row.values))
    dots = {"color": style["color"], "marker": style["marker"], "markersize": 3, "alpha": 0.6, "markeredgewidth": 0}
    axes.plot(np.sort(row.values), place + lift, linestyle="none", **dots)
    words = "one pair\nof seeds" if row.values else "no pair\nof seeds"
    if row.paired:
        axes.plot([row.paired.low, row.paired.high], [place + 0.2] * 2, color="black", linewidth=1.4, solid_capstyle="butt")
        axes.plot(row.paired.difference, place + 0.2, "D", color="white", markeredgecolor="black", markersize=4.5)
        words = f"p {relation(row.p_holm)}\nn = {len(row.values)}"
    axes.text(1.02, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=7)


def _direction(comparison: Comparison, metric: str) -> str:
    """What the axis shows, which way is the better one, and what p is."""
    better = next(not row.lower_is_better for row in comparison.differences if row.metric == metric)
    sides = ("worse", "better") if better else ("better", "worse")
    margin = f" (shaded: margin of {comparison.margin:g})" if comparison.margin else ""
    long = len(comparison.baseline) > 12
    to, than = (f" to {comparison.baseline}", "") if long else ("", f" than {comparison.baseline}")
    what = wrapped(f"difference{to} in {metric.replace('_', ' ')}{margin}", 50)
    corrected = "\np after Holm's correction" if comparison.tests else ""
    return f"{what}\n← {sides[0]}{than}      {sides[1]}{than} →{corrected}"


@for_print
def learning_curves(cells: list[Cell]) -> Figure:
    """Mean accuracy on the tasks met so far, with 95 % bands over seeds: a panel an environment, a line a cell."""
    return _curves(cells, _over_time(of_tasks_met), "accuracy on tasks met")


@for_print
def forgetting_curves(cells: list[Cell]) -> Figure:
    """Mean forgetting of earlier tasks, with 95 % bands over seeds: a panel an environment, a line a cell."""
    return _curves(cells, _over_time(forgetting_of_tasks_met), "forgetting of earlier tasks")


@for_print
def forgetting_by_lag(cells: list[Cell]) -> Figure:
    """Forgetting against the time since on logarithmic axes, with the power law through it: a panel an environment."""

    def panel(axes: Axes, group: list[Cell], styles: dict[str, int]) -> None:
        for cell in group:
            lags.draw_forgetting(axes, cell.name, cell.results, styles[cell.name])
        lags.finish_forgetting(axes, [(cell.name, cell.results) for cell in group], size=6)

    return _curves(cells, panel, "forgetting")


@for_print
def target_curves(cells: list[Cell]) -> Figure:
    """Mean accuracy on the target since the weights began anew, with 95 % bands over seeds."""
    return _curves(cells, _by_number(lags.on_target, "steps since the weights began anew"), "accuracy on the target")


@for_print
def areas_by_task(cells: list[Cell]) -> Figure:
    """The area under each task's own learning curve: whether later tasks are learnt faster."""
    return _curves(cells, _by_number(lags.areas_by_task, "task"), "area under the learning curve")


@for_print
def steps_by_task(cells: list[Cell]) -> Figure:
    """Steps to the criterion, task by task."""
    return _curves(cells, _by_number(lags.steps_by_task, "task"), "steps to the criterion")


Panel = Callable[["Axes", list[Cell], dict[str, int]], None]
"""``panel(axes, an environment's cells, the number of each name's look)``."""


def _curves(cells: list[Cell], panel: Panel, label: str) -> Figure:
    groups, styles = blocks(cells), _styles(cells)
    across = min(2, len(groups))
    down, width = -(-len(groups) // across), PAGE if across == 2 else COLUMN
    figure = empty(width, 2.3 * down + 0.2 + 0.14 * len(styles) / across)
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes, group in zip(panels, groups, strict=False):
        panel(axes, group, styles)
        axes.set_title(wrapped(group[0].environment, 50), loc="left")
    for axes in panels[::across]:
        axes.set_ylabel(label)
    for axes in panels[len(groups) :]:
        axes.remove()
    legend(figure, width)
    return figure


def _styles(cells: list[Cell]) -> dict[str, int]:
    """The number of each name's look, the same in every panel."""
    return {name: number for number, name in enumerate(dict.fromkeys(cell.name for cell in cells))}


def _over_time(of: Callable[[Timeline], np.ndarray]) -> Panel:
    """The lines of an environment's cells: by steps where all have curves, by tasks otherwise."""

    def panel(axes: Axes, group: list[Cell], styles: dict[str, int]) -> None:
        read = by_steps if all(cell.results.curves for cell in group) else by_tasks
        times = [read(cell.results) for cell in group]
        for cell, time in zip(group, times, strict=True):
            _line(axes, cell.name, time.where, of(time), styles)
        _whole_numbers(axes, times[0].label)
        axes.set_ylim(top=min(axes.get_ylim()[1], 1.03))
        for step in begins(times):
            axes.axvline(step, color="0.85", linewidth=0.5, zorder=0)

    return panel


def _by_number(of: Callable[[Results], lags.Series], label: str) -> Panel:
    def panel(axes: Axes, group: list[Cell], styles: dict[str, int]) -> None:
        for cell in group:
            series = of(cell.results)
            _line(axes, cell.name, series.where, series.values, styles)
        _whole_numbers(axes, label)

    return panel


def _line(axes: Axes, name: str, where: np.ndarray, values: np.ndarray, styles: dict[str, int]) -> None:
    unknown = " (undefined)" if np.isnan(values).all() else ""
    band(axes, where, values, name + unknown, look(styles[name]), styles[name])


def _whole_numbers(axes: Axes, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)


@for_print
def matrices(cells: list[Cell]) -> Figure:
    """The accuracy matrices side by side, an environment's cells below its name, with one scale of colours."""
    groups = blocks(cells)
    most = max(map(len, groups))
    across = -(-most // -(-most // 4))  # at most four, and as many in one row as in another
    down = [-(-len(group) // across) for group in groups]
    width = min(PAGE, 2.3 * across + 0.8)
    size = (width - 0.8) / across
    figure = empty(width, (size + 0.3) * sum(down) + 0.25 * len(groups))
    left, right = figure.subfigures(1, 2, width_ratios=(width - 0.8, 0.8))
    parts = left.subfigures(len(groups), 1, height_ratios=down, squeeze=False)[:, 0]
    for part, group, count in zip(parts, groups, down, strict=True):
        part.suptitle(wrapped(group[0].environment, int(width * 14)))
        image = _matrices(part.subplots(count, across, squeeze=False), group, size)
    bar = right.colorbar(image, cax=right.add_subplot(), label="accuracy, mean over seeds")
    bar.ax.set_box_aspect(12)
    return figure


def _matrices(panels: np.ndarray, group: list[Cell], size: float) -> AxesImage:
    """One matrix a cell on axes ``[down, across]`` that are so many inches wide with what is written around them."""
    for place, (axes, cell) in enumerate(zip(panels.ravel(), group, strict=False)):
        image = matrix(axes, cell.results, size - 0.5)
        axes.set_title(wrapped(cell.name, int(size * 13)))
        if place % panels.shape[1]:
            axes.set_ylabel("")
    for axes in panels.ravel()[len(group) :]:
        axes.remove()
    return image
