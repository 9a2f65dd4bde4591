"""What is scheduled, as a figure: learning rate and quality of the data over training, where weights are averaged, where tasks
end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lab.cell import deciding, of_each_member
from lab.report.curves import thinned
from lab.report.drawing import COLOURS, empty, look, wrapped
from lab.report.summary import mean_over_members

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_LINES = len(COLOURS)
"""Of members with schedules of their own; of more, evenly spaced ones."""

MOST_ENDS = 50
"""Of tasks, that are marked."""

TAKEN = {"linestyle": "", "marker": "o", "markerfacecolor": "white", "markersize": 4}
"""What marks a step behind which weights are taken in."""

# --- numbers ----------------------------------------------------------------------------------------------------------


def plain(config: dict[str, Any]) -> bool:
    """Whether nothing is scheduled: data in random order, a constant rate, no average of weights."""
    return not {"order", "schedule", "averaging"} & deciding(config).keys()


def peaks(config: dict[str, Any]) -> np.ndarray:
    """What rates are given as shares of, ``[M, 1]`` or ``[1, 1]``: `optimizer.lr`, or 1 for an optimiser that has none."""
    return np.reshape((config.get("optimizer") or {}).get("lr", 1.0), (-1, 1))


def learning_rates(scheduled: dict[str, Any], config: dict[str, Any]) -> np.ndarray:
    """``[M, P]``, NaN where a member rests."""
    return np.asarray(scheduled["rate"]) * peaks(config)


def over_decades(rates: list[np.ndarray]) -> bool:
    """Whether learning rates span so much that their axis is best logarithmic."""
    positive = np.concatenate([each[each > 0] for each in rates])
    return bool(len(positive)) and positive.max() > 10 * positive.min()


def kinds(config: dict[str, Any], members: int) -> dict[str, list[int]]:
    """The members that have the same settings of the rate, by what these are: ``schedule.final=0.1``; one kind without a name
    where all have the same."""
    listed = of_each_member(config, members)
    own = {key: values for key, values in listed.items() if key.startswith("schedule.") or key == "optimizer.lr"}
    differing = {key: values for key, values in own.items() if len(set(map(str, values))) > 1}
    found: dict[str, list[int]] = {}
    for member in range(members):
        name = ", ".join(f"{key}={_written(values[member])}" for key, values in differing.items())
        found.setdefault(name, []).append(member)
    return found


def kind_of_score(config: dict[str, Any]) -> str:
    """``quality``, or ``score`` where data are ordered by another one."""
    return "quality" if (config.get("order") or {}).get("score", "quality") == "quality" else "score"


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# --- figures ----------------------------------------------------------------------------------------------------------


def figure(scheduled: dict[str, Any], config: dict[str, Any], title: str = "") -> Figure:
    """Learning rate over training steps, below it the mean quality of what is met around them, where that is known; circles
    where weights are taken in for an average, thin lines where tasks end."""
    panels = 1 if scheduled["quality"] is None else 2
    figure = empty(6.4, 1.0 + 1.9 * panels)
    upper, *lower = figure.subplots(panels, 1, sharex=True, squeeze=False).ravel()
    _draw_rates(upper, scheduled, config)
    for axes in lower:
        _draw_quality(axes, scheduled, config)
    for axes in (upper, *lower):
        _draw_ends(axes, scheduled["tasks"])
        axes.spines[["top", "right"]].set_visible(False)
    [*lower, upper][0].set_xlabel("training step")
    upper.set_xlim(0, scheduled["steps"][-1] + 1)
    upper.set_title(wrapped(title, 70), fontsize=10)
    figure.align_ylabels()
    return figure


def _draw_rates(axes: Axes, scheduled: dict[str, Any], config: dict[str, Any]) -> None:
    steps, rates = np.array(scheduled["steps"]), learning_rates(scheduled, config)
    shown = list(kinds(config, len(rates)).items())
    for number in thinned(np.arange(len(shown)), MOST_LINES):
        name, members = shown[number]
        mean, style = mean_over_members(rates[members]), look(number)
        axes.plot(steps, mean, label=name, color=style["color"], linestyle=style["linestyle"], linewidth=1.2)
        known, taken = ~np.isnan(mean), scheduled["snapshots"][members[0]]
        if taken:
            at = np.interp(taken, steps[known], mean[known])
            axes.plot(taken, at, color=style["color"], clip_on=False, zorder=3, **TAKEN)
    if any(scheduled["snapshots"]):
        axes.plot([], [], color="0.3", label="weights taken in for the average", **TAKEN)
    elif scheduled["every"]:
        axes.plot([], [], " ", label=f"weights taken in every {scheduled['every']} steps")
    if over_decades([rates]):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.08 * np.nanmax(rates))
    axes.set_ylabel("learning rate")
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(fontsize=7, framealpha=0.9, edgecolor="none")


def _draw_quality(axes: Axes, scheduled: dict[str, Any], config: dict[str, Any]) -> None:
    # What each member meets is known, not estimated: the shade is from the least to the most of them.
    steps, values = np.array(scheduled["steps"]), np.asarray(scheduled["quality"], dtype=float)
    known = ~np.isnan(values).all(0)
    own, style = values[:, known], look(0)
    axes.plot(steps[known], np.nanmean(own, 0), color=style["color"], linewidth=1.2)
    axes.fill_between(steps[known], np.nanmin(own, 0), np.nanmax(own, 0), color=style["color"], alpha=0.2, linewidth=0)
    axes.set_ylabel(f"mean {kind_of_score(config)}\nof samples met")


def _draw_ends(axes: Axes, ends: list[int]) -> None:
    for end in ends[:-1] if len(ends) <= MOST_ENDS else ():
        axes.axvline(end + 0.5, color="0.6", linewidth=0.5, zorder=0)
