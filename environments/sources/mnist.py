"""MNIST (LeCun, Cortes, Burges): 60,000 + 10,000 handwritten digits of 28x28 pixels."""

from environments.sources.idx import image_set
from lab.protocols import Data


def mnist(dir: str | None = None, download: bool = False) -> Data:
    """uint8 images ``[N, 1, 28, 28]``, 10 classes."""
    return image_set("mnist", "MNIST", dir, download)
