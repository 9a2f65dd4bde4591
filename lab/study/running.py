"""A study's cells, run: what is finished is skipped, what is missing is trained, as many at once as the machine bears."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from lab.cell import deciding, flat
from lab.comparison.cells import Cell, Run, cells_of
from lab.comparison.protocol import PLACES, differences, settings_of
from lab.core import core
from lab.errors import IncompleteError, UserError, require
from lab.metrics import FROM_CURVES
from lab.results import load, members, write_whole
from lab.study.published import beside
from lab.study.question import Study

HARMLESS = ("tracking", "data", "plan", "trainer", "checkpoint")
"""Sections that a command may set beside a study, since they change neither its cells nor what they mean."""

CHANGING = ("precision", "max_steps", "callbacks")
"""But for these of the trainer."""

KEPT = ".runs.json"
"""Which run directories are a study's; hidden, since it says where things lie on this machine."""


def home(study: Study, runs: Path) -> Path:
    """Where a study keeps its report and the list of its run directories."""
    return runs / "studies" / study.name


def folders(study: Study, runs: Path) -> dict[str, list[Path]]:
    """The run directories of each cell so far, those of its newest digest alone: of its settings and of the modules that these
    name. Directories by different cores of the lab are one cell, and the comparison says so.

    Raises:
        UserError: the study has not been run here.
    """
    known = _kept(study, runs)
    if known is None:
        raise UserError(f"{study.name}: has not been run into {runs} yet; lab study {study.name} runs it")
    return {cell: [runs / folder for folder in known.get(cell, [])] for cell in study.words}


def _kept(study: Study, runs: Path) -> dict[str, list[str]] | None:
    """The run directories by cell, as seen from ``runs``, so that all can be moved together; None where nothing readable is
    kept (the study finds its runs again when it is run)."""
    try:
        known = json.loads((home(study, runs) / KEPT).read_text(encoding="utf-8"))
        sound = all(isinstance(folder, str) for folders in known.values() for folder in folders)
        return known if sound and all(isinstance(folders, list) for folders in known.values()) else None
    except (OSError, ValueError, AttributeError, TypeError):
        return None


def runs_of(study: Study, runs: Path) -> list[Run]:
    """The study's finished runs, under its own names of cells."""
    return [
        Run(folder, load(folder), study.cells[cell], study.places[cell])
        for cell, kept in folders(study, runs).items()
        for folder in kept
        if (folder / "results.json").exists()
    ]


def cells_at(study: Study, seeds: list[int], runs: Path) -> list[Cell]:
    """The study's cells with these seeds alone: a look is at what it is due at, whatever else has been run."""
    kept = [(run, [seed for seed in run.results.seeds if seed in seeds]) for run in runs_of(study, runs)]
    cut = [replace(run, results=members(run.results, own)) for run, own in kept if own]
    return cells_of(cut, study.measures, study.varies)


def found_beside(study: Study, runs: Path) -> dict[str, Any] | None:
    """All that has been run so far beside what was published, where the study's file says that."""
    if study.published is None:
        return None
    return beside(study.published, cells_of(runs_of(study, runs), study.measures, study.varies))


def minutes_of(study: Study, runs: Path) -> float:
    """What training took, one run directory after the other."""
    return sum(run.results.cost["wall_seconds"] for run in runs_of(study, runs)) / 60


def check_words(study: Study, words: list[str]) -> None:
    """Refuse overrides that would make another study of it.

    Raises:
        UserError: names the word, or the settings that it would change.
    """
    for word in words:
        if word.startswith("~") or word.lstrip("+").split("=")[0].split(".")[0] not in HARMLESS:
            possible = ", ".join(HARMLESS)
            raise UserError(f"{word}: would change the declared study; beside it one sets where and how: {possible}, --runs")
    for cell in study.words if words else ():
        plain, given = _deciding(study, cell, []), _deciding(study, cell, words)
        changed = [key for key in plain | given if plain.get(key) != given.get(key)]
        if changed:
            raise UserError(f"{' '.join(words)}: would change the declared study: {', '.join(changed)}")


def _deciding(study: Study, cell: str, words: list[str]) -> dict[str, str]:
    """The settings of a cell that decide its numbers, flat."""
    from lab.run import composed

    config = composed(*study.words[cell], *words)
    kept = deciding(config)
    kept["trainer"] = {key: config["trainer"][key] for key in CHANGING}
    return {key: value for key, value in flat(kept) if key.rpartition(".")[2] not in PLACES}


def run_cells(study: Study, seeds: list[int], runs: Path, words: list[str], jobs: int | None = None) -> None:
    """Have every cell finished for these seeds.

    Args:
        seeds: one run directory a cell is made for exactly these.
        words: overrides of where and how, not of what.
        jobs: cells at once; None: as many as there are cores for, each cell's members being split over processes already; on
            an accelerator one.

    Raises:
        IncompleteError: cells that could not be run, whatever the reason; it was printed.
    """
    require(jobs is None or jobs >= 1, "--jobs", jobs, "a number from 1 on")
    loaded = core()  # a file edited meanwhile is not what cells are trained by
    device = _device(study, words)
    jobs = jobs or _jobs(study, len(seeds), device)
    share = [] if jobs == 1 else [f"plan.processes={_processes(len(seeds), jobs, device)}", "trainer.enable_progress_bar=false"]
    configs = {cell: config_of(study, cell, seeds, runs, [*share, *words]) for cell in study.words}
    _refuse_incomparable(study, configs)
    done: dict[str, Path] = {}
    for number, (cell, folder) in enumerate(_in_turn(configs) if jobs == 1 else _at_once(configs, jobs, device, loaded), 1):
        state = "done" if folder else "failed"
        print(f"{study.name}: {cell}: {state} ({number} of {len(configs)})", file=sys.stderr, flush=True)
        if folder:
            done[cell] = folder
            _note(study, runs, cell, folder)
    failed = [cell for cell in configs if cell not in done]
    if failed:
        raise IncompleteError(f"{study.name}: {', '.join(failed)} could not be run; the same command goes on from there")


def _refuse_incomparable(study: Study, configs: dict[str, dict[str, Any]]) -> None:
    """Refuse, before anything is trained, cells that cannot be held against each other.

    Raises:
        UserError: says in what they differ.
    """
    curves = any(test.measure in FROM_CURVES for test in study.tests)
    known = {cell: settings_of(config, {}, study.varies, curves) for cell, config in configs.items()}
    for place in dict.fromkeys(study.places.values()):
        first, *rest = [cell for cell in known if study.places[cell] == place]
        for cell in rest:
            found = "; ".join(f"{key} is {mine} and {yours}" for key, mine, yours in differences(known[first], known[cell]))
            if found:
                raise UserError(f"{study.path}: {first} and {cell} are not comparable: {found}; `varies` says what may differ")


def _device(study: Study, words: list[str]) -> str:
    """What the cells are trained on; an accelerator where any of them is."""
    from lab.plan import device_for
    from lab.run import composed

    found = {device_for(composed(*own, *words)["trainer"]["accelerator"]) for own in study.words.values()}
    return (found - {"cpu"} or found).pop()


def _jobs(study: Study, seeds: int, device: str) -> int:
    """Each cell splits its members over cores; where there are more cores than members, several cells run at once. An
    accelerator's memory may be a single cell's: how many it bears is for the user to say."""
    from lab.workers import cores

    return 1 if device != "cpu" else max(1, min(len(study.words), cores() // seeds))


def _processes(seeds: int, jobs: int, device: str) -> int:
    from lab.workers import cores

    return 1 if device != "cpu" else max(1, min(seeds, cores() // jobs))


def config_of(study: Study, cell: str, seeds: list[int], runs: Path, words: list[str]) -> dict[str, Any]:
    """The cell's resolved configuration, tracked in an experiment of the study's name."""
    from lab.run import composed

    config = composed(*study.words[cell], *words)
    config["seeds"], config["paths"]["runs"] = list(seeds), str(runs)
    if config["tracking"]["enabled"]:
        config["tracking"]["experiment"] = study.name
    return config


def _in_turn(configs: dict[str, dict[str, Any]]) -> Iterator[tuple[str, Path | None]]:
    for cell, config in configs.items():
        yield cell, _finished(config)


def _at_once(configs: dict[str, dict[str, Any]], jobs: int, device: str, loaded: str) -> Iterator[tuple[str, Path | None]]:
    way = "fork" if device == "cpu" else "spawn"  # having asked for a CUDA device, a process can share none with its forks
    with ProcessPoolExecutor(jobs, get_context(way), _die_with_parent) as pool:
        waiting = {pool.submit(_finished, config, loaded): cell for cell, config in configs.items()}
        for future in as_completed(waiting):
            try:
                yield waiting[future], future.result()
            except BrokenProcessPool:  # somebody killed a worker
                yield waiting[future], None


def _finished(config: dict[str, Any], loaded: str | None = None) -> Path | None:
    """The cell's run directory; None if it failed, which is said where it happens.

    Args:
        loaded: the core that the command began with: a process that is not its fork reads the files anew.
    """
    from lab.run import attempted, execute

    made: list[Path] = []

    def run() -> None:
        if loaded not in (None, core()):
            raise UserError(f"the lab's core was edited since the command began ({loaded}, now {core()}); begin it again")
        made.append(execute(config, table=False))

    attempted(run)
    return made[0] if made else None


def _die_with_parent() -> None:
    from lab.workers import die_with_parent

    die_with_parent()
    parent = parent_process()
    if parent and not parent.is_alive():  # killed before this process could ask to die with it
        os._exit(1)


def _note(study: Study, runs: Path, cell: str, folder: Path) -> None:
    """Keep which run directory is the cell's; those of an older digest of it are its no more."""
    known = _kept(study, runs) or {}
    own, (code, seeds) = os.path.relpath(folder, runs), folder.parts[-2:]
    others = [old for old in known.get(cell, []) if Path(old).parts[-2] == code and Path(old).name != seeds]
    text = json.dumps(known | {cell: [*others, own]}, indent=1)
    write_whole(home(study, runs) / KEPT, lambda file: file.write(text.encode()))
