"""Every estimator of the Fisher information against autograd on one plain network and one sample at a time."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lab.fisher import ESTIMATORS, _labels, log_likelihoods
from lab.networks import CNN, MLP
from lab.protocols import Batch, Strategy
from lab.testing.miniature import Miniature, fit, small_learner

SEEDS = [3, 8]
MAKES = {
    "linear": lambda outputs: MLP((1, 8, 8), outputs, width=7, depth=2, activation="tanh"),
    "dropout": lambda outputs: MLP((1, 8, 8), outputs, width=7, depth=1, dropout=0.5),
    "convolution": lambda outputs: CNN((1, 8, 8), outputs, width=4),
}


def after_a_task(kind="linear", scenario="class", outputs="all", strategies=(), stack=True):
    """A learner that has been trained a little on the first of two tasks, and its network as plain torch."""
    make = partial(MAKES[kind], 2 if scenario == "domain" else 4)
    learner = small_learner(SEEDS, make, strategies, environment=Miniature(scenario), stack=stack, outputs=outputs)
    fit(learner, until=next(n for n, span in enumerate(learner.course.spans) if span.phase == 1))
    with torch.no_grad():
        for leaf in learner.population.leaves.values():
            leaf *= 2  # sure of some predictions, so that labels differ in what they weigh
    return learner, make


def samples_of(learner, m):
    """Inputs, targets and active units of a member's first task, from its stream alone."""
    stream = learner.course.streams[m]
    task, data = stream.tasks[0], learner.reader
    inputs = data.train_inputs[task.train].float() / 255
    units = task.labels[task.labels >= 0].sort().values
    return inputs, task.labels[data.train_targets[task.train]], units


def brute(network, inputs, targets, active, estimator, drawn=None):
    """Sums of squares by parameter, one sample and one label after the other, in float64."""
    sums = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    for n in range(len(inputs)):
        logs = network(inputs[n : n + 1])[0, active].log_softmax(0)
        own = int((active == targets[n]).nonzero()) if estimator.startswith("empirical") else None
        labels = {
            "exact": range(len(active)),
            "predicted": [int(logs.argmax())],
            "sampled": [int((active == drawn[n]).nonzero())] if drawn is not None else [],
        }.get(estimator, [own])
        for y in labels:
            gradients = torch.autograd.grad(logs[y], list(network.parameters()), retain_graph=True)
            weight = logs[y].detach().exp() if estimator in ("exact", "empirical_weighted") else 1.0
            for total, gradient in zip(sums.values(), gradients, strict=True):
                total += weight * gradient**2
    return sums


def network_of(learner, m, make):
    network = make().double()
    network.load_state_dict(learner.population.member(m))
    return network.double().eval()


def assert_same(learner, found, m, expected):
    for name, value in expected.items():
        mine = found[name.replace(".", "/")][m].double()
        torch.testing.assert_close(mine, value, rtol=1e-4, atol=1e-6 * float(value.abs().max()))
    assert {name.replace(".", "/") for name in expected} == {*found}


CASES = [("linear", "task", "all"), ("linear", "domain", "all"), ("linear", "class", "seen"), ("convolution", "class", "all")]


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if e != "batched"])
@pytest.mark.parametrize(("kind", "scenario", "outputs"), CASES)
def test_it_is_that_of_autograd_sample_by_sample(kind, scenario, outputs, estimator):
    """Over the task's units, those seen, or all; members have different classes, orders and numbers of samples."""
    learner, make = after_a_task(kind, scenario, outputs)
    drawn, (batch,) = None, learner.samples(0)
    if estimator == "sampled":
        chances = learner.log_probabilities(batch, learner.population(batch.inputs)).exp().detach()
        drawn = _labels(chances, batch, "sampled", learner.keys("fisher/0"))[0]
    found, count = learner.fisher_information(0, estimator)
    for m in range(2):
        inputs, targets, units = samples_of(learner, m)
        active = torch.arange(4) if outputs == "all" and scenario == "class" else units
        own = None if drawn is None else drawn[m, : len(inputs)]
        expected = brute(network_of(learner, m, make), inputs.double(), targets, active, estimator, own)
        assert count[m] == len(inputs)
        assert_same(learner, found, m, expected)


@pytest.mark.parametrize("width", [None, 5])
def test_batched_squares_the_gradient_of_a_batchs_mean_loss(width):
    """In the stream's order, the last batch as it is; null takes the training's batch size."""
    learner, make = after_a_task("dropout")
    found, count = learner.fisher_information(0, "batched", width=width)
    for m in range(2):
        inputs, targets, _ = samples_of(learner, m)
        network, batches = network_of(learner, m, make), range(0, len(inputs), width or 4)
        expected = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
        for first in batches:
            some = slice(first, first + (width or 4))
            loss = F.cross_entropy(network(inputs[some].double()), targets[some])
            for total, gradient in zip(expected.values(), torch.autograd.grad(loss, list(network.parameters())), strict=True):
                total += gradient**2
        assert count[m] == len(batches)
        assert_same(learner, found, m, expected)


def test_softmax_regression_has_a_closed_form():
    """F of weight (c, d) is the mean of p_c (1 - p_c) x_d^2."""
    make = lambda: MLP((1, 8, 8), 4, depth=0)  # noqa: E731
    learner = small_learner(SEEDS, make, environment=Miniature("class"))
    fit(learner, until=next(n for n, span in enumerate(learner.course.spans) if span.phase == 1))
    found, _ = learner.fisher_information(0, "exact")
    for m in range(2):
        inputs = samples_of(learner, m)[0].flatten(1)
        network = make()
        network.load_state_dict(learner.population.member(m))
        p = network(inputs).softmax(1).detach()
        spread = p * (1 - p)
        torch.testing.assert_close(found["head/weight"][m], spread.T @ inputs**2, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(found["head/bias"][m], spread.sum(0), rtol=1e-4, atol=1e-7)


def test_labels_are_drawn_as_probable_as_they_are():
    """Chi-square over 40,000 draws: 3 degrees of freedom, 16.3 in one of a thousand."""
    learner, _ = after_a_task()
    count, chances = 40_000, torch.tensor([[0.5, 0.25, 0.2, 0.05], [0.1, 0.2, 0.3, 0.4]])
    examples = torch.arange(count).expand(2, -1)
    targets = torch.zeros(2, count, dtype=torch.int64)
    batch = Batch(torch.empty(2, count, 0), targets, examples, torch.zeros(2, 1, dtype=torch.int64), 0)
    drawn = _labels(chances.unsqueeze(1).expand(-1, count, -1), batch, "sampled", learner.keys("fisher/0"))[0]
    for m in range(2):
        expected = count * chances[m]
        assert float(((drawn[m].bincount(minlength=4) - expected) ** 2 / expected).sum()) < 16.3
    assert not torch.equal(drawn[0], drawn[1])


def test_the_labels_of_a_sample_with_many_are_drawn_one_by_one():
    """And where there is none, none is drawn: the gradient is that of the mean over the others."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 4)

        def forward(self, inputs):
            return self.head(inputs)

    learner, _ = after_a_task()
    learner.outputs = "all"
    inputs = torch.randn(2, 6, 5, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(0, 4, (2, 6, 5), generator=torch.Generator().manual_seed(1))
    targets[:, 2:, 3] = -100
    batch = Batch(inputs, targets, torch.arange(12).view(2, 6), torch.zeros(2, 1, dtype=torch.int64), 0)
    logits = Tagger()(inputs)
    for estimator in ("sampled", "predicted", "empirical"):
        labels = _labels(logits.softmax(-1).detach(), batch, estimator, learner.keys("fisher/0"))[0]
        logs, weights = log_likelihoods(learner, batch, estimator, learner.keys("fisher/0"), logits)
        assert logs.shape == weights.shape == (1, 2, 6)
        each = logits.log_softmax(-1).gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        there = targets >= 0
        torch.testing.assert_close(logs[0], (each * there).sum(2) / there.sum(2))


def test_some_samples_are_drawn_from_the_members_seed():
    """Different ones for each; the same again; never twice one; all of a task that has fewer."""
    learner, _ = after_a_task()
    lengths = [len(learner.course.streams[m].tasks[0].train) for m in range(2)]
    few = [torch.cat([b.examples for b in learner.samples(0, at_most=5)], 1) for _ in range(2)]
    assert few[0].shape == (2, 5)
    assert torch.equal(*few)
    for m in range(2):
        assert set(few[0][m].tolist()) <= set(learner.course.streams[m].tasks[0].train.tolist())
        assert len(set(few[0][m].tolist())) == 5
    assert learner.fisher_information(0, "exact", samples=5)[1].tolist() == [5, 5]
    assert learner.fisher_information(0, "exact", samples=1000)[1].tolist() == lengths
    ordered = torch.cat([b.examples for b in learner.samples(0)], 1)
    assert any(not torch.equal(few[0][m], ordered[m, :5]) for m in range(2))


def test_dropout_is_off_and_gates_are_on():
    class Gate(Strategy):
        """Shut the first of the hidden units in every task."""

        def gates(self, learner, tasks):
            return {"hidden.1": torch.ones(2, 1, 7).index_fill(2, torch.tensor([0]), 0.0)}

    make = lambda: MLP((1, 8, 8), 4, width=7, depth=1, dropout=0.5)  # noqa: E731
    learner = small_learner(SEEDS, make, (Gate(),))
    first, second = (learner.fisher_information(0, "exact")[0] for _ in range(2))
    assert (first["hidden/0/weight"][:, 0] == 0).all()
    assert (first["hidden/0/weight"][:, 1:] > 0).any()
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)
