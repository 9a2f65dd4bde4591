"""A label for two sentences, from the means of their words."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.errors import invalid, require, whole
from lab.networks.dropout import Dropout
from lab.networks.words import Words, tokens_of
from lab.rules import PADDING, Layout


class PairBag(nn.Module):
    """Tokens int64 ``[B, 2 L]``, two sentences, each filled up with padding -> logits ``[B, outputs]``.

    u and v, the means of their words' embeddings, make [u, v, |u - v|, u * v] (Conneau et al. 2017, arXiv 1705.02364, with
    means for their encoders), which goes through ``depth`` hidden layers of ``hidden`` units. The order of words counts for
    nothing.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int = 50,
        hidden: int = 128,
        depth: int = 1,
        dropout: float = 0.0,
        vocabulary: int | None = None,
        layout: Layout | None = None,
    ):
        """``vocabulary``: how many tokens there are; None for as many as the data name (``layout``).

        Raises :class:`~lab.errors.UserError` for inputs that are no pairs of sequences, and for an option out of range.
        """
        super().__init__()
        tokens = tokens_of("pair_bag", shape, vocabulary, layout)
        if shape[0] % 2:
            raise invalid("network", "pair_bag", f"two sentences of one length, and the inputs have {shape[0]} tokens")
        whole("network.width", width, 1)
        whole("network.hidden", hidden, 1)
        require(whole("network.depth", depth, 0) < 10, "network.depth", depth, "a whole number from 0 to 9")
        self.words = Words(tokens, width, layout, 1.0)
        sizes = [4 * width, *depth * [hidden]]
        layers = [
            layer
            for number in range(depth)
            for layer in (nn.Linear(sizes[number], hidden), nn.ReLU(), *([Dropout(dropout, number)] if dropout else []))
        ]
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-1], outputs)

    def features(self, tokens: Tensor) -> Tensor:
        """The last hidden layer's activations ``[B, hidden]``."""
        pair = tokens.unflatten(1, (2, -1))  # [B, 2, L]
        real = (pair != PADDING).unsqueeze(3)
        means = (self.words(pair) * real).sum(2) / real.sum(2).clamp(min=1)  # [B, 2, width]
        u, v = means[:, 0], means[:, 1]
        return self.hidden(torch.cat([u, v, (u - v).abs(), u * v], 1))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.features(tokens))
