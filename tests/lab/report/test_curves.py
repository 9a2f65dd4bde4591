"""Learning and forgetting over time against hand-worked cases and the measures at the end."""

import numpy as np
import pytest

from lab.report.curves import by_steps, by_tasks, forgetting_of_tasks_met, of_tasks_met
from lab.results import Results

from .made import results


def made(accuracy):
    return Results({}, [0], np.array([accuracy], dtype=float), None, [None], {})


def test_a_case_by_hand():
    time = by_tasks(made([[0.1, 0.1, 0.1], [0.8, 0.1, 0.1], [0.9, 0.7, 0.1], [0.4, 0.5, 0.6]]))
    np.testing.assert_allclose(of_tasks_met(time), [[np.nan, 0.8, 0.8, 0.5]])
    # Task 1 was best after task 2 (.9), task 2 after itself (.7).
    np.testing.assert_allclose(forgetting_of_tasks_met(time), [[np.nan, np.nan, -0.1, (0.5 + 0.2) / 2]])


@pytest.mark.parametrize("read", [by_steps, by_tasks])
def test_series_end_at_the_measures(read):
    found = results(seeds=6, tasks=5, diverged=(2,))
    kept = [0, 1, 3, 4, 5]
    time = read(found)
    np.testing.assert_allclose(of_tasks_met(time)[:, -1], found.metrics["accuracy"][kept])
    np.testing.assert_allclose(forgetting_of_tasks_met(time)[:, -1], found.metrics["forgetting"][kept])


def test_all_tasks_at_once_have_a_mean_but_forget_nothing():
    time = by_steps(results(joint=True))
    assert np.isfinite(of_tasks_met(time)[:, 1:]).all()
    assert np.isnan(forgetting_of_tasks_met(time)).all()
    assert np.isnan(of_tasks_met(by_tasks(results(joint=True)))[:, :-1]).all()


def test_tasks_that_were_not_met_do_not_count():
    found = made([[np.nan] * 2, [0.8, np.nan], [0.3, 0.9]])
    np.testing.assert_allclose(of_tasks_met(by_tasks(found)), [[np.nan, 0.8, 0.6]])
    np.testing.assert_allclose(forgetting_of_tasks_met(by_tasks(found)), [[np.nan, np.nan, 0.5]])


def test_without_curves_there_are_the_rows():
    assert by_steps(results(curves=False)).label == by_tasks(results()).label == "tasks trained"
    assert by_steps(results()).label == "steps"
