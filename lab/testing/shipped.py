"""What the lab ships under `strategy=`, by kind, found in the configuration."""

from __future__ import annotations

import yaml

from lab.config import CONF, locate
from lab.protocols import Method


def shipped(kind: type[Method]) -> list[str]:
    """Names of the strategies that are of a kind: :class:`~lab.protocols.Strategy`, or :class:`~lab.protocols.Engine`."""
    names = sorted(path.stem for path in (CONF / "strategy").glob("*.yaml"))
    nodes = {name: yaml.safe_load((CONF / "strategy" / f"{name}.yaml").read_text(encoding="utf-8"))[name] for name in names}
    return [name for name in names if issubclass(locate(f"strategy.{name}", nodes[name]["_target_"]), kind)]
