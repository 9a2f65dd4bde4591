"""GDumb: what it trains on is a balanced sample of all that was met, from new weights each time."""

from functools import partial

import pytest
import torch

from lab.errors import UserError
from lab.networks import MLP
from lab.optimizers import SGD
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.gdumb import GDumb

ENVIRONMENT = Miniature("class", tasks=3, uneven=False)


def network():
    return MLP((1, 8, 8), 6, width=16, depth=1)


def test_a_phase_is_the_memory_when_its_task_has_been_met():
    stream = ENVIRONMENT.stream(5)
    rewritten = GDumb(memory=12).rewrite(stream, ENVIRONMENT.data, 5)
    for k, phase in enumerate(rewritten.phases):
        classes = [
            int(stream.tasks[t].labels[ENVIRONMENT.data.train.targets[e]])
            for t, e in zip(phase.tasks, phase.examples, strict=True)
        ]
        met = [unit for task in stream.tasks[: k + 1] for unit in task.labels[task.labels >= 0].tolist()]
        assert sorted(classes) == sorted(met * (12 // len(met)))
        assert len(set(zip(phase.tasks.tolist(), phase.examples.tolist(), strict=True))) == 12
        own = [set(task.train.tolist()) for task in stream.tasks[: k + 1]]
        assert all(e in own[t] for t, e in zip(phase.tasks.tolist(), phase.examples.tolist(), strict=True))
    other = GDumb(memory=12).rewrite(stream, ENVIRONMENT.data, 6)
    assert not torch.equal(other.phases[0].examples, rewritten.phases[0].examples)


@pytest.mark.parametrize("same", [True, False])
def test_each_task_begins_at_weights_that_saw_nothing(same):
    learner = small_learner([3, 8], network, strategies=(GDumb(memory=12, same=same),), environment=ENVIRONMENT)
    first = {name: leaf.detach().clone() for name, leaf in learner.population.leaves.items()}
    starts = {}

    def watch(work, take):
        phase = learner.phase
        if phase not in starts:
            starts[phase] = {name: leaf.detach().clone() for name, leaf in learner.population.leaves.items()}
        take()

    fit_watched(learner, watch)
    for name, value in first.items():
        assert torch.equal(starts[0][name], value)
        assert torch.equal(starts[1][name], value) == same
        assert not torch.equal(value, learner.population.leaves[name])
    if not same:
        torch.testing.assert_close(starts[2]["head/weight"], learner.population.fresh("gdumb", 2)["head/weight"])


def test_momentum_does_not_outlive_a_task():
    strategies, optimizer = (GDumb(memory=12),), partial(SGD, momentum=0.9)
    learner = small_learner([3], network, strategies, optimizer, ENVIRONMENT)
    fit(learner, until=next(n for n, span in enumerate(learner.course.spans) if span.phase == 1))
    assert any(map(len, learner.optimizer.state.values()))
    learner.begin(1)
    assert not any(map(len, learner.optimizer.state.values()))


def test_a_memory_smaller_than_the_classes_is_refused():
    with pytest.raises(UserError, match=r"strategy.gdumb.memory=5: expected at least 6"):
        GDumb(memory=5).check(ENVIRONMENT.stream(0), ENVIRONMENT.data)
