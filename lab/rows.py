"""Which examples tasks are measured on."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lab.seeding import generator


class Rows(nn.Module):
    """The examples that tasks are measured on: for each task a list of rows of the data for each member.

    What tasks and members have in common is kept once: a thousand permutations of one test set cost one list of rows.
    """

    def __init__(self, tasks: list[list[Tensor]]):
        super().__init__()
        kept: dict[tuple[int, ...], int] = {}
        self.members = len(tasks[0])
        self.numbers = [kept.setdefault(tuple(map(id, rows)), len(kept)) for rows in tasks]
        for number in kept.values():
            rows = tasks[self.numbers.index(number)]
            alike = all(len(row) == len(rows[0]) and torch.equal(row, rows[0]) for row in rows)
            examples, valid = _padded(rows[:1] if alike else rows)
            self.register_buffer(f"examples_{number}", examples, persistent=False)
            self.register_buffer(f"valid_{number}", valid, persistent=False)

    def count(self, task: int) -> int:
        """How many examples the member with most of them has of a task."""
        return getattr(self, f"examples_{self.numbers[task]}").shape[1]

    def forward(self, task: int) -> tuple[Tensor, Tensor]:
        """A task's rows, and whether each is an example (members may have fewer than others), both ``[M, n]``."""
        number = self.numbers[task]
        return tuple(getattr(self, f"{what}_{number}").expand(self.members, -1) for what in ("examples", "valid"))


class Grouped(nn.Module):
    """Groups of examples that tasks are measured on, of several kinds, and the examples that are in any of them, each once.

    Args:
        kinds: of each kind, rows ``[n, k]`` of each task, of each member.
    """

    def __init__(self, kinds: dict[str, list[list[Tensor]]]):
        super().__init__()
        shared = {}  # what tasks and members have in common is one tensor, and stays one
        tasks = [
            [self._once([own[t][m] for own in kinds.values()], shared) for m in range(len(each))]
            for t, each in enumerate(next(iter(kinds.values()), ()))
        ]
        self.kinds = nn.ModuleDict(
            {kind: Rows([[places[number] for _, places in task] for task in tasks]) for number, kind in enumerate(kinds)}
        )
        self.examples = Rows([[rows for rows, _ in task] for task in tasks]) if tasks else None

    @staticmethod
    def _once(groups: list[Tensor], shared: dict) -> tuple[Tensor, list[Tensor]]:
        """The rows in any of the groups, and where those of each kind are among them, one group after the other."""
        key = tuple(map(id, groups))
        if key not in shared:
            flat = [rows.flatten() for rows in groups]
            rows, places = torch.cat(flat).unique(return_inverse=True)
            shared[key] = rows, list(places.split([len(own) for own in flat]))
        return shared[key]

    def count(self, task: int) -> int:
        """How many examples the member with most of them has in groups of a task."""
        return self.examples.count(task) if self.examples else 0


def some(tasks: list[list[Tensor]], seeds: list[int], most: int | None) -> list[list[Tensor]]:
    """Of each task's rows for each member at most so many, drawn from the member's seed; None for all."""
    if most is None:
        return tasks
    return [
        [_shuffled(rows, seed, t)[:most].clone() for rows, seed in zip(task, seeds, strict=True)]
        for t, task in enumerate(tasks)
    ]


def _shuffled(examples: Tensor, seed: int, task: int) -> Tensor:
    return examples[torch.randperm(len(examples), generator=generator(seed, "evaluation", task))]


def _padded(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Index lists of the members as one ``[M, n]`` and which entries are real."""
    longest = max(map(len, rows))
    valid = torch.stack([torch.arange(longest) < len(row) for row in rows])
    return torch.stack([F.pad(row, (0, longest - len(row))) for row in rows]), valid
