"""Answers worth looking at: drawn, the most probable, or all there are.

Letters in shapes: P places, C classes, K answers; leading axes are any (members, examples).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from lab.rules.layout import UNSAYABLE

ENOUGH = 2**20
"""Answers beyond which they are not enumerated."""


def drawn(log_probs: Tensor, noise: Tensor) -> Tensor:
    """Independent draws of each place's class: classes ``[..., K, P]`` from log-probabilities ``[..., P, C]`` by uniform
    numbers ``[..., K, P]``: the first class at which the cumulative probability exceeds the number."""
    cumulative = log_probs.exp().cumsum(-1)
    sorted_PK = (noise.mT.to(cumulative.dtype) * cumulative[..., -1:]).contiguous()
    return torch.searchsorted(cumulative.contiguous(), sorted_PK, right=True).clamp(max=log_probs.shape[-1] - 1).mT


def best(log_probs: Tensor, count: int, real: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``count`` most probable answers where places are independent, the best first, and their log-probabilities: classes
    ``[..., K, P]`` and ``[..., K]`` from ``[..., P, C]``. Fewer where there are not so many in all.

    Place by place the best of the best so far are kept, which is exact: whatever beats an answer up to a place beats it beyond.
    Places that do not count (``real`` ``[..., P]``) have their most probable class. Where that leaves fewer answers than others
    have, what fills up differs there alone, and scores less than ``UNSAYABLE``.
    """
    classes, places = log_probs.shape[-1], log_probs.shape[-2]
    if real is not None:
        log_probs = _one_only(log_probs, real)
    scores = log_probs.new_zeros(*log_probs.shape[:-2], 1)
    answers = torch.empty(*log_probs.shape[:-2], 1, 0, dtype=torch.int64, device=log_probs.device)
    for place in range(places):
        tops, which = log_probs[..., place, :].topk(min(count, classes), -1)
        sums = (scores.unsqueeze(-1) + tops.unsqueeze(-2)).flatten(-2)
        scores, kept = sums.topk(min(count, sums.shape[-1]), -1)
        before = (kept // tops.shape[-1]).unsqueeze(-1).expand(*kept.shape, answers.shape[-1])
        chosen = which.gather(-1, kept % tops.shape[-1]).unsqueeze(-1)
        answers = torch.cat([answers.gather(-2, before), chosen], -1)
    return answers, scores


def _one_only(log_probs: Tensor, real: Tensor) -> Tensor:
    """Log-probabilities by which places that do not count have one class to say."""
    first = torch.full_like(log_probs, 2 * UNSAYABLE).scatter(-1, log_probs.argmax(-1, keepdim=True), 0.0)
    return torch.where(real.unsqueeze(-1), log_probs, first)


def everything(choices: Sequence[Sequence[int]]) -> Tensor:
    """All answers, classes ``[K, P]``, from the classes that may be said at each place."""
    return torch.tensor(list(itertools.product(*choices)), dtype=torch.int64).view(-1, len(choices))
