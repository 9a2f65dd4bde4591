"""One step for all members: population + strategies + optimiser, as a LightningModule that one `fit` takes over a whole stream."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from lab.evaluation import Evaluation
from lab.memory import Reservoir
from lab.optimizers import StackedOptimizer, clip_by_member
from lab.population import Population
from lab.protocols import Batch, Strategy
from lab.reader import Reader
from lab.seeding import member_keys, uniform
from lab.stream import Block, Course, Work


class ContinualLearner(LightningModule):
    """M learners trained together.

    What strategies use: ``population``, ``reader``, ``course``, ``seeds``, ``clock`` ``[M]`` (steps each member has taken),
    :meth:`replay`, :meth:`draw`, :meth:`losses`.

    Args:
        outputs: which output units take part in class-incremental training: ``all``, those ``seen`` so far, or those of the
            ``current`` task.
        clip: the largest norm of each member's gradient.
        reset_optimizer: forget momentum and counts when a task begins.
    """

    def __init__(
        self,
        population: Population,
        strategies: list[Strategy],
        optimizer: StackedOptimizer,
        reader: Reader,
        course: Course,
        evaluation: Evaluation,
        seeds: list[int],
        outputs: str = "all",
        clip: float | None = None,
        reset_optimizer: bool = False,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.population, self.reader, self.evaluation = population, reader, evaluation
        self.strategies = nn.ModuleList(strategies)
        self.course, self.seeds, self.members = course, seeds, len(seeds)
        self.outputs, self.clip, self.reset_optimizer = outputs, clip, reset_optimizer
        self.optimizer = optimizer
        self.register_buffer("clock", torch.zeros(self.members, dtype=torch.int64))
        self.register_buffer("diverged_at", torch.full((self.members,), -1))
        self.register_buffer("noise_keys", member_keys(seeds, "augmentation"), persistent=False)
        self.prequential = course.streams[0].prequential
        count = len(course.streams[0].tasks)
        self.register_buffer("right_before", torch.zeros(self.members, count), persistent=self.prequential)
        self.register_buffer("met_before", torch.zeros(self.members, count), persistent=self.prequential)
        self._units: Tensor | None = None
        for strategy in strategies:
            strategy.setup(self)

    # --- the course of a run ------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> StackedOptimizer:
        return self.optimizer

    def training_step(self, block: Block, _index: int) -> None:
        if block.start == 0:
            self.measure(0, -1, False)
        if block.begins:
            self.begin(block.phase)
        self._units = self._trained_units(block.phase)
        step = self.optimizers().step
        for work in block.steps():
            self.step(work, step)
        if block.ends:
            self.end(block.phase)
        self.measure(block.stop, block.phase if block.ends else None, block.evaluate)

    def begin(self, phase: int) -> None:
        if self.reset_optimizer:
            self.optimizer.reset()
        if self.course.phases[phase].announced:
            for strategy in self.strategies:
                strategy.begin_task(self, phase)

    def end(self, phase: int) -> None:
        if self.course.phases[phase].announced:
            for strategy in self.strategies:
                strategy.end_task(self, phase)

    def measure(self, step: int, phase: int | None, curves: bool) -> None:
        """Evaluate what is due after ``step``: the row that ``phase`` completes, and a point of the curves."""
        if phase is None and not curves:
            return
        self.population.eval()
        if phase is not None:
            self.evaluation.after_phase(self, phase)
        if curves or (step == 0 and self.evaluation.steps):
            self.evaluation.within_phase(self, step)
        self.population.train()

    # --- one step -----------------------------------------------------------------------------------------------------

    def step(self, work: Work, optimizer_step) -> None:
        """All members' next step; no value is read back to the host."""
        batch = self.current(work)
        for strategy in self.strategies:
            batch = strategy.extend(self, batch)
        before = self.population.snapshot() if work.active is not None else None
        self.population.tick(work.active)
        logits = self.population(batch.inputs)
        if before is not None:
            self.population.restore(before, work.active)
        loss = self.loss(batch, logits)
        loss.sum().backward()
        self._change_gradients(batch)
        self.optimizer.active = work.active
        optimizer_step()
        self.optimizer.zero_grad()
        with torch.no_grad():
            for strategy in self.strategies:
                strategy.after_step(self, batch)
            self._book(work, batch, logits, loss.detach())

    def current(self, work: Work) -> Batch:
        """The stream's part of a step's batch."""
        inputs, targets = self.reader.read(work.examples, work.tasks, noise=self._noise(work.examples, 0))
        return Batch(inputs, targets, work.examples, work.tasks, work.examples.shape[1], work.weights)

    def loss(self, batch: Batch, logits: Tensor) -> Tensor:
        """Every member's loss ``[M]``: the weighted mean over its batch, and what the strategies add."""
        losses = self.losses(batch, logits)
        if batch.weights is None:
            total = losses.mean(1)
        else:
            total = (losses * batch.weights).sum(1) / batch.weights.sum(1).clamp(min=1e-12)
        for strategy in self.strategies:
            term = strategy.loss(self, batch, logits)
            total = total if term is None else total + term
        return total

    def losses(self, batch: Batch, logits: Tensor) -> Tensor:
        """The cross-entropy of every sample, ``[M, B]``; with a label per token, its mean over the sample's labels."""
        units = self._units_for(batch)
        if units is not None:
            units = units.view(*units.shape[:2], *[1] * (logits.dim() - 3), units.shape[-1])
            logits = logits.masked_fill(~units, -torch.inf)
        flat = F.cross_entropy(logits.flatten(0, -2), batch.targets.flatten(), reduction="none")
        if batch.targets.dim() == 2:
            return flat.view(batch.targets.shape)
        labelled = (batch.targets >= 0).flatten(2).sum(2).clamp(min=1)
        return flat.view(batch.targets.shape).flatten(2).sum(2) / labelled

    def _change_gradients(self, batch: Batch) -> None:
        for strategy in self.strategies:
            strategy.gradient(self, batch)
        if self.clip is not None:
            clip_by_member(list(self.population.leaves.values()), self.clip)
        scales: dict[str, Tensor] = {}
        for strategy in self.strategies:
            for name, scale in (strategy.update_scale(self) or {}).items():
                scales[name] = scales[name] * scale if name in scales else scale
        self.optimizer.scale = scales

    def _book(self, work: Work, batch: Batch, logits: Tensor, loss: Tensor) -> None:
        """Count the step, note who diverged in it, and score it where the stream is tested before it is trained on."""
        self.clock += 1 if work.active is None else work.active
        torch.where((self.diverged_at < 0) & ~loss.isfinite(), self.clock, self.diverged_at, out=self.diverged_at)
        if self.prequential:
            right = (logits[:, : batch.current].argmax(-1) == batch.targets[:, : batch.current]).float()
            weights = batch.weights_or_ones()[:, : batch.current]
            tasks = batch.tasks.expand_as(batch.examples)[:, : batch.current]
            self.right_before.scatter_add_(1, tasks, right * weights)
            self.met_before.scatter_add_(1, tasks, weights)

    # --- which output units are trained -------------------------------------------------------------------------------

    def _trained_units(self, phase: int) -> Tensor | None:
        """Bool ``[M, 1, C]`` in the class-incremental scenario; None for all."""
        if self.evaluation.scenario != "class" or self.outputs == "all":
            return None
        seen = self.evaluation.seen[phase + 1]
        if self.outputs == "current":
            tasks = torch.tensor([[s.phases[phase].completes] for s in self.course.streams], device=seen.device)
            return self.reader.units_of(tasks)
        return seen.unsqueeze(1)

    def _units_for(self, batch: Batch) -> Tensor | None:
        """Bool ``[M, B, C]`` or ``[M, 1, C]``: the units each sample's loss runs over; None for all."""
        return self.reader.units_of(batch.tasks) if self.evaluation.scenario == "task" else self._units

    # --- for strategies -----------------------------------------------------------------------------------------------

    def reservoir(self, capacity: int) -> Reservoir:
        """An empty memory of ``capacity`` samples for each member."""
        return Reservoir(self.seeds, capacity)

    def replay(self, examples: Tensor, tasks: Tensor, weights: Tensor) -> Batch:
        """Samples at addresses ``[M, B]`` as a batch of none but replayed columns."""
        inputs, targets = self.reader.read(examples, tasks, noise=self._noise(examples, 1))
        return Batch(inputs, targets, examples, tasks, 0, weights)

    def draw(self, keys: Tensor, count: int) -> Tensor:
        """Uniform numbers ``[M, count]`` for this step, from keys ``[M]`` (:func:`lab.seeding.member_keys`)."""
        return uniform(keys, self.clock, count)

    def predict(self, inputs: Tensor) -> Tensor:
        """Logits ``[M, B, ..., C]`` of the networks as they are evaluated."""
        return self.population(inputs)

    def _noise(self, examples: Tensor, purpose: int) -> Tensor | None:
        if self.reader.augment is None:
            return None
        return uniform(self.noise_keys + purpose, self.clock, examples.shape[1] * 4).view(*examples.shape, 4)
