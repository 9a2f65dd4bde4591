"""The walk over a compiled rule, and what it comes to for answers: true or false.

What a leaf, a negation, a conjunction and a count are, each logic says for itself (:mod:`lab.rules.truth` has those of
probabilities). Nothing here waits for the device: no value is read, no shape depends on one.

Letters in shapes: G groups, k members, P places, L tokens, C classes, n places of a run; leading axes are any. Values of nodes
are ``[..., G, D axes]``, an axis for each variable bound at a time, of size 1 where a node does not depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from lab.rules import compiled
from lab.rules.compiled import SOURCE, Axis, Every, Leaf, Node, Run, Spot, Tally, Term
from lab.rules.layout import PADDING, Layout

SIGNS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "<": torch.lt, "<=": torch.le, ">": torch.gt, ">=": torch.ge, "=": torch.eq, "!=": torch.ne,
}  # fmt: skip


class Meaning:
    """The walk. ``inputs`` ``[..., G, k, L]``, ``real`` ``[..., G, k, P]``."""

    def __init__(self, layout: Layout, tables: compiled.Tables, depth: int, inputs: Tensor, real: Tensor):
        self.layout, self.tables, self.depth = layout, tables, depth
        self.inputs, self.real = inputs, real
        self.device = real.device
        self.lengths: dict[int, int] = {}
        """Of each bound axis of positions: how many."""
        self._kept: dict = {}

    def value(self, node: Node):
        match node:
            case Leaf():
                return self.leaf(node)
            case compiled.Ordered():
                return self.certain(self._ordered(node))
            case compiled.Negation(part):
                return self.negated(self.value(part))
            case compiled.Together(parts):
                return self.together([self.value(part) for part in parts])
            case Every(axes, part):
                inside = self.inside(axes)
                return self.every(self.value(part), [axis.number - self.depth for axis in axes], inside)
            case Tally():
                return self.tally(node)
        raise AssertionError(node)

    # --- what each logic says -----------------------------------------------------------------------------------------

    def leaf(self, leaf: Leaf):
        raise NotImplementedError

    def certain(self, value: Tensor):
        """What is true or false, bool, as a value."""
        raise NotImplementedError

    def negated(self, value):
        raise NotImplementedError

    def together(self, values: list):
        raise NotImplementedError

    def every(self, value, dims: list[int], inside: Tensor | None):
        """For all values along axes; those not ``inside`` do not count."""
        raise NotImplementedError

    def tally(self, tally: Tally):
        raise NotImplementedError

    # --- positions ----------------------------------------------------------------------------------------------------

    def kept(self, key, make: Callable):
        """What has been made once for these inputs."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def slots(self, run: Run) -> tuple[int, int]:
        """From which place (or token) to which a run goes."""
        if run.output == SOURCE:
            return 0, min(self.layout.source or self.inputs.shape[-1], self.inputs.shape[-1])
        output = self.layout.outputs[run.output]
        return output.start, self.real.shape[-1] if output.stop is None else output.stop

    def tokens(self, run: Run) -> Tensor:
        """The input's tokens, ``[..., G, n]``."""
        start, stop = self.slots(run)
        return self.inputs[..., run.member, start:stop]

    def there(self, run: Run) -> Tensor:
        """Which of a run's places count, bool ``[..., G, n]``."""
        if run.output == SOURCE:
            return self.tokens(run) != PADDING
        start, stop = self.slots(run)
        return self.real[..., run.member, start:stop]

    def inside(self, axes: tuple[Axis, ...]) -> Tensor | None:
        """Which values of the axes count, bool ``[..., G, D axes]``; None for all. Binds the axes."""
        masks = []
        for axis in axes:
            if axis.runs:
                spans = [stop - start for start, stop in map(self.slots, axis.runs)]
                self.lengths[axis.number] = max(spans)
                there = [self.spread(self.there(run), Spot(run, axis.number), False) for run in axis.runs]
                masks.append(reduce(torch.logical_or, there))
        return reduce(torch.logical_and, masks) if masks else None

    def spread(self, values: Tensor, spot: Spot, fill: float, tail: int = 0) -> Tensor:
        """A run's values ``[..., n, tail]`` as those of a spot, ``[..., D axes, tail]``; ``fill`` where it is outside."""
        lead, n = values.shape[: values.dim() - tail - 1], values.shape[-tail - 1]
        last = values.shape[values.dim() - tail :]
        count = 1 if spot.axis is None else self.lengths[spot.axis]
        shape = [1] * self.depth
        if spot.axis is not None:
            shape[spot.axis] = count
        if spot.offset >= n or -spot.offset >= count:
            return values.new_full((*lead, *shape, *last), fill)
        sides = (-spot.offset, spot.offset + count - n)
        if any(sides):
            values = F.pad(values, (0, 0) * tail + sides, value=fill)
        return values.reshape(*lead, *shape, *last)

    def _ordered(self, node: compiled.Ordered) -> Tensor:
        left, right = (self._position(axis) for axis in (node.left, node.right))
        return SIGNS[node.sign](left + node.offset, right)

    def _position(self, axis: int | None) -> Tensor:
        """The positions along an axis, or 0: ``[D axes]``."""
        shape = [1] * self.depth
        if axis is None:
            return torch.zeros(shape, dtype=torch.int64, device=self.device)
        shape[axis] = self.lengths[axis]
        return torch.arange(self.lengths[axis], device=self.device).view(shape)

    # --- tables -------------------------------------------------------------------------------------------------------

    def states(self, spot: Spot) -> Tensor:
        """The class at a spot by number, that behind the last where it is outside: ``[..., D axes]``."""
        return self.spread(self.kept(spot.run, lambda: self.run_states(spot.run)), spot, spot.run.classes)

    def run_states(self, run: Run) -> Tensor:
        """The class at each place of a run of the input, ``[..., G, n]``."""
        return torch.where(self.there(run), self.tokens(run), run.classes)

    def looked_up(self, leaf: Leaf) -> Tensor:
        """A leaf's truth where its states are known: bool ``[..., D axes]``."""
        table = self.tables.get(leaf.table, self.device)
        sizes, names = table.shape[: len(leaf.spots)], table.shape[len(leaf.spots) :]
        cell = self.states(leaf.spots[0])
        for spot, size in zip(leaf.spots[1:], sizes[1:], strict=True):
            cell = cell * size + self.states(spot)
        count = math.prod(names)
        if count > 1:
            which = torch.arange(count, device=self.device).view(*names, *[1] * (self.depth - len(names)))
            cell = cell * count + which
        return table.flatten()[cell]


class Exactly(Meaning):
    """True or false of ``answers`` ``[..., G, k, P]``, classes of the data."""

    def __init__(self, *of, answers: Tensor):
        super().__init__(*of)
        self.answers = answers

    def run_states(self, run: Run) -> Tensor:
        if run.output == SOURCE:
            return super().run_states(run)
        (start, stop), first = self.slots(run), self.layout.outputs[run.output].first
        numbers = self.answers[..., run.member, start:stop] - first
        known = self.there(run) & (numbers >= 0) & (numbers < run.classes)
        return torch.where(known, numbers, run.classes)

    def leaf(self, leaf: Leaf) -> Tensor:
        return self.looked_up(leaf)

    def certain(self, value: Tensor) -> Tensor:
        return value

    def negated(self, value: Tensor) -> Tensor:
        return ~value

    def together(self, values: list[Tensor]) -> Tensor:
        return reduce(torch.logical_and, values)

    def every(self, value: Tensor, dims: list[int], inside: Tensor | None) -> Tensor:
        return (value if inside is None else value | ~inside).all(dims, keepdim=True)

    def tally(self, tally: Tally) -> Tensor:
        total = sum((self._times(term) for term in tally.terms), tally.constant)
        return SIGNS[tally.sign](total, 0)

    def _times(self, term: Term) -> Tensor:
        inside = self.inside((term.axis,))
        if isinstance(term.part, Leaf) and len(term.part.spots) == 1:
            return term.times * self._of_states(term, inside)
        return term.times * (self.value(term.part) & inside).sum(term.axis.number - self.depth, keepdim=True)

    def _of_states(self, term: Term, inside: Tensor) -> Tensor:
        """How often a table of one place is true: how often each state is there, times the table (for all names at once)."""
        dim, (spot,) = term.axis.number - self.depth, term.part.spots
        table = self.tables.get(term.part.table, self.device)
        states, inside = torch.broadcast_tensors(self.states(spot).transpose(dim, -1), inside.transpose(dim, -1))
        often = torch.zeros(*states.shape[:-1], len(table), device=self.device).scatter_add_(-1, states, inside.float())
        found = often[(..., *[0] * (self.depth - 1), slice(None))] @ table.reshape(len(table), -1).float()
        return found.long().unflatten(-1, table.shape[1:])


class ByClass(Exactly):
    """What is counted, for each class that the counted place may have: one axis more, the last, ``[C + 1]``."""

    def __init__(self, of: Meaning):
        super().__init__(of.layout, of.tables, of.depth + 1, of.inputs, of.real, answers=of.real)
        self.lengths = of.lengths

    def states(self, spot: Spot) -> Tensor:
        if spot.run.output == SOURCE:
            return super().states(spot)
        return torch.arange(spot.run.classes + 1, device=self.device).view(*[1] * (self.depth - 1), -1)
