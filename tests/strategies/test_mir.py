"""MIR: the replayed samples are those whose loss a plain gradient step on the current batch raises most."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.errors import UserError
from lab.optimizers import SGD
from lab.testing.miniature import Miniature, fit, small_learner, small_network
from strategies.mir import MIR


@pytest.mark.parametrize("rates", [0.5, [0.5, 0.05]])
def test_it_picks_the_most_interfered_with(rates):
    strategy = MIR(memory=30, candidates=12, replay=3)
    environment = Miniature("domain", tasks=2)
    learner = small_learner([3, 8], strategies=(strategy,), environment=environment, optimizer=partial(SGD, lr=rates), block=2)
    fit(learner, until=5)
    candidates = strategy.store.distinct(12, learner.draw(strategy.keys, 30))
    assert candidates[2].all()
    batch = next(learner.samples(1, width=4))
    batch = type(batch)(batch.inputs, batch.targets, batch.examples, batch.tasks, 4, None)
    joined = strategy.extend(learner, batch)
    assert joined.width == 7
    for m, rate in enumerate(rates if isinstance(rates, list) else [rates, rates]):
        network = small_network()
        network.load_state_dict(learner.population.member(m))
        loss = cross_entropy(network(batch.inputs[m]), batch.targets[m])
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        inputs, targets = learner.reader.read(candidates[0], candidates[1])
        before = cross_entropy(network(inputs[m]), targets[m], reduction="none")
        with torch.no_grad():
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter -= rate * gradient
        harm = cross_entropy(network(inputs[m]), targets[m], reduction="none") - before
        expected = harm.topk(3).indices
        assert harm.topk(4).values.diff()[-1] < 0  # the last that is picked and the first that is not
        picked = list(zip(joined.tasks[m, 4:].tolist(), joined.examples[m, 4:].tolist(), strict=True))
        assert sorted(picked) == sorted((int(candidates[1][m, i]), int(candidates[0][m, i])) for i in expected)


def test_what_it_costs_is_counted():
    learner = small_learner([3], strategies=(MIR(memory=30, candidates=12, replay=3),), block=1)
    fit(learner, until=1)
    assert learner.passes == {"forward": 4 + 24 + 7, "backward": 4 + 7}


def test_more_replayed_than_candidates_is_refused():
    with pytest.raises(UserError, match=r"strategy.mir.candidates=5: expected at least strategy.mir.replay, 9"):
        MIR(candidates=5, replay=9)
