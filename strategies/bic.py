"""Bias correction: Wu et al. 2019, "Large Scale Incremental Learning" (BiC), CVPR, arXiv 1905.13260.

A network trained in class increments answers with the newest classes too often. When a task ends, its logits o_c are corrected
for the classes that are new in it, and for those alone,

    q_c = alpha o_c + beta  (c new),    q_c = o_c  (c old)                       (their equation 4)

with alpha and beta those that minimise the cross-entropy of softmax(q) on samples that were held out of training, old and new
classes weighing alike (their equation 5). Corrected logits are what is evaluated, until the next task ends with another pair.

This is the paper's second stage, for whatever network the first one leaves: beside replay (``strategy=[er,bic]``), with
distillation (``[er,lwf,bic]``) nearly the paper's own, which distils corrected logits. The paper holds out a tenth of its
exemplars; here samples of every class are held out before training starts, so that no strategy's memory gets them. Two
parameters need no gradient descent: they are found by Newton's method, with a small pull towards alpha = 1, beta = 0 that keeps
them finite where the held out samples can be told apart without error.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.protocols import Data, Strategy, Stream, generator, require_room, whole

RIDGE = 1e-3
"""Weight of ((alpha - 1)^2 + beta^2) / 2 beside the mean cross-entropy."""
STEPS, HALVINGS = 30, 8
"""Of Newton's method, and of each of its steps."""


class BiC(Strategy):
    """Correct the newest classes' logits by a line fitted to ``memory`` samples a member, which are held out of training.

    Every class gives equally many of them, drawn at random, at most a tenth of its samples (one, where it has few).
    """

    scenarios = ("class",)
    needs_boundaries = needs_classes = True

    def __init__(self, memory: int = 200):
        super().__init__()
        self.memory = whole("strategy.bic.memory", memory, 1)

    def check(self, stream, data):
        require_room("strategy.bic.memory", self.memory, stream.outputs)

    def rewrite(self, stream: Stream, data: Data, seed: int) -> Stream:
        rows = len(data.train)
        held = torch.cat([t * rows + self._held_out(stream, t, data.train.targets) for t in range(len(stream.tasks))])
        kept = [~torch.isin(phase.tasks * rows + phase.examples, held) for phase in stream.phases]
        phases = zip(stream.phases, kept, strict=True)
        return replace(stream, phases=tuple(replace(p, examples=p.examples[k], tasks=p.tasks[k]) for p, k in phases))

    def _held_out(self, stream: Stream, number: int, targets: Tensor) -> Tensor:
        """Rows of a task's training examples that are not trained on: the same whenever it is asked, before training and in
        it, and so drawn with a seed that the rows themselves make."""
        task = stream.tasks[number]
        order = torch.randperm(len(task.train), generator=generator(int(task.train.sum()), "bic", number))
        units = task.labels[targets[task.train[order]]]
        of_each = [task.train[order[units == unit]] for unit in range(stream.outputs)]
        share = self.memory // stream.outputs
        return torch.cat([rows[: min(share, -(-len(rows) // 10), len(rows) // 2)] for rows in of_each])

    def setup(self, learner):
        members, precise = learner.members, learner.population.precise
        course, targets = learner.course, learner.reader.train_targets
        examples, tasks = self._padded(course.streams, targets)
        if course.crowd is not course.streams:  # as wide as it was before some were cut
            more = self._padded(course.crowd, targets)[0].shape[1] - examples.shape[1]
            examples, tasks = F.pad(examples, (0, more)), F.pad(tasks, (0, more), value=-1)
        self.register_buffer("examples", examples)
        self.register_buffer("tasks", tasks)
        self.register_buffer("new", torch.zeros_like(learner.evaluation.seen[0]))
        self.register_buffer("alpha", torch.ones(members, dtype=precise))
        self.register_buffer("beta", torch.zeros(members, dtype=precise))

    def _padded(self, streams: list[Stream], targets: Tensor) -> tuple[Tensor, Tensor]:
        """The held out samples' addresses ``[M, H]``; where a member has fewer, tasks are -1."""
        held = [[self._held_out(stream, t, targets) for t in range(len(stream.tasks))] for stream in streams]
        numbers = [torch.cat([torch.full_like(rows, t) for t, rows in enumerate(own)]) for own in held]
        padded = torch.nn.utils.rnn.pad_sequence
        return padded([torch.cat(own) for own in held], batch_first=True), padded(numbers, batch_first=True, padding_value=-1)

    @torch.no_grad()
    def end_task(self, learner, task):
        if task == 0:
            return
        before, met = learner.evaluation.seen[task], learner.evaluation.seen[task + 1]
        targets = learner.reader.targets_of(self.examples, self.tasks.clamp(min=0)).clamp(min=0)
        usable = (self.tasks >= 0) & met.gather(1, targets)
        logits = self._logits(learner).double().masked_fill(~met.unsqueeze(1), -torch.inf)
        self.new.copy_(met & ~before)
        alpha, beta = fitted(logits, targets, class_weights(targets, usable, met.shape[1]), self.new)
        self.alpha.copy_(alpha)
        self.beta.copy_(beta)

    def _logits(self, learner) -> Tensor:
        """Of the held out samples, ``[M, H, C]``."""
        learner.count(forward=self.examples.shape[1])
        several = max(32, learner.reader.at_once(2 * learner.crowd))
        parts = zip(self.examples.split(several, 1), self.tasks.clamp(min=0).split(several, 1), strict=True)
        with learner.population.evaluating():
            return torch.cat([learner.logits(learner.reader.read(*part)[0], None) for part in parts], 1)

    def predict(self, learner, inputs, tasks):
        return corrected(learner.logits(inputs, tasks), self.new, self.alpha, self.beta)


def corrected(logits: Tensor, new: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """Logits ``[M, B, C]``, on a line of their own for the ``new`` units ``[M, C]``."""
    return torch.where(new.unsqueeze(1), alpha.view(-1, 1, 1) * logits + beta.view(-1, 1, 1), logits)


def class_weights(targets: Tensor, usable: Tensor, classes: int) -> Tensor:
    """Weights ``[M, H]`` that add up to 1, the usable samples' classes weighing alike."""
    of_each = torch.nn.functional.one_hot(targets, classes).double() * usable.unsqueeze(2)
    counts = of_each.sum(1, keepdim=True)
    return (of_each / counts.clamp(min=1)).sum(2) / (counts > 0).sum(2).clamp(min=1)


def fitted(logits: Tensor, targets: Tensor, weights: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and beta ``[M]`` of least weighted cross-entropy on samples with logits ``[M, H, C]``; minus infinity: no class."""
    u = torch.stack([torch.where(new.unsqueeze(1), logits, 0), new.unsqueeze(1).expand_as(logits).to(logits.dtype)], 3)
    own = torch.nn.functional.one_hot(targets, logits.shape[2]).to(logits.dtype)
    start = torch.tensor([1.0, 0.0], dtype=logits.dtype, device=logits.device).expand(len(logits), 2)
    eye = RIDGE * torch.eye(2, dtype=logits.dtype, device=logits.device)

    def loss(at: Tensor) -> Tensor:
        entropies = -corrected(logits, new, at[:, 0], at[:, 1]).log_softmax(2).gather(2, targets.unsqueeze(2)).squeeze(2)
        return torch.where(weights > 0, weights * entropies, 0).sum(1) + RIDGE / 2 * (at - start).square().sum(1)

    at = start
    for _ in range(STEPS):
        shares = corrected(logits, new, at[:, 0], at[:, 1]).softmax(2)
        gradient = torch.einsum("mh,mhc,mhcp->mp", weights, shares - own, u) + RIDGE * (at - start)
        mean = torch.einsum("mhc,mhcp->mhp", shares, u)
        hessian = torch.einsum("mh,mhc,mhcp,mhcq->mpq", weights, shares, u, u)
        hessian = hessian - torch.einsum("mh,mhp,mhq->mpq", weights, mean, mean) + eye
        step = torch.linalg.solve_ex(hessian, gradient.unsqueeze(2)).result.squeeze(2)
        tried = torch.stack([at - step * 0.5**k for k in range(HALVINGS)] + [at])
        best = torch.stack([loss(each) for each in tried]).argmin(0)
        at = tried.gather(0, best.view(1, -1, 1).expand(1, -1, 2)).squeeze(0)
    return at[:, 0], at[:, 1]
