"""What a step and a task's end cost when many tasks have been met: rehearsal on permutations of the digits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lab.config import CONF
from lab.experiment import Experiment
from lab.plan import Plan
from lab.run import overrides
from lab.training import train

MEMBERS, STEPS = 10, 20
STRATEGIES = ("power_law_rehearsal", "er")


@dataclass
class Costs:
    """Of the last hundred tasks (of ten, all but the first)."""

    step: float
    """Seconds a step of all members."""
    end: float
    """Seconds that a task's end takes beside steps, evaluation and checkpoints."""
    evaluation: float
    """Seconds that evaluating takes at a task's end, at logarithmic lags."""
    checkpoint: int
    """Bytes of the last one."""


def costs(strategy: str, tasks: int) -> Costs:
    """Train ten members over so many tasks of 20 steps, and time the last of them."""
    if not GlobalHydra.instance().is_initialized():
        initialize_config_dir(str(CONF), version_base="1.3")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        chosen = [
            "environment=permuted", "environment.source=digits", f"environment.tasks={tasks}", f"strategy={strategy}",
            "network.width=100", "batch_size=10", f"steps={STEPS}", f"seeds={MEMBERS}", "evaluation.tasks=log_lags",
            "evaluation.at_most=100", "tracking=off", f"paths.runs={folder}", "trainer.accelerator=cpu",
        ]  # fmt: skip
        made = Experiment(OmegaConf.to_container(compose("config", overrides(chosen)), resolve=True))
        learner = made.learner(list(range(MEMBERS)), Plan(stack=True, processes=1, threads=1, block=20, why="a benchmark"))
        spent = {"advance": 0.0, "begin": 0.0, "end": 0.0, "measure": 0.0}
        first = max(1, tasks - 100)
        for name in spent:
            setattr(learner, name, _timed(learner, name, spent, first))
        train(learner, made.trainer_options, Path(folder), made.digest, lambda step: None)
        size = max(path.stat().st_size for path in Path(folder).glob("*.ckpt"))
    counted = tasks - first
    rest = (spent["begin"] + spent["end"]) / counted
    return Costs(spent["advance"] / (counted * STEPS), rest, spent["measure"] / counted, size)


def _timed(learner: Any, name: str, spent: dict[str, float], first: int) -> Callable:
    method = getattr(learner, name)

    @wraps(method)
    def timed(*args: Any) -> Any:
        begun = time.perf_counter()
        found = method(*args)
        if learner.phase >= first:
            spent[name] += time.perf_counter() - begun
        return found

    return timed
