"""Trials trained together as long as they are worth it: cut from their population at a task's end, or left out of the next
batch of seeds; or, without a pruner, all to the end."""

from __future__ import annotations

import time
from pathlib import Path

import optuna

from lab.experiment import Experiment
from lab.progress import Progress
from lab.results import load
from lab.stages import left
from lab.sweep.arms import Arm
from lab.sweep.decisions import AcrossTasks, after_seeds, ended, ending, report
from lab.sweep.population import Population, Trained, train
from lab.sweep.question import Sweep
from lab.sweep.space import Value
from lab.sweep.values import Outcome, outcomes


def first_seeds(sweep: Sweep) -> list[int]:
    """The seeds that a population of trials begins with."""
    return sweep.seeds[: sweep.seed_batch]


def train_some(
    sweep: Sweep,
    arm: Arm,
    trials: list[optuna.Trial],
    values: list[dict[str, Value]],
    experiment: Experiment,
    name: str,
    home: Path,
) -> Trained:
    """Train trials of one shape, or go on with them, or take what they came to before.

    Args:
        values: what varies, trial by trial.
        experiment: the population that they begin with.
    """
    if sweep.seed_batch:
        return _across_seeds(sweep, arm, trials, values, name, home)
    if sweep.pruner:
        return _across_tasks(sweep, trials, experiment, name)
    return train(experiment, sweep.objectives, len(trials), name)


def _across_tasks(sweep: Sweep, trials: list[optuna.Trial], experiment: Experiment, name: str) -> Trained:
    begun, decide = time.perf_counter(), AcrossTasks(sweep, trials)
    with Progress(name, experiment.config["trainer"]["enable_progress_bar"]) as progress:
        folder = experiment.run(progress, decide)
    there = decide.there(left(folder))
    came_to = outcomes(load(folder), sweep.objectives, len(there)) if there else []
    of_trials = dict(zip((trial.number for trial in there), came_to, strict=True))
    for trial in there:
        outcome = of_trials[trial.number]
        if not outcome.why:
            report(trial, outcome.means[0], len(experiment.streams[0].tasks))
    made = [of_trials.get(trial.number) or ending(trial) for trial in trials]
    return Trained(made, folder, time.perf_counter() - begun)


def _across_seeds(
    sweep: Sweep, arm: Arm, trials: list[optuna.Trial], values: list[dict[str, Value]], name: str, home: Path
) -> Trained:
    seconds, folder = 0.0, home
    by_seed: list[list[float | None]] = [[] for _ in trials]
    for first in range(0, len(sweep.seeds), sweep.seed_batch):
        seeds = sweep.seeds[first : first + sweep.seed_batch]
        going = [place for place, trial in enumerate(trials) if not ending(trial)]
        if not going:
            break
        experiment = Population(arm, [values[place] for place in going], seeds).experiment(home)
        part = train(experiment, sweep.objectives, len(going), f"{name}: seeds {seeds[0]} to {seeds[-1]}")
        seconds, folder = seconds + part.seconds, part.folder
        for place, outcome in zip(going, part.outcomes, strict=True):
            by_seed[place] += outcome.by_seed[sweep.objective]
            if why := outcome.why or after_seeds(sweep, trials[place], by_seed[place]):
                ended(trials[place], Outcome({sweep.objective: _padded(by_seed[place], len(sweep.seeds))}, why))
    whole = (Outcome({sweep.objective: own}, "") for own in by_seed)
    return Trained([ending(trial) or own for trial, own in zip(trials, whole, strict=True)], folder, seconds)


def _padded(values: list[float | None], count: int) -> list[float | None]:
    """As many values as there are seeds, None for those that were not trained."""
    return [*values, *[None] * (count - len(values))]
