"""The language of rules: a text becomes the tree of :mod:`lab.rules.formula`. What names mean is looked at later
(:mod:`lab.rules.checking`); what cannot be read is an error that shows the place."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from lark import Lark, Token, Transformer, v_args
from lark.exceptions import UnexpectedInput

from lab.errors import UserError
from lab.rules import formula as tree
from lab.rules.formula import WORD, Formula, Label, Span

GRAMMAR = rf"""
start: either
?either: implied (IFF implied)*
?implied: any (IMPLIES implied)?
?any: all ("or" all)*
?all: one ("and" one)*
?one: "not" one -> negated
    | "for" QUANTITY bound ("," bound)* ":" either -> quantified
    | "(" either ")"
    | place SIGN right -> compared
    | shifted SIGN right -> compared
    | place "in" names -> among
    | place "not" "in" names -> not_among
    | NAME "(" place ("," place)* ")" -> related
    | sum SIGN sum -> counted

bound: NAME ("in" names)?
names: "{{" label ("," label)* "}}" | NAME
?label: WORD -> word | TEXT -> text
place: NAME ("." NAME)? ("[" index "]")?
shifted: NAME SHIFT NUMBER
index: NAME (SHIFT NUMBER)? | NUMBER -> fixed
right: WORD -> word
     | TEXT -> text
     | WORD "[" index "]" -> right_place
     | WORD SHIFT NUMBER -> right_shifted
sum: SHIFT? term (SHIFT term)*
term: NUMBER ("*" count)? | count
count: "count" "(" NAME ":" either ")"

QUANTITY: "all" | "some"
IMPLIES: "->"
IFF: "<->"
SIGN: "<=" | ">=" | "!=" | "=" | "<" | ">"
SHIFT: "+" | "-"
NAME: /[A-Za-z_]\w*/
NUMBER: /[0-9]+/
WORD: /{WORD.replace("/", chr(92) + "/")}/
TEXT: /"(?:[^"\\\n]|\\.)*"/
%ignore /\s+/
%ignore /#[^\n]*/
"""

IN_WORDS = {
    "NAME": "a name", "WORD": "a class name", "TEXT": 'a class name in "..."', "NUMBER": "a whole number", "SIGN": "= or !=",
    "SHIFT": "+ or -", "QUANTITY": "all or some", "IMPLIES": "->", "IFF": "<->", "LPAR": "(", "RPAR": ")", "LSQB": "[",
    "RSQB": "]", "LBRACE": "{", "RBRACE": "}", "COLON": ":", "COMMA": ",", "DOT": ".", "STAR": "*", "$END": "its end",
}  # fmt: skip
"""What errors call the kinds of words that could have come next; keywords are called by themselves."""


LONGEST_NUMBER = 6
"""Digits."""


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=False)


def parse(text: str, key: str, places: Collection[str] = ()) -> Formula:
    """The tree of a text; ``places``: what stands for an answer and not for a class (``label``, ``ab.label``).

    Raises:
        UserError: naming ``key`` and showing the place.
    """
    try:
        found = _parser().parse(text)
        for number in found.scan_values(lambda token: token.type == "NUMBER" and len(token) > LONGEST_NUMBER):
            span = (number.start_pos, number.end_pos)
            raise problem(key, text, span, f"a number of {len(number)} digits; expected at most {LONGEST_NUMBER}")
        read = _Builder().transform(found)
        return _Settling(text, key, frozenset(places)).settled(read, frozenset())
    except UnexpectedInput as error:
        at = min(getattr(error, "pos_in_stream", None) or 0, len(text))
        if isinstance(getattr(error, "token", None), Token) and error.token.type == "$END":
            at = len(text)
        raise problem(key, text, (at, at + 1), f"cannot be read here; {_expected(error)}") from error


def _expected(error: UnexpectedInput) -> str:
    expected = set(getattr(error, "accepts", None) or getattr(error, "expected", None) or getattr(error, "allowed", None) or ())
    words = sorted(IN_WORDS.get(kind, kind.lower()) for kind in expected)
    return "what could come: " + ", ".join(words)


def problem(key: str, text: str, span: Span | None, what: str) -> UserError:
    """The error for something at a place in a rule's text: what it is, line and column, and the line with a caret under it."""
    start, end = span or (0, len(text))
    line, before = text.count("\n", 0, start), text.rfind("\n", 0, start) + 1
    shown = (text[before:].split("\n") or [""])[0]
    width = max(1, min(end - start, len(shown) - (start - before)))
    caret = " " * (start - before) + "^" * width
    return UserError(f"{key}: {what} (line {line + 1}, column {start - before + 1})\n    {shown}\n    {caret}")


@v_args(meta=True)
class _Builder(Transformer):
    """From lark's tree to ours."""

    def start(self, meta, parts):
        return parts[0]

    def either(self, meta, parts):
        told = [part for part in parts if not isinstance(part, Token)]
        left = told[0]
        for right in told[1:]:
            left = tree.Iff(left, right, where=_span(meta))
        return left

    def implied(self, meta, parts):
        return tree.Implies(parts[0], parts[2], where=_span(meta)) if len(parts) == 3 else parts[0]

    def any(self, meta, parts):
        return tree.disjunction(parts, _span(meta))

    def all(self, meta, parts):
        return tree.conjunction(parts, _span(meta))

    def negated(self, meta, parts):
        return tree.Not(parts[0], where=_span(meta))

    def quantified(self, meta, parts):
        word, *bound, part = parts
        return tree.Quantified(str(word), tuple(bound), part, where=_span(meta))

    def bound(self, meta, parts):
        return tree.Bound(str(parts[0]), parts[1] if len(parts) > 1 else None, where=_span(meta))

    def names(self, meta, parts):
        return str(parts[0]) if isinstance(parts[0], Token) else tuple(parts)

    def word(self, meta, parts):
        return Label(str(parts[0]), where=_span(meta))

    def text(self, meta, parts):
        plain = str(parts[0])[1:-1].replace('\\"', '"').replace("\\\\", "\\")
        return Label.quoted(plain, where=_span(meta))

    def place(self, meta, parts):
        index = parts.pop() if isinstance(parts[-1], tree.Index) else None
        member = str(parts[0]) if len(parts) == 2 else None
        return tree.Place(str(parts[-1]), index, member, where=_span(meta))

    def index(self, meta, parts):
        offset = int("".join(parts[1:])) if len(parts) > 1 else 0
        return tree.Index(str(parts[0]), offset, where=_span(meta))

    shifted = index

    def fixed(self, meta, parts):
        return tree.Index(None, int(parts[0]), where=_span(meta))

    def right_place(self, meta, parts):
        member, _, output = str(parts[0]).rpartition(".")
        return tree.Place(output, parts[1], member or None, where=_span(meta))

    def right_shifted(self, meta, parts):
        return self.index(meta, parts)

    def compared(self, meta, parts):
        left, sign, right = parts
        return Compared(left, str(sign), right, where=_span(meta))

    def among(self, meta, parts):
        return tree.Among(parts[0], parts[1], where=_span(meta))

    def not_among(self, meta, parts):
        return tree.Not(self.among(meta, parts), where=_span(meta))

    def related(self, meta, parts):
        return tree.Related(str(parts[0]), tuple(parts[1:]), where=_span(meta))

    def counted(self, meta, parts):
        left, sign, right = parts
        return tree.Counted(left, str(sign), right, where=_span(meta))

    def sum(self, meta, parts):
        total, sign = tree.Sum(()), 1
        for part in parts:
            if isinstance(part, Token):
                sign = -1 if part == "-" else 1
            else:
                total, sign = total + sign * part, 1
        return replace(total, where=_span(meta))

    def term(self, meta, parts):
        numbers = [int(part) for part in parts if isinstance(part, Token)]
        counts = [part for part in parts if isinstance(part, tree.Count)]
        times = numbers[0] if numbers else 1
        return tree.Sum(((times, counts[0]),)) if counts else tree.Sum((), times)

    def count(self, meta, parts):
        return tree.Count(str(parts[0]), parts[1], where=_span(meta))


def _span(meta) -> Span:
    return (meta.start_pos, meta.end_pos)


# --- what a comparison compares: known only where its variables are bound ---------------------------------------------


@dataclass(frozen=True)
class Compared:
    """``left sign right``, of positions or of places, as read."""

    left: tree.Place | tree.Index
    sign: str
    right: Label | tree.Place | tree.Index
    where: Span | None = None


@dataclass(frozen=True)
class _Settling:
    """Puts in place of each :class:`Compared` what it is."""

    text: str
    key: str
    places: frozenset[str]

    def settled(self, node: Any, bound: frozenset[str]) -> Any:
        """The tree beneath a node, where these variables of positions are bound."""
        if isinstance(node, tuple):
            return tuple(self.settled(part, bound) for part in node)
        if isinstance(node, Compared):
            return self._compared(node, bound)
        if isinstance(node, tree.Quantified):
            bound = bound | {variable.name for variable in node.bound if variable.names is None}
        if isinstance(node, tree.Count):
            bound = bound | {node.variable}
        if not isinstance(node, (Formula, tree.Sum, tree.Count)):
            return node
        return replace(node, **{part.name: self.settled(getattr(node, part.name), bound) for part in fields(node)})

    def _compared(self, node: Compared, bound: frozenset[str]) -> Formula:
        left = node.left
        if isinstance(left, tree.Place) and left.output in bound and not (left.index or left.member):
            left = tree.Index(left.output, where=left.where)
        if isinstance(left, tree.Index):
            return tree.Order(left, node.sign, self._position(node.right), where=node.where)
        if node.sign not in ("=", "!="):
            what = f"`{node.sign}` is between positions or counts, and `{left}` is a class: write = or !="
            raise problem(self.key, self.text, node.where, what)
        right = self._answer(node.right)
        same = isinstance(right, tree.Place)
        atom = tree.Same(left, right, where=node.where) if same else tree.Among(left, (right,), where=node.where)
        return atom if node.sign == "=" else tree.Not(atom, where=node.where)

    def _position(self, right: Label | tree.Place | tree.Index) -> tree.Index:
        parts = re.fullmatch(r"([A-Za-z_]\w*|\d+)([+-]\d+)?", right.text) if isinstance(right, Label) else None
        if isinstance(right, tree.Index):
            return right
        if parts is None:
            raise problem(self.key, self.text, right.where, f"`{right}` is no position: expected one such as i, i+1 or 0")
        variable = None if parts[1].isdigit() else parts[1]
        return tree.Index(variable, int(parts[2] or 0) + (0 if variable else int(parts[1])), where=right.where)

    def _answer(self, right: Label | tree.Place | tree.Index) -> Label | tree.Place:
        if isinstance(right, tree.Index):
            raise problem(self.key, self.text, right.where, f"`{right}` is a position: expected a class or an output")
        if isinstance(right, Label) and not right.exact and right.text in self.places and self.text[right.where[0]] != '"':
            member, _, output = right.text.rpartition(".")
            return tree.Place(output, None, member or None, where=right.where)
        return right
