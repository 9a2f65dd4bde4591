"""Averaged gradient episodic memory: Chaudhry et al. 2019, "Efficient Lifelong Learning with A-GEM", ICLR, arXiv 1812.00420.

A step may not raise the average loss on a memory M of old samples, as far as its gradient tells. With g the gradient on the
current batch and g_ref that on a batch drawn from M (their equations 10 and 11):

    g~ = g                                      where g . g_ref >= 0
    g~ = g - (g . g_ref) / (g_ref . g_ref) g_ref    otherwise

over all parameters as one vector. What is projected is the gradient of the whole loss, other strategies' terms in it; the
optimiser takes g~ in place of g.

The paper stores samples while a task is trained, equally many of each class, and takes them for reference from the next task
on. ``buffer: task_end`` draws them from the task when it has ended instead, as van de Ven et al. 2022 do. The other buffers
(see :mod:`strategies.er`) serve streams without boundaries: they hold samples of the current task too.
"""

import torch

from lab.protocols import Strategy, one_of, products, require_room, squares, whole


class AGEM(Strategy):
    """Project each member's gradient so that it does not point against the gradient on old samples.

    Args:
        buffer: ``task_end``, ``reservoir``, ``balanced`` or ``ring``.
        per_class: samples of each class of each task, with ``task_end`` alone.
        memory: samples a member, with the others.
        reference: old samples in a step's reference batch, drawn without replacement; null: as many as the current batch.
    """

    def __init__(self, buffer: str = "task_end", per_class: int = 100, memory: int = 500, reference: int | None = None):
        super().__init__()
        self.buffer = one_of("strategy.agem.buffer", buffer, ("task_end", "reservoir", "balanced", "ring"))
        self.per_class, self.memory = whole("strategy.agem.per_class", per_class, 1), whole("strategy.agem.memory", memory, 1)
        self.reference = None if reference is None else whole("strategy.agem.reference", reference, 1)
        self.needs_boundaries, self.needs_classes = buffer == "task_end", buffer != "reservoir"

    def check(self, stream, data):
        if self.buffer in ("balanced", "ring"):
            require_room("strategy.agem.memory", self.memory, stream.outputs)

    def setup(self, learner):
        self.store = learner.memory(self.buffer, self.memory, self.per_class)
        self.register_buffer("keys", learner.keys("agem"))

    def gradient(self, learner, batch):
        if self.store.at_end and learner.phase == 0:
            return
        reference = learner.mean_gradient(self._reference_batch(learner, self.reference or batch.current))
        project({n: leaf.grad for n, leaf in learner.population.leaves.items() if leaf.grad is not None}, reference)

    def _reference_batch(self, learner, count):
        """``count`` different samples from memory, fewer where it holds fewer."""
        examples, tasks, valid = self.store.distinct(count, learner.draw(self.keys, self.store.capacity))
        return learner.replay(examples, tasks, valid.float())

    def after_step(self, learner, batch):
        if not self.store.at_end:
            self.store.add(batch, learner.clock)

    def end_task(self, learner, task):
        self.store.end_task(*learner.addresses(task), learner.clock)


def project(gradients, reference):
    """Take from each member's ``gradients``, in place, what of them points against ``reference``; both ``{name: [M, ...]}``."""
    along = products(gradients, reference)
    share = torch.where(along < 0, along / squares(reference), 0)
    for name, gradient in gradients.items():
        gradient.addcmul_(reference[name], share.view(-1, *[1] * (gradient.dim() - 1)), value=-1)
