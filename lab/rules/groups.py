"""Groups of examples that rules are about, drawn anew for every step.

Letters in shapes: M members, S steps, n groups there are, G drawn, k examples in a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.seeding import member_keys, uniform

if TYPE_CHECKING:
    from lab.protocols import Stream


class Groups(nn.Module):
    """The groups of one kind (``Task.groups``) that each phase of the members' streams is trained with.

    A phase's groups are those of the tasks that its examples are met as. They are drawn with replacement by numbers of the
    member's own. Nothing is kept in checkpoints: (configuration, seed) gives it again.
    """

    def __init__(self, streams: Sequence[Stream], seeds: Sequence[int], kind: str):
        super().__init__()
        self.register_buffer("keys", member_keys(list(seeds), f"groups/{kind}"), persistent=False)
        self.phases = [
            _pooled([_of_phase(stream, number, kind) for stream in streams]) for number in range(len(streams[0].phases))
        ]
        self._everyones = [pool is not None and bool((pool[2] > 0).all()) for pool in self.phases]
        for number, pool in enumerate(self.phases):
            for name, value in zip(("rows", "tasks", "count"), pool or (), strict=False):
                self.register_buffer(f"{name}_{number}", value, persistent=False)

    def there(self, phase: int) -> bool:
        """Whether some member has groups in a phase."""
        return self.phases[phase] is not None

    def everyones(self, phase: int) -> bool:
        """Whether every member has."""
        return self._everyones[phase]

    def size(self, phase: int) -> int:
        """k."""
        return getattr(self, f"rows_{phase}").shape[2]

    def draw(self, phase: int, clock: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
        """For each step, ``clock`` ``[M, S]``: examples and the tasks they are met as ``[M, S, G k]``, group by group, and
        whether the member has any ``[M]``."""
        rows, tasks, count = (getattr(self, f"{name}_{phase}") for name in ("rows", "tasks", "count"))
        lots = uniform(self.keys.unsqueeze(1), clock, groups)  # [M, S, G]
        chosen = (lots * count.view(-1, 1, 1)).long().clamp(max=rows.shape[1] - 1)
        member = torch.arange(len(rows), device=rows.device).view(-1, 1, 1)
        drawn = rows[member, chosen]  # [M, S, G, k]
        return drawn.flatten(2), tasks[member, chosen].unsqueeze(3).expand_as(drawn).flatten(2), count > 0


def _of_phase(stream: Stream, number: int, kind: str) -> tuple[Tensor, Tensor] | None:
    """A phase's groups ``[n, k]`` and their tasks ``[n]``; None where its tasks have none."""
    met = stream.phases[number].tasks.unique().tolist()
    own = [(stream.tasks[task].groups[kind], task) for task in met if len(stream.tasks[task].groups.get(kind, ()))]
    if not own:
        return None
    return torch.cat([rows for rows, _ in own]), torch.cat([torch.full((len(rows),), task) for rows, task in own])


def _pooled(members: list[tuple[Tensor, Tensor] | None]) -> tuple[Tensor, Tensor, Tensor] | None:
    """All members' groups as ``[M, n, k]``, their tasks ``[M, n]`` and how many they are ``[M]``; one memory for all where all
    have the same."""
    some = next((own for own in members if own), None)
    if some is None:
        return None
    width = some[0].shape[1]
    members = [own or (torch.zeros(0, width, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)) for own in members]
    counts = torch.tensor([len(rows) for rows, _ in members])
    if all(torch.equal(rows, some[0]) and torch.equal(tasks, some[1]) for rows, tasks in members):
        return some[0].expand(len(members), -1, -1), some[1].expand(len(members), -1), counts
    most = int(counts.max())
    rows = torch.stack([F.pad(rows, (0, 0, 0, most - len(rows))) for rows, _ in members])
    return rows, torch.stack([F.pad(tasks, (0, most - len(tasks))) for _, tasks in members]), counts
