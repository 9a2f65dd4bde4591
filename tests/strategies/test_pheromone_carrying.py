"""What becomes of fields at a reset: slots that were numbered otherwise are found again, minima, ranks."""

import numpy as np
import pytest
import torch

from strategies.pheromone_carrying import aligned, of_rank, smallest

FIELD = np.random.default_rng(0).uniform(0.1, 2.0, (6, 6))
ORDER = [3, 0, 5, 1, 4, 2]
RENUMBERED = FIELD[np.ix_(ORDER, ORDER)]


def test_slots_that_were_renumbered_are_found_again():
    assert np.array_equal(aligned(FIELD, RENUMBERED), FIELD)
    noise = np.random.default_rng(1).normal(0, 0.01, (6, 6))
    np.testing.assert_allclose(aligned(FIELD, RENUMBERED + noise), FIELD, atol=0.05)


def test_the_smallest_of_the_fields_that_were_met():
    """The second member has met the last two alone; what was not met is ignored."""
    lower = FIELD.copy()
    lower[2, 3] = 0.05
    fields = torch.from_numpy(np.stack([[FIELD, RENUMBERED, 0 * FIELD], [0 * FIELD, RENUMBERED, lower]]))
    least = smallest(fields, torch.tensor([[True, True, False], [False, True, True]]))
    assert torch.equal(least[0], torch.from_numpy(FIELD))
    expected = FIELD.copy()
    expected[2, 3] = 0.05
    assert torch.equal(least[1], torch.from_numpy(expected[np.ix_(ORDER, ORDER)])), "in the order of the first one met"


@pytest.mark.parametrize("rank", [1, 3])
def test_the_closest_matrix_of_a_rank(rank):
    """A sum of so many outer products is itself; of another the distance is that of the singular values left out."""
    low = sum(np.outer(FIELD[k], FIELD[:, k]) for k in range(rank))
    torch.testing.assert_close(of_rank(torch.from_numpy(low)[None], rank)[0], torch.from_numpy(low))
    left_out = np.linalg.svd(FIELD, compute_uv=False)[rank:]
    distance = np.linalg.norm(of_rank(torch.from_numpy(FIELD)[None], rank)[0].numpy() - FIELD)
    assert distance == pytest.approx(np.linalg.norm(left_out))
