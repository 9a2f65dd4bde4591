"""Several comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(ps: Sequence[float] | np.ndarray) -> np.ndarray:
    """p-values ``[m]`` corrected by Holm's step-down method (1979), in the order given.

    The chance of any false positive among the family is at most the level, however the tests depend on each other. What is
    NaN was not tested: it stays NaN and does not count in the family.
    """
    from statsmodels.stats.multitest import multipletests

    corrected = np.array(ps, dtype=float)
    tested = ~np.isnan(corrected)
    if tested.any():
        corrected[tested] = multipletests(corrected[tested], method="holm")[1]
    return corrected
