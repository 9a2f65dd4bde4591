"""What the outputs of an example are called: where they stand among its places, and which classes may be said there.

Letters in shapes: N examples, P places (the targets of an example; 1 where it has one label), C classes, L input tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

PADDING = 0
"""The token that fills inputs up: no word."""
UNSAYABLE = -1e4
"""The logit of a class that cannot be said at a place: a probability of 0, and no infinity for losses of differences."""


@dataclass(frozen=True)
class Output:
    """One named output: a label, or one at each of several places."""

    name: str
    classes: tuple[str, ...]
    """What its classes are called, beginning with class number ``first`` of the data."""
    first: int = 0
    start: int = 0
    """Its first place."""
    stop: int | None = None
    """One past its last place; None: to the end."""
    sequence: bool = True
    """Whether it is told by position, ``tag[i]``, or is one label, ``intent``."""


@dataclass(frozen=True)
class Layout:
    """The outputs of an example of a data set, and what its inputs are called."""

    outputs: tuple[Output, ...]
    places: int
    """P."""
    tokens: tuple[str, ...] = ()
    """What input tokens are called, by number; number 0 is padding. Empty where inputs are no tokens."""
    source: int | None = None
    """How many of an example's tokens, from the first, are its input, ``source[i]`` in a rule; None: all."""
    told: tuple[int, ...] = ()
    """Of data that are answered one place after the other: the token that tells the next place of each class, ``[C]``. The
    inputs behind ``source`` are then a token to begin with and, told so, the targets of all places but the last."""
    end: int | None = None
    """There, the class behind which no place counts any more."""
    metric: str = "accuracy"
    """The task's own measure, by its name in results: what is weighed against violations."""
    vectors: Tensor | None = field(default=None, compare=False, repr=False)
    """What is known of the tokens before training, float ``[V, D]``, NaN for those of which nothing is: embeddings start so."""

    def __post_init__(self):
        names = ["source", *(output.name for output in self.outputs)]
        assert len(set(names)) == len(names), names

    @property
    def decoded(self) -> bool:
        """Whether what is said at a place depends on what was said before it."""
        return bool(self.told)

    def output(self, name: str) -> Output | None:
        """The output of this name."""
        return next((output for output in self.outputs if output.name == name), None)

    @cached_property
    def sayable(self) -> Tensor:
        """Which classes may be said at which places, bool ``[P, C]``."""
        classes = max(output.first + len(output.classes) for output in self.outputs)
        allowed = torch.zeros(self.places, classes, dtype=torch.bool)
        for output in self.outputs:
            allowed[output.start : output.stop, output.first : output.first + len(output.classes)] = True
        return allowed

    def real(self, inputs: Tensor, answers: Tensor | None = None) -> Tensor:
        """Which places count, bool ``[..., P]``, of inputs ``[..., L]``.

        Of data that are answered one place after the other: those up to the end of ``answers`` ``[..., P]``, classes; of all
        others: one label always, a place of a sequence where its input token is no padding (place p belongs to token p).
        """
        if self.decoded:
            ended = (answers == self.end).long().cumsum(-1) - (answers == self.end).long()
            return ended == 0
        if self.places == 1:
            return torch.ones(*inputs.shape[:-1], 1, dtype=torch.bool, device=inputs.device)
        return inputs[..., : self.places] != PADDING

    def retold(self, inputs: Tensor, answers: Tensor, told: Tensor) -> Tensor:
        """Inputs ``[..., L]`` as they are when these ``answers`` ``[..., P]`` were given, place after place.

        ``told``: of :attr:`told`, as a tensor on their device.
        """
        before = inputs[..., : self.source + 1]
        before, answers = (
            each.expand(*torch.broadcast_shapes(before.shape[:-1], answers.shape[:-1]), -1) for each in (before, answers)
        )
        return torch.cat([before, told[answers[..., :-1]].to(inputs.dtype)], -1)
