"""`lab compare`: finished runs against a baseline, paired by seed, as a table, for a paper, for programs."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import UserError, require

if TYPE_CHECKING:
    from lab.comparison import Cell, Comparison
    from lab.comparison.gathering import Found

FORMATS = ("text", "markdown", "latex", "csv", "json")


def main(arguments: list[str]) -> int:
    """Print the comparison; 0 done, 2 where nothing useful can be said."""
    from lab.run import answered

    given = _parse(arguments)
    return answered(lambda: _compare(given, shlex.join(["lab", "compare", *arguments])))


def _compare(given: argparse.Namespace, command: str) -> None:
    from lab.comparison import cells_of, compare

    if given.margin is not None:
        require(given.margin > 0, "--margin", given.margin, "a number above 0: how much counts as no difference")
    require(0 < given.alpha < 0.5, "--alpha", given.alpha, "a number between 0 and .5")
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        found = _found(given, Path(folder))
        cells = cells_of(found.runs, given.metric or (), (*given.varies, *found.varies))
        comparison = compare(cells, given.metric, given.baseline, given.margin, given.alpha, tuple(found.left_out))
        _print(comparison, "json" if given.json else given.format)
        if given.save:
            _save(given.save, comparison, cells, command)


def _found(given: argparse.Namespace, folder: Path) -> Found:
    """The runs that were named, those of an MLflow experiment fetched into ``folder``."""
    from lab.comparison.gathering import Found, gather

    for name in ("filter", "uri"):
        if getattr(given, name) and not given.experiment:
            raise UserError(f"--{name} {getattr(given, name)}: belongs to --experiment NAME, which is not given")
    if not given.experiment:
        if not given.what:
            raise UserError("lab compare: name run directories, folders, patterns or a study; or --experiment NAME of MLflow")
        return gather(given.what, Path(given.runs))
    if given.what:
        raise UserError(f"--experiment {given.experiment}: instead of {' '.join(given.what)}, not beside it")
    from lab.dashboard import tracking_settings
    from lab.tracking.fetching import fetch

    found = Found()
    for place in fetch(tracking_settings(given.uri, given.experiment), given.filter, folder):
        found.add(place)
    if not found.runs:
        raise UserError(f"--experiment {given.experiment}: {'; '.join(found.left_out) or 'holds no finished run of this lab'}")
    return found


def _print(comparison: Comparison, form: str) -> None:
    from rich.console import Console

    from lab.report import tables

    if form == "text" and sys.stdout.isatty():
        tables.print_comparison(comparison, Console())
    elif form == "text":
        print(tables.as_text(comparison, 160))
    else:
        print(getattr(tables, f"as_{form}")(comparison))


def _save(where: str, comparison: Comparison, cells: list[Cell], command: str) -> None:
    """Tables, figures and a page in a folder."""
    from lab.report.comparing import write_comparison_figures
    from lab.report.page import write_page
    from lab.report.tables import write_tables

    folder = Path(where).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(comparison, folder)
    write_comparison_figures(comparison, cells, folder / "figures")
    write_page(folder / "report.html", cells, comparison, "Comparison", command)
    print(f"lab: tables, figures and report.html are in {folder}", file=sys.stderr)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lab compare", description="Finished runs against a baseline, paired by seed.")
    parser.add_argument("what", nargs="*", help="run directories, folders above some, patterns, or a study")
    parser.add_argument("--metric", action="append", help="what to compare; may be repeated (accuracy and forgetting)")
    parser.add_argument("--baseline", help="the cell that the others are held against (naive, or the first)")
    parser.add_argument("--margin", type=float, help="also test non-inferiority and equivalence within so much")
    parser.add_argument("--alpha", type=float, default=0.05, help="level of the whole family of comparisons (.05)")
    parser.add_argument("--varies", action="append", default=[], metavar="KEY", help="settings that may differ; or all")
    parser.add_argument("--format", choices=FORMATS, default="text", help="what to print (text)")
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument("--save", metavar="DIR", help="also write tables, figures (PNG, SVG) and a page into a folder")
    parser.add_argument("--runs", default="runs", help="folder of run directories, for studies (runs)")
    parser.add_argument("--experiment", help="an experiment in MLflow, instead of run directories")
    parser.add_argument("--filter", default="", help="MLflow's filter of its runs: \"params.strategy = 'er'\"")
    parser.add_argument("--uri", help="MLflow's store (as configured)")
    return parser.parse_args(arguments)
