"""The dual-view pheromone pathway network of Basu 2026, "The Coordinate System Problem in Persistent Structural Memory for
Neural Architectures", arXiv 2603.22858.

Two soft groupers assign tokens to m slots, twice over (views v = 1, 2). How much the two views agree on what leads from slot a
to slot b, and how much has been laid down there before (the field tau, which is no parameter), decides a routing, and that
which tokens see which:

    S_v = (Q_v' x) (Q_v' W_K x)', ReLU, rows normalised                                          support
    A   = mu sqrt((S_1 + eps)(S_2 + eps)) + (1 - mu)(S_1 + S_2) / 2,  mu = sigmoid(w . mean_i x_i)   agreement
    p(a -> b) = softmax_b(alpha log tau_ab + beta log(A_ab + eps))                               routing
    M   = Q_1 p Q_2', the largest k of each row kept                                             what the fast lane sees
    h   = g h_fast + (1 - g) h_slow,  g = sigmoid(W_g [h_fast; h_slow; mean A]) max(0, (phi - .2) / .8)

The slow lane sees the tokens around. phi is the part of the training that is done.

The source has no more than these formulas; the rest is our reconstruction. A layer normalises its input to x, adds h to the
stream, then a perceptron 4 times as wide as in a transformer; both lanes are attention in several heads with weights of their
own. The fast lane adds log M to its scores, so that groupers and agreement learn by what is seen; eps is 1e-6. The slow lane
sees w / 2 tokens to either side. Each layer has groupers and a field of its own. phi is of the phase that is being trained.
The sequence's answer is that of its mean.

Letters in shapes: B sequences, N tokens in each, W width, C classes, m slots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.errors import fraction, number, require, whole
from lab.networks.grouping import Groupers
from lab.networks.sequences import Attention, Positioned, initialise, nearby, sequence_options
from lab.networks.transformer import drop
from lab.rules import Layout

EPSILON = 1e-6
ALIKE = 1e-5
"""Parts of themselves by which equal numbers may differ."""
COLD = 1.05
"""What the field is at first: halfway between the source's least and largest value, .1 and 2."""


class Pathways(nn.Module):
    """Tokens int64 ``[B, N]`` -> logits ``[B, outputs]``.

    Every layer has buffers for others to write to: ``field`` tau ``[m, m]``, ``prior`` ``[m, m]`` (rows adding up to 1) and
    ``prior_weight`` w ``[]``, by which the routing becomes (1 - w) p + w prior. ``alpha`` = 0 and w = 0 take them out of the
    answer to the bit. The buffer ``progress`` ``[]`` is phi, which the lab's learner sets before each step; a new network has
    it at 1, so that in other hands its fast lane is open.

    In layer i, ``routing`` puts out p ``[B, m, m]``, ``grouper_1`` and ``grouper_2`` Q_v ``[B, N, m]``, ``agreement`` A
    ``[B, m, m]``.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        outputs: int,
        width: int = 64,
        depth: int = 3,
        heads: int = 4,
        slots: int = 32,
        kept: int = 32,
        window: int = 16,
        alpha: float = 1.0,
        beta: float = 1.0,
        coordinates: str = "learned",
        temperature: float = 1.0,
        noise: float = 0.5,
        bandwidth: float | None = None,
        coordinate_seed: int = 0,
        shut: float | None = 0.2,
        dropout: float = 0.1,
        vocabulary: int | None = None,
        layout: Layout | None = None,
    ):
        """Defaults are the source's.

        Args:
            kept: k, how many tokens each one sees in the fast lane.
            window: w, how many tokens around each one it sees in the slow lane, beside itself.
            coordinates: ``learned`` slots, or random Fourier features of ``token_position`` or ``position``.
            noise: gamma of learned slots' Gumbel noise.
            bandwidth: of Fourier features, the source's sigma; None for sqrt(D), with which the phases of two positions differ
                by numbers of deviation sqrt(2): the source gives no value, and at 1 all tokens would have much the same slots.
            shut: the part of a phase in which the gate keeps the fast lane shut, .2 in the formula above; None for no ramp.
            vocabulary: how many tokens there are; None for as many as the data name (``layout``).

        Raises:
            UserError: for inputs that are no sequences, and for an option that is out of range.
        """
        super().__init__()
        tokens = sequence_options("pathways", shape, width, depth, heads, vocabulary, layout)
        groupers = Groupers(coordinates, tokens, shape[0], width, slots, temperature, noise, bandwidth, coordinate_seed)
        for key, given in {"kept": kept, "window": window}.items():
            room = whole(f"network.{key}", given, 1) <= shape[0]
            require(room, f"network.{key}", given, f"at most as many as the {shape[0]} tokens of an input")
        routing = (number("network.alpha", alpha), number("network.beta", beta))
        shut = None if shut is None else fraction("network.shut", shut)
        self.slots = slots
        self.positioned = Positioned(tokens, shape[0], width, dropout)
        self.layers = nn.ModuleList(
            Layer(layer, width, heads, groupers, slots, kept, window, routing, shut, dropout) for layer in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, outputs)
        self.register_buffer("progress", torch.ones(()))
        initialise(self, depth)

    def features(self, tokens_BN: Tensor) -> Tensor:
        """What the head is given: the mean over tokens, ``[B, W]``."""
        stream_BNW = self.positioned(tokens_BN)
        for layer in self.layers:
            stream_BNW = layer(stream_BNW, tokens_BN, self.progress)
        return self.norm(stream_BNW).mean(1)

    def forward(self, tokens_BN: Tensor) -> Tensor:
        return self.head(self.features(tokens_BN))


class Layer(nn.Module):
    """Both lanes and the gate between them, then a perceptron, each adding to the stream ``[B, N, W]``."""

    def __init__(
        self,
        layer: int,
        width: int,
        heads: int,
        groupers: Groupers,
        slots: int,
        kept: int,
        window: int,
        routing: tuple[float, float],
        shut: float | None,
        dropout: float,
    ):
        super().__init__()
        self.kept, self.window = kept, window
        self.norm = nn.LayerNorm(width)
        self.grouper_1, self.grouper_2 = groupers.make(layer, 0), groupers.make(layer, 1)
        self.agreement, self.routing = Agreement(width), Routing(*routing)
        self.fast, self.slow, self.gate = Attention(width, heads), Attention(width, heads), Gate(width, shut)
        self.perceptron_norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gelu = nn.GELU()
        self.first_drop, self.second_drop = drop(dropout, 1 + 2 * layer), drop(dropout, 2 + 2 * layer)
        self.register_buffer("field", torch.full((slots, slots), COLD))
        self.register_buffer("prior", torch.full((slots, slots), 1 / slots))
        self.register_buffer("prior_weight", torch.zeros(()))

    def forward(self, stream_BNW: Tensor, tokens_BN: Tensor, progress: Tensor) -> Tensor:
        x_BNW = self.norm(stream_BNW)
        first_BNm, second_BNm = self.grouper_1(x_BNW, tokens_BN), self.grouper_2(x_BNW, tokens_BN)
        agreement_Bmm = self.agreement(x_BNW, first_BNm, second_BNm)
        routing_Bmm = self.routing(agreement_Bmm, self.field, self.prior, self.prior_weight)
        mask_BNN = first_BNm @ routing_Bmm.to(x_BNW.dtype) @ second_BNm.mT
        fast_BNW = self.fast(x_BNW, sparse(mask_BNN, self.kept).unsqueeze(1))
        slow_BNW = self.slow(x_BNW, nearby(x_BNW, self.window))
        mixed_BNW = self.gate(fast_BNW, slow_BNW, agreement_Bmm, progress)
        stream_BNW = stream_BNW + self.first_drop(mixed_BNW)
        return stream_BNW + self.second_drop(self.down(self.gelu(self.up(self.perceptron_norm(stream_BNW)))))


class Agreement(nn.Module):
    """A ``[B, m, m]``: what both views support, and what either does, mixed as the sequence asks for."""

    def __init__(self, width: int):
        super().__init__()
        self.keys, self.mix = nn.Linear(width, width, bias=False), nn.Linear(width, 1, bias=False)

    def forward(self, x_BNW: Tensor, first_BNm: Tensor, second_BNm: Tensor) -> Tensor:
        keys_BNW = self.keys(x_BNW)
        one, other = (support(groups, x_BNW, keys_BNW) for groups in (first_BNm, second_BNm))
        mu_B11 = self.mix(x_BNW.mean(1, keepdim=True)).sigmoid()
        return mu_B11 * ((one + EPSILON) * (other + EPSILON)).sqrt() + (1 - mu_B11) * (one + other) / 2


def support(groups_BNm: Tensor, x_BNW: Tensor, keys_BNW: Tensor) -> Tensor:
    """S ``[B, m, m]`` of one view: what slot a holds times the key of slot b, ReLU, rows adding up to 1 (or 0 throughout).

    In float32 at least: rows of products of bfloat16 do not add up.
    """
    raw_Bmm = (groups_BNm.mT @ x_BNW) @ (groups_BNm.mT @ keys_BNW).mT
    positive_Bmm = raw_Bmm.relu().to(torch.promote_types(raw_Bmm.dtype, torch.float32))
    return positive_Bmm / (positive_Bmm.sum(2, keepdim=True) + EPSILON)


class Routing(nn.Module):
    """p(a -> b) = softmax_b(alpha log tau_ab + beta log(A_ab + eps)), and (1 - w) p + w prior of it."""

    def __init__(self, alpha: float, beta: float):
        super().__init__()
        self.alpha, self.beta = alpha, beta

    def forward(self, agreement_Bmm: Tensor, field_mm: Tensor, prior_mm: Tensor, prior_weight: Tensor) -> Tensor:
        logits_Bmm = self.beta * (agreement_Bmm + EPSILON).log()
        if self.alpha:
            logits_Bmm = logits_Bmm + self.alpha * field_mm.log()
        return (1 - prior_weight) * logits_Bmm.softmax(2) + prior_weight * prior_mm


class Gate(nn.Module):
    """g fast + (1 - g) slow; ``shut``: the progress up to which g is 0, from where it opens to the end; None: open from the
    beginning."""

    def __init__(self, width: int, shut: float | None):
        super().__init__()
        self.shut = shut
        self.project = nn.Linear(2 * width + 1, width)

    def forward(self, fast_BNW: Tensor, slow_BNW: Tensor, agreement_Bmm: Tensor, progress: Tensor) -> Tensor:
        mean_BN1 = agreement_Bmm.mean((1, 2)).to(fast_BNW.dtype).view(-1, 1, 1).expand(-1, fast_BNW.shape[1], 1)
        gate_BNW = self.project(torch.cat([fast_BNW, slow_BNW, mean_BN1], 2)).sigmoid()
        if self.shut is not None:
            gate_BNW = gate_BNW * ((progress - self.shut) / (1 - self.shut)).clamp(min=0).to(gate_BNW.dtype)
        return slow_BNW + gate_BNW * (fast_BNW - slow_BNW)


def sparse(mask_BNN: Tensor, kept: int) -> Tensor:
    """log(M + eps) where M is among the ``kept`` largest of its row, minus infinity elsewhere; equal ones are kept together,
    whatever their last digits: where nothing is supported all of a row are, and roundings would choose.

    >>> sparse(torch.tensor([[[0.5, 0.2, 0.3]]]), 2).exp()
    tensor([[[0.5000, 0.0000, 0.3000]]])
    """
    scores = (mask_BNN + EPSILON).log()
    if kept == mask_BNN.shape[2]:
        return scores
    least = mask_BNN.detach().topk(kept, 2).values[..., -1:] * (1 - ALIKE)
    return scores.masked_fill(mask_BNN < least, -torch.inf)
