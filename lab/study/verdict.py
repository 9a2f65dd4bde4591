"""From finished cells to a verdict, by the test that the study declared."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lab.comparison.cells import Cell, blocks, spans
from lab.comparison.comparing import contrast, refuse_incomparable
from lab.errors import UserError
from lab.report.sheets import relation
from lab.study.question import Hypothesis, Study

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
    """The largest of the supporting p-values, or the smallest contradicting one."""
    level: float
    parts: list[Part]


def decide(study: Study, cells: list[Cell], seeds: list[int], level: float) -> Verdict:
    """The verdict at a look.

    Args:
        seeds: the seeds that this look decides on.
        level: the two-sided level of the whole family of its comparisons.

    Raises:
        UserError: cells that are not comparable.
    """
    parts = judged([part for test in study.tests for part in _parts(test, cells, seeds)])
    word = word_of(parts, level)
    p = min(part.contradicting_p for part in parts) if word == CONTRADICTED else max(part.supporting_p for part in parts)
    measured = "; ".join(_measured(part, len(blocks(cells)) > 1) for part in parts)
    return Verdict(word, measured, _grounds(word, parts, seeds, level), p, level, parts)


def _parts(test: Hypothesis, cells: list[Cell], seeds: list[int]) -> list[Part]:
    """The test in every environment that has its cells."""
    mine = [group for group in blocks(cells) if set(test.weights) <= {cell.name for cell in group}]
    if not mine:
        refuse_incomparable([cell for cell in cells if cell.name in test.weights])
        raise UserError(f"{test.words}: no environment has all of these cells; `varies` names what may differ between them")
    return [_part(test, group, seeds) for group in mine]


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
    diverged = [f"seed {seed} of {cell.name} diverged" for cell in cells for seed in missing if seed in cell.diverged]
    return "; ".join(diverged) or f"{spans(missing)} without a value"


def judged(parts: list[Part]) -> list[Part]:
    """The parts with their p-values, corrected over all of them."""
    from lab.statistics import holm

    whole = [part for part in parts if not part.lost and len(part.values) > 1]
    supporting = holm([min(1.0, 2 * _supporting(part)) for part in whole])
    contradicting = holm([min(1.0, 2 * _contradicting(part)) for part in whole])
    found = {
        id(part): replace(part, supporting_p=float(p), contradicting_p=float(q))
        for part, p, q in zip(whole, supporting, contradicting, strict=True)
    }
    return [found.get(id(part), part) for part in parts]


def _supporting(part: Part) -> float:
    """One-sided p of the claim: the exact sign-flip test of the difference against the margin."""
    above = _above(part.values, part.threshold)
    return max(above, _above(-part.values, part.threshold)) if part.test.kind == "equivalence" else above


def _contradicting(part: Part) -> float:
    """One-sided p of the claim's contrary."""
    if part.test.kind == "equivalence":
        return min(_above(part.values, part.test.margin), _above(-part.values, part.test.margin))
    return _above(-part.values, -part.threshold)


def _above(values: np.ndarray, threshold: float) -> float:
    from lab.statistics import sign_flip

    return sign_flip(values, shift=threshold, alternative="greater").p


def word_of(parts: list[Part], level: float) -> str:
    """Supported if every part is, contradicted if any is."""
    if any(part.contradicting_p <= level for part in parts):
        return CONTRADICTED
    return SUPPORTED if all(part.supporting_p <= level for part in parts) else UNDECIDED


def _measured(part: Part, several: bool) -> str:
    """``er better than naive in forgetting: .147 [.125, .170], p = .002, 10 seeds``."""
    from lab.statistics import paired

    where = f" ({part.environment})" if several else ""
    margin = f" (margin {part.test.margin:g})" if part.test.margin else ""
    what = f"{part.test.words}{where} in {part.test.measure.replace('_', ' ')}"
    if part.lost or len(part.values) < 2:
        return f"{what}: {part.lost or 'fewer than two seeds'}"
    found = paired(part.values)
    size = f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{what}: {size}{margin}, p {_p(part)}, {found.seeds} seeds"


def _p(part: Part) -> str:
    p = min(part.supporting_p, part.contradicting_p)
    side = "" if part.supporting_p <= part.contradicting_p else " against"
    return f"{relation(p)}{side}"


def _grounds(word: str, parts: list[Part], seeds: list[int], level: float) -> str:
    family = f", Holm's correction over {len(parts)}" if len(parts) > 1 else ""
    test = f"sign-flip test paired by seed, two-sided level {level:.3g}{family}, {len(seeds)} seeds ({spans(seeds)})"
    if word != UNDECIDED:
        return test
    lost = "; ".join(dict.fromkeys(part.lost for part in parts if part.lost))
    return f"{test}; {f'a declared seed is missing: {lost}' if lost else _wanting(parts, level)}"


def _wanting(parts: list[Part], level: float) -> str:
    """How many seeds would decide what these did not, by the part that wants most."""
    from lab.statistics import seeds_needed

    open_parts = [part for part in parts if part.supporting_p > level]
    needs = [_needed(part, seeds_needed, level / len(parts)) for part in open_parts]
    most = max(needs, key=lambda need: need.seeds)
    if math.isinf(most.seeds):
        return "the difference lies on the margin: no number of seeds would decide it"
    between = f"{most.low:.0f} to {'no bound' if math.isinf(most.high) else f'{most.high:.0f}'}"
    return f"about {most.seeds:.0f} seeds would decide a difference like this with 80 % power (95 % interval: {between})"


def _needed(part: Part, seeds_needed, level: float):
    """Of the two edges of an equivalence, the nearer one asks for most."""
    if part.test.kind != "equivalence":
        return seeds_needed(part.values, margin=part.threshold, alpha=level)
    edges = [seeds_needed(part.values, margin=edge, alpha=level) for edge in (-part.test.margin, part.test.margin)]
    return max(edges, key=lambda need: need.seeds)
