import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from environments.blurry import Blurry
from environments.permuted import Permuted
from environments.split import Split
from lab.errors import UserError


def foreign(stream) -> list[float]:
    """The share of each phase's examples that belong to another task."""
    return [float((phase.tasks != k).float().mean()) for k, phase in enumerate(stream.phases)]


@given(
    tasks=st.integers(2, 5),
    examples=st.integers(1, 20),
    share=st.floats(0, 0.5),
    mixture=st.sampled_from(["uniform", "gradual"]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_every_example_is_met_once_as_of_its_own_task(make, tasks, examples, share, mixture, seed):
    base = Permuted(make(2, examples=examples), tasks)
    stream = Blurry(base, share, mixture).stream(seed)
    met = sorted(pair for p in stream.phases for pair in zip(p.tasks.tolist(), p.examples.tolist(), strict=True))
    assert met == [(t, row) for t in range(tasks) for row in range(2 * examples)]
    assert [phase.completes for phase in stream.phases] == list(range(tasks))
    assert not any(phase.announced for phase in stream.phases)
    assert all(phase.ordered == (mixture == "gradual") for phase in stream.phases)


def test_uniform_deals_the_share_out_evenly(make):
    stream = Blurry(Split(make(8, examples=25), 4), 0.24).stream(1)  # 50 examples a task: 12 leave, 4 for each other phase
    counts = [[int((phase.tasks == t).sum()) for t in range(4)] for phase in stream.phases]
    assert counts == [[38 if t == k else 4 for t in range(4)] for k in range(4)]
    assert foreign(Blurry(Split(make(8), 4), 0.0).stream(1)) == [0] * 4


def test_gradual_mixes_neighbours_alone_and_most_at_the_boundary(make):
    share, size, tasks = 0.3, 2000, 3
    stream = Blurry(Permuted(make(2, examples=size // 2), tasks), share, "gradual").stream(0)
    assert [len(phase.examples) for phase in stream.phases] == [size] * tasks
    assert not (stream.phases[0].tasks == 2).any()
    assert not (stream.phases[2].tasks == 0).any()
    assert np.allclose(foreign(stream), [share / 2, share, share / 2], atol=0.03)
    # Beyond a boundary the earlier task's part is (w - d) / 2w at distance d, w = 2 share of a task.
    earlier = (stream.phases[1].tasks == 0).float()
    width = 2 * share
    for d in (0.05, 0.15, 0.3, 0.45):
        window = earlier[int((d - 0.05) * size) : int((d + 0.05) * size)]
        assert abs(window.mean() - (width - d) / (2 * width)) < 0.1
    assert earlier[int((width + 0.05) * size) :].sum() == 0


def test_members_have_mixtures_of_their_own(make):
    for mixture in ("uniform", "gradual"):
        blurry = Blurry(Split(make(4, examples=10), 2, class_order="sorted"), 0.4, mixture)
        one, again, other = (torch.cat([p.examples for p in blurry.stream(seed).phases]) for seed in (0, 0, 1))
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"share": 1}, r"environment\.share=1"),
        ({"share": -0.1}, r"environment\.share=-0\.1"),
        ({"share": "all"}, r"environment\.share=all"),
        ({"mixture": "sharp"}, r"environment\.mixture=sharp: expected one of uniform, gradual"),
        ({"mixture": "gradual", "share": 0.6}, r"environment\.share=0\.6: expected at most 0\.5"),
    ],
)
def test_options_out_of_range_are_refused(make, options, key):
    with pytest.raises(UserError, match=key):
        Blurry(Split(make(), 2), **options)


def test_one_task_has_nothing_to_mix_with(make):
    with pytest.raises(UserError, match=r"environment\.base\.tasks=1: expected at least 2"):
        Blurry(Split(make(), 1)).stream(0)
