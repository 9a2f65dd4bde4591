"""From an order to the members' streams: where its scores come from, and the streams that come of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lab.cell import digest
from lab.config import nearest
from lab.errors import UserError
from lab.order import Scored, Uniform
from lab.protocols import Data, Stream
from lab.scores import Reference, of_environment, of_file, reference

KEY = "order.score"
SHARED = 0
"""The seed of reference learners, the same for all members: what an example is worth is no member's own."""


def check(order: Uniform, data: Data) -> None:
    """Refuse, before training, scores that are not there or do not fit.

    Raises:
        UserError: says which key.
    """
    if isinstance(order, Scored):
        _given(order, data)


def waits(order: Uniform, data: Data) -> bool:
    """Whether learners are to be trained before there are scores."""
    return isinstance(order, Scored) and _given(order, data) is None


def content(order: Uniform, data: Data) -> str | None:
    """A hash of scores that lie in a file, which stand for its name in a cell's digest; None for all others."""
    if not isinstance(order, Scored) or order.score in ("quality", "reference"):
        return None
    return digest(np.asarray(_given(order, data)).tobytes().hex())


def arranged(
    order: Uniform, streams: list[Stream], seeds: list[int], data: Data, network: dict[str, Any], folder: Path, device: str
) -> tuple[list[Stream], list[Uniform]]:
    """Each member's stream in order, and the order of its samples; ``seeds`` are those of the members' orders.

    A member's scores are a function of the examples that it is trained on: with examples held out, each has its own.
    """
    if not isinstance(order, Scored):
        return streams, [order] * len(streams)
    scores = _scores(order, streams, data, network, folder, device)
    own = [order.by(each) for each in scores]
    return [by.arranged(stream, seed) for by, stream, seed in zip(own, streams, seeds, strict=True)], own


def _scores(order: Scored, streams: list[Stream], data: Data, network: dict, folder: Path, device: str) -> list[Tensor]:
    given = _given(order, data)
    if given is not None:
        return [given] * len(streams)
    found: dict[bytes, Tensor] = {}
    return [_of_reference(order, stream, data, network, folder, device, found) for stream in streams]


def _of_reference(
    order: Scored, stream: Stream, data: Data, network: dict, folder: Path, device: str, found: dict[bytes, Tensor]
) -> Tensor:
    """``found``: what was worked out for other members, by the rows that they are trained on."""
    rows = torch.cat([phase.examples for phase in stream.phases]).unique()
    key = rows.numpy().tobytes()
    if key not in found:
        found[key] = reference(data, network, _settings(order), SHARED, rows, folder, device)
    return found[key]


def _given(order: Scored, data: Data) -> Tensor | None:
    """The scores ``[N]`` that lie ready; None where reference learners are to be trained for them."""
    if order.score == "reference":
        _settings(order)
        return None
    return of_environment(KEY, data) if order.score == "quality" else of_file(KEY, order.score, len(data.train))


def _settings(order: Scored) -> Reference:
    known = [field.name for field in fields(Reference)]
    for name, value in order.reference.items():
        if name not in known:
            raise UserError(f"order.reference.{name}={value}: there is no such setting. {nearest(name, known)}")
    return Reference(**order.reference)
