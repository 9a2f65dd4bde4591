"""Synaptic intelligence, all members at once, against one member at a time in plain torch, in float64."""

import copy

import pytest
import torch
from torch.nn import functional as F

from lab.errors import UserError
from lab.networks import MLP
from lab.optimizers import SGD, Adam
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.si import SI

from .two_tasks import accuracies, unprotected

SEEDS, STRENGTHS, XI, TASKS = [3, 8], [1.0, 5.0], 1e-4, 3


def make():
    return MLP((1, 8, 8), 2 * TASKS, width=6, depth=1)


def plainly(network, optimizer, steps, c, xi, total, clamp):
    """Train on ``steps``, a list of (inputs, targets) for each task: eq. 3, 4 and 5 as loops over parameters."""
    parameters = list(network.parameters())
    omegas = [torch.zeros_like(p) for p in parameters]
    importances = [torch.zeros_like(p) for p in parameters]
    stars = [p.detach().clone() for p in parameters]
    for task in steps:
        for inputs, targets in task:
            before = [p.detach().clone() for p in parameters]
            loss = F.cross_entropy(network(inputs), targets)
            penalty = sum((i * (p - s) ** 2).sum() for i, p, s in zip(importances, parameters, stars, strict=True))
            of_loss = torch.autograd.grad(loss, parameters, retain_graph=True)
            of_all = torch.autograd.grad(loss + c * penalty, parameters)
            for parameter, gradient in zip(parameters, of_all, strict=True):
                parameter.grad = gradient
            optimizer.step()
            for k, parameter in enumerate(parameters):
                gradient = of_all[k] if total else of_loss[k]
                omegas[k] -= gradient * (parameter.detach() - before[k])
        for k, parameter in enumerate(parameters):
            importances[k] += omegas[k] / ((parameter.detach() - stars[k]) ** 2 + xi)
            if clamp:
                importances[k].clamp_(min=0)
            omegas[k].zero_()
            stars[k] = parameter.detach().clone()


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize(("path", "clamp"), [("loss", True), ("loss", False), ("total", False)])
@pytest.mark.parametrize("kind", ["adam", "momentum"])
def test_three_tasks_one_member_at_a_time(kind, path, clamp, stack):
    ours, theirs = {
        "adam": (lambda p: Adam(p, lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
        "momentum": (lambda p: SGD(p, lr=0.02, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9)),
    }[kind]
    strategy = SI(STRENGTHS, xi=XI, path=path, clamp=clamp)
    learner = small_learner(
        SEEDS, make, (strategy,), ours, Miniature(tasks=TASKS), Budget(4, steps=24), stack, torch.float64
    )  # fmt: skip
    networks, steps = [], [[[] for _ in range(TASKS)] for _ in SEEDS]
    for m in range(2):
        networks.append(copy.deepcopy(make()).double())
        networks[m].load_state_dict(learner.population.member(m))

    def watch(work, take):
        for m in range(2):
            steps[m][learner.phase].append((work.batch.inputs[m].double(), work.batch.targets[m]))
        take()

    fit_watched(learner, watch)
    if kind == "adam":  # where some weights have raised the loss on balance
        assert any(bool((value < 0).any()) for value in strategy.penalty.stiffness.values()) == (not clamp)
    for m, network in enumerate(networks):
        first = copy.deepcopy(network)
        plainly(network, theirs(network.parameters()), steps[m], STRENGTHS[m], XI, path == "total", clamp)
        apart = max(float((a - b).detach().abs().max()) for a, b in zip(network.parameters(), first.parameters(), strict=True))
        for name, value in network.state_dict().items():
            torch.testing.assert_close(learner.population.member(m)[name], value, rtol=0, atol=1e-8 * apart)


class Doubled(Strategy):
    """Doubles all gradients in place, behind who looked at them."""

    def gradient(self, learner, batch):
        for leaf in learner.population.leaves.values():
            leaf.grad.mul_(2)


def test_clipping_and_later_strategies_leave_its_gradient_alone():
    """The first step's omega is lr g^2 with the gradient g of the loss, twice that where twice g is what moves parameters."""
    made = {}
    for name, strategies, clip in (("alone", (), None), ("before", (Doubled(),), None), ("clipped", (), 1e-6)):
        learner = small_learner(SEEDS, strategies=(SI(), *strategies), dtype=torch.float64, clip=clip, block=1)
        fit(learner, until=1)
        made[name] = dict(learner.strategies[0].named_buffers())["omega/head/weight"]
    torch.testing.assert_close(made["before"], 2 * made["alone"])
    clipped, alone = made["clipped"][0], made["alone"][0]
    ratio = float(clipped.sum() / alone.sum())
    assert 0 < ratio < 1e-5
    torch.testing.assert_close(clipped, ratio * alone)


def test_the_first_task_is_protected_and_the_second_is_learnt():
    """Naive training keeps 72, 71 and 43 % of the digits, synaptic intelligence 86, 84 and 60 %."""
    kept, learnt = accuracies(SI(10.0))
    assert (kept > unprotected() + 0.1).all()
    assert (learnt > 0.8).all()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"strength": -1.0}, "strategy.si.strength=-1.0"),
        ({"xi": 0}, "strategy.si.xi=0: expected a number above 0"),
        ({"path": "both"}, "strategy.si.path=both: expected one of loss, total"),
        ({"clamp": 1}, "strategy.si.clamp=1: expected true or false"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        SI(**options)
