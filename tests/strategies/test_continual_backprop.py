"""Continual backpropagation, algorithm 1 of Dohare et al. 2024, worked by hand: utilities, maturity, which unit goes, when."""

from functools import partial

import pytest
import torch
from torch import tensor

from lab.errors import UserError
from lab.networks import CNN, MLP
from lab.optimizers import SGD, Adam
from lab.protocols import Batch, Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.continual_backprop import ContinualBackprop

THREE_UNITS = partial(MLP, (1, 8, 8), 4, width=3, depth=1)
OUTGOING = tensor([[1.0, 1, 4], [0, -1, -3], [0, 1, 2], [0, 0, 1]])
"""Of sizes 1, 3 and 10 a unit."""


def learner_with(strategy, seeds=(1, 2, 3)):
    learner = small_learner(list(seeds), THREE_UNITS, (strategy,), partial(SGD, momentum=0.9))
    learner.population.leaves["head/weight"].data.copy_(OUTGOING.expand(len(seeds), -1, -1))
    return learner


@torch.no_grad()
def step(learner, strategy, activations):
    """Two samples and padding, on which the second member rests."""
    members = learner.members
    weights = tensor([[1.0, 1, 0], [0, 0, 0], [1, 1, 0]])[:members]
    nothing = torch.zeros(members, 3, dtype=torch.int64)
    learner.activations = {"hidden.1": tensor(activations).expand(members, -1, -1)}
    strategy.after_step(learner, Batch(torch.zeros(members, 3, 1, 8, 8), nothing, nothing, nothing, 3, weights))
    learner.clock += 1


def test_a_case_worked_by_hand():
    """Three quarters of the old utility, one of mean |h| times the size of outgoing weights; a unit is safe for one step; each
    step a quarter of the mature units falls due. The second member rests, the third has a rate of 0."""
    strategy = ContinualBackprop(rate=[0.25, 0.25, 0], maturity=1, decay=0.75)
    learner = learner_with(strategy)
    leaves, before = learner.population.leaves, {n: v.detach().clone() for n, v in learner.population.leaves.items()}
    for leaf in leaves.values():
        learner.optimizer.state[leaf]["momentum"] = torch.ones_like(leaf)
    strategy.age_0[1], strategy.due[1] = 9, 1.5
    rest = [[1.0, -2, 0], [3, 2, 0], [99, 99, 99]]  # mean |h|: 2, 2, 0
    awake = [[1.0, -2, 1], [3, 2, -1], [99, 99, 99]]  # mean |h|: 2, 2, 1

    def held(member=0):
        return strategy.utility_0[member].tolist(), strategy.age_0[member].tolist(), float(strategy.due[member, 0])

    step(learner, strategy, rest)
    assert held() == ([0.5, 1.5, 0], [1, 1, 1], 0)
    step(learner, strategy, rest)
    assert held() == ([0.875, 2.625, 0], [2, 2, 2], 0.75)
    assert torch.equal(leaves["head/weight"], before["head/weight"])
    step(learner, strategy, awake)  # due: 1.5; utilities 1.15625, 3.46875, 2.5: the first unit goes
    assert held() == ([0, 3.46875, 2.5], [0, 3, 3], 0.5)
    step(
        learner, strategy, awake
    )  # the new one is the least useful, and safe; of the others, 4.1015625 and 4.375, the second goes
    assert held() == ([0, 0, 4.375], [1, 0, 4], 0)
    assert leaves["head/weight"][0].tolist() == [[0, 0, 4], [0, 0, -3], [0, 0, 2], [0, 0, 1]]
    for name in ("hidden/0/weight", "hidden/0/bias"):
        assert torch.equal(leaves[name][0, 2], before[name][0, 2])
        assert torch.isin(leaves[name][0], before[name][0]).all(), "drawn from what the member's layer began with"
        forgotten = learner.optimizer.state[leaves[name]]["momentum"][0]
        assert not forgotten[:2].any()
        assert forgotten[2].all()
    assert (leaves["hidden/0/weight"][0, :2] != before["hidden/0/weight"][0, :2]).float().mean() > 0.9
    assert learner.optimizer.state[leaves["head/weight"]]["momentum"][0].tolist() == [[0, 0, 1]] * 4
    assert learner.optimizer.state[leaves["head/bias"]]["momentum"].all()

    assert held(1) == ([0, 0, 0], [9, 9, 9], 1.5)
    assert held(2) == ([1.3671875, 4.1015625, 4.375], [4, 4, 4], 0)
    for name, value in leaves.items():
        assert torch.equal(value[1:], before[name][1:])
        assert learner.optimizer.state[value]["momentum"][1:].all()


def test_new_weights_are_drawn_anew_each_time_by_each_member():
    strategy = ContinualBackprop(rate=1, maturity=0)
    learner = learner_with(strategy, (1, 2))
    rows = set()
    for _ in range(4):
        step(learner, strategy, [[5.0, 5, 0]] * 3)
        rows |= {tuple(row) for row in learner.population.leaves["hidden/0/weight"][:, 2].tolist()}
    # The first member drew four times (after 0 outgoing weights its unit stays the least useful); the second rested.
    assert len(rows) == 5
    drawn = learner.population.leaves["hidden/0/weight"][0, 2]
    assert len(drawn.unique()) > 40, "each of its 64 weights by itself"


def test_where_no_unit_is_replaced_training_is_as_without():
    def trained(*strategies):
        learner = small_learner([3, 8], strategies=strategies, budget=Budget(4, epochs=2), optimizer=Adam)
        fit(learner)
        return learner.population.leaves

    plain, watched = trained(), trained(ContinualBackprop(maturity=1000))
    for name, value in plain.items():
        torch.testing.assert_close(watched[name], value, rtol=1e-5, atol=1e-7)


def test_units_go_at_the_rate_in_every_layer():
    """Of 16 units at most 2 are safe at a time, and the others fall due at .02 a step."""
    depth = 2
    network = partial(MLP, (1, 8, 8), 2, width=16, depth=depth)
    strategy = ContinualBackprop(rate=0.02, maturity=3)
    learner = small_learner([3], network, (strategy,), environment=Miniature("domain"), budget=Budget(4, steps=60))
    replaced, replace = [0] * depth, strategy._replace

    def counted(learner, n, unit, now):
        replaced[n] += int(now.sum())
        replace(learner, n, unit, now)

    strategy._replace = counted
    fit(learner)
    assert all(117 * 0.02 * 14 - 1 <= count <= 117 * 0.02 * 16 for count in replaced)


class Recorder(Strategy):
    """Keeps the gradients of every step."""

    def __init__(self):
        super().__init__()
        self.gradients = []

    def gradient(self, learner, batch):
        self.gradients.append({name: leaf.grad.clone() for name, leaf in learner.population.leaves.items()})


def test_adam_begins_anew_with_a_new_unit():
    """Adam's equations (Kingma & Ba 2015, algorithm 1) with a step count of each weight's own."""
    strategy, recorder = ContinualBackprop(rate=0), Recorder()
    environment, network = Miniature("domain", tasks=1, uneven=False), partial(MLP, (1, 8, 8), 2, width=5, depth=1)
    learner = small_learner([3, 8], network, (strategy, recorder), Adam, environment, Budget(4, steps=60), block=30)
    leaves = learner.population.leaves
    blocks = fit(learner, until=1)
    at = {"hidden/0/weight": (slice(None), 2), "hidden/0/bias": (slice(None), 2), "head/weight": (slice(None), slice(None), 2)}
    strategy.age_0[:, 2] = 0
    for name, index in at.items():
        for what in ("mean", "square"):
            learner.optimizer.state[leaves[name]][what][index] = 0
    before = {name: leaf.detach().clone() for name, leaf in leaves.items()}
    fit(learner, blocks)
    for name, leaf in leaves.items():
        value, mean, square = before[name].double(), 0, 0
        for k, gradients in enumerate(recorder.gradients[30:], 1):
            mean, square = 0.9 * mean + 0.1 * gradients[name], 0.999 * square + 0.001 * gradients[name] ** 2
            value = value - 1e-3 * (mean / (1 - 0.9**k)) / ((square / (1 - 0.999**k)).sqrt() + 1e-8)
        if name in at:
            torch.testing.assert_close(leaf[at[name]].double(), value[at[name]], rtol=1e-3, atol=2e-5)
        assert not torch.allclose(leaf.double(), value, rtol=1e-3, atol=2e-5), "others go on from what they had"


@pytest.mark.parametrize("network", [partial(CNN, (1, 8, 8), 4, channels=2, width=8), partial(MLP, (1, 8, 8), 4, depth=0)])
def test_other_networks_are_refused(network):
    with pytest.raises(UserError, match=r"^network: "):
        small_learner([1], network, (ContinualBackprop(),))


@pytest.mark.parametrize("options", [{"rate": -0.1}, {"rate": 2}, {"maturity": -1}, {"maturity": 1.5}, {"decay": 1}])
def test_what_cannot_be_is_refused(options):
    ((key, value),) = options.items()
    with pytest.raises(UserError, match=rf"strategy\.continual_backprop\.{key}={value}"):
        ContinualBackprop(**options)
