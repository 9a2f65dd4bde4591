"""This lab's step, timed on the path that users take: configuration, plan, Trainer, blocks, processes."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from settings import Setting, words

from lab.experiment import Experiment
from lab.learner import ContinualLearner
from lab.plan import Plan
from lab.run import composed
from lab.training import train
from lab.workers import side_by_side


def experiment(setting: Setting, strategy: str, seeds: int, folder: Path, *more: str) -> Experiment:
    """The experiment that `lab run` would build, stopped after the steps of one timing."""
    chosen = [*words(setting, strategy, seeds, 10, folder), "tracking=off", f"trainer.max_steps={setting.steps}", *more]
    return Experiment(composed(*chosen))


def stacked(members: int, folder: Path, *more: str) -> ContinualLearner:
    """So many members on one thread, to be stepped by hand: without evaluation and checkpoints."""
    torch.set_num_threads(1)
    made = Experiment(composed(f"data.dir={folder}", f"seeds={members}", "tracking=off", "trainer.accelerator=cpu", *more))
    return made.learner(list(range(members)), Plan(stack=True, processes=1, threads=1, block=20, why="a benchmark"))


def seconds(made: Experiment, plan: Plan) -> float:
    """Seconds a step of all members together: of the slowest process, where they are split over processes."""
    shares = [list(range(len(made.seeds)))[p :: plan.processes] for p in range(plan.processes)]
    torch.set_num_threads(plan.threads)
    if plan.processes == 1:
        return _timed(made, plan, shares[0], lambda step: None)
    return max(side_by_side([partial(_timed, made, plan, share) for share in shares], lambda number, step: None, ()))


def _timed(made: Experiment, plan: Plan, members: list[int], report) -> float:
    """One fit from scratch; the clock runs from the end of an early block to the end of the last one, whose checkpoint comes
    later. Evaluation is switched off: end to end it is timed with the rest."""
    learner = made.learner(members, plan)
    learner.measure = lambda step, phase, curves: None
    marks: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        train(learner, made.trainer_options, Path(folder), made.digest, lambda step: marks.append((step, time.perf_counter())))
    first, last = next(mark for mark in marks if mark[0] >= marks[-1][0] / 10), marks[-1]
    return (last[1] - first[1]) / (last[0] - first[0])
