"""What is scheduled: by hand, and as a watched training met it."""

import json

import numpy as np
import pytest
import torch

from lab import scheduled as module
from lab.averaging import Averaging, Iterates, Snapshots
from lab.order import Scored, Uniform
from lab.results import join, load, members, save
from lab.scheduled import by_task, points, scheduled
from lab.schedules import Schedule
from lab.stream import Budget, Course
from lab.testing.miniature import Miniature, fit_watched, small_learner

from .forked import train
from .test_arranging import graded
from .test_order import stream_of

SCORES = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


@pytest.fixture
def course():
    """Two members, of a task of four steps and one of one, at rates of their own; one has the best last."""
    by, curve = Scored().by(SCORES), Schedule(decay=[1.0, 0.5], final=[0.5, 1.0], shape="linear")
    streams = [stream_of(7, 2), stream_of(7, 2)]
    return Course(streams, [3, 8], Budget(2, epochs=1), schedule=curve, orders=[by, Uniform()])


def test_by_hand_for_two_tasks_and_two_members(course):
    found = scheduled(course, Snapshots(snapshots=2, over="tasks"), SCORES)
    assert (found["steps"], found["tasks"]) == ([1, 2, 3, 4, 5], [4, 5])
    np.testing.assert_allclose(found["rate"], [[1, 0.9, 0.8, 0.7, 0.6], [1] * 5])
    # .1 .2 | .3 .4 | .5 .6 | .7 and no eighth | .8 .9
    np.testing.assert_allclose(found["quality"][0], [0.15, 0.35, 0.55, 0.7, 0.85], rtol=1e-5)
    shuffled = SCORES[Uniform().places(course.streams[1], 0, 0, 8)].split(2)
    np.testing.assert_allclose(found["quality"][1], [*(float(own.mean()) for own in shuffled), 0.85], rtol=1e-5)
    assert not np.allclose(found["quality"][0], found["quality"][1])
    assert (found["snapshots"], found["every"]) == ([[4, 5], [4, 5]], None)


def test_by_hand_a_row_for_each_task(course):
    first, last = by_task(course, Iterates(every=2), SCORES)
    assert (first.task, first.steps, first.taken) == (0, [4, 4], [2, 2])
    assert (last.task, last.steps, last.taken) == (1, [1, 1], [0, 0])
    np.testing.assert_allclose(first.rate, [[1, 0.9, 0.7], [1, 1, 1]])
    np.testing.assert_allclose(last.rate, [[0.6] * 3, [1] * 3])
    np.testing.assert_allclose(first.quality[0], [0.15, 0.7], rtol=1e-5)


def test_without_scores_there_is_no_quality_and_without_an_average_nothing_is_taken_in(course):
    course.orders = [Uniform(), Uniform()]
    found = scheduled(course, Averaging(), None)
    assert (found["quality"], found["snapshots"]) == (None, [[], []])
    assert by_task(course, Averaging(), None)[0].quality is None
    iterates = scheduled(course, Iterates(every=2), None)
    assert (iterates["every"], iterates["snapshots"]) == (2, [[], []])


@pytest.mark.parametrize("ends", [[1], [7], [150], [151], [100, 5000, 18750], list(range(1, 1001))])
def test_points_are_few_and_hold_both_ends_and_those_of_few_tasks(ends):
    found = points(ends)
    assert len(found) == min(ends[-1], module.MOST)
    assert found == sorted(set(found))
    assert {1, ends[-1]} <= set(found)
    assert len(ends) > 75 or {*ends, *(end + 1 for end in ends[:-1])} <= set(found)


def test_of_long_runs_some_steps_are_looked_at_and_some_members(monkeypatch):
    """One task of 6000 samples in order of rising scores, in batches of two: a score says where in the pass it is."""
    scores = torch.arange(6000) / 6000
    course = Course([stream_of(6000)] * 3, [0, 1, 2], Budget(2), orders=[Scored().by(scores)] * 3)
    monkeypatch.setattr(module, "AROUND", 8)
    monkeypatch.setattr(module, "MOST_IN_ORDER", 30_000)
    found = scheduled(course, Averaging(), None)
    assert np.isfinite(found["quality"]).all(1).tolist() == [True, True, False]
    shares = (np.array(found["steps"]) - 0.5) / 3000
    np.testing.assert_allclose(found["quality"][0], shares, atol=4 / 3000)


@pytest.mark.parametrize(
    ("budget", "span", "order"),
    [
        (Budget(4, epochs=2), "task", {}),
        (Budget(4, epochs=1), "stream", {"mix": 0.3}),
        (Budget(4, steps=7), "task", {"pacing": "linear"}),
        (Budget(4, epochs=1), "stream", {"over": "stream"}),
        (Budget(4, epochs=1), "task", {"over": "tasks", "direction": "descending"}),
    ],
)
def test_it_is_what_a_watched_training_is_given(budget, span, order):
    """Rates and samples of every step, for members whose tasks are not equally long; all steps are points here."""
    seeds, environment = [3, 8, 5], Miniature(tasks=2, scenario="domain")
    scores = torch.rand(len(environment.data.train), generator=torch.Generator().manual_seed(0))
    by = Scored(**order).by(scores)
    environment.stream = lambda seed, plain=environment.stream: by.arranged(by.unbounded(plain(seed)), seed)
    curve = Schedule(warmup=[0, 2, 0.2], decay=0.5, final=[0.1, 0.5, 0.3], span=span)
    learner = small_learner(seeds, environment=environment, budget=budget, schedule=curve, orders=[by] * 3)
    rates, qualities = [], []

    def watch(work, take):
        take()
        own = torch.ones(3, dtype=torch.bool) if learner.optimizer.active is None else learner.optimizer.active
        rates.append(torch.where(own, torch.as_tensor(learner.optimizer.rate, dtype=torch.float64), torch.nan))
        counted = work.batch.weights_or_ones() > 0
        met = torch.where(counted, scores[work.batch.examples], 0).sum(1) / counted.sum(1)
        qualities.append(torch.where(own, met, torch.nan))

    fit_watched(learner, watch)
    found = scheduled(learner.course, learner.averaging, None)
    assert found["steps"] == list(range(1, len(rates) + 1))
    np.testing.assert_allclose(found["rate"], torch.stack(rates, 1), rtol=1e-5)
    np.testing.assert_allclose(found["quality"], torch.stack(qualities, 1), rtol=1e-4)


# --- in results -------------------------------------------------------------------------------------------------------


def test_results_hold_it_over_processes_and_older_ones_do_not(tmp_path):
    config = graded("co_schedule=cdma", "averaging.snapshots=2", "seeds=[4,2,9]", f"paths.runs={tmp_path}")
    whole, parts = (
        load(train(config | {"plan": config["plan"] | {"processes": n}, "paths": {"runs": f"{tmp_path}/{n}"}})) for n in (1, 2)
    )
    one, two = whole.scheduled, parts.scheduled
    assert one["rate"].shape == one["quality"].shape == (3, len(one["steps"]))
    assert [len(own) for own in one["snapshots"]] == [2, 2, 2]
    for name in ("rate", "quality"):
        np.testing.assert_array_equal(one[name], two[name])
    assert {k: v for k, v in one.items() if k not in ("rate", "quality")} == {
        k: v for k, v in two.items() if k not in ("rate", "quality")
    }
    swapped = members(whole, [9, 4]).scheduled
    np.testing.assert_array_equal(swapped["quality"], one["quality"][[2, 0]])
    assert swapped["snapshots"] == [one["snapshots"][2], one["snapshots"][0]]

    folder = save(whole, tmp_path).parent
    content = json.loads((folder / "results.json").read_text())
    del content["scheduled"]
    (folder / "results.json").write_text(json.dumps(content))
    older = load(folder)
    assert older.scheduled is None
    assert join([members(whole, [4]), members(older, [9])], [4, 9]).scheduled is None
