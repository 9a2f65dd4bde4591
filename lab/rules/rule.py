"""A rule over named outputs: written once, and from that its violation, its truth on probabilities, and what breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.rules.checking import Checker, Known, places_of
from lab.rules.compiled import Every, folded
from lab.rules.formula import Formula
from lab.rules.language import parse
from lab.rules.layout import Layout
from lab.rules.meaning import Exactly, Meaning
from lab.rules.truth import LOGICS as TRUTHS
from lab.rules.truth import LogProduct

LOGICS = tuple(TRUTHS)
"""The logics by which a rule has a truth on probabilities: product, lukasiewicz, godel."""


class Rule(nn.Module):
    """What is known of the outputs of examples, or of a group of k examples.

    Args:
        name: what it is called, in results too.
        says: its text (`docs/rules.md`), or a :class:`Formula` put together in Python.
        layout: what the outputs are called.
        over: the kind of group it is about.
        of: what the k members of a group are called.
        sets: names of sets of class names, or of patterns such as ``I-*``.
        relations: names of relations between classes: rows of class names (or patterns), or a bool tensor with an axis of
            classes for each place.
        key: the configuration key under which the rule stands, for errors.

    A module, so that its tables go where their owner goes; on other devices it makes copies of them when first used there.

    Letters in shapes: G groups, k members, P places, L tokens, C classes; leading axes are any, and broadcast.

    Raises:
        UserError: what the rule says cannot be read, or names what there is not; it shows the place.
    """

    def __init__(
        self,
        name: str,
        says: str | Formula,
        layout: Layout,
        over: str = "single",
        of: tuple[str, ...] = ("it",),
        sets: Mapping[str, Iterable[str]] | None = None,
        relations: Mapping[str, Any] | None = None,
        key: str = "environment.rules",
    ):
        super().__init__()
        self.name, self.over, self.arity, self.layout = name, over, len(of), layout
        self.text = str(says).strip()
        key = f"{key}.{name}"
        self.formula = parse(self.text, key, places_of(layout, tuple(of)))
        known = Known(self.text, key, layout, tuple(of), sets or {}, relations or {})
        checker = Checker(known, self.formula)
        self.tables, self._depth, self._node = checker.tables, checker.depth, checker.node
        self.looks_at_source = checker.looks_at_source
        self._exact = folded(self._node, self.tables)
        self._axes, part = (self._node.axes, self._node.part) if isinstance(self._node, Every) else ((), self._node)
        if isinstance(part, Every):
            self._axes, part = (*self._axes, *part.axes), part.part
        self._grounded = folded(part, self.tables)

    def extra_repr(self) -> str:
        return f"{self.name}: {self.text}"

    # --- answers ------------------------------------------------------------------------------------------------------

    def violated(self, answers: Tensor, inputs: Tensor, real: Tensor) -> Tensor:
        """Where answers break the rule, bool ``[..., G]``.

        Args:
            answers: classes ``[..., G, k, P]``.
            inputs: tokens ``[..., G, k, L]``.
            real: which places count, bool ``[..., G, k, P]``.
        """
        meaning = self._exactly(answers, inputs, real)
        return ~self._per_group(meaning.value(self._exact), answers.shape[:-2], real.shape[:-2])

    def groundings(self, answers: Tensor, inputs: Tensor, real: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each value of the variables that the rule is said for all of, such as ``i=3, s=artist``, and where it is broken
        there, bool ``[..., G]``; one named by nothing if there are no such variables. For reports: slow."""
        if not self._axes:
            yield "", self.violated(answers, inputs, real)
            return
        meaning = self._exactly(answers, inputs, real)
        inside = meaning.inside(self._axes)
        broken = ~meaning.value(self._grounded)
        broken = broken if inside is None else broken & inside
        axes = sorted(self._axes, key=lambda axis: axis.number)
        values = [axis.names or range(meaning.lengths[axis.number]) for axis in axes]
        grid = broken.expand(*broken.shape[: broken.dim() - self._depth], *self._sizes(meaning))
        for cell in itertools.product(*(range(len(told)) for told in values)):
            at = [0] * self._depth
            for axis, n in zip(axes, cell, strict=True):
                at[axis.number] = n
            named = ", ".join(f"{axis.name}={told[n]}" for axis, told, n in zip(axes, values, cell, strict=True))
            yield named, grid[(..., *at)].expand(torch.broadcast_shapes(answers.shape[:-2], real.shape[:-2]))

    def _sizes(self, meaning: Meaning) -> list[int]:
        sizes = [1] * self._depth
        for axis in self._axes:
            sizes[axis.number] = len(axis.names) or meaning.lengths[axis.number]
        return sizes

    def _exactly(self, answers: Tensor, inputs: Tensor, real: Tensor) -> Exactly:
        return Exactly(self.layout, self.tables, self._depth, inputs, real, answers=answers)

    # --- probabilities ------------------------------------------------------------------------------------------------

    def truth(self, log_probs: Tensor, inputs: Tensor, real: Tensor, logic: str) -> Tensor:
        """How true the rule is by a logic of :data:`LOGICS`, ``[..., G]`` in [0, 1], with its gradient.

        Args:
            log_probs: of classes, ``[..., G, k, P, C]``.
            inputs, real: as for :meth:`violated`.
        """
        meaning = TRUTHS[logic](self.layout, self.tables, self._depth, inputs, real, log_probs=log_probs)
        return self._per_group(meaning.value(self._node), log_probs.shape[:-3], real.shape[:-2]).clamp(0, 1)

    def log_truth(self, log_probs: Tensor, inputs: Tensor, real: Tensor) -> Tensor:
        """The logarithm of its truth by the product logic, ``[..., G]``: finite, of many groundings too."""
        meaning = LogProduct(self.layout, self.tables, self._depth, inputs, real, log_probs=log_probs)
        return self._per_group(meaning.value(self._node).truth, log_probs.shape[:-3], real.shape[:-2])

    def _per_group(self, value: Tensor, *shapes: torch.Size) -> Tensor:
        """A value ``[..., G, 1, ..., 1]`` of the whole rule as ``[..., G]``."""
        value = value.reshape(value.shape[: value.dim() - self._depth])
        return value.expand(torch.broadcast_shapes(value.shape, *shapes))
