"""MNIST and Fashion-MNIST: an `.npz`, or the IDX files of torchvision's layout and of Debian's packages."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from environments.sources.common import UNREADABLE, data, fetch, folder, load, missing, unreadable, wanted
from lab.protocols import Data

FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}
SHAPE = (1, 28, 28)


def image_set(name: str, torchvision_name: str, dir: str | None, download: bool, system: Path | None = None) -> Data:
    """uint8 images ``[N, 1, 28, 28]``, 10 classes, from the first place that has them.

    Looks for ``<dir>/<name>.npz``, ``<dir>/<torchvision name>/raw``, ``<dir>`` itself and ``system``, the folder of Debian's
    package ``dataset-<last part of the folder>``.
    """
    root, key = folder("data.dir", dir), f"environment.source={name}: data.dir"
    if root and (root / f"{name}.npz").exists():
        return data(name, load(root / f"{name}.npz", key), f"{key}={root / name}.npz", SHAPE)
    folders = ([root / torchvision_name / "raw", root] if root else []) + ([system] if system else [])
    if wanted(download) and not any(map(_complete, folders)):
        fetch(torchvision_name, root)
    for place in folders:
        if _complete(place):
            return data(name, {part: read(_file(place, stem), key) for part, stem in FILES.items()}, f"{key}={place}", SHAPE)
    looked = ([root / f"{name}.npz"] if root else []) + folders
    package = f", or install Debian's package dataset-{system.name}" if system else ""
    raise missing(name, looked, f"Set data.dir (or LAB_DATA) to a folder that holds them, or data.download=true{package}.")


def read(path: Path, key: str) -> np.ndarray:
    """An IDX file: two zero bytes, a type (8: uint8), the number of dimensions, their sizes (big-endian), the bytes."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if raw[:3] != b"\0\0\x08":
            raise ValueError(f"it begins with {raw[:3].hex()}, not with 000008")
        sizes = np.frombuffer(raw, ">u4", count=raw[3], offset=4).tolist()
        return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes).copy()
    except UNREADABLE as error:
        raise unreadable(key, path, "an IDX file of bytes", error) from None


def _file(place: Path, stem: str) -> Path | None:
    return next((place / name for name in (stem, f"{stem}.gz") if (place / name).exists()), None)


def _complete(place: Path) -> bool:
    return all(_file(place, stem) for stem in FILES.values())
