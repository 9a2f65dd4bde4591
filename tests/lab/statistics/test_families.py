"""Holm's correction against a hand-worked case and its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.statistics import holm

ps = st.lists(st.floats(0, 1) | st.just(np.nan), max_size=12)


@pytest.fixture(autouse=True, scope="module")
def _no_collection():
    """statsmodels collects garbage at every call, a tenth of a second in a process as large as this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda *_: 0)
        yield


def test_a_hand_worked_case():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


def test_what_was_not_tested_is_no_member_of_the_family():
    np.testing.assert_allclose(holm([np.nan, 0.01, 0.04, np.nan]), [np.nan, 0.02, 0.04, np.nan])
    assert holm([]).shape == (0,)
    assert np.isnan(holm([np.nan])).all()


@settings(max_examples=50, deadline=None)
@given(ps)
def test_it_is_monotone_never_below_p_and_by_the_definition(ps):
    ps = np.array(ps, dtype=float)
    found, tested = holm(ps), np.flatnonzero(~np.isnan(ps))
    order = tested[np.argsort(ps[tested])]
    running = 0.0
    for rank, position in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * ps[position]))
        np.testing.assert_allclose(found[position], running)
        assert ps[position] <= found[position] <= 1
    assert np.isnan(found[np.isnan(ps)]).all()
