"""GEM as Lopez-Paz & Ranzato 2017 describe it: its quadratic program against other solvers, its steps against autograd."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from torch import nn

from lab.errors import UserError
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.gem import GEM, descended, kkt_residual, multipliers

MEMBERS = 30


def network():
    """For three tasks in any scenario."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 6))


def moved(g, G, margin=0.0, **options):
    """g~ and the KKT residual for gradients g ``[M, P]`` and G ``[M, T, P]``."""
    slope = (G @ g.unsqueeze(2)).squeeze(2)
    v, residual = multipliers(G @ G.mT, slope, torch.full((len(g),), margin), **options)
    return g + (v.unsqueeze(1) @ G).squeeze(1), residual


def gradients(kind, tasks, seed=0):
    """g ``[M, P]`` in conflict with some of G ``[M, T, P]``: ``random``, ``scales`` apart, nearly ``parallel``, ``opposed``, or
    ``dependent`` (whole numbers, so that they are so in float32 too)."""
    draw = torch.Generator().manual_seed(seed)
    G = torch.randn(MEMBERS, tasks, 200, generator=draw)
    common = torch.randn(MEMBERS, 1, 200, generator=draw)
    if kind == "scales":
        G *= 10 ** (6 * torch.rand(MEMBERS, tasks, 1, generator=draw) - 4)
    if kind == "parallel":
        G = common + 1e-2 * G
    if kind == "opposed":
        G = common * torch.randn(MEMBERS, tasks, 1, generator=draw).sign() + 1e-2 * G
    if kind == "dependent":
        mixed, base = (torch.randint(-4, 5, (MEMBERS, *shape), generator=draw) for shape in ((tasks, 2), (2, 200)))
        G = (mixed @ base).float()
    return 0.1 * torch.randn(MEMBERS, 200, generator=draw) - G.mean(1) / G.norm(dim=2).mean(1, keepdim=True), G


def test_programs_worked_by_hand():
    """Against (1, 0) and (0, 1), g = (-1, -2) leaves nothing; against (1, 0) and (1, 1), g = (-1, 2) is moved to (0, 2) by the
    first alone; a task without a gradient constrains nothing; with a margin of 3, g~ = g + 3 g_1."""
    g = torch.tensor([[-1.0, -2], [-1, 2], [-1, -2]])
    G = torch.tensor([[[1.0, 0], [0, 1]], [[1, 0], [1, 1]], [[0, 0], [0, 1]]])
    after, residual = moved(g, G)
    torch.testing.assert_close(after, torch.tensor([[0.0, 0], [0, 2], [-1, 0]]))
    assert residual.max() < 1e-12
    torch.testing.assert_close(moved(g[:1], G[:1, :1], margin=3.0)[0], torch.tensor([[2.0, -2]]))


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("tasks", [1, 2, 5, 19])
@pytest.mark.parametrize("kind", ["random", "scales"])
def test_multipliers_are_those_of_goldfarb_and_idnani(kind, tasks, margin):
    quadprog = pytest.importorskip("quadprog")
    g, G = gradients(kind, tasks)
    v, residual = multipliers(G @ G.mT, (G @ g.unsqueeze(2)).squeeze(2), torch.full((MEMBERS,), margin))
    assert residual.max() < 1e-5
    for m in range(MEMBERS):
        lengths = G[m].double().norm(dim=1).numpy()
        exact = G[m].double().numpy() / lengths[:, None]
        expected, *_ = quadprog.solve_qp(exact @ exact.T, -exact @ g[m].double().numpy(), np.eye(tasks), margin * lengths)
        np.testing.assert_allclose(v[m].numpy() * lengths, expected, rtol=1e-4, atol=1e-5 * float(g[m].norm()))


@pytest.mark.parametrize("tasks", [3, 9, 19])
@pytest.mark.parametrize("kind", ["random", "parallel", "opposed", "dependent"])
def test_moved_gradients_are_the_nearest_that_violate_nothing(kind, tasks):
    """By Lawson & Hanson's active sets: g~ is the residual of least squares with coefficients from 0 on."""
    g, G = gradients(kind, tasks, seed=tasks)
    after, residual = moved(g, G)
    assert residual.max() < (1e-5 if kind == "random" else 1e-4)
    for m in range(MEMBERS):
        v, _ = nnls(G[m].double().T.numpy(), -g[m].double().numpy(), maxiter=10_000)
        expected = g[m].double() + torch.from_numpy(v) @ G[m].double()
        assert float((after[m] - expected).norm() / g[m].norm()) < (1e-5 if kind == "random" else 1e-2)
    against = (G @ after.unsqueeze(2)).squeeze(2) / (G.norm(dim=2) * g.norm(dim=1, keepdim=True)).clamp(min=1e-9)
    assert against.min() > -1e-5


def test_coordinate_descent_alone_solves_what_is_well_conditioned():
    g, G = gradients("random", 9)
    unit = (G / G.norm(dim=2, keepdim=True)).double()
    S, c = unit @ unit.mT, (unit @ g.double().unsqueeze(2)).squeeze(2)
    assert kkt_residual(S, c, torch.zeros_like(c)).min() > 0.5
    assert kkt_residual(S, c, descended(S, c, 20)).max() < 1e-10


def with_ridge():
    """g and G so small that the ridge of 1e-3 counts, and g~ with it."""
    g, G = gradients("random", 5)
    g, G = g / 10, G / 100
    after, residual = moved(g, G, ridge=1e-3)
    assert residual.max() < 1e-5
    assert float((after - moved(g, G)[0]).abs().max()) > 1e-2 * float(g.abs().max())
    return g, G, after


def test_with_the_authors_ridge_it_is_the_program_of_their_code():
    quadprog = pytest.importorskip("quadprog")
    g, G, after = with_ridge()
    for m in range(MEMBERS):
        past, own = G[m].double().numpy(), g[m].double().numpy()
        v, *_ = quadprog.solve_qp(past @ past.T + 1e-3 * np.eye(5), -past @ own, np.eye(5), np.zeros(5))
        torch.testing.assert_close(after[m].double(), torch.from_numpy(own + v @ past), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_with_the_authors_ridge_it_is_what_avalanche_makes_of_it():
    plugin = pytest.importorskip("avalanche.training.plugins").GEMPlugin(256, 0.0)
    g, G, after = with_ridge()
    for m in range(5):
        plugin.G = G[m]
        torch.testing.assert_close(after[m], plugin.solve_quadprog(g[m]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("scenario", "stack"), [("class", True), ("task", True), ("domain", False)])
def test_what_the_optimiser_gets_is_each_members_nearest_gradient(scenario, stack):
    """By autograd on one member at a time, with what is kept of each past task."""
    strategy = GEM(per_task=6, memory_strength=0.0)
    environment = Miniature(scenario, tasks=3)
    compared = Compared(strategy)
    learner = small_learner(
        [3, 8], network, (strategy, compared), environment=environment, stack=stack, budget=Budget(4, steps=12)
    )
    fit(learner)
    assert 0 < np.count_nonzero(compared.distances) < len(compared.distances) == 2 * learner.course.total


class Compared(Strategy):
    """Behind GEM: what it made of the gradients against :func:`by_hand`."""

    def __init__(self, gem):
        super().__init__()
        self.gem, self.distances = [gem], []

    def gradient(self, learner, batch):
        for m in range(learner.members):
            before, after = by_hand(learner, m, batch, self.gem[0])
            own = torch.cat([leaf.grad[m].flatten() for leaf in learner.population.leaves.values()]).double()
            torch.testing.assert_close(own, after, rtol=1e-3, atol=1e-4 * float(before.norm()))
            self.distances.append(float((after - before).norm()))


def by_hand(learner, m, batch, strategy):
    """Member m's gradient and the nearest that violates nothing, ``[P]`` in float64."""
    state = {name: leaf[m].detach().clone().requires_grad_() for name, leaf in learner.population.leaves.items()}

    def gradient(samples):
        hidden = torch.relu(samples.inputs[m].flatten(1) @ state["1/weight"].T + state["1/bias"])
        logits = hidden @ state["3/weight"].T + state["3/bias"]
        if learner.evaluation.scenario == "task":
            logits = logits.masked_fill(~learner.reader.units_of(samples.tasks)[m], -torch.inf)
        losses = nn.functional.cross_entropy(logits, samples.targets[m], reduction="none")
        parts = torch.autograd.grad((losses * samples.shares()[m]).sum(), list(state.values()))
        return torch.cat([part.flatten() for part in parts]).double()

    g = gradient(batch)
    G = [gradient(learner.replay(*(part[:, task] for part in (strategy.examples, strategy.tasks, strategy.weights))))
         for task in range(learner.phase)]  # fmt: skip
    if not any(float(past @ g) < 0 for past in G):
        return g, g
    v, _ = nnls(torch.stack(G, 1).numpy(), -g.numpy())
    return g, g + torch.stack(G, 1) @ torch.from_numpy(v)


def test_it_keeps_different_random_samples_of_each_task():
    strategies = [GEM(per_task=5), GEM(per_task=100)]
    for strategy in strategies:
        learner = small_learner([3, 8, 1], strategies=(strategy,), budget=Budget(4))
        fit(learner)
    for m, stream in enumerate(learner.course.streams):
        for t, phase in enumerate(stream.phases):
            for strategy, most in zip(strategies, (5, 100), strict=True):
                kept = strategy.examples[m, t][strategy.weights[m, t] > 0].tolist()
                assert len(set(kept)) == len(kept) == min(most, len(phase.examples))
                assert set(kept) <= set(phase.examples.tolist())
                assert most == 100 or kept != phase.examples[:5].tolist()


def test_it_tells_how_well_its_programs_were_solved():
    strategy = GEM(per_task=5)
    learner = small_learner([3, 8, 1], network, (strategy,), environment=Miniature(tasks=3), budget=Budget(4))
    fit(learner)
    told = strategy.diagnostics()
    taken = [sum(lengths[m] for lengths in learner.course.lengths[1:]) for m in range(3)]
    assert strategy.steps.tolist() == taken
    assert (told["kkt_residual_max"] < 1e-5).all()
    assert (told["kkt_residual_mean"] <= told["kkt_residual_max"]).all()
    assert ((told["projected_steps"] > 0) & (told["projected_steps"] <= 1)).all()


def test_all_of_the_memory_is_passed_over_in_every_later_step():
    learner = small_learner([1], network, (GEM(per_task=6),), environment=Miniature(tasks=3), budget=Budget(4, steps=5))
    fit(learner)
    assert learner.passes == {"forward": 15 * 4 + 5 * 6 + 5 * 12, "backward": 15 * 4 + 5 * 6 + 5 * 12}


def test_less_is_forgotten_than_without():
    def old(*strategies):
        learner = small_learner(list(range(6)), strategies=strategies, budget=Budget(8, steps=20))
        fit(learner)
        return learner.evaluation.accuracy[:, 2, 0].mean()

    assert old(GEM(per_task=16)) > old() + 0.1


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"per_task": 0}, "strategy.gem.per_task=0"),
        ({"memory_strength": -0.5}, "strategy.gem.memory_strength=-0.5"),
        ({"memory_strength": [0.5, "x"]}, "strategy.gem.memory_strength"),
        ({"ridge": -1}, "strategy.gem.ridge=-1"),
        ({"sweeps": 0}, "strategy.gem.sweeps=0"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        GEM(**options)


def test_its_gradients_are_announced_in_bytes():
    assert "40,000 bytes" in GEM().announcement(members=5, parameters=2000)
