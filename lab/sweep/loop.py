"""The loop of a sweep: ask Optuna for some trials, train them as populations, tell it what they came to."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.errors import IncompleteError, UserError
from lab.sweep.arms import Arm, differing
from lab.sweep.population import Population, Trained, grouped, place, worker
from lab.sweep.pruning import first_seeds, train_some
from lab.sweep.question import Sweep
from lab.sweep.space import Value, suggested
from lab.sweep.studies import FINISHED, budget, in_state, trial_of
from lab.sweep.values import Outcome
from lab.workers import KilledError, WorkerError


@dataclass(frozen=True)
class Work:
    """A trial at work, with its settings."""

    trial: optuna.Trial
    values: dict[str, Value]

    def note(self, **attributes: Any) -> None:
        for key, value in attributes.items():
            self.trial.set_user_attr(key, value)


@dataclass
class Tuning:
    """One arm's trials, as many as its budget has."""

    sweep: Sweep
    arm: Arm
    study: optuna.Study
    home: Path

    def run(self) -> None:
        """Go on until the budget is spent; trials that a stopped command left are taken up first."""
        while trials := self._left() or self._asked():
            self.train(trials)

    def _left(self) -> list[optuna.Trial]:
        """Trials that were begun and not finished."""
        return [trial_of(self.study, frozen) for frozen in in_state(self.study, TrialState.RUNNING)]

    def _asked(self) -> Iterable[optuna.Trial]:
        """As many new trials as one population takes and the budget has, each asked for when it is its turn."""
        there = len(in_state(self.study, *FINISHED, TrialState.RUNNING))
        count = min(self.sweep.at_once, budget(self.sweep, self.arm.space) - there)
        return [] if count <= 0 else (self.study.ask() for _ in range(count))

    def refuse_valueless(self) -> None:
        """Raise a :class:`UserError` where all trials are done and none came to a value."""
        if not in_state(self.study, TrialState.COMPLETE):
            why = next((frozen.user_attrs.get("why") for frozen in self.study.trials), None) or "nobody knows why"
            raise UserError(f"{self.sweep.name}: {self.arm.name}: no trial came to a value; the first: {why}")

    # --- training -----------------------------------------------------------------------------------------------------

    def train(self, trials: Iterable[optuna.Trial]) -> None:
        """Train trials, as few populations as their shapes allow, and tell Optuna what they came to.

        Each is given its settings before the next is asked for: a sampler that is told of trials at work keeps away from them.
        """
        batch = [Work(trial, suggested(trial, self.arm.space)) for trial in trials]
        for together in self._groups(batch):
            self._population(together)

    def _groups(self, batch: list[Work]) -> list[list[Work]]:
        """Populations, those that trials were in before first."""
        before: dict[str, list[Work]] = {}
        for work in batch:
            before.setdefault(work.trial.user_attrs.get("population", ""), []).append(work)
        new = before.pop("", [])
        return [*before.values(), *([new[i] for i in group] for group in grouped(self.arm, [work.values for work in new]))]

    def _population(self, works: list[Work]) -> None:
        """Train some trials together; where that fails for a reason of theirs, those that are alone in it fail alone."""
        name = f"{self.sweep.name}: {self.arm.name}: {_called(works)}"
        try:
            values = [work.values for work in works]
            experiment = Population(self.arm, values, first_seeds(self.sweep)).experiment(self.home)
        except UserError as error:
            self._failed(works, error)
            return
        told = {"population": str(experiment.folder.relative_to(self.home)), "place": place(experiment), "worker": worker()}
        for work in works:
            work.note(**told)
        try:
            trials = [work.trial for work in works]
            trained = train_some(self.sweep, self.arm, trials, values, experiment, name, self.home)
        except (OSError, IncompleteError, KilledError):
            raise  # a full disk, a killed process: no trial's fault, and the same command goes on
        except Exception as error:
            self._failed(works, error)
            return
        for work, outcome in zip(works, trained.outcomes, strict=True):
            self._tell(work, outcome, trained.seconds / len(works))
        print(f"{name}: {self._standing(trained)}", file=sys.stderr, flush=True)

    def _failed(self, works: list[Work], error: Exception) -> None:
        if len(works) > 1:
            half = len(works) // 2
            for part in (works[:half], works[half:]):
                self._population(part)
            return
        if not isinstance(error, (UserError, WorkerError)):
            traceback.print_exception(error)
        why = " ".join(str(error).split()) or type(error).__name__
        works[0].note(why=f"failed: {why}")
        self.study.tell(works[0].trial, state=TrialState.FAIL)
        print(f"{self.sweep.name}: {self.arm.name}: {_called(works)}: failed: {why}", file=sys.stderr, flush=True)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, work: Work, outcome: Outcome, seconds: float) -> None:
        """A trial without a value, since a seed diverged, say, is pruned: of a failed one the sampler would learn nothing."""
        config = differing(self.arm.config(work.values, [0]), self.arm.default)
        work.note(config=config, by_seed=outcome.by_seed, seeds=self.sweep.seeds, seconds=seconds)
        if outcome.why:
            work.note(why=outcome.why)
            self.study.tell(work.trial, state=TrialState.PRUNED)
        else:
            self.study.tell(work.trial, outcome.means)

    def _standing(self, trained: Trained) -> str:
        """How far the arm is, and what its best trial so far has."""
        done, of = len(in_state(self.study, *FINISHED)), budget(self.sweep, self.arm.space)
        complete = in_state(self.study, TrialState.COMPLETE)
        best = f", {self.sweep.objective} {best_of(self.sweep, complete).values[0]:.4g} at best" if complete else ""
        return f"{trained.seconds:.1f} s; {done} of {of} trials{best}"


def best_of(sweep: Sweep, trials: list[FrozenTrial]) -> FrozenTrial:
    """The winner: by the mean of the first objective over tuning seeds, of equal ones by the next, then the earlier."""

    def key(trial: FrozenTrial) -> tuple:
        signed = (-value if way == "maximize" else value for value, way in zip(trial.values, sweep.directions, strict=True))
        return (*signed, trial.number)

    return min(trials, key=key)


def _called(works: list[Work]) -> str:
    """``trial 3``, ``trials 0, 3, 5``."""
    return f"trial{'s' * (len(works) > 1)} {', '.join(str(work.trial.number) for work in works)}"
