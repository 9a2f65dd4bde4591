"""Learning without forgetting: its term of the loss worked out sample by sample, in plain Python."""

from functools import partial
from math import exp, log

import pytest
import torch

from lab.ahead import works
from lab.errors import UserError
from lab.networks import MLP
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.er import ER
from strategies.lwf import LwF, _mean

from .two_tasks import accuracies, unprotected

SEEDS = [3, 8]


def make(outputs):
    return MLP((1, 8, 8), outputs, width=6, depth=1, dropout=0.25)


class Noted(LwF):
    """Keeps each member's network as plain torch at every task's end."""

    def end_task(self, learner, task):
        super().end_task(learner, task)
        self.__dict__["old"] = [plain(learner, m) for m in range(2)]


def plain(learner, m):
    network = make(learner.course.streams[m].outputs)
    network.load_state_dict(learner.population.member(m))
    return network.eval()


def softmax(logits, units, temperature):
    """``{unit: probability}`` over ``units`` alone."""
    raised = {u: exp(logits[u] / temperature) for u in units}
    return {u: value / sum(raised.values()) for u, value in raised.items()}


def distilled(old, new, taught, asked, temperature=2.0):
    """- sum_c p~_c log p_c of one sample: the teacher's probabilities over ``taught``, the network's over ``asked``."""
    teacher, network = softmax(old, taught, temperature), softmax(new, asked, temperature)
    return -sum(p * log(network[u]) for u, p in teacher.items())


def in_third_task(scenario, strategy, others=(), outputs="all"):
    """A learner in its third task's last step, which has padding for some member; the batch, and logits in evaluation."""
    units = 2 if scenario == "domain" else 6
    learner = small_learner(
        SEEDS, partial(make, units), (*others, strategy), environment=Miniature(scenario, tasks=3), budget=Budget(5, epochs=1),
        outputs=outputs, block=2,
    )  # fmt: skip
    blocks = fit(learner, until=len(learner.course.spans) - 1)
    block = blocks.block(blocks.position)
    learner._prepare(block)
    *_, work = works(learner, block)
    with learner.population.evaluating():
        return learner, work.batch, learner.population(work.batch.inputs)


def units_of(learner, m, *tasks):
    return [u for t in tasks for u in torch.nonzero(learner.course.streams[m].tasks[t].labels >= 0).squeeze(1).tolist()]


def expected(learner, batch, logits, heads, columns):
    """By member: the mean over its samples, as they weigh, of the mean over ``heads(m)``, pairs (taught, asked) of units."""
    means = []
    for m in range(2):
        olds = learner.strategies[-1].old[m](batch.inputs[m]).tolist()
        total, weight = 0.0, 0.0
        for b in range(columns):
            of_heads = [distilled(olds[b], logits[m, b].tolist(), *head) for head in heads(learner, m)]
            total += float(batch.weights[m, b]) * sum(of_heads) / len(of_heads)
            weight += float(batch.weights[m, b])
        means.append(total / weight if weight else 0.0)
    return torch.tensor(means)


def of_tasks(learner, m):
    return [(units_of(learner, m, t), units_of(learner, m, t)) for t in (0, 1)]


def of_all(learner, m):
    everything = range(learner.course.streams[m].outputs)
    return [(everything, everything)]


def of_old(learner, m):
    return [(units_of(learner, m, 0, 1), units_of(learner, m, 0, 1))]


def of_old_and_new(learner, m):
    return [(units_of(learner, m, 0, 1), units_of(learner, m, 0, 1, 2))]


CASES = [
    ("task", "all", {}, of_tasks, 2),  # lambda: the number of old tasks
    ("domain", "all", {}, of_all, 2),
    ("class", "all", {}, of_old, 1),
    ("class", "seen", {}, of_old, 1),
    ("class", "current", {"units": "loss"}, of_old, 1),
    ("class", "all", {"units": "loss"}, of_all, 1),
    ("class", "seen", {"units": "loss"}, of_old_and_new, 1),
    ("task", "all", {"squared": True}, of_tasks, 8),
    ("domain", "all", {"strength": [0.25, 3.0]}, of_all, torch.tensor([0.25, 3.0])),
]


@pytest.mark.parametrize(("scenario", "outputs", "options", "heads", "strength"), CASES)
def test_its_term_worked_sample_by_sample(scenario, outputs, options, heads, strength):
    learner, batch, logits = in_third_task(scenario, Noted(**options), outputs=outputs)
    assert (batch.weights == 0).any()
    found = learner.strategies[-1].loss(learner, batch, logits)
    torch.testing.assert_close(found, strength * expected(learner, batch, logits, heads, batch.current), rtol=1e-4, atol=1e-6)
    found.sum().backward()
    assert all(leaf.grad is not None for leaf in learner.population.leaves.values())


@pytest.mark.parametrize("replayed", [False, True])
def test_replayed_samples_are_distilled_on_only_if_asked_for(replayed):
    learner, batch, logits = in_third_task("class", Noted(replayed=replayed), (ER(memory=9, replay=4),))
    assert batch.width == batch.current + 4
    found = learner.strategies[-1].loss(learner, batch, logits)
    columns = batch.width if replayed else batch.current
    torch.testing.assert_close(found, expected(learner, batch, logits, of_old, columns), rtol=1e-4, atol=1e-6)


def test_there_is_nothing_to_distil_in_the_first_task():
    learner = small_learner(SEEDS, strategies=(LwF(),), block=1)
    blocks = fit(learner, until=2)
    assert learner.passes["forward"] == 2 * 4
    fit(learner, blocks)
    steps = [max(lengths) for lengths in learner.course.lengths]
    assert learner.passes["forward"] == 4 * (steps[0] + 2 * steps[1])


def test_labels_of_a_sequence_share_their_samples_weight():
    """Member 0: (1 + 3) / 2 of sample 0, 5 of sample 1, which weighs 3: (2 + 15) / 4. Member 1 rests."""

    class Labelled:
        targets = torch.tensor([[[0, -100, 2], [-100, -100, 1]], [[0, 1, 2], [0, 1, 2]]])

        def weights_or_ones(self):
            return torch.tensor([[1.0, 3.0], [0.0, 0.0]])

    losses = torch.tensor([[1.0, 9, 3, 9, 9, 5], [1, 1, 1, 1, 1, 1]])
    torch.testing.assert_close(_mean(losses, Labelled(), 2), torch.tensor([17 / 4, 0.0]))


def test_the_first_task_is_protected_and_the_second_is_learnt():
    """Naive training keeps 72, 71 and 43 % of the digits, learning without forgetting 82, 79 and 62 %."""
    kept, learnt = accuracies(LwF())
    assert (kept > unprotected() + 0.05).all()
    assert (learnt > 0.85).all()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"strength": -1.0}, "strategy.lwf.strength=-1.0"),
        ({"temperature": 0}, "strategy.lwf.temperature=0: expected a number above 0"),
        ({"units": "all"}, "strategy.lwf.units=all: expected one of old, loss"),
        ({"squared": 2}, "strategy.lwf.squared=2: expected true or false"),
        ({"replayed": "no"}, "strategy.lwf.replayed=no"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        LwF(**options)
