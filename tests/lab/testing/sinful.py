"""Strategies that break the contract, one sin each; what the battery says of them is tested beside this file."""

import random
from dataclasses import replace

import torch

from lab.protocols import Strategy


class Item(Strategy):
    def loss(self, learner, batch, logits):
        return logits.square().mean((1, 2)) * logits.abs().max().item() * 1e-3


class Branch(Strategy):
    def loss(self, learner, batch, logits):
        if logits.mean() > 100:
            return None
        return logits.square().mean((1, 2)) * 1e-3


class BooleanMask(Strategy):
    def loss(self, learner, batch, logits):
        return torch.stack([one[one > 0].sum() for one in logits]) * 1e-3


class MaskedAssignment(Strategy):
    def after_step(self, learner, batch):
        for parameter in learner.population.leaves.values():
            mask = parameter.data > 1
            parameter.data[mask] = parameter.data.clamp(max=1.0)[mask]


class CpuIndex(Strategy):
    def loss(self, learner, batch, logits):
        return logits[:, torch.tensor([0, 1])].square().mean((1, 2)) * 1e-3


class ListIndex(Strategy):
    def loss(self, learner, batch, logits):
        return logits[:, [0, 1]].square().mean((1, 2)) * 1e-3


class CopiedConstant(Strategy):
    def loss(self, learner, batch, logits):
        return logits[:, :2].square().mean((1, 2)) @ torch.eye(learner.members).to(logits.device) * 1e-3


class FreshConstant(Strategy):
    """Invisible on `meta`, where torch.tensor makes no copy."""

    def loss(self, learner, batch, logits):
        return logits.square().mean((1, 2)) * torch.tensor([1e-3] * learner.members, device=logits.device)


class OneForAll(Strategy):
    def diagnostics(self):
        return {"losses": torch.tensor(0.5)}


class WholeComparison(Strategy):
    def setup(self, learner):
        self.register_buffer("last", torch.zeros(learner.members, dtype=torch.int64))

    def after_step(self, learner, batch):
        if not torch.equal(self.last, learner.clock):
            self.last.copy_(learner.clock)


class ToTheHost(Strategy):
    def after_step(self, learner, batch):
        batch.inputs.cpu()


class Nonzero(Strategy):
    def after_step(self, learner, batch):
        batch.targets.nonzero()


class PlainTensor(Strategy):
    """A tensor that pulls the weights, kept where no checkpoint looks."""

    def setup(self, learner):
        self.mean = {name: torch.zeros_like(value) for name, value in learner.population.leaves.items()}

    def gradient(self, learner, batch):
        for name, value in learner.population.leaves.items():
            value.grad += 0.01 * (value.data - self.mean[name])

    def end_task(self, learner, task):
        self.mean = {name: value.detach().clone() for name, value in learner.population.leaves.items()}


class PlainCounter(Strategy):
    def setup(self, learner):
        self.tasks_done = 0

    def loss(self, learner, batch, logits):
        return logits.square().mean((1, 2)) * 0.01 * self.tasks_done

    def end_task(self, learner, task):
        self.tasks_done += 1


class QuietList(Strategy):
    """A memory that is not used yet, so that no weight tells of its loss."""

    def setup(self, learner):
        self.kept = []

    def after_step(self, learner, batch):
        self.kept.append(batch.examples.clone())


class UnsavedBuffer(Strategy):
    def setup(self, learner):
        self.register_buffer("counts", torch.zeros(learner.members, dtype=torch.int64), persistent=False)

    def after_step(self, learner, batch):
        self.counts += (batch.weights_or_ones().sum(1) > 0).long()


class LateBuffer(Strategy):
    def end_task(self, learner, task):
        self.register_buffer("anchor", next(iter(learner.population.leaves.values())).detach().clone())


class GrowingBuffer(Strategy):
    def setup(self, learner):
        self.register_buffer("tasks", torch.zeros(learner.members, 0))

    def end_task(self, learner, task):
        self.tasks = torch.cat([self.tasks, torch.ones(learner.members, 1)], 1)


class Scratch(Strategy):
    """No sin: what is kept from the loss to the end of the step need not be saved."""

    def loss(self, learner, batch, logits):
        self.logits = logits
        return logits.square().mean((1, 2)) * 1e-3

    def after_step(self, learner, batch):
        self.norms = self.logits.detach().norm(dim=(1, 2))


class ScalarLoss(Strategy):
    def loss(self, learner, batch, logits):
        return logits.square().mean() * 0.1


class SharedBuffer(Strategy):
    def setup(self, learner):
        self.register_buffer("mean", torch.zeros(learner.reader.shape))


class JointNorm(Strategy):
    """Clips the gradient of all members together."""

    def gradient(self, learner, batch):
        norm = torch.stack([p.grad.norm() for p in learner.population.leaves.values()]).norm()
        for parameter in learner.population.leaves.values():
            parameter.grad /= norm


class Transposed(Strategy):
    def extend(self, learner, batch):
        return replace(batch, weights=batch.weights_or_ones().sum(0))


class InFront(Strategy):
    def rehearse(self, learner, steps):
        return replace(steps, examples=torch.cat([steps.examples[..., :1], steps.examples], 2))


class Misshapen(Strategy):
    def rehearse(self, learner, steps):
        return replace(steps, tasks=steps.tasks[:1])


class OncePerBlock(Strategy):
    """Rehearses what was new when the block began, all through the block."""

    def rehearse(self, learner, steps):
        first = steps.examples[:, :1].expand(-1, steps.clock.shape[1], -1)
        return steps.join(first, steps.tasks, torch.ones_like(first, dtype=torch.float32))


class UnknownParameter(Strategy):
    def update_scale(self, learner, batch):
        return {"head": torch.ones(learner.members)}


class RestlessAverage(Strategy):
    """Goes on counting for members whose task is over."""

    def setup(self, learner):
        self.register_buffer("steps", torch.zeros(learner.members))

    def after_step(self, learner, batch):
        self.steps += 1


class GlobalDraw(Strategy):
    def gradient(self, learner, batch):
        for parameter in learner.population.leaves.values():
            parameter.grad += 0.01 * torch.randn_like(parameter)


class PythonDraw(Strategy):
    def after_step(self, learner, batch):
        random.random()


class Raises(Strategy):
    def loss(self, learner, batch, logits):
        return logits.square().mean((1, 2)) @ torch.ones(7)


class Explodes(Strategy):
    def loss(self, learner, batch, logits):
        return logits.square().mean((1, 2)) / 0


class NoSuchScenario(Strategy):
    scenarios = ("class-incremental",)


class WideAsTheLongest(Strategy):
    def setup(self, learner):
        longest = max(len(stream.phases[0].examples) for stream in learner.course.streams)
        self.register_buffer("met", torch.zeros(learner.members, longest))
