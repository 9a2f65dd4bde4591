"""A store and an experiment in it: opened, or made once by whoever comes first."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.results import load
from lab.tracking import outbox, view
from lab.tracking.outbox import SQLITE, Place, alone
from lab.tracking.patience import Patience
from lab.tracking.trials import send_trials

if TYPE_CHECKING:
    from lab.tracking.studies import Study
    from lab.tracking.trials import Tried

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Users did not ask to be counted, and standard output is the run directory's."""


class StoreError(Exception):
    """The store cannot take runs as it is; the text says why."""


def import_mlflow(seconds: float) -> Any:
    """MLflow, silent, with requests that are not repeated and end by themselves some time after ``seconds``."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(math.ceil(2 * seconds))
    import mlflow

    for name in ("mlflow", "alembic"):  # after the import, which sets levels of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return mlflow


class Store:
    """One experiment of a store. Every answer of MLflow is a sign of life."""

    def __init__(self, place: Place, patience: Patience):
        self.place, self.patience = place, patience
        self._mlflow = import_mlflow(patience.seconds)

    @cached_property
    def client(self) -> Any:
        """MLflow's client; a SQLite store is made if there is none."""
        self.place.check()
        if self.place.file:
            self._make(self.place.file)
        client = self._mlflow.MlflowClient(self.place.uri)
        self.patience.alive()
        return client

    @cached_property
    def experiment(self) -> str:
        """The experiment's id; it is made if there is none."""
        name = self.place.experiment
        found = self.client.get_experiment_by_name(name) or self._make_experiment(name)
        if found.lifecycle_stage != "active":
            raise StoreError(f"the experiment {name} was deleted there; restore it, or choose another tracking.experiment")
        self.patience.alive()
        if found.tags.get(view.MADE_BY) != view.VERSION:
            self._dress(found.experiment_id)
        return found.experiment_id

    def pages(self) -> tuple[str, str]:
        """The experiment's places in MLflow's pages, behind the server's address: its cells as a table, and as charts."""
        return view.address(self.experiment, view.CELLS), view.address(self.experiment, view.CHARTS, charts=True)

    def experiments(self) -> list[str]:
        """The names of the store's experiments."""
        return [experiment.name for experiment in self.client.search_experiments()]

    def with_runs(self) -> list[str]:
        """The names of the experiments that have runs, the one with the newest run first."""
        found = []
        for experiment in self.client.search_experiments():
            newest = self.client.search_runs([experiment.experiment_id], max_results=1)
            found += [(run.info.start_time, experiment.name) for run in newest]
            self.patience.alive()
        return [name for _, name in sorted(found, reverse=True)]

    def send(self, folder: Path, again: bool = False) -> None:
        """Have a run in the store, whole and once, and note it in its directory; ``again`` does not believe an older note."""
        from lab.tracking.sending import Sending

        with alone(folder / ".tracking.lock", self.patience):
            if again or not outbox.is_sent(folder, self.place):
                sending = Sending(self.client, self.experiment, self.patience, folder, load(folder))
                outbox.note(folder, self.place, sending.find() or sending.send())

    def send_study(self, study: Study) -> None:
        """Have a study's report in the store as it is now, in one run however often it was sent."""
        with alone(study.folder.with_name(f".{study.folder.name}.tracking.lock"), self.patience):
            study.send(self.client, self.experiment, self.patience)

    def send_sweep(self, sweep: Study, trials: list[Tried]) -> None:
        """Have a sweep's trials in the store, and its report as it is now."""
        with alone(sweep.folder.with_name(f".{sweep.folder.name}.tracking.lock"), self.patience):
            send_trials(trials, sweep.name, self.client, self.experiment, self.patience)
            sweep.send(self.client, self.experiment, self.patience)

    def _dress(self, experiment: str) -> None:
        """Give an experiment the lab's views, last the tag that says so; its description is left alone."""
        for name, value in view.views().items():
            self.client.set_experiment_tag(experiment, name, value)
            self.patience.alive()

    def _make(self, file: Path) -> None:
        """Create the SQLite store whole or not at all, by one process, while the others wait."""
        if not file.exists():
            with alone(file.with_name(f"{file.name}.lock"), self.patience):
                if not file.exists():
                    self._migrate(file)
        try:
            with closing(sqlite3.connect(f"file:{file}?mode=rw", self.patience.seconds, uri=True)) as connection:
                connection.execute("PRAGMA schema_version")
        except sqlite3.Error as error:  # MLflow would try for minutes
            raise StoreError(f"cannot be opened as an SQLite store ({error})") from None

    def _migrate(self, file: Path) -> None:
        """MLflow's migrations are hundreds of statements, each synced to the disk: sync the file once instead."""
        import sqlalchemy
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        part = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            sqlalchemy.event.listen(sqlalchemy.Engine, "connect", _without_sync)
            try:
                SqlAlchemyStore(f"{SQLITE}{part}", str(_artifacts(file))).engine.dispose()
            finally:
                sqlalchemy.event.remove(sqlalchemy.Engine, "connect", _without_sync)
            with part.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(part, file)
        finally:
            part.unlink(missing_ok=True)
        self.patience.alive()

    def _make_experiment(self, name: str) -> Any:
        """Another process may make it meanwhile; who comes second takes the first one's."""
        where = _artifacts(self.place.file).as_uri() if self.place.file else None
        try:
            self.client.create_experiment(name, where, view.experiment_tags())
        except self._mlflow.MlflowException:
            if self.client.get_experiment_by_name(name) is None:
                raise
        return self.client.get_experiment_by_name(name)


def _without_sync(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA synchronous = OFF")


def _artifacts(file: Path) -> Path:
    """Files of runs lie beside the SQLite file."""
    return file.parent / "mlartifacts"
