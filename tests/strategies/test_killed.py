"""Every strategy, killed at random steps and at a task's end, goes on and ends with the bits of a run that nobody killed."""

from __future__ import annotations

import random

import pytest

from lab.config import CONF, build
from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.protocols import Strategy
from lab.run import composed
from tests.lab.forked import forked, small, train
from tests.lab.test_resume import assert_same, in_call

STEPS = 9  # a task; three tasks
CELL = (
    "optimizer.momentum=0.9",
    "batch_size=8",
    f"steps={STEPS}",
    "seeds=2",
    "evaluation.every=5",
    "checkpoint.every=4",
    "plan.block=3",
)
RULED = (
    "environment=transduction", "environment.by=length", "environment.tasks=3", "environment.train=40", "environment.test=8",
    "environment.longest=5", "environment.labels=0.5", "network=encoder_decoder", "network.width=8", "tracking=off",
    "evaluation.samples=8", "plan.stack=true", "plan.processes=1", "trainer.enable_progress_bar=false",
)  # fmt: skip
"""For strategies that need rules about outputs."""


def strategies() -> dict[str, Strategy]:
    """All that train in the lab's own step."""
    names = sorted(path.stem for path in (CONF / "strategy").glob("*.yaml"))
    made = {name: build(f"strategy.{name}", composed(f"strategy={name}")["strategy"][name]) for name in names}
    return {name: strategy for name, strategy in made.items() if isinstance(strategy, Strategy)}


STRATEGIES = strategies()


def traps(name: str):
    """Two steps drawn at random (the same at each run of this test), and a task's end."""
    steps = random.Random(name).sample(range(2, 3 * STEPS), 2)
    inside = [in_call(ContinualLearner, "step", step, after=step % 2 == 0) for step in steps]
    return [*inside, in_call(ContinualLearner, "end", 1)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_killed_at_random(tmp_path, name):
    scenario = "class" if "class" in STRATEGIES[name].scenarios else STRATEGIES[name].scenarios[0]
    words = (f"strategy={name}", "environment=split", "environment.source=digits", "environment.tasks=3", "network=mlp")
    words += (f"environment.scenario={scenario}", "network.width=12", *CELL)
    if scenario == "domain":
        words += ("environment.tasks=2",)
    ruled = STRATEGIES[name].needs_rules

    def cell(folder: str) -> dict:
        if ruled:
            return composed(f"strategy={name}", *RULED, *CELL, f"paths.runs={tmp_path / folder}")
        return small(*words, f"paths.runs={tmp_path / folder}")

    assert forked(lambda: train(cell("whole"))) == 0
    whole = Experiment(cell("whole")).folder
    for number, arm in enumerate(traps(name)):
        config = cell(str(number))
        assert forked(lambda arm=arm, config=config: (arm(), train(config))) == -9
        assert forked(lambda config=config: train(config)) == 0
        assert_same(Experiment(config).folder, whole)
