"""Dropout whose masks belong to the member: a function of its key and clock, not of a global generator."""

import torch
from torch import Tensor, nn

from lab.seeding import uniform


class Dropout(nn.Module):
    """Zero each activation with probability ``p`` in training and scale the rest by 1/(1-p) (Srivastava et al. 2014).

    ``key`` is set by the population from the member's seed and the layer's place; ``clock`` advances once a training step,
    so a resumed run draws the masks that an uninterrupted one would have drawn, in any company, under ``vmap`` too.
    """

    def __init__(self, p: float):
        super().__init__()
        self.p = p
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = uniform(self.key, self.clock, x.numel()).view(x.shape) >= self.p
        return x * keep / (1 - self.p)
