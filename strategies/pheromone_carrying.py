"""What becomes of pheromone fields when the weights are reset (Basu 2026): on the host, between two phases.

    keep      the field stays (warm)
    reset     it is cold again
    minimum   the smallest value that the fields of all source tasks have, entry by entry, once their slots are aligned
    svd       its best approximation of rank ``rank``

Slots of one field answer to those of another by the assignment (Hungarian algorithm) under which their profiles are closest in
L2 distance together. A slot's profile is its row and its column, each sorted, and its own entry, which does not depend on how
the other slots are numbered; the source does not say what is aligned (our reconstruction).
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

CARRIES = ("keep", "reset", "minimum", "svd")


def smallest(fields: Tensor, met: Tensor) -> Tensor:
    """``[M, m, m]`` of fields ``[M, T, m, m]``: those of tasks that were met, bool ``[M, T]``, at least one."""
    each = [own[there] for own, there in zip(fields.double().cpu().numpy(), met.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack([reduce(_smaller, own) for own in each])).to(fields)


def _smaller(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.minimum(one, aligned(one, other))


def aligned(reference: np.ndarray, field: np.ndarray) -> np.ndarray:
    """The field ``[m, m]`` with its slots in the order of those of ``reference`` that they are most like."""
    _, order = linear_sum_assignment(cdist(_profiles(reference), _profiles(field)))
    return field[np.ix_(order, order)]


def _profiles(field: np.ndarray) -> np.ndarray:
    return np.concatenate([np.sort(field, 1), np.sort(field, 0).T, np.diag(field)[:, None]], 1)


def of_rank(field: Tensor, rank: int) -> Tensor:
    """The closest matrices of a rank to ``[M, a, b]``."""
    left, values, right = torch.linalg.svd(field, full_matrices=False)
    return (left[..., :rank] * values[..., None, :rank]) @ right[..., :rank, :]
