"""Weights that begin anew in the middle of a stream, while what strategies keep stays."""

from dataclasses import replace

import pytest
import torch

from lab.optimizers import AdamW
from lab.protocols import Strategy
from lab.testing.miniature import Miniature, checkpoint, fit, restored, small_learner
from strategies.er import ER

SEEDS = [3, 8]


class Anew(Miniature):
    """Three tasks, the weights anew before the last."""

    def __init__(self):
        super().__init__("domain", tasks=3)

    def stream(self, seed):
        stream = super().stream(seed)
        return replace(stream, phases=(*stream.phases[:2], replace(stream.phases[2], fresh=True)))


class Witness(Strategy):
    """Keeps the weights as they are when each phase begins, and a count of steps."""

    def setup(self, learner):
        self.register_buffer("steps", torch.zeros(learner.members))
        self.seen, self.momenta = [], []

    def begin_task(self, learner, task):
        self.seen.append({name: value.detach().clone() for name, value in learner.population.held().items()})
        self.momenta.append(len(learner.optimizer.state))

    def after_step(self, learner, batch):
        self.steps += 1


def learner_of(seeds, *strategies, **options):
    return small_learner(seeds, strategies=strategies, optimizer=AdamW, environment=Anew(), curves=3, **options)


def test_a_phase_that_begins_anew_has_new_weights_and_no_momentum_when_strategies_are_told():
    witness = Witness()
    learner = learner_of(SEEDS, witness)
    expected = learner.population.fresh("phase", 2)
    fit(learner)
    first, second, third = witness.seen
    assert witness.momenta[0] == witness.momenta[2] == 0 < witness.momenta[1]
    for name, value in expected.items():
        assert torch.equal(third[name], value)
        assert not torch.equal(third[name], first[name]) or not value.any()
    assert not torch.equal(third["head/weight"], second["head/weight"])
    assert (witness.steps == learner.course.total).all(), "what a strategy keeps stays"


def test_a_member_begins_anew_alike_in_any_company():
    both, alone = learner_of(SEEDS), learner_of(SEEDS[1:])
    for name, value in alone.population.fresh("phase", 2).items():
        assert torch.equal(value[0], both.population.fresh("phase", 2)[name][1])


@pytest.mark.parametrize("before", [0, 1])
def test_a_resume_at_the_reset_and_behind_it_ends_with_the_same_bits(before):
    whole = learner_of(SEEDS, ER(memory=6))
    blocks = fit(whole)
    cut = next(n for n, span in enumerate(blocks.spans) if span.phase == 2) + before
    stopped, resumed = learner_of(SEEDS, ER(memory=6)), learner_of(SEEDS, ER(memory=6))
    fit(resumed, restored(resumed, checkpoint(stopped, fit(stopped, until=cut))))
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name].nan_to_num(9), value.nan_to_num(9)), name
