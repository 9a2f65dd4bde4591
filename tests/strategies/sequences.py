"""A stream of token sequences with a reset of the weights in it, and a small network with slots."""

from dataclasses import replace
from functools import partial

import torch

from lab.networks import Pathways
from lab.protocols import Data, Examples, Stream, Task, generator, phase_per_task

VOCABULARY, LENGTH = 6, 8
NETWORK = partial(
    Pathways, (LENGTH,), 2, width=8, depth=2, heads=2, slots=4, kept=4, window=2, dropout=0.1, vocabulary=VOCABULARY
)


class Sequences:
    """Which of two tokens is there more often: another pair in each task; weights begin anew before the last one."""

    def __init__(self, tasks: int = 2, fresh: bool = True, examples: int = 14, uneven: bool = True):
        draw = generator(0, "sequences")
        inputs = torch.randint(0, VOCABULARY, (40 * tasks, LENGTH), generator=draw)
        task = torch.arange(40 * tasks) // 40
        one, other = ((inputs == (2 * task + k).remainder(VOCABULARY).unsqueeze(1)).sum(1) for k in (0, 1))
        split = Examples(inputs, (one > other).long())
        self.data = Data("sequences", split, split, 2, f"sequences-{tasks}")
        self.tasks, self.fresh, self.examples, self.uneven = tasks, fresh, examples, uneven

    def stream(self, seed: int) -> Stream:
        rows = [torch.arange(40 * t, 40 * t + self.examples - (seed % 4 if self.uneven else 0)) for t in range(self.tasks)]
        tasks = tuple(Task(own, own, torch.arange(2)) for own in rows)
        *sources, target = phase_per_task(tasks)
        return Stream(tasks, (*sources, replace(target, fresh=self.fresh)), "domain", 2)
