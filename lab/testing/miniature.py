"""A stream so small that a whole run takes a fraction of a second, and runs over it without a Trainer."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache

import torch
from torch import nn

from lab.ahead import Work
from lab.compacting import cut
from lab.evaluation import Evaluation
from lab.learner import ContinualLearner
from lab.networks import MLP
from lab.optimizers import SGD, StackedOptimizer
from lab.order import Uniform
from lab.population import Population
from lab.protocols import (
    SCENARIOS,
    Data,
    Environment,
    Examples,
    Strategy,
    Stream,
    Task,
    generator,
    one_of,
    phase_per_task,
    whole,
)
from lab.reader import Reader
from lab.schedules import Curve
from lab.stream import Blocks, Budget, Course

CLASSES_A_TASK = 2


@cache
def blobs(classes: int, examples: int) -> Data:
    """uint8 images ``[classes * examples, 1, 8, 8]``: a random pattern for each class, and noise."""
    draw = generator(0, "miniature")
    patterns = torch.randint(60, 190, (classes, 1, 8, 8), generator=draw)

    def split(count: int) -> Examples:
        targets = torch.arange(classes).repeat_interleave(count)
        noise = torch.randint(-50, 50, (classes * count, 1, 8, 8), generator=draw)
        return Examples((patterns[targets] + noise).to(torch.uint8), targets)

    return Data("miniature", split(examples), split(8), classes, f"miniature-{classes}-{examples}")


def small_network() -> nn.Module:
    """A perceptron that serves the default :class:`Miniature`."""
    return MLP((1, 8, 8), 2 * CLASSES_A_TASK, width=16, depth=1)


class Miniature:
    """``tasks`` tasks of two classes each; members meet different orders and, if ``uneven``, differently many examples.

    Args:
        announced: whether strategies are told of task boundaries.
    """

    def __init__(self, scenario: str = "class", tasks: int = 2, announced: bool = True, uneven: bool = True):
        self.scenario, self.tasks = one_of("environment.scenario", scenario, SCENARIOS), whole("environment.tasks", tasks, 1)
        self.announced, self.uneven = announced, uneven
        self.data = blobs(CLASSES_A_TASK * tasks, 16)

    def stream(self, seed: int) -> Stream:
        draw = generator(seed, "miniature")
        order = torch.randperm(self.data.classes, generator=draw)
        tasks = tuple(self._task(group, draw) for group in order.split(CLASSES_A_TASK))
        outputs = CLASSES_A_TASK if self.scenario == "domain" else self.data.classes
        return Stream(tasks, phase_per_task(tasks, announced=self.announced), self.scenario, outputs)

    def _task(self, classes: torch.Tensor, draw: torch.Generator) -> Task:
        labels = torch.full((self.data.classes,), -1)
        labels[classes] = torch.arange(CLASSES_A_TASK) if self.scenario == "domain" else classes
        train, test = (torch.isin(split.targets, classes).nonzero().squeeze(1) for split in (self.data.train, self.data.test))
        train = train[torch.randperm(len(train), generator=draw)]
        kept = int(torch.randint(len(train) // 2, len(train), (), generator=draw)) if self.uneven else len(train)
        return Task(train[:kept].sort().values, test, labels)


def small_learner(
    seeds: list[int],
    make: Callable[[], nn.Module] = small_network,
    strategies: tuple[Strategy, ...] = (),
    optimizer: Callable[[dict], StackedOptimizer] = SGD,
    environment: Environment | None = None,
    budget: Budget | None = None,
    stack: bool = True,
    dtype: torch.dtype = torch.float32,
    block: int = 4,
    curves: int | None = None,
    samples: int = 500,
    schedule: Curve | None = None,
    orders: list[Uniform] | None = None,
    **options,
) -> ContinualLearner:
    """A learner put together by hand; ``options`` are those of :class:`ContinualLearner`."""
    environment = environment or Miniature()
    streams = [environment.stream(seed) for seed in seeds]
    for strategy in strategies:
        streams = [strategy.rewrite(stream, environment.data, seed) for stream, seed in zip(streams, seeds, strict=True)]
    course = Course(streams, seeds, budget or Budget(4), block, curves, schedule=schedule, orders=orders)
    layout = environment.data.layout
    population = Population(make, seeds, stack, dtype, sayable=layout and layout.sayable)
    reader, evaluation = Reader(environment.data, streams), Evaluation(course, seeds, samples=samples, layout=layout)
    made = (population, list(strategies), optimizer(population.leaves), reader, course, evaluation, seeds)
    return ContinualLearner(*made, **options)


def fit(learner: ContinualLearner, blocks: Blocks | None = None, until: int | None = None) -> Blocks:
    """Train over the course, or up to its block number ``until``, as a Trainer would; the loader, as it then stands."""
    blocks = blocks or Blocks(learner.course)
    learner.optimizers = lambda: learner.optimizer
    while blocks.position < (len(blocks.spans) if until is None else until):
        number = blocks.position
        blocks.position += 1
        learner.training_step(blocks.block(number), number)
    return blocks


def fit_watched(learner: ContinualLearner, watch: Callable[[Work, Callable[[], None]], None]) -> None:
    """Train over the course, calling ``watch(work, take)`` in place of every step: ``take()``, once, takes it."""
    take = learner.step

    def step(work: Work, optimizer_step: Callable[[], None]) -> torch.Tensor:
        losses: list[torch.Tensor] = []
        watch(work, lambda: losses.append(take(work, optimizer_step)))
        return losses[0]

    learner.step = step
    fit(learner)
    del learner.step


def checkpoint(learner: ContinualLearner, blocks: Blocks) -> bytes:
    """What a checkpoint holds of a learner and the place in its stream."""
    content = {"state_dict": learner.state_dict(), "optimizer_states": [learner.optimizer.state_dict()]}
    content["blocks"] = blocks.state_dict()
    learner.on_save_checkpoint(content)
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def restored(learner: ContinualLearner, saved: bytes) -> Blocks:
    """Load a checkpoint into a new learner, of some of its members maybe; the loader, standing where the saved one stood."""
    content = torch.load(io.BytesIO(saved), weights_only=True)
    if content["members"] != learner.places[0]:
        content = cut(content, learner)
    learner.load_state_dict(content["state_dict"])
    learner.optimizer.load_state_dict(content["optimizer_states"][0])
    learner.on_load_checkpoint(content)
    blocks = Blocks(learner.course)
    blocks.load_state_dict(content["blocks"])
    return blocks
