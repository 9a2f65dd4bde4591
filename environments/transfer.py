"""Source, reset, target: what a learner keeps outside of its weights is what can help with the target."""

from __future__ import annotations

from dataclasses import replace

import torch

from environments.tasks import base_of, switch
from lab.protocols import Environment, Phase, Stream, UserError, number, require, whole


class Transfer:
    """The stream of ``base``, its weights and optimiser begun anew after the first ``sources`` tasks.

    The protocol of Basu 2026 (arXiv 2603.22858): the new weights come from the member's seed and know nothing of the source;
    memories of strategies (fields, buffers, old networks) go on. Runs that keep and runs that drop them (``carry``) are paired
    by seed: the same sequences, orders and weights. The target is measured by itself as ``target_aulc`` and
    ``target_accuracy``.

    Args:
        sources: so many of the base's tasks are the source, the others the target.
        joint: whether the source's tasks are trained together, in one phase with the steps of all; else in turn.
        effort: how many times ``steps`` a task of the source has (``epochs`` are as many for all tasks).
    """

    def __init__(self, base: Environment, sources: int = 1, joint: bool = False, effort: float = 1.0):
        self.base = base_of(base)
        self.data = self.base.data
        self.sources, self.joint = whole("environment.sources", sources, 1), switch("environment.joint", joint)
        self.effort = number("environment.effort", effort, 0)
        require(effort > 0, "environment.effort", effort, "a number above 0")

    def stream(self, seed: int) -> Stream:
        stream = self.base.stream(seed)
        there = len(stream.tasks)
        own = (phase.completes == k and bool((phase.tasks == k).all()) for k, phase in enumerate(stream.phases))
        if len(stream.phases) != there or not all(own) or not all(phase.announced for phase in stream.phases):
            raise UserError("environment.base: mixes tasks or announces none, and the source is to end where the target begins")
        require(there > 1, "environment.base", type(self.base).__name__, "an environment of at least 2 tasks, one the target")
        require(
            self.sources < there, "environment.sources", self.sources, f"at most {there - 1}, which leaves one as the target"
        )
        source = tuple(replace(phase, effort=self.effort * phase.effort) for phase in stream.phases[: self.sources])
        target = stream.phases[self.sources :]
        return replace(stream, phases=(*self._source(source), replace(target[0], fresh=True), *target[1:]))

    def _source(self, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if not self.joint:
            return phases
        examples, tasks = (torch.cat([getattr(phase, part) for phase in phases]) for part in ("examples", "tasks"))
        return (replace(phases[-1], examples=examples, tasks=tasks, effort=sum(phase.effort for phase in phases)),)
