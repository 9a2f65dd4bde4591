"""Spans that BIO labels mark: how many are there, and how many are found, for all members and examples at once.

``B-x`` begins a span of type x, ``I-x`` goes on with one, ``O`` is outside. Of sequences that are not well formed the rules are
those of conlleval, and of seqeval's default mode: an ``I-x`` that follows no ``B-x`` or ``I-x`` begins a span too. A span is
found where an answer has the same type and the same two ends.

Letters in shapes: P places, C classes of the output.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

OUTSIDE = -1


def marks_spans(classes: Sequence[str]) -> bool:
    """Whether the names of an output's classes are those of BIO labels.

    >>> marks_spans(("O", "B-artist", "I-artist")), marks_spans(("O", "noun"))
    (True, False)
    """
    return "O" in classes and len(classes) > 1 and all(name == "O" or name[:2] in ("B-", "I-") for name in classes)


def kinds_of(classes: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Of each class the number of its type, -1 for ``O``, int64 ``[C]``, and whether it begins a span, bool ``[C]``."""
    types = sorted({name[2:] for name in classes if name != "O"})
    numbers = [OUTSIDE if name == "O" else types.index(name[2:]) for name in classes]
    return torch.tensor(numbers), torch.tensor([name[:2] == "B-" for name in classes])


def counted(answers: Tensor, targets: Tensor, labelled: Tensor, types: Tensor, begins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Spans that are found, that are answered, and that there are, of each example: int64 ``[...]`` from classes ``[..., P]``.

    Places that are not ``labelled`` ``[..., P]`` are outside of all spans; ``types`` and ``begins``: of :func:`kinds_of`.
    """
    said, there = (_spans(classes, labelled, types, begins) for classes in (answers, targets))
    found = (said[0] & there[0]) & (said[1] == there[1]) & (said[2] == there[2])
    return found.sum(-1), said[0].sum(-1), there[0].sum(-1)


def _spans(classes: Tensor, labelled: Tensor, types: Tensor, begins: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where spans start, bool ``[..., P]``; the type at each place; and the last place of the span that a place is in."""
    classes = torch.where(labelled, classes, 0)
    type_here = torch.where(labelled, types[classes], OUTSIDE)
    nothing = torch.full_like(type_here[..., :1], OUTSIDE)
    goes_on = (type_here != OUTSIDE) & ~begins[classes] & (type_here == torch.cat([nothing, type_here[..., :-1]], -1))
    starts = (type_here != OUTSIDE) & ~goes_on
    stops = ~torch.cat([goes_on[..., 1:], torch.zeros_like(goes_on[..., :1])], -1)
    places = torch.arange(classes.shape[-1], device=classes.device)
    last = torch.where(stops, places, classes.shape[-1]).flip(-1).cummin(-1).values.flip(-1)
    return starts, type_here, last
