"""Squares (or magnitudes) of per-sample gradients, summed over samples: what Fisher information matrices are made of.

For linear layers no gradient of a single sample is ever made: that of sample b is the outer product of what the layer puts
out's gradient, delta_b, and what it was given, a_b, so the sum of squares is ``(delta ** 2).T @ (a ** 2)`` (Goodfellow 2015,
"Efficient per-example gradient computations", arXiv 1510.01799); with several objectives of a sample, ``delta ** 2`` is added
up over these before the one product. Other networks have the gradients of a few samples made at a time, each by a network of
its own (``vmap`` over samples), at the cost of a second forward pass. A network that ``vmap`` cannot run, since it asks for
values or has a layer without a rule, takes as many backward passes through a few samples as these are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from lab.population import Population
from lab.tracing import RunTwiceError

AT_ONCE = 2**24
"""Numbers in the per-sample gradients that are held at one time: 64 MiB."""
NARROW = 8
"""Samples at a time where each takes a backward pass through all of these."""

Passes = tuple[int, int]
"""Forward and backward, over all samples."""

Objectives = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From logits ``[M, B, ..., C]`` to K objectives of each sample and their weights, both ``[K, M, B]``; the weights are taken as
constants."""


def summed_gradients(
    population: Population,
    inputs: Tensor,
    objectives: Objectives,
    of: Callable[[Tensor], Tensor] = torch.square,
    gates: dict[str, Tensor] | None = None,
) -> tuple[dict[str, Tensor], Passes]:
    """Of every parameter ``[M, ...]``: the weighted sum over objectives k and samples b of (d objective_kb / d parameter)^2.

    Args:
        inputs: ``[M, B, ...]``.
        of: ``torch.square``, or ``torch.abs`` for the sum of |d objective_kb / d parameter|.
        gates: factors on hidden activations, as the population takes them.

    Returns:
        The sums by parameter name, and how many passes over the samples they took.
    """
    with population.evaluating(), torch.enable_grad():
        layers = population.linear()
        if layers is not None:
            sums = _of_linear_layers(population, layers, inputs, objectives, of, gates)
            if sums is not None:
                return sums
        return _of_any_layers(population, inputs, objectives, of, gates or {})


def _of_any_layers(
    population: Population,
    inputs: Tensor,
    objectives: Objectives,
    of: Callable[[Tensor], Tensor],
    gates: dict[str, Tensor],
) -> tuple[dict[str, Tensor], Passes]:
    """The same with the gradient of every sample made: its objectives' by its own logits, pulled back through the network."""
    logits = population(inputs, gates=gates).detach().requires_grad_()
    values, weights = objectives(logits)
    pulls = torch.stack([torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in values], 2)
    gates = {path: gate.expand(-1, inputs.shape[1], *gate.shape[2:]) for path, gate in gates.items()}
    samples = (inputs, pulls, weights.detach().movedim(0, 2), gates)
    several = max(1, AT_ONCE // sum(leaf.numel() for leaf in population.leaves.values()))
    try:
        return _added_up(partial(population.pulled_back, of), samples, several), (2, len(values))
    except RuntimeError:  # `vmap` cannot run this network
        several = min(several, NARROW)
        return _added_up(partial(_one_by_one, population, of), samples, several), (2, len(values) * several)


def _added_up(sums_of: Callable[..., dict[str, Tensor]], samples: tuple, several: int) -> dict[str, Tensor]:
    """The sums over all samples, a tree of ``[M, B, ...]``, from those over ``several`` at a time."""
    total: dict[str, Tensor] = {}
    for first in range(0, samples[0].shape[1], several):
        some = tree_map(lambda part, columns=slice(first, first + several): part[:, columns], samples)
        sums = sums_of(*some)
        total = {name: total[name] + value for name, value in sums.items()} if total else sums
    return total


def _one_by_one(
    population: Population,
    of: Callable[[Tensor], Tensor],
    inputs: Tensor,
    pulls: Tensor,
    weights: Tensor,
    gates: dict[str, Tensor],
) -> dict[str, Tensor]:
    """:meth:`Population.pulled_back` by a backward pass of all of these samples for each of them, and so for few at a time."""
    leaves = population.leaves
    sums = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    logits = population(inputs, gates=gates)
    alone = torch.eye(inputs.shape[1], device=inputs.device, dtype=logits.dtype)
    for pull, weight in zip(pulls.unbind(2), weights.unbind(2), strict=True):
        chosen = pull * alone.view(len(alone), 1, -1, *[1] * (pull.dim() - 2))  # [B, M, B, ..., C]
        gradients = torch.autograd.grad(
            logits, list(leaves.values()), chosen, retain_graph=True, is_grads_batched=True, allow_unused=True
        )
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                sums[name] += (of(gradient) * weight.T.view(*weight.T.shape, *[1] * (gradient.dim() - 2))).sum(0)
    return sums


def _of_linear_layers(
    population: Population,
    layers: dict[str, str],
    inputs: Tensor,
    objectives: Objectives,
    of: Callable[[Tensor], Tensor],
    gates: dict[str, Tensor] | None,
) -> tuple[dict[str, Tensor], Passes] | None:
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
    return {name: sums[name] for name in leaves}, (1, len(values))
