"""The diagonal of the Fisher information: how much a network's predictions depend on each parameter.

    F_i = E_x E_(y ~ p(y|x)) [(d log p(y|x) / d theta_i)^2]

over the training samples x of a phase. What is taken for the expectation over labels y has its name among ``ESTIMATORS``: the
labels whose squared gradients are added up for a sample, and what each of them weighs.

    exact               every label, p(y|x)
    sampled             one drawn from p(y|x), 1
    predicted           the most probable one, 1
    empirical           the true one, 1
    empirical_weighted  the true one, p(y|x)
    batched             the true ones: not of samples, but of batches the gradient of the mean loss is squared

p is the softmax over the units that the sample's loss runs over, with dropout off and running statistics used. A sample with a
label for each token has one log p(y|x), the mean over its labels.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lab.batch import Batch
from lab.seeding import uniform

if TYPE_CHECKING:
    from lab.learner import ContinualLearner

ESTIMATORS = ("exact", "sampled", "predicted", "empirical", "empirical_weighted", "batched")


def information(
    learner: ContinualLearner, phase: int, estimator: str, samples: int | None = None, width: int | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """Sums by parameter name ``[M, ...]``, and of how many samples (``batched``: batches), ``[M]``.

    Args:
        samples: of the phase, drawn from the member's seed; None for all.
        width: for ``batched``, the samples in a batch, in the stream's order; None for the batch size of training.
    """
    sums = {name: torch.zeros_like(leaf) for name, leaf in learner.population.leaves.items()}
    count = torch.zeros(learner.members, device=learner.clock.device)
    batched = estimator == "batched"
    width = (width or learner.course.budget.batch_size) if batched else None
    for batch in learner.samples(phase, width, samples):
        squares = _of_the_mean(learner, batch) if batched else _of_samples(learner, batch, estimator, phase)
        for name, total in sums.items():
            total += squares[name]
        count += batch.weights.amax(1) if batched else batch.weights.sum(1)
    return sums, count


def _of_the_mean(learner: ContinualLearner, batch: Batch) -> dict[str, Tensor]:
    with learner.population.evaluating():
        return {name: mean.square_() for name, mean in learner.mean_gradient(batch).items()}


def _of_samples(learner: ContinualLearner, batch: Batch, estimator: str, phase: int) -> dict[str, Tensor]:
    keys = learner.keys(f"fisher/{phase}").to(learner.clock.device)
    return learner.squared_gradients(batch, partial(log_likelihoods, learner, batch, estimator, keys))


def log_likelihoods(
    learner: ContinualLearner, batch: Batch, estimator: str, keys: Tensor, logits: Tensor
) -> tuple[Tensor, Tensor]:
    """Of every sample log p(y|x) of K labels, and what their squared gradients weigh, both ``[K, M, B]``."""
    labels = _labels(learner.log_probabilities(batch, logits.detach()).exp(), batch, estimator, keys)
    labels = [torch.where(batch.targets < 0, batch.targets, label) for label in labels]
    logs = torch.stack([-learner.cross_entropy(replace(batch, targets=label), logits) for label in labels])
    chances = logs.detach().exp() if estimator in ("exact", "empirical_weighted") else torch.ones_like(logs)
    return logs, chances * batch.weights_or_ones()


def _labels(chances: Tensor, batch: Batch, estimator: str, keys: Tensor) -> tuple[Tensor, ...]:
    """K labels of each sample, each like ``batch.targets``, from the probabilities ``[M, B, ..., C]`` of all."""
    if estimator == "exact":
        possible = int((chances > 0).sum(-1).max().clamp(min=1))
        return chances.topk(possible).indices.unbind(-1)
    if estimator == "predicted":
        return (chances.argmax(-1),)
    if estimator == "sampled":
        # A sample's number comes from its address, so that it does not depend on how samples are batched.
        at = uniform(keys.unsqueeze(1), batch.examples, batch.targets[0, 0].numel()).view(*batch.targets.shape, 1)
        return ((chances.cumsum(-1) <= at).sum(-1).clamp(max=chances.shape[-1] - 1),)
    return (batch.targets,)
