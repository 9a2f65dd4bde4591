"""What it gains to train a sweep's trials as one population: 16 trials x 3 seeds of replay on MNIST, or one after the other.

Both ways are whole runs of the lab, from the experiment to its results, split over the machine's cores; the
trials differ in their learning rate. One after the other a trial is a population too, of its three seeds.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from settings import Setting, words

from lab.experiment import Experiment
from lab.progress import Progress
from lab.results import load
from lab.run import composed
from lab.workers import cores

TRIALS, SEEDS = 16, [1000, 1001, 1002]
RATES = [float(rate) for rate in np.geomspace(0.005, 0.2, TRIALS)]
TASKS = 2


def stacked(setting: Setting, steps: int, folder: Path, values: dict[str, np.ndarray]) -> float:
    """Seconds of all trials as one population; their accuracies ``[trials x seeds]`` go into ``values``."""
    return _seconds("stacked", setting, [RATES], steps, folder, values)


def one_after_the_other(setting: Setting, steps: int, folder: Path, values: dict[str, np.ndarray]) -> float:
    """The same, a population for each trial."""
    return _seconds("one after the other", setting, [[rate] for rate in RATES], steps, folder, values)


def _seconds(
    name: str, setting: Setting, populations: list[list[float]], steps: int, folder: Path, values: dict[str, np.ndarray]
) -> float:
    configs = [_config(setting, rates, steps, folder) for rates in populations]
    with tempfile.TemporaryDirectory() as runs:
        begun = time.perf_counter()
        found = [_accuracy(config, runs) for config in configs]
        taken = time.perf_counter() - begun
    values[name] = np.concatenate(found)
    return taken


def _config(setting: Setting, rates: list[float], steps: int, folder: Path) -> dict:
    config = composed(*words(setting, "er", 1, TASKS, folder), f"steps={steps}", "tracking=off")
    config["seeds"] = SEEDS * len(rates)
    config["optimizer"]["lr"] = [rate for rate in rates for _ in SEEDS] if len(rates) > 1 else rates[0]
    config["evaluation"] |= {"split": "validation"}
    config["environment"] |= {"validation": 0.1}
    config["trainer"] |= {"enable_progress_bar": False}
    config["plan"] |= {"processes": min(cores(), len(SEEDS))}  # as in runs of usual length: these are short, and would take one
    return config


def _accuracy(config: dict, runs: str) -> np.ndarray:
    config["paths"]["runs"] = runs
    return load(Experiment(config, repeated=True).run(Progress("", show=False))).metrics["accuracy"]
