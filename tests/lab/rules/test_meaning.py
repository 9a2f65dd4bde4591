"""Violation and truth against a slow reading in plain Python, against enumeration, and hand-worked cases."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.rules import LOGICS, Layout, Output, Rule
from lab.rules.exploring import everything

from .by_hand import LAYOUT, OF, OFTEN, RELATIONS, SETS, ByHand, formulas

GROUPS = 5


def rule(says, members=1, **options):
    of = OF[:members] if members > 1 else ("it",)
    return Rule("r", says, LAYOUT, over="any", of=of, sets=SETS, relations=RELATIONS, **options)


def drawn(members, seed, classes_first=0):
    """Inputs ``[G, k, L]`` of all lengths, which places count, and probabilities ``[G, k, P, C]``."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randint(1, 4, (GROUPS, members, 4), generator=generator)
    inputs[torch.arange(4) >= torch.randint(1, 5, (GROUPS, members, 1), generator=generator)] = 0
    logits = torch.randn(GROUPS, members, 4, 7, generator=generator, dtype=torch.float64) * 2
    logs = torch.where(LAYOUT.sayable, logits, -1e4).log_softmax(-1)
    return inputs, LAYOUT.real(inputs), logs


def by_hand(formula, logic, chances, inputs, real):
    return torch.tensor(
        [
            ByHand(logic, p, t, r).truth(formula)
            for p, t, r in zip(chances.tolist(), inputs.tolist(), real.tolist(), strict=True)
        ],
        dtype=torch.float64,
    )


@OFTEN
@given(st.data(), st.integers(1, 2), st.integers(0, 1000))
def test_answers_break_a_rule_where_a_plain_reading_says_so_and_its_truth_is_then_0_and_else_1(data, members, seed):
    formula = data.draw(formulas(members))
    one, (inputs, real, logs) = rule(formula, members), drawn(members, seed)
    answers = torch.distributions.Categorical(logits=logs).sample()
    sure = torch.nn.functional.one_hot(answers, 7).double()
    broken = one.violated(answers, inputs, real)
    assert torch.equal(broken, by_hand(formula, "godel", sure, inputs, real) == 0)
    for logic in LOGICS:
        assert torch.equal(one.truth(sure.log(), inputs, real, logic), (~broken).double())
    assert torch.equal(one.log_truth(sure.log(), inputs, real) > -1, ~broken)
    found = [where for _, where in one.groundings(answers, inputs, real)]
    assert torch.equal(torch.stack(found).any(0), broken)


@OFTEN
@given(st.data(), st.integers(1, 2), st.integers(0, 1000))
def test_truth_is_that_of_a_plain_reading(data, members, seed):
    """Of counts by all answers: what the product logic says is a probability."""
    logic = data.draw(st.sampled_from(LOGICS))
    formula = data.draw(formulas(members, depth=2, counts=logic != "godel" and members == 1))
    one, (inputs, real, logs) = rule(formula, members), drawn(members, seed)
    expected = by_hand(formula, logic, logs.exp(), inputs, real).clamp(0, 1)
    torch.testing.assert_close(one.truth(logs, inputs, real, logic), expected, atol=1e-9, rtol=0)
    if logic == "product":
        torch.testing.assert_close(one.log_truth(logs, inputs, real).exp(), expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    "says",
    [
        "tag[0] = B-a and (tag[1] = O or not tag[2] in {I-*})",
        "for all i: tag[i] in {O, B-*}",
        "allowed(kind, tag[0]) -> tag[1] != O",
        "tag[0] = tag[1] and tag[2] in begins",
        "kind = x <-> source[1] = u",
        "2 * count(i: tag[i] = B-*) <= 1 + count(j: tag[j] = I-a)",
    ],
)
def test_where_each_place_is_named_once_truth_by_product_is_the_probability(says):
    one, (inputs, real, logs) = rule(says), drawn(1, 3)
    answers = everything([LAYOUT.sayable[p].nonzero().flatten().tolist() for p in range(4)])
    chances = torch.stack([logs[:, 0, p, answers[:, p]] for p in range(4)]).sum(0).exp().mT
    kept = ~one.violated(answers[:, None, None].expand(-1, GROUPS, 1, 4), inputs, real)
    probability = (chances * kept).sum(0)
    torch.testing.assert_close(one.truth(logs, inputs, real, "product"), probability)
    torch.testing.assert_close(one.log_truth(logs, inputs, real).exp(), probability)


def of_tags(says, chances):
    """Truth by each logic where the tags have these chances of B-a, and O else."""
    chances = torch.tensor(chances, dtype=torch.float64)
    logs = torch.zeros(1, 1, 4, 7, dtype=torch.float64)
    logs[0, 0, 1:, 2], logs[0, 0, 1:, 3] = 1 - chances, chances
    inputs = torch.tensor([[[1, 2, 2, 2]]])
    return [rule(says).truth(logs.log(), inputs, LAYOUT.real(inputs), logic).item() for logic in LOGICS]


@pytest.mark.parametrize(
    ("says", "product", "lukasiewicz", "godel"),
    [
        ("for all i: tag[i] = B-a", 0.9 * 0.8 * 0.4, 0.1, 0.4),
        ("for some i: tag[i] = B-a", 1 - 0.1 * 0.2 * 0.6, 1, 0.9),
        ("tag[0] = B-a -> tag[2] = B-a", 1 - 0.9 * 0.6, 0.5, 0.4),
        ("count(i: tag[i] = B-a) = 2", 0.9 * 0.8 * 0.6 + 0.9 * 0.2 * 0.4 + 0.1 * 0.8 * 0.4, 0.9, 0.6),
        ("count(i: tag[i] = B-a) >= 2", 0.9 * 0.8 + 0.9 * 0.2 * 0.4 + 0.1 * 0.8 * 0.4, 1, 0.8),
        ("count(i: tag[i] = B-a) <= 1", 1 - (0.9 * 0.8 + 0.9 * 0.2 * 0.4 + 0.1 * 0.8 * 0.4), 0, 0.2),
        ("count(i: tag[i] = B-a) < 3", 1 - 0.9 * 0.8 * 0.4, 0.9, 0.6),
        ("count(i: tag[i] = B-a) > count(j: tag[j] = O)", 0.9 * 0.8 + 0.9 * 0.2 * 0.4 + 0.1 * 0.8 * 0.4, 1, 0.8),
    ],
)
def test_by_hand(says, product, lukasiewicz, godel):
    """Of counts Gödel's logic gives the k-th largest chance, as its quantifiers give the largest and the least."""
    assert of_tags(says, [0.9, 0.8, 0.4]) == pytest.approx([product, lukasiewicz, godel])


@given(st.lists(st.integers(0, 20), min_size=3, max_size=3), st.integers(0, 2), st.integers(1, 3))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_what_is_likelier_makes_at_least_truer_and_at_most_falser(twentieths, place, least):
    before = [n / 20 for n in twentieths]
    after = [min(1.0, p + 0.05 * (k == place)) for k, p in enumerate(before)]
    for says, sign in ((f"count(i: tag[i] = B-a) >= {least}", 1), (f"count(i: tag[i] = B-a) < {least}", -1)):
        for less, more in zip(of_tags(says, before), of_tags(says, after), strict=True):
            assert sign * (more - less) >= -1e-12
    for says in ("for all i: tag[i] = B-a", "tag[0] = B-a and tag[2] != O"):
        product, lukasiewicz, godel = of_tags(says, before)
        assert lukasiewicz <= product + 1e-12
        assert product <= godel + 1e-12


def test_in_log_space_hundreds_of_groundings_have_a_truth_and_a_gradient():
    layout = Layout((Output("tag", ("O", "I-a", "I-b")),), 400)
    inputs = torch.ones(1, 1, 400, dtype=torch.int64)
    logits = torch.randn(1, 1, 400, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for says in ("for all i: tag[i] = O", "for all s in {I-*}, i: tag[i] = I-{s} -> tag[i-1] = I-{s}"):
        one = Rule("r", says, layout)
        assert one.truth(logits.log_softmax(-1), inputs, inputs > 0, "product") == 0
        log = one.log_truth(logits.log_softmax(-1), inputs, inputs > 0)
        (gradient,) = torch.autograd.grad(log.sum(), logits)
        assert -1e4 < log < -100
        assert gradient.isfinite().all()
        assert (gradient.abs().amax(-1) > 0).all()
    torch.testing.assert_close(  # in double precision neither underflows
        one.log_truth(logits.double().log_softmax(-1), inputs, inputs > 0).float(), log, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("gap", [10.0, 20.0, 40.0, 80.0])
def test_what_is_confidently_broken_has_a_truth_and_a_gradient_in_single_precision(gap):
    layout = Layout((Output("tag", ("O", "B-a", "I-a")),), 2)
    inputs = torch.ones(1, 1, 2, dtype=torch.int64)
    logits = torch.tensor([[gap, 0.0, 0.0], [0.0, 0.0, gap]]).view(1, 1, 2, 3).requires_grad_()
    for says in ("for all i: tag[i+1] = I-a -> tag[i] in {B-a, I-a}", "not (tag[0] = O and tag[1] = I-a)"):
        log = Rule("r", says, layout).log_truth(logits.log_softmax(-1), inputs, inputs > 0)
        (gradient,) = torch.autograd.grad(log.sum(), logits)
        # Each is what it is with p, and all that is left for the rule to hold is 1 - p^2 = (1 - p) (1 + p).
        away = 2 * torch.tensor(-gap, dtype=torch.float64).exp()
        p = 1 / (1 + away)
        torch.testing.assert_close(log.double().squeeze(), (away * p * (1 + p)).log(), rtol=1e-5, atol=0)
        for of in (gradient[0, 0, 0, 0], gradient[0, 0, 1, 2]):
            torch.testing.assert_close(of.double(), -p * p / (1 + p), rtol=1e-4, atol=0)


@pytest.mark.parametrize("certain", [1e4, float("inf")])
def test_of_what_is_certain_gradients_are_finite(certain):
    inputs, real, _ = drawn(2, 0)
    says = (
        "for all i: one.tag[i] = I-a -> one.tag[i-1] in {B-a, I-a} and two.tag[i] != one.tag[i] or count(k: two.tag[k] = O) = 1"
    )
    sure = torch.nn.functional.one_hot(torch.randint(0, 7, (GROUPS, 2, 4)), 7).double()
    logs = torch.where(sure == 1, 0.0, -certain).requires_grad_()
    one = rule(says, 2)
    for value in (one.log_truth(logs, inputs, real), *(one.truth(logs, inputs, real, logic) for logic in LOGICS)):
        assert value.isfinite().all()
        assert torch.autograd.grad(value.sum(), logs)[0].isfinite().all()


def test_leading_axes_broadcast_and_groundings_have_names():
    says = "for all s in {I-*}, i: tag[i] = I-{s} -> tag[i-1] in {B-{s}, I-{s}}"
    one, (inputs, real, logs) = rule(says), drawn(1, 1)
    inputs = torch.full_like(inputs, 2)
    answers = torch.tensor([[0, 3, 4, 6], [0, 6, 6, 4]]).view(2, 1, 1, 1, 4).expand(2, 3, GROUPS, 1, 4)
    real = LAYOUT.real(inputs)
    assert one.violated(answers, inputs, real).tolist() == [[[True] * GROUPS] * 3] * 2
    broken = {name for name, where in one.groundings(answers[0], inputs, real) if where.any()}
    assert broken == {"s=b, i=2"}
    assert {name for name, where in one.groundings(answers[1], inputs, real) if where.any()} == {"s=b, i=0", "s=a, i=2"}
    joined = rule("(for all i: tag[i+1] = I-a -> tag[i] = O) and tag[0] not in {I-*}")
    found = {name for name, where in joined.groundings(answers[1], inputs, real) if where.any()}
    assert found == {"tag[0] not in {I-*}", "tag[i+1] = I-a -> tag[i] = O: i=1"}
    truth = one.truth(logs.expand(3, *logs.shape), inputs, real, "godel")
    assert truth.shape == (3, GROUPS)
    assert torch.equal(truth[0], truth[2])
