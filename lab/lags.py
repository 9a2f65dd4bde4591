"""Laws of how much of what was met some time ago is met again: shares over the times since.

The laws are those of Gandhi, Shah, Marupudi & Varma 2024 (arXiv 2401.10393), who give no formula: our reconstruction. An age is
the time since something was last met, at least 1, in whatever unit: tasks, blocks, steps.

    power         proportional to age^-d; d = 0 is uniform, d = inf the most recent alone
    uniform       all alike
    exponential   proportional to e^(-r age), r such that the mean age is that of the power law
    recent        the most recent alone
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lab.errors import invalid, one_of

LAWS = ("power", "uniform", "exponential", "recent")


@dataclass(frozen=True)
class Law:
    """One of :data:`LAWS`; ``exponent`` d is the power law's, and the one whose mean age the exponential's is matched to."""

    kind: str = "power"
    exponent: float = 0.5

    def shares(self, ages: Tensor) -> Tensor:
        """How much goes to each age ``[..., n]``, as shares of the whole: float64 ``[..., n]``.

        Ages are at least 1, infinite for what was never met, which gets nothing; where nothing was met all shares are 0.
        """
        ages = ages.to(torch.float64)
        there = ages.isfinite()
        # Relative to the least age: no law changes, and no weight of the nearest is too small to be told from 0.
        least = ages.amin(-1, keepdim=True)
        least = least.masked_fill(least.isinf(), 1)
        known = torch.where(there, ages, least)
        return _normed(getattr(self, f"_{self.kind}")(known, least, there) * there)

    def _power(self, ages: Tensor, least: Tensor, _there: Tensor) -> Tensor:
        return (least / ages).pow(self.exponent)

    def _uniform(self, ages: Tensor, _least: Tensor, _there: Tensor) -> Tensor:
        return torch.ones_like(ages)

    def _recent(self, ages: Tensor, least: Tensor, _there: Tensor) -> Tensor:
        return (ages == least).to(ages.dtype)

    def _exponential(self, ages: Tensor, least: Tensor, there: Tensor) -> Tensor:
        after = ages - least
        mean = (after * _normed(self._power(ages, least, there) * there)).sum(-1, keepdim=True)
        rows = (part.expand(ages.shape).reshape(-1, ages.shape[-1]).cpu() for part in (after, there, mean))
        factors = [_factor(own[known].numpy(), float(wanted[0])) for own, known, wanted in zip(*rows, strict=True)]
        return torch.tensor(factors, dtype=ages.dtype).view(mean.shape).to(ages.device).pow(after)


def _factor(after: np.ndarray, mean: float) -> float:
    """The factor e^-r, for a unit of age, whose powers weigh the ages ``after`` the least one so that they have this mean."""

    def beyond(factor: float) -> float:
        weights = factor**after
        return float(weights @ after / weights.sum()) - mean

    from scipy.optimize import brentq

    return float(brentq(beyond, 0, 1, xtol=1e-15)) if len(after) > 0 and beyond(1.0) > 0 else 1.0


def law(section: str, kind: object, exponent: object) -> Law:
    """The law that the keys ``section.law`` and ``section.exponent`` ask for.

    >>> law("environment", "power", -1)
    Traceback (most recent call last):
    lab.errors.UserError: environment.exponent=-1: expected a number from 0 on, inf for the most recent alone
    """
    number = isinstance(exponent, (int, float)) and not isinstance(exponent, bool) and exponent >= 0
    if not number:  # NaN is not either
        raise invalid(f"{section}.exponent", exponent, "a number from 0 on, inf for the most recent alone")
    return Law(one_of(f"{section}.law", kind, LAWS), float(exponent))


def apportion(total: int | Tensor, shares: Tensor) -> Tensor:
    """``total`` (or ``[..., 1]``) whole things dealt out by ``shares`` ``[..., n]``, which add up to 1: int64 ``[..., n]``.

    By largest remainder (Hamilton's method): each gets the whole part of what is due to it, what is left over goes singly to
    the largest remainders, to the first among equal ones. Where all shares are 0 nothing is dealt out.

    >>> apportion(10, torch.tensor([0.55, 0.25, 0.2], dtype=torch.float64))
    tensor([6, 2, 2])
    """
    due = shares.to(torch.float64) * total
    whole = (due + _ROUNDING).floor()
    left = (due.sum(-1, keepdim=True) - whole.sum(-1, keepdim=True)).round()
    remainders = (due - whole).div(_ROUNDING, rounding_mode="floor")
    rank = remainders.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    return (whole + (rank < left)).long()


_ROUNDING = 2.0**-30
"""Remainders that differ by less are equal, and so much below a whole number is one: sums of shares are not exact."""


def _normed(weights: Tensor) -> Tensor:
    return weights / weights.sum(-1, keepdim=True).clamp(min=math.ulp(0.0))
