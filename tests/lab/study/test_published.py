"""Measured beside published: the rule of agreement by hand, and what a mistake in the section gets."""

import math
from pathlib import Path

import numpy as np
import pytest

from lab.comparison.cells import Run, cells_of
from lab.errors import UserError
from lab.study.published import Figure, Row, beside, lines, published_of
from tests.lab.comparison.material import results
from tests.lab.study.test_question import GOOD, read

SECTION = {"source": "somebody 2022", "measure": "accuracy", "figures": {"er": [0.90, 0.003], "naive": {"at_least": 0.5}}}


@pytest.mark.parametrize(
    ("published", "error", "ours", "our_error", "verdict"),
    [
        (0.90, 0.001, 0.909, 0.001, "agrees"),  # within a point, whatever the errors
        (0.90, 0.001, 0.912, 0.001, "differs"),
        (0.90, 0.003, 0.9099, 0.004, "agrees"),  # 2 * .005 = a point
        (0.90, 0.006, 0.918, 0.008, "agrees"),  # 2 * .01
        (0.90, 0.006, 0.921, 0.008, "differs"),
        (0.60, 0.016, 0.625, 0.012, "agrees (weak evidence)"),  # 2 * .02 is above 2 points
        (0.60, 0.016, 0.645, 0.012, "differs"),
        (0.90, 0.003, 0.95, math.nan, "one seed"),
        (0.89, None, 0.8901, math.nan, "agrees"),
        (0.89, None, 0.8899, 0.01, "differs"),
    ],
)
def test_agreement(published, error, ours, our_error, verdict):
    assert Row(Figure("er", "", published, error), 5, ours, our_error).verdict == verdict


def test_what_was_run_stands_beside_what_was_published():
    published = published_of(SECTION, "forgetting", ["er", "naive", "joint"], [])
    ours = np.array([0.89, 0.91, 0.93])
    runs = [Run(Path(name), results(ours, f"strategy={name}", cell=name), name) for name in ("er", "joint")]
    section = beside(published, cells_of(runs))
    (row,) = section["figures"]  # naive was not run yet, and of joint nothing was published
    assert (row["cell"], row["seeds"], row["verdict"]) == ("er", 3, "agrees (weak evidence)")
    assert row["measured"] == pytest.approx(0.91)
    assert row["error"] == pytest.approx(0.02 / math.sqrt(3), rel=1e-5)
    assert row["bound"] == pytest.approx(2 * math.hypot(0.003, 0.02 / math.sqrt(3)), rel=1e-5)
    half = 4.302653 * 0.02 / math.sqrt(3)  # Student's t of two degrees of freedom
    assert row["interval"] == pytest.approx([0.91 - half, 0.91 + half], rel=1e-5)
    table = lines(section)
    assert table[0] == "Accuracy in percent, mean ± standard error; published: somebody 2022"
    assert table[4] == "| er | 90.00 ± 0.30 | 91.00 ± 1.15 | [86.03, 95.97] | 3 | +1.00 | 2.39 | agrees (weak evidence) |"
    assert table[-1] == "1 of 1 agree."


def test_a_cell_that_lost_seeds_agrees_with_nothing():
    published = published_of(SECTION, "accuracy", ["er", "naive"], [])
    lost = results([0.9, 0.9, np.nan], "strategy=er", diverged=[None, None, 7], cell="er")
    (row,) = beside(published, cells_of([Run(Path("er"), lost, "er")]))["figures"]
    assert (row["seeds"], row["measured"], row["verdict"]) == (2, 0.9, "1 without a value")
    assert lines({"source": "x", "measure": "accuracy", "figures": [row]})[-1] == "0 of 1 agree."


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"figures": {"eer": [0.9, 0.01]}}, r"published.figures.eer: the study has no eer. Did you mean er\?"),
        ({"figures": {"er": 0.9}}, r"published.figures.er=0.9: expected \[mean, standard error\]"),
        ({"figures": {"er": [0.9, -1]}}, "published.figures.er"),
        ({"figures": {}}, "published.figures"),
        ({"measure": "accurracy"}, "published.measure=accurracy"),
        ({"source": None}, "published.source"),
        ({"sauce": "x"}, "published.sauce=x: expected one of the keys"),
    ],
)
def test_mistakes_are_told(tmp_path, changed, told):
    with pytest.raises(UserError, match=told):
        read(tmp_path, published=SECTION | changed)


def test_in_several_environments_figures_are_by_environment(tmp_path):
    places = {"a": ["experiment=digits_split"], "b": ["experiment=digits_permuted"]}
    study = read(tmp_path, common=[], environments=places, published=SECTION | {"figures": {"b": {"er": [0.9, 0.01]}}})
    assert study.published.figures == (Figure("er", "b", 0.9, 0.01),)
    with pytest.raises(UserError, match=r"published.figures.c: the study has no c"):
        read(tmp_path, common=[], environments=places, published=SECTION | {"figures": {"c": {"er": [0.9, 0.01]}}})


def test_a_study_without_the_section_has_none(tmp_path):
    assert read(tmp_path).published is None
    assert read(tmp_path).at_once == GOOD["seeds"]
    with pytest.raises(UserError, match="at_once=0"):
        read(tmp_path, at_once=0)
