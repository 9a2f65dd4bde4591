"""Sums of squared or absolute per-sample gradients, against autograd taken one sample at a time."""

import pytest
import torch
from torch import nn

from lab.networks import CNN, MLP
from lab.per_sample import summed_gradients
from lab.population import Population


class Twice(nn.Module):
    """A linear layer that is run twice: its per-sample gradient is no outer product."""

    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(self.inner(self.inner(x.flatten(1)).tanh()).tanh())


class Recurrent(nn.Module):
    """Cannot be stacked, but have its gradients of several samples side by side."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.lstm(x.unflatten(1, (4, 3)))[0][:, -1])


class Branching(Recurrent):
    """Asks for a value, which cannot be had under vmap."""

    def forward(self, x):
        return super().forward(x.clamp(max=9) if x.max() > 9 else x)


MAKES = {
    "linear": lambda: MLP((12,), 3, width=7, depth=2, activation="tanh"),
    "softmax regression": lambda: MLP((12,), 3, depth=0),
    "convolution": lambda: CNN((1, 8, 8), 3, width=5),
    "normalised": lambda: CNN((1, 8, 8), 3, width=5, norm="batch"),
    "twice": Twice,
}
IMAGES = ("convolution", "normalised")


def objectives(logits):
    """Two of each sample: log-probabilities of the first and the last class, weighed differently from sample to sample."""
    logs = logits.log_softmax(-1)
    weights = torch.linspace(0.1, 2, 2 * logits.shape[0] * logits.shape[1]).view(2, *logits.shape[:2])
    return torch.stack([logs[..., 0], logs[..., -1]]), weights


@pytest.mark.parametrize("of", [torch.square, torch.abs])
@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("kind", MAKES)
def test_they_are_those_of_autograd_sample_by_sample(kind, stack, of):
    population = Population(MAKES[kind], [3, 5], stack)
    inputs = drawn(4, (1, 8, 8) if kind in IMAGES else (12,))
    sums, passes = summed_gradients(population, inputs, objectives, of)
    assert passes == ((1, 2) if kind in ("linear", "softmax regression") else (2, 2))
    assert_those_of_autograd(sums, population, inputs, of)
    assert population.training
    assert all(leaf.grad is None for leaf in population.leaves.values())


def drawn(count, shape):
    return torch.randn(2, count, *shape, generator=torch.Generator().manual_seed(0))


def assert_those_of_autograd(sums, population, inputs, of=torch.square, gates=None):
    expected = {name: torch.zeros_like(leaf) for name, leaf in population.leaves.items()}
    with population.evaluating():
        values, weights = objectives(population(inputs, gates=gates))
    for k in range(2):
        for b in range(inputs.shape[1]):
            gradients = torch.autograd.grad(values[k, :, b].sum(), list(population.leaves.values()), retain_graph=True)
            for name, gradient in zip(expected, gradients, strict=True):
                expected[name] += of(gradient) * weights[k, :, b].view(-1, *[1] * (gradient.dim() - 1))
    for name, value in expected.items():
        torch.testing.assert_close(sums[name], value.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_units_that_cannot_be_answered_have_no_gradient(kind):
    """Their logits are not the network's, however large they are."""
    outputs = Population(MAKES[kind], [3])(drawn(1, (1, 8, 8) if kind in IMAGES else (12,))[:1]).shape[-1]
    sayable = torch.arange(outputs).remainder(2).eq(0).unsqueeze(0)
    population = Population(MAKES[kind], [3, 5], sayable=sayable)
    inputs = drawn(4, (1, 8, 8) if kind in IMAGES else (12,))

    def squared(logits):
        values = logits.square().sum(2)
        return values.unsqueeze(0), torch.ones_like(values).unsqueeze(0)

    sums, _ = summed_gradients(population, inputs, squared)
    expected = {name: torch.zeros_like(leaf) for name, leaf in population.leaves.items()}
    for b in range(4):
        total = population(inputs)[:, b].square().sum()
        for name, gradient in zip(expected, torch.autograd.grad(total, list(population.leaves.values())), strict=True):
            expected[name] += gradient.square()
    for name, value in expected.items():
        torch.testing.assert_close(sums[name], value.detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("stack", [True, False])
def test_a_few_samples_at_a_time_give_the_same(stack, monkeypatch):
    """What is held is bounded, whatever the width of the reading: here by three samples' gradients of both members."""
    population, widths = Population(MAKES["convolution"], [3, 5], stack), []
    monkeypatch.setattr("lab.per_sample.AT_ONCE", 3 * sum(leaf.numel() for leaf in population.leaves.values()))
    own = population.pulled_back
    population.pulled_back = lambda of, inputs, *rest: (widths.append(inputs.shape[1]), own(of, inputs, *rest))[1]
    inputs = drawn(7, (1, 8, 8))
    sums, passes = summed_gradients(population, inputs, objectives)
    assert (widths, passes) == ([3, 3, 1], (2, 2))
    assert_those_of_autograd(sums, population, inputs)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(("make", "passes"), [(Recurrent, (2, 2)), (Branching, (2, 2 * 8))])
def test_networks_that_vmap_cannot_run_take_the_backward_passes_of_a_few_samples(make, passes):
    """As many as eight for each objective, not as many as the reading is wide."""
    population = Population(make, [3, 5], stack=False)
    inputs = drawn(11, (12,))
    sums, taken = summed_gradients(population, inputs, objectives)
    assert taken == passes
    assert_those_of_autograd(sums, population, inputs)


def test_gates_of_each_sample_take_part_where_samples_are_run_side_by_side():
    population = Population(MAKES["convolution"], [3, 5])
    path, shape = list(population.hidden((1, 8, 8)).items())[-1]
    inputs = drawn(4, (1, 8, 8))
    for width in (1, 4):
        gates = {path: torch.linspace(0, 2, 2 * width * shape[0]).view(2, width, *shape)}
        sums, _ = summed_gradients(population, inputs, objectives, gates=gates)
        assert_those_of_autograd(sums, population, inputs, gates=gates)


def test_gates_on_hidden_units_take_part():
    """Where a unit's factor is 0, nothing that leads to it or away from it has a gradient."""
    population = Population(MAKES["linear"], [3, 5])
    inputs = torch.randn(2, 4, 12, generator=torch.Generator().manual_seed(0))
    gate = torch.ones(2, 1, 7).index_fill(2, torch.tensor([2]), 0.0)
    (path,) = [path for path in population.hidden((12,)) if path.endswith("1")]
    sums, _ = summed_gradients(population, inputs, objectives, gates={path: gate})
    ungated, _ = summed_gradients(population, inputs, objectives)
    first = next(iter(population.leaves))
    assert (sums[first][:, 2] == 0).all()
    assert (ungated[first][:, 2] > 0).any()
