"""What an order of the data and an average of the weights add to a step: one pass over graded MNIST, ten members."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from lab.config import CONF
from lab.experiment import Experiment
from lab.plan import Plan
from lab.run import overrides
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
    if not GlobalHydra.instance().is_initialized():
        initialize_config_dir(str(CONF), version_base="1.3")
    torch.set_num_threads(1)
    words = [
        "experiment=graded_mnist", f"data.dir={folder}", f"seeds={MEMBERS}", "tracking=off", "trainer.accelerator=cpu",
        *CONTENDERS[name],
    ]  # fmt: skip
    made = Experiment(OmegaConf.to_container(compose("config", overrides(words)), resolve=True))
    learner = made.learner(list(range(MEMBERS)), Plan(stack=True, processes=1, threads=1, block=20, why="a benchmark"))
    begun = time.perf_counter()
    for block in Blocks(learner.course):
        learner.advance(block, learner.optimizer.step)
    return (time.perf_counter() - begun) / learner.course.total
