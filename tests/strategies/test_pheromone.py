"""Pheromone on perceptrons: the field of a run worked out anew, updates against per-weight learning rates, controls."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lab.errors import UserError
from lab.networks import CNN, MLP
from lab.optimizers import SGD, AdamW
from lab.protocols import Strategy
from lab.stream import Budget
from lab.testing import Subject
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from lab.testing.strategy import keeps_members_apart, survives_a_resume
from strategies.pheromone import Pheromone

SEEDS = [3, 8]
NETWORK = partial(MLP, (1, 8, 8), 4, width=4, depth=1)
MOMENTUM = partial(SGD, lr=0.05, momentum=0.9, weight_decay=0.01)


def learner_with(*strategies, optimizer=MOMENTUM, **options):
    return small_learner(SEEDS, NETWORK, strategies, optimizer, **{"budget": Budget(4, steps=12), **options})


def copied(learner):
    return {name: value.detach().clone() for name, value in learner.population.leaves.items()}


def frozen(**options):
    """A strategy whose field stays as it is set."""
    return Pheromone(slots=4, rho=1.0, delta=0.0, **options)


def draw_fields(strategy):
    draw = torch.Generator().manual_seed(1)
    for field in strategy.fields:
        field.copy_(torch.rand(field.shape, generator=draw) * 1.9 + 0.1)


class Watch(Strategy):
    """Keeps the gradients of every step, and the parameters behind it."""

    def __init__(self):
        super().__init__()
        self.gradients, self.parameters = [], []

    def gradient(self, learner, batch):
        self.gradients.append({name: leaf.grad.clone() for name, leaf in learner.population.leaves.items()})

    def after_step(self, learner, batch):
        self.parameters.append(copied(learner))


@pytest.mark.parametrize("optimizer", [MOMENTUM, partial(AdamW, lr=0.01)], ids=["SGD", "AdamW"])
def test_scaling_updates_is_a_learning_rate_for_every_weight(optimizer):
    """torch's optimisers with each weight as a parameter of its own, on the gradients that were met."""
    strategy, watch = frozen(strength=[0.4, 0.9]), Watch()
    learner = learner_with(strategy, watch, optimizer=optimizer)
    draw_fields(strategy)
    before, options = copied(learner), dict(optimizer.keywords)
    rate = options.pop("lr")
    fit(learner)
    assert len(watch.gradients) == 24
    for m, strength in enumerate((0.4, 0.9)):
        for name, (columns, rows) in {"hidden/0/weight": (16, 1), "head/weight": (1, 1)}.items():
            field = strategy.fields[0 if "hidden" in name else 1][m]
            scale = 1 + strength * (field - field.mean())
            weights = [torch.nn.Parameter(each.clone()) for each in before[name][m].flatten()]
            inside = before[name].shape[2]
            groups = [
                {"params": [weight], "lr": rate * float(scale[n % inside // columns, n // inside // rows])}
                for n, weight in enumerate(weights)
            ]
            reference = {SGD: torch.optim.SGD, AdamW: torch.optim.AdamW}[optimizer.func](groups, **options)
            for gradients in watch.gradients:
                for weight, gradient in zip(weights, gradients[name][m].flatten(), strict=True):
                    weight.grad = gradient.clone()
                reference.step()
            got = learner.population.leaves[name][m].detach().flatten()
            torch.testing.assert_close(got, torch.stack(weights).detach(), rtol=2e-5, atol=1e-6)


def test_without_a_strength_multipliers_are_shares_of_the_mean():
    strategy = frozen()
    learner = learner_with(strategy)
    draw_fields(strategy)
    scale = strategy.update_scale(learner, None)["head/weight"]
    field = strategy.fields[1]
    torch.testing.assert_close(scale, (field / field.mean((1, 2), keepdim=True)).mT)


def test_a_rate_is_never_below_0():
    strategy = frozen(strength=1.0)
    learner = learner_with(strategy)
    strategy.field_1.fill_(2.0)
    strategy.field_1[:, 0, 0] = 0.1
    scale = strategy.update_scale(learner, None)["head/weight"]
    assert (scale[:, 0, 0] == 0).all(), "1 - (2 - .1) 15/16 is below"
    assert (scale[:, 1:] > 1).all()


@pytest.mark.parametrize("optimizer", [MOMENTUM, partial(AdamW, lr=0.01)], ids=["SGD", "AdamW"])
@pytest.mark.parametrize("options", [{"strength": 0.0}, {"action": "none"}])
def test_without_effect_a_run_is_the_run_without_it(optimizer, options):
    plain, with_field = learner_with(optimizer=optimizer), learner_with(Pheromone(slots=4, **options), optimizer=optimizer)
    fit(plain)
    fit(with_field)
    for name, value in copied(plain).items():
        assert torch.equal(copied(with_field)[name], value)
    (strategy,) = with_field.strategies
    assert any((field != strategy.dynamics.cold).any() for field in strategy.fields)


def test_the_first_steps_field_from_the_samples_of_the_step():
    """Against a loop over samples, with what the initial network puts out."""
    strategy, seen = Pheromone(slots=4, delta=0.2, top_k=16), []
    learner = learner_with(strategy, outputs="seen")

    def watch(work, take):
        seen.append((work.batch, learner.population.member(0), learner.population.member(1)))
        take()

    strategy_fields = []
    after = strategy.after_step
    strategy.after_step = lambda *given: (after(*given), strategy_fields.append([f.clone() for f in strategy.fields]))
    fit_watched(learner, watch)
    batch, *members = seen[0]
    for m, weights in enumerate(members):
        network = NETWORK()
        network.load_state_dict(weights)
        labels = learner.course.streams[m].tasks[0].labels
        allowed = labels[labels >= 0]
        changes = [torch.zeros(4, 4), torch.zeros(4, 4)]
        for b in range(4):
            hidden = network.hidden(batch.inputs[m, b].view(1, -1)).detach()
            logits = network.head(hidden)[0].detach()
            chances = torch.zeros(4)
            chances[allowed] = logits[allowed].softmax(0)
            sign = 1 if chances.argmax() == batch.targets[m, b] else -1
            around = [batch.inputs[m, b].flatten().view(4, 16).mean(1), hidden[0], chances]
            around = [each / each.sum() for each in around]
            for n in range(2):
                changes[n] += sign * torch.outer(around[n], around[n + 1]) / 4
        for n, change in enumerate(changes):
            expected = 0.8 * 1.05 + 0.2 * 0.1 + 0.2 * 1.9 * change / change.abs().max()
            torch.testing.assert_close(strategy_fields[0][n][m], expected.clamp(0.1, 2.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("optimizer", [MOMENTUM, partial(AdamW, lr=0.01)], ids=["SGD", "AdamW"])
def test_a_constant_multiplier_gives_an_update_of_the_same_norm(optimizer):
    """Step by step: both begin at the same parameters and momenta, so that their updates differ by the multiplier alone."""
    both = []
    for control in ("none", "constant"):
        strategy, watch = frozen(strength=1.0, control=control), Watch()
        learner = learner_with(strategy, watch, optimizer=optimizer)
        draw_fields(strategy)
        act = strategy.update_scale
        strategy.update_scale = lambda *given, act=act, watch=watch: act(*given) if len(watch.parameters) == 5 else {}
        fit(learner)
        both.append([watch.parameters[5][name] - watch.parameters[4][name] for name in ("hidden/0/weight", "head/weight")])
    for scaled, constant in zip(*both, strict=True):
        for m in range(2):
            assert float(constant[m].norm()) == pytest.approx(float(scaled[m].norm()), rel=1e-4)
            assert float((constant[m] - scaled[m]).norm()) > 0.1 * float(scaled[m].norm())


def test_a_shuffled_multiplier_has_the_same_values_in_other_places():
    plain, shuffled = frozen(), frozen(control="shuffled")
    scales = []
    for strategy in (plain, shuffled):
        learner = learner_with(strategy)
        draw_fields(strategy)
        scales.append(strategy.update_scale(learner, None)["head/weight"])
    for m in range(2):
        assert torch.equal(scales[0][m].flatten().sort().values, scales[1][m].flatten().sort().values)
        assert not torch.equal(scales[0][m], scales[1][m])
    orders = shuffled.rate.order_1
    assert not torch.equal(orders[0], orders[1]), "each member has its own"


class Reset(Miniature):
    """Weights begin anew with the second task."""

    def stream(self, seed):
        stream = super().stream(seed)
        return replace(stream, phases=(stream.phases[0], replace(stream.phases[1], fresh=True)))


def test_the_field_survives_a_reset_of_the_weights():
    strategy = Pheromone(slots=4)
    learner = learner_with(strategy, environment=Reset())
    blocks = fit(learner, until=3)
    held = [field.clone() for field in strategy.fields]
    before = copied(learner)
    learner.begin(1)
    assert all(torch.equal(old, new) for old, new in zip(held, strategy.fields, strict=True))
    assert all(not torch.equal(before[name], value) for name, value in copied(learner).items())
    fit(learner, blocks)


def test_what_a_convolutional_network_learns_is_scaled_too():
    network = partial(CNN, (1, 8, 8), 4, channels=4, width=8, norm="batch")
    strategy = Pheromone(slots=4)
    learner = small_learner(SEEDS, network, (strategy,), budget=Budget(4, steps=6))
    fit(learner)
    assert learner.population.finite().all()
    scaled = strategy.update_scale(learner, None)
    assert set(scaled) == {"features/0/0/0/weight", "features/0/1/0/weight", "features/1/weight", "head/weight"}


@pytest.mark.parametrize("other", ["er", "ewc"])
def test_beside_others_it_keeps_the_contract_of_members(other):
    subject = Subject.of(f"strategy=[{other},pheromone]", "optimizer=adamw", "strategy.pheromone.control=constant")
    keeps_members_apart(subject)
    survives_a_resume(subject)


def test_diagnostics():
    strategy = Pheromone(slots=4)
    learner = learner_with(strategy)
    cold = strategy.diagnostics()
    assert {name: values.tolist() for name, values in cold.items()} == {
        "mean": pytest.approx([1.05] * 2), "saturation": [0, 0], "entropy": pytest.approx([1, 1])
    }  # fmt: skip
    fit(learner)
    assert (strategy.diagnostics()["entropy"] < 1).all()
    assert strategy.recorded()["field_0"].shape == (2, 4, 4)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"action": "smell"}, r"action=smell: expected one of"),
        ({"action": []}, r"action=\[\]: expected one of its values, or a list of different ones"),
        ({"action": ["rate", "rate"]}, r"action=\['rate', 'rate'\]"),
        ({"strength": 1.06}, r"strength=1.06: expected null, or less than 1\.05263"),
        ({"strength": [0.1, 2]}, r"strength=\[0.1, 2\]"),
        ({"strength": -0.1}, r"strength=-0.1"),
        ({"control": "sham"}, r"control=sham"),
        ({"slots": 0}, r"slots=0"),
        ({"action": "routing", "control": "shuffled"}, r"control=shuffled: expected none, or action=rate, which"),
        ({"action": "none", "strength": 0.5}, r"strength=0.5: expected null, or action=rate"),
        ({"completion_trained": False}, r"completion_trained=False: expected true, or action=completion"),
        ({"completion_pattern": "extrinsic"}, r"completion_pattern=extrinsic: expected agreement, or action=completion"),
        ({"completion_weight": 0.1}, r"completion_weight=0.1: expected 0.3, or action=completion"),
        ({"completion_epochs": 5}, r"completion_epochs=5: expected 20, or action=completion"),
        ({"rank": 2}, r"rank=2: expected 4, or carry=svd"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    with pytest.raises(UserError, match=rf"strategy\.pheromone\.{named}"):
        Pheromone(**options)
