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


def plain_loop(learner, member, network, optimizer, data, batches=(), balance=None):
    """The same network on the same samples by torch's own means, one sample index at a time.

    Of the recorded ``batches`` (one for each of the run's steps) only the addresses of what was replayed are taken: which
    samples count, and how much, is worked out here from the stream.
    """
    torch.manual_seed(derive(learner.seeds[member], "initialisation"))
    model = NETWORKS[network]()
    update = TORCH[optimizer](model.parameters())
    met = set()
    for block in Blocks(learner.course):
        for step in range(len(block)):
            if not block.active[step, member]:
                continue
            rows, task = block.examples[step, member].tolist(), int(block.tasks[step, member, 0])
            counted = [True] * len(rows) if block.weights is None else (block.weights[step, member] > 0).tolist()
            new = [(row, task) for row, counts in zip(rows, counted, strict=True) if counts]
            old = replayed(batches[block.start + step], member) if batches and met else []
            assert met.issuperset(old), "what is replayed was met before"
            met.update(new)
            logits = model(torch.stack([data.train.inputs[row].float() / 255 for row, _ in [*new, *old]]))
            targets = torch.stack([label(learner, member, data, *address) for address in [*new, *old]])
            if balance is None or not old:
                loss = F.cross_entropy(logits, targets)
            else:
                means = (F.cross_entropy(logits[part], targets[part]) for part in (slice(len(new)), slice(len(new), None)))
                loss = balance * next(means) + (1 - balance) * next(means)
            update.zero_grad()
            loss.backward()
            update.step()
    return model


def replayed(batch, member):
    """Addresses of a member's replayed samples."""
    tasks = batch.tasks.expand_as(batch.examples)
    return list(zip(*(column[member, batch.current :].tolist() for column in (batch.examples, tasks)), strict=True))


def label(learner, member, data, row, task):
    return learner.course.streams[member].tasks[task].labels[data.train.targets[row]]


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


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("balance", [None, 0.3, 1.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_replay_equals_a_plain_torch_loop(optimizer, balance, stack):
    assert_replay_equals_a_plain_loop(optimizer, balance, balance, stack)


@pytest.mark.parametrize(("balance", "other"), [(None, 0.3), (0.3, None), (1.0, 0.3)])
def test_the_comparison_of_replay_with_the_plain_loop_can_fail(balance, other):
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_replay_equals_a_plain_loop("sgd", balance, other, True)


def assert_replay_equals_a_plain_loop(optimizer, balance, balance_of_the_loop, stack):
    """ER over tasks of uneven length, each epoch's last batch padded: recorded, and what was replayed put through the loop."""
    environment, seeds = Miniature("domain"), SEEDS[:3]
    options = {"environment": environment, "budget": Budget(5, epochs=5), "stack": stack}
    learner = small_learner(
        seeds, NETWORKS["mlp"], (ER(memory=10, replay=3, balance=balance),), OPTIMIZERS[optimizer], **options
    )
    works = []
    fit_watched(learner, lambda work, take: (works.append(work), take()))
    assert learner.clock.min() >= 30
    assert any(work.active is not None for work in works), "members must rest in some steps, or this tests too little"
    blocks = Blocks(learner.course)
    assert all((_padded(blocks, m) > 0).any() for m in range(len(seeds)))
    for member in range(len(seeds)):
        batches = [work.batch for work in works]
        model = plain_loop(learner, member, "mlp", optimizer, environment.data, batches, balance_of_the_loop)
        own = learner.population.member(member)
        for name, value in model.named_parameters():
            torch.testing.assert_close(own[name], value, rtol=0, atol=1e-5)


def _padded(blocks, member):
    """How many samples of the member's batches, over the steps it takes, are padding."""
    counts = [(block.weights[:, member] == 0).sum(1)[block.active[:, member]] for block in blocks if block.weights is not None]
    return torch.cat(counts)


def test_the_comparison_with_the_plain_loop_can_fail():
    learner = trained([5], "mlp", "sgd", stack=False)
    other = plain_loop(learner, 0, "mlp", "adamw", Miniature().data)
    own = learner.population.member(0)
    assert max(float((own[name] - value).detach().abs().max()) for name, value in other.named_parameters()) > 1e-2


def test_what_goes_into_a_layer_can_be_watched():
    learner = trained([5, 9], "mlp", "sgd")
    population, inputs = learner.population, torch.rand(2, 3, 1, 8, 8)
    population.watched += ["into head", "into hidden.0", "hidden.3"]
    population.train()
    gate = torch.arange(24.0).expand(2, 1, 24)
    for gates in ({}, {"hidden.3": gate}):
        logits = population(inputs, gates=gates)
        assert torch.equal(population.activations["into hidden.0"], inputs.flatten(2))
        assert torch.equal(population.activations["into head"], population.activations["hidden.3"])
        weight, bias = (population.leaves[f"head/{name}"] for name in ("weight", "bias"))
        torch.testing.assert_close(logits, population.activations["into head"] @ weight.mT + bias.unsqueeze(1))
