"""Fashion-MNIST (Xiao, Rasul, Vollgraf 2017): 60,000 + 10,000 garments of 28x28 pixels."""

from pathlib import Path

from environments.sources.idx import image_set
from lab.protocols import Data

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts them."""


def fashion_mnist(dir: str | None = None, download: bool = False) -> Data:
    """uint8 images ``[N, 1, 28, 28]``, 10 classes."""
    return image_set("fashion_mnist", "FashionMNIST", dir, download, DEBIAN)
