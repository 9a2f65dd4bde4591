"""What the machine does meanwhile: kept in the run directory, and series of the cell."""

import json
import threading
import time

import pytest

from lab.errors import UserError
from lab.tracking import check, publish, sampled, system
from lab.workers import side_by_side

SETTINGS = {"enabled": True, "uri": "sqlite:///mlflow.db", "experiment": "x", "timeout": 5, "system_metrics": True}


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(system, "EVERY", 0.05)


def samples(folder):
    return json.loads((folder / system.FILE).read_text())


@pytest.mark.parametrize("off", [{"system_metrics": False}, {"enabled": False}])
def test_unless_it_is_asked_for_nothing_happens(tmp_path, off):
    before = threading.active_count()
    with sampled(SETTINGS | off, tmp_path):
        assert threading.active_count() == before
    with sampled({"enabled": False}, tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_samples_are_taken_while_it_lasts_and_added_to_those_of_an_interrupted_run(tmp_path):
    folder = tmp_path / "made meanwhile"

    def interrupted():
        with sampled(SETTINGS, folder):
            folder.mkdir()
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                pass
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    first = samples(folder)
    assert max(sample["values"]["cpu_utilization_percentage"] for sample in first) > 0
    assert len(first) >= 2
    assert {"cpu_utilization_percentage", "system_memory_usage_megabytes", "disk_usage_percentage"} <= set(first[0]["values"])
    assert not [thread for thread in threading.enumerate() if thread.name == "system metrics"]
    with sampled(SETTINGS, folder):
        pass
    assert samples(folder)[:-1] == first
    times = [sample["time"] for sample in samples(folder)]
    assert times == sorted(times)


def test_without_a_run_directory_in_the_end_nothing_is_kept(tmp_path):
    with sampled(SETTINGS, tmp_path / "none"):
        pass
    assert not list(tmp_path.iterdir())


def test_a_monitor_that_fails_is_left_out_and_the_run_goes_on(tmp_path, monkeypatch):
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor

    def broken(self):
        raise OSError("no such disk")

    monkeypatch.setattr(DiskMonitor, "collect_metrics", broken)
    with sampled(SETTINGS, tmp_path):
        time.sleep(0.1)
    assert "disk_usage_percentage" not in samples(tmp_path)[0]["values"]
    assert "cpu_utilization_percentage" in samples(tmp_path)[-1]["values"]


def test_processes_are_forked_beside_it(tmp_path):
    with sampled(SETTINGS, tmp_path):
        assert side_by_side([lambda report: 1, lambda report: 2], lambda *_: None, ()) == [1, 2]
    assert samples(tmp_path)


def test_they_are_series_of_the_cell_at_their_times(make_run, settings, client):
    folder = make_run(members=2, points=0)
    taken = [{"time": 1_700_000_000_000 + 5000 * i, "values": {"cpu_utilization_percentage": 50.0 + i}} for i in range(3)]
    (folder / system.FILE).write_text(json.dumps(taken))
    publish(folder, settings)
    runs = client.search_runs([client.get_experiment_by_name("continual-learning").experiment_id])
    having = [run for run in runs if "system/cpu_utilization_percentage" in run.data.metrics]
    assert [run.data.tags["lab.kind"] for run in having] == ["cell"]
    history = client.get_metric_history(having[0].info.run_id, "system/cpu_utilization_percentage")
    assert [(point.step, point.timestamp, point.value) for point in history] == [
        (i, sample["time"], 50.0 + i) for i, sample in enumerate(taken)
    ]


def test_samples_that_cannot_be_read_are_none(tmp_path):
    (tmp_path / system.FILE).write_text("torn [")
    assert list(system.points(tmp_path)) == []
    with sampled(SETTINGS, tmp_path):
        pass
    assert len(samples(tmp_path)) == 1


def test_what_cannot_be_is_refused_before_training(monkeypatch):
    with pytest.raises(UserError, match=r"^tracking\.system_metrics=often: expected true or false"):
        check(SETTINGS | {"system_metrics": "often"})
    monkeypatch.setattr(system, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^tracking\.system_metrics=True: expected psutil to be installed"):
        check(SETTINGS)
    check(SETTINGS | {"system_metrics": False})
