"""Gumbel noise that is a function of the member's key, its clock and the layer, as dropout's masks are."""

import torch
from torch import Tensor, nn

from lab.errors import number
from lab.seeding import derive, uniform

LEAST = 2.0**-25
"""In place of a uniform number of 0, whose noise would be infinite: half of the least other one."""


class GumbelNoise(nn.Module):
    """In training, add ``scale`` times standard Gumbel noise -log(-log u) (Jang et al. 2017); in evaluation, nothing.

    Whoever trains the network sets ``key`` and ``clock`` as for :class:`lab.networks.Dropout`; ``layer`` tells this noise from
    that of other layers.
    """

    key: Tensor
    """int64 ``[]`` (``[M]`` once stacked), below 2**32: what distinguishes members; see ``lab.seeding.member_keys``."""
    clock: Tensor
    """int64 ``[]`` (``[M]`` once stacked): what distinguishes steps."""

    def __init__(self, scale: float, layer: int):
        """``scale`` from 0 on, else a :class:`~lab.errors.UserError` for ``network.noise``."""
        super().__init__()
        self.scale = number("network.noise", scale)
        self.layer = layer
        self._salt = derive(layer, "gumbel") & 0xFFFFFFFF
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))

    def forward(self, logits: Tensor) -> Tensor:
        """Logits of any shape and floating dtype, kept."""
        if not self.training or self.scale == 0:
            return logits
        draws = uniform(self.key ^ self._salt, self.clock, logits.numel()).view(logits.shape).clamp(min=LEAST)
        draws = draws.to(torch.promote_types(logits.dtype, torch.float32))
        return logits - self.scale * (-draws.log()).log().to(logits.dtype)

    def extra_repr(self) -> str:
        return f"scale={self.scale}, layer={self.layer}"
