"""Rules from a configuration, the tasks that impose them, and labels that are not told."""

import pytest
import torch

from environments.ruled import imposed, rules_of, share_of_labels, told, with_unlabelled
from lab.protocols import Data, Examples, Layout, Output, UserError

LAYOUT = Layout((Output("label", ("yes", "no"), sequence=False),), 1)
SAME = "ab.label = ba.label"
PAIRS = {"pairs": ("ab", "ba")}


def made(given, **options):
    return rules_of(given, LAYOUT, groups=PAIRS, **options)


def test_own_rules_are_added_to_those_of_the_environment_or_take_their_place():
    shipped = {"affirms": "label = yes", "even": {"over": "pairs", "says": SAME}}
    assert [rule.name for rule in made({}, shipped=shipped)] == ["affirms", "even"]
    rules = made(
        {"affirms": "label = no", "odd": {"over": "pairs", "of": ["x", "y"], "says": "x.label != y.label"}}, shipped=shipped
    )
    assert [(rule.name, rule.over, rule.arity) for rule in rules] == [
        ("affirms", "single", 1),
        ("even", "pairs", 2),
        ("odd", "pairs", 2),
    ]
    assert rules[0].text == "label = no"
    assert [rule.name for rule in made({"affirms": None}, shipped=shipped)] == ["even"]
    yes, no = torch.tensor([[[[0]]]]), torch.tensor([[[[1]]]])
    real = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    assert [bool(rules[0].violated(answer, answer, real)) for answer in (yes, no)] == [True, False]


def test_what_the_environment_knows_may_be_named_by_every_rule():
    known = {"sets": {"good": ["yes"]}, "relations": {"fits": [("yes", "yes")]}}
    rules = made({"one": "label in good", "two": {"over": "pairs", "says": "fits(ab.label, ba.label)"}}, **known)
    assert len(rules) == 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["label = yes"], "environment.rules=.*by name"),
        ({"Affirms": "label = yes"}, "environment.rules=Affirms: .*small letters"),
        ({"absent": None}, "environment.rules.absent=null"),
        ({"one": {"sayz": "label = yes"}}, "environment.rules.one.sayz: .*says, over"),
        ({"one": {"over": "pairs"}}, "environment.rules.one=.*says"),
        ({"one": {"says": SAME, "over": "triples"}}, "environment.rules.one.over=triples: expected one of single, pairs"),
        (
            {"one": {"says": SAME, "over": "pairs", "of": ["ab"]}},
            r"environment.rules.one.of=\['ab'\]: expected a list of 2 different",
        ),
        ({"one": {"says": SAME, "over": "pairs", "of": ["ab", "ab"]}}, "environment.rules.one.of=.*2 different names"),
        ({"one": {"says": SAME, "over": "pairs", "of": "ab"}}, "environment.rules.one.of=ab: expected a list"),
        ({"one": {"says": SAME, "over": ["pairs"]}}, "environment.rules.one.over=.*expected one of single, pairs"),
        ({"one": {"says": "label in s", "sets": {"s": None}}}, "environment.rules.one.sets.s=None: expected a list"),
        ({"one": {"says": "label in s", "sets": 5}}, "environment.rules.one.sets=5: expected lists by name"),
        ({"one": {"says": "r(label)", "relations": {"r": 5}}}, "environment.rules.one.relations.r=5: expected a list"),
        ({"one": "lable = yes"}, "environment.rules.one"),
        ({"one": "count(i: source[i] = a) <= 10000000"}, r"environment.rules.one: a number of 8 digits.*column 28"),
        ({"one": "not " * 5000 + "label = yes"}, "environment.rules.one: parts within parts, too deep"),
    ],
)
def test_other_rules_are_refused(given, told):
    with pytest.raises(UserError, match=told):
        made(given)


def test_rules_come_and_go_with_tasks():
    rules = made({"one": "label = yes", "two": "label = yes", "three": "label = yes"})
    everywhere = ("one", "two", "three")
    assert imposed({}, rules, 2) == [everywhere, everywhere]
    assert imposed({"one": 2, "two": [1, 1], "three": None}, rules, 3) == [("two",), ("one",), ("one",)]
    arrival = {"two": (2, 3), "gone": (1, 1)}
    assert imposed({"one": [2, 2]}, rules, 3, arrival) == [("three",), everywhere, ("two", "three")]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([1], "environment.imposed=.*first task"),
        ({"two": 1}, "environment.imposed=two: expected names of rules: one"),
        ({"one": 0}, "environment.imposed.one=0: expected a task from 1 to 3"),
        ({"one": 4}, "environment.imposed.one=4"),
        ({"one": [2, 1]}, r"environment.imposed.one=\[2, 1\]"),
        ({"one": True}, "environment.imposed.one=True"),
    ],
)
def test_other_tasks_are_refused(given, told):
    with pytest.raises(UserError, match=told):
        imposed(given, made({"one": "label = yes"}), 3)


def test_what_is_told_of_less_is_told_of_more():
    rows = torch.arange(100, 200)
    few, rest = told(rows, 0.1, seed=3, task=0)
    more, _ = told(rows, 0.35, seed=3, task=0)
    assert (len(few), len(more)) == (10, 35)
    assert set(few.tolist()) < set(more.tolist())
    assert sorted([*few.tolist(), *rest.tolist()]) == rows.tolist()
    assert not torch.equal(few, told(rows, 0.1, seed=4, task=0)[0])
    assert len(told(rows, 1e-6, seed=3, task=0)[0]) == 1
    for share in (0, -0.5, 1.5, "1", True):
        with pytest.raises(UserError, match=r"environment\.labels="):
            share_of_labels(share)


def test_copies_have_no_label_but_all_else():
    train = Examples(torch.arange(6).view(3, 2), torch.tensor([0, 1, 1]), quality=torch.rand(3), genre=torch.tensor([2, 0, 1]))
    data = with_unlabelled(Data("made", train, train, 2, "digest"), inputs=train.inputs + 10)
    assert data.train.targets.tolist() == [0, 1, 1, -100, -100, -100]
    assert torch.equal(data.train.inputs[3:], train.inputs + 10)
    assert torch.equal(data.train.quality[3:], train.quality)
    assert torch.equal(data.train.genre[3:], train.genre)
    assert data.test is train
