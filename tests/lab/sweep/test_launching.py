"""Workers that a launcher starts: Hydra's submitit on this machine, a Ray cluster of two nodes on it; and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from lab.sweep import command
from lab.sweep.launching import PROGRAM
from lab.sweep.storage import open_storage

from .test_workers import HOME, HOW, check, here, write

__all__ = ["here"]  # a fixture

SMALL = ["environment=permuted", "environment.tasks=2", "network.width=12", "network.depth=1", "steps=5", "seeds=1", *HOW]


def lab(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True)


@pytest.mark.parametrize(
    "words", [[], ["hydra.launcher.partition=gpu"], ["hydra/launcher=submitit_slurm", "ray.num_gpus=1"]], ids=" ".join
)
def test_one_launcher_is_to_be_named(here, capfd, words):
    write(4)
    assert command.main(["many", "--workers=2", *words, *HOW]) == 2
    assert "--workers 2" in (told := capfd.readouterr().err)
    assert "expected one launcher: hydra/launcher=submitit_slurm (or another of Hydra's), or ray.num_cpus=1" in told
    assert not (HOME / "populations").exists()


def test_a_number_of_workers(here, capfd):
    write(4)
    assert command.main(["many", "--workers=0", "hydra/launcher=submitit_local", *HOW]) == 2
    assert "--workers=0: expected a whole number from 1 on" in capfd.readouterr().err


@pytest.mark.slow
def test_workers_by_submitit(here):
    pytest.importorskip("submitit", reason="the extra `slurm`")
    write(6)
    done = lab("sweep", "many", "--workers=2", "hydra/launcher=submitit_local", *HOW)
    assert done.returncode == 0, done.stderr
    assert json.loads((HOME / "found.json").read_text()) == check(6, None)
    assert done.stdout.count("protocol ") == 1
    assert len(list(Path("runs/launched/.submitit").glob("*/*_result.pkl"))) == 2


@pytest.mark.slow
def test_cells_by_submitit_and_the_status_of_one_that_fails(here):
    pytest.importorskip("submitit", reason="the extra `slurm`")
    words = ["run", "-m", "hydra/launcher=submitit_local", "strategy=er", *SMALL]
    good = lab(*words, "strategy.er.memory=10,20")
    assert good.returncode == 0, good.stderr
    assert len(list(Path("runs").glob("*/*/results.json"))) == 2
    bad = lab(*words, "strategy.er.memory=30,-1")
    assert bad.returncode == 2
    assert "strategy.er.memory=-1: expected a whole number" in bad.stderr
    assert len(list(Path("runs").glob("*/*/results.json"))) == 3


@pytest.fixture
def two_nodes():
    """The address of a cluster of two nodes, each a machine with a core and a GPU for all that Ray knows."""
    pytest.importorskip("ray", reason="the extra `ray`")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 1})
    cluster.add_node(num_cpus=1, num_gpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.slow
def test_workers_on_two_nodes_of_ray_with_half_a_gpu_each(two_nodes, here):
    write(8)
    each = ["ray.num_cpus=0.5", "ray.num_gpus=0.5", "ray.scheduling_strategy=SPREAD", f"ray.address={two_nodes}"]
    done = lab("sweep", "many", "--workers=4", *each, *HOW)
    assert done.returncode == 0, done.stderr
    check(8, None)
    claims = optuna.load_study(study_name="claims of many", storage=open_storage(HOME, None)).trials
    assert {claim.user_attrs["devices"] for claim in claims} == {"0"}, "one of the node's, as Ray numbers them"
    assert len({claim.user_attrs["worker"] for claim in claims}) > 1


@pytest.mark.slow
def test_a_worker_that_fails_and_an_option_that_ray_has_not(two_nodes, here):
    done = subprocess.run([sys.executable, "-c", LAUNCHES, two_nodes], capture_output=True, text=True)
    assert "worker 1: ended with status 2; its log says why, and the same command goes on" in done.stdout
    write(4)
    refused = lab("sweep", "many", "--workers=1", "ray.num_cores=2", f"ray.address={two_nodes}", *HOW)
    assert refused.returncode == 2
    assert "num_cores" in refused.stderr


LAUNCHES = """
import sys
from pathlib import Path
from lab.errors import IncompleteError
from lab.sweep.launching import launch
try:
    launch(["nonsense"], 2, ["ray.num_cpus=1", "ray.address=" + sys.argv[1]], Path("runs"))
except IncompleteError as error:
    print(error)
"""
