"""A new network for each task: what went before leaves no trace in it."""

import torch

from lab.optimizers import Adam
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.cumulative import Cumulative
from strategies.from_scratch import FromScratch

SEEDS = [3, 8]


def learner_with(*strategies):
    environment = Miniature("domain", tasks=3)
    return small_learner(SEEDS, strategies=strategies, environment=environment, budget=Budget(4, steps=6), optimizer=Adam)


def test_nothing_of_earlier_tasks_is_left():
    """However the weights were bent before a task began, it ends with the same bits."""

    class Bent(FromScratch):
        def begin_task(self, learner, task):
            for leaf in learner.population.leaves.values():
                leaf.data.mul_(1 if task == 0 else 7)
            super().begin_task(learner, task)

    plain, bent = learner_with(FromScratch()), learner_with(Bent())
    for learner in (plain, bent):
        fit(learner)
    for name, value in plain.population.leaves.items():
        assert torch.equal(value, bent.population.leaves[name])
    assert torch.equal(plain.evaluation.accuracy, bent.evaluation.accuracy)
    counts = {float(state["count"][0]) for state in plain.optimizer.state.values()}
    assert counts == {6.0}, "the optimiser is new too"


def test_the_first_network_is_the_one_that_other_strategies_begin_with_and_later_ones_are_others():
    plain, learner = learner_with(), learner_with(FromScratch())
    began = []
    for task in range(3):
        learner.begin(task)
        began.append(learner.population.leaves["hidden/0/weight"].detach().clone())
    assert torch.equal(began[0], plain.population.leaves["hidden/0/weight"])
    each = [began[task][m] for task in range(3) for m in range(2)]
    assert all(not torch.equal(a, b) for n, a in enumerate(each) for b in each[:n])
    assert all(weights.abs().max() <= 64**-0.5 for weights in each), "initialised as the first"


def test_with_cumulative_data_a_new_network_learns_all_tasks_so_far():
    learner = learner_with(Cumulative(), FromScratch())
    fit(learner)
    assert len(learner.course.streams[0].phases[2].tasks.unique()) == 3
    assert {float(state["count"][0]) for state in learner.optimizer.state.values()} == {6.0}
