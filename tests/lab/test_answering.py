"""Which units answer before training, for a population and for an engine's member: worked by hand, and alike."""

import pytest
import torch

from lab.answering import among, answered, rightness
from lab.engine import member_of
from lab.experiment import Experiment
from lab.plan import Plan
from lab.testing import composed

WORDS = ("tracking=off", "seeds=2", "batch_size=8", "network=mlp", "network.width=8", "network.depth=1", "environment=online")
BASE = ("environment.base=split", "environment.base.source=digits", "environment.base.tasks=5")


def experiment(scenario: str, outputs: str) -> Experiment:
    return Experiment(composed(*WORDS, *BASE, f"environment.base.scenario={scenario}", f"outputs={outputs}"))


@pytest.mark.parametrize(
    ("scenario", "outputs", "units"),
    [("class", "all", 10), ("class", "seen", 4), ("class", "current", 2), ("task", "all", 2), ("domain", "all", 2)],
)
def test_units_that_a_sample_may_be_answered_with(scenario, outputs, units):
    """In the second of five tasks of two classes; an engine's member and the learner are of one mind, and the best of other
    units is no answer."""
    made = experiment(scenario, outputs)
    learner, member = made.learner([1], Plan(True, 1, 1, 4, why="a test")), member_of(made, 1)
    task = torch.ones(1, 3, dtype=torch.int64)
    logits = torch.randn(1, 3, made.streams[0].outputs, generator=torch.Generator().manual_seed(0))
    for own in (learner, member):
        possible = answered(own, 1, task)
        allowed = torch.ones_like(logits, dtype=torch.bool) if possible is None else possible.expand_as(logits)
        assert allowed.sum(2).tolist() == [[units] * 3]
        assert bool((allowed | ~learner.reader.units_of(task)).all())
        assert torch.equal(among(possible, logits).argmax(2), logits.where(allowed, -torch.inf).argmax(2))


@pytest.mark.parametrize(("outputs", "right"), [("all", 0.0), ("current", 1.0)])
def test_an_engines_member_answers_among_the_units_of_outputs(outputs, right):
    """Whoever answers prefers the first task's units to those of the second, and the right one among these."""
    member = member_of(experiment("class", outputs), 0)
    samples = member.samples(1)
    first, positions = member.units(0), member.batches(1, 0)[0]
    answers = torch.nn.functional.one_hot(samples.targets[positions], 10).float() + 2 * first
    member.start(lambda inputs, task: answers if len(inputs) == len(positions) else torch.zeros(len(inputs), 10))
    member.meet(1, positions, samples)
    assert member.right_before[0].tolist() == [0, right * len(positions), 0, 0, 0]
    assert member.met_before[0].tolist() == [0, len(positions), 0, 0, 0]


def test_labels_of_a_sample_with_many_count_by_their_share():
    logits = torch.eye(3)[torch.tensor([[[0, 1, 2, 0]]])]
    targets = torch.tensor([[[0, 1, 1, -100]]])
    assert rightness(logits, targets).tolist() == [[pytest.approx(2 / 3)]]
