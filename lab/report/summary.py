"""Means and intervals over seeds, in a table."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from lab.cell import of_each_member
from lab.results import Results
from lab.statistics.estimates import LEAST_FOR_BCA, Estimate, estimate

COLUMNS = ("accuracy", "learning_accuracy", "forgetting", "backward_transfer")
BESIDE = (
    "accuracy_raw", "online_accuracy", "online_baseline", "loss", "target_aulc", "target_accuracy", "sequence_accuracy",
    "span_f1", "violation",
)  # fmt: skip
"""Columns for runs that have them: of averaged weights; of streams that are tested on just before they are trained on; with
`evaluation.loss`; where weights began anew; where outputs have names."""


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student's t interval over the members that are defined; the interval is NaN for fewer than two."""
    from scipy.special import stdtrit  # scipy.stats takes a second to import, in every run

    known = values[~np.isnan(values)]
    if not len(known):
        return (np.nan,) * 3
    mean = float(known.mean())
    if len(known) < 2 or known.std() == 0:
        edge = np.nan if len(known) < 2 else mean
        return mean, edge, edge
    half = float(stdtrit(len(known) - 1, (1 + level) / 2)) * float(known.std(ddof=1)) / len(known) ** 0.5
    return mean, mean - half, mean + half


def overall(values: np.ndarray) -> Estimate:
    """A measure over the members that are defined: :func:`lab.statistics.estimate`, for few seeds by the quicker way of
    :func:`interval`, which is for the many points of a curve."""
    known = values[~np.isnan(values)]
    if len(known) >= LEAST_FOR_BCA:
        return estimate(known)
    sd = float(known.std(ddof=1)) if len(known) > 1 else np.nan
    mean, low, high = interval(known)
    return Estimate(mean, sd, low, high, len(known), "t" if len(known) > 1 else "none")


def mean_over_members(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(0)
    return np.where(count > 0, np.where(known, values, 0).sum(0) / np.maximum(count, 1), np.nan)


def written(values: np.ndarray) -> str:
    """``0.912 [0.905, 0.919]``; a dash for what is undefined."""
    found = overall(values)
    if not found.n:
        return "-"
    return f"{found.mean:.3f}" if found.n == 1 else f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def spread(values: np.ndarray) -> str:
    """``0.414 to 0.772``: of members that are no replicates of each other; a dash for what is undefined."""
    known = values[~np.isnan(values)]
    return f"{known.min():.3f} to {known.max():.3f}" if len(known) else "-"


def _own_settings(results: Results) -> list[str]:
    """Settings of which each member has its own."""
    return list(of_each_member(results.config, len(results.seeds)))


def cell_name(config: dict[str, Any]) -> str:
    """A readable name: ``er · permuted digits x5 · domain``, ``er · online split digits x5 · class``."""
    return f"{method_name(config)} · {stream_name(config)}"


def method_name(config: dict[str, Any]) -> str:
    """A readable name of the strategies: ``er + ewc``; of an engine with that of what it runs: ``avalanche EWC``.

    >>> method_name({"strategy": {"avalanche": {"name": "EWC"}}})
    'avalanche EWC'
    """
    runs = ((key, (node or {}).get("name")) for key, node in config["strategy"].items())
    return " + ".join(f"{key} {name}" if isinstance(name, str) else key for key, name in runs)


def stream_name(config: dict[str, Any]) -> str:
    """A readable name of the stream alone: ``permuted digits x5 · domain``; tasks that have names are listed.

    >>> stream_name({"environment": {"_target_": "mine.Families", "tasks": ["A1", "B1"]}})
    'families A1 B1'
    """
    environment, kind = config["environment"], _kind(config["environment"])
    while "base" in environment:
        environment = environment["base"]
        kind += f" {_kind(environment)}"
    data = environment.get("source") or environment.get("benchmark") or ""
    name = (data if isinstance(data, str) else data.get("_target_", "")).rsplit(".", 1)[-1]
    tasks = environment.get("tasks")
    words = [kind, name, *(tasks if isinstance(tasks, list) else [] if tasks is None else [f"x{tasks}"])]
    return " · ".join(filter(None, [" ".join(filter(None, words)), str(environment.get("scenario") or "")]))


def _kind(environment: dict[str, Any]) -> str:
    words = (environment.get("law"), environment["_target_"].rsplit(".", 1)[-1].lower())
    return " ".join(filter(None, words))


def print_table(runs: list[tuple[str, Results]], title: str = "") -> None:
    """Runs as rows, measures as columns, on standard error; members that diverged are named."""
    from rich.console import Console
    from rich.table import Table

    columns = COLUMNS + tuple(name for name in BESIDE if any(name in results.metrics for _, results in runs))
    table = Table(
        "run",
        "seeds",
        *(name.replace("_", " ") for name in columns),
        title=f"{title}: mean [95 % interval] over seeds".removeprefix(": "),
    )
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 160)
    for name, results in runs:
        values = [results.metrics.get(column, np.full(1, np.nan)) for column in columns]
        table.add_row(name, str(len(results.seeds)), *map(spread if _own_settings(results) else written, values))
    console.print(table)
    for name, results in runs:
        if own := _own_settings(results):
            console.print(f"{name}: members differ in {', '.join(own)} and are no replicates; least to most")
    for name, results in runs:
        lost = [f"seed {s} at step {d}" for s, d in zip(results.seeds, results.diverged, strict=True) if d is not None]
        if lost:
            console.print(f"{name}: diverged and left out: {', '.join(lost)}")
