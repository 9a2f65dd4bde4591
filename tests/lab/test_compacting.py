"""A checkpoint cut down to some of the members holds what is theirs, as it lay in memory, and what is nobody's."""

from types import SimpleNamespace

import pytest
import torch

from lab.compacting import cut
from lab.errors import UserError
from lab.testing import Subject
from lab.testing.miniature import checkpoint, fit, restored


def few(members, **state):
    return SimpleNamespace(places=(members, 9), state_dict=lambda: state)


def test_every_axis_of_members_is_cut_and_nothing_else():
    """By hand: of members 2, 5, 6 and 8 of a run those numbered 8 and 5, in this order."""
    weights = torch.arange(24.0).view(4, 2, 3).mT  # [M, 3, 2], transposed in memory
    state = {"weights": weights, "ring": torch.arange(8).view(2, 4), "everyones": torch.ones(3)}
    momentum = {0: {"momentum": weights + 1, "count": torch.tensor([0.0, 1, 2, 3])}}
    saved = {
        "state_dict": state,
        "optimizer_states": [{"state": momentum, "param_groups": [7]}],
        "members": [2, 5, 6, 8],
        "step": 3,
    }
    left = few([8, 5], weights=torch.empty(2, 3, 2), ring=torch.empty(2, 2), everyones=torch.empty(3))
    made = cut(saved, left)
    assert torch.equal(made["state_dict"]["weights"], weights[[3, 1]])
    assert made["state_dict"]["weights"].stride() == weights.stride(), "kernels go by where numbers lie"
    assert made["state_dict"]["ring"].tolist() == [[3, 1], [7, 5]]
    assert torch.equal(made["state_dict"]["everyones"], state["everyones"])
    (optimizer,) = made["optimizer_states"]
    assert torch.equal(optimizer["state"][0]["momentum"], weights[[3, 1]] + 1)
    assert optimizer["state"][0]["count"].tolist() == [3, 1]
    assert (optimizer["param_groups"], made["step"], made["members"]) == ([7], 3, [8, 5])


def test_a_buffer_that_is_as_wide_as_the_longest_of_those_who_are_there_is_told_of():
    saved = {"state_dict": {"met": torch.ones(3, 9)}, "optimizer_states": [], "members": [0, 1, 2]}
    with pytest.raises(RuntimeError, match=r"cut from met: it has shape \[3, 9\], and \[2, 7\] for 2 members; pad to"):
        cut(saved, few([0, 2], met=torch.ones(2, 7)))


def test_a_checkpoint_says_whose_it_is():
    """As many members, but others."""
    subject = Subject.of("strategy=naive")
    learner, others = (subject.learner([3, 11, 4], left=left) for left in ([0, 1], [0, 2]))
    saved = {}
    learner.on_save_checkpoint(saved)
    with pytest.raises(UserError, match=r"of members \[0, 1\] of the run, not of \[0, 2\]"):
        others.on_load_checkpoint(saved)


@pytest.mark.parametrize(
    "words",
    [
        (
            "strategy=[er,ewc]",
            "strategy.ewc.strength=[1,2,3,4,5]",
            "optimizer=adamw",
            "optimizer.lr=[.01,.02,.01,.005,.02]",
            "clip=0.5",
        ),
        ("strategy=naive", "averaging=sma", "averaging.snapshots=2", "schedule=wsd", "network.dropout=0.3"),
        ("strategy=er", "averaging=iterates", "averaging.every=2", "evaluation.every=3", "evaluation.loss=true"),
        ("strategy=naive", "network=slim_resnet18", "network.filters=3"),
    ],
    ids=["settings of each", "snapshots and a schedule", "iterates and curves", "running statistics"],
)
def test_who_is_left_goes_on_with_the_same_bits(words):
    """Whatever else a learner holds: of five three go on after the first task's end, and two of these after the next block."""
    subject, seeds = Subject.of(*words), [3, 11, 4, 8, 5]
    learners = [subject.learner(seeds, left=left) for left in (None, [1, 3, 4], [1, 4])]
    whole = subject.learner(seeds)
    spans = fit(whole).course.spans
    ends = [number + 1 for number, span in enumerate(spans) if span.ends]
    blocks = fit(learners[0], until=ends[0])
    blocks = fit(learners[1], restored(learners[1], checkpoint(learners[0], blocks)), until=1)
    fit(learners[2], restored(learners[2], checkpoint(learners[1], blocks)))
    saved = {"state_dict": whole.state_dict(), "optimizer_states": [whole.optimizer.state_dict()]}
    whole.on_save_checkpoint(saved)
    for name, value in cut(saved, learners[2])["state_dict"].items():
        torch.testing.assert_close(learners[2].state_dict()[name], value, rtol=0, atol=0, equal_nan=True)
