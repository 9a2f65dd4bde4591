"""Whether what is known of the outputs can be kept, and is kept by the labels: looked at before training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lab.errors import UserError
from lab.protocols import Data, Stream
from lab.rules import unsatisfiable, violations_by_labels


def refuse_contradictions(stream: Stream, data: Data) -> None:
    """Refuse rules that no answer keeps together, where the answers are few enough to be tried.

    Raises:
        UserError: names the rules.
    """
    names, _ = unsatisfiable(stream.rules, data.layout) if stream.rules else ([], "")
    if names:
        texts = {rule.name: rule.text for rule in stream.rules}
        said = "; ".join(f"{name}: {texts[name]}" for name in names)
        what = "no answer keeps this rule" if len(names) == 1 else "no answer keeps these rules together"
        raise UserError(f"environment.rules: {what}: {said}")


def refuse_unsayable(stream: Stream, data: Data) -> None:
    """Refuse training labels that cannot be said at their place, whose loss would be that of a probability of 0: an environment
    that replaces labels does not know where each may be.

    Raises:
        UserError: says how many there are.
    """
    if data.layout is None or data.layout.sayable.shape[1] != stream.outputs:
        return
    places, strange = torch.arange(data.layout.places), 0
    for task in stream.tasks:
        classes = data.train.targets[task.train].view(-1, data.layout.places)
        units = torch.where(classes >= 0, task.labels[classes.clamp(min=0)], -1)
        strange += int(((units >= 0) & ~data.layout.sayable[places, units.clamp(min=0)]).sum())
    if strange:
        raise UserError(
            f"environment: {strange} training labels are no answers at their places, tags where intents are told, say"
        )


def announcements(environment: Any, stream: Stream) -> Iterator[str]:
    """What a user should know of the data and the rules before training, in sentences; ``stream``: of the first member."""
    inner = environment
    while inner is not None:
        told = inner.announcement() if hasattr(inner, "announcement") else None
        if told:
            yield told
        inner = getattr(inner, "base", None)
    yield from _broken_by_labels(stream, environment.data)


def _broken_by_labels(stream: Stream, data: Data) -> Iterator[str]:
    """Which rules are broken by labels, and how many, in training and in test data."""
    for split, test in (("training", False), ("test", True)):
        counts = violations_by_labels(stream.rules, data, _groups(stream, test), test) if stream.rules else {}
        broken = [f"{name} by {wrong} of {whole}" for name, (wrong, whole) in counts.items() if wrong]
        if broken:
            yield f"labels of {split} examples break rules: {', '.join(broken)}"


def _groups(stream: Stream, test: bool) -> dict[str, Tensor]:
    """All groups of each kind that some task has, each once; of single examples all that tasks are trained on or tested by."""
    tasks = stream.tasks
    found = [dict(task.test_groups if test else task.groups) for task in tasks]
    for task, groups in zip(tasks, found, strict=True):
        groups["single"] = (task.test if test else task.train).unsqueeze(1)
    kinds = {kind for groups in found for kind in groups}
    return {kind: torch.cat([groups[kind] for groups in found if kind in groups]).unique(dim=0) for kind in sorted(kinds)}
