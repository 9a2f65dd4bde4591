import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.tasks import hold_out, repeated_labels

ROWS = st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True)


@given(rows=ROWS, share=st.floats(0, 0.99), seed=st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_held_out_rows_are_a_share_apart(rows, share, seed):
    train, held = hold_out(torch.tensor(rows), share, seed, 2)
    assert sorted(train.tolist() + held.tolist()) == sorted(rows)
    assert train.tolist() == sorted(train.tolist())
    assert held.tolist() == sorted(held.tolist())
    assert len(train) >= 1
    if len(rows) > 1:
        assert (len(held) > 0) == (share > 0)
        assert abs(len(held) - share * len(rows)) <= 1


def test_held_out_rows_follow_seed_and_task():
    rows = torch.arange(50)
    drawn = {tuple(hold_out(rows, 0.2, seed, task)[1].tolist()) for seed in (0, 1) for task in (0, 1)}
    assert len(drawn) == 4
    assert torch.equal(hold_out(rows, 0.2, 1, 1)[1], hold_out(rows, 0.2, 1, 1)[1])


def test_repeated_labels():
    maps, outputs = repeated_labels(3, 2, "domain")
    assert ([m.tolist() for m in maps], outputs) == ([[0, 1, 2], [0, 1, 2]], 3)
    for scenario in ("task", "class"):
        maps, outputs = repeated_labels(3, 2, scenario)
        assert ([m.tolist() for m in maps], outputs) == ([[0, 1, 2], [3, 4, 5]], 6)
