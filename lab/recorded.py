"""What was kept of a run over time, as arrays: `recorded.npz` beside `results.json`.

Letters in shapes: E moments, P phases, M members.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from lab.errors import UserError

FILE = "recorded.npz"
OF_ALL = ("steps", "ends", "seeds")
CONTENTS = "slots/"
"""How names in the file begin of what slots held when phases ended."""


@dataclass(frozen=True)
class Recorded:
    """What strategies kept of themselves at some moments, and what slots of networks held at the ends of phases."""

    steps: np.ndarray
    """int ``[E]``: after which steps; 0 is before training."""
    ends: np.ndarray
    """int ``[P]``: the steps at which phases ended."""
    seeds: np.ndarray
    """int ``[M]``."""
    values: dict[str, np.ndarray]
    """``{strategy.name: float32 [E, M, ...]}``; NaN at moments that a run did not come to."""
    contents: dict[str, np.ndarray]
    """``{name: float32 [P, M, ...]}``, as :class:`lab.holding.Holding` gives it; none of networks without slots."""

    def write(self, file) -> None:
        """As arrays by name."""
        arrays = self.values | {f"{CONTENTS}{name}": array for name, array in self.contents.items()}
        np.savez_compressed(file, steps=self.steps, ends=self.ends, seeds=self.seeds, **arrays)


def joined(parts: list[Recorded | None], order: list[int]) -> Recorded | None:
    """What was kept of all members, those of the first part first, in another ``order``; None where something is missing."""
    first = parts[0]
    if not all(part is not None and np.array_equal(part.steps, first.steps) for part in parts):
        return None

    def together(of: str) -> dict[str, np.ndarray]:
        return {name: np.concatenate([getattr(p, of)[name] for p in parts], 1)[:, order] for name in getattr(first, of)}

    seeds = np.concatenate([part.seeds for part in parts])[order]
    return Recorded(first.steps, first.ends, seeds, together("values"), together("contents"))


def load_recorded(folder: Path) -> Recorded | None:
    """What was kept of the run in a folder; None where nothing was.

    Raises:
        UserError: for a file that is damaged.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return None
    try:
        with np.load(path) as arrays:
            named = {name: arrays[name] for name in arrays.files if name not in OF_ALL}
            contents = {name.removeprefix(CONTENTS): array for name, array in named.items() if name.startswith(CONTENTS)}
            values = {name: array for name, array in named.items() if not name.startswith(CONTENTS)}
            return Recorded(*(arrays[name] for name in OF_ALL), values, contents)
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise UserError(f"{path}: is no record of this lab ({error})") from None
