"""What was scheduled, drawn: the lines are the numbers, each kind of member has its own, and the page shows both."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from lab.report.figures import what_was_scheduled, write_run_figures
from lab.report.page import write_page
from lab.report.scheduled import kinds

from .made import cell, results

STEPS, ENDS = [1, 2, 3, 4, 5, 6], [3, 6]
RATE = np.array([[1, 1, 0.5, 1, 1, 0.5], [1, 1, 0.5, 1, 1, np.nan]])
QUALITY = np.array([[0.1, 0.5, 0.9, 0.2, 0.6, 1.0], [0.3, 0.5, 0.7, 0.4, 0.6, np.nan]])
MODERATE = {"_target_": "lab.schedules.Schedule", "final": 0.5, "span": "task"}


def scheduled(lr=0.1, schedule=MODERATE, quality=QUALITY, rate=RATE, snapshots=((3, 6), (3, 5)), every=None):
    made = results(seeds=len(rate), tasks=2)
    made.config |= {"optimizer": {"lr": lr}, "schedule": schedule}
    own = {"quality": quality, "snapshots": [list(steps) for steps in snapshots], "every": every}
    made.scheduled = {"steps": STEPS, "tasks": ENDS, "rate": rate} | own
    return made


def lines(axes):
    """``{label: y}`` of the lines over all steps, in the order of drawing."""
    return {line.get_label(): line.get_ydata() for line in axes.lines if len(line.get_xdata()) == len(STEPS)}


def test_the_lines_are_means_over_members_and_circles_lie_on_them():
    upper, lower = what_was_scheduled(scheduled()).axes
    np.testing.assert_allclose(*lines(upper).values(), [0.1, 0.1, 0.05, 0.1, 0.1, 0.05])
    np.testing.assert_allclose(*lines(lower).values(), [0.2, 0.5, 0.8, 0.3, 0.6, 1.0])
    (circles,) = [line for line in upper.lines if line.get_marker() == "o" and len(line.get_xdata())]
    np.testing.assert_allclose(circles.get_xydata(), [[3, 0.05], [6, 0.05]])
    assert [line.get_xdata()[0] for line in lower.lines if line.get_color() == "0.6"] == [3.5]
    assert (upper.get_yscale(), lower.get_ylabel()) == ("linear", "mean quality\nof samples met")


def test_members_with_rates_of_their_own_have_lines_of_their_own():
    rate = np.array([[1, 1, 1, 1, 1, 1], [1, 0.5, 0.25, 0.1, 0.05, 0.01]])
    (axes,) = what_was_scheduled(scheduled(schedule=MODERATE | {"final": [1.0, 0.01]}, rate=rate, quality=None)).axes
    found = lines(axes)
    assert list(found) == ["schedule.final=1", "schedule.final=0.01"]
    np.testing.assert_allclose(list(found.values()), 0.1 * rate)
    assert axes.get_yscale() == "log"
    (axes,) = what_was_scheduled(scheduled(lr=[0.1, 0.3], rate=np.ones((2, 6)), quality=None)).axes
    np.testing.assert_allclose(lines(axes)["optimizer.lr=0.3"], 0.3)


@pytest.mark.parametrize(("given", "found"), [([0.1, 0.1, 0.2, 0.1], [[0, 1, 3], [2]]), (0.1, [[0, 1, 2, 3]])])
def test_members_of_a_kind(given, found):
    assert list(kinds({"schedule": {"final": given}, "strategy": {"ewc": {"strength": [1, 2, 3, 4]}}}, 4).values()) == found


def test_of_many_kinds_some_are_drawn():
    rate = np.linspace(0.1, 1, 30)[:, None].repeat(6, 1)
    schedule = MODERATE | {"final": [round(0.01 * i, 2) for i in range(30)]}
    (axes,) = what_was_scheduled(scheduled(0.1, schedule, None, rate, [[]] * 30, every=10)).axes
    assert len(lines(axes)) == 7
    assert "weights taken in every 10 steps" in axes.get_legend_handles_labels()[1]


def test_where_nothing_was_scheduled_nothing_is_drawn(tmp_path):
    plain, unknown = scheduled(), scheduled()
    del plain.config["schedule"]
    unknown.scheduled = None
    assert what_was_scheduled(plain) is None
    assert what_was_scheduled(unknown) is None
    names = {file.name for file in write_run_figures(scheduled(), tmp_path / "a")}
    assert names - {file.name for file in write_run_figures(plain, tmp_path / "b")} == {"scheduled.png", "scheduled.svg"}


def test_the_page_has_it_as_charts_and_as_figures(tmp_path):
    def page(found):
        return write_page(tmp_path / "page.html", [replace(cell(), results=found)], None, "A run", "lab report").read_text()

    text = page(scheduled())
    assert "What was scheduled" in text
    specs = json.loads(re.search(r'<script type="application/json" id="specs">(.*?)</script>', text, re.S)[1])
    of_rates, of_quality = [spec for spec in specs if {"rate", "quality"} & spec["usermeta"]["hover"].keys()]
    assert [value["rate"] for value in of_rates["data"]["values"]] == [0.1, 0.1, 0.05, 0.1, 0.1, 0.05]
    assert [value["quality"] for value in of_quality["data"]["values"]] == [0.2, 0.5, 0.8, 0.3, 0.6, 1.0]
    taken = next(layer for layer in of_rates["layer"] if layer["mark"].get("filled") is False)
    assert [(value["x"], value["rate"]) for value in taken["data"]["values"]] == [(3, 0.05), (6, 0.05)]
    plain = scheduled()
    del plain.config["schedule"]
    assert "What was scheduled" not in page(plain)
