"""Gradient episodic memory: Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", NeurIPS,
arXiv 1706.08840.

No step may raise the loss on any past task, as far as gradients tell. With g the gradient on the current batch and the rows of
G the gradients of the mean losses on the memories of the t - 1 past tasks:

    min over g~ of  1/2 |g~ - g|^2   such that  G g~ >= 0
    min over v of   1/2 v' G G' v + (G g)' v   such that  v >= 0,    g~ = g + G' v    (its dual)

where some (G g)_k < 0; otherwise g~ = g. The small problem in v is solved for all members at once from the Gram matrix, in
float64 and with gradients scaled to length 1, so that in u = v |g_k| it has a matrix S with a diagonal of 1 and a slope c at 0:
by coordinate descent, cyclic, a fixed number of sweeps. That is all it takes where past tasks' gradients differ; where they are
nearly parallel, descent creeps. So 16 rounds of Newton's method on the optimality conditions follow (those coordinates are
solved for together that are worth more than their slope; the diagonal raised by delta, which falls from 1e-2 to 1e-6), of which
the best counts. How far the conditions u >= 0, r >= 0, u r = 0 are from holding then, r = S u + c, is

    kkt_residual = max over k of |min(u_k, r_k)| / max over k of |c_k|

whose mean and maximum over a member's steps are reported. Measured: below 1e-6 on random problems, below 1e-4 on 8000
ill-conditioned ones (nearly parallel, opposed and linearly dependent gradients of up to 19 tasks), below 1e-5 on all but one of
them.

``memory_strength`` is the paper's gamma, the lower bound of v in its authors' code, which favours backward transfer. They also
add 1e-3 to the diagonal of G G', whatever the gradients' size, so that small gradients are hardly projected: ``ridge`` does it,
and is 0 here. The paper keeps the last m samples of a task, here m random ones are drawn when it ends; in a shuffled task that
is the same.
"""

import torch

from lab.protocols import Strategy, flatten, number, strength, unflatten, whole

DELTAS = [10 ** (-2 - 4 * n / 15) for n in range(16)]


class GEM(Strategy):
    """Move each member's gradient as little as is needed for it not to point against the gradient of any past task.

    Every step takes a forward and a backward pass over all of the memory.

    Args:
        per_task: m, samples that are kept of each task.
        memory_strength: gamma, least value of the multipliers v; one number, or one a member.
        ridge: what is added to the diagonal of G G'.
        sweeps: of coordinate descent.
    """

    needs_boundaries = True

    def __init__(self, per_task: int = 256, memory_strength: float | list = 0.5, ridge: float = 0.0, sweeps: int = 20):
        super().__init__()
        self.per_task = whole("strategy.gem.per_task", per_task, 1)
        self.memory_strength = strength("strategy.gem.memory_strength", memory_strength)
        self.ridge, self.sweeps = number("strategy.gem.ridge", ridge), whole("strategy.gem.sweeps", sweeps, 1)

    def announcement(self, members, parameters, size=4):
        each = members * parameters * size
        return f"strategy.gem: a step holds the gradients of all past tasks, {each:,} bytes for each task and all members"

    def setup(self, learner):
        shape = (learner.members, len(learner.course.phases), self.per_task)
        for name in ("examples", "tasks"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(shape))
        self.register_buffer("margin", learner.value("strategy.gem.memory_strength", self.memory_strength))
        for name in ("steps", "projected", "residuals", "largest"):
            self.register_buffer(name, torch.zeros(learner.members))

    def gradient(self, learner, batch):
        if learner.phase == 0:
            return
        leaves = {name: leaf for name, leaf in learner.population.leaves.items() if leaf.grad is not None}
        g = flatten({name: leaf.grad for name, leaf in leaves.items()}, leaves)
        G = torch.stack([self._gradient_on(learner, leaves, task) for task in range(learner.phase)], 1)  # [M, t - 1, P]
        slope = (G @ g.unsqueeze(2)).squeeze(2)
        conflict = (slope < 0).any(1)
        v, residual = multipliers(G @ G.mT, slope, self.margin, self.ridge, self.sweeps)
        moved = torch.where(conflict.unsqueeze(1), g + (v.unsqueeze(1) @ G).squeeze(1), g)
        for name, value in unflatten(moved, leaves).items():
            leaves[name].grad.copy_(value)
        self._note(batch.taking_part(), conflict, residual.masked_fill(~conflict, 0))

    def _memory(self, task):
        """Examples, tasks and weights ``[M, m]`` of what is kept of a past task."""
        return self.examples[:, task], self.tasks[:, task], self.weights[:, task]

    def _gradient_on(self, learner, leaves, task):
        return flatten(learner.mean_gradient(learner.replay(*self._memory(task))), leaves)

    def _note(self, part, conflict, residual):
        """Count a step for the members that take ``part`` ``[M]`` in it."""
        self.steps += part
        self.projected += part & conflict
        self.residuals += residual * part
        self.largest.copy_(torch.where(part, torch.maximum(self.largest, residual), self.largest))

    def end_task(self, learner, task):
        for buffer, drawn in zip(self._memory(task), learner.addresses(task, self.per_task), strict=True):
            buffer[:, : drawn.shape[1]].copy_(drawn)

    def diagnostics(self):
        return {
            "kkt_residual_mean": self.residuals / self.steps,
            "kkt_residual_max": self.largest,
            "projected_steps": self.projected / self.steps,
        }


def multipliers(gram, slope, margin, ridge=0.0, sweeps=20):
    """Each member's v ``[M, T]`` that minimises 1/2 v' Q v + slope' v such that v >= margin, and its KKT residual ``[M]``.

    Args:
        gram: ``[M, T, T]``; Q without its ``ridge``.
        slope: ``[M, T]``.
        margin: ``[M]``.
    """
    Q = gram.double() + ridge * torch.eye(gram.shape[1], device=gram.device, dtype=torch.float64)
    lengths = Q.diagonal(dim1=1, dim2=2).sqrt()
    scale = torch.where(lengths > 0, 1 / lengths, 0)
    S = Q * scale.unsqueeze(1) * scale.unsqueeze(2)
    S.diagonal(dim1=1, dim2=2).fill_(1)
    lowest = margin.double().unsqueeze(1) * lengths  # of v |g_k|; u is what it is above that
    c = slope.double() * scale + times(S, lowest)
    u, residual = sharpened(S, c, descended(S, c, sweeps))
    return ((u + lowest) * scale).to(slope.dtype), residual.to(slope.dtype)


def descended(S, c, sweeps):
    """Multipliers u ``[M, T]`` after cyclic coordinate descent from 0."""
    u, r = torch.zeros_like(c), c.clone()
    for _ in range(sweeps):
        for k in range(c.shape[1]):
            step = torch.maximum(-r[:, k], -u[:, k])  # the diagonal is 1
            u[:, k] += step
            r += S[:, :, k] * step.unsqueeze(1)
    return u


def sharpened(S, c, u):
    """The best of multipliers ``[M, T]`` and what Newton's method makes of them, and its KKT residual ``[M]``."""
    best, least = u, kkt_residual(S, c, u)
    for delta in DELTAS:
        free = u > c + times(S, u)
        u = torch.where(free, u, 0)
        slope = torch.where(free, c + times(S, u), 0)
        among = torch.where(free.unsqueeze(1) & free.unsqueeze(2), S, 0)
        u = u - torch.linalg.solve_ex(among + torch.where(free, delta, 1).diag_embed(), slope).result
        tried = u.clamp(min=0)
        residual = kkt_residual(S, c, tried)
        better = residual < least
        best, least = torch.where(better.unsqueeze(1), tried, best), torch.where(better, residual, least)
    return best, least


def kkt_residual(S, c, u):
    """How far u ``[M, T]`` is from the optimality conditions, relative to the slope at the start: ``[M]``."""
    return torch.minimum(u, c + times(S, u)).abs().amax(1) / c.abs().amax(1).clamp(min=1e-300)


def times(S, u):
    return (S @ u.unsqueeze(2)).squeeze(2)
