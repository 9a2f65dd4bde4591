"""Nearest class mean: Mensink et al. 2013, "Distance-Based Image Classification: Generalizing to New Classes at Near-Zero
Cost", IEEE TPAMI 35(11); as a remedy in class-incremental learning, Rebuffi et al. 2017 (arXiv 1611.07725) and Mai et al.
2021, "Supervised Contrastive Replay", arXiv 2103.13885.

The head of a network trained in class increments prefers the newest classes. Answers come from the features phi alone,

    y(x) = argmin_y || phi(x) - mu_y ||,    mu_y the mean of phi over samples of class y

with phi, and the means, normalised to length 1 (``normalise``). It answers for whatever trains the network:
``strategy=[er,ncm]``. Where the means come from (``source``):

    task      a task's samples, when it has ended; means of earlier tasks stay as they were while the network goes on
    stream    every sample of the stream once it has been trained on, with the features it had then; needs no boundaries
    memory    all that the memories of strategies listed before hold when a task ends (Mai et al.)

A class without a mean is not answered; as long as no class has one, answers are the head's. Accuracy before training on each
sample (prequential streams) is the head's throughout.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.protocols import Strategy, UserError, one_of, require


class NCM(Strategy):
    """Answer with the class whose mean is nearest in feature space; see above for ``source``."""

    scenarios = ("domain", "class")
    needs_classes = True

    def __init__(self, source: str = "task", normalise: bool = True):
        super().__init__()
        self.source = one_of("strategy.ncm.source", source, ("task", "stream", "memory"))
        require(isinstance(normalise, bool), "strategy.ncm.normalise", normalise, "true or false")
        self.normalise, self.needs_boundaries = normalise, source != "stream"

    def setup(self, learner):
        units, precise = learner.evaluation.seen.shape[2], learner.population.precise
        self.register_buffer("sums", torch.zeros(learner.members, units, learner.feature_size(), dtype=precise))
        self.register_buffer("counts", torch.zeros(learner.members, units, dtype=precise))
        if self.source == "memory":
            others = list(learner.strategies)
            before = [part for other in others[: others.index(self)] for part in other.modules()]
            self.memories = [part for part in before if hasattr(part, "contents")]
            if not self.memories:
                wanted = "a strategy with a memory listed before this one, as in strategy=[er,ncm]"
                raise UserError(f"strategy.ncm.source=memory: expected {wanted}")

    def after_step(self, learner, batch):
        if self.source == "stream":
            learner.count(forward=batch.current)
            with learner.population.evaluating():
                features = learner.population.features(batch.inputs[:, : batch.current])
            self._add(features, batch.targets[:, : batch.current], batch.weights_or_ones()[:, : batch.current] > 0)

    @torch.no_grad()
    def end_task(self, learner, task):
        if self.source == "task":
            self._add_all(learner, *learner.addresses(task))
        if self.source == "memory":
            self.sums.zero_()
            self.counts.zero_()
            for memory in self.memories:
                self._add_all(learner, *memory.contents())

    def _add_all(self, learner, examples: Tensor, tasks: Tensor, there: Tensor) -> None:
        self._add(learner.features(examples, tasks), learner.reader.targets_of(examples, tasks), there)

    def _add(self, features: Tensor, targets: Tensor, there: Tensor) -> None:
        """Add features ``[M, N, D]`` to the sums of their classes, those that are ``there`` ``[M, N]``."""
        units = torch.arange(self.counts.shape[1], device=targets.device).view(1, -1, 1)
        belongs = ((targets.unsqueeze(1) == units) & there.unsqueeze(1)).to(features.dtype)
        self.sums += belongs @ self._normalised(features)
        self.counts += belongs.sum(2)

    def _normalised(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=2) if self.normalise else features

    def predict(self, learner, inputs, tasks):
        known, some = self.counts > 0, (self.counts > 0).any(1)
        if not bool(some.any()):
            return learner.logits(inputs, tasks)
        means = self._normalised(self.sums / self.counts.clamp(min=1).unsqueeze(2))
        features = self._normalised(learner.population.features(inputs))
        # - || phi - mu ||^2 without || phi ||^2, which is the same for all classes.
        nearness = 2 * features @ means.mT - means.square().sum(2).unsqueeze(1)
        nearness = nearness.masked_fill(~known.unsqueeze(1), -torch.inf)
        return nearness if bool(some.all()) else torch.where(some.view(-1, 1, 1), nearness, learner.logits(inputs, tasks))
