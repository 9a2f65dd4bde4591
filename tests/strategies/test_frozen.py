"""Trained on the first task alone: not a bit changes behind it, whatever the optimiser."""

from functools import partial

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import CNN
from lab.optimizers import SGD, AdamW
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.frozen import Frozen

NETWORK = partial(CNN, (1, 8, 8), 2, channels=3, width=8, norm="batch")
MOMENTUM = partial(SGD, momentum=0.9, weight_decay=0.1)


def learner_with(*strategies, make=NETWORK, optimizer=MOMENTUM):
    environment = Miniature("domain", tasks=3)
    return small_learner([3, 8], make, strategies, optimizer, environment, Budget(4, steps=5), block=2)


def held_after_each_task(learner):
    """Parameters and running statistics; before training first."""
    kept, end = [{n: v.detach().clone() for n, v in learner.population.held().items()}], learner.end

    def watched(phase):
        end(phase)
        kept.append({n: v.detach().clone() for n, v in learner.population.held().items()})

    learner.end = watched
    fit(learner)
    return kept


@pytest.mark.parametrize("optimizer", [MOMENTUM, partial(AdamW, weight_decay=0.1)])
def test_nothing_changes_after_the_first_task(optimizer):
    before, *after = held_after_each_task(learner_with(Frozen(), optimizer=optimizer))
    assert any("running_mean" in name for name in before)
    for name, value in after[0].items():
        assert not torch.equal(value, before[name]), "the first task is learnt"
        assert torch.equal(value, after[1][name])
        assert torch.equal(value, after[2][name])


def test_the_head_may_go_on_learning():
    _, *after = held_after_each_task(learner_with(Frozen(head=True)))
    for name, value in after[0].items():
        assert torch.equal(value, after[2][name]) == (not name.startswith("head/"))


def test_the_first_task_is_learnt_as_by_plain_gradient_descent():
    plain, *frozen = learner_with(), learner_with(Frozen()), learner_with(Frozen(head=True))
    for learner in (plain, *frozen):
        fit(learner, until=3)  # blocks of 2, 2 and 1 steps
        assert learner.clock.tolist() == [5, 5]
    for name, value in plain.population.held().items():
        assert all(torch.equal(learner.population.held()[name], value) for learner in frozen)


def test_a_network_without_a_head_and_other_words_are_refused():
    def headless():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))

    learner_with(Frozen(), make=headless)
    with pytest.raises(UserError, match=r"strategy\.frozen\.head=True: expected false"):
        learner_with(Frozen(head=True), make=headless)
    with pytest.raises(UserError, match=r"strategy\.frozen\.head=1"):
        Frozen(head=1)
