"""Which trials are not worth training on: asked of Optuna's pruner when a task ends, or when some more seeds are done.

Across tasks a trial reports its objective as if the stream ended there (of `accuracy`, the mean over the tasks met), step by
step the number of tasks; the members of those that are pruned are cut from their population (:mod:`lab.stages`). Across seeds
it reports the objective of each of its seeds, whose streams are the same for all trials, step by step the seed's place: what
Optuna's WilcoxonPruner tests pair by pair against the best trial so far.

What became of a trial is noted with it when it is decided, so that a killed worker's successor need not decide again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from lab.errors import UserError
from lab.experiment import Experiment
from lab.stages import Reached
from lab.sweep.question import COSTS, Sweep
from lab.sweep.values import Outcome, outcomes


@dataclass(frozen=True)
class AcrossTasks:
    """Says at each task's end which members of a population go on: the argument ``decide`` of :meth:`Experiment.run`.

    Args:
        trials: of the population, in the order of their members.
    """

    sweep: Sweep
    trials: list[optuna.Trial]

    def __call__(self, reached: Reached) -> list[int]:
        there = self.there(reached.members)
        came_to = outcomes(reached.results, self.sweep.objectives, len(there))
        sound = []
        for trial, outcome in zip(there, came_to, strict=True):
            if outcome.diverged:
                ended(trial, outcome)
                continue
            sound.append((trial, outcome))
            if not outcome.why:  # what takes two tasks, forgetting say, is undefined after one
                report(trial, outcome.means[0], reached.task)
        for trial, outcome in sound:
            if not outcome.why and trial.should_prune():
                ended(trial, Outcome(outcome.by_seed, self._why(reached, outcome)))
        return [m for m in reached.members if not ending(self.trials[m // self._each])]

    def there(self, members: list[int] | None) -> list[optuna.Trial]:
        """The trials that members belong to; None for all."""
        return self.trials if members is None else [self.trials[m // self._each] for m in members[:: self._each]]

    @property
    def _each(self) -> int:
        return len(self.sweep.seeds)

    def _why(self, reached: Reached, outcome: Outcome) -> str:
        own = f"{self.sweep.objective} {outcome.means[0]:.4g}"
        return f"pruned after {reached.task} of {reached.tasks} tasks ({self.sweep.pruner['name']}): {own}"


def after_seeds(sweep: Sweep, trial: optuna.Trial, values: list[float]) -> str:
    """Why a trial with these values of its first seeds is not worth the others; empty where it is, or there are none."""
    for step, value in enumerate(values):
        report(trial, value, step)
    if len(values) == len(sweep.seeds) or not trial.should_prune():
        return ""
    mean = sum(values) / len(values)
    done = f"{len(values)} of {len(sweep.seeds)} seeds"
    return f"pruned after {done} ({sweep.pruner['name']}): {sweep.objective} {mean:.4g}"


def report(trial: optuna.Trial, value: float, step: int) -> None:
    """Tell the pruner, once."""
    with suppress(UpdateFinishedTrialError):  # told by another worker, which took this one for gone
        if step not in trial.storage.get_trial(trial._trial_id).intermediate_values:
            trial.report(value, step)


def ended(trial: optuna.Trial, outcome: Outcome) -> None:
    """Note what a trial came to before its end."""
    with suppress(UpdateFinishedTrialError):
        trial.set_user_attr("by_seed", outcome.by_seed)
        trial.set_user_attr("ending", outcome.why)


def ending(trial: optuna.Trial) -> Outcome | None:
    """What a trial came to that has been ended; None for one that goes on."""
    noted = trial.storage.get_trial(trial._trial_id).user_attrs
    return Outcome(noted["by_seed"], noted["ending"]) if "ending" in noted else None


# --- what is refused --------------------------------------------------------------------------------------------------


def refuse(sweep: Sweep, experiment: Experiment) -> None:
    """Refuse, before training, a pruner that an arm's runs cannot serve.

    Raises:
        UserError: says why.
    """
    if sweep.pruner is None:
        return
    given = f"{sweep.path}: pruner={sweep.pruner['name']}"
    if sweep.objective in COSTS:
        raise UserError(f"{given}: prunes by what a run has learnt so far, and {sweep.objective} says nothing of it")
    if sweep.seed_batch:
        return
    if experiment.engine:
        (name,) = experiment.config["strategy"]
        raise UserError(f"{given}: strategy={name} trains one member after the other, and none can be cut; expected null")
    if experiment.config["evaluation"]["tasks"] != "all":
        raise UserError(f"{given}: needs all tasks met when one ends; expected evaluation.tasks=all")
    if len(experiment.streams[0].tasks) == 1:
        raise UserError(f"{given}: prunes when a task ends, and tuning streams have one task; expected null")
    if len(experiment.streams[0].phases) == 1:
        names = ", ".join(experiment.config["strategy"])
        raise UserError(f"{given}: prunes when a task ends, and {names} trains on all tasks at once; expected null")
