"""A storage that is waited for: whoever asks it, Optuna's studies included, gets an answer late rather than not at all.

A database is restarted, a network is away for a minute, a file server hangs: none of these ends hours of training. Each call is
tried again until it is answered. A call that was carried out although its answer was lost is recognised, so that nothing is
done twice: a trial is born with a mark of its own, and a trial that is finished as it was meant to be is finished.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import local
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

LONGEST_WAIT = 600.0
"""Seconds for which a storage may be away."""
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between tries; the last one from then on."""
AWAY = (OperationalError, InterfaceError, DisconnectionError, PoolTimeoutError, OSError, PendingRollbackError)
"""Errors of a storage that is away. The last one comes where Optuna takes a connection that is cut off under a query for a
query that is too long, and asks in the same session once more (``RDBStorage._get_trials``)."""
MARK = "lab:mark"


class Patient:
    """An Optuna storage in whose place it stands, for :func:`optuna.create_study` and everything else."""

    def __init__(self, storage: BaseStorage, longest: float = LONGEST_WAIT):
        self.wrapped, self.longest = storage, longest
        self.answering_since = time.monotonic()
        """When it last began to answer: what nobody could write down before is no sign of anything."""
        self._born = local()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by copy and pickle before there is anything wrapped
            raise AttributeError(name)
        found = getattr(self.wrapped, name)
        return partial(self._answered, found) if callable(found) else found

    @contextmanager
    def born_with(self, **attributes: Any) -> Iterator[None]:
        """Trials that this thread asks for within it have these user attributes from the first moment: a worker that is
        killed never leaves a trial of which nobody knows what it is part of."""
        self._born.attributes = attributes
        try:
            yield
        finally:
            del self._born.attributes

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        mark = uuid.uuid4().hex
        born = template_trial or create_trial(state=TrialState.RUNNING, user_attrs=getattr(self._born, "attributes", {}))
        born.system_attrs = born.system_attrs | {MARK: mark}

        def carried_out() -> int | None:
            trials = self.wrapped.get_all_trials(study_id, deepcopy=False)
            return next((trial._trial_id for trial in trials if trial.system_attrs.get(MARK) == mark), None)

        return self._answered(self.wrapped.create_new_trial, study_id, born, carried_out=carried_out)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        def carried_out() -> bool | None:
            trial = self.wrapped.get_trial(trial_id)
            return True if trial.state == state != TrialState.RUNNING and trial.values == _list(values) else None

        return self._answered(self.wrapped.set_trial_state_values, trial_id, state, values, carried_out=carried_out)

    def _answered(self, call: Callable, *args: Any, carried_out: Callable[[], Any] = lambda: None, **named: Any) -> Any:
        """What the call returns, asked for until it is answered.

        Args:
            carried_out: what the call would have returned, had it been carried out already; None: it was not.
        """
        begun, tries = time.monotonic(), 0
        while True:
            try:
                answer = carried_out() if tries else None
                answer = call(*args, **named) if answer is None else answer
            except (StorageInternalError, DBAPIError, OSError, DisconnectionError, PoolTimeoutError) as error:
                if not is_passing(error) or time.monotonic() - begun > self.longest:
                    raise
                if tries == len(PAUSES) // 2:
                    print(
                        f"lab: {not_answering(error)}; waiting for it, {self.longest / 60:g} minutes at most", file=sys.stderr
                    )
                time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                tries += 1
                continue
            if tries:
                self.answering_since = time.monotonic()
            if tries > len(PAUSES) // 2:
                print(f"lab: the sweep's storage answers again, after {time.monotonic() - begun:.0f} s", file=sys.stderr)
            return answer


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: the storage was away, busy or cut off, and did not refuse what was asked."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    cut_off = isinstance(cause, DBAPIError) and cause.connection_invalidated
    return cut_off or isinstance(cause, AWAY)


def not_answering(error: BaseException) -> str:
    """That the storage does not answer, and the first line of why."""
    cause = error.__cause__ if isinstance(error, StorageInternalError) else error
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines() or [type(cause).__name__]
    return f"the sweep's storage does not answer ({lines[0][:200]})"


def _list(values: Sequence[float] | None) -> list[float] | None:
    return None if values is None else list(values)


def told(storage: Patient, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
    """Finish a trial, which only the first of several tellers does.

    Returns:
        whether it was finished by this call; False: another worker had told it already.
    """
    try:
        return storage.set_trial_state_values(trial_id, state, values)
    except UpdateFinishedTrialError:
        return False
