"""Shrink and perturb: Ash & Adams 2020, "On Warm-Starting Neural Network Training", arXiv 1910.08475.

Before new data are trained on, the weights are pulled to zero, and noise is added:

    theta <- lambda theta + p

The paper has p ~ N(0, sigma^2); its authors' code, and this here, p = sigma' theta_0' where theta_0' are the weights of a
newly initialised network, so that layers get noise of the size that they begin with.

Dohare et al. 2024, "Loss of plasticity in deep continual learning", Nature 632, do so at every step (the shrinking by weight
decay, 1 - lambda = learning rate x decay, 3e-7 in their Online Permuted MNIST; noise N(0, sigma^2), sigma 1e-6 to 1e-4, there
3e-5 to 3e-3 of what the weights begin with). Here with ``every: step`` noise is Gaussian too, in each tensor of parameters of
sigma' times the standard deviation that the tensor began with. Left alone, weights settle at sigma' / sqrt(2 (1 - lambda)) of
that deviation.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lab.protocols import Strategy, one_of, strength

DEFAULTS = {"task": (0.6, 0.1), "step": (0.9999, 0.005)}
"""(shrink, perturb) for each ``every``."""


class ShrinkPerturb(Strategy):
    """Multiply parameters by ``shrink`` and add ``perturb`` times initial noise, ``every`` task (from the second on) or step.

    ``shrink`` (lambda) in [0, 1] and ``perturb`` (sigma') from 0 on: a number, a list of one a member, or null for .6 and .1
    at tasks, .9999 and .005 at steps. Running statistics of normalisation layers and the optimiser's momentum stay as they are
    (``reset_optimizer=true`` forgets the latter). Noise at every step is a random number for each parameter, which can cost
    more than the rest of the step.
    """

    moves = True

    def __init__(
        self, shrink: float | list[float] | None = None, perturb: float | list[float] | None = None, every: str = "task"
    ):
        super().__init__()
        self.every = one_of("strategy.shrink_perturb.every", every, tuple(DEFAULTS))
        self.needs_boundaries = every == "task"
        mild_shrink, mild_perturb = DEFAULTS[every]
        shrink, perturb = mild_shrink if shrink is None else shrink, mild_perturb if perturb is None else perturb
        self.given = {
            "shrink": strength("strategy.shrink_perturb.shrink", shrink, most=1),
            "perturb": strength("strategy.shrink_perturb.perturb", perturb),
        }

    def setup(self, learner):
        for name, given in self.given.items():
            self.register_buffer(name, learner.value(f"strategy.shrink_perturb.{name}", given))
        self.register_buffer("keys", learner.keys("shrink and perturb"))
        began = [leaf.detach().flatten(1).std(1, correction=0) for leaf in learner.population.leaves.values()]
        self.register_buffer("deviation", torch.stack(began, 1))  # [M, parameters]

    def begin_task(self, learner, task):
        if self.every == "task" and task > 0:
            fresh = learner.population.fresh("shrink and perturb", task)
            for name, leaf in learner.population.leaves.items():
                leaf.data.mul_(_along(self.shrink, leaf)).add_(fresh[name] * _along(self.perturb, leaf))

    def after_step(self, learner, batch):
        if self.every == "task":
            return
        leaves = list(learner.population.leaves.values())
        noise = normal(learner.draw(self.keys, sum(leaf[0].numel() for leaf in leaves)))
        takes_part = batch.taking_part()
        shrink = torch.where(takes_part, self.shrink, 1)
        perturb = self.deviation * torch.where(takes_part, self.perturb, 0).unsqueeze(1)
        for n, (leaf, own) in enumerate(zip(leaves, noise.split([leaf[0].numel() for leaf in leaves], 1), strict=True)):
            leaf.mul_(_along(shrink, leaf)).add_(own.view(leaf.shape) * _along(perturb[:, n], leaf))


def normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers from ones uniform on the multiples of 2^-24 in [0, 1), by the inverse of their distribution."""
    return torch.erfinv(2 * uniform + (2**-24 - 1)) * math.sqrt(2)


def _along(values: Tensor, leaf: Tensor) -> Tensor:
    """Values ``[M]`` as ``[M, 1, ...]``, to be multiplied with a parameter."""
    return values.view(-1, *[1] * (leaf.dim() - 1))
