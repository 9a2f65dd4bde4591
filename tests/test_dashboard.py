"""`lab dashboard`: what it refuses, what it starts."""

import socket

import pytest

from lab import dashboard
from lab.dashboard import choose_port, main, tracking_settings
from lab.errors import UserError


@pytest.fixture(autouse=True)
def nobody_elses_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_without_a_store_it_says_to_run_something(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    captured = capsys.readouterr()
    assert "lab: tracking.uri=sqlite:///mlflow.db: there is no store yet; run something first" in captured.err
    assert captured.out == ""
    assert not list(tmp_path.iterdir()), "and makes none"


def test_the_store_is_the_one_that_runs_use(monkeypatch):
    assert tracking_settings()["uri"] == "sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert tracking_settings()["uri"] == "http://127.0.0.1:1"
    assert tracking_settings("sqlite:///own.db", "mine")["uri"] == "sqlite:///own.db"
    assert tracking_settings("sqlite:///own.db", "mine")["experiment"] == "mine"


def test_a_port_that_is_taken_or_none_is_refused_and_otherwise_stepped_over(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        with pytest.raises(UserError, match=f"--port={taken}: expected a free port"):
            choose_port(taken)
        monkeypatch.setattr(dashboard, "PORTS", range(taken, taken + 1))
        with pytest.raises(UserError, match="all taken"):
            choose_port(None)
    assert choose_port(taken) == taken
    with pytest.raises(UserError, match="--port=70000: expected a number from 1 to 65535"):
        choose_port(70000)


def test_of_a_server_elsewhere_it_only_says_the_address(monkeypatch, capsys, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    opened = []
    monkeypatch.setattr(dashboard.webbrowser, "open", opened.append)
    monkeypatch.setattr("lab.tracking.reachable", lambda settings: None)
    assert main(["--uri", address, "--runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{address}\n"
    assert opened == []
    assert main(["--uri", address, "--runs", str(tmp_path), "--open"]) == 0
    assert opened == [address]


def test_a_server_that_does_not_answer_has_no_address_to_show(tmp_path, capfd):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert main(["--uri", address, "--runs", str(tmp_path)]) == 1
    out, err = capfd.readouterr()
    assert not out
    assert f"{address}: does not answer" in err
