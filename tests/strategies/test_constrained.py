"""Losses of constraints against exact enumeration, projections and multipliers against cases worked out by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from lab.errors import UserError
from lab.optimizers import SGD
from lab.protocols import Data, Examples, Groups, Layout, Looking, Output, Phase, Rule, Stream, Task, phase_per_task, uniform
from lab.rules.looking import _first_ones
from lab.stream import Budget
from lab.testing import Subject
from lab.testing.miniature import fit, small_learner
from lab.testing.ruled import Phrases, Speller, Spelling, phrase_network
from lab.testing.strategy import keeps_members_apart, survives_a_resume
from strategies.constrained import Constrained

COLOURS = Layout((Output("colour", ("red", "green", "blue"), sequence=False),), 1)


class Table:
    """A rule over groups of two: a table says which pairs of colours violate it."""

    name, over, arity, text, layout = "table", "pairs", 2, "a table", COLOURS

    def __init__(self):
        self.bad = torch.tensor([[1, 0, 0], [1, 0, 1], [0, 0, 1]], dtype=torch.bool)

    def violated(self, answers, inputs, real):
        return self.bad[answers[..., 0, 0], answers[..., 1, 0]]

    def truth(self, log_probs, inputs, real, logic="product"):
        one, other = (log_probs[..., m, 0, :].exp() for m in (0, 1))
        return 1 - torch.einsum("...a,...b,ab->...", one, other, self.bad.to(one))


class Pairs:
    """An environment with that rule alone, for setting strategies up."""

    scenario = "domain"

    def __init__(self):
        rows = Examples(torch.zeros(6, 1), torch.arange(6) % 3)
        self.data = Data("pairs", rows, rows, 3, "pairs", layout=COLOURS)

    def stream(self, seed):
        pairs = {"pairs": torch.tensor([[0, 1], [2, 3]])}
        tasks = (Task(torch.arange(6), torch.arange(6), torch.arange(3), groups=pairs, test_groups=pairs),)
        return Stream(tasks, phase_per_task(tasks), "domain", 3, rules=(Table(),))


def gradient_of_loss(logits, members=1, **options):
    """What the constraint's loss on one pair does to its logits ``[2, 3]``: ``[M, 2, 3]``, each member with its own draws."""
    strategy = Constrained(**options)
    looking = Looking(COLOURS, strategy.explore, strategy.count, list(range(members)), "pairs", 2)
    own = logits.expand(members, 2, 3).clone().requires_grad_()
    learner = SimpleNamespace(draw=lambda keys, count: uniform(keys, torch.zeros(members, dtype=torch.int64), count))
    inputs = torch.zeros(members, 2, 1)
    looked = looking(learner, inputs, torch.zeros(members, 1, dtype=torch.int64), own.log_softmax(-1))
    strategy._of_rule(Table(), looked)[0].sum().backward()
    return own.grad


@pytest.fixture
def logits():
    return torch.tensor([[0.3, -0.8, 1.1], [-0.4, 0.9, 0.2]])


@pytest.fixture
def exact(logits):
    """The gradient of the probability of a violation."""
    own = logits.clone().requires_grad_()
    one, other = own.softmax(-1)
    (one @ Table().bad.float() @ other).backward()
    return own.grad


@pytest.mark.parametrize("baseline", ["others", "none"])
@pytest.mark.parametrize("explored", [{"explore": "all"}, {"explore": "topk", "count": 9}])
def test_over_all_answers_reinforce_has_the_gradient_of_the_probability_of_a_violation(logits, exact, explored, baseline):
    torch.testing.assert_close(gradient_of_loss(logits, baseline=baseline, **explored)[0], exact)


@pytest.mark.parametrize(("baseline", "count"), [("others", 2), ("others", 10), ("none", 1)])
def test_drawn_answers_have_it_in_expectation(logits, exact, baseline, count):
    drawn = gradient_of_loss(logits, members=20000, count=count, baseline=baseline)
    error = drawn.std(0) / 20000**0.5
    assert ((drawn.mean(0) - exact).abs() < 4.5 * error).all()
    assert (error < 0.1 * exact.abs().max()).all()


def test_a_baseline_lets_drawn_gradients_vary_less_where_most_answers_violate():
    likely = torch.tensor([[-1.0, 2.0, 0.0], [1.5, -1.0, 1.5]])
    spread = [gradient_of_loss(likely, members=4000, count=4, baseline=b).var(0).sum() for b in ("others", "none")]
    assert spread[0] < 0.8 * spread[1]


def test_the_most_probable_of_all_answers_count_by_their_shares(logits):
    """By hand, of two: (blue, green) .35 and (blue, blue) .17 of the nine; the second alone violates."""
    own = logits.clone().requires_grad_()
    scores = own.log_softmax(-1)[0, 2] + own.log_softmax(-1)[1, [1, 2]]
    (scores.softmax(0) * torch.tensor([0.0, 1.0])).sum().backward()
    torch.testing.assert_close(gradient_of_loss(logits, explore="topk", count=2)[0], own.grad)


def test_the_hard_loss_pushes_a_violating_answer_away_and_no_other(logits):
    assert not gradient_of_loss(logits, loss="hard", explore="argmax").any()  # blue, green violates nothing
    wrong = logits[:, [0, 2, 1]]  # green, blue
    own = wrong.clone().requires_grad_()
    (own.log_softmax(-1)[0, 1] + own.log_softmax(-1)[1, 2]).backward()
    torch.testing.assert_close(gradient_of_loss(wrong, loss="hard", explore="argmax")[0], own.grad)


def test_the_soft_loss_is_weighted_by_the_violations_among_the_answers(logits, exact):
    torch.testing.assert_close(gradient_of_loss(logits, loss="soft", explore="none")[0], exact)
    one, other = logits.softmax(-1)
    violated = one @ Table().bad.float() @ other
    torch.testing.assert_close(gradient_of_loss(logits, loss="soft", explore="all")[0], violated * exact)


def test_the_most_probable_answers_to_a_short_sentence_are_counted_once():
    """Of one word with three tags there are three, however many are asked for; they count by their probabilities."""
    layout = Layout((Output("tag", ("O", "B-x", "I-x")),), 4, ("", "word"))
    looking = Looking(layout, "topk", 10, [0], "single", 1)
    log_probs = torch.tensor([0.62, 0.12, 0.26]).log().expand(1, 1, 4, 3).clone().requires_grad_()
    log_probs.data[0, 0, 0, 1] = -torch.inf  # a unit that was not met yet
    inputs = torch.tensor([[[1, 0, 0, 0]]])
    looked = looking(None, inputs, torch.zeros(1, 1, dtype=torch.int64), log_probs)
    said, shares = looked.answers[:, 0, 0, 0, 0], looked.shares[:, 0, 0]
    assert said[shares > 0].tolist() == [0, 2]
    torch.testing.assert_close(shares[:2], torch.tensor([0.62, 0.26]) / 0.88)
    (looked.shares * looked.scores).sum().backward()
    assert log_probs.grad.isfinite().all()


# --- what becomes of the gradients ------------------------------------------------------------------------------------

G = [[1.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
H = [[-1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]


@pytest.mark.parametrize(
    ("integrate", "followed"),
    [
        ("project_constraint", [[1.0, 1.0], [2.0, 1.0], [1.0, 1.0]]),
        ("project_task", [[-0.5, 1.5], [2.0, 1.0], [1.0, 1.0]]),
        ("project_both", [[0.5, 1.5], [2.0, 1.0], [1.0, 1.0]]),
        ("orthogonal", [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]]),
        ("alternating", [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
    ],
)
def test_gradients_are_projected_as_worked_out_by_hand(integrate, followed):
    """Of three members the two gradients point against each other, with each other, and one of them is nothing."""
    strategy = Constrained(integrate=integrate)
    leaf = nn.Parameter(torch.zeros(3, 2))
    leaf.grad = torch.tensor(G)
    learner = SimpleNamespace(clock=torch.tensor([4, 7, 2]), population=SimpleNamespace(leaves={"w": leaf}))
    strategy.of_constraints, strategy.opposed = {"w": torch.tensor(H)}, torch.zeros(3)
    strategy.looked_at = torch.ones(3, 2)
    strategy.gradient(learner, SimpleNamespace(taking_part=lambda: torch.tensor([True, True, False])))
    torch.testing.assert_close(leaf.grad, torch.tensor(followed))
    assert strategy.opposed.tolist() == [1, 0, 0]


def phrases(**options):
    learner = small_learner(
        [0, 1, 2], phrase_network, (Constrained(**options),), environment=Phrases(), budget=Budget(8, epochs=1), block=1
    )
    learner.begin(0)
    return learner


def first_step(**options):
    """The parameters behind the first step."""
    learner = phrases(**options)
    fit(learner, until=1)
    return {name: leaf.detach().clone() for name, leaf in learner.population.leaves.items()}


def test_added_gradients_are_those_of_added_losses():
    """A constraint's gradient by itself, where it is not projected, is what it adds to the loss's."""
    nothing, added, turns = (first_step(**o) for o in ({"strength": 0.0}, {}, {"integrate": "alternating"}))
    begun = {name: leaf.detach() for name, leaf in phrases().population.leaves.items()}
    for name, start in begun.items():
        torch.testing.assert_close(turns[name], nothing[name])  # the first step is the task's
        assert not torch.equal(added[name], nothing[name])
        assert not torch.equal(start, nothing[name])


class Bright:
    """One picture, always to be called bright, and a rule that it is not: two classes."""

    scenario = "domain"

    def __init__(self):
        layout = Layout((Output("it", ("bright", "dark"), sequence=False),), 1)
        rows = Examples(torch.ones(4, 1), torch.zeros(4, dtype=torch.int64))
        self.data = Data("bright", rows, rows, 2, "bright", layout=layout)
        self.rule = Rule("not_bright", "not it = bright", layout)

    def stream(self, seed):
        tasks = (Task(torch.arange(4), torch.arange(4), torch.arange(2)),)
        return Stream(tasks, phase_per_task(tasks), "domain", 2, rules=(self.rule,))


@pytest.mark.parametrize("options", [{"loss": "soft", "explore": "none"}, {"count": 20}], ids=["soft", "reinforce"])
def test_the_lagrangian_finds_the_multiplier_of_a_problem_with_a_known_one(options):
    """min -log p such that p <= e has its solution at p = e, with the multiplier 1 / e."""
    bounds = [0.5, 0.25]
    strategy = Constrained(integrate="lagrangian", strength=0.0, step=0.3, tolerance=bounds, **options)
    learner = small_learner(
        [0, 1], lambda: nn.Linear(1, 2, bias=False), (strategy,), optimizer=lambda leaves: SGD(leaves, lr=0.3),
        environment=Bright(), budget=Budget(4, steps=500), block=50,
    )  # fmt: skip
    fit(learner)
    probabilities = learner.population(torch.ones(2, 1, 1)).softmax(-1)[:, 0, 0]
    torch.testing.assert_close(probabilities, torch.tensor(bounds), atol=0.04, rtol=0)
    torch.testing.assert_close(strategy.duals[:, 0], 1 / torch.tensor(bounds), atol=0.3, rtol=0)


@pytest.mark.parametrize("integrate", ["lagrangian", "alternating"])
def test_a_member_without_rules_or_groups_is_left_alone(integrate):
    """One member has no rule imposed: it is trained as without, and no multiplier of its moves."""
    environment = Phrases()
    whole = environment.stream

    def stream(seed):
        made = whole(seed)
        bare = tuple(Task(**{**vars(task), "rules": () if seed == 1 else None}) for task in made.tasks)
        return Stream(bare, made.phases, "domain", 7, rules=made.rules)

    environment.stream, ends = stream, []
    for strategies in ((), (Constrained(integrate=integrate, tolerance=0.5, step=0.1),)):
        learner = small_learner([0, 1], phrase_network, strategies, environment=environment, budget=Budget(8, epochs=1))
        fit(learner)
        ends.append({name: leaf.detach() for name, leaf in learner.population.leaves.items()})
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name][1], value[1], rtol=1e-5, atol=1e-6)
    assert any(not torch.allclose(ends[1][name][0], value[0], atol=1e-4) for name, value in ends[0].items())
    assert learner.strategies[0].duals[1].tolist() == [1, 1]
    assert learner.strategies[0].diagnostics()["violation"][1].isnan()


@pytest.mark.parametrize("company", [0, 2])
def test_what_a_rule_is_imposed_on_is_a_members_own_whatever_its_company(company):
    """Members of even seeds have sentences of their own for rules, the others' rules are imposed on their batches."""
    environment = Phrases(rules=("bio",))
    whole = environment.stream

    def stream(seed):
        made = whole(seed)
        own = [{} if seed % 2 else {"single": task.train[:4].unsqueeze(1)} for task in made.tasks]
        tasks = tuple(Task(**{**vars(task), "groups": of}) for task, of in zip(made.tasks, own, strict=True))
        return Stream(tasks, made.phases, "domain", 7, rules=made.rules)

    environment.stream, ends = stream, []
    for seeds in ([1], [1, company]):
        strategy = Constrained(explore="none", loss="soft", strength=10.0)
        budget = Budget(8, steps=3)
        learner = small_learner(seeds, phrase_network, (strategy,), environment=environment, budget=budget)
        fit(learner)
        assert strategy.diagnostics()["violation"][: len(seeds)].isfinite().all()
        ends.append({name: leaf[0].detach() for name, leaf in learner.population.leaves.items()})
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5)


def test_rules_that_no_task_imposes_are_refused():
    made = Phrases()
    stream = made.stream(0)
    never = tuple(Task(**{**vars(task), "rules": ("agree",)}) for task in stream.tasks)
    with pytest.raises(UserError, match=r"rules=bio: the environment imposes none"):
        Constrained(rules=["bio"]).check(Stream(never, stream.phases, "domain", 7, rules=stream.rules), made.data)


def test_moving_multipliers_survive_a_resume_and_keep_members_apart():
    subject = Subject.of("strategy=constrained", "strategy.constrained.integrate=lagrangian", "strategy.constrained.step=0.3")
    survives_a_resume(subject)
    keeps_members_apart(subject)


# --- what rules are imposed on ----------------------------------------------------------------------------------------


def test_groups_are_drawn_from_those_of_the_phase_alone_and_evenly():
    rows = [torch.tensor([[0, 1], [2, 3], [4, 5]]), torch.tensor([[6, 7]])]
    tasks = tuple(Task(own.flatten(), own.flatten(), torch.arange(2), groups={"pairs": own}) for own in rows)
    other = Stream(tasks[:1] * 2, phase_per_task(tasks[:1] * 2), "domain", 2)
    phases = (Phase(torch.arange(6), torch.zeros(6, dtype=torch.int64), 0), Phase(torch.arange(2), torch.tensor([1, 0]), 1))
    groups = Groups([Stream(tasks, phases, "domain", 2), other], [5, 6], "pairs")
    clock = torch.arange(400).expand(2, -1)
    examples, met_as, there = groups.draw(0, clock, 8)
    assert there.tolist() == [True, True]
    assert examples.shape == (2, 400, 16)
    assert not met_as.any()
    pairs = examples.view(2, -1, 2)
    assert (pairs[..., 1] == pairs[..., 0] + 1).all()  # whole groups
    share = (pairs[..., :1] == torch.tensor([0, 2, 4])).double().mean(1)
    torch.testing.assert_close(share, torch.full_like(share, 1 / 3), atol=0.04, rtol=0)
    both, met_as, _ = groups.draw(1, clock, 8)
    assert set(zip(both[0].flatten().tolist(), met_as[0].flatten().tolist(), strict=True)) == {
        (row, int(row > 5)) for row in range(8)
    }
    again = torch.stack([groups.draw(0, clock[:, s : s + 1], 8)[0][:, 0] for s in (0, 7)], 1)
    assert torch.equal(again, examples[:, [0, 7]])  # by the step's number alone
    assert not Groups([other], [5], "triples").there(0)


@pytest.mark.parametrize(("keep", "imposed"), [(True, [[1, 0], [1, 1]]), (False, [[1, 0], [0, 1]])])
def test_rules_come_with_tasks_and_stay_if_they_are_kept(keep, imposed):
    environment, rules = Phrases(), ("bio", "agree")
    stream = environment.stream(0)
    arriving = tuple(Task(**{**vars(task), "rules": (name,)}) for task, name in zip(stream.tasks, rules, strict=True))
    environment.stream = lambda seed: Stream(arriving, stream.phases, "domain", 7, rules=stream.rules)
    learner = small_learner([0, 1], phrase_network, (Constrained(keep=keep),), environment=environment, budget=Budget(8))
    assert learner.strategies[0].imposed[0].int().tolist() == imposed


def test_decoded_answers_are_as_probable_as_the_network_says_place_after_place():
    learner = small_learner([0, 1], Speller, (), environment=Spelling(), budget=Budget(4), block=1)
    looking = Looking(learner.layout, "samples", 3, learner.seeds, "single", 1)
    inputs = learner.reader.read(torch.arange(5).expand(2, -1), torch.zeros(2, 1, dtype=torch.int64))[0]
    looked = looking(learner, inputs, torch.zeros(2, 1, dtype=torch.int64), torch.empty(0))
    answers, tokens, end = looked.answers[2, 1, 4, 0].tolist(), [4, 5, 6], 2
    shown, total = inputs[1, 4].clone(), 0.0
    for place, answer in enumerate(answers):
        if place:
            shown[3 + place] = tokens[answers[place - 1]]
        both = torch.stack([shown, shown]).unsqueeze(1)
        total = total + learner.population(both)[1, 0, place].log_softmax(-1)[answer]
        if answer == end:
            break
    torch.testing.assert_close(looked.scores[2, 1, 4], total)
    assert looked.answers.unique(dim=0).shape[0] > 1
    # Without answers: what is known of each place behind the most probable ones, whatever labels were told.
    alone, best = (Looking(learner.layout, way, 1, learner.seeds, "single", 1) for way in ("none", "argmax"))
    blank = torch.cat([inputs[..., :4], torch.zeros_like(inputs[..., 4:])], -1)
    probable, other = (way(learner, blank, torch.zeros(2, 1, dtype=torch.int64), torch.empty(0)) for way in (alone, best))
    assert probable.answers is None
    torch.testing.assert_close(probable.log_probs, other.log_probs)
    assert ((other.log_probs.argmax(-1) == other.answers) | ~other.real).all()


def test_a_beam_wider_than_there_are_answers_counts_each_once():
    answers = torch.tensor([[0, 1], [2, 2], [0, 1], [2, 1]]).view(4, 1, 1, 1, 2)
    assert _first_ones(answers).flatten().tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "hard"}, "explore=samples: the hard loss"),
        ({"explore": "none"}, "explore=none: without answers"),
        ({"explore": "argmax"}, "loss=hard"),
        ({"count": 1}, r"count=1: .* at least 2"),
        ({"loss": "soft", "logic": "fuzzy"}, "logic=fuzzy: expected one of product"),
        ({"integrate": "lagrange"}, "integrate=lagrange"),
        ({"strength": -1.0}, "strength=-1.0"),
        ({"tolerance": 5}, r"tolerance=5: expected a number in \[0, 1\]"),
        ({"keep": "yes"}, "keep=yes: expected true or false"),
        ({"rules": "bio"}, "rules=bio: expected null, or a list"),
    ],
)
def test_what_means_nothing_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        Constrained(**options)


@pytest.mark.parametrize(
    ("environment", "options", "message"),
    [
        (Spelling, {"explore": "topk"}, "expected beam"),
        (Phrases, {"explore": "beam"}, "topk finds"),
        (Phrases, {"explore": "all"}, r"39062500 answers; expected at most 4096"),
        (Phrases, {"rules": ["bia"]}, "rules=bia: expected one of bio, agree"),
    ],
)
def test_what_the_environment_has_no_place_for_is_refused(environment, options, message):
    made = environment()
    with pytest.raises(UserError, match=message):
        Constrained(**options).check(made.stream(0), made.data)
