"""Nearest class mean against scikit-learn, on the features of plain networks."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import normalize

from lab.errors import UserError
from lab.networks import MLP
from lab.stream import Budget
from lab.testing import Subject
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.er import ER
from strategies.ncm import NCM

# Units that are dead for a whole class have no deviation, which scikit-learn minds and means do not.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}:sklearn") for kind in ("UserWarning", "RuntimeWarning")]
SEEDS = [3, 8]
ENVIRONMENT = Miniature("class", tasks=3)
EVERYTHING = torch.arange(96)


def make():
    return MLP((1, 8, 8), 6, width=16, depth=1)


def learner_with(*strategies):
    return small_learner(SEEDS, make, strategies, environment=ENVIRONMENT, budget=Budget(4, epochs=1), block=1)


def features_of(learner, m, rows, normalised):
    """Of training images, by one member's network as it is now."""
    network = make()
    network.load_state_dict(learner.population.member(m))
    with torch.no_grad():
        found = network.features(learner.reader.train_inputs[rows].float() / 255).numpy()
    return normalize(found) if normalised else found


def answers(learner):
    """What is answered for all training images, ``[M, N]``."""
    learner.population.eval()
    inputs = (learner.reader.train_inputs[EVERYTHING].float() / 255).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        return learner.predict(inputs).argmax(2)


def nearest(learner, m, gathered, normalised):
    """scikit-learn's answers, from features gathered by class; its means normalised as ours are."""
    rows = np.concatenate(list(gathered.values()))
    labels = np.repeat(list(gathered), [len(each) for each in gathered.values()])
    reference = NearestCentroid().fit(rows, labels)
    if normalised:
        reference.centroids_ = normalize(reference.centroids_)
    return reference.predict(features_of(learner, m, EVERYTHING, normalised)).tolist()


@pytest.mark.parametrize("normalised", [True, False])
def test_means_of_a_tasks_samples_when_it_ends(normalised):
    learner = learner_with(NCM(normalise=normalised))
    blocks, gathered = None, [{}, {}]
    targets = ENVIRONMENT.data.train.targets
    for phase, end in enumerate([n + 1 for n, span in enumerate(learner.course.spans) if span.ends]):
        blocks = fit(learner, blocks, until=end)
        for m in range(2):
            rows = learner.course.streams[m].phases[phase].examples
            for unit in targets[rows].unique().tolist():
                gathered[m][unit] = features_of(learner, m, rows[targets[rows] == unit], normalised)
            assert answers(learner)[m].tolist() == nearest(learner, m, gathered[m], normalised)
    assert all(len(each) == 6 for each in gathered)


@pytest.mark.parametrize("normalised", [True, False])
def test_means_of_every_sample_as_it_was_met(normalised):
    learner, gathered = learner_with(NCM("stream", normalised)), [{}, {}]

    def watch(work, take):
        take()
        for m in range(2):
            for b in (work.batch.weights_or_ones()[m] > 0).nonzero().flatten().tolist():
                row = work.batch.examples[m, b : b + 1]
                met = gathered[m].setdefault(int(work.batch.targets[m, b]), [])
                met.append(features_of(learner, m, row, normalised)[0])

    fit_watched(learner, watch)
    for m in range(2):
        assert answers(learner)[m].tolist() == nearest(learner, m, gathered[m], normalised)


def test_means_of_what_a_memory_holds():
    er = ER(memory=24)
    learner = learner_with(er, NCM("memory"))
    fit(learner)
    examples, _, filled = er.store.contents()
    targets = ENVIRONMENT.data.train.targets
    for m in range(2):
        rows = examples[m, filled[m]]
        units = targets[rows].unique().tolist()
        gathered = {unit: features_of(learner, m, rows[targets[rows] == unit], True) for unit in units}
        assert answers(learner)[m].tolist() == nearest(learner, m, gathered, True)


def test_until_a_class_has_a_mean_the_head_answers():
    learner = learner_with(NCM())
    fit(learner, until=2)
    inputs = (learner.reader.train_inputs.float() / 255).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        assert torch.equal(learner.predict(inputs), learner.logits(inputs, None))


def test_without_a_memory_before_it_there_are_no_means_of_one():
    for strategies in ((NCM("memory"),), (NCM("memory"), ER())):
        with pytest.raises(UserError, match=r"strategy\.ncm\.source=memory: expected a strategy with a memory"):
            learner_with(*strategies)


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"strategy\.ncm\.source=tasks: expected one of task, stream, memory"):
        NCM("tasks")
    with pytest.raises(UserError, match=r"strategy\.ncm\.normalise=1"):
        NCM(normalise=1)
    with pytest.raises(UserError, match=r"environment\.scenario=task: NCM serves domain, class"):
        Subject.of("strategy=ncm").experiment(scenario="task")
    with pytest.raises(UserError, match="must be told when a task ends"):
        Subject.of("strategy=ncm").experiment(announced=False)
    Subject.of("strategy=ncm", "strategy.ncm.source=stream").experiment(announced=False)


def test_a_member_that_has_no_class_yet_is_answered_by_its_head():
    strategy = NCM()
    learner = learner_with(strategy)
    strategy._add(torch.rand(2, 3, 16), torch.tensor([[1, 2, 1]] * 2), torch.tensor([[True] * 3, [False] * 3]))
    inputs = (learner.reader.train_inputs[:9].float() / 255).expand(2, -1, -1, -1, -1)
    heads = learner.logits(inputs, None).argmax(2)
    assert set(answers(learner)[0].tolist()) <= {1, 2}
    assert torch.equal(answers(learner)[1, :9], heads[1])
