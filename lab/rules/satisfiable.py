"""Looks at rules before anything is trained: can they be kept at all, and do the labels keep them?

Letters in shapes: N examples, K answers, k members of a group, P places, L tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.rules.exploring import ENOUGH
from lab.rules.layout import PADDING, Layout
from lab.rules.rule import Rule

if TYPE_CHECKING:
    from lab.protocols import Data, Examples

CHUNK = 2**13
"""Answers (or groups of examples) that are looked at in one go."""


def unsatisfiable(rules: Sequence[Rule], layout: Layout) -> tuple[list[str] | None, str]:
    """The names of a smallest set of rules that no answer keeps together (one name: a rule that is never true); none of them if
    some answer keeps all; None where that cannot be told, and in words why.

    All answers are tried, of the shortest sequences first (and all inputs, if a rule looks at them and they are as long as the
    answers), up to :data:`~lab.rules.exploring.ENOUGH`. The members of a group are as long as each other; rules over single
    examples hold for each of them.
    """
    reason = ""
    for kind in dict.fromkeys(rule.over for rule in rules):
        together = [rule for rule in rules if rule.over in (kind, "single")]
        kept, unknown = _kept_together(together, max(rule.arity for rule in together), layout)
        if unknown:
            reason = reason or unknown
            continue
        conflict = _smallest_conflict(kept, len(together))
        if conflict:
            return [together[n].name for n in conflict], ""
    return (None, reason) if reason else ([], "")


def _kept_together(rules: list[Rule], members: int, layout: Layout) -> tuple[set[int], str]:
    """Which of the rules answers keep, as sums of 2^n; why not all answers were looked at, unless one keeps all rules."""
    seen: set[int] = set()
    budget, sourced = ENOUGH, any(rule.looks_at_source for rule in rules)
    if sourced and not layout.decoded and layout.places == _fewest(layout):
        names = ", ".join(rule.name for rule in rules)
        return seen, f"inputs are of any length: whether {names} can be kept together is not tried"
    for shape in _shapes(layout, sourced):
        size = shape.size**members
        budget -= size
        if budget < 0:
            what = f"there are more than {ENOUGH} answers" + (f" of up to {shape.places} places" if layout.places > 1 else "")
            return seen, f"{what}: too many to try whether {', '.join(rule.name for rule in rules)} can be kept together"
        for start in range(0, size, CHUNK):
            numbers = torch.arange(start, min(start + CHUNK, size))
            seen |= _kept(rules, *shape.numbered(numbers, members, layout))
            if 2 ** len(rules) - 1 in seen:
                return seen, ""
    return seen, ""


def _kept(rules: list[Rule], answers: Tensor, inputs: Tensor) -> set[int]:
    """Which sets of rules answers ``[K, k, P]`` to inputs ``[K, k, L]`` keep."""
    real = answers >= 0
    sums = torch.zeros(len(answers), dtype=torch.int64)
    for n, rule in enumerate(rules):
        of = (answers, inputs, real)
        if rule.arity != answers.shape[1]:  # one over single examples: each member by itself
            of = tuple(tensor.flatten(0, 1).unsqueeze(1) for tensor in of)
        sums += (~rule.violated(*of)).view(len(answers), -1).all(1).long() << n
    return set(sums.unique().tolist())


def _smallest_conflict(kept: set[int], rules: int) -> tuple[int, ...]:
    """The smallest set of rules that nothing keeps together; none if all are kept by something."""
    for size in range(1, rules + 1):
        for chosen in itertools.combinations(range(rules), size):
            wanted = sum(1 << n for n in chosen)
            if not any(sums & wanted == wanted for sums in kept):
                return chosen
    return ()


# --- all answers ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Examples of some length: what each of their places, and each of their tokens, may be."""

    classes: tuple[tuple[int, ...], ...]
    tokens: tuple[tuple[int, ...], ...]

    @property
    def places(self) -> int:
        return len(self.classes)

    @property
    def size(self) -> int:
        return math.prod(map(len, self.classes + self.tokens))

    def numbered(self, numbers: Tensor, members: int, layout: Layout) -> tuple[Tensor, Tensor]:
        """Some of all groups of such examples, by number: answers ``[K, k, P]``, -1 behind the end; inputs ``[K, k, L]``."""
        answers = torch.full((len(numbers), members, layout.places), -1)
        inputs = torch.full((len(numbers), members, max(len(self.tokens), layout.source or layout.places)), PADDING)
        for member in range(members):
            for whole, choices in ((answers, self.classes), (inputs, self.tokens)):
                for place, possible in enumerate(choices):
                    whole[:, member, place] = torch.tensor(possible)[numbers % len(possible)]
                    numbers = numbers // len(possible)
        return answers, inputs


def _shapes(layout: Layout, source: bool) -> Iterator[Shape]:
    """All lengths that examples may have, the shortest first; with their inputs if ``source``."""
    anything = tuple(range(1, len(layout.tokens)))
    longest = (layout.source or layout.places) if source and layout.decoded else 0
    lengths = [(places, tokens) for tokens in range(longest + 1) for places in range(_fewest(layout), layout.places + 1)]
    for places, tokens in sorted(lengths, key=sum):
        tokens = places if source and not layout.decoded else tokens
        yield from (Shape(classes, (anything,) * tokens) for classes in _answers_of(layout, places))


def _fewest(layout: Layout) -> int:
    """Places of the shortest example: all labels, and one place of each sequence."""
    return max(output.start + 1 for output in layout.outputs)


def _answers_of(layout: Layout, places: int) -> Iterator[tuple[tuple[int, ...], ...]]:
    """What each place of an answer of so many places may be; data that end themselves end at the last, or do not end."""
    sayable = [tuple(row.nonzero().flatten().tolist()) for row in layout.sayable[:places]]
    if layout.end is None or not layout.decoded:
        yield tuple(sayable)
        return
    before = [tuple(c for c in classes if c != layout.end) for classes in sayable]
    yield (*before[:-1], (layout.end,))
    if places == layout.places:
        yield tuple(before)


# --- labels -----------------------------------------------------------------------------------------------------------


def violations_by_labels(
    rules: Sequence[Rule], data: Data, rows: Tensor | Mapping[str, Tensor], test: bool = False
) -> dict[str, tuple[int, int]]:
    """Of each rule how many groups break it by their labels, of how many whose places all have one.

    Args:
        data: with a layout.
        rows: of ``data.train`` (``data.test``): ``[n]`` of single examples, or ``[n, k]`` by kind of group. Rules over kinds
            that are not there are left out.
    """
    groups = rows if isinstance(rows, Mapping) else {"single": rows}
    examples = data.test if test else data.train
    return {rule.name: _broken(rule, data.layout, examples, groups[rule.over]) for rule in rules if rule.over in groups}


def _broken(rule: Rule, layout: Layout, examples: Examples, rows: Tensor) -> tuple[int, int]:
    broken = labelled = 0
    for some in (rows if rows.dim() == 2 else rows.unsqueeze(1)).split(CHUNK):
        inputs, targets = examples.inputs[some], examples.targets[some].view(*some.shape, layout.places)
        answers = torch.where(targets < 0, layout.end, targets) if layout.decoded else targets
        real = layout.real(inputs, answers)
        told = (targets[..., 0] >= 0 if layout.decoded else (targets >= 0) | ~real).flatten(1).all(-1)
        broken += int((rule.violated(answers, inputs, real) & told).sum())
        labelled += int(told.sum())
    return broken, labelled
