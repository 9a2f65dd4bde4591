"""Several workers at toy trials, some of which are killed: what each of them does is written down for a test to look at."""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections import Counter
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from lab.sweep.claims import Claims
from lab.sweep.patient import told
from lab.sweep.rounds import PLACE, asked, rounds, share
from lab.sweep.storage import open_storage

ARMS, TRIALS, AT_ONCE, STEPS, STEP = ("a", "b"), 20, 4, 10, 0.03


def work(url: str | None, home: Path) -> None:
    """One worker, until all trials of all arms are done."""
    storage = open_storage(home, url)
    claims = Claims(storage, "toy", home)
    jobs = {}
    for arm in ARMS:
        sampler = optuna.samplers.TPESampler(constant_liar=True, n_startup_trials=2)
        study = optuna.create_study(study_name=f"toy.{arm}", storage=storage, load_if_exists=True, sampler=sampler)
        for places in rounds(TRIALS, AT_ONCE):
            jobs[f"{arm}.{places[0]}"] = partial(_round, home, arm, study, storage, places)
    share(claims, jobs, pause=0.05)


def _round(home, arm, study, storage, places) -> None:
    trials = []
    for trial in asked(study, storage, places):
        trial.suggest_float("x", -1, 1)
        trials.append(trial)
    for trial in trials:
        _train(home, f"{arm}.{trial.number}")
        told(storage, trial._trial_id, TrialState.COMPLETE, [trial.params["x"] ** 2])


def _train(home: Path, name: str) -> None:
    """Steps that go on from a checkpoint; each is written down."""
    checkpoint = home / f"{name}.step"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(done, STEPS):
        with (home / "steps.log").open("a") as file:
            file.write(f"{name} {step} {os.getpid()}\n")
        time.sleep(STEP)
        part = home / f".{name}.{os.getpid()}"
        part.write_text(str(step + 1))
        part.rename(checkpoint)


class Crowd:
    """Forked workers, of which ``kill`` ends one at a random moment and puts another in its place."""

    def __init__(self, url: str | None, home: Path, count: int, seed: int = 0):
        self.url, self.home, self.draw, self.kills, self.begun = url, home, random.Random(seed), 0, time.monotonic()
        self.alive = [self._started() for _ in range(count)]

    def _started(self) -> int:
        child = os.fork()
        if not child:
            status = 1
            try:
                work(self.url, self.home)
                status = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(status)
        return child

    def at_work(self) -> set[str]:
        """Who has done a step."""
        log = self.home / "steps.log"
        return {line.split()[2] for line in log.read_text().splitlines()} if log.exists() else set()

    def kill(self) -> None:
        time.sleep(self.draw.uniform(0, 0.35))
        victim = self.draw.choice(self.alive)
        os.kill(victim, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(victim, 0)[1]), "the work was over before all were killed"
        self.kills += 1
        self.alive[self.alive.index(victim)] = self._started()

    def end(self) -> None:
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in self.alive] == [0] * len(self.alive)


def check(crowd: Crowd) -> None:
    """Nothing is lost, nothing is done twice, no two worked at the same trial at once."""
    storage = open_storage(crowd.home, crowd.url)
    for arm in ARMS:
        study = optuna.load_study(study_name=f"toy.{arm}", storage=storage)
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * TRIALS
        assert all(trial.value == trial.params["x"] ** 2 for trial in study.trials)
        assert all(trial.distributions == {"x": FloatDistribution(-1, 1)} for trial in study.trials)
        assert sorted(trial.user_attrs[PLACE] for trial in study.trials) == list(range(TRIALS))
    lines = [line.split() for line in (crowd.home / "steps.log").read_text().splitlines()]
    steps = Counter((name, step) for name, step, _ in lines)
    assert len(steps) == len(ARMS) * TRIALS * STEPS
    assert sum(steps.values()) <= len(steps) + crowd.kills  # of a killed worker no more than the step it was at is done again
    for name in {name for name, _, _ in lines}:
        workers = [pid for other, _, pid in lines if other == name]
        turns = [pid for before, pid in zip([None, *workers], workers, strict=False) if pid != before]
        assert len(turns) == len(set(turns)), f"{name} had two workers at once"
