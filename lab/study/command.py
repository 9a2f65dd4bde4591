"""`lab study`: run what is missing, look at the figures when they are due, say what the claim has come to."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.errors import UserError, require
from lab.study import question, record
from lab.study.published import lines as beside_lines
from lab.study.question import Study
from lab.study.verdict import UNDECIDED


def main(arguments: list[str]) -> int:
    """List the studies, or run one; 0 done (whatever the verdict), 1 unfinished, 2 the user's mistake."""
    from lab.run import answered

    given, words = _parse(arguments)
    return answered(lambda: _run(given, words) if given.name else _list(given, words))


def _list(given: argparse.Namespace, words: list[str]) -> None:
    if words or given.extend or given.jobs or given.at_once or given.published:
        raise UserError("lab study: name the study that is meant; without a name it lists them all")
    rows = list(_rows())
    if given.json:
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


def _run(given: argparse.Namespace, words: list[str]) -> None:
    from lab.study.running import check_words, home
    from lab.workers import locked

    require(given.at_once is None or given.at_once >= 1, "--at-once", given.at_once, "a number from 1 on")
    study, runs = question.find(given.name), Path(given.runs).expanduser()
    check_words(study, words)
    if given.published:
        _print_beside(study, runs)
        return
    record.refuse_changed(study, record.load(study))
    with locked(home(study, runs)):
        asking = Asking(study, runs, words, given.jobs, given.at_once or study.at_once)
        kept = asking.declared() if given.extend is None else asking.extended(given.extend)
        _publish(study, kept, runs, words, given.json)


def _print_beside(study: Study, runs: Path) -> None:
    """All that has been run so far beside what was published. It decides nothing, and is no look."""
    from lab.study.running import found_beside

    found = found_beside(study, runs)
    if found is None:
        raise UserError(f"--published: {study.path} does not say what was published")
    print("\n".join(beside_lines(found)))


@dataclass(frozen=True)
class Asking:
    """One command's work on a study."""

    study: Study
    runs: Path
    words: list[str]
    jobs: int | None
    at_once: int
    """Seeds that are trained together."""

    def declared(self) -> dict[str, Any]:
        """Look after look until one decides, each at its own level."""
        from lab.statistics import levels

        study, before = self.study, 0
        for count, level in zip(study.looks, levels(study.looks, study.alpha - study.reserve, study.spending), strict=True):
            self._train(study.seeds[before:count])
            kept, word = self._look(record.DECLARED, study.seeds[:count], level)
            if word != UNDECIDED:
                break
            before = count
        return kept

    def extended(self, more: int) -> dict[str, Any]:
        """One look beyond those declared, at fresh seeds alone, paid for out of the reserve."""
        from lab.statistics import smallest_p

        require(more > 1, "--extend", more, "a number of fresh seeds from 2 on")
        study, known = self.study, record.load(self.study)
        if not record.is_open(study, known):
            decided = known.get("verdict") not in (None, UNDECIDED)
            state = f"its verdict is {known['verdict']}" if decided else "its declared seeds have not all been looked at yet"
            raise UserError(f"--extend {more}: {study.name} cannot be extended: {state}")
        level, parts = self._reserved(known), len(study.tests) * len(set(study.places.values()))
        if smallest_p(more, parts) > level:
            enough = next((n for n in range(2, 64) if smallest_p(n, parts) <= level), None)
            reason = f"{enough} fresh seeds could" if enough else "nothing of the reserve is left: ask a new study"
            raise UserError(f"--extend {more}: the level left is {level:.2g}, which {more} seeds cannot reach; {reason}")
        used = {seed for look in known["looks"] for seed in look["seeds"]} | set(study.seeds)
        seeds = list(range(max(used) + 1, max(used) + 1 + more))
        self._train(seeds)
        return self._look(record.EXTENSION, seeds, level)[0]

    def _again(self) -> str:
        """The command for others, who have their data elsewhere."""
        study = self.study
        named = study.name if study.name in question.names() else os.path.relpath(study.path)
        portions = f" --at-once {self.at_once}" if self.at_once != study.at_once else ""
        data = " data.dir=DIR" if any(word.startswith("data.dir=") for word in self.words) else ""
        return f"lab study {named}{portions}{data}"

    def _train(self, seeds: list[int]) -> None:
        from lab.study.running import run_cells

        for first in range(0, len(seeds), self.at_once):
            run_cells(self.study, seeds[first : first + self.at_once], self.runs, self.words, self.jobs)
            self._show_beside()

    def _show_beside(self) -> None:
        """What there is so far beside what was published: it decides nothing, and need not wait for a look."""
        from lab.study.running import found_beside

        found = found_beside(self.study, self.runs)
        if found:
            print("\n".join(beside_lines(found)), file=sys.stderr, flush=True)

    def _reserved(self, known: dict[str, Any]) -> float:
        """The level of the next look that nobody declared."""
        from lab.statistics import reserve_level

        return reserve_level(self.study.reserve, record.paid(known) + 1)

    def _look(self, kind: str, seeds: list[int], level: float) -> tuple[dict[str, Any], str]:
        """Look at the figures of these seeds, and keep what was seen before anything else is done with it.

        The same values over again are no new look. Other values of the same seeds are: at the same level where the code is the
        same, and else one that nobody declared.

        Returns:
            the record, and the look's own verdict.
        """
        from lab.study.running import cells_at, found_beside, minutes_of
        from lab.study.verdict import data_of, decide, parts_of

        study = self.study
        cells = cells_at(study, seeds, self.runs)
        parts, known = parts_of(study, cells, seeds), record.load(study)  # read late: another command may have looked too
        last = record.last_at(known, seeds)
        if last is None or last["data"] != data_of(parts):
            if last is not None and last["cells"] == record.codes(cells):
                kind, level = record.REPEATED, last["level"]
            elif last is not None:
                kind, level = record.CHANGED, self._reserved(known)
            last = record.look_of(kind, seeds, decide(parts, seeds, level), cells)
            known["looks"].append(last)
        found = found_beside(study, self.runs)
        kept = record.concluded(study, known["looks"], minutes_of(study, self.runs), self._again(), found)
        record.save(study, kept)
        return kept, last["verdict"]


def _publish(study: Study, kept: dict[str, Any], runs: Path, words: list[str], as_json: bool) -> None:
    """The verdict for eyes, the report as a page, and both in MLflow."""
    from lab.study.reporting import report, track

    print(json.dumps(kept, indent=1, ensure_ascii=False) if as_json else summary(kept))
    folder = report(study, kept, runs)
    print(folder / "report.html", file=sys.stderr if as_json else sys.stdout)
    track(study, kept, folder, words)


def summary(kept: dict[str, Any]) -> str:
    """Claim, measured, verdict, every look there was, and what others published."""
    lines = [f"claim     {kept['claim']}", f"measured  {kept['measured']}", f"verdict   {kept['verdict']}: {kept['decides']}"]
    lines += [f"scale     {kept['scale']}"] if kept["scale"] else []
    for number, date, kind, seeds, p, level, verdict in record.lines_of(kept):
        lines.append(f"look {number:<4} {date}, {kind}, {seeds} seeds: p = {p} at level {level}, {verdict}")
    lines += ["", *beside_lines(kept["published"]), ""] if "published" in kept else []
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
    parser.add_argument("--jobs", type=int, help="cells at once (as many as there are cores for; on a GPU 1)")
    parser.add_argument("--at-once", type=int, metavar="N", help="seeds trained together (what the study's at_once says)")
    parser.add_argument("--extend", type=int, metavar="N", help="N fresh seeds for an undecided study, which alone decide")
    parser.add_argument("--published", action="store_true", help="what has been run so far beside what others published")
    parser.add_argument("--json", action="store_true", help="for programs")
    given = parser.parse_intermixed_args(arguments)
    if given.name and "=" in given.name:
        given.words, given.name = [given.name, *given.words], None
    return given, given.words
