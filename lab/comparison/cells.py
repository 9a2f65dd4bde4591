"""Run directories as cells: what is one configuration becomes one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lab.cell import of_each_member
from lab.comparison.naming import environment_names, method_names
from lab.comparison.protocol import Settings, settings_of
from lab.errors import UserError
from lab.metrics import FROM_CURVES, beside_name
from lab.report.summary import method_name
from lab.results import Results, join, members

RAW = beside_name("", "raw")
"""How names end of what is measured of weights that are not averaged."""
FEW = 3
"""So many seeds that diverged are named one by one."""


@dataclass(frozen=True)
class Run:
    """A finished run directory, or one fetched from elsewhere."""

    folder: Path
    results: Results
    name: str | None = None
    """The cell's name, where a study gives it one."""
    place: str = ""
    """The environment's name, where a study gives it one."""


@dataclass(frozen=True)
class Cell:
    """One configuration with all its seeds, of one run directory or several."""

    name: str
    environment: str
    """The stream, budget and network that it is compared within."""
    results: Results
    folders: tuple[Path, ...]
    settings: Settings
    place: str = ""
    origins: tuple[dict[str, Any], ...] = ()
    """The provenance of each of its directories."""
    taken: tuple[str, ...] = field(default=())
    """What was noticed when its directories were put together, in sentences."""

    def values(self, metric: str) -> dict[int, float]:
        """``{seed: value}``; NaN where the metric is undefined for a member, or not known to the cell. Where no weights are
        averaged, what is measured of raw ones is what is measured."""
        found = self.results.metrics
        values = found.get(metric.removesuffix(RAW) if metric not in found and not self.results.beside else metric)
        return dict(zip(self.results.seeds, values if values is not None else [np.nan] * len(self.results.seeds), strict=True))

    def has(self, metric: str) -> bool:
        """Whether any seed has a value."""
        return not np.isnan(list(self.values(metric).values())).all()

    @property
    def diverged(self) -> dict[int, int]:
        """``{seed: step}`` of the members whose loss stopped being finite."""
        steps = zip(self.results.seeds, self.results.diverged, strict=True)
        return {seed: step for seed, step in steps if step is not None}

    @property
    def lost(self) -> str:
        """Who diverged, and when, for a sentence: a few one by one, many together; empty if nobody did."""
        steps = self.diverged
        if len(steps) > FEW:
            return f"{spans(steps)} diverged, at steps {min(steps.values())} to {max(steps.values())}"
        return "; ".join(f"seed {seed} diverged at step {step}" for seed, step in steps.items())


def cells_of(runs: Iterable[Run], metrics: Iterable[str] = (), varies: tuple[str, ...] = ()) -> list[Cell]:
    """Runs of one configuration put together, named and sorted into the blocks that can be compared, in the order given.

    Args:
        metrics: what is to be compared; how curves were recorded matters to some alone.
        varies: dotted beginnings of settings that count as part of the method, since they are what is compared.

    Raises:
        UserError: a run's members have different hyperparameters, so that they are no replicates.
    """
    curves = any(metric in FROM_CURVES for metric in metrics)
    pooled: dict[tuple, list[tuple[Run, Settings]]] = {}
    for run in _named_alike(list(runs)):
        _refuse_mixed(run)
        settings = settings_of(run.results.config, run.results.provenance, varies, curves)
        pooled.setdefault((run.name, run.place, settings.key), []).append((run, settings))
    cells = [_merged([run for run, _ in group], group[0][1]) for group in pooled.values()]
    places = environment_names([(cell.place, cell.settings, cell.results.config) for cell in cells])
    cells = [replace(cell, environment=place) for cell, place in zip(cells, places, strict=True)]
    names = method_names([(cell.name, cell.environment, cell.settings) for cell in cells])
    return [replace(cell, name=name) for cell, name in zip(cells, names, strict=True)]


def _named_alike(runs: list[Run]) -> list[Run]:
    """A run that a study names has that name however else it is named too."""
    given = {run.results.provenance.get("cell"): run for run in runs if run.name}
    study = {code: (run.name, run.place) for code, run in given.items() if code}
    named = (study.get(run.results.provenance.get("cell"), (run.name, run.place)) for run in runs)
    return [run if run.name else replace(run, name=name, place=place) for run, (name, place) in zip(runs, named, strict=True)]


def _refuse_mixed(run: Run) -> None:
    seeds = len(run.results.seeds)
    for key, values in of_each_member(run.results.config, seeds).items():
        if len(set(map(str, values))) > 1:
            raise UserError(
                f"{run.folder}: {key} differs from seed to seed ({values}): its members are no replicates of one cell"
            )


def _merged(group: list[Run], settings: Settings) -> Cell:
    """One cell of the runs, the largest first; a seed that is in several is taken once."""
    group = sorted(group, key=lambda run: -len(run.results.seeds))
    parts, notes = [], []
    taken: dict[int, Run] = {}
    for run in group:
        new = [seed for seed in run.results.seeds if seed not in taken]
        for other in {id(taken[seed]): taken[seed] for seed in run.results.seeds if seed in taken}.values():
            again = [seed for seed in run.results.seeds if taken.get(seed) is other]
            differ = "" if _agree(run, other, again) else "; their numbers differ"
            notes.append(
                f"{spans(again)} of {shown(run.folder)} are in {shown(other.folder)} too, and taken from there{differ}"
            )
        taken |= dict.fromkeys(new, run)
        parts += [members(run.results, new)] if new else []
    joined = parts[0] if len(parts) == 1 else join(parts, sorted(taken))
    if len(group) > 1:  # what `join` takes for processes side by side was done one after the other
        joined = replace(joined, cost=joined.cost | {"wall_seconds": sum(run.results.cost["wall_seconds"] for run in group)})
    name = group[0].name or method_name(joined.config)
    origins = tuple(run.results.provenance for run in group)
    notes += _of_different_cores(name, group)
    return Cell(name, "", joined, tuple(run.folder for run in group), settings, group[0].place, origins, tuple(notes))


def _of_different_cores(name: str, group: list[Run]) -> list[str]:
    """A sentence where runs that became one cell were trained by different cores, as far as that is known."""
    cores = {core: run for run in group if (core := run.results.provenance.get("core"))}
    if len(cores) < 2:
        return []
    found = "; ".join(f"{spans(run.results.seeds)} by {core} ({shown(run.folder)})" for core, run in cores.items())
    return [f"{name}: its seeds were trained by different versions of the lab's core: {found}"]


def _agree(one: Run, other: Run, seeds: list[int]) -> bool:
    """Whether two runs have the same numbers for these seeds."""
    mine, yours = members(one.results, seeds).accuracy, members(other.results, seeds).accuracy
    return mine.shape == yours.shape and np.allclose(mine, yours, atol=1e-6, equal_nan=True)


def blocks(cells: list[Cell]) -> list[list[Cell]]:
    """Cells by environment, in the order in which these come."""
    names = list(dict.fromkeys(cell.environment for cell in cells))
    return [[cell for cell in cells if cell.environment == name] for name in names]


def shown(folder: Path) -> str:
    """A run directory for others: from here, or its last two names. Where it lies on this machine is nobody's matter."""
    relative = os.path.relpath(folder)
    return str(Path(*Path(folder).parts[-2:])) if relative.startswith("..") else relative


def spans(seeds: Iterable[int]) -> str:
    """Seeds for a sentence.

    >>> spans([0, 1, 2, 5]), spans([3])
    ('seeds 0-2, 5', 'seed 3')
    """
    ordered = sorted(seeds)
    runs: list[list[int]] = []
    for seed in ordered:
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"{'seed' if len(ordered) == 1 else 'seeds'} {text}"
