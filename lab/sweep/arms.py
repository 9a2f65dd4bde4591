"""One arm of a sweep, resolved: the configurations that its trials have, and which settings members may have of their own."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution

from lab.cell import flat
from lab.config import CONF, nearest
from lab.errors import UserError, require
from lab.sweep.question import Asked, Sweep
from lab.sweep.space import Space, Value, contains, is_number, utmost, word

OF_MEMBERS = ("optimizer", "schedule", "averaging", "strategy")
"""Sections with settings that may be a list of one value a member."""


@dataclass(frozen=True)
class Arm:
    """A method with what varies of it.

    Args:
        where: words of where and how, which change no number.
        tuning: words that make the run one of tuning.
    """

    name: str
    words: list[str]
    space: Space
    where: list[str]
    tuning: list[str]

    def config(self, values: dict[str, Value | list[Value]], seeds: list[int], tuning: bool = True) -> dict[str, Any]:
        """The resolved configuration of a run with these values of what varies; a list holds one for each member."""
        from lab.run import composed

        varied = [word(key, value) for key, value in values.items()]
        config = composed(*self.words, *varied, *(self.tuning if tuning else ["evaluation.split=test"]), *self.where)
        config["seeds"] = list(seeds)
        return config

    @cached_property
    def default(self) -> dict[str, Any]:
        """The configuration in which nothing varies."""
        return self.config({}, [0])

    @cached_property
    def usual(self) -> dict[str, Value]:
        """What the default configuration has of what varies, where the space has it."""
        found = {key: self._usual(key, of) for key, of in self.space.items()}
        return {key: value for key, value in found.items() if value is not None}

    def _usual(self, key: str, of: BaseDistribution) -> Value | None:
        if isinstance(of, CategoricalDistribution):  # of a group, what it chooses is in the configuration, and not its name
            return next((value for value in of.choices if self.config({key: value}, [0]) == self.default), None)
        value = at(self.default, key)
        return value if _is_plain(value) and value is not None and contains(of, value) else None

    @cached_property
    def groups(self) -> frozenset[str]:
        """Keys that choose a configuration file (`strategy`, `network`), and with it other keys."""
        return frozenset(key for key, of in self.space.items() if isinstance(of, CategoricalDistribution) and is_group(key))

    def differing(self, values: dict[str, Value]) -> dict[str, str]:
        """What a trial's configuration has otherwise than the one in which nothing varies, by dotted key."""
        usual = dict(flat(self.default))
        mine = dict(flat(self.config(values, [0]))) if self.groups else {key: str(value) for key, value in values.items()}
        return {key: value for key, value in mine.items() if key != "seeds" and usual.get(key) != value}

    @cached_property
    def of_members(self) -> frozenset[str]:
        """Keys of which each member of one population may have a value of its own."""
        return frozenset(key for key in self.space if self._may_differ(key))

    def _may_differ(self, key: str) -> bool:
        """Whether a run takes a list of two values for two members; found out by making its parts."""
        from lab.experiment import Experiment
        from lab.trial import try_strategies

        of, usual = self.space[key], at(self.default, key)
        if key.split(".")[0] not in OF_MEMBERS or not is_number(of) or not _is_plain(usual):
            return False
        values = utmost(of)
        try:
            try_strategies(Experiment(self.config({key: [values[0], values[-1]]}, [0, 1])))
        except (UserError, TypeError, ValueError, RuntimeError):
            return False
        return True


def arm_of(sweep: Sweep, asked: Asked, where: list[str], tuning: list[str]) -> Arm:
    """An arm whose keys are there.

    Raises:
        UserError: a key that there is not, or a value that the run refuses.
    """
    plain = Arm(asked.name, asked.words, {}, where, tuning)
    keys = _told(plain, list(asked.vary))
    known = _keys(plain.default)
    for given, key in keys.items():
        if key not in known and not is_group(key):
            like = nearest(key, _beside(key, known))
            raise UserError(
                f"{sweep.path}: vary.{given}: {asked.name} has no such key. {like}`lab run --cfg job` shows all of them"
            )
    arm = Arm(asked.name, asked.words, {keys[key]: of for key, of in asked.vary.items()}, where, tuning)
    for key, of in arm.space.items():
        require(not (is_group(key) and is_number(of)), f"{sweep.path}: vary.{key}", of, "choice(...) of the names of its files")
    examples = {key: utmost(of)[0] for key, of in arm.space.items()}
    arm.config(examples, [0])  # Hydra knows which values it takes, and which choices there are
    for key in arm.groups:
        for value in arm.space[key].choices[1:]:
            arm.config(examples | {key: value}, [0])
    return arm


def _told(plain: Arm, keys: list[str]) -> dict[str, str]:
    """Keys as `lab run` would take them: `strategy.memory` is an option of the only strategy that is listed."""
    from lab.run import overrides

    told = overrides([*plain.words, *(f"{key}=0" for key in keys)])
    told = [each for each in told if not each.startswith("hydra.searchpath=")][-len(keys) :]
    return {key: re.sub(r"=0$", "", each) for key, each in zip(keys, told, strict=True)}


def is_group(key: str) -> bool:
    """Whether a key chooses a configuration file, of the lab's or of the user's."""
    own = [Path(folder).expanduser() for folder in os.environ.get("LAB_CONFIG", "").split(":") if folder]
    return re.fullmatch(r"[\w/]+", key) is not None and any((folder / key).is_dir() for folder in (CONF, *own))


def _keys(node: dict[str, Any], prefix: str = "") -> list[str]:
    """All dotted keys of a configuration, those of its sections among them."""
    found = []
    for key, value in node.items():
        found.append(f"{prefix}{key}")
        found += _keys(value, f"{prefix}{key}.") if isinstance(value, dict) else []
    return found


def _beside(key: str, known: list[str]) -> list[str]:
    section = key.split(".")[0]
    return [other for other in known if other.startswith(f"{section}.")] or known


def at(config: dict[str, Any], key: str) -> Any:
    """The value at a dotted key; None where there is none."""
    node: Any = config
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _is_plain(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
