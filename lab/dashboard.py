"""`lab dashboard`: MLflow's pages on what was tracked."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from pathlib import Path
from typing import Any

from lab.config import CONF
from lab.errors import UserError, require

HOST = "127.0.0.1"
PORTS = range(5000, 5020)
"""Tried in turn where the user names none."""

STARTS_WITHIN = 120
"""Seconds."""


def main(arguments: list[str]) -> int:
    """Send what waits, then serve the store until interrupted; 0 done, 1 the server failed, 2 the user's mistake."""
    from lab.tracking import reachable

    given = _parse(arguments)
    try:
        settings = tracking_settings(given.uri, given.experiment)
        send(Path(given.runs).expanduser(), settings)
        if given.experiment is None:
            settings = newest(settings)
        if settings["uri"].startswith(("http://", "https://")):
            wrong = reachable(settings)
            if wrong:
                print(f"lab: {wrong}", file=sys.stderr)
                return 1
            return _show(settings["uri"], settings, given.open)
        port = choose_port(given.port)
        return serve(settings, port, given.open)
    except UserError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


def tracking_settings(uri: str | None = None, experiment: str | None = None) -> dict[str, Any]:
    """`conf/tracking/mlflow.yaml`, with what the user gave instead."""
    from omegaconf import OmegaConf

    settings = OmegaConf.to_container(OmegaConf.load(CONF / "tracking" / "mlflow.yaml"), resolve=True)
    return settings | {key: value for key, value in (("uri", uri), ("experiment", experiment)) if value is not None}


def newest(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, with the experiment of the newest run where the configured one has none; the others are named."""
    from lab.tracking import with_runs

    found = with_runs(settings)
    shown = settings["experiment"] if settings["experiment"] in found or not found else found[0]
    others = [name for name in found if name != shown]
    if others:
        print(f"lab: this is {shown}; there are also {', '.join(others)} (--experiment NAME)", file=sys.stderr)
    return settings | {"experiment": shown}


def send(runs: Path, settings: dict[str, Any]) -> None:
    """Send what waits under ``runs``; where the SQLite store is gone, all of it.

    Raises:
        UserError: there is no store, and nothing to make one of.
    """
    from lab.tracking import Place, send_waiting

    file = Place.of(settings).file
    sent, warning = send_waiting(runs, settings, again=bool(file and not file.exists()), report=_say_sending)
    if sent:
        print(f"lab: sent {sent} {'run' if sent == 1 else 'runs'} that waited in {runs}", file=sys.stderr)
    if warning:
        print(f"lab: {warning}", file=sys.stderr)
    if file and not file.exists():
        raise UserError(
            f"tracking.uri={settings['uri']}: there is no store yet; run something first (lab run), "
            "or say where one is: lab dashboard --uri sqlite:///PATH, or --runs DIR to make one of finished runs"
        )


def choose_port(given: int | None) -> int:
    """The port that the user named, or else the first free one of a few.

    Raises:
        UserError: it is taken, or it is no port.
    """
    if given is not None:
        require(0 < given < 65536, "--port", given, "a number from 1 to 65535")
        require(_is_free(given), "--port", given, "a free port; something is listening on this one already")
        return given
    free = next(filter(_is_free, PORTS), None)
    if free is None:
        raise UserError(f"ports {PORTS[0]} to {PORTS[-1]} are all taken; name a free one, lab dashboard --port N")
    return free


def serve(settings: dict[str, Any], port: int, browse: bool) -> int:
    """MLflow's server on the loopback address, until it ends or is interrupted."""
    from lab.tracking import Place

    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", Place.of(settings).uri]
    command += ["--host", HOST, "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("lab: MLflow's server is starting ...", file=sys.stderr)
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, env=quiet | dict(os.environ), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            if _answers(server, port):
                _show(f"http://{HOST}:{port}", settings, browse)
                print("lab: Ctrl-C ends it", file=sys.stderr)
                server.wait()
            log.seek(0)
            print("lab: MLflow's server has ended; the last it said:", file=sys.stderr)
            print("\n".join(log.read().decode(errors="replace").splitlines()[-15:]), file=sys.stderr)
            return 1
        finally:
            _end(server)


def _answers(server: subprocess.Popen, port: int) -> bool:
    """Wait until the server answers; False if it ends, or does not within two minutes."""
    until = time.monotonic() + STARTS_WITHIN
    while server.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5).close()
            return True
        time.sleep(0.2)
    return False


def _end(server: subprocess.Popen) -> None:
    """End the server and the workers it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def _show(server: str, settings: dict[str, Any], browse: bool) -> int:
    """Print where the experiment is, alone on standard output for who reads it there."""
    from lab.tracking import pages

    table, charts = pages(settings)
    print(server + table, flush=True)
    if charts:
        print(f"lab: its cells as charts: {server}{charts}", file=sys.stderr)
    if browse:
        webbrowser.open(server + table)
    return 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _say_sending(folder: Path) -> None:
    print(f"lab: sending {folder}", file=sys.stderr)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lab dashboard", description="What was tracked, in MLflow's pages.")
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 5000)")
    parser.add_argument("--uri", help="the store (default: what conf/tracking/mlflow.yaml says: sqlite:///mlflow.db here)")
    parser.add_argument("--experiment", help="the experiment to send waiting runs to and to show (default: as configured)")
    parser.add_argument("--runs", default="runs", help="where finished runs may wait to be sent (default: runs)")
    parser.add_argument("--open", action="store_true", help="open a browser")
    return parser.parse_args(arguments)
