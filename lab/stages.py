"""A run in stages: trained up to a task's end, looked at, and gone on with by those members alone that are worth it.

Who went on after each task's end is kept in `stages.json` of the run directory, so that a killed run does not ask again. Each
process keeps its own members to the end: who is left goes on with the bits that they would have had in company
(:mod:`lab.compacting`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from lab.compacting import cut_file
from lab.errors import IncompleteError, UserError
from lab.plan import Plan
from lab.progress import Progress
from lab.results import OVER_PAIRS, Results, join, write_whole
from lab.training import finished, newest_whole, restored, results_of, step_of, train
from lab.workers import Report, side_by_side

if TYPE_CHECKING:
    from lab.experiment import Experiment

FILE = "stages.json"


@dataclass(frozen=True)
class Reached:
    """A task's end."""

    task: int
    """How many tasks have ended."""
    tasks: int
    """How many there are."""
    members: list[int]
    """Who is there: positions in the run's seeds."""
    results: Results
    """Theirs, as if the stream ended here."""


Decide = Callable[[Reached], list[int]]
"""Who of those who are there is to go on. Who diverged does not, whatever is said."""


def left(folder: Path) -> list[int] | None:
    """Who a run in stages went on with at last: positions in its seeds; None for one that has not come to a task's end."""
    told = _told(folder)
    return told[-1] if told else None


def _told(folder: Path) -> list[list[int]]:
    path = folder / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


@dataclass(frozen=True)
class Stages:
    """A run that ``decide`` is asked about at each task's end but the last.

    Args:
        shares: the members of each process.
    """

    experiment: Experiment
    shares: list[list[int]]
    plan: Plan
    progress: Progress
    decide: Decide

    def run(self) -> tuple[list[int], list[Results]]:
        """Train, or go on training, to the end; who is left, in order, and their results, process by process."""
        torch.set_num_threads(self.plan.threads if len(self.shares) == 1 else 1)
        course = self.experiment.course(self.shares[0], self.plan.block)
        self.progress.begin(course.total, len(self.shares))
        told, parts = _told(self.experiment.folder), []
        members = told[-1] if told else sorted(m for share in self.shares for m in share)
        for number in range(len(told), len(course.ends)):
            if not members:
                break
            parts = self._stage(members, course.ends[number])
            if number + 1 < len(course.ends):
                reached = self._reached(members, parts, course.phases[number].completes + 1, course.ends[number])
                members = self._kept(reached)
                told.append(members)
                content = json.dumps(told).encode()
                write_whole(self.experiment.folder / FILE, lambda file, content=content: file.write(content))
        return members, parts if members else []

    def _kept(self, reached: Reached) -> list[int]:
        """Who goes on: of those who could learn anything the chosen ones."""
        chosen = set(self.decide(reached))
        pairs = zip(reached.members, reached.results.diverged, strict=True)
        return [member for member, step in pairs if member in chosen and step is None]

    def _reached(self, members: list[int], parts: list[Results], task: int, step: int) -> Reached:
        places = [members.index(m) for share in self._left(members).values() for m in share]
        joined = join(parts, [self.experiment.seeds[m] for m in members], places)
        return Reached(task, joined.accuracy.shape[2], members, as_ended(joined, task, step))

    def _left(self, members: list[int]) -> dict[int, list[int]]:
        """Of each process that has members left, which."""
        own = {number: [m for m in share if m in set(members)] for number, share in enumerate(self.shares)}
        return {number: share for number, share in own.items() if share}

    # --- a stage ------------------------------------------------------------------------------------------------------

    def _stage(self, members: list[int], stop: int) -> list[Results]:
        """Have these members trained up to a step, in their processes."""
        jobs = {number: partial(self._train, number, own, stop) for number, own in self._left(members).items()}
        if len(self.shares) == 1:
            return [jobs[0](partial(self.progress.report, 0))]
        numbers = list(jobs)
        expected = (UserError, IncompleteError, OSError)
        return side_by_side(list(jobs.values()), lambda job, step: self.progress.report(numbers[job], step), expected)

    def _train(self, number: int, members: list[int], stop: int, report: Report) -> Results:
        own = self._stopping_at(stop)
        folder = own.folder / f"part-{number}"
        learner = own.learner(members, self.plan, self.shares[number])
        newest = newest_whole(folder, own.digest)
        if newest:
            cut_file(newest, learner)
        if newest and step_of(newest) >= stop:
            keeper = restored(learner, newest, own.digest)
        else:
            keeper = train(learner, own.trainer_options, folder, own.digest, report)
        if not (keeper.step == stop or finished(learner, keeper)):
            at = f"stopped at step {keeper.step} of {learner.course.total}"
            raise IncompleteError(f"{at}; the same command without trainer.max_steps goes on")
        return results_of(learner, keeper, own.config, own.provenance(self.plan) | {"core": keeper.core})

    def _stopping_at(self, step: int) -> Experiment:
        """The same run, that stops at a step, or sooner where the user says so."""
        own, trainer = copy.copy(self.experiment), self.experiment.config["trainer"]
        own.config = own.config | {"trainer": trainer | {"max_steps": min(step, trainer["max_steps"] or step)}}
        return own


def as_ended(results: Results, tasks: int, step: int) -> Results:
    """The results that a run which has come to a step would have if its stream ended there, with its first ``tasks`` tasks."""

    def square(matrix: np.ndarray | None) -> np.ndarray | None:
        return None if matrix is None else matrix[:, : tasks + 1, :tasks]

    def of_weights(given: dict[str, Any]) -> dict[str, Any]:
        return {name: points(of) if name == "curves" else square(of) for name, of in given.items()}

    def points(curves: np.ndarray | None) -> np.ndarray | None:
        return None if curves is None else curves[:, :recorded, :tasks]

    recorded = sum(at <= step for at in results.curves["steps"]) if results.curves else 0
    curves = results.curves and results.curves | {
        "steps": results.curves["steps"][:recorded],
        "task": results.curves["task"][:recorded],
        "accuracy": points(results.curves["accuracy"]),
    }
    of_tasks = {name: getattr(results, name) for name in ("online_accuracy", "online_baseline")}
    return replace(
        results, **{name: square(getattr(results, name)) for name in OVER_PAIRS},
        **{name: None if of is None else of[:, :tasks] for name, of in of_tasks.items()},
        curves=curves, beside={kind: of_weights(other) for kind, other in results.beside.items()},
        matrices={name: square(matrix) for name, matrix in results.matrices.items()},
        cost=results.cost | {"steps": step}, metrics={}, undefined={}, encounters=None, scheduled=None, violated=None,
    )  # fmt: skip
