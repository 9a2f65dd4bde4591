"""BiC: what is held out is never trained on, and the two parameters are those that SciPy finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lab.errors import UserError
from lab.networks import MLP
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.bic import RIDGE, BiC, class_weights, fitted
from strategies.cumulative import Cumulative
from strategies.er import ER

SEEDS = [3, 8]
ENVIRONMENT = Miniature("class", tasks=3)


def make():
    return MLP((1, 8, 8), 6, width=16, depth=1)


def learner_with(*strategies):
    return small_learner(SEEDS, make, strategies, environment=ENVIRONMENT, budget=Budget(4, epochs=2), block=1)


@pytest.mark.parametrize("other", [ER, Cumulative])
@pytest.mark.parametrize("first", [True, False])
def test_what_is_held_out_is_not_trained_on(other, first):
    bic = BiC(memory=30)
    learner = learner_with(*([bic, other()] if first else [other(), bic]))
    held = [set(zip(bic.tasks[m].tolist(), bic.examples[m].tolist(), strict=True)) for m in range(2)]
    met = [set(), set()]

    def watch(work, take):
        tasks = work.batch.tasks.expand_as(work.batch.examples)
        for m in range(2):
            met[m] |= set(zip(tasks[m].tolist(), work.batch.examples[m].tolist(), strict=True))
        take()

    fit_watched(learner, watch)
    for m, seed in enumerate(SEEDS):
        everything = {(t, row) for t, task in enumerate(ENVIRONMENT.stream(seed).tasks) for row in task.train.tolist()}
        held[m] = {address for address in held[m] if address[0] >= 0}
        assert not held[m] & met[m]
        assert held[m] | met[m] >= everything
        targets = ENVIRONMENT.data.train.targets[[row for _, row in held[m]]]
        counts = torch.bincount(targets, minlength=6)
        whole = torch.bincount(ENVIRONMENT.data.train.targets[[row for _, row in everything]], minlength=6)
        assert torch.equal(counts, torch.minimum(-(-whole // 10), whole // 2)), "a tenth of each class, rounded up"


def test_the_memory_is_shared_among_the_classes():
    stream, targets = ENVIRONMENT.stream(3), ENVIRONMENT.data.train.targets
    task = stream.tasks[0]
    longer = replace(stream, tasks=(replace(task, train=task.train.repeat(10)),))
    held = BiC(memory=13)._held_out(longer, 0, targets)
    assert sorted(torch.bincount(targets[held], minlength=6).tolist()) == [0, 0, 0, 0, 2, 2]


def test_the_parameters_are_those_of_least_cross_entropy():
    draw = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(4, 60, 6, dtype=torch.float64, generator=draw)
    targets = torch.randint(0, 5, (4, 60), generator=draw)
    logits.scatter_add_(2, targets.unsqueeze(2), torch.full((4, 60, 1), 1.5, dtype=torch.float64))
    new = torch.tensor([[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 0]]).bool()
    logits = logits + 3 * new.unsqueeze(1)
    logits[..., 5] = -torch.inf  # a class that nobody has met
    usable = torch.rand(4, 60, generator=draw) < 0.8
    alpha, beta = fitted(logits, targets, class_weights(targets, usable, 6), new)
    for m in range(4):
        rows, own, chosen = logits[m, usable[m], :5].numpy(), targets[m, usable[m]].numpy(), new[m, :5].numpy()
        share = np.array([1 / (own == y).sum() / len(set(own)) for y in own])

        def objective(at, rows=rows, own=own, share=share, chosen=chosen):
            q = np.where(chosen, at[0] * rows + at[1], rows)
            entropies = np.log(np.exp(q).sum(1)) - q[np.arange(len(own)), own]
            return share @ entropies + RIDGE / 2 * ((at[0] - 1) ** 2 + at[1] ** 2)

        found = minimize(objective, [1.0, 0.0], tol=1e-12)
        ours = [float(alpha[m]), float(beta[m])]
        np.testing.assert_allclose(ours, found.x, atol=1e-4)
        assert objective(ours) < objective([1.0, 0.0]) - 0.01


def test_separable_samples_leave_them_finite():
    logits = torch.tensor([[[9.0, -9.0]] * 3 + [[-9.0, 9.0]] * 3]).double()
    weights = torch.full((1, 6), 1 / 6).double()
    alpha, beta = fitted(logits, torch.tensor([[0, 0, 0, 1, 1, 1]]), weights, torch.tensor([[False, True]]))
    assert alpha.isfinite().all()
    assert beta.isfinite().all()


def test_the_newest_classes_alone_are_corrected():
    bic = BiC(memory=30)
    learner = learner_with(ER(memory=20), bic)
    ends = [n + 1 for n, span in enumerate(learner.course.spans) if span.ends]
    inputs = (learner.reader.train_inputs[::4].float() / 255).expand(2, -1, -1, -1, -1)
    blocks = fit(learner, until=ends[0])
    with torch.no_grad():
        assert torch.equal(learner.predict(inputs), learner.logits(inputs, None)), "after the first task nothing is corrected"
    for k in (1, 2):
        fit(learner, blocks, until=ends[k])
        with torch.no_grad():
            raw, answered = learner.logits(inputs, None), learner.predict(inputs)
        for m in range(2):
            new = learner.evaluation.seen[k + 1, m] & ~learner.evaluation.seen[k, m]
            assert torch.equal(answered[m][:, ~new], raw[m][:, ~new])
            torch.testing.assert_close(answered[m][:, new], bic.alpha[m] * raw[m][:, new] + bic.beta[m])
            assert (float(bic.alpha[m]), float(bic.beta[m])) != (1, 0)


def test_a_memory_smaller_than_the_number_of_classes_is_refused():
    with pytest.raises(UserError, match=r"strategy\.bic\.memory=5: expected at least 6, a slot for each class"):
        BiC(memory=5).check(ENVIRONMENT.stream(0), ENVIRONMENT.data)
    with pytest.raises(UserError, match=r"strategy\.bic\.memory=0"):
        BiC(memory=0)
