"""A rule over named outputs: written once, and from that its violation, its truth on probabilities, and what breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lab.rules.checking import Checker, Known, places_of
from lab.rules.compiled import Axis, Every, Node, folded
from lab.rules.formula import And, Formula, Quantified
from lab.rules.language import parse, problem
from lab.rules.layout import Layout
from lab.rules.meaning import Exactly
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
        known = Known(self.text, f"{key}.{name}", layout, tuple(of), sets or {}, relations or {})
        try:
            self.formula = parse(self.text, known.key, places_of(layout, tuple(of)))
            checker = Checker(known, self.formula)
        except RecursionError:
            raise problem(known.key, self.text, None, "parts within parts, too deep to be read") from None
        self.tables, self._depth, self._node = checker.tables, checker.depth, checker.node
        self.looks_at_source = checker.looks_at_source
        self._exact = folded(self._node, self.tables)
        joined = isinstance(self.formula, And)
        parts = zip(self.formula.parts, self._node.parts, strict=True) if joined else [(self.formula, self._node)]
        self._groundings = [self._grounded(formula, node, joined) for formula, node in parts]

    def _grounded(self, formula: Formula, node: Node, named: bool) -> tuple[str, list[Axis], Node]:
        """What a part of the rule says of the variables behind its first `for all`: its text (if ``named``), the axes of the
        variables, and what is said."""
        axes: list[Axis] = []
        while isinstance(node, Every):
            axes, node = [*axes, *node.axes], node.part
        while axes and isinstance(formula, Quantified) and formula.word == "all":
            formula = formula.part
        return str(formula) if named else "", sorted(axes, key=lambda axis: axis.number), folded(node, self.tables)

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
        there, bool ``[..., G]``; of parts joined by `and` each by itself, its text before that. One named by nothing if the
        rule has neither. For reports: slow."""
        shape = torch.broadcast_shapes(answers.shape[:-2], real.shape[:-2])
        for text, axes, node in self._groundings:
            meaning = self._exactly(answers, inputs, real)
            inside = meaning.inside(tuple(axes))
            broken = ~meaning.value(node)
            broken = broken if inside is None else broken & inside
            values = [axis.names or range(meaning.lengths[axis.number]) for axis in axes]
            for cell in itertools.product(*(range(len(told)) for told in values)):
                named = ", ".join(f"{axis.name}={told[n]}" for axis, told, n in zip(axes, values, cell, strict=True))
                at = dict(zip((axis.number for axis in axes), cell, strict=True))
                where = (min(at.get(axis, 0), broken.shape[axis - self._depth] - 1) for axis in range(self._depth))
                yield ": ".join(filter(None, (text, named))), broken[(..., *where)].expand(shape)

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
