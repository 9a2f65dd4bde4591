"""Augmentation of whole batches of images: random crops of the padded image, horizontal flips (as in He et al. 2016)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.protocols import Data, one_of, require, whole

CHOICES = ("crop", "flip", "crop_flip")


def augment(inputs: Tensor, noise: Tensor, padding: int, flip: bool) -> Tensor:
    """Images ``[M, B, C, H, W]`` as windows of their size into themselves with ``padding`` zeros around, maybe mirrored.

    Of ``noise`` ``[M, B, 4]``, uniform in [0, 1), the first number chooses the window's row, the second its column (each of
    the ``2 padding + 1`` places alike), the third whether left and right change sides (half of the time). The type stays.
    """
    height, width = inputs.shape[-2:]
    images, noise = inputs.flatten(0, 1), noise.flatten(0, 1)
    padded = F.pad(images, (padding,) * 4)
    top, left = (noise[:, :2] * (2 * padding + 1)).long().unbind(1)
    rows = top[:, None] + torch.arange(height, device=inputs.device)
    columns = torch.arange(width, device=inputs.device).expand(len(images), -1)
    if flip:
        columns = torch.where(noise[:, 2:3] < 0.5, columns.flip(1), columns)
    columns = left[:, None] + columns
    image = torch.arange(len(images), device=inputs.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=inputs.device)[None, :, None, None]
    return padded[image, channel, rows[:, None, :, None], columns[:, None, None, :]].view(inputs.shape)


def augmentation(given: str | None, padding: int, source: Data) -> Callable[[Tensor, Tensor], Tensor] | None:
    """The function for ``environment.augment`` and ``environment.padding``; None for null."""
    whole("environment.padding", padding, 0)
    if given is None:
        return None
    one_of("environment.augment", given, CHOICES)
    require(source.train.inputs.dim() == 4, "environment.augment", given, f"null, since {source.name} holds no images")
    return partial(augment, padding=padding if "crop" in given else 0, flip="flip" in given)
