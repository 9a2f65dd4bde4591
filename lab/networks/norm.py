"""Normalisation layers that are sound when members are stacked."""

from torch import nn

from lab.errors import one_of

KINDS = ("none", "batch", "group", "layer")


class BatchNorm(nn.BatchNorm2d):
    """Keeps no count of batches: it would be the only buffer that is not a statistic, and momentum is fixed."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(self, *state) -> None:
        nn.Module._load_from_state_dict(self, *state)  # torch's own version would add the count to the state


def normalisation(kind: str, channels: int) -> nn.Module:
    """A layer for feature maps ``[B, channels, H, W]``: ``none``, ``batch``, ``group`` (up to 8 groups) or ``layer``."""
    one_of("network.norm", kind, KINDS)
    if kind == "batch":
        return BatchNorm(channels)
    if kind == "group":
        return nn.GroupNorm(next(g for g in (8, 5, 4, 2, 1) if channels % g == 0), channels)
    return nn.GroupNorm(1, channels) if kind == "layer" else nn.Identity()
