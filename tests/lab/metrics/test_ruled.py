"""Measures of matrices beside accuracy, by hand."""

import numpy as np
import pytest

from lab.metrics import MEASURES, is_measure, lower_is_better, of_matrices, with_h
from lab.metrics.ruled import h_score, violation_forgetting

NAN = np.nan


@pytest.mark.parametrize(("beta", "expected"), [(0.5, 1.25 * 0.4 / (0.125 + 0.8)), (1, 0.8 / 1.3), (2, 5 * 0.4 / (2 + 0.8))])
def test_h_weighs_the_task_against_the_rules(beta, expected):
    """P = .5, S = .8: (1 + b^2) .4 / (b^2 .5 + .8)."""
    assert h_score(np.array([0.5]), np.array([0.8]), beta).tolist() == pytest.approx([expected])


def test_h_at_its_ends():
    P, S = np.array([0.0, 0.0, 1.0, 0.7, NAN]), np.array([0.0, 1.0, 1.0, 0.7, 1.0])
    np.testing.assert_allclose(h_score(P, S, 2.0), [0, 0, 1, 0.7, NAN])
    assert with_h({"span_f1": P}, P) == {"span_f1": P}
    assert list(with_h({"violation": 1 - S}, P)) == ["violation", "h_05", "h_1", "h_2"]


def test_what_of_a_rule_was_forgotten():
    """Task 1: .6, at best .1 after task 2; task 2: .3 after itself already; task 3 is the last."""
    V = np.array([[[1, 1, 1], [0.2, 0.9, 0.9], [0.1, 0.3, 0.9], [0.6, 0.3, 0.4]]], dtype=float)
    assert violation_forgetting(V).tolist() == pytest.approx([(0.5 + 0.0) / 2])
    V[0, 1, 0] = NAN  # not measured when it was trained: trained at once with others, say
    assert violation_forgetting(V).tolist() == pytest.approx([0.0])


def test_final_means_are_over_what_is_known_and_say_why_there_is_none():
    V = np.array([[[NAN, NAN], [0.5, NAN], [0.25, NAN]], [[NAN, NAN], [0.5, NAN], [0.75, 0.25]]])
    values, undefined = of_matrices({"violation": V, "violation_bio": np.full_like(V, NAN)}, [None, 4])
    np.testing.assert_array_equal(values["violation"], [0.25, NAN])
    np.testing.assert_array_equal(values["violation_forgetting"], [0.0, NAN])
    assert undefined == {"violation_bio": "no task has anything that it is measured on"}
    alone = of_matrices({"violation": np.array([[[1.0], [0.5]]])}, [None])[1]
    assert alone == {"violation_forgetting": "there is only one task"}
    assert of_matrices({"violation": V}, [1, 4])[1]["violation"] == "every member diverged"


def test_the_direction_of_measures_that_are_called_by_rules():
    assert all(map(lower_is_better, ("violation", "violation_forgetting", "violation_bio", "violation_bio_raw", "loss")))
    assert not any(map(lower_is_better, ("span_f1", "h_1", "constrained_accuracy", "constrained_found", "accuracy_intent")))
    assert all(map(is_measure, (*MEASURES, "violation_bio", "accuracy_tag", "constrained_span_f1", "h_2_raw")))
    assert not any(map(is_measure, ("violations", "span_f2", "forgeting")))
