"""Gradients as vectors: nothing is lost on the way, and products are those of the vectors."""

import pytest
import torch

from lab.flat import flatten, products, squares, unflatten
from lab.networks import CNN
from lab.testing.miniature import small_learner


def convolutional():
    return CNN((1, 8, 8), 4)


@pytest.mark.parametrize("make", [None, convolutional])
@pytest.mark.parametrize("stack", [True, False])
def test_vectors_and_back(stack, make):
    learner = small_learner([3, 8], **({"make": make} if make else {}), stack=stack)
    leaves = learner.population.leaves
    draw = torch.Generator().manual_seed(0)
    a, b = ({name: torch.randn(leaf.shape, generator=draw) for name, leaf in leaves.items()} for _ in range(2))
    rows = flatten(a, leaves)
    assert rows.shape == (2, sum(leaf[0].numel() for leaf in leaves.values()))
    back = unflatten(rows, leaves)
    assert all(torch.equal(back[name], a[name]) for name in leaves)
    assert {value.untyped_storage().data_ptr() for value in back.values()} == {rows.untyped_storage().data_ptr()}
    expected = torch.tensor([sum(float((a[n][m].double() * b[n][m].double()).sum()) for n in leaves) for m in range(2)])
    torch.testing.assert_close(products(a, b), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(products(a, b), torch.linalg.vecdot(rows, flatten(b, leaves)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(squares(a), products(a, a))


def test_a_stacked_gradient_is_flattened_as_it_lies_in_memory():
    """So that it is copied once, not transposed."""
    learner = small_learner([3, 8])
    weight = learner.population.leaves["head/weight"]
    row = flatten({"head/weight": weight}, {"head/weight": weight})
    assert torch.equal(row[1].detach(), weight[1].T.flatten().detach())


def test_a_parameter_that_is_a_number_is_each_members_own():
    leaves = {"scale": torch.tensor([2.0, float("nan")]), "weight": torch.tensor([[3.0, 1.0], [1.0, 1.0]])}
    assert products(leaves, leaves)[0] == squares(leaves)[0] == 14
    assert unflatten(flatten(leaves, leaves), leaves)["scale"][0] == 2
