"""One learner of a run, for an engine to train: its network, its data, the order in which it meets them, how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lab.answering import score_before
from lab.errors import UserError
from lab.evaluation import Evaluation
from lab.protocols import Data, Stream
from lab.reader import Reader
from lab.stream import Course, Order
from lab.workers import Report

Predict = Callable[[Tensor, int | None], Tensor]
"""``predict(inputs [B, ...], task)``: scores ``[B, C]``; the task is None where the learner is not told."""


class DivergedError(Exception):
    """The member's loss, or its parameters, stopped being finite: the rest of its training is left out."""


@dataclass(frozen=True)
class Samples:
    """What a phase is trained on, on the CPU."""

    inputs: Tensor
    """``[n, ...]``: as the network is shown them, or, where the stream augments them, as they are before that."""
    targets: Tensor
    tasks: Tensor
    """int64 ``[n]``: the task that each is met as."""


class Member:
    """One learner of a run, for an engine to train.

    Args:
        network: initialised as the population's member would be.
        optimizer: what makes its optimiser, of the library's own, for some parameters.
        outputs: which output units take part in training in the class-incremental scenario (`outputs=`).
        device: where the network is trained; samples come on the CPU.
    """

    def __init__(
        self,
        seed: int,
        network: nn.Module,
        data: Data,
        course: Course,
        evaluation: Evaluation,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        outputs: str = "all",
        device: str = "cpu",
        report: Report = lambda step: None,
    ):
        self.seed, self.data, self.course, self.evaluation = seed, data, course, evaluation
        self.optimizer, self.outputs, self.device, self.report = optimizer, outputs, device, report
        self.stream = course.streams[0]
        self.reader = Reader(data, [self.stream])
        self.passes = {"forward": 0, "backward": 0}
        self.network = network.to(device)
        self.counted(self.network)
        for module in network.modules():
            if hasattr(module, "key") and hasattr(module, "clock"):
                module.register_forward_pre_hook(_tick)
        self.step, self.steps, self.sampled = 0, 0, 0
        self._predict, self._measuring, self.needs_task = None, False, False
        self._phase, self._own = -1, 0
        # As `results_of` reads them of a learner.
        self.seeds, self.members, self.strategies, self.encounters, self.beside = [seed], 1, [], None, {}
        self.averaging = self.recorder = None
        self.diverged_at = torch.full((1,), -1)
        self.prequential = self.stream.prequential
        self.right_before, self.met_before = torch.zeros(2, 1, len(self.stream.tasks))

    # --- what it is trained on ----------------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        return self.course.budget.batch_size

    @property
    def epochs(self) -> int:
        """Passes over a phase's batches: the epochs, or one over all of its ``steps``."""
        return 1 if self.course.budget.steps is not None else self.course.budget.epochs

    def samples(self, phase: int) -> Samples:
        """A phase's training samples, in the stream's order."""
        met = self.stream.phases[phase]
        inputs, targets = self.reader.seen(met.examples.unsqueeze(0), met.tasks.unsqueeze(0))
        inputs = inputs if self.stream.augment else self.reader.shown(inputs)
        return Samples(inputs[0], targets[0], met.tasks)

    def shown(self, sample: Tensor, augment: bool = True) -> Tensor:
        """One of the samples of a stream that augments them as the network is shown it; noise from torch's generator."""
        noise = torch.rand(1, 1, 4) if augment else None
        return self.reader.shown(sample[None, None], noise)[0, 0]

    def batches(self, phase: int, epoch: int, count: int | None = None, width: int | None = None) -> list[list[int]]:
        """The batches of an epoch as positions in the phase's samples, in the order that our own loop has.

        Args:
            count: of other samples that are trained on in the phase's place (a memory, ...).
            width: of their batches.
        """
        budget = replace(self.course.budget, batch_size=width or self.batch_size)
        met = self.stream.phases[phase]
        if count is not None and count != len(met.examples):
            met = replace(met, examples=torch.arange(count), tasks=torch.zeros(count, dtype=torch.int64), ordered=False)
        steps = budget.steps_for(met) // self.epochs
        order = Order(_with_phase(self.stream, phase, met), self.course.seeds[0], budget, self.course.orders[0])
        chosen, valid = order.take(phase, epoch * steps, steps)
        split = (values.split(budget.batch_size) for values in (chosen, valid))
        return [batch[own].tolist() for batch, own in zip(*split, strict=True)]

    def units(self, task: int) -> Tensor:
        """The output units that a task is answered with, bool ``[C]``."""
        return self.reader.units[0, task]

    def features(self) -> nn.Module:
        """The network up to its last hidden layer, as a module.

        Raises:
            UserError: for a network that does not tell features from head.
        """
        if not (hasattr(self.network, "features") and isinstance(getattr(self.network, "head", None), nn.Linear)):
            kind = type(self.network).__name__
            raise UserError(
                f"network: {kind} needs a method `features`, inputs [B, ...] to activations [B, D], and a linear layer `head`"
            )
        module = Features(self.network)
        self.counted(module)
        return module

    # --- what it has done ---------------------------------------------------------------------------------------------

    def start(self, predict: Predict, needs_task: bool = False) -> None:
        """Before training: measure what ``predict`` answers, now and from now on.

        Args:
            needs_task: whether it makes of a task's identity more than the choice of output units, so that there is no
                accuracy without it.
        """
        self._predict, self.needs_task = predict, needs_task
        self._measure(-1)

    def stepped(self, loss: Tensor) -> None:
        """A step has been taken, of the phase after the one that was ended last."""
        phase = self._phase + 1
        self._own, self.steps = self._own + 1, self.steps + 1
        before, end = self.step, self.course.ends[phase]
        self.step = min((self.course.ends[phase - 1] if phase else 0) + self._own, end)
        self._lost(loss.isfinite())
        self.report(self.step)
        if before < self.step < end and self.step in self.evaluation.steps:
            self._curve(self.step)

    def ended(self, parameters: Iterable[Tensor]) -> None:
        """A phase has been trained: measure what is due. A member that was done early rests until the others are, too."""
        self._phase, self._own = self._phase + 1, 0
        before, self.step = self.step, self.course.ends[self._phase]
        self._lost(torch.stack([value.isfinite().all() for value in parameters]))
        self.report(self.step)
        self._measure(self._phase)
        for step in self.evaluation.steps:
            if before < step < self.step:
                self._curve(step)

    def meet(self, phase: int, positions: list[int], samples: Samples, inputs: Tensor | None = None) -> None:
        """Where the stream asks for it, score samples of the phase by what is answered just before they are trained on.

        Args:
            inputs: as they are about to be trained on, where the stream augments them; None: as ``samples`` has them.
        """
        if not self.prequential:
            return
        tasks, targets = samples.tasks[positions], samples.targets[positions]
        inputs = self.reader.shown(samples.inputs[positions]) if inputs is None else inputs
        told = [int(task) for task in tasks.unique()] if self.stream.scenario == "task" else [None]
        for task in told:
            own = torch.ones_like(tasks, dtype=torch.bool) if task is None else tasks == task
            given = (self._scores(inputs[own], task), targets[own], tasks[own], torch.ones(int(own.sum())))
            score_before(self, phase, *(part.unsqueeze(0) for part in given))

    def count(self, forward: int = 0, backward: int = 0) -> None:
        """Count samples that went through the network in training."""
        self.passes["forward"] += 0 if self._measuring else forward
        self.passes["backward"] += 0 if self._measuring else backward

    def counted(self, module: nn.Module) -> None:
        """Have the samples counted that go through a module, or a copy of it."""

        def count(_module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            self.count(forward=len(inputs[0]))
            if out.requires_grad:
                out.register_hook(lambda _gradient: self.count(backward=len(inputs[0])))

        module.register_forward_hook(count)

    # --- how it is measured -------------------------------------------------------------------------------------------

    def predict(self, inputs: Tensor, tasks: Tensor | None) -> Tensor:
        """As :meth:`lab.learner.ContinualLearner.predict`, for one member."""
        return self._scores(inputs[0], None if tasks is None else int(tasks[0, 0])).unsqueeze(0)

    def _scores(self, inputs: Tensor, task: int | None) -> Tensor:
        self._measuring = True
        try:
            with torch.no_grad():
                return self._predict(inputs.to(self.device), task).cpu()
        finally:
            self._measuring = False

    def _measure(self, phase: int) -> None:
        self.evaluation.after_phase(self, phase)
        if self.evaluation.steps:
            self._curve(self.step)

    def _curve(self, step: int) -> None:
        self.evaluation.within_phase(self, step)

    def _lost(self, finite: Tensor) -> None:
        if not bool(finite.all()):
            self.diverged_at.fill_(self.step)
            raise DivergedError


class Features(nn.Module):
    """A network's ``features`` as a module of its own."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        return self.network.features(inputs)


def _tick(module: nn.Module, _inputs: tuple) -> None:
    """Have a dropout layer of the lab draw another mask at every training pass."""
    if module.training:
        module.clock.add_(1)


def _with_phase(stream: Stream, number: int, phase: Any) -> Stream:
    return replace(stream, phases=(*stream.phases[:number], phase, *stream.phases[number + 1 :]))
