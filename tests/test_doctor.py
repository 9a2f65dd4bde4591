"""The doctor on this machine, and on what is wrong."""

import json
import socket
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from lab import doctor
from lab.doctor import data, main, own_packages, runs, tracking, unmet

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def nobody_elses_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("LAB_DATA", raising=False)


def findings(capsys, *arguments):
    status = main([*arguments, "--json"])
    return status, {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_this_installation_is_sound_and_each_thing_has_a_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    status, found = findings(capsys)
    assert status == 0, found
    assert all(finding["ok"] for finding in found.values())
    assert metadata.version("torch") in found["packages"]["text"]
    assert str(ROOT) in found["own code"]["text"]
    assert "digits" in found["data"]["text"]
    assert "will be made by the first run" in found["tracking"]["text"]
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"


def test_what_is_wrong_is_marked_and_makes_the_status_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e18)
    assert main(["--data", str(tmp_path / "nowhere")]) == 1
    lines = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["data"].startswith("!!")
    assert "nowhere: no such folder" in lines["data"]
    assert lines["runs"].startswith("!!")
    assert lines["runs"].endswith("are needed")
    assert lines["python"].startswith("ok")


def test_a_check_that_fails_itself_is_a_finding(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "packages", lambda: 1 / 0)
    status, found = findings(capsys)
    assert status == 1
    assert found["packages"] == {"name": "packages", "ok": False, "text": "ZeroDivisionError: division by zero"}


def test_requirements_are_compared_with_what_is_installed():
    installed = metadata.version("numpy")
    elsewhere = ['numpy>=99; extra == "later"', 'numpy>=99; python_version < "3"']
    assert list(unmet(["numpy>=1.0", "numpy>=99", "no-such-distribution>=1", *elsewhere])) == [
        f"numpy {installed} is installed, numpy>=99 is needed",
        "no-such-distribution>=1 is not installed",
    ]


def test_a_package_of_the_same_name_from_elsewhere_is_found(monkeypatch, tmp_path):
    assert own_packages(ROOT)[0]
    foreign = tmp_path / "strategies"
    foreign.mkdir()
    (foreign / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "strategies", raising=False)
    ok, text = own_packages(ROOT)
    assert not ok
    assert f"`import strategies` gives {foreign / '__init__.py'}, not {ROOT / 'strategies'}" in text


def test_sources_found_in_a_folder_are_named(tmp_path):
    images, labels = np.zeros((20, 28, 28), np.uint8), np.arange(20) % 10
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    ok, text = data(str(tmp_path))
    here, _, absent = text.partition("; not found ")
    assert ok
    assert "mnist" in here.rpartition("found ")[2].split(", ")
    assert {"cifar10", "cifar100"} <= set(absent.split(", "))


def test_where_runs_cannot_go(tmp_path):
    (tmp_path / "file").write_text("")
    ok, text = runs(tmp_path / "file" / "runs")
    assert not ok
    assert "cannot be written" in text
    ok, text = runs(tmp_path / "not" / "there" / "yet")
    assert ok


def test_a_store_that_does_not_answer():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ok, text = tracking(f"http://127.0.0.1:{port}")
    assert not ok
    assert f"http://127.0.0.1:{port}" in text
