"""DER and DER++: Buzzega et al. 2020, "Dark Experience for General Continual Learning: a Strong, Simple Baseline", NeurIPS,
arXiv 2004.07211.

A reservoir M keeps, with every sample x and its label y, the logits z that the network gave when it met x. The loss has these
replayed beside the current batch's (their equations 5 and 6; DER is beta = 0):

    L = l(y, f(x)) + alpha E_{(x', z') ~ M} || z' - h(x') ||^2 + beta E_{(x'', y'') ~ M} l(y'', f(x''))

with h the logits, f their softmax and l the cross-entropy, in expectation over two independent draws. The logits kept are those
of the step that meets the sample, before its update; the memory is updated after the step.

The norm is a mean over outputs, as in the authors' code, which their published values of alpha are for (the paper's sum is as
many times larger as there are outputs), and is over all outputs in every scenario; cross-entropies run over the same outputs as
without replay. One forward pass serves the current batch and both draws, where the authors make three: with batch normalisation
they share their statistics.
"""

import torch
from torch.nn import functional as F

from lab.protocols import Strategy, integers, strength, whole


class DER(Strategy):
    """Replay of samples with the logits that they had, from a reservoir of ``memory`` samples a member.

    Args:
        alpha: weight of the mean squared difference from the logits kept; may be one number a member, as ``beta``.
        beta: weight of the replayed cross-entropy (DER++); 0: no second draw (DER).
        replay: samples a step in each draw; null: as many as the current batch.
    """

    key = "strategy.der"
    needs_classes = True

    def __init__(self, memory: int = 500, alpha=1.0, beta=0.0, replay: int | None = None):
        super().__init__()
        self.memory = whole(f"{self.key}.memory", memory, 1)
        self.given = {"alpha": strength(f"{self.key}.alpha", alpha), "beta": strength(f"{self.key}.beta", beta)}
        self.replay = None if replay is None else whole(f"{self.key}.replay", replay, 1)
        self.draws = 2 if self.given["beta"] != 0 else 1

    def setup(self, learner):
        for name, given in self.given.items():
            self.register_buffer(name, learner.value(f"{self.key}.{name}", given))
        self.store = learner.reservoir(self.memory)
        # One row more than slots, where nothing is kept: what is written to no slot is written there, as zeros.
        shape = (learner.members, self.memory + 1, learner.course.streams[0].outputs)
        self.register_buffer("logits", torch.zeros(shape, dtype=learner.population.precise))
        self.register_buffer("keys", learner.keys("der"))

    def extend(self, learner, batch):
        self.first, self.count = batch.width, self.replay or batch.current
        kept = self.store.seen.clamp(min=1, max=self.memory).unsqueeze(1)
        self.slots = integers(self.keys, learner.clock, self.draws * self.count, kept)
        examples, tasks = (part.gather(1, self.slots) for part in self.store.contents()[:2])
        learner.count_rehearsed(tasks, ((self.store.seen > 0) & batch.taking_part()).unsqueeze(1).expand_as(tasks))
        # Of weight 0: they are no part of the mean loss, but of the terms below.
        nothing = torch.zeros_like(self.slots, dtype=torch.float32)
        return batch.join(learner.replay(examples, tasks, nothing))

    def loss(self, learner, batch, logits):
        self.now = logits[:, : batch.current].detach()
        dark, labelled = self.first + self.count, self.first + 2 * self.count
        then = self.logits.gather(1, self.slots[:, : self.count, None].expand(-1, -1, logits.shape[2]))
        term = self.alpha * F.mse_loss(logits[:, self.first : dark], then, reduction="none").mean((1, 2))
        if self.draws == 2:
            term = term + self.beta * learner.losses(batch, logits)[:, dark:labelled].mean(1)
        return torch.where(self.store.seen > 0, term, 0)

    def after_step(self, learner, batch):
        places = self.store.places(batch, learner.clock).unsqueeze(2)
        self.logits.scatter_(1, places.expand_as(self.now), self.now.masked_fill(places == self.memory, 0))
        self.store.add(batch, learner.clock)
        self.now = self.slots = None


class DERpp(DER):
    """DER++: as :class:`DER`, the labels of a second draw replayed as well."""

    key = "strategy.derpp"

    def __init__(self, memory: int = 500, alpha=1.0, beta=0.5, replay: int | None = None):
        super().__init__(memory, alpha, beta, replay)
