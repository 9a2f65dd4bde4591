"""Synaptic intelligence: Zenke, Poole & Ganguli 2017, "Continual Learning Through Synaptic Intelligence", ICML,
arXiv 1703.04200.

While task k is trained, every parameter's share in the fall of the loss is added up along the path it takes, and when it ends,
set against how far the parameter has come:

    omega_i  = - sum_t g_i(t) (theta_i(t + 1) - theta_i(t))                              (their eq. 3)
    Omega_i += omega_i / ((theta_i - theta*_i)^2 + xi),  omega_i = 0,  theta*_i = theta_i      (eq. 5)

with theta* the parameters at the end of the task before (at first: those that training began with). The loss becomes

    L + c sum_i Omega_i (theta_i - theta*_i)^2                                           (eq. 4; no factor 1/2)

What is added is the penalty's gradient, behind the backward pass: the loss that the step reports is without it. g is the
gradient of the loss without this penalty, as in the authors' code (which also takes max(Omega, 0), as ``clamp: true`` does; the
paper does not say so). With ``path: total`` it is that with the penalty, as for van de Ven et al. 2022 (who do not clamp) and
Avalanche (whose plugin does nothing at all on a CPU). Other strategies' terms in the loss are part of g; what they do to
gradients is so if they are listed before. Parameters move as the optimiser moves them, momentum, clipping and all.
"""

import torch

from lab.protocols import Strategy, number, one_of, require
from lab.protocols import strength as checked


class SI(Strategy):
    """Pull every parameter to where it was when the last task ended, the more the more it did to lower old tasks' losses.

    Args:
        strength: c; a number, or a list of one for each member.
        xi: what keeps parameters that hardly moved from becoming all-important, above 0.
        path: whether g is the gradient of the loss alone (``loss``) or with the penalty (``total``).
        clamp: raise importances below 0 to 0 when a task ends.
    """

    needs_boundaries = True

    def __init__(self, strength=1.0, xi=0.1, path="loss", clamp=False):
        super().__init__()
        self.given = checked("strategy.si.strength", strength)
        self.xi = number("strategy.si.xi", xi)
        require(self.xi > 0, "strategy.si.xi", xi, "a number above 0")
        self.total = one_of("strategy.si.path", path, ("loss", "total")) == "total"
        require(isinstance(clamp, bool), "strategy.si.clamp", clamp, "true or false")
        self.clamp = clamp

    def setup(self, learner):
        self.register_buffer("strength", learner.value("strategy.si.strength", self.given))
        self.penalty = learner.quadratic_penalty()
        for name, leaf in learner.population.leaves.items():
            self.register_buffer(f"omega/{name}", torch.zeros_like(leaf, requires_grad=False))
        self.step = []

    def gradient(self, learner, batch):
        if not self.total:
            self._depart(learner)
        if learner.phase > 0:
            self.penalty.pull()
        if self.total:
            self._depart(learner)

    def _depart(self, learner):
        """Remember for the rest of this step, for every parameter, omega_i, g_i and theta_i(t)."""
        # Clipping and later strategies change gradients in place; who is alone may hold the tensor itself.
        alone = learner.clip is None and len(learner.strategies) == 1
        self.step = [
            (self._buffers[f"omega/{name}"], leaf.grad if alone else leaf.grad.clone(), leaf.detach().clone(), leaf)
            for name, leaf in learner.population.leaves.items()
            if leaf.grad is not None
        ]

    def after_step(self, learner, batch):
        for omega, gradient, before, leaf in self.step:
            omega.addcmul_(gradient, before.sub_(leaf))
        self.step = []

    def end_task(self, learner, task):
        stiffness = {}
        for name, leaf in learner.population.leaves.items():
            omega, moved = self._buffers[f"omega/{name}"], leaf.detach() - self.penalty.anchor[name]
            twice = 2 * self.strength.view(-1, *[1] * (leaf.dim() - 1))  # the penalty is 1/2 sum_i stiffness_i (...)^2
            stiffness[name] = twice * omega / (moved**2 + self.xi)
            omega.zero_()
        self.penalty.move(stiffness)
        if self.clamp:
            for value in self.penalty.stiffness.values():
                value.clamp_(min=0)
