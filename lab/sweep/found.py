"""What a sweep has found so far, as figures and pages read it: the record beside it, and its trials out of Optuna's storage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.sweep.axes import Axis, axis_of

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

COMPLETE, PRUNED, DIVERGED, FAILED = "complete", "pruned", "diverged", "failed"
STATES = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED, "RUNNING": "running", "WAITING": "waiting"}
"""Optuna's words and ours. What diverged is told to Optuna as pruned: a failed trial would teach a sampler nothing."""

ENDED = (COMPLETE, PRUNED, DIVERGED, FAILED)

LEAST_FOR_IMPORTANCE = 4
"""Complete trials; of fewer a forest tells nothing."""


@dataclass(frozen=True)
class Trial:
    """One choice of settings and what came of it."""

    number: int
    state: str
    values: dict[str, float]
    """Of each objective, the mean over seeds; of a pruned trial of what it had reached, NaN where it has nothing."""
    settings: dict[str, Any]
    by_seed: dict[str, list[float]]
    seeds: list[int]
    seconds: float | None
    began: float | None
    """Seconds since 1970."""
    ended: float | None
    reports: dict[int, float]
    """What it had on the way, by step, where it was reported to a pruner."""
    attributes: dict[str, Any]
    """Where it ran and why it ended: ``population``, ``place``, ``worker``, ``why``, ``config``."""


@dataclass(frozen=True)
class Arm:
    """One strategy of a sweep: its space, its trials, its entry in the record."""

    name: str
    objectives: dict[str, str]
    """``maximize`` or ``minimize``, by name."""
    study: Study
    record: dict[str, Any] = field(default_factory=dict)
    """Empty while its winner has not been run."""

    @cached_property
    def trials(self) -> list[Trial]:
        """In the order in which they were asked for."""
        return [_trial(frozen, list(self.objectives)) for frozen in self.study.get_trials(deepcopy=False)]

    @cached_property
    def axes(self) -> list[Axis]:
        """Of all settings that vary, in the order of the first trial that has them."""
        found: dict[str, Axis] = {}
        for frozen in self.study.get_trials(deepcopy=False):
            for key, distribution in frozen.distributions.items():
                found.setdefault(key, axis_of(key, distribution))
        return list(found.values())

    @property
    def complete(self) -> list[Trial]:
        """Trials that were trained to their end."""
        return [trial for trial in self.trials if trial.state == COMPLETE]

    @property
    def counts(self) -> dict[str, int]:
        """How many trials ended in which way."""
        return {word: sum(trial.state == word for trial in self.trials) for word in ENDED}

    @property
    def winner(self) -> Trial | None:
        """The trial that was run on fresh seeds, or as things stand would be."""
        from lab.sweep.studies import best_of

        complete = [frozen for frozen in self.study.get_trials(deepcopy=False) if STATES[frozen.state.name] == COMPLETE]
        chosen = self.record.get("trial")
        if chosen is None and complete:
            chosen = best_of(list(self.objectives.values()), complete).number
        return next((trial for trial in self.trials if trial.number == chosen), None)

    @cached_property
    def importances(self) -> dict[str, dict[str, float]]:
        """How much of an objective's variance over the space each setting explains, the largest first, sum 1; by functional
        ANOVA on a forest of 64 trees (Hutter, Hoos, Leyton-Brown 2014), from a fixed seed. Empty where the trials are too few,
        or all alike."""
        return {objective: self._importances(place, objective) for place, objective in enumerate(self.objectives)}

    def _importances(self, place: int, objective: str) -> dict[str, float]:
        from optuna.importance import FanovaImportanceEvaluator, get_param_importances

        values = [trial.values[objective] for trial in self.complete]
        if len(values) < LEAST_FOR_IMPORTANCE or not np.isfinite(values).all() or np.ptp(values) == 0:
            return {}
        evaluator = FanovaImportanceEvaluator(seed=0)
        try:
            return get_param_importances(self.study, evaluator=evaluator, target=lambda frozen: frozen.values[place])
        except RuntimeError:  # no tree found any variance
            return {}


@dataclass(frozen=True)
class Found:
    """A sweep as it stands."""

    name: str
    title: str
    """What it claims or asks, or its name."""
    question: str
    """Its file."""
    objectives: dict[str, str]
    arms: list[Arm]
    record: dict[str, Any]
    """``found.json``; empty while trials are still to be run."""
    storage: str
    """The address of the storage, without a password."""
    command: str
    """What runs it."""
    home: Path
    """Its folder among the runs."""
    protocol: str = ""
    forced: bool = False

    @property
    def finals(self) -> dict[str, Path]:
        """The run directories of winners on fresh seeds, of a single arm that of its default configuration too, by name."""
        runs = self.home.parent.parent
        own = {arm.name: arm.record["final"]["folder"] for arm in self.arms if "final" in arm.record}
        if len(own) == 1:
            own["default"] = next(arm.record["default"]["folder"] for arm in self.arms if "default" in arm.record)
        return {name: runs / folder for name, folder in own.items()}

    @property
    def trials(self) -> list[tuple[Arm, Trial]]:
        """Of all arms."""
        return [(arm, trial) for arm in self.arms for trial in arm.trials]

    def front(self) -> list[tuple[Arm, Trial]]:
        """That of all arms."""
        return front(self.objectives, self.arms)


def front(objectives: dict[str, str], arms: list[Arm]) -> list[tuple[Arm, Trial]]:
    """The complete trials of all arms that no other is better than in one objective and as good in the others: Pareto's."""
    known = [(arm, trial) for arm in arms for trial in arm.complete if np.isfinite(list(trial.values.values())).all()]
    signs = np.array([sign_of(direction) for direction in objectives.values()])
    points = np.array([list(trial.values.values()) for _, trial in known]).reshape(-1, len(signs)) * signs
    return [one for one, kept in zip(known, undominated(points), strict=True) if kept]


def sign_of(direction: str) -> int:
    """What makes more of it better."""
    return 1 if direction == "maximize" else -1


def undominated(points: np.ndarray) -> np.ndarray:
    """Which of ``points`` [N, K], larger being better, no other one dominates, ``[N]``; of equal ones all.

    >>> undominated(np.array([[1.0, 3.0], [2.0, 2.0], [1.0, 2.0]])).tolist()
    [True, True, False]
    """
    at_least = (points[:, None] <= points[None]).all(2)
    better = (points[:, None] < points[None]).any(2)
    return ~(at_least & better).any(1)


def reached(trials: Iterable[Trial], objective: str, direction: str) -> np.ndarray:
    """The best value of an objective up to each trial ``[N]``, of complete trials alone; NaN before the first."""
    sign, best, found = sign_of(direction), math.nan, []
    for trial in trials:
        value = sign * trial.values[objective] if trial.state == COMPLETE else math.nan
        best = value if math.isnan(best) or value > best else best
        found.append(sign * best)
    return np.array(found)


def _trial(frozen: FrozenTrial, objectives: list[str]) -> Trial:
    own = dict(frozen.user_attrs)
    by_seed, seeds, seconds = own.pop("by_seed", {}), own.pop("seeds", []), own.pop("seconds", None)
    state = STATES[frozen.state.name]
    state = DIVERGED if state == PRUNED and "diverged" in own.get("why", "") else state
    known = frozen.values or ()
    if state == PRUNED:  # Optuna keeps what was reported last, which may be of one seed
        known = [_mean(by_seed.get(name, ())) for name in objectives]
    values = dict.fromkeys(objectives, math.nan) | dict(zip(objectives, map(float, known), strict=False))
    began, ended = (time and time.timestamp() for time in (frozen.datetime_start, frozen.datetime_complete))
    reports = dict(frozen.intermediate_values)
    return Trial(frozen.number, state, values, dict(frozen.params), by_seed, seeds, seconds, began, ended, reports, own)


def _mean(values: Iterable[float | None]) -> float:
    """Of those that there are; NaN of none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else math.nan
