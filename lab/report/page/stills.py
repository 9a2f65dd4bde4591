"""The figures that take the charts' place on paper and without JavaScript."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lab.comparison.cells import Cell
from lab.comparison.findings import Comparison
from lab.report import comparing, figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Stills = dict[str, list[str]]
"""Figures as addresses that an image takes, by the section they belong to."""


def of_comparison(cells: list[Cell], comparison: Comparison) -> Stills:
    """All that a comparison's sections need."""
    tested = [metric for metric in comparison.metrics if any(r.metric == metric and r.paired for r in comparison.differences)]
    return {
        "differences": [embedded(comparing.paired_differences(comparison, metric)) for metric in tested],
        "learning": [embedded(comparing.learning_curves(cells))],
        "forgetting": [embedded(comparing.forgetting_curves(cells))] if _any_forgetting(cells) else [],
        **_by_lag_and_task(cells),
        "matrices": [embedded(comparing.matrices(cells))],
        "violations": _drawn(figures.violations(cell.results, cell.name) for cell in cells),
        "scheduled": _scheduled(cells, titled=True),
        "ranks": [embedded(comparing.rank_diagram(found)) for found in comparison.ranks],
    }


def of_run(cell: Cell) -> Stills:
    """All that a run's sections need."""
    return {
        "tasks": [embedded(figures.accuracy_over_time(cell.results))],
        "learning": [embedded(comparing.learning_curves([cell]))],
        "forgetting": [embedded(comparing.forgetting_curves([cell]))] if _any_forgetting([cell]) else [],
        **_by_lag_and_task([cell]),
        "matrices": [embedded(figures.accuracy_matrix(cell.results))],
        "violations": _drawn([figures.violations(cell.results)]),
        "scheduled": _scheduled([cell], titled=False),
    }


def _scheduled(cells: list[Cell], titled: bool) -> list[str]:
    return _drawn(figures.what_was_scheduled(cell.results, cell.name if titled else "") for cell in cells)


def _drawn(found: Iterable[Figure | None]) -> list[str]:
    return [embedded(figure) for figure in found if figure]


def _by_lag_and_task(cells: list[Cell]) -> Stills:
    drawn = {name: embedded(figure) for name, figure in comparing.by_lag_and_task(cells).items()}
    again = filter(None, (figures.met_again(cell.results) for cell in cells))
    return {
        "forgetting_by_lag": [drawn.pop("forgetting_by_lag")] if "forgetting_by_lag" in drawn else [],
        "learnt": list(drawn.values()),
        "met_again": [embedded(figure) for figure in again],
    }


def embedded(figure: Figure) -> str:
    """A figure as an address with all of it inside: SVG, the same bytes for the same figure."""
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "lab"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"


def _any_forgetting(cells: list[Cell]) -> bool:
    return any("forgetting" not in cell.results.undefined for cell in cells)
