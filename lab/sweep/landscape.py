"""Figures of one arm's space: its objective against each setting, over all of them at once, over two at a time."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from lab.report.drawing import PAGE, empty, for_print, wrapped
from lab.sweep.axes import Axis, words
from lab.sweep.found import Arm, Trial, sign_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 2
"""Complete trials with different values: of one there is no landscape."""

MOST = 3
"""Settings whose pairs are drawn as contours: the most important ones."""


def known(arm: Arm, objective: str) -> list[Trial]:
    """Complete trials, the worst first, so that the best are drawn last."""
    sound = [trial for trial in arm.complete if np.isfinite(trial.values[objective])]
    return sorted(sound, key=lambda trial: sign_of(arm.objectives[objective]) * trial.values[objective])


def ranked(arm: Arm, objective: str) -> list[Axis]:
    """The arm's axes, the most important first, where that is known."""
    shares = arm.importances[objective]
    return sorted(arm.axes, key=lambda axis: -shares.get(axis.key, 0.0))


@for_print
def slices(arm: Arm, objective: str) -> Figure | None:
    """The objective against each setting, a panel a setting; what else varies is different from dot to dot."""
    trials, axes = known(arm, objective), ranked(arm, objective)
    if len(trials) < LEAST or not axes:
        return None
    across = min(4, len(axes))
    down = -(-len(axes) // across)
    figure = empty(min(PAGE, 2.4 * across + 0.4), 1.9 * down + 0.2)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).ravel()
    for panel, axis in zip(panels, axes, strict=False):
        mine = [trial for trial in trials if axis.key in trial.settings]
        order = [trial.number for trial in mine]
        where = axis.places(trial.settings[axis.key] for trial in mine)
        style = {"c": order, "cmap": "cividis_r", "vmin": 0, "vmax": len(arm.trials) - 1, "s": 14, "zorder": 2}
        dots = panel.scatter(where, [trial.values[objective] for trial in mine], **style)
        _along(panel, axis)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in panels[::across]:
        panel.set_ylabel(words(objective))
    for panel in panels[len(axes) :]:
        panel.remove()
    ends = [0, len(arm.trials) - 1]
    figure.colorbar(dots, ax=list(panels[: len(axes)]), label="trial", aspect=30, ticks=ends)
    figure.suptitle(arm.name, fontsize=8)
    return figure


@for_print
def parallel(arm: Arm, objective: str) -> Figure | None:
    """Parallel coordinates: an upright axis a setting, a line a trial, in the colour of the objective on the last axis."""
    trials, axes = [trial for trial in known(arm, objective) if len(trial.settings) == len(arm.axes)], arm.axes
    if len(trials) < LEAST or len(axes) < 1:
        return None
    values = np.array([trial.values[objective] for trial in trials])
    last = Axis(objective, float(values.min()), float(values.max()))
    where = np.stack([*(axis.places(trial.settings[axis.key] for trial in trials) for axis in axes), last.places(values)], 1)
    figure = empty(min(PAGE, 1.5 * (len(axes) + 1) + 0.6), 2.6)
    panel = figure.add_subplot()
    colours = _shades(values, sign_of(arm.objectives[objective]))
    for line, colour in zip(where, colours, strict=True):
        panel.plot(np.arange(len(line)), line, color=colour, linewidth=0.9, alpha=0.8)
    for place, axis in enumerate([*axes, last]):
        panel.axvline(place, color="black", linewidth=0.6)
        for height, text in axis.ticks():
            panel.annotate(
                text.replace("$", r"\$"), (place, height), (3, 0), textcoords="offset points", va="center", fontsize=7
            )
    panel.set_xticks(range(len(axes) + 1), [wrapped(axis.key, 16) for axis in [*axes, last]])
    panel.set(xlim=(-0.05, len(axes) + 0.35), ylim=(-0.04, 1.04), yticks=[])
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    panel.set_title(f"{arm.name} (light: better)", loc="left")
    return figure


def _shades(values: np.ndarray, sign: int) -> np.ndarray:
    """A colour a value, light where it is good, ``[N, 4]``."""
    import matplotlib

    span = np.ptp(values)
    shares = (values - values.min()) / span if span else np.full(len(values), 0.5)
    return matplotlib.colormaps["cividis"](shares if sign > 0 else 1 - shares)


@for_print
def contours(arm: Arm, objective: str) -> Figure | None:
    """The objective over pairs of the most important settings, linear between trials (Delaunay's triangles); what else varies
    is different from dot to dot. None where fewer than two settings vary."""
    trials = [trial for trial in known(arm, objective) if len(trial.settings) == len(arm.axes)]
    pairs = list(combinations(ranked(arm, objective)[:MOST], 2))
    values = np.array([trial.values[objective] for trial in trials])
    if not pairs or len(trials) < LEAST or not np.ptp(values):
        return None
    figure = empty(min(PAGE, 2.6 * len(pairs) + 0.6), 2.5)
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    good = sign_of(arm.objectives[objective]) > 0
    for panel, (one, other) in zip(panels, pairs, strict=True):
        where = np.stack([axis.places(trial.settings[axis.key] for trial in trials) for axis in (one, other)])
        style = {"cmap": "cividis" if good else "cividis_r", "vmin": values.min(), "vmax": values.max()}
        _surface(panel, *_merged(where, values), style)
        dots = panel.scatter(*where, c=values, s=14, edgecolors="black", linewidths=0.4, zorder=2, **style)
        _along(panel, one)
        ticks = other.ticks()
        panel.set_yticks([place for place, _ in ticks], [text for _, text in ticks])
        panel.set(ylabel=wrapped(other.key, 28), ylim=(-0.05, 1.05))
    figure.colorbar(dots, ax=list(panels), label=words(objective))
    figure.suptitle(arm.name, fontsize=8)
    return figure


def _merged(where: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places ``[2, N]`` without doubles, each with the mean of its values."""
    places, which = np.unique(where, axis=1, return_inverse=True)
    which = which.ravel()
    return places, np.bincount(which, values) / np.bincount(which)


def _surface(panel: Axes, where: np.ndarray, values: np.ndarray, style: dict) -> None:
    """Filled contours through places ``[2, N]``, where these span a plane: choices of a grid may lie on one line."""
    if where.shape[1] < 3 or min(len(np.unique(row)) for row in where) < 2 or not np.ptp(values):
        return
    spread = where - where.mean(1, keepdims=True)
    if np.linalg.matrix_rank(spread, tol=1e-6) == 2:
        panel.tricontourf(*where, values, levels=np.linspace(style["vmin"], style["vmax"], 12), alpha=0.75, **style)


def _along(panel: Axes, axis: Axis) -> None:
    ticks = axis.ticks()
    names = [text.replace("$", r"\$") for _, text in ticks]
    panel.set_xticks([place for place, _ in ticks], names)
    if max(map(len, names)) * len(names) > 24:
        panel.tick_params(axis="x", rotation=30)
    panel.set_xlabel(wrapped(axis.key, 24))
    panel.set_xlim(-0.05, 1.05)
