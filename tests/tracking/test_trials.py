"""Trials of a sweep in the store: each once, as it is now, with its seeds below it."""

import pytest

from lab.tracking import Study, Tried, labels, publish_sweep
from lab.tracking.entries import Entry
from lab.tracking.trials import CONTENT

BEGAN = 1_700_000_000_000


def tried(number, accuracy=0.5, state="complete"):
    lost = state == "failed"
    points = [] if lost else [("tuning/accuracy", accuracy, 0), ("tuning/reported", 0.3, 1)]
    tags = {"lab.kind": labels.TRIAL, "trial": str(number), "state": state}
    seeds = [
        Entry(f"seed {seed}", {"seed": str(seed)}, {"lab.kind": labels.TUNING_SEED}, [("tuning/accuracy", accuracy, 0)])
        for seed in ([] if lost else [1000, 1001])
    ]
    entry = Entry(f"er, trial {number}", {"optimizer.lr": "0.03"}, tags, points, lost)
    return Tried(entry, seeds, BEGAN + 1000 * number, BEGAN + 1000 * number + 900)


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "sweeps" / "tuned"
    for file in ("report.html", "journal.log", "figures/history.svg", "populations/0a/results.json"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(file)
    return folder


@pytest.fixture
def send(home, settings):
    def now(*trials, name="it's tuned", **changed):
        sweep = Study(name, "**Tuned.**", home, {"forced": None}, {"trials": 2.0}, labels.SWEEP, ("report.html", "figures/*"))
        return publish_sweep(sweep, list(trials), settings | changed)

    return now


def runs(client, settings, kind):
    experiment = client.get_experiment_by_name(settings["experiment"])
    return client.search_runs(
        [experiment.experiment_id], f"tags.`lab.kind` = '{kind}'", order_by=["attributes.start_time DESC"]
    )


def test_a_trial_is_a_run_with_its_seeds_below(send, settings, client):
    assert send(tried(0), tried(1, state="failed")) is None
    failed, done = runs(client, settings, labels.TRIAL)
    assert (done.info.run_name, failed.info.run_name) == ("er, trial 0", "er, trial 1")
    assert (done.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert done.data.metrics == {"tuning/accuracy": 0.5, "tuning/reported": 0.3}
    assert [point.step for point in client.get_metric_history(done.info.run_id, "tuning/reported")] == [1]
    assert done.data.params == {"optimizer.lr": "0.03"}
    assert (done.info.start_time, done.info.end_time) == (BEGAN, BEGAN + 900)
    seeds = runs(client, settings, labels.TUNING_SEED)
    assert [run.info.run_name for run in seeds] == ["seed 1000", "seed 1001"]
    assert {run.data.tags["mlflow.parentRunId"] for run in seeds} == {done.info.run_id}


def test_the_report_is_a_run_without_what_trials_left(send, settings, client):
    send(tried(0))
    (run,) = runs(client, settings, labels.SWEEP)
    assert run.info.run_name == "sweep: it's tuned"
    assert run.data.metrics == {"trials": 2.0}
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"report.html", "figures"}


def test_what_is_there_is_not_sent_again_and_what_changed_is(send, settings, client):
    send(tried(0), tried(1))
    first, second = (run.info.run_id for run in runs(client, settings, labels.TRIAL)[::-1])
    send(tried(0), tried(1, 0.7), tried(2))
    found = {run.data.tags["trial"]: run for run in runs(client, settings, labels.TRIAL)}
    assert found["0"].info.run_id == first
    assert found["1"].info.run_id != second
    assert found["1"].data.metrics["tuning/accuracy"] == 0.7
    assert len(found) == len(runs(client, settings, labels.TRIAL)) == 3
    assert len(runs(client, settings, labels.TUNING_SEED)) == 6
    assert len(runs(client, settings, labels.SWEEP)) == 1


def test_what_was_cut_off_is_made_anew(send, settings, client):
    send(tried(0))
    (run,) = runs(client, settings, labels.TRIAL)
    client.delete_tag(run.info.run_id, CONTENT)
    send(tried(0))
    (again,) = runs(client, settings, labels.TRIAL)
    assert again.info.run_id != run.info.run_id
    assert len(runs(client, settings, labels.TUNING_SEED)) == 2


def test_what_the_user_deleted_stays_deleted(send, settings, client):
    send(tried(0), tried(1))
    for run in (*runs(client, settings, labels.TRIAL), *runs(client, settings, labels.TUNING_SEED)):
        client.delete_run(run.info.run_id)
    send(tried(0), tried(1))
    assert runs(client, settings, labels.TRIAL) == []


def test_two_sweeps_share_an_experiment(send, settings, client):
    send(tried(0))
    send(tried(0), tried(1), name="other")
    assert len(runs(client, settings, labels.TRIAL)) == 3
    assert len(runs(client, settings, labels.SWEEP)) == 2


def test_a_store_that_is_away_costs_a_sentence(send):
    warning = send(tried(0), uri="http://127.0.0.1:9", timeout=1)
    assert "sent with the next `lab sweep it's tuned`" in warning
    assert warning.count("\n") == 0
