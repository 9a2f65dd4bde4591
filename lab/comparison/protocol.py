"""What must be alike for two cells to be comparable: the stream, the budget, the network, the evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.cell import deciding, flat, in_words

SECTIONS = ("environment", "network", "batch_size", "epochs", "steps", "first_tasks", "seed_for", "evaluation", "data")
"""Sections of the configuration that are the question, and not an answer to it; `data` is the digest of what was trained on."""

NO_MATTER = ("evaluation.batch",)
"""Settings below them that change no number."""

OF_CURVES = ("evaluation.every", "evaluation.samples")

IN_WORDS = ("order", "schedule", "averaging")
"""Sections that are one setting, in words: where one is another, all of its options are."""

PLACES = ("dir", "download", "path")
"""Where data lie; their digest stands for them."""


@dataclass(frozen=True)
class Settings:
    """A run's settings, flat, as what it is compared within and what it is compared for."""

    protocol: dict[str, str]
    method: dict[str, str]
    ignored: dict[str, str]
    """What changes no number that is compared."""
    code: str
    """The cell's digest: of the settings, and of the source of the modules that they name. The same settings with another
    method's code are another cell; with another core of the lab they are not, which is noted where runs are merged."""

    @property
    def key(self) -> tuple:
        return self.code, tuple(self.protocol.items()), tuple(self.method.items())


def settings_of(
    config: dict[str, Any], provenance: dict[str, Any], varies: tuple[str, ...] = (), curves: bool = True
) -> Settings:
    """A run's settings, from its resolved configuration and where it comes from.

    Args:
        varies: dotted beginnings of what is counted to the method (``all``: everything).
        curves: whether it matters how the curves inside tasks were recorded.
    """
    trainer = config.get("trainer") or {}
    config = deciding(config)
    config |= {group: in_words(group, config.get(group)) for group in IN_WORDS}
    config["precision"], config["callbacks"] = trainer.get("precision", "32"), trainer.get("callbacks") or {}
    whole = {key: value for key, value in flat(config) if key.rpartition(".")[2] not in PLACES}
    whole["data"] = (provenance.get("data") or {}).get("digest", "?")
    ignored = {key: whole.pop(key) for key in (NO_MATTER if curves else (*NO_MATTER, *OF_CURVES)) if key in whole}
    steady = {key: value for key, value in whole.items() if key.split(".")[0] in SECTIONS and not begins(key, varies)}
    method = {key: value for key, value in whole.items() if key not in steady}
    return Settings(steady, method, ignored, provenance.get("cell", "?"))


def begins(key: str, varies: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of ``varies`` or below it."""
    return any(word == "all" or key == word or key.startswith(f"{word}.") for word in varies)


def differences(one: Settings, other: Settings) -> Iterator[tuple[str, Any, Any]]:
    """``(key, value, value)`` of what differs in the protocols."""
    for key in sorted(one.protocol.keys() | other.protocol.keys()):
        mine, yours = one.protocol.get(key, "-"), other.protocol.get(key, "-")
        if mine != yours:
            yield key, mine, yours
