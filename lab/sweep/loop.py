"""The loop of a sweep: ask Optuna for some trials, train them as populations, tell it what they came to."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.errors import IncompleteError, UserError
from lab.sweep.arms import Arm, differing
from lab.sweep.population import Population, Trained, grouped, place, train, worker
from lab.sweep.question import Sweep
from lab.sweep.space import Value, suggested
from lab.sweep.studies import FINISHED, budget, in_state, trial_of
from lab.sweep.values import Outcome
from lab.workers import KilledError, WorkerError


@dataclass
class Tuning:
    """One arm's trials, as many as its budget has."""

    sweep: Sweep
    arm: Arm
    study: optuna.Study
    home: Path
    trials: dict[int, optuna.Trial] = field(default_factory=dict)
    """Those at work, by number."""

    def run(self) -> None:
        """Go on until the budget is spent; trials that a stopped command left are taken up first.

        Raises:
            UserError: no trial came to a value.
        """
        while batch := self._left() or self._asked():
            for numbers in self._groups(batch):
                self._population(numbers, batch)
        if not in_state(self.study, TrialState.COMPLETE):
            why = next((frozen.user_attrs.get("why") for frozen in self.study.trials), None) or "nobody knows why"
            raise UserError(f"{self.sweep.name}: {self.arm.name}: no trial came to a value; the first: {why}")

    # --- asking -------------------------------------------------------------------------------------------------------

    def _left(self) -> dict[int, dict[str, Value]]:
        """Trials that were begun and not finished, with their values."""
        return self._begun([trial_of(self.study, frozen) for frozen in in_state(self.study, TrialState.RUNNING)])

    def _asked(self) -> dict[int, dict[str, Value]]:
        """As many new trials as one population takes and the budget has."""
        there = len(in_state(self.study, *FINISHED, TrialState.RUNNING))
        count = min(self.sweep.at_once, budget(self.sweep, self.arm.space) - there)
        return self._begun([self.study.ask() for _ in range(count)])

    def _begun(self, trials: list[optuna.Trial]) -> dict[int, dict[str, Value]]:
        values = {}
        for trial in trials:
            self.trials[trial.number] = trial
            values[trial.number] = suggested(trial, self.arm.space)
        return values

    def _groups(self, batch: dict[int, dict[str, Value]]) -> list[list[int]]:
        """Populations, those that trials were in before first."""
        groups: dict[str, list[int]] = {}
        for number in batch:
            groups.setdefault(self.trials[number].user_attrs.get("population", ""), []).append(number)
        new = groups.pop("", [])
        return [*groups.values(), *grouped(self.arm, {number: batch[number] for number in new})]

    # --- training -----------------------------------------------------------------------------------------------------

    def _population(self, numbers: list[int], batch: dict[int, dict[str, Value]]) -> None:
        """Train some trials together; where that fails for a reason of theirs, those that are alone in it fail alone."""
        name = f"{self.sweep.name}: {self.arm.name}: {_called(numbers)}"
        try:
            experiment = Population(self.arm, [batch[number] for number in numbers], self.sweep.seeds).experiment(self.home)
        except UserError as error:
            self._failed(numbers, batch, error)
            return
        told = {"population": str(experiment.folder.relative_to(self.home)), "place": place(experiment), "worker": worker()}
        for number in numbers:
            self._note(number, **told)
        try:
            trained = train(experiment, self.sweep.objectives, len(numbers), name)
        except (OSError, IncompleteError, KilledError):
            raise  # a full disk, a killed process: no trial's fault, and the same command goes on
        except Exception as error:
            self._failed(numbers, batch, error)
            return
        for number, outcome in zip(numbers, trained.outcomes, strict=True):
            self._note(number, config=differing(self.arm.config(batch[number], [0]), self.arm.default))
            self._tell(number, outcome, trained.seconds / len(numbers))
        print(f"{name}: {self._standing(trained)}", file=sys.stderr, flush=True)

    def _failed(self, numbers: list[int], batch: dict[int, dict[str, Value]], error: Exception) -> None:
        if len(numbers) > 1:
            half = len(numbers) // 2
            for part in (numbers[:half], numbers[half:]):
                self._population(part, batch)
            return
        if not isinstance(error, (UserError, WorkerError)):
            traceback.print_exception(error)
        why = " ".join(str(error).split()) or type(error).__name__
        self._note(numbers[0], why=f"failed: {why}")
        self.study.tell(numbers[0], state=TrialState.FAIL)
        print(f"{self.sweep.name}: {self.arm.name}: {_called(numbers)}: failed: {why}", file=sys.stderr, flush=True)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _note(self, number: int, **attributes) -> None:
        for key, value in attributes.items():
            self.trials[number].set_user_attr(key, value)

    def _tell(self, number: int, outcome: Outcome, seconds: float) -> None:
        """A trial without a value, since a seed diverged, say, is pruned: of a failed one the sampler would learn nothing."""
        self._note(number, by_seed=outcome.by_seed, seeds=self.sweep.seeds, seconds=seconds)
        if outcome.why:
            self._note(number, why=outcome.why)
            self.study.tell(number, state=TrialState.PRUNED)
        else:
            self.study.tell(number, outcome.means)

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


def _called(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"trial {numbers[0]}"
    return f"trials {', '.join(map(str, numbers))}"
