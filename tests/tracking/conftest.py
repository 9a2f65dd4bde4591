"""Finished run directories without training, and one SQLite store that is copied rather than migrated for every test."""

from __future__ import annotations

import base64
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest
import yaml

from lab.results import Results, save

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAMAAAACCAIAAAASFvFNAAAAEElEQVR4nGPQiFoAQQxwFgBBPAbNViXtjwAAAABJRU5ErkJggg==")
"""Three pixels by two."""


def config(**changes) -> dict:
    """A resolved configuration, cut down to what tracking reads."""
    whole = {
        "environment": {
            "source": {"_target_": "environments.sources.digits.digits"},
            "_target_": "environments.permuted.Permuted",
            "tasks": 3,
            "scenario": "domain",
        },
        "network": {"_target_": "lab.networks.MLP", "width": 256},
        "strategy": {"er": {"_target_": "strategies.er.ER", "memory": 500, "replay": None}},
        "optimizer": {"_target_": "lab.optimizers.SGD", "lr": 0.1},
        "tracking": {"enabled": True, "uri": "sqlite:///mlflow.db", "experiment": "continual-learning", "timeout": 10},
        "trainer": {"precision": 32},
        "seeds": 2,
        "epochs": 1,
        "paths": {"runs": "runs"},
    }
    return whole | changes


def results(
    members: int = 2, tasks: int = 3, points: int = 4, diverged: int | None = None, wall: float = 12.5, **changes
) -> Results:
    """Accuracy that differs by member, row and column; ``diverged``: the step at which the last member was lost."""
    random = np.random.default_rng(0)
    accuracy = random.uniform(0.2, 0.9, (members, tasks + 1, tasks)).round(3)
    curves = None
    if points:
        steps = [10 * e for e in range(points * tasks + 1)]
        met = [0, *(1 + e // points for e in range(points * tasks))]
        curves = {"steps": steps, "task": met, "accuracy": random.uniform(0.2, 0.9, (members, len(steps), tasks)).round(3)}
    lost = [None] * members
    if diverged is not None:
        lost[-1], accuracy[-1, 2:] = diverged, np.nan
    cost = {"steps": 120, "samples": [1] * members, "wall_seconds": wall}
    provenance = {
        "versions": {"torch": "2.9"}, "commit": "c0ffee", "hardware": {"device": "cpu"}, "cell": "00aa",
        "data": {"name": "digits", "digest": "d1d1"},
    }  # fmt: skip
    given = config(seeds=members, **changes)
    return Results(given, [3, 7, 11, *range(20, 40)][:members], accuracy, curves, lost, cost, provenance=provenance)


@pytest.fixture
def make_results():
    """:func:`results`."""
    return results


def write_run(folder, **options):
    """A finished run directory; the keywords are those of :func:`results`."""
    (folder / "figures").mkdir(parents=True)
    (folder / "figures" / "accuracy_matrix.png").write_bytes(PNG)
    made = results(**options)
    (folder / "config.yaml").write_text(yaml.safe_dump(made.config))
    save(made, folder)
    return folder


@pytest.fixture
def make_run(tmp_path):
    """Makes a finished run directory `runs/<cell>/<seeds>`."""

    def make(cell: str = "cell", **options):
        return write_run(tmp_path / "runs" / cell / "seeds", **options)

    return make


@pytest.fixture(scope="session")
def write_run_in():
    """:func:`write_run`."""
    return write_run


@pytest.fixture(scope="session")
def dashboard():
    """`lab dashboard` as a process in a folder, interrupted in the end: ``with dashboard(folder) as (address, process)``."""

    @contextmanager
    def started(folder, *arguments):
        # A suite that a shell runs in the background has interrupts ignored, and its children inherit that.
        hear = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code = f"{hear}; import sys; from lab.dashboard import main; sys.exit(main(sys.argv[1:]))"
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=folder, env=environment, **pipes)
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.send_signal(signal.SIGINT)
            process.said = process.communicate(timeout=30)[1]

    return started


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An SQLite store as MLflow migrates it, which takes seconds."""
    from lab.tracking import Place
    from lab.tracking.patience import Patience
    from lab.tracking.store import Store

    file = tmp_path_factory.mktemp("store") / "empty.db"
    Store(Place(f"sqlite:///{file}", "unused"), Patience(120)).client.search_experiments()
    return file


@pytest.fixture
def settings(tmp_path, empty_store):
    """`tracking=mlflow` with a store of the test's own."""
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return {"enabled": True, "uri": f"sqlite:///{tmp_path}/mlflow.db", "experiment": "continual-learning", "timeout": 60}


@pytest.fixture
def client(settings):
    """MLflow's own client on that store, to see what is really there."""
    from lab.tracking.store import import_mlflow

    return import_mlflow(10).MlflowClient(settings["uri"])
