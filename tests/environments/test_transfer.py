"""Source, reset, target."""

import numpy as np
import pytest
import torch

from environments.motif_families import MotifFamilies
from environments.sources.digits import digits
from environments.split import Split
from environments.transfer import Transfer
from lab.comparison import cells_of, compare
from lab.comparison.cells import Run
from lab.errors import UserError
from lab.experiment import Experiment
from lab.recorded import load_recorded
from lab.results import load
from lab.run import composed
from lab.stream import Budget

from ..lab.forked import SMALL, train


@pytest.fixture(scope="module")
def base():
    return MotifFamilies(["A1", "A1b", "A2"], length=16, train=20, test=10)


def test_in_turn_the_sources_keep_their_phases_and_the_target_begins_anew(base):
    plain, stream = base.stream(3), Transfer(base, sources=2).stream(3)
    assert [phase.fresh for phase in stream.phases] == [False, False, True]
    assert [phase.completes for phase in stream.phases] == [0, 1, 2]
    for ours, theirs in zip(stream.phases, plain.phases, strict=True):
        assert torch.equal(ours.examples, theirs.examples)


def test_jointly_the_sources_are_one_phase_of_as_much_effort(base):
    source, target = Transfer(base, sources=2, joint=True).stream(3).phases
    assert (source.completes, source.fresh, source.effort) == (1, False, 2)
    assert (target.completes, target.fresh, target.effort) == (2, True, 1)
    assert source.tasks.bincount().tolist() == [20, 20]
    assert set(source.examples.tolist()) == set(range(40))


def test_the_source_has_as_many_more_steps_as_effort_says(base):
    stream = Transfer(base, sources=2, joint=True, effort=1.6).stream(3)
    assert [Budget(8, steps=50).steps_for(phase) for phase in stream.phases] == [160, 50]


def test_all_tasks_behind_the_sources_are_the_target():
    stream = Transfer(Split(digits(), 5), sources=2).stream(0)
    assert [phase.fresh for phase in stream.phases] == [False, False, True, False, False]


def test_one_task_at_least_is_left_as_the_target(base):
    with pytest.raises(UserError, match=r"environment\.sources=3.*at most 2"):
        Transfer(base, sources=3).stream(0)


def composed_transfer(*words):
    return composed("environment=transfer", *(word for word in SMALL if not word.startswith("environment")), *words)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["strategy=joint"], "Joint trains on a stream of its own"),
        (["strategy=from_scratch"], "FromScratch sets or holds parameters itself"),
        (["strategy=gdumb"], "GDumb sets or holds parameters itself"),
        (["strategy=avalanche", "plan.stack=auto"], "Avalanche.* trains by a loop of its own, which does not"),
        (["averaging=sma", "averaging.over=run"], r"averaging\.over=run: this environment resets the weights"),
        (["order=ascending", "order.over=stream", "order.score=reference"], r"order\.over=stream: leaves no boundary"),
        (["order=ascending", "order.over=tasks", "order.score=reference"], r"order\.over=tasks"),
    ],
)
def test_who_cannot_bear_a_reset_is_refused_before_training(words, told):
    with pytest.raises(UserError, match=told):
        Experiment(composed_transfer(*words))


def test_the_target_is_measured_by_itself(tmp_path):
    config = composed_transfer("strategy=er", "seeds=2", "steps=8", "evaluation.every=2", f"paths.runs={tmp_path}")
    results = load(train(config))
    first = 1
    assert results.curves["fresh"] == [first]
    own = [e for e, task in enumerate(results.curves["task"]) if task > first]
    assert results.metrics["target_aulc"].shape == (2,)
    assert results.metrics["target_accuracy"].tolist() == results.accuracy[:, -1, first:].mean(1).tolist()
    assert len(own) >= 4


def test_arms_that_keep_and_drop_what_was_laid_down_are_paired_by_seed(tmp_path):
    """The experiment as its header says, in miniature: alike up to the reset, compared seed by seed behind it."""
    few = {"train": 24, "test": 20, "length": 16}
    words = [f"environment.base.{name}={count}" for name, count in few.items()]
    words += ["experiment=motif_transfer_small", "seeds=2", "epochs=2", "evaluation.every=1", "tracking=off"]
    words += ["trainer.enable_progress_bar=false", "plan.processes=1", "plan.stack=true", f"paths.runs={tmp_path}"]
    runs = []
    for carry in ("keep", "reset"):
        folder = train(composed(*words, f"strategy.pheromone.carry={carry}"))
        runs.append(Run(folder, load(folder)))
    kept, dropped = (run.results.curves["accuracy"] for run in runs)
    reset = next(e for e, task in enumerate(runs[0].results.curves["task"]) if task > 2)
    np.testing.assert_array_equal(kept[:, :reset], dropped[:, :reset])
    fields = [load_recorded(run.folder).values["pheromone.field_0"] for run in runs]
    np.testing.assert_array_equal(fields[0][:reset], fields[1][:reset])
    assert (fields[0][reset] != fields[1][reset]).any()
    found = compare(cells_of(runs, ("target_aulc",)), ("target_aulc",))
    assert [(row.cell, row.seeds) for row in found.differences if row.paired] == [("pheromone carry=reset", [0, 1])]
    overlap = runs[0].results.diagnostics["environment.overlap_A1_A2"]
    assert overlap.shape == (2,)
    assert ((overlap >= 0) & (overlap < 0.3)).all()
