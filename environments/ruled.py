"""What environments with rules over their outputs share: rules from a configuration, which of them each task imposes, and
examples whose labels are not told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from lab.protocols import NO_LABEL, Data, Examples, Layout, Rule, UserError, generator, invalid, number, require

KEY = "environment.rules"
OPTIONS = ("says", "over", "of", "sets", "relations")
SINGLE = {"single": ("it",)}
"""The kind of group that every environment has: each example by itself."""


# --- rules ------------------------------------------------------------------------------------------------------------


def rules_of(
    given: object,
    layout: Layout,
    shipped: Mapping[str, str | Mapping[str, Any]] | None = None,
    groups: Mapping[str, tuple[str, ...]] | None = None,
    sets: Mapping[str, list[str]] | None = None,
    relations: Mapping[str, Any] | None = None,
) -> tuple[Rule, ...]:
    """The environment's own rules, changed and added to by what `environment.rules` gives.

    Args:
        given: ``{name: rule}``: a text; a node with ``says``, and as wanted ``over``, ``of``, ``sets`` and ``relations``, the
            arguments of :class:`Rule`; or None for a shipped rule that is to be left out.
        shipped: the environment's own, likewise.
        groups: kinds of groups beside ``single``, and what the members of one are called where a rule does not say (``of``).
        sets, relations: which all rules may name beside their own.
    """
    kinds = SINGLE | dict(groups or {})
    known = {"sets": dict(sets or {}), "relations": dict(relations or {})}
    nodes = dict(shipped or {}) | _named(given)
    idle = [name for name, node in nodes.items() if node is None and name not in (shipped or {})]
    if idle:
        raise invalid(f"{KEY}.{idle[0]}", "null", "a rule, since there is none of this name that could be left out")
    return tuple(_rule(name, node, layout, kinds, known) for name, node in nodes.items() if node is not None)


def _named(given: object) -> dict[str, Any]:
    """`environment.rules` as a dictionary of usable names: they become those of measures."""
    require(isinstance(given, Mapping), KEY, given, "rules by name, {name: rule}")
    for name in given:
        usable = isinstance(name, str) and re.fullmatch(r"[a-z][a-z0-9_]*", name)
        require(bool(usable), KEY, name, "names of small letters, digits and underscores, beginning with a letter")
    return dict(given)


def _rule(name: str, node: object, layout: Layout, kinds: dict[str, tuple[str, ...]], known: dict[str, dict]) -> Rule:
    """One rule from its node."""
    key = f"{KEY}.{name}"
    options = dict(node) if isinstance(node, Mapping) else {"says": node}
    unknown = [option for option in options if option not in OPTIONS]
    if unknown:
        raise UserError(f"{key}.{unknown[0]}: no option of a rule; these are {', '.join(OPTIONS)}")
    require("says" in options, key, node, "a text, or a node with `says`")
    over = options.get("over", "single")
    require(isinstance(over, str) and over in kinds, f"{key}.over", over, "one of " + ", ".join(kinds))
    of = kinds[over] if options.get("of") is None else options["of"]
    names = isinstance(of, (list, tuple)) and all(isinstance(each, str) for each in of) and len(set(of)) == len(of)
    wanted = f"a list of {len(kinds[over])} different names, as many as {over} have members"
    require(names and len(of) == len(kinds[over]), f"{key}.of", of, wanted)
    of = tuple(of)
    merged = {option: there | _lists(f"{key}.{option}", options.get(option)) for option, there in known.items()}
    return Rule(name, options["says"], layout, over=over, of=of, key=KEY, **merged)


def _lists(key: str, given: object) -> dict[str, Any]:
    """The sets or relations of a rule's node."""
    given = {} if given is None else given
    require(isinstance(given, Mapping), key, given, "lists by name, {name: [...]}")
    for name, rows in given.items():
        require(isinstance(rows, (list, tuple, str, Tensor)), f"{key}.{name}", rows, "a list")
    return dict(given)


# --- tasks ------------------------------------------------------------------------------------------------------------


def imposed(
    given: object, rules: tuple[Rule, ...], tasks: int, arrival: Mapping[str, tuple[int, int]] | None = None
) -> list[tuple[str, ...]]:
    """For each of the tasks, which rules are imposed while it is trained (all are measured, on all tasks).

    Args:
        given: `environment.imposed`, ``{rule: first task, from 1}``, ``{rule: [first, last]}``, or None for a rule that is
            never imposed. Rules not named there are imposed as ``arrival`` says, and else in all tasks.
        arrival: the environment's own ``{rule: (first, last)}``.
    """
    key = "environment.imposed"
    require(isinstance(given, Mapping), key, given, "{rule: first task} or {rule: [first task, last task]}, tasks from 1")
    names = [rule.name for rule in rules]
    for name in given:
        require(name in names, key, name, "names of rules: " + (", ".join(names) or "there is none"))
    spans = dict.fromkeys(names, (1, tasks)) | {n: s for n, s in (arrival or {}).items() if n in names}
    spans |= {name: _span(f"{key}.{name}", span, tasks) for name, span in given.items()}
    return [tuple(name for name in names if spans[name][0] <= task <= spans[name][1]) for task in range(1, tasks + 1)]


def _span(key: str, given: object, tasks: int) -> tuple[int, int]:
    """First and last task, from 1; none at all for None."""
    if given is None:
        return 1, 0
    span = list(given) if isinstance(given, (list, tuple)) else [given, tasks]
    sound = len(span) == 2 and all(isinstance(t, int) and not isinstance(t, bool) for t in span)
    require(
        sound and 1 <= span[0] <= span[1] <= tasks, key, given, f"a task from 1 to {tasks}, [first, last], or null for none"
    )
    return span[0], span[1]


# --- labels -----------------------------------------------------------------------------------------------------------


def share_of_labels(given: object) -> float:
    """`environment.labels`: the share of training examples whose labels are told, above 0 and at most 1."""
    share = number("environment.labels", given, 0, 1)
    require(share > 0, "environment.labels", given, "a number above 0, at most 1: the share of labels that are told")
    return share


def with_unlabelled(data: Data, inputs: Tensor | None = None) -> Data:
    """The data with a copy of each training example behind them that has no label (row ``n + row``): what is shown of examples
    whose labels are not told, so that nothing can look at these.

    Args:
        inputs: ``[n, ...]``, how inputs look where labels are not told; None for as they are.
    """
    train = data.train
    others = {"inputs": train.inputs if inputs is None else inputs, "targets": torch.full_like(train.targets, NO_LABEL)}
    own = {field.name: getattr(train, field.name) for field in fields(train)}
    twice = {name: None if value is None else torch.cat([value, others.get(name, value)]) for name, value in own.items()}
    return replace(data, train=Examples(**twice))


def told(rows: Tensor, share: float, seed: int, task: int) -> tuple[Tensor, Tensor]:
    """Rows ``[n]`` whose labels are told, at least one, and the others, both ascending: drawn from the member's seed; what is
    told of a smaller share is told of a larger one too."""
    order = rows[torch.randperm(len(rows), generator=generator(seed, "labels", task))]
    count = max(1, round(share * len(rows)))
    return order[:count].sort().values, order[count:].sort().values
