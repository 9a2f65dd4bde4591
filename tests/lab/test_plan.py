"""What a plan may be, and that a run directory keeps the one it began with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lab.errors import UserError
from lab.experiment import Experiment
from lab.plan import Plan, settle, settled, why_in_turn

from .forked import small, train

AUTO = {"stack": "auto", "processes": "auto", "block": "auto"}
IMAGES = torch.rand(4, 1, 8, 8)


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))


class Recurrent(nn.Module):
    """vmap has no rule for it."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(8, 5, batch_first=True), nn.Linear(5, 4)

    def forward(self, inputs):
        return self.head(self.lstm(inputs.squeeze(1))[0][:, -1])


class Careless(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, inputs):
        return self.head(F.dropout(inputs.flatten(1), training=self.training))


def test_a_network_that_vmap_does_not_take_runs_in_turn():
    plan = settle(AUTO, Recurrent, IMAGES, 3, 10, "cpu")
    assert plan.stack is False
    assert "in turn" in plan.why
    with pytest.raises(UserError, match=r"plan.stack=true: .*plan.stack=false runs it"):
        settle(AUTO | {"stack": True}, Recurrent, IMAGES, 3, 10, "cpu")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Careless, r"network: draws random numbers by itself"),
        (lambda: nn.Sequential(network(), nn.Dropout(0.5)), r"layer 1 is torch's Dropout"),
    ],
)
def test_randomness_that_is_not_the_members_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        why_in_turn(AUTO, make, IMAGES, "cpu")


def test_short_runs_are_one_process_and_long_ones_as_many_as_there_are_cores(monkeypatch):
    monkeypatch.setattr("lab.plan.cores", lambda: 3)
    assert settle(AUTO, network, IMAGES, 8, 1, "cpu").processes == 1
    assert settle(AUTO, network, IMAGES, 8, 10**9, "cpu").processes == 3
    assert settle(AUTO, network, IMAGES, 2, 10**9, "cpu").processes == 2
    wished = settle({"stack": False, "processes": 2, "block": 5}, network, IMAGES, 8, 10**9, "cpu")
    assert (wished.stack, wished.processes, wished.block) == (False, 2, 5)


def test_threads_that_are_not_clearly_faster_are_not_used(monkeypatch):
    monkeypatch.setattr("lab.plan.cores", lambda: 2)
    for several, threads in ((0.9, 1), (0.5, 2)):
        monkeypatch.setattr("lab.plan._Trial.seconds", lambda self, stack, n=1, t=several: t if n > 1 else 1.0)
        assert settle(AUTO, network, IMAGES, 1, 1000, "cpu").threads == threads


def test_on_an_accelerator_there_is_one_process():
    plan = settle(AUTO, network, IMAGES, 8, 10**9, "cuda")
    assert (plan.stack, plan.processes, plan.threads, plan.device) == (True, 1, 1, "cuda")
    with pytest.raises(UserError, match=r"plan.processes=2: expected 1 or auto"):
        why_in_turn(AUTO | {"processes": 2}, network, IMAGES, "cuda")


def test_what_a_run_began_with_it_keeps(tmp_path):
    kept = Plan(True, 2, 1, 8, "measured")
    assert settled(tmp_path, AUTO, "cpu", lambda: kept) == kept
    assert settled(tmp_path, AUTO | {"stack": True, "processes": 2}, "cpu", lambda: pytest.fail("settled twice")) == kept
    for key, wish in (("stack", False), ("processes", 1), ("block", 4)):
        with pytest.raises(UserError, match=rf"plan.{key}={wish}: expected .* move .* away"):
            settled(tmp_path, AUTO | {key: wish}, "cpu", lambda: kept)
    with pytest.raises(UserError, match=r"trainer.accelerator: this is cuda, expected cpu"):
        settled(tmp_path, AUTO, "cuda", lambda: kept)


@pytest.mark.parametrize("content", ["{", '{"stack": true}', "[]"])
def test_a_damaged_plan_is_one_sentence(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match="is not a plan of this lab"):
        settled(tmp_path, AUTO, "cpu", lambda: None)


def test_more_processes_than_members_are_as_many_as_members(tmp_path):
    config = small("steps=2", "seeds=1", "plan.processes=7", f"paths.runs={tmp_path}")
    folder = train(config)
    assert json.loads((folder / "plan.json").read_text())["processes"] == 1
    (folder / "results.json").unlink()
    assert train(config) == folder, "it goes on"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"network": {"_target_": "mistaken.Torch"}}, "torch's Dropout"),
        ({"network": {"_target_": "mistaken.Recurrent"}}, "cannot be stacked"),
        ({"environment": {"_target_": "mistaken.Empty"}}, "environment._target_=mistaken.Empty: expected an environment"),
        ({"optimizer": {"_target_": "mistaken.plain"}}, "optimizer._target_=mistaken.plain: expected a lab.optimizers.Stacked"),
    ],
)
def test_parts_that_cannot_be_are_refused_before_anything_is_written(tmp_path, monkeypatch, changes, words):
    (tmp_path / "mistaken.py").write_text(
        "import torch\nfrom torch import nn\n"
        "class Empty: pass\n"
        "def plain(parameters): return torch.optim.SGD(parameters.values(), lr=0.1)\n"
        "class Torch(nn.Module):\n"
        "    def __init__(self, shape, outputs):\n"
        "        super().__init__(); self.drop, self.head = nn.Dropout(0.5), nn.Linear(64, outputs)\n"
        "    def forward(self, x): return self.head(self.drop(x.flatten(1)))\n"
        "class Recurrent(nn.Module):\n"
        "    def __init__(self, shape, outputs):\n"
        "        super().__init__(); self.lstm, self.head = nn.LSTM(8, 5, batch_first=True), nn.Linear(5, outputs)\n"
        "    def forward(self, x): return self.head(self.lstm(x.squeeze(1))[0][:, -1])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("LAB_PACKAGES", "mistaken")
    config = small("steps=2", f"paths.runs={tmp_path / 'runs'}")
    with pytest.raises(UserError, match=words):
        Experiment(config | changes)
    assert not Path(tmp_path / "runs").exists()
