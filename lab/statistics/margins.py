"""No worse than, better than, and as good as, by a margin stated beforehand."""

from __future__ import annotations

import numpy as np

from lab.statistics.estimates import known, spread
from lab.statistics.paired import sign_flip


def superior(differences: np.ndarray, margin: float = 0.0, method: str = "sign_flip") -> float:
    """p of the one-sided test that the mean of ``differences`` [n] exceeds ``margin``; null hypothesis: it is at most that.

    Args:
        method: "sign_flip" assumes differences symmetric about their mean (:func:`lab.statistics.sign_flip`), "t" that they
            are normal.

    Raises:
        ValueError: fewer than two differences, or another method.
    """
    return _one_sided(differences, margin, "greater", method)


def noninferior(differences: np.ndarray, margin: float, method: str = "sign_flip") -> float:
    """p of the one-sided test that the mean of ``differences`` [n] (higher is better) lies above -``margin``.

    Null hypothesis: it is worse by the margin or more, mean <= -margin. The assumptions of the methods are those of
    :func:`superior`; at the margin the differences are not those of two like methods, so symmetry is an assumption here.

    Raises:
        ValueError: a negative margin, fewer than two differences, or another method.
    """
    if not margin >= 0:
        raise ValueError(f"margin {margin}: expected a number from 0 on, the loss that still counts as no worse")
    return _one_sided(differences, -margin, "greater", method)


def equivalent(differences: np.ndarray, margin: float, method: str = "sign_flip") -> float:
    """p of the two one-sided tests (Schuirmann 1987) that the mean of ``differences`` [n] lies within ``margin`` of 0.

    Null hypothesis: it lies outside, or on the edge. The larger p of the two decides, so no correction is due. The
    assumptions of the methods are those of :func:`superior`.

    Raises:
        ValueError: a margin that is not positive, fewer than two differences, or another method.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin}: expected a positive number, the difference that still counts as none")
    return max(_one_sided(differences, -margin, "greater", method), _one_sided(differences, margin, "less", method))


def _one_sided(differences: np.ndarray, shift: float, alternative: str, method: str) -> float:
    if method == "sign_flip":
        return sign_flip(differences, shift, alternative).p
    if method == "t":
        return _t(differences, shift, alternative)
    raise ValueError(f"method {method!r}: expected sign_flip or t")


def _t(differences: np.ndarray, shift: float, alternative: str) -> float:
    from scipy import stats

    values = known(differences)
    if len(values) < 2:
        raise ValueError(f"{len(values)} differences; a test needs two")
    if spread(values) == 0:  # the limit; SciPy warns
        return 0.0 if (values.mean() - shift) * (1 if alternative == "greater" else -1) > 0 else 1.0
    return float(stats.ttest_1samp(values, shift, alternative=alternative).pvalue)
