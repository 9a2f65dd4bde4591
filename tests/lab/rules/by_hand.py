"""What a rule means, once more: one example at a time, in plain Python, straight from its tree. Slow, and nothing of the lab's
but the tree and the layout; and formulas at random."""

from __future__ import annotations

import fnmatch
import itertools
import math
import operator

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from lab.rules import Layout, Output
from lab.rules import formula as tree
from lab.rules.formula import count, for_all, for_some, name, output, position, related

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")
TOKENS = ("", "<k>", "u", "v")
LAYOUT = Layout((Output("kind", ("x", "y"), 0, 0, 1, sequence=False), Output("tag", TAGS, 2, 1)), 4, TOKENS)
SETS = {"begins": ["B-*"], "letters": ["a", "b"]}
RELATIONS = {"allowed": [("x", "O"), ("x", "*-a"), ("y", "O"), ("y", "B-b")], "heard": [("O", "u"), ("B-*", "v")]}
OF = ("one", "two")
OFTEN = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SIGNS = {"=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
CONJUNCTION = {
    "product": math.prod,
    "lukasiewicz": lambda values: max(0.0, 1 - sum(1 - value for value in values)),
    "godel": lambda values: min(values, default=1.0),
}


class ByHand:
    """Truth by a logic of one group: ``chances[member][place][class]``, ``tokens[member]``, ``real[member][place]``."""

    def __init__(self, logic, chances, tokens, real):
        self.all = CONJUNCTION[logic]
        self.logic, self.chances, self.tokens, self.real = logic, chances, tokens, real

    def truth(self, formula, bound=()) -> float:
        bound = dict(bound)
        match formula:
            case tree.Not(part):
                return 1 - self.truth(part, bound)
            case tree.And(parts):
                return self.all([self.truth(part, bound) for part in parts])
            case tree.Or(parts):
                return 1 - self.all([1 - self.truth(part, bound) for part in parts])
            case tree.Implies(left, right):
                return self.truth(~left | right, bound)
            case tree.Iff(left, right):
                return self.truth((~left | right) & (~right | left), bound)
            case tree.Quantified(word, variables, part):
                values = [self.truth(part, cell) for cell in self.cells(variables, part, bound)]
                return self.all(values) if word == "all" else 1 - self.all([1 - value for value in values])
            case tree.Order(left, sign, right):
                return float(SIGNS[sign](self.position(left, bound), self.position(right, bound)))
            case tree.Counted(left, sign, right):
                return self.counted(left - right, sign, bound)
        return self.atom(formula, bound)

    # --- variables ----------------------------------------------------------------------------------------------------

    def cells(self, variables, part, bound):
        values = [self.values(v, part) for v in variables]
        return [bound | dict(zip((v.name for v in variables), cell, strict=True)) for cell in itertools.product(*values)]

    def values(self, variable, part):
        if variable.names is not None:
            given = SETS[variable.names] if isinstance(variable.names, str) else [label.text for label in variable.names]
            stars = [[tag[2:] for tag in TAGS if fnmatch.fnmatch(tag, text)] if "*" in text else [text] for text in given]
            return list(dict.fromkeys(itertools.chain(*stars)))
        runs = {(p.output, self.member(p)) for p in places(part) if p.index and p.index.variable == variable.name}
        return [i for i in range(5) if any(self.place(run, member, i) is not None for run, member in runs)]

    @staticmethod
    def position(index, bound):
        return index.offset + (bound[index.variable] if index.variable else 0)

    # --- places -------------------------------------------------------------------------------------------------------

    @staticmethod
    def member(place):
        return OF.index(place.member) if place.member in OF else 0

    def place(self, run, member, at):
        """Which place or token it is; None outside."""
        if run == "source":
            return at if 0 <= at < len(self.tokens[member]) and self.tokens[member][at] else None
        first, last = (0, 0) if run == "kind" else (1, 3)
        return first + at if 0 <= at <= last - first and self.real[member][first + at] else None

    def spread(self, place, bound):
        """Where it is, and the chance of each name there (nothing outside)."""
        member = self.member(place)
        at = self.place(place.output, member, self.position(place.index, bound) if place.index else 0)
        if at is None:
            return None, {}
        if place.output == "source":
            return (member, "source", at), {TOKENS[self.tokens[member][at]]: 1.0}
        first, names = (0, ("x", "y")) if place.output == "kind" else (2, TAGS)
        return (member, place.output, at), dict(zip(names, self.chances[member][at][first:], strict=False))

    def atom(self, formula, bound):
        match formula:
            case tree.Among(place, labels):
                texts = SETS[labels] if isinstance(labels, str) else [self.put(label, bound) for label in labels]
                chances = self.spread(place, bound)[1]
                return sum(p for name, p in chances.items() if any(fnmatch.fnmatch(name, text) for text in texts))
            case tree.Same(left, right):
                return self.expected([left, right], lambda one, other: one == other, bound)
            case tree.Related(relation, pair):
                rows = RELATIONS[relation]
                return self.expected(pair, lambda *names: any(all(map(fnmatch.fnmatch, names, row)) for row in rows), bound)
        raise AssertionError(formula)

    def expected(self, pair, holds, bound):
        """Where places are independent, the one named twice included unless it is so in the rule."""
        if pair[0] == pair[1]:
            return sum(p for name, p in self.spread(pair[0], bound)[1].items() if holds(name, name))
        one, other = (self.spread(place, bound)[1].items() for place in pair)
        return sum(p * q for (left, p), (right, q) in itertools.product(one, other) if holds(left, right))

    @staticmethod
    def put(label, bound):
        text = label.text
        for variable, value in bound.items():
            text = text.replace("{" + variable + "}", str(value))
        return text

    # --- counts -------------------------------------------------------------------------------------------------------

    def counted(self, total, sign, bound):
        """By all answers, with their probabilities."""
        if sign == "!=":
            return 1 - self.counted(total, "=", bound)
        sums = [(self.total(total, bound, answer), chance) for answer, chance in self.answers()]
        if self.logic == "product":
            return sum(chance for value, chance in sums if SIGNS[sign](value, 0))
        mean = sum(value * chance for value, chance in sums)
        if self.logic == "lukasiewicz":
            off = {"=": abs(mean), "<=": mean, "<": mean + 1, ">=": -mean, ">": 1 - mean}[sign]
            return max(0.0, 1 - max(0.0, off))
        assert mean == round(mean), "only of discrete answers"
        return float(SIGNS[sign](mean, 0))

    def answers(self):
        slots = [(m, p) for m, flags in enumerate(self.real) for p, real in enumerate(flags) if real]
        choices = [[(c, p) for c, p in enumerate(self.chances[m][at]) if p > 0] for m, at in slots]
        for answer in itertools.product(*choices):
            chances = [[[0.0] * 7 for _ in flags] for flags in self.real]
            for (m, at), (c, _) in zip(slots, answer, strict=True):
                chances[m][at][c] = 1.0
            yield chances, math.prod(p for _, p in answer)

    def total(self, total, bound, answer):
        sure = ByHand("godel", answer, self.tokens, self.real)
        found = total.constant
        for times, counting in total.terms:
            cells = self.cells([tree.Bound(counting.variable)], counting.part, bound)
            found += times * sum(round(sure.truth(counting.part, cell)) for cell in cells)
        return found


def places(formula):
    """All places that a formula names."""
    match formula:
        case tree.Among(place):
            return [place]
        case tree.Same(left, right):
            return [left, right]
        case tree.Related(_, pair):
            return list(pair)
        case tree.Not(part) | tree.Quantified(_, _, part):
            return places(part)
        case tree.And(parts) | tree.Or(parts):
            return [place for part in parts for place in places(part)]
        case tree.Implies(left, right) | tree.Iff(left, right):
            return places(left) + places(right)
        case tree.Counted(left, _, right):
            return [place for _, c in left.terms + right.terms for place in places(c.part)]
    return []


# --- formulas at random -----------------------------------------------------------------------------------------------

LABELS = st.sampled_from(["O", "B-a", "I-b", "B-*", "*-a"])


@st.composite
def atoms(draw, members, positions, names):
    """Something said of places, at variables that are bound."""
    of = draw(st.sampled_from(OF)) if members > 1 else None
    where = draw(st.sampled_from([*positions, 0, 2])) if positions else draw(st.integers(0, 3))
    at = where + draw(st.integers(-2, 2)) if not isinstance(where, int) else where
    tag, kind, source = output("tag", of), output("kind", of), output("source", of)
    kinds = [
        lambda: tag[at].is_in(*draw(st.lists(LABELS, min_size=1, max_size=2, unique=True))),
        lambda: tag[at].is_of("begins"),
        lambda: kind.is_(draw(st.sampled_from("xy"))),
        lambda: source[at].is_(draw(st.sampled_from(["u", "v"]))),
        lambda: tag[at].same_as(output("tag", OF[-1] if members > 1 else None)[draw(st.integers(0, 2))]),
        lambda: related("allowed", kind, tag[at]),
        lambda: related("heard", tag[at], source[at + 1]),
        lambda: positions[0].equals(draw(st.integers(0, 2))) if positions else kind.is_not("x"),
        lambda: positions[0] < positions[-1] + 1 if positions else kind.is_("y"),
    ]
    if names:
        kinds += [lambda: tag[at].is_in("O", "I-{" + names[-1] + "}")] * 2
    return draw(st.sampled_from(kinds))()


@st.composite
def formulas(draw, members=1, depth=3, positions=(), names=(), counts=True):
    """A formula, all of whose variables are bound and used."""
    inner = lambda p=positions, n=names: draw(formulas(members, depth - 1, p, n, counts))  # noqa: E731
    kind = draw(st.sampled_from(["atom", "not", "and", "or", "implies", "iff", "all", "some", "names", "count"]))
    of = draw(st.sampled_from(OF)) if members > 1 else None
    tag = output("tag", of)
    if depth == 0 or kind == "atom" or (kind == "count" and not counts) or (kind in ("all", "some") and len(positions) == 2):
        return draw(atoms(members, positions, names))
    if kind in ("all", "some"):
        i = position("ij"[len(positions)])
        part = tag[i].is_in(draw(LABELS), "O") | inner((*positions, i))
        return (for_all if kind == "all" else for_some)(i, part)
    if kind == "names":
        s = "st"[len(names)] if len(names) < 2 else None
        among = draw(st.sampled_from(["letters", ["I-*"], ["b"]]))
        return for_all(name(s, among), tag[1].is_("B-{" + s + "}") >> inner(n=(*names, s))) if s else inner()
    if kind == "count":
        return draw(counts_of(members, of, names))
    if kind == "not":
        return ~inner()
    left, right = inner(), inner()
    return {"and": left & right, "or": left | right, "implies": left >> right, "iff": left.iff(right)}[kind]


@st.composite
def counts_of(draw, members, of, names):
    """A comparison of counts, of outputs and of inputs."""
    k, tag, source = position("k"), output("tag", of), output("source", of)
    at = k + draw(st.integers(-1, 1))
    label = draw(LABELS)
    parts = [
        tag[at].is_(label), ~tag[at].is_(label), tag[k].is_(label) & source[k + 1].is_("u"),
        source[k].is_("v") >> tag[k].is_of("begins"), tag[k].is_("I-{" + names[-1] + "}") if names else tag[k].is_("I-a"),
    ]  # fmt: skip
    left = draw(st.sampled_from([1, 2, -1])) * count(k, draw(st.sampled_from(parts)))
    right = draw(st.sampled_from([0, 1, 2, count(k, source[k].is_("u")) + 1, 2 * count(k, draw(st.sampled_from(parts)))]))
    comparisons = [left.equals(right), left.differs(right), left < right, left <= right, left > right, left >= right]
    return draw(st.sampled_from(comparisons))
