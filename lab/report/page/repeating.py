"""The configuration of a cell as a file that `lab run` takes: a page holds all that is needed to repeat what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.comparison.cells import Cell
from lab.report.page.facts import label

QUIET = """defaults:
  - override hydra/hydra_logging: disabled
  - override hydra/job_logging: disabled
  - _self_
hydra:
  output_subdir: null
  run:
    dir: .
"""
"""What keeps Hydra from leaving files of its own, as in the lab's own configuration."""


@dataclass(frozen=True)
class Recipe:
    """A file to save, and the commands that take it."""

    cell: str
    file: str
    text: str
    commands: list[str]


def recipes(cells: list[Cell]) -> list[Recipe]:
    """How to train each cell again; every file has a name of its own."""
    taken: set[str] = set()
    return [_recipe(cell, label(cell, cells), taken) for cell in cells]


def _recipe(cell: Cell, name: str, taken: set[str]) -> Recipe:
    import yaml

    stem = _stem(name, taken)
    kept = {key: value for key, value in cell.results.config.items() if key not in ("paths", "tracking", "hydra", "defaults")}
    kept["seeds"] = cell.results.seeds
    kept["data"] = kept.get("data", {}) | {"dir": "${oc.env:LAB_DATA,null}"}
    kept |= {"tracking": {"enabled": False}, "paths": {"runs": "runs"}}
    commit = cell.results.provenance.get("commit")
    checkout = [f"git checkout {commit}"] if commit else []
    text = QUIET + yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return Recipe(name, f"{stem}.yaml", text, [*checkout, f"lab run -cd . -cn {stem}"])


def _stem(name: str, taken: set[str]) -> str:
    """A file's name that needs no quotes anywhere."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "cell"
    stem, number = plain, 1
    while stem in taken:
        number += 1
        stem = f"{plain}_{number}"
    taken.add(stem)
    return stem
