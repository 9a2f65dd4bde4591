"""The report of a study or a sweep on its way into a store: one run beside the cells, however often it is sent."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.tracking import labels
from lab.tracking.entries import NOTE
from lab.tracking.patience import Patience
from lab.tracking.view import ABOUT

NAME, CONTENT = "lab.study", "lab.content"
"""Tags: the study's or sweep's name, and a hash of all that was sent, set last."""


@dataclass(frozen=True)
class Study:
    """What is sent of a study, or of a sweep."""

    name: str
    note: str
    """Markdown."""
    folder: Path
    tags: dict[str, Any]
    metrics: dict[str, Any]
    kind: str = labels.STUDY
    patterns: tuple[str, ...] = ("**/*",)
    """Of the files in the folder that are sent."""

    @property
    def files(self) -> list[Path]:
        """The files below the folder but hidden ones, relative to it."""
        there = {file for pattern in self.patterns for file in self.folder.glob(pattern) if file.is_file()}
        found = [file.relative_to(self.folder) for file in sorted(there)]
        return [file for file in found if not any(part.startswith(".") for part in file.parts)]

    def content(self) -> str:
        """A hash of what is sent."""
        whole = hashlib.sha256(json.dumps([self.name, self.note, self.tags, self.metrics], default=str).encode())
        for file in self.files:
            whole.update(f"\0{file}\0".encode() + hashlib.sha256((self.folder / file).read_bytes()).digest())
        return whole.hexdigest()[:16]

    def send(self, client: Any, experiment: str, patience: Patience) -> None:
        """Make the study's run, or bring the one that is there up to this; nothing where it is as it should be.

        Raises:
            UserError: its folder is not there.
        """
        if not self.folder.is_dir():
            raise UserError(f"there is no folder {self.folder}")
        content, known = self.content(), list(self._known(client, experiment, patience))
        if any(run.data.tags.get(CONTENT) == content for run in known):  # be it that the user deleted it
            return
        standing = [run.info.run_id for run in known if run.info.lifecycle_stage == "active"]
        run = standing[0] if standing else self._make(client, experiment)
        for double in standing[1:]:
            client.delete_run(double)
        patience.alive()
        self._fill(client, run, patience)
        client.set_experiment_tag(experiment, NOTE, f"{self.note[: labels.LONGEST_TEXT]}\n\n---\n\n{ABOUT}")
        client.set_terminated(run, "FINISHED")
        client.set_tag(run, CONTENT, content)
        patience.alive()

    def _known(self, client: Any, experiment: str, patience: Patience) -> Iterator[Any]:
        from mlflow.entities import ViewType

        name = self.name.replace("'", "")
        yield from client.search_runs([experiment], f"tags.`{NAME}` = '{name}'", ViewType.ALL)
        patience.alive()

    def _make(self, client: Any, experiment: str) -> str:
        tags = {"lab.kind": self.kind, NAME: self.name.replace("'", ""), "mlflow.source.name": f"lab {self.kind}"}
        return client.create_run(experiment, tags=tags, run_name=f"{self.kind}: {self.name}").info.run_id

    def _fill(self, client: Any, run: str, patience: Patience) -> None:
        """Tags, metrics and files as they are now; what it was known by stops holding first."""
        from mlflow.entities import Metric, RunTag

        now = int(1000 * time.time())
        given = {key: str(value)[: labels.LONGEST_TEXT] for key, value in self.tags.items() if value is not None}
        tags = {CONTENT: "", NOTE: self.note[: labels.LONGEST_TEXT]} | given
        metrics = [Metric(key, float(value), now, 0) for key, value in self.metrics.items() if value is not None]
        client.log_batch(run, metrics, tags=[RunTag(*item) for item in tags.items()])
        patience.alive()
        for file in self.files:
            client.log_artifact(run, str(self.folder / file), None if file.parent == Path() else str(file.parent))
            patience.alive()
        self._remove_others(client, run, patience)

    def _remove_others(self, client: Any, run: str, patience: Patience) -> None:
        """Files of an earlier report that this one does not have; some stores cannot, where they stay."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        wanted = set(map(str, self.files))
        stale = [path for path in _files(client, run, None) if path not in wanted]
        patience.alive()
        with suppress(NotImplementedError):
            for path in stale:
                get_artifact_repository(client.get_run(run).info.artifact_uri).delete_artifacts(path)
                patience.alive()


def _files(client: Any, run: str, folder: str | None) -> Iterator[str]:
    """Paths of all files that a run has."""
    for entry in client.list_artifacts(run, folder):
        if entry.is_dir:
            yield from _files(client, run, entry.path)
        else:
            yield entry.path
