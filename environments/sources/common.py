"""What sources share: checking arrays, hashing them, and saying where data were looked for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from lab.protocols import Data, Examples, UserError

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def data(name: str, arrays: dict[str, np.ndarray], origin: str) -> Data:
    """Checked arrays ``x_train, y_train, x_test, y_test`` as :class:`Data`; ``origin`` names them in errors."""
    arrays = {key: _inputs(arrays[key], origin, key) if key[0] == "x" else _labels(arrays[key], origin, key) for key in ARRAYS}
    for split in ("train", "test"):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        if len(x) != len(y):
            raise UserError(f"{origin}: x_{split} has {len(x)} rows and y_{split} has {len(y)}; they must agree")
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise UserError(f"{origin}: x_train has examples of shape {arrays['x_train'].shape[1:]}, x_test of {arrays['x_test'].shape[1:]}")
    classes = int(arrays["y_train"].max()) + 1
    absent = sorted(set(range(classes)) - set(np.unique(arrays["y_train"]).tolist()))
    if absent or arrays["y_test"].max() >= classes:
        raise UserError(f"{origin}: labels must be 0..C-1, each there in y_train; {f'{absent[0]} is missing' if absent else 'y_test has more'}")
    train, test = (Examples(torch.from_numpy(arrays[f"x_{s}"]), torch.from_numpy(arrays[f"y_{s}"])) for s in ("train", "test"))
    return Data(name, train, test, classes, digest(arrays))


def digest(arrays: dict[str, np.ndarray]) -> str:
    """16 hexadecimal digits of a hash over names, types, shapes and contents."""
    total = hashlib.sha256()
    for key in sorted(arrays):
        total.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
        total.update(np.ascontiguousarray(arrays[key]).data)
    return total.hexdigest()[:16]


def load(path: Path, keys: tuple[str, ...] = ARRAYS) -> dict[str, np.ndarray]:
    """The arrays ``keys`` of an ``.npz`` file."""
    try:
        with np.load(path, allow_pickle=False) as file:
            absent = [key for key in keys if key not in file]
            if absent:
                raise UserError(f"{path}: holds no array {absent[0]}; it holds {', '.join(file) or 'none'}, and {', '.join(keys)} are needed")
            return {key: file[key] for key in keys}
    except (OSError, ValueError, TypeError, AttributeError, EOFError) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error).splitlines()[0]
        raise UserError(f"{path}: cannot be read as an .npz file of plain arrays ({reason})") from None


def missing(name: str, looked: list[Path], remedy: str) -> UserError:
    """The error for data that are not there."""
    places = ", ".join(map(str, looked)) or "no place (data.dir is not set)"
    return UserError(f"environment.source={name}: the data are not there; looked for {places}. {remedy}")


def _inputs(x: np.ndarray, origin: str, key: str) -> np.ndarray:
    if x.ndim < 2 or len(x) == 0:
        raise UserError(f"{origin}: {key} has shape {x.shape}; expected [examples, ...], with at least one example")
    if x.dtype == np.uint8:
        if x.ndim == 3:
            return x[:, None]
        if x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
            return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return x
    if np.issubdtype(x.dtype, np.integer):
        return x.astype(np.int64)
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{origin}: {key} is of type {x.dtype}; expected uint8 images, float features or integer tokens")
    if not np.isfinite(x).all():
        raise UserError(f"{origin}: {key} holds NaN or infinite values")
    return x.astype(np.float32)


def _labels(y: np.ndarray, origin: str, key: str) -> np.ndarray:
    if not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"{origin}: {key} is of type {y.dtype}; expected whole numbers 0..C-1")
    y = y.astype(np.int64)
    if len(y) and y.min() < (0 if y.ndim == 1 else -100):
        raise UserError(f"{origin}: {key} holds the label {y.min()}; expected 0..C-1")
    return y
