"""What a page says first: the verdict of a study, or what the comparison found, in sentences."""

from __future__ import annotations

from typing import Any

from lab.comparison.cells import spans
from lab.comparison.findings import Comparison, Difference
from lab.report.page.facts import Table
from lab.report.sheets import decimals, relation, within, written_p

MARKS = {"supported": "✓", "contradicted": "✗", "undecided": "?"}

MOST_ANSWERS = 8
"""Sentences before the tables, which have them all."""


def of_study(study: dict[str, Any], title: str) -> dict[str, Any]:
    """A study's record as the page shows it; whatever it lacks is left out."""
    word = str(study["verdict"])
    return {
        "name": study["name"],
        "family": study.get("family"),
        "claim": None if study["claim"] == title else study["claim"],
        "verdict": word,
        "mark": MARKS.get(word, "?"),
        "sure": word if word in MARKS else "undecided",
        "measured": study["measured"].split("; "),  # a test each
        "decides": study.get("decides"),
        "scale": study.get("scale"),
        "facts": list(_declared(study)),
        "looks": _looks(study.get("looks") or []),
    }


def _declared(study: dict[str, Any]) -> Any:
    """``(what, which)``: what was declared before anything was run."""
    declared = study.get("declaration") or {}
    for test in declared.get("tests", []):
        yield "test", _test(test)
    if declared.get("alpha") is not None:
        kept = f", of which {declared['reserve']:g} is kept for looks not declared" if declared.get("reserve") else ""
        yield "level", f"{declared['alpha']:g}{kept}"
    if study.get("seeds"):
        yield "seeds", f"{len(study['seeds'])}: {spans(study['seeds']).partition(' ')[2]}"
    if study.get("minutes"):
        known = {key: study["minutes"].get(key) for key in ("declared", "measured")}
        yield "cost", ", ".join(f"{count:g} minutes {key}" for key, count in known.items() if count is not None)


def _test(test: dict[str, Any]) -> str:
    parts = [test["words"], test["measure"].replace("_", " "), test["kind"], f"margin {test['margin']:g}"]
    return ", ".join(parts[: None if test["margin"] else -1])


def _looks(looks: list[dict[str, Any]]) -> Table | None:
    header = ["look", "seeds", "p", "level", "verdict", "date", "commit"]
    rows = [("", _look(number, look)) for number, look in enumerate(looks, 1)]
    return Table("Every look at the figures", header, rows) if rows else None


def _look(number: int, look: dict[str, Any]) -> list[str]:
    seeds = spans(look["seeds"]).partition(" ")[2] if look.get("seeds") else "-"
    small = [written_p(float(look[key])) if look.get(key) is not None else "-" for key in ("p", "level")]
    kind = f" ({look['kind']})" if look.get("kind") else ""
    when = [str(look.get("date") or "-"), str(look.get("commit") or "-")[:7]]
    return [f"{number}{kind}", seeds, *small, str(look.get("verdict", "-")), *when]


def answers(comparison: Comparison) -> list[tuple[str, str]]:
    """What was found about each cell, in a sentence, with the name of the cell; the rest is counted."""
    rows = [row for row in comparison.differences if row.paired]
    several = len(comparison.environments) > 1
    places = {
        metric: decimals([row.paired.difference for row in rows if row.metric == metric]) for metric in comparison.metrics
    }
    said = [(row.cell, _answer(row, comparison.alpha, places[row.metric], several)) for row in rows[:MOST_ANSWERS]]
    more = len(rows) - len(said)
    return [*said, *([("", f"and {more} more comparison{'s' * (more > 1)} in the tables below")] if more else [])]


def _answer(row: Difference, alpha: float, places: int, several: bool) -> str:
    """``er has less forgetting than naive: -0.391 [-0.430, -0.352], p = .004 after Holm's correction, 10 seeds``"""
    found, metric = row.paired, row.metric.replace("_", " ")
    told = f"has {'more' if found.difference > 0 else 'less'} {metric} than {row.baseline}"
    words = told if row.p_holm <= alpha else f"cannot be told from {row.baseline} by {metric}"
    where = f" ({row.environment})" if several else ""
    size = within(found.difference, found.low, found.high, places)
    return f"{row.cell} {words}{where}: {size}, p {relation(row.p_holm)} after Holm's correction, {len(row.seeds)} seeds"
