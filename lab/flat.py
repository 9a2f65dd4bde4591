"""Gradients of stacked parameters as vectors: ``{name: [M, ...]}`` to and from ``[M, P]``, and what products they have."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Leaves = Mapping[str, Tensor]
"""By name, each ``[M, ...]``."""


def flatten(tensors: Leaves, leaves: Leaves) -> Tensor:
    """One row for each member, ``[M, P]``: ``tensors`` of the shapes of ``leaves``, one leaf's behind the other's, each in the
    order in which the leaf lies in memory (weights of linear layers are stored transposed)."""
    return torch.cat([_in_memory(tensors[name], leaf).reshape(len(leaf), -1) for name, leaf in leaves.items()], 1)


def unflatten(rows: Tensor, leaves: Leaves) -> dict[str, Tensor]:
    """Views of ``rows`` ``[M, P]`` with the shapes of ``leaves``: the inverse of :func:`flatten`."""
    parts = rows.split([leaf[0].numel() for leaf in leaves.values()], 1)
    return {
        name: _in_memory(part.view(_in_memory(leaf, leaf).shape), leaf)
        for part, (name, leaf) in zip(parts, leaves.items(), strict=True)
    }


def products(a: Leaves, b: Leaves) -> Tensor:
    """Each member's inner product over all leaves of ``a``, ``[M]``."""
    return sum((value * b[name]).sum(_own(value)) if value.dim() > 1 else value * b[name] for name, value in a.items())


def squares(a: Leaves) -> Tensor:
    """``products(a, a)``, without a place for the squares: a quarter of the time."""
    return sum(torch.linalg.vector_norm(v, dim=_own(v)) ** 2 if v.dim() > 1 else v**2 for v in a.values())


def _own(value: Tensor) -> tuple[int, ...]:
    """The axes behind the members'. Where there are none, torch would reduce over all: members over each other."""
    return tuple(range(1, value.dim()))


def _in_memory(tensor: Tensor, leaf: Tensor) -> Tensor:
    """``tensor`` with its last two axes exchanged if those of ``leaf`` are, in memory; its own inverse."""
    return tensor if leaf.is_contiguous() else tensor.mT
