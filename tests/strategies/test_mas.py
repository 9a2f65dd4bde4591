"""Memory aware synapses: importances against autograd one sample at a time, and the gradient they add in a later task."""

from functools import partial

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import CNN, MLP
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.mas import MAS

from .two_tasks import accuracies, unprotected

SEEDS, STRENGTHS = [3, 8], [0.2, 3.0]
MAKES = {
    "linear": lambda outputs: MLP((1, 8, 8), outputs, width=7, depth=1, activation="tanh"),
    "convolution": lambda outputs: CNN((1, 8, 8), outputs, width=4),
}


def importances(network: nn.Module, inputs, units):
    """Of every parameter: the mean over samples of |d ||F(x)||^2 / d theta|, a sample at a time."""
    sums = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for x in inputs:
        length = (network(x.unsqueeze(0))[0, units] ** 2).sum()
        for total, gradient in zip(sums.values(), torch.autograd.grad(length, list(network.parameters())), strict=True):
            total += gradient.abs()
    return {name: total / len(inputs) for name, total in sums.items()}


class Noted(Strategy):
    """Each member's importances and parameters at the first two tasks' ends, and the gradients before and behind MAS."""

    def __init__(self, make):
        super().__init__()
        self.make, self.omegas, self.stars, self.pulls = make, [], None, []

    def end_task(self, learner, task):
        if task == 2:
            return
        self.omegas.append([self.of_member(learner, m, task) for m in range(2)])
        self.stars = [learner.population.member(m) for m in range(2)]

    def of_member(self, learner, m, task):
        network = self.make()
        network.load_state_dict(learner.population.member(m))
        own, data = learner.course.streams[m].tasks[task], learner.reader
        units = {"task": own.labels[own.labels >= 0], "domain": slice(None)}.get(learner.evaluation.scenario)
        if units is None:
            units = learner.evaluation.seen[task + 1, m] if learner.outputs == "seen" else slice(None)
        return importances(network, data.train_inputs[own.train].float() / 255, units)

    def gradient(self, learner, batch):
        """What MAS, listed before, has added is the gradient less that of the loss."""
        leaves = learner.population.leaves
        loss = (learner.cross_entropy(batch, learner.population(batch.inputs)) * batch.shares()).sum()
        of_loss = torch.autograd.grad(loss, list(leaves.values()))
        pulls = {n: leaf.grad - g for (n, leaf), g in zip(leaves.items(), of_loss, strict=True)}
        self.pulls.append((pulls, [learner.population.member(m) for m in range(2)]))


CASES = [("linear", "task", "all"), ("linear", "class", "seen"), ("linear", "domain", "all"), ("convolution", "class", "all")]


@pytest.mark.parametrize(("kind", "scenario", "outputs"), CASES)
def test_it_pulls_as_the_sum_of_both_old_tasks_importances_says(kind, scenario, outputs):
    make = partial(MAKES[kind], 2 if scenario == "domain" else 6)
    noted = Noted(make)
    learner = small_learner(
        SEEDS,
        make,
        (MAS(STRENGTHS), noted),
        environment=Miniature(scenario, tasks=3),
        budget=Budget(4, steps=6),
        outputs=outputs,
    )
    fit(learner)
    pulls, there = noted.pulls[-1]
    for m, strength in enumerate(STRENGTHS):
        for name, star in noted.stars[m].items():
            omega = sum(of_task[m][name] for of_task in noted.omegas)
            expected = 2 * strength * omega * (there[m][name] - star)
            got = pulls[name.replace(".", "/")][m]
            torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()) + 1e-6)
    for value in noted.pulls[0][0].values():  # in the first task
        torch.testing.assert_close(value, torch.zeros_like(value), rtol=0, atol=1e-6)


def test_the_first_task_is_protected_and_the_second_is_learnt():
    """Naive training keeps 72, 71 and 43 % of the digits, memory aware synapses 92, 86 and 75 %."""
    kept, learnt = accuracies(MAS(0.1))
    assert (kept > unprotected() + 0.1).all()
    assert (learnt > 0.7).all()


@pytest.mark.parametrize(
    ("options", "key"), [({"strength": -0.1}, "strategy.mas.strength=-0.1"), ({"samples": 0}, "strategy.mas.samples=0")]
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        MAS(**options)
