"""A-GEM as Chaudhry et al. 2019 describe it: what it projects, onto what, and what it remembers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.errors import UserError
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.agem import AGEM, project


def test_a_gradient_worked_by_hand():
    """Member 0: g = (1, 0, 2), g_ref = (-1, 1, 0), so g . g_ref = -1, g_ref . g_ref = 2, g~ = g + g_ref / 2. Member 1 does not
    conflict; member 2 has no old samples; member 3 diverged."""
    nan = float("nan")
    gradients = {"a": torch.tensor([[1.0, 0], [1, 0], [1, 0], [nan, 0]]), "b": torch.tensor([[2.0], [2], [2], [2]])}
    reference = {"a": torch.tensor([[-1.0, 1], [1, -1], [0, 0], [1, 1]]), "b": torch.tensor([[0.0], [0], [0], [0]])}
    project(gradients, reference)
    torch.testing.assert_close(gradients["a"][:3], torch.tensor([[0.5, 0.5], [1, 0], [1, 0]]))
    torch.testing.assert_close(gradients["b"][:3], torch.full((3, 1), 2.0))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-3, 3))
def test_afterwards_no_gradient_points_against_the_reference(seed, log_size, log_reference):
    """It is the nearest that does not: what is taken away lies along g_ref, and what conflicted is then orthogonal to it."""
    draw = torch.Generator().manual_seed(seed)
    shapes = {"a": (4, 3, 5), "b": (4, 3)}
    g, r = ({n: torch.randn(s, generator=draw) for n, s in shapes.items()} for _ in range(2))
    g, r = {n: v * 10**log_size for n, v in g.items()}, {n: v * 10**log_reference for n, v in r.items()}
    rows = [torch.cat([d["a"].flatten(1), d["b"]], 1).double() for d in (g, r)]
    project(g, r)
    after = torch.cat([g["a"].flatten(1), g["b"]], 1).double()
    before, reference = rows
    sizes = before.norm(dim=1) * reference.norm(dim=1)
    conflicted = (before * reference).sum(1) < 0
    assert ((after * reference).sum(1) >= -1e-5 * sizes).all()
    assert torch.equal(after[~conflicted], before[~conflicted])
    assert ((after * reference).sum(1)[conflicted].abs() <= 1e-5 * sizes[conflicted]).all()
    taken = before - after
    torch.testing.assert_close(
        taken.norm(dim=1) * reference.norm(dim=1), (taken * reference).sum(1).abs(), rtol=1e-3, atol=1e-5 * float(sizes.max())
    )


@pytest.mark.parametrize(("scenario", "stack"), [("class", True), ("task", True), ("domain", False)])
def test_what_the_optimiser_gets_is_the_projected_gradient_of_each_member(scenario, stack):
    """By autograd on one member at a time, with the losses of its own current and reference batches."""
    strategy = AGEM(per_class=3, reference=5)
    compared = Compared(strategy)
    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 4))  # noqa: E731
    environment, budget = Miniature(scenario), Budget(4, steps=15)
    learner = small_learner([3, 8, 1], make, (strategy, compared), environment=environment, stack=stack, budget=budget)
    fit(learner)
    assert len(compared.conflicts) == 3 * 15
    assert 0 < sum(compared.conflicts) < 3 * 15


class Compared(Strategy):
    """Behind A-GEM: what it made of the gradients against :func:`gradient_by_hand`."""

    def __init__(self, agem):
        super().__init__()
        self.agem, self.conflicts = [agem], []

    def gradient(self, learner, batch):
        if learner.phase == 0:
            return
        reference = self.agem[0]._reference_batch(learner, 5)
        for m in range(learner.members):
            expected = gradient_by_hand(learner, m, batch, reference, self.conflicts)
            for name, leaf in learner.population.leaves.items():
                torch.testing.assert_close(leaf.grad[m], expected[name], rtol=1e-4, atol=1e-6)


def gradient_by_hand(learner, m, batch, reference, conflicts):
    """Member m's projected gradient, on the units that its samples are answered with."""
    state = {name: leaf[m].detach().clone().requires_grad_() for name, leaf in learner.population.leaves.items()}

    def gradient(samples):
        shares = samples.shares()[m]
        x = samples.inputs[m].flatten(1)
        hidden = torch.relu(x @ state["1/weight"].T + state["1/bias"])
        logits = hidden @ state["3/weight"].T + state["3/bias"]
        if learner.evaluation.scenario == "task":
            logits = logits.masked_fill(~learner.reader.units_of(samples.tasks)[m], -torch.inf)
        losses = nn.functional.cross_entropy(logits, samples.targets[m], reduction="none")
        return dict(zip(state, torch.autograd.grad((losses * shares).sum(), list(state.values())), strict=True))

    g, r = gradient(batch), gradient(reference)
    along = sum((g[n] * r[n]).sum() for n in g)
    conflicts.append(bool(along < 0))
    return {n: g[n] - along / sum((v * v).sum() for v in r.values()) * r[n] for n in g} if along < 0 else g


def test_it_keeps_a_random_sample_of_each_class_of_each_task():
    strategies = [AGEM(per_class=3), AGEM(per_class=100)]
    for strategy in strategies:
        fit(small_learner([3, 8, 1], strategies=(strategy,), environment=Miniature("domain", tasks=3), budget=Budget(4, 2)))
    learner = small_learner([3, 8, 1], environment=Miniature("domain", tasks=3))
    for m, stream in enumerate(learner.course.streams):
        for strategy, most in zip(strategies, (3, 100), strict=True):
            examples, tasks, filled = (part[m] for part in strategy.store.contents())
            for t, phase in enumerate(stream.phases):
                kept = examples[filled & (tasks == t)]
                assert set(kept.tolist()) <= set(phase.examples.tolist())
                classes = learner.reader.train_targets
                for c in classes[phase.examples].unique():
                    there = int((classes[phase.examples] == c).sum())
                    assert int((classes[kept] == c).sum()) == min(most, there)
                    if most < there:
                        assert kept[classes[kept] == c].tolist() != phase.examples[classes[phase.examples] == c][:most].tolist()


@pytest.mark.parametrize("buffer", ["task_end", "reservoir", "balanced", "ring"])
def test_reference_batches_hold_different_old_samples(buffer):
    strategy = AGEM(buffer, per_class=4, memory=8, reference=4)
    learner = small_learner([3, 8], strategies=(strategy,), environment=Miniature("domain"), budget=Budget(4))
    drawn = []

    def watch(work, take):
        reference = strategy._reference_batch(learner, 4)
        there = reference.weights > 0
        for m in range(2):
            addresses = list(zip(reference.tasks[m][there[m]].tolist(), reference.examples[m][there[m]].tolist(), strict=True))
            assert len(set(addresses)) == len(addresses) == (4 if learner.phase else len(addresses))
            assert buffer != "task_end" or all(task < learner.phase for task, _ in addresses)
            drawn.append(tuple(sorted(addresses)))
        take()

    fit_watched(learner, watch)
    assert len(set(drawn)) > 4


def test_its_extra_passes_are_counted_from_the_second_task_on():
    learner = small_learner([1], strategies=(AGEM(reference=6),), budget=Budget(4, steps=5), block=1)
    blocks = fit(learner, until=5)
    assert learner.passes == {"forward": 5 * 4, "backward": 5 * 4}
    fit(learner, blocks, until=7)
    assert learner.passes == {"forward": 5 * 4 + 2 * 10, "backward": 5 * 4 + 2 * 10}


def test_less_is_forgotten_than_without():
    def old(*strategies):
        learner = small_learner(list(range(6)), strategies=strategies, budget=Budget(8, steps=20))
        fit(learner)
        return learner.evaluation.accuracy[:, 2, 0].mean()

    assert old(AGEM(per_class=8)) > old() + 0.1


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"per_class": 0}, "strategy.agem.per_class=0"),
        ({"memory": 2.5}, "strategy.agem.memory=2.5"),
        ({"reference": 0}, "strategy.agem.reference=0"),
        ({"buffer": "herd"}, "strategy.agem.buffer=herd: expected one of task_end"),
    ],
)
def test_what_cannot_be_is_refused(options, key):
    with pytest.raises(UserError, match=key):
        AGEM(**options)


@pytest.mark.parametrize("buffer", ["balanced", "ring"])
def test_a_memory_without_a_slot_for_each_class_is_refused(buffer):
    environment = Miniature("class")
    with pytest.raises(UserError, match=r"strategy.agem.memory=3: expected at least 4"):
        AGEM(buffer, memory=3).check(environment.stream(0), environment.data)
