"""What stands in a comparison's tables."""

import math
from dataclasses import replace

import numpy as np
import pytest

from lab.report.sheets import decimals, number, relation, seed_count, sheets, within, written_p

from .made import TESTED, UNTESTED, comparison


def test_means_and_differences():
    first, *_ = sheets(comparison())
    assert first.title == "accuracy (higher is better), digits"
    assert first.header == [
        "cell", "seeds", "mean [95 %]", "sd", "difference to naive [95 %]", "effect d_z [95 %]", "p", "p (Holm)", "Wilcoxon",
    ]  # fmt: skip
    assert first.rows[0] == ["naive", "3", "0.500 [0.400, 0.600]", "0.040", *"-----"]
    assert first.rows[1] == [
        "er", "3", "0.600 [0.500, 0.700]", "0.040", "0.100 [0.050, 0.150]", "1.50 [0.50, 2.50]", ".005", ".010", "-",
    ]  # fmt: skip
    assert any("exact" in note and "3 comparisons" in note for note in first.notes)
    assert "Intervals: Student's t, 95 %." in first.notes


def test_a_margin_adds_its_tests():
    first, *_ = sheets(comparison(margin=0.01))
    assert first.header[-2:] == ["p (non-inferior)", "p (equivalent)"]
    assert first.rows[1][-2:] == [".020", ".300"]
    assert {len(row) for row in first.rows} == {len(first.header)}
    assert any("margin of 0.01" in note for note in first.notes)


def test_what_is_undefined_is_a_dash_with_its_reason_below():
    second = sheets(comparison())[1]
    assert second.title == "forgetting (lower is better), digits"
    assert second.rows[2] == ["joint", "0", *"-------"]
    assert "joint: undefined, all tasks at once." in second.notes


def test_the_best_is_marked_only_where_it_is_told_apart():
    accuracy, forgetting, *_ = sheets(comparison())
    assert accuracy.best == (2, 2)  # joint, p = .02
    assert forgetting.best == (1, 2)  # er forgets least
    assert sheets(comparison(names=("naive", *"abcdef")))[0].best is None  # the best has p = .06


def test_a_baseline_that_is_best_is_marked_if_all_others_differ():
    found = comparison()
    cells = [row if row.cell == "naive" else replace(row, estimate=replace(row.estimate, mean=0.3)) for row in found.cells]
    assert sheets(replace(found, cells=cells))[0].best == (0, 2)
    unsure = [replace(row, p_holm=0.2) if row.cell == "joint" else row for row in found.differences]
    assert sheets(replace(found, cells=cells, differences=unsure))[0].best is None


def test_what_the_data_cannot_say():
    limits = sheets(comparison())[2]
    assert limits.title == "what these data cannot say"
    assert limits.header == [
        "cell", "metric", "pairs", "smallest p", "detectable difference", "observed difference", "seeds to resolve it",
    ]  # fmt: skip
    assert limits.rows[0] == ["er", "accuracy", "3", ".250", "0.070", "0.100", "7 [5, unbounded]"]
    assert len(limits.rows) == 3  # joint has no pairs in forgetting


def test_ranks_with_and_without_a_test():
    tested, untested = sheets(comparison(ranks=[TESTED, UNTESTED]))[-2:]
    assert tested.rows == [["a", "1.20"], ["b", "1.80"], ["c", "3.00"], ["d", "4.00"]]
    assert "Friedman's test: p < .001. Critical difference: 1.50." in tested.notes
    assert "Not told apart by Nemenyi's test: a, b; b, c." in tested.notes
    assert untested.rows[0] == ["b", "1.00"]
    assert "No test: it takes three cells and five environments." in untested.notes


def test_a_comparison_of_nothing_has_no_limits():
    assert [sheet.title for sheet in sheets(comparison(names=("naive",)))] == [
        "accuracy (higher is better), digits", "forgetting (lower is better), digits",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("p", "said", "in_a_sentence"),
    [(0.0004, "<.001", "< .001"), (0.042, ".042", "= .042"), (1.0, "1.000", "= 1.000"), (0.9996, "1.000", "= 1.000")],
)
def test_p(p, said, in_a_sentence):
    assert (written_p(p), relation(p)) == (said, in_a_sentence)
    assert written_p(None) == written_p(math.nan) == "-"


@pytest.mark.parametrize(
    ("seeds", "told"), [(11.2, "12"), (100_000, "100000"), (3e6, "over 100,000"), (math.inf, "unbounded"), (math.nan, "-")]
)
def test_counts_of_seeds(seeds, told):
    assert seed_count(seeds) == told


def test_numbers():
    assert number(-0.0001, 3) == "0.000"
    assert (number(np.nan, 3), number(math.inf, 3)) == ("-", "unbounded")
    assert within(0.9, np.nan, np.nan, 3) == "0.900"
    assert within(math.nan, np.nan, np.nan, 3) == "-"
    assert within(-0.0004, -0.1, 0.1, 3) == "0.000 [-0.100, 0.100]"


@pytest.mark.parametrize(
    ("largest", "places"), [(0.9, 3), (1.0, 3), (0.0123, 4), (57.3, 1), (1234.0, 0), (0.0, 3), (math.nan, 3)]
)
def test_decimals(largest, places):
    assert decimals([largest, -largest / 2]) == places
