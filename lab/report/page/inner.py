"""What a page shows of the inside of methods: pictures and films of fields, and tables of what slots hold."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from lab.comparison.cells import Cell
from lab.recorded import Recorded, load_recorded
from lab.report import inside
from lab.report.page.facts import Table
from lab.report.page.stills import embedded

MOST = 4
"""Cells that are shown from inside."""

OF_AGREEMENT = (
    "Agreement: mean correlations over pairs of seeds, of what slots of the same number hold (of each place of a sequence, and "
    "of each planted part) and, by chance, those of different numbers; of slots matched as suits best and, by chance, where "
    "what one of the two holds was shuffled; of the entries of fields and, by chance, where rows and columns were shuffled."
)


@dataclass(frozen=True)
class Look:
    """One cell from inside."""

    title: str
    picture: str
    film: str
    told: str
    tables: list[Table]


def looks(cells: list[Cell]) -> list[Look]:
    """Of the first cells of which anything was kept."""
    found = ((cell, load_recorded(cell.folders[0])) for cell in cells)
    kept = [(cell, recorded) for cell, recorded in found if inside.fields_of(recorded)]
    return [_look(cell, recorded, len(cells) > 1) for cell, recorded in kept[:MOST]]


def _look(cell: Cell, recorded: Recorded, named: bool) -> Look:
    first = recorded.seeds[0]
    title = f"{cell.name}: fields" if named else "Fields"
    moving = base64.b64encode(inside.film(recorded)).decode()
    told = f"Above: seed {first}, then means over seeds with 95 % intervals; grey lines: ends of phases. {_enriched(recorded)}"
    tables = _tables(f"{cell.name}: " if named else "", recorded)
    return Look(title, embedded(inside.over_time(recorded)), f"data:image/gif;base64,{moving}", told.strip(), list(tables))


def _enriched(recorded: Recorded) -> str:
    found = inside.mean_enrichment(recorded)
    if found is None:
        return ""
    ends, all_slots = found
    return (
        f"Of the planted part that it holds most of, a slot at an end of the {inside.STRONGEST} strongest pathways holds "
        f"{ends:.2f} times as much as of what was not planted, mean over seeds; any slot {all_slots:.2f} times."
    )


def _tables(before: str, recorded: Recorded) -> Iterator[Table]:
    agree, carried = inside.agreement(recorded), inside.carried(recorded)
    if agree:
        yield Table(f"{before}Agreement of seeds", inside.AGREEMENT, [("", row) for row in agree])
    if carried:
        yield Table(f"{before}What the strongest pathways lead between", inside.CARRIED, [("", row) for row in carried])
