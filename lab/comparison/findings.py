"""What a comparison finds: plain values, from which tables, figures, pages and JSON are written."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lab.metrics import lower_is_better
from lab.statistics import Estimate, Paired, SeedsNeeded


@dataclass(frozen=True)
class Summary:
    """One cell's values of one metric in one environment."""

    environment: str
    metric: str
    cell: str
    seeds: list[int]
    """Those with a value."""
    estimate: Estimate
    without: str = ""
    """Which seeds have no value, and why."""

    @property
    def undefined(self) -> bool:
        """Whether no seed has a value."""
        return not self.seeds


@dataclass(frozen=True)
class Difference:
    """cell - baseline of one metric in one environment, paired by seed."""

    environment: str
    metric: str
    cell: str
    baseline: str
    seeds: list[int]
    values: list[float]
    """cell - baseline of each of ``seeds``."""
    paired: Paired | None
    """None where fewer than two seeds have both values."""
    p_holm: float = np.nan
    smallest_p: float = np.nan
    """The smallest p that so many seeds can reach after correction for all comparisons."""
    detectable: float = np.nan
    """The smallest true difference found with 80 % power."""
    needed: SeedsNeeded | None = None
    """Seeds that would resolve a difference as large as the one observed."""
    noninferior_p: float = np.nan
    """One-sided, after Holm: the cell is no worse than the baseline by the margin; NaN without a margin."""
    equivalent_p: float = np.nan
    """Two one-sided tests, after Holm: the two differ by less than the margin."""
    without: str = ""
    """Which seeds are in no pair, and why."""

    @property
    def lower_is_better(self) -> bool:
        return lower_is_better(self.metric)


@dataclass(frozen=True)
class Ranks:
    """Average ranks over environments, 1 the best, by each environment's mean over seeds."""

    metric: str
    cells: list[str]
    environments: list[str]
    ranks: list[float]
    friedman_p: float = np.nan
    critical_difference: float = np.nan
    cliques: list[list[str]] = field(default_factory=list)
    """Cells that Nemenyi's test does not tell apart; empty without enough environments."""
    nemenyi: list[list[float]] = field(default_factory=list)
    """Its p for each pair of ``cells``, corrected for all pairs."""


@dataclass(frozen=True)
class Comparison:
    """What `lab compare` says, before it is written out."""

    metrics: list[str]
    baseline: str
    alpha: float
    margin: float | None
    cells: list[Summary]
    differences: list[Difference]
    ranks: list[Ranks]
    left_out: list[str]
    """Runs and seeds that are not in the figures, and why, a sentence each."""
    notes: list[str]

    @property
    def environments(self) -> list[str]:
        return list(dict.fromkeys(row.environment for row in self.cells))

    @property
    def tests(self) -> int:
        """How many comparisons Holm's correction is over."""
        return sum(row.paired is not None for row in self.differences)
