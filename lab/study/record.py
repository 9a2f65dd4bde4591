"""What a study has come to so far: every look at its figures, kept as `docs/results/<study>.json`."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.comparison.cells import Cell
from lab.errors import UserError
from lab.report.records import dumped
from lab.results import write_whole
from lab.study.question import Study
from lab.study.verdict import UNDECIDED, Verdict


def place(study: Study) -> Path:
    """The record's file: in `docs/results` beside the `sweeps` folder that the study is in, or else here."""
    beside = study.path.resolve().parents[1] / "docs" / "results"
    sweeps = study.path.resolve().parent.name == "sweeps" and os.access(study.path.resolve().parents[1], os.W_OK)
    checkout = sweeps and "site-packages" not in study.path.parts
    return (beside if checkout else Path("docs") / "results") / f"{study.name}.json"


def load(study: Study) -> dict[str, Any]:
    """The record, empty before the first look.

    Raises:
        UserError: the file is no record.
    """
    path = place(study)
    if not path.exists():
        return {"looks": []}
    try:
        record = json.loads(path.read_text())
        if not isinstance(record["looks"], list):
            raise TypeError("looks is no list")
        return record
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: is no record of a study ({error}); restore it, or move it away to begin anew") from None


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
    origins = [cell.results.provenance for cell in cells]
    return {
        "kind": kind,
        "seeds": seeds,
        "p": round(verdict.p, 6),
        "level": round(verdict.level, 6),
        "verdict": verdict.word,
        "measured": verdict.measured,
        "decides": verdict.decides,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": next((origin.get("commit") for origin in origins if origin.get("commit")), None),
        "cells": {f"{cell.name} @ {cell.environment}": cell.results.provenance.get("cell") for cell in cells},
    }


def with_look(record: dict[str, Any], look: dict[str, Any]) -> dict[str, Any]:
    """The record with one more look, unless it is the last one over again."""
    same = ("kind", "seeds", "p", "level", "verdict", "cells")
    for known in record["looks"]:
        if all(known.get(key) == look[key] for key in same):
            return record
    again = [known for known in record["looks"] if (known["kind"], known["seeds"]) == (look["kind"], look["seeds"])]
    return record | {"looks": [*record["looks"], look | ({"again": len(again)} if again else {})]}


def concluded(study: Study, looks: list[dict[str, Any]], minutes: float, command: str) -> dict[str, Any]:
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
        "measure": study.tests[0].measure,
        "tests": [
            {"kind": test.kind, "measure": test.measure, "weights": test.weights, "margin": test.margin, "words": test.words}
            for test in study.tests
        ],
        "alpha": study.alpha,
        "reserve": study.reserve,
        "scale": study.scale,
        "minutes": {"declared": study.minutes, "measured": round(minutes, 1)},
        "command": command,
        "looks": looks,
    }


def save(study: Study, record: dict[str, Any]) -> Path:
    """Write the record whole or not at all."""
    path = place(study)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write(dumped(record).encode()))
    return path


def extensions(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The looks beyond those declared, one each."""
    return [look for look in record["looks"] if look["kind"] == "extension" and not look.get("again")]


def is_open(record: dict[str, Any]) -> bool:
    """Whether the study was run to its last look and did not decide."""
    return record.get("verdict") == UNDECIDED
