"""Choices that hang together: callbacks and cells, seeds and dropout, boundaries and what is reset at them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lab.cell import deciding
from lab.errors import UserError
from lab.experiment import Experiment
from lab.plan import Plan
from lab.progress import Progress
from lab.results import Results, load, save
from lab.training import finished
from strategies.er import ER
from strategies.gem import GEM

from .forked import composed, small

STEPS = "steps=6"
CALLBACKS = """
from lightning.pytorch import Callback

class Decay(Callback):
    def __init__(self, strength=1):
        self.strength = strength

class Watching(Callback):
    def on_after_backward(self, trainer, module):
        pass
"""


@pytest.fixture
def callbacks(tmp_path, monkeypatch):
    (tmp_path / "their_callbacks.py").write_text(CALLBACKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LAB_PACKAGES", "their_callbacks")
    return "+trainer.callbacks.mine._target_=their_callbacks"


def test_a_callbacks_settings_make_another_cell(callbacks):
    cells = {
        Experiment(small(STEPS, f"{callbacks}.Decay", f"+trainer.callbacks.mine.strength={strength}")).digest
        for strength in (1, 2)
    }
    assert len({Experiment(small(STEPS)).digest, *cells}) == 3


def test_a_hook_that_would_never_be_called_is_refused(callbacks):
    with pytest.raises(UserError, match=r"callbacks.mine: on_after_backward is never called here.*on_before_optimizer_step"):
        Experiment(small(STEPS, f"{callbacks}.Watching"))


def test_one_initialisation_for_all_leaves_each_member_its_dropout():
    experiment = Experiment(small(STEPS, "seeds=[3,4]", "seed_for.initialisation=0", "network.dropout=0.5"))
    population = experiment.learner([0, 1], Plan(True, 1, 1, 2, "")).population
    weight = population.leaves["head/weight"]
    assert torch.equal(weight[0], weight[1])
    ones = torch.ones(2, 1, 1, 8, 8)
    assert not torch.equal(*population(ones))
    population.eval()
    assert torch.equal(*population(ones))


def test_the_optimizer_is_not_reset_at_boundaries_that_nobody_announces():
    with pytest.raises(UserError, match="reset_optimizer=true: this environment announces no boundaries"):
        Experiment(composed("environment=blurry", "tracking=off", "reset_optimizer=true"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["environment=permuted"], "set environment.validation above 0"),
        (["environment=online"], "set environment.base.validation above 0"),
        (["environment=relabelled", "environment.samples=20"], "this environment can hold none out"),
    ],
)
def test_how_data_come_to_be_held_out_is_said_by_the_key_that_does_it(words, told):
    with pytest.raises(UserError, match=f"^evaluation.split=validation: no data are held out; {told}$"):
        Experiment(composed(*words, "tracking=off", "epochs=1", "evaluation.split=validation"))


def test_two_memories_of_one_learner_draw_numbers_of_their_own():
    learner = Experiment(small(STEPS, "strategy=er", "seeds=2")).learner([0, 1], Plan(True, 1, 1, 2, ""))
    other = ER(500)
    other.setup(learner)
    assert not torch.equal(learner.strategies[0].store.keys, other.store.keys)


@pytest.mark.parametrize("precision", ["32", "64", "bf16"])
@pytest.mark.parametrize("words", [["strategy=ogd"], ["strategy=separate", "environment.scenario=task"]])
def test_what_is_announced_is_what_is_held_in_any_precision(words, precision, capsys):
    experiment = Experiment(small(STEPS, "seeds=2", *words, f"trainer.precision={precision}"))
    held = experiment.learner([0, 1], Plan(True, 1, 1, 2, "")).strategies[0]
    tensors = [held.directions] if "ogd" in words[0] else [held._buffers[f"of/{name}"][:, 0] for name in held.names]
    experiment._announce()
    assert f"{sum(t.numel() * t.element_size() for t in tensors):,} bytes" in capsys.readouterr().err


def test_gradients_of_past_tasks_are_announced_in_the_bytes_of_a_number():
    assert "80,000 bytes for each task" in GEM().announcement(members=5, parameters=2000, size=8)


def test_a_run_is_over_at_the_end_of_its_course_or_when_nobody_is_left():
    """Not when all that train on have taken their steps: the last row of the tensor would be missing."""

    class Keeper:
        step = 0

    learner = Experiment(small(STEPS, "seeds=2")).learner([0, 1], Plan(True, 1, 1, 2, ""))
    keeper = Keeper()
    learner.clock.fill_(learner.course.total)
    assert not finished(learner, keeper)
    learner.diverged_at[0] = 3
    assert not finished(learner, keeper)
    learner.diverged_at[1] = 5
    assert finished(learner, keeper)
    learner.diverged_at.fill_(-1)
    keeper.step = learner.course.total
    assert finished(learner, keeper)


def test_many_tasks_lie_beside_the_json(tmp_path):
    accuracy = np.random.default_rng(0).random((1, 103, 102))
    points = list(range(103))
    curves = {"steps": points, "task": points, "accuracy": np.random.default_rng(1).random((1, 103, 102))}
    config = {"strategy": {"naive": {}}, "environment": {"_target_": "environments.split.Split"}}
    cost = {"resumed_from_step": None, "wall_seconds": 1.0}
    for without in (None, accuracy / 2):
        save(Results(config, [0], accuracy, curves, [None], cost, accuracy_without_task=without, loss=without), tmp_path)
        assert (tmp_path / "results.json").stat().st_size < 5_000
        again = load(tmp_path)
        np.testing.assert_array_equal(again.accuracy, accuracy)
        np.testing.assert_array_equal(again.curves["accuracy"], curves["accuracy"])
        for beside in (again.accuracy_without_task, again.loss):
            assert (beside is None) == (without is None)
            if without is not None:
                np.testing.assert_array_equal(beside, without)


def test_the_first_tasks_alone_are_what_they_are_in_the_whole_stream(tmp_path):
    """In a network for all classes; in another cell, and null is no setting at all."""
    words = ("environment=split", "environment.tasks=5", "strategy=er", "strategy.er.memory=10", STEPS, "seeds=2")
    runs = f"paths.runs={tmp_path}"
    whole, first = Experiment(small(*words, runs)), Experiment(small(*words, runs, "first_tasks=2"))
    assert whole.digest != first.digest
    assert "first_tasks" not in deciding(whole.config)
    assert first.streams[0].outputs == 10
    some, every = (load(each.run(Progress("", show=False))) for each in (first, whole))
    np.testing.assert_array_equal(some.accuracy, every.accuracy[:, :3, :2])
    assert some.cost["steps"] == 12
    with pytest.raises(UserError, match="first_tasks=6: expected at most 5, the tasks of this environment"):
        Experiment(small(*words, "first_tasks=6"))
    with pytest.raises(UserError, match="first_tasks=2: expected null: this environment trains on samples of later tasks"):
        Experiment(composed("tracking=off", "environment=blurry", "environment.base=split", "first_tasks=2"))
    with pytest.raises(UserError, match="first_tasks=0: expected a whole number"):
        Experiment(small(*words, "first_tasks=0"))
