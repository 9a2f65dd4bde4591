"""Train on the first task alone: the bound of a learner that forgets nothing because it learns nothing more."""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import Strategy, require


class Frozen(Strategy):
    """After the first task no parameter changes, and no running statistic of a normalisation layer.

    ``head``: go on training the output layer (the network's ``head``), on features that stay as the first task made them.
    """

    needs_boundaries = moves = True

    def __init__(self, head: bool = False):
        super().__init__()
        require(isinstance(head, bool), "strategy.frozen.head", head, "true or false")
        self.head = head

    def setup(self, learner):
        held, leaves = learner.population.held(), learner.population.leaves
        self.trained = [name for name in leaves if self.head and name.startswith("head/")]
        require(
            bool(self.trained) == self.head, "strategy.frozen.head", self.head, "false: the network has no layer named head"
        )
        self.statistics = [name for name in held if name not in leaves]
        self.register_buffer("scale", torch.ones(learner.members, dtype=learner.population.precise))
        for name in self.statistics:
            self.register_buffer(f"kept/{name}", held[name].clone())

    def end_task(self, learner, task):
        if task == 0:
            self.scale.fill_(0)
            for name, value in self._statistics(learner).items():
                self._buffers[f"kept/{name}"].copy_(value)

    def update_scale(self, learner, batch):
        leaves = learner.population.leaves
        return {name: _along(self.scale, leaf) for name, leaf in leaves.items() if name not in self.trained}

    def after_step(self, learner, batch):
        kept = {name: self._buffers[f"kept/{name}"] for name in self.statistics}
        now = self._statistics(learner)
        learner.population.load({name: torch.where(_along(self.scale, now[name]) > 0, now[name], kept[name]) for name in now})

    def _statistics(self, learner) -> dict[str, Tensor]:
        held = learner.population.held()
        return {name: held[name] for name in self.statistics}


def _along(values: Tensor, like: Tensor) -> Tensor:
    """Values ``[M]`` as ``[M, 1, ...]``."""
    return values.view(-1, *[1] * (like.dim() - 1))
