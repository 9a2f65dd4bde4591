"""OGD as Farajtabar et al. 2020 describe it: which directions it keeps, and what it leaves of a gradient."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from lab.errors import UserError
from lab.protocols import Strategy, flatten
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.ogd import NEW, OGD, orthonormal, without


def test_directions_worked_by_hand():
    """Beside (0, 0, 1, 0): (3, 0, 4, 0) gives (1, 0, 0, 0), (1, 1, 0, 0) gives (0, 1, 0, 0), (5, 2, 1, 0) nothing."""
    known = torch.tensor([[[0.0, 0, 1, 0], [0, 0, 0, 0]]])
    made = orthonormal(torch.tensor([[[3.0, 0, 4, 0], [1, 1, 0, 0], [5, 2, 1, 0]]]), known)
    torch.testing.assert_close(made, torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]]))
    left = without(torch.tensor([[[1.0, 2, 3, 4]]]), torch.cat([known, made], 1))
    torch.testing.assert_close(left, torch.tensor([[[0.0, 0, 0, 4]]]))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.floats(-4, 0))
@example(4483, 3, 11, -3.0)  # noise as large as what counts as new
def test_directions_are_orthonormal_and_span_what_they_were_made_of(seed, rank, count, log_noise):
    """Rows of low rank and a little noise, of members of different sizes, one of them diverged."""
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(3, 2 * count, rank, generator=draw) @ torch.randn(3, rank, 60, generator=draw)
    rows = (rows + 10**log_noise * torch.randn(rows.shape, generator=draw)) * torch.tensor([1e-4, 1, 1e4]).view(3, 1, 1)
    rows[2, 0, 0] = float("nan")
    before = rows.clone()
    known = orthonormal(rows[:, :count].clone(), torch.zeros(3, 1, 60))
    made = torch.cat([known, orthonormal(rows[:, count:].clone(), known)], 1)[:2].double()
    gram = made @ made.mT
    sizes = gram.diagonal(dim1=1, dim2=2)
    assert ((sizes - sizes.round()).abs() < 1e-5).all()
    assert (sizes.round() <= 1).all()
    assert ((gram - sizes.diag_embed()).abs() < 1e-5).all()
    left = without(before[:2].double(), made).norm(dim=2)
    assert (left <= 1.01 * NEW * before[:2].double().norm(dim=2)).all()


def network(outputs=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Tanh(), nn.Linear(9, outputs))


class Compared(Strategy):
    """In front of OGD and behind it: the gradient before, and what is left of it."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def gradient(self, learner, batch):
        leaves = learner.population.leaves
        self.seen.append(flatten({name: leaf.grad for name, leaf in leaves.items()}, leaves).double())


def jacobians(learner, count, logits):
    """Gradients ``[M, n, P]`` of the logits of task 0's samples that directions were made of, one sample at a time."""
    leaves = learner.population.leaves
    batch = next(learner.samples(0, at_most=count, width=count))
    units = learner.units_for(batch)
    rows = []
    for b in range(batch.width):
        answers = learner.population(batch.inputs[:, b : b + 1])[:, 0]  # [M, C]
        own = torch.ones_like(answers) if units is None else units.expand(-1, batch.width, -1)[:, b].float()
        kinds = {
            "gtl": [answers.gather(1, batch.targets[:, b : b + 1].clamp(min=0)).sum()],
            "ave": [((answers * own).sum(1) / own.sum(1)).sum()],
            "all": list((answers * own).sum(0)),
        }
        for value in kinds[logits]:
            parts = torch.autograd.grad(value, list(leaves.values()), retain_graph=True)
            there = (batch.weights[:, b] > 0).unsqueeze(1)
            rows.append(flatten(dict(zip(leaves, parts, strict=True)), leaves) * there)
    return torch.stack(rows, 1).double()


@pytest.mark.parametrize(("logits", "scenario", "count"), [("gtl", "class", 20), ("ave", "task", 20), ("all", "task", 10),
                                                           ("all", "domain", 10)])  # fmt: skip
def test_nothing_is_left_of_a_gradient_that_old_logits_would_feel(logits, scenario, count):
    """What is left is the residual of the gradient's least squares fit by per-sample gradients, which autograd gives."""
    before, after = Compared(), Compared()
    strategies = (before, OGD(max_directions=20, logits=logits), after)
    make, environment = partial(network, 2 if scenario == "domain" else 4), Miniature(scenario)
    learner = small_learner([3, 8, 1], make, strategies, environment=environment, budget=Budget(4, steps=6))
    blocks = fit(learner, until=2)  # task 0, in blocks of 4
    assert learner.clock.tolist() == [6] * 3
    features = jacobians(learner, count, logits)
    fit(learner, blocks, until=3)
    for g, left in zip(before.seen[6:], after.seen[6:], strict=True):
        for m in range(3):
            against = features[m] @ left[m] / (features[m].norm(dim=1).clamp(min=1e-9) * g[m].norm())
            assert against.abs().max() < 2 * NEW
            fitted, *_ = np.linalg.lstsq(features[m].T.numpy(), g[m].numpy(), rcond=1e-4)
            expected = g[m].numpy() - features[m].T.numpy() @ fitted
            assert np.linalg.norm(left[m].numpy() - expected) < 0.02 * float(g[m].norm())
        assert ((g - left).norm(dim=1) > 0.03 * g.norm(dim=1)).all()


def test_every_task_but_the_last_has_an_equal_share():
    strategy = OGD(max_directions=9)
    make, environment, budget = partial(network, 6), Miniature(tasks=3), Budget(4, steps=3)
    learner = small_learner([3, 8], make, (strategy,), environment=environment, budget=budget)
    blocks, kept = fit(learner, until=0), []
    for task in range(3):
        fit(learner, blocks, until=task + 1)
        kept.append(strategy.directions.norm(dim=2)[0].round().tolist())
    assert kept == [[1] * 4 + [0] * 5, [1] * 8 + [0], [1] * 8 + [0]]


def test_less_is_forgotten_than_without():
    def old(*strategies):
        learner = small_learner(
            list(range(6)), strategies=strategies, environment=Miniature("domain"), budget=Budget(8, steps=20)
        )
        fit(learner)
        return learner.evaluation.accuracy[:, 2, 0].mean()

    assert old(OGD(max_directions=16)) > old() + 0.05


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"max_directions": 0}, "strategy.ogd.max_directions=0"),
        ({"logits": "some"}, "strategy.ogd.logits=some: expected one of"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        OGD(**options)


def test_fewer_directions_than_past_tasks_are_refused():
    environment = Miniature(tasks=4)
    with pytest.raises(UserError, match=r"max_directions=2: expected at least 3, one for each task but the last"):
        OGD(max_directions=2).check(environment.stream(0), environment.data)


def test_its_directions_are_announced_and_counted_in_bytes():
    strategy = OGD(max_directions=10)
    learner = small_learner([1, 2], network, (strategy,))
    size = 2 * 10 * (65 * 9 + 10 * 4) * 4
    assert strategy.state_bytes() == size
    assert f"{size:,} bytes" in strategy.announcement(2, 65 * 9 + 10 * 4)
    assert sum(leaf[0].numel() for leaf in learner.population.leaves.values()) == 65 * 9 + 10 * 4
