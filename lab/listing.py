"""`lab list`: what can be chosen, a line each, read from the first comment of the configuration files alone."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.config import CONF, nearest
from lab.errors import UserError

TITLES = {
    "environment": "environments",
    "environment/source": "sources",
    "strategy": "strategies",
    "network": "networks",
    "optimizer": "optimisers",
    "order": "orders of the data",
    "schedule": "schedules of the learning rate",
    "averaging": "averages of the weights",
    "co_schedule": "orders, schedules and averages together",
    "tracking": "tracking",
    "experiment": "experiments",
}
"""Groups in the order of choosing; others that appear under `conf` follow by name."""

HIDDEN = ("environment/base",)
"""The environments again, as the inner one of a wrapping environment."""


@dataclass(frozen=True)
class Choice:
    """A configuration file."""

    group: str
    name: str
    line: str
    """What it says about itself."""
    chosen_by: str
    """What to type."""
    own: bool
    """Whether it is the user's, and not the lab's."""


def main(arguments: list[str]) -> int:
    """Print the choices of all groups or of one; 0 done, 2 the user's mistake."""
    parser = argparse.ArgumentParser("lab list", description="What can be chosen, a line each.")
    parser.add_argument("group", nargs="?", help="one of them alone: strategy, environment, source, network, ...")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_args(arguments)
    try:
        choices = only(given.group, list(found()))
    except UserError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    print(json.dumps([asdict(choice) for choice in choices], indent=1) if given.json else table(choices))
    return 0


def found() -> Iterator[Choice]:
    """All choices, in the order of :data:`TITLES`, then by name; the lab's own win over the user's, as in Hydra."""
    folders = [CONF, *(Path(folder).expanduser() for folder in os.environ.get("LAB_CONFIG", "").split(":") if folder)]
    seen: dict[tuple[str, str], Choice] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.yaml")):
            group, name = path.parent.relative_to(folder).as_posix(), path.stem
            if group not in (".", *HIDDEN) and (group, name) not in seen:
                seen[group, name] = Choice(group, name, first_comment(path), _typed(group, name), folder is not CONF)
    order = list(TITLES)
    yield from sorted(seen.values(), key=lambda c: (order.index(c.group) if c.group in order else len(order), c.group, c.name))


def first_comment(path: Path) -> str:
    """The first comment line of a file; empty if it begins otherwise."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("#"):
                text = line.lstrip("#").strip()
                if text and not text.startswith("@package"):
                    return text
            elif line.strip():
                break
    return ""


def only(group: str | None, choices: list[Choice]) -> list[Choice]:
    """The choices of a group that is given by its name in `conf`, the last part of it, or its title.

    Raises:
        UserError: there is no such group.
    """
    if group is None:
        return choices
    names = {choice.group: choice.group for choice in choices}
    names |= {choice.group.rpartition("/")[2]: choice.group for choice in choices if "/" in choice.group}
    names |= {title: key for key, title in TITLES.items() if key in names}
    if group not in names:
        possible = ", ".join(dict.fromkeys(names.values()))
        raise UserError(f"lab list {group}: there is no such group. {nearest(group, list(names))}There are {possible}")
    return [choice for choice in choices if choice.group == names[group]]


def table(choices: list[Choice]) -> str:
    """Titles, and under each its choices in columns."""
    lines, width = [], max((len(choice.name) for choice in choices), default=0)
    for group in dict.fromkeys(choice.group for choice in choices):
        own = [choice for choice in choices if choice.group == group]
        lines += ["", f"{TITLES.get(group, group)} ({own[0].chosen_by.partition('=')[0]}=...)"]
        lines += [f"  {c.name:<{width}}  {c.line}{'  [yours]' if c.own else ''}".rstrip() for c in own]
    return "\n".join(lines).lstrip("\n")


def _typed(group: str, name: str) -> str:
    """`environment.source=mnist` is the lab's own way of writing a group within a group."""
    return f"{group.replace('/', '.')}={name}"
