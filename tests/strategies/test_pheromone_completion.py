"""Structure completion: what nets learn, what the prior is made of, how its weight falls, what is refused."""

from functools import partial

import pytest
import torch

from lab.errors import UserError
from lab.optimizers import AdamW
from lab.stream import Budget
from lab.testing.miniature import fit, small_learner
from strategies.pheromone import Pheromone
from strategies.pheromone_completion import Completion

from .sequences import NETWORK, Sequences


def learner_with(strategy, epochs=4, **environment):
    environment = Sequences(uneven=False, **environment)
    return small_learner([3, 8], NETWORK, (strategy,), partial(AdamW, lr=0.01), environment, Budget(7, epochs=epochs), block=1)


def test_the_weight_falls_in_a_line_over_some_passes_and_members_have_it_from_the_reset_on():
    """14 examples in batches of 7: two steps a pass, so that two passes are four steps."""
    strategy = Pheromone(action="completion", completion_epochs=2, completion_weight=0.4)
    learner = learner_with(strategy)
    weights = []
    after = strategy.after_step
    strategy.after_step = lambda *given: (
        after(*given),
        weights.append(learner.population.held()["layers/1/prior_weight"].clone()),
    )
    fit(learner)
    expected = [0.0] * 8 + [0.3, 0.2, 0.1, 0, 0, 0, 0, 0]
    torch.testing.assert_close(torch.stack(weights), torch.tensor(expected).unsqueeze(1).expand(-1, 2))


def test_priors_are_distributions_of_the_net_that_survives():
    strategy = Pheromone(action="completion", completion_epochs=100)
    learner = learner_with(strategy)
    blocks = fit(learner, until=8)
    trained = [part.clone() for part in strategy.completion._parts()]
    fit(learner, blocks)
    for old, new in zip(trained, strategy.completion._parts(), strict=True):
        assert torch.equal(old, new), "while its prior has weight a net is not trained"
    prior = learner.population.held()["layers/0/prior"]
    torch.testing.assert_close(prior.sum(2), torch.ones(2, 4))
    assert prior.std() > 0


def test_what_is_cold_again_has_no_prior():
    plain, cold = Pheromone(action="none"), Pheromone(action="completion", carry="reset")
    learners = [learner_with(plain), learner_with(cold)]
    for learner in learners:
        fit(learner)
    for name, value in learners[0].population.state_dict().items():
        assert torch.equal(learners[1].population.state_dict()[name], value)


@pytest.mark.parametrize("pattern", ["agreement", "extrinsic"])
def test_nets_learn_the_routing_of_right_answers(pattern):
    """The loss on what is not masked falls below that of a net that was never trained."""
    losses = {}
    for trained in (True, False):
        strategy = Pheromone(action="completion", completion_pattern=pattern, completion_trained=trained)
        learner = learner_with(strategy, epochs=40, tasks=1, fresh=False)
        seen = []
        after = strategy.completion.after_step

        def keep(learner, batch, right, after=after, net=strategy.completion, seen=seen):
            patterns = net._patterns(learner, batch)
            routing = torch.stack([learner.activations[f"layers.{n}.routing"].detach() for n in range(2)], 1)
            seen.append(float(-(routing * net._completed(patterns, net._parts())).sum(4).mean()))
            after(learner, batch, right)

        strategy.completion.after_step = keep
        fit(learner)
        losses[trained] = seen
    assert losses[True][0] == pytest.approx(losses[False][0], rel=1e-5)
    assert sum(losses[True][-10:]) < sum(losses[False][-10:]) - 0.5


def test_extrinsic_patterns_say_which_tokens_slots_share():
    """Three tokens x, y, x in two slots, by loops."""
    net = Completion("extrinsic", True, 0.3, 20, True)
    groups = torch.tensor([[[[1.0, 0], [0.5, 0.5], [0, 1]]]])
    tokens = torch.tensor([[[4, 2, 4]]])
    learner = type("", (), {"activations": {"layers.0.grouper_1": groups}})
    net.register_buffer("weight_in", torch.zeros(1))
    got = net._pattern(learner, type("", (), {"inputs": tokens}), 0)
    expected = torch.zeros(2, 2)
    for i in range(3):
        for j in range(3):
            if tokens[0, 0, i] == tokens[0, 0, j]:
                expected += torch.outer(groups[0, 0, i], groups[0, 0, j])
    assert torch.equal(got[0, 0], expected)


@pytest.mark.parametrize(
    "options", [{"pattern": "intrinsic"}, {"trained": 1}, {"weight": 1.5}, {"weight": -0.1}, {"epochs": 0}]
)
def test_what_cannot_be_is_refused(options):
    ((key, value),) = options.items()
    with pytest.raises(UserError, match=rf"strategy\.pheromone\.completion_{key}={value}"):
        Pheromone(**{f"completion_{key}": value})
