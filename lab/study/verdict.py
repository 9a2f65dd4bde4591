"""From finished cells to a verdict, by the test that the study declared."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace

import numpy as np

from lab.comparison.cells import Cell, blocks, spans
from lab.comparison.comparing import contrast, refuse_incomparable
from lab.errors import UserError
from lab.report.sheets import relation, seed_count
from lab.study.hypotheses import Hypothesis
from lab.study.question import Study

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


@dataclass(frozen=True)
class Part:
    """One of the comparisons that a claim rests on, in one environment."""

    test: Hypothesis
    environment: str
    values: np.ndarray
    """``[n]``, seed by seed; more is better."""
    lost: str = ""
    """Declared seeds without a value, and why; then nothing is decided."""
    supporting_p: float = 1.0
    """Two-sided, after Holm: that the claim holds is no chance."""
    contradicting_p: float = 1.0
    """The same of its contrary."""

    @property
    def threshold(self) -> float:
        """What the difference must exceed for the claim to hold; for an equivalence, from below."""
        return self.test.margin if self.test.kind == "superiority" else -self.test.margin


@dataclass(frozen=True)
class Verdict:
    """What a look came to."""

    word: str
    measured: str
    decides: str
    """What the verdict rests on; for an undecided one, how many seeds would decide."""
    p: float
    """The largest of the supporting p-values or the smallest contradicting one, whichever is smaller."""
    level: float
    data: str
    """A digest of the values that it rests on."""


def parts_of(study: Study, cells: list[Cell], seeds: list[int]) -> list[Part]:
    """The values of every test in every environment at these seeds, before anything is decided by them.

    Raises:
        UserError: a measure that a cell does not have; cells that are not comparable.
    """
    places = list(dict.fromkeys(study.places.values()))
    return [_part(test, _block(test, place, cells), seeds) for test in study.tests for place in places]


def data_of(parts: list[Part]) -> str:
    """A digest of the values; the same for code that gives the same numbers."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(
            f"{part.test.words}\0{part.test.measure}\0{part.environment}\0{part.lost}\0".encode() + part.values.tobytes()
        )
    return whole.hexdigest()[:16]


def decide(parts: list[Part], seeds: list[int], level: float) -> Verdict:
    """The verdict at a look.

    Args:
        seeds: the seeds that this look decides on.
        level: the two-sided level of the whole family of its comparisons.
    """
    judged_parts = judged(parts)
    word = word_of(judged_parts, level)
    p = min(max(part.supporting_p for part in judged_parts), min(part.contradicting_p for part in judged_parts))
    measured = "; ".join(_measured(part, len({part.environment for part in parts}) > 1) for part in judged_parts)
    return Verdict(word, measured, _grounds(word, judged_parts, seeds, level), p, level, data_of(parts))


def _block(test: Hypothesis, place: str, cells: list[Cell]) -> list[Cell]:
    """The test's cells in an environment; they must be comparable, or there would be a verdict without it."""
    mine = [cell for cell in cells if cell.place == place and cell.name in test.weights]
    groups = blocks(mine)
    if len(groups) == 1 and len(mine) == len(test.weights):
        return mine
    refuse_incomparable(mine)
    where = f" in {place}" if place else ""
    have = ", ".join(cell.name for cell in cells if cell.place == place)
    raise UserError(f"{test.words}: there is not one cell of each name{where} ({have}); `varies` says what may differ")


def _part(test: Hypothesis, group: list[Cell], seeds: list[int]) -> Part:
    chosen = [next(cell for cell in group if cell.name == name) for name in test.weights]
    for cell in chosen:
        if test.measure not in cell.results.metrics:
            known = ", ".join(cell.results.metrics)
            raise UserError(f"measure={test.measure}: {cell.name} has no such measure; it has {known}")
    have, values = contrast(chosen, list(test.weights.values()), test.measure)
    missing = sorted(set(seeds) - set(have))
    return Part(test, group[0].environment, values, _lost(chosen, test.measure, missing) if missing else "")


def _lost(cells: list[Cell], measure: str, missing: list[int]) -> str:
    for cell in cells:
        if measure in cell.results.undefined:
            return f"{measure} of {cell.name} is undefined, {cell.results.undefined[measure]}"
    diverged = {cell.name: [seed for seed in missing if seed in cell.diverged] for cell in cells}
    told = [f"{spans(seeds)} of {name} diverged" for name, seeds in diverged.items() if seeds]
    return "; ".join(told) or f"{spans(missing)} without a value"


def judged(parts: list[Part]) -> list[Part]:
    """The parts with their p-values, corrected over all of them; one that lost a seed says nothing, but counts."""
    from lab.statistics import holm

    supporting = holm([min(1.0, 2 * _supporting(part)) for part in parts])
    contradicting = holm([min(1.0, 2 * _contradicting(part)) for part in parts])
    return [
        replace(part, supporting_p=float(p), contradicting_p=float(q))
        for part, p, q in zip(parts, supporting, contradicting, strict=True)
    ]


def _supporting(part: Part) -> float:
    """One-sided p of the claim: exact sign-flip tests of the difference against the margin."""
    from lab.statistics import equivalent, superior

    if part.lost or len(part.values) < 2:
        return 1.0
    return (
        equivalent(part.values, part.test.margin) if part.test.kind == "equivalence" else superior(part.values, part.threshold)
    )


def _contradicting(part: Part) -> float:
    """One-sided p of the claim's contrary."""
    from lab.statistics import superior

    if part.lost or len(part.values) < 2:
        return 1.0
    if part.test.kind == "equivalence":
        return min(superior(part.values, part.test.margin), superior(-part.values, part.test.margin))
    return superior(-part.values, -part.threshold)


def word_of(parts: list[Part], level: float) -> str:
    """Supported if every part is, contradicted if any is."""
    if any(part.contradicting_p <= level for part in parts):
        return CONTRADICTED
    return SUPPORTED if all(part.supporting_p <= level for part in parts) else UNDECIDED


def _measured(part: Part, several: bool) -> str:
    """``er better than naive in forgetting: better by +0.147 [+0.125, +0.170] (margin 0.05), p = .002, 10 seeds``."""
    from lab.statistics import paired

    where = f" ({part.environment})" if several else ""
    margin = f" (margin {part.test.margin:g})" if part.test.margin else ""
    what = f"{part.test.words}{where} in {part.test.measure.replace('_', ' ')}"
    if part.lost or len(part.values) < 2:
        return f"{what}: {part.lost or 'fewer than two seeds'}"
    found = paired(part.values)
    size = f"better by {found.difference:+z.3f} [{found.low:+z.3f}, {found.high:+z.3f}]"
    return f"{what}: {size}{margin}, p {_p(part)}, {found.seeds} seeds"


def _p(part: Part) -> str:
    p = min(part.supporting_p, part.contradicting_p)
    side = "" if part.supporting_p <= part.contradicting_p else " against"
    return f"{relation(p)}{side}"


def _grounds(word: str, parts: list[Part], seeds: list[int], level: float) -> str:
    """The test, its level, its seeds and what it assumes; for an undecided claim, what would decide."""
    family = f", Holm's correction over {len(parts)}" if len(parts) > 1 else ""
    test = f"sign-flip test paired by seed, two-sided level {level:.3g}{family}, {len(seeds)} seeds ({spans(seeds)})"
    if any(part.test.margin for part in parts):
        test += ", differences taken to be symmetric about the margin"
    if word != UNDECIDED:
        return test
    lost = "; ".join(dict.fromkeys(part.lost for part in parts if part.lost))
    return f"{test}; {f'a declared seed is missing: {lost}' if lost else _wanting(parts, level)}"


def _wanting(parts: list[Part], level: float) -> str:
    """How many seeds would decide what these did not, by the part that wants most."""
    needs = [_needed(part, level / len(parts)) for part in parts if part.supporting_p > level]
    most = max(needs, key=lambda need: need.seeds)
    if math.isinf(most.seeds):
        return "the difference lies on the margin, or the level is beyond reach: no number of seeds would decide it"
    number, low, high = map(seed_count, (most.seeds, most.low, most.high))
    return f"{number} seeds would decide a difference like this with 80 % power (95 % interval: {low} to {high})"


def _needed(part: Part, level: float):
    from lab.statistics import seeds_for_equivalence, seeds_needed

    if part.test.kind == "equivalence":
        return seeds_for_equivalence(part.values, part.test.margin, alpha=level)
    return seeds_needed(part.values, margin=part.threshold, alpha=level)
