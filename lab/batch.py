"""What members train on: one step's samples, and before they are read, the addresses of several steps'."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What all members train on in one step; the first ``current`` columns come from the stream, later ones from memories."""

    inputs: Tensor
    """``[M, B, ...]`` floating point (or int64 tokens)."""
    targets: Tensor
    """int64 ``[M, B]`` or ``[M, B, L]``: output units, -100 where there is none."""
    examples: Tensor
    """int64 ``[M, B]``: rows of ``data.train``; with ``tasks``, the address under which a memory keeps a sample."""
    tasks: Tensor
    """int64 ``[M, B]``, or ``[M, 1]`` where each member's batch is of one task."""
    current: int
    weights: Tensor | None = None
    """float ``[M, B]``: how much each sample counts in the member's mean loss; None where all count alike, 0 for padding."""

    @property
    def width(self) -> int:
        return self.examples.shape[1]

    def weights_or_ones(self) -> Tensor:
        """``weights``, made explicit."""
        return _weights_of(self)

    def taking_part(self) -> Tensor:
        """Whose samples count at all, bool ``[M]``; the others rest, and their state is to stay as it is."""
        return _weights_of(self)[:, : self.current].gt(0).any(1)

    def shares(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """How much each sample counts, as a share of the member's whole: ``[M, B]``, adding up to 1 (0 where all weigh 0)."""
        return shares_of(self.weights_or_ones().to(dtype))

    def join(self, other: Batch, balance: float | None = None) -> Batch:
        """This batch with the columns of ``other`` behind its own: one mean over all, or the two means weighted
        ``balance`` and 1 - ``balance`` (this one's alone for a member to which ``other`` brings nothing)."""
        explicit = self.weights is not None or other.weights is not None or balance is not None
        return replace(
            self,
            inputs=torch.cat([self.inputs, other.inputs], 1),
            targets=torch.cat([self.targets, other.targets], 1),
            examples=torch.cat([self.examples, other.examples], 1),
            tasks=torch.cat([self.tasks.expand_as(self.examples), other.tasks.expand_as(other.examples)], 1),
            weights=_joined_weights(_weights_of(self), _weights_of(other), balance) if explicit else None,
        )


@dataclass(frozen=True)
class Steps:
    """What all members will train on in the next S steps, as addresses: the columns of a :class:`Batch` before it is read."""

    examples: Tensor
    """int64 ``[M, S, B]``."""
    tasks: Tensor
    """int64 ``[M, S, B]``, or ``[M, S, 1]``."""
    current: int
    weights: Tensor | None
    """float ``[M, S, B]``."""
    clock: Tensor
    """int64 ``[M, S]``: how many steps each member has taken before each; what random numbers of that step are drawn with."""

    @property
    def width(self) -> int:
        return self.examples.shape[2]

    def join(self, examples: Tensor, tasks: Tensor, weights: Tensor, balance: float | Tensor | None = None) -> Steps:
        """These steps with samples at other addresses ``[M, S, R]`` behind their own; ``balance`` as in :meth:`Batch.join`, or
        one for each member, ``[M, 1, 1]``."""
        return replace(
            self,
            examples=torch.cat([self.examples, examples], 2),
            tasks=torch.cat([self.tasks.expand_as(self.examples), tasks.expand_as(examples)], 2),
            weights=_joined_weights(_weights_of(self), weights, balance),
        )


def _weights_of(samples: Batch | Steps) -> Tensor:
    return torch.ones_like(samples.examples, dtype=torch.float32) if samples.weights is None else samples.weights


def _joined_weights(own: Tensor, others: Tensor, balance: float | Tensor | None) -> Tensor:
    if balance is not None:
        own, others = shares_of(own) * balance, shares_of(others) * (1 - balance)
    else:  # what was balanced before counts as much as it has samples; by exactly 1 where weights are 0 and 1
        own = own * ((own > 0).sum(-1, keepdim=True) / own.sum(-1, keepdim=True).clamp(min=1e-12))
    return torch.cat([own, others], -1)


def shares_of(weights: Tensor) -> Tensor:
    """Weights ``[..., B]`` divided by their sum."""
    return weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)
