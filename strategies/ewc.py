"""Elastic weight consolidation: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks", PNAS 114,
arXiv 1612.00796; ``online``: Schwarz et al. 2018, "Progress & Compress", ICML, arXiv 1805.06370.

When task k ends, the diagonal F_k of its Fisher information is taken at the parameters theta*_k that were reached,

    F_k,i = E_x E_(y ~ p(y|x)) [(d log p(y|x) / d theta_i)^2]    over its training samples x,

and from then on a penalty is added to the loss:

    separate:  lambda/2 sum_k sum_i F_k,i (theta_i - theta*_k,i)^2                    (Kirkpatrick's eq. 3, summed over tasks)
    online:    lambda/2 sum_i gamma G_k,i (theta_i - theta*_k,i)^2,  G_k = gamma G_(k-1) + F_k          (Schwarz's eq. 8, 9)

Both are held as one stiffness and one anchor a parameter (:mod:`lab.quadratic`), whatever the number of tasks, and what is
added is their gradient, behind the backward pass: the loss that the step reports is without them.

Labels y are among the units that the sample's loss runs over: in the task-incremental scenario the task's, in the
class-incremental one what ``outputs=`` says. Implementations differ in their estimator of F (:mod:`lab.fisher`) and in the
factor 1/2, so a lambda does not carry over from one to another:

    van de Ven et al. 2022  fisher=exact factor=0.5 (and divides by N - 1)
    Avalanche               fisher=batched factor=1, batch its training batch size
    Mammoth (online)        fisher=empirical_weighted factor=1, gamma in G alone
"""

from lab.protocols import FISHER_ESTIMATORS, Strategy, number, one_of, require, whole
from lab.protocols import strength as checked


class EWC(Strategy):
    """Pull every parameter to where it was when old tasks ended, the more the more their predictions depend on it.

    Args:
        strength: lambda; a number, or a list of one for each member.
        mode: ``separate``, a penalty for each old task; ``online``, one in all, whose importances decay.
        gamma: by what they decay in ``online``, in [0, 1].
        fisher: the estimator of F: ``exact``, ``sampled``, ``predicted``, ``empirical``, ``empirical_weighted``, ``batched``.
        samples: how many of the task's training samples F is taken from, drawn at random; null for all.
        batch: for ``batched``, samples in a batch; null for as many as in training.
        factor: of the penalty, the paper's 1/2.
        reduction: F is the ``mean`` over samples (``batched``: over batches), or their ``sum``.
    """

    needs_boundaries = True

    def __init__(
        self, strength=100.0, mode="separate", gamma=1.0, fisher="exact", samples=None, batch=None, factor=0.5, reduction="mean"
    ):
        super().__init__()
        self.given = checked("strategy.ewc.strength", strength)
        self.online = one_of("strategy.ewc.mode", mode, ("separate", "online")) == "online"
        self.gamma = number("strategy.ewc.gamma", gamma, most=1.0) if self.online else 1.0
        self.fisher = one_of("strategy.ewc.fisher", fisher, FISHER_ESTIMATORS)
        self.samples = None if samples is None else whole("strategy.ewc.samples", samples, 1)
        self.batch = None if batch is None else whole("strategy.ewc.batch", batch, 1)
        self.factor = number("strategy.ewc.factor", factor)
        self.mean = one_of("strategy.ewc.reduction", reduction, ("mean", "sum")) == "mean"

    def check(self, stream, data):
        possible = self.fisher != "exact" or data.train.targets.dim() == 1
        require(possible, "strategy.ewc.fisher", self.fisher, "another estimator, since every sample has many labels")

    def setup(self, learner):
        self.register_buffer("strength", learner.value("strategy.ewc.strength", self.given))
        self.penalty = learner.quadratic_penalty()

    def gradient(self, learner, batch):
        if learner.phase > 0:
            self.penalty.pull()

    def end_task(self, learner, task):
        if task + 1 < len(learner.course.phases):  # nothing comes after the last that could forget it
            fisher, count = learner.fisher_information(task, self.fisher, self.samples, self.batch)
            scale = 2 * self.factor * self.gamma * self.strength / (count if self.mean else 1)
            stiffness = {name: value * scale.view(-1, *[1] * (value.dim() - 1)) for name, value in fisher.items()}
            self.penalty.move(stiffness, self.gamma) if self.online else self.penalty.add(stiffness)
