"""Squares (or magnitudes) of per-sample gradients, summed over samples: what Fisher information matrices are made of.

For linear layers no gradient of a single sample is ever made: that of sample b is the outer product of what the layer puts
out's gradient, delta_b, and what it was given, a_b, so the sum of squares is ``(delta ** 2).T @ (a ** 2)`` (Goodfellow 2015,
"Efficient per-example gradient computations", arXiv 1510.01799); with several objectives of a sample, ``delta ** 2`` is added
up over these before the one product. Other networks have their samples' gradients computed in a batched backward pass, a few
at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lab.population import Population
from lab.tracing import RunTwiceError

AT_ONCE = 2**24
"""Numbers in the per-sample gradients that are held at one time."""

Objectives = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From logits ``[M, B, ..., C]`` to K objectives of each sample and their weights, both ``[K, M, B]``; the weights are taken as
constants."""


def summed_gradients(
    population: Population,
    inputs: Tensor,
    objectives: Objectives,
    of: Callable[[Tensor], Tensor] = torch.square,
    gates: dict[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], int]:
    """Of every parameter ``[M, ...]``: the weighted sum over objectives k and samples b of (d objective_kb / d parameter)^2.

    Args:
        inputs: ``[M, B, ...]``.
        of: ``torch.square``, or ``torch.abs`` for the sum of |d objective_kb / d parameter|.
        gates: factors on hidden activations, as the population takes them.

    Returns:
        The sums by parameter name, and how many backward passes over the samples they took.
    """
    with population.evaluating(), torch.enable_grad():
        layers = population.linear()
        if layers is not None:
            sums = _of_linear_layers(population, layers, inputs, objectives, of, gates)
            if sums is not None:
                return sums
        values, weights = objectives(population(inputs, gates=gates))
        leaves = population.leaves
        sums = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        several = max(1, AT_ONCE // sum(leaf.numel() for leaf in leaves.values()))
        columns = torch.eye(inputs.shape[1], device=inputs.device, dtype=values.dtype)
        for value, weight in zip(values, weights.detach(), strict=True):
            for some in columns.split(several):
                _add_samples(sums, leaves, value, some, weight, of)
    return sums, len(values)


def _add_samples(sums: dict[str, Tensor], leaves: dict, value: Tensor, columns: Tensor, weight: Tensor, of: Callable) -> None:
    """Add what some samples bring, chosen by the rows of ``columns`` ``[n, B]``."""
    chosen = columns.unsqueeze(1).expand(-1, len(value), -1)  # [n, M, B]
    gradients = torch.autograd.grad(
        value, list(leaves.values()), chosen, retain_graph=True, is_grads_batched=True, allow_unused=True
    )
    share = columns @ weight.T.to(columns.dtype)  # [n, M]
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            sums[name] += (of(gradient) * share.view(*share.shape, *[1] * (gradient.dim() - 2))).sum(0)


def _of_linear_layers(
    population: Population,
    layers: dict[str, str],
    inputs: Tensor,
    objectives: Objectives,
    of: Callable[[Tensor], Tensor],
    gates: dict[str, Tensor] | None,
) -> tuple[dict[str, Tensor], int] | None:
    """The same where all parameters are those of linear layers, each run once on ``[B, in]``; None where it is otherwise."""
    leaves = population.leaves
    width = inputs.shape[1]
    probes = {
        path: torch.zeros(
            len(inputs), width, leaves[name].shape[1], device=inputs.device, dtype=leaves[name].dtype, requires_grad=True
        )
        for path, name in layers.items()
    }
    try:
        logits, into = population.traced(inputs, probes, gates)
    except RunTwiceError:
        return None
    if any(value.dim() != 3 for value in into.values()):
        return None
    values, weights = objectives(logits)
    put = {path: torch.zeros_like(probe) for path, probe in probes.items()}
    for value, weight in zip(values, weights.detach(), strict=True):
        deltas = torch.autograd.grad(value.sum(), list(probes.values()), retain_graph=True, allow_unused=True)
        for path, delta in zip(layers, deltas, strict=True):
            if delta is not None:
                put[path] += of(delta) * weight.unsqueeze(2)
    sums = {}
    for path, name in layers.items():
        # As [in, out], the order in which weights lie in memory.
        sums[name] = (of(into[path].detach().to(put[path].dtype)).mT @ put[path]).mT
        sums[name.removesuffix("weight") + "bias"] = put[path].sum(1)
    return {name: sums[name] for name in leaves}, len(values)
