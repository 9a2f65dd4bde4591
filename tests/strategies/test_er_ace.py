"""ER-ACE as Caccia et al. 2022 write it: the current batch's softmax runs over its own classes, the two means are added."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from lab.protocols import Strategy
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.der import DERpp
from strategies.er_ace import ERACE
from strategies.gem import GEM


def learner_of(*others, behind=True, **options):
    environment = Miniature("class", tasks=2, uneven=False)
    own = ERACE(memory=10, replay=5)
    strategies = (*others, own) if behind else (own, *others)
    return small_learner([3, 8], strategies=strategies, environment=environment, **options)


def test_the_loss_is_the_sum_of_the_two_means():
    learner, seen = learner_of(block=1), []

    def watch(work, take):
        batch = work.batch
        logits = learner.population(batch.inputs)
        shares = batch.shares()
        got = (learner.losses(batch, logits) * shares).sum(1) + learner.strategies[0].loss(learner, batch, logits)
        for m in range(2):
            new, old = (batch.weights[m] > 0).split([batch.current, batch.width - batch.current])
            present = batch.targets[m, : batch.current][new].unique()
            if not new.any():
                continue  # it rests
            own = torch.full((4,), -torch.inf)
            own[present] = 0
            expected = cross_entropy(logits[m, : batch.current][new] + own, batch.targets[m, : batch.current][new])
            if old.any():
                expected = expected + cross_entropy(logits[m, batch.current :][old], batch.targets[m, batch.current :][old])
            torch.testing.assert_close(got[m], expected)
            seen.append((bool(old.any()), len(present)))
        take()

    fit_watched(learner, watch)
    assert {replaying for replaying, _ in seen} == {True, False}


def test_the_current_batch_moves_no_other_classes_unit():
    """Its gradient at the biases of classes that it does not hold is 0; plain training's is not."""
    learner = learner_of()
    batch = next(learner.samples(0, width=32))
    batch = replace(batch, current=32)
    (learner.losses(batch, learner.population(batch.inputs)) * batch.shares()).sum().backward()
    gradient = learner.population.leaves["head/bias"].grad
    for m in range(2):
        absent = [unit for unit in range(4) if unit not in batch.targets[m].tolist()]
        assert absent
        assert gradient[m, absent].tolist() == [0.0] * len(absent)
        assert gradient[m, batch.targets[m]].abs().min() > 0


def test_with_outputs_seen_replayed_samples_run_over_the_classes_met():
    learner = learner_of(outputs="seen")
    fit(learner, until=2)
    batch = next(learner.samples(0, width=4))
    units = learner.strategies[0].units(learner, batch)  # none of its columns is current: all are replayed
    assert torch.equal(units, learner.evaluation.seen[1].unsqueeze(1).expand_as(units))


class Terms(Strategy):
    """Keeps the step's batch, and what DER++ adds to its loss."""

    def __init__(self, dark):
        super().__init__()
        self.dark = [dark]  # in a list: no part of this one

    def loss(self, learner, batch, logits):
        self.batch, self.logits, self.term = batch, logits, self.dark[0].loss(learner, batch, logits)


@pytest.mark.parametrize("behind", [True, False])
def test_replayed_labels_of_derpp_weigh_beside_it_what_they_weigh_alone(behind):
    dark = DERpp(memory=10, alpha=0.0, beta=0.75, replay=3)
    terms = Terms(dark)
    learner = learner_of(dark, terms, behind=behind)
    fit(learner)
    batch, labelled = terms.batch, slice(-3, None)
    assert (batch.width, batch.current) == (4 + 5 + 3 + 3, 4)
    for m in range(2):
        # Over all classes (`outputs=all`), one mean, times beta.
        mean = cross_entropy(terms.logits[m, labelled], batch.targets[m, labelled])
        torch.testing.assert_close(terms.term[m], 0.75 * mean)


def test_gem_beside_it_has_gradients_of_the_mean_loss_on_what_it_keeps():
    gem = GEM(per_task=6)
    learner = learner_of(gem)
    fit(learner)
    kept = learner.replay(*gem._memory(0))
    got = learner.mean_gradient(kept)
    logits = learner.population(kept.inputs)
    mean = torch.stack([cross_entropy(logits[m], kept.targets[m]) for m in range(2)])
    expected = torch.autograd.grad(mean.sum(), list(learner.population.leaves.values()))
    for name, gradient in zip(learner.population.leaves, expected, strict=True):
        torch.testing.assert_close(got[name], gradient)
