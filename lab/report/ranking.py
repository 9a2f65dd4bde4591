"""Ranks as figures: Demsar's critical-difference diagram, or dots where there are too few environments for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lab.comparison.findings import Ranks
from lab.report.drawing import COLOURS, COLUMN, PAGE, PRINT, empty, for_print, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@for_print
def rank_diagram(ranks: Ranks) -> Figure:
    """Average ranks, the best first; where they were tested, bars join cells that the test does not tell apart."""
    return _critical_difference(ranks) if np.isfinite(ranks.critical_difference) else _dots(ranks)


def _dots(ranks: Ranks) -> Figure:
    order = np.argsort(ranks.ranks, kind="stable")
    values, heights = np.array(ranks.ranks)[order], list(_heights(ranks, order, 0).values())
    bottom = heights[-1] + 1
    figure = empty(COLUMN, 0.75 + 0.2 * bottom)
    axes = figure.add_subplot()
    axes.hlines(heights, 1, values, color="0.7", linewidth=0.8)
    axes.plot(values, heights, "o", color=COLOURS[0], markersize=4, clip_on=False)
    axes.set_yticks(heights, [wrapped(ranks.cells[i], 24) for i in order])
    axes.set(xlim=(0.9, len(order) + 0.1), ylim=(bottom, -0.5))
    axes.set_xticks(range(1, len(order) + 1, -(-len(order) // 12)))
    figure.supxlabel(_title(ranks), fontsize=PRINT["axes.labelsize"])  # an axes' own may be cut
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _title(ranks: Ranks) -> str:
    return f"average rank in {ranks.metric.replace('_', ' ')}\nover {len(ranks.environments)} environments (1 is best)"


def _critical_difference(ranks: Ranks) -> Figure:
    """An axis of ranks above, names below on both sides, bars for the cliques between; y counts lines of names downwards."""
    order = np.argsort(ranks.ranks, kind="stable")
    half = -(-len(order) // 2)
    bars = _levels([sorted(ranks.ranks[ranks.cells.index(name)] for name in clique) for clique in ranks.cliques])
    start = 1.0 + 0.45 * max((level for *_, level in bars), default=0)
    left, right = _heights(ranks, order[:half], start), _heights(ranks, order[half:][::-1], start)
    bottom = max([start, *left.values(), *right.values()]) + 0.5
    figure = empty(PAGE * 0.75, 0.18 * (bottom + 2) + 0.5)
    axes = figure.add_subplot()
    _axis(axes, len(order), bottom, ranks)
    for low, high, level in bars:
        axes.plot([low - 0.04, high + 0.04], [0.45 * level] * 2, color=COLOURS[0], linewidth=3, solid_capstyle="butt")
    for heights, edge, side in ((left, 1, "right"), (right, len(order), "left")):
        for place, height in heights.items():
            _name(axes, ranks, place, height, edge, side)
    return figure


def _levels(spans: list[list[float]]) -> list[tuple[float, float, int]]:
    """Each bar with the first level, from 1, on which it touches no other."""
    placed: list[tuple[float, float, int]] = []
    for low, high in sorted((span[0], span[-1]) for span in spans if len(span) > 1):
        taken = {level for begin, end, level in placed if begin <= high and low <= end}
        placed.append((low, high, next(level for level in range(1, len(spans) + 1) if level not in taken)))
    return placed


def _heights(ranks: Ranks, places: np.ndarray, start: float) -> dict[int, float]:
    """How far down each name's middle is; a name on several lines takes as many."""
    lines = [wrapped(ranks.cells[place], 24).count("\n") + 1 for place in places]
    middles = start + np.cumsum(lines) - np.array(lines) / 2
    return {int(place): float(middle) for place, middle in zip(places, middles, strict=True)}


def _axis(axes: Axes, count: int, bottom: float, ranks: Ranks) -> None:
    """The ranks, and above them the critical difference as a length."""
    axes.set(xlim=(1, count), ylim=(bottom, -2.2))
    axes.spines[["left", "right", "bottom"]].set_visible(False)
    axes.spines["top"].set_position(("data", 0))
    axes.xaxis.set_ticks_position("top")
    axes.set_xticks(range(1, count + 1))
    axes.set_yticks([])
    end = 1 + ranks.critical_difference
    axes.plot([1, end], [-1.9, -1.9], "|-", color="black", linewidth=0.8, markersize=5, clip_on=False)
    axes.text(end, -1.9, f"  critical difference {ranks.critical_difference:.2f}", va="center", fontsize=7)
    axes.set_title(_title(ranks).replace("\n", " "), pad=8)


def _name(axes: Axes, ranks: Ranks, place: int, height: float, edge: float, side: str) -> None:
    """A line from the rank on the axis down and out to the name."""
    rank, gap = ranks.ranks[place], 4 if side == "left" else -4
    axes.plot([rank, rank, edge], [0, height, height], color="0.35", linewidth=0.7, clip_on=False)
    axes.plot(rank, 0, "o", color="black", markersize=3, clip_on=False)
    words = f"{wrapped(ranks.cells[place], 24)} ({rank:.2f})"
    axes.annotate(words, (edge, height), (gap, 0), textcoords="offset points", ha=side, va="center", fontsize=7)
