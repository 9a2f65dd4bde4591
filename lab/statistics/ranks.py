"""Methods ranked over several environments (Demsar 2006, section 3.2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_ENVIRONMENTS, LEAST_CELLS = 5, 3
"""For a test: below, Friedman's chi-square is too rough."""


@dataclass(frozen=True)
class RankTest:
    """Average ranks of C cells, and which of them are told apart."""

    ranks: np.ndarray
    """[C]; 1 is the best."""
    friedman_p: float
    """p of Friedman's test that all cells rank alike, corrected for ties."""
    critical_difference: float
    """Two cells are told apart if their average ranks are at least that far from each other."""
    cliques: list[tuple[int, ...]]
    """The largest groups of two cells or more that are not told apart, by position in the table, best first."""
    nemenyi: np.ndarray
    """[C, C]: p of each pair, corrected for all pairs."""


def average_ranks(table: np.ndarray, higher_is_better: bool) -> np.ndarray:
    """Average ranks [C] of ``table`` [environments, C], 1 the best; ties share their ranks' mean."""
    from scipy import stats

    table = np.asarray(table, dtype=float)
    return stats.rankdata(-table if higher_is_better else table, axis=1).mean(axis=0)


def rank_test(table: np.ndarray, higher_is_better: bool, alpha: float = 0.05) -> RankTest:
    """Friedman's test of ``table`` [environments, C] and Nemenyi's of each pair.

    Raises:
        ValueError: fewer than 5 environments, where Friedman's chi-square is too rough, or 3 cells; a value is undefined.
    """
    from scikit_posthocs import posthoc_nemenyi_friedman
    from scipy import stats

    table = np.asarray(table, dtype=float)
    _check(table)
    with np.errstate(invalid="ignore"):  # all cells alike everywhere: 0 / 0
        friedman = float(stats.friedmanchisquare(*table.T).pvalue)
    ranks, apart = average_ranks(table, higher_is_better), critical_difference(*table.shape, alpha)
    nemenyi = posthoc_nemenyi_friedman(table).to_numpy()
    return RankTest(ranks, 1.0 if np.isnan(friedman) else friedman, apart, _cliques(ranks, apart), nemenyi)


def critical_difference(environments: int, cells: int, alpha: float = 0.05) -> float:
    """q_alpha sqrt(k (k + 1) / 6 N) for k cells and N environments (Demsar 2006, section 3.2.2).

    q_alpha is the quantile of the studentised range of k values, of infinite degrees of freedom, over sqrt(2).
    """
    from scipy import stats

    q = float(stats.studentized_range.isf(alpha, cells, np.inf)) / 2**0.5
    return q * (cells * (cells + 1) / (6 * environments)) ** 0.5


def _cliques(ranks: np.ndarray, apart: float) -> list[tuple[int, ...]]:
    order = np.argsort(ranks, kind="stable")
    ends = [int(np.sum(ranks[order] - ranks[first] < apart)) for first in order]
    reached = np.maximum.accumulate([0, *ends])
    return [
        tuple(int(c) for c in order[start:end])
        for start, end in enumerate(ends)
        if end - start > 1 and end > reached[start]  # else the group before holds it
    ]


def _check(table: np.ndarray) -> None:
    environments, cells = table.shape
    if environments < LEAST_ENVIRONMENTS or cells < LEAST_CELLS:
        raise ValueError(
            f"{cells} cells in {environments} environments: the test of ranks needs {LEAST_CELLS} cells and "
            f"{LEAST_ENVIRONMENTS} environments at least"
        )
    if np.isnan(table).any():
        raise ValueError("a cell has no value in some environment: leave the cell or the environment out of the ranks")
