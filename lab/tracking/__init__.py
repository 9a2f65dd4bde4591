"""Runs in MLflow: a finished run directory is sent when it is done, and kept for later where the store does not answer.

Sending begins when training has ended, from the one process that ran it: nothing is logged on the training path, and a run
that is killed leaves nothing half-tracked. `results.json` is the only origin of what is sent. MLflow itself is imported when
there is something to send; importing this package costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from lab.errors import UserError, require
from lab.tracking import outbox, system
from lab.tracking.outbox import Place
from lab.tracking.patience import Patience, Unanswered, reason_of
from lab.tracking.store import Store, StoreError, import_mlflow
from lab.tracking.studies import Study
from lab.tracking.system import sampled
from lab.tracking.trials import Tried

__all__ = [
    "Place",
    "Study",
    "Tried",
    "check",
    "imported_meanwhile",
    "pages",
    "publish",
    "publish_study",
    "publish_sweep",
    "reachable",
    "sampled",
    "send_waiting",
    "with_runs",
]

_silent: dict[str, float] = {}
"""When each store was last found silent by this process."""


def check(settings: dict[str, Any]) -> None:
    """Refuse settings that could not serve after hours of training; for before it.

    Raises:
        UserError: names the key.
    """
    for key in ("uri", "experiment"):
        given = settings.get(key)
        require(isinstance(given, str) and bool(given.strip()), f"tracking.{key}", given, "a text; tracking=off tracks nowhere")
    timeout = settings.get("timeout")
    number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
    require(number and 0 < timeout < float("inf"), "tracking.timeout", timeout, "seconds, a number above 0")
    tags = settings.get("tags") or {}
    plain = isinstance(tags, dict) and not any(isinstance(value, (dict, list)) for value in tags.values())
    require(plain, "tracking.tags", tags, "texts or numbers by name, as in {paper: draft}")
    system.check(settings)


@contextmanager
def imported_meanwhile(settings: dict[str, Any]) -> Iterator[Callable[[], None]]:
    """Within it, the function given begins to import MLflow (two seconds) in the background: for a process that waits for
    others. Leaving it waits for the import, since nobody may fork while a thread imports."""

    def load() -> None:
        with suppress(Exception):  # `publish` will meet it again, and tell
            import_mlflow(settings["timeout"])

    thread = Thread(target=load, daemon=True)
    try:
        yield thread.start if settings["enabled"] else lambda: None
    finally:
        if thread.is_alive():
            thread.join()


def publish(folder: Path, settings: dict[str, Any]) -> str | None:
    """Send a finished run, once, and with it what earlier runs beside it could not send; None, or a warning in a sentence.

    Args:
        folder: a run directory with `results.json`, `config.yaml` and `figures/`.
        settings: the configuration's ``tracking``: ``uri``, ``experiment`` and ``timeout`` in seconds.
    """
    folder = Path(folder)
    place = Place.of(settings)
    try:
        if not outbox.is_sent(folder, place):
            outbox.note(folder, place, None)
        return send_waiting(folder.parent.parent, settings)[1]
    except OSError as error:
        return f"the run was not tracked: {error.filename or folder}: {error.strerror or error}"


def send_waiting(
    runs: Path, settings: dict[str, Any], again: bool = False, report: Callable[[Path], None] = lambda folder: None
) -> tuple[int, str | None]:
    """Send the runs under ``runs`` that wait for this store, or with ``again`` all that were meant for it and are not there.

    A run that the store rejects does not hold up those after it; a store that does not answer is not asked again.

    Returns:
        how many were sent, and a warning in a sentence if some still wait.
    """
    place = Place.of(settings)
    waiting = outbox.waiting(runs, place, again)
    sent, failures = 0, []
    if not waiting:
        return 0, None
    try:
        _spare(place.uri, settings["timeout"])
        store = Store(place, Patience(settings["timeout"]))
        store.patience.watch(lambda: store.experiment)
        for folder in waiting:
            report(folder)
            failure = _try_to_send(store, folder, again)
            failures += [failure] if failure else []
            sent += not failure
    except Exception as error:  # whatever the store raises: the runs are done and whole, and can be sent later
        if isinstance(error, Unanswered):
            _silent[place.uri] = time.monotonic()
        return sent, f"tracking.uri={place.shown}: {reason_of(error)}; {_kept(len(waiting) - sent)}"
    return sent, f"not tracked: {failures[0]}; {_kept(len(failures), 'tried again')}" if failures else None


def publish_study(
    name: str, note_markdown: str, folder: Path, settings: dict[str, Any], tags: dict[str, Any], metrics: dict[str, Any]
) -> str | None:
    """Have a study's report in its experiment as one run; None, or a warning in a sentence.

    What is there already as it is now is not sent again; what has changed takes the older one's place.

    Args:
        name: the study's; the run is called ``study: name``.
        note_markdown: what the run and the experiment are described by.
        folder: all files in it become the run's artifacts.
        settings: the configuration's ``tracking``: ``uri``, ``experiment`` and ``timeout`` in seconds.
        tags, metrics: those that are None are left out.
    """
    study = Study(name, note_markdown, Path(folder), tags, metrics)
    return _publish(study, settings, lambda store: store.send_study(study))


def publish_sweep(sweep: Study, trials: list[Tried], settings: dict[str, Any]) -> str | None:
    """Have a sweep's trials in its experiment, each as one run with its seeds below it, and its report as another; None, or a
    warning in a sentence. What is there already as it is now is not sent again."""
    return _publish(sweep, settings, lambda store: store.send_sweep(sweep, trials))


def _publish(what: Study, settings: dict[str, Any], send: Callable[[Store], None]) -> str | None:
    place = Place.of(settings)
    try:
        _spare(place.uri, settings["timeout"])
        store = Store(place, Patience(settings["timeout"]))
        store.patience.watch(lambda: send(store))
    except Exception as error:  # the report is whole in its folder whatever the store does
        if isinstance(error, Unanswered):
            _silent[place.uri] = time.monotonic()
        kept = f"the report is in {what.folder}, and sent with the next `lab {what.kind} {what.name}`"
        return f"tracking.uri={place.shown}: {reason_of(error)}; {kept}"
    return None


def _try_to_send(store: Store, folder: Path, again: bool) -> str | None:
    """Send one run; None, or why it alone could not be sent.

    Raises:
        what the store raises where it does not answer, so that no other run could be sent either.
    """
    try:
        store.patience.watch(lambda: store.send(folder, again))
        return None
    except Unanswered:
        raise
    except UserError as error:
        return reason_of(error)  # a damaged file, which it names
    except Exception as error:
        # MLflow raises one exception for a refusal and for a connection that broke: asking tells them apart.
        store.patience.watch(store.experiments)
        return f"{folder}: {reason_of(error)}"


def _kept(count: int, fate: str = "sent") -> str:
    what = "the run is" if count == 1 else f"{count} runs are"
    return f"{what} kept and {fate} with the next `lab run` or `lab dashboard` on this store"


def _spare(uri: str, timeout: float) -> None:
    """Ask a silent store again only after 20 times the time that asking takes: `-m` over a server that is away costs 5 %."""
    if time.monotonic() - _silent.get(uri, -float("inf")) < 20 * timeout:
        raise StoreError("did not answer a moment ago")


def reachable(settings: dict[str, Any]) -> str | None:
    """None if the store answers, or could be made; else what is wrong, in a sentence."""
    place = Place.of(settings)
    try:
        if place.file and not place.file.exists():
            place.check()
        else:
            patience = Patience(settings["timeout"])
            store = Store(place, patience)
            patience.watch(store.experiments)
    except Exception as error:
        return f"{place.shown}: {reason_of(error)}"
    return None


def with_runs(settings: dict[str, Any]) -> list[str]:
    """The experiments that have runs, the one with the newest run first; none if the store does not tell."""
    try:
        patience = Patience(settings["timeout"])
        store = Store(Place.of(settings), patience)
        return patience.watch(store.with_runs)
    except Exception:  # the page opens without it
        return []


def pages(settings: dict[str, Any]) -> tuple[str, str]:
    """Where the experiment is in MLflow's pages, behind the server's address: its cells as a table, and as charts.

    Nothing if the store does not tell.
    """
    try:
        patience = Patience(settings["timeout"])
        store = Store(Place.of(settings), patience)
        return patience.watch(lambda: store.pages())
    except Exception:  # an address without it serves too
        return "", ""
