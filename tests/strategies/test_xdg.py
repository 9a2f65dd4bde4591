"""Context-dependent gating: how many units are off, and that they are off, in training and evaluation."""

from functools import partial

import pytest
import torch

from lab.errors import UserError
from lab.networks import CNN, MLP, SlimResNet18
from lab.optimizers import SGD
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.xdg import XdG

SEEDS = [3, 8]
TWO_LAYERS = partial(MLP, (1, 8, 8), 6, width=20, depth=2)


def learner_with(strategy, make=TWO_LAYERS, **options):
    environment = Miniature("task", tasks=3)
    return small_learner(SEEDS, make, (strategy,), environment=environment, budget=Budget(4, steps=8), **options)


def test_the_share_is_off_and_other_units_for_each_task_layer_and_member():
    strategy = XdG(gated=[0.8, 0.33])
    learner_with(strategy)
    masks = [strategy.on_0, strategy.on_1]
    for mask in masks:
        assert mask.shape == (2, 3, 20)
        assert mask.sum(2).tolist() == [[4] * 3, [13] * 3]
    assert len({tuple(row) for mask in masks for row in mask.flatten(0, 1).tolist()}) == 12


def test_one_unit_of_a_layer_stays_on():
    strategy = XdG(gated=1)
    learner_with(strategy)
    assert (strategy.on_0.sum(2) == 1).all()


def by_hand(learner, inputs, masks):
    """What the networks answer with hidden units switched by ``masks`` [layer][M, B, units]."""
    leaves, x = learner.population.leaves, inputs.flatten(2)
    for layer, mask in zip(("hidden/0", "hidden/2"), masks, strict=True):
        x = (x @ leaves[f"{layer}/weight"].mT + leaves[f"{layer}/bias"].unsqueeze(1)).relu() * mask
    return x @ leaves["head/weight"].mT + leaves["head/bias"].unsqueeze(1)


@pytest.mark.parametrize("stack", [True, False])
def test_answers_are_those_of_the_units_that_are_on(stack):
    strategy = XdG(gated=0.5)
    learner, inputs = learner_with(strategy, stack=stack), torch.rand(2, 5, 1, 8, 8)
    mixed = torch.tensor([[0, 1, 2, 0, 1], [2, 2, 0, 1, 1]])
    for tasks in (mixed, torch.tensor([[1], [2]])):
        rows = tasks.expand(2, 5)
        masks = [torch.stack([mask[m, rows[m]] for m in range(2)]) for mask in (strategy.on_0, strategy.on_1)]
        torch.testing.assert_close(learner.logits(inputs, tasks), by_hand(learner, inputs, masks), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(learner.logits(inputs, None), by_hand(learner, inputs, [1, 1]), rtol=1e-4, atol=1e-5)


def test_a_task_trains_none_of_the_units_that_it_does_not_use():
    strategy = XdG()
    learner = learner_with(strategy, optimizer=partial(SGD, lr=0.5))
    before = {name: value.detach().clone() for name, value in learner.population.leaves.items()}
    fit(learner, until=2)  # two blocks of four steps: the first task
    assert learner.clock.tolist() == [8, 8]
    changed = {name: (value != before[name]) for name, value in learner.population.leaves.items()}
    for layer, mask in (("hidden/0", strategy.on_0), ("hidden/2", strategy.on_1)):
        assert not changed[f"{layer}/bias"][~mask[:, 0]].any()
        assert not changed[f"{layer}/weight"][~mask[:, 0]].any()
        assert changed[f"{layer}/bias"].any(1).all()
    assert not changed["head/weight"].mT[~strategy.on_1[:, 0]].any()


def test_accuracy_without_the_task_is_that_of_all_units():
    learner = learner_with(XdG(), optimizer=partial(SGD, lr=0.2))
    fit(learner)
    tasks = [stream.tasks[1] for stream in learner.course.streams]
    for m, task in enumerate(tasks):
        data = learner.reader
        inputs, classes = data.test_inputs[task.test] / 255, data.test_targets[task.test]
        answers = by_hand(learner, inputs.expand(2, *inputs.shape), [1, 1])[m].argmax(1)
        expected = (answers == task.labels[classes]).float().mean()
        assert learner.evaluation.accuracy_without_task[m, 3, 1] == pytest.approx(float(expected))


def test_feature_maps_are_not_gated():
    strategy = XdG()
    learner_with(strategy, partial(CNN, (1, 8, 8), 6, channels=2, width=10))
    assert list(strategy.layers.values()) == [10]


@pytest.mark.parametrize("network", [partial(SlimResNet18, (1, 8, 8), 6, filters=2), partial(MLP, (1, 8, 8), 6, depth=0)])
def test_a_network_without_hidden_units_is_refused(network):
    with pytest.raises(UserError, match=r"^network: "):
        learner_with(XdG(), network)


@pytest.mark.parametrize("gated", [-0.1, 1.5, "most"])
def test_what_cannot_be_is_refused(gated):
    with pytest.raises(UserError, match=rf"strategy\.xdg\.gated={gated}"):
        XdG(gated)
