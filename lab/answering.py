"""Which output units a sample may be answered with, and whether it is answered rightly: for populations and engines alike."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Tested(Protocol):
    """Who is trained on a stream: a :class:`lab.learner.ContinualLearner`, or a :class:`lab.member.Member`."""

    evaluation: Any
    reader: Any
    outputs: str
    right_before: Tensor
    met_before: Tensor


def answered(learner: Tested, phase: int, tasks: Tensor) -> Tensor | None:
    """The units that the scenario and `outputs=` say for samples met as ``tasks`` ``[M, B]`` or ``[M, 1]`` in a phase: bool
    ``[M, B, C]`` or ``[M, 1, C]``; None for all."""
    scenario, outputs = learner.evaluation.scenario, learner.outputs
    if scenario == "task" or (scenario == "class" and outputs == "current"):
        return learner.reader.units_of(tasks)
    return learner.evaluation.seen[phase + 1].unsqueeze(1) if scenario == "class" and outputs == "seen" else None


def among(units: Tensor | None, logits: Tensor) -> Tensor:
    """Logits ``[M, B, ..., C]``, minus infinity at other than these units, ``[M, B, C]`` or ``[M, 1, C]``; None for all."""
    if units is None:
        return logits
    return logits.masked_fill(~units.view(*units.shape[:2], *[1] * (logits.dim() - 3), units.shape[-1]), -torch.inf)


def rightness(logits: Tensor, targets: Tensor) -> Tensor:
    """The share of each sample's labels that are answered rightly, ``[M, B]``: 0 or 1 where it has one label."""
    labelled = (targets >= 0).view(*targets.shape[:2], -1)
    right = (logits.argmax(-1) == targets).view_as(labelled) & labelled
    return right.sum(2) / labelled.sum(2).clamp(min=1)


@torch.no_grad()
def score_before(learner: Tested, phase: int, logits: Tensor, targets: Tensor, tasks: Tensor, counted: Tensor) -> None:
    """Score samples of the stream by the logits they get before they are trained on.

    Among the units that `outputs=` says: a strategy's own choice may have been made by looking at the labels.

    Args:
        targets: ``[M, B]``, or ``[M, B, L]`` for a label per token.
        tasks: that the samples are met as, ``[M, B]``.
        counted: float ``[M, B]``, 0 for what only fills the batch.
    """
    right = rightness(among(answered(learner, phase, tasks), logits), targets)
    learner.right_before.scatter_add_(1, tasks, right * counted)
    learner.met_before.scatter_add_(1, tasks, counted)
