"""Tables in order of time, for streams that drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from environments.sources.common import data, folder, load, missing
from lab.protocols import Data, Examples, UserError, one_of

LATEST = 0.2
"""The share of the rows, the latest ones, that are test examples where an environment does not cut the table itself."""
LIMIT = 5.0
"""Standard deviations at which a standardised value is cut: a feature that never changed before may jump by hundreds."""
KEY = "environment.source.path"


def table(path: str | None = None, standardise: str = "running") -> Data:
    """The user's own ``.npz`` with ``x`` ``[N, F]`` and ``y`` ``[N]``, the rows in order of time.

    Args:
        standardise: ``running``, or ``none`` (see :func:`running`).
    """
    file = folder(KEY, path)
    if file is None:
        raise UserError(f"{KEY}=null: expected an .npz file with x [N, F] and y [N], in order of time")
    return ordered(file.stem, file, KEY, standardise)


def named(name: str, dir: str | None, standardise: str, elsewhere: str) -> Data:
    """The table ``<dir>/<name>.npz``; ``elsewhere`` says where it can be had."""
    root = folder("data.dir", dir)
    file = root / f"{name}.npz" if root else None
    if file is None or not file.exists():
        remedy = f"Set data.dir (or LAB_DATA) to a folder with {name}.npz: x [N, 8] and y [N], in order of time ({elsewhere})."
        raise missing(name, [file] if file else [], remedy)
    return ordered(name, file, f"environment.source={name}: data.dir", standardise)


def ordered(name: str, file: Path, key: str, standardise: str) -> Data:
    """The table of a file, float32 ``[N, F]``: the latest fifth are test examples."""
    one_of("environment.source.standardise", standardise, ("running", "none"))
    arrays = load(file, key, ("x", "y"))
    x, y = arrays["x"], arrays["y"]
    if x.ndim == 2 and standardise == "running" and np.issubdtype(x.dtype, np.number) and np.isfinite(x).all():
        x = running(x)
    if x.ndim == 2 and len(x) == 1:
        raise UserError(f"{key}={file}: x has one row; expected at least two, in order of time")
    cut = len(x) - max(1, round(LATEST * len(x)))
    whole = data(name, {"x_train": x, "y_train": y, "x_test": x[cut:], "y_test": y[cut:]}, f"{key}={file}")
    inputs, targets = whole.train.inputs, whole.train.targets
    return replace(whole, train=Examples(inputs[:cut], targets[:cut]), test=Examples(inputs[cut:], targets[cut:]), ordered=True)


def running(x: np.ndarray) -> np.ndarray:
    """Every row of ``[N, F]`` standardised by the mean and deviation of the rows up to and including itself.

    So no row knows of later ones, as in a learner that sees the table once. A feature that has not changed yet is 0; values
    beyond 5 deviations are cut.
    """
    moved = x.astype(np.float64) - x[:1]
    count = np.arange(1, len(x) + 1)[:, None]
    mean = moved.cumsum(0) / count
    deviation = np.sqrt(np.clip((moved**2).cumsum(0) / count - mean**2, 0, None))
    scaled = np.divide(moved - mean, deviation, out=np.zeros_like(moved), where=deviation > 0)
    return scaled.clip(-LIMIT, LIMIT).astype(np.float32)
