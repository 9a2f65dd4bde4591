"""A transformer encoder (Vaswani et al. 2017; pre-norm) of sentences of several lengths: a label a word, or one for the whole.

Letters in shapes: B sequences, P places in each, W width, H heads, D = W / H.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.errors import require, whole
from lab.networks import transformer
from lab.networks.transformer import drop
from lab.networks.words import Words, tokens_of
from lab.rules import PADDING, UNSAYABLE, Layout


class Encoder(nn.Module):
    """Tokens int64 ``[B, L]`` -> logits ``[B, P, outputs]``, each of all the words; or ``[B, outputs]``, of their mean, where
    the data have one label an example.

    As :class:`lab.networks.Transformer` in blocks, positions and initial weights, with these differences: every word sees all
    others, and nothing sees padding. With a ``window`` words see their neighbours before that, in order. Where inputs are
    longer than there are places, what is behind these says more about each of them (which word is a predicate), place by
    place, and its embeddings are added.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        window: int = 1,
        dropout: float = 0.0,
        vocabulary: int | None = None,
        layout: Layout | None = None,
    ):
        """``window``: so many words, the place's own in their middle, are mixed by a linear layer and added to it before the
        blocks; 1: none are. ``vocabulary``: how many tokens there are; None for as many as the data name (``layout``).

        Raises :class:`~lab.errors.UserError` for inputs that are no sequences, and for an option that is out of range.
        """
        super().__init__()
        tokens = tokens_of("encoder", shape, vocabulary, layout)
        whole("network.width", width, 1)
        whole("network.depth", depth, 1)
        require(width % whole("network.heads", heads, 1) == 0, "network.heads", heads, f"a divisor of network.width={width}")
        require(whole("network.window", window, 1) % 2 == 1, "network.window", window, "an odd number")
        self.one_label = layout is not None and layout.places == 1
        self.places = shape[0] if layout is None or self.one_label else layout.places
        self.words = Words(tokens, width, layout, 1 / sqrt(width))
        self.positions = nn.Parameter(torch.empty(self.places, width).normal_(std=1 / sqrt(width)))
        self.drop = drop(dropout, 0)
        self.reach = window // 2
        self.mix = nn.Linear(window * width, width) if window > 1 else None
        self.blocks = nn.ModuleList(Block(width, heads, dropout, 1 + 2 * number) for number in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        self._initialise(depth)

    def _initialise(self, depth: int) -> None:
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Linear) and name != "words.turn":
                into_stream = name.endswith(("attention.out", "down"))
                nn.init.normal_(layer.weight, std=1 / sqrt(layer.in_features * (2 * depth if into_stream else 1)))
                nn.init.zeros_(layer.bias)

    def features(self, tokens: Tensor) -> Tensor:
        """What the head is given: ``[B, P, W]``, or ``[B, W]`` of one label."""
        parts = tokens.unflatten(1, (-1, self.places))
        real = parts[:, 0] != PADDING
        stream_BPW = self.drop(self._mixed(self.words(parts).sum(1), real) + self.positions)
        for block in self.blocks:
            stream_BPW = block(stream_BPW, real)
        stream_BPW = self.norm(stream_BPW)
        if not self.one_label:
            return stream_BPW
        return (stream_BPW * real.unsqueeze(2)).sum(1) / real.sum(1, keepdim=True).clamp(min=1)

    def _mixed(self, words_BPW: Tensor, real: Tensor) -> Tensor:
        """Each word with its neighbours within the window, zeros where there is none."""
        if self.mix is None:
            return words_BPW
        wide = F.pad(words_BPW * real.unsqueeze(2), (0, 0, self.reach, self.reach))
        around = [wide[:, shift : shift + self.places] for shift in range(2 * self.reach + 1)]
        return words_BPW + F.gelu(self.mix(torch.cat(around, 2)))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.features(tokens))


class Block(transformer.Block):
    """A transformer's block that sees what is ``real`` ``[B, P]`` alone."""

    def __init__(self, width: int, heads: int, dropout: float, layer: int):
        super().__init__(width, heads, False, dropout, layer)
        self.attention = Attention(width, heads, False)

    def forward(self, stream_BPW: Tensor, real: Tensor) -> Tensor:
        stream_BPW = stream_BPW + self.first_drop(self.attention(self.first_norm(stream_BPW), real))
        return stream_BPW + self.second_drop(self.down(self.gelu(self.up(self.second_norm(stream_BPW)))))


class Attention(transformer.Attention):
    """softmax(Q K^T / sqrt(D)) V over what is ``real`` ``[B, P]``."""

    def forward(self, x_BPW: Tensor, real: Tensor) -> Tensor:
        queries_BHPD, keys_BHPD, values_BHPD = self.project(x_BPW).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores_BHPP = (queries_BHPD / sqrt(queries_BHPD.shape[3])) @ keys_BHPD.mT
        hidden = torch.where(real, 0.0, UNSAYABLE).to(scores_BHPP.dtype)
        scores_BHPP = scores_BHPP + hidden[:, None, None, :]
        return self.out((scores_BHPP.softmax(3) @ values_BHPD).transpose(1, 2).flatten(2))
