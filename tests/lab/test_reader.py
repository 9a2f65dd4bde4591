"""What the network is shown and what it should answer, against one example at a time."""

import pytest
import torch

from lab.errors import UserError
from lab.protocols import Data, Examples, Stream, Task, phase_per_task
from lab.reader import Reader
from lab.testing import OneDevice
from lab.testing.device import move, to_meta


def shifted(inputs, table, tasks):
    """A view that adds each task's number."""
    members = torch.arange(len(table)).unsqueeze(1)
    return inputs + table[members, tasks][..., None].to(inputs.dtype)


def data_of(inputs, targets, classes):
    examples = Examples(inputs, targets)
    return Data("made", examples, Examples(inputs.flip(0), targets.flip(0)), classes, "digest")


def stream_of(labels, views=None, **options):
    rows, views = torch.arange(2), views or [None] * len(labels)
    tasks = tuple(
        Task(rows, rows, torch.tensor(own), view=None if view is None else torch.tensor(view))
        for own, view in zip(labels, views, strict=True)
    )
    return Stream(tasks, phase_per_task(tasks), "class", 1 + max(max(own) for own in labels), **options)


FLOATS = torch.arange(12.0).view(6, 2)
TARGETS = torch.tensor([0, 1, 2, 0, 1, 2])


def test_each_member_sees_its_own_tasks():
    streams = [
        stream_of([[0, -1, 1], [-1, 2, 3]], [10, 20], view=shifted),
        stream_of([[3, 2, 1], [0, 0, 0]], [30, 40], view=shifted),
    ]
    reader = Reader(data_of(FLOATS, TARGETS, 3), streams)
    examples, tasks = torch.tensor([[0, 1, 2, 5], [3, 4, 5, 0]]), torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    inputs, targets = reader.read(examples, tasks)
    for m, stream in enumerate(streams):
        for b in range(4):
            row, task = int(examples[m, b]), stream.tasks[tasks[m, b]]
            assert torch.equal(inputs[m, b], FLOATS[row] + task.view)
            unit = int(task.labels[TARGETS[row]])
            assert targets[m, b] == (unit if unit >= 0 else -100)


def test_one_task_for_the_whole_batch_is_the_same_as_one_for_each_sample():
    reader = Reader(data_of(FLOATS, TARGETS, 3), [stream_of([[0, -1, 1], [-1, 2, 3]], [10, 20], view=shifted)] * 2)
    examples, tasks = torch.tensor([[0, 1, 2], [3, 4, 5]]), torch.tensor([[1], [0]])
    for short, long in zip(reader.read(examples, tasks), reader.read(examples, tasks.expand(2, 3)), strict=True):
        assert torch.equal(short, long)
    assert torch.equal(reader.units_of(tasks).expand(2, 3, 4), reader.units_of(tasks.expand(2, 3)))


def test_bytes_become_numbers_between_0_and_1_and_test_data_are_others():
    pixels = torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8)
    reader = Reader(data_of(pixels, torch.tensor([0, 1]), 2), [stream_of([[0, 1]])])
    rows, tasks = torch.tensor([[0, 1]]), torch.zeros(1, 1, dtype=torch.int64)
    torch.testing.assert_close(reader.read(rows, tasks)[0][0], torch.tensor([[0.0, 1.0], [0.2, 0.4]]))
    inputs, targets = reader.read(rows, tasks, "test")
    torch.testing.assert_close(inputs[0], torch.tensor([[0.2, 0.4], [0.0, 1.0]]))
    assert targets.tolist() == [[1, 0]]


def test_a_label_per_token_keeps_what_has_none():
    tokens, tags = torch.tensor([[1, 2, 3], [4, 5, 6]]), torch.tensor([[0, 1, -100], [2, -100, -100]])
    reader = Reader(data_of(tokens, tags, 3), [stream_of([[1, 2, -1]])])
    inputs, targets = reader.read(torch.tensor([[0, 1]]), torch.zeros(1, 1, dtype=torch.int64))
    assert inputs.dtype == torch.int64
    assert targets.tolist() == [[[1, 2, -100], [-100, -100, -100]]]


def test_targets_alone_for_several_steps():
    reader = Reader(data_of(FLOATS, TARGETS, 3), [stream_of([[0, -1, 1], [-1, 2, 3]]), stream_of([[3, 2, 1], [0, 0, 0]])])
    examples = torch.randint(6, (2, 4, 5))
    for tasks in (torch.randint(2, (2, 4, 5)), torch.randint(2, (2, 4, 1))):
        targets = reader.targets_of(examples, tasks)
        for s in range(4):
            assert torch.equal(targets[:, s], reader.read(examples[:, s], tasks[:, s])[1])
    tags = torch.tensor([[0, 1, -100], [2, -100, -100]])
    reader = Reader(data_of(torch.tensor([[1, 2, 3], [4, 5, 6]]), tags, 3), [stream_of([[1, 2, -1]])])
    assert reader.targets_of(torch.tensor([[[0], [1]]]), torch.zeros(1, 2, 1).long()).tolist() == [
        [[[1, 2, -100]], [[-100, -100, -100]]]
    ]


def test_units_of_a_task():
    reader = Reader(data_of(FLOATS, TARGETS, 3), [stream_of([[0, -1, 1], [-1, 2, 3]])])
    assert reader.units_of(torch.tensor([[0, 1]])).int().tolist() == [[[1, 1, 0, 0], [0, 0, 1, 1]]]


def test_training_inputs_alone_are_augmented():
    stream = stream_of([[0, 1, 2]], augment=lambda inputs, noise: inputs * noise[..., :1])
    reader = Reader(data_of(FLOATS, TARGETS, 3), [stream])
    rows, tasks = torch.tensor([[1, 2]]), torch.zeros(1, 1, dtype=torch.int64)
    noise = torch.full((1, 2, 4), 0.5)
    assert torch.equal(reader.read(rows, tasks, noise=noise)[0][0], FLOATS[1:3] / 2)
    assert torch.equal(reader.read(rows, tasks)[0][0], FLOATS[1:3])


def test_data_are_not_saved_in_checkpoints():
    assert Reader(data_of(FLOATS, TARGETS, 3), [stream_of([[0, 1, 2]])]).state_dict() == {}


def test_members_with_unlike_streams_are_refused():
    with pytest.raises(UserError, match="must agree in the number of tasks"):
        Reader(data_of(FLOATS, TARGETS, 3), [stream_of([[0, 1, 2]]), stream_of([[0, 1, 2], [0, 1, 2]])])


def test_reading_never_waits_for_the_device():
    reader = Reader(data_of(FLOATS, TARGETS, 3), [stream_of([[0, -1, 1], [-1, 2, 3]])] * 2)
    move(reader, to_meta)
    examples = torch.zeros(2, 5, dtype=torch.int64, device="meta")
    with OneDevice():
        inputs, targets = reader.read(examples, examples)
        reader.units_of(examples[:, :1])
    assert inputs.shape == (2, 5, 2)
    assert targets.shape == (2, 5)
