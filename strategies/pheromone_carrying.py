"""What becomes of pheromone fields when weights are reset (Basu 2026), and fields of other runs: on the host, between phases.

    keep      the field stays (warm)
    reset     it is cold again
    minimum   the smallest value that the fields of all source tasks have, entry by entry, once their slots are aligned with
              those of the first one
    svd       its best approximation of rank ``rank``

Slots of one field answer to those of another by the assignment (Hungarian algorithm) under which their profiles are closest in
L2 distance together. A slot's profile is its row and its column, each sorted, and its own entry, which does not depend on how
the other slots are numbered; the source does not say what is aligned (our reconstruction).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from lab.protocols import invalid
from strategies.pheromone_field import Dynamics

CARRIES = ("keep", "reset", "minimum", "svd")
KEY = "strategy.pheromone.field"


@dataclass(frozen=True)
class Kept:
    """Fields in a file, one a layer by the names ``field_0``, ``field_1``, ..., as a run's `recorded.npz` has them.

    Each is ``[a, b]``, for all members; ``[M, a, b]``, one for each of the run; or ``[E, M, a, b]``, whose last is taken.

    Raises:
        UserError: there is no such file, or it is no `.npz`.
    """

    path: str

    def __post_init__(self):
        try:
            self.arrays()
        except (OSError, EOFError, BadZipFile, ValueError, TypeError) as error:
            raise invalid(KEY, self.path, f"a .npz file of fields ({error})") from None

    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.path) as file:
            return {name.rpartition(".")[2]: file[name] for name in file.files if "field_" in name}

    def digest(self) -> str:
        return hashlib.sha256(Path(self.path).read_bytes()).hexdigest()

    def of(self, n: int, shape: tuple[int, int], places: tuple[list[int], int], dynamics: Dynamics) -> Tensor:
        """The field of layer n ``[M, *shape]`` for members at these places among all of the run.

        Raises:
            UserError: it is not there, of another shape, or out of bounds.
        """
        own, count = places
        found = self.arrays().get(f"field_{n}")
        if found is None:
            raise invalid(KEY, self.path, f"an array field_{n}, as this network has so many layers")
        field = found[-1] if found.ndim == 4 else found
        if field.shape not in (shape, (count, *shape)):
            wanted = f"field_{n} of shape {[*shape]} or {[count, *shape]}, as this network and run have, not {[*field.shape]}"
            raise invalid(KEY, self.path, wanted)
        field = torch.from_numpy(np.broadcast_to(field, (count, *shape))[own].astype(np.float64))
        if not bool(((field >= dynamics.tau_min - 1e-6) & (field <= dynamics.tau_max + 1e-6)).all()):
            raise invalid(KEY, self.path, f"fields within tau_min={dynamics.tau_min:g} and tau_max={dynamics.tau_max:g}")
        return field


def smallest(fields: Tensor, met: Tensor) -> Tensor:
    """``[M, m, m]`` of fields ``[M, T, m, m]``: those of tasks that were met, bool ``[M, T]``, at least one."""
    each = [own[there] for own, there in zip(fields.double().cpu().numpy(), met.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack([_smallest(own) for own in each])).to(fields)


def _smallest(fields: np.ndarray) -> np.ndarray:
    """Of ``[T, m, m]``, whose slots are put in the order of the first one's."""
    return np.minimum.reduce([fields[0], *(aligned(fields[0], other) for other in fields[1:])])


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
