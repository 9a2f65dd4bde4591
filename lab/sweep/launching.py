"""A sweep's workers on other machines: through Hydra's launchers (submitit's for Slurm, or whichever is installed), or Ray.

A worker is the command `lab sweep` itself, in a process of its own where the launcher's job runs: it takes its share from the
storage, and uses the devices that it was given. How many there are, when they begin and when they are killed decides nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from lab.config import CONF
from lab.errors import IncompleteError, UserError
from lab.run import SENT, is_launchers, overrides

RAY = "ray."
TOLD = ("LAB_", "MLFLOW_")
"""Environment variables that Ray's workers are told of; jobs of Slurm have all of them."""
PROGRAM = "from lab.workers import die_with_parent; die_with_parent(); from lab.cli import main; main()"
"""The `lab` command, which a machine's search path may lack, ended with the job that runs it."""


def is_ours(word: str) -> bool:
    """Whether a word of `lab sweep` says by what, or how, workers are launched."""
    return is_launchers(word) or word.startswith(RAY)


def launch(command: list[str], workers: int, words: list[str], runs: Path) -> None:
    """Have as many workers carry out a command of `lab` as are asked for, and wait for them.

    Args:
        words: ``hydra/launcher=submitit_slurm hydra.launcher.partition=gpu``, or ``ray.num_gpus=0.5``.
        runs: on a disk that the machines share.

    Raises:
        UserError: no launcher is named, or two are.
        IncompleteError: a worker failed; told when all have ended.
    """
    by_ray = [word.startswith(RAY) for word in words]
    if all(by_ray) and words:
        _by_ray(command, workers, _options(words))
    elif not any(by_ray) and any(word.startswith("hydra/launcher=") for word in words):
        _by_hydra(command, workers, words, runs)
    else:
        known = "hydra/launcher=submitit_slurm (or another of Hydra's), or ray.num_cpus=1 and the like"
        raise UserError(f"--workers {workers} {' '.join(words)}: expected one launcher: {known}")


def _by_hydra(command: list[str], workers: int, words: list[str], runs: Path) -> None:
    import hydra

    folder = Path.cwd()

    def job(config: Any) -> None:
        _work(command, folder, config.worker)

    os.environ["HYDRA_FULL_ERROR"] = "1"
    numbers = ",".join(str(number) for number in range(1, workers + 1))
    sys.argv[1:] = overrides(["--multirun", f"+worker={numbers}", f"paths.runs='{runs}'", SENT, *words])
    hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()


def _by_ray(command: list[str], workers: int, options: dict[str, Any]) -> None:
    try:
        import ray
    except ImportError:
        raise UserError("ray: is not installed; the extra `ray` has it") from None
    address = options.pop("address", None)
    try:
        ray.init(address=address, log_to_driver=True)
        job = ray.remote(**options)(_work)
    except (ConnectionError, ValueError, TypeError) as error:
        raise UserError(f"ray: refuses address={address} {options} ({' '.join(str(error).split())})") from None
    try:
        told = {name: value for name, value in os.environ.items() if name.startswith(TOLD)}
        waiting = [job.remote(command, Path.cwd(), number, told) for number in range(1, workers + 1)]
        failed = [error for error in (_failure(ray, one) for one in waiting) if error]
    finally:
        ray.shutdown()
    if failed:
        raise IncompleteError(failed[0])


def _failure(ray: Any, job: Any) -> str | None:
    """Why a job failed; None where it did not."""
    try:
        ray.get(job)
    except ray.exceptions.RayError as error:  # which wraps what was raised there
        return str(error.cause) if isinstance(error, ray.exceptions.RayTaskError) else " ".join(str(error).split())
    return None


def _options(words: list[str]) -> dict[str, Any]:
    """What Ray is given: ``address``, and options of its remote functions.

    >>> _options(["ray.num_gpus=0.5", "ray.resources={tpu: 1}"])
    {'num_gpus': 0.5, 'resources': {'tpu': 1}}
    """
    pairs = [word.removeprefix(RAY).partition("=") for word in words]
    return {key: yaml.safe_load(value) for key, _, value in pairs}


def _work(command: list[str], folder: Path, number: int, told: dict[str, str] | None = None) -> None:
    """One worker, in a process of its own: a launcher's may hold threads, and a Hydra that is at work. What is found is told by
    the command that launched it, once."""
    words, environment = [sys.executable, "-c", PROGRAM, *command], os.environ | (told or {})
    status = subprocess.run(words, cwd=folder, env=environment, stdout=subprocess.DEVNULL).returncode
    if status:
        raise IncompleteError(f"worker {number}: ended with status {status}; its log says why, and the same command goes on")
