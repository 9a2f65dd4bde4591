"""ER-ACE, replay with an asymmetric cross-entropy: Caccia et al. 2022, "New Insights on Reducing Abrupt Representation Change
in Online Continual Learning", ICLR, arXiv 2104.05025.

New classes must not push the features of old ones aside. With X_in the current batch, C_curr the classes in it and X_bf what is
replayed (their equation 3):

    L = L_ace(X_in; C_curr) + L_ce(X_bf; C_old and C_curr)

where L_ace is the cross-entropy of a softmax over C_curr alone: no gradient of the current batch reaches another class's unit.
Replayed samples' softmax is over what ``outputs`` says (``seen`` is the paper's). Both parts are means, and added up (Avalanche
halves the sum). The network's last layer is what the configuration says; the authors' code has a cosine classifier.
"""

import torch

from lab.protocols import Steps, Strategy, one_of, require_room, whole


class ERACE(Strategy):
    """Replay ``replay`` samples a step (null: as many as the current batch) from ``memory`` samples a member; the current
    batch's loss runs over the classes in it alone. ``buffer``: ``reservoir`` (the paper's), ``balanced`` or ``ring``."""

    scenarios = ("class",)
    needs_classes = True

    def __init__(self, memory: int = 500, replay: int | None = None, buffer: str = "reservoir"):
        super().__init__()
        self.memory = whole("strategy.er_ace.memory", memory, 1)
        self.replay = None if replay is None else whole("strategy.er_ace.replay", replay, 1)
        self.buffer = one_of("strategy.er_ace.buffer", buffer, ("reservoir", "balanced", "ring"))

    def check(self, stream, data):
        if self.buffer != "reservoir":
            require_room("strategy.er_ace.memory", self.memory, stream.outputs)

    def setup(self, learner):
        self.store = learner.memory(self.buffer, self.memory)

    def rehearse(self, learner, steps: Steps) -> Steps:
        examples, tasks, valid = self.store.serve(steps, self.replay or steps.current)
        return steps.join(examples, tasks, valid.float(), balance=0.5)

    def units(self, learner, batch):
        shape = (*batch.targets.shape, learner.evaluation.seen.shape[2])
        everything = torch.ones(shape, dtype=torch.bool, device=batch.targets.device)
        answers = learner.answered(batch)
        of_each = torch.zeros_like(everything).scatter_(2, batch.targets.clamp(min=0).unsqueeze(2), True)
        counted = ((batch.weights_or_ones() > 0) & (batch.targets >= 0))[:, : batch.current].unsqueeze(2)
        present = (of_each[:, : batch.current] & counted).any(1, keepdim=True)
        replayed = torch.arange(batch.width, device=batch.targets.device).view(1, -1, 1) >= batch.current
        # Padding has its own class too, or its loss, which counts nothing, would be infinite.
        return torch.where(replayed, everything if answers is None else answers, present | of_each)

    def loss(self, learner, batch, logits):
        # Joined, the two means weigh 1/2 each where there is something to replay: counted once more, they add up to their sum.
        # Not in each sample's loss, which other strategies take for terms of their own.
        replaying = batch.weights_or_ones()[:, batch.current :].gt(0).any(1, keepdim=True)
        return torch.linalg.vecdot(learner.losses(batch, logits), batch.shares(logits.dtype) * replaying)
