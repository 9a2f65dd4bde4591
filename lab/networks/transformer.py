"""A decoder-only transformer (Vaswani et al. 2017; pre-norm as in Radford et al. 2019): the network of small language models.

Letters in shapes: B sequences, L tokens in each, W width, H heads, D = W / H.
"""

from math import sqrt

import torch
from torch import Tensor, nn

from lab.errors import invalid, require, whole
from lab.networks.dropout import Dropout


class Transformer(nn.Module):
    """Tokens int64 ``[B, L]`` -> logits ``[B, L, outputs]``, each of its own token and (``causal``) those before it.

    ``depth`` blocks x + attention(norm(x)), x + mlp(norm(x)), the perceptron 4 ``width`` wide with GELU; learned positions, as
    many as the inputs are long; a norm before the linear head. Dropout, where given, is on what is added to the stream.

    Weights start normal with deviation 1 / sqrt(inputs), embeddings 1 / sqrt(W), those that write into the stream divided by
    sqrt(2 ``depth``) as in Radford et al., whose 0.02 is meant for networks ten times as wide; biases start at 0.

    No layer of torch's own transformer: its fast path and its dropout cannot be stacked.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        vocabulary: int | None = None,
        causal: bool = True,
        dropout: float = 0.0,
    ):
        """``vocabulary``: how many tokens there are; None for as many as ``outputs``, as in a language model.

        Raises :class:`~lab.errors.UserError` for inputs that are no sequences, and for an option that is out of range.
        """
        super().__init__()
        if len(shape) != 1:
            raise invalid("network", "transformer", f"token sequences [length], and the inputs have shape {list(shape)}")
        whole("network.width", width, 1)
        whole("network.depth", depth, 1)
        require(width % whole("network.heads", heads, 1) == 0, "network.heads", heads, f"a divisor of network.width={width}")
        require(isinstance(causal, bool), "network.causal", causal, "true or false")
        tokens = outputs if vocabulary is None else whole("network.vocabulary", vocabulary, 1)
        self.embedding = nn.Embedding(tokens, width)
        self.positions = nn.Parameter(torch.empty(shape[0], width))
        self.drop = drop(dropout, 0)
        self.blocks = nn.Sequential(*(Block(width, heads, causal, dropout, 1 + 2 * number) for number in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, outputs)
        self._initialise(depth)

    def _initialise(self, depth: int) -> None:
        for name, value in self.named_parameters():
            if value.dim() == 2:
                into_stream = name.endswith(("attention.out.weight", "down.weight"))
                nn.init.normal_(value, std=1 / sqrt(value.shape[1] * (2 * depth if into_stream else 1)))
            elif name.endswith("bias"):
                nn.init.zeros_(value)

    def forward(self, tokens: Tensor) -> Tensor:
        if tokens.is_floating_point():
            raise invalid("network", "transformer", f"inputs that are tokens, and these are {tokens.dtype}")
        stream_BLW = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        return self.head(self.norm(self.blocks(self.drop(stream_BLW))))


class Block(nn.Module):
    """Attention, then a perceptron, each adding to the stream ``[B, L, W]``; ``layer`` and the next number its dropouts."""

    def __init__(self, width: int, heads: int, causal: bool, dropout: float, layer: int):
        super().__init__()
        self.first_norm, self.attention = nn.LayerNorm(width), Attention(width, heads, causal)
        self.second_norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu = nn.GELU()
        self.first_drop, self.second_drop = drop(dropout, layer), drop(dropout, layer + 1)

    def forward(self, stream_BLW: Tensor) -> Tensor:
        stream_BLW = stream_BLW + self.first_drop(self.attention(self.first_norm(stream_BLW)))
        return stream_BLW + self.second_drop(self.down(self.gelu(self.up(self.second_norm(stream_BLW)))))


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(D)) V in ``heads`` heads; written out: `vmap` has no rule for torch's own on a CPU, and loops."""

    def __init__(self, width: int, heads: int, causal: bool):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x_BLW: Tensor) -> Tensor:
        queries_BHLD, keys_BHLD, values_BHLD = self.project(x_BLW).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores_BHLL = (queries_BHLD / sqrt(queries_BHLD.shape[3])) @ keys_BHLD.mT
        if self.causal:
            length = x_BLW.shape[1]
            scores_BHLL = scores_BHLL + scores_BHLL.new_full((length, length), -torch.inf).triu(1)
        return self.out((scores_BHLL.softmax(3) @ values_BHLD).transpose(1, 2).flatten(2))


def drop(p: float, layer: int) -> nn.Module:
    """Dropout, or nothing at all where there is none: masks of zeros have clocks to be kept, too."""
    return Dropout(p, layer) if p else nn.Identity()
