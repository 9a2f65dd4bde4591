"""Networks: shapes, sizes counted by hand, and that they are sound when stacked, in every precision."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import nn

from lab.errors import UserError
from lab.networks import (
    CNN,
    MLP,
    Dropout,
    EncoderDecoder,
    Pathways,
    RandomSparse,
    SequenceTransformer,
    SlimResNet18,
    Tagger,
    Transformer,
)
from lab.networks.norm import normalisation
from lab.optimizers import SGD
from lab.population import Population, why_not_stacked
from lab.rules import Layout, Output

IMAGE = (3, 8, 8)
TOLD = Layout((Output("out", tuple("abcde")),), 3, tuple(map(str, range(20))), source=4, told=(1, 2, 3, 4, 0), end=4)
MAKERS = {
    "mlp": partial(MLP, IMAGE, 5, width=12, depth=2),
    "cnn": partial(CNN, IMAGE, 5, channels=4, width=8),
    "cnn_batch": partial(CNN, IMAGE, 5, channels=4, width=8, norm="batch"),
    "cnn_group": partial(CNN, IMAGE, 5, channels=8, width=8, norm="group"),
    "cnn_layer": partial(CNN, IMAGE, 5, channels=4, width=8, norm="layer"),
    "resnet_batch": partial(SlimResNet18, IMAGE, 5, filters=2),
    "resnet_group": partial(SlimResNet18, IMAGE, 5, filters=2, norm="group"),
    "tagger": partial(Tagger, (7,), 5, vocabulary=20, width=6, window=3),
    "transformer": partial(Transformer, (7,), 20, width=8, depth=2, heads=2),
    "sequence_transformer": partial(SequenceTransformer, (7,), 5, width=8, depth=2, heads=2, vocabulary=20, dropout=0.0),
    "random_sparse": partial(RandomSparse, (7,), 5, width=8, depth=2, heads=2, vocabulary=20, dropout=0.0, kept=3),
    "pathways": partial(Pathways, (7,), 5, width=8, depth=2, heads=2, slots=3, kept=7, window=2, vocabulary=20, dropout=0.0),
    "encoder_decoder": partial(EncoderDecoder, (7,), 5, layout=TOLD, width=6),
}
TOLD_TOKENS = ("tagger", "transformer", "sequence_transformer", "random_sparse", "pathways", "encoder_decoder")


def inputs_for(name, members, batch=6, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    if name in TOLD_TOKENS:
        return torch.randint(0, 20, (members, batch, 7), generator=draw)
    return torch.randn(members, batch, *IMAGE, generator=draw, dtype=dtype)


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


# --- shapes and sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (17,)])
def test_mlp(shape):
    network = MLP(shape, 10, width=30, depth=2)
    features = torch.tensor(shape).prod().item()
    assert network(torch.randn(4, *shape)).shape == (4, 10)
    assert network.features(torch.randn(4, *shape)).shape == (4, 30)
    assert size(network) == features * 30 + 30 + 30 * 30 + 30 + 30 * 10 + 10


def test_mlp_without_hidden_layers_is_softmax_regression():
    assert size(MLP((17,), 3, depth=0)) == 17 * 3 + 3


@pytest.mark.parametrize(("shape", "flat"), [((1, 8, 8), 2 * 2), ((1, 28, 28), 7 * 7), ((3, 33, 64), 8 * 16)])
def test_cnn(shape, flat):
    network = CNN(shape, 10, channels=4, width=20)
    assert network(torch.randn(4, *shape)).shape == (4, 10)
    convolutions = (shape[0] * 9 * 4 + 4) + (4 * 9 * 8 + 8)
    assert size(network) == convolutions + (8 * flat * 20 + 20) + (20 * 10 + 10)


def test_slim_resnet18_has_the_literatures_size():
    """1.09 million parameters with 20 filters and 10 classes: 17 convolutions, 3 of 1x1 in shortcuts, 20 norms, a head."""
    widths = [20, 20, 20, 40, 40, 80, 80, 160, 160]
    blocks = sum(9 * a * b + 9 * b * b for a, b in pairwise(widths))
    shortcuts = 20 * 40 + 40 * 80 + 80 * 160
    norms = 2 * (20 + sum(2 * b for b in widths[1:]) + 40 + 80 + 160)
    expected = 3 * 9 * 20 + blocks + shortcuts + norms + 160 * 10 + 10
    network = SlimResNet18((3, 32, 32), 10)
    assert size(network) == expected
    assert round(expected / 1e6, 2) == 1.09
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert network.features(torch.randn(2, 3, 32, 32)).shape == (2, 160)


def test_tagger():
    network = Tagger((9,), 4, vocabulary=50, width=8, window=3)
    assert network(torch.randint(0, 50, (2, 9))).shape == (2, 9, 4)
    assert size(network) == 50 * 8 + (8 * 3 * 8 + 8) + (8 * 4 + 4)


def test_a_tag_depends_on_the_window_alone():
    network, tokens = Tagger((9,), 4, vocabulary=50, width=8, window=3), torch.randint(0, 50, (1, 9))
    other = tokens.clone()
    other[0, 8] = (tokens[0, 8] + 1) % 50
    same = (network(tokens) == network(other)).all(-1)[0]
    assert same.tolist() == [True] * 7 + [False] * 2


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: MLP((4,), 2, width=0), "network.width=0"),
        (lambda: MLP((4,), 2, depth=-1), "network.depth=-1"),
        (lambda: MLP((4,), 2, activation="sigmoid"), "network.activation=sigmoid: expected one of relu, tanh, gelu"),
        (lambda: MLP((4,), 2, dropout=1.0), "network.dropout=1.0"),
        (lambda: CNN((4,), 2), r"network=cnn: expected images \[channels, height, width\]"),
        (lambda: CNN((1, 8, 8), 2, norm="instance"), "network.norm=instance"),
        (lambda: CNN((1, 3, 8), 2), "network=cnn: expected images of at least 4x4"),
        (lambda: SlimResNet18((4,), 2), "network=slim_resnet18"),
        (lambda: SlimResNet18((3, 8, 8), 2, filters=0), "network.filters=0"),
        (lambda: Tagger((1, 8, 8), 2), "network=tagger: expected token sequences"),
        (lambda: Tagger((4,), 2, window=4), "network.window=4"),
    ],
)
def test_what_cannot_be_built_is_refused(make, key):
    with pytest.raises(UserError, match=key):
        make()


@pytest.mark.parametrize("channels", [1, 3, 8, 20, 40])
def test_group_normalisation_takes_any_number_of_channels(channels):
    layer = normalisation("group", channels)
    assert channels % layer.num_groups == 0
    assert layer(torch.randn(2, channels, 3, 3)).shape == (2, channels, 3, 3)


# --- stacked, they are the networks that they are alone ---------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("stack", [True, False])
def test_a_population_computes_what_its_networks_compute(name, stack):
    """Outputs, gradients and running statistics of three steps, against separate modules of torch."""
    population = Population(MAKERS[name], [4, 9], stack, torch.float64)
    networks = [MAKERS[name]().double() for _ in range(2)]
    for index, network in enumerate(networks):
        network.load_state_dict(population.member(index), strict=True)
    for step in range(3):
        inputs = inputs_for(name, 2, seed=step, dtype=torch.float64)
        outputs = population(inputs)
        expected = [network(x) for network, x in zip(networks, inputs, strict=True)]
        torch.testing.assert_close(outputs, torch.stack(expected))
        outputs.square().sum().backward()
        sum(output.square().sum() for output in expected).backward()
    for index, network in enumerate(networks):
        for key, value in network.named_parameters():
            torch.testing.assert_close(population.leaves[key.replace(".", "/")].grad[index], value.grad)
        for key, value in network.named_buffers():
            torch.testing.assert_close(population.member(index)[key], value)
    population.eval()
    for network in networks:
        network.eval()
    inputs = inputs_for(name, 2, seed=9, dtype=torch.float64)
    expected = torch.stack([network(x) for network, x in zip(networks, inputs, strict=True)])
    torch.testing.assert_close(population(inputs), expected)


def test_members_start_from_their_own_seeds_without_touching_the_global_generator():
    torch.manual_seed(123)
    before = torch.get_rng_state()
    one, other = Population(MAKERS["mlp"], [4, 9]), Population(MAKERS["mlp"], [9, 4, 1])
    assert torch.equal(before, torch.get_rng_state())
    for name, value in one.leaves.items():
        assert torch.equal(value[0], other.leaves[name][1])
        assert torch.equal(value[1], other.leaves[name][0])
        assert not torch.equal(value[0], value[1])


class Tied(nn.Module):
    """One matrix used twice."""

    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 6), nn.Linear(6, 6)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(self.encode(x).relu())


@pytest.mark.parametrize("stack", [True, False])
def test_shared_parameters_stay_shared(stack):
    population = Population(Tied, [0, 1], stack)
    assert len(population.leaves) == 3
    network, inputs = Tied(), torch.randn(2, 4, 6)
    network.load_state_dict(population.member(1), strict=False)
    torch.testing.assert_close(population(inputs)[1], network(inputs[1]))
    population(inputs)[1].sum().backward()
    network(inputs[1]).sum().backward()
    torch.testing.assert_close(population.leaves["encode/weight"].grad[1], network.encode.weight.grad)


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(5, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


def test_what_cannot_be_stacked_says_why_and_runs_in_turn():
    inputs = torch.randn(3, 4, 7, 5)
    why = why_not_stacked(Recurrent, inputs[0])
    assert "lstm" in why.lower()
    population = Population(Recurrent, [3, 5, 8], stack=False)
    optimizer = SGD(population.leaves, lr=0.1)
    networks = [Recurrent() for _ in range(3)]
    for index, network in enumerate(networks):
        network.load_state_dict(population.member(index))
    for _ in range(3):
        population(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for network, x in zip(networks, inputs, strict=True):
            network.zero_grad()
            network(x).square().sum().backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter -= 0.1 * parameter.grad
    for index, network in enumerate(networks):
        for key, value in network.state_dict().items():
            torch.testing.assert_close(population.member(index)[key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_every_network_of_the_lab_can_be_stacked(name):
    assert why_not_stacked(MAKERS[name], inputs_for(name, 1)[0]) is None


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)


def test_a_network_that_branches_on_its_inputs_cannot_be_stacked():
    assert why_not_stacked(Branching, torch.ones(4, 3))


# --- dropout ----------------------------------------------------------------------------------------------------------


def masks(population, inputs):
    population.tick()
    return population(inputs) != 0


def test_dropout_masks_are_the_members_own():
    population = Population(lambda: OnlyDropout(0.3), [3, 4, 5])
    ones = torch.ones(3, 50, 40)
    first, second = masks(population, ones), masks(population, ones)
    assert abs(first.float().mean() - 0.7) < 0.02
    assert stats.binomtest(int(first.sum()), first.numel(), 0.7).pvalue > 1e-3
    pairs = [(first[0], first[1]), (first[1], first[2]), (first[0], second[0]), (first[0][:25], first[0][25:])]
    for one, other in pairs:
        table = [[int((one & other).sum()), int((one & ~other).sum())], [int((~one & other).sum()), int((~one & ~other).sum())]]
        assert stats.chi2_contingency(table).pvalue > 1e-3
    alone = Population(lambda: OnlyDropout(0.3), [4], stack=False)
    assert torch.equal(masks(alone, ones[:1])[0], first[1])
    torch.testing.assert_close(population(ones)[first.new_ones(first.shape)].max(), torch.tensor(1 / 0.7))


class OnlyDropout(nn.Module):
    """A network that is nothing but dropout (and a parameter, since populations stack parameters)."""

    def __init__(self, p):
        super().__init__()
        self.drop, self.gain = Dropout(p, layer=0), nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.drop(x) * self.gain


def test_layers_draw_different_masks_and_evaluation_none():
    network = Population(partial(MLP, (30,), 30, width=30, depth=2, dropout=0.5), [0])
    keys = [network.member(0)[f"hidden.{i}.key"] for i in (2, 5)]
    drops = [Dropout(0.5, layer) for layer in (0, 1)]
    for drop, key in zip(drops, keys, strict=True):
        drop.key.copy_(key)
    one, other = (drop(torch.ones(100, 30)) != 0 for drop in drops)
    assert 0.4 < (one == other).float().mean() < 0.6
    network.eval()
    assert torch.equal(network(torch.ones(1, 4, 30)), network(torch.ones(1, 4, 30)))


def test_torchs_own_dropout_is_refused():
    with pytest.raises(UserError, match=r"layer 1 is torch's Dropout; use lab.networks.Dropout"):
        Population(lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)), [0])


# --- precision --------------------------------------------------------------------------------------------------------


class Spy(nn.Module):
    """Notes the dtypes of what passes through it."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __deepcopy__(self, memo):
        return Spy(self.seen)

    def forward(self, x):
        self.seen.append(x.dtype)
        return x


def spied(seen):
    return nn.Sequential(nn.Linear(6, 6), Spy(seen), nn.Linear(6, 3), Spy(seen))


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_activations_have_the_asked_precision_and_masters_are_wide(dtype, members, stack):
    seen = []
    population = Population(lambda: spied(seen), list(range(members)), stack, dtype)
    seen.clear()
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    logits = population(torch.randn(members, 4, 6))
    assert set(seen) == {dtype}
    assert logits.dtype == wide
    logits.sum().backward()
    assert all(p.dtype == p.grad.dtype == wide for p in population.leaves.values())


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("stack", [True, False])
def test_every_network_runs_in_bf16_close_to_float32(name, stack):
    half = Population(MAKERS[name], [1, 2], stack, torch.bfloat16)
    whole = Population(MAKERS[name], [1, 2], stack)
    inputs = inputs_for(name, 2, 16)
    for population in (half, whole):
        population(inputs).square().sum().backward()
    for one, other in zip(half.leaves.values(), whole.leaves.values(), strict=True):
        assert one.grad.isfinite().all()
        # On images this small a ResNet's last maps are single numbers, which are normalised to signs.
        if "resnet" not in name and other.grad.norm() > 1e-3:
            assert nn.functional.cosine_similarity(one.grad.flatten(), other.grad.flatten(), 0) > 0.85
    assert not torch.equal(half(inputs), whole(inputs))
    assert not any(buffer.dtype == torch.bfloat16 for buffer in half.buffers())


class OwnNormalisation(nn.Module):
    """A user's network with torch's own batch normalisation."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.norm(self.first(x)).relu())


@pytest.mark.parametrize("stack", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torchs_own_batch_normalisation_serves_too(stack, dtype):
    population = Population(OwnNormalisation, [0, 1], stack, dtype)
    network = OwnNormalisation()
    network.load_state_dict(population.member(1))
    inputs = torch.randn(2, 32, 6)
    for _ in range(2):
        outputs, expected = population(inputs)[1], network(inputs[1])
    loose = {} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.05}
    torch.testing.assert_close(outputs, expected, **loose)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(population.member(1)[name], value, **loose)


def test_bf16_keeps_updates_that_bf16_weights_would_lose():
    population = Population(lambda: nn.Linear(4, 2), [0], dtype=torch.bfloat16)
    start = population.leaves["weight"].detach().clone()
    for _ in range(100):
        population.leaves["weight"].grad = torch.ones_like(start)
        SGD({"weight": population.leaves["weight"]}, lr=1e-6).step()
    torch.testing.assert_close(start - population.leaves["weight"], torch.full_like(start, 1e-4), rtol=0.02, atol=0)


def test_float64_differs_from_float32_by_its_rounding_alone():
    inputs = inputs_for("mlp", 2)
    double, single = Population(MAKERS["mlp"], [0, 1], dtype=torch.float64)(inputs), Population(MAKERS["mlp"], [0, 1])(inputs)
    assert 0 < (double - single).abs().max() < 1e-5
