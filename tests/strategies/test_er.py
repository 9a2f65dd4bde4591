"""Experience replay as Chaudhry et al. 2019 describe it; its loss and its trajectory are tested in `tests/lab`."""

import pytest
import torch

from lab.errors import UserError
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.er import ER


def test_a_sample_is_not_replayed_in_the_step_it_arrives_in():
    """The memory is updated behind the step (their algorithm 1)."""
    strategy = ER(memory=100)
    learner = small_learner([3, 8], strategies=(strategy,), environment=Miniature("domain"), budget=Budget(4, epochs=1))
    met = [set(), set()]

    def watch(work, take):
        batch = work.batch
        for m in range(2):
            counted = batch.weights[m] > 0
            new, old = (
                {(int(batch.tasks[m, b]), int(batch.examples[m, b])) for b in columns if counted[b]}
                for columns in (range(4), range(4, 8))
            )
            assert old <= met[m]
            assert old or not met[m]
            met[m] |= new
        take()

    fit_watched(learner, watch)
    kept, tasks, filled = strategy.store.contents()
    for m in range(2):
        assert set(zip(tasks[m][filled[m]].tolist(), kept[m][filled[m]].tolist(), strict=True)) == met[m]


@pytest.mark.parametrize(("replay", "width"), [(None, 4), (7, 7)])
def test_how_many_are_replayed(replay, width):
    learner = small_learner([1], strategies=(ER(memory=5, replay=replay),), block=1)
    fit(learner, until=2)
    assert learner.passes["backward"] == 2 * (4 + width)


def test_its_memory_is_counted():
    learner = small_learner([1, 2, 3], strategies=(ER(memory=50),))
    assert 3 * 50 * 8 <= learner.strategies[0].state_bytes() <= 3 * 50 * 8 + 200


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"memory": 0}, "strategy.er.memory=0"),
        ({"memory": 2.5}, "strategy.er.memory=2.5"),
        ({"replay": 0}, "strategy.er.replay=0"),
        ({"balance": 1.5}, "strategy.er.balance=1.5"),
        ({"balance": 0}, "strategy.er.balance=0"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        ER(**options)


class StepByStep(ER):
    """The same within each step, by the calls for memories whose content depends on the network."""

    rehearse = Strategy.rehearse

    def extend(self, learner, batch):
        examples, tasks, valid = self.store.draw(self.replay or batch.current, learner.clock)
        return batch.join(learner.replay(examples, tasks, valid.float()), self.balance)

    def after_step(self, learner, batch):
        self.store.add(batch, learner.clock)


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("balance", [None, 0.3])
def test_rehearsing_a_block_ahead_is_replaying_in_every_step(balance, stack):
    def trained(kind):
        strategy, budget = kind(memory=6, balance=balance), Budget(5, epochs=3)
        learner = small_learner([3, 8, 9], strategies=(strategy,), stack=stack, budget=budget)
        fit(learner)
        return learner

    ahead, within = trained(ER), trained(StepByStep)
    assert ahead.passes == within.passes
    assert torch.equal(ahead.strategies[0].store.slots, within.strategies[0].store.slots)
    for name, value in ahead.population.leaves.items():
        torch.testing.assert_close(value, within.population.leaves[name], rtol=0, atol=1e-6)


def test_a_memory_filled_at_task_ends_replays_earlier_tasks_alone_and_weighs_them():
    """van de Ven et al. 2022: 1/k for the current batch, 1 - 1/k for the replayed; per_class of each class of each task."""
    strategy = ER(buffer="task_end", per_class=3, replay=6, balance="tasks")
    learner = small_learner([3, 8], strategies=(strategy,), environment=Miniature("domain", tasks=3, uneven=False))
    met = []

    def watch(work, take):
        batch, task = work.batch, int(work.batch.tasks[0, 0])
        met.append(task)
        if task == 0:
            assert batch.width == batch.current
        else:
            assert (batch.tasks[:, batch.current :] < task).all()
            shares = batch.shares()
            torch.testing.assert_close(shares[:, : batch.current].sum(1), torch.full((2,), 1 / (task + 1)))
            torch.testing.assert_close(shares.sum(1), torch.ones(2))
        take()

    fit_watched(learner, watch)
    assert set(met) == {0, 1, 2}
    examples, tasks, filled = strategy.store.contents()
    for m in range(2):
        targets = learner.reader.targets_of(examples, tasks)[m]
        pairs = list(zip(tasks[m][filled[m]].tolist(), targets[filled[m]].tolist(), strict=True))
        assert sorted(pairs) == sorted([(t, c) for t in range(3) for c in range(2)] * 3)
        assert len(set(zip(tasks[m].tolist(), examples[m].tolist(), strict=True))) == 18  # nothing twice


@pytest.mark.parametrize("buffer", ["balanced", "ring"])
def test_a_memory_smaller_than_the_classes_is_refused(buffer):
    strategy, environment = ER(memory=3, buffer=buffer), Miniature("class")
    with pytest.raises(UserError, match=r"strategy.er.memory=3: expected at least 4, a slot for each class"):
        strategy.check(environment.stream(0), environment.data)
