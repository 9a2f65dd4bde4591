"""`lab study`: run what is missing, look at the figures when they are due, say what the claim has come to."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import UserError, require
from lab.study import question, record
from lab.study.question import Study

OK, UNFINISHED = 0, 1


def main(arguments: list[str]) -> int:
    """List the studies, or run one; 0 done (whatever the verdict), 1 unfinished, 2 the user's mistake."""
    from lab.run import answered

    given, words = _parse(arguments)
    return answered(lambda: _run(given, words) if given.name else _list(given.json))


def _list(as_json: bool) -> None:
    rows = list(_rows())
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        print(f"{row['name']:<{width}}  {row['verdict'] or 'not run':<12}  {row['claim']}")


def _rows() -> Iterator[dict[str, Any]]:
    """A line for each study; a file or record that cannot be read does not hide the others."""
    for name in question.names():
        try:
            yield record.listed(question.find(name))
        except UserError as error:
            print(f"lab: {error}", file=sys.stderr)


def _run(given: argparse.Namespace, words: list[str]) -> int:
    from lab.study.running import UnfinishedError, check_words

    study, runs = question.find(given.name), Path(given.runs).expanduser()
    check_words(words)
    known = record.load(study)
    try:
        if given.extend is None:
            kept = _declared(study, known, runs, words, given.jobs)
        else:
            kept = _extended(study, known, runs, words, given.jobs, given.extend)
    except UnfinishedError as error:
        print(f"lab: {error}", file=sys.stderr)
        return UNFINISHED
    _publish(study, kept, runs, words, given.json)
    return OK


def _declared(study: Study, known: dict[str, Any], runs: Path, words: list[str], jobs: int | None) -> dict[str, Any]:
    """Look after look until one decides, each at its own level."""
    from lab.statistics import levels
    from lab.study.running import run_cells
    from lab.study.verdict import UNDECIDED

    before = 0
    for count, level in zip(study.looks, levels(study.looks, study.alpha - study.reserve, study.spending), strict=True):
        run_cells(study, study.seeds[before:count], runs, words, jobs)
        known, word = _look(study, known, "declared", study.seeds[:count], level, runs, words)
        if word != UNDECIDED:
            break
        before = count
    return known


def _extended(study: Study, known: dict[str, Any], runs: Path, words: list[str], jobs: int | None, more: int) -> dict[str, Any]:
    """One look beyond those declared, at fresh seeds alone, paid for out of the reserve."""
    from lab.statistics import reserve_level, smallest_p
    from lab.study.running import run_cells

    require(more > 1, "--extend", more, "a number of fresh seeds from 2 on")
    if not record.is_open(known):
        state = f"its verdict is {known['verdict']}" if known.get("verdict") else "its declared seeds have not been run yet"
        raise UserError(f"--extend {more}: {study.name} cannot be extended: {state}")
    earlier = record.extensions(known)
    level = reserve_level(study.reserve, len(earlier) + 1)
    parts = len(study.tests) * len(set(study.words)) // len(set(study.cells.values()))
    if smallest_p(more, parts) > level:
        enough = next((n for n in range(2, 64) if smallest_p(n, parts) <= level), None)
        reason = f"{enough} fresh seeds could" if enough else "the study kept no reserve: declare looks, or ask a new study"
        raise UserError(f"--extend {more}: the level left is {level:.2g}, which {more} seeds cannot reach; {reason}")
    used = {seed for look in known["looks"] for seed in look["seeds"]} | set(study.seeds)
    seeds = list(range(max(used) + 1, max(used) + 1 + more))
    run_cells(study, seeds, runs, words, jobs)
    return _look(study, known, "extension", seeds, level, runs, words)[0]


def _look(
    study: Study, known: dict[str, Any], kind: str, seeds: list[int], level: float, runs: Path, words: list[str]
) -> tuple[dict[str, Any], str]:
    """Look at the figures of these seeds once, and keep what was seen before anything else is done with it.

    Returns:
        the record, and the look's own verdict.
    """
    from lab.study.running import cells_at, minutes_of
    from lab.study.verdict import decide

    cells = cells_at(study, seeds, runs)
    verdict = decide(study, cells, seeds, level)
    look = record.look_of(kind, seeds, verdict, cells)
    known = record.with_look(known, look)
    kept = record.concluded(study, known["looks"], minutes_of(cells), _again(study, words))
    record.save(study, kept)
    return kept, verdict.word


def _again(study: Study, words: list[str]) -> str:
    """The command for others, who have their data elsewhere."""
    return f"lab study {study.name}{' data.dir=DIR' if any(word.startswith('data.dir=') for word in words) else ''}"


def _publish(study: Study, kept: dict[str, Any], runs: Path, words: list[str], as_json: bool) -> None:
    """The verdict for eyes, the report as a page, and both in MLflow."""
    from lab.study.reporting import report, track

    print(json.dumps(kept, indent=1, ensure_ascii=False) if as_json else summary(kept))
    folder = report(study, kept, runs)
    print(folder / "report.html", file=sys.stderr if as_json else sys.stdout)
    track(study, kept, folder, words)


def summary(kept: dict[str, Any]) -> str:
    """Claim, measured, verdict, and every look there was."""
    lines = [f"claim     {kept['claim']}", f"measured  {kept['measured']}", f"verdict   {kept['verdict']}: {kept['decides']}"]
    lines += [f"scale     {kept['scale']}"] if kept["scale"] else []
    for number, look in enumerate(kept["looks"], 1):
        again = ", again" if look.get("again") else ""
        lines.append(
            f"look {number:<4} {look['date']}, {look['kind']}{again}, {len(look['seeds'])} seeds: "
            f"p = {look['p']:.2g} at level {look['level']:.2g}, {look['verdict']}"
        )
    minutes = kept["minutes"]
    return "\n".join([*lines, f"cost      {minutes['measured']:g} minutes of training, {minutes['declared']:g} declared"])


def _parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        "lab study",
        description="Run a study and say what its claim has come to; without a name, list the studies.",
        epilog="Overrides of where and how may follow (data.dir=DIR, tracking=off); the study itself stands as declared.",
    )
    parser.add_argument("name", nargs="?", help="a file of sweeps/, without .yaml")
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--runs", default="runs", help="folder of run directories (runs)")
    parser.add_argument("--jobs", type=int, help="cells at once (as many as there are cores for)")
    parser.add_argument("--extend", type=int, metavar="N", help="N fresh seeds for an undecided study, which alone decide")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_intermixed_args(arguments)
    if given.name and "=" in given.name:
        given.words, given.name = [given.name, *given.words], None
    return given, given.words
