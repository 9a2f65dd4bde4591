"""GPM as Saha et al. 2021 describe it: its bases against singular values, its steps against what old inputs feel of them."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import CNN, MLP
from lab.optimizers import SGD
from lab.population import Population
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.gpm import GPM, Layer, added


def test_a_basis_worked_by_hand():
    """Columns (3, 0, 0), (0, 1, 0): of an energy of 10 the first direction has 9. Where it is known already, the rest is 1."""
    gram = torch.diag(torch.tensor([9.0, 1, 0])).double().expand(4, 3, 3)
    known = torch.diag(torch.tensor([1.0, 0, 0])).double()
    basis = torch.stack([torch.zeros(3, 3).double()] * 3 + [known])
    new = added(gram, basis, torch.tensor([0.85, 0.95, 1.0, 0.95]).double())
    directions = [sorted(matrix.diagonal().round().tolist(), reverse=True) for matrix in new]
    assert directions == [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 0, 0]]
    torch.testing.assert_close(new[0], known)
    torch.testing.assert_close(new[3], torch.diag(torch.tensor([0.0, 1, 0])).double())


def by_singular_values(R, M, eps):
    """The paper's update of the basis M ``[d, k]``, from the representation R ``[d, n]``."""
    left = R - M @ (M.T @ R)
    U, s, _ = np.linalg.svd(left, full_matrices=False)
    whole, known = (R**2).sum(), ((M.T @ R) ** 2).sum()
    k = 0
    while known + (s[:k] ** 2).sum() < eps * whole:
        k += 1
    return np.concatenate([M, U[:, :k]], 1)


def test_bases_are_those_of_singular_values_task_after_task():
    """Of members with representations of different rank, and one that diverged."""
    draw = np.random.default_rng(0)
    eps = np.array([0.9, 0.97, 0.999])
    bases, projector = [np.zeros((12, 0))] * 3, torch.zeros(4, 12, 12).double()
    for _ in range(3):
        R = [draw.normal(size=(12, rank)) @ draw.normal(size=(rank, 30)) for rank in (2, 3, 5)]
        gram = torch.stack([torch.from_numpy(r @ r.T) for r in R] + [torch.full((12, 12), torch.nan).double()])
        projector = projector + added(gram, projector, torch.tensor([*eps, 0.9]).double())
        bases = [by_singular_values(r, basis, e) for r, basis, e in zip(R, bases, eps, strict=True)]
        for m, basis in enumerate(bases):
            np.testing.assert_allclose(projector[m].numpy(), basis @ basis.T, atol=1e-8)
    assert len({basis.shape[1] for basis in bases}) > 1
    assert not projector[3].any()


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(3, 4, (3, 2), stride=2, padding=1, dilation=(1, 2)), nn.Conv2d(3, 4, 3, bias=False)]
)
def test_columns_are_what_the_weights_of_a_convolution_are_put_to(layer):
    population = Population(lambda: nn.Sequential(layer), [0, 1])
    inputs = torch.randn(2, 5, 3, 7, 8, generator=torch.Generator().manual_seed(0))
    found = Layer(population, "0", layer)
    columns = found.columns(inputs)
    weights = [layer.weight.flatten(1)] + ([] if layer.bias is None else [layer.bias.unsqueeze(1)])
    assert columns.shape[-1] == found.inputs
    out = torch.stack([layer(one) for one in inputs])
    torch.testing.assert_close((columns @ torch.cat(weights, 1).T).mT.reshape(out.shape), out)


def perceptron(outputs=2):
    return MLP((1, 8, 8), outputs, width=12, depth=2)


def convolutions(outputs=2):
    return CNN((1, 8, 8), outputs, channels=4, width=40)


@pytest.mark.parametrize(("make", "stack"), [(perceptron, True), (perceptron, False), (convolutions, True)])
def test_with_all_energy_protected_old_answers_do_not_change(make, stack):
    """However long the next task is trained; and trained it is, and without protection they do change."""

    def between(*strategies):
        """How far old answers and the parameters move in task 1."""
        environment, optimizer = Miniature("domain"), partial(SGD, lr=0.05)
        learner = small_learner([3, 8], make, strategies, optimizer, environment, Budget(4, steps=40), stack=stack)
        old, answers, parameters = next(learner.samples(0, width=1000)), [], []
        blocks = fit(learner, until=0)
        for until in (10, 20):
            fit(learner, blocks, until=until)
            answers.append(learner.population(old.inputs).detach() * old.weights.unsqueeze(2))
            parameters.append(torch.cat([leaf.detach().flatten() for leaf in learner.population.leaves.values()]))
        assert learner.phase == 1
        return float((answers[1] - answers[0]).abs().max()), float((parameters[1] - parameters[0]).norm())

    moved, trained = between(GPM(threshold=1.0, samples=1000))
    assert moved < 2e-3
    assert trained > 0.02
    assert between()[0] > 50 * moved


class Kept(Strategy):
    """In front of GPM and behind it: the gradient of the head."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def gradient(self, learner, batch):
        self.seen.append(learner.population.leaves["head/weight"].grad.clone())


@pytest.mark.parametrize("scenario", ["task", "class"])
def test_heads_of_their_own_are_free(scenario):
    before, gpm, after = Kept(), GPM(threshold=0.9), Kept()
    make = partial(perceptron, 4)
    learner = small_learner([3, 8], make, (before, gpm, after), environment=Miniature(scenario), budget=Budget(4, steps=8))
    fit(learner)
    old = torch.stack([learner.reader.units[m, 0] for m in range(2)])
    for step, (g, left) in enumerate(zip(before.seen, after.seen, strict=True)):
        changed = (g != left).any(2)
        expected = torch.zeros_like(old) if step < 8 or scenario == "task" else torch.ones_like(old)
        assert torch.equal(changed, expected)
        assert scenario == "class" or not g[old].any() or step < 8
        if scenario == "class" and step >= 8:
            assert not torch.allclose(g, left)


class HeadFirst(nn.Module):
    """Declares its head before the layer in front of it, and with as many rows."""

    def __init__(self):
        super().__init__()
        self.head, self.hidden = nn.Linear(4, 4), nn.Linear(64, 4)

    def forward(self, inputs):
        return self.head(self.hidden(inputs.flatten(1)).tanh())


def test_the_head_is_the_layer_that_is_run_last():
    before, gpm, after = Kept(), GPM(threshold=0.9), Kept()
    learner = small_learner([3, 8], HeadFirst, (before, gpm, after), environment=Miniature("task"), budget=Budget(4, steps=8))
    fit(learner)
    new = torch.stack([learner.reader.units[m, 1] for m in range(2)])
    for g, left in zip(before.seen[8:], after.seen[8:], strict=True):
        assert g[new].any()
        assert torch.equal(g[new], left[new])


def test_each_member_may_have_its_own_threshold():
    strategy = GPM(threshold=[0.3, 0.99], growth=0.0)
    fit(small_learner([3, 3], perceptron, (strategy,), environment=Miniature("domain"), budget=Budget(4, steps=4)))
    told = strategy.diagnostics()
    assert set(told) == {"protected_hidden.0", "protected_hidden.2", "protected_head"}
    for share in told.values():
        assert 0 < share[0] <= share[1] < 1
    assert told["protected_hidden.0"][0] < told["protected_hidden.0"][1]


def test_less_is_forgotten_than_without():
    def old(*strategies):
        learner = small_learner(list(range(6)), partial(perceptron, 4), strategies, budget=Budget(8, steps=20))
        fit(learner)
        return learner.evaluation.accuracy[:, 2, 0].mean()

    assert old(GPM(threshold=0.99)) > old() + 0.3


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"threshold": 1.5}, "strategy.gpm.threshold=1.5"),
        ({"threshold": [0.9, -1]}, "strategy.gpm.threshold"),
        ({"growth": -0.1}, "strategy.gpm.growth=-0.1"),
        ({"samples": 0}, "strategy.gpm.samples=0"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        GPM(**options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CNN((1, 8, 8), 4, norm="batch"),
        lambda: nn.Sequential(nn.Conv2d(1, 1, 3, padding="same"), nn.Flatten(), nn.Linear(64, 4)),
    ],
)
def test_networks_with_other_layers_are_refused(make):
    with pytest.raises(UserError, match=r"strategy.gpm: protects the parameters of linear layers"):
        small_learner([1], make, (GPM(),))
