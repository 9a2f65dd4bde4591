"""Networks of sentences: what padding, order and known vectors do to them, against cases by hand and torch's own encoder."""

import pytest
import torch
from torch import nn

from lab.config import build_network
from lab.errors import UserError
from lab.networks import Encoder, PairBag
from lab.population import Population
from lab.protocols import Data, Examples
from lab.rules import Layout, Output

TOKENS = ("", *"abcdefgh")
LABEL = Layout((Output("label", ("x", "y", "z"), sequence=False),), 1, TOKENS)
TAGS = Layout((Output("tag", ("x", "y", "z")),), 4, TOKENS)


def encoder(layout=TAGS, shape=(4,), **options):
    torch.manual_seed(0)
    return Encoder(shape, 3, **({"width": 8, "depth": 2, "heads": 2, "layout": layout} | options)).double()


def test_a_bag_is_means_and_what_they_have_in_common():
    network = PairBag((6,), 3, width=2, depth=0, layout=LABEL)
    with torch.no_grad():
        network.words.embedding.weight[1:4] = torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, 1.0]])
    features = network.features(torch.tensor([[1, 2, 0, 3, 0, 0], [2, 1, 0, 3, 0, 0]]))
    assert features.tolist() == [[2.0, 1.0, 5.0, 1.0, 3.0, 0.0, 10.0, 1.0]] * 2, "whatever the order"
    assert network(torch.zeros(1, 6, dtype=torch.int64)).isfinite().all()
    deep = PairBag((6,), 3, width=2, hidden=5, depth=2, dropout=0.5, vocabulary=9)
    assert (deep(torch.randint(0, 9, (4, 6))).shape, deep.features(torch.randint(0, 9, (4, 6))).shape) == ((4, 3), (4, 5))


@pytest.mark.parametrize("window", [1, 3])
def test_padding_is_as_good_as_nothing(window):
    network = encoder(window=window)
    tokens, shorter = torch.tensor([[1, 2, 0, 0]]), torch.tensor([[1, 2]])
    cut = encoder(Layout(TAGS.outputs, 2, TOKENS), (2,), window=window)
    state = network.state_dict()
    cut.load_state_dict(state | {"positions": state["positions"][:2]})
    torch.testing.assert_close(network(tokens)[:, :2], cut(shorter))
    assert not torch.allclose(network(tokens)[:, :2], network(torch.tensor([[1, 2, 3, 0]]))[:, :2])


def test_it_is_torchs_own_encoder():
    """The weights in torch.nn.TransformerEncoder, with its mask of padding."""
    network = encoder(depth=1)
    theirs = nn.TransformerEncoderLayer(8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True).double()
    block = network.blocks[0]
    pairs = {
        "self_attn.in_proj_weight": block.attention.project.weight, "self_attn.in_proj_bias": block.attention.project.bias,
        "self_attn.out_proj.weight": block.attention.out.weight, "self_attn.out_proj.bias": block.attention.out.bias,
        "linear1.weight": block.up.weight, "linear1.bias": block.up.bias, "linear2.weight": block.down.weight,
        "linear2.bias": block.down.bias, "norm1.weight": block.first_norm.weight, "norm1.bias": block.first_norm.bias,
        "norm2.weight": block.second_norm.weight, "norm2.bias": block.second_norm.bias,
    }  # fmt: skip
    theirs.load_state_dict(pairs)
    tokens = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    made = theirs(network.words(tokens) + network.positions, src_key_padding_mask=tokens == 0)
    expected = network.head(network.norm(made))
    torch.testing.assert_close(network(tokens)[tokens > 0], expected[tokens > 0])


def test_a_window_is_a_convolution_beside_the_words():
    network = encoder(window=3)
    words, real = torch.randn(2, 4, 8).double(), torch.tensor([[True] * 4, [True, True, False, False]])
    weight = network.mix.weight.view(8, 3, 8).permute(0, 2, 1)  # [out, in, place]
    expected = nn.functional.conv1d((words * real.unsqueeze(2)).mT, weight, network.mix.bias, padding=1).mT
    torch.testing.assert_close(network._mixed(words, real), words + nn.functional.gelu(expected))


def test_one_label_is_told_from_the_mean_of_the_words():
    network = encoder(LABEL)
    tokens = torch.tensor([[1, 2, 0, 0], [0, 0, 0, 0]])
    assert network(tokens).shape == (2, 3)
    assert network(tokens).isfinite().all()
    words = encoder().features(tokens)[0, :2]
    torch.testing.assert_close(network.features(tokens)[0], words.mean(0))


def test_what_is_behind_the_places_says_more_of_each():
    network = encoder(shape=(8,))
    plain, marked = torch.tensor([[1, 2, 3, 0, 0, 0, 0, 0]]), torch.tensor([[1, 2, 3, 0, 0, 8, 0, 0]])
    assert network(plain).shape == (1, 4, 3)
    assert not torch.allclose(network(plain), network(marked))
    assert len(network.positions) == 4


@pytest.mark.parametrize("make", [PairBag, Encoder])
def test_known_vectors_are_where_words_begin(make):
    known = torch.randn(9, 4) * 3 + 1
    known[[0, 5]] = torch.nan
    layout = Layout(LABEL.outputs, 1, TOKENS, vectors=known)
    torch.manual_seed(1)
    one, own = make((4,), 3, width=4, layout=layout), make((4,), 3, width=8, layout=layout)
    assert isinstance(one.words.turn, nn.Identity)
    assert own.words(torch.tensor([1])).shape == (1, 8)
    weight, there = one.words.embedding.weight, [1, 2, 3, 4, 6, 7, 8]
    a, b = weight[there].flatten(), known[there].flatten()
    torch.testing.assert_close(torch.corrcoef(torch.stack([a, b]))[0, 1], torch.tensor(1.0))
    torch.testing.assert_close(a.std(), torch.tensor(1.0 if make is PairBag else 0.5))
    assert weight.isfinite().all()


@pytest.mark.parametrize(("make", "layout"), [(PairBag, LABEL), (Encoder, LABEL), (Encoder, TAGS)])
def test_members_stacked_are_the_networks_alone(make, layout):
    def one():
        return make((4,), 3, width=8, layout=layout)

    tokens = torch.randint(0, 9, (2, 5, 4), generator=torch.Generator().manual_seed(0))
    answers = [Population(one, [4, 9], stack, torch.float64)(tokens) for stack in (True, False)]
    torch.testing.assert_close(*answers)
    assert not torch.allclose(answers[0][0], answers[0][1])
    half = Population(one, [4, 9], True, torch.bfloat16)
    half(tokens).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in half.parameters())


def test_the_lab_tells_networks_the_layout():
    examples = Examples(torch.zeros(2, 4, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    data = Data("made", examples, examples, 3, "digest", layout=LABEL)
    network = build_network({"_target_": "lab.networks.PairBag", "width": 2}, data, 3)
    assert network.words.embedding.weight.shape == (9, 2)
    assert build_network({"_target_": "lab.networks.MLP"}, data, 3)
    with pytest.raises(UserError, match=r"network\.vocabulary=None: expected how many tokens there are"):
        build_network({"_target_": "lab.networks.Encoder"}, Data("made", examples, examples, 3, "digest"), 3)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: PairBag((1, 8, 8), 2), r"network=pair_bag: expected token sequences"),
        (lambda: PairBag((3,), 2, vocabulary=3), r"network=pair_bag: expected two sentences of one length"),
        (lambda: PairBag((4,), 2), r"network\.vocabulary=None"),
        (lambda: PairBag((4,), 2, vocabulary=3, depth=-1), r"network\.depth=-1"),
        (lambda: PairBag((4,), 2, vocabulary=3, hidden=0), r"network\.hidden=0"),
        (lambda: Encoder((4,), 2, vocabulary=3, heads=3), r"network\.heads=3: expected a divisor of network\.width=64"),
        (lambda: Encoder((4,), 2, vocabulary=9, window=2), r"network\.window=2: expected an odd number"),
        (lambda: Encoder((4,), 2, vocabulary=0), r"network\.vocabulary=0"),
    ],
)
def test_what_cannot_be_built_is_refused(make, key):
    with pytest.raises(UserError, match=key):
        make()
