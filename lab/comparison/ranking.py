"""Average ranks of methods over several environments."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lab.comparison.cells import Cell, blocks
from lab.comparison.findings import Ranks
from lab.metrics import lower_is_better
from lab.statistics import average_ranks, rank_test
from lab.statistics.ranks import LEAST_CELLS, LEAST_ENVIRONMENTS


def ranks_of(cells: list[Cell], metric: str, alpha: float) -> Iterator[Ranks]:
    """Average ranks of the cells that every environment has, where there are several."""
    groups = blocks(cells)
    common = [name for name in dict.fromkeys(c.name for c in cells) if all(any(c.name == name for c in g) for g in groups)]
    if len(groups) < 2 or len(common) < 2 or not _are_environments(groups):
        return
    table = np.array([[_mean(group, name, metric) for name in common] for group in groups])
    whole = ~np.isnan(table).any(0)
    common, table = [name for name, known in zip(common, whole, strict=True) if known], table[:, whole]
    names, higher = [group[0].environment for group in groups], not lower_is_better(metric)
    if len(common) < 2:
        return
    if len(groups) < LEAST_ENVIRONMENTS or len(common) < LEAST_CELLS:
        yield Ranks(metric, common, names, average_ranks(table, higher).tolist())
        return
    found = rank_test(table, higher, alpha)
    cliques = [[common[c] for c in clique] for clique in found.cliques]
    tested = (found.friedman_p, found.critical_difference, cliques, found.nemenyi.tolist())
    yield Ranks(metric, common, names, list(found.ranks), *tested)


def _are_environments(groups: list[list[Cell]]) -> bool:
    """Whether the blocks are different streams, and not one stream under several budgets or networks."""
    streams = [
        tuple(item for item in group[0].settings.protocol.items() if item[0].split(".")[0] in ("environment", "data"))
        for group in groups
    ]
    return len(set(streams)) == len(groups)


def _mean(group: list[Cell], name: str, metric: str) -> float:
    values = np.array(list(next(cell for cell in group if cell.name == name).values(metric).values()), dtype=float)
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else np.nan
