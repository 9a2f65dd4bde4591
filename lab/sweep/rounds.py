"""An arm's trials in rounds, each of which is one worker's at a time.

The places of an arm's budget are there before any trial is: that, and not a count of trials that several workers might read at
once, keeps it to its budget. What a round's worker had asked for when it was killed stays asked for, and its successor goes on.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import optuna
from optuna.trial import Trial, TrialState

from lab.sweep.claims import Claims
from lab.sweep.patient import Patient
from lab.workers import AtWorkError

LOOK_AGAIN = 2.0
"""Seconds until a worker that finds nothing free looks again whether another one is gone."""
OFTEN = 3
"""Workers that began a piece of work without an end, from which on the next one says so. There is no most: on machines that
are taken away again and again each may have got a checkpoint further."""
PLACE = "slot"
"""A trial's place in its arm's budget: a user attribute."""


def rounds(trials: int, at_once: int) -> list[range]:
    """The places of each round.

    >>> rounds(20, 8)
    [range(0, 8), range(8, 16), range(16, 20)]
    """
    return [range(first, min(first + at_once, trials)) for first in range(0, trials, at_once)]


def asked(study: optuna.Study, storage: Patient, places: range) -> Iterator[Trial]:
    """The trials of a round that are to be trained: those that an earlier worker left, then new ones, each asked for when the
    one before it has been given its settings, which a sampler may then keep away from."""
    known = {trial.user_attrs.get(PLACE): trial for trial in study.get_trials(deepcopy=False)}
    left = [known[place] for place in places if place in known and known[place].state == TrialState.RUNNING]
    yield from (Trial(study, trial._trial_id) for trial in left)
    for place in places:
        if place not in known:
            with storage.born_with(**{PLACE: place}):
                trial = study.ask()
            yield trial


def share(claims: Claims, work: dict[str, Callable[[], None]], pause: float = LOOK_AGAIN) -> None:
    """Do all that nobody else does, in order, until everything is done, whoever did it.

    Args:
        work: by key, what is to be done; it may be begun several times, the last time to its end.
    """
    told: set[str] = set()
    while left := claims.left(work):
        if _did_one(claims, {key: work[key] for key in left}):
            continue
        for key, worker in claims.at_work(left).items():
            if f"{key} {worker}" not in told:
                print(f"lab: {key} is being done by {worker}; waiting for it", file=sys.stderr, flush=True)
            told.add(f"{key} {worker}")
        time.sleep(pause)


def _did_one(claims: Claims, work: dict[str, Callable[[], None]]) -> bool:
    for key, job in work.items():
        with suppress(AtWorkError), claims.of(key) as claim:  # a killed worker's processes may live a moment longer
            if claim:
                if claim.times >= OFTEN:
                    remedy = "if they ran out of memory, a smaller at_once needs less"
                    print(f"lab: {key}: begun by {claim.times} workers, and finished by none; {remedy}", file=sys.stderr)
                job()
                claim.done()
                return True
    return False
