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


MAKES = {
    "linear": lambda: MLP((12,), 3, width=7, depth=2, activation="tanh"),
    "softmax regression": lambda: MLP((12,), 3, depth=0),
    "convolution": lambda: CNN((1, 8, 8), 3, width=5),
    "twice": Twice,
}


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
    shape = (1, 8, 8) if kind == "convolution" else (12,)
    inputs = torch.randn(2, 4, *shape, generator=torch.Generator().manual_seed(0))
    sums, passes = summed_gradients(population, inputs, objectives, of)
    assert passes == 2
    expected = {name: torch.zeros_like(leaf) for name, leaf in population.leaves.items()}
    for k in range(2):
        for b in range(4):
            values, weights = objectives(population(inputs))
            gradients = torch.autograd.grad(values[k, :, b].sum(), list(population.leaves.values()))
            for name, gradient in zip(expected, gradients, strict=True):
                expected[name] += of(gradient) * weights[k, :, b].view(-1, *[1] * (gradient.dim() - 1))
    for name, value in expected.items():
        torch.testing.assert_close(sums[name], value, rtol=1e-4, atol=1e-7)
    assert population.training
    assert all(leaf.grad is None for leaf in population.leaves.values())


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
