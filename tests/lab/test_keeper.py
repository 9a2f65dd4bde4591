"""When checkpoints are written: where they are asked for, and at task ends as often as they are worth their time."""

from types import SimpleNamespace

import pytest

from lab import training
from lab.training import SLOW_TO_SAVE, Keeper


def saved(monkeypatch, tmp_path, seconds_to_save, seconds_a_task, tasks=100, every=None):
    """The steps, of 10 a task, after which a keeper saves a checkpoint, if saving and a task take so long."""
    clock, steps = [0.0], []
    monkeypatch.setattr(training.time, "perf_counter", lambda: clock[0])

    def save(path):
        clock[0] += seconds_to_save
        steps.append(int(path.stem.split("-")[1]))

    course = SimpleNamespace(every={"checkpoint": every}, stop=10 * tasks)
    keeper, trainer = Keeper(tmp_path, "digest", None), SimpleNamespace(save_checkpoint=save)
    for task in range(1, tasks + 1):
        clock[0] += seconds_a_task
        block = SimpleNamespace(stop=10 * task, checkpoint=True)
        keeper.on_train_batch_end(trainer, SimpleNamespace(course=course), None, block, task)
    return steps, clock[0]


def test_quick_ones_are_saved_at_every_task_end(monkeypatch, tmp_path):
    steps, _ = saved(monkeypatch, tmp_path, SLOW_TO_SAVE / 2, 0.001)
    assert steps == list(range(10, 1001, 10))


@pytest.mark.parametrize("seconds_a_task", [0.1, 1.0, 7.0])
def test_slow_ones_take_up_a_twentieth_of_the_time_and_the_last_is_saved(monkeypatch, tmp_path, seconds_a_task):
    steps, whole = saved(monkeypatch, tmp_path, 0.5, seconds_a_task)
    assert steps[0] == 10
    assert steps[-1] == 1000
    assert 0.5 * (len(steps) - 2) <= whole / 20
    assert len(steps) > 2 or whole < 20


def test_those_that_were_asked_for_are_saved_whatever_they_take(monkeypatch, tmp_path):
    steps, _ = saved(monkeypatch, tmp_path, 5.0, 0.1, every=200)
    assert set(range(200, 1001, 200)) <= set(steps)
