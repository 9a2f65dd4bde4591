"""Digits, then the same digits with their pixels permuted: what is left of the first task."""

from functools import cache

from torch import Tensor

from environments.permuted import Permuted
from environments.sources.digits import digits
from lab.networks import MLP
from lab.optimizers import Adam
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import fit, small_learner


def accuracies(*strategies: Strategy) -> tuple[Tensor, Tensor]:
    """After both tasks, of three members on the first and on the second, ``[3]`` each."""
    environment = Permuted(digits(), tasks=2)
    learner = small_learner(
        [1, 2, 3], lambda: MLP((1, 8, 8), 10, width=64, depth=1), strategies, lambda leaves: Adam(leaves, lr=3e-3),
        environment, Budget(32, steps=100),
    )  # fmt: skip
    fit(learner)
    return learner.evaluation.accuracy[:, 2].unbind(1)


@cache
def unprotected() -> Tensor:
    """The first task's accuracies without any strategy."""
    return accuracies()[0]
