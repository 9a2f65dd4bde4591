"""How fast tasks are learnt, against cases worked by hand."""

import numpy as np
import pytest

from lab.metrics import measure
from lab.metrics.learning import areas, facilitation, steps_to

STEPS, TASKS = [0, 10, 20, 30, 40], [0, 1, 1, 2, 2]
POINTS = np.array([
    [[0.1, 0.3], [0.6, 0.3], [0.8, 0.4], [0.7, 0.9], [0.5, 1.0]],
    [[0.1, 0.9], [0.2, 0.9], [0.3, 0.9], [0.2, 0.5], [0.1, 0.6]],
])  # fmt: skip


def test_areas_are_trapezoids_over_each_tasks_own_phase():
    expected = [[(0.35 + 0.7) / 2, (0.65 + 0.95) / 2], [(0.15 + 0.25) / 2, (0.7 + 0.55) / 2]]
    np.testing.assert_allclose(areas(POINTS, STEPS, TASKS), expected)


def test_steps_to_the_criterion_count_from_the_tasks_begin():
    needed, reached = steps_to(0.8, POINTS, STEPS, TASKS)
    assert needed.tolist() == [[20, 10], [20, 0]]  # the last was known before; the third never came to it: its whole phase
    assert reached.tolist() == [[True, True], [False, True]]


def test_facilitation_is_the_slope_of_the_areas_from_the_first_to_the_last_task():
    points = np.zeros((1, 7, 6))
    heights = np.array([0.2, 0.5, 0.3, 0.6, 0.7, 0.4])
    points[0] = heights  # flat curves: the areas are the heights
    slope, _ = np.polyfit(np.arange(6), heights, 1)
    assert facilitation(points, range(0, 70, 10), range(7)) == pytest.approx(5 * slope)


def test_where_no_task_comes_to_the_criterion_it_is_undefined():
    R = np.full((2, 3, 2), 0.5)
    curves = {"steps": STEPS, "task": TASKS, "accuracy": POINTS}
    values, reasons = measure(R, curves, [None, None], criterion=1.5)
    assert np.isnan(values["steps_to_criterion"]).all()
    assert "evaluation.criterion" in reasons["steps_to_criterion"]
