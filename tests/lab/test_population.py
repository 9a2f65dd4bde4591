"""Property 1: a member follows the trajectory that its seed follows alone, whatever company it keeps."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.nn import functional as F

from lab.networks import CNN, MLP
from lab.optimizers import SGD, AdamW
from lab.protocols import derive
from lab.stream import Blocks, Budget
from lab.testing.miniature import Miniature, fit, fit_watched, small_learner
from strategies.er import ER

NETWORKS = {
    "mlp": partial(MLP, (1, 8, 8), 4, width=24, depth=2),
    "mlp_dropout": partial(MLP, (1, 8, 8), 4, width=24, depth=2, dropout=0.3),
    "cnn": partial(CNN, (1, 8, 8), 4, channels=4, width=16),
    "cnn_batchnorm": partial(CNN, (1, 8, 8), 4, channels=4, width=16, norm="batch"),
}
OPTIMIZERS = {
    "sgd": partial(SGD, lr=0.05, momentum=0.9),
    "adamw": partial(AdamW, lr=1e-3, weight_decay=0.05),
}
SEEDS = [5, 9, 2, 31, 7, 0, 12, 4]
FIFTY = Budget(batch_size=8, steps=25)


def flipped(inputs, noise):
    """An augmentation: half of the images mirrored."""
    return torch.where((noise[..., 0] < 0.5)[..., None, None, None], inputs.flip(-1), inputs)


class Augmented(Miniature):
    def stream(self, seed):
        return replace(super().stream(seed), augment=flipped)


def trained(seeds, network, optimizer, strategies=(), stack=True, budget=FIFTY, environment=None, **options):
    learner = small_learner(
        seeds, NETWORKS[network], tuple(strategies), OPTIMIZERS[optimizer], environment, budget, stack, **options
    )
    fit(learner)
    return learner


def state(learner, index):
    """All tensors of one member: parameters, running statistics, optimiser state, memories, clock, results."""
    own = {name: value[index] for name, value in learner.state_dict().items()}
    for name, parameter in learner.population.leaves.items():
        for key, value in learner.optimizer.state[parameter].items():
            own[f"{name}/{key}"] = value[index]
    return own


def assert_close(one, other):
    """Parameters within 1e-5; running statistics, which are larger than 1, within 1e-5 of themselves."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        rtol = 1e-5 if "running" in name else 0
        torch.testing.assert_close(value, other[name], rtol=rtol, atol=1e-5, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_member_of_eight_goes_where_it_goes_alone(network, optimizer):
    together = trained(SEEDS, network, optimizer, [ER(memory=10)])
    for index in (0, 5):
        alone = trained([SEEDS[index]], network, optimizer, [ER(memory=10)], stack=False)
        assert_close(state(together, index), state(alone, 0))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_company_and_place_change_no_bit_in_a_stack(network, optimizer):
    budget = Budget(4, epochs=2)  # uneven: members rest
    one, other = ([5, 9, 2, 31, 7], [8, 40, 5])
    a = trained(one, network, optimizer, [ER(memory=10)], budget=budget)
    b = trained(other, network, optimizer, [ER(memory=10)], budget=budget)
    for name, value in state(a, 0).items():
        torch.testing.assert_close(value, state(b, 2)[name], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_augmented_and_uneven_stacked_in_turn_and_alone(network, optimizer):
    options = {"budget": Budget(4, epochs=2), "environment": Augmented()}
    seeds = SEEDS[:3]
    stacked = trained(seeds, network, optimizer, [ER(memory=10)], **options)
    in_turn = trained(seeds, network, optimizer, [ER(memory=10)], stack=False, **options)
    shortest = int(stacked.clock.argmin())
    assert stacked.clock[shortest] < stacked.clock.max(), "the members' tasks must differ in length, or this tests nothing"
    alone = trained([seeds[shortest]], network, optimizer, [ER(memory=10)], stack=False, **options)
    assert_close(state(stacked, shortest), state(alone, 0))
    for index in range(len(seeds)):
        assert_close(state(stacked, index), state(in_turn, index))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", ["mlp_dropout", "cnn_batchnorm"])
def test_a_member_whose_task_is_over_rests(network, optimizer):
    strategy = ER(memory=10)
    learner = small_learner(SEEDS[:4], NETWORKS[network], (strategy,), OPTIMIZERS[optimizer], budget=Budget(4, epochs=2))
    rested = []

    def watch(work, take):
        before = [{k: v.clone() for k, v in state(learner, m).items()} for m in range(4)]
        take()
        for m in range(4):
            if work.active is not None and not work.active[m]:
                rested.append(m)
                after = state(learner, m)
                assert all(torch.equal(after[k].nan_to_num(), v.nan_to_num()) for k, v in before[m].items())
            else:
                assert learner.clock[m] == before[m]["clock"] + 1

    fit_watched(learner, watch)
    assert len(rested) > 3
    assert learner.clock.tolist() == [sum(lengths[m] for lengths in learner.course.lengths) for m in range(4)]


# --- against a loop that knows nothing of the lab ---------------------------------------------------------------------

TORCH = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05),
}


def plain_loop(learner, member, network, optimizer, data):
    """The same network on the same batches by torch's own means, one sample index at a time."""
    torch.manual_seed(derive(learner.seeds[member], "initialisation"))
    model = NETWORKS[network]()
    update = TORCH[optimizer](model.parameters())
    labels = learner.course.streams[member].tasks
    for block in Blocks(learner.course):
        for step in range(len(block)):
            if not block.active[step, member]:
                continue
            rows = block.examples[step, member]
            task = int(block.tasks[step, member, 0])
            kept = [b for b in range(len(rows)) if block.weights is None or block.weights[step, member, b] > 0]
            x = torch.stack([data.train.inputs[rows[b]].float() / 255 for b in kept])
            y = torch.stack([labels[task].labels[data.train.targets[rows[b]]] for b in kept])
            update.zero_grad()
            F.cross_entropy(model(x), y).backward()
            update.step()
    return model


@pytest.mark.parametrize("budget", [FIFTY, Budget(4, epochs=2)], ids=["steps", "epochs"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", ["mlp", "cnn"])
@pytest.mark.parametrize("members", [1, 3])
def test_equals_a_plain_torch_loop(members, network, optimizer, budget):
    environment = Miniature()
    learner = trained(SEEDS[:members], network, optimizer, stack=members > 1, budget=budget, environment=environment)
    for member in range(members):
        model = plain_loop(learner, member, network, optimizer, environment.data)
        own = learner.population.member(member)
        for name, value in model.named_parameters():
            torch.testing.assert_close(own[name], value, rtol=0, atol=1e-5)


def test_the_comparison_with_the_plain_loop_can_fail():
    learner = trained([5], "mlp", "sgd", stack=False)
    other = plain_loop(learner, 0, "mlp", "adamw", Miniature().data)
    own = learner.population.member(0)
    assert max(float((own[name] - value).detach().abs().max()) for name, value in other.named_parameters()) > 1e-2
