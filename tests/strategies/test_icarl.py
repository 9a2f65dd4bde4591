"""iCaRL against its equations, worked sample by sample with plain networks and loops."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional as F

from lab.errors import UserError
from lab.networks import MLP
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.icarl import ICaRL, herding

SEEDS = [3, 8]


def make(outputs=6):
    return MLP((1, 8, 8), outputs, width=16, depth=1)


def trained(strategy, until=None, tasks=3, budget=None):
    environment = Miniature("class", tasks=tasks)
    learner = small_learner(
        SEEDS, partial(make, 2 * tasks), (strategy,), environment=environment, budget=budget or Budget(4, epochs=2), block=1
    )
    fit(learner, until=until)
    return learner


def network(learner, m):
    """One member's network, as plain torch."""
    own = make()
    own.load_state_dict(learner.population.member(m))
    return own


def images(learner, rows):
    return learner.reader.train_inputs[rows].float() / 255


def herded(features, count):
    """Their algorithm 4, word for word, on the features ``[n, D]`` of one class."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean = unit.mean(0) / np.linalg.norm(unit.mean(0))
    picks = []
    for k in range(1, min(count, len(unit)) + 1):
        gaps = [np.inf if n in picks else np.linalg.norm(mean - unit[[*picks, n]].sum(0) / k) for n in range(len(unit))]
        picks.append(int(np.argmin(gaps)))
    return picks


def exemplars(strategy, m):
    """Rows kept by one member, by class."""
    counts = strategy.counts[m].tolist()
    return dict(enumerate(strategy.examples[m, : sum(counts)].split(counts)))


def test_herding_takes_the_sample_that_brings_the_mean_nearest():
    draw = torch.Generator().manual_seed(5)
    features = torch.rand(3, 40, 7, dtype=torch.float64, generator=draw)
    group = torch.randint(0, 4, (3, 40), generator=draw)  # of group 3 nothing is asked
    belongs = group.unsqueeze(1) == torch.arange(3).view(1, 3, 1)
    picks = herding(F.normalize(features, dim=2), belongs, 12)
    for m in range(3):
        for g in range(3):
            rows = belongs[m, g].nonzero().squeeze(1)
            expected = rows[herded(features[m, rows].numpy(), 12)].tolist()
            assert picks[m, g, : len(expected)].tolist() == expected


@pytest.mark.parametrize("options", [{"memory": 20}, {"memory": 20, "per_class": 4}])
def test_exemplars_are_herded_when_their_class_ends_and_later_the_first_are_kept(options):
    whole = trained(ICaRL(**options))
    spans = whole.course.spans
    for m, seed in enumerate(SEEDS):
        stream, kept = Miniature("class", tasks=3).stream(seed), exemplars(whole.strategies[0], m)
        for t, task in enumerate(stream.tasks):
            end = next(n for n, span in enumerate(spans) if span.phase == t and span.ends) + 1
            then = trained(ICaRL(**options), end)
            for unit in task.labels[task.labels >= 0].tolist():
                rows = task.train[whole.reader.train_targets[task.train] == unit]
                with torch.no_grad():
                    features = network(then, m).features(images(whole, rows)).numpy()
                at_first, at_last = (options.get("per_class") or 20 // classes for classes in (2 * t + 2, 6))
                expected = rows[herded(features, at_first)].tolist()
                assert exemplars(then.strategies[0], m)[unit].tolist() == expected
                assert kept[unit].tolist() == expected[:at_last]
                assert len(expected) > at_last or t == 2 or "per_class" in options


class Gradients(Strategy):
    """Notes the gradients of the last step."""

    def gradient(self, learner, batch):
        self.last = {name: leaf.grad.clone() for name, leaf in learner.population.leaves.items()}


def test_the_loss_is_a_sum_of_binary_cross_entropies():
    """Against autograd on plain networks, sample by sample, in the second task's first steps."""
    noted, environment = Gradients(), Miniature("class", tasks=3)
    learner = small_learner(SEEDS, make, (ICaRL(memory=12, temperature=2.0), noted), environment=environment, block=1)
    end = next(n for n, span in enumerate(learner.course.spans) if span.ends) + 1
    blocks = fit(learner, until=end)
    old = [network(learner, m) for m in range(2)]
    met = learner.evaluation.seen
    take = learner.step

    def compared(work, optimizer_step):
        before = [network(learner, m) for m in range(2)]
        loss, batch = take(work, optimizer_step), work.batch
        for m in range(2):
            expected = torch.zeros(())
            for x, label, share in zip(batch.inputs[m], batch.targets[m].tolist(), work.shares[m], strict=True):
                target = torch.eye(6)[label]
                with torch.no_grad():
                    target[met[1, m]] = torch.sigmoid(old[m](x.unsqueeze(0))[0, met[1, m]] / 2)
                answers = torch.sigmoid(before[m](x.unsqueeze(0))[0, met[2, m]])
                expected = expected + share * F.binary_cross_entropy(answers, target[met[2, m]], reduction="sum")
            expected.backward()
            torch.testing.assert_close(loss[m], expected.detach())
            for name, parameter in before[m].named_parameters():
                torch.testing.assert_close(noted.last[name.replace(".", "/")][m], parameter.grad, rtol=1e-4, atol=1e-6)
        return loss

    learner.step = compared
    fit(learner, blocks, until=end + 3)
    assert all(len(set(met[k, 0].tolist())) == 2 for k in (1, 2))


def test_data_and_exemplars_weigh_as_in_their_union():
    strategy = ICaRL(memory=12)
    learner = trained(strategy, until=0)
    drawn = [[], []]

    def watch(work, take):
        for m in range(2):
            size = len(learner.course.streams[m].phases[learner.phase].examples)
            there = work.active is None or bool(work.active[m])
            new, old = work.shares[m, :4], work.shares[m, 4:]
            kept = int(strategy.counts[m].sum())
            if there:
                torch.testing.assert_close(new.sum(), torch.tensor(size / (size + kept)), rtol=1e-5, atol=0)
                assert new[new > 0].unique().numel() == 1
                assert old[old > 0].unique().numel() <= 1
            if learner.phase > 0:
                assert (old > 0).sum() >= 4 * kept / size
                rows = work.batch.examples[m, 4:][old > 0]
                assert torch.isin(rows, strategy.examples[m, :kept]).all()
                drawn[m] += rows.tolist()
        take()

    fit_watched(learner, watch)
    assert all(len(set(rows)) >= 12 for rows in drawn), "every exemplar has its turn"


def test_answers_are_the_nearest_mean_of_exemplars():
    strategy = ICaRL(memory=18)
    learner = trained(strategy)
    rows = torch.arange(0, 96, 3)
    with torch.no_grad():
        learner.population.eval()
        scores = learner.predict(images(learner, rows).unsqueeze(0).expand(2, -1, -1, -1, -1))
        for m in range(2):
            features = F.normalize(network(learner, m).features(images(learner, torch.arange(96))), dim=1).numpy()
            means = np.stack([features[kept].mean(0) for kept in exemplars(strategy, m).values()])
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            nearest = KNeighborsClassifier(1).fit(means, range(6))
            assert scores[m].argmax(1).tolist() == nearest.predict(features[rows]).tolist()


def test_classes_without_a_mean_are_not_answered():
    strategy = ICaRL(memory=18)
    first_end = next(n for n, span in enumerate(trained(ICaRL(), 0).course.spans) if span.ends) + 1
    learner, at_first = trained(strategy, first_end + 2), trained(ICaRL(memory=18), 2)
    inputs = images(learner, torch.arange(96)).expand(2, -1, -1, -1, -1)
    with torch.no_grad():
        answers = learner.predict(inputs).argmax(2)
        for m in range(2):
            assert learner.evaluation.seen[1, m][answers[m]].all()
        assert torch.equal(at_first.predict(inputs), at_first.logits(inputs, None))


def test_the_old_networks_passes_are_counted():
    learner = trained(ICaRL(memory=12), tasks=2, budget=Budget(4, steps=3))
    width = 4 + int(learner.strategies[0].widths[:, 1].max())
    largest = [max(len(s.phases[k].examples) for s in learner.course.streams) for k in range(2)]
    assert learner.passes["backward"] == 3 * 4 + 3 * width
    # herding reads each task's samples, class means all 12 slots, the old network what the second task is trained on
    assert learner.passes["forward"] - learner.passes["backward"] == sum(largest) + 2 * 12 + 3 * width


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"memory": 0}, "strategy.icarl.memory=0"),
        ({"per_class": 0}, "strategy.icarl.per_class=0"),
        ({"temperature": 0}, "strategy.icarl.temperature=0"),
        ({"replay": 0}, "strategy.icarl.replay=0"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        ICaRL(**options)


def test_a_memory_smaller_than_the_number_of_classes_is_refused():
    environment = Miniature("class", tasks=3)
    with pytest.raises(UserError, match=r"strategy\.icarl\.memory=5: expected at least 6, an exemplar for each class"):
        ICaRL(memory=5).check(environment.stream(0), environment.data)
    ICaRL(memory=6).check(environment.stream(0), environment.data)
    ICaRL(memory=5, per_class=1).check(environment.stream(0), environment.data)


def test_a_network_without_features_is_refused():
    class Bare(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(64, 4)

        def forward(self, inputs):
            return self.head(inputs.flatten(1))

    with pytest.raises(UserError, match="network: Bare has no method `features`"):
        small_learner([1], Bare, (ICaRL(memory=4),))
