"""Trials trained together: what changes no shape is a list of one value a member, and the rest decides who belongs together."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.experiment import Experiment
from lab.progress import Progress
from lab.results import load
from lab.sweep.arms import Arm
from lab.sweep.space import Value
from lab.sweep.values import Outcome, outcomes

FOLDER = "populations"
"""In a sweep's home: run directories of trials."""


@dataclass(frozen=True)
class Population:
    """Some trials of one shape, each with all its seeds.

    Args:
        values: what varies, trial by trial.
        seeds: of every trial.
    """

    arm: Arm
    values: list[dict[str, Value]]
    seeds: list[int]

    @property
    def config(self) -> dict[str, Any]:
        """Members are trials x seeds, trial after trial."""
        return self.arm.config(self._settings(), self.seeds * len(self.values))

    def _settings(self) -> dict[str, Value | list[Value]]:
        together = {key: [own[key] for own in self.values] for key in self.arm.space}
        alike = {key for key, of in together.items() if all(value == of[0] for value in of)}
        return {key: of[0] if key in alike else self._spread(of) for key, of in together.items()}

    def _spread(self, values: list[Value]) -> list[Value]:
        return [value for value in values for _ in self.seeds]

    def experiment(self, home: Path) -> Experiment:
        """The run, in a sweep's home."""
        config = self.config
        config["paths"]["runs"] = str(home / FOLDER)
        return Experiment(config, repeated=True)


@dataclass(frozen=True)
class Trained:
    """A population that has been trained."""

    outcomes: list[Outcome]
    folder: Path
    seconds: float


def grouped(arm: Arm, values: list[dict[str, Value]]) -> list[list[int]]:
    """Places of trials that can be one population: alike in all but what each member may have of its own."""
    groups: dict[tuple, list[int]] = {}
    for number, own in enumerate(values):
        shape = tuple((key, type(own[key]).__name__, own[key]) for key in arm.space if key not in arm.of_members)
        groups.setdefault(shape, []).append(number)
    return list(groups.values())


def train(experiment: Experiment, objectives: dict[str, str], trials: int, name: str) -> Trained:
    """Train a population, or go on with it, or take what it came to before."""
    begun = time.perf_counter()
    with Progress(name, experiment.config["trainer"]["enable_progress_bar"]) as progress:
        folder = experiment.run(progress)
    return Trained(outcomes(load(folder), objectives, trials), folder, time.perf_counter() - begun)


def place(experiment: Experiment) -> str:
    """What it trains on: the processor, or which of the devices that it may see."""
    if experiment.device == "cpu":
        return "cpu"
    return f"cuda:{os.environ.get('CUDA_VISIBLE_DEVICES', '0')}"
