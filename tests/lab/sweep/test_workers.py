"""`lab sweep` started several times, in processes that are killed, on one sweep."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState

from lab.results import load
from lab.sweep.claims import Claims, devices
from lab.sweep.command import main
from lab.sweep.rounds import PLACE
from lab.sweep.storage import open_storage
from lab.sweep.values import outcomes

SWEEP = {
    "common": ["environment=permuted", "environment.tasks=3", "network.width=12", "network.depth=1", "evaluation.samples=20"],
    "vary": {"optimizer.lr": "tag(log, interval(0.01, 0.5))"},
    "arms": {"naive": {"words": ["strategy=naive"]}, "er": {"words": ["strategy=er"]}},
    "objectives": {"accuracy": "maximize"},
    "at_once": 2,
    "tuning": {"seeds": 2},
    "final": {"seeds": 2},
    "minutes": 5,
}
HOW = ["tracking=off", "trainer.enable_progress_bar=false", "plan.processes=1"]
HOME = Path("runs/sweeps/many")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(trials: int) -> None:
    Path("sweeps").mkdir()
    Path("sweeps/many.yaml").write_text(yaml.safe_dump(SWEEP | {"trials": trials}))


def worker(words: list[str]) -> int:
    """A forked `lab sweep`; its process."""
    child = os.fork()
    if not child:
        status = 1
        try:
            torch.set_num_threads(1)
            status = main(["many", *words, *HOW])
        finally:
            os._exit(status)
    return child


def check(trials: int, url: str | None) -> dict:
    """Nothing is lost, nothing counted twice, and what trials were told is what their populations came to."""
    storage = open_storage(HOME, url)
    populations = set()
    for arm in SWEEP["arms"]:
        told = optuna.load_study(study_name=f"many.{arm}", storage=storage).trials
        assert [trial.state for trial in told] == [TrialState.COMPLETE] * trials
        assert sorted(trial.user_attrs[PLACE] for trial in told) == list(range(trials))
        for name in {trial.user_attrs["population"] for trial in told}:
            own = [trial for trial in told if trial.user_attrs["population"] == name]
            came_to = outcomes(load(HOME / name), SWEEP["objectives"], len(own))
            assert [trial.values for trial in own] == [outcome.means for outcome in came_to]
            populations.add(name)
    trained = {str(path.parent.relative_to(HOME)) for path in (HOME / "populations").glob("*/*/results.json")}
    assert trained == populations, "a population was trained that no trial is of"
    claims = Claims(storage, "many", HOME / "claims").study.trials
    ended = Counter(claim.user_attrs["key"] for claim in claims if claim.state == TrialState.COMPLETE)
    assert set(ended.values()) == {1}
    assert not any(claim.state == TrialState.RUNNING for claim in claims)
    return json.loads((HOME / "found.json").read_text())


def killed(url: str | None, trials: int, kills: int) -> None:
    """Two workers, one of which is killed and followed by another, again and again; then both go on to the end."""
    draw, words = random.Random(0), [] if url is None else [f"--storage={url}"]
    alive = [worker(words) for _ in range(2)]
    for _ in range(kills):
        time.sleep(draw.uniform(0.5, 3.5))
        victim = draw.choice(alive)
        os.kill(victim, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(victim, 0)[1]), "the sweep was over before all were killed"
        alive[alive.index(victim)] = worker(words)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in alive] == [0, 0]
    found = check(trials, url)
    assert all(arm["counts"]["complete"] == trials for arm in found["arms"].values())


def test_two_workers_share_a_sweep(here):
    write(4)
    children = [worker([]) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    found = check(4, None)
    assert [arm["counts"]["complete"] for arm in found["arms"].values()] == [4, 4]


@pytest.mark.slow
def test_twenty_kills_lose_no_trial_and_count_none_twice(here, monkeypatch):
    monkeypatch.setitem(SWEEP, "common", [*SWEEP["common"], "epochs=8"])  # seconds each, so that most are killed at work
    write(30)
    killed(None, 30, 20)


def test_a_worker_says_which_devices_it_was_given(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert devices() == "3"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices() == "all"
