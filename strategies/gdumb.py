"""GDumb: Prabhu, Torr & Dokania 2020, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning", ECCV.

Store as many samples of each class as of any other, and when an answer is wanted, train a new network on what is stored, the
current task's samples among it; nothing else of the stream is learnt from. Any remedy should do better.

What is stored depends on the stream alone, so a task's training is that of a phase whose examples are the memory's content when
the task has been met, from new weights. ``epochs`` are passes over the memory. Their sampler keeps the first samples of each
class; here each class keeps a uniform sample of all that were met of it, the same number. Their schedule, SGDR, and their
augmentation, CutMix, are left to the configuration.
"""

from dataclasses import replace

import torch

from lab.protocols import Balanced, Data, Strategy, Stream, require, require_room, whole


class GDumb(Strategy):
    """Train a network anew on a class-balanced memory of ``memory`` samples whenever a task has been met.

    Args:
        same: begin each time at the weights that the member began at (as Avalanche does), or at new ones.
    """

    needs_boundaries = needs_classes = True

    def __init__(self, memory: int = 500, same: bool = False):
        super().__init__()
        self.memory, self.same = whole("strategy.gdumb.memory", memory, 1), same
        require(isinstance(same, bool), "strategy.gdumb.same", same, "true or false")

    def check(self, stream, data):
        require_room("strategy.gdumb.memory", self.memory, stream.outputs)

    def rewrite(self, stream: Stream, data: Data, seed: int) -> Stream:
        labels, targets = torch.stack([task.labels for task in stream.tasks]), data.train.targets
        memory = Balanced(
            [seed], self.memory, stream.outputs, lambda examples, tasks: labels[tasks, targets[examples]], "gdumb"
        )
        phases = []
        for k, phase in enumerate(stream.phases):
            memory.offer(phase.examples.unsqueeze(0), phase.tasks.unsqueeze(0), None, torch.tensor([k]))
            examples, tasks, filled = (part[0] for part in memory.contents())
            phases.append(replace(phase, examples=examples[filled], tasks=tasks[filled], ordered=False))
        return replace(stream, phases=tuple(phases), prequential=False)

    def setup(self, learner):
        self.first = learner.snapshot() if self.same else None

    def begin_task(self, learner, task):
        if self.same:
            self.first.give()
        elif task > 0:
            learner.population.load(learner.population.fresh("gdumb", task))
        learner.optimizer.reset()
