"""Embeddings of words, from what is known of them before training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.errors import invalid, whole
from lab.rules import Layout


class Words(nn.Module):
    """Tokens int64 ``[...]`` -> ``[..., width]``.

    Every token's vector is a parameter. Where the ``layout`` knows vectors ``[V, D]``, it starts as the known one, all of them
    scaled alike to a mean of 0 and a deviation of ``deviation``, and a linear layer leads from D to ``width`` if they differ;
    elsewhere it starts normal with that deviation.
    """

    def __init__(self, tokens: int, width: int, layout: Layout | None, deviation: float):
        super().__init__()
        known = layout.vectors if layout else None
        size = width if known is None else known.shape[1]
        self.embedding = nn.Embedding(tokens, size)
        self.turn = nn.Identity() if size == width else nn.Linear(size, width, bias=False)
        nn.init.normal_(self.embedding.weight, std=deviation)
        if size != width:
            nn.init.normal_(self.turn.weight, std=size**-0.5)
        if known is not None:
            there = ~known.isnan().any(1)
            own = known[there]
            with torch.no_grad():
                self.embedding.weight[there] = (own - own.mean()) * (deviation / own.std())

    def forward(self, tokens: Tensor) -> Tensor:
        return self.turn(self.embedding(tokens))


def tokens_of(name: str, shape: tuple[int, ...], vocabulary: int | None, layout: Layout | None) -> int:
    """How many tokens a network that takes sequences of them has to know: ``vocabulary``, or as many as have names."""
    if len(shape) != 1:
        raise invalid("network", name, f"token sequences [length], and the inputs have shape {list(shape)}")
    if vocabulary is None and not (layout and layout.tokens):
        raise invalid("network.vocabulary", vocabulary, "how many tokens there are, since these data do not say")
    return len(layout.tokens) if vocabulary is None else whole("network.vocabulary", vocabulary, 1)
