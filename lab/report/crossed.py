"""A measure where cells cross two choices, orders of data and schedules, say: means, and what one choice makes of the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.comparison.cells import Cell, blocks
from lab.comparison.comparing import contrast
from lab.comparison.findings import Comparison, Summary
from lab.report.drawing import PAGE, empty, for_print, legend, look, wrapped
from lab.statistics import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 2
"""Values of each choice."""

NOT_SET = "-"
"""The value of a choice that a cell has not."""


@dataclass(frozen=True)
class Crossed:
    """Every value of one choice with every value of another, by cells' names."""

    along: str
    """What changes from a cell to the next, and stands along the axis."""
    across: str
    """What tells the lines apart."""
    columns: list[str]
    lines: list[str]
    names: dict[tuple[str, str], str]
    """The cell at (line, column)."""

    def line_of(self, name: str) -> str:
        """The line that a cell is in; the first line for one that is in none."""
        return next((line for (line, _), own in self.names.items() if own == name), self.lines[0])

    def title_of(self, line: str) -> str:
        """What a line is called: ``order=ascending``; where some have no such setting, the words that only the names of its
        cells have in common, if there are any."""
        if NOT_SET in self.lines:
            words = {other: self._common_words(other) for other in self.lines}
            own = [word for word in words[line] if all(word not in words[other] for other in self.lines if other != line)]
            if own:
                return " ".join(own)
        return f"{self.across} {line}" if " " in line else f"{self.across}={line}"

    def _common_words(self, line: str) -> list[str]:
        first, *rest = [name.split("_") for (own, _), name in self.names.items() if own == line]
        return [word for word in first if all(word in other for other in rest)]


def crossed(cells: list[Cell]) -> Crossed | None:
    """The two choices that an environment's cells cross, once each, the same in every environment; None where they do not.

    Settings that always change together are one choice, called after the first that has them all: a peak rate tuned for each
    schedule goes with the schedule.
    """
    found = [_crossed(group) for group in blocks(cells)]
    return found[0] if found and all(one == found[0] for one in found) else None


def _crossed(group: list[Cell]) -> Crossed | None:
    settings = [cell.settings.method for cell in group]
    values = {key: [own.get(key, NOT_SET) for own in settings] for key in {key: None for own in settings for key in own}}
    differing = {key: own for key, own in values.items() if len(set(own)) > 1}
    finest = sorted(differing, key=lambda key: -len(set(differing[key])))
    choices = [key for place, key in enumerate(finest) if not any(_decides(values[k], values[key]) for k in finest[:place])]
    if len(choices) != 2 or len(group) < 2:
        return None
    one, two = choices
    along, across = (one, two) if values[one][0] != values[one][1] else (two, one)
    columns, lines = (list(dict.fromkeys(values[key])) for key in (along, across))
    names = {(line, column): cell.name for line, column, cell in zip(values[across], values[along], group, strict=True)}
    whole = len(group) == len(names) == len(columns) * len(lines) and min(len(columns), len(lines)) >= LEAST
    return Crossed(along, across, columns, lines, names) if whole else None


def _decides(values: list[str], others: list[str]) -> bool:
    """Whether cells with the same value have the same other value."""
    return len(set(zip(values, others, strict=True))) == len(set(values))


@for_print
def crossing(comparison: Comparison, cells: list[Cell], metric: str, choices: Crossed) -> Figure:
    """Means and 95 % intervals on the left, a line for each value of one choice; on the right what a line differs by, seed by
    seed, from the baseline's, with intervals of one comparison at a time: a row an environment."""
    groups = blocks(cells)
    figure = empty(PAGE, 2.4 * len(groups) + 0.4)
    base = choices.line_of(comparison.baseline)
    for (left, right), group in zip(figure.subplots(len(groups), 2, squeeze=False), groups, strict=True):
        own = {cell.name: cell for cell in group}
        summaries = {row.cell: row.estimate for row in comparison.cells if _is(row, metric, group[0].environment)}
        _lines(left, {place: summaries[name] for place, name in choices.names.items()}, choices)
        pairs = {place: (own[name], own[choices.names[base, place[1]]]) for place, name in choices.names.items()}
        gaps = {place: estimate(contrast(list(pair), [1, -1], metric)[1]) for place, pair in pairs.items() if place[0] != base}
        _lines(right, gaps, choices)
        right.axhline(0, color="black", linewidth=0.8, zorder=0)
        left.set_title(wrapped(group[0].environment, 50), loc="left")
        left.set_ylabel(metric.replace("_", " "))
        right.set_ylabel(f"{metric.replace('_', ' ')}: difference\nto {wrapped(choices.title_of(base), 30)}")
    legend(figure, PAGE)
    return figure


def _is(row: Summary, metric: str, environment: str) -> bool:
    return (row.metric, row.environment) == (metric, environment)


def _lines(axes: Axes, found: dict[tuple[str, str], Estimate], choices: Crossed) -> None:
    """Lines side by side enough for their intervals to be told apart; what has no value is left out."""
    label, ticks = _ticks(choices)
    for number, line in enumerate(choices.lines):
        known = [(place, found[line, c]) for place, c in enumerate(choices.columns) if (line, c) in found and found[line, c].n]
        if not known:
            continue
        shift = 0.12 * (number - (len(choices.lines) - 1) / 2)
        where, middle = [place + shift for place, _ in known], [one.mean for _, one in known]
        reach = list(zip(*(_reach(one) for _, one in known), strict=True))
        style = {"capsize": 2, "linewidth": 1, "elinewidth": 1, "markersize": 3.5} | look(number)
        axes.errorbar(where, middle, reach, label=choices.title_of(line), **style)
    axes.set_xticks(range(len(ticks)), [wrapped(tick, max(6, 48 // len(ticks))) for tick in ticks])
    axes.set_xlim(-0.4, len(ticks) - 0.6)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)


def _reach(found: Estimate) -> tuple[float, float]:
    """Of the interval, below and above the mean; of one seed there is none."""
    return (max(0.0, found.mean - found.low), max(0.0, found.high - found.mean)) if found.n > 1 else (0.0, 0.0)


def _ticks(choices: Crossed) -> tuple[str, list[str]]:
    """What the axis is called and its values, without what these have in common: ``schedule final`` and ``1``, ``0.1`` for
    ``moderate final=1`` and ``moderate final=0.1``."""
    before, options, values = zip(*(value.rpartition("=") for value in choices.columns), strict=True)
    if len(set(before)) > 1 or not all(options):
        return choices.along, choices.columns
    return f"{choices.along} {before[0].split()[-1]}", [_short(value) for value in values]


def _short(value: str) -> str:
    """A number with three digits; a word as it is."""
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value
