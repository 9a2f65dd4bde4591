"""`lab report`: a run, several, a study or a sweep as one page for a browser."""

from __future__ import annotations

import argparse
import shlex
import webbrowser
from pathlib import Path

from lab.errors import UserError, require

MARK = b'content="continual-learning-lab"'
"""In the head of every page."""


def main(arguments: list[str]) -> int:
    """Write the page and print its path; 0 done, 2 the user's mistake."""
    from lab.run import answered

    given = _parse(arguments)
    command = shlex.join(["lab", "report", *arguments])
    return answered(lambda: _report(given, command))


def _report(given: argparse.Namespace, command: str) -> None:
    if given.margin is not None:
        require(given.margin > 0, "--margin", given.margin, "a number above 0: how much counts as no difference")
    path = _of_study(given) or _of_sweep(given) or _of_runs(given, command)
    print(path, flush=True)
    if given.open:
        webbrowser.open(path.absolute().as_uri())


def _of_runs(given: argparse.Namespace, command: str) -> Path:
    from lab.comparison import cells_of, compare
    from lab.comparison.gathering import gather
    from lab.report.page import write_page

    found = gather(given.what, Path(given.runs).expanduser())
    cells = cells_of(found.runs, given.metric or (), (*given.varies, *found.varies))
    comparison = compare(cells, given.metric, given.baseline, given.margin, without=tuple(found.left_out))
    path = _place(given.output, [run.folder for run in found.runs])
    return write_page(path, cells, comparison, _title(cells), command)


def _of_study(given: argparse.Namespace) -> Path | None:
    """The study's own report, if a study that has come to a verdict is all that is named: at the seeds that it rests on, by the
    test that it declared."""
    from lab.report.page import write_page
    from lab.study import question, record
    from lab.study.reporting import compared
    from lab.study.running import home

    study = question.named(given.what[0]) if len(given.what) == 1 else None
    kept, runs = record.load(study) if study else {"looks": []}, Path(given.runs).expanduser()
    if not kept["looks"]:
        return None
    _refuse_choices(given, f"a study's report is as the study declared it; lab compare {study.name} takes others")
    cells, comparison = compared(study, kept["seeds"], runs)
    path = _place(given.output, [home(study, runs)])
    return write_page(path, cells, comparison, study.claim, kept["command"], kept)


def _of_sweep(given: argparse.Namespace) -> Path | None:
    """The sweep's own page, as far as the sweep has come, if a sweep is all that is named."""
    from lab.questions import SWEEPS

    if len(given.what) > 1 or SWEEPS.named(given.what[0]) is None:
        return None
    from lab.sweep import question, reporting
    from lab.sweep.command import home
    from lab.sweep.page import write_page

    sweep = question.named(given.what[0])
    folder = home(sweep, Path(given.runs).expanduser())
    _refuse_choices(given, "a sweep's report is of its own objectives; lab compare takes the folders of its winners")
    if given.output is None:
        return reporting.report(sweep, folder, given.storage)
    return write_page(reporting.found(sweep, folder, given.storage), _place(given.output, [folder]))


def _refuse_choices(given: argparse.Namespace, why: str) -> None:
    asked = [name for name in ("metric", "baseline", "margin", "varies") if getattr(given, name)]
    if asked:
        raise UserError(f"--{asked[0]}: {why}")


def _place(output: str | None, folders: list[Path]) -> Path:
    """Where the user says; into the folder of a run that is alone; or else here."""
    alone = folders[0] / "report.html" if len(folders) == 1 else Path("report.html")
    path = alone if output is None else Path(output).expanduser()
    path = path / "report.html" if path.is_dir() else path
    if path.exists() and MARK not in path.read_bytes()[:2000]:
        raise UserError(f"{path}: is there and no report of this lab; name another file, --output FILE")
    return path


def _title(cells: list) -> str:
    """``er · permuted digits x5 · domain``, ``naive, er, joint · permuted digits x5 · domain``."""
    names = ", ".join(dict.fromkeys(cell.name for cell in cells))
    places = list(dict.fromkeys(cell.environment for cell in cells))
    return f"{names} · {places[0] if len(places) == 1 else f'{len(places)} environments'}"


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lab report", description="A run, several, a study or a sweep as one page.")
    parser.add_argument("what", nargs="+", help="run directories, folders above some, patterns, a study or a sweep")
    parser.add_argument("--output", metavar="FILE", help="the page (report.html in a run that is alone, or else here)")
    parser.add_argument("--runs", default="runs", help="folder of run directories, for studies and sweeps (runs)")
    parser.add_argument("--metric", action="append", help="what to compare; may be repeated (accuracy and forgetting)")
    parser.add_argument("--baseline", help="the cell that the others are held against (naive, or the first)")
    parser.add_argument("--margin", type=float, help="how much counts as no difference")
    parser.add_argument("--varies", action="append", default=[], metavar="KEY", help="settings that may differ; or all")
    parser.add_argument("--storage", metavar="URL", help="the database of a sweep's trials, if it is not the file beside them")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    return parser.parse_args(arguments)
