"""Orthogonal gradient descent: Farajtabar et al. 2020, "Orthogonal Gradient Descent for Continual Learning", AISTATS,
arXiv 1910.07104.

Steps are taken where, to first order, the answers to old samples stay as they are. S holds orthonormal directions v: when a
task has ended, the gradients of logits f_k(x; w) at some of its samples x, with respect to all parameters w, are made
orthogonal to S and to each other and added to it (their algorithm 1), and from then on

    g~ = g - sum over v in S of (v . g) v

The directions are those of ``logits: gtl``, the logit of each sample's own class (the paper's OGD-GTL, its best for the price);
``ave``, the mean of a sample's logits; or ``all`` of them, one direction each, from as many fewer samples. A sample's logits
are those of the units that its loss runs over.

Gram-Schmidt is done in blocks and twice, which in float32 leaves products of directions below 1e-5; a gradient of which less
than a thousandth of its length is new gives none. The paper stores 200 directions for each task, however many there are; here
``max_directions`` is for the run, shared equally by all tasks but the last. The optimiser takes g~ in place of g, as in the
paper, whose optimiser is plain SGD: momentum keeps to the directions left, Adam's scaling does not.
"""

import torch

from lab.protocols import Strategy, flatten, one_of, require, unflatten, whole

BLOCK = 16
"""Directions that are made orthogonal together."""
NEW = 1e-3
"""The least share of its length that must be new in a direction."""


class OGD(Strategy):
    """Take from each member's gradient what would change its answers to samples of past tasks.

    Holds members x ``max_directions`` x parameters numbers, and goes over them twice in a step.

    Args:
        max_directions: of a member, for all tasks together.
        logits: whose gradients are the directions: ``gtl``, ``ave`` or ``all``.
    """

    needs_boundaries = True
    needs_classes = True

    def __init__(self, max_directions: int = 200, logits: str = "gtl"):
        super().__init__()
        self.most = whole("strategy.ogd.max_directions", max_directions, 1)
        self.which = one_of("strategy.ogd.logits", logits, ("gtl", "ave", "all"))

    def check(self, stream, data):
        past = len(stream.phases) - 1
        require(self.most >= past, "strategy.ogd.max_directions", self.most, f"at least {past}, one for each task but the last")

    def announcement(self, members, parameters, size=4):
        total = members * self.most * parameters * size
        return f"strategy.ogd.max_directions={self.most}: the directions of all members take {total:,} bytes"

    def setup(self, learner):
        self.share = self.most // max(1, len(learner.course.phases) - 1)
        parameters = sum(leaf[0].numel() for leaf in learner.population.leaves.values())
        self.register_buffer(
            "directions", torch.zeros(learner.members, self.most, parameters, dtype=learner.population.precise)
        )

    def gradient(self, learner, batch):
        if learner.phase == 0:
            return
        leaves = {name: leaf for name, leaf in learner.population.leaves.items() if leaf.grad is not None}
        g = flatten({name: leaf.grad for name, leaf in leaves.items()}, leaves)
        for name, value in unflatten(without(g.unsqueeze(1), self._until(learner.phase)).squeeze(1), leaves).items():
            leaves[name].grad.copy_(value)

    def _until(self, task):
        """The directions ``[M, k, P]`` of the tasks before this one."""
        return self.directions[:, : task * self.share]

    def end_task(self, learner, task):
        if task + 1 == len(learner.course.phases):
            return
        first, last = task * self.share, (task + 1) * self.share
        for block in self._gradients(learner, task):
            block = block[:, : last - first].to(self.directions)
            self.directions[:, first : first + block.shape[1]] = orthonormal(block, self.directions[:, :first])
            first += block.shape[1]

    def _gradients(self, learner, task):
        """Gradients of logits at a task's samples, in blocks ``[M, n, P]``; zero where a member has no more samples."""
        leaves, each = learner.population.leaves, self._each(learner, task)
        for batch in learner.samples(task, width=-(-BLOCK // each), at_most=-(-self.share // each)):
            with learner.population.evaluating(), torch.enable_grad():
                values = self._objectives(learner, batch, learner.logits(batch.inputs, batch.tasks), each).flatten(1)
                one = torch.eye(values.shape[1], device=values.device, dtype=values.dtype)
                gradients = torch.autograd.grad(
                    values, list(leaves.values()), one.unsqueeze(1).expand(-1, learner.members, -1), is_grads_batched=True
                )
            learner.count(batch.width, values.shape[1] * batch.width)
            rows = [flatten(dict(zip(leaves, row, strict=True)), leaves) for row in zip(*gradients, strict=True)]
            yield torch.stack(rows, 1)

    def _each(self, learner, task):
        """How many directions a sample gives."""
        if self.which != "all":
            return 1
        units = learner.units_for(next(learner.samples(task, width=1)))
        return learner.course.streams[0].outputs if units is None else int(units.sum(2).max())

    def _objectives(self, learner, batch, logits, each):
        """What directions are gradients of, ``[M, B, each]``, 0 for padding."""
        there = (batch.weights * (batch.targets >= 0)).unsqueeze(2)
        if self.which == "gtl":
            return logits.gather(2, batch.targets.clamp(min=0).unsqueeze(2)) * there
        units = learner.units_for(batch)
        units = torch.ones_like(logits) if units is None else units.expand_as(logits).to(logits)
        if self.which == "ave":
            return (logits * units).sum(2, keepdim=True) / units.sum(2, keepdim=True) * there
        own = units.argsort(dim=2, descending=True, stable=True)[..., :each]
        return (logits * units).gather(2, own) * there


def without(rows, directions):
    """``rows`` ``[M, n, P]`` without their parts along orthonormal ``directions`` ``[M, k, P]``, some of which may be zero."""
    return rows - (rows @ directions.mT) @ directions


def orthonormal(rows, directions):
    """Rows ``[M, n, P]`` made orthogonal to ``directions`` and to each other, of length 1; 0 where hardly anything is left."""
    least = NEW * rows.norm(dim=2)
    for again in (False, True):
        rows = without(rows, directions)
        for i in range(rows.shape[1]):
            row = without(without(rows[:, i : i + 1], rows[:, :i]), rows[:, :i])  # what little is left once may be rounding
            length = row.norm(dim=2)
            new = length > (0.5 if again else least[:, i : i + 1])
            rows[:, i : i + 1] = torch.where(new, 1 / length, 0).unsqueeze(2) * torch.where(new.unsqueeze(2), row, 0)
    return rows
