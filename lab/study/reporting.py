"""What a study leaves for readers: tables, figures and one page in its folder, and the same in MLflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab.study.published import lines as beside_lines
from lab.study.question import Study
from lab.study.record import lines_of
from lab.study.running import cells_at, home

if TYPE_CHECKING:
    from lab.comparison import Cell, Comparison


def report(study: Study, kept: dict[str, Any], runs: Path) -> Path:
    """Write the study's tables, figures and page; the folder."""
    from lab.report.comparing import write_comparison_figures
    from lab.report.page import write_page
    from lab.report.tables import write_tables

    folder = home(study, runs)
    cells, comparison = compared(study, kept["seeds"], runs)
    write_tables(comparison, folder)
    write_comparison_figures(comparison, cells, folder / "figures")
    write_page(folder / "report.html", cells, comparison, study.claim, kept["command"], kept)
    return folder


def compared(study: Study, seeds: list[int], runs: Path) -> tuple[list[Cell], Comparison]:
    """The study's cells at the seeds that its verdict rests on, and their comparison."""
    from lab.comparison import compare

    cells = cells_at(study, seeds, runs)
    measures = [measure for measure in study.measures if any(cell.has(measure) for cell in cells)]
    without = tuple(f"{measure}: no cell has a value" for measure in study.measures if measure not in measures)
    return cells, compare(cells, measures, _baseline(study), _margin(study), study.alpha, without)


def _margin(study: Study) -> float | None:
    """How much counts as no difference, where the study says so: the margin of a superiority is another thing."""
    margins = {test.margin if test.kind != "superiority" else None for test in study.tests}
    return margins.pop() if len(margins) == 1 else None


def _baseline(study: Study) -> str:
    """What the first test's cell is held against: the cell that weighs against it."""
    weights = study.tests[0].weights
    names = list(weights)
    return names[1] if len(names) == 2 else names[-1]


def note(kept: dict[str, Any]) -> str:
    """The study in Markdown, for MLflow."""
    lines = [f"**Claim.** {kept['claim']}", "", f"**Measured.** {kept['measured']}", ""]
    lines += [f"**Verdict: {kept['verdict']}.** {kept['decides']}", ""]
    lines += [f"**Scale.** {kept['scale']}", ""] if kept["scale"] else []
    lines += ["| look | date | kind | seeds | p | level | verdict |", "|---|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(line)} |" for line in lines_of(kept)]
    lines += ["", *beside_lines(kept["published"])] if "published" in kept else []
    return "\n".join([*lines, "", f"`{kept['command']}`"])


def track(study: Study, kept: dict[str, Any], folder: Path, words: list[str]) -> None:
    """Publish the report where tracking is on; a store that does not answer costs a warning."""
    from lab.run import composed
    from lab.tracking import publish_study

    settings = composed(*next(iter(study.words.values())), *words)["tracking"]
    if settings["enabled"]:
        tags = {"verdict": kept["verdict"], "family": kept["family"], "claim": kept["claim"][:500]}
        values = {"seeds": float(len(kept["seeds"])), "p": kept["looks"][-1]["p"], "minutes": kept["minutes"]["measured"]}
        warning = publish_study(study.name, note(kept), folder, settings | {"experiment": study.name}, tags, values)
        if warning:
            print(f"lab: {warning}", file=sys.stderr)
