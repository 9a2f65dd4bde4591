"""A network for each task: each answers its own task as it did when it had learnt it, and knows nothing of the others."""

from functools import partial

import pytest
import torch

from lab.errors import UserError
from lab.networks import MLP
from lab.optimizers import Adam
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.joint import Joint
from strategies.separate import Separate

SEEDS = [3, 8]
SIX_UNITS = partial(MLP, (1, 8, 8), 6, width=16, depth=1)


def learner_with(*strategies, **options):
    environment, fast = Miniature("task", tasks=3), partial(Adam, lr=0.02)
    return small_learner(SEEDS, SIX_UNITS, strategies, fast, environment, Budget(4, steps=20), **options)


@pytest.mark.parametrize("stack", [True, False])
def test_each_network_answers_its_own_task_and_stays_as_it_was(stack):
    learner = learner_with(Separate(), stack=stack)
    networks, end = [], learner.end

    def watched(phase):
        networks.append({name: value.detach().clone() for name, value in learner.population.leaves.items()})
        end(phase)

    learner.end = watched
    fit(learner)
    inputs = torch.rand(2, 5, 1, 8, 8)
    for task, network in enumerate(networks):
        for m in range(2):
            own = {name: value[m] for name, value in network.items()}
            hidden = (inputs[m].flatten(1) @ own["hidden/0/weight"].T + own["hidden/0/bias"]).relu()
            expected = hidden @ own["head/weight"].T + own["head/bias"]
            told = torch.full((2, 1), task)
            torch.testing.assert_close(learner.predict(inputs, told)[m], expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_forgotten_and_nothing_transferred():
    learner = learner_with(Separate())
    fit(learner)
    R = learner.evaluation.accuracy
    for task in range(3):
        assert (R[:, task + 1 :, task] == R[:, task + 1, task].unsqueeze(1)).all()
        assert (R[:, : task + 1, task] == R[:, 0, task].unsqueeze(1)).all(), "before it is met: an untrained network"
    assert (R[:, 3].mean(1) > R[:, 0].mean(1)).all()
    assert learner.evaluation.accuracy_without_task.isnan().all(), "the identity is what chooses the network"
    assert {float(state["count"][0]) for state in learner.optimizer.state.values()} == {20.0}


def test_inside_a_task_the_network_in_training_answers():
    learner = learner_with(Separate(), curves=5)
    fit(learner)
    for task in range(3):
        first, last = (learner.evaluation.steps.index(20 * task + step) for step in (0, 20))
        curve = learner.evaluation.curves[:, :, task]
        assert (curve[:, first] < curve[:, first + 2]).any(), "it learns"
        assert (curve[:, : first + 1] == curve[:, :1]).all(), "and stays the same before it is trained"
        assert (curve[:, last:] == curve[:, last:][:, :1]).all(), "and after"


def test_networks_are_announced_and_counted():
    assert "8 networks of 1000 parameters for each task: 32,000 bytes a task" in Separate().announcement(8, 1000)
    learner = learner_with(Separate())
    parameters = sum(leaf.numel() for leaf in learner.population.leaves.values())
    assert 0 <= learner.strategies[0].state_bytes() - 3 * 4 * parameters <= 100


@pytest.mark.parametrize("strategies", [(Separate(), Joint()), (Joint(), Separate())])
def test_tasks_that_are_mixed_are_refused(strategies):
    with pytest.raises(UserError, match=r"^strategy: separate trains a network on one task at a time"):
        learner_with(*strategies)
