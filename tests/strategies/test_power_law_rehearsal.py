"""Rehearsal by laws of lags: what a run replays, and that the five differ in nothing else. The memory's own tests are in
`tests/lab/test_memory_lagged.py`."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import stats

from lab.errors import UserError
from lab.protocols import Phase
from lab.stream import Budget
from lab.testing import Subject
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from lab.testing.strategy import lets_members_rest, survives_a_resume, trains_where_it_claims
from strategies.power_law_rehearsal import (
    ExponentialRehearsal,
    PowerLawRehearsal,
    RecentRehearsal,
    ReservoirRehearsal,
    UniformRehearsal,
)
from tests.strategies.two_tasks import accuracies, unprotected

ALL = (PowerLawRehearsal, UniformRehearsal, ExponentialRehearsal, RecentRehearsal, ReservoirRehearsal)
SEEDS = [3, 8, 9, 11]
TASKS = 4


def learner_of(strategy, uneven=False, steps=20, block=16):
    environment = Miniature("domain", tasks=TASKS, uneven=uneven)
    return small_learner(SEEDS, strategies=(strategy,), environment=environment, budget=Budget(8, steps=steps), block=block)


def replayed(strategy, **options):
    """How often each task was replayed in each phase, ``[P, T]``, by all members together, and the learner."""
    learner = learner_of(strategy, **options)
    counts = torch.zeros(TASKS, TASKS, dtype=torch.int64)

    def watch(work, take):
        batch = work.batch
        old = batch.tasks.expand_as(batch.examples)[:, batch.current :]
        assert batch.weights is None or batch.weights.all()
        counts[learner.phase] += torch.bincount(old.flatten(), minlength=TASKS)
        take()

    fit_watched(learner, watch)
    return counts, learner


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("replay", "width"), [(None, 8), (5, 5)])
def test_equally_many_samples_of_earlier_tasks_from_the_second_task_on(kind, replay, width):
    counts, learner = replayed(kind(memory=20, replay=replay), uneven=True)
    assert counts.sum(1).tolist() == [0] + [len(SEEDS) * 20 * width] * (TASKS - 1)
    assert (counts.triu() == 0).all(), "neither the current task nor a later one"
    assert learner.passes["backward"] == TASKS * 20 * 8 + (TASKS - 1) * 20 * width


@pytest.mark.parametrize(
    ("strategy", "weight"),
    [
        (PowerLawRehearsal(memory=40, replay=64), lambda lag: (lag + 1) ** -0.5),
        (PowerLawRehearsal(memory=40, replay=64, exponent=2, quotas="law"), lambda lag: (lag + 1) ** -2),
        (UniformRehearsal(memory=40, replay=64), lambda lag: 1),
        (RecentRehearsal(memory=40, replay=64), lambda lag: lag == 1),
        # The power law of d = 1 and lags 1, 2: weights 1/2 and 1/3, mean lag 1.4, so e^-r = 2/3.
        (ExponentialRehearsal(memory=40, replay=64, exponent=1), {1: 1, 2: 2 / 3}.get),
    ],
)
def test_tasks_are_replayed_by_the_law(strategy, weight):
    counts, _ = replayed(strategy, steps=50)
    last = 2 if isinstance(strategy, ExponentialRehearsal) else TASKS - 1
    for phase in range(1, last + 1):
        weights = torch.tensor([float(weight(phase - task)) for task in range(phase)], dtype=torch.float64)
        there = weights > 0
        assert counts[phase, :phase][~there].sum() == 0
        observed = counts[phase, :phase][there]
        expected = weights[there] / weights.sum() * observed.sum()
        assert len(observed) == 1 or stats.chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3


def test_the_reservoir_replays_tasks_as_they_have_samples():
    """All of the stream fits in; the other laws know tasks, whatever their size."""
    strategy = ReservoirRehearsal(memory=200, replay=64)
    counts, learner = replayed(strategy, uneven=True, steps=50)
    sizes = torch.tensor([[len(phase.examples) for phase in stream.phases] for stream in learner.course.streams]).double()
    shares = (sizes[:, :3] / sizes[:, :3].sum(1, keepdim=True)).mean(0)
    assert stats.chisquare(counts[3, :3].numpy(), (shares * counts[3].sum()).numpy()).pvalue > 1e-3
    assert stats.chisquare(counts[3, :3].numpy()).pvalue < 1e-6
    assert torch.equal(strategy.store.filled().sum(1), sizes.sum(1).long())


def test_a_task_is_as_old_as_its_own_phase():
    """A stream that comes back to its first task in the second phase: the third draws it as one of lag 2."""

    class Returning(Miniature):
        def stream(self, seed):
            stream = super().stream(seed)
            (first, second, third) = stream.phases
            both = (
                torch.cat(pair) for pair in zip((second.examples, second.tasks), (first.examples, first.tasks), strict=True)
            )
            return replace(stream, phases=(first, Phase(*both, completes=1), third))

    strategy = RecentRehearsal(memory=20)
    learner = small_learner([3], strategies=(strategy,), environment=Returning("domain", tasks=3))
    drawn = set()

    def watch(work, take):
        drawn.update(work.batch.tasks.expand_as(work.batch.examples)[:, work.batch.current :].flatten().tolist())
        take()

    fit_watched(learner, watch)
    assert drawn == {0, 1}
    assert strategy.store.new.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (PowerLawRehearsal(exponent=0), UniformRehearsal()),
        (PowerLawRehearsal(exponent=math.inf), RecentRehearsal()),
        (ExponentialRehearsal(exponent=math.inf), RecentRehearsal()),
    ],
)
def test_the_ends_of_the_laws_are_the_same_runs(one, same):
    first, second = (replayed(strategy)[1] for strategy in (one, same))
    for name, value in first.population.leaves.items():
        assert torch.equal(value, second.population.leaves[name]), name


@pytest.mark.parametrize("balance", [0.3, "tasks"])
def test_the_two_means_are_balanced(balance):
    learner = learner_of(PowerLawRehearsal(memory=20, replay=3, balance=balance), steps=4)

    def watch(work, take):
        own = {0.3: 0.3, "tasks": 1 / (learner.phase + 1)}[balance] if learner.phase else 1.0
        torch.testing.assert_close(work.batch.shares()[:, :8].sum(1), torch.full((len(SEEDS),), own))
        take()

    fit_watched(learner, watch)


@pytest.mark.parametrize("other", ["ewc", "lwf", "derpp", "mas", "agem"])
def test_it_composes(other):
    subject = Subject.of(f"strategy=[power_law_rehearsal,{other}]")
    for check in (trains_where_it_claims, lets_members_rest, survives_a_resume):
        check(subject)


def test_state_grows_with_the_slots_and_a_number_a_task():
    """Addresses and limits of 50 slots, the phase each of 4 tasks was new in, two counts and two keys, 8 bytes each."""
    learner = learner_of(PowerLawRehearsal(memory=50))
    assert learner.strategies[0].state_bytes() == len(SEEDS) * 8 * (2 * 50 + TASKS + 4)


@pytest.mark.parametrize("kind", ALL)
def test_it_keeps_what_was_learnt(kind):
    """On two tasks all five rehearse the first."""
    assert (accuracies(kind(memory=300))[0] > unprotected() + 0.1).all()


@pytest.mark.parametrize("kind", ALL)
def test_its_first_phase_is_plain(kind):
    with_it, without = learner_of(kind(memory=20), steps=5), learner_of(kind(memory=20), steps=5)
    without.strategies = torch.nn.ModuleList()
    for learner in (with_it, without):
        fit(learner, until=1)
    for name, value in with_it.population.leaves.items():
        assert torch.equal(value, without.population.leaves[name])


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (PowerLawRehearsal, {"memory": 0}, "strategy.power_law_rehearsal.memory=0: expected a whole number from 1 on"),
        (PowerLawRehearsal, {"replay": 2.5}, "strategy.power_law_rehearsal.replay=2.5: expected a whole number"),
        (PowerLawRehearsal, {"exponent": -1}, "strategy.power_law_rehearsal.exponent=-1: expected a number from 0 on"),
        (PowerLawRehearsal, {"exponent": math.nan}, "strategy.power_law_rehearsal.exponent=nan"),
        (PowerLawRehearsal, {"quotas": "equal"}, "strategy.power_law_rehearsal.quotas=equal: expected one of even, law"),
        (PowerLawRehearsal, {"balance": 0}, "strategy.power_law_rehearsal.balance=0"),
        (ExponentialRehearsal, {"exponent": None}, "strategy.exponential_rehearsal.exponent=None"),
        (UniformRehearsal, {"memory": 1.5}, "strategy.uniform_rehearsal.memory=1.5"),
        (RecentRehearsal, {"quotas": 1}, "strategy.recent_rehearsal.quotas=1"),
        (ReservoirRehearsal, {"balance": "half"}, "strategy.reservoir_rehearsal.balance=half"),
    ],
)
def test_what_cannot_be_is_refused(kind, options, message):
    with pytest.raises(UserError, match=message):
        kind(**options)
