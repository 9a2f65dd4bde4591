"""Transformers that give one answer for a whole sequence: the baselines of :class:`lab.networks.Pathways`, and their parts.

Letters in shapes: B sequences, N tokens in each, W width, C classes, H heads, D = W / H.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from lab.errors import UserError, require, whole
from lab.networks import transformer
from lab.networks.transformer import drop
from lab.networks.words import tokens_of
from lab.rules import Layout


class SequenceTransformer(nn.Module):
    """Tokens int64 ``[B, N]`` -> logits ``[B, outputs]``, of the mean over the sequence.

    As :class:`lab.networks.Transformer` in blocks, positions and initial weights, but every token sees all others.
    """

    called = "sequence_transformer"

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        hidden: int | None = None,
        dropout: float = 0.1,
        vocabulary: int | None = None,
        layout: Layout | None = None,
    ):
        """``hidden``: units of the perceptron in each block, None for 4 ``width``. ``vocabulary``: how many tokens there are;
        None for as many as the data name (``layout``).

        Raises :class:`~lab.errors.UserError` for inputs that are no sequences, and for an option that is out of range.
        """
        super().__init__()
        tokens = sequence_options(self.called, shape, width, depth, heads, vocabulary, layout)
        hidden = 4 * width if hidden is None else whole("network.hidden", hidden, 1)
        self.positioned = Positioned(tokens, shape[0], width, dropout)
        self.blocks = nn.ModuleList(
            Block(self.attention(width, heads, shape[0]), width, hidden, dropout, n) for n in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)
        initialise(self, depth)

    def attention(self, width: int, heads: int, length: int) -> nn.Module:
        """What the tokens of a block see of each other."""
        return Attention(width, heads)

    def features(self, tokens_BN: Tensor) -> Tensor:
        """What the head is given: the mean over tokens, ``[B, W]``."""
        stream_BNW = self.positioned(tokens_BN)
        for block in self.blocks:
            stream_BNW = block(stream_BNW)
        return self.norm(stream_BNW).mean(1)

    def forward(self, tokens_BN: Tensor) -> Tensor:
        return self.head(self.features(tokens_BN))


class RandomSparse(SequenceTransformer):
    """A :class:`SequenceTransformer` whose tokens see themselves and ``kept`` - 1 others, drawn once for each layer with the
    initial weights."""

    called = "random_sparse"

    def __init__(self, shape: tuple[int, ...], outputs: int, kept: int = 32, **options):
        self.kept = whole("network.kept", kept, 1)
        super().__init__(shape, outputs, **options)

    def attention(self, width: int, heads: int, length: int) -> nn.Module:
        return RandomAttention(width, heads, length, self.kept)


class Positioned(nn.Module):
    """Tokens int64 ``[B, N]`` -> their embeddings and those of their positions, added up: ``[B, N, W]``."""

    def __init__(self, tokens: int, length: int, width: int, dropout: float):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Parameter(torch.empty(length, width))
        self.drop = drop(dropout, 0)

    def forward(self, tokens_BN: Tensor) -> Tensor:
        if tokens_BN.is_floating_point():
            raise UserError(f"network: expected inputs that are tokens, and these are {tokens_BN.dtype}")
        return self.drop(self.embedding(tokens_BN) + self.positions[: tokens_BN.shape[1]])


class Block(nn.Module):
    """Attention, then a perceptron, each adding to the stream ``[B, N, W]``."""

    def __init__(self, attention: nn.Module, width: int, hidden: int, dropout: float, number: int):
        super().__init__()
        self.first_norm, self.attention = nn.LayerNorm(width), attention
        self.second_norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gelu = nn.GELU()
        self.first_drop, self.second_drop = drop(dropout, 1 + 2 * number), drop(dropout, 2 + 2 * number)

    def forward(self, stream_BNW: Tensor) -> Tensor:
        stream_BNW = stream_BNW + self.first_drop(self.attention(self.first_norm(stream_BNW)))
        return stream_BNW + self.second_drop(self.down(self.gelu(self.up(self.second_norm(stream_BNW)))))


class Attention(transformer.Attention):
    """softmax(Q K^T / sqrt(D) + scores) V in ``heads`` heads; ``scores`` ``[N, N]`` or ``[B, 1, N, N]`` say who sees whom."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads, causal=False)

    def forward(self, x_BNW: Tensor, scores: Tensor | None = None) -> Tensor:
        queries_BHND, keys_BHND, values_BHND = self.project(x_BNW).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        own_BHNN = (queries_BHND / sqrt(queries_BHND.shape[3])) @ keys_BHND.mT
        seen_BHNN = (own_BHNN if scores is None else own_BHNN + scores).softmax(3)
        return self.out((seen_BHNN @ values_BHND).transpose(1, 2).flatten(2))


class RandomAttention(Attention):
    """Who sees whom is drawn once."""

    def __init__(self, width: int, heads: int, length: int, kept: int):
        super().__init__(width, heads)
        require(kept <= length, "network.kept", kept, f"at most as many as the {length} tokens of an input")
        lots = torch.rand(length, length).fill_diagonal_(2)
        hidden = lots < lots.topk(kept, 1).values[:, -1:]
        self.register_buffer("hidden", hidden)

    def forward(self, x_BNW: Tensor) -> Tensor:
        length = x_BNW.shape[1]
        return super().forward(x_BNW, x_BNW.new_zeros(length, length).masked_fill(self.hidden, -torch.inf))


def nearby(x_BNW: Tensor, window: int) -> Tensor:
    """Scores ``[N, N]`` with which each token sees ``window`` // 2 to either side, and itself."""
    places = torch.arange(x_BNW.shape[1], device=x_BNW.device)
    far = (places.unsqueeze(1) - places).abs() > window // 2
    return x_BNW.new_zeros(far.shape).masked_fill(far, -torch.inf)


def initialise(network: nn.Module, depth: int) -> None:
    """Initial weights as :class:`lab.networks.Transformer` has them: normal with deviation 1 / sqrt(inputs), those that write
    into the stream divided by sqrt(2 ``depth``); biases 0."""
    for name, value in network.named_parameters():
        if value.dim() == 2:
            into_stream = name.endswith(("attention.out.weight", "fast.out.weight", "slow.out.weight", "down.weight"))
            nn.init.normal_(value, std=1 / sqrt(value.shape[1] * (2 * depth if into_stream else 1)))
        elif name.endswith("bias"):
            nn.init.zeros_(value)


def sequence_options(
    name: str, shape: tuple[int, ...], width: int, depth: int, heads: int, vocabulary: int | None, layout: Layout | None
) -> int:
    """Check what such networks have in common; how many tokens there are."""
    tokens = tokens_of(name, shape, vocabulary, layout)
    whole("network.width", width, 1)
    whole("network.depth", depth, 1)
    require(width % whole("network.heads", heads, 1) == 0, "network.heads", heads, f"a divisor of network.width={width}")
    return tokens
