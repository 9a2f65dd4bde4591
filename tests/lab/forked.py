"""Runs in processes forked from the warm test process, so that one can be killed without paying for imports."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lab.experiment import Experiment
from lab.progress import Progress
from lab.run import composed

SMALL = [
    "tracking=off",
    "environment=permuted",
    "environment.tasks=3",
    "environment.validation=0.9",
    "network.width=12",
    "network.depth=1",
    "evaluation.samples=20",
    "plan.stack=true",
    "plan.processes=1",
    "trainer.enable_progress_bar=false",
]
"""A run of a fraction of a second on digits."""


def small(*words: str) -> dict[str, Any]:
    """The configuration of a small run with these overrides."""
    return composed(*SMALL, *words)


def forked(job: Callable[[], object], timeout: int = 120) -> int:
    """Run ``job`` in a forked process; its exit status as :mod:`subprocess` gives it (negative: the signal that ended it)."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(timeout)
            torch.set_num_threads(1)
            job()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def train(config: dict[str, Any]) -> Path:
    """The run, as `lab run` would train it."""
    return Experiment(config).run(Progress("", show=False))


def kill() -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)
