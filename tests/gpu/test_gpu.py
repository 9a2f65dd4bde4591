"""What only a CUDA device can show: `make test-gpu` on a machine that has one."""

from __future__ import annotations

import pytest
import torch

from lab.experiment import Experiment
from lab.plan import Plan
from lab.progress import Progress
from lab.protocols import Strategy
from lab.results import load
from lab.run import composed
from lab.scores import Reference, reference
from lab.stream import Blocks
from lab.testing import Subject, shipped
from lab.testing.miniature import blobs
from lab.training import checkpoints

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device that torch can use"),
]

SMALL = ["tracking=off", "trainer.enable_progress_bar=false", "environment.tasks=3", "steps=20", "seeds=4", "batch_size=16"]


def config(*words: str, **paths: str) -> dict:
    return composed(*SMALL, *words, *(f"paths.{key}={value}" for key, value in paths.items()))


def trained(words: list[str], device: str, sync: str = "default"):
    """A learner over its whole course on a device, without a Trainer."""
    learner = Experiment(config(*words, "trainer.accelerator=cpu")).learner([0, 1, 2, 3], Plan(True, 1, 1, 8, ""))
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
    scenario = Subject.of(f"strategy={strategy}").scenarios()[0]
    words = ["environment=split", "environment.source=digits", f"environment.scenario={scenario}"]
    trained([f"strategy={strategy}", "optimizer=adamw", *words], "cuda", sync="error")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("network", ["mlp", "cnn"])
def test_the_trajectory_is_the_cpus(optimizer, network):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    words = ["strategy=er", f"network={network}", f"optimizer={optimizer}", "optimizer.lr=0.01"]
    ours, theirs = trained(words, "cuda"), trained(words, "cpu")
    for name, value in theirs.population.leaves.items():
        torch.testing.assert_close(ours.population.leaves[name].cpu(), value, rtol=1e-3, atol=1e-4)
    for name, value in theirs.strategies.state_dict().items():
        assert torch.equal(ours.strategies.state_dict()[name].cpu(), value), name


def test_a_run_resumes_to_the_same_bits(tmp_path):
    words = ("strategy=er", "optimizer.momentum=0.9", "network.dropout=0.2", "checkpoint.every=7", "trainer.accelerator=gpu")
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
