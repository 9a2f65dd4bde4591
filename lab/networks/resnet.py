"""The slim ResNet-18 of the continual-learning literature (Lopez-Paz & Ranzato 2017, arXiv 1706.08840)."""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import invalid, whole
from lab.networks.norm import normalisation


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, basic block)."""

    def __init__(self, inside: int, outside: int, stride: int, norm: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = normalisation(norm, outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = normalisation(norm, outside)
        self.shortcut = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), normalisation(norm, outside))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class SlimResNet18(nn.Module):
    """ResNet-18 with ``filters`` (20) instead of 64 filters, a 3x3 stem without pooling, and average pooling at the end."""

    def __init__(self, shape: tuple[int, ...], outputs: int, filters: int = 20, norm: str = "batch"):
        super().__init__()
        if len(shape) != 3:
            wanted = f"images [channels, height, width], and the inputs have shape {list(shape)}"
            raise invalid("network", "slim_resnet18", wanted)
        whole("network.filters", filters, 1)
        self.stem = nn.Sequential(nn.Conv2d(shape[0], filters, 3, 1, 1, bias=False), normalisation(norm, filters), nn.ReLU())
        widths = [filters, filters, 2 * filters, 4 * filters, 8 * filters]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(Block(a, b, 1 if stage == 0 else 2, norm), Block(b, b, 1, norm))
                for stage, (a, b) in enumerate(pairwise(widths))
            )
        )
        self.head = nn.Linear(widths[-1], outputs)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features ``[B, 8 filters]``."""
        return self.stages(self.stem(x)).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))
