"""Pheromone over the slots of a network: traffic and multipliers against loops, bits, resets, the contract."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch import tensor

from lab.batch import Batch
from lab.errors import UserError
from lab.optimizers import AdamW
from lab.stream import Budget
from lab.testing import CHECKS
from lab.testing.miniature import fit, small_learner
from strategies.pheromone import Pheromone
from strategies.pheromone_slots import Slots

from .sequences import NETWORK, Sequences

SEEDS = [3, 8, 11]
EVERYTHING = {"action": ["routing", "rate", "completion"], "control": "constant", "carry": "minimum"}
WAYS = {
    "shuffled": {"action": "rate", "control": "shuffled"},
    "extrinsic": {"action": "completion", "completion_pattern": "extrinsic", "carry": "svd", "rank": 2},
    "random": {"action": "completion", "completion_trained": False},
}


def learner_with(*strategies, seeds=SEEDS, network=NETWORK, environment=None, budget=None, **options):
    environment, budget = environment or Sequences(), budget or Budget(4, epochs=2)
    return small_learner(seeds, network, strategies, partial(AdamW, lr=0.01), environment, budget, **options)


def copied(learner):
    return {name: value.detach().clone() for name, value in learner.population.leaves.items()}


# --- the contract -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sequenced:
    """What is put through the contract's checks, over sequences, with weights that begin anew."""

    options: dict
    dtype: torch.dtype = torch.float32

    def learner(self, seeds=SEEDS, stack=True, block=3, left=None):
        own, places = ([seeds[place] for place in left], (left, len(seeds))) if left else (seeds, None)
        return learner_with(Pheromone(**self.options), seeds=own, stack=stack, block=block, dtype=self.dtype, places=places)

    def in_double(self):
        return Sequenced(self.options, torch.float64)


@pytest.mark.parametrize("check", CHECKS[1:], ids=lambda check: check.__name__)
def test_keeps_the_contract(check):
    check(Sequenced(EVERYTHING))


@pytest.mark.slow
@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("check", CHECKS[1:], ids=lambda check: check.__name__)
def test_other_ways_keep_the_contract(options, check):
    check(Sequenced(options))


# --- what is laid down, and where it gets to --------------------------------------------------------------------------


def test_the_first_steps_field_is_the_routing_of_its_samples():
    strategy = Pheromone(action="none", delta=0.2, top_k=16)
    learner = learner_with(strategy, budget=Budget(4, steps=1), environment=Sequences(fresh=False, uneven=False))
    after, changes = strategy.after_step, []

    def watch(learner, batch):
        if not changes:
            right = learner.activations[""].argmax(2) == batch.targets
            signs = torch.where(right, 1.0, -1.0)
            routing = [learner.activations[f"layers.{n}.routing"].detach() for n in range(2)]
            changes.extend(sum(signs[:, b, None, None] * p[:, b] for b in range(4)) for p in routing)
            after(learner, batch)

    strategy.after_step = watch
    fit(learner)
    for field, change in zip(strategy.fields, changes, strict=True):
        largest = change.abs().amax((1, 2), keepdim=True)
        torch.testing.assert_close(field, (0.8 * 1.05 + 0.02 + 0.38 * change / largest).clamp(0.1, 2))


def test_a_multiplier_carried_to_the_rows_of_attention():
    """Against loops over samples, tokens and slots; width 2, so that queries are rows 0 and 1, keys 2 and 3, values 4 and 5.
    The second sample weighs half as much as the first one, and the third, padding, nothing."""
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.rand(1, 3, 3, 2, generator=draw).softmax(3) for _ in range(2))
    p, multiplier = torch.rand(1, 3, 2, 2, generator=draw).softmax(3), tensor([[[0.5, 1.5], [2, 0]]])
    projected, out = torch.randn(1, 3, 3, 6, generator=draw), torch.randn(1, 3, 3, 2, generator=draw)
    weights, of_none = tensor([2.0, 1.0, 0.0]), torch.zeros(1, 3, dtype=torch.int64)
    batch = Batch(of_none, of_none, of_none, of_none, 3, weights.view(1, 3))
    learner = learner_with()
    slots = Slots(learner, None)
    slots.layers = [0]
    named = {"routing": p, "grouper_1": first, "grouper_2": second, "fast.project": projected, "fast.out": out}
    learner.activations = {f"layers.0.{name}": value for name, value in named.items()}
    (got,) = slots.scales(learner, batch, [multiplier])
    asking, asked = ([[[0.0, 0.0] for _ in range(3)] for _ in range(3)] for _ in range(2))
    for b in range(3):
        for i in range(3):
            for j in range(3):
                for s in range(2):
                    for t in range(2):
                        weight = float(first[0, b, i, s] * p[0, b, s, t] * second[0, b, j, t])
                        for sums in (asking[b][i], asked[b][j]):
                            sums[0] += weight * float(multiplier[0, s, t])
                            sums[1] += weight
    asking, asked = (tensor([[a / b for a, b in sample] for sample in sums]) for sums in (asking, asked))
    for r in range(6):
        tokens, size = asking if r < 2 else asked, projected[0, :, :, r].abs() * weights.view(3, 1)
        expected = float((tokens * size).sum() / size.sum())
        assert float(got["layers/0/fast/project/weight"][0, r, 0]) == pytest.approx(expected, rel=1e-4)
    size = out[0, :, :, 1].abs() * weights.view(3, 1)
    assert float(got["layers/0/fast/out/bias"][0, 1]) == pytest.approx(float((asking * size).sum() / size.sum()), rel=1e-4)
    assert set(got) == {f"layers/0/fast/{part}/{what}" for part in ("project", "out") for what in ("weight", "bias")}


def test_routing_reads_the_field_that_is_kept():
    strategy = Pheromone(action="routing")
    learner = learner_with(strategy)
    fit(learner)
    held = learner.population.held()
    for n, field in enumerate(strategy.fields):
        assert torch.equal(held[f"layers/{n}/field"], field)
        assert (field != strategy.dynamics.cold).any()
    beside = learner_with(Pheromone(action="rate"))
    fit(beside)
    assert (beside.population.held()["layers/0/field"] == tensor(1.05)).all(), "which is what it was at first"


# --- bits -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "options"),
    [
        (partial(NETWORK, alpha=0.0), {"action": "routing"}),
        (NETWORK, {"action": "none"}),
        (NETWORK, {"action": "rate", "strength": 0.0}),
        (NETWORK, {"action": "completion", "completion_weight": 0.0}),
    ],
    ids=["alpha=0", "none", "lambda=0", "weight=0"],
)
def test_without_effect_a_run_is_the_run_without_it(network, options):
    plain, with_field = learner_with(network=network), learner_with(Pheromone(**options), network=network)
    fit(plain)
    fit(with_field)
    for name, value in copied(plain).items():
        assert torch.equal(copied(with_field)[name], value), name


@pytest.mark.parametrize("action", ["routing", "rate", "completion"])
def test_what_has_an_effect_has_one(action):
    plain, with_field = learner_with(), learner_with(Pheromone(action=action))
    fit(plain)
    fit(with_field)
    assert any(not torch.equal(copied(with_field)[name], value) for name, value in copied(plain).items())


# --- resets of the weights --------------------------------------------------------------------------------------------


def at_the_reset(**options):
    """A strategy and its learner when two source tasks have ended, and its fields then."""
    strategy = Pheromone(action="routing", **options)
    learner = learner_with(strategy, environment=Sequences(3))
    spans = learner.course.spans
    fit(learner, until=next(n for n, span in enumerate(spans) if span.phase == 2))
    learner.phase = 2
    return strategy, learner, [field.clone() for field in strategy.fields]


@pytest.mark.parametrize("carry", ["keep", "reset", "minimum", "svd"])
def test_what_becomes_of_fields(carry):
    strategy, learner, before = at_the_reset(carry=carry, rank=1 if carry == "svd" else 4)
    learner.begin(2)
    for n, (old, new) in enumerate(zip(before, strategy.fields, strict=True)):
        assert torch.equal(learner.population.held()[f"layers/{n}/field"], new)
        if carry == "keep":
            assert torch.equal(new, old)
        if carry == "reset":
            assert (new == tensor(1.05)).all()
        if carry == "svd":
            for m in range(3):
                left, values, right = torch.linalg.svd(old[m])
                torch.testing.assert_close(new[m], (values[0] * torch.outer(left[:, 0], right[0])).clamp(0.1, 2))
        if carry == "minimum":
            of_tasks = strategy.get_buffer(f"of_task_{n}")
            assert (new <= of_tasks[:, 0]).all(), "which is the first, in whose order slots are"
            assert (new.flatten(1).sort(1).values <= of_tasks[:, 1].flatten(1).sort(1).values).all()


def test_fields_of_tasks_are_laid_down_by_their_own_samples():
    strategy, _, _ = at_the_reset(carry="minimum")
    assert strategy.met.tolist() == [[True, True, False]] * 3
    assert (strategy.of_task_0[:, 2] == tensor(1.05)).all()
    alone = Pheromone(action="routing")
    learner = learner_with(alone, environment=Sequences(3))
    fit(learner, until=next(n for n, span in enumerate(learner.course.spans) if span.phase == 1))
    torch.testing.assert_close(alone.field_0, strategy.of_task_0[:, 0]), "of the first task, when it had been the only one"


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"slots": 4}, r"strategy\.pheromone\.slots=4: expected null: the network has 4 slots"),
        ({"slots": 400}, r"strategy\.pheromone\.slots=400"),
        ({"carry": "svd", "rank": 4}, r"strategy\.pheromone\.rank=4: expected less than 4"),
    ],
)
def test_what_does_not_fit_the_slots_of_a_network_is_refused(options, named):
    with pytest.raises(UserError, match=named):
        learner_with(Pheromone(**options))


@pytest.mark.parametrize("options", [{"action": "routing"}, {"action": ["rate", "completion"]}, {"carry": "minimum"}])
def test_what_needs_slots_is_refused_without(options):
    key = "action=(routing|completion)" if "action" in options else "carry=minimum"
    with pytest.raises(UserError, match=rf"strategy\.pheromone\.{key}: expected a network that has slots"):
        small_learner([1], strategies=(Pheromone(**options),))


@pytest.mark.parametrize("options", [{"action": "completion"}, {"carry": "reset"}, {"carry": "svd"}])
def test_what_needs_a_reset_is_refused_without(options):
    environment = Sequences(fresh=False)
    with pytest.raises(UserError, match="this environment resets none"):
        Pheromone(**options).check(environment.stream(0), environment.data)
    Pheromone(**options).check(Sequences().stream(0), environment.data)
