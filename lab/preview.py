"""`lab schedule`: the order, the rate and the averaging of what `lab run` with the same words would train, before it does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lab.errors import require

if TYPE_CHECKING:
    from lab.experiment import Experiment
    from lab.scheduled import OfTask
    from lab.stream import Course

FORMATS = (".png", ".svg", ".pdf")

MOST_TASKS = 20
"""Rows of members of a kind; of more tasks, evenly spaced ones."""


def main(arguments: list[str]) -> int:
    """Print the table, and draw the figure if there is to be one; 0 done, 2 the user's mistake."""
    from lab.run import answered

    given = _parse(arguments)
    return answered(lambda: _look(given))


def _look(given: argparse.Namespace) -> None:
    path = None if given.figure is None else Path(given.figure).expanduser()
    if path is not None:
        require(path.suffix in FORMATS, "--figure", given.figure, f"a name that ends in {', '.join(FORMATS)}")

    from lab.experiment import Experiment
    from lab.run import composed
    from lab.scheduled import by_task, scheduled

    experiment = Experiment(composed(*given.overrides))
    course, without = _course(experiment, given.scores)
    quality = None if without else experiment.environment.data.train.quality
    of_members = course, experiment.averaging(list(range(len(experiment.seeds)))), quality
    _print(experiment.config, by_task(*of_members), course.total, without)
    if path is not None:
        _write(scheduled(*of_members), experiment.config, path)
        print(path)


def _course(experiment: Experiment, scores: bool) -> tuple[Course, bool]:
    """All members' course, and whether it is without the scores that it will be ordered by."""
    from lab.plan import LONGEST_BLOCK

    if experiment.waits_for_scores and not scores:
        return experiment.course_at_random(), True
    return experiment.course(list(range(len(experiment.seeds))), LONGEST_BLOCK), False


# --- what is shown ----------------------------------------------------------------------------------------------------


def _print(config: dict[str, Any], tasks: list[OfTask], steps: int, without: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from lab.report.curves import thinned
    from lab.report.scheduled import kind_of_score, kinds
    from lab.report.summary import cell_name

    of_kinds, scored = kinds(config, len(tasks[0].steps)), tasks[0].quality is not None
    averages = any(any(task.taken) for task in tasks)
    columns = ["task", "steps", "rate: first", "middle", "last"]
    columns += [f"{kind_of_score(config)}: first tenth", "last tenth"] if scored else []
    columns += ["weights taken in"] if averages else []
    table = Table(title=f"{cell_name(config)}: {steps} steps")
    for name in ["members", *columns] if len(of_kinds) > 1 else columns:
        table.add_column(name, justify="left" if name == "members" else "right")
    for kind, members in of_kinds.items():
        for task in thinned(np.array(tasks, dtype=object), MOST_TASKS):
            table.add_row(*([kind] if len(of_kinds) > 1 else []), *_cells(task, members, config, averages))
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for note in _notes(tasks, without):
        print(note)


def _cells(task: OfTask, members: list[int], config: dict[str, Any], averages: bool) -> Iterator[str]:
    from lab.report.scheduled import peaks
    from lab.report.summary import mean_over_members

    yield str(task.task + 1)
    yield _range([task.steps[m] for m in members])
    yield from (f"{rate:.4g}" for rate in mean_over_members((task.rate * peaks(config))[members]))
    if task.quality is not None:
        yield from ("-" if np.isnan(mean) else f"{mean:.3f}" for mean in mean_over_members(task.quality[members]))
    if averages:
        yield _range([task.taken[m] for m in members])


def _notes(tasks: list[OfTask], without: bool) -> Iterator[str]:
    if len(tasks) > MOST_TASKS:
        yield f"{MOST_TASKS} of {len(tasks)} tasks, evenly spaced."
    if without:
        yield (
            "Without the scores: order.score=reference has learners trained for them. With --scores they are trained now "
            "(and kept for the run)."
        )
    elif tasks[0].quality is not None:
        known = int(np.isfinite(tasks[0].quality).any(1).sum())
        if known < len(tasks[0].quality):
            yield f"Quality: of the first {known} of {len(tasks[0].quality)} members, since all would take long."


def _range(counts: list[int]) -> str:
    low, high = min(counts), max(counts)
    return str(low) if low == high else f"{low} to {high}"


def _write(found: dict[str, Any], config: dict[str, Any], path: Path) -> None:
    from lab.report.scheduled import figure
    from lab.report.summary import cell_name
    from lab.results import write_whole

    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = figure(found, config, cell_name(config))
    write_whole(path, partial(drawn.savefig, format=path.suffix[1:], dpi=150))


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("lab schedule", description=__doc__.partition(": ")[2])
    parser.add_argument("overrides", nargs="*", help="as for lab run: experiment=graded_digits co_schedule=cdma seeds=3")
    parser.add_argument("--figure", metavar="FILE", help=f"draw it, too ({', '.join(FORMATS)})")
    parser.add_argument("--scores", action="store_true", help="train the learners that order.score=reference asks for")
    return parser.parse_intermixed_args(arguments)
