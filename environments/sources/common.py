"""What sources share: checking arrays, hashing them, and saying where data were looked for."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lab.protocols import Data, Examples, UserError, invalid

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
QUALITY = "quality_train"
NO_LABEL = -100
UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
"""What readers raise for a file that is damaged or something else than its name says."""


def data(name: str, arrays: dict[str, np.ndarray], origin: str, shape: tuple[int, ...] | None = None) -> Data:
    """Checked arrays ``x_train, y_train, x_test, y_test`` as :class:`Data`.

    Args:
        origin: the configuration key and the file, for errors.
        shape: what each example must be, uint8, after images have got their channel axis.
    Raises:
        UserError: for arrays that do not fit together, are of another type, or hold what cannot be learnt from.
    """
    scores = arrays.get(QUALITY)
    arrays = {key: _inputs(arrays[key], origin, key) if key[0] == "x" else _labels(arrays[key], origin, key) for key in ARRAYS}
    for split in ("train", "test"):
        _check_pair(arrays[f"x_{split}"], arrays[f"y_{split}"], split, origin, shape)
    kinds = [(arrays[key].dtype, arrays[key].shape[1:]) for key in ("x_train", "x_test")]
    if kinds[0] != kinds[1]:
        said = [f"{dtype} of shape {list(example)}" for dtype, example in kinds]
        raise UserError(f"{origin}: examples of x_train are {said[0]}, those of x_test {said[1]}; they must agree")
    classes = _classes(arrays["y_train"], arrays["y_test"], origin)
    train, test = (Examples(torch.from_numpy(arrays[f"x_{s}"]), torch.from_numpy(arrays[f"y_{s}"])) for s in ("train", "test"))
    if scores is not None:
        quality = _quality(scores, len(train), origin)
        train, arrays = replace(train, quality=torch.from_numpy(quality)), arrays | {QUALITY: quality}
    return Data(name, train, test, classes, digest(arrays))


def digest(arrays: dict[str, np.ndarray]) -> str:
    """16 hexadecimal digits of a hash over names, types, shapes and contents."""
    total = hashlib.sha256()
    for key in sorted(arrays):
        total.update(f"{key} {arrays[key].dtype} {arrays[key].shape}".encode())
        total.update(np.ascontiguousarray(arrays[key]).data)
    return total.hexdigest()[:16]


def load(path: Path, key: str, names: tuple[str, ...] = ARRAYS, optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The arrays ``names`` of an ``.npz`` file, and of the ``optional`` ones those that are there; ``key`` is the
    configuration key for errors. Pickles are refused."""
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError("it is a single array")
        with file:
            absent = [name for name in names if name not in file]
            if absent:
                held = ", ".join(file) or "nothing"
                raise UserError(f"{key}={path}: holds no array {absent[0]}; expected {', '.join(names)}, and it holds {held}")
            return {name: file[name] for name in (*names, *(name for name in optional if name in file))}
    except UNREADABLE as error:
        raise unreadable(key, path, "an .npz file of plain arrays", error) from None


def unreadable(key: str, path: Path, kind: str, error: Exception) -> UserError:
    """The error for a file that is not what it should be."""
    if isinstance(error, FileNotFoundError):
        return UserError(f"{key}={path}: there is no such file")
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if "allow_pickle" in reason:  # NumPy takes whatever it does not know for a pickle
        within = "Object arrays" in reason
        reason = "it holds pickled objects, which could run code" if within else "another kind of file; pickles are not read"
    return UserError(f"{key}={path}: cannot be read as {kind} ({reason})")


def folder(key: str, given: object) -> Path | None:
    """``given`` as a folder or file name; None stays."""
    if given is None:
        return None
    if not isinstance(given, str) or not given or "\0" in given:
        raise invalid(key, given, "the name of a file or folder")
    return Path(given).expanduser()


def missing(name: str, looked: list[Path], remedy: str) -> UserError:
    """The error for data that are not there."""
    places = ", ".join(map(str, looked)) or "no place (data.dir is not set)"
    return UserError(f"environment.source={name}: the data are not there; looked for {places}. {remedy}")


def wanted(download: object) -> bool:
    """``data.download``, which must be true or false."""
    if not isinstance(download, bool):
        raise invalid("data.download", download, "true or false")
    return download


def fetch(torchvision_name: str, root: Path | None) -> None:
    """Download a data set by torchvision into ``root``, in its layout."""
    from torchvision import datasets

    if root is None:
        raise UserError("data.download=true: data.dir is not set; say where to put the data, data.dir=DIR")
    try:
        getattr(datasets, torchvision_name)(str(root), download=True)
    except (RuntimeError, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"data.download=true: {torchvision_name} could not be fetched to {root} ({reason})") from None


def _check_pair(x: np.ndarray, y: np.ndarray, split: str, origin: str, shape: tuple[int, ...] | None) -> None:
    if len(x) != len(y):
        raise UserError(f"{origin}: x_{split} has {len(x)} rows and y_{split} has {len(y)}; they must agree")
    if y.ndim == 2 and y.shape[:2] != x.shape[:2]:
        raise UserError(
            f"{origin}: y_{split} has shape {list(y.shape)}; expected one label an example, "
            f"or one for each place of x_{split}, whose shape is {list(x.shape)}"
        )
    if shape is not None and (x.dtype != np.uint8 or x.shape[1:] != shape):
        given = f"{x.dtype} examples of shape {list(x.shape[1:])}"
        raise UserError(f"{origin}: x_{split} holds {given}; expected uint8 images of shape {list(shape)}")


def _inputs(x: np.ndarray, origin: str, key: str) -> np.ndarray:
    if not isinstance(x, np.ndarray) or x.ndim < 2 or x.size == 0:
        raise UserError(f"{origin}: {key} has shape {list(np.shape(x))}; expected [examples, ...], with at least one example")
    if x.dtype == np.uint8:
        return np.ascontiguousarray(_channels_first(x))
    if np.issubdtype(x.dtype, np.integer):
        tokens = x.astype(np.int64)
        if tokens.min() < 0:
            raise UserError(f"{origin}: {key} holds {tokens.min()}; whole numbers are tokens, expected from 0 on")
        return tokens
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{origin}: {key} is of type {x.dtype}; expected uint8 images, float features or integer tokens")
    with np.errstate(over="ignore"):
        features = x.astype(np.float32)
    if not np.isfinite(features).all():
        raise UserError(f"{origin}: {key} holds NaN or infinite values")
    return features


def _channels_first(x: np.ndarray) -> np.ndarray:
    """uint8 ``[N, H, W]`` or ``[N, H, W, C]`` as ``[N, C, H, W]``; what is so already, and other shapes, stay."""
    if x.ndim == 3:
        return x[:, None]
    last = x.ndim == 4 and x.shape[-1] in (1, 3, 4) and x.shape[1] not in (1, 3, 4)
    return x.transpose(0, 3, 1, 2) if last else x


def _quality(scores: np.ndarray, examples: int, origin: str) -> np.ndarray:
    numbers = np.issubdtype(scores.dtype, np.floating) or np.issubdtype(scores.dtype, np.integer)
    if not numbers or scores.shape != (examples,) or not np.isfinite(scores).all():
        given = f"{scores.dtype} of shape {list(scores.shape)}"
        raise UserError(f"{origin}: {QUALITY} is {given}; expected one finite number for each of {examples} training examples")
    return scores.astype(np.float32)


def _labels(y: np.ndarray, origin: str, key: str) -> np.ndarray:
    if not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"{origin}: {key} is of type {y.dtype}; expected whole numbers 0..C-1")
    if y.ndim not in (1, 2):
        raise UserError(f"{origin}: {key} has shape {list(y.shape)}; expected one label an example, or one for each token")
    y = y.astype(np.int64)
    wrong = y[(y < 0) & (y != NO_LABEL)] if y.ndim == 2 else y[y < 0]
    if len(wrong):
        unless = ", or -100 for a token without a label" if y.ndim == 2 else ""
        raise UserError(f"{origin}: {key} holds the label {wrong.min()}; expected 0..C-1{unless}")
    return y


def _classes(train: np.ndarray, test: np.ndarray, origin: str) -> int:
    """C, where the labels are 0..C-1, each of them in the training data."""
    known = np.unique(train[train >= 0])
    if not len(known):
        raise UserError(f"{origin}: y_train holds no label; expected 0..C-1")
    gaps = np.flatnonzero(known != np.arange(len(known)))
    if len(gaps):
        raise UserError(f"{origin}: labels must be 0..C-1, each in y_train; {gaps[0]} is missing, and {known[-1]} is there")
    if test.max() >= len(known):
        raise UserError(f"{origin}: y_test holds the label {test.max()}, and y_train none above {len(known) - 1}")
    return len(known)
