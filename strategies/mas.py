"""Memory aware synapses: Aljundi et al. 2018, "Memory Aware Synapses: Learning what (not) to forget", ECCV, arXiv 1711.09601.

When a task ends, a parameter's importance is how much the squared length of the network's outputs F depends on it, over the
task's training samples x_1 .. x_N and without their labels, and it is added to that of the tasks before:

    g_i(x) = d ||F(x)||^2 / d theta_i                                   (their section 4.1)
    Omega_i += 1/N sum_n |g_i(x_n)|                                     (eq. 3)

The loss becomes, with theta* the parameters at the end of the last task,

    L + lambda sum_i Omega_i (theta_i - theta*_i)^2                     (eq. 4; no factor 1/2)

What is added is the penalty's gradient, behind the backward pass: the loss that the step reports is without it. F are the units
that the sample's loss runs over: in the task-incremental scenario the task's, in the class-incremental one what ``outputs=``
says. Magnitudes are taken of every sample's gradient, as the paper has it. The authors' code takes those of sums over
mini-batches unless it is told to use single samples (``b1``); Avalanche those of mini-batches' means, in training mode, and it
averages old and new importances with weights of 1/2: all of them smaller.
"""

from functools import partial

import torch

from lab.protocols import Strategy, whole
from lab.protocols import strength as checked


class MAS(Strategy):
    """Pull every parameter to where it was when the last task ended, the more the more old tasks' outputs depend on it.

    Args:
        strength: lambda; a number, or a list of one for each member.
        samples: how many of a task's training samples importances are taken from, drawn at random; null for all.
    """

    needs_boundaries = True

    def __init__(self, strength=1.0, samples=None):
        super().__init__()
        self.given = checked("strategy.mas.strength", strength)
        self.samples = None if samples is None else whole("strategy.mas.samples", samples, 1)

    def setup(self, learner):
        self.register_buffer("strength", learner.value("strategy.mas.strength", self.given))
        self.penalty = learner.quadratic_penalty()

    def gradient(self, learner, batch):
        if learner.phase > 0:
            self.penalty.pull()

    def end_task(self, learner, task):
        if task + 1 == len(learner.course.phases):
            return  # nothing comes that could forget it
        sums, count = {name: torch.zeros_like(leaf) for name, leaf in learner.population.leaves.items()}, 0
        for batch in learner.samples(task, at_most=self.samples):
            magnitudes = learner.absolute_gradients(batch, partial(_squared_length, learner, batch))
            for name, total in sums.items():
                total += magnitudes[name]
            count = count + batch.weights.sum(1)
        scale = 2 * self.strength / count  # the penalty is 1/2 sum_i stiffness_i (...)^2
        self.penalty.move({name: value * scale.view(-1, *[1] * (value.dim() - 1)) for name, value in sums.items()})


def _squared_length(learner, batch, logits):
    """Of every sample's outputs, and what it counts, both ``[1, M, B]``."""
    units = learner.units_for(batch)
    if units is not None:
        logits = logits.masked_fill(~units.view(*units.shape[:2], *[1] * (logits.dim() - 3), units.shape[-1]), 0)
    return logits.square().flatten(2).sum(2).unsqueeze(0), batch.weights.unsqueeze(0)
