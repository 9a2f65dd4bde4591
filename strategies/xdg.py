"""Context-dependent gating, XdG: Masse, Grant & Freedman 2018, PNAS 115(44), arXiv 1802.01569.

"Alleviating catastrophic forgetting using context-dependent gating and synaptic stabilization": in each task a random set of
the hidden units is switched off, h <- g_task * h with g in {0, 1}, in training and whenever the task is to be answered, so
that tasks share few of the weights. The paper's best is gating together with a penalty on change: ``strategy=[xdg,si]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import Strategy, UserError, generator, strength


class XdG(Strategy):
    """Switch off the share ``gated`` in [0, 1] of each hidden layer's units (the paper's .8, or a list of one a member), for
    each task other ones, from the member's seed; at least one unit of a layer stays on.

    Layers of feature maps are not gated, as in the paper, where convolutions were trained before and stayed fixed.
    """

    scenarios = ("task",)

    def __init__(self, gated: float | list[float] = 0.8):
        super().__init__()
        self.given = strength("strategy.xdg.gated", gated, most=1)

    def setup(self, learner):
        hidden = learner.population.hidden(learner.reader.shape, learner.reader.tokens)
        self.layers = {path: shape[0] for path, shape in hidden.items() if len(shape) == 1}
        if not self.layers:
            raise UserError(
                "network: xdg gates layers of hidden units, and this network has none that is followed by an activation"
            )
        gated, tasks = learner.value("strategy.xdg.gated", self.given), len(learner.course.streams[0].tasks)
        for n, units in enumerate(self.layers.values()):
            off = (gated * units).round().clamp(max=units - 1).view(-1, 1, 1)
            self.register_buffer(f"on_{n}", torch.stack([_places(seed, n, tasks, units) for seed in learner.seeds]) >= off)

    def gates(self, learner, tasks):
        member = torch.arange(len(tasks), device=tasks.device).unsqueeze(1)
        return {path: getattr(self, f"on_{n}")[member, tasks] for n, path in enumerate(self.layers)}


def _places(seed: int, layer: int, tasks: int, units: int) -> Tensor:
    """Each unit's place in a random order of its own for every task, ``[T, units]``."""
    return torch.stack([torch.randperm(units, generator=generator(seed, "xdg", layer, t)) for t in range(tasks)])
