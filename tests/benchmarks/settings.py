"""What is compared: two settings of Permuted MNIST, the same for all contenders, and where the images come from."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PYTHON = sys.executable
LAB = str(Path(sys.executable).with_name("lab"))
MEMORY = 500
RATE = 0.1
IDX = {
    f"{kind}_{split}": f"{stem}-{what}-ubyte"
    for split, stem in (("train", "train"), ("test", "t10k"))
    for kind, what in (("x", "images-idx3"), ("y", "labels-idx1"))
}


@dataclass(frozen=True)
class Setting:
    """A batch size, an MLP 784-width-width-10, and how many steps one timing takes."""

    name: str
    batch: int
    width: int
    steps: int


A, B = Setting("a", 128, 256, 160), Setting("b", 10, 100, 400)


def data_folder(given: str | None) -> Path:
    """The folder that holds `mnist.npz`; ends the program with a sentence where there is none."""
    folder = given or os.environ.get("LAB_DATA")
    if folder is None or not (Path(folder) / "mnist.npz").exists():
        print(f"speed.py: --data={folder}: holds no mnist.npz; name a folder that does, or set LAB_DATA", file=sys.stderr)
        sys.exit(2)
    return Path(folder).resolve()


def arrays(folder: Path) -> dict[str, np.ndarray]:
    """MNIST's four arrays, uint8 images ``[N, 28, 28]`` and labels ``[N]``."""
    with np.load(folder / "mnist.npz") as file:
        return {name: file[name] for name in IDX}


def write_idx(folder: Path, root: Path) -> None:
    """MNIST in torchvision's layout under ``root``: IDX files, two zero bytes, type 8, dimensions, sizes, bytes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, array in arrays(folder).items():
        array = array.astype(np.uint8).reshape(len(array), 28, 28) if name[0] == "x" else array.astype(np.uint8)
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
        (raw / IDX[name]).write_bytes(header + array.tobytes())


def words(setting: Setting, strategy: str, seeds: int, tasks: int, folder: Path) -> list[str]:
    """`lab run`'s words for a setting."""
    return [
        "environment=permuted", "environment.source=mnist", f"environment.tasks={tasks}", "environment.scenario=domain",
        "network=mlp", f"network.width={setting.width}", "network.depth=2", f"strategy={strategy}", "optimizer=sgd",
        f"optimizer.lr={RATE}", f"batch_size={setting.batch}", "epochs=1", f"seeds={seeds}", f"data.dir={folder}",
        "trainer.accelerator=cpu", *([f"strategy.er.memory={MEMORY}"] if strategy == "er" else []),
    ]  # fmt: skip
