"""What a sweep varies as an axis of a figure: linear, logarithmic, or choices side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LONGEST = 16
"""Characters of a choice on an axis."""


@dataclass(frozen=True)
class Axis:
    """One setting that varies, from its lowest to its highest value, or over its choices."""

    key: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple[Any, ...] | None = None

    def places(self, values: Iterable[Any]) -> np.ndarray:
        """Where values are on the axis, 0 its begin and 1 its end; choices are in the middles of equal parts.

        >>> Axis("lr", 0.001, 0.1, log=True).places([0.001, 0.01]).tolist()
        [0.0, 0.5]
        >>> Axis("memory", choices=(200, 500)).places([500]).tolist()
        [0.75]
        """
        if self.choices is not None:
            known = [str(choice) for choice in self.choices]
            return (np.array([known.index(str(value)) for value in values], dtype=float) + 0.5) / len(known)
        low, high, given = self._straight(self.low), self._straight(self.high), self._straight(list(values))
        return (given - low) / (high - low) if high > low else np.full_like(given, 0.5)

    def ticks(self) -> list[tuple[float, str]]:
        """Places with what stands at them: each choice, decades of a logarithmic axis, or both ends and the middle."""
        if self.choices is not None:
            values: list[Any] = list(self.choices)
        else:
            values = self._decades() if self.log else []
            values = values if len(values) > 1 else self._ends()
        return list(zip(self.places(values).tolist(), map(shown, values), strict=True))

    def _straight(self, values: Any) -> np.ndarray:
        return np.log10(np.asarray(values, dtype=float)) if self.log else np.asarray(values, dtype=float)

    def _decades(self) -> list[float]:
        first, last = int(np.ceil(np.log10(self.low) - 1e-9)), int(np.floor(np.log10(self.high) + 1e-9))
        return [10.0**power for power in range(first, last + 1, max(1, (last - first) // 4))]

    def _ends(self) -> list[float]:
        middle = (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2
        return list(dict.fromkeys((self.low, middle, self.high)))


def axis_of(key: str, distribution: BaseDistribution) -> Axis:
    """The axis of a setting that Optuna draws from this distribution."""
    choices = getattr(distribution, "choices", None)
    if choices is not None:
        return Axis(key, choices=tuple(choices))
    return Axis(key, float(distribution.low), float(distribution.high), distribution.log)


def shown(value: Any) -> str:
    """A value in few characters: three digits of a number, the beginning of what is long.

    >>> shown(0.0316227766), shown(500), shown(None), shown(True)
    ('0.0316', '500', 'null', 'True')
    """
    if value is None:
        return "null"
    if isinstance(value, float):
        return f"{value:.3g}"
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def words(objective: str) -> str:
    """An objective as it is called in a figure.

    >>> words("cost.state_bytes")
    'state bytes'
    """
    return objective.removeprefix("cost.").replace("_", " ")
