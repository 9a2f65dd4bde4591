"""Cells held against a baseline, seed by seed: what differs by how much, whether by chance, and what the data cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from lab.comparison.cells import Cell, blocks, shown, spans
from lab.comparison.findings import Comparison, Difference, Summary
from lab.comparison.protocol import differences
from lab.comparison.ranking import ranks_of
from lab.comparison.remarks import left_out, notes
from lab.config import nearest
from lab.errors import UserError
from lab.statistics import detectable, equivalent, estimate, holm, noninferior, paired, seeds_needed, smallest_p

METRICS = ("accuracy", "forgetting")
"""Compared where nothing else is asked for, as far as the cells have them."""


def compare(
    cells: list[Cell],
    metrics: list[str] | None = None,
    baseline: str | None = None,
    margin: float | None = None,
    alpha: float = 0.05,
    without: tuple[str, ...] = (),
) -> Comparison:
    """Every cell against the baseline, in each environment and for each metric.

    Args:
        metrics: None for :data:`METRICS`.
        margin: above 0, how much counts as no difference; None for no tests of that.
        without: runs that could not be taken in, and why, in sentences.

    Raises:
        UserError: cells that are not comparable, a metric or a baseline that there is not.
    """
    known = [metric for metric in METRICS if any(cell.has(metric) for cell in cells)]
    metrics = list(dict.fromkeys(metrics or known or METRICS))  # asked for twice is tested once
    refuse_incomparable(cells)
    for metric in metrics:
        _check_metric(metric, cells)
    chosen = _baseline(baseline, cells)
    summaries = [_summary(cell, metric) for metric in metrics for cell in cells]
    rows = [row for metric in metrics for block in blocks(cells) for row in _differences(block, metric, chosen)]
    rows = _tested(rows, margin, alpha)
    ranks = [found for metric in metrics for found in ranks_of(cells, metric, alpha)]
    missing, told = [*without, *left_out(summaries, rows)], list(notes(cells, summaries, rows, ranks, chosen, alpha))
    return Comparison(metrics, chosen, alpha, margin, summaries, rows, ranks, missing, told)


def refuse_incomparable(cells: list[Cell]) -> None:
    """Refuse a cell that has nothing to be compared with because its stream, budget, network or evaluation is another.

    Raises:
        UserError: says what differs, and from what.
    """
    groups = blocks(cells)
    alone = next((group[0] for group in groups if len(group) == 1), None)
    if len(groups) == 1 or alone is None:
        return
    others = [cell for cell in cells if cell is not alone]
    nearest_one = min(others, key=lambda cell: len(list(differences(alone.settings, cell.settings))))
    found = list(differences(alone.settings, nearest_one.settings))
    listed = "; ".join(f"{key} is {mine} and {yours}" for key, mine, yours in found[:6])
    more = f"; and {len(found) - 6} more" if len(found) > 6 else ""
    keys = dict.fromkeys(key for key, *_ in found)
    both = f"{alone.name} ({shown(alone.folders[0])}) and {nearest_one.name} ({shown(nearest_one.folders[0])})"
    raise UserError(
        f"{both} are not comparable: {listed}{more}. "
        f"To compare them all the same: {' '.join(f'--varies {key}' for key in list(keys)[:3])}, or --varies all"
    )


def _check_metric(metric: str, cells: list[Cell]) -> None:
    known = sorted({name for cell in cells for name in cell.results.metrics})
    if metric not in known:
        raise UserError(f"--metric {metric}: there is none of that name. {nearest(metric, known)}There are {', '.join(known)}")
    if not any(cell.has(metric) for cell in cells):
        reasons = {cell.results.undefined.get(metric, "every value is undefined") for cell in cells}
        raise UserError(f"--metric {metric}: no run has a value ({'; '.join(sorted(reasons))})")


def _baseline(given: str | None, cells: list[Cell]) -> str:
    names = list(dict.fromkeys(cell.name for cell in cells))
    if given is None:
        return "naive" if "naive" in names else names[0]
    if given not in names:
        raise UserError(f"--baseline {given}: there is no such cell. {nearest(given, names)}There are {', '.join(names)}")
    return given


def _summary(cell: Cell, metric: str) -> Summary:
    values = cell.values(metric)
    known = [seed for seed, value in values.items() if not np.isnan(value)]
    return Summary(
        cell.environment, metric, cell.name, known, estimate(np.array(list(values.values()), dtype=float)), _why(cell, metric)
    )


def _why(cell: Cell, metric: str) -> str:
    """Which seeds of a cell have no value, and why; empty if all have."""
    if metric in cell.results.undefined:
        return f"undefined, {cell.results.undefined[metric]}"
    lost = [cell.lost] if cell.lost else []
    other = [seed for seed, value in cell.values(metric).items() if np.isnan(value) and seed not in cell.diverged]
    return "; ".join([*lost, *([f"{spans(other)} undefined"] if other else [])])


def _differences(block: list[Cell], metric: str, baseline: str) -> Iterator[Difference]:
    base = next((cell for cell in block if cell.name == baseline), None)
    for cell in block if base else ():
        if cell is not base:
            yield _difference(cell, base, metric)


def _difference(cell: Cell, base: Cell, metric: str) -> Difference:
    seeds, values = contrast([cell, base], [1.0, -1.0], metric)
    found = paired(values) if len(values) > 1 else None
    without = _unpaired(cell, base, metric, seeds)
    return Difference(cell.environment, metric, cell.name, base.name, seeds, values.tolist(), found, without=without)


def contrast(cells: list[Cell], weights: list[float], metric: str) -> tuple[list[int], np.ndarray]:
    """The weighted sum of the cells' values, seed by seed, over the seeds for which all have one: seeds and values ``[n]``."""
    values = [cell.values(metric) for cell in cells]
    seeds = [seed for seed in values[0] if all(not np.isnan(own.get(seed, np.nan)) for own in values)]
    sums = [sum(weight * own[seed] for weight, own in zip(weights, values, strict=True)) for seed in seeds]
    return seeds, np.array(sums, dtype=float)


def _unpaired(cell: Cell, base: Cell, metric: str, paired_seeds: list[int]) -> str:
    """Which seeds one of the two has, but not both, and why."""
    if metric in cell.results.undefined or metric in base.results.undefined:
        return ""  # the cell's own line says so
    own, other = cell.values(metric), base.values(metric)
    why = [f"{spans(set(own) - set(other))} not run by {base.name}"] if set(own) - set(other) else []
    why += [f"{spans(set(other) - set(own))} not run by {cell.name}"] if set(other) - set(own) else []
    both = set(own) & set(other) - set(paired_seeds)
    return "; ".join([*why, *([f"{spans(both)} without a value"] if both else [])])


def _tested(rows: list[Difference], margin: float | None, alpha: float) -> list[Difference]:
    """The rows with everything that depends on how many comparisons there are."""
    corrected = holm([row.paired.p if row.paired else np.nan for row in rows])
    # The least that Holm's correction can give is what it gives where every row is as small as its seeds can make it.
    least = holm([smallest_p(len(row.seeds)) if row.paired else np.nan for row in rows])
    rows = [replace(row, p_holm=float(p), smallest_p=float(q)) for row, p, q in zip(rows, corrected, least, strict=True)]
    count = sum(row.paired is not None for row in rows)
    rows = [_planned(row, count, alpha) if row.paired else row for row in rows]
    return rows if margin is None else _within(rows, margin)


def _planned(row: Difference, count: int, alpha: float) -> Difference:
    """What these seeds can detect, at the row's share of the level, and how many in every row would resolve the difference."""
    values = np.array(row.values)
    share = smallest_p(len(values)) / row.smallest_p
    found = detectable(row.paired.sd, len(values), alpha * share)
    return replace(row, detectable=found, needed=seeds_needed(values, alpha=alpha / count))


def _within(rows: list[Difference], margin: float) -> list[Difference]:
    """Non-inferiority and equivalence, each a family of its own."""
    oriented = [np.array(row.values) * (-1 if row.lower_is_better else 1) for row in rows]
    tested = [values if row.paired else None for row, values in zip(rows, oriented, strict=True)]
    worse = holm([np.nan if values is None else noninferior(values, margin) for values in tested])
    apart = holm([np.nan if values is None else equivalent(values, margin) for values in tested])
    return [replace(row, noninferior_p=float(p), equivalent_p=float(q)) for row, p, q in zip(rows, worse, apart, strict=True)]
