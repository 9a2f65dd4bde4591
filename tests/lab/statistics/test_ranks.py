"""Ranks over environments against the published example of Demsar (2006), SciPy and a hand-worked case."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lab.statistics import average_ranks, rank_test
from lab.statistics.ranks import critical_difference

DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
"""Table 6: AUC of C4.5, with m, with cf, with both, on 14 data sets; of two printed as .975 the paper ranks the first above."""


def test_demsars_example():
    found = rank_test(DEMSAR, higher_is_better=True)
    np.testing.assert_allclose(found.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    square = 12 * 14 / (4 * 5) * ((found.ranks**2).sum() - 4 * 5**2 / 4)
    assert square == pytest.approx(9.28, abs=0.005)
    assert found.friedman_p < stats.chi2.sf(square, 3), "the paper's formula leaves out the correction for ties"
    # 2.569 sqrt(4 * 5 / (6 * 14)) = 1.25; at .10 it is 1.12, where the first differs from the second and the fourth.
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert critical_difference(14, 4, 0.1) == pytest.approx(1.12, abs=0.005)
    assert found.cliques == [(3, 1, 2, 0)]
    assert rank_test(DEMSAR, True, alpha=0.1).cliques == [(3, 1, 2), (2, 0)]


@pytest.mark.parametrize(("cells", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (10, 3.164)])
def test_the_published_critical_values(cells, q):
    """Table 5 (a) of Demsar (2006): q of .05."""
    assert critical_difference(6, cells) == pytest.approx(q * (cells * (cells + 1) / 36) ** 0.5, abs=0.001)


def test_ranks_by_hand():
    table = np.array([[3.0, 1.0, 2.0], [5.0, 5.0, 1.0]])
    np.testing.assert_allclose(average_ranks(table, True), [(1 + 1.5) / 2, (3 + 1.5) / 2, (2 + 3) / 2])
    np.testing.assert_allclose(average_ranks(table, False), [(3 + 2.5) / 2, (1 + 2.5) / 2, (2 + 1) / 2])


def test_friedman_and_nemenyi_by_their_formulas():
    table = np.random.default_rng(3).normal(size=(8, 5)) + np.arange(5)
    found = rank_test(table, False)
    N, k = table.shape
    square = 12 * N / (k * (k + 1)) * ((found.ranks**2).sum() - k * (k + 1) ** 2 / 4)  # Demsar, section 3.2.2
    assert found.friedman_p == pytest.approx(stats.chi2.sf(square, k - 1))
    distance = np.abs(found.ranks[:, None] - found.ranks)
    off = ~np.eye(k, dtype=bool)
    np.testing.assert_array_equal((found.nemenyi <= 0.05)[off], (distance >= found.critical_difference)[off])
    np.testing.assert_allclose(found.nemenyi, found.nemenyi.T)


@pytest.mark.filterwarnings("error")
def test_cells_alike_everywhere():
    found = rank_test(np.ones((5, 3)), True)
    assert (found.friedman_p, found.cliques) == (1.0, [(0, 1, 2)])
    np.testing.assert_allclose(found.ranks, 2)


def test_too_little_is_refused():
    for shape in ((4, 3), (5, 2)):
        with pytest.raises(ValueError, match="3 cells and 5 environments at least"):
            rank_test(np.ones(shape), True)
    with pytest.raises(ValueError, match="no value"):
        rank_test(np.where(np.eye(5, 3), np.nan, 1.0), True)


@settings(max_examples=50, deadline=None)
@given(arrays(float, (6, 7), elements=st.integers(0, 4)))
def test_cliques_are_the_maximal_groups(table):
    found = rank_test(table, True)
    assert found.ranks.sum() == pytest.approx(7 * 8 / 2)
    spans = [np.ptp(found.ranks[list(clique)]) for clique in found.cliques]
    assert all(len(clique) > 1 for clique in found.cliques)
    assert all(span < found.critical_difference for span in spans)
    together = {frozenset(pair) for clique in found.cliques for pair in np.array(np.meshgrid(clique, clique)).T.reshape(-1, 2)}
    for a in range(7):
        for b in range(a):
            near = abs(found.ranks[a] - found.ranks[b]) < found.critical_difference
            assert (frozenset((a, b)) in together) == near
    assert not [1 for one in found.cliques for other in found.cliques if one != other and set(one) <= set(other)]
