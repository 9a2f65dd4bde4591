"""A sweep's workers on other machines, through Hydra's launchers: submitit's for Slurm, Ray's, or whichever is installed.

A worker is the command `lab sweep` itself, in a process of its own where the launcher's job runs: it takes its share from the
storage, and uses the device that the launcher gave it. How many there are, and when they begin or are killed, decides nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from lab.config import CONF
from lab.errors import IncompleteError, UserError, require
from lab.run import overrides, sent_elsewhere
from lab.workers import die_with_parent

FAILED = {2: UserError}


def is_launchers(word: str) -> bool:
    """Whether a word of a command is the launcher's."""
    return word.lstrip("+").split("=")[0] == "hydra/launcher" or word.lstrip("+").startswith("hydra.launcher.")


def launch(command: list[str], workers: int, words: list[str], runs: Path) -> None:
    """Have as many workers carry out a command of `lab` as are asked for, and wait for them.

    Args:
        words: the launcher's: ``hydra/launcher=submitit_slurm hydra.launcher.partition=gpu``.
        runs: on a disk that the machines share; jobs and their logs lie in its folder `launched`.

    Raises:
        IncompleteError, UserError: of a worker that failed, when all have ended.
    """
    import hydra

    require(workers >= 1, "--workers", workers, "a number from 1 on")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    numbers = f"+worker={','.join(str(number) for number in range(1, workers + 1))}"
    sys.argv[1:] = overrides(["--multirun", numbers, *words, sent_elsewhere(str(runs))])
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(partial(_work, command, Path.cwd()))()


def _work(command: list[str], folder: Path, config: Any) -> None:
    """One worker, in a process of its own: a launcher's may hold threads, and a Hydra that is at work."""
    status = subprocess.run([sys.executable, "-m", "lab", *command], cwd=folder, preexec_fn=die_with_parent).returncode
    if status:
        failed = f"worker {config.worker}: lab {' '.join(command)} ended with status {status}; its log says why"
        raise FAILED.get(status, IncompleteError)(failed)
