"""Figures of a run: the accuracy matrix as a heat map, accuracy over time with bands over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab.recorded import load_recorded
from lab.report import inside, lags, ruled, scheduled
from lab.report.curves import by_steps, by_tasks, of_tasks_met, thinned
from lab.report.drawing import band, empty, look, matrix, write
from lab.results import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 20
"""Tasks that have a line of their own; of more, evenly spaced ones."""


def accuracy_matrix(results: Results) -> Figure:
    """Mean accuracy over members after each task (rows) on each task (columns); undefined cells are hatched."""
    figure = empty(5.0, 4.2)
    axes = figure.add_subplot()
    matrix(axes, results, 4.2)
    axes.set_title("accuracy, mean over seeds", fontsize=10)
    return figure


def accuracy_over_time(results: Results) -> Figure:
    """Accuracy on each task over training, mean and 95 % interval over seeds."""
    figure = empty(6.4, 3.8)
    axes = figure.add_subplot()
    time = by_steps(results)
    tasks = time.accuracy.shape[2]
    for number, task in enumerate(thinned(np.arange(tasks), SHOWN)):
        band(axes, time.where, time.accuracy[:, :, task], f"task {task + 1}", look(number), number)
    axes.set(xlabel=time.label, ylabel="accuracy", ylim=(-0.02, 1.02))
    axes.legend(fontsize=7, ncols=1 if tasks <= 10 else 2, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def met_again(results: Results) -> Figure | None:
    """Samples of earlier tasks in each phase, by lag, mean over members; None where nothing was met again."""
    counts = lags.met_again(results)
    if counts is None:
        return None
    figure = empty(4.6, 3.6)
    axes = figure.add_subplot()
    figure.colorbar(lags.draw_met_again(axes, counts), label="samples, mean over seeds")
    axes.set_title("met again", fontsize=10)
    return figure


def forgetting_by_lag(results: Results) -> Figure | None:
    """Forgetting against the time since, on logarithmic axes; None where no power law fits."""
    if "forgetting_exponent" not in results.metrics or "forgetting_exponent" in results.undefined:
        return None
    figure = empty(4.6, 3.6)
    axes = figure.add_subplot()
    lags.draw_forgetting(axes, "forgetting", results, 0)
    lags.finish_forgetting(axes, [("forgetting", results)], size=8)
    axes.set_ylabel("forgetting")
    return figure


def what_was_scheduled(results: Results, title: str = "") -> Figure | None:
    """Learning rate and quality of the data over training; None where nothing was scheduled, or it is not known."""
    if results.scheduled is None or scheduled.plain(results.config):
        return None
    return scheduled.figure(results.scheduled, results.config, title)


def violations(results: Results, title: str = "") -> Figure | None:
    """How many break each rule, after each task on each task; None without rules."""
    names = ruled.violations(results)
    if not names:
        return None
    across = min(len(names), 3)
    down = -(-len(names) // across)
    figure = empty(3.2 * across, 2.9 * down)
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(down, across, place)
        matrix(axes, results, 2.6, name)
        axes.set_title(ruled.in_words(name), fontsize=10)
    figure.suptitle(" · ".join(filter(None, (title, "per cent that break rules, mean over seeds"))), fontsize=10)
    return figure


def overview(runs: list[tuple[str, Results]]) -> Figure:
    """Several strategies' matrices side by side, and below them the average accuracy on the tasks met so far."""
    figure = empty(3.2 * len(runs), 6.0)
    grid = figure.add_gridspec(2, len(runs), height_ratios=(1.25, 1))
    below = figure.add_subplot(grid[1, :])
    for number, (name, results) in enumerate(runs):
        axes = figure.add_subplot(grid[0, number])
        matrix(axes, results, 2.6)
        axes.set_title(name, fontsize=10)
        time = by_tasks(results)
        band(below, time.where[1:], of_tasks_met(time)[:, 1:], name, look(number))
    below.set(xlabel=time.label, ylabel="accuracy on tasks met", ylim=(0, 1.02), xticks=time.where[1:])
    below.legend(frameon=False, fontsize=8)
    return figure


def write_run_figures(results: Results, folder: Path) -> list[Path]:
    """All figures of a run, in its folder ``figures``, unless they are there."""
    if (folder / "figures" / "accuracy_over_time.svg").exists():
        return sorted((folder / "figures").iterdir())
    drawn = {"met_again": met_again(results), "forgetting_by_lag": forgetting_by_lag(results)}
    drawn |= {"scheduled": what_was_scheduled(results), "violations": violations(results)}
    recorded = load_recorded(folder)
    films = inside.write_film(recorded, folder / "figures" / "inside.gif")
    drawn |= {"inside": inside.over_time(recorded)}
    drawn |= {"accuracy_matrix": accuracy_matrix(results), "accuracy_over_time": accuracy_over_time(results)}
    return [*films, *(file for name, figure in drawn.items() if figure for file in write(figure, folder / "figures" / name))]
