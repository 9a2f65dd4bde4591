"""`lab demo`: a study of two streams of digits, three strategies, ten seeds; tables, pictures, a verdict, a report."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from lab.errors import require
from lab.run import answered
from lab.study import question
from lab.study.question import Study

STUDY = "replay_digits"


def main(arguments: list[str]) -> int:
    """Run the demo; 0 done, 2 the user's mistake, 1 anything else."""
    parser = argparse.ArgumentParser("lab demo", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10, help="how many seeds (10)")
    parser.add_argument("--runs", default="runs", help="folder of run directories (runs)")
    parser.add_argument("--no-tracking", action="store_true", help="leave MLflow out")
    given = parser.parse_args(arguments)
    return answered(lambda: _show(given))


def _show(given: argparse.Namespace) -> None:
    """Train, compare, decide, and say where to look."""
    require(given.seeds >= 2, "--seeds", given.seeds, "a whole number from 2 on: strategies are compared seed by seed")

    from lab.study.running import home, run_cells
    from lab.workers import locked

    asked = question.read(question.OWN / f"{STUDY}.yaml")
    # Under a name of its own: the study itself is not looked at.
    study = replace(asked, name="demo", seeds=list(range(given.seeds)), looks=[given.seeds])
    runs, words = Path(given.runs), ["tracking=off"] if given.no_tracking else []
    with locked(home(study, runs)):
        run_cells(study, study.seeds, runs, words)
        _draw(study, runs)
        _decide(study, runs, words)
    if not given.no_tracking:
        print("dashboard: lab dashboard --experiment demo   (curves, figures, the report, in MLflow)", file=sys.stderr)
    print("next: lab run experiment=digits_split strategy=er strategy.er.memory=50", file=sys.stderr)
    print("      lab sweep tuned_digits   (each strategy at its own best learning rate: two minutes)", file=sys.stderr)


def _draw(study: Study, runs: Path) -> None:
    """A table and a picture of each stream."""
    from lab.comparison.cells import blocks
    from lab.report.drawing import write
    from lab.report.figures import overview
    from lab.report.summary import print_table
    from lab.study.running import cells_at

    for group in blocks(cells_at(study, study.seeds, runs)):
        named = [(cell.name, cell.results) for cell in group]
        print_table(named, group[0].environment)
        place = runs / f"demo-{group[0].environment.split()[0]}"
        print(f"picture: {write(overview(named), place)[0]}\n", file=sys.stderr)


def _decide(study: Study, runs: Path, words: list[str]) -> None:
    """The verdict, not kept as a look: the demo's seeds are not the study's."""
    from lab.statistics import levels
    from lab.study import record, reporting
    from lab.study.command import summary
    from lab.study.running import cells_at, minutes_of
    from lab.study.verdict import decide, parts_of

    cells = cells_at(study, study.seeds, runs)
    (level,) = levels(study.looks, study.alpha - study.reserve, study.spending)
    verdict = decide(parts_of(study, cells, study.seeds), study.seeds, level)
    look = record.look_of(record.DECLARED, study.seeds, verdict, cells)
    kept = record.concluded(study, [look], minutes_of(study, runs), f"lab demo --seeds {len(study.seeds)}")
    print(summary(kept), file=sys.stderr)
    folder = reporting.report(study, kept, runs)
    print(f"\nreport: {folder / 'report.html'}", file=sys.stderr)
    reporting.track(study, kept, folder, words)
