"""Normalisation layers that are sound when members are stacked."""

from torch import nn

from lab.errors import one_of

KINDS = ("none", "batch", "group", "layer")


def normalisation(kind: str, channels: int) -> nn.Module:
    """A layer for feature maps ``[B, channels, H, W]``: ``none``, ``batch``, ``group`` (groups of up to 8) or ``layer``.

    Batch normalisation keeps no batch count: it would be the only buffer that is not a statistic, and momentum is fixed.
    """
    one_of("network.norm", kind, KINDS)
    if kind == "batch":
        layer = nn.BatchNorm2d(channels)
        layer.num_batches_tracked = None
        return layer
    if kind == "group":
        return nn.GroupNorm(next(g for g in (8, 5, 4, 2, 1) if channels % g == 0), channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()
