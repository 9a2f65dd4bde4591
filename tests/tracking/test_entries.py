"""What is sent, as plain values."""

import math
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.tracking.entries import LONGEST, SHOWN, cell, members, params


def node(children):
    keys = st.text(min_size=1, max_size=8)
    return st.dictionaries(keys, children, max_size=4)


@settings(deadline=None, max_examples=50)
@given(st.recursive(st.one_of(st.none(), st.integers(), st.text(max_size=2000), st.lists(st.integers())), node, max_leaves=20))
def test_every_parameter_is_one_that_mlflow_takes(value):
    from mlflow.utils.validation import _validate_param

    for key, text in params({"strategy": {"naive": {}}, "extra": {"of the user": value}}).items():
        _validate_param(key, text)
        assert len(text) <= LONGEST


def test_the_longest_and_the_strangest():
    got = params({"strategy": {"er": {}, "ewc": {}}, "note": "x" * 600, "a{b}": 1, "clip": None})
    assert got["strategy"] == "er + ewc"
    assert got["note"] == "x" * 497 + "..."
    assert got["a_b_"] == "1"
    assert got["clip"] == "null"


def test_what_is_given_one_value_a_member_is_told_apart(make_results):
    results = make_results(members=2, optimizer={"_target_": "lab.optimizers.SGD", "lr": [0.1, 0.2], "betas": [1, 2, 3]})
    own = [entry.params["optimizer.lr"] for entry in members(results)]
    assert own == ["0.1", "0.2"]
    assert [entry.params["optimizer.betas"] for entry in members(results)] == ["[1, 2, 3]"] * 2
    assert cell(results, Path("runs")).params["optimizer.lr"] == "[0.1, 0.2]"


def test_of_many_tasks_evenly_spaced_ones_have_series(make_results):
    results = make_results(members=2, tasks=60, points=1)
    (first, _) = members(results)
    shown = sorted({name for name, _, _ in first.points if name.startswith("accuracy by task/on task")})
    assert len(shown) == SHOWN
    assert shown[0].endswith("on task 01")
    assert shown[-1].endswith("on task 60")
    assert all(math.isfinite(value) for _, value, _ in first.points)


def test_undefined_entries_are_left_out_and_said_to_be(make_results):
    results = make_results(members=2, points=0)
    results.accuracy[:, 1, 1:] = np.nan
    parent = cell(results, Path("runs"))
    assert ("accuracy by task/on task 02", 1) not in {(name, step) for name, _, step in parent.points}
    assert "anytime accuracy: undefined" in parent.tags["mlflow.note.content"]


def test_what_strategies_tell_of_themselves_keeps_its_digits(make_results):
    results = make_results(members=2)
    results.diagnostics = {"gem.kkt_residual_max": np.array([1.23456789e-9, 3e-9]), "gem.projected": np.array([np.nan, 0.5])}
    parent = {name: value for name, value, _ in cell(results, Path("runs")).points if name.startswith("diagnostics")}
    own = [{name: value for name, value, _ in entry.points if name.startswith("diagnostics")} for entry in members(results)]
    assert parent == {"diagnostics/gem.kkt_residual_max": 2.11728e-9, "diagnostics/gem.projected": 0.5}
    assert own[0] == {"diagnostics/gem.kkt_residual_max": 1.23457e-9}
    assert own[1] == {"diagnostics/gem.kkt_residual_max": 3e-9, "diagnostics/gem.projected": 0.5}


def test_how_far_rules_are_broken_is_told_over_tasks(make_results):
    results = make_results(members=2, tasks=2)
    undefined = np.nan
    results.matrices = {
        "span_f1": np.array([[[0, 0], [0.8, 0], [0.6, 0.4]], [[0, 0], [0.6, 0], [0.2, 0.4]]], dtype=float),
        "violation_bio": np.array([[[1, 1], [0.1, 1], [0.5, undefined]], [[1, 1], [0.3, 1], [0.7, 0.1]]], dtype=float),
    }
    parent = {(name, step): value for name, value, step in cell(results, Path("runs")).points}
    own = [{(name, step): value for name, value, step in entry.points} for entry in members(results)]
    assert parent["span_f1 by task/tasks met", 1] == 0.7
    assert parent["span_f1 by task/tasks met", 2] == 0.4
    assert parent["violation_bio by task/on task 01", 2] == 0.6
    assert [member["violation_bio by task/on task 01", 1] for member in own] == [0.1, 0.3]
    assert ("violation_bio by task/on task 02", 2) not in own[0]
    assert own[1]["violation_bio by task/tasks met", 2] == 0.4
