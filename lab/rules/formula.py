"""What a rule says, as a tree: the same whether it was written as text or put together in Python.

In Python the pieces join by operators; ``str`` of a formula is its text in the language of :mod:`lab.rules.language`.

>>> i, tag = position("i"), output("tag")
>>> print(for_all(i, tag[i].is_("I-x") >> tag[i - 1].is_in("B-x", "I-x")))
for all i: tag[i] = I-x -> tag[i-1] in {B-x, I-x}
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar

Span = tuple[int, int]
"""Where in the text, from character to character."""

WORD = r"(?:[^\W]|[.*'/$@%&]|-(?!>)|\{[A-Za-z_]\w*\})+"
"""What a class name may be made of without quotation marks."""


@dataclass(frozen=True)
class Written:
    """A piece of a rule, and where it stands in the text, if it came from one."""

    where: Span | None = field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True)
class Label(Written):
    """The name of a class or token; unless ``exact``, ``*`` in it is any text and ``{s}`` what the variable s stands for."""

    text: str
    exact: bool = False

    @classmethod
    def of(cls, given: str | Label) -> Label:
        return given if isinstance(given, Label) else cls(given)

    @classmethod
    def quoted(cls, text: str, where: Span | None = None) -> Label:
        """A name that stands for itself."""
        return cls(text, exact=any(sign in text for sign in "*{}"), where=where)

    @property
    def several(self) -> bool:
        """Whether it may be the name of more than one."""
        return "*" in self.text and not self.exact

    def __str__(self):
        plain = not self.exact and re.fullmatch(WORD, self.text)
        return self.text if plain else '"' + self.text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class Index(Written):
    """A position: a variable and a number added to it, or a number alone."""

    variable: str | None
    offset: int = 0

    @classmethod
    def of(cls, given: int | Index) -> Index:
        return given if isinstance(given, Index) else cls(None, given)

    def __add__(self, more: int) -> Index:
        return Index(self.variable, self.offset + more)

    def __sub__(self, less: int) -> Index:
        return self + -less

    def __lt__(self, other) -> Formula:
        return Order(self, "<", Index.of(other))

    def __le__(self, other) -> Formula:
        return Order(self, "<=", Index.of(other))

    def __gt__(self, other) -> Formula:
        return Order(self, ">", Index.of(other))

    def __ge__(self, other) -> Formula:
        return Order(self, ">=", Index.of(other))

    def equals(self, other) -> Formula:
        """Whether two positions are the same."""
        return Order(self, "=", Index.of(other))

    def differs(self, other) -> Formula:
        """Whether two positions are not the same."""
        return Order(self, "!=", Index.of(other))

    def __str__(self):
        if self.variable is None:
            return str(self.offset)
        return self.variable + (f"{self.offset:+d}" if self.offset else "")


@dataclass(frozen=True)
class Place(Written):
    """One answer: of an output (or a token of the input, ``source``), at an index of a sequence, of a member of the group."""

    output: str
    index: Index | None = None
    member: str | None = None

    def __getitem__(self, index: int | Index) -> Place:
        return Place(self.output, Index.of(index), self.member)

    def is_(self, label: str | Label) -> Formula:
        """``tag[i] = label``"""
        return Among(self, (Label.of(label),))

    def is_not(self, label: str | Label) -> Formula:
        """``tag[i] != label``"""
        return Not(self.is_(label))

    def is_in(self, *labels: str | Label) -> Formula:
        """``tag[i] in {label, label}``"""
        return Among(self, tuple(Label.of(label) for label in labels))

    def is_of(self, name: str) -> Formula:
        """``tag[i] in name``, a set's name."""
        return Among(self, name)

    def same_as(self, other: Place) -> Formula:
        """``tag[i] = tag[j]``"""
        return Same(self, other)

    def __str__(self):
        member = f"{self.member}." if self.member else ""
        return member + self.output + (f"[{self.index}]" if self.index else "")


@dataclass(frozen=True)
class Formula(Written):
    """What is true or false of an answer."""

    binding: ClassVar[int] = 9
    """How closely it holds its parts together: what binds less is put in brackets inside of it."""

    def __and__(self, other: Formula) -> Formula:
        return conjunction([self, other])

    def __or__(self, other: Formula) -> Formula:
        return disjunction([self, other])

    def __invert__(self) -> Formula:
        return Not(self)

    def __rshift__(self, other: Formula) -> Formula:
        """``self -> other``"""
        return Implies(self, other)

    def iff(self, other: Formula) -> Formula:
        """``self <-> other``"""
        return Iff(self, other)

    def within(self, binding: int) -> str:
        """Its text as a part of what binds so closely."""
        return str(self) if self.binding > binding else f"({self})"


@dataclass(frozen=True)
class Among(Formula):
    """A place's class is one of these: labels, or the name of a set."""

    place: Place
    labels: tuple[Label, ...] | str

    def said(self, negated: bool = False) -> str:
        """Its text, or that of its contrary."""
        if not isinstance(self.labels, str) and len(self.labels) == 1 and not self.labels[0].several:
            return f"{self.place} {'!=' if negated else '='} {self.labels[0]}"
        listed = self.labels if isinstance(self.labels, str) else "{" + ", ".join(map(str, self.labels)) + "}"
        return f"{self.place} {'not in' if negated else 'in'} {listed}"

    def __str__(self):
        return self.said()


@dataclass(frozen=True)
class Same(Formula):
    """Two places have classes of the same name."""

    left: Place
    right: Place

    def said(self, negated: bool = False) -> str:
        """Its text, or that of its contrary."""
        return f"{self.left} {'!=' if negated else '='} {self.right}"

    def __str__(self):
        return self.said()


@dataclass(frozen=True)
class Related(Formula):
    """The classes of places stand in a relation, given as a table."""

    relation: str
    places: tuple[Place, ...]

    def __str__(self):
        return f"{self.relation}({', '.join(map(str, self.places))})"


@dataclass(frozen=True)
class Order(Formula):
    """How two positions stand to each other."""

    left: Index
    sign: str
    right: Index

    def __str__(self):
        return f"{self.left} {self.sign} {self.right}"


@dataclass(frozen=True)
class Not(Formula):
    part: Formula
    binding = 5

    def __str__(self):
        plain = isinstance(self.part, (Among, Same))
        return self.part.said(negated=True) if plain else f"not {self.part.within(4)}"


@dataclass(frozen=True)
class And(Formula):
    parts: tuple[Formula, ...]
    binding = 4

    def __str__(self):
        return " and ".join(part.within(4) for part in self.parts)


@dataclass(frozen=True)
class Or(Formula):
    parts: tuple[Formula, ...]
    binding = 3

    def __str__(self):
        return " or ".join(part.within(3) for part in self.parts)


@dataclass(frozen=True)
class Implies(Formula):
    left: Formula
    right: Formula
    binding = 2

    def __str__(self):
        return f"{self.left.within(2)} -> {self.right.within(1)}"


@dataclass(frozen=True)
class Iff(Formula):
    left: Formula
    right: Formula
    binding = 1

    def __str__(self):
        return f"{self.left.within(1)} <-> {self.right.within(1)}"


@dataclass(frozen=True)
class Bound(Written):
    """A variable of a quantifier: of positions, or of the names of a set (its name, or its labels)."""

    name: str
    names: tuple[Label, ...] | str | None = None

    def __str__(self):
        if self.names is None:
            return self.name
        listed = self.names if isinstance(self.names, str) else "{" + ", ".join(map(str, self.names)) + "}"
        return f"{self.name} in {listed}"


@dataclass(frozen=True)
class Quantified(Formula):
    """A formula for all values of variables, or for some."""

    word: str
    bound: tuple[Bound, ...]
    part: Formula
    binding = 0

    def __str__(self):
        return f"for {self.word} {', '.join(map(str, self.bound))}: {self.part}"


@dataclass(frozen=True)
class Count(Written):
    """How many positions there are of which the formula is true."""

    variable: str
    part: Formula

    def __str__(self):
        return f"count({self.variable}: {self.part})"


@dataclass(frozen=True)
class Sum(Written):
    """Counts, each times a whole number, and a whole number."""

    terms: tuple[tuple[int, Count], ...]
    constant: int = 0

    @classmethod
    def of(cls, given: int | Sum) -> Sum:
        return given if isinstance(given, Sum) else cls((), given)

    def __add__(self, other: int | Sum) -> Sum:
        other = Sum.of(other)
        return Sum(self.terms + other.terms, self.constant + other.constant)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Sum:
        return Sum(tuple((factor * times, count) for times, count in self.terms), factor * self.constant)

    __rmul__ = __mul__

    def __neg__(self) -> Sum:
        return self * -1

    def __sub__(self, other: int | Sum) -> Sum:
        return self + -Sum.of(other)

    def __rsub__(self, other: int) -> Sum:
        return Sum.of(other) - self

    def equals(self, other: int | Sum) -> Formula:
        return Counted(self, "=", Sum.of(other))

    def differs(self, other: int | Sum) -> Formula:
        return Counted(self, "!=", Sum.of(other))

    def __lt__(self, other) -> Formula:
        return Counted(self, "<", Sum.of(other))

    def __le__(self, other) -> Formula:
        return Counted(self, "<=", Sum.of(other))

    def __gt__(self, other) -> Formula:
        return Counted(self, ">", Sum.of(other))

    def __ge__(self, other) -> Formula:
        return Counted(self, ">=", Sum.of(other))

    def __str__(self):
        said = [(times, f"{count}" if abs(times) == 1 else f"{abs(times)} * {count}") for times, count in self.terms]
        if self.constant or not said:
            said.append((self.constant, str(abs(self.constant))))
        first, *others = [("-" if times < 0 else "+", text) for times, text in said]
        return ("-" if first[0] == "-" else "") + first[1] + "".join(f" {sign} {text}" for sign, text in others)


@dataclass(frozen=True)
class Counted(Formula):
    """How two sums of counts stand to each other."""

    left: Sum
    sign: str
    right: Sum

    def __str__(self):
        return f"{self.left} {self.sign} {self.right}"


# --- put together in Python -------------------------------------------------------------------------------------------


def position(name: str) -> Index:
    """A variable of positions, for :func:`for_all`, :func:`for_some` and :func:`count`."""
    return Index(name)


def name(variable: str, among: str | list[str | Label]) -> Bound:
    """A variable of names, of a set or a list; labels refer to it as ``{variable}``."""
    return Bound(variable, among if isinstance(among, str) else tuple(Label.of(label) for label in among))


def output(name: str, of: str | None = None) -> Place:
    """An output, or ``source``; ``of``: the member of the group."""
    return Place(name, None, of)


def exactly(text: str) -> Label:
    """A class name in which ``*`` and ``{`` stand for themselves."""
    return Label.quoted(text)


def related(relation: str, *places: Place) -> Formula:
    """``relation(place, place)``"""
    return Related(relation, places)


def for_all(*of: Index | Bound | Formula) -> Formula:
    """``for all i, j: formula``: variables, and at last the formula."""
    return _quantified("all", of)


def for_some(*of: Index | Bound | Formula) -> Formula:
    """``for some i: formula``: variables, and at last the formula."""
    return _quantified("some", of)


def _quantified(word: str, of: tuple) -> Formula:
    return Quantified(word, tuple(v if isinstance(v, Bound) else Bound(v.variable) for v in of[:-1]), of[-1])


def count(variable: Index, part: Formula) -> Sum:
    """``count(i: formula)``"""
    return Sum(((1, Count(variable.variable, part)),))


def conjunction(parts: list[Formula], where: Span | None = None) -> Formula:
    """All of these."""
    return And(_flat(And, parts), where=where)


def disjunction(parts: list[Formula], where: Span | None = None) -> Formula:
    """At least one of these."""
    return Or(_flat(Or, parts), where=where)


def _flat(kind: type, parts: list[Formula]) -> tuple[Formula, ...]:
    return tuple(inner for part in parts for inner in (part.parts if isinstance(part, kind) else (part,)))
