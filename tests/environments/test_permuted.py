import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.permuted import Permuted, permute
from lab.errors import UserError


@given(
    members=st.integers(1, 3),
    batch=st.integers(1, 4),
    tasks=st.integers(1, 3),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    mixed=st.booleans(),
    dtype=st.sampled_from([torch.uint8, torch.float32, torch.int64]),
)
@settings(max_examples=40, deadline=None)
def test_permute_is_indexing(members, batch, tasks, shape, mixed, dtype):
    size = torch.Size(shape).numel()
    inputs = torch.randint(0, 256, (members, batch, *shape)).to(dtype)
    table = torch.stack([torch.stack([torch.randperm(size) for _ in range(tasks)]) for _ in range(members)])
    which = torch.randint(0, tasks, (members, batch if mixed else 1))
    shown = permute(inputs, table, which)
    assert (shown.dtype, shown.shape) == (inputs.dtype, inputs.shape)
    for m in range(members):
        for b in range(batch):
            order = table[m, which[m, b if mixed else 0]]
            assert torch.equal(shown[m, b].flatten(), inputs[m, b].flatten()[order])


def test_tasks_and_members_have_permutations_of_their_own(make):
    tables = [[task.view for task in Permuted(make(), 3).stream(seed).tasks] for seed in (0, 1)]
    drawn = [tuple(view.tolist()) for table in tables for view in table]
    assert len(set(drawn)) == 6
    assert all(sorted(view) == list(range(16)) for view in drawn)


def test_tokens_and_features_can_be_permuted(make):
    for dtype in (torch.int64, torch.float32):
        assert len(Permuted(make(shape=(7,), dtype=dtype), 2).stream(0).tasks[0].view) == 7


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"tasks": 0}, r"environment\.tasks=0"),
        ({"tasks": True}, r"environment\.tasks=True"),
        ({"scenario": "all"}, r"environment\.scenario=all"),
        ({"validation": "half"}, r"environment\.validation=half"),
        ({"shared": 1}, r"environment\.shared=1"),
    ],
)
def test_options_out_of_range_are_refused(make, options, key):
    with pytest.raises(UserError, match=key):
        Permuted(make(), **options)
