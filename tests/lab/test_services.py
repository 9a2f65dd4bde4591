"""What strategies ask of the learner: old networks, hidden layers, gates, samples of a phase, gradients of their own."""

import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import MLP
from lab.population import Population
from lab.protocols import Strategy
from lab.snapshot import Snapshot
from lab.stream import Blocks
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.gdumb import GDumb
from strategies.power_law_rehearsal import PowerLawRehearsal


def population(stack=True, seeds=(1, 2, 3)):
    return Population(lambda: MLP((6,), 4, width=5, depth=2), list(seeds), stack)


INPUTS = torch.randn(3, 7, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("stack", [True, False])
def test_a_snapshot_answers_as_the_population_did_and_gives_it_back(stack):
    now = population(stack)
    before, snapshot = now(INPUTS).detach(), Snapshot(now)
    with torch.no_grad():
        for leaf in now.leaves.values():
            leaf.mul_(-2)
    torch.testing.assert_close(snapshot(INPUTS), before)
    assert not torch.allclose(now(INPUTS), before)
    snapshot.take(torch.tensor([False, True, False]))
    torch.testing.assert_close(snapshot(INPUTS)[0], before[0])
    torch.testing.assert_close(snapshot(INPUTS)[1], now(INPUTS)[1].detach())
    snapshot.give()
    torch.testing.assert_close(now(INPUTS)[2].detach(), before[2])
    assert not list(snapshot.parameters())


@pytest.mark.parametrize("stack", [True, False])
def test_features_are_what_the_head_is_given(stack):
    own = population(stack)
    features = own.features(INPUTS)
    head = torch.einsum("mbi,moi->mbo", features, own.leaves["head/weight"]) + own.leaves["head/bias"].unsqueeze(1)
    torch.testing.assert_close(head, own(INPUTS))
    with pytest.raises(UserError, match="features"):
        Population(lambda: nn.Linear(6, 4), [1]).features(INPUTS[:1])


@pytest.mark.parametrize("stack", [True, False])
def test_gates_act_on_the_units_they_name_and_watched_layers_are_seen(stack):
    own = population(stack)
    assert own.hidden((6,)) == {"hidden.1": (5,), "hidden.3": (5,)}
    gate = torch.ones(3, 1, 5)
    gate[1, 0, 2] = 0
    own.watched.append("hidden.3")
    gated = own(INPUTS, gates={"hidden.3": gate})
    seen = own.activations["hidden.3"]
    expected = own.features(INPUTS) * gate
    torch.testing.assert_close(seen, expected)
    assert (seen[1, :, 2] == 0).all()
    head = torch.einsum("mbi,moi->mbo", expected, own.leaves["head/weight"]) + own.leaves["head/bias"].unsqueeze(1)
    torch.testing.assert_close(gated, head)


@pytest.mark.parametrize("stack", [True, False])
def test_traced_logits_are_those_of_a_forward_pass_in_bfloat16_too(stack):
    """And so is the softmax that Fisher information is made of: in float32."""
    own = Population(lambda: MLP((6,), 4, width=8, depth=1), [1, 2], stack, torch.bfloat16)
    inputs = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    logits, _ = own.traced(inputs, {"head": torch.zeros(2, 1, 1)})
    assert logits.dtype == torch.float32
    assert torch.equal(logits, own(inputs))


def test_fresh_parameters_are_those_of_another_initialisation():
    own, alone = population(), population(seeds=[2])
    fresh = own.fresh("task", 1)
    assert fresh.keys() == own.leaves.keys()
    torch.testing.assert_close(fresh["head/weight"][1], alone.fresh("task", 1)["head/weight"][0])
    assert not torch.equal(fresh["head/weight"], own.leaves["head/weight"])
    assert not torch.equal(fresh["head/weight"], own.fresh("task", 2)["head/weight"])
    own.load(fresh)
    assert torch.equal(fresh["head/weight"], own.leaves["head/weight"])


def test_the_samples_of_a_phase_are_each_read_once():
    learner = small_learner([3, 8, 1], environment=Miniature("domain"))
    for phase in (0, 1):
        batches = list(learner.samples(phase, width=5))
        assert {batch.width for batch in batches[:-1]} == {5}
        for m, stream in enumerate(learner.course.streams):
            read = torch.cat([batch.examples[m][batch.weights[m] > 0] for batch in batches])
            assert torch.equal(read, stream.phases[phase].examples)
        first = batches[0]
        inputs, targets = learner.reader.read(first.examples, first.tasks)
        assert torch.equal(first.inputs, inputs)
        assert torch.equal(first.targets, targets)


def test_a_gradient_of_ones_own_is_that_of_the_mean_loss_and_is_counted():
    learner = small_learner([3, 8], outputs="seen")
    learner._prepare(Blocks(learner.course).block(0))
    batch = next(learner.samples(0, width=6))
    gradient = learner.mean_gradient(batch)
    assert learner.passes == {"forward": 6, "backward": 6}
    assert all(leaf.grad is None for leaf in learner.population.leaves.values())
    losses = learner.cross_entropy(batch, learner.population(batch.inputs))
    (losses * batch.shares()).sum().backward()
    for name, leaf in learner.population.leaves.items():
        torch.testing.assert_close(gradient[name], leaf.grad)


def test_a_gradient_of_ones_own_leaves_running_statistics_alone():
    def make():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.BatchNorm1d(5), nn.Linear(5, 4))

    learner = small_learner([3, 8], make)
    before = {name: buffer.clone() for name, buffer in learner.population.named_buffers()}
    learner.mean_gradient(next(learner.samples(0, width=6)))
    assert len(before) == 3
    assert all(torch.equal(before[name], buffer) for name, buffer in learner.population.named_buffers())


def test_a_value_for_each_member_follows_its_place_in_the_run():
    learner = small_learner([3, 8], places=([0, 2], 3))
    assert learner.value("strategy.x.strength", [1.0, 2.0, 5.0]).tolist() == [1.0, 5.0]
    assert learner.value("strategy.x.strength", 4.0).tolist() == [4.0, 4.0]
    with pytest.raises(UserError, match=r"strategy.x.strength=\[1.0, 2.0\]: expected one number, or a list of 3"):
        learner.value("strategy.x.strength", [1.0, 2.0])


def test_a_memory_larger_than_a_gibibyte_is_refused_before_it_is_made():
    """In bytes for all members of the run, of which here is one."""
    learner, most = small_learner([3], places=([0], 4)), 2**30 // 8 // 4
    law = PowerLawRehearsal(memory=1).law
    wanted = f"strategy: a memory of {most + 1:,} samples takes {2**30 + 32:,} bytes (members: 4); expected at most 1 GiB"
    for make in (
        lambda: learner.reservoir(most + 1),
        lambda: learner.memory("ring", most + 1),
        lambda: learner.memory("balanced", most + 1),
        lambda: learner.lagged(most + 1, law),
    ):
        with pytest.raises(UserError, match=re.escape(wanted)):
            make()
    with pytest.raises(UserError, match="expected at most 1 GiB"):
        learner.memory("task_end", 1, per_class=10**9)
    with pytest.raises(UserError, match="a memory of 1,000,000,000 samples takes 8,000,000,000 bytes"):
        GDumb(memory=10**9).rewrite(learner.course.streams[0], Miniature().data, 3)
    assert learner.reservoir(10**6).slots.numel() == 10**6


class Opinionated(Strategy):
    """Trains by half the cross-entropy on the units of each sample's task, and answers with the last unit."""

    def units(self, learner, batch):
        return learner.reader.units_of(batch.tasks)

    def criterion(self, learner, batch, logits):
        self.told = learner.cross_entropy(batch, logits)
        return self.told / 2

    def predict(self, learner, inputs, tasks):
        assert tasks is None
        scores = torch.zeros(*inputs.shape[:2], 4)
        scores[..., 3] = 1
        return scores


def test_a_strategy_may_choose_units_replace_the_loss_and_the_answers():
    learner = small_learner([3], strategies=(Opinionated(),), environment=Miniature("class"))
    batch = replace(next(learner.samples(0, width=4)), current=4)
    logits = learner.population(batch.inputs)
    own = logits.masked_fill(~learner.reader.units_of(batch.tasks), -torch.inf)
    expected = nn.functional.cross_entropy(own[0], batch.targets[0], reduction="none")
    torch.testing.assert_close(learner.losses(batch, logits)[0], expected / 2)
    reading = replace(batch, current=0)  # no sample is met in it: `outputs=all` decides
    everything = nn.functional.cross_entropy(logits[0], batch.targets[0], reduction="none")
    torch.testing.assert_close(learner.cross_entropy(reading, logits)[0], everything)
    fit(learner)
    right = [
        (learner.reader.test_targets[stream.tasks[t].test] == 3).float().mean()
        for stream in learner.course.streams
        for t in (0, 1)
    ]
    assert learner.evaluation.accuracy[0, -1].tolist() == [float(share) for share in right]
