"""Shrink and perturb: what the weights are before and behind it, and the noise against SciPy's normal distribution."""

from functools import partial

import pytest
import torch
from scipy import stats

from lab.errors import UserError
from lab.networks import MLP
from lab.optimizers import SGD
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.shrink_perturb import ShrinkPerturb, normal

SEEDS = [3, 8]
WIDE = partial(MLP, (1, 8, 8), 2, width=200, depth=1)
BOUNDS = {"hidden/0/weight": 64**-0.5, "hidden/0/bias": 64**-0.5, "head/weight": 200**-0.5, "head/bias": 200**-0.5}
"""What the initial weights are uniform within."""


def learner_with(strategy, make=WIDE, steps=3, tasks=3, **options):
    environment = Miniature("domain", tasks=tasks, uneven=False)
    return small_learner(SEEDS, make, (strategy,), environment=environment, budget=Budget(4, steps=steps), **options)


def copied(learner):
    return {name: value.detach().clone() for name, value in learner.population.leaves.items()}


def test_before_each_task_but_the_first_weights_shrink_and_initial_noise_is_added():
    learner = learner_with(ShrinkPerturb(shrink=[0.5, 0.25], perturb=[0.1, 0.2]))
    first = copied(learner)
    learner.begin(0)
    assert all(torch.equal(first[name], value) for name, value in copied(learner).items())
    noises = []
    for task in (1, 2):
        before = copied(learner)
        learner.begin(task)
        for m, (shrink, perturb) in enumerate([(0.5, 0.1), (0.25, 0.2)]):
            noise = {name: (value[m] - shrink * before[name][m]) / perturb for name, value in copied(learner).items()}
            for name, bound in BOUNDS.items():
                assert noise[name].abs().max() <= bound * 1.0001
            for name in ("hidden/0/weight", "head/weight"):
                assert noise[name].std() == pytest.approx(BOUNDS[name] / 3**0.5, rel=0.1)
            noises.append(noise["hidden/0/weight"])
    for one in range(4):
        others = [*noises[:one], first["hidden/0/weight"][0], first["hidden/0/weight"][1]]
        assert all(abs(torch.corrcoef(torch.stack([noises[one].flatten(), n.flatten()]))[0, 1]) < 0.05 for n in others)


def test_at_every_step_weights_settle_where_shrinking_and_noise_balance():
    """Without learning a weight is lambda theta + s e: in the long run of variance s^2 / (1 - lambda^2), Gaussian."""
    learner = learner_with(ShrinkPerturb([0.8, 0.9], 0.3, every="step"), steps=30, optimizer=partial(SGD, lr=0.0))
    began = copied(learner)
    fit(learner)
    for m, shrink in enumerate((0.8, 0.9)):
        for name in ("hidden/0/weight", "head/weight"):
            deviation = 0.3 * float(began[name][m].std(correction=0)) / (1 - shrink**2) ** 0.5
            settled = learner.population.leaves[name][m].detach().flatten()
            assert stats.kstest(settled.numpy(), stats.norm(scale=deviation).cdf).pvalue > 1e-3
        together = torch.corrcoef(learner.population.leaves["hidden/0/weight"].detach().flatten(1))[0, 1]
    assert abs(together) < 0.05, "members have noise of their own"


def test_at_every_step_without_shrinking_or_noise_nothing_changes():
    trained = [learner_with(ShrinkPerturb(1, 0, every="step")), learner_with(ShrinkPerturb(1, 0))]
    for learner in trained:
        fit(learner)
    for name, value in copied(trained[0]).items():
        assert torch.equal(value, trained[1].population.leaves[name])


def test_normal_numbers_are_scipys():
    uniform = torch.arange(0, 2**24, 977).float() * 2.0**-24
    expected = torch.from_numpy(stats.norm.ppf(uniform.double().numpy() + 2.0**-25))
    torch.testing.assert_close(normal(uniform).double(), expected, rtol=1e-3, atol=1e-5)
    assert normal(torch.tensor([0.0, 1 - 2.0**-24])).isfinite().all()


def test_boundaries_are_needed_for_tasks_alone():
    assert ShrinkPerturb().needs_boundaries
    assert not ShrinkPerturb(every="step").needs_boundaries


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"shrink": 1.1}, "shrink=1.1"),
        ({"shrink": [0.5, -1]}, r"shrink=\[0.5, -1\]"),
        ({"perturb": -1}, "perturb=-1"),
        ({"every": "epoch"}, "every=epoch"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=rf"strategy\.shrink_perturb\.{key}"):
        ShrinkPerturb(**options)
