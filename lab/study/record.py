"""What a study has come to so far: its declaration, and every look at its figures, kept as `docs/results/<study>.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.comparison.cells import Cell
from lab.errors import UserError
from lab.report.records import dumped
from lab.results import write_whole
from lab.study.question import Study
from lab.study.verdict import UNDECIDED, Verdict

DECLARED, REPEATED, CHANGED, EXTENSION = "declared", "repeated", "changed", "extension"
"""Kinds of looks: at declared seeds; at seeds looked at before, by the same code whose numbers are others on another machine;
by other code; at fresh seeds beyond those declared. Nobody declared the last two: they are paid for out of the reserve."""


def place(study: Study) -> Path:
    """The record's file: in `docs/results` beside the `sweeps` folder that the study is in, or else here."""
    beside = study.path.resolve().parents[1] / "docs" / "results"
    sweeps = study.path.resolve().parent.name == "sweeps" and os.access(study.path.resolve().parents[1], os.W_OK)
    checkout = sweeps and "site-packages" not in study.path.parts
    return (beside if checkout else Path("docs") / "results") / f"{study.name}.json"


def load(study: Study) -> dict[str, Any]:
    """The record, empty before the first look.

    Raises:
        UserError: the file is no record, or of a study that was declared otherwise.
    """
    path = place(study)
    if not path.exists():
        return {"looks": []}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["looks"], list) or not isinstance(record["declaration"], dict):
            raise TypeError("looks is no list, or declaration no mapping")
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no record of a study ({error}); restore it, or move it away to begin anew") from None


def declaration(study: Study) -> dict[str, Any]:
    """What was said before the first look, and must not change after it."""
    tests = [
        {"kind": test.kind, "measure": test.measure, "weights": test.weights, "margin": test.margin, "words": test.words}
        for test in study.tests
    ]
    return {
        "tests": tests,
        "cells": study.words,
        "varies": list(study.varies),
        "seeds": study.seeds,
        "looks": study.looks,
        "alpha": study.alpha,
        "reserve": study.reserve,
        "spending": study.spending,
    }


def refuse_changed(study: Study, record: dict[str, Any]) -> None:
    """Refuse a study whose file says something else than it did at the first look.

    Raises:
        UserError: says what.
    """
    before, now = record.get("declaration"), declaration(study)
    changed = [key for key in now if before and before.get(key) != now[key]]
    if changed:
        since = record["looks"][0]["date"]
        raise UserError(
            f"{study.path}: {', '.join(changed)}: changed since the first look at its figures ({since}). A study that is "
            "changed after a look is a new one: give it a name of its own, or restore it; for more seeds there is --extend"
        )


def listed(study: Study) -> dict[str, Any]:
    """A study's line for programs."""
    record = load(study)
    return {
        "name": study.name,
        "family": study.family,
        "claim": study.claim,
        "verdict": record.get("verdict"),
        "seeds": len(record.get("seeds", study.seeds)),
        "measured": record.get("measured"),
    }


def look_of(kind: str, seeds: list[int], verdict: Verdict, cells: list[Cell]) -> dict[str, Any]:
    """The entry of one look: what it was at, what came out, of which code."""
    commits = {str(origin.get("commit")) for cell in cells for origin in cell.origins if origin.get("commit")}
    return {
        "kind": kind,
        "seeds": seeds,
        "p": float(f"{verdict.p:.6g}"),
        "level": float(f"{verdict.level:.6g}"),
        "verdict": verdict.word,
        "measured": verdict.measured,
        "decides": verdict.decides,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": " ".join(sorted(commits)) or None,
        "data": verdict.data,
        "cells": codes(cells),
    }


def codes(cells: list[Cell]) -> dict[str, str]:
    """The digest of each cell: its settings and its code."""
    return {f"{cell.name} @ {cell.environment}": cell.settings.code for cell in cells}


def last_at(record: dict[str, Any], seeds: list[int]) -> dict[str, Any] | None:
    """The last look at exactly these seeds."""
    return next((look for look in reversed(record["looks"]) if look["seeds"] == seeds), None)


def paid(record: dict[str, Any]) -> int:
    """How many looks were paid for out of the reserve."""
    return sum(look["kind"] in (CHANGED, EXTENSION) for look in record["looks"])


def concluded(
    study: Study, looks: list[dict[str, Any]], minutes: float, command: str, beside: dict | None = None
) -> dict[str, Any]:
    """The record as it is kept and reported, with the last look's verdict as the study's."""
    look = looks[-1]
    return {
        "name": study.name,
        "family": study.family,
        "claim": study.claim,
        "verdict": look["verdict"],
        "measured": look["measured"],
        "decides": look["decides"],
        "seeds": look["seeds"],
        "scale": study.scale,
        "minutes": {"declared": study.minutes, "measured": float(f"{minutes:.2g}")},
        "command": command,
        **({"published": beside} if beside else {}),
        "looks": looks,
        "declaration": declaration(study),
    }


def save(study: Study, record: dict[str, Any]) -> Path:
    """Write the record whole or not at all."""
    path = place(study)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(dumped(record).encode()))
    return path


def is_open(study: Study, record: dict[str, Any]) -> bool:
    """Whether the study was looked at with all its declared seeds and is undecided still."""
    return record.get("verdict") == UNDECIDED and last_at(record, study.seeds) is not None


def lines_of(record: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """Number, date, kind, seeds, p, level and verdict of every look, as they are read."""
    for number, look in enumerate(record["looks"], 1):
        figures = f"{look['p']:.2g}", f"{look['level']:.2g}"
        yield str(number), look["date"], look["kind"], str(len(look["seeds"])), *figures, look["verdict"]
