"""Figures of comparisons: what they show, and that nothing in them is cut or lies on something else."""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from unittest import mock

import matplotlib.colors
import numpy as np
import pytest
import scipy.stats
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from lab.comparison import compare
from lab.comparison.findings import Ranks
from lab.comparison.protocol import Settings
from lab.report.comparing import (
    areas_by_task,
    forgetting_by_lag,
    forgetting_curves,
    learning_curves,
    matrices,
    paired_differences,
    steps_by_task,
    write_comparison_figures,
)
from lab.report.crossed import crossed, crossing
from lab.report.drawing import COLOURS, look, matrix, wrapped
from lab.report.figures import accuracy_matrix, accuracy_over_time, overview
from lab.report.ranking import rank_diagram
from lab.report.varying import against, varied

from .made import TESTED, UNTESTED, cell, comparison, results

pytestmark = pytest.mark.filterwarnings("error")

LONG = "strategy.cosine.scale=10.0 strategy.cosine.momentum=0.95 memory=5000 dropout=0.25"
TWELVE = ("naive", "er", "er memory=500", "a_$very$_cheap_one", "si (code 1a2b3c)", *"ghijk", LONG, "joint")


def texts(figure):
    """Every text that is drawn, with its box in dots."""
    canvas, drawn, draw = FigureCanvasAgg(figure), [], Text.draw

    def noted(text, renderer):
        drawn.append(text)
        draw(text, renderer)

    with mock.patch.object(Text, "draw", noted):
        canvas.draw()
    drawn = [text for text in drawn if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(canvas.get_renderer())) for text in drawn]


def check_legible(figure):
    """No text is cut by the figure's edge or lies on another."""
    known = texts(figure)
    edge = figure.bbox.padded(1)
    for words, box in known:
        assert edge.contains(box.x0, box.y0) and edge.contains(box.x1, box.y1), f"{words!r} is cut"  # noqa: PT018
    for (words, box), (others, other) in itertools.combinations(known, 2):
        across, down = min(box.x1, other.x1) - max(box.x0, other.x0), min(box.y1, other.y1) - max(box.y0, other.y0)
        assert across <= 1 or down <= 1, f"{words!r} lies on {others!r}"


CASES = {
    "one seed": [cell("naive", seeds=1), cell("er", seeds=1, kept=0.9)],
    "one task": [cell("naive", tasks=1), cell("er", tasks=1, draw=1)],
    "thirty tasks": [cell("naive", tasks=30), cell("er", tasks=30, kept=0.9), cell("joint", tasks=30, joint=True)],
    "no curves": [cell("naive", curves=False), cell("er", kept=0.9), cell("joint", joint=True, curves=False)],
    "diverged": [cell("naive", diverged=(1,)), cell("er", diverged=range(5)), cell("ewc", draw=2)],
    "twelve cells": [cell(name, kept=0.3 + 0.05 * i, joint=name == "joint", draw=i) for i, name in enumerate(TWELVE)],
    "three environments": [cell(n, e, draw=len(e)) for e in ("x", "digits x5 · class, epochs=10", "y") for n in TWELVE[:3]],
}


@pytest.mark.parametrize("name", CASES)
def test_curves_and_matrices_are_legible(name):
    for draw in (learning_curves, forgetting_curves, forgetting_by_lag, areas_by_task, steps_by_task, matrices):
        check_legible(draw(CASES[name]))


@pytest.mark.parametrize("names", [("naive", "er", "joint"), TWELVE], ids=len)
def test_differences_are_legible(names):
    for metric in ("accuracy", "forgetting"):
        check_legible(paired_differences(comparison(names, "split digits x5 · class, epochs=10, width=100", 0.02), metric))


@pytest.mark.parametrize(
    "ranks",
    [
        TESTED, UNTESTED, Ranks("backward_transfer", TWELVE, list("vwxyz"), list(np.linspace(1.1, 11.9, 12))),
        Ranks("backward_transfer", TWELVE, list("vwxyz"), [*np.linspace(1.1, 11, 11), 11.1], 0.01, 3.2, [TWELVE[:4]]),
    ],
)  # fmt: skip
def test_ranks_are_legible(ranks):
    check_legible(rank_diagram(ranks))


def test_a_run_is_legible():
    check_legible(overview([("naive", results()), ("er", results(kept=0.9)), ("joint", results(joint=True))]))
    for tasks in (1, 4, 30):
        check_legible(accuracy_over_time(results(tasks=tasks)))
        check_legible(accuracy_matrix(results(tasks=tasks)))


def test_every_seed_is_a_dot_and_the_test_is_beside_it():
    figure = paired_differences(comparison(margin=0.05), "accuracy")
    (axes,) = figure.axes
    dots = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_xdata()) == 3]
    np.testing.assert_allclose(sorted(dots[0].get_xdata()), [0.09, 0.1, 0.11])
    words = [text.get_text() for text in axes.texts]
    assert {"p = .010\nn = 3", "p = .020\nn = 3"} <= set(words)
    assert figure.get_supxlabel().startswith("difference in accuracy (shaded: margin of 0.05)\n")
    assert figure.get_supxlabel().endswith("\n← worse than naive      better than naive →\np after Holm's correction")
    band = next(patch for patch in axes.patches if patch.get_width() == pytest.approx(0.1))
    assert band.get_x() == pytest.approx(-0.05)


def test_a_baseline_of_a_long_name_is_named_too():
    found = replace(comparison(), baseline="no_rehearsal_at_all")
    said = paired_differences(found, "accuracy").get_supxlabel().splitlines()
    assert said[:2] == ["difference to no_rehearsal_at_all in accuracy", "← worse      better →"]


def test_less_forgetting_is_better():
    figure = paired_differences(comparison(), "forgetting")
    assert figure.get_supxlabel().endswith("← better than naive      worse than naive →\np after Holm's correction")
    assert "no pair\nof seeds" in [text.get_text() for text in figure.axes[0].texts]


def test_curves_are_by_steps_where_all_have_them():
    both = [cell("naive"), cell("er", kept=0.9)]
    assert learning_curves(both).axes[0].get_xlabel() == "steps"
    assert learning_curves([*both, cell("other", curves=False)]).axes[0].get_xlabel() == "tasks trained"


def test_what_is_undefined_is_named_and_not_drawn():
    figure = forgetting_curves([cell("naive"), cell("joint", joint=True)])
    assert [text.get_text() for text in figure.legends[0].texts] == ["naive", "joint (undefined)"]


def test_a_diverged_member_is_in_no_mean():
    with_it, without = cell(seeds=3, diverged=(1,)), cell(seeds=3)
    line = next(line for line in learning_curves([with_it]).axes[0].lines if len(line.get_xdata()) > 2)
    expected = np.array(without.results.metrics["accuracy"])[[0, 2]].mean()
    assert line.get_ydata()[-1] == pytest.approx(expected)


def test_looks_differ_without_colour():
    looks = [look(number) for number in range(36)]
    assert len({tuple(one.values()) for one in map(look, range(252))}) == 252
    assert len({(one["linestyle"], one["marker"]) for one in looks}) == 36


def test_colours_stand_out_from_paper():
    for colour in COLOURS:
        red, green, blue = matplotlib.colors.to_rgb(colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.72


@pytest.mark.parametrize("tasks", [5, 13, 30])
def test_ticks_of_a_matrix_say_which_task_it_is(tasks):
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    matrix(axes, results(tasks=tasks), 2.0)
    for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert int(label.get_text()) == place + 1
    for place, label in zip(axes.get_yticks()[1:], axes.get_yticklabels()[1:], strict=True):
        assert int(label.get_text()) == place


def test_bars_of_cliques_keep_apart():
    figure = rank_diagram(TESTED)
    bars = [line for line in figure.axes[0].lines if line.get_linewidth() == 3]
    assert sorted((round(bar.get_xdata()[0], 2), round(bar.get_xdata()[1], 2)) for bar in bars) == [(1.16, 1.84), (1.76, 3.04)]
    assert len({bar.get_ydata()[0] for bar in bars}) == 2


def test_names_are_broken_where_they_can_be():
    assert wrapped("strategy.cosine.scale=10.0", 16) == "strategy.cosine.\nscale=10.0"
    assert wrapped("a $b$", 20) == r"a \$b\$"
    assert max(map(len, wrapped(LONG, 18).split("\n"))) <= 18


def of_setting(values, key="law.exponent", places=("digits",)):
    """A cell for each value of a setting, called after it, the more accurate the larger its place in the list."""
    given = [(place, number, value) for place in places for number, value in enumerate(values)]
    cells = [cell(f"d{value}", place, seeds=3, tasks=6, kept=0.5 + 0.1 * number) for place, number, value in given]
    settings = [Settings({}, {key: str(value), "optimizer": "SGD"}, {}, "") for *_, value in given]
    return [replace(made, settings=own) for made, own in zip(cells, settings, strict=True)]


def test_a_measure_is_drawn_against_the_one_number_that_is_varied():
    cells = of_setting([2, "inf", 0.25, "null"], places=("x", "y"))
    key, numbers = varied(cells)
    assert (key, numbers["dinf"], numbers["d0.25"]) == ("law.exponent", math.inf, 0.25)
    figure = against(compare(cells, ["accuracy"], "d2"), "accuracy", key, numbers)
    check_legible(figure)
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0.25", "2", "inf", "dnull"]
        means = [np.mean(made.results.metrics["accuracy"]) for made in (cells[place] for place in (2, 0, 1, 3))]
        np.testing.assert_allclose(axes.containers[0].lines[0].get_ydata(orig=False), means)


@pytest.mark.parametrize("values", [[1, 2], [1, 2, "relu"], [1, 1, 2], [1, "null", "null"], [1, 2, "null"]], ids=str)
def test_what_is_no_series_of_numbers_is_not_drawn_as_one(values):
    assert varied(of_setting(values)) is None


def test_other_settings_that_differ_too_are_no_one_number():
    cells = of_setting([1, 2, 3])
    assert varied(cells) is not None
    other = replace(cells[0], settings=Settings({}, cells[0].settings.method | {"optimizer": "Adam"}, {}, ""))
    assert varied([other, *cells[1:]]) is None
    assert varied([*cells, replace(cell("d1", "elsewhere"), settings=cells[0].settings)]) is None


ORDERS, FINALS = {"uniform": 0.5, "ascending": 0.7, "descending": 0.4}, ("1", "0.3333333", "0.01")


def two_choices(orders=ORDERS, finals=FINALS, places=("digits",)):
    """A cell for each order at each final rate, whose peak goes with it; the rarer the forgetting, the more accurate."""
    cells = []
    for number, (place, order, final) in enumerate(itertools.product(places, orders, finals)):
        settings = {"order": order, "schedule": f"wsd final={final}", "optimizer.lr": "0.2" if final == "1" else "0.3"}
        made = cell(f"{order}_{final}", place, seeds=4, kept=orders[order], draw=number)
        cells.append(replace(made, settings=Settings({}, settings, {}, "")))
    return cells


def test_what_one_choice_makes_of_another_is_drawn_seed_by_seed():
    cells = two_choices(places=("x", "y"))
    choices = crossed(cells)
    assert (choices.along, choices.across, choices.lines) == ("schedule", "order", list(ORDERS))
    figure = crossing(compare(cells, ["accuracy"], "descending_0.01"), cells, "accuracy", choices)
    check_legible(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "0.333", "0.01"]
    assert figure.axes[3].get_xlabel() == "schedule final"
    assert figure.axes[3].get_ylabel().replace("\n", " ") == "accuracy: difference to order=descending"
    values = {(made.name, made.environment): np.array(made.results.metrics["accuracy"]) for made in cells}
    left, right = (axes.containers for axes in figure.axes[2:])
    means = [values[f"ascending_{final}", "y"].mean() for final in FINALS]
    np.testing.assert_allclose(left[1].lines[0].get_ydata(orig=False), means)
    gaps = [values[f"ascending_{final}", "y"] - values[f"descending_{final}", "y"] for final in FINALS]
    assert [bars.get_label() for bars in right] == ["order=uniform", "order=ascending"]
    np.testing.assert_allclose(right[1].lines[0].get_ydata(orig=False), np.mean(gaps, 1))
    ends = np.array([segment[:, 1] for segment in right[1].lines[2][0].get_segments()])
    reach = scipy.stats.t.ppf(0.975, 3) * np.std(gaps, 1, ddof=1) / 2
    np.testing.assert_allclose(ends, np.stack([np.mean(gaps, 1) - reach, np.mean(gaps, 1) + reach], 1))


def test_lines_without_the_setting_that_tells_them_apart_are_called_by_their_cells_names():
    """Plain training has no rules to set: "strategy.constrained.rules=-" would tell a reader nothing."""
    rules, labels = {"none": "-", "bio": "['bio']", "rules": "null"}, ("0.01", "0.1")
    cells = []
    for name, share in itertools.product(rules, labels):
        settings = {"strategy.constrained.rules": rules[name], "environment.labels": share}
        made = cell(f"{name}_{share}", "x", seeds=4)
        cells.append(replace(made, settings=Settings({}, settings, {}, "")))
    choices = crossed(cells)
    assert [choices.title_of(line) for line in choices.lines] == ["none", "bio", "rules"]
    alike = [replace(made, name=f"c_{number}") for number, made in enumerate(cells)]
    assert crossed(alike).title_of("-") == "strategy.constrained.rules=-", "names that say nothing are of no use"


def test_two_choices_are_among_the_figures_that_are_written():
    cells = two_choices()
    with mock.patch("lab.report.comparing.write", lambda figure, path, dots: [path]):  # drawing is quick, writing is not
        assert Path("crossing-accuracy") in write_comparison_figures(compare(cells, ["accuracy"]), cells, Path())


def test_what_crosses_no_two_choices_is_not_drawn_as_if_it_did():
    whole = two_choices()
    assert crossed(whole[:-1]) is None
    assert crossed(whole[:3]) is None
    assert crossed([*whole, whole[0]]) is None
    assert crossed([*whole, *two_choices(finals=FINALS[:2], places=("elsewhere",))]) is None
    third = [
        replace(own, settings=Settings({}, own.settings.method | {"memory": str(n % 2)}, {}, "")) for n, own in enumerate(whole)
    ]
    assert crossed(third) is None


def test_all_that_apply_are_written(tmp_path):
    given = {"seeds": 3, "tasks": 4}
    cells = [cell(name, place, kept=kept, **given) for place in ("x", "y") for name, kept in (("naive", 0.4), ("er", 0.8))]
    files = write_comparison_figures(compare(cells, ["accuracy", "forgetting"]), cells, tmp_path / "figures")
    assert [file.name for file in files[::2]] == [
        "paired_differences-accuracy.png", "paired_differences-forgetting.png", "learning_curves.png",
        "forgetting_curves.png", "forgetting_by_lag.png", "areas_by_task.png", "steps_by_task.png", "matrices.png",
        "ranks-accuracy.png", "ranks-forgetting.png",
    ]  # fmt: skip
    assert all(file.stat().st_size > 1000 for file in files)
    single = [cell("naive", tasks=1, curves=False)]
    files = write_comparison_figures(compare(single, ["accuracy"]), single, tmp_path / "one")
    assert [file.name for file in files[::2]] == ["learning_curves.png", "matrices.png"]
