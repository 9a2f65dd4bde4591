"""MNIST and Fashion-MNIST: an `.npz`, or the IDX files of torchvision's layout and of Debian's packages."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from environments.sources.common import data, load, missing
from lab.protocols import Data, UserError

FILES = {"x_train": "train-images-idx3-ubyte", "y_train": "train-labels-idx1-ubyte", "x_test": "t10k-images-idx3-ubyte", "y_test": "t10k-labels-idx1-ubyte"}  # fmt: skip


def image_set(name: str, torchvision_name: str, dir: str | None, download: bool, system: Path | None) -> Data:
    """uint8 images ``[N, 1, 28, 28]``, 10 classes, from the first place that has them.

    Looks for ``<dir>/<name>.npz``, ``<dir>/<torchvision name>/raw``, ``<dir>`` itself and ``system``.
    """
    root = Path(dir).expanduser() if dir else None
    if root and (root / f"{name}.npz").exists():
        return data(name, load(root / f"{name}.npz"), str(root / f"{name}.npz"))
    folders = [root / torchvision_name / "raw", root] if root else []
    folders += [system] if system else []
    if download and not any(_complete(folder) for folder in folders):
        _download(torchvision_name, root)
    for folder in folders:
        if _complete(folder):
            return data(name, {key: _read(_file(folder, stem)) for key, stem in FILES.items()}, str(folder))
    looked = ([root / f"{name}.npz"] if root else []) + folders
    raise missing(name, looked, f"Set data.dir (or LAB_DATA) to a folder that holds them, or data.download=true to fetch them{_package(system)}.")


def _package(system: Path | None) -> str:
    return f", or install Debian's package dataset-{system.name}" if system else ""


def _file(folder: Path, stem: str) -> Path | None:
    return next((folder / f for f in (stem, f"{stem}.gz") if (folder / f).exists()), None)


def _complete(folder: Path) -> bool:
    return all(_file(folder, stem) for stem in FILES.values())


def _download(torchvision_name: str, root: Path | None) -> None:
    from torchvision import datasets

    if root is None:
        raise UserError("data.download=true: data.dir is not set; say where to put the data, data.dir=DIR")
    try:
        getattr(datasets, torchvision_name)(str(root), download=True)
    except (RuntimeError, OSError) as error:
        raise UserError(f"data.download=true: {torchvision_name} could not be fetched to {root} ({str(error).splitlines()[0]})") from None


def _read(path: Path) -> np.ndarray:
    """An IDX file: two zero bytes, a type (8: uint8), the number of dimensions, their sizes (big-endian), the bytes."""
    try:
        raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
        sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes).copy()
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise UserError(f"{path}: cannot be read as an IDX file ({str(error).splitlines()[0]})") from None
