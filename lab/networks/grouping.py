"""Soft groupers: how much each token of a sequence belongs to each of m slots (Basu 2026, arXiv 2603.22858).

Letters in shapes: B sequences, N tokens in each, W width, m slots, V tokens that there are.
"""

from __future__ import annotations

from math import pi, sqrt

import torch
from torch import Tensor, nn

from lab.errors import number, one_of, require, whole
from lab.networks.gumbel import GumbelNoise
from lab.seeding import generator

COORDINATES = ("learned", "token_position", "position")


class LearnedGrouper(nn.Module):
    """Q = softmax(W x / T + gamma eps) over the slots; eps is Gumbel noise, in training alone."""

    def __init__(self, width: int, slots: int, temperature: float, noise: float, layer: int):
        super().__init__()
        self.temperature = temperature
        self.project = nn.Linear(width, slots, bias=False)
        self.noise = GumbelNoise(noise, layer) if noise else nn.Identity()

    def forward(self, x_BNW: Tensor, tokens_BN: Tensor) -> Tensor:
        """Q ``[B, N, m]``, rows adding up to 1."""
        return self.noise(self.project(x_BNW) / self.temperature).softmax(2)


class FourierGrouper(nn.Module):
    """Q(i, a) = softmax_a(cos(x_i . w_a + b_a) / (sqrt(m) T)): random Fourier features, drawn once from a seed of their own,
    equal in all members and never trained.

    x_i is the one-hot position of token i, with the one-hot token itself beside it in ``token_position``; w_a ~ N(0, s^2 / D),
    D how long x_i is, b_a ~ U(0, 2 pi). As inputs are one-hot, a token's phase is a sum of rows of w.
    """

    def __init__(
        self, kind: str, tokens: int, length: int, slots: int, temperature: float, bandwidth: float | None, *seed: object
    ):
        super().__init__()
        draw, symbols = generator(*seed), tokens if kind == "token_position" else 0
        size = symbols + length
        spread = 1.0 if bandwidth is None else bandwidth / sqrt(size)
        weight = spread * torch.randn(size, slots, generator=draw)
        self.sharpness = 1 / (sqrt(slots) * temperature)
        self.register_buffer("of_token", weight[:symbols] if symbols else None)
        self.register_buffer("of_position", weight[symbols:] + 2 * pi * torch.rand(slots, generator=draw))

    def forward(self, x_BNW: Tensor, tokens_BN: Tensor) -> Tensor:
        """Q ``[B, N, m]``, rows adding up to 1; of ``x_BNW`` only the dtype counts."""
        phase_NM = self.of_position[: tokens_BN.shape[1]]
        if self.of_token is None:
            phase = phase_NM.expand(len(tokens_BN), -1, -1)
        else:
            phase = nn.functional.embedding(tokens_BN, self.of_token) + phase_NM
        return (phase.cos() * self.sharpness).softmax(2).to(x_BNW.dtype)


class Groupers:
    """Makes the groupers of a network, two a layer, by ``coordinates``.

    Raises :class:`~lab.errors.UserError` for an option that is out of range.
    """

    def __init__(
        self,
        coordinates: str,
        tokens: int,
        length: int,
        width: int,
        slots: int,
        temperature: float,
        noise: float,
        bandwidth: float | None,
        seed: int,
    ):
        self.coordinates = one_of("network.coordinates", coordinates, COORDINATES)
        require(
            whole("network.slots", slots, 1) <= length,
            "network.slots",
            slots,
            f"at most as many as the {length} tokens of an input",
        )
        positive("network.temperature", temperature)
        if bandwidth is not None:
            positive("network.bandwidth", bandwidth)
        whole("network.coordinate_seed", seed, 0)
        self.learned = (width, slots, temperature, number("network.noise", noise))
        self.fixed = (coordinates, tokens, length, slots, temperature, bandwidth, seed, "coordinates")

    def make(self, layer: int, view: int) -> nn.Module:
        if self.coordinates == "learned":
            return LearnedGrouper(*self.learned, 2 * layer + view)
        return FourierGrouper(*self.fixed, layer, view)


def positive(key: str, given: object) -> float:
    """``given`` as a finite number above 0."""
    require(number(key, given) > 0, key, given, "a finite number above 0")
    return float(given)
