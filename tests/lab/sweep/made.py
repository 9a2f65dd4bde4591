"""Sweeps as they would come of training: Optuna studies of two arms whose trials were told made-up values."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import optuna

from lab.sweep.found import Arm, Found

OBJECTIVES = {"accuracy": "maximize"}
TWO = {"accuracy": "maximize", "cost.state_bytes": "minimize"}


def studies(storage=None, name="tuned", objectives=None, trials=12, seed=0):
    """A study for each of two arms: plain training with a learning rate; replay with a memory and a network's width, too.

    The accuracy is best at a learning rate of 0.03 and grows with the memory. The last trials are one that was pruned and one
    that diverged, where there is one objective, and one that failed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objectives = objectives or OBJECTIVES
    storage = storage or optuna.storages.InMemoryStorage()
    return {arm: _study(storage, f"{name}.{arm}", arm, objectives, trials, seed) for arm in ("naive", "er")}


def _study(storage, name, arm, objectives, trials, seed):
    sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(storage=storage, study_name=name, directions=list(objectives.values()), sampler=sampler)
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        trial = study.ask()
        by_seed = {key: values for key, values in tell(trial, arm, rng).items() if key in objectives}
        study.tell(trial, [float(np.mean(by_seed[key])) for key in objectives])
    if len(objectives) == 1:
        for reached, why in ((0.3, "pruned after task 1: below the median"), (None, "seed 1001 diverged at step 20")):
            trial = study.ask()
            tell(trial, arm, rng)
            trial.set_user_attr("why", why)
            if reached:
                trial.report(0.9, 1)
                trial.set_user_attr("by_seed", {"accuracy": [reached, reached, None]})
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    trial = study.ask()
    trial.set_user_attr("why", "failed: no such thing")
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    return study


def tell(trial, arm, rng):
    """Values of three tuning seeds, by objective, as attributes of the trial too."""
    rate = trial.suggest_float("optimizer.lr", 1e-3, 1.0, log=True)
    accuracy, memory = 0.6 - 0.1 * abs(math.log10(rate / 0.03)), 0
    if arm == "er":
        memory = trial.suggest_categorical("strategy.er.memory", [100, 200, 500])
        width = trial.suggest_int("network.width", 64, 256, step=64)
        accuracy += 0.0004 * memory + 0.0001 * width
    by_seed = {
        "accuracy": (accuracy + rng.normal(0, 0.01, 3)).round(4).tolist(),
        "cost.state_bytes": [float(1000 + 784 * memory)] * 3,
    }
    for key, value in {
        "by_seed": by_seed, "seeds": [1000, 1001, 1002], "population": "3f0a", "place": trial.number % 4,
        "seconds": 4.2, "worker": "here:1", "config": {},
    }.items():  # fmt: skip
        trial.set_user_attr(key, value)
    return by_seed


def record(found_studies, objectives=None, shift=-0.02):
    """``found.json``: winners that fresh seeds like less than tuning seeds did, by ``-shift``."""
    objectives = objectives or OBJECTIVES
    arms = {}
    for arm, study in found_studies.items():
        trials = [t for t in study.get_trials() if t.state == optuna.trial.TrialState.COMPLETE]
        winner = max(trials, key=lambda t: t.values[0])
        fresh = {
            key: [float(np.mean(winner.user_attrs["by_seed"][key])) + shift + 0.01 * (s % 3 - 1) for s in range(6)]
            for key in objectives
        }
        arms[arm] = {
            "best": winner.params,
            "trial": winner.number,
            "tuning": {"by_seed": winner.user_attrs["by_seed"]},
            "final": {"by_seed": fresh, "folder": f"{arm}/0-5"},
            "default": {
                "folder": f"{arm}-default/0-5",
                "by_seed": {key: [value - 0.1 for value in values] for key, values in fresh.items()},
            },
        }
    return {"arms": arms, "objectives": objectives}


def found(objectives=None, finished=True, trials=12, storage=None, **changes):
    """A sweep of two arms; with ``finished`` its winners have been run on fresh seeds."""
    objectives = objectives or OBJECTIVES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = studies(storage, objectives=objectives, trials=trials)
    kept = record(made, objectives) if finished else {}
    arms = [Arm(arm, objectives, study, kept.get("arms", {}).get(arm, {})) for arm, study in made.items()]
    given = {
        "name": "tuned", "title": "Replay is better than plain training, each at its best.", "question": "arms: {}\n",
        "storage": "journal.log", "command": "lab sweep tuned", "home": Path("runs/sweeps/tuned"),
        "protocol": "trials chosen on validation data of tuning streams (seeds 1000-1002), winners run on seeds 0-5",
    }  # fmt: skip
    return Found(objectives=objectives, arms=arms, record=kept, **(given | changes))
