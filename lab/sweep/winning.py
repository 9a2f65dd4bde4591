"""Winners and default configurations, as tuning saw them and as fresh seeds see them: the difference is the optimism."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lab.statistics import Estimate, estimate
from lab.sweep.axes import shown
from lab.sweep.found import Arm, Found

TUNED, DEFAULT = "tuned", "default"
OPTIMISM = "optimism"


@dataclass(frozen=True)
class Sample:
    """Values of an objective, a seed each, and their mean with its 95 % interval."""

    values: np.ndarray
    estimate: Estimate

    @property
    def mean(self) -> float:
        return self.estimate.mean

    @property
    def low(self) -> float:
        return self.estimate.low

    @property
    def high(self) -> float:
        return self.estimate.high

    def __str__(self) -> str:
        from lab.report.sheets import decimals, within

        found = self.estimate
        return within(found.mean, found.low, found.high, decimals([found.mean]))


@dataclass(frozen=True)
class Standing:
    """One configuration of an arm."""

    arm: str
    what: str
    """``tuned`` or ``default``."""
    settings: dict[str, Any]
    """Of the winner; empty for the default."""
    tuning: Sample | None
    """On the tuning streams; None where it was not run there."""
    fresh: Sample | None
    """On fresh seeds; None where it has not been run there yet."""

    @property
    def optimism(self) -> float | None:
        """The mean on tuning streams minus that on fresh seeds; None where either is missing."""
        return None if self.tuning is None or self.fresh is None else self.tuning.mean - self.fresh.mean

    @property
    def chosen(self) -> str:
        """The settings in words: ``optimizer.lr=0.03, strategy.er.memory=500``."""
        return ", ".join(f"{key}={shown(value)}" for key, value in self.settings.items()) or "-"


def standings(found: Found, objective: str) -> list[Standing]:
    """The winner of each arm that has one, each followed by the arm's default configuration where that was run."""
    return [row for arm in found.arms for row in _of(arm, objective)]


def _of(arm: Arm, objective: str) -> Iterator[Standing]:
    winner = arm.winner
    if winner is None:
        return
    final, default = arm.record.get("final"), arm.record.get("default")
    yield Standing(arm.name, TUNED, winner.settings, _sample(winner.by_seed, objective), _sample(_by_seed(final), objective))
    if default:
        yield Standing(arm.name, DEFAULT, {}, None, _sample(_by_seed(default), objective))


def _by_seed(entry: dict[str, Any] | None) -> dict[str, list[float]]:
    return (entry or {}).get("by_seed") or {}


def _sample(by_seed: dict[str, list[float]], objective: str) -> Sample | None:
    """None where no seed has a value."""
    values = np.array([np.nan if value is None else value for value in by_seed.get(objective, [])], dtype=float)
    known = values[np.isfinite(values)]
    return Sample(known, estimate(known)) if len(known) else None
