"""Groupers against cases by hand; Gumbel noise against its distribution."""

from math import cos, exp, pi, sqrt

import pytest
import torch
from scipy import stats

from lab.networks.grouping import FourierGrouper, LearnedGrouper
from lab.networks.gumbel import GumbelNoise
from lab.population import Population


def test_a_learned_grouper_by_hand():
    grouper = LearnedGrouper(2, 2, 0.5, 0.0, 0)
    with torch.no_grad():
        grouper.project.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    groups = grouper(torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]), torch.zeros(1, 2, dtype=torch.int64))
    first = exp(2) / (exp(2) + exp(4))
    torch.testing.assert_close(groups, torch.tensor([[[first, 1 - first], [0.5, 0.5]]]))


@pytest.mark.parametrize("kind", ["token_position", "position"])
def test_a_fourier_grouper_by_hand(kind):
    grouper = FourierGrouper(kind, 3, 4, 2, 0.25, None, 7, "coordinates", 0, 0)
    given = torch.tensor([[2, 0, 1, 2], [0, 0, 0, 0]])
    groups = grouper(torch.zeros(2, 4, 8), given)
    for b in range(2):
        for i in range(4):
            phases = [grouper.of_position[i, a].item() for a in range(2)]
            if kind == "token_position":
                phases = [phase + grouper.of_token[given[b, i], a].item() for a, phase in enumerate(phases)]
            weights = [exp(cos(phase) / (sqrt(2) * 0.25)) for phase in phases]
            expected = [weight / sum(weights) for weight in weights]
            assert groups[b, i].tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(groups[0], groups[1]) == (kind == "position")


def test_fourier_features_are_drawn_as_they_should_be():
    """Differences between two positions' phases are those of w, N(0, s^2 / D) each; phases turn around the whole circle."""
    wide, narrow = (FourierGrouper("position", 0, 100, 400, 1.0, s, 3, "coordinates") for s in (None, 2.0))
    for grouper, spread in ((wide, 1.0), (narrow, 2.0 / sqrt(100))):
        steps = grouper.of_position.diff(dim=0)[::2].flatten()
        assert stats.kstest((steps / (sqrt(2) * spread)).numpy(), "norm").pvalue > 1e-3
    offsets = narrow.of_position.mean(0)  # of 100 rows: b, and what is left of w
    assert stats.kstest((offsets / (2 * pi)).numpy(), "uniform").pvalue > 1e-3
    again = FourierGrouper("position", 0, 100, 400, 1.0, None, 3, "coordinates")
    assert torch.equal(again.of_position, wide.of_position), "whatever the global generator"


def test_gumbel_noise_is_gumbels_and_the_members_own():
    """A uniform number, taken twice the logarithm of; shape and scale by SciPy's own distribution."""
    population = Population(lambda: Noisy(0.5), [3, 4, 5])
    zeros = torch.zeros(3, 40, 50)
    population.tick()
    first = population(zeros)
    assert stats.kstest((first / 0.5).flatten().detach().numpy(), "gumbel_r").pvalue > 1e-3
    population.tick()
    second = population(zeros)
    pairs = [(first[0], first[1]), (first[1], first[2]), (first[0], second[0]), (first[0][:20], first[0][20:])]
    for one, other in pairs:
        assert stats.pearsonr(one.flatten().detach().numpy(), other.flatten().detach().numpy()).pvalue > 1e-3
    alone = Population(lambda: Noisy(0.5), [4], stack=False)
    alone.tick()
    assert torch.equal(alone(zeros[:1])[0], first[1])
    population.eval()
    assert torch.equal(population(zeros), zeros)


def test_layers_draw_different_noise():
    one, other = GumbelNoise(1.0, 0), GumbelNoise(1.0, 1)
    zeros = torch.zeros(2000)
    assert abs(torch.corrcoef(torch.stack([one(zeros), other(zeros)]))[0, 1]) < 0.1
    assert torch.equal(GumbelNoise(0.0, 0)(zeros), zeros)


def test_a_draw_of_zero_is_no_infinity(monkeypatch):
    monkeypatch.setattr("lab.networks.gumbel.uniform", lambda key, clock, count: torch.tensor([0.0, 1 - 2.0**-24]))
    assert GumbelNoise(1.0, 0)(torch.zeros(2)).isfinite().all()


class Noisy(torch.nn.Module):
    """A network that is nothing but noise (and a parameter, since populations stack parameters)."""

    def __init__(self, scale):
        super().__init__()
        self.noise, self.gain = GumbelNoise(scale, layer=0), torch.nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.noise(x) * self.gain
