"""Forgetting by lag, how fast tasks are learnt, what was met again: the numbers behind the figures, and the figures."""

import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.legend import Legend

from lab.report import comparing, lags
from lab.report.figures import forgetting_by_lag, met_again
from lab.report.page import contrasts, over_time

from .made import cell, results
from .test_comparing import check_legible


def encountered(tasks: int = 3):
    """Results of two members of which the stream showed 10 samples of a phase's own task and ``p`` of the one before, and
    memories 2 of the first task in every later phase, for the first member alone."""
    found = results(seeds=2, tasks=tasks)
    shown, rehearsed = (np.zeros((2, tasks, tasks), dtype=int) for _ in range(2))
    for p in range(tasks):
        shown[:, p, p] = 10
        if p:
            shown[:, p, p - 1] = p
            rehearsed[0, p, 0] = 2
    found.encounters = {"task": list(range(tasks)), "shown": shown, "rehearsed": rehearsed}
    return found


def test_what_was_met_again_is_the_mean_over_members_by_phase_and_lag():
    counts = lags.met_again(encountered())
    nothing = math.nan
    np.testing.assert_equal(counts, [[nothing, nothing], [1 + 1, nothing], [2, 1]])


def test_nothing_met_again_is_nothing_to_show():
    found = encountered()
    for what in ("shown", "rehearsed"):
        found.encounters[what] *= np.eye(3, dtype=int)
    assert lags.met_again(found) is None
    assert met_again(found) is None
    assert lags.met_again(results()) is None  # nobody counted


@pytest.mark.parametrize("tasks", [3, 12, 60])
def test_it_is_drawn_legibly(tasks):
    check_legible(met_again(encountered(tasks)))


def test_a_page_shows_it_with_its_numbers():
    made = cell()
    made.results.encounters = encountered(4).encounters
    (chart,) = contrasts.met_again([made])
    assert chart.rows[0] == ("", ["2", "1", "2.0"])
    assert len(chart.rows) == 3 + 2 + 1


def test_the_fit_is_drawn_where_there_is_one():
    known, unknown = results(tasks=6, kept=0.8), results(tasks=3)
    check_legible(forgetting_by_lag(known))
    assert "b = " in lags.exponent(known)
    assert forgetting_by_lag(unknown) is None
    assert lags.exponent(unknown) == ""
    a, b = lags.fitted(known)
    mean = lags.by_lag(known).values.mean(0)
    assert a * 1**b == pytest.approx(mean[0], abs=0.1)
    assert a * 5**b == pytest.approx(mean[4], abs=0.1)


@pytest.mark.filterwarnings("error")
def test_where_nothing_is_forgotten_the_figure_says_so_and_draws_it_at_its_edge():
    better = results(tasks=6, kept=0.9, seeds=2)
    better.accuracy[:, 1:] = np.arange(1, 7)[:, None] / 10  # more is known of every task after each
    figure = comparing.forgetting_by_lag([replace(cell("up"), results=better)])
    (axes,) = figure.axes
    check_legible(figure)
    assert [text.get_text() for text in axes.texts] == ["forgetting is at no lag\nabove 0.1 %, mean over seeds"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), lags.LEAST_SHOWN)
    known = cell("down", tasks=6, kept=0.8)
    (axes,) = comparing.forgetting_by_lag([replace(cell("up"), results=better), known]).axes
    assert not axes.texts
    (corner,) = [one for one in axes.artists if isinstance(one, Legend)]
    assert [text.get_text() for text in corner.texts] == ["at most 0.1 %", lags.exponent(known.results)]


def test_an_exponent_that_few_seeds_have_says_of_how_many_it_is():
    some = results(tasks=6, kept=0.8, seeds=4)
    some.metrics["forgetting_exponent"] = np.array([0.5, np.nan, 1.0, np.nan])
    assert lags.exponent(some) == "b = 0.75 (2 of 4 seeds)"


def test_the_page_has_a_line_a_cell_by_lag_and_by_task():
    cells = [cell("naive", tasks=6), cell("er", tasks=6, kept=0.9), cell("joint", tasks=6, joint=True)]
    (chart,) = over_time.forgetting_by_lag(cells)
    assert {name for name, _ in chart.rows} == {"naive", "er"}
    assert [row[1] for name, row in chart.rows if name == "er"] == ["1", "2", "3", "4", "5"]
    areas, steps = over_time.learnt(cells)
    for learnt in (areas, steps):
        assert {name for name, _ in learnt.rows} == {"naive", "er"}
    expected = lags.areas_by_task(cells[1].results).values.mean(0)
    assert [float(row[2]) for name, row in areas.rows if name == "er"] == pytest.approx(expected.tolist(), abs=1e-4)


def reset(name):
    """Two source tasks in one phase (steps 0 to 20), then new weights and the target; the second of two seeds diverged."""
    known = cell(name, tasks=3, seeds=2, diverged=(1,))
    points = np.zeros((2, 5, 3))
    points[0] = [[0.1, 0.2, 0.3], [0.5, 0.6, 0.3], [0.7, 0.8, 0.3], [0.4, 0.3, 0.6], [0.2, 0.1, 0.8]]
    known.results.curves = {"steps": [0, 10, 20, 30, 40], "task": [0, 2, 2, 3, 3], "accuracy": points, "fresh": [2]}
    return known


def test_what_is_known_of_the_target_since_the_weights_began_anew():
    found = lags.on_target(reset("er").results)
    assert found.where.tolist() == [10, 20]
    assert found.values.tolist() == [[0.6, 0.8]]
    never = cell("er", tasks=3)
    assert lags.on_target(never.results).values.size == 0
    assert "target_curves" not in comparing.by_lag_and_task([never])
    (axes,) = comparing.by_lag_and_task([reset("er"), reset("naive")])["target_curves"].axes
    assert [line.get_ydata().tolist() for line in axes.get_lines()] == [[0.6, 0.8]] * 2
    chart = over_time.learnt([reset("er")])[0]
    assert chart.title.startswith("Accuracy on the target: ")
    assert [row[1:3] for _, row in chart.rows] == [["10", "0.6000"], ["20", "0.8000"]]
