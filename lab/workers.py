"""Jobs side by side in forked processes, and the lock that keeps two commands off one run directory."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import platform
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lab.errors import UserError

Report = Callable[[int], None]
"""Called with the number of steps done."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class AtWorkError(UserError):
    """Another process holds the lock."""


class WorkerError(Exception):
    """A worker ended without a result: our mistake, or somebody killed it."""


class KilledError(WorkerError):
    """A worker was killed: started again, it goes on."""


def side_by_side(
    jobs: list[Callable[[Report], Any]], report: Callable[[int, int], None], expected: tuple[type[Exception], ...]
) -> list[Any]:
    """Run each job in a process forked from this one, so that data and imports are there already; their results in order.

    Args:
        report: called here with (number of the job, steps done) while they run.
        expected: exceptions that are raised again here as they are; the traceback of any other is printed.

    Raises:
        the first exception of a job, when all have ended: what the others did is not thrown away.
    """
    context = multiprocessing.get_context("fork")
    steps = context.Array("q", len(jobs))
    workers, receivers = [], []
    for number, job in enumerate(jobs):
        receiver, sender = context.Pipe(duplex=False)
        own = partial(steps.__setitem__, number)
        workers.append(context.Process(target=_work, args=(job, own, sender, expected)))
        workers[-1].start()
        sender.close()
        receivers.append(receiver)
    try:
        outcomes = [_outcome(*pair, lambda: _pass_on(steps, report)) for pair in zip(workers, receivers, strict=True)]
    finally:
        for worker in workers:
            worker.kill()  # where this process alone was interrupted they would train on; checkpoints are whole or not there
            worker.join()
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
    return outcomes


def _outcome(worker: Any, receiver: Connection, meanwhile: Callable[[], None]) -> Any:
    """What a worker sends when it is done, or the error of one that ended without a word."""
    while not receiver.poll(0.1):
        meanwhile()
    meanwhile()
    try:
        return receiver.recv()
    except EOFError:
        worker.join()
        return KilledError(f"a worker process ended with status {worker.exitcode}; the same command goes on")


def _pass_on(steps: Any, report: Callable[[int, int], None]) -> None:
    for number, step in enumerate(steps):
        report(number, step)


def _work(job: Callable[[Report], Any], report: Report, sender: Connection, expected: tuple[type[Exception], ...]) -> None:
    die_with_parent()
    try:
        sender.send(job(report))
    except expected as error:
        sender.send(error)
    except Exception as error:
        traceback.print_exc()
        sender.send(WorkerError(f"{type(error).__name__}: {error}"))


def die_with_parent() -> None:
    """On Linux, have a worker killed when its parent is: a killed run must not go on behind its successor's back."""
    if platform.system() == "Linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextmanager
def locked(folder: Path, name: str = ".lock", wait: bool = False) -> Iterator[None]:
    """Hold a run directory, made if need be, against other processes, or what else a lock of this name in it stands for;
    ``wait`` until another process is done with it, instead of an error."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("w")
    except OSError as error:
        raise UserError(f"paths.runs: {folder} cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            raise AtWorkError(f"{folder}: another process is at work on this run") from None
        yield
