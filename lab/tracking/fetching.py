"""Finished runs back out of a store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.tracking.outbox import Place
from lab.tracking.sending import IDENTITY, PARENT

FILES = ("results.json", "accuracy.npz")


def fetch(settings: dict[str, Any], query: str, folder: Path) -> Iterator[Path]:
    """The results of an experiment's finished cells, each in a folder of its own below ``folder``.

    Args:
        settings: the configuration's ``tracking``: ``uri``, ``experiment`` and ``timeout``.
        query: MLflow's filter, ``params.strategy = 'er'``; empty for all.

    Raises:
        UserError: there is no such experiment, the filter is wrong, the store does not answer.
    """
    place = Place.of(settings)
    client, experiment = _opened(place, settings["timeout"])
    for run in _parents(client, experiment, query):
        target = folder / run.info.run_id
        target.mkdir()
        for file in client.list_artifacts(run.info.run_id):
            if file.path in FILES:
                client.download_artifacts(run.info.run_id, file.path, str(target))
        yield target


def _opened(place: Place, timeout: float) -> tuple[Any, str]:
    from lab.tracking.patience import Patience, Unanswered
    from lab.tracking.store import Store

    if place.file and not place.file.exists():
        raise UserError(f"tracking.uri={place.shown}: there is no store")
    patience = Patience(timeout)
    store = Store(place, patience)
    try:
        found = patience.watch(lambda: store.client.get_experiment_by_name(place.experiment))
        if found is None:
            names = ", ".join(patience.watch(store.experiments))
            raise UserError(f"--experiment {place.experiment}: there is none in {place.shown}. There are {names}")
    except Unanswered as error:
        raise UserError(f"tracking.uri={place.shown}: {error}") from None
    return store.client, found.experiment_id


def _parents(client: Any, experiment: str, query: str) -> Iterator[Any]:
    """The experiment's finished cells that the filter lets through, the oldest first."""
    from mlflow.exceptions import MlflowException

    page = None
    while page is None or page:
        try:
            found = client.search_runs([experiment], query, order_by=["attributes.start_time ASC"], page_token=page)
        except MlflowException as error:
            raise UserError(f"--filter {query}: {str(error).splitlines()[0]}") from None
        page = found.token or ""
        for run in found:
            if run.info.status == "FINISHED" and IDENTITY in run.data.tags and PARENT not in run.data.tags:
                yield run
