"""What a rule's names mean: from its tree to a compiled rule, or an error that shows what cannot be.

The checks are here, each where what it checks is looked up: outputs, members, classes, sets, relations and their arity,
variables (free, bound twice, of no use), indices, and what a count may hold.
"""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NoReturn

import torch
from torch import Tensor

from lab.rules import compiled
from lab.rules import formula as tree
from lab.rules.compiled import SOURCE, Axis, Leaf, Negation, Node, Run, Spot
from lab.rules.formula import Label, Span
from lab.rules.language import problem
from lab.rules.layout import Layout

MOST_POSITIONS = 3
"""Variables of positions that may be bound at a time: groundings are P to this power."""
REFERENCE = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass
class Variable:
    """A bound variable, and what is found out of it in its part."""

    name: str
    axis: int
    names: tuple[str, ...] | None = None
    """What it stands for, of a variable of names."""
    runs: dict[Run, None] = field(default_factory=dict)
    """The runs whose positions it is used for."""
    used: bool = False

    def closed(self) -> Axis:
        return Axis(self.name, self.axis, tuple(self.runs), self.names or ())


Scope = Mapping[str, Variable]


@dataclass(frozen=True)
class Known:
    """What the names in a rule's text can mean."""

    text: str
    key: str
    layout: Layout
    of: tuple[str, ...]
    sets: Mapping[str, Iterable[str]]
    relations: Mapping[str, Any]


def places_of(layout: Layout, of: tuple[str, ...]) -> set[str]:
    """How answers that have no index are called: ``label``, ``ab.label``."""
    labels = [output.name for output in layout.outputs if not output.sequence]
    return {*labels, *(f"{member}.{label}" for member in of for label in labels)}


class Checker:
    """Compiles the tree of a rule; ``tables`` takes its tables, ``depth`` is the number of axes."""

    def __init__(self, known: Known, formula: tree.Formula):
        self.known, self.tables = known, compiled.Tables()
        self.depth = _depth(formula)
        self.looks_at_source = False
        self.node = self._node(formula, {})

    def _fail(self, where: Span | None, what: str) -> NoReturn:
        raise problem(self.known.key, self.known.text, where, what)

    def _unknown(self, where: Span | None, what: str, given: str, possible: Iterable[str]) -> NoReturn:
        """An error for a name that there is not, with the nearest that there is."""
        possible = list(dict.fromkeys(possible))
        near = get_close_matches(given, possible, 1, cutoff=0.5)
        listed = ", ".join(possible[:8]) + (", ..." if len(possible) > 8 else "")
        hint = f"did you mean `{near[0]}`?" if near else f"known are {listed or 'none'}"
        self._fail(where, f"{what} `{given}`; {hint}")

    # --- connectives --------------------------------------------------------------------------------------------------

    def _node(self, formula: tree.Formula, scope: Scope) -> Node:
        match formula:
            case tree.Among():
                return self._among(formula, scope)
            case tree.Same():
                return self._same(formula, scope)
            case tree.Related():
                return self._related(formula, scope)
            case tree.Order():
                return self._order(formula, scope)
            case tree.Counted():
                return self._counted(formula, scope)
            case tree.Quantified():
                return self._quantified(formula, scope)
            case tree.Not(part):
                return Negation(self._node(part, scope))
            case tree.And(parts):
                return compiled.Together(tuple(self._node(part, scope) for part in parts))
            case tree.Or(parts):
                return _either(*(self._node(part, scope) for part in parts))
            case tree.Implies(left, right):
                return _either(Negation(self._node(left, scope)), self._node(right, scope))
            case tree.Iff(left, right):
                one, other = self._node(left, scope), self._node(right, scope)
                return compiled.Together((_either(Negation(one), other), _either(Negation(other), one)))
        raise AssertionError(formula)

    # --- variables ----------------------------------------------------------------------------------------------------

    def _quantified(self, formula: tree.Quantified, scope: Scope) -> Node:
        inner = dict(scope)
        for bound in formula.bound:
            inner[bound.name] = self._bound(bound, inner)
        part = self._node(formula.part, inner)
        axes = [self._closed(inner[bound.name], bound.where) for bound in formula.bound]
        every = _every(axes, part if formula.word == "all" else Negation(part))
        return every if formula.word == "all" else Negation(every)

    def _bound(self, bound: tree.Bound, scope: Scope) -> Variable:
        if bound.name in scope:
            self._fail(bound.where, f"`{bound.name}` is bound twice; take another name for one of them")
        if bound.name in ("source", *(output.name for output in self.known.layout.outputs)):
            self._fail(bound.where, f"`{bound.name}` is what an output is called; take another name for the variable")
        if bound.names is not None:
            return Variable(bound.name, len(scope), self._names(bound))
        if sum(variable.names is None for variable in scope.values()) == MOST_POSITIONS:
            self._fail(bound.where, f"more than {MOST_POSITIONS} variables of positions are bound at a time")
        return Variable(bound.name, len(scope))

    def _names(self, bound: tree.Bound) -> tuple[str, ...]:
        """What a variable of names stands for: labels as they are, of a pattern what its star is."""
        everything = [name for output in self.known.layout.outputs for name in output.classes]
        found: dict[str, None] = {}
        for label in self._labels(bound.names, bound.where):
            if not label.exact and REFERENCE.search(label.text):
                self._fail(label.where, f"`{label}`: what a variable stands for can be told by no other variable")
            pattern = None if label.exact or label.text in everything else label.text
            if pattern is None or "*" not in pattern:
                found[label.text] = None
                continue
            if pattern.count("*") > 1:
                self._fail(bound.where, f"`{label}` has more than one star: what `{bound.name}` stands for is the text of one")
            before, after = pattern.split("*")
            long = len(before) + len(after)
            hits = [n for n in everything if n.startswith(before) and n.endswith(after) and len(n) >= long]
            if not hits:
                self._unknown(bound.where, "no class is like", label.text, everything)
            found |= dict.fromkeys(name[len(before) : len(name) - len(after)] for name in hits)
        return tuple(found)

    def _closed(self, variable: Variable, where: Span | None) -> Axis:
        if not variable.used:
            what = f"positions of no sequence: write it in brackets, as in tag[{variable.name}]"
            if variable.names is not None:
                what = f"nothing: labels refer to it as {{{variable.name}}}"
            self._fail(where, f"`{variable.name}` is used for {what}")
        return variable.closed()

    def _position(self, index: tree.Index, scope: Scope) -> Variable | None:
        """The variable of an index; None of a number."""
        if index.variable is None:
            return None
        variable = scope.get(index.variable)
        if variable is None:
            bound = [v.name for v in scope.values() if v.names is None]
            hint = f"bound are {', '.join(bound)}" if bound else f"write `for all {index.variable}:` before"
            self._fail(index.where, f"`{index.variable}` is free; {hint}")
        if variable.names is not None:
            self._fail(index.where, f"`{index.variable}` stands for names, and a position is wanted")
        return variable

    def _order(self, formula: tree.Order, scope: Scope) -> Node:
        left, right = (self._position(index, scope) for index in (formula.left, formula.right))
        if left is None and right is None:
            self._fail(formula.where, "two numbers are compared, and no variable")
        offset = formula.left.offset - formula.right.offset
        return compiled.Ordered(left and left.axis, offset, formula.sign, right and right.axis)

    # --- places -------------------------------------------------------------------------------------------------------

    def _spot(self, place: tree.Place, scope: Scope) -> Spot:
        member = self._member(place)
        if place.output == "source":
            self.looks_at_source = True
            return self._indexed(place, Run(member, SOURCE, len(self.known.layout.tokens)), True, scope)
        outputs = self.known.layout.outputs
        numbers = {output.name: number for number, output in enumerate(outputs)}
        if place.output not in numbers:
            self._unknown(place.where, "there is no output", place.output, [*numbers, "source"])
        output = outputs[numbers[place.output]]
        run = Run(member, numbers[place.output], len(output.classes))
        return self._indexed(place, run, output.sequence, scope)

    def _member(self, place: tree.Place) -> int:
        of = self.known.of
        if place.member is None:
            if len(of) > 1:
                choices = " or ".join(f"{member}.{place.output}" for member in of)
                self._fail(place.where, f"`{place.output}` of which member of the group? Write {choices}")
            return 0
        if place.member not in of:
            self._unknown(place.where, "the group has no member", place.member, of)
        return of.index(place.member)

    def _indexed(self, place: tree.Place, run: Run, sequence: bool, scope: Scope) -> Spot:
        if sequence and place.index is None:
            self._fail(place.where, f"`{place.output}` is a sequence: write which of its places, as in {place.output}[i]")
        if not sequence and place.index is not None:
            self._fail(place.where, f"`{place.output}` is one label and has no places: write {place.output} without an index")
        if run.output == SOURCE and not self.known.layout.tokens:
            self._fail(place.where, "the inputs of this environment are no tokens that a rule could name")
        if place.index is None:
            return Spot(run)
        variable = self._position(place.index, scope)
        if variable is None:
            return Spot(run, None, place.index.offset)
        variable.used = True
        variable.runs[run] = None
        return Spot(run, variable.axis, place.index.offset)

    def _classes(self, run: Run) -> tuple[str, ...]:
        """What a run's classes are called; padding is called nothing."""
        layout = self.known.layout
        return ("", *layout.tokens[1:]) if run.output == SOURCE else layout.outputs[run.output].classes

    # --- atoms --------------------------------------------------------------------------------------------------------

    def _among(self, formula: tree.Among, scope: Scope) -> Node:
        spot = self._spot(formula.place, scope)
        labels = self._labels(formula.labels, formula.where)
        variables = self._referred(labels, scope)
        shape = [1] * self.depth
        for variable in variables:
            shape[variable.axis] = len(variable.names)
        table = torch.zeros(spot.run.classes + 1, *shape, dtype=torch.bool)
        hits = dict.fromkeys(labels, 0)
        for choice in itertools.product(*(range(len(variable.names)) for variable in variables)):
            stands = {variable.name: variable.names[n] for variable, n in zip(variables, choice, strict=True)}
            at = [0] * self.depth
            for variable, n in zip(variables, choice, strict=True):
                at[variable.axis] = n
            for label in labels:
                found = self._matching(_put(label, stands), label.exact, self._classes(spot.run))
                hits[label] += len(found)
                table[(found, *at)] = True
        for label, count in hits.items():
            if not count:
                self._no_class(label, formula, spot.run)
        few = compiled.few_of(table)
        return Leaf((spot,), self.tables.keep(table), None if few is None else self.tables.keep(few))

    def _labels(self, given: tuple[Label, ...] | str, where: Span | None) -> tuple[Label, ...]:
        """The labels of a set, named or listed; those of a named one stand at the place of its name."""
        if not isinstance(given, str):
            return given
        if given not in self.known.sets:
            self._unknown(where, "there is no set", given, self.known.sets)
        return tuple(Label.quoted(text, where) if "{" in text else Label(text, where=where) for text in self._set(given, where))

    def _set(self, name: str, where: Span | None) -> list[str]:
        elements = self.known.sets[name]
        elements = [elements] if isinstance(elements, str) else list(elements)
        if not elements or not all(isinstance(element, str) for element in elements):
            self._fail(where, f"the set `{name}` is {elements}: expected class names, or patterns such as I-*")
        return elements

    def _referred(self, labels: Iterable[Label], scope: Scope) -> list[Variable]:
        """The variables of names that labels refer to."""
        found: dict[str, Variable] = {}
        for label in labels:
            for name in [] if label.exact else REFERENCE.findall(label.text):
                variable = scope.get(name)
                if variable is None or variable.names is None:
                    bound = [v.name for v in scope.values() if v.names is not None]
                    hint = f"bound are {', '.join(bound)}" if bound else f"write `for all {name} in ...:` before"
                    self._fail(label.where, f"`{{{name}}}` stands for no variable of names; {hint}")
                variable.used = True
                found[name] = variable
        return list(found.values())

    @staticmethod
    def _matching(text: str, exact: bool, classes: tuple[str, ...]) -> list[int]:
        """The numbers of the classes of a name, or like a pattern."""
        if exact or text in classes or "*" not in text:
            return [n for n, name in enumerate(classes) if name == text and name]
        like = re.compile(fnmatch.translate(re.sub(r"([\[?])", r"[\1]", text)))
        return [n for n, name in enumerate(classes) if name and like.match(name)]

    def _no_class(self, label: Label, formula: tree.Among, run: Run) -> NoReturn:
        what = "no token of the inputs is" if run.output == SOURCE else f"`{formula.place.output}` has no class"
        where = label.where or formula.where
        self._unknown(where, what + (" like" if "*" in label.text else ""), label.text, filter(None, self._classes(run)))

    def _same(self, formula: tree.Same, scope: Scope) -> Node:
        spots = tuple(self._spot(place, scope) for place in (formula.left, formula.right))
        left, right = (self._classes(spot.run) for spot in spots)
        if not set(left) & set(right) - {""}:
            self._fail(formula.where, f"`{formula.left}` and `{formula.right}` have no class in common, and are never the same")
        table = torch.tensor([[bool(one) and one == other for other in right] for one in left])
        return self._table(spots, table)

    def _related(self, formula: tree.Related, scope: Scope) -> Node:
        relations = self.known.relations
        if formula.relation not in relations:
            self._unknown(formula.where, "there is no relation", formula.relation, relations)
        spots = tuple(self._spot(place, scope) for place in formula.places)
        given = relations[formula.relation]
        rows = None if isinstance(given, Tensor) else self._rows(formula, given)
        arities = {given.dim()} if rows is None else {len(row) for row in rows}
        if arities and arities != {len(spots)}:
            told = " and ".join(map(str, sorted(arities)))
            self._fail(formula.where, f"`{formula.relation}` relates {told} classes, and {len(spots)} are given")
        table = self._given(formula, given, spots) if rows is None else self._listed(formula, rows, spots)
        return self._table(spots, table)

    def _rows(self, formula: tree.Related, given: Any) -> list[tuple[str, ...]]:
        if isinstance(given, str) or any(isinstance(row, str) or not isinstance(row, Iterable) for row in given):
            self._fail(
                formula.where, f"`{formula.relation}` is {given}: expected rows of class names, such as [[a, b], [a, c]]"
            )
        return [tuple(row) for row in given]

    def _given(self, formula: tree.Related, table: Tensor, spots: tuple[Spot, ...]) -> Tensor:
        """A relation given as a table: over the classes of each output, or over all classes of the data."""
        table = table.detach().cpu().bool()
        for axis, spot in enumerate(spots):
            output = None if spot.run.output == SOURCE else self.known.layout.outputs[spot.run.output]
            whole = self.known.layout.sayable.shape[1]
            if output and table.shape[axis] == whole:
                table = table.narrow(axis, output.first, len(output.classes))
            if table.shape[axis] != spot.run.classes:
                wanted = f"`{formula.places[axis]}` has {spot.run.classes} classes"
                self._fail(formula.where, f"`{formula.relation}` is a table {list(table.shape)}, and {wanted}")
        return table

    def _listed(self, formula: tree.Related, rows: list[tuple[str, ...]], spots: tuple[Spot, ...]) -> Tensor:
        """A relation given as rows of class names, or of patterns."""
        table = torch.zeros(*(spot.run.classes for spot in spots), dtype=torch.bool)
        for row in rows:
            found = []
            for text, spot, place in zip(row, spots, formula.places, strict=True):
                found.append(self._matching(str(text), False, self._classes(spot.run)))
                if not found[-1]:
                    what = f"the relation `{formula.relation}` has a row {list(row)}, and `{place.output}` no class"
                    self._unknown(formula.where, what, str(text), filter(None, self._classes(spot.run)))
            for cell in itertools.product(*found):
                table[cell] = True
        return table

    def _table(self, spots: tuple[Spot, ...], table: Tensor) -> Leaf:
        """The leaf of a table over classes: false outside of sequences; a place that is named twice is one place."""
        while len(set(spots)) < len(spots):
            pairs = itertools.combinations(range(len(spots)), 2)
            one, other = next((a, b) for a, b in pairs if spots[a] == spots[b])
            table = table.diagonal(dim1=one, dim2=other)
            spots = (*(spot for k, spot in enumerate(spots) if k not in (one, other)), spots[one])
        whole = torch.zeros(*(size + 1 for size in table.shape), dtype=torch.bool)
        whole[tuple(slice(size) for size in table.shape)] = table
        return Leaf(spots, self.tables.keep(whole.reshape(*whole.shape, *[1] * self.depth)))

    # --- counts -------------------------------------------------------------------------------------------------------

    def _counted(self, formula: tree.Counted, scope: Scope) -> Node:
        """Brought to ``sum = 0`` or ``sum <= 0``."""
        total, sign = formula.left - formula.right, formula.sign
        if not total.terms:
            self._fail(formula.where, "two numbers are compared, and no count")
        if sign in (">", ">="):
            total, sign = -total, sign.replace(">", "<")
        if sign == "<":
            total, sign = total + 1, "<="
        terms = tuple(self._term(times, count, scope) for times, count in total.terms)
        tally = compiled.Tally(terms, total.constant, "<=" if sign == "<=" else "=")
        return Negation(tally) if sign == "!=" else tally

    def _term(self, times: int, count: tree.Count, scope: Scope) -> compiled.Term:
        variable = self._bound(tree.Bound(count.variable, where=count.where), scope)
        inner = {**scope, count.variable: variable}
        for part in _parts(count.part):
            if isinstance(part, (tree.Quantified, tree.Counted)):
                self._fail(part.where or count.where, "a count holds no other count and no `for`, only atoms of one place")
        node = self._node(count.part, inner)
        if not variable.used:
            self._fail(count.where, f"a count over nothing: `{count.variable}` is used for positions of no sequence")
        return compiled.Term(times, self._closed(variable, count.where), node, self._counted_spot(node, variable, count))

    def _counted_spot(self, node: Node, variable: Variable, count: tree.Count) -> Spot | None:
        spots = {spot for leaf in compiled.leaves_of(node) for spot in leaf.spots if spot.run.output != SOURCE}
        if len(spots) > 1 or any(spot.axis != variable.axis for spot in spots):
            what = f"a count looks at one place of an output at a time, such as tag[{count.variable}]"
            self._fail(count.where, f"{what}, and at any places of `source` beside it")
        return next(iter(spots), None)


def _either(*nodes: Node) -> Node:
    return Negation(compiled.Together(tuple(node.part if isinstance(node, Negation) else Negation(node) for node in nodes)))


def _every(axes: list[Axis], part: Node) -> Node:
    """For all values of the axes, those of names inside of those of positions: what is said of few places stays together."""
    while isinstance(part, compiled.Every):
        axes, part = [*axes, *part.axes], part.part
    for kind in ([a for a in axes if not a.runs], [a for a in axes if a.runs]):
        part = compiled.Every(tuple(kind), part) if kind else part
    return part


def _put(label: Label, stands: Mapping[str, str]) -> str:
    """A label's text with what its variables stand for."""
    return label.text if label.exact else REFERENCE.sub(lambda reference: stands[reference[1]], label.text)


def _parts(formula: tree.Formula) -> Iterable[tree.Formula]:
    """A formula and all formulas in it."""
    yield formula
    match formula:
        case tree.Not(part) | tree.Quantified(_, _, part):
            yield from _parts(part)
        case tree.And(parts) | tree.Or(parts):
            for part in parts:
                yield from _parts(part)
        case tree.Implies(left, right) | tree.Iff(left, right):
            yield from _parts(left)
            yield from _parts(right)
        case tree.Counted(left, _, right):
            for _, count in left.terms + right.terms:
                yield from _parts(count.part)


def _depth(formula: Any) -> int:
    """How many variables are bound at a time, at most."""
    match formula:
        case tree.Not(part):
            return _depth(part)
        case tree.Quantified(_, bound, part):
            return len(bound) + _depth(part)
        case tree.And(parts) | tree.Or(parts):
            return max(map(_depth, parts))
        case tree.Implies(left, right) | tree.Iff(left, right):
            return max(_depth(left), _depth(right))
        case tree.Counted(left, _, right):
            return max((1 + _depth(count.part) for _, count in left.terms + right.terms), default=0)
    return 0
