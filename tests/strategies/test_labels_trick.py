"""The labels trick, worked by hand: a softmax over the classes that are in the batch."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from lab.protocols import Batch, UserError
from lab.testing import Subject
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.der import DERpp
from strategies.er import ER
from strategies.labels_trick import LabelsTrick


def batch_of(targets, weights=None):
    targets = torch.tensor(targets)
    nothing = torch.zeros_like(targets)
    return Batch(nothing.float().unsqueeze(2), targets, nothing, nothing, targets.shape[1], weights)


def test_the_softmax_is_over_the_classes_of_the_batch():
    learner = small_learner([1, 2], strategies=(LabelsTrick(),))
    logits = torch.tensor([[[1.0, 2.0, 3.0, 9.0]] * 3, [[0.5, -1.0, 4.0, 2.0]] * 3])
    batch = batch_of([[0, 2, 2], [1, 1, 1]])
    losses = learner.cross_entropy(batch, logits)
    among = torch.tensor([1.0, 3.0])
    expected = [F.cross_entropy(among, torch.tensor(k)) for k in (0, 1, 1)]
    torch.testing.assert_close(losses[0], torch.stack(expected))
    assert losses[1].tolist() == [0, 0, 0], "of one class nothing can be learnt"


def test_padding_brings_no_class_and_its_loss_is_finite():
    learner = small_learner([1], strategies=(LabelsTrick(),))
    batch = batch_of([[0, 2, 3]], torch.tensor([[1.0, 1.0, 0.0]]))
    losses = learner.cross_entropy(batch, torch.tensor([[[1.0, 2.0, 3.0, 9.0]] * 3]))
    assert losses.isfinite().all()
    plain = learner.cross_entropy(replace(batch, targets=torch.tensor([[0, 2, 0]])), torch.tensor([[[1.0, 2.0, 3.0, 9.0]] * 3]))
    assert torch.equal(losses[:, :2], plain[:, :2])


def test_units_of_absent_classes_are_left_alone():
    """In the second task, as plain SGD without momentum or decay leaves what has no gradient."""
    learner = small_learner([3, 8], strategies=(LabelsTrick(),))
    end = next(n for n, span in enumerate(learner.course.spans) if span.ends) + 1
    blocks = fit(learner, until=end)
    before = learner.population.leaves["head/weight"].detach().clone()
    fit(learner, blocks)
    after, seen = learner.population.leaves["head/weight"].detach(), learner.evaluation.seen
    for m in range(2):
        assert torch.equal(after[m, seen[1, m]], before[m, seen[1, m]])
        assert not torch.equal(after[m, ~seen[1, m]], before[m, ~seen[1, m]])


def test_classes_of_replayed_samples_are_in_the_batch():
    strategies = (ER(memory=20), LabelsTrick())
    learner = small_learner([3, 8], strategies=strategies, environment=Miniature("class"))
    mixed = []

    def watch(work, take):
        units = strategies[1].units(learner, work.batch)
        for m in range(2):
            counted = work.batch.targets[m][work.batch.weights_or_ones()[m] > 0]
            if len(counted):
                expected = torch.zeros(4, dtype=torch.bool).index_fill(0, counted, True)
                assert torch.equal(units[m, work.batch.weights[m] > 0].all(0), expected)
                mixed.append(int(expected.sum()) > 2)
        take()

    fit_watched(learner, watch)
    assert any(mixed)


def test_samples_replayed_without_weight_do_no_harm():
    learner = small_learner([3, 8], strategies=(DERpp(memory=20), LabelsTrick()))
    fit(learner)
    assert learner.population.finite().all()
    assert not (learner.diverged_at >= 0).any()


@pytest.mark.parametrize("scenario", ["task", "domain"])
def test_other_scenarios_are_refused(scenario):
    with pytest.raises(UserError, match=f"environment.scenario={scenario}: LabelsTrick serves class"):
        Subject.of("strategy=labels_trick").experiment(scenario=scenario)
