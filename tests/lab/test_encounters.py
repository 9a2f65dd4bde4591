"""What was met again, counted against the streams' own phases and memories' own arithmetic."""

import pytest

from lab.protocols import Strategy
from lab.stream import Blocks, Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.der import DER, DERpp
from strategies.er import ER
from strategies.mir import MIR
from strategies.naive import Naive

SEEDS = [3, 8]


def trained(strategy: Strategy, **options):
    learner = small_learner(SEEDS, environment=Miniature("class"), strategies=(strategy,), **options)
    fit(learner, Blocks(learner.course))
    return learner


@pytest.mark.parametrize("budget", [Budget(4, epochs=2), Budget(4, steps=7)])
def test_the_stream_shows_each_phases_own_examples_and_nothing_is_rehearsed(budget):
    learner = trained(Naive(), budget=budget)
    for m, stream in enumerate(learner.course.streams):
        for p, phase in enumerate(stream.phases):
            expected = 2 * len(phase.examples) if budget.steps is None else 7 * 4
            assert learner.encounters.shown[m, p].sum() == expected
            assert learner.encounters.shown[m, p, p] == expected
    assert learner.encounters.rehearsed.sum() == 0


def test_replay_is_counted_by_the_task_that_is_replayed():
    """Per step 3 from the memory, which is empty before the first step alone; in the second task some of either."""
    learner = trained(ER(memory=50, replay=3), budget=Budget(4, steps=6))
    rehearsed = learner.encounters.rehearsed
    assert rehearsed.sum(2).tolist() == [[3 * 5, 3 * 6]] * 2
    assert (rehearsed[:, 0, 1] == 0).all()
    assert (rehearsed[:, 1, 0] > 0).all()


@pytest.mark.parametrize(
    ("strategy", "a_step"), [(MIR(memory=50, replay=3), 3), (DER(memory=50, replay=3), 3), (DERpp(memory=50, replay=3), 6)]
)
def test_so_is_what_strategies_add_to_a_step(strategy, a_step):
    learner = trained(strategy, budget=Budget(4, steps=6))
    rehearsed = learner.encounters.rehearsed.sum(2)
    assert (rehearsed[:, 1] == 6 * a_step).all()
    assert (rehearsed[:, 0] <= 5 * a_step).all()  # of the memory's few, MIR draws different ones
    assert (rehearsed[:, 0] > 0).all()


def test_who_rests_meets_nothing():
    """The members' tasks are of different lengths: one waits for the other, and is shown no more than its own."""
    learner = small_learner(
        SEEDS, environment=Miniature("class", uneven=True), strategies=(ER(memory=50, replay=3),), budget=Budget(3)
    )
    fit(learner, Blocks(learner.course))
    assert learner.course.lengths[0][0] != learner.course.lengths[0][1]
    for m, stream in enumerate(learner.course.streams):
        steps = [-(-len(phase.examples) // 3) for phase in stream.phases]
        assert learner.encounters.shown[m].sum(1).tolist() == [len(phase.examples) for phase in stream.phases]
        assert learner.encounters.rehearsed[m].sum(1).tolist() == [3 * (steps[0] - 1), 3 * steps[1]]
