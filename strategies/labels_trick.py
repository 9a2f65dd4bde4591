"""The labels trick: Zeno et al. 2018, "Task Agnostic Continual Learning Using Online Variational Bayes", arXiv 1803.10123.

In class-incremental training a softmax over all outputs pushes the units of absent classes down at every step, and old classes
are forgotten most by that. The loss of every sample runs over the classes C_B that are in its batch instead:

    l(x, y) = - log (exp h_y(x) / sum_{c in C_B} exp h_c(x))

Nothing is masked in evaluation. With replay (``strategy=[er,labels_trick]``) the classes of replayed samples are in the batch
too; ER-ACE, which keeps them out of the current samples' loss alone, is a strategy of its own.
"""

import torch

from lab.protocols import Strategy


class LabelsTrick(Strategy):
    """The loss runs over the classes that are in the batch, in place of what ``outputs=`` says."""

    scenarios = ("class",)
    needs_classes = True

    def units(self, learner, batch):
        shape = (*batch.targets.shape, learner.evaluation.seen.shape[2])
        nothing = torch.zeros(shape, dtype=torch.bool, device=batch.targets.device)
        own = nothing.scatter(2, batch.targets.clamp(min=0).unsqueeze(2), True)
        counted = (batch.weights_or_ones() > 0) & (batch.targets >= 0)
        present = (own & counted.unsqueeze(2)).any(1, keepdim=True)
        # What weighs nothing has its own class all the same, since an infinite loss times 0 would be none.
        return present | own
