"""Measured beside published: the figures that others got under the same protocol, and whether ours agree with them.

Both sides have a standard error. They agree where |gap| <= max(1 point, 2 sqrt(SE_published^2 + SE_ours^2)); where that bound
is above 2 points, agreement is weak evidence. A disagreement is a question about the protocol, and decides no claim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.config import nearest
from lab.errors import UserError, require
from lab.study.hypotheses import is_number, measure_of, text

if TYPE_CHECKING:
    from lab.comparison.cells import Cell

POINT, WEAK = 0.01, 0.02
"""What counts as no gap, and the bound from which on agreement says little."""
KNOWN = ("source", "measure", "figures")


@dataclass(frozen=True)
class Figure:
    """What was published of one cell in one environment: a mean with its standard error, or the least that is expected."""

    cell: str
    place: str
    mean: float
    error: float | None
    """None for a one-sided target: ``mean`` is the least."""


@dataclass(frozen=True)
class Published:
    """A study's figures from elsewhere."""

    source: str
    measure: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Row:
    """A published figure and ours."""

    figure: Figure
    seeds: int
    mean: float
    error: float
    """Standard error over seeds; NaN below two."""
    lost: int = 0
    """Seeds that have no value: diverged, say. The mean is over the others, and agrees with nothing."""
    interval: tuple[float, float] = (math.nan, math.nan)
    """Of ours, 95 %; NaN below two seeds."""

    @property
    def bound(self) -> float:
        """The largest gap that counts as agreement; NaN without an error of ours."""
        if self.figure.error is None:
            return 0.0
        return math.nan if math.isnan(self.error) else max(POINT, 2 * math.hypot(self.figure.error, self.error))

    @property
    def verdict(self) -> str:
        """``agrees``, ``agrees (weak evidence)``, ``differs``, or why there is none: ``one seed``, or some without a value."""
        if self.lost:
            return f"{self.lost} without a value"
        if self.figure.error is None:
            return "agrees" if self.mean >= self.figure.mean else "differs"
        if math.isnan(self.bound):
            return "one seed"
        if abs(self.mean - self.figure.mean) > self.bound:
            return "differs"
        return "agrees (weak evidence)" if self.bound > WEAK else "agrees"

    def kept(self) -> dict[str, Any]:
        """For programs; NaN is null."""
        own = {"measured": self.mean, "error": self.error, "bound": self.bound}
        return {
            "cell": self.figure.cell,
            "environment": self.figure.place,
            "published": self.figure.mean,
            "published_error": self.figure.error,
            "seeds": self.seeds,
            **{name: _rounded(value) for name, value in own.items()},
            "interval": [_rounded(value) for value in self.interval],
            "verdict": self.verdict,
        }


def published_of(given: Any, measure: str, cells: list[str], places: list[str]) -> Published | None:
    """The section ``published`` of a study's file.

    Args:
        places: names of the study's environments; none where it has only one.

    Raises:
        UserError: names the key, what was given and what is possible.
    """
    if given is None:
        return None
    require(isinstance(given, dict), "published", given, "source and figures")
    for key in given:
        require(key in KNOWN, f"published.{key}", given[key], f"one of the keys {', '.join(KNOWN)}")
    figures = given.get("figures")
    require(isinstance(figures, dict) and bool(figures), "published.figures", figures, "[mean, standard error] by cell")
    found = _figures(figures, cells, places)
    named = measure_of("published.measure", given.get("measure", measure))
    return Published(text("published.source", given.get("source")), named, tuple(found))


def _figures(figures: dict[str, Any], cells: list[str], places: list[str]) -> Iterator[Figure]:
    for place, of_place in figures.items() if places else [("", figures)]:
        if places:
            _known(f"published.figures.{place}", str(place), places)
            require(isinstance(of_place, dict), f"published.figures.{place}", of_place, "figures by cell")
        for cell, value in of_place.items():
            key = ".".join(filter(None, ("published.figures", str(place), str(cell))))
            _known(key, str(cell), cells)
            if isinstance(value, dict) and set(value) == {"at_least"} and is_number(value["at_least"]):
                yield Figure(str(cell), str(place), float(value["at_least"]), None)
                continue
            sound = isinstance(value, list) and len(value) == 2 and all(map(is_number, value)) and value[1] >= 0
            require(sound, key, value, "[mean, standard error], or {at_least: mean}")
            yield Figure(str(cell), str(place), float(value[0]), float(value[1]))


def _known(key: str, name: str, names: list[str]) -> None:
    if name not in names:
        raise UserError(f"{key}: the study has no {name}. {nearest(name, names)}There are {', '.join(names)}")


def beside(published: Published, cells: list[Cell]) -> dict[str, Any]:
    """Ours beside what was published, of the cells that have been run: the record's section ``published``."""
    from lab.statistics import estimate

    rows = []
    for figure in published.figures:
        mine = next((cell for cell in cells if (cell.name, cell.place) == (figure.cell, figure.place)), None)
        values = np.array(list(mine.values(published.measure).values())) if mine else np.array([])
        found = estimate(values)
        if found.n:
            error, lost = found.sd / math.sqrt(found.n), len(values) - found.n
            rows.append(Row(figure, found.n, found.mean, error, lost, (found.low, found.high)).kept())
    return {"source": published.source, "measure": published.measure, "figures": rows}


def lines(section: dict[str, Any]) -> list[str]:
    """A record's section ``published`` as a table in Markdown, in percent; mean ± standard error."""
    places = any(row["environment"] for row in section["figures"])
    head = [*["environment"] * places, "cell", "published", "measured", "95 %", "seeds", "gap", "bound", ""]
    table = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in section["figures"]:
        one_sided = row["published_error"] is None
        theirs = f"at least {100 * row['published']:.2f}" if one_sided else _percent(row["published"], row["published_error"])
        bound = "" if one_sided or row["bound"] is None else f"{100 * row['bound']:.2f}"
        gap = f"{100 * (row['measured'] - row['published']):+.2f}"
        ours = _percent(row["measured"], row["error"])
        ends = [end for end in row.get("interval", ()) if end is not None]  # records from before it was kept have none
        between = f"[{', '.join(f'{100 * end:.2f}' for end in ends)}]" if ends else ""
        place = [row["environment"]] * places
        parts = (*place, row["cell"], theirs, ours, between, str(row["seeds"]), gap, bound, row["verdict"])
        table.append(f"| {' | '.join(parts)} |")
    of = f"{section['measure'].replace('_', ' ')} in percent, mean ± standard error; published: {section['source']}"
    agreeing = sum(row["verdict"].startswith("agrees") for row in section["figures"])
    return [of[0].upper() + of[1:], "", *table, "", f"{agreeing} of {len(section['figures'])} agree."]


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.6g}")


def _percent(mean: float, error: float | None) -> str:
    return f"{100 * mean:.2f}" if error is None else f"{100 * mean:.2f} ± {100 * error:.2f}"
