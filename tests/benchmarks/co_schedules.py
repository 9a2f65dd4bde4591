"""What an order of the data and an average of the weights add to a step: one pass over graded MNIST, ten members."""

from __future__ import annotations

import time
from pathlib import Path

from ours import stacked

from lab.stream import Blocks

MEMBERS = 10
CONTENDERS = {
    "at random, constant": (),
    "cma": ("co_schedule=cma",),
    "cdma": ("co_schedule=cdma",),
    "ascending, wsd, iterates": ("order=ascending", "schedule=wsd", "averaging=iterates"),
    "paced, four averages": ("order=ascending", "order.pacing=linear", "averaging=sma", "averaging.beside=[raw,wma,ema]"),
}


def seconds(name: str, folder: Path) -> float:
    """Seconds a step of all members: working out the blocks, and taking them; without evaluation and checkpoints."""
    learner = stacked(MEMBERS, folder, "experiment=graded_mnist", *CONTENDERS[name])
    begun = time.perf_counter()
    for block in Blocks(learner.course):
        learner.advance(block, learner.optimizer.step)
    return (time.perf_counter() - begun) / learner.course.total
