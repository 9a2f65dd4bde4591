"""Ways to make examples worse, each example at a strength of its own: functions of tensors.

A strength is a number from 0 on, which leaves the example as it is; of kinds that replace something, it is the probability that
each part of the example (its label, a pixel, a token) is replaced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

AT_ONCE = 1024
"""Examples worked on together: what lies in a processor's cache."""
REACH = 4
"""Standard deviations at which a Gaussian is cut off."""


@dataclass(frozen=True)
class Kind:
    """A way to make inputs worse.

    ``way(inputs, strength, everything, draw)``: inputs ``[n, ...]`` at strengths ``[n]``, float64; ``everything`` ``[N, ...]``
    are the inputs of all training examples.
    """

    way: Callable[[Tensor, Tensor, Tensor, torch.Generator], Tensor]
    needs: str
    serves: Callable[[Tensor], bool]
    most: float = 100.0
    """The largest strength: 1 of a probability, of others where nothing is left to be made worse."""


def left(strength: Tensor, most: float) -> Tensor:
    """What a kind of this largest strength leaves of an example's quality: 1 of an untouched one, falling with the strength."""
    return 1 - strength if most == 1 else 1 / (1 + strength)


# --- inputs -----------------------------------------------------------------------------------------------------------


def blurred(images: Tensor, sigma: Tensor, everything: Tensor, draw: torch.Generator) -> Tensor:
    """Images ``[n, C, H, W]``, each under a Gaussian of its own standard deviation in pixels, edges mirrored."""
    return torch.cat([_blurred(*part) for part in zip(images.split(AT_ONCE), sigma.split(AT_ONCE), strict=True)])


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    soft = gaussian(sigma, height) @ images.float() @ gaussian(sigma, width).mT
    return (soft if images.is_floating_point() else soft.round_()).to(images.dtype)


def gaussian(sigma: Tensor, size: int) -> Tensor:
    """What each pixel of a blurred line takes from every pixel of the line: ``[n, 1, size, size]``."""
    sigma = sigma.unsqueeze(1).clamp(min=1e-6)
    farthest = int(REACH * sigma.max() + 0.5)
    offset = torch.arange(-farthest, farthest + 1)
    taps = (-0.5 * (offset / sigma).square()).exp()
    taps = F.normalize(torch.where(offset.abs() <= (REACH * sigma + 0.5).floor(), taps, 0), p=1).float()
    source = (offset.unsqueeze(1) + torch.arange(size)) % (2 * size)
    mirrored = torch.minimum(source, 2 * size - 1 - source)
    return (taps @ F.one_hot(mirrored, size).flatten(1).float()).view(-1, 1, size, size)


def pixels_replaced(images: Tensor, chance: Tensor, everything: Tensor, draw: torch.Generator) -> Tensor:
    """uint8 images, numbers of them replaced by others drawn uniformly from 0..255."""

    def replaced(images: Tensor, chance: Tensor) -> Tensor:
        hit = torch.rand(images.shape, generator=draw) < _beside(chance, images)
        return torch.where(hit, torch.randint(0, 256, images.shape, generator=draw, dtype=torch.uint8), images)

    return torch.cat([replaced(*part) for part in zip(images.split(AT_ONCE), chance.split(AT_ONCE), strict=True)])


def features_shaken(features: Tensor, strength: Tensor, everything: Tensor, draw: torch.Generator) -> Tensor:
    """Float inputs plus Gaussian noise, ``strength`` times as wide as that input is over all training examples."""
    noise = torch.randn(features.shape, generator=draw) * everything.std(0, correction=0)
    return features + noise * _beside(strength, features).float()


def tokens_replaced(tokens: Tensor, chance: Tensor, everything: Tensor, draw: torch.Generator) -> Tensor:
    """int64 tokens, some replaced by others drawn uniformly from those that the training examples have."""
    known = everything.unique()
    turn = torch.randint(1, max(2, len(known)), tokens.shape, generator=draw)
    other = known[(torch.searchsorted(known, tokens) + turn) % len(known)]
    return torch.where(torch.rand(tokens.shape, generator=draw) < _beside(chance, tokens), other, tokens)


def _beside(strength: Tensor, inputs: Tensor) -> Tensor:
    return strength.view(-1, *[1] * (inputs.dim() - 1))


INPUTS = {
    "blur": Kind(blurred, "images", lambda inputs: inputs.dim() == 4 and inputs.dtype != torch.int64),
    "pixel": Kind(pixels_replaced, "images of bytes", lambda inputs: inputs.dtype == torch.uint8, most=1),
    "feature": Kind(features_shaken, "float features", torch.is_floating_point),
    "token": Kind(tokens_replaced, "tokens", lambda inputs: inputs.dtype == torch.int64, most=1),
}


# --- labels -----------------------------------------------------------------------------------------------------------


def labels_replaced(targets: Tensor, chance: Tensor, classes: int, slots: int, draw: torch.Generator) -> Tensor:
    """Labels ``[n]`` or ``[n, L]``, some of them wrong: ``classes + label * slots + s``, s drawn uniformly from so many slots.

    A wrong label is a class of its own, since which output unit it stands for is for each task to say (:func:`answers`): the
    classes beside it are others in the tasks of other members. -100 stays.
    """
    hit = torch.rand(targets.shape, generator=draw) < _beside(chance, targets)
    wrong = classes + targets * slots + torch.randint(slots, targets.shape, generator=draw)
    return torch.where(hit & (targets >= 0), wrong, targets)


def answers(labels: Tensor, slots: int) -> Tensor:
    """A task's output units of the classes ``[classes]`` and, behind them, of their wrong labels: ``[classes * (1 + slots)]``.

    The slots of a class stand for the other units of the task in turn, so alike where these are a divisor of them.
    """
    units = labels[labels >= 0].unique()
    turn = 1 + torch.arange(slots) % (len(units) - 1)
    wrong = units[(torch.searchsorted(units, labels).unsqueeze(1) + turn) % len(units)]
    return torch.cat([labels, torch.where(labels.unsqueeze(1) >= 0, wrong, -1).flatten()])
