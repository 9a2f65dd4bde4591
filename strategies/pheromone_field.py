"""The pheromone field by itself: what evaporates, what is laid down, how it looks (Basu 2026, arXiv 2603.22858).

A field tau holds a number for every transition from a slot a to a slot b, and a step changes it as follows:

    1. tau <- rho tau + (1 - rho) tau_min                        evaporation
    2. d = mean over samples of s p(a -> b)                      s = 1 where the sample is answered rightly, else -1
    3. tau += delta (d / max |d|) (tau_max - tau_min)            for the top_k entries of largest |d|
    4. tau <- tau clamped to [tau_min, tau_max]

A cold field is (tau_min + tau_max) / 2 throughout. Two variants are there because the source reports that they fail:
``deposit=positive`` takes s = 1 for every sample (our reconstruction of its always-positive deposits; fields saturate where a
step lays down on all entries, not where on an eighth of them); ``evaporation=identity`` is (1 - rho) tau + rho tau, which
evaporates nothing.

Fields here are ``[..., a, b]``, one for each leading index; every function treats them apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

import torch
from torch import Tensor

from lab.protocols import number, one_of, require, whole


@dataclass(frozen=True)
class Dynamics:
    """The rules that a field follows, checked.

    Raises:
        UserError: names the key.
    """

    rho: float = 0.8
    tau_min: float = 0.1
    tau_max: float = 2.0
    delta: float = 0.3
    top_k: int | None = None
    """None: an eighth of the field (128 of 1024); a field of fewer entries takes all it has."""
    deposit: str = "signed"
    evaporation: str = "decay"

    def __post_init__(self):
        key = "strategy.pheromone."
        number(f"{key}rho", self.rho, most=1.0)
        number(f"{key}tau_min", self.tau_min)
        require(self.tau_min > 0, f"{key}tau_min", self.tau_min, "a number above 0: routing takes its logarithm")
        number(f"{key}tau_max", self.tau_max)
        above = f"a number above strategy.pheromone.tau_min={self.tau_min:g}"
        require(self.tau_max > self.tau_min, f"{key}tau_max", self.tau_max, above)
        number(f"{key}delta", self.delta)
        if self.top_k is not None:
            whole(f"{key}top_k", self.top_k, 1)
        one_of(f"{key}deposit", self.deposit, ("signed", "positive"))
        one_of(f"{key}evaporation", self.evaporation, ("decay", "identity"))

    @property
    def cold(self) -> float:
        return (self.tau_min + self.tau_max) / 2

    @property
    def range(self) -> float:
        return self.tau_max - self.tau_min

    def evaporated(self, field: Tensor) -> Tensor:
        """Step 1."""
        return field if self.evaporation == "identity" else self.rho * field + (1 - self.rho) * self.tau_min

    def signs(self, right: Tensor) -> Tensor:
        """s for samples that are answered rightly or not (bool, any shape)."""
        return torch.ones_like(right, dtype=torch.float32) if self.deposit == "positive" else right.float() * 2 - 1

    def deposited(self, field: Tensor, change: Tensor) -> Tensor:
        """Step 3, with d = ``change`` of the field's shape; entries that tie with the last of the top_k are among them."""
        size = change.abs().flatten(-2)
        count = min(size.shape[-1], self.top_k or ceil(size.shape[-1] / 8))
        largest = size.topk(count, -1).values.unsqueeze(-1)
        taken = change.abs() >= largest[..., -1:, :]
        share = change / largest[..., :1, :].clamp(min=torch.finfo(change.dtype).tiny)
        return field + torch.where(taken, self.delta * self.range * share, 0)

    def updated(self, field: Tensor, change: Tensor) -> Tensor:
        """Steps 1, 3 and 4. What is not finite in ``change`` (of a member that diverged) counts as 0."""
        change = torch.where(change.isfinite(), change, 0)
        return self.clamped(self.deposited(self.evaporated(field), change))

    def clamped(self, field: Tensor) -> Tensor:
        """Step 4."""
        return field.clamp(self.tau_min, self.tau_max)

    def saturation(self, field: Tensor) -> Tensor:
        """``[...]``: the share of entries in the uppermost twentieth of [tau_min, tau_max]."""
        return (field > self.tau_max - self.range / 20).flatten(-2).to(field.dtype).mean(-1)


def entropy(field: Tensor) -> Tensor:
    """``[...]``: of the field as a distribution over its entries, over that of a uniform one; NaN for a single entry."""
    share = field.flatten(-2)
    share = share / share.sum(-1, keepdim=True)
    return torch.special.entr(share).sum(-1) / (log(share.shape[-1]) or torch.nan)
