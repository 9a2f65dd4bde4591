"""CIFAR-100 (Krizhevsky 2009): 50,000 + 10,000 photographs of 32x32 pixels, 100 fine classes."""

from environments.sources.cifar import image_set
from lab.protocols import Data

FILES = {"train": ["cifar-100-python/train"], "test": ["cifar-100-python/test"]}


def cifar100(dir: str | None = None, download: bool = False) -> Data:
    """uint8 images ``[N, 3, 32, 32]``, 100 classes."""
    return image_set("cifar100", "CIFAR100", FILES, "fine_labels", dir, download)
