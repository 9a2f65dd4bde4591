"""What a sweep may read when it chooses, and what it says of that."""

import pytest
import torch

from lab.errors import UserError
from lab.protocols import Stream, Task
from lab.sweep.protocol import is_forced, same_tasks, sentence, tuning_words
from tests.lab.sweep.test_question import read

HELD = ["evaluation.split=validation", "environment.validation=0.1"]


def words(tmp_path, *own, **changed):
    sweep = read(tmp_path, common=list(own), arms={"er": {"words": ["strategy=er"]}}, **changed)
    return sweep, tuning_words(sweep, sweep.arms["er"])


def test_validation_data_are_held_out_by_default(tmp_path):
    assert words(tmp_path, "experiment=digits_permuted")[1] == HELD
    assert words(tmp_path, "environment=power_law", "environment.base=split")[1][1] == "environment.base.validation=0.1"


def test_an_arms_own_share_is_kept(tmp_path):
    assert words(tmp_path, "environment.validation=0.3")[1] == HELD[:1]


def test_only_the_first_tasks(tmp_path):
    assert words(tmp_path, "experiment=digits_permuted", tuning={"first_tasks": 2})[1] == [*HELD, "first_tasks=2"]


@pytest.mark.parametrize(
    ("own", "changed", "why"),
    [
        (["evaluation.split=test"], {}, r"accuracy would be read from test data \(evaluation.split=test\).*leave it out, or"),
        ([], {"tuning": {"validation": 0}}, r"tuning.validation=0.*set that or environment.validation above 0, or have it so"),
    ],
)
def test_test_data_are_refused_unless_forced(tmp_path, own, changed, why):
    with pytest.raises(UserError, match=why):
        words(tmp_path, *own, **changed)
    sweep, tuning = words(tmp_path, *own, force=True, **changed)
    assert tuning == ["evaluation.split=test"]
    assert is_forced(sweep, tuning)
    assert "on TEST DATA (forced) of tuning streams" in sentence(sweep, tuning, False)


def test_costs_read_no_data(tmp_path):
    sweep, tuning = words(tmp_path, "evaluation.split=test", objectives={"cost.state_bytes": "minimize"})
    assert tuning == []
    assert not is_forced(sweep, tuning)


def test_the_protocol_is_a_sentence(tmp_path):
    sweep, tuning = words(tmp_path, tuning={"seeds": 2, "first_tasks": 3}, final={"seeds": [5, 6, 9]})
    assert sentence(sweep, tuning, False) == (
        "chosen by accuracy on validation data (0.1 of each task's training data) of tuning streams (seeds 1000-1001, "
        "the first 3 tasks); the winner is run on test data of fresh streams (seeds 5-6, 9)"
    )
    assert ", the first task); the winner" in sentence(*words(tmp_path, tuning={"first_tasks": 1}), False)
    assert sentence(sweep, tuning, True).endswith(
        "; every seed's stream has the same tasks in this environment, so that tuning has seen them"
    )


def stream(*views, labels=(0, 1)):
    rows = torch.arange(2)
    tasks = tuple(Task(rows, rows, torch.tensor(labels), view=None if view is None else torch.tensor(view)) for view in views)
    return Stream(tasks, (), "domain", 2)


def test_whether_streams_have_the_same_tasks():
    assert same_tasks(stream([0, 1], [1, 0]), stream([0, 1], [1, 0]))
    assert same_tasks(stream([0, 1]), stream([0, 1], [1, 0])), "as far as both go"
    assert not same_tasks(stream([0, 1], [1, 0]), stream([0, 1], [0, 1]))
    assert same_tasks(stream(None), stream(None))
    assert not same_tasks(stream(None), stream(None, labels=(1, 0)))
