"""How a sweep stays honest: trials are judged by validation data of tuning streams, winners by test data of fresh ones."""

from __future__ import annotations

from typing import Any

import torch

from lab.comparison.cells import spans
from lab.errors import UserError
from lab.protocols import Stream
from lab.sweep.arms import at
from lab.sweep.question import COSTS, Asked, Sweep
from lab.trial import validation_key

READS_NO_TEST = ("online_accuracy", "online_baseline", *COSTS)
"""Objectives measured on what is trained on, before it is trained on, and costs."""


def tuning_words(sweep: Sweep, asked: Asked) -> list[str]:
    """Words that make a run of an arm one of tuning: validation data, and only the first tasks where the sweep says so.

    Raises:
        UserError: an objective would read test data, and the sweep does not force it.
    """
    from lab.run import composed

    first = [] if sweep.first_tasks is None else [f"first_tasks={sweep.first_tasks}"]
    if not reading(sweep):
        return first
    config = composed(*asked.words)
    key = validation_key(config["environment"])
    own = at(config, key) if key else None
    if (own or (key and sweep.validation)) and "evaluation.split=test" not in asked.words:
        return ["evaluation.split=validation", *([] if own else [f"{key}={sweep.validation}"]), *first]
    if not sweep.force:
        raise UserError(f"{sweep.path}: {asked.name}: {_reads_test(sweep, asked, key)}")
    return ["evaluation.split=test", *first]


def _reads_test(sweep: Sweep, asked: Asked, key: str | None) -> str:
    """Why trials would be judged by test data, and what to do."""
    if "evaluation.split=test" in asked.words:
        why, remedy = "evaluation.split=test", "leave it out, or "
    elif key:
        why, remedy = "tuning.validation=0, and its own words hold nothing out", f"set that or {key} above 0, or "
    else:
        why, remedy = "its environment can hold nothing out of its training data", ""
    names = ", ".join(reading(sweep))
    told = f"{names} would be read from test data ({why}), so that winners are chosen by what they are judged by"
    return f"{told}; {remedy}have it so by force: true, which marks every result"


def reading(sweep: Sweep) -> list[str]:
    """The objectives that are measured on data held out, of which there is a test set."""
    return [name for name in sweep.objectives if name not in READS_NO_TEST]


def is_forced(sweep: Sweep, tuning: list[str]) -> bool:
    """Whether trials are judged by test data."""
    return bool(reading(sweep)) and "evaluation.split=validation" not in tuning


def sentence(sweep: Sweep, tuning: list[str], same_tasks: bool) -> str:
    """The protocol, for everybody who sees a result.

    Args:
        same_tasks: whether tuning streams have the tasks of final ones, which then differ in samples and their order alone.
    """
    forced = is_forced(sweep, tuning)
    share = next((word.partition("=")[2] for word in tuning if ".validation=" in word), None)
    held = f"validation data ({float(share):g} of each task's training data)" if share else "validation data"
    on = "TEST DATA (forced)" if forced else held if reading(sweep) else "what is trained on"
    first = "the first task" if sweep.first_tasks == 1 else f"the first {sweep.first_tasks} tasks"
    of = "all tasks" if sweep.first_tasks is None else first
    seeds = f"tuning streams ({spans(sweep.seeds)}, {of})"
    same = "; every seed's stream has the same tasks in this environment, so that tuning has seen them" if same_tasks else ""
    last = f"the winner is run on test data of fresh streams ({spans(sweep.final_seeds)})"
    return f"chosen by {', '.join(sweep.objectives)} on {on} of {seeds}; {last}{same}"


def same_tasks(one: Stream, other: Stream) -> bool:
    """Whether two streams have the same tasks: alike labels and views, as far as both go."""
    pairs = list(zip(one.tasks, other.tasks, strict=False))
    return all(torch.equal(mine.labels, yours.labels) and _equal(mine.view, yours.view) for mine, yours in pairs)


def _equal(mine: Any, yours: Any) -> bool:
    return mine is yours or (mine is not None and yours is not None and torch.equal(mine, yours))
