"""What the reader of a comparison must know: what is not in its figures, and what they cannot say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lab.comparison.cells import Cell, blocks
from lab.comparison.findings import Difference, Ranks, Summary
from lab.metrics.lags import counts_by_lag
from lab.statistics import smallest_p

STREAM = ("environment", "data", "seed_for")
"""Sections that make a seed's stream."""


def left_out(summaries: list[Summary], rows: list[Difference]) -> list[str]:
    """Seeds without a value or a partner, and why; what is so for several metrics is said once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in summaries:
        if row.without:
            found.setdefault((f"{row.cell} ({row.environment})", row.without), []).append(row.metric)
    for row in rows:
        if row.without:
            where = f"{row.cell} - {row.baseline} ({row.environment})"
            found.setdefault((where, f"not in the pairs: {row.without}"), []).append(row.metric)
    return [f"{where}, {', '.join(metrics)}: {what}" for (where, what), metrics in found.items()]


def notes(
    cells: list[Cell], summaries: list[Summary], rows: list[Difference], ranks: list[Ranks], baseline: str, alpha: float
) -> Iterator[str]:
    """What one must know to read the table rightly."""
    for cell in cells:
        yield from cell.taken
    yield from _of_seeds(cells)
    yield from _shown_again(cells)
    yield from _too_few(rows, {(row.environment, row.metric, row.cell) for row in summaries if row.undefined})
    yield from _blind(rows, alpha)
    yield from _unranked(cells) if ranks else ()
    for group in blocks(cells):
        if len(group) > 1 and all(cell.name != baseline for cell in group):
            yield f"{group[0].environment}: has no {baseline}, so nothing is compared there"
    if len(cells) == 1:
        yield f"{cells[0].name} is the only cell: there is nothing to compare it with"
    yield from _origins(cells)


def _of_seeds(cells: list[Cell]) -> Iterator[str]:
    """Where seeds are less than the independent repetitions that the tests take them for."""
    known = [cell.settings.protocol | cell.settings.method for cell in cells]
    fixed = [key for key in known[0] if key.startswith("seed_for.") and any(own.get(key) != "null" for own in known)]
    if len(fixed) == len([key for key in known[0] if key.startswith("seed_for.")]) and fixed:
        yield f"{', '.join(fixed)} are all fixed: the seeds are copies of each other, and their number says nothing"
    elif fixed:
        yield f"{', '.join(fixed)}: fixed for all seeds; what is said holds for that choice alone"
    varied = sorted({key.split(".")[0] for own in cells for key in own.settings.method if key.split(".")[0] in STREAM})
    if varied:
        yield f"{', '.join(varied)}: differs between cells; pairs of seeds may share little but their number"


def _shown_again(cells: list[Cell]) -> Iterator[str]:
    """Where the stream itself brings old tasks back: no method beside it may do that but from a memory, which is counted."""
    shown = {}
    for cell in cells:
        if met := cell.results.encounters:
            again = np.nansum(counts_by_lag(met["shown"].mean(0), met["task"]))
            if again > 0:
                shown[f"{cell.name} ({cell.environment})"] = f"{again:,.0f}"
    if shown:
        told = ", ".join(f"{name} {count}" for name, count in shown.items())
        yield (
            "the stream itself shows samples of earlier tasks again, which takes it for granted that their data are still "
            f"there; no memory is counted for them; samples a seed: {told}"
        )


def _too_few(rows: list[Difference], undefined: set[tuple[str, str, str]]) -> Iterator[str]:
    for row in rows:
        known = not {(row.environment, row.metric, name) for name in (row.cell, row.baseline)} & undefined
        if row.paired is None and known:
            have = f"{len(row.seeds)} seed{'s' * (len(row.seeds) != 1)} with both values"
            where = f"{row.cell} - {row.baseline} ({row.environment}), {row.metric}"
            yield f"{where}: {have}; a comparison needs two, a small p six"


def _unranked(cells: list[Cell]) -> Iterator[str]:
    """Cells that are not in every environment have no rank."""
    groups = blocks(cells)
    for name in dict.fromkeys(cell.name for cell in cells):
        without = [group[0].environment for group in groups if all(cell.name != name for cell in group)]
        if without:
            yield f"{name}: not in {'; '.join(without)}, and so without a rank"


def _blind(rows: list[Difference], alpha: float) -> Iterator[str]:
    """Where so few seeds cannot reach the level at all, whatever they show."""
    count = sum(row.paired is not None for row in rows)
    few = sorted({len(row.seeds) for row in rows if row.paired and row.smallest_p > alpha})
    for seeds in few:
        least = min(row.smallest_p for row in rows if row.paired and len(row.seeds) == seeds)
        enough = next((n for n in range(2, 64) if smallest_p(n, count) <= alpha), None)
        yield (
            f"with {seeds} seeds and {count} comparison{'s' * (count != 1)} no p below {least:.2g} is possible after "
            f"correction, whatever the difference" + (f"; {enough} seeds could reach {alpha:g}" if enough else "")
        )


def _origins(cells: list[Cell]) -> Iterator[str]:
    """Code, versions and devices that differ between cells change numbers, but not their meaning."""
    for what, of in ORIGINS.items():
        found = {str(of(origin)) for cell in cells for origin in cell.origins}
        found -= {"None"} if what == CORE_OF_LAB else set()  # runs from before it was kept
        if len(found) > 1:
            yield f"not everything was run with the same {what} ({', '.join(sorted(found))})"


CORE_OF_LAB = "version of the lab's core"

ORIGINS: dict[str, Any] = {
    "commit": lambda origin: str(origin.get("commit"))[:7],
    CORE_OF_LAB: lambda origin: origin.get("core"),
    "torch": lambda origin: (origin.get("versions") or {}).get("torch"),
    "device": lambda origin: (origin.get("hardware") or {}).get("device"),
}
