"""The multi-layer perceptron of the field's MNIST experiments."""

import math

from torch import Tensor, nn

from lab.errors import fraction, whole
from lab.networks.dropout import Dropout


class MLP(nn.Module):
    """``depth`` hidden layers of ``width`` ReLU units on the flattened input, then one linear layer of ``outputs`` units."""

    def __init__(self, shape: tuple[int, ...], outputs: int, width: int = 256, depth: int = 2, dropout: float = 0.0):
        super().__init__()
        whole("network.width", width, 1)
        whole("network.depth", depth, 0)
        fraction("network.dropout", dropout)
        sizes = [math.prod(shape), *[width] * depth]
        layers: list[nn.Module] = [nn.Flatten()]
        for size_in, size_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(size_in, size_out), nn.ReLU(), *([Dropout(dropout)] if dropout else [])]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
