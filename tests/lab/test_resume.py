"""Property 2: killed anywhere and started again, a run ends with the bits of one that was never killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import lab.training
from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.results import load
from lab.training import checkpoints, newest_whole

from .forked import SMALL, forked, kill, small, train

STEPS = 14  # a task; three tasks
CELL = (
    "strategy=er",
    "strategy.er.memory=10",
    "optimizer.momentum=0.9",
    "network.dropout=0.2",
    "batch_size=8",
    f"steps={STEPS}",
    "seeds=3",
    "evaluation.every=5",
    "checkpoint.every=4",
    "plan.block=3",
)


def bits(folder: Path) -> dict[str, torch.Tensor]:
    """Everything that the newest checkpoint of a run holds of its learner: parameters, buffers, memories, momentum."""
    found = torch.load(checkpoints(folder)[0], weights_only=True)
    tensors = dict(found["state_dict"])
    for number, state in found["optimizer_states"][0]["state"].items():
        tensors |= {f"optimizer/{number}/{name}": value for name, value in state.items()}
    return tensors | {"passes": torch.tensor(list(found["passes"].values()))}


def assert_same(folder: Path, reference: Path) -> None:
    ours, theirs = bits(folder), bits(reference)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name].nan_to_num(9), theirs[name].nan_to_num(9))]
    assert not different
    a, b = load(folder), load(reference)
    np.testing.assert_array_equal(a.accuracy, b.accuracy)
    np.testing.assert_array_equal(a.curves["accuracy"], b.curves["accuracy"])


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The run that nobody kills."""
    config = small(*CELL, f"paths.runs={tmp_path_factory.mktemp('whole')}")
    assert forked(lambda: train(config)) == 0
    folder = Experiment(config).folder
    assert any("momentum" in name for name in bits(folder))
    assert any("reservoir" in name for name in bits(folder))
    return folder


def killed_then_resumed(tmp_path: Path, arm: Callable[[], None], between: Callable[[Path], None] = lambda folder: None) -> Path:
    """Arm a trap in a child that then trains, and train once more without it."""
    config = small(*CELL, f"paths.runs={tmp_path}")
    folder = Experiment(config).folder
    assert forked(lambda: (arm(), train(config))) == -9
    assert not (folder / "results.json").exists()
    between(folder)
    assert forked(lambda: train(config)) == 0
    return folder


def in_call(owner: object, name: str, number: int, after: bool = False) -> Callable[[], None]:
    """A trap: die in call ``number`` (from 1) of ``owner.name``, before or after what it does."""

    def arm() -> None:
        original, calls = getattr(owner, name), iter(range(1, 10**9))

        def trapped(*arguments, **options):
            call = next(calls)
            if call == number and not after:
                kill()
            result = original(*arguments, **options)
            if call == number:
                kill()
            return result

        setattr(owner, name, trapped)

    return arm


# Steps drawn at random (a fixed seed), the last before and the first behind a task's end among them.
POINTS = sorted({STEPS, STEPS + 1, *random.Random(5).sample(range(1, 3 * STEPS + 1), 12)})


@pytest.mark.parametrize("step", POINTS)
def test_killed_in_a_step(tmp_path, reference, step):
    assert_same(killed_then_resumed(tmp_path, in_call(ContinualLearner, "step", step, after=step % 2 == 0)), reference)


@pytest.mark.parametrize("number", [1, 2])
def test_killed_at_a_task_boundary(tmp_path, reference, number):
    assert_same(killed_then_resumed(tmp_path, in_call(ContinualLearner, "end", number)), reference)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_killed_between_writing_a_checkpoint_and_naming_it(tmp_path, reference, number):
    def arm() -> None:
        original, calls = os.replace, iter(range(1, 10**9))

        def trapped(source, target):
            if str(target).endswith(".ckpt") and next(calls) == number:
                kill()
            original(source, target)

        os.replace = trapped

    folder = killed_then_resumed(tmp_path, arm, lambda folder: list(folder.glob(".*.part")) or pytest.fail("no part was left"))
    assert_same(folder, reference)
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize("number", [1, 2])
def test_killed_in_the_middle_of_writing_a_checkpoint(tmp_path, reference, number):
    def arm() -> None:
        original, calls = torch.save, iter(range(1, 10**9))

        def trapped(content, file):
            original(content, file)
            if next(calls) == number:
                file.truncate(file.tell() // 2)
                kill()

        lab.training.torch.save = trapped

    assert_same(killed_then_resumed(tmp_path, arm), reference)


def test_a_torn_newest_checkpoint_gives_way_to_the_older_one(tmp_path, reference):
    def tear(folder: Path) -> None:
        newest, older = checkpoints(folder)
        newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
        assert newest_whole(folder) == older

    assert_same(killed_then_resumed(tmp_path, in_call(ContinualLearner, "step", 30), tear), reference)


def test_killed_with_its_workers(tmp_path):
    whole = small(*CELL, "plan.processes=2", f"paths.runs={tmp_path / 'whole'}")
    assert forked(lambda: train(whole)) == 0
    config = small(*CELL, "plan.processes=2", f"paths.runs={tmp_path / 'killed'}")
    folder, reference = Experiment(config).folder, Experiment(whole).folder
    # A killed worker is reported; the other one's share is kept.
    assert forked(lambda: (in_call(ContinualLearner, "step", 20)(), train(config))) == 1
    assert not (folder / "results.json").exists()
    assert forked(lambda: train(config)) == 0
    for part in ("part-0", "part-1"):
        ours, theirs = bits(folder / part), bits(reference / part)
        assert all(torch.equal(ours[name].nan_to_num(9), theirs[name].nan_to_num(9)) for name in theirs)
    np.testing.assert_array_equal(load(folder).accuracy, load(reference).accuracy)
    assert load(folder).cost["resumed_from_step"] is not None


def test_resume_is_told_in_the_results(tmp_path, reference):
    folder = killed_then_resumed(tmp_path, in_call(ContinualLearner, "step", 23))
    assert load(reference).cost["resumed_from_step"] is None
    assert load(folder).cost["resumed_from_step"] == 20


def test_stopped_early_is_incomplete_and_goes_on(tmp_path, reference):
    from lab.experiment import IncompleteError

    config = small(*CELL, f"paths.runs={tmp_path}", "trainer.max_steps=17")
    folder = Experiment(config).folder
    with pytest.raises(IncompleteError, match="step 17 of 42"):
        train(config)
    assert not (folder / "results.json").exists()
    train(small(*CELL, f"paths.runs={tmp_path}"))
    assert_same(folder, reference)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, reference):
    from lab.errors import UserError

    other = small(*CELL, "optimizer.lr=0.05", f"paths.runs={tmp_path}")
    folder = Experiment(other).folder
    folder.mkdir(parents=True)
    (folder / "step-000000020.ckpt").write_bytes(checkpoints(reference)[0].read_bytes())
    with pytest.raises(UserError, match="another configuration"):
        train(other)


def newest_step(runs: Path) -> int:
    return max((int(path.stem.split("-")[1]) for path in runs.rglob("step-*.ckpt")), default=0)


@pytest.mark.slow
def test_the_command_itself_killed_again_and_again(tmp_path):
    """`lab run` as a process, killed by SIGKILL three times, each time after it came further."""
    draw, command = random.Random(11), [sys.executable, "-c", "from lab.cli import main; main()", "run"]
    words = [*SMALL, *CELL, "steps=400", "evaluation.every=50", "plan.processes=2"]
    for word in (f"steps={STEPS}", "evaluation.every=5"):
        words.remove(word)
    subprocess.run([*command, *words, f"paths.runs={tmp_path / 'whole'}"], check=True, capture_output=True)
    for _ in range(3):
        process = subprocess.Popen([*command, *words, f"paths.runs={tmp_path / 'killed'}"], stdout=subprocess.PIPE)
        before = newest_step(tmp_path / "killed")
        while process.poll() is None and newest_step(tmp_path / "killed") == before:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        assert process.poll() is None, "the run is too short to be killed"
        process.kill()
        process.communicate()
    subprocess.run([*command, *words, f"paths.runs={tmp_path / 'killed'}"], check=True, capture_output=True)
    ours, theirs = (next((tmp_path / name).glob("*/*/results.json")).parent for name in ("killed", "whole"))
    for part in ("part-0", "part-1"):
        a, b = bits(ours / part), bits(theirs / part)
        assert all(torch.equal(a[name].nan_to_num(9), b[name].nan_to_num(9)) for name in b)
    np.testing.assert_array_equal(load(ours).accuracy, load(theirs).accuracy)
    assert load(ours).cost["resumed_from_step"] >= 4 * 3
