"""From what a user names (folders, patterns, studies, an MLflow experiment) to finished runs."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lab.comparison.cells import Run, shown
from lab.errors import UserError
from lab.results import load

if TYPE_CHECKING:
    from lab.study.question import Study

OTHER_FOLDERS = r"part-\d+|studies|sweeps"
"""Folders among the run directories that hold no run of their own."""


@dataclass
class Found:
    """Runs, and what was named but cannot be used."""

    runs: list[Run] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    varies: tuple[str, ...] = ()
    """What the studies among them say may differ."""

    def add(self, folder: Path, name: str | None = None, place: str = "") -> None:
        """Take a run directory in, or note why not; one that is named twice counts once."""
        if any(run.folder.resolve() == folder.resolve() for run in self.runs):
            return
        if not folder.exists():
            self.left_out.append(f"{shown(folder)}: is not there any more")
            return
        if not (folder / "results.json").exists():
            self.left_out.append(f"{shown(folder)}: not finished; the command that began it goes on")
            return
        try:
            self.runs.append(Run(folder, load(folder), name, place))
        except UserError as error:
            self.left_out.append(str(error))


def gather(words: list[str], runs: Path = Path("runs")) -> Found:
    """The finished runs that the words name: run directories, folders above some, patterns, names of studies.

    Args:
        runs: where the runs of a study lie.

    Raises:
        UserError: a word names nothing, or nothing that it names can be used.
    """
    found = Found()
    for word in words:
        if not _take(word, runs, found):
            raise UserError(f"{word}: holds no run (no results.json below it)")
    if not found.runs:
        raise UserError("nothing to compare: " + "; ".join(found.left_out))
    if not any(run.name for run in found.runs):
        found.runs.sort(key=lambda run: (run.folder / "results.json").stat().st_mtime)  # in the order in which they were run
    return found


def _take(word: str, runs: Path, found: Found) -> bool:
    """Whether the word named any run, whatever its state."""
    from lab.study.question import named  # studies are made of comparisons, and not the other way round

    study = named(word)
    if study:
        _take_study(study, runs, found)
        return True
    places = [Path(word)] if Path(word).exists() else [Path(path) for path in sorted(glob.glob(word, recursive=True))]
    if not places:
        raise UserError(f"{word}: there is no such folder, no folder of that pattern, and no study of that name (`lab study`)")
    folders = [folder for place in places for folder in _run_directories(place)]
    for folder in folders:
        found.add(folder)
    return bool(folders)


def _take_study(study: Study, runs: Path, found: Found) -> None:
    from lab.study.running import folders

    found.varies += study.varies
    for cell, kept in folders(study, runs).items():
        if not kept:
            found.left_out.append(f"{cell}: not run yet; lab study {study.name} goes on")
        for folder in kept:
            found.add(folder, study.cells[cell], study.places[cell])


def _run_directories(place: Path) -> Iterator[Path]:
    """The run directories in a folder, finished or not, or that of a results file."""
    if place.name == "results.json":
        place = place.parent
    if (place / "results.json").exists() or (place / "incomplete").exists():
        yield place
        return
    seen: set[str] = set()
    for folder, inner, files in os.walk(place, followlinks=True):
        again = os.path.realpath(folder) in seen  # a link may lead back
        seen.add(os.path.realpath(folder))
        inner[:] = [] if again else sorted(name for name in inner if not re.fullmatch(OTHER_FOLDERS, name))
        if not again and {"results.json", "incomplete"} & set(files):
            yield Path(folder)
