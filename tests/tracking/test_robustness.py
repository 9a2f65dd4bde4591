"""A store that goes away, is locked, or is asked by two at once: nothing is lost, nothing is there twice."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, contextmanager

import pytest

from lab import tracking
from lab.tracking import Place, outbox, publish, publish_study
from lab.tracking.sending import PARENT, Sending
from lab.tracking.store import import_mlflow


def whole(client, name, members):
    """Assert that the experiment has one finished cell with its members, and nothing else that is active."""
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    (parent,) = (run for run in runs if PARENT not in run.data.tags)
    assert sorted(run.info.run_name for run in runs if run is not parent) == sorted(f"seed {seed}" for seed in members)
    assert {run.data.tags[PARENT] for run in runs if run is not parent} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert "results.json" in {file.path for file in client.list_artifacts(parent.info.run_id)}


@contextmanager
def server(folder, port):
    """MLflow's server as a process of its own; killed in the end, or before."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
    command += ["--artifacts-destination", str(folder / "served"), "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    nothing = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=folder, env=os.environ | quiet, start_new_session=True, **nothing)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield process
    finally:
        stop(process)


def stop(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_stopped_in_the_middle_and_back_later(make_run, settings, tmp_path, monkeypatch):
    folder = make_run(members=3)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    there = settings | {"uri": f"http://127.0.0.1:{port}", "timeout": 30}
    log = Sending._log
    calls = []

    def stopping(self, run, *points):
        calls.append(run)
        if len(calls) == 3:  # the cell and its first member are there, the second has begun
            stop(process)
        log(self, run, *points)

    with server(tmp_path, port) as process, monkeypatch.context() as patch:
        patch.setattr(Sending, "_log", stopping)
        warning = publish(folder, there)
    assert f"tracking.uri=http://127.0.0.1:{port}: does not answer; the run is kept" in warning
    assert len(calls) == 3
    assert outbox.waiting(folder.parent.parent, Place.of(there)) == [folder]
    monkeypatch.setattr(tracking, "_silent", {})
    with server(tmp_path, port):
        assert publish(folder, there) is None
        client = import_mlflow(10).MlflowClient(there["uri"])
        whole(client, "continual-learning", (3, 7, 11))
        assert publish(folder, there) is None
        whole(client, "continual-learning", (3, 7, 11))


@contextmanager
def locked(file, seconds):
    """Another writer holds the SQLite file for so long, or until the end."""
    held, over = threading.Event(), threading.Event()

    def hold():
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            held.set()
            over.wait(seconds)
            connection.rollback()

    writer = threading.Thread(target=hold)
    writer.start()
    held.wait()
    try:
        yield
    finally:
        over.set()
        writer.join()


def test_a_store_locked_for_seconds_is_waited_for(make_run, settings, client, tmp_path):
    folder = make_run(points=0)
    with locked(tmp_path / "mlflow.db", 3):
        began = time.monotonic()
        assert publish(folder, settings) is None
        assert time.monotonic() - began > 2.5
    whole(client, "continual-learning", (3, 7))


@pytest.mark.parametrize("when", ["at once", "in the middle"])
def test_a_store_locked_for_longer_than_the_timeout_gets_the_run_later(make_run, settings, client, tmp_path, monkeypatch, when):
    folder = make_run(points=0)
    monkeypatch.setattr(tracking, "_silent", {})
    if when == "in the middle":
        log, lock = Sending._log, locked(tmp_path / "mlflow.db", 60)

        def locking(self, *points):
            lock.__enter__()
            log(self, *points)

        monkeypatch.setattr(Sending, "_log", locking)
    else:
        lock = locked(tmp_path / "mlflow.db", 60)
        lock.__enter__()
    began = time.monotonic()
    warning = publish(folder, settings | {"timeout": 2})
    assert time.monotonic() - began < 10
    assert "the run is kept" in warning
    lock.__exit__(None, None, None)
    monkeypatch.undo()
    monkeypatch.setattr(tracking, "_silent", {})
    assert publish(folder, settings) is None
    whole(client, "continual-learning", (3, 7))


def test_a_locked_store_costs_a_study_s_report_a_sentence(settings, tmp_path):
    report = tmp_path / "report"
    report.mkdir()
    with locked(tmp_path / "mlflow.db", 60):
        warning = publish_study("replay", "note", report, settings | {"timeout": 1}, {}, {})
    assert "sent with the next `lab study replay`" in warning


def test_twenty_members_ten_tasks_and_a_hundred_points_are_all_there(make_run, settings, client):
    """What that costs is measured by `tests/benchmarks/speed.py --only tracking`."""
    folder = make_run(members=20, tasks=10, points=10)
    assert publish(folder, settings) is None
    runs = client.search_runs([client.get_experiment_by_name("continual-learning").experiment_id])
    assert len(runs) == 21
    last = max((run for run in runs if PARENT in run.data.tags), key=lambda run: int(run.data.params["seed"]))
    for name in ("tasks met", "on task 01", "on task 10"):
        assert len(client.get_metric_history(last.info.run_id, f"accuracy by step/{name}")) == 100 + (name != "tasks met")
