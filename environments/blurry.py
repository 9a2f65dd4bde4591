"""Blurry boundaries: every phase also shows examples of other tasks, and nobody says when one ends.

``uniform`` is the blurry setup of Aljundi et al. 2019 (arXiv 1903.08671) and Bang et al. 2021 (arXiv 2103.17230): the share
M of a phase's examples comes from all other tasks alike. (i-Blurry-N-M of Koh et al. 2022, arXiv 2110.10031, also keeps N %
of the classes out of the exchange; here N is 0.) ``gradual`` lets only neighbours overlap, one task fading into the next.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from environments.tasks import base_of
from lab.protocols import Environment, Phase, Stream, UserError, fraction, generator, one_of, require


class Blurry:
    """The examples of ``base``, each still met once an epoch as of its own task, but not always in its own task's phase.

    In the class-incremental scenario ``uniform`` shows some of every class from the first phase on.

    Args:
        share: of each task's examples, the part that is met in other phases (``gradual``: at most .5, and about half as much
            of the first and the last task, which have one neighbour).
        mixture: ``uniform``: that part is dealt out evenly to all other phases, and these are shuffled as usual.
            ``gradual``: neighbours are half and half at a boundary and mix linearly less with the distance from it, up to
            ``2 share`` of a task away; phases keep this order, which the stream's seed draws, in every epoch.
    """

    def __init__(self, base: Environment, share: float = 0.1, mixture: str = "uniform"):
        self.base = base_of(base)
        self.data = self.base.data
        self.share = fraction("environment.share", share)
        self.mixture = one_of("environment.mixture", mixture, ("uniform", "gradual"))
        require(mixture == "uniform" or share <= 0.5, "environment.share", share, "at most 0.5, since mixture is gradual")

    def stream(self, seed: int) -> Stream:
        stream = self.base.stream(seed)
        if any(phase.ordered for phase in stream.phases):
            raise UserError("environment.base: its examples are in an order of their own, which blurry would destroy")
        require(len(stream.phases) > 1, "environment.base.tasks", len(stream.phases), "at least 2, to mix them")
        mix = {"uniform": self._uniform, "gradual": self._gradual}[self.mixture]
        return replace(stream, phases=mix(stream.phases, seed))

    def _uniform(self, phases: tuple[Phase, ...], seed: int) -> tuple[Phase, ...]:
        count = len(phases)
        dealt: list[list[Tensor]] = [[] for _ in phases]
        for k, address in enumerate(map(_addresses, phases)):
            order = address[torch.randperm(len(address), generator=generator(seed, "blurry", k))]
            away = round(self.share * len(order))
            dealt[k].append(order[away:])
            for other in range(count - 1):
                dealt[(k + 1 + other) % count].append(order[other : away : count - 1])
        return tuple(_phase(phase, torch.cat(parts)) for phase, parts in zip(phases, dealt, strict=True))

    def _gradual(self, phases: tuple[Phase, ...], seed: int) -> tuple[Phase, ...]:
        # An example of time u, counted in tasks, is met at u + e, e uniform in [-w, w]. Beyond a boundary, at distance d, the
        # earlier task's part is then P(e > d) = (w - d) / 2w: a half falling to 0, w / 4 of a task in all, on either side.
        sizes = [len(phase.examples) for phase in phases]
        draws = torch.rand(2, sum(sizes), dtype=torch.float64, generator=generator(seed, "blurry"))
        number = torch.repeat_interleave(torch.arange(len(phases)), torch.tensor(sizes))
        time = number + draws[0] + 2 * self.share * (2 * draws[1] - 1)
        met = torch.cat([_addresses(phase) for phase in phases])[time.argsort()].split(sizes)
        return tuple(_phase(phase, address, ordered=True) for phase, address in zip(phases, met, strict=True))


def _addresses(phase: Phase) -> Tensor:
    """A phase's examples and the tasks they are met as, ``[n, 2]``."""
    return torch.stack([phase.examples, phase.tasks], 1)


def _phase(phase: Phase, address: Tensor, ordered: bool = False) -> Phase:
    return replace(phase, examples=address[:, 0], tasks=address[:, 1], announced=False, ordered=ordered)
