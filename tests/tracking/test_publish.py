"""Finished runs in a real SQLite store, looked at through MLflow's own client."""

import json
import multiprocessing
import os
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lab import tracking
from lab.dashboard import newest
from lab.errors import UserError
from lab.results import load
from lab.tracking import Place, check, outbox, publish, send_waiting
from lab.tracking.patience import Unanswered
from lab.tracking.sending import PARENT, Sending
from lab.tracking.store import Store


def runs_of(client, name="continual-learning"):
    """The active runs of the experiment: parents, and children by parent in the order of their names."""
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    parents = [run for run in runs if PARENT not in run.data.tags]
    children = sorted((run for run in runs if PARENT in run.data.tags), key=lambda run: int(run.data.params["seed"]))
    return parents, {p.info.run_id: [c for c in children if c.data.tags[PARENT] == p.info.run_id] for p in parents}


def series(client, run, name):
    return {point.step: point.value for point in client.get_metric_history(run.info.run_id, name)}


def test_a_cell_is_a_parent_and_its_members_are_children(make_run, settings, client):
    folder = make_run(members=3)
    assert publish(folder, settings) is None
    (parent,), children = runs_of(client)
    children = children[parent.info.run_id]
    measured = load(folder)
    assert parent.info.run_name == "er · permuted digits x3 · domain"
    assert [child.info.run_name for child in children] == ["seed 3", "seed 7", "seed 11"]
    assert parent.info.status == "FINISHED"
    assert parent.info.end_time - parent.info.start_time == 12_500
    assert parent.data.params["strategy"] == "er"
    assert parent.data.params["optimizer.lr"] == "0.1"
    for child in children:
        assert child.data.params == parent.data.params | {"seed": child.data.params["seed"]}
    for run in (parent, *children):
        assert run.data.tags["data.digest"] == "d1d1"
        assert run.data.tags["version.torch"] == "2.9"
        assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    for name in ("accuracy", "forgetting", "learning_accuracy", "anytime_accuracy"):
        values = measured.metrics[name]
        half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
        got = [parent.data.metrics[name + end] for end in ("", "_std", "_low", "_high")]
        wanted = [values.mean(), values.std(ddof=1), values.mean() - half, values.mean() + half]
        np.testing.assert_allclose(got, wanted, atol=1e-6)
        np.testing.assert_allclose([child.data.metrics[name] for child in children], values, atol=1e-6)


def test_series_are_the_accuracy_tensor_and_the_curves(make_run, settings, client):
    folder = make_run(members=2)
    publish(folder, settings)
    (parent,), children = runs_of(client)
    measured = load(folder)
    R, curves = measured.accuracy, measured.curves
    for m, child in enumerate(children[parent.info.run_id]):
        assert series(client, child, "accuracy by task/on task 02") == dict(enumerate(R[m, :, 1]))
        met = series(client, child, "accuracy by task/tasks met")
        wanted = [R[m, 1, 0], (R[m, 2, 0] + R[m, 2, 1]) / 2, R[m, 3].mean()]
        np.testing.assert_allclose([met[1], met[2], met[3]], wanted, atol=1e-6)
        got = series(client, child, "accuracy by step/on task 03")
        assert got == dict(zip(curves["steps"], curves["accuracy"][m, :, 2], strict=True))
    mean = series(client, parent, "accuracy by task/on task 01")[2]
    np.testing.assert_allclose(mean, (R[0, 2, 0] + R[1, 2, 0]) / 2, atol=1e-6)


def test_more_points_than_a_call_takes_all_arrive(make_run, settings, client):
    publish(make_run(members=1, tasks=6, points=30), settings)
    (parent,), children = runs_of(client)
    (child,) = children[parent.info.run_id]
    names = [f"accuracy by step/on task {j:02d}" for j in range(1, 7)]
    assert [len(series(client, child, name)) for name in names] == [181] * 6
    assert "accuracy_low" not in parent.data.metrics, "one seed has no interval"


def test_files_table_and_description_lie_on_the_parent(make_run, settings, client, tmp_path):
    folder = make_run()
    publish(folder, settings)
    (parent,), _ = runs_of(client)
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "accuracy_matrix.json", "config.yaml", "figures", "results.json",
    }  # fmt: skip
    assert [file.path for file in client.list_artifacts(parent.info.run_id, "figures")] == ["figures/accuracy_matrix.png"]
    table = json.loads(Path(client.download_artifacts(parent.info.run_id, "accuracy_matrix.json", str(tmp_path))).read_text())
    assert table["columns"] == ["after task", "on task 1", "on task 2", "on task 3"]
    assert [row[0] for row in table["data"]] == ["none", "1", "2", "3"]
    np.testing.assert_allclose([row[2] for row in table["data"]], load(folder).accuracy[:, :, 1].mean(0), atol=5e-5)
    assert f"| accuracy | {load(folder).metrics['accuracy'].mean():.4f} |" in parent.data.tags["mlflow.note.content"]


def test_a_diverged_member_is_marked_and_left_out(make_run, settings, client):
    publish(make_run(members=3, points=0, diverged=77), settings)
    (parent,), children = runs_of(client)
    *sound, lost = children[parent.info.run_id]
    assert [child.info.status for child in sound] == ["FINISHED", "FINISHED"]
    assert lost.info.status == "FAILED"
    assert lost.data.tags["diverged"] == "at step 77"
    assert lost.data.metrics["diverged_at_step"] == 77
    assert "accuracy" not in lost.data.metrics
    assert sorted(series(client, lost, "accuracy by task/on task 01")) == [0, 1]
    assert parent.data.metrics["seeds_diverged"] == 1
    np.testing.assert_allclose(parent.data.metrics["accuracy"], np.mean([c.data.metrics["accuracy"] for c in sound]), atol=1e-6)


# --- once -----------------------------------------------------------------------------------------------------------------


def test_a_run_is_sent_once_also_when_its_marker_or_its_folder_changed(make_run, settings, client, tmp_path):
    folder = make_run()
    publish(folder, settings)
    publish(folder, settings)
    (folder / outbox.MARKER).unlink()
    publish(folder, settings)
    (folder / outbox.MARKER).write_text("torn")
    publish(folder, settings)
    shutil.copytree(folder, tmp_path / "elsewhere" / "cell" / "seeds")
    (tmp_path / "elsewhere" / "cell" / "seeds" / outbox.MARKER).unlink()
    publish(tmp_path / "elsewhere" / "cell" / "seeds", settings)
    parents, children = runs_of(client)
    assert len(parents) == 1
    assert len(children[parents[0].info.run_id]) == 2


@pytest.mark.parametrize("when", ["_attach", "_end"])
def test_a_run_cut_off_while_it_was_sent_is_replaced(make_run, settings, client, monkeypatch, when):
    folder = make_run()
    calls = []

    def killed(self, *arguments):
        calls.append(arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Sending, when, killed)
        with pytest.raises(KeyboardInterrupt):
            publish(folder, settings)
    assert calls
    assert outbox.waiting(folder.parent.parent, Place.of(settings)) == [folder]
    assert publish(folder, settings) is None
    parents, children = runs_of(client)
    assert [run.info.status for run in parents] == ["FINISHED"]
    assert len(children[parents[0].info.run_id]) == 2
    assert len(client.search_runs([parents[0].info.experiment_id])) == 3, "nothing of the first attempt is left"


def test_what_a_user_deleted_there_stays_deleted(make_run, settings, client):
    folder = make_run()
    publish(folder, settings)
    client.delete_run(runs_of(client)[0][0].info.run_id)
    assert send_waiting(folder.parent.parent, settings, again=True) == (1, None)
    assert runs_of(client)[0] == []


def test_two_processes_make_one_fresh_store_together(make_run, tmp_path):
    """Both begin with no store at all; forked, since importing MLflow twice more would take longer than the rest."""
    folders = [make_run("first", points=0), make_run("second", points=0, wall=7.0)]
    runs = [shutil.copytree(run.parent, tmp_path / str(i) / run.parent.name) / "seeds" for i, run in enumerate(folders)]
    settings = {"uri": f"sqlite:///{tmp_path}/fresh/mlflow.db", "experiment": "shared", "timeout": 60}
    context = multiprocessing.get_context("fork")
    gate, warnings = context.Barrier(2), context.Queue()

    def work(folder):
        gate.wait()
        warnings.put(publish(folder, settings))

    processes = [context.Process(target=work, args=(folder,)) for folder in runs]
    for process in processes:
        process.start()
    assert [warnings.get(timeout=90) for _ in processes] == [None, None]
    for process in processes:
        process.join()
    from lab.tracking.store import import_mlflow

    client = import_mlflow(10).MlflowClient(settings["uri"])
    parents, _ = runs_of(client, "shared")
    assert {run.data.tags["lab.folder"] for run in parents} == set(map(str, runs))
    assert not list((tmp_path / "fresh").glob(".*.part"))


# --- when it cannot be sent -----------------------------------------------------------------------------------------------


def test_a_server_that_never_answers_costs_its_timeout_and_the_run_waits(make_run, settings):
    folder = make_run()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://user:secret@127.0.0.1:{silent.getsockname()[1]}"
        away = settings | {"uri": uri, "timeout": 1}
        began = time.monotonic()
        warning = publish(folder, away)
        assert time.monotonic() - began < 3
    assert "did not answer within 1 s" in warning
    began = time.monotonic()
    assert "did not answer a moment ago" in publish(make_run("next"), away)
    assert time.monotonic() - began < 0.5, "the next job of -m does not wait again"
    assert "secret" not in warning
    assert outbox.waiting(folder.parent.parent, Place.of(away)) == [folder, folder.parent.parent / "next" / "seeds"]


def test_a_closed_port_is_told_at_once(make_run, settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    began = time.monotonic()
    warning = publish(make_run(), settings | {"uri": f"http://127.0.0.1:{port}", "timeout": 20})
    assert time.monotonic() - began < 5
    assert f"tracking.uri=http://127.0.0.1:{port}" in warning
    assert f"{port}: does not answer; the run is kept" in warning


@pytest.mark.parametrize(
    "uri", ["nonsense://x", "", "file:///tmp/mlruns", "sqlite:///{}/occupied/mlflow.db", "sqlite:///{}/torn.db"]
)
def test_a_store_that_cannot_be_is_a_warning(make_run, settings, tmp_path, uri):
    (tmp_path / "occupied").write_text("a file, not a folder")
    (tmp_path / "torn.db").write_text("no database at all, but long enough to be one" * 50)
    folder = make_run()
    began = time.monotonic()
    warning = publish(folder, settings | {"uri": uri.format(tmp_path), "timeout": 20})
    assert "the run is kept" in warning
    assert time.monotonic() - began < 10
    assert "\n" not in warning


def test_what_waits_is_sent_with_the_next_run(make_run, settings, client, tmp_path):
    (tmp_path / "later").write_text("in the way")
    later = settings | {"uri": f"sqlite:///{tmp_path}/later/mlflow.db"}
    first = make_run("first", points=0)
    assert "the run is kept" in publish(first, later)
    (tmp_path / "later").unlink()
    (tmp_path / "later").mkdir()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "later" / "mlflow.db")
    second = make_run("second", points=0, wall=7.0)
    assert publish(second, later) is None
    assert outbox.waiting(tmp_path / "runs", Place.of(later)) == []
    from lab.tracking.store import import_mlflow

    parents, _ = runs_of(import_mlflow(10).MlflowClient(later["uri"]))
    assert {run.data.tags["lab.folder"] for run in parents} == {str(first), str(second)}


def test_a_damaged_run_does_not_hold_up_the_others(make_run, settings, client):
    damaged, sound = make_run("a", points=0), make_run("b", points=0, wall=7.0)
    (damaged / "results.json").write_text("{}")
    outbox.note(damaged, Place.of(settings), None)
    warning = publish(sound, settings)
    assert "not tracked" in warning
    assert str(damaged) in warning
    assert [run.data.tags["lab.folder"] for run in runs_of(client)[0]] == [str(sound)]


@pytest.fixture
def three_waiting(make_run, settings):
    """Run directories that wait for the store, the oldest first."""
    folders = [make_run(name, points=0, wall=wall) for name, wall in (("a", 5.0), ("b", 6.0), ("c", 7.0))]
    for age, folder in enumerate(folders):
        os.utime(folder / "results.json", (1e9 + age, 1e9 + age))
        outbox.note(folder, Place.of(settings), None)
    return folders


def test_runs_that_the_store_rejects_do_not_hold_up_those_after_them(three_waiting, settings, client, monkeypatch):
    send, (oldest, other, sound) = Sending.send, three_waiting

    def picky(self):
        if self.folder != sound:
            raise RuntimeError(f"no room for {self.folder.parent.name}")
        return send(self)

    monkeypatch.setattr(Sending, "send", picky)
    sent, warning = send_waiting(sound.parent.parent, settings)
    assert sent == 1
    assert f"{oldest}: no room for a; 2 runs are kept and tried again" in warning
    assert [run.data.tags["lab.folder"] for run in runs_of(client)[0]] == [str(sound)]
    assert outbox.waiting(sound.parent.parent, Place.of(settings)) == [oldest, other]
    monkeypatch.undo()
    assert send_waiting(sound.parent.parent, settings) == (2, None)


@pytest.mark.parametrize("error", [Unanswered("silent"), RuntimeError("the connection broke")], ids=lambda e: str(e))
def test_a_store_that_goes_away_meanwhile_is_not_asked_for_every_run(three_waiting, settings, client, monkeypatch, error):
    asked = []

    def away(self, *_):
        raise error

    monkeypatch.setattr(Sending, "send", away)
    monkeypatch.setattr(Store, "experiments", away)
    monkeypatch.setattr(tracking, "_silent", {})
    sent, warning = send_waiting(three_waiting[0].parent.parent, settings, report=asked.append)
    assert (sent, asked) == (0, three_waiting[:1])
    assert f"{error}; 3 runs are kept and sent" in warning


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"timeout": "soon"}, {"timeout": None}, {"timeout": True}, {"uri": None}, {"uri": " "}, {"experiment": 3}],
)
def test_settings_that_cannot_serve_are_refused_before_training(wrong):
    sound = {"enabled": True, "uri": "sqlite:///mlflow.db", "experiment": "x", "timeout": 0.5}
    check(sound)
    (key,) = wrong
    with pytest.raises(UserError, match=f"^tracking.{key}={wrong[key]}: expected"):
        check(sound | wrong)


def test_a_run_with_tracking_off_is_not_sent_with_others(make_run, settings):
    make_run("off", tracking={"enabled": False})
    assert outbox.waiting(make_run("on", tracking=settings).parent.parent, Place.of(settings)) == [
        make_run("dummy", tracking=settings | {"uri": "http://127.0.0.1:1"}).parent.parent / "on" / "seeds"
    ]


def test_a_store_that_was_removed_gets_the_run_again(make_run, settings, client, tmp_path, empty_store):
    folder = make_run(points=0)
    publish(folder, settings)
    assert outbox.is_sent(folder, Place.of(settings))
    (tmp_path / "mlflow.db").unlink()
    assert not outbox.is_sent(folder, Place.of(settings))


def test_all_runs_can_be_sent_again_to_a_store_that_lost_them(make_run, settings, client, tmp_path, empty_store):
    folders = [make_run("first", points=0), make_run("second", points=0, wall=7.0)]
    for folder in folders:
        publish(folder, settings)
    for run in client.search_runs([client.get_experiment_by_name("continual-learning").experiment_id]):
        client.set_tag(run.info.run_id, "lab.results", "of another life")
    assert send_waiting(tmp_path / "runs", settings) == (0, None)
    assert send_waiting(tmp_path / "runs", settings, again=True) == (2, None)
    assert sorted(run.data.tags["lab.folder"] for run in runs_of(client)[0]) == sorted(map(str, folders * 2))


def test_the_dashboard_opens_where_the_newest_runs_are_if_the_configured_experiment_has_none(make_run, settings, capsys):
    for number, name in enumerate(("first study", "second study")):
        run = make_run(name, points=0)
        os.utime(run / "results.json", (1.8e9 + 60 * number, 1.8e9 + 60 * number))
        assert publish(run, settings | {"experiment": name}) is None
    assert newest(settings)["experiment"] == "second study"
    assert "this is second study; there are also first study (--experiment NAME)" in capsys.readouterr().err
    assert publish(make_run("plain", points=0), settings) is None
    assert newest(settings)["experiment"] == "continual-learning"
