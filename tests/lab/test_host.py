"""Property 3: a training step makes no host synchronisation, with everything that the lab itself can put into it."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lab.averaging import Iterates, Snapshots
from lab.learner import ContinualLearner
from lab.networks import CNN, MLP, SlimResNet18
from lab.optimizers import SGD, Adam, AdamW
from lab.schedules import Schedule
from lab.stream import Budget
from lab.testing.device import ContractError, OneDevice, move, to_meta
from lab.testing.elsewhere import moments, step_on_fake_cuda, step_on_meta
from lab.testing.miniature import Miniature, small_learner
from strategies.er import ER


def permuted(inputs, table, tasks):
    """A view that reads a table, as environments' views do."""
    members = torch.arange(len(table), device=table.device).unsqueeze(1)
    index = table[members, tasks].expand(-1, inputs.shape[1], -1)
    return inputs.flatten(2).gather(2, index).view(inputs.shape)


def flipped(inputs, noise):
    return torch.where((noise[..., 0] < 0.5)[..., None, None, None], inputs.flip(-1), inputs)


class Everything(Miniature):
    """A view, an augmentation and a test before every step."""

    def stream(self, seed):
        stream = super().stream(seed)
        tasks = tuple(replace(task, view=torch.randperm(64)) for task in stream.tasks)
        return replace(stream, tasks=tasks, view=permuted, augment=flipped, prequential=True)


CASES = {
    "mlp": {"make": partial(MLP, (1, 8, 8), 4, width=8, dropout=0.2), "optimizer": partial(SGD, lr=[0.1, 0.2, 0.3])},
    "cnn_batch": {"make": partial(CNN, (1, 8, 8), 4, channels=2, width=8, norm="batch"), "optimizer": AdamW, "clip": 0.5},
    "cnn_group": {"make": partial(CNN, (1, 8, 8), 4, channels=2, width=8, norm="group"), "outputs": "current"},
    "resnet": {"make": partial(SlimResNet18, (1, 8, 8), 4, filters=2), "optimizer": partial(Adam, lr=[0.1, 0.2, 0.3])},
    "seen": {"outputs": "seen", "optimizer": partial(SGD, momentum=[0.9, 0.5, 0.0], nesterov=True, weight_decay=0.1)},
    "scheduled": {"schedule": Schedule(decay=1.0, final=[1.0, 0.5, 0.1]), "averaging": Iterates([0.9, 0.5, 0.1], every=1)},
    "averaged": {"schedule": Schedule(warmup=0.5), "averaging": Snapshots(["sma", "wma", "ema"], 3, window=1.0)},
    "bf16": {"dtype": torch.bfloat16, "make": partial(CNN, (1, 8, 8), 4, channels=2, width=8, norm="batch")},
}  # fmt: skip


@pytest.mark.parametrize("step", [step_on_meta, step_on_fake_cuda])
@pytest.mark.parametrize("name", CASES)
def test_whatever_is_in_a_step(name, step):
    def learner():
        options = {"environment": Everything("class"), "budget": Budget(4, epochs=1), "strategies": (ER(6, balance=0.5),)}
        return small_learner([3, 11, 4], **options, **CASES[name])

    *_, last = moments(learner)
    assert not last[1].everyone[-1], "members rest in its last step"
    step(*last)


@pytest.mark.parametrize("scenario", ["class", "domain", "task"])
def test_in_turn_too(scenario):
    for learner, block in moments(lambda: small_learner([3, 11, 4], environment=Miniature(scenario), stack=False)):
        step_on_meta(learner, block)


@pytest.mark.parametrize(
    ("name", "frozen", "stack"),
    [
        ("mlp", False, True),
        ("cnn_batch", True, True),
        ("seen", True, False),
        ("scheduled", False, True),
        ("averaged", True, True),
    ],
)
def test_whole_blocks_and_what_is_noted_of_their_losses(name, frozen, stack):
    """All that :meth:`~lab.learner.ContinualLearner.advance` does, also where a member was left out because it diverged."""

    def make():
        options = {"environment": Everything("class"), "budget": Budget(4, epochs=1), "strategies": (ER(6, balance=0.5),)}
        return small_learner([3, 11, 4], **options, **CASES[name], stack=stack)

    steps = []
    for learner, block in moments(make):
        if frozen:
            learner._frozen = to_meta(torch.tensor([False, True, False]))
        move(learner, to_meta, learner.optimizer)
        block = block.through(to_meta)
        with OneDevice():
            learner.advance(block, learner.optimizer.step)
        assert {learner.clock.device.type, learner.diverged_at.device.type} == {"meta"}
        steps.append(len(block))
    assert max(steps) > 1


@pytest.mark.parametrize("reads", [lambda losses: float(losses.sum()), lambda losses: bool(losses.isfinite().all())])
def test_reading_the_losses_of_a_block_is_noticed(monkeypatch, reads):
    monkeypatch.setattr(ContinualLearner, "_note_losses", lambda _self, losses, _first: reads(losses))
    learner, block = next(moments(lambda: small_learner([3, 11, 4])))
    move(learner, to_meta, learner.optimizer)
    block = block.through(to_meta)
    with pytest.raises(ContractError, match="reads a tensor's value"), OneDevice():
        learner.advance(block, learner.optimizer.step)


def test_nothing_is_left_of_the_checks():
    """Gradients of ones are a trick of one check: tensors have their own backward pass again."""
    value = torch.tensor(2.0, requires_grad=True)
    (value**2).backward()
    assert value.grad == 4
