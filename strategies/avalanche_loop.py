"""What Avalanche's loop is given in place of its own: experiences, the order of samples, somebody to tell of each step, and a
way to ask what a strategy answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from lab.protocols import Stream

if TYPE_CHECKING:
    from lab.protocols import Member


class Told:
    """An experience of which nothing but the task is told: what is answered is never seen."""

    def __init__(self, task: int):
        self.task_labels, self.task_label = [task], task

    def logging(self) -> Told:
        """As Avalanche's loggers are to see it."""
        return self


@dataclass
class Experience(Told):
    """As Avalanche's strategies read and write them."""

    dataset: Any
    current_experience: int
    classes: list[list[int]] = field(repr=False)
    """Of each phase."""

    def __post_init__(self):
        self.task_labels = sorted(self.dataset.targets_task_labels.uniques)
        self.task_label = self.task_labels[0]
        self.classes_in_this_experience = sorted(self.dataset.targets.uniques)
        self.origin_stream = SimpleNamespace(name="train")
        flat = [unit for units in self.classes for unit in units]
        self.benchmark = SimpleNamespace(n_classes_per_exp=[len(units) for units in self.classes], classes_order=flat)


def classes_of(stream: Stream) -> list[list[int]]:
    """The output units that each phase's samples are answered with."""
    return [
        sorted({int(unit) for task in phase.tasks.unique() for unit in stream.tasks[task].labels if unit >= 0})
        for phase in stream.phases
    ]


def dataset_of(member: Member, samples: Any) -> Any:
    """A phase's samples as Avalanche's; task labels are all 0 where the task is not told."""
    from avalanche.benchmarks.utils.classification_dataset import _make_taskaware_tensor_classification_dataset as make

    groups = None
    if member.stream.augment:
        groups = {"train": (member.shown, None), "eval": (partial(member.shown, augment=False), None)}
    told = samples.tasks.tolist() if member.stream.scenario == "task" else 0
    return make(samples.inputs, samples.targets, task_labels=told, transform_groups=groups)


class Batches:
    """A sampler of Avalanche's loaders: every time it is gone through, the member's next epoch."""

    def __init__(self, member: Member, phase: int, count: int, width: int, note: Callable[[list[int]], None]):
        self.batches, self.note, self.epoch = partial(member.batches, phase, count=count, width=width), note, 0

    def __len__(self) -> int:
        return len(self.batches(0))

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        for positions in self.batches(self.epoch - 1):
            self.note(positions)
            yield positions


class Watch:
    """A plugin of Avalanche's strategies: has samples come in the member's order, and tells the member of each step."""

    def __init__(self, member: Member, in_order: bool):
        self.member, self.in_order = member, in_order
        self.samples: Any = None
        self.positions: list[int] = []

    def begin(self, phase: int) -> None:
        self.phase = phase

    def before_training_exp(self, strategy: Any, **_options: Any) -> None:
        """Behind all plugins that put loaders of their own in place."""
        from avalanche.benchmarks.utils.data_loader import ReplayDataLoader, SingleDatasetDataLoader

        loader = strategy.dataloader
        replays = isinstance(loader, ReplayDataLoader)
        if not self.in_order:
            if len(loader.datasets) > 1 and not replays:  # of several tasks, which Avalanche would draw evenly from
                strategy.dataloader = SingleDatasetDataLoader(
                    strategy.adapted_dataset, batch_size=len(strategy.adapted_dataset)
                )
            return
        theirs, made = loader._create_samplers, {}
        current = 1 if replays else len(loader.datasets)

        def samplers(datasets: list[Any], widths: list[int], *rest: Any) -> list[Any]:
            for number in range(current):
                if number not in made:
                    made[number] = Batches(self.member, self.phase, len(datasets[number]), widths[number], self.take)
            return [made.get(number, sampler) for number, sampler in enumerate(theirs(datasets, widths, *rest))]

        loader._create_samplers = samplers

    def before_training_iteration(self, strategy: Any, **_options: Any) -> None:
        augmented = strategy.mb_x[: len(self.positions)].cpu() if self.member.stream.augment else None
        self.member.meet(self.phase, self.positions, self.samples, augmented)

    def after_training_iteration(self, strategy: Any, **_options: Any) -> None:
        self.member.stepped(strategy.loss.detach())

    def take(self, positions: list[int]) -> None:
        """These are the next batch."""
        self.positions = positions
        self.member.sampled += len(positions)


def scores_of(strategy: Any, answer: Callable[[Any], Tensor], outputs: int, inputs: Tensor, task: int | None) -> Tensor:
    """What a strategy answers in its evaluation mode, ``[B, C]``; the strategy is left as it was."""
    label = 0 if task is None else task
    kept = {name: getattr(strategy, name) for name in ("is_training", "experience", "mbatch", "mb_output")}
    modes = [(module, module.training) for module in strategy.model.modules()]
    labels = torch.zeros(len(inputs), dtype=torch.int64, device=inputs.device)
    try:
        strategy.model.eval()
        strategy.model.open = True
        strategy.is_training, strategy.experience = False, Told(label)
        strategy.mbatch = [inputs, labels, labels + label]
        strategy._before_eval_forward()
        strategy.mb_output = strategy.forward()
        strategy._after_eval_forward()
        scores = answer(strategy)
    finally:
        strategy.model.open = False
        for module, mode in modes:
            module.training = mode
        for name, value in kept.items():
            setattr(strategy, name, value)
    missing = outputs - scores.shape[1]
    return nn.functional.pad(scores, (0, missing), value=-torch.inf) if missing else scores
