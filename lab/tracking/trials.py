"""Trials of a sweep on their way into a store: each a run, with a child for each of its seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lab.tracking.entries import Entry
from lab.tracking.patience import Patience
from lab.tracking.sending import PARENT

SWEEP, CONTENT = "lab.sweep", "lab.content"
"""Tags: the sweep's name, and a hash of all that was sent, set last."""


@dataclass(frozen=True)
class Tried:
    """One trial that has ended."""

    entry: Entry
    seeds: list[Entry]
    began: int
    """Milliseconds since 1970."""
    ended: int

    def content(self) -> str:
        """A hash of what is sent."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


def send_trials(trials: list[Tried], sweep: str, client: Any, experiment: str, patience: Patience) -> None:
    """Have all trials in the store; what is there as it is now is left alone, what has changed or was cut off is made anew."""
    known = list(_known(sweep, client, experiment, patience))
    there = {run.data.tags.get(CONTENT): run.info.run_id for run in known}
    wanted = {trial.content(): trial for trial in trials}
    kept = {there[content] for content in wanted.keys() & there.keys()}
    for run in known:
        whole = run.info.run_id in kept or run.data.tags.get(PARENT) in kept
        if not whole and run.info.lifecycle_stage == "active":
            client.delete_run(run.info.run_id)
            patience.alive()
    for content, trial in wanted.items():
        if content not in there:
            _send(trial, content, sweep, client, experiment, patience)


def _known(sweep: str, client: Any, experiment: str, patience: Patience) -> Iterator[Any]:
    """Runs of the sweep's trials and of their seeds, those that the user deleted too."""
    from mlflow.entities import ViewType

    page, query = None, f"tags.`{SWEEP}` = '{sweep.replace(chr(39), '')}'"
    while page is None or page:
        found = client.search_runs([experiment], query, ViewType.ALL, 1000, page_token=page)
        patience.alive()
        yield from found
        page = found.token or ""


def _send(trial: Tried, content: str, sweep: str, client: Any, experiment: str, patience: Patience) -> None:
    """The trial, its seeds, and last the tag that makes it count."""

    def begun(entry: Entry, later: int, more: dict[str, str]) -> str:
        tags = entry.tags | more | {SWEEP: sweep.replace("'", ""), "mlflow.source.name": "lab sweep"}
        run = client.create_run(experiment, trial.began + later, tags, entry.name).info.run_id
        patience.alive()
        metrics = [Metric(name, value, trial.ended, step) for name, value, step in entry.points]
        client.log_batch(run, metrics, [Param(*item) for item in entry.params.items()])
        client.set_terminated(run, "FAILED" if entry.lost else "FINISHED", trial.ended)
        patience.alive()
        return run

    from mlflow.entities import Metric, Param

    parent = begun(trial.entry, 0, {})
    for later, entry in zip(range(len(trial.seeds), 0, -1), trial.seeds, strict=True):
        begun(entry, later, {PARENT: parent})  # a millisecond apart: MLflow lists the newest first
    client.set_tag(parent, CONTENT, content)
    patience.alive()
