"""CIFAR-10 (Krizhevsky 2009): 50,000 + 10,000 photographs of 32x32 pixels."""

from environments.sources.cifar import image_set
from lab.protocols import Data

FILES = {
    "train": [f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)],
    "test": ["cifar-10-batches-py/test_batch"],
}


def cifar10(dir: str | None = None, download: bool = False) -> Data:
    """uint8 images ``[N, 3, 32, 32]``, 10 classes."""
    return image_set("cifar10", "CIFAR10", FILES, "labels", dir, download)
