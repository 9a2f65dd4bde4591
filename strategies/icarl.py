"""iCaRL: Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning", CVPR, arXiv 1611.07725.

A network g_y(x) = sigmoid(a_y(x)), a linear head on features phi, learns from the new classes' data D and a set P of exemplars
of the classes before; answers come from the features alone. With phi normalised to length 1, as are class means:

    loss          a sum of binary cross-entropies, one for each class y met so far; a class that is new has the target
                  [y is the label], one from before g_y of the old network (algorithm 3), for exemplars and new samples alike
    exemplars     p_k = argmin_{x in X} || mu - 1/k [phi(x) + sum_{j<k} phi(p_j)] ||, for k = 1 .. m, no x twice (herding, 4)
    reduction     m = K / (classes met), of older classes the first m are kept (algorithm 5)
    answer        argmin_y || phi(x) - mu_y ||, mu_y the mean of the exemplars of y (nearest mean of exemplars, algorithm 1)

The paper shuffles D and P into one training set. Here a step takes its whole batch from D and ``replay`` samples behind it,
drawn from P with replacement, and weighs the two means |D| : |P|, which is in expectation the gradient of that set at an equal
cost: where |D| = 12,000, |P| = 800 and the batch is 128, 9 samples are drawn. An epoch is one over D.

An old class's target is the old network's answer for its exemplars too, as in the paper. Class means are worked out when a task
ends: within a task, the classes it brings cannot be answered yet, and before the first one has ended answers are the head's.
``outputs`` makes no difference: the loss runs over the classes met so far.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from lab.protocols import Steps, Strategy, integers, number, require, whole


class ICaRL(Strategy):
    """Distil the old network's answers, keep exemplars by herding, answer by the nearest mean of exemplars.

    Args:
        memory: exemplars a member (the paper's K), shared equally among the classes met.
        per_class: exemplars of each class in place of a shared memory.
        temperature: T in the old network's targets sigmoid(a / T); 1 in the paper, 2 in van de Ven et al. 2022.
        replay: exemplars a step; null: as many as would be in a batch of the union, rounded up.
    """

    scenarios = ("class",)
    needs_boundaries = needs_classes = True

    def __init__(
        self, memory: int = 2000, per_class: int | None = None, temperature: float = 1.0, replay: int | None = None
    ):  # fmt: skip
        super().__init__()
        self.memory = whole("strategy.icarl.memory", memory, 1)
        self.per_class = None if per_class is None else whole("strategy.icarl.per_class", per_class, 1)
        self.temperature = number("strategy.icarl.temperature", temperature)
        require(self.temperature > 0, "strategy.icarl.temperature", temperature, "a number above 0")
        self.replay = None if replay is None else whole("strategy.icarl.replay", replay, 1)

    def check(self, stream, data):
        room = self.per_class is not None or self.memory >= stream.outputs
        require(room, "strategy.icarl.memory", self.memory, f"at least {stream.outputs}, an exemplar for each class")

    def setup(self, learner):
        streams, seen = learner.course.streams, learner.evaluation.seen
        members, units = learner.members, seen.shape[2]
        sizes = torch.tensor([[len(phase.examples) for phase in stream.phases] for stream in streams])
        capacity = self.per_class * units if self.per_class else self.memory
        # Exemplars lie by class, those of a class in the order of herding; the filled slots first.
        self.register_buffer("examples", torch.zeros(members, capacity, dtype=torch.int64))
        self.register_buffer("tasks", torch.zeros(members, capacity, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(members, units, dtype=torch.int64))
        means = torch.zeros(members, units, learner.feature_size(), dtype=learner.population.precise)
        self.register_buffer("means", means)
        self.register_buffer("keys", learner.keys("icarl"))
        self.register_buffer("sizes", sizes, persistent=False)
        self.old = learner.snapshot()
        most = (self._share(seen[:-1].sum(2)) * seen[:-1].sum(2)).T.minimum(sizes.cumsum(1) - sizes)  # [M, P]
        widths = -(-learner.course.budget.batch_size * most // sizes)
        widths = torch.full_like(sizes, self.replay) if self.replay else widths
        self.register_buffer("widths", widths, persistent=False)
        self.widest = widths.max(0).values.tolist()

    def _share(self, classes: Tensor) -> Tensor:
        """Exemplars of each class when so many classes have been met."""
        return torch.full_like(classes, self.per_class) if self.per_class else self.memory // classes.clamp(min=1)

    # --- training -----------------------------------------------------------------------------------------------------

    def rehearse(self, learner, steps: Steps) -> Steps:
        if learner.phase == 0:
            return steps
        size, width = (each[:, learner.phase].view(-1, 1, 1) for each in (self.sizes, self.widths))
        kept = self.counts.sum(1).view(-1, 1, 1)
        drawn = integers(self.keys.unsqueeze(1), steps.clock, self.widest[learner.phase], kept.clamp(min=1))
        examples, tasks = (slots.gather(1, drawn.flatten(1)).view_as(drawn) for slots in (self.examples, self.tasks))
        there = (torch.arange(drawn.shape[2], device=drawn.device) < width) & (kept > 0)
        return steps.join(examples, tasks, there.float().expand_as(drawn), size / (size + kept))

    def criterion(self, learner, batch, logits):
        met = learner.evaluation.seen[: learner.phase + 2].unsqueeze(2)
        units = torch.arange(logits.shape[2], device=logits.device)
        targets = (batch.targets.unsqueeze(2) == units).to(logits.dtype)
        if learner.phase > 0:
            learner.count(forward=batch.width)
            targets = torch.where(met[-2], torch.sigmoid(self.old(batch.inputs) / self.temperature), targets)
        losses = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * met[-1]).sum(2)
        return losses * (batch.targets >= 0)  # what has no label says nothing of the new classes

    # --- exemplars ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def end_task(self, learner, task):
        before, met = learner.evaluation.seen[task], learner.evaluation.seen[task + 1]
        self._store(learner, task, met & ~before, self._share(met.sum(1, keepdim=True)))
        self._find_means(learner)
        self.old.take()

    def _store(self, learner, task: int, new: Tensor, share: Tensor) -> None:
        """Keep ``share`` ``[M, 1]`` exemplars of each class: herded ones of those that are ``new`` ``[M, C]``, the first of the
        others'."""
        examples, tasks, there = learner.addresses(task)
        targets = learner.reader.targets_of(examples, tasks).masked_fill(~there, -1)
        width = max(1, int(new.sum(1).max()))
        units = new.int().argsort(dim=1, descending=True, stable=True)[:, :width]  # the new ones, in their order, first
        belongs = (targets.unsqueeze(1) == units.unsqueeze(2)) & new.gather(1, units).unsqueeze(2)
        herd = herding(F.normalize(learner.features(examples, tasks), dim=2), belongs, int(share.max()))
        available = torch.zeros_like(self.counts).scatter_(1, units, belongs.sum(2))
        before = self.counts.clone()
        self.counts.copy_(torch.where(new, available, before).minimum(share))
        unit, rank, filled = self._slots()
        was = ((before.cumsum(1) - before).gather(1, unit) + rank).clamp(max=self.examples.shape[1] - 1)
        number = (new.cumsum(1) - 1).clamp(min=0).gather(1, unit)
        pick = herd.flatten(1).gather(1, (number * herd.shape[2] + rank).clamp(max=herd[0].numel() - 1))
        for slots, offered in ((self.examples, examples), (self.tasks, tasks)):
            now = torch.where(new.gather(1, unit), offered.gather(1, pick), slots.gather(1, was))
            slots.copy_(now.masked_fill(~filled, 0))

    def _slots(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of every slot the class, the rank in it by herding, and whether it is filled, each ``[M, K]``."""
        slots = torch.arange(self.examples.shape[1], device=self.examples.device).expand_as(self.examples).contiguous()
        ends = self.counts.cumsum(1)
        unit = torch.searchsorted(ends, slots, right=True).clamp(max=ends.shape[1] - 1)
        return unit, slots - (ends - self.counts).gather(1, unit), slots < ends[:, -1:]

    def _find_means(self, learner) -> None:
        unit, _, filled = self._slots()
        features = F.normalize(learner.features(self.examples, self.tasks), dim=2)
        units = torch.arange(self.counts.shape[1], device=unit.device)
        belongs = (unit.unsqueeze(1) == units.view(1, -1, 1)) & filled.unsqueeze(1)  # [M, C, K]
        self.means.copy_(F.normalize(belongs.to(features.dtype) @ features, dim=2))

    # --- answers ------------------------------------------------------------------------------------------------------

    def predict(self, learner, inputs, tasks):
        known = self.counts > 0
        if not bool(known.any()):
            return learner.logits(inputs, tasks)
        features = F.normalize(learner.population.features(inputs), dim=2)
        # - || phi - mu ||^2 without || phi ||^2, which is the same for all classes.
        nearness = 2 * features @ self.means.mT - self.means.square().sum(2).unsqueeze(1)
        return nearness.masked_fill(~known.unsqueeze(1), -torch.inf)


def herding(features: Tensor, belongs: Tensor, count: int) -> Tensor:
    """For groups of samples, the ``count`` that approach the group's mean best, each next to those before it.

    Args:
        features: ``[M, N, D]``, of length 1.
        belongs: which samples are of which of G groups, bool ``[M, G, N]``.

    Returns:
        Their numbers ``[M, G, count]``; in a group of fewer samples those behind its last are meaningless.
    """
    mean = F.normalize(belongs.to(features.dtype) @ features, dim=2)
    chosen, left, picks = torch.zeros_like(mean), belongs.clone(), []
    squares = features.square().sum(2).unsqueeze(1)
    for k in range(1, min(count, int(belongs.sum(2).max())) + 1):
        # k^2 || mu - (phi + chosen) / k ||^2 without what is the same for all samples
        distance = squares + 2 * (chosen - k * mean) @ features.mT
        pick = distance.masked_fill_(~left, torch.inf).argmin(2, keepdim=True)
        left.scatter_(2, pick, False)
        chosen += features.gather(1, pick.expand(-1, -1, features.shape[2]))
        picks.append(pick)
    return torch.cat(picks, 2) if picks else belongs.long()[..., :1]
