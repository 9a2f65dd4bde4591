"""A population as it once was: what distillation, distances from old weights and networks of their own for each task need."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.population import Population


class Snapshot(nn.Module):
    """Parameters and buffers of a population as they once were: ``snapshot(inputs)`` answers with them."""

    def __init__(self, population: Population):
        super().__init__()
        self._population = [population]  # in a list, so that its parameters are not this module's
        for name, value in population.held().items():
            self.register_buffer(name, value.detach().clone())

    def parameters_then(self) -> dict[str, Tensor]:
        """The parameters ``[M, ...]`` that are held, by the names of ``population.leaves``."""
        return {name: self._buffers[name] for name in self._population[0].leaves}

    @torch.no_grad()
    def take(self, which: Tensor | None = None) -> None:
        """Hold what the population holds now, for all members or those in ``which`` ``[M]``."""
        for name, value in self._population[0].held().items():
            kept = self._buffers[name]
            kept.copy_(value if which is None else torch.where(which.view(-1, *[1] * (value.dim() - 1)), value, kept))

    def give(self) -> None:
        """Put what is held back into the population."""
        self._population[0].load(self._buffers)

    @torch.no_grad()
    def forward(self, inputs: Tensor, gates: dict[str, Tensor] | None = None) -> Tensor:
        """Logits ``[M, B, ..., C]``, without gradient, as in evaluation."""
        with self._population[0].evaluating():
            return self._population[0](inputs, self._buffers, gates)

    @torch.no_grad()
    def features(self, inputs: Tensor) -> Tensor:
        """Activations ``[M, B, D]`` of the last hidden layer."""
        with self._population[0].evaluating():
            return self._population[0].features(inputs, self._buffers)
