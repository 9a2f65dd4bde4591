"""A sweep in MLflow: what trials are called there, what they have, and how they lead back to Optuna's study."""

import pytest

from lab.sweep.tracked import send
from lab.tracking import labels

from ..lab.sweep.made import found


@pytest.fixture
def home(tmp_path):
    (tmp_path / "report.html").write_text("a report")
    return tmp_path


def test_trials_lead_to_their_study_and_the_winner_is_marked(settings, client, home):
    made = found(forced=True)
    assert send(made, home, settings | {"experiment": "tuned"}) is None
    experiment = client.get_experiment_by_name("tuned").experiment_id
    runs = client.search_runs([experiment], f"tags.`lab.kind` = '{labels.TRIAL}'", max_results=100)
    by_name = {run.info.run_name: run.data for run in runs}
    assert len(by_name) == 30
    er = made.arms[1]
    best = by_name[f"er, trial {er.winner.number}"]
    assert best.params["strategy.er.memory"] == "500"
    assert float(best.params["optimizer.lr"]) == er.winner.settings["optimizer.lr"]  # to the bit
    assert best.metrics["tuning/accuracy"] == pytest.approx(er.winner.values["accuracy"])
    assert (best.tags["optuna.study"], best.tags["optuna.storage"]) == ("tuned.er", "journal.log")
    assert [data.tags["arm"] for data in by_name.values() if data.tags.get("winner")] == ["er", "naive"]
    assert {data.tags["forced"] for data in by_name.values()} == {"chosen on test data"}
    states = [data.tags["state"] for name, data in by_name.items() if name.startswith("er")]
    assert {state: states.count(state) for state in states} == er.counts
    seeds = client.search_runs([experiment], f"tags.`lab.kind` = '{labels.TUNING_SEED}'", max_results=200)
    assert len(seeds) == 2 * 14 * 3  # but for the trials that failed, which have none
    (sweep,) = client.search_runs([experiment], f"tags.`lab.kind` = '{labels.SWEEP}'")
    assert "**Chosen on test data: these figures flatter.**" in sweep.data.tags["mlflow.note.content"]
    assert "| er tuned | optimizer.lr=" in sweep.data.tags["mlflow.note.content"]
