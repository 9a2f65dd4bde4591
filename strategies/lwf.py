"""Learning without forgetting: Li & Hoiem 2016, "Learning without Forgetting", ECCV, arXiv 1606.09282.

When a task ends, a copy of the network is kept, the teacher. On the samples of the next task the network is to go on answering
for old tasks as the teacher does. With softened probabilities p_c = exp(z_c / T) / sum_c' exp(z_c' / T), the teacher's p~:

    L_old = - sum_c p~_c log p_c                       (their eq. 2 and 3; no factor T^2, the teacher's entropy is in it)
    loss  = L_new + lambda L_old

    task     L_old is the mean over old tasks' units, each task with a softmax of its own
    domain   all units
    class    ``units: old``: the units met before this task (for both networks; Avalanche's choice too). ``units: loss``: those
             that the loss runs over, as van de Ven et al. 2022: with ``outputs=all`` all of them; with ``seen`` the network's
             softmax runs over those met so far, the teacher's over those met before

lambda is k - 1 in the task- and domain-incremental scenarios, with k - 1 the number of old tasks (the paper adds up the tasks'
losses), and 1 in the class-incremental one, or ``strength`` in all. The paper's warm-up of a new head is left out.
"""

import torch

from lab.protocols import Strategy, number, one_of, require
from lab.protocols import strength as checked

NEVER = -1e9
"""In place of the logits of units that have no part: their probability is exactly 0, and so is its product with log p."""


class LwF(Strategy):
    """Distil the network as it was when the last task ended, on the samples of the current one.

    Args:
        strength: lambda, or a list of one for each member; null for the rule above.
        temperature: T, above 0.
        squared: multiply L_old by T^2, so that T does not weaken its gradient (Hinton et al. 2015).
        units: in the class-incremental scenario, ``old`` or ``loss``.
        replayed: distil on samples that other strategies replay too.
    """

    needs_boundaries = True

    def __init__(self, strength=None, temperature=2.0, squared=False, units="old", replayed=False):
        super().__init__()
        self.given = None if strength is None else checked("strategy.lwf.strength", strength)
        self.temperature = number("strategy.lwf.temperature", temperature)
        require(self.temperature > 0, "strategy.lwf.temperature", temperature, "a number above 0")
        self.of_loss = one_of("strategy.lwf.units", units, ("old", "loss")) == "loss"
        for key, value in (("squared", squared), ("replayed", replayed)):
            require(isinstance(value, bool), f"strategy.lwf.{key}", value, "true or false")
        self.factor, self.replayed = self.temperature**2 if squared else 1.0, replayed

    def setup(self, learner):
        if self.given is not None:
            self.register_buffer("strength", learner.value("strategy.lwf.strength", self.given))
        self.teacher = learner.snapshot()
        self.scenario = learner.evaluation.scenario
        # The units that have a softmax of their own: each task's, or all. [M, H, n], with padding where tasks have fewer.
        units = learner.reader.units if self.scenario == "task" else torch.ones_like(learner.evaluation.seen[0]).unsqueeze(1)
        heads = units.int().sort(dim=-1, descending=True, stable=True).indices[..., : int(units.sum(-1).max())]
        self.register_buffer("heads", heads)
        self.register_buffer("there", units.gather(-1, heads))

    def end_task(self, learner, task):
        self.teacher.take()

    def loss(self, learner, batch, logits):
        if learner.phase == 0:
            return None
        width = batch.width if self.replayed else batch.current
        inputs, tasks = batch.inputs[:, :width], batch.tasks[:, :width]
        learner.count(forward=width)
        taught, asked = self._units(learner)
        old = self._softened(self.teacher(inputs, learner.gates(tasks)), taught).softmax(-1)
        new = self._softened(logits[:, :width], asked).log_softmax(-1)
        losses = self._mean_over_heads(learner, -(old * new).sum(-1))
        rule = 1.0 if self.scenario == "class" else learner.phase
        return (rule if self.given is None else self.strength) * self.factor * _mean(losses, batch, width)

    def _units(self, learner):
        """Who has part in the teacher's and in the network's softmax, both bool ``[M, H, n]``."""
        if self.scenario != "class" or (self.of_loss and learner.outputs == "all"):
            return self.there, self.there
        seen = learner.evaluation.seen.unsqueeze(2)
        before = seen[learner.phase]
        return before, seen[learner.phase + 1] if self.of_loss and learner.outputs == "seen" else before

    def _softened(self, logits, units):
        """Logits ``[M, B, ..., C]`` of all positions over the temperature, by heads: ``[M, B * ..., H, n]``."""
        logits = logits.flatten(1, -2).div(self.temperature)
        if self.scenario == "task":
            logits = logits.gather(2, self.heads.flatten(1).unsqueeze(1).expand(-1, logits.shape[1], -1))
        return logits.unflatten(2, self.heads.shape[1:]).masked_fill(~units.unsqueeze(1), NEVER)

    def _mean_over_heads(self, learner, losses):
        """Over old tasks' heads, from ``[M, P, H]``: ``[M, P]``."""
        if self.scenario != "task":
            return losses.squeeze(2)
        old = learner.evaluation.met[learner.phase].to(losses.dtype).unsqueeze(1)
        return (losses * old).sum(2) / old.sum(2)


def _mean(losses, batch, width):
    """Over a batch's first samples as they weigh, from ``[M, width * ...]``: ``[M]``; labels of one sample share its weight."""
    labelled = (batch.targets[:, :width] >= 0).flatten(2).to(losses.dtype) if batch.targets.dim() > 2 else None
    weights = batch.weights_or_ones()[:, :width].to(losses.dtype)
    if labelled is not None:
        weights = (weights.unsqueeze(2) * labelled / labelled.sum(2, keepdim=True).clamp(min=1)).flatten(1)
    return torch.linalg.vecdot(losses, weights) / weights.sum(1).clamp(min=1e-12)
