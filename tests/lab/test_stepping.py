"""What a Trainer sees of the steps taken inside blocks; reading ahead and the length of blocks change nothing."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from environments.augment import augment
from lab.stream import StreamDataModule
from lab.testing.miniature import Miniature, fit, small_learner
from strategies.er import ER


class Looking(Callback):
    """Counts the calls of Lightning's hook before an optimiser's step that find a gradient."""

    calls = 0

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.calls += all(p.grad is not None for p in module.population.leaves.values())


@pytest.mark.parametrize("callbacks", [[], [Looking()]], ids=["nobody looks", "a callback looks"])
def test_a_trainer_counts_steps_not_blocks_and_calls_its_hook_at_each(callbacks):
    learner = small_learner([3, 8], block=4)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(max_epochs=1, accelerator="cpu", callbacks=callbacks, **quiet)
    trainer.fit(learner, datamodule=StreamDataModule(learner.course))
    assert len(learner.course.spans) < learner.course.total
    assert trainer.global_step == learner.course.total == int(learner.clock.max())
    assert [callback.calls for callback in callbacks] == [learner.course.total] * len(callbacks)


class Augmented(Miniature):
    def stream(self, seed):
        return replace(super().stream(seed), augment=partial(augment, padding=1, flip=True))


@pytest.mark.parametrize("stack", [True, False])
def test_neither_reading_ahead_nor_the_length_of_blocks_changes_a_bit(stack, monkeypatch):
    """Augmented streams of unequal length: padded last batches, and members whose task is over before the others'."""

    def trained(block, at_once):
        monkeypatch.setattr("lab.reader.READ_AT_ONCE", at_once)
        learner = small_learner([3, 8, 9], strategies=(ER(memory=6),), environment=Augmented(), block=block, stack=stack)
        fit(learner)
        return learner.state_dict()

    reference = trained(1, 0)
    for block, at_once in ((1, 2**20), (3, 0), (16, 2**20)):
        for name, value in trained(block, at_once).items():
            assert torch.equal(value.nan_to_num(-1), reference[name].nan_to_num(-1)), (name, block, at_once)
