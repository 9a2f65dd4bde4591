"""The loop of a sweep: ask Optuna for some trials, train them as populations, tell it what they came to."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.trial import TrialState

from lab.errors import IncompleteError, UserError
from lab.sweep.arms import Arm
from lab.sweep.claims import worker
from lab.sweep.patient import Patient
from lab.sweep.population import Population, Trained, grouped, place
from lab.sweep.pruning import first_seeds, train_some
from lab.sweep.question import Sweep
from lab.sweep.rounds import asked, rounds
from lab.sweep.space import Value, suggested
from lab.sweep.studies import FINISHED, best_of, budget, in_state
from lab.sweep.values import Outcome
from lab.workers import AtWorkError, KilledError, WorkerError


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
    storage: Patient
    home: Path

    def jobs(self) -> dict[str, Callable[[], None]]:
        """The rounds of this arm, by the key under which a worker claims one."""
        places = rounds(budget(self.sweep, self.arm.space), self.sweep.at_once)
        return {f"{self.arm.name}.{own[0]}-{own[-1]}": partial(self.round, own) for own in places}

    def round(self, places: range) -> None:
        """Bring the trials of some places in the budget to their end; those that a stopped worker left are taken up."""
        self.train(asked(self.study, self.storage, places))

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
            self._note(work, **told)
        try:
            trials = [work.trial for work in works]
            trained = train_some(self.sweep, self.arm, trials, values, experiment, name, self.home)
        except (OSError, OptunaError, IncompleteError, KilledError, AtWorkError):
            raise  # a full disk, a storage that is lost, a killed process: no trial's fault, and the same command goes on
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
        self._finish(works[0], state=TrialState.FAIL, why=f"failed: {why}")
        print(f"{self.sweep.name}: {self.arm.name}: {_called(works)}: failed: {why}", file=sys.stderr, flush=True)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _tell(self, work: Work, outcome: Outcome, seconds: float) -> None:
        """A trial without a value, since a seed diverged, say, is pruned: of a failed one the sampler would learn nothing."""
        told = {"config": self.arm.differing(work.values), "by_seed": outcome.by_seed, "seeds": self.sweep.seeds}
        if outcome.why:
            self._finish(work, state=TrialState.PRUNED, **told, seconds=seconds, why=outcome.why)
        else:
            self._finish(work, outcome.means, **told, seconds=seconds)

    def _finish(
        self, work: Work, values: list[float] | None = None, state: TrialState | None = None, **attributes: Any
    ) -> None:
        self._note(work, **attributes)
        with suppress(UpdateFinishedTrialError):
            self.study.tell(work.trial, values, state, skip_if_finished=True)

    def _note(self, work: Work, **attributes: Any) -> None:
        with suppress(UpdateFinishedTrialError):  # by another worker, which took this one, asleep for a while, for gone
            work.note(**attributes)

    def _standing(self, trained: Trained) -> str:
        """How far the arm is, and what its best trial so far has."""
        done, of = len(in_state(self.study, *FINISHED)), budget(self.sweep, self.arm.space)
        complete = in_state(self.study, TrialState.COMPLETE)
        best = f", {self.sweep.objective} {best_of(self.sweep.directions, complete).values[0]:.4g} at best" if complete else ""
        return f"{trained.seconds:.1f} s; {done} of {of} trials{best}"


def _called(works: list[Work]) -> str:
    """``trial 3``, ``trials 0, 3, 5``."""
    return f"trial{'s' * (len(works) > 1)} {', '.join(str(work.trial.number) for work in works)}"
