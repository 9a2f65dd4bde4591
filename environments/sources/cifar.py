"""CIFAR-10 and CIFAR-100: an `.npz` of pixels or of JPEG bytes, or the pickles of torchvision's layout."""

from __future__ import annotations

import io
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from environments.sources.common import ARRAYS, UNREADABLE, data, fetch, folder, load, missing, unreadable, wanted
from lab.protocols import Data, UserError

SHAPE = (3, 32, 32)
JPEG = ("jpeg_train", "offsets_train", "y_train", "jpeg_test", "offsets_test", "y_test")


def image_set(
    name: str, torchvision_name: str, files: dict[str, list[str]], label: str, dir: str | None, download: bool
) -> Data:
    """uint8 images ``[N, 3, 32, 32]`` from the first place that has them.

    Looks in ``dir`` for ``<name>.npz`` (``x_train`` ..., ``[N, 32, 32, 3]`` or ``[N, 3, 32, 32]``), ``<name>_jpeg.npz`` (the
    bytes of JPEG files, decoded at each start and kept nowhere), and the pickles ``files`` of "train" and "test".
    """
    root, key = folder("data.dir", dir), f"environment.source={name}: data.dir"
    arrays, jpeg = (root / f"{name}.npz", root / f"{name}_jpeg.npz") if root else (None, None)
    if root and arrays.exists():
        return data(name, load(arrays, key), f"{key}={arrays}", SHAPE)
    if root and jpeg.exists():
        return data(name, _decoded(load(jpeg, key, JPEG), f"{key}={jpeg}"), f"{key}={jpeg}", SHAPE)
    pickles = [root / file for split in files.values() for file in split] if root else []
    if wanted(download) and not (root and _all_there(pickles)):
        fetch(torchvision_name, root)
        pickles = [root / file for split in files.values() for file in split]
    if root and _all_there(pickles):
        return data(name, _unpickled(root, files, label, key), f"{key}={root}", SHAPE)
    looked = [arrays, jpeg, pickles[0].parent] if root else []
    raise missing(name, looked, "Set data.dir (or LAB_DATA) to a folder that holds them, or data.download=true.")


def _all_there(paths: list[Path]) -> bool:
    return all(path.exists() for path in paths)


# --- pickles ----------------------------------------------------------------------------------------------------------


def _as_bytes(text: str, codec: str) -> bytes:
    """How Python 3 writes bytes into an old pickle; only in this codec."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {codec}")
    return text.encode("latin1")


def _allowed() -> dict[tuple[str, str], object]:
    from numpy._core.multiarray import _reconstruct

    array = {(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")}
    return array | {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _as_bytes}


class ArrayUnpickler(pickle.Unpickler):
    """Reads containers, numbers, texts and NumPy arrays; whatever else a pickle asks for is refused, so that none runs code."""

    def find_class(self, module: str, name: str) -> object:
        try:
            return _allowed()[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays are read") from None


def _unpickled(root: Path, files: dict[str, list[str]], label: str, key: str) -> dict[str, np.ndarray]:
    arrays = {}
    for split, names in files.items():
        parts = [_batch(root / name, label, key) for name in names]
        arrays[f"x_{split}"] = np.concatenate([x for x, _ in parts]).reshape(-1, *SHAPE)
        arrays[f"y_{split}"] = np.concatenate([y for _, y in parts])
    return arrays


def _batch(path: Path, label: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 ``[n, 3072]``, channel after channel, and labels ``[n]`` of one file."""
    try:
        with path.open("rb") as file:
            content = ArrayUnpickler(file, encoding="bytes").load()
        x, y = content[b"data"], np.asarray(content[label.encode()])
        if not isinstance(x, np.ndarray) or x.dtype != np.uint8 or x.ndim != 2 or x.shape[1] != np.prod(SHAPE):
            raise ValueError("its data are no uint8 array [n, 3072]")
        if y.ndim != 1:
            raise ValueError(f"its {label} are no list of numbers")
        return x, y
    except (*UNREADABLE, pickle.UnpicklingError, AttributeError, ImportError, OverflowError, MemoryError) as error:
        raise unreadable(key, path, "a file of CIFAR images", error) from None


# --- JPEG -------------------------------------------------------------------------------------------------------------


def _decoded(arrays: dict[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
    decoded = {key: arrays[key] for key in ARRAYS if key in arrays}
    for split in ("train", "test"):
        blob, offsets = arrays[f"jpeg_{split}"], arrays[f"offsets_{split}"]
        sound = (
            blob.dtype == np.uint8 and blob.ndim == offsets.ndim == 1 and np.issubdtype(offsets.dtype, np.integer)
            and len(offsets) and offsets[0] >= 0 and offsets[-1] <= len(blob) and (np.diff(offsets.astype(np.int64)) > 0).all()
        )  # fmt: skip
        if not sound:
            raise UserError(f"{origin}: offsets_{split} must be ascending places in jpeg_{split}, the bytes of the images")
        files = [blob[start:stop].tobytes() for start, stop in pairwise(offsets.tolist())]
        names = (f"{origin}: image {number} of jpeg_{split}" for number in range(len(files)))
        with ThreadPoolExecutor() as threads:
            images = list(threads.map(_image, files, names))
        decoded[f"x_{split}"] = np.stack(images).transpose(0, 3, 1, 2) if images else np.empty((0, *SHAPE), np.uint8)
    return decoded


def _image(content: bytes, origin: str) -> np.ndarray:
    """uint8 ``[32, 32, 3]``."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.size != SHAPE[1:]:
                raise ValueError(f"it has {image.size[0]}x{image.size[1]} pixels, not 32x32")
            return np.asarray(image.convert("RGB"))
    except (*UNREADABLE, SyntaxError) as error:
        raise UserError(f"{origin}: cannot be decoded ({(str(error) or type(error).__name__).splitlines()[0]})") from None
