import pytest
import torch

from environments.reencounters import Reencounters
from environments.stationary import Stationary
from lab.errors import UserError
from lab.protocols import Data, Examples


def rows(tensor) -> list[int]:
    return tensor.tolist()


def test_one_task_of_everything(make):
    source = make(4, examples=6)
    (task,) = Stationary(source).stream(5).tasks
    assert rows(task.train) == list(range(24))
    assert rows(task.test) == list(range(12))
    assert rows(task.labels) == [0, 1, 2, 3]
    assert len(task.validation) == 0


def test_parts_are_everything_dealt_out_at_random(make):
    source = make(4, examples=25)
    streams = [Stationary(source, 7).stream(seed) for seed in (1, 2)]
    for stream in streams:
        parts = [set(rows(task.train)) for task in stream.tasks]
        assert sorted(map(len, parts)) == [14] * 5 + [15] * 2
        assert set().union(*parts) == set(range(100))
        assert all(rows(task.test) == list(range(52)) for task in stream.tasks)
        assert [phase.completes for phase in stream.phases] == list(range(7))
        assert (stream.scenario, stream.outputs) == ("domain", 4)
    # Nobody's part is a run of rows, and members' parts differ.
    assert not torch.equal(streams[0].tasks[0].train, streams[1].tasks[0].train)
    assert len(streams[0].tasks[0].train.diff().unique()) > 2


def test_held_out_rows_are_a_share_of_each_part_and_of_no_other(make):
    tasks = Stationary(make(4, examples=25), 2, validation=0.2).stream(1).tasks
    assert [(len(task.train), len(task.validation)) for task in tasks] == [(40, 10), (40, 10)]
    assert sorted(r for task in tasks for part in (task.train, task.validation) for r in rows(part)) == list(range(100))


def test_labels_may_be_one_a_token():
    tokens, tags = torch.arange(12).view(4, 3), torch.tensor([[0, 1, -100]] * 4)
    source = Data("sentences", Examples(tokens, tags), Examples(tokens, tags), 2, "digest")
    assert Stationary(source, 2).stream(0).outputs == 2


def test_parts_can_be_met_again(make):
    stream = Reencounters(Stationary(make(4, examples=25), 5), "uniform").stream(0)
    assert [len(phase.examples) for phase in stream.phases] == [20, 30, 30, 30, 30]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 0}, r"environment\.tasks=0: expected a whole number from 1 on"),
        ({"tasks": 25}, r"environment\.tasks=25: expected at most 24, the training examples of made"),
        ({"validation": 1.0}, r"environment\.validation=1\.0"),
    ],
)
def test_options_out_of_range_are_refused(make, options, message):
    with pytest.raises(UserError, match=message):
        Stationary(make(4, examples=6), **options)


def test_only_sources_are_taken():
    with pytest.raises(UserError, match=r"environment\.source=None: expected a source"):
        Stationary(None)
