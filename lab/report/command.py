"""`lab report`: a run, several or a study as one page for a browser."""

from __future__ import annotations

import argparse
import shlex
import webbrowser
from pathlib import Path
from typing import Any

from lab.comparison.command import METRICS
from lab.errors import require


def main(arguments: list[str]) -> int:
    """Write the page and print its path; 0 done, 2 the user's mistake."""
    from lab.run import answered

    given = _parse(arguments)
    command = shlex.join(["lab", "report", *arguments])
    return answered(lambda: _report(given, command))


def _report(given: argparse.Namespace, command: str) -> None:
    from lab.comparison import cells_of, compare
    from lab.comparison.gathering import gather
    from lab.report.page import write_page

    if given.margin is not None:
        require(given.margin > 0, "--margin", given.margin, "a number above 0: how much counts as no difference")
    study, record = _study(given.what)
    found = gather(given.what, Path(given.runs).expanduser())
    asked = given.metric or (study.measures if study else METRICS)
    cells = cells_of(found.runs, asked, (*given.varies, *(study.varies if study else ())))
    metrics = given.metric or [
        name for name in asked if any(value == value for c in cells for value in c.values(name).values())
    ]
    comparison = compare(cells, metrics, given.baseline, given.margin, without=tuple(found.left_out))
    path = _place(given.output, [run.folder for run in found.runs])
    print(write_page(path, cells, comparison, record["claim"] if record else _title(cells), command, record), flush=True)
    if given.open:
        webbrowser.open(path.absolute().as_uri())


def _study(words: list[str]) -> tuple[Any, dict[str, Any] | None]:
    """The study that the only word names, and what it has come to; None for what there is not."""
    from lab.study import question, record

    if len(words) > 1 or Path(words[0]).exists() or words[0] not in question.names():
        return None, None
    study = question.find(words[0])
    known = record.load(study)
    return study, known if known.get("verdict") else None


def _place(output: str | None, folders: list[Path]) -> Path:
    """Where the user says; into the folder of a run that is alone; or else here."""
    if output is not None:
        path = Path(output).expanduser()
        return path / "report.html" if path.is_dir() else path
    return folders[0] / "report.html" if len(folders) == 1 else Path("report.html")


def _title(cells: list) -> str:
    """``er · permuted digits x5 · domain``, ``naive, er, joint · permuted digits x5 · domain``."""
    names = ", ".join(dict.fromkeys(cell.name for cell in cells))
    places = list(dict.fromkeys(cell.environment for cell in cells))
    return f"{names} · {places[0] if len(places) == 1 else f'{len(places)} environments'}"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lab report", description="A run, several or a study as one page for a browser.")
    parser.add_argument("what", nargs="+", help="run directories, folders above some, patterns, or a study")
    parser.add_argument("--output", metavar="FILE", help="the page (report.html in a run that is alone, or else here)")
    parser.add_argument("--runs", default="runs", help="folder of run directories, for studies (runs)")
    parser.add_argument("--metric", action="append", help="what to compare; may be repeated (accuracy and forgetting)")
    parser.add_argument("--baseline", help="the cell that the others are held against (naive, or the first)")
    parser.add_argument("--margin", type=float, help="how much counts as no difference")
    parser.add_argument("--varies", action="append", default=[], metavar="KEY", help="settings that may differ; or all")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    return parser.parse_args(arguments)
