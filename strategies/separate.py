"""A network of its own for each task: nothing can be forgotten, nothing transferred, and the task's identity has to be told.

"Separate Networks" of van de Ven, Tuytelaars & Tolias 2022, "Three types of incremental learning", Nat. Mach. Intell. 4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import Strategy, UserError


class Separate(Strategy):
    """Each task is learnt by a newly initialised network, with a new optimiser, and answered by it ever after.

    Every network has the size of ``network=``; van de Ven et al. make them smaller, so that all together have the parameters
    of one. A task that has not been met is answered by its untrained network; without the task's identity there is no answer.
    """

    scenarios = ("task",)
    needs_boundaries = moves = True

    def announcement(self, members, parameters, size=4):
        each = size * members * parameters
        return f"strategy=separate keeps {members} networks of {parameters} parameters for each task: {each:,} bytes a task"

    def check(self, stream, data):
        if any(len(phase.tasks.unique()) > 1 for phase in stream.phases):
            raise UserError("strategy: separate trains a network on one task at a time, and here tasks are mixed")

    def setup(self, learner):
        for stream in learner.course.streams:  # other strategies may have mixed them since
            self.check(stream, None)
        population, tasks = learner.population, len(learner.course.streams[0].tasks)
        networks = [population.held(), *(population.fresh("separate", t) for t in range(1, tasks))]
        self.names = list(networks[0])
        for name in self.names:
            self.register_buffer(f"of/{name}", torch.stack([network[name].detach() for network in networks], 1))  # [M, T, ...]
        self.register_buffer("current", torch.zeros(learner.members, dtype=torch.int64))

    def begin_task(self, learner, task):
        task = learner.course.phases[task].completes
        self.current.fill_(task)
        learner.population.load({name: self._buffers[f"of/{name}"][:, task] for name in self.names})
        learner.optimizer.reset()

    def end_task(self, learner, task):
        task = learner.course.phases[task].completes
        for name, value in learner.population.held().items():
            self._buffers[f"of/{name}"][:, task] = value.detach()

    def predict(self, learner, inputs, tasks):
        if tasks is None:
            return None
        task, member = tasks[:, 0], torch.arange(len(tasks), device=tasks.device)
        in_training = task == self.current
        networks = {
            name: torch.where(_along(in_training, value), value, self._buffers[f"of/{name}"][member, task])
            for name, value in learner.population.held().items()
        }
        return learner.population(inputs, networks, learner.gates(tasks))


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Values ``[M]`` as ``[M, 1, ...]``."""
    return values.view(-1, *[1] * (like.dim() - 1))
