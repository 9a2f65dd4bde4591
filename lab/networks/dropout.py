"""Dropout (Srivastava et al. 2014) whose masks are a function of the member's key, its clock and the layer."""

import torch
from torch import Tensor, nn

from lab.errors import fraction
from lab.seeding import derive, uniform


class Dropout(nn.Module):
    """In training, zero each element with probability ``p`` and scale the others by 1/(1-p); in evaluation, nothing.

    No global generator is read: equal (``key``, ``clock``, ``layer``) give equal masks, alone or stacked under ``vmap``,
    on every device. Whoever trains the network sets ``key`` from the member's seed and adds one to ``clock``, in place and
    outside ``vmap``, before each training forward pass; a network gives each of its dropouts another ``layer``.
    """

    key: Tensor
    """int64 ``[]`` (``[M]`` once stacked), below 2**32: what distinguishes members; see ``lab.seeding.member_keys``."""
    clock: Tensor
    """int64 ``[]`` (``[M]`` once stacked): what distinguishes steps."""

    def __init__(self, p: float, layer: int):
        """``p`` in [0, 1), else a :class:`~lab.errors.UserError` for ``network.dropout``."""
        super().__init__()
        self.p = fraction("network.dropout", p)
        self.layer = layer
        self._salt = derive(layer, "dropout") & 0xFFFFFFFF
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs of any shape and floating dtype, kept."""
        if not self.training or self.p == 0:
            return inputs
        draws = uniform(self.key ^ self._salt, self.clock, inputs.numel()).view(inputs.shape)
        return inputs * (draws >= self.p).to(inputs.dtype) * (1 / (1 - self.p))

    def extra_repr(self) -> str:
        return f"p={self.p}, layer={self.layer}"
