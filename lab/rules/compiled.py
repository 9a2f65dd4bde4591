"""A rule made ready for tensors: names are numbers, labels are tables over classes, variables are axes.

Letters in shapes: C classes of an output (or tokens of the input), D axes: one for each variable that is bound at a time. Each
place has C + 1 states: its class, and C where it is outside of its sequence, of which no label is true.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn

SOURCE = -1
"""The number of the input among the outputs."""
FEW = 4
"""Labels of an atom up to which its probability is summed in log space, one by one."""
ENTRIES = 2**22
"""How large a table may become when what is said of few places is put into one."""


@dataclass(frozen=True)
class Run:
    """A sequence (or a label, of one place) of a member of the group."""

    member: int
    output: int
    """Its number in the layout, or :data:`SOURCE`."""
    classes: int


@dataclass(frozen=True)
class Spot:
    """A place of a run: at ``offset`` from the variable of an axis, or from the run's first place."""

    run: Run
    axis: int | None = None
    offset: int = 0


@dataclass(frozen=True)
class Axis:
    """A variable: of the positions of some runs (where any of them has one), or of names."""

    name: str
    number: int
    runs: tuple[Run, ...] = ()
    names: tuple[str, ...] = ()


class Node:
    """A part of a compiled rule."""


@dataclass(frozen=True)
class Leaf(Node):
    """What a table ``[C1 + 1, C2 + 1, ..., D axes]`` says of the states of some places (for each name that its labels hold)."""

    spots: tuple[Spot, ...]
    table: int
    """Its number in :class:`Tables`."""
    few: int | None = None
    """Of one place, where its labels are few: the number of the list of them, ``[D axes, FEW at most]``, filled up with C."""


@dataclass(frozen=True)
class Ordered(Node):
    """``left + offset sign right``, positions; of a constant, the axis is None."""

    left: int | None
    offset: int
    sign: str
    right: int | None


@dataclass(frozen=True)
class Negation(Node):
    part: Node


@dataclass(frozen=True)
class Together(Node):
    """All parts are true."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Every(Node):
    """The part is true for all values of the axes."""

    axes: tuple[Axis, ...]
    part: Node


@dataclass(frozen=True)
class Term:
    """``times`` the number of positions of an axis at which the part is true; it looks at the place ``spot`` of an output, or
    none."""

    times: int
    axis: Axis
    part: Node
    spot: Spot | None


@dataclass(frozen=True)
class Tally(Node):
    """The sum of the terms and the constant is 0 (``sign`` is ``=``), or at most 0 (``<=``). All terms have the same axis."""

    terms: tuple[Term, ...]
    constant: int
    sign: str


# --- tables -----------------------------------------------------------------------------------------------------------


class Tables(nn.Module):
    """The tables of a rule: buffers, which go where their owner goes, and copies for other devices, made once."""

    def __init__(self):
        super().__init__()
        self._copies: dict[tuple[int, torch.device], Tensor] = {}
        self._count = 0

    def keep(self, table: Tensor) -> int:
        """Take a table in; its number."""
        self.register_buffer(f"table{self._count}", table, persistent=False)
        self._count += 1
        return self._count - 1

    def on_host(self, leaf: Leaf) -> Tensor:
        """A leaf's table while the rule is made."""
        return self._buffers[f"table{leaf.table}"]

    def get(self, number: int, device: torch.device) -> Tensor:
        """A table, on a device."""
        table = self._buffers[f"table{number}"]
        if table.device == device:
            return table
        if (number, device) not in self._copies:
            copy = table.to(device)
            if type(copy) is not Tensor:  # one of a mode without values, of no use outside of it
                return copy
            self._copies[number, device] = copy
        return self._copies[number, device]


def few_of(table: Tensor) -> Tensor | None:
    """For each name the classes of which a table ``[C + 1, D axes]`` is true, ``[D axes, FEW at most]``; None where they are
    more."""
    flat = table[:-1].reshape(len(table) - 1, -1)
    most = int(flat.sum(0).max())
    if most > FEW:
        return None
    lists = [column.nonzero().flatten().tolist() for column in flat.unbind(1)]
    filled = [classes + [len(flat)] * (most - len(classes)) for classes in lists]
    return torch.tensor(filled).view(*table.shape[1:], most)


def folded(node: Node, tables: Tables) -> Node:
    """The same with fewer parts: what is said of two or three places alone becomes one table over their classes."""
    whole = _as_leaf(node, tables)
    if whole is not None:
        return whole
    match node:
        case Negation(part):
            return Negation(folded(part, tables))
        case Together(parts):
            return Together(tuple(folded(part, tables) for part in parts))
        case Every(axes, part):
            return Every(axes, folded(part, tables))
        case Tally(terms):
            return replace(node, terms=tuple(replace(term, part=folded(term.part, tables)) for term in terms))
    return node


def _as_leaf(node: Node, tables: Tables) -> Leaf | None:
    """A node as one table; None where it cannot be one, or would be a large one."""
    spots = _spots(node)
    if isinstance(node, Leaf) or not spots:
        return node if isinstance(node, Leaf) else None
    sizes = [spot.run.classes + 1 for spot in spots]
    names = [math.prod(tables.on_host(leaf).shape[len(leaf.spots) :]) for leaf in leaves_of(node)]
    if math.prod(sizes) * max(names) > ENTRIES:
        return None
    table = _tabulated(node, spots, tables)
    return Leaf(spots, tables.keep(table.expand(*sizes, *table.shape[len(sizes) :]).contiguous()))


def _spots(node: Node) -> tuple[Spot, ...]:
    """The places that a node looks at; none where it looks at more than places (at positions, or counts)."""
    match node:
        case Leaf(spots):
            return spots
        case Negation(part):
            return _spots(part)
        case Together(parts):
            inner = [_spots(part) for part in parts]
            return tuple(dict.fromkeys(spot for spots in inner for spot in spots)) if all(inner) else ()
        case Every(axes, part) if not any(axis.runs for axis in axes):
            return _spots(part)
    return ()


def leaves_of(node: Node) -> list[Leaf]:
    """The leaves of a node, but for those of counts."""
    match node:
        case Leaf():
            return [node]
        case Negation(part) | Every(_, part):
            return leaves_of(part)
        case Together(parts):
            return [leaf for part in parts for leaf in leaves_of(part)]
    return []


def _tabulated(node: Node, spots: tuple[Spot, ...], tables: Tables) -> Tensor:
    """A node's truth for all states of the spots and all names: bool, broadcastable to ``[C1 + 1, ..., D axes]``."""
    match node:
        case Leaf(own):
            table = tables.on_host(node)
            order = sorted(range(len(own)), key=lambda k: spots.index(own[k]))
            sizes = [spot.run.classes + 1 if spot in own else 1 for spot in spots]
            return table.permute(*order, *range(len(own), table.dim())).reshape(*sizes, *table.shape[len(own) :])
        case Negation(part):
            return ~_tabulated(part, spots, tables)
        case Together(parts):
            return reduce(torch.logical_and, [_tabulated(part, spots, tables) for part in parts])
        case Every(axes, part):
            return _tabulated(part, spots, tables).all(tuple(len(spots) + axis.number for axis in axes), keepdim=True)
    raise AssertionError(node)
