"""Which worker does what: a piece of work is claimed by exactly one, and taken up by another when its worker is gone.

Claims are trials of a study of their own, `claims of <sweep>`, in the sweep's storage: the one thing that every Optuna storage
does for exactly one of several at once is to number new trials. Whoever wants a piece of work that is free makes a trial that
names it and the claim that it would follow; of several that would follow the same one, the lowest number has it.

A worker is gone when the lock that it holds beside its claim is free (the system frees it with the process, so on one machine
nobody waits), or, seen from another machine, when its claim has given no sign of life for :data:`GRACE` seconds of the
observer's own clock. Optuna's own heartbeat is one trial's, in databases alone, and fails the trial; here it goes on.
"""

from __future__ import annotations

import itertools
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from lab.sweep.patient import Patient, told
from lab.workers import AtWorkError, locked

BEAT = 10.0
"""Seconds between two signs of life."""
GRACE = 60.0
"""Seconds without one after which a worker on another machine is taken for gone."""
FIRST = -1
"""What the first claim of a piece of work follows."""


@dataclass(frozen=True)
class Claim:
    """A piece of work that is this worker's until it is done."""

    key: str
    number: int
    trial_id: int
    times: int
    """How many workers had it before."""
    storage: Patient

    def done(self) -> None:
        """Nobody needs to do it again."""
        told(self.storage, self.trial_id, TrialState.COMPLETE, [float(self.times)])


class Claims:
    """The claims of one sweep, as one worker sees them.

    Args:
        folder: for the locks; workers on one machine that share a sweep share it.
    """

    def __init__(self, storage: Patient, sweep: str, folder: Path, beat: float = BEAT, grace: float = GRACE):
        self.storage, self.folder, self.beat, self.grace = storage, folder, beat, grace
        self.study = optuna.create_study(study_name=f"claims of {sweep}", storage=storage, load_if_exists=True)
        self._heard: dict[int, tuple[int, float]] = {}
        """By the number of a claim: its last sign of life, and when it was first seen here."""

    def left(self, keys: Iterable[str]) -> list[str]:
        """Those of these pieces of work that nobody has done yet."""
        claims = self.study.get_trials(deepcopy=False)
        return [key for key in keys if all(claim.state != TrialState.COMPLETE for claim in _chain(claims, key))]

    def at_work(self, keys: Iterable[str]) -> dict[str, str]:
        """Of these pieces of work those that are somebody's, with who has them."""
        claims = self.study.get_trials(deepcopy=False)
        last = {key: chain[-1] for key in keys if (chain := _chain(claims, key))}
        return {key: claim.user_attrs["worker"] for key, claim in last.items() if claim.state == TrialState.RUNNING}

    @contextmanager
    def of(self, key: str) -> Iterator[Claim | None]:
        """Within it the work is this worker's; None: it is done, or a worker that lives has it. Left without
        :meth:`Claim.done`, it is free again, for the next worker to take up."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.folder, f".{key}.lock"))
            except AtWorkError:
                claim = None
            else:
                claim = self._taken(key)
            if claim is None:
                held.close()
                yield None
                return
            held.callback(told, self.storage, claim.trial_id, TrialState.FAIL)  # does nothing where it is done
            held.enter_context(self._beating(claim))
            yield claim

    def _taken(self, key: str) -> Claim | None:
        """The work as this worker's, whose lock it holds; None if there is no need, or another worker has it."""
        claims = self.study.get_trials(deepcopy=False)
        chain, lock = _chain(claims, key), self._lock(key)
        if any(claim.state == TrialState.COMPLETE for claim in chain):
            self._end(claims, key, lambda claim: claim.user_attrs["lock"] == lock)  # whose workers, since we hold it, are gone
            return None
        if chain and not self._is_gone(chain[-1], key):
            return None
        after = chain[-1].number if chain else FIRST
        with self.storage.born_with(key=key, after=after, worker=worker(), devices=devices(), lock=lock):
            own = self.study.ask()
        claims = self.study.get_trials(deepcopy=False)
        *before, last = _chain(claims, key)
        if last.number != own.number:  # another one was faster
            told(self.storage, own._trial_id, TrialState.FAIL)
            return None
        self._end(claims, key, lambda claim: claim.number != own.number)
        return Claim(key, own.number, own._trial_id, len(before), self.storage)

    def _end(self, claims: list[FrozenTrial], key: str, is_over: Callable[[FrozenTrial], bool]) -> None:
        """End the claims of a piece of work that are open and over: several, where who took it up was killed before it had
        ended the claim that it followed."""
        for claim in claims:
            if claim.user_attrs["key"] == key and claim.state == TrialState.RUNNING and is_over(claim):
                told(self.storage, claim._trial_id, TrialState.FAIL)

    def _is_gone(self, claim: FrozenTrial, key: str) -> bool:
        """Whether nobody is at work on a claim any more, judged by one who holds the lock of its work."""
        if claim.state != TrialState.RUNNING or claim.user_attrs["lock"] == self._lock(key):
            return True
        beat, now = claim.user_attrs.get("beat", 0), time.monotonic()
        heard, since = self._heard.get(claim.number, (None, now))
        if heard != beat:
            self._heard[claim.number] = (beat, now)
            return False
        return now - max(since, self.storage.answering_since) > self.grace

    def _lock(self, key: str) -> str:
        """Which lock it is: alike in two claims only if both workers' systems are one, and its file is one."""
        file = (self.folder / f".{key}.lock").stat()
        return f"{_boot()}:{file.st_dev}:{file.st_ino}"

    @contextmanager
    def _beating(self, claim: Claim) -> Iterator[None]:
        """Within it the claim gives signs of life, from a thread."""
        ended = threading.Event()

        def beat() -> None:
            for count in itertools.count(1):
                if ended.wait(self.beat):
                    break
                try:
                    self.storage.set_trial_user_attr(claim.trial_id, "beat", count)
                except Exception:  # it is finished, or the storage is lost, which the work itself will find
                    break
            self.storage.remove_session()

        threading.Thread(target=beat, name="heartbeat", daemon=True).start()
        try:
            yield
        finally:
            ended.set()


def worker() -> str:
    """This process, for others on the same storage."""
    return f"{platform.node()}:{os.getpid()}"


def devices() -> str:
    """Which of the machine's devices this process may use, as Slurm, Ray or the user gave them to it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "all")


def _chain(claims: list[FrozenTrial], key: str) -> list[FrozenTrial]:
    """The claims that held a piece of work, one after the other, the last of which holds it now, if any does."""
    following: dict[int, FrozenTrial] = {}
    for claim in claims:
        if claim.user_attrs["key"] == key:
            following.setdefault(claim.user_attrs["after"], claim)  # they come by their numbers
    chain, last = [], FIRST
    while last in following:
        chain.append(following[last])
        last = chain[-1].number
    return chain


@cache
def _boot() -> str:
    """This run of this machine's system."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else f"{platform.node()}-{uuid.getnode()}"
