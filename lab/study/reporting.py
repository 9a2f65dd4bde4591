"""What a study leaves for readers: tables, figures and one page in its folder, and the same in MLflow."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lab.study.question import Study
from lab.study.running import cells_at, home


def report(study: Study, kept: dict[str, Any], runs: Path) -> Path:
    """Write the study's tables, figures and page; the folder."""
    from lab.comparison import compare
    from lab.report.comparing import write_comparison_figures
    from lab.report.page import write_page
    from lab.report.tables import write_tables

    folder = home(study, runs)
    cells = cells_at(study, kept["seeds"], runs)
    margin = max(test.margin for test in study.tests) or None
    comparison = compare(cells, _known(study, cells), _baseline(study), margin, study.alpha)
    write_tables(comparison, folder)
    write_comparison_figures(comparison, cells, folder / "figures")
    write_page(folder / "report.html", cells, comparison, study.claim, kept["command"], kept)
    return folder


def _known(study: Study, cells: list[Any]) -> list[str]:
    """The measures that some cell has values of; a tested one is known to be."""
    import numpy as np

    def has(measure: str) -> bool:
        return any(not np.isnan(list(cell.values(measure).values())).all() for cell in cells)

    return [measure for measure in study.measures if has(measure)]


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
    lines += ["| look | seeds | p | level | verdict |", "|---|---|---|---|---|"]
    for number, look in enumerate(kept["looks"], 1):
        p, level = f"{look['p']:.2g}", f"{look['level']:.2g}"
        lines.append(f"| {number} ({look['kind']}) | {len(look['seeds'])} | {p} | {level} | {look['verdict']} |")
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
