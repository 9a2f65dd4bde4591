"""`lab schedule`: what a run of the same words would schedule, said before it trains, and nothing left behind."""

import re
import sys

import pytest

from lab.preview import main
from lab.results import load
from lab.run import composed

from .forked import train
from .test_arranging import GRADED

FOUR = ["environment.base.tasks=4", "environment.base.validation=0.5", "co_schedule=cdma", "averaging.snapshots=2"]


@pytest.fixture
def look(tmp_path, monkeypatch, capfd):
    """``look(*words)``: the status, the rows of the table as lists of words, and all that was said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lab", "schedule"])

    def call(*words):
        status = main([*GRADED, *words])
        out, err = capfd.readouterr()
        rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if line.startswith("│")]
        return status, rows, out + err

    return call


def test_the_table_is_what_the_run_then_does(look, tmp_path):
    words = [*FOUR, "schedule.span=task", "averaging.over=task", "averaging.window=0.5"]
    status, rows, said = look(*words)
    assert status == 0
    assert list(tmp_path.iterdir()) == []
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    found = load(train(composed(*GRADED, *words, f"paths.runs={tmp_path}"))).scheduled
    ends = [0, *found["tasks"]]
    assert f": {ends[-1]} steps" in said
    assert found["steps"] == list(range(1, ends[-1] + 1)), "short enough for every step to be a point"
    for (_, steps, *rates, worst, best, taken), first, end in zip(rows, ends, ends[1:], strict=False):
        assert (steps, taken) == (str(end - first), "2")
        own = 0.1 * found["rate"][:, first:end]
        expected = [own[:, place].mean() for place in (0, (end - first - 1) // 2, -1)]
        assert [float(rate) for rate in rates] == pytest.approx(expected, rel=1e-3)
        tenth = -(-(end - first) // 10)
        met = found["quality"][:, first:end].mean(0)
        assert float(worst) == pytest.approx(met[:tenth].mean(), abs=0.01)
        assert float(best) > float(worst)


def test_members_of_a_kind_have_rows_of_their_own(look):
    status, rows, _ = look("seeds=4", "schedule=wsd", "schedule.final=[1,0.5,1,0.5]")
    assert status == 0
    assert [row[:2] for row in rows] == [[f"schedule.final={final}", task] for final in ("1", "0.5") for task in ("1", "2")]
    assert len({row[5] for row in rows}) == 2


def test_of_many_tasks_some_are_shown(look):
    _, rows, said = look("environment.base.tasks=30", "batch_size=4")
    assert (len(rows), rows[0][0], rows[-1][0]) == (20, "1", "30")
    assert "20 of 30 tasks, evenly spaced" in said


def test_learners_that_score_are_trained_where_that_is_asked_for(look, tmp_path):
    words = ("order=ascending", "order.score=reference", "order.reference.folds=2", "seed_for.stream=0")
    status, rows, said = look(*words)
    assert (status, len(rows[0]), list(tmp_path.iterdir())) == (0, 5, [])
    assert "Without the scores" in said
    status, rows, said = look(*words, "--scores")
    assert (status, len(rows[0])) == (0, 7)
    assert all(float(last) > float(first) for *_, first, last in rows)
    assert "score: first tenth" in said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["scores"]


def test_the_figure_is_of_the_kind_that_its_name_says(look, tmp_path):
    status, _, said = look("co_schedule=wsd_uniform", "--figure", "new/look.svg", "seeds=1")
    assert status == 0
    assert said.splitlines()[-1] == "new/look.svg"
    assert "training step" in re.sub(r"<!--|-->", "", (tmp_path / "new" / "look.svg").read_text())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["co_schedule=cdmx"], "lab: co_schedule=cdmx: there is none. Did you mean cdma?"),
        (["schedule.warmpu=0.1"], "lab: schedule.warmpu: there is no such key. Did you mean schedule.warmup?"),
        (["schedule=wsd", "schedule.warmup=0.9"], "lab: schedule.warmup=0.9, schedule.decay=0.2: "),
        (["averaging=sma", "averaging.snapshots=99"], "lab: averaging.snapshots=99: expected at most "),
        (["--figure", "look.jpg"], "lab: --figure=look.jpg: expected a name that ends in .png, .svg, .pdf"),
        (["seeds=1,2"], "Ambiguous value for argument 'seeds=1,2'"),
    ],
)
def test_mistakes_are_those_of_a_run(look, tmp_path, words, told):
    status, _, said = look(*words)
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert told in said
