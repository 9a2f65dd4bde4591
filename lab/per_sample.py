"""Squares of per-sample gradients, summed over samples: what Fisher information matrices are made of.

For linear layers no gradient of a single sample is ever made: that of sample b is the outer product of what the layer puts
out's gradient, delta_b, and what it was given, a_b, so the sum of squares is ``(delta ** 2).T @ (a ** 2)`` (Goodfellow 2015,
"Efficient per-example gradient computations", arXiv 1510.01799). Other networks have their samples' gradients computed in a
batched backward pass, a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lab.population import Population

AT_ONCE = 2**24
"""Numbers in the per-sample gradients that are held at one time."""


def squared_gradients(
    population: Population, inputs: Tensor, objectives: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> tuple[dict[str, Tensor], int]:
    """Of every parameter ``[M, ...]``: the weighted sum over objectives k and samples b of (d objective_kb / d parameter)^2.

    Args:
        inputs: ``[M, B, ...]``.
        objectives: from logits ``[M, B, ..., C]`` to K objectives of each sample and their weights, both ``[K, M, B]``;
            the weights are taken as constants.

    Returns:
        The sums by parameter name, and how many backward passes over the samples they took.
    """
    with population.evaluating(), torch.enable_grad():
        layers = population.linear()
        if layers is not None:
            sums = _of_linear_layers(population, layers, inputs, objectives)
            if sums is not None:
                return sums
        values, weights = objectives(population(inputs))
        leaves = population.leaves
        squares = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        several = max(1, AT_ONCE // sum(leaf.numel() for leaf in leaves.values()))
        columns = torch.eye(inputs.shape[1], device=inputs.device, dtype=values.dtype)
        for value, weight in zip(values, weights.detach(), strict=True):
            for some in columns.split(several):
                _add_squares(squares, leaves, value, some, weight)
    return squares, len(values)


def _add_squares(squares: dict[str, Tensor], leaves: dict, value: Tensor, columns: Tensor, weight: Tensor) -> None:
    """Add the squares of some samples, chosen by the rows of ``columns`` ``[n, B]``."""
    chosen = columns.unsqueeze(1).expand(-1, len(value), -1)  # [n, M, B]
    gradients = torch.autograd.grad(
        value, list(leaves.values()), chosen, retain_graph=True, is_grads_batched=True, allow_unused=True
    )
    share = columns @ weight.T  # [n, M]
    for name, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            squares[name] += (gradient**2 * share.view(*share.shape, *[1] * (gradient.dim() - 2))).sum(0)


def _of_linear_layers(
    population: Population, layers: dict[str, str], inputs: Tensor, objectives: Callable
) -> tuple[dict[str, Tensor], int] | None:
    """The same where all parameters are those of linear layers, each run once on ``[B, in]``; None where it is otherwise."""
    leaves = population.leaves
    probes = {}
    for path, name in layers.items():
        put = torch.zeros(*inputs.shape[:2], leaves[name].shape[1], device=inputs.device, dtype=leaves[name].dtype)
        probes[path] = put.requires_grad_()
    try:
        logits, into = population.traced(inputs, probes)
    except RuntimeError:  # a layer that is run more than once
        return None
    if any(value.dim() != 3 for value in into.values()):
        return None
    values, weights = objectives(logits)
    squares = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    for value, weight in zip(values, weights.detach(), strict=True):
        deltas = torch.autograd.grad(value.sum(), list(probes.values()), retain_graph=True, allow_unused=True)
        for (path, name), delta in zip(layers.items(), deltas, strict=True):
            if delta is None:
                continue
            square = delta**2 * weight.unsqueeze(2)
            squares[name] += square.mT @ into[path].detach() ** 2
            bias = name.removesuffix("weight") + "bias"
            if bias in leaves:
                squares[bias] += square.sum(1)
    return squares, len(values)
