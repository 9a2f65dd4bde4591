"""Words of `lab run` as an experiment file, which chooses what they choose."""

from __future__ import annotations

from typing import Any

import yaml

from lab.sweep.arms import Arm, is_group
from lab.sweep.space import Value, word


def experiment_file(arm: Arm, values: dict[str, Value], header: list[str]) -> str:
    """The text of a file for `experiment=`: groups in its defaults list, settings below, as an arm and its values say."""
    from lab.run import overrides

    words = overrides([*arm.words, *(word(key, value) for key, value in values.items())])
    groups, settings = _sorted(words)
    lines = ["# @package _global_", *(f"# {line}" for line in header)]
    body: dict[str, Any] = {"defaults": [*groups, "_self_"]} if groups else {}
    return "\n".join([*lines, yaml.dump(body | settings, Dumper=_Dumper, sort_keys=False, allow_unicode=True)])


def _sorted(words: list[str]) -> tuple[list[Any], dict[str, Any]]:
    """Choices of groups as entries of a defaults list, and settings as nested keys; of two words for one the last counts."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    experiments, groups, settings = [], {}, {}
    for given in OverridesParser.create().parse_overrides([one for one in words if not one.startswith("hydra.")]):
        key, package, value = given.key_or_group, given.package, given.value()
        if key == "experiment":
            experiments = [value]
        elif is_group(key):
            groups[f"override /{key}{f'@{package}' if package else ''}"] = value
        else:
            _put(settings, key.split("."), value)
    return [*experiments, *({name: value} for name, value in groups.items())], settings


def _put(node: dict[str, Any], names: list[str], value: Any) -> None:
    for name in names[:-1]:
        node = node.setdefault(name, {})
    node[names[-1]] = value


class _Dumper(yaml.SafeDumper):
    """YAML that Hydra reads as it was: numbers like 1e-05 have no point, and are texts to YAML 1.1."""


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.Node:
    text = repr(value)
    return dumper.represent_scalar(
        "tag:yaml.org,2002:float", text if "." in text or "e" not in text else text.replace("e", ".0e")
    )


_Dumper.add_representer(float, _float)
_Dumper.add_multi_representer(str, lambda dumper, value: dumper.represent_str(str(value)))
