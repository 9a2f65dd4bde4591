"""A small convolutional network for images from 8x8 to 64x64."""

from itertools import pairwise

from torch import Tensor, nn

from lab.errors import invalid, whole
from lab.networks.norm import normalisation


class CNN(nn.Module):
    """Two blocks of 3x3 convolution, normalisation, ReLU and 2x2 max-pooling, a hidden layer, and the output layer."""

    def __init__(self, shape: tuple[int, ...], outputs: int, channels: int = 16, width: int = 128, norm: str = "none"):
        super().__init__()
        if len(shape) != 3:
            wanted = f"images [channels, height, width], and the inputs have shape {list(shape)}; network=mlp takes any"
            raise invalid("network", "cnn", wanted)
        if min(shape[1:]) < 4:
            raise invalid("network", "cnn", f"images of at least 4x4, and the inputs have shape {list(shape)}")
        whole("network.channels", channels, 1)
        sizes = [shape[0], channels, 2 * channels]
        bias = norm != "batch"  # which cancels it: left in, it would walk on rounding errors under Adam
        blocks = [
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=bias), normalisation(norm, b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in pairwise(sizes)
        ]
        body = nn.Sequential(*blocks, nn.Flatten())
        flat = sizes[-1] * (shape[1] // 4) * (shape[2] // 4)
        self.features = nn.Sequential(body, nn.Linear(flat, whole("network.width", width, 1)), nn.ReLU())
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
