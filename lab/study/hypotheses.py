"""What a claim rests on: comparisons of cells, seed by seed, against a margin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab.config import nearest
from lab.errors import UserError, one_of, require
from lab.metrics import MEASURES, is_measure, lower_is_better

KINDS = ("superiority", "noninferiority", "equivalence")
BETWEEN = {"superiority": "better than", "noninferiority": "no worse than", "equivalence": "as good as"}


@dataclass(frozen=True)
class Hypothesis:
    """One comparison that the claim rests on: a weighted sum of cells, seed by seed, against a margin."""

    kind: str
    measure: str
    weights: dict[str, float]
    """By cell; more is better, whatever the measure."""
    margin: float
    words: str
    """The comparison in words: ``er better than naive``."""


def hypotheses(given: dict[str, Any], cells: list[str]) -> Iterator[Hypothesis]:
    """The comparisons that a study's ``test`` names, one for each cell in ``than``.

    Raises:
        UserError: names the key, what was given and what is possible.
    """
    tests = given["test"] if isinstance(given["test"], list) else [given["test"]]
    require(bool(tests), "test", tests, "at least one")
    for node in tests:
        require(isinstance(node, dict), "test", node, "kind, better and than (or contrast), margin")
        measure = measure_of("measure", node.get("measure", given["measure"]))
        others = node["than"] if isinstance(node.get("than"), list) else [node.get("than")]
        require(bool(others), "test.than", others, "a cell, or some")
        for other in others:
            yield _test(node | {"than": other}, measure, cells)


def _test(node: dict[str, Any], measure: str, cells: list[str]) -> Hypothesis:
    known = ("kind", "measure", "better", "than", "contrast", "margin")
    for key in node:
        require(key in known, f"test.{key}", node[key], f"one of the keys {', '.join(known)}")
    kind = one_of("test.kind", node.get("kind"), KINDS)
    margin = node.get("margin", 0.0 if kind == "superiority" else None)
    number = is_number(margin)
    least = "a number from 0 on" if kind == "superiority" else "a number above 0: how much counts as no difference"
    require(number and (margin > 0 or (kind == "superiority" and margin == 0)), "test.margin", margin, least)
    weights, words = _weights(node, kind, measure, cells)
    return Hypothesis(kind, measure, weights, float(margin), words)


def _weights(node: dict[str, Any], kind: str, measure: str, cells: list[str]) -> tuple[dict[str, float], str]:
    """What is summed over the cells, more being better, and the comparison in words."""
    sign = -1.0 if lower_is_better(measure) else 1.0
    if "contrast" in node:
        contrast = node["contrast"]
        sound = isinstance(contrast, dict) and all(map(is_number, contrast.values())) and all(contrast.values())
        sound = sound and abs(sum(contrast.values())) < 1e-9
        least = "a weight for each cell, none 0, which sum to 0, instead of better and than"
        require(sound and "better" not in node and node.get("than") is None, "test.contrast", contrast, least)
        weights = {str(cell): sign * float(weight) for cell, weight in contrast.items()}
        words = " ".join(f"{weight:+g} {cell}" for cell, weight in contrast.items())
    else:
        better, than = str(node.get("better")), str(node.get("than"))
        weights = {better: sign, than: -sign}
        words = f"{better} {BETWEEN[kind]} {than}"
    for cell in weights:
        if cell not in cells:
            raise UserError(f"test: there is no cell {cell}. {nearest(cell, cells)}There are {', '.join(cells)}")
    require(len(weights) > 1, "test", node, "two different cells")
    return weights, words


def is_number(given: Any) -> bool:
    """Whether it is a finite number, and not true or false."""
    return isinstance(given, (int, float)) and not isinstance(given, bool) and math.isfinite(given)


def measure_of(key: str, given: Any) -> str:
    name = text(key, given)
    if not is_measure(name):
        raise UserError(f"{key}={name}: there is no such measure. {nearest(name, MEASURES)}There are {', '.join(MEASURES)}")
    return name


def text(key: str, given: Any) -> str:
    require(isinstance(given, str) and bool(given.strip()), key, given, "a text")
    return " ".join(given.split())
