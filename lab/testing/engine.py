"""The contract of engines as a battery of checks: whole runs over :class:`~lab.testing.miniature.Miniature` streams."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lab.errors import UserError
from lab.experiment import Experiment
from lab.progress import Progress
from lab.results import Results, load
from lab.testing.device import ContractError, in_words
from lab.testing.subject import SEEDS, Subject

CONTEXT = {"epochs": 2, "batch_size": 8}


def trained(subject: Subject, folder: Path, seeds: list[int] = SEEDS, scenario: str | None = None, **changes: Any) -> Path:
    """The run directory of a run to its end; ``changes`` of sections of the configuration, or of single values."""
    node = {"_target_": "lab.testing.miniature.Miniature", "scenario": scenario or subject.scenarios()[0]}
    base = subject.config | CONTEXT | {"environment": node, "seeds": list(seeds)}
    changes["paths"] = {"runs": str(folder)}
    for key, value in changes.items():
        base[key] = base[key] | value if isinstance(value, dict) else value
    return Experiment(base).run(Progress("a test", show=False))


def trains_where_it_claims(subject: Subject) -> None:
    """trains in every scenario it claims, and measures what is due"""
    for scenario in subject.scenarios():
        with tempfile.TemporaryDirectory() as folder, in_words(f"scenario {scenario}: training fails"):
            results = load(trained(subject, Path(folder), scenario=scenario))
        if np.isnan(results.accuracy[:, -1]).any() and not any(step is not None for step in results.diverged):
            raise ContractError(f"scenario {scenario}: the last accuracy was not measured; call Member.ended after each phase")
        if not min(results.cost["samples"]) or not results.cost["steps"]:
            raise ContractError(f"scenario {scenario}: no step was told of; call Member.stepped after each")


def keeps_members_apart(subject: Subject) -> None:
    """gives a member the same result whatever members were trained before it, in one process or in two"""
    with tempfile.TemporaryDirectory() as folder:
        alone = load(trained(subject, Path(folder), SEEDS[:1]))
        for seeds, processes in (([*reversed(SEEDS)], 1), (SEEDS, 2)):
            together = load(trained(subject, Path(folder) / str(processes), seeds, plan={"processes": processes}))
            found = together.accuracy[seeds.index(SEEDS[0])]
            if not np.array_equal(found, alone.accuracy[0], equal_nan=True):
                raise ContractError(
                    f"the member with seed {SEEDS[0]} ends with another accuracy in the run of seeds {seeds} than alone: "
                    "something is left from the member before it (a default object of a constructor, a global)"
                )


def is_not_led_by_global_generators(subject: Subject) -> None:
    """gives the same result whatever was drawn from global generators before"""
    with tempfile.TemporaryDirectory() as folder:
        first = load(trained(subject, Path(folder) / "first", plan={"processes": 1}))
        before = np.random.get_state()[1].tolist(), random.getstate()
        torch.rand(3)
        second = load(trained(subject, Path(folder) / "second", plan={"processes": 1}))
    if (np.random.get_state()[1].tolist(), random.getstate()) != before:
        raise ContractError("the global generators of numpy or Python are not as they were before the run")
    _alike(first, second, "run twice, it ends with another accuracy")


def goes_on_after_the_last_finished_member(subject: Subject) -> None:
    """repeats only the members that a killed run did not finish, with the same result"""
    with tempfile.TemporaryDirectory() as folder:
        run = trained(subject, Path(folder), plan={"processes": 1})
        whole, kept = load(run), {path: path.stat().st_mtime_ns for path in run.glob("member-*.ckpt")}
        (run / "results.json").unlink()
        lost = sorted(kept)[-1]
        lost.unlink()
        _alike(whole, load(trained(subject, Path(folder), plan={"processes": 1})), "a member trained again ends elsewhere")
        for path, when in kept.items():
            if path != lost and path.stat().st_mtime_ns != when:
                raise ContractError(f"{path.name}: a finished member was trained again")


def is_not_changed_by_being_measured(subject: Subject) -> None:
    """is not changed by being measured inside phases"""
    with tempfile.TemporaryDirectory() as folder:
        unseen = load(trained(subject, Path(folder)))
        try:
            seen = load(trained(subject, Path(folder), evaluation={"every": 1}))
        except UserError as refused:
            if "evaluation.every" in str(refused):
                return
            raise
        _alike(unseen, seen, "with evaluation.every=1 it ends with another accuracy")
        ends = [seen.curves["steps"].index(step) for step in _ends(seen)]
        if np.isnan(seen.curves["accuracy"][:, ends[-1]]).any() and seen.diverged == [None] * len(seen.seeds):
            raise ContractError("the last point of the curves was not measured")


def _ends(results: Results) -> list[int]:
    """The last step of each task."""
    steps, begun = results.curves["steps"], results.curves["task"]
    return [max(step for step, task in zip(steps, begun, strict=True) if task == number) for number in sorted({*begun})]


def _alike(one: Results, other: Results, wrong: str) -> None:
    if not np.array_equal(one.accuracy, other.accuracy, equal_nan=True):
        raise ContractError(f"{wrong} ({float(np.nanmax(np.abs(one.accuracy - other.accuracy))):.3f} apart)")


ENGINE_CHECKS: tuple[Callable[[Subject], None], ...] = (
    trains_where_it_claims,
    keeps_members_apart,
    is_not_led_by_global_generators,
    goes_on_after_the_last_finished_member,
    is_not_changed_by_being_measured,
)
