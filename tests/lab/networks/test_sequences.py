"""Transformers of whole sequences against torch's own layers with the same weights."""

from functools import partial

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import RandomSparse, SequenceTransformer
from lab.population import Population

LENGTH, WIDTH, HEADS, DEPTH, HIDDEN, TOKENS, KEPT = 9, 12, 3, 2, 20, 7, 4
OPTIONS = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "hidden": HIDDEN, "vocabulary": TOKENS}
MAKERS = {
    "sequence_transformer": partial(SequenceTransformer, (LENGTH,), 3, **OPTIONS),
    "random_sparse": partial(RandomSparse, (LENGTH,), 3, kept=KEPT, **OPTIONS),
}
PLACES = {
    "attention.project.weight": "self_attn.in_proj_weight",
    "attention.project.bias": "self_attn.in_proj_bias",
    "attention.out": "self_attn.out_proj",
    "first_norm": "norm1",
    "second_norm": "norm2",
    "up": "linear1",
    "down": "linear2",
}


def tokens(*shape):
    return torch.randint(0, TOKENS, shape, generator=torch.Generator().manual_seed(0))


def torchs(network, given):
    """The logits of torch's own encoder layers with a network's weights, who sees whom given as a mask."""
    stream = network.positioned.embedding(given) + network.positioned.positions
    for block in network.blocks:
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, HIDDEN, 0.0, "gelu", batch_first=True, norm_first=True)
        state = {name: value for name, value in block.state_dict().items() if "hidden" not in name and "drop" not in name}
        for ours, theirs in PLACES.items():
            state = {name.replace(ours, theirs): value for name, value in state.items()}
        layer.load_state_dict(state)
        stream = layer(stream, src_mask=getattr(block.attention, "hidden", None))
    return network.head(network.norm(stream).mean(1))


@pytest.mark.parametrize("name", MAKERS)
def test_equal_to_torchs_own_layers(name):
    network, draw = MAKERS[name](dropout=0.0), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.3 * torch.randn(value.shape, generator=draw)
    given = tokens(4, LENGTH)
    torch.testing.assert_close(network(given), torchs(network, given))
    assert network.features(given).shape == (4, WIDTH)


def test_every_token_sees_itself_and_a_few_others_drawn_with_the_weights():
    population = Population(MAKERS["random_sparse"], [5, 8])
    hidden = [value for name, value in population.held().items() if name.endswith("hidden")]
    assert [tuple(each.shape) for each in hidden] == [(2, LENGTH, LENGTH)] * DEPTH
    for each in hidden:
        assert ((~each).sum(2) == KEPT).all()
        assert not each.diagonal(dim1=1, dim2=2).any()
        assert not torch.equal(each[0], each[1]), "each member its own"
    assert not torch.equal(*hidden), "each layer its own"
    assert not any(each.any() for name, each in Population(partial(MAKERS["random_sparse"], kept=LENGTH), [5]).held().items()
                   if name.endswith("hidden"))  # fmt: skip


@pytest.mark.parametrize("name", MAKERS)
def test_members_in_training_are_stacked_with_masks_of_their_own(name):
    stacked, in_turn = (Population(partial(MAKERS[name], dropout=0.3), [5, 8], stack) for stack in (True, False))
    given = tokens(2, 3, LENGTH)
    for population in (stacked, in_turn):
        population.train()
        population.tick()
    torch.testing.assert_close(stacked(given), in_turn(given))
    trained = stacked(given)
    stacked.eval()
    assert not torch.allclose(trained, stacked(given))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kept": LENGTH + 1}, "network.kept=10: expected at most as many as the 9 tokens of an input"),
        ({"kept": 0}, "network.kept=0"),
        ({"hidden": 0}, "network.hidden=0"),
        ({"heads": 5}, "network.heads=5: expected a divisor of network.width=12"),
        ({"shape": (1, 8, 8)}, r"network=random_sparse: expected token sequences \[length\]"),
        ({"vocabulary": None}, "network.vocabulary=None"),
    ],
)
def test_what_cannot_be_built_is_refused(options, told):
    with pytest.raises(UserError, match=f"^{told}"):
        RandomSparse(**{"shape": (LENGTH,), "outputs": 2} | OPTIONS | options)


def test_features_are_no_tokens():
    with pytest.raises(UserError, match=r"network: expected inputs that are tokens, and these are torch.float32"):
        MAKERS["sequence_transformer"]()(torch.randn(2, LENGTH))
