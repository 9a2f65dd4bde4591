"""Where a sweep's trials are kept: a journal file in its home, or a database that many workers share."""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage, get_storage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, ProgrammingError, SQLAlchemyError

from lab.errors import UserError, invalid
from lab.sweep.patient import Patient, not_answering

JOURNAL = "journal.log"
DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
"""The driver where a URL names none: what the lab's extra `postgresql` installs."""

NOTICED = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30000,
}
"""A server that vanishes without a word is noticed within half a minute, not in the two hours of TCP's own patience."""


def open_storage(home: Path, url: str | None) -> Patient:
    """The storage at a database's URL, or the journal in the sweep's home.

    Raises:
        UserError: the URL is none, its driver is missing, or nothing answers there. Later on it is waited for; who has only
            just typed a URL is told.
    """
    return Patient(_journal(home) if url is None else _database(url))


def in_words(url: str | None, home: Path) -> str:
    """Where the storage is, for messages and pages: without a password."""
    return str(home / JOURNAL) if url is None else _parsed(url).render_as_string(hide_password=True)


def _journal(home: Path) -> BaseStorage:
    path = home / JOURNAL
    try:
        home.mkdir(parents=True, exist_ok=True)
        backend, lock = JournalFileBackend(str(path), FileLock(path)), FileLock(path)
        lock.acquire()  # a disk that knows no locks is told of now
        lock.release()
        return JournalStorage(backend)
    except OSError as error:
        raise UserError(f"paths.runs: {path} cannot be written ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as a journal ({error}); move it away, and the sweep begins anew") from None


def _database(url: str) -> BaseStorage:
    parsed = _parsed(url)
    try:
        return get_storage(_with_tables(parsed))
    except (NoSuchModuleError, ImportError) as error:
        told = "; the extra `postgresql` has it" if "psycopg" in str(error) else ""
        raise UserError(f"--storage {in_words(url, Path())}: its driver is missing ({error}){told}") from None
    except (SQLAlchemyError, StorageInternalError) as error:
        raise UserError(f"--storage {in_words(url, Path())}: {not_answering(error)}") from None
    except RuntimeError as error:  # tables of another version of Optuna
        raise UserError(f"--storage {in_words(url, Path())}: {error}") from None


def _with_tables(url: URL, tries: int = 5) -> RDBStorage:
    """The database with Optuna's tables. Of workers that all begin at once with an empty one, some find them half made."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = NOTICED
    try:
        return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=options)
    except (IntegrityError, ProgrammingError):
        if tries == 1:
            raise
    time.sleep(random.uniform(0.2, 1.0))
    return _with_tables(url, tries - 1)


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise invalid("--storage", url, "the URL of a database, e.g. postgresql://user@host/name") from None
    return parsed.set(drivername=DRIVERS.get(parsed.drivername, parsed.drivername))


class FileLock:
    """The system's own lock on a file beside the journal, in the place of Optuna's: it ends with the process that holds it.

    Optuna's locks are files that a killed process leaves behind, for others to wait 30 s for. Whoever gets the lock also cuts
    off a line that a killed process had begun to write, which would else spoil the journal with the next one.
    """

    def __init__(self, journal: Path):
        self.journal, self._file = journal, None

    def acquire(self) -> bool:
        file = self.journal.with_name(f"{self.journal.name}.lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._file = file
        try:
            self._mend()
        except BaseException:
            self.release()
            raise
        return True

    def release(self) -> None:
        self._file.close()

    def _mend(self) -> None:
        with self.journal.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            while size and not self._ends_a_line(file, size):
                size -= 1
            file.truncate(size)

    @staticmethod
    def _ends_a_line(file: Any, size: int) -> bool:
        file.seek(size - 1)
        return file.read(1) == b"\n"
