"""Finished runs back out of a store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from lab.errors import UserError
from lab.tracking.outbox import Place
from lab.tracking.patience import Patience, Unanswered, reason_of
from lab.tracking.sending import IDENTITY, PARENT
from lab.tracking.store import Store, StoreError

FILES = ("results.json", "accuracy.npz")


def fetch(settings: dict[str, Any], query: str, folder: Path) -> Iterator[Path]:
    """The results of an experiment's cells, each in a folder of its own below ``folder``, the oldest first; the folder of one
    that is not finished, or has lost its results, is empty.

    Args:
        settings: the configuration's ``tracking``: ``uri``, ``experiment`` and ``timeout``.
        query: MLflow's filter, ``params.strategy = 'er'``; empty for all.

    Raises:
        UserError: there is no such store or experiment, the filter is wrong, the store does not answer.
    """
    place = Place.of(settings)
    if place.file and not place.file.exists():
        raise UserError(f"tracking.uri={place.shown}: there is no store")
    source = Source(place, Store(place, Patience(settings["timeout"])), settings["timeout"])
    for run in source.cells(query):
        name = re.sub(r"[^\w.-]+", "-", run.info.run_name or "run").strip("-")
        target = folder / "mlflow" / f"{name}-{run.info.run_id[:8]}"
        target.mkdir(parents=True)
        if run.info.status == "FINISHED":
            source.download(run.info.run_id, target)
        yield target


@dataclass(frozen=True)
class Source:
    """A store that is read."""

    place: Place
    store: Store
    timeout: float

    @cached_property
    def experiment(self) -> str:
        """The id of the experiment that the place names."""
        found = self.asked(lambda: self.store.client.get_experiment_by_name(self.place.experiment))
        if found is None:
            names = ", ".join(self.asked(self.store.experiments))
            raise UserError(f"--experiment {self.place.experiment}: there is none in {self.place.shown}. There are {names}")
        return found.experiment_id

    def asked(self, job: Callable[[], Any], blamed: str = "") -> Any:
        """What the store answers, within the time that is allowed; what it refuses is ``blamed``, or else the store itself."""
        from mlflow.exceptions import MlflowException

        try:
            return Patience(self.timeout).watch(job)
        except Unanswered as error:
            raise UserError(f"tracking.uri={self.place.shown}: {error}") from None
        except (MlflowException, StoreError, OSError) as error:
            raise UserError(f"{blamed or f'tracking.uri={self.place.shown}'}: {reason_of(error)}") from None

    def cells(self, query: str) -> Iterator[Any]:
        """The experiment's cells that the filter lets through."""
        search = partial(self.store.client.search_runs, [self.experiment])
        self.asked(partial(search, max_results=1))  # so that what fails next is the filter
        page = None
        while page is None or page:
            more = partial(search, query, order_by=["attributes.start_time ASC"], page_token=page)
            found = self.asked(more, f"--filter {query}" if query else "")
            page = found.token or ""
            yield from (run for run in found if IDENTITY in run.data.tags and PARENT not in run.data.tags)

    def download(self, run: str, target: Path) -> None:
        """The run's results, as far as it has them."""
        names = self.asked(lambda: [file.path for file in self.store.client.list_artifacts(run)])
        for name in FILES:
            if name in names:
                self.asked(partial(self.store.client.download_artifacts, run, name, str(target)))
