"""A comparison for programs: one row of CSV a cell, metric and environment, or all of it as JSON; nothing is rounded."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lab.comparison.findings import Comparison, Difference, Summary

FORMAT = 1

PAIRS = {"pair_seeds": "seeds", "pair_differences": "values", "pairs_without": "without"}
"""Columns that need no such beginning in a row about pairs alone."""

NUMBERS = r"\[\n\s+((?:[-+.\de]+,\s+)*[-+.\de]+)\s+\]"
"""A list of numbers, which one reads on one line. In JSON no text holds a line break as it is."""


def as_csv(comparison: Comparison) -> str:
    """One row for each environment, metric and cell. Empty is undefined, ``inf`` unbounded; lists are parted by spaces."""
    rows = list(_records(comparison))
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]) if rows else [], lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in row.items()} for row in rows)
    return file.getvalue()


def _records(comparison: Comparison) -> Iterator[dict[str, Any]]:
    against = {(row.environment, row.metric, row.cell): row for row in comparison.differences}
    for row in comparison.cells:
        other = against.get((row.environment, row.metric, row.cell))
        yield _of_cell(row) | _of_difference(other, comparison.baseline)


def _of_cell(row: Summary) -> dict[str, Any]:
    found = row.estimate
    return {
        "environment": row.environment, "metric": row.metric, "cell": row.cell, "seeds": row.seeds, "without": row.without,
        "n": found.n, "mean": found.mean, "sd": found.sd, "low": found.low, "high": found.high, "method": found.method,
    }  # fmt: skip


def _of_difference(row: Difference | None, baseline: str) -> dict[str, Any]:
    """The columns about pairs; None for all that there is not."""
    found, needed = (row.paired, row.needed) if row else (None, None)
    return {
        "baseline": baseline,
        "pair_seeds": row and row.seeds,
        "pair_differences": row and row.values,
        "pairs_without": row and row.without,
        "difference": found and found.difference,
        "diff_low": found and found.low,
        "diff_high": found and found.high,
        "diff_method": found and found.method,
        "diff_sd": found and found.sd,
        "effect": found and found.effect,
        "effect_low": found and found.effect_low,
        "effect_high": found and found.effect_high,
        "p": found and found.p,
        "exact": found and found.exact,
        "p_holm": row and row.p_holm,
        "wilcoxon_p": found and found.wilcoxon,
        "smallest_p": row and row.smallest_p,
        "detectable": row and row.detectable,
        "seeds_needed": needed and needed.seeds,
        "seeds_needed_low": needed and needed.low,
        "seeds_needed_high": needed and needed.high,
        "noninferior_p": row and row.noninferior_p,
        "equivalent_p": row and row.equivalent_p,
    }


def _written(value: Any) -> Any:
    """For a field of CSV."""
    if isinstance(value, (list, tuple)):
        return " ".join(str(_written(one)) for one in value)
    if isinstance(value, float):
        return "" if math.isnan(value) else float(value)
    return "" if value is None else value


def as_json(comparison: Comparison) -> str:
    """The whole comparison: ``cells`` and ``differences`` a row each, ``tests`` how many comparisons Holm's correction is over.

    Null is undefined; for ``seeds_needed`` it is unbounded too: no number of seeds would do.
    """
    content = asdict(comparison) | {
        "cells": [_of_cell(row) for row in comparison.cells],
        "differences": [_row_of(row) for row in comparison.differences],
        "environments": comparison.environments,
        "tests": comparison.tests,
        "format": FORMAT,
    }
    return dumped(_plain(content))


def dumped(content: Any) -> str:
    """Strict JSON for eyes, too: an entry a line, lists of numbers on one."""
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    return re.sub(NUMBERS, lambda found: f"[{' '.join(found[1].split())}]", text) + "\n"


def _row_of(row: Difference) -> dict[str, Any]:
    """A difference as a row of its own, where ``low`` can only be its."""
    flat = {name.replace("diff_", ""): value for name, value in _of_difference(row, row.baseline).items()}
    place = {"environment": row.environment, "metric": row.metric, "cell": row.cell}
    return place | {PAIRS.get(name, name): value for name, value in flat.items()}


def _plain(value: Any) -> Any:
    """JSON's own types."""
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if hasattr(value, "tolist"):  # NumPy's
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
