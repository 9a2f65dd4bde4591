"""Property 2: killed anywhere and started again, a run ends with the bits of one that was never killed."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import lab.experiment
import lab.results
import lab.training
from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.results import load
from lab.training import checkpoints, newest_whole, step_of

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


def assert_same_bits(folder: Path, reference: Path) -> None:
    ours, theirs = bits(folder), bits(reference)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name].nan_to_num(9), theirs[name].nan_to_num(9))]
    assert not different


def assert_same_results(folder: Path, reference: Path) -> None:
    a, b = load(folder), load(reference)
    np.testing.assert_array_equal(a.accuracy, b.accuracy)
    np.testing.assert_array_equal(a.curves["accuracy"], b.curves["accuracy"])


def assert_same(folder: Path, reference: Path) -> None:
    assert_same_bits(folder, reference)
    assert_same_results(folder, reference)


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> Path:
    """The run that nobody kills."""
    config = small(*CELL, f"paths.runs={tmp_path_factory.mktemp('whole')}")
    assert forked(lambda: train(config)) == 0
    folder = Experiment(config).folder
    assert any("momentum" in name for name in bits(folder))
    assert any("slots" in name for name in bits(folder))
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


def in_the_middle_of_writing(module: ModuleType, number: int) -> Callable[[], None]:
    """A trap: in the module's call ``number`` (from 1) of ``write_whole``, die when half of the file lies on the disk."""

    def arm() -> None:
        original, calls = module.write_whole, iter(range(1, 10**9))

        def trapped(path: Path, write: Callable) -> None:
            def half(file) -> None:
                write(file)
                file.flush()
                os.ftruncate(file.fileno(), file.tell() // 2)
                os.fsync(file.fileno())
                kill()

            original(path, half if next(calls) == number else write)

        module.write_whole = trapped

    return arm


@pytest.mark.parametrize("number", [1, 2, 4])
def test_killed_in_the_middle_of_writing_a_checkpoint(tmp_path, reference, number):
    whole = checkpoints(reference)[0].stat().st_size

    def half_is_there(folder: Path) -> None:
        (part,) = folder.glob(".*.part")
        step = (4, 8, 12, 14)[number - 1]
        assert part.name.startswith(f".step-{step:09d}.ckpt.")
        assert 0.4 * whole < part.stat().st_size < 0.6 * whole
        with pytest.raises((RuntimeError, EOFError, OSError, pickle.UnpicklingError)):
            torch.load(part, weights_only=True)
        assert all(step_of(path) < step for path in checkpoints(folder))

    folder = killed_then_resumed(tmp_path, in_the_middle_of_writing(lab.training, number), half_is_there)
    assert_same(folder, reference)
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize(
    "arm",
    [in_call(lab.experiment, "save", 1), in_the_middle_of_writing(lab.results, 1)],
    ids=["before they are written", "half of them written"],
)
def test_killed_behind_the_last_checkpoint_and_before_there_are_results(tmp_path, reference, arm):
    def all_is_trained(folder: Path) -> None:
        assert step_of(checkpoints(folder)[0]) == 3 * STEPS

    folder = killed_then_resumed(tmp_path, arm, all_is_trained)
    assert_same(folder, reference)
    assert load(folder).cost["resumed_from_step"] == 3 * STEPS
    assert not list(folder.glob(".*.part"))


def test_a_torn_newest_checkpoint_gives_way_to_the_older_one(tmp_path, reference, capfd):
    def tear(folder: Path) -> None:
        newest, older = checkpoints(folder)
        newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
        assert newest_whole(folder, folder.parent.name) == older
        assert checkpoints(folder) == [older], "what is damaged does not take the place of a sound one"
        assert (folder / f"damaged-{newest.name}").exists()
        assert f"{newest.name} cannot be read" in capfd.readouterr().err

    assert_same(killed_then_resumed(tmp_path, in_call(ContinualLearner, "step", 30), tear), reference)


@pytest.fixture(scope="module")
def reference_of_two(tmp_path_factory) -> Path:
    """The run over two processes that nobody kills."""
    config = small(*CELL, "plan.processes=2", f"paths.runs={tmp_path_factory.mktemp('whole')}")
    assert forked(lambda: train(config)) == 0
    return Experiment(config).folder


def assert_same_parts(folder: Path, reference: Path) -> None:
    for part in ("part-0", "part-1"):
        assert_same_bits(folder / part, reference / part)
    assert_same_results(folder, reference)


def test_killed_with_its_workers(tmp_path, reference_of_two):
    config = small(*CELL, "plan.processes=2", f"paths.runs={tmp_path}")
    folder = Experiment(config).folder
    # A killed worker is reported; the other one's share is kept.
    assert forked(lambda: (in_call(ContinualLearner, "step", 20)(), train(config))) == 1
    assert not (folder / "results.json").exists()
    assert forked(lambda: train(config)) == 0
    assert_same_parts(folder, reference_of_two)
    assert load(folder).cost["resumed_from_step"] is not None


@pytest.mark.parametrize(("killed", "members"), [(0, [0, 2]), (1, [1])])
def test_one_share_finished_and_the_other_killed(tmp_path, reference_of_two, killed, members):
    def arm() -> None:
        original, calls = ContinualLearner.step, iter(range(1, 10**9))

        def trapped(learner, *arguments):
            if learner.seeds == members and next(calls) == 20:
                kill()
            return original(learner, *arguments)

        ContinualLearner.step = trapped

    config = small(*CELL, "plan.processes=2", f"paths.runs={tmp_path}")
    folder = Experiment(config).folder
    assert forked(lambda: (arm(), train(config))) == 1
    assert not (folder / "results.json").exists()
    reached = [step_of(checkpoints(folder / f"part-{number}")[0]) for number in (0, 1)]
    assert reached[1 - killed] == 3 * STEPS
    assert reached[killed] == 16
    assert forked(lambda: train(config)) == 0
    assert_same_parts(folder, reference_of_two)
    assert load(folder).cost["resumed_from_step"] == 16


def test_resume_is_told_in_the_results(tmp_path, reference):
    folder = killed_then_resumed(tmp_path, in_call(ContinualLearner, "step", 23))
    assert load(reference).cost["resumed_from_step"] is None
    assert load(folder).cost["resumed_from_step"] == 20


def test_stopped_early_is_incomplete_and_goes_on(tmp_path, reference):
    from lab.errors import IncompleteError

    config = small(*CELL, f"paths.runs={tmp_path}", "trainer.max_steps=17")
    folder = Experiment(config).folder
    with pytest.raises(IncompleteError, match="step 17 of 42"):
        train(config)
    assert not (folder / "results.json").exists()
    train(small(*CELL, f"paths.runs={tmp_path}"))
    assert_same(folder, reference)


@pytest.mark.parametrize("word", ["optimizer.lr=0.05", "network.width=13", "network.depth=2", "strategy.er.memory=11"])
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, reference, word):
    """Whether or not its tensors would fit."""
    from lab.errors import UserError

    other = small(*CELL, word, f"paths.runs={tmp_path}")
    folder = Experiment(other).folder
    folder.mkdir(parents=True)
    (folder / "step-000000020.ckpt").write_bytes(checkpoints(reference)[0].read_bytes())
    with pytest.raises(UserError, match=r"step-000000020\.ckpt: is a checkpoint of another configuration"):
        train(other)
    assert not (folder / "results.json").exists()


def test_a_checkpoint_of_another_version_is_refused_in_a_sentence(tmp_path, reference):
    """As one that was made before something was counted."""
    from lab.errors import UserError

    same = small(*CELL, f"paths.runs={tmp_path}")
    folder = Experiment(same).folder
    folder.mkdir(parents=True)
    content = torch.load(checkpoints(reference)[0], weights_only=True)
    del content["state_dict"]["encounters.shown"]
    torch.save(content, folder / "step-000000020.ckpt")
    with pytest.raises(UserError, match=r"of another version of the lab.*encounters\.shown.*move the run directory away"):
        train(same)


def newest_step(runs: Path, processes: int = 2) -> int:
    """To which all processes have come."""
    found = [[int(path.stem.split("-")[1]) for path in part.glob("step-*.ckpt")] for part in runs.rglob("part-*")]
    return min(max(steps, default=0) for steps in found) if len(found) == processes else 0


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
    assert_same_parts(ours, theirs)
    assert load(ours).cost["resumed_from_step"] >= 4 * 3
