"""The penalty that is held in closed form, against the literal sum over its parts, in float64."""

import pytest
import torch

from lab.networks import MLP
from lab.population import Population
from lab.quadratic import QuadraticPenalty


def population(stack=True):
    return Population(lambda: MLP((6,), 3, width=5, depth=1), [3, 5], stack)


def moved(population, step):
    """Parameters a little further on, as training moves them."""
    draw = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for leaf in population.leaves.values():
            leaf += 1e-3 * torch.randn(leaf.shape, generator=draw)


def random_stiffness(population, step, scale):
    """Over many magnitudes, as Fisher information is, and 0 where nothing ever came in."""
    draw = torch.Generator().manual_seed(100 + step)
    made = {}
    for name, leaf in population.leaves.items():
        value = scale * 10 ** (-12 * torch.rand(leaf.shape, generator=draw))
        made[name] = value * (torch.rand(leaf.shape, generator=draw) > 0.2)
    return made


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e10])
def test_parts_with_anchors_of_their_own_pull_as_their_literal_sum(stack, scale):
    """As far as float32 can tell one anchor from another: the gradient is that of anchors 4e-7 of themselves away."""
    members = population(stack)
    penalty, parts = QuadraticPenalty(members), []
    for step in range(9):
        moved(members, step)
        stiffness = random_stiffness(members, step, scale)
        penalty.add(stiffness)
        parts.append((stiffness, {name: leaf.detach().double() for name, leaf in members.leaves.items()}))
    moved(members, 9)
    for leaf in members.leaves.values():
        leaf.grad = torch.ones_like(leaf)
    penalty.pull()
    for name, leaf in members.leaves.items():
        there = leaf.detach().double().requires_grad_()
        literal = sum((s[name].double() * (there - a[name]) ** 2).sum() for s, a in parts) / 2
        (gradient,) = torch.autograd.grad(literal, there)
        stiffness = sum(s[name].double() for s, _ in parts)
        assert ((leaf.grad - 1 - gradient).abs() <= 4e-7 * (stiffness * there.abs() + gradient.abs() + 1)).all()


def test_what_moves_has_one_anchor():
    members = population()
    penalty, first, second = QuadraticPenalty(members), *(random_stiffness(members, step, 1.0) for step in range(2))
    moved(members, 0)
    penalty.move(first)
    moved(members, 1)
    penalty.move(second, keep=0.5)
    there = {name: leaf.detach().clone() for name, leaf in members.leaves.items()}
    moved(members, 2)
    penalty.pull()
    for name, leaf in members.leaves.items():
        expected = (0.5 * first[name] + second[name]) * (leaf.detach() - there[name])
        torch.testing.assert_close(leaf.grad, expected, rtol=1e-5, atol=0)


def test_it_leaves_gradients_that_others_hold_alone():
    members = population()
    penalty = QuadraticPenalty(members)
    penalty.add(random_stiffness(members, 0, 1.0))
    moved(members, 0)
    held = {}
    for name, leaf in members.leaves.items():
        leaf.grad = held[name] = torch.zeros_like(leaf)
    penalty.pull()
    for name, leaf in members.leaves.items():
        assert (held[name] == 0).all()
        assert (leaf.grad != 0).any()
