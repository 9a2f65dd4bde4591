"""Streaming linear discriminant analysis against scikit-learn's, which sees all samples at once."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import nn

from lab.errors import UserError
from lab.networks import MLP
from lab.stream import Budget
from lab.testing import Subject
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.slda import SLDA

SEEDS = [3, 8]
ENVIRONMENT = Miniature("class", tasks=3)


class Shrunk:
    """(1 - epsilon) S + epsilon I for scikit-learn, which averages it over classes by their shares."""

    def __init__(self, shrinkage):
        self.shrinkage = shrinkage

    def fit(self, rows):
        around = np.cov(rows.T, bias=True)
        self.covariance_ = (1 - self.shrinkage) * around + self.shrinkage * np.eye(len(around))
        return self


def reference(rows, labels, shrinkage):
    """The scores of scikit-learn's analysis, without priors, as a function of rows ``[n, D]``."""
    analysis = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Shrunk(shrinkage)).fit(rows, labels)
    return lambda given: given @ analysis.coef_.T + analysis.intercept_ - np.log(analysis.priors_)


def make():
    return MLP((1, 8, 8), 6, width=16, depth=1)


def learner_with(strategy, **options):
    environment = options.pop("environment", ENVIRONMENT)
    return small_learner(SEEDS, make, (strategy,), environment=environment, budget=Budget(4, epochs=1), block=1, **options)


def features_of(state, rows):
    """Of training images, by a network with these parameters."""
    network = make()
    network.load_state_dict(state)
    with torch.no_grad():
        return network.features(ENVIRONMENT.data.train.inputs[rows].float() / 255).double().numpy()


def scores(learner):
    """Of all training images, ``[M, N, C]``."""
    learner.population.eval()
    inputs = (learner.reader.train_inputs.float() / 255).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        return learner.predict(inputs)


@pytest.mark.parametrize("width", [1, 7, 200])
@pytest.mark.parametrize("shrinkage", [1e-2, 0.5])
def test_batch_by_batch_it_is_the_analysis_of_all_samples(width, shrinkage):
    draw = np.random.default_rng(4)
    strategy = SLDA(shrinkage, freeze="never")
    learner_with(strategy)
    rows = draw.normal(size=(2, 200, 16)) @ draw.normal(size=(2, 16, 16)) + 5
    labels = draw.integers(0, 5, (2, 200))
    rows += 2 * draw.normal(size=(2, 5, 16))[np.arange(2)[:, None], labels]
    there = draw.random((2, 200)) < 0.9
    parts = zip(*(torch.from_numpy(each).split(width, 1) for each in (rows, labels, there)), strict=True)
    for features, targets, some in parts:
        strategy.add(features.float(), targets, some)
    strategy._solve()
    for m in range(2):
        expected = reference(rows[m, there[m]], labels[m, there[m]], shrinkage)(rows[m])
        ours = rows[m] @ strategy.slopes[m, :5].T.numpy() + strategy.offsets[m, :5].numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
        assert (ours.argmax(1) == expected.argmax(1)).mean() > 0.99


@pytest.mark.parametrize("freeze", ["first_task", "from_start"])
def test_features_are_those_of_the_frozen_network(freeze):
    learner = learner_with(SLDA(1e-2, freeze))
    end = next(n for n, span in enumerate(learner.course.spans) if span.ends) + 1
    start = [learner.population.member(m) for m in range(2)]
    blocks = fit(learner, until=end)
    first = [learner.population.member(m) for m in range(2)]
    fit(learner, blocks)
    for m in range(2):
        frozen = first[m] if freeze == "first_task" else start[m]
        assert torch.equal(start[m]["head.weight"], first[m]["head.weight"]) == (freeze == "from_start")
        for name, value in learner.population.member(m).items():
            assert torch.equal(value, frozen[name])
        rows = torch.cat([phase.examples for phase in learner.course.streams[m].phases])
        labels = ENVIRONMENT.data.train.targets[rows].numpy()
        expected = reference(features_of(frozen, rows), labels, 1e-2)(features_of(frozen, torch.arange(96)))
        ours = scores(learner)[m].numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
        assert ours.argmax(1).tolist() == expected.argmax(1).tolist()


def test_never_frozen_features_are_taken_as_they_were_met():
    strategy, gathered, labels = SLDA(1e-2, "never"), [[], []], [[], []]
    learner = learner_with(strategy)
    take = learner.step

    def step(work, optimizer_step):
        loss = take(work, optimizer_step)
        for m in range(2):
            there = work.batch.weights_or_ones()[m] > 0
            gathered[m].append(features_of(learner.population.member(m), work.batch.examples[m, there]))
            labels[m].append(work.batch.targets[m, there].numpy())
        return loss

    learner.step = step
    fit(learner)
    for m in range(2):
        analysis = reference(np.concatenate(gathered[m]), np.concatenate(labels[m]), 1e-2)
        expected = analysis(features_of(learner.population.member(m), torch.arange(96)))
        ours = scores(learner)[m].numpy()
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


class Identity(nn.Module):
    """Its features are its inputs."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 6)

    def features(self, inputs):
        return inputs.flatten(1)

    def forward(self, inputs):
        return self.head(self.features(inputs))


def test_means_that_are_near_each_other_are_told_apart_in_double():
    """Two means .001 apart at 100, no variance: slopes are 1e4 times the means, scores 5e7, where float32 has steps of 4."""
    strategy = SLDA(1e-4, freeze="never")
    learner = small_learner([3], Identity, (strategy,), environment=ENVIRONMENT, budget=Budget(4, epochs=1))
    rows = torch.full((1, 2, 64), 100.0, dtype=torch.float64)
    rows[0, 1, 0] += 1e-3
    strategy.add(rows, torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool))
    asked = torch.full((1, 5, 64), 100.0)
    asked[0, :, 0] += torch.tensor([-1e-3, 0.0, 4e-4, 6e-4, 1e-3])
    assert learner.predict(asked).argmax(2).tolist() == [[0, 0, 0, 1, 1]]


def test_a_member_that_has_no_class_yet_is_answered_by_its_head():
    strategy = SLDA(1e-2, freeze="never")
    learner = learner_with(strategy)
    strategy.add(torch.rand(2, 3, 16), torch.tensor([[1, 2, 1]] * 2), torch.tensor([[True] * 3, [False] * 3]))
    inputs = (learner.reader.train_inputs[:9].float() / 255).expand(2, -1, -1, -1, -1)
    assert set(scores(learner)[0].argmax(1).tolist()) <= {1, 2}
    assert torch.equal(scores(learner)[1, :9], learner.logits(inputs, None)[1])


def test_classes_that_are_not_met_are_not_answered_and_the_head_answers_first():
    learner = learner_with(SLDA())
    end = next(n for n, span in enumerate(learner.course.spans) if span.ends) + 1
    blocks = fit(learner, until=1)
    inputs = (learner.reader.train_inputs.float() / 255).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        assert torch.equal(scores(learner), learner.logits(inputs, None))
    learner.population.train()
    fit(learner, blocks, until=end)
    for m in range(2):
        assert learner.evaluation.seen[1, m][scores(learner)[m].argmax(1)].all()


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"shrinkage": 0}, "strategy.slda.shrinkage=0"),
        ({"shrinkage": 1.5}, "strategy.slda.shrinkage=1.5"),
        ({"freeze": "always"}, "strategy.slda.freeze=always: expected one of first_task, from_start, never"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        SLDA(**options)


def test_boundaries_are_needed_where_the_first_tasks_end_freezes():
    with pytest.raises(UserError, match="must be told when a task ends"):
        Subject.of("strategy=slda").experiment(announced=False)
    for freeze in ("from_start", "never"):
        Subject.of("strategy=slda", f"strategy.slda.freeze={freeze}").experiment(announced=False)
