"""A comparison as plain tables of words, before they are set in some format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.comparison.findings import Comparison, Difference, Ranks, Summary
from lab.metrics import lower_is_better

DASH = "-"
"""What is undefined; the reason is in the sheet's notes."""

UNBOUNDED = "unbounded"
BEYOND_REACH = 100_000
"""Seeds: of more, how many says nothing to anybody."""

METHODS = {"t": "Student's t", "BCa": "the BCa bootstrap"}


@dataclass(frozen=True)
class Sheet:
    """A table of words."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: list[str]
    best: tuple[int, int] | None = None
    """Row and column of the best mean, where it differs from the baseline's after Holm's correction."""


def sheets(comparison: Comparison) -> list[Sheet]:
    """One for each metric and environment, one of what the data cannot say, and one of ranks for each metric that has them."""
    found = [_means(comparison, m, e) for m in comparison.metrics for e in comparison.environments]
    if comparison.tests:
        found.append(_limits(comparison))
    return [*found, *map(_ranks, comparison.ranks)]


def _means(comparison: Comparison, metric: str, environment: str) -> Sheet:
    """Cells with their means and their differences to the baseline."""
    summaries = [row for row in comparison.cells if (row.metric, row.environment) == (metric, environment)]
    rows = {row.cell: row for row in comparison.differences if (row.metric, row.environment) == (metric, environment)}
    places = decimals([row.estimate.mean for row in summaries])
    header = ["cell", "seeds", "mean [95 %]", "sd", f"difference to {comparison.baseline} [95 %]", "effect d_z [95 %]"]
    header += ["p", "p (Holm)", "Wilcoxon"]
    header += ["p (non-inferior)", "p (equivalent)"] if comparison.margin is not None else []
    lines = [[*_of_cell(row, places), *_of_pairs(rows.get(row.cell), places, comparison.margin)] for row in summaries]
    best = _best(comparison, summaries, rows)
    notes = list(_notes(comparison, summaries, list(rows.values())))
    if best is not None:
        other = comparison.baseline if summaries[best].cell != comparison.baseline else "all others"
        told = f"told apart from {other} at {comparison.alpha:g} after Holm's correction"
        notes.append(f"Bold, or with a star: the best mean, {told}.")
    direction = "lower" if lower_is_better(metric) else "higher"
    title = f"{metric.replace('_', ' ')} ({direction} is better), {environment}"
    return Sheet(title, header, lines, notes, None if best is None else (best, 2))


def _of_cell(row: Summary, places: int) -> list[str]:
    found = row.estimate
    return [row.cell, str(len(row.seeds)), within(found.mean, found.low, found.high, places), number(found.sd, places)]


def _of_pairs(row: Difference | None, places: int, margin: float | None) -> list[str]:
    """Dashes for the baseline, and where there are no pairs."""
    found = row.paired if row else None
    if found is None:
        return [DASH] * (5 if margin is None else 7)
    words = [within(found.difference, found.low, found.high, places)]
    words.append(within(found.effect, found.effect_low, found.effect_high, 2))
    words += map(written_p, (found.p, row.p_holm, found.wilcoxon))
    return words if margin is None else [*words, written_p(row.noninferior_p), written_p(row.equivalent_p)]


def _best(comparison: Comparison, summaries: list[Summary], rows: dict[str, Difference]) -> int | None:
    """The row of the best mean, if it is not the baseline's and differs from that by the test, or all others differ from it."""
    known = [place for place, row in enumerate(summaries) if not math.isnan(row.estimate.mean)]
    if len(known) < 2:
        return None
    sign = -1 if lower_is_better(summaries[0].metric) else 1
    best = max(known, key=lambda place: sign * summaries[place].estimate.mean)
    cell = summaries[best].cell
    against = [rows[cell]] if cell in rows else [rows.get(summaries[place].cell) for place in known if place != best]
    apart = all(row is not None and row.p_holm <= comparison.alpha for row in against)
    return best if apart else None


def _notes(comparison: Comparison, summaries: list[Summary], rows: list[Difference]) -> Iterator[str]:
    """How the numbers were come by, and why there are none where there are dashes."""
    pairs = [row.paired for row in rows if row.paired]
    yield f"Intervals: {_methods([row.estimate for row in summaries] + pairs)}, 95 %."
    if pairs:
        kinds = {"exact" if pair.exact else "sampled" for pair in pairs}
        family = f"Holm's correction over {comparison.tests} comparison{'s' * (comparison.tests != 1)}"
        yield f"p: two-sided sign-flip permutation test ({' and '.join(sorted(kinds))}), paired by seed; {family}."
        yield "Wilcoxon: p of the signed-rank test, a second opinion that decides nothing."
        yield "d_z: the mean difference over the differences' sd, with Hedges' correction."
    if pairs and comparison.margin is not None:
        yield f"Non-inferior and equivalent: one-sided tests with a margin of {comparison.margin:g}, after Holm's correction."
    yield from (f"{row.cell}: {row.without}." for row in summaries if row.without)
    said = {row.cell for row in summaries if row.without}
    yield from (f"{row.cell}, pairs: {row.without}." for row in rows if row.without and row.cell not in said)


def _methods(found: Iterable) -> str:
    names = {METHODS[one.method] for one in found if one.method in METHODS}
    return " and ".join(sorted(names)) or "none, for want of seeds"


def _limits(comparison: Comparison) -> Sheet:
    """What so few seeds cannot show."""
    rows = [row for row in comparison.differences if row.paired]
    wide = len(comparison.metrics) > 1, len(comparison.environments) > 1
    header = ["cell", *(name for name, shown in zip(("metric", "environment"), wide, strict=True) if shown), "pairs"]
    header += ["smallest p", "detectable difference", "observed difference", "seeds to resolve it"]
    lines = []
    for row in rows:
        places = decimals(one.estimate.mean for one in comparison.cells if one.metric == row.metric)
        where = [name for name, shown in zip((row.metric.replace("_", " "), row.environment), wide, strict=True) if shown]
        sizes = [number(row.detectable, places), number(row.paired.difference, places)]
        lines.append([row.cell, *where, str(len(row.values)), written_p(row.smallest_p), *sizes, _seeds(row)])
    notes = [
        f"Against {comparison.baseline}. Smallest p: the least that so many pairs can reach after Holm's correction over "
        f"{comparison.tests} comparison{'s' * (comparison.tests != 1)}; one above {comparison.alpha:g} can decide nothing.",
        "Detectable: the smallest true difference that is found with 80 % power. Seeds to resolve: for a difference as large "
        "as the one observed, with 80 % power, and the interval that its uncertainty leaves.",
    ]
    return Sheet("what these data cannot say", header, lines, notes)


def _seeds(row: Difference) -> str:
    """``12 [9, unbounded]``"""
    if row.needed is None:
        return DASH
    found, low, high = map(seed_count, (row.needed.seeds, row.needed.low, row.needed.high))
    return found if DASH in (found, low, high) else f"{found} [{low}, {high}]"


def seed_count(seeds: float) -> str:
    """How many seeds would be needed, for who reads it.

    >>> seed_count(11.2), seed_count(3e6), seed_count(math.inf), seed_count(math.nan)
    ('12', 'over 100,000', 'unbounded', '-')
    """
    if math.isnan(seeds):
        return DASH
    if seeds > BEYOND_REACH:
        return UNBOUNDED if math.isinf(seeds) else f"over {BEYOND_REACH:,}"
    return str(math.ceil(seeds))


def _ranks(ranks: Ranks) -> Sheet:
    """Average ranks, the best first, and whether a test tells them apart."""
    order = sorted(range(len(ranks.cells)), key=lambda place: ranks.ranks[place])
    lines = [[ranks.cells[place], f"{ranks.ranks[place]:.2f}"] for place in order]
    notes = [f"1 is best. Environments: {'; '.join(ranks.environments)}."]
    if math.isnan(ranks.critical_difference):
        notes.append("No test: it takes three cells and five environments.")
    else:
        notes.append(f"Friedman's test: p {relation(ranks.friedman_p)}. Critical difference: {ranks.critical_difference:.2f}.")
        groups = "; ".join(", ".join(clique) for clique in ranks.cliques if len(clique) > 1)
        notes.append(f"Not told apart by Nemenyi's test: {groups or 'none'}.")
    return Sheet(f"average ranks, {ranks.metric.replace('_', ' ')}", ["cell", "average rank"], lines, notes)


def number(value: float, places: int) -> str:
    """With so many decimals; a dash for what is undefined."""
    if math.isinf(value):
        return UNBOUNDED
    return DASH if math.isnan(value) else _rounded(value, places)


def within(value: float, low: float, high: float, places: int) -> str:
    """``0.912 [0.905, 0.919]``"""
    shown, low, high = (number(one, places) for one in (value, low, high))
    return shown if DASH in (low, high) else f"{shown} [{low}, {high}]"


def _rounded(value: float, places: int) -> str:
    """No minus before what is rounded to zero."""
    return f"{round(value, places) + 0.0:.{places}f}"


def written_p(p: float | None) -> str:
    """``.042``, ``<.001``; a dash for what is undefined."""
    if p is None or math.isnan(p):
        return DASH
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def relation(p: float) -> str:
    """``= .042``, ``< .001``, for a sentence."""
    words = written_p(p)
    return f"< {words[1:]}" if words.startswith("<") else f"= {words}"


def decimals(values: Iterable[float]) -> int:
    """As many as leave three significant digits of the largest value; three for accuracies and other values up to ten."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0 or 0.1 <= largest < 10:
        return 3
    return max(0, 2 - math.floor(math.log10(largest)))
