"""What time does: forgetting by lag with the power law through it, how fast each task is learnt, what was met again when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lab.metrics import CRITERION
from lab.metrics.lags import counts_by_lag, forgetting_by_lag, power_law
from lab.metrics.learning import areas, steps_to
from lab.report.curves import settled
from lab.report.drawing import band, look
from lab.report.summary import mean_over_members, overall
from lab.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAG_TICKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)
LEAST_SHOWN = 1e-3
"""Forgetting below it (or none, or less than none) is at the lower edge of axes that are logarithmic, which says so."""

MOST_ASIDE = 8
"""Exponents that find room in the corner of a panel."""


@dataclass(frozen=True)
class Series:
    """Values ``[M, E]`` of the members that did not diverge, at places ``where`` ``[E]``."""

    where: np.ndarray
    values: np.ndarray


# --- numbers ----------------------------------------------------------------------------------------------------------


def by_lag(results: Results) -> Series:
    """Forgetting so many tasks after a task, mean over tasks."""
    values, _ = forgetting_by_lag(settled(results))
    return Series(np.arange(1, values.shape[1] + 1), values)


def fitted(results: Results) -> tuple[float, float]:
    """``a`` and ``b`` of the power law ``a t^b`` through the mean over members of forgetting by lag; NaN where there is
    none."""
    values, counts = forgetting_by_lag(settled(results))
    (a,), (b,) = power_law(mean_over_members(values)[None], counts.max(0, initial=0)[None])
    return float(a), float(b)


def has_target(results: Results) -> bool:
    """Whether weights began anew while there were curves."""
    return bool(results.curves and results.curves.get("fresh"))


def on_target(results: Results) -> Series:
    """Accuracy on the target, mean over its tasks, those since the weights last began anew, by the steps since then. Nothing
    where they never did."""
    if not has_target(results):
        return Series(np.empty(0), np.empty((1, 0)))
    target = max(results.curves["fresh"])
    steps, here = np.array(results.curves["steps"]), np.array(results.curves["task"]) > target
    kept = [step is None for step in results.diverged]
    return Series(steps[here] - steps[~here].max(), np.asarray(results.curves["accuracy"])[kept][:, here, target:].mean(2))


def areas_by_task(results: Results) -> Series:
    """The area under each task's own learning curve."""
    return _by_task(results, areas)


def steps_by_task(results: Results) -> Series:
    """Steps to the criterion of each task; a task that does not come to it has those of its whole phase. Nothing where no task
    does."""
    if "steps_to_criterion" in results.undefined:
        return Series(np.arange(1, results.accuracy.shape[2] + 1), np.full((1, results.accuracy.shape[2]), np.nan))
    criterion = results.config.get("evaluation", {}).get("criterion", CRITERION)
    return _by_task(results, lambda *curves: steps_to(criterion, *curves)[0])


def _by_task(results: Results, of: Callable[..., np.ndarray]) -> Series:
    tasks = results.accuracy.shape[2]
    joint = tasks > 1 and bool(np.isnan(results.accuracy[:, 1:-1]).all())  # no task has a phase of its own
    if not results.curves or joint:
        return Series(np.arange(1, tasks + 1), np.full((1, tasks), np.nan))
    kept = [step is None for step in results.diverged]
    points, fresh = np.asarray(results.curves["accuracy"])[kept], results.curves.get("fresh", ())
    measured = of(points, np.array(results.curves["steps"]), np.array(results.curves["task"]), fresh)
    return Series(np.arange(1, tasks + 1), measured)


def met_again(results: Results) -> np.ndarray | None:
    """Samples of earlier tasks in each phase by lag, shown by the stream and rehearsed together, mean over members: for
    lags 1 .. T - 1 ``[P, T - 1]``, NaN where there is no task of that lag. None where nothing was met again, or nobody
    counted."""
    if not results.encounters:
        return None
    counts = mean_over_members((results.encounters["shown"] + results.encounters["rehearsed"]).astype(float))
    found = counts_by_lag(counts, results.encounters["task"])
    return found if np.nansum(found) > 0 else None


def exponent(results: Results) -> str:
    """``b = 0.42 [0.35, 0.49]``, the mean over members of the fitted exponent, ``b = 2.35 (3 of 20 seeds)`` where few have
    one; empty where none has."""
    values = np.asarray(results.metrics.get("forgetting_exponent", np.full(1, np.nan)), dtype=float)
    found = overall(values)
    if not found.n:
        return ""
    if found.n < len(values):
        return f"b = {found.mean:.2f} ({found.n} of {len(values)} seeds)"
    return f"b = {found.mean:.2f}" + (f" [{found.low:.2f}, {found.high:.2f}]" if found.n > 1 else "")


def seen(results: Results) -> bool:
    """Whether forgetting is above the lower edge at any lag, mean over members."""
    return bool((mean_over_members(by_lag(results).values) > LEAST_SHOWN).any())


# --- figures ----------------------------------------------------------------------------------------------------------


def draw_forgetting(axes: Axes, name: str, results: Results, number: int) -> None:
    """Forgetting by lag on logarithmic axes, mean and 95 % band, and dotted the power law through it; what is below the lower
    edge runs along it."""
    series, style = by_lag(results), look(number)
    a, b = fitted(results)
    known = (~np.isnan(series.values)).any(0)
    if not known.any():
        axes.plot([], [], label=f"{name} (undefined)", **style)
        return
    band(axes, series.where[known], series.values[:, known], name, style, number, least=LEAST_SHOWN)
    fit = a * series.where**b
    shown = np.where(fit > LEAST_SHOWN, fit, np.nan)
    if np.isfinite(shown).any():
        axes.plot(series.where, shown, color=style["color"], linestyle=(0, (1, 1.5)), linewidth=1)


def finish_forgetting(axes: Axes, named: list[tuple[str, Results]], size: float) -> None:
    """Axes that these have been drawn on by :func:`draw_forgetting`, the exponents in a corner in letters of that size; where
    nothing is forgotten, they say so."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator, ScalarFormatter

    longest = max((line.get_xdata().max() for line in axes.lines if len(line.get_xdata())), default=1)
    axes.set(xscale="log", yscale="log", xlabel="lag in tasks", ylim=(0.75 * LEAST_SHOWN, 1))
    axes.xaxis.set(
        major_locator=FixedLocator([t for t in LAG_TICKS if t <= longest]), major_formatter=ScalarFormatter(),
        minor_locator=NullLocator(),
    )  # fmt: skip
    axes.yaxis.set(major_formatter=FuncFormatter(_percent), minor_formatter=NullFormatter())
    axes.spines[["top", "right"]].set_visible(False)
    known = [(name, results) for name, results in named if not np.isnan(by_lag(results).values).all()]
    if known and not any(seen(results) for _, results in known):
        words = f"forgetting is at no lag\nabove {100 * LEAST_SHOWN:g} %, mean over seeds"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", fontsize=size)
    else:
        _exponents(axes, known, size)


def _exponents(axes: Axes, known: list[tuple[str, Results]], size: float) -> None:
    """The exponents in the upper left corner, which is free where more is forgotten as time goes by."""
    from matplotlib.legend import Legend

    lines = {line.get_label(): line for line in axes.lines}
    words = {name: exponent(results) if seen(results) else f"at most {100 * LEAST_SHOWN:g} %" for name, results in known}
    words = {name: found for name, found in words.items() if found}
    if 0 < len(words) <= MOST_ASIDE:
        corner = {"loc": "upper left", "frameon": False, "fontsize": size, "handlelength": 1.6, "borderaxespad": 0.0}
        axes.add_artist(Legend(axes, [lines[name] for name in words], list(words.values()), labelspacing=0.15, **corner))


def _percent(value: float, _: int) -> str:
    return f"≤{100 * LEAST_SHOWN:g}%" if value == LEAST_SHOWN else f"{100 * value:g}%"


def draw_met_again(axes: Axes, counts: np.ndarray) -> object:
    """Samples met again ``[P, L]`` as a matrix, colours logarithmic; white where none was, hatched where no task has
    that lag."""
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    axes.set_facecolor("0.92")
    axes.patch.set(hatch="////", edgecolor="0.7")
    phases, lags = counts.shape
    extent = (0.5, lags + 0.5, phases + 0.5, 0.5)
    axes.imshow(np.where(np.isnan(counts), np.nan, 0), cmap="Greys", vmin=0, vmax=1, extent=extent, aspect="auto")
    shown = np.where(counts > 0, counts, np.nan)
    image = axes.imshow(
        shown, cmap="cividis", norm=LogNorm(max(1, np.nanmin(shown)), max(2, np.nanmax(shown))), extent=extent, aspect="auto"
    )
    axes.set(xlabel="lag in tasks", ylabel="in the phase of task")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(8, integer=True))
    return image
