"""Which runs were sent where: a small file in each run directory, so that none is sent twice and none is forgotten."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from lab.results import write_whole
from lab.tracking.patience import Patience

MARKER = "tracking.json"
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Place:
    """An experiment in a store."""

    uri: str
    experiment: str

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Place:
        """The place that the configuration's ``tracking`` names; a relative SQLite path becomes absolute."""
        uri = str(settings["uri"])
        if uri.startswith(SQLITE):
            uri = SQLITE + os.path.abspath(os.path.expanduser(uri[len(SQLITE) :]))
        return cls(uri, str(settings["experiment"]))

    @property
    def file(self) -> Path | None:
        """The SQLite file, where the store is one."""
        return Path(self.uri[len(SQLITE) :]) if self.uri.startswith(SQLITE) else None

    @property
    def shown(self) -> str:
        """The URI without a password."""
        try:
            parts = urlsplit(self.uri)
            return self.uri.replace(parts.netloc, parts.netloc.rpartition("@")[2]) if "@" in parts.netloc else self.uri
        except ValueError:
            return self.uri

    def check(self) -> None:
        """Raise an OSError where a SQLite file could not be made or written, before MLflow tries for minutes, and a
        ValueError for no URI, which MLflow takes for a store of its own choice."""
        if not self.uri.strip() or not self.experiment.strip():
            raise ValueError("tracking.uri and tracking.experiment must say where to track; tracking=off tracks nowhere")
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            wanted = self.file if self.file.exists() else self.file.parent
            if not os.access(wanted, os.W_OK) or self.file.is_dir():
                raise PermissionError(f"{wanted} cannot be written")


def is_sent(folder: Path, place: Place) -> bool:
    """Whether the run is in the store; a SQLite store that was removed holds nothing."""
    entry = _entry(folder, place)
    return bool(entry and entry["run_id"]) and (place.file is None or place.file.exists())


def note(folder: Path, place: Place, run_id: str | None) -> None:
    """Keep in the run directory that the run is in the store as ``run_id``, or (None) that it waits to be sent there."""
    others = [entry for entry in _entries(folder) if not _is_of(entry, place)]
    text = json.dumps([*others, {"uri": place.uri, "experiment": place.experiment, "run_id": run_id}], indent=1)
    write_whole(folder / MARKER, lambda file: file.write(text.encode()))


def waiting(runs: Path, place: Place, again: bool = False) -> list[Path]:
    """The finished runs that are still to be sent to the store, the oldest first; with ``again`` also those that were sent."""
    finished = sorted(runs.glob("*/*/results.json"), key=lambda path: path.stat().st_mtime)
    meant = [path.parent for path in finished if _is_meant_for(path.parent, place)]
    return [folder for folder in meant if again or not is_sent(folder, place)]


def _is_meant_for(folder: Path, place: Place) -> bool:
    """A run killed between its results and its marker is known by its configuration."""
    if (folder / MARKER).exists():
        return _entry(folder, place) is not None
    with suppress(OSError, yaml.YAMLError, KeyError, TypeError):
        settings = yaml.load((folder / "config.yaml").read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))["tracking"]
        return bool(settings["enabled"]) and Place.of(settings) == place
    return False


def _entry(folder: Path, place: Place) -> dict[str, Any] | None:
    return next((entry for entry in _entries(folder) if _is_of(entry, place)), None)


def _is_of(entry: dict[str, Any], place: Place) -> bool:
    return (entry["uri"], entry["experiment"]) == (place.uri, place.experiment)


def _entries(folder: Path) -> list[dict[str, Any]]:
    """What the marker says; one that cannot be read says nothing (a run that is in the store already is found there)."""
    try:
        entries = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return [entry for entry in entries if {"uri", "experiment", "run_id"} <= set(entry)]
    except (OSError, ValueError, TypeError):
        return []


@contextmanager
def alone(path: Path, patience: Patience) -> Iterator[None]:
    """Hold the lock file ``path`` against other processes and threads; waiting for it is no sign of life."""
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                patience.go_on()
                time.sleep(0.05)
        patience.alive()
        yield
