"""The pheromone pathway network: each formula against cases by hand, the whole against one written out in loops."""

from functools import partial
from itertools import pairwise
from math import exp, log, sqrt

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lab.errors import UserError
from lab.networks import Pathways, RandomSparse, SequenceTransformer
from lab.networks.pathways import COLD, EPSILON, Agreement, Gate, Routing, sparse, support
from lab.population import Population

LENGTH, WIDTH, HEADS, SLOTS, DEPTH, KEPT, WINDOW, TOKENS = 9, 8, 2, 3, 2, 4, 4, 6
OPTIONS = {"width": WIDTH, "depth": DEPTH, "heads": HEADS, "slots": SLOTS, "kept": KEPT, "window": WINDOW, "vocabulary": TOKENS}
COORDINATES = ["learned", "token_position", "position"]


def make(shape=(LENGTH,), **options):
    return Pathways(shape, 2, **OPTIONS | options)


def tokens(*shape, seed=0):
    return torch.randint(0, TOKENS, shape, generator=torch.Generator().manual_seed(seed))


def shaken(network):
    """As after training: no bias is 0, no gain 1; some pheromone laid down, some of a prior blended in."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in network.parameters():
            value += 0.3 * torch.randn(value.shape, generator=draw)
        for layer in network.layers:
            layer.field.uniform_(0.1, 2.0, generator=draw)
            layer.prior.copy_(torch.rand(SLOTS, SLOTS, generator=draw).softmax(1))
            layer.prior_weight.fill_(0.3)
        network.progress.fill_(0.7)
    return network


# --- formula by formula -----------------------------------------------------------------------------------------------


def test_support_by_hand():
    """Tokens (1, 0) and (0, 1) in a slot of their own, keys (2, 6) and (-3, 1): raw support is [[2, -3], [6, 1]]."""
    x, groups = torch.eye(2).unsqueeze(0), torch.eye(2).unsqueeze(0)
    keys = torch.tensor([[[2.0, 6.0], [-3.0, 1.0]]])
    torch.testing.assert_close(support(groups, x, keys), torch.tensor([[[1.0, 0.0], [6 / 7, 1 / 7]]]), rtol=1e-5, atol=1e-6)
    swapped = support(groups.flip(2), x, keys)
    torch.testing.assert_close(swapped, torch.tensor([[[1 / 7, 6 / 7], [0.0, 1.0]]]), rtol=1e-5, atol=1e-6)
    assert support(groups, x, -keys.abs()).tolist() == [[[0.0, 0.0], [0.0, 0.0]]], "a slot that supports nothing: no NaN"


@pytest.mark.parametrize(("logit", "mu"), [(0.0, 0.5), (log(3), 0.75)])
def test_agreement_by_hand(logit, mu):
    """Keys are the tokens themselves; the second view has the two slots the other way round."""
    agreement = Agreement(2)
    with torch.no_grad():
        agreement.keys.weight.copy_(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        agreement.mix.weight.copy_(torch.tensor([[2 * logit, 0.0]]))  # the tokens' mean is (1/2, 1/2)
    x = torch.eye(2).unsqueeze(0)
    made = agreement(x, x, x.flip(2))
    one, other = torch.tensor([[2 / 3, 1 / 3], [1 / 3, 2 / 3]]), torch.tensor([[2 / 3, 1 / 3], [1 / 3, 2 / 3]])
    torch.testing.assert_close(made[0], mu * (one * other).sqrt() + (1 - mu) * (one + other) / 2, rtol=1e-4, atol=1e-5)
    made = agreement(x, x, torch.tensor([[[1.0, 0.0], [1.0, 0.0]]]))  # both tokens in the first slot: s = (1, 1), k = (3, 3)
    other = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    expected = mu * (one * other).sqrt() + (1 - mu) * (one + other) / 2
    torch.testing.assert_close(made[0], expected, rtol=1e-4, atol=1e-3)


def test_routing_by_hand():
    """alpha = 1, beta = 2: p is tau A^2, normalised."""
    agreement = torch.tensor([[[0.5, 0.5, 0.1], [0.2, 0.4, 0.4], [1.0, 1.0, 1.0]]])
    field = torch.tensor([[1.0, 2.0, 1.0], [1.0, 1.0, 1.0], [0.1, 1.0, 0.9]])
    cold, prior = torch.full((3, 3), 1.05), torch.tensor([[0.0, 0.0, 1.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    none, half = torch.tensor(0.0), torch.tensor(0.5)
    by_hand = torch.tensor([[[25 / 76, 50 / 76, 1 / 76], [4 / 36, 16 / 36, 16 / 36], [0.05, 0.5, 0.45]]])
    routed = Routing(1.0, 2.0)
    torch.testing.assert_close(routed(agreement, field, prior, none), by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(routed(agreement, field, prior, half), (by_hand + prior) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(routed(agreement, field, prior, torch.tensor(1.0)), prior.unsqueeze(0))
    plain = Routing(0.0, 2.0)(agreement, field, prior, none)
    torch.testing.assert_close(routed(agreement, cold, prior, none), plain)  # a cold field favours nothing
    assert torch.equal(plain, (2 * (agreement + EPSILON).log()).softmax(2)), "to the bit"
    assert torch.equal(plain, Routing(0.0, 2.0)(agreement, cold, prior.flip(1), none))


def test_the_largest_of_each_row_are_kept():
    mask = torch.tensor([[[0.1, 0.4, 0.2, 0.3], [0.25, 0.25, 0.25, 0.25]]])
    kept = sparse(mask, 2).exp()
    torch.testing.assert_close(kept[0, 0], torch.tensor([0.0, 0.4, 0.0, 0.3]), rtol=1e-4, atol=1e-4)
    assert (kept[0, 1] > 0).all(), "equal ones are kept together"
    assert torch.equal(sparse(mask * (1 + 1e-7 * torch.randn(4)), 2) > -torch.inf, kept > 0), "whatever their last digits"
    torch.testing.assert_close(sparse(mask, 4).exp(), mask, rtol=1e-4, atol=1e-4)
    rows = torch.rand(5, 7, 7, generator=torch.Generator().manual_seed(0))
    assert ((sparse(rows, 3) > -torch.inf).sum(2) == 3).all()


@pytest.mark.parametrize(("progress", "open_to"), [(0.0, 0.0), (0.2, 0.0), (0.6, 0.5), (1.0, 1.0)])
def test_the_gate_by_hand(progress, open_to):
    """Weights 1 on what the fast lane says, -1 on the slow lane's, 2 on mean A = .25, in both directions of a width of 2."""
    gate = Gate(2, 0.2)
    with torch.no_grad():
        gate.project.weight.copy_(torch.tensor([[1.0, 1.0, -1.0, -1.0, 2.0]] * 2))
        gate.project.bias.zero_()
    fast, slow = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[0.5, 1.0]]])
    agreement = torch.tensor([[[0.5, 0.0], [0.5, 0.0]]])
    g = open_to / (1 + exp(-(3.0 - 1.5 + 2 * 0.25)))
    made = gate(fast, slow, agreement, torch.tensor(progress))
    torch.testing.assert_close(made, torch.tensor([[[g * 1 + (1 - g) * 0.5, g * 2 + (1 - g)]]]))
    gate.shut = None
    g = 1 / (1 + exp(-2.0))
    torch.testing.assert_close(gate(fast, slow, agreement, torch.tensor(progress))[0, 0, 0].item(), 0.5 + g * 0.5)


# --- the whole --------------------------------------------------------------------------------------------------------


def attended(lane, x, scores):
    """Torch's own attention with a lane's weights, sequence by sequence."""
    first = x.transpose(0, 1)
    weights = (lane.project.weight, lane.project.bias, None, None, False, 0.0, lane.out.weight, lane.out.bias)
    made = F.multi_head_attention_forward(first, first, first, WIDTH, HEADS, *weights, need_weights=False, attn_mask=scores)
    return made[0].transpose(0, 1)


def written_out(network, given, alpha=1.0, beta=1.0):
    """Logits of one sequence ``[N]``, from the paper's formulas entry by entry."""
    h = (network.positioned.embedding.weight[given] + network.positioned.positions).unsqueeze(0)
    for layer in network.layers:
        x = F.layer_norm(h, (WIDTH,), layer.norm.weight, layer.norm.bias)
        q = [(x[0] @ grouper.project.weight.T).softmax(1) for grouper in (layer.grouper_1, layer.grouper_2)]
        supports = []
        for group in q:
            s, k = group.T @ x[0], group.T @ (x[0] @ layer.agreement.keys.weight.T)
            raw = torch.stack([torch.stack([(s[a] @ k[b]).clamp(min=0) for b in range(SLOTS)]) for a in range(SLOTS)])
            supports.append(torch.stack([row / (row.sum() + 1e-6) for row in raw]))
        mu = 1 / (1 + torch.exp(-(layer.agreement.mix.weight[0] @ x[0].mean(0))))
        agreed = mu * torch.sqrt((supports[0] + 1e-6) * (supports[1] + 1e-6)) + (1 - mu) * (supports[0] + supports[1]) / 2
        unnormalised = layer.field.pow(alpha) * (agreed + 1e-6).pow(beta)
        p = 0.7 * unnormalised / unnormalised.sum(1, keepdim=True) + 0.3 * layer.prior
        mask = torch.einsum("ia,ab,jb->ij", q[0], p, q[1])
        scores = torch.full_like(mask, -torch.inf)
        for i, row in enumerate(mask):
            for j in sorted(range(LENGTH), key=lambda j, row=row: -row[j])[:KEPT]:
                scores[i, j] = torch.log(row[j] + 1e-6)
        near = torch.tensor([[0.0 if abs(i - j) <= WINDOW // 2 else -torch.inf for j in range(LENGTH)] for i in range(LENGTH)])
        fast, slow = attended(layer.fast, x, scores), attended(layer.slow, x, near.to(x.dtype))
        asked = torch.cat([fast, slow, agreed.mean().expand(1, LENGTH, 1)], 2)
        g = torch.sigmoid(layer.gate.project(asked)) * max(0.0, (0.7 - 0.2) / 0.8)
        h = h + g * fast + (1 - g) * slow
        y = F.layer_norm(h, (WIDTH,), layer.perceptron_norm.weight, layer.perceptron_norm.bias)
        h = h + layer.down(F.gelu(layer.up(y)))
    return network.head(F.layer_norm(h, (WIDTH,), network.norm.weight, network.norm.bias).mean(1))[0]


def test_equal_to_the_formulas_written_out():
    network = shaken(make().double()).eval()
    given = tokens(4, LENGTH)
    expected = torch.stack([written_out(network, each) for each in given])
    torch.testing.assert_close(network(given), expected)
    watched = [
        network.positioned.embedding.weight,
        network.layers[0].grouper_2.project.weight,
        network.layers[1].gate.project.bias,
    ]
    ours = torch.autograd.grad(network(given).square().sum(), watched)
    torch.testing.assert_close(ours, torch.autograd.grad(expected.square().sum(), watched), rtol=1e-6, atol=1e-8)
    assert all(gradient.abs().max() > 1e-6 for gradient in ours), "groupers learn by what is seen"


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_without_alpha_the_field_and_without_weight_the_prior_change_no_bit(coordinates):
    network, given = make(alpha=0.0, coordinates=coordinates).eval(), tokens(5, LENGTH)
    before = network(given)
    for layer in network.layers:
        assert layer.field.eq(COLD).all()
        assert torch.allclose(layer.prior.sum(1), torch.ones(SLOTS))
        layer.field.uniform_(0.1, 2.0)
        layer.prior.copy_(torch.rand(SLOTS, SLOTS).softmax(1))
    assert torch.equal(network(given), before)
    network.layers[0].prior_weight.fill_(0.3)
    assert not torch.equal(network(given), before)
    laid = make(coordinates=coordinates).eval()
    laid.layers[0].field.uniform_(0.1, 2.0)
    assert not torch.equal(laid(given), make(coordinates=coordinates).eval()(given))


def test_before_the_gate_opens_tokens_see_their_neighbours_alone():
    network = make(depth=1).eval()
    network.progress.zero_()
    given = tokens(1, LENGTH)
    other = given.clone()
    other[0, 4] = (given[0, 4] + 1) % TOKENS
    one, two = (network.layers[0](network.positioned(g), g, network.progress) for g in (given, other))
    assert (one == two).all(2)[0].tolist() == [abs(place - 4) > WINDOW // 2 for place in range(LENGTH)]


def test_fixed_coordinates_are_everyones_and_never_trained():
    population = Population(partial(make, coordinates="token_position"), [5, 8])
    fixed = [name for name in population.held() if "of_position" in name or "of_token" in name]
    assert len(fixed) == 2 * 2 * DEPTH
    assert all(torch.equal(*population.held()[name]) for name in fixed)
    assert not {*fixed} & {*population.leaves}
    draws = [population.held()[name][0] for name in fixed if "of_token" in name]
    assert not any(torch.equal(one, other) for one, other in pairwise(draws)), "each view and layer its own"
    again = Population(partial(make, coordinates="token_position", coordinate_seed=1), [5, 8])
    assert not torch.equal(again.held()[fixed[0]], population.held()[fixed[0]])


# --- many of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_members_in_training_are_stacked_with_noise_and_masks_of_their_own(coordinates):
    build = partial(make, coordinates=coordinates, dropout=0.3)
    stacked, in_turn = (Population(build, [5, 8], stack) for stack in (True, False))
    given = tokens(2, 3, LENGTH)
    for population in (stacked, in_turn):
        population.train()
        population.tick()
        population.note_progress(torch.tensor([0.5, 0.9]))
    torch.testing.assert_close(stacked(given), in_turn(given))
    trained = stacked(given)
    stacked.tick()
    assert not torch.allclose(trained, stacked(given))
    stacked.eval()
    assert torch.equal(stacked(given), stacked(given))


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_company_and_place_change_no_bit_in_a_stack(coordinates):
    """At sizes that fill vector registers; at others a sigmoid's last digit depends on where in memory it lies."""
    build = partial(make, (16,), coordinates=coordinates, dropout=0.3, width=16, slots=4)
    population, others, given = Population(build, [5, 8]), Population(build, [8, 1, 5]), tokens(2, 3, 16)
    for each, progress in ((population, [0.5, 0.9]), (others, [0.9, 0.0, 0.5])):
        each.tick()
        each.note_progress(torch.tensor(progress))
    one, other = population(given), others(given[[1, 0, 0]])
    assert torch.equal(one[1], other[0])
    assert torch.equal(one[0], other[2])


def test_what_can_be_watched():
    population = Population(make, [5, 8])
    population.watched += [f"layers.1.{part}" for part in ("routing", "agreement", "grouper_1", "grouper_2")]
    population(tokens(2, 3, LENGTH))
    assert {path: tuple(value.shape) for path, value in population.activations.items()} == {
        "layers.1.routing": (2, 3, SLOTS, SLOTS),
        "layers.1.agreement": (2, 3, SLOTS, SLOTS),
        "layers.1.grouper_1": (2, 3, LENGTH, SLOTS),
        "layers.1.grouper_2": (2, 3, LENGTH, SLOTS),
    }
    for path in ("layers.1.routing", "layers.1.grouper_1"):
        torch.testing.assert_close(population.activations[path].sum(3), torch.ones(2, 3, population.activations[path].shape[2]))


def test_size_beside_its_baselines():
    torch.manual_seed(0)  # 128 weights have a deviation that is .1 off now and then
    w, m, n, v = 64, 32, 128, 32
    lanes = 2 * (3 * w * w + 3 * w + w * w + w)
    layer = 2 * w + 2 * m * w + (w * w + w) + lanes + ((2 * w + 1) * w + w) + 2 * w + (4 * w * w + 4 * w) + (4 * w * w + w)
    network = Pathways((n,), 2, vocabulary=v)
    assert size(network) == v * w + n * w + 3 * layer + 2 * w + 2 * w + 2 == 260_098
    for baseline in (SequenceTransformer, RandomSparse):
        assert size(baseline((n,), 2, vocabulary=v, hidden=512)) == 259_522
        small = baseline(
            (32,), 2, vocabulary=v, width=32, depth=1, hidden=250, **({"kept": 8} if baseline is RandomSparse else {})
        )
        assert abs(size(small) - 22_786) < 30
    assert size(Pathways((32,), 2, vocabulary=v, width=32, depth=1, slots=8, kept=8, window=4)) == 22_786
    deviations = {"head": 1 / 8, "layers.0.up": 1 / 8, "layers.2.fast.out": 1 / 8 / sqrt(6), "layers.1.down": 1 / 16 / sqrt(6)}
    for path, expected in deviations.items():
        assert network.get_submodule(path).weight.std().item() == pytest.approx(expected, rel=0.1)


def size(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shape": (1, 8, 8)}, r"network=pathways: expected token sequences \[length\], and the inputs have shape \[1, 8, 8\]"),
        ({"slots": 10}, "network.slots=10: expected at most as many as the 9 tokens of an input"),
        ({"slots": 0}, "network.slots=0: expected a whole number from 1 on"),
        ({"kept": 10}, "network.kept=10: expected at most as many as the 9 tokens of an input"),
        ({"kept": 0}, "network.kept=0"),
        ({"window": 10}, "network.window=10: expected at most as many as the 9 tokens of an input"),
        ({"window": 0}, "network.window=0"),
        ({"heads": 3}, "network.heads=3: expected a divisor of network.width=8"),
        ({"coordinates": "fourier"}, "network.coordinates=fourier: expected one of learned, token_position, position"),
        ({"temperature": 0}, "network.temperature=0: expected a finite number above 0"),
        ({"noise": -1}, "network.noise=-1"),
        ({"bandwidth": 0.0}, "network.bandwidth=0.0: expected a finite number above 0"),
        ({"coordinate_seed": -1}, "network.coordinate_seed=-1"),
        ({"alpha": -1.0}, "network.alpha=-1.0"),
        ({"beta": float("nan")}, "network.beta=nan"),
        ({"shut": 1.0}, "network.shut=1.0"),
        ({"dropout": 1.0}, "network.dropout=1.0"),
        ({"vocabulary": None}, "network.vocabulary=None: expected how many tokens there are"),
    ],
)
def test_what_cannot_be_built_is_refused(options, told):
    with pytest.raises(UserError, match=f"^{told}"):
        Pathways(**{"shape": (LENGTH,), "outputs": 2} | OPTIONS | options)


def test_features_are_no_tokens():
    with pytest.raises(UserError, match=r"network: expected inputs that are tokens, and these are torch.float32"):
        make()(torch.randn(2, LENGTH))
