"""One run on its way into a store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import zip_longest
from pathlib import Path
from typing import Any

from lab.results import LARGE, Results
from lab.tracking import labels, system
from lab.tracking.entries import Entry, accuracy_table, cell, identity, members
from lab.tracking.patience import Patience

IDENTITY = "lab.results"
PARENT = "mlflow.parentRunId"

FILES = ("report.html", "config.yaml", "results.json", "accuracy.npz", "recorded.npz")
"""Of a run directory, beside its figures."""

MOST_PARAMS, MOST_METRICS = 100, 900
"""What MLflow takes in one call: a thousand in all, a hundred of them parameters."""


class Sending:
    """A finished run directory and the experiment that it goes to.

    Parent and children carry a hash of the results as a tag, and the parent's end is set last: it makes the run count.
    So a run that was sent is recognised wherever its directory lies, and one that was cut off in the middle too.
    """

    def __init__(self, client: Any, experiment: str, patience: Patience, folder: Path, results: Results):
        self.client, self.experiment, self.patience = client, experiment, patience
        self.folder, self.results, self.mark = folder, results, identity(folder)
        self.ended = int(1000 * (folder / "results.json").stat().st_mtime)
        self.began = self.ended - int(1000 * results.cost["wall_seconds"])

    def find(self) -> str | None:
        """The run, if it is there whole (be it that the user deleted it); what was left of a cut-off one is deleted."""
        runs = list(self._marked())
        for run in runs:
            if run.info.status == "FINISHED" and PARENT not in run.data.tags:
                return run.info.run_id
        for run in runs:
            if run.info.lifecycle_stage == "active":
                self.client.delete_run(run.info.run_id)
                self.patience.alive()
        return None

    def send(self) -> str:
        """Parent, children, files, and last the parent's end; the parent's id."""
        parent = self._begin(cell(self.results, self.folder), {})
        for later, entry in zip(range(len(self.results.seeds), 0, -1), members(self.results), strict=True):
            # A millisecond apart: MLflow lists the newest first, and what is equally new in any order.
            self._end(self._begin(entry, {PARENT: parent}, later), "FAILED" if entry.lost else "FINISHED")
        self._attach(parent)
        self._end(parent, "FINISHED")
        return parent

    def _marked(self) -> Iterator[Any]:
        from mlflow.entities import ViewType

        page = None
        while page is None or page:
            found = self.client.search_runs(
                [self.experiment], f"tags.`{IDENTITY}` = '{self.mark}'", ViewType.ALL, 1000, page_token=page
            )
            self.patience.alive()
            yield from found
            page = found.token or ""

    def _begin(self, entry: Entry, more: dict[str, str], later: int = 0) -> str:
        """A run with its tags, parameters, metrics and dataset, not yet ended; begun some milliseconds after the cell."""
        from mlflow.entities import Metric, Param

        tags = entry.tags | {IDENTITY: self.mark} | more
        run = self.client.create_run(self.experiment, self.began + later, tags, entry.name).info.run_id
        self.patience.alive()
        params = [Param(*item) for item in entry.params.items()]
        self._log(run, [Metric(name, value, self.ended, step) for name, value, step in entry.points], params)
        if self.dataset:
            self._log_dataset(run)
        return run

    def _log_dataset(self, run: str) -> None:
        """A store may refuse a dataset that another process makes in the same moment; a moment later it is there."""
        try:
            self.client.log_inputs(run, [self.dataset])
        except Exception:
            self.patience.alive()
            time.sleep(0.1)
            self.client.log_inputs(run, [self.dataset])
        self.patience.alive()

    def _log(self, run: str, metrics: list, params: Sequence = ()) -> None:
        for some, others in zip_longest(_batches(metrics, MOST_METRICS), _batches(params, MOST_PARAMS), fillvalue=()):
            self.client.log_batch(run, some, others)
            self.patience.alive()

    @cached_property
    def dataset(self) -> Any:
        """What the run was trained on, as MLflow keeps it; None where the results do not tell."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = labels.dataset(self.results)
        return described and DatasetInput(Dataset(**described), [InputTag("mlflow.data.context", "training and test")])

    def _attach(self, run: str) -> None:
        """The report, figures, the accuracy matrix as a table, the configuration, the results, and what the machine did."""
        from mlflow.entities import Metric

        files = [(file, None) for name in FILES for file in self.folder.glob(name)]
        files += [(file, "figures") for file in sorted((self.folder / "figures").glob("*"))]
        for file, where in files:
            self.client.log_artifact(run, str(file), where)
            self.patience.alive()
        if self.results.accuracy.shape[2] <= LARGE:
            self.client.log_table(run, accuracy_table(self.results), "accuracy_matrix.json")
            self.patience.alive()
        self._log(run, [Metric(f"system/{name}", *point) for name, *point in system.points(self.folder)])

    def _end(self, run: str, status: str) -> None:
        self.client.set_terminated(run, status, self.ended)
        self.patience.alive()


def _batches(items: Sequence, size: int) -> Iterator[Sequence]:
    return (items[start : start + size] for start in range(0, len(items), size))
