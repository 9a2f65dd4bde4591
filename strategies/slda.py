"""Streaming linear discriminant analysis: Hayes & Kanan 2020, "Lifelong Machine Learning with Deep Streaming Linear
Discriminant Analysis" (Deep SLDA), CVPR Workshops, arXiv 1909.01520.

On features z of a network G that is no longer trained, every class y has a running mean mu_y, and all share one running
covariance Sigma. Answers are linear in z (their equations 4 to 6),

    y(x) = argmax_y  w_y . z + b_y,    w_y = Lambda mu_y,    b_y = - 1/2 mu_y . Lambda mu_y,
    Lambda = [(1 - epsilon) Sigma + epsilon I]^-1

without priors. Means and covariance do not depend on the order of samples: a batch is merged with what came before (Chan, Golub
& LeVeque 1983), which gives the same as one sample after the other. Sigma is exactly the covariance within classes, that
of linear discriminant analysis; the paper's update (its equation 3) measures the first sample of each class against mu = 0 and
weighs deviations by the count of all classes, which inflates Sigma while few samples have come.

The paper's G comes trained on other data. Here it is trained on the first task, whose samples are then gone through once more
(``freeze: first_task``, the paper's base initialisation), or is random, or goes on being trained by whatever strategies there
are, and its features are taken as they were when met. Samples count each time that the stream brings them. A class that has not
been met is not answered; until the first has been, answers are the head's, as is accuracy before training on each sample
(prequential streams).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lab.protocols import Strategy, one_of, require


class SLDA(Strategy):
    """Linear discriminant analysis of a network's features, updated with every sample.

    Args:
        shrinkage: epsilon above, in (0, 1].
        freeze: when the network's training ends: after the ``first_task``, ``from_start`` or ``never``.
    """

    scenarios = ("domain", "class")
    needs_classes = True

    def __init__(self, shrinkage: float = 1e-4, freeze: str = "first_task"):
        super().__init__()
        number = isinstance(shrinkage, (int, float)) and not isinstance(shrinkage, bool)
        require(number and 0 < shrinkage <= 1, "strategy.slda.shrinkage", shrinkage, "a number above 0 and up to 1")
        self.shrinkage = float(shrinkage)
        self.freeze = one_of("strategy.slda.freeze", freeze, ("first_task", "from_start", "never"))
        self.needs_boundaries, self.moves = freeze == "first_task", freeze != "never"
        self.stale = True

    def setup(self, learner):
        members, units, size = learner.members, learner.evaluation.seen.shape[2], learner.feature_size()
        # In double precision: sums of all samples, whose inverse is taken.
        self.register_buffer("counts", torch.zeros(members, units, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(members, units, size, dtype=torch.float64))
        self.register_buffer("scatter", torch.zeros(members, size, size, dtype=torch.float64))
        # What follows from these, worked out when it is asked for.
        self.register_buffer("slopes", torch.zeros_like(self.means), persistent=False)
        self.register_buffer("offsets", torch.zeros_like(self.counts), persistent=False)
        self.register_buffer("still", torch.zeros(members, dtype=learner.population.precise), persistent=False)
        # A copy, since running statistics of the network itself go on changing in training.
        self.frozen = learner.snapshot() if self.freeze != "never" else None

    def _is_frozen(self, learner) -> bool:
        return self.freeze == "from_start" or (self.freeze == "first_task" and learner.phase > 0)

    def update_scale(self, learner, batch):
        if self._is_frozen(learner):
            leaves = learner.population.leaves
            return {name: self.still.view(-1, *[1] * (leaf.dim() - 1)) for name, leaf in leaves.items()}
        return None

    def after_step(self, learner, batch):
        if self.freeze == "first_task" and learner.phase == 0:
            return
        learner.count(forward=batch.current)
        there = batch.weights_or_ones()[:, : batch.current] > 0
        self.add(self._features(learner, batch.inputs[:, : batch.current]), batch.targets[:, : batch.current], there)

    @torch.no_grad()
    def end_task(self, learner, task):
        if self.freeze == "first_task" and task == 0:
            self.frozen.take()
            for batch in learner.samples(0):
                learner.count(forward=batch.width)
                self.add(self._features(learner, batch.inputs), batch.targets, batch.weights > 0)

    def _features(self, learner, inputs: Tensor) -> Tensor:
        if self.frozen is not None:
            return self.frozen.features(inputs)
        with learner.population.evaluating():
            return learner.population.features(inputs)

    def add(self, features: Tensor, targets: Tensor, there: Tensor) -> None:
        """Merge samples ``[M, N, D]`` with what came before: those that are ``there`` ``[M, N]``."""
        units = torch.arange(self.counts.shape[1], device=targets.device).view(1, -1, 1)
        belongs = ((targets.unsqueeze(1) == units) & there.unsqueeze(1)).to(features.dtype)  # [M, C, N]
        came = belongs.sum(2)
        means = belongs @ features / came.clamp(min=1).unsqueeze(2)
        counts = self.counts + came
        shift = (means - self.means) * (came > 0).unsqueeze(2)
        within = (features - belongs.mT @ means) * belongs.sum(1).unsqueeze(2)
        between = (self.counts * came / counts.clamp(min=1)).sqrt().unsqueeze(2) * shift
        rows = torch.cat([within, between.to(features.dtype)], 1)
        self.scatter += rows.mT @ rows
        self.means += (came / counts.clamp(min=1)).unsqueeze(2) * shift
        self.counts.copy_(counts)
        self.stale = True

    def predict(self, learner, inputs, tasks):
        known, some = self.counts > 0, (self.counts > 0).any(1)
        if not bool(some.any()):
            return learner.logits(inputs, tasks)
        if self.stale:
            self._solve()
        scores = self._features(learner, inputs).double() @ self.slopes.mT + self.offsets.unsqueeze(1)
        scores = scores.masked_fill(~known.unsqueeze(1), -torch.inf)
        return scores if bool(some.all()) else torch.where(some.view(-1, 1, 1), scores, learner.logits(inputs, tasks))

    def _solve(self) -> None:
        covariance = self.scatter / self.counts.sum(1).clamp(min=1).view(-1, 1, 1)
        shrunk = (1 - self.shrinkage) * covariance
        shrunk.diagonal(dim1=1, dim2=2).add_(self.shrinkage)
        factor = torch.linalg.cholesky_ex(shrunk).L
        self.slopes.copy_(torch.cholesky_solve(self.means.mT, factor).mT)
        self.offsets.copy_(-(self.means * self.slopes).sum(2) / 2)
        self.stale = False
