"""Seeds and random numbers: everything a member draws is a function of (its seed, a purpose, a count).

Two kinds of randomness, both independent of the company a member keeps:

* on the host, once in a while (initialisation, streams, sample orders): a ``torch.Generator`` for a seed and a purpose;
* inside a training step, on the device: a counter-based hash of a member's key and its own clock. It holds no state beyond
  the clock, so a resumed run draws what an uninterrupted one would have drawn; it reads no value back to the host, runs
  under ``vmap`` and gives the same numbers on every device.
"""

import hashlib

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9


def derive(seed: int, *purpose: object) -> int:
    """A seed in [0, 2**63) for a purpose, e.g. ``derive(3, "order", task, epoch)``."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: object) -> torch.Generator:
    """A CPU generator for a purpose; see :func:`derive`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def member_keys(seeds: list[int], purpose: str) -> Tensor:
    """One 32-bit key a member, int64 ``[M]``."""
    return torch.tensor([derive(seed, purpose) & _WORD for seed in seeds])


def _mix(x: Tensor) -> Tensor:
    """A 32-bit integer hash on int64 words (constants of Wellons' `lowbias32`, 2018)."""
    x = (x ^ (x >> 16)).mul_(0x7FEB352D).bitwise_and_(_WORD)
    x = (x >> 15).bitwise_xor_(x).mul_(0x846CA68B).bitwise_and_(_WORD)
    return (x >> 16).bitwise_xor_(x)


def bits(keys: Tensor, clock: Tensor, count: int) -> Tensor:
    """32 random bits, int64 ``[..., count]``, for keys and clocks ``[...]`` (int64): equal ones give equal bits, anywhere."""
    word = _mix(keys + clock * _GOLDEN & _WORD).unsqueeze(-1)
    offset = torch.arange(0, count * _GOLDEN, _GOLDEN, device=keys.device)
    return _mix((word + offset).bitwise_and_(_WORD))


def uniform(keys: Tensor, clock: Tensor, count: int) -> Tensor:
    """Uniform numbers in [0, 1), float32 ``[..., count]``; see :func:`bits`."""
    return (bits(keys, clock, count) >> 8).to(torch.float32) * 2.0**-24


def integers(keys: Tensor, clock: Tensor, count: int, below: Tensor) -> Tensor:
    """Uniform whole numbers in [0, below), int64 ``[..., count]``; ``below`` broadcasts and is at least 1, at most 2**31.

    Probabilities differ by at most ``below`` / 2**32 of themselves.
    """
    return bits(keys, clock, count) * below >> 32
