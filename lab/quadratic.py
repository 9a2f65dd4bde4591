"""A pull back to old parameters: the penalty that elastic weight consolidation and its kin add to the loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.population import Population


class QuadraticPenalty(nn.Module):
    """``1/2 sum_i stiffness_i (theta_i - anchor_i)^2`` over every member's parameters; zero at first.

    Several such sums, each with an anchor of its own, are one: ``sum_k s_k (theta - a_k)^2 = s (theta - a)^2 + constant`` with
    ``s = sum_k s_k`` and ``a = sum_k s_k a_k / s``, so memory does not grow with their number. The mean anchor is kept, and not
    ``sum_k s_k a_k``: the gradient ``s (theta - a)`` is then that of the literal sum but for the anchor's last bit, which is
    also the last bit of theta, however large s is.
    """

    def __init__(self, population: Population):
        super().__init__()
        self._population = [population]  # in a list, so that its parameters are not this module's
        for name, leaf in population.leaves.items():
            self.register_buffer(f"stiffness/{name}", torch.zeros_like(leaf, requires_grad=False))
            self.register_buffer(f"anchor/{name}", leaf.detach().clone())

    @property
    def stiffness(self) -> dict[str, Tensor]:
        """Of every parameter ``[M, ...]``, by the names of ``population.leaves``."""
        return {name: self._buffers[f"stiffness/{name}"] for name in self._population[0].leaves}

    @property
    def anchor(self) -> dict[str, Tensor]:
        """Of every parameter ``[M, ...]``."""
        return {name: self._buffers[f"anchor/{name}"] for name in self._population[0].leaves}

    @torch.no_grad()
    def add(self, stiffness: dict[str, Tensor]) -> None:
        """Another such sum, whose anchor is where the parameters are now."""
        for name, leaf in self._population[0].leaves.items():
            whole, anchor = self.stiffness[name].add_(stiffness[name]), self.anchor[name]
            anchor.lerp_(leaf, torch.where(whole > 0, stiffness[name] / whole, 1.0))

    @torch.no_grad()
    def move(self, stiffness: dict[str, Tensor], keep: float = 1.0) -> None:
        """Another such sum, and all anchors to where the parameters are now; what was there counts ``keep`` times."""
        for name, leaf in self._population[0].leaves.items():
            self.stiffness[name].mul_(keep).add_(stiffness[name])
            self.anchor[name].copy_(leaf)

    @torch.no_grad()
    def pull(self) -> None:
        """Add the penalty's gradient to ``grad``, as autograd would, at a fraction of its cost."""
        leaves = list(self._population[0].leaves.values())
        away = torch._foreach_sub(leaves, list(self.anchor.values()))
        for leaf, stiffness, distance in zip(leaves, self.stiffness.values(), away, strict=True):
            # A new tensor: who looked at the loss's own gradient before still has it.
            leaf.grad = distance.mul_(stiffness) if leaf.grad is None else torch.addcmul(leaf.grad, stiffness, distance)
