"""The encoder-decoder: its cell against torch's, what it decodes against what it says teacher-forced, searches against all
answers there are, draws against their probabilities."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.networks import EncoderDecoder
from lab.networks.encoder_decoder import Recurrence
from lab.population import Population, why_not_stacked
from lab.rules import Layout, Output

S, T, END = 4, 4, 2
LAYOUT = Layout(
    (Output("out", ("x", "y", "<end>")),), T, ("", "x", "y", "z", "<begin>"), source=S, told=(1, 2, 0), end=END
)  # fmt: skip
MAKE = partial(EncoderDecoder, (S + T,), 3, LAYOUT, width=6)
TOLD = torch.tensor(LAYOUT.told)


def sources(*shape: int, seed: int = 0) -> torch.Tensor:
    """Inputs ``[*shape, S + T]`` of one to four source tokens, nothing told yet."""
    draw = torch.Generator().manual_seed(seed)
    tokens, lengths = torch.randint(1, 4, (*shape, S), generator=draw), torch.randint(1, S + 1, (*shape, 1), generator=draw)
    blank = torch.zeros(*shape, T, dtype=torch.int64)
    blank[..., 0] = 4
    return torch.cat([tokens * (torch.arange(S) < lengths), blank], -1)


def sharp(stack=True, members=3) -> Population:
    """Networks in float64 whose answers differ from place to place, and end."""
    population = Population(MAKE, list(range(members)), stack, torch.float64)
    with torch.no_grad():
        for name, value in population.leaves.items():
            value.mul_(1 if name.startswith("embedding") else 2.5)
    return population.eval()


def everything() -> torch.Tensor:
    """All answers there are ``[K, T]``: of up to T places, filled up with the end."""
    rows = itertools.product(range(3), repeat=T)
    return torch.tensor([row for row in rows if END not in row or set(row[row.index(END) :]) == {END}])


def log_probs_of(population: Population, inputs: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Log-probabilities ``[M, B, K]`` of answers ``[K, T]`` or ``[M, B, K, T]``, teacher-forced."""
    told = LAYOUT.retold(inputs.unsqueeze(2), answers.expand(*inputs.shape[:2], -1, -1), TOLD)
    logits = population(told.flatten(1, 2)).unflatten(1, told.shape[1:3])
    answers = answers.expand(*told.shape[:3], T)
    each = logits.log_softmax(-1).gather(-1, answers.unsqueeze(-1)).squeeze(-1)
    return (each * LAYOUT.real(inputs, answers)).sum(-1)


def test_the_cell_is_torchs_without_the_second_bias():
    cell, torchs = Recurrence(2, 5).double(), [nn.GRU(5, 5, batch_first=True).double() for _ in range(2)]
    for d, other in enumerate(torchs):
        for name, value in (("weight_ih_l0", cell.weight_x[d].T), ("weight_hh_l0", cell.weight_h[d].T)):
            getattr(other, name).data = value.detach().clone()
        other.bias_ih_l0.data = cell.bias[d, 0].detach().clone()
        other.bias_hh_l0.data.zero_()
    inputs, state = torch.randn(2, 3, 7, 5, dtype=torch.float64), torch.randn(2, 3, 5, dtype=torch.float64)
    expected = torch.stack([other(x, h.unsqueeze(0))[0] for other, x, h in zip(torchs, inputs, state, strict=True)])
    torch.testing.assert_close(cell(inputs, state), expected)
    padding = torch.zeros(2, 3, 7, dtype=torch.bool)
    padding[..., 4:] = True
    padded = cell(inputs, state, padding)
    torch.testing.assert_close(padded[..., :4, :], expected[..., :4, :])
    assert torch.equal(padded[..., 4:, :], padded[..., 3:4, :].expand(-1, -1, 3, -1))


def test_padding_is_not_seen():
    """The same source among more padding, and what stands where padding does, change nothing."""
    network = MAKE().double()
    longer = Layout(LAYOUT.outputs, T, LAYOUT.tokens, source=S + 3, told=LAYOUT.told, end=END)
    other = EncoderDecoder((S + 3 + T,), 3, longer, width=6).double()
    other.load_state_dict(network.state_dict())
    inputs = sources(20)
    wider = torch.cat([inputs[:, :S], torch.zeros(20, 3, dtype=torch.int64), inputs[:, S:]], 1)
    torch.testing.assert_close(network(inputs), other(wider))


def test_a_place_depends_on_the_source_and_on_what_was_told_before_it_alone():
    network, inputs = MAKE(), sources(1, seed=3)
    told = LAYOUT.retold(inputs, torch.tensor([[0, 1, 0, 1]]), TOLD)
    other = LAYOUT.retold(inputs, torch.tensor([[0, 0, 0, 1]]), TOLD)
    same = (network(told) == network(other)).all(-1)[0]
    assert same.tolist() == [True, True, False, False]


@pytest.mark.parametrize("stack", [True, False])
def test_greedy_answers_are_the_largest_of_the_teacher_forced_logits_along_them(stack):
    population, inputs = sharp(stack), sources(3, 40)
    answers = population.decode(inputs)
    assert answers.shape == (3, 40, 1, T)
    assert answers.dtype == torch.int64
    answers = answers.squeeze(2)
    largest = population(LAYOUT.retold(inputs, answers, TOLD)).argmax(-1)
    real = LAYOUT.real(inputs, answers)
    assert torch.equal(largest[real], answers[real])
    assert (answers[~real] == END).all()
    assert 0.2 < real.float().mean() < 0.95, "some end, some do not"
    assert len(answers.flatten(0, 1).unique(dim=0)) > 3


@pytest.mark.parametrize("stack", [True, False])
def test_a_wide_beam_finds_the_most_probable_answers(stack):
    population, inputs = sharp(stack), sources(3, 10)
    every = everything()
    assert len(every) == 1 + 2 + 4 + 8 + 16
    log_probs = log_probs_of(population, inputs, every)
    torch.testing.assert_close(log_probs.logsumexp(-1), torch.zeros(3, 10, dtype=torch.float64))
    order = log_probs.sort(-1, descending=True)
    found = population.decode(inputs, beams=len(every))
    assert torch.equal(found, every[order.indices])
    few = population.decode(inputs, beams=3)
    values = log_probs_of(population, inputs, few)
    assert (values.diff(dim=-1) <= 0).all(), "the best first"
    assert (few[:, :, 0] == found[:, :, 0]).all(-1).float().mean() > 0.8, "a narrow one mostly finds the best"
    assert (few[:, :, 0] == few[:, :, 1]).all(-1).sum() == 0


def test_draws_are_as_frequent_as_they_are_probable():
    population, inputs, count = sharp(members=2), sources(2, 2, seed=1), 20000
    uniform = torch.rand(2, 2, count, T, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    answers = population.decode(inputs, -(-uniform.log()).log())
    every = everything()
    counts = (answers.unsqueeze(3) == every).all(-1).long().sum(2)
    probabilities = log_probs_of(population, inputs, every).exp()
    assert (counts.sum(-1) == count).all(), "no other answers than there are"
    error = (probabilities * (1 - probabilities) / count).sqrt()
    assert ((counts / count - probabilities).abs() < 4.5 * error + 1e-12).all()


def test_members_decode_alike_in_any_company_and_one_after_the_other():
    inputs = sources(3, 12)
    noise = torch.randn(3, 12, 5, T, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    stacked, in_turn = sharp(True), sharp(False)
    for given in ({"noise": noise}, {"beams": 4}):
        together = stacked.decode(inputs, **given)
        assert torch.equal(together, in_turn.decode(inputs, **given))
        first = {key: value[:1] if key == "noise" else value for key, value in given.items()}
        assert torch.equal(together[:1], sharp(True, members=1).decode(inputs[:1], **first))
    changed = sharp(True)
    with torch.no_grad():
        changed.leaves["head/bias"][1] += torch.tensor([5.0, 0, 0])
    other = changed.decode(inputs)
    assert torch.equal(other[::2], stacked.decode(inputs)[::2])
    assert not torch.equal(other[1], stacked.decode(inputs)[1])


def test_it_can_be_stacked_and_read_no_value_on_the_host():
    inputs = sources(3, 6)
    assert why_not_stacked(MAKE, inputs[0]) is None
    population = Population(MAKE, [0, 1, 2], dtype=torch.bfloat16)
    assert population.decode(inputs, beams=2).shape == (3, 6, 2, T)
    population, inputs = Population(MAKE, [0, 1, 2]).to("meta"), inputs.to("meta")
    assert population(inputs).sum().backward() is None
    assert population.decode(inputs, beams=3).shape == (3, 6, 3, T)
    assert population.decode(inputs, torch.empty(3, 6, 5, T, 3, device="meta")).shape == (3, 6, 5, T)


def test_other_data_are_refused():
    with pytest.raises(UserError, match="answered one place after the other"):
        EncoderDecoder((8,), 3, None)
    with pytest.raises(UserError, match=r"tokens, and these are torch\.float32"):
        MAKE()(sources(2).float())
    with pytest.raises(UserError, match="3 classes"):
        EncoderDecoder((8,), 5, LAYOUT)
    with pytest.raises(UserError, match=r"network\.width=0"):
        EncoderDecoder((8,), 3, LAYOUT, width=0)
