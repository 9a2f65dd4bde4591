"""Runs in stages: who is left ends with the bits of a run in which nobody was cut, in one process and in two, killed or not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import lab.stages
from lab.errors import IncompleteError
from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.progress import Progress
from lab.results import load, members
from lab.stages import left
from lab.training import checkpoints

from .forked import forked, kill, small, train

CELL = ("strategy=[er,ewc]", "strategy.er.memory=10", "optimizer.momentum=0.9", "batch_size=8", "steps=14", "seeds=6",
        "evaluation.every=5", "plan.block=3", "network.dropout=0.2")  # fmt: skip


class Choosing:
    """Lets these members go on after the first task, after the second, ...; keeps what it was told."""

    def __init__(self, *chosen):
        self.chosen, self.heard = chosen, []

    def __call__(self, reached):
        self.heard.append(reached)
        return self.chosen[reached.task - 1]


def staged(config, *chosen) -> tuple[Experiment, Choosing]:
    experiment, decide = Experiment(config), Choosing(*chosen)
    experiment.run(Progress("", show=False), decide)
    return experiment, decide


@pytest.fixture(scope="module")
def uncut(tmp_path_factory):
    """The run from which nobody is cut."""
    return load(train(small(*CELL, f"paths.runs={tmp_path_factory.mktemp('uncut')}")))


def assert_same(results, uncut, seeds):
    expected = members(uncut, seeds)
    assert results.seeds == seeds
    np.testing.assert_array_equal(results.accuracy, expected.accuracy)
    np.testing.assert_array_equal(results.curves["accuracy"], expected.curves["accuracy"])
    for name, values in expected.metrics.items():
        np.testing.assert_array_equal(results.metrics[name], values, err_msg=name)
    assert results.encounters["rehearsed"].tolist() == expected.encounters["rehearsed"].tolist()


@pytest.mark.parametrize("processes", [1, 2])
def test_who_is_left_has_the_numbers_of_a_run_from_which_nobody_was_cut(tmp_path, uncut, processes):
    config = small(*CELL, f"paths.runs={tmp_path}", f"plan.processes={processes}")
    experiment, decide = staged(config, [0, 1, 3, 4, 5], [1, 3, 4])
    assert_same(load(experiment.folder), uncut, [1, 3, 4])
    assert left(experiment.folder) == [1, 3, 4]
    assert not (experiment.folder / "incomplete").exists()
    first, second = decide.heard
    assert (first.task, first.tasks, first.members, second.members) == (1, 3, [0, 1, 2, 3, 4, 5], [0, 1, 3, 4, 5])
    assert first.results.metrics["accuracy"].tolist() == uncut.accuracy[:, 1, 0].tolist()
    assert second.results.metrics["accuracy"].tolist() == uncut.accuracy[[0, 1, 3, 4, 5], 2, :2].mean(1).tolist()
    assert second.results.curves["steps"][-1] == 28
    for part in experiment.folder.glob("part-*"):
        saved = torch.load(checkpoints(part)[0], weights_only=True)
        assert saved["members"] == [m for m in (1, 3, 4) if m % processes == int(part.name[-1])]
        assert len(saved["state_dict"]["clock"]) == len(saved["members"])


def test_with_everyone_going_on_it_is_the_ordinary_run(tmp_path, uncut):
    experiment, _ = staged(small(*CELL, f"paths.runs={tmp_path}"), range(6), range(6))
    assert_same(load(experiment.folder), uncut, list(range(6)))


def test_where_nobody_goes_on_there_are_no_results(tmp_path):
    experiment, decide = staged(small(*CELL, f"paths.runs={tmp_path}"), [])
    assert not (experiment.folder / "results.json").exists()
    assert left(experiment.folder) == []
    experiment.run(Progress("", show=False), decide)
    assert len(decide.heard) == 1, "it is not begun again"


def test_who_diverged_does_not_go_on(tmp_path):
    """And is told of as diverged, with nothing to compare it by."""
    rates = "optimizer.lr=[.1,1e25,.1,.1,.1,.1]"
    experiment, decide = staged(small(*CELL, rates, f"paths.runs={tmp_path}"), range(6), range(6))
    first, second = decide.heard
    assert first.results.diverged[1] is not None
    assert np.isnan(first.results.metrics["accuracy"][1])
    assert second.members == left(experiment.folder) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "number", "processes"),
    [("step", 20, 1), ("step", 5, 2), ("write_whole", 1, 1), ("write_whole", 2, 1), ("cut_file", 1, 2), ("restored", 1, 1)],
)
def test_killed_and_started_again_it_asks_once_and_ends_with_the_same_bits(tmp_path, uncut, name, number, processes):
    """In a step; when a choice has been made and is not kept; when it is kept and its members are not cut; and where it looks
    at a checkpoint which a killed run had come to."""
    config = small(*CELL, f"paths.runs={tmp_path}", f"plan.processes={processes}")
    folder = Experiment(config).folder

    def armed():
        owner = ContinualLearner if name == "step" else lab.stages
        original, calls = getattr(owner, name), iter(range(1, 10**9))

        def trapped(*arguments, **options):
            if next(calls) == number:
                kill()
            return original(*arguments, **options)

        setattr(owner, name, trapped)
        staged(config, [0, 1, 3, 4, 5], [1, 3, 4])

    if name == "restored":
        assert forked(lambda: (setattr(lab.stages, "write_whole", lambda *_: kill()), staged(config, [0, 1, 3, 4, 5]))) == -9
    assert forked(armed) == (-9 if processes == 1 else 1)  # a killed worker is told of
    assert not (folder / "results.json").exists()
    told = json.loads((folder / lab.stages.FILE).read_text()) if (folder / lab.stages.FILE).exists() else []
    experiment, decide = staged(config, [0, 1, 3, 4, 5], [1, 3, 4])
    assert [reached.task for reached in decide.heard] == [1, 2][len(told) :]
    assert_same(load(experiment.folder), uncut, [1, 3, 4])


def test_stopped_early_by_the_user_it_goes_on(tmp_path, uncut):
    with pytest.raises(IncompleteError, match="step 20 of 42"):
        staged(small(*CELL, f"paths.runs={tmp_path}", "trainer.max_steps=20"), [1, 3, 4, 5], [1, 3, 4])
    experiment, _ = staged(small(*CELL, f"paths.runs={tmp_path}"), None, [1, 3, 4])
    assert_same(load(experiment.folder), uncut, [1, 3, 4])
    assert isinstance(experiment.folder, Path)
