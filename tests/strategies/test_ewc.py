"""Elastic weight consolidation: the gradient in a third task, against autograd of the literal loss with a penalty for each task
before. How F is estimated is tested in `tests/lab/test_fisher.py`."""

import pytest
import torch

from lab.errors import UserError
from lab.experiment import Experiment
from lab.networks import MLP
from lab.plan import Plan
from lab.protocols import Examples, Strategy
from lab.run import composed
from lab.stream import Budget
from lab.testing.miniature import Miniature, blobs, fit, small_learner
from strategies.ewc import EWC
from strategies.naive import Naive

from .two_tasks import accuracies, unprotected

STRENGTHS = [3.0, 40.0]


class Compared(Strategy):
    """Listed behind; notes F (a mean) and theta* when tasks end, and compares gradients in the third task."""

    def __init__(self, penalty):
        super().__init__()
        self.penalty, self.noted, self.compared = penalty, [], 0

    def end_task(self, learner, task):
        sums, count = learner.fisher_information(task, "exact")
        fisher = {
            name: (value.mT / count).mT if value.dim() == 2 else value / count.view(-1, 1, 1) for name, value in sums.items()
        }
        self.noted.append((fisher, {name: leaf.detach().clone() for name, leaf in learner.population.leaves.items()}))

    def gradient(self, learner, batch):
        if learner.phase < 2:
            return
        leaves = learner.population.leaves
        losses = (learner.cross_entropy(batch, learner.population(batch.inputs)) * batch.shares()).sum()
        for m, strength in enumerate(STRENGTHS):
            own = [{n: (f[n][m], there[n][m]) for n in leaves} for f, there in self.noted]
            losses = losses + self.penalty(strength, own, {name: leaf[m] for name, leaf in leaves.items()})
        expected = torch.autograd.grad(losses, list(leaves.values()))
        for leaf, value in zip(leaves.values(), expected, strict=True):
            torch.testing.assert_close(leaf.grad, value, rtol=1e-3, atol=1e-4 * float(value.abs().max()))
        self.compared += 1


def separate(strength, tasks, theta):
    return strength / 2 * sum((f * (theta[name] - there) ** 2).sum() for own in tasks for name, (f, there) in own.items())


def online(strength, tasks, theta):
    """With gamma 1/4: G_1 = F_1, G_2 = G_1 / 4 + F_2, and gamma once more in the penalty."""
    (first, second) = tasks
    return (
        strength / 2 / 4
        * sum(((first[name][0] / 4 + f) * (theta[name] - there) ** 2).sum() for name, (f, there) in second.items())
    )  # fmt: skip


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize(("options", "penalty"), [({}, separate), ({"mode": "online", "gamma": 0.25}, online)])
def test_the_optimiser_gets_the_gradient_of_the_literal_loss(options, penalty, stack):
    compared = Compared(penalty)
    learner = small_learner(
        [3, 8], lambda: MLP((1, 8, 8), 6, width=9, depth=1), (EWC(STRENGTHS, **options), compared),
        environment=Miniature(tasks=3), budget=Budget(4, steps=12), stack=stack,
    )  # fmt: skip
    fit(learner)
    assert compared.compared == 12


def stiffness(**options):
    """After the first of two tasks, and how many samples it had."""
    strategy = EWC(10.0, **options)
    learner = small_learner([3, 8], strategies=(strategy,))
    fit(learner, until=next(n for n, span in enumerate(learner.course.spans) if span.phase == 1))
    counts = torch.tensor([len(stream.tasks[0].train) for stream in learner.course.streams])
    return strategy.penalty.stiffness, counts


def test_factor_and_reduction_are_factors():
    usual, counts = stiffness()
    for name, value in stiffness(factor=1.5)[0].items():
        torch.testing.assert_close(value, 3 * usual[name])
    for name, value in stiffness(reduction="sum")[0].items():
        torch.testing.assert_close(value, usual[name] * counts.view(-1, *[1] * (value.dim() - 1)))


def test_reading_the_samples_is_counted_and_nothing_is_read_behind_the_last_task():
    """Two labels are possible in a task, so that two backward passes are needed; padding is read too."""
    learners = [small_learner([3, 8], strategies=s, environment=Miniature("task")) for s in ((EWC(),), (Naive(),))]
    for learner in learners:
        fit(learner)
    longest = max(len(stream.tasks[0].train) for stream in learners[0].course.streams)
    for direction, passes in (("forward", 1), ("backward", 2)):
        assert learners[0].passes[direction] - learners[1].passes[direction] == passes * longest


def test_its_memory_does_not_grow_with_the_number_of_tasks():
    sizes = [small_learner([1], strategies=(EWC(),), environment=Miniature("domain", tasks=t)) for t in (2, 5)]
    assert len({learner.strategies[0].state_bytes() for learner in sizes}) == 1


def test_the_first_task_is_protected_and_the_second_is_learnt():
    """Naive training keeps 72, 71 and 43 % of the digits, elastic weight consolidation 91, 88 and 75 %."""
    kept, learnt = accuracies(EWC(30.0))
    assert (kept > unprotected() + 0.1).all()
    assert (learnt > 0.75).all()


@pytest.mark.parametrize(("words", "seed"), [("environment=split", 0), ("experiment=digits_permuted", 4)])
def test_the_default_strength_is_stable_at_the_default_learning_rate(words, seed):
    """With 100 these members diverge."""
    quiet = ("evaluation.every=null", "tracking=off", "plan.processes=1", "trainer.accelerator=cpu")
    experiment = Experiment(composed(words, "strategy=ewc", f"seeds=[{seed}]", *quiet))
    learner = experiment.learner([0], Plan(True, 1, 1, 64, ""))
    assert float(learner.strategies[0].strength) == 10
    fit(learner)
    assert learner.diverged_at.tolist() == [-1]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"strength": -1.0}, "strategy.ewc.strength=-1.0"),
        ({"strength": [1.0, -2.0]}, r"strategy.ewc.strength=\[1.0, -2.0\]"),
        ({"mode": "offline"}, "strategy.ewc.mode=offline: expected one of separate, online"),
        ({"mode": "online", "gamma": 1.5}, "strategy.ewc.gamma=1.5"),
        ({"fisher": "true"}, "strategy.ewc.fisher=true: expected one of exact, sampled"),
        ({"samples": 0}, "strategy.ewc.samples=0"),
        ({"batch": 0}, "strategy.ewc.batch=0"),
        ({"factor": [1.0]}, "strategy.ewc.factor"),
        ({"reduction": "max"}, "strategy.ewc.reduction=max"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        EWC(**options)


def test_all_labels_of_a_sequence_at_once_are_refused():
    data = blobs(4, 16)
    many = Examples(data.train.inputs, data.train.targets.unsqueeze(1).expand(-1, 3))
    tagged = type(data)("tags", many, many, 4, "")
    EWC(fisher="empirical").check(None, tagged)
    with pytest.raises(UserError, match=r"strategy\.ewc\.fisher=exact"):
        EWC().check(None, tagged)
