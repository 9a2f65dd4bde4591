"""The same images with other random labels in each task: what is measured is whether a learner can still learn.

Random labels have nothing in common from task to task, and nothing to be generalised: every task is as hard as the first, so
that what is learnt less of it later is plasticity lost (Lyle et al. 2023, "Understanding Plasticity in Neural Networks", arXiv
2303.01486). 1200 images and 50 tasks are the Random Label MNIST of Kumar et al. 2023, "Maintaining Plasticity in Continual
Learning via Regenerative Regularization", arXiv 2308.11958.
"""

from __future__ import annotations

import torch
from torch import Tensor

from environments.tasks import SHARED, source_of, switch
from lab.protocols import Data, Examples, Stream, Task, generator, phase_per_task, require, whole


class Relabelled:
    """``tasks`` random labellings of ``samples`` images, whose own labels are not used.

    A task is tested on the very examples that it is trained on: R[j, j] over tasks j is how well each was memorised. The
    images are the same for all members (drawn from the source's training images); the labels come from the member's seed,
    every output unit that of as many images, so that chance is 1 / ``classes``.

    Each image is a class of its own here, whose output unit is another in every task: the scenario is domain-incremental.

    Args:
        samples: how many images.
        classes: output units; None for as many as the source has classes.
        shared: the same labels for all members.
    """

    def __init__(self, source: Data, tasks: int = 50, samples: int = 1200, classes: int | None = None, shared: bool = False):
        source, self.tasks = source_of(source), whole("environment.tasks", tasks, 1)
        there = len(source.train)
        require(
            whole("environment.samples", samples, 1) <= there,
            "environment.samples",
            samples,
            f"at most {there}, all of {source.name}",
        )
        self.classes = source.classes if classes is None else whole("environment.classes", classes, 2)
        require(self.classes <= samples, "environment.classes", self.classes, f"at most the {samples} of environment.samples")
        self.shared = switch("environment.shared", shared)
        chosen = torch.randperm(there, generator=generator(SHARED, "relabelled"))[:samples].sort().values
        self.data = each_its_own(source, chosen)

    def stream(self, seed: int) -> Stream:
        everything, seed = torch.arange(len(self.data.train)), SHARED if self.shared else seed
        tasks = tuple(Task(everything, everything, self._labels(seed, t)) for t in range(self.tasks))
        return Stream(tasks, phase_per_task(tasks), "domain", self.classes)

    def _labels(self, seed: int, task: int) -> Tensor:
        order = torch.randperm(len(self.data.train), generator=generator(seed, "relabelled", task))
        return order % self.classes


def each_its_own(source: Data, rows: Tensor) -> Data:
    """Some training examples of a source, each a class of its own, to be trained and tested on."""
    own = torch.arange(len(rows))
    train, test = (Examples(source.train.inputs[rows], own) for _ in range(2))
    return Data(source.name, train, test, len(rows), f"{source.digest}-relabelled-{len(rows)}")
