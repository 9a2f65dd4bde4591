"""Strategies in float64: what they remember has the precision of the parameters."""

import pytest
import torch

from lab.protocols import Strategy
from lab.testing import Subject, shipped
from lab.testing.miniature import fit


@pytest.mark.parametrize("strategy", shipped(Strategy))
def test_two_tasks_in_double_precision(strategy):
    subject = Subject.of(f"strategy={strategy}", "trainer.precision=64", "optimizer=adam")
    learner = subject.learner()
    fit(learner)
    assert learner.population.finite().all()
    assert {leaf.dtype for leaf in learner.population.leaves.values()} == {torch.float64}
    assert not (learner.diverged_at >= 0).any()
