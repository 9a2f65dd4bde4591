"""What figures are drawn with: sizes for print, lines that differ in more than colour, bands over seeds, matrices."""

from __future__ import annotations

import functools
import re
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.metrics import lower_is_better
from lab.report.curves import settled
from lab.report.summary import interval, mean_over_members
from lab.results import Results, write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000")
"""Okabe and Ito's, told apart by the colour-blind, without the yellow, which is too light for lines on paper."""

LINES = ("solid", "dashed", "dashdot", "dotted")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")

COLUMN, PAGE = 3.4, 7.0
"""Widths of a printed column and of a page's text, in inches: a figure is drawn at the size at which it is printed."""

PRINT = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
}


def for_print(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """A function that draws a figure, with the sizes of letters and lines for print."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        import matplotlib

        with matplotlib.rc_context(PRINT):
            return draw(*args, **kwargs)

    return drawn


def empty(width: float, height: float) -> Figure:
    """A figure without anything, in inches, that keeps its parts from overlapping."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def write(figure: Figure, path: Path, dots: int = 150) -> list[Path]:
    """The figure as ``path``.png, with so many dots to the inch, and ``path``.svg."""
    files = [path.with_name(f"{path.name}.{kind}") for kind in ("png", "svg")]
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names may be in any script
        for file in files:
            write_whole(file, functools.partial(figure.savefig, dpi=dots, format=file.suffix[1:]))
    return files


def look(number: int) -> dict[str, str]:
    """Colour, line and marker of the line of that number: the first 252 differ, and neighbours differ in all three."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINES[number % len(LINES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def band(
    axes: Axes, where: np.ndarray, values: np.ndarray, label: str, style: dict[str, str], shift: int = 0, least: float = -np.inf
) -> None:
    """Mean over members and its 95 % interval (Student's t) of values ``[M, E]``; a gap where undefined.

    ``shift``: a number that keeps the markers of different lines apart. ``least``: what lies below it is drawn there.
    """
    mean, low, high = np.maximum([interval(values[:, e]) for e in range(values.shape[1])], least).T
    known = np.flatnonzero(~np.isnan(mean))
    marked = known if len(known) <= 12 else known[shift % 3 + 1 :: max(1, len(known) // 7)]
    axes.plot(where, mean, label=label, linewidth=1.2, markersize=3.5, markevery=list(marked), **style)
    axes.fill_between(where, low, high, color=style["color"], alpha=0.18, linewidth=0)
    if len(known) == 1:  # a band of one point has no area
        axes.plot(where[known].repeat(2), [low[known[0]], high[known[0]]], color=style["color"], linewidth=1.2)


def matrix(axes: Axes, results: Results, width: float, name: str = "accuracy") -> AxesImage:
    """The mean over members of accuracy, or of another of the results' matrices, after each task (rows) on each task (columns);
    what is undefined is hatched. Light is good.

    ``width``: of the axes, about, in inches; it decides whether numbers fit in.
    """
    values, lower = mean_over_members(settled(results, name)), lower_is_better(name)
    tasks = values.shape[1]
    axes.set_facecolor("0.92")
    axes.patch.set(hatch="////", edgecolor="0.7")
    image = axes.imshow(values, vmin=0, vmax=1, cmap="cividis_r" if lower else "cividis", aspect="auto")
    step = -(-tasks // max(2, min(12, int(width / 0.2))))
    shown = range(step, tasks + 1, step)
    axes.set_xticks([task - 1 for task in shown], shown)
    axes.set_yticks([0, *shown], ["none", *shown])
    axes.set(xlabel="on task", ylabel="after task")
    if width / tasks >= 0.18:
        _numbers(axes, values, min(8.0, 25 * width / tasks), lower)
    return image


def _numbers(axes: Axes, values: np.ndarray, size: float, lower: bool) -> None:
    """Per cent in each cell, legible on it."""
    for (i, j), value in np.ndenumerate(values):
        if not np.isnan(value):
            ink = "white" if (value > 0.5 if lower else value < 0.5) else "black"
            axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=size, color=ink)


def legend(figure: Figure, width: float) -> None:
    """One legend for all axes, below them, each name once."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    names = [wrapped(label, 36) for label in found]
    longest = max(len(line) for name in names for line in name.split("\n"))
    most = max(1, min(len(names), int(width / (0.06 * longest + 0.55))))
    columns = -(-len(names) // -(-len(names) // most))  # as many in one row as in another
    figure.legend(found.values(), names, loc="outside lower center", ncols=columns, frameon=False, handlelength=2.6)


def wrapped(name: str, width: int) -> str:
    """A name on several lines, of which none is longer than ``width`` characters; a dollar in it begins no formula."""
    return "\n".join(_Wrapper(width).wrap(name)).replace("$", r"\$")


class _Wrapper(textwrap.TextWrapper):
    """Breaks dotted names and settings too: between words, and after a dot, a stroke or a sign of equality."""

    wordsep_re = re.compile(r"(\s+|(?<=[.=_/])(?=[^\s\d]))")
