"""The transformer, against torch's own layers with the same weights; its mask; its size counted by hand."""

from functools import partial

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import Transformer
from lab.population import Population

LENGTH, WIDTH, HEADS, DEPTH, OUTPUTS = 9, 12, 3, 2, 7
make = partial(Transformer, (LENGTH,), OUTPUTS, width=WIDTH, depth=DEPTH, heads=HEADS)


def tokens(*shape, seed=0):
    return torch.randint(0, OUTPUTS, shape, generator=torch.Generator().manual_seed(seed))


def shaken(network):
    """As after training: no bias is 0, no gain 1."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.3 * torch.randn(value.shape, generator=draw)
    return network


def torchs(network, causal):
    """The logits of torch's encoder with a network's weights."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True)
    encoder = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(WIDTH), enable_nested_tensor=False)
    places = {
        "attention.project.weight": "self_attn.in_proj_weight",
        "attention.project.bias": "self_attn.in_proj_bias",
        "attention.out": "self_attn.out_proj",
        "first_norm": "norm1",
        "second_norm": "norm2",
        "up": "linear1",
        "down": "linear2",
        "blocks": "layers",
    }
    state = {name: value for name, value in network.state_dict().items() if name.split(".")[0] in ("blocks", "norm")}
    for ours, theirs in places.items():
        state = {name.replace(ours, theirs): value for name, value in state.items()}
    encoder.to(network.positions.dtype).load_state_dict(state)
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=network.positions.dtype) if causal else None
    return lambda given: network.head(encoder(network.embedding(given) + network.positions, mask=mask, is_causal=causal))


@pytest.mark.parametrize("causal", [True, False])
def test_equal_to_torchs_own_layers(causal):
    network = shaken(make(causal=causal)).double()  # in float32 some weights' gradients are 4e-4 apart
    given, reference = tokens(4, LENGTH), torchs(network, causal)
    torch.testing.assert_close(network(given), reference(given))
    ours = torch.autograd.grad(network(given).square().sum(), [network.positions, network.embedding.weight])
    theirs = torch.autograd.grad(reference(given).square().sum(), [network.positions, network.embedding.weight])
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("place", [0, 4, LENGTH - 1])
def test_no_token_sees_a_later_one(place):
    given = tokens(1, LENGTH)
    other = given.clone()
    other[0, place] = (given[0, place] + 1) % OUTPUTS
    for causal in (True, False):
        network = shaken(make(causal=causal))
        same = (network(given) == network(other)).all(-1)[0]
        assert same.tolist() == [causal and t < place for t in range(LENGTH)]


def test_a_shorter_sequence_is_answered_as_the_beginning_of_a_longer_one():
    network, given = shaken(make()), tokens(2, LENGTH)
    torch.testing.assert_close(network(given[:, :4]), network(given)[:, :4])


def test_members_in_training_are_stacked_with_masks_of_their_own():
    stacked, in_turn = (Population(partial(make, dropout=0.3), [5, 8], stack) for stack in (True, False))
    given = tokens(2, 3, LENGTH)
    for population in (stacked, in_turn):
        population.train()
        population.tick()
    torch.testing.assert_close(stacked(given), in_turn(given))
    trained = stacked(given)
    stacked.eval()
    assert not torch.allclose(trained, stacked(given))


def test_size_and_start():
    network = Transformer((64,), 97, width=64, depth=2, heads=4)
    block = 2 * 2 * 64 + (64 * 3 * 64 + 3 * 64) + (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64)
    assert sum(value.numel() for value in network.parameters()) == 97 * 64 + 64 * 64 + 2 * block + 2 * 64 + 64 * 97 + 97
    deviations = {
        "embedding": 1 / 8,
        "head": 1 / 8,
        "blocks.0.up": 1 / 8,
        "blocks.0.attention.out": 1 / 16,
        "blocks.1.down": 1 / 32,
    }
    for path, expected in deviations.items():
        assert network.get_submodule(path).weight.std().item() == pytest.approx(expected, rel=0.05)
    assert all((value == 0).all() for name, value in network.named_parameters() if name.endswith("bias"))
    assert not list(network.buffers()), "without dropout it has no clocks"
    assert Transformer((64,), 5, vocabulary=30, width=8).embedding.weight.shape == (30, 8)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"shape": (1, 8, 8)},
            r"network=transformer: expected token sequences \[length\], and the inputs have shape \[1, 8, 8\]",
        ),
        ({"width": 10, "heads": 4}, "network.heads=4: expected a divisor of network.width=10"),
        ({"heads": 0}, "network.heads=0: expected a whole number from 1 on"),
        ({"depth": 0}, "network.depth=0"),
        ({"vocabulary": 0}, "network.vocabulary=0"),
        ({"causal": "yes"}, "network.causal=yes: expected true or false"),
        ({"dropout": 1.0}, "network.dropout=1.0"),
    ],
)
def test_what_cannot_be_built_is_refused(options, told):
    with pytest.raises(UserError, match=f"^{told}"):
        Transformer(**{"shape": (8,), "outputs": 3} | options)


def test_features_are_no_tokens():
    with pytest.raises(UserError, match=r"network=transformer: expected inputs that are tokens, and these are torch.float32"):
        make()(torch.randn(2, LENGTH))
