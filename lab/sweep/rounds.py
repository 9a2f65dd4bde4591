"""An arm's trials in rounds of a fixed size, each of which is one worker's at a time.

The rounds are there before any trial is: that, and not a count of trials that several workers might read at once, keeps an arm
to its budget. What a round's worker asked for before it was killed stays asked for, and its successor takes it up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import optuna
from optuna.trial import Trial, TrialState

from lab.sweep.claims import Claim, Claims

LOOK_AGAIN = 2.0
"""Seconds until a worker that finds nothing free looks again whether another one is gone."""


def sizes(trials: int, at_once: int) -> list[int]:
    """How many trials each round has.

    >>> sizes(20, 8)
    [8, 8, 4]
    """
    return [min(at_once, trials - first) for first in range(0, trials, at_once)]


def asked(study: optuna.Study, number: int, size: int) -> Iterator[Trial]:
    """The trials of a round that are to be trained: those that an earlier worker left, then new ones, each asked for when the
    one before it has been given its settings, which a sampler may then keep away from."""
    known = [trial for trial in study.get_trials(deepcopy=False) if trial.user_attrs.get("round") == number]
    yield from (Trial(study, trial._trial_id) for trial in known if trial.state == TrialState.RUNNING)
    for _ in range(size - len(known)):
        with study._storage.born_with(round=number):
            trial = study.ask()
        yield trial


def share(claims: Claims, work: dict[str, Callable[[Claim], None]], pause: float = LOOK_AGAIN) -> None:
    """Do all that nobody else does, in order, until everything is done, whoever did it.

    Args:
        work: by key, what is to be done; it may be begun several times, the last time to its end.
    """
    while not claims.are_done(list(work)):
        if not _did_one(claims, work):
            time.sleep(pause)


def _did_one(claims: Claims, work: dict[str, Callable[[Claim], None]]) -> bool:
    for key, job in work.items():
        with claims.of(key) as claim:
            if claim:
                job(claim)
                claim.done()
                return True
    return False
