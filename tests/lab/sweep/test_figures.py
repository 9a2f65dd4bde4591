"""Figures of sweeps: what they show is what the trials have, and any sweep has them or goes without."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from lab.sweep import figures, landscape
from lab.sweep.found import Arm, Found

from .made import OBJECTIVES, TWO, found


@pytest.fixture(scope="module")
def one():
    return found()


@pytest.fixture(scope="module")
def two():
    return found(TWO)


def made(*trials, directions=None, **spaces):
    """An arm with these trials: values of settings, and of objectives last."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    objectives = directions or OBJECTIVES
    study = optuna.create_study(directions=list(objectives.values()))
    for *settings, values in trials:
        given = dict(zip(spaces, settings, strict=True))
        values = values if isinstance(values, list) else [values]
        study.add_trial(optuna.trial.create_trial(params=given, distributions=spaces, values=values))
    return Arm("er", objectives, study)


def sweep(*arms):
    return Found("tuned", "Tuned", "", arms[0].objectives, list(arms), {}, "journal.log", "lab sweep tuned", Path())


RATE = optuna.distributions.FloatDistribution(0.001, 1.0, log=True)
SHARE = optuna.distributions.FloatDistribution(0.0, 1.0)
GRID = optuna.distributions.CategoricalDistribution([1, 2, 3])


def test_history_has_every_trial_and_the_best_so_far():
    arm = made((0.1, 0.5), (0.01, 0.4), (0.2, 0.7), (0.3, 0.6), rate=RATE)
    axes = figures.history(sweep(arm), "accuracy").axes[0]
    dots, best = axes.lines[0], axes.lines[-1]
    assert dots.get_ydata().tolist() == [0.5, 0.4, 0.7, 0.6]
    assert best.get_ydata().tolist() == np.maximum.accumulate(dots.get_ydata()).tolist()
    assert best.get_drawstyle() == "steps-post"


def test_contours_interpolate_between_trials():
    # A plane: whatever the triangles, the level at a place is the sum of its coordinates.
    places = np.random.default_rng(0).uniform(0, 1, (12, 2))
    arm = made(*((*place, float(place.sum())) for place in places), a=SHARE, b=SHARE)
    axes = landscape.contours(arm, "accuracy").axes[0]
    surface = next(found for found in axes.collections if hasattr(found, "levels"))
    drawn = [(level, path) for level, path in zip(surface.levels, surface.get_paths(), strict=False) if len(path.vertices)]
    assert len(drawn) > 5
    for level, path in drawn:
        sums, step = path.vertices.sum(1), np.diff(surface.levels)[0]
        assert (sums > level - 1e-6).all()
        assert (sums < level + step + 1e-6).all()


@pytest.mark.parametrize(
    "trials",
    [
        [(1, 0.2, 0.1), (2, 0.2, 0.5), (3, 0.2, 0.3)],
        [(1, 0.0, 0.1), (2, 0.5, 0.5), (3, 1.0, 0.3)],
        [(1, 0.2, 0.1), (1, 0.2, 0.3)],
    ],
)
def test_trials_on_a_line_have_dots_and_no_surface(trials):
    figure = landscape.contours(made(*trials, a=GRID, b=SHARE), "accuracy")
    (dots,) = figure.axes[0].collections
    assert len(dots.get_offsets()) == len(trials)


def test_parallel_coordinates_end_at_the_objective():
    arm = made((0.001, 1, 0.2), (1.0, 3, 0.6), (0.0316227766, 2, 0.4), rate=RATE, memory=GRID)
    lines = [line.get_ydata() for line in landscape.parallel(arm, "accuracy").axes[0].lines[:3]]
    np.testing.assert_allclose(lines, [[0, 1 / 6, 0], [0.5, 0.5, 0.5], [1, 5 / 6, 1]], atol=1e-6)


def test_lower_may_be_better(two):
    best = landscape.known(two.arms[1], "cost.state_bytes")[-1]
    assert best.values["cost.state_bytes"] == min(trial.values["cost.state_bytes"] for trial in two.arms[1].complete)


def test_a_front_joins_what_nothing_beats():
    points = [(0.1, [0.9, 400.0]), (0.2, [0.8, 100.0]), (0.3, [0.7, 200.0]), (0.4, [0.5, 50.0])]
    axes = figures.front(sweep(made(*points, directions=TWO, rate=RATE)), "accuracy", "cost.state_bytes").axes[0]
    assert axes.lines[-1].get_xydata().tolist() == [[0.5, 50.0], [0.8, 100.0], [0.9, 400.0]]
    assert axes.lines[-1].get_drawstyle() == "steps-pre"  # of less accuracy for as many bytes


ODD = {
    "not begun": lambda: found(finished=False, trials=0),
    "one trial": lambda: found(finished=False, trials=1),
    "under way": lambda: found(finished=False),
    "nothing varies": lambda: sweep(made((0.5,), (0.6,))),
    "all alike": lambda: sweep(made(*((0.1 * k, k, 0.5) for k in (1, 2, 3)), a=SHARE, b=GRID)),
    "names": lambda: sweep(made((1, 0.2, 0.1), (2, 0.3, 0.2), **{"$x_1$.a": GRID, "s" * 80: SHARE})),
}


@pytest.mark.parametrize("of", ODD.values(), ids=ODD)
def test_any_sweep_has_figures_or_goes_without(tmp_path, of):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        files = figures.write_figures(of(), tmp_path)
    assert all(file.stat().st_size > 1000 for file in files)


def test_figures_of_a_forced_sweep_say_so():
    few = found(trials=4)
    assert not any(text.get_text() == figures.FORCED for figure in figures.drawn(few).values() for text in figure.texts)
    forced = figures.drawn(replace(few, forced=True))
    assert len(forced) > 5
    assert all(figure.texts[-1].get_text() == figures.FORCED for figure in forced.values())


def test_figures_of_an_earlier_state_are_removed(one, tmp_path):
    (tmp_path / "front-old.svg").touch()
    files = figures.write_figures(one, tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    names = {file.stem for file in files}
    assert {"history-accuracy", "importances-accuracy", "optimism-accuracy"} <= names
    assert {f"{what}-er-accuracy" for what in ("slices", "parallel", "contours")} <= names
