import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.split import Split
from lab.errors import UserError
from lab.protocols import SCENARIOS, Data, Examples


@given(classes=st.integers(1, 12), seed=st.integers(0, 2**32), scenario=st.sampled_from(SCENARIOS), d=st.data())
@settings(max_examples=40, deadline=None)
def test_every_class_is_in_exactly_one_task(make, classes, seed, scenario, d):
    possible = [t for t in range(1, classes + 1) if scenario != "domain" or classes % t == 0]
    tasks, validation = d.draw(st.sampled_from(possible)), d.draw(st.sampled_from([0.0, 0.1, 0.9]))
    data = make(classes)
    stream = Split(data, tasks, scenario, validation=validation).stream(seed)
    assert len(stream.tasks) == tasks
    groups = [set(torch.nonzero(task.labels >= 0).flatten().tolist()) for task in stream.tasks]
    assert sum(map(len, groups)) == classes
    assert set().union(*groups) == set(range(classes))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    for task, group in zip(stream.tasks, groups, strict=True):
        held = torch.cat([task.train, task.validation])
        assert sorted(held.tolist()) == [row for row, y in enumerate(data.train.targets.tolist()) if y in group]
        assert task.test.tolist() == [row for row, y in enumerate(data.test.targets.tolist()) if y in group]
        units = sorted(task.labels[sorted(group)].tolist())
        assert units == (list(range(len(group))) if scenario == "domain" else sorted(group))


def test_classes_come_in_the_order_that_is_given(make):
    stream = Split(make(4), 2, class_order=[3, 0, 2, 1]).stream(9)
    assert [task.labels.tolist() for task in stream.tasks] == [[0, -1, -1, 3], [-1, 1, 2, -1]]
    told_apart = Split(make(4), 2, "domain", class_order=[3, 0, 2, 1]).stream(9)
    assert [task.labels.tolist() for task in told_apart.tasks] == [[1, -1, -1, 0], [-1, 1, 0, -1]]
    assert told_apart.outputs == 2
    assert [task.labels.max().item() for task in Split(make(4), 4, class_order="sorted").stream(1).tasks] == [0, 1, 2, 3]


def test_an_uneven_split_gives_the_first_tasks_more(make):
    stream = Split(make(5), 2, class_order="sorted").stream(0)
    assert [task.labels.tolist() for task in stream.tasks] == [[0, 1, 2, -1, -1], [-1, -1, -1, 3, 4]]


def test_members_have_orders_of_their_own(make):
    split = Split(make(10), 5)
    assert len({tuple(split.stream(seed).tasks[0].labels.tolist()) for seed in range(8)}) > 4


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"tasks": 5}, r"environment\.tasks=5: expected at most 4"),
        ({"tasks": 0}, r"environment\.tasks=0"),
        ({"tasks": -2}, r"environment\.tasks=-2"),
        ({"tasks": 2.0}, r"environment\.tasks=2\.0"),
        ({"tasks": "two"}, r"environment\.tasks=two"),
        ({"tasks": 3, "scenario": "domain"}, r"environment\.tasks=3: expected a divisor of the 4 classes"),
        ({"tasks": 2, "scenario": "klass"}, r"environment\.scenario=klass: expected one of class, task, domain"),
        ({"tasks": 2, "validation": -0.1}, r"environment\.validation=-0\.1"),
        ({"tasks": 2, "validation": 1}, r"environment\.validation=1"),
        ({"tasks": 2, "validation": float("nan")}, r"environment\.validation=nan"),
        ({"tasks": 2, "class_order": [0, 1]}, r"environment\.class_order"),
        ({"tasks": 2, "class_order": [0, 1, 2, 2]}, r"environment\.class_order"),
        ({"tasks": 2, "class_order": 3}, r"environment\.class_order=3"),
        ({"tasks": 2, "class_order": "0123"}, r"environment\.class_order=0123"),
        ({"tasks": 2, "class_order": [0, None, 1, 2]}, r"environment\.class_order"),
        ({"tasks": 2, "shared": "no"}, r"environment\.shared=no: expected true or false"),
        ({"tasks": 2, "augment": "mixup"}, r"environment\.augment=mixup: expected one of crop, flip, crop_flip"),
        ({"tasks": 2, "padding": -1}, r"environment\.padding=-1"),
    ],
)
def test_options_out_of_range_are_refused(make, options, key):
    with pytest.raises(UserError, match=key):
        Split(make(4), **options)


def test_sources_that_cannot_be_split_are_refused(make):
    tagged = make(4)
    tokens = Examples(torch.zeros(8, 3, dtype=torch.int64), torch.arange(24).view(8, 3) % 4)
    with pytest.raises(UserError, match=r"environment\.source=tags: expected a source with one label an example"):
        Split(Data("tags", tokens, tokens, 4, ""), 2)
    untested = Examples(tagged.test.inputs, tagged.test.targets.clamp(max=2))
    with pytest.raises(UserError, match=r"environment\.source=gap: class 3 has no test example"):
        Split(Data("gap", tagged.train, untested, 4, ""), 2)
    with pytest.raises(UserError, match=r"environment\.source=None"):
        Split(None, 2)
    with pytest.raises(UserError, match=r"environment\.augment=crop: expected null"):
        Split(make(4, shape=(16,)), 2, augment="crop")
