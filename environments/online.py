"""Online learning: one pass over a stream, every example tested on just before it is trained on (Gama et al. 2013)."""

from dataclasses import replace

from environments.tasks import base_of
from lab.protocols import Environment, Stream


class Online:
    """The stream of ``base``, each example of it met once: any budget but ``epochs=1`` is refused.

    Accuracy on each example before it is trained on is recorded beside the accuracy tensor ("online accuracy"). It is that of
    the network in training, under dropout and batch statistics where it has them, and among the output units in training.
    """

    def __init__(self, base: Environment):
        self.base = base_of(base)
        self.data = self.base.data

    def stream(self, seed: int) -> Stream:
        return replace(self.base.stream(seed), prequential=True)
