"""From a sweep's file to arms, studies and a protocol, everything refused that can be before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.comparison.protocol import differences, settings_of
from lab.errors import UserError
from lab.experiment import Experiment
from lab.sweep.arms import Arm, arm_of
from lab.sweep.claims import Claims
from lab.sweep.decisions import refuse
from lab.sweep.loop import Tuning
from lab.sweep.protocol import is_forced, same_tasks, sentence, tuning_words
from lab.sweep.question import Asked, Sweep
from lab.sweep.space import utmost
from lab.sweep.storage import open_storage
from lab.sweep.studies import open_study, try_out
from lab.sweep.values import refuse_unreported
from lab.trial import try_parts, try_strategies


@dataclass(frozen=True)
class Asking:
    """A sweep that can be run."""

    home: Path
    tunings: list[Tuning]
    claims: Claims
    protocol: str
    forced: bool


def ask(sweep: Sweep, where: list[str], home: Path, url: str | None) -> Asking:
    """Resolve a sweep, begin its studies or go on with them.

    Raises:
        UserError: a key, an objective, a sampler's option that there is not; test data where validation data are asked for; a
            sweep that was begun with another question.
    """
    arms, protocols, forced, tried, finals = [], [], [], [], []
    for asked in sweep.arms.values():
        tuning = tuning_words(sweep, asked)
        arm = arm_of(sweep, asked, where, tuning)
        try_out(sweep, arm.space)
        forced.append(is_forced(sweep, tuning))
        first, last = _tried(sweep, arm)
        finals.append(last)
        protocols.append(sentence(sweep, tuning, same_tasks(first.streams[0], last.streams[0])))
        tried.append(first)
        arms.append(arm)
    _refuse_incomparable(sweep, arms, finals)
    storage, protocol = open_storage(home, url), "; or ".join(dict.fromkeys(protocols))
    tunings = []
    for arm, asked, run in zip(arms, sweep.arms.values(), tried, strict=True):
        question, tasks = _question(sweep, arm, asked, run), len(run.streams[0].tasks)
        study = open_study(sweep, arm, question, storage, tasks)
        study.set_user_attr("protocol", protocol)
        study.set_user_attr("forced", any(forced))
        tunings.append(Tuning(sweep, arm, study, storage, home))
    return Asking(home, tunings, Claims(storage, sweep.name, home / "claims"), protocol, any(forced))


def _tried(sweep: Sweep, arm: Arm) -> tuple[Experiment, Experiment]:
    """An arm's runs in tuning and finally, for one seed; what they would refuse is refused."""
    config = arm.config({}, sweep.seeds[:1])
    tuning, final = Experiment(config), Experiment(arm.config({}, sweep.final_seeds[:1], tuning=False))
    try_strategies(tuning)
    refuse_unreported(sweep, tuning)
    refuse(sweep, tuning)
    _refuse_values(sweep, arm)
    return tuning, final


def _refuse_values(sweep: Sweep, arm: Arm) -> None:
    """Refuse a space with a choice, or an end of an interval, that a run refuses: trials would fail one by one."""
    for key, of in arm.space.items():
        for value in utmost(of):
            try:
                run = Experiment(arm.config({key: value}, sweep.seeds[:1]))
                try_strategies(run)
                try_parts(run)
            except UserError as error:
                raise UserError(
                    f"{sweep.path}: vary.{key}: {value} is among its values, and a run refuses it: {error}"
                ) from None


def _refuse_incomparable(sweep: Sweep, arms: list[Arm], finals: list[Experiment]) -> None:
    """Refuse an arm whose winner `lab compare` would hold against no other's: what it would say when all is trained."""
    varies = tuple(dict.fromkeys(key for arm in arms for key in arm.space))
    settings = [settings_of(run.config, {"data": {"digest": run.environment.data.digest}}, varies, False) for run in finals]
    alike = [sum(own.protocol == other.protocol for other in settings) for own in settings]
    if 1 in alike and len(arms) > 1:
        place = alike.index(1)
        other = 0 if place else 1
        key, mine, yours = next(differences(settings[place], settings[other]))
        told = f"{key} is {mine}, and {yours} in {arms[other].name}, so that their winners could not be compared"
        raise UserError(f"{sweep.path}: arms.{arms[place].name}: {told}; expected it alike (in `common`), or in `vary`")


def _question(sweep: Sweep, arm: Arm, asked: Asked, run: Experiment) -> dict[str, Any]:
    """What a trial of an arm is an answer to: another question's answers cannot be gone on with."""
    return {
        "words": asked.words,
        "vary": {key: str(of) for key, of in arm.space.items()},
        "tuning": arm.tuning,
        "seeds": sweep.seeds,
        "objectives": dict(sweep.objectives),
        "cell (settings, data, the methods' code)": run.digest,
    } | ({"pruned": "across seeds" if sweep.seed_batch else "across tasks"} if sweep.pruner else {})
