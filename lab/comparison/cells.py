"""Run directories as cells: what is one configuration becomes one, and gets a name that tells it from the others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lab.comparison.protocol import Settings, blocks_of, settings_of
from lab.errors import UserError
from lab.metrics import FROM_CURVES
from lab.report.summary import stream_name
from lab.results import Results, join, members


@dataclass(frozen=True)
class Run:
    """A finished run directory, or one fetched from elsewhere."""

    folder: Path
    results: Results
    name: str | None = None
    """The cell's name, where a study gives it one."""


@dataclass(frozen=True)
class Cell:
    """One configuration with all its seeds, of one run directory or several."""

    name: str
    environment: str
    """The stream, budget and network that it is compared within."""
    results: Results
    folders: tuple[Path, ...]
    settings: Settings
    taken: tuple[str, ...] = field(default=())
    """What was noticed when its directories were put together, in sentences."""

    def values(self, metric: str) -> dict[int, float]:
        """``{seed: value}``; NaN where the metric is undefined for a member, or not known to the cell."""
        values = self.results.metrics.get(metric)
        return dict(zip(self.results.seeds, values if values is not None else [np.nan] * len(self.results.seeds), strict=True))

    @property
    def diverged(self) -> dict[int, int]:
        """``{seed: step}`` of the members whose loss stopped being finite."""
        steps = zip(self.results.seeds, self.results.diverged, strict=True)
        return {seed: step for seed, step in steps if step is not None}


def cells_of(runs: Iterable[Run], metrics: Iterable[str] = (), varies: tuple[str, ...] = ()) -> list[Cell]:
    """Runs of one configuration put together, named and sorted into the blocks that can be compared, in the order given.

    Args:
        metrics: what is to be compared; how curves were recorded matters to some alone.
        varies: dotted beginnings of settings that count as part of the method, since they are what is compared.

    Raises:
        UserError: a run's members have different hyperparameters, so that they are no replicates.
    """
    curves = any(metric in FROM_CURVES for metric in metrics)
    pooled: dict[tuple, list[Run]] = {}
    known: dict[tuple, Settings] = {}
    for run in runs:
        _refuse_mixed(run)
        settings = settings_of(run.results, varies, curves)
        key = (run.name, settings.key)
        pooled.setdefault(key, []).append(run)
        known[key] = settings
    return _named(_in_blocks([_merged(group, known[key]) for key, group in pooled.items()]))


def _refuse_mixed(run: Run) -> None:
    seeds = len(run.results.seeds)
    for key, value in run.results.config.get("optimizer", {}).items():
        if isinstance(value, list) and len(value) == seeds > 1 and len(set(map(str, value))) > 1:
            raise UserError(
                f"{run.folder}: optimizer.{key} differs from seed to seed ({value}): its members are no replicates of one cell"
            )


def _merged(group: list[Run], settings: Settings) -> Cell:
    """One cell of the runs, the largest first; a seed that is in several is taken once."""
    group = sorted(group, key=lambda run: -len(run.results.seeds))
    parts, taken, notes = [], set(), []
    for run in group:
        new = [seed for seed in run.results.seeds if seed not in taken]
        if len(new) < len(run.results.seeds):
            again = [seed for seed in run.results.seeds if seed in taken]
            notes.append(f"{spans(again)} of {run.folder} are in {group[0].folder} too and taken from there")
        taken.update(new)
        parts += [members(run.results, new)] if new else []
    joined = parts[0] if len(parts) == 1 else join(parts, sorted(taken))
    name = group[0].name or " + ".join(joined.config["strategy"])
    return Cell(name, "", joined, tuple(run.folder for run in group), settings, tuple(notes))


def _named(cells: list[Cell]) -> list[Cell]:
    """Cells of one name in one block get what tells them apart, and their like in the other blocks the same settings."""
    keys: dict[str, set[str]] = {}
    for cell in cells:
        for other in _namesakes(cell, cells):
            own, others = cell.settings.method, other.settings.method
            keys.setdefault(cell.name, set()).update(k for k in own.keys() | others.keys() if own.get(k) != others.get(k))
    return [replace(cell, name=_with_settings(cell, sorted(keys.get(cell.name, ())), cells)) for cell in cells]


def _namesakes(cell: Cell, cells: list[Cell]) -> list[Cell]:
    block = (cell.name, cell.environment)
    return [other for other in cells if other is not cell and (other.name, other.environment) == block]


def _with_settings(cell: Cell, keys: list[str], cells: list[Cell]) -> str:
    words = [f"{_short(key, keys)}={cell.settings.method.get(key, '-')}" for key in keys]
    if any(other.settings.method == cell.settings.method for other in _namesakes(cell, cells)):
        words.append(f"(code {cell.settings.code[:6]})")
    return " ".join([cell.name, *words])


def _short(key: str, among: list[str]) -> str:
    """The last word of a dotted key, where that says which."""
    last = key.rpartition(".")[2]
    return key if sum(other.rpartition(".")[2] == last for other in among) > 1 else last


def _in_blocks(cells: list[Cell]) -> list[Cell]:
    """The environment's name on each cell: that of its stream, with what else tells the blocks apart."""
    streams = [stream_name(cell.results.config) for cell in cells]
    blocks = blocks_of([cell.settings for cell in cells], streams)
    return [replace(cell, environment=block) for cell, block in zip(cells, blocks, strict=True)]


def blocks(cells: list[Cell]) -> list[list[Cell]]:
    """Cells by environment, in the order in which these come."""
    names = list(dict.fromkeys(cell.environment for cell in cells))
    return [[cell for cell in cells if cell.environment == name] for name in names]


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
