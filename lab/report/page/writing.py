"""The page of a run, of several or of a study: which sections of charts and tables it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.comparison.cells import Cell
from lab.comparison.findings import Comparison
from lab.report.page import contrasts, facts, inner, over_time, repeating, scheduled, stills
from lab.report.page.charts import Rows
from lab.report.page.frame import Section, write
from lab.report.page.verdict import answers, of_study
from lab.report.sheets import Sheet, sheets
from lab.report.summary import cell_name
from lab.violated import SHOWN

WORST_OF_SEVERAL = 3
"""Of each rule, what is violated most in each of several cells."""


def write_page(
    path: Path, cells: list[Cell], comparison: Comparison | None, title: str, command: str, study: dict | None = None
) -> Path:
    """Write one HTML file with all that is to be known about the cells; its path.

    Args:
        cells: at least one. Without a comparison, or with nothing to compare, the page is that of the first as a run.
        command: what the user types to have the page again.
        study: a study's record as `docs/results` keeps it; what it lacks is left out.
    """
    several = comparison is not None and len(cells) > 1
    content = _of_comparison(cells, comparison) if several else _of_run(cells[0])
    content |= _facts(cells if several else cells[:1], comparison, several)
    content |= {"answers": []} if study else {}  # a study has a verdict, by the test that it declared
    content |= {"title": title, "command": command, "study": of_study(study, title) if study else None, "several": several}
    return write("page.html", content, Path(path))


def _of_comparison(cells: list[Cell], comparison: Comparison) -> dict[str, Any]:
    """What a page on several cells has."""
    still = stills.of_comparison(cells, comparison)
    sections = [
        Section("Differences, seed by seed", contrasts.differences(comparison), still["differences"]),
        Section("Average ranks", [contrasts.ranks(found) for found in comparison.ranks], still["ranks"]),
        Section("Learning", over_time.learning(cells), still["learning"]),
        Section("Forgetting", over_time.forgetting(cells), still["forgetting"]),
        Section("Forgetting by lag", over_time.forgetting_by_lag(cells), still["forgetting_by_lag"]),
        Section("How fast tasks are learnt", over_time.learnt(cells), still["learnt"]),
        Section("Met again", contrasts.met_again(cells), still["met_again"], grid=True),
        Section("What was scheduled", scheduled.charts(cells), still["scheduled"]),
        Section("Accuracy matrices", contrasts.matrices(cells, several=True), still["matrices"], grid=True),
        Section("Violations of rules", contrasts.violations(cells, several=True), still["violations"], grid=True),
    ]
    return {
        "kind": "Comparison",
        "answers": answers(comparison),
        "names": list(dict.fromkeys(cell.name for cell in cells)),
        "sections": sections,
        "sheets": list(_sheets(comparison)),
        "by_seed": facts.by_seed(cells, comparison.metrics),
    }


def _sheets(comparison: Comparison) -> Iterator[tuple[Sheet, Rows]]:
    """Each sheet, without the notes that were made before, and its rows with the name of their series."""
    seen: set[str] = set()
    for sheet in sheets(comparison):
        yield (
            replace(sheet, notes=[note for note in sheet.notes if note not in seen]),
            [(row[0], _unbroken(row)) for row in sheet.rows],
        )
        seen.update(sheet.notes)


def _unbroken(row: list[str]) -> list[str]:
    """Cells whose intervals stay on one line."""
    return [cell.replace(", ", ",\u00a0") if cell.endswith("]") else cell for cell in row]


def _of_run(cell: Cell) -> dict[str, Any]:
    """What a page on one run has: its tasks are what can be switched."""
    still, tasks = stills.of_run(cell), over_time.by_task(cell)
    sections = [
        Section("Task by task", tasks, still["tasks"]),
        Section("Learning", over_time.learning([cell]), still["learning"]),
        Section("Forgetting", over_time.forgetting([cell]), still["forgetting"]),
        Section("Forgetting by lag", over_time.forgetting_by_lag([cell]), still["forgetting_by_lag"]),
        Section("How fast tasks are learnt", over_time.learnt([cell]), still["learnt"]),
        Section("Met again", contrasts.met_again([cell]), still["met_again"], grid=True),
        Section("What was scheduled", scheduled.charts([cell]), still["scheduled"]),
        Section("Accuracy matrix", contrasts.matrices([cell], several=False), still["matrices"], grid=True),
        Section("Violations of rules", contrasts.violations([cell], several=False), still["violations"], grid=True),
    ]
    known = [metric for metric in cell.results.metrics if metric not in cell.results.undefined]
    return {
        "kind": "Run",
        "answers": [],
        "names": list(dict.fromkeys(name for chart in tasks for name, _ in chart.rows)),
        "what": "tasks",
        "sections": sections,
        "sheets": [],
        "measures": facts.measures(cell),
        "subtitle": cell_name(cell.results.config),
        "by_seed": facts.by_seed([cell], known),
    }


def _facts(cells: list[Cell], comparison: Comparison | None, several: bool) -> dict[str, Any]:
    shared, differing = facts.settings(cells)
    lost = [f"{cell.name}: {cell.lost}" for cell in cells if cell.lost]
    noted = list(dict.fromkeys(note for cell in cells for note in cell.taken))
    return {
        "left_out": comparison.left_out if comparison else lost,
        "notes": comparison.notes if several else noted,
        "looks": inner.looks(cells),
        "of_agreement": inner.OF_AGREEMENT,
        "rules": facts.rules(cells, WORST_OF_SEVERAL if several else SHOWN),
        "shared": shared,
        "differing": differing,
        "costs": facts.costs(cells),
        "origins": facts.origins(cells),
        "recipes": repeating.recipes(cells),
    }
