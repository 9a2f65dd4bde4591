"""Results files made by hand, so that a comparison can be tested without training."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from lab.results import Results, save
from lab.run import composed

TASKS = 3


@cache
def config(*words: str) -> dict:
    """The configuration of a run with these words."""
    return composed("tracking=off", f"environment.tasks={TASKS}", *words)


def results(values, *words, seeds=None, diverged=None, cell="c0", data="d0", undefined_rows=False) -> Results:
    """A run whose members' final accuracies are ``values``, and whose forgetting is .9 - value."""
    values = np.array(values, dtype=float)
    seeds = list(range(len(values))) if seeds is None else seeds
    accuracy = np.full((len(values), TASKS + 1, TASKS), 0.9)
    accuracy[:, -1] = values[:, None]
    if undefined_rows:
        accuracy[:, 1:-1] = np.nan
    lost = [None] * len(values) if diverged is None else diverged
    cost = {"wall_seconds": 2.0, "wall_seconds_per_member": 1.0, "state_bytes": 8, "samples": [30] * len(values), "steps": 3}
    cost |= {"passes": 60, "resumed_from_step": None}
    origin = {"cell": cell, "commit": "abc1234", "versions": {"torch": "2"}, "hardware": {"device": "cpu"}}
    whole = config(*words) | {"seeds": seeds}
    return Results(whole, seeds, accuracy, None, lost, cost, provenance=origin | {"data": {"name": "digits", "digest": data}})


def folder(parent: Path, name: str, *args, **more) -> Path:
    """A finished run directory."""
    place = parent / name / "seeds"
    place.mkdir(parents=True)
    save(results(*args, **more), place)
    return place
