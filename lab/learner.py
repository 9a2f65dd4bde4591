"""One step for all members: population + strategies + optimiser, a LightningModule that one `fit` takes over a stream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn import functional as F

from lab.ahead import Work, works
from lab.answering import among, answered, score_before
from lab.averaging import Averaging
from lab.encounters import Encounters
from lab.errors import UserError
from lab.evaluation import Evaluation
from lab.optimizers import StackedOptimizer, clip_by_member
from lab.population import Population
from lab.protocols import Batch, Strategy
from lab.reader import Reader
from lab.recorder import Recorder
from lab.seeding import member_keys, uniform
from lab.services import Services
from lab.stream import Block, Course

HOOKS = ("extend", "gates", "units", "criterion", "loss", "gradient", "update_scale", "after_step", "predict")
"""Of strategies, in a step and in evaluation."""


class ContinualLearner(Services, LightningModule):
    """M learners trained together.

    What strategies use: ``population``, ``optimizer``, ``reader``, ``layout`` (of the data's outputs, or None), ``course``,
    ``seeds``, ``phase`` (the number of the one in training), ``clock`` ``[M]`` (steps each member has taken), ``crowd`` (how
    many began together here, with those who were cut since: what sums over samples are parted by), ``activations``
    (of the layers in ``population.watched``, in the step's forward pass), and :class:`Services`.

    Args:
        outputs: which output units take part in a sample's loss in class-incremental training: ``all``, those ``seen`` so
            far, or (``current``) those of the task that the sample is met as.
        clip: the largest norm of each member's gradient.
        reset_optimizer: forget momentum and counts when a task begins.
        places: of the members among all of the run, and how many those are; None where these are all.
        averaging: of weights over time, evaluated in place of the weights as they are; None for none.
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
        places: tuple[list[int], int] | None = None,
        averaging: Averaging | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.population, self.reader, self.evaluation = population, reader, evaluation
        self.strategies = nn.ModuleList(strategies)
        self.course, self.seeds, self.members = course, seeds, len(seeds)
        self.places = places or (list(range(len(seeds))), len(seeds))
        self.crowd = len(course.crowd)
        self.outputs, self.clip, self.reset_optimizer, self.layout = outputs, clip, reset_optimizer, reader.layout
        self.optimizer = optimizer
        self.register_buffer("clock", torch.zeros(self.members, dtype=torch.int64))
        self.register_buffer("diverged_at", torch.full((self.members,), -1))
        self.register_buffer("noise_keys", member_keys(seeds, "augmentation"), persistent=False)
        self.prequential = course.streams[0].prequential
        count = len(course.streams[0].tasks)
        self.register_buffer("right_before", torch.zeros(self.members, count), persistent=self.prequential)
        self.register_buffer("met_before", torch.zeros(self.members, count), persistent=self.prequential)
        self.encounters = Encounters(course)
        self.passes = {"forward": 0, "backward": 0}
        """Samples of one member that went through the network in training; strategies add their own."""
        self.phase = 0
        self._memories = 0
        self._frozen: Tensor | None = None
        self._look_for_diverged = True
        self.activations: dict[str, Tensor] = {}
        self.averaging = averaging or Averaging()
        self.averaging.setup(population, course)
        self.beside = nn.ModuleDict({kind: evaluation.twin() for kind in self.averaging.beside})
        for strategy in strategies:
            strategy.setup(self)
        self.recorder = Recorder(self)
        self._with = self._hooked()

    # --- the course of a run ------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> StackedOptimizer:
        return self.optimizer

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        checkpoint["passes"], checkpoint["members"] = dict(self.passes), self.places[0]
        if self.evaluation.violated:
            checkpoint["violated"] = self.evaluation.violated

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        if checkpoint.get("members", self.places[0]) != self.places[0]:
            raise UserError(f"a checkpoint is of members {checkpoint['members']} of the run, not of {self.places[0]}")
        self.passes = dict(checkpoint["passes"])
        self.evaluation.violated = checkpoint.get("violated")

    def training_step(self, block: Block, _index: int) -> None:
        if block.start == 0:
            self.measure(0, -1, False)
        self._prepare(block)
        if block.begins:
            self.begin(block.phase)
        self.advance(block, self._stepper())
        if block.ends:
            self.end(block.phase)
        self.measure(block.stop, block.phase if block.ends else None, block.evaluate)

    def _stepper(self) -> Callable[[], None]:
        """The optimiser's step as Lightning takes it, with the hooks of callbacks; where none has a hook, the count alone."""
        optimizer = self.optimizers()
        if not isinstance(optimizer, LightningOptimizer) or any(map(_looks_at_gradients, self.trainer.callbacks)):
            return optimizer.step
        done = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress

        def step() -> None:
            done.increment_ready()
            self.optimizer.step()
            done.increment_completed()

        return step

    def _hooked(self) -> dict[str, list[Strategy]]:
        """For each hook in a step the strategies that do anything in it."""
        return {hook: [s for s in self.strategies if overrides(s, hook)] for hook in HOOKS}

    def _prepare(self, block: Block) -> None:
        """What is settled for a whole block: its phase, and who is left out because it diverged.

        The host looks for diverged members only where a resumed run would look too: at the start and behind checkpoints.
        """
        self.phase = block.phase
        if self._look_for_diverged:
            diverged = self.diverged_at >= 0
            self._frozen = diverged if bool(diverged.any()) else None
        self._look_for_diverged = block.checkpoint
        self._with = self._hooked()

    def begin(self, phase: int) -> None:
        begun = self.course.phases[phase]
        self.averaging.begin()
        if begun.fresh:
            self.population.load(self.population.fresh("phase", phase))
        if begun.fresh or (begun.announced and self.reset_optimizer):
            self.optimizer.reset()
        if begun.announced:
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
            self._note_diverged(~self.population.finite(), step)
        averaged = self.averaging.begun(step)
        with self.averaging.in_place(self.population, None) if averaged else nullcontext():
            self._evaluate(self.evaluation, step, phase, curves)
        for kind, evaluation in self.beside.items():
            if not averaged:
                evaluation.load_state_dict(self.evaluation.state_dict())
            else:
                with self.averaging.in_place(self.population, kind):
                    self._evaluate(evaluation, step, phase, curves)
        self.recorder.note(self, step, phase)
        self.population.train()

    def _evaluate(self, evaluation: Evaluation, step: int, phase: int | None, curves: bool) -> None:
        if phase is not None:
            evaluation.after_phase(self, phase)
        if curves or (step == 0 and evaluation.steps):
            evaluation.within_phase(self, step)

    # --- one step -----------------------------------------------------------------------------------------------------

    def advance(self, block: Block, optimizer_step: Callable[[], None]) -> None:
        """Take all steps of a block."""
        losses = []
        for number, work in enumerate(works(self, block, self._frozen), block.start + 1):
            losses.append(self.step(work, optimizer_step))
            self.averaging.after_step(self.population, number)
        self._note_losses(torch.stack(losses), block.start + 1)
        self.clock = self.clock.clone()  # no longer a part of the block's

    def step(self, work: Work, optimizer_step: Callable[[], None]) -> Tensor:
        """All members' next step and its loss ``[M]``; no value is read back to the host."""
        batch, shares = work.batch, work.shares
        if self._with["extend"]:
            for strategy in self._with["extend"]:
                batch = strategy.extend(self, batch)
            self.encounters.count_replayed(self.phase, batch, work.batch.width, work.active)
            shares = batch.shares(self.population.precise)
        width = batch.width
        for direction in self.passes:
            self.passes[direction] += width
        before = self.population.snapshot() if work.active is not None else None
        self.population.tick(work.active)
        self.population.note_progress(work.progress)
        logits = self.logits(batch.inputs, batch.tasks)
        self.activations = self.population.activations
        if before is not None:
            self.population.restore(before, work.active)
        losses, terms = self.losses(batch, logits), self._terms(batch, logits)
        # Weighted in the backward pass: as in the mean, without its kernels.
        roots = [losses, *(term for term in terms if term.requires_grad)]
        torch.autograd.backward(roots, [shares, *map(torch.ones_like, roots[1:])])
        self._change_gradients(batch)
        self.optimizer.active, self.optimizer.rate = work.active, work.rate
        optimizer_step()
        self.optimizer.zero_grad()
        if self._with["after_step"] or self.prequential:
            self._look_back(batch, logits)
        self._buffers["clock"] = work.clock
        return sum((term.detach() for term in terms), torch.linalg.vecdot(losses.detach(), shares))

    def _terms(self, batch: Batch, logits: Tensor) -> list[Tensor]:
        """What the strategies add to the loss, each ``[M]``."""
        terms = [strategy.loss(self, batch, logits) for strategy in self._with["loss"]]
        return [term for term in terms if term is not None]

    def losses(self, batch: Batch, logits: Tensor) -> Tensor:
        """The loss of every sample, ``[M, B]``: a strategy's ``criterion``, or the cross-entropy."""
        for strategy in self._with["criterion"]:
            return strategy.criterion(self, batch, logits)
        return self.cross_entropy(batch, logits)

    def cross_entropy(self, batch: Batch, logits: Tensor) -> Tensor:
        """Of every sample, ``[M, B]``; with a label per token, its mean over the sample's labels."""
        logits = self._among_units(batch, logits)
        flat = F.cross_entropy(logits.flatten(0, -2), batch.targets.flatten(), reduction="none")
        if batch.targets.dim() == 2:
            return flat.view(batch.targets.shape)
        labelled = (batch.targets >= 0).flatten(2).sum(2).clamp(min=1)
        return flat.view(batch.targets.shape).flatten(2).sum(2) / labelled

    def _change_gradients(self, batch: Batch) -> None:
        for strategy in self._with["gradient"]:
            strategy.gradient(self, batch)
        if self.clip is not None:
            clip_by_member(list(self.population.leaves.values()), self.clip)
        scales: dict[str, Tensor] = {}
        for strategy in self._with["update_scale"]:
            for name, scale in (strategy.update_scale(self, batch) or {}).items():
                scales[name] = scales[name] * scale if name in scales else scale
        self.optimizer.scale = scales

    @torch.no_grad()
    def _look_back(self, batch: Batch, logits: Tensor) -> None:
        """What is left to do when the parameters have been updated."""
        for strategy in self._with["after_step"]:
            strategy.after_step(self, batch)
        if self.prequential:
            self._test_before(batch, logits)

    def _test_before(self, batch: Batch, logits: Tensor) -> None:
        of_stream = slice(batch.current)
        counted = (batch.weights_or_ones()[:, of_stream] > 0).float()
        tasks = batch.tasks.expand_as(batch.examples)[:, of_stream]
        score_before(self, self.phase, logits[:, of_stream], batch.targets[:, of_stream], tasks, counted)

    def _note_losses(self, losses: Tensor, first: int) -> None:
        """Note who diverged in the steps from number ``first`` on, by their losses ``[S, M]``."""
        lost = ~losses.isfinite()
        self._note_diverged(lost.any(0), first + lost.int().argmax(0))

    def _note_diverged(self, lost: Tensor, step: Tensor | int) -> None:
        """Record the step of those members that are ``lost`` ``[M]`` and were not before."""
        self.diverged_at.copy_(torch.where((self.diverged_at < 0) & lost, step, self.diverged_at))

    def logits(self, inputs: Tensor, tasks: Tensor | None) -> Tensor:
        """What the networks answer, ``[M, B, ..., C]``, in the mode they are in, with the strategies' gates for ``tasks``."""
        return self.population(inputs, gates=self.gates(tasks)) if self._with["gates"] else self.population(inputs)

    def gates(self, tasks: Tensor | None) -> dict[str, Tensor]:
        """All strategies' factors on hidden activations; none where the task is not told."""
        gates: dict[str, Tensor] = {}
        for strategy in self._with["gates"] if tasks is not None else ():
            for path, gate in (strategy.gates(self, tasks) or {}).items():
                gates[path] = gates[path] * gate if path in gates else gate
        return gates

    def predict(self, inputs: Tensor, tasks: Tensor | None = None) -> Tensor:
        """What is evaluated, ``[M, B, ..., C]``: a strategy's ``predict``, or the logits."""
        for strategy in self._with["predict"]:
            return strategy.predict(self, inputs, tasks)
        return self.logits(inputs, tasks)

    def noise(self, clock: Tensor, width: int, purpose: int = 0) -> Tensor:
        """What augments the batches of steps ``clock`` ``[M, S]``: uniform numbers ``[M, S, width, 4]``."""
        return uniform(self.noise_keys.unsqueeze(1) + purpose, clock, width * 4).unflatten(2, (width, 4))

    # --- which output units are trained -------------------------------------------------------------------------------

    def _among_units(self, batch: Batch, logits: Tensor) -> Tensor:
        """Logits ``[M, B, ..., C]``, minus infinity at the units that a sample is not answered with in training."""
        return among(self.units_for(batch), logits)

    def log_probabilities(self, batch: Batch, logits: Tensor) -> Tensor:
        """Of every output unit ``[M, B, ..., C]``, among those that the sample's loss runs over; minus infinity elsewhere."""
        return self._among_units(batch, logits).log_softmax(-1)

    def units_for(self, batch: Batch) -> Tensor | None:
        """Bool ``[M, B, C]`` or ``[M, 1, C]``: the units each sample's loss runs over; None for all.

        In a reading, a batch of which no sample is current, those that `outputs=` says: who chooses by the company that a
        sample is met in has nothing to say there.
        """
        for strategy in self._with["units"] if batch.current else ():
            return strategy.units(self, batch)
        return self.answered(batch)

    def answered(self, batch: Batch) -> Tensor | None:
        """The units that the scenario and ``outputs=`` say, bool ``[M, B, C]`` or ``[M, 1, C]``; None for all."""
        return answered(self, self.phase, batch.tasks)


def overrides(strategy: Strategy, hook: str) -> bool:
    """Whether a strategy does anything in a hook."""
    return getattr(getattr(strategy, hook), "__func__", None) is not getattr(Strategy, hook)


def _looks_at_gradients(callback: Callback) -> bool:
    return is_overridden("on_before_optimizer_step", callback, Callback)
