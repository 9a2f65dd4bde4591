"""How fast tasks are learnt, against cases worked by hand."""

import numpy as np
import pytest

from lab.metrics import measure
from lab.metrics.learning import areas, facilitation, steps_to, target_aulc

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


def test_where_weights_begin_anew_the_point_before_is_no_part_of_the_curve():
    """The second task of the above begins with other weights than those that were evaluated at step 20."""
    expected = [[(0.35 + 0.7) / 2, 0.95], [(0.15 + 0.25) / 2, 0.55]]
    np.testing.assert_allclose(areas(POINTS, STEPS, TASKS, [1]), expected)
    np.testing.assert_allclose(target_aulc(POINTS, STEPS, TASKS, [1]), [0.95, 0.55])
    needed, reached = steps_to(0.5, POINTS, STEPS, TASKS, [1])
    assert needed.tolist() == [[10, 10], [20, 10]], "counted from the reset, at step 20"
    assert reached.tolist() == [[True, True], [False, True]]


def test_a_single_evaluation_since_the_reset_is_the_area():
    assert areas(POINTS[:, :4], STEPS[:4], TASKS[:4], [1])[:, 1].tolist() == [0.9, 0.5]


def test_tasks_that_are_trained_together_have_the_same_phase():
    """Two source tasks in one phase (steps 0 to 20), then the target with new weights."""
    points = np.zeros((1, 5, 3))
    points[0] = [[0.1, 0.2, 0.3], [0.5, 0.6, 0.3], [0.7, 0.8, 0.3], [0.4, 0.3, 0.6], [0.2, 0.1, 0.8]]
    curves = {"steps": STEPS, "task": [0, 2, 2, 3, 3], "accuracy": points, "fresh": [2]}
    np.testing.assert_allclose(areas(points, STEPS, [0, 2, 2, 3, 3], [2]), [[0.45, 0.55, 0.7]])
    R = np.full((1, 4, 3), np.nan)
    R[:, 0], R[:, 2], R[:, 3] = 0.1, [0.7, 0.8, 0.3], [0.2, 0.1, 0.9]
    values, _ = measure(R, curves, [None])
    assert values["target_aulc"] == pytest.approx(0.7)
    assert values["target_accuracy"] == pytest.approx(0.9)
    assert values["min_accuracy"] == pytest.approx((0.2 + 0.1) / 2)
    assert values["learning_accuracy"] == pytest.approx((0.7 + 0.8 + 0.9) / 3), "the sources' when both had been trained"
    assert "target_aulc" not in measure(R, {**curves, "fresh": []}, [None])[0]


def test_what_was_trained_together_with_the_last_task_was_never_met_behind_its_end():
    """One task, then two in one phase: only the first has evaluations after it."""
    points = np.zeros((1, 4, 3))
    points[0] = [[0.1, 0.2, 0.3], [0.9, 0.2, 0.3], [0.4, 0.6, 0.5], [0.6, 0.8, 0.7]]
    R = np.full((1, 4, 3), np.nan)
    R[:, 0], R[:, 1], R[:, 3] = 0.1, [0.9, 0.2, 0.3], [0.6, 0.8, 0.7]
    values, _ = measure(R, {"steps": [0, 10, 20, 30], "task": [0, 1, 3, 3], "accuracy": points}, [None])
    assert values["min_accuracy"] == pytest.approx(0.4)
