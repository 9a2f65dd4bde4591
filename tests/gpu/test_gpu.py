"""What only a CUDA device can show: `make test-gpu` on a machine that has one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.plan import Plan
from lab.progress import Progress
from lab.protocols import Strategy
from lab.results import load
from lab.run import composed
from lab.scores import Reference, reference
from lab.stream import Blocks
from lab.study import command
from lab.sweep import command as sweep
from lab.testing import Subject, shipped
from lab.testing.miniature import blobs
from lab.training import checkpoints

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use"),
]

SMALL = ["tracking=off", "trainer.enable_progress_bar=false", "environment.tasks=3", "steps=20", "seeds=4", "batch_size=16"]


def config(*words: str, **paths: str) -> dict:
    """Small, but for what the words say otherwise."""
    by_key = {word.split("=")[0]: word for word in (*SMALL, *words)}
    return composed(*by_key.values(), *(f"paths.{key}={value}" for key, value in paths.items()))


def trained(learner: ContinualLearner, device: str, sync: str = "default") -> ContinualLearner:
    """The learner after its whole course on a device, without a Trainer."""
    learner.to(device)
    learner.optimizers = lambda: learner.optimizer
    blocks = Blocks(learner.course)
    for number in range(len(blocks)):
        block = blocks.block(number).to(torch.device(device))
        if number == 0:
            learner.measure(0, -1, False)
        if block.begins:
            learner.begin(block.phase)
        learner._prepare(block)
        torch.cuda.set_sync_debug_mode(sync)
        learner.advance(block, learner.optimizer.step)
        torch.cuda.set_sync_debug_mode("default")
        if block.ends:
            learner.end(block.phase)
        learner.measure(block.stop, block.phase if block.ends else None, block.evaluate)
    return learner


STRATEGIES = shipped(Strategy)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_step_waits_for_nothing(strategy):
    """CUDA's own check: in a step, any operation that makes the host wait raises."""
    subject = Subject.of(f"strategy={strategy}", "optimizer=adamw", "trainer.accelerator=cpu")
    trained(subject.learner(), "cuda", sync="error")


UNEVEN = ["environment=split", "environment.source=digits", "environment.tasks=5", "steps=null", "epochs=1"]
"""Members whose tasks differ in length, so that some rest while others train."""


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    "words",
    [["network=mlp"], ["network=cnn"], UNEVEN, ["optimizer.lr=[0.01,0.02,0.003,0.01]"], ["schedule=linear", *UNEVEN]],
    ids=["mlp", "cnn", "uneven", "rates", "schedules"],
)
def test_the_trajectory_is_the_cpus(optimizer, words):
    """In double precision: in single, AdamW makes much of rounding where a gradient is next to nothing."""
    words = ["strategy=er", f"optimizer={optimizer}", "optimizer.lr=0.01", "trainer.precision=64", *words]

    def on(device: str) -> ContinualLearner:
        experiment = Experiment(config(*words, "trainer.accelerator=cpu"))
        return trained(experiment.learner([0, 1, 2, 3], Plan(True, 1, 1, 8, "")), device)

    ours, theirs = on("cuda"), on("cpu")
    for name, value in theirs.population.leaves.items():
        torch.testing.assert_close(ours.population.leaves[name].cpu(), value, rtol=1e-7, atol=1e-9)
    for name, value in theirs.strategies.state_dict().items():
        assert torch.equal(ours.strategies.state_dict()[name].cpu(), value), name


@pytest.mark.parametrize(
    "optimizer", [("optimizer.momentum=0.9",), ("optimizer=adam",), ("optimizer=adam", "trainer.precision=64")], ids="-".join
)
def test_a_run_resumes_to_the_same_bits(tmp_path, optimizer):
    words = ("strategy=er", *optimizer, "network.dropout=0.2", "checkpoint.every=7", "trainer.accelerator=gpu")
    whole = Experiment(config(*words, runs=str(tmp_path / "whole")))
    stopped = Experiment(config(*words, "trainer.max_steps=33", runs=str(tmp_path / "stopped")))
    whole.run(Progress("", show=False))
    with pytest.raises(Exception, match="step 33"):
        stopped.run(Progress("", show=False))
    resumed = Experiment(config(*words, runs=str(tmp_path / "stopped")))
    resumed.run(Progress("", show=False))
    a, b = (torch.load(checkpoints(e.folder)[0], map_location="cpu", weights_only=True)["state_dict"] for e in (whole, resumed))
    assert all(torch.equal(a[name].nan_to_num(9), b[name].nan_to_num(9)) for name in a)


@pytest.mark.parametrize("precision", ["32", "bf16", "64"])
def test_every_precision_learns(precision, tmp_path):
    words = (f"trainer.precision={precision}", "steps=100", "trainer.accelerator=gpu", "strategy=er")
    experiment = Experiment(config(*words, runs=str(tmp_path)))
    experiment.run(Progress("", show=False))
    assert (load(experiment.folder).metrics["accuracy"] > 0.3).all()


def test_reference_scores_are_the_cpus(tmp_path):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    data, network = blobs(4, 10), {"_target_": "lab.networks.MLP", "width": 16, "depth": 1}
    given = (data, network, Reference(folds=3, batch_size=13), 0, torch.arange(40), tmp_path)
    torch.testing.assert_close(reference(*given, "cuda"), reference(*given), rtol=1e-3, atol=1e-4)


def test_a_sweep_trains_its_trials_as_members(tmp_path, monkeypatch, capfd):
    """Trials with learning rates of their own, pruned in between, at once on the card; then the winner's final runs."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    asked = {
        "common": ["experiment=digits_permuted", "environment.tasks=3", "steps=30", "epochs=null", "strategy=er"],
        "vary": {"optimizer.lr": "tag(log, interval(0.001, 0.5))"}, "objectives": {"accuracy": "maximize"},
        "trials": 8, "at_once": 4, "pruner": "median", "tuning": {"seeds": 2}, "final": {"seeds": 4}, "minutes": 1,
    }  # fmt: skip
    (tmp_path / "sweeps" / "mine.yaml").write_text(yaml.safe_dump(asked))
    assert sweep.main(["mine", "tracking=off", "trainer.enable_progress_bar=false"]) == 0, capfd.readouterr().err
    found = json.loads(Path("runs/sweeps/mine/found.json").read_text())
    counts = found["arms"]["mine"]["counts"]
    assert counts["complete"] + counts["pruned"] + counts["diverged"] == 8


def test_cells_of_a_study_share_the_card(tmp_path, monkeypatch, capfd):
    """Several processes train on it at once, and what they come to is what one after the other comes to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps").mkdir()
    asked = {
        "claim": "replay forgets less", "family": "baselines", "common": ["experiment=digits_permuted", "environment.tasks=2"],
        "budget": ["steps=30"], "cells": {"naive": ["strategy=naive"], "er": ["strategy=er"]}, "seeds": 6,
        "measure": "forgetting", "test": {"kind": "superiority", "better": "er", "than": "naive", "margin": 0.0}, "minutes": 1,
    }  # fmt: skip
    (tmp_path / "sweeps" / "mine.yaml").write_text(yaml.safe_dump(asked))
    for runs, jobs in (("one", "1"), ("two", "2")):
        assert command.main(["mine", "--jobs", jobs, "--runs", runs, "tracking=off"]) == 0, capfd.readouterr().err
    record = json.loads(Path("docs/results/mine.json").read_text())
    assert len(record["looks"]) == 1  # the second time there was nothing new to see
    trained_on = {load(path.parent).provenance["hardware"]["device"] for path in Path("two").rglob("results.json")}
    assert trained_on == {torch.cuda.get_device_name()}
