"""From addresses to tensors: (example, task) -> what the network is shown and what it should answer, on the device."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from lab.errors import UserError
from lab.protocols import NO_LABEL, Data, Stream

READ_AT_ONCE = 2**20
"""Numbers, on a CPU: what still lies in its cache when the network comes to it."""
READ_AT_ONCE_ELSEWHERE = 2**25
"""On an accelerator, where fewer kernels are what counts: 128 MiB."""


class Reader(nn.Module):
    """The data, once, and how each member's tasks see them.

    Data lie in memory on the device (uint8 stays uint8 until it is read); nothing here is saved in checkpoints, since
    (configuration, seed) gives it again.
    """

    def __init__(self, data: Data, streams: list[Stream]):
        super().__init__()
        first = streams[0]
        alike = all(
            (len(s.tasks), s.outputs, s.view, s.scenario) == (len(first.tasks), first.outputs, first.view, first.scenario)
            for s in streams
        )
        if not alike:
            raise UserError("environment: all members' streams must agree in the number of tasks, outputs, view and scenario")
        self.view, self.augment, self.layout = first.view, first.augment, data.layout
        self.shape = tuple(data.train.inputs.shape[1:])
        self.tokens = data.train.inputs.dtype == torch.int64
        for split in ("train", "test"):
            self._keep(f"{split}_inputs", getattr(data, split).inputs)
            self._keep(f"{split}_targets", getattr(data, split).targets)
        self._keep("quality", data.train.quality)
        self._keep("marks", data.test.marks)
        self._keep("rows", torch.arange(len(streams)).unsqueeze(1))
        labels = torch.stack([torch.stack([task.labels for task in s.tasks]) for s in streams])
        self.relabel = not bool((labels == torch.arange(data.classes)).all())
        # A class that is no answer in a task becomes "no label": losses and counts pass such samples over.
        self._keep("labels", torch.where(labels >= 0, labels, NO_LABEL))
        self._keep("units", _active_units(labels, first.outputs))
        tables = [torch.stack([task.view for task in s.tasks]) for s in streams] if self.view else None
        self._keep("table", torch.stack(tables) if tables else None)

    def _keep(self, name: str, tensor: Tensor | None) -> None:
        self.register_buffer(name, tensor, persistent=False)

    def at_once(self, examples: int) -> int:
        """How many times so many examples are best read at once; 0 where one time is too much already."""
        numbers = READ_AT_ONCE if self.train_inputs.device.type == "cpu" else READ_AT_ONCE_ELSEWHERE
        return numbers // (examples * prod(self.shape))

    def read(self, examples: Tensor, tasks: Tensor, split: str = "train", noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs and targets ``[M, B, ...]`` for examples ``[M, B]`` as tasks ``[M, B]`` or ``[M, 1]`` show them.

        ``noise`` ``[M, B, 4]``, uniform, augments the inputs where the stream asks for it.
        """
        inputs, targets = self.seen(examples, tasks, split)
        return self.shown(inputs, noise), targets

    def seen(self, examples: Tensor, tasks: Tensor, split: str = "train") -> tuple[Tensor, Tensor]:
        """As :meth:`read`, with inputs as the tasks see them: in the data's type, not yet augmented (:meth:`shown`)."""
        inputs = _rows(getattr(self, f"{split}_inputs"), examples)
        if self.view is not None:
            inputs = self.view(inputs, self.table, tasks)
        return inputs, self.targets_of(examples, tasks, split)

    def targets_of(self, examples: Tensor, tasks: Tensor, split: str = "train") -> Tensor:
        """Targets alone, as in :meth:`read`, of examples ``[M, ...]``; ``tasks`` broadcasts. -100 where there is none."""
        targets = _rows(getattr(self, f"{split}_targets"), examples)
        if not self.relabel:
            return targets
        tasks = tasks.expand_as(examples).flatten(1)
        return self._answers(targets.flatten(1, examples.dim() - 1), tasks).view_as(targets)

    def shown(self, inputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Inputs ``[M, B, ...]`` as the network is shown them: augmented by ``noise``, images in [0, 1]."""
        if self.augment is not None and noise is not None:
            inputs = self.augment(inputs, noise)
        return inputs.to(torch.float32).mul_(1 / 255) if inputs.dtype == torch.uint8 else inputs

    def _answers(self, targets: Tensor, tasks: Tensor) -> Tensor:
        """Output units for classes; -100 (no label) stays."""
        tasks = tasks.expand(targets.shape[:2]).reshape(*targets.shape[:2], *[1] * (targets.dim() - 2))
        rows = self.rows.view(-1, *[1] * (targets.dim() - 1))
        return torch.where(targets >= 0, self.labels[rows, tasks, targets.clamp(min=0)], targets)

    def quality_of(self, examples: Tensor) -> Tensor:
        """How good training examples ``[M, B]`` are, float ``[M, B]``; only where the data say it (``quality`` is not None)."""
        return _rows(self.quality, examples)

    def units_of(self, tasks: Tensor) -> Tensor:
        """Which output units the tasks ``[M, B]`` answer with, bool ``[M, B, C]``."""
        return self.units[self.rows, tasks]


def _rows(tensor: Tensor, index: Tensor) -> Tensor:
    """``tensor[index]``, by the kernel that is fastest for whole rows."""
    return tensor.index_select(0, index.reshape(-1)).view(*index.shape, *tensor.shape[1:])


def _active_units(labels: Tensor, outputs: int) -> Tensor:
    """Bool ``[M, T, C]`` from the label maps ``[M, T, classes]``."""
    units = torch.zeros(*labels.shape[:2], outputs + 1, dtype=torch.bool)
    units.scatter_(2, torch.where(labels >= 0, labels, outputs), True)
    return units[..., :outputs]
