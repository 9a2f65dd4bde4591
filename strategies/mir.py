"""Maximally interfered retrieval: Aljundi et al. 2019, "Online Continual Learning with Maximally Interfered Retrieval",
NeurIPS, arXiv 1908.04742 (ER-MIR, their section 3.1).

Replay those samples that the step on the current batch X_t would harm most. Of ``candidates`` samples drawn from a reservoir,
the step's replayed batch is the ``replay`` of the largest

    s_MI(x) = l(f_theta_v(x), y) - l(f_theta(x), y),    theta_v = theta - alpha grad L(f_theta(X_t), Y_t)

with alpha the optimiser's learning rate: theta_v is a plain gradient step, whatever the optimiser. Their variant that compares
with the best loss so far is not here. The loss is one mean over current and replayed samples.
"""

from dataclasses import replace

import torch

from lab.protocols import Strategy, invalid, whole


class MIR(Strategy):
    """Replay of the samples most interfered with, from a reservoir of ``memory`` samples a member.

    Args:
        candidates: different samples drawn from the memory in each step, of which the worst are replayed.
        replay: samples a step; null: as many as the current batch, and no more than candidates.
    """

    def __init__(self, memory: int = 500, candidates: int = 50, replay: int | None = None):
        super().__init__()
        self.memory, self.candidates = whole("strategy.mir.memory", memory, 1), whole("strategy.mir.candidates", candidates, 1)
        self.replay = None if replay is None else whole("strategy.mir.replay", replay, 1)
        if replay is not None and replay > candidates:
            raise invalid("strategy.mir.candidates", candidates, f"at least strategy.mir.replay, {replay}")

    def setup(self, learner):
        self.store = learner.reservoir(self.memory)
        self.register_buffer("keys", learner.keys("mir"))

    def extend(self, learner, batch):
        found = learner.replay(*self._drawn(learner))
        gradient = learner.mean_gradient(batch)
        rate = learner.optimizer.values["lr"] * learner.optimizer.rate
        state = {}
        for name, leaf in learner.population.leaves.items():
            alpha = rate.view(-1, *[1] * (leaf.dim() - 1)).to(leaf) if isinstance(rate, torch.Tensor) else rate
            state[name] = leaf.detach() - alpha * gradient[name]
        harm = self._interference(learner, found, state).masked_fill(found.weights == 0, -torch.inf)
        worst = harm.topk(min(self.replay or batch.current, found.width)).indices
        examples, tasks, weights = (part.gather(1, worst) for part in (found.examples, found.tasks, found.weights))
        # As they were scored: read again, they would be augmented otherwise.
        member = torch.arange(len(worst), device=worst.device).unsqueeze(1)
        inputs, targets = (part[member, worst] for part in (found.inputs, found.targets))
        return batch.join(replace(found, inputs=inputs, targets=targets, examples=examples, tasks=tasks, weights=weights))

    def _drawn(self, learner):
        lots = learner.draw(self.keys, self.store.capacity)
        examples, tasks, valid = self.store.distinct(self.candidates, lots)
        return examples, tasks, valid.float()

    @torch.no_grad()
    def _interference(self, learner, found, state):
        """How much the step would raise each candidate's loss, ``[M, N]``."""
        learner.count(forward=2 * found.width)
        with learner.population.evaluating():
            before = learner.losses(found, learner.logits(found.inputs, found.tasks))
            behind = learner.losses(found, learner.population(found.inputs, state, learner.gates(found.tasks)))
        return behind - before

    def after_step(self, learner, batch):
        self.store.add(batch, learner.clock)
