import os
from pathlib import Path

import numpy as np
import pytest
import torch

from environments.drift import Drift, previous_label
from environments.sources.elec2 import elec2
from environments.sources.weather import weather
from lab.errors import UserError
from lab.experiment import Experiment
from lab.progress import Progress
from lab.results import load
from lab.testing import composed

DATA = os.environ.get("LAB_DATA")
needs_tables = pytest.mark.skipif(not DATA or not (Path(DATA) / "elec2.npz").exists(), reason="LAB_DATA has no elec2.npz")


def test_segments_are_met_in_order_and_their_ends_are_tested(make):
    drift = Drift(make(2, examples=20, shape=(3,), dtype=torch.float32, ordered=True), tasks=3, test=0.2, validation=0.1)
    assert len(drift.data.train) == 60, "the source's train and test rows, one after the other"
    stream = drift.stream(0)
    assert [task.train.tolist() for task in stream.tasks] == [list(range(a, a + 14)) for a in (0, 20, 40)]
    assert [task.validation.tolist() for task in stream.tasks] == [list(range(a, a + 2)) for a in (14, 34, 54)]
    assert [task.test.tolist() for task in stream.tasks] == [list(range(a, a + 4)) for a in (16, 36, 56)]
    assert all(phase.ordered and not phase.announced for phase in stream.phases)
    assert stream.prequential
    assert (stream.scenario, stream.outputs) == ("domain", 2)
    assert all(phase.announced for phase in Drift(drift.data, 3, announced=True).stream(0).phases)


def test_the_previous_label_by_hand():
    targets = torch.tensor([0, 0, 1, 1, 1, 0, 1, 1])
    # Task 1: (none) 0 0 1 -> right, wrong. Task 2: 1 1 0 after 1 -> right, right, wrong. Row 3 is not met: row 4 follows row 2.
    rows = [torch.tensor([0, 1, 2]), torch.tensor([4, 5, 6, 7])]
    assert torch.allclose(previous_label(targets, rows), torch.tensor([1 / 2, 2 / 4]))
    assert previous_label(targets, [torch.arange(8)]).item() == pytest.approx(4 / 7)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"tasks": 0}, r"environment\.tasks=0"),
        ({"tasks": 30}, r"environment\.tasks=30: expected fewer: segments of 2 rows"),
        ({"test": 0}, r"environment\.test=0: expected a number above 0"),
        ({"test": 0.6, "validation": 0.5}, r"environment\.test=0\.6: expected less than 1 together with validation=0\.5"),
        ({"test": -1}, r"environment\.test=-1"),
        ({"validation": 2}, r"environment\.validation=2"),
        ({"announced": "never"}, r"environment\.announced=never"),
    ],
)
def test_options_out_of_range_are_refused(make, options, key):
    with pytest.raises(UserError, match=key):
        Drift(make(2, examples=20, shape=(3,), dtype=torch.float32, ordered=True), **options)


def test_data_without_an_order_are_refused(make):
    with pytest.raises(UserError, match=r"environment\.source=made: expected a source in order of time"):
        Drift(make(), 2)


def test_results_hold_the_baseline_beside_the_accuracy_before_training(tables, tmp_path):
    small = ["network.width=4", "network.depth=1", "plan.processes=1", "tracking=off", "trainer.enable_progress_bar=false"]
    words = ["environment=drift", "environment.tasks=4", "seeds=2", f"data.dir={tables}", f"paths.runs={tmp_path}", *small]
    config = composed(*words)
    with Progress("drift", show=False) as progress:
        results = load(Experiment(config).run(progress))
    assert results.online_accuracy.shape == results.online_baseline.shape == (2, 4)
    labels = np.load(tables / "elec2.npz")["y"]
    met = [np.arange(100 * k, 100 * k + 80) for k in range(4)]
    same = np.r_[np.nan, labels[np.concatenate(met)][1:] == labels[np.concatenate(met)][:-1]].reshape(4, 80)
    assert np.allclose(results.online_baseline, np.nanmean(same, 1))
    assert np.allclose(results.metrics["online_baseline"], np.nanmean(same, 1).mean())
    assert np.allclose(results.metrics["online_accuracy"], results.online_accuracy.mean(1))
    with pytest.raises(UserError, match=r"epochs=2.*expected epochs=1"):
        Experiment(composed(*words, "epochs=2"))


@needs_tables
@pytest.mark.parametrize(("source", "expected"), [(elec2, 0.8533), (weather, 0.6803)])
def test_the_known_baselines(source, expected):
    table = Drift(source(DATA), tasks=10).data.train
    assert previous_label(table.targets, [torch.arange(len(table))]).item() == pytest.approx(expected, abs=5e-5)
    baseline = Drift(source(DATA), tasks=10).stream(0).baseline
    assert baseline.mean().item() == pytest.approx(expected, abs=0.01), "the held-out ends of segments change little"
