"""What breaks rules most: which of their groundings, how often, and an example of each."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lab.rules import PADDING, Layout, Rule

SHOWN = 10
"""Groundings of a rule that are kept with the results."""

WITH_EXAMPLES = 3 * SHOWN
"""Of each process: what is among the worst of all members is among these."""


@dataclass
class Broken:
    """How one rule is broken, by each of M members."""

    groups: Tensor
    """int64 ``[M]``: how many were looked at."""
    violated: Tensor
    """int64 ``[M]``: how many of them break it."""
    counts: dict[str, Tensor] = field(default_factory=dict)
    """Of each grounding that is violated anywhere: in how many groups, int64 ``[M]``."""
    examples: dict[str, tuple[int, int, tuple[Tensor, ...]]] = field(default_factory=dict)
    """One of each, the first member's: whose, the task, and inputs ``[k, L]``, answers and which places count ``[k, P]``."""


class Worst:
    """Collects the violated groundings of rules over a run's last evaluation."""

    def __init__(self, layout: Layout, rules: Sequence[Rule], seeds: Sequence[int]):
        self.layout, self.rules, self.seeds = layout, rules, seeds
        nothing = torch.zeros(len(seeds), dtype=torch.int64)
        self.found = {rule.name: Broken(nothing.clone(), nothing.clone()) for rule in rules}

    def add(self, rule: Rule, task: int, there: Tensor, broken: Tensor, *group: Tensor) -> None:
        """Take in groups of a task: whether there are any, and whether they break the rule, bool ``[M, G]``, and their inputs
        ``[M, G, k, L]``, answers and which places count ``[M, G, k, P]``."""
        found, broken = self.found[rule.name], broken & there
        found.groups += there.sum(1).cpu()
        found.violated += broken.sum(1).cpu()
        member, own = broken.nonzero()[:, 0].cpu(), [each[broken] for each in group]
        inputs, answers, real = own
        for name, here in rule.groundings(answers, inputs, real) if len(member) else ():
            here = here.cpu()
            if not bool(here.any()):
                continue
            count = member[here].bincount(minlength=len(self.seeds))
            found.counts[name] = found.counts.get(name, 0) + count
            first = int(here.int().argmax())
            if name not in found.examples or found.examples[name][0] > int(member[first]):
                found.examples[name] = int(member[first]), task, tuple(each[first].cpu() for each in own)

    def told(self) -> dict[str, Any]:
        """As results keep it, of each rule: ``says``, ``over``, ``groups`` and ``violated`` ``[M]``, and ``worst``, the
        groundings in the order of how often they are violated: ``grounding``, ``count`` ``[M]``, ``example`` (or None);
        ``aligned``: whether the labels of a sequence are those of the last tokens, one by one; ``weighed_against``: the task's
        own measure."""
        return {rule.name: self._told(rule, self.found[rule.name]) for rule in self.rules}

    def _told(self, rule: Rule, found: Broken) -> dict[str, Any]:
        order = sorted(found.counts, key=lambda name: (-int(found.counts[name].sum()), name))
        worst = [
            {
                "grounding": name,
                "count": found.counts[name].tolist(),
                "example": self._example(*found.examples[name]) if place < WITH_EXAMPLES else None,
            }
            for place, name in enumerate(order)
        ]
        counts = {"groups": found.groups.tolist(), "violated": found.violated.tolist()}
        layout = {"aligned": not self.layout.decoded, "weighed_against": self.layout.metric}
        return {"says": rule.text, "over": rule.over, **layout, **counts, "worst": worst}

    def _example(self, member: int, task: int, group: tuple[Tensor, ...]) -> dict[str, Any]:
        of_each = [in_words(self.layout, *each) for each in zip(*group, strict=True)]
        return {"seed": self.seeds[member], "task": task, "examples": of_each}


def in_words(layout: Layout, inputs: Tensor, answers: Tensor, real: Tensor) -> dict[str, Any]:
    """An example by the names of its tokens and answers: inputs ``[L]``, answers and which places count ``[P]``; a stroke where
    there is padding between tokens, as between the sentences of a pair."""
    tokens = inputs[: layout.source].tolist() if layout.tokens else []
    gaps = itertools.groupby(tokens, lambda token: token == PADDING)
    parts = [[layout.tokens[token] for token in part] for gap, part in gaps if not gap]
    words = [word for number, part in enumerate(parts) for word in (["|"] if number else []) + part]
    said = {}
    for output in layout.outputs:
        places = slice(output.start, output.stop)
        own = zip(answers[places].tolist(), real[places].tolist(), strict=True)
        names = [_name(output.classes, number - output.first) for number, counts in own if counts]
        said[output.name] = names if output.sequence else next(iter(names), None)
    return {"tokens": words, "answers": said}


def _name(classes: tuple[str, ...], number: int) -> str:
    return classes[number] if 0 <= number < len(classes) else "?"


def together(parts: Sequence[tuple[dict[str, Any] | None, int]], order: Sequence[int]) -> dict[str, Any] | None:
    """What parts of a run tell, each with its number of members, of the members in ``order`` among all of them; None where it
    is not known of some."""
    told = [part for part, _ in parts]
    if not told or not all(told):
        return None
    return {name: _joint([part[name] for part in told], [n for _, n in parts], order) for name in told[0]}


def _joint(parts: list[dict[str, Any]], sizes: list[int], order: Sequence[int]) -> dict[str, Any]:
    def of_members(lists: list[list[int]]) -> list[int]:
        values = [value for own in lists for value in own]
        return [values[place] for place in order]

    by_name = [{one["grounding"]: one for one in part["worst"]} for part in parts]
    worst = []
    for name in dict.fromkeys(name for own in by_name for name in own):
        nothing = ({"count": [0] * size, "example": None} for size in sizes)
        found = [own.get(name, none) for own, none in zip(by_name, nothing, strict=True)]
        count = of_members([one["count"] for one in found])
        if sum(count):
            examples = [one["example"] for one in found if one["example"]]
            worst.append(
                {"grounding": name, "count": count, "example": min(examples, key=lambda one: one["seed"], default=None)}
            )
    worst.sort(key=lambda one: (-sum(one["count"]), one["grounding"]))
    counts = {what: of_members([part[what] for part in parts]) for what in ("groups", "violated")}
    return parts[0] | counts | {"worst": worst}


def worst_alone(told: dict[str, Any] | None) -> dict[str, Any] | None:
    """The groundings that are kept with the results."""
    return told and {name: rule | {"worst": rule["worst"][:SHOWN]} for name, rule in told.items()}
