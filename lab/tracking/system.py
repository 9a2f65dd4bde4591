"""What the machine does while a run trains: sampled by MLflow's own monitors, kept in the run directory, sent when it is done.

Only with `tracking.system_metrics=true`; without it nothing is imported and no thread runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from typing import Any

from lab.errors import require
from lab.results import write_whole

FILE = "system_metrics.json"

EVERY = 5.0
"""Seconds between two samples; the first and the last are taken whatever the time."""


def check(settings: dict[str, Any]) -> None:
    """Refuse a setting that is no truth value, or that cannot be kept.

    Raises:
        UserError: names the key.
    """
    wanted = settings.get("system_metrics", False)
    require(isinstance(wanted, bool), "tracking.system_metrics", wanted, "true or false")
    there = not wanted or find_spec("psutil") is not None
    require(there, "tracking.system_metrics", wanted, "psutil to be installed for it: pip install psutil")


@contextmanager
def sampled(settings: dict[str, Any], folder: Path) -> Iterator[None]:
    """Within it the machine is sampled, where ``system_metrics`` of the configuration's ``tracking`` says so.

    The samples are added to those in ``folder``, which need not be there before the end. What is imported is imported at
    once, since the process may fork while the thread samples.
    """
    if not (settings["enabled"] and settings.get("system_metrics")):
        yield
        return
    monitors, samples, over = _monitors(settings), [], Event()
    thread = Thread(target=_sample, args=(monitors, samples, over), name="system metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if folder.is_dir():
            text = json.dumps([*_read(folder), *samples])
            write_whole(folder / FILE, lambda file: file.write(text.encode()))


def points(folder: Path) -> Iterator[tuple[str, float, int, int]]:
    """Name, value, time in milliseconds and number of each sample in a run directory; nothing where none were taken."""
    for number, sample in enumerate(_read(folder)):
        for name, value in sample["values"].items():
            yield name, value, sample["time"], number


def _monitors(settings: dict[str, Any]) -> list[Any]:
    from lab.tracking.store import import_mlflow

    import_mlflow(settings["timeout"])
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # no GPU, or nothing to ask it with
        monitors.append(GPUMonitor())
    return monitors


def _sample(monitors: list[Any], samples: list[dict[str, Any]], over: Event) -> None:
    """Take samples until it is over, and one then."""
    _take(monitors)  # a processor's load is that since this thread last asked
    last = False
    while not last:
        last = over.wait(EVERY)
        samples.append({"time": int(1000 * time.time()), "values": _take(monitors)})


def _take(monitors: list[Any]) -> dict[str, float]:
    """A sample; a monitor that fails is done with, the run goes on."""
    values: dict[str, float] = {}
    for monitor in list(monitors):
        try:
            monitor.collect_metrics()
            values |= {name: float(value) for name, value in monitor.aggregate_metrics().items()}
            monitor.clear_metrics()
        except Exception:
            monitors.remove(monitor)
    return values


def _read(folder: Path) -> list[dict[str, Any]]:
    """The samples in a run directory; none where they cannot be read."""
    with suppress(OSError, ValueError):
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    return []
