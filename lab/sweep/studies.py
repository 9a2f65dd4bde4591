"""Optuna's side of a sweep: one study an arm, its sampler and pruner."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from lab.cell import flat
from lab.config import nearest
from lab.errors import UserError
from lab.seeding import derive
from lab.sweep.arms import Arm
from lab.sweep.patient import Patient
from lab.sweep.question import Sweep
from lab.sweep.space import Space, Value, combinations, grid, suggested

PRUNED_BY = {"median": "MedianPruner", "percentile": "PercentilePruner", "hyperband": "HyperbandPruner"}
PRUNED_BY |= {"halving": "SuccessiveHalvingPruner", "wilcoxon": "WilcoxonPruner"}

OF_NUMBERS = ("cmaes", "qmc")
"""Samplers that leave choices to chance."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

optuna.logging.set_verbosity(optuna.logging.ERROR)


def open_study(sweep: Sweep, arm: Arm, asked: dict[str, Any], storage: Patient, tasks: int = 1) -> optuna.Study:
    """An arm's study, begun or gone on with.

    Args:
        asked: the question, whose answers the trials are: space and protocol.
        tasks: of its streams in tuning.

    Raises:
        UserError: it was begun with another question.
    """
    study = optuna.create_study(
        study_name=f"{sweep.name}.{arm.name}", storage=storage, load_if_exists=True, directions=sweep.directions,
        sampler=sampler_of(sweep, arm.space, arm.usual), pruner=pruner_of(sweep, tasks),
    )  # fmt: skip
    known = study.user_attrs.get("question")
    if known is None:
        study.set_user_attr("question", json.dumps(asked, sort_keys=True))
    elif json.loads(known) != json.loads(json.dumps(asked)):
        raise UserError(
            f"{sweep.path}: {arm.name} was begun with another question: {_changed(json.loads(known), asked)}; {_ANEW}"
        )
    return study


_ANEW = "move the sweep's folder away (or name another storage) to begin anew"


def _changed(then: dict[str, Any], now: dict[str, Any]) -> str:
    before, after = dict(flat(then)), dict(flat(now))
    keys = [key for key in before | after if before.get(key) != after.get(key)]
    return "; ".join(f"{key} was {before.get(key, 'not there')} and is {after.get(key, 'not there')}" for key in keys)


def budget(sweep: Sweep, space: Space) -> int:
    """Trials of an arm: as many as the sweep says, and in a grid no more than there are."""
    if sweep.sampler["name"] != "grid":
        return sweep.trials
    return min(combinations(space), sweep.trials or combinations(space))


# --- sampler and pruner -----------------------------------------------------------------------------------------------


class Anew(BaseSampler):
    """A sampler that is made anew for each trial, from a seed of the trial's own: what is suggested follows from the trials
    that there are, however often a command was stopped and however many workers ask.

    Args:
        make: of a seed.
        first: what trial 0 has; of other keys, what the sampler says.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, first: dict[str, Value]):
        self.make, self.seed, self.first = make, seed, first
        self.inner = make(seed)

    def before_trial(self, study, trial):
        self.inner = self.make(derive(self.seed, study.study_name, trial.number) % 2**32)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(self, study, trial):
        return self.inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space):
        drawn = self.inner.sample_relative(study, trial, search_space)
        return drawn | {key: self.first[key] for key in drawn if self._is_given(trial, key)}

    def sample_independent(self, study, trial, param_name, param_distribution):
        drawn = self.inner.sample_independent(study, trial, param_name, param_distribution)  # so that the next is what it was
        return self.first[param_name] if self._is_given(trial, param_name) else drawn

    def _is_given(self, trial: FrozenTrial, key: str) -> bool:
        return trial.number == 0 and key in self.first

    def after_trial(self, study, trial, state, values):
        self.inner.after_trial(study, trial, state, values)


class Grid(optuna.samplers.GridSampler):
    """Optuna's, which would stop ``Study.optimize`` when all combinations have been tried: here the budget does."""

    def after_trial(self, study, trial, state, values):
        pass


class QMC(optuna.samplers.QMCSampler):
    """Optuna's, which learns from finished trials what varies and draws at random until then: here it is known before."""

    def __init__(self, space: Space, **options):
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            super().__init__(**options)
        self.space = {key: of for key, of in space.items() if not isinstance(of, CategoricalDistribution)}

    def infer_relative_search_space(self, study, trial):
        return self.space


def sampler_of(sweep: Sweep, space: Space, first: dict[str, Value] | None = None) -> BaseSampler:
    """The sampler that a sweep names.

    Args:
        first: settings of trial 0, which a grid has among its combinations anyhow, or not at all.

    Raises:
        UserError: an option that it does not take.
    """
    options = dict(sweep.sampler)
    name, seed = options.pop("name"), options.pop("seed", 0)
    if name in OF_NUMBERS and all(isinstance(of, CategoricalDistribution) for of in space.values()):
        raise UserError(f"sampler={name}: draws choices at random, and nothing else varies; expected tpe, gp, nsga2 or grid")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(f"sampler.seed={seed}: expected a whole number from 0 on")
    if name == "grid":
        return _made("sampler", name, Grid, options, search_space=grid(space), seed=seed)
    if name == "qmc":
        quiet = {"warn_asynchronous_seeding": False, "warn_independent_sampling": False}
        fixed = {"space": space, "seed": seed, **quiet}  # of the sequence, not of the trial
        return Anew(lambda _: _made("sampler", name, QMC, options, optuna.samplers.QMCSampler, **fixed), seed, first or {})
    made, defaults = _SAMPLERS[name]
    if name == "nsga2":  # a generation is a population of ours
        defaults = {"population_size": max(2, sweep.at_once)}
    return Anew(lambda own: _made("sampler", name, made, defaults | options, seed=own), seed, first or {})


_QUIET = {"warn_independent_sampling": False}
_SAMPLERS: dict[str, tuple[type[BaseSampler], dict[str, Any]]] = {
    "tpe": (optuna.samplers.TPESampler, {}),
    "gp": (optuna.samplers.GPSampler, _QUIET),
    "cmaes": (optuna.samplers.CmaEsSampler, _QUIET),
    "random": (optuna.samplers.RandomSampler, {}),
    "nsga2": (optuna.samplers.NSGAIISampler, {}),
}


def try_out(sweep: Sweep, space: Space) -> None:
    """Ask the sampler and the pruner that a sweep names about two trials of no study: some options are only looked at then.

    Raises:
        UserError: an option has a value that they cannot use.
    """
    sampler, pruner = sampler_of(sweep, space), pruner_of(sweep, tasks=2)
    study = optuna.create_study(directions=sweep.directions, sampler=sampler, pruner=pruner)
    try:
        for _ in range(2):
            trial = study.ask()
            suggested(trial, space)
            if sweep.pruner:
                trial.report(0.0, 1)
                trial.should_prune()
            study.tell(trial, [0.0] * len(sweep.directions))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        given = f"sampler={sweep.sampler}" + (f", pruner={sweep.pruner}" if sweep.pruner else "")
        raise UserError(f"{sweep.path}: {given}: {' '.join(str(error).split())}") from None


def pruner_of(sweep: Sweep, tasks: int = 1) -> optuna.pruners.BasePruner:
    """The pruner that a sweep names, or one that never prunes; ``tasks``: of its streams in tuning."""
    if sweep.pruner is None:
        return optuna.pruners.NopPruner()
    options = dict(sweep.pruner)
    name = options.pop("name")
    # Optuna would find these out from finished trials.
    known = {"hyperband": {"max_resource": tasks}, "halving": {"min_resource": 1}}
    return _made("pruner", name, getattr(optuna.pruners, PRUNED_BY[name]), known.get(name, {}) | options)


def _made(key: str, name: str, made: type, options: dict[str, Any], documented: type | None = None, **own: Any) -> Any:
    """An instance with the user's options, which are checked by name here and by value there."""
    taken = inspect.signature((documented or made).__init__).parameters
    known = [option for option in taken if option not in ("self", *own)]
    for option in options:
        if option not in known:
            rest = f"{nearest(str(option), known)}It takes {', '.join(['seed', *known] if key == 'sampler' else known)}"
            raise UserError(f"{key}.{option}: {name} has no such option. {rest}")
    try:
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            return made(**own, **options)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key}={name}: {' '.join(str(error).split())}") from None


# --- trials -----------------------------------------------------------------------------------------------------------


def in_state(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """A study's trials in some states, by number."""
    return study.get_trials(deepcopy=False, states=states)


def best_of(directions: list[str], trials: list[FrozenTrial]) -> FrozenTrial:
    """The winner: by the mean of the first objective over tuning seeds, of equal ones by the next, then the earlier."""

    def key(trial: FrozenTrial) -> tuple:
        signed = (-value if way == "maximize" else value for value, way in zip(trial.values, directions, strict=True))
        return (*signed, trial.number)

    return min(trials, key=key)
