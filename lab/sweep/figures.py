"""Figures of a sweep over all its arms: history, importances, optimism, fronts."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab.report.drawing import COLUMN, PAGE, empty, for_print, legend, look, wrapped, write
from lab.sweep.axes import words
from lab.sweep.found import COMPLETE, PRUNED, Found, reached, sign_of
from lab.sweep.landscape import contours, parallel, slices
from lab.sweep.winning import OPTIMISM, Standing, standings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FORCED = "chosen on test data"


def drawn(found: Found) -> dict[str, Figure]:
    """All figures that the trials allow, by name; where trials were judged by test data, each says so."""
    figures: dict[str, Figure | None] = {}
    for objective in found.objectives:
        figures[f"history-{objective}"] = history(found, objective)
        figures[f"importances-{objective}"] = importances(found, objective)
        figures[f"optimism-{objective}"] = optimism(found, objective)
        for arm in found.arms:
            figures[f"slices-{arm.name}-{objective}"] = slices(arm, objective)
            figures[f"parallel-{arm.name}-{objective}"] = parallel(arm, objective)
            figures[f"contours-{arm.name}-{objective}"] = contours(arm, objective)
    for pair in combinations(found.objectives, 2):
        figures[f"front-{'-'.join(pair)}"] = front(found, *pair)
    made = {name: figure for name, figure in figures.items() if figure is not None}
    for figure in made.values() if found.forced else ():
        figure.text(1, 1, FORCED, ha="right", va="top", fontsize=6, color="#a63c00")
    return made


def write_figures(found: Found, folder: Path) -> list[Path]:
    """All of them as PNG and SVG; those of an earlier state of the sweep that are no more are removed."""
    files = [file for name, figure in drawn(found).items() for file in write(figure, folder / name, dots=220)]
    for stale in set(folder.glob("*.*")) - set(files):
        stale.unlink()
    return files


@for_print
def history(found: Found, objective: str) -> Figure | None:
    """Each trial's objective in the order of trials, and the best so far as a line: complete trials filled, pruned ones hollow
    at what they had reached. None before the first."""
    if not any(np.isfinite(trial.values[objective]) for _, trial in found.trials):
        return None
    figure = empty(PAGE * 0.7, 2.6)
    axes = figure.add_subplot()
    for number, arm in enumerate(found.arms):
        style, trials = look(number), arm.trials
        for state, face in ((COMPLETE, style["color"]), (PRUNED, "none")):
            known = [trial for trial in trials if trial.state == state]
            place, value = [trial.number for trial in known], [trial.values[objective] for trial in known]
            face = {"markerfacecolor": face, "markeredgecolor": style["color"], "markeredgewidth": 0.6}
            axes.plot(place, value, linestyle="none", marker=style["marker"], markersize=3, alpha=0.7, **face)
        best = reached(trials, objective, found.objectives[objective])
        line = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.2, "drawstyle": "steps-post"}
        axes.plot(np.arange(len(best)), best, label=arm.name, **line)
    _finish(axes, "trial", words(objective))
    axes.locator_params(axis="x", integer=True)
    legend(figure, PAGE * 0.7)
    return figure


@for_print
def importances(found: Found, objective: str) -> Figure | None:
    """How much of the objective's variance each setting explains, a panel an arm; None where no arm has trials enough."""
    known = [(arm.name, shares) for arm in found.arms if (shares := arm.importances[objective])]
    if not known:
        return None
    heights = [len(shares) for _, shares in known]
    figure = empty(COLUMN, 0.2 * sum(heights) + 0.4 * len(known) + 0.4)
    panels = figure.subplots(len(known), 1, height_ratios=heights, sharex=True, squeeze=False)[:, 0]
    for axes, (name, shares) in zip(panels, known, strict=True):
        place = np.arange(len(shares))
        axes.barh(place, list(shares.values()), height=0.6, color=look(0)["color"])
        axes.set_yticks(place, [wrapped(key, 28) for key in shares])
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_title(name, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel(f"share of the variance of {words(objective)}")
    return figure


@for_print
def optimism(found: Found, objective: str) -> Figure | None:
    """The winner and the default configuration of each arm: what tuning streams said, and what fresh seeds said, with 95 %
    intervals. None before anything was run on fresh seeds, and of what a configuration costs, which no seed changes."""
    known = standings(found, objective)
    if objective.startswith("cost.") or not any(row.fresh for row in known):
        return None
    names = list(dict.fromkeys(row.arm for row in known))
    figure = empty(COLUMN * 1.4, 0.55 * len(known) + 0.9)
    axes = figure.add_subplot()
    places = np.arange(len(known)) + 0.35 * np.array([names.index(row.arm) for row in known])
    for place, row in zip(places, known, strict=True):
        _standing(axes, place, row, look(names.index(row.arm))["color"])
    axes.set_yticks(places, [wrapped(f"{row.arm} {row.what}", 22) for row in known])
    axes.set_ylim(places[-1] + 0.6, -0.6)
    for label, marker, face in (("on tuning streams", "o", "white"), ("on fresh seeds, 95 %", "D", "0.4")):
        axes.plot([], [], marker, color="0.4", markerfacecolor=face, markersize=4, label=label)
    _finish(axes, words(objective), "")
    legend(figure, COLUMN * 1.4)
    return figure


def _standing(axes: Axes, place: float, row: Standing, colour: str) -> None:
    """Above what tuning said, seeds as dots; below it what fresh seeds said."""
    for shift, one, face in ((-0.15, row.tuning, "white"), (0.15, row.fresh, colour)):
        if one is None:
            continue
        axes.plot(one.values, np.full(len(one.values), place + shift), "|", color=colour, markersize=5, alpha=0.5)
        if shift > 0:
            axes.plot([one.low, one.high], [place + shift] * 2, color=colour, linewidth=1.4, solid_capstyle="butt")
        axes.plot(one.mean, place + shift, "D" if shift > 0 else "o", color=colour, markerfacecolor=face, markersize=4.5)
    if row.optimism is not None:
        note = f"{OPTIMISM} {row.optimism:+.3g}"
        axes.annotate(note, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=7, color="0.3")


@for_print
def front(found: Found, across: str, up: str) -> Figure | None:
    """All complete trials by two objectives; those that none dominates in all objectives are filled and joined by a line."""
    best = {(arm.name, trial.number) for arm, trial in found.front()}
    if not best:
        return None
    figure = empty(PAGE * 0.6, 3.0)
    axes = figure.add_subplot()
    for number, arm in enumerate(found.arms):
        style = look(number)
        for held in (False, True):
            known = [trial.values for trial in arm.complete if ((arm.name, trial.number) in best) == held]
            face = {"markerfacecolor": style["color"] if held else "none", "markeredgecolor": style["color"]}
            label = {"label": arm.name} if held or not any(name == arm.name for name, _ in best) else {}
            point = {"linestyle": "none", "marker": style["marker"], "markersize": 4, "alpha": 1 if held else 0.5}
            axes.plot([value[across] for value in known], [value[up] for value in known], **point, **face, **label)
    if len(found.objectives) == 2:
        points = np.array(sorted((trial.values[across], trial.values[up]) for _, trial in found.front()))
        steps = "steps-post" if sign_of(found.objectives[across]) < 0 else "steps-pre"
        axes.plot(*points.T, color="0.5", linewidth=0.8, drawstyle=steps, zorder=0)
    _log_where_wide(axes, found, across)
    _finish(axes, f"{words(across)} ({_better(found, across)})", f"{words(up)} ({_better(found, up)})")
    legend(figure, PAGE * 0.6)
    return figure


def _better(found: Found, objective: str) -> str:
    return "more is better" if found.objectives[objective] == "maximize" else "less is better"


def _log_where_wide(axes: Axes, found: Found, objective: str) -> None:
    """A logarithmic axis where an objective spans more than a decade, as bytes of memory do."""
    values = np.array([trial.values[objective] for arm in found.arms for trial in arm.complete])
    if len(values) and (values > 0).all() and values.max() > 10 * values.min():
        axes.set_xscale("log")


def _finish(axes: Axes, across: str, up: str) -> None:
    axes.set(xlabel=across, ylabel=up)
    axes.spines[["top", "right"]].set_visible(False)
