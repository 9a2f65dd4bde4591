"""Property 5: the measures equal cases worked by hand and the design's formulae written out in plain loops."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.metrics import measure

NAN = float("nan")
R_ = np.array([[[0.1, 0.2, 0.1], [0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.6, 0.5, 1.0]]])
"""One member, three tasks: row 0 is before training."""
CURVES = {
    "steps": [0, 10, 20, 30, 40, 50],
    "task": [0, 1, 1, 2, 2, 3],
    "accuracy": [[
        [0.1, 0.2, 0.1], [0.5, 0.2, 0.1], [0.9, 0.3, 0.2],
        [0.4, 0.6, 0.3], [0.7, 0.8, 0.4], [0.6, 0.5, 1.0],
    ]],
}  # fmt: skip


def test_a_case_worked_by_hand():
    values, reasons = measure(R_, CURVES, [None])
    assert reasons == {"forgetting_exponent": "it takes more than 3 tasks"}
    assert np.isnan(values.pop("forgetting_exponent")).all()
    expected = {
        "accuracy": (0.6 + 0.5 + 1.0) / 3,
        "learning_accuracy": (0.9 + 0.8 + 1.0) / 3,
        "backward_transfer": ((0.6 - 0.9) + (0.5 - 0.8)) / 2,
        "forgetting": ((0.9 - 0.6) + (0.8 - 0.5)) / 2,
        "forward_transfer": ((0.3 - 0.2) + (0.4 - 0.1)) / 2,
        "plasticity_loss": 0.9 - 1.0,
        "anytime_accuracy": (0.5 + 0.9 + (0.4 + 0.6) / 2 + (0.7 + 0.8) / 2 + (0.6 + 0.5 + 1.0) / 3) / 5,
        "min_accuracy": (min(0.4, 0.7, 0.6) + min(0.5, 0.5)) / 2,
        "worst_case_accuracy": 1.0 / 3 + (2 / 3) * (0.4 + 0.5) / 2,
        # Trapezoids over each task's own phase, from the last evaluation before it: [0, 20], [20, 40], [40, 50].
        "aulc": (((0.1 + 0.5) / 2 + (0.5 + 0.9) / 2) / 2 + ((0.3 + 0.6) / 2 + (0.6 + 0.8) / 2) / 2 + (0.4 + 1.0) / 2) / 3,
        # Areas .5, .575, .7: a line of slope .1 over two tasks.
        "facilitation": 2 * (0.7 - 0.5) / 2,
        # .8 is reached at the end of each phase, of 20, 20 and 10 steps.
        "steps_to_criterion": (20 + 20 + 10) / 3,
    }
    assert {name: pytest.approx(value[0]) for name, value in values.items()} == expected


def test_forgetting_looks_for_the_best_anywhere_before_the_end():
    """Chaudhry et al. 2018: the maximum runs over all earlier rows, those before the task was trained among them."""
    R = np.array([[[0.0, 0.99, 0.0], [0.5, 0.9, 0.0], [0.6, 0.7, 0.0], [0.4, 0.6, 1.0]]])
    assert measure(R, None, [None])[0]["forgetting"] == pytest.approx(((0.6 - 0.4) + (0.9 - 0.6)) / 2)


def test_plasticity_is_lost_from_the_first_fifth_of_tasks_to_the_last():
    """Of 11 tasks the first two and the last two count, each as it was when it had been trained."""
    R = np.full((1, 12, 11), 0.3)
    R[0, range(1, 12), range(11)] = [1.0, 0.8, 0, 0, 0, 0, 0, 0, 0, 0.5, 0.1]
    assert measure(R, None, [None])[0]["plasticity_loss"] == pytest.approx((1.0 + 0.8) / 2 - (0.5 + 0.1) / 2)


def test_transfer_to_earlier_tasks_counts_as_it_is_signed():
    R = np.array([[[0.1, 0.1], [0.5, 0.1], [0.8, 0.9]]])
    values, _ = measure(R, None, [None])
    assert values["backward_transfer"] == pytest.approx(0.3)
    assert values["forgetting"] == pytest.approx(-0.3)


# --- the design's formulae, once more, one number at a time -----------------------------------------------------------


def slow(R, steps, begun, curves):
    """All measures of one member. R[i][j] and curves[e][j] are lists of floats; tasks count from 1 in ``i`` and from 0 in
    ``j``; None where the formula has nothing to run over."""
    T = len(R[0])
    mean = lambda numbers: sum(numbers) / len(numbers) if numbers else None  # noqa: E731

    def best(j):
        known = [R[i][j] for i in range(1, T) if not math.isnan(R[i][j])]
        return max(known) if known else NAN

    def phase_area(j):
        own = [e for e in range(len(steps)) if begun[e] == j + 1]
        points = [own[0] - 1, *own]
        area = 0.0
        for a, b in pairwise(points):
            area += (steps[b] - steps[a]) * (curves[a][j] + curves[b][j]) / 2
        return area / (steps[points[-1]] - steps[points[0]])

    def least(j):
        numbers = [curves[e][j] for e in range(len(steps)) if begun[e] > j + 1]
        return NAN if any(map(math.isnan, numbers)) else min(numbers)

    least_mean = mean([least(j) for j in range(T - 1)])
    learnt, fifth = [R[j + 1][j] for j in range(T)], max(1, T // 5)
    return {
        "accuracy": mean([R[T][j] for j in range(T)]),
        "learning_accuracy": mean([R[j + 1][j] for j in range(T)]),
        "backward_transfer": mean([R[T][j] - R[j + 1][j] for j in range(T - 1)]),
        "forgetting": mean([best(j) - R[T][j] for j in range(T - 1)]),
        "forward_transfer": mean([R[j][j] - R[0][j] for j in range(1, T)]),
        "plasticity_loss": mean(learnt[:fifth]) - mean(learnt[-fifth:]) if T > 1 else None,
        "anytime_accuracy": mean([mean([curves[e][j] for j in range(begun[e])]) for e in range(len(steps)) if begun[e]]),
        "min_accuracy": least_mean,
        "worst_case_accuracy": None if least_mean is None else R[T][T - 1] / T + (1 - 1 / T) * least_mean,
        "aulc": mean([phase_area(j) for j in range(T)]),
    }


@st.composite
def runs(draw):
    """Accuracies of M members on T tasks and curves at random places; class-incremental ones know no unseen class."""
    M, T, unseen = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.booleans())
    numbers = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    points = draw(st.lists(st.integers(1, 4), min_size=T, max_size=T))
    begun = [0] + [t + 1 for t in range(T) for _ in range(points[t])]
    steps = [0, *np.cumsum(numbers.integers(1, 20, len(begun) - 1)).tolist()]
    R, curves = numbers.random((M, T + 1, T)), numbers.random((M, len(steps), T))
    if unseen:
        for i in range(T + 1):
            R[:, i, i:] = NAN
        for e, count in enumerate(begun):
            curves[:, e, count:] = NAN
    return R, steps, begun, curves


@settings(max_examples=60, deadline=None)
@given(runs())
def test_equal_to_the_formulae_in_plain_loops(run):
    R, steps, begun, curves = run
    values, reasons = measure(R, {"steps": steps, "task": begun, "accuracy": curves.tolist()}, [None] * len(R))
    for m in range(len(R)):
        for name, expected in slow(R[m].tolist(), steps, begun, curves[m].tolist()).items():
            if expected is None or math.isnan(expected):
                assert math.isnan(values[name][m]), name
                assert name in reasons
            else:
                assert values[name][m] == pytest.approx(expected, abs=1e-12), name
                assert name not in reasons


# --- what is undefined is NaN with a reason, and never zero -----------------------------------------------------------


def test_class_incremental_knows_nothing_before_a_task_is_met():
    R = np.array([[[NAN, NAN], [0.9, NAN], [0.5, 0.8]]])
    curves = {"steps": [0, 5, 10], "task": [0, 1, 2], "accuracy": [[[NAN, NAN], [0.9, NAN], [0.5, 0.8]]]}
    values, reasons = measure(R, curves, [None])
    assert set(reasons) == {"forward_transfer", "aulc", "facilitation", "forgetting_exponent"}
    assert "more than 3 tasks" in reasons.pop("forgetting_exponent")
    assert all("class-incremental" in reason for reason in reasons.values())
    assert values["forgetting"] == pytest.approx(0.4)
    assert values["min_accuracy"] == pytest.approx(0.5)
    assert values["anytime_accuracy"] == pytest.approx((0.9 + (0.5 + 0.8) / 2) / 2)


def test_joint_training_has_no_rows_between():
    R = np.full((2, 4, 3), NAN)
    R[:, 0], R[:, 3] = 0.1, [0.7, 0.8, 0.9]
    curves = {"steps": [0, 10, 20], "task": [0, 3, 3], "accuracy": np.full((2, 3, 3), 0.5)}
    values, reasons = measure(R, curves, [None, None])
    assert values["accuracy"].tolist() == pytest.approx([0.8, 0.8])
    assert values["anytime_accuracy"].tolist() == [0.5, 0.5]
    undefined = set(values) - {"accuracy", "anytime_accuracy"}
    assert all(np.isnan(values[name]).all() and "at once" in reasons[name] for name in undefined)


def test_a_single_task_transfers_nothing():
    curves = {"steps": [0, 10], "task": [0, 1], "accuracy": [[[0.1], [0.9]]]}
    values, reasons = measure(np.array([[[0.1], [0.9]]]), curves, [None])
    assert values["accuracy"] == values["learning_accuracy"] == pytest.approx(0.9)
    assert values["aulc"] == pytest.approx(0.5)
    both = ("plasticity_loss", "min_accuracy", "worst_case_accuracy")
    for name in ("backward_transfer", "forgetting", "forward_transfer", *both):
        assert np.isnan(values[name]).all()
        assert reasons[name] == "there is only one task"


def test_without_curves_their_measures_are_undefined():
    values, reasons = measure(R_, None, [None])
    for name in ("anytime_accuracy", "min_accuracy", "worst_case_accuracy", "aulc"):
        assert np.isnan(values[name]).all()
        assert "evaluation.every" in reasons[name]
    assert not np.isnan(values["forgetting"]).any()


def test_a_diverged_member_has_no_measures_and_the_others_have():
    values, reasons = measure(np.repeat(R_, 3, 0), None, [None, 7, None])
    assert np.isnan(values["accuracy"]).tolist() == [False, True, False]
    assert "accuracy" not in reasons


def test_all_diverged_is_not_taken_for_joint_training():
    R = np.full((2, 4, 3), NAN)
    R[:, 0] = 0.1
    values, reasons = measure(R, None, [3, 4])
    assert reasons["accuracy"] == reasons["forgetting"] == "every member diverged"
    assert all(np.isnan(value).all() for value in values.values())


def test_rows_that_were_not_evaluated_leave_forgetting_its_others():
    """With `evaluation.tasks=log_lags` some places are empty."""
    R = np.random.default_rng(0).random((1, 9, 8))
    R[0, 6, 0] = R[0, 4, 0] = NAN
    expected = slow(R[0].tolist(), [0, *range(1, 9)], range(9), R[0].tolist())["forgetting"]
    assert measure(R, None, [None])[0]["forgetting"] == pytest.approx(expected)


def test_a_curve_that_was_not_evaluated_everywhere_says_so():
    curves = {"steps": [0, 5, 10], "task": [0, 1, 2], "accuracy": [[[0.1, 0.1], [0.9, 0.1], [NAN, 0.8]]]}
    values, reasons = measure(R_[:, :3, :2], curves, [None])
    assert np.isnan(values["min_accuracy"]).all()
    assert "evaluation.tasks" in reasons["min_accuracy"]
