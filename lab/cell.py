"""What a cell is: which settings and whose code decide its numbers, and how these are said."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

from lab.config import CONF, locate

NOT_IN_DIGEST = ("seeds", "paths", "tracking", "data", "plan", "trainer", "checkpoint")
"""Sections that change neither what is computed nor what it means."""

CONSTANT = {"warmup": 0, "decay": 0.0, "final": 1.0, "shape": "sqrt", "drops": 2, "span": "stream"}
NEWER_OPTIONS: dict[str, Any] = {
    "evaluation.criterion": 0.8,
    "evaluation.at_most": None,
    "evaluation.loss": False,
    "evaluation.constrained": 16,
    "first_tasks": None,
    "averaging": {"_target_": "lab.averaging.Averaging"},
    "order": {"_target_": "lab.order.Uniform"},
    "schedule": {"_target_": "lab.schedules.Schedule"} | CONSTANT,
}
"""Options and sections that came after the first runs, with the value at which a run is what it was without them: there they
are no part of the cell, so that runs of an older lab are found again."""


def digest(*parts: str) -> str:
    """16 hexadecimal digits of a hash over texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def deciding(config: dict[str, Any]) -> dict[str, Any]:
    """The sections of a configuration that decide a run's numbers, without :data:`NEWER_OPTIONS` that say what a lab without
    them did.

    >>> deciding({"seeds": 3, "evaluation": {"split": "test", "criterion": 0.8}})
    {'evaluation': {'split': 'test'}}
    >>> deciding({"evaluation": {"criterion": 0.9}})
    {'evaluation': {'criterion': 0.9}}
    >>> deciding({"first_tasks": None}), deciding({"first_tasks": 2})
    ({}, {'first_tasks': 2})
    """
    kept = {key: value for key, value in config.items() if key not in NOT_IN_DIGEST}
    for key, value in NEWER_OPTIONS.items():
        section, _, name = key.partition(".")
        if not name and section in kept and kept[section] == value:
            del kept[section]
        elif name and name in (kept.get(section) or {}) and kept[section][name] == value:
            kept[section] = {other: given for other, given in kept[section].items() if other != name}
    return kept


def sources(node: Any) -> list[str]:
    """The source texts of all modules that `_target_`s name, and of their neighbours that they import from, sorted: editing a
    method, or what it shares with others of its folder, makes another cell of it."""
    return [inspect.getsource(module) for _, module in sorted(_modules(node).items())]


def _modules(node: Any) -> dict[str, ModuleType]:
    found: dict[str, ModuleType] = {}
    if not isinstance(node, dict):
        return found
    if "_target_" in node:
        _add_with_neighbours(inspect.getmodule(locate("", node["_target_"])), found)
    for value in node.values():
        found |= _modules(value)
    return found


def _add_with_neighbours(module: ModuleType, found: dict[str, ModuleType]) -> None:
    """The module and those below its own folder's package that its names come from; of `lab` itself only the module."""
    folder = module.__name__.rpartition(".")[0]
    found[module.__name__] = module
    homes = {getattr(value, "__module__", None) or getattr(value, "__name__", None) for value in vars(module).values()}
    for name in sorted(
        home for home in homes if isinstance(home, str) and folder not in ("", "lab") and home.startswith(f"{folder}.")
    ):
        if name not in found and name in sys.modules:
            _add_with_neighbours(sys.modules[name], found)


def flat(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a configuration by dotted key, as texts; a part is named by its class.

    >>> dict(flat({"network": {"_target_": "lab.networks.MLP", "width": 256}, "clip": None}))
    {'network': 'MLP', 'network.width': '256', 'clip': 'null'}
    """
    for key, value in node.items():
        if key == "_target_":
            yield prefix.rstrip("."), str(value).rpartition(".")[2]
        elif isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", "null" if value is None else str(value)


def in_words(group: str, node: dict[str, Any] | None) -> str:
    """A section of a configuration as a user would choose it: the choice of its group that is nearest, and what differs.

    >>> in_words("schedule", None)
    'constant'
    >>> in_words("averaging", {"_target_": "lab.averaging.Iterates", "decay": 0.9, "every": 10, "over": "run"})
    'iterates decay=0.9'
    >>> in_words("schedule", {"_target_": "mine.Triangle", "period": 3})
    'Triangle period=3'
    """
    own = dict(flat(NEWER_OPTIONS[group] if node is None else node))
    kind = own.pop("")
    choices = [(name, choice) for name, choice in _choices(group) if choice[""] == kind] or [(kind, {})]
    words = ([name, *(f"{k}={v}" for k, v in own.items() if choice.get(k) != v)] for name, choice in choices)
    return " ".join(min(words, key=len))


@lru_cache
def _choices(group: str) -> list[tuple[str, dict[str, str]]]:
    """The lab's own choices of a group, by name, flat."""
    import yaml

    files = sorted((CONF / group).glob("*.yaml"))
    return [(path.stem, dict(flat(yaml.safe_load(path.read_text(encoding="utf-8"))))) for path in files]


LISTS_OF_A_RUN = ("beside", "rules", "action")
"""Options that are lists for all members, and not of one value a member."""


def for_each_member(key: str, value: Any, count: int) -> bool:
    """Whether an option of optimiser, schedule, averaging or a strategy lists one value for each of ``count`` members."""
    return isinstance(value, list) and len(value) == count and key not in LISTS_OF_A_RUN


def of_each_member(config: dict[str, Any], count: int) -> dict[str, list[Any]]:
    """Settings of optimiser, schedule, averaging and strategies that list a value for each of ``count`` members, by dotted key.

    >>> of_each_member({"optimizer": {"lr": [0.1, 0.2]}, "strategy": {"ewc": {"strength": [1, 2], "factor": 0.5}}}, 2)
    {'optimizer.lr': [0.1, 0.2], 'strategy.ewc.strength': [1, 2]}
    """
    nodes = {section: config.get(section) or {} for section in ("optimizer", "schedule", "averaging")}
    nodes |= {f"strategy.{name}": node or {} for name, node in (config.get("strategy") or {}).items()}
    return {
        f"{prefix}.{key}": value
        for prefix, node in nodes.items()
        for key, value in node.items()
        if for_each_member(key, value, count)
    }


def without_places(node: Any) -> Any:
    """A configuration node without the places where data lie: the data's digest stands for them."""
    if not isinstance(node, dict):
        return node
    return {key: without_places(value) for key, value in node.items() if key not in ("dir", "download", "path")}
