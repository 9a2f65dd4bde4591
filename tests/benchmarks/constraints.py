"""What a constraint adds to a step of slot filling, and what one more forward and backward pass would: SNIPS, ten members."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from ours import stacked

from lab.stream import Blocks

MEMBERS, STEPS = 10, 60
KEY = "strategy.constrained"
CONTENDERS = {
    "no constraint": (),
    "ten samples, reinforce": ("strategy=constrained",),
    "ten samples, soft": ("strategy=constrained", f"{KEY}.loss=soft", f"{KEY}.logic=log_product"),
    "ten samples, lagrangian": ("strategy=constrained", f"{KEY}.integrate=lagrangian"),
    "ten samples, project_both": ("strategy=constrained", f"{KEY}.integrate=project_both"),
}
AGAIN = "one more forward and backward pass"


def seconds(name: str, folder: Path) -> float:
    """Seconds a step of all members takes beyond reading, without evaluation and checkpoints; or one pass by itself."""
    learner = stacked(MEMBERS, folder, "experiment=slots", "epochs=null", f"steps={STEPS}", *CONTENDERS.get(name, ()))
    begun = time.perf_counter()
    for block in Blocks(learner.course):
        if name == AGAIN:
            for step in range(len(block)):
                _again(learner, block.examples[step], block.tasks[step])
        else:
            learner.advance(block, learner.optimizer.step)
    return (time.perf_counter() - begun) / learner.course.total


def _again(learner, examples: torch.Tensor, tasks: torch.Tensor) -> None:
    inputs, targets = learner.reader.read(examples, tasks)
    logits = learner.population(inputs)
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
    torch.autograd.grad(loss, list(learner.population.leaves.values()))
