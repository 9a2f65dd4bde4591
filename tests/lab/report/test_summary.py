"""Means and intervals in tables: the statistics', by whichever way."""

import numpy as np
import pytest
from scipy import stats

from lab.report.summary import interval, overall, print_table, spread, written
from tests.lab.report.made import results

FEW = np.array([0.71, 0.74, np.nan, 0.69, 0.75])
MANY = np.random.default_rng(0).exponential(1, 25)


def test_few_seeds_have_students_interval():
    known = FEW[~np.isnan(FEW)]
    expected = stats.t.interval(0.95, 3, known.mean(), stats.sem(known))
    found = overall(FEW)
    assert (found.mean, found.low, found.high) == interval(FEW) == pytest.approx((known.mean(), *expected))
    assert (found.sd, found.n, found.method) == (pytest.approx(known.std(ddof=1)), 4, "t")


def test_many_seeds_have_the_bootstraps():
    """Of skewed values it reaches farther on the side of the tail."""
    ours = overall(MANY)
    found = stats.bootstrap((MANY,), np.mean, method="BCa", n_resamples=20_000, rng=1).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((found.low, found.high), abs=0.04)  # both are resampled
    assert ours.high - ours.mean > ours.mean - ours.low


def test_in_words():
    assert written(FEW) == "0.722 [0.679, 0.766]"
    assert written(FEW[:1]) == "0.710"
    assert written(np.array([np.nan])) == "-"
    assert (spread(FEW), spread(np.array([np.nan]))) == ("0.690 to 0.750", "-")


@pytest.mark.parametrize(("rate", "said"), [([0.1, 0.2, 0.3], True), (0.1, False)])
def test_members_with_settings_of_their_own_have_no_interval(capsys, rate, said):
    found = results(seeds=3)
    found.config["optimizer"] = {"lr": rate}
    print_table([("er", found)])
    told = capsys.readouterr().err
    assert (" to " in told, "members differ in optimizer.lr" in told, "[0." in told) == (said, said, not said)
