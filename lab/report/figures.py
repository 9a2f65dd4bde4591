"""Figures of a run: the accuracy matrix as a heat map, accuracy over time with bands over seeds."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lab.report.summary import interval
from lab.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000")


def accuracy_matrix(results: Results) -> Figure:
    """Mean accuracy over members after each task (rows) on each task (columns); undefined cells are hatched."""
    figure = _figure(5.0, 4.2)
    axes = figure.add_subplot()
    _matrix(axes, results)
    axes.set_title("accuracy, mean over seeds", fontsize=10)
    return figure


def accuracy_over_time(results: Results) -> Figure:
    """Accuracy on each task over training, mean and 95 % interval over seeds."""
    figure = _figure(6.4, 3.8)
    axes = figure.add_subplot()
    steps, values, label = _timeline(results)
    for task in range(min(values.shape[2], 20)):
        _band(axes, steps, values[:, :, task], OKABE_ITO[task % len(OKABE_ITO)], f"task {task + 1}")
    axes.set(xlabel=label, ylabel="accuracy", ylim=(0, 1.02))
    axes.legend(fontsize=7, ncols=2, frameon=False)
    return figure


def overview(runs: list[tuple[str, Results]]) -> Figure:
    """Several strategies' matrices side by side, and below them the average accuracy on the tasks met so far."""
    figure = _figure(3.2 * len(runs), 6.0)
    grid = figure.add_gridspec(2, len(runs), height_ratios=(1.25, 1))
    below = figure.add_subplot(grid[1, :])
    for number, (name, results) in enumerate(runs):
        axes = figure.add_subplot(grid[0, number])
        _matrix(axes, results)
        axes.set_title(name, fontsize=10)
        met = [results.accuracy[:, i, :i].mean(1) for i in range(1, results.accuracy.shape[1])]
        where = np.arange(1, len(met) + 1)
        marker = "o" if np.isnan(met[0]).any() else None
        _band(below, where, np.stack(met, 1), OKABE_ITO[number], name, marker)
    below.set(xlabel="tasks trained", ylabel="accuracy on tasks met", ylim=(0, 1.02), xticks=where)
    below.legend(frameon=False, fontsize=8)
    return figure


def write(figure: Figure, path: Path) -> list[Path]:
    """The figure as ``path``.png and ``path``.svg."""
    files = [path.with_suffix(f".{kind}") for kind in ("png", "svg")]
    path.parent.mkdir(parents=True, exist_ok=True)
    for file in files:
        figure.savefig(file, dpi=150)
    return files


def write_run_figures(results: Results, folder: Path) -> list[Path]:
    """All figures of a run, in its folder ``figures``, unless they are there."""
    if (folder / "figures" / "accuracy_over_time.svg").exists():
        return sorted((folder / "figures").iterdir())
    drawn = {"accuracy_matrix": accuracy_matrix(results), "accuracy_over_time": accuracy_over_time(results)}
    return [file for name, figure in drawn.items() for file in write(figure, folder / "figures" / name)]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _matrix(axes: Axes, results: Results) -> None:
    values = _mean(results.accuracy)
    tasks = values.shape[1]
    axes.set_facecolor("0.9")
    axes.patch.set(hatch="////", edgecolor="0.7")
    axes.imshow(values, vmin=0, vmax=1, cmap="cividis", aspect="auto")
    axes.set(xlabel="on task", ylabel="after task")
    if tasks <= 12:
        axes.set_xticks(range(tasks), range(1, tasks + 1))
        axes.set_yticks(range(tasks + 1), ["none", *range(1, tasks + 1)])
        for (i, j), value in np.ndenumerate(values):
            if not np.isnan(value):
                axes.text(
                    j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color="white" if value < 0.5 else "black"
                )


def _timeline(results: Results) -> tuple[np.ndarray, np.ndarray, str]:
    """Where accuracy was measured ``[E]``, and it ``[M, E, T]``: the curves, or else the rows of the matrix."""
    if results.curves:
        return np.array(results.curves["steps"]), results.curves["accuracy"], "steps"
    return np.arange(results.accuracy.shape[1]), results.accuracy, "tasks trained"


def _band(axes: Axes, where: np.ndarray, values: np.ndarray, colour: str, name: str, marker: str | None = None) -> None:
    """Mean and interval of values ``[M, E]``; a gap where undefined."""
    mean, low, high = np.array([interval(values[:, e]) for e in range(values.shape[1])]).T
    axes.plot(where, mean, color=colour, label=name, linewidth=1.6, marker=marker)
    axes.fill_between(where, low, high, color=colour, alpha=0.2, linewidth=0)


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over members that are defined; NaN where none is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(values, 0)
