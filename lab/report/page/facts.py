"""What a reader needs to trust a page and to repeat it: configuration, code, machine, cost, seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.cell import flat
from lab.comparison.cells import Cell, spans
from lab.comparison.protocol import PLACES
from lab.report import ruled
from lab.report.page.charts import Rows
from lab.report.summary import overall, written

OF_THE_MACHINE = ("paths", "tracking", "seeds")
"""Sections of a configuration that say where a run was kept, and the number of its seeds, which are listed by themselves."""


@dataclass(frozen=True)
class Table:
    """Cells of text; the first of each row is its header."""

    title: str
    header: list[str]
    rows: Rows


def settings(cells: list[Cell]) -> tuple[Table, Table]:
    """The configuration that all cells share, and what differs between them."""
    known = [_flat(cell.results.config) for cell in cells]
    alike = {key: value for key, value in known[0].items() if all(one.get(key) == value for one in known)}
    own = ["\n".join(f"{key} = {value}" for key, value in one.items() if key not in alike) or "-" for one in known]
    title = f"{len(alike)} settings that are alike in all cells" if len(cells) > 1 else f"All {len(alike)} settings"
    shared = Table(title, ["setting", "value"], [("", [key, value]) for key, value in alike.items()])
    rows = [(cell.name, [label(cell, cells), text]) for cell, text in zip(cells, own, strict=True)]
    return shared, Table("What differs", ["cell", "its own settings"], rows)


def _flat(config: dict[str, Any]) -> dict[str, str]:
    kept = {key: value for key, value in config.items() if key not in OF_THE_MACHINE}
    return {key: value for key, value in flat(kept) if key.rpartition(".")[2] not in PLACES}


def label(cell: Cell, cells: list[Cell]) -> str:
    """The cell's name, with its environment where there are several."""
    return f"{cell.name} · {cell.environment}" if len({one.environment for one in cells}) > 1 else cell.name


def measures(cell: Cell) -> Table:
    """Every measure of one cell over its seeds."""
    header = ["measure", "mean [95 % interval]", "standard deviation", "seeds"]
    rows = [("", [metric.replace("_", " "), *_measure(cell, metric)]) for metric in cell.results.metrics]
    return Table("Measures", header, rows)


def _measure(cell: Cell, metric: str) -> list[str]:
    values = cell.results.metrics[metric]
    found = overall(values)
    if not found.n:
        return [f"undefined: {cell.results.undefined.get(metric, 'no seed has a value')}", "-", "0"]
    return [written(values), f"{found.sd:.3f}" if found.n > 1 else "-", str(found.n)]


def rules(cells: list[Cell], most: int) -> list[Table]:
    """What became of rules, in the cells that have any: together with the task's measure, one by one, and what is broken most
    (so many of each rule)."""
    known = [cell for cell in cells if ruled.violations(cell.results)]

    def table(title: str, header: list[str], of: Callable[[Cell], list[list[str]]]) -> list[Table]:
        first = ["cell"] if len(known) > 1 else []
        rows = [(cell.name, [*([label(cell, cells)] if first else []), *row]) for cell in known for row in of(cell)]
        return [Table(title, [*first, *header], rows)] if rows else []

    return [
        *table("The task's measure and the rules, mean over seeds [95 %]", ruled.KEPT, lambda cell: [ruled.kept(cell.results)]),
        *table("Each rule, after the last task", ruled.OF_RULES, lambda cell: ruled.of_rules(cell.results)),
        *table("What is violated most, over all seeds", ruled.WORST, lambda cell: ruled.worst(cell.results, most)),
    ]


def by_seed(cells: list[Cell], metrics: list[str]) -> Table:
    """The values of every seed, which all other numbers are made of."""
    rows = []
    for cell in cells:
        values = [cell.values(metric) for metric in metrics]
        rows += [
            (cell.name, [label(cell, cells), str(seed), *(_value(of[seed]) for of in values)]) for seed in cell.results.seeds
        ]
    return Table("Every seed", ["cell", "seed", *(metric.replace("_", " ") for metric in metrics)], rows)


def _value(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def costs(cells: list[Cell]) -> Table:
    """What each cell took."""
    counted = ["steps", "samples a seed", "rehearsed a seed", "forward passes", "backward passes"]
    header = ["cell", "seeds", "wall time", *counted, "state", "device"]
    return Table("Cost", header, [(cell.name, [label(cell, cells), *_cost(cell)]) for cell in cells])


def _cost(cell: Cell) -> list[str]:
    cost, origin = cell.results.cost, cell.results.provenance
    passes, met = cost.get("passes"), cell.results.encounters
    samples, again = _range(cost.get("samples", [])), _range(met["rehearsed"].sum((1, 2)).tolist() if met else [])
    counts = [_count(passes.get(way)) for way in ("forward", "backward")] if isinstance(passes, dict) else [_count(passes), "-"]
    device = origin.get("hardware", {}).get("device", "-")
    time = duration(cost["wall_seconds"]) if "wall_seconds" in cost else "-"
    resumed = "" if cost.get("resumed_from_step") is None else " (resumed)"
    state = "-" if cost.get("state_bytes") is None else size(cost["state_bytes"])
    return [str(len(cell.results.seeds)), time + resumed, _count(cost.get("steps")), samples, again, *counts, state, device]


def _range(counts: list[int]) -> str:
    """Numbers of the members, from the least to the largest.

    >>> _range([1200, 1000]), _range([7, 7]), _range([])
    ('1,000 to 1,200', '7', '-')
    """
    ordered = sorted(set(counts))
    return " to ".join(f"{n:,}" for n in dict.fromkeys(ordered[:1] + ordered[-1:])) or "-"


def _count(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def duration(seconds: float) -> str:
    """A time as one says it.

    >>> duration(2.6), duration(150), duration(7300)
    ('2.6 s', '2.5 min', '2.0 h')
    """
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def size(count: int) -> str:
    """Bytes as one says them.

    >>> size(0), size(1536), size(3 << 20)
    ('0 B', '1.5 KiB', '3.0 MiB')
    """
    unit = min(max(int(count), 1).bit_length() - 1, 30) // 10
    return f"{count / 1024**unit:.{1 if unit else 0}f} {('B', 'KiB', 'MiB', 'GiB')[unit]}"


def origins(cells: list[Cell]) -> Table:
    """Code, versions, machine and data; where cells differ, each with its own."""
    found = [(what, {label(cell, cells): of(cell) for cell in cells}) for what, of in _ORIGINS.items()]
    return Table("Where it comes from", ["what", "which"], [("", [what, _said(by_cell)]) for what, by_cell in found])


def _said(by_cell: dict[str, str]) -> str:
    found = {value: [name for name, own in by_cell.items() if own == value] for value in by_cell.values()}
    return next(iter(found)) if len(found) == 1 else "\n".join(f"{', '.join(names)}: {value}" for value, names in found.items())


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items()) or "-"


def _data(origin: dict[str, Any]) -> str:
    data = origin.get("data", {})
    return f"{data.get('name', '-')}, digest {data.get('digest', '-')}"


def _each(of: Callable[[dict[str, Any]], str]) -> Callable[[Cell], str]:
    """What is said of a cell's origin, and of each of them where its directories have several."""
    return lambda cell: "; ".join(dict.fromkeys(of(origin) for origin in cell.origins or (cell.results.provenance,)))


_ORIGINS: dict[str, Callable[[Cell], str]] = {
    "git commit": _each(lambda origin: str(origin.get("commit") or "-")),
    "version of the lab's core": _each(lambda origin: str(origin.get("core") or "-")),
    "versions": _each(lambda origin: _words(origin.get("versions", {}))),
    "hardware": _each(lambda origin: _words(origin.get("hardware", {}))),
    "data": _each(_data),
    "cell (settings and code)": lambda cell: str(cell.results.provenance.get("cell", "-")),
    "seeds": lambda cell: f"{len(cell.results.seeds)}: {spans(cell.results.seeds).partition(' ')[2]}",
}
