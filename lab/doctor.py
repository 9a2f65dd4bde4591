"""`lab doctor`: whether this installation and this machine will do, a line for each thing looked at."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from lab import workers
from lab.config import CONF, OWN_PACKAGES

DISTRIBUTION = "continual-learning-lab"
LEAST_DISK, LEAST_MEMORY = 1e9, 1e9
"""Bytes: checkpoints and figures of a long run; ten members on MNIST."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str


def main(arguments: list[str]) -> int:
    """Print the findings as they come; 0 if all is well, else 1."""
    given = _parse(arguments)
    findings = []
    for name, check in checks(given).items():
        try:
            finding = Finding(name, *check())
        except Exception as error:  # the doctor's own failure is a finding too
            finding = Finding(name, False, f"{type(error).__name__}: {error}")
        findings.append(finding)
        if not given.json:
            print(f"{'ok' if finding.ok else '!!'}  {name:<12} {finding.text}", flush=True)
    if given.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    return 0 if all(finding.ok for finding in findings) else 1


Check = Callable[[], tuple[bool, str]]


def checks(given: argparse.Namespace) -> dict[str, Check]:
    """What is looked at, the light things first."""
    return {
        "python": python,
        "packages": packages,
        "own code": lambda: own_packages(Path(__file__).resolve().parent.parent),
        "git": git,
        "cores": cores,
        "memory": memory,
        "runs": lambda: runs(Path(given.runs)),
        "data": lambda: data(given.data),
        "tracking": lambda: tracking(given.uri),
        "device": device,
        "torchvision": torchvision,
    }


# --- the installation -----------------------------------------------------------------------------------------------------


def python() -> tuple[bool, str]:
    """Python's version against what the distribution asks for."""
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"]
    version = platform.python_version()
    return version in SpecifierSet(wanted), f"{version} in {sys.prefix}; {wanted} is needed"


def packages() -> tuple[bool, str]:
    """Installed versions against what the distribution asks for; nothing is imported."""
    wrong = list(unmet(metadata.requires(DISTRIBUTION) or []))
    shown = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "lightning", "mlflow") if _is_installed(name))
    return not wrong, "; ".join(wrong) or shown


def unmet(requirements: list[str]) -> Iterator[str]:
    """A sentence for each requirement (extras aside) that is not installed as it is asked for."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, requirements):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        if not _is_installed(requirement.name):
            yield f"{requirement} is not installed"
        elif not requirement.specifier.contains(metadata.version(requirement.name), prereleases=True):
            yield f"{requirement.name} {metadata.version(requirement.name)} is installed, {requirement} is needed"


def torchvision() -> tuple[bool, str]:
    """Whether torchvision was built for the torch that is there: its compiled part loads and answers."""
    import torch

    try:
        from torchvision.ops import nms

        nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except Exception as error:  # whatever a mismatched build raises
        return False, f"was built for another torch than {torch.__version__}, install the two together ({error})"
    return True, f"{metadata.version('torchvision')} fits torch {torch.__version__}"


def own_packages(root: Path) -> tuple[bool, str]:
    """Whether `lab`, `strategies` and `environments` are this project's, and not another's of the same name."""
    foreign = []
    for name in OWN_PACKAGES:
        origin = getattr(importlib.util.find_spec(name), "origin", None)
        if origin is None or Path(origin).resolve().parent != root / name:
            foreign.append(f"`import {name}` gives {origin or 'nothing'}, not {root / name}")
    return not foreign, "; ".join(foreign) or f"{', '.join(OWN_PACKAGES)} in {root}"


def git() -> tuple[bool, str]:
    """The commit that results will name."""
    folder = str(Path(__file__).resolve().parent)
    try:
        commit, changed = (
            subprocess.run(["git", "-C", folder, *words], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
            for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no", "."])
        )
    except (OSError, subprocess.SubprocessError):
        return True, "not in a repository: results name no commit"
    return True, f"commit {commit}" + (", with changes that are not committed" if changed else "")


# --- the machine ----------------------------------------------------------------------------------------------------------


def cores() -> tuple[bool, str]:
    """Cores that this process may use."""
    return True, f"{workers.cores()} of {os.cpu_count()}, {platform.machine()}"


def memory() -> tuple[bool, str]:
    """Main memory, and what is free of it where the system tells."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    free = total
    status = Path("/proc/meminfo")
    if status.exists():
        free = 1024 * int(re.search(r"MemAvailable:\s+(\d+)", status.read_text())[1])
    return free >= LEAST_MEMORY, f"{_gigabytes(free)} free of {_gigabytes(total)}" + _least(free, LEAST_MEMORY)


def runs(folder: Path) -> tuple[bool, str]:
    """Whether run directories can be made there, and how much fits."""
    folder = folder.expanduser().absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        return False, f"paths.runs={folder}: {there} cannot be written"
    free = shutil.disk_usage(there).free
    return free >= LEAST_DISK, f"{folder}: {_gigabytes(free)} free" + _least(free, LEAST_DISK)


def device() -> tuple[bool, str]:
    """What torch can compute on."""
    import torch

    if not torch.cuda.is_available():
        return True, "CPU (no CUDA device that torch can use)"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return True, f"CUDA {torch.version.cuda}: {', '.join(names)}"


# --- what it works with ---------------------------------------------------------------------------------------------------


def data(folder: str | None) -> tuple[bool, str]:
    """Which sources' data are in ``folder``; that some are not is no fault, a folder that is not there is one."""
    if folder and not Path(folder).expanduser().is_dir():
        return False, f"data.dir={folder}: no such folder"
    here, absent = [], []
    for path in sorted((CONF / "environment" / "source").glob("*.yaml")):
        there = _source_is_there(path, folder)
        if there is not None:
            (here if there else absent).append(path.stem)
    place = f"data.dir={folder}" if folder else "data.dir is not set (LAB_DATA)"
    return True, f"{place}: found {', '.join(here) or 'none'}" + (f"; not found {', '.join(absent)}" if absent else "")


def _source_is_there(path: Path, folder: str | None) -> bool | None:
    """Whether a source finds its data, by having it look; None for one that needs more than `data.dir`."""
    from omegaconf import OmegaConf

    from lab.config import build
    from lab.errors import UserError

    node = OmegaConf.to_container(OmegaConf.load(path))
    if "path" in node:
        return None
    given = {"dir": folder, "download": False}
    try:
        build("environment.source", node | {key: value for key, value in given.items() if key in node})
    except UserError:
        return False
    return True


def tracking(uri: str | None) -> tuple[bool, str]:
    """Whether the MLflow store answers."""
    from lab.dashboard import tracking_settings
    from lab.tracking import Place, reachable

    settings = tracking_settings(uri)
    wrong = reachable(settings)
    place = Place.of(settings)
    new = place.file is not None and not place.file.exists()
    return wrong is None, wrong or f"{place.shown} {'will be made by the first run' if new else 'answers'}"


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _least(free: float, least: float) -> str:
    return "" if free >= least else f"; {_gigabytes(least)} are needed"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lab doctor", description="Check the installation and the machine.")
    parser.add_argument("--runs", default="runs", help="where runs will go (default: runs)")
    parser.add_argument("--data", default=os.environ.get("LAB_DATA"), help="the folder of data sets (default: $LAB_DATA)")
    parser.add_argument("--uri", help="the MLflow store (default: as configured)")
    parser.add_argument("--json", action="store_true", help="for programs")
    return parser.parse_args(arguments)
