"""Rules as text and in Python: one tree; and what is wrong with a rule is said where it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import UserError
from lab.rules import Layout, Output, Rule
from lab.rules.formula import count, exactly, for_all, for_some, name, output, position, related
from lab.rules.language import parse

from .by_hand import LAYOUT, OF, OFTEN, RELATIONS, SETS, formulas

i, j = position("i"), position("j")
tag, kind, source = output("tag"), output("kind"), output("source")


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("kind = x -> tag[0] != O", kind.is_("x") >> tag[0].is_not("O")),
        (
            "for all s in letters, i: tag[i] = I-{s} -> tag[i-1] in {B-{s}, I-{s}}",
            for_all(name("s", "letters"), i, tag[i].is_("I-{s}") >> tag[i - 1].is_in("B-{s}", "I-{s}")),
        ),
        (
            "for all i, j: i + 1 < j and tag[i] = tag[j] or not (for some k: tag[k] not in begins)",
            for_all(i, j, (i + 1 < j) & tag[i].same_as(tag[j]) | ~for_some(position("k"), ~tag[position("k")].is_of("begins"))),
        ),
        (
            'count(i: tag[i] = B-*) = 3 * count(j: source[j] = "u" and source[j+1] = v) - 2  # of tokens',
            count(i, tag[i].is_("B-*")).equals(3 * count(j, source[j].is_("u") & source[j + 1].is_("v")) - 2),
        ),
        ("allowed(kind, tag[0]) <-> kind = x and kind = y or kind = x", related("allowed", kind, tag[0]).iff(
            kind.is_("x") & kind.is_("y") | kind.is_("x"))),
    ],
)  # fmt: skip
def test_text_and_python_give_the_same_rule(text, python):
    one, other = (Rule("r", says, LAYOUT, sets=SETS, relations=RELATIONS) for says in (text, python))
    assert one.formula == other.formula == python
    assert parse(other.text, "k") == python


@OFTEN
@given(st.data())
def test_what_a_formula_says_of_itself_is_read_as_the_same(data):
    formula = data.draw(formulas(2))
    assert parse(str(formula), "k", {f"{of}.kind" for of in OF}) == formula


def test_odd_names_stand_in_quotation_marks():
    layout = Layout((Output("pos", ("a b", '"', "*", "x*", "{s}", "or", "not"), sequence=False),), 1)
    for number, says in enumerate(['pos = "a b"', 'pos = "\\""', 'pos = "*"', 'pos = "x*"', 'pos = "{s}"', "pos = or"]):
        answers = torch.arange(7).view(7, 1, 1, 1)
        broken = Rule("r", says, layout).violated(answers, answers, answers >= 0)
        assert (~broken).nonzero()[:, 0].tolist() == [number]
    said = output("pos").is_(exactly("x*")) | output("pos").is_('"')
    assert Rule("r", said, layout).formula == said


def test_labels_of_one_layout_are_compared_by_name_and_one_in_quotation_marks_is_a_class():
    layout = Layout(
        (Output("first", ("second", "other"), 0, 0, 1, False), Output("second", ("other", "second"), 2, 1, 2, False)), 2
    )
    answers, inputs = torch.tensor([[[0, 2]], [[0, 3]], [[1, 2]]]), torch.ones(3, 1, 2, dtype=torch.int64)
    for says, broken in (("first = other", [1, 1, 0]), ('first = "second"', [0, 0, 1]), ("second = first", [1, 0, 0])):
        assert Rule("r", says, layout).violated(answers, inputs, answers >= 0).tolist() == [bool(b) for b in broken]


@pytest.mark.parametrize(
    ("says", "shown", "what"),
    [
        ("for all i: tag[i] = B-aa", "B-aa", "`tag` has no class `B-aa`; did you mean `B-a`?"),
        ("for all i: tag[i] in {O, C-*}", "C-*", "`tag` has no class like `C-*`"),
        ("tags[0] = O", "tags[0]", "there is no output `tags`; did you mean `tag`?"),
        ("tag[0] in beginning", "tag[0] in beginning", "there is no set `beginning`; did you mean `begins`?"),
        ("for all s in letter: tag[0] = B-{s}", "s in letter", "there is no set `letter`; did you mean `letters`?"),
        ("for all s in letters: tag[0] = C-{s}", "C-{s}", "`tag` has no class `C-{s}`"),
        ("allows(kind, tag[0])", "allows(kind, tag[0])", "there is no relation `allows`; did you mean `allowed`?"),
        ("allowed(kind)", "allowed(kind)", "`allowed` relates 2 classes, and 1 are given"),
        ("flat(kind, tag[0])", "flat(kind, tag[0])", "`flat` is ['x', 'O']: expected rows of class names"),
        ("broken(kind, tag[0])", "broken(kind, tag[0])", "has a row ['x', 'Q'], and `tag` no class `Q`"),
        ("onto.kind = x", "onto.kind", "the group has no member `onto`; did you mean `one`?"),
        ("for all i: tag[j] = O", "j", "`j` is free; bound are i"),
        ("tag[i] = O", "i", "`i` is free; write `for all i:` before"),
        ("tag[0] = B-{s}", "B-{s}", "`{s}` stands for no variable of names"),
        ("for all i: tag[i] = O or (for some i: tag[i] = O)", "i", "`i` is bound twice"),
        ("for all tag: tag[tag] = O", "tag", "`tag` is what an output is called"),
        ("for all i: kind = x", "i", "`i` is used for positions of no sequence"),
        ("for all s in letters: kind = x", "s in letters", "`s` is used for nothing"),
        ("kind[0] = x", "kind[0]", "`kind` is one label and has no places"),
        ("tag = O", "tag", "`tag` is a sequence"),
        ("kind < x", "kind < x", "`kind` is a class: write = or !="),
        ("count(i: kind = x) = 1", "count(i: kind = x)", "a count over nothing"),
        ("count(i: tag[i] = tag[i-1]) = 1", "count(i: tag[i] = tag[i-1])", "a count looks at one place of an output at a time"),
        ("count(i: tag[i] = O and kind = x) = 1", "count(i: tag[i] = O and kind = x)", "one place of an output at a time"),
        (
            "count(i: for all j: tag[j] = O or tag[i] = O) = 1",
            "for all j: tag[j] = O or tag[i] = O",
            "no other count and no `for`",
        ),
        ("1 = 2", "1 = 2", "and no count"),
        ("for all i, j, k, l: tag[i] = tag[j] or tag[k] = tag[l]", "l", "more than 3 variables of positions"),
        ("for all i:\n  tag[i] == O", "=", "cannot be read here; what could come: a class name"),
        ("tag[0] = O and", " ", "cannot be read here"),
        ("for every i: tag[i] = O", "every", "all or some"),
        ("source[0] = w", "w", "no token of the inputs is `w`"),
    ],
)
def test_what_is_wrong_is_shown_where_it_is(says, shown, what):
    sets, relations = SETS, RELATIONS | {"broken": [("x", "Q")], "flat": ["x", "O"]}
    with pytest.raises(UserError) as caught:
        Rule("mine", says, LAYOUT, of=("one",), sets=sets, relations=relations)
    told, line, caret = str(caught.value).split("\n")
    assert told.startswith("environment.rules.mine: ")
    assert what in told
    start = len(caret) - len(caret.lstrip())
    assert line.ljust(len(caret))[start:].startswith(shown)
    assert caret.count("^") == (len(shown) if "could come" not in told and "cannot be read" not in told else 1)
    number = next(n for n, text in enumerate(says.split("\n"), 1) if text == line[4:])
    assert f"(line {number}, column {start - 3})" in told


def test_of_several_members_a_place_says_whose_it_is():
    with pytest.raises(UserError, match=r"`kind` of which member of the group\? Write one.kind or two.kind"):
        Rule("r", "kind = x", LAYOUT, over="pairs", of=OF)


def test_a_relation_may_be_a_table():
    table = torch.zeros(2, 5, dtype=torch.bool)
    table[0, 1:3] = table[1, 0] = True
    whole = torch.zeros(7, 7, dtype=torch.bool)
    whole[:2, 2:] = table
    answers = torch.tensor([[[0, 2, 2, 2]], [[0, 3, 2, 2]], [[1, 2, 2, 2]]])
    for given_ in (table, whole):
        one = Rule("r", "r(kind, tag[0])", LAYOUT, relations={"r": given_})
        assert one.violated(answers, torch.ones_like(answers), answers >= 0)[:,].tolist() == [True, False, False]
    with pytest.raises(UserError, match="is a table \\[5, 2\\], and `kind` has 2 classes"):
        Rule("r", "r(kind, tag[0])", LAYOUT, relations={"r": table.T})


SLOTS = ("O", *(f"{mark}-{slot}" for slot in ("artist", "city") for mark in "BI"))
LAYOUTS = {
    "slots": Layout((Output("intent", ("PlayMusic", "GetWeather"), 0, 0, 1, False), Output("tag", SLOTS, 2, 1)), 4),
    "nli": Layout((Output("label", ("entailment", "neutral", "contradiction"), sequence=False),), 1),
    "transduction": Layout(
        (Output("out", ("a", "b", "z", "<end>")),), 4, ("", "a", "b", "z"), source=3, told=(1, 2, 3, 0), end=3
    ),
}


def test_what_the_page_shows_can_be_read():
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    shown = re.findall(r"```yaml\n# (\w+):.*?\n(.*?)```", page, re.S)
    assert [task for task, _ in shown] == list(LAYOUTS)
    for task, text in shown:
        for rule, node in yaml.safe_load(text)["environment"]["rules"].items():
            options = node if isinstance(node, dict) else {"says": node}
            assert Rule(rule, layout=LAYOUTS[task], **{"of": ("it",)} | options).text
    made = {}
    exec(re.search(r"```python\n(.*?)```", page, re.S)[1], made)
    options = {"layout": LAYOUTS["slots"], "relations": {"allows": [("PlayMusic", "O")]}}
    for says in (made["bio"], made["both"]):
        assert Rule("r", says, **options).formula == says
    wrong = re.search(r"```\nenvironment.rules.bio: (.*?)```", page, re.S)[0].strip("`\n")
    with pytest.raises(UserError) as caught:
        Rule("bio", "for all i: tag[i] = B-artst", LAYOUTS["slots"])
    assert str(caught.value) == wrong
